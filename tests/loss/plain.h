/* plain.h: every term as its formula says it, in double, on whole matrices: what the losses are compared with
 * and differentiated against. */
#ifndef PUPIL_TESTS_LOSS_PLAIN_H
#define PUPIL_TESTS_LOSS_PLAIN_H

#include "pupil/loss.h"
#include "pupil/math.h"

#include "../proof.h"

typedef struct {
    pupil_loss_conf c;
    double *student[PUPIL_LOSS_STREAMS], *teacher[PUPIL_LOSS_TEACHERS][PUPIL_LOSS_STREAMS];
    double log_scale;
    pupil_loss_tensor info[PUPIL_LOSS_TENSORS];
    double *tensor[PUPIL_LOSS_TENSORS];
    int tensors;
} plain;

/* Features of one caption and teacher; image, text. */
typedef struct {
    int64_t n, ds, dt;
    double *raw[2], *v[2], *V[2], *head[2], *fused[2];
} plain_pair;

static inline const double *plain_tensor(const plain *p, const char *base, int k, const char *end)
{
    char name[64];
    if (k) snprintf(name, sizeof name, "loss.%s.%d%s", base, k, end);
    else snprintf(name, sizeof name, "loss.%s%s", base, end);
    for (int i = 0; i < p->tensors; i++)
        if (!strcmp(p->info[i].name, name)) return p->tensor[i];
    return NULL;
}

/* normalise(x w^T + b), or without the normalisation */
static inline double *plain_linear_of(const double *x, const double *w, const double *b, int64_t n,
                                      int64_t in, int64_t out, bool normalised)
{
    double *y = doubles(n * out), *z = doubles(n * out);
    pupil_plain_linear(y, x, w, b, n, in, out);
    if (normalised) pupil_plain_normalize(z, y, n, out);
    else memcpy(z, y, (size_t)(n * out) * sizeof *z);
    pupil_free(&y);
    return z;
}

static inline plain_pair plain_features(const plain *p, int k, int caption)
{
    static const char *const head[2] = {"visual_proj", "text_proj"}, *const fusion[2] = {"visual_fusion_proj",
                                                                                         "text_fusion_proj"};
    plain_pair f = {.n = p->c.batch, .ds = p->c.dim, .dt = p->c.teachers ? p->c.teacher[k].dim : 0};
    for (int s = 0; s < 2; s++) {
        int stream = s ? 1 + caption : 0;
        f.raw[s] = p->student[stream];
        f.v[s] = doubles(f.n * f.ds);
        pupil_plain_normalize(f.v[s], f.raw[s], f.n, f.ds);
        if (!f.dt) continue;
        f.V[s] = doubles(f.n * f.dt);
        pupil_plain_normalize(f.V[s], p->teacher[k][stream], f.n, f.dt);
        const double *w = plain_tensor(p, head[s], k, ".weight"),
                     *A = plain_tensor(p, fusion[s], k, ".weight");
        if (w)
            f.head[s] =
                plain_linear_of(p->c.plain_heads ? f.v[s] : f.raw[s], w, plain_tensor(p, head[s], k, ".bias"),
                                f.n, f.ds, f.dt, !p->c.plain_heads);
        else f.head[s] = f.v[s];
        if (!A) continue;
        double *both = doubles(f.n * (f.ds + f.dt));
        for (int64_t i = 0; i < f.n; i++) {
            memcpy(both + i * (f.ds + f.dt), f.v[s] + i * f.ds, (size_t)f.ds * sizeof *both);
            memcpy(both + i * (f.ds + f.dt) + f.ds, f.V[s] + i * f.dt, (size_t)f.dt * sizeof *both);
        }
        f.fused[s] =
            plain_linear_of(both, A, plain_tensor(p, fusion[s], k, ".bias"), f.n, f.ds + f.dt, f.ds, true);
        pupil_free(&both);
    }
    return f;
}

static inline void plain_features_end(plain_pair *f)
{
    for (int s = 0; s < 2; s++) {
        if (f->head[s] == f->v[s]) f->head[s] = NULL;
        DROP(f->v[s], f->V[s], f->head[s], f->fused[s]);
    }
}

