/* study_page.c: the page of a study, the answer first: does the better teacher make the better student, with numbers; then the
 * figures, students by teacher, how stable the order of teachers is, losses, costs, and what is missing. */
#include "study.h"

#include <string.h>

static int teachers_of(const study_data *s) { return s->teacher < 0 ? 1 : s->axis[s->teacher].n; }

static void value(pupil_buf *b, double x, int digits, const char *class)
{
    char text[40];
    snprintf(text, sizeof text, "%.*f", digits, x);
    html(b, "<td class=\"%s\">%s</td>", class, isfinite(x) ? text : "\xe2\x80\x93");
}

static void interval(pupil_buf *b, const estimate *e)
{
    if (!isfinite(e->value)) html(b, "<td>&ndash;</td>");
    else if (!isfinite(e->low)) html(b, "<td>%.2f</td>", e->value);
    else html(b, "<td>%.2f<br><small>%.2f to %.2f</small></td>", e->value, e->low, e->high);
}

static int first_metric(const study_data *s)
{
    for (int m = 0; m < METRICS; m++)
        if (s->has[m]) return m;
    return -1;
}

/* ---- the answer ------------------------------------------------------------------------------------------ */
/* In words, by where the interval lies. */
static const char *verdict(const study_answer *a)
{
    const estimate *e = &a->adjusted;
    if (a->teachers < 2 || !isfinite(e->value)) return "There is only one teacher yet, so nothing can be said.";
    if (!isfinite(e->low)) return "Too few cells are done to tell.";
    if (e->low > 0.7) return "Yes: the better teacher made the better student.";
    if (e->low > 0.3) return "Mostly: better teachers tend to make better students.";
    if (e->low > 0) return "Only a little: better teachers make slightly better students.";
    if (e->high < 0) return "No, the opposite: better teachers made worse students.";
    return "No: which teacher scores better does not tell which student does.";
}

static void teacher_bars(pupil_buf *b, const study_data *s, int metric)
{
    double own[PUPIL_STUDY_POINTS], mean[PUPIL_STUDY_POINTS], top = 1;
    int count[PUPIL_STUDY_POINTS];
    study_teachers(s, metric, own);
    study_by_teacher(s, metric, -1, 0, mean, count);
    for (int t = 0; t < PUPIL_STUDY_POINTS; t++) top = fmax(top, fmax(isfinite(own[t]) ? own[t] : 0, isfinite(mean[t]) ? mean[t] : 0));
    html(b, "<div><div class=\"bars\">\n");
    for (int t = 0; t < teachers_of(s); t++) {
        if (!isfinite(own[t])) continue;
        html(b, "<span class=\"name\">%s</span><span class=\"track two\"><i class=\"teacher\" style=\"width:%.1f%%\"></i>"
                "<i class=\"student\" style=\"width:%.1f%%\"></i></span><span class=\"value\">%.1f &rarr; %.1f</span>\n",
             study_teacher_name(s, t), 100 * own[t] / top, 100 * mean[t] / top, own[t], mean[t]);
    }
    html(b, "</div><ul class=\"legend\"><li><span class=\"key block\" style=\"background:var(--teacher)\"></span>%s of the teacher</li>"
            "<li><span class=\"key block\" style=\"background:var(--accent)\"></span>mean of its students</li></ul></div>\n", study_metrics[metric].label);
}

/* The score of a teacher that tells most of the student's, where it is another one. */
static void better_sign(pupil_buf *b, const study_data *s, int m)
{
    int best = m;
    for (int k = 0; k < METRICS; k++)
        if (s->has[k] && study_tells(s, k, m) > study_tells(s, best, m)) best = k;
    if (best != m)
        html(b, "<p>Another score of the teacher tells more of its students&rsquo; %s: its <b>%s</b>, &rho; = %.2f.</p>\n", study_metrics[m].label, study_metrics[best].label,
             study_tells(s, best, m));
}

