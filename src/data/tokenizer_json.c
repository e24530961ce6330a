/* tokenizer_json.c: tokenizer.json, as the tokenizers library writes it, and vocab.json. What a file asks for
 * and this program does not do is refused by its key and type. */
#include "tokenizer_json.h"

#include <string.h>

int tokenizer_parse_json(const char *path, const char *bytes, size_t n, json_t **ret)
{
    json_error_t e;
    *ret = json_loadb(bytes, n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &e);
    if (!*ret) return pupil_fail(PUPIL_EFORMAT, "%s:%d:%d: %s", path, e.line, e.column, e.text);
    return 0;
}

/* ---- CLIP's ---- */

/* A vocabulary may leave out the two specials, and nothing else. */
static int check_vocab(const pupil_tokenizer *t, json_t *vocab)
{
    const char *name;
    json_t *id;
    int64_t n = (int64_t)json_object_size(vocab);
    if (!json_is_object(vocab)) return pupil_fail(PUPIL_EFORMAT, "an object of tokens and ids was expected");
    json_object_foreach(vocab, name, id)
        PUPIL_TRY(tokenizer_check_token(t, name, json_is_integer(id) ? json_integer_value(id) : -1));
    if (n < t->token.n || n > t->token.n + 2)
        return pupil_fail(PUPIL_EFORMAT, "%lld tokens, but the merges make %lld and two specials",
                          (long long)n, (long long)t->token.n);
    return 0;
}

int tokenizer_check_vocab_json(const pupil_tokenizer *t, const char *path)
{
    char *bytes = NULL;
    size_t n;
    json_t *vocab = NULL;
    int r = pupil_read_file(path, TOKENIZER_MAX_FILE, &bytes, &n);
    if (r == 0) r = tokenizer_parse_json(path, bytes, n, &vocab);
    if (r == 0) r = pupil_context(check_vocab(t, vocab), "%s", path);
    json_decref(vocab);
    pupil_free(&bytes);
    return r;
}

void tokenizer_merge_texts(const json_t *merge, tokenizer_slice side[2])
{
    side[0] = side[1] = (tokenizer_slice){0};
    if (json_is_string(merge)) {
        const char *s = json_string_value(merge), *gap = memchr(s, ' ', json_string_length(merge));
        if (!gap) return;
        side[0] = (tokenizer_slice){s, (size_t)(gap - s)};
        side[1] = (tokenizer_slice){gap + 1, json_string_length(merge) - side[0].n - 1};
    } else if (json_array_size(merge) == 2 && json_is_string(json_array_get(merge, 0)) &&
               json_is_string(json_array_get(merge, 1))) {
        for (size_t k = 0; k < 2; k++) {
            const json_t *part = json_array_get(merge, k);
            side[k] = (tokenizer_slice){json_string_value(part), json_string_length(part)};
        }
    }
}

static int clip_added(const pupil_tokenizer *t, const json_t *root)
{
    const json_t *added;
    size_t i;
    json_array_foreach(json_object_get(root, "added_tokens"), i, added)
    {
        const char *name = json_string_value(json_object_get(added, "content"));
        int r = name ? tokenizer_check_token(t, name, json_integer_value(json_object_get(added, "id")))
                     : pupil_fail(PUPIL_EFORMAT, "no content");
        if (r < 0) return pupil_context(r, "added_tokens[%zu]", i);
    }
    return 0;
}

static int read_clip(const json_t *root, const json_t *model, pupil_tokenizer *t)
{
    const json_t *merges = json_object_get(model, "merges"), *merge;
    size_t i;
    if (!json_is_array(merges)) return pupil_fail(PUPIL_EFORMAT, "model.merges: a list was expected");
    json_array_foreach(merges, i, merge)
    {
        tokenizer_slice side[2];
        tokenizer_merge_texts(merge, side);
        int r = side[0].s ? tokenizer_merge_line(t, side[0].s, side[0].n, side[1].s, side[1].n)
                          : pupil_fail(PUPIL_EFORMAT, "two tokens were expected");
        if (r < 0) return pupil_context(r, "model.merges[%zu]", i);
    }
    PUPIL_TRY(pupil_context(check_vocab(t, json_object_get(model, "vocab")), "model.vocab"));
    return clip_added(t, root);
}

int tokenizer_from_json(const char *path, const char *bytes, size_t n, pupil_tokenizer **ret)
{
    json_t *root;
    PUPIL_TRY(tokenizer_parse_json(path, bytes, n, &root));
    const json_t *model = json_object_get(root, "model");
    const char *type = json_string_value(json_object_get(model, "type")),
               *suffix = json_string_value(json_object_get(model, "end_of_word_suffix"));
    bool bpe = type && !strcmp(type, "BPE");
    pupil_tokenizer *t = NULL;
    int r;
    if (bpe && suffix && !strcmp(suffix, "</w>")) {
        r = tokenizer_new(&t);
        if (r == 0) r = read_clip(root, model, t);
    } else if (bpe || (type && !strcmp(type, "Unigram"))) {
        r = tokenizer_pieces_from_json(root, bpe ? TOKENIZER_BPE : TOKENIZER_UNIGRAM, &t);
    } else {
        r = pupil_fail(PUPIL_EFORMAT, "model.type %s is not supported", type ? type : "(none)");
    }
    json_decref(root);
    if (r < 0) {
        pupil_tokenizer_free(&t);
        return pupil_context(r, "%s", path);
    }
    *ret = t;
    return 0;
}
