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

static bool wants_teacher(const pupil_conf *c) { return c->loss.crd != 0 || c->loss.icl != 0 || c->loss.fd != 0; }

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

static int plan_models(const pupil_conf *c, pupil_plan *p, pupil_dataset *d)
{
    pupil_arch a[2] = {pupil_arch_clip(), pupil_arch_clip()};
    int64_t vocab;
    PUPIL_TRY(pupil_role_vocab(c, &vocab));
    PUPIL_TRY(pupil_arch_from_conf(&c->student.model, vocab, "student.model", &a[1]));
    if (p->imported && c->teacher.train_here)
        return pupil_fail(PUPIL_EUSER, "%s holds embeddings that were made elsewhere, and the section teacher.train asks for a teacher to be trained "
                          "here; leave out one of them", c->cache.dir);
    if (c->teacher.dir && has_model(c->teacher.dir)) {
        p->teacher = true;
        PUPIL_TRY(pupil_model_dir_arch(c->teacher.dir, &a[0]));
    } else if (c->teacher.dir && c->teacher.train_here && p->distils) {
        p->teacher = p->teacher_train = true;
        PUPIL_TRY(pupil_arch_from_conf(&c->teacher.model, vocab, "teacher.model", &a[0]));
    } else if (p->distils && !c->teacher.dir && !p->imported) {
        return pupil_fail(PUPIL_EUSER, "%s: teacher.dir is missing, and %s holds no imported embeddings; name the teacher's folder, or run `pupil cache "
                          "import` first", c->file, c->cache.dir);
    } else if (p->distils && !p->imported) {
        return pupil_fail(PUPIL_EUSER, "%s: no model.safetensors there, and no teacher.train section to train one; put a "
                          "teacher there or name its folder in teacher.dir", c->teacher.dir);
    }
    p->tokens = caption_tokens(d, (double)a[1].context);
    for (int i = p->teacher ? 0 : 1; i < 2; i++) {
        p->image_flops[i] = pupil_arch_image_flops(&a[i]);
        p->text_flops[i] = pupil_arch_text_flops(&a[i], p->tokens);
        *(i ? &p->student_params : &p->teacher_params) = params_of(&a[i]);
    }
    const pupil_conf_train *t = &c->teacher.train, *s = &c->student.train;
    if (p->teacher_train)
        p->teacher_train_flops = 3 * (p->image_flops[0] + p->text_flops[0]) * (double)(t->batch_size * t->steps);
    p->student_flops = 3 * (p->image_flops[1] + p->text_flops[1]) * (double)(s->batch_size * s->steps);
    if (p->distils) {
        int64_t dim = p->imported ? p->imported_dim : a[0].embed_dim;
        p->cache_flops = p->imported ? 0 : (p->image_flops[0] + p->text_flops[0]) * (double)p->samples;
        p->cache_bytes = (double)p->samples * 2 * (double)dim * (c->cache.dtype == PUPIL_DTYPE_F32 ? 4 : 2);
    }
    if (p->distils && p->teacher) {
        p->teacher_rank_bytes = teacher_memory(&a[0], p->teacher_params, c->data.block);
        p->teacher_file_bytes = p->teacher_train ? 0 : pupil_model_dir_bytes(c->teacher.dir);
    }
    double local = (double)s->batch_size / PUPIL_MAX(1, p->students ? p->students : p->ranks);
    p->rank_bytes = pupil_acts_bytes(&a[1], (int64_t)ceil(s->recompute ? (double)s->batch_size / (double)s->slots : local), p->tokens, true) +
                    4.0 * (double)p->student_params * (4 + log2((double)s->slots));
    return 0;
}

