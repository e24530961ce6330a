/* braces.c: tar patterns as WebDataset writes them: {000..123} counts, with leading zeros if the ends have
 * them, {a,b} lists; several braces in one pattern multiply, the last one running fastest. */
#include "tars.h"

#include <stdlib.h>
#include <string.h>

#define NAMES_MAX 1000000

typedef struct {
    const char *pattern;
    char **names;
    int64_t n, cap;
} expansion;

static int expand(expansion *e, const char *done, const char *rest);

/* `done` + `piece` + what the rest expands to. */
static int go_on(expansion *e, const char *done, const char *piece, const char *rest)
{
    char *longer = pupil_format("%s%s", done, piece);
    int r = expand(e, longer, rest);
    pupil_free(&longer);
    return r;
}

/* "000..123": digits on both sides. */
static bool read_range(const char *body, long *ret_from, long *ret_to, int *ret_width)
{
    size_t a = strspn(body, "0123456789");
    if (!a || a > 9 || strncmp(body + a, "..", 2)) return false;
    size_t b = strspn(body + a + 2, "0123456789");
    if (!b || b > 9 || body[a + 2 + b]) return false;
    *ret_from = strtol(body, NULL, 10);
    *ret_to = strtol(body + a + 2, NULL, 10);
    *ret_width = body[0] == '0' || body[a + 2] == '0' ? (int)PUPIL_MAX(a, b) : 1;
    return true;
}

static int expand_body(expansion *e, const char *done, char *body, const char *rest)
{
    long from, to;
    int width, r = 0;
    if (read_range(body, &from, &to, &width)) {
        if (labs(to - from) >= NAMES_MAX)
            return pupil_fail(PUPIL_EUSER, "%s: {%s} is more than %d files", e->pattern, body, NAMES_MAX);
        for (long i = from; r == 0; i += from < to ? 1 : -1) {
            char number[24];
            snprintf(number, sizeof number, "%0*ld", width, i);
            r = go_on(e, done, number, rest);
            if (i == to) break;
        }
        return r;
    }
    if (!strchr(body, ','))
        return pupil_fail(PUPIL_EUSER,
                          "%s: {%s}: expected a range such as {000..123} or a list such as {a,b}", e->pattern,
                          body);
    for (char *item; r == 0 && (item = strsep(&body, ","));) r = go_on(e, done, item, rest);
    return r;
}

static int expand(expansion *e, const char *done, const char *rest)
{
    size_t plain = strcspn(rest, "{}");
    if (!rest[plain]) {
        if (e->n >= NAMES_MAX)
            return pupil_fail(PUPIL_EUSER, "%s: more than %d files", e->pattern, NAMES_MAX);
        PUPIL_GROW(e->names, e->n, e->cap);
        e->names[e->n++] = pupil_format("%s%s", done, rest);
        return 0;
    }
    const char *body = rest + plain + 1;
    size_t n = strcspn(body, "{}");
    if (rest[plain] == '}' || body[n] != '}')
        return pupil_fail(PUPIL_EUSER, "%s: braces that do not pair (nested ones are not read)", e->pattern);
    char *before = pupil_format("%s%.*s", done, (int)plain, rest),
         *inside = pupil_format("%.*s", (int)n, body);
    int r = expand_body(e, before, inside, body + n + 1);
    pupil_free(&before);
    pupil_free(&inside);
    return r;
}

int braces_expand(const pupil_strings *patterns, pupil_strings *ret)
{
    expansion e = {0};
    int r = 0;
    for (int i = 0; i < patterns->n && r == 0; i++) {
        e.pattern = patterns->item[i];
        r = expand(&e, "", e.pattern);
    }
    if (r < 0) pupil_names_free(&e.names, (int)e.n);
    else *ret = (pupil_strings){e.names, (int)e.n};
    return r;
}