/* ---- matrices [n, n] ------------------------------------------------------------------------------ */
static inline double *plain_logits(const double *a, const double *b, int64_t n, int64_t d, double scale)
{
    double *z = doubles(n * n);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) z[i * n + j] = scale * dot_of(a + i * d, b + j * d, d);
    return z;
}

static inline double *plain_transposed(const double *z, int64_t n)
{
    double *y = doubles(n * n);
    for (int64_t i = 0; i < n * n; i++) y[i / n + i % n * n] = z[i];
    return y;
}

/* In place; log: of the softmax. */
static inline double *plain_softmax(double *z, int64_t n, bool log)
{
    for (int64_t i = 0; i < n; i++) {
        double lse = pupil_plain_logsumexp(z + i * n, n);
        for (int64_t j = 0; j < n; j++) z[i * n + j] = log ? z[i * n + j] - lse : exp(z[i * n + j] - lse);
    }
    return z;
}

typedef enum { P_LABELS, P_CE, P_KL, P_REVERSED } plain_mode;

/* Mean over rows, from student logits z and the target's logits y (or, for cross-entropy, its probabilities);
 * both freed. */
static inline double plain_rows(plain_mode mode, double *z, double *y, int64_t n)
{
    double s = 0;
    plain_softmax(z, n, true);
    if (mode == P_KL || mode == P_REVERSED) plain_softmax(y, n, true);
    for (int64_t i = 0; i < n * n; i++) {
        if (mode == P_LABELS) s -= i % n == i / n ? z[i] : 0;
        if (mode == P_CE) s -= y[i] * z[i];
        if (mode == P_KL) s += exp(y[i]) * (y[i] - z[i]);
        if (mode == P_REVERSED) s += exp(z[i]) * (z[i] - y[i]);
    }
    DROP(z, y);
    return s / (double)n;
}

/* ---- terms ---------------------------------------------------------------------------------------- */
/* The mean of both directions (or the first alone) of a term over logits z = s a b^T and y = S A B^T. */
static inline double plain_both(plain_mode mode, const double *a, const double *b, int64_t d, double s,
                                const double *A, const double *B, int64_t D, double S, int64_t n,
                                bool one_way)
{
    double *z = plain_logits(a, b, n, d, s), *y = A ? plain_logits(A, B, n, D, S) : NULL, v = 0;
    double *zt = plain_transposed(z, n), *yt = A ? plain_transposed(y, n) : NULL;
    if (mode == P_CE) plain_softmax(y, n, false), plain_softmax(yt, n, false);
    v = plain_rows(mode, z, y, n);
    double w = plain_rows(mode, zt, yt, n);
    return one_way ? v : (v + w) / 2;
}

static inline double plain_one(plain_mode mode, const double *a, const double *b, int64_t d, double s,
                               const double *A, const double *B, int64_t D, double S, int64_t n)
{
    return plain_rows(mode, plain_logits(a, b, n, d, s), A ? plain_logits(A, B, n, D, S) : NULL, n);
}

static inline double plain_sigmoid_loss(const double *z, const double *y, double bias, int64_t n)
{
    double s = 0;
    for (int64_t i = 0; i < n * n; i++) s += log1p(exp(-y[i] * (z[i] + bias))) / (double)n;
    return s;
}

static inline double plain_smooth(double u)
{
    return fabs(u) < 1 ? u * u / 2 : fabs(u) - 0.5;
}

static inline double plain_distance(const double *e, int64_t i, int64_t j, int64_t d)
{
    double s = 0;
    for (int64_t k = 0; k < d; k++) s += pow(e[i * d + k] - e[j * d + k], 2);
    return sqrt(s);
}

static inline double plain_rkd_distance(const double *e, int64_t d, const double *E, int64_t D, int64_t n)
{
    double mean = 0, Mean = 0, s = 0, pairs = (double)(n * (n - 1));
    for (int64_t i = 0; i < n * n; i++)
        mean += plain_distance(e, i / n, i % n, d) / pairs,
            Mean += plain_distance(E, i / n, i % n, D) / pairs;
    for (int64_t i = 0; i < n * n; i++)
        s += plain_smooth(plain_distance(e, i / n, i % n, d) / mean -
                          plain_distance(E, i / n, i % n, D) / Mean);
    return s / (double)(n * n);
}

