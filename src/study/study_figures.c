/* study_figures.c: the figures of a study. Teacher score against student score, one line of marks for each group (all that
 * differs in the teacher alone): its colour is its point on the first axis that varies, its shape that of the second; a mark
 * is the mean over seeds, a bar reaches from the least to the greatest. Teachers are named where they stand. */
#include "study.h"

#include <string.h>

enum { WIDTH = 520, HEIGHT = 360 };
static const char *const colours[] = {"--phase1", "--phase2", "--phase3", "--phase6", "--phase8", "--phase4", "--phase5", "--phase7"};
static const int shapes[] = {7, 9, 5, 13, 6, 8, 4, 12}; /* gnuplot's numbers: one above those of its SVG */

/* Axes that colours and shapes are of; -1: none varies. */
void study_looks(const study_data *s, int *colour, int *shape)
{
    int loss = -1, other[2] = {-1, -1}, n = 0;
    for (int a = 0; a < s->axes; a++) {
        if (a == s->teacher || s->axis[a].n < 2) continue;
        if (!strcmp(s->axis[a].name, "loss")) loss = a;
        else if (n < 2) other[n++] = a;
    }
    *colour = loss >= 0 ? loss : other[0];
    *shape = loss >= 0 ? other[0] : other[1];
}

const char *study_colour(int k) { return k < 0 ? "--accent" : colours[k % PUPIL_COUNT(colours)]; }
int study_shape(int k) { return k < 0 ? shapes[0] : shapes[k % PUPIL_COUNT(shapes)]; }

typedef struct {
    double low, high;
} span;

static void widen(span *x, double v)
{
    if (!isfinite(v)) return;
    x->low = fmin(x->low, v);
    x->high = fmax(x->high, v);
}

static void set_range(pupil_buf *script, const char *axis, span x, double above)
{
    double room = fmax(x.high - x.low, 0.2), grown = (room - (x.high - x.low)) / 2;
    x.low -= grown;
    x.high += grown;
    pupil_buf_printf(script, "set %srange [%.9g:%.9g]\n", axis, x.low - 0.08 * room, x.high + above * room);
}

/* Where names of teachers stand: above their scores in one of three rows, or, where those do not do, upright and moved apart. */
typedef struct {
    double own[PUPIL_STUDY_POINTS], low[PUPIL_STUDY_POINTS], high[PUPIL_STUDY_POINTS];
    int n, t[PUPIL_STUDY_POINTS], row[PUPIL_STUDY_POINTS]; /* by score */
    double at[PUPIL_STUDY_POINTS];
    bool upright;
    double height; /* of all names, in heights of the graph */
} nameplates;

static void by_score(nameplates *p)
{
    for (int i = 0; i < PUPIL_STUDY_POINTS; i++) {
        if (!isfinite(p->own[i])) continue;
        int k = p->n++;
        for (; k > 0 && p->own[p->t[k - 1]] > p->own[i]; k--) p->t[k] = p->t[k - 1];
        p->t[k] = i;
    }
}

/* At least a line's height apart, as near their scores as that allows. */
static void move_apart(nameplates *p, span x)
{
    double room = fmax(x.high - x.low, 1e-6), gap = room * fmin(0.044, 1.0 / p->n), end = x.high + 0.02 * room;
    for (int k = 0; k < p->n; k++) p->at[k] = k ? fmax(p->own[p->t[k]], p->at[k - 1] + gap) : p->own[p->t[k]];
    for (int k = p->n - 1; k >= 0; k--) p->at[k] = fmin(p->at[k], k + 1 < p->n ? p->at[k + 1] - gap : end);
}

static nameplates place_names(const study_data *s, int metric, span x)
{
    nameplates p = {.height = 0.2};
    double last[3] = {-INFINITY, -INFINITY, -INFINITY};
    size_t longest = 0;
    study_teacher_intervals(s, metric, p.own, p.low, p.high);
    by_score(&p);
    for (int k = 0; k < p.n; k++) {
        size_t letters = strlen(study_teacher_name(s, p.t[k]));
        double wide = 0.03 * (2 + (double)letters) * fmax(x.high - x.low, 1e-6);
        int row = 0;
        p.at[k] = p.own[p.t[k]];
        while (row < 3 && p.at[k] - last[row] < wide) row++;
        if (row == 3) p.upright = true;
        else last[row] = p.at[k];
        p.row[k] = row;
        longest = PUPIL_MAX(longest, letters);
    }
    if (!p.upright) return p;
    move_apart(&p, x);
    p.height = fmin(0.55, 0.06 + 0.0245 * (double)longest);
    return p;
}

