/* vqa.c: the official VQA v2 accuracy (GT-Vision-Lab/VQA, vqaEval.py), summed in its order so that rounded
 * figures agree to the last digit; the answer list, soft targets, and the majority baseline. */
#include "groups.h"
#include "normalize.h"
#include "rules.h"

#include <stdlib.h>
#include <string.h>

enum { ANNOTATORS = 10 };

/* Does each of the annotators' answers, as it is or normalised, equal mine? Equal answers are normalised once. */
static int count_matches(const char *mine, char *const theirs[ANNOTATORS], bool as_written, bool match[ANNOTATORS])
{
    int matches = 0;
    for (int i = 0; i < ANNOTATORS; i++) {
        int same = 0;
        while (same < i && strcmp(theirs[same], theirs[i]) != 0) same++;
        if (same < i) {
            match[i] = match[same];
        } else {
            char *s = as_written ? NULL : pupil_vqa_normalize(theirs[i]);
            match[i] = strcmp(s ? s : theirs[i], mine) == 0;
            pupil_free(&s);
        }
        matches += match[i];
    }
    return matches;
}

double pupil_vqa_accuracy(const char *answer, char *const answers[ANNOTATORS])
{
    char *theirs[ANNOTATORS], *mine = normalize_strip(answer);
    bool match[ANNOTATORS], as_written = true;
    for (int i = 0; i < ANNOTATORS; i++) {
        theirs[i] = normalize_strip(answers[i]);
        as_written = as_written && strcmp(theirs[i], theirs[0]) == 0;
    }
    if (!as_written) {
        char *raw = mine;
        mine = pupil_vqa_normalize(raw);
        pupil_free(&raw);
    }
    int matches = count_matches(mine, theirs, as_written, match);
    for (int i = 0; i < ANNOTATORS; i++) pupil_free(&theirs[i]);
    pupil_free(&mine);
    double sum = 0;
    for (int i = 0; i < ANNOTATORS; i++) sum += PUPIL_MIN(1.0, (double)(matches - match[i]) / 3);
    return sum / ANNOTATORS;
}

/* ---- scores over a set ---------------------------------------------------------------------------- */
void pupil_vqa_score_set(const pupil_vqa_set *set, char *const *answer, pupil_vqa_score *ret)
{
    groups question = {0}, kind = {0};
    double sum = 0, *each = pupil_alloc((size_t)set->n * sizeof *each);
    int64_t n = 0;
    for (int64_t i = 0; i < set->n; i++) {
        const pupil_vqa_question *q = &set->q[i];
        if (!answer[i] || q->unbalanced) continue;
        double accuracy = rule_score(set->format, q, answer[i]);
        each[n++] = accuracy;
        sum += accuracy;
        groups_add(&question, q->question_type, accuracy);
        groups_add(&kind, q->answer_type, accuracy);
    }
    *ret = (pupil_vqa_score){.overall = n ? 100 * sum / (double)n : 0, .n = n, .each = each};
    ret->question_type = groups_finish(&question, &ret->n_question_type);
    ret->answer_type = groups_finish(&kind, &ret->n_answer_type);
}

void pupil_vqa_score_free(pupil_vqa_score *s)
{
    for (int k = 0; k < s->n_question_type; k++) pupil_free(&s->question_type[k].name);
    for (int k = 0; k < s->n_answer_type; k++) pupil_free(&s->answer_type[k].name);
    pupil_free(&s->each);
    pupil_free(&s->question_type);
    pupil_free(&s->answer_type);
    *s = (pupil_vqa_score){0};
}

double pupil_vqa_round(double x, int decimals)
{
    char t[400]; /* a double has at most 309 digits before the point */
    snprintf(t, sizeof t, "%.*f", PUPIL_MIN(decimals, 30), x);
    return strtod(t, NULL);
}

/* An accuracy as Python prints it after round(): no trailing zeros, but 80.0 rather than 80. */
static void add_rounded(pupil_buf *out, double x, int decimals)
{
    pupil_buf_printf(out, "%.*f", PUPIL_MAX(decimals, 1), pupil_vqa_round(x, decimals));
    while (out->s[out->len - 1] == '0' && out->s[out->len - 2] != '.') out->s[--out->len] = 0;
}

static void add_groups(pupil_buf *out, const char *key, const pupil_vqa_group *g, int n, int decimals)
{
    pupil_buf_printf(out, ", \"%s\": {", key);
    for (int k = 0; k < n; k++) {
        if (k) pupil_buf_puts(out, ", ");
        pupil_buf_json(out, g[k].name);
        pupil_buf_puts(out, ": ");
        add_rounded(out, g[k].accuracy, decimals);
    }
    pupil_buf_puts(out, "}");
}

