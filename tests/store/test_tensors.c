/* test_tensors.c: arrays in HDF5 files, ours and other people's, good and bad. */
#include "store_proof.h"

#include <hdf5.h>
#include <sys/resource.h>

static char *dir, *path;

static int begin(void **state)
{
    (void)state;
    dir = folder_new();
    path = pupil_join(dir, "t.h5");
    return 0;
}

static int end(void **state)
{
    (void)state;
    pupil_free(&path);
    folder_end(&dir);
    return 0;
}

static const float some_floats[6] = {1.5f, -2, 3e-40f, 65504, 0, 1e38f};
static const int64_t some_ints[4] = {-1, INT64_MAX, INT64_MIN, 7};
static const double pi = 3.141592653589793;
static const uint8_t some_bytes[3] = {0, 255, 7};

static void write_some(void)
{
    pupil_h5 *h;
    GOOD(pupil_h5_create(path, &h));
    GOOD(pupil_h5_write(h, "a/b/floats", PUPIL_H5_F32, 2, (int64_t[]){2, 3}, some_floats));
    GOOD(pupil_h5_write(h, "a/ints", PUPIL_H5_I64, 1, (int64_t[]){4}, some_ints));
    GOOD(pupil_h5_write(h, "scalar", PUPIL_H5_F64, 0, NULL, &pi));
    GOOD(pupil_h5_write(h, "bytes", PUPIL_H5_U8, 4, (int64_t[]){1, 3, 1, 1}, some_bytes));
    GOOD(pupil_h5_write(h, "none", PUPIL_H5_F32, 2, (int64_t[]){0, 5}, some_floats));
    GOOD(pupil_h5_write_text(h, "note", "two\nlines, h\xc3\xa9"));
    GOOD(pupil_h5_write_text(h, "empty", ""));
    BAD(pupil_h5_write(h, "a/ints", PUPIL_H5_I64, 1, (int64_t[]){4}, some_ints), PUPIL_EIO,
        "dataset a/ints cannot be written");
    GOOD(pupil_h5_close(&h));
    assert_null(h);
}

static void what_goes_in_comes_out(void **state)
{
    (void)state;
    write_some();
    pupil_h5 *h;
    int ndim;
    int64_t dim[8], ints[4];
    float f[6], none[1];
    double d;
    uint8_t u[3];
    char *text;
    GOOD(pupil_h5_open(path, &h));
    GOOD(pupil_h5_shape(h, "a/b/floats", &ndim, dim));
    assert_true(ndim == 2 && dim[0] == 2 && dim[1] == 3);
    GOOD(pupil_h5_read(h, "a/b/floats", PUPIL_H5_F32, 6, f));
    assert_memory_equal(f, some_floats, sizeof f);
    GOOD(pupil_h5_read(h, "a/ints", PUPIL_H5_I64, 4, ints));
    assert_memory_equal(ints, some_ints, sizeof ints);
    GOOD(pupil_h5_shape(h, "scalar", &ndim, dim));
    assert_int_equal(ndim, 0);
    GOOD(pupil_h5_read(h, "scalar", PUPIL_H5_F64, 1, &d));
    assert_true(d == pi);
    GOOD(pupil_h5_read(h, "scalar", PUPIL_H5_F32, 1, f));
    assert_true(f[0] == (float)pi);
    GOOD(pupil_h5_read(h, "bytes", PUPIL_H5_U8, 3, u));
    assert_memory_equal(u, some_bytes, sizeof u);
    GOOD(pupil_h5_read(h, "bytes", PUPIL_H5_I64, 3, ints));
    assert_int_equal(ints[1], 255);
    GOOD(pupil_h5_read(h, "none", PUPIL_H5_F32, 0, none));
    GOOD(pupil_h5_read_text(h, "note", &text));
    assert_string_equal(text, "two\nlines, h\xc3\xa9");
    pupil_free(&text);
    GOOD(pupil_h5_read_text(h, "empty", &text));
    assert_string_equal(text, "");
    pupil_free(&text);
    assert_true(pupil_h5_has(h, "a/b/floats") && pupil_h5_has(h, "a"));
    assert_false(pupil_h5_has(h, "a/c") || pupil_h5_has(h, "x/y/z"));
    GOOD(pupil_h5_close(&h));
}

