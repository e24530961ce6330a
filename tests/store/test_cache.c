/* test_cache.c: what goes into a cache comes out of it, h5py sees the same, and identity is kept. */
#include "store_proof.h"

#include <unistd.h>

static void round_trip_of(const pupil_cache_shape *s)
{
    char *dir = folder_new();
    GOOD(complete(dir, s, 0, 4)); /* segments of 4, 4 and, flushed, 2 blocks */
    assert_int_equal(good_blocks(dir, s), blocks_of(s));
    char **name;
    int n;
    GOOD(pupil_list_dir(dir, "seg-g0001-r00000-", ".h5", &name, &n));
    assert_int_equal(n, 3);
    pupil_names_free(&name, n);
    folder_end(&dir);
}

static void round_trip(void **state)
{
    (void)state;
    round_trip_of(&small_f16);
    round_trip_of(&small_f32);
}

static void half_rounds_to_even(void **state)
{
    (void)state;
    const pupil_cache_shape s = {.samples = 1, .block = 2, .dim = 4, .dtype = PUPIL_STORED_F16, .views = 1, .captions = 1};
    const float in[4] = {1.00048828125f, 1.00146484375f, 65519.0f, 1e-9f},
                want[4] = {1.0f, 1.001953125f, 65504.0f, 0.0f};
    char *dir = folder_new();
    pupil_cache *c;
    pupil_cache_writer *w;
    int64_t n, rows;
    const float *side[2];
    GOOD(open_small(dir, &s, &c));
    GOOD(pupil_cache_generation(c, &n));
    GOOD(pupil_cache_writer_new(c, n, 3, 1, &w));
    GOOD(pupil_cache_writer_add(w, 0, in, in, 1, &n));
    assert_int_equal(n, 1);
    GOOD(read_both(c, 0, side, &rows));
    assert_memory_equal(side[0], want, sizeof want);
    assert_memory_equal(side[1], want, sizeof want);
    pupil_cache_writer_free(&w);
    pupil_cache_free(&c);
    folder_end(&dir);
}

static void bad_numbers_are_refused(void **state)
{
    (void)state;
    char *dir = folder_new();
    pupil_cache *c;
    pupil_cache_writer *w;
    int64_t n;
    float *x = floats(8 * 12), *y = floats(8 * 12);
    GOOD(open_small(dir, &small_f16, &c));
    GOOD(pupil_cache_generation(c, &n));
    GOOD(pupil_cache_writer_new(c, n, 0, 2, &w));
    GOOD(pupil_cache_writer_add(w, 0, x, y, 8, &n));
    y[3 * 12 + 5] = NAN;
    BAD(pupil_cache_writer_add(w, 4, x, y, 8, &n), PUPIL_ENUMERIC,
        "block 4 row 3 (sample 35): the text embedding holds nan");
    y[3 * 12 + 5] = 65520.0f;
    BAD(pupil_cache_writer_add(w, 4, x, y, 8, &n), PUPIL_ENUMERIC, "too large for this dtype");
    x[0] = -INFINITY;
    BAD(pupil_cache_writer_add(w, 4, x, y, 8, &n), PUPIL_ENUMERIC, "the image embedding holds -inf");
    x[0] = y[3 * 12 + 5] = 1;
    GOOD(pupil_cache_writer_add(w, 4, x, y, 8, &n)); /* the refusals cost nothing of the segment */
    assert_int_equal(n, 2);
    pupil_cache_writer_free(&w);
    pupil_cache_free(&c);
    pupil_free(&x);
    pupil_free(&y);
    folder_end(&dir);
}

