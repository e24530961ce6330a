/* driver.h: the loss's protocol as a step runs it, by several ranks that are objects of one process: prepare,
 * gather, statistics, gather, gradients slot by slot. */
#ifndef PUPIL_TESTS_LOSS_DRIVER_H
#define PUPIL_TESTS_LOSS_DRIVER_H

#include "pupil/loss.h"

#include "../proof.h"

typedef struct {
    pupil_loss_conf c;
    const float *student[2], *teacher[2]; /* [batch, dim], [batch, teacher_dim]; image, text */
    float *head_w[2], *head_b[2];         /* or NULL */
    float log_scale, icl_scale;
    /* results */
    double value[PUPIL_TERMS], total;
    float *dstudent[2], *dhead_w[2], *dhead_b[2], dlog_scale, dicl_scale;
} loss_case;

static inline void case_results_new(loss_case *k)
{
    for (int s = 0; s < 2; s++) {
        k->dstudent[s] = floats(k->c.batch * k->c.dim);
        k->dhead_w[s] = floats(k->c.teacher_dim * k->c.dim);
        k->dhead_b[s] = floats(k->c.teacher_dim);
    }
}

static inline void case_results_end(loss_case *k)
{
    for (int s = 0; s < 2; s++) DROP(k->dstudent[s], k->dhead_w[s], k->dhead_b[s]);
}

/* Each rank's rows of the matrices to all others, as an all-gather leaves them. `width` in bytes. */
static inline void driver_gather(int ranks, void *const *base, size_t row_bytes, int64_t slots, int64_t rows)
{
    for (int from = 0; from < ranks; from++) {
        size_t a = (size_t)(slots * from / ranks * rows) * row_bytes,
               b = (size_t)(slots * (from + 1) / ranks * rows) * row_bytes;
        for (int to = 0; to < ranks; to++)
            if (to != from) memcpy((char *)base[to] + a, (char *)base[from] + a, b - a);
    }
}

/* Run the protocol with `slots` slots on `ranks` ranks (at most 16, at most slots). */
static inline void loss_run(loss_case *k, int64_t slots, int ranks)
{
    pupil_loss_conf c = k->c;
    c.slots = slots;
    int64_t rows = c.batch / slots, ds = c.dim, dt = c.teacher_dim, width;
    pupil_loss_params p = {&k->log_scale, k->head_w[0], k->head_b[0],
                           k->head_w[1],  k->head_b[1], &k->icl_scale};
    pupil_loss_params g = {&k->dlog_scale, k->dhead_w[0], k->dhead_b[0],
                           k->dhead_w[1],  k->dhead_b[1], &k->dicl_scale};
    pupil_loss *l[16];
    pupil_batch_matrix m[16][4];
    void *base[16];
    int n = 0;
    k->dlog_scale = k->dicl_scale = 0;
    memset(k->value, 0, sizeof k->value);
    for (int s = 0; s < 2; s++) {
        memset(k->dhead_w[s], 0, (size_t)(dt * ds) * sizeof(float));
        memset(k->dhead_b[s], 0, (size_t)dt * sizeof(float));
    }
#define EACH_SLOT(r, slot)                                                                                   \
    for (int64_t slot = slots * (r) / ranks, first = slot; slot < slots * ((r) + 1) / ranks; slot++)
    for (int r = 0; r < ranks; r++) {
        l[r] = pupil_loss_new(&c, slots * (r + 1) / ranks - slots * r / ranks);
        EACH_SLOT(r, slot)
        {
            int64_t i = slot * rows;
            pupil_loss_prepare(l[r], slot, slot - first, k->student[0] + i * ds, k->student[1] + i * ds,
                               dt ? k->teacher[0] + i * dt : NULL, dt ? k->teacher[1] + i * dt : NULL, &p);
        }
        n = pupil_loss_gathered(l[r], m[r]);
    }
    for (int i = 0; i < n; i++) {
        for (int r = 0; r < ranks; r++) base[r] = m[r][i].rows;
        driver_gather(ranks, base, (size_t)m[0][i].width * sizeof(float), slots, rows);
    }
    for (int r = 0; r < ranks; r++) {
        EACH_SLOT(r, slot) pupil_loss_stats(l[r], slot, slot - first, &p);
        base[r] = pupil_loss_statistics(l[r], &width);
    }
    driver_gather(ranks, base, (size_t)width * sizeof(double), slots, rows);
    for (int r = 0; r < ranks; r++) EACH_SLOT(r, slot)
        {
            double value[PUPIL_TERMS];
            int64_t i = slot * rows * ds;
            for (int64_t j = 0; j < rows * ds; j++)
                k->dstudent[0][i + j] = k->dstudent[1][i + j] = NAN; /* all of it is written */
            pupil_loss_grad(l[r], slot, slot - first, k->student[0] + i, k->student[1] + i, &p, &g,
                            k->dstudent[0] + i, k->dstudent[1] + i, value);
            for (int t = 0; t < PUPIL_TERMS; t++) k->value[t] += value[t];
        }
    k->total = 0;
    for (int t = 0; t < PUPIL_TERMS; t++) k->total += c.weight[t] * k->value[t];
    for (int r = 0; r < ranks; r++) pupil_loss_free(&l[r]);
#undef EACH_SLOT
}

#endif
