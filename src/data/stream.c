/* stream.c: what has been taken makes room for what follows; the window grows only as far as it is asked to.
 */
#include "stream.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define WINDOW ((size_t)1 << 18)

int stream_open(const char *path, stream *ret)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe in a file's place must not hold us */
    struct stat st;
    if (fd < 0)
        return pupil_fail(errno == ENOENT ? PUPIL_ENOTFOUND : PUPIL_EIO, "%s: %s", path, strerror(errno));
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        return pupil_fail(PUPIL_EFORMAT, "%s: not a file", path);
    }
    *ret = (stream){.path = path, .fd = fd, .line = 1};
    if (stream_fill(ret, 3) && !memcmp(ret->buf, "\xef\xbb\xbf", 3)) ret->at = 3;
    return 0;
}

void stream_close(stream *s)
{
    close(s->fd);
    pupil_free(&s->buf);
}

bool stream_fill(stream *s, size_t n)
{
    if (s->end - s->at >= n) return true;
    if (s->eof) return false;
    if (s->at) memmove(s->buf, s->buf + s->at, s->end - s->at);
    s->end -= s->at;
    s->at = 0;
    if (s->cap < n || !s->cap) {
        size_t cap = PUPIL_MAX(WINDOW, 2 * n);
        s->buf = pupil_realloc(s->buf, s->cap, cap);
        s->cap = cap;
    }
    while (s->end < s->cap && !s->eof) {
        ssize_t got = read(s->fd, s->buf + s->end, s->cap - s->end);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) s->failed = pupil_fail(PUPIL_EIO, "%s: %s", s->path, strerror(errno));
        s->eof = got <= 0;
        s->end += got > 0 ? (size_t)got : 0;
    }
    return s->end - s->at >= n;
}

void stream_skip(stream *s, size_t n)
{
    const char *p = s->buf + s->at, *end = p + n;
    while ((p = memchr(p, '\n', (size_t)(end - p)))) s->line++, p++;
    s->at += n;
}
