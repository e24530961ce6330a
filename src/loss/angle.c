/* angle.c: RKD's angles: cos(e_i - e_j, e_k - e_j) of all triples of a batch, student's and teacher's compared by smooth L1.
 * The work, O(batch^3), is shared by rows: an own row r is the apex of all (r; x, k), and an end of all (x; r, k) for the sake of
 * its gradient. Gram matrices stand for the features, a block of rows at a time, so memory stays O(slot rows x batch). With G the
 * Gram matrix and L_ab = 1 / |e_a - e_b| (0 where they coincide):
 *   cos(x; r, k) = (G_rk - G_xk + G_xx - G_rx) L_xr L_xk        cos(r; x, k) = (G_xk - G_rk + G_rr - G_rx) L_xr L_rk
 * The gradient w.r.t. e_r is sum_x W_rx (e_x - e_r), p being the slope of smooth L1 at the difference, f = 2/batch^3:
 *   as an end:    W_rk += f p L_xk L_xr     W_rx -= f sum_k p (L_xk L_xr - cos L_xr^2)
 *   as the apex:                            W_rx -= f sum_k p (L_rk L_xr - cos L_xr^2) */
#include "relation.h"

/* One side's Gram rows and inverse distances. */
typedef struct {
    double *square;                        /* [batch] */
    double *own, *own_l, *block, *block_l; /* [rows, batch] */
} gram;

static bool wanted(const pupil_loss *l, int s)
{
    return on(l, PUPIL_TERM_RKD_ANGLE) && side_on(term_of(l, PUPIL_TERM_RKD_ANGLE), s);
}

static void angle_open(pupil_loss *l)
{
    loss_squares(l, on(l, PUPIL_TERM_RKD_ANGLE) ? 8 : 0);
    for (int k = 0; k < l->c.teachers; k++)
        for (int s = 0; s <= l->captions; s++) {
            if (!wanted(l, s)) continue;
            loss_share(relation_student(l, PUPIL_TERM_RKD_ANGLE, s), 0);
            loss_share(l->teacher[k][s], 0);
        }
}

static void inverse_distances(const pupil_loss *l, const double *square, int64_t first, const double *g,
                              double *inverse)
{
    int64_t b = l->c.batch;
    for (int64_t i = 0; i < l->rows; i++)
        for (int64_t j = 0; j < b; j++) {
            double d = j == first + i ? 0 : relation_distance(g[i * b + j], square[first + i], square[j]);
            inverse[i * b + j] = d > 0 ? (1 / d) : 0;
        }
}

/* What the triples of own row r and block row x give: sums over k. */
typedef struct {
    double near, cos, value;
} triples;

/* Of one side: Gram rows of r and x, inverse distances of both, and what they have in common. */
typedef struct {
    const double *r, *x, *r_l, *x_l;
    double end, apex, l; /* G_xx - G_rx, G_rr - G_rx, L_xr */
} rows;

/* Twice that of smooth L1, u cut to [-1, 1], without a comparison that the compiler would turn into branches. */
static inline double twice_slope(double u) { return fabs(u + 1) - fabs(u - 1); }

/* Those in which r and k are ends. pull[k] += 2 p L_xk L_xr. */
PUPIL_CLONES static triples as_an_end(const rows *s, const rows *t, double *pull, int64_t n)
{
    double near = 0, cos = 0;
    const double *sr = s->r, *sx = s->x, *sxl = s->x_l, *tr = t->r, *tx = t->x, *txl = t->x_l;
    double se = s->end, sl = s->l, te = t->end, tl = t->l;
#pragma omp simd reduction(+ : near, cos)
    for (int64_t k = 0; k < n; k++) {
        double both = sl * sxl[k], end = (sr[k] - sx[k] + se) * both;
        double p = twice_slope(end - (tr[k] - tx[k] + te) * (tl * txl[k])), by = p * both;
        pull[k] += by;
        near += by;
        cos += p * end;
    }
    return (triples){near, cos, 0};
}

/* Those with r as the apex and k from `k` on; (r; k, x) is (r; x, k), so k beyond x do, and
 * pull[k] -= 2 p (L_rk L_xr - cos L_rk^2) is what x would have been to k. */
