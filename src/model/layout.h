/* layout.h (private to model): where a file keeps what the table calls by one name. */
#ifndef PUPIL_MODEL_LAYOUT_H
#define PUPIL_MODEL_LAYOUT_H

#include "pupil/model.h"

typedef enum { LAYOUT_OPEN_CLIP, LAYOUT_HUGGING_FACE } layout;

/* A tensor of the table as a file has it: parts below each other along dimension 0. */
typedef struct {
    int n;
    struct {
        char name[112];
        int64_t rows; /* of dimension 0 */
        bool absent;  /* zeros that no file holds */
    } part[3];
    bool transpose;   /* the file has [columns, rows]; then n is 1 */
    int lead;         /* dimensions of 1 that the file has before the others */
} layout_tensor;

/* Which layout the names of these files are of. */
layout layout_of(const pupil_safetensors *s);
/* False: this layout has no place for the tensor. */
bool layout_find(const pupil_arch *a, layout l, const pupil_tensor *t, layout_tensor *ret);

#endif
