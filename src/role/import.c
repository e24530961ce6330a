/* import.c: a teacher cache from embeddings that were made elsewhere.
 * Guarantees: nothing is written before every row that will be used has been looked at; a row is found by its sample's
 * key, never by its place; the cache's identity holds a digest of what was imported, in the data set's
 * order, so that it does not depend on how the rows were spread over files; an import that was cut short is
 * taken up again by the same command. */
#include "provenance.h"

#include "job.h"

#include <math.h>
#include <string.h>

enum { IMAGE, TEXT, SIDES };
static const char *const side_name[SIDES] = {"image", "text"};

typedef struct {
    const pupil_conf *conf;
    pupil_dataset *data;
    pupil_embeddings *e;
    provenance told;
    int64_t samples, block, dim;
    pupil_buf keys;
    int64_t *key_at;       /* per row, in keys.s */
    int64_t *slot, nslots; /* hash table of rows by key: row + 1, 0 where free */
    int64_t *row;          /* per sample */
    float *side[SIDES];    /* a block */
    float *first[SIDES];   /* the first sample's */
    int64_t other[SIDES];  /* samples that are not the same as the first */
    int64_t unit[SIDES];   /* samples of norm 1 */
    char content[65];
} import;

/* ---- keys ---------------------------------------------------------------------------------------- */
static const char *key_of(const import *im, int64_t row) { return im->keys.s + im->key_at[row]; }

/* "FILE: row N (key K)", owned by the caller. */
static char *place_of(const import *im, int64_t row)
{
    int64_t first = 0, rows = 0, s = 0;
    const char *path = pupil_embeddings_source(im->e, s, &first, &rows);
    while (row >= first + rows) path = pupil_embeddings_source(im->e, ++s, &first, &rows);
    return pupil_format("%s: row %lld (key '%.200s')", path, (long long)(row - first), key_of(im, row));
}

static int64_t *find_slot(const import *im, const char *key)
{
    int64_t i = (int64_t)(pupil_fnv1a(key, strlen(key)) & (uint64_t)(im->nslots - 1));
    while (im->slot[i] && strcmp(key_of(im, im->slot[i] - 1), key)) i = (i + 1) & (im->nslots - 1);
    return &im->slot[i];
}

static int read_source_keys(import *im, int64_t s)
{
    int64_t first, rows, n = 0;
    const char *path = pupil_embeddings_source(im->e, s, &first, &rows);
    int r = pupil_embeddings_keys(im->e, s, &im->keys);
    if (r != PUPIL_ENOTFOUND || !pupil_is_dir(path)) return r;
    PUPIL_TRY(pupil_keys_read(path, &im->keys, &n));
    if (n == rows) return 0;
    return pupil_fail(PUPIL_EFORMAT, "%s: %lld keys for %lld rows", path, (long long)n, (long long)rows);
}

static int two_rows(const import *im, int64_t row, int64_t before)
{
    char *one = place_of(im, before), *two = place_of(im, row);
    int r = pupil_fail(PUPIL_EFORMAT, "%s: the same key as %s", two, one);
    pupil_free(&one);
    pupil_free(&two);
    return r;
}

static int read_keys(import *im)
{
    int64_t rows = pupil_embeddings_rows(im->e), at = 0;
    for (int64_t s = 0; s < pupil_embeddings_sources(im->e); s++) PUPIL_TRY(read_source_keys(im, s));
    im->key_at = pupil_alloc((size_t)rows * sizeof *im->key_at);
    for (im->nslots = 16; im->nslots < 2 * rows;) im->nslots *= 2;
    im->slot = pupil_alloc((size_t)im->nslots * sizeof *im->slot);
    for (int64_t i = 0; i < rows; i++, at += (int64_t)strlen(im->keys.s + at) + 1) im->key_at[i] = at;
    for (int64_t i = 0; i < rows; i++) {
        int64_t *slot = find_slot(im, key_of(im, i));
        if (*slot) return two_rows(im, i, *slot - 1);
        *slot = i + 1;
    }
    return 0;
}

