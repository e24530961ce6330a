/* job.h (private to role): what all parts of a job share, and the parts' doors to each other. */
#ifndef PUPIL_ROLE_JOB_H
#define PUPIL_ROLE_JOB_H

#include "pupil/data.h"
#include "pupil/eval.h"
#include "pupil/loss.h"
#include "pupil/model.h"
#include "pupil/role.h"
#include "pupil/store.h"

/* A teacher of this job. */
typedef struct {
    const char *dir, *cache_dir; /* of the settings */
    double weight, given_scale;  /* given_scale: of the settings; 0: its own */
    bool there, imported;        /* there is a model folder; the cache's embeddings were made elsewhere */
    pupil_arch arch;             /* there */
    pupil_tokenizer *tok;
    char tok_digest[65], digest[65]; /* digest: of its weights; once they exist */
    double scale, bias;
    int64_t dim;        /* width of its embeddings, once there is a cache */
    pupil_cache *cache; /* NULL until the teacher exists, or when nothing is distilled */
    char cache_identity[65];
    int64_t passes; /* samples this rank has seen as this teacher; of all ranks at the end */
} job_teacher;

typedef struct {
    const pupil_conf *conf;
    pupil_comm *world;
    pupil_plan plan;
    bool again;
    pupil_dataset *data;
    char data_digest[65];
    pupil_tokenizer *tok; /* the student's */
    char tok_digest[65];
    pupil_arch student_arch;
    char start_digest[65]; /* of the weights it begins with; "": drawn from the seed */
    int teachers;
    job_teacher teacher[PUPIL_TEACHERS];
    int64_t substituted;     /* samples of steps that others stood in for; as below */
    int64_t black_pictures;  /* broken ones that were replaced: of the rank that met most; at the end */
    pupil_buf phases;        /* JSON list items for run.json */
} job;

static inline bool job_leads(const job *j) { return pupil_comm_rank(j->world) == 0; }

/* ---- setup.c ---- */
int job_open(job *j);             /* run directory, data, tokenizers, architectures. Collective. */
int job_open_data(job *j);        /* the data set alone, and its digest. Collective. */
void job_close(job *j);
void job_note_phase(job *j, const char *name, double seconds, double pairs);
/* The lines of an identity that tell of the data, and of how a cache is laid out. */
pupil_cache_shape job_cache_shape(const job *j, int64_t dim);
void job_data_identity(const job *j, const pupil_cache_shape *shape, pupil_identity *id);
int job_write_run_json(const job *j);
pupil_order job_order(const job *j, uint64_t seed);
/* Digest of what must not change within a training: settings of `sections`, data, tokenizer, cache. */
void job_digest(const job *j, const char *const *sections, int n, char ret_hex[65]);

/* {"parameters": ..., ...} of a model; digest: of its weights, or NULL. */
void job_model_json(const pupil_arch *a, int64_t params, const char *digest, pupil_buf *b);

/* ---- start.c: what a student begins with ---- */
/* What of the student is trained: all, or its image tower where the teacher's text tower is its own. */
pupil_arch start_trained(const pupil_conf *c, const pupil_arch *student);
/* The whole student from what was trained. Not collective. PUPIL_ENOTFOUND... of the teacher's weights. */
int start_whole(const job *j, pupil_clip *trained, const float *from, pupil_clip *student, float *params);
int start_arch(const pupil_conf *c, int64_t vocab, pupil_arch *ret); /* the student's, for a tokenizer of `vocab` ids. Not collective. */
const char *start_dir(const pupil_conf *c); /* the folder whose weights it begins with, or NULL. Borrowed. */
int start_know(job *j);                     /* once the teachers exist: their digest; that it can be done. Collective. */
/* Its weights into params of c's table, on all ranks of `comm`; what was not inherited stays. Collective over comm. */
int start_load(const job *j, pupil_comm *comm, pupil_clip *c, float *params);
void start_json(const job *j, pupil_buf *b);

/* ---- losses.c ---- */
bool job_distils(const pupil_conf *c); /* some term wants a teacher, or the student has its text side */

