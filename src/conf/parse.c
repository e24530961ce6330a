/* parse.c: libyaml's node tree walked against the table. Every problem of a file becomes one line with its
 * place; nothing is guessed and nothing is dropped. */
#include "schema.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <yaml.h>

enum { KEY_ROOM = 256 };

typedef struct {
    const char *file; /* name in messages; for --set "--set a.b=v" */
    bool is_set, is_site; /* --set; the defaults of the site */
    const pupil_study *study; /* whose points are taken, or NULL */
    const int *point;
    bool is_point; /* what stands in the file already is replaced */
    bool unread; /* something was no YAML or no settings at all: what is missing then says nothing */
    yaml_document_t doc;
    pupil_conf *c;
    place *at;
    problems p;
} walk;

static place at_mark(const walk *w, const yaml_mark_t *m)
{
    return (place){.file = w->file, .line = w->is_set ? -1 : (int)m->line + 1, .column = (int)m->column + 1};
}

static place at_node(const walk *w, const yaml_node_t *n)
{
    return at_mark(w, &n->start_mark);
}

static const char *scalar(const yaml_node_t *n)
{
    return (const char *)n->data.scalar.value;
}

/* A NUL inside a scalar would silently shorten it. */
static bool whole(const yaml_node_t *n)
{
    return n->type == YAML_SCALAR_NODE && strlen(scalar(n)) == n->data.scalar.length;
}

static const char *kind(const yaml_node_t *n)
{
    return n->type == YAML_MAPPING_NODE    ? "a section"
           : n->type == YAML_SEQUENCE_NODE ? "a list"
           : whole(n)                      ? "a value"
                                           : "text with a NUL";
}

static bool is_null(const yaml_node_t *v)
{
    return whole(v) && v->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
           (!scalar(v)[0] || !strcasecmp(scalar(v), "null") || !strcmp(scalar(v), "~"));
}

/* ---- keys --------------------------------------------------------------------------------------- */
/* How far `key` is from `known`: by the full names, or by the last words, which counts more. */
static int key_distance(const char *key, const char *known)
{
    const char *last = strrchr(key, '.'), *word = strrchr(known, '.');
    last = last ? last + 1 : key;
    word = word ? word + 1 : known;
    int full = pupil_edit_distance(key, known), tail = pupil_edit_distance(last, word);
    if (full > 3 && tail > (int)strlen(last) / 3) return INT_MAX;
    return 100 * PUPIL_MIN(full, 1 + 2 * tail) + full;
}

/* The closest key or section, into best; false if none is close. */
static bool suggest(const char *key, char best[KEY_ROOM])
{
    int least = INT_MAX;
    for (int i = 0; i < schema_n; i++)
        for (size_t n = 1; n <= strlen(schema[i].key); n++) {
            if (schema[i].key[n] != '.' && schema[i].key[n] != 0) continue;
            char known[KEY_ROOM];
            snprintf(known, sizeof known, "%.*s", (int)n, schema[i].key);
            int d = key_distance(key, known);
            if (d == INT_MAX || d > least) continue;
            least = d;
            strcpy(best, known);
        }
    return least < INT_MAX;
}

static void unknown(walk *w, const yaml_node_t *n, const char *key)
{
    char close[KEY_ROOM];
    bool any = strlen(key) < 100 && suggest(key, close);
    problem(&w->p, at_node(w, n), "unknown key '%.100s', expected a key of `pupil help config`%s%s%s", key,
            any ? ", did you mean '" : "", any ? close : "", any ? "'?" : "");
}

/* A section that has a weight (or can be enabled) may be given as that value alone. */
static int short_form(const char *key)
{
    static const char *const last[] = {"weight", "enable"};
    for (int k = 0; k < PUPIL_COUNT(last); k++) {
        char full[KEY_ROOM];
        snprintf(full, sizeof full, "%s.%s", key, last[k]);
        int i = schema_find(full);
        if (i >= 0) return i;
    }
    return -1;
}

/* ---- values ------------------------------------------------------------------------------------- */
static void refuse(walk *w, int i, const yaml_node_t *v)
{
    const field *f = &schema[i];
    char expected[EXPECTED_ROOM], word[64];
    bool text = whole(v) && !is_null(v);
    const char *close = text ? field_choice(f, scalar(v), word) : NULL;
    field_expected(f, expected);
    problem(&w->p, at_node(w, v), "%s: %s%.80s%s, expected %s%s%s%s", f->key, text ? "'" : "",
            text         ? scalar(v)
            : is_null(v) ? "nothing is given"
                         : kind(v),
            text ? "'" : "", expected, close ? ", did you mean '" : "", close ? close : "",
            close ? "'?" : "");
    w->at[i].bad = true;
}

