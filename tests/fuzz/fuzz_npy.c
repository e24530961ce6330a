/* Any bytes as a .npy file: refused, or all its rows are read and end where the file does. */
#include "folder.h"
#include "npy.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    npy_file f;
    if (npy_open(fuzz_file("x.npy", bytes, n), &f) < 0) return 0;
    size_t row = (size_t)f.dim * (f.f32 ? 4 : 2);
    PUPIL_REQUIRE((size_t)f.at + (size_t)f.rows * row == n);
    char *values = pupil_alloc((size_t)f.rows * row);
    PUPIL_REQUIRE(npy_read(&f, 0, f.rows, values) == 0);
    PUPIL_REQUIRE(memcmp(values, bytes + f.at, (size_t)f.rows * row) == 0);
    pupil_free(&values);
    npy_close(&f);
    return 0;
}
