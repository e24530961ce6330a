/* step.c: one optimiser step of a student (or of a teacher that is trained here).
 *
 *   own slots: samples -> towers -> features
 *   own slots, in rounds: what the losses need      | gather it
 *   own slots: losses, gradients, towers backward   | slot sums in the fixed tree, each rank its range
 *   own range: norm, AdamW                          | gather the parameters
 */
#include "trainer.h"

#include "pupil/math.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void trainer_lap(trainer *t, phase which)
{
    double now = pupil_now();
    t->seconds[which] += now - t->since;
    if (t->trace) trace_span(t->trace, which, t->since, now);
    t->since = now;
}

static void forward_slot(trainer *t, int64_t k)
{
    pupil_acts *a = t->acts[t->c->recompute ? 0 : k];
    int64_t at = k * t->rows * t->arch.embed_dim;
    pupil_image_forward_patches(t->clip, t->weights, a, t->scratch, t->b[k].images, t->rows,
                                t->kept ? t->patch + k * t->rows * t->kept : NULL, t->kept, t->feat[0] + at);
    float *texts = t->feat[1] + t->captions * at;
    int64_t count = t->rows * t->arch.embed_dim;
    for (int64_t c = 0; c < t->captions && !t->arch.text.layers; c++) /* the teacher's texts are the student's */
        memcpy(texts + c * count, t->teacher[0][1 + c] + at, (size_t)count * sizeof *texts);
    if (t->arch.text.layers)
        pupil_text_forward(t->clip, t->weights, a, t->scratch, t->b[k].ids, t->b[k].cu, t->captions * t->rows, texts);
}

/* Rows of a batch matrix, `row_bytes` each, gathered by slots. */
static int gather_rows(trainer *t, void *base, size_t row_bytes)
{
    int size = pupil_comm_size(t->comm);
    for (int p = 0; p <= size; p++)
        t->bytes[p] = (size_t)(pupil_slot_first(t->c->slots, size, p) * t->rows) * row_bytes;
    return pupil_gather_ranges(t->comm, base, t->bytes);
}

/* Features of own slot k. */
static pupil_loss_input slot_features(const trainer *t, int64_t k)
{
    pupil_loss_input in = {0};
    int64_t slot = t->rows * t->arch.embed_dim;
    in.student[0] = t->feat[0] + k * slot;
    for (int s = 0; s <= t->captions; s++) {
        if (s) in.student[s] = t->feat[1] + (k * t->captions + s - 1) * slot;
        for (int i = 0; i < t->lc.teachers; i++) in.teacher[i][s] = t->teacher[i][s] + k * t->rows * t->lc.teacher[i].dim;
    }
    return in;
}

/* What the losses of a slot need of the other slots. */
static int gather_features(trainer *t, const pupil_loss_params *p)
{
    for (int round = 0; round < pupil_loss_rounds(t->loss); round++) {
        pupil_loss_rows gathered[PUPIL_LOSS_GATHERED];
        for (int64_t k = 0; k < t->slots; k++) {
            pupil_loss_input in = slot_features(t, k);
            pupil_loss_round(t->loss, round, t->first + k, &in, p);
        }
        int n = pupil_loss_gathered(t->loss, round, gathered);
        for (int i = 0; i < n; i++) PUPIL_TRY(gather_rows(t, gathered[i].rows, gathered[i].bytes));
    }
    return 0;
}

static pupil_mask_draw draw_of(const trainer *t) { return (pupil_mask_draw){(uint64_t)t->c->seed, (uint64_t)t->step}; }

/* From the masked weights' gradient to that of weights and masks. What is asked of the masks as a whole is slot 0's part. */
static void masks_backward(const trainer *t, int64_t slot, float *grads)
{
    pupil_mask_draw draw = draw_of(t);
    double ramp = (double)(t->step + 1) / (double)t->j->conf->student.prune.ramp;
    pupil_masks_backward(t->clip, &t->masks, t->params, &draw, grads);
    if (slot == 0) pupil_masks_penalty(&t->masks, t->params, t->j->conf->student.prune.target * fmin(1, ramp), grads);
}

/* Unless something is frozen or pruned, what backward has made is the gradient, and in its place. */
void trainer_final(void *trainer_, int64_t first, int64_t end)
{
    const trainer *t = trainer_;
    if (!t->grads && !t->prunes) pupil_slot_sum_final(t->sum, first, end);
}

static void backward_slot(trainer *t, int64_t k, const pupil_loss_params *p)
{
    pupil_acts *a = t->acts[t->c->recompute ? 0 : k];
    pupil_loss_input in = slot_features(t, k);
    float *const dfeat[PUPIL_LOSS_STREAMS] = {t->dfeat[0], t->dfeat[1], t->dfeat[1] + t->rows * t->arch.embed_dim};
    float *sum = pupil_slot_sum_begin(t->sum), *grads = t->grads ? t->grads : sum;
    if (t->grads) memset(grads, 0, (size_t)t->table->total * sizeof *grads);
    pupil_loss_params g = trainer_loss_params(t, grads);
    pupil_loss_grad(t->loss, t->first + k, &in, p, &g, dfeat, t->value + (t->first + k) * PUPIL_TERMS);
    trainer_lap(t, PHASE_LOSS);
    trainer_final(t, t->at_scale, t->table->total);
    if (t->c->recompute) forward_slot(t, k);
    const float *params = t->masked ? t->masked : t->params;
    pupil_image_backward(t->clip, params, a, t->scratch, t->dfeat[0], grads, NULL);
    if (t->arch.text.layers) pupil_text_backward(t->clip, params, a, t->scratch, t->dfeat[1], grads);
    if (t->prunes) masks_backward(t, t->first + k, grads);
    for (int64_t i = 0; i < t->nruns && t->grads; i++) {
        const pupil_decay_run *run = &t->runs[i];
        memcpy(sum + run->offset, grads + run->offset + run->shift, (size_t)run->count * sizeof *sum);
    }
    pupil_slot_sum_end(t->sum);
    trainer_lap(t, PHASE_BACKWARD);
}

