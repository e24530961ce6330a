/* layers.c: attention and MLP sublayers, forward and backward, over packed rows. */
#include "layers.h"

#include "pupil/math.h"

#include <math.h>
#include <string.h>

/* ---- memory --------------------------------------------------------------------------------------- */
float *arena_take(arena *a, int64_t n)
{
    enum { LEAST = 1 << 20 };
    n = (n + 15) / 16 * 16;
    while (a->at < a->blocks && a->used + n > a->room[a->at]) a->at++, a->used = 0;
    if (a->at == a->blocks) {
        size_t had = (size_t)a->blocks++;
        a->block = pupil_realloc(a->block, had * sizeof *a->block, (had + 1) * sizeof *a->block);
        a->room = pupil_realloc(a->room, had * sizeof *a->room, (had + 1) * sizeof *a->room);
        a->room[had] = PUPIL_MAX(n, (int64_t)LEAST);
        a->block[had] = pupil_alloc((size_t)a->room[had] * sizeof(float));
    }
    float *p = a->block[a->at] + a->used;
    a->used += n;
    return p;
}

void arena_reset(arena *a) { a->at = a->used = 0; }

void arena_free(arena *a)
{
    for (int64_t i = 0; i < a->blocks; i++) pupil_free(&a->block[i]);
    pupil_free(&a->block);
    pupil_free(&a->room);
}

/* ---- tensors -------------------------------------------------------------------------------------- */
static int64_t add(pupil_table *t, const char *prefix, const char *name, int64_t rows, int64_t cols, pupil_init init, double value)
{
    char whole[96];
    snprintf(whole, sizeof whole, "%s%s", prefix, name);
    return pupil_table_add(t, whole, cols ? 2 : 1, (int64_t[]){rows, cols}, init, value);
}

attend_at attend_add(pupil_table *t, const layer_shape *s, const char *prefix, bool cross, double out_std)
{
    attend_at a;
    double std = pow((double)s->width, -0.5);
    a.norm = a.norm_y = add(t, prefix, "norm.weight", s->width, 0, PUPIL_INIT_CONST, 1);
    if (cross) a.norm_y = add(t, prefix, "norm_y.weight", s->width, 0, PUPIL_INIT_CONST, 1);
    a.q = add(t, prefix, "q.weight", s->heads * s->hd, s->width, PUPIL_INIT_NORMAL, std);
    a.kv = add(t, prefix, "kv.weight", 2 * s->kv_heads * s->hd, s->width, PUPIL_INIT_NORMAL, std);
    a.out = add(t, prefix, "out.weight", s->width, s->heads * s->hd, PUPIL_INIT_NORMAL, out_std);
    return a;
}

mlp_at mlp_add(pupil_table *t, const layer_shape *s, const char *prefix, double out_std)
{
    mlp_at a;
    a.norm = add(t, prefix, "norm.weight", s->width, 0, PUPIL_INIT_CONST, 1);
    a.up = add(t, prefix, "up.weight", 2 * s->mlp, s->width, PUPIL_INIT_NORMAL, pow((double)s->width, -0.5));
    a.down = add(t, prefix, "down.weight", s->width, s->mlp, PUPIL_INIT_NORMAL, out_std);
    return a;
}

rotary rotary_new(int64_t positions, int64_t hd, double base)
{
    size_t bytes = (size_t)(positions * (hd / 2)) * sizeof(float);
    rotary r = {pupil_alloc(bytes), pupil_alloc(bytes)};
    for (int64_t p = 0; p < positions; p++)
        for (int64_t i = 0; i < hd / 2; i++) {
            double angle = (double)p * pow(base, -2.0 * (double)i / (double)hd);
            r.cosine[p * (hd / 2) + i] = (float)cos(angle);
            r.sine[p * (hd / 2) + i] = (float)sin(angle);
        }
    return r;
}

void rotary_free(rotary *r)
{
    pupil_free(&r->cosine);
    pupil_free(&r->sine);
}

/* ---- attention ------------------------------------------------------------------------------------ */
static void turn(const layer_shape *s, const attend_acts *a, float *q, float *kv, bool inverse)
{
    if (!a->rope) return;
    pupil_rope_halves(q, s->heads * s->hd, a->rope->cosine, a->rope->sine, a->at, a->rows, s->heads, s->hd, inverse);
    pupil_rope_halves(kv, 2 * s->kv_heads * s->hd, a->rope->cosine, a->rope->sine, a->at_y, a->rows_y, s->kv_heads, s->hd, inverse);
}

/* x + y w' into a fresh array. */
static float *add_projected(arena *m, const float *x, const float *y, const float *w, int64_t rows, int64_t in, int64_t out)
{
    float *sum = arena_take(m, rows * out);
    memcpy(sum, x, (size_t)(rows * out) * sizeof *sum);
    pupil_gemm(false, true, rows, out, in, 1, y, in, w, in, 1, sum, out);
    return sum;
}

