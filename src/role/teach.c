/* teach.c: a teacher rank. It computes its share of the blocks that are missing, of all teachers, in the order the
 * students will read them, and publishes them segment by segment. Every micro-batch has the same shape whoever computes
 * it, so a block's bytes depend on the teacher and the data alone. */
#include "job.h"

#include <string.h>

/* One of the teachers, as this rank plays it. */
typedef struct {
    job_teacher *who;
    pupil_clip *clip;
    pupil_weights *weights;
    int64_t run; /* samples at once */
    pupil_acts *acts;
    pupil_scratch *scratch;
    batch b;
    float *image, *text; /* [views, rows, dim], [captions, rows, dim] of a block */
    pupil_cache_writer *w;
} part;

typedef struct {
    job *j;
    part part[PUPIL_TEACHERS];
    stream *s;
    int64_t need;        /* places the students have asked for */
    bool ended, graduate, signal_told;
    int64_t left_out;    /* samples without an embedding */
    const int64_t *generation; /* of each teacher's cache */
    int64_t mine, done, passes; /* blocks of this rank; forward passes */
    double began;
} teacher;

/* A part is opened when its first block comes: a rank holds no teacher that it has nothing to do for. */
static int open_part(const teacher *t, part *p)
{
    const job *j = t->j;
    const pupil_arch *a = &p->who->arch;
    const pupil_conf_cache *c = &j->conf->cache;
    int64_t room = j->conf->data.block * a->embed_dim;
    p->clip = pupil_clip_new(a);
    p->run = batch_run(a);
    p->acts = pupil_acts_new(p->clip, p->run, false);
    p->scratch = pupil_scratch_new(p->clip, p->run);
    p->image = pupil_alloc((size_t)(c->views * room) * sizeof *p->image);
    p->text = pupil_alloc((size_t)(c->captions * room) * sizeof *p->text);
    batch_new(&p->b, p->who->tok, a, p->run, p->run);
    PUPIL_TRY(pupil_model_dir_open(p->who->dir, p->clip, &p->weights));
    return pupil_cache_writer_new(p->who->cache, t->generation[p - t->part], pupil_comm_rank(j->world), j->conf->cache.segment_blocks, &p->w);
}

static void close_part(part *p)
{
    if (!p->clip) return;
    pupil_cache_writer_free(&p->w);
    pupil_acts_free(&p->acts);
    pupil_scratch_free(&p->scratch);
    pupil_clip_free(&p->clip);
    pupil_weights_free(&p->weights);
    pupil_free(&p->image);
    pupil_free(&p->text);
    batch_free(&p->b);
}

/* Take in what the students say; tell them of a signal once. */
static int listen_to_students(teacher *t)
{
    int from;
    int64_t word[PUPIL_WORDS];
    if (!t->s) return 0;
    while (pupil_poll(t->s->world, TAG_TO_TEACHERS, &from, word)) {
        if (word[0] == SAY_NEED) t->need = PUPIL_MAX(t->need, word[1]);
        if (word[0] == SAY_GRADUATE) t->graduate = true;
        if (word[0] == SAY_END) t->ended = true;
    }
    if (pupil_signal_seen() && !t->signal_told) {
        t->signal_told = true;
        return pupil_post(t->s->world, 0, TAG_TO_STUDENTS, (int64_t[PUPIL_WORDS]){SAY_SIGNAL});
    }
    return 0;
}

static int say_published(teacher *t, int64_t blocks)
{
    if (!t->s || blocks == 0) return 0;
    return pupil_post(t->s->world, 0, TAG_TO_STUDENTS, (int64_t[PUPIL_WORDS]){SAY_PUBLISHED, blocks});
}

/* All views of n pictures, each decoded once, into rows `at` of a block of `rows`. */
static int forward_views(teacher *t, part *p, const int64_t *sample, int64_t n, int64_t at, int64_t rows)
{
    const pupil_arch *a = &p->who->arch;
    int64_t views = t->j->conf->cache.views;
    if (views > 1) PUPIL_TRY(batch_decode(&p->b, t->j, sample, n));
    for (int64_t v = 0; v < views; v++) {
        PUPIL_TRY(views > 1 ? batch_see(&p->b, t->j, a, sample, v, n) : batch_views(&p->b, t->j, a, sample, NULL, n));
        pupil_image_forward(p->clip, p->weights, p->acts, p->scratch, p->b.images, n, p->image + (v * rows + at) * a->embed_dim);
        PUPIL_TRY(listen_to_students(t));
    }
    return 0;
}

