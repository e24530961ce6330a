/* curves.c: which figures a run has, and their data: thinned to what a figure can show (extremes kept), smoothed by
 * a centred moving average (it does not lag behind), on a log axis where the values span one. */
#include "report.h"

#include <string.h>

enum { WIDTH = 420, HEIGHT = 236, BUCKETS = 360, SHARES = 160 };
static const double GNUPLOT_SECONDS = 30;

/* ---- data ----------------------------------------------------------------------------------------- */
/* One curve as drawn: the extremes of each bucket in their order, and the moving average at each bucket's middle. */
typedef struct {
    double x[2 * BUCKETS], raw[2 * BUCKETS], smooth_x[BUCKETS], smooth[BUCKETS];
    int64_t n_raw, n_smooth;
    double low, high, last; /* extremes of all finite values; the mean over the last window */
} curve;

static void add_extremes(curve *c, const double *x, const double *y, int64_t from, int64_t to)
{
    int64_t low = -1, high = -1;
    for (int64_t i = from; i < to; i++) {
        if (!isfinite(y[i])) continue;
        if (low < 0 || y[i] < y[low]) low = i;
        if (high < 0 || y[i] > y[high]) high = i;
    }
    if (low < 0) { /* nothing finite: a gap */
        c->x[c->n_raw] = x[from], c->raw[c->n_raw++] = NAN;
        return;
    }
    int64_t order[2] = {PUPIL_MIN(low, high), PUPIL_MAX(low, high)};
    for (int k = low == high; k < 2; k++) c->x[c->n_raw] = x[order[k]], c->raw[c->n_raw++] = y[order[k]];
    c->low = fmin(c->low, y[low]);
    c->high = fmax(c->high, y[high]);
}

/* Mean of the finite values among from .. to-1, by running sums and counts. */
static double mean_of(const double *sum, const double *count, int64_t from, int64_t to)
{
    return (sum[to] - sum[from]) / (count[to] - count[from]);
}

static void make_curve(curve *c, const double *x, const double *y, int64_t n, int64_t window)
{
    double *sum = pupil_alloc((size_t)(n + 1) * 2 * sizeof *sum), *count = sum + n + 1;
    int64_t buckets = PUPIL_MIN(n, (int64_t)BUCKETS);
    *c = (curve){.low = INFINITY, .high = -INFINITY};
    for (int64_t i = 0; i < n; i++) {
        sum[i + 1] = sum[i] + (isfinite(y[i]) ? y[i] : 0);
        count[i + 1] = count[i] + isfinite(y[i]);
    }
    for (int64_t b = 0; b < buckets; b++) {
        int64_t from = n * b / buckets, to = n * (b + 1) / buckets, at = (from + to - 1) / 2;
        int64_t half = PUPIL_MIN(window / 2, PUPIL_MIN(at, n - 1 - at));
        add_extremes(c, x, y, from, to);
        c->smooth_x[c->n_smooth] = x[at];
        c->smooth[c->n_smooth++] = mean_of(sum, count, at - half, at + half + 1);
    }
    c->last = mean_of(sum, count, PUPIL_MAX(n - window, (int64_t)0), n);
    pupil_free(&sum);
}

/* ---- axes ----------------------------------------------------------------------------------------- */
static bool wants_log(const curve *c) { return c->low > 0 && c->high > 8 * c->low; }

/* Ticks at 1, 2, 5 over few decades, at powers of ten over more, written plainly. */
static void log_axis(pupil_buf *script, double low, double high)
{
    static const double steps[] = {1, 2, 5};
    int first = (int)floor(log10(low)), last = (int)ceil(log10(high)), sparse = (last - first + 5) / 6, n = 0;
    pupil_buf_puts(script, "set logscale y\nset ytics (");
    for (int d = first; d <= last; d += sparse)
        for (int k = 0; k < (high > 100 * low ? 1 : 3); k++) {
            double at = steps[k] * pow(10, d);
            if (at < low / 1.1 || at > high * 1.1) continue;
            pupil_buf_printf(script, "%s\"%g\" %.9g", n++ ? ", " : "", at, at);
        }
    pupil_buf_printf(script, ")\nset yrange [%.9g:%.9g]\n", low / 1.1, high * 1.1);
}

/* The first of 1, 2, 5, 10, ... that cuts `range` into at most `parts`. */
static double nice_step(double range, int parts)
{
    double power = pow(10, floor(log10(range / parts)));
    static const double steps[] = {1, 2, 5, 10};
    int k = 0;
    while (k < 3 && steps[k] * power * parts < range * (1 - 1e-9)) k++;
    return steps[k] * power;
}

/* From zero where that costs less than half of the height. */
static void linear_axis(pupil_buf *script, double low, double high)
{
    if (low > 0 && low < 0.5 * high) low = 0;
    if (high - low <= 1e-9 * fmax(fabs(low), fabs(high))) low -= 1, high += 1;
    double step = nice_step(high - low, 5);
    low = step * floor(low / step + 1e-9);
    high = step * ceil(high / step - 1e-9);
    pupil_buf_printf(script, "set yrange [%.9g:%.9g]\nset ytics %.9g, %.9g\nset format y \"%%g\"\n", low, high, low, step);
}

