/* study.c: the section `study` of a file of settings: axes, their points, seeds, and what is left out. Only its shape is read
 * here; the settings of a point are read by parse.c as those of the file are, so their mistakes have places too. */
#include "schema.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

enum { NAME_MOST = 40, EXCLUDES_MOST = 1024 };

typedef struct {
    pupil_study *s;
    yaml_document_t doc;
    problems p;
} reader;

static const char *text_of(const yaml_node_t *n)
{
    return n && n->type == YAML_SCALAR_NODE && strlen((const char *)n->data.scalar.value) == n->data.scalar.length ? (const char *)n->data.scalar.value : NULL;
}

static place at(const reader *r, const yaml_node_t *n)
{
    return (place){.file = r->s->file, .line = (int)n->start_mark.line + 1, .column = (int)n->start_mark.column + 1};
}

/* Names become words of file names, tables and command lines. */
static bool is_name(const char *s)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+./";
    return s && s[0] && strlen(s) <= NAME_MOST && strspn(s, plain) == strlen(s);
}

static const char *closest(const char *word, const char *const *known, int n)
{
    const char *best = NULL;
    int least = PUPIL_MAX(2, (int)strlen(word) / 3) + 1;
    for (int i = 0; i < n; i++) {
        int d = pupil_edit_distance(word, known[i]);
        if (d >= least) continue;
        least = d;
        best = known[i];
    }
    return best;
}

static void unknown(reader *r, const yaml_node_t *n, const char *what, const char *const *known, int count)
{
    const char *word = text_of(n), *best = word && strlen(word) < 100 ? closest(word, known, count) : NULL;
    pupil_buf names = {0};
    for (int i = 0; i < count; i++) pupil_buf_printf(&names, "%s%s", i ? ", " : "", known[i]);
    problem(&r->p, at(r, n), "study: unknown %s '%.60s', expected one of %.300s%s%s%s", what, word ? word : "(no text)", names.s ? names.s : "(none)",
            best ? ", did you mean '" : "", best ? best : "", best ? "'?" : "");
    pupil_buf_free(&names);
}

/* The pairs of a map whose keys are names, each once. */
typedef struct {
    const yaml_node_t *key, *value;
} pair;

static int pairs_of(reader *r, const yaml_node_t *map, const char *what, int most, pair *out)
{
    int n = 0;
    if (map->type != YAML_MAPPING_NODE) {
        problem(&r->p, at(r, map), "study: %s, expected a section of them by name", what);
        return 0;
    }
    for (const yaml_node_pair_t *p = map->data.mapping.pairs.start; p < map->data.mapping.pairs.top; p++) {
        const yaml_node_t *k = yaml_document_get_node(&r->doc, p->key);
        if (!is_name(text_of(k))) {
            problem(&r->p, at(r, k), "study: a name of %s is up to %d letters, digits and _-+./", what, NAME_MOST);
            continue;
        }
        bool twice = false;
        for (int i = 0; i < n; i++) twice |= !strcmp(text_of(out[i].key), text_of(k));
        if (twice) problem(&r->p, at(r, k), "study: '%s' is given twice among %s", text_of(k), what);
        else if (n == most) problem(&r->p, at(r, k), "study: one too many of %s, expected at most %d", what, most);
        else out[n++] = (pair){k, yaml_document_get_node(&r->doc, p->value)};
    }
    return n;
}

static void read_axis(reader *r, const pair *from)
{
    pair point[PUPIL_STUDY_POINTS];
    pupil_study_axis *x = &r->s->axis[r->s->axes++];
    x->name = pupil_strdup(text_of(from->key));
    int n = pairs_of(r, from->value, "points", PUPIL_STUDY_POINTS, point);
    for (int i = 0; i < n; i++) {
        const char *text = text_of(point[i].value);
        if (point[i].value->type != YAML_MAPPING_NODE && !(text && !text[0]))
            problem(&r->p, at(r, point[i].value), "study.axes.%s.%s: expected settings, such as {student.train.steps: 100}, or {}", x->name, text_of(point[i].key));
        x->point[x->n++] = pupil_strdup(text_of(point[i].key));
    }
    if (!n) problem(&r->p, at(r, from->key), "study.axes.%s: no points, expected at least one", x->name);
    if (!strcmp(x->name, "seed")) problem(&r->p, at(r, from->key), "study.axes.seed: expected the seeds in study.seeds, a list of numbers");
}

