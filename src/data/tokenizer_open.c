/* tokenizer_open.c: the tokenizer of a model folder, or of one file: which file it is, what the files beside
 * it say about cleaning, the end and padding, and the files that make the same tokenizer elsewhere. */
#include "tokenizer_json.h"
#include "tokenizer_pieces.h"

#include <stdlib.h>
#include <string.h>

/* In this order. */
static const char *const file_names[] = {"merges.txt",
                                         "bpe_simple_vocab_16e6.txt",
                                         "bpe_simple_vocab_16e6.txt.gz",
                                         "tokenizer.json",
                                         "spiece.model",
                                         "tokenizer.model"};

char *pupil_tokenizer_file(const char *path)
{
    if (!pupil_is_dir(path)) return pupil_exists(path) ? pupil_strdup(path) : NULL;
    for (int i = 0; i < PUPIL_COUNT(file_names); i++) {
        char *file = pupil_join(path, file_names[i]);
        if (pupil_exists(file)) return file;
        pupil_free(&file);
    }
    return NULL;
}

static int not_found(const char *path)
{
    if (!pupil_is_dir(path)) return pupil_fail(PUPIL_ENOTFOUND, "%s: there is no such file or folder", path);
    pupil_buf names = {0};
    for (int i = 0; i < PUPIL_COUNT(file_names); i++)
        pupil_buf_printf(&names, "%s%s", i ? ", " : "", file_names[i]);
    int r = pupil_fail(PUPIL_ENOTFOUND, "%s: no tokenizer; looked for %s", path, names.s);
    pupil_buf_free(&names);
    return r;
}

/* ---- files beside it ---- */

/* NULL where there is none. */
static int read_json(const char *dir, const char *name, json_t **ret)
{
    char *path = pupil_join(dir, name), *bytes = NULL;
    size_t n;
    int r = 0;
    if (pupil_exists(path)) {
        r = pupil_read_file(path, TOKENIZER_MAX_FILE, &bytes, &n);
        if (r == 0) r = tokenizer_parse_json(path, bytes, n, ret);
        if (r == 0 && !json_is_object(*ret))
            r = pupil_fail(PUPIL_EFORMAT, "%s:1: an object was expected", path);
    }
    pupil_free(&bytes);
    pupil_free(&path);
    return r;
}

/* The cleaning that `clean` names; as it was where there is no such key. */
static int read_cleaning(const json_t *where, tokenizer_cleaning *ret)
{
    const json_t *j = json_object_get(where, "clean");
    if (!j) return 0;
    int how = json_is_string(j) ? tokenizer_cleaning_of(json_string_value(j)) : -1;
    if (how < 0)
        return pupil_fail(PUPIL_EFORMAT, "clean: '%.64s' is no cleaning of text that is known",
                          json_is_string(j) ? json_string_value(j) : "?");
    *ret = (tokenizer_cleaning)how;
    return 0;
}

/* open_clip gives its HFTokenizer clean="whitespace" where the config names none. */
static int obey_open_clip(pupil_tokenizer *t, const json_t *config)
{
    const json_t *model = json_object_get(config, "model_cfg"),
                 *text = json_object_get(model ? model : config, "text_cfg");
    if (!config) return 0;
    if (t->pieces) t->cleaning = TOKENIZER_WHITESPACE;
    return read_cleaning(json_object_get(text, "tokenizer_kwargs"), &t->cleaning);
}

/* Without a word of open_clip's: SigLIP's texts are cleaned by its tokenizer class, SigLIP2's lower-cased. */
static int default_cleaning(pupil_tokenizer *t, const json_t *config)
{
    const char *class = json_string_value(json_object_get(config, "tokenizer_class"));
    bool siglip = class && !strncmp(class, "SiglipTokenizer", 15),
         as_written = json_is_false(json_object_get(config, "do_lower_case"));
    if (!t->pieces) return 0;
    if (t->kind == TOKENIZER_BPE && !as_written) t->cleaning = TOKENIZER_LOWERCASE;
    if (t->kind != TOKENIZER_UNIGRAM || !(siglip || (t->pieces->normal.spm && !class))) return 0;
    if (as_written) return pupil_fail(PUPIL_EFORMAT, "do_lower_case: false is not supported for SigLIP");
    t->cleaning = TOKENIZER_SIGLIP;
    return 0;
}