static void page_verdict(pupil_buf *b, const study_data *s, int m)
{
    study_answer a = study_answer_of(s, m);
    html(b, "<section class=\"card answer\"><div><div class=\"figure\">");
    if (isfinite(a.adjusted.value)) html(b, "%.2f<small> Spearman &rho;</small>", a.adjusted.value);
    else html(b, "&ndash;");
    html(b, "</div>\n<p><b>%s</b></p>\n", verdict(&a));
    if (isfinite(a.adjusted.low))
        html(b, "<p>Rank correlation of teacher and student %s over %d cells with %d teachers, students compared with their own kind (same %s, same seed): "
                "&rho; = %.2f <span class=\"note\">(95&nbsp;%% bootstrap interval %.2f to %.2f)</span>, Kendall &tau;<sub>b</sub> = %.2f.</p>\n",
             study_metrics[m].label, a.pairs, a.teachers, "settings but for the teacher", a.adjusted.value, a.adjusted.low, a.adjusted.high, a.adjusted_kendall.value);
    if (a.groups)
        html(b, "<p>Taking the strongest teacher is best in <b>%d of %d</b> settings and costs <b>%.2f points</b> on average against the best one (%.2f at worst); "
                "best and worst teacher lie %.2f points apart", a.strongest_best, a.groups, a.regret, a.worst_regret, a.spread);
    if (a.groups && isfinite(a.seed_sd)) html(b, ", and seeds alone scatter by %.2f (standard deviation)", a.seed_sd);
    if (a.groups) html(b, ".</p>\n");
    if (a.pairs > 2 && a.teachers > 1) better_sign(b, s, m);
    for (int k = 0, n = 0; k < METRICS && isfinite(a.adjusted.value); k++) {
        double r = k != m && s->has[k] ? study_tells(s, k, k) : NAN;
        if (isfinite(r)) html(b, n++ ? ", %s %.2f" : "<p>The same correlation by other metrics, teacher and student scored alike: %s %.2f", study_metrics[k].label, r);
        if (k == METRICS - 1 && n) html(b, ".</p>\n");
    }
    if (a.gains) html(b, "<p>A teacher is worth <b>%+.2f points</b> over none, on average of %d cells.</p>\n", a.gain, a.gains);
    html(b, "</div>\n");
    teacher_bars(b, s, m);
    html(b, "</section>\n");
}

static void page_metrics(pupil_buf *b, const study_data *s)
{
    html(b, "<h2 id=\"answers\">The answer by metric</h2>\n<p class=\"note\">&rho;: Spearman; &tau;: Kendall&rsquo;s &tau;<sub>b</sub>; 95&nbsp;%% intervals over 2,000 "
            "resamples of cells. &ldquo;Adjusted&rdquo;: student scores less the mean of the cells that differ in the teacher alone, so that a better student or loss "
            "does not pass for a better teacher; &ldquo;raw&rdquo;: as in results.csv. Intervals are of these teachers, not of all there might be. Regret: the best student of a setting less that of the strongest teacher; "
            "spread: less that of the worst; seed sd: of students that differ in their seed alone; gain: over the same student without a teacher.</p>\n");
    html(b, "<div class=\"scroll\"><table><thead><tr><th>metric</th><th>cells</th><th>&rho; adjusted</th><th>&tau; adjusted</th><th>&rho; raw</th>"
            "<th>regret</th><th>worst</th><th>strongest best</th><th>spread</th><th>seed sd</th><th>gain</th></tr></thead>\n<tbody>\n");
    for (int m = 0; m < METRICS; m++) {
        if (!s->has[m]) continue;
        study_answer a = study_answer_of(s, m);
        html(b, "<tr><th scope=\"row\">%s</th><td>%d</td>", study_metrics[m].label, a.pairs);
        interval(b, &a.adjusted);
        interval(b, &a.adjusted_kendall);
        interval(b, &a.spearman);
        value(b, a.regret, 2, "");
        value(b, a.groups ? a.worst_regret : NAN, 2, "");
        html(b, "<td>%d of %d</td>", a.strongest_best, a.groups);
        value(b, a.spread, 2, "");
        value(b, a.seed_sd, 2, "");
        value(b, a.gain, 2, "");
        html(b, "</tr>\n");
    }
    html(b, "</tbody></table></div>\n");
}

