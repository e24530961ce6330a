/* study_csv.c: results.csv, a row a cell: its axes, every figure of every protocol for the student and its teacher with
 * intervals, what else differs (the confounds), and what it cost; answers.csv, the statistics of the page; and table.tex, students by
 * teacher for a paper. */
#include "study.h"

#include <string.h>

/* ---- columns that the cells themselves bring ------------------------------------------------------------- */
typedef struct {
    char **name;
    int64_t n, cap;
} names;

static void name_once(names *all, const char *name)
{
    for (int64_t i = 0; i < all->n; i++)
        if (!strcmp(all->name[i], name)) return;
    PUPIL_GROW(all->name, all->n, all->cap);
    all->name[all->n++] = pupil_strdup(name);
}

static void names_free(names *all)
{
    for (int64_t i = 0; i < all->n; i++) pupil_free(&all->name[i]);
    pupil_free(&all->name);
}

/* "student.vqa.probe.accuracy"; owned; NULL for a row of eval.json that is none. */
static char *score_name(const json_t *x)
{
    const char *model = json_string_value(json_object_get(x, "model")), *protocol = json_string_value(json_object_get(x, "protocol")),
               *metric = json_string_value(json_object_get(x, "metric"));
    if (!model || !protocol || !metric) return NULL;
    char *name = pupil_format("%s.%s.%s", model, protocol, metric);
    for (char *c = name; *c; c++)
        if (*c == ' ') *c = '_';
    return name;
}

static bool counts(const study_row *r, const json_t *x)
{
    const char *model = json_string_value(json_object_get(x, "model"));
    return model && (r->distils || strncmp(model, "teacher", 7) != 0);
}

static void collect(const study_data *s, names *scores, names *confounds)
{
    for (int i = 0; i < s->n; i++) {
        size_t k;
        const json_t *x;
        const char *key;
        json_t *value, *first = json_array_get(json_object_get(s->row[i].run, "confounds"), 0);
        json_array_foreach(json_object_get(s->row[i].eval, "scores"), k, x) {
            char *name = counts(&s->row[i], x) ? score_name(x) : NULL;
            if (!name) continue;
            name_once(scores, name);
            if (json_is_array(json_object_get(x, "interval"))) {
                char *low = pupil_format("%s.low", name), *high = pupil_format("%s.high", name);
                name_once(scores, low);
                name_once(scores, high);
                pupil_free(&low);
                pupil_free(&high);
            }
            pupil_free(&name);
        }
        json_object_foreach(first, key, value) name_once(confounds, key);
    }
}

static double score_of(const study_row *r, const char *column)
{
    size_t k;
    const json_t *x;
    json_array_foreach(json_object_get(r->eval, "scores"), k, x) {
        char *name = counts(r, x) ? score_name(x) : NULL;
        size_t n = name ? strlen(name) : 0;
        bool mine = name && !strncmp(name, column, n);
        pupil_free(&name);
        if (!mine) continue;
        const json_t *at = json_object_get(x, "interval"), *v = NULL;
        if (!column[n]) v = json_object_get(x, "value");
        else if (!strcmp(column + n, ".low")) v = json_array_get(at, 0);
        else if (!strcmp(column + n, ".high")) v = json_array_get(at, 1);
        if (json_is_number(v)) return json_number_value(v);
    }
    return NAN;
}

/* ---- results.csv --------------------------------------------------------------------------------------------- */
static void confound(pupil_buf *b, const study_row *r, const char *key)
{
    const json_t *v = json_object_get(json_array_get(json_object_get(r->run, "confounds"), 0), key);
    if (json_is_string(v)) {
        pupil_buf_puts(b, ",");
        csv_text(b, json_string_value(v));
    } else {
        csv_number(b, json_is_boolean(v) ? json_is_true(v) : json_is_number(v) ? json_number_value(v) : NAN);
    }
}

