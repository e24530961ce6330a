/* results.h (private to role): what an evaluation found, and writing it down. */
#ifndef PUPIL_ROLE_RESULTS_H
#define PUPIL_ROLE_RESULTS_H

#include "job.h"

#include "pupil/eval.h"

enum { HEADS = 3 }; /* heads on token features: the reader, the fusion head, and one whose towers are tuned */

/* A question set and the pictures it is about. */
typedef struct {
    pupil_vqa_set *set;
    int64_t n;                /* questions used: the first n */
    int64_t *image, n_images; /* distinct samples, ascending */
    int64_t *row;             /* per question, its row in image */
    const char **text;
} asked;

/* The pixel baseline's answer (index in the list) to each test question. Not collective. */
int pixel_answers(const job *j, const asked *train, const asked *test, const pupil_answers *list, int32_t *ret);

/* R@1 of giving each of the first `pairs` held-out pictures the caption of the training picture nearest in pixels. */
int pixel_retrieval(const job *j, int64_t pairs, double *ret_r1);

/* One answerer of the test questions. */
typedef struct {
    const char *name;
    char **answer; /* [n] borrowed strings, or NULL: not there */
    pupil_vqa_score score;
} answerer;

typedef struct {
    const char *name;
    pupil_recall image_to_text, text_to_image;
    bool r1_only; /* a baseline that knows R@1 alone */
} ranker;

enum { MOST_ANSWERERS = 5 + PUPIL_TEACHERS, MOST_RANKERS = 2 + PUPIL_TEACHERS };
typedef struct {
    const pupil_vqa_set *test; /* NULL: no VQA */
    int n_answers;
    answerer who[MOST_ANSWERERS];
    int n_who;
    ranker rank[MOST_RANKERS];
    int n_rank;
    int64_t pairs;
    const char *rows; /* JSON objects for a list, or NULL */
    pupil_buf head[HEADS]; /* what the reader and the fusion heads of each model scored, for a person */
} results;

/* eval.json, vqa_results.json and samples/ in the run directory; one rank. */
int results_write(const job *j, const results *r);
/* Answers to the first n questions of a set in its official results format. */
int results_predictions(const char *path, const pupil_vqa_set *set, char *const *answer, int64_t n);
/* What the heads scored on a model, from its rows. */
void results_note_heads(results *r, const char *name, const pupil_rows *rows);
/* The lines a person reads at the end. */
void results_say(const results *r);

#endif
