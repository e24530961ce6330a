/* rules.h (private to eval): one answer to one question, by the rules of each data set. */
#ifndef PUPIL_EVAL_RULES_H
#define PUPIL_EVAL_RULES_H

#include "pupil/eval.h"

/* Share of a point, 0 to 1. */
double rule_textvqa(const pupil_vqa_question *q, const char *answer);
double rule_vizwiz(const pupil_vqa_question *q, const char *answer);
double rule_gqa_lenient(const pupil_vqa_question *q, const char *answer);
double rule_score(pupil_vqa_format f, const pupil_vqa_question *q, const char *answer);
/* VizWiz: the answer is "unanswerable" once normalised. */
bool rule_unanswerable(const char *answer);

#endif
