/* safetensors.c: huggingface's format, both ways. A file is
 *   u64 little endian: header bytes N | N bytes of JSON {"name": {"dtype","shape","data_offsets":[b,e]}, ...} | data
 * A reader here refuses: N larger than the file or than 100 MB, JSON that is not an object of such entries, dtypes
 * other than F32, F16, BF16 (I64 is carried but not read), shapes whose product is not e-b, offsets that overlap,
 * leave holes or leave the file. Values are read as float32 and must be finite. */
#include "pupil/model.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct {
    char *name;
    pupil_st_type type;
    int ndim;
    int64_t shape[8];
    uint64_t begin, end;
} entry;

struct pupil_safetensors {
    char *path;
    const uint8_t *map;
    size_t bytes;
    const uint8_t *data;
    entry *e; /* sorted by begin */
    int64_t n;
};

static int bad(const char *path, const char *name, const char *why)
{
    return pupil_fail(PUPIL_EFORMAT, "%s: tensor %s: %s", path, name, why);
}

static int parse_entry(const char *path, const char *name, const json_t *o, uint64_t data_bytes, entry *e)
{
    static const struct {
        const char *name;
        pupil_st_type type;
        uint64_t size;
    } types[] = {{"F32", PUPIL_ST_F32, 4}, {"F16", PUPIL_ST_F16, 2}, {"BF16", PUPIL_ST_BF16, 2}, {"I64", PUPIL_ST_OTHER, 8},
                 {"I32", PUPIL_ST_OTHER, 4}, {"F64", PUPIL_ST_OTHER, 8}, {"U8", PUPIL_ST_OTHER, 1}, {"BOOL", PUPIL_ST_OTHER, 1},
                 {"I8", PUPIL_ST_OTHER, 1}, {"I16", PUPIL_ST_OTHER, 2}};
    const char *t = json_string_value(json_object_get(o, "dtype"));
    const json_t *shape = json_object_get(o, "shape"), *at = json_object_get(o, "data_offsets");
    if (!t || !json_is_array(shape) || !json_is_array(at) || json_array_size(at) != 2)
        return bad(path, name, "expected {\"dtype\", \"shape\", \"data_offsets\": [begin, end]}");
    int k = 0;
    while (k < PUPIL_COUNT(types) && strcmp(types[k].name, t)) k++;
    if (k == PUPIL_COUNT(types)) return bad(path, name, "unknown dtype");
    if (json_array_size(shape) > 8) return bad(path, name, "more than 8 dimensions");
    e->type = types[k].type;
    e->ndim = (int)json_array_size(shape);
    uint64_t size = types[k].size;
    for (int d = 0; d < e->ndim; d++) {
        json_int_t v = json_integer_value(json_array_get(shape, (size_t)d));
        if (v < 1) return bad(path, name, "a dimension is no positive number");
        if ((uint64_t)v > data_bytes / size) return bad(path, name, "its shape is larger than the file");
        e->shape[d] = (int64_t)v;
        size *= (uint64_t)v;
    }
    const json_t *b = json_array_get(at, 0), *f = json_array_get(at, 1);
    if (!json_is_integer(b) || !json_is_integer(f) || json_integer_value(b) < 0 || json_integer_value(f) < json_integer_value(b) ||
        (uint64_t)json_integer_value(f) > data_bytes)
        return bad(path, name, "its data_offsets leave the file");
    e->begin = (uint64_t)json_integer_value(b);
    e->end = (uint64_t)json_integer_value(f);
    if (e->end - e->begin != size) return bad(path, name, "its data_offsets do not fit its shape");
    return 0;
}

static int by_begin(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    return x->begin < y->begin ? -1 : x->begin > y->begin;
}

static int parse_header(pupil_safetensors *s, const json_t *root, uint64_t data_bytes)
{
    s->e = pupil_alloc((json_object_size(root) + 1) * sizeof *s->e);
    const char *name;
    json_t *o;
    json_object_foreach((json_t *)(uintptr_t)root, name, o)
    {
        if (!strcmp(name, "__metadata__")) continue;
        entry *e = &s->e[s->n];
        PUPIL_TRY(parse_entry(s->path, name, o, data_bytes, e));
        e->name = pupil_strdup(name);
        s->n++;
    }
    if (s->n) qsort(s->e, (size_t)s->n, sizeof *s->e, by_begin);
    uint64_t at = 0;
    for (int64_t i = 0; i < s->n; i++) {
        if (s->e[i].begin != at) return bad(s->path, s->e[i].name, "its data overlap another tensor's or leave a hole");
        at = s->e[i].end;
    }
    if (at != data_bytes)
        return pupil_fail(PUPIL_EFORMAT, "%s: %llu bytes of tensors but %llu bytes of data", s->path, (unsigned long long)at,
                          (unsigned long long)data_bytes);
    return 0;
}

