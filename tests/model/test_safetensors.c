/* Safetensors: what was written reads back and is what the format's own writer gives; shards behind an index
 * are one model; every rule of the format has a file that breaks it alone and is refused with a line that
 * names it. */
#include "../proof.h"

#include "pupil/model.h"

#include <sys/stat.h>

static char *dir;

static int setup(void **state)
{
    dir = folder_new();
    return 0;
}

static int teardown(void **state)
{
    folder_end(&dir);
    return 0;
}

/* dir/name of the given header and `data` bytes of content; its path, owned by the caller. */
static char *file_named(const char *name, const char *header, const void *data, size_t bytes)
{
    pupil_buf b = {0};
    uint64_t n = strlen(header);
    pupil_buf_add(&b, &n, 8);
    pupil_buf_puts(&b, header);
    pupil_buf_add(&b, data, bytes);
    char *path = pupil_join(dir, name);
    GOOD(pupil_write_file(path, b.s, b.len));
    pupil_buf_free(&b);
    return path;
}

static char *file_of(const char *header, const void *data, size_t bytes)
{
    return file_named("x.safetensors", header, data, bytes);
}

#define T(name, dtype, shape, begin, end)                                                                    \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" begin "," end "]}"
#define W(dtype, shape, begin, end) "{" T("w", dtype, shape, begin, end) "}"

static const uint8_t zeros[64];

/* ---- one file ----------------------------------------------------------------------------------- */
/* The neighbours of the refused ones below: each of them differs from one here in one thing. */
static void unusual_files_that_are_good(void **state)
{
    static const struct {
        const char *header;
        size_t bytes;
        int ndim;
        int64_t count;
        const char *dtype;
    } cases[] = {
        {W("F32", "[2]", "0", "8"), 8, 1, 2, "F32"},
        {W("F32", "[2]", "0", "8") "   ", 8, 1, 2, "F32"},
        {W("F32", "[]", "0", "4"), 4, 0, 1, "F32"},
        {W("F32", "[0]", "0", "0"), 0, 1, 0, "F32"},
        {W("F32", "[3,0,4611686018427387904]", "0", "0"), 0, 3, 0, "F32"},
        {W("F32", "[1,1,1,1,1,1,1,1]", "0", "4"), 4, 8, 1, "F32"},
        {W("F8_E4M3", "[8]", "0", "8"), 8, 1, 8, "F8_E4M3"},
        {W("F4", "[8]", "0", "4"), 4, 1, 8, "F4"},
        {"{" T("w", "F32", "[2]", "0", "8") "," T("v", "F32", "[0]", "0", "0") "}", 8, 1, 2, "F32"},
        {"{" T("w", "F32", "[2]", "4", "12") "," T("v", "BOOL", "[4]", "0", "4") "}", 12, 1, 2, "F32"},
        {"{\"__metadata__\":{\"format\":\"pt\",\"w\":\"\"}," T("w", "I64", "[1]", "0", "8") "}", 8, 1, 1,
         "I64"},
        {"{\"w\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"more\":[]}}", 4, 1, 1, "F32"},
    };
    for (int i = 0; i < PUPIL_COUNT(cases); i++) {
        char *path = file_of(cases[i].header, zeros, cases[i].bytes);
        pupil_safetensors *s;
        pupil_st_tensor t;
        GOOD(pupil_safetensors_open(path, &s));
        assert_true(pupil_safetensors_find(s, "w", &t) && !pupil_safetensors_has(s, "__metadata__"));
        CHECK(t.ndim == cases[i].ndim && t.count == cases[i].count && !strcmp(t.dtype, cases[i].dtype) &&
                  !strcmp(t.file, path),
              "case %d: %d dimensions, %lld elements of %s in %s", i, t.ndim, (long long)t.count, t.dtype,
              t.file);
        float out[8];
        if (t.type == PUPIL_ST_OTHER) BAD(pupil_st_unpack(&t, 0, t.count, out), PUPIL_EFORMAT, t.dtype);
        else GOOD(pupil_st_unpack(&t, 0, t.count, out));
        pupil_safetensors_close(&s);
        pupil_free(&path);
    }
}

