/* feature.c: the student's and teachers' features as the terms want them, forward and backward, and feature
 * distillation, which compares them one by one.
 *
 *   unit    v = x / |x|
 *   head    v' = normalise(W x + b) where a teacher's width is another (plain heads: W v + b); else v itself
 *   fused   normalise(A [v; V] + a). CLIP-KD's A has the width d_s + d_t, which its code can use for equal
 * widths only, as it puts v' beside V; with v itself the published form works for all widths and is the same
 * for equal ones
 */
#include "parts.h"

/* What a stream's features are trained with: tensors of the image side or of the text side. */
static int of_side(int stream, int image, int text)
{
    return stream == IMAGE ? image : text;
}

static bool raw_wanted(const pupil_loss *l)
{
    return (on(l, PUPIL_TERM_RKD_DISTANCE) && term_of(l, PUPIL_TERM_RKD_DISTANCE)->raw) ||
           (on(l, PUPIL_TERM_RKD_ANGLE) && term_of(l, PUPIL_TERM_RKD_ANGLE)->raw);
}

void features_new(pupil_loss *l)
{
    const pupil_loss_conf *c = &l->c;
    bool heads = pupil_loss_wants(c, PUPIL_WANTS_HEADS), fusion = pupil_loss_wants(c, PUPIL_WANTS_FUSION);
    for (int s = 0; s <= l->captions; s++) {
        l->unit[s] = loss_matrix(l, c->dim, true, true);
        if (raw_wanted(l)) l->raw[s] = loss_matrix(l, c->dim, false, true);
        for (int k = 0; k < c->teachers && pupil_loss_wants(c, PUPIL_WANTS_TEACHER); k++) {
            int64_t dt = c->teacher[k].dim;
            l->teacher[k][s] = loss_matrix(l, dt, true, false);
            l->head[k][s] = heads && dt != c->dim ? loss_matrix(l, dt, !c->plain_heads, true) : l->unit[s];
            if (fusion) l->fused[k][s] = loss_matrix(l, c->dim, true, true);
        }
    }
}

static void normalise(const pupil_loss *l, const slot *at, matrix *m, const float *x)
{
    pupil_normalize_forward(m->rows + at->first * m->width, m->norm + at->first, x, l->rows, m->width);
}

static const float *own(const matrix *m, const slot *at)
{
    return m->rows + at->first * m->width;
}

/* dx += gradient of the normalised rows of m. */
static void unnormalise(const pupil_loss *l, const slot *at, float *dx, const matrix *m)
{
    pupil_normalize_backward(dx, m->grad, own(m, at), m->norm + at->first, l->rows, m->width);
}

/* [v; V] row by row into out. */
static void beside(const pupil_loss *l, const slot *at, float *out, const matrix *v, const matrix *V)
{
    int64_t w = v->width + V->width;
    for (int64_t i = 0; i < l->rows; i++) {
        memcpy(out + i * w, own(v, at) + i * v->width, (size_t)v->width * sizeof *out);
        memcpy(out + i * w + v->width, own(V, at) + i * V->width, (size_t)V->width * sizeof *out);
    }
}

static void head_forward(pupil_loss *l, const slot *at, int k, int s)
{
    matrix *h = l->head[k][s];
    int w = loss_tensor(l, of_side(s, HEAD_W, HEAD2_W), k);
    const float *x = l->c.plain_heads ? own(l->unit[s], at) : at->in->student[s];
    float *y = l->c.plain_heads ? h->rows + at->first * h->width : l->wide[0];
    pupil_linear_forward(y, x, at->p->tensor[w], at->p->tensor[w + 1], l->rows, l->c.dim, h->width);
    if (!l->c.plain_heads) normalise(l, at, h, y);
}

static void fused_forward(pupil_loss *l, const slot *at, int k, int s)
{
    int w = loss_tensor(l, of_side(s, FUSION_W, FUSION2_W), k);
    beside(l, at, l->wide[0], l->unit[s], l->teacher[k][s]);
    pupil_linear_forward(l->wide[1], l->wide[0], at->p->tensor[w], at->p->tensor[w + 1], l->rows,
                         l->c.dim + l->c.teacher[k].dim, l->c.dim);
    normalise(l, at, l->fused[k][s], l->wide[1]);
}

