/* Views: boxes by torchvision's rule (its own statistics and fallbacks are the expectation), pixels to the
 * byte as Pillow crops and resizes, the same part of the picture at every tower's size. */
#include "../proof.h"

#include "pupil/data.h"

#define RECIPE(s0, s1, r0, r1, mirrored)                                                                     \
    {                                                                                                        \
        .crop = true, .scale = {s0, s1}, .ratio = {r0, r1}, .flip = mirrored, .seed = 1                      \
    }

/* ---- boxes -------------------------------------------------------------------------------------- */
static bool same(const pupil_view *a, const pupil_view *b)
{
    return a->x == b->x && a->y == b->y && a->w == b->w && a->h == b->h && a->flip == b->flip &&
           a->whole == b->whole;
}

static void views_are_a_function_of_seed_sample_and_view(void **state)
{
    pupil_view_recipe r = RECIPE(0.1, 1, 0.75, 4.0 / 3, true), other = r;
    other.seed = 2;
    enum { N = 300 };
    int equal[3] = {0};
    for (int64_t s = 0; s < N; s++) {
        pupil_view v = pupil_view_at(&r, s, 0, 640, 480), again = pupil_view_at(&r, s, 0, 640, 480),
                   next[] = {pupil_view_at(&r, s + 1, 0, 640, 480), pupil_view_at(&r, s, 1, 640, 480),
                             pupil_view_at(&other, s, 0, 640, 480)};
        assert_true(same(&v, &again));
        for (int k = 0; k < 3; k++) equal[k] += same(&v, &next[k]);
    }
    for (int k = 0; k < 3; k++) assert_int_equal(equal[k], 0);
}

static void boxes_keep_their_bounds(void **state)
{
    static const int size[][2] = {{640, 480}, {480, 640}, {224, 224}, {31, 500},
                                  {3, 2},     {1, 1},     {5000, 7},  {7, 5000}};
    static const pupil_view_recipe recipes[] = {
        RECIPE(0.9, 1, 0.75, 4.0 / 3, false), RECIPE(0.08, 1, 0.75, 4.0 / 3, true),
        RECIPE(0.3, 0.3, 2, 2, false), RECIPE(0.01, 0.02, 0.1, 10, true),
        RECIPE(1e-6, 1e-6, 100, 100, false)};
    int drawn = 0;
    for (int i = 0; i < PUPIL_COUNT(recipes); i++)
        for (int k = 0; k < PUPIL_COUNT(size); k++)
            for (int64_t s = 0; s < 500; s++) {
                const pupil_view_recipe *r = &recipes[i];
                int w = size[k][0], h = size[k][1];
                pupil_view v = pupil_view_at(r, s, 0, w, h);
                assert_true(!v.whole && (!v.flip || r->flip));
                assert_true(v.w >= 1 && v.h >= 1 && v.x >= 0 && v.y >= 0 && v.x + v.w <= w && v.y + v.h <= h);
                if (v.w == w || v.h == h) continue; /* what had no place may be of another shape */
                drawn++;
                double least = (v.w - 0.5) * (v.h - 0.5), most = (v.w + 0.5) * (v.h + 0.5),
                       area = (double)w * h;
                assert_true(most >= r->scale[0] * area * (1 - 1e-9) &&
                            least <= r->scale[1] * area * (1 + 1e-9));
                assert_true((v.w + 0.5) / (v.h - 0.5) >= r->ratio[0] * (1 - 1e-9) &&
                            (v.w - 0.5) / (v.h + 0.5) <= r->ratio[1] * (1 + 1e-9));
            }
    assert_true(drawn > 5000);
}

/* Means over 100,000 draws of torchvision 0.14's get_params, and their standard deviations: x, y, w, h,
 * log(w/h). */
