/* vqa_json.c: VQA v2's annotations are hundreds of megabytes and, as one tree of jansson's, gigabytes. So the
 * outermost object and the one array are walked here, and jansson parses an element at a time. */
#include "vqa_json.h"

#include <string.h>

typedef struct {
    const char *path, *text, *at, *end;
} reader;

static int line_of(const reader *r, const char *at)
{
    int line = 1;
    for (const char *p = r->text; (p = memchr(p, '\n', (size_t)(at - p))); p++) line++;
    return line;
}

static int bad(const reader *r, const char *at, const char *what)
{
    return pupil_fail(PUPIL_EFORMAT, "%s:%d: %s", r->path, line_of(r, at), what);
}

/* The next character that is not white space, 0 at the end; it is not taken. */
static char peek(reader *r)
{
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\n' || *r->at == '\r' || *r->at == '\t')) r->at++;
    return r->at < r->end ? *r->at : 0;
}

static int take(reader *r, char c)
{
    char what[] = "'?' was expected";
    what[1] = c;
    if (peek(r) != c) return bad(r, r->at, what);
    r->at++;
    return 0;
}

/* One value of any kind, owned by the caller. */
static int value(reader *r, json_t **ret)
{
    json_error_t e;
    peek(r);
    json_t *j = json_loadb(r->at, (size_t)(r->end - r->at), JSON_DECODE_ANY | JSON_DISABLE_EOF_CHECK, &e);
    if (!j) return bad(r, r->at + PUPIL_MIN(PUPIL_MAX(e.position, 0), r->end - r->at), e.text);
    r->at += e.position;
    *ret = j;
    return 0;
}

static int elements(reader *r, const char *key, int (*each)(void *, const json_t *), void *state)
{
    PUPIL_TRY(take(r, '['));
    for (int64_t i = 0; peek(r) != ']'; i++) {
        if (i) PUPIL_TRY(take(r, ','));
        peek(r);
        const char *start = r->at;
        json_t *j;
        PUPIL_TRY(value(r, &j));
        int code = each(state, j);
        json_decref(j);
        if (code < 0)
            return pupil_context(code, "%s:%d: %s[%lld]", r->path, line_of(r, start), key, (long long)i);
    }
    return take(r, ']');
}

static int walk(reader *r, const char *key, int (*each)(void *, const json_t *), void *state)
{
    bool found = false;
    PUPIL_TRY(take(r, '{'));
    for (int i = 0; peek(r) != '}'; i++) {
        if (i) PUPIL_TRY(take(r, ','));
        json_t *name, *other;
        PUPIL_TRY(value(r, &name));
        bool wanted = json_is_string(name) && strcmp(json_string_value(name), key) == 0,
             repeated = wanted && found;
        bool string = json_is_string(name);
        json_decref(name);
        if (!string || repeated)
            return bad(r, r->at, string ? "the list comes twice" : "a name was expected");
        PUPIL_TRY(take(r, ':'));
        found |= wanted;
        if (wanted) {
            PUPIL_TRY(elements(r, key, each, state));
        } else {
            PUPIL_TRY(value(r, &other));
            json_decref(other);
        }
    }
    PUPIL_TRY(take(r, '}'));
    if (peek(r)) return bad(r, r->at, "nothing was expected after the object");
    return found ? 0 : pupil_fail(PUPIL_EFORMAT, "%s: there is no list \"%s\" in it", r->path, key);
}

int vqa_json_each(const char *path, const char *key, int (*each)(void *state, const json_t *element),
                  void *state)
{
    char *text;
    size_t n;
    PUPIL_TRY(pupil_read_file(path, (size_t)16 << 30, &text, &n));
    reader r = {path, text, text, text + n};
    int code = walk(&r, key, each, state);
    pupil_free(&text);
    return code;
}

int vqa_json_int(const json_t *object, const char *key, int64_t *ret)
{
    const json_t *j = json_object_get(object, key);
    if (!json_is_integer(j))
        return pupil_fail(PUPIL_EFORMAT, "\"%s\" was expected and to be a whole number", key);
    *ret = json_integer_value(j);
    return 0;
}

int vqa_json_text(const json_t *object, const char *key, const char **ret)
{
    const json_t *j = json_object_get(object, key);
    if (!json_is_string(j)) return pupil_fail(PUPIL_EFORMAT, "\"%s\" was expected and to be text", key);
    *ret = json_string_value(j);
    return 0;
}
