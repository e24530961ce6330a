/* pair.c: terms over softmaxes of the rows of one matrix against another's: task, crd, affinity, ensemble,
 * hinton, icl, cross_kd, afd, vl, pvl, udist. All are one thing: a board of logits, and aims that pull its
 * softmax to labels or to the teachers' softmaxes.
 *
 * A slot sees its own rows of the softmax over `all` (rows), and its own columns of the softmaxes of all's
 * rows over `own` (columns), which need those rows' log-sum-exps. With z the logits, p and q the softmaxes of
 * student and target: labels           lse - z_d              dz = p - [d] cross-entropy    sum q (lse - z)
 * dz = p - q KL               sum q log(q/p)         dz = p - q reversed KL      sum p log(p/q)         dz =
 * p (log(p/q) - KL)
 */
#include "parts.h"

/* ---- boards --------------------------------------------------------------------------------------- */
int loss_board(pupil_loss *l, matrix *own, matrix *all, scale s)
{
    for (int b = 0; b < l->boards; b++) {
        const board *o = &l->board[b];
        if (o->own == own && o->all == all && o->scale.kind == s.kind && o->scale.tensor == s.tensor &&
            o->scale.factor == s.factor)
            return b;
    }
    PUPIL_GROW(l->board, l->boards, l->boards_room);
    loss_share(all, 0);
    l->board[l->boards] = (board){own, all, s, loss_stats(l, 1, 1)};
    return (int)l->boards++;
}

void board_logits(const pupil_loss *l, const slot *at, int b, double *z)
{
    const board *o = &l->board[b];
    loss_logits(l, at, z, scale_of(&o->scale, at->p), o->own, o->all);
}

/* Column `c` of the statistics of `round`, of all rows. */
static const double *column_of(const pupil_loss *l, int round, int c)
{
    for (int64_t j = 0; j < l->c.batch; j++) l->column[j] = stat_at(l, round, j)[c];
    return l->column;
}

void board_rows(const pupil_loss *l, const slot *at, int b, const double *z, double *p)
{
    for (int64_t i = 0; i < l->rows; i++) l->column[i] = stat_at(l, 1, at->first + i)[l->board[b].lse];
    loss_exp(l, p, z, l->column, NULL);
}

void board_columns(const pupil_loss *l, int mirror, const double *z, double *p)
{
    loss_exp(l, p, z, NULL, column_of(l, 1, l->board[mirror].lse));
}

/* ---- aims ----------------------------------------------------------------------------------------- */
/* What an aim pulls to: for each of n teachers (from `first` on) its matrices of both sides, and their scale.
 */
typedef struct {
    int term, mode;
    double share;
    int first, n;
    double pinned; /* scale of the teachers' logits; 0: their own */
    double factor; /* of it */
} pull;

static aim *aim_add(pupil_loss *l, const pull *u, int b, double row, double column, int mirror)
{
    PUPIL_GROW(l->aim, l->aims, l->aims_room);
    aim *a = &l->aim[l->aims++];
    *a = (aim){.term = u->term,
               .board = b,
               .mode = u->mode,
               .share = u->share,
               .row = row,
               .column = column,
               .mirror = mirror};
    if (a->mode == REVERSED_KL) a->kl = loss_stats(l, 1, 1);
    return a;
}

static void aim_target(pupil_loss *l, const pull *u, aim *a, int k, matrix *own, matrix *all)
{
    scale s = {FIXED, 0, u->factor * (u->pinned > 0 ? u->pinned : l->c.teacher[k].scale)};
    int i = a->targets++;
    a->part[i] = u->n > 1 ? loss_part(l, k) : 1;
    a->target[i] = loss_board(l, own, all, s);
    a->target_mirror[i] = a->column != 0 ? loss_board(l, all, own, s) : -1;
}

/* Both softmaxes of (x over y) and (y over x), pulled to those of the teachers' (image, caption c). */
static void both_ways(pupil_loss *l, const pull *u, matrix *x, matrix *y, scale s, const double way[2], int c)
{
    int b[2] = {loss_board(l, x, y, s), loss_board(l, y, x, s)}, first = (int)l->aims;
    for (int side = 0; side < 2; side++) {
        aim *a = aim_add(l, u, b[side], way[side], way[!side], b[!side]);
        a->twin = first + !side;
        for (int k = u->first; k < u->first + u->n; k++)
            aim_target(l, u, a, k, l->teacher[k][stream_of(side, c)], l->teacher[k][stream_of(!side, c)]);
    }
}