static void statistics_are_torchvisions(void **state)
{
    static const struct {
        int w, h;
        pupil_view_recipe r;
        double mean[5], sd[5];
    } cases[] = {{301,
                  199,
                  RECIPE(0.08, 1, 0.75, 4.0 / 3, true),
                  {74.8167, 27.2043, 150.8728, 144.5607, 0.0311},
                  {50.666, 26.4039, 45.199, 36.4726, 0.1644}},
                 {120,
                  500,
                  RECIPE(0.2, 0.9, 0.5, 2, true),
                  {4.9306, 156.2166, 110.1427, 186.8479, -0.5052},
                  {6.9756, 84.5183, 10.787, 43.3992, 0.2098}}};
    enum { N = 100000 };
    for (int k = 0; k < PUPIL_COUNT(cases); k++) {
        double sum[5] = {0}, square[5] = {0}, flips = 0;
        for (int64_t s = 0; s < N; s++) {
            pupil_view v = pupil_view_at(&cases[k].r, s, 0, cases[k].w, cases[k].h);
            double x[] = {v.x, v.y, v.w, v.h, log((double)v.w / v.h)};
            for (int i = 0; i < 5; i++) sum[i] += x[i], square[i] += x[i] * x[i];
            flips += v.flip;
        }
        for (int i = 0; i < 5; i++) {
            double mean = sum[i] / N, sd = sqrt(square[i] / N - mean * mean), want = cases[k].sd[i];
            CHECK(fabs(mean - cases[k].mean[i]) < 4.5 * want * sqrt(2.0 / N),
                  "case %d, mean %d is %g, torchvision's %g", k, i, mean, cases[k].mean[i]);
            CHECK(fabs(sd / want - 1) < 0.015, "case %d, deviation %d is %g, torchvision's %g", k, i, sd,
                  want);
        }
        assert_true(fabs(flips / N - 0.5) < 4.5 * 0.5 / sqrt(N));
    }
}

static void what_never_fits_is_cut_from_the_middle(void **state)
{
    static const struct {
        int w, h;
        double scale, low, high;
        int x, y, bw, bh; /* torchvision's */
    } cases[] = {{1000, 10, 0.9, 0.75, 4.0 / 3, 493, 0, 13, 10},
                 {10, 1000, 0.9, 0.75, 4.0 / 3, 0, 493, 10, 13},
                 {100, 90, 1, 1, 1, 5, 0, 90, 90},
                 {7, 5, 1, 1.4, 1.4, 0, 0, 7, 5},
                 {1001, 2, 0.9, 0.25, 1.25, 499, 0, 2, 2},
                 {301, 199, 0.9, 0.75, 4.0 / 3, 18, 0, 265, 199}};
    for (int k = 0; k < PUPIL_COUNT(cases); k++) {
        pupil_view_recipe r = RECIPE(cases[k].scale, 1, cases[k].low, cases[k].high, false);
        for (int64_t s = 0; s < 20; s++) {
            pupil_view v = pupil_view_at(&r, s, 0, cases[k].w, cases[k].h);
            CHECK(v.x == cases[k].x && v.y == cases[k].y && v.w == cases[k].bw && v.h == cases[k].bh,
                  "case %d: %d x %d at %d, %d", k, v.w, v.h, v.x, v.y);
        }
    }
}

static void whole_pictures(void **state)
{
    pupil_view_recipe r = {.seed = 1};
    pupil_view v = pupil_view_at(&r, 3, 0, 40, 30);
    assert_true(v.whole && !v.flip && v.w == 40 && v.h == 30);
    r.flip = true;
    int flips = 0;
    for (int64_t s = 0; s < 1000; s++) flips += pupil_view_at(&r, s, 0, 40, 30).flip;
    assert_in_range(flips, 430, 570);
}

