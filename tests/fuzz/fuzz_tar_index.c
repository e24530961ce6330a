/* Any bytes as a saved index, once as they are and once with the checksum put right, and as a tar to be
 * indexed: what is believed can be walked to its end, and what is built from a tar is believed. */
#include "tar_index.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static void walk(const void *bytes, size_t n)
{
    tar_index x;
    if (!tar_index_view(bytes, n, &x)) return;
    size_t sum = strlen(x.text);
    for (int64_t i = 0; i < x.head->samples; i++) {
        const char *text = x.text + x.sample[i].text;
        for (uint32_t k = 0; k <= x.sample[i].captions; k++) text += strlen(text) + 1;
        sum += (size_t)(text - x.text);
        PUPIL_REQUIRE(x.sample[i].at + (int64_t)x.sample[i].bytes <= x.head->tar_bytes);
    }
    PUPIL_REQUIRE(sum || x.head->samples == 0);
}

static void as_index(const uint8_t *bytes, size_t n)
{
    char *copy = pupil_alloc(n);
    if (n) memcpy(copy, bytes, n);
    walk(copy, n);
    if (n >= sizeof(tar_index_head)) {
        uint32_t crc = pupil_crc32c(0, copy + 12, n - 12);
        memcpy(copy + 8, &crc, 4);
        walk(copy, n);
    }
    pupil_free(&copy);
}

static void as_tar(const uint8_t *bytes, size_t n)
{
    int fd = memfd_create("fuzz.tar", MFD_CLOEXEC);
    PUPIL_REQUIRE(fd >= 0 && write(fd, bytes, n) == (ssize_t)n && lseek(fd, 0, SEEK_SET) == 0);
    pupil_buf b = {0};
    if (tar_index_build("fuzz.tar", fd, (int64_t)n, 0, &b) == 0) {
        tar_index x;
        PUPIL_REQUIRE(tar_index_view(b.s, b.len, &x));
        walk(b.s, b.len);
    }
    pupil_buf_free(&b);
    close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    as_index(bytes, n);
    as_tar(bytes, n);
    return 0;
}
