/* read.c: the files of a run directory into checked structures. A piece that is missing is left out; a torn last
 * line of metrics is what a killed run leaves and is dropped; anything of the wrong kind or out of its range is
 * refused with file and place. */
#include "report.h"

#include "pupil/eval.h"

#include <stdlib.h>
#include <string.h>

enum { FILE_MAX = 64 << 20 };

/* ---- JSON with a place ---------------------------------------------------------------------------- */
typedef struct {
    const char *file;
    char place[160];
    int code; /* of the first complaint */
} reader;

static void complain(reader *r, const char *key, const char *expected, const json_t *found)
{
    static const char *const kinds[] = {"an object", "an array", "a string", "a number", "a number", "a truth value",
                                        "a truth value", "null"};
    if (r->code == 0)
        r->code = pupil_fail(PUPIL_EFORMAT, "%s: %s%s%s: %s was expected, this is %s", r->file, r->place,
                             r->place[0] && key[0] ? "." : "", key, expected, kinds[json_typeof(found)]);
}

/* Member `key`, or NULL where it is missing, null, or of another kind (a complaint). */
static json_t *member(reader *r, json_t *object, const char *key, json_type kind)
{
    json_t *m = json_object_get(object, key);
    if (!m || json_is_null(m)) return NULL;
    if (json_typeof(m) == kind) return m;
    complain(r, key, kind == JSON_OBJECT ? "an object" : kind == JSON_ARRAY ? "an array" : "a string", m);
    return NULL;
}

static const char *string(reader *r, json_t *object, const char *key) { return json_string_value(member(r, object, key, JSON_STRING)); }

static double number(reader *r, json_t *object, const char *key, double low, double high)
{
    json_t *m = json_object_get(object, key);
    if (!m || json_is_null(m)) return NAN;
    if (!json_is_number(m)) {
        complain(r, key, "a number", m);
        return NAN;
    }
    double x = json_number_value(m);
    if (!(x >= low && x <= high) && r->code == 0)
        r->code = pupil_fail(PUPIL_EFORMAT, "%s: %s%s%s: %g is not within %g to %g", r->file, r->place, r->place[0] ? "." : "",
                             key, x, low, high);
    return x;
}

/* Items of an array that must be objects, at most `most` of them: calls read(ctx, item, k) with the place set. */
static void each_object(reader *r, json_t *array, const char *place, int most, void (*read)(reader *, void *, json_t *), void *ctx)
{
    size_t k;
    json_t *item;
    json_array_foreach(array, k, item)
    {
        if ((int)k >= most || r->code) break;
        snprintf(r->place, sizeof r->place, "%s[%d]", place, (int)k);
        if (json_is_object(item)) read(r, ctx, item);
        else complain(r, "", "an object", item);
    }
    r->place[0] = 0;
}

/* DIR/name as a JSON object into *ret; NULL and 0 when there is no such file. */
static int load(const char *path, json_t **ret)
{
    char *bytes;
    size_t n;
    json_error_t e;
    if (!pupil_exists(path)) return 0;
    PUPIL_TRY(pupil_read_file(path, FILE_MAX, &bytes, &n));
    json_t *j = json_loadb(bytes, n, 0, &e);
    pupil_free(&bytes);
    if (!j) return pupil_fail(PUPIL_EFORMAT, "%s:%d:%d: %s", path, e.line, e.column, e.text);
    reader r = {.file = path};
    if (!json_is_object(j)) {
        complain(&r, "", "an object", j);
        json_decref(j);
        return r.code;
    }
    *ret = j;
    return 0;
}

/* ---- metrics -------------------------------------------------------------------------------------- */
const double *series_get(const series *s, const char *name)
{
    for (int k = 0; k < s->columns; k++)
        if (strcmp(s->column[k].name, name) == 0) return s->column[k].v;
    return NULL;
}

static void pad(series_column *c, int64_t rows)
{
    for (; c->n < rows; c->n++) {
        PUPIL_GROW(c->v, c->n, c->cap);
        c->v[c->n] = NAN;
    }
}

