/* tokenizer_json_pieces.c: a tokenizer.json over pieces: Unigram, or BPE with byte fallback (SigLIP, mT5,
 * Gemma). Each normalizer, pre-tokenizer and post-processor that SigLIP's and SigLIP2's files use; what else
 * a file asks for is refused by its key and type. */
#include "tokenizer_json.h"
#include "tokenizer_pieces.h"

#include <string.h>

static const char *text_of(const json_t *j, const char *key)
{
    return json_string_value(json_object_get(j, key));
}

static bool flag_of(const json_t *j, const char *key, bool otherwise)
{
    const json_t *v = json_object_get(j, key);
    return json_is_boolean(v) ? json_is_true(v) : otherwise;
}

static int unsupported(const char *what)
{
    return pupil_fail(PUPIL_EFORMAT, "%s is not supported", what ? what : "(no type)");
}

/* ---- normalizers and pre-tokenizers ---- */

/* A list under `key` where the type is Sequence, else the object alone; each is given to `one`. */
static int each_of(const json_t *j, const char *key, int (*one)(pupil_tokenizer *, const json_t *),
                   pupil_tokenizer *t)
{
    const char *type = text_of(j, "type");
    if (!j || json_is_null(j)) return 0;
    if (!type || strcmp(type, "Sequence")) return pupil_context(one(t, j), "%s", type ? type : "?");
    const json_t *list = json_object_get(j, key), *part;
    size_t i;
    if (!json_is_array(list)) return pupil_fail(PUPIL_EFORMAT, "Sequence: a list under %s was expected", key);
    json_array_foreach(list, i, part)
    {
        const char *name = text_of(part, "type");
        int r = one(t, part);
        if (r < 0) return pupil_context(r, "%s[%zu]: %s", key, i, name ? name : "?");
    }
    return 0;
}

static int read_pattern(const json_t *j, text_pattern *ret)
{
    const json_t *pattern = json_object_get(j, "pattern");
    const char *text = text_of(pattern, "String"), *regex = text_of(pattern, "Regex");
    if (regex) return pattern_compile(ret, regex);
    if (!text || !*text) return pupil_fail(PUPIL_EFORMAT, "pattern: a String or a Regex was expected");
    ret->text = pupil_strdup(text);
    return 0;
}

static int base64_value(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) : -1;
}

/* The map of a Precompiled normalizer; graphemes are \X. */
static int read_charsmap(charsmap *m, const json_t *j, text_pattern *grapheme)
{
    const char *s = text_of(j, "precompiled_charsmap");
    if (!s) return pupil_fail(PUPIL_EFORMAT, "precompiled_charsmap: base64 text was expected");
    if (m->units) return pupil_fail(PUPIL_EFORMAT, "a second precompiled_charsmap");
    pupil_buf blob = {0};
    uint32_t bits = 0;
    int have = 0;
    for (int v; (v = base64_value(*s)) >= 0; s++) {
        bits = bits << 6 | (uint32_t)v;
        if ((have += 6) < 8) continue;
        have -= 8;
        pupil_buf_add(&blob, &(char){(char)(bits >> have)}, 1);
    }
    int r = s[strspn(s, "=")] ? pupil_fail(PUPIL_EFORMAT, "precompiled_charsmap: not base64") : 0;
    if (r == 0) r = charsmap_read(m, blob.s, blob.len);
    if (r == 0) r = pattern_compile(grapheme, "\\X");
    pupil_buf_free(&blob);
    return r;
}

static int read_step(pupil_tokenizer *t, const json_t *j)
{
    static const char *const name[] = {"Precompiled", "Replace", "Lowercase", "Strip", "Prepend"};
    normalizer *z = &t->pieces->normal;
    const char *type = text_of(j, "type"), *content;
    int kind = 0;
    while (kind < PUPIL_COUNT(name) && (!type || strcmp(type, name[kind]))) kind++;
    if (kind == PUPIL_COUNT(name)) return unsupported(type);
    PUPIL_GROW(z->step, z->steps, z->step_cap);
    normal_step *step = &z->step[z->steps++];
    *step = (normal_step){.kind = (step_kind)kind};
    switch (step->kind) {
    case STEP_CHARSMAP:
        return read_charsmap(&z->map, j, &step->pattern);
    case STEP_REPLACE:
    case STEP_PREPEND:
        content = text_of(j, step->kind == STEP_PREPEND ? "prepend" : "content");
        if (!content) return pupil_fail(PUPIL_EFORMAT, "the text that is put in was expected");
        step->content = pupil_strdup(content);
        return step->kind == STEP_REPLACE ? read_pattern(j, &step->pattern) : 0;
    case STEP_STRIP:
        step->left = flag_of(j, "strip_left", false);
        step->right = flag_of(j, "strip_right", false);
        return 0;
    case STEP_LOWERCASE:
        return 0;
    }
    return 0;
}

