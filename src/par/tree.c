/* tree.c: nodes of the tree over slots, and the value of one from those of the nodes below it. Additions and their order are
 * the tree's, whatever nodes are given: so are the bits. */
#include "tree.h"

#include "pupil/base.h"

#include <string.h>

enum { BLOCK = 2048 };

node tree_root(int64_t slots)
{
    node root = {0, 0};
    while ((int64_t)1 << root.level < slots) root.level++;
    return root;
}

bool tree_join(node *left, const node *right)
{
    if (left->level != right->level || left->index % 2 || left->index + 1 != right->index) return false;
    *left = (node){left->level + 1, left->index / 2};
    return true;
}

bool tree_is_inside(node x, node of) { return x.level <= of.level && x.index >> (of.level - x.level) == of.index; }

int64_t tree_cover(int64_t first, int64_t end, node *out)
{
    int64_t n = 0;
    while (first < end) {
        int64_t level = 0;
        while (first % ((int64_t)2 << level) == 0 && first + ((int64_t)2 << level) <= end) level++;
        out[n++] = (node){level, first >> level};
        first += (int64_t)1 << level;
    }
    return n;
}

void tree_add_into(float *restrict y, const float *restrict x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) y[i] += x[i];
}

/* out[n] = elements [from, from + n) of node `at` from parts[*i ...]; out may be where the first of them lies. */
static void add_block(float *out, float *scratch, const part *parts, int64_t *i, node at, int64_t from, int64_t n)
{
    const part *p = &parts[*i];
    if (p->at.level == at.level) {
        if (p->x + from != out) memcpy(out, p->x + from, (size_t)n * sizeof *out);
        (*i)++;
        return;
    }
    node left = {at.level - 1, at.index * 2}, right = {at.level - 1, at.index * 2 + 1};
    add_block(out, scratch, parts, i, left, from, n);
    if (parts[*i].at.level == right.level) {
        tree_add_into(out, parts[(*i)++].x + from, n);
        return;
    }
    add_block(scratch, scratch + BLOCK, parts, i, right, from, n);
    tree_add_into(out, scratch, n);
}

/* A block at a time, so that what is in between stays in the cache. */
void tree_add_up(float *out, const part *parts, node at, int64_t a, int64_t b)
{
    float scratch[TREE_LEVELS * BLOCK];
    for (int64_t from = a; from < b; from += BLOCK) {
        int64_t i = 0;
        add_block(out + from, scratch, parts, &i, at, from, PUPIL_MIN((int64_t)BLOCK, b - from));
    }
}
