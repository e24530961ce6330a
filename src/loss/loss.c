/* loss.c: the global losses, one slot of rows at a time. Logits are float32 GEMMs; log-sum-exps, values and the
 * scalar gradients are summed in double. */
#include "pupil/loss.h"

#include "pupil/math.h"

#include <math.h>
#include <string.h>

const char *const pupil_term_name[PUPIL_TERMS] = {"task", "crd", "icl", "fd"};

enum { IMAGE, TEXT, SIDES };
/* Statistics per sample: log-sum-exp of its image row and of its text row, student's and teacher's. */
enum { LSE_IMAGE, LSE_TEXT, LSE_TEACHER_IMAGE, LSE_TEACHER_TEXT, LSES };

struct pupil_loss {
    pupil_loss_conf c;
    int64_t rows;                  /* of a slot */
    float *unit[SIDES];            /* [batch, dim] student, normalised */
    float *teacher[SIDES];         /* [batch, teacher_dim], normalised */
    float *norm[SIDES];            /* [local rows] of the raw features */
    float *head[SIDES], *head_norm[SIDES]; /* [local rows, teacher_dim]: normalise(W raw + b) */
    double *lse;                   /* [batch][LSES] */
    double *column;                /* [batch] */
    float *z, *y, *g, *p;          /* [rows, batch] */
    float *q;                      /* [batch] one row of teacher probabilities */
    float *dunit, *dhead, *du;     /* [rows, dim], [rows, teacher_dim] twice */
};

static bool on(const pupil_loss_conf *c, int term) { return c->weight[term] != 0; }
static bool pairs(const pupil_loss_conf *c) { return on(c, PUPIL_TERM_TASK) || on(c, PUPIL_TERM_CRD); }
static bool features(const pupil_loss_conf *c) { return on(c, PUPIL_TERM_ICL) || on(c, PUPIL_TERM_FD); }

bool pupil_loss_wants_teacher(const pupil_loss_conf *c) { return on(c, PUPIL_TERM_CRD) || features(c); }
bool pupil_loss_has_heads(const pupil_loss_conf *c) { return features(c) && c->dim != c->teacher_dim; }

static float *floats(int64_t n) { return pupil_alloc((size_t)n * sizeof(float)); }

pupil_loss *pupil_loss_new(const pupil_loss_conf *c, int64_t local_slots)
{
    pupil_loss *l = pupil_alloc(sizeof *l);
    l->c = *c;
    l->rows = c->batch / c->slots;
    int64_t local = PUPIL_MAX(1, local_slots) * l->rows;
    for (int s = 0; s < SIDES; s++) {
        l->unit[s] = floats(c->batch * c->dim);
        l->norm[s] = floats(local);
        if (pupil_loss_wants_teacher(c)) l->teacher[s] = floats(c->batch * c->teacher_dim);
        if (!pupil_loss_has_heads(c)) continue;
        l->head[s] = floats(local * c->teacher_dim);
        l->head_norm[s] = floats(local);
    }
    l->lse = pupil_alloc((size_t)(c->batch * LSES) * sizeof *l->lse);
    l->column = pupil_alloc((size_t)c->batch * sizeof *l->column);
    float **square[] = {&l->z, &l->y, &l->g, &l->p};
    for (int i = 0; i < PUPIL_COUNT(square); i++) *square[i] = floats(l->rows * c->batch);
    l->q = floats(c->batch);
    l->dunit = floats(l->rows * c->dim);
    l->dhead = floats(l->rows * PUPIL_MAX(c->teacher_dim, c->dim));
    l->du = floats(l->rows * c->teacher_dim);
    return l;
}

void pupil_loss_free(pupil_loss **lp)
{
    pupil_loss *l = *lp;
    if (!l) return;
    for (int s = 0; s < SIDES; s++) {
        pupil_free(&l->unit[s]);
        pupil_free(&l->teacher[s]);
        pupil_free(&l->norm[s]);
        pupil_free(&l->head[s]);
        pupil_free(&l->head_norm[s]);
    }
    float **rest[] = {&l->z, &l->y, &l->g, &l->p, &l->q, &l->dunit, &l->dhead, &l->du};
    for (int i = 0; i < PUPIL_COUNT(rest); i++) pupil_free(rest[i]);
    pupil_free(&l->lse);
    pupil_free(&l->column);
    pupil_free(lp);
}