static void page_tells(pupil_buf *b, const study_data *s)
{
    if (teachers_of(s) < 2) return;
    html(b, "<h3>Which score of a teacher tells?</h3>\n<p class=\"note\">Adjusted &rho; of each score of the teacher (rows) and each of the student (columns).</p>\n"
            "<div class=\"scroll\"><table><thead><tr><th>teacher</th>");
    for (int k = 0; k < METRICS; k++)
        if (s->has[k]) html(b, "<th>%s</th>", study_metrics[k].label);
    html(b, "</tr></thead>\n<tbody>\n");
    for (int t = 0; t < METRICS; t++) {
        if (!s->has[t]) continue;
        html(b, "<tr><th scope=\"row\">%s</th>", study_metrics[t].label);
        for (int k = 0; k < METRICS; k++)
            if (s->has[k]) value(b, study_tells(s, t, k), 2, t == k ? "best" : "");
        html(b, "</tr>\n");
    }
    html(b, "</tbody></table></div>\n");
}

/* ---- figures ------------------------------------------------------------------------------------------------ */
static void legend(pupil_buf *b, const study_data *s)
{
    static const struct {
        int shape;
        const char *path, *fill;
    } look[] = {{7, "M2 7a5 5 0 1 0 10 0a5 5 0 1 0-10 0z", "currentColor"}, {9, "M7 1.5L1.5 11.5H12.5z", "currentColor"}, {5, "M2.5 2.5h9v9h-9z", "currentColor"},
                {13, "M7 1L13 7L7 13L1 7z", "currentColor"}, {6, "M2 7a5 5 0 1 0 10 0a5 5 0 1 0-10 0z", "none"}, {8, "M7 1.5L1.5 11.5H12.5z", "none"},
                {4, "M2.5 2.5h9v9h-9z", "none"}, {12, "M7 1L13 7L7 13L1 7z", "none"}};
    int colour, shape;
    study_looks(s, &colour, &shape);
    html(b, "<ul class=\"legend\">");
    for (int k = 0; colour >= 0 && k < s->axis[colour].n; k++)
        html(b, "<li><span class=\"key block\" style=\"background:var(%s)\"></span>%s</li>", study_colour(k), s->axis[colour].point[k]);
    for (int k = 0; shape >= 0 && k < s->axis[shape].n; k++)
        for (int i = 0; i < PUPIL_COUNT(look); i++)
            if (look[i].shape == study_shape(k))
                html(b, "<li><svg width=\"14\" height=\"14\" viewBox=\"0 0 14 14\" aria-hidden=\"true\"><path d=\"%s\" fill=\"%s\" stroke=\"currentColor\" stroke-width=\"1.6\"/></svg>%s</li>",
                     look[i].path, look[i].fill, s->axis[shape].point[k]);
    html(b, "</ul>\n");
}

static void figure_of(pupil_buf *b, const char *title, const char *note, const char *svg)
{
    if (!svg) return;
    html(b, "<figure><figcaption><b>%s</b><span>%s</span></figcaption>", title, note);
    pupil_buf_puts(b, svg);
    html(b, "</figure>\n");
}

