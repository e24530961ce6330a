/* slurm_plan.c: settings -> jobs. Which jobs a run takes on a cluster, what each of them waits for, and what
 * they need. Everything a job computes is safe against a second start, so a job waits for the end of others, not for
 * their success: what a teacher job left undone, the student job does. */
#include "slurm.h"

#include "pupil/math.h"

#include <stdlib.h>
#include <string.h>

slurm_nodes slurm_nodes_of(const pupil_conf *c, bool teacher)
{
    const pupil_conf_nodes *all = &c->slurm.all, *own = teacher ? &c->slurm.teacher : all;
    slurm_nodes n = {.nodes = own->nodes ? own->nodes : all->nodes,
                     .time = own->time ? own->time : all->time,
                     .partition = own->partition ? own->partition : all->partition,
                     .constraint = own->constraint ? own->constraint : all->constraint,
                     .threads = c->ranks.threads > 0 ? (int)c->ranks.threads : 1};
    char *end;
    n.least = n.most = (int)strtol(n.nodes, &end, 10);
    if (*end == '-') n.most = (int)strtol(end + 1, NULL, 10);
    int64_t asked = own->ntasks_per_node ? own->ntasks_per_node : all->ntasks_per_node;
    if (asked == 0 && c->ranks.total) asked = (c->ranks.total + n.most - 1) / n.most;
    n.per_node = asked ? (int)asked : PUPIL_MAX(1, cli_bound_cores() / n.threads);
    return n;
}

/* ---- which jobs ---------------------------------------------------------------------------------- */
static slurm_job *add(slurm_plan *s, job_kind kind, const char *name, const cell *of)
{
    PUPIL_REQUIRE(s->njobs < JOBS_MOST);
    slurm_job *j = &s->job[s->njobs++];
    *j = (slurm_job){.kind = kind, .name = name, .cell = of};
    return j;
}

static void after(slurm_plan *s, slurm_job *j, const slurm_job *first)
{
    j->after[j->nafter++] = (int)(first - s->job);
}

/* The embeddings of some teacher are still to be computed. */
static bool incomplete(const pupil_plan *p)
{
    for (int k = 0; k < p->teacher_count && p->distils; k++)
        if (!p->teacher[k].imported && p->teacher[k].blocks_have < p->blocks) return true;
    return false;
}

/* Teacher jobs share the caches that are there already: a teacher that must be trained, and names that must be given,
 * come first. */
static void chained(slurm_plan *s, const cell *of)
{
    const pupil_conf_slurm *c = &of->conf->slurm;
    bool teach_only = of->conf->run.mode == PUPIL_MODE_TEACH;
    slurm_job *prepare = NULL, *teachers = NULL;
    if (incomplete(&of->plan)) {
        if (of->plan.teacher[0].train) prepare = add(s, JOB_PREPARE, "prepare", of);
        teachers = add(s, JOB_TEACHERS, "teachers", of);
        teachers->elements = (int)c->jobs;
        teachers->at_once = (int)c->jobs_at_once;
        if (prepare) {
            after(s, teachers, prepare);
            teachers->afterok = true;
        }
    }
    if (teach_only && teachers) return;
    slurm_job *student = add(s, JOB_STUDENT, "student", of);
    if (teachers) after(s, student, teachers);
}

/* A cache that several cells want is filled by one job before them. */
static int cells(slurm_plan *s)
{
    int fills = 0;
    for (int i = 0; i < s->ncells; i++) {
        const char *dir = s->cell[i].conf->cache.dir;
        bool seen = false;
        for (int k = 0; k < fills; k++) seen |= !strcmp(dir ? dir : "", s->job[k].cell->conf->cache.dir);
        if (seen || !incomplete(&s->cell[i].plan)) continue;
        if (fills == JOBS_MOST - 1)
            return pupil_fail(PUPIL_EUSER, "more than %d caches are to be filled; fill some of them first", fills);
        slurm_job *fill = add(s, JOB_FILL, "", &s->cell[i]);
        snprintf(fill->made, sizeof fill->made, "fill-%d", fills++);
        fill->name = fill->made;
    }
    slurm_job *array = add(s, JOB_CELLS, "cells", &s->cell[0]);
    array->elements = s->ncells;
    array->at_once = (int)s->cell[0].conf->slurm.cells_at_once;
    for (int k = 0; k < fills; k++) {
        after(s, array, &s->job[k]);
        array->afterok |= s->job[k].cell->plan.teacher[0].train; /* else every element would train it */
    }
    return 0;
}