/* ---- pixels ------------------------------------------------------------------------------------- */
enum { W = 301, H = 199 };
static pupil_image pattern(void)
{
    pupil_image im = {W, H, pupil_alloc(W * H * 3)};
    for (int y = 0; y < H; y++)
        for (int x = 0; x < W; x++)
            for (int c = 0; c < 3; c++)
                im.rgb[(y * W + x) * 3 + c] =
                    (uint8_t)(x * x * (c + 3) / 7 + y * (11 - 2 * c) + x * y * (c + 1) / 5 +
                              ((x / 9 + y / 7) % 3 == c ? 97 : 0));
    return im;
}

/* SHA-256 over the SHA-256s of Pillow 9.4's crop(box).resize(): 48 and 97 px, bicubic and bilinear, as is and
 * mirrored. */
static void pixels_are_pillows(void **state)
{
    static const struct {
        pupil_view box;
        const char *sha;
    } cases[] = {
        {{0, 0, 301, 199, false, false}, "65eca0f66cbc3955ba5e86d81e33f7eb81488841007d5d71c732d1264ce8d4ac"},
        {{10, 20, 64, 64, false, false}, "5f569b9dac06ad36cb949e2e45ad29ca61ffef254d82b94ad97db7daa9a3589b"},
        {{100, 0, 201, 199, false, false},
         "0124b143e1ff715d6edb41349df9475ea887a21f8c719337737c774da97640ed"},
        {{37, 51, 90, 33, false, false}, "ce9eb0a640e2366326f38a9ebca3c70c0031b9d8e36ab79a924d3ef3b30bcc29"},
        {{299, 0, 2, 199, false, false}, "ecd0723250c41838161b4c36a8439e4e0c02ca6946b845baa3336f2a777192b1"},
        {{5, 198, 200, 1, false, false}, "fec98d2834c4a4125f77dc46bfb6518e7fa1f530f4bd96447e1b8c554c0366d9"},
        {{17, 3, 48, 48, false, false}, "ccfd2a88e1bb18d8a2f6795a309f6d1fa1dfe9b49af3597c1e6d8faa2f646a01"},
        {{60, 60, 1, 1, false, false}, "345848c7fc93ad5607467878644ebc5eba5b19a5d04fd33a8e02154ead402003"},
    };
    pupil_image im = pattern();
    for (int k = 0; k < PUPIL_COUNT(cases); k++) {
        pupil_buf all = {0};
        char hex[65];
        for (int i = 0; i < 8; i++) {
            uint8_t out[97 * 97 * 3];
            pupil_view v = cases[k].box;
            pupil_preprocess p = pupil_preprocess_default(i < 4 ? 48 : 97);
            p.mode = PUPIL_RESIZE_LONGEST; /* of no effect on a box */
            p.bilinear = i & 2;
            v.flip = i & 1;
            GOOD(pupil_preprocess_view(&p, &im, &v, out));
            pupil_sha256_of(out, (size_t)p.size * (size_t)p.size * 3, hex);
            pupil_buf_puts(&all, hex);
        }
        pupil_sha256_of(all.s, all.len, hex);
        CHECK(!strcmp(hex, cases[k].sha), "case %d: other bytes than Pillow's", k);
        pupil_buf_free(&all);
    }
    pupil_image_free(&im);
}

static void whole_views_keep_the_towers_own_mode(void **state)
{
    pupil_image im = pattern();
    uint8_t plain[32 * 32 * 3], view[32 * 32 * 3];
    for (int mode = 0; mode < 3; mode++) {
        pupil_preprocess p = pupil_preprocess_default(32);
        p.mode = (pupil_resize_mode)mode;
        GOOD(pupil_preprocess_u8(&p, &im, plain));
        GOOD(pupil_preprocess_view(&p, &im, &(pupil_view){.w = W, .h = H, .whole = true}, view));
        assert_memory_equal(plain, view, sizeof plain);
        GOOD(
            pupil_preprocess_view(&p, &im, &(pupil_view){.w = W, .h = H, .whole = true, .flip = true}, view));
        for (int y = 0; y < 32; y++)
            for (int x = 0; x < 32; x++)
                assert_memory_equal(plain + (y * 32 + x) * 3, view + (y * 32 + 31 - x) * 3, 3);
    }
    pupil_image_free(&im);
}

