/* train.c: a training from its first or last saved step to its end. The same loop trains students from the cache
 * and a teacher from scratch. Every step starts with one agreement on what all ranks do: go on, wait for blocks,
 * save, stop, or take in the teacher ranks that have graduated. */
#include "trainer.h"

#include "pupil/ckpt.h"
#include "pupil/math.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int64_t trainer_epoch_steps(const trainer *t) { return PUPIL_MAX((int64_t)1, t->order.samples / t->c->batch_size); }

int64_t trainer_position(const trainer *t, int64_t step, int64_t *ret_epoch)
{
    *ret_epoch = step / trainer_epoch_steps(t);
    return step % trainer_epoch_steps(t) * t->c->batch_size;
}

const pupil_clip *trainer_clip(const trainer *t) { return t->clip; }

/* The model to score and to export. */
const float *trainer_params(const trainer *t)
{
    if (!t->ema) return t->params;
    memcpy(t->averaged, t->params, (size_t)t->table->total * sizeof *t->params);
    for (int64_t i = 0; i < t->nruns; i++)
        memcpy(t->averaged + t->runs[i].offset + t->runs[i].shift, t->ema + t->runs[i].offset, (size_t)t->runs[i].count * sizeof *t->ema);
    return t->averaged;
}

int trainer_fuse(trainer *t, pupil_clip **ret_clip, float **ret_params)
{
    const float *params = trainer_params(t);
    pupil_arch a = pupil_masks_arch(t->clip, &t->masks, params);
    *ret_clip = pupil_clip_new(&a);
    *ret_params = pupil_alloc((size_t)pupil_clip_table(*ret_clip)->total * sizeof **ret_params);
    pupil_info("student: MLPs of %lld (image) and %lld (text) channels are left of %lld and %lld", (long long)a.image.mlp,
               (long long)a.text.mlp, (long long)t->arch.image.mlp, (long long)t->arch.text.mlp);
    return pupil_masks_fuse(t->clip, &t->masks, params, *ret_clip, *ret_params);
}

/* As a cache's identity tells a number: the same from a computed and from an imported cache. */
static double as_told(double x)
{
    char text[32];
    snprintf(text, sizeof text, "%.9g", x);
    return strtod(text, NULL);
}

/* One pair of towers learns from the caches of all teachers, or (a teacher that is trained here) from the pairs alone. */
static void set_loss(trainer *t, bool teacher)
{
    t->lc = (pupil_loss_conf){.batch = t->c->batch_size, .slots = t->c->slots, .dim = t->arch.embed_dim};
    if (teacher) {
        t->lc.term[PUPIL_TERM_TASK].weight = 1;
        return;
    }
    pupil_role_loss_terms(&t->j->conf->loss, &t->lc);
    t->lc.captions = (int)t->j->conf->loss.captions;
    if (!t->j->plan.distils) return;
    t->lc.teachers = t->j->teachers;
    for (int k = 0; k < t->j->teachers; k++) {
        const job_teacher *j = &t->j->teacher[k];
        double scale = j->given_scale > 0 ? j->given_scale : as_told(j->scale);
        t->lc.teacher[k] = (pupil_loss_teacher){j->dim, scale, as_told(j->bias), j->weight};
    }
}

/* The loss's own parameters join the model's table: initialised, reduced, advanced and saved like the rest. */
static void add_loss_tensors(trainer *t)
{
    pupil_loss_tensor tensor[PUPIL_LOSS_TENSORS];
    t->at_scale = pupil_clip_scale_offset(t->clip);
    t->loss_tensors = pupil_loss_tensors(&t->lc, tensor);
    for (int i = 0; i < t->loss_tensors; i++)
        t->at_loss[i] = pupil_table_add(t->table, tensor[i].name, tensor[i].ndim, tensor[i].dim,
                                        tensor[i].normal ? PUPIL_INIT_NORMAL : PUPIL_INIT_CONST, tensor[i].init);
}

