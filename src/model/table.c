/* table.c: the tensor table. Offsets are multiples of 16 floats, so every tensor starts on a cache line. */
#include "pupil/model.h"

#include <string.h>

int64_t pupil_table_add(pupil_table *t, const char *name, int ndim, const int64_t *shape, pupil_init init, double value)
{
    PUPIL_GROW(t->t, t->n, t->cap);
    pupil_tensor *x = &t->t[t->n++];
    *x = (pupil_tensor){.ndim = ndim, .offset = t->total, .count = 1, .init = init, .value = value, .decay = ndim >= 2};
    PUPIL_REQUIRE(strlen(name) < sizeof x->name && ndim <= 4);
    strcpy(x->name, name);
    for (int d = 0; d < ndim; d++) x->count *= x->shape[d] = shape[d];
    t->total += (x->count + 15) / 16 * 16;
    return x->offset;
}

const pupil_tensor *pupil_table_find(const pupil_table *t, const char *name)
{
    for (int64_t i = 0; i < t->n; i++)
        if (!strcmp(t->t[i].name, name)) return &t->t[i];
    return NULL;
}

enum { PIECE = 4096 };

/* Elements first .. end-1 of a tensor: draws are numbered, so any of them can be drawn by itself. */
static void init_elements(const pupil_tensor *x, uint64_t seed, int64_t first, int64_t end, float *params)
{
    /* a stream of its own for each name, so that adding a tensor does not move the others */
    pupil_rng r = pupil_rng_at(seed, PUPIL_STREAM_INIT, pupil_fnv1a(x->name, strlen(x->name)));
    r.counter = 2 * (uint64_t)first;
    for (int64_t j = first; j < end; j++)
        params[x->offset + j] = (float)(x->init == PUPIL_INIT_CONST ? x->value : x->value * pupil_rng_normal(&r));
}

void pupil_table_init_part(const pupil_table *t, uint64_t seed, int part, int of, float *params)
{
    int64_t begin = t->total * part / of, end = t->total * (part + 1) / of;
    for (int64_t i = 0; i < t->n; i++) {
        const pupil_tensor *x = &t->t[i];
        int64_t first = PUPIL_MAX(begin - x->offset, (int64_t)0), last = PUPIL_MIN(end - x->offset, x->count);
#pragma omp parallel for schedule(static)
        for (int64_t j = first; j < last; j += PIECE) init_elements(x, seed, j, PUPIL_MIN(last, j + PIECE), params);
    }
}

void pupil_table_init(const pupil_table *t, uint64_t seed, float *params)
{
    memset(params, 0, (size_t)t->total * sizeof *params);
    pupil_table_init_part(t, seed, 0, 1, params);
}

void pupil_table_free(pupil_table *t)
{
    pupil_free(&t->t);
    *t = (pupil_table){0};
}
