/* test_tokenizer_open.c: every file that can hold CLIP's vocabulary gives the same ids; what contradicts it
 * is refused by name; a folder's configs are obeyed and a copy of a tokenizer is the same tokenizer. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pupil/data.h"

static char dir[64];
static const char *const captions[] = {"two red circles and a small blue star",
                                       "a red circle above a blue star",
                                       "Two_STARS &amp; a c\xc3\xa9ntre; don't"};

static char *in_dir(const char *name)
{
    return pupil_join(dir, name);
}

static void put(const char *name, const char *text)
{
    char *path = in_dir(name);
    assert_int_equal(pupil_write_file(path, text, strlen(text)), 0);
    pupil_free(&path);
}

static void empty_dir(void)
{
    char **name;
    int n;
    assert_int_equal(pupil_list_dir(dir, "", "", &name, &n), 0);
    for (int i = 0; i < n; i++) {
        char *path = in_dir(name[i]);
        unlink(path);
        pupil_free(&path);
    }
    pupil_names_free(&name, n);
}

static pupil_tokenizer *learned(void)
{
    pupil_tokenizer *t;
    assert_int_equal(pupil_tokenizer_learn(captions, PUPIL_COUNT(captions), 560, &t), 0);
    return t;
}

/* What pupil_tokenizer_open(dir) gives is `want`, which is freed. */
static void opens_as(pupil_tokenizer *want)
{
    pupil_tokenizer *t = NULL;
    char a[65], b[65];
    int r = pupil_tokenizer_open(dir, &t);
    if (r < 0) fail_msg("%s", pupil_reason());
    pupil_tokenizer_digest(t, a);
    pupil_tokenizer_digest(want, b);
    assert_string_equal(a, b);
    assert_false(pupil_tokenizer_pads(t));
    assert_string_equal(pupil_tokenizer_kind(t), "CLIP BPE");
    for (int i = 0; i < PUPIL_COUNT(captions); i++) {
        int32_t x[64], y[64];
        int n = pupil_tokenizer_encode(t, captions[i], 64, x);
        assert_int_equal(pupil_tokenizer_encode(want, captions[i], 64, y), n);
        assert_memory_equal(x, y, (size_t)n * sizeof *x);
    }
    pupil_tokenizer_free(&t);
    pupil_tokenizer_free(&want);
}

static void refused(int code, const char *says)
{
    pupil_tokenizer *t = NULL;
    assert_int_equal(pupil_tokenizer_open(dir, &t), code);
    if (!strstr(pupil_reason(), says)) fail_msg("'%s' does not say '%s'", pupil_reason(), says);
    assert_non_null(strstr(pupil_reason(), dir));
    assert_null(strchr(pupil_reason(), '\n'));
    assert_null(t);
}

/* merges.txt, and vocab.json as text */
static char *save_merges(const pupil_tokenizer *t)
{
    pupil_buf vocab = {0};
    char *path = in_dir("merges.txt");
    assert_int_equal(pupil_tokenizer_save(t, path), 0);
    assert_int_equal(pupil_tokenizer_vocab_json(t, &vocab), 0);
    pupil_free(&path);
    return vocab.s;
}

static void merges_with_a_vocabulary(void **state)
{
    empty_dir();
    pupil_tokenizer *t = learned();
    char *vocab = save_merges(t);
    assert_non_null(strstr(vocab, "{\"!\": 0, "));
    assert_non_null(strstr(vocab, "\"<|endoftext|>\": "));
    put("vocab.json", vocab);
    opens_as(t);

    char *at = strstr(vocab, "\"#\": 2,");
    memcpy(at, "\"#\": 3,", 7);
    put("vocab.json", vocab);
    refused(PUPIL_EFORMAT, "vocab.json: '#' has id 3, but the merges give it 2");
    memcpy(at, "\"~\": 2,", 7);
    put("vocab.json", vocab);
    refused(PUPIL_EFORMAT, "vocab.json");
    put("vocab.json", "{\"qqq\": 5}");
    refused(PUPIL_EFORMAT, "'qqq' (id 5) is no token that the merges make");
    put("vocab.json", "{\"!\": 0}");
    refused(PUPIL_EFORMAT, "1 tokens, but the merges make");
    put("vocab.json", "[");
    refused(PUPIL_EFORMAT, "vocab.json:1:");
    pupil_free(&vocab);
}

/* The tokenizers library's file out of merges.txt and vocab.json; `pairs`: merges as lists. */
static void write_json(const char *vocab, bool pairs)
{
    char *path = in_dir("merges.txt"), *merges, *save;
    assert_int_equal(pupil_read_file(path, 0, &merges, NULL), 0);
    unlink(path);
    pupil_buf j = {0};
    pupil_buf_printf(&j,
                     "{\"added_tokens\": [], \"normalizer\": null, \"model\": {\"type\": \"BPE\", "
                     "\"end_of_word_suffix\": \"</w>\", \"vocab\": %s, \"merges\": [",
                     vocab);
    strtok_r(merges, "\n", &save);
    const char *comma = "";
    for (char *line; (line = strtok_r(NULL, "\n", &save)); comma = ", ") {
        char *gap = strchr(line, ' ');
        pupil_buf_puts(&j, comma);
        if (pairs) *gap = 0;
        if (pairs) pupil_buf_puts(&j, "[");
        pupil_buf_json(&j, line);
        if (pairs) pupil_buf_puts(&j, ", ");
        if (pairs) pupil_buf_json(&j, gap + 1);
        if (pairs) pupil_buf_puts(&j, "]");
    }
    pupil_buf_puts(&j, "]}}");
    put("tokenizer.json", j.s);
    pupil_buf_free(&j);
    pupil_free(&merges);
    pupil_free(&path);
}

