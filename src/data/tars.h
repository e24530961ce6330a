/* tars.h (private to data): samples in WebDataset tars with random access.
 * A sample is a KEY with KEY.jpg|jpeg|png|webp and KEY.txt, or a caption in KEY.json ("caption", or "captions": [...]).
 * Sample order: tars in the order given (braces expanded), then order inside the tar. */
#ifndef PUPIL_DATA_TARS_H
#define PUPIL_DATA_TARS_H

#include "pupil/data.h"

typedef struct tars tars;
/* Index every tar once (NAME.tar.idx beside it, or in index_dir), refuse or skip broken samples. Owned by the caller. */
int tars_open(const pupil_strings *patterns, const char *index_dir, bool skip_bad, tars **ret);
void tars_free(tars **t);
int64_t tars_count(const tars *t);
int tars_image(tars *t, int64_t i, pupil_image *ret);
int tars_captions(const tars *t, int64_t i);
int tars_caption(tars *t, int64_t i, int k, char **ret);
const char *tars_key(const tars *t, int64_t i);      /* borrowed */
int64_t tars_find(const tars *t, const char *key);    /* sample index, or -1 */
int tars_digest(tars *t, char ret_hex[65]);

/* "a-{000..123}.tar", "x{1,2}.tar" -> the list; owned by the caller. PUPIL_EUSER on a bad brace. */
int braces_expand(const char *pattern, char ***ret, int *ret_n);

#endif
