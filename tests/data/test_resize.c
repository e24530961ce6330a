/* Resize and crop: against Pillow's own bytes (oracle), and against a plain twin that resizes the whole
 * picture pixel by pixel and crops afterwards. */
#include "pupil/data.h"
#include "pupil/store.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- the plain twin ----------------------------------------------------------------------------- */
static double filter(bool bilinear, double x)
{
    x = fabs(x);
    if (bilinear) return x < 1 ? 1 - x : 0;
    if (x < 1) return 1.5 * x * x * x - 2.5 * x * x + 1;
    if (x < 2) return -0.5 * x * x * x + 2.5 * x * x - 4 * x + 2;
    return 0;
}

/* Output pixel i of n along an axis of `in` input pixels that are `step` bytes apart. */
static uint8_t sample(bool bilinear, const uint8_t *p, size_t step, int in, int n, int i)
{
    double scale = (double)in / n, wide = fmax(scale, 1), support = wide * (bilinear ? 1 : 2);
    double center = (i + 0.5) * scale, sum = 0;
    int from = PUPIL_MAX((int)(center - support + 0.5), 0), to = PUPIL_MIN((int)(center + support + 0.5), in);
    for (int j = from; j < to; j++) sum += filter(bilinear, (j - center + 0.5) / wide);
    int64_t acc = 1 << 21;
    for (int j = from; j < to; j++) {
        double k = filter(bilinear, (j - center + 0.5) / wide) / sum;
        acc += llround(k * (1 << 22)) * p[(size_t)j * step];
    }
    acc >>= 22;
    return (uint8_t)(acc < 0 ? 0 : acc > 255 ? 255 : acc);
}

static pupil_image twin(const pupil_image *im, bool bilinear, int w, int h)
{
    pupil_image mid = {w, im->h, pupil_alloc((size_t)w * (size_t)im->h * 3)};
    pupil_image out = {w, h, pupil_alloc((size_t)w * (size_t)h * 3)};
    size_t row = (size_t)w * 3;
    for (int y = 0; y < im->h; y++)
        for (int i = 0; i < 3 * w; i++) {
            const uint8_t *line = im->rgb + (size_t)y * (size_t)im->w * 3;
            mid.rgb[(size_t)y * row + (size_t)i] =
                w == im->w ? line[i] : sample(bilinear, line + i % 3, 3, im->w, w, i / 3);
        }
    for (int y = 0; y < h; y++)
        for (size_t i = 0; i < row; i++)
            out.rgb[(size_t)y * row + i] =
                h == im->h ? mid.rgb[(size_t)y * row + i] : sample(bilinear, mid.rgb + i, row, im->h, h, y);
    pupil_image_free(&mid);
    return out;
}

static pupil_image noise(pupil_rng *rng, int w, int h)
{
    pupil_image im = {w, h, pupil_alloc((size_t)w * (size_t)h * 3)};
    for (int i = 0; i < w * h * 3; i++)
        im.rgb[i] = (uint8_t)(pupil_rng_next(rng) % 5 ? pupil_rng_next(rng) : 255);
    return im;
}

/* Weights that fall on a tie of rounding may differ by one unit of 2^-22 between the two forms of the cubic:
 * at most one level, and hardly ever. */
static void compare(const uint8_t *a, const uint8_t *b, size_t n, int *differ)
{
    for (size_t i = 0; i < n; i++) {
        assert_in_range(abs(a[i] - b[i]), 0, 1);
        *differ += a[i] != b[i];
    }
}

