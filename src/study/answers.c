/* answers.c: what the rows of a study say about its question. A group is what differs in the teacher alone, so that a student
 * or a loss that is better with every teacher does not pass for a better teacher. */
#include "study.h"

#include <string.h>

static bool usable(const study_row *r, int metric)
{
    return r->state == ROW_DONE && r->distils && isfinite(r->m[metric].student) && isfinite(r->m[metric].teacher);
}

/* The same but for the teacher, and, where `seeds` says so, the seed. */
static bool same_group(const study_data *s, const study_row *a, const study_row *b, bool seeds)
{
    for (int k = 0; k < s->axes; k++)
        if (k != s->teacher && a->point[k] != b->point[k]) return false;
    return seeds || a->seed == b->seed;
}

static int teacher_of(const study_data *s, const study_row *r) { return s->teacher < 0 || r->point[s->teacher] < 0 ? 0 : r->point[s->teacher]; }

int study_pairs(const study_data *s, int metric, bool adjusted, double *teacher, double *student, int *ret_row)
{
    int n = 0;
    for (int i = 0; i < s->n; i++) {
        const study_row *r = &s->row[i];
        if (!usable(r, metric)) continue;
        double sum = 0, count = 0;
        for (int k = 0; k < s->n && adjusted; k++)
            if (usable(&s->row[k], metric) && same_group(s, r, &s->row[k], false)) sum += s->row[k].m[metric].student, count++;
        teacher[n] = r->m[metric].teacher;
        student[n] = r->m[metric].student - (adjusted ? sum / count : 0);
        if (ret_row) ret_row[n] = i;
        n++;
    }
    return n;
}

void study_group_by_teacher(const study_data *s, int metric, study_groups *ret)
{
    *ret = (study_groups){.group = pupil_alloc((size_t)(s->n + 1) * sizeof *ret->group)};
    for (int i = 0; i < s->n; i++) {
        const study_row *r = &s->row[i];
        bool seen = !usable(r, metric);
        for (int k = 0; k < i && !seen; k++) seen = usable(&s->row[k], metric) && same_group(s, r, &s->row[k], true);
        if (seen) continue;
        study_group *g = &ret->group[ret->n++];
        memcpy(g->point, r->point, sizeof g->point);
        if (s->teacher >= 0) g->point[s->teacher] = -1;
        for (int k = i; k < s->n; k++) {
            const study_row *o = &s->row[k];
            if (!usable(o, metric) || !same_group(s, r, o, true)) continue;
            int t = teacher_of(s, o);
            double v = o->m[metric].student;
            g->low[t] = g->seeds[t] ? fmin(g->low[t], v) : v;
            g->high[t] = g->seeds[t] ? fmax(g->high[t], v) : v;
            g->student[t] += v;
            g->teacher[t] += o->m[metric].teacher;
            g->seeds[t]++;
        }
        for (int t = 0; t < PUPIL_STUDY_POINTS; t++) {
            g->student[t] = g->seeds[t] ? g->student[t] / g->seeds[t] : NAN;
            g->teacher[t] = g->seeds[t] ? g->teacher[t] / g->seeds[t] : NAN;
        }
    }
}

void study_groups_free(study_groups *g) { pupil_free(&g->group); }

/* Best student, student of the strongest teacher, worst student of a group with at least two teachers, the strongest of all
 * among them. */
static bool extremes(const study_group *g, const double *own, double *best, double *of_strongest, double *worst)
{
    int n = 0, strongest = -1, champion = 0;
    for (int t = 1; t < PUPIL_STUDY_POINTS; t++)
        if (isfinite(own[t]) && !(own[champion] >= own[t])) champion = t;
    if (!g->seeds[champion]) return false;
    *best = -INFINITY;
    *worst = INFINITY;
    for (int t = 0; t < PUPIL_STUDY_POINTS; t++) {
        if (!g->seeds[t]) continue;
        n++;
        if (strongest < 0 || g->teacher[t] > g->teacher[strongest]) strongest = t;
        *best = fmax(*best, g->student[t]);
        *worst = fmin(*worst, g->student[t]);
    }
    if (n > 1) *of_strongest = g->student[strongest];
    return n > 1;
}

double study_plain(const study_data *s, const study_row *r, int metric)
{
    double sum = 0, n = 0;
    for (int i = 0; i < s->n; i++) {
        const study_row *o = &s->row[i];
        bool same = o->state == ROW_DONE && !o->distils && o->seed == r->seed && isfinite(o->m[metric].student);
        for (int a = 0; a < s->axes && same; a++) /* a loss without a teacher is another point of its axis */
            same = o->point[a] < 0 || o->point[a] == r->point[a] || !strcmp(s->axis[a].name, "loss");
        if (same) sum += o->m[metric].student, n++;
    }
    return n > 0 ? sum / n : NAN;
}

void study_teachers(const study_data *s, int metric, double own[PUPIL_STUDY_POINTS])
{
    study_teacher_intervals(s, metric, own, NULL, NULL);
}

