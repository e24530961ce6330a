/* sigmoid.c: pairs judged one by one: SigLIP's labels (+1 on the diagonal, -1 elsewhere) and MobileCLIP2's
 * soft labels y = 2 mean_k sigmoid(S_k V T^T + b_k) - 1. With x = y (s v_i t_j + b): value softplus(-x), dz =
 * -y sigmoid(-x). The entries of an image's row and of a text's row are the same, so values, scale and bias
 * count on the image side. */
#include "parts.h"

static const int terms[] = {PUPIL_TERM_SIGMOID, PUPIL_TERM_SOFT_SIGMOID};

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

static void sigmoid_open(pupil_loss *l)
{
    if (!pupil_loss_wants(&l->c, PUPIL_WANTS_BIAS)) return;
    loss_squares(l, 4);
    for (int s = 0; s <= l->captions; s++) {
        loss_share(l->unit[s], 0);
        for (int k = 0; k < l->c.teachers && on(l, PUPIL_TERM_SOFT_SIGMOID); k++)
            loss_share(l->teacher[k][s], 0);
    }
}

static void labels(pupil_loss *l, const slot *at, int term, int own, int all, double *y)
{
    int64_t n = l->rows, b = l->c.batch;
    double *z = l->square[3];
    for (int64_t i = 0; i < n * b; i++) y[i] = -1;
    for (int64_t i = 0; i < n && term == PUPIL_TERM_SIGMOID; i++) y[i * b + at->first + i] = 1;
    for (int k = 0; k < l->c.teachers && term == PUPIL_TERM_SOFT_SIGMOID; k++) {
        const pupil_loss_teacher *t = &l->c.teacher[k];
        double twice = 2 * loss_part(l, k);
        loss_logits(l, at, z, t->scale, l->teacher[k][own], l->teacher[k][all]);
        for (int64_t i = 0; i < n * b; i++) y[i] += twice * sigmoid(z[i] + t->bias);
    }
}

static void judge(pupil_loss *l, const slot *at, int term, int side, int caption)
{
    int own = stream_of(side, caption), all = stream_of(!side, caption), bias_at = loss_tensor(l, BIAS, 0);
    double *z = l->square[0], *g = l->square[1], *y = l->square[2];
    const scale s = {LOGIT, 0, 1};
    double bias = (double)*at->p->tensor[bias_at], weight = l->c.term[term].weight / (double)l->c.batch;
    double value = 0, dbias = 0;
    loss_logits(l, at, z, scale_of(&s, at->p), l->unit[own], l->unit[all]);
    labels(l, at, term, own, all, y);
    for (int64_t i = 0; i < l->rows * l->c.batch; i++) {
        double x = y[i] * (z[i] + bias), d = -weight * y[i] * sigmoid(-x);
        value += fmax(-x, 0) + log1p(exp(-fabs(x)));
        dbias += d;
        g[i] = d;
    }
    loss_pull(l, l->unit[own], scale_of(&s, at->p), g, l->unit[all]);
    if (side != IMAGE) return;
    at->value[term] += value / (double)l->c.batch;
    scale_grad(&s, at, loss_dot(g, z, l->rows * l->c.batch));
    *at->g->tensor[bias_at] += (float)dbias;
}

static void sigmoid_grad(pupil_loss *l, const slot *at)
{
    for (int t = 0; t < PUPIL_COUNT(terms); t++)
        for (int c = 0; c < l->captions && on(l, terms[t]); c++)
            for (int side = 0; side < 2; side++) judge(l, at, terms[t], side, c);
}

const family family_sigmoid = {sigmoid_open, NULL, sigmoid_grad};
