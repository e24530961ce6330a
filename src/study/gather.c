/* gather.c: study.json and the files of its cells -> one row a cell. A cell that is not finished is a row without figures; a
 * broken file of a finished cell is an error with its place. */
#include "study.h"

#include <string.h>

const study_metric study_metrics[METRICS] = {
    {"vqa.probe", "accuracy", "VQA", "%"},
    {"vqa.zero_shot", "accuracy", "VQA, ranked answers", "%"},
    {"vqa.reader", "accuracy", "VQA, generative reader", "%"},
    {"vqa.fusion", "accuracy", "VQA, fusion head", "%"},
    {"vqa.fusion.tuned", "accuracy", "VQA, fusion head, towers tuned", "%"},
    {"zero_shot", "top1", "zero-shot classes", "%"},
    {"retrieval.square", "image_to_text_r10", "image to text R@10", "%"},
    {"retrieval.square", "text_to_image_r10", "text to image R@10", "%"},
    {"retrieval.square", "image_to_text_r1", "image to text R@1", "%"},
};

static double number(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    return json_is_number(v) ? json_number_value(v) : NAN;
}

/* A JSON object in a file of a run, or NULL where there is no such file. */
static int load(const char *dir, const char *kind, const char *id, const char *name, json_t **ret)
{
    char *path = pupil_format("%s/%s/%s/%s", dir, kind, id, name);
    json_error_t e;
    int r = 0;
    *ret = pupil_exists(path) ? json_load_file(path, 0, &e) : NULL;
    if (!*ret && pupil_exists(path)) r = pupil_fail(PUPIL_EFORMAT, "%s:%d:%d: %s", path, e.line, e.column, e.text);
    else if (*ret && !json_is_object(*ret)) r = pupil_fail(PUPIL_EFORMAT, "%s: not a JSON object", path);
    pupil_free(&path);
    return r;
}

static bool there(const study_data *s, const study_row *r, const char *name)
{
    char *path = pupil_format("%s/cells/%s/%s", s->dir, r->id, name);
    bool yes = pupil_exists(path);
    pupil_free(&path);
    return yes;
}

/* ---- figures of a cell --------------------------------------------------------------------------------- */
/* Several teachers of one cell count as their mean. */
static void take_scores(study_row *r)
{
    size_t i;
    const json_t *x;
    for (int m = 0; m < METRICS; m++) {
        double teachers = 0, sum[3] = {0};
        r->m[m].student = r->m[m].low = r->m[m].high = r->m[m].teacher = r->m[m].teacher_low = r->m[m].teacher_high = NAN;
        json_array_foreach(json_object_get(r->eval, "scores"), i, x) {
            const char *model = json_string_value(json_object_get(x, "model")), *protocol = json_string_value(json_object_get(x, "protocol")),
                       *metric = json_string_value(json_object_get(x, "metric"));
            const json_t *at = json_object_get(x, "interval");
            if (!model || !protocol || !metric || strcmp(protocol, study_metrics[m].protocol) || strcmp(metric, study_metrics[m].metric)) continue;
            double v = number(x, "value"), low = json_number_value(json_array_get(at, 0)), high = json_number_value(json_array_get(at, 1));
            if (!json_is_array(at)) low = high = NAN;
            if (!strcmp(model, "student")) r->m[m].student = v, r->m[m].low = low, r->m[m].high = high;
            else if (!strncmp(model, "teacher", 7)) teachers++, sum[0] += v, sum[1] += low, sum[2] += high;
        }
        if (teachers > 0 && r->distils)
            r->m[m].teacher = sum[0] / teachers, r->m[m].teacher_low = sum[1] / teachers, r->m[m].teacher_high = sum[2] / teachers;
    }
}

/* Seconds of one core: all phases of a run on all its ranks and threads. */
static double core_seconds(const json_t *run)
{
    size_t i;
    const json_t *x, *plan = json_object_get(run, "plan");
    double sum = 0;
    json_array_foreach(json_object_get(run, "phases"), i, x) sum += number(x, "seconds");
    return sum * number(plan, "ranks") * number(plan, "threads");
}

static void take_run(study_row *r)
{
    const json_t *confounds = json_object_get(r->run, "confounds");
    r->distils = json_array_size(confounds) > 0;
    r->student_params = number(json_object_get(r->run, "student"), "parameters");
    r->teacher_params = r->distils ? number(json_object_get(r->run, "teacher"), "parameters") : NAN;
    r->cells_seconds = core_seconds(r->run);
    r->teacher_seconds = r->fill ? core_seconds(r->fill) : NAN;
    r->cache_bytes = r->distils ? number(json_object_get(r->run, "cache"), "bytes_per_sample") * number(json_object_get(r->run, "data"), "train") : NAN;
}

