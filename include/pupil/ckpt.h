/** ckpt: a photograph of a run that any number of ranks can step back into.
 *
 *  DIR/journal.txt (see store.h) holds "ckpt lane= n= file= step= digest= crc_params= crc_m= crc_v= [crc_ema=]"; files are
 *  step-SSSSSSSS-gGGGG.h5 with datasets params [total floats], adam_m, adam_v and, where there is an average, ema
 *  [floats that are not frozen], and attributes step, digest, table (one line a tensor: name offset count). The state is whole arrays, so the number of ranks does not matter.
 *  digest is the SHA-256 of what must not change within a run (settings, data, tokenizer).
 */
#ifndef PUPIL_CKPT_H
#define PUPIL_CKPT_H

#include "pupil/base.h"
#include "pupil/model.h"
#include "pupil/par.h"

typedef struct {
    const pupil_table *table; /* borrowed */
    float *params;            /* [table->total], borrowed */
    float *m, *v, *ema;       /* [advanced], borrowed; ema: NULL where there is no average */
    int64_t advanced;         /* elements that are not frozen */
    int64_t step;             /* finished steps */
    const char *digest;       /* borrowed */
} pupil_state;

/** Open the next generation of this folder, made if absent; older writers are no longer believed. Collective
 *  over c; rank 0 acts. */
int pupil_ckpt_generation(pupil_comm *c, const char *dir, int64_t *ret_n);
/** Write and publish s (whole on rank 0), then remove all but the `keep` newest. Collective over c. */
int pupil_ckpt_save(pupil_comm *c, const char *dir, int64_t generation, const pupil_state *s, int64_t keep);
/** Load the newest whole checkpoint with s->digest into s on all ranks; *ret_found tells whether there was one. A
 *  broken one is named in a warning and the one before it is taken. PUPIL_EMISMATCH if there are checkpoints,
 *  but all of another digest. Collective over c. */
int pupil_ckpt_load(pupil_comm *c, const char *dir, pupil_state *s, const int64_t *range, bool *ret_found);
/** Rank 0's state: step and params to all, of m, v and ema elements [range[r], range[r+1]) to rank r. Collective over c. */
int pupil_ckpt_share(pupil_comm *c, pupil_state *s, const int64_t *range);

#endif
