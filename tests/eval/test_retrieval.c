/* test_retrieval.c: recall against open_clip's figures, ties, tiles, and exact nearest pictures. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <hdf5.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "pupil/eval.h"

#define assert_near(got, want, eps) assert_true(fabs((got) - (want)) <= (eps))

/* ---- the oracle ----------------------------------------------------------------------------------- */
static const char *oracle_dir(void)
{
    const char *dir = getenv("PUPIL_ORACLE");
    char *path = pupil_format("%s/retrieval/expected.json", dir ? dir : "");
    bool here = dir && pupil_exists(path);
    if (!here) print_message("skipped: %s is not here (PUPIL_ORACLE)\n", path);
    pupil_free(&path);
    if (!here) skip();
    return dir;
}

/* Dataset GROUP/NAME, read as `type`; NULL if there is none. */
static void *read_dataset(hid_t file, const char *group, const char *name, hid_t type, hsize_t shape[2])
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", group, name);
    if (H5Lexists(file, path, H5P_DEFAULT) <= 0) return NULL;
    hid_t set = H5Dopen2(file, path, H5P_DEFAULT), space = H5Dget_space(set);
    H5Sget_simple_extent_dims(space, shape, NULL);
    void *out = pupil_alloc(shape[0] * shape[1] * H5Tget_size(type));
    assert_true(H5Dread(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, out) >= 0);
    H5Sclose(space);
    H5Dclose(set);
    return out;
}

static double number(json_t *o, const char *key)
{
    assert_true(json_is_number(json_object_get(o, key)));
    return json_number_value(json_object_get(o, key));
}

static void check_recall(const pupil_recall *r, json_t *want)
{
    assert_true(r->r1 == number(want, "R@1"));
    assert_true(r->r5 == number(want, "R@5"));
    assert_true(r->r10 == number(want, "R@10"));
    assert_near(r->mean_rank, number(want, "mean_rank"), 1e-12);
    assert_true(r->median_rank == number(want, "median_rank"));
}

static void test_oracle(void **state)
{
    char *h5 = pupil_format("%s/retrieval/similarity.h5", oracle_dir());
    char *js = pupil_format("%s/retrieval/expected.json", oracle_dir());
    json_t *expected = json_load_file(js, 0, NULL);
    hid_t file = H5Fopen(h5, H5F_ACC_RDONLY, H5P_DEFAULT);
    static const char *const names[] = {"square_64", "square_101", "square_7", "square_ties_30"};
    for (int k = 0; k < PUPIL_COUNT(names); k++) {
        hsize_t n[2], d[2];
        double *s = read_dataset(file, names[k], "similarity", H5T_NATIVE_DOUBLE, n);
        float *image = read_dataset(file, names[k], "image_features", H5T_NATIVE_FLOAT, d);
        float *text = read_dataset(file, names[k], "text_features", H5T_NATIVE_FLOAT, d);
        json_t *want = json_object_get(expected, names[k]);
        assert_non_null(s);
        assert_non_null(want);
        pupil_recall i2t, t2i;
        pupil_retrieval_matrix(s, (int64_t)n[0], &i2t, &t2i);
        check_recall(&i2t, json_object_get(want, "image_to_text"));
        check_recall(&t2i, json_object_get(want, "text_to_image"));
        if (image && text) {
            assert_int_equal(pupil_retrieval_square(image, text, (int64_t)n[0], (int64_t)d[1], &i2t, &t2i), 0);
            check_recall(&i2t, json_object_get(want, "image_to_text"));
            check_recall(&t2i, json_object_get(want, "text_to_image"));
        } else {
            assert_string_equal(names[k], "square_ties_30");
        }
        pupil_free(&s);
        pupil_free(&image);
        pupil_free(&text);
    }
    H5Fclose(file);
    json_decref(expected);
    pupil_free(&h5);
    pupil_free(&js);
}

