/* system.c: the clock, signals turned into a flag, and fault points that let tests break things on purpose. */
#include "pupil/base.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

double pupil_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

const char *pupil_duration(double seconds, char out[32])
{
    if (!(seconds >= 0) || seconds > 1e9) {
        snprintf(out, 32, "--");
        return out;
    }
    long s = (long)(seconds + 0.5);
    if (s >= 3600)
        snprintf(out, 32, "%ldh %02ldm", s / 3600, s / 60 % 60);
    else if (s >= 60)
        snprintf(out, 32, "%ldm %02lds", s / 60, s % 60);
    else
        snprintf(out, 32, "%lds", s);
    return out;
}

const char *pupil_bytes_text(double bytes, char out[32])
{
    static const char *const unit[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    int u = 0;
    while (bytes >= 1024 && u < PUPIL_COUNT(unit) - 1) {
        bytes /= 1024;
        u++;
    }
    snprintf(out, 32, u ? "%.1f %s" : "%.0f %s", bytes, unit[u]);
    return out;
}

const char *pupil_utc(char out[32])
{
    time_t now = time(NULL);
    struct tm tm;
    gmtime_r(&now, &tm);
    strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &tm);
    return out;
}

static volatile sig_atomic_t signal_seen;

static void on_signal(int n) { signal_seen = n; }

void pupil_signals_catch(void)
{
    struct sigaction a = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigaction(SIGUSR1, &a, NULL);
    sigaction(SIGTERM, &a, NULL);
    sigaction(SIGINT, &a, NULL);
}

int pupil_signal_seen(void) { return signal_seen; }

/* One armed fault: PUPIL_FAULT=name:n[:kill|:wait] */
typedef struct {
    char name[64];
    long left;
    bool kill, wait;
} fault;
static fault faults[8];
static int nfaults = -1;

static void arm(void)
{
    nfaults = 0;
    const char *spec = getenv("PUPIL_FAULT"), *only = getenv("PUPIL_FAULT_RANK");
    const char *rank = getenv("OMPI_COMM_WORLD_RANK");
    if (!rank) rank = getenv("PMIX_RANK");
    if (!spec || (only && strcmp(only, rank ? rank : "0"))) return;
    char *copy = pupil_strdup(spec), *save = NULL;
    for (char *one = strtok_r(copy, ",", &save); one && nfaults < PUPIL_COUNT(faults);
         one = strtok_r(NULL, ",", &save)) {
        fault *f = &faults[nfaults];
        char how[16] = "";
        if (sscanf(one, "%63[^:]:%ld:%15s", f->name, &f->left, how) < 2) continue;
        f->kill = !strcmp(how, "kill");
        f->wait = !strcmp(how, "wait");
        nfaults++;
    }
    pupil_free(&copy);
}

static int wait_for_signal(void)
{
    double began = pupil_now();
    while (!signal_seen && pupil_now() - began < 120) nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    return 0;
}

int pupil_fault(const char *name)
{
    if (nfaults < 0) arm();
    for (int i = 0; i < nfaults; i++) {
        if (strcmp(faults[i].name, name) || --faults[i].left != 0) continue;
        if (faults[i].kill) raise(SIGKILL);
        if (faults[i].wait) return wait_for_signal();
        return pupil_fail(PUPIL_EFAULT, "fault point %s fired", name);
    }
    return 0;
}