/* ---- teachers.c ---- */
int teachers_count(const pupil_conf *c);
/* What the settings say of teacher k. */
job_teacher teachers_of_conf(const pupil_conf *c, int k);
int teachers_open(job *j); /* architectures and tokenizers. Collective. */
void teachers_close(job *j);
int teachers_open_caches(job *j); /* once the teachers exist: digests, scales, caches. Collective. */
/* Architecture and tokenizer; made_here: it is not in its folder yet. Not collective. */
int teachers_open_model(const job *j, job_teacher *t, const pupil_conf_model *made_here);
/* Digest, scale and bias of a teacher's weights; a line that says what it is. Not collective. */
int teachers_know(job_teacher *t);
/* Open the cache that this job expects, which must be there already if it was imported. Not collective. */
int teachers_attach_cache(const job *j, job_teacher *t);
int teachers_refresh(const job *j); /* look for published blocks in all caches. Not collective. */
void teachers_json(const job *j, pupil_buf *b);

/* ---- confounds.c ---- */
void confounds_json(const job *j, pupil_buf *b);

/* ---- tokenizers.c ---- */
int tokenizers_open(job *j); /* the student's. Collective. */
/* That of the teacher in dir: of its folder, or the student's. Not collective. */
int tokenizers_teacher(const pupil_conf *c, const char *dir, pupil_tokenizer **ret);
/* PUPIL_EUSER naming dir unless ids of `t` are what the text tower reads. */
int tokenizers_fit(const pupil_tokenizer *t, const pupil_arch *a, const char *dir);

/* ---- imported.c ---- */
bool imported_lines(const char *lines); /* an identity of embeddings that were made elsewhere */
/* The identity of the imported cache this job expects, given that of the one that is there; sets dim and scale. A teacher
 * whose folder is there, too, must fit. */
int imported_identity(const job *j, job_teacher *t, const char *lines, pupil_identity *id);

/* ---- batch.c: samples of a micro-batch, ready for the towers ---- */
/* Samples an inference run takes at once: of the architecture alone, so that its results are. */
enum { BATCH_RUN = 32 };
int64_t batch_run(const pupil_arch *a); /* at most BATCH_RUN */
typedef struct {
    const pupil_tokenizer *tok;
    int64_t room, context, pixels; /* pictures; tokens a caption; floats an image */
    float *images;                 /* [room, 3, S, S] */
    int32_t *ids, *cu;             /* packed captions */
    uint8_t *u8;                   /* [threads, pixels] */
    pupil_image *decoded;          /* [room] */
} batch;
void batch_new(batch *b, const pupil_tokenizer *tok, const pupil_arch *a, int64_t room, int64_t texts);
void batch_free(batch *b);
/* Whole pictures, to be scored | training samples, sample i in view[i] of those that data.view draws. */
int batch_images(batch *b, const job *j, const pupil_arch *a, pupil_split split, const int64_t *sample, int64_t n);
int batch_views(batch *b, const job *j, const pupil_arch *a, const int64_t *sample, const int64_t *view, int64_t n);
/* The same for several views of the same samples: the pictures are decoded, and kept until others are; then seen. */
int batch_decode(batch *b, const job *j, const int64_t *sample, int64_t n);
int batch_see(batch *b, const job *j, const pupil_arch *a, const int64_t *sample, int64_t view, int64_t n);
/* Texts at .. at+n-1 of the batch: caption which[i] of sample i (NULL: its first), counted round where it has fewer. Texts
 * are laid in order. */
int batch_captions(batch *b, const job *j, pupil_split split, const int64_t *sample, const int64_t *which, int64_t at, int64_t n);
void batch_texts(batch *b, const char *const *text, int64_t n);

/* ---- stream.c: what teachers and students tell each other in split mode (world communicator) ---- */
enum { TAG_TO_STUDENTS = 1, TAG_TO_TEACHERS };
enum { SAY_PUBLISHED = 1, SAY_DONE, SAY_SIGNAL, SAY_NEED, SAY_GRADUATE, SAY_END };
typedef struct {
    pupil_comm *world;
    int students, teachers;
    int done;            /* teachers that have finished their blocks */
    bool signalled;      /* a teacher has seen a signal */
    int64_t told;        /* places the teachers know to be needed */
    double news;         /* when the last block was published */
} stream;
void stream_listen(stream *s, job *j);                 /* student rank 0: take in messages, refresh the cache */
int stream_tell(stream *s, int64_t what, int64_t arg); /* student rank 0: to all teachers */

