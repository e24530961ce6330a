/* plan.c: what a job costs and how its ranks are split, from settings and data alone. A training step counts as
 * three forward passes. */
#include "job.h"

#include <math.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

/* Cores a job here may use. A rank that its launcher has bound would see its own ones only. */
static int usable_cores(void)
{
    cpu_set_t set;
    if (pupil_par_launched()) return (int)sysconf(_SC_NPROCESSORS_ONLN);
    return sched_getaffinity(0, sizeof set, &set) == 0 ? PUPIL_MAX(1, CPU_COUNT(&set)) : 1;
}

/* Mean length of a caption in tokens: words of some samples times 1.3, and start and end. */
static double caption_tokens(pupil_dataset *d, double context)
{
    enum { LOOK = 64 };
    int64_t n = PUPIL_MIN((int64_t)LOOK, pupil_dataset_count(d, PUPIL_TRAIN)), words = 0;
    for (int64_t i = 0; i < n; i++) {
        char *text;
        if (pupil_dataset_caption(d, PUPIL_TRAIN, i, 0, &text) < 0) continue;
        bool in = false;
        for (const char *p = text; *p; p++) {
            bool w = *p != ' ';
            words += w && !in;
            in = w;
        }
        pupil_free(&text);
    }
    return fmin(context, 2 + 1.3 * (double)words / (double)PUPIL_MAX((int64_t)1, n));
}

static int64_t params_of(const pupil_arch *a)
{
    pupil_clip *c = pupil_clip_new(a);
    int64_t n = pupil_clip_params(c, -1);
    pupil_clip_free(&c);
    return n;
}

/* What the settings freeze is a part of the model. */
static int check_freeze(const pupil_conf_train *t, const char *name, const pupil_arch *a)
{
    pupil_clip *c = pupil_clip_new(a);
    int r = trainer_freeze(t, name, c);
    pupil_clip_free(&c);
    return r;
}

static bool has_model(const char *dir)
{
    char *p = NULL;
    bool there = pupil_model_dir_weights(dir, &p) == 0;
    pupil_free(&p);
    return there;
}

/* Activations of one run, a block of embeddings, and the weights: all of a small model, a block at a time of a large one. */
static double teacher_memory(const pupil_arch *a, int64_t params, int64_t block)
{
    double widest = 12.0 * (double)PUPIL_MAX(a->image.width * a->image.width, a->text.width * a->text.width);
    return pupil_acts_bytes(a, batch_run(a), (double)a->context, false) + 8.0 * (double)(block * a->embed_dim) +
           4 * fmin((double)params, fmax(64e6, widest));
}

/* The cache folder as it is, whatever it is. */
static void look_at_cache(const job_teacher *t, pupil_plan_teacher *p)
{
    pupil_cache *cache;
    if (!t->cache_dir || pupil_cache_open_any(t->cache_dir, &cache) < 0) return;
    p->blocks_have = pupil_cache_blocks_have(cache);
    p->imported = imported_lines(pupil_cache_identity(cache));
    p->dim = pupil_cache_shape_of(cache)->dim;
    pupil_cache_free(&cache);
}

static int find_teacher(const pupil_conf *c, const job_teacher *t, bool first, bool distils, pupil_plan_teacher *p, pupil_arch *a)
{
    bool trains = first && c->teacher.train_here && distils;
    if (p->imported && trains)
        return pupil_fail(PUPIL_EUSER, "%s holds embeddings that were made elsewhere, and the section teacher.train asks for a teacher to be trained "
                          "here; leave out one of them", t->cache_dir);
    if (t->dir && has_model(t->dir)) {
        p->there = true;
        return pupil_model_dir_arch(t->dir, a);
    }
    if (p->imported) return 0;
    if (t->dir && trains) {
        int64_t vocab;
        p->there = p->train = true;
        p->blocks_have = 0;
        PUPIL_TRY(pupil_role_vocab(c, &vocab));
        return pupil_arch_from_conf(&c->teacher.model, vocab, "teacher.model", a);
    }
    if (!t->dir)
        return pupil_fail(PUPIL_EUSER, "%s: teacher.dir is missing, and %s holds no imported embeddings; name the teacher's folder, or run `pupil cache "
                          "import` first", c->file, t->cache_dir);
    return pupil_fail(PUPIL_EUSER, "%s: no model.safetensors there%s; put a teacher there or name its folder in %s", t->dir,
                      first ? ", and no teacher.train section to train one" : "", first ? "teacher.dir" : "more_teachers");
}

