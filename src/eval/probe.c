/* probe.c: the VQA probe on frozen embeddings (x = [v; q; v*q; |v-q|] -> Linear -> GELU -> Linear, soft-label
 * BCE, AdamW with a cosine) and its two blind relatives. For one seed, BLAS kernel and thread count the answers
 * are the same on every run.
 *
 * Entries of unit vectors are about 1/sqrt(d), and CLIP's embeddings share a large mean: v and q are normalised,
 * then standardised by the training set's columns, before products and differences are formed. The output bias
 * starts at the log-odds of each answer's mean target, so training begins at the answer prior. */
#include "probe.h"

#include "pupil/math.h"

#include <math.h>
#include <string.h>

/* ---- the head ------------------------------------------------------------------------------------- */
static float *w1_of(const probe *p, float *arena) { return arena; }
static float *w2_of(const probe *p, float *arena) { return arena + p->hidden * p->features; }
static float *b1_of(const probe *p, float *arena) { return arena + p->matrices; }
static float *b2_of(const probe *p, float *arena) { return arena + p->matrices + p->hidden; }

static float *floats(int64_t n) { return pupil_alloc((size_t)n * sizeof(float)); }

static void fill_normal(float *w, int64_t n, double std, uint64_t seed, uint64_t index)
{
    pupil_rng r = pupil_rng_at(seed, PUPIL_STREAM_PROBE, index);
    for (int64_t i = 0; i < n; i++) w[i] = (float)(std * pupil_rng_normal(&r));
}

void probe_init(probe *p, int64_t features, int64_t hidden, int64_t answers, int64_t batch, uint64_t seed)
{
    *p = (probe){.features = features, .hidden = hidden, .answers = answers, .batch = batch};
    p->matrices = hidden * (features + answers);
    p->count = p->matrices + hidden + answers;
    p->param = floats(p->count), p->grad = floats(p->count);
    p->h = floats(batch * hidden), p->a = floats(batch * hidden), p->da = floats(batch * hidden);
    p->z = floats(batch * answers), p->dz = floats(batch * answers);
    fill_normal(w1_of(p, p->param), hidden * features, 1 / sqrt((double)features), seed, UINT64_MAX);
    fill_normal(w2_of(p, p->param), answers * hidden, 0.1 / sqrt((double)hidden), seed, UINT64_MAX - 1);
}

void probe_free(probe *p)
{
    float **owned[] = {&p->param, &p->grad, &p->h, &p->a, &p->z, &p->dz, &p->da};
    for (int i = 0; i < PUPIL_COUNT(owned); i++) pupil_free(owned[i]);
}

void probe_forward(probe *p, const float *x, int64_t n)
{
    pupil_linear_forward(p->h, x, w1_of(p, p->param), NULL, n, p->features, p->hidden);
    pupil_bias_act_forward(p->a, p->h, b1_of(p, p->param), n, p->hidden, false);
    pupil_linear_forward(p->z, p->a, w2_of(p, p->param), b2_of(p, p->param), n, p->hidden, p->answers);
}

/* softplus(z) and sigmoid(z) come from e = exp(-|z|): softplus(z) = max(z,0) + log(1+e), with one log for a product of up to
 * 64 factors in [1,2]. */
double probe_cross_entropy(float *dz, const float *z, const float *target, int64_t count, float scale)
{
    enum { RUN = 64 };
    const double zero = 0;
    for (int64_t i = 0; i < count; i++) dz[i] = -fabsf(z[i]);
    pupil_exp_minus(dz, dz, &zero, NULL, 1, count);
    double sum = 0;
    for (int64_t i0 = 0; i0 < count; i0 += RUN) {
        double product = 1, linear = 0;
        for (int64_t i = i0; i < PUPIL_MIN(i0 + RUN, count); i++) {
            float e = dz[i], positive = 1.0f / (1.0f + e);
            product *= 1 + (double)e;
            linear += (double)(PUPIL_MAX(z[i], 0) - target[i] * z[i]);
            dz[i] = ((z[i] >= 0 ? positive : e * positive) - target[i]) * scale;
        }
        sum += linear + log(product);
    }
    return sum;
}

double probe_gradient(probe *p, const float *x, const float *target, int64_t n)
{
    probe_forward(p, x, n);
    double loss = probe_cross_entropy(p->dz, p->z, target, n * p->answers, 1.0f / (float)n) / (double)n;
    memset(p->grad, 0, (size_t)p->count * sizeof *p->grad);
    pupil_linear_backward(p->da, w2_of(p, p->grad), b2_of(p, p->grad), p->dz, p->a, w2_of(p, p->param), n, p->hidden,
                          p->answers);
    pupil_act_backward(p->da, p->da, p->h, n * p->hidden, false);
    pupil_linear_backward(NULL, w1_of(p, p->grad), b1_of(p, p->grad), p->da, x, w1_of(p, p->param), n, p->features,
                          p->hidden);
    return loss;
}