pupil_loss_params trainer_loss_params(const trainer *t, float *base)
{
    pupil_loss_params p = {.logit_scale = base + t->at_scale};
    for (int i = 0; i < t->loss_tensors; i++) p.tensor[i] = base + t->at_loss[i];
    return p;
}

static void comm_close(trainer *t)
{
    pupil_slot_sum_free(&t->sum);
    pupil_loss_free(&t->loss);
    for (int64_t k = 0; t->acts && k < (t->c->recompute ? 1 : t->slots); k++) pupil_acts_free(&t->acts[k]);
    for (int64_t k = 0; t->b && k < t->slots; k++) batch_free(&t->b[k]);
    pupil_free(&t->acts);
    pupil_free(&t->b);
    pupil_scratch_free(&t->scratch);
    pupil_free(&t->range);
    pupil_free(&t->bytes);
    pupil_free(&t->chunk);
    pupil_free(&t->patch);
    pupil_free(&t->value);
    for (int s = 0; s < 2; s++) {
        pupil_free(&t->feat[s]);
        pupil_free(&t->dfeat[s]);
    }
    for (int k = 0; k < t->lc.teachers; k++)
        for (int s = 0; s < PUPIL_LOSS_STREAMS; s++) pupil_free(&t->teacher[k][s]);
}

static float *floats(int64_t n) { return pupil_alloc((size_t)n * sizeof(float)); }

/* The parameters move on with rank 0. */
static int params_open(trainer *t, pupil_comm *c)
{
    pupil_shared *before = t->shared;
    const float *from = t->params;
    PUPIL_TRY(pupil_shared_new(c, t->grads ? PUPIL_REDUCE_MESSAGES : t->j->conf->ranks.reduce, t->table->total, &t->shared));
    t->params = pupil_shared_data(t->shared);
    if (from && pupil_comm_rank(c) == 0) memcpy(t->params, from, (size_t)t->table->total * sizeof *t->params);
    pupil_shared_free(&before);
    pupil_weights_free(&t->weights);
    t->weights = pupil_weights_flat(t->masked ? t->masked : t->params);
    return 0;
}

/* All that depends on who the ranks are. Collective over c. */
static int comm_open(trainer *t, pupil_comm *c)
{
    int size = pupil_comm_size(c), me = pupil_comm_rank(c);
    comm_close(t);
    PUPIL_TRY(params_open(t, c));
    t->comm = c;
    t->rows = t->c->batch_size / t->c->slots;
    t->first = pupil_slot_first(t->c->slots, size, me);
    t->slots = pupil_slot_first(t->c->slots, size, me + 1) - t->first;
    t->range = pupil_alloc((size_t)(size + 1) * sizeof *t->range);
    t->bytes = pupil_alloc((size_t)(size + 1) * sizeof *t->bytes);
    pupil_optim_ranges(t->advanced, size, t->range);
    t->chunk = pupil_alloc((size_t)(t->advanced / PUPIL_CHUNK + 2) * sizeof *t->chunk);
    t->value = pupil_alloc((size_t)(t->c->slots * PUPIL_TERMS) * sizeof *t->value);
    PUPIL_TRY(pupil_slot_sum_new(c, t->j->conf->ranks.reduce, t->c->slots, t->advanced, t->range, t->j->conf->ranks.bucket_kib * 256, &t->sum));
    if (t->j->conf->ranks.reduce != PUPIL_REDUCE_MESSAGES && size > 1 && pupil_slot_sum_nodes(t->sum) == size && pupil_par_node_ranks() > 1 && me == 0)
        pupil_warn("%s: no room for %lld parameters a rank in the nodes' shared memory (/dev/shm): gradients travel in messages", t->name,
                   (long long)t->advanced);
    t->loss = pupil_loss_new(&t->lc);
    t->scratch = pupil_scratch_new(t->clip, t->captions * t->rows);
    pupil_scratch_tell(t->scratch, (pupil_grads_final){trainer_final, t});
    int64_t nacts = t->c->recompute ? 1 : t->slots, own = PUPIL_MAX((int64_t)1, t->slots) * t->rows;
    t->acts = pupil_alloc((size_t)(nacts + 1) * sizeof *t->acts);
    for (int64_t k = 0; k < nacts; k++) t->acts[k] = pupil_acts_new_captions(t->clip, t->rows, t->captions, true);
    t->b = pupil_alloc((size_t)(t->slots + 1) * sizeof *t->b);
    for (int64_t k = 0; k < t->slots; k++) batch_new(&t->b[k], t->tok, &t->arch, t->rows, t->captions * t->rows);
    if (t->kept) t->patch = pupil_alloc((size_t)(own * t->kept) * sizeof *t->patch);
    for (int s = 0; s < 2; s++) {
        int64_t texts = s ? t->captions : 1;
        t->feat[s] = floats(own * texts * t->arch.embed_dim);
        t->dfeat[s] = floats(t->rows * texts * t->arch.embed_dim);
    }
    for (int k = 0; k < t->lc.teachers; k++)
        for (int s = 0; s <= t->captions; s++) t->teacher[k][s] = floats(own * t->lc.teacher[k].dim);
    return 0;
}

