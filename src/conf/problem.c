/* problem.c: each thing that is wrong becomes exactly one line, whatever bytes the user's text holds, and
 * there are at most MOST_PROBLEMS of them. */
#include "schema.h"

static void add_text(pupil_buf *out, const char *fmt, va_list ap)
{
    char text[1024];
    vsnprintf(text, sizeof text, fmt, ap);
    for (char *s = text; *s; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7f) *s = ' ';
    pupil_buf_puts(out, text);
}

static void add(pupil_buf *out, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void add(pupil_buf *out, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    add_text(out, fmt, ap);
    va_end(ap);
}

void problem(problems *p, place at, const char *fmt, ...)
{
    if (++p->count > MOST_PROBLEMS + 1) return;
    add(p->out, "%s", at.file);
    if (p->count > MOST_PROBLEMS) {
        add(p->out, ": more than %d problems; the others are not shown", MOST_PROBLEMS);
    } else {
        va_list ap;
        if (at.line > 0) add(p->out, ":%d:%d", at.line, at.column);
        pupil_buf_puts(p->out, ": ");
        va_start(ap, fmt);
        add_text(p->out, fmt, ap);
        va_end(ap);
    }
    pupil_buf_puts(p->out, "\n");
}
