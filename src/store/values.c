/* values.c: embeddings in the number formats of a cache, and what each costs.
 *   f32   as they are          f16, bf16   rounded to nearest, ties to even
 *   i8    x = q * scale, one float32 scale a row: its largest |x| / 127; q rounded to nearest, ties to even
 * Guarantees: what does not fit (not finite, too large) is told by its place; the same values give the same bytes. */
#include "cache.h"

#include <math.h>
#include <string.h>

const char *const pupil_stored_name[PUPIL_STORED_TYPES] = {"f16", "f32", "bf16", "i8"};

/* ---- bfloat16 ------------------------------------------------------------------------------------- */
static int64_t bf16_pack(uint16_t *out, const float *x, int64_t n)
{
    uint32_t bad = 0;
    for (int64_t i = 0; i < n; i++) {
        uint32_t u;
        memcpy(&u, x + i, sizeof u);
        u += 0x7fff + (u >> 16 & 1);
        out[i] = (uint16_t)(u >> 16);
        bad |= (u & 0x7f800000) == 0x7f800000;
    }
    if (!bad) return n;
    int64_t i = 0;
    while (i < n && (out[i] & 0x7f80) != 0x7f80 && isfinite(x[i])) i++;
    return i;
}

/* ---- 8 bits and a scale ----------------------------------------------------------------------------- */
static int64_t i8_pack(int8_t *q, float *scale, const float *x, int64_t rows, int64_t dim)
{
    for (int64_t r = 0; r < rows; r++, q += dim, x += dim) {
        float most = 0;
        if (!pupil_floats_finite(x, dim)) {
            int64_t d = 0;
            while (isfinite(x[d])) d++;
            return r * dim + d;
        }
        for (int64_t d = 0; d < dim; d++) most = fmaxf(most, fabsf(x[d]));
        scale[r] = most / 127;
        float inverse = most > 0 ? 127 / most : 0;
        if (!isfinite(inverse)) inverse = 0, scale[r] = 0; /* all of it below 1e-36 */
        for (int64_t d = 0; d < dim; d++) q[d] = (int8_t)lrintf(x[d] * inverse);
    }
    return rows * dim;
}

static bool i8_unpack(float *x, const int8_t *q, const float *scale, int64_t rows, int64_t dim)
{
    for (int64_t r = 0; r < rows; r++, q += dim, x += dim)
        for (int64_t d = 0; d < dim; d++) x[d] = (float)q[d] * scale[r];
    return pupil_floats_finite(scale, rows);
}

/* ---- a plane ------------------------------------------------------------------------------------------ */
int64_t plane_pack(const pupil_cache_shape *s, void *raw, const float *x, int64_t rows)
{
    const int64_t n = rows * s->dim;
    int64_t good = 0;
    memset(raw, 0, shape_plane_bytes(s));
    switch (s->dtype) {
    case PUPIL_STORED_F16:
        return pupil_f16_pack(raw, x, n);
    case PUPIL_STORED_BF16:
        return bf16_pack(raw, x, n);
    case PUPIL_STORED_I8:
        return i8_pack(raw, (float *)(void *)((char *)raw + shape_data_bytes(s)), x, rows, s->dim);
    default:
        memcpy(raw, x, (size_t)n * sizeof *x);
        if (pupil_floats_finite(x, n)) return n;
        while (isfinite(x[good])) good++;
        return good;
    }
}

bool plane_unpack(const pupil_cache_shape *s, float *x, const void *raw, int64_t rows)
{
    const int64_t n = rows * s->dim;
    switch (s->dtype) {
    case PUPIL_STORED_F16:
        return pupil_f16_unpack(x, raw, n);
    case PUPIL_STORED_BF16:
        return pupil_bf16_unpack(x, raw, n);
    case PUPIL_STORED_I8:
        return i8_unpack(x, raw, (const float *)(const void *)((const char *)raw + shape_data_bytes(s)), rows, s->dim);
    default:
        memcpy(x, raw, (size_t)n * sizeof *x);
        return pupil_floats_finite(x, n);
    }
}

