/* launch.c: settings -> plan -> one mpirun command line, shown before it is run.
 *
 * Nothing is started when the settings are wrong. What is set for the job: threads, binding where it cannot
 * hurt, oversubscription where it is needed, TCP keep-alives that notice a dead link within 10 s, and silence
 * where Open MPI would complain of what does not matter here. A variable the user has set already is left
 * alone. */
#include "slurm.h"

#include "pupil/role.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

typedef struct {
    char **argv; /* ends with NULL */
    int64_t n, cap;
    pupil_buf env; /* "NAME=value " of what is set for the job */
} command;

static void arg(command *c, const char *word)
{
    PUPIL_GROW(c->argv, c->n + 1, c->cap);
    c->argv[c->n++] = pupil_strdup(word);
    c->argv[c->n] = NULL;
}

static void env(command *c, const char *name, const char *value)
{
    if (getenv(name)) return;
    setenv(name, value, 1);
    pupil_buf_printf(&c->env, "%s=%s ", name, value);
}

static void command_free(command *c)
{
    for (int64_t i = 0; i < c->n; i++) pupil_free(&c->argv[i]);
    pupil_free(&c->argv);
    pupil_buf_free(&c->env);
}

/* Path of a program on PATH, owned, or NULL. */
static char *find_program(const char *name)
{
    char *path = pupil_strdup(getenv("PATH") ? getenv("PATH") : "/usr/local/bin:/usr/bin:/bin"), *save = NULL,
         *found = NULL;
    for (char *dir = strtok_r(path, ":", &save); dir && !found; dir = strtok_r(NULL, ":", &save)) {
        found = pupil_join(dir, name);
        if (access(found, X_OK) != 0 || pupil_is_dir(found)) pupil_free(&found);
    }
    pupil_free(&path);
    return found;
}

/* Physical cores of this machine: the CPUs that are the first of their siblings. */
static int physical_cores(void)
{
    int n = 0, all = (int)sysconf(_SC_NPROCESSORS_ONLN);
    for (int i = 0; i < all; i++) {
        char path[96], *text;
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", i);
        if (pupil_read_file(path, 4096, &text, NULL) < 0) return all;
        n += atoi(text) == i;
        pupil_free(&text);
    }
    return PUPIL_MAX(1, n);
}

/* Binding helps where every rank gets whole cores of a machine that is all ours. Two jobs would be bound to
 * the same first cores, so a job that leaves room for another is not bound; anywhere else binding could only
 * put ranks on too few. */
static void placement(command *c, const pupil_plan *p)
{
    int cores = physical_cores();
    char per_rank[32];
    bool whole_machine = cli_bound_cores() == (int)sysconf(_SC_NPROCESSORS_ONLN) && !getenv("SLURM_JOB_ID");
    if (p->ranks > 1 && whole_machine && p->ranks * p->threads <= cores &&
        2 * p->ranks * p->threads > cores) {
        arg(c, "--bind-to");
        arg(c, "core");
        arg(c, "--map-by");
        snprintf(per_rank, sizeof per_rank, "slot:PE=%d", p->threads);
        arg(c, per_rank);
    } else {
        arg(c, "--bind-to");
        arg(c, "none");
    }
    if (!getenv("SLURM_JOB_ID") && (p->oversubscribed || p->ranks > cores)) arg(c, "--oversubscribe");
}

static void surroundings(command *c, const pupil_plan *p)
{
    char threads[16];
    snprintf(threads, sizeof threads, "%d", p->threads);
    if (geteuid() == 0) {
        env(c, "OMPI_ALLOW_RUN_AS_ROOT", "1");
        env(c, "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
    }
    setenv("OMP_NUM_THREADS", threads, 1);
    setenv("OPENBLAS_NUM_THREADS", threads, 1);
    pupil_buf_printf(&c->env, "OMP_NUM_THREADS=%s OPENBLAS_NUM_THREADS=%s ", threads, threads);
    if (p->oversubscribed)
        env(c, "OMPI_MCA_mpi_yield_when_idle", "1"); /* a waiting rank must leave the core to a working one */
    env(c, "OMPI_MCA_oob_tcp_keepalive_time", "3");
    env(c, "OMPI_MCA_oob_tcp_keepalive_intvl", "2");
    env(c, "OMPI_MCA_oob_tcp_keepalive_probes", "2");
    env(c, "OMPI_MCA_btl_base_warn_component_unused", "0");
    const char *tmp = getenv("TMPDIR");
    bool fits = tmp && strlen(tmp) < 48; /* Open MPI puts sockets there, whose paths end at 108 bytes */
    env(c, "OMPI_MCA_orte_tmpdir_base", fits ? tmp : "/tmp");
}

/* The ranks' stderr is a pipe: their progress line is told how wide the terminal is that shows it. */
static void tell_terminal(void)
{
    struct winsize w = {0};
    char width[16];
    if (!isatty(STDERR_FILENO)) return;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &w) != 0 || w.ws_col < 20) w.ws_col = 80;
    snprintf(width, sizeof width, "%d", w.ws_col);
    setenv("PUPIL_TTY", width, 1);
}

