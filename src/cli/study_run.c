/* study_run.c: the runs of a study on this machine, some side by side.
 *
 * A run is this program as a child: `pupil run` alone, or `pupil launch` where ranks.total asks for more ranks; what it says goes
 * to log.txt of its directory. Caches are filled before the cells that want them. A run that fails is noted with its reason in
 * the file `failed` and the others go on; one that was killed is no failure and is run again by the next `pupil study`. A signal
 * is passed on, all children save a checkpoint, and so does this end with ESTOP. If this process itself is killed its children
 * stop too, at their next step; a lock that they have inherited keeps a second study waiting until they have. */
#include "study.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

typedef enum { TASK_WAITS, TASK_RUNS, TASK_DONE, TASK_FAILED, TASK_KILLED, TASK_NEVER } task_state;

typedef struct {
    const pupil_conf *conf;
    int needs; /* number of the fill before it, or -1 */
    bool is_fill;
    task_state state;
    pid_t pid;
    double began;
} task;

typedef struct {
    const pupil_cells *of;
    task *task; /* fills, then cells */
    int n, running, width;
    double seconds[2]; /* of those that ended here: cells, fills */
    int ended[2];
    bool stopping, stopped; /* a signal was seen; some run ended because of it */
    double asked;           /* when the children were told */
} runner;

/* ---- the lock -------------------------------------------------------------------------------------- */
/* Held by this process and its children, until the last of them has ended. */
static int lock(const char *dir)
{
    enum { PATIENCE = 60 };
    char *path = pupil_join(dir, "lock");
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int fd = open(path, O_RDWR | O_CREAT, 0666), r = 0;
    if (fd < 0) r = pupil_fail(PUPIL_EIO, "%s: %s", path, strerror(errno));
    for (int i = 0; r == 0 && fcntl(fd, F_OFD_SETLK, &whole) != 0; i++) {
        if (errno != EAGAIN && errno != EACCES) {
            pupil_warn("%s cannot be locked (%s); see to it that only one study runs there", path, strerror(errno));
            break;
        }
        if (i == 0) pupil_info("another study is at work in %s; waiting for it for up to %d s", dir, PATIENCE);
        if (i == 10 * PATIENCE || pupil_signal_seen()) r = pupil_fail(PUPIL_EUSER, "another `pupil study` is at work in %s", dir);
        nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    }
    pupil_free(&path);
    return r;
}

/* ---- children -------------------------------------------------------------------------------------- */
_Noreturn static void become_run(char *const *argv, const char *log, pid_t parent)
{
    sigset_t none;
    int out = open(log, O_WRONLY | O_CREAT | O_APPEND, 0666), in = open("/dev/null", O_RDONLY);
    setpgid(0, 0); /* a Ctrl-C reaches the study alone */
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (out >= 0 && in >= 0 && getppid() == parent && dup2(in, 0) >= 0 && dup2(out, 1) >= 0 && dup2(out, 2) >= 0) execv(argv[0], argv);
    _exit(126);
}

static int start(runner *r, task *t)
{
    char self[PATH_MAX] = "", run[] = "run", launch[] = "launch", set[] = "--set", ranks[] = "ranks.total=1";
    char *settings = study_file(t->conf, "settings.yaml"), *log = study_file(t->conf, "log.txt");
    bool alone = t->conf->ranks.total <= 1;
    int code = study_write_settings(t->conf);
    if (code == 0 && readlink("/proc/self/exe", self, sizeof self - 1) < 0) code = pupil_fail(PUPIL_EIO, "/proc/self/exe: %s", strerror(errno));
    pid_t parent = getpid();
    if (code == 0) {
        t->pid = fork();
        if (t->pid == 0) become_run((char *const[]){self, alone ? run : launch, settings, set, alone ? ranks : NULL, NULL}, log, parent);
        if (t->pid < 0) code = pupil_fail(PUPIL_EIO, "fork: %s", strerror(errno));
    }
    if (code == 0) {
        t->state = TASK_RUNS;
        t->began = pupil_now();
        r->running++;
    }
    pupil_free(&settings);
    pupil_free(&log);
    return code;
}

