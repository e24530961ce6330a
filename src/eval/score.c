/* score.c: a whole set of answers by the rules of its data set: accuracy, its breakdowns, and the figures that only one
 * data set has. What the given files do not allow to compute is said, not guessed. */
#include "groups.h"
#include "rules.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_BREAKDOWNS = 4 };

/* How a format is broken down; NULL ends the list. */
static const char *const breakdowns[][MOST_BREAKDOWNS] = {
    [PUPIL_VQA_AUTO] = {0},
    [PUPIL_VQA_V2] = {"question type", "answer type"},
    [PUPIL_VQA_TEXTVQA] = {"answer type"},
    [PUPIL_VQA_VIZWIZ] = {"answer type"},
    [PUPIL_VQA_GQA] = {"answer kind", "structural type", "semantic type", "detailed type"},
    [PUPIL_VQA_MULTIPLE_CHOICE] = {"category"},
    [PUPIL_VQA_POPE] = {"category"},
};

static const char *group_of(const pupil_vqa_question *q, const char *by)
{
    const char *name = !strcmp(by, "answer type")     ? q->answer_type
                       : !strcmp(by, "answer kind")   ? (strcmp(q->question_type, "query") ? "binary" : "open")
                       : !strcmp(by, "semantic type") ? q->types[0]
                       : !strcmp(by, "detailed type") ? q->types[1]
                                                      : q->question_type;
    return name ? name : "none";
}

static void add_figure(pupil_score *s, const char *name, double value)
{
    s->more[s->n_more++] = (pupil_figure){name, value};
}

/* ---- VizWiz ----------------------------------------------------------------------------------------- */
typedef struct {
    double score; /* how unanswerable it is said to be */
    bool truth;
} verdict;

static int by_score(const void *a, const void *b)
{
    double x = ((const verdict *)a)->score, y = ((const verdict *)b)->score;
    return (x < y) - (x > y);
}

/* Sum over thresholds of precision x recall gained, as scikit-learn's average_precision_score. Sorts. */
static double average_precision(verdict *v, int64_t n, int64_t positives)
{
    double sum = 0;
    int64_t tp = 0, counted = 0;
    qsort(v, (size_t)n, sizeof *v, by_score);
    for (int64_t i = 0; i < n; i++) {
        tp += v[i].truth;
        if (i + 1 < n && v[i + 1].score == v[i].score) continue;
        sum += (double)tp / (double)(i + 1) * (double)(tp - counted);
        counted = tp;
    }
    return positives ? sum / (double)positives : 0;
}

static void score_unanswerable(const pupil_vqa_set *set, const pupil_answered *a, pupil_score *s)
{
    verdict *v = pupil_alloc((size_t)set->n * sizeof *v);
    int64_t n = 0, tp = 0, said = 0, truly = 0;
    for (int64_t i = 0; i < set->n; i++) {
        if (!a->answer[i]) continue;
        v[n].truth = set->q[i].unanswerable;
        v[n].score = a->answerable ? 1 - a->answerable[i] : rule_unanswerable(a->answer[i]);
        bool yes = v[n].score > 0.5;
        tp += yes && v[n].truth;
        said += yes;
        truly += v[n++].truth;
    }
    add_figure(s, "unanswerable F1", said + truly ? 200.0 * (double)tp / (double)(said + truly) : 0);
    if (a->answerable) add_figure(s, "unanswerable average precision", 100 * average_precision(v, n, truly));
    else s->left_out = "average precision of unanswerable: the results have no \"answerable\" probabilities";
    pupil_free(&v);
}

/* ---- GQA -------------------------------------------------------------------------------------------- */
static double share(const pupil_vqa_set *set, const pupil_answered *a, const uint8_t *mark)
{
    int64_t n = 0, in = 0;
    for (int64_t i = 0; i < set->n; i++) {
        if (!a->answer[i] || set->q[i].unbalanced) continue;
        n++;
        in += mark[i];
    }
    return n ? 100 * (double)in / (double)n : 0;
}

/* Of the rightly answered questions: the share of their entailed questions that are answered rightly, too. False where one
 * of those is not answered, or there is none. */
static bool consistency(const pupil_vqa_set *set, const pupil_answered *a, double *ret)
{
    names id = {0};
    double sum = 0;
    int64_t n = 0;
    bool known = true;
    for (int64_t i = 0; i < set->n; i++) names_add(&id, set->q[i].id);
    for (int64_t i = 0; i < set->n && known; i++) {
        const pupil_vqa_question *q = &set->q[i];
        if (!a->answer[i] || q->unbalanced || strcmp(a->answer[i], q->answer) != 0) continue;
        int others = 0, right = 0;
        for (int k = 0; k < q->n_entailed && known; k++) {
            if (!strcmp(q->entailed[k], q->id)) continue;
            int at = names_find(&id, q->entailed[k]);
            known = at >= 0 && a->answer[at];
            others++;
            right += known && !strcmp(a->answer[at], set->q[at].answer);
        }
        if (!others) continue;
        sum += (double)right / others;
        n++;
    }
    names_free(&id);
    if (known && n) *ret = 100 * sum / (double)n;
    return known && n;
}