int64_t trainer_patches(const pupil_conf_train *c, const pupil_arch *a)
{
    return PUPIL_MAX((int64_t)1, (int64_t)((double)pupil_arch_patches(a) * (1 - c->patch_dropout)));
}

int trainer_freeze(const pupil_conf_train *c, const char *name, pupil_clip *clip)
{
    for (int i = 0; i < c->freeze.n; i++) PUPIL_TRY(pupil_context(pupil_clip_freeze(clip, c->freeze.item[i]), "%s.train.freeze", name));
    if (c->patch_dropout > 0 && pupil_clip_arch(clip)->rope)
        return pupil_fail(PUPIL_EUSER, "%s.train.patch_dropout: not for a model with rotary positions", name);
    const pupil_table *t = pupil_clip_table(clip);
    for (int64_t i = 0; i < t->n; i++)
        if (!t->t[i].frozen) return 0;
    return pupil_fail(PUPIL_EUSER, "%s.train.freeze: nothing is left to be trained", name);
}

/* What is not frozen, one tensor after the other: as in the table where nothing is. */
static void list_runs(trainer *t)
{
    t->runs = pupil_alloc((size_t)t->table->n * sizeof *t->runs);
    for (int64_t i = 0; i < t->table->n; i++) {
        const pupil_tensor *x = &t->table->t[i];
        if (x->frozen) continue;
        double lr = t->prunes && x->offset >= t->masks.first ? t->j->conf->student.prune.lr : 0;
        t->runs[t->nruns++] = (pupil_decay_run){t->advanced, x->count, x->decay, x->offset - t->advanced, lr};
        t->advanced += (i + 1 < t->table->n ? t->table->t[i + 1].offset : t->table->total) - x->offset;
    }
}