static inline double plain_cosine(const double *e, int64_t j, int64_t i, int64_t k, int64_t d)
{
    double s = 0, a = plain_distance(e, i, j, d), b = plain_distance(e, k, j, d);
    if (a == 0 || b == 0) return 0;
    for (int64_t x = 0; x < d; x++) s += (e[i * d + x] - e[j * d + x]) * (e[k * d + x] - e[j * d + x]);
    return s / (a * b);
}

static inline double plain_rkd_angle(const double *e, int64_t d, const double *E, int64_t D, int64_t n)
{
    double s = 0;
    for (int64_t i = 0; i < n * n * n; i++)
        s += plain_smooth(plain_cosine(e, i / n / n, i / n % n, i % n, d) -
                          plain_cosine(E, i / n / n, i / n % n, i % n, D));
    return s / (double)(n * n * n);
}

/* 1 - mean Pearson correlation of rows. */
static inline double plain_correlation(const double *p, const double *q, int64_t n)
{
    double s = 0;
    for (int64_t i = 0; i < n; i++) {
        double mp = 0, mq = 0, pp = 0, qq = 0, pq = 0;
        for (int64_t j = 0; j < n; j++) mp += p[i * n + j] / (double)n, mq += q[i * n + j] / (double)n;
        for (int64_t j = 0; j < n; j++) {
            double a = p[i * n + j] - mp, b = q[i * n + j] - mq;
            pp += a * a, qq += b * b, pq += a * b;
        }
        s += pq / sqrt(fmax(pp * qq, 1e-16)) / (double)n;
    }
    return 1 - s;
}

static inline double plain_dist(double *z, double *y, const pupil_loss_term *t, int64_t n)
{
    double *p = plain_softmax(z, n, false), *q = plain_softmax(y, n, false), *pt = plain_transposed(p, n),
           *qt = plain_transposed(q, n);
    double v =
        t->tau * t->tau * (t->beta * plain_correlation(p, q, n) + t->gamma * plain_correlation(pt, qt, n));
    DROP(p, q, pt, qt);
    return v;
}

static inline double *plain_standardised(double *z, int64_t n, double tau)
{
    for (int64_t i = 0; i < n; i++) {
        double mean = 0, s = 0;
        for (int64_t j = 0; j < n; j++) mean += z[i * n + j] / (double)n;
        for (int64_t j = 0; j < n; j++) s += pow(z[i * n + j] - mean, 2) / (double)(n - 1);
        for (int64_t j = 0; j < n; j++) z[i * n + j] = (z[i * n + j] - mean) / (sqrt(s) + 1e-7) / tau;
    }
    return z;
}

/* Gradients of CE(D, c p k^T) w.r.t. p and k. */
static inline void plain_contrast(const double *p, const double *k, int64_t n, int64_t d, double c,
                                  double *gp, double *gk)
{
    double *e = plain_softmax(plain_logits(p, k, n, d, c), n, false);
    for (int64_t i = 0; i < n; i++) e[i * n + i] -= 1;
    memset(gp, 0, (size_t)(n * d) * sizeof *gp);
    memset(gk, 0, (size_t)(n * d) * sizeof *gk);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++)
            for (int64_t x = 0; x < d; x++) {
                gp[i * d + x] += c / (double)n * e[i * n + j] * k[j * d + x];
                gk[j * d + x] += c / (double)n * e[i * n + j] * p[i * d + x];
            }
    pupil_free(&e);
}

static inline double plain_gd(const plain_pair *f, double s, double S)
{
    int64_t m = f->n * f->dt;
    double *g[4], v = 0;
    for (int i = 0; i < 4; i++) g[i] = doubles(m);
    for (int w = 0; w < 2; w++) {
        plain_contrast(f->head[w], f->head[!w], f->n, f->dt, s, g[0], g[1]);
        plain_contrast(f->V[w], f->V[!w], f->n, f->dt, S, g[2], g[3]);
        for (int64_t i = 0; i < m; i++)
            v += (pow(g[0][i] - g[2][i], 2) + pow(g[1][i] - g[3][i], 2)) / (double)m;
    }
    for (int i = 0; i < 4; i++) DROP(g[i]);
    return v;
}

