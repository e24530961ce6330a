/* tars.h (private to data): samples in WebDataset tars with random access.
 *
 * A member DIR/NAME.EXT belongs to the sample with the key DIR/NAME; EXT begins at the first dot of the
 * file's name. A sample is KEY.jpg|jpeg|png|webp with a caption: KEY.txt, or "caption" or "captions" of
 * KEY.json; where there are several, caption 0 is that of KEY.txt and repeats are left out. Captions are
 * stripped of white space at both ends. Other members are not looked at. The members of a sample may lie
 * anywhere in its tar.
 *
 * A sample is broken that lacks picture or caption, whose key comes twice in its tar, whose caption is empty
 * or not UTF-8, whose picture is larger than 256 MiB or begins like none that we decode, whose name leads out
 * of the tar, or that the tar's end cuts off. Broken samples are counted, the first few are named in one
 * warning, and they are left out, or refused.
 *
 * Sample order: tars in the order given (braces expanded), then the order of first members inside the tar. */
#ifndef PUPIL_DATA_TARS_H
#define PUPIL_DATA_TARS_H

#include "pupil/data.h"

typedef struct tars tars;
/* Index every tar once (tar_index.h says where) and open them all. skip_bad: leave broken samples out, else
 * PUPIL_EFORMAT at the first. Owned by the caller. */
int tars_open(const pupil_strings *patterns, const char *index_dir, bool skip_bad, tars **ret);
void tars_free(tars **t);
int64_t tars_count(const tars *t);
/* Alpha is dropped, as in Pillow's convert("RGB"). PUPIL_EMISMATCH where the tar is no longer what it was
 * when opened. */
int tars_image(tars *t, int64_t i, pupil_image *ret);
int tars_captions(const tars *t, int64_t i);
int tars_caption(tars *t, int64_t i, int k, char **ret);
const char *tars_key(const tars *t, int64_t i); /* borrowed */
/* Sample index; -1: no sample has that key; -2: several have it, in different tars. */
int64_t tars_find(tars *t, const char *key);
/* SHA-256 of keys, picture sizes and captions in sample order; where the tars lie does not matter. */
int tars_digest(tars *t, char ret_hex[65]);

/* "a-{000..123}.tar", "x{1,2}.tar" -> the list; owned by the caller (pupil_names_free). PUPIL_EUSER on a bad
 * brace. */
int braces_expand(const char *pattern, char ***ret, int *ret_n);

#endif
