/* weights.c: where the floats of a model's table come from: a flat array; or the files of a model folder, mapped. Mapped
 * files are one copy a node (the page cache), in the number format they were published in. Each value is checked once,
 * when they are opened; then a forward pass unpacks one span at a time into scratch of one block. Models of up to
 * RESIDENT bytes are unpacked whole instead. */
#include "weights.h"

#include "layout.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { RESIDENT = 256 << 20, PIECE = 1 << 16 };

typedef struct {
    int n;
    bool transpose;
    struct {
        pupil_st_tensor t;
        int64_t count;
        bool absent;
    } part[3];
} source;

struct pupil_weights {
    const float *flat;
    const pupil_table *table;
    pupil_safetensors *file;
    source *source; /* by tensor */
    float *resident, *span, *rows, *turned;
    int64_t span_room, rows_room, turned_room;
    int32_t *iota;
};

pupil_weights *pupil_weights_flat(const float *params)
{
    pupil_weights *w = pupil_alloc(sizeof *w);
    w->flat = params;
    return w;
}

void pupil_weights_free(pupil_weights **w)
{
    if (!*w) return;
    pupil_safetensors_close(&(*w)->file);
    pupil_free(&(*w)->source);
    pupil_free(&(*w)->resident);
    pupil_free(&(*w)->span);
    pupil_free(&(*w)->rows);
    pupil_free(&(*w)->turned);
    pupil_free(&(*w)->iota);
    pupil_free(w);
}

static float *grown(float **p, int64_t *room, int64_t n)
{
    if (n > *room) {
        pupil_free(p);
        *p = pupil_alloc((size_t)n * sizeof **p);
        *room = n;
    }
    return *p;
}

/* ---- reading --------------------------------------------------------------------------------------- */
static void unpack(const pupil_st_tensor *t, int64_t first, int64_t n, float *out)
{
    PUPIL_REQUIRE(pupil_st_unpack(t, first, n, out) == 0); /* all of it was checked when the file was opened */
}

static void unpack_tensor(pupil_weights *w, const pupil_tensor *x, const source *s, float *out)
{
    if (s->transpose) {
        int64_t rows = x->shape[0], cols = x->shape[1];
        float *t = grown(&w->turned, &w->turned_room, x->count);
        unpack(&s->part[0].t, 0, x->count, t);
        for (int64_t r = 0; r < rows; r++)
            for (int64_t c = 0; c < cols; c++) out[r * cols + c] = t[c * rows + r];
        return;
    }
    for (int i = 0; i < s->n; out += s->part[i++].count) {
        if (s->part[i].absent) memset(out, 0, (size_t)s->part[i].count * sizeof *out);
        else unpack(&s->part[i].t, 0, s->part[i].count, out);
    }
}

/* The tensor that begins at this offset, or the first after it. */
static int64_t tensor_at(const pupil_table *t, int64_t offset)
{
    int64_t lo = 0, hi = t->n;
    while (lo < hi) {
        int64_t mid = (lo + hi) / 2;
        if (t->t[mid].offset < offset) lo = mid + 1;
        else hi = mid;
    }
    return lo;
}

const float *weights_span(pupil_weights *w, int64_t first, int64_t count)
{
    if (w->flat) return w->flat + first;
    float *out = grown(&w->span, &w->span_room, count);
    for (int64_t i = tensor_at(w->table, first); i < w->table->n && w->table->t[i].offset < first + count; i++)
        unpack_tensor(w, &w->table->t[i], &w->source[i], out + (w->table->t[i].offset - first));
    return out;
}

const float *weights_rows(pupil_weights *w, int64_t offset, int64_t width, const int32_t *ids, int64_t n, const int32_t **ret_ids)
{
    if (w->flat) {
        *ret_ids = ids;
        return w->flat + offset;
    }
    if (n * width > w->rows_room) {
        pupil_free(&w->iota);
        w->iota = pupil_alloc((size_t)n * sizeof *w->iota);
        for (int64_t i = 0; i < n; i++) w->iota[i] = (int32_t)i;
    }
    float *rows = grown(&w->rows, &w->rows_room, n * width);
    const source *s = &w->source[tensor_at(w->table, offset)];
    for (int64_t i = 0; i < n; i++) unpack(&s->part[0].t, ids[i] * width, width, rows + i * width);
    *ret_ids = w->iota;
    return rows;
}

/* ---- opening --------------------------------------------------------------------------------------- */
/* Shapes are equal but for dimensions of 1. */
static bool same_shape(const pupil_st_tensor *t, int ndim, const int64_t *shape)
{
    int k = 0;
    for (int d = 0; d < t->ndim; d++) {
        if (t->shape[d] == 1) continue;
        while (k < ndim && shape[k] == 1) k++;
        if (k == ndim || shape[k++] != t->shape[d]) return false;
    }
    while (k < ndim && shape[k] == 1) k++;
    return k == ndim;
}

static void print_shape(pupil_buf *b, int ndim, const int64_t *shape)
{
    for (int d = 0; d < ndim; d++) pupil_buf_printf(b, "%s%lld", d ? "," : "[", (long long)shape[d]);
    pupil_buf_puts(b, ndim ? "]" : "[]");
}

