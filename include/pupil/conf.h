/** conf: YAML into settings that are complete, in range and explainable, through one schema table.
 *
 *  The table in src/conf/schema.c gives, for each key, its type, default, range or choices and one sentence.
 *  Parsing, defaults, `--set`, errors with line and column, "did you mean", the resolved YAML and
 *  `pupil help config` all come from it. A key is unset where its value here is NULL, or 0 / -1 as the
 *  comment says; everything else is always filled in.
 *
 *  Not collective: rank 0 loads and checks, the others load the resolved text they are given.
 */
#ifndef PUPIL_CONF_H
#define PUPIL_CONF_H

#include "pupil/base.h"

typedef enum {
    PUPIL_MODE_SPLIT,
    PUPIL_MODE_CHAINED,
    PUPIL_MODE_TEACH,
    PUPIL_MODE_STUDENTS,
    PUPIL_MODE_PREPARE
} pupil_mode;
typedef enum {
    PUPIL_SOURCE_SCENES,
    PUPIL_SOURCE_WEBDATASET,
    PUPIL_SOURCE_CSV,
    PUPIL_SOURCE_COCO,
    PUPIL_SOURCE_FOLDER
} pupil_source;
typedef enum { PUPIL_SEPARATOR_AUTO, PUPIL_SEPARATOR_COMMA, PUPIL_SEPARATOR_TAB } pupil_separator;
typedef enum {
    PUPIL_VQA_AUTO,
    PUPIL_VQA_V2, /* OK-VQA's too */
    PUPIL_VQA_TEXTVQA,
    PUPIL_VQA_VIZWIZ,
    PUPIL_VQA_GQA,
    PUPIL_VQA_MULTIPLE_CHOICE,
    PUPIL_VQA_POPE
} pupil_vqa_format;
typedef enum { PUPIL_ACT_PRESET = -1, PUPIL_ACT_GELU, PUPIL_ACT_QUICK_GELU } pupil_act;
typedef enum { PUPIL_DTYPE_F16, PUPIL_DTYPE_F32, PUPIL_DTYPE_BF16, PUPIL_DTYPE_I8 } pupil_dtype;
typedef enum { PUPIL_VARIANT_PUBLISHED, PUPIL_VARIANT_AS_RELEASED } pupil_variant;
typedef enum { PUPIL_LR_COSINE, PUPIL_LR_CONSTANT, PUPIL_LR_LINEAR } pupil_lr_schedule;
typedef enum { PUPIL_SELECT_FIRST, PUPIL_SELECT_MAGNITUDE } pupil_select;
typedef enum { PUPIL_FD_MEAN, PUPIL_FD_SUM } pupil_fd_reduce;
typedef enum { PUPIL_BOTH_SIDES, PUPIL_IMAGE_SIDE, PUPIL_TEXT_SIDE } pupil_sides;

typedef struct {
    char **item;
    int n;
} pupil_strings;

typedef struct {
    char *questions;   /* a file of one of the formats, or NULL */
    char *annotations; /* VQA v2 and OK-VQA: their second file, or NULL */
    pupil_vqa_format format;
} pupil_conf_vqa_files;

typedef struct {
    int64_t train, test; /* scenes in the training and in the held-out split */
    int64_t size;        /* pixels a side */
    int64_t seed;
    int64_t max_objects; /* 1..6 */
    int64_t questions;   /* questions a scene */
} pupil_conf_scenes;

typedef struct {
    bool crop;           /* name: whole | random_resized_crop */
    double scale_min, scale_max, ratio_min, ratio_max;
    bool flip;
    int64_t seed;
} pupil_conf_view;

typedef struct {
    pupil_source source;
    pupil_conf_scenes scenes;
    pupil_strings train, test; /* not scenes: tars, csv files, COCO JSON files or folders; {000..123} braces */
    pupil_strings images;      /* csv, coco: folders that pictures are looked for in, in this order; may be none */
    struct {
        char *image_key, *caption_key; /* names of the columns */
        pupil_separator separator;
    } csv;
    struct {
        pupil_strings split_train, split_test; /* Karpathy's "split"; none: train and restval; test */
    } coco;
    char *class_names;                        /* folder, webdataset: file of class names, or NULL */
    char *class_template;                     /* caption of a class, with "{class}" in it */
    pupil_conf_vqa_files vqa_train, vqa_test; /* not scenes: questions about train and test pictures */
    int64_t block;                            /* samples a block: the unit of shuffling and of the cache */
    int64_t window;                           /* blocks shuffled together */
    bool skip_bad;                            /* on_error: skip | stop */
    pupil_conf_view view;                     /* of training pictures */
} pupil_conf_data;