int pupil_loss_gathered(pupil_loss *l, pupil_batch_matrix ret[4])
{
    int n = 0;
    for (int s = 0; s < SIDES && pairs(&l->c); s++) ret[n++] = (pupil_batch_matrix){l->unit[s], l->c.dim};
    bool teacher = on(&l->c, PUPIL_TERM_CRD) || on(&l->c, PUPIL_TERM_ICL);
    for (int s = 0; s < SIDES && teacher; s++) ret[n++] = (pupil_batch_matrix){l->teacher[s], l->c.teacher_dim};
    return n;
}

double *pupil_loss_statistics(pupil_loss *l, int64_t *ret_width)
{
    *ret_width = LSES;
    return l->lse;
}

static const float *head_w(const pupil_loss_params *p, int side) { return side == IMAGE ? p->image_w : p->text_w; }
static const float *head_b(const pupil_loss_params *p, int side) { return side == IMAGE ? p->image_b : p->text_b; }

void pupil_loss_prepare(pupil_loss *l, int64_t slot, int64_t local, const float *image, const float *text,
                        const float *teacher_image, const float *teacher_text, const pupil_loss_params *p)
{
    int64_t n = l->rows, ds = l->c.dim, dt = l->c.teacher_dim;
    const float *raw[SIDES] = {image, text}, *teacher[SIDES] = {teacher_image, teacher_text};
    for (int s = 0; s < SIDES; s++) {
        pupil_normalize_forward(l->unit[s] + slot * n * ds, l->norm[s] + local * n, raw[s], n, ds);
        if (l->teacher[s]) pupil_normalize_forward(l->teacher[s] + slot * n * dt, l->dunit, teacher[s], n, dt);
        if (!l->head[s]) continue;
        pupil_linear_forward(l->dhead, raw[s], head_w(p, s), head_b(p, s), n, ds, dt);
        pupil_normalize_forward(l->head[s] + local * n * dt, l->head_norm[s] + local * n, l->dhead, n, dt);
    }
}

/* z[rows,batch] = scale own[rows,d] all[batch,d]^T */
static void logits(pupil_loss *l, float *z, double scale, const float *own, const float *all, int64_t d)
{
    pupil_gemm(false, true, l->rows, l->c.batch, d, (float)scale, own, d, all, d, 0, z, l->c.batch);
}

static void own_lse(pupil_loss *l, int64_t slot, int which, const float *z)
{
    pupil_logsumexp_rows(l->column, z, l->rows, l->c.batch);
    for (int64_t i = 0; i < l->rows; i++) l->lse[(slot * l->rows + i) * LSES + which] = l->column[i];
}

void pupil_loss_stats(pupil_loss *l, int64_t slot, int64_t local, const pupil_loss_params *p)
{
    (void)local;
    int64_t n = l->rows, ds = l->c.dim, dt = l->c.teacher_dim;
    for (int s = 0; s < SIDES && pairs(&l->c); s++) {
        logits(l, l->z, exp((double)*p->logit_scale), l->unit[s] + slot * n * ds, l->unit[!s], ds);
        own_lse(l, slot, s == IMAGE ? LSE_IMAGE : LSE_TEXT, l->z);
        if (!on(&l->c, PUPIL_TERM_CRD)) continue;
        logits(l, l->z, l->c.teacher_scale, l->teacher[s] + slot * n * dt, l->teacher[!s], dt);
        own_lse(l, slot, s == IMAGE ? LSE_TEACHER_IMAGE : LSE_TEACHER_TEXT, l->z);
    }
}

static const double *column_of(pupil_loss *l, int which)
{
    for (int64_t j = 0; j < l->c.batch; j++) l->column[j] = l->lse[j * LSES + which];
    return l->column;
}

static double dot(const float *a, const float *b, int64_t n)
{
    double s = 0;
    for (int64_t i = 0; i < n; i++) s += (double)a[i] * b[i];
    return s;
}

static void add_scaled(float *y, const float *x, double f, int64_t n)
{
    float k = (float)f;
    for (int64_t i = 0; i < n; i++) y[i] += k * x[i];
}

