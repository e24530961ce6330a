/* tars.c: many tars as one list of samples. A picture is one pread() on one of a few open files, a caption a
 * pointer into an index. */
#include "tars.h"
#include "tar_index.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define OPEN_FILES 16

struct tars {
    char **path;
    tar_index *index;
    int64_t n;
    int64_t *first; /* [n + 1]: sample index at which each tar begins */
    struct {
        int64_t tar, used; /* used: 0 for a free slot, else the turn of its last use */
        int fd;
    } open[OPEN_FILES];
    int64_t turn;
};

/* ---- opening ------------------------------------------------------------------------------------ */
static int open_all(tars *t, const pupil_strings *paths, const char *index_dir, faults *bad)
{
    t->path = pupil_alloc((size_t)paths->n * sizeof *t->path);
    for (; t->n < paths->n; t->n++) t->path[t->n] = pupil_strdup(paths->item[t->n]);
    t->index = pupil_alloc((size_t)t->n * sizeof *t->index);
    t->first = pupil_alloc((size_t)(t->n + 1) * sizeof *t->first);
    for (int64_t i = 0; i < t->n; i++) {
        PUPIL_TRY(tar_index_open(t->path[i], index_dir, &t->index[i]));
        t->first[i + 1] = t->first[i] + t->index[i].head->samples;
        faults_merge(bad, t->index[i].head->broken, t->path[i], t->index[i].text);
    }
    return 0;
}

int tars_open(const pupil_strings *paths, const char *index_dir, faults *bad, tars **ret)
{
    tars *t = pupil_alloc(sizeof *t);
    int r = open_all(t, paths, index_dir, bad);
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

int tars_bytes(tars *t, int64_t i, void **ret, size_t *ret_n)
{
    int64_t k = tar_of(t, i);
    const char *key;
    const tar_sample *s = sample_of(t, i, &key);
    int fd = -1;
    PUPIL_TRY(open_tar(t, k, &fd));
    void *bytes = pupil_alloc(s->bytes);
    int r = read_at(t->path[k], fd, s->at, bytes, s->bytes);
    if (r < 0) {
        pupil_free(&bytes);
        return r;
    }
    *ret = bytes;
    *ret_n = s->bytes;
    return 0;
}

void tars_expect(tars *t, int64_t i)
{
    const char *key;
    const tar_sample *s = sample_of(t, i, &key);
    int fd;
    if (open_tar(t, tar_of(t, i), &fd) == 0) posix_fadvise(fd, s->at, s->bytes, POSIX_FADV_WILLNEED);
}

const char *tars_path(const tars *t, int64_t i)
{
    return t->path[tar_of(t, i)];
}

int tars_captions(const tars *t, int64_t i)
{
    const char *text;
    return (int)sample_of(t, i, &text)->captions;
}

const char *tars_caption(const tars *t, int64_t i, int k)
{
    const char *text;
    PUPIL_REQUIRE(k >= 0 && k < (int)sample_of(t, i, &text)->captions);
    for (int j = 0; j <= k; j++) text += strlen(text) + 1;
    return text;
}

const char *tars_key(const tars *t, int64_t i)
{
    const char *text;
    sample_of(t, i, &text);
    return text;
}

int64_t tars_class(const tars *t, int64_t i)
{
    const char *text;
    return sample_of(t, i, &text)->cls;
}

int tars_digest(tars *t, char ret_hex[65])
{
    pupil_sha256 sum;
    pupil_sha256_init(&sum);
    for (int64_t i = 0; i < tars_count(t); i++) {
        const char *text, *end;
        const tar_sample *s = sample_of(t, i, &text);
        char size[64];
        end = text;
        for (uint32_t k = 0; k <= s->captions; k++) end += strlen(end) + 1;
        int at = snprintf(size, sizeof size, "%u %u", s->bytes, s->captions);
        if (s->cls >= 0) snprintf(size + at, sizeof size - (size_t)at, " class %lld", (long long)s->cls);
        pupil_sha256_add(&sum, size, strlen(size) + 1);
        pupil_sha256_add(&sum, text, (size_t)(end - text));
    }
    pupil_sha256_hex(&sum, ret_hex);
    return 0;
}