/* The value of column prefix.key in the row being read. */
static void add_value(reader *r, series *s, const char *prefix, const char *key, double x)
{
    char name[80];
    snprintf(name, sizeof name, "%s%s%s", prefix, prefix[0] ? "." : "", key);
    int k = 0;
    while (k < s->columns && strcmp(s->column[k].name, name) != 0) k++;
    if (k == COLUMNS_MAX) {
        if (!r->code) r->code = pupil_fail(PUPIL_EFORMAT, "%s: more than %d different keys", r->file, COLUMNS_MAX);
        return;
    }
    if (k == s->columns) s->column[s->columns++] = (series_column){.name = pupil_strdup(name)};
    series_column *c = &s->column[k];
    pad(c, s->rows + 1);
    c->v[s->rows] = x;
}

static void add_object(reader *r, series *s, const char *prefix, json_t *object)
{
    const char *key;
    json_t *m;
    json_object_foreach(object, key, m)
    {
        if (json_is_number(m)) add_value(r, s, prefix, key, json_number_value(m));
        else if (json_is_object(m) && !prefix[0]) add_object(r, s, key, m);
        else if (!json_is_null(m)) complain(r, key, prefix[0] ? "a number" : "a number or an object", m);
    }
}

static int read_line(series *s, const char *path, int64_t line, json_t *j)
{
    char *where = pupil_format("%s:%lld", path, (long long)line);
    reader r = {.file = where};
    if (!json_is_object(j)) complain(&r, "", "an object", j);
    else if (!json_is_number(json_object_get(j, "step")))
        r.code = pupil_fail(PUPIL_EFORMAT, "%s: there is no number \"step\"", where);
    else add_object(&r, s, "", j);
    s->rows += r.code == 0;
    pupil_free(&where);
    return r.code;
}

static int read_lines(series *s, const char *path, char *bytes, size_t n)
{
    char *end = bytes + n;
    int64_t line = 1;
    for (char *from = bytes; from < end; line++) {
        char *stop = memchr(from, '\n', (size_t)(end - from)), *to = stop ? stop : end;
        json_error_t e;
        json_t *j = json_loadb(from, (size_t)(to - from), 0, &e);
        if (!j && strspn(from, " \t\r") < (size_t)(to - from)) {
            if (!stop) break; /* torn by a kill */
            return pupil_fail(PUPIL_EFORMAT, "%s:%lld:%d: %s", path, (long long)line, e.column, e.text);
        }
        int r = j ? read_line(s, path, line, j) : 0;
        json_decref(j);
        if (r < 0) return r;
        from = to + 1;
    }
    for (int k = 0; k < s->columns; k++) pad(&s->column[k], s->rows);
    return 0;
}

static int read_series(const char *dir, const char *name, series *s)
{
    char *path = pupil_join(dir, name), *bytes;
    size_t n;
    int r = 0;
    if (pupil_exists(path)) {
        r = pupil_read_file(path, 0, &bytes, &n);
        if (r == 0) {
            r = read_lines(s, path, bytes, n);
            pupil_free(&bytes);
        }
    }
    pupil_free(&path);
    return r;
}

/* ---- eval.json ------------------------------------------------------------------------------------ */
static void read_groups(reader *r, json_t *model, const char *key, groups *out)
{
    json_t *all = member(r, model, key, JSON_OBJECT), *item;
    const char *name;
    size_t before = strlen(r->place);
    out->g = pupil_alloc(json_object_size(all) * sizeof *out->g);
    json_object_foreach(all, name, item)
    {
        snprintf(r->place + before, sizeof r->place - before, ".%s.%.60s", key, name);
        if (!json_is_object(item)) complain(r, "", "an object", item);
        out->g[out->n++] = (group){name, number(r, item, "n", 0, 1e15), number(r, item, "accuracy", 0, 100)};
        r->place[before] = 0;
    }
}

static void read_vqa_model(reader *r, void *ctx, json_t *item)
{
    report *p = ctx;
    vqa_model *m = &p->vqa[p->n_vqa++];
    m->name = string(r, item, "name");
    if (!m->name) m->name = "?";
    m->overall = number(r, item, "overall", 0, 100);
    read_groups(r, item, "answer_type", &m->answer_type);
    read_groups(r, item, "question_type", &m->question_type);
}

