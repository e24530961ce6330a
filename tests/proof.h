/* proof.h: what the test programs share: random arrays, error measures, a folder that goes away. */
#ifndef PUPIL_TESTS_PROOF_H
#define PUPIL_TESTS_PROOF_H

#include "pupil/base.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ftw.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A call that must succeed; its reason is printed when it does not. */
#define GOOD(call)                                                                                           \
    do {                                                                                                     \
        int good_ = (call);                                                                                  \
        if (good_ != 0) fail_msg("%s: %s (%s)", #call, pupil_reason(), pupil_status_text(good_));            \
    } while (0)
/* A call that must fail with `code` and a reason that holds `part`. */
#define BAD(call, code, part)                                                                                \
    do {                                                                                                     \
        int bad_ = (call);                                                                                   \
        if (bad_ != (code))                                                                                  \
            fail_msg("%s gave %d (%s), expected %d", #call, bad_, pupil_status_text(bad_), (code));          \
        if (!strstr(pupil_reason(), (part)))                                                                 \
            fail_msg("%s: the reason is \"%s\", expected it to name \"%s\"", #call, pupil_reason(), (part)); \
    } while (0)
#define CHECK(cond, ...)                                                                                     \
    do {                                                                                                     \
        if (!(cond)) fail_msg(__VA_ARGS__);                                                                  \
    } while (0)

/* Free several pupil_alloc()ed arrays. */
#define DROP(...) drop_((void *[]){__VA_ARGS__}, (int)(sizeof((void *[]){__VA_ARGS__}) / sizeof(void *)))
static inline void drop_(void **p, int n)
{
    for (int i = 0; i < n; i++) pupil_free(&p[i]);
}

static inline double *doubles(int64_t n)
{
    return pupil_alloc((size_t)PUPIL_MAX(n, (int64_t)1) * sizeof(double));
}
static inline float *floats(int64_t n)
{
    return pupil_alloc((size_t)PUPIL_MAX(n, (int64_t)1) * sizeof(float));
}

/* Normal numbers of standard deviation `sd` around `mean`, exact in float. */
static inline double *normals(uint64_t seed, int64_t n, double mean, double sd)
{
    double *x = doubles(n);
    pupil_rng r = pupil_rng_at(seed, PUPIL_STREAM_TEST, (uint64_t)n);
    for (int64_t i = 0; i < n; i++) x[i] = (double)(float)(mean + sd * pupil_rng_normal(&r));
    return x;
}

static inline float *to_floats(const double *x, int64_t n)
{
    float *y = floats(n);
    for (int64_t i = 0; i < n; i++) y[i] = (float)x[i];
    return y;
}

static inline double *to_doubles(const float *x, int64_t n)
{
    double *y = doubles(n);
    for (int64_t i = 0; i < n; i++) y[i] = (double)x[i];
    return y;
}

static inline double max_error(const float *got, const double *want, int64_t n)
{
    double worst = 0;
    for (int64_t i = 0; i < n; i++) {
        double e = fabs((double)got[i] - want[i]);
        if (!(e <= worst)) worst = e; /* a NaN stays */
    }
    return worst;
}

static inline double max_abs(const double *x, int64_t n)
{
    double worst = 0;
    for (int64_t i = 0; i < n; i++) worst = fmax(worst, fabs(x[i]));
    return worst;
}

static inline double l2(const double *x, int64_t n)
{
    double s = 0;
    for (int64_t i = 0; i < n; i++) s += x[i] * x[i];
    return sqrt(s);
}

/* |got - want| / |want| in L2. */
static inline double relative_l2(const float *got, const double *want, int64_t n)
{
    double d = 0;
    for (int64_t i = 0; i < n; i++) d += pow((double)got[i] - want[i], 2);
    return sqrt(d) / fmax(l2(want, n), 1e-300);
}

static inline double dot_of(const double *a, const double *b, int64_t n)
{
    double s = 0;
    for (int64_t i = 0; i < n; i++) s += a[i] * b[i];
    return s;
}

/* A fresh folder; released with folder_end(). */
static inline char *folder_new(void)
{
    const char *base = getenv("TMPDIR");
    char *path = pupil_format("%s/pupil-test-XXXXXX", base ? base : "/tmp");
    if (!mkdtemp(path)) fail_msg("mkdtemp %s", path);
    return path;
}

static inline int folder_drop_(const char *path, const struct stat *st, int kind, struct FTW *f)
{
    (void)st, (void)kind, (void)f;
    return remove(path);
}

static inline void folder_end(char **path)
{
    nftw(*path, folder_drop_, 8, FTW_DEPTH | FTW_PHYS);
    pupil_free(path);
}

/* PUPIL_ORACLE/relative in a fresh string, or NULL when the reference data are not here. */
static inline char *oracle_path(const char *relative)
{
    const char *root = getenv("PUPIL_ORACLE");
    char *p = pupil_join(root ? root : "", relative);
    if (root && pupil_exists(p)) return p;
    print_message("[ SKIPPED  ] no reference data at PUPIL_ORACLE/%s\n", relative);
    pupil_free(&p);
    return NULL;
}

#endif