/* The softmax of own's rows over a teacher's matrix, pulled to labels or to the softmax of (from over all).
 */
static void one_way(pupil_loss *l, const pull *u, matrix *own, matrix *all, scale s, double way, matrix *from)
{
    aim *a = aim_add(l, u, loss_board(l, own, all, s), way, 0, -1);
    if (u->n) aim_target(l, u, a, u->first, from, all);
}

static void open_two_sided(pupil_loss *l, int c)
{
    matrix *v = l->unit[IMAGE], *t = l->unit[stream_of(TEXT, c)];
    const double half[2] = {0.5, 0.5};
    const scale own = {LOGIT, 0, 1};
    if (on(l, PUPIL_TERM_TASK))
        both_ways(l, &(pull){PUPIL_TERM_TASK, LABELS, 1, 0, 0, 0, 1}, v, t, own, half, c);
    if (on(l, PUPIL_TERM_ENSEMBLE)) {
        double pinned = term_of(l, PUPIL_TERM_ENSEMBLE)->scale;
        both_ways(l, &(pull){PUPIL_TERM_ENSEMBLE, CROSS_ENTROPY, 1, 0, l->c.teachers, pinned, 1}, v, t, own,
                  half, c);
    }
    const pupil_loss_term *crd = term_of(l, PUPIL_TERM_CRD), *aff = term_of(l, PUPIL_TERM_AFFINITY),
                          *hin = term_of(l, PUPIL_TERM_HINTON);
    for (int k = 0; k < l->c.teachers; k++) {
        double w = l->c.teacher[k].weight;
        if (crd->weight != 0)
            both_ways(l, &(pull){PUPIL_TERM_CRD, crd->reversed ? REVERSED_KL : KL, w, k, 1, 0, 1}, v, t, own,
                      half, c);
        if (aff->weight != 0)
            both_ways(l, &(pull){PUPIL_TERM_AFFINITY, CROSS_ENTROPY, w, k, 1, aff->scale, 1}, v, t,
                      aff->scale > 0 ? (scale){FIXED, 0, aff->scale} : own, half, c);
        if (hin->weight != 0)
            both_ways(l, &(pull){PUPIL_TERM_HINTON, KL, w * hin->tau * hin->tau, k, 1, 0, 1 / hin->tau}, v, t,
                      (scale){LOGIT, 0, 1 / hin->tau},
                      (const double[]){way_of(hin, IMAGE), way_of(hin, TEXT)}, c);
        if (on(l, PUPIL_TERM_AFD))
            both_ways(l, &(pull){PUPIL_TERM_AFD, LABELS, w, k, 0, 0, 1}, l->fused[k][IMAGE],
                      l->fused[k][stream_of(TEXT, c)],
                      (scale){term_of(l, PUPIL_TERM_AFD)->as_released ? TENSOR_RAW : TENSOR_EXP,
                              loss_tensor(l, FUSION_SCALE, k), 1},
                      half, c);
    }
}

/* Student against teacher k: icl, cross_kd, vl. */
static void open_crossed(pupil_loss *l, int k, int c)
{
    double w = l->c.teacher[k].weight;
    const pupil_loss_term *vl = term_of(l, PUPIL_TERM_VL);
    for (int side = 0; side < 2; side++) {
        int s = stream_of(side, c), o = stream_of(!side, c);
        matrix *own = l->head[k][s], *all = l->teacher[k][o];
        for (int t = PUPIL_TERM_ICL; t <= PUPIL_TERM_CROSS_KD; t++) {
            if (!on(l, t)) continue;
            pull u = {t, t == PUPIL_TERM_ICL ? LABELS : KL, w, k, t == PUPIL_TERM_CROSS_KD, 0, 1};
            scale cross = {term_of(l, t)->as_released ? TENSOR_RAW : TENSOR_EXP,
                           loss_tensor(l, CROSS_SCALE, k), 1};
            one_way(l, &u, own, all, cross, 0.5, l->teacher[k][s]);
        }
        if (vl->weight == 0 || !side_on(vl, side)) continue;
        pull u = {PUPIL_TERM_VL, KL, w, k, 1, 0, 1 / vl->tau};
        scale fixed = {FIXED, 0, l->c.teacher[k].scale / vl->tau};
        if (side == IMAGE) both_ways(l, &u, own, all, fixed, (const double[]){1, 1}, c);
        else both_ways(l, &u, all, own, fixed, (const double[]){1, 1}, c);
    }
}

