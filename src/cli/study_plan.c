/* study_plan.c: what a study would do and cost, from its settings alone. Nothing is run and nothing is written. Where data or
 * checkpoints are not here, that is said, and the estimate is of what the settings tell. */
#include "study.h"

#include "pupil/role.h"

#include <string.h>

/* Shares of a core's speed that training and evaluation reach (`pupil bench model`). */
static const double share = 0.65;

typedef struct {
    double flops, bytes; /* left to do; on disk when all is done */
    int unknown;         /* runs that could not be planned */
    char *missing;       /* why the first one could not */
} cost;

static void add(cost *c, const pupil_conf *conf, bool fill, bool left)
{
    pupil_plan p;
    if (pupil_plan_make(conf, 0, 1, &p) < 0) {
        if (!c->missing) c->missing = pupil_strdup(pupil_reason());
        c->unknown++;
        return;
    }
    double flops = fill ? p.teacher_train_flops : p.student_flops, cache = 0;
    for (int k = 0; k < p.teacher_count && fill; k++) {
        flops += p.teacher[k].cache_flops * (p.blocks ? 1 - (double)p.teacher[k].blocks_have / (double)p.blocks : 1);
        cache += p.teacher[k].cache_bytes;
    }
    if (left) c->flops += flops;
    c->bytes += fill ? cache : 4.0 * (double)p.student_params * (1 + 3 * (double)conf->run.keep_checkpoints);
}

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
    double gflops = all->cell[0].conf->slurm.gflops > 0 ? all->cell[0].conf->slurm.gflops : cli_gemm_gflops(384, 0.05);
    pupil_buf_printf(out, "study    %s: %d cells: %d done, %d failed, %d to run; %d of %d teachers cached\n", all->dir, all->n, count[CELL_DONE],
                     count[CELL_FAILED], count[CELL_TODO], whole, all->fills);
    print_axes(all, out);
    pupil_buf_printf(out, "estimate %.3g TFLOP of training and teaching left: %.3g core hours at %.0f GFLOP/s a core of which %.0f %% are reached, %s with %d "
                     "run%s side by side, and evaluation\n", c.flops / 1e12, c.flops / (gflops * 1e9 * share) / 3600, gflops, 100 * share,
                     pupil_duration(c.flops / (gflops * 1e9 * share) / width, time), width, width == 1 ? "" : "s");
    pupil_buf_printf(out, "disk     %s of caches, weights and checkpoints when all is done\n", pupil_bytes_text(c.bytes, bytes));
    if (c.unknown) pupil_buf_printf(out, "missing  %d run%s could not be counted: %s\n", c.unknown, c.unknown == 1 ? "" : "s", c.missing);
    pupil_free(&c.missing);
}
