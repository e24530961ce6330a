/* test_import_rows.c: embeddings made elsewhere arrive under the sample they belong to, or not at all. */
#include "../cli/program.h"

#include "pupil/role.h"
#include "pupil/store.h"

enum { SAMPLES = 70, BLOCK = 16, DIM = 5, ROWS = SAMPLES + 3 }; /* three rows of no sample */
static char *dir, *from, *cache, *yaml, *settings;
static pupil_conf *conf;

static char *key_of(int64_t sample) { return pupil_format("scene-%06lld", (long long)sample); }
/* Which sample row i holds; from SAMPLES on: none. */
static int64_t sample_of(int64_t i) { return (int64_t)pupil_permute(7, PUPIL_STREAM_TEST, 0, ROWS, (uint64_t)i); }
static float value_of(int64_t sample, int side, int64_t d) { return (float)(1 + (sample * 31 + side * 17 + d * 7) % 61) / 8; }

static void write_npy(const char *name, const float *x, int64_t rows, int64_t dim)
{
    pupil_buf b = {0};
    char *path = pupil_join(from, name);
    pupil_buf_add(&b, "\x93NUMPY\x01\x00\x76\x00", 10);
    pupil_buf_printf(&b, "{'descr': '<f4', 'fortran_order': False, 'shape': (%4lld, %4lld), }%*s\n", (long long)rows, (long long)dim, 52, "");
    PUPIL_REQUIRE(b.len == 128);
    pupil_buf_add(&b, x, (size_t)(rows * dim) * sizeof *x);
    GOOD(pupil_write_file(path, b.s, b.len));
    pupil_buf_free(&b);
    pupil_free(&path);
}

static void write_in(const char *name, const char *text)
{
    char *path = pupil_join(from, name);
    GOOD(pupil_write_file(path, text, strlen(text)));
    pupil_free(&path);
}

/* What a test changes before it is written. */
typedef struct {
    float *x[2];
    char *key[ROWS];
    const char *yaml;
} rows;

static void write_rows(rows *r)
{
    pupil_buf keys = {0};
    for (int64_t i = 0; i < ROWS; i++) pupil_buf_printf(&keys, "%s\n", r->key[i]);
    write_npy("image_embeddings.npy", r->x[0], ROWS, DIM);
    write_npy("text_embeddings.npy", r->x[1], ROWS, DIM);
    write_in("keys.txt", keys.s);
    GOOD(pupil_write_file(yaml, r->yaml, strlen(r->yaml)));
    pupil_buf_free(&keys);
}

static rows good_rows(void)
{
    rows r = {.yaml = "teacher: a/b\nlogit_scale: 100\ndim: 5\nmean: [0.5, 0.25, 1]\n"};
    for (int k = 0; k < 2; k++) r.x[k] = floats(ROWS * DIM);
    for (int64_t i = 0; i < ROWS; i++) {
        r.key[i] = key_of(sample_of(i));
        for (int k = 0; k < 2; k++)
            for (int64_t d = 0; d < DIM; d++) r.x[k][i * DIM + d] = value_of(sample_of(i), k, d);
    }
    return r;
}

static void rows_free(rows *r)
{
    for (int k = 0; k < 2; k++) pupil_free(&r->x[k]);
    for (int64_t i = 0; i < ROWS; i++) pupil_free(&r->key[i]);
}

static int import(void) { return pupil_role_import(conf, (const char *const[]){from}, 1, yaml); }

static int begin(void **state)
{
    (void)state;
    pupil_buf errors = {0};
    dir = folder_new();
    from = pupil_join(dir, "from");
    cache = pupil_join(dir, "cache");
    yaml = pupil_join(dir, "told.yaml");
    char *text = pupil_format("run: {dir: %s/run}\ndata: {scenes: {train: %d, test: 4, size: 32}, block: %d}\ncache: {dir: %s, segment_blocks: 2}\n"
                              "student: {train: {batch_size: 64}}\n", dir, SAMPLES, BLOCK, cache);
    GOOD(pupil_mkdirs(from));
    settings = write_text(dir, "t.yaml", text);
    if (pupil_conf_parse(settings, text, NULL, 0, &conf, &errors) < 0) fail_msg("%s", errors.s);
    pupil_free(&text);
    return 0;
}

static int end(void **state)
{
    (void)state;
    pupil_conf_free(&conf);
    DROP(from, cache, yaml, settings);
    folder_end(&dir);
    return 0;
}