static void read_seeds(reader *r, const yaml_node_t *list)
{
    if (list->type != YAML_SEQUENCE_NODE) {
        problem(&r->p, at(r, list), "study.seeds: expected a list of whole numbers, such as [1, 2, 3]");
        return;
    }
    for (yaml_node_item_t *e = list->data.sequence.items.start; e < list->data.sequence.items.top; e++) {
        const yaml_node_t *n = yaml_document_get_node(&r->doc, *e);
        const char *text = text_of(n);
        char *end = NULL;
        errno = 0;
        long long x = text ? strtoll(text, &end, 10) : 0;
        bool twice = false;
        for (int i = 0; i < r->s->seeds; i++) twice |= r->s->seed[i] == x;
        if (!text || end == text || *end || errno || x < 0 || x > 1000000000000000LL)
            problem(&r->p, at(r, n), "study.seeds: '%.40s', expected a whole number from 0", text ? text : "(no text)");
        else if (twice) problem(&r->p, at(r, n), "study.seeds: %lld is given twice", x);
        else if (r->s->seeds == PUPIL_STUDY_SEEDS) problem(&r->p, at(r, n), "study.seeds: more than %d", PUPIL_STUDY_SEEDS);
        else r->s->seed[r->s->seeds++] = x;
    }
}

/* A point, or a list of points, of an axis: as bits. */
static uint64_t points_of(reader *r, const pupil_study_axis *x, const yaml_node_t *v)
{
    uint64_t bits = 0;
    if (v->type == YAML_SEQUENCE_NODE) {
        for (yaml_node_item_t *e = v->data.sequence.items.start; e < v->data.sequence.items.top; e++) {
            const yaml_node_t *n = yaml_document_get_node(&r->doc, *e);
            if (n->type == YAML_SCALAR_NODE) bits |= points_of(r, x, n);
            else problem(&r->p, at(r, n), "study.exclude: expected names of points of '%s'", x->name);
        }
        return bits;
    }
    for (int k = 0; k < x->n; k++)
        if (text_of(v) && !strcmp(text_of(v), x->point[k])) return (uint64_t)1 << k;
    char what[80];
    snprintf(what, sizeof what, "point of axis %s", x->name);
    unknown(r, v, what, (const char *const *)x->point, x->n);
    return 0;
}

static void read_exclude(reader *r, const yaml_node_t *entry)
{
    pair part[PUPIL_STUDY_AXES];
    uint64_t *bits = r->s->exclude[r->s->excludes];
    const char *names[PUPIL_STUDY_AXES];
    for (int a = 0; a < PUPIL_STUDY_AXES; a++) bits[a] = ~(uint64_t)0;
    for (int a = 0; a < r->s->axes; a++) names[a] = r->s->axis[a].name;
    int n = pairs_of(r, entry, "axes to exclude", PUPIL_STUDY_AXES, part);
    for (int i = 0; i < n; i++) {
        int a = 0;
        while (a < r->s->axes && strcmp(names[a], text_of(part[i].key))) a++;
        if (a == r->s->axes) unknown(r, part[i].key, "axis", names, r->s->axes);
        else bits[a] = points_of(r, &r->s->axis[a], part[i].value);
    }
    if (n) r->s->excludes++;
    else if (entry->type == YAML_MAPPING_NODE) problem(&r->p, at(r, entry), "study.exclude: an empty combination would exclude everything");
}

static void read_excludes(reader *r, const yaml_node_t *list)
{
    int64_t n = list->type == YAML_SEQUENCE_NODE ? list->data.sequence.items.top - list->data.sequence.items.start : 0;
    if (list->type != YAML_SEQUENCE_NODE || n > EXCLUDES_MOST) {
        problem(&r->p, at(r, list), "study.exclude: expected a list of at most %d combinations, such as [{teacher: t1, loss: [fd, icl]}]", EXCLUDES_MOST);
        return;
    }
    r->s->exclude = pupil_alloc((size_t)(n + 1) * sizeof *r->s->exclude);
    for (int64_t i = 0; i < n; i++) read_exclude(r, yaml_document_get_node(&r->doc, list->data.sequence.items.start[i]));
}

