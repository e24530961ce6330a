/* json_file.c: VQA v2's annotations are hundreds of megabytes and, as one tree of jansson's, gigabytes. So
 * the outermost object and its lists are walked here; where an element ends is found by its brackets and
 * quotes alone, and jansson judges it. */
#include "json_file.h"
#include "stream.h"
#include "table.h"

#include <string.h>

#define VALUE_MAX ((size_t)1 << 20)
#define DEPTH_MAX 64

typedef struct {
    stream s;
    int (*each)(void *, const json_item *);
    void *state;
} reader;

static int bad(const reader *r, int64_t line, const char *what)
{
    if (r->s.failed) return r->s.failed;
    return pupil_fail(PUPIL_EFORMAT, "%s:%lld: %s", r->s.path, (long long)line, what);
}

/* The next character that is not white space, -1 at the end; it is not taken. */
static int peek(reader *r)
{
    int c;
    while ((c = stream_peek(&r->s)) == ' ' || c == '\n' || c == '\r' || c == '\t') stream_next(&r->s);
    return c;
}

static int take(reader *r, char c)
{
    char what[] = "'?' was expected";
    what[1] = c;
    if (peek(r) != c) return bad(r, r->s.line, what);
    stream_next(&r->s);
    return 0;
}

/* Bytes of the value that begins at the window's start: to the bracket that closes its first, the quote that
 * ends it, or up to what cannot be of a number or word. */
static int extent(reader *r, size_t *ret)
{
    stream *s = &r->s;
    int depth = 0;
    bool quoted = false;
    for (size_t n = 0;; n++) {
        if (n >= VALUE_MAX) return bad(r, s->line, "a value of more than 1 MiB");
        if (s->end - s->at <= n && !stream_fill(s, n + 1)) {
            bool open = quoted || depth;
            *ret = n;
            return open || n == 0 || s->failed ? bad(r, s->line, "the file ends inside a value") : 0;
        }
        char c = s->buf[s->at + n];
        if (quoted) {
            if (c == '\\') n++;
            quoted = c != '"';
            if (quoted || depth) continue;
        } else if (c == '"') {
            quoted = true;
            continue;
        } else if (c == '[' || c == '{') {
            if (++depth > DEPTH_MAX) return bad(r, s->line, "nested to a depth of more than 64");
            continue;
        } else if (depth) {
            depth -= c == ']' || c == '}';
            if (depth) continue;
        } else if (!strchr(",:]} \n\r\t", c) || !c) {
            continue;
        } else {
            *ret = n;
            return 0;
        }
        *ret = n + 1;
        return 0;
    }
}

/* One value of any kind, owned by the caller. */
static int value(reader *r, json_t **ret)
{
    json_error_t e;
    size_t n = 0;
    peek(r);
    PUPIL_TRY(extent(r, &n));
    json_t *j = json_loadb(r->s.buf + r->s.at, n, JSON_DECODE_ANY, &e);
    if (!j) return bad(r, r->s.line + PUPIL_MAX(e.line, 1) - 1, e.text);
    stream_skip(&r->s, n);
    *ret = j;
    return 0;
}

static int hand_over(reader *r, json_item item)
{
    json_t *j;
    peek(r);
    item.line = r->s.line;
    PUPIL_TRY(value(r, &j));
    item.value = j;
    int code = r->each(r->state, &item);
    json_decref(j);
    if (code >= 0) return code;
    if (item.key) return pupil_context(code, "%s:%lld: %s", r->s.path, (long long)item.line, item.key);
    if (!item.list) return pupil_context(code, "%s:%lld", r->s.path, (long long)item.line);
    return pupil_context(code, "%s:%lld: %s[%lld]", r->s.path, (long long)item.line, item.list,
                         (long long)item.index);
}

static int elements(reader *r, const char *list)
{
    PUPIL_TRY(take(r, '['));
    for (int64_t i = 0; peek(r) != ']'; i++) {
        if (i) PUPIL_TRY(take(r, ','));
        int code = hand_over(r, (json_item){.list = list, .index = i});
        if (code) return code;
    }
    return take(r, ']');
}