/* ---- what storing changed ------------------------------------------------------------------------------- */
/* Of a row before and after: |x|^2, |y - x|^2 and |y|^2 - |x|^2, small ones as sums of small ones. */
typedef struct {
    float xx, dd, more;
} change;

PUPIL_CLONES static change change_of(const float *x, const float *y, int64_t n)
{
    float xx = 0, dd = 0, more = 0;
#pragma omp simd reduction(+ : xx, dd, more)
    for (int64_t i = 0; i < n; i++) {
        float d = y[i] - x[i];
        xx += x[i] * x[i];
        dd += d * d;
        more += d * (x[i] + y[i]);
    }
    return (change){xx, dd, more};
}

void error_cosine(stored_error *e, const float *x, const float *y, int64_t rows, int64_t dim)
{
    for (int64_t r = 0; r < rows; r++, x += dim, y += dim) {
        change c = change_of(x, y, dim);
        if (!(c.xx > 0)) continue;
        double before = sqrt((double)c.xx), after = sqrt(fmax(0, (double)c.xx + (double)c.more)), longer = (double)c.more / (before + after);
        double cosine = after > 0 ? fmin(1, 1 - ((double)c.dd - longer * longer) / (2 * before * after)) : 0;
        if (e->rows == 0 || cosine < e->cosine_least) e->cosine_least = cosine;
        e->cosine += cosine;
        e->rows++;
    }
}

PUPIL_CLONES static double dot(const float *a, const float *b, int64_t n)
{
    double s = 0;
#pragma omp simd reduction(+ : s)
    for (int64_t i = 0; i < n; i++) s += (double)a[i] * (double)b[i];
    return s;
}

enum { AFFINITY_ROWS = 32 };

/* log-softmax of scale * cos(row i of x, all n rows of it), lengths given, into z[n] */
static void log_softmax(double *z, const float *const x[SIDES], const double length[SIDES][AFFINITY_ROWS], int64_t i, int64_t n, int64_t dim, double scale)
{
    double most = -INFINITY, sum = 0;
    for (int64_t j = 0; j < n; j++) {
        double lengths = length[IMAGE][i] * length[TEXT][j];
        z[j] = lengths > 0 ? scale * dot(x[IMAGE] + i * dim, x[TEXT] + j * dim, dim) / lengths : 0;
        most = fmax(most, z[j]);
    }
    for (int64_t j = 0; j < n; j++) sum += exp(z[j] - most);
    for (int64_t j = 0; j < n; j++) z[j] -= most + log(sum);
}

static void lengths_of(double length[SIDES][AFFINITY_ROWS], const float *const x[SIDES], int64_t n, int64_t dim)
{
    for (int k = 0; k < SIDES; k++)
        for (int64_t i = 0; i < n; i++) length[k][i] = sqrt(dot(x[k] + i * dim, x[k] + i * dim, dim));
}

void error_affinity(stored_error *e, const float *const x[SIDES], const float *const y[SIDES], int64_t rows, int64_t dim, double scale)
{
    int64_t n = PUPIL_MIN(rows, (int64_t)AFFINITY_ROWS);
    double p[AFFINITY_ROWS], q[AFFINITY_ROWS], before[SIDES][AFFINITY_ROWS], after[SIDES][AFFINITY_ROWS], kl = 0;
    lengths_of(before, x, n, dim);
    lengths_of(after, y, n, dim);
    for (int64_t i = 0; i < n; i++) {
        log_softmax(p, x, before, i, n, dim, scale);
        log_softmax(q, y, after, i, n, dim, scale);
        for (int64_t j = 0; j < n; j++) kl += exp(p[j]) * (p[j] - q[j]);
    }
    e->affinity_kl += fmax(0, kl / (double)n);
    e->blocks++;
}
