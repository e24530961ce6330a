/* vqa_json.h (private to data): the elements of one array of a large JSON file, one at a time. */
#ifndef PUPIL_DATA_VQA_JSON_H
#define PUPIL_DATA_VQA_JSON_H

#include <jansson.h>

#include "pupil/base.h"

/* Call `each` with every element of the array under `key` of the file's outermost object and its number;
 * elements are borrowed. PUPIL_EFORMAT naming file and line where the file is not JSON or has no such array;
 * what `each` fails with gets "file:line: key[number]: " before it. */
int vqa_json_each(const char *path, const char *key, int (*each)(void *state, const json_t *element),
                  void *state);

/* Fields of an object, else PUPIL_EFORMAT. */
int vqa_json_int(const json_t *object, const char *key, int64_t *ret);
int vqa_json_text(const json_t *object, const char *key, const char **ret); /* borrowed */

#endif
