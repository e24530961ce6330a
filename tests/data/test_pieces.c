/* test_pieces.c: SentencePiece tokenizers. tests/data/pieces holds small models that spm_train made, tokenizer.json files with
 * the parts that T5, SigLIP and Gemma have, and ids.json: the ids that sentencepiece 0.1.97 gives for the models and
 * the tokenizers library (0.13) for the JSON files, for 92 texts with most of Unicode's traps in them. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "../proof.h"
#include "pupil/data.h"

enum { CONTEXT = 400 };

static char *dir;
static json_t *ids, *texts;

static char *source(const char *name)
{
    char *path = pupil_format("%s/tests/data/pieces/%s", getenv("PUPIL_SOURCE"), name);
    return path;
}

static int begin(void **state)
{
    (void)state;
    char *path = source("ids.json");
    dir = folder_new();
    ids = json_load_file(path, 0, NULL);
    texts = json_object_get(ids, "texts");
    pupil_free(&path);
    return json_array_size(texts) == 92 ? 0 : -1;
}

static int end(void **state)
{
    (void)state;
    json_decref(ids);
    folder_end(&dir);
    return 0;
}

static void put(const char *name, const void *bytes, size_t n)
{
    char *path = pupil_join(dir, name);
    GOOD(pupil_write_file(path, bytes, n));
    pupil_free(&path);
}

static void clear(void)
{
    char **name;
    int n;
    GOOD(pupil_list_dir(dir, "", "", &name, &n));
    for (int i = 0; i < n; i++) {
        char *path = pupil_join(dir, name[i]);
        remove(path);
        pupil_free(&path);
    }
    pupil_names_free(&name, n);
}

static size_t load(const char *name, char **ret)
{
    char *path = source(name);
    size_t n;
    GOOD(pupil_read_file(path, 0, ret, &n));
    pupil_free(&path);
    return n;
}

/* The model `name` in a folder of its own, as `file`, beside this tokenizer_config.json (NULL: none). */
static void lay(const char *name, const char *file, const char *config)
{
    char *bytes;
    size_t n = load(name, &bytes);
    clear();
    put(file, bytes, n);
    if (config) put("tokenizer_config.json", config, strlen(config));
    pupil_free(&bytes);
}

static pupil_tokenizer *opened(void)
{
    pupil_tokenizer *t = NULL;
    GOOD(pupil_tokenizer_open(dir, &t));
    return t;
}

/* Each text's ids are those of ids.json, then padding alone. */
static void same_ids(const pupil_tokenizer *t, const char *want)
{
    const json_t *all = json_object_get(ids, want);
    int32_t got[CONTEXT], pad[1];
    assert_int_equal(json_array_size(all), json_array_size(texts));
    assert_int_equal(pupil_tokenizer_encode(t, "", CONTEXT, got), CONTEXT);
    pad[0] = got[CONTEXT - 1];
    for (size_t i = 0; i < json_array_size(texts); i++) {
        const json_t *w = json_array_get(all, i);
        const char *text = json_string_value(json_array_get(texts, i));
        size_t n = json_array_size(w);
        assert_int_equal(pupil_tokenizer_encode(t, text, CONTEXT, got), CONTEXT);
        for (size_t k = 0; k < CONTEXT; k++) {
            int64_t id = k < n ? json_integer_value(json_array_get(w, k)) : pad[0];
            CHECK(got[k] == id, "%s, text %zu (%.60s): id %zu is %d, expected %lld", want, i, text, k, got[k], (long long)id);
        }
    }
}

static const char bare[] = "{\"clean\": \"none\", \"add_bos_token\": false, \"add_eos_token\": false, \"pad_token\": \"<pad>\"}";

static void models_as_sentencepiece_has_them(void **state)
{
    (void)state;
    static const char *const name[] = {"unigram.model", "bytes.model", "bpe.model"};
    for (int i = 0; i < PUPIL_COUNT(name); i++) {
        lay(name[i], i == 1 ? "tokenizer.model" : "spiece.model", bare);
        pupil_tokenizer *t = opened();
        assert_true(pupil_tokenizer_pads(t));
        assert_string_equal(pupil_tokenizer_kind(t), i < 2 ? "SentencePiece unigram" : "SentencePiece BPE");
        same_ids(t, name[i]);
        pupil_tokenizer_free(&t);
    }
}

static void json_as_the_tokenizers_library_has_it(void **state)
{
    (void)state;
    static const char *const name[] = {"t5.json", "siglip.json", "gemma.json"};
    for (int i = 0; i < PUPIL_COUNT(name); i++) {
        lay(name[i], "tokenizer.json", "{\"clean\": \"none\", \"pad_token\": \"<pad>\"}");
        pupil_tokenizer *t = opened();
        same_ids(t, name[i]);
        pupil_tokenizer_free(&t);
    }
    lay("gemma.json", "tokenizer.json", "{\"pad_token\": \"<pad>\"}"); /* SigLIP2's texts are lower-cased */
    pupil_tokenizer *t = opened();
    same_ids(t, "gemma.low.json");
    pupil_tokenizer_free(&t);
}

/* As the published SigLIP has it: texts cleaned, </s> behind them, padded with it. */
static void siglips_own_way(void **state)
{
    (void)state;
    int32_t a[16], b[16];
    lay("unigram.model", "spiece.model", "{\"tokenizer_class\": \"SiglipTokenizer\", \"pad_token\": \"</s>\"}");
    pupil_tokenizer *t = opened();
    assert_int_equal(pupil_tokenizer_encode(t, "A photo, of  a \"CAT\"!", 16, a), 16);
    assert_int_equal(pupil_tokenizer_encode(t, "a photo of a cat", 16, b), 16);
    assert_memory_equal(a, b, sizeof a);
    assert_int_equal(a[15], 1);
    for (int context = 2; context < 8; context++) { /* the end stays when the text is cut */
        assert_int_equal(pupil_tokenizer_encode(t, "a photo of a small garden", context, b), context);
        assert_int_equal(b[context - 1], 1);
    }
    pupil_tokenizer_free(&t);
}

