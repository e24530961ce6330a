/* clip.h (private to model): the two towers of a model over one flat array. */
#ifndef PUPIL_MODEL_CLIP_H
#define PUPIL_MODEL_CLIP_H

#include "pool.h"
#include "tower.h"

/* What stands before and after the blocks of a tower: tensors in one piece of the flat array each, so that a piece can be
 * had at once. Offsets of tensors are counted from their piece's; -1: there is no such tensor. */
typedef struct {
    int64_t at, count;
} piece;

struct pupil_clip {
    pupil_arch arch;
    pupil_table table;
    tower image, text;
    pool map;
    piece v_stem, v_head, t_stem, t_head;
    int64_t v_class, v_pos, v_conv, v_conv_b, v_pre_w, v_pre_b;   /* v_stem */
    int64_t v_post_w, v_post_b, v_proj, v_proj_b;                 /* v_head */
    int64_t t_pos;                                                /* t_stem */
    int64_t t_final_w, t_final_b, t_proj, t_proj_b;               /* t_head */
    int64_t t_table, scale, bias;                                 /* of the flat array */
    int64_t image_end, text_end;                                  /* first offset after each tower */
    int64_t walk_to[2];                                           /* of each tower, see freeze.c: 0, the stem, where nothing is frozen */
};

/* One tower's side of a micro-batch. */
typedef struct {
    tower_acts t;
    int64_t n;                 /* sequences of the last forward */
    int32_t *cu, *pool;
    float *norm, *mean, *rstd; /* the last norm of the pooled rows; of all rows where pooling comes after it */
} side;

struct pupil_acts {
    side image, text;
    pool_acts map;
    float *patches;                   /* [n*np, 3pp], or of the patches kept alone */
    int32_t *patch;                   /* [n, kept], where some are dropped */
    int64_t kept;                     /* patches of each image that were seen */
    float *pre, *pre_mean, *pre_rstd; /* the stream before the norm ahead of the blocks */
    int32_t *ids;
};

struct pupil_scratch {
    tower_scratch image, text;
    pool_scratch map;
    float *patch_rows; /* [n*np, max(width, 3pp)] */
    float *dpool;      /* [n, width]: the pooled rows' gradient on its way through attention pooling */
    float *dpooled;    /* [n, max width], or of all rows where they are wanted: the gradient after the last norm */
    pupil_grads_final tell;
};

static inline int64_t clip_patches(const pupil_arch *a)
{
    return (a->image_size / a->patch) * (a->image_size / a->patch);
}
static inline int64_t clip_tokens(const pupil_arch *a) { return clip_patches(a) + a->class_token; }

#endif
