/* run.c: the story of a job.
 *
 *   1. settings, data, tokenizer, architectures                     all ranks
 *   2. a teacher, if it must be trained here                        all ranks, as students of the data
 *   3. the cache and the student:
 *        split     teacher ranks fill the cache while student ranks train on what is published, then join them
 *        chained   all ranks fill the cache, then all train
 *        teach     all ranks fill the cache and stop;   students: the cache must be whole;   prepare: ends here
 *   4. model.safetensors, evaluation                                all ranks
 *
 * Any part that is finished is skipped, any part that is not is resumed: running a job again is always right. */
#include "job.h"

#include <stdlib.h>
#include <string.h>

/* Settings a teacher made here was trained with; refused when they differ. */
static int check_recipe(job *j, bool write)
{
    static const char *const keys[] = {"teacher.model", "teacher.train", "data", "tokenizer"};
    char *path = pupil_join(j->conf->teacher.dir, "recipe.txt"), digest[65], *old = NULL;
    job_digest(j, keys, PUPIL_COUNT(keys), digest);
    int r = 0;
    if (write) {
        r = pupil_write_file(path, digest, strlen(digest));
    } else if (pupil_exists(path)) {
        r = pupil_read_file(path, 4096, &old, NULL);
        if (r == 0 && strcmp(old, digest))
            r = pupil_fail(PUPIL_EMISMATCH, "%s holds a teacher trained with other settings or data; name another teacher.dir, or "
                           "leave out teacher.train to use it as it is", j->conf->teacher.dir);
    }
    pupil_free(&old);
    pupil_free(&path);
    return r;
}

static int train_teacher(job *j)
{
    trainer *t = NULL;
    double began = pupil_now();
    pupil_info("teacher: training %s from scratch", j->conf->teacher.dir);
    int r = trainer_new(j, true, j->world, &t);
    if (r == 0) r = trainer_start(t);
    if (r == 0) r = trainer_run(t, NULL);
    if (r == 0 && job_leads(j)) {
        r = check_recipe(j, true);
        if (r == 0) r = pupil_model_dir_save(j->conf->teacher.dir, trainer_clip(t), trainer_params(t));
    }
    r = pupil_agree(j->world, r);
    trainer_free(&t);
    const pupil_conf_train *c = &j->conf->teacher.train;
    if (r == 0) job_note_phase(j, "train the teacher", pupil_now() - began, (double)(c->steps * c->batch_size));
    return r;
}

static int ensure_teacher(job *j)
{
    if (j->plan.teacher[0].train) PUPIL_TRY(train_teacher(j));
    else if (j->plan.teacher[0].there && j->conf->teacher.train_here)
        PUPIL_TRY(pupil_agree(j->world, job_leads(j) ? check_recipe(j, false) : 0));
    return teachers_open_caches(j);
}

/* Whether all caches are whole, agreed by all ranks; what cannot be filled here is an error. */
static int caches_whole(job *j, bool *ret)
{
    int64_t missing = 0;
    int r = teachers_refresh(j);
    for (int k = 0; k < j->teachers && r == 0 && job_leads(j); k++) {
        const job_teacher *t = &j->teacher[k];
        int64_t have = pupil_cache_blocks_have(t->cache), all = pupil_cache_blocks(t->cache);
        missing += all - have;
        if (have == all) pupil_info("cache    %s is whole: its embeddings are reused", t->cache_dir);
        else if (t->imported)
            r = pupil_fail(PUPIL_EUSER, "%s holds %lld of %lld blocks of an import that was cut short; run `pupil cache import` again", t->cache_dir,
                           (long long)have, (long long)all);
        else if (j->conf->run.mode == PUPIL_MODE_STUDENTS)
            r = pupil_fail(PUPIL_EUSER, "%s holds %lld of %lld blocks; fill it first with run.mode chained or teach", t->cache_dir, (long long)have,
                           (long long)all);
    }
    PUPIL_TRY(pupil_agree(j->world, r));
    PUPIL_TRY(pupil_bcast(j->world, &missing, sizeof missing, 0));
    *ret = missing == 0;
    return 0;
}