static int check_part(const pupil_st_tensor *t, int ndim, const int64_t *shape)
{
    if (!same_shape(t, ndim, shape)) {
        pupil_buf b = {0};
        print_shape(&b, t->ndim, t->shape);
        pupil_buf_puts(&b, ", the architecture wants ");
        print_shape(&b, ndim, shape);
        int r = pupil_fail(PUPIL_EFORMAT, "%s: tensor %s: its shape is %s", t->file, t->name, b.s);
        pupil_buf_free(&b);
        return r;
    }
    float *x = pupil_alloc(PIECE * sizeof *x);
    int r = 0;
    for (int64_t at = 0; at < t->count && r == 0; at += PIECE)
        r = pupil_st_unpack(t, at, PUPIL_MIN((int64_t)PIECE, t->count - at), x);
    pupil_free(&x);
    return r;
}

static int find_source(const pupil_arch *a, layout l, const pupil_safetensors *f, const char *path, const pupil_tensor *x, source *s)
{
    layout_tensor at;
    if (!layout_find(a, l, x, &at)) return pupil_fail(PUPIL_EFORMAT, "%s: this layout has no place for tensor %s", path, x->name);
    *s = (source){.n = at.n, .transpose = at.transpose};
    for (int i = 0; i < at.n; i++) {
        int64_t shape[4] = {0};
        memcpy(shape, x->shape, sizeof shape);
        if (at.n > 1) shape[0] = at.part[i].rows;
        if (at.transpose) shape[0] = x->shape[1], shape[1] = x->shape[0];
        s->part[i].count = at.n > 1 ? x->count / x->shape[0] * at.part[i].rows : x->count;
        s->part[i].absent = at.part[i].absent;
        if (at.part[i].absent) continue;
        if (!pupil_safetensors_find(f, at.part[i].name, &s->part[i].t))
            return pupil_fail(PUPIL_ENOTFOUND, "%s: tensor %s is missing", path, at.part[i].name);
        PUPIL_TRY(check_part(&s->part[i].t, x->ndim, shape));
    }
    return 0;
}

static int by_address(const void *a, const void *b)
{
    const void *x = *(const void *const *)a, *y = *(const void *const *)b;
    return (x > y) - (x < y);
}

/* A tensor that nothing reads is a part of the model that would be left out. */
static void name_unused(const pupil_weights *w, const char *path)
{
    int64_t used = 0, unused = 0;
    const char **name = pupil_alloc((size_t)(3 * w->table->n + 1) * sizeof *name), *first = NULL;
    for (int64_t i = 0; i < w->table->n; i++)
        for (int k = 0; k < w->source[i].n; k++)
            if (!w->source[i].part[k].absent) name[used++] = w->source[i].part[k].t.name;
    qsort(name, (size_t)used, sizeof *name, by_address);
    pupil_st_tensor t;
    for (int64_t i = 0; pupil_safetensors_at(w->file, i, &t); i++) {
        if (t.type == PUPIL_ST_OTHER || bsearch(&t.name, name, (size_t)used, sizeof *name, by_address)) continue;
        if (unused++ == 0) first = t.name;
    }
    if (unused)
        pupil_warn("%s: %lld tensor%s not part of the architecture that its configuration names, and not used: %s%s", path,
                   (long long)unused, unused == 1 ? " is" : "s are", first, unused == 1 ? "" : ", ...");
    pupil_free(&name);
}

static void make_resident(pupil_weights *w)
{
    w->resident = pupil_alloc((size_t)w->table->total * sizeof *w->resident);
    for (int64_t i = 0; i < w->table->n; i++)
        if (w->source[i].n) unpack_tensor(w, &w->table->t[i], &w->source[i], w->resident + w->table->t[i].offset);
    w->flat = w->resident;
}

int pupil_weights_open(const char *path, pupil_clip *c, pupil_weights **ret)
{
    pupil_weights *w = pupil_alloc(sizeof *w);
    const pupil_table *t = w->table = pupil_clip_table(c);
    int r = pupil_safetensors_open(path, &w->file);
    w->source = pupil_alloc((size_t)t->n * sizeof *w->source);
    layout l = r == 0 ? layout_of(w->file) : LAYOUT_OPEN_CLIP;
    for (int64_t i = 0; i < t->n && r == 0; i++)
        if (strncmp(t->t[i].name, "loss.", 5)) r = find_source(pupil_clip_arch(c), l, w->file, path, &t->t[i], &w->source[i]);
    if (r == 0) name_unused(w, path);
    if (r == 0 && t->total * (int64_t)sizeof(float) <= RESIDENT) make_resident(w);
    if (r == 0 && !isfinite(pupil_clip_scale(c, w)))
        r = pupil_fail(PUPIL_EFORMAT, "%s: tensor logit_scale: %g; its exponential is not finite", path,
                       (double)*weights_span(w, pupil_clip_scale_offset(c), 1));
    if (r < 0) pupil_weights_free(&w);
    else *ret = w;
    return r;
}

void pupil_weights_copy(pupil_weights *w, const pupil_clip *c, float *params)
{
    const pupil_table *t = pupil_clip_table((pupil_clip *)(uintptr_t)c);
    for (int64_t i = 0; i < t->n; i++) {
        const pupil_tensor *x = &t->t[i];
        if (strncmp(x->name, "loss.", 5)) memcpy(params + x->offset, weights_span(w, x->offset, x->count), (size_t)x->count * sizeof *params);
    }
}
