/* tars.c: many tars as one list of samples. A picture is one pread() on one of a few open files, a caption a
 * pointer into an index. */
#include "tars.h"
#include "tar_index.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OPEN_FILES 16

struct tars {
    char **path;
    tar_index *index;
    int64_t n, path_cap;
    int64_t *first; /* [n + 1]: sample index at which each tar begins */
    struct {
        int64_t tar, used; /* used: 0 for a free slot, else the turn of its last use */
        int fd;
    } open[OPEN_FILES];
    int64_t turn;
    int64_t *by_key; /* samples sorted by key, made at the first tars_find() */
};

/* ---- opening ------------------------------------------------------------------------------------ */
static int expand_all(tars *t, const pupil_strings *patterns)
{
    for (int i = 0; i < patterns->n; i++) {
        char **names;
        int n;
        PUPIL_TRY(braces_expand(patterns->item[i], &names, &n));
        for (int k = 0; k < n; k++) {
            PUPIL_GROW(t->path, t->n, t->path_cap);
            t->path[t->n++] = names[k];
        }
        pupil_free(&names);
    }
    return 0;
}

static int report_broken(const tars *t, bool skip_bad)
{
    int64_t broken = 0;
    const char *where = NULL, *what = NULL;
    for (int64_t i = 0; i < t->n; i++) {
        broken += t->index[i].head->broken;
        if (where || !t->index[i].head->broken) continue;
        where = t->path[i];
        what = t->index[i].text;
    }
    if (!broken) return 0;
    if (!skip_bad)
        return pupil_fail(PUPIL_EFORMAT,
                          "broken samples: %lld, first in %s: %s (data.on_error: skip leaves them out)",
                          (long long)broken, where, what);
    pupil_warn("broken samples left out: %lld, first in %s: %s", (long long)broken, where, what);
    return 0;
}

static int open_all(tars *t, const pupil_strings *patterns, const char *index_dir, bool skip_bad)
{
    PUPIL_TRY(expand_all(t, patterns));
    t->index = pupil_alloc((size_t)t->n * sizeof *t->index);
    t->first = pupil_alloc((size_t)(t->n + 1) * sizeof *t->first);
    for (int64_t i = 0; i < t->n; i++) {
        PUPIL_TRY(tar_index_open(t->path[i], index_dir, &t->index[i]));
        t->first[i + 1] = t->first[i] + t->index[i].head->samples;
    }
    PUPIL_TRY(report_broken(t, skip_bad));
    if (tars_count(t) == 0)
        return pupil_fail(PUPIL_EFORMAT, "%s: no sample in %lld tars", t->n ? t->path[0] : "no tar is named",
                          (long long)t->n);
    return 0;
}

int tars_open(const pupil_strings *patterns, const char *index_dir, bool skip_bad, tars **ret)
{
    tars *t = pupil_alloc(sizeof *t);
    int r = open_all(t, patterns, index_dir, skip_bad);
    if (r < 0) tars_free(&t);
    else *ret = t;
    return r;
}

void tars_free(tars **pt)
{
    tars *t = *pt;
    if (!t) return;
    for (int k = 0; k < OPEN_FILES; k++)
        if (t->open[k].used) close(t->open[k].fd);
    for (int64_t i = 0; i < t->n; i++) {
        if (t->index) tar_index_free(&t->index[i]);
        pupil_free(&t->path[i]);
    }
    pupil_free(&t->path);
    pupil_free(&t->index);
    pupil_free(&t->first);
    pupil_free(&t->by_key);
    pupil_free(pt);
}

/* ---- samples ------------------------------------------------------------------------------------ */
int64_t tars_count(const tars *t)
{
    return t->first[t->n];
}

/* The tar of sample i: the last that begins at or before it. */
static int64_t tar_of(const tars *t, int64_t i)
{
    PUPIL_REQUIRE(i >= 0 && i < tars_count(t));
    int64_t lo = 0, hi = t->n;
    while (hi - lo > 1) {
        int64_t mid = (lo + hi) / 2;
        if (t->first[mid] <= i) lo = mid;
        else hi = mid;
    }
    return lo;
}

static const tar_sample *sample_of(const tars *t, int64_t i, const char **ret_text)
{
    int64_t k = tar_of(t, i);
    const tar_sample *s = &t->index[k].sample[i - t->first[k]];
    *ret_text = t->index[k].text + s->text;
    return s;
}

