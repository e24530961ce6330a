/* learn.c: the training of a head of an evaluation: the slots of every batch are shared by the ranks, their gradients added in
 * the fixed tree, each rank advances its range of the parameters, and all get them. */
#include "learn.h"

#include "pupil/optim.h"

#include <math.h>

typedef struct {
    job *j;
    const lesson *l;
    pupil_conf_train c;
    int64_t per_epoch, total;
    pupil_slot_sum *sum;
    float *m, *v;
    double *chunk, loss[LESSON_SLOTS];
    int64_t *range, *item;
    size_t *bytes;
    pupil_decay_run *run;
    int64_t runs, slow; /* the first `slow` of them are trained slowly */
    int failed;         /* of a gradient here */
} learner;

static void learner_new(learner *s, job *j, const lesson *l)
{
    int size = pupil_comm_size(j->world);
    *s = (learner){.j = j, .l = l, .per_epoch = (l->n + l->batch - 1) / l->batch, .total = l->trained};
    int64_t steps = l->epochs * s->per_epoch;
    s->c = (pupil_conf_train){.steps = steps, .warmup = PUPIL_MAX(steps / 20, (int64_t)1), .lr = l->lr, .wd = 0.05, .beta1 = 0.9, .beta2 = 0.98,
                              .eps = 1e-8, .grad_clip_norm = 1, .lr_schedule = PUPIL_LR_COSINE};
    s->m = pupil_alloc((size_t)s->total * sizeof *s->m), s->v = pupil_alloc((size_t)s->total * sizeof *s->v);
    s->chunk = pupil_alloc((size_t)(s->total / PUPIL_CHUNK + 1) * sizeof *s->chunk);
    s->range = pupil_alloc((size_t)(size + 1) * sizeof *s->range), s->bytes = pupil_alloc((size_t)(size + 1) * sizeof *s->bytes);
    s->item = pupil_alloc((size_t)l->batch * sizeof *s->item);
    pupil_optim_ranges(s->total, size, s->range);
    s->run = pupil_alloc((size_t)l->table->n * sizeof *s->run);
    for (int64_t i = 0; i < l->table->n && l->table->t[i].offset < l->trained; i++)
        s->run[s->runs++] = (pupil_decay_run){.offset = l->table->t[i].offset, .count = l->table->t[i].count, .decay = l->table->t[i].decay};
    while (s->slow < s->runs && s->run[s->slow].offset < l->slow) s->slow++;
}

static void learner_free(learner *s)
{
    pupil_slot_sum_free(&s->sum);
    pupil_free(&s->m);
    pupil_free(&s->v);
    pupil_free(&s->chunk);
    pupil_free(&s->range);
    pupil_free(&s->bytes);
    pupil_free(&s->item);
    pupil_free(&s->run);
}

/* Own slots of step `step`; returns how many items the batch has. */
static void slots(learner *s, int64_t step)
{
    const lesson *l = s->l;
    int64_t epoch = step / s->per_epoch, at = step % s->per_epoch * l->batch, n = PUPIL_MIN(l->batch, l->n - at), weight = 0;
    for (int64_t i = 0; i < n; i++) {
        s->item[i] = (int64_t)pupil_permute(l->seed, PUPIL_STREAM_PROBE, (l->order << 32) + (uint64_t)epoch, (uint64_t)l->n, (uint64_t)(at + i));
        weight += l->weight ? l->weight[s->item[i]] : 1;
    }
    int me = pupil_comm_rank(s->j->world), size = pupil_comm_size(s->j->world);
    for (int64_t k = pupil_slot_first(LESSON_SLOTS, size, me); k < pupil_slot_first(LESSON_SLOTS, size, me + 1); k++) {
        int64_t first = n * k / LESSON_SLOTS, end = n * (k + 1) / LESSON_SLOTS;
        float *grads = pupil_slot_sum_begin(s->sum);
        if (s->failed == 0) s->failed = l->gradient(l->ctx, l->params, s->item + first, end - first, 1 / (double)weight, grads, &s->loss[k]);
        if (s->failed) s->loss[k] = NAN; /* so that all ranks hear of it */
        pupil_slot_sum_end(s->sum);
    }
}

static int gather(learner *s, void *base, size_t size, int64_t piece)
{
    for (int p = 0; p <= pupil_comm_size(s->j->world); p++) s->bytes[p] = (size_t)((s->range[p] + piece - 1) / piece) * size;
    return pupil_gather_ranges(s->j->world, base, s->bytes);
}

static int advance(learner *s, int64_t step, double loss)
{
    int64_t begin = s->range[pupil_comm_rank(s->j->world)], end = s->range[pupil_comm_rank(s->j->world) + 1];
    float *grad;
    PUPIL_TRY(pupil_slot_sum_scatter(s->sum, &grad));
    pupil_grad_sumsq(grad, begin, end, s->chunk);
    PUPIL_TRY(gather(s, s->chunk, sizeof *s->chunk, PUPIL_CHUNK));
    double norm = pupil_grad_norm(s->chunk, s->total);
    if (!isfinite(loss)) PUPIL_TRY(pupil_agree(s->j->world, s->failed));
    if (!isfinite(norm) || !isfinite(loss))
        return pupil_fail(PUPIL_ENUMERIC, "%s: the loss of step %lld is not finite (lr %g)", s->l->name, (long long)step + 1, s->l->lr);
    double lr = pupil_lr_at(&s->c, step), clip = pupil_clip_factor(norm, s->c.grad_clip_norm);
    pupil_adamw(s->l->params, s->m, s->v, grad, begin, end, s->run, s->slow, &s->c, lr * s->l->slow_lr / s->l->lr, clip, step + 1);
    pupil_adamw(s->l->params, s->m, s->v, grad, begin, end, s->run + s->slow, s->runs - s->slow, &s->c, lr, clip, step + 1);
    return gather(s, s->l->params, sizeof(float), 1);
}

static int one_step(learner *s, int64_t step, double *ret_loss)
{
    int64_t stop = pupil_signal_seen();
    PUPIL_TRY(pupil_max(s->j->world, &stop, 1));
    if (stop) return pupil_fail(PUPIL_ESTOP, "stopped by signal %lld during the evaluation", (long long)stop);
    slots(s, step);
    PUPIL_TRY(pupil_slot_sum_doubles(s->j->world, LESSON_SLOTS, s->loss, 1, ret_loss));
    return advance(s, step, *ret_loss);
}

int learn(job *j, const lesson *l)
{
    learner s;
    char eta[32];
    double since = pupil_now(), loss;
    learner_new(&s, j, l);
    int r = pupil_slot_sum_new(j->world, j->conf->ranks.reduce, LESSON_SLOTS, s.total, s.range, 0, &s.sum);
    for (int64_t step = 0; step < s.c.steps && r == 0; step++) {
        r = one_step(&s, step, &loss);
        double left = (pupil_now() - since) / (double)(step + 1) * (double)(s.c.steps - step - 1);
        if (r == 0)
            pupil_progress(false, "evaluate  %s: step %lld/%lld   loss %.4f   ETA %s", l->name, (long long)step + 1, (long long)s.c.steps, loss,
                           pupil_duration(left, eta));
    }
    learner_free(&s);
    return r;
}