/* Of the caches that are not whole: nothing is written to the others. */
static int open_generations(job *j, int64_t generation[PUPIL_TEACHERS])
{
    int r = 0;
    for (int k = 0; k < j->teachers && r == 0 && job_leads(j); k++) {
        pupil_cache *c = j->teacher[k].cache;
        if (pupil_cache_blocks_have(c) < pupil_cache_blocks(c)) r = pupil_cache_generation(c, &generation[k]);
    }
    PUPIL_TRY(pupil_agree(j->world, r));
    return pupil_bcast(j->world, generation, PUPIL_TEACHERS * sizeof *generation, 0);
}

/* All ranks are teachers until the cache is whole. */
static int fill_together(job *j)
{
    int64_t generation[PUPIL_TEACHERS] = {0};
    taught how;
    double began = pupil_now();
    PUPIL_TRY(open_generations(j, generation));
    PUPIL_TRY(pupil_agree(j->world, teach_fill(j, pupil_comm_rank(j->world), pupil_comm_size(j->world), generation, NULL, &how)));
    PUPIL_TRY(pupil_agree(j->world, teachers_refresh(j)));
    for (int k = 0; k < j->teachers && job_leads(j); k++)
        PUPIL_REQUIRE(pupil_cache_blocks_have(j->teacher[k].cache) == pupil_cache_blocks(j->teacher[k].cache) ||
                      j->conf->cache.share); /* other jobs may hold what is missing */
    job_note_phase(j, "fill the cache", pupil_now() - began, (double)j->plan.samples);
    return 0;
}

/* Each rank's forward passes as each teacher, added up. */
static int say_passes(job *j)
{
    int size = pupil_comm_size(j->world), me = pupil_comm_rank(j->world);
    int64_t *each = pupil_alloc((size_t)(size * PUPIL_TEACHERS) * sizeof *each);
    size_t *at = pupil_alloc((size_t)(size + 1) * sizeof *at);
    for (int p = 0; p <= size; p++) at[p] = (size_t)p * PUPIL_TEACHERS * sizeof *each;
    for (int k = 0; k < j->teachers; k++) each[me * PUPIL_TEACHERS + k] = j->teacher[k].passes;
    int r = pupil_gather_ranges(j->world, each, at);
    for (int k = 0; k < j->teachers && r == 0; k++) {
        job_teacher *t = &j->teacher[k];
        t->passes = 0;
        for (int p = 0; p < size; p++) t->passes += each[p * PUPIL_TEACHERS + k];
        if (t->cache)
            pupil_info("cache    %s: %lld of %lld blocks; teacher forward passes: %lld", t->cache_dir, (long long)pupil_cache_blocks_have(t->cache),
                       (long long)pupil_cache_blocks(t->cache), (long long)t->passes);
    }
    pupil_free(&each);
    pupil_free(&at);
    return r;
}

/* Student ranks 0 .. s-1 train on what is published; teacher ranks publish, then join them. */
static int split_run(job *j, trainer **ret)
{
    int me = pupil_comm_rank(j->world), ns = j->plan.students;
    stream s = {.world = j->world, .students = ns, .teachers = j->plan.teachers, .news = pupil_now()};
    bool student = me < ns;
    int64_t generation[PUPIL_TEACHERS] = {0};
    pupil_comm *mine = NULL;
    PUPIL_TRY(open_generations(j, generation));
    PUPIL_TRY(pupil_comm_split(j->world, student ? 0 : 1, &mine));
    int r;
    if (student) {
        r = trainer_new(j, false, mine, ret);
        if (r == 0) r = trainer_start(*ret);
        if (r == 0) r = trainer_run(*ret, &s);
        if (r < 0 && me == 0) stream_tell(&s, SAY_END, 0);
    } else {
        taught how = TAUGHT_UNTIL_END;
        r = teach_fill(j, me - ns, j->plan.teachers, generation, &s, &how);
        if (r < 0) { /* nobody waits for a teacher that failed */
            pupil_log(PUPIL_LOG_ERROR, "%s", pupil_reason());
            pupil_par_abort(pupil_exit_code(r));
        }
        if (how == TAUGHT_UNTIL_GRADUATION) {
            r = trainer_new(j, false, j->world, ret);
            if (r == 0) r = trainer_join(*ret);
            if (r == 0) r = trainer_run(*ret, NULL);
        }
    }
    r = pupil_agree(j->world, r);
    pupil_comm_free(&mine);
    return r;
}

