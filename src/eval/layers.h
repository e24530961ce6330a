/* layers.h (private to eval): the two sublayers that the reader and the fusion head are made of, as Llama has them:
 *   attention: x + out(softmax(q k') v),  q = Wq norm(x),  [k | v] = Wkv norm(y)
 *   MLP:       x + down(silu(g) u),       [g | u] = Wup norm(x)
 * with RMS norms, without biases; y is x itself, or rows of another stream. */
#ifndef PUPIL_EVAL_LAYERS_H
#define PUPIL_EVAL_LAYERS_H

#include "pupil/model.h"

/* Floats that are all given back at once. What was taken stays where it is until then. */
typedef struct {
    float **block;
    int64_t *room, blocks, at, used;
} arena;
float *arena_take(arena *a, int64_t n); /* their values are left over */
void arena_reset(arena *a);
void arena_free(arena *a);

typedef struct {
    int64_t width, heads, kv_heads, hd, mlp;
    float eps;
    float *zeros; /* [2 * mlp] */
} layer_shape;

/* Offsets in the flat array. */
typedef struct {
    int64_t norm, norm_y, q, kv, out; /* norm_y is norm where rows look at their own stream */
} attend_at;
typedef struct {
    int64_t norm, up, down;
} mlp_at;
attend_at attend_add(pupil_table *t, const layer_shape *s, const char *prefix, bool cross, double out_std);
mlp_at mlp_add(pupil_table *t, const layer_shape *s, const char *prefix, double out_std);

static inline float *grad_at(float *g, int64_t offset) { return g ? g + offset : NULL; }

/* Angles of positions: [positions, hd/2]. */
typedef struct {
    float *cosine, *sine;
} rotary;
rotary rotary_new(int64_t positions, int64_t hd, double base);
void rotary_free(rotary *r);

/* Rows x ask rows y. */
typedef struct {
    const float *x, *y; /* equal: each row is normed once */
    int64_t rows, rows_y;
    pupil_spans spans;
    bool causal;
    const rotary *rope;          /* NULL: rows are not turned */
    const int32_t *at, *at_y;    /* their positions */
    float *cache;                /* NULL, or where keys and values are kept: those of row r of y become row to[r], and spans.k */
    const int32_t *to;           /* counts rows of the cache */
    float *nx, *rx, *ny, *ry, *q, *kv, *att, *out; /* made by forward */
} attend_acts;
void attend_forward(const layer_shape *s, const attend_at *at, const float *w, arena *m, attend_acts *a);
/* dx: the gradient of `out` becomes that of x. dy += that of y; where y is x, it is dx. g +=; NULL: the weights are frozen. */
void attend_backward(const layer_shape *s, const attend_at *at, const float *w, arena *m, const attend_acts *a, float *dx, float *dy,
                     float *g);

typedef struct {
    const float *x;
    int64_t rows;
    float *nx, *rx, *h, *g, *out;
} mlp_acts;
void mlp_forward(const layer_shape *s, const mlp_at *at, const float *w, arena *m, mlp_acts *a);
void mlp_backward(const layer_shape *s, const mlp_at *at, const float *w, arena *m, const mlp_acts *a, float *dx, float *g);

#endif