static recall read_recall(reader *r, json_t *item, const char *key)
{
    json_t *o = member(r, item, key, JSON_OBJECT);
    return (recall){number(r, o, "r1", 0, 1), number(r, o, "r5", 0, 1), number(r, o, "r10", 0, 1),
                    number(r, o, "mean_rank", 1, 1e15), number(r, o, "median_rank", 1, 1e15)};
}

static void read_retrieval_model(reader *r, void *ctx, json_t *item)
{
    report *p = ctx;
    retrieval_model *m = &p->retrieval[p->n_retrieval++];
    m->name = string(r, item, "name");
    if (!m->name) m->name = "?";
    m->image_to_text = read_recall(r, item, "image_to_text");
    m->text_to_image = read_recall(r, item, "text_to_image");
    m->r1 = number(r, item, "r1", 0, 1);
}

static void read_sample(reader *r, void *ctx, json_t *item)
{
    report *p = ctx;
    sample *s = &p->sample[p->n_samples++];
    *s = (sample){.image = string(r, item, "image"), .question = string(r, item, "question"), .student = string(r, item, "student"),
                  .teacher = string(r, item, "teacher"), .accuracy = number(r, item, "accuracy", 0, 1), .teacher_accuracy = NAN};
    json_t *answers = member(r, item, "answers", JSON_ARRAY), *a;
    size_t k;
    json_array_foreach(answers, k, a)
    {
        if (s->n_answers == PUPIL_COUNT(s->answers)) break;
        if (json_is_string(a)) s->answers[s->n_answers++] = json_string_value(a);
        else complain(r, "answers", "an array of strings", a);
    }
    if (s->n_answers < PUPIL_COUNT(s->answers)) return;
    char *const *given = (char *const *)(void *)s->answers;
    if (s->teacher) s->teacher_accuracy = pupil_vqa_accuracy(s->teacher, given);
    if (s->student && isnan(s->accuracy)) s->accuracy = pupil_vqa_accuracy(s->student, given);
}

static void read_score(reader *r, void *ctx, json_t *item)
{
    report *p = ctx;
    json_t *interval = member(r, item, "interval", JSON_ARRAY);
    const json_t *low = json_array_get(interval, 0), *high = json_array_get(interval, 1);
    score s = {string(r, item, "model"), string(r, item, "protocol"), string(r, item, "metric"), number(r, item, "n", 0, 1e15),
               number(r, item, "value", -1e30, 1e30), json_is_number(low) ? json_number_value(low) : NAN,
               json_is_number(high) ? json_number_value(high) : NAN};
    if (s.model && s.protocol && s.metric) p->score[p->n_scores++] = s;
}

/* The student first, then the teacher, the others as they came. */
static void order_models(report *p)
{
    static const char *const first[] = {"student", "teacher"};
    for (int f = 0, to = 0; f < PUPIL_COUNT(first); f++)
        for (int k = to; k < p->n_vqa; k++) {
            if (strcmp(p->vqa[k].name, first[f]) != 0) continue;
            vqa_model m = p->vqa[k];
            memmove(&p->vqa[to + 1], &p->vqa[to], (size_t)(k - to) * sizeof m);
            p->vqa[to++] = m;
            break;
        }
}

static int read_eval(report *p, const char *path)
{
    reader r = {.file = path};
    json_t *vqa = member(&r, p->eval, "vqa", JSON_OBJECT), *pairs = member(&r, p->eval, "retrieval", JSON_OBJECT);
    snprintf(r.place, sizeof r.place, "vqa");
    p->vqa_questions = number(&r, vqa, "n", 0, 1e15);
    p->vqa_answers = number(&r, vqa, "answers", 0, 1e15);
    each_object(&r, member(&r, vqa, "models", JSON_ARRAY), "vqa.models", MODELS_MAX, read_vqa_model, p);
    snprintf(r.place, sizeof r.place, "retrieval");
    p->retrieval_pairs = number(&r, pairs, "n", 0, 1e15);
    each_object(&r, member(&r, pairs, "models", JSON_ARRAY), "retrieval.models", MODELS_MAX, read_retrieval_model, p);
    each_object(&r, member(&r, p->eval, "samples", JSON_ARRAY), "samples", SAMPLES_MAX, read_sample, p);
    json_t *scores = member(&r, p->eval, "scores", JSON_ARRAY);
    p->score = pupil_alloc(PUPIL_MIN(json_array_size(scores), (size_t)SCORES_MAX) * sizeof *p->score);
    each_object(&r, scores, "scores", SCORES_MAX, read_score, p);
    order_models(p);
    return r.code;
}

