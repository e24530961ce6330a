/* teach.c: a teacher rank. It computes its share of the blocks that are missing, in the order the students will
 * read them, and publishes them segment by segment. Every micro-batch has the same shape whoever computes it,
 * so a block's bytes depend on the teacher and the data alone. */
#include "job.h"

#include <string.h>

typedef struct {
    job *j;
    pupil_clip *clip;
    pupil_weights *weights;
    int64_t run; /* samples at once */
    pupil_acts *acts;
    pupil_scratch *scratch;
    batch b;
    float *image, *text; /* [block, dim] */
    pupil_cache_writer *w;
    stream *s;
    int64_t need;        /* places the students have asked for */
    bool ended, graduate, signal_told;
    int64_t mine, done;  /* blocks of this rank */
    double began;
} teacher;

static int open_teacher(teacher *t, int64_t generation)
{
    job *j = t->j;
    int64_t room = j->conf->data.block * j->teacher_arch.embed_dim;
    t->clip = pupil_clip_new(&j->teacher_arch);
    t->run = batch_run(&j->teacher_arch);
    t->acts = pupil_acts_new(t->clip, t->run, false);
    t->scratch = pupil_scratch_new(t->clip, t->run);
    t->image = pupil_alloc((size_t)room * sizeof *t->image);
    t->text = pupil_alloc((size_t)room * sizeof *t->text);
    batch_new(&t->b, j->teacher_tok, &j->teacher_arch, t->run);
    PUPIL_TRY(pupil_model_dir_open(j->conf->teacher.dir, t->clip, &t->weights));
    return pupil_cache_writer_new(j->cache, generation, pupil_comm_rank(j->world), j->conf->cache.segment_blocks, &t->w);
}

static void close_teacher(teacher *t)
{
    pupil_cache_writer_free(&t->w);
    pupil_acts_free(&t->acts);
    pupil_scratch_free(&t->scratch);
    pupil_clip_free(&t->clip);
    pupil_weights_free(&t->weights);
    pupil_free(&t->image);
    pupil_free(&t->text);
    batch_free(&t->b);
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

static int forward_block(teacher *t, int64_t block)
{
    job *j = t->j;
    int64_t samples = pupil_dataset_count(j->data, PUPIL_TRAIN), first = block * j->conf->data.block;
    int64_t rows = PUPIL_MIN(j->conf->data.block, samples - first), dim = j->teacher_arch.embed_dim;
    int64_t sample[BATCH_RUN];
    for (int64_t at = 0; at < rows; at += t->run) {
        int64_t n = PUPIL_MIN(t->run, rows - at);
        for (int64_t i = 0; i < n; i++) sample[i] = first + at + i;
        PUPIL_TRY(batch_views(&t->b, j, &j->teacher_arch, sample, n));
        PUPIL_TRY(batch_captions(&t->b, j, PUPIL_TRAIN, sample, n));
        pupil_image_forward(t->clip, t->weights, t->acts, t->scratch, t->b.images, n, t->image + at * dim);
        pupil_text_forward(t->clip, t->weights, t->acts, t->scratch, t->b.ids, t->b.cu, n, t->text + at * dim);
        j->teacher_passes += n;
        PUPIL_TRY(listen_to_students(t));
    }
    int64_t published;
    PUPIL_TRY(pupil_cache_writer_add(t->w, block, t->image, t->text, rows, &published));
    return say_published(t, published);
}

static int flush(teacher *t)
{
    int64_t published;
    PUPIL_TRY(pupil_cache_writer_flush(t->w, &published));
    return say_published(t, published);
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
                       (long long)t->mine, (long long)t->j->teacher_passes, pupil_duration(left, eta));
}

/* The places of epoch 0 whose blocks are missing, in order; owned by the caller. */
static int64_t *missing_places(const job *j, const pupil_order *o, int64_t *ret_n)
{
    int64_t blocks = pupil_order_blocks(o), n = 0, *place = pupil_alloc((size_t)blocks * sizeof *place);
    for (int64_t k = 0; k < blocks; k++)
        if (!pupil_cache_has(j->cache, pupil_order_block(o, 0, k))) place[n++] = k;
    *ret_n = n;
    return place;
}

static int fill(teacher *t, int me, int of)
{
    job *j = t->j;
    pupil_order o = job_order(j, (uint64_t)j->conf->student.train.seed);
    int64_t n, *place = missing_places(j, &o, &n), seg = j->conf->cache.segment_blocks, r = 0;
    for (int64_t i = 0; i < n; i++) t->mine += i / seg % of == me;
    for (int64_t i = 0; i < n && r == 0 && !t->ended; i++) {
        if (i / seg % of != me) continue;
        pupil_par_phase("teacher: computing a block");
        r = hold_back(t, place[i]);
        if (r == 0 && !t->ended) r = forward_block(t, pupil_order_block(&o, 0, place[i]));
        t->done++;
        if (r == 0) show(t, t->done == t->mine);
        if (r == 0 && !t->s && pupil_signal_seen()) r = pupil_fail(PUPIL_ESTOP, "stopped on a signal; what is published stays");
    }
    pupil_free(&place);
    int flushed = r == 0 || r == PUPIL_ESTOP ? flush(t) : 0;
    return r < 0 ? (int)r : flushed;
}

int teach_fill(job *j, int me, int of, int64_t generation, stream *s, taught *ret)
{
    teacher t = {.j = j, .s = s, .began = pupil_now()};
    int r = open_teacher(&t, generation);
    if (r == 0) r = fill(&t, me, of);
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
    close_teacher(&t);
    return r;
}
