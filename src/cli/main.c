/* main.c: the program. Chooses a command, prints the reason of a failure once, and turns its status into the
 * exit code: 0 done, 1 failed, 2 the user's input is wrong, 75 stopped early with a checkpoint saved. */
#include "cli.h"

#include "pupil/math.h"
#include "pupil/par.h"

#include <string.h>

const char *const cli_planned[] = {
    "cache build", "cache export"};
const int cli_nplanned = PUPIL_COUNT(cli_planned);

static const cli_command commands[] = {
    {"launch", cmd_launch, "check a configuration, plan the ranks, run it with mpirun here or as jobs of a cluster"},
    {"run", cmd_run, "the job itself: what mpirun or srun starts on every rank"},
    {"plan", cmd_plan, "FLOPs, memory, cache bytes and the split of ranks; runs nothing"},
    {"eval", cmd_eval, "scores of a results file by its data set's official rules, or of models on held-out data"},
    {"study", cmd_study, "a sweep over teachers, students, losses, data, durations and seeds, and what it says"},
    {"report", cmd_report, "write report.html and tables of a run or of a study again"},
    {"cache", cmd_cache, "ls, verify, check, import: what a teacher cache holds, and whether it is right"},
    {"data", cmd_data, "scenes, index, inspect: make the built-in data set, index tars, look at samples"},
    {"model", cmd_model, "inspect, export: what a model holds and costs; for other programs"},
    {"embed", cmd_embed, "image and text embeddings of pictures, texts or tensors"},
    {"loss", cmd_loss, "value and gradients of a loss on given features"},
    {"tokenize", cmd_tokenize, "ids of each line of a text"},
    {"preprocess", cmd_preprocess, "the tensor a tower would see of each picture"},
#if PUPIL_BENCH
    {"bench", cmd_bench, "gemm, model, loss, allreduce, cache, input: speed; as a share of this machine's own ceiling"},
#endif
    {"help", cmd_help, "this list; help config | losses | cache | import | formats | jobs | study"},
    {"version", cmd_version, "versions of pupil and of what it stands on"},
    {"--help", cmd_help, NULL},
    {"-h", cmd_help, NULL},
    {"--version", cmd_version, NULL},
};

void cli_usage(FILE *out)
{
    fprintf(out, "pupil distils CLIP-style teachers into small students on MPI ranks, and scores "
                 "them.\n\nusage: pupil COMMAND ...\n\n");
    for (int i = 0; i < PUPIL_COUNT(commands); i++)
        if (commands[i].about) fprintf(out, "  %-11s %s\n", commands[i].name, commands[i].about);
    fprintf(out, "\n`pupil COMMAND --help` tells more, with an example. Start with: pupil launch "
                 "conf/quickstart.yaml\n"
                 "Exit codes: 0 done, 1 failed, 2 wrong input, 75 stopped on a signal with a checkpoint "
                 "saved (run it again).\n"
                 "Planned, not built in this version:");
    for (int i = 0; i < cli_nplanned; i++) fprintf(out, "%s %s", i ? "," : "", cli_planned[i]);
    fprintf(out, ".\n");
}

int cmd_version(int argc, char **argv)
{
    static const cli_spec spec = {.name = "version",
                                  .args = "",
                                  .about = "Prints the versions of pupil, MPI and the OpenBLAS kernel.",
                                  .example = "pupil version"};
    char **args;
    int n, r = cli_parse(&spec, argc, argv, &args, &n);
    if (r) return r;
    const char *better = pupil_blas_better_kernel();
    printf("pupil " PUPIL_VERSION "\n%s\nOpenBLAS kernel %s%s%s%s\n", pupil_par_version(),
           pupil_blas_kernel(), better ? " (commands that compute switch to " : "", better ? better : "",
           better ? ")" : "");
    return 0;
}

bool cli_said;

int main(int argc, char **argv)
{
    cli_argv = pupil_alloc((size_t)(argc + 1) * sizeof *argv); /* parsing moves the words about */
    memcpy(cli_argv, argv, (size_t)argc * sizeof *argv);
    if (argc < 2) {
        cli_usage(stderr);
        return pupil_exit_code(PUPIL_EUSER);
    }
    int r = cli_dispatch("", commands, PUPIL_COUNT(commands), argc - 1, argv + 1);
    if (r >= 0 && fflush(stdout) != 0) r = pupil_fail(PUPIL_EIO, "standard output could not be written");
    if (r < 0 && !cli_said)
        pupil_log(r == PUPIL_ESTOP ? PUPIL_LOG_INFO : PUPIL_LOG_ERROR, "%s", pupil_reason());
    return pupil_exit_code(r);
}