static void row(pupil_buf *b, const study_data *s, const study_row *r, const names *scores, const names *confounds)
{
    static const char *const state[] = {"missing", "done", "failed"};
    pupil_buf_printf(b, "%s,%s,", r->id, state[r->state]);
    csv_text(b, r->why ? r->why : "");
    for (int a = 0; a < s->axes; a++) pupil_buf_printf(b, ",%s", study_point(s, r, a));
    csv_number(b, r->seed);
    for (int64_t k = 0; k < scores->n; k++) csv_number(b, score_of(r, scores->name[k]));
    bool done = r->state == ROW_DONE;
    const double own[] = {done ? r->student_params : NAN, done ? r->teacher_params : NAN, done ? r->student_params / r->teacher_params : NAN,
                          done ? r->cells_seconds / 3600 : NAN, done ? r->teacher_seconds / 3600 : NAN, done ? r->cache_bytes : NAN};
    for (int k = 0; k < PUPIL_COUNT(own); k++) csv_number(b, own[k]);
    for (int64_t k = 0; k < confounds->n; k++) confound(b, r, confounds->name[k]);
    pupil_buf_puts(b, "\n");
}

static int save(const study_data *s, const char *name, pupil_buf *b)
{
    char *path = pupil_join(s->dir, name);
    int code = pupil_write_file(path, b->s ? b->s : "", b->len);
    pupil_free(&path);
    pupil_buf_free(b);
    return code;
}

int study_write_csv(const study_data *s)
{
    names scores = {0}, confounds = {0};
    pupil_buf b = {0};
    collect(s, &scores, &confounds);
    pupil_buf_puts(&b, "cell,state,reason");
    for (int a = 0; a < s->axes; a++) pupil_buf_printf(&b, ",%s", s->axis[a].name);
    pupil_buf_puts(&b, ",seed");
    for (int64_t k = 0; k < scores.n; k++) pupil_buf_printf(&b, ",%s", scores.name[k]);
    pupil_buf_puts(&b, ",student_parameters,teacher_parameters,parameter_ratio,core_hours,teacher_core_hours,cache_bytes");
    for (int64_t k = 0; k < confounds.n; k++) pupil_buf_printf(&b, ",%s", confounds.name[k]);
    pupil_buf_puts(&b, "\n");
    for (int i = 0; i < s->n; i++) row(&b, s, &s->row[i], &scores, &confounds);
    names_free(&scores);
    names_free(&confounds);
    return save(s, "results.csv", &b);
}

/* ---- answers.csv ------------------------------------------------------------------------------------------------ */
static void answer(pupil_buf *b, int metric, const char *statistic, estimate e)
{
    pupil_buf_printf(b, "%s.%s,%s", study_metrics[metric].protocol, study_metrics[metric].metric, statistic);
    csv_number(b, e.value);
    csv_number(b, e.low);
    csv_number(b, e.high);
    pupil_buf_puts(b, "\n");
}

static void answer_regression(pupil_buf *b, const study_data *s, int metric)
{
    study_regression r;
    if (!study_regress(s, metric, &r)) return;
    answer(b, metric, "regression r2", (estimate){r.fit.r2, NAN, NAN});
    for (int j = 0; j < r.columns; j++) {
        char *beta = pupil_format("beta of %s", r.name[j]), *error = pupil_format("error of %s", r.name[j]);
        answer(b, metric, beta, (estimate){r.fit.beta[j], NAN, NAN});
        answer(b, metric, error, (estimate){r.fit.se[j], NAN, NAN});
        pupil_free(&beta);
        pupil_free(&error);
    }
}

int study_write_answers(const study_data *s)
{
    pupil_buf b = {0};
    pupil_buf_puts(&b, "metric,statistic,value,low,high\n");
    for (int m = 0; m < METRICS; m++) {
        if (!s->has[m]) continue;
        study_answer a = study_answer_of(s, m);
        const struct {
            const char *name;
            estimate e;
        } all[] = {{"spearman", a.spearman}, {"kendall", a.kendall}, {"spearman_adjusted", a.adjusted}, {"kendall_adjusted", a.adjusted_kendall},
                   {"cells", {a.pairs, NAN, NAN}}, {"groups", {a.groups, NAN, NAN}}, {"regret", {a.regret, NAN, NAN}},
                   {"worst_regret", {a.groups ? a.worst_regret : NAN, NAN, NAN}}, {"strongest_best", {a.strongest_best, NAN, NAN}},
                   {"spread", {a.spread, NAN, NAN}}, {"seed_sd", {a.seed_sd, NAN, NAN}}, {"gain", {a.gain, NAN, NAN}}};
        for (int k = 0; k < PUPIL_COUNT(all); k++) answer(&b, m, all[k].name, all[k].e);
        answer_regression(&b, s, m);
    }
    return save(s, "answers.csv", &b);
}