/* Terms of one caption that speak of teacher k alone, added to value. */
static inline void plain_of_teacher(const plain *p, int k, int caption, double *value)
{
    plain_pair f = plain_features(p, k, caption);
    const pupil_loss_term *t = p->c.term;
    int64_t n = f.n, ds = f.ds, dt = f.dt;
    double w = p->c.teacher[k].weight, s = exp(p->log_scale), S = p->c.teacher[k].scale;
    const double *const *v = (const double *const *)f.v, *const *V = (const double *const *)f.V,
                        *const *u = (const double *const *)f.head;
#define ON(T)     (t[PUPIL_TERM_##T].weight != 0)
#define ADD(T, x) value[PUPIL_TERM_##T] += w * (x)
    if (ON(CRD))
        ADD(CRD, plain_both(t[PUPIL_TERM_CRD].reversed ? P_REVERSED : P_KL, v[0], v[1], ds, s, V[0], V[1], dt,
                            S, n, false));
    double pin = t[PUPIL_TERM_AFFINITY].scale;
    if (ON(AFFINITY))
        ADD(AFFINITY,
            plain_both(P_CE, v[0], v[1], ds, pin > 0 ? pin : s, V[0], V[1], dt, pin > 0 ? pin : S, n, false));
    double tau = t[PUPIL_TERM_HINTON].tau;
    if (ON(HINTON))
        ADD(HINTON, tau * tau *
                        plain_both(P_KL, v[0], v[1], ds, s / tau, V[0], V[1], dt, S / tau, n,
                                   t[PUPIL_TERM_HINTON].one_way));
    for (int side = 0; side < 2; side++) {
        for (int term = PUPIL_TERM_ICL; term <= PUPIL_TERM_CROSS_KD; term++) {
            if (t[term].weight == 0) continue;
            double c = *plain_tensor(p, "icl_scale", k, "");
            if (!t[term].as_released) c = exp(c);
            if (term == PUPIL_TERM_ICL)
                ADD(ICL, plain_one(P_LABELS, u[side], V[!side], dt, c, NULL, NULL, 0, 0, n) / 2);
            else ADD(CROSS_KD, plain_one(P_KL, u[side], V[!side], dt, c, V[side], V[!side], dt, S, n) / 2);
        }
        for (int term = PUPIL_TERM_FD; term <= PUPIL_TERM_UDIST; term++) { /* of one modality */
            pupil_loss_sides sides = t[term].sides;
            if (t[term].weight == 0 || (sides == PUPIL_SIDES_IMAGE && side) ||
                (sides == PUPIL_SIDES_TEXT && !side))
                continue;
            const double *e = t[term].raw ? f.raw[side] : v[side];
            double c = S / t[term].tau;
            if (term == PUPIL_TERM_FD)
                for (int64_t i = 0; i < n * dt; i++)
                    ADD(FD, pow(u[side][i] - V[side][i], 2) / (double)(n * (t[term].sum ? 1 : dt)));
            if (term == PUPIL_TERM_RKD_DISTANCE) ADD(RKD_DISTANCE, plain_rkd_distance(e, ds, V[side], dt, n));
            if (term == PUPIL_TERM_RKD_ANGLE) ADD(RKD_ANGLE, plain_rkd_angle(e, ds, V[side], dt, n));
            if (term == PUPIL_TERM_VL)
                ADD(VL, 2 * plain_both(P_KL, u[side], V[!side], dt, c, V[side], V[!side], dt, c, n, false));
            if (term == PUPIL_TERM_PVL)
                ADD(PVL, 2 * plain_one(P_KL, u[side], V[side], dt, c, V[side], V[side], dt, c, n));
            if (term == PUPIL_TERM_UDIST)
                ADD(UDIST, 2 * plain_one(P_KL, v[side], v[side], ds, c, V[side], V[side], dt, c, n));
        }
        const pupil_loss_term *d = &t[PUPIL_TERM_DIST], *l = &t[PUPIL_TERM_LOGIT_STD];
        double of_d = d->one_way ? !side : 0.5, of_l = l->one_way ? !side : 0.5;
        if (ON(DIST))
            ADD(DIST, of_d * plain_dist(plain_logits(v[side], v[!side], n, ds, s / d->tau),
                                        plain_logits(V[side], V[!side], n, dt, S / d->tau), d, n));
        if (ON(LOGIT_STD))
            ADD(LOGIT_STD,
                of_l * l->tau * l->tau *
                    plain_rows(P_KL, plain_standardised(plain_logits(v[side], v[!side], n, ds, s), n, l->tau),
                               plain_standardised(plain_logits(V[side], V[!side], n, dt, S), n, l->tau), n));
    }
    bool inverse = t[PUPIL_TERM_GD].as_released;
    if (ON(GD)) ADD(GD, plain_gd(&f, inverse ? 1 / s : s, inverse ? 1 / S : S));
    if (ON(AFD)) {
        double c = *plain_tensor(p, "fusion_scale", k, "");
        ADD(AFD, plain_both(P_LABELS, f.fused[0], f.fused[1], ds, t[PUPIL_TERM_AFD].as_released ? c : exp(c),
                            NULL, NULL, 0, 0, n, false));
    }
#undef ADD
    plain_features_end(&f);
}