/* A line at each teacher's score, its name above and its 95 % interval at the foot. */
static void name_teachers(pupil_buf *script, const study_data *s, const nameplates *p)
{
    for (int k = 0; k < p->n; k++) {
        int t = p->t[k];
        double foot = 0.02 + 0.022 * (k % 4), top = p->upright ? 1.01 - p->height : 0.945 - 0.065 * p->row[k];
        const char *muted = plot_colour("--muted"), *ink = plot_colour("--ink");
        pupil_buf_printf(script, "set arrow from first %.9g, graph 0 to first %.9g, graph %.3f nohead lw 0.8 dt 3 lc rgb \"%s\"\n", p->own[t], p->own[t], top, muted);
        if (isfinite(p->low[t]) && isfinite(p->high[t]))
            pupil_buf_printf(script, "set arrow from first %.9g, graph %.3f to first %.9g, graph %.3f nohead lw 2.4 lc rgb \"%s\"\n", p->low[t], foot, p->high[t], foot,
                             plot_colour("--teacher"));
        if (p->upright) {
            pupil_buf_printf(script, "set arrow from first %.9g, graph %.3f to first %.9g, graph %.3f nohead lw 0.8 dt 3 lc rgb \"%s\"\n", p->own[t], top, p->at[k], top + 0.035, muted);
            pupil_buf_printf(script, "set label \"%s\" noenhanced at first %.9g, graph %.3f left rotate by 90 textcolor rgb \"%s\" font \",11\"\n", study_teacher_name(s, t), p->at[k],
                             top + 0.045, ink);
        } else {
            pupil_buf_printf(script, "set label \"%s\" noenhanced at first %.9g, graph %.3f center textcolor rgb \"%s\" font \",13\"\n", study_teacher_name(s, t), p->at[k], top + 0.027, ink);
        }
    }
}

static void begin(plotter *p, const char *x, const char *y)
{
    plotter_new(p, WIDTH, HEIGHT);
    pupil_buf_printf(&p->script, "set lmargin 8.5\nset bmargin 3.4\nset grid noxtics ytics\nset xlabel \"%s\" noenhanced textcolor rgb \"%s\" offset 0,0.3\n", x,
                     plot_colour("--muted"));
    pupil_buf_printf(&p->script, "set ylabel \"%s\" noenhanced textcolor rgb \"%s\" offset 1.2,0\n", y, plot_colour("--muted"));
}

/* Students without a teacher: a dashed line each, in the colour of their choice, named at its end. */
static void add_plain(pupil_buf *script, const study_data *s, int metric, int colour, int shape, span *y)
{
    for (int i = 0; i < s->n; i++) {
        const study_row *r = &s->row[i];
        double sum = 0, n = 0;
        bool first = r->state == ROW_DONE && !r->distils;
        for (int k = 0; k < s->n && first; k++) {
            const study_row *o = &s->row[k];
            if (o->state != ROW_DONE || o->distils || memcmp(o->point, r->point, sizeof o->point) || !isfinite(o->m[metric].student)) continue;
            first = k >= i;
            sum += o->m[metric].student;
            n++;
        }
        if (!first || n == 0) continue;
        widen(y, sum / n);
        pupil_buf_printf(script, "set arrow from graph 0, first %.9g to graph 1, first %.9g nohead lw 1.1 dt 2 lc rgb \"%s\"\n", sum / n, sum / n,
                         plot_colour(study_colour(colour < 0 ? -1 : r->point[colour])));
        pupil_buf_printf(script, "set label \"%s%s%s\" noenhanced at graph 1.015, first %.9g left textcolor rgb \"%s\" font \",11\"\n",
                         colour < 0 ? "no teacher" : study_point(s, r, colour), shape < 0 ? "" : ", ", shape < 0 ? "" : study_point(s, r, shape), sum / n,
                         plot_colour("--muted"));
    }
}

