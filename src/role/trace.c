/* trace.c: when each phase of a step began and ended, and when each bucket of gradients was ready, posted and done, on every
 * rank: trace.json in the Trace Event Format, which ui.perfetto.dev and chrome://tracing draw. A run that is
 * killed leaves the array open, which that format allows. Times of a rank are from its own beginning of the step: the clocks of
 * nodes differ. */
#include "trainer.h"

#include <errno.h>
#include <string.h>

enum { BUCKET_WORDS = 6 };
typedef struct {
    double phase, begin, end;
} span;

struct trace {
    FILE *f; /* rank 0 */
    double begun, at; /* this step, on this rank; the last step's end in the file: microseconds */
    span *span;
    int64_t room, n;
    const char *lead; /* what goes before the next event */
};

int trace_open(const char *path, bool writes, int64_t slots, trace **ret)
{
    trace *t = pupil_alloc(sizeof *t);
    *ret = t;
    t->room = 8 + 3 * slots;
    t->span = pupil_alloc((size_t)t->room * sizeof *t->span);
    if (writes && !(t->f = fopen(path, "w"))) return pupil_fail(PUPIL_EIO, "%s: %s", path, strerror(errno));
    t->lead = "[";
    return 0;
}

void trace_close(trace **tp)
{
    trace *t = *tp;
    if (!t) return;
    if (t->f) fprintf(t->f, "%s]\n", *t->lead == '[' ? "[" : "");
    if (t->f) fclose(t->f);
    pupil_free(&t->span);
    pupil_free(tp);
}

void trace_begin(trace *t, double now)
{
    t->begun = now;
    t->n = 0;
}

void trace_span(trace *t, phase which, double begin, double end)
{
    PUPIL_REQUIRE(t->n < t->room);
    t->span[t->n++] = (span){which, begin - t->begun, end - t->begun};
}

static void event(trace *t, const char *name, int64_t number, int rank, int line, double begin, double end)
{
    fprintf(t->f, "%s{\"name\":\"%s", t->lead, name);
    t->lead = ",\n";
    if (number >= 0) fprintf(t->f, " %lld", (long long)number);
    fprintf(t->f, "\",\"ph\":\"X\",\"pid\":%d,\"tid\":%d,\"ts\":%.1f,\"dur\":%.1f", rank, line, t->at + 1e6 * begin, 1e6 * (end - begin));
}

/* One rank's part of a step: its spans, then its buckets. Returns the step's length. */
static double write_rank(trace *t, int rank, int64_t step, const double *x, int64_t buckets)
{
    double end = 0;
    for (int64_t i = 0; i < (int64_t)x[0]; i++) end = PUPIL_MAX(end, x[3 + 3 * i]);
    event(t, "step", step, rank, 0, 0, end);
    fputs("}", t->f);
    for (int64_t i = 0; i < (int64_t)x[0]; i++) {
        event(t, phase_name[(int)x[1 + 3 * i]], -1, rank, 0, x[2 + 3 * i], x[3 + 3 * i]);
        fputs("}", t->f);
    }
    for (int64_t k = 0; k < buckets; k++) {
        const double *b = x + 1 + 3 * t->room + k * BUCKET_WORDS;
        event(t, "bucket", k, rank, 1 + (int)k, b[3], b[5]);
        fprintf(t->f, ",\"args\":{\"elements\":%.0f,\"first\":%.0f,\"ready_us\":%.1f,\"posted_us\":%.1f,\"done_us\":%.1f,\"polls\":%.0f}}", b[1] - b[0],
                b[0], 1e6 * b[3], 1e6 * b[4], 1e6 * b[5], b[2]);
    }
    return end;
}

int trace_step(trace *t, pupil_comm *c, int64_t step, const pupil_slot_sum *sum)
{
    const pupil_bucket *b;
    int64_t buckets = pupil_comm_size(c) > 1 ? pupil_slot_sum_buckets(sum, &b) : 0, words = 1 + 3 * t->room + buckets * BUCKET_WORDS;
    int size = pupil_comm_size(c), me = pupil_comm_rank(c);
    double *all = pupil_alloc((size_t)(words * size) * sizeof *all), *mine = all + words * me, longest = 0;
    size_t *at = pupil_alloc((size_t)(size + 1) * sizeof *at);
    mine[0] = (double)t->n;
    for (int64_t i = 0; i < t->n; i++) memcpy(mine + 1 + 3 * i, &t->span[i], sizeof *t->span);
    for (int64_t k = 0; k < buckets; k++) {
        const double word[BUCKET_WORDS] = {(double)b[k].first, (double)b[k].end, (double)b[k].polls, b[k].ready - t->begun, b[k].posted - t->begun,
                                           b[k].done - t->begun};
        memcpy(mine + 1 + 3 * t->room + k * BUCKET_WORDS, word, sizeof word);
    }
    for (int p = 0; p <= size; p++) at[p] = (size_t)(words * p) * sizeof *all;
    int r = pupil_collect_ranges(c, all, at);
    for (int p = 0; p < size && r == 0 && t->f; p++) {
        double length = write_rank(t, p, step, all + words * p, buckets);
        longest = PUPIL_MAX(longest, length);
    }
    t->at += 1e6 * longest;
    if (t->f) fflush(t->f);
    pupil_free(&at);
    pupil_free(&all);
    return r;
}