/* One modality: pvl, udist. */
static void open_alike(pupil_loss *l, int k, int s)
{
    double w = 2 * l->c.teacher[k].weight * times_seen(l, s);
    const pupil_loss_term *pvl = term_of(l, PUPIL_TERM_PVL), *ud = term_of(l, PUPIL_TERM_UDIST);
    matrix *V = l->teacher[k][s], *v = l->unit[s];
    if (pvl->weight != 0 && side_on(pvl, s))
        one_way(l, &(pull){PUPIL_TERM_PVL, KL, w, k, 1, 0, 1 / pvl->tau}, l->head[k][s], V,
                (scale){FIXED, 0, l->c.teacher[k].scale / pvl->tau}, 1, V);
    if (ud->weight == 0 || !side_on(ud, s)) return;
    pull u = {PUPIL_TERM_UDIST, KL, w, k, 1, 0, 1 / ud->tau};
    int b = loss_board(l, v, v, (scale){FIXED, 0, l->c.teacher[k].scale / ud->tau});
    aim_target(l, &u, aim_add(l, &u, b, 1, 1, b), k, V, V);
}

static void pairs_open(pupil_loss *l)
{
    loss_squares(l, l->c.teachers > 1 ? 6 : 5);
    for (int c = 0; c < l->captions; c++) {
        open_two_sided(l, c);
        for (int k = 0; k < l->c.teachers && l->teacher[k][IMAGE]; k++) open_crossed(l, k, c);
    }
    for (int k = 0; k < l->c.teachers && l->teacher[k][IMAGE]; k++)
        for (int s = 0; s <= l->captions; s++) open_alike(l, k, s);
}

/* ---- statistics ----------------------------------------------------------------------------------- */
/* KL(p || q) of own row i, from logits. */
static double reversed_kl(const double *z, double lse, const double *y, double lse_y, int64_t n)
{
    double kl = 0;
    for (int64_t j = 0; j < n; j++) {
        double lp = z[j] - lse;
        kl += exp(lp) * (lp - (y[j] - lse_y));
    }
    return kl;
}

static void pairs_round(pupil_loss *l, int round, const slot *at)
{
    int64_t n = l->rows, b = l->c.batch;
    for (int i = 0; i < l->boards && round == 1; i++) {
        board_logits(l, at, i, l->square[0]);
        loss_lse(l, l->column, l->square[0]);
        for (int64_t r = 0; r < n; r++) stat_at(l, 1, at->first + r)[l->board[i].lse] = l->column[r];
    }
    for (int i = 0; i < l->aims && round == 1; i++) {
        const aim *a = &l->aim[i];
        if (a->mode != REVERSED_KL) continue;
        board_logits(l, at, a->board, l->square[0]);
        board_logits(l, at, a->target[0], l->square[1]);
        for (int64_t r = 0; r < n; r++) {
            double *s = stat_at(l, 1, at->first + r);
            s[a->kl] = reversed_kl(l->square[0] + r * b, s[l->board[a->board].lse], l->square[1] + r * b,
                                   s[l->board[a->target[0]].lse], b);
        }
    }
}

/* ---- values and gradients ------------------------------------------------------------------------- */
static void add_scaled(double *y, const double *x, double f, int64_t n)
{
    for (int64_t i = 0; i < n; i++) y[i] += f * x[i];
}

/* q[rows, batch]: the mean of the targets' softmaxes (columns: of the rows of `all`); y: logits of the last.
 */
static void target(const pupil_loss *l, const slot *at, const aim *a, bool columns, double *y, double *q)
{
    int64_t count = l->rows * l->c.batch;
    double *one = a->targets > 1 ? l->square[5] : q;
    if (a->targets > 1) memset(q, 0, (size_t)count * sizeof *q);
    for (int k = 0; k < a->targets; k++) {
        board_logits(l, at, a->target[k], y);
        if (columns) board_columns(l, a->target_mirror[k], y, one);
        else board_rows(l, at, a->target[k], y, one);
        if (a->targets > 1) add_scaled(q, one, a->part[k], count);
    }
}

