/* embeddings.c: embeddings that another program made, in however many files, as one matrix of rows a side.
 * Guarantees: a file is open only while it is read or was lately; its shape and number format are looked at each
 * time it is opened; what a file says is never allocated by before its bytes are known to be there. Values
 * are passed on as they are: whether they are finite is for the caller to see. */
#include "apart.h"
#include "h5.h"
#include "npy.h"

#include <string.h>

enum { IMAGE, TEXT, SIDES, OPEN_SOURCES = 16, KEY_MOST = 4096 };
static const char *const side_name[SIDES] = {"image_embeddings", "text_embeddings"};

typedef struct {
    char *path; /* owned */
    bool folder; /* of .npy files; else an HDF5 file */
    bool f32[SIDES];
    int64_t first, rows;
    uint64_t used; /* 0: closed */
    hid_t file;
    h5_set set[SIDES];
    npy_file npy[SIDES];
} source;

struct pupil_embeddings {
    source *s;
    int64_t n, cap, rows, dim;
    uint64_t clock;
    int open;
    void *raw; /* [SOME_ROWS, dim] as stored */
};

static const int64_t some_bytes = 1 << 20;
static int64_t some_rows(const pupil_embeddings *e) { return PUPIL_MAX((int64_t)1, some_bytes / (4 * e->dim)); }

/* ---- one file, or one folder ---------------------------------------------------------------------- */
static void close_source(source *s)
{
    for (int k = 0; k < SIDES; k++) {
        h5_set_close(&s->set[k]);
        npy_close(&s->npy[k]);
    }
    h5_drop(&s->file);
    s->used = 0;
}

static int open_set(source *s, int side, int64_t shape[2])
{
    PUPIL_TRY(h5_set_open(s->file, s->path, side_name[side], H5_ROWS, &s->set[side]));
    const h5_set *d = &s->set[side];
    hid_t half = h5_half();
    bool f16 = H5Tequal(d->type, half) > 0;
    h5_drop(&half);
    s->f32[side] = H5Tequal(d->type, H5T_IEEE_F32LE) > 0;
    if (!f16 && !s->f32[side])
        return pupil_fail(PUPIL_EFORMAT, "%s: %s holds another kind of numbers than float16 or float32 (little endian)", s->path,
                          side_name[side]);
    if (d->ndim != 2 || d->dim[0] < 1 || d->dim[1] < 1)
        return pupil_fail(PUPIL_EFORMAT, "%s: %s has %d dimensions, [samples, width] with both above 0 was expected", s->path,
                          side_name[side], d->ndim);
    memcpy(shape, d->dim, 2 * sizeof *shape);
    return 0;
}

static int open_npy(source *s, int side, int64_t shape[2])
{
    char *name = pupil_format("%s.npy", side_name[side]), *path = pupil_join(s->path, name);
    int r = npy_open(path, &s->npy[side]);
    pupil_free(&path);
    pupil_free(&name);
    PUPIL_TRY(r);
    s->f32[side] = s->npy[side].f32;
    shape[0] = s->npy[side].rows;
    shape[1] = s->npy[side].dim;
    return 0;
}

/* Both sides, which must have one shape; a source that was open before must have the shape it had. */
static int open_sides(source *s, int64_t *ret_dim)
{
    int64_t shape[SIDES][2] = {{0}};
    if (!s->folder) PUPIL_TRY(h5_file_open(s->path, &s->file));
    for (int k = 0; k < SIDES; k++) PUPIL_TRY(s->folder ? open_npy(s, k, shape[k]) : open_set(s, k, shape[k]));
    if (memcmp(shape[IMAGE], shape[TEXT], sizeof shape[0]))
        return pupil_fail(PUPIL_EFORMAT, "%s: image_embeddings is [%lld, %lld], text_embeddings is [%lld, %lld]; one shape was expected",
                          s->path, (long long)shape[0][0], (long long)shape[0][1], (long long)shape[1][0], (long long)shape[1][1]);
    if (s->rows && s->rows != shape[0][0]) return pupil_fail(PUPIL_EMISMATCH, "%s: changed while it was read", s->path);
    s->rows = shape[0][0];
    *ret_dim = shape[0][1];
    return 0;
}

/* Make sure that source `s` is open. */
static int wake(pupil_embeddings *e, source *s)
{
    int64_t dim = 0;
    if (!s->used) {
        source *oldest = NULL;
        for (int64_t i = 0; i < e->n && e->open >= OPEN_SOURCES; i++)
            if (e->s[i].used && (!oldest || e->s[i].used < oldest->used)) oldest = &e->s[i];
        if (oldest) {
            close_source(oldest);
            e->open--;
        }
        int r = open_sides(s, &dim);
        if (r == 0 && e->dim && e->dim != dim)
            r = pupil_fail(PUPIL_EFORMAT, "%s: its embeddings have %lld values, those of %s have %lld", s->path, (long long)dim,
                           e->s[0].path, (long long)e->dim);
        if (r < 0) {
            close_source(s);
            return r;
        }
        e->dim = dim;
        e->open++;
    }
    s->used = ++e->clock;
    return 0;
}

