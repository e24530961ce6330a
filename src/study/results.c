/* results.c: what the student can do: the answer first, then by question type, on sample questions, in retrieval. */
#include "report.h"

#include <stdlib.h>
#include <string.h>

static void absent(pupil_buf *b, const char *what, const char *why) { html(b, "<p class=\"absent\">%s: %s</p>\n", what, why); }

static const char *why_no(const report *r, bool vqa)
{
    return !r->eval ? "eval.json is not there (the run has not been evaluated yet)."
                    : vqa ? "eval.json holds no VQA models." : "eval.json holds no retrieval models.";
}

/* ---- the answer ----------------------------------------------------------------------------------- */
/* Half the 95 % interval of a percentage over n questions (normal approximation, binomial variance: an upper bound
 * for accuracies between 0 and 1). */
static double half_interval(double percent, double n)
{
    double p = percent / 100;
    return n > 0 ? 100 * 1.96 * sqrt(p * (1 - p) / n) : NAN;
}

static const char *role_class(const char *name)
{
    static const char *const known[] = {"student", "teacher", "question only", "image only", "majority"};
    static const char *const class[] = {"student", "teacher", "question-only", "image-only", "majority"};
    for (int k = 0; k < PUPIL_COUNT(known); k++)
        if (strcmp(name, known[k]) == 0) return class[k];
    return "other";
}

static void bar(pupil_buf *b, const vqa_model *m)
{
    const char *class = role_class(m->name);
    html(b, "<span class=\"name%s\">%s</span><span class=\"track\">", strcmp(class, "student") == 0 ? " first" : "", m->name);
    if (isfinite(m->overall)) html(b, "<i class=\"%s\" style=\"width:%.2f%%\"></i></span><span class=\"value\">%.1f</span>\n", class, m->overall, m->overall);
    else html(b, "</span><span class=\"value\">&ndash;</span>\n");
}

/* How the student stands to one other model, as a clause. */
static void compare(pupil_buf *b, double student, const vqa_model *other, const char *above, const char *below)
{
    if (!other || !isfinite(other->overall)) return;
    double gain = student - other->overall;
    html(b, " <b>%.1f points %s</b> %s.", fabs(gain), gain >= 0 ? "above" : "below", gain >= 0 ? above : below);
}

static void headline(pupil_buf *b, const report *r, const vqa_model *student)
{
    char n[40];
    double half = half_interval(student->overall, r->vqa_questions);
    const vqa_model *teacher = report_vqa(r, "teacher");
    html(b, "<div><div class=\"figure\">%.1f<small>%%</small></div>\n<p>VQA accuracy of the student", student->overall);
    if (r->vqa_questions > 0) html(b, " on %s held-out questions", with_commas(r->vqa_questions, n));
    if (isfinite(half)) html(b, " <span class=\"note\">(&plusmn;&nbsp;%.1f)</span>", half);
    html(b, ".");
    compare(b, student->overall, report_vqa(r, "question only"), "the same probe without the picture",
            "the same probe without the picture: the picture did not help");
    if (teacher && teacher->overall > 0) html(b, " <b>%.0f&nbsp;%%</b> of the teacher&rsquo;s score.", 100 * student->overall / teacher->overall);
    html(b, "</p></div>\n");
}

