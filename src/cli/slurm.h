/* slurm.h: jobs for a cluster: what they are (slurm_plan.c), their scripts (slurm_script.c), and how they reach the
 * queue (slurm.c). */
#ifndef PUPIL_CLI_SLURM_H
#define PUPIL_CLI_SLURM_H

#include "cli.h"

#include "pupil/role.h"

/** Settings as the user gave them, and what follows from them. */
typedef struct {
    const char *path;
    const cli_list *sets;
    bool again;
    pupil_conf *conf;
    pupil_plan plan; /* of a job on slurm.nodes */
} cell;

typedef enum { JOB_SINGLE, JOB_PREPARE, JOB_FILL, JOB_TEACHERS, JOB_STUDENT, JOB_HETJOB, JOB_CELLS } job_kind;
enum { JOBS_MOST = 64 };

/** One sbatch. */
typedef struct {
    job_kind kind;
    const char *name; /* of its script, without .sbatch; unique in its run */
    char made[48];    /* room for a name that is made up */
    const cell *cell; /* its settings; those of the first where there are several */
    int elements;     /* of an array; 0: no array */
    int at_once;      /* elements that may run at a time; 0: all */
    int after[JOBS_MOST], nafter;
    bool afterok;     /* only if those went well; else when they have ended, however that was */
} slurm_job;

typedef struct {
    const char *program; /* what to start: this binary */
    cell *cell;
    int ncells;
    slurm_job job[JOBS_MOST];
    int njobs;
} slurm_plan;

/* ---- slurm_plan.c ---- */
/** Nodes a kind of rank is given, at least and at most; ranks a node; threads a rank. */
typedef struct {
    const char *nodes, *time, *partition, *constraint;
    int least, most, per_node, threads;
} slurm_nodes;
slurm_nodes slurm_nodes_of(const pupil_conf *c, bool teacher);
/** Load every configuration, plan it on its nodes, and decide on the jobs. `s` is zeroed; free it in any case. */
int slurm_plan_make(const char *const *paths, int n, const cli_list *sets, bool again, slurm_plan *s);
void slurm_plan_free(slurm_plan *s);
/** What the jobs need: memory of a rank and a node, bytes on disk, hours at `gflops` a core. */
void slurm_estimate(const slurm_plan *s, double gflops, pupil_buf *out);

/* ---- slurm_script.c ---- */
extern const char slurm_job_body[]; /* job.sh */
void slurm_script(const slurm_plan *s, const slurm_job *j, pupil_buf *out);
/** `word` as a shell would have to read it. */
void cli_quote(pupil_buf *out, const char *word);

/* ---- slurm.c ---- */
/** Print plan, estimate and scripts; unless dry_run, write the scripts and hand them to sbatch. */
int slurm_launch(const char *const *paths, int n, const cli_list *sets, bool again, bool dry_run);

/* ---- status.c ---- */
/** Where the run in `dir` stands, from its files and squeue alone. */
int slurm_status(const char *dir, bool json);

#endif