/* The term's value in one row, from its target q (softmax) and y (logits). */
static double row_value(const pupil_loss *l, const aim *a, const double *s, const double *z, const double *y,
                        const double *q, int64_t d)
{
    double lse = s[l->board[a->board].lse], v = 0;
    if (a->mode == LABELS) return lse - z[d];
    if (a->mode == REVERSED_KL) return s[a->kl];
    double lse_y = s[l->board[a->target[0]].lse];
    for (int64_t j = 0; j < l->c.batch; j++) {
        double lp = z[j] - lse;
        if (a->mode == KL) {
            double lq = y[j] - lse_y;
            v += exp(lq) * (lq - lp);
        } else {
            v -= q[j] * lp;
        }
    }
    return v;
}

/* g += weight (dz of one row or column entry), where p is the student's softmax, q and y the target's. lse
 * and kl are those of the row, or of column j. */
static void reversed_pull(const pupil_loss *l, const slot *at, const aim *a, bool columns, double weight,
                          const double *z, const double *y, const double *p, double *g)
{
    int64_t b = l->c.batch;
    const aim *of = columns ? &l->aim[a->twin] : a; /* whose rows these are */
    for (int64_t i = 0; i < l->rows; i++)
        for (int64_t j = 0; j < b; j++) {
            const double *s = stat_at(l, 1, columns ? j : at->first + i);
            int64_t e = i * b + j;
            double lp = z[e] - s[l->board[of->board].lse], lq = y[e] - s[l->board[of->target[0]].lse];
            g[e] += weight * p[e] * (lp - lq - s[of->kl]);
        }
}

/* One aim of a board whose logits are z and softmax (of rows, or seen by columns) is p. */
static void aim_pull(pupil_loss *l, const slot *at, const aim *a, bool columns, const double *z,
                     const double *p, double *g)
{
    int64_t n = l->rows, b = l->c.batch;
    double share = a->share * (columns ? a->column : a->row) / (double)b,
           weight = share * term_of(l, a->term)->weight;
    double *y = l->square[3], *q = l->square[4];
    if (a->mode != LABELS) target(l, at, a, columns, y, q);
    for (int64_t i = 0; i < n && !columns; i++)
        at->value[a->term] += share * row_value(l, a, stat_at(l, 1, at->first + i), z + i * b, y + i * b,
                                                q + i * b, at->first + i);
    if (a->mode == REVERSED_KL) {
        reversed_pull(l, at, a, columns, weight, z, y, p, g);
        return;
    }
    add_scaled(g, p, weight, n * b);
    if (a->mode != LABELS) add_scaled(g, q, -weight, n * b);
    for (int64_t i = 0; i < n && a->mode == LABELS; i++) g[i * b + at->first + i] -= weight;
}

static void board_grad(pupil_loss *l, const slot *at, int b)
{
    int64_t count = l->rows * l->c.batch;
    const board *o = &l->board[b];
    double *z = l->square[0], *p = l->square[1], *g = l->square[2];
    bool rows = false, columns = false;
    int mirror = -1;
    for (int i = 0; i < l->aims; i++) {
        const aim *a = &l->aim[i];
        if (a->board != b) continue;
        rows |= a->row != 0;
        columns |= a->column != 0 && o->own->grad;
        if (a->column != 0) mirror = a->mirror;
    }
    if (!rows && !columns) return;
    board_logits(l, at, b, z);
    memset(g, 0, (size_t)count * sizeof *g);
    if (rows) board_rows(l, at, b, z, p);
    for (int i = 0; i < l->aims && rows; i++)
        if (l->aim[i].board == b && l->aim[i].row != 0) aim_pull(l, at, &l->aim[i], false, z, p, g);
    scale_grad(&o->scale, at, loss_dot(g, z, count));
    if (!o->own->grad) return;
    if (columns) board_columns(l, mirror, z, p);
    for (int i = 0; i < l->aims && columns; i++)
        if (l->aim[i].board == b && l->aim[i].column != 0) aim_pull(l, at, &l->aim[i], true, z, p, g);
    loss_pull(l, o->own, scale_of(&o->scale, at->p), g, o->all);
}

static void pairs_grad(pupil_loss *l, const slot *at)
{
    for (int b = 0; b < l->boards; b++) board_grad(l, at, b);
}

const family family_pairs = {pairs_open, pairs_round, pairs_grad};