PUPIL_CLONES static triples as_the_apex(const rows *s, const rows *t, double *pull, int64_t k, int64_t n)
{
    double near = 0, cos = 0, value = 0;
    const double *sr = s->r, *sx = s->x, *srl = s->r_l, *tr = t->r, *tx = t->x, *trl = t->r_l;
    double sa = s->apex, sl = s->l, ta = t->apex, tl = t->l;
#pragma omp simd reduction(+ : near, cos, value)
    for (int64_t i = k; i < n; i++) {
        double l = srl[i], both = sl * l, apex = (sa - (sr[i] - sx[i])) * both;
        double u = apex - (ta - (tr[i] - tx[i])) * (tl * trl[i]), p = twice_slope(u), by = p * both, turned = p * apex;
        pull[i] -= by - turned * (l * l);
        near += by;
        cos += turned;
        value += p * (u - 0.25 * p); /* twice u^2/2, or |u| - 1/2 */
    }
    return (triples){near, cos, value};
}

static rows rows_of(const gram *g, int64_t n, int64_t r, int64_t x, int64_t r_at, int64_t x_at)
{
    double rx = g->own[r * n + x_at];
    return (rows){g->own + r * n,         g->block + x * n,       g->own_l + r * n,      g->block_l + x * n,
                  (g->square[x_at] - rx), (g->square[r_at] - rx), g->own_l[r * n + x_at]};
}

/* Own rows against the block of rows from `block` on, a few of these at a time so that they stay in the cache;
 * w[rows, batch] += 2 W / f. Returns the value's sum. */
static double block_pull(const pupil_loss *l, int64_t first, int64_t block, const gram *s, const gram *t, double *w)
{
    enum { AT_A_TIME = 16 };
    int64_t n = l->rows, b = l->c.batch;
    double value = 0;
    for (int64_t few = 0; few < n; few += AT_A_TIME)
        for (int64_t r = 0; r < n; r++)
            for (int64_t x = few; x < PUPIL_MIN(n, few + AT_A_TIME); x++) {
                if (first + r == block + x) continue;
                rows of_s = rows_of(s, b, r, x, first + r, block + x), of_t = rows_of(t, b, r, x, first + r, block + x);
                triples end = as_an_end(&of_s, &of_t, w + r * b, b), apex = as_the_apex(&of_s, &of_t, w + r * b, block + x + 1, b);
                w[r * b + block + x] -= end.near + apex.near - (end.cos + apex.cos) * of_s.l * of_s.l;
                value += apex.value;
            }
    return value;
}

static gram gram_new(const pupil_loss *l, const slot *at, const matrix *m, double *const *square)
{
    gram g = {pupil_alloc((size_t)l->c.batch * sizeof(double)), square[0], square[1], square[2], square[3]};
    relation_squares(l, m, g.square);
    relation_gram(l, m, at->first, g.own);
    inverse_distances(l, g.square, at->first, g.own, g.own_l);
    return g;
}

static void gram_block(const pupil_loss *l, const matrix *m, int64_t first, gram *g)
{
    relation_gram(l, m, first, g->block);
    inverse_distances(l, g->square, first, g->block, g->block_l);
}

static void angle_rows_grad(pupil_loss *l, const slot *at, int k, int s)
{
    int64_t n = l->rows, b = l->c.batch;
    const matrix *m = relation_student(l, PUPIL_TERM_RKD_ANGLE, s), *T = l->teacher[k][s];
    double cube = b * b * b, share = l->c.teacher[k].weight * times_seen(l, s) / cube, value = 0;
    gram gs = gram_new(l, at, m, l->square), gt = gram_new(l, at, T, l->square + 4);
    double *w = pupil_alloc((size_t)(n * b) * sizeof *w),
           scaled = share * term_of(l, PUPIL_TERM_RKD_ANGLE)->weight;
    for (int64_t block = 0; block < b; block += n) {
        gram_block(l, m, block, &gs);
        gram_block(l, T, block, &gt);
        value += block_pull(l, at->first, block, &gs, &gt, w);
    }
    at->value[PUPIL_TERM_RKD_ANGLE] += share * value;
    for (int64_t i = 0; i < n * b; i++) l->square[0][i] = scaled * w[i];
    relation_pull(l, at, m, l->square[0]);
    pupil_free(&w);
    pupil_free(&gs.square);
    pupil_free(&gt.square);
}

static void angle_grad(pupil_loss *l, const slot *at)
{
    for (int k = 0; k < l->c.teachers; k++)
        for (int s = 0; s <= l->captions; s++)
            if (wanted(l, s)) angle_rows_grad(l, at, k, s);
}

const family family_angle = {angle_open, NULL, angle_grad};