static int decide(slurm_plan *s)
{
    const pupil_conf *c = s->cell[0].conf;
    pupil_shape shape = c->slurm.shape;
    if (s->ncells > 1) return cells(s);
    if (shape == PUPIL_SHAPE_AUTO)
        shape = c->run.mode == PUPIL_MODE_CHAINED ? PUPIL_SHAPE_CHAINED : PUPIL_SHAPE_SINGLE;
    if (shape == PUPIL_SHAPE_HETJOB && c->run.mode != PUPIL_MODE_SPLIT)
        return pupil_fail(PUPIL_EUSER, "slurm.shape: hetjob puts teachers and students of one job on different nodes, so it "
                                       "wants run.mode: split");
    if (shape == PUPIL_SHAPE_HETJOB && c->slurm.launcher == PUPIL_LAUNCHER_MPIRUN)
        return pupil_fail(PUPIL_EUSER, "slurm.shape: hetjob needs srun; mpirun sees the nodes of its first part alone");
    if (shape == PUPIL_SHAPE_HETJOB && (strchr(c->slurm.all.nodes, '-') || (c->slurm.teacher.nodes && strchr(c->slurm.teacher.nodes, '-'))))
        return pupil_fail(PUPIL_EUSER, "slurm.nodes: a hetjob wants fixed numbers of nodes, not a range");
    if (shape == PUPIL_SHAPE_HETJOB && c->slurm.stage)
        return pupil_fail(PUPIL_EUSER, "slurm.stage: a hetjob's students read the cache while it is filled; it cannot be "
                                       "copied before");
    if (shape == PUPIL_SHAPE_CHAINED) chained(s, &s->cell[0]);
    else if (shape == PUPIL_SHAPE_HETJOB && incomplete(&s->cell[0].plan)) add(s, JOB_HETJOB, "hetjob", &s->cell[0]);
    else add(s, JOB_SINGLE, "run", &s->cell[0]);
    return 0;
}

static int load_cell(const char *path, const cli_list *sets, bool again, cell *ret)
{
    *ret = (cell){.path = path, .sets = sets, .again = again};
    PUPIL_TRY(cli_load_conf(path, sets, &ret->conf));
    slurm_nodes n = slurm_nodes_of(ret->conf, false);
    return pupil_plan_make(ret->conf, n.most * n.per_node * n.threads, n.most * n.per_node, &ret->plan);
}

int slurm_plan_make(const char *const *paths, int n, const cli_list *sets, bool again, slurm_plan *s)
{
    s->cell = pupil_alloc((size_t)n * sizeof *s->cell);
    for (; s->ncells < n; s->ncells++) {
        int r = load_cell(paths[s->ncells], sets, again, &s->cell[s->ncells]);
        if (r < 0) {
            s->ncells++;
            return r;
        }
    }
    return decide(s);
}

void slurm_plan_free(slurm_plan *s)
{
    for (int i = 0; i < s->ncells; i++) pupil_conf_free(&s->cell[i].conf);
    pupil_free(&s->cell);
}

/* ---- what they need ------------------------------------------------------------------------------ */
/* Shares of a core's speed that the two loops reach (`pupil bench model` measures them). */
static const double teacher_share = 0.85, student_share = 0.65;

typedef struct {
    double flops, rank_bytes, node_bytes; /* node_bytes: once a node, beside its ranks */
} need;