static void tokenizer_json_of_clip(void **state)
{
    for (int pairs = 0; pairs < 2; pairs++) {
        empty_dir();
        pupil_tokenizer *t = learned();
        char *vocab = save_merges(t);
        write_json(vocab, pairs);
        pupil_free(&vocab);
        opens_as(t);
    }
    static const char *const bad[][2] = {
        {"{", "tokenizer.json:1:"},
        {"{\"model\": {\"type\": \"WordPiece\"}}", "model.type WordPiece is not supported"},
        {"{\"model\": {\"type\": \"BPE\", \"end_of_word_suffix\": \"</w>\"}}",
         "model.merges: a list was expected"},
        {"{\"model\": {\"type\": \"BPE\", \"end_of_word_suffix\": \"</w>\", \"merges\": [\"a b\", 3]}}",
         "model.merges[1]: two tokens"},
        {"{\"model\": {\"type\": \"BPE\", \"end_of_word_suffix\": \"</w>\", \"merges\": [[\"a\", \"bb\"]]}}",
         "model.merges[0]: 'bb' is no token yet"},
        {"{\"model\": {\"type\": \"BPE\", \"end_of_word_suffix\": \"</w>\", \"merges\": []}}",
         "model.vocab: an object"},
    };
    for (int i = 0; i < PUPIL_COUNT(bad); i++) {
        put("tokenizer.json", bad[i][0]);
        refused(PUPIL_EFORMAT, bad[i][1]);
    }
}

static void nothing_there(void **state)
{
    empty_dir();
    refused(PUPIL_ENOTFOUND,
            "merges.txt, bpe_simple_vocab_16e6.txt, bpe_simple_vocab_16e6.txt.gz, tokenizer.json");
    assert_null(pupil_tokenizer_file(dir));
    pupil_tokenizer *t;
    assert_int_equal(pupil_tokenizer_open("/nowhere/at/all", &t), PUPIL_ENOTFOUND);
}

static void text_of(const char *clean_from, const char *want)
{
    pupil_tokenizer *t;
    assert_int_equal(pupil_tokenizer_open(dir, &t), 0);
    int32_t ids[64];
    int n = pupil_tokenizer_encode(t, clean_from, 64, ids);
    char *text = pupil_tokenizer_decode(t, ids + 1, n - 2);
    assert_string_equal(text, want);
    pupil_free(&text);
    pupil_tokenizer_free(&t);
}

static void the_named_cleaning_is_obeyed(void **state)
{
    empty_dir();
    pupil_tokenizer *t = learned();
    char *vocab = save_merges(t);
    pupil_free(&vocab);
    pupil_tokenizer_free(&t);
    const char *caption = " The_RED &amp; \t (BLUE) st\xc3\x84r. ";
    text_of(caption, "the _ red & ( blue ) st\xc3\xa4r . ");
    put("open_clip_config.json",
        "{\"model_cfg\": {\"text_cfg\": {\"tokenizer_kwargs\": {\"clean\": \"canonicalize\"}}}}");
    text_of(caption, "the red blue st\xc3\xa4r ");
    put("tokenizer_config.json", "{\"clean\": \"whitespace\"}");
    text_of(caption, "The _ RED & ( BLUE ) st\xc3\x84r . ");
    put("tokenizer_config.json", "{\"clean\": \"whitespace_underscore\"}");
    text_of(caption, "The RED & ( BLUE ) st\xc3\x84r . ");
    put("tokenizer_config.json", "{\"clean\": \"siglip\"}");
    text_of(caption, "thered amp blue st\xc3\xa4r ");
    put("tokenizer_config.json", "{\"clean\": \"spotless\"}");
    refused(PUPIL_EFORMAT, "tokenizer_config.json: clean: 'spotless'");
    put("tokenizer_config.json", "{\"clean\": \"none\"}");
    refused(PUPIL_EFORMAT, "CLIP's tokenizer cannot take text whose white space is kept");
}

static void a_copy_is_the_same(void **state)
{
    static const char *const clean[] = {"lower", "canonicalize"};
    char digest[2][65];
    for (int i = 0; i < 2; i++) {
        empty_dir();
        pupil_tokenizer *t = learned(), *again;
        char *vocab = save_merges(t), *config = pupil_format("{\"clean\": \"%s\"}", clean[i]);
        pupil_free(&vocab);
        pupil_tokenizer_free(&t);
        put("tokenizer_config.json", config);
        pupil_free(&config);
        assert_int_equal(pupil_tokenizer_open(dir, &t), 0);
        empty_dir();
        assert_int_equal(pupil_tokenizer_copy(t, dir), 0);
        assert_int_equal(pupil_tokenizer_open(dir, &again), 0);
        pupil_tokenizer_digest(again, digest[i]);
        pupil_tokenizer_free(&again);
        opens_as(t);
    }
    assert_string_not_equal(digest[0], digest[1]);
}

static int make_dir(void **state)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(dir, sizeof dir, "%s/pupil-tok-XXXXXX", tmp && strlen(tmp) < 40 ? tmp : "/tmp");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    empty_dir();
    return rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merges_with_a_vocabulary),
        cmocka_unit_test(tokenizer_json_of_clip),
        cmocka_unit_test(nothing_there),
        cmocka_unit_test(the_named_cleaning_is_obeyed),
        cmocka_unit_test(a_copy_is_the_same),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
