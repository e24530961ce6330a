/* program.h: runs the program under test and keeps its exit code and what it said. */
#ifndef PUPIL_TESTS_PROGRAM_H
#define PUPIL_TESTS_PROGRAM_H

#include "../proof.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

typedef struct {
    pid_t pid;
    char *out_path, *err_path;
    char *out, *err; /* after program_end() */
    int code;
} program;

/* Start PUPIL_BIN with these words (NULL-terminated); its output goes to files of `dir`. */
static inline void program_begin(program *p, const char *dir, const char *const *words)
{
    static int serial;
    char *argv[64] = {getenv("PUPIL_BIN")};
    int n = 1;
    CHECK(argv[0] != NULL, "PUPIL_BIN is not set: run this through meson test");
    for (; words[n - 1]; n++) argv[n] = (char *)words[n - 1];
    *p = (program){.out_path = pupil_format("%s/out-%d", dir, serial),
                   .err_path = pupil_format("%s/err-%d", dir, serial)};
    serial++;
    p->pid = fork();
    if (p->pid != 0) return;
    int out = open(p->out_path, O_CREAT | O_WRONLY | O_APPEND, 0600),
        err = open(p->err_path, O_CREAT | O_WRONLY | O_APPEND, 0600);
    if (out < 0 || err < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0) _exit(126);
    execv(argv[0], argv);
    _exit(127);
}

static inline void program_end(program *p)
{
    int status = 0;
    size_t n;
    while (waitpid(p->pid, &status, 0) < 0) CHECK(errno == EINTR, "waitpid");
    p->code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    GOOD(pupil_read_file(p->out_path, 0, &p->out, &n));
    GOOD(pupil_read_file(p->err_path, 0, &p->err, &n));
}

static inline void program_free(program *p)
{
    DROP(p->out_path, p->err_path, p->out, p->err);
}

#define RUN(p, dir, ...)                                                                                     \
    do {                                                                                                     \
        program_begin(p, dir, (const char *const[]){__VA_ARGS__, NULL});                                     \
        program_end(p);                                                                                      \
    } while (0)

#define HOLDS(text, part) CHECK(strstr((text), (part)), "expected \"%s\" in:\n%s", (part), (text))
#define LACKS(text, part) CHECK(!strstr((text), (part)), "did not expect \"%s\" in:\n%s", (part), (text))

/* Lines of a text. */
static inline int lines_of(const char *text)
{
    int n = 0;
    for (; *text; text++) n += *text == '\n';
    return n;
}

static inline char *write_text(const char *dir, const char *name, const char *text)
{
    char *path = pupil_join(dir, name);
    GOOD(pupil_write_file(path, text, strlen(text)));
    return path;
}

#endif