static void hostile_headers_are_refused(void **state)
{
    static const struct {
        const char *header;
        size_t bytes;
        const char *names; /* what the reason must hold */
    } cases[] = {
        {W("F32", "[2]", "0", "8"), 12, "8 bytes of tensors but 12"},
        {W("F32", "[2]", "0", "8"), 7, "tensor w: its data_offsets leave the file"},
        {W("F32", "[2]", "0", "8"), 0, "tensor w: its data_offsets leave the file"},
        {W("F32", "[3]", "0", "8"), 8, "tensor w: its data_offsets do not fit its shape"},
        {W("F32", "[1]", "0", "8"), 8, "tensor w: its data_offsets do not fit its shape"},
        {W("F16", "[2]", "0", "8"), 8, "tensor w: its data_offsets do not fit its shape"},
        {W("F32", "[0]", "0", "4"), 4, "tensor w: its data_offsets do not fit its shape"},
        {W("F4", "[3]", "0", "2"), 2, "tensor w: its elements fill no whole number of bytes"},
        {W("F32", "[2]", "8", "0"), 8, "tensor w: its data_offsets end before they begin"},
        {W("F32", "[2]", "-8", "0"), 8, "tensor w: its data_offsets are no whole numbers"},
        {W("F32", "[2]", "0", "8.0"), 8, "tensor w: its data_offsets are no whole numbers"},
        {W("F32", "[2]", "4", "12"), 8, "tensor w: its data_offsets leave the file"},
        {W("F32", "[2]", "9223372036854775800", "9223372036854775807"), 8,
         "tensor w: its data_offsets leave the file"},
        {W("F32", "[2]", "0", "9223372036854775807"), 8, "tensor w: its data_offsets leave the file"},
        {"{\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8,16]}}", 8, "tensor w: expected"},
        {"{\"w\":{\"dtype\":\"F32\",\"shape\":[2]}}", 8, "tensor w: expected"},
        {"{\"w\":{\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "tensor w: expected"},
        {"{\"w\":{\"dtype\":\"F32\",\"data_offsets\":[0,8]}}", 8, "tensor w: expected"},
        {"{\"w\":{\"dtype\":3,\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "tensor w: expected"},
        {"{\"w\":[1,2]}", 8, "tensor w: expected"},
        {W("F32", "2", "0", "8"), 8, "tensor w: expected"},
        {W("Q4", "[2]", "0", "8"), 8, "tensor w: unknown dtype Q4"},
        {W("f32", "[2]", "0", "8"), 8, "tensor w: unknown dtype f32"},
        {W("F32", "[-1,-2]", "0", "8"), 8, "tensor w: a dimension"},
        {W("F32", "[\"2\"]", "0", "8"), 8, "tensor w: a dimension"},
        {W("F32", "[2.0]", "0", "8"), 8, "tensor w: a dimension"},
        {W("F32", "[4611686018427387904]", "0", "0"), 0, "tensor w: its shape is larger than any file"},
        {W("F32", "[65536,65536,65536,65536]", "0", "0"), 0, "tensor w: its shape is larger than any file"},
        {W("F32", "[4611686018427387904,4,0]", "0", "0"), 0, "tensor w: its shape is larger than any file"},
        {W("F32", "[1,1,1,1,1,1,1,1,1]", "0", "4"), 4, "tensor w: more than 8"},
        {W("F32", "[99999999999999999999]", "0", "8"), 8, "integer"},
        {"{" T("a", "F32", "[2]", "0", "8") "," T("b", "F32", "[2]", "4", "12") "}", 12,
         "tensor b: its data overlap those of tensor a"},
        {"{" T("a", "F32", "[2]", "0", "8") "," T("b", "F32", "[2]", "0", "8") "}", 8,
         "its data overlap those of tensor"},
        {"{" T("a", "F32", "[2]", "0", "8") "," T("b", "F32", "[0]", "4", "4") "}", 8,
         "tensor b: its data overlap those of tensor a"},
        {"{" T("a", "F32", "[1]", "0", "4") "," T("b", "F32", "[1]", "8", "12") "}", 12,
         "tensor b: there is a hole before its data"},
        {W("F32", "[1]", "4", "8"), 8, "tensor w: there is a hole before its data"},
        {"{" T("w", "F32", "[1]", "0", "4") "," T("w", "F32", "[1]", "0", "4") "}", 4,
         "duplicate object key near '\"w\"'"},
        {"{\"w\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4,
         "duplicate object key"},
        {"{\"__metadata__\":[]," T("w", "F32", "[1]", "0", "4") "}", 4, "__metadata__ is no object of texts"},
        {"{\"__metadata__\":{\"a\":1}," T("w", "F32", "[1]", "0", "4") "}", 4,
         "__metadata__ is no object of texts"},
        {" " W("F32", "[2]", "0", "8"), 8, "does not begin with {"},
        {"[1,2,3]", 8, "does not begin with {"},
        {"", 8, "does not begin with {"},
        {W("F32", "[2]", "0", "8") "x", 8, "header, byte"},
        {"{\"w\":", 8, "header, byte"},
        {"{" T("\\u0000w", "F32", "[1]", "0", "4") "}", 4, "header, byte"},
        {"{" T("\xc3(", "F32", "[1]", "0", "4") "}", 4, "header, byte"}, /* no UTF-8 */
        {"{" T("\\ud800", "F32", "[1]", "0", "4") "}", 4, "header, byte"},
    };
    for (int i = 0; i < PUPIL_COUNT(cases); i++) {
        char *path = file_of(cases[i].header, zeros, cases[i].bytes);
        pupil_safetensors *s = NULL;
        BAD(pupil_safetensors_open(path, &s), PUPIL_EFORMAT, cases[i].names);
        CHECK(strstr(pupil_reason(), path), "case %d does not name the file: %s", i, pupil_reason());
        assert_null(s);
        pupil_free(&path);
    }
}

/* A name as long as a header leaves room for the reason. */
static void long_names_leave_room_for_the_reason(void **state)
{
    pupil_buf b = {0};
    pupil_buf_puts(&b, "{\"");
    for (int i = 0; i < 5000; i++) pupil_buf_puts(&b, "w");
    pupil_buf_puts(&b, "\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}");
    char *path = file_of(b.s, zeros, 4);
    pupil_safetensors *s;
    BAD(pupil_safetensors_open(path, &s), PUPIL_EFORMAT, "its data_offsets do not fit its shape");
    pupil_buf_free(&b);
    pupil_free(&path);
}

static void what_is_no_file_of_this_kind(void **state)
{
    char *path = pupil_join(dir, "short"), *pipe = pupil_join(dir, "pipe"), *loop = pupil_join(dir, "loop"),
         *index = pupil_join(dir, "pipe.index.json");
    pupil_safetensors *s;
    BAD(pupil_safetensors_open(path, &s), PUPIL_ENOTFOUND, path);
    for (size_t n = 0; n < 8; n++) {
        GOOD(pupil_write_file(path, "\1\0\0\0\0\0\0\0", n));
        BAD(pupil_safetensors_open(path, &s), PUPIL_EFORMAT, "too short");
    }
    static const uint64_t claims[] = {1, 100, 100000001, UINT64_MAX, UINT64_MAX - 7, INT64_MAX};
    for (int i = 0; i < PUPIL_COUNT(claims); i++) {
        GOOD(pupil_write_file(path, &claims[i], 8));
        BAD(pupil_safetensors_open(path, &s), PUPIL_EFORMAT, "header claims");
    }
    GOOD(pupil_write_file(path, &claims[2], 8)); /* the file is long enough, mostly a hole on the disk */
    assert_int_equal(truncate(path, 200000000), 0);
    BAD(pupil_safetensors_open(path, &s), PUPIL_EFORMAT, "header claims 100000001 bytes, the format allows");
    BAD(pupil_safetensors_open(dir, &s), PUPIL_EIO, "not a regular file");
    assert_true(mkfifo(pipe, 0600) == 0 && mkfifo(index, 0600) == 0 && symlink("loop", loop) == 0);
    BAD(pupil_safetensors_open(pipe, &s), PUPIL_EIO, "pipe: not a regular file");
    BAD(pupil_safetensors_open(index, &s), PUPIL_EIO, "pipe.index.json: not a regular file");
    BAD(pupil_safetensors_open(loop, &s), PUPIL_EIO, "loop: ");
    pupil_buf b = {0}; /* nested deeper than a parser's stack should go */
    for (int i = 0; i < 200000; i++) pupil_buf_puts(&b, "{\"a\":");
    char *deep = file_of(b.s, "", 0);
    BAD(pupil_safetensors_open(deep, &s), PUPIL_EFORMAT, "header, byte");
    pupil_buf_free(&b);
    DROP(path, pipe, loop, index, deep);
}

/* Any one byte of a good file changed, or the file cut anywhere: refused or read, never a crash. */
static void damaged_files(void **state)
{
    const char *header = "{\"__metadata__\":{\"format\":\"pt\"}," T("a", "F32", "[2,1]", "0", "8") "," T(
        "b", "BF16", "[]", "8", "10") "}";
    char *path = file_of(header, "0123456789", 10), *good;
    size_t n;
    GOOD(pupil_read_file(path, 0, &good, &n));
    int opened = 0, refused = 0;
    for (size_t at = 0; at < 2 * n; at++) {
        char *bytes = pupil_alloc(n);
        memcpy(bytes, good, n);
        if (at < n) bytes[at] = (char)(bytes[at] ^ (at % 2 ? 0x80 : 0x01));
        FILE *f = fopen(path, "wb");
        fwrite(bytes, 1, at < n ? n : at - n, f);
        fclose(f);
        pupil_safetensors *s;
        float out[2];
        if (pupil_safetensors_open(path, &s) == 0) {
            opened++;
            pupil_safetensors_read(s, "a", 1, (int64_t[]){2}, out);
            pupil_safetensors_close(&s);
        } else {
            refused++;
        }
        pupil_free(&bytes);
    }
    assert_true(refused > (int)n && opened > 5);
    DROP(path, good);
}

static void dtypes_and_shapes(void **state)
{
    /* F16: 1, -2, smallest subnormal, largest; BF16: 1, -2; and the values that are not finite */
    static const uint16_t half[] = {0x3c00, 0xc000, 0x0001, 0x7bff, 0x8000, 0x03ff}, nan_half[] = {0x7e00},
                          bf[] = {0x3f80, 0xc000};
    static const float single[] = {1.5f, -INFINITY};
    static const char *const header =
        "{" T("h", "F16", "[6]", "0", "12") "," T("n", "F16", "[1]", "12", "14") "," T(
            "b", "BF16", "[2,1]", "14", "18") "," T("f", "F32", "[2]", "18", "26") "," T("i", "I64", "[]",
                                                                                         "26", "34") "}";
    uint8_t data[34] = {0};
    memcpy(data, half, 12), memcpy(data + 12, nan_half, 2), memcpy(data + 14, bf, 4),
        memcpy(data + 18, single, 8);
    char *path = file_of(header, data, 34);
    pupil_safetensors *s;
    GOOD(pupil_safetensors_open(path, &s));
    float out[6];
    GOOD(pupil_safetensors_read(s, "h", 1, (int64_t[]){6}, out));
    assert_true(out[0] == 1 && out[1] == -2 && out[2] == 0x1p-24f && out[3] == 65504 && out[4] == 0 &&
                signbit(out[4]) && out[5] == 0x1p-14f - 0x1p-24f);
    GOOD(pupil_safetensors_read(s, "b", 1, (int64_t[]){2}, out)); /* trailing ones do not count */
    assert_true(out[0] == 1 && out[1] == -2);
    BAD(pupil_safetensors_read(s, "n", 1, (int64_t[]){1}, out), PUPIL_ENUMERIC,
        "tensor n: element 0 is not finite");
    BAD(pupil_safetensors_read(s, "f", 1, (int64_t[]){2}, out), PUPIL_ENUMERIC,
        "tensor f: element 1 is not finite");
    BAD(pupil_safetensors_read(s, "i", 0, NULL, out), PUPIL_EFORMAT,
        "x.safetensors: tensor i: its dtype is I64, expected F32, F16 or BF16");
    BAD(pupil_safetensors_read(s, "none", 0, NULL, out), PUPIL_ENOTFOUND, "tensor none is missing");
    BAD(pupil_safetensors_read(s, "h", 2, (int64_t[]){3, 2}, out), PUPIL_EFORMAT,
        "tensor h: its shape is [6], the architecture wants [3,2]");
    BAD(pupil_safetensors_read(s, "h", 0, NULL, out), PUPIL_EFORMAT,
        "tensor h: its shape is [6], the architecture wants []");
    BAD(pupil_safetensors_read(s, "f", 1, (int64_t[]){3}, out), PUPIL_EFORMAT, "tensor f");
    pupil_st_tensor t;
    assert_true(pupil_safetensors_find(s, "f", &t));
    GOOD(pupil_st_unpack(&t, 0, 1, out)); /* the part that is finite */
    BAD(pupil_st_unpack(&t, 1, 1, out), PUPIL_ENUMERIC, "tensor f: element 1 is not finite");
    pupil_safetensors_close(&s);
    assert_null(s);
    pupil_safetensors_close(&s);
    pupil_free(&path);
}

/* Twenty times as many tensors as the largest model has, found by name, in a time that a quadratic search
 * would miss. */
static void a_hundred_thousand_tensors(void **state)
{
    enum { N = 100000 };
    pupil_buf b = {0};
    for (int i = 0; i < N; i++)
        pupil_buf_printf(&b, "%c\"t%d\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[%d,%d]}",
                         i ? ',' : '{', i * 7919 % N, i, i + 1);
    pupil_buf_puts(&b, "}");
    uint8_t *data = pupil_alloc(N);
    char *path = file_of(b.s, data, N), name[16];
    pupil_safetensors *s;
    pupil_st_tensor first, t;
    double began = pupil_now();
    GOOD(pupil_safetensors_open(path, &s));
    assert_true(pupil_safetensors_find(s, "t0", &first));
    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof name, "t%d", i * 7919 % N);
        assert_true(pupil_safetensors_find(s, name, &t));
        assert_int_equal((const uint8_t *)t.data - (const uint8_t *)first.data, i);
    }
    assert_true(!pupil_safetensors_has(s, "t100000") && pupil_now() - began < 5);
    pupil_safetensors_close(&s);
    pupil_buf_free(&b);
    DROP(path, data);
}