/* Every sample of the cache has its own embeddings. */
static void all_samples_are_right(void)
{
    pupil_cache *c;
    const float *side[2];
    int64_t n;
    GOOD(pupil_cache_open_any(cache, &c));
    assert_int_equal(pupil_cache_blocks_have(c), (SAMPLES + BLOCK - 1) / BLOCK);
    for (int64_t i = 0; i < SAMPLES; i++) {
        for (int k = 0; k < 2; k++) GOOD(pupil_cache_read(c, i / BLOCK, k, 0, &side[k], &n));
        for (int k = 0; k < 2; k++)
            for (int64_t d = 0; d < DIM; d++)
                CHECK(side[k][i % BLOCK * DIM + d] == value_of(i, k, d), "sample %lld side %d value %lld is %g", (long long)i, k, (long long)d,
                      (double)side[k][i % BLOCK * DIM + d]);
    }
    pupil_cache_free(&c);
}

static void rows_find_their_samples(void **state)
{
    (void)state;
    rows r = good_rows();
    write_rows(&r);
    GOOD(import());
    all_samples_are_right();
    pupil_cache *c;
    GOOD(pupil_cache_open_any(cache, &c));
    const struct {
        const char *key, *value;
    } want[] = {{"origin", "imported"}, {"teacher.name", "a/b"}, {"teacher.logit_scale", "100"}, {"imported.mean", "0.5, 0.25, 1"}, {"view", "whole picture"}};
    for (int i = 0; i < PUPIL_COUNT(want); i++) {
        char *have = pupil_identity_get(pupil_cache_identity(c), want[i].key);
        CHECK(have && !strcmp(have, want[i].value), "%s is %s", want[i].key, have ? have : "not there");
        pupil_free(&have);
    }
    pupil_cache_free(&c);
    rows_free(&r);
}

/* The same rows in another order and as JSON keys are the same cache; one changed value is another. */
static void content_is_the_identity(void **state)
{
    (void)state;
    rows r = good_rows();
    pupil_buf json = {0};
    write_rows(&r);
    GOOD(import());
    for (int64_t i = 0; i < ROWS / 2; i++) {
        int64_t j = ROWS - 1 - i;
        char *key = r.key[i];
        r.key[i] = r.key[j];
        r.key[j] = key;
        for (int k = 0; k < 2; k++)
            for (int64_t d = 0; d < DIM; d++) {
                float x = r.x[k][i * DIM + d];
                r.x[k][i * DIM + d] = r.x[k][j * DIM + d];
                r.x[k][j * DIM + d] = x;
            }
    }
    write_rows(&r);
    char *txt = pupil_join(from, "keys.txt");
    unlink(txt);
    pupil_free(&txt);
    for (int64_t i = 0; i < ROWS; i++) pupil_buf_printf(&json, "%s\"%s\"", i ? ", " : "[", r.key[i]);
    pupil_buf_puts(&json, "]");
    write_in("keys.json", json.s);
    GOOD(import());
    for (int64_t i = 0; i < ROWS; i++)
        if (!strcmp(r.key[i], "scene-000069")) r.x[1][i * DIM] += 0.125f;
    write_npy("text_embeddings.npy", r.x[1], ROWS, DIM);
    BAD(import(), PUPIL_EMISMATCH, "imported.content: ");
    pupil_buf_free(&json);
    rows_free(&r);
}

/* As its users start it, killed in the fourth of five blocks. */
static int import_cut_short(void)
{
    program p;
    setenv("PUPIL_FAULT", "seg.write:7:kill", 1);
    RUN(&p, dir, "cache", "import", settings, "--from", from, "--provenance", yaml);
    unsetenv("PUPIL_FAULT");
    program_free(&p);
    return p.code;
}

/* Cut short, the same command completes it, and what was published stays as it was. */
static void an_import_is_resumed(void **state)
{
    (void)state;
    rows r = good_rows();
    write_rows(&r);
    assert_int_equal(import_cut_short(), 128 + SIGKILL);
    char *first = pupil_join(cache, "seg-g0001-r00000-00000.h5"), *second = pupil_join(cache, "seg-g0001-r00000-00001.h5");
    assert_true(pupil_exists(first));
    assert_false(pupil_exists(second));
    GOOD(import());
    all_samples_are_right();
    char **name;
    int n;
    GOOD(pupil_list_dir(cache, "seg-g0002-", ".h5", &name, &n));
    assert_int_equal(n, 2); /* the three blocks that were missing */
    pupil_names_free(&name, n);
    DROP(first, second);
    rows_free(&r);
}

static int64_t row_with(const rows *r, const char *key)
{
    for (int64_t i = 0; i < ROWS; i++)
        if (!strcmp(r->key[i], key)) return i;
    fail_msg("no row has the key %s", key);
    return -1;
}

static void refused(rows *r, int code, const char *why)
{
    write_rows(r);
    BAD(import(), code, why);
    CHECK(!pupil_exists(cache), "something was written although: %s", pupil_reason());
    rows_free(r);
}

