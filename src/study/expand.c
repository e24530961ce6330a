/* expand.c: axes x seeds -> cells with ids made of content, and the caches that must be filled before them. The same
 * settings give the same id on any machine, in any order of axes and points; settings that cannot change a result (folders,
 * ranks, checkpoints, what a cluster is asked for) are no part of it. */
#include "pupil/study.h"

#include <stdlib.h>
#include <string.h>

static void short_hash(const pupil_buf *b, char id[PUPIL_ID])
{
    char hex[65];
    pupil_sha256_of(b->s ? b->s : "", b->len, hex);
    snprintf(id, PUPIL_ID, "%.12s", hex);
}

/* ---- what is of a teacher, of its cache, of a cell ------------------------------------------------- */
/* A teacher trained here is what it is trained with; another is the folder it lies in, or the cache that holds it. */
static void say_teacher(const pupil_conf *c, bool imported, pupil_buf *b)
{
    if (c->teacher.train_here) {
        pupil_conf_print_identity(c, "teacher.model", b);
        pupil_conf_print_identity(c, "teacher.train", b);
        pupil_conf_print_identity(c, "data", b);
        pupil_conf_print_identity(c, "tokenizer", b);
    } else {
        pupil_buf_printf(b, "teacher %s\n", imported ? c->cache.dir : c->teacher.dir);
    }
}

static void name(char **path, const char *dir, const char *kind, const char *id)
{
    pupil_free(path);
    *path = pupil_format("%s/%s/%s", dir, kind, id);
}

/* Folder of the cache of the teacher that `who` tells of. */
static void name_cache(const pupil_conf *c, const char *dir, const pupil_buf *who, char **path)
{
    char id[PUPIL_ID];
    pupil_buf b = {0};
    pupil_buf_add(&b, who->s, who->len);
    pupil_conf_print_identity(c, "data", &b);
    pupil_conf_print_identity(c, "cache", &b);
    short_hash(&b, id);
    name(path, dir, "caches", id);
    pupil_buf_free(&b);
}

/* Name the folders of teachers and caches; what tells them apart goes to `all`. Imported embeddings stay where they are. */
static void name_teachers(pupil_conf *c, const char *dir, pupil_buf *all)
{
    bool imported = !c->teacher.dir;
    pupil_buf who = {0};
    char id[PUPIL_ID];
    say_teacher(c, imported, &who);
    pupil_buf_add(all, who.s, who.len);
    if (!imported) name_cache(c, dir, &who, &c->cache.dir);
    short_hash(&who, id);
    if (c->teacher.train_here) name(&c->teacher.dir, dir, "teachers", id);
    for (int k = 0; k < PUPIL_TEACHERS - 1; k++) {
        pupil_conf_more_teacher *m = &c->more_teachers[k];
        if (!m->cache) continue;
        who.len = 0;
        pupil_buf_printf(&who, "teacher %s\n", m->dir ? m->dir : m->cache);
        pupil_buf_add(all, who.s, who.len);
        if (m->dir) name_cache(c, dir, &who, &m->cache);
    }
    pupil_buf_free(&who);
}

static bool wants_teacher(const pupil_conf *c)
{
    const pupil_conf_student *s = &c->student;
    return pupil_conf_distils(c) || s->text_of_teacher || (s->inherit_from && !strcmp(s->inherit_from, "teacher"));
}

/* A run without a teacher: none is named, so none is trained, waited for or scored. */
static void drop_teachers(pupil_conf *c)
{
    pupil_free(&c->teacher.dir);
    pupil_free(&c->cache.dir);
    c->teacher.train_here = false;
    for (int k = 0; k < PUPIL_TEACHERS - 1; k++) {
        pupil_free(&c->more_teachers[k].dir);
        pupil_free(&c->more_teachers[k].cache);
    }
}

/* ---- cells ---------------------------------------------------------------------------------------- */
/* One line a cache; where the study itself lies is no part of it, so a study that was moved finds what filled its own. */
static void say_cache(const char *dir, const char *cache, pupil_buf *caches)
{
    size_t n = strlen(dir);
    pupil_buf_printf(caches, "%s%s", caches->len ? "\n" : "", !strncmp(cache, dir, n) && cache[n] == '/' ? cache + n + 1 : cache);
}

static void set_dir(pupil_conf *c, const char *dir, const char *kind, const char *id)
{
    pupil_free(&c->run.dir);
    c->run.dir = pupil_format("%s/%s/%s", dir, kind, id);
}

