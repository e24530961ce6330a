/* normalize.h (private to eval): the steps of the official answer normalisation, one by one. */
#ifndef PUPIL_EVAL_NORMALIZE_H
#define PUPIL_EVAL_NORMALIZE_H

#include "pupil/eval.h"

/** processPunctuation: appends to `out`. */
void normalize_punctuation(const char *s, pupil_buf *out);
/** processDigitArticle: lower case, number words, articles, contractions, single blanks; appends to `out`. */
void normalize_words(const char *s, pupil_buf *out);
/** What evaluate() does first: newline and tab become blanks, white space at both ends goes. Fresh string. */
char *normalize_strip(const char *s);

#endif