/* ---- all of them ---------------------------------------------------------------------------------- */
static int add_source(pupil_embeddings *e, const char *path, bool folder)
{
    PUPIL_GROW(e->s, e->n, e->cap);
    source *s = &e->s[e->n++];
    *s = (source){.path = pupil_strdup(path), .folder = folder, .first = e->rows};
    PUPIL_TRY(wake(e, s));
    if (__builtin_add_overflow(e->rows, s->rows, &e->rows))
        return pupil_fail(PUPIL_EFORMAT, "%s: impossibly many rows", path);
    return 0;
}

/* The HDF5 files of a folder, by name. */
static int add_files(pupil_embeddings *e, const char *dir)
{
    static const char *const suffix[] = {".h5", ".hdf5"};
    int64_t before = e->n;
    for (int k = 0; k < PUPIL_COUNT(suffix); k++) {
        char **name;
        int n, r = 0;
        PUPIL_TRY(pupil_list_dir(dir, "", suffix[k], &name, &n));
        for (int i = 0; i < n && r == 0; i++) {
            char *path = pupil_join(dir, name[i]);
            r = add_source(e, path, false);
            pupil_free(&path);
        }
        pupil_names_free(&name, n);
        PUPIL_TRY(r);
    }
    if (e->n > before) return 0;
    return pupil_fail(PUPIL_ENOTFOUND, "%s: neither HDF5 files (*.h5, *.hdf5) nor image_embeddings.npy and text_embeddings.npy are there", dir);
}

static int add_path(pupil_embeddings *e, const char *path)
{
    if (!pupil_is_dir(path)) return add_source(e, path, false);
    bool npy = false;
    for (int k = 0; k < SIDES; k++) {
        char *name = pupil_format("%s.npy", side_name[k]), *file = pupil_join(path, name);
        npy |= pupil_exists(file);
        pupil_free(&file);
        pupil_free(&name);
    }
    return npy ? add_source(e, path, true) : add_files(e, path);
}

int pupil_embeddings_open(const char *const *path, int n, pupil_embeddings **ret)
{
    pupil_embeddings *e = pupil_alloc(sizeof *e);
    int r = 0;
    for (int i = 0; i < n && r == 0; i++) r = add_path(e, path[i]);
    if (r < 0) {
        pupil_embeddings_free(&e);
        return r;
    }
    PUPIL_REQUIRE(e->n > 0);
    e->raw = pupil_alloc((size_t)(some_rows(e) * e->dim) * sizeof(float));
    *ret = e;
    return 0;
}

void pupil_embeddings_free(pupil_embeddings **pe)
{
    pupil_embeddings *e = *pe;
    if (!e) return;
    for (int64_t i = 0; i < e->n; i++) {
        close_source(&e->s[i]);
        pupil_free(&e->s[i].path);
    }
    pupil_free(&e->s);
    pupil_free(&e->raw);
    pupil_free(pe);
}

int64_t pupil_embeddings_rows(const pupil_embeddings *e) { return e->rows; }
int64_t pupil_embeddings_dim(const pupil_embeddings *e) { return e->dim; }
int64_t pupil_embeddings_sources(const pupil_embeddings *e) { return e->n; }

const char *pupil_embeddings_source(const pupil_embeddings *e, int64_t i, int64_t *ret_first, int64_t *ret_rows)
{
    *ret_first = e->s[i].first;
    *ret_rows = e->s[i].rows;
    return e->s[i].path;
}

/* ---- rows ----------------------------------------------------------------------------------------- */
static source *source_of(const pupil_embeddings *e, int64_t row)
{
    int64_t lo = 0, hi = e->n;
    while (hi - lo > 1) { /* the last that begins at or before the row */
        int64_t mid = (lo + hi) / 2;
        if (e->s[mid].first <= row) lo = mid;
        else hi = mid;
    }
    return &e->s[lo];
}

static int read_some(pupil_embeddings *e, const source *s, int side, int64_t first, int64_t n, float *out)
{
    void *raw = s->f32[side] ? (void *)out : e->raw;
    if (s->folder) PUPIL_TRY(npy_read(&s->npy[side], first, n, raw));
    else if (h5_set_rows(&s->set[side], s->set[side].type, first, n, raw) < 0)
        return h5_fail(PUPIL_EFORMAT, s->path, "%s cannot be read", side_name[side]);
    if (!s->f32[side]) pupil_f16_unpack(out, raw, n * e->dim);
    return 0;
}

int pupil_embeddings_read(pupil_embeddings *e, int side, int64_t first, int64_t n, float *out)
{
    PUPIL_REQUIRE(first >= 0 && n >= 0 && first + n <= e->rows);
    for (int64_t at = first, end = first + n; at < end;) {
        source *s = source_of(e, at);
        int64_t some = PUPIL_MIN(PUPIL_MIN(end, s->first + s->rows) - at, some_rows(e));
        PUPIL_TRY(wake(e, s));
        PUPIL_TRY(read_some(e, s, side, at - s->first, some, out + (at - first) * e->dim));
        at += some;
    }
    return 0;
}

