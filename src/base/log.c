/* log.c: human lines on stderr. Rank 0 speaks plainly, others only from WARN up and with a prefix.
 * Each line leaves in one write(2), so lines of several ranks do not mix. */
#include "pupil/base.h"

#include <string.h>
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

void pupil_progress(bool last, const char *fmt, ...)
{
    if (my_rank != 0 || my_level < PUPIL_LOG_INFO) return;
    static int tty = -1;
    if (tty < 0) tty = isatty(STDERR_FILENO);
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
    if (tty) n += (size_t)snprintf(line + n, sizeof line - n, "\033[K");
    if (!tty || last) line[n++] = '\n';
    progress_open = tty && !last;
    emit(line, n);
}
