/** role: the story of a job, to be read from top to bottom in one sitting (src/role/run.c).
 *
 *  A run directory (run.dir) holds: resolved.yaml, run.json, merges.txt, metrics.jsonl, checkpoints/, model.safetensors,
 *  config.json, eval.json, vqa_results.json, answers.txt, heads/, samples/, "finished" (the digest of a finished run). A teacher folder
 *  (teacher.dir) holds model.safetensors, config.json, merges.txt and, when trained here, recipe.yaml,
 *  metrics.jsonl, checkpoints/.
 */
#ifndef PUPIL_ROLE_H
#define PUPIL_ROLE_H

#include "pupil/base.h"
#include "pupil/conf.h"
#include "pupil/data.h"
#include "pupil/loss.h"
#include "pupil/model.h"
#include "pupil/par.h"

/** What is known of a teacher before the job. */
typedef struct {
    bool there;    /* there is a model folder, or there will be */
    bool train;    /* it must be trained first */
    bool imported; /* its cache's embeddings were made elsewhere: it is never filled here */
    int64_t dim;   /* width of its embeddings */
    int64_t params, blocks_have; /* blocks already in the cache */
    double image_flops, text_flops; /* one forward pass; text at the plan's `tokens` */
    double cache_flops, cache_bytes;
    double rank_bytes, file_bytes; /* peak memory of a teacher rank, estimate; mapped weights, one copy a node */
} pupil_plan_teacher;

/** What a job will do and what it costs; made from settings and data alone. */
typedef struct {
    int ranks, teachers, students, threads; /* teachers: 0 when all ranks are students from the start */
    int cores;                              /* usable by this process */
    bool oversubscribed;
    int teacher_count;
    pupil_plan_teacher teacher[PUPIL_TEACHERS];
    bool distils;  /* the loss wants a teacher */
    bool finished; /* run.dir holds a finished run of these settings */
    int64_t samples, blocks;
    double tokens; /* tokens a caption, mean of a sample */
    double image_flops, text_flops; /* the student's; as the teachers' */
    double teacher_train_flops, cache_flops, student_flops; /* whole phases */
    int64_t student_params;
    double rank_bytes; /* peak memory a student rank, estimate */
} pupil_plan;

/** Plan `conf` for `cores` cores (0: those of this process's affinity mask). With `ranks` > 0 the number of ranks is
 *  given (inside a job). Opens the data set (which may index tars). Not collective. PUPIL_EUSER... */
int pupil_plan_make(const pupil_conf *conf, int cores, int ranks, pupil_plan *ret);
/** The plan as a person reads it, or one JSON object. */
void pupil_plan_print(const pupil_conf *conf, const pupil_plan *p, bool json, pupil_buf *out);

/** Run the job on all ranks of the world: teacher (train, fill the cache), student (train), evaluation. Resumes
 *  what is unfinished. again: train a finished student once more (teacher and cache stay).
 *  0 | PUPIL_ESTOP after a signal with a checkpoint saved | errors, agreed by all ranks. Collective over the world. */
int pupil_role_run(const pupil_conf *conf, bool again);

/** The terms of the settings, and how they are computed, into `ret`. Not collective. */
void pupil_role_loss_terms(const pupil_conf_loss *l, pupil_loss_conf *ret);

/** `pupil eval`: score the teachers of `conf` that have a folder, and n model folders (none: the student in run.dir), on its
 *  held-out data under the protocols of eval.*. Rows go to run.dir/results.jsonl, answers to run.dir/vqa-MODEL.json and
 *  vqa_zero_shot-MODEL.json; what results.jsonl has already is not computed again. Collective over the world.
 *  PUPIL_ESTOP after a signal. */
int pupil_role_score(const pupil_conf *conf, const char *const *dir, int n);

/** Embeddings of given tensors (oracle layout): reads inputs/images [N,3,H,W] and inputs/token_ids [N,ctx] of `in`,
 *  writes image_features, text_features [N,embed_dim] (before normalisation) and logit_scale (the parameter's exp).
 *  model_dir: model.safetensors + config.json. Not collective. */
int pupil_role_embed(const char *model_dir, const char *in, const char *out);
/** The same of n picture files and m texts, with the model's own preprocessing and tokenizer. Not collective. */
int pupil_role_embed_files(const char *model_dir, const char *const *image, int64_t n, const char *const *text, int64_t m, const char *out);

/** `pupil cache import`: fill cache.dir from n sources of embeddings that were made elsewhere (see pupil_embeddings_open();
 *  a folder of .npy files has its keys beside them, pupil_keys_read()). What must be told of the teacher comes from the
 *  files' attributes or from the YAML file `provenance` (NULL: none). Every row is checked before anything is written;
 *  an import that was cut short goes on. Not collective.
 *  PUPIL_EUSER: rows and samples do not fit together, or the provenance is wrong | PUPIL_ENUMERIC | PUPIL_EFORMAT naming
 *  file, row and key | PUPIL_EMISMATCH: cache.dir holds another cache | PUPIL_ESTOP. */
int pupil_role_import(const pupil_conf *conf, const char *const *from, int n, const char *provenance);

/** `pupil cache check`: what recomputed rows of a cache said. A row passes where each of its values differs from the one
 *  computed again by no more than
 *      half a unit in the last place of the stored format (nothing for f32)
 *      + tolerance x the root mean square of the row
 *  The first is what storing rounds. The second is for sums in another order, which batches of another size and other
 *  CPUs' kernels bring (1e-6 to 1e-5 is usual; PUPIL_CHECK_OWN is 1e-4), and, where the embeddings were
 *  imported, for a GPU's number format, another JPEG decoder and another resizer (PUPIL_CHECK_IMPORTED; bfloat16 brings
 *  about 0.1; a wrong interpolation, crop or activation brings 0.5 and more). */
#define PUPIL_CHECK_OWN 1e-4
#define PUPIL_CHECK_IMPORTED 0.25
typedef struct {
    double max_error, min_cosine;
    double worst;    /* largest difference beyond the stored format's rounding, as a share of what it may be: above 1 fails */
    char *worst_key; /* its sample; owned */
    int64_t failed;  /* rows */
} pupil_check_side;
typedef struct {
    int64_t rows, blocks, blocks_have;
    bool imported;
    const char *dtype; /* of the cache; static */
    double tolerance;
    pupil_check_side side[2]; /* images, texts */
} pupil_check;
/** Compute up to `rows` random published rows of cache.dir again with the teacher in teacher.dir. tolerance 0: as above.
 *  Not collective. PUPIL_EMISMATCH: the cache is of another teacher or of other data, with the fields that differ |
 *  PUPIL_ENOTFOUND: no cache, or nothing in it. A failed comparison is no error here. */
int pupil_role_check(const pupil_conf *conf, int64_t rows, uint64_t seed, double tolerance, pupil_check *ret);
void pupil_check_free(pupil_check *c);

/** Ids of the student's vocabulary: of tokenizer.merges, else of the teacher's folder if it has CLIP's BPE, else what is to be
 *  learned. Not collective. */
int pupil_role_vocab(const pupil_conf *conf, int64_t *ret);

/** The student's architecture: of student.model, and where that says nothing of the model the student begins with. Not collective. */
int pupil_role_student_arch(const pupil_conf *conf, pupil_arch *ret);

/** How a tower of this architecture wants its pixels. Not collective. */
pupil_preprocess pupil_role_preprocess(const pupil_arch *a);

#endif
