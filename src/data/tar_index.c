/* tar_index.c: a tar's index found, trusted only if everything in it holds, or made and published. */
#include "tar_index.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int tar_stat(const char *tar, int fd, int64_t *ret_bytes, int64_t *ret_mtime)
{
    struct stat st;
    if (fstat(fd, &st) < 0) return pupil_fail(PUPIL_EIO, "%s: %s", tar, strerror(errno));
    if (!S_ISREG(st.st_mode)) return pupil_fail(PUPIL_EFORMAT, "%s: not a file", tar);
    *ret_bytes = st.st_size;
    *ret_mtime = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
    return 0;
}

/* Samples lie one behind the other in the text, each a key and a caption or a class, and nothing is left
 * over. */
static bool samples_hold(const tar_index *x)
{
    const tar_index_head *h = x->head;
    const char *end = x->text + h->text_bytes, *p = memchr(x->text, 0, (size_t)h->text_bytes);
    if (!p) return false;
    p++;
    for (int64_t i = 0; i < h->samples; i++) {
        const tar_sample *s = &x->sample[i];
        if (s->at < 0 || s->bytes > TAR_MEMBER_MAX || s->at > h->tar_bytes - (int64_t)s->bytes) return false;
        if ((s->captions < 1 && s->cls < 0) || s->cls < -1 || s->text != p - x->text || p >= end || !*p)
            return false;
        for (uint32_t k = 0; k <= s->captions; k++) {
            p = p < end ? memchr(p, 0, (size_t)(end - p)) : NULL;
            if (!p++) return false;
        }
    }
    return p == end;
}

bool tar_index_view(const void *bytes, size_t n, tar_index *ret)
{
    const tar_index_head *h = bytes;
    const size_t after = offsetof(tar_index_head, crc) + sizeof h->crc;
    if (n < sizeof *h || memcmp(h->magic, "PUPILTI2", 8) || h->order != 0x01020304) return false;
    int64_t room = (int64_t)(n - sizeof *h);
    if (h->samples < 0 || h->samples > room / (int64_t)sizeof(tar_sample)) return false;
    for (int i = 0; i < FAULT_SLOTS; i++)
        if (h->broken[i] < 0 || h->broken[i] > INT32_MAX) return false;
    if (h->text_bytes < 1 || h->text_bytes != room - h->samples * (int64_t)sizeof(tar_sample)) return false;
    if (pupil_crc32c(0, (const char *)bytes + after, n - after) != h->crc) return false;
    tar_index x = {.n = n, .head = h, .sample = (const tar_sample *)(h + 1)};
    x.text = (const char *)(x.sample + h->samples);
    if (!samples_hold(&x)) return false;
    *ret = x;
    return true;
}

void tar_index_free(tar_index *x)
{
    if (x->mapped) munmap(x->bytes, x->n);
    else pupil_free(&x->bytes);
    *x = (tar_index){0};
}

/* Map an index file: ranks of a node share its pages, and captions not looked at cost no memory. */
static bool load(const char *path, int64_t tar_bytes, int64_t tar_mtime, tar_index *ret)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0) return false;
    void *bytes = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0
                      ? mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0)
                      : MAP_FAILED;
    close(fd);
    if (bytes == MAP_FAILED) return false;
    tar_index x = {0};
    bool fits = tar_index_view(bytes, (size_t)st.st_size, &x) && x.head->tar_bytes == tar_bytes &&
                x.head->tar_mtime == tar_mtime;
    if (!fits) {
        munmap(bytes, (size_t)st.st_size);
        return false;
    }
    x.bytes = bytes;
    x.mapped = true;
    *ret = x;
    return true;
}

/* index_dir/NAME.tar-HASH.idx, or NULL without an index_dir. */
static char *elsewhere(const char *tar, const char *index_dir)
{
    if (!index_dir) return NULL;
    char absolute[PATH_MAX], hex[65];
    if (!realpath(tar, absolute)) return NULL;
    pupil_sha256_of(absolute, strlen(absolute), hex);
    const char *slash = strrchr(absolute, '/');
    char *name = pupil_format("%s-%.16s.idx", slash + 1, hex), *path = pupil_join(index_dir, name);
    pupil_free(&name);
    return path;
}

static bool save(const char *beside, const char *other, const char *index_dir, const pupil_buf *b)
{
    if (pupil_write_file(beside, b->s, b->len) == 0) return true;
    return other && pupil_mkdirs(index_dir) == 0 && pupil_write_file(other, b->s, b->len) == 0;
}

static int make(const char *tar, int fd, int64_t bytes, int64_t mtime, const char *beside, const char *other,
                const char *index_dir, tar_index *ret)
{
    pupil_buf b = {0};
    PUPIL_TRY(tar_index_build(tar, fd, bytes, mtime, &b));
    if (!save(beside, other, index_dir, &b))
        pupil_info("%s: its index is kept in memory: %s", tar, pupil_reason());
    PUPIL_REQUIRE(tar_index_view(b.s, b.len, ret));
    ret->bytes = b.s;
    return 0;
}

static int open_or_make(const char *tar, const char *index_dir, tar_index *ret, bool *ret_made)
{
    int fd = open(tar, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return pupil_fail(errno == ENOENT ? PUPIL_ENOTFOUND : PUPIL_EIO, "%s: %s", tar, strerror(errno));
    char *beside = pupil_format("%s.idx", tar), *other = elsewhere(tar, index_dir);
    int64_t bytes, mtime;
    int r = tar_stat(tar, fd, &bytes, &mtime);
    *ret_made = r == 0 && !load(beside, bytes, mtime, ret) && !(other && load(other, bytes, mtime, ret));
    if (*ret_made) r = make(tar, fd, bytes, mtime, beside, other, index_dir, ret);
    close(fd);
    pupil_free(&beside);
    pupil_free(&other);
    return r;
}

int tar_index_open(const char *tar, const char *index_dir, tar_index *ret)
{
    bool made;
    return open_or_make(tar, index_dir, ret, &made);
}

int tar_index_ensure(const char *tar, const char *index_dir, bool *ret_made)
{
    tar_index x;
    PUPIL_TRY(open_or_make(tar, index_dir, &x, ret_made));
    tar_index_free(&x);
    return 0;
}
