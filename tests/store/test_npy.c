/* test_npy.c: .npy files as NumPy writes them are read to the bit; all others are refused in one line, whatever they say. */
#include "../proof.h"

#include "npy.h"
#include "pupil/store.h"

static char *dir;

static int begin(void **state)
{
    (void)state;
    dir = folder_new();
    return 0;
}

static int end(void **state)
{
    (void)state;
    folder_end(&dir);
    return 0;
}

/* A file of `version` with this dictionary and n bytes of values; its path, owned by the caller. */
static char *npy(const char *name, int version, const char *dictionary, const void *values, size_t n)
{
    pupil_buf b = {0};
    char *path = pupil_join(dir, name);
    size_t head = version == 1 ? 10 : 12, text = (head + strlen(dictionary) + 1 + 63) / 64 * 64 - head;
    uint8_t start[12] = {0x93, 'N', 'U', 'M', 'P', 'Y', (uint8_t)version, 0, (uint8_t)text, (uint8_t)(text >> 8)};
    pupil_buf_add(&b, start, head);
    pupil_buf_printf(&b, "%-*s\n", (int)text - 1, dictionary);
    pupil_buf_add(&b, values, n);
    GOOD(pupil_write_file(path, b.s, b.len));
    pupil_buf_free(&b);
    return path;
}

#define SHAPE_2_3 "'fortran_order': False, 'shape': (2, 3), }"

static void numpys_own_forms(void **state)
{
    (void)state;
    static const char *const dictionary[] = {"{'descr': '<f4', " SHAPE_2_3, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)}",
                                             "{\"shape\": (2L, 3L), \"descr\":\"<f4\",'fortran_order':False}"};
    const float x[6] = {1, -2, 3.25f, 0, 1e30f, -1e-30f};
    for (int version = 1; version <= 3; version++)
        for (int k = 0; k < PUPIL_COUNT(dictionary); k++) {
            char *path = npy("a.npy", version, dictionary[k], x, sizeof x);
            npy_file f;
            float row[3];
            GOOD(npy_open(path, &f));
            assert_int_equal(f.rows, 2);
            assert_int_equal(f.dim, 3);
            assert_true(f.f32);
            GOOD(npy_read(&f, 1, 1, row));
            assert_memory_equal(row, x + 3, sizeof row);
            npy_close(&f);
            pupil_free(&path);
        }
}

static void refused(const char *dictionary, size_t bytes, const char *why)
{
    const char zeros[64] = {0};
    char *path = npy("bad.npy", 1, dictionary, zeros, bytes);
    npy_file f;
    BAD(npy_open(path, &f), PUPIL_EFORMAT, why);
    CHECK(strstr(pupil_reason(), path), "the reason does not name the file: %s", pupil_reason());
    pupil_free(&path);
}

static void other_arrays_are_refused(void **state)
{
    (void)state;
    refused("{'descr': '<f8', " SHAPE_2_3, 48, "of type '<f8', float16 ('<f2') or float32 ('<f4') was expected");
    refused("{'descr': '>f4', " SHAPE_2_3, 24, "of type '>f4'");
    refused("{'descr': '|O', " SHAPE_2_3, 24, "of type '|O'");
    refused("{'descr': [('a', '<f4')], " SHAPE_2_3, 24, "an array of plain numbers");
    refused("{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }", 24, "Fortran order");
    refused("{'descr': '<f4', 'fortran_order': False, 'shape': (6,), }", 24, "has 1 dimensions");
    refused("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2, 3), }", 24, "has 3 dimensions");
    refused("{'descr': '<f4', 'fortran_order': False, 'shape': (), }", 4, "has 0 dimensions");
    refused("{'descr': '<f4', 'fortran_order': False, 'shape': (0, 3), }", 0, "above 0 was expected");
    refused("{'descr': '<f4', " SHAPE_2_3, 23, "2 x 3 values, but 23 bytes follow");
    refused("{'descr': '<f4', " SHAPE_2_3, 25, "2 x 3 values, but 25 bytes follow");
    refused("{'descr': '<f2', " SHAPE_2_3, 24, "2 x 3 values, but 24 bytes follow");
    refused("{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387905, 4), }", 16, "values, but 16 bytes follow");
    refused("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999, 4), }", 16, "plain numbers");
    refused("{'descr': '<f4', 'fortran_order': False, 'shape': (-2, 3), }", 24, "plain numbers");
    refused("{'descr': '<f4', 'fortran_order': False}", 24, "plain numbers");
    refused("{'descr': '<f4', 'shape': (2, 3)}", 24, "plain numbers");
    refused("[1, 2]", 24, "plain numbers");
    refused("", 24, "plain numbers");
}