/* Marks of one group, and whether there are any. */
static int write_group(plotter *p, const study_group *g, const char *file, int *ret_n)
{
    double x[PUPIL_STUDY_POINTS], y[PUPIL_STUDY_POINTS], low[PUPIL_STUDY_POINTS], high[PUPIL_STUDY_POINTS];
    bool taken[PUPIL_STUDY_POINTS] = {false};
    int n = 0;
    for (;; n++) { /* by teacher score, so that a line goes from left to right */
        int t = -1;
        for (int i = 0; i < PUPIL_STUDY_POINTS; i++)
            if (g->seeds[i] && !taken[i] && (t < 0 || g->teacher[i] < g->teacher[t])) t = i;
        if (t < 0) break;
        taken[t] = true;
        x[n] = g->teacher[t];
        y[n] = g->student[t];
        low[n] = g->low[t];
        high[n] = g->high[t];
    }
    *ret_n = n;
    return plotter_data(p, file, (const double *const[]){x, y, low, high}, 4, n);
}

static int add_scatter(plotter *p, const study_data *s, int metric)
{
    study_groups g;
    span x = {INFINITY, -INFINITY}, y = x;
    char label_x[96], label_y[96], file[32];
    int colour, shape, code = 0, drawn = 0, k = p->n;
    study_looks(s, &colour, &shape);
    study_group_by_teacher(s, metric, &g);
    for (int i = 0; i < g.n; i++)
        for (int t = 0; t < PUPIL_STUDY_POINTS; t++)
            if (g.group[i].seeds[t]) widen(&x, g.group[i].teacher[t]), widen(&y, g.group[i].low[t]), widen(&y, g.group[i].high[t]);
    double own[PUPIL_STUDY_POINTS], low[PUPIL_STUDY_POINTS], high[PUPIL_STUDY_POINTS];
    study_teacher_intervals(s, metric, own, low, high);
    for (int t = 0; t < PUPIL_STUDY_POINTS; t++) widen(&x, low[t]), widen(&x, high[t]);
    snprintf(label_x, sizeof label_x, "teacher, %s (%s)", study_metrics[metric].label, study_metrics[metric].unit);
    snprintf(label_y, sizeof label_y, "student (%s)", study_metrics[metric].unit);
    begin(p, label_x, label_y);
    if (!g.n) x = y = (span){0, 1};
    else add_plain(&p->script, s, metric, colour, shape, &y);
    pupil_buf_puts(&p->script, "set rmargin 9.5\n");
    set_range(&p->script, "x", x, 0.04);
    y.low -= 0.1 * (y.high - y.low); /* room for the teachers' intervals */
    nameplates names = place_names(s, metric, x);
    set_range(&p->script, "y", y, names.height / (1 - names.height));
    name_teachers(&p->script, s, &names);
    pupil_buf_puts(&p->script, "plot ");
    if (!g.n) pupil_buf_puts(&p->script, "1/0");
    for (int i = 0; i < g.n && !code; i++) {
        int n, c = colour < 0 ? -1 : g.group[i].point[colour], m = shape < 0 ? -1 : g.group[i].point[shape];
        snprintf(file, sizeof file, "%d.%d", k, i);
        code = write_group(p, &g.group[i], file, &n);
        const char *rgb = plot_colour(study_colour(c));
        pupil_buf_printf(&p->script, "%s\"%s\" using 1:2 with lines lw 1.3 lc rgb \"%s\", \"%s\" using 1:2:3:4 with yerrorbars pt 0 lw 1 lc rgb \"%s\", "
                         "\"%s\" using 1:2 with points pt %d ps 0.85 lc rgb \"%s\"", drawn++ ? ", " : "", file, rgb, file, rgb, file, study_shape(m), rgb);
    }
    pupil_buf_puts(&p->script, "\n");
    study_groups_free(&g);
    return code;
}

/* How much larger the teacher is, against what it gave: the student's score less that of the same one without a teacher, or
 * less its group's mean where none was trained without. */
