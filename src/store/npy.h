/* npy.h: a matrix of float16 or float32 in a .npy file, read by rows. */
#ifndef STORE_NPY_H
#define STORE_NPY_H

#include "pupil/store.h"

typedef struct {
    char *path; /* owned */
    int fd;
    int64_t at, rows, dim; /* at: the first value's byte */
    bool f32;
} npy_file;

/** Versions 1.0 to 3.0, C order, <f2 or <f4, two dimensions, and as many bytes as these need: anything else is
 *  refused with what was found. PUPIL_ENOTFOUND | PUPIL_EIO | PUPIL_EFORMAT. */
int npy_open(const char *path, npy_file *ret);
void npy_close(npy_file *f);
/** Rows first .. first+n-1 as stored. */
int npy_read(const npy_file *f, int64_t first, int64_t n, void *raw);

#endif