/* Cut anywhere, or with any byte of its head replaced, a file is read as it is or refused; it is never more than its bytes. */
static void wounded_files(void **state)
{
    (void)state;
    const float x[6] = {1, 2, 3, 4, 5, 6};
    char *path = npy("whole.npy", 1, "{'descr': '<f4', " SHAPE_2_3, x, sizeof x), *cut = pupil_join(dir, "cut.npy"), *bytes;
    size_t n;
    int64_t survived = 0;
    GOOD(pupil_read_file(path, 0, &bytes, &n));
    for (size_t k = 0; k < n; k++) {
        npy_file f;
        GOOD(pupil_write_file(cut, bytes, k));
        BAD(npy_open(cut, &f), PUPIL_EFORMAT, cut);
    }
    for (size_t k = 0; k < n - sizeof x; k++)
        for (int v = 0; v < 256; v += 17) {
            npy_file f;
            float row[6 * 24];
            char old = bytes[k];
            bytes[k] = (char)v;
            GOOD(pupil_write_file(cut, bytes, n));
            bytes[k] = old;
            if (npy_open(cut, &f) < 0) continue;
            assert_true(f.rows * f.dim * (f.f32 ? 4 : 2) <= (int64_t)n);
            GOOD(npy_read(&f, 0, f.rows, row));
            npy_close(&f);
            survived++;
        }
    assert_true(survived > 0); /* a byte may be replaced by itself, a space by a newline */
    DROP(path, cut, bytes);
}

/* Sources of both number formats become one matrix of float32, in the order in which they were named. */
static void folders_become_one_matrix(void **state)
{
    (void)state;
    const float x[6] = {1, 2, 3, 4, 5, 6}, y[6] = {7, 8, 9, -1, -2, -3};
    const uint16_t h[6] = {0x3c00, 0x4000, 0xc200, 0x0001, 0x7bff, 0x8000};
    const float h_means[6] = {1, 2, -3, 0x1p-24f, 65504, -0.0f};
    char *a = pupil_join(dir, "one"), *b = pupil_join(dir, "two");
    GOOD(pupil_mkdirs(a));
    GOOD(pupil_mkdirs(b));
    char *file[] = {npy("one/image_embeddings.npy", 1, "{'descr': '<f4', " SHAPE_2_3, x, sizeof x),
                    npy("one/text_embeddings.npy", 2, "{'descr': '<f4', " SHAPE_2_3, y, sizeof y),
                    npy("two/image_embeddings.npy", 1, "{'descr': '<f2', " SHAPE_2_3, h, sizeof h),
                    npy("two/text_embeddings.npy", 1, "{'descr': '<f4', " SHAPE_2_3, x, sizeof x)};
    const char *const sources[] = {a, b};
    pupil_embeddings *e;
    int64_t first, rows;
    float got[12];
    GOOD(pupil_embeddings_open(sources, 2, &e));
    assert_int_equal(pupil_embeddings_rows(e), 4);
    assert_int_equal(pupil_embeddings_dim(e), 3);
    assert_string_equal(pupil_embeddings_source(e, 1, &first, &rows), b);
    assert_int_equal(first, 2);
    GOOD(pupil_embeddings_read(e, 0, 0, 4, got));
    assert_memory_equal(got, x, sizeof x);
    assert_memory_equal(got + 6, h_means, sizeof h_means);
    GOOD(pupil_embeddings_read(e, 1, 1, 2, got)); /* across the border */
    assert_memory_equal(got, y + 3, 3 * sizeof *y);
    assert_memory_equal(got + 3, x, 3 * sizeof *x);
    pupil_embeddings_free(&e);
    char *wide = npy("two/text_embeddings.npy", 1, "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }", x, sizeof x);
    BAD(pupil_embeddings_open(sources, 2, &e), PUPIL_EFORMAT, "image_embeddings is [2, 3], text_embeddings is [3, 2]");
    unlink(wide);
    BAD(pupil_embeddings_open(sources, 2, &e), PUPIL_ENOTFOUND, "text_embeddings.npy");
    for (int i = 0; i < PUPIL_COUNT(file); i++) pupil_free(&file[i]);
    DROP(a, b, wide);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numpys_own_forms),
        cmocka_unit_test(other_arrays_are_refused),
        cmocka_unit_test(wounded_files),
        cmocka_unit_test(folders_become_one_matrix),
    };
    return cmocka_run_group_tests_name("npy", tests, begin, end);
}
