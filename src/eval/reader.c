/* reader.c: the generative reader: its tensors, its forward pass and the gradient of its loss.
 *
 * Sequences are packed without padding. The last block computes keys and values for all rows, but queries and MLP for the
 * rows that are read out alone. What decodes one id at a time (reader_continue.c) walks the same way, over a cache. */
#include "reader.h"

#include "pupil/math.h"

#include <math.h>
#include <string.h>

int64_t pupil_reader_mlp(int64_t width) { return (8 * width / 3 + 15) / 16 * 16; }

static int64_t add(pupil_table *t, const char *name, int64_t rows, int64_t cols, double std)
{
    return pupil_table_add(t, name, cols ? 2 : 1, (int64_t[]){rows, cols}, std > 0 ? PUPIL_INIT_NORMAL : PUPIL_INIT_CONST, std);
}

pupil_reader *pupil_reader_new(const pupil_reader_arch *a)
{
    pupil_reader *r = pupil_alloc(sizeof *r);
    r->arch = *a;
    r->shape = (layer_shape){a->width, a->heads, a->kv_heads, a->head_width ? a->head_width : a->width / a->heads, a->mlp,
                             (float)(a->eps > 0 ? a->eps : 1e-5), pupil_alloc((size_t)(2 * a->mlp) * sizeof(float))};
    PUPIL_REQUIRE((a->head_width || a->width % a->heads == 0) && a->heads % a->kv_heads == 0 && r->shape.hd % 2 == 0);
    pupil_table *t = &r->table;
    if (a->image_width) {
        r->fc_w = add(t, "projector.0.weight", a->width, a->image_width, pow((double)a->image_width, -0.5));
        r->fc_b = add(t, "projector.0.bias", a->width, 0, 0);
        r->proj_w = add(t, "projector.2.weight", a->width, a->width, 0.1 * pow((double)a->width, -0.5));
        r->proj_b = add(t, "projector.2.bias", a->width, 0, 0);
    }
    r->embed = add(t, "embed.weight", a->vocab, a->width, 0.02);
    r->block = pupil_alloc((size_t)a->layers * sizeof *r->block);
    r->attend = pupil_alloc((size_t)a->layers * sizeof *r->attend);
    r->mlp = pupil_alloc((size_t)a->layers * sizeof *r->mlp);
    double out = pow(2.0 * (double)a->layers, -0.5), attend = out * pow((double)a->width, -0.5), mlp = out * pow((double)a->mlp, -0.5);
    for (int64_t l = 0; l < a->layers; l++) {
        char name[2][48];
        snprintf(name[0], sizeof name[0], "blocks.%d.attend.", (int)l);
        snprintf(name[1], sizeof name[1], "blocks.%d.mlp.", (int)l);
        r->block[l] = (reader_block){attend_add(t, &r->shape, name[0], false, attend), mlp_add(t, &r->shape, name[1], mlp)};
    }
    r->norm = pupil_table_add(t, "norm.weight", 1, &a->width, PUPIL_INIT_CONST, 1);
    r->head = a->untied ? add(t, "head.weight", a->vocab, a->width, 0.02) : r->embed;
    for (int64_t i = 0; i < t->n; i++) t->t[i].frozen = a->frozen && t->t[i].offset >= r->embed;
    r->rope = rotary_new(a->longest, r->shape.hd, a->theta > 0 ? a->theta : 10000);
    return r;
}

void pupil_reader_free(pupil_reader **r)
{
    if (!*r) return;
    pupil_free(&(*r)->shape.zeros);
    pupil_free(&(*r)->block);
    pupil_free(&(*r)->attend);
    pupil_free(&(*r)->mlp);
    pupil_table_free(&(*r)->table);
    rotary_free(&(*r)->rope);
    arena_free(&(*r)->memory);
    pupil_free(r);
}

const pupil_table *pupil_reader_table(const pupil_reader *r) { return &r->table; }
int64_t pupil_reader_trained(const pupil_reader *r) { return r->arch.frozen ? r->embed : r->table.total; }

/* ---- the stream ----------------------------------------------------------------------------------- */
static int32_t *take_ints(arena *m, int64_t n)
{
    _Static_assert(sizeof(int32_t) == sizeof(float), "one arena for both");
    return (int32_t *)(void *)arena_take(m, n);
}

