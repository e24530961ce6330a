/* safetensors.h (private to model): one file's header as a list of tensors. */
#ifndef PUPIL_MODEL_SAFETENSORS_H
#define PUPIL_MODEL_SAFETENSORS_H

#include "pupil/model.h"

typedef struct {
    pupil_st_tensor t;   /* name is owned, file borrowed */
    uint64_t begin, end; /* in the file's data */
} st_entry;
typedef struct {
    st_entry *e;
    int64_t n, cap;
} st_entries;

enum { ST_HEADER_MAX = 100000000, ST_NAME_SHOWN = 200 };

/* PUPIL_EFORMAT: "FILE: tensor NAME: WHY". */
int st_refuse(const char *file, const char *name, const char *why);
/* Append the tensors of the header text[n], which has data[bytes] behind it. On failure the list may hold
 * some of them. `file` is borrowed by the entries. */
int st_header_parse(const char *file, const char *text, size_t n, const uint8_t *data, uint64_t bytes,
                    st_entries *list);

#endif
