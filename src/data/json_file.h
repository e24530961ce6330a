/* json_file.h (private to data): the elements of a large JSON file, one at a time, in memory that does not
 * depend on the file's size. */
#ifndef PUPIL_DATA_JSON_FILE_H
#define PUPIL_DATA_JSON_FILE_H

#include <jansson.h>

#include "pupil/base.h"

typedef struct {
    const char *list; /* the list of the outermost object that it is in; NULL: the outermost list, or lines */
    const char *key;  /* it is no list's, but this member of the outermost object; else NULL */
    int64_t index, line; /* in its list; in the file, where it begins */
    const json_t *value; /* borrowed */
} json_item;

enum { JSON_STOP = 1 };
/* Call `each` with every element of the outermost list, or of each list in the outermost object, and with the
 * members of that object that are no lists; `lines`: with every value of a file of one JSON value a line.
 * Ends early, with JSON_STOP, where `each` says so. PUPIL_EFORMAT "file:line: ..." where the file is not
 * JSON, is nested too deeply, holds a value of more than 1 MiB or a name twice; what `each` fails with gets
 * "file:line: list[index]: " before it. */
int json_file_each(const char *path, bool lines, int (*each)(void *state, const json_item *item),
                   void *state);
/* The file is one JSON object a line, with one of n keys in it (as far as its first line tells). PUPIL_EFORMAT |
 * PUPIL_EIO | PUPIL_ENOTFOUND. */
int json_file_is_lines(const char *path, const char *const *key, int n, bool *ret);

/* Fields of an object, else PUPIL_EFORMAT. */
int json_file_int(const json_t *object, const char *key, int64_t *ret);
int json_file_text(const json_t *object, const char *key, const char **ret); /* borrowed */
/* A number or a text, as text: borrowed, or in `digits`. */
int json_file_id(const json_t *object, const char *key, char digits[24], const char **ret);

#endif
