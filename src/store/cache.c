/* cache.c: a folder of segments as one array of blocks.
 * Guarantees: what is read was published by a writer that was believed, and arrived as it was written:
 * identity, ids, shapes, checksums and finite values are looked at on every way from disk. The journal alone
 * says what is there. */
#include "cache.h"
#include "journal.h"

#include <stdlib.h>
#include <string.h>

enum { WINDOW_BY_DEFAULT = 32 };
static const int64_t blocks_most = 1 << 26, chunk_most = 1 << 30;

/* ---- records ------------------------------------------------------------------------------------ */
static bool segment_name(const char *s)
{
    if (!s || strncmp(s, "seg-", 4) || strlen(s) > 120) return false;
    size_t n = strspn(s + 4, "-0123456789abcdefghijklmnopqrstuvwxyz") + 4;
    return n > 4 && !strcmp(s + n, ".h5");
}

/* The next number of a list in `base`, ended by one of `ends`; *s moves behind it. */
static bool next_number(const char **s, int base, const char *ends, int64_t *ret)
{
    char *end;
    if (!strchr("0123456789abcdef", **s) || !**s) return false;
    unsigned long long x = strtoull(*s, &end, base);
    if (end == *s || x > INT64_MAX || !strchr(ends, *end)) return false;
    *s = *end ? end + 1 : end;
    *ret = (int64_t)x;
    return true;
}

static bool read_head(const char *s, segment *g)
{
    int64_t crc;
    if (!s || !next_number(&s, 10, "/", &g->head) || !next_number(&s, 16, "", &crc) || crc > UINT32_MAX)
        return false;
    g->head_crc = (uint32_t)crc;
    return g->head <= g->bytes;
}

static const char *read_lists(const pupil_cache *c, const pupil_record *r, segment *g)
{
    const char *b = pupil_record_get(r, "blocks"), *n = pupil_record_get(r, "rows"),
               *k = pupil_record_get(r, "crcs");
    if (!b || !n || !k) return "it lacks blocks, rows or crcs";
    int64_t count = 1;
    for (const char *p = b; *p; p++) count += *p == ',';
    if (count > SEGMENT_BLOCKS_MOST) return "it names too many blocks";
    g->block = pupil_alloc((size_t)count * sizeof *g->block);
    g->rows = pupil_alloc((size_t)count * sizeof *g->rows);
    const int planes = shape_planes(&c->shape);
    g->crc = pupil_alloc((size_t)(count * planes) * sizeof *g->crc);
    for (int64_t i = 0; i < count; i++) {
        if (!next_number(&b, 10, ",", &g->block[i]) || !next_number(&n, 10, ",", &g->rows[i]))
            return "blocks, rows and crcs are not lists of one length";
        if (g->block[i] >= c->blocks || g->rows[i] != shape_rows(&c->shape, g->block[i]))
            return "it names a block that this data set does not have";
        for (int p = 0; p < planes; p++) {
            int64_t crc;
            if (!next_number(&k, 16, p + 1 < planes ? "/" : ",", &crc)) return "blocks, rows and crcs are not lists of one length";
            if (crc > UINT32_MAX) return "a crc has more than 32 bits";
            g->crc[i * planes + p] = (uint32_t)crc;
        }
    }
    if (*b || *n || *k) return "blocks, rows and crcs are not lists of one length";
    g->n = count;
    return NULL;
}

/* What storing cost: worth telling, nothing is decided by it. */
static void read_error(const pupil_record *r, segment *g)
{
    const char *s = pupil_record_get(r, "error");
    stored_error e = {0};
    if (!s || sscanf(s, "%lf/%lf/%lf", &e.cosine, &e.cosine_least, &e.affinity_kl) != 3) return;
    e.cosine *= (double)g->n;
    e.affinity_kl *= (double)g->n;
    e.rows = e.blocks = g->n;
    g->error = e;
}

static void index_segment(pupil_cache *c, int64_t seg)
{
    const segment *g = &c->seg[seg];
    if (g->broken || g->dropped) return;
    for (int64_t i = 0; i < g->n; i++) {
        if (c->where[g->block[i]].seg1) continue;
        c->where[g->block[i]].seg1 = (int32_t)seg + 1;
        c->where[g->block[i]].place = (int32_t)i;
        c->have++;
    }
}

static void take_segment(pupil_cache *c, const pupil_record *r)
{
    const char *file = pupil_record_get(r, "file");
    segment g = {.file = pupil_strdup(file ? file : "?")};
    if (!segment_name(file)) g.broken = "its file has no name of a segment";
    else if (!journal_number(pupil_record_get(r, "bytes"), 1, INT64_MAX, &g.bytes) ||
             !read_head(pupil_record_get(r, "head"), &g))
        g.broken = "bytes or head is not as it should be";
    else g.broken = read_lists(c, r, &g);
    if (!g.broken) read_error(r, &g);
    PUPIL_GROW(c->seg, c->nseg, c->cap_seg);
    c->seg[c->nseg] = g;
    index_segment(c, c->nseg++);
}