/* Red tells x and green tells y: what two towers of different size and interpolation see is the same box, the
 * one drawn. */
static void teacher_and_student_see_the_same_part(void **state)
{
    pupil_image im = {250, 200, pupil_alloc(250 * 200 * 3)};
    for (int i = 0; i < 250 * 200; i++)
        im.rgb[3 * i] = (uint8_t)(i % 250), im.rgb[3 * i + 1] = (uint8_t)(i / 250);
    pupil_view_recipe r = RECIPE(0.2, 0.8, 0.75, 4.0 / 3, true);
    for (int64_t s = 0; s < 50; s++) {
        pupil_view v = pupil_view_at(&r, s, 0, im.w, im.h);
        for (int tower = 0; tower < 2; tower++) {
            uint8_t out[64 * 64 * 3];
            pupil_preprocess p = pupil_preprocess_default(tower ? 64 : 16);
            p.bilinear = tower;
            p.mode = tower ? PUPIL_RESIZE_SQUASH : PUPIL_RESIZE_SHORTEST;
            GOOD(pupil_preprocess_view(&p, &im, &v, out));
            double mean[2] = {0}, left = out[0], right = out[3 * (p.size - 1)];
            for (int i = 0; i < p.size * p.size; i++)
                for (int c = 0; c < 2; c++) mean[c] += (double)out[3 * i + c] / (p.size * p.size);
            assert_true(fabs(mean[0] - (v.x + (v.w - 1) / 2.0)) < 0.6 &&
                        fabs(mean[1] - (v.y + (v.h - 1) / 2.0)) < 0.6);
            assert_int_equal(left > right, v.flip);
            assert_true(fabs(fabs(right - left) - v.w * (1 - 1.0 / p.size)) < 3);
        }
    }
    pupil_image_free(&im);
}

static void identities_name_the_recipe(void **state)
{
    static const struct {
        pupil_view_recipe r;
        const char *text;
    } cases[] = {
        {{.seed = 9, .scale = {0.9, 1}}, "whole picture"},
        {{.seed = 9, .flip = true}, "whole picture flip=yes seed=9"},
        {RECIPE(0.9, 1, 0.75, 1.3333333333, false),
         "random_resized_crop scale=0.9,1 ratio=0.75,1.3333333333 flip=no seed=1"},
        {RECIPE(0.08, 0.5, 0.5, 2, true), "random_resized_crop scale=0.08,0.5 ratio=0.5,2 flip=yes seed=1"},
    };
    for (int k = 0; k < PUPIL_COUNT(cases); k++) {
        pupil_buf b = {0};
        pupil_view_text(&cases[k].r, &b);
        assert_string_equal(b.s, cases[k].text);
        pupil_buf_free(&b);
    }
    pupil_view_recipe r = pupil_view_of_conf(&(pupil_conf_view){.crop = true,
                                                                .scale_min = 0.1,
                                                                .scale_max = 0.2,
                                                                .ratio_min = 0.3,
                                                                .ratio_max = 0.4,
                                                                .flip = true,
                                                                .seed = 5});
    assert_true(r.crop && r.scale[0] == 0.1 && r.scale[1] == 0.2 && r.ratio[0] == 0.3 && r.ratio[1] == 0.4 &&
                r.flip && r.seed == 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(views_are_a_function_of_seed_sample_and_view),
        cmocka_unit_test(boxes_keep_their_bounds),
        cmocka_unit_test(statistics_are_torchvisions),
        cmocka_unit_test(what_never_fits_is_cut_from_the_middle),
        cmocka_unit_test(whole_pictures),
        cmocka_unit_test(pixels_are_pillows),
        cmocka_unit_test(whole_views_keep_the_towers_own_mode),
        cmocka_unit_test(teacher_and_student_see_the_same_part),
        cmocka_unit_test(identities_name_the_recipe),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
