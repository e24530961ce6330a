/* heads.h (private to role): heads on token features, trained on a frozen model: the generative reader and the fusion head;
 * and a fusion head whose towers are tuned with it. */
#ifndef PUPIL_ROLE_HEADS_H
#define PUPIL_ROLE_HEADS_H

#include "evaluate.h"

/* What heads of one model share. */
typedef struct {
    evaluation *e;
    scored *s;
    double room;           /* bytes that token features may still take */
    pupil_tokens image[2], question[2]; /* of the pictures and questions of both splits, once they are wanted */
    pupil_tokens told;                  /* of the first training pictures, whose captions are read */
} head_features;

/* Their features, unless they are there already. Collective. */
int head_images(head_features *f);
int head_questions(head_features *f);
int head_told(head_features *f);

/* Answers to all held-out questions, fresh strings in *ret, on all ranks. Collective. */
int reader_answers(head_features *f, bool sees, const char *name, char **ret);
int fusion_answers(head_features *f, bool tuned, const char *name, char **ret);

/* ---- towers.c: a copy of a model's towers that is trained along with a head ---- */
typedef struct {
    const job *j;
    const embedder *m;
    pupil_weights *weights;
    const float *params; /* of the clip's table, borrowed */
    pupil_acts *acts;
    pupil_scratch *scratch;
    batch b;
    float *unwanted; /* [room, embed_dim] */
} towers;
void towers_new(towers *t, const job *j, const embedder *m, const float *params, int64_t room);
void towers_free(towers *t);
/* Token features of n pictures and of n texts, whose rows are t->b.cu. Not collective. */
int towers_forward(towers *t, pupil_split split, const int64_t *sample, const char *const *text, int64_t n, float *image, float *ret_text);
/* grads += what follows from those of the features. */
void towers_backward(towers *t, const float *dimage, const float *dtext, float *grads);

#endif
