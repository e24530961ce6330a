/* scores.c: the further protocols of an evaluation, a table each, as they came: a row a model, a column a figure, its 95 %
 * interval below it. */
#include "report.h"

#include <string.h>

/* Shown elsewhere on the page. */
static bool has_a_place(const char *protocol)
{
    static const char *const shown[] = {"retrieval.square", "vqa.probe", "vqa.question_only", "vqa.image_only", "vqa.pixels", "vqa.majority"};
    for (int k = 0; k < PUPIL_COUNT(shown); k++)
        if (!strcmp(protocol, shown[k])) return true;
    return false;
}

static bool first_of(const report *r, int k, bool model_too, bool metric_too)
{
    const score *s = &r->score[k];
    for (int i = 0; i < k; i++) {
        const score *o = &r->score[i];
        if (!strcmp(o->protocol, s->protocol) && (!model_too || !strcmp(o->model, s->model)) && (!metric_too || !strcmp(o->metric, s->metric)))
            return false;
    }
    return true;
}

static const score *find(const report *r, const char *protocol, const char *model, const char *metric)
{
    for (int k = 0; k < r->n_scores; k++) {
        const score *s = &r->score[k];
        if (!strcmp(s->protocol, protocol) && !strcmp(s->model, model) && !strcmp(s->metric, metric)) return s;
    }
    return NULL;
}

static void value_cell(pupil_buf *b, const score *s)
{
    html(b, "<td>");
    if (!s || !isfinite(s->value)) html(b, "&ndash;");
    else html(b, fabs(s->value) < 10 ? "%.3f" : "%.1f", s->value);
    if (s && isfinite(s->low) && isfinite(s->high)) html(b, "<br><small>%.1f to %.1f</small>", s->low, s->high);
    html(b, "</td>");
}

/* "text_to_image_r1" -> "text to image r1" */
static void heading(pupil_buf *b, const char *metric)
{
    char *name = pupil_strdup(metric);
    for (char *c = name; *c; c++)
        if (*c == '_') *c = ' ';
    html(b, "<th>%s</th>", name);
    pupil_free(&name);
}

static void table(pupil_buf *b, const report *r, const score *of)
{
    char n[40];
    html(b, "<h3>%s</h3>\n<p class=\"note\">n = %s</p>\n<div class=\"scroll\"><table><thead><tr><th>model</th>", of->protocol, with_commas(of->n, n));
    for (int k = 0; k < r->n_scores; k++)
        if (!strcmp(r->score[k].protocol, of->protocol) && first_of(r, k, false, true)) heading(b, r->score[k].metric);
    html(b, "</tr></thead>\n<tbody>\n");
    for (int k = 0; k < r->n_scores; k++) {
        const score *s = &r->score[k];
        if (strcmp(s->protocol, of->protocol) != 0 || !first_of(r, k, true, false)) continue;
        html(b, "<tr class=\"%s\"><th scope=\"row\">%s</th>", strcmp(s->model, "student") ? "" : "student", s->model);
        for (int m = 0; m < r->n_scores; m++)
            if (!strcmp(r->score[m].protocol, of->protocol) && first_of(r, m, false, true))
                value_cell(b, find(r, of->protocol, s->model, r->score[m].metric));
        html(b, "</tr>\n");
    }
    html(b, "</tbody></table></div>\n");
}

void page_scores(pupil_buf *b, const report *r)
{
    bool any = false;
    for (int k = 0; k < r->n_scores; k++) {
        if (has_a_place(r->score[k].protocol) || !first_of(r, k, false, false)) continue;
        if (!any) html(b, "<h2 id=\"scores\">Further protocols</h2>\n<p class=\"note\">Recalls and accuracies in percent; below them 95 %% bootstrap intervals.</p>\n");
        any = true;
        table(b, r, &r->score[k]);
    }
}
