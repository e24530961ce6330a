/* study.c: `pupil study`: a file of settings with axes becomes cells; what is missing of them is run, and the report is
 * written. A cell that is finished is never run again, whatever else of the file has changed. */
#include "study.h"

#include "slurm.h"

#include "pupil/store.h"

#include <string.h>
#include <unistd.h>

char *study_file(const pupil_conf *c, const char *name) { return pupil_join(c->run.dir, name); }

static bool has(const pupil_conf *c, const char *name)
{
    char *path = study_file(c, name);
    bool yes = pupil_exists(path);
    pupil_free(&path);
    return yes;
}

cell_state study_cell_state(const pupil_cell *x)
{
    return has(x->conf, "finished") && has(x->conf, "report.html") ? CELL_DONE : has(x->conf, "failed") ? CELL_FAILED : CELL_TODO;
}

static bool cache_whole(const char *dir)
{
    pupil_cache *c;
    if (!pupil_is_dir(dir) || pupil_cache_open_any(dir, &c) < 0) return false;
    bool whole = pupil_cache_blocks(c) > 0 && pupil_cache_blocks_have(c) == pupil_cache_blocks(c);
    pupil_cache_free(&c);
    return whole;
}

bool study_fill_whole(const pupil_fill *f)
{
    const pupil_conf *c = f->conf;
    bool whole = c->run.mode == PUPIL_MODE_PREPARE ? has(c, "finished") : cache_whole(c->cache.dir);
    for (int k = 0; k < PUPIL_TEACHERS - 1 && whole; k++)
        if (c->more_teachers[k].cache) whole = cache_whole(c->more_teachers[k].cache);
    return whole;
}

int study_write_settings(const pupil_conf *c)
{
    pupil_buf b = {0};
    pupil_conf_print(c, &b);
    char *path = study_file(c, "settings.yaml");
    int r = pupil_mkdirs(c->run.dir);
    if (r == 0) r = pupil_write_file(path, b.s, b.len);
    pupil_free(&path);
    pupil_buf_free(&b);
    return r;
}

int study_width(const pupil_cells *all, int64_t asked)
{
    const pupil_conf *c = all->cell[0].conf;
    int64_t each = PUPIL_MAX(1, c->ranks.total) * PUPIL_MAX(1, c->ranks.threads);
    return (int)PUPIL_MAX((int64_t)1, PUPIL_MIN(asked > 0 ? asked : cli_bound_cores() / each, (int64_t)256));
}

/* ---- where it stands ------------------------------------------------------------------------------- */
/* The only line of DIR/failed. */
static char *why_failed(const pupil_conf *c)
{
    char *path = study_file(c, "failed"), *text = NULL;
    if (pupil_read_file(path, 4096, &text, NULL) < 0) text = pupil_strdup("no reason was kept");
    text[strcspn(text, "\n")] = 0;
    pupil_free(&path);
    return text;
}

static void print_status(const pupil_cells *all)
{
    int count[3] = {0}, whole = 0;
    for (int i = 0; i < all->n; i++) count[study_cell_state(&all->cell[i])]++;
    for (int f = 0; f < all->fills; f++) whole += study_fill_whole(&all->fill[f]);
    printf("study    %s: %d of %d cells are done, %d failed, %d are left; %d of %d teachers are cached\n", all->dir, count[CELL_DONE], all->n,
           count[CELL_FAILED], count[CELL_TODO], whole, all->fills);
    for (int i = 0; i < all->n; i++) {
        const pupil_cell *x = &all->cell[i];
        if (study_cell_state(x) != CELL_FAILED) continue;
        pupil_buf name = {0};
        char *why = why_failed(x->conf);
        pupil_cell_name(all, x, &name);
        printf("failed   %s %s: %s\n", x->id, name.s, why);
        pupil_free(&why);
        pupil_buf_free(&name);
    }
}

static void forget_failures(const pupil_cells *all)
{
    for (int i = 0; i < all->n; i++) {
        char *path = study_file(all->cell[i].conf, "failed");
        unlink(path);
        pupil_free(&path);
    }
}