/* ---- samples to rows -------------------------------------------------------------------------------- */
static int no_rows(const import *im, int64_t missing, const char *names)
{
    return pupil_fail(PUPIL_EUSER, "%lld of %lld samples have no embeddings (%s%s); a cache must be whole: make them too, or leave these samples out "
                      "of data.train", (long long)missing, (long long)im->samples, names, missing > 3 ? ", ..." : "");
}

static int twice_in_data(const char *key)
{
    return pupil_fail(PUPIL_EUSER, "the training data have two samples with the key '%.200s': rows cannot be told by their keys", key);
}

static void say_extra(const import *im, const bool *used, int64_t extra)
{
    int64_t i = 0;
    while (used[i]) i++;
    char *first = place_of(im, i);
    pupil_warn("import   %lld rows belong to no training sample and are left out, first %s", (long long)extra, first);
    pupil_free(&first);
}

static int match(import *im)
{
    int64_t rows = pupil_embeddings_rows(im->e), missing = 0, matched = 0;
    bool *used = pupil_alloc((size_t)rows);
    pupil_buf names = {0};
    int r = 0;
    im->row = pupil_alloc((size_t)im->samples * sizeof *im->row);
    for (int64_t i = 0; i < im->samples && r == 0; i++) {
        char *key;
        r = pupil_dataset_key(im->data, PUPIL_TRAIN, i, &key);
        if (r < 0) break;
        im->row[i] = *find_slot(im, key) - 1;
        if (im->row[i] < 0 && missing++ < 3) pupil_buf_printf(&names, "%s%.200s", names.len ? ", " : "", key);
        if (im->row[i] >= 0 && used[im->row[i]]) r = twice_in_data(key);
        if (im->row[i] >= 0) used[im->row[i]] = true, matched++;
        pupil_free(&key);
    }
    if (r == 0 && missing) r = no_rows(im, missing, names.s);
    if (r == 0 && matched < rows) say_extra(im, used, rows - matched);
    pupil_buf_free(&names);
    pupil_free(&used);
    return r;
}

static int64_t block_rows(const import *im, int64_t b) { return PUPIL_MIN(im->block, im->samples - b * im->block); }

/* Embeddings of a block's samples; rows that lie together are read together. */
static int gather(import *im, int64_t block)
{
    const int64_t *row = im->row + block * im->block;
    for (int64_t at = 0, n = block_rows(im, block), some; at < n; at += some) {
        for (some = 1; at + some < n && row[at + some] == row[at] + some;) some++;
        for (int k = 0; k < SIDES; k++) PUPIL_TRY(pupil_embeddings_read(im->e, k, row[at], some, im->side[k] + at * im->dim));
    }
    return 0;
}