static int add_gap(plotter *p, const study_data *s, int metric)
{
    double *ratio = pupil_alloc((size_t)(4 * s->n + 4) * sizeof *ratio), *gain = ratio + s->n, *teacher = gain + s->n, *student = teacher + s->n;
    int *row = pupil_alloc((size_t)(s->n + 1) * sizeof *row), n = study_pairs(s, metric, true, teacher, student, row), colour, shape, code = 0, drawn = 0, k = p->n;
    bool plain = n > 0;
    span x = {INFINITY, -INFINITY}, y = x;
    study_looks(s, &colour, &shape);
    for (int i = 0; i < n; i++) plain &= isfinite(study_plain(s, &s->row[row[i]], metric));
    for (int i = 0; i < n; i++) {
        const study_row *r = &s->row[row[i]];
        ratio[i] = r->teacher_params / r->student_params;
        gain[i] = plain ? r->m[metric].student - study_plain(s, r, metric) : student[i];
        widen(&x, log2(ratio[i]));
        widen(&y, gain[i]);
    }
    begin(p, "teacher / student parameters (log scale)", plain ? "gain over no teacher (points)" : "less the mean of its group (points)");
    if (!(x.high >= x.low)) x = y = (span){0, 1};
    pupil_buf_printf(&p->script, "set logscale x 2\nset xrange [%.9g:%.9g]\n", exp2(x.low - 0.3), exp2(x.high + 0.3));
    set_range(&p->script, "y", y, 0.08);
    pupil_buf_printf(&p->script, "set arrow from graph 0, first 0 to graph 1, first 0 nohead lw 1 lc rgb \"%s\"\nplot 1/0", plot_colour("--muted"));
    for (int c = 0; c < (colour < 0 ? 1 : s->axis[colour].n); c++)
        for (int m = 0; m < (shape < 0 ? 1 : s->axis[shape].n) && !code; m++) {
            double *px = pupil_alloc((size_t)(2 * n + 2) * sizeof *px), *py = px + n;
            char file[32];
            int count = 0;
            for (int i = 0; i < n; i++) {
                const study_row *r = &s->row[row[i]];
                if ((colour >= 0 && r->point[colour] != c) || (shape >= 0 && r->point[shape] != m) || !isfinite(ratio[i])) continue;
                px[count] = ratio[i];
                py[count++] = gain[i];
            }
            snprintf(file, sizeof file, "%d.%d", k, drawn++);
            if (count) code = plotter_data(p, file, (const double *const[]){px, py}, 2, count);
            if (count)
                pupil_buf_printf(&p->script, ", \"%s\" using 1:2 with points pt %d ps 0.8 lc rgb \"%s\"", file, study_shape(shape < 0 ? -1 : m),
                                 plot_colour(study_colour(colour < 0 ? -1 : c)));
            pupil_free(&px);
        }
    pupil_buf_puts(&p->script, "\n");
    pupil_free(&ratio);
    pupil_free(&row);
    return code;
}

void study_draw(const study_data *s, study_figures *ret)
{
    static const double SECONDS = 30;
    plotter p;
    *ret = (study_figures){0};
    int code = plotter_begin(&p);
    for (int m = 0; m < METRICS && code == 0; m++) code = add_scatter(&p, s, m);
    for (int m = 0; m < METRICS && code == 0; m++) code = add_gap(&p, s, m);
    if (code == 0) code = plotter_run(&p, SECONDS);
    for (int m = 0; m < METRICS && code == 0; m++) {
        char label[160];
        if (!s->has[m]) continue;
        snprintf(label, sizeof label, "%s: teacher score against student score", study_metrics[m].label);
        ret->scatter[m] = plotter_svg(&p, m, label);
        snprintf(label, sizeof label, "%s: ratio of parameters against gain", study_metrics[m].label);
        ret->gap[m] = plotter_svg(&p, METRICS + m, label);
    }
    if (code < 0) {
        ret->missing = pupil_strdup(pupil_reason());
        pupil_warn("the study's figures were not drawn: %s", ret->missing);
    }
    plotter_end(&p);
}

void study_figures_free(study_figures *f)
{
    for (int m = 0; m < METRICS; m++) {
        pupil_free(&f->scatter[m]);
        pupil_free(&f->gap[m]);
    }
    pupil_free(&f->missing);
}
