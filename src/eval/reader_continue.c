/* reader_continue.c: greedy decoding of many texts at once. The given rows are walked in one go and leave their keys and
 * values in a cache; then each step walks one row of every text that is not yet at its end. */
#include "reader.h"

#include "probe.h"
#include "pupil/math.h"

#include <string.h>

/* Texts that are still being continued, in their order. */
typedef struct {
    pupil_reader *r;
    const float *params;
    float **cache;        /* [layers]: [n * room, keys and values] */
    int64_t room;         /* rows of a text */
    int32_t *length;      /* rows in the cache, by text */
    int32_t *alive, *id;  /* [live]: which text, and the id it goes on with */
    int64_t live;
} decoding;

/* Rows of a batch go where their text's cache ends. */
static void places(decoding *d, const reader_batch *b, int32_t *key, int32_t *to)
{
    for (int64_t i = 0; i < b->n; i++) {
        int32_t text = d->alive[i];
        key[i] = (int32_t)(text * d->room);
        for (int32_t k = 0; k < b->count[i]; k++) to[b->first[i] + k] = key[i] + d->length[text]++;
    }
}

/* The next id of every live text; those that end with `stop` leave. */
static void choose(decoding *d, const float *z, int32_t stop, int64_t most, int32_t *ret_ids, int32_t *ret_n)
{
    int64_t left = 0;
    for (int64_t i = 0; i < d->live; i++) {
        int32_t text = d->alive[i], id = probe_argmax(z + i * d->r->arch.vocab, d->r->arch.vocab);
        if (id == stop) continue;
        ret_ids[text * most + ret_n[text]++] = id;
        if (ret_n[text] == most) continue;
        d->alive[left] = text;
        d->id[left++] = id;
    }
    d->live = left;
}

/* One row of every live text: the batch of a step. */
static void step_batch(decoding *d, reader_batch *b, int32_t *ints)
{
    int64_t n = d->live, width = d->r->arch.width;
    int32_t **each[] = {&b->first, &b->count, &b->seen, &b->at, &b->tail_first, &b->tail, &b->tail_row, &b->tail_at};
    *b = (reader_batch){.n = n, .rows = n, .tails = n, .x = arena_take(&d->r->memory, n * width)};
    for (int k = 0; k < PUPIL_COUNT(each); k++) *each[k] = ints + k * n;
    for (int32_t i = 0; i < n; i++) {
        b->first[i] = b->tail_first[i] = b->tail_row[i] = i;
        b->count[i] = b->tail[i] = 1;
        b->at[i] = b->tail_at[i] = d->length[d->alive[i]];
        b->seen[i] = b->at[i] + 1;
        memcpy(b->x + i * width, d->params + d->r->embed + d->id[i] * width, (size_t)width * sizeof *b->x);
    }
}

static void decode(decoding *d, const pupil_reading *item, int64_t n, int32_t stop, int64_t most, int32_t *ret_ids, int32_t *ret_n)
{
    reader_batch b;
    reader_end e;
    arena_reset(&d->r->memory);
    reader_pack(d->r, d->params, item, n, true, &b);
    int32_t *key = pupil_alloc((size_t)n * sizeof *key), *to = pupil_alloc((size_t)b.rows * sizeof *to);
    int32_t *ints = pupil_alloc((size_t)(8 * n) * sizeof *ints);
    places(d, &b, key, to);
    reader_forward(d->r, d->params, &b, d->cache, key, to, &e);
    choose(d, e.z, stop, most, ret_ids, ret_n);
    while (d->live) {
        arena_reset(&d->r->memory);
        step_batch(d, &b, ints);
        places(d, &b, key, to);
        reader_forward(d->r, d->params, &b, d->cache, key, to, &e);
        choose(d, e.z, stop, most, ret_ids, ret_n);
    }
    pupil_free(&key);
    pupil_free(&to);
    pupil_free(&ints);
}

void pupil_reader_continue(pupil_reader *r, const float *params, const pupil_reading *item, int64_t n, int32_t stop, int64_t most,
                           int32_t *ret_ids, int32_t *ret_n)
{
    decoding d = {.r = r, .params = params, .live = n};
    int64_t layers = r->arch.layers;
    if (n == 0) return;
    for (int64_t i = 0; i < n; i++) d.room = PUPIL_MAX(d.room, (r->arch.image_width ? item[i].image_rows : 0) + item[i].given + most);
    PUPIL_REQUIRE(d.room - 1 <= r->arch.longest);
    d.cache = pupil_alloc((size_t)layers * sizeof *d.cache);
    for (int64_t l = 0; l < layers; l++) d.cache[l] = pupil_alloc((size_t)(n * d.room * 2 * r->shape.kv_heads * r->shape.hd) * sizeof(float));
    d.length = pupil_alloc((size_t)n * sizeof *d.length);
    d.alive = pupil_alloc((size_t)n * sizeof *d.alive), d.id = pupil_alloc((size_t)n * sizeof *d.id);
    for (int32_t i = 0; i < n; i++) d.alive[i] = i, ret_n[i] = 0;
    decode(&d, item, n, stop, most, ret_ids, ret_n);
    for (int64_t l = 0; l < layers; l++) pupil_free(&d.cache[l]);
    pupil_free(&d.cache);
    pupil_free(&d.length);
    pupil_free(&d.alive);
    pupil_free(&d.id);
}
