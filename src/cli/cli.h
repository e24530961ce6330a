/* cli.h: what the commands of `pupil` share: the option parser, start-up of the engine, settings, and the
 * child process of `pupil launch`. A command returns a status of base.h; main() prints its reason once and
 * turns it into the exit code. */
#ifndef PUPIL_CLI_H
#define PUPIL_CLI_H

#include "pupil/base.h"
#include "pupil/conf.h"
#include "pupil/loss.h"

/** The user has been told why (by another rank, by a child): main() need not say it again. */
extern bool cli_said;

/* ---- args.c: options, the same way in every command --------------------------------------------- */
typedef struct {
    const char **item; /* pointers into argv; the array is owned */
    int n;
} cli_list;
void cli_list_free(cli_list *l);

typedef enum {
    CLI_FLAG,
    CLI_TEXT,
    CLI_COUNT,
    CLI_LIST
} cli_kind; /* to: bool, const char *, int64_t >= 1, cli_list */
typedef struct {
    const char *name; /* "set" is given as --set VALUE or --set=VALUE */
    cli_kind kind;
    void *to;
    const char *value, *help; /* value: its name in --help, NULL for a flag */
} cli_option;
typedef struct {
    const char *name, *args, *about,
        *example; /* "cache verify", "DIR...", one or more sentences, one command line */
    const cli_option *options;
    int noptions, min, max; /* min..max plain arguments; max -1: any number */
} cli_spec;

enum { CLI_HELP = 1 };
/** Fill the options and point *ret_args at the plain arguments (argv is reordered, as getopt does).
 *  0 | CLI_HELP: --help was asked for and printed | PUPIL_EUSER. argv[0] is the command's own last word. */
int cli_parse(const cli_spec *s, int argc, char **argv, char ***ret_args, int *ret_n);

typedef struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *about; /* NULL: not listed in `pupil help` */
} cli_command;
/** Run the command named by argv[0] of the n in `c`; prefix is "" or "cache ". */
int cli_dispatch(const char *prefix, const cli_command *c, int n, int argc, char **argv);
/** A family of commands, `pupil NAME VERB`: its list on --help, else cli_dispatch(). */
int cli_family(const char *name, const cli_command *c, int n, int argc, char **argv);
/** What DESIGN names and this version does not have: "study", "cache build", "launch --submit". */
extern const char *const cli_planned[];
extern const int cli_nplanned;

/* ---- start.c: the engine before the work -------------------------------------------------------- */
extern char **cli_argv; /* of main() */
/** Rank as the launcher's environment tells it, before MPI is up; 0 when there is no launcher. */
int cli_env_rank(void);
/** Restart this program once with OPENBLAS_CORETYPE set where OpenBLAS picked a kernel this CPU does not
 * deserve. */
void cli_best_kernel(void);
/** Use `asked` threads, or OMP_NUM_THREADS, or 1; returns the number. */
int cli_set_threads(int64_t asked);
int cli_bound_cores(void);                     /* cores in this process's affinity mask */
void cli_warn_binding(int cores, int threads); /* in plain words, if a rank has fewer cores than threads */
double cli_gemm_gflops(int64_t n, double seconds); /* best of sgemm n x n x n repeated for about that long */

/* ---- run.c -------------------------------------------------------------------------------------- */
/** Settings of a file, or the defaults where path is NULL; all errors are printed, one a line, and the reason
 * counts them. */
int cli_load_conf(const char *path, const cli_list *sets, pupil_conf **ret);
/** A command on every rank: start MPI, share rank 0's settings, start the engine, `work`, end MPI. */
int cli_on_ranks(const char *path, const cli_list *sets, int *argc, char ***argv, int (*work)(const pupil_conf *, void *), void *state);

/* ---- loss.c -------------------------------------------------------------------------------------- */
/** The terms of a preset (variant: NULL is published) or of a list of terms, whichever is not NULL; what is wrong is printed. */
int cli_loss_terms(const char *preset, const char *variant, const char *terms, pupil_loss_conf *ret);

/* ---- child.c: mpirun as a child ------------------------------------------------------------------ */
/** Run argv (argv[0] a path), passing its streams through without mpirun's banners; INT, TERM and USR1 become
 *  USR1 for it. The first `students` of the ranks are students (for the message about a rank that died).
 *  0, PUPIL_EUSER, PUPIL_ESTOP or PUPIL_EMPI. */
int cli_child_run(char *const *argv, int students);

/* ---- launch.c: mpirun on this machine -------------------------------------------------------------- */
/** `words` (ends with NULL) as this program's arguments on so many ranks here, with the surroundings of a job. */
int cli_on_ranks_here(int ranks, int threads, const char *const *words);

/* ---- bench.c -------------------------------------------------------------------------------------- */
/** Of x[n], which is sorted. */
double cli_median(double *x, int n);

/* ---- the commands -------------------------------------------------------------------------------- */
int cmd_launch(int argc, char **argv);
int cmd_run(int argc, char **argv);
int cmd_plan(int argc, char **argv);
int cmd_report(int argc, char **argv);
int cmd_study(int argc, char **argv);
int cmd_eval(int argc, char **argv);
int cmd_cache(int argc, char **argv);
int cmd_data(int argc, char **argv);
int cmd_model(int argc, char **argv);
int cmd_embed(int argc, char **argv);
int cmd_loss(int argc, char **argv);
int cmd_tokenize(int argc, char **argv);
int cmd_preprocess(int argc, char **argv);
int cmd_bench(int argc, char **argv);
int cmd_bench_input(int argc, char **argv);
int cmd_bench_loss(int argc, char **argv);
int cmd_bench_reduce(int argc, char **argv);
int cmd_bench_cache(int argc, char **argv);
int cmd_help(int argc, char **argv);
int cmd_version(int argc, char **argv);
/** The first page of `pupil help`, to out. */
void cli_usage(FILE *out);

#endif