static void a_copy_is_the_same(void **state)
{
    (void)state;
    static const struct {
        const char *name, *file, *config;
    } one[] = {{"unigram.model", "spiece.model", "{\"tokenizer_class\": \"SiglipTokenizer\", \"pad_token\": \"</s>\"}"},
               {"bpe.model", "tokenizer.model", "{\"clean\": \"lowercase\", \"pad_token\": \"<pad>\"}"},
               {"siglip.json", "tokenizer.json", NULL}};
    for (int i = 0; i < PUPIL_COUNT(one); i++) {
        char first[65], second[65], other[65], *to = pupil_format("%s-copy", dir);
        lay(one[i].name, one[i].file, one[i].config);
        pupil_tokenizer *t = opened(), *u = NULL;
        pupil_tokenizer_digest(t, first);
        GOOD(pupil_mkdirs(to));
        GOOD(pupil_tokenizer_copy(t, to));
        GOOD(pupil_tokenizer_open(to, &u));
        pupil_tokenizer_digest(u, second);
        assert_string_equal(first, second);
        assert_int_equal(pupil_tokenizer_vocab(t), pupil_tokenizer_vocab(u));
        pupil_tokenizer_free(&u);
        put("tokenizer_config.json", bare, strlen(bare)); /* another cleaning is another tokenizer */
        u = opened();
        pupil_tokenizer_digest(u, other);
        assert_string_not_equal(first, other);
        pupil_tokenizer_free(&u);
        put(one[i].file, "x", 1);
        BAD(pupil_tokenizer_copy(t, to), PUPIL_EMISMATCH, "changed since it was opened");
        pupil_tokenizer_free(&t);
        char *left = to;
        folder_end(&left);
    }
}

/* What a byte of damage does, nobody knows; but it is one line or a tokenizer whose ids are its own. */
static void damage(void **state)
{
    (void)state;
    static const char *const name[] = {"unigram.model", "bpe.model", "siglip.json", "gemma.json"};
    int bad = 0;
    for (int i = 0; i < PUPIL_COUNT(name); i++) {
        char *bytes;
        size_t n = load(name[i], &bytes);
        for (uint64_t k = 0; k < 120; k++) {
            pupil_rng r = pupil_rng_at(9, PUPIL_STREAM_TEST, k);
            char *copy = pupil_alloc(n);
            size_t cut = k % 3 == 0 ? pupil_rng_below(&r, n) : n;
            memcpy(copy, bytes, n);
            for (int j = 0; j < 3; j++) copy[pupil_rng_below(&r, n)] = (char)pupil_rng_below(&r, 256);
            clear();
            put(i < 2 ? "spiece.model" : "tokenizer.json", copy, cut);
            pupil_tokenizer *t = NULL;
            int32_t got[12];
            if (pupil_tokenizer_open(dir, &t) < 0) {
                assert_null(strchr(pupil_reason(), '\n'));
                bad++;
            } else {
                pupil_tokenizer_encode(t, "a photo of a cat \xf0\x9f\x98\x80", 12, got);
                for (int j = 0; j < 12; j++) assert_in_range(got[j], 0, pupil_tokenizer_vocab(t) - 1);
            }
            pupil_tokenizer_free(&t);
            pupil_free(&copy);
        }
        pupil_free(&bytes);
    }
    assert_in_range(bad, 100, 479);
}

static void refused(const char *file, const void *bytes, size_t n, const char *why)
{
    pupil_tokenizer *t;
    clear();
    put(file, bytes, n);
    BAD(pupil_tokenizer_open(dir, &t), PUPIL_EFORMAT, why);
}

static void hostile_models(void **state)
{
    (void)state;
    refused("spiece.model", "", 0, "spiece.model");
    refused("spiece.model", "\x0a\xff\xff\xff\xff\x0f", 6, "spiece.model");  /* a piece longer than the file */
    refused("spiece.model", "\x0a\x04\x0a\x02" "a", 5, "spiece.model");      /* cut in a piece */
    refused("spiece.model", "\x0a\x05\x0a\x03\xff\xfe\xfd", 7, "spiece.model"); /* no UTF-8 */
    refused("spiece.model", "\x0b\x0b\x0b", 3, "spiece.model");              /* a group that never ends */
    static const char list[] = "{\"model\": []}", vocab[] = "{\"model\": {\"type\": \"Unigram\", \"vocab\": [[\"a\", \"b\"]], \"unk_id\": 0}}",
                      unk[] = "{\"model\": {\"type\": \"Unigram\", \"vocab\": [[\"a\", -1]], \"unk_id\": 7}}";
    refused("tokenizer.json", list, sizeof list - 1, "tokenizer.json");
    refused("tokenizer.json", vocab, sizeof vocab - 1, "tokenizer.json");
    refused("tokenizer.json", unk, sizeof unk - 1, "tokenizer.json");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(models_as_sentencepiece_has_them),
        cmocka_unit_test(json_as_the_tokenizers_library_has_it),
        cmocka_unit_test(siglips_own_way),
        cmocka_unit_test(a_copy_is_the_same),
        cmocka_unit_test(damage),
        cmocka_unit_test(hostile_models),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