static int together_run(job *j, trainer **ret)
{
    PUPIL_TRY(trainer_new(j, false, j->world, ret));
    PUPIL_TRY(trainer_start(*ret));
    return trainer_run(*ret, NULL);
}

static int train_student(job *j, trainer **ret)
{
    bool whole = true;
    if (j->plan.distils) {
        PUPIL_TRY(caches_whole(j, &whole));
        bool split = j->conf->run.mode == PUPIL_MODE_SPLIT && j->plan.teachers > 0;
        if (!whole && !split) PUPIL_TRY(fill_together(j));
    }
    if (j->conf->run.mode == PUPIL_MODE_TEACH) return say_passes(j);
    double began = pupil_now();
    int r = whole || !j->plan.teachers ? together_run(j, ret) : split_run(j, ret);
    PUPIL_TRY(r);
    const pupil_conf_train *c = &j->conf->student.train;
    job_note_phase(j, whole || !j->plan.teachers ? "train the student" : "fill the cache and train the student", pupil_now() - began,
                   (double)(c->steps * c->batch_size));
    return say_passes(j);
}

/* What the masks have left, in place of what was trained, on rank 0; its sizes on all ranks. Collective over the world. */
static int prune(job *j, trainer *t, pupil_clip **ret_clip, float **ret_params)
{
    int64_t mlp[2] = {j->student_arch.image.mlp, j->student_arch.text.mlp};
    int r = 0;
    if (job_leads(j)) {
        r = trainer_fuse(t, ret_clip, ret_params);
        const pupil_arch *a = pupil_clip_arch(*ret_clip);
        mlp[0] = a->image.mlp;
        if (a->text.layers) mlp[1] = a->text.mlp;
    }
    PUPIL_TRY(pupil_agree(j->world, r));
    PUPIL_TRY(pupil_bcast(j->world, mlp, sizeof mlp, 0));
    j->student_arch.image.mlp = mlp[0];
    j->student_arch.text.mlp = mlp[1];
    return 0;
}

/* Ranks that never became students (their students finished first) still evaluate: they need the weights. */
static int share_student(job *j, trainer *t, pupil_clip **ret_clip, float **ret_params)
{
    pupil_clip *pruned = NULL, *trained = job_leads(j) ? (pupil_clip *)(uintptr_t)trainer_clip(t) : NULL;
    float *left = NULL;
    int r = j->conf->student.prune.target > 0 ? prune(j, t, &pruned, &left) : 0;
    *ret_clip = pupil_clip_new(&j->student_arch);
    j->plan.student_params = pupil_clip_params(*ret_clip, -1);
    int64_t total = pupil_clip_table(*ret_clip)->total;
    *ret_params = pupil_alloc((size_t)total * sizeof(float));
    if (r == 0 && job_leads(j)) r = start_whole(j, pruned ? pruned : trained, pruned ? left : trainer_params(t), *ret_clip, *ret_params);
    pupil_clip_free(&pruned);
    pupil_free(&left);
    PUPIL_TRY(pupil_agree(j->world, r));
    return pupil_bcast(j->world, *ret_params, (size_t)total * sizeof(float), 0);
}