/* ---- as jobs of a cluster ---------------------------------------------------------------------------- */
/* One array over the cells that are left; caches are filled by jobs before it. */
static int submit(const pupil_cells *all, bool dry_run)
{
    cli_list none = {0};
    const char **path = pupil_alloc((size_t)all->n * sizeof *path);
    int n = 0, r = 0;
    for (int i = 0; i < all->n && r == 0; i++) {
        if (study_cell_state(&all->cell[i]) != CELL_TODO) continue;
        r = study_write_settings(all->cell[i].conf);
        path[n++] = study_file(all->cell[i].conf, "settings.yaml");
    }
    if (r == 0) r = pupil_cells_write(all);
    if (r == 0 && n) r = slurm_launch(path, n, &none, false, dry_run);
    if (r == 0 && !n) printf("study    %s: no cell is left to run\n", all->dir);
    if (r == 0 && n && !dry_run) printf("         when they have ended: pupil study %s\n", all->study->file);
    for (int i = 0; i < n; i++) pupil_free_((void *)(uintptr_t)path[i]);
    pupil_free(&path);
    return r;
}

/* ---- the command ------------------------------------------------------------------------------------- */
typedef struct {
    bool dry_run, status, queue, retry;
    int64_t jobs;
    cli_list sets;
} wishes;

static int study(const pupil_cells *all, const wishes *w)
{
    int width = study_width(all, w->jobs);
    if (w->status) {
        print_status(all);
        return 0;
    }
    if (w->dry_run && !w->queue) {
        pupil_buf out = {0};
        study_plan_print(all, width, &out);
        fputs(out.s, stdout);
        pupil_buf_free(&out);
        return 0;
    }
    if (w->retry && !w->dry_run) forget_failures(all);
    if (w->queue) return submit(all, w->dry_run);
    PUPIL_TRY(pupil_cells_write(all));
    int r = study_run(all, width);
    if (r == 0 || r == PUPIL_EMPI || r == PUPIL_ESTOP) {
        char *why = r < 0 ? pupil_strdup(pupil_reason()) : NULL;
        int written = pupil_study_report(all->dir);
        if (written == 0) printf("report   %s/report.html\n", all->dir);
        else if (r == 0) r = written;
        if (why) pupil_fail(r, "%s", why);
        pupil_free(&why);
    }
    return r;
}

static int load(const char *path, const cli_list *sets, pupil_study **s, pupil_cells **all)
{
    pupil_buf errors = {0};
    int n = 0, r = pupil_study_load(path, s, &errors);
    if (r == 0) r = pupil_cells_make(*s, sets->item, sets->n, all, &errors);
    for (const char *p = errors.s; p && *p; p++) n += *p == '\n';
    if (n) {
        fputs(errors.s, stderr);
        r = pupil_fail(r, "%d mistake%s in the study, so nothing was started; `pupil help study` explains its section", n, n == 1 ? "" : "s");
    }
    pupil_buf_free(&errors);
    return r;
}

int cmd_study(int argc, char **argv)
{
    wishes w = {0};
    const cli_option options[] = {
        {"dry-run", CLI_FLAG, &w.dry_run, NULL, "show the cells, what is there already, hours and disk, and touch nothing"},
        {"status", CLI_FLAG, &w.status, NULL, "say how far it is, and why cells failed"},
        {"jobs", CLI_COUNT, &w.jobs, "N", "so many runs side by side (default: cores / (ranks.total x ranks.threads))"},
        {"retry", CLI_FLAG, &w.retry, NULL, "run failed cells again"},
        {"submit", CLI_FLAG, &w.queue, NULL, "run the cells as an array of jobs of a cluster; with --dry-run only write their settings and show the scripts"},
        {"set", CLI_LIST, &w.sets, "KEY=VALUE", "override one setting in all cells (repeatable); other settings are other cells"},
    };
    const cli_spec spec = {"study",
                           "CONF",
                           "Runs every cell of a study that is not done yet, each teacher cached once, and writes DIR/report.html, results.csv and "
                           "table.tex.\nRun the same command again after an interruption, or after you have added to the file: finished cells are never "
                           "run again. TERM, USR1 and Ctrl-C save checkpoints and end with exit code 75.",
                           "pupil study conf/study-scenes.yaml",
                           options,
                           PUPIL_COUNT(options),
                           1,
                           1};
    char **args;
    pupil_study *s = NULL;
    pupil_cells *all = NULL;
    int n, r = cli_parse(&spec, argc, argv, &args, &n);
    if (r == 0) r = load(args[0], &w.sets, &s, &all);
    if (r == 0) r = study(all, &w);
    pupil_cells_free(&all);
    pupil_study_free(&s);
    cli_list_free(&w.sets);
    return r;
}