typedef struct {
    char *merges;       /* CLIP merges file (.txt or .txt.gz), or NULL: learn from the captions */
    int64_t vocab_size; /* learned vocabulary: 514 (bytes and specials alone) and up */
} pupil_conf_tokenizer;

/** A CLIP architecture; 0 (or PUPIL_ACT_PRESET, or NULL) where the preset decides. open_clip's words. */
typedef struct {
    char *name; /* preset: one of open_clip's ViTs, ViT-T-16 to ViT-bigG-14, or NULL */
    int64_t image_size, patch_size, vision_width, vision_layers, vision_head_width;
    int64_t vision_mlp, text_mlp; /* width inside the MLPs */
    int64_t text_width, text_layers, text_heads, context_length;
    int64_t embed_dim;
    pupil_act act;
} pupil_conf_model;

typedef struct {
    int64_t steps;      /* optimiser steps */
    int64_t batch_size; /* global, pairs */
    int64_t slots;      /* fixed micro-batches a global batch is cut into; a power of two */
    double lr, wd, beta1, beta2, eps;
    int64_t warmup;        /* steps */
    double grad_clip_norm; /* 0: no clipping */
    pupil_lr_schedule lr_schedule;
    double lr_min;        /* what cosine and linear end at */
    double ema;           /* 0: none */
    double patch_dropout; /* share of patches that the image tower does not see in training */
    pupil_strings freeze; /* parts of the model, see pupil_clip_freeze() */
    int64_t seed;
    bool recompute; /* recompute a slot's activations in backward instead of keeping them */
} pupil_conf_train;

enum { PUPIL_TEACHERS = 8 }; /* most teachers of a run */

typedef struct {
    char *dir; /* folder with model.safetensors + config.json (+ merges.txt); made here if train.steps > 0 */
    double weight;      /* of its terms in the loss */
    double logit_scale; /* 0: its own */
    bool train_here; /* the section teacher.train was given: a missing teacher is trained from scratch */
    pupil_conf_model model;
    pupil_conf_train train;
} pupil_conf_teacher;

/** A teacher beside the one in `teacher`; there is one where cache is not NULL. */
typedef struct {
    char *dir;   /* its folder; NULL: the cache holds imported embeddings */
    char *cache; /* folder of its embeddings */
    double weight, logit_scale;
} pupil_conf_more_teacher;

typedef struct {
    char *init;         /* folder of the weights it begins with, or NULL */
    char *inherit_from; /* folder of a larger model that it begins with a part of, or "teacher", or NULL */
    pupil_select inherit_select;
    bool text_of_teacher;   /* text: own | teacher */
    struct {
        double target; /* share of MLP channels to learn away; 0: no masks */
        int64_t ramp;  /* steps */
        double lr;     /* of masks and multipliers */
    } prune;
    pupil_conf_model model; /* what init and inherit leave to it */
    pupil_conf_train train;
} pupil_conf_student;

/** A term of the student's loss and its options; a term has those that src/conf/schema.c gives it. */
typedef struct {
    double weight; /* 0 leaves the term out */
    double scale, tau, beta, gamma;
    pupil_variant variant;
    pupil_fd_reduce reduce;
    bool reversed, raw, one_way; /* direction: reversed, features: raw, ways: image_to_text */
    pupil_sides sides;
} pupil_conf_term;

typedef struct {
    char *preset; /* what the terms were expanded from, or NULL; not printed */
    pupil_variant variant;
    bool plain_heads;
    int64_t captions; /* of a sample in a step: 1 or 2 */
    pupil_conf_term task, sigmoid, crd, icl, cross_kd, fd, gd, afd, affinity, ensemble, soft_sigmoid, hinton, logit_std, dist, rkd_distance,
        rkd_angle, vl, pvl, udist;
} pupil_conf_loss;

typedef struct {
    char *dir;
    pupil_dtype dtype;
    int64_t views, captions; /* embeddings of a sample */
    bool independent_views;  /* view_policy: same | independent */
    int64_t segment_blocks; /* blocks a segment file */
    int64_t high_water;     /* split mode: blocks teachers may be ahead of the students */
    int64_t share;          /* 0: this job fills it alone; else its number among the jobs that fill it */
} pupil_conf_cache;

typedef struct {
    int64_t total, teacher, threads; /* 0: auto */
    pupil_reduce reduce;
    int64_t bucket_kib;
    double timeout;                  /* seconds any wait may take before the run ends with a message */
} pupil_conf_ranks;