static void page_figures(pupil_buf *b, const study_data *s, const study_figures *f)
{
    html(b, "<h2 id=\"scatter\">Teacher against student</h2>\n<p class=\"note\">A line joins the students that differ in their teacher alone; a mark is the mean over seeds, its bar "
            "reaches from the least to the greatest; at the foot, 95&nbsp;%% intervals of the teachers&rsquo; own scores over questions or pairs. If the better teacher made the better student, every line would rise.</p>\n");
    if (f->missing) html(b, "<p class=\"absent\">No figures: %s</p>\n", f->missing);
    legend(b, s);
    html(b, "<div class=\"figures wide\">\n");
    for (int m = 0; m < METRICS; m++) figure_of(b, study_metrics[m].label, "teacher against student; dashed: no teacher", f->scatter[m]);
    html(b, "</div>\n");
}

static void page_gap(pupil_buf *b, const study_data *s, const study_figures *f)
{
    int m = first_metric(s), shown = 0;
    html(b, "<h2 id=\"gap\">The capacity gap</h2>\n<p class=\"note\">Each mark is a cell: how many times larger its teacher is, and what the teacher gave.</p>\n");
    legend(b, s);
    html(b, "<div class=\"figures wide\">\n");
    for (; m >= 0 && m < METRICS && shown < 2; m++)
        if (f->gap[m]) figure_of(b, study_metrics[m].label, "teacher / student parameters against gain", f->gap[m]), shown++;
    html(b, "</div>\n");
}

/* ---- students by teacher -------------------------------------------------------------------------------------- */
static void student_row(pupil_buf *b, const study_data *s, const study_group *g)
{
    int best = -1, strongest = -1;
    for (int t = 0; t < teachers_of(s); t++) {
        if (!g->seeds[t]) continue;
        if (best < 0 || g->student[t] > g->student[best]) best = t;
        if (strongest < 0 || g->teacher[t] > g->teacher[strongest]) strongest = t;
    }
    html(b, "<tr><th scope=\"row\">");
    for (int a = 0, n = 0; a < s->axes; a++)
        if (a != s->teacher && (s->axis[a].n > 1 || s->axes == 2)) html(b, "%s%s", n++ ? " \xc2\xb7 " : "", g->point[a] < 0 ? "any" : s->axis[a].point[g->point[a]]);
    html(b, "</th>");
    for (int t = 0; t < teachers_of(s); t++) {
        if (!g->seeds[t]) html(b, "<td>&ndash;</td>");
        else if (g->seeds[t] == 1) html(b, "<td class=\"%s\">%.1f</td>", t == best ? "best" : "", g->student[t]);
        else html(b, "<td class=\"%s\">%.1f<br><small>%.1f to %.1f</small></td>", t == best ? "best" : "", g->student[t], g->low[t], g->high[t]);
    }
    value(b, best >= 0 ? g->student[best] - g->student[strongest] : NAN, 2, "");
    html(b, "</tr>\n");
}

static void students_table(pupil_buf *b, const study_data *s, int m)
{
    study_groups g;
    double own[PUPIL_STUDY_POINTS];
    study_group_by_teacher(s, m, &g);
    study_teachers(s, m, own);
    html(b, "<h3>%s</h3>\n<div class=\"scroll\"><table><thead><tr><th>student</th>", study_metrics[m].label);
    for (int t = 0; t < teachers_of(s); t++) html(b, "<th>%s</th>", study_teacher_name(s, t));
    html(b, "<th>regret</th></tr></thead>\n<tbody>\n<tr class=\"kind\"><th scope=\"row\">the teacher itself</th>");
    for (int t = 0; t < teachers_of(s); t++) value(b, own[t], 1, "");
    html(b, "<td></td></tr>\n");
    for (int i = 0; i < g.n; i++) student_row(b, s, &g.group[i]);
    html(b, "</tbody></table></div>\n");
    study_groups_free(&g);
}

static void page_students(pupil_buf *b, const study_data *s)
{
    html(b, "<h2 id=\"students\">Students by teacher</h2>\n<p class=\"note\">The mean over seeds, and the least and the greatest. Marked: the best teacher of a row.</p>\n");
    int shown = 0;
    for (int m = 0; m < METRICS; m++) {
        if (!s->has[m]) continue;
        if (shown++ == 1) html(b, "<details><summary>The same by the other metrics</summary><div class=\"inside\">\n");
        students_table(b, s, m);
    }
    if (shown > 1) html(b, "</div></details>\n");
}