/* ---- shards ------------------------------------------------------------------------------------- */
static int open_index(const char *text, pupil_safetensors **s)
{
    char *path = pupil_join(dir, "model.safetensors.index.json");
    GOOD(pupil_write_file(path, text, strlen(text)));
    int r = pupil_safetensors_open(path, s);
    pupil_free(&path);
    return r;
}

#define MAP(pairs) "{\"metadata\":{\"total_size\":12},\"weight_map\":{" pairs "}}"

static void two_shards(void)
{
    static const float one[] = {1, 2}, two[] = {3};
    char *a = file_named("m-1.safetensors",
                         "{" T("a", "F32", "[1]", "0", "4") "," T("c", "F32", "[1]", "4", "8") "}", one, 8),
         *b = file_named("m-2.safetensors", "{" T("b", "F32", "[]", "0", "4") "}", two, 4);
    DROP(a, b);
}

static void shards_are_one_model(void **state)
{
    two_shards();
    pupil_safetensors *s;
    GOOD(
        open_index(MAP("\"a\":\"m-1.safetensors\",\"b\":\"m-2.safetensors\",\"c\":\"m-1.safetensors\""), &s));
    static const char *const name[] = {"a", "c", "b"}, *const file[] = {"m-1.", "m-1.", "m-2."};
    for (int i = 0; i < 3; i++) {
        pupil_st_tensor t;
        float out;
        assert_true(pupil_safetensors_find(s, name[i], &t));
        assert_non_null(strstr(t.file, file[i]));
        GOOD(pupil_safetensors_read(s, name[i], 0, NULL, &out));
        assert_true(out == (float)(i + 1));
    }
    float out[2];
    BAD(pupil_safetensors_read(s, "d", 0, NULL, out), PUPIL_ENOTFOUND,
        "model.safetensors.index.json: tensor d");
    BAD(pupil_safetensors_read(s, "b", 1, (int64_t[]){2}, out), PUPIL_EFORMAT,
        "m-2.safetensors: tensor b: its shape");
    pupil_safetensors_close(&s);
}