static void step_axis(pupil_buf *script, const series *s)
{
    const double *step = series_get(s, "step");
    double low = INFINITY, high = -INFINITY;
    for (int64_t i = 0; i < s->rows; i++) low = fmin(low, step[i]), high = fmax(high, step[i]);
    if (!(high > low)) low -= 1, high += 1;
    double tick = nice_step(high - low, 5);
    pupil_buf_printf(script, "set xrange [%.9g:%.9g]\nset xtics %.9g, %.9g\nset format x \"%%.0f\"\n", low, high,
                     tick * ceil(low / tick), tick);
}

/* ---- figures -------------------------------------------------------------------------------------- */
typedef struct {
    plotter plot;
    figures *out;
    int code;
} easel;

static void add_figure(easel *e, figure_kind kind, const char *title, char *note)
{
    PUPIL_GROW(e->out->f, e->out->n, e->out->cap);
    e->out->f[e->out->n++] = (figure){.kind = kind, .title = pupil_strdup(title), .note = note};
}

/* A mark wherever the number of ranks changes. */
static void mark_ranks(pupil_buf *script, const series *s)
{
    const double *step = series_get(s, "step"), *ranks = series_get(s, "ranks");
    int marks = 0;
    for (int64_t i = 1; ranks && i < s->rows && marks < 12; i++) {
        if (!(ranks[i] != ranks[i - 1]) || !isfinite(ranks[i]) || !isfinite(ranks[i - 1])) continue;
        marks++;
        bool right = step[i] > (step[0] + step[s->rows - 1]) / 2;
        pupil_buf_printf(script,
                         "set arrow %d from first %.9g, graph 0 to first %.9g, graph 1 nohead lw 1.2 dt 2 lc rgb \"%s\"\n"
                         "set label %d \"%.0f to %.0f ranks\" at first %.9g, graph 0.07 %s offset %g,0 textcolor rgb \"%s\"\n",
                         marks, step[i], step[i], plot_colour("--ink"), marks, ranks[i - 1], ranks[i], step[i],
                         right ? "right" : "left", right ? -0.6 : 0.6, plot_colour("--ink"));
    }
}

/* Values over steps: every step thin, the moving average thick; what has no noise is drawn as it is. */
static void add_values(easel *e, const series *s, const double *y, figure_kind kind, const char *title, bool noisy)
{
    if (!y || e->code) return;
    curve c;
    make_curve(&c, series_get(s, "step"), y, s->rows, noisy ? PUPIL_MAX(s->rows / 40, (int64_t)1) : 1);
    if (!(c.high >= c.low)) return;
    bool logarithmic = noisy && kind != FIGURE_SPEED && wants_log(&c), teacher = kind == FIGURE_TEACHER;
    char file[24];
    int k = plotter_new(&e->plot, WIDTH, HEIGHT);
    snprintf(file, sizeof file, "%d.raw", k);
    e->code = plotter_data(&e->plot, file, (const double *const[]){c.x, c.raw}, 2, c.n_raw);
    snprintf(file, sizeof file, "%d.smooth", k);
    if (!e->code) e->code = plotter_data(&e->plot, file, (const double *const[]){c.smooth_x, c.smooth}, 2, c.n_smooth);
    step_axis(&e->plot.script, s);
    if (kind == FIGURE_SPEED) c.low = 0;
    (logarithmic ? log_axis : linear_axis)(&e->plot.script, c.low, c.high);
    if (kind == FIGURE_SPEED) mark_ranks(&e->plot.script, s);
    pupil_buf_puts(&e->plot.script, "plot ");
    if (noisy) pupil_buf_printf(&e->plot.script, "\"%d.raw\" with lines lw 1 lc rgb \"%s\", ", k, plot_colour(teacher ? "--raw-teacher" : "--raw"));
    pupil_buf_printf(&e->plot.script, "\"%d.smooth\" with lines lw 2.2 lc rgb \"%s\"\n", k, plot_colour(teacher ? "--teacher" : "--accent"));
    add_figure(e, kind, title, noisy ? pupil_format("%.4g at the end%s", c.last, logarithmic ? ", log axis" : "")
                                     : pupil_format("%.4g to %.4g", c.low, c.high));
}

static void add_curve(easel *e, const series *s, const char *name, figure_kind kind, const char *title, bool noisy)
{
    add_values(e, s, series_get(s, name), kind, title, noisy);
}

static void add_speed_per_rank(easel *e, const series *s)
{
    const double *speed = series_get(s, "pairs_per_s"), *ranks = series_get(s, "ranks");
    if (!speed || !ranks) return;
    double *each = pupil_alloc((size_t)s->rows * sizeof *each);
    for (int64_t i = 0; i < s->rows; i++) each[i] = speed[i] / ranks[i];
    add_values(e, s, each, FIGURE_SPEED, "The same, per rank", true);
    pupil_free(&each);
}