static void tile(pupil_buf *b, const char *label, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void tile(pupil_buf *b, const char *label, const char *fmt, ...)
{
    char value[80];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(value, sizeof value, fmt, ap);
    va_end(ap);
    html(b, "<div class=\"tile\"><b>%s</b><span>%s</span></div>\n", value, label);
}

static double run_number(const report *r, const char *section, const char *key)
{
    json_t *j = json_object_get(json_object_get(r->run, section), key);
    return json_is_number(j) ? json_number_value(j) : NAN;
}

/* Mean of the finite values of the last half. */
static double late_mean(const series *s, const char *name)
{
    const double *v = series_get(s, name);
    double sum = 0, n = 0;
    for (int64_t i = s->rows / 2; v && i < s->rows; i++)
        if (isfinite(v[i])) sum += v[i], n++;
    return n > 0 ? sum / n : NAN;
}

static void tiles(pupil_buf *b, const report *r)
{
    char text[40], duration[32];
    double seconds = 0, params = run_number(r, "student", "parameters"), speed = late_mean(&r->student, "pairs_per_s");
    html(b, "<div class=\"tiles\">\n");
    for (int k = 0; k < r->n_retrieval; k++) {
        const retrieval_model *m = &r->retrieval[k];
        if (strcmp(m->name, "student") != 0) continue;
        if (isfinite(m->image_to_text.r1)) tile(b, "R@1, picture to caption", "%.1f %%", 100 * m->image_to_text.r1);
        if (isfinite(m->text_to_image.r1)) tile(b, "R@1, caption to picture", "%.1f %%", 100 * m->text_to_image.r1);
    }
    if (params > 0) tile(b, "parameters of the student", params >= 1e6 ? "%.1f M" : "%.0f k", params >= 1e6 ? params / 1e6 : params / 1e3);
    if (r->student.rows) tile(b, "optimiser steps", "%s", with_commas(series_get(&r->student, "step")[r->student.rows - 1], text));
    if (speed > 0) tile(b, "pairs a second (second half)", "%s", with_commas(speed, text));
    for (int k = 0; k < r->n_phases; k++) seconds += r->phase[k].seconds;
    if (seconds > 0) tile(b, "wall clock, all phases", "%s", pupil_duration(seconds, duration));
    html(b, "</div>\n");
}

void page_answer(pupil_buf *b, const report *r)
{
    const vqa_model *student = report_vqa(r, "student");
    if (r->n_vqa) {
        html(b, "<section class=\"card answer\">\n");
        if (student && isfinite(student->overall)) headline(b, r, student);
        else html(b, "<div><p>eval.json has no VQA score of the student.</p></div>\n");
        html(b, "<div><div class=\"bars\">\n");
        for (int k = 0; k < r->n_vqa; k++) bar(b, &r->vqa[k]);
        html(b, "</div></div></section>\n");
    } else {
        absent(b, "No VQA score", why_no(r, true));
    }
    tiles(b, r);
}

/* ---- by question type ----------------------------------------------------------------------------- */
static void marks_legend(pupil_buf *b, const report *r)
{
    html(b, "<ul class=\"legend\">");
    for (int k = 0; k < r->n_vqa; k++) {
        const char *class = role_class(r->vqa[k].name);
        if (strcmp(class, "student") == 0)
            html(b, "<li><span class=\"key block\" style=\"background:var(--accent)\"></span>%s</li>", r->vqa[k].name);
        else html(b, "<li><span class=\"key\"><span class=\"mark %s\"></span></span>%s</li>", class, r->vqa[k].name);
    }
    html(b, "</ul>\n");
}

static const groups *groups_of(const vqa_model *m, bool answer_type) { return answer_type ? &m->answer_type : &m->question_type; }

static void cell(pupil_buf *b, const char *class, const char *format, double x)
{
    html(b, "<td class=\"%s\">", class);
    if (isfinite(x)) pupil_buf_printf(b, format, x);
    else html(b, "&ndash;");
    html(b, "</td>");
}

static void type_row(pupil_buf *b, const report *r, const group *g, bool answer_type)
{
    char n[40];
    double value[MODELS_MAX], student = NAN, blind = NAN;
    html(b, "<tr><th scope=\"row\">%s</th><td class=\"n\">%s</td><td class=\"chart\"><span class=\"track\">", g->name, isfinite(g->n) ? with_commas(g->n, n) : "");
    for (int k = 0; k < r->n_vqa; k++) {
        const char *class = role_class(r->vqa[k].name);
        value[k] = group_accuracy(groups_of(&r->vqa[k], answer_type), g->name);
        if (strcmp(class, "question-only") == 0) blind = value[k];
        if (strcmp(class, "student") == 0) student = value[k];
        if (!isfinite(value[k])) continue;
        if (strcmp(class, "student") == 0) html(b, "<i class=\"student\" style=\"width:%.2f%%\"></i>", value[k]);
        else html(b, "<span class=\"mark %s\" style=\"left:%.2f%%\" title=\"%s %.1f\"></span>", class, value[k], r->vqa[k].name, value[k]);
    }
    html(b, "</span></td>");
    for (int k = 0; k < r->n_vqa; k++) cell(b, strcmp(r->vqa[k].name, "student") ? "" : "s", "%.1f", value[k]);
    cell(b, "gap", "%+.1f", student - blind);
    html(b, "</tr>\n");
}

static void type_rows(pupil_buf *b, const report *r, bool answer_type)
{
    const groups *g = groups_of(&r->vqa[0], answer_type);
    if (!g->n) return;
    html(b, "<tr class=\"kind\"><th colspan=\"%d\">%s</th></tr>\n", r->n_vqa + 4, answer_type ? "by kind of answer" : "by question type");
    for (int k = 0; k < g->n; k++) type_row(b, r, &g->g[k], answer_type);
}

void page_types(pupil_buf *b, const report *r)
{
    html(b, "<h2 id=\"types\">Accuracy by question type</h2>\n");
    if (!r->n_vqa) {
        absent(b, "No table", why_no(r, true));
        return;
    }
    html(b, "<p class=\"note\">Official VQA accuracy in percent, 0 to 100 on each bar. The last column is what the picture adds: student "
            "minus the probe that sees the question alone.</p>\n");
    marks_legend(b, r);
    html(b, "<div class=\"scroll\"><table><thead><tr><th>type</th><th class=\"n\">n</th><th></th>");
    for (int k = 0; k < r->n_vqa; k++) html(b, "<th>%s</th>", r->vqa[k].name);
    html(b, "<th class=\"gap\">picture adds</th></tr></thead>\n<tbody>\n");
    type_rows(b, r, true);
    type_rows(b, r, false);
    html(b, "</tbody></table></div>\n");
}

/* ---- sample questions ----------------------------------------------------------------------------- */
/* A picture's PNG bytes, or NULL. Only names inside the run directory are opened, only PNG is shown. */
static char *picture(const report *r, const char *name, size_t *ret_n, bool *ret_tiny)
{
    static const char signature[] = "\x89PNG\r\n\x1a\n";
    if (!name || name[0] == '/' || strstr(name, "..")) return NULL;
    char *path = pupil_join(r->dir, name), *bytes = NULL;
    bool ok = pupil_read_file(path, 4 << 20, &bytes, ret_n) == 0 && *ret_n > 24 && memcmp(bytes, signature, 8) == 0;
    pupil_free(&path);
    if (!ok) {
        pupil_free(&bytes);
        return NULL;
    }
    *ret_tiny = bytes[16] == 0 && bytes[17] == 0 && bytes[18] == 0 && (unsigned char)bytes[19] < 160; /* IHDR's width */
    return bytes;
}

static void show_picture(pupil_buf *b, const report *r, const sample *s)
{
    size_t n;
    bool tiny;
    char *png = picture(r, s->image, &n, &tiny);
    html(b, "<div class=\"picture\">");
    if (png) {
        html(b, "<img alt=\"\" src=\"data:image/png;base64,");
        pupil_buf_base64(b, png, n);
        html(b, "\" class=\"%s\">", tiny ? "tiny" : "");
    } else {
        html(b, "the picture is not there");
    }
    html(b, "</div>");
    pupil_free(&png);
}

static void verdict(pupil_buf *b, double accuracy)
{
    if (!isfinite(accuracy)) return;
    if (accuracy > 0.999) html(b, " <span class=\"verdict right\">&#10003;&nbsp;right</span>");
    else if (accuracy > 0) html(b, " <span class=\"verdict partly\">&#8776;&nbsp;partly, %.0f&nbsp;%%</span>", 100 * accuracy);
    else html(b, " <span class=\"verdict wrong\">&#10007;&nbsp;wrong</span>");
}

/* The annotators' answers by count, the three most frequent. */
static void people(pupil_buf *b, const sample *s)
{
    int count[10] = {0}, shown = 0;
    for (int i = 0; i < s->n_answers; i++) {
        int first = 0;
        while (strcmp(s->answers[first], s->answers[i]) != 0) first++;
        count[first]++;
    }
    for (; shown < 3; shown++) {
        int best = 0;
        for (int i = 1; i < 10; i++)
            if (count[i] > count[best]) best = i;
        if (count[best] == 0) break;
        html(b, "%s%s", shown ? ", " : "", s->answers[best]);
        if (count[best] < s->n_answers) html(b, " <span class=\"note\">&times;%d</span>", count[best]);
        count[best] = 0;
    }
}

static void card(pupil_buf *b, const report *r, const sample *s)
{
    html(b, "<article class=\"sample\">");
    show_picture(b, r, s);
    html(b, "<div class=\"words\"><q>%s</q><dl>", s->question ? s->question : "?");
    if (s->student) {
        html(b, "<dt>student</dt><dd>%s", s->student);
        verdict(b, s->accuracy);
        html(b, "</dd>");
    }
    if (s->teacher) {
        html(b, "<dt>teacher</dt><dd>%s", s->teacher);
        verdict(b, s->teacher_accuracy);
        html(b, "</dd>");
    }
    if (s->n_answers) {
        html(b, "<dt>people</dt><dd>");
        people(b, s);
        html(b, "</dd>");
    }
    html(b, "</dl></div></article>\n");
}

void page_samples(pupil_buf *b, const report *r)
{
    html(b, "<h2 id=\"samples\">Sample questions</h2>\n");
    if (!r->n_samples) {
        absent(b, "No samples", r->eval ? "eval.json holds none." : why_no(r, true));
        return;
    }
    html(b, "<p class=\"note\">Held-out questions taken at even distances, not chosen. &ldquo;People&rdquo;: the annotators&rsquo; answers.</p>\n"
            "<div class=\"samples\">\n");
    for (int k = 0; k < r->n_samples; k++) card(b, r, &r->sample[k]);
    html(b, "</div>\n");
}

/* ---- retrieval ------------------------------------------------------------------------------------ */
static void recall_cells(pupil_buf *b, const recall *m)
{
    cell(b, "gap", "%.1f", 100 * m->r1);
    cell(b, "", "%.1f", 100 * m->r5);
    cell(b, "", "%.1f", 100 * m->r10);
    cell(b, "", "%.0f", m->median_rank);
    cell(b, "", "%.1f", m->mean_rank);
}

static void retrieval_row(pupil_buf *b, const retrieval_model *m)
{
    recall first = m->image_to_text;
    if (!isfinite(first.r1)) first.r1 = m->r1;
    html(b, "<tr class=\"%s\"><th scope=\"row\">%s</th>", strcmp(m->name, "student") ? "" : "student", m->name);
    recall_cells(b, &first);
    recall_cells(b, &m->text_to_image);
    html(b, "</tr>\n");
}

void page_retrieval(pupil_buf *b, const report *r)
{
    char n[40];
    double pairs = r->retrieval_pairs;
    html(b, "<h2 id=\"retrieval\">Retrieval</h2>\n");
    if (!r->n_retrieval) {
        absent(b, "No table", why_no(r, false));
        return;
    }
    if (pairs > 0) html(b, "<p class=\"note\">%s held-out pairs; each picture looks for its caption among all of them, and the other way round. "
                           "Recall in percent.</p>\n", with_commas(pairs, n));
    html(b, "<div class=\"scroll\"><table><thead><tr><th></th><th class=\"over\" colspan=\"5\">picture to caption</th>"
            "<th class=\"over\" colspan=\"5\">caption to picture</th></tr>\n<tr><th>model</th>");
    for (int k = 0; k < 2; k++)
        html(b, "<th class=\"gap\">R@1</th><th>R@5</th><th>R@10</th><th>median rank</th><th>mean rank</th>");
    html(b, "</tr></thead>\n<tbody>\n");
    for (int k = 0; k < r->n_retrieval; k++) retrieval_row(b, &r->retrieval[k]);
    if (pairs >= 1) {
        recall luck = {fmin(1 / pairs, 1), fmin(5 / pairs, 1), fmin(10 / pairs, 1), (pairs + 1) / 2, floor((pairs + 1) / 2)};
        retrieval_row(b, &(retrieval_model){.name = "chance", .image_to_text = luck, .text_to_image = luck, .r1 = NAN});
    }
    html(b, "</tbody></table></div>\n");
}