/* ---- teach.c ---- */
typedef enum { TAUGHT_ALL, TAUGHT_UNTIL_GRADUATION, TAUGHT_UNTIL_END } taught;
/* Fill the caches: rank `me` of `of` teacher ranks takes its share of the missing blocks. s: NULL outside split mode.
 * Not collective. PUPIL_ESTOP on a signal (outside split mode). */
int teach_fill(job *j, int me, int of, const int64_t generation[PUPIL_TEACHERS], stream *s, taught *ret);

/* ---- train.c ---- */
typedef struct trainer trainer;
/* who: teacher or student. with_cache: distil. Not collective. */
int trainer_new(job *j, bool teacher, pupil_comm *c, trainer **ret);
void trainer_free(trainer **t);
/* Initialise or resume from the newest checkpoint. Collective over its communicator. */
int trainer_start(trainer *t);
/* A teacher rank that graduates: take the students' state. Collective over the world, with trainer_run()'s handover. */
int trainer_join(trainer *t);
/* Train to the last step; checkpoints on the way. s: NULL unless split. Collective over its communicator. */
int trainer_run(trainer *t, stream *s);
const pupil_clip *trainer_clip(const trainer *t);
/* Of the model to be scored and exported: the average, where there is one. Whole on rank 0 after trainer_run(). */
const float *trainer_params(const trainer *t);
/* With student.prune: the smaller model that its masks leave, both owned by the caller. Not collective. */
int trainer_fuse(trainer *t, pupil_clip **ret_clip, float **ret_params);
int64_t trainer_substituted(const trainer *t); /* samples that others stood in for, on this rank */
/* Patches of a picture that training sees. */
int64_t trainer_patches(const pupil_conf_train *c, const pupil_arch *a);
/* Freeze what the settings of teacher or student (name) say, and see that they are for such a model. PUPIL_EUSER. */
int trainer_freeze(const pupil_conf_train *c, const char *name, pupil_clip *clip);

/* ---- metrics.c ---- */
typedef enum { PHASE_DATA, PHASE_FORWARD, PHASE_LOSS, PHASE_BACKWARD, PHASE_REDUCE, PHASE_UPDATE, PHASE_WAIT, PHASES } phase;
extern const char *const phase_name[PHASES];
typedef struct metrics metrics;
int metrics_open(const char *path, int64_t keep_steps, metrics **ret); /* lines of steps > keep_steps are dropped */
void metrics_close(metrics **m);
void metrics_step(metrics *m, int64_t step, int64_t epoch, double loss, const double *value, const pupil_loss_conf *lc, double lr,
                  double norm, double scale, double pairs_per_s, int ranks, const double seconds[PHASES]);

/* ---- embed.c ---- */
/* Embeddings of samples (images), or of texts, by a model on all ranks; ret[n, embed_dim] on all. Collective over world. */
typedef struct {
    pupil_clip *clip;
    pupil_weights *weights;
    const pupil_tokenizer *tok;
    const char *name; /* for the progress line */
} embedder;
int embed_images(job *j, const embedder *e, pupil_split split, const int64_t *sample, int64_t n, float *ret);
int embed_texts(job *j, const embedder *e, const char *const *text, int64_t n, float *ret);
int embed_captions(job *j, const embedder *e, pupil_split split, const int64_t *sample, int64_t n, float *ret);
/* Token features of the same, an item each, on all ranks: of pictures pupil_arch_tokens() rows, of texts one row an id. Their
 * bytes are taken from *room first; PUPIL_EUSER where they do not fit. */
int embed_image_tokens(job *j, const embedder *e, pupil_split split, const int64_t *sample, int64_t n, double *room, pupil_tokens *ret);
int embed_text_tokens(job *j, const embedder *e, const char *const *text, int64_t n, double *room, pupil_tokens *ret);

/* ---- evaluate.c ---- */
int evaluate(job *j, pupil_clip *student, pupil_weights *weights);

#endif
