/* parse.c: libyaml's node tree walked against the table. Every problem of a file becomes one line with its place;
 * nothing is guessed and nothing is dropped. */
#include "schema.h"

#include <string.h>
#include <yaml.h>

enum { DEEPEST = 16 };

typedef struct {
    const char *file; /* name in messages; for --set "--set a.b=v" */
    bool is_set;
    yaml_document_t doc;
    pupil_conf *c;
    place *at;
    pupil_buf *errors;
    int count;
} walk;

static void complain(walk *w, const yaml_node_t *n, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void complain(walk *w, const yaml_node_t *n, const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (w->is_set) pupil_buf_printf(w->errors, "%s: %s\n", w->file, text);
    else pupil_buf_printf(w->errors, "%s:%zu:%zu: %s\n", w->file, n->start_mark.line + 1, n->start_mark.column + 1, text);
    w->count++;
}

static const char *scalar(const yaml_node_t *n) { return (const char *)n->data.scalar.value; }

/* A NUL inside a scalar would silently shorten it. */
static bool whole(const yaml_node_t *n) { return n->type == YAML_SCALAR_NODE && strlen(scalar(n)) == n->data.scalar.length; }

/* The closest key: by its full name, or by its last word in another section; ties go to the closer full name. */
static const char *suggest(const char *key)
{
    const char *best = NULL, *last = strrchr(key, '.');
    int least = 1 << 20;
    last = last ? last + 1 : key;
    for (int i = 0; i < schema_n; i++) {
        const char *word = strrchr(schema[i].key, '.') + 1;
        int full = pupil_edit_distance(key, schema[i].key), tail = pupil_edit_distance(last, word);
        if (full > 3 && tail > (int)strlen(last) / 3) continue;
        int score = 100 * PUPIL_MIN(full, 3 + tail) + full;
        if (score < least) {
            least = score;
            best = schema[i].key;
        }
    }
    return best;
}

static void unknown(walk *w, const yaml_node_t *n, const char *key)
{
    const char *close = suggest(key);
    if (close) complain(w, n, "unknown key '%s', expected a key of `pupil help config`, did you mean '%s'?", key, close);
    else complain(w, n, "unknown key '%s', expected a key of `pupil help config`", key);
}

static void store_list(walk *w, const field *f, const yaml_node_t *v)
{
    field_clear(f, w->c);
    if (whole(v)) {
        field_add_string(f, scalar(v), w->c);
        return;
    }
    for (yaml_node_item_t *i = v->data.sequence.items.start; v->type == YAML_SEQUENCE_NODE && i < v->data.sequence.items.top; i++) {
        yaml_node_t *e = yaml_document_get_node(&w->doc, *i);
        if (whole(e)) field_add_string(f, scalar(e), w->c);
        else complain(w, e, "%s: an entry is no text, expected a list of texts", f->key);
    }
    if (v->type == YAML_MAPPING_NODE) complain(w, v, "%s: a mapping, expected a list of texts", f->key);
}

static bool is_null(const yaml_node_t *v)
{
    return whole(v) && v->data.scalar.style == YAML_PLAIN_SCALAR_STYLE && (!scalar(v)[0] || !strcmp(scalar(v), "null") || !strcmp(scalar(v), "~"));
}

static void store(walk *w, int i, const yaml_node_t *v)
{
    const field *f = &schema[i];
    char expected[256];
    w->at[i] = (place){w->file, w->is_set ? -1 : (int)v->start_mark.line + 1, (int)v->start_mark.column + 1};
    if (is_null(v)) {
        field_clear(f, w->c);
        if (f->init) complain(w, v, "%s: nothing is given, expected %s", f->key, (field_expected(f, expected), expected));
        else w->at[i].line = 0;
        return;
    }
    if (!strncmp(f->key, "teacher.train.", 14)) w->c->teacher.train_here = true;
    if (f->type == TYPE_STRINGS) {
        store_list(w, f, v);
        return;
    }
    if (!whole(v)) {
        field_expected(f, expected);
        complain(w, v, "%s: a %s, expected %s", f->key, v->type == YAML_MAPPING_NODE ? "mapping" : v->type == YAML_SEQUENCE_NODE ? "list" : "text with a NUL", expected);
        return;
    }
    if (field_store(f, scalar(v), v->data.scalar.style != YAML_PLAIN_SCALAR_STYLE, w->c, expected)) return;
    const char *close = NULL;
    for (const char *p = f->choices; p; p = strchr(p, ' '), p = p ? p + 1 : NULL) {
        static char word[64];
        snprintf(word, sizeof word, "%.*s", (int)strcspn(p, " "), p);
        if (pupil_edit_distance(word, scalar(v)) <= 2) {
            close = word;
            break;
        }
    }
    complain(w, v, "%s: '%.80s', expected %s%s%s%s", f->key, scalar(v), expected, close ? ", did you mean '" : "", close ? close : "", close ? "'?" : "");
}

static void walk_map(walk *w, const yaml_node_t *map, const char *prefix, int depth);

/* A section that has a weight (or can be enabled) may be given as that value alone. */
static int short_form(const char *key)
{
    static const char *const last[] = {"weight", "enable"};
    for (int k = 0; k < 2; k++) {
        char full[256];
        snprintf(full, sizeof full, "%s.%s", key, last[k]);
        int i = schema_find(full);
        if (i >= 0) return i;
    }
    return -1;
}

static void walk_key(walk *w, const yaml_node_t *k, const yaml_node_t *v, const char *key, int depth)
{
    int i = schema_find(key);
    if (i < 0 && v->type == YAML_SCALAR_NODE && !is_null(v)) i = short_form(key);
    if (i >= 0) {
        store(w, i, v);
    } else if (schema_is_section(key)) {
        if (!strcmp(key, "teacher.train")) w->c->teacher.train_here = true;
        if (v->type == YAML_MAPPING_NODE) walk_map(w, v, key, depth + 1);
        else if (!is_null(v)) complain(w, v, "%s: a %s, expected a section with keys below it", key, v->type == YAML_SEQUENCE_NODE ? "list" : "value");
    } else {
        unknown(w, k, key);
    }
}

/* The node of an earlier pair of the map with the same key, or NULL. */
static const yaml_node_t *given_before(walk *w, const yaml_node_t *map, const yaml_node_pair_t *pair, const char *key)
{
    for (const yaml_node_pair_t *p = map->data.mapping.pairs.start; p < pair; p++) {
        const yaml_node_t *k = yaml_document_get_node(&w->doc, p->key);
        if (whole(k) && !strcmp(scalar(k), key)) return k;
    }
    return NULL;
}

static void walk_map(walk *w, const yaml_node_t *map, const char *prefix, int depth)
{
    if (depth > DEEPEST) {
        complain(w, map, "nested more than %d levels deep", DEEPEST);
        return;
    }
    for (yaml_node_pair_t *p = map->data.mapping.pairs.start; p < map->data.mapping.pairs.top; p++) {
        yaml_node_t *k = yaml_document_get_node(&w->doc, p->key), *v = yaml_document_get_node(&w->doc, p->value);
        if (!whole(k)) {
            complain(w, k, "a key is no plain text");
            continue;
        }
        if (strlen(scalar(k)) > 100) {
            complain(w, k, "unknown key '%.40s...'", scalar(k));
            continue;
        }
        char key[256];
        snprintf(key, sizeof key, "%s%s%s", prefix, prefix[0] ? "." : "", scalar(k));
        const yaml_node_t *first = given_before(w, map, p, scalar(k));
        if (first) complain(w, k, "%s is given twice, first in line %zu", key, first->start_mark.line + 1);
        else walk_key(w, k, v, key, depth);
    }
}

/* libyaml's own error, with its place. */
static void yaml_error(walk *w, const yaml_parser_t *p)
{
    const char *hint = p->problem && strstr(p->problem, "cannot start any token") ? " (YAML is indented with spaces, never tabs)" : "";
    if (w->is_set) pupil_buf_printf(w->errors, "%s: not YAML: %s\n", w->file, p->problem ? p->problem : "unreadable");
    else pupil_buf_printf(w->errors, "%s:%zu:%zu: not YAML: %s%s%s%s\n", w->file, p->problem_mark.line + 1, p->problem_mark.column + 1,
                          p->context ? p->context : "", p->context ? ", " : "", p->problem ? p->problem : "unreadable", hint);
    w->count++;
}

/* Parse text; `key` NULL: a whole file, else the value of that key. */
static void walk_text(walk *w, const char *text, const char *key)
{
    yaml_parser_t p;
    yaml_parser_initialize(&p);
    yaml_parser_set_input_string(&p, (const unsigned char *)text, strlen(text));
    if (!yaml_parser_load(&p, &w->doc)) {
        yaml_error(w, &p);
        yaml_parser_delete(&p);
        return;
    }
    yaml_node_t *root = yaml_document_get_root_node(&w->doc);
    if (key && root) walk_key(w, root, root, key, 1);
    else if (key) pupil_buf_printf(w->errors, "%s: no value\n", w->file), w->count++;
    else if (root && root->type == YAML_MAPPING_NODE) walk_map(w, root, "", 1);
    else if (root) complain(w, root, "expected sections such as `run:` and `student:` at the top");
    yaml_document_t more;
    if (root && yaml_parser_load(&p, &more)) {
        yaml_node_t *second = yaml_document_get_root_node(&more);
        if (second) complain(w, second, "a second document, expected one");
        yaml_document_delete(&more);
    }
    yaml_document_delete(&w->doc);
    yaml_parser_delete(&p);
}

static pupil_conf *defaults(const char *path)
{
    pupil_conf *c = pupil_alloc(sizeof *c);
    char expected[256];
    c->file = pupil_strdup(path);
    for (int i = 0; i < schema_n; i++) {
        if (!schema[i].init) field_clear(&schema[i], c);
        else PUPIL_REQUIRE(field_store(&schema[i], schema[i].init, false, c, expected));
    }
    return c;
}

static void apply_set(walk *w, const char *set)
{
    char *key = pupil_strdup(set), *value = strchr(key, '=');
    if (!value || value == key) {
        pupil_buf_printf(w->errors, "--set %s: expected --set section.key=value\n", set);
        w->count++;
    } else {
        *value++ = 0;
        walk_text(w, value, key);
    }
    pupil_free(&key);
}

int pupil_conf_parse(const char *path, const char *text, const char *const *sets, int n, pupil_conf **ret, pupil_buf *errors)
{
    walk w = {.file = path, .c = defaults(path), .errors = errors};
    char **names = pupil_alloc((size_t)(n + 1) * sizeof *names);
    w.at = pupil_alloc((size_t)schema_n * sizeof *w.at);
    walk_text(&w, text, NULL);
    for (int i = 0; i < n; i++) {
        names[i] = pupil_format("--set %s", sets[i]);
        w.file = names[i];
        w.is_set = true;
        apply_set(&w, sets[i]);
    }
    w.count += conf_check(w.c, w.at, errors);
    pupil_names_free(&names, n);
    if (n == 0) pupil_free(&names);
    pupil_free(&w.at);
    if (w.count) {
        pupil_conf_free(&w.c);
        return pupil_fail(PUPIL_EUSER, "%s: %d problem%s", path, w.count, w.count == 1 ? "" : "s");
    }
    *ret = w.c;
    return 0;
}

int pupil_conf_load(const char *path, const char *const *sets, int n, pupil_conf **ret, pupil_buf *errors)
{
    char *text;
    size_t bytes;
    int r = pupil_is_dir(path) ? pupil_fail(PUPIL_EUSER, "%s: a folder, expected a YAML file", path)
                               : pupil_read_file(path, 1 << 20, &text, &bytes);
    if (r == 0 && strlen(text) != bytes) {
        pupil_free(&text);
        r = pupil_fail(PUPIL_EUSER, "%s: holds NUL bytes, expected YAML text", path);
    }
    if (r < 0) {
        pupil_buf_printf(errors, "%s\n", pupil_reason());
        return PUPIL_EUSER;
    }
    r = pupil_conf_parse(path, text, sets, n, ret, errors);
    pupil_free(&text);
    return r;
}
