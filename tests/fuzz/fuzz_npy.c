/* Any bytes as a .npy file: refused, or all its rows are read and end where the file does; and as the list of
 * keys beside it, none of which is empty. */
#include "folder.h"
#include "npy.h"

#include "pupil/data.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static void as_matrix(const uint8_t *bytes, size_t n)
{
    npy_file f;
    if (npy_open(fuzz_file("x.npy", bytes, n), &f) < 0) return;
    size_t row = (size_t)f.dim * (f.f32 ? 4 : 2);
    PUPIL_REQUIRE((size_t)f.at + (size_t)f.rows * row == n);
    char *values = pupil_alloc((size_t)f.rows * row);
    PUPIL_REQUIRE(npy_read(&f, 0, f.rows, values) == 0);
    PUPIL_REQUIRE(memcmp(values, bytes + f.at, (size_t)f.rows * row) == 0);
    pupil_free(&values);
    npy_close(&f);
}

static void as_keys(const uint8_t *bytes, size_t n)
{
    pupil_buf keys = {0};
    int64_t rows = 0;
    fuzz_file("keys.json", bytes, n);
    if (pupil_keys_read(fuzz_folder(), &keys, &rows) == 0 && rows > 0) {
        const char *s = keys.s;
        for (int64_t i = 0; i < rows; i++, s += strlen(s) + 1) PUPIL_REQUIRE(*s);
        PUPIL_REQUIRE(s == keys.s + keys.len);
    }
    pupil_buf_free(&keys);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    as_matrix(bytes, n);
    as_keys(bytes, n);
    return 0;
}