void pupil_vqa_score_json(const pupil_vqa_score *s, int decimals, pupil_buf *out)
{
    pupil_buf_puts(out, "{\"overall\": ");
    add_rounded(out, s->overall, decimals);
    add_groups(out, "perQuestionType", s->question_type, s->n_question_type, decimals);
    add_groups(out, "perAnswerType", s->answer_type, s->n_answer_type, decimals);
    pupil_buf_puts(out, "}");
}

/* ---- the answer list ------------------------------------------------------------------------------ */
void pupil_answers_build(const pupil_vqa_set *train, int min_count, pupil_answers *ret)
{
    names all = {0};
    int64_t *count = pupil_alloc((size_t)train->n * sizeof *count);
    for (int64_t i = 0; i < train->n; i++) {
        char *s = pupil_vqa_normalize(train->q[i].answer);
        count[names_add(&all, s)]++;
        pupil_free(&s);
    }
    names *kept = pupil_alloc(sizeof *kept);
    for (int k = 0; k < all.n; k++)
        if (count[k] >= min_count) names_add(kept, all.s[k]);
    names_free(&all);
    pupil_free(&count);
    *ret = (pupil_answers){kept->s, kept->n, kept};
}

void pupil_answers_of(char *const *answer, int n, pupil_answers *ret)
{
    names *kept = pupil_alloc(sizeof *kept);
    for (int k = 0; k < n; k++) names_add(kept, answer[k]);
    *ret = (pupil_answers){kept->s, kept->n, kept};
}

int pupil_answers_find(const pupil_answers *a, const char *answer) { return names_find(a->index, answer); }

void pupil_answers_free(pupil_answers *a)
{
    if (a->index) names_free(a->index);
    pupil_free(&a->index);
    *a = (pupil_answers){0};
}

void pupil_answers_target(const pupil_answers *a, const pupil_vqa_question *q, float *target)
{
    static const float score[] = {0, 0.3f, 0.6f, 0.9f, 1};
    memset(target, 0, (size_t)a->n * sizeof *target);
    for (int i = 0; i < ANNOTATORS; i++) {
        int k = pupil_answers_find(a, q->answers[i]), count = 0;
        if (k < 0) continue;
        for (int j = 0; j < ANNOTATORS; j++) count += strcmp(q->answers[j], q->answers[i]) == 0;
        target[k] = score[PUPIL_MIN(count, PUPIL_COUNT(score) - 1)];
    }
}

/* ---- frequent answers ------------------------------------------------------------------------------- */
/* The k most frequent answers, ties to the lower index; -1 behind the last one seen. `count` is used up. */
static void most_frequent(int64_t *count, int n, int k, int32_t *ret)
{
    for (int place = 0; place < k; place++) {
        int32_t best = -1;
        for (int32_t a = 0; a < n; a++)
            if (count[a] > 0 && (best < 0 || count[a] > count[best])) best = a;
        ret[place] = best;
        if (best >= 0) count[best] = 0;
    }
}

void pupil_frequent_answers(const pupil_vqa_set *train, const pupil_answers *a, const pupil_vqa_set *test, int k, int32_t *ret)
{
    names type = {0};
    names_add(&type, ""); /* all types together, for types that training never saw */
    for (int64_t i = 0; i < train->n; i++) names_add(&type, train->q[i].question_type);
    int64_t *count = pupil_alloc((size_t)type.n * (size_t)a->n * sizeof *count);
    for (int64_t i = 0; i < train->n; i++) {
        char *s = pupil_vqa_normalize(train->q[i].answer);
        int at = pupil_answers_find(a, s), t = names_find(&type, train->q[i].question_type);
        pupil_free(&s);
        if (at < 0) continue;
        count[at]++;
        if (t > 0) count[(int64_t)t * a->n + at]++;
    }
    int32_t *best = pupil_alloc((size_t)type.n * (size_t)k * sizeof *best);
    for (int t = 0; t < type.n; t++) {
        most_frequent(count + (int64_t)t * a->n, a->n, k, best + (int64_t)t * k);
        if (best[(int64_t)t * k] < 0) memcpy(best + (int64_t)t * k, best, (size_t)k * sizeof *best);
    }
    for (int64_t i = 0; i < test->n; i++)
        memcpy(ret + i * k, best + (int64_t)PUPIL_MAX(names_find(&type, test->q[i].question_type), 0) * k, (size_t)k * sizeof *ret);
    pupil_free(&best);
    pupil_free(&count);
    names_free(&type);
}

void pupil_majority_answers(const pupil_vqa_set *train, const pupil_answers *a, const pupil_vqa_set *test,
                            int32_t *ret_answer)
{
    pupil_frequent_answers(train, a, test, 1, ret_answer);
    for (int64_t i = 0; i < test->n; i++) ret_answer[i] = PUPIL_MAX(ret_answer[i], 0);
}