static int plan_teacher(const pupil_conf *c, const pupil_plan *all, int k, pupil_plan_teacher *p)
{
    job_teacher t = teachers_of_conf(c, k);
    pupil_arch a = pupil_arch_clip();
    look_at_cache(&t, p);
    int r = find_teacher(c, &t, k == 0, all->distils, p, &a);
    if (r < 0 && all->distils) return r;
    if (r < 0) *p = (pupil_plan_teacher){0}; /* nobody asks it */
    if (p->there) {
        p->image_flops = pupil_arch_image_flops(&a);
        p->text_flops = pupil_arch_text_flops(&a, all->tokens);
        p->params = params_of(&a);
        p->dim = a.embed_dim;
    }
    if (!all->distils) return 0;
    pupil_cache_shape shape = {.block = c->data.block, .dim = p->dim, .dtype = (pupil_stored)c->cache.dtype, .views = (int)c->cache.views,
                               .captions = (int)c->cache.captions};
    double sample_flops = p->image_flops * shape.views + p->text_flops * shape.captions;
    p->cache_flops = p->imported ? 0 : sample_flops * (double)all->samples;
    p->cache_bytes = (double)all->samples * pupil_cache_sample_bytes(&shape);
    if (p->there) p->rank_bytes = teacher_memory(&a, p->params, c->data.block);
    if (p->there && !p->train) p->file_bytes = pupil_model_dir_bytes(t.dir);
    return 0;
}

static int plan_models(const pupil_conf *c, pupil_plan *p, pupil_dataset *d)
{
    pupil_arch student = pupil_arch_clip();
    const pupil_conf_train *t = &c->teacher.train, *s = &c->student.train;
    PUPIL_TRY(pupil_role_student_arch(c, &student));
    student = start_trained(c, &student);
    PUPIL_TRY(check_freeze(s, "student", &student));
    if (c->student.prune.target > 0) PUPIL_TRY(pupil_masks_check(&student, "student.prune"));
    p->tokens = caption_tokens(d, (double)student.context);
    p->image_flops = pupil_arch_image_flops(&student);
    p->text_flops = pupil_arch_text_flops(&student, p->tokens);
    p->student_params = params_of(&student);
    p->student_flops = 3 * (pupil_arch_patches_flops(&student, trainer_patches(s, &student)) + p->text_flops) * (double)(s->batch_size * s->steps);
    p->teacher_count = teachers_count(c);
    for (int k = 0; k < p->teacher_count; k++) {
        pupil_plan_teacher *x = &p->teacher[k];
        PUPIL_TRY(plan_teacher(c, p, k, x));
        if (x->train) p->teacher_train_flops = 3 * (x->image_flops + x->text_flops) * (double)(t->batch_size * t->steps);
        p->cache_flops += x->cache_flops;
    }
    double local = (double)s->batch_size / PUPIL_MAX(1, p->students ? p->students : p->ranks);
    p->rank_bytes = pupil_acts_bytes(&student, (int64_t)ceil(s->recompute ? (double)s->batch_size / (double)s->slots : local), p->tokens, true) +
                    4.0 * (double)p->student_params * (4 + log2((double)s->slots));
    return 0;
}

/* Teachers on whole nodes, the last ones, where they fill at least half a node and there is more than one: a teacher's weights
 * are then mapped on few nodes, and students have short ways. Known inside a job alone. */