void attend_forward(const layer_shape *s, const attend_at *at, const float *w, arena *m, attend_acts *a)
{
    int64_t wq = s->heads * s->hd, wkv = s->kv_heads * s->hd;
    bool self = a->x == a->y;
    a->nx = a->ny = arena_take(m, a->rows * s->width);
    a->rx = a->ry = arena_take(m, a->rows);
    pupil_rmsnorm_forward(a->nx, a->rx, a->x, w + at->norm, a->rows, s->width, s->eps);
    if (!self) {
        a->ny = arena_take(m, a->rows_y * s->width);
        a->ry = arena_take(m, a->rows_y);
        pupil_rmsnorm_forward(a->ny, a->ry, a->y, w + at->norm_y, a->rows_y, s->width, s->eps);
    }
    a->q = arena_take(m, a->rows * wq);
    a->kv = arena_take(m, a->rows_y * 2 * wkv);
    a->att = arena_take(m, a->rows * wq);
    pupil_linear_forward(a->q, a->nx, w + at->q, NULL, a->rows, s->width, wq);
    pupil_linear_forward(a->kv, a->ny, w + at->kv, NULL, a->rows_y, s->width, 2 * wkv);
    turn(s, a, a->q, a->kv, false);
    for (int64_t r = 0; a->cache && r < a->rows_y; r++)
        memcpy(a->cache + a->to[r] * 2 * wkv, a->kv + r * 2 * wkv, (size_t)(2 * wkv) * sizeof *a->kv);
    const float *k = a->cache ? a->cache : a->kv;
    pupil_attend_forward(a->att, a->q, wq, k, k + wkv, 2 * wkv, &a->spans, &(pupil_heads){s->heads, s->kv_heads, s->hd, a->causal});
    a->out = add_projected(m, a->x, a->att, w + at->out, a->rows, wq, s->width);
}

void attend_backward(const layer_shape *s, const attend_at *at, const float *w, arena *m, const attend_acts *a, float *dx, float *dy,
                     float *g)
{
    int64_t wq = s->heads * s->hd, wkv = s->kv_heads * s->hd;
    float *datt = arena_take(m, a->rows * wq), *dq = arena_take(m, a->rows * wq), *dkv = arena_take(m, a->rows_y * 2 * wkv);
    float *dnx = arena_take(m, a->rows * s->width), *dny = arena_take(m, a->rows_y * s->width);
    pupil_linear_backward(datt, grad_at(g, at->out), NULL, dx, a->att, w + at->out, a->rows, wq, s->width);
    pupil_attend_backward(dq, dkv, dkv + wkv, datt, a->q, wq, a->kv, a->kv + wkv, 2 * wkv, &a->spans,
                          &(pupil_heads){s->heads, s->kv_heads, s->hd, a->causal});
    turn(s, a, dq, dkv, true);
    pupil_linear_backward(dnx, grad_at(g, at->q), NULL, dq, a->nx, w + at->q, a->rows, s->width, wq);
    pupil_linear_backward(dny, grad_at(g, at->kv), NULL, dkv, a->ny, w + at->kv, a->rows_y, s->width, 2 * wkv);
    if (a->x == a->y) pupil_add(dnx, dny, a->rows * s->width);
    else pupil_rmsnorm_backward(dy, grad_at(g, at->norm_y), dny, a->y, a->ry, w + at->norm_y, a->rows_y, s->width);
    pupil_rmsnorm_backward(dx, grad_at(g, at->norm), dnx, a->x, a->rx, w + at->norm, a->rows, s->width);
}

/* ---- MLP ------------------------------------------------------------------------------------------ */
void mlp_forward(const layer_shape *s, const mlp_at *at, const float *w, arena *m, mlp_acts *a)
{
    a->nx = arena_take(m, a->rows * s->width);
    a->rx = arena_take(m, a->rows);
    a->h = arena_take(m, a->rows * 2 * s->mlp);
    a->g = arena_take(m, a->rows * s->mlp);
    pupil_rmsnorm_forward(a->nx, a->rx, a->x, w + at->norm, a->rows, s->width, s->eps);
    pupil_linear_forward(a->h, a->nx, w + at->up, NULL, a->rows, s->width, 2 * s->mlp);
    pupil_bias_swiglu_forward(a->g, a->h, s->zeros, a->rows, s->mlp);
    a->out = add_projected(m, a->x, a->g, w + at->down, a->rows, s->mlp, s->width);
}

void mlp_backward(const layer_shape *s, const mlp_at *at, const float *w, arena *m, const mlp_acts *a, float *dx, float *g)
{
    float *dg = arena_take(m, a->rows * s->mlp), *dh = arena_take(m, a->rows * 2 * s->mlp), *dnx = arena_take(m, a->rows * s->width);
    pupil_linear_backward(dg, grad_at(g, at->down), NULL, dx, a->g, w + at->down, a->rows, s->mlp, s->width);
    pupil_swiglu_backward(dh, dg, a->h, a->rows, s->mlp);
    pupil_linear_backward(dnx, grad_at(g, at->up), NULL, dh, a->nx, w + at->up, a->rows, s->width, 2 * s->mlp);
    pupil_rmsnorm_backward(dx, grad_at(g, at->norm), dnx, a->x, a->rx, w + at->norm, a->rows, s->width);
}