/* Terms of one caption that speak of no teacher or of all. */
static inline void plain_of_all(const plain *p, int caption, double *value)
{
    plain_pair f = plain_features(p, 0, caption);
    const pupil_loss_term *t = p->c.term;
    int64_t n = f.n;
    double s = exp(p->log_scale), sum = 0;
    for (int k = 0; k < p->c.teachers; k++) sum += p->c.teacher[k].weight;
    if (ON(TASK))
        value[PUPIL_TERM_TASK] += plain_both(P_LABELS, f.v[0], f.v[1], f.ds, s, NULL, NULL, 0, 0, n, false);
    double *z = plain_logits(f.v[0], f.v[1], n, f.ds, s), *y = doubles(n * n), *soft = doubles(n * n),
           *q = doubles(n * n), *qt = doubles(n * n);
    for (int64_t i = 0; i < n * n; i++) y[i] = i / n == i % n ? 1 : -1, soft[i] = -1;
    for (int k = 0; k < p->c.teachers; k++) {
        plain_pair g = plain_features(p, k, caption);
        double part = p->c.teacher[k].weight / sum, pinned = t[PUPIL_TERM_ENSEMBLE].scale;
        double *Z = plain_logits(g.V[0], g.V[1], n, g.dt, p->c.teacher[k].scale);
        double *P = plain_logits(g.V[0], g.V[1], n, g.dt, pinned > 0 ? pinned : p->c.teacher[k].scale),
               *Pt = plain_transposed(P, n);
        plain_softmax(P, n, false), plain_softmax(Pt, n, false);
        for (int64_t i = 0; i < n * n; i++) {
            soft[i] += 2 * part / (1 + exp(-Z[i] - p->c.teacher[k].bias));
            q[i] += part * P[i], qt[i] += part * Pt[i];
        }
        DROP(Z, P, Pt);
        plain_features_end(&g);
    }
    const double *bias = plain_tensor(p, "logit_bias", 0, "");
    if (ON(SIGMOID)) value[PUPIL_TERM_SIGMOID] += plain_sigmoid_loss(z, y, *bias, n);
    if (ON(SOFT_SIGMOID)) value[PUPIL_TERM_SOFT_SIGMOID] += plain_sigmoid_loss(z, soft, *bias, n);
    double *zt = plain_transposed(z, n);
    double ensemble = plain_rows(P_CE, z, q, n) / 2;
    ensemble += plain_rows(P_CE, zt, qt, n) / 2;
    if (ON(ENSEMBLE)) value[PUPIL_TERM_ENSEMBLE] += ensemble;
#undef ON
    DROP(y, soft);
    plain_features_end(&f);
}

static inline void plain_values(const plain *p, double value[PUPIL_TERMS])
{
    memset(value, 0, PUPIL_TERMS * sizeof *value);
    for (int c = 0; c < p->c.captions; c++) {
        plain_of_all(p, c, value);
        for (int k = 0; k < p->c.teachers; k++) plain_of_teacher(p, k, c, value);
    }
}

#endif