/* A list, or one text for a list of one. */
static void store_list(walk *w, int i, const yaml_node_t *v)
{
    const field *f = &schema[i];
    field_clear(f, w->c);
    if (v->type != YAML_SEQUENCE_NODE) {
        if (!whole(v) || !field_add_string(f, scalar(v), w->c)) refuse(w, i, v);
        return;
    }
    for (yaml_node_item_t *e = v->data.sequence.items.start; e < v->data.sequence.items.top; e++) {
        const yaml_node_t *n = yaml_document_get_node(&w->doc, *e);
        if (is_null(n) || !whole(n) || !field_add_string(f, scalar(n), w->c)) refuse(w, i, n);
    }
}

static void store(walk *w, int i, const yaml_node_t *k, const yaml_node_t *v)
{
    const field *f = &schema[i];
    if (w->is_site && !(f->flags & FREE)) {
        problem(&w->p, at_node(w, k), "%s: may change a result, so it stands in the settings of a run, not in those of a site", f->key);
        return;
    }
    if (w->at[i].line > 0 && w->at[i].file == w->file && !w->is_set && !w->is_point) {
        problem(&w->p, at_node(w, k), "%s is given twice, first in line %d", f->key, w->at[i].line);
        return;
    }
    bool null = is_null(v), unset = null && !f->init && !(f->flags & REQUIRED);
    w->at[i] = at_node(w, v);
    if (unset) {
        field_clear(f, w->c);
        w->at[i] = (place){0};
    } else if (f->type == TYPE_STRINGS) {
        store_list(w, i, v);
    } else if (null || !whole(v) ||
               !field_store(f, scalar(v), v->data.scalar.style != YAML_PLAIN_SCALAR_STYLE, w->c)) {
        refuse(w, i, v);
    }
}

/* ---- the tree ----------------------------------------------------------------------------------- */
static void walk_map(walk *w, const yaml_node_t *map, const char *prefix);

/* A list of sections: item i has the keys below "KEY.i". */
static void walk_items(walk *w, const yaml_node_t *list, const char *key)
{
    int i = 0;
    for (yaml_node_item_t *e = list->data.sequence.items.start; e < list->data.sequence.items.top; e++, i++) {
        const yaml_node_t *item = yaml_document_get_node(&w->doc, *e);
        char below[KEY_ROOM];
        snprintf(below, sizeof below, "%s.%d", key, i);
        if (!schema_is_section(below)) {
            problem(&w->p, at_node(w, item), "%s: one too many, expected at most %d", key, i);
            return;
        }
        if (item->type == YAML_MAPPING_NODE) walk_map(w, item, below);
        else problem(&w->p, at_node(w, item), "%s: %s in the list, expected sections", key, kind(item));
    }
}

static void walk_key(walk *w, const yaml_node_t *k, const yaml_node_t *v, const char *key)
{
    if (!strcmp(key, "study") && !w->is_point && !w->is_set && !w->is_site) {
        if (!w->study) problem(&w->p, at_node(w, k), "study: this file is a study of many runs, expected `pupil study %s`", w->file);
        return;
    }
    int i = schema_find(key);
    if (i < 0 && v->type == YAML_SCALAR_NODE && !is_null(v)) i = short_form(key);
    if (!strcmp(key, "teacher.train") || !strncmp(key, "teacher.train.", 14)) w->c->teacher.train_here = true;
    if (i >= 0) store(w, i, k, v);
    else if (!schema_is_section(key)) unknown(w, k, key);
    else if (v->type == YAML_MAPPING_NODE) walk_map(w, v, key);
    else if (v->type == YAML_SEQUENCE_NODE && schema_is_list(key)) walk_items(w, v, key);
    else if (!is_null(v))
        problem(&w->p, at_node(w, v), "%s: %s, expected a section with keys below it", key, kind(v));
}

/* The node of an earlier pair of the map with the same key, or NULL. */
static const yaml_node_t *given_before(walk *w, const yaml_node_t *map, const yaml_node_pair_t *pair,
                                       const char *key)
{
    for (const yaml_node_pair_t *p = map->data.mapping.pairs.start; p < pair; p++) {
        const yaml_node_t *k = yaml_document_get_node(&w->doc, p->key);
        if (whole(k) && !strcmp(scalar(k), key)) return k;
    }
    return NULL;
}

