/* child.c: mpirun as a child: its streams, its signals, its end.
 *
 * Streams pass unchanged, byte by byte as they come, except that mpirun's own banners (text between two lines
 * of 74 dashes) about ranks that ended are taken out: what the ranks said is enough, and a rank that was
 * killed gets one clear line. The child has its own process group, so a Ctrl-C reaches this process alone,
 * which asks the job to stop. */
#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* ---- the streams --------------------------------------------------------------------------------- */
enum { DASHES = 74, BANNER_MAX = 16384 };
static const char forwarding[] = "mpirun: Forwarding signal ";

typedef struct {
    int from, to;
    bool starts;  /* the next byte begins a line, as the eye sees it: after \n, \r or ESC [ K */
    char tail[2]; /* last bytes passed on */
    enum { PASS, BANNER, SKIP_LINE } state;
    pupil_buf held;  /* may become a banner or a line of mpirun's */
    pupil_buf ready; /* to be shown */
    bool open_line;  /* what was shown last did not end a line */
} stream;

static pupil_buf death; /* what is to be said of the rank that died first */

static void show(stream *s)
{
    if (s->ready.len) s->open_line = s->ready.s[s->ready.len - 1] != '\n';
    for (size_t done = 0; done < s->ready.len;) {
        ssize_t w = write(s->to, s->ready.s + done, s->ready.len - done);
        if (w < 0 && errno == EINTR) continue;
        if (w <= 0) break; /* nobody looks any more: the job goes on */
        done += (size_t)w;
    }
    s->ready.len = 0;
}

static void release(stream *s)
{
    pupil_buf_add(&s->ready, s->held.s, s->held.len);
    s->held.len = 0;
}

static bool is_dashes(const char *p, size_t n)
{
    return strspn(p, "-") >= n;
}

/* A whole banner: taken out if it is about ranks that ended, else shown as it is. */
static void judge_banner(stream *s, int students)
{
    const char *text = s->held.s, *noticed = strstr(text, "process rank ");
    int rank = 0, sig = 0;
    char host[64] = "", name[64] = "";
    if (strstr(text, "exited on signal") && noticed &&
        sscanf(noticed, "process rank %d with PID %*d on node %63s exited on signal %d (%63[^)])", &rank,
               host, &sig, name) == 4) {
        if (!death.len)
            pupil_buf_printf(&death, "rank %d (%s) was killed by signal %d (%s)", rank,
                             rank < students ? "student" : "teacher", sig, name);
    } else if (!strstr(text, "MPI_ABORT was invoked") && !strstr(text, "non-zero exit code") &&
               !strstr(text, "exited with non-zero status")) {
        release(s);
    }
    s->held.len = 0;
}

static bool may_be_mpirun(const pupil_buf *h)
{
    if (h->s[0] == '-')
        return h->len <= DASHES ? is_dashes(h->s, h->len) : h->len == DASHES + 1 && h->s[DASHES] == '\n';
    return h->len < sizeof forwarding && !strncmp(h->s, forwarding, h->len);
}

static void pass_byte(stream *s, char c, int students)
{
    if (s->state == SKIP_LINE) {
        if (c == '\n') s->state = PASS; /* and a line starts here, as where the skipped one did */
        return;
    }
    if (s->state == PASS && s->held.len == 0 && !(s->starts && (c == '-' || c == forwarding[0]))) {
        pupil_buf_add(&s->ready, &c, 1);
    } else {
        pupil_buf_add(&s->held, &c, 1);
        const pupil_buf *h = &s->held;
        if (s->state == BANNER) {
            bool over = c == '\n' && h->len > 2 * DASHES + 2 && h->s[h->len - DASHES - 2] == '\n' &&
                        is_dashes(h->s + h->len - DASHES - 1, DASHES);
            if (over) judge_banner(s, students);
            if (h->len >= BANNER_MAX) release(s);
            if (h->len == 0) s->state = PASS;
        } else if (!may_be_mpirun(h)) {
            release(s);
        } else if (h->len == DASHES + 1) {
            s->state = BANNER;
        } else if (h->len == sizeof forwarding - 1 && h->s[0] == forwarding[0]) {
            s->held.len = 0;
            s->state = SKIP_LINE;
            s->starts = true;
            return;
        }
    }
    s->starts = c == '\n' || c == '\r' || (c == 'K' && s->tail[0] == '\033' && s->tail[1] == '[');
    s->tail[0] = s->tail[1];
    s->tail[1] = c;
}

/* Pass on what is there; closes the stream at its end. */
static void pump(stream *s, int students)
{
    char block[4096];
    ssize_t n = read(s->from, block, sizeof block);
    if (n < 0 && errno == EINTR) return;
    for (ssize_t i = 0; i < n; i++) pass_byte(s, block[i], students);
    if (n <= 0) {
        release(s);
        close(s->from);
        s->from = -1;
    }
    show(s);
}

/* ---- the signals --------------------------------------------------------------------------------- */
static volatile sig_atomic_t asked, insisted; /* USR1 and HUP; INT and TERM */

static void on_signal(int n)
{
    if (n == SIGUSR1 || n == SIGHUP) asked++;
    else insisted++;
}

typedef struct {
    pid_t pid;
    int asked, insisted;    /* dealt with */
    double first, deadline; /* of the last INT or TERM; when a job that was told to end is killed, or 0 */
} stopper;