static need need_of(const slurm_job *j)
{
    const pupil_plan *p = &j->cell->plan;
    double missing = 0, teacher = 0, mapped = 0;
    for (int k = 0; k < p->teacher_count; k++) {
        const pupil_plan_teacher *t = &p->teacher[k];
        double share = p->blocks ? 1 - (double)t->blocks_have / (double)p->blocks : 0;
        missing += t->cache_flops * share / teacher_share;
        teacher += t->rank_bytes;
        mapped += t->file_bytes;
    }
    bool teaches = j->kind != JOB_STUDENT || !j->nafter, learns = j->kind != JOB_FILL && j->kind != JOB_TEACHERS && j->kind != JOB_PREPARE;
    need n = {.rank_bytes = PUPIL_MAX(learns ? p->rank_bytes : 0, teaches ? teacher : 0), .node_bytes = teaches ? mapped : 0};
    if (j->kind == JOB_PREPARE || j->kind == JOB_SINGLE || j->kind == JOB_HETJOB || j->kind == JOB_FILL)
        n.flops += p->teacher_train_flops / student_share;
    if (j->kind != JOB_PREPARE && j->kind != JOB_CELLS && teaches) n.flops += missing;
    if (learns) n.flops += p->student_flops / student_share;
    return n;
}

static int nodes_of(const slurm_job *j, slurm_nodes *ret_first)
{
    *ret_first = slurm_nodes_of(j->cell->conf, j->kind == JOB_TEACHERS);
    return ret_first->most + (j->kind == JOB_HETJOB ? slurm_nodes_of(j->cell->conf, true).most : 0);
}

static void estimate_job(const slurm_job *j, double gflops, double *node_hours, pupil_buf *out)
{
    slurm_nodes n;
    need x = need_of(j);
    char rank[32], node[32], time[32];
    int nodes = nodes_of(j, &n), cells = j->kind == JOB_CELLS ? j->elements : 1;
    int elements = j->kind == JOB_TEACHERS ? PUPIL_MAX(1, j->at_once && j->at_once < j->elements ? j->at_once : j->elements) : 1;
    double seconds = x.flops / (gflops * 1e9 * nodes * n.per_node * n.threads * elements);
    *node_hours += seconds / 3600 * nodes * elements * cells;
    pupil_buf_printf(out, "         %-9s", j->name);
    if (j->elements) pupil_buf_printf(out, "%d elements, each ", j->elements);
    pupil_buf_printf(out, "%d node%s x %d rank%s x %d thread%s; %s a rank, %s a node; about %s\n", nodes, nodes == 1 ? "" : "s",
                     n.per_node, n.per_node == 1 ? "" : "s", n.threads, n.threads == 1 ? "" : "s",
                     pupil_bytes_text(x.rank_bytes, rank), pupil_bytes_text(x.rank_bytes * n.per_node + x.node_bytes, node),
                     pupil_duration(seconds, time));
}

void slurm_estimate(const slurm_plan *s, double gflops, pupil_buf *out)
{
    double node_hours = 0, cache = 0, checkpoints = 0;
    char a[32], b[32];
    pupil_buf_printf(out, "estimate at %.0f GFLOP/s a core (slurm.gflops), of which teachers reach %.0f %% and students %.0f %%\n",
                     gflops, 100 * teacher_share, 100 * student_share);
    for (int i = 0; i < s->njobs; i++) estimate_job(&s->job[i], gflops, &node_hours, out);
    for (int i = 0; i < s->ncells; i++) {
        const pupil_plan *p = &s->cell[i].plan;
        for (int k = 0; k < p->teacher_count && i == 0; k++) cache += p->teacher[k].cache_bytes;
        checkpoints += 12.0 * (double)p->student_params * (double)(s->cell[i].conf->run.keep_checkpoints + 1);
    }
    pupil_buf_printf(out, "         disk     %s of embeddings, %s of checkpoints\n         sum      %.3g node hours, without "
                     "evaluation and without waiting in the queue\n", pupil_bytes_text(cache, a), pupil_bytes_text(checkpoints, b), node_hours);
}
