/* test_tokenizer.c: ids equal open_clip's on its own vocabulary (PUPIL_ORACLE), learned vocabularies
 * round-trip, hostile files and texts are survived. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pupil/data.h"

static char dir[64];
static pupil_tokenizer *clip;

static json_t *oracle(const char *name)
{
    const char *root = getenv("PUPIL_ORACLE");
    char *path = pupil_format("%s/tokenizer/%s", root ? root : "", name);
    json_t *j = root ? json_load_file(path, 0, NULL) : NULL;
    if (!j) print_message("no %s: set PUPIL_ORACLE\n", path);
    pupil_free(&path);
    if (!j) skip();
    return j;
}

static const pupil_tokenizer *clip_tokenizer(void)
{
    if (!clip) {
        char *path = pupil_format("%s/tokenizer/bpe_simple_vocab_16e6.txt.gz", getenv("PUPIL_ORACLE"));
        assert_int_equal(pupil_tokenizer_load(path, &clip), 0);
        pupil_free(&path);
    }
    return clip;
}

static void check_ids(const pupil_tokenizer *t, const char *text, int context, const json_t *want)
{
    int32_t ids[256];
    int n = pupil_tokenizer_encode(t, text, context, ids);
    bool padded = (int)json_array_size(want) == context;
    bool same = padded || n == (int)json_array_size(want);
    for (int i = 0; i < (int)json_array_size(want) && same; i++)
        same = (i < n ? ids[i] : 0) == json_integer_value(json_array_get(want, (size_t)i));
    if (!same) {
        print_message("text: %s\nids:", text);
        for (int i = 0; i < n; i++) print_message(" %d", ids[i]);
        print_message("\nwant: %s\n", json_dumps(want, JSON_COMPACT));
    }
    assert_true(same);
}

static void ids_equal_open_clip(void **state)
{
    json_t *j = oracle("tokens.json"), *e;
    size_t i;
    json_array_foreach(json_object_get(j, "strings"), i, e) check_ids(
        clip_tokenizer(), json_string_value(json_object_get(e, "text")), 77, json_object_get(e, "ids"));
    assert_true(i >= 400);
    json_decref(j);
    assert_int_equal(pupil_tokenizer_vocab(clip), 49408);
}

static void ids_equal_open_clip_without_ftfy(void **state)
{
    json_t *j = oracle("tokens_ftfy_changes.json"), *e;
    size_t i;
    json_array_foreach(json_object_get(j, "strings"), i, e)
        check_ids(clip_tokenizer(), json_string_value(json_object_get(e, "text")), 77,
                  json_object_get(e, "ids_without_ftfy"));
    assert_true(i > 0);
    json_decref(j);
}

static void other_contexts(void **state)
{
    json_t *j = oracle("tokens_other_context.json"), *e;
    size_t i;
    json_array_foreach(json_object_get(j, "strings"), i, e)
        check_ids(clip_tokenizer(), json_string_value(json_object_get(e, "text")),
                  (int)json_integer_value(json_object_get(e, "context_length")), json_object_get(e, "ids"));
    assert_true(i > 0);
    json_decref(j);
}

static void decodes_as_open_clip(void **state)
{
    json_t *j = oracle("decode.json"), *e, *id;
    size_t i, k;
    json_array_foreach(json_object_get(j, "strings"), i, e)
    {
        int32_t ids[512];
        json_array_foreach(json_object_get(e, "ids"), k, id) ids[k] = (int32_t)json_integer_value(id);
        char *text = pupil_tokenizer_decode(clip_tokenizer(), ids, (int)k);
        assert_string_equal(text, json_string_value(json_object_get(e, "text")));
        pupil_free(&text);
    }
    assert_true(i > 0);
    json_decref(j);
}

static const char *const captions[] = {"two red circles and a small blue star",
                                       "a red circle above a blue star", "a picture of three blue stars",
                                       "Two STARS &amp; a c\xc3\xa9ntre"};
static pupil_tokenizer *learn(int64_t vocab)
{
    pupil_tokenizer *t;
    assert_int_equal(pupil_tokenizer_learn(captions, PUPIL_COUNT(captions), vocab, &t), 0);
    return t;
}

static void same_ids(const pupil_tokenizer *a, const pupil_tokenizer *b, const char *text)
{
    int32_t x[64], y[64];
    int n = pupil_tokenizer_encode(a, text, 64, x);
    assert_int_equal(pupil_tokenizer_encode(b, text, 64, y), n);
    assert_memory_equal(x, y, (size_t)n * sizeof *x);
}

static void learns_saves_and_loads(void **state)
{
    pupil_tokenizer *t = learn(600), *back;
    char *path = pupil_join(dir, "merges.txt"), a[65], b[65];
    assert_int_equal(pupil_tokenizer_save(t, path), 0);
    assert_int_equal(pupil_tokenizer_load(path, &back), 0);
    pupil_tokenizer_digest(t, a);
    pupil_tokenizer_digest(back, b);
    assert_string_equal(a, b);
    assert_int_equal(pupil_tokenizer_vocab(t), pupil_tokenizer_vocab(back));
    for (int i = 0; i < PUPIL_COUNT(captions); i++) same_ids(t, back, captions[i]);
    same_ids(t, back, "na\xc3\xafve \xf0\x9f\x98\x80 text of other words");
    int32_t ids[64];
    assert_int_equal(pupil_tokenizer_encode(t, "a red star", 64, ids),
                     5); /* frequent words are one id each */
    int n = pupil_tokenizer_encode(t, " A  red\tSTAR,  unseen ", 64, ids);
    char *text = pupil_tokenizer_decode(t, ids, n);
    assert_string_equal(text, "<start_of_text>a red star , unseen <end_of_text>");
    pupil_free(&text);
    pupil_free(&path);
    pupil_tokenizer_free(&back);
    pupil_tokenizer_free(&t);
}