int trainer_gather(trainer *t, float *array)
{
    for (int p = 0; p <= pupil_comm_size(t->comm); p++) t->bytes[p] = (size_t)t->range[p] * sizeof *array;
    return pupil_gather_ranges(t->comm, array, t->bytes);
}

/* The parameters that other ranks have advanced. */
static int gather_params(trainer *t)
{
    if (!t->grads) return pupil_shared_gather(t->shared, t->range);
    for (int64_t i = 0; i < t->nruns; i++) {
        const pupil_decay_run *run = &t->runs[i];
        memcpy(t->grads + run->offset, t->params + run->offset + run->shift, (size_t)run->count * sizeof(float));
    }
    PUPIL_TRY(trainer_gather(t, t->grads));
    for (int64_t i = 0; i < t->nruns; i++) {
        const pupil_decay_run *run = &t->runs[i];
        memcpy(t->params + run->offset + run->shift, t->grads + run->offset, (size_t)run->count * sizeof(float));
    }
    return 0;
}

/* Chunk sums of all ranks, in one array on all. */
static int gather_chunks(trainer *t)
{
    int64_t chunks = (t->advanced + PUPIL_CHUNK - 1) / PUPIL_CHUNK;
    for (int p = 0; p <= pupil_comm_size(t->comm); p++)
        t->bytes[p] = (size_t)PUPIL_MIN(chunks, (t->range[p] + PUPIL_CHUNK - 1) / PUPIL_CHUNK) * sizeof *t->chunk;
    return pupil_gather_ranges(t->comm, t->chunk, t->bytes);
}

static int advance(trainer *t)
{
    int me = pupil_comm_rank(t->comm);
    float *grad;
    PUPIL_TRY(pupil_slot_sum_scatter(t->sum, &grad));
    trainer_lap(t, PHASE_REDUCE);
    pupil_grad_sumsq(grad, t->range[me], t->range[me + 1], t->chunk);
    PUPIL_TRY(gather_chunks(t));
    t->norm = pupil_grad_norm(t->chunk, t->advanced);
    if (!isfinite(t->norm))
        return pupil_fail(PUPIL_ENUMERIC, "%s step %lld: the gradient is not finite (loss %g); lower %s.train.lr or set "
                          "grad_clip_norm", t->name, (long long)t->step + 1, t->loss_value, t->name);
    t->lr = pupil_lr_at(t->c, t->step);
    pupil_adamw(t->params, t->m, t->v, grad, t->range[me], t->range[me + 1], t->runs, t->nruns, t->c, t->lr,
                pupil_clip_factor(t->norm, t->c->grad_clip_norm), t->step + 1);
    trainer_lap(t, PHASE_UPDATE);
    PUPIL_TRY(gather_params(t));
    float *scale = t->params + t->at_scale;
    *scale = fminf(fmaxf(*scale, 0), 4.6051702f); /* ln 100 */
    if (t->prunes) pupil_masks_clamp(&t->masks, t->params);
    trainer_lap(t, PHASE_REDUCE);
    if (t->ema) pupil_ema(t->ema, t->params, t->range[me], t->range[me + 1], t->runs, t->nruns, t->c->ema);
    trainer_lap(t, PHASE_UPDATE);
    return 0;
}

int trainer_step(trainer *t)
{
    pupil_loss_params p = trainer_loss_params(t, t->params);
    pupil_mask_draw draw = draw_of(t);
    t->since = pupil_now();
    if (t->trace) trace_begin(t->trace, t->since);
    PUPIL_TRY(trainer_load(t));
    if (t->prunes) pupil_masks_apply(t->clip, &t->masks, t->params, &draw, t->masked);
    trainer_lap(t, PHASE_DATA);
    for (int64_t k = 0; k < t->slots; k++) forward_slot(t, k);
    trainer_lap(t, PHASE_FORWARD);
    PUPIL_TRY(gather_features(t, &p));
    trainer_lap(t, PHASE_LOSS);
    for (int64_t k = 0; k < t->slots; k++) backward_slot(t, k, &p);
    PUPIL_TRY(pupil_slot_sum_doubles(t->comm, t->c->slots, t->value, PUPIL_TERMS, t->total));
    t->loss_value = pupil_loss_total(&t->lc, t->total);
    PUPIL_TRY(advance(t));
    t->step++;
    return t->trace ? trace_step(t->trace, t->comm, t->step, t->sum) : 0;
}
