/* keys.c: a list of sample keys that lies beside a matrix: keys.txt, one a line, or keys.json, a list of texts. */
#include "pupil/data.h"

#include <jansson.h>
#include <string.h>

static int empty(const char *path, int64_t row)
{
    return pupil_fail(PUPIL_EFORMAT, "%s: row %lld: its key is empty", path, (long long)row);
}

static int read_lines(const char *path, pupil_buf *keys, int64_t *ret_n)
{
    char *text;
    size_t bytes;
    int64_t n = 0;
    PUPIL_TRY(pupil_read_file(path, (size_t)4 << 30, &text, &bytes));
    int r = strlen(text) < bytes ? pupil_fail(PUPIL_EFORMAT, "%s: holds NUL bytes, text was expected", path) : 0;
    for (char *s = text, *end; r == 0 && *s; s = end, n++) {
        size_t line = strcspn(s, "\n"), key = line && s[line - 1] == '\r' ? line - 1 : line;
        end = s + line + (s[line] != 0);
        if (key == 0) r = empty(path, n);
        pupil_buf_add(keys, s, key);
        pupil_buf_add(keys, "", 1);
    }
    pupil_free(&text);
    if (r == 0) *ret_n = n;
    return r;
}

static int read_list(const char *path, pupil_buf *keys, int64_t *ret_n)
{
    json_error_t e;
    json_t *root = json_load_file(path, 0, &e), *item; /* a NUL in a text is an error to jansson */
    size_t i;
    int r = 0;
    if (!root) return pupil_fail(PUPIL_EFORMAT, "%s:%d:%d: %s", path, e.line, e.column, e.text);
    if (!json_is_array(root)) r = pupil_fail(PUPIL_EFORMAT, "%s: a list of texts was expected", path);
    json_array_foreach(root, i, item)
    {
        if (r == 0 && !json_is_string(item))
            r = pupil_fail(PUPIL_EFORMAT, "%s: row %zu: its key is not a text", path, i);
        if (r == 0 && !json_string_length(item)) r = empty(path, (int64_t)i);
        if (r == 0) pupil_buf_add(keys, json_string_value(item), json_string_length(item) + 1);
    }
    if (r == 0) *ret_n = (int64_t)json_array_size(root);
    json_decref(root);
    return r;
}

int pupil_keys_read(const char *dir, pupil_buf *keys, int64_t *ret_n)
{
    char *txt = pupil_join(dir, "keys.txt"), *json = pupil_join(dir, "keys.json");
    int r;
    if (pupil_exists(txt) && pupil_exists(json))
        r = pupil_fail(PUPIL_EUSER, "%s: holds both keys.txt and keys.json, one was expected", dir);
    else if (pupil_exists(txt)) r = read_lines(txt, keys, ret_n);
    else if (pupil_exists(json)) r = read_list(json, keys, ret_n);
    else r = pupil_fail(PUPIL_ENOTFOUND, "%s: neither keys.txt nor keys.json is there", dir);
    pupil_free(&txt);
    pupil_free(&json);
    return r;
}