static void identity_names_what_differs(void **state)
{
    (void)state;
    char *dir = folder_new();
    pupil_cache *c;
    pupil_identity id = {0}, same = {0}, other = {0};
    identity_of(&small_f16, "12ab34cd12ab34cd12ab34cd12ab34cd", &id);
    pupil_identity_add(&id, "view", "whole picture, resized to 224 px by bicubic interpolation");
    GOOD(pupil_cache_open(dir, &id, &small_f16, &c));
    pupil_cache_free(&c);
    pupil_identity_add(&same, "view", "whole picture, resized to 224 px by bicubic interpolation");
    identity_of(&small_f16, "12ab34cd12ab34cd12ab34cd12ab34cd", &same);
    char a[65], b[65];
    pupil_identity_digest(&id, a);
    pupil_identity_digest(&same, b);
    assert_string_equal(a, b);
    GOOD(pupil_cache_open(dir, &same, &small_f16, &c));
    pupil_cache_free(&c);
    identity_of(&small_f16, "99ab34cd12ab34cd12ab34cd12ab34cd", &other);
    pupil_identity_add(&other, "view", "whole picture, resized to 224 px by bilinear interpolation");
    pupil_identity_add(&other, "viewed", "2\nformat: 1");
    BAD(pupil_cache_open(dir, &other, &small_f16, &c), PUPIL_EMISMATCH,
        "teacher.weights: 12ab34cd12ab34cd12ab34cd.. here, 99ab34cd12ab34cd12ab34cd.. wanted; "
        "view: ..px by bicubic interpolat.. here, ..px by bilinear interpola.. wanted; viewed: nothing here, "
        "2%0aformat: 1 wanted");
    assert_null(strstr(pupil_reason(), "samples"));
    pupil_identity_free(&id);
    pupil_identity_free(&same);
    pupil_identity_free(&other);
    folder_end(&dir);
}

static void h5py_reads_it(void **state)
{
    (void)state;
    if (system("/usr/bin/python3 -c 'import h5py' 2>/dev/null") != 0) {
        print_message("[ SKIPPED  ] /usr/bin/python3 has no h5py\n");
        skip();
    }
    static const char script[] =
        "import h5py, numpy, sys\n"
        "f = h5py.File(sys.argv[1], 'r')\n"
        "i, t, ids, rows = (f[k] for k in ('image_embeddings', 'text_embeddings', 'block_ids', 'rows'))\n"
        "assert i.dtype == numpy.dtype(sys.argv[2]) and t.dtype == i.dtype, i.dtype\n"
        "assert i.shape == t.shape == (10, 1, 8, 12) and i.chunks == (1, 1, 8, 12) and i.compression is None\n"
        "assert list(ids) == list(range(10)) and list(rows) == [8] * 9 + [5] and ids.dtype == '<i8'\n"
        "assert (f.attrs['format'], f.attrs['block'], f.attrs['dim']) == (2, 8, 12) and "
        "len(f.attrs['identity']) == 64\n"
        "i, t = i[:, 0], t[:, 0]; assert not i[9, 5:].any() and not t[9, 5:].any()\n"
        "numpy.stack([i[...], t[...]]).astype('<f4').tofile(sys.argv[3])\n";
    for (int k = 0; k < 2; k++) {
        const pupil_cache_shape *s = k ? &small_f32 : &small_f16;
        char *dir = folder_new(), *raw = pupil_join(dir, "raw");
        GOOD(complete(dir, s, 0, 10));
        char *file = only_file(dir, "seg-", ".h5"), *got;
        char *command =
            pupil_format("/usr/bin/python3 -c \"%s\" %s %s %s", script, file, k ? "float32" : "float16", raw);
        assert_int_equal(system(command), 0);
        size_t n;
        GOOD(pupil_read_file(raw, 0, &got, &n));
        assert_int_equal(n, 2 * 10 * 8 * 12 * 4);
        for (int64_t x = 0; x < 2 * 77 * 12; x++) {
            int64_t side = x / (77 * 12), sample = x / 12 % 77, d = x % 12;
            float v;
            memcpy(&v, got + ((side * 80 + sample) * 12 + d) * 4, 4);
            CHECK(v == known(sample, d, (int)side), "h5py reads %g at sample %lld", (double)v,
                  (long long)sample);
        }
        pupil_free(&got);
        pupil_free(&command);
        pupil_free(&file);
        pupil_free(&raw);
        folder_end(&dir);
    }
}

