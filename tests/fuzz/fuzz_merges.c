/* Any bytes as a merges file: refused, or a tokenizer whose ids are in its vocabulary; then the bytes as
 * text. */
#include "pupil/data.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static void encode(const pupil_tokenizer *t, const char *text)
{
    int32_t ids[77];
    int n = pupil_tokenizer_encode(t, text, PUPIL_COUNT(ids), ids);
    PUPIL_REQUIRE(n >= 2 && n <= PUPIL_COUNT(ids));
    for (int i = 0; i < n; i++) PUPIL_REQUIRE(ids[i] >= 0 && ids[i] < pupil_tokenizer_vocab(t));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    static pupil_tokenizer *bare;
    static const char *const one = "aab aab";
    if (!bare) PUPIL_REQUIRE(pupil_tokenizer_learn(&one, 1, 514, &bare) == 0);
    char path[64], *text = pupil_alloc(n + 1);
    if (n) memcpy(text, bytes, n);
    int fd = memfd_create("fuzz.merges", MFD_CLOEXEC);
    PUPIL_REQUIRE(fd >= 0 && write(fd, bytes, n) == (ssize_t)n);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    pupil_tokenizer *t = NULL;
    if (pupil_tokenizer_load(path, &t) == 0) encode(t, text);
    encode(bare, text);
    pupil_tokenizer_free(&t);
    close(fd);
    pupil_free(&text);
    return 0;
}