/* ---- is the order of teachers the same? ------------------------------------------------------------------------- */
/* "T4 > T2 > T1", best first. */
static void order_of(pupil_buf *b, const study_data *s, const double *mean)
{
    bool taken[PUPIL_STUDY_POINTS] = {false};
    for (int n = 0;; n++) {
        int best = -1;
        for (int t = 0; t < teachers_of(s); t++)
            if (isfinite(mean[t]) && !taken[t] && (best < 0 || mean[t] > mean[best])) best = t;
        if (best < 0) break;
        taken[best] = true;
        html(b, "%s%s", n ? " > " : "", study_teacher_name(s, best));
    }
}

/* Kendall's tau of two scores over the teachers that both have. */
static double agreement(const study_data *s, const double *x, const double *y)
{
    double a[PUPIL_STUDY_POINTS], c[PUPIL_STUDY_POINTS];
    int n = 0;
    for (int t = 0; t < teachers_of(s); t++)
        if (isfinite(x[t]) && isfinite(y[t])) a[n] = x[t], c[n++] = y[t];
    return stats_kendall(a, c, n);
}

static void stability_row(pupil_buf *b, const study_data *s, int m, int axis, int k, const double *own)
{
    double mine[PUPIL_STUDY_POINTS], other[PUPIL_STUDY_POINTS], sum = 0;
    int count[PUPIL_STUDY_POINTS], n = 0;
    study_by_teacher(s, m, axis, k, mine, count);
    for (int j = 0; j < s->axis[axis].n; j++) {
        if (j == k) continue;
        study_by_teacher(s, m, axis, j, other, count);
        double t = agreement(s, mine, other);
        if (isfinite(t)) sum += t, n++;
    }
    if (!isfinite(agreement(s, mine, own)) && !n) return;
    html(b, "<tr><th scope=\"row\">%s</th><td class=\"left\">", s->axis[axis].point[k]);
    order_of(b, s, mine);
    html(b, "</td>");
    value(b, agreement(s, mine, own), 2, "");
    value(b, n ? sum / n : NAN, 2, "");
    html(b, "</tr>\n");
}

static void page_stability(pupil_buf *b, const study_data *s)
{
    int m = first_metric(s), colour, shape;
    double own[PUPIL_STUDY_POINTS];
    if (m < 0 || teachers_of(s) < 2) return;
    study_looks(s, &colour, &shape);
    if (colour < 0) return;
    study_teachers(s, m, own);
    html(b, "<h2 id=\"stability\">Does the order of teachers hold?</h2>\n<p class=\"note\">Teachers by the mean %s of their students, best first. &tau;: agreement of that order with "
            "the order of the teachers&rsquo; own scores, and, on average, with the order under the other choices.</p>\n", study_metrics[m].label);
    html(b, "<div class=\"scroll\"><table><thead><tr><th>choice</th><th class=\"left\">best teacher first</th><th>&tau; with teachers</th><th>&tau; with other choices</th></tr></thead>\n<tbody>\n");
    html(b, "<tr class=\"kind\"><th scope=\"row\">teachers themselves</th><td class=\"left\">");
    order_of(b, s, own);
    html(b, "</td><td></td><td></td></tr>\n");
    for (int a = 0; a < s->axes; a++) {
        if (a == s->teacher || s->axis[a].n < 2) continue;
        html(b, "<tr class=\"kind\"><th scope=\"row\">%s</th><td></td><td></td><td></td></tr>\n", s->axis[a].name);
        for (int k = 0; k < s->axis[a].n; k++) stability_row(b, s, m, a, k, own);
    }
    html(b, "</tbody></table></div>\n");
}