static void digests_cover_all_shards(void **state)
{
    static const char index[] = MAP("\"a\":\"m-1.safetensors\",\"b\":\"m-2.safetensors\"");
    pupil_safetensors *s;
    char *path = pupil_join(dir, "model.safetensors.index.json"), hex[4][65],
         *shard = pupil_join(dir, "m-2.safetensors");
    two_shards();
    GOOD(open_index(index, &s));
    pupil_safetensors_close(&s);
    GOOD(pupil_safetensors_digest(path, hex[0]));
    GOOD(open_index(index, &s)); /* the same files again */
    pupil_safetensors_close(&s);
    GOOD(pupil_safetensors_digest(path, hex[1]));
    assert_string_equal(hex[0], hex[1]);
    pupil_free(&shard);
    shard = file_named("m-2.safetensors", "{" T("b", "F32", "[]", "0", "4") "}", (float[]){4}, 4); /* was 3 */
    GOOD(pupil_safetensors_digest(path, hex[1]));
    assert_string_not_equal(hex[0], hex[1]);
    GOOD(pupil_safetensors_digest(shard, hex[2]));
    GOOD(pupil_sha256_file(shard, hex[3]));
    assert_string_equal(hex[2], hex[3]);
    BAD(pupil_safetensors_digest(dir, hex[0]), PUPIL_EIO, "not a regular file");
    DROP(path, shard);
}