static void the_smallest_vocabulary_is_bytes(void **state)
{
    pupil_tokenizer *t = learn(514);
    int32_t ids[8];
    assert_int_equal(pupil_tokenizer_vocab(t), 514);
    assert_int_equal(pupil_tokenizer_encode(t, "ab", 8, ids), 4);
    const int32_t want[] = {512, 'a' - '!', 'b' - '!' + 256, 513};
    assert_memory_equal(ids, want, sizeof want);
    pupil_tokenizer_free(&t);
    assert_int_equal(pupil_tokenizer_learn(captions, 1, 513, &t), PUPIL_EUSER);
}

/* Where words end: Unicode 15's letters and numbers whatever PCRE2 has; U+0345 is in no word, as with the regex package. */
static void words_are_those_of_unicode_15(void **state)
{
    static const struct {
        const char *text;
        int words;
    } cases[] = {{"a\xf0\xb1\x8d\x90""b", 1},         /* U+31350, a letter */
                 {"a\xf0\x91\xbd\x90""b", 3},         /* U+11F50, a number */
                 {"!\xf0\x91\xbd\x90""!", 3},
                 {"!\xf0\x91\xbc\x82!", 3},          /* U+11F02, a letter */
                 {"!\xf0\xb3\x8d\x90!", 1},          /* U+33350, nothing yet */
                 {"!\xcd\x85!", 2},
                 {"a\xcd\x85""a\xcd\x85", 2},
                 {"!\xcd\x84!", 1}};
    pupil_tokenizer *t = learn(514);
    for (int i = 0; i < PUPIL_COUNT(cases); i++) {
        int32_t ids[16];
        int n = pupil_tokenizer_encode(t, cases[i].text, PUPIL_COUNT(ids), ids), words = 0;
        for (int k = 1; k < n - 1; k++) words += ids[k] >= 256; /* a byte that ends a word */
        if (words != cases[i].words) print_message("case %d: %d words\n", i, words);
        assert_int_equal(words, cases[i].words);
    }
    pupil_tokenizer_free(&t);
}

/* The merges of a text small enough to be counted by hand. */
static void merges_go_by_count_then_bytes(void **state)
{
    const char *text[] = {"abab abab ba aab aab aab bbb"};
    pupil_tokenizer *t;
    assert_int_equal(pupil_tokenizer_learn(text, 1, 519, &t), 0);
    char *path = pupil_join(dir, "plain.txt"), *s;
    assert_int_equal(pupil_tokenizer_save(t, path), 0);
    assert_int_equal(pupil_read_file(path, 0, &s, NULL), 0);
    /* pairs: "a b</w>" 2 (abab) + 3 (aab) = 5, "a b" 2, "b a" 2, "a a" 3, "b a</w>" 1, "b b" 1, "b b</w>" 1;
     * then "a ab</w>" 3, "b ab</w>" 2, "a b" 2; then of "a b" and "b ab</w>", 2 each, the first in bytes */
    assert_string_equal(s, "#version: 0.2\na b</w>\na ab</w>\na b\nab ab</w>\n");
    pupil_free(&s);
    pupil_free(&path);
    pupil_tokenizer_free(&t);
}

static void *encode_many(void *t)
{
    int32_t want[64], ids[64];
    int n = pupil_tokenizer_encode(t, captions[0], 64, want);
    for (int i = 0; i < 2000; i++)
        if (pupil_tokenizer_encode(t, captions[0], 64, ids) != n ||
            memcmp(ids, want, (size_t)n * sizeof *ids))
            return t;
    return NULL;
}

static void encodes_from_several_threads(void **state)
{
    pupil_tokenizer *t = learn(600);
    pthread_t thread[4];
    for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&thread[i], NULL, encode_many, t), 0);
    for (int i = 0; i < 4; i++) {
        void *bad;
        pthread_join(thread[i], &bad);
        assert_null(bad);
    }
    pupil_tokenizer_free(&t);
}

