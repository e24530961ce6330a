/* names.h (private to eval): strings numbered in order of first appearance, found by hash. */
#ifndef PUPIL_EVAL_NAMES_H
#define PUPIL_EVAL_NAMES_H

#include "pupil/base.h"

typedef struct pupil_names {
    char **s; /* owned */
    int n;
    int64_t cap;
    int32_t *slot; /* open addressing, 1 + number, 0: empty; a power of two, at most half full */
    int64_t slots;
} names;

int names_find(const names *t, const char *s); /* its number, or -1 */
int names_add(names *t, const char *s);        /* its number, new or old; copies */
void names_free(names *t);

#endif
