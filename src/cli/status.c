/* status.c: where a run stands: what its files say, and what squeue says of the jobs that were noted there. Reads only,
 * so it may be asked at any time, by anyone who may read the folder, while the run goes on. */
#include "queue.h"
#include "slurm.h"

#include "pupil/store.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

/* One training, of the student or of a teacher that is made here. */
typedef struct {
    const char *name;
    int64_t steps, batch;           /* to do; pairs a step */
    int64_t step, saved;            /* done; in the newest checkpoint. 0: none */
    double loss, pairs_per_s, age;  /* age: seconds since the newest checkpoint */
} training;

typedef struct {
    const char *dir;
    int64_t blocks, have; /* blocks 0: nothing is known yet */
} cache_state;

typedef struct {
    bool finished;
    training t[2]; /* teacher (steps 0: none is trained), student */
    cache_state cache[PUPIL_TEACHERS];
    int caches;
    int64_t progress; /* a number that grows with what is safe on disk */
    queue q;
} state;

/* The last whole line of a file of lines, owned, or NULL. */
static char *last_line(const char *path)
{
    enum { TAIL = 8192 };
    char tail[TAIL + 1], *found = NULL;
    FILE *f = fopen(path, "rb");
    if (!f) return NULL;
    long size = fseek(f, 0, SEEK_END) == 0 ? ftell(f) : 0;
    if (size > 0 && fseek(f, -PUPIL_MIN(size, (long)TAIL), SEEK_END) == 0) {
        size_t n = fread(tail, 1, TAIL, f);
        tail[n] = 0;
        char *end = strrchr(tail, '\n');
        if (end) {
            *end = 0;
            char *start = strrchr(tail, '\n');
            found = pupil_strdup(start ? start + 1 : tail);
        }
    }
    fclose(f);
    return found;
}

static double number_of(const char *line, const char *key)
{
    const char *at = strstr(line, key);
    return at ? strtod(at + strlen(key), NULL) : 0;
}

static void look_at_checkpoints(const char *dir, training *t)
{
    pupil_journal j = {0};
    struct stat st;
    char *folder = pupil_join(dir, "checkpoints"), *path = pupil_join(folder, "journal.txt");
    if (pupil_journal_read(path, &j) < 0) j.n = 0;
    for (int64_t i = 0; i < j.n; i++) {
        const char *step = pupil_record_get(&j.record[i], "step"), *file = pupil_record_get(&j.record[i], "file");
        if (!j.record[i].believed || strcmp(j.record[i].kind, "ckpt") || !step || !file) continue;
        t->saved = strtoll(step, NULL, 10);
        char *full = pupil_join(folder, file);
        t->age = stat(full, &st) == 0 ? difftime(time(NULL), st.st_mtime) : -1;
        pupil_free(&full);
    }
    pupil_journal_free(&j);
    pupil_free(&path);
    pupil_free(&folder);
}

static training look_at_training(const char *name, const char *dir, const pupil_conf_train *c)
{
    training t = {.name = name, .steps = c->steps, .batch = c->batch_size};
    char *path = pupil_join(dir, "metrics.jsonl"), *line = last_line(path);
    if (line) {
        t.step = (int64_t)number_of(line, "\"step\":");
        t.loss = number_of(line, "\"loss\":");
        t.pairs_per_s = number_of(line, "\"pairs_per_s\":");
    }
    pupil_free(&line);
    pupil_free(&path);
    look_at_checkpoints(dir, &t);
    return t;
}

static void look_at_cache(const char *dir, state *s)
{
    pupil_cache *c;
    cache_state *x = &s->cache[s->caches++];
    *x = (cache_state){.dir = dir};
    if (pupil_cache_open_any(dir, &c) < 0) return;
    x->blocks = pupil_cache_blocks(c);
    x->have = pupil_cache_blocks_have(c);
    pupil_cache_free(&c);
}

static int look(const char *dir, const pupil_conf *c, state *s)
{
    char *path = pupil_join(dir, "finished");
    s->finished = pupil_exists(path);
    pupil_free(&path);
    if (c->teacher.train_here && c->teacher.dir) s->t[0] = look_at_training("teacher", c->teacher.dir, &c->teacher.train);
    s->t[1] = look_at_training("student", dir, &c->student.train);
    if (c->cache.dir) look_at_cache(c->cache.dir, s);
    for (int k = 0; k < PUPIL_TEACHERS - 1; k++)
        if (c->more_teachers[k].cache) look_at_cache(c->more_teachers[k].cache, s);
    s->progress = s->t[0].saved + s->t[1].saved + s->finished;
    for (int k = 0; k < s->caches; k++) s->progress += s->cache[k].have;
    return queue_of_run(dir, &s->q);
}