/* The cell's id, and its settings with all folders named; `caches`: what it waits for. */
static void identify(pupil_cell *x, const char *dir, pupil_buf *caches)
{
    static const char *const keys[] = {"data", "tokenizer", "student", "loss", "eval"};
    pupil_conf *c = x->conf;
    pupil_buf b = {0};
    if (wants_teacher(c)) {
        pupil_buf who = {0};
        name_teachers(c, dir, &who);
        pupil_buf_printf(&b, "%sweights %.17g %.17g", who.s, c->teacher.weight, c->teacher.logit_scale);
        for (int k = 0; k < PUPIL_TEACHERS - 1; k++)
            if (c->more_teachers[k].cache) pupil_buf_printf(&b, " %.17g %.17g", c->more_teachers[k].weight, c->more_teachers[k].logit_scale);
        pupil_buf_puts(&b, "\n");
        pupil_conf_print_identity(c, "cache", &b);
        say_cache(dir, c->cache.dir, caches);
        for (int k = 0; k < PUPIL_TEACHERS - 1; k++)
            if (c->more_teachers[k].cache) say_cache(dir, c->more_teachers[k].cache, caches);
        pupil_buf_free(&who);
    } else {
        drop_teachers(c);
    }
    for (int k = 0; k < PUPIL_COUNT(keys); k++) pupil_conf_print_identity(c, keys[k], &b);
    short_hash(&b, x->id);
    set_dir(c, dir, "cells", x->id);
    pupil_buf_free(&b);
}

/* Cells that wait for the same caches wait for one run. */
static int find_fill(pupil_cells *all, const char *caches)
{
    char id[PUPIL_ID];
    pupil_buf b = {0};
    pupil_buf_puts(&b, caches);
    short_hash(&b, id);
    pupil_buf_free(&b);
    for (int i = 0; i < all->fills; i++)
        if (!strcmp(all->fill[i].id, id)) return i;
    snprintf(all->fill[all->fills].id, PUPIL_ID, "%s", id);
    return all->fills++;
}

static pupil_cell *find(pupil_cells *all, const char *id)
{
    for (int i = 0; i < all->n; i++)
        if (!strcmp(all->cell[i].id, id)) return &all->cell[i];
    return NULL;
}

static int add(pupil_cells *all, const int *point, int64_t seed, const char *const *sets, int n, pupil_buf *errors)
{
    pupil_cell x = {.seed = seed, .fill = -1};
    pupil_buf caches = {0};
    memcpy(x.point, point, sizeof x.point);
    PUPIL_TRY(pupil_study_settings(all->study, point, seed, sets, n, &x.conf, errors));
    if (!all->dir) all->dir = pupil_strdup(x.conf->run.dir);
    x.seed = x.conf->student.train.seed;
    identify(&x, all->dir, &caches);
    pupil_cell *twin = find(all, x.id);
    if (twin) {
        for (int a = 0; a < all->study->axes; a++)
            if (twin->point[a] != point[a]) twin->point[a] = -1;
        pupil_conf_free(&x.conf);
    } else {
        if (caches.len) x.fill = find_fill(all, caches.s);
        all->cell[all->n++] = x;
    }
    pupil_buf_free(&caches);
    return 0;
}

/* The run of a fill: that of its first cell, but for its end. */
static int make_fill(pupil_cells *all, int f, pupil_buf *errors)
{
    const pupil_cell *of = NULL;
    for (int i = 0; i < all->n; i++)
        if (all->cell[i].fill == f && (!of || !pupil_conf_distils(of->conf))) of = &all->cell[i];
    const char *mode = pupil_conf_distils(of->conf) ? "run.mode=teach" : "run.mode=prepare";
    pupil_buf text = {0};
    pupil_conf_print(of->conf, &text);
    int r = pupil_conf_parse(all->study->file, text.s, &mode, 1, &all->fill[f].conf, errors);
    if (r == 0) set_dir(all->fill[f].conf, all->dir, "fills", all->fill[f].id);
    pupil_buf_free(&text);
    return r;
}

static int teacher_axis(const pupil_study *s)
{
    for (int a = 0; a < s->axes; a++)
        if (!strcmp(s->axis[a].name, "teacher")) return a;
    return -1;
}