void features_forward(pupil_loss *l, const slot *at)
{
    for (int s = 0; s <= l->captions; s++) {
        normalise(l, at, l->unit[s], at->in->student[s]);
        if (l->raw[s])
            memcpy(l->raw[s]->rows + at->first * l->c.dim, at->in->student[s],
                   (size_t)(l->rows * l->c.dim) * sizeof(float));
        for (int k = 0; k < l->c.teachers && l->teacher[k][s]; k++) {
            normalise(l, at, l->teacher[k][s], at->in->teacher[k][s]);
            if (l->head[k][s] != l->unit[s]) head_forward(l, at, k, s);
            if (l->fused[k][s]) fused_forward(l, at, k, s);
        }
    }
}

/* ---- backward ------------------------------------------------------------------------------------- */
static void fused_backward(pupil_loss *l, const slot *at, int k, int s)
{
    const matrix *f = l->fused[k][s];
    int64_t n = l->rows, ds = l->c.dim, dt = l->c.teacher[k].dim;
    int w = loss_tensor(l, of_side(s, FUSION_W, FUSION2_W), k);
    memset(l->wide[1], 0, (size_t)(n * ds) * sizeof(float));
    unnormalise(l, at, l->wide[1], f);
    beside(l, at, l->wide[0], l->unit[s], l->teacher[k][s]);
    pupil_linear_backward(l->wide[2], at->g->tensor[w], at->g->tensor[w + 1], l->wide[1], l->wide[0],
                          at->p->tensor[w], n, ds + dt, ds);
    for (int64_t i = 0; i < n; i++) pupil_add(l->unit[s]->grad + i * ds, l->wide[2] + i * (ds + dt), ds);
}

static void head_backward(pupil_loss *l, const slot *at, int k, int s, float *draw)
{
    const matrix *h = l->head[k][s];
    int64_t n = l->rows, ds = l->c.dim, dt = h->width;
    bool plain = l->c.plain_heads;
    int w = loss_tensor(l, of_side(s, HEAD_W, HEAD2_W), k);
    const float *dy = h->grad;
    if (!plain) {
        memset(l->wide[1], 0, (size_t)(n * dt) * sizeof(float));
        unnormalise(l, at, l->wide[1], h);
        dy = l->wide[1];
    }
    pupil_linear_backward(l->wide[2], at->g->tensor[w], at->g->tensor[w + 1], dy,
                          plain ? own(l->unit[s], at) : at->in->student[s], at->p->tensor[w], n, ds, dt);
    pupil_add(plain ? l->unit[s]->grad : draw, l->wide[2], n * ds);
}

void features_backward(pupil_loss *l, const slot *at, float *const dstudent[PUPIL_LOSS_STREAMS])
{
    int64_t count = l->rows * l->c.dim;
    for (int s = 0; s <= l->captions; s++) {
        if (l->raw[s]) memcpy(dstudent[s], l->raw[s]->grad, (size_t)count * sizeof(float));
        else memset(dstudent[s], 0, (size_t)count * sizeof(float));
        for (int k = 0; k < l->c.teachers; k++) {
            if (l->fused[k][s]) fused_backward(l, at, k, s);
            if (l->head[k][s] && l->head[k][s] != l->unit[s]) head_backward(l, at, k, s, dstudent[s]);
        }
        unnormalise(l, at, dstudent[s], l->unit[s]);
    }
}

/* ---- feature distillation ------------------------------------------------------------------------- */
static void fd_open(pupil_loss *l)
{
    (void)l;
}

static void fd_rows(pupil_loss *l, const slot *at, int k, int s)
{
    const pupil_loss_term *t = term_of(l, PUPIL_TERM_FD);
    const matrix *h = l->head[k][s];
    const float *x = own(h, at), *y = own(l->teacher[k][s], at);
    double mean = 1 / ((double)l->c.batch * (t->sum ? 1 : (double)h->width));
    double share = mean * l->c.teacher[k].weight * times_seen(l, s), sum = 0;
    float pull = (float)(2 * t->weight * share);
    for (int64_t i = 0; i < l->rows * h->width; i++) {
        float d = x[i] - y[i];
        sum += (double)d * (double)d;
        h->grad[i] += pull * d;
    }
    at->value[PUPIL_TERM_FD] += share * sum;
}

static void fd_grad(pupil_loss *l, const slot *at)
{
    for (int k = 0; k < l->c.teachers && on(l, PUPIL_TERM_FD); k++)
        for (int s = 0; s <= l->captions; s++)
            if (side_on(term_of(l, PUPIL_TERM_FD), s)) fd_rows(l, at, k, s);
}

const family family_fd = {fd_open, NULL, fd_grad};
