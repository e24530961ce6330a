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
    void *raw[SIDES]; /* a block as it will be stored */
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
    w->capacity = PUPIL_MIN(PUPIL_MAX(segment_blocks, (int64_t)1), (int64_t)SEGMENT_BLOCKS_MOST);
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
    w->g.crc = pupil_alloc(n * sizeof *w->g.crc);
    for (int k = 0; k < SIDES; k++) w->raw[k] = pupil_alloc(shape_chunk_bytes(&c->shape));
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
}

void pupil_cache_writer_free(pupil_cache_writer **pw)
{
    pupil_cache_writer *w = *pw;
    if (!w) return;
    discard(w);
    pupil_free(&w->g.block);
    pupil_free(&w->g.rows);
    pupil_free(&w->g.crc);
    for (int k = 0; k < SIDES; k++) pupil_free(&w->raw[k]);
    pupil_free(pw);
}

/* Convert one side into w->raw. */
static int pack(pupil_cache_writer *w, int side, const float *x, int64_t block, int64_t rows)
{
    const pupil_cache_shape *s = &w->c->shape;
    const int64_t n = rows * s->dim;
    int64_t good = 0;
    if (!s->f32) {
        good = pupil_f16_pack(w->raw[side], x, n);
    } else {
        memcpy(w->raw[side], x, (size_t)n * sizeof *x);
        good = pupil_floats_finite(x, n) ? n : 0;
        while (good < n && isfinite(x[good])) good++;
    }
    if (good < n)
        return pupil_fail(
            PUPIL_ENUMERIC, "block %lld row %lld (sample %lld): the %s embedding holds %g, %s",
            (long long)block, (long long)(good / s->dim), (long long)(block * s->block + good / s->dim),
            side == IMAGE ? "image" : "text", (double)x[good],
            isfinite(x[good]) ? "too large for float16: store as float32" : "which is not finite");
    size_t used = (size_t)n * shape_value_bytes(s);
    memset((char *)w->raw[side] + used, 0, shape_chunk_bytes(s) - used);
    return 0;
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
    for (int k = 0; k < SIDES; k++) {
        w->g.crc[place][k] = pupil_crc32c(0, w->raw[k], shape_chunk_bytes(&w->c->shape));
        PUPIL_TRY(pupil_fault("seg.write"));
        PUPIL_TRY(seg_write(&w->f, &w->c->shape, place, k, w->raw[k]));
    }
    w->g.block[place] = block;
    w->g.rows[place] = rows;
    w->g.n++;
    return 0;
}

static int append_record(const pupil_cache_writer *w)
{
    const segment *g = &w->g;
    char generation[24], bytes[24], head[40];
    pupil_buf blocks = {0}, rows = {0}, crcs = {0};
    snprintf(generation, sizeof generation, "%lld", (long long)w->generation);
    snprintf(bytes, sizeof bytes, "%lld", (long long)g->bytes);
    snprintf(head, sizeof head, "%lld/%08x", (long long)g->head, g->head_crc);
    for (int64_t i = 0; i < g->n; i++) {
        const char *comma = i ? "," : "";
        pupil_buf_printf(&blocks, "%s%lld", comma, (long long)g->block[i]);
        pupil_buf_printf(&rows, "%s%lld", comma, (long long)g->rows[i]);
        pupil_buf_printf(&crcs, "%s%08x/%08x", comma, g->crc[i][IMAGE], g->crc[i][TEXT]);
    }
    const char *pairs[] = {"lane", w->c->lane, "n",      generation, "file", g->file, "bytes", bytes, "head",
                           head,   "blocks", blocks.s, "rows",     rows.s, "crcs",  crcs.s,  NULL};
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
    PUPIL_TRY(pack(w, IMAGE, image, block, rows));
    PUPIL_TRY(pack(w, TEXT, text, block, rows));
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
