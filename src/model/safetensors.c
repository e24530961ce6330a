/* safetensors.c: huggingface's format, read where it lies. A file is
 *   u64 little endian: header bytes N | N bytes of JSON (safetensors_header.c) | data
 * and a model may be cut into shards that an index names:
 *   {"metadata": {...}, "weight_map": {TENSOR: FILE, ...}}, each FILE a plain name in the index's own folder.
 * Only regular files are opened, N is checked against the file, each tensor lies in one file, the one that
 * the index says. Tensors are found by binary search. Values are read as float32 and must be finite. */
#include "safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SHARDS_MAX = 1024 };

typedef struct {
    char *path;
    const char *bytes;
    size_t n;
} mapping;

struct pupil_safetensors {
    char *path; /* what was opened: the one file or the index */
    mapping *shard;
    int64_t shards;
    st_entries list; /* sorted by name */
};

/* ---- opening ------------------------------------------------------------------------------------ */
/* O_NONBLOCK: a pipe in a file's place is refused instead of waited for. `m->path` is set already. */
static int map_file(mapping *m, size_t least)
{
    int fd = open(m->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;
    int r = 0;
    if (fd < 0 || fstat(fd, &st) < 0)
        r = pupil_fail(errno == ENOENT ? PUPIL_ENOTFOUND : PUPIL_EIO, "%s: %s", m->path, strerror(errno));
    else if (!S_ISREG(st.st_mode)) r = pupil_fail(PUPIL_EIO, "%s: not a regular file", m->path);
    else if ((size_t)st.st_size < least)
        r = pupil_fail(PUPIL_EFORMAT, "%s: too short, it has %lld bytes", m->path, (long long)st.st_size);
    void *p = r == 0 ? mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0) : MAP_FAILED;
    if (r == 0 && p == MAP_FAILED) r = pupil_fail(PUPIL_EIO, "%s: mmap: %s", m->path, strerror(errno));
    if (fd >= 0) close(fd);
    PUPIL_TRY(r);
    m->bytes = p;
    m->n = (size_t)st.st_size;
    return 0;
}

static void unmap(mapping *m)
{
    if (m->bytes) munmap((void *)(uintptr_t)m->bytes, m->n);
    pupil_free(&m->path);
}

static int open_shard(pupil_safetensors *s, mapping *m)
{
    PUPIL_TRY(map_file(m, 8));
    uint64_t n;
    memcpy(&n, m->bytes, 8);
    if (n > m->n - 8)
        return pupil_fail(PUPIL_EFORMAT, "%s: its header claims %llu bytes, the file has %zu", m->path,
                          (unsigned long long)n, m->n);
    if (n > ST_HEADER_MAX)
        return pupil_fail(PUPIL_EFORMAT, "%s: its header claims %llu bytes, the format allows %d", m->path,
                          (unsigned long long)n, ST_HEADER_MAX);
    return st_header_parse(m->path, m->bytes + 8, (size_t)n, (const uint8_t *)m->bytes + 8 + n, m->n - 8 - n,
                           &s->list);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const st_entry *)a)->t.name, ((const st_entry *)b)->t.name);
}

static int sort_names(pupil_safetensors *s)
{
    st_entry *e = s->list.e;
    if (s->list.n) qsort(e, (size_t)s->list.n, sizeof *e, by_name);
    for (int64_t i = 1; i < s->list.n; i++)
        if (!strcmp(e[i - 1].t.name, e[i].t.name))
            return pupil_fail(PUPIL_EFORMAT, "%s: tensor %.*s: it lies in two files, %s and %s", s->path,
                              ST_NAME_SHOWN, e[i].t.name, e[i - 1].t.file, e[i].t.file);
    return 0;
}

static int open_single(pupil_safetensors *s)
{
    s->shard = pupil_alloc(sizeof *s->shard);
    s->shard[s->shards++].path = pupil_strdup(s->path);
    PUPIL_TRY(open_shard(s, s->shard));
    return sort_names(s);
}