static void hostile_indices_are_refused(void **state)
{
    two_shards();
    char *twin = file_named("m-3.safetensors", "{" T("a", "F32", "[1]", "0", "4") "}", zeros, 4),
         *broken = file_named("m-4.safetensors", "{" T("d", "F32", "[1]", "0", "4") "}", zeros, 3),
         *folder = pupil_join(dir, "m-5.safetensors");
    GOOD(pupil_mkdirs(folder));
    static const struct {
        const char *json;
        int code;
        const char *names;
    } cases[] = {
        {MAP("\"a\":\"m-2.safetensors\",\"b\":\"m-2.safetensors\""), PUPIL_EFORMAT,
         "tensor a: it is not in m-2.safetensors"},
        {MAP("\"a\":\"m-1.safetensors\",\"d\":\"m-1.safetensors\""), PUPIL_EFORMAT,
         "tensor d: it is not in m-1.safetensors"},
        {MAP("\"b\":\"m-1.safetensors\",\"x\":\"m-2.safetensors\""), PUPIL_EFORMAT,
         "tensor b: it is not in m-1.safetensors"},
        {MAP("\"a\":\"m-1.safetensors\",\"b\":\"m-3.safetensors\""), PUPIL_EFORMAT,
         "tensor a: it lies in two files"},
        {MAP("\"d\":\"m-4.safetensors\""), PUPIL_EFORMAT,
         "m-4.safetensors: tensor d: its data_offsets leave the file"},
        {MAP("\"d\":\"m-5.safetensors\""), PUPIL_EIO, "m-5.safetensors: not a regular file"},
        {MAP("\"d\":\"m-6.safetensors\""), PUPIL_ENOTFOUND, "m-6.safetensors: "},
        {MAP("\"d\":\"../m-1.safetensors\""), PUPIL_EFORMAT, "tensor d: its file must be a plain name"},
        {MAP("\"d\":\"/etc/passwd\""), PUPIL_EFORMAT, "tensor d: its file must be a plain name"},
        {MAP("\"d\":\"./m-1.safetensors\""), PUPIL_EFORMAT, "tensor d: its file must be a plain name"},
        {MAP("\"d\":\"..\""), PUPIL_EFORMAT, "tensor d: its file must be a plain name"},
        {MAP("\"d\":\".\""), PUPIL_EFORMAT, "tensor d: its file must be a plain name"},
        {MAP("\"d\":\"\""), PUPIL_EFORMAT, "tensor d: its file must be a plain name"},
        {MAP("\"d\":1"), PUPIL_EFORMAT, "tensor d: its file must be a plain name"},
        {MAP("\"d\":\"model.safetensors.index.json\""), PUPIL_EFORMAT, "its header claims"},
        {MAP(""), PUPIL_EFORMAT, "names no tensor"},
        {MAP("\"a\":\"m-1.safetensors\",\"a\":\"m-1.safetensors\""), PUPIL_EFORMAT, "index.json:1:"},
        {"{\"weight_map\":[]}", PUPIL_EFORMAT, "expected {\"weight_map\""},
        {"{}", PUPIL_EFORMAT, "expected {\"weight_map\""},
        {"[]", PUPIL_EFORMAT, "expected {\"weight_map\""},
        {"{\n\"weight_map\":", PUPIL_EFORMAT, "index.json:2:"},
        {"", PUPIL_EFORMAT, "too short"},
    };
    for (int i = 0; i < PUPIL_COUNT(cases); i++) {
        pupil_safetensors *s = NULL;
        BAD(open_index(cases[i].json, &s), cases[i].code, cases[i].names);
        CHECK(strstr(pupil_reason(), dir), "case %d does not name a file: %s", i, pupil_reason());
        assert_null(s);
    }
    pupil_buf b = {0};
    for (int i = 0; i < 1025; i++)
        pupil_buf_printf(&b, "%s\"t%d\":\"%d\"", i ? "," : "{\"weight_map\":{", i, i);
    pupil_buf_puts(&b, "}}");
    pupil_safetensors *s = NULL;
    BAD(open_index(b.s, &s), PUPIL_EFORMAT, "names 1025 files, expected at most 1024");
    pupil_buf_free(&b);
    DROP(twin, broken, folder);
}

