/* score_print.c: scores as JSON and as lines for a person. */
#include "pupil/eval.h"

#include <string.h>

typedef struct {
    double accuracy, precision, recall, f1, yes_ratio;
} yes_no_figures;

static double ratio(int64_t a, int64_t b) { return b ? (double)a / (double)b : 0; }

static yes_no_figures figures_of(const pupil_yes_no *c)
{
    int64_t n = c->tp + c->fp + c->tn + c->fn;
    yes_no_figures f = {.accuracy = ratio(c->tp + c->tn, n),
                        .precision = ratio(c->tp, c->tp + c->fp),
                        .recall = ratio(c->tp, c->tp + c->fn),
                        .yes_ratio = ratio(c->tp + c->fp, n)};
    if (f.precision + f.recall > 0) f.f1 = 2 * f.precision * f.recall / (f.precision + f.recall);
    return f;
}

/* ---- JSON ------------------------------------------------------------------------------------------- */
/* "unanswerable F1" -> "unanswerable_f1" */
static void add_key(pupil_buf *out, const char *name)
{
    pupil_buf_puts(out, ", \"");
    for (const char *c = name; *c; c++) {
        char low = *c == ' ' ? '_' : *c >= 'A' && *c <= 'Z' ? (char)(*c + 32) : *c;
        pupil_buf_add(out, &low, 1);
    }
    pupil_buf_puts(out, "\": ");
}

static void add_number(pupil_buf *out, const char *name, double x)
{
    add_key(out, name);
    pupil_buf_json_num(out, x);
}

/* "question type" -> "perQuestionType", the official spelling. */
static void add_breakdown(pupil_buf *out, const pupil_breakdown *b)
{
    bool capital = true;
    pupil_buf_puts(out, ", \"per");
    for (const char *c = b->by; *c; c++) {
        if (*c == ' ') {
            capital = true;
            continue;
        }
        char x = capital ? (char)(*c - 32) : *c;
        pupil_buf_add(out, &x, 1);
        capital = false;
    }
    pupil_buf_puts(out, "\": {");
    for (int k = 0; k < b->n; k++) {
        pupil_buf_puts(out, k ? ", " : "");
        pupil_buf_json(out, b->group[k].name);
        pupil_buf_printf(out, ": {\"n\": %lld", (long long)b->group[k].n);
        add_number(out, "accuracy", b->group[k].accuracy);
        pupil_buf_puts(out, "}");
    }
    pupil_buf_puts(out, "}");
}

static void add_category(pupil_buf *out, const pupil_yes_no *c)
{
    yes_no_figures f = figures_of(c);
    pupil_buf_json(out, c->name);
    pupil_buf_printf(out, ": {\"n\": %lld", (long long)(c->tp + c->fp + c->tn + c->fn));
    add_number(out, "accuracy", f.accuracy);
    add_number(out, "precision", f.precision);
    add_number(out, "recall", f.recall);
    add_number(out, "f1", f.f1);
    add_number(out, "yes_ratio", f.yes_ratio);
    pupil_buf_printf(out, ", \"tp\": %lld, \"fp\": %lld, \"tn\": %lld, \"fn\": %lld}", (long long)c->tp, (long long)c->fp,
                     (long long)c->tn, (long long)c->fn);
}

static void official_json(const pupil_score *s, pupil_buf *out)
{
    const pupil_breakdown *question = &s->by[0], *answer = &s->by[1];
    const pupil_vqa_score v = {.overall = s->accuracy,
                               .n = s->n,
                               .question_type = question->group,
                               .n_question_type = question->n,
                               .answer_type = answer->group,
                               .n_answer_type = answer->n};
    pupil_vqa_score_json(&v, 2, out);
}

void pupil_score_json(const pupil_score *s, pupil_buf *out)
{
    if (s->format == PUPIL_VQA_V2) {
        official_json(s, out);
        return;
    }
    pupil_buf_puts(out, "{\"format\": ");
    pupil_buf_json(out, pupil_vqa_format_name(s->format));
    pupil_buf_printf(out, ", \"n\": %lld", (long long)s->n);
    add_number(out, "overall", s->accuracy);
    pupil_buf_puts(out, ", \"interval\": [");
    pupil_buf_json_num(out, s->interval.low);
    pupil_buf_puts(out, ", ");
    pupil_buf_json_num(out, s->interval.high);
    pupil_buf_puts(out, "]");
    for (int k = 0; k < s->n_more; k++) add_number(out, s->more[k].name, s->more[k].value);
    if (s->left_out) {
        add_key(out, "not computed");
        pupil_buf_json(out, s->left_out);
    }
    for (int k = 0; k < s->n_by && !s->n_category; k++) add_breakdown(out, &s->by[k]);
    for (int k = 0; k < s->n_category; k++) {
        pupil_buf_puts(out, k ? ", " : ", \"categories\": {");
        add_category(out, &s->category[k]);
    }
    pupil_buf_puts(out, s->n_category ? "}}" : "}");
}

/* ---- for a person ------------------------------------------------------------------------------------ */
void pupil_score_text(const pupil_score *s, pupil_buf *out)
{
    pupil_buf_printf(out, "%s, %lld questions\naccuracy %.2f   (95 %% %.2f to %.2f, bootstrap over questions)\n",
                     pupil_vqa_format_name(s->format), (long long)s->n, s->accuracy, s->interval.low, s->interval.high);
    for (int k = 0; k < s->n_more; k++) pupil_buf_printf(out, "%s %.2f\n", s->more[k].name, s->more[k].value);
    if (s->left_out) pupil_buf_printf(out, "not computed: %s\n", s->left_out);
    for (int b = 0; b < s->n_by && !s->n_category; b++) {
        pupil_buf_printf(out, "by %s\n", s->by[b].by);
        for (int k = 0; k < s->by[b].n; k++)
            pupil_buf_printf(out, "  %6.2f  %7lld  %s\n", s->by[b].group[k].accuracy, (long long)s->by[b].group[k].n,
                             s->by[b].group[k].name);
    }
    if (s->n_category) pupil_buf_puts(out, "accuracy precision  recall      F1  yes-ratio       n\n");
    for (int k = 0; k < s->n_category; k++) {
        const pupil_yes_no *c = &s->category[k];
        yes_no_figures f = figures_of(c);
        pupil_buf_printf(out, "%8.2f  %8.2f  %6.2f  %6.2f  %9.2f  %6lld  %s\n", 100 * f.accuracy, 100 * f.precision,
                         100 * f.recall, 100 * f.f1, 100 * f.yes_ratio, (long long)(c->tp + c->fp + c->tn + c->fn), c->name);
    }
}
