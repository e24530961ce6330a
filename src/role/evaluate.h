/* evaluate.h (private to role): the parts of an evaluation, shared by the end of a run (evaluate.c), the protocols that train
 * nothing (score.c) and `pupil eval` (models.c). */
#ifndef PUPIL_ROLE_EVALUATE_H
#define PUPIL_ROLE_EVALUATE_H

#include "results.h"

/* Classes to be told apart by their texts. */
typedef struct {
    char **name, **template; /* owned; a name may be of the data set's own list */
    int n, n_templates;
    int64_t *subset, n_subset; /* NULL: all */
    int64_t *sample, *label, pictures; /* held-out ones and their class: its place in the list, or in the subset */
} class_task;

/* What is asked of every model. */
typedef struct {
    job *j;
    uint64_t seed;
    asked q[2];         /* set NULL: no questions */
    pupil_answers list; /* answers of training; n 0: none */
    float *target;
    class_task classes; /* n 0: no classes */
    char **given[MOST_ANSWERERS]; /* answers of r.who[i] */
    char name[PUPIL_TEACHERS][16]; /* of teachers */
    int64_t *pair, n_pairs;
    char test_digest[65], questions[65], digest[65]; /* of the held-out data; of questions, data and seed; of all of this */
    results r;
} evaluation;

/* One model while it is scored. Embeddings are NULL until they are wanted. */
typedef struct {
    embedder m;
    const char *digest, *tok_digest; /* of its weights and its tokenizer */
    float *image[2], *question[2]; /* of the question sets */
    struct {
        float *image, *text; /* of held-out pairs, first captions */
        int64_t dim;
        double scale;
    } pairs;
    pupil_rows rows; /* rank 0's */
} scored;
void scored_free(scored *s);

/* ---- evaluate.c: all collective ---- */
int evaluation_open(evaluation *e); /* e->j: with its data open */
void evaluation_forget(evaluation *e); /* what has been found, before the next model. Not collective. */
void evaluation_close(evaluation *e);
int evaluation_embed(evaluation *e, scored *s, pupil_split split); /* pictures that are asked about */
int evaluation_embed_pairs(evaluation *e, scored *s);
int evaluation_probe(evaluation *e, scored *s, bool baselines);    /* rows vqa.*; answers in e->r.who */
/* heads.c: rows vqa.reader, vqa.fusion, vqa.fusion.tuned and, with the baselines, vqa.reader.question_only; the student's answers in the run directory. */
int evaluation_heads(evaluation *e, scored *s, bool baselines, bool student);
int evaluation_retrieve(evaluation *e, scored *s);                 /* rows retrieval.square; e->r.rank */
/* The answers index[] of the list to all held-out questions, by whom; rows (may be NULL) get the protocol's figures. */
void evaluation_answered(evaluation *e, const char *name, const int32_t *index, const char *protocol, pupil_rows *rows);

/* ---- remember.c: not collective ---- */
void evaluation_digest_questions(const evaluation *e, char hex[65]); /* what is asked, of what data, and by which seed */
void evaluation_digest_protocols(const evaluation *e, char hex[65]); /* all that scores depend on, but for the model */
/* What the teacher scored under this key, into e->r and s. False where it is missing, or of another key. */
bool evaluation_recall(evaluation *e, const job_teacher *t, const char *key, scored *s);
int evaluation_remember(const evaluation *e, const job_teacher *t, const char *key, const scored *s);
/* Digest of all that rows of `part` depend on. */
void evaluation_key(const evaluation *e, const char *weights, const char *tokenizer, const char *part, char hex[65]);

/* ---- score.c: collective unless said ---- */
int score_ranked_answers(evaluation *e, scored *s, const char *predictions); /* predictions: a file for them, or NULL */
int score_classes(evaluation *e, scored *s);
int score_captions(evaluation *e, scored *s);      /* of the pictures of pairs, all captions */
void score_embedding(evaluation *e, scored *s);    /* of pairs, rank 0 */
void score_against(evaluation *e, scored *s, const scored *teacher, const char *name); /* of pairs, rank 0 */
/* Not collective: the classes of the settings; what is read is told to `out` by its content. */
int score_classes_open(evaluation *e);
void score_classes_close(class_task *c);
void score_classes_text(const class_task *c, pupil_buf *out);

#endif