/* ---- keys and what is told of the teacher ------------------------------------------------------------ */
static int no_key(const source *s, int64_t row, const char *why)
{
    return pupil_fail(PUPIL_EFORMAT, "%s: row %lld: its key %s", s->path, (long long)row, why);
}

static int add_key(const source *s, int64_t row, const char *key, size_t n, pupil_buf *text)
{
    if (n == 0) return no_key(s, row, "is empty");
    if (n >= KEY_MOST) return no_key(s, row, "is longer than 4 KiB");
    pupil_buf_add(text, key, n);
    pupil_buf_add(text, "", 1);
    return 0;
}

enum { KEYS_AT_ONCE = 1024 };

static int variable_keys(const source *s, const h5_set *d, pupil_buf *text)
{
    char *key[KEYS_AT_ONCE];
    int r = 0;
    for (int64_t at = 0; at < d->n && r == 0; at += KEYS_AT_ONCE) {
        int64_t n = PUPIL_MIN((int64_t)KEYS_AT_ONCE, d->n - at);
        memset(key, 0, sizeof key);
        if (h5_set_rows(d, d->type, at, n, key) < 0) r = h5_fail(PUPIL_EFORMAT, s->path, "keys cannot be read");
        for (int64_t i = 0; i < n && r == 0; i++) {
            r = add_key(s, at + i, key[i] ? key[i] : "", key[i] ? strlen(key[i]) : 0, text);
            H5free_memory(key[i]);
        }
    }
    return r;
}

static int fixed_keys(const source *s, const h5_set *d, pupil_buf *text)
{
    if (d->size > KEY_MOST)
        return pupil_fail(PUPIL_EFORMAT, "%s: its keys are %zu bytes wide", s->path, d->size);
    char *key = pupil_alloc(KEYS_AT_ONCE * d->size);
    int r = 0;
    for (int64_t at = 0; at < d->n && r == 0; at += KEYS_AT_ONCE) {
        int64_t n = PUPIL_MIN((int64_t)KEYS_AT_ONCE, d->n - at);
        if (h5_set_rows(d, d->type, at, n, key) < 0)
            r = h5_fail(PUPIL_EFORMAT, s->path, "keys cannot be read");
        for (int64_t i = 0; i < n && r == 0; i++) {
            const char *one = key + (size_t)i * d->size;
            r = add_key(s, at + i, one, strnlen(one, d->size), text);
        }
    }
    pupil_free(&key);
    return r;
}

static int read_keys(void *arg, pupil_buf *out)
{
    source s = *(const source *)arg;
    h5_set d;
    PUPIL_TRY(h5_file_open(s.path, &s.file));
    PUPIL_TRY(h5_set_open(s.file, s.path, "keys", H5_TEXT, &d));
    if (d.ndim != 1 || d.n != s.rows)
        return pupil_fail(PUPIL_EFORMAT, "%s: keys is not a list of %lld texts, one for each row", s.path,
                          (long long)s.rows);
    return H5Tis_variable_str(d.type) > 0 ? variable_keys(&s, &d, out) : fixed_keys(&s, &d, out);
}

int pupil_embeddings_keys(pupil_embeddings *e, int64_t i, pupil_buf *text)
{
    source s = {.path = e->s[i].path, .rows = e->s[i].rows};
    if (e->s[i].folder) return pupil_fail(PUPIL_ENOTFOUND, "%s: .npy files hold no keys", s.path);
    return run_apart(s.path, read_keys, &s, text);
}

typedef struct {
    const char *path, *const *name;
    int n;
} attributes;

/* For each, whether it is there ('+' or '-'), its value, and a NUL. */
static int read_attributes(void *arg, pupil_buf *out)
{
    const attributes *q = arg;
    hid_t file;
    PUPIL_TRY(h5_file_open(q->path, &file));
    for (int i = 0; i < q->n; i++) {
        char *value = NULL;
        int r = h5_attr_read_any(file, q->path, q->name[i], &value);
        if (r < 0 && r != PUPIL_ENOTFOUND) return r;
        pupil_buf_printf(out, "%c%s", r == 0 ? '+' : '-', value ? value : "");
        pupil_buf_add(out, "", 1);
    }
    return 0;
}

int pupil_embeddings_attributes(pupil_embeddings *e, int64_t i, const char *const *name, int n, char **ret)
{
    attributes q = {e->s[i].path, name, n};
    pupil_buf text = {0};
    if (!e->s[i].folder) PUPIL_TRY(run_apart(q.path, read_attributes, &q, &text));
    const char *value = text.s;
    for (int k = 0; k < n; k++, value += value ? strlen(value) + 1 : 0)
        ret[k] = value && *value == '+' ? pupil_strdup(value + 1) : NULL;
    pupil_buf_free(&text);
    return 0;
}