/* Shares of the step by phase, stacked, over SHARES runs of steps. */
static void add_shares(easel *e, const series *s)
{
    phase_share share[COLUMNS_MAX];
    int n = PUPIL_MIN(phase_shares(s, share), 8), k, runs = (int)PUPIL_MIN(s->rows, (int64_t)SHARES);
    if (n == 0 || runs < 2 || e->code) return;
    double x[SHARES], top[9][SHARES] = {{0}}; /* top[p]: upper edge of phase p */
    const double *step = series_get(s, "step"), *column[10] = {x};
    for (int b = 0; b < runs; b++) {
        int64_t from = s->rows * b / runs, to = s->rows * (b + 1) / runs;
        x[b] = b ? step[to - 1] : step[0];
        for (int p = 0; p < n; p++) {
            char name[96];
            snprintf(name, sizeof name, "seconds.%s", share[p].name);
            const double *v = series_get(s, name);
            top[p + 1][b] = top[p][b];
            for (int64_t i = from; i < to; i++) top[p + 1][b] += isfinite(v[i]) ? v[i] : 0;
        }
        for (int p = 1; p <= n; p++) top[p][b] *= top[n][b] > 0 ? 100 / top[n][b] : 0;
    }
    for (int p = 0; p <= n; p++) column[p + 1] = top[p];
    k = plotter_new(&e->plot, WIDTH, HEIGHT);
    char file[24];
    snprintf(file, sizeof file, "%d.shares", k);
    e->code = plotter_data(&e->plot, file, column, n + 2, runs);
    step_axis(&e->plot.script, s);
    pupil_buf_puts(&e->plot.script, "set yrange [0:100]\nset format y \"%g%%\"\nset grid noytics\nplot ");
    for (int p = 0; p < n; p++) {
        char variable[16];
        snprintf(variable, sizeof variable, "--phase%d", p + 1);
        pupil_buf_printf(&e->plot.script, "%s\"%d.shares\" using 1:%d:%d with filledcurves lc rgb \"%s\"", p ? ", " : "", k, p + 2, p + 3,
                         plot_colour(variable));
    }
    pupil_buf_puts(&e->plot.script, "\n");
    add_figure(e, FIGURE_SPEED, "Share of a step by phase", NULL);
}

static void add_all(easel *e, const report *r)
{
    const series *s = &r->student, *t = &r->teacher;
    add_curve(e, s, "loss", FIGURE_LOSS, "Total loss", true);
    for (int k = 0; k < s->columns; k++)
        if (strncmp(s->column[k].name, "terms.", 6) == 0) add_curve(e, s, s->column[k].name, FIGURE_LOSS, s->column[k].name + 6, true);
    add_curve(e, s, "lr", FIGURE_OPTIMISER, "Learning rate", false);
    add_curve(e, s, "grad_norm", FIGURE_OPTIMISER, "Gradient norm", true);
    add_curve(e, s, "logit_scale", FIGURE_OPTIMISER, "Logit scale", false);
    add_curve(e, s, "pairs_per_s", FIGURE_SPEED, "Pairs per second", true);
    add_speed_per_rank(e, s);
    add_shares(e, s);
    add_curve(e, t, "loss", FIGURE_TEACHER, "Loss", true);
    add_curve(e, t, "grad_norm", FIGURE_TEACHER, "Gradient norm", true);
    add_curve(e, t, "pairs_per_s", FIGURE_TEACHER, "Pairs per second", true);
}

void curves_make(const report *r, figures *ret)
{
    easel e = {.out = ret};
    *ret = (figures){0};
    e.code = plotter_begin(&e.plot);
    add_all(&e, r);
    if (!e.code && e.plot.n) e.code = plotter_run(&e.plot, GNUPLOT_SECONDS);
    for (int k = 0; k < ret->n && !e.code; k++) ret->f[k].svg = plotter_svg(&e.plot, k, ret->f[k].title);
    if (e.code) {
        ret->missing = pupil_strdup(pupil_reason());
        pupil_warn("report: no curves: %s", ret->missing);
    }
    plotter_end(&e.plot);
}

void figures_free(figures *f)
{
    for (int k = 0; k < f->n; k++) {
        pupil_free(&f->f[k].title);
        pupil_free(&f->f[k].note);
        pupil_free(&f->f[k].svg);
    }
    pupil_free(&f->f);
    pupil_free(&f->missing);
    *f = (figures){0};
}

int phase_shares(const series *s, phase_share share[COLUMNS_MAX])
{
    int n = 0;
    double all = 0;
    for (int k = 0; k < s->columns; k++) {
        if (strncmp(s->column[k].name, "seconds.", 8) != 0) continue;
        double sum = 0;
        for (int64_t i = 0; i < s->rows; i++) sum += isfinite(s->column[k].v[i]) ? s->column[k].v[i] : 0;
        share[n++] = (phase_share){s->column[k].name + 8, 0, sum};
        all += sum;
    }
    for (int k = 0; k < n; k++) share[k].share = all > 0 ? share[k].seconds / all : 0;
    return n;
}