static void equal_blocks_equal_bytes(void **state)
{
    (void)state;
    char hex[2][65];
    for (int k = 0; k < 2; k++) {
        char *dir = folder_new();
        GOOD(complete(dir, &small_f16, 0, 16));
        char *file = only_file(dir, "seg-", ".h5");
        GOOD(pupil_sha256_file(file, hex[k]));
        pupil_free(&file);
        folder_end(&dir);
        if (k == 0) sleep(1); /* no time stamps inside */
    }
    assert_string_equal(hex[0], hex[1]);
}

static void many_files_and_a_small_window(void **state)
{
    (void)state;
    const pupil_cache_shape s = {.samples = 1000, .block = 8, .dim = 4, .dtype = PUPIL_STORED_F16, .views = 1, .captions = 1};
    char *dir = folder_new();
    GOOD(complete(dir, &s, 0, 3)); /* 42 segments, more than stay open */
    pupil_cache *c;
    const float *side[2];
    int64_t rows;
    GOOD(open_small(dir, &s, &c));
    pupil_cache_window(c, 4);
    for (int64_t i = 0; i < 600; i++) {
        int64_t b = (int64_t)pupil_rng_u64(1, PUPIL_STREAM_TEST, (uint64_t)i) & 127;
        if (b >= 125) {
            BAD(read_both(c, b, side, &rows), PUPIL_ENOTFOUND, "not published");
            continue;
        }
        GOOD(read_both(c, b, side, &rows));
        for (int k = 0; k < 2; k++) assert_true(side[k][4 * 4 + 1] == known(b * 8 + 4, 1, k));
    }
    const float *again[2];
    GOOD(read_both(c, 7, side, &rows));
    GOOD(read_both(c, 8, again, &rows));
    assert_true(side[0][0] == known(56, 0, 0)); /* still good: a window of two */
    pupil_cache_free(&c);
    folder_end(&dir);
}

static void describes_itself(void **state)
{
    (void)state;
    char *dir = folder_new();
    pupil_cache *c;
    GOOD(complete(dir, &small_f16, 0, 4));
    GOOD(pupil_cache_open_any(dir, &c));
    assert_int_equal(pupil_cache_shape_of(c)->samples, 77);
    pupil_buf text = {0}, json = {0};
    GOOD(pupil_cache_describe(c, false, &text));
    GOOD(pupil_cache_describe(c, true, &json));
    static const char *const in_text[] = {"teacher.weights        12ab34cd", "10 of 10 (100.0 %)",
                                          "in 3 segments", "generations            1"};
    static const char *const in_json[] = {"\"blocks\": 10, \"blocks_have\": 10",
                                          "\"segments\": 3",
                                          "\"teacher.weights\": \"12ab34cd",
                                          "\"samples_have\": 77",
                                          "\"superseded\": 0",
                                          "\"dtype\": \"f16\""};
    for (int i = 0; i < PUPIL_COUNT(in_text); i++)
        CHECK(strstr(text.s, in_text[i]), "no \"%s\" in:\n%s", in_text[i], text.s);
    for (int i = 0; i < PUPIL_COUNT(in_json); i++)
        CHECK(strstr(json.s, in_json[i]), "no \"%s\" in:\n%s", in_json[i], json.s);
    pupil_buf_free(&text);
    pupil_buf_free(&json);
    pupil_cache_free(&c);
    char *none = pupil_join(dir, "none");
    BAD(pupil_cache_open_any(none, &c), PUPIL_ENOTFOUND, "there is no cache here");
    pupil_free(&none);
    folder_end(&dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),
        cmocka_unit_test(half_rounds_to_even),
        cmocka_unit_test(bad_numbers_are_refused),
        cmocka_unit_test(identity_names_what_differs),
        cmocka_unit_test(h5py_reads_it),
        cmocka_unit_test(equal_blocks_equal_bytes),
        cmocka_unit_test(many_files_and_a_small_window),
        cmocka_unit_test(describes_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
