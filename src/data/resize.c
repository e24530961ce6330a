/* resize.c: resize and crop to the byte as Pillow 9.4 does, and the numbers a tower wants of the bytes.
 *
 * The algorithm is Pillow's published one (src/libImaging/Resample.c): each output pixel is a weighted sum
 * over a window that widens with the scale (antialiasing), weights normalised in double and rounded to 22
 * fractional bits, first along rows into bytes, then along columns into bytes. An output pixel depends on its
 * own window alone, so the pixels that the crop throws away are never computed: only the rows and columns
 * that count are.
 *
 * Rows are taken 16 at a time and turned so that the same column of 16 rows lies side by side: the inner
 * loops then run over neighbouring bytes with one weight, which compilers turn into vector code. */
#include "pupil/data.h"

#include <math.h>
#include <string.h>

#define PRECISION 22 /* 32 bits less 8 of a pixel, less 2 for sign and overshoot */
#define LANES     16
#if defined(__x86_64__) && defined(__linux__)
#define CLONES __attribute__((target_clones("avx2", "default")))
#else
#define CLONES
#endif

/* ---- weights ------------------------------------------------------------------------------------ */
/* The window of each output pixel along one axis. */
typedef struct {
    int n, most;      /* output pixels; weights kept for each */
    int *from, *taps; /* first input pixel and how many */
    int32_t *weight;  /* [n][most] */
} axis;

static double bicubic(double x)
{
    const double a = -0.5;
    x = fabs(x);
    if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
    if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
    return 0;
}

static double triangle(double x)
{
    x = fabs(x);
    return x < 1 ? 1 - x : 0;
}

/* Windows of the output pixels first .. first+n-1 when `in` pixels become `out`. */
static axis axis_new(bool bilinear, int in, int64_t out, int64_t first, int n)
{
    double scale = (double)in / (double)out, wide = scale < 1 ? 1 : scale,
           support = (bilinear ? 1 : 2) * wide;
    int most = (int)PUPIL_MIN(ceil(support) * 2 + 1, (double)in);
    axis a = {n, most, pupil_alloc((size_t)n * sizeof(int)), pupil_alloc((size_t)n * sizeof(int)),
              pupil_alloc((size_t)n * (size_t)most * sizeof(int32_t))};
    double *w = pupil_alloc((size_t)most * sizeof *w), narrow = 1 / wide;
    for (int i = 0; i < n; i++) {
        double center = ((double)(first + i) + 0.5) * scale, sum = 0;
        int from = PUPIL_MAX((int)(center - support + 0.5), 0);
        int taps = PUPIL_MIN((int)(center + support + 0.5), in) - from;
        for (int t = 0; t < taps; t++) {
            double x = (t + from - center + 0.5) * narrow;
            sum += w[t] = bilinear ? triangle(x) : bicubic(x);
        }
        for (int t = 0; t < taps; t++) {
            double k = (sum != 0 ? w[t] / sum : w[t]) * (1 << PRECISION);
            a.weight[(size_t)i * (size_t)most + (size_t)t] = (int32_t)(k < 0 ? k - 0.5 : k + 0.5);
        }
        a.from[i] = from;
        a.taps[i] = taps;
    }
    pupil_free(&w);
    return a;
}

static void axis_free(axis *a)
{
    pupil_free(&a->from);
    pupil_free(&a->taps);
    pupil_free(&a->weight);
}

/* Pixels to be read: a picture, or a box of one. */
typedef struct {
    const uint8_t *rgb;
    size_t stride;
    int w, h;
} pixels;

