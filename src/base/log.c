/* log.c: human lines on stderr. Rank 0 speaks plainly, others only from WARN up and with a prefix.
 * Each line leaves in one write(2), so lines of several ranks do not mix. A progress line keeps to the width of its
 * terminal; PUPIL_TTY=WIDTH says that stderr, a pipe, is shown on one. */
#include "pupil/base.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static int my_rank, my_size = 1;
static char my_host[64];
static pupil_log_level my_level = PUPIL_LOG_INFO;
static bool progress_open;
static double progress_last;

void pupil_log_identity(int rank, int size, const char *host)
{
    my_rank = rank;
    my_size = size;
    snprintf(my_host, sizeof my_host, "%s", host);
}

void pupil_log_set_level(pupil_log_level level) { my_level = level; }

static void emit(const char *text, size_t n)
{
    while (n > 0) {
        ssize_t w = write(STDERR_FILENO, text, n);
        if (w <= 0) return;
        text += w;
        n -= (size_t)w;
    }
}

void pupil_log(pupil_log_level level, const char *fmt, ...)
{
    if (level > my_level || (my_rank != 0 && level > PUPIL_LOG_WARN)) return;
    char line[2048];
    size_t n = 0;
    if (progress_open) n += (size_t)snprintf(line, sizeof line, "\r\033[K");
    progress_open = false;
    if (my_rank != 0) n += (size_t)snprintf(line + n, sizeof line - n, "[rank %d %s] ", my_rank, my_host);
    static const char *const names[] = {"error: ", "warning: ", "", ""};
    n += (size_t)snprintf(line + n, sizeof line - n, "%s", names[level]);
    va_list ap;
    va_start(ap, fmt);
    int w = vsnprintf(line + n, sizeof line - n - 1, fmt, ap);
    va_end(ap);
    n = PUPIL_MIN(n + (size_t)(w < 0 ? 0 : w), sizeof line - 2);
    line[n++] = '\n';
    emit(line, n);
}

/* Columns of the terminal behind stderr; 0: there is none. */
static int terminal_width(void)
{
    const char *told = getenv("PUPIL_TTY");
    struct winsize w = {0};
    if (told) return PUPIL_MAX(0, atoi(told));
    if (!isatty(STDERR_FILENO)) return 0;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 0 ? w.ws_col : 80;
}

void pupil_progress(bool last, const char *fmt, ...)
{
    if (my_rank != 0 || my_level < PUPIL_LOG_INFO) return;
    static int tty = -1;
    if (tty < 0) tty = terminal_width();
    double now = pupil_now();
    if (!last && now - progress_last < (tty ? 0.1 : 5.0)) return;
    progress_last = now;
    char line[1024];
    size_t n = tty ? (size_t)snprintf(line, sizeof line, "\r") : 0;
    va_list ap;
    va_start(ap, fmt);
    int w = vsnprintf(line + n, sizeof line - n - 8, fmt, ap);
    va_end(ap);
    n = PUPIL_MIN(n + (size_t)(w < 0 ? 0 : w), sizeof line - 9);
    if (tty) n = PUPIL_MIN(n, (size_t)tty); /* with the \r: one column stays free */
    if (tty) n += (size_t)snprintf(line + n, sizeof line - n, "\033[K");
    if (!tty || last) line[n++] = '\n';
    progress_open = tty && !last;
    emit(line, n);
}