static void walk_map(walk *w, const yaml_node_t *map, const char *prefix)
{
    const yaml_node_pair_t *p = map->data.mapping.pairs.start, *top = map->data.mapping.pairs.top;
    for (; p < top && w->p.count <= MOST_PROBLEMS; p++) {
        const yaml_node_t *k = yaml_document_get_node(&w->doc, p->key),
                          *v = yaml_document_get_node(&w->doc, p->value);
        char key[KEY_ROOM];
        if (!whole(k) ||
            snprintf(key, sizeof key, "%s%s%s", prefix, prefix[0] ? "." : "", scalar(k)) >= KEY_ROOM) {
            problem(&w->p, at_node(w, k), "%s as a key, expected a word of `pupil help config`",
                    whole(k) ? "a long text" : kind(k));
            continue;
        }
        const yaml_node_t *first = given_before(w, map, p, scalar(k));
        if (first)
            problem(&w->p, at_node(w, k), "%s is given twice, first in line %zu", key,
                    first->start_mark.line + 1);
        else walk_key(w, k, v, key);
    }
}

/* ---- text --------------------------------------------------------------------------------------- */
/* libyaml's own error, with its place. */
static void not_yaml(walk *w, const yaml_parser_t *p)
{
    const char *what = p->problem ? p->problem : "unreadable", *context = p->context ? p->context : "";
    const char *hint =
        strstr(what, "cannot start any token")
            ? " (YAML is indented with spaces, never tabs; text that begins with @, % or ` needs quotes)"
            : "";
    problem(&w->p, at_mark(w, &p->problem_mark), "not YAML: %s%s%s%s", context, context[0] ? ", " : "", what,
            hint);
    w->unread = true;
}

/* The value of a key of a map, or NULL. */
static const yaml_node_t *value_of(walk *w, const yaml_node_t *map, const char *key)
{
    if (!map || map->type != YAML_MAPPING_NODE) return NULL;
    for (const yaml_node_pair_t *p = map->data.mapping.pairs.start; p < map->data.mapping.pairs.top; p++) {
        const yaml_node_t *k = yaml_document_get_node(&w->doc, p->key);
        if (whole(k) && !strcmp(scalar(k), key)) return yaml_document_get_node(&w->doc, p->value);
    }
    return NULL;
}

/* The points of a study, in the order of its axes. */
static void walk_points(walk *w, const yaml_node_t *root)
{
    const yaml_node_t *axes = value_of(w, value_of(w, root, "study"), "axes");
    w->is_point = true;
    for (int a = 0; w->study && a < w->study->axes; a++) {
        const pupil_study_axis *x = &w->study->axis[a];
        const yaml_node_t *settings = value_of(w, value_of(w, axes, x->name), x->point[w->point[a]]);
        if (settings && settings->type == YAML_MAPPING_NODE) walk_map(w, settings, "");
    }
    w->is_point = false;
}

static void walk_root(walk *w, const char *key)
{
    const yaml_node_t *root = yaml_document_get_root_node(&w->doc);
    if (key && root) {
        walk_key(w, root, root, key);
    } else if (key) {
        problem(&w->p, (place){.file = w->file, .line = -1}, "nothing is given, expected a value");
    } else if (root && root->type == YAML_MAPPING_NODE) {
        walk_map(w, root, "");
        walk_points(w, root);
    } else if (root) {
        problem(&w->p, at_node(w, root), "%s, expected sections such as `run:` and `student:`", kind(root));
        w->unread = true;
    }
}

/* A second document, or text after the first that is none. */
static void walk_rest(walk *w, yaml_parser_t *p)
{
    yaml_document_t more;
    if (!yaml_parser_load(p, &more)) {
        not_yaml(w, p);
        return;
    }
    const yaml_node_t *second = yaml_document_get_root_node(&more);
    if (second) problem(&w->p, at_node(w, second), "a second document, expected one");
    yaml_document_delete(&more);
}

/* Parse text; `key` NULL: a whole file, else the value of that key. */
static void walk_text(walk *w, const char *text, const char *key)
{
    yaml_parser_t p;
    yaml_parser_initialize(&p);
    yaml_parser_set_input_string(&p, (const unsigned char *)text, strlen(text));
    if (yaml_parser_load(&p, &w->doc)) {
        bool more = yaml_document_get_root_node(&w->doc);
        walk_root(w, key);
        yaml_document_delete(&w->doc);
        if (more) walk_rest(w, &p);
    } else {
        not_yaml(w, &p);
    }
    yaml_parser_delete(&p);
}