static void crops_are_parts_of_the_whole(void **state)
{
    const int sizes[][2] = {{64, 64}, {17, 64}, {64, 17},   {50, 33}, {33, 51},
                            {1, 5},   {5, 1},   {130, 100}, {31, 200}};
    pupil_rng rng = pupil_rng_at(3, PUPIL_STREAM_TEST, 0);
    int differ = 0, odd_crops = 0;
    for (int k = 0; k < PUPIL_COUNT(sizes) * 2; k++) {
        pupil_image im = noise(&rng, sizes[k / 2][0], sizes[k / 2][1]);
        pupil_preprocess p = pupil_preprocess_default(k % 3 ? 17 : 32);
        p.bilinear = k & 1;
        int s = p.size, side = PUPIL_MIN(im.w, im.h), w = s * im.w / side, h = s * im.h / side;
        uint8_t out[32 * 32 * 3];
        pupil_image whole = twin(&im, p.bilinear, w, h);
        assert_int_equal(pupil_preprocess_u8(&p, &im, out), 0);
        int x0 = (int)rint((w - s) / 2.0), y0 = (int)rint((h - s) / 2.0); /* halves to even */
        odd_crops += x0 != (w - s) / 2 || y0 != (h - s) / 2;
        for (int y = 0; y < s; y++)
            compare(out + y * s * 3, whole.rgb + ((size_t)(y0 + y) * (size_t)w + (size_t)x0) * 3,
                    (size_t)s * 3, &differ);
        p.mode = PUPIL_RESIZE_SHORTEST_HF;
        assert_int_equal(pupil_preprocess_u8(&p, &im, out), 0);
        x0 = (w - s) / 2, y0 = (h - s) / 2;
        for (int y = 0; y < s; y++)
            compare(out + y * s * 3, whole.rgb + ((size_t)(y0 + y) * (size_t)w + (size_t)x0) * 3,
                    (size_t)s * 3, &differ);
        pupil_image_free(&whole);
        p.mode = PUPIL_RESIZE_SQUASH;
        whole = twin(&im, p.bilinear, s, s);
        assert_int_equal(pupil_preprocess_u8(&p, &im, out), 0);
        compare(out, whole.rgb, (size_t)(s * s) * 3, &differ);
        pupil_image_free(&whole);
        pupil_image_free(&im);
    }
    assert_true(odd_crops > 0);
    assert_in_range(differ, 0, 5);
}

static void longest_is_padded_with_black(void **state)
{
    pupil_image im = {10, 4, pupil_alloc(120)};
    memset(im.rgb, 200, 120);
    pupil_preprocess p = pupil_preprocess_default(5);
    p.mode = PUPIL_RESIZE_LONGEST; /* 5 x 2, one row above and two below */
    uint8_t out[75];
    assert_int_equal(pupil_preprocess_u8(&p, &im, out), 0);
    for (int i = 0; i < 75; i++) assert_int_equal(out[i], i / 15 == 1 || i / 15 == 2 ? 200 : 0);
    im.h = 1; /* 10 x 1 at 4 px: a side of 0.4 */
    p.size = 4;
    assert_int_equal(pupil_preprocess_u8(&p, &im, out), PUPIL_EFORMAT);
    pupil_image_free(&im);
}

static void a_very_long_picture_costs_its_crop_alone(void **state)
{
    pupil_image im = {1 << 20, 1, pupil_alloc((size_t)3 << 20)};
    for (int i = 0; i < 1 << 20; i++) im.rgb[3 * i] = i == 1 << 19 ? 255 : 0;
    pupil_preprocess p = pupil_preprocess_default(64);
    uint8_t out[64 * 64 * 3];
    assert_int_equal(pupil_preprocess_u8(&p, &im, out),
                     0); /* the crop goes from one pixel's middle to the next */
    for (int i = 0; i < 64 * 64; i++) {
        double want = 255 * filter(false, 1 - (i % 64 + 0.5) / 64);
        assert_true(fabs(out[3 * i] - want) <= 1);
        assert_int_equal(out[3 * i + 1], 0);
    }
    pupil_image_free(&im);
}

static void identity_text_names_every_number(void **state)
{
    pupil_preprocess p = pupil_preprocess_default(64);
    pupil_buf b = {0};
    pupil_preprocess_text(&p, &b);
    assert_string_equal(b.s,
                        "size=64 mode=shortest interpolation=bicubic mean=0.48145466,0.4578275,0.40821073 "
                        "std=0.26862954,0.26130258,0.27577711");
    pupil_buf_free(&b);
}

/* ---- the oracle --------------------------------------------------------------------------------- */
static const struct {
    const char *name;
    int size;
    pupil_resize_mode mode;
} transform[] = {{"shortest64", 64, PUPIL_RESIZE_SHORTEST},
                 {"shortest224", 224, PUPIL_RESIZE_SHORTEST},
                 {"squash64", 64, PUPIL_RESIZE_SQUASH},
                 {"squash224", 224, PUPIL_RESIZE_SQUASH},
                 {"longest64", 64, PUPIL_RESIZE_LONGEST}};