/* ---- told ---------------------------------------------------------------------------------------- */
static void print_training(const training *t, bool finished, pupil_buf *out)
{
    char a[32];
    if (!t->steps || (!t->step && !t->saved)) return;
    pupil_buf_printf(out, "%s  step %lld/%lld", t->name, (long long)t->step, (long long)t->steps);
    if (t->pairs_per_s > 0) pupil_buf_printf(out, "   loss %.4f   %.0f pairs/s", t->loss, t->pairs_per_s);
    if (t->step < t->steps && t->pairs_per_s > 0)
        pupil_buf_printf(out, "   ETA %s", pupil_duration((double)((t->steps - t->step) * t->batch) / t->pairs_per_s, a));
    if (t->saved) pupil_buf_printf(out, "   checkpoint of step %lld", (long long)t->saved);
    if (t->saved && t->age >= 0 && !finished) pupil_buf_printf(out, ", %s ago", pupil_duration(t->age, a));
    pupil_buf_puts(out, "\n");
}

static const char *phase_of(const state *s)
{
    bool missing = false, any = s->t[0].step || s->t[1].step;
    for (int k = 0; k < s->caches; k++) {
        missing |= !s->cache[k].blocks || s->cache[k].have < s->cache[k].blocks;
        any |= s->cache[k].have > 0;
    }
    return s->finished                        ? "finished"
           : !any                             ? "not begun"
           : s->t[1].step                     ? missing ? "training the student while the cache is filled" : "training the student"
           : s->t[0].steps > s->t[0].step     ? "training the teacher"
           : missing                          ? "filling the cache"
                                              : "the cache is whole, the student has not begun";
}

static void print_text(const char *dir, const state *s, pupil_buf *out)
{
    pupil_buf_printf(out, "run      %s: %s\n", dir, phase_of(s));
    for (int64_t i = 0; i < s->q.n; i++) {
        const queued_job *j = &s->q.job[i];
        pupil_buf_printf(out, "job      %s %s: %s, %s of %s, %s\n", j->id, j->name, j->state, j->used, j->limit, j->nodes);
    }
    if (s->q.silent) pupil_buf_puts(out, "job      squeue does not answer here\n");
    for (int i = 0; i < 2; i++) print_training(&s->t[i], s->finished, out);
    for (int k = 0; k < s->caches; k++)
        if (s->cache[k].blocks)
            pupil_buf_printf(out, "cache    %s: %lld of %lld blocks\n", s->cache[k].dir, (long long)s->cache[k].have, (long long)s->cache[k].blocks);
}

static void print_json(const char *dir, const state *s, pupil_buf *out)
{
    pupil_buf_puts(out, "{\"run\": ");
    pupil_buf_json(out, dir);
    pupil_buf_printf(out, ", \"phase\": \"%s\", \"progress\": %lld, \"jobs\": [", phase_of(s), (long long)s->progress);
    for (int64_t i = 0; i < s->q.n; i++) {
        const queued_job *j = &s->q.job[i];
        pupil_buf_printf(out, "%s{\"id\": \"%s\", \"name\": \"%s\", \"state\": \"%s\"}", i ? ", " : "", j->id, j->name, j->state);
    }
    pupil_buf_puts(out, "]");
    for (int i = 0; i < 2; i++) {
        const training *t = &s->t[i];
        if (!t->steps) continue;
        pupil_buf_printf(out, ", \"%s\": {\"step\": %lld, \"steps\": %lld, \"checkpoint\": %lld, \"pairs_per_s\": ", t->name, (long long)t->step,
                         (long long)t->steps, (long long)t->saved);
        pupil_buf_json_num(out, t->pairs_per_s);
        pupil_buf_puts(out, "}");
    }
    pupil_buf_puts(out, ", \"caches\": [");
    for (int k = 0; k < s->caches; k++) {
        pupil_buf_puts(out, k ? ", {\"dir\": " : "{\"dir\": ");
        pupil_buf_json(out, s->cache[k].dir);
        pupil_buf_printf(out, ", \"blocks\": %lld, \"have\": %lld}", (long long)s->cache[k].blocks, (long long)s->cache[k].have);
    }
    pupil_buf_puts(out, "]}\n");
}

int slurm_status(const char *dir, bool json)
{
    char *path = pupil_join(dir, "resolved.yaml"), *text = NULL;
    pupil_conf *c = NULL;
    pupil_buf out = {0};
    state s = {0};
    int r = 0;
    if (pupil_exists(path)) {
        r = pupil_read_file(path, 1 << 20, &text, NULL);
        if (r == 0) r = pupil_conf_parse(path, text, NULL, 0, &c, &out);
        out.len = 0;
        if (r == 0) r = look(dir, c, &s);
    } else {
        r = queue_of_run(dir, &s.q);
        if (r == 0 && !s.q.n && !pupil_is_dir(dir)) r = pupil_fail(PUPIL_EUSER, "%s: there is no such run", dir);
    }
    if (r == 0) {
        if (json) print_json(dir, &s, &out);
        else print_text(dir, &s, &out);
        fputs(out.s, stdout);
    }
    queue_free(&s.q);
    pupil_buf_free(&out);
    pupil_free(&text);
    pupil_free(&path);
    pupil_conf_free(&c);
    return r;
}
