/* arch_keys.c: keys of a configuration, read with their types checked. Whatever is wrong is one line that
 * names file, key and value. */
#include "arch.h"

#include <string.h>

int arch_load(const char *path, json_t **ret)
{
    char *text;
    size_t n;
    PUPIL_TRY(pupil_read_file(path, 1 << 20, &text, &n));
    json_error_t e;
    json_t *root = json_loadb(text, n, JSON_REJECT_DUPLICATES, &e);
    pupil_free(&text);
    if (!root) return pupil_fail(PUPIL_EFORMAT, "%s:%d:%d: %s", path, e.line, e.column, e.text);
    *ret = root;
    return 0;
}

int arch_refuse(section s, const char *key, const char *why)
{
    char *value = json_dumps(json_object_get(s.o, key),
                             JSON_ENCODE_ANY | JSON_COMPACT | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(9));
    int r = pupil_fail(PUPIL_EFORMAT, "%s: %s%s%s is %.60s%s; %s", s.path, s.name, *s.name ? "." : "", key,
                       value ? value : "absent", value && strlen(value) > 60 ? "..." : "", why);
    free(value);
    return r;
}

/* The value, or NULL where the default stands. */
static const json_t *given(section s, const char *key)
{
    const json_t *v = json_object_get(s.o, key);
    return json_is_null(v) ? NULL : v;
}

int arch_whole(section s, const char *key, int64_t otherwise, int64_t *ret)
{
    const json_t *v = given(s, key);
    if (v && !json_is_integer(v)) return arch_refuse(s, key, "a whole number was expected");
    *ret = v ? (int64_t)json_integer_value(v) : otherwise;
    return 0;
}

int arch_number(section s, const char *key, double otherwise, double *ret)
{
    const json_t *v = given(s, key);
    if (v && !json_is_number(v)) return arch_refuse(s, key, "a number was expected");
    *ret = v ? json_number_value(v) : otherwise;
    return 0;
}

int arch_bool(section s, const char *key, bool otherwise, bool *ret)
{
    const json_t *v = given(s, key);
    if (v && !json_is_boolean(v)) return arch_refuse(s, key, "true or false was expected");
    *ret = v ? json_is_true(v) : otherwise;
    return 0;
}

int arch_word(section s, const char *key, const char *const *words, int n, int otherwise, int *ret)
{
    const json_t *v = given(s, key);
    int i = v ? 0 : otherwise;
    while (v && i < n && (!json_is_string(v) || strcmp(json_string_value(v), words[i]))) i++;
    if (i < n) {
        *ret = i;
        return 0;
    }
    pupil_buf b = {0};
    for (i = 0; i < n; i++) pupil_buf_printf(&b, "%s%s", i == 0 ? "" : i + 1 < n ? ", " : " or ", words[i]);
    pupil_buf_puts(&b, " was expected");
    int r = arch_refuse(s, key, b.s);
    pupil_buf_free(&b);
    return r;
}

int arch_triple(section s, const char *key, double ret[3])
{
    const json_t *v = given(s, key);
    if (!v) return 0;
    double x[3];
    bool good = json_is_array(v) && json_array_size(v) == 3;
    for (size_t i = 0; i < 3 && good; i++) {
        good = json_is_number(json_array_get(v, i));
        x[i] = json_number_value(json_array_get(v, i));
    }
    if (!good) return arch_refuse(s, key, "three numbers were expected");
    memcpy(ret, x, sizeof x);
    return 0;
}

int arch_section(section s, const char *key, const char *name, section *ret)
{
    const json_t *v = given(s, key);
    if (v && !json_is_object(v)) return arch_refuse(s, key, "an object was expected");
    *ret = (section){s.path, name, v};
    return 0;
}

static bool listed(const char *words, const char *key)
{
    size_t n = strlen(key);
    for (const char *p = words; n && (p = strstr(p, key)); p += n)
        if ((p == words || p[-1] == ' ') && (p[n] == ' ' || !p[n])) return true;
    return false;
}

int arch_known(section s, const char *words)
{
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)(uintptr_t)s.o, key, v)
    {
        bool nothing = json_is_null(v) || json_is_false(v) || (json_is_object(v) && json_object_size(v) == 0);
        if (!nothing && !listed(words, key))
            return arch_refuse(s, key, "what that makes is not computed here");
    }
    return 0;
}
