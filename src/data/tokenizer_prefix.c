/* tokenizer_prefix.c: a sorted list of tokens as a trie: those with a common beginning stand together, and
 * each byte narrows their range by bisection. */
#include "tokenizer_pieces.h"

#include <stdlib.h>
#include <string.h>

void prefix_add(prefix_table *p, const textset *token, int32_t id)
{
    p->token = token;
    PUPIL_GROW(p->id, p->n, p->cap);
    p->id[p->n++] = id;
}

static int by_bytes(const void *a, const void *b, void *set)
{
    const textset *t = set;
    int32_t i = *(const int32_t *)a, j = *(const int32_t *)b;
    int c = memcmp(t->text[i], t->text[j], PUPIL_MIN(t->len[i], t->len[j]));
    return c ? c : (t->len[i] > t->len[j]) - (t->len[i] < t->len[j]);
}

void prefix_build(prefix_table *p)
{
    if (p->n) qsort_r(p->id, (size_t)p->n, sizeof *p->id, by_bytes, (void *)p->token);
    int32_t at = 0;
    for (int byte = 0; byte <= 256; byte++) {
        while (at < p->n && (uint8_t)p->token->text[p->id[at]][0] < byte) at++;
        p->first[byte] = at;
    }
}

void prefix_free(prefix_table *p)
{
    pupil_free(&p->id);
    *p = (prefix_table){0};
}

/* The byte of the i-th token at `depth`; -1 where it ends there. */
static int byte_at(const prefix_table *p, int32_t i, size_t depth)
{
    int32_t id = p->id[i];
    return p->token->len[id] == depth ? -1 : (uint8_t)p->token->text[id][depth];
}

/* The first of lo..hi-1 whose byte at `depth` is `byte` or more. */
static int32_t bisect(const prefix_table *p, int32_t lo, int32_t hi, size_t depth, int byte)
{
    while (lo < hi) {
        int32_t mid = lo + (hi - lo) / 2;
        if (byte_at(p, mid, depth) < byte) lo = mid + 1;
        else hi = mid;
    }
    return lo;
}

bool prefix_step(const prefix_table *p, prefix_walk *w, uint8_t byte, int32_t *ret)
{
    if (w->depth == 0) {
        w->lo = p->first[byte];
        w->hi = p->first[byte + 1];
    } else if (byte_at(p, w->lo, w->depth) != byte || byte_at(p, w->hi - 1, w->depth) != byte) {
        w->lo = bisect(p, w->lo, w->hi, w->depth, byte);
        w->hi = bisect(p, w->lo, w->hi, w->depth, byte + 1);
    }
    if (w->lo == w->hi) return false;
    w->depth++;
    *ret = byte_at(p, w->lo, w->depth) < 0 ? p->id[w->lo] : -1;
    return true;
}

int32_t prefix_longest(const prefix_table *p, const char *s, size_t n)
{
    prefix_walk w = {0};
    int32_t found = -1, here;
    for (size_t i = 0; p->n && i < n && prefix_step(p, &w, (uint8_t)s[i], &here); i++)
        if (here >= 0) found = here;
    return found;
}
