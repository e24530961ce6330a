/* run.c: the job on every rank, and the commands that look at a job from outside: plan, report.
 *
 * Rank 0 alone reads the settings and decides; the other ranks work from the resolved text it sends. Whatever
 * goes wrong is told once, and all ranks end with the same exit code. */
#include "cli.h"

#include "pupil/math.h"
#include "pupil/par.h"
#include "pupil/role.h"
#include "pupil/study.h"

#include <string.h>

int cli_load_conf(const char *path, const cli_list *sets, pupil_conf **ret)
{
    pupil_buf errors = {0};
    int n = 0, r = path ? pupil_conf_load(path, sets->item, sets->n, ret, &errors)
                        : pupil_conf_parse("defaults", "run: {dir: .}", sets->item, sets->n, ret, &errors);
    for (const char *p = errors.s; p && *p; p++) n += *p == '\n';
    if (r < 0) {
        fputs(errors.s ? errors.s : "", stderr);
        r = pupil_fail(
            r, "%d mistake%s in the settings, so nothing was started; `pupil help config` explains every key",
            n, n == 1 ? "" : "s");
    }
    pupil_buf_free(&errors);
    return r;
}

/* The settings of rank 0 on all ranks. */
static int share_conf(const char *path, const cli_list *sets, pupil_conf **ret)
{
    pupil_comm *world = pupil_par_world();
    bool lead = pupil_comm_rank(world) == 0;
    pupil_conf *conf = NULL;
    pupil_buf text = {0}, errors = {0};
    PUPIL_TRY(pupil_agree(world, lead ? cli_load_conf(path, sets, &conf) : 0));
    if (lead) pupil_conf_print(conf, &text);
    uint64_t n = text.len;
    int r = pupil_bcast(world, &n, sizeof n, 0);
    char *copy = pupil_alloc(n + 1);
    if (lead) memcpy(copy, text.s, n);
    if (r == 0) r = pupil_bcast(world, copy, n, 0);
    if (r == 0 && !lead && pupil_conf_parse(path, copy, NULL, 0, &conf, &errors) < 0)
        r = pupil_fail(PUPIL_EUSER, "the resolved settings cannot be read back: %s", errors.s);
    r = pupil_agree(world, r);
    pupil_free(&copy);
    pupil_buf_free(&text);
    pupil_buf_free(&errors);
    if (r == 0) *ret = conf;
    else pupil_conf_free(&conf);
    return r;
}

/* First lines of a run: what it stands on, and whether a rank has the cores it needs. */
static int start_engine(const pupil_conf *c)
{
    pupil_comm *world = pupil_par_world();
    int threads = cli_set_threads(c->ranks.threads);
    double speed = cli_gemm_gflops(384, 0.02);
    int64_t word[1] = {-cli_bound_cores()};
    PUPIL_TRY(pupil_max(world, word, 1));
    pupil_info("pupil    " PUPIL_VERSION
               ", %s, %d rank%s x %d thread%s; OpenBLAS kernel %s, %.0f GFLOP/s on rank 0 in a short test",
               pupil_par_version(), pupil_comm_size(world), pupil_comm_size(world) == 1 ? "" : "s", threads,
               threads == 1 ? "" : "s", pupil_blas_kernel(), speed);
    if (pupil_comm_rank(world) == 0) cli_warn_binding((int)-word[0], threads);
    return 0;
}

static int write_report(const pupil_conf *c)
{
    pupil_comm *world = pupil_par_world();
    if (c->run.mode == PUPIL_MODE_TEACH || c->run.mode == PUPIL_MODE_PREPARE) return 0;
    int r = pupil_comm_rank(world) == 0 ? pupil_report_write(c->run.dir) : 0;
    PUPIL_TRY(pupil_agree(world, r));
    pupil_info("report   %s/report.html", c->run.dir);
    return 0;
}

static int job(const pupil_conf *conf, void *again)
{
    PUPIL_TRY(pupil_role_run(conf, *(bool *)again));
    return write_report(conf);
}