/* ---- the index of shards ------------------------------------------------------------------------ */
static bool plain_name(const char *name)
{
    return name && *name && !strchr(name, '/') && strcmp(name, ".") && strcmp(name, "..");
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static const st_entry *find(const pupil_safetensors *s, const char *name)
{
    if (s->list.n == 0) return NULL;
    const st_entry key = {.t.name = name};
    return bsearch(&key, s->list.e, (size_t)s->list.n, sizeof key, by_name);
}

/* The names in weight_map, each once, as mappings that are not opened yet. */
static int name_shards(pupil_safetensors *s, const json_t *map)
{
    const char **file = pupil_alloc((json_object_size(map) + 1) * sizeof *file), *tensor;
    json_t *v;
    int64_t n = 0, kept = 0;
    json_object_foreach((json_t *)(uintptr_t)map, tensor, v)
    {
        if (!plain_name(json_string_value(v))) {
            pupil_free(&file);
            return st_refuse(s->path, tensor, "its file must be a plain name in the same folder");
        }
        file[n++] = json_string_value(v);
    }
    if (n) qsort(file, (size_t)n, sizeof *file, by_text);
    for (int64_t i = 0; i < n; i++)
        if (kept == 0 || strcmp(file[kept - 1], file[i])) file[kept++] = file[i];
    int r = kept == 0           ? pupil_fail(PUPIL_EFORMAT, "%s: its weight_map names no tensor", s->path)
            : kept > SHARDS_MAX ? pupil_fail(PUPIL_EFORMAT, "%s: it names %lld files, expected at most %d",
                                             s->path, (long long)kept, SHARDS_MAX)
                                : 0;
    if (r == 0) {
        const char *slash = strrchr(s->path, '/');
        s->shard = pupil_alloc((size_t)kept * sizeof *s->shard);
        for (; s->shards < kept; s->shards++)
            s->shard[s->shards].path =
                pupil_format("%.*s%s", slash ? (int)(slash + 1 - s->path) : 0, s->path, file[s->shards]);
    }
    pupil_free(&file);
    return r;
}

static int check_weight_map(const pupil_safetensors *s, const json_t *map)
{
    const char *tensor;
    json_t *v;
    json_object_foreach((json_t *)(uintptr_t)map, tensor, v)
    {
        const st_entry *e = find(s, tensor);
        const char *file = json_string_value(v), *slash = e ? strrchr(e->t.file, '/') : NULL;
        if (!e || strcmp(slash ? slash + 1 : e->t.file, file))
            return pupil_fail(PUPIL_EFORMAT, "%s: tensor %.*s: it is not in %.*s, where the index has it",
                              s->path, ST_NAME_SHOWN, tensor, ST_NAME_SHOWN, file);
    }
    return 0;
}

static int open_shards(pupil_safetensors *s, const json_t *root)
{
    const json_t *map = json_object_get(root, "weight_map");
    if (!json_is_object(map))
        return pupil_fail(PUPIL_EFORMAT, "%s: expected {\"weight_map\": {tensor: file, ...}}", s->path);
    PUPIL_TRY(name_shards(s, map));
    for (int64_t i = 0; i < s->shards; i++) PUPIL_TRY(open_shard(s, &s->shard[i]));
    PUPIL_TRY(sort_names(s));
    return check_weight_map(s, map);
}

static int open_index(pupil_safetensors *s)
{
    mapping m = {.path = pupil_strdup(s->path)};
    int r = map_file(&m, 1);
    json_t *root = NULL;
    if (r == 0 && m.n > ST_HEADER_MAX)
        r = pupil_fail(PUPIL_EFORMAT, "%s: an index of %zu bytes, expected at most %d", s->path, m.n,
                       ST_HEADER_MAX);
    if (r == 0) {
        json_error_t e;
        root = json_loadb(m.bytes, m.n, JSON_REJECT_DUPLICATES, &e);
        r = root ? open_shards(s, root)
                 : pupil_fail(PUPIL_EFORMAT, "%s:%d:%d: %s", s->path, e.line, e.column, e.text);
    }
    json_decref(root);
    unmap(&m);
    return r;
}

static bool is_index(const char *path)
{
    static const char suffix[] = ".index.json";
    size_t n = strlen(path), k = sizeof suffix - 1;
    return n > k && !strcmp(path + n - k, suffix);
}

int pupil_safetensors_open(const char *path, pupil_safetensors **ret)
{
    pupil_safetensors *s = pupil_alloc(sizeof *s);
    s->path = pupil_strdup(path);
    int r = is_index(path) ? open_index(s) : open_single(s);
    if (r < 0) pupil_safetensors_close(&s);
    else *ret = s;
    return r;
}

void pupil_safetensors_close(pupil_safetensors **s)
{
    if (!*s) return;
    for (int64_t i = 0; i < (*s)->list.n; i++) pupil_free_((void *)(uintptr_t)(*s)->list.e[i].t.name);
    pupil_free(&(*s)->list.e);
    for (int64_t i = 0; i < (*s)->shards; i++) unmap(&(*s)->shard[i]);
    pupil_free(&(*s)->shard);
    pupil_free(&(*s)->path);
    pupil_free(s);
}

int pupil_safetensors_digest(const char *path, char ret_hex[65])
{
    pupil_safetensors *s;
    PUPIL_TRY(pupil_safetensors_open(path, &s));
    pupil_buf list = {0};
    for (int64_t i = 0; i < s->shards; i++) {
        const char *slash = strrchr(s->shard[i].path, '/');
        pupil_sha256_of(s->shard[i].bytes, s->shard[i].n, ret_hex);
        pupil_buf_printf(&list, "%s  %s\n", ret_hex, slash ? slash + 1 : s->shard[i].path);
    }
    if (is_index(path)) pupil_sha256_of(list.s, list.len, ret_hex);
    pupil_buf_free(&list);
    pupil_safetensors_close(&s);
    return 0;
}

/* ---- reading ------------------------------------------------------------------------------------ */
bool pupil_safetensors_has(const pupil_safetensors *s, const char *name)
{
    return find(s, name) != NULL;
}

bool pupil_safetensors_find(const pupil_safetensors *s, const char *name, pupil_st_tensor *ret)
{
    const st_entry *e = find(s, name);
    if (e) *ret = e->t;
    return e != NULL;
}

bool pupil_safetensors_at(const pupil_safetensors *s, int64_t i, pupil_st_tensor *ret)
{
    if (i >= s->list.n) return false;
    *ret = s->list.e[i].t;
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
    if (t->type == PUPIL_ST_OTHER)
        return pupil_fail(PUPIL_EFORMAT, "%s: tensor %.*s: its dtype is %s, expected F32, F16 or BF16",
                          t->file, ST_NAME_SHOWN, t->name, t->dtype);
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
    return pupil_fail(PUPIL_ENUMERIC, "%s: tensor %.*s: element %lld is not finite", t->file, ST_NAME_SHOWN,
                      t->name, (long long)(first + i));
}

static bool same_shape(const pupil_st_tensor *t, int ndim, const int64_t *shape)
{
    for (int d = 0; d < PUPIL_MAX(ndim, t->ndim); d++)
        if ((d < ndim ? shape[d] : 1) != (d < t->ndim ? t->shape[d] : 1)) return false;
    return true;
}

static void put_shape(pupil_buf *b, int ndim, const int64_t *shape)
{
    pupil_buf_puts(b, "[");
    for (int d = 0; d < ndim; d++) pupil_buf_printf(b, "%s%lld", d ? "," : "", (long long)shape[d]);
    pupil_buf_puts(b, "]");
}

int pupil_safetensors_read(const pupil_safetensors *s, const char *name, int ndim, const int64_t *shape,
                           float *out)
{
    const st_entry *e = find(s, name);
    if (!e) return pupil_fail(PUPIL_ENOTFOUND, "%s: tensor %s is missing", s->path, name);
    if (!same_shape(&e->t, ndim, shape)) {
        pupil_buf b = {0};
        pupil_buf_puts(&b, "its shape is ");
        put_shape(&b, e->t.ndim, e->t.shape);
        pupil_buf_puts(&b, ", the architecture wants ");
        put_shape(&b, ndim, shape);
        int r = st_refuse(e->t.file, name, b.s);
        pupil_buf_free(&b);
        return r;
    }
    return pupil_st_unpack(&e->t, 0, e->t.count, out);
}