static void read_section(reader *r, const yaml_node_t *section)
{
    static const char *const known[] = {"question", "axes", "seeds", "exclude"};
    pair part[PUPIL_COUNT(known) + 4], axis[PUPIL_STUDY_AXES];
    const yaml_node_t *found[PUPIL_COUNT(known)] = {0};
    int n = pairs_of(r, section, "keys of `study`", PUPIL_COUNT(part), part);
    for (int i = 0; i < n; i++) {
        int k = 0;
        while (k < PUPIL_COUNT(known) && strcmp(known[k], text_of(part[i].key))) k++;
        if (k == PUPIL_COUNT(known)) unknown(r, part[i].key, "key", known, PUPIL_COUNT(known));
        else found[k] = part[i].value;
    }
    if (found[0] && text_of(found[0])) r->s->question = pupil_strdup(text_of(found[0]));
    else if (found[0]) problem(&r->p, at(r, found[0]), "study.question: expected one line of text");
    int axes = found[1] ? pairs_of(r, found[1], "axes", PUPIL_STUDY_AXES, axis) : 0;
    if (!found[1]) problem(&r->p, at(r, section), "study.axes: missing, expected at least one axis with points");
    for (int i = 0; i < axes; i++) read_axis(r, &axis[i]);
    if (found[2]) read_seeds(r, found[2]);
    if (found[3]) read_excludes(r, found[3]);
}

static void read_root(reader *r)
{
    const yaml_node_t *root = yaml_document_get_root_node(&r->doc);
    if (root && root->type == YAML_MAPPING_NODE)
        for (const yaml_node_pair_t *p = root->data.mapping.pairs.start; p < root->data.mapping.pairs.top; p++) {
            const char *key = text_of(yaml_document_get_node(&r->doc, p->key));
            if (key && !strcmp(key, "study")) {
                read_section(r, yaml_document_get_node(&r->doc, p->value));
                return;
            }
        }
    problem(&r->p, (place){.file = r->s->file, .line = 1, .column = 1}, "study: missing, expected the section `study` with axes; one run is started by `pupil launch`");
}

int pupil_study_load(const char *path, pupil_study **ret, pupil_buf *errors)
{
    reader r = {.s = pupil_alloc(sizeof *r.s), .p = {.out = errors}};
    yaml_parser_t p;
    r.s->file = pupil_strdup(path);
    if (conf_read_text(path, &r.s->text) < 0) {
        pupil_buf_printf(errors, "%s\n", pupil_reason());
        pupil_study_free(&r.s);
        return PUPIL_EUSER;
    }
    yaml_parser_initialize(&p);
    yaml_parser_set_input_string(&p, (const unsigned char *)r.s->text, strlen(r.s->text));
    if (yaml_parser_load(&p, &r.doc)) {
        read_root(&r);
        yaml_document_delete(&r.doc);
    } else {
        problem(&r.p, (place){.file = path, .line = (int)p.problem_mark.line + 1, .column = (int)p.problem_mark.column + 1}, "not YAML: %s",
                p.problem ? p.problem : "unreadable");
    }
    yaml_parser_delete(&p);
    if (r.p.count) {
        pupil_study_free(&r.s);
        return pupil_fail(PUPIL_EUSER, "%s: %d problem%s", path, r.p.count, r.p.count == 1 ? "" : "s");
    }
    *ret = r.s;
    return 0;
}

void pupil_study_free(pupil_study **s)
{
    if (!*s) return;
    for (int a = 0; a < (*s)->axes; a++) {
        pupil_free(&(*s)->axis[a].name);
        for (int k = 0; k < (*s)->axis[a].n; k++) pupil_free(&(*s)->axis[a].point[k]);
    }
    pupil_free(&(*s)->file);
    pupil_free(&(*s)->text);
    pupil_free(&(*s)->question);
    pupil_free(&(*s)->exclude);
    pupil_free(s);
}

bool pupil_study_excludes(const pupil_study *s, const int *point)
{
    for (int e = 0; e < s->excludes; e++) {
        bool all = true;
        for (int a = 0; a < s->axes; a++) all &= (s->exclude[e][a] >> point[a] & 1) != 0;
        if (all) return true;
    }
    return false;
}

int pupil_study_settings(const pupil_study *s, const int *point, int64_t seed, const char *const *sets, int n, pupil_conf **ret, pupil_buf *errors)
{
    char *site = NULL, *site_text = NULL, *with_seed = pupil_format("student.train.seed=%lld", (long long)seed);
    const char **all = pupil_alloc((size_t)(n + 1) * sizeof *all);
    int r = conf_site_text(&site, &site_text), given = 0;
    if (seed >= 0) all[given++] = with_seed;
    for (int i = 0; i < n; i++) all[given++] = sets[i];
    if (r == 0) r = conf_parse_all(s->file, s->text, site, site_text, s, point, all, given, ret, errors);
    else pupil_buf_printf(errors, "%s\n", pupil_reason());
    pupil_free(&site);
    pupil_free(&site_text);
    pupil_free(&with_seed);
    pupil_free(&all);
    return r < 0 ? PUPIL_EUSER : 0;
}