/* ---- what the rows must be --------------------------------------------------------------------------- */
static int bad_row(const import *im, int64_t sample, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static int bad_row(const import *im, int64_t sample, const char *fmt, ...)
{
    char what[160], *place = place_of(im, im->row[sample]);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    int r = pupil_fail(PUPIL_ENUMERIC, "%s: %s", place, what);
    pupil_free(&place);
    return r;
}

static int check_row(import *im, int64_t sample, int side, const float *x)
{
    const double half_most = 65520, unit_within = 2e-3;
    double sum = 0;
    for (int64_t d = 0; d < im->dim; d++) {
        if (!isfinite(x[d])) return bad_row(im, sample, "the %s embedding holds %g", side_name[side], (double)x[d]);
        if (im->conf->cache.dtype == PUPIL_DTYPE_F16 && fabs((double)x[d]) >= half_most)
            return bad_row(im, sample, "the %s embedding holds %g, too large for float16: set cache.dtype to f32", side_name[side], (double)x[d]);
        sum += (double)x[d] * (double)x[d];
    }
    if (sum == 0) return bad_row(im, sample, "the %s embedding is all zeros", side_name[side]);
    im->unit[side] += fabs(sqrt(sum) - 1) < unit_within;
    if (sample == 0) memcpy(im->first[side], x, (size_t)im->dim * sizeof *x);
    im->other[side] += memcmp(im->first[side], x, (size_t)im->dim * sizeof *x) != 0;
    return 0;
}

static int check_block(import *im, int64_t b, pupil_sha256 *content)
{
    int64_t first = b * im->block, n = block_rows(im, b);
    PUPIL_TRY(gather(im, b));
    for (int64_t i = 0; i < n; i++) {
        const char *key = key_of(im, im->row[first + i]);
        pupil_sha256_add(content, key, strlen(key) + 1);
        for (int k = 0; k < SIDES; k++) PUPIL_TRY(check_row(im, first + i, k, im->side[k] + i * im->dim));
    }
    for (int k = 0; k < SIDES; k++) pupil_sha256_add(content, im->side[k], (size_t)(n * im->dim) * sizeof(float));
    return 0;
}

static int judge(const import *im)
{
    bool normalized = !strcmp(provenance_get(&im->told, "normalized"), "true");
    for (int k = 0; k < SIDES; k++) {
        if (im->samples > 1 && im->other[k] == 0)
            return pupil_fail(PUPIL_ENUMERIC, "all %lld %s embeddings are the same: something went wrong where they were made", (long long)im->samples,
                              side_name[k]);
        if (!normalized && im->unit[k] == im->samples)
            pupil_warn("import   all %s embeddings have norm 1, but the provenance does not say normalized: true", side_name[k]);
        if (normalized && im->unit[k] < im->samples)
            pupil_warn("import   the provenance says normalized: true, but %lld %s embeddings have another norm than 1",
                       (long long)(im->samples - im->unit[k]), side_name[k]);
    }
    return 0;
}

typedef struct {
    double began;
    int64_t done, of;
} pace;

static int go_on(pace *p, const char *what)
{
    char eta[32];
    p->done++;
    double left = (pupil_now() - p->began) / (double)p->done * (double)(p->of - p->done);
    pupil_progress(p->done == p->of, "import   %s block %lld/%lld   ETA %s", what, (long long)p->done, (long long)p->of, pupil_duration(left, eta));
    return pupil_signal_seen() ? pupil_fail(PUPIL_ESTOP, "stopped on a signal; run the same command again to go on") : 0;
}

static int check_all(import *im)
{
    pupil_sha256 content;
    int64_t blocks = (im->samples - 1) / im->block + 1;
    pace p = {.began = pupil_now(), .of = blocks};
    pupil_sha256_init(&content);
    for (int64_t b = 0; b < blocks; b++) {
        PUPIL_TRY(check_block(im, b, &content));
        PUPIL_TRY(go_on(&p, "checked"));
    }
    pupil_sha256_hex(&content, im->content);
    return judge(im);
}

/* ---- the cache ---------------------------------------------------------------------------------------- */
static int open_cache(import *im, pupil_cache **ret)
{
    pupil_identity id = {0};
    job j = {.conf = im->conf, .data = im->data};
    pupil_cache_shape shape = job_cache_shape(&j, im->dim);
    PUPIL_TRY(pupil_dataset_digest(im->data, PUPIL_TRAIN, j.data_digest));
    pupil_identity_add(&id, "format", "2");
    pupil_identity_add(&id, "origin", "imported");
    pupil_identity_add(&id, "imported.content", "%s", im->content);
    provenance_identity(&im->told, &id);
    job_data_identity(&j, &shape, &id);
    int r = pupil_cache_open(im->conf->cache.dir, &id, &shape, ret);
    pupil_identity_free(&id);
    return r;
}

static int write_missing(import *im, pupil_cache *c)
{
    pupil_cache_writer *w = NULL;
    int64_t generation, published, blocks = pupil_cache_blocks(c);
    pace p = {.began = pupil_now(), .of = blocks - pupil_cache_blocks_have(c)};
    if (p.of == 0) return 0;
    PUPIL_TRY(pupil_cache_generation(c, &generation));
    int r = pupil_cache_writer_new(c, generation, 0, im->conf->cache.segment_blocks, &w);
    for (int64_t b = 0; b < blocks && r == 0; b++) {
        if (pupil_cache_has(c, b)) continue;
        r = gather(im, b);
        if (r == 0) r = pupil_cache_writer_add(w, b, im->side[IMAGE], im->side[TEXT], block_rows(im, b), &published);
        if (r == 0) r = go_on(&p, "written");
    }
    if (r == 0 || r == PUPIL_ESTOP) {
        int flushed = pupil_cache_writer_flush(w, &published);
        if (flushed < 0) r = flushed;
    }
    pupil_cache_writer_free(&w);
    return r;
}

static int write_cache(import *im)
{
    pupil_cache *c = NULL;
    int r = open_cache(im, &c);
    int64_t before = r == 0 ? pupil_cache_blocks_have(c) : 0;
    if (r == 0) r = write_missing(im, c);
    if (r == 0)
        pupil_info("cache    %s is whole: %lld blocks, %lld of them imported now; teacher %s, %lld values an embedding, logit scale %s",
                   im->conf->cache.dir, (long long)pupil_cache_blocks(c), (long long)(pupil_cache_blocks(c) - before),
                   provenance_get(&im->told, "teacher"), (long long)im->dim, provenance_get(&im->told, "logit_scale"));
    pupil_cache_free(&c);
    return r;
}

static int open_data(import *im)
{
    const pupil_conf *c = im->conf;
    PUPIL_TRY(pupil_dataset_open(&c->data, c->run.dir, &im->data));
    im->samples = pupil_dataset_count(im->data, PUPIL_TRAIN);
    im->block = c->data.block;
    return im->samples ? 0 : pupil_fail(PUPIL_EUSER, "the training data have no sample");
}

/* Students see what data.view draws, and the teacher must have seen the same. */
static int check_view(const import *im)
{
    const char *told = provenance_get(&im->told, "view");
    pupil_view_recipe recipe = pupil_view_of_conf(&im->conf->data.view);
    pupil_buf view = {0};
    int r = 0;
    pupil_view_text(&recipe, &view);
    if (strcmp(told, view.s))
        r = pupil_fail(PUPIL_EUSER, "the provenance says view: %.200s, data.view of the settings is: %s; students must see what their teacher saw", told,
                       view.s);
    pupil_buf_free(&view);
    return r;
}

static int run(import *im, const char *const *from, int n, const char *yaml)
{
    const int64_t most = 1 << 28; /* values a block, as the cache has it */
    PUPIL_TRY(open_data(im));
    PUPIL_TRY(pupil_embeddings_open(from, n, &im->e));
    im->dim = pupil_embeddings_dim(im->e);
    if (im->dim > most / im->block)
        return pupil_fail(PUPIL_EUSER, "%s: %lld values an embedding are too many for blocks of %lld (data.block)", from[0], (long long)im->dim,
                          (long long)im->block);
    PUPIL_TRY(provenance_read(&im->told, im->e, yaml));
    PUPIL_TRY(check_view(im));
    PUPIL_TRY(read_keys(im));
    PUPIL_TRY(match(im));
    for (int k = 0; k < SIDES; k++) {
        im->side[k] = pupil_alloc((size_t)(im->block * im->dim) * sizeof(float));
        im->first[k] = pupil_alloc((size_t)im->dim * sizeof(float));
    }
    PUPIL_TRY(check_all(im));
    return write_cache(im);
}

int pupil_role_import(const pupil_conf *conf, const char *const *from, int n, const char *yaml)
{
    import im = {.conf = conf};
    if (conf->cache.views > 1 || conf->cache.captions > 1)
        return pupil_fail(PUPIL_EUSER, "%s: embeddings of one view and one caption a sample are imported; set cache.views and cache.captions to 1",
                          conf->file);
    if (!conf->cache.dir) return pupil_fail(PUPIL_EUSER, "%s: cache.dir is missing: it names the folder to import into", conf->file);
    int r = run(&im, from, n, yaml);
    pupil_dataset_free(&im.data);
    pupil_embeddings_free(&im.e);
    provenance_free(&im.told);
    pupil_buf_free(&im.keys);
    pupil_free(&im.key_at);
    pupil_free(&im.slot);
    pupil_free(&im.row);
    for (int k = 0; k < SIDES; k++) {
        pupil_free(&im.side[k]);
        pupil_free(&im.first[k]);
    }
    return r;
}
