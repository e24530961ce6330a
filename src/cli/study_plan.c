/* study_plan.c: what a study would do and cost, from its settings alone. Nothing is run and nothing is written. Where data or
 * checkpoints are not here, that is said, and the estimate is of what the settings tell. */
#include "study.h"

#include "pupil/role.h"

#include <string.h>

/* Shares of a core's speed that training and evaluation reach (`pupil bench model`). */
static const double share = 0.65;

typedef struct {
    double flops[2], bytes[2]; /* left to do; on disk when all is done: of teachers, of cells */
    int guessed;               /* runs whose data or checkpoints are not here */
    char *missing;             /* what the first of them misses */
} cost;

/* ---- runs that cannot be opened here ------------------------------------------------------------------ */
enum { PAIRS_A_TAR = 10000, TOKENS = 16, VOCABULARY = 49408 }; /* img2dataset's default; a web caption; CLIP's */

/* Tars of a pattern with {000..123}. */
static double tars_of(const char *pattern)
{
    double n = 1;
    for (const char *p = strchr(pattern, '{'); p; p = strchr(p + 1, '{')) {
        long from, to;
        if (sscanf(p, "{%ld..%ld}", &from, &to) == 2 && to >= from) n *= (double)(to - from + 1);
    }
    return n;
}

static bool sizes_of(const pupil_conf *c, bool teacher, pupil_arch *a)
{
    bool own = (!teacher || c->teacher.train_here) && !c->tokenizer.merges;
    return pupil_arch_from_conf(teacher ? &c->teacher.model : &c->student.model, own ? c->tokenizer.vocab_size : VOCABULARY,
                                teacher ? "teacher.model" : "student.model", a) == 0;
}

static double pair_flops(const pupil_arch *a) { return pupil_arch_image_flops(a) + pupil_arch_text_flops(a, TOKENS); }

static double parameters(const pupil_arch *a)
{
    pupil_clip *c = pupil_clip_new(a);
    double n = (double)pupil_clip_params(c, -1);
    pupil_clip_free(&c);
    return n;
}

/* From the sizes and names that the settings tell. */
static void guess(cost *c, const pupil_conf *conf, bool fill, bool left)
{
    pupil_arch a;
    double samples = 0;
    if (!c->missing) c->missing = pupil_strdup(pupil_reason());
    c->guessed++;
    for (int i = 0; i < conf->data.train.n; i++) samples += PAIRS_A_TAR * tars_of(conf->data.train.item[i]);
    if (fill && sizes_of(conf, true, &a)) {
        if (left) c->flops[0] += samples * pair_flops(&a);
        c->bytes[0] += samples * 2 * 2 * (double)a.embed_dim; /* half floats of a picture and a caption */
    }
    if (!fill && sizes_of(conf, false, &a)) {
        if (left) c->flops[1] += 3 * pair_flops(&a) * (double)(conf->student.train.steps * conf->student.train.batch_size);
        c->bytes[1] += 4 * parameters(&a) * (1 + 3 * (double)conf->run.keep_checkpoints);
    }
}

static void add(cost *c, const pupil_conf *conf, bool fill, bool left)
{
    pupil_plan p;
    if (pupil_plan_make(conf, 0, 1, &p) < 0) {
        guess(c, conf, fill, left);
        return;
    }
    double flops = fill ? p.teacher_train_flops : p.student_flops, cache = 0;
    for (int k = 0; k < p.teacher_count && fill; k++) {
        flops += p.teacher[k].cache_flops * (p.blocks ? 1 - (double)p.teacher[k].blocks_have / (double)p.blocks : 1);
        cache += p.teacher[k].cache_bytes;
    }
    if (left) c->flops[!fill] += flops;
    c->bytes[!fill] += fill ? cache : 4.0 * (double)p.student_params * (1 + 3 * (double)conf->run.keep_checkpoints);
}

/* ---- told ------------------------------------------------------------------------------------------------ */
static void print_axes(const pupil_cells *all, pupil_buf *out)
{
    const pupil_study *s = all->study;
    for (int a = 0; a < s->axes; a++) {
        pupil_buf_printf(out, "         %-9s", s->axis[a].name);
        for (int k = 0; k < s->axis[a].n; k++) pupil_buf_printf(out, " %s", s->axis[a].point[k]);
        pupil_buf_puts(out, "\n");
    }
    pupil_buf_puts(out, "         seed     ");
    for (int k = 0; k < s->seeds; k++) pupil_buf_printf(out, " %lld", (long long)s->seed[k]);
    if (!s->seeds) pupil_buf_printf(out, " %lld", (long long)all->cell[0].seed);
    pupil_buf_puts(out, "\n");
}

void study_plan_print(const pupil_cells *all, int width, pupil_buf *out)
{
    static const char *const word[] = {"to run", "done", "failed"};
    int count[3] = {0}, whole = 0;
    cost c = {0};
    char bytes[32], time[32];
    for (int f = 0; f < all->fills; f++) {
        bool there = study_fill_whole(&all->fill[f]);
        whole += there;
        add(&c, all->fill[f].conf, true, !there);
    }
    for (int i = 0; i < all->n; i++) {
        cell_state state = study_cell_state(&all->cell[i]);
        pupil_buf name = {0};
        pupil_cell_name(all, &all->cell[i], &name);
        pupil_buf_printf(out, "cell     %s %-7s %s\n", all->cell[i].id, word[state], name.s);
        pupil_buf_free(&name);
        count[state]++;
        add(&c, all->cell[i].conf, false, state == CELL_TODO);
    }
    double told = all->cell[0].conf->slurm.gflops, gflops = told > 0 ? told : cli_gemm_gflops(384, 0.05), hour = gflops * 1e9 * share * 3600,
           hours = (c.flops[0] + c.flops[1]) / hour;
    pupil_buf_printf(out, "study    %s: %d cells: %d done, %d failed, %d to run; %d of %d teachers cached\n", all->dir, all->n, count[CELL_DONE],
                     count[CELL_FAILED], count[CELL_TODO], whole, all->fills);
    print_axes(all, out);
    pupil_buf_printf(out, "estimate %.4g core hours of teachers (train, fill caches), %.4g of students; at %.0f GFLOP/s a core (slurm.gflops), of which %.0f %% are "
                     "reached; without evaluation\n", c.flops[0] / hour, c.flops[1] / hour, gflops, 100 * share);
    pupil_buf_printf(out, "         %s here with %d run%s side by side\n", hours / width < 1e5 ? pupil_duration(3600 * hours / width, time) : "years", width,
                     width == 1 ? "" : "s");
    pupil_buf_printf(out, "disk     %s of caches", pupil_bytes_text(c.bytes[0], bytes));
    pupil_buf_printf(out, ", %s of weights and checkpoints when all is done\n", pupil_bytes_text(c.bytes[1], bytes));
    if (c.guessed)
        pupil_buf_printf(out, "missing  %s\n         so %d run%s counted by teacher.model, student.model and %d pairs a tar\n", c.missing, c.guessed,
                         c.guessed == 1 ? " was" : "s were", PAIRS_A_TAR);
    pupil_free(&c.missing);
}