static void score_gqa(const pupil_vqa_set *set, const pupil_answered *a, pupil_score *s)
{
    double value = 0;
    for (int64_t i = 0; i < set->n; i++)
        if (a->answer[i] && !set->q[i].unbalanced) value += rule_gqa_lenient(&set->q[i], a->answer[i]);
    add_figure(s, "lenient", s->n ? 100 * value / (double)s->n : 0);
    if (a->valid) add_figure(s, "validity", share(set, a, a->valid));
    if (a->plausible) add_figure(s, "plausibility", share(set, a, a->plausible));
    bool consistent = consistency(set, a, &value);
    if (consistent) add_figure(s, "consistency", value);
    s->left_out = a->valid && consistent ? NULL
                  : a->valid             ? "consistency: entailed questions are not answered"
                  : consistent           ? "validity and plausibility: no choices file"
                                         : "validity and plausibility: no choices file; consistency: entailed questions are not answered";
}

/* ---- POPE ------------------------------------------------------------------------------------------- */
static void score_pope(const pupil_vqa_set *set, const pupil_answered *a, pupil_score *s)
{
    names category = {0};
    for (int64_t i = 0; i < set->n; i++)
        if (a->answer[i]) names_add(&category, set->q[i].question_type);
    int n = category.n, all = n > 1 ? n : 0;
    s->n_category = n > 1 ? n + 1 : n;
    s->category = pupil_alloc((size_t)s->n_category * sizeof *s->category);
    for (int k = 0; k < n; k++) s->category[k].name = pupil_strdup(category.s[k]);
    if (all) s->category[all].name = pupil_strdup("all categories");
    for (int64_t i = 0; i < set->n; i++) {
        if (!a->answer[i]) continue;
        bool yes = pupil_pope_says_yes(a->answer[i]), truth = !strcmp(set->q[i].answer, "yes");
        int k = names_find(&category, set->q[i].question_type);
        for (int pass = 0; pass < (all ? 2 : 1); pass++, k = all) {
            pupil_yes_no *c = &s->category[k];
            c->tp += yes && truth;
            c->fp += yes && !truth;
            c->tn += !yes && !truth;
            c->fn += !yes && truth;
        }
    }
    names_free(&category);
}

/* ---- all -------------------------------------------------------------------------------------------- */
void pupil_score_answers(const pupil_vqa_set *set, const pupil_answered *a, uint64_t seed, pupil_score *ret)
{
    pupil_score s = {.format = set->format, .each = pupil_alloc((size_t)set->n * sizeof *s.each)};
    const char *const *by = breakdowns[set->format];
    groups g[MOST_BREAKDOWNS] = {0};
    double sum = 0;
    for (int64_t i = 0; i < set->n; i++) {
        const pupil_vqa_question *q = &set->q[i];
        if (!a->answer[i] || q->unbalanced) continue;
        double x = rule_score(set->format, q, a->answer[i]);
        sum += s.each[s.n++] = x;
        for (int k = 0; k < MOST_BREAKDOWNS && by[k]; k++) groups_add(&g[k], group_of(q, by[k]), x);
    }
    s.accuracy = s.n ? 100 * sum / (double)s.n : 0;
    s.interval = pupil_bootstrap(s.each, s.n, seed);
    s.interval = (pupil_interval){100 * s.interval.low, 100 * s.interval.high};
    for (int k = 0; k < MOST_BREAKDOWNS && by[k]; k++) {
        pupil_breakdown *b = &s.by[s.n_by++];
        b->by = by[k];
        b->group = groups_finish(&g[k], &b->n);
    }
    if (set->format == PUPIL_VQA_VIZWIZ) score_unanswerable(set, a, &s);
    if (set->format == PUPIL_VQA_GQA) score_gqa(set, a, &s);
    if (set->format == PUPIL_VQA_POPE) score_pope(set, a, &s);
    *ret = s;
}

void pupil_score_free(pupil_score *s)
{
    for (int b = 0; b < s->n_by; b++) {
        for (int k = 0; k < s->by[b].n; k++) pupil_free(&s->by[b].group[k].name);
        pupil_free(&s->by[b].group);
    }
    for (int k = 0; k < s->n_category; k++) pupil_free(&s->category[k].name);
    pupil_free(&s->category);
    pupil_free(&s->each);
    *s = (pupil_score){0};
}
