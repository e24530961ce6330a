/* driver.h: the loss's protocol as a step runs it, by several ranks that are objects of one process: rounds
 * with a gather after each, then gradients slot by slot. */
#ifndef PUPIL_TESTS_LOSS_DRIVER_H
#define PUPIL_TESTS_LOSS_DRIVER_H

#include "pupil/loss.h"

#include "../proof.h"

typedef struct {
    pupil_loss_conf c;
    pupil_loss_input in; /* of the whole batch */
    float log_scale;
    pupil_loss_tensor info[PUPIL_LOSS_TENSORS];
    int tensors;
    float *tensor[PUPIL_LOSS_TENSORS];
    /* results */
    double value[PUPIL_TERMS], total;
    float *dstudent[PUPIL_LOSS_STREAMS], dlog_scale, *dtensor[PUPIL_LOSS_TENSORS];
} loss_case;

static inline int64_t tensor_count(const pupil_loss_tensor *t)
{
    int64_t n = 1;
    for (int i = 0; i < t->ndim; i++) n *= t->dim[i];
    return n;
}

/* Room for tensors and results of k->c. */
static inline void case_open(loss_case *k)
{
    k->tensors = pupil_loss_tensors(&k->c, k->info);
    for (int i = 0; i < k->tensors; i++) {
        k->tensor[i] = floats(tensor_count(&k->info[i]));
        k->dtensor[i] = floats(tensor_count(&k->info[i]));
    }
    for (int s = 0; s < PUPIL_LOSS_STREAMS; s++) k->dstudent[s] = floats(k->c.batch * k->c.dim);
}

static inline void case_close(loss_case *k)
{
    for (int i = 0; i < k->tensors; i++) DROP(k->tensor[i], k->dtensor[i]);
    for (int s = 0; s < PUPIL_LOSS_STREAMS; s++) DROP(k->dstudent[s]);
}

/* A slot's rows of the batch. */
static inline pupil_loss_input case_rows(const loss_case *k, int64_t first)
{
    pupil_loss_input in = k->in;
    for (int s = 0; s < PUPIL_LOSS_STREAMS; s++) {
        if (in.student[s]) in.student[s] += first * k->c.dim;
        for (int t = 0; t < k->c.teachers; t++)
            if (in.teacher[t][s]) in.teacher[t][s] += first * k->c.teacher[t].dim;
    }
    return in;
}

/* Each rank's rows to all others, as an all-gather leaves them. */
static inline void driver_gather(int ranks, pupil_loss *const *l, int round, int64_t slots, int64_t rows)
{
    pupil_loss_rows m[16][PUPIL_LOSS_GATHERED];
    int n = 0;
    for (int r = 0; r < ranks; r++) n = pupil_loss_gathered(l[r], round, m[r]);
    for (int i = 0; i < n; i++)
        for (int from = 0; from < ranks; from++) {
            size_t bytes = m[0][i].bytes, a = (size_t)(slots * from / ranks * rows) * bytes,
                   b = (size_t)(slots * (from + 1) / ranks * rows) * bytes;
            for (int to = 0; to < ranks; to++)
                if (to != from) memcpy((char *)m[to][i].rows + a, (char *)m[from][i].rows + a, b - a);
        }
}

/* Run the protocol with `slots` slots on `ranks` ranks (at most 16, at most slots). */
static inline void loss_run(loss_case *k, int64_t slots, int ranks)
{
    pupil_loss_conf c = k->c;
    c.slots = slots;
    int64_t rows = c.batch / slots, ds = c.dim;
    pupil_loss_params p = {.logit_scale = &k->log_scale}, g = {.logit_scale = &k->dlog_scale};
    pupil_loss *l[16];
    k->dlog_scale = 0;
    memset(k->value, 0, sizeof k->value);
    for (int i = 0; i < k->tensors; i++) {
        p.tensor[i] = k->tensor[i], g.tensor[i] = k->dtensor[i];
        memset(k->dtensor[i], 0, (size_t)tensor_count(&k->info[i]) * sizeof(float));
    }
#define EACH_SLOT(r, slot) for (int64_t slot = slots * (r) / ranks; slot < slots * ((r) + 1) / ranks; slot++)
    for (int r = 0; r < ranks; r++) l[r] = pupil_loss_new(&c);
    for (int round = 0; round < pupil_loss_rounds(l[0]); round++) {
        for (int r = 0; r < ranks; r++) EACH_SLOT(r, slot)
            {
                pupil_loss_input in = case_rows(k, slot * rows);
                pupil_loss_round(l[r], round, slot, &in, &p);
            }
        driver_gather(ranks, l, round, slots, rows);
    }
    for (int r = 0; r < ranks; r++) EACH_SLOT(r, slot)
        {
            double value[PUPIL_TERMS];
            pupil_loss_input in = case_rows(k, slot * rows);
            float *d[PUPIL_LOSS_STREAMS];
            for (int s = 0; s < PUPIL_LOSS_STREAMS; s++) {
                d[s] = k->dstudent[s] + slot * rows * ds;
                for (int64_t j = 0; j < rows * ds; j++)
                    d[s][j] = s <= PUPIL_MAX(1, c.captions) ? NAN : 0; /* all of it is written */
            }
            pupil_loss_grad(l[r], slot, &in, &p, &g, d, value);
            for (int t = 0; t < PUPIL_TERMS; t++) k->value[t] += value[t];
        }
#undef EACH_SLOT
    k->total = pupil_loss_total(&c, k->value);
    for (int r = 0; r < ranks; r++) pupil_loss_free(&l[r]);
}

#endif