/* An open file of tar k: the slot that has it, or the one used longest ago. */
static int open_tar(tars *t, int64_t k, int *ret_fd)
{
    int slot = 0;
    for (int i = 0; i < OPEN_FILES; i++) {
        if (t->open[i].used && t->open[i].tar == k) {
            t->open[i].used = ++t->turn;
            *ret_fd = t->open[i].fd;
            return 0;
        }
        if (t->open[i].used < t->open[slot].used) slot = i;
    }
    int fd = open(t->path[k], O_RDONLY | O_CLOEXEC);
    if (fd < 0) return pupil_fail(PUPIL_EIO, "%s: %s", t->path[k], strerror(errno));
    int64_t bytes, mtime;
    int r = tar_stat(t->path[k], fd, &bytes, &mtime);
    const tar_index_head *h = t->index[k].head;
    if (r == 0 && (bytes != h->tar_bytes || mtime != h->tar_mtime))
        r = pupil_fail(PUPIL_EMISMATCH, "%s: changed since it was indexed; run again", t->path[k]);
    if (r < 0) {
        close(fd);
        return r;
    }
    if (t->open[slot].used) close(t->open[slot].fd);
    t->open[slot].tar = k;
    t->open[slot].used = ++t->turn;
    t->open[slot].fd = *ret_fd = fd;
    return 0;
}

static int read_at(const char *path, int fd, int64_t at, void *to, size_t n)
{
    for (size_t done = 0; done < n;) {
        ssize_t got = pread(fd, (char *)to + done, n - done, at + (int64_t)done);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0)
            return pupil_fail(PUPIL_EIO, "%s: %s", path, got < 0 ? strerror(errno) : "ends too early");
        done += (size_t)got;
    }
    return 0;
}

int tars_image(tars *t, int64_t i, pupil_image *ret)
{
    int64_t k = tar_of(t, i);
    const char *key;
    const tar_sample *s = sample_of(t, i, &key);
    int fd = -1;
    PUPIL_TRY(open_tar(t, k, &fd));
    void *bytes = pupil_alloc(s->bytes);
    int r = read_at(t->path[k], fd, s->at, bytes, s->bytes);
    if (r == 0) r = pupil_context(pupil_image_decode(bytes, s->bytes, ret), "%s: %s", t->path[k], key);
    pupil_free(&bytes);
    return r;
}

int tars_captions(const tars *t, int64_t i)
{
    const char *text;
    return (int)sample_of(t, i, &text)->captions;
}

int tars_caption(tars *t, int64_t i, int k, char **ret)
{
    const char *text;
    PUPIL_REQUIRE(k >= 0 && k < (int)sample_of(t, i, &text)->captions);
    for (int j = 0; j <= k; j++) text += strlen(text) + 1;
    *ret = pupil_strdup(text);
    return 0;
}

const char *tars_key(const tars *t, int64_t i)
{
    const char *text;
    sample_of(t, i, &text);
    return text;
}

static int by_key(const void *a, const void *b, void *t)
{
    int64_t i = *(const int64_t *)a, j = *(const int64_t *)b;
    int d = strcmp(tars_key(t, i), tars_key(t, j));
    return d ? d : (i > j) - (i < j);
}

int64_t tars_find(tars *t, const char *key)
{
    int64_t n = tars_count(t), lo = 0, hi = n;
    if (!t->by_key) {
        t->by_key = pupil_alloc((size_t)n * sizeof *t->by_key);
        for (int64_t i = 0; i < n; i++) t->by_key[i] = i;
        qsort_r(t->by_key, (size_t)n, sizeof *t->by_key, by_key, t);
    }
    while (lo < hi) { /* the first key that is not less */
        int64_t mid = (lo + hi) / 2;
        if (strcmp(tars_key(t, t->by_key[mid]), key) < 0) lo = mid + 1;
        else hi = mid;
    }
    if (lo == n || strcmp(tars_key(t, t->by_key[lo]), key)) return -1;
    return lo + 1 < n && !strcmp(tars_key(t, t->by_key[lo + 1]), key) ? -2 : t->by_key[lo];
}

int tars_digest(tars *t, char ret_hex[65])
{
    pupil_sha256 sum;
    pupil_sha256_init(&sum);
    for (int64_t i = 0; i < tars_count(t); i++) {
        const char *text, *end;
        const tar_sample *s = sample_of(t, i, &text);
        char size[32];
        end = text;
        for (uint32_t k = 0; k <= s->captions; k++) end += strlen(end) + 1;
        snprintf(size, sizeof size, "%u %u", s->bytes, s->captions);
        pupil_sha256_add(&sum, size, strlen(size) + 1);
        pupil_sha256_add(&sum, text, (size_t)(end - text));
    }
    pupil_sha256_hex(&sum, ret_hex);
    return 0;
}
