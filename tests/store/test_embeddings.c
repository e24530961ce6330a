/* test_embeddings.c: HDF5 files of embeddings that were made elsewhere: keys and attributes as h5py writes them, of fixed
 * and of variable length; and such files damaged byte by byte, which must never end the process that reads them. */
#include "store_proof.h"

#include <hdf5.h>

enum { ROWS = 40, DIM = 3 };

static char *folder, *path;

static int begin(void **state)
{
    (void)state;
    folder = folder_new();
    path = pupil_join(folder, "embeddings.h5");
    return 0;
}

static int end(void **state)
{
    (void)state;
    pupil_free(&path);
    folder_end(&folder);
    return 0;
}

static void put(hid_t file, const char *name, hid_t type, int ndim, const hsize_t *dims, const void *data)
{
    hid_t space = H5Screate_simple(ndim, dims, NULL), set = H5Dcreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0);
    H5Dclose(set);
    H5Sclose(space);
}

static hid_t text_type(size_t size)
{
    hid_t t = H5Tcopy(H5T_C_S1);
    H5Tset_size(t, size);
    if (size == H5T_VARIABLE) H5Tset_cset(t, H5T_CSET_UTF8);
    return t;
}

/* As h5py writes a list of str and an attribute that is a str. */
static void write_file(bool variable)
{
    float x[ROWS * DIM];
    char fixed[ROWS][12], *key[ROWS], *teacher = (char *)"a teacher", word[10] = "a teacher";
    double scale = 100;
    for (int i = 0; i < ROWS * DIM; i++) x[i] = (float)i;
    for (int i = 0; i < ROWS; i++) {
        memset(fixed[i], 0, sizeof fixed[i]);
        snprintf(fixed[i], sizeof fixed[i], "key-%06d", i);
        key[i] = fixed[i];
    }
    hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), t = text_type(variable ? H5T_VARIABLE : 12),
          a = text_type(variable ? H5T_VARIABLE : 10), one = H5Screate(H5S_SCALAR);
    put(file, "image_embeddings", H5T_NATIVE_FLOAT, 2, (hsize_t[]){ROWS, DIM}, x);
    put(file, "text_embeddings", H5T_NATIVE_FLOAT, 2, (hsize_t[]){ROWS, DIM}, x);
    put(file, "keys", t, 1, (hsize_t[]){ROWS}, variable ? (const void *)key : fixed);
    hid_t attr = H5Acreate2(file, "teacher", a, one, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(H5Awrite(attr, a, variable ? (const void *)&teacher : word) >= 0);
    H5Aclose(attr);
    attr = H5Acreate2(file, "logit_scale", H5T_NATIVE_DOUBLE, one, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(H5Awrite(attr, H5T_NATIVE_DOUBLE, &scale) >= 0);
    H5Aclose(attr);
    H5Sclose(one);
    H5Tclose(t);
    H5Tclose(a);
    H5Fclose(file);
}

static const char *const names[] = {"teacher", "logit_scale", "nothing"};

static void read_right(bool variable)
{
    pupil_embeddings *e;
    pupil_buf keys = {0};
    char *value[3];
    write_file(variable);
    GOOD(pupil_embeddings_open((const char *const[]){path}, 1, &e));
    GOOD(pupil_embeddings_keys(e, 0, &keys));
    assert_int_equal(keys.len, ROWS * 11);
    for (int i = 0; i < ROWS; i++) {
        char want[16];
        snprintf(want, sizeof want, "key-%06d", i);
        assert_string_equal(keys.s + i * 11, want);
    }
    GOOD(pupil_embeddings_attributes(e, 0, names, 3, value));
    assert_string_equal(value[0], "a teacher");
    assert_string_equal(value[1], "100");
    assert_null(value[2]);
    for (int i = 0; i < 2; i++) pupil_free(&value[i]);
    pupil_buf_free(&keys);
    pupil_embeddings_free(&e);
}

static void keys_and_attributes(void **state)
{
    (void)state;
    read_right(false);
    read_right(true);
}

/* All of a file that may be damaged: 0 where all of it could be read, else -1. */
static int read_whatever(void *unused)
{
    (void)unused;
    pupil_embeddings *e;
    pupil_buf keys = {0};
    char *value[3] = {0};
    float x[ROWS * DIM];
    if (pupil_embeddings_open((const char *const[]){path}, 1, &e) < 0) return -1;
    bool ok = pupil_embeddings_rows(e) == ROWS && pupil_embeddings_dim(e) == DIM && pupil_embeddings_read(e, 0, 0, ROWS, x) == 0;
    int r = pupil_embeddings_keys(e, 0, &keys), q = pupil_embeddings_attributes(e, 0, names, 3, value);
    if (r < 0 || q < 0) assert_null(strchr(pupil_reason(), '\n'));
    for (int i = 0; i < 3; i++) pupil_free(&value[i]);
    pupil_buf_free(&keys);
    pupil_embeddings_free(&e);
    return ok && r == 0 && q == 0 ? 0 : -1;
}

static void damage(void **state)
{
    (void)state;
    char *text;
    size_t n, heap = 0;
    int lost = 0;
    write_file(true);
    GOOD(pupil_read_file(path, 0, &text, &n));
    while (heap + 4 < n && memcmp(text + heap, "GCOL", 4)) heap++;
    assert_true(heap + 4 < n);
    for (uint64_t i = 0; i < 60; i++) {
        pupil_rng r = pupil_rng_at(5, PUPIL_STREAM_TEST, i);
        char *copy = pupil_alloc(n);
        memcpy(copy, text, n);
        size_t from = i % 2 ? heap : 0, most = i % 2 ? PUPIL_MIN(n - heap, (size_t)600) : n;
        for (int k = 0; k < 6; k++) copy[from + pupil_rng_below(&r, most)] = (char)pupil_rng_below(&r, 256);
        GOOD(pupil_write_file(path, copy, n));
        int code = in_child(NULL, read_whatever, NULL);
        CHECK(code < 2, "file %d: exit %d", (int)i, code);
        lost += code;
        pupil_free(&copy);
    }
    assert_in_range(lost, 5, 59);
    pupil_free(&text);
}

/* The address of each row's key leads outside the heap, or to the same place a million times. */
static void references_that_lead_nowhere(void **state)
{
    (void)state;
    char *text;
    size_t n, at = 0;
    pupil_embeddings *e;
    pupil_buf keys = {0};
    write_file(true);
    GOOD(pupil_read_file(path, 0, &text, &n));
    static const char first[8] = {10, 0, 0, 0}; /* length of "key-000000", then address and index of its object */
    for (size_t i = 0; i + 16 * ROWS <= n && !at; i++)
        if (!memcmp(text + i, first, 4) && !memcmp(text + i + 16, first, 4) && !memcmp(text + i + 32, first, 4)) at = i;
    assert_true(at > 0);
    for (int i = 0; i < ROWS; i++) memset(text + at + 16 * i, 0x7f, 4); /* as if each key had 2 GiB */
    GOOD(pupil_write_file(path, text, n));
    GOOD(pupil_embeddings_open((const char *const[]){path}, 1, &e));
    BAD(pupil_embeddings_keys(e, 0, &keys), PUPIL_EFORMAT, path);
    assert_int_equal(keys.len, 0);
    pupil_embeddings_free(&e);
    pupil_free(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(keys_and_attributes), cmocka_unit_test(damage),
                                       cmocka_unit_test(references_that_lead_nowhere)};
    return cmocka_run_group_tests(tests, begin, end);
}
