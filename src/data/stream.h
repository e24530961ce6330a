/* stream.h (private to data): a text file of any size read through a small window, with line numbers. */
#ifndef PUPIL_DATA_STREAM_H
#define PUPIL_DATA_STREAM_H

#include "pupil/base.h"

typedef struct {
    const char *path;
    int fd;
    char *buf;
    size_t at, end, cap; /* the window holds buf[at .. end - 1] */
    int64_t line;        /* of buf[at], from 1; counted by stream_next() and stream_skip() */
    bool eof;
    int failed; /* the code of a read that failed: the file seems to end there */
} stream;

/* PUPIL_ENOTFOUND | PUPIL_EIO | PUPIL_EFORMAT (no regular file). A byte order mark is passed over. */
int stream_open(const char *path, stream *ret);
void stream_close(stream *s);
/* At least n bytes are in the window, or all that are left. */
bool stream_fill(stream *s, size_t n);
/* Take n bytes that are in the window. */
void stream_skip(stream *s, size_t n);

/* The next byte, not taken; -1 at the end. */
static inline int stream_peek(stream *s)
{
    return s->at < s->end || stream_fill(s, 1) ? (unsigned char)s->buf[s->at] : -1;
}
static inline int stream_next(stream *s)
{
    int c = stream_peek(s);
    if (c >= 0) s->at++;
    s->line += c == '\n';
    return c;
}

#endif
