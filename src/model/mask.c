/* mask.c: learned masks of MLP channels: hard-concrete gates (Louizos et al. 2018, arXiv 1712.01312) under a Lagrangian on their
 * expected sparsity, as in TinyCLIP's automatic inheritance (arXiv 2309.12314). A gate multiplies its channel's column of the
 * MLP's second matrix, so the towers run unchanged over masked weights, and a closed gate is exactly a channel that is not
 * there. Heads and channels of the stream have no gates: no published configuration has room for heads that do not fill the
 * width, and a layer norm over masked channels is not one over fewer. */
#include "clip.h"

#include <math.h>
#include <string.h>

static const double beta = 2.0 / 3, below = -0.1, above = 1.1, most = 4.605170185988092 /* ln 100 */, multiplier = 10;

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }
static double clamp(double x, double low, double high) { return fmin(fmax(x, low), high); }
static const tower *tower_at(const pupil_clip *c, int s) { return s ? &c->text : &c->image; }

int pupil_masks_check(const pupil_arch *a, const char *what)
{
    if (a->pool == PUPIL_POOL_MAP || a->inner_norm)
        return pupil_fail(PUPIL_EUSER, "%s: not for a model with %s", what,
                          a->inner_norm ? "a norm inside its MLPs" : "attention pooling, whose MLP is as wide as its tower's");
    return 0;
}

void pupil_masks_add(pupil_clip *c, pupil_masks *ret)
{
    *ret = (pupil_masks){.first = c->table.total};
    for (int s = 0; s < 2; s++) {
        const tower *t = tower_at(c, s);
        char name[96];
        ret->n[s] = t->layers * t->mlp;
        if (!ret->n[s]) continue;
        snprintf(name, sizeof name, "loss.mask.%s.log_alpha", s ? "text" : "image");
        ret->alpha[s] = pupil_table_add(&c->table, name, 1, &ret->n[s], PUPIL_INIT_CONST, most);
        snprintf(name, sizeof name, "loss.mask.%s.multipliers", s ? "text" : "image");
        ret->multipliers[s] = pupil_table_add(&c->table, name, 1, (int64_t[]){2}, PUPIL_INIT_CONST, multiplier);
    }
}

/* ---- gates ----------------------------------------------------------------------------------------- */
typedef struct {
    double value, slope; /* by log alpha */
} gate;

static gate gate_drawn(double alpha, const pupil_mask_draw *d, uint64_t i)
{
    pupil_rng r = pupil_rng_at(d->seed, PUPIL_STREAM_MASKS, d->step << 32 | i);
    double u = clamp(pupil_rng_uniform(&r), 1e-6, 1 - 1e-6), s = sigmoid((log(u / (1 - u)) + alpha) / beta);
    double z = s * (above - below) + below;
    if (z <= 0 || z >= 1) return (gate){z >= 1, 0};
    return (gate){z, (above - below) * s * (1 - s) / beta};
}

static double gate_expected(double alpha) { return clamp(sigmoid(alpha) * (above - below) + below, 0, 1); }

/* That it is not 0. */
static double open_probability(double alpha) { return sigmoid(alpha - beta * log(-below / above)); }

double pupil_masks_sparsity(const pupil_masks *m, const float *params, int s)
{
    double open = 0;
    for (int64_t i = 0; i < m->n[s]; i++) open += open_probability((double)params[m->alpha[s] + i]);
    return m->n[s] ? 1 - open / (double)m->n[s] : 0;
}

static int64_t second_matrix(const tower *t, int64_t layer) { return t->first + layer * t->stride + t->at.proj_w; }

/* ---- masked weights --------------------------------------------------------------------------------- */
void pupil_masks_apply(const pupil_clip *c, const pupil_masks *m, const float *params, const pupil_mask_draw *draw, float *masked)
{
    memcpy(masked, params, (size_t)c->table.total * sizeof *masked);
    for (int s = 0; s < 2; s++) {
        const tower *t = tower_at(c, s);
        for (int64_t i = 0; i < m->n[s]; i++) {
            double alpha = (double)params[m->alpha[s] + i];
            float z = (float)(draw ? gate_drawn(alpha, draw, (uint64_t)(m->n[0] * s + i)).value : gate_expected(alpha));
            float *w = masked + second_matrix(t, i / t->mlp) + i % t->mlp;
            for (int64_t r = 0; r < t->width; r++) w[r * t->mlp] *= z;
        }
    }
}

void pupil_masks_backward(const pupil_clip *c, const pupil_masks *m, const float *params, const pupil_mask_draw *draw, float *grads)
{
    for (int s = 0; s < 2; s++) {
        const tower *t = tower_at(c, s);
        for (int64_t i = 0; i < m->n[s]; i++) {
            gate z = gate_drawn((double)params[m->alpha[s] + i], draw, (uint64_t)(m->n[0] * s + i));
            int64_t at = second_matrix(t, i / t->mlp) + i % t->mlp;
            double sum = 0;
            for (int64_t r = 0; r < t->width; r++) {
                sum += (double)grads[at + r * t->mlp] * (double)params[at + r * t->mlp];
                grads[at + r * t->mlp] *= (float)z.value;
            }
            grads[m->alpha[s] + i] += (float)(sum * z.slope);
        }
    }
}

/* ---- the Lagrangian ---------------------------------------------------------------------------------- */
double pupil_masks_penalty(const pupil_masks *m, const float *params, double target, float *grads)
{
    double value = 0;
    for (int s = 0; s < 2; s++) {
        double missing = fmax(0, target - pupil_masks_sparsity(m, params, s));
        if (!m->n[s] || missing <= 0) continue;
        const float *l = params + m->multipliers[s];
        double slope = (double)l[0] + 2 * (double)l[1] * missing;
        value += (double)l[0] * missing + (double)l[1] * missing * missing;
        for (int64_t i = 0; i < m->n[s]; i++) {
            double p = open_probability((double)params[m->alpha[s] + i]);
            grads[m->alpha[s] + i] += (float)(slope * p * (1 - p) / (double)m->n[s]);
        }
        grads[m->multipliers[s]] -= (float)missing;
        grads[m->multipliers[s] + 1] -= (float)(missing * missing);
    }
    return value;
}

void pupil_masks_clamp(const pupil_masks *m, float *params)
{
    for (int s = 0; s < 2; s++)
        for (int64_t i = 0; i < m->n[s]; i++) {
            float *a = params + m->alpha[s] + i;
            *a = (float)clamp((double)*a, -most, most);
        }
}

/* ---- the smaller model -------------------------------------------------------------------------------- */
pupil_arch pupil_masks_arch(const pupil_clip *c, const pupil_masks *m, const float *params)
{
    pupil_arch a = c->arch;
    for (int s = 0; s < 2; s++) {
        pupil_tower_arch *t = s ? &a.text : &a.image;
        if (m->n[s]) t->mlp = PUPIL_MAX((int64_t)1, (int64_t)llround((double)t->mlp * (1 - pupil_masks_sparsity(m, params, s))));
    }
    return a;
}

int pupil_masks_fuse(pupil_clip *c, const pupil_masks *m, const float *params, pupil_clip *to, float *to_params)
{
    float *masked = pupil_alloc((size_t)c->table.total * sizeof *masked);
    pupil_masks_apply(c, m, params, NULL, masked);
    pupil_weights *w = pupil_weights_flat(masked);
    const float *strength[2] = {params + m->alpha[0], params + m->alpha[1]};
    int r = pupil_inherit_channels(c, w, strength, to, to_params, "student.prune");
    pupil_weights_free(&w);
    pupil_free(&masked);
    return r;
}
