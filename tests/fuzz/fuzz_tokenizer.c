/* Any bytes as tokenizer.json if they begin with a brace, else as spiece.model, and behind a line "---" as the
 * tokenizer_config.json beside it: refused, or a tokenizer whose ids are in its vocabulary, for the input itself too. */
#include "folder.h"

#include "pupil/data.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static void encode(const pupil_tokenizer *t, const char *text)
{
    int32_t ids[16];
    int n = pupil_tokenizer_encode(t, text, PUPIL_COUNT(ids), ids);
    PUPIL_REQUIRE(n >= 1 && n <= PUPIL_COUNT(ids));
    for (int i = 0; i < n; i++) PUPIL_REQUIRE(ids[i] >= 0 && ids[i] < pupil_tokenizer_vocab(t));
    char *back = pupil_tokenizer_decode(t, ids, n);
    pupil_free(&back);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    const uint8_t *rest;
    size_t rest_n, first = fuzz_part(bytes, n, &rest, &rest_n);
    fuzz_no_file("tokenizer_config.json");
    if (rest) fuzz_file("tokenizer_config.json", rest, rest_n);
    pupil_tokenizer *t = NULL;
    char *text = pupil_alloc(n + 1), digest[65];
    memcpy(text, bytes, n);
    bool json = n > 0 && bytes[0] == '{';
    fuzz_no_file(json ? "spiece.model" : "tokenizer.json");
    fuzz_file(json ? "tokenizer.json" : "spiece.model", bytes, first);
    if (pupil_tokenizer_open(fuzz_folder(), &t) == 0) {
        encode(t, "a photo of 2 cats\xef\xbc\x81");
        encode(t, text);
        pupil_tokenizer_digest(t, digest);
    }
    pupil_tokenizer_free(&t);
    pupil_free(&text);
    return 0;
}