/* The report is made from the run directory alone: a teacher's curves come along. */
static int copy_teacher_metrics(const job *j)
{
    if (!j->plan.teacher[0].there) return 0;
    char *from = pupil_join(j->conf->teacher.dir, "metrics.jsonl"), *to = pupil_join(j->conf->run.dir, "teacher-metrics.jsonl"), *text = NULL;
    size_t n;
    int r = 0;
    if (pupil_exists(from)) {
        r = pupil_read_file(from, 0, &text, &n);
        if (r == 0) r = pupil_write_file(to, text, n);
    }
    pupil_free(&text);
    pupil_free(&from);
    pupil_free(&to);
    return r;
}

static int finish(job *j, trainer *t)
{
    pupil_clip *clip;
    float *params;
    double began = pupil_now();
    int r = share_student(j, t, &clip, &params);
    if (r == 0 && job_leads(j)) r = pupil_model_dir_save(j->conf->run.dir, clip, params);
    r = pupil_agree(j->world, r);
    if (r == 0) {
        pupil_weights *w = pupil_weights_flat(params);
        r = evaluate(j, clip, w);
        pupil_weights_free(&w);
    }
    if (r == 0) job_note_phase(j, "evaluate", pupil_now() - began, 0);
    j->black_pictures = pupil_dataset_blackened(j->data);
    j->substituted = t ? trainer_substituted(t) : 0;
    if (r == 0) r = pupil_max(j->world, &j->black_pictures, 1);
    if (r == 0) r = pupil_max(j->world, &j->substituted, 1);
    if (r == 0 && job_leads(j)) {
        char digest[65], *path = pupil_join(j->conf->run.dir, "finished");
        r = job_write_run_json(j);
        if (r == 0) r = copy_teacher_metrics(j);
        if (r == 0) r = pupil_model_dir_digest(j->conf->run.dir, digest);
        if (r == 0) r = pupil_write_file(path, digest, strlen(digest));
        if (r == 0) pupil_info("student  %s/model.safetensors   sha256 %.16s", j->conf->run.dir, digest);
        pupil_free(&path);
    }
    r = pupil_agree(j->world, r);
    pupil_free(&params);
    pupil_clip_free(&clip);
    return r;
}

static int story(job *j)
{
    trainer *t = NULL;
    PUPIL_TRY(job_open(j));
    if (j->plan.finished && !j->again) {
        pupil_info("%s is finished already (teacher forward passes: 0); --again trains the student once more", j->conf->run.dir);
        return 0;
    }
    PUPIL_TRY(ensure_teacher(j));
    PUPIL_TRY(start_know(j));
    if (j->conf->run.mode == PUPIL_MODE_PREPARE) return 0;
    int r = train_student(j, &t);
    bool teach = j->conf->run.mode == PUPIL_MODE_TEACH;
    if (r == 0 && teach) r = pupil_agree(j->world, job_leads(j) ? job_write_run_json(j) : 0); /* what it has cost */
    if (r == 0 && !teach) r = finish(j, t);
    trainer_free(&t);
    return r;
}

int pupil_role_run(const pupil_conf *conf, bool again)
{
    job j = {.conf = conf, .world = pupil_par_world(), .again = again};
    int r = job_leads(&j) ? pupil_plan_make(conf, 0, pupil_comm_size(j.world), &j.plan) : 0;
    r = pupil_agree(j.world, r);
    if (r == 0) r = pupil_bcast(j.world, &j.plan, sizeof j.plan, 0);
    if (r == 0 && job_leads(&j)) {
        pupil_buf text = {0};
        pupil_plan_print(conf, &j.plan, false, &text);
        for (char *save = NULL, *line = strtok_r(text.s, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) pupil_info("%s", line);
        pupil_buf_free(&text);
    }
    if (r == 0) r = pupil_agree(j.world, story(&j));
    job_close(&j);
    return r;
}