/** A head on token features: the generative reader, or the fusion head (which has no decoder, no key heads and no captions; a reader
 *  is not tuned). */
typedef struct {
    bool enable;
    char *decoder; /* folder of a published one, or NULL */
    int64_t width, layers, heads, kv_heads, caption_epochs, caption_pictures, epochs, batch, answer_tokens;
    double lr, tune; /* tune: the towers' learning rate as a share of lr, for a second fusion head; 0: there is none */
} pupil_conf_head;

typedef struct {
    bool vqa, retrieval;
    int64_t vqa_hidden, vqa_epochs, vqa_batch, vqa_answers_min; /* answers seen fewer times are left out */
    double vqa_lr;
    int64_t vqa_train_questions; /* at most so many training questions, 0: all */
    int64_t retrieval_pairs;     /* at most so many held-out pairs, 0: all */
    int64_t sample_questions;    /* shown in the report */
    bool pixel_baseline;         /* nearest neighbour on pixels beside the model */
    bool zero_shot;              /* classification by the texts of class names */
    char *classnames, *templates, *subset; /* files: names and templates, one a line; indices; or NULL */
    int64_t zero_shot_pictures;  /* at most so many held-out pictures, 0: all */
    bool ranked;                 /* questions by ranking candidate answers */
    pupil_strings ranked_templates; /* with {question} and {answer}; none: "Question: {question} Answer: {answer}" */
    int64_t ranked_answers, ranked_questions; /* candidates of an open question; at most so many questions, 0: all */
    bool diagnostics;            /* of the embeddings of held-out pairs */
    pupil_conf_head reader, fusion;
    double token_gib; /* token features of training and held-out pictures and questions may take so much of a rank's memory */
} pupil_conf_eval;

typedef struct {
    char *dir; /* the run directory */
    pupil_mode mode;
    int64_t trace_steps;
    double checkpoint_seconds;
    int64_t checkpoint_steps; /* 0: by seconds alone */
    int64_t keep_checkpoints;
} pupil_conf_run;

typedef enum { PUPIL_SHAPE_AUTO, PUPIL_SHAPE_SINGLE, PUPIL_SHAPE_CHAINED, PUPIL_SHAPE_HETJOB } pupil_shape;
typedef enum { PUPIL_LAUNCHER_AUTO, PUPIL_LAUNCHER_SRUN, PUPIL_LAUNCHER_MPIRUN } pupil_launcher;

/** What is asked of a cluster for one kind of rank; NULL and 0 where the other kind's or the site's decides. */
typedef struct {
    char *partition, *constraint, *time, *nodes; /* nodes: "4" or "2-4" */
    int64_t ntasks_per_node;
} pupil_conf_nodes;

typedef struct {
    pupil_shape shape;
    pupil_conf_nodes all, teacher; /* teacher: chained and hetjob, where it differs */
    char *account, *qos;
    int64_t jobs, jobs_at_once; /* chained: teacher jobs; at most so many at a time, 0: all */
    int64_t cells_at_once;      /* several configurations: the same */
    pupil_strings modules, lines;
    pupil_launcher launcher;
    bool stage;             /* segments to node-local disk before students train */
    int64_t signal_seconds; /* before the time limit */
    int64_t retries;        /* restarts without progress */
    double gflops;          /* of a core of the nodes, for the estimate; 0: as measured here */
} pupil_conf_slurm;

typedef struct {
    char *file; /* where it came from, for messages */
    pupil_conf_run run;
    pupil_conf_ranks ranks;
    pupil_conf_data data;
    pupil_conf_tokenizer tokenizer;
    pupil_conf_teacher teacher;
    pupil_conf_more_teacher more_teachers[PUPIL_TEACHERS - 1]; /* the first ones without gaps */
    pupil_conf_student student;
    pupil_conf_loss loss;
    pupil_conf_cache cache;
    pupil_conf_eval eval;
    pupil_conf_slurm slurm;
} pupil_conf;

/** Load and check a file. `sets` are n "a.b=v" overrides (named "--set" in messages). Below it lie the defaults of
 *  the site, if there are any: the file that PUPIL_SITE names, else conf/site.yaml of the current folder. They hold only keys
 *  that may change between two runs of one run directory, so they never change a result.
 *  All errors of the file and the overrides are found in one go (the first 100 are shown); each is one line
 *  "file:line:column: what, what was expected[, did you mean X?]", appended to `errors` (borrowed).
 *  Settings that contradict each other are errors too, at the key that would have to change or the one that
 *  asks for it. 0, or PUPIL_EUSER with at least one line in `errors` (also: the file is missing or not YAML). */
