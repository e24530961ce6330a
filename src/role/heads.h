/* heads.h (private to role): heads on token features, trained on a frozen model: the generative reader and the fusion head. */
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
int fusion_answers(head_features *f, const char *name, char **ret);

#endif
