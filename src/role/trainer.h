/* trainer.h (private to role): the state of a training, shared by train.c (the loop) and step.c (one step). */
#ifndef PUPIL_ROLE_TRAINER_H
#define PUPIL_ROLE_TRAINER_H

#include "job.h"

#include "pupil/optim.h"

/* ---- trace.c ---- */
typedef struct trace trace;
/* trace.json of steps with so many slots a rank at most; one rank writes. PUPIL_EIO. Not collective. */
int trace_open(const char *path, bool writes, int64_t slots, trace **ret);
void trace_close(trace **t);
void trace_begin(trace *t, double now); /* of a step */
void trace_span(trace *t, phase which, double begin, double end);
/* The step's end: what all ranks noted is written. Collective over c. */
int trace_step(trace *t, pupil_comm *c, int64_t step, const pupil_slot_sum *sum);

struct trainer {
    job *j;
    const pupil_conf_train *c;
    bool is_teacher;  /* trained here; else the student */
    const char *name; /* "teacher" | "student" */
    char *dir;        /* metrics.jsonl and checkpoints/ live here */
    char *ckpt_dir;
    char digest[65];
    int64_t generation;
    pupil_clip *clip;
    pupil_table *table;
    pupil_arch arch;
    const pupil_tokenizer *tok;
    pupil_loss_conf lc;
    pupil_order order;
    pupil_decay_run *runs;    /* [nruns]: what is not frozen, packed */
    int64_t nruns, advanced;  /* floats of them */
    float *m, *v, *ema;       /* [advanced], of which a rank has its range, and rank 0 all for a checkpoint; ema: NULL without one */
    float *averaged;          /* [table->total]: params with the average in their place; NULL without one */
    float *grads;             /* [table->total] of a slot, where something is frozen; else NULL */
    bool prunes;
    pupil_masks masks;      /* where it prunes */
    float *masked;          /* [table->total]: params through the masks of the step; NULL without masks */
    int64_t at_scale, at_loss[PUPIL_LOSS_TENSORS];
    int loss_tensors;
    int64_t step;          /* finished */
    metrics *log;          /* rank 0 */

    /* What depends on the communicator. */
    pupil_comm *comm;
    int64_t first, slots, rows; /* own slots; pairs a slot */
    int64_t captions;           /* of a sample in a step */
    int64_t substituted;        /* samples that another took the place of, on this rank */
    int64_t *range;             /* [size+1] elements each rank advances */
    size_t *bytes;              /* [size+1] scratch for gathers */
    double *chunk;              /* sums of squares */
    pupil_slot_sum *sum;
    pupil_shared *shared;       /* one copy a node, unless something is frozen */
    float *params;              /* [table->total], in it */
    pupil_weights *weights;     /* params or masked, for the forward walk */
    pupil_loss *loss;
    pupil_acts **acts;          /* one a slot, or one alone when activations are recomputed */
    pupil_scratch *scratch;
    batch *b;                   /* one a slot */
    int32_t *patch;             /* [own pairs, kept]: the patches seen */
    int64_t kept;               /* 0: all are */
    float *feat[2], *dfeat[2]; /* [own pairs, dim], texts [own slots, captions, rows, dim]; dfeat: one slot */
    float *teacher[PUPIL_TEACHERS][PUPIL_LOSS_STREAMS]; /* [own pairs, its dim] */
    double *value;              /* [slots of all][PUPIL_TERMS] */

    /* Of the last step. */
    double loss_value, norm, lr, total[PUPIL_TERMS];
    double seconds[PHASES];
    double since;               /* the last lap */
    trace *trace;               /* of the first steps of this start; NULL: of none */
    int64_t traced;             /* the last of them */
};

int64_t trainer_epoch_steps(const trainer *t);
/* First position of a step in its epoch. */
int64_t trainer_position(const trainer *t, int64_t step, int64_t *ret_epoch);
pupil_loss_params trainer_loss_params(const trainer *t, float *base);
/* Own slots' pictures, captions and teacher embeddings: load.c. Collective over t->comm. */
int trainer_load(trainer *t);
/* One optimiser step: step.c. Collective over t->comm. */
int trainer_step(trainer *t);
/* The time since the last lap was spent in this phase. */
void trainer_lap(trainer *t, phase which);
/* Elements of the slot's gradient that get no more: pupil_grads_final. */
void trainer_final(void *trainer_, int64_t first, int64_t end);
/* All ranges of an array over what is advanced, on all ranks. Collective over t->comm. */
int trainer_gather(trainer *t, float *array);

#endif