int trainer_new(job *j, bool teacher, pupil_comm *c, trainer **ret)
{
    trainer *t = pupil_alloc(sizeof *t);
    t->j = j;
    t->c = teacher ? &j->conf->teacher.train : &j->conf->student.train;
    t->is_teacher = teacher;
    t->name = teacher ? "teacher" : "student";
    t->arch = teacher ? j->teacher[0].arch : start_trained(j->conf, &j->student_arch);
    t->tok = teacher ? j->teacher[0].tok : j->tok;
    t->dir = pupil_strdup(teacher ? j->conf->teacher.dir : j->conf->run.dir);
    t->ckpt_dir = pupil_join(t->dir, "checkpoints");
    static const char *const teacher_keys[] = {"teacher.model", "teacher.train", "data", "tokenizer"};
    static const char *const student_keys[] = {"student", "loss", "data", "tokenizer"};
    job_digest(j, teacher ? teacher_keys : student_keys, 4, t->digest);
    for (int k = 0; k < j->teachers && !teacher && j->plan.distils; k++) {
        char all[320];
        snprintf(all, sizeof all, "%s %s weight %.17g scale %.17g", t->digest, j->teacher[k].cache_identity, j->teacher[k].weight,
                 j->teacher[k].given_scale);
        pupil_sha256_of(all, strlen(all), t->digest);
    }
    if (!teacher && j->start_digest[0]) {
        char all[160];
        snprintf(all, sizeof all, "%s begins with %s", t->digest, j->start_digest);
        pupil_sha256_of(all, strlen(all), t->digest);
    }
    t->clip = pupil_clip_new(&t->arch);
    t->table = pupil_clip_table(t->clip);
    set_loss(t, teacher);
    t->captions = PUPIL_MAX(1, t->lc.captions);
    add_loss_tensors(t);
    t->prunes = !teacher && j->conf->student.prune.target > 0;
    if (t->prunes) pupil_masks_add(t->clip, &t->masks);
    int r = trainer_freeze(t->c, t->name, t->clip);
    list_runs(t);
    if (t->prunes) t->masked = floats(t->table->total);
    t->m = floats(t->advanced);
    t->v = floats(t->advanced);
    if (t->advanced < t->table->total) t->grads = floats(t->table->total);
    if (t->c->ema > 0) {
        t->ema = floats(t->advanced);
        t->averaged = floats(t->table->total);
    }
    t->order = job_order(j, (uint64_t)t->c->seed);
    if (t->c->patch_dropout > 0) t->kept = trainer_patches(t->c, &t->arch);
    if (r == 0 && t->order.samples < t->c->batch_size)
        r = pupil_fail(PUPIL_EUSER, "%s.train.batch_size is %lld, but there are only %lld training samples", t->name,
                       (long long)t->c->batch_size, (long long)t->order.samples);
    *ret = t;
    return r < 0 ? r : comm_open(t, c);
}

void trainer_free(trainer **tp)
{
    trainer *t = *tp;
    if (!t) return;
    comm_close(t);
    metrics_close(&t->log);
    trace_close(&t->trace);
    pupil_clip_free(&t->clip);
    pupil_weights_free(&t->weights);
    pupil_shared_free(&t->shared);
    pupil_free(&t->m);
    pupil_free(&t->v);
    pupil_free(&t->ema);
    pupil_free(&t->averaged);
    pupil_free(&t->masked);
    pupil_free(&t->grads);
    pupil_free(&t->runs);
    pupil_free(&t->dir);
    pupil_free(&t->ckpt_dir);
    pupil_free(tp);
}

static pupil_state state_of(trainer *t)
{
    return (pupil_state){t->table, t->params, t->m, t->v, t->ema, t->advanced, t->step, t->digest};
}

static int open_trace(trainer *t)
{
    t->traced = t->step + t->j->conf->run.trace_steps;
    if (t->traced == t->step) return 0;
    char *path = pupil_join(t->dir, "trace.json");
    int r = trace_open(path, pupil_comm_rank(t->comm) == 0, t->c->slots, &t->trace);
    pupil_free(&path);
    return r;
}

/* Rank 0 keeps the metrics. */
static int open_log(trainer *t)
{
    PUPIL_TRY(open_trace(t));
    if (pupil_comm_rank(t->comm) != 0) return 0;
    char *path = pupil_join(t->dir, "metrics.jsonl");
    int r = metrics_open(path, t->step, &t->log);
    pupil_free(&path);
    return r;
}

