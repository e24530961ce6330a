/* tree.h (private to par): the fixed binary tree in which sums over slots are taken. A node (level l, index k) covers slots
 * k 2^l .. (k+1) 2^l - 1; its value is left + right. */
#ifndef PUPIL_PAR_TREE_H
#define PUPIL_PAR_TREE_H

#include <stdbool.h>
#include <stdint.h>

enum { TREE_LEVELS = 24 };

typedef struct {
    int64_t level, index;
} node;

/* A node and (a slice of) its value. */
typedef struct {
    node at;
    const float *x;
} part;

node tree_root(int64_t slots);
/* Makes `left` the parent of both, where they are siblings. */
bool tree_join(node *left, const node *right);
bool tree_is_inside(node x, node of);
/* The maximal whole nodes of slots [first, end), left to right; returns how many, 2 TREE_LEVELS at most. */
int64_t tree_cover(int64_t first, int64_t end, node *out);

void tree_add_into(float *restrict y, const float *restrict x, int64_t n); /* y += x */
/* out[a..b) = elements [a, b) of node `at` from parts, which cover it left to right. out may be where the first of them lies. */
void tree_add_up(float *out, const part *parts, node at, int64_t a, int64_t b);

#endif