/* Five captions an image, in order and shuffled: ranks from the matrix and from the features are the published ones. */
static void check_ranks(const int64_t *rank, int64_t n, json_t *want)
{
    json_t *list = json_object_get(want, "best_ranks");
    assert_int_equal(json_array_size(list), n);
    for (int64_t i = 0; i < n; i++) assert_int_equal(rank[i], json_integer_value(json_array_get(list, (size_t)i)));
    pupil_recall r = pupil_recall_of(rank, n);
    check_recall(&r, want);
}

static void test_five_captions(void **state)
{
    char *h5 = pupil_format("%s/retrieval/similarity.h5", oracle_dir());
    char *js = pupil_format("%s/retrieval/expected.json", oracle_dir());
    json_t *expected = json_load_file(js, 0, NULL);
    hid_t file = H5Fopen(h5, H5F_ACC_RDONLY, H5P_DEFAULT);
    static const char *const names[] = {"five_captions_60", "five_captions_33"};
    for (int k = 0; k < PUPIL_COUNT(names); k++) {
        hsize_t n[2] = {1, 1}, d[2], c[2] = {1, 1};
        double *s = read_dataset(file, names[k], "similarity", H5T_NATIVE_DOUBLE, n);
        float *image = read_dataset(file, names[k], "image_features", H5T_NATIVE_FLOAT, d);
        float *text = read_dataset(file, names[k], "text_features", H5T_NATIVE_FLOAT, d);
        int64_t *image_of = read_dataset(file, names[k], "caption_to_image", H5T_NATIVE_INT64, c);
        int64_t images = (int64_t)n[0], texts = (int64_t)n[1];
        json_t *want = json_object_get(expected, names[k]);
        int64_t *of_image = pupil_alloc(n[0] * sizeof *of_image), *of_text = pupil_alloc(n[1] * sizeof *of_text);
        for (int features = 0; features < 2; features++) {
            if (features)
                assert_int_equal(pupil_retrieval_ranks(image, images, text, texts, (int64_t)d[1], image_of, of_image, of_text), 0);
            else pupil_retrieval_matrix_ranks(s, images, texts, image_of, of_image, of_text);
            check_ranks(of_image, images, json_object_get(want, "image_to_text"));
            check_ranks(of_text, texts, json_object_get(want, "text_to_image"));
        }
        pupil_free(&s);
        pupil_free(&image);
        pupil_free(&text);
        pupil_free(&image_of);
        pupil_free(&of_image);
        pupil_free(&of_text);
    }
    H5Fclose(file);
    json_decref(expected);
    pupil_free(&h5);
    pupil_free(&js);
}

/* ---- tiles and ties ------------------------------------------------------------------------------- */
static float *noise(int64_t n, int64_t dim, uint64_t index)
{
    float *x = pupil_alloc((size_t)(n * dim) * sizeof *x);
    pupil_rng r = pupil_rng_at(1, PUPIL_STREAM_TEST, index);
    for (int64_t i = 0; i < n * dim; i++) x[i] = (float)pupil_rng_normal(&r);
    return x;
}

/* Many captions are the same text: the ranks must follow the tie rule exactly, in every tile and at every edge.
 * N/CLASSES candidates tie for each query, and a matrix of zeros and ones says the same. */
static void test_ties_across_tiles(void **state)
{
    enum { N = 700, DIM = 67, CLASSES = 20 };
    float *centre = noise(CLASSES, DIM, 2), *x = pupil_alloc(N * DIM * sizeof *x), *y = pupil_alloc(N * DIM * sizeof *y);
    double *s = pupil_alloc((size_t)N * N * sizeof *s);
    for (int i = 0; i < N; i++)
        for (int j = 0; j < DIM; j++) x[i * DIM + j] = y[i * DIM + j] = centre[i % CLASSES * DIM + j];
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) s[i * N + j] = i % CLASSES == j % CLASSES;
    pupil_recall a, b, c, d;
    assert_int_equal(pupil_retrieval_square(x, y, N, DIM, &a, &b), 0);
    pupil_retrieval_matrix(s, N, &c, &d);
    assert_true(a.mean_rank == c.mean_rank && a.r1 == c.r1 && a.r10 == c.r10 && a.median_rank == c.median_rank);
    assert_true(b.mean_rank == d.mean_rank && b.r1 == d.r1 && b.r10 == d.r10 && b.median_rank == d.median_rank);
    assert_true(a.r1 == (double)CLASSES / N); /* the first of each class */
    pupil_free(&centre);
    pupil_free(&x);
    pupil_free(&y);
    pupil_free(&s);
}