static pupil_conf *defaults(const char *path)
{
    pupil_conf *c = pupil_alloc(sizeof *c);
    c->file = pupil_strdup(path);
    for (int i = 0; i < schema_n; i++) {
        if (!schema[i].init) field_clear(&schema[i], c);
        else PUPIL_REQUIRE(field_store(&schema[i], schema[i].init, false, c));
    }
    return c;
}

static void apply_set(walk *w, const char *set)
{
    const char *equals = strchr(set, '=');
    if (!equals || equals == set || !equals[1]) {
        problem(&w->p, (place){.file = w->file, .line = -1}, "expected --set section.key=value");
        return;
    }
    char *key = pupil_strdup(set);
    key[equals - set] = 0;
    walk_text(w, equals + 1, key);
    pupil_free(&key);
}

/* What a study names itself. */
static void name_folders(pupil_conf *c)
{
    if (!c->teacher.dir && c->teacher.train_here) c->teacher.dir = pupil_strdup("teachers");
    if (!c->cache.dir && c->teacher.dir) c->cache.dir = pupil_strdup("caches");
    for (int k = 0; k < PUPIL_TEACHERS - 1; k++)
        if (c->more_teachers[k].dir && !c->more_teachers[k].cache) c->more_teachers[k].cache = pupil_format("caches-%d", k);
}

int conf_parse_all(const char *path, const char *text, const char *site, const char *site_text, const pupil_study *study, const int *point,
                   const char *const *sets, int n, pupil_conf **ret, pupil_buf *errors)
{
    walk w = {.file = site, .is_site = true, .c = defaults(path), .p = {.out = errors}};
    char **names = pupil_alloc((size_t)n * sizeof *names);
    w.at = pupil_alloc((size_t)schema_n * sizeof *w.at);
    if (site_text) walk_text(&w, site_text, NULL);
    w.is_site = false;
    w.study = study;
    w.point = point;
    w.file = path;
    walk_text(&w, text, NULL);
    w.is_set = true;
    for (int i = 0; i < n; i++) {
        w.file = names[i] = pupil_format("--set %s", sets[i]);
        apply_set(&w, sets[i]);
    }
    preset_expand(w.c, w.at);
    if (study) name_folders(w.c);
    if (!w.unread) conf_check(w.c, w.at, &w.p);
    pupil_names_free(&names, n);
    pupil_free(&w.at);
    if (w.p.count) {
        pupil_conf_free(&w.c);
        return pupil_fail(PUPIL_EUSER, "%s: %d problem%s", path, w.p.count, w.p.count == 1 ? "" : "s");
    }
    *ret = w.c;
    return 0;
}

int pupil_conf_parse(const char *path, const char *text, const char *const *sets, int n, pupil_conf **ret,
                     pupil_buf *errors)
{
    return conf_parse_all(path, text, NULL, NULL, NULL, NULL, sets, n, ret, errors);
}

int conf_read_text(const char *path, char **ret_text)
{
    char *text = NULL;
    size_t bytes = 0;
    if (pupil_is_dir(path)) return pupil_fail(PUPIL_EUSER, "%s: a folder, expected a YAML file", path);
    PUPIL_TRY(pupil_read_file(path, 1 << 20, &text, &bytes));
    if (strlen(text) != bytes) {
        pupil_free(&text);
        return pupil_fail(PUPIL_EUSER, "%s: holds NUL bytes, expected YAML text", path);
    }
    *ret_text = text;
    return 0;
}

/* The site's file, or NULL if there is none. */
static const char *site_file(void)
{
    static const char here[] = "conf/site.yaml";
    const char *named = getenv("PUPIL_SITE");
    if (named) return named[0] ? named : NULL;
    return pupil_exists(here) ? here : NULL;
}

int conf_site_text(char **ret_name, char **ret_text)
{
    const char *site = site_file();
    char *text = NULL;
    if (site) PUPIL_TRY(conf_read_text(site, &text));
    *ret_name = site ? pupil_strdup(site) : NULL;
    *ret_text = text;
    return 0;
}

int pupil_conf_load(const char *path, const char *const *sets, int n, pupil_conf **ret, pupil_buf *errors)
{
    char *site = NULL, *text = NULL, *site_text = NULL;
    int r = conf_read_text(path, &text);
    if (r == 0) r = conf_site_text(&site, &site_text);
    if (r == 0) r = conf_parse_all(path, text, site, site_text, NULL, NULL, sets, n, ret, errors);
    else pupil_buf_printf(errors, "%s\n", pupil_reason());
    pupil_free(&text);
    pupil_free(&site);
    pupil_free(&site_text);
    return r < 0 ? PUPIL_EUSER : 0;
}
