/* gradient.c: gradient distillation (CLIP-KD's GD). With x the own side's v', y the other side's, c the logit
 * scale, E = softmax(c x y^T) - 1 (rows of x) and F the same of y over x: the contrastive loss has the
 * gradients p_i = c/B sum_j E_ij y_j   (x_i asks)        k_i = c/B sum_j F_ji y_j   (x_i is asked for) and
 * the term is the mean squared difference of both, on both sides, to the teacher's.
 *
 * Round 2 makes the residuals P_i, K_i = d(term)/d(p_i, k_i); with those of the other side gathered,
 *     d/dE_ij = e_ij = c/B (P_i y_j + K_j x_i),   dz_ij = softmax_ij (e_ij - h_i),   h_i = sum_j softmax_ij
 * e_ij and round 3 gathers h. A column of F is seen alike, with P_j and K_i. */
#include "parts.h"

static const scale *student_scale(const pupil_loss *l)
{
    static const scale published = {LOGIT, 0, 1}, as_released = {INVERSE_LOGIT, 0, 1};
    return term_of(l, PUPIL_TERM_GD)->as_released ? &as_released : &published;
}

static scale teacher_scale(const pupil_loss *l, int k)
{
    double s = l->c.teacher[k].scale;
    return (scale){FIXED, 0, term_of(l, PUPIL_TERM_GD)->as_released ? 1 / s : s};
}

/* One side of one teacher and caption: its boards, and those of the mirror. */
typedef struct {
    int k, c, side;
    int student, student_mirror, teacher, teacher_mirror;
    matrix *x, *y, *X, *Y, *own, *other; /* features; residuals [P | K] */
} view;

static view view_of(pupil_loss *l, int k, int c, int side)
{
    int s = stream_of(side, c), o = stream_of(!side, c);
    view v = {.k = k,
              .c = c,
              .side = side,
              .x = l->head[k][s],
              .y = l->head[k][o],
              .X = l->teacher[k][s],
              .Y = l->teacher[k][o]};
    v.student = loss_board(l, v.x, v.y, *student_scale(l));
    v.student_mirror = loss_board(l, v.y, v.x, *student_scale(l));
    v.teacher = loss_board(l, v.X, v.Y, teacher_scale(l, k));
    v.teacher_mirror = loss_board(l, v.Y, v.X, teacher_scale(l, k));
    v.own = l->residual[k][c][side], v.other = l->residual[k][c][!side];
    return v;
}

static void gd_open(pupil_loss *l)
{
    loss_squares(l, on(l, PUPIL_TERM_GD) ? 6 : 0);
    for (int k = 0; k < l->c.teachers && on(l, PUPIL_TERM_GD); k++)
        for (int c = 0; c < l->captions; c++)
            for (int side = 0; side < 2; side++) {
                view_of(l, k, c, side);
                l->residual[k][c][side] = loss_matrix(l, 2 * l->c.teacher[k].dim, false, false);
                loss_share(l->residual[k][c][side], 2);
                l->gd_stat[k][c][side] = loss_stats(l, 3, 1);
            }
}

static void minus_labels(const pupil_loss *l, const slot *at, double *p)
{
    for (int64_t i = 0; i < l->rows; i++) p[i * l->c.batch + at->first + i] -= 1;
}

/* E and F of a board into e and f (F as seen by own: entry (i, j) is F_ji). */
static void errors(pupil_loss *l, const slot *at, int b, int mirror, double *z, double *e, double *f)
{
    board_logits(l, at, b, z);
    board_rows(l, at, b, z, e);
    board_columns(l, mirror, z, f);
    minus_labels(l, at, e);
    minus_labels(l, at, f);
}

/* out[rows, 2d] += factor [e y | f y] */
static void both_gradients(const pupil_loss *l, float *out, double factor, const double *e, const double *f,
                           const matrix *y)
{
    int64_t d = y->width;
    loss_pull_rows(l, out, 2 * d, factor, e, y->rows, d, d);
    loss_pull_rows(l, out + d, 2 * d, factor, f, y->rows, d, d);
}

/* out = factor a[rows, d] b[batch, d]^T for parts of wider rows. */
static void product(const pupil_loss *l, double *out, double factor, const float *a, int64_t lda,
                    const float *b, int64_t ldb, int64_t d)
{
    pupil_row_products(out, factor, a, lda, l->rows, b, ldb, l->c.batch, d);
}

static void residuals(pupil_loss *l, const slot *at, const view *v)
{
    int64_t d = v->x->width;
    double *z = l->square[0], *e = l->square[1], *f = l->square[2];
    float *out = v->own->rows + at->first * 2 * d;
    double b = (double)l->c.batch;
    memset(out, 0, (size_t)(l->rows * 2 * d) * sizeof *out);
    errors(l, at, v->student, v->student_mirror, z, e, f);
    both_gradients(l, out, scale_of(&l->board[v->student].scale, at->p) / b, e, f, v->y);
    errors(l, at, v->teacher, v->teacher_mirror, z, e, f);
    both_gradients(l, out, -scale_of(&l->board[v->teacher].scale, at->p) / b, e, f, v->Y);
    float twice = (float)(2 / (b * (double)d));
    for (int64_t i = 0; i < l->rows * 2 * d; i++) out[i] *= twice;
}

