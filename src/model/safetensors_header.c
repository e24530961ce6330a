/* safetensors_header.c: the header of one safetensors file,
 *   {"__metadata__": {text: text}, NAME: {"dtype": TYPE, "shape": [..], "data_offsets": [begin, end]}, ...}
 * by the rules of the format's own reference: it begins with '{', no name comes twice, the product of a shape
 * is its byte range and does not overflow, ranges cover the data without overlap or hole. A dimension may be
 * 0 and a shape empty. Nothing is sized by a number that was not checked against the file. */
#include "safetensors.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

int st_refuse(const char *file, const char *name, const char *why)
{
    return pupil_fail(PUPIL_EFORMAT, "%s: tensor %.*s: %s", file, ST_NAME_SHOWN, name, why);
}

/* Every type of the format; the last three pack elements into parts of bytes. */
static const struct st_dtype {
    const char *name;
    pupil_st_type type;
    uint64_t bits;
} dtypes[] = {
    {"F32", PUPIL_ST_F32, 32},          {"F16", PUPIL_ST_F16, 16},      {"BF16", PUPIL_ST_BF16, 16},
    {"F64", PUPIL_ST_OTHER, 64},        {"I64", PUPIL_ST_OTHER, 64},    {"U64", PUPIL_ST_OTHER, 64},
    {"C64", PUPIL_ST_OTHER, 64},        {"I32", PUPIL_ST_OTHER, 32},    {"U32", PUPIL_ST_OTHER, 32},
    {"I16", PUPIL_ST_OTHER, 16},        {"U16", PUPIL_ST_OTHER, 16},    {"I8", PUPIL_ST_OTHER, 8},
    {"U8", PUPIL_ST_OTHER, 8},          {"BOOL", PUPIL_ST_OTHER, 8},    {"F8_E4M3", PUPIL_ST_OTHER, 8},
    {"F8_E5M2", PUPIL_ST_OTHER, 8},     {"F8_E8M0", PUPIL_ST_OTHER, 8}, {"F8_E4M3FNUZ", PUPIL_ST_OTHER, 8},
    {"F8_E5M2FNUZ", PUPIL_ST_OTHER, 8}, {"F6_E2M3", PUPIL_ST_OTHER, 6}, {"F6_E3M2", PUPIL_ST_OTHER, 6},
    {"F4", PUPIL_ST_OTHER, 4}};

static const struct st_dtype *dtype_of(const char *name)
{
    for (int k = 0; k < PUPIL_COUNT(dtypes); k++)
        if (!strcmp(dtypes[k].name, name)) return &dtypes[k];
    return NULL;
}

/* A whole number from 0 up. */
static bool count_of(const json_t *v, uint64_t *ret)
{
    if (!json_is_integer(v) || json_integer_value(v) < 0) return false;
    *ret = (uint64_t)json_integer_value(v);
    return true;
}

static int parse_shape(const char *file, const json_t *shape, uint64_t element_bits, pupil_st_tensor *t,
                       uint64_t *ret_bytes)
{
    if (json_array_size(shape) > PUPIL_COUNT(t->shape))
        return st_refuse(file, t->name, "more than 8 dimensions");
    uint64_t count = 1, bits, v;
    t->ndim = (int)json_array_size(shape);
    for (int d = 0; d < t->ndim; d++) {
        if (!count_of(json_array_get(shape, (size_t)d), &v))
            return st_refuse(file, t->name, "a dimension is no whole number from 0 up");
        if (__builtin_mul_overflow(count, v, &count))
            return st_refuse(file, t->name, "its shape is larger than any file");
        t->shape[d] = (int64_t)v;
    }
    if (__builtin_mul_overflow(count, element_bits, &bits))
        return st_refuse(file, t->name, "its shape is larger than any file");
    if (bits % 8) return st_refuse(file, t->name, "its elements fill no whole number of bytes");
    t->count = (int64_t)count;
    *ret_bytes = bits / 8;
    return 0;
}