static int forward_captions(teacher *t, part *p, const int64_t *sample, int64_t n, int64_t at, int64_t rows)
{
    int64_t which[BATCH_RUN];
    for (int64_t k = 0; k < t->j->conf->cache.captions; k++) {
        for (int64_t i = 0; i < n; i++) which[i] = k;
        PUPIL_TRY(batch_captions(&p->b, t->j, PUPIL_TRAIN, sample, which, 0, n));
        pupil_text_forward(p->clip, p->weights, p->acts, p->scratch, p->b.ids, p->b.cu, n, p->text + (k * rows + at) * p->who->arch.embed_dim);
    }
    return listen_to_students(t);
}

/* A sample to which the teacher gives no finite embedding has none: its rows become zeros, or it ends the run. */
enum { SAY_MOST = 5 };
static int judge_rows(teacher *t, part *p, int64_t block, int64_t rows)
{
    const pupil_conf *c = t->j->conf;
    int64_t dim = p->who->arch.embed_dim, planes = c->cache.views + c->cache.captions;
    for (int64_t i = 0; i < rows; i++) {
        bool good = true;
        for (int64_t k = 0; k < planes && good; k++)
            good = pupil_floats_finite((k < c->cache.views ? p->image + k * rows * dim : p->text + (k - c->cache.views) * rows * dim) + i * dim, dim);
        if (good) continue;
        long long sample = (long long)(block * c->data.block + i);
        if (!c->data.skip_bad)
            return pupil_fail(PUPIL_ENUMERIC, "%s: block %lld row %lld (sample %lld): the teacher's embedding is not finite; data.on_error: skip goes on "
                              "without the sample", p->who->dir, (long long)block, (long long)i, sample);
        if (t->left_out++ < SAY_MOST)
            pupil_warn("%s: block %lld row %lld (sample %lld): the teacher's embedding is not finite; the sample is left out%s", p->who->dir,
                       (long long)block, (long long)i, sample, t->left_out == SAY_MOST ? "; more such are not named" : "");
        for (int64_t k = 0; k < planes; k++)
            memset((k < c->cache.views ? p->image + k * rows * dim : p->text + (k - c->cache.views) * rows * dim) + i * dim, 0,
                   (size_t)dim * sizeof(float));
    }
    return 0;
}

static int forward_block(teacher *t, part *p, int64_t block)
{
    job *j = t->j;
    int64_t samples = pupil_dataset_count(j->data, PUPIL_TRAIN), first = block * j->conf->data.block;
    int64_t rows = PUPIL_MIN(j->conf->data.block, samples - first), sample[BATCH_RUN];
    if (!p->clip) PUPIL_TRY(open_part(t, p));
    for (int64_t at = 0; at < rows; at += p->run) {
        int64_t n = PUPIL_MIN(p->run, rows - at);
        for (int64_t i = 0; i < n; i++) sample[i] = first + at + i;
        PUPIL_TRY(forward_views(t, p, sample, n, at, rows));
        PUPIL_TRY(forward_captions(t, p, sample, n, at, rows));
        p->who->passes += n;
        t->passes += n;
    }
    PUPIL_TRY(judge_rows(t, p, block, rows));
    int64_t published;
    PUPIL_TRY(pupil_cache_writer_add(p->w, block, p->image, p->text, rows, &published));
    return say_published(t, published);
}

static int flush(teacher *t)
{
    int64_t all = 0;
    for (int k = 0; k < t->j->teachers; k++) {
        int64_t published = 0;
        if (t->part[k].w) PUPIL_TRY(pupil_cache_writer_flush(t->part[k].w, &published));
        all += published;
    }
    return say_published(t, all);
}

/* Do not run further ahead of the students than the high-water mark; what is finished is published first. */
static int hold_back(teacher *t, int64_t place)
{
    if (!t->s || place < t->need + t->j->conf->cache.high_water) return 0;
    PUPIL_TRY(flush(t));
    pupil_par_phase("teacher: waiting at the high-water mark");
    double since = pupil_now();
    for (int64_t seen = t->need; !t->ended && place >= t->need + t->j->conf->cache.high_water;) {
        PUPIL_TRY(listen_to_students(t));
        if (t->need != seen) since = pupil_now();
        seen = t->need;
        pupil_idle(since, "waiting for the students to use the cache (cache.high_water)");
    }
    return 0;
}

static void show(const teacher *t, bool last)
{
    char eta[32];
    double left = t->done ? (pupil_now() - t->began) / (double)t->done * (double)(t->mine - t->done) : -1;
    if (!t->s)
        pupil_progress(last, "cache    block %lld/%lld of this rank   %lld teacher forward passes   ETA %s", (long long)t->done,
                       (long long)t->mine, (long long)t->passes, pupil_duration(left, eta));
}

/* A block of a teacher that is missing; place: when the students will read it. */
typedef struct {
    int64_t place;
    int teacher;
} task;

/* Rank `me`'s share of what is missing, in order of places: of each teacher's missing blocks, every of-th segment; a
 * teacher's first one falls to the rank after the last teacher's. Owned by the caller. */