/* ---- losses ------------------------------------------------------------------------------------------------------ */
/* Done cells with point k of an axis: mean score, mean gain over no teacher, its standard error, how many. */
static int mean_of_point(const study_data *s, int m, int axis, int k, double *mean, double *gain, double *error)
{
    double *g = pupil_alloc((size_t)(s->n + 1) * sizeof *g), sum = 0;
    int n = 0, gains = 0;
    for (int i = 0; i < s->n; i++) {
        const study_row *r = &s->row[i];
        if (r->state != ROW_DONE || r->point[axis] != k || !isfinite(r->m[m].student)) continue;
        sum += r->m[m].student;
        n++;
        double plain = r->distils ? study_plain(s, r, m) : NAN;
        if (isfinite(plain)) g[gains++] = r->m[m].student - plain;
    }
    *mean = n ? sum / n : NAN;
    *gain = stats_mean(g, gains);
    *error = gains > 1 ? stats_sd(g, gains) / sqrt(gains) : NAN;
    pupil_free(&g);
    return n;
}

static void page_ablation(pupil_buf *b, const study_data *s)
{
    int shown = 0;
    for (int a = 0; a < s->axes; a++) {
        if (a == s->teacher || s->axis[a].n < 2) continue;
        html(b, shown++ ? "" : "<h2 id=\"losses\">Losses and other choices</h2>\n<p class=\"note\">The mean over all cells of a choice; below it the gain over the same student and seed without "
                               "a teacher, &plusmn; its standard error.</p>\n");
        html(b, "<div class=\"scroll\"><table><thead><tr><th>%s</th><th>cells</th>", s->axis[a].name);
        for (int m = 0; m < METRICS; m++)
            if (s->has[m]) html(b, "<th>%s</th>", study_metrics[m].label);
        html(b, "</tr></thead>\n<tbody>\n");
        for (int k = 0; k < s->axis[a].n; k++) {
            double mean, gain, error;
            int n = first_metric(s) < 0 ? 0 : mean_of_point(s, first_metric(s), a, k, &mean, &gain, &error);
            html(b, "<tr><th scope=\"row\">%s</th><td>%d</td>", s->axis[a].point[k], n);
            for (int m = 0; m < METRICS; m++) {
                if (!s->has[m]) continue;
                mean_of_point(s, m, a, k, &mean, &gain, &error);
                if (!isfinite(mean)) html(b, "<td>&ndash;</td>");
                else if (!isfinite(gain)) html(b, "<td>%.1f</td>", mean);
                else html(b, "<td>%.1f<br><small>%+.2f &plusmn; %.2f</small></td>", mean, gain, isfinite(error) ? error : 0);
            }
            html(b, "</tr>\n");
        }
        html(b, "</tbody></table></div>\n");
    }
}

/* ---- cost ----------------------------------------------------------------------------------------------------------- */
static void hours(pupil_buf *b, double seconds)
{
    char text[32];
    html(b, "<td>%s</td>", isfinite(seconds) ? pupil_duration(seconds, text) : "\xe2\x80\x93");
}

static void cost_row(pupil_buf *b, const study_data *s, int m, int t)
{
    double own = NAN, bytes = NAN, cells = 0, gain = 0, squares = 0, total = 0;
    int n = 0, gains = 0;
    char text[32];
    for (int i = 0; i < s->n; i++) {
        const study_row *r = &s->row[i];
        if (r->state != ROW_DONE || (t < 0 ? r->distils : !r->distils || (s->teacher >= 0 && r->point[s->teacher] != t))) continue;
        double plain = study_plain(s, r, m);
        if (isfinite(r->teacher_seconds)) own = r->teacher_seconds;
        if (isfinite(r->cache_bytes)) bytes = r->cache_bytes;
        cells += r->cells_seconds;
        total += r->m[m].student;
        n++;
        if (t >= 0 && isfinite(plain)) gain += r->m[m].student - plain, squares += (r->m[m].student - plain) * (r->m[m].student - plain), gains++;
    }
    if (!n) return;
    html(b, "<tr><th scope=\"row\">%s</th><td>%d</td>", t < 0 ? "no teacher" : study_teacher_name(s, t), n);
    hours(b, own);
    html(b, "<td>%s</td>", isfinite(bytes) ? pupil_bytes_text(bytes, text) : "\xe2\x80\x93");
    hours(b, cells / n);
    value(b, total / n, 1, "");
    value(b, gains ? gain / gains : NAN, 2, "");
    double points = gains > 1 ? gain / gains : NAN, error = sqrt((squares - gains * points * points) / (gains - 1) / gains);
    hours(b, points > 2 * error && isfinite(own) ? (own + cells) / n / points : NAN);
    html(b, "</tr>\n");
}

