/* cache_write.c: blocks into segments, segments into view.
 * Guarantees: a segment is seen whole or not at all; a file name is never used twice; a writer whose
 * generation was replaced learns it from its next publication. */
#include "cache.h"
#include "journal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct pupil_cache_writer {
    pupil_cache *c; /* borrowed */
    int64_t generation, capacity, next;
    int rank;
    char *part; /* the unfinished file, or NULL */
    seg_file f;
    segment g;
    double scale; /* the teacher's, for the error of affinities */
    void *raw;    /* [planes] of a block as they will be stored */
    float *again[SIDES]; /* a plane of each side as it will be read */
};

void pupil_cache_share(pupil_cache *c, int64_t share)
{
    snprintf(c->lane, sizeof c->lane, "%lld", (long long)share);
}

/* How the names of all files of this lane begin, up to the generation. */
static const char *lane_prefix(const pupil_cache *c, char out[40])
{
    if (strcmp(c->lane, "0")) snprintf(out, 40, "seg-s%s-g", c->lane);
    else strcpy(out, "seg-g");
    return out;
}

int pupil_cache_generation(pupil_cache *c, int64_t *ret_n)
{
    int64_t n, old;
    int count;
    char **name, prefix[40];
    PUPIL_TRY(pupil_journal_generation(c->journal_path, c->lane, &n));
    PUPIL_TRY(pupil_list_dir(c->dir, lane_prefix(c, prefix), ".h5.part", &name, &count));
    for (int i = 0; i < count; i++) {
        old = strtoll(name[i] + strlen(prefix), NULL, 10);
        char *path = pupil_join(c->dir, name[i]);
        if (old < n) unlink(path);
        pupil_free(&path);
    }
    pupil_names_free(&name, count);
    PUPIL_TRY(pupil_cache_refresh(c));
    *ret_n = n;
    return 0;
}

static char *segment_prefix(const pupil_cache_writer *w)
{
    char lane[40];
    return pupil_format("%s%04lld-r%05d-", lane_prefix(w->c, lane), (long long)w->generation, w->rank);
}

int pupil_cache_writer_new(pupil_cache *c, int64_t generation, int rank, int64_t segment_blocks,
                           pupil_cache_writer **ret)
{
    pupil_cache_writer *w = pupil_alloc(sizeof *w);
    w->c = c;
    w->generation = generation;
    w->rank = rank;
    int planes = shape_planes(&c->shape); /* a record is a line, and crcs fill it */
    w->capacity = PUPIL_MIN(PUPIL_MAX(segment_blocks, (int64_t)1), (int64_t)(2 * SEGMENT_BLOCKS_MOST / planes));
    char *scale = pupil_identity_get(c->identity, "teacher.logit_scale");
    w->scale = scale ? strtod(scale, NULL) : 100;
    pupil_free(&scale);
    char *prefix = segment_prefix(w), **name = NULL;
    int count = 0, r = pupil_list_dir(c->dir, prefix, "", &name, &count);
    for (int i = 0; i < count; i++)
        w->next = PUPIL_MAX(w->next, strtoll(name[i] + strlen(prefix), NULL, 10) + 1);
    pupil_names_free(&name, count);
    pupil_free(&prefix);
    if (r < 0) {
        pupil_free(&w);
        return r;
    }
    size_t n = (size_t)w->capacity;
    w->g.block = pupil_alloc(n * sizeof *w->g.block);
    w->g.rows = pupil_alloc(n * sizeof *w->g.rows);
    w->g.crc = pupil_alloc(n * (size_t)planes * sizeof *w->g.crc);
    w->raw = pupil_alloc((size_t)planes * shape_plane_bytes(&c->shape));
    for (int k = 0; k < SIDES; k++) w->again[k] = pupil_alloc((size_t)(c->shape.block * c->shape.dim) * sizeof(float));
    *ret = w;
    return 0;
}

/* Back to no segment; an unfinished file goes away. */
static void discard(pupil_cache_writer *w)
{
    seg_close(&w->f);
    if (w->part) unlink(w->part);
    pupil_free(&w->part);
    pupil_free(&w->g.file);
    w->g.n = 0;
    w->g.error = (stored_error){0};
}

