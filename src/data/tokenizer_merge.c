/* tokenizer_merge.c: byte-pair merging of any vocabulary. The join of lowest order goes first and the
 * leftmost of equals; a heap of waiting joins makes it O(n log n) for a text of n symbols. */
#include "tokenizer.h"

#include <string.h>

static uint64_t pair_key(int32_t a, int32_t b)
{
    return (uint64_t)a << 32 | (uint32_t)b;
}

void tokenizer_pairs_add(tokenizer_pairs *p, int32_t left, int32_t right, int32_t made)
{
    PUPIL_GROW(p->made, p->n, p->cap);
    p->made[p->n++] = made;
    map64_set(&p->rank, pair_key(left, right), p->n);
}

int64_t tokenizer_pairs_find(const tokenizer_pairs *p, int32_t left, int32_t right)
{
    return map64_get(&p->rank, pair_key(left, right)) - 1;
}

void tokenizer_pairs_free(tokenizer_pairs *p)
{
    map64_free(&p->rank);
    pupil_free(&p->made);
    *p = (tokenizer_pairs){0};
}

static void push(tokenizer_merger *m, struct tokenizer_waiting w)
{
    PUPIL_GROW(m->heap, m->waiting, m->heap_cap);
    int64_t i = m->waiting++;
    for (; i && m->heap[(i - 1) / 2].key > w.key; i = (i - 1) / 2) m->heap[i] = m->heap[(i - 1) / 2];
    m->heap[i] = w;
}

static struct tokenizer_waiting pop(tokenizer_merger *m)
{
    struct tokenizer_waiting top = m->heap[0], last = m->heap[--m->waiting];
    int64_t i = 0;
    for (int64_t c; (c = 2 * i + 1) < m->waiting; i = c) {
        if (c + 1 < m->waiting && m->heap[c + 1].key < m->heap[c].key) c++;
        if (m->heap[c].key >= last.key) break;
        m->heap[i] = m->heap[c];
    }
    m->heap[i] = last;
    return top;
}

/* What symbol i and the one after it become, or -1. */
static int32_t join_at(const tokenizer_merger *m, int32_t i, tokenizer_join join, const void *model,
                       uint32_t *order)
{
    const struct tokenizer_symbol *s = &m->symbol[i];
    return s->id == -1 || s->after < 0 ? -1 : join(model, s, &m->symbol[s->after], order);
}

static void offer(tokenizer_merger *m, int32_t i, tokenizer_join join, const void *model)
{
    uint32_t order = 0;
    int32_t made = i < 0 ? -1 : join_at(m, i, join, model, &order);
    if (made >= 0) push(m, (struct tokenizer_waiting){(uint64_t)order << 32 | (uint32_t)i, made});
}

void tokenizer_merger_begin(tokenizer_merger *m, int64_t n)
{
    PUPIL_GROW(m->symbol, n, m->cap);
    memset(m->symbol, 0, (size_t)n * sizeof *m->symbol);
}

void tokenizer_merge(tokenizer_merger *m, int32_t n, tokenizer_join join, const void *model)
{
    for (int32_t i = 0; i < n; i++) {
        m->symbol[i].before = i - 1;
        m->symbol[i].after = i == n - 1 ? -1 : i + 1;
    }
    for (int32_t i = 0; i < n; i++) offer(m, i, join, model);
    while (m->waiting) {
        struct tokenizer_waiting w = pop(m);
        int32_t i = (int32_t)(uint32_t)w.key;
        uint32_t order;
        if (join_at(m, i, join, model, &order) != w.made) continue; /* joined otherwise meanwhile */
        struct tokenizer_symbol *s = &m->symbol[i], *gone = &m->symbol[s->after];
        s->id = w.made;
        s->len += gone->len;
        s->after = gone->after;
        gone->id = -1;
        if (s->after >= 0) m->symbol[s->after].before = i;
        offer(m, s->before, join, model);
        offer(m, i, join, model);
    }
}

void tokenizer_merger_end(tokenizer_merger *m)
{
    pupil_free(&m->symbol);
    pupil_free(&m->heap);
}