static void hostile_files_are_refused(void **state)
{
    static const char *const bad[][2] = {
        {"", ":1: a header"},
        {"header without an end", ":1: a header"},
        {"#version\na b\nnoblank\n", ":3: two tokens"},
        {"#version\nab c\n", ":2: 'ab' is no token yet"},
        {"#version\na \n", ":2: '' is no token yet"},
        {"#version\na b\na b\n", ":3: 'a b' makes a token"},
        {"#version\na b\nab c\nb c\na bc\n", ":5: 'a bc' makes a token"},
        {"#version\n\xff\xfe b\n", ":2: '"},
        {"#version\na b\n\nb c\n", ":3: two tokens"},
    };
    char *path = pupil_join(dir, "bad.txt");
    pupil_tokenizer *t = NULL;
    for (int i = 0; i < PUPIL_COUNT(bad); i++) {
        assert_int_equal(pupil_write_file(path, bad[i][0], strlen(bad[i][0])), 0);
        assert_int_equal(pupil_tokenizer_load(path, &t), PUPIL_EFORMAT);
        assert_non_null(strstr(pupil_reason(), bad[i][1]));
        assert_non_null(strstr(pupil_reason(), path));
    }
    static const char torn[] = "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x4b\x4c";
    assert_int_equal(pupil_write_file(path, torn, sizeof torn - 1), 0);
    assert_int_equal(pupil_tokenizer_load(path, &t), PUPIL_EFORMAT);
    assert_null(t);
    pupil_free(&path);
    assert_int_equal(pupil_tokenizer_load("/nowhere/merges.txt", &t), PUPIL_ENOTFOUND);
}

/* One word of 2 MB and a row of capital sigmas: linear, not quadratic. */
static void hostile_texts_are_survived(void **state)
{
    pupil_tokenizer *t = learn(600);
    int32_t ids[16];
    size_t n = 2 << 20;
    char *text = pupil_alloc(n + 1);
    for (size_t i = 0; i < n; i++) text[i] = "star"[i % 4];
    assert_int_equal(pupil_tokenizer_encode(t, text, 16, ids), 16);
    assert_int_equal(ids[15], pupil_tokenizer_vocab(t) - 1);
    for (size_t i = 0; i < n; i++) text[i] = "\xce\xa3'&"[i % 4];
    assert_int_equal(pupil_tokenizer_encode(t, text, 16, ids), 16);
    memset(text, 0xf0, n);
    assert_int_equal(pupil_tokenizer_encode(t, text, 16, ids), 16);
    assert_int_equal(pupil_tokenizer_encode(t, "", 16, ids), 2);
    assert_int_equal(pupil_tokenizer_encode(t, "&#xD800;&#99999999999999999999;&", 2, ids), 2);
    pupil_free(&text);
    static const int32_t odd[] = {-1, 1 << 30, 65};
    char *back = pupil_tokenizer_decode(t, odd, 3);
    assert_string_equal(back, "\xef\xbf\xbd\xef\xbf\xbd"
                              "b");
    pupil_free(&back);
    pupil_tokenizer_free(&t);
}

static void invalid_utf8_becomes_the_replacement_character(void **state)
{
    pupil_tokenizer *t = learn(514);
    same_ids(t, t, "x");
    static const char *const pairs[][2] = {{"a\xff"
                                            "b",
                                            "a\xef\xbf\xbd"
                                            "b"},
                                           {"\xe2\x82", "\xef\xbf\xbd"},
                                           {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
                                           {"\xf0\x9f\x98z", "\xef\xbf\xbdz"},
                                           {"\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd"}};
    for (int i = 0; i < PUPIL_COUNT(pairs); i++) {
        int32_t x[64], y[64];
        int n = pupil_tokenizer_encode(t, pairs[i][0], 64, x);
        assert_int_equal(pupil_tokenizer_encode(t, pairs[i][1], 64, y), n);
        assert_memory_equal(x, y, (size_t)n * sizeof *x);
    }
    pupil_tokenizer_free(&t);
}

static int make_dir(void **state)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(dir, sizeof dir, "%s/pupil-tok-XXXXXX", tmp && strlen(tmp) < 40 ? tmp : "/tmp");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    char **name;
    int n;
    pupil_tokenizer_free(&clip);
    if (pupil_list_dir(dir, "", "", &name, &n) < 0) return -1;
    for (int i = 0; i < n; i++) {
        char *path = pupil_join(dir, name[i]);
        unlink(path);
        pupil_free(&path);
    }
    pupil_names_free(&name, n);
    return rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_equal_open_clip),
        cmocka_unit_test(ids_equal_open_clip_without_ftfy),
        cmocka_unit_test(other_contexts),
        cmocka_unit_test(decodes_as_open_clip),
        cmocka_unit_test(learns_saves_and_loads),
        cmocka_unit_test(the_smallest_vocabulary_is_bytes),
        cmocka_unit_test(words_are_those_of_unicode_15),
        cmocka_unit_test(merges_go_by_count_then_bytes),
        cmocka_unit_test(encodes_from_several_threads),
        cmocka_unit_test(hostile_files_are_refused),
        cmocka_unit_test(hostile_texts_are_survived),
        cmocka_unit_test(invalid_utf8_becomes_the_replacement_character),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
