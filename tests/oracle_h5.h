/* oracle_h5.h: reference data by name, as doubles. */
#ifndef PUPIL_TESTS_ORACLE_H5_H
#define PUPIL_TESTS_ORACLE_H5_H

#include "pupil/store.h"

#include "proof.h"

#include <jansson.h>

/* Dataset `name` as doubles in a fresh array; its shape in ret_dims (may be NULL). */
static inline double *h5_doubles(pupil_h5 *h, const char *name, int64_t ret_dims[8])
{
    int ndim;
    int64_t dims[8], n = 1;
    GOOD(pupil_h5_shape(h, name, &ndim, dims));
    for (int d = 0; d < ndim; d++) n *= dims[d];
    double *x = doubles(n);
    GOOD(pupil_h5_read(h, name, PUPIL_H5_F64, n, x));
    if (ret_dims) memcpy(ret_dims, dims, sizeof dims);
    return x;
}

static inline float *h5_floats(pupil_h5 *h, const char *name, int64_t ret_dims[8])
{
    int64_t dims[8] = {0}, n = 1;
    int ndim;
    GOOD(pupil_h5_shape(h, name, &ndim, dims));
    for (int d = 0; d < ndim; d++) n *= dims[d];
    double *x = h5_doubles(h, name, ret_dims);
    float *y = to_floats(x, n);
    pupil_free(&x);
    return y;
}

static inline double h5_number(pupil_h5 *h, const char *name)
{
    double x = 0;
    GOOD(pupil_h5_read(h, name, PUPIL_H5_F64, 1, &x));
    return x;
}

/* Captions [n, context] padded -> packed up to and with the first `end` id. ids has room for all. */
static inline void pack_captions(const double *padded, int64_t n, int64_t context, int64_t end, int32_t *ids,
                                 int32_t *cu)
{
    cu[0] = 0;
    for (int64_t s = 0; s < n; s++) {
        int64_t len = 0;
        while (len < context && (int64_t)padded[s * context + len++] != end) {
        }
        for (int64_t i = 0; i < len; i++) ids[cu[s] + i] = (int32_t)padded[s * context + i];
        cu[s + 1] = cu[s] + (int32_t)len;
    }
}

static inline json_t *json_file(const char *path)
{
    json_error_t e;
    json_t *j = json_load_file(path, 0, &e);
    CHECK(j, "%s: %s", path, e.text);
    return j;
}

static inline double json_number_in(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    CHECK(json_is_number(v), "no number '%s'", key);
    return json_number_value(v);
}

#endif