/* ---- table.tex --------------------------------------------------------------------------------------------------- */
static void tex(pupil_buf *b, const char *text)
{
    for (; *text; text++) {
        if (strchr("_%&#$", *text)) pupil_buf_puts(b, "\\");
        pupil_buf_add(b, text, 1);
    }
}

/* Least and greatest seed of a student, as half their distance. */
static void tex_cell(pupil_buf *b, const study_group *g, int t, bool best)
{
    if (!g->seeds[t]) {
        pupil_buf_puts(b, " & --");
        return;
    }
    pupil_buf_printf(b, best ? " & \\textbf{%.1f}" : " & %.1f", g->student[t]);
    if (g->seeds[t] > 1) pupil_buf_printf(b, "{\\scriptsize$\\pm$%.1f}", (g->high[t] - g->low[t]) / 2);
}

static void tex_group(pupil_buf *b, const study_data *s, const study_group *g, int teachers)
{
    int best = -1, n = 0;
    for (int t = 0; t < teachers; t++)
        if (g->seeds[t] && (best < 0 || g->student[t] > g->student[best])) best = t;
    for (int a = 0; a < s->axes; a++) {
        if (a == s->teacher) continue;
        if (n++) pupil_buf_puts(b, " & ");
        tex(b, g->point[a] < 0 ? "--" : s->axis[a].point[g->point[a]]);
    }
    for (int t = 0; t < teachers; t++) tex_cell(b, g, t, t == best);
    pupil_buf_puts(b, " \\\\\n");
}

static void tex_table(pupil_buf *b, const study_data *s, int metric)
{
    study_groups g;
    double own[PUPIL_STUDY_POINTS];
    int teachers = s->teacher < 0 ? 1 : s->axis[s->teacher].n, words = s->axes - (s->teacher >= 0);
    study_group_by_teacher(s, metric, &g);
    study_teachers(s, metric, own);
    pupil_buf_puts(b, "\\begin{table}\n\\centering\n\\caption{");
    tex(b, study_metrics[metric].label);
    pupil_buf_puts(b, " of students by teacher; the mean over seeds and half the distance of the least and the greatest. Bold: the best teacher of a row.}\n");
    pupil_buf_puts(b, "\\begin{tabular}{");
    for (int k = 0; k < words; k++) pupil_buf_puts(b, "l");
    for (int t = 0; t < teachers; t++) pupil_buf_puts(b, "r");
    pupil_buf_puts(b, "}\n\\toprule\n");
    for (int a = 0, n = 0; a < s->axes; a++) {
        if (a == s->teacher) continue;
        pupil_buf_puts(b, n++ ? " & " : "");
        tex(b, s->axis[a].name);
    }
    for (int t = 0; t < teachers; t++) pupil_buf_puts(b, " & "), tex(b, s->teacher < 0 ? "teacher" : s->axis[s->teacher].point[t]);
    pupil_buf_puts(b, " \\\\\n\\midrule\n");
    if (words) pupil_buf_printf(b, "\\multicolumn{%d}{l}{teacher itself}", words);
    for (int t = 0; t < teachers; t++) pupil_buf_printf(b, isfinite(own[t]) ? " & %.1f" : " & --", own[t]);
    pupil_buf_puts(b, " \\\\\n\\midrule\n");
    for (int i = 0; i < g.n; i++) tex_group(b, s, &g.group[i], teachers);
    pupil_buf_puts(b, "\\bottomrule\n\\end{tabular}\n\\end{table}\n");
    study_groups_free(&g);
}

int study_write_tex(const study_data *s)
{
    pupil_buf b = {0};
    pupil_buf_puts(&b, "% \\usepackage{booktabs}\n");
    for (int m = 0; m < METRICS; m++)
        if (s->has[m]) tex_table(&b, s, m);
    return save(s, "table.tex", &b);
}
