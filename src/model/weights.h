/* weights.h (private to model): the floats of a table, a span at a time. */
#ifndef PUPIL_MODEL_WEIGHTS_H
#define PUPIL_MODEL_WEIGHTS_H

#include "pupil/model.h"

/* Floats first .. first+count-1 of the flat array; good until the next span is asked for. */
const float *weights_span(pupil_weights *w, int64_t first, int64_t count);
/* A [.., width] tensor at `offset` for lookups of n rows: *ret_ids are where they stand in what is returned. */
const float *weights_rows(pupil_weights *w, int64_t offset, int64_t width, const int32_t *ids, int64_t n, const int32_t **ret_ids);

#endif