/* Teachers and students should finish the first epoch together. */
static void split_ranks(const pupil_conf *c, pupil_plan *p)
{
    bool split = c->run.mode == PUPIL_MODE_SPLIT && p->distils && !p->imported && p->ranks > 1;
    if (!split) {
        p->teachers = 0;
    } else if (c->ranks.teacher > 0) {
        p->teachers = (int)PUPIL_MIN(c->ranks.teacher, p->ranks - 1);
    } else {
        double epoch = fmin(p->student_flops, p->student_flops / (double)(c->student.train.steps * c->student.train.batch_size) * (double)p->samples);
        p->teachers = (int)lround(p->ranks * p->cache_flops / (p->cache_flops + epoch));
        p->teachers = PUPIL_MAX(1, PUPIL_MIN(p->ranks - 1, p->teachers));
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

/* The cache folder as it is, whatever it is. */
static void look_at_cache(const pupil_conf *c, pupil_plan *p)
{
    pupil_cache *cache;
    if (!c->cache.dir || pupil_cache_open_any(c->cache.dir, &cache) < 0) return;
    p->blocks_have = pupil_cache_blocks_have(cache);
    p->imported = p->distils && imported_lines(pupil_cache_identity(cache));
    p->imported_dim = pupil_cache_shape_of(cache)->dim;
    pupil_cache_free(&cache);
}

int pupil_plan_make(const pupil_conf *c, int cores, int ranks, pupil_plan *ret)
{
    pupil_plan p = {.cores = cores > 0 ? cores : usable_cores(), .distils = wants_teacher(c)};
    pupil_dataset *d;
    PUPIL_TRY(pupil_dataset_open(&c->data, c->run.dir, &d));
    p.samples = pupil_dataset_count(d, PUPIL_TRAIN);
    p.blocks = (p.samples + c->data.block - 1) / c->data.block;
    p.threads = c->ranks.threads > 0 ? (int)c->ranks.threads : 1;
    p.ranks = ranks > 0 ? ranks : c->ranks.total > 0 ? (int)c->ranks.total : PUPIL_MAX(1, p.cores / p.threads);
    p.oversubscribed = p.ranks * p.threads > p.cores;
    look_at_cache(c, &p);
    int r = plan_models(c, &p, d);
    pupil_dataset_free(&d);
    PUPIL_TRY(r);
    split_ranks(c, &p);
    p.finished = finished(c);
    if (p.teacher_train) p.blocks_have = 0;
    *ret = p;
    return 0;
}

static const char *const mode_name[] = {"split", "chained", "teach", "students"};

static void print_json(const pupil_conf *c, const pupil_plan *p, pupil_buf *out)
{
    pupil_buf_printf(out, "{\"mode\": \"%s\", \"ranks\": %d, \"teachers\": %d, \"students\": %d, \"threads\": %d, \"cores\": %d, "
                     "\"oversubscribed\": %s, \"teacher_train\": %s, \"imported\": %s, \"samples\": %lld, \"blocks\": %lld, \"blocks_have\": %lld, ",
                     mode_name[c->run.mode], p->ranks, p->teachers, p->students, p->threads, p->cores, p->oversubscribed ? "true" : "false",
                     p->teacher_train ? "true" : "false", p->imported ? "true" : "false", (long long)p->samples, (long long)p->blocks, (long long)p->blocks_have);
    pupil_buf_printf(out, "\"tokens\": %.1f, \"teacher_params\": %lld, \"student_params\": %lld, \"teacher_forward_flops\": %.4g, \"student_forward_flops\": %.4g, "
                     "\"teacher_train_flops\": %.4g, \"cache_flops\": %.4g, \"student_train_flops\": %.4g, \"cache_bytes\": %.0f, \"rank_bytes\": %.0f, "
                     "\"teacher_rank_bytes\": %.0f, \"teacher_file_bytes\": %.0f}",
                     p->tokens, (long long)p->teacher_params, (long long)p->student_params, p->image_flops[0] + p->text_flops[0],
                     p->image_flops[1] + p->text_flops[1], p->teacher_train_flops, p->cache_flops, p->student_flops, p->cache_bytes, p->rank_bytes,
                     p->teacher_rank_bytes, p->teacher_file_bytes);
}

void pupil_plan_print(const pupil_conf *c, const pupil_plan *p, bool json, pupil_buf *out)
{
    if (json) {
        print_json(c, p, out);
        return;
    }
    char a[32], b[32];
    pupil_buf_printf(out, "plan     %s: %d rank%s x %d thread%s on %d core%s%s\n", mode_name[c->run.mode], p->ranks, p->ranks == 1 ? "" : "s",
                     p->threads, p->threads == 1 ? "" : "s", p->cores, p->cores == 1 ? "" : "s", p->oversubscribed ? " (oversubscribed)" : "");
    if (p->teacher_train)
        pupil_buf_printf(out, "         teacher  trained here by all ranks: %lld steps of %lld pairs, %.1f TFLOP\n", (long long)c->teacher.train.steps,
                         (long long)c->teacher.train.batch_size, p->teacher_train_flops / 1e12);
    if (p->imported) pupil_buf_printf(out, "         teacher  imported embeddings, %lld values each\n", (long long)p->imported_dim);
    if (p->teacher)
        pupil_buf_printf(out, "         teacher  %.2f M parameters, %.0f MFLOP a pair (%.0f tokens a caption)\n", (double)p->teacher_params / 1e6,
                         (p->image_flops[0] + p->text_flops[0]) / 1e6, p->tokens);
    pupil_buf_printf(out, "         student  %.2f M parameters, %.0f MFLOP a pair; %lld steps of %lld pairs in %lld slots, %.1f TFLOP\n",
                     (double)p->student_params / 1e6, (p->image_flops[1] + p->text_flops[1]) / 1e6, (long long)c->student.train.steps,
                     (long long)c->student.train.batch_size, (long long)c->student.train.slots, p->student_flops / 1e12);
    if (p->distils)
        pupil_buf_printf(out, "         cache    %lld samples in %lld blocks, %s, %.1f TFLOP; %lld block%s there already\n", (long long)p->samples,
                         (long long)p->blocks, pupil_bytes_text(p->cache_bytes, a), p->cache_flops / 1e12, (long long)p->blocks_have,
                         p->blocks_have == 1 ? "" : "s");
    if (p->teachers)
        pupil_buf_printf(out, "         ranks    0..%d students, %d..%d teachers, which join the students when the cache is whole\n", p->students - 1,
                         p->students, p->ranks - 1);
    pupil_buf_printf(out, "         memory   about %s a student rank", pupil_bytes_text(p->rank_bytes, b));
    if (p->teacher_rank_bytes > 0) pupil_buf_printf(out, ", %s a teacher rank", pupil_bytes_text(p->teacher_rank_bytes, b));
    if (p->teacher_file_bytes > 0) pupil_buf_printf(out, " and %s of mapped teacher weights a node", pupil_bytes_text(p->teacher_file_bytes, b));
    pupil_buf_puts(out, "\n");
}