/* ---- writing ------------------------------------------------------------------------------------ */
static const float ramp[] = {1, -2, 0.5f, 65504, 1e-8f, 3};
static const pupil_st_source sources[] = {
    {"w.b", 2, {2, 3}, ramp}, {"w", 0, {0}, ramp + 1}, {"w.\"a\xc3\xa9", 1, {0}, NULL}};

/* To the byte what the format's rules for writers give: metadata first, names in order, compact, filled up
 * to 8. */
static void bytes_of_an_export(void **state)
{
    static const char head[] = "{\"__metadata__\":{\"format\":\"pt\"}," T("w", "F16", "[]", "0", "2") "," T(
        "w.\\\"a\xc3\xa9", "F16", "[0]", "2", "2") "," T("w.b", "F16", "[2,3]", "2", "14") "}";
    static const uint16_t half[] = {0xc000, 0x3c00, 0xc000, 0x3800, 0x7bff, 0, 0x4200};
    pupil_buf want = {0};
    uint64_t n = (sizeof head - 1 + 7) / 8 * 8;
    pupil_buf_add(&want, &n, 8);
    pupil_buf_printf(&want, "%-*s", (int)n, head);
    for (size_t i = sizeof head - 1; i < n; i++) assert_int_equal(want.s[8 + i], ' ');
    pupil_buf_add(&want, half, sizeof half);
    char *path = pupil_join(dir, "out.safetensors"), *got;
    size_t bytes;
    GOOD(pupil_safetensors_export(path, sources, PUPIL_COUNT(sources), PUPIL_ST_F16));
    GOOD(pupil_read_file(path, 0, &got, &bytes));
    assert_int_equal(bytes, want.len);
    assert_memory_equal(got, want.s, bytes);
    assert_int_equal(n % 8, 0);
    pupil_buf_free(&want);
    DROP(path, got);
}

