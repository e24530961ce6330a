/* study_confounds.c: what else differs between cells than the thing they are compared for: which of the confound columns vary,
 * and a least-squares regression of student score on those that are numbers. Groups (all but the teacher, and the seed) are
 * centred first, so only what differs between teachers is explained; a column that is a combination of others is named. */
#include "study.h"

#include <stdlib.h>
#include <string.h>

enum { COLUMNS = OLS_MOST };
typedef struct {
    const char *name;
    double *v; /* of each pair */
} column;
typedef struct {
    column c[COLUMNS];
    int n, rows, *row;
    double *teacher, *student; /* of each pair; students less the mean of their group */
} columns;

static const json_t *confound(const study_row *r, const char *key)
{
    return json_object_get(json_array_get(json_object_get(r->run, "confounds"), 0), key);
}

/* Settings of the student are the same within a group. */
static bool of_student(const char *key) { return !strncmp(key, "student_", 8); }

static void add_column(columns *x, const char *name, const study_data *s, double (*get)(const study_row *, const char *))
{
    if (x->n == COLUMNS) return;
    double *v = pupil_alloc((size_t)(x->rows + 1) * sizeof *v);
    bool varies = false, all = true;
    for (int i = 0; i < x->rows; i++) {
        v[i] = get(&s->row[x->row[i]], name);
        all &= isfinite(v[i]);
        varies |= v[i] != v[0];
    }
    if (all && varies) x->c[x->n++] = (column){name, v};
    else pupil_free(&v);
}

static double get_confound(const study_row *r, const char *key)
{
    const json_t *v = confound(r, key);
    return json_is_boolean(v) ? json_is_true(v) : json_is_number(v) ? json_number_value(v) : NAN;
}

static double get_gap(const study_row *r, const char *key)
{
    (void)key;
    return log2(r->teacher_params / r->student_params);
}

static bool same_group(const study_data *s, const study_row *a, const study_row *b)
{
    bool same = a->seed == b->seed;
    for (int k = 0; k < s->axes && same; k++) same = k == s->teacher || a->point[k] == b->point[k];
    return same;
}

/* Less the mean of its group, in standard deviations; false where nothing is left. Returns how many groups there are. */
static int centre(const study_data *s, const columns *x, double *v, bool *ret_left)
{
    double *mean = pupil_alloc((size_t)(x->rows + 1) * sizeof *mean), sum = 0, size = 0;
    int centred = 0;
    for (int i = 0; i < x->rows; i++) {
        double total = 0, n = 0;
        bool first = true;
        for (int k = 0; k < x->rows; k++) {
            if (!same_group(s, &s->row[x->row[i]], &s->row[x->row[k]])) continue;
            if (k < i) first = false;
            total += v[k];
            n++;
        }
        centred += first;
        mean[i] = total / n;
        size = fmax(size, fabs(v[i]));
    }
    for (int i = 0; i < x->rows; i++) {
        v[i] -= mean[i];
        sum += v[i] * v[i];
    }
    double sd = x->rows > 1 ? sqrt(sum / (x->rows - 1)) : 0;
    *ret_left = sd > 1e-9 * size;
    for (int i = 0; i < x->rows && *ret_left; i++) v[i] /= sd;
    pupil_free(&mean);
    return centred;
}

static void columns_make(const study_data *s, int metric, columns *x)
{
    const char *key;
    json_t *v;
    *x = (columns){.row = pupil_alloc((size_t)(s->n + 1) * sizeof(int)), .teacher = pupil_alloc((size_t)(2 * s->n + 2) * sizeof(double))};
    x->student = x->teacher + s->n;
    x->rows = study_pairs(s, metric, true, x->teacher, x->student, x->row);
    if (!x->rows) return;
    x->c[x->n++] = (column){"teacher score", pupil_alloc((size_t)(x->rows + 1) * sizeof(double))};
    memcpy(x->c[0].v, x->teacher, (size_t)x->rows * sizeof(double));
    add_column(x, "log2 of teacher / student parameters", s, get_gap);
    json_object_foreach(json_array_get(json_object_get(s->row[x->row[0]].run, "confounds"), 0), key, v)
        if (!of_student(key)) add_column(x, key, s, get_confound);
}

static void columns_free(columns *x)
{
    for (int j = 0; j < x->n; j++) pupil_free(&x->c[j].v);
    pupil_free(&x->row);
    pupil_free(&x->teacher);
}

static bool regress(const study_data *s, columns *x, study_regression *ret)
{
    const double *use[COLUMNS];
    bool left;
    double squares = 0;
    *ret = (study_regression){0};
    for (int i = 0; i < x->rows; i++) squares += x->student[i] * x->student[i]; /* centred already */
    for (int j = 0; j < x->n; j++) {
        ret->groups = centre(s, x, x->c[j].v, &left);
        if (!left) continue;
        use[ret->columns] = x->c[j].v;
        ret->name[ret->columns++] = x->c[j].name;
    }
    if (!ret->columns || x->rows < ret->groups + 3 || !(squares > 0)) return false;
    ret->sd = sqrt(squares / (x->rows - 1));
    stats_ols(use, ret->columns, x->student, x->rows, ret->groups, &ret->fit);
    for (int j = 0; j < ret->columns; j++) {
        ols alone;
        stats_ols(&use[j], 1, x->student, x->rows, ret->groups, &alone);
        ret->alone[j] = alone.r2;
    }
    return true;
}

