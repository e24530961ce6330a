/* provenance.h (private to role): what is told of a teacher whose embeddings were made elsewhere. */
#ifndef PUPIL_ROLE_PROVENANCE_H
#define PUPIL_ROLE_PROVENANCE_H

#include "pupil/store.h"

enum { TOLD_MOST = 24 };
typedef struct {
    char *value[TOLD_MOST], *from[TOLD_MOST]; /* by row of the table in provenance.c; NULL: not told. Owned */
} provenance;

/* What the attributes of all sources and the YAML file (NULL: none) tell. They must agree where they speak of the same; view is
 * "whole picture" and normalized false where nothing is told.
 * PUPIL_EUSER | PUPIL_EFORMAT: one line with file and key. */
int provenance_read(provenance *p, pupil_embeddings *e, const char *yaml);
void provenance_free(provenance *p);
/* The value of a key, in canonical form; NULL: not told. Borrowed. */
const char *provenance_get(const provenance *p, const char *key);
/* As lines of a cache's identity. */
void provenance_identity(const provenance *p, pupil_identity *id);

#endif