static task *share_of(const job *j, const pupil_order *o, int me, int of, int64_t *ret_n)
{
    int64_t blocks = pupil_order_blocks(o), seg = j->conf->cache.segment_blocks, n = 0, missing[PUPIL_TEACHERS] = {0};
    task *mine = pupil_alloc((size_t)(blocks * j->teachers) * sizeof *mine);
    for (int64_t place = 0; place < blocks; place++)
        for (int k = 0; k < j->teachers; k++) {
            if (pupil_cache_has(j->teacher[k].cache, pupil_order_block(o, 0, place))) continue;
            if ((missing[k]++ / seg + k) % of == me) mine[n++] = (task){place, k};
        }
    *ret_n = n;
    return mine;
}

static int fill(teacher *t, int me, int of)
{
    job *j = t->j;
    pupil_order o = job_order(j, (uint64_t)j->conf->student.train.seed);
    task *mine = share_of(j, &o, me, of, &t->mine);
    int r = 0;
    for (int64_t i = 0; i < t->mine && r == 0 && !t->ended; i++) {
        pupil_par_phase("teacher: computing a block");
        r = hold_back(t, mine[i].place);
        if (r == 0 && !t->ended) r = forward_block(t, &t->part[mine[i].teacher], pupil_order_block(&o, 0, mine[i].place));
        t->done++;
        if (r == 0) show(t, t->done == t->mine);
        if (r == 0 && !t->s && pupil_signal_seen()) r = pupil_fail(PUPIL_ESTOP, "stopped on a signal; what is published stays");
    }
    pupil_free(&mine);
    int flushed = r == 0 || r == PUPIL_ESTOP ? flush(t) : 0;
    return r < 0 ? r : flushed;
}

/* Several jobs fill the caches (cache.share): part after part of the order is claimed, and what others hold is left to
 * them. The jobs begin with different teachers. */
static int fill_part(teacher *t, const pupil_order *o, int k, int64_t at)
{
    const job *j = t->j;
    pupil_cache *c = j->teacher[k].cache;
    int64_t seg = j->conf->cache.segment_blocks, end = PUPIL_MIN(at + seg, pupil_order_blocks(o));
    while (at < end && pupil_cache_has(c, pupil_order_block(o, 0, at))) at++;
    bool mine = false;
    if (at < end) PUPIL_TRY(pupil_cache_claim(c, t->generation[k], pupil_comm_rank(j->world), at / seg, &mine));
    for (; mine && at < end; at++) {
        int64_t block = pupil_order_block(o, 0, at);
        if (pupil_signal_seen()) return pupil_fail(PUPIL_ESTOP, "stopped on a signal; what is published stays");
        if (!pupil_cache_has(c, block)) PUPIL_TRY(forward_block(t, &t->part[k], block));
    }
    return mine ? flush(t) : 0;
}

static int fill_shared(teacher *t)
{
    job *j = t->j;
    pupil_order o = job_order(j, (uint64_t)j->conf->student.train.seed);
    int64_t blocks = pupil_order_blocks(&o), seg = j->conf->cache.segment_blocks;
    int r = 0;
    t->mine = blocks * j->teachers;
    pupil_par_phase("teacher: computing a block");
    for (int i = 0; i < j->teachers && r == 0; i++)
        for (int64_t at = 0; at < blocks && r == 0; at += seg) {
            r = fill_part(t, &o, (int)((i + j->conf->cache.share) % j->teachers), at);
            t->done += PUPIL_MIN(seg, blocks - at);
            if (r == 0) show(t, t->done == t->mine);
        }
    int flushed = r == PUPIL_ESTOP ? flush(t) : 0;
    return r < 0 ? r : flushed;
}

int teach_fill(job *j, int me, int of, const int64_t generation[PUPIL_TEACHERS], stream *s, taught *ret)
{
    teacher t = {.j = j, .s = s, .generation = generation, .began = pupil_now()};
    for (int k = 0; k < j->teachers; k++) t.part[k].who = &j->teacher[k];
    int r = j->conf->cache.share ? fill_shared(&t) : fill(&t, me, of);
    *ret = TAUGHT_ALL;
    if (r == 0 && s) {
        r = pupil_post(s->world, 0, TAG_TO_STUDENTS, (int64_t[PUPIL_WORDS]){SAY_DONE});
        pupil_par_phase("teacher: done, waiting to graduate");
        while (r == 0 && !t.ended && !t.graduate) { /* students train meanwhile: their own waits are bounded */
            r = listen_to_students(&t);
            pupil_idle(pupil_now(), "waiting to graduate");
        }
        *ret = t.graduate ? TAUGHT_UNTIL_GRADUATION : TAUGHT_UNTIL_END;
    }
    for (int k = 0; k < j->teachers; k++) close_part(&t.part[k]);
    return r;
}