void study_teacher_intervals(const study_data *s, int metric, double *own, double *low, double *high)
{
    int count[PUPIL_STUDY_POINTS] = {0};
    double sum[3][PUPIL_STUDY_POINTS] = {{0}};
    for (int i = 0; i < s->n; i++) {
        const study_row *r = &s->row[i];
        if (!usable(r, metric)) continue;
        int t = teacher_of(s, r);
        sum[0][t] += r->m[metric].teacher;
        sum[1][t] += r->m[metric].teacher_low;
        sum[2][t] += r->m[metric].teacher_high;
        count[t]++;
    }
    for (int t = 0; t < PUPIL_STUDY_POINTS; t++) {
        own[t] = count[t] ? sum[0][t] / count[t] : NAN;
        if (low) low[t] = count[t] ? sum[1][t] / count[t] : NAN;
        if (high) high[t] = count[t] ? sum[2][t] / count[t] : NAN;
    }
}

void study_by_teacher(const study_data *s, int metric, int axis, int k, double mean[PUPIL_STUDY_POINTS], int count[PUPIL_STUDY_POINTS])
{
    for (int t = 0; t < PUPIL_STUDY_POINTS; t++) mean[t] = count[t] = 0;
    for (int i = 0; i < s->n; i++) {
        const study_row *r = &s->row[i];
        if (!usable(r, metric) || (axis >= 0 && r->point[axis] != k)) continue;
        mean[teacher_of(s, r)] += r->m[metric].student;
        count[teacher_of(s, r)]++;
    }
    for (int t = 0; t < PUPIL_STUDY_POINTS; t++) mean[t] = count[t] ? mean[t] / count[t] : NAN;
}

/* Pooled over students that differ in their seed alone. */
static double seed_sd(const study_data *s, int metric)
{
    double squares = 0, freedom = 0;
    for (int i = 0; i < s->n; i++) {
        double x[PUPIL_STUDY_SEEDS];
        int n = 0;
        bool first = true;
        for (int k = 0; k < s->n; k++) {
            const study_row *a = &s->row[i], *b = &s->row[k];
            if (a->state != ROW_DONE || b->state != ROW_DONE || memcmp(a->point, b->point, sizeof a->point) || !isfinite(b->m[metric].student)) continue;
            if (k < i) first = false;
            if (n < PUPIL_STUDY_SEEDS) x[n++] = b->m[metric].student;
        }
        if (!first || n < 2) continue;
        double sd = stats_sd(x, n);
        squares += sd * sd * (n - 1);
        freedom += n - 1;
    }
    return freedom > 0 ? sqrt(squares / freedom) : NAN;
}

double study_tells(const study_data *s, int of_teacher, int of_student)
{
    double *x = pupil_alloc((size_t)(3 * s->n + 1) * sizeof *x), *y = x + s->n, *ignored = y + s->n;
    int *row = pupil_alloc((size_t)(2 * s->n + 1) * sizeof *row), *other = row + s->n;
    int n = study_pairs(s, of_student, true, ignored, y, row), m = study_pairs(s, of_teacher, true, x, ignored, other);
    double r = n == m && !memcmp(row, other, (size_t)n * sizeof *row) ? stats_spearman(x, y, n) : NAN; /* the same cells have both */
    pupil_free(&x);
    pupil_free(&row);
    return r;
}

study_answer study_answer_of(const study_data *s, int metric)
{
    enum { SEED = 1 };
    study_answer a = {0};
    study_groups g;
    double *x = pupil_alloc((size_t)(2 * s->n + 1) * sizeof *x), *y = x + s->n, own[PUPIL_STUDY_POINTS], gain = 0;
    a.pairs = study_pairs(s, metric, false, x, y, NULL);
    a.spearman = stats_bootstrap(stats_spearman, x, y, a.pairs, SEED);
    a.kendall = stats_bootstrap(stats_kendall, x, y, a.pairs, SEED);
    study_pairs(s, metric, true, x, y, NULL);
    a.adjusted = stats_bootstrap(stats_spearman, x, y, a.pairs, SEED);
    a.adjusted_kendall = stats_bootstrap(stats_kendall, x, y, a.pairs, SEED);
    study_teachers(s, metric, own);
    for (int t = 0; t < PUPIL_STUDY_POINTS; t++) a.teachers += isfinite(own[t]);
    study_group_by_teacher(s, metric, &g);
    for (int i = 0; i < g.n; i++) {
        double best, strongest, worst;
        if (!extremes(&g.group[i], own, &best, &strongest, &worst)) continue;
        a.groups++;
        a.regret += best - strongest;
        a.spread += best - worst;
        a.worst_regret = fmax(a.worst_regret, best - strongest);
        a.strongest_best += best == strongest;
    }
    a.regret = a.groups ? a.regret / a.groups : NAN;
    a.spread = a.groups ? a.spread / a.groups : NAN;
    a.seed_sd = seed_sd(s, metric);
    for (int i = 0; i < s->n; i++) {
        double plain = usable(&s->row[i], metric) ? study_plain(s, &s->row[i], metric) : NAN;
        if (isfinite(plain)) gain += s->row[i].m[metric].student - plain, a.gains++;
    }
    a.gain = a.gains ? gain / a.gains : NAN;
    study_groups_free(&g);
    pupil_free(&x);
    return a;
}