/* ---- its input ------------------------------------------------------------------------------------ */
/* Per column of one kind of embedding: mean and 1/deviation over the training questions. */
typedef struct {
    float *mean, *scale;
} columns;

static const float *row_of(const pupil_probe_data *data, bool image, int64_t i, int64_t d)
{
    return image ? data->image + data->image_row[i] * d : data->question + i * d;
}

static float inverse_norm(const float *x, int64_t d)
{
    double sum = 0;
    for (int64_t j = 0; j < d; j++) sum += (double)x[j] * (double)x[j];
    return (float)(1 / PUPIL_MAX(sqrt(sum), 1e-12));
}

static columns columns_of(const pupil_probe_data *data, bool image, int64_t d)
{
    columns c = {floats(d), floats(d)};
    double *sum = pupil_alloc((size_t)d * 2 * sizeof *sum), *square = sum + d, variance = 0;
    for (int64_t i = 0; i < data->n; i++) {
        const float *x = row_of(data, image, i, d);
        float inverse = inverse_norm(x, d);
        for (int64_t j = 0; j < d; j++) {
            double u = (double)(x[j] * inverse);
            sum[j] += u;
            square[j] += u * u;
        }
    }
    double n = (double)PUPIL_MAX(data->n, 1);
    for (int64_t j = 0; j < d; j++) {
        sum[j] /= n;
        square[j] = PUPIL_MAX(square[j] / n - sum[j] * sum[j], 0);
        variance += square[j] / (double)d;
    }
    /* a column that hardly moves is not blown up: no deviation counts as less than a tenth of the usual one */
    for (int64_t j = 0; j < d; j++) {
        c.mean[j] = (float)sum[j];
        c.scale[j] = (float)(1 / sqrt(PUPIL_MAX(PUPIL_MAX(square[j], variance / 100), 1e-12)));
    }
    pupil_free(&sum);
    return c;
}

static void columns_free(columns *c)
{
    pupil_free(&c->mean);
    pupil_free(&c->scale);
}

static void standardise(float *y, const float *x, const columns *c, int64_t d)
{
    float inverse = inverse_norm(x, d);
    for (int64_t j = 0; j < d; j++) y[j] = (x[j] * inverse - c->mean[j]) * c->scale[j];
}

struct pupil_pooled {
    pupil_probe_inputs inputs;
    int64_t dim;
    columns image, question;
};

pupil_pooled *pupil_pooled_new(pupil_probe_inputs inputs, int64_t dim, const pupil_probe_data *train)
{
    pupil_pooled *p = pupil_alloc(sizeof *p);
    *p = (pupil_pooled){.inputs = inputs, .dim = dim};
    if (inputs != PUPIL_PROBE_QUESTION) p->image = columns_of(train, true, dim);
    if (inputs != PUPIL_PROBE_IMAGE) p->question = columns_of(train, false, dim);
    return p;
}

void pupil_pooled_free(pupil_pooled **p)
{
    if (!*p) return;
    columns_free(&(*p)->image);
    columns_free(&(*p)->question);
    pupil_free(p);
}

int64_t pupil_pooled_width(const pupil_pooled *p) { return p->inputs == PUPIL_PROBE_FULL ? 4 * p->dim : p->dim; }

void pupil_pooled_row(const pupil_pooled *p, const pupil_probe_data *data, int64_t i, float *x)
{
    int64_t d = p->dim;
    float *v = x, *q = p->inputs == PUPIL_PROBE_FULL ? x + d : x;
    if (p->inputs != PUPIL_PROBE_QUESTION) standardise(v, row_of(data, true, i, d), &p->image, d);
    if (p->inputs != PUPIL_PROBE_IMAGE) standardise(q, row_of(data, false, i, d), &p->question, d);
    if (p->inputs != PUPIL_PROBE_FULL) return;
    for (int64_t j = 0; j < d; j++) {
        x[2 * d + j] = v[j] * q[j];
        x[3 * d + j] = fabsf(v[j] - q[j]);
    }
}

/* ---- training ------------------------------------------------------------------------------------- */
typedef struct {
    const pupil_probe_conf *conf;
    probe head;
    pupil_pooled *pooled;
    float *x, *target; /* one batch */
    float *m, *v;      /* AdamW's moments */
} session;

/* AdamW (Loshchilov & Hutter 2019): decoupled decay on the matrices. `step` counts from 1. */
static void adamw(session *s, int64_t step, double lr)
{
    const double beta1 = 0.9, beta2 = 0.98, eps = 1e-8, decay = 0.05;
    float b1 = (float)beta1, b2 = (float)beta2;
    float rate = (float)(lr / (1 - pow(beta1, (double)step)));
    float root = (float)(1 / sqrt(1 - pow(beta2, (double)step)));
    float *w = s->head.param, *g = s->head.grad, *m = s->m, *v = s->v;
    for (int part = 0; part < 2; part++) {
        int64_t end = part ? s->head.count : s->head.matrices;
        float keep = part ? 1 : (float)(1 - lr * decay);
        for (int64_t i = part ? s->head.matrices : 0; i < end; i++) {
            m[i] = b1 * m[i] + (1 - b1) * g[i];
            v[i] = b2 * v[i] + (1 - b2) * g[i] * g[i];
            w[i] = keep * w[i] - rate * m[i] / (sqrtf(v[i]) * root + (float)eps);
        }
    }
}