/* ---- the two passes ----------------------------------------------------------------------------- */
/* to[i] = sum over taps of weight[t] * from[t * stride + i], i = 0 .. n-1, rounded and clipped to a byte. */
CLONES static void weigh(const uint8_t *from, size_t stride, const int32_t *weight, int taps, int n,
                         uint8_t *to)
{
    enum { CHUNK = 3 * LANES };
    int i = 0;
    for (; i + CHUNK <= n; i += CHUNK) {
        int32_t sum[CHUNK];
        for (int j = 0; j < CHUNK; j++) sum[j] = 1 << (PRECISION - 1);
        for (int t = 0; t < taps; t++) {
            const uint8_t *p = from + (size_t)t * stride + i;
            for (int j = 0; j < CHUNK; j++) sum[j] += weight[t] * p[j];
        }
        for (int j = 0; j < CHUNK; j++) {
            int32_t v = sum[j] >> PRECISION;
            to[i + j] = (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
        }
    }
    for (; i < n; i++) {
        int32_t sum = 1 << (PRECISION - 1);
        for (int t = 0; t < taps; t++) sum += weight[t] * from[(size_t)t * stride + (size_t)i];
        int32_t v = sum >> PRECISION;
        to[i] = (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
    }
}

typedef uint8_t lanes __attribute__((vector_size(LANES)));

/* a[i][j] <-> a[j][i]: four perfect shuffles of 16 rows. */
static void transpose(lanes a[LANES])
{
    for (int round = 0; round < 4; round++) {
        lanes b[LANES];
        for (int i = 0; i < LANES / 2; i++) {
            lanes u = a[i], v = a[i + LANES / 2];
            b[2 * i] = __builtin_shufflevector(u, v, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
            b[2 * i + 1] =
                __builtin_shufflevector(u, v, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
        }
        memcpy(a, b, sizeof b);
    }
}

/* turned[i][r] = row r's byte i, or back: n bytes each of `rows` <= 16 rows that are `stride` apart. */
static void turn(const uint8_t *in, size_t stride, int rows, int n, uint8_t *turned)
{
    for (int i = 0; i < n; i += LANES) {
        lanes a[LANES] = {0};
        size_t here = (size_t)PUPIL_MIN(LANES, n - i);
        for (int r = 0; r < rows; r++) memcpy(&a[r], in + (size_t)r * stride + i, here);
        transpose(a);
        memcpy(turned + (size_t)i * LANES, a, here * LANES);
    }
}

static void turn_back(const uint8_t *turned, int rows, int n, uint8_t *out, size_t stride)
{
    for (int i = 0; i < n; i += LANES) {
        lanes a[LANES] = {0};
        size_t here = (size_t)PUPIL_MIN(LANES, n - i);
        memcpy(a, turned + (size_t)i * LANES, here * LANES);
        transpose(a);
        for (int r = 0; r < rows; r++) memcpy(out + (size_t)r * stride + i, &a[r], here);
    }
}

/* Rows y0 .. y1-1 of the picture, resampled along x into out[y1 - y0][3 * x->n]. */
static void along_rows(const pixels *im, const axis *x, int y0, int y1, uint8_t *out)
{
    int x0 = im->w, x1 = 0;
    for (int i = 0; i < x->n; i++) {
        x0 = PUPIL_MIN(x0, x->from[i]);
        x1 = PUPIL_MAX(x1, x->from[i] + x->taps[i]);
    }
    size_t out_stride = (size_t)x->n * 3;
    uint8_t *in16 = pupil_alloc((size_t)(x1 - x0) * 3 * LANES), *out16 = pupil_alloc(out_stride * LANES);
    for (int y = y0; y < y1; y += LANES) {
        int rows = PUPIL_MIN(LANES, y1 - y);
        turn(im->rgb + (size_t)y * im->stride + (size_t)x0 * 3, im->stride, rows, (x1 - x0) * 3, in16);
        for (int i = 0; i < x->n; i++)
            weigh(in16 + (size_t)(x->from[i] - x0) * 3 * LANES, 3 * LANES,
                  x->weight + (size_t)i * (size_t)x->most, x->taps[i], 3 * LANES,
                  out16 + (size_t)i * 3 * LANES);
        turn_back(out16, rows, (int)out_stride, out + (size_t)(y - y0) * out_stride, out_stride);
    }
    pupil_free(&in16);
    pupil_free(&out16);
}

/* The part [x0, x0+nx) x [y0, y0+ny) of the picture resized to w x h, into `out`, rows `stride` bytes apart.
 */
static void resize_part(const pixels *im, bool bilinear, int64_t w, int64_t h, int64_t x0, int nx,
                        int64_t y0, int ny, uint8_t *out, size_t stride)
{
    axis x = axis_new(bilinear, im->w, w, x0, nx), y = axis_new(bilinear, im->h, h, y0, ny);
    bool same_w = w == im->w, same_h = h == im->h; /* Pillow leaves out a pass that would change nothing */
    size_t row = (size_t)nx * 3;
    int first = same_h ? (int)y0 : im->h, last = same_h ? (int)y0 + ny : 0;
    for (int i = 0; i < ny && !same_h; i++) {
        first = PUPIL_MIN(first, y.from[i]);
        last = PUPIL_MAX(last, y.from[i] + y.taps[i]);
    }
    uint8_t *mid = pupil_alloc((size_t)(last - first) * row);
    if (same_w)
        for (int r = first; r < last; r++)
            memcpy(mid + (size_t)(r - first) * row, im->rgb + (size_t)r * im->stride + (size_t)x0 * 3, row);
    else along_rows(im, &x, first, last, mid);
    for (int i = 0; i < ny; i++) {
        if (same_h) memcpy(out + (size_t)i * stride, mid + (size_t)i * row, row);
        else
            weigh(mid + (size_t)(y.from[i] - first) * row, row, y.weight + (size_t)i * (size_t)y.most,
                  y.taps[i], (int)row, out + (size_t)i * stride);
    }
    pupil_free(&mid);
    axis_free(&x);
    axis_free(&y);
}

/* ---- towers ------------------------------------------------------------------------------------- */
pupil_preprocess pupil_preprocess_default(int size)
{
    return (pupil_preprocess){.size = size,
                              .mode = PUPIL_RESIZE_SHORTEST,
                              .mean = {0.48145466, 0.4578275, 0.40821073},
                              .std = {0.26862954, 0.26130258, 0.27577711}};
}

/* round(d / 2) with halves to even, as Python rounds the corner of a crop. */
static int64_t half(int64_t d)
{
    return d / 2 + (d % 2 && d / 2 % 2);
}

int pupil_preprocess_u8(const pupil_preprocess *p, const pupil_image *picture, uint8_t *out)
{
    const pixels whole = {picture->rgb, (size_t)picture->w * 3, picture->w, picture->h}, *im = &whole;
    int s = p->size;
    size_t stride = (size_t)s * 3;
    int64_t w = s, h = s;
    switch (p->mode) {
    case PUPIL_RESIZE_SQUASH:
        resize_part(im, p->bilinear, s, s, 0, s, 0, s, out, stride);
        return 0;
    case PUPIL_RESIZE_SHORTEST: /* torchvision: the longer side is cut down to a whole number */
    case PUPIL_RESIZE_SHORTEST_HF:
        if (im->w <= im->h) h = (int64_t)s * im->h / im->w;
        else w = (int64_t)s * im->w / im->h;
        bool even = p->mode == PUPIL_RESIZE_SHORTEST;
        resize_part(im, p->bilinear, w, h, even ? half(w - s) : (w - s) / 2, s, even ? half(h - s) : (h - s) / 2,
                    s, out, stride);
        return 0;
    case PUPIL_RESIZE_LONGEST: { /* open_clip: the shorter side is rounded, the rest is black */
        double ratio = PUPIL_MAX(im->w, im->h) / (double)s;
        w = (int64_t)rint(im->w / ratio);
        h = (int64_t)rint(im->h / ratio);
        if (w < 1 || h < 1)
            return pupil_fail(PUPIL_EFORMAT,
                              "a picture of %d x %d pixels: a side of it would vanish at %d pixels", im->w,
                              im->h, s);
        memset(out, 0, stride * (size_t)s);
        uint8_t *corner = out + (size_t)((s - h) / 2) * stride + (size_t)((s - w) / 2) * 3;
        resize_part(im, p->bilinear, w, h, 0, (int)w, 0, (int)h, corner, stride);
        return 0;
    }
    }
    return pupil_fail(PUPIL_EUSER, "resize mode %d is not known", (int)p->mode);
}

static void mirror(uint8_t *rgb, int size)
{
    for (int y = 0; y < size; y++, rgb += 3 * size)
        for (int a = 0, b = size - 1; a < b; a++, b--) {
            uint8_t t[3];
            memcpy(t, rgb + 3 * a, 3);
            memcpy(rgb + 3 * a, rgb + 3 * b, 3);
            memcpy(rgb + 3 * b, t, 3);
        }
}

int pupil_preprocess_view(const pupil_preprocess *p, const pupil_image *im, const pupil_view *v, uint8_t *out)
{
    if (v->whole) {
        PUPIL_TRY(pupil_preprocess_u8(p, im, out));
    } else {
        PUPIL_REQUIRE(v->x >= 0 && v->y >= 0 && v->w > 0 && v->h > 0 && v->w <= im->w - v->x && v->h <= im->h - v->y);
        size_t stride = (size_t)im->w * 3;
        const pixels box = {im->rgb + (size_t)v->y * stride + (size_t)v->x * 3, stride, v->w, v->h};
        resize_part(&box, p->bilinear, p->size, p->size, 0, p->size, 0, p->size, out, (size_t)p->size * 3);
    }
    if (v->flip) mirror(out, p->size);
    return 0;
}

void pupil_preprocess_normalize(const pupil_preprocess *p, const uint8_t *u8, float *out)
{
    size_t n = (size_t)p->size * (size_t)p->size;
    for (size_t c = 0; c < 3; c++) {
        float of[256], mean = (float)p->mean[c], std = (float)p->std[c];
        for (int v = 0; v < 256; v++) of[v] = ((float)v / 255.0f - mean) / std;
        for (size_t i = 0; i < n; i++) out[c * n + i] = of[u8[3 * i + c]];
    }
}

void pupil_preprocess_text(const pupil_preprocess *p, pupil_buf *out)
{
    static const char *const mode[] = {"shortest", "shortest-hf", "squash", "longest"};
    pupil_buf_printf(out, "size=%d mode=%s interpolation=%s mean=%.9g,%.9g,%.9g std=%.9g,%.9g,%.9g", p->size,
                     mode[p->mode], p->bilinear ? "bilinear" : "bicubic", p->mean[0], p->mean[1], p->mean[2],
                     p->std[0], p->std[1], p->std[2]);
}