void pupil_cache_writer_free(pupil_cache_writer **pw)
{
    pupil_cache_writer *w = *pw;
    if (!w) return;
    discard(w);
    pupil_free(&w->g.block);
    pupil_free(&w->g.rows);
    pupil_free(&w->g.crc);
    for (int k = 0; k < SIDES; k++) pupil_free(&w->again[k]);
    pupil_free(&w->raw);
    pupil_free(pw);
}

static char *raw_plane(const pupil_cache_writer *w, int plane)
{
    return (char *)w->raw + (size_t)plane * shape_plane_bytes(&w->c->shape);
}

/* Convert one plane into w->raw. */
static int pack(pupil_cache_writer *w, int plane, const float *x, int64_t block, int64_t rows)
{
    const pupil_cache_shape *s = &w->c->shape;
    const int64_t good = plane_pack(s, raw_plane(w, plane), x, rows);
    if (good == rows * s->dim) return 0;
    return pupil_fail(PUPIL_ENUMERIC, "block %lld row %lld (sample %lld): the %s embedding holds %g, %s", (long long)block,
                      (long long)(good / s->dim), (long long)(block * s->block + good / s->dim), plane_side(s, plane) == IMAGE ? "image" : "text",
                      (double)x[good], isfinite(x[good]) ? "too large for this dtype: store as f32" : "which is not finite");
}

enum { AFFINITY_EVERY = 8 };

/* What the number format costs: of all planes the cosine, of the first view and caption of some blocks the affinities. */
static void measure_error(pupil_cache_writer *w, const float *const x[SIDES], int64_t rows)
{
    const pupil_cache_shape *s = &w->c->shape;
    if (s->dtype == PUPIL_STORED_F32) return;
    for (int p = shape_planes(s) - 1; p >= 0; p--) {
        int side = plane_side(s, p), k = plane_number(s, p);
        plane_unpack(s, w->again[side], raw_plane(w, p), s->block);
        error_cosine(&w->g.error, x[side] + k * rows * s->dim, w->again[side], rows, s->dim);
    }
    if (w->g.n % AFFINITY_EVERY == 0)
        error_affinity(&w->g.error, x, (const float *const[SIDES]){w->again[IMAGE], w->again[TEXT]}, rows, s->dim, w->scale);
}

static int begin(pupil_cache_writer *w)
{
    if (w->part) return 0;
    char *prefix = segment_prefix(w);
    w->g.file = pupil_format("%s%05lld.h5", prefix, (long long)w->next++);
    pupil_free(&prefix);
    char *path = pupil_join(w->c->dir, w->g.file);
    w->part = pupil_format("%s.part", path);
    pupil_free(&path);
    return seg_create(w->part, &w->c->shape, w->c->digest, w->capacity, &w->f);
}

/* w->raw becomes one more block of the segment. */
static int put(pupil_cache_writer *w, int64_t block, int64_t rows)
{
    const int64_t place = w->g.n;
    PUPIL_TRY(begin(w));
    const int planes = shape_planes(&w->c->shape);
    for (int p = 0; p < planes; p++) {
        w->g.crc[place * planes + p] = pupil_crc32c(0, raw_plane(w, p), shape_plane_bytes(&w->c->shape));
        PUPIL_TRY(pupil_fault("seg.write"));
        PUPIL_TRY(seg_write(&w->f, &w->c->shape, place, p, raw_plane(w, p)));
    }
    w->g.block[place] = block;
    w->g.rows[place] = rows;
    w->g.n++;
    return 0;
}