/* Row softmax of one direction: l->p = softmax(l->z) row by row. Adds the task's and CRD's values, and their
 * gradient w.r.t. z through the rows' own softmax to g; returns d/d log(scale) of it. */
static double row_direction(pupil_loss *l, int64_t slot, int side, double value[PUPIL_TERMS])
{
    int64_t n = l->rows, b = l->c.batch;
    double half = 0.5 / (double)b, wt = l->c.weight[PUPIL_TERM_TASK], wc = l->c.weight[PUPIL_TERM_CRD], scalar = 0;
    double row[2] = {0};
    for (int64_t i = 0; i < n; i++) {
        const double *lse = l->lse + (slot * n + i) * LSES;
        const float *z = l->z + i * b;
        float *g = l->g + i * b, *p = l->p + i * b;
        int64_t d = slot * n + i;
        row[0] = lse[side == IMAGE ? LSE_IMAGE : LSE_TEXT];
        row[1] = lse[side == IMAGE ? LSE_TEACHER_IMAGE : LSE_TEACHER_TEXT];
        memset(g, 0, (size_t)b * sizeof *g);
        pupil_exp_minus(p, z, &row[0], NULL, 1, b);
        if (wt != 0) {
            value[PUPIL_TERM_TASK] += half * (row[0] - (double)z[d]);
            add_scaled(g, p, wt * half, b);
            g[d] -= (float)(wt * half);
        }
        if (wc != 0) {
            const float *y = l->y + i * b;
            double kl = 0;
            for (int64_t j = 0; j < b; j++) {
                double logq = (double)y[j] - row[1];
                kl += exp(logq) * (logq - ((double)z[j] - row[0]));
            }
            value[PUPIL_TERM_CRD] += half * kl;
            pupil_exp_minus(l->q, y, &row[1], NULL, 1, b);
            add_scaled(g, p, wc * half, b);
            add_scaled(g, l->q, -wc * half, b);
        }
        scalar += dot(g, z, b);
    }
    return scalar;
}

/* The other direction's softmax seen from here: entry (i,j) belongs to row j of the other side. */
static void column_direction(pupil_loss *l, int64_t slot, int side)
{
    int64_t n = l->rows, b = l->c.batch;
    double half = 0.5 / (double)b, wt = l->c.weight[PUPIL_TERM_TASK], wc = l->c.weight[PUPIL_TERM_CRD];
    pupil_exp_minus(l->p, l->z, NULL, column_of(l, side == IMAGE ? LSE_TEXT : LSE_IMAGE), n, b);
    add_scaled(l->g, l->p, (wt + wc) * half, n * b);
    for (int64_t i = 0; i < n && wt != 0; i++) l->g[i * b + slot * n + i] -= (float)(wt * half);
    if (wc == 0) return;
    pupil_exp_minus(l->p, l->y, NULL, column_of(l, side == IMAGE ? LSE_TEACHER_TEXT : LSE_TEACHER_IMAGE), n, b);
    add_scaled(l->g, l->p, -wc * half, n * b);
}

/* task and CRD: dunit[rows,dim] = d/d(own normalised rows). */
static void pair_terms(pupil_loss *l, int64_t slot, int side, const pupil_loss_params *p, const pupil_loss_params *grads,
                       double value[PUPIL_TERMS])
{
    int64_t n = l->rows, b = l->c.batch, ds = l->c.dim, dt = l->c.teacher_dim;
    double scale = exp((double)*p->logit_scale);
    bool crd = on(&l->c, PUPIL_TERM_CRD);
    logits(l, l->z, scale, l->unit[side] + slot * n * ds, l->unit[!side], ds);
    if (crd) logits(l, l->y, l->c.teacher_scale, l->teacher[side] + slot * n * dt, l->teacher[!side], dt);
    *grads->logit_scale += (float)row_direction(l, slot, side, value);
    column_direction(l, slot, side);
    pupil_gemm(false, false, n, ds, b, (float)scale, l->g, b, l->unit[!side], ds, 0, l->dunit, ds);
}