int trainer_start(trainer *t)
{
    pupil_state s = state_of(t);
    bool found;
    PUPIL_TRY(pupil_ckpt_generation(t->comm, t->ckpt_dir, &t->generation));
    PUPIL_TRY(pupil_ckpt_load(t->comm, t->ckpt_dir, &s, t->range, &found));
    if (found) {
        t->step = s.step;
        pupil_info("%s: resuming after step %lld of %lld", t->name, (long long)t->step, (long long)t->c->steps);
    } else {
        int of, part = pupil_shared_part(t->shared, &of);
        pupil_table_init_part(t->table, (uint64_t)t->c->seed, part, of, t->params);
        PUPIL_TRY(pupil_barrier(t->comm));
        if (!t->is_teacher) PUPIL_TRY(start_load(t->j, t->comm, t->clip, t->params));
        for (int64_t i = 0; i < t->nruns && t->ema; i++)
            memcpy(t->ema + t->runs[i].offset, t->params + t->runs[i].offset + t->runs[i].shift, (size_t)t->runs[i].count * sizeof *t->ema);
    }
    return pupil_agree(t->comm, open_log(t)); /* all have written what they share */
}

/* What each rank has advanced, to rank 0. */
static int collect_state(trainer *t)
{
    float *const each[] = {t->m, t->v, t->ema};
    for (int p = 0; p <= pupil_comm_size(t->comm); p++) t->bytes[p] = (size_t)t->range[p] * sizeof(float);
    for (int i = 0; i < PUPIL_COUNT(each); i++)
        if (each[i]) PUPIL_TRY(pupil_collect_ranges(t->comm, each[i], t->bytes));
    return 0;
}

static int save(trainer *t)
{
    PUPIL_TRY(collect_state(t));
    pupil_state s = state_of(t);
    return pupil_ckpt_save(t->comm, t->ckpt_dir, t->generation, &s, t->j->conf->run.keep_checkpoints);
}

/* The whole state from world rank 0 to everyone. Collective over the world. */
static int share_state(trainer *t)
{
    pupil_state s = state_of(t);
    PUPIL_TRY(pupil_bcast(t->j->world, &t->generation, sizeof t->generation, 0));
    PUPIL_TRY(pupil_ckpt_share(t->j->world, &s, t->range));
    t->step = s.step;
    return pupil_barrier(t->j->world); /* all have written what they share */
}

int trainer_join(trainer *t) { return share_state(t); }

/* Students' side of graduation: from the next step on, all ranks of the world are students. */
static int take_in_teachers(trainer *t)
{
    trace_close(&t->trace); /* teacher ranks have none */
    PUPIL_TRY(collect_state(t));
    PUPIL_TRY(comm_open(t, t->j->world));
    pupil_info("student: the cache is whole; teacher ranks join at step %lld: %d student ranks", (long long)t->step + 1,
               pupil_comm_size(t->comm));
    return share_state(t);
}

/* What the ranks agree on before a step. */
enum { STOP, SAVE, GRADUATE, WAIT, SILENCE, WORDS };

/* Are the blocks of the next step published? (rank 0 of the students, split mode) */
static bool blocks_ready(trainer *t, stream *s)
{
    int64_t epoch, pos = trainer_position(t, t->step, &epoch), blocks = pupil_order_blocks(&t->order);
    int64_t need = epoch > 0 ? blocks : pupil_order_needs(&t->order, pos + t->c->batch_size - 1);
    if (need > s->told && stream_tell(s, SAY_NEED, need) == 0) s->told = need;
    for (int64_t k = 0; k < need; k++)
        for (int i = 0; i < t->j->teachers; i++)
            if (!pupil_cache_has(t->j->teacher[i].cache, pupil_order_block(&t->order, 0, k))) return false;
    return true;
}

static int decide(trainer *t, stream *s, double last_save, int64_t word[WORDS])
{
    const pupil_conf_run *run = &t->j->conf->run;
    memset(word, 0, WORDS * sizeof *word);
    word[STOP] = pupil_signal_seen() != 0;
    if (pupil_comm_rank(t->comm) == 0) {
        bool every = run->checkpoint_steps && t->step && t->step % run->checkpoint_steps == 0 && last_save > 0;
        word[SAVE] = every || pupil_now() - fabs(last_save) > run->checkpoint_seconds;
        if (s) {
            stream_listen(s, t->j);
            word[STOP] |= s->signalled;
            word[GRADUATE] = s->done == s->teachers;
            word[WAIT] = !word[GRADUATE] && !blocks_ready(t, s);
            word[SILENCE] = word[WAIT] && pupil_now() - s->news > t->j->conf->ranks.timeout;
        }
    }
    return pupil_max(t->comm, word, WORDS);
}