static void wrong_questions(void **state)
{
    (void)state;
    write_some();
    pupil_h5 *h;
    float f[8];
    int64_t i[6];
    uint8_t u[4];
    char *text;
    GOOD(pupil_h5_open(path, &h));
    BAD(pupil_h5_read(h, "nothing/here", PUPIL_H5_F32, 1, f), PUPIL_ENOTFOUND,
        "there is no dataset nothing/here");
    BAD(pupil_h5_read(h, "a", PUPIL_H5_F32, 1, f), PUPIL_ENOTFOUND, "there is no dataset a");
    BAD(pupil_h5_read(h, "a/b/floats", PUPIL_H5_F32, 5, f), PUPIL_EFORMAT,
        "holds 6 numbers, 5 were expected");
    BAD(pupil_h5_read(h, "a/b/floats", PUPIL_H5_I64, 6, i), PUPIL_EFORMAT,
        "another kind of numbers than whole ones");
    BAD(pupil_h5_read(h, "a/ints", PUPIL_H5_U8, 4, u), PUPIL_EFORMAT, "another kind of numbers than bytes");
    BAD(pupil_h5_read_text(h, "no note", &text), PUPIL_ENOTFOUND, "there is no attribute no note");
    GOOD(pupil_h5_close(&h));
    GOOD(pupil_h5_close(&h)); /* NULL is nothing to close */
}

static void not_an_hdf5_file(void **state)
{
    (void)state;
    pupil_h5 *h;
    BAD(pupil_h5_open(path, &h), PUPIL_ENOTFOUND, path);
    GOOD(pupil_write_file(path, "just a few words\n", 17));
    BAD(pupil_h5_open(path, &h), PUPIL_EFORMAT, "cannot be opened as HDF5");
    unlink(path);
    GOOD(mkfifo(path, 0666));
    BAD(pupil_h5_open(path, &h), PUPIL_EFORMAT, "is not a plain file");
    BAD(pupil_h5_open(dir, &h), PUPIL_EFORMAT, "is not a plain file");
    char *deep = pupil_join(dir, "no/such/t.h5");
    BAD(pupil_h5_create(deep, &h), PUPIL_EIO, "No such file");
    pupil_free(&deep);
}

static void cut_anywhere(void **state)
{
    (void)state;
    write_some();
    for (int64_t n = pupil_file_size(path) - 1; n >= 0; n -= 37) {
        pupil_h5 *h;
        GOOD(truncate(path, n));
        BAD(pupil_h5_open(path, &h), PUPIL_EFORMAT, path);
    }
}

/* ---- files that promise more than they hold ------------------------------------------------------ */
static hid_t chunks_of(hsize_t n)
{
    hid_t how = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(how, 1, &n);
    return how;
}

static hid_t dataset(hid_t file, const char *name, hid_t type, hsize_t n, hid_t how)
{
    hid_t space = H5Screate_simple(1, &n, NULL),
          set = H5Dcreate2(file, name, type, space, H5P_DEFAULT, how, H5P_DEFAULT);
    H5Sclose(space);
    if (how != H5P_DEFAULT) H5Pclose(how);
    return set;
}