static int on_this_rank(const char *path, const cli_list *sets, int (*work)(const pupil_conf *, void *), void *state)
{
    pupil_conf *conf = NULL;
    PUPIL_TRY(share_conf(path, sets, &conf));
    pupil_par_set_timeout(conf->ranks.timeout);
    int r = start_engine(conf);
    if (r == 0) r = work(conf, state);
    pupil_conf_free(&conf);
    return r;
}

int cli_on_ranks(const char *path, const cli_list *sets, int *argc, char ***argv, int (*work)(const pupil_conf *, void *), void *state)
{
    enum { START_SECONDS = 300 };
    cli_best_kernel();
    pupil_signals_catch();
    PUPIL_TRY(pupil_par_start(argc, argv, START_SECONDS));
    int r = on_this_rank(path, sets, work, state);
    cli_said = r != PUPIL_EMPI && pupil_comm_rank(pupil_par_world()) != 0; /* agreed: rank 0 says it */
    pupil_par_end();
    return r;
}

int cmd_run(int argc, char **argv)
{
    cli_list sets = {0};
    bool again = false;
    const cli_option options[] = {
        {"set", CLI_LIST, &sets, "KEY=VALUE",
         "override one setting, e.g. --set student.train.steps=100 (repeatable)"},
        {"again", CLI_FLAG, &again, NULL, "train a finished student once more; teacher and cache are reused"},
    };
    const cli_spec spec = {"run",
                           "CONF",
                           "The job itself, on each rank that mpirun or srun starts; alone it is a job of "
                           "one rank. An interrupted run is "
                           "resumed.\n`pupil launch` plans the ranks and starts mpirun for you.",
                           "mpirun -n 4 --bind-to none pupil run conf/quickstart.yaml",
                           options,
                           PUPIL_COUNT(options),
                           1,
                           1};
    char **args;
    int n, r = cli_parse(&spec, argc, argv, &args, &n);
    if (r == 0) r = cli_on_ranks(args[0], &sets, &argc, &argv, job, &again);
    else cli_said = cli_env_rank() != 0;
    cli_list_free(&sets);
    return r;
}

int cmd_plan(int argc, char **argv)
{
    cli_list sets = {0};
    bool json = false;
    int64_t ranks = 0;
    const cli_option options[] = {
        {"set", CLI_LIST, &sets, "KEY=VALUE", "override one setting (repeatable)"},
        {"ranks", CLI_COUNT, &ranks, "N",
         "plan for N ranks instead of what the settings or this machine say"},
        {"json", CLI_FLAG, &json, NULL, "one JSON object"},
    };
    const cli_spec spec = {"plan",
                           "CONF",
                           "Counts before anything runs: FLOPs of each phase, memory of a rank, bytes of the "
                           "cache, split of the ranks.",
                           "pupil plan conf/quickstart.yaml --ranks 4",
                           options,
                           PUPIL_COUNT(options),
                           1,
                           1};
    char **args;
    int n, r = cli_parse(&spec, argc, argv, &args, &n);
    pupil_conf *conf = NULL;
    pupil_plan plan;
    if (r == 0) r = cli_load_conf(args[0], &sets, &conf);
    if (r == 0) r = pupil_plan_make(conf, 0, (int)PUPIL_MIN(ranks, (int64_t)1 << 20), &plan);
    if (r == 0) {
        pupil_buf out = {0};
        pupil_plan_print(conf, &plan, json, &out);
        printf("%s%s", out.s, json ? "\n" : "");
        pupil_buf_free(&out);
    }
    pupil_conf_free(&conf);
    cli_list_free(&sets);
    return r;
}

int cmd_report(int argc, char **argv)
{
    static const cli_spec spec = {
        .name = "report",
        .args = "DIR",
        .about = "Writes DIR/report.html and DIR/tables/*.csv from the files of a run directory, or DIR/report.html, results.csv and table.tex "
                 "of a study's.",
        .example = "pupil report runs/quickstart",
        .min = 1,
        .max = 1};
    char **args;
    int n, r = cli_parse(&spec, argc, argv, &args, &n);
    if (r) return r;
    char *plan = pupil_join(args[0], "study.json");
    r = pupil_exists(plan) ? pupil_study_report(args[0]) : pupil_report_write(args[0]);
    pupil_free(&plan);
    PUPIL_TRY(r);
    printf("%s/report.html\n", args[0]);
    return 0;
}
