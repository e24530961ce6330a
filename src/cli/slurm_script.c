/* slurm_script.c: a job -> its script. A script says at the top, line by line, what SLURM is asked for and why; then
 * come its names; then job.sh, which is the same in all of them; then the few lines that are its own. It depends on
 * the settings alone, so the same settings give the same script. */
#include "slurm.h"

#include <string.h>

void cli_quote(pupil_buf *out, const char *word)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./:,@%";
    if (*word && strspn(word, plain) == strlen(word)) {
        pupil_buf_puts(out, word);
        return;
    }
    pupil_buf_puts(out, "'");
    for (const char *p = word; *p; p++) {
        if (*p == '\'') pupil_buf_puts(out, "'\\''");
        else pupil_buf_add(out, p, 1);
    }
    pupil_buf_puts(out, "'");
}

/* ---- what SLURM is asked for --------------------------------------------------------------------- */
static void ask(pupil_buf *out, const char *why, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void ask(pupil_buf *out, const char *why, const char *fmt, ...)
{
    char line[4200];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    if (why) pupil_buf_printf(out, "# %s\n", why);
    pupil_buf_printf(out, "#SBATCH %s\n", line);
}

static void ask_nodes(const pupil_conf *c, const slurm_nodes *n, pupil_buf *out)
{
    if (c->slurm.account) ask(out, "Who pays.", "--account=%s", c->slurm.account);
    if (c->slurm.qos) ask(out, NULL, "--qos=%s", c->slurm.qos);
    if (n->partition) ask(out, "The queue it waits in.", "--partition=%s", n->partition);
    if (n->constraint) ask(out, "Only nodes with these features.", "--constraint=%s", n->constraint);
    ask(out, n->least < n->most ? "Nodes, at least and at most: after a loss it goes on with fewer." : "Nodes.", "--nodes=%s", n->nodes);
    if (n->least < n->most) /* SLURM 22.05 turns tasks a node into a number of tasks, and waits for as many nodes as it once had */
        ask(out, "Cores on each of them (--ntasks-per-node would hold the job to the nodes of its first start), and of each rank.", "--mincpus=%d",
            n->per_node * n->threads);
    else ask(out, "Ranks on each of them, and cores (threads) of each rank.", "--ntasks-per-node=%d", n->per_node);
    ask(out, NULL, "--cpus-per-task=%d", n->threads);
    ask(out, "The longest it may run; what is not done by then is done after the next start.", "--time=%s", n->time);
    ask(out, "This script (B:) gets the signal USR1 so many seconds before that.",
        "--signal=B:USR1@%lld", (long long)c->slurm.signal_seconds);
    ask(out, "It may be queued again under the same number; then its log goes on where it stopped.", "--requeue");
}

static void extra_directives(const pupil_conf *c, pupil_buf *out)
{
    for (int i = 0; i < c->slurm.lines.n; i++)
        if (!strncmp(c->slurm.lines.item[i], "#SBATCH", 7)) pupil_buf_printf(out, "%s\n", c->slurm.lines.item[i]);
}

static const char *about(const slurm_job *j)
{
    switch (j->kind) {
    case JOB_SINGLE: return "the whole run in one job";
    case JOB_PREPARE: return "first of a chain: trains the teacher and names the cache";
    case JOB_FILL: return "fills a cache that several cells will read";
    case JOB_TEACHERS: return "an array of teacher jobs that fill the cache together, segment by segment";
    case JOB_STUDENT: return "last of a chain: trains the student, after it has computed what teacher jobs have left";
    case JOB_HETJOB: return "one job on nodes of two kinds: students on the first, teachers on the second";
    case JOB_CELLS: return "an array with one run an element";
    }
    return "";
}

static void directives(const slurm_plan *s, const slurm_job *j, pupil_buf *out)
{
    const pupil_conf *c = j->cell->conf;
    const char *slash = strrchr(c->run.dir, '/'), *last = slash && slash[1] ? slash + 1 : c->run.dir;
    slurm_nodes n = slurm_nodes_of(c, j->kind == JOB_TEACHERS), teachers = slurm_nodes_of(c, true);
    pupil_buf_printf(out, "#!/bin/sh\n# pupil: %s. By hand, in the folder that the paths of the settings begin in:\n#   mkdir -p ", about(j));
    for (int i = 0; i < (j->kind == JOB_CELLS ? s->ncells : 1); i++) {
        if (i) pupil_buf_puts(out, " ");
        pupil_buf_printf(out, "%s/jobs", s->cell[i].conf->run.dir);
    }
    pupil_buf_printf(out, " && sbatch%s", j->nafter ? j->afterok ? " --dependency=afterok:" : " --dependency=afterany:" : "");
    for (int i = 0; i < j->nafter; i++) pupil_buf_printf(out, "%sNUMBER-OF-%s", i ? ":" : "", s->job[j->after[i]].name);
    pupil_buf_printf(out, " %s.sbatch\n# sbatch reads the lines that begin with #SBATCH; its own options come before them.\n#\n", j->name);
    ask(out, "Its name in squeue.", "--job-name=%.60s-%s", last, j->name);
    ask(out, "Its log: %x is the name, %j the number, %A and %a those of an array and its element.", "--output=%s/jobs/%s.log", c->run.dir,
        j->elements ? "%x-%A_%a" : "%x-%j");
    ask(out, NULL, "--open-mode=append");
    if (j->elements) {
        int first = j->kind == JOB_TEACHERS;
        char limit[16] = "";
        if (j->at_once) snprintf(limit, sizeof limit, "%%%d", j->at_once);
        ask(out, j->at_once ? "The elements, and how many may run at a time." : "The elements.", "--array=%d-%d%s", first, j->elements - 1 + first, limit);
    }
    ask_nodes(c, &n, out);
    extra_directives(c, out);
    if (j->kind == JOB_HETJOB) {
        ask(out, "What follows is asked for the second part.", "hetjob");
        ask_nodes(c, &teachers, out);
        extra_directives(c, out);
    }
    pupil_buf_puts(out, "\nset -u\n\n");
}

/* ---- its names ----------------------------------------------------------------------------------- */
static void name(pupil_buf *out, const char *variable, const char *value)
{
    pupil_buf_printf(out, "%s=", variable);
    cli_quote(out, value);
    pupil_buf_puts(out, "\n");
}

static void cell_names(const slurm_plan *s, pupil_buf *out)
{
    pupil_buf_puts(out, "case $SLURM_ARRAY_TASK_ID in\n");
    for (int i = 0; i < s->ncells; i++) {
        pupil_buf_printf(out, "%d) conf=", i);
        cli_quote(out, s->cell[i].path);
        pupil_buf_puts(out, " run=");
        cli_quote(out, s->cell[i].conf->run.dir);
        pupil_buf_puts(out, " ;;\n");
    }
    pupil_buf_puts(out, "*) exit 2 ;;\nesac\n");
}

static void names(const slurm_plan *s, const slurm_job *j, pupil_buf *out)
{
    static const char *const launcher[] = {"auto", "srun", "mpirun"};
    const pupil_conf *c = j->cell->conf;
    char number[24];
    pupil_buf_puts(out, "# The program, the settings and the folder of the run. launcher: auto, srun or mpirun. per_node: ranks a node, where the\n"
                        "# number of nodes is open.\n");
    name(out, "pupil", s->program);
    if (j->kind == JOB_CELLS) {
        cell_names(s, out);
    } else {
        name(out, "conf", j->cell->path);
        name(out, "run", c->run.dir);
    }
    name(out, "launcher", j->kind == JOB_HETJOB ? "srun" : launcher[c->slurm.launcher]);
    slurm_nodes n = slurm_nodes_of(c, j->kind == JOB_TEACHERS);
    snprintf(number, sizeof number, "%d", n.per_node);
    name(out, "per_node", n.least < n.most ? number : "");
    name(out, "groups", j->kind == JOB_HETJOB ? "--het-group=0,1" : "");
    snprintf(number, sizeof number, "%lld", (long long)c->slurm.retries);
    name(out, "retries", number);
    if (c->slurm.modules.n) pupil_buf_puts(out, "\n# What the program was built with.\nmodule purge\nmodule load");
    for (int i = 0; i < c->slurm.modules.n; i++) {
        pupil_buf_puts(out, " ");
        cli_quote(out, c->slurm.modules.item[i]);
    }
    if (c->slurm.modules.n) pupil_buf_puts(out, "\n");
    for (int i = 0; i < c->slurm.lines.n; i++)
        if (strncmp(c->slurm.lines.item[i], "#SBATCH", 7)) pupil_buf_printf(out, "%s\n", c->slurm.lines.item[i]);
    pupil_buf_puts(out, "\n");
}

/* ---- its own lines ------------------------------------------------------------------------------- */
static void arguments(const slurm_job *j, pupil_buf *out)
{
    const cli_list *sets = j->cell->sets;
    pupil_buf_puts(out, "# What `pupil run` is told beside the settings.\nset --");
    for (int i = 0; i < sets->n; i++) {
        if (!strncmp(sets->item[i], "slurm.", 6)) continue; /* the ranks do not ask */
        pupil_buf_puts(out, " --set ");
        cli_quote(out, sets->item[i]);
    }
    if (j->cell->again && (j->kind == JOB_SINGLE || j->kind == JOB_STUDENT || j->kind == JOB_CELLS || j->kind == JOB_HETJOB))
        pupil_buf_puts(out, " --again");
    if (j->kind == JOB_PREPARE) pupil_buf_puts(out, " --set run.mode=prepare");
    if (j->kind == JOB_FILL) pupil_buf_puts(out, " --set run.mode=teach");
    if (j->kind == JOB_STUDENT) pupil_buf_puts(out, " --set run.mode=chained");
    if (j->kind == JOB_TEACHERS) {
        pupil_buf_puts(out, " --set run.mode=teach --set cache.share=\"$SLURM_ARRAY_TASK_ID\"\nrun=$run/teachers/$SLURM_ARRAY_TASK_ID");
        pupil_buf_puts(out, "\nset -- \"$@\" --set run.dir=\"$run\"");
    }
    if (j->kind == JOB_HETJOB) pupil_buf_puts(out, " --set ranks.teacher=\"$SLURM_NTASKS_HET_GROUP_1\"");
    pupil_buf_puts(out, "\n");
}

static const char copying[] =
    "\n# on_nodes COMMAND: once on each node.\n"
    "on_nodes() {\n"
    "  srun --mpi=none --nodes=\"$SLURM_JOB_NUM_NODES\" --ntasks=\"$SLURM_JOB_NUM_NODES\" --ntasks-per-node=1 \"$@\"\n"
    "}\n\n"
    "# copy FROM TO: a folder to the same place of every node's own disk. Where nodes share that place, the first one is\n"
    "# enough.\n"
    "copy() {\n"
    "  # shellcheck disable=SC2016 # the shells of the nodes expand it\n"
    "  on_nodes sh -c 'mkdir -p \"$(dirname \"$2\")\" && cp -R \"$1\" \"$2.$SLURM_NODEID\" &&\n"
    "    { mv -T \"$2.$SLURM_NODEID\" \"$2\" 2>/dev/null || rm -rf \"$2.$SLURM_NODEID\"; } && [ -d \"$2\" ]' copy \"$1\" \"$2\"\n"
    "}\n\n"
    "# The cache is made whole, if it is not, and copied; then students read it from there.\n"
    "run \"$@\" --set run.mode=teach\n"
    "if [ \"$code\" != 0 ]; then done_or_again; fi\n"
    "near=${SLURM_TMPDIR:-${TMPDIR:-/tmp}}/pupil-$SLURM_JOB_ID-${SLURM_RESTART_COUNT:-0}\n"
    "set -- \"$@\" --set run.mode=students\n";

/* Students read their segments from their node's own disk: the cache is filled first, then copied. */
static void staging(const slurm_job *j, pupil_buf *out)
{
    const pupil_conf *c = j->cell->conf;
    pupil_buf_puts(out, copying);
    for (int k = -1; k < PUPIL_TEACHERS - 1; k++) {
        const char *dir = k < 0 ? c->cache.dir : c->more_teachers[k].cache;
        char key[48] = "cache.dir";
        if (!dir) continue;
        if (k >= 0) snprintf(key, sizeof key, "more_teachers.%d.cache", k);
        pupil_buf_puts(out, "copy ");
        cli_quote(out, dir);
        pupil_buf_printf(out, " \"$near/%d\" && set -- \"$@\" --set %s=\"$near/%d\"\n", k + 1, key, k + 1);
    }
}

void slurm_script(const slurm_plan *s, const slurm_job *j, pupil_buf *out)
{
    bool learns = j->kind == JOB_SINGLE || j->kind == JOB_STUDENT;
    directives(s, j, out);
    names(s, j, out);
    pupil_buf_puts(out, slurm_job_body);
    pupil_buf_puts(out, "# ---- What this script is for ------------------------------------------------------------------------\n\n");
    arguments(j, out);
    bool stage = learns && j->cell->conf->slurm.stage && j->cell->plan.distils;
    if (stage) staging(j, out);
    pupil_buf_puts(out, "\nrun \"$@\"\n");
    if (stage) pupil_buf_puts(out, "on_nodes rm -rf \"$near\"\n");
    pupil_buf_puts(out, "done_or_again\n");
}