/* Images with several captions each, or none, in no order; captions and images that come again and again. */
static void test_captions_across_tiles(void **state)
{
    enum { IMAGES = 300, TEXTS = 900, DIM = 33, CLASSES = 70 };
    float *centre = noise(CLASSES, DIM, 8), *x = pupil_alloc(IMAGES * DIM * sizeof *x), *y = pupil_alloc(TEXTS * DIM * sizeof *y);
    double *s = pupil_alloc((size_t)IMAGES * TEXTS * sizeof *s), *unit = pupil_alloc(CLASSES * CLASSES * sizeof *unit);
    int64_t image_of[TEXTS], of_image[IMAGES], of_text[TEXTS], want_image[IMAGES], want_text[TEXTS];
    for (int i = 0; i < IMAGES; i++) memcpy(x + i * DIM, centre + i % CLASSES * DIM, DIM * sizeof *x);
    for (int j = 0; j < TEXTS; j++) {
        memcpy(y + j * DIM, centre + j * 7 % CLASSES * DIM, DIM * sizeof *y);
        image_of[j] = j * 31 % (IMAGES - 3); /* the last three have none */
    }
    for (int a = 0; a < CLASSES; a++)
        for (int b = 0; b < CLASSES; b++) {
            double dot = 0, aa = 0, bb = 0;
            for (int d = 0; d < DIM; d++) {
                dot += (double)centre[a * DIM + d] * (double)centre[b * DIM + d];
                aa += (double)centre[a * DIM + d] * (double)centre[a * DIM + d];
                bb += (double)centre[b * DIM + d] * (double)centre[b * DIM + d];
            }
            unit[a * CLASSES + b] = dot / sqrt(aa * bb);
        }
    for (int i = 0; i < IMAGES; i++)
        for (int j = 0; j < TEXTS; j++) s[i * TEXTS + j] = unit[i % CLASSES * CLASSES + j * 7 % CLASSES];
    assert_int_equal(pupil_retrieval_ranks(x, IMAGES, y, TEXTS, DIM, image_of, of_image, of_text), 0);
    pupil_retrieval_matrix_ranks(s, IMAGES, TEXTS, image_of, want_image, want_text);
    assert_memory_equal(of_image, want_image, sizeof of_image);
    assert_memory_equal(of_text, want_text, sizeof of_text);
    assert_int_equal(of_image[IMAGES - 1], TEXTS);
    assert_int_equal(pupil_retrieval_ranks(x, IMAGES, y, TEXTS, DIM, image_of, NULL, of_text), 0);
    assert_memory_equal(of_text, want_text, sizeof of_text);
    image_of[5] = IMAGES;
    assert_int_equal(pupil_retrieval_ranks(x, IMAGES, y, TEXTS, DIM, image_of, NULL, of_text), PUPIL_EUSER);
    pupil_free(&centre);
    pupil_free(&x);
    pupil_free(&y);
    pupil_free(&s);
    pupil_free(&unit);
}

/* The tiles against the matrix in double, on scores without near ties; rows of any scale. */
static void test_tiles_against_matrix(void **state)
{
    enum { N = 515, DIM = 24 };
    float *x = noise(N, DIM, 3), *y = noise(N, DIM, 4);
    double *s = pupil_alloc((size_t)N * N * sizeof *s);
    for (int i = 0; i < N * DIM; i++) y[i] = 1.2f * y[i] + x[i];
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            double xy = 0, xx = 0, yy = 0;
            for (int k = 0; k < DIM; k++) {
                double u = (double)x[i * DIM + k], v = (double)y[j * DIM + k];
                xy += u * v, xx += u * u, yy += v * v;
            }
            s[i * N + j] = xy / sqrt(xx * yy);
        }
    for (int i = 0; i < N * DIM; i++) x[i] *= 1000, y[i] *= 1e-3f;
    pupil_recall a, b, c, d;
    assert_int_equal(pupil_retrieval_square(x, y, N, DIM, &a, &b), 0);
    pupil_retrieval_matrix(s, N, &c, &d);
    assert_near(a.mean_rank, c.mean_rank, 0.01);
    assert_near(b.mean_rank, d.mean_rank, 0.01);
    assert_near(a.r1, c.r1, 1.5 / N);
    assert_true(a.r1 > 0.5 && a.r1 < 1 && a.r5 >= a.r1 && a.r10 >= a.r5);
    pupil_free(&x);
    pupil_free(&y);
    pupil_free(&s);
}