static int append_record(const pupil_cache_writer *w)
{
    const segment *g = &w->g;
    const int planes = shape_planes(&w->c->shape);
    char generation[24], bytes[24], head[40], error[96];
    pupil_buf blocks = {0}, rows = {0}, crcs = {0};
    snprintf(generation, sizeof generation, "%lld", (long long)w->generation);
    snprintf(bytes, sizeof bytes, "%lld", (long long)g->bytes);
    snprintf(head, sizeof head, "%lld/%08x", (long long)g->head, g->head_crc);
    for (int64_t i = 0; i < g->n; i++) {
        const char *comma = i ? "," : "";
        pupil_buf_printf(&blocks, "%s%lld", comma, (long long)g->block[i]);
        pupil_buf_printf(&rows, "%s%lld", comma, (long long)g->rows[i]);
        for (int p = 0; p < planes; p++) pupil_buf_printf(&crcs, "%s%08x", p ? "/" : comma, g->crc[i * planes + p]);
    }
    const stored_error *e = &g->error;
    if (e->rows)
        snprintf(error, sizeof error, "%.9f/%.9f/%.3e", e->cosine / (double)e->rows, e->cosine_least, e->affinity_kl / (double)e->blocks);
    const char *pairs[] = {"lane", w->c->lane, "n",      generation, "file", g->file, "bytes", bytes, "head",
                           head,   "blocks", blocks.s, "rows",     rows.s, "crcs",  crcs.s,  e->rows ? "error" : NULL, error, NULL};
    int r = pupil_journal_append(w->c->journal_path, "seg", pairs);
    pupil_buf_free(&blocks);
    pupil_buf_free(&rows);
    pupil_buf_free(&crcs);
    return r;
}

static int publish(pupil_cache_writer *w)
{
    PUPIL_TRY(seg_finish(&w->f, &w->c->shape, &w->g));
    char *path = pupil_join(w->c->dir, w->g.file);
    int r = pupil_publish(w->part, path);
    pupil_free(&path);
    if (r == 0) r = append_record(w);
    if (r == 0) r = pupil_cache_refresh(w->c);
    int64_t latest = journal_latest(&w->c->journal, w->c->lane);
    if (r == 0 && latest != w->generation)
        r = pupil_fail(
            PUPIL_EIO,
            "%s: this writer of generation %lld was replaced by generation %lld; its work is not believed",
            w->c->dir, (long long)w->generation, (long long)latest);
    return r;
}

int pupil_cache_writer_flush(pupil_cache_writer *w, int64_t *ret_published)
{
    const int64_t n = w->g.n;
    int r = n ? publish(w) : 0;
    discard(w);
    if (r == 0) *ret_published = n;
    return r;
}

int pupil_cache_writer_add(pupil_cache_writer *w, int64_t block, const float *image, const float *text,
                           int64_t rows, int64_t *ret_published)
{
    PUPIL_REQUIRE(block >= 0 && block < w->c->blocks && rows == shape_rows(&w->c->shape, block));
    const pupil_cache_shape *s = &w->c->shape;
    const float *const x[SIDES] = {image, text};
    for (int p = 0; p < shape_planes(s); p++)
        PUPIL_TRY(pack(w, p, x[plane_side(s, p)] + plane_number(s, p) * rows * s->dim, block, rows));
    measure_error(w, x, rows);
    int r = put(w, block, rows);
    if (r < 0) {
        discard(w);
        return r;
    }
    if (w->g.n == w->capacity) return pupil_cache_writer_flush(w, ret_published);
    *ret_published = 0;
    return 0;
}

int pupil_cache_claim(pupil_cache *c, int64_t generation, int rank, int64_t part, bool *ret_mine)
{
    holder who;
    PUPIL_REQUIRE(part >= 0 && part < c->blocks);
    PUPIL_TRY(pupil_cache_refresh(c));
    if (!cache_holder(c, part, &who)) {
        char word[3][24];
        snprintf(word[0], sizeof word[0], "%lld", (long long)generation);
        snprintf(word[1], sizeof word[1], "%d", rank);
        snprintf(word[2], sizeof word[2], "%lld", (long long)part);
        const char *pairs[] = {"lane", c->lane, "n", word[0], "rank", word[1], "part", word[2], NULL};
        PUPIL_TRY(pupil_journal_append(c->journal_path, "claim", pairs));
        PUPIL_TRY(pupil_cache_refresh(c)); /* another one's line may have been first */
    }
    *ret_mine = cache_holder(c, part, &who) && who.share == strtoll(c->lane, NULL, 10) && who.generation == generation &&
                who.rank == rank;
    return 0;
}