/* The last line of a log that says something, without "error: " before it. */
static char *last_words(const pupil_conf *c)
{
    char *path = study_file(c, "log.txt"), *text = NULL, *found = NULL;
    if (pupil_read_file(path, 64 << 20, &text, NULL) < 0) text = pupil_strdup("");
    char *line = text, *save = NULL;
    for (line = strtok_r(line, "\r\n", &save); line; line = strtok_r(NULL, "\r\n", &save))
        if (line[strspn(line, " -")]) found = line;
    if (found && !strncmp(found, "error: ", 7)) found += 7;
    found = pupil_strdup(found ? found : "it said nothing");
    pupil_free(&text);
    pupil_free(&path);
    return found;
}

static void name_of(const runner *r, const task *t, pupil_buf *out)
{
    int k = (int)(t - r->task);
    if (t->is_fill) pupil_buf_printf(out, "teacher cache %s", r->of->fill[k].id);
    else pupil_buf_printf(out, "cell %s ", r->of->cell[k - r->of->fills].id), pupil_cell_name(r->of, &r->of->cell[k - r->of->fills], out);
}

static void mark_failed(const task *t, const char *why)
{
    char *path = study_file(t->conf, "failed"), *line = pupil_format("%s\n", why);
    if (pupil_mkdirs(t->conf->run.dir) < 0 || pupil_write_file(path, line, strlen(line)) < 0) pupil_warn("%s", pupil_reason());
    pupil_free(&path);
    pupil_free(&line);
}

/* Cells that can never run without this cache are marked too. */
static void failed(runner *r, task *t, const char *why)
{
    pupil_buf name = {0};
    t->state = TASK_FAILED;
    name_of(r, t, &name);
    pupil_warn("%s failed: %s", name.s, why);
    if (!t->is_fill) mark_failed(t, why);
    for (int i = r->of->fills; i < r->n && t->is_fill; i++) {
        if (r->task[i].needs != t - r->task || r->task[i].state != TASK_WAITS) continue;
        char *because = pupil_format("its teacher: %s", why);
        r->task[i].state = TASK_FAILED;
        mark_failed(&r->task[i], because);
        pupil_free(&because);
    }
    pupil_buf_free(&name);
}

static void killed(runner *r, task *t, int sig)
{
    pupil_buf name = {0};
    name_of(r, t, &name);
    t->state = TASK_KILLED;
    pupil_warn("%s was killed by signal %d; the next `pupil study` goes on with it", name.s, sig);
    pupil_buf_free(&name);
}

static void ended(runner *r, task *t, int status)
{
    r->running--;
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    if (code == 0) {
        t->state = TASK_DONE;
        r->seconds[t->is_fill] += pupil_now() - t->began;
        r->ended[t->is_fill]++;
    } else if (code == pupil_exit_code(PUPIL_ESTOP) || (code < 0 && r->stopping)) { /* a signal may have come before it was caught */
        t->state = TASK_NEVER;
        r->stopped = true;
    } else if (code < 0) {
        killed(r, t, WTERMSIG(status));
    } else {
        char *why = last_words(t->conf);
        failed(r, t, why);
        pupil_free(&why);
    }
}

static void reap(runner *r)
{
    int status;
    for (int i = 0; i < r->n; i++)
        if (r->task[i].state == TASK_RUNS && waitpid(r->task[i].pid, &status, WNOHANG) == r->task[i].pid) ended(r, &r->task[i], status);
}

static void pass_on(runner *r, int sig)
{
    for (int i = 0; i < r->n; i++)
        if (r->task[i].state == TASK_RUNS) kill(r->task[i].pid, sig);
}

/* A signal is passed on once; who has not ended two minutes later is killed. */
static void look_for_signals(runner *r)
{
    enum { PATIENCE = 120 };
    if (pupil_signal_seen() && !r->stopping) {
        r->stopping = true;
        r->asked = pupil_now();
        pupil_info("stopping: %d run%s checkpoint and end", r->running, r->running == 1 ? " saves its" : "s save their");
        pass_on(r, SIGUSR1);
    }
    if (r->stopping && pupil_now() - r->asked > PATIENCE) pass_on(r, SIGKILL);
}