static int whole_nodes(int teachers, int ranks)
{
    int node = pupil_par_node_ranks(), nodes = node ? ranks / node : 0, want = node ? (teachers + node / 2) / node : 0;
    if (nodes < 2 || ranks % node || 2 * teachers < node) return teachers;
    return node * PUPIL_MIN(nodes - 1, PUPIL_MAX(1, want));
}

/* Teachers and students should finish the first epoch together. */
static void split_ranks(const pupil_conf *c, pupil_plan *p)
{
    bool split = c->run.mode == PUPIL_MODE_SPLIT && p->cache_flops > 0 && p->ranks > 1;
    if (!split) {
        p->teachers = 0;
    } else if (c->ranks.teacher > 0) {
        p->teachers = (int)PUPIL_MIN(c->ranks.teacher, p->ranks - 1);
    } else {
        double epoch = fmin(p->student_flops, p->student_flops / (double)(c->student.train.steps * c->student.train.batch_size) * (double)p->samples);
        p->teachers = (int)lround(p->ranks * p->cache_flops / (p->cache_flops + epoch));
        p->teachers = PUPIL_MAX(1, PUPIL_MIN(p->ranks - 1, p->teachers));
        p->teachers = whole_nodes(p->teachers, p->ranks);
    }
    p->students = p->ranks - p->teachers;
}

static bool finished(const pupil_conf *c)
{
    char *path = pupil_join(c->run.dir, "finished");
    bool yes = pupil_exists(path);
    pupil_free(&path);
    return yes;
}

int pupil_plan_make(const pupil_conf *c, int cores, int ranks, pupil_plan *ret)
{
    pupil_plan p = {.cores = cores > 0 ? cores : usable_cores(), .distils = job_distils(c)};
    pupil_dataset *d;
    PUPIL_TRY(pupil_dataset_open(&c->data, c->run.dir, &d));
    p.samples = pupil_dataset_count(d, PUPIL_TRAIN);
    p.blocks = (p.samples + c->data.block - 1) / c->data.block;
    p.threads = c->ranks.threads > 0 ? (int)c->ranks.threads : 1;
    p.ranks = ranks > 0 ? ranks : c->ranks.total > 0 ? (int)c->ranks.total : PUPIL_MAX(1, p.cores / p.threads);
    p.oversubscribed = p.ranks * p.threads > p.cores;
    int r = plan_models(c, &p, d);
    pupil_dataset_free(&d);
    PUPIL_TRY(r);
    split_ranks(c, &p);
    p.finished = finished(c);
    *ret = p;
    return 0;
}

static const char *const mode_name[] = {"split", "chained", "teach", "students", "prepare"};

static void print_json(const pupil_conf *c, const pupil_plan *p, pupil_buf *out)
{
    pupil_buf_printf(out, "{\"mode\": \"%s\", \"ranks\": %d, \"teachers\": %d, \"students\": %d, \"threads\": %d, \"cores\": %d, "
                     "\"oversubscribed\": %s, \"samples\": %lld, \"blocks\": %lld, \"tokens\": %.1f, \"student_params\": %lld, ",
                     mode_name[c->run.mode], p->ranks, p->teachers, p->students, p->threads, p->cores, p->oversubscribed ? "true" : "false",
                     (long long)p->samples, (long long)p->blocks, p->tokens, (long long)p->student_params);
    pupil_buf_printf(out, "\"student_forward_flops\": %.4g, \"teacher_train_flops\": %.4g, \"cache_flops\": %.4g, \"student_train_flops\": %.4g, "
                     "\"rank_bytes\": %.0f, \"teacher_models\": [", p->image_flops + p->text_flops, p->teacher_train_flops, p->cache_flops,
                     p->student_flops, p->rank_bytes);
    for (int k = 0; k < p->teacher_count; k++) {
        const pupil_plan_teacher *t = &p->teacher[k];
        pupil_buf_printf(out, "%s{\"train\": %s, \"imported\": %s, \"params\": %lld, \"embed_dim\": %lld, \"forward_flops\": %.4g, \"blocks_have\": %lld, "
                         "\"cache_bytes\": %.0f, \"rank_bytes\": %.0f, \"file_bytes\": %.0f}", k ? ", " : "", t->train ? "true" : "false",
                         t->imported ? "true" : "false", (long long)t->params, (long long)t->dim, t->image_flops + t->text_flops,
                         (long long)t->blocks_have, t->cache_bytes, t->rank_bytes, t->file_bytes);
    }
    pupil_buf_puts(out, "]}");
}