static int parse_entry(const json_t *o, uint64_t data_bytes, st_entry *e)
{
    pupil_st_tensor *t = &e->t;
    const char *type = json_string_value(json_object_get(o, "dtype"));
    const json_t *shape = json_object_get(o, "shape"), *at = json_object_get(o, "data_offsets");
    if (!type || !json_is_array(shape) || json_array_size(at) != 2)
        return st_refuse(t->file, t->name, "expected {\"dtype\", \"shape\", \"data_offsets\": [begin, end]}");
    const struct st_dtype *d = dtype_of(type);
    if (!d)
        return pupil_fail(PUPIL_EFORMAT, "%s: tensor %.*s: unknown dtype %.40s", t->file, ST_NAME_SHOWN,
                          t->name, type);
    t->type = d->type;
    t->dtype = d->name;
    uint64_t bytes = 0;
    PUPIL_TRY(parse_shape(t->file, shape, d->bits, t, &bytes));
    if (!count_of(json_array_get(at, 0), &e->begin) || !count_of(json_array_get(at, 1), &e->end))
        return st_refuse(t->file, t->name, "its data_offsets are no whole numbers from 0 up");
    if (e->begin > e->end) return st_refuse(t->file, t->name, "its data_offsets end before they begin");
    if (e->end > data_bytes) return st_refuse(t->file, t->name, "its data_offsets leave the file");
    if (e->end - e->begin != bytes)
        return st_refuse(t->file, t->name, "its data_offsets do not fit its shape");
    return 0;
}

static int check_metadata(const char *file, const json_t *o)
{
    const char *key;
    json_t *v;
    bool good = json_is_object(o);
    json_object_foreach((json_t *)(uintptr_t)o, key, v) good &= json_is_string(v);
    return good ? 0 : pupil_fail(PUPIL_EFORMAT, "%s: __metadata__ is no object of texts", file);
}

static int by_place(const void *a, const void *b)
{
    const st_entry *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    return x->end < y->end
               ? -1
               : x->end > y->end; /* an empty tensor lies before the one that begins where it does */
}

static int check_places(const char *file, st_entry *e, int64_t n, uint64_t data_bytes)
{
    if (n) qsort(e, (size_t)n, sizeof *e, by_place);
    uint64_t at = 0;
    for (int64_t i = 0; i < n; at = e[i++].end) {
        if (e[i].begin > at) return st_refuse(file, e[i].t.name, "there is a hole before its data");
        if (e[i].begin < at)
            return pupil_fail(PUPIL_EFORMAT, "%s: tensor %.*s: its data overlap those of tensor %.*s", file,
                              ST_NAME_SHOWN, e[i].t.name, ST_NAME_SHOWN, e[i - 1].t.name);
    }
    if (at != data_bytes)
        return pupil_fail(PUPIL_EFORMAT, "%s: %llu bytes of tensors but %llu bytes of data", file,
                          (unsigned long long)at, (unsigned long long)data_bytes);
    return 0;
}

static int parse_entries(const char *file, const json_t *root, const uint8_t *data, uint64_t bytes,
                         st_entries *list)
{
    const char *name;
    json_t *o;
    int64_t first = list->n;
    json_object_foreach((json_t *)(uintptr_t)root, name, o)
    {
        if (!strcmp(name, "__metadata__")) {
            PUPIL_TRY(check_metadata(file, o));
            continue;
        }
        PUPIL_GROW(list->e, list->n, list->cap);
        st_entry *e = &list->e[list->n++];
        *e = (st_entry){.t = {.name = pupil_strdup(name), .file = file}};
        PUPIL_TRY(parse_entry(o, bytes, e));
        e->t.data = data + e->begin;
    }
    return check_places(file, list->e + first, list->n - first, bytes);
}

int st_header_parse(const char *file, const char *text, size_t n, const uint8_t *data, uint64_t bytes,
                    st_entries *list)
{
    if (n == 0 || text[0] != '{')
        return pupil_fail(PUPIL_EFORMAT, "%s: its header does not begin with {", file);
    json_error_t e;
    json_t *root = json_loadb(text, n, JSON_REJECT_DUPLICATES, &e);
    if (!root) return pupil_fail(PUPIL_EFORMAT, "%s: header, byte %d: %s", file, e.position, e.text);
    int r = parse_entries(file, root, data, bytes, list);
    json_decref(root);
    return r;
}