static int take_cell(study_data *s, const json_t *x, study_row *r)
{
    const char *fill = json_string_value(json_object_get(x, "fill"));
    r->id = json_string_value(json_object_get(x, "id"));
    r->seed = number(x, "seed");
    if (!r->id || strlen(r->id) != PUPIL_ID - 1 || strspn(r->id, "0123456789abcdef") != PUPIL_ID - 1 || (fill && strspn(fill, "0123456789abcdef") != PUPIL_ID - 1))
        return pupil_fail(PUPIL_EFORMAT, "%s/study.json: a cell without an id", s->dir);
    for (int a = 0; a < s->axes; a++) {
        const char *name = json_string_value(json_object_get(json_object_get(x, "point"), s->axis[a].name));
        r->point[a] = -1;
        for (int k = 0; k < s->axis[a].n && name; k++)
            if (!strcmp(name, s->axis[a].point[k])) r->point[a] = k;
    }
    r->state = there(s, r, "finished") && there(s, r, "eval.json") ? ROW_DONE : there(s, r, "failed") ? ROW_FAILED : ROW_TODO;
    if (r->state == ROW_FAILED) {
        char *path = pupil_format("%s/cells/%s/failed", s->dir, r->id);
        if (pupil_read_file(path, 4096, &r->why, NULL) == 0) r->why[strcspn(r->why, "\n")] = 0;
        pupil_free(&path);
        s->failed++;
    }
    if (r->state == ROW_DONE) {
        PUPIL_TRY(load(s->dir, "cells", r->id, "eval.json", &r->eval));
        PUPIL_TRY(load(s->dir, "cells", r->id, "run.json", &r->run));
        if (fill) PUPIL_TRY(load(s->dir, "fills", fill, "run.json", &r->fill));
        take_run(r);
        s->done++;
    }
    take_scores(r);
    for (int m = 0; m < METRICS; m++) s->has[m] |= isfinite(r->m[m].student);
    return 0;
}

/* ---- the plan -------------------------------------------------------------------------------------------- */
static int take_axes(study_data *s)
{
    const json_t *axes = json_object_get(s->plan, "axes");
    s->teacher = -1;
    s->axes = (int)PUPIL_MIN(json_array_size(axes), (size_t)PUPIL_STUDY_AXES);
    for (int a = 0; a < s->axes; a++) {
        const json_t *x = json_array_get(axes, (size_t)a), *points = json_object_get(x, "points");
        study_axis *to = &s->axis[a];
        to->name = json_string_value(json_object_get(x, "name"));
        to->n = (int)PUPIL_MIN(json_array_size(points), (size_t)PUPIL_STUDY_POINTS);
        for (int k = 0; k < to->n; k++) to->point[k] = json_string_value(json_array_get(points, (size_t)k));
        for (int k = 0; k < to->n; k++)
            if (!to->point[k]) to->name = NULL;
        if (!to->name) return pupil_fail(PUPIL_EFORMAT, "%s/study.json: an axis without names", s->dir);
        if (!strcmp(to->name, "teacher")) s->teacher = a;
    }
    return 0;
}

int study_read(study_data *s, const char *dir)
{
    char *path = pupil_join(dir, "study.json");
    json_error_t e;
    *s = (study_data){.dir = dir};
    int r = pupil_exists(path) ? 0 : pupil_fail(PUPIL_ENOTFOUND, "%s: not there; `pupil study CONF` makes it", path);
    if (r == 0 && !(s->plan = json_load_file(path, 0, &e))) r = pupil_fail(PUPIL_EFORMAT, "%s:%d:%d: %s", path, e.line, e.column, e.text);
    pupil_free(&path);
    if (r == 0) r = take_axes(s);
    PUPIL_TRY(r);
    const char *question = json_string_value(json_object_get(s->plan, "question"));
    const json_t *cells = json_object_get(s->plan, "cells");
    s->question = question && question[0] ? question : "Did the better teacher make the better student?";
    s->file = json_string_value(json_object_get(s->plan, "file"));
    s->n = (int)PUPIL_MIN(json_array_size(cells), (size_t)100000);
    s->row = pupil_alloc((size_t)(s->n + 1) * sizeof *s->row);
    for (int i = 0; i < s->n && r == 0; i++) r = take_cell(s, json_array_get(cells, (size_t)i), &s->row[i]);
    return r;
}

void study_free(study_data *s)
{
    for (int i = 0; i < s->n && s->row; i++) {
        json_decref(s->row[i].eval);
        json_decref(s->row[i].run);
        json_decref(s->row[i].fill);
        pupil_free(&s->row[i].why);
    }
    pupil_free(&s->row);
    json_decref(s->plan);
}

const char *study_point(const study_data *s, const study_row *r, int axis)
{
    return r->point[axis] < 0 ? "-" : s->axis[axis].point[r->point[axis]];
}
