/* start.c: the engine before the work: the OpenBLAS kernel this CPU deserves, the number of threads, cores
 * enough for them, and a short sgemm that shows what one rank can do (DESIGN 5.7). */
#include "cli.h"

#include "pupil/math.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

char **cli_argv;

int cli_env_rank(void)
{
    static const char *const names[] = {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "SLURM_PROCID"};
    for (int i = 0; i < PUPIL_COUNT(names); i++)
        if (getenv(names[i])) return atoi(getenv(names[i]));
    return 0;
}

/* OpenBLAS chooses its kernel while the program is loaded, so another choice takes another start.
 * PUPIL_RESTARTED keeps a library that ignores the wish from restarting for ever. */
void cli_best_kernel(void)
{
    const char *better = pupil_blas_better_kernel();
    if (!better || getenv("OPENBLAS_CORETYPE") || getenv("PUPIL_RESTARTED")) return;
    if (cli_env_rank() == 0)
        pupil_info("OpenBLAS picked its %s kernel for this CPU, which deserves %s: restarting once with "
                   "OPENBLAS_CORETYPE=%s",
                   pupil_blas_kernel(), better, better);
    setenv("OPENBLAS_CORETYPE", better, 1);
    setenv("PUPIL_RESTARTED", "1", 1);
    execv("/proc/self/exe", cli_argv);
    pupil_warn("restart failed (%s); going on with the slow kernel. Set OPENBLAS_CORETYPE=%s yourself",
               strerror(errno), better);
}

int cli_set_threads(int64_t asked)
{
    const char *env = getenv("OMP_NUM_THREADS");
    int n = asked > 0 ? (int)PUPIL_MIN(asked, (int64_t)1024) : env ? atoi(env) : 1;
    pupil_math_set_threads(PUPIL_MAX(1, n));
    return pupil_math_threads();
}

int cli_bound_cores(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

void cli_warn_binding(int cores, int threads)
{
    if (cores >= threads) return;
    pupil_warn("a rank may use %d core%s but has %d threads, so they take turns and it runs at about %d %% "
               "of its speed; start it with "
               "`mpirun --bind-to none` or `--map-by slot:PE=%d`, with `srun --cpus-per-task=%d`, or set "
               "ranks.threads: %d",
               cores, cores == 1 ? "" : "s", threads, 100 * cores / threads, threads, threads, cores);
}

double cli_gemm_gflops(int64_t n, double seconds)
{
    size_t bytes = (size_t)(n * n) * sizeof(float);
    float *a = pupil_alloc(bytes), *b = pupil_alloc(bytes), *c = pupil_alloc(bytes);
    for (int64_t i = 0; i < n * n; i++) {
        a[i] = (float)(i % 7) - 3;
        b[i] = (float)(i % 5) - 2;
    }
    double best = 1e30, begin = pupil_now(), now = begin;
    do {
        double t = now;
        pupil_gemm(false, false, n, n, n, 1, a, n, b, n, 0, c, n);
        now = pupil_now();
        if (now - t < best) best = now - t;
    } while (now - begin < seconds);
    pupil_free(&a);
    pupil_free(&b);
    pupil_free(&c);
    return 2.0 * (double)(n * n * n) / best / 1e9;
}