static void count_rows(pupil_reader *r, bool given, reader_batch *b)
{
    arena *m = &r->memory;
    b->first = take_ints(m, b->n), b->count = b->seen = take_ints(m, b->n);
    b->tail_first = take_ints(m, b->n), b->tail = take_ints(m, b->n);
    for (int64_t i = 0; i < b->n; i++) {
        const pupil_reading *it = &b->item[i];
        int64_t pictures = r->arch.image_width ? it->image_rows : 0, ids = given ? it->given : it->n - 1;
        PUPIL_REQUIRE(it->given >= 1 && pictures + ids <= r->arch.longest && (given || it->given < it->n));
        b->first[i] = (int32_t)b->rows, b->count[i] = (int32_t)(pictures + ids);
        b->tail_first[i] = (int32_t)b->tails, b->tail[i] = given ? 1 : it->n - it->given;
        b->rows += b->count[i];
        b->tails += b->tail[i];
        b->image_rows += pictures;
    }
}

static void project(pupil_reader *r, const float *params, reader_batch *b, float *out)
{
    int64_t width = r->arch.width, in = r->arch.image_width, at = 0;
    b->pixels = arena_take(&r->memory, b->image_rows * in);
    b->h = arena_take(&r->memory, b->image_rows * width);
    b->act = arena_take(&r->memory, b->image_rows * width);
    for (int64_t i = 0; i < b->n; at += b->item[i++].image_rows)
        pupil_f16_unpack(b->pixels + at * in, b->item[i].image, b->item[i].image_rows * in);
    pupil_linear_forward(b->h, b->pixels, params + r->fc_w, NULL, b->image_rows, in, width);
    pupil_bias_act_forward(b->act, b->h, params + r->fc_b, b->image_rows, width, PUPIL_GELU);
    pupil_linear_forward(out, b->act, params + r->proj_w, params + r->proj_b, b->image_rows, width, width);
}

void reader_pack(pupil_reader *r, const float *params, const pupil_reading *item, int64_t n, bool given, reader_batch *b)
{
    int64_t width = r->arch.width, seen = 0;
    *b = (reader_batch){.item = item, .n = n};
    count_rows(r, given, b);
    b->at = take_ints(&r->memory, b->rows);
    b->tail_row = take_ints(&r->memory, b->tails), b->tail_at = take_ints(&r->memory, b->tails);
    b->x = arena_take(&r->memory, b->rows * width);
    float *projected = arena_take(&r->memory, b->image_rows * width);
    if (r->arch.image_width) project(r, params, b, projected);
    for (int64_t i = 0; i < n; i++) {
        int64_t pictures = r->arch.image_width ? item[i].image_rows : 0;
        float *x = b->x + b->first[i] * width;
        memcpy(x, projected + seen * width, (size_t)(pictures * width) * sizeof *x);
        for (int64_t k = pictures; k < b->count[i]; k++)
            memcpy(x + k * width, params + r->embed + item[i].ids[k - pictures] * width, (size_t)width * sizeof *x);
        for (int32_t k = 0; k < b->count[i]; k++) b->at[b->first[i] + k] = k;
        for (int32_t k = 0; k < b->tail[i]; k++) {
            b->tail_at[b->tail_first[i] + k] = b->count[i] - b->tail[i] + k;
            b->tail_row[b->tail_first[i] + k] = b->first[i] + b->count[i] - b->tail[i] + k;
        }
        seen += pictures;
    }
}

/* ---- the decoder ---------------------------------------------------------------------------------- */
/* x[row[i],:] in the order of row. */
static float *gather(pupil_reader *r, const float *x, const int32_t *row, int64_t n)
{
    int64_t width = r->arch.width;
    float *y = arena_take(&r->memory, n * width);
    for (int64_t i = 0; i < n; i++) memcpy(y + i * width, x + row[i] * width, (size_t)width * sizeof *y);
    return y;
}

void reader_forward(pupil_reader *r, const float *params, const reader_batch *b, float *const *cache, const int32_t *key,
                    const int32_t *to, reader_end *e)
{
    arena *m = &r->memory;
    const float *x = b->x;
    for (int64_t l = 0; l < r->arch.layers; l++) {
        attend_acts *a = &r->attend[l];
        *a = (attend_acts){.x = x, .y = x, .rows = b->rows, .rows_y = b->rows, .causal = true, .rope = &r->rope, .at = b->at, .at_y = b->at,
                           .cache = cache ? cache[l] : NULL, .to = to};
        a->spans = (pupil_spans){b->first, b->count, cache ? key : b->first, b->seen, b->n};
        if (l + 1 == r->arch.layers) {
            a->x = gather(r, x, b->tail_row, b->tails);
            a->rows = b->tails, a->at = b->tail_at;
            a->spans.q = b->tail_first, a->spans.nq = b->tail;
        }
        attend_forward(&r->shape, &r->block[l].attend, params, m, a);
        r->mlp[l] = (mlp_acts){.x = a->out, .rows = a->rows};
        mlp_forward(&r->shape, &r->block[l].mlp, params, m, &r->mlp[l]);
        x = r->mlp[l].out;
    }
    e->normed = arena_take(m, b->tails * r->arch.width);
    e->rstd = arena_take(m, b->tails);
    e->z = arena_take(m, b->tails * r->arch.vocab);
    pupil_rmsnorm_forward(e->normed, e->rstd, x, params + r->norm, b->tails, r->arch.width, r->shape.eps);
    pupil_linear_forward(e->z, e->normed, params + r->head, NULL, b->tails, r->arch.width, r->arch.vocab);
}