/* asks = c/B P_i y_j, asked = c/B K_j x_i of own rows; or of columns: asks = c/B P_j x_i, asked = c/B K_i
 * y_j. */
static void slopes(const pupil_loss *l, const slot *at, const view *v, bool columns, double *asks,
                   double *asked)
{
    int64_t d = v->x->width;
    double c = scale_of(&l->board[v->student].scale, at->p) / (double)l->c.batch;
    const float *own = v->own->rows + at->first * 2 * d, *x = v->x->rows + at->first * d;
    if (columns) {
        product(l, asks, c, x, d, v->other->rows, 2 * d, d);
        product(l, asked, c, own + d, 2 * d, v->y->rows, d, d);
    } else {
        product(l, asks, c, own, 2 * d, v->y->rows, d, d);
        product(l, asked, c, x, d, v->other->rows + d, 2 * d, d);
    }
}

static void gd_round(pupil_loss *l, int round, const slot *at)
{
    int64_t b = l->c.batch;
    double *z = l->square[0], *p = l->square[1], *asks = l->square[2], *asked = l->square[3];
    for (int k = 0; k < l->c.teachers && on(l, PUPIL_TERM_GD) && round >= 2; k++)
        for (int c = 0; c < l->captions; c++)
            for (int side = 0; side < 2; side++) {
                view v = view_of(l, k, c, side);
                if (round == 2) {
                    residuals(l, at, &v);
                    continue;
                }
                board_logits(l, at, v.student, z);
                board_rows(l, at, v.student, z, p);
                slopes(l, at, &v, false, asks, asked);
                for (int64_t i = 0; i < l->rows; i++)
                    stat_at(l, 3, at->first + i)[l->gd_stat[k][c][side]] =
                        loss_dot(p + i * b, asks + i * b, b) + loss_dot(p + i * b, asked + i * b, b);
            }
}

/* g += softmax (e - h), entry by entry; returns d/dlog(scale) through the factor c in p (asks of rows) or k
 * (asked of columns). */
static double softmax_pull(pupil_loss *l, const slot *at, const view *v, bool columns, const double *p,
                           double *g)
{
    int64_t b = l->c.batch;
    double *asks = l->square[3], *asked = l->square[4];
    int own = l->gd_stat[v->k][v->c][v->side], other = l->gd_stat[v->k][v->c][!v->side];
    double slope = 0;
    slopes(l, at, v, columns, asks, asked);
    for (int64_t i = 0; i < l->rows; i++)
        for (int64_t j = 0; j < b; j++) {
            int64_t e = i * b + j;
            double h = columns ? stat_at(l, 3, j)[other] : stat_at(l, 3, at->first + i)[own];
            g[e] += p[e] * (asks[e] + asked[e] - h);
            double error = p[e] - (j == at->first + i);
            slope += error * (columns ? asked[e] : asks[e]);
        }
    return slope;
}

static void view_grad(pupil_loss *l, const slot *at, const view *v)
{
    int64_t n = l->rows, b = l->c.batch, d = v->x->width;
    double *z = l->square[0], *p = l->square[1], *g = l->square[2], *f = l->square[5];
    double share = l->c.teacher[v->k].weight, weight = share * term_of(l, PUPIL_TERM_GD)->weight;
    const board *o = &l->board[v->student];
    double c = scale_of(&o->scale, at->p), sum = 0;
    const float *own = v->own->rows + at->first * 2 * d;
    for (int64_t i = 0; i < n * 2 * d; i++) sum += (double)own[i] * (double)own[i];
    at->value[PUPIL_TERM_GD] += share * sum * (double)b * (double)d / 4;
    board_logits(l, at, v->student, z);
    board_rows(l, at, v->student, z, p);
    board_columns(l, v->student_mirror, z, f);
    memset(g, 0, (size_t)(n * b) * sizeof *g);
    double dlog = softmax_pull(l, at, v, false, p, g);
    dlog += loss_dot(g, z, n * b); /* of the rows alone */
    dlog += softmax_pull(l, at, v, true, f, g);
    scale_grad(&o->scale, at, weight * dlog);
    loss_pull(l, v->x, weight * c, g, v->y);
    minus_labels(l, at, p);
    minus_labels(l, at, f);
    double direct = weight * c / (double)b; /* x_i inside the other side's k_j and p_j */
    loss_pull_rows(l, v->x->grad, d, direct, p, v->other->rows + d, 2 * d, d);
    loss_pull_rows(l, v->x->grad, d, direct, f, v->other->rows, 2 * d, d);
}

static void gd_grad(pupil_loss *l, const slot *at)
{
    for (int k = 0; k < l->c.teachers && on(l, PUPIL_TERM_GD); k++)
        for (int c = 0; c < l->captions; c++)
            for (int side = 0; side < 2; side++) {
                view v = view_of(l, k, c, side);
                view_grad(l, at, &v);
            }
}

const family family_gd = {gd_open, gd_round, gd_grad};