static int open_parts(pupil_safetensors *s)
{
    int fd = open(s->path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0) {
        int r = pupil_fail(errno == ENOENT ? PUPIL_ENOTFOUND : PUPIL_EIO, "%s: %s", s->path, strerror(errno));
        if (fd >= 0) close(fd);
        return r;
    }
    s->bytes = (size_t)st.st_size;
    if (s->bytes < 8) {
        close(fd);
        return pupil_fail(PUPIL_EFORMAT, "%s: too short for a safetensors file", s->path);
    }
    void *map = mmap(NULL, s->bytes, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    if (map == MAP_FAILED) return pupil_fail(PUPIL_EIO, "%s: mmap: %s", s->path, strerror(errno));
    s->map = map;
    uint64_t n;
    memcpy(&n, s->map, 8);
    if (n > s->bytes - 8 || n > 100000000)
        return pupil_fail(PUPIL_EFORMAT, "%s: its header claims %llu bytes, the file has %zu", s->path, (unsigned long long)n, s->bytes);
    json_error_t e;
    json_t *root = json_loadb((const char *)s->map + 8, (size_t)n, JSON_REJECT_DUPLICATES, &e);
    if (!root) return pupil_fail(PUPIL_EFORMAT, "%s: header, byte %d: %s", s->path, e.position, e.text);
    int r = json_is_object(root) ? parse_header(s, root, s->bytes - 8 - n)
                                 : pupil_fail(PUPIL_EFORMAT, "%s: the header is no JSON object", s->path);
    json_decref(root);
    s->data = s->map + 8 + n;
    return r;
}

int pupil_safetensors_open(const char *path, pupil_safetensors **ret)
{
    pupil_safetensors *s = pupil_alloc(sizeof *s);
    s->path = pupil_strdup(path);
    int r = open_parts(s);
    if (r < 0)
        pupil_safetensors_close(&s);
    else
        *ret = s;
    return r;
}

void pupil_safetensors_close(pupil_safetensors **s)
{
    if (!*s) return;
    for (int64_t i = 0; i < (*s)->n; i++) pupil_free(&(*s)->e[i].name);
    pupil_free(&(*s)->e);
    if ((*s)->map) munmap((void *)(uintptr_t)(*s)->map, (*s)->bytes);
    pupil_free(&(*s)->path);
    pupil_free(s);
}

static const entry *find(const pupil_safetensors *s, const char *name)
{
    for (int64_t i = 0; i < s->n; i++)
        if (!strcmp(s->e[i].name, name)) return &s->e[i];
    return NULL;
}

bool pupil_safetensors_has(const pupil_safetensors *s, const char *name) { return find(s, name) != NULL; }

bool pupil_safetensors_find(const pupil_safetensors *s, const char *name, pupil_st_tensor *ret)
{
    const entry *e = find(s, name);
    if (!e) return false;
    *ret = (pupil_st_tensor){.name = e->name, .file = s->path, .type = e->type, .ndim = e->ndim, .count = 1, .data = s->data + e->begin};
    for (int d = 0; d < e->ndim; d++) ret->count *= ret->shape[d] = e->shape[d];
    return true;
}

/* `n` elements of 2 bytes, wherever they begin. */
static bool unpack_16(pupil_st_type type, const uint8_t *from, int64_t n, float *out)
{
    enum { PIECE = 4096 };
    uint16_t aligned[PIECE];
    bool finite = true;
    for (int64_t at = 0; at < n; at += PIECE) {
        int64_t k = PUPIL_MIN((int64_t)PIECE, n - at);
        memcpy(aligned, from + 2 * at, (size_t)k * 2);
        finite &= (type == PUPIL_ST_F16 ? pupil_f16_unpack : pupil_bf16_unpack)(out + at, aligned, k);
    }
    return finite;
}

int pupil_st_unpack(const pupil_st_tensor *t, int64_t first, int64_t n, float *out)
{
    if (t->type == PUPIL_ST_OTHER) return bad(t->file, t->name, "expected dtype F32, F16 or BF16");
    PUPIL_REQUIRE(first >= 0 && n >= 0 && first + n <= t->count);
    const uint8_t *from = (const uint8_t *)t->data + first * (t->type == PUPIL_ST_F32 ? 4 : 2);
    bool finite;
    if (t->type == PUPIL_ST_F32) {
        memcpy(out, from, (size_t)n * sizeof *out);
        finite = pupil_floats_finite(out, n);
    } else {
        finite = unpack_16(t->type, from, n, out);
    }
    if (finite) return 0;
    int64_t i = 0;
    while (isfinite(out[i])) i++;
    return pupil_fail(PUPIL_ENUMERIC, "%s: tensor %s: element %lld is not finite", t->file, t->name, (long long)(first + i));
}

static bool same_shape(const entry *e, int ndim, const int64_t *shape)
{
    for (int d = 0; d < PUPIL_MAX(ndim, e->ndim); d++)
        if ((d < ndim ? shape[d] : 1) != (d < e->ndim ? e->shape[d] : 1)) return false;
    return true;
}

int pupil_safetensors_read(const pupil_safetensors *s, const char *name, int ndim, const int64_t *shape, float *out)
{
    const entry *e = find(s, name);
    if (!e) return pupil_fail(PUPIL_ENOTFOUND, "%s: tensor %s is missing", s->path, name);
    if (!same_shape(e, ndim, shape)) {
        pupil_buf b = {0};
        for (int d = 0; d < e->ndim; d++) pupil_buf_printf(&b, "%s%lld", d ? "," : "its shape is [", (long long)e->shape[d]);
        if (!e->ndim) pupil_buf_puts(&b, "its shape is [");
        pupil_buf_puts(&b, "], the architecture wants [");
        for (int d = 0; d < ndim; d++) pupil_buf_printf(&b, "%s%lld", d ? "," : "", (long long)shape[d]);
        pupil_buf_puts(&b, "]");
        int r = bad(s->path, name, b.s);
        pupil_buf_free(&b);
        return r;
    }
    pupil_st_tensor t;
    pupil_safetensors_find(s, name, &t);
    return pupil_st_unpack(&t, 0, t.count, out);
}

static void header_text(const pupil_table *t, pupil_buf *b)
{
    uint64_t at = 0;
    pupil_buf_puts(b, "{\"__metadata__\":{\"format\":\"pt\"}");
    for (int64_t i = 0; i < t->n; i++) {
        const pupil_tensor *x = &t->t[i];
        pupil_buf_printf(b, ",\"%s\":{\"dtype\":\"F32\",\"shape\":[", x->name);
        for (int d = 0; d < x->ndim; d++) pupil_buf_printf(b, "%s%lld", d ? "," : "", (long long)x->shape[d]);
        pupil_buf_printf(b, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)at, (unsigned long long)(at + 4 * (uint64_t)x->count));
        at += 4 * (uint64_t)x->count;
    }
    pupil_buf_puts(b, "}");
    while (b->len % 8) pupil_buf_puts(b, " ");
}

int pupil_safetensors_write(const char *path, const pupil_table *t, const float *params)
{
    pupil_buf b = {0};
    header_text(t, &b);
    uint64_t n = b.len;
    char *part = pupil_format("%s.%ld.part", path, (long)getpid());
    FILE *f = fopen(part, "wb");
    bool ok = f && fwrite(&n, 8, 1, f) == 1 && fwrite(b.s, 1, b.len, f) == b.len;
    for (int64_t i = 0; ok && i < t->n; i++)
        ok = fwrite(params + t->t[i].offset, sizeof *params, (size_t)t->t[i].count, f) == (size_t)t->t[i].count;
    if (f && fclose(f) != 0) ok = false;
    int r = ok ? pupil_publish(part, path) : pupil_fail(PUPIL_EIO, "%s: %s", part, strerror(errno));
    if (r < 0) unlink(part);
    pupil_free(&part);
    pupil_buf_free(&b);
    return r;
}
