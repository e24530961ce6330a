/* vqa.h (private to data): a set of questions while it is made. */
#ifndef PUPIL_DATA_VQA_H
#define PUPIL_DATA_VQA_H

#include "pupil/data.h"
#include "table.h"

typedef struct {
    pupil_vqa_set set; /* first: what callers hold points here */
    textset texts, ids;
    int64_t cap;
} vqa_owner;

/* The set's one copy of a text. */
char *vqa_keep(vqa_owner *o, const char *text);
/* A new question at the end of the set, borrowed until the next one; NULL if this id is known already. */
pupil_vqa_question *vqa_add(vqa_owner *o, const char *id, const char *question);
/* The one with this id, or NULL. Good until questions are left out. */
pupil_vqa_question *vqa_find(vqa_owner *o, const char *id);
/* n answers (1 to 10), kept already: fills answers and n_answers, and the most frequent one, the first of
 * equals, as answer. */
void vqa_answers(pupil_vqa_question *q, char *const *answer, int n);
void vqa_drop(pupil_vqa_question *q);

/* vqa_read.c: the files, whatever their format, into an empty set. d NULL: of pictures that are elsewhere. */
int vqa_read(pupil_dataset *d, pupil_split split, const pupil_conf_vqa_files *named, vqa_owner *o);

#endif