static void check_tensor(pupil_h5 *h, const char *file, const char *name, const pupil_preprocess *p,
                         const uint8_t *u8)
{
    char *tensor = pupil_format("%s/rgb_first/%s/tensor_f32", file, name);
    size_t n = (size_t)p->size * (size_t)p->size * 3;
    float *got = pupil_alloc(n * 4), *want = pupil_alloc(n * 4);
    if (pupil_h5_has(h, tensor)) {
        assert_int_equal(pupil_h5_read(h, tensor, PUPIL_H5_F32, (int64_t)n, want), 0);
        pupil_preprocess_normalize(p, u8, got);
        for (size_t i = 0; i < n; i++) assert_float_equal(got[i], want[i], 1e-6);
    }
    pupil_free(&got);
    pupil_free(&want);
    pupil_free(&tensor);
}

/* Returns 1 when the oracle holds this transform of this file. */
static int check_transform(pupil_h5 *h, const char *file, const pupil_image *im, int k)
{
    char *u8 = pupil_format("%s/rgb_first/%s/u8", file, transform[k].name);
    int there = pupil_h5_has(h, u8);
    if (there) {
        pupil_preprocess p = pupil_preprocess_default(transform[k].size);
        p.mode = transform[k].mode;
        for (int c = 0; c < 3 && p.mode == PUPIL_RESIZE_SQUASH; c++) p.mean[c] = p.std[c] = 0.5;
        size_t n = (size_t)p.size * (size_t)p.size * 3;
        uint8_t *got = pupil_alloc(n), *want = pupil_alloc(n);
        assert_int_equal(pupil_h5_read(h, u8, PUPIL_H5_U8, (int64_t)n, want), 0);
        if (pupil_preprocess_u8(&p, im, got) < 0) fail_msg("%s: %s", u8, pupil_reason());
        if (memcmp(got, want, n)) fail_msg("%s: other bytes than Pillow's", u8);
        check_tensor(h, file, transform[k].name, &p, got);
        pupil_free(&got);
        pupil_free(&want);
    }
    pupil_free(&u8);
    return there;
}

static void oracle_bytes_are_pillows(void **state)
{
    const char *oracle = getenv("PUPIL_ORACLE");
    char *dir = pupil_format("%s/preprocess/images", oracle ? oracle : ""), **names;
    if (!oracle || !pupil_is_dir(dir)) {
        print_message("no oracle at %s: skipped\n", dir);
        pupil_free(&dir);
        skip();
    }
    char *path = pupil_format("%s/preprocess/expected.h5", oracle);
    pupil_h5 *h;
    int n, checked = 0;
    assert_int_equal(pupil_h5_open(path, &h), 0);
    assert_int_equal(pupil_list_dir(dir, "", "", &names, &n), 0);
    for (int i = 0; i < n; i++) {
        char *file = pupil_join(dir, names[i]), *bytes;
        size_t size;
        pupil_image im;
        assert_int_equal(pupil_read_file(file, 0, &bytes, &size), 0);
        if (pupil_image_decode(bytes, size, &im) < 0) fail_msg("%s: %s", file, pupil_reason());
        for (int k = 0; k < PUPIL_COUNT(transform); k++) checked += check_transform(h, names[i], &im, k);
        pupil_image_free(&im);
        pupil_free(&bytes);
        pupil_free(&file);
    }
    assert_int_equal(checked, 99); /* 32 files x 3 at 64 px, one of which cannot be, and 4 at 224 px */
    pupil_names_free(&names, n);
    assert_int_equal(pupil_h5_close(&h), 0);
    pupil_free(&path);
    pupil_free(&dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crops_are_parts_of_the_whole),
        cmocka_unit_test(longest_is_padded_with_black),
        cmocka_unit_test(a_very_long_picture_costs_its_crop_alone),
        cmocka_unit_test(identity_text_names_every_number),
        cmocka_unit_test(oracle_bytes_are_pillows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