static void drop_segment(pupil_cache *c, const pupil_record *r)
{
    const char *file = pupil_record_get(r, "file");
    for (int64_t i = 0; i < c->nseg; i++)
        if (file && !strcmp(c->seg[i].file, file)) c->seg[i].dropped = true;
    memset(c->where, 0, (size_t)c->blocks * sizeof *c->where);
    c->have = 0;
    for (int64_t i = 0; i < c->nseg; i++) index_segment(c, i);
}

bool cache_holder(const pupil_cache *c, int64_t part, holder *ret)
{
    if (part >= c->nclaim || c->claim[part].share < 0) return false;
    *ret = c->claim[part];
    return ret->generation == c->latest[ret->share];
}

/* Claims are judged in the order of the journal, by what had been said until then, so all readers agree. */
static void take_lane(pupil_cache *c, const pupil_record *r)
{
    int64_t share, n;
    if (!journal_number(pupil_record_get(r, "lane"), 0, 1 << 20, &share) ||
        !journal_number(pupil_record_get(r, "n"), 1, INT64_MAX, &n))
        return;
    PUPIL_GROW(c->latest, share, c->nlatest);
    c->latest[share] = n;
}

static void take_claim(pupil_cache *c, const pupil_record *r)
{
    int64_t part, before = c->nclaim;
    holder h, who;
    if (!journal_number(pupil_record_get(r, "part"), 0, c->blocks - 1, &part) ||
        !journal_number(pupil_record_get(r, "lane"), 0, c->nlatest - 1, &h.share) ||
        !journal_number(pupil_record_get(r, "n"), 1, INT64_MAX, &h.generation) ||
        !journal_number(pupil_record_get(r, "rank"), 0, INT32_MAX, &h.rank))
        return;
    PUPIL_GROW(c->claim, part, c->nclaim);
    for (int64_t i = before; i < c->nclaim; i++) c->claim[i].share = -1;
    if (!cache_holder(c, part, &who)) c->claim[part] = h;
}

int pupil_cache_refresh(pupil_cache *c)
{
    PUPIL_TRY(pupil_journal_read(c->journal_path, &c->journal));
    for (; c->seen < c->journal.n; c->seen++) {
        const pupil_record *r = &c->journal.record[c->seen];
        if (!r->believed) continue;
        if (!strcmp(r->kind, "gen")) take_lane(c, r);
        if (!strcmp(r->kind, "claim")) take_claim(c, r);
        if (!strcmp(r->kind, "seg")) take_segment(c, r);
        if (!strcmp(r->kind, "drop")) drop_segment(c, r);
    }
    return 0;
}

/* ---- opening ------------------------------------------------------------------------------------ */
static bool identity_number(const char *text, const char *key, int64_t most, int64_t *ret)
{
    char word[24];
    size_t len;
    const char *v = identity_value(text, key, &len);
    if (!v || len >= sizeof word) return false;
    memcpy(word, v, len);
    word[len] = 0;
    return journal_number(word, 1, most, ret);
}

static int shape_of(const char *text, const char *where, pupil_cache_shape *ret)
{
    pupil_cache_shape s = {0};
    size_t len = 0;
    int64_t views = 0, captions = 0;
    int type = 0;
    const char *dtype = identity_value(text, "dtype", &len);
    while (dtype && type < PUPIL_STORED_TYPES && (strlen(pupil_stored_name[type]) != len || memcmp(dtype, pupil_stored_name[type], len))) type++;
    bool ok = identity_number(text, "samples", INT64_MAX / 2, &s.samples) &&
              identity_number(text, "block", 1 << 24, &s.block) &&
              identity_number(text, "dim", 1 << 24, &s.dim) && identity_number(text, "views", PUPIL_CACHE_PLANES, &views) &&
              identity_number(text, "captions", PUPIL_CACHE_PLANES, &captions) && dtype && type < PUPIL_STORED_TYPES;
    if (!ok)
        return pupil_fail(PUPIL_EFORMAT, "%s: needs samples, block, dim, views and captions (whole numbers) and dtype (f16, f32, bf16 or i8)",
                          where);
    s.dtype = (pupil_stored)type;
    s.views = (int)views;
    s.captions = (int)captions;
    if (views + captions > PUPIL_CACHE_PLANES)
        return pupil_fail(PUPIL_EFORMAT, "%s: %lld views and %lld captions are more than %d together", where, (long long)views, (long long)captions,
                          PUPIL_CACHE_PLANES);
    if (s.block * s.dim > chunk_most / 4)
        return pupil_fail(PUPIL_EFORMAT, "%s: a block of %lld x %lld values is too large", where,
                          (long long)s.block, (long long)s.dim);
    if ((s.samples - 1) / s.block >= blocks_most)
        return pupil_fail(PUPIL_EFORMAT, "%s: %lld samples are too many for blocks of %lld", where,
                          (long long)s.samples, (long long)s.block);
    *ret = s;
    return 0;
}