int pupil_conf_load(const char *path, const char *const *sets, int n, pupil_conf **ret, pupil_buf *errors);
/** The same from text, `path` being only its name in messages. */
int pupil_conf_parse(const char *path, const char *text, const char *const *sets, int n, pupil_conf **ret,
                     pupil_buf *errors);
void pupil_conf_free(pupil_conf **c);

/** The resolved settings as canonical YAML, in table order, which reads back equal. Left out are only keys that
 *  would contradict the others (data.scenes beside tars, teacher.train where no teacher is trained, ...). */
void pupil_conf_print(const pupil_conf *c, pupil_buf *out);
/** Like pupil_conf_print() but only keys below the dotted prefix (e.g. "data"), for identities. */
void pupil_conf_print_section(const pupil_conf *c, const char *prefix, pupil_buf *out);
/** "key: old -> new", joined by "; ", for all keys in which a and b differ, except keys that may change
 *  between two runs of one run directory (ranks.*, run.mode, run.checkpoint_*, ...: flagged in the table).
 *  Returns how many. */
int pupil_conf_diff(const pupil_conf *a, const pupil_conf *b, pupil_buf *out);
/** The loss presets and what they expand to, one a line. */
void pupil_conf_presets(pupil_buf *out);
/** `pupil help config`: every key with type, default, range and sentence. */
void pupil_conf_help(pupil_buf *out);

/** Some distillation loss has a weight: the run wants a teacher. */
bool pupil_conf_distils(const pupil_conf *c);
/** "key: value" lines of the keys below the dotted prefix that may not change between two runs of one run directory:
 *  what tells two runs apart. */
void pupil_conf_print_identity(const pupil_conf *c, const char *prefix, pupil_buf *out);

/* ---- a study: settings with axes (src/conf/study.c) ------------------------------------------------ */
/** A file of settings with a section `study` beside them:
 *    study:
 *      question: one line                  for the report's title; may be left out
 *      axes:
 *        teacher:                          an axis: any name; `teacher` is the one that the report compares
 *          t100: {teacher.train.steps: 100}      a point: settings that replace those of the file, dotted or nested
 *          t400: {teacher.train.steps: 400, teacher.model: {vision_width: 256}}
 *        loss:
 *          fd: {loss.preset: clip-kd-fd}
 *      seeds: [1, 2, 3]                    of the student; left out: the file's student.train.seed
 *      exclude: [{teacher: t400, loss: [fd]}]    combinations that are not run: a point, or a list of points, of some axes
 *  A cell is one point of each axis and a seed. run.dir is the folder of the study. */
enum { PUPIL_STUDY_AXES = 8, PUPIL_STUDY_POINTS = 64, PUPIL_STUDY_SEEDS = 64 };
typedef struct {
    char *name, *point[PUPIL_STUDY_POINTS];
    int n;
} pupil_study_axis;
typedef struct {
    char *file, *text, *question; /* question: or NULL */
    pupil_study_axis axis[PUPIL_STUDY_AXES];
    int axes, seeds;
    int64_t seed[PUPIL_STUDY_SEEDS];
    uint64_t (*exclude)[PUPIL_STUDY_AXES]; /* bit k: point k */
    int excludes;
} pupil_study;
/** Read the section `study`; the settings themselves are read by pupil_study_settings(). All errors are found in one go, as
 *  in pupil_conf_load(). */
int pupil_study_load(const char *path, pupil_study **ret, pupil_buf *errors);
void pupil_study_free(pupil_study **s);
/** point[axis] is excluded. */
bool pupil_study_excludes(const pupil_study *s, const int *point);
/** The settings of one cell: the file's, then those of point[axis] in the order of the axes, then the seed, then `sets`.
 *  Folders of teachers and caches that are not given are "teachers" and "caches": the caller names them. */
int pupil_study_settings(const pupil_study *s, const int *point, int64_t seed, const char *const *sets, int n, pupil_conf **ret, pupil_buf *errors);

/* ---- small files beside the settings ------------------------------------------------------------- */
typedef struct {
    char *key, *value; /* a list of values is "a, b, c" */
    int line, column;
} pupil_pair;
typedef struct {
    pupil_pair *pair;
    int64_t n, cap;
} pupil_pairs;
/** A YAML file of one level, `key: value`. PUPIL_EUSER with "file:line:column: ..." */
int pupil_pairs_load(const char *path, pupil_pairs *ret);
void pupil_pairs_free(pupil_pairs *p);

#endif