typedef struct {
    double step_seconds; /* smoothed */
    double saved; /* when the last checkpoint was taken; negative: at the step now finished */
} run_state;

static void report_step(trainer *t, run_state *rs, double seconds)
{
    rs->step_seconds = rs->step_seconds > 0 ? 0.9 * rs->step_seconds + 0.1 * seconds : seconds;
    double rate = (double)t->c->batch_size / rs->step_seconds;
    int64_t epoch;
    trainer_position(t, t->step - 1, &epoch);
    char eta[32];
    if (t->log)
        metrics_step(t->log, t->step, epoch, t->loss_value, t->total, &t->lc, t->lr, t->norm,
                     exp((double)t->params[t->at_scale]), (double)t->c->batch_size / seconds, pupil_comm_size(t->comm), t->seconds);
    pupil_progress(t->step == t->c->steps, "%s  step %lld/%lld   loss %.4f   %.0f pairs/s   %d rank%s   ETA %s", t->name,
                   (long long)t->step, (long long)t->c->steps, t->loss_value, rate, pupil_comm_size(t->comm),
                   pupil_comm_size(t->comm) == 1 ? "" : "s",
                   pupil_duration(rs->step_seconds * (double)(t->c->steps - t->step), eta));
    memset(t->seconds, 0, sizeof t->seconds);
}

static int loop(trainer *t, stream *s, run_state *rs)
{
    double since = pupil_now();
    while (t->step < t->c->steps) {
        int64_t word[WORDS];
        char what[64];
        snprintf(what, sizeof what, "%s: step %lld", t->name, (long long)t->step + 1);
        pupil_par_phase(what);
        PUPIL_TRY(decide(t, s, rs->saved, word));
        if (word[SILENCE])
            return pupil_fail(PUPIL_ETIMEOUT, "no teacher rank has published a block for %.0f s (ranks.timeout)",
                              t->j->conf->ranks.timeout);
        if (word[STOP] || word[SAVE]) {
            PUPIL_TRY(save(t));
            rs->saved = -pupil_now();
        }
        if (word[STOP])
            return pupil_fail(PUPIL_ESTOP, "stopped on a signal; a checkpoint of step %lld is saved; run the same command again "
                              "to go on", (long long)t->step);
        if (word[GRADUATE] && s) {
            if (pupil_comm_rank(t->comm) == 0) PUPIL_TRY(stream_tell(s, SAY_GRADUATE, t->step));
            s = NULL;
            PUPIL_TRY(take_in_teachers(t));
            continue; /* all ranks begin the step together */
        }
        if (word[WAIT]) {
            pupil_idle(pupil_now(), "waiting for blocks");
            continue;
        }
        double now = pupil_now();
        t->seconds[PHASE_WAIT] += now - since;
        PUPIL_TRY(pupil_fault("train.step"));
        PUPIL_TRY(trainer_step(t));
        if (t->step == t->traced) trace_close(&t->trace);
        rs->saved = fabs(rs->saved);
        report_step(t, rs, pupil_now() - since);
        since = pupil_now();
    }
    if (s && pupil_comm_rank(t->comm) == 0) PUPIL_TRY(stream_tell(s, SAY_END, t->step));
    return 0;
}

int trainer_run(trainer *t, stream *s)
{
    run_state rs = {.saved = -pupil_now()};
    int64_t before = t->step;
    PUPIL_TRY(loop(t, s, &rs));
    return t->step > before ? save(t) : 0;
}