int pupil_cells_make(const pupil_study *s, const char *const *sets, int n, pupil_cells **ret, pupil_buf *errors)
{
    enum { CELLS_MOST = 20000 };
    pupil_cells *all = pupil_alloc(sizeof *all);
    int64_t total = 1, seeds = PUPIL_MAX(1, s->seeds);
    int order[PUPIL_STUDY_AXES], axes = 0, r = 0, teacher = teacher_axis(s);
    order[axes++] = -1; /* the seed: what is done first is a whole picture */
    if (teacher >= 0) order[axes++] = teacher;
    for (int a = 0; a < s->axes; a++)
        if (a != teacher) order[axes++] = a;
    for (int i = 0; i < axes && total <= CELLS_MOST; i++) total *= order[i] < 0 ? seeds : s->axis[order[i]].n;
    all->study = s;
    if (total > CELLS_MOST) r = pupil_fail(PUPIL_EUSER, "%s: more than %d cells", s->file, CELLS_MOST);
    all->cell = pupil_alloc((size_t)total * sizeof *all->cell);
    all->fill = pupil_alloc((size_t)total * sizeof *all->fill);
    for (int64_t i = 0; i < total && r == 0; i++) {
        int point[PUPIL_STUDY_AXES] = {0};
        int64_t rest = i, seed = -1;
        for (int k = axes - 1; k >= 0; k--) {
            int64_t of = order[k] < 0 ? seeds : s->axis[order[k]].n;
            if (order[k] >= 0) point[order[k]] = (int)(rest % of);
            else if (s->seeds) seed = s->seed[rest % of];
            rest /= of;
        }
        if (!pupil_study_excludes(s, point)) r = add(all, point, seed, sets, n, errors);
    }
    if (r == 0 && !all->n) r = pupil_fail(PUPIL_EUSER, "%s: no cells are left, study.exclude takes them all", s->file);
    for (int f = 0; f < all->fills && r == 0; f++) r = make_fill(all, f, errors);
    if (r == 0) *ret = all;
    else pupil_cells_free(&all);
    return r;
}

void pupil_cells_free(pupil_cells **c)
{
    if (!*c) return;
    for (int i = 0; i < (*c)->n; i++) pupil_conf_free(&(*c)->cell[i].conf);
    for (int i = 0; i < (*c)->fills; i++) pupil_conf_free(&(*c)->fill[i].conf);
    pupil_free(&(*c)->cell);
    pupil_free(&(*c)->fill);
    pupil_free(&(*c)->dir);
    pupil_free(c);
}

/* ---- study.json ------------------------------------------------------------------------------------ */
void pupil_cell_name(const pupil_cells *c, const pupil_cell *cell, pupil_buf *out)
{
    for (int a = 0; a < c->study->axes; a++)
        if (cell->point[a] >= 0 && c->study->axis[a].n > 1) pupil_buf_printf(out, "%s=%s ", c->study->axis[a].name, c->study->axis[a].point[cell->point[a]]);
    pupil_buf_printf(out, "seed=%lld", (long long)cell->seed);
}

static void cell_json(const pupil_cells *c, const pupil_cell *x, pupil_buf *b)
{
    pupil_buf_printf(b, "{\"id\": \"%s\", \"seed\": %lld, \"point\": {", x->id, (long long)x->seed);
    for (int a = 0, any = 0; a < c->study->axes; a++)
        if (x->point[a] >= 0)
            pupil_buf_printf(b, "%s\"%s\": \"%s\"", any++ ? ", " : "", c->study->axis[a].name, c->study->axis[a].point[x->point[a]]);
    pupil_buf_puts(b, "}");
    if (x->fill >= 0) pupil_buf_printf(b, ", \"fill\": \"%s\"", c->fill[x->fill].id);
    pupil_buf_puts(b, "}");
}

int pupil_cells_write(const pupil_cells *c)
{
    const pupil_study *s = c->study;
    pupil_buf b = {0};
    pupil_buf_puts(&b, "{\"file\": ");
    pupil_buf_json(&b, s->file);
    pupil_buf_puts(&b, ", \"question\": ");
    pupil_buf_json(&b, s->question ? s->question : "");
    pupil_buf_puts(&b, ",\n \"axes\": [");
    for (int a = 0; a < s->axes; a++) {
        pupil_buf_printf(&b, "%s\n  {\"name\": \"%s\", \"points\": [", a ? "," : "", s->axis[a].name);
        for (int k = 0; k < s->axis[a].n; k++) pupil_buf_printf(&b, "%s\"%s\"", k ? ", " : "", s->axis[a].point[k]);
        pupil_buf_puts(&b, "]}");
    }
    pupil_buf_puts(&b, "],\n \"cells\": [");
    for (int i = 0; i < c->n; i++) {
        pupil_buf_puts(&b, i ? ",\n  " : "\n  ");
        cell_json(c, &c->cell[i], &b);
    }
    pupil_buf_puts(&b, "]}\n");
    char *path = pupil_join(c->dir, "study.json");
    int r = pupil_mkdirs(c->dir);
    if (r == 0) r = pupil_write_file(path, b.s, b.len);
    pupil_free(&path);
    pupil_buf_free(&b);
    return r;
}