void pupil_identity_shape(pupil_identity *id, const pupil_cache_shape *s)
{
    pupil_identity_add(id, "samples", "%lld", (long long)s->samples);
    pupil_identity_add(id, "block", "%lld", (long long)s->block);
    pupil_identity_add(id, "dim", "%lld", (long long)s->dim);
    pupil_identity_add(id, "views", "%d", s->views);
    pupil_identity_add(id, "captions", "%d", s->captions);
    pupil_identity_add(id, "dtype", "%s", pupil_stored_name[s->dtype]);
}

double pupil_cache_sample_bytes(const pupil_cache_shape *s)
{
    return (double)shape_plane_bytes(s) / (double)s->block * shape_planes(s);
}

static int read_identity(const char *path, char **ret_sorted)
{
    char *text;
    PUPIL_TRY(pupil_read_file(path, 1 << 20, &text, NULL));
    pupil_buf sorted = {0};
    identity_sort(text, &sorted);
    pupil_free(&text);
    *ret_sorted = sorted.s;
    return 0;
}

int pupil_cache_open_any(const char *dir, pupil_cache **ret)
{
    char *path = pupil_join(dir, "identity.txt"), *identity = NULL;
    pupil_cache_shape shape;
    int r = read_identity(path, &identity);
    if (r == PUPIL_ENOTFOUND) pupil_fail(r, "%s: there is no cache here (no identity.txt)", dir);
    if (r == 0) r = shape_of(identity, path, &shape);
    pupil_free(&path);
    if (r < 0) {
        pupil_free(&identity);
        return r;
    }
    pupil_cache *c = pupil_alloc(sizeof *c);
    c->dir = pupil_strdup(dir);
    c->journal_path = pupil_join(dir, "journal.txt");
    pupil_cache_share(c, 0);
    c->identity = identity;
    pupil_sha256_of(identity, strlen(identity), c->digest);
    c->shape = shape;
    c->blocks = (shape.samples - 1) / shape.block + 1;
    c->where = pupil_alloc((size_t)c->blocks * sizeof *c->where);
    for (int i = 0; i < OPEN_FILES; i++) c->file[i].seg = -1;
    r = pupil_cache_refresh(c);
    if (r < 0) pupil_cache_free(&c);
    else *ret = c;
    return r;
}

int pupil_cache_open(const char *dir, const pupil_identity *want, const pupil_cache_shape *shape,
                     pupil_cache **ret)
{
    pupil_cache_shape said;
    PUPIL_TRY(shape_of(want->text.s, "the wanted identity", &said));
    PUPIL_REQUIRE(said.samples == shape->samples && said.block == shape->block && said.dim == shape->dim &&
                  said.dtype == shape->dtype && said.views == shape->views && said.captions == shape->captions);
    PUPIL_TRY(pupil_mkdirs(dir));
    char *path = pupil_join(dir, "identity.txt"), *here = NULL;
    pupil_buf sorted = {0}, difference = {0};
    identity_sort(want->text.s, &sorted);
    int r = pupil_exists(path) ? 0 : pupil_write_file(path, sorted.s, sorted.len);
    if (r == 0) r = read_identity(path, &here); /* another process may have been first */
    if (r == 0) identity_difference(here, sorted.s, &difference);
    if (difference.len) r = pupil_fail(PUPIL_EMISMATCH, "%s holds another cache: %s", dir, difference.s);
    pupil_buf_free(&difference);
    pupil_buf_free(&sorted);
    pupil_free(&here);
    pupil_free(&path);
    return r < 0 ? r : pupil_cache_open_any(dir, ret);
}

static void forget_blocks(pupil_cache *c)
{
    for (int64_t i = 0; i < c->window && c->slot; i++) pupil_free(&c->slot[i].x);
    pupil_free(&c->slot);
}

void pupil_cache_free(pupil_cache **pc)
{
    pupil_cache *c = *pc;
    if (!c) return;
    forget_blocks(c);
    for (int i = 0; i < OPEN_FILES; i++) seg_close(&c->file[i].f);
    for (int64_t i = 0; i < c->nseg; i++) {
        pupil_free(&c->seg[i].file);
        pupil_free(&c->seg[i].block);
        pupil_free(&c->seg[i].rows);
        pupil_free(&c->seg[i].crc);
    }
    pupil_free(&c->seg);
    pupil_free(&c->where);
    pupil_free(&c->claim);
    pupil_free(&c->latest);
    pupil_free(&c->raw);
    pupil_journal_free(&c->journal);
    pupil_free(&c->identity);
    pupil_free(&c->journal_path);
    pupil_free(&c->dir);
    pupil_free(pc);
}

