/* tars.h (private to data): samples in WebDataset tars with random access.
 *
 * A member DIR/NAME.EXT belongs to the sample with the key DIR/NAME; EXT begins at the first dot of the
 * file's name. A sample is KEY.jpg|jpeg|png|webp with a caption: KEY.txt (all of it, however many
 * lines), or "caption" and "captions" of KEY.json, or else its "text"; or with a class: KEY.cls, a number
 * from 0. Where there are several captions, caption 0 is that of KEY.txt and repeats are left out. Captions
 * are stripped of white space at both ends. Other members, and links, are not looked at. The members of a
 * sample may lie anywhere in its tar.
 *
 * A sample is broken that lacks picture, or caption and class, whose key comes twice in its tar, whose
 * caption is empty or not UTF-8, whose picture is larger than 256 MiB or begins like none that we decode,
 * whose name leads out of the tar, or that the tar's end cuts off. Broken samples are left out, counted, and
 * the first few named.
 *
 * Sample order: tars in the order given (braces expanded), then the order of first members inside the tar. */
#ifndef PUPIL_DATA_TARS_H
#define PUPIL_DATA_TARS_H

#include "faults.h"
#include "pupil/data.h"

typedef struct tars tars;
/* Index every tar once (tar_index.h says where) and open them all; broken samples are counted in `bad`. Owned
 * by the caller. */
int tars_open(const pupil_strings *paths, const char *index_dir, faults *bad, tars **ret);
void tars_free(tars **t);
int64_t tars_count(const tars *t);
/* The picture's bytes as they lie in the tar, owned by the caller. PUPIL_EMISMATCH where the tar is no longer
 * what it was when opened. */
int tars_bytes(tars *t, int64_t i, void **ret, size_t *ret_n);
/* Its bytes will be asked for soon: the kernel may begin to read them. */
void tars_expect(tars *t, int64_t i);
const char *tars_path(const tars *t, int64_t i);           /* of the tar it is in; borrowed */
int tars_captions(const tars *t, int64_t i);               /* may be 0 where it has a class */
const char *tars_caption(const tars *t, int64_t i, int k); /* borrowed */
const char *tars_key(const tars *t, int64_t i);            /* borrowed */
int64_t tars_class(const tars *t, int64_t i);              /* -1: none */
/* SHA-256 of keys, picture sizes, captions and classes in sample order; where the tars lie does not matter.
 */
int tars_digest(tars *t, char ret_hex[65]);

/* "a-{000..123}.tar", "x{1,2}.tar" -> the list of all; its items and array are owned by the caller.
 * PUPIL_EUSER on a bad brace. */
int braces_expand(const pupil_strings *patterns, pupil_strings *ret);

#endif