static int read_metaspace(pupil_tokenizer *t, const json_t *j, pre_step *step)
{
    const char *mark = text_of(j, "replacement"), *scheme = text_of(j, "prepend_scheme");
    if (!mark || !*mark) return pupil_fail(PUPIL_EFORMAT, "replacement: one character was expected");
    step->metaspace = true;
    step->behavior = SPLIT_WITH_NEXT;
    step->pattern.text = pupil_strdup(mark);
    step->split = flag_of(j, "split", true);
    if (!flag_of(j, "add_prefix_space", true) || (scheme && !strcmp(scheme, "never")))
        step->prepend = PREPEND_NEVER;
    else if (!scheme || !strcmp(scheme, "always")) step->prepend = PREPEND_ALWAYS;
    else if (!strcmp(scheme, "first")) step->prepend = PREPEND_FIRST;
    else return pupil_fail(PUPIL_EFORMAT, "prepend_scheme '%.32s' is not supported", scheme);
    t->pieces->drop_blank = step->prepend != PREPEND_NEVER;
    return 0;
}

static int read_split(const json_t *j, pre_step *step)
{
    static const char *const name[] = {"Removed", "Isolated", "MergedWithPrevious", "MergedWithNext"};
    const char *behavior = text_of(j, "behavior");
    int k = 0;
    while (k < PUPIL_COUNT(name) && (!behavior || strcmp(behavior, name[k]))) k++;
    if (k == PUPIL_COUNT(name))
        return pupil_fail(PUPIL_EFORMAT, "behavior '%.32s' is not supported", behavior ? behavior : "(none)");
    if (flag_of(j, "invert", false)) return unsupported("invert");
    step->behavior = (split_behavior)k;
    return read_pattern(j, &step->pattern);
}

static int read_pre(pupil_tokenizer *t, const json_t *j)
{
    struct tokenizer_pieces *p = t->pieces;
    const char *type = text_of(j, "type");
    PUPIL_GROW(p->pre, p->pres, p->pre_cap);
    pre_step *step = &p->pre[p->pres++];
    *step = (pre_step){.behavior = SPLIT_REMOVED}; /* WhitespaceSplit, as it is */
    if (type && !strcmp(type, "Metaspace")) return read_metaspace(t, j, step);
    if (type && !strcmp(type, "Split")) return read_split(j, step);
    return type && !strcmp(type, "WhitespaceSplit") ? 0 : unsupported(type);
}

/* ---- added tokens and post-processor ---- */

static int read_added_token(pupil_tokenizer *t, const json_t *j)
{
    const json_t *content = json_object_get(j, "content");
    const char *s = json_string_value(content);
    size_t n = json_string_length(content);
    int64_t id =
        json_is_integer(json_object_get(j, "id")) ? json_integer_value(json_object_get(j, "id")) : -1;
    if (!s || n == 0) return pupil_fail(PUPIL_EFORMAT, "content: a text was expected");
    if (flag_of(j, "single_word", false)) return unsupported("single_word");
    if (id == t->token.n) PUPIL_TRY(pieces_add(t, s, n, PIECE_CONTROL, 0));
    if (id < 0 || textset_find(&t->token, s, n) != id)
        return pupil_fail(PUPIL_EFORMAT, "'%.64s' has id %lld, but the vocabulary does not give it that", s,
                          (long long)id);
    bool after = flag_of(j, "normalized", true);
    pupil_buf text = {0};
    if (after) normalizer_run(&t->pieces->normal, &t->pieces->user, s, n, &text);
    else pupil_buf_add(&text, s, n);
    struct added_token token = {(int32_t)id, flag_of(j, "lstrip", false), flag_of(j, "rstrip", false)};
    if (text.len) added_add(&t->pieces->added[after], text.s, text.len, token);
    pupil_buf_free(&text);
    return 0;
}

