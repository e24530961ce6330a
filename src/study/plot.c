/* plot.c: gnuplot as a program. All plots of a page are one session: data files and one script in a temporary
 * folder, one process with the script as its standard input, no shell, a bound on its time. Its SVG is then made
 * fit to stand inside a page: names instead of colours (so that light and dark both work), no ids, no titles. */
#include "report.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* CSS variables by the number k that stands for them in a script as the colour #0101kk. */
static const char *const variables[] = {"--line", "--muted", "--raw", "--raw-teacher", "--accent", "--teacher", "--ink",    "--phase1",
                                        "--phase2", "--phase3", "--phase4", "--phase5", "--phase6", "--phase7", "--phase8"};

const char *plot_colour(const char *variable)
{
    static _Thread_local char hex[8][8];
    static _Thread_local int next;
    char *out = hex[next++ % PUPIL_COUNT(hex)];
    for (int k = 0; k < PUPIL_COUNT(variables); k++)
        if (strcmp(variables[k], variable) == 0) snprintf(out, sizeof hex[0], "#0101%02x", (unsigned)k & 0xff);
    return out;
}

/* ---- the session ---------------------------------------------------------------------------------- */
int plotter_begin(plotter *p)
{
    const char *tmp = getenv("TMPDIR");
    *p = (plotter){.dir = pupil_format("%s/pupil-plot-XXXXXX", tmp && tmp[0] ? tmp : "/tmp")};
    if (mkdtemp(p->dir)) return 0;
    int r = pupil_fail(PUPIL_EIO, "%s: %s", p->dir, strerror(errno));
    pupil_free(&p->dir);
    return r;
}

int plotter_data(plotter *p, const char *name, const double *const *column, int columns, int64_t rows)
{
    char *path = pupil_join(p->dir, name);
    FILE *f = fopen(path, "w");
    int r = f ? 0 : pupil_fail(PUPIL_EIO, "%s: %s", path, strerror(errno));
    for (int64_t i = 0; f && i < rows; i++) {
        for (int k = 0; k < columns; k++) {
            if (isfinite(column[k][i])) fprintf(f, "%.9g ", column[k][i]);
            else fputs("nan ", f);
        }
        fputc('\n', f);
    }
    if (f && (ferror(f) | fclose(f))) r = pupil_fail(PUPIL_EIO, "%s: %s", path, strerror(errno));
    pupil_free(&path);
    return r;
}

int plotter_new(plotter *p, int w, int h)
{
    const char *line = plot_colour("--line"), *label = plot_colour("--muted");
    pupil_buf_printf(&p->script,
                     "set terminal svg size %d,%d dynamic font \"sans,14\" background \"#ffffff\"\n"
                     "set output \"%d.svg\"\nreset\nset key off\nset datafile missing \"nan\"\n"
                     "set border 3 lc rgb \"%s\" lw 1\nset tics nomirror scale 0.4 textcolor rgb \"%s\"\n"
                     "set grid ytics lt 1 lw 0.6 lc rgb \"%s\"\nset lmargin 7\nset rmargin 2.6\nset tmargin 0.8\nset bmargin 1.6\n",
                     w, h, p->n, line, label, line);
    return p->n++;
}

static int spawn_gnuplot(const plotter *p, pid_t *ret)
{
    posix_spawn_file_actions_t acts;
    char program[] = "gnuplot", defaults[] = "-d", *argv[] = {program, defaults, NULL};
    extern char **environ;
    posix_spawn_file_actions_init(&acts);
    posix_spawn_file_actions_addchdir_np(&acts, p->dir);
    posix_spawn_file_actions_addopen(&acts, STDIN_FILENO, "script", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&acts, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addopen(&acts, STDERR_FILENO, "said", O_WRONLY | O_CREAT, 0600);
    int e = posix_spawnp(ret, program, &acts, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&acts);
    if (e == ENOENT) return pupil_fail(PUPIL_ENOTFOUND, "gnuplot was not found on PATH");
    return e ? pupil_fail(PUPIL_EIO, "gnuplot: %s", strerror(e)) : 0;
}

/* Waits for the child at most `seconds`, then ends it. */
static int wait_for(pid_t pid, double seconds, int *ret_status)
{
    double until = pupil_now() + seconds;
    for (long pause = 1000000;; pause = PUPIL_MIN(2 * pause, 50000000)) {
        pid_t done = waitpid(pid, ret_status, WNOHANG);
        if (done == pid) return 0;
        if (done < 0 && errno != EINTR) return pupil_fail(PUPIL_EIO, "gnuplot: %s", strerror(errno));
        if (pupil_now() > until) {
            kill(pid, SIGKILL);
            waitpid(pid, ret_status, 0);
            return pupil_fail(PUPIL_EIO, "gnuplot took more than %g s", seconds);
        }
        nanosleep(&(struct timespec){0, pause}, NULL);
    }
}

/* The first line gnuplot complained with. */
static int fail_as_said(const plotter *p, int status)
{
    char *path = pupil_join(p->dir, "said"), *said = NULL;
    size_t n = 0;
    if (pupil_read_file(path, 1 << 20, &said, &n) < 0) said = pupil_strdup("");
    char *line = said + strspn(said, " \n\t");
    line[strcspn(line, "\n")] = 0;
    int r = pupil_fail(PUPIL_EIO, "gnuplot ended with %s %d%s%s", WIFSIGNALED(status) ? "signal" : "status",
                       WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), line[0] ? ": " : "", line);
    pupil_free(&path);
    pupil_free(&said);
    return r;
}