/* ---- the order of things ------------------------------------------------------------------------------ */
/* Two fills of one teacher that is trained here take turns. */
static bool teacher_busy(const runner *r, const task *t)
{
    const char *dir = t->conf->teacher.dir;
    for (int i = 0; i < r->of->fills && t->is_fill && dir; i++)
        if (r->task[i].state == TASK_RUNS && r->task[i].conf->teacher.dir && !strcmp(r->task[i].conf->teacher.dir, dir)) return true;
    return false;
}

static task *next(runner *r)
{
    for (int i = 0; i < r->n; i++) {
        task *t = &r->task[i];
        if (t->state == TASK_WAITS && (t->needs < 0 || r->task[t->needs].state == TASK_DONE) && !teacher_busy(r, t)) return t;
    }
    return NULL;
}

static void count(const runner *r, int cells[TASK_NEVER + 1], int *left_fills)
{
    *left_fills = 0;
    for (int i = 0; i < r->n; i++) {
        const task *t = &r->task[i];
        if (!t->is_fill) cells[t->state]++;
        else *left_fills += t->state == TASK_WAITS || t->state == TASK_RUNS;
    }
}

static void progress(const runner *r, bool last)
{
    int cells[TASK_NEVER + 1] = {0}, fills;
    char eta[32] = "--";
    count(r, cells, &fills);
    if (r->ended[0])
        pupil_duration((r->seconds[0] / r->ended[0] * (cells[TASK_WAITS] + 0.5 * cells[TASK_RUNS]) +
                        (r->ended[1] ? r->seconds[1] / r->ended[1] * fills : 0)) / r->width, eta);
    pupil_progress(last, "study    %d/%d cells   %d running   %d teacher%s to go   %d failed   ETA %s", cells[TASK_DONE], r->of->n, r->running, fills,
                   fills == 1 ? "" : "s", cells[TASK_FAILED] + cells[TASK_KILLED], last ? "0s" : eta);
}

static void plan_tasks(runner *r)
{
    const pupil_cells *all = r->of;
    r->n = all->fills + all->n;
    r->task = pupil_alloc((size_t)(r->n + 1) * sizeof *r->task);
    for (int i = 0; i < all->n; i++) {
        static const task_state of[] = {[CELL_TODO] = TASK_WAITS, [CELL_DONE] = TASK_DONE, [CELL_FAILED] = TASK_FAILED};
        r->task[all->fills + i] = (task){.conf = all->cell[i].conf, .needs = all->cell[i].fill, .state = of[study_cell_state(&all->cell[i])]};
    }
    for (int f = 0; f < all->fills; f++) {
        bool wanted = false;
        for (int i = all->fills; i < r->n; i++) wanted |= r->task[i].state == TASK_WAITS && r->task[i].needs == f;
        task_state s = study_fill_whole(&all->fill[f]) ? TASK_DONE : wanted ? TASK_WAITS : TASK_NEVER;
        r->task[f] = (task){.conf = all->fill[f].conf, .needs = -1, .is_fill = true, .state = s};
    }
}

static int verdict(runner *r)
{
    int cells[TASK_NEVER + 1] = {0}, fills;
    count(r, cells, &fills);
    int bad = cells[TASK_FAILED] + cells[TASK_KILLED];
    if (r->stopped || (r->stopping && cells[TASK_WAITS])) return pupil_fail(PUPIL_ESTOP, "stopped with %d of %d cells done; run the same command again", cells[TASK_DONE], r->of->n);
    if (bad) return pupil_fail(PUPIL_EMPI, "%d of %d cells failed or were killed (pupil study --status says why; --retry runs them again)", bad, r->of->n);
    return 0;
}

int study_run(const pupil_cells *all, int width)
{
    runner r = {.of = all, .width = width};
    int code = lock(all->dir);
    pupil_signals_catch();
    setenv("OMPI_MCA_ess_singleton_isolated", "1", 0); /* a run of one rank needs no daemon of Open MPI's */
    if (code == 0) plan_tasks(&r);
    while (code == 0) {
        reap(&r);
        look_for_signals(&r);
        task *t = NULL;
        while (code == 0 && !r.stopping && r.running < width && (t = next(&r))) code = start(&r, t);
        if (!r.running) break;
        progress(&r, false);
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    }
    if (code == 0) progress(&r, true);
    if (code == 0) code = verdict(&r);
    else pass_on(&r, SIGUSR1);
    pupil_free(&r.task);
    return code;
}
