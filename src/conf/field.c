/* field.c: one value of the table: text to C and back, strictly: a number is a number to its last character. */
#include "schema.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static void *slot(const field *f, const pupil_conf *c) { return (char *)(uintptr_t)c + f->at; }

void field_expected(const field *f, char e[256])
{
    const char *also = f->flags & AUTO ? " or auto" : "";
    switch (f->type) {
    case TYPE_BOOL: snprintf(e, 256, "true or false"); break;
    case TYPE_INT:
        if (f->max >= 1e15) snprintf(e, 256, "a whole number from %.0f up%s", f->min, also);
        else snprintf(e, 256, "a whole number from %.0f to %.0f%s", f->min, f->max, also);
        break;
    case TYPE_FLOAT:
        if (f->max >= 1e300) snprintf(e, 256, "a number from %g up", f->min);
        else snprintf(e, 256, "a number from %g to %g", f->min, f->max);
        break;
    case TYPE_STRING: snprintf(e, 256, "text"); break;
    case TYPE_STRINGS: snprintf(e, 256, "a list of texts"); break;
    case TYPE_ENUM: {
        size_t n = (size_t)snprintf(e, 256, "one of ");
        for (const char *p = f->choices; *p && n < 250; p++) {
            if (*p == ' ') n += (size_t)snprintf(e + n, 256 - n, ", ");
            else e[n++] = *p, e[n] = 0;
        }
        break;
    }
    }
}

/* Index of a word in "a b c", or -1. */
static int word_index(const char *words, const char *word)
{
    size_t n = strlen(word);
    int i = 0;
    for (const char *p = words; p; p = strchr(p, ' '), p = p ? p + 1 : NULL, i++)
        if (!strncmp(p, word, n) && (p[n] == ' ' || p[n] == 0)) return n ? i : -1;
    return -1;
}

static void store_enum(const field *f, int value, pupil_conf *c)
{
    if (f->size == sizeof(bool)) *(bool *)slot(f, c) = value != 0;
    else *(int *)slot(f, c) = value;
}

static int load_enum(const field *f, const pupil_conf *c)
{
    return f->size == sizeof(bool) ? *(const bool *)slot(f, c) : *(const int *)slot(f, c);
}

static bool store_int(const field *f, const char *text, pupil_conf *c)
{
    if (f->flags & AUTO && !strcmp(text, "auto")) {
        *(int64_t *)slot(f, c) = 0;
        return true;
    }
    char *end;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (errno || end == text || *end || !(isdigit((unsigned char)text[0]) || text[0] == '-') || (double)v < f->min || (double)v > f->max)
        return false;
    *(int64_t *)slot(f, c) = v;
    return true;
}

static bool store_float(const field *f, const char *text, pupil_conf *c)
{
    char *end;
    bool plain = strspn(text, "0123456789+-.eE") == strlen(text);
    double v = strtod(text, &end);
    if (!plain || end == text || *end || !isfinite(v) || v < f->min || v > f->max) return false;
    *(double *)slot(f, c) = v;
    return true;
}

bool field_store(const field *f, const char *text, bool quoted, pupil_conf *c, char expected[256])
{
    static const char *const yes[] = {"true", "yes", "on"}, *const no[] = {"false", "no", "off"};
    bool ok = false;
    field_expected(f, expected);
    if (quoted && f->type != TYPE_STRING && f->type != TYPE_ENUM) return false;
    switch (f->type) {
    case TYPE_BOOL:
        for (int i = 0; i < 3; i++)
            if (!strcmp(text, yes[i]) || !strcmp(text, no[i])) {
                *(bool *)slot(f, c) = !strcmp(text, yes[i]);
                ok = true;
            }
        break;
    case TYPE_INT: ok = store_int(f, text, c); break;
    case TYPE_FLOAT: ok = store_float(f, text, c); break;
    case TYPE_STRING: {
        char **s = slot(f, c);
        ok = text[0] != 0;
        pupil_free(s);
        if (ok) *s = pupil_strdup(text);
        break;
    }
    case TYPE_STRINGS: break;
    case TYPE_ENUM: {
        int i = word_index(f->choices, text);
        ok = i >= 0;
        if (ok) store_enum(f, i + f->base, c);
        break;
    }
    }
    return ok;
}

void field_add_string(const field *f, const char *text, pupil_conf *c)
{
    pupil_strings *s = slot(f, c);
    s->item = pupil_realloc(s->item, (size_t)s->n * sizeof *s->item, (size_t)(s->n + 1) * sizeof *s->item);
    s->item[s->n++] = pupil_strdup(text);
}

void field_clear(const field *f, pupil_conf *c)
{
    if (f->type == TYPE_STRING) pupil_free((char **)slot(f, c));
    if (f->type == TYPE_STRINGS) {
        pupil_strings *s = slot(f, c);
        pupil_names_free(&s->item, s->n);
        s->n = 0;
    }
    if (f->flags & PRESET && f->type == TYPE_INT) *(int64_t *)slot(f, c) = 0;
    if (f->flags & PRESET && f->type == TYPE_ENUM) store_enum(f, -1, c);
}

/* JSON strings are YAML strings, and need no further thought about what must be quoted. */
static void print_string(pupil_buf *out, const char *s)
{
    pupil_buf_json(out, s);
}

static void print_enum(const field *f, int value, pupil_buf *out)
{
    const char *p = f->choices;
    for (int i = f->base; i < value; i++) p = strchr(p, ' ') + 1;
    pupil_buf_add(out, p, strcspn(p, " "));
}

void field_print(const field *f, const pupil_conf *c, pupil_buf *out)
{
    const void *p = slot(f, c);
    switch (f->type) {
    case TYPE_BOOL: pupil_buf_puts(out, *(const bool *)p ? "true" : "false"); break;
    case TYPE_INT:
        if (*(const int64_t *)p == 0 && f->flags & (AUTO | PRESET)) pupil_buf_puts(out, f->flags & AUTO ? "auto" : "null");
        else pupil_buf_printf(out, "%lld", (long long)*(const int64_t *)p);
        break;
    case TYPE_FLOAT: pupil_buf_json_num(out, *(const double *)p); break;
    case TYPE_STRING:
        if (*(char *const *)p) print_string(out, *(char *const *)p);
        else pupil_buf_puts(out, "null");
        break;
    case TYPE_STRINGS: {
        const pupil_strings *s = p;
        pupil_buf_puts(out, "[");
        for (int i = 0; i < s->n; i++) pupil_buf_puts(out, i ? ", " : ""), print_string(out, s->item[i]);
        pupil_buf_puts(out, "]");
        break;
    }
    case TYPE_ENUM:
        if (load_enum(f, c) < f->base) pupil_buf_puts(out, "null");
        else print_enum(f, load_enum(f, c), out);
        break;
    }
}
