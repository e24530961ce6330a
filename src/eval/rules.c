/* rules.c: one answer to one question, by the rules of its data set's own evaluation: VQA v2's is in vqa.c; here are
 * M4C's evaluator for TextVQA, VizWiz's evaluation code, GQA's exact match, ScienceQA's and POPE's as LLaVA has them. */
#include "rules.h"
#include "normalize.h"

#include <stdlib.h>
#include <string.h>

/* Mean over annotators of min(1, others who said it / 3). */
static double leave_one_out(const bool *said, int n)
{
    int all = 0;
    double sum = 0;
    for (int i = 0; i < n; i++) all += said[i];
    for (int i = 0; i < n; i++) sum += PUPIL_MIN(1.0, (double)(all - said[i]) / 3);
    return sum / n;
}

double rule_textvqa(const pupil_vqa_question *q, const char *answer)
{
    bool said[PUPIL_COUNT(q->answers)];
    char *mine = pupil_textvqa_normalize(answer);
    for (int i = 0; i < q->n_answers; i++) {
        char *theirs = pupil_textvqa_normalize(q->answers[i]);
        said[i] = !strcmp(mine, theirs);
        pupil_free(&theirs);
    }
    pupil_free(&mine);
    return leave_one_out(said, q->n_answers);
}

static char *as_vizwiz(const char *answer)
{
    char *bare = normalize_strip(answer), *out = pupil_vqa_normalize(bare);
    pupil_free(&bare);
    return out;
}

double rule_vizwiz(const pupil_vqa_question *q, const char *answer)
{
    bool said[PUPIL_COUNT(q->answers)];
    char *mine = as_vizwiz(answer);
    for (int i = 0; i < q->n_answers; i++) said[i] = !strcmp(mine, q->answers[i]);
    pupil_free(&mine);
    return leave_one_out(said, q->n_answers);
}

bool rule_unanswerable(const char *answer)
{
    char *mine = as_vizwiz(answer);
    bool is = !strcmp(mine, "unanswerable");
    pupil_free(&mine);
    return is;
}

double rule_gqa_lenient(const pupil_vqa_question *q, const char *answer)
{
    size_t n = strlen(answer);
    while (n && answer[n - 1] == '.') n--;
    bool same = strlen(q->answer) == n;
    for (size_t i = 0; i < n && same; i++) {
        char c = answer[i];
        same = q->answer[i] == (c >= 'A' && c <= 'Z' ? (char)(c + 32) : c);
    }
    return same;
}

/* ---- multiple choice ------------------------------------------------------------------------------ */
/* The letter of a choice, or of one that this question happens not to have (five are usual). */
static bool is_letter(char c, int choices) { return c >= 'A' && c < 'A' + PUPIL_MAX(choices, 5); }

/* Behind "The answer is ": first with a period after the letter, then without. */
static char announced(const char *s, int choices)
{
    static const char mark[] = "The answer is ";
    for (int period = 1; period >= 0; period--)
        for (const char *at = strstr(s, mark); at; at = strstr(at + 1, mark)) {
            const char *letter = at + sizeof mark - 1;
            if (is_letter(*letter, choices) && (!period || letter[1] == '.')) return *letter;
        }
    return 0;
}

/* "B", "B. because", "... The answer is B."; newlines count as ". ". */
static char chosen_letter(const char *answer, int choices)
{
    pupil_buf line = {0};
    pupil_buf_puts(&line, "");
    for (const char *c = answer; *c; c++) pupil_buf_add(&line, *c == '\n' ? ". " : c, *c == '\n' ? 2 : 1);
    char *bare = normalize_strip(line.s), letter = 0;
    if (is_letter(bare[0], choices) && !bare[1]) letter = bare[0];
    else if (is_letter(line.s[0], choices) && line.s[1] == '.' && line.s[2] == ' ') letter = line.s[0];
    else letter = announced(line.s, choices);
    pupil_free(&bare);
    pupil_buf_free(&line);
    return letter;
}

int pupil_choice_parse(const pupil_vqa_question *q, const char *answer)
{
    for (int k = 0; k < q->n_choices; k++)
        if (!strcmp(q->choices[k], answer)) return k;
    char letter = chosen_letter(answer, q->n_choices);
    int k = letter - 'A';
    if (!letter) k = answer[0] && strlen(answer) <= 2 && strspn(answer, "0123456789") == strlen(answer) ? atoi(answer) : -1;
    return k < q->n_choices ? k : -1;
}

/* ---- POPE ------------------------------------------------------------------------------------------ */
bool pupil_pope_says_yes(const char *answer)
{
    static const char *const no[] = {"No", "not", "no"};
    char word[4];
    size_t n = 0;
    bool long_word = false;
    for (const char *c = answer;; c++) {
        bool end = *c == '.' || !*c;
        if (*c == ',') continue;
        if (!end && *c != ' ') {
            if (n < sizeof word - 1) word[n++] = *c;
            else long_word = true;
            continue;
        }
        word[n] = 0;
        for (int k = 0; k < PUPIL_COUNT(no) && !long_word; k++)
            if (!strcmp(word, no[k])) return false;
        if (end) return true;
        n = 0;
        long_word = false;
    }
}

double rule_score(pupil_vqa_format f, const pupil_vqa_question *q, const char *answer)
{
    switch (f) {
    case PUPIL_VQA_TEXTVQA: return rule_textvqa(q, answer);
    case PUPIL_VQA_VIZWIZ: return rule_vizwiz(q, answer);
    case PUPIL_VQA_GQA: return !strcmp(answer, q->answer);
    case PUPIL_VQA_MULTIPLE_CHOICE: return pupil_choice_parse(q, answer) == q->correct;
    case PUPIL_VQA_POPE: return pupil_pope_says_yes(answer) == !strcmp(q->answer, "yes");
    case PUPIL_VQA_AUTO:
    case PUPIL_VQA_V2: break;
    }
    return pupil_vqa_accuracy(answer, q->answers);
}
