/* load.c: what the slots of a step see, as pure functions of (seed, epoch, step): samples in their order, the view and the
 * captions whose embeddings the teachers gave, and those embeddings. In an epoch all samples of a block are seen by the same
 * view and captions, so a step reads few planes of a block; over the epochs all come in turn. */
#include "trainer.h"

#include <stdlib.h>
#include <string.h>

/* ---- which view, which captions --------------------------------------------------------------------- */
typedef struct {
    int64_t sample, view, caption[2]; /* of the caches */
} seen;

static seen see_sample(const trainer *t, int64_t epoch, int64_t sample)
{
    const pupil_conf_cache *c = &t->j->conf->cache;
    int64_t turn = epoch + sample / t->order.block;
    seen s = {.sample = sample, .view = turn % c->views};
    if (t->captions == 1) s.caption[0] = turn % c->captions;
    else if (c->captions > 1) s.caption[1] = 1 + turn % (c->captions - 1); /* its own, and one of the others */
    return s;
}

/* The student's own view of a sample: the teachers', or one that no cache holds. */
static int64_t student_view(const trainer *t, const seen *s, int64_t epoch)
{
    const pupil_conf_cache *c = &t->j->conf->cache;
    return c->independent_views ? c->views + epoch : s->view;
}

/* ---- what the teachers say of it ---------------------------------------------------------------------- */
/* Row of one embedding, borrowed until other planes are read. */
static int teacher_row(const trainer *t, int k, int side, int64_t which, int64_t sample, const float **ret)
{
    pupil_cache *cache = t->j->teacher[k].cache;
    int64_t block = sample / t->order.block, rows;
    const float *plane;
    if (!pupil_cache_has(cache, block)) PUPIL_TRY(pupil_cache_refresh(cache));
    PUPIL_TRY(pupil_cache_read(cache, block, side, (int)which, &plane, &rows));
    *ret = plane + sample % t->order.block * t->lc.teacher[k].dim;
    return 0;
}

static bool is_there(const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (x[i] != 0) return true;
    return false;
}

/* Embeddings of all teachers of one sample into row `at`; *ret_sound: all of them gave it one. */
static int load_teachers(trainer *t, const seen *s, int64_t at, bool *ret_sound)
{
    *ret_sound = true;
    for (int k = 0; k < t->lc.teachers; k++) {
        int64_t dim = t->lc.teacher[k].dim;
        for (int part = 0; part <= t->captions; part++) { /* image, texts */
            const float *row;
            PUPIL_TRY(teacher_row(t, k, part > 0, part ? s->caption[part - 1] : s->view, s->sample, &row));
            memcpy(t->teacher[k][part] + at * dim, row, (size_t)dim * sizeof *row);
            *ret_sound &= is_there(row, dim);
        }
    }
    return 0;
}

/* The sample of this position or, where a teacher gave it no embedding (data.on_error: skip), the next of its block that
 * has them all: pictures, captions and embeddings are then those of the substitute. */
static int load_sample(trainer *t, int64_t epoch, int64_t sample, int64_t at, seen *ret)
{
    int64_t first = sample / t->order.block * t->order.block, rows = PUPIL_MIN(t->order.block, t->order.samples - first);
    for (int64_t i = 0; i < rows; i++) {
        bool sound;
        *ret = see_sample(t, epoch, first + (sample - first + i) % rows);
        PUPIL_TRY(load_teachers(t, ret, at, &sound));
        if (sound) return 0;
        t->substituted++;
    }
    return pupil_fail(PUPIL_ENUMERIC, "block %lld: the teachers gave no sample of it an embedding", (long long)(first / t->order.block));
}

int64_t trainer_substituted(const trainer *t) { return t->substituted; }

/* ---- which patches ------------------------------------------------------------------------------------ */
static int ascending(const void *a, const void *b) { return *(const int32_t *)a - *(const int32_t *)b; }

/* The patches that are seen of a sample in an epoch: the first of a permutation of its own. */
static void draw_patches(const trainer *t, int64_t sample, int64_t epoch, int32_t *patch)
{
    uint64_t which = (uint64_t)(epoch * t->order.samples + sample), all = (uint64_t)pupil_arch_patches(&t->arch);
    for (int64_t i = 0; i < t->kept; i++)
        patch[i] = (int32_t)pupil_permute((uint64_t)t->c->seed, PUPIL_STREAM_PATCHES, which, all, (uint64_t)i);
    qsort(patch, (size_t)t->kept, sizeof *patch, ascending);
}

/* ---- slots -------------------------------------------------------------------------------------------- */
static int load_slot(trainer *t, int64_t k, int64_t epoch, int64_t pos)
{
    int64_t *sample = pupil_alloc((size_t)t->rows * sizeof *sample), *view = pupil_alloc((size_t)t->rows * sizeof *view),
            *caption[2] = {pupil_alloc((size_t)t->rows * sizeof **caption), pupil_alloc((size_t)t->rows * sizeof **caption)};
    int r = 0;
    for (int64_t i = 0; i < t->rows && r == 0; i++) {
        seen s = {0};
        r = load_sample(t, epoch, pupil_order_sample(&t->order, epoch, pos + (t->first + k) * t->rows + i), k * t->rows + i, &s);
        if (r < 0) break;
        sample[i] = s.sample;
        if (t->kept) draw_patches(t, s.sample, epoch, t->patch + (k * t->rows + i) * t->kept);
        view[i] = student_view(t, &s, epoch);
        for (int c = 0; c < t->captions; c++) caption[c][i] = s.caption[c];
    }
    if (r == 0) r = batch_views(&t->b[k], t->j, &t->arch, sample, view, t->rows);
    for (int c = 0; c < t->captions && t->arch.text.layers && r == 0; c++)
        r = batch_captions(&t->b[k], t->j, PUPIL_TRAIN, sample, caption[c], c * t->rows, t->rows);
    pupil_free(&sample);
    pupil_free(&view);
    for (int c = 0; c < 2; c++) pupil_free(&caption[c]);
    return r;
}

/* The pictures of the next step are on their way while this one is computed. */
static void expect_next(const trainer *t)
{
    int64_t epoch, pos = trainer_position(t, t->step + 1, &epoch);
    if (t->step + 1 >= t->c->steps) return;
    for (int64_t i = 0; i < t->slots * t->rows; i++)
        pupil_dataset_expect(t->j->data, PUPIL_TRAIN, pupil_order_sample(&t->order, epoch, pos + t->first * t->rows + i));
}

int trainer_load(trainer *t)
{
    int64_t epoch, pos = trainer_position(t, t->step, &epoch);
    int r = 0;
    for (int64_t k = 0; k < t->slots && r == 0; k++) r = load_slot(t, k, epoch, pos);
    if (r == 0) expect_next(t);
    return pupil_agree(t->comm, r);
}
