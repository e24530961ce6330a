/* Any bytes as a weights file: refused, or every tensor that is asked for is read in bounds. */
#include "pupil/model.h"

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    static const char *const name[] = {"logit_scale", "text_projection", "visual.proj", "a"};
    static const int64_t shape[2] = {4, 4};
    float out[16];
    char path[64];
    int fd = memfd_create("fuzz.safetensors", MFD_CLOEXEC);
    PUPIL_REQUIRE(fd >= 0 && write(fd, bytes, n) == (ssize_t)n);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    pupil_safetensors *s = NULL;
    if (pupil_safetensors_open(path, &s) == 0)
        for (int i = 0; i < PUPIL_COUNT(name); i++)
            for (int ndim = 0; ndim < 3; ndim++)
                if (pupil_safetensors_has(s, name[i])) pupil_safetensors_read(s, name[i], ndim, shape, out);
    pupil_safetensors_close(&s);
    close(fd);
    return 0;
}