static void bad_values_are_named(void **state)
{
    (void)state;
    const struct {
        float value;
        const char *why;
    } one[] = {{NAN, "the text embedding holds nan"},
               {-INFINITY, "the text embedding holds -inf"},
               {65520, "the text embedding holds 65520, too large for float16: set cache.dtype to f32"}};
    for (int k = 0; k < PUPIL_COUNT(one); k++) {
        rows r = good_rows();
        int64_t i = row_with(&r, "scene-000033");
        char *why = pupil_format("%s: row %lld (key 'scene-000033'): %s", from, (long long)i, one[k].why);
        r.x[1][i * DIM + 4] = one[k].value;
        refused(&r, PUPIL_ENUMERIC, why);
        pupil_free(&why);
    }
    rows zero = good_rows(), same = good_rows();
    memset(zero.x[0] + row_with(&zero, "scene-000000") * DIM, 0, DIM * sizeof(float));
    refused(&zero, PUPIL_ENUMERIC, "(key 'scene-000000'): the image embedding is all zeros");
    for (int64_t i = 1; i < ROWS; i++) memcpy(same.x[0] + i * DIM, same.x[0], DIM * sizeof(float));
    refused(&same, PUPIL_ENUMERIC, "all 70 image embeddings are the same");
}

static void keys_must_fit(void **state)
{
    (void)state;
    rows twice = good_rows(), lost = good_rows();
    pupil_free(&twice.key[5]);
    twice.key[5] = pupil_strdup(twice.key[2]);
    refused(&twice, PUPIL_EFORMAT, "row 5 (key '");
    for (int i = 20; i < 25; i++) {
        char *key = key_of(i);
        int64_t row = row_with(&lost, key);
        pupil_free(&lost.key[row]);
        lost.key[row] = pupil_format("other-%d", i);
        pupil_free(&key);
    }
    refused(&lost, PUPIL_EUSER, "5 of 70 samples have no embeddings (scene-000020, scene-000021, scene-000022, ...)");
    rows few = good_rows();
    write_rows(&few);
    write_in("keys.txt", "a\nb\n");
    BAD(import(), PUPIL_EFORMAT, "2 keys for 73 rows");
    write_in("keys.txt", "a\n\nb\n");
    BAD(import(), PUPIL_EFORMAT, "keys.txt: row 1: its key is empty");
    write_in("keys.json", "[]");
    BAD(import(), PUPIL_EUSER, "both keys.txt and keys.json");
    rows_free(&few);
}

static void provenance_must_be_told(void **state)
{
    (void)state;
    const struct {
        const char *yaml, *why;
    } one[] = {{"teacher: x\n", "logit_scale is not told"},
               {"logit_scale: 100\n", "teacher is not told"},
               {"teacher: x\nlogit_scale: 4.6052\n", "told.yaml:2:1: logit_scale is 4.6052, which is a logarithm's size; exp(4.6052) = 100 was probably meant"},
               {"teacher: x\nlogit_scale: -3\n", "logit_scale is -3"},
               {"teacher: x\nlogit_scale: 1e6\n", "logit_scale is 1e+06"},
               {"teacher: x\nlogit_scale: nan\n", "logit_scale is 'nan', expected a number"},
               {"teacher: x\nlogit_scale: 100\ndim: 6\n", "told.yaml:3:1: dim is 6, but the embeddings have 5 values"},
               {"teacher: x\nlogit_scale: 100\nmean: [1, 2]\n", "mean is '1, 2', expected three numbers"},
               {"teacher: x\nlogit_scale: 100\nweights: 12\n", "64 hexadecimal digits"},
               {"teacher: x\nlogit_scale: 100\nnormalized: maybe\n", "true or false"},
               {"teacher: x\nlogitscale: 100\n", "told.yaml:2:1: unknown key 'logitscale', expected one of: teacher, "},
               {"teacher: x\nteacher: y\n", "told.yaml:2:1: this key is given twice"},
               {"teacher: {a: b}\n", "told.yaml:1:10: a value, or a list of values, was expected"},
               {"- x\n", "lines of `key: value` were expected"},
               {"a: [\n", "not YAML"}};
    for (int k = 0; k < PUPIL_COUNT(one); k++) {
        rows r = good_rows();
        r.yaml = one[k].yaml;
        refused(&r, PUPIL_EUSER, one[k].why);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(rows_find_their_samples, begin, end), cmocka_unit_test_setup_teardown(content_is_the_identity, begin, end),
        cmocka_unit_test_setup_teardown(an_import_is_resumed, begin, end),    cmocka_unit_test_setup_teardown(bad_values_are_named, begin, end),
        cmocka_unit_test_setup_teardown(keys_must_fit, begin, end),           cmocka_unit_test_setup_teardown(provenance_must_be_told, begin, end),
    };
    return cmocka_run_group_tests_name("import", tests, NULL, NULL);
}