static int read_added(pupil_tokenizer *t, const json_t *list)
{
    const json_t *token;
    size_t i;
    json_array_foreach(list, i, token)
    {
        int r = read_added_token(t, token);
        if (r < 0) return pupil_context(r, "added_tokens[%zu]", i);
    }
    for (int k = 0; k < 2; k++) {
        added_tokens *a = &t->pieces->added[k];
        for (int32_t id = 0; id < a->text.n; id++) prefix_add(&a->table, &a->text, id);
        prefix_build(&a->table);
    }
    return 0;
}

/* The one special before the text, and the one after it. */
static int read_template(pupil_tokenizer *t, const json_t *j)
{
    const json_t *list = json_object_get(j, "single"), *part;
    const char *type = text_of(j, "type");
    struct tokenizer_pieces *p = t->pieces;
    size_t i;
    bool seen = false;
    if (!type || strcmp(type, "TemplateProcessing")) return unsupported(type);
    json_array_foreach(list, i, part)
    {
        const char *name = text_of(json_object_get(part, "SpecialToken"), "id");
        int32_t *place = seen ? &p->last : &p->first;
        if (json_object_get(part, "Sequence")) {
            seen = true;
            continue;
        }
        if (*place >= 0) return pupil_fail(PUPIL_EFORMAT, "single[%zu]: a second special on one side", i);
        *place = name ? pieces_find(t, name) : -1;
        if (*place < 0)
            return pupil_fail(PUPIL_EFORMAT, "single[%zu]: no token '%.64s'", i, name ? name : "?");
    }
    return seen ? 0 : pupil_fail(PUPIL_EFORMAT, "single: no Sequence in it");
}

/* ---- models ---- */

static int read_unigram(pupil_tokenizer *t, const json_t *model)
{
    const json_t *vocab = json_object_get(model, "vocab"), *piece,
                 *unknown = json_object_get(model, "unk_id");
    size_t i;
    if (!json_is_array(vocab))
        return pupil_fail(PUPIL_EFORMAT, "vocab: a list of pieces and scores was expected");
    json_array_foreach(vocab, i, piece)
    {
        const json_t *s = json_array_get(piece, 0), *score = json_array_get(piece, 1);
        int r = json_is_string(s) && json_is_number(score)
                    ? pieces_add(t, json_string_value(s), json_string_length(s), PIECE_NORMAL,
                                 json_number_value(score))
                    : pupil_fail(PUPIL_EFORMAT, "a piece and its score were expected");
        if (r < 0) return pupil_context(r, "vocab[%zu]", i);
    }
    if (!json_is_integer(unknown) || json_integer_value(unknown) < 0 ||
        json_integer_value(unknown) >= t->token.n)
        return pupil_fail(PUPIL_EFORMAT, "unk_id: the number of a piece was expected");
    t->pieces->unknown = (int32_t)json_integer_value(unknown);
    t->pieces->fuse_unknown = true;
    return 0;
}

/* An object's tokens in the order of their ids, which are 0, 1, 2, ... */
static int read_vocab_object(pupil_tokenizer *t, json_t *vocab)
{
    size_t n = json_object_size(vocab);
    const char *name, **by_id = pupil_alloc((n + 1) * sizeof *by_id);
    json_t *id;
    int r = json_is_object(vocab)
                ? 0
                : pupil_fail(PUPIL_EFORMAT, "vocab: an object of tokens and ids was expected");
    json_object_foreach(vocab, name, id)
    {
        int64_t k = json_is_integer(id) ? json_integer_value(id) : -1;
        if (r < 0) break;
        if (k < 0 || k >= (int64_t)n || by_id[k])
            r = pupil_fail(PUPIL_EFORMAT, "vocab: '%.64s' has id %lld, which is another's or not below %zu",
                           name, (long long)k, n);
        else by_id[k] = name;
    }
    for (size_t k = 0; k < n && r == 0; k++) {
        r = pieces_add(t, by_id[k], strlen(by_id[k]), PIECE_NORMAL, 0);
        if (r < 0) r = pupil_context(r, "vocab: id %zu", k);
    }
    pupil_free(&by_id);
    return r;
}