static void end_line(stream *s)
{
    if (s->open_line) pupil_buf_puts(&s->ready, "\n");
    show(s);
}

static void say(stream *s, pupil_log_level level, const char *text)
{
    end_line(s);
    pupil_log(level, "%s", text);
}

static void pass_signals(stopper *p, stream *err)
{
    double now = pupil_now();
    if (p->deadline > 0 && now > p->deadline) kill(p->pid, SIGKILL);
    bool ask = asked > p->asked, insist = insisted > p->insisted;
    p->asked = asked;
    p->insisted = insisted;
    if (insist && p->first > 0 && now - p->first < 10) {
        say(err, PUPIL_LOG_INFO, "ending the job now");
        kill(p->pid, SIGTERM);
        if (!(p->deadline > 0)) p->deadline = now + 5;
    } else if (ask || insist) {
        say(err, PUPIL_LOG_INFO,
            "stopping: the job saves a checkpoint and ends; a second Ctrl-C or TERM within 10 s ends it at "
            "once");
        kill(p->pid, SIGUSR1);
    }
    if (insist) p->first = now;
}

static void catch_signals(sigset_t *ret_before)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGUSR1, SIGHUP};
    struct sigaction a = {.sa_handler = on_signal};
    sigset_t block;
    sigemptyset(&block);
    for (int i = 0; i < PUPIL_COUNT(signals); i++) {
        sigaction(signals[i], &a, NULL);
        sigaddset(&block, signals[i]);
    }
    sigprocmask(SIG_BLOCK, &block, ret_before); /* they arrive in ppoll() alone */
    signal(SIGPIPE, SIG_IGN);
}

/* ---- the child ----------------------------------------------------------------------------------- */
static int start(char *const *argv, const sigset_t *mask, int out, int err, pid_t *ret_pid)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t how;
    sigset_t defaults;
    sigfillset(&defaults);
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", 0, 0);
    posix_spawn_file_actions_adddup2(&files, out, STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&files, err, STDERR_FILENO);
    posix_spawnattr_init(&how);
    posix_spawnattr_setpgroup(&how, 0);
    posix_spawnattr_setsigmask(&how, mask);
    posix_spawnattr_setsigdefault(&how, &defaults);
    posix_spawnattr_setflags(&how, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    int r = posix_spawn(ret_pid, argv[0], &files, &how, argv, environ);
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&how);
    return r == 0 ? 0 : pupil_fail(PUPIL_EIO, "%s could not be started: %s", argv[0], strerror(r));
}

/* Pass on streams and signals until the child has closed both and ended; its wait status. */
static int attend(pid_t pid, stream *out, stream *err, int students, const sigset_t *mask)
{
    stopper p = {.pid = pid};
    int status = 0;
    bool ended = false;
    while (!ended || out->from >= 0 || err->from >= 0) {
        struct pollfd fd[2] = {{.fd = out->from, .events = POLLIN}, {.fd = err->from, .events = POLLIN}};
        struct timespec wait = {.tv_nsec = 200000000};
        int ready = ppoll(fd, 2, &wait, mask);
        if (fd[0].revents && ready > 0) pump(out, students);
        if (fd[1].revents && ready > 0) pump(err, students);
        if (!ended) pass_signals(&p, err);
        if (!ended && waitpid(pid, &status, WNOHANG) == pid) ended = true;
        else if (ended && ready == 0)
            break; /* an orphan of the job keeps a stream open: not worth waiting for */
    }
    release(out);
    release(err);
    show(out);
    show(err);
    return status;
}

static int verdict(int status, stream *err)
{
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    if (death.len) {
        pupil_buf_printf(&death, "; run the same command again to resume from the last checkpoint");
        say(err, PUPIL_LOG_ERROR, death.s);
    } else if (WIFSIGNALED(status) || (code != 0 && code != 1 && code != 2 && code != 75)) {
        char text[160];
        snprintf(text, sizeof text,
                 "mpirun ended with code %d; run the same command again to resume from the last checkpoint",
                 code);
        say(err, PUPIL_LOG_ERROR, text);
    } else {
        end_line(err);
    }
    cli_said = code != 0;
    return code == 0    ? 0
           : death.len  ? PUPIL_EMPI
           : code == 2  ? PUPIL_EUSER
           : code == 75 ? PUPIL_ESTOP
                        : PUPIL_EMPI;
}

int cli_child_run(char *const *argv, int students)
{
    int out[2], err[2];
    pid_t pid = 0;
    sigset_t before;
    if (pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0)
        return pupil_fail(PUPIL_EIO, "pipe: %s", strerror(errno));
    catch_signals(&before);
    int r = start(argv, &before, out[1], err[1], &pid);
    close(out[1]);
    close(err[1]);
    if (r < 0) return r;
    stream o = {.from = out[0], .to = STDOUT_FILENO, .starts = true},
           e = {.from = err[0], .to = STDERR_FILENO, .starts = true};
    int status = attend(pid, &o, &e, students, &before);
    r = verdict(status, &e);
    pupil_buf_free(&o.held);
    pupil_buf_free(&e.held);
    pupil_buf_free(&o.ready);
    pupil_buf_free(&e.ready);
    pupil_buf_free(&death);
    return r;
}
