/* names.c: strings numbered in order of first appearance. Numbers never depend on the hash. */
#include "names.h"

#include <string.h>

/* The slot where `s` is, or the empty one where it belongs. */
static int64_t slot_of(const names *t, const char *s)
{
    uint64_t i = pupil_fnv1a(s, strlen(s)), mask = (uint64_t)t->slots - 1;
    for (;; i++) {
        int32_t k = t->slot[i & mask];
        if (k == 0 || strcmp(t->s[k - 1], s) == 0) return (int64_t)(i & mask);
    }
}

int names_find(const names *t, const char *s) { return t->slots ? t->slot[slot_of(t, s)] - 1 : -1; }

static void grow_slots(names *t)
{
    pupil_free(&t->slot);
    t->slots = t->slots ? 2 * t->slots : 64;
    t->slot = pupil_alloc((size_t)t->slots * sizeof *t->slot);
    for (int k = 0; k < t->n; k++) t->slot[slot_of(t, t->s[k])] = k + 1;
}

int names_add(names *t, const char *s)
{
    int k = names_find(t, s);
    if (k >= 0) return k;
    if (2 * (int64_t)(t->n + 1) > t->slots) grow_slots(t);
    PUPIL_GROW(t->s, t->n, t->cap);
    t->s[t->n] = pupil_strdup(s);
    t->slot[slot_of(t, s)] = t->n + 1;
    return t->n++;
}

void names_free(names *t)
{
    for (int k = 0; k < t->n; k++) pupil_free(&t->s[k]);
    pupil_free(&t->s);
    pupil_free(&t->slot);
    *t = (names){0};
}
