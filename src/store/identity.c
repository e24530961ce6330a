/* identity.c: what a cache is, as sorted "key: value" lines, and what differs between two of them.
 * Guarantees: the digest does not depend on the order of adding; a value cannot break out of its line. */
#include "cache.h"
#include "journal.h"

#include <stdlib.h>
#include <string.h>

void pupil_identity_add(pupil_identity *id, const char *key, const char *fmt, ...)
{
    PUPIL_REQUIRE(key[0] && !strpbrk(key, ": \t\n"));
    char value[4096];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(value, sizeof value, fmt, ap);
    va_end(ap);
    PUPIL_REQUIRE(n >= 0 && n < (int)sizeof value);
    pupil_buf_printf(&id->text, "%s: ", key);
    journal_encode(&id->text, value, false);
    pupil_buf_puts(&id->text, "\n");
}

void pupil_identity_free(pupil_identity *id)
{
    pupil_buf_free(&id->text);
}

static int by_line(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The lines of `text`, sorted; `*ret_copy` holds their bytes. Both are owned by the caller. */
static char **lines_of(const char *text, int64_t *ret_n, char **ret_copy)
{
    char *copy = pupil_strdup(text ? text : ""), *save = NULL, **line = NULL;
    int64_t n = 0, cap = 0;
    for (char *s = strtok_r(copy, "\n", &save); s; s = strtok_r(NULL, "\n", &save)) {
        PUPIL_GROW(line, n, cap);
        line[n++] = s;
    }
    if (n) qsort(line, (size_t)n, sizeof *line, by_line);
    *ret_n = n;
    *ret_copy = copy;
    return line;
}

void identity_sort(const char *text, pupil_buf *out)
{
    int64_t n;
    char *copy, **line = lines_of(text, &n, &copy);
    for (int64_t i = 0; i < n; i++) pupil_buf_printf(out, "%s\n", line[i]);
    pupil_buf_add(out, "", 0);
    pupil_free(&line);
    pupil_free(&copy);
}

void pupil_identity_digest(const pupil_identity *id, char ret_hex[65])
{
    pupil_buf sorted = {0};
    identity_sort(id->text.s, &sorted);
    pupil_sha256_of(sorted.s, sorted.len, ret_hex);
    pupil_buf_free(&sorted);
}

const char *identity_value(const char *text, const char *key, size_t *ret_len)
{
    size_t n = strlen(key);
    for (const char *s = text; s && *s; s = strchr(s, '\n') ? strchr(s, '\n') + 1 : NULL) {
        if (strncmp(s, key, n) || strncmp(s + n, ": ", 2)) continue;
        *ret_len = strcspn(s + n + 2, "\n");
        return s + n + 2;
    }
    return NULL;
}

char *pupil_identity_get(const char *lines, const char *key)
{
    size_t n;
    const char *value = identity_value(lines, key, &n);
    return value ? pupil_format("%.*s", (int)n, value) : NULL;
}

/* The part of a value that tells it from another: from a little before the first difference. */
static void add_excerpt(pupil_buf *out, const char *s, size_t len, size_t same)
{
    enum { LEAD = 8, SHOWN = 24 };
    size_t from = len > SHOWN && same > LEAD ? same - LEAD : 0, n = PUPIL_MIN(len - from, (size_t)SHOWN);
    pupil_buf_printf(out, "%s%.*s%s", from ? ".." : "", (int)n, s + from, from + n < len ? ".." : "");
}

static void add_difference(pupil_buf *out, const char *key, const char *here, const char *want)
{
    size_t n_here = 0, n_want = 0, same = 0;
    const char *h = identity_value(here, key, &n_here), *w = identity_value(want, key, &n_want);
    while (h && w && same < n_here && same < n_want && h[same] == w[same]) same++;
    if (h && w && same == n_here && same == n_want) return;
    pupil_buf_printf(out, "%s%s: ", out->len ? "; " : "", key);
    if (h) add_excerpt(out, h, n_here, same);
    else pupil_buf_puts(out, "nothing");
    pupil_buf_puts(out, " here, ");
    if (w) add_excerpt(out, w, n_want, same);
    else pupil_buf_puts(out, "nothing");
    pupil_buf_puts(out, " wanted");
}

void identity_difference(const char *here, const char *want, pupil_buf *out)
{
    int64_t n;
    char *copy, **line, *both = pupil_format("%s%s", here, want), before[256] = "";
    line = lines_of(both, &n, &copy);
    for (int64_t i = 0; i < n; i++) {
        char key[sizeof before];
        snprintf(key, sizeof key, "%.*s", (int)strcspn(line[i], ":"), line[i]);
        if (strcmp(key, before)) add_difference(out, key, here, want);
        strcpy(before, key);
    }
    pupil_free(&line);
    pupil_free(&copy);
    pupil_free(&both);
}