int plotter_run(plotter *p, double seconds)
{
    pid_t pid;
    int status = 0;
    char *path = pupil_join(p->dir, "script");
    pupil_buf_puts(&p->script, "set output\n");
    int r = pupil_write_file(path, p->script.s, p->script.len);
    pupil_free(&path);
    PUPIL_TRY(r);
    PUPIL_TRY(spawn_gnuplot(p, &pid));
    PUPIL_TRY(wait_for(pid, seconds, &status));
    return status == 0 ? 0 : fail_as_said(p, status);
}

void plotter_end(plotter *p)
{
    char **names = NULL;
    int n = 0;
    if (p->dir && pupil_list_dir(p->dir, "", "", &names, &n) == 0) {
        for (int k = 0; k < n; k++) {
            char *path = pupil_join(p->dir, names[k]);
            unlink(path);
            pupil_free(&path);
        }
        rmdir(p->dir);
        pupil_names_free(&names, n);
    }
    pupil_free(&p->dir);
    pupil_buf_free(&p->script);
}

/* ---- SVG for a page ------------------------------------------------------------------------------- */
static bool begins(const char *s, const char *with) { return strncmp(s, with, strlen(with)) == 0; }

/* Bytes at s that the page does not want: ids, tool tips, groups without content. */
static size_t unwanted(const char *s)
{
    const char *end = NULL;
    if (begins(s, " id=\"")) {
        end = strchr(s + 5, '"');
        return end ? (size_t)(end + 1 - s) : 0;
    }
    if (begins(s, "<title>")) {
        end = strstr(s, "</title>");
        return end ? (size_t)(end + 8 - s) : 0;
    }
    if (begins(s, "<g fill=") && (end = strchr(s, '>'))) {
        end += 1 + strspn(end + 1, " \t\n");
        return begins(end, "</g>") ? (size_t)(end + 4 - s) : 0;
    }
    return 0;
}

/* A colour of the table at s: its length, and the variable's number. */
static int named_colour(const char *s, int *ret_k)
{
    int red, green, n = 0;
    if (!begins(s, "rgb(") || sscanf(s, "rgb( %d, %d, %d)%n", &red, &green, ret_k, &n) != 3 || n == 0) return 0;
    return red == 1 && green == 1 && *ret_k >= 0 && *ret_k < PUPIL_COUNT(variables) ? n : 0;
}

/* One of gnuplot's point marks at s, which stand in the part that is left out: as a path, open ones filled with the card's
 * colour. Its length, or 0. */
static size_t mark(const char *s, pupil_buf *out)
{
    static const char *const shape[] = {"M-1-1h2v2h-2z", "M-1 0a1 1 0 1 0 2 0a1 1 0 1 0-2 0z", "M0-1.33L-1.33.67L1.33.67z", "M0 1.33L-1.33-.67L1.33-.67z",
                                        "M0-1.4L1.4 0L0 1.4L-1.4 0z"};
    int kind, n = 0, k = -1;
    double x, y, size;
    if (!begins(s, "<use ") || sscanf(s, "<use xlink:href='#gpPt%d' transform='translate(%lf,%lf) scale(%lf)' color='%n", &kind, &x, &y, &size, &n) != 4 || !n)
        return 0;
    int colour = named_colour(s + n, &k);
    const char *end = strstr(s, "/>");
    if (!colour || !end || kind < 3 || kind > 12) return 0;
    pupil_buf_printf(out, "<path d=\"%s\" transform=\"translate(%.2f,%.2f) scale(%.2f)\" stroke=\"var(%s)\" stroke-width=\".32\" fill=\"var(%s)\"/>",
                     shape[(kind - 3) / 2], x, y, size, variables[k], kind % 2 ? "--card" : variables[k]);
    return (size_t)(end + 2 - s);
}

static char *fit_for_page(const char *svg, const char *label)
{
    const char *box = strstr(svg, "viewBox=\""), *body = strstr(svg, "</defs>"), *end = strstr(svg, "</svg>");
    int w, h, k;
    if (!box || !body || !end || end < body || sscanf(box, "viewBox=\"0 0 %d %d", &w, &h) != 2) return NULL;
    pupil_buf out = {0};
    html(&out, "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"%s\"><g>", w, h, label);
    for (const char *s = body + 7; s < end;) {
        size_t skip = unwanted(s);
        if (!skip) skip = mark(s, &out);
        int colour = named_colour(s, &k);
        if (skip) {
            s += skip;
        } else if (colour) {
            pupil_buf_printf(&out, "var(%s)", variables[k]);
            s += colour;
        } else {
            if (!(*s == '\n' && s[1] == '\n')) pupil_buf_add(&out, s, 1);
            s++;
        }
    }
    pupil_buf_puts(&out, "</svg>");
    return out.s;
}

char *plotter_svg(const plotter *p, int k, const char *label)
{
    char *path = pupil_format("%s/%d.svg", p->dir, k), *svg = NULL, *out = NULL;
    if (pupil_read_file(path, 16 << 20, &svg, NULL) == 0) out = fit_for_page(svg, label);
    pupil_free(&path);
    pupil_free(&svg);
    return out;
}