/* mpirun and this program, on the plan's ranks. `by_hand`: how to go without mpirun. */
static int compose(command *c, const pupil_plan *p, const char *by_hand)
{
    char self[PATH_MAX] = "", ranks[16], *mpirun = find_program("mpirun");
    if (!mpirun)
        return pupil_fail(PUPIL_ENOTFOUND,
                          "mpirun is not on PATH; install it (Debian, Ubuntu: apt-get install openmpi-bin; "
                          "on a cluster: module load openmpi), "
                          "or %s",
                          by_hand);
    if (readlink("/proc/self/exe", self, sizeof self - 1) < 0) {
        pupil_free(&mpirun);
        return pupil_fail(PUPIL_EIO, "/proc/self/exe: %s", strerror(errno));
    }
    snprintf(ranks, sizeof ranks, "%d", p->ranks);
    arg(c, mpirun);
    arg(c, "-n");
    arg(c, ranks);
    placement(c, p);
    arg(c, self);
    surroundings(c, p);
    pupil_free(&mpirun);
    return 0;
}

static int compose_run(command *c, const pupil_plan *p, const char *conf, const cli_list *sets, bool again)
{
    char *by_hand = pupil_format("run this machine's one-rank job: pupil run %s", conf);
    int r = compose(c, p, by_hand);
    pupil_free(&by_hand);
    if (r < 0) return r;
    arg(c, "run");
    arg(c, conf);
    for (int i = 0; i < sets->n; i++) {
        arg(c, "--set");
        arg(c, sets->item[i]);
    }
    if (again) arg(c, "--again");
    return 0;
}

int cli_on_ranks_here(int ranks, int threads, const char *const *words)
{
    pupil_plan p = {.ranks = ranks, .threads = threads, .oversubscribed = ranks * threads > cli_bound_cores()};
    command c = {0};
    int r = compose(&c, &p, "start it on the ranks yourself");
    for (; r == 0 && *words; words++) arg(&c, *words);
    fflush(stdout);
    if (r == 0) r = cli_child_run(c.argv, ranks);
    command_free(&c);
    return r;
}

/* The command, and for --dry-run the plan and the environment too; a run prints its plan itself. */
static void show(const command *c, const pupil_conf *conf, const pupil_plan *p, bool dry_run)
{
    pupil_buf out = {0};
    if (dry_run) pupil_plan_print(conf, p, false, &out);
    pupil_buf_printf(&out, "command  %s", dry_run ? c->env.s : "");
    for (int64_t i = 0; i < c->n; i++) {
        if (i) pupil_buf_puts(&out, " ");
        cli_quote(&out, c->argv[i]);
    }
    printf("%s\n", out.s);
    pupil_buf_free(&out);
}

static int launch(const char *path, const cli_list *sets, bool again, bool dry_run)
{
    pupil_conf *conf = NULL;
    pupil_plan plan;
    command c = {0};
    if (getenv("OMPI_COMM_WORLD_SIZE"))
        return pupil_fail(PUPIL_EUSER,
                          "this is inside an mpirun already, and `pupil launch` starts its own; use: mpirun "
                          "... pupil run %s",
                          path);
    int r = cli_load_conf(path, sets, &conf);
    if (r == 0) r = pupil_plan_make(conf, 0, 0, &plan);
    if (r == 0) r = compose_run(&c, &plan, path, sets, again);
    if (r == 0) show(&c, conf, &plan, dry_run);
    fflush(stdout);
    if (r == 0 && !dry_run) {
        tell_terminal();
        r = cli_child_run(c.argv, plan.students);
    }
    command_free(&c);
    pupil_conf_free(&conf);
    return r;
}

int cmd_launch(int argc, char **argv)
{
    cli_list sets = {0};
    bool again = false, dry_run = false, queue = false, status = false, json = false;
    const cli_option options[] = {
        {"dry-run", CLI_FLAG, &dry_run, NULL, "check, plan and print the mpirun command, or the job scripts; start nothing"},
        {"submit", CLI_FLAG, &queue, NULL, "render job scripts and hand them to sbatch (pupil help jobs)"},
        {"status", CLI_FLAG, &status, NULL, "where a run stands, from its files and squeue alone; CONF is its folder"},
        {"json", CLI_FLAG, &json, NULL, "with --status: one JSON object"},
        {"set", CLI_LIST, &sets, "KEY=VALUE", "override one setting, e.g. --set ranks.total=4 (repeatable)"},
        {"again", CLI_FLAG, &again, NULL, "train a finished student once more; teacher and cache are reused"},
    };
    const cli_spec spec = {"launch",
                           "CONF...",
                           "Checks the settings, plans the ranks and runs the job here with mpirun, or with "
                           "--submit on a cluster: several configurations become an array. Run the "
                           "same command again to resume an "
                           "interrupted job.\nCtrl-C (or TERM, USR1) saves a checkpoint and ends with exit "
                           "code 75; a second one ends at once.",
                           "pupil launch conf/quickstart.yaml",
                           options,
                           PUPIL_COUNT(options),
                           1,
                           -1};
    char **args;
    int n, r = cli_parse(&spec, argc, argv, &args, &n);
    if (r == 0 && n > 1 && !queue)
        r = pupil_fail(PUPIL_EUSER, "pupil launch: '%s' is one configuration too many; several take --submit", args[1]);
    if (r == 0 && status) r = slurm_status(args[0], json);
    else if (r == 0 && queue) r = slurm_launch((const char *const *)args, n, &sets, again, dry_run);
    else if (r == 0) r = launch(args[0], &sets, again, dry_run);
    cli_list_free(&sets);
    return r;
}