static void exports_read_back(void **state)
{
    char *path = pupil_join(dir, "back.safetensors");
    for (int f16 = 0; f16 < 2; f16++) {
        pupil_safetensors *s;
        float out[6];
        GOOD(
            pupil_safetensors_export(path, sources, PUPIL_COUNT(sources), f16 ? PUPIL_ST_F16 : PUPIL_ST_F32));
        GOOD(pupil_safetensors_open(path, &s));
        GOOD(pupil_safetensors_read(s, "w.b", 2, (int64_t[]){2, 3}, out));
        for (int i = 0; i < 6; i++)
            assert_true(out[i] == (f16 && i == 4 ? 0 : ramp[i])); /* 1e-8 has no half */
        GOOD(pupil_safetensors_read(s, "w", 0, NULL, out));
        assert_true(out[0] == -2);
        GOOD(pupil_safetensors_read(s, "w.\"a\xc3\xa9", 1, (int64_t[]){0}, out));
        pupil_safetensors_close(&s);
    }
    GOOD(pupil_safetensors_export(path, NULL, 0, PUPIL_ST_F32));
    pupil_safetensors *s;
    GOOD(pupil_safetensors_open(path, &s));
    assert_false(pupil_safetensors_has(s, "w"));
    pupil_safetensors_close(&s);
    pupil_free(&path);
}

