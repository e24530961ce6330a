/* tokenizer_open.c: the tokenizer of a model folder, or of one file: which file it is, how the files beside
 * it say that text is cleaned, and the files that make the same tokenizer elsewhere. */
#include "tokenizer.h"

#include <jansson.h>
#include <string.h>

/* In this order. */
static const char *const file_names[] = {"merges.txt", "bpe_simple_vocab_16e6.txt",
                                         "bpe_simple_vocab_16e6.txt.gz", "tokenizer.json"};

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

static int read_json(const char *dir, const char *name, json_t **ret)
{
    char *path = pupil_join(dir, name);
    json_error_t e;
    int r = 0;
    if (pupil_exists(path)) {
        *ret = json_load_file(path, JSON_REJECT_DUPLICATES, &e);
        if (!*ret) r = pupil_fail(PUPIL_EFORMAT, "%s:%d:%d: %s", path, e.line, e.column, e.text);
    }
    pupil_free(&path);
    return r;
}

/* The cleaning that is named under `key`, if one is. */
static int read_cleaning(const char *dir, const char *name, const json_t *where, tokenizer_cleaning *ret)
{
    const json_t *j = json_object_get(where, "clean");
    if (!j) return 0;
    int how = json_is_string(j) ? tokenizer_cleaning_of(json_string_value(j)) : -1;
    if (how < 0)
        return pupil_fail(PUPIL_EFORMAT, "%s/%s: clean: '%s' is no cleaning of text that is known", dir, name,
                          json_is_string(j) ? json_string_value(j) : "?");
    *ret = (tokenizer_cleaning)how;
    return 0;
}

static int obey_configs(const char *dir, pupil_tokenizer *t)
{
    json_t *ours = NULL, *open_clip = NULL;
    int r = read_json(dir, "tokenizer_config.json", &ours);
    if (r == 0) r = read_json(dir, "open_clip_config.json", &open_clip);
    const json_t *model = json_object_get(open_clip, "model_cfg"),
                 *text = json_object_get(model ? model : open_clip, "text_cfg");
    if (r == 0)
        r = read_cleaning(dir, "open_clip_config.json", json_object_get(text, "tokenizer_kwargs"),
                          &t->cleaning);
    if (r == 0) r = read_cleaning(dir, "tokenizer_config.json", ours, &t->cleaning);
    if (r == 0 && t->kind == TOKENIZER_CLIP && t->cleaning == TOKENIZER_AS_IS)
        r = pupil_fail(PUPIL_EFORMAT, "%s: CLIP's tokenizer cannot take text that is not cleaned", dir);
    json_decref(ours);
    json_decref(open_clip);
    return r;
}

/* ---- open and copy ---- */

/* A file tells by itself what it is: '{' begins JSON. */
static int open_file(const char *file, pupil_tokenizer **ret)
{
    char *bytes = NULL;
    size_t n = 0, first = 0;
    int r = pupil_read_file(file, TOKENIZER_MAX_FILE, &bytes, &n);
    if (r < 0) return r;
    while (first < n && strchr(" \t\r\n", bytes[first])) first++;
    if (first < n && bytes[first] == '{') r = tokenizer_from_json(file, bytes, n, ret);
    else r = pupil_tokenizer_load(file, ret);
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
    if (r == 0 && t->kind == TOKENIZER_CLIP) r = check_vocab_beside(dir, t);
    if (r == 0) r = obey_configs(dir, t);
    pupil_free(&dir);
    pupil_free(&file);
    if (r < 0) {
        pupil_tokenizer_free(&t);
        return r;
    }
    *ret = t;
    return 0;
}

int pupil_tokenizer_copy(const pupil_tokenizer *t, const char *dir)
{
    char *merges = pupil_join(dir, "merges.txt"), *config = pupil_join(dir, "tokenizer_config.json");
    char *text = pupil_format("{\"clean\": \"%s\"}\n", tokenizer_cleaning_name(t->cleaning));
    int r = pupil_tokenizer_save(t, merges);
    if (r == 0 && t->cleaning != TOKENIZER_LOWER) r = pupil_write_file(config, text, strlen(text));
    pupil_free(&text);
    pupil_free(&config);
    pupil_free(&merges);
    return r;
}