static void test_odd_input(void **state)
{
    float x[4] = {1, 0, 0, 1}, zero[4] = {0};
    pupil_recall a, b;
    assert_int_equal(pupil_retrieval_square(x, x, 2, 2, &a, &b), 0);
    assert_true(a.r1 == 1 && b.median_rank == 1);
    assert_int_equal(pupil_retrieval_square(zero, zero, 2, 2, &a, &b), 0);
    assert_true(a.r1 == 0.5 && a.mean_rank == 1.5 && a.median_rank == 1);
    assert_int_equal(pupil_retrieval_square(x, x, 0, 2, &a, &b), 0);
    assert_true(a.r1 == 0);
    x[1] = NAN;
    assert_int_equal(pupil_retrieval_square(x, zero, 2, 2, &a, &b), PUPIL_ENUMERIC);
}

/* ---- pictures ------------------------------------------------------------------------------------- */
static void test_pixel_nearest(void **state)
{
    enum { TRAIN = 300, TEST = 260, BYTES = 2500 };
    uint8_t *train = pupil_alloc(TRAIN * BYTES), *test = pupil_alloc(TEST * BYTES);
    int64_t train_label[TRAIN], test_label[TEST];
    pupil_rng r = pupil_rng_at(1, PUPIL_STREAM_TEST, 5);
    for (int i = 0; i < TRAIN * BYTES; i++) train[i] = (uint8_t)pupil_rng_below(&r, 256);
    for (int i = 0; i < TRAIN; i++) train_label[i] = i;
    memcpy(train + 290 * BYTES, train + 7 * BYTES, BYTES); /* twins: the lower index wins */
    int64_t right = 0;
    for (int t = 0; t < TEST; t++) {
        for (int j = 0; j < BYTES; j++) test[t * BYTES + j] = (uint8_t)pupil_rng_below(&r, 256);
        int64_t best = 0, least = INT64_MAX;
        for (int i = 0; i < TRAIN; i++) {
            int64_t sum = 0;
            for (int j = 0; j < BYTES; j++) {
                int64_t u = (int64_t)train[i * BYTES + j] - test[t * BYTES + j];
                sum += u * u;
            }
            if (sum < least) least = sum, best = i;
        }
        test_label[t] = t % 5 ? best : best + 1;
        right += t % 5 != 0;
    }
    assert_true(pupil_pixel_nearest(train, train_label, TRAIN, test, test_label, TEST, BYTES) == (double)right / TEST);
    memset(test, 255, BYTES);
    memset(train, 0, BYTES);
    memset(train + BYTES, 255, BYTES);
    test_label[0] = 1;
    assert_true(pupil_pixel_nearest(train, train_label, 2, test, test_label, 1, BYTES) == 1);
    memcpy(test, train + 290 * BYTES, BYTES);
    test_label[0] = 7;
    assert_true(pupil_pixel_nearest(train, train_label, TRAIN, test, test_label, 1, BYTES) == 1);
    assert_true(pupil_pixel_nearest(train, train_label, 0, test, test_label, 1, BYTES) == 0);
    pupil_free(&train);
    pupil_free(&test);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_oracle), cmocka_unit_test(test_five_captions),    cmocka_unit_test(test_ties_across_tiles), cmocka_unit_test(test_captions_across_tiles), cmocka_unit_test(test_tiles_against_matrix),
        cmocka_unit_test(test_odd_input), cmocka_unit_test(test_pixel_nearest),
    };
    return cmocka_run_group_tests_name("retrieval", tests, NULL, NULL);
}