/* The id of the token under `key`, a text or {"content": ...}; as it was where there is none. */
static int read_special(const pupil_tokenizer *t, const json_t *config, const char *key, int32_t *ret)
{
    const json_t *j = json_object_get(config, key);
    const char *s = json_string_value(json_is_object(j) ? json_object_get(j, "content") : j);
    if (!s) return 0;
    int32_t id = pieces_find(t, s);
    if (id < 0) return pupil_fail(PUPIL_EFORMAT, "%s: no token '%.64s' in the vocabulary", key, s);
    *ret = id;
    return 0;
}

/* add_bos_token or add_eos_token: whether `special` stands on that side of every text. */
static void obey_add(const json_t *config, const char *key, int32_t special, int32_t *side)
{
    const json_t *j = json_object_get(config, key);
    if (json_is_boolean(j)) *side = json_is_true(j) ? special : -1;
}

static int obey_specials(pupil_tokenizer *t, const json_t *config)
{
    struct tokenizer_pieces *p = t->pieces;
    int32_t bos = pieces_find(t, "<bos>"), eos = p->last >= 0 ? p->last : pieces_find(t, "<eos>");
    PUPIL_TRY(read_special(t, config, "pad_token", &p->pad));
    if (json_is_true(json_object_get(config, "add_bos_token")))
        PUPIL_TRY(read_special(t, config, "bos_token", &bos));
    PUPIL_TRY(read_special(t, config, "eos_token", &eos));
    obey_add(config, "add_bos_token", bos, &p->first);
    obey_add(config, "add_eos_token", eos, &p->last);
    if (p->last >= 0) p->last = eos;
    return 0;
}

static int obey_config(pupil_tokenizer *t, const json_t *config)
{
    PUPIL_TRY(read_cleaning(config, &t->cleaning));
    if (t->pieces) PUPIL_TRY(obey_specials(t, config));
    if (t->pieces && t->pieces->pad < 0) return pupil_fail(PUPIL_EFORMAT, "no token to pad with is named");
    if (!t->pieces && (t->cleaning == TOKENIZER_AS_IS || t->cleaning == TOKENIZER_LOWERCASE))
        return pupil_fail(PUPIL_EFORMAT,
                          "clean: CLIP's tokenizer cannot take text whose white space is kept");
    return 0;
}

/* special_tokens_map.json, then tokenizer_config.json, which has the last word; open_clip's cleaning goes
 * before what the tokenizer's class would do. */
static int obey_files(const char *dir, pupil_tokenizer *t)
{
    json_t *config = NULL, *map = NULL, *open_clip = NULL;
    int r = read_json(dir, "tokenizer_config.json", &config);
    if (r == 0) r = read_json(dir, "open_clip_config.json", &open_clip);
    if (r == 0 && t->pieces) r = read_json(dir, "special_tokens_map.json", &map);
    if (r == 0) r = pupil_context(default_cleaning(t, config), "%s/tokenizer_config.json", dir);
    if (r == 0) r = pupil_context(obey_open_clip(t, open_clip), "%s/open_clip_config.json", dir);
    if (r == 0 && map) r = pupil_context(obey_specials(t, map), "%s/special_tokens_map.json", dir);
    if (r == 0) r = pupil_context(obey_config(t, config), "%s/tokenizer_config.json", dir);
    json_decref(config);
    json_decref(map);
    json_decref(open_clip);
    return r;
}

/* ---- open ---- */

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), k = strlen(end);
    return n >= k && !strcmp(s + n - k, end);
}

/* A file tells by itself what it is: '{' begins JSON, a SentencePiece model begins with its first piece
 * (field 1, bytes); a name that ends so says it as well. */
static int open_file(const char *file, pupil_tokenizer **ret)
{
    char *bytes = NULL;
    size_t n = 0, first = 0;
    int r = pupil_read_file(file, TOKENIZER_MAX_FILE, &bytes, &n);
    if (r < 0) return r;
    while (first < n && strchr(" \t\r\n", bytes[first])) first++;
    bool json = ends_with(file, ".json") || (first < n && bytes[first] == '{');
    bool spm = ends_with(file, ".model") || (n > 2 && bytes[0] == 0x0a && bytes[2] == 0x0a);
    if (json) r = tokenizer_from_json(file, bytes, n, ret);
    else if (spm) r = tokenizer_from_spm(file, bytes, n, ret);
    else r = pupil_tokenizer_load(file, ret);
    if (r == 0 && (*ret)->pieces) {
        pupil_sha256_of(bytes, n, (*ret)->pieces->sha);
        (*ret)->pieces->path = pupil_strdup(file);
    }
    pupil_free(&bytes);
    return r;
}