static void values_that_do_not_fit(void **state)
{
    enum { N = 5000 };
    float *x = floats(N);
    pupil_st_source t[] = {{"good", 1, {3}, ramp}, {"large", 1, {N}, x}};
    char *path = pupil_join(dir, "fit.safetensors");
    x[4500] = 65519.9f; /* the largest that rounds to a half */
    GOOD(pupil_safetensors_export(path, t, 2, PUPIL_ST_F16));
    char before[65], after[65];
    GOOD(pupil_sha256_file(path, before));
    x[4500] = 65520;
    BAD(pupil_safetensors_export(path, t, 2, PUPIL_ST_F16), PUPIL_ENUMERIC,
        "fit.safetensors: tensor large: element 4500 is 65520, too large for F16");
    x[4999] = NAN;
    BAD(pupil_safetensors_export(path, t, 2, PUPIL_ST_F32), PUPIL_ENUMERIC,
        "tensor large: element 4999 is not finite");
    x[4500] = -INFINITY;
    BAD(pupil_safetensors_export(path, t, 2, PUPIL_ST_F16), PUPIL_ENUMERIC,
        "tensor large: element 4500 is not finite");
    GOOD(pupil_sha256_file(path, after)); /* the file that was there stays, and nothing else lies about */
    assert_string_equal(before, after);
    char **names;
    int n;
    GOOD(pupil_list_dir(dir, "fit", "", &names, &n));
    assert_int_equal(n, 1);
    pupil_names_free(&names, n);
    BAD(pupil_safetensors_export("/nowhere/x", t, 1, PUPIL_ST_F32), PUPIL_EIO, "/nowhere/x: ");
    DROP(x, path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unusual_files_that_are_good),
        cmocka_unit_test(hostile_headers_are_refused),
        cmocka_unit_test(long_names_leave_room_for_the_reason),
        cmocka_unit_test(what_is_no_file_of_this_kind),
        cmocka_unit_test(damaged_files),
        cmocka_unit_test(dtypes_and_shapes),
        cmocka_unit_test(a_hundred_thousand_tensors),
        cmocka_unit_test(shards_are_one_model),
        cmocka_unit_test(digests_cover_all_shards),
        cmocka_unit_test(hostile_indices_are_refused),
        cmocka_unit_test(bytes_of_an_export),
        cmocka_unit_test(exports_read_back),
        cmocka_unit_test(values_that_do_not_fit),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