const pupil_cache_shape *pupil_cache_shape_of(const pupil_cache *c)
{
    return &c->shape;
}
const char *pupil_cache_identity(const pupil_cache *c)
{
    return c->identity;
}
int64_t pupil_cache_blocks(const pupil_cache *c)
{
    return c->blocks;
}
int64_t pupil_cache_blocks_have(const pupil_cache *c)
{
    return c->have;
}
bool pupil_cache_has(const pupil_cache *c, int64_t block)
{
    return block >= 0 && block < c->blocks && c->where[block].seg1;
}

void pupil_cache_window(pupil_cache *c, int64_t planes)
{
    forget_blocks(c);
    c->window = PUPIL_MAX(planes, (int64_t)1);
}

/* ---- reading ------------------------------------------------------------------------------------ */
static int open_file(pupil_cache *c, int64_t seg, const seg_file **ret)
{
    cached_file *oldest = &c->file[0];
    for (cached_file *f = c->file; f < c->file + OPEN_FILES; f++) {
        if (f->seg == seg) {
            f->used = ++c->clock;
            *ret = &f->f;
            return 0;
        }
        if (f->used < oldest->used) oldest = f;
    }
    seg_file fresh;
    PUPIL_TRY(seg_open(c->dir, &c->seg[seg], &c->shape, c->digest, &fresh));
    seg_close(&oldest->f);
    *oldest = (cached_file){seg, ++c->clock, fresh};
    *ret = &oldest->f;
    return 0;
}

int cache_load(pupil_cache *c, int64_t seg, int64_t place, int plane, float *x)
{
    static const char *const name[SIDES] = {"image", "text"};
    const segment *g = &c->seg[seg];
    const seg_file *f = NULL;
    const long long block = (long long)g->block[place];
    const int side = plane_side(&c->shape, plane);
    PUPIL_TRY(pupil_context(open_file(c, seg, &f), "block %lld", block));
    if (!c->raw) c->raw = pupil_alloc(shape_plane_bytes(&c->shape));
    PUPIL_TRY(pupil_context(seg_read(f, &c->shape, place, plane, c->raw), "block %lld", block));
    if (pupil_crc32c(0, c->raw, shape_plane_bytes(&c->shape)) != g->crc[place * shape_planes(&c->shape) + plane])
        return pupil_fail(PUPIL_ECRC, "%s: block %lld: %s embeddings do not match their checksum", f->path, block, name[side]);
    if (!plane_unpack(&c->shape, x, c->raw, c->shape.block))
        return pupil_fail(PUPIL_ENUMERIC, "%s: block %lld: %s embeddings are not all finite", f->path, block, name[side]);
    return 0;
}

static cached_plane *find_slot(pupil_cache *c, int64_t block, int plane)
{
    if (!c->slot) {
        if (!c->window) c->window = WINDOW_BY_DEFAULT;
        c->slot = pupil_alloc((size_t)c->window * sizeof *c->slot);
        for (int64_t i = 0; i < c->window; i++) c->slot[i].block = -1;
    }
    cached_plane *oldest = c->slot;
    for (cached_plane *s = c->slot; s < c->slot + c->window; s++) {
        if (s->block == block && s->plane == plane) return s;
        if (s->used < oldest->used) oldest = s;
    }
    return oldest;
}

int pupil_cache_read(pupil_cache *c, int64_t block, int side, int k, const float **ret, int64_t *ret_rows)
{
    const int plane = side == IMAGE ? k : c->shape.views + k;
    PUPIL_REQUIRE(k >= 0 && k < (side == IMAGE ? c->shape.views : c->shape.captions));
    if (!pupil_cache_has(c, block))
        return pupil_fail(PUPIL_ENOTFOUND, "%s: block %lld of %lld is not published", c->dir,
                          (long long)block, (long long)c->blocks);
    cached_plane *s = find_slot(c, block, plane);
    if (s->block != block || s->plane != plane) {
        s->block = -1;
        s->used = 0;
        if (!s->x) s->x = pupil_alloc((size_t)(c->shape.block * c->shape.dim) * sizeof(float));
        PUPIL_TRY(cache_load(c, c->where[block].seg1 - 1, c->where[block].place, plane, s->x));
        s->block = block;
        s->plane = plane;
    }
    s->used = ++c->clock;
    *ret = s->x;
    *ret_rows = shape_rows(&c->shape, block);
    return 0;
}
