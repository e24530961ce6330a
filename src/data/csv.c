/* csv.c: pictures and captions from a table, as open_clip reads it: the first line names the columns; RFC
 * 4180's quotes (with line breaks, and "" for a quote); blank lines are passed over; lines end in LF or CR
 * LF. */
#include "files.h"
#include "stream.h"

#include <stdlib.h>
#include <string.h>

#define ROW_MAX ((size_t)16 << 20)

typedef struct {
    stream s;
    char separator;
    pupil_buf text; /* the fields of a row, a NUL behind each */
    size_t *begin;  /* [n + 1]: where they begin in it */
    int64_t n, cap, line;
} table;

/* Append what comes before a, b or the end of the file. */
static void copy_until(table *t, char a, char b)
{
    stream *s = &t->s;
    while (stream_peek(s) >= 0 && t->text.len < ROW_MAX) {
        const char *from = s->buf + s->at, *end = s->buf + s->end, *p = from;
        while (p < end && *p != a && *p != b) p++;
        pupil_buf_add(&t->text, from, (size_t)(p - from));
        stream_skip(s, (size_t)(p - from));
        if (p < end) return;
    }
}

static int read_quoted(table *t)
{
    int64_t line = t->s.line;
    do {
        stream_next(&t->s); /* the quote that opens, or the second of a pair: it stands for one */
        copy_until(t, '"', '"');
        if (stream_next(&t->s) < 0 && !t->s.failed)
            return pupil_fail(PUPIL_EFORMAT, "%s:%lld: a quote that never ends", t->s.path, (long long)line);
        if (stream_peek(&t->s) == '"') pupil_buf_add(&t->text, "\"", 1);
    } while (stream_peek(&t->s) == '"');
    return 0;
}

static int read_field(table *t, int *ret_after)
{
    PUPIL_GROW(t->begin, t->n + 1, t->cap);
    t->begin[t->n++] = t->text.len;
    if (stream_peek(&t->s) == '"') PUPIL_TRY(read_quoted(t));
    size_t plain = t->text.len;
    copy_until(t, t->separator, '\n');
    *ret_after = stream_next(&t->s);
    if (*ret_after != t->separator && t->text.len > plain && t->text.s[t->text.len - 1] == '\r')
        t->text.len--;
    pupil_buf_add(&t->text, "", 1);
    t->begin[t->n] = t->text.len;
    return 0;
}

/* 1, or 0 at the end. */
static int read_row(table *t)
{
    int after;
    do {
        t->text.len = 0;
        t->n = 0;
        t->line = t->s.line;
        if (stream_peek(&t->s) < 0) return t->s.failed;
        do {
            PUPIL_TRY(read_field(t, &after));
            if (t->text.len >= ROW_MAX)
                return pupil_fail(PUPIL_EFORMAT, "%s:%lld: a row of more than 16 MiB; is a quote missing?",
                                  t->s.path, (long long)t->line);
        } while (after == t->separator);
    } while (t->text.len == 1);
    return 1;
}

static int find_column(const table *t, const char *key, const char *setting, int64_t *ret)
{
    pupil_buf names = {0};
    for (int64_t k = 0; k < t->n; k++) {
        char *name = t->text.s + t->begin[k];
        name += strspn(name, " ");
        if (!strcmp(name, key)) {
            pupil_buf_free(&names);
            *ret = k;
            return 0;
        }
        pupil_buf_printf(&names, "%s%.40s", k ? ", " : "", name);
        if (names.len > 200) break;
    }
    int r = pupil_fail(PUPIL_EFORMAT, "%s:%lld: no column \"%s\" (%s); there are %s", t->s.path,
                       (long long)t->line, key, setting, names.s);
    pupil_buf_free(&names);
    return r;
}

static char separator_of(stream *s, pupil_separator asked)
{
    if (asked != PUPIL_SEPARATOR_AUTO) return asked == PUPIL_SEPARATOR_TAB ? '\t' : ',';
    stream_fill(s, 1);
    const char *begin = s->buf + s->at, *end = memchr(begin, '\n', s->end - s->at);
    return memchr(begin, '\t', end ? (size_t)(end - begin) : s->end - s->at) ? '\t' : ',';
}

static int read_table(table *t, const char *path, const char *image_key, const char *caption_key,
                      files_builder *b)
{
    int64_t image, caption, columns;
    int r = read_row(t);
    if (r == 0)
        return pupil_fail(PUPIL_EFORMAT, "%s: empty, expected a first line with the names of columns", path);
    if (r < 0) return r;
    PUPIL_TRY(find_column(t, image_key, "data.csv.image_key", &image));
    PUPIL_TRY(find_column(t, caption_key, "data.csv.caption_key", &caption));
    columns = t->n;
    while ((r = read_row(t)) > 0) {
        const char *words = t->text.s + t->begin[PUPIL_MIN(caption, t->n - 1)];
        if (t->n != columns) files_refuse(b, FAULT_FIELDS, path, t->line, t->text.s);
        else
            files_add(b, t->text.s + t->begin[image], words, t->begin[caption + 1] - t->begin[caption] - 1,
                      -1, path, t->line);
    }
    return r;
}

int csv_read(const char *path, const char *image_key, const char *caption_key, pupil_separator separator,
             files_builder *b)
{
    table t = {0};
    PUPIL_TRY(stream_open(path, &t.s));
    t.separator = separator_of(&t.s, separator);
    int r = read_table(&t, path, image_key, caption_key, b);
    stream_close(&t.s);
    pupil_buf_free(&t.text);
    pupil_free(&t.begin);
    return r;
}
