/* apart.c: HDF5 1.10 follows the references of variable-length text without a look at where they lead, so a damaged file can
 * crash it, or send it round in circles. Such text is read by a child, whose end is an error like others.
 * Guarantees: the caller gets all of the child's bytes, or none. */
#include "apart.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CODE_BYTES = sizeof(int32_t) };

static bool write_all(int fd, const void *bytes, size_t n)
{
    for (size_t done = 0; done < n;) {
        ssize_t some = write(fd, (const char *)bytes + done, n - done);
        if (some < 0 && errno == EINTR) continue;
        if (some <= 0) return false;
        done += (size_t)some;
    }
    return true;
}

/* A sanitizer's shadow alone is larger than any limit. */
#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#define SANITIZED __has_feature(address_sanitizer)
#else
#define SANITIZED 0
#endif

/* 5 s of computing and one more a MiB of the file, for damage can also end in a circle; no more memory than used now, four
 * times the file, and 2 GiB. */
static void set_limits(const char *path)
{
    long pages = 0;
    rlim_t seconds = 5 + (rlim_t)(pupil_file_size(path) >> 20);
    setrlimit(RLIMIT_CPU, &(struct rlimit){seconds, seconds});
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    if (SANITIZED) return;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f) return;
    bool known = fscanf(f, "%ld", &pages) == 1;
    fclose(f);
    rlim_t most = (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE) + 4 * (rlim_t)pupil_file_size(path) + ((rlim_t)2 << 30);
    if (known) setrlimit(RLIMIT_AS, &(struct rlimit){most, most});
}

/* The child's way: a code, then its bytes, or its reason. */
static _Noreturn void child(int fd, const char *path, int (*work)(void *arg, pupil_buf *out), void *arg)
{
    static const int deaths[] = {SIGSEGV, SIGBUS, SIGFPE, SIGABRT, SIGILL};
    pupil_buf out = {0};
    for (int i = 0; i < PUPIL_COUNT(deaths); i++) signal(deaths[i], SIG_DFL);
    set_limits(path);
    int32_t code = work(arg, &out);
    const char *bytes = code < 0 ? pupil_reason() : out.s ? out.s : "";
    size_t n = code < 0 ? strlen(bytes) : out.len;
    _exit(write_all(fd, &code, CODE_BYTES) && write_all(fd, bytes, n) ? 0 : 1);
}

static int read_all(int fd, pupil_buf *out)
{
    char *block = pupil_alloc(1 << 16);
    ssize_t n;
    while ((n = read(fd, block, 1 << 16)) > 0 || (n < 0 && errno == EINTR))
        if (n > 0) pupil_buf_add(out, block, (size_t)n);
    pupil_free(&block);
    return n < 0 ? -1 : 0;
}

int run_apart(const char *path, int (*work)(void *arg, pupil_buf *out), void *arg, pupil_buf *out)
{
    int fd[2], status = -1;
    int32_t code = 0;
    pupil_buf got = {0};
    fflush(NULL);
    if (pipe(fd) < 0) return pupil_fail(PUPIL_EIO, "%s: pipe: %s", path, strerror(errno));
    pid_t pid = fork();
    if (pid == 0) {
        close(fd[0]);
        child(fd[1], path, work, arg);
    }
    close(fd[1]);
    bool whole = pid > 0 && read_all(fd[0], &got) == 0;
    close(fd[0]);
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    int r = 0;
    if (!whole) r = pupil_fail(PUPIL_EIO, "%s: no process could be made to read it: %s", path, strerror(errno));
    else if (!WIFEXITED(status) || WEXITSTATUS(status) || got.len < CODE_BYTES)
        r = pupil_fail(PUPIL_EFORMAT, "%s: cannot be read: its keys or attributes are damaged", path);
    else memcpy(&code, got.s, CODE_BYTES);
    if (r == 0 && code < 0) r = pupil_fail(code, "%s", got.s + CODE_BYTES);
    if (r == 0) pupil_buf_add(out, got.s + CODE_BYTES, got.len - CODE_BYTES);
    pupil_buf_free(&got);
    return r;
}