/* ---- the directory -------------------------------------------------------------------------------- */
static void read_phase(reader *r, void *ctx, json_t *item)
{
    report *p = ctx;
    phase f = {string(r, item, "name"), number(r, item, "seconds", 0, 1e12), number(r, item, "pairs", 0, 1e18)};
    if (f.name && f.seconds >= 0) p->phase[p->n_phases++] = f;
}

static int read_objects(report *p)
{
    char *run = pupil_join(p->dir, "run.json"), *eval = pupil_join(p->dir, "eval.json");
    reader r = {.file = run};
    int code = load(run, &p->run);
    if (code == 0) {
        each_object(&r, member(&r, p->run, "phases", JSON_ARRAY), "phases", MODELS_MAX, read_phase, p);
        code = r.code;
    }
    if (code == 0) code = load(eval, &p->eval);
    if (code == 0) code = read_eval(p, eval);
    pupil_free(&run);
    pupil_free(&eval);
    return code;
}

static int read_yaml(report *p)
{
    char *path = pupil_join(p->dir, "resolved.yaml");
    int r = pupil_exists(path) ? pupil_read_file(path, FILE_MAX, &p->yaml, NULL) : 0;
    pupil_free(&path);
    return r;
}

int report_read(report *p, const char *dir)
{
    static const char *const files[] = {"resolved.yaml", "run.json", "metrics.jsonl", "eval.json"};
    *p = (report){.dir = dir, .vqa_questions = NAN, .vqa_answers = NAN, .retrieval_pairs = NAN};
    bool any = false;
    for (int k = 0; k < PUPIL_COUNT(files); k++) {
        char *path = pupil_join(dir, files[k]);
        any |= pupil_exists(path);
        pupil_free(&path);
    }
    if (!any) return pupil_fail(PUPIL_ENOTFOUND, "%s is no run directory: it has no resolved.yaml, run.json, metrics.jsonl or eval.json", dir);
    char *whole = realpath(dir, NULL), *slash = whole ? strrchr(whole, '/') : NULL;
    p->name = pupil_strdup(slash && slash[1] ? slash + 1 : dir);
    free(whole);
    PUPIL_TRY(read_yaml(p));
    PUPIL_TRY(read_objects(p));
    PUPIL_TRY(read_series(dir, "metrics.jsonl", &p->student));
    return read_series(dir, "teacher-metrics.jsonl", &p->teacher);
}

static void series_free(series *s)
{
    for (int k = 0; k < s->columns; k++) {
        pupil_free(&s->column[k].name);
        pupil_free(&s->column[k].v);
    }
}

void report_free(report *p)
{
    for (int k = 0; k < p->n_vqa; k++) {
        pupil_free(&p->vqa[k].answer_type.g);
        pupil_free(&p->vqa[k].question_type.g);
    }
    pupil_free(&p->score);
    series_free(&p->student);
    series_free(&p->teacher);
    pupil_free(&p->name);
    pupil_free(&p->yaml);
    json_decref(p->run);
    json_decref(p->eval);
    *p = (report){0};
}

const vqa_model *report_vqa(const report *p, const char *name)
{
    for (int k = 0; k < p->n_vqa; k++)
        if (strcmp(p->vqa[k].name, name) == 0) return &p->vqa[k];
    return NULL;
}

double group_accuracy(const groups *g, const char *name)
{
    for (int k = 0; k < g->n; k++)
        if (strcmp(g->g[k].name, name) == 0) return g->g[k].accuracy;
    return NAN;
}