static int read_merge(pupil_tokenizer *t, const json_t *merge)
{
    tokenizer_slice side[2];
    pupil_buf joined = {0};
    tokenizer_merge_texts(merge, side);
    if (!side[0].s) return pupil_fail(PUPIL_EFORMAT, "two tokens were expected");
    for (int k = 0; k < 2; k++) pupil_buf_add(&joined, side[k].s, side[k].n);
    int64_t left = textset_find(&t->token, side[0].s, side[0].n),
            right = textset_find(&t->token, side[1].s, side[1].n),
            made = textset_find(&t->token, joined.s, joined.len);
    int r = 0;
    if (left < 0 || right < 0 || made < 0)
        r = pupil_fail(PUPIL_EFORMAT, "'%.64s' is not in the vocabulary",
                       made < 0 ? joined.s : side[left >= 0].s);
    else if (tokenizer_pairs_find(&t->pairs, (int32_t)left, (int32_t)right) >= 0)
        r = pupil_fail(PUPIL_EFORMAT, "the pair that makes '%.64s' is there twice", joined.s);
    else tokenizer_pairs_add(&t->pairs, (int32_t)left, (int32_t)right, (int32_t)made);
    pupil_buf_free(&joined);
    return r;
}

static int read_bpe(pupil_tokenizer *t, const json_t *model)
{
    static const char *const null[] = {"dropout", "continuing_subword_prefix", "end_of_word_suffix"};
    for (int k = 0; k < PUPIL_COUNT(null); k++) {
        const json_t *v = json_object_get(model, null[k]);
        if (v && !json_is_null(v) && json_string_length(v) + json_is_number(v)) return unsupported(null[k]);
    }
    if (flag_of(model, "ignore_merges", false)) return unsupported("ignore_merges");
    PUPIL_TRY(read_vocab_object(t, json_object_get(model, "vocab")));
    const char *unknown = text_of(model, "unk_token");
    t->pieces->unknown = unknown ? pieces_find(t, unknown) : -1;
    t->pieces->fuse_unknown = flag_of(model, "fuse_unk", false);
    const json_t *merges = json_object_get(model, "merges"), *merge;
    size_t i;
    if (!json_is_array(merges)) return pupil_fail(PUPIL_EFORMAT, "merges: a list was expected");
    json_array_foreach(merges, i, merge)
    {
        int r = read_merge(t, merge);
        if (r < 0) return pupil_context(r, "merges[%zu]", i);
    }
    return 0;
}

/* The end where the file names none, and what to pad with: as read_model of tokenizer_spm.c. */
static void default_specials(pupil_tokenizer *t, const json_t *root)
{
    struct tokenizer_pieces *p = t->pieces;
    const json_t *pad = json_object_get(json_object_get(root, "padding"), "pad_id");
    if (p->first < 0 && p->last < 0) p->last = pieces_find(t, "</s>");
    if (p->first < 0 && p->last < 0) p->last = pieces_find(t, "<eos>");
    p->pad = t->kind == TOKENIZER_BPE ? pieces_find(t, "<pad>") : p->last;
    if (json_is_integer(pad) && json_integer_value(pad) >= 0 && json_integer_value(pad) < t->token.n)
        p->pad = (int32_t)json_integer_value(pad);
    if (p->pad < 0) p->pad = p->last >= 0 ? p->last : pieces_find(t, "<pad>");
}

int tokenizer_pieces_from_json(const json_t *root, tokenizer_kind kind, pupil_tokenizer **ret)
{
    const json_t *model = json_object_get(root, "model"), *post = json_object_get(root, "post_processor");
    pupil_tokenizer *t = pieces_new(kind);
    t->pieces->bytes = flag_of(model, "byte_fallback", false);
    int r = kind == TOKENIZER_UNIGRAM ? read_unigram(t, model) : read_bpe(t, model);
    if (r < 0) r = pupil_context(r, "model");
    if (r == 0)
        r = pupil_context(each_of(json_object_get(root, "normalizer"), "normalizers", read_step, t),
                          "normalizer");
    if (r == 0)
        r = pupil_context(each_of(json_object_get(root, "pre_tokenizer"), "pretokenizers", read_pre, t),
                          "pre_tokenizer");
    if (r == 0) r = pieces_finish(t);
    if (r == 0) r = read_added(t, json_object_get(root, "added_tokens"));
    if (r == 0 && post && !json_is_null(post)) r = pupil_context(read_template(t, post), "post_processor");
    if (r < 0) {
        pupil_tokenizer_free(&t);
        return r;
    }
    default_specials(t, root);
    *ret = t;
    return 0;
}