/* Linear warm-up over the first twentieth of the steps, then half a cosine down to zero. */
static double rate_at(double lr, int64_t step, int64_t steps)
{
    int64_t warm = PUPIL_MAX(steps / 20, 1);
    if (step < warm) return lr * (double)(step + 1) / (double)warm;
    return 0.5 * lr * (1 + cos(M_PI * (double)(step - warm) / (double)PUPIL_MAX(steps - warm, 1)));
}

void probe_prior(const float *target, int64_t n, int64_t answers, float *bias)
{
    for (int64_t k = 0; k < answers; k++) {
        double mean = 0;
        for (int64_t i = 0; i < n; i++) mean += (double)target[i * answers + k] / (double)n;
        mean = PUPIL_MIN(PUPIL_MAX(mean, 1e-5), 1 - 1e-5);
        bias[k] = (float)log(mean / (1 - mean));
    }
}

static int train_head(session *s, const pupil_probe_data *train, const float *target,
                      void (*tick)(void *, int64_t, int64_t), void *ctx)
{
    const pupil_probe_conf *c = s->conf;
    int64_t per_epoch = (train->n + c->batch - 1) / c->batch, steps = c->epochs * per_epoch, answers = s->head.answers;
    probe_prior(target, train->n, answers, b2_of(&s->head, s->head.param));
    for (int64_t step = 0; step < steps; step++) {
        int64_t epoch = step / per_epoch, first = step % per_epoch * c->batch;
        int64_t n = PUPIL_MIN(c->batch, train->n - first);
        for (int64_t r = 0; r < n; r++) {
            int64_t i = (int64_t)pupil_permute(c->seed, PUPIL_STREAM_PROBE, (uint64_t)epoch, (uint64_t)train->n,
                                               (uint64_t)(first + r));
            pupil_pooled_row(s->pooled, train, i, s->x + r * s->head.features);
            memcpy(s->target + r * answers, target + i * answers, (size_t)answers * sizeof *target);
        }
        double loss = probe_gradient(&s->head, s->x, s->target, n);
        if (!isfinite(loss))
            return pupil_fail(PUPIL_ENUMERIC, "VQA probe: the loss of step %lld is not finite (lr %g)", (long long)step,
                              c->lr);
        adamw(s, step + 1, rate_at(c->lr, step, steps));
        if (tick && (step + 1) % per_epoch == 0) tick(ctx, epoch + 1, c->epochs);
    }
    return 0;
}

int32_t probe_argmax(const float *z, int64_t n)
{
    int32_t best = 0;
    for (int32_t k = 1; k < n; k++)
        if (z[k] > z[best]) best = k;
    return best;
}

static void predict(session *s, const pupil_probe_data *test, int32_t *ret_answer)
{
    for (int64_t first = 0; first < test->n; first += s->conf->batch) {
        int64_t n = PUPIL_MIN(s->conf->batch, test->n - first);
        for (int64_t r = 0; r < n; r++)
            pupil_pooled_row(s->pooled, test, first + r, s->x + r * s->head.features);
        probe_forward(&s->head, s->x, n);
        for (int64_t r = 0; r < n; r++)
            ret_answer[first + r] = probe_argmax(s->head.z + r * s->head.answers, s->head.answers);
    }
}

int pupil_probe_run(const pupil_probe_conf *c, const pupil_probe_data *train, const float *target, int n_answers,
                    const pupil_probe_data *test, int32_t *ret_answer, void (*tick)(void *, int64_t, int64_t), void *ctx)
{
    PUPIL_REQUIRE(c->dim > 0 && c->hidden > 0 && c->batch > 0 && n_answers > 0);
    if (train->n <= 0) return pupil_fail(PUPIL_EUSER, "VQA probe: there are no training questions");
    session s = {.conf = c};
    s.pooled = pupil_pooled_new(c->inputs, c->dim, train);
    probe_init(&s.head, pupil_pooled_width(s.pooled), c->hidden, n_answers, c->batch, c->seed);
    s.x = floats(c->batch * s.head.features), s.target = floats(c->batch * n_answers);
    s.m = floats(s.head.count), s.v = floats(s.head.count);
    int r = train_head(&s, train, target, tick, ctx);
    if (r == 0) predict(&s, test, ret_answer);
    float **owned[] = {&s.x, &s.target, &s.m, &s.v};
    for (int i = 0; i < PUPIL_COUNT(owned); i++) pupil_free(owned[i]);
    pupil_pooled_free(&s.pooled);
    probe_free(&s.head);
    return r;
}
