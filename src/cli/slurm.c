/* slurm.c: jobs into the queue. Plan, estimate and scripts are shown first; a dry run ends there and has touched
 * nothing. Else the scripts are written to RUN/jobs, handed to sbatch one after the other, and the numbers it gives
 * them are noted in RUN/jobs/journal.txt, where `pupil launch --status` finds them. */
#include "slurm.h"

#include "queue.h"

#include "pupil/store.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- what is said before ------------------------------------------------------------------------- */
/* The sbatch command of a job; ids: what its predecessors are called. */
static void command(const slurm_job *j, char *const *ids, const char *script, pupil_buf *out)
{
    pupil_buf_puts(out, "sbatch --parsable");
    for (int i = 0; i < j->nafter; i++)
        pupil_buf_printf(out, "%s%s", i ? ":" : j->afterok ? " --dependency=afterok:" : " --dependency=afterany:", ids[j->after[i]]);
    if (j->afterok) pupil_buf_puts(out, " --kill-on-invalid-dep=yes");
    pupil_buf_puts(out, " ");
    cli_quote(out, script);
}

static char *script_path(const slurm_plan *s, const slurm_job *j)
{
    return pupil_format("%s/jobs/%s.sbatch", s->cell[0].conf->run.dir, j->name);
}

static double speed(const slurm_plan *s)
{
    double told = s->cell[0].conf->slurm.gflops;
    if (told > 0) return told;
    cli_best_kernel();
    return cli_gemm_gflops(512, 0.1);
}

/* With the scripts, for a dry run. */
static void show(const slurm_plan *s, bool scripts)
{
    pupil_buf out = {0};
    char *ids[JOBS_MOST] = {0};
    for (int i = 0; i < s->ncells; i++) {
        if (s->ncells > 1) pupil_buf_printf(&out, "cell     %d: %s, %s\n", i, s->cell[i].path, s->cell[i].conf->run.dir);
        pupil_plan_print(s->cell[i].conf, &s->cell[i].plan, false, &out);
    }
    slurm_estimate(s, speed(s), &out);
    for (int i = 0; i < s->njobs && scripts; i++) {
        char *path = script_path(s, &s->job[i]);
        ids[i] = pupil_format("$%s", s->job[i].name);
        pupil_buf_printf(&out, "\n==== %s\n", path);
        slurm_script(s, &s->job[i], &out);
        pupil_free(&path);
    }
    if (scripts) pupil_buf_puts(&out, "\n==== commands\n");
    for (int i = 0; i < s->njobs && scripts; i++) {
        char *path = script_path(s, &s->job[i]);
        pupil_buf_printf(&out, "%s=$(", s->job[i].name);
        command(&s->job[i], ids, path, &out);
        pupil_buf_puts(&out, ")\n");
        pupil_free(&path);
    }
    printf("%s", out.s);
    fflush(stdout);
    for (int i = 0; i < s->njobs; i++) pupil_free(&ids[i]);
    pupil_buf_free(&out);
}

/* ---- the queue ----------------------------------------------------------------------------------- */
/* The run of `of` has this job; element: its number in an array, or -1. */
static int note(const cell *of, const slurm_job *j, const char *id, int element)
{
    char when[32];
    char *dir = pupil_join(of->conf->run.dir, "jobs"), *path = pupil_join(dir, "journal.txt"),
         *full = element < 0 ? pupil_strdup(id) : pupil_format("%s_%d", id, element);
    int r = pupil_mkdirs(dir);
    if (r == 0) r = pupil_journal_append(path, "job", (const char *const[]){"id", full, "name", j->name, "time", pupil_utc(when), NULL});
    pupil_free(&dir);
    pupil_free(&path);
    pupil_free(&full);
    return r;
}

static int note_all(const slurm_plan *s, const slurm_job *j, const char *id)
{
    if (j->kind != JOB_CELLS && j->kind != JOB_FILL) return note(j->cell, j, id, -1);
    for (int i = 0; i < s->ncells; i++) PUPIL_TRY(note(&s->cell[i], j, id, j->kind == JOB_CELLS ? i : -1));
    return 0;
}

static int submit(const slurm_plan *s, const slurm_job *j, char **ids)
{
    char *path = script_path(s, j), *dir = pupil_join(s->cell[0].conf->run.dir, "jobs"), *said = NULL;
    pupil_buf text = {0}, line = {0};
    slurm_script(s, j, &text);
    command(j, ids, path, &line);
    int r = pupil_mkdirs(dir);
    if (r == 0) r = pupil_write_file(path, text.s, text.len);
    if (r == 0) r = queue_ask(line.s, &said);
    if (r == 0) {
        said[strcspn(said, ";\n")] = 0; /* "number" or "number;cluster" */
        if (!said[0] || strspn(said, "0123456789") < strlen(said)) r = pupil_fail(PUPIL_EIO, "sbatch gave no job number but '%.80s'", said);
    }
    if (r == 0) {
        ids[j - s->job] = pupil_strdup(said);
        printf("job %-8s %s\n", said, path);
        r = note_all(s, j, said);
    }
    pupil_free(&said);
    pupil_free(&path);
    pupil_free(&dir);
    pupil_buf_free(&text);
    pupil_buf_free(&line);
    return r;
}

/* Two jobs of one run would take turns at replacing each other. */
static int refuse_second(const slurm_plan *s)
{
    for (int i = 0; i < s->ncells; i++) {
        queue q = {0};
        int r = queue_of_run(s->cell[i].conf->run.dir, &q);
        if (r == 0 && q.n)
            r = pupil_fail(PUPIL_EUSER, "job %s of %s is in the queue already (%s); it goes on by itself, or end it first: scancel %s", q.job[0].id,
                           s->cell[i].conf->run.dir, q.job[0].state, q.job[0].id);
        queue_free(&q);
        PUPIL_TRY(r);
    }
    return 0;
}

static int submit_all(const slurm_plan *s)
{
    char *ids[JOBS_MOST] = {0};
    int r = refuse_second(s);
    for (int i = 0; i < s->njobs && r == 0; i++) {
        r = submit(s, &s->job[i], ids);
        if (r < 0 && i) pupil_context(r, "after job %s was queued (scancel %s)", ids[i - 1], ids[i - 1]);
    }
    if (r == 0) printf("status   pupil launch --status %s\n", s->cell[0].conf->run.dir);
    for (int i = 0; i < s->njobs; i++) pupil_free(&ids[i]);
    return r;
}

int slurm_launch(const char *const *paths, int n, const cli_list *sets, bool again, bool dry_run)
{
    char self[PATH_MAX] = "";
    slurm_plan s = {.program = getenv("PUPIL") ? getenv("PUPIL") : self};
    if (readlink("/proc/self/exe", self, sizeof self - 1) < 0) snprintf(self, sizeof self, "pupil");
    int r = slurm_plan_make(paths, n, sets, again, &s);
    if (r == 0 && s.ncells == 1 && s.cell[0].plan.finished && !again) {
        printf("%s is finished already; --again trains the student once more\n", s.cell[0].conf->run.dir);
    } else if (r == 0) {
        show(&s, dry_run);
        if (!dry_run) r = submit_all(&s);
    }
    slurm_plan_free(&s);
    return r;
}
