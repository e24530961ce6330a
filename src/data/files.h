/* files.h (private to data): pictures that lie in files of their own, with captions from a list: the one
 * table behind csv, COCO and class folders.
 *
 * A picture is named by a path below a root folder: "./", "//" and a root's own absolute path in front are
 * taken off; a path that leads out of the roots is broken. Its key is that path without its last extension.
 * Rows that name one picture are captions of it; captions are stripped of white space, and repeats are left
 * out. Whether files are there is asked of the folders' lists of names, never file by file: 600,000 pictures
 * on a network file system are a few requests. What is broken is known when the list is whole, so that sample
 * i is the same on every rank. Samples are in the order of their first rows. */
#ifndef PUPIL_DATA_FILES_H
#define PUPIL_DATA_FILES_H

#include "pupil/data.h"
#include "faults.h"

typedef struct files files;
typedef struct files_builder files_builder;

/* Roots (n >= 1, borrowed) are looked through in order. */
files_builder *files_begin(char *const *root, int n, faults *bad);
/* One more caption (n bytes; NULL: none) of a picture, read in `line` of `file` (borrowed until the end).
 * cls: its class, or -1. What is wrong with it is counted in `bad`. */
void files_add(files_builder *b, const char *path, const char *caption, size_t n, int64_t cls,
               const char *file, int64_t line);
/* Count a row that names no picture of the list. */
void files_refuse(files_builder *b, fault why, const char *file, int64_t line, const char *what);
/* Look the files up and lay the table out; the builder is gone. */
files *files_end(files_builder **b);
void files_drop(files_builder **b); /* without a table */

void files_free(files **f);
int64_t files_count(const files *f);
/* The file's bytes, owned by the caller. PUPIL_EFORMAT: no regular file, or more than 256 MiB. */
int files_bytes(const files *f, int64_t i, void **ret, size_t *ret_n);
/* Its bytes will be asked for soon: the kernel may begin to read them. */
void files_expect(const files *f, int64_t i);
char *files_path(const files *f, int64_t i);                 /* owned by the caller */
int files_captions(const files *f, int64_t i);               /* may be 0 where it has a class */
const char *files_caption(const files *f, int64_t i, int k); /* borrowed */
const char *files_key(const files *f, int64_t i);            /* borrowed */
int64_t files_class(const files *f, int64_t i);              /* -1: none */
/* SHA-256 of paths, captions and classes in sample order, and of the sizes of 256 files spread over them: all
 * of them would cost minutes on a network file system. Where the roots lie does not matter. */
int files_digest(const files *f, char ret_hex[65]);

/* ---- the lists ---------------------------------------------------------------------------------- */
/* csv.c: columns by name, RFC 4180's quotes. PUPIL_EFORMAT where the columns are not there or a quote never
 * ends. */
int csv_read(const char *path, const char *image_key, const char *caption_key, pupil_separator separator,
             files_builder *b);
/* coco.c: COCO's captions JSON, or Karpathy's, of which the pictures of `splits` (NULL: any) are taken.
 * *ret_splits: the file has splits. PUPIL_EFORMAT with file and line. */
int coco_read(const char *path, const pupil_strings *splits, files_builder *b, bool *ret_splits);
/* folder.c: sorted names of the folders in `dirs`, the union; owned by the caller. */
int folder_classes(const pupil_strings dirs[2], pupil_strings *ret);
/* Pictures DIR/CLASS/NAME.jpg|jpeg|png|webp of these class folders, sorted. */
int folder_read(const char *dir, const pupil_strings *folder, files_builder *b);
/* Names of classes from a file: one a line, or "folder<TAB>name" for each of the folders; folder NULL: one a
 * line. PUPIL_EFORMAT with file and line. */
int class_names_read(const char *path, const pupil_strings *folder, char ***ret, int *ret_n);

#endif