static void make_promises(void)
{
    char *other = pupil_join(dir, "other.h5");
    hid_t f = H5Fcreate(other, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    H5Dclose(dataset(f, "x", H5T_IEEE_F32LE, 4, H5P_DEFAULT));
    H5Fclose(f);
    f = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    H5Dclose(dataset(f, "huge", H5T_IEEE_F32LE, (hsize_t)1 << 50, H5P_DEFAULT));
    H5Dclose(dataset(f, "huge_in_chunks", H5T_IEEE_F32LE, (hsize_t)1 << 50, chunks_of(1 << 20)));
    H5Dclose(dataset(f, "unwritten", H5T_IEEE_F32LE, 100, H5P_DEFAULT));
    hid_t half_written = dataset(f, "half_written", H5T_IEEE_F32LE, 20, chunks_of(10)),
          ten = H5Screate_simple(1, (hsize_t[]){10}, NULL);
    hid_t where = H5Dget_space(half_written);
    H5Sselect_hyperslab(where, H5S_SELECT_SET, (hsize_t[]){0}, NULL, (hsize_t[]){10}, NULL);
    H5Dwrite(half_written, H5T_NATIVE_FLOAT, ten, where, H5P_DEFAULT, (float[10]){1});
    H5Sclose(where);
    H5Sclose(ten);
    H5Dclose(half_written);
    hid_t how = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_external(how, "/etc/passwd", 0, 16);
    H5Dclose(dataset(f, "external", H5T_IEEE_F32LE, 4, how));
    hid_t from = H5Screate_simple(1, (hsize_t[]){4}, NULL);
    how = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_virtual(how, from, other, "x", from);
    H5Dclose(dataset(f, "virtual", H5T_IEEE_F32LE, 4, how));
    H5Sclose(from);
    H5Lcreate_external(other, "x", f, "link", H5P_DEFAULT, H5P_DEFAULT);
    hid_t word = H5Tcopy(H5T_C_S1);
    H5Tset_size(word, 4);
    H5Dclose(dataset(f, "words", word, 4, H5P_DEFAULT));
    H5Tclose(word);
    hid_t odd = H5Tcopy(H5T_STD_I64LE);
    H5Tset_precision(odd, 40);
    H5Dclose(dataset(f, "odd", odd, 4, H5P_DEFAULT));
    H5Tclose(odd);
    H5Fclose(f);
    pupil_free(&other);
}

static void promises_are_not_believed(void **state)
{
    (void)state;
    static const struct {
        const char *name, *reason;
        int code;
    } bad[] = {
        {"huge", "not wholly stored", PUPIL_EFORMAT},
        {"huge_in_chunks", "not wholly stored", PUPIL_EFORMAT},
        {"unwritten", "not wholly stored", PUPIL_EFORMAT},
        {"half_written", "not wholly stored", PUPIL_EFORMAT},
        {"external", "not wholly stored", PUPIL_EFORMAT},
        {"virtual", "not wholly stored", PUPIL_EFORMAT},
        {"link", "there is no dataset link", PUPIL_ENOTFOUND},
        {"words", "does not hold numbers", PUPIL_EFORMAT},
        {"odd", "does not hold numbers of a usual type", PUPIL_EFORMAT},
    };
    make_promises();
    pupil_h5 *h;
    int ndim;
    int64_t dim[8];
    GOOD(pupil_h5_open(path, &h));
    for (int i = 0; i < PUPIL_COUNT(bad); i++)
        BAD(pupil_h5_shape(h, bad[i].name, &ndim, dim), bad[i].code, bad[i].reason);
    GOOD(pupil_h5_close(&h));
}

/* Reading all of a file that may be damaged; 0 whatever it finds. */
static int read_whatever(void *unused)
{
    (void)unused;
    pupil_h5 *h;
    static const char *const name[] = {"a/b/floats", "a/ints", "scalar", "bytes"};
    float x[64];
    char *text;
    if (pupil_h5_open(path, &h) < 0) return 0;
    for (int i = 0; i < PUPIL_COUNT(name); i++) {
        int ndim;
        int64_t dim[8], n = 1;
        if (pupil_h5_shape(h, name[i], &ndim, dim) < 0) continue;
        for (int d = 0; d < ndim; d++) n *= dim[d];
        if (n < PUPIL_COUNT(x)) pupil_h5_read(h, name[i], PUPIL_H5_F32, n, x);
    }
    if (pupil_h5_read_text(h, "note", &text) == 0) pupil_free(&text);
    pupil_h5_close(&h);
    return 0;
}

static void flips_never_crash(void **state)
{
    (void)state;
    write_some();
    for (int64_t i = 0; i < 300; i++) {
        int64_t at =
            (int64_t)(pupil_rng_u64(4, PUPIL_STREAM_TEST, (uint64_t)i) % (uint64_t)pupil_file_size(path));
        flip(path, at);
        int code = in_child(NULL, read_whatever, NULL);
        CHECK(code == 0, "byte %lld: exit %d", (long long)at, code);
        flip(path, at);
    }
}

/* ---- big, foreign, full -------------------------------------------------------------------------- */
static void foreign_files(void **state)
{
    (void)state;
    char *io = oracle_path("models/a_gelu/io.h5"), *train = oracle_path("train/inputs.h5"),
         *pixels = oracle_path("preprocess/expected.h5");
    if (!io || !train || !pixels) skip();
    pupil_h5 *h;
    int ndim;
    int64_t dim[8], ids[6 * 77];
    double scale, its_exp, raw[6 * 64], unit[6 * 64];
    GOOD(pupil_h5_open(io, &h));
    GOOD(pupil_h5_read(h, "outputs/logit_scale", PUPIL_H5_F64, 1, &scale));
    GOOD(pupil_h5_read(h, "outputs/logit_scale_exp", PUPIL_H5_F64, 1, &its_exp));
    assert_true(fabs(exp(scale) - its_exp) < 1e-5 * its_exp);
    GOOD(pupil_h5_read(h, "outputs/image_features", PUPIL_H5_F64, 6 * 64, raw));
    GOOD(pupil_h5_read(h, "outputs/image_features_normalized", PUPIL_H5_F64, 6 * 64, unit));
    for (int i = 0; i < 6; i++)
        for (int d = 0; d < 64; d++)
            assert_true(fabs(raw[64 * i + d] / l2(raw + 64 * i, 64) - unit[64 * i + d]) < 1e-6);
    GOOD(pupil_h5_read(h, "inputs/token_ids", PUPIL_H5_I64, 6 * 77, ids));
    assert_int_equal(ids[0], 510); /* start is vocab - 2 */
    GOOD(pupil_h5_close(&h));
    GOOD(pupil_h5_open(train, &h)); /* float16 */
    GOOD(pupil_h5_shape(h, "images", &ndim, dim));
    assert_true(ndim == 4 && dim[0] == 16 && dim[3] == 64);
    float *x = floats(16 * 3 * 64 * 64);
    GOOD(pupil_h5_read(h, "images", PUPIL_H5_F32, 16 * 3 * 64 * 64, x));
    double sum = 0;
    for (int i = 0; i < 16 * 3 * 64 * 64; i++) sum += fabs((double)x[i]);
    assert_true(sum / (16 * 3 * 64 * 64) > 0.1 && sum / (16 * 3 * 64 * 64) < 3);
    pupil_free(&x);
    GOOD(pupil_h5_close(&h));
    GOOD(pupil_h5_open(pixels, &h)); /* gzip */
    uint8_t *u = pupil_alloc(64 * 64 * 3);
    GOOD(pupil_h5_read(h, "alpha.webp/rgb_first/squash64/u8", PUPIL_H5_U8, 64 * 64 * 3, u));
    pupil_free(&u);
    GOOD(pupil_h5_close(&h));
    pupil_free(&io);
    pupil_free(&train);
    pupil_free(&pixels);
}

static int write_on_a_full_disk(void *unused)
{
    (void)unused;
    struct rlimit l = {100000, 100000};
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &l);
    pupil_h5 *h;
    int64_t n = 1 << 20;
    float *x = floats(n);
    int r = pupil_h5_create(path, &h);
    if (r == 0) r = pupil_h5_write(h, "x", PUPIL_H5_F32, 1, &n, x);
    bool told = r == PUPIL_EIO && strstr(pupil_reason(), "dataset x cannot be written: File too large");
    pupil_h5_close(&h);
    return told ? 0 : -100;
}

static void a_full_disk_is_an_error(void **state)
{
    (void)state;
    assert_int_equal(in_child(NULL, write_on_a_full_disk, NULL), 0);
}

static void equal_contents_equal_bytes(void **state)
{
    (void)state;
    char hex[2][65];
    for (int k = 0; k < 2; k++) {
        write_some();
        GOOD(pupil_sha256_file(path, hex[k]));
        if (k == 0) usleep(1100000);
    }
    assert_string_equal(hex[0], hex[1]);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        T(what_goes_in_comes_out), T(wrong_questions),           T(not_an_hdf5_file),
        T(cut_anywhere),           T(promises_are_not_believed), T(flips_never_crash),
        T(foreign_files),          T(a_full_disk_is_an_error),   T(equal_contents_equal_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