/* ICL: dhead += d/d(own v' rows), v' against the other side of the teacher. */
static void icl_term(pupil_loss *l, int64_t slot, int side, const float *own, const pupil_loss_params *p,
                     const pupil_loss_params *grads, double value[PUPIL_TERMS])
{
    int64_t n = l->rows, b = l->c.batch, dt = l->c.teacher_dim;
    double half = 0.5 / (double)b, w = l->c.weight[PUPIL_TERM_ICL], scalar = 0;
    double c = l->c.icl_raw ? (double)*p->icl_scale : exp((double)*p->icl_scale);
    logits(l, l->z, c, own, l->teacher[!side], dt);
    pupil_logsumexp_rows(l->column, l->z, n, b);
    pupil_exp_minus(l->g, l->z, l->column, NULL, n, b);
    for (int64_t i = 0; i < n; i++) {
        float *g = l->g + i * b;
        int64_t d = slot * n + i;
        value[PUPIL_TERM_ICL] += half * (l->column[i] - (double)l->z[i * b + d]);
        g[d] -= 1.0f;
        scalar += dot(g, l->z + i * b, b);
    }
    *grads->icl_scale += (float)(w * half * scalar / (l->c.icl_raw ? c : 1));
    pupil_gemm(false, false, n, dt, b, (float)(w * half * c), l->g, b, l->teacher[!side], dt, 1, l->dhead, dt);
}

static void fd_term(pupil_loss *l, int64_t slot, int side, const float *own, double value[PUPIL_TERMS])
{
    int64_t n = l->rows, dt = l->c.teacher_dim;
    const float *teacher = l->teacher[side] + slot * n * dt;
    double mean = 1 / ((double)l->c.batch * (l->c.fd_sum ? 1 : (double)dt)), s = 0;
    float k = (float)(2 * l->c.weight[PUPIL_TERM_FD] * mean);
    for (int64_t i = 0; i < n * dt; i++) {
        float d = own[i] - teacher[i];
        s += (double)d * d;
        l->dhead[i] += k * d;
    }
    value[PUPIL_TERM_FD] += mean * s;
}

/* FD and ICL through v': the head if there is one, else the normalised rows themselves. */
static void feature_terms(pupil_loss *l, int64_t slot, int64_t local, int side, const float *raw, const pupil_loss_params *p,
                          const pupil_loss_params *grads, float *draw, double value[PUPIL_TERMS])
{
    int64_t n = l->rows, ds = l->c.dim, dt = l->c.teacher_dim;
    const float *own = l->head[side] ? l->head[side] + local * n * dt : l->unit[side] + slot * n * ds;
    memset(l->dhead, 0, (size_t)(n * dt) * sizeof *l->dhead);
    if (on(&l->c, PUPIL_TERM_ICL)) icl_term(l, slot, side, own, p, grads, value);
    if (on(&l->c, PUPIL_TERM_FD)) fd_term(l, slot, side, own, value);
    if (!l->head[side]) {
        pupil_add(l->dunit, l->dhead, n * ds);
        return;
    }
    float *du = l->du;
    memset(du, 0, (size_t)(n * dt) * sizeof *du);
    pupil_normalize_backward(du, l->dhead, own, l->head_norm[side] + local * n, n, dt);
    pupil_linear_backward(draw, side == IMAGE ? grads->image_w : grads->text_w, side == IMAGE ? grads->image_b : grads->text_b,
                          du, raw, head_w(p, side), n, ds, dt);
}

void pupil_loss_grad(pupil_loss *l, int64_t slot, int64_t local, const float *image, const float *text,
                     const pupil_loss_params *p, const pupil_loss_params *grads, float *dimage, float *dtext,
                     double value[PUPIL_TERMS])
{
    int64_t n = l->rows, ds = l->c.dim;
    const float *raw[SIDES] = {image, text};
    float *draw[SIDES] = {dimage, dtext};
    memset(value, 0, PUPIL_TERMS * sizeof *value);
    for (int s = 0; s < SIDES; s++) {
        memset(l->dunit, 0, (size_t)(n * ds) * sizeof *l->dunit);
        memset(draw[s], 0, (size_t)(n * ds) * sizeof *draw[s]);
        if (pairs(&l->c)) pair_terms(l, slot, s, p, grads, value);
        if (features(&l->c)) feature_terms(l, slot, local, s, raw[s], p, grads, draw[s], value);
        pupil_normalize_backward(draw[s], l->dunit, l->unit[s] + slot * n * ds, l->norm[s] + local * n, n, ds);
    }
}