/* The folder `file` is in, owned by the caller. */
static char *folder_of(const char *file)
{
    const char *slash = strrchr(file, '/');
    return slash ? pupil_format("%.*s", (int)PUPIL_MAX(slash - file, 1), file) : pupil_strdup(".");
}

static int check_vocab_beside(const char *dir, const pupil_tokenizer *t)
{
    char *path = pupil_join(dir, "vocab.json");
    int r = pupil_exists(path) ? tokenizer_check_vocab_json(t, path) : 0;
    pupil_free(&path);
    return r;
}

int pupil_tokenizer_open(const char *path, pupil_tokenizer **ret)
{
    char *file = pupil_tokenizer_file(path);
    if (!file) return not_found(path);
    char *dir = folder_of(file);
    pupil_tokenizer *t = NULL;
    int r = open_file(file, &t);
    if (r == 0 && !t->pieces) r = check_vocab_beside(dir, t);
    if (r == 0) r = obey_files(dir, t);
    pupil_free(&dir);
    pupil_free(&file);
    if (r < 0) {
        pupil_tokenizer_free(&t);
        return r;
    }
    *ret = t;
    return 0;
}

/* ---- copy ---- */

static void set_token(json_t *config, const char *key, const pupil_tokenizer *t, int32_t id)
{
    if (id >= 0) json_object_set_new(config, key, json_stringn(t->token.text[id], t->token.len[id]));
}

/* tokenizer_config.json: the one beside the original where there is one, with what was made of it. */
static int write_config(const pupil_tokenizer *t, const char *dir, json_t *config)
{
    const struct tokenizer_pieces *p = t->pieces;
    char *path = pupil_join(dir, "tokenizer_config.json");
    json_object_set_new(config, "clean", json_string(tokenizer_cleaning_name(t->cleaning)));
    if (p) {
        set_token(config, "bos_token", t, p->first);
        set_token(config, "eos_token", t, p->last);
        set_token(config, "pad_token", t, p->pad);
        json_object_set_new(config, "add_bos_token", json_boolean(p->first >= 0));
        json_object_set_new(config, "add_eos_token", json_boolean(p->last >= 0));
    }
    char *text = json_dumps(config, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
    PUPIL_REQUIRE(text);
    int r = pupil_write_file(path, text, strlen(text));
    free(text);
    pupil_free(&path);
    return r;
}

static int copy_pieces(const pupil_tokenizer *t, const char *dir)
{
    const struct tokenizer_pieces *p = t->pieces;
    char *bytes = NULL, sha[65];
    const char *name = !p->normal.spm                           ? "tokenizer.json"
                       : ends_with(p->path, "/tokenizer.model") ? "tokenizer.model"
                                                                : "spiece.model";
    size_t n;
    PUPIL_TRY(pupil_read_file(p->path, TOKENIZER_MAX_FILE, &bytes, &n));
    pupil_sha256_of(bytes, n, sha);
    char *path = pupil_join(dir, name);
    int r = strcmp(sha, p->sha) ? pupil_fail(PUPIL_EMISMATCH, "%s: changed since it was opened", p->path)
                                : pupil_write_file(path, bytes, n);
    pupil_free(&path);
    pupil_free(&bytes);
    return r;
}

int pupil_tokenizer_copy(const pupil_tokenizer *t, const char *dir)
{
    if (!t->pieces) {
        char *merges = pupil_join(dir, "merges.txt");
        int r = pupil_tokenizer_save(t, merges);
        pupil_free(&merges);
        if (r < 0 || t->cleaning == TOKENIZER_LOWER) return r;
    } else {
        PUPIL_TRY(copy_pieces(t, dir));
    }
    json_t *config = NULL;
    char *from = t->pieces ? folder_of(t->pieces->path) : NULL;
    int r = from ? read_json(from, "tokenizer_config.json", &config) : 0;
    if (r == 0 && !config) config = json_object();
    if (r == 0) r = write_config(t, dir, config);
    json_decref(config);
    pupil_free(&from);
    return r;
}