static void page_cost(pupil_buf *b, const study_data *s)
{
    int m = first_metric(s);
    if (m < 0) return;
    html(b, "<h2 id=\"cost\">Cost</h2>\n<p class=\"note\">Time of one core: training and running the teacher once, and a cell (training and evaluation). The last column: (teacher + its cells) / cells / "
            "points gained over no teacher, where the gain is above twice its standard error.</p>\n<div class=\"scroll\"><table><thead><tr><th>teacher</th><th>cells</th><th>teacher, once</th><th>cache</th><th>a cell</th><th>%s</th>"
            "<th>gain</th><th>a point costs</th></tr></thead>\n<tbody>\n", study_metrics[m].label);
    for (int t = -1; t < teachers_of(s); t++) cost_row(b, s, m, t);
    html(b, "</tbody></table></div>\n");
}

/* ---- what is missing --------------------------------------------------------------------------------------------------- */
static void page_missing(pupil_buf *b, const study_data *s)
{
    if (s->done == s->n) return;
    html(b, "<h2 id=\"missing\">Missing cells</h2>\n<p class=\"note\">%d of %d cells are done, %d failed, %d have not been run. None of them is in the figures above.</p>\n", s->done, s->n,
         s->failed, s->n - s->done - s->failed);
    if (!s->failed) return;
    html(b, "<div class=\"scroll\"><table><thead><tr><th>failed cell</th><th class=\"left\">its reason</th></tr></thead>\n<tbody>\n");
    for (int i = 0; i < s->n; i++) {
        const study_row *r = &s->row[i];
        if (r->state != ROW_FAILED) continue;
        html(b, "<tr><th scope=\"row\">");
        for (int a = 0; a < s->axes; a++)
            if (r->point[a] >= 0) html(b, "%s ", study_point(s, r, a));
        html(b, "seed %.0f</th><td class=\"left wrap\">%s</td></tr>\n", r->seed, r->why ? r->why : "");
    }
    html(b, "</tbody></table></div>\n");
}

void page_study(pupil_buf *b, const study_data *s, const study_figures *f)
{
    int m = first_metric(s);
    if (m < 0) {
        html(b, "<p class=\"absent\">No cell is done yet, so there is nothing to show.</p>\n");
        page_missing(b, s);
        return;
    }
    page_verdict(b, s, m);
    html(b, "<nav aria-label=\"sections\"><a href=\"#answers\">By metric</a><a href=\"#scatter\">Figures</a><a href=\"#students\">Students by teacher</a>"
            "<a href=\"#stability\">Stability</a><a href=\"#gap\">Capacity gap</a><a href=\"#losses\">Losses</a><a href=\"#confounds\">Confounds</a><a href=\"#cost\">Cost</a></nav>\n");
    page_metrics(b, s);
    page_tells(b, s);
    page_figures(b, s, f);
    page_students(b, s);
    page_stability(b, s);
    page_gap(b, s, f);
    page_ablation(b, s);
    page_study_confounds(b, s, m);
    page_cost(b, s);
    page_missing(b, s);
}
