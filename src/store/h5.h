/* h5.h: HDF5 as the rest of this room uses it: silent, without file locks, every failure one line. */
#ifndef STORE_H5_H
#define STORE_H5_H

#include "pupil/store.h"

#include <hdf5.h>

/** Record "path: what failed (HDF5's innermost reason)"; call it right after the HDF5 call that failed. */
int h5_fail(int code, const char *path, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/** Make a file (truncates); its metadata are laid out in runs of meta_bytes (0: HDF5's own choice). */
int h5_file_create(const char *path, int64_t meta_bytes, hid_t *ret);
/** Open for reading. PUPIL_ENOTFOUND | PUPIL_EIO | PUPIL_EFORMAT. */
int h5_file_open(const char *path, hid_t *ret);
/** Close any object of which *id is the only holder; accepts 0. */
void h5_drop(hid_t *id);
/** IEEE half, little endian, as h5py writes numpy's float16. Dropped by the caller. */
hid_t h5_half(void);

/** What a dataset is opened for: numbers read whole or by chunks; numbers read by rows, so that chunks are kept for
 *  a while; text. */
typedef enum { H5_NUMBERS, H5_ROWS, H5_TEXT } h5_use;
/** What is known of a dataset once it has been found fit to read: its values are all in this file. */
typedef struct {
    hid_t set, type, plist;
    int ndim;
    int64_t dim[8], n; /* n: elements */
    size_t size;       /* bytes an element */
} h5_set;
/** Open `name` and refuse what would make a reader allocate or believe too much: another kind of values, more
 * than 8 dimensions, values in other files, values that were never written, more of them than the file's
 * bytes can hold. */
int h5_set_open(hid_t file, const char *path, const char *name, h5_use use, h5_set *ret);
/** Entries first .. first+n-1 of the first dimension. -1: call h5_fail(). */
int h5_set_rows(const h5_set *s, hid_t memory, int64_t first, int64_t n, void *data);
void h5_set_close(h5_set *s);

/** Scalar attributes of the root group. */
int h5_attr_write(hid_t file, const char *path, const char *name, hid_t type, const void *value);
int h5_attr_read_i64(hid_t file, const char *path, const char *name, int64_t *ret);
int h5_attr_write_text(hid_t file, const char *path, const char *name, const char *text);
int h5_attr_read_text(hid_t file, const char *path, const char *name, char **ret);
/** Text, a number, or a short row of numbers, as text. */
int h5_attr_read_any(hid_t file, const char *path, const char *name, char **ret);

#endif