static void print_teacher(const pupil_conf *c, const pupil_plan *p, const pupil_plan_teacher *t, pupil_buf *out)
{
    char a[32];
    if (t->train)
        pupil_buf_printf(out, "         teacher  trained here by all ranks: %lld steps of %lld pairs, %.1f TFLOP\n", (long long)c->teacher.train.steps,
                         (long long)c->teacher.train.batch_size, p->teacher_train_flops / 1e12);
    if (t->imported) pupil_buf_printf(out, "         teacher  imported embeddings, %lld values each\n", (long long)t->dim);
    if (t->there)
        pupil_buf_printf(out, "         teacher  %.2f M parameters, %.0f MFLOP a pair (%.0f tokens a caption)\n", (double)t->params / 1e6,
                         (t->image_flops + t->text_flops) / 1e6, p->tokens);
    if (p->distils)
        pupil_buf_printf(out, "         cache    %lld samples in %lld blocks, %s, %.1f TFLOP; %lld block%s there already\n", (long long)p->samples,
                         (long long)p->blocks, pupil_bytes_text(t->cache_bytes, a), t->cache_flops / 1e12, (long long)t->blocks_have,
                         t->blocks_have == 1 ? "" : "s");
}

void pupil_plan_print(const pupil_conf *c, const pupil_plan *p, bool json, pupil_buf *out)
{
    if (json) {
        print_json(c, p, out);
        return;
    }
    char b[32];
    pupil_buf_printf(out, "plan     %s: %d rank%s x %d thread%s on %d core%s%s\n", mode_name[c->run.mode], p->ranks, p->ranks == 1 ? "" : "s",
                     p->threads, p->threads == 1 ? "" : "s", p->cores, p->cores == 1 ? "" : "s", p->oversubscribed ? " (oversubscribed)" : "");
    for (int k = 0; k < p->teacher_count; k++) print_teacher(c, p, &p->teacher[k], out);
    pupil_buf_printf(out, "         student  %.2f M parameters, %.0f MFLOP a pair; %lld steps of %lld pairs in %lld slots, %.1f TFLOP\n",
                     (double)p->student_params / 1e6, (p->image_flops + p->text_flops) / 1e6, (long long)c->student.train.steps,
                     (long long)c->student.train.batch_size, (long long)c->student.train.slots, p->student_flops / 1e12);
    if (p->teachers)
        pupil_buf_printf(out, "         ranks    0..%d students, %d..%d teachers, which join the students when the cache is whole\n", p->students - 1,
                         p->students, p->ranks - 1);
    pupil_buf_printf(out, "         memory   about %s a student rank", pupil_bytes_text(p->rank_bytes, b));
    double rank = 0, file = 0;
    for (int k = 0; k < p->teacher_count; k++) {
        rank += p->teacher[k].rank_bytes;
        file += p->teacher[k].file_bytes;
    }
    if (rank > 0) pupil_buf_printf(out, ", %s a teacher rank", pupil_bytes_text(rank, b));
    if (file > 0) pupil_buf_printf(out, " and %s of mapped teacher weights a node", pupil_bytes_text(file, b));
    pupil_buf_puts(out, "\n");
}