/* z becomes the gradient of the returned sum, times scale. */
static double cross_entropy(const pupil_reader *r, const reader_batch *b, float *z, double scale)
{
    int64_t vocab = r->arch.vocab;
    double sum = 0, *lse = pupil_alloc((size_t)b->tails * sizeof *lse);
    pupil_logsumexp_rows(lse, z, b->tails, vocab);
    for (int64_t i = 0, row = 0; i < b->n; i++)
        for (int64_t k = b->item[i].given; k < b->item[i].n; k++, row++) sum += lse[row] - (double)z[row * vocab + b->item[i].ids[k]];
    pupil_exp_minus(z, z, lse, NULL, b->tails, vocab);
    for (int64_t i = 0, row = 0; i < b->n; i++)
        for (int64_t k = b->item[i].given; k < b->item[i].n; k++, row++) z[row * vocab + b->item[i].ids[k]] -= 1;
    for (int64_t i = 0; i < b->tails * vocab; i++) z[i] *= (float)scale;
    pupil_free(&lse);
    return sum * scale;
}

/* dx: gradient of the stream that entered the decoder -> embeddings and projector. */
static void stem_backward(pupil_reader *r, const float *params, const reader_batch *b, const float *dx, float *g)
{
    int64_t width = r->arch.width, seen = 0;
    float *d = arena_take(&r->memory, b->image_rows * width), *dh = arena_take(&r->memory, b->image_rows * width);
    for (int64_t i = 0; i < b->n; i++) {
        int64_t pictures = r->arch.image_width ? b->item[i].image_rows : 0;
        const float *di = dx + b->first[i] * width;
        memcpy(d + seen * width, di, (size_t)(pictures * width) * sizeof *d);
        for (int64_t k = pictures; k < b->count[i] && !r->arch.frozen; k++) pupil_add(g + r->embed + b->item[i].ids[k - pictures] * width, di + k * width, width);
        seen += pictures;
    }
    if (!r->arch.image_width) return;
    pupil_linear_backward(dh, g + r->proj_w, g + r->proj_b, d, b->act, params + r->proj_w, b->image_rows, width, width);
    pupil_act_backward(dh, dh, b->h, b->image_rows * width, PUPIL_GELU);
    pupil_linear_backward(NULL, g + r->fc_w, g + r->fc_b, dh, b->pixels, params + r->fc_w, b->image_rows, r->arch.image_width, width);
}

static void walk_backward(pupil_reader *r, const float *params, const reader_batch *b, const reader_end *e, float *g)
{
    int64_t width = r->arch.width, layers = r->arch.layers;
    arena *m = &r->memory;
    float *own = r->arch.frozen ? NULL : g; /* where the decoder's gradients go */
    float *dn = arena_take(m, b->tails * width), *dtail = arena_take(m, b->tails * width), *dx = arena_take(m, b->rows * width);
    pupil_linear_backward(dn, grad_at(own, r->head), NULL, e->z, e->normed, params + r->head, b->tails, width, r->arch.vocab);
    memset(dtail, 0, (size_t)(b->tails * width) * sizeof *dtail);
    pupil_rmsnorm_backward(dtail, grad_at(own, r->norm), dn, r->mlp[layers - 1].out, e->rstd, params + r->norm, b->tails, width);
    memset(dx, 0, (size_t)(b->rows * width) * sizeof *dx);
    for (int64_t l = layers - 1; l >= 0; l--) {
        bool last = l + 1 == layers;
        float *d = last ? dtail : dx;
        mlp_backward(&r->shape, &r->block[l].mlp, params, m, &r->mlp[l], d, own);
        attend_backward(&r->shape, &r->block[l].attend, params, m, &r->attend[l], d, dx, own);
        for (int64_t i = 0; last && i < b->tails; i++) pupil_add(dx + b->tail_row[i] * width, dtail + i * width, width);
    }
    stem_backward(r, params, b, dx, g);
}

double pupil_reader_gradient(pupil_reader *r, const float *params, const pupil_reading *item, int64_t n, double scale, float *grads)
{
    reader_batch b;
    reader_end e;
    if (n == 0) return 0;
    arena_reset(&r->memory);
    reader_pack(r, params, item, n, false, &b);
    reader_forward(r, params, &b, NULL, NULL, NULL, &e);
    double loss = cross_entropy(r, &b, e.z, scale);
    walk_backward(r, params, &b, &e, grads);
    return loss;
}
