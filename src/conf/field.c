/* field.c: one value of the table: text to C and back, strictly: a number is a number to its last character.
 */
#include "schema.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <strings.h>

static void *slot(const field *f, const pupil_conf *c)
{
    return (char *)(uintptr_t)c + f->at;
}

/* The word after `word` in "a b c", or NULL; *n is its length. NULL begins. */
static const char *next_word(const char *words, const char *word, size_t *n)
{
    word = word ? word + *n : words;
    word += *word == ' ';
    *n = strcspn(word, " ");
    return *n ? word : NULL;
}

static int word_index(const char *words, const char *text)
{
    size_t n = 0;
    int i = 0;
    for (const char *w = NULL; (w = next_word(words, w, &n)); i++)
        if (strlen(text) == n && !strncmp(w, text, n)) return i;
    return -1;
}

const char *field_choice(const field *f, const char *text, char word[64])
{
    int least = PUPIL_MAX(2, (int)strlen(text) / 2) + 1;
    size_t n = 0;
    const char *best = NULL;
    for (const char *w = NULL; f->choices && (w = next_word(f->choices, w, &n));) {
        char candidate[64];
        snprintf(candidate, sizeof candidate, "%.*s", (int)n, w);
        int d = strcasecmp(candidate, text) ? pupil_edit_distance(candidate, text) : 0;
        if (d >= least) continue;
        least = d;
        best = strcpy(word, candidate);
    }
    return best;
}

static void expected_number(const field *f, char e[EXPECTED_ROOM])
{
    const char *what = f->type == TYPE_INT ? "a whole number" : "a number",
               *also = f->flags & AUTO ? " or auto" : "";
    bool bounded = f->type == TYPE_INT ? f->max < 1e15 : f->max < 1e300;
    if (!bounded) snprintf(e, EXPECTED_ROOM, "%s from %.16g up%s", what, f->min, also);
    else snprintf(e, EXPECTED_ROOM, "%s from %.16g to %.16g%s", what, f->min, f->max, also);
}

void field_expected(const field *f, char e[EXPECTED_ROOM])
{
    if (f->choices) {
        size_t len = 0, n = 0;
        for (const char *w = NULL; (w = next_word(f->choices, w, &n)) && len + n + 10 < EXPECTED_ROOM;)
            len +=
                (size_t)snprintf(e + len, EXPECTED_ROOM - len, "%s%.*s", len ? ", " : "one of ", (int)n, w);
        return;
    }
    switch (f->type) {
    case TYPE_BOOL:
        strcpy(e, "true or false");
        break;
    case TYPE_INT:
    case TYPE_FLOAT:
        expected_number(f, e);
        break;
    case TYPE_STRING:
    case TYPE_ENUM:
        strcpy(e, f->flags & PATH ? "a path" : "text");
        break;
    case TYPE_STRINGS:
        strcpy(e, f->flags & PATH ? "a list of paths" : "a list of texts");
        break;
    }
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
    if (errno || end == text || *end || !(isdigit((unsigned char)text[0]) || text[0] == '-') ||
        (double)v < f->min || (double)v > f->max)
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

static bool store_bool(const field *f, const char *text, pupil_conf *c)
{
    static const char *const word[] = {"false", "true", "no", "yes", "off", "on"};
    for (int i = 0; i < PUPIL_COUNT(word); i++) {
        if (strcasecmp(text, word[i])) continue;
        *(bool *)slot(f, c) = i % 2;
        return true;
    }
    return false;
}

static bool store_string(const field *f, const char *text, pupil_conf *c)
{
    if (!text[0] || (f->choices && word_index(f->choices, text) < 0)) return false;
    char **s = slot(f, c);
    pupil_free(s);
    *s = pupil_strdup(text);
    return true;
}

bool field_store(const field *f, const char *text, bool quoted, pupil_conf *c)
{
    if (quoted && f->type != TYPE_STRING && f->type != TYPE_ENUM) return false;
    switch (f->type) {
    case TYPE_BOOL:
        return store_bool(f, text, c);
    case TYPE_INT:
        return store_int(f, text, c);
    case TYPE_FLOAT:
        return store_float(f, text, c);
    case TYPE_STRING:
        return store_string(f, text, c);
    case TYPE_STRINGS:
        return false;
    case TYPE_ENUM: {
        int i = word_index(f->choices, text);
        if (i >= 0) store_enum(f, i, c);
        return i >= 0;
    }
    }
    return false;
}

bool field_add_string(const field *f, const char *text, pupil_conf *c)
{
    if (!text[0]) return false;
    pupil_strings *s = slot(f, c);
    if ((s->n & (s->n - 1)) == 0) /* room doubles at each power of two */
        s->item =
            pupil_realloc(s->item, (size_t)s->n * sizeof *s->item, 2 * (size_t)(s->n + 1) * sizeof *s->item);
    s->item[s->n++] = pupil_strdup(text);
    return true;
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

/* The code point at s (valid UTF-8, as libyaml gives it) and its length. */
static unsigned code_point(const unsigned char *s, size_t *n)
{
    *n = s[0] < 0x80 ? 1 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
    unsigned c = *n == 1 ? s[0] : s[0] & (0x7fu >> *n);
    for (size_t i = 1; i < *n; i++) {
        if (!s[i]) return *n = i, c;
        c = c << 6 | (s[i] & 0x3f);
    }
    return c;
}

/* What YAML does not allow as it is, or would fold as white space. */
static bool needs_escape(unsigned c)
{
    return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x2028 || c == 0x2029 || c == 0xfeff || c == 0xfffe ||
           c == 0xffff;
}

/* Always in double quotes: no further thought about what must be quoted. */
static void print_string(pupil_buf *out, const char *s)
{
    pupil_buf_puts(out, "\"");
    size_t n;
    for (const unsigned char *p = (const unsigned char *)s; *p; p += n) {
        unsigned c = code_point(p, &n);
        if (needs_escape(c)) {
            pupil_buf_printf(out, "\\u%04X", c);
        } else {
            if (c == '"' || c == '\\') pupil_buf_puts(out, "\\");
            pupil_buf_add(out, p, n);
        }
    }
    pupil_buf_puts(out, "\"");
}

static void print_enum(const field *f, int value, pupil_buf *out)
{
    size_t n = 0;
    const char *w = next_word(f->choices, NULL, &n);
    while (value-- > 0) w = next_word(f->choices, w, &n);
    pupil_buf_add(out, w, n);
}

void field_print(const field *f, const pupil_conf *c, pupil_buf *out)
{
    const void *p = slot(f, c);
    switch (f->type) {
    case TYPE_BOOL:
        pupil_buf_puts(out, *(const bool *)p ? "true" : "false");
        break;
    case TYPE_INT:
        if (*(const int64_t *)p == 0 && f->flags & (AUTO | PRESET))
            pupil_buf_puts(out, f->flags & AUTO ? "auto" : "null");
        else pupil_buf_printf(out, "%lld", (long long)*(const int64_t *)p);
        break;
    case TYPE_FLOAT:
        pupil_buf_json_num(out, *(const double *)p);
        break;
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
        if (load_enum(f, c) < 0) pupil_buf_puts(out, "null");
        else print_enum(f, load_enum(f, c), out);
        break;
    }
}