bool study_regress(const study_data *s, int metric, study_regression *ret)
{
    columns x;
    columns_make(s, metric, &x);
    bool told = regress(s, &x, ret);
    columns_free(&x);
    return told;
}

static void regression(pupil_buf *b, const study_data *s, columns *x, int metric)
{
    study_regression r;
    if (!regress(s, x, &r)) {
        html(b, "<p class=\"absent\">No regression: nothing varies with the teacher, or too few cells are done.</p>\n");
        return;
    }
    html(b, "<h3>Regression of student %s on them</h3>\n<p class=\"note\">Least squares over %d cells, %d groups centred. A coefficient is the change of the student&rsquo;s score, in points, for one "
            "standard deviation of the column between teachers. R&sup2; = %.2f of the variation within groups (whose standard deviation is %.2f points).</p>\n",
         study_metrics[metric].label, x->rows, r.groups, r.fit.r2, r.sd);
    html(b, "<div class=\"scroll\"><table><thead><tr><th>column</th><th>points</th><th>standard error</th><th>alone: R&sup2;</th></tr></thead>\n<tbody>\n");
    for (int j = 0; j < r.columns; j++) {
        html(b, "<tr><th scope=\"row\">%s</th>", r.name[j]);
        if (isfinite(r.fit.beta[j])) html(b, "<td>%+.2f</td><td>%.2f</td>", r.fit.beta[j], r.fit.se[j]);
        else html(b, "<td colspan=\"2\">cannot be told apart from those above</td>");
        html(b, "<td>%.2f</td></tr>\n", r.alone[j]);
    }
    html(b, "</tbody></table></div>\n");
}

/* A value as the table shows it; where the cells of a teacher differ, from the least to the greatest. */
static void cell_of(pupil_buf *b, const study_data *s, const columns *x, int t, const char *key)
{
    const json_t *first = NULL;
    bool differ = false;
    double low = INFINITY, high = -INFINITY;
    for (int i = 0; i < x->rows; i++) {
        const study_row *r = &s->row[x->row[i]];
        const json_t *v = confound(r, key);
        if (s->teacher >= 0 && r->point[s->teacher] != t) continue;
        low = fmin(low, get_confound(r, key));
        high = fmax(high, get_confound(r, key));
        if (first && v && !json_equal(first, v)) differ = true;
        if (!first) first = v;
    }
    if (differ && json_is_number(first)) html(b, "<td>%.4g to %.4g</td>", low, high);
    else if (differ) html(b, "<td>varies</td>");
    else if (json_is_string(first)) html(b, "<td>%s</td>", json_string_value(first));
    else if (json_is_boolean(first)) html(b, "<td>%s</td>", json_is_true(first) ? "yes" : "no");
    else if (json_is_number(first)) html(b, "<td>%.4g</td>", json_number_value(first));
    else html(b, "<td>&ndash;</td>");
}

static void confound_table(pupil_buf *b, const study_data *s, const columns *x)
{
    const char *key;
    json_t *v, *first = json_array_get(json_object_get(s->row[x->row[0]].run, "confounds"), 0);
    int teachers = s->teacher < 0 ? 1 : s->axis[s->teacher].n;
    pupil_buf same = {0};
    html(b, "<div class=\"scroll\"><table><thead><tr><th>column</th>");
    for (int t = 0; t < teachers; t++) html(b, "<th>%s</th>", s->teacher < 0 ? "teacher" : s->axis[s->teacher].point[t]);
    html(b, "</tr></thead>\n<tbody>\n");
    json_object_foreach(first, key, v) {
        bool varies = false;
        for (int i = 1; i < x->rows; i++) varies |= !json_equal(v, confound(&s->row[x->row[i]], key));
        if (!varies) {
            char *text = json_dumps(v, JSON_ENCODE_ANY | JSON_REAL_PRECISION(4));
            html(&same, "%s%s = %s", same.len ? ", " : "", key, text ? text : "");
            free(text);
            continue;
        }
        html(b, "<tr><th scope=\"row\">%s</th>", key);
        for (int t = 0; t < teachers; t++) cell_of(b, s, x, t, key);
        html(b, "</tr>\n");
    }
    html(b, "</tbody></table></div>\n<p class=\"note\">The same in all cells: ");
    pupil_buf_puts(b, same.len ? same.s : "none");
    html(b, ".</p>\n");
    pupil_buf_free(&same);
}

void page_study_confounds(pupil_buf *b, const study_data *s, int metric)
{
    columns x;
    columns_make(s, metric, &x);
    html(b, "<h2 id=\"confounds\">Confounds</h2>\n<p class=\"note\">Settings that can make a better teacher look worse; each is a column of results.csv.</p>\n");
    if (x.rows) {
        confound_table(b, s, &x);
        regression(b, s, &x, metric);
    } else {
        html(b, "<p class=\"absent\">No cell with a teacher is done yet.</p>\n");
    }
    columns_free(&x);
}