static int members(reader *r, textset *names)
{
    PUPIL_TRY(take(r, '{'));
    for (int64_t i = 0; peek(r) != '}'; i++) {
        if (i) PUPIL_TRY(take(r, ','));
        json_t *name;
        if (peek(r) != '"') return bad(r, r->s.line, "a name was expected");
        PUPIL_TRY(value(r, &name));
        int64_t k = textset_add(names, json_string_value(name), json_string_length(name));
        json_decref(name);
        if (k != i) {
            int code = pupil_fail(PUPIL_EFORMAT, "\"%s\" comes twice", names->text[k]);
            return pupil_context(code, "%s:%lld", r->s.path, (long long)r->s.line);
        }
        PUPIL_TRY(take(r, ':'));
        int code = peek(r) == '[' ? elements(r, names->text[k])
                                  : hand_over(r, (json_item){.key = names->text[k], .index = i});
        if (code) return code;
    }
    return take(r, '}');
}

static int walk(reader *r, bool lines, textset *names)
{
    int code = 0;
    for (int64_t i = 0; lines && code == 0 && peek(r) >= 0; i++) code = hand_over(r, (json_item){.index = i});
    if (lines) return code;
    int first = peek(r);
    if (first != '[' && first != '{') return bad(r, r->s.line, "'{' or '[' was expected");
    code = first == '[' ? elements(r, NULL) : members(r, names);
    if (code == 0 && peek(r) >= 0) return bad(r, r->s.line, "nothing was expected after the JSON");
    return code;
}

int json_file_each(const char *path, bool lines, int (*each)(void *state, const json_item *item), void *state)
{
    reader r = {.each = each, .state = state};
    textset names = {0};
    PUPIL_TRY(stream_open(path, &r.s));
    int code = walk(&r, lines, &names);
    if (code >= 0 && r.s.failed) code = r.s.failed;
    stream_close(&r.s);
    textset_free(&names);
    return code;
}

int json_file_is_lines(const char *path, const char *const *key, int nkeys, bool *ret)
{
    stream s;
    PUPIL_TRY(stream_open(path, &s));
    stream_fill(&s, VALUE_MAX);
    const char *end = s.end > s.at ? memchr(s.buf + s.at, '\n', s.end - s.at) : NULL;
    size_t n = end ? (size_t)(end - s.buf) - s.at : s.end - s.at;
    json_t *j = n < VALUE_MAX ? json_loadb(s.buf + s.at, n, 0, NULL) : NULL;
    *ret = false;
    for (int k = 0; k < nkeys; k++) *ret = *ret || json_object_get(j, key[k]);
    json_decref(j);
    int code = s.failed;
    stream_close(&s);
    return code;
}

int json_file_int(const json_t *object, const char *key, int64_t *ret)
{
    const json_t *j = json_object_get(object, key);
    if (!json_is_integer(j))
        return pupil_fail(PUPIL_EFORMAT, "\"%s\" was expected and to be a whole number", key);
    *ret = json_integer_value(j);
    return 0;
}

int json_file_text(const json_t *object, const char *key, const char **ret)
{
    const json_t *j = json_object_get(object, key);
    if (!json_is_string(j)) return pupil_fail(PUPIL_EFORMAT, "\"%s\" was expected and to be text", key);
    *ret = json_string_value(j);
    return 0;
}

int json_file_id(const json_t *object, const char *key, char digits[24], const char **ret)
{
    const json_t *j = json_object_get(object, key);
    if (json_is_string(j)) {
        *ret = json_string_value(j);
    } else if (json_is_integer(j)) {
        snprintf(digits, 24, "%lld", (long long)json_integer_value(j));
        *ret = digits;
    } else {
        return pupil_fail(PUPIL_EFORMAT, "\"%s\" was expected and to be a number or text", key);
    }
    return 0;
}
