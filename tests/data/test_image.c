/* Decoding against Pillow: the tiny pictures compiled in, and the oracle's 32 files by the hash of their
 * pixels. Hostile bytes: every prefix, flipped bytes, headers that lie about size. */
#include "pupil/data.h"
#include "tiny_images.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

/* Decode a copy of exactly n bytes, so that reading past them is seen by sanitizers. */
static int decode(const uint8_t *bytes, size_t n, pupil_image *ret)
{
    uint8_t *copy = malloc(n ? n : 1);
    assert_non_null(copy);
    if (n) memcpy(copy, bytes, n);
    int r = pupil_image_decode(copy, n, ret);
    free(copy);
    return r;
}

static int furthest(const uint8_t *a, const uint8_t *b, size_t n)
{
    int d = 0;
    for (size_t i = 0; i < n; i++) d = PUPIL_MAX(d, abs(a[i] - b[i]));
    return d;
}

static void tiny_pictures_decode_as_pillow_does(void **state)
{
    for (int i = 0; i < PUPIL_COUNT(tiny); i++) {
        const struct tiny *t = &tiny[i];
        pupil_image im = {0};
        if (decode(t->file, t->n, &im) < 0) fail_msg("%s: %s", t->name, pupil_reason());
        if (im.w != t->w || im.h != t->h) fail_msg("%s: %d x %d", t->name, im.w, im.h);
        int off = furthest(im.rgb, t->rgb, (size_t)t->w * (size_t)t->h * 3);
        if (off > t->off) fail_msg("%s: %d levels off", t->name, off);
        pupil_image_free(&im);
        assert_null(im.rgb);
    }
}

/* A prefix is refused; only a PNG whose pixels are all there may lack its end. */
static void every_prefix_is_refused_or_whole(void **state)
{
    for (int i = 0; i < PUPIL_COUNT(tiny); i++) {
        const struct tiny *t = &tiny[i];
        for (size_t n = 0; n < t->n; n++) {
            pupil_image im = {0};
            int r = decode(t->file, n, &im);
            if (r == 0) {
                if (strncmp(t->name, "png", 3) || n + 20 < t->n)
                    fail_msg("%s: %zu of %zu bytes were enough", t->name, n, t->n);
                assert_memory_equal(im.rgb, t->rgb, (size_t)t->w * (size_t)t->h * 3);
                pupil_image_free(&im);
            } else {
                assert_int_equal(r, PUPIL_EFORMAT);
                assert_null(im.rgb);
            }
        }
    }
}

static void flipped_bytes_never_do_harm(void **state)
{
    pupil_rng rng = pupil_rng_at(1, PUPIL_STREAM_TEST, 0);
    int refused = 0;
    for (int round = 0; round < 4000; round++) {
        const struct tiny *t = &tiny[round % PUPIL_COUNT(tiny)];
        uint8_t bytes[1024];
        memcpy(bytes, t->file, t->n);
        for (int k = 0; k < 3; k++) bytes[pupil_rng_below(&rng, t->n)] = (uint8_t)pupil_rng_next(&rng);
        pupil_image im = {0};
        int r = decode(bytes, t->n, &im);
        if (r == 0) {
            assert_true(im.w > 0 && im.h > 0 && (int64_t)im.w * im.h <= 178956970);
            pupil_image_free(&im);
        } else {
            assert_int_equal(r, PUPIL_EFORMAT);
            assert_null(im.rgb);
            refused++;
        }
    }
    assert_true(refused > 1000);
}

static void put32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++) p[i] = (uint8_t)(v >> (24 - 8 * i));
}

static void refused_png(uint32_t w, uint32_t h, const char *why)
{
    uint8_t bytes[sizeof png_rgb];
    memcpy(bytes, png_rgb, sizeof bytes);
    put32(bytes + 16, w);
    put32(bytes + 20, h);
    put32(bytes + 29, (uint32_t)crc32(0, bytes + 12, 17));
    pupil_image im = {0};
    assert_int_equal(decode(bytes, sizeof bytes, &im), PUPIL_EFORMAT);
    if (!strstr(pupil_reason(), why)) fail_msg("%u x %u: %s", w, h, pupil_reason());
    assert_null(im.rgb);
}

static void sizes_that_cannot_be_are_refused(void **state)
{
    refused_png(0, 3, "PNG: ");
    refused_png(3, 0, "PNG: ");
    refused_png(1 << 14, 1 << 14, "at most 178956970");
    refused_png(13377, 13377, "84 bytes cannot hold");
    refused_png(0x7fffffff, 0x7fffffff, "PNG: ");
    uint8_t jpeg[sizeof jpeg_420];
    memcpy(jpeg, jpeg_420, sizeof jpeg);
    size_t sof = 2;
    while (jpeg[sof + 1] != 0xc0) sof += 2 + (size_t)jpeg[sof + 2] * 256 + jpeg[sof + 3];
    memset(jpeg + sof + 5, 0xfe, 4);
    pupil_image im = {0};
    assert_int_equal(decode(jpeg, sizeof jpeg, &im), PUPIL_EFORMAT);
    assert_non_null(strstr(pupil_reason(), "at most 178956970"));
    jpeg[sof + 5] = jpeg[sof + 7] = 16;
    assert_int_equal(decode(jpeg, sizeof jpeg, &im), PUPIL_EFORMAT);
    assert_non_null(strstr(pupil_reason(), "cannot hold"));
    assert_int_equal(decode((const uint8_t *)"GIF89a..........", 16, &im), PUPIL_EFORMAT);
    assert_string_equal(pupil_reason(), "neither JPEG, PNG nor WebP");
}

static void png_comes_back_as_it_was(void **state)
{
    const int sizes[][2] = {{1, 1}, {7, 1}, {1, 9}, {33, 20}};
    pupil_rng rng = pupil_rng_at(2, PUPIL_STREAM_TEST, 0);
    for (int k = 0; k < PUPIL_COUNT(sizes); k++) {
        size_t n = (size_t)sizes[k][0] * (size_t)sizes[k][1] * 3;
        pupil_image im = {sizes[k][0], sizes[k][1], pupil_alloc(n)}, back = {0};
        for (size_t i = 0; i < n; i++) im.rgb[i] = (uint8_t)pupil_rng_next(&rng);
        pupil_buf file = {0};
        pupil_buf_puts(&file, "before"); /* the file is added to what is there */
        assert_int_equal(pupil_image_encode_png(&im, &file), 0);
        assert_int_equal(decode((uint8_t *)file.s + 6, file.len - 6, &back), 0);
        assert_int_equal(back.w, im.w);
        assert_int_equal(back.h, im.h);
        assert_memory_equal(back.rgb, im.rgb, n);
        pupil_image_free(&im);
        pupil_image_free(&back);
        pupil_buf_free(&file);
    }
}

static void oracle_files_have_pillows_pixels(void **state)
{
    const char *oracle = getenv("PUPIL_ORACLE");
    char *list = pupil_format("%s/preprocess/images.json", oracle ? oracle : "");
    if (!oracle || !pupil_exists(list)) {
        print_message("no oracle at %s: skipped\n", list);
        pupil_free(&list);
        skip();
    }
    json_t *all = json_load_file(list, 0, NULL), *one;
    assert_non_null(all);
    size_t i;
    json_array_foreach(json_object_get(all, "images"), i, one)
    {
        const char *name = json_string_value(json_object_get(one, "file"));
        char *path = pupil_format("%s/preprocess/images/%s", oracle, name), *bytes, hex[65];
        size_t n;
        pupil_image im;
        assert_int_equal(pupil_read_file(path, 0, &bytes, &n), 0);
        if (decode((uint8_t *)bytes, n, &im) < 0) fail_msg("%s: %s", name, pupil_reason());
        pupil_sha256_of(im.rgb, (size_t)im.w * (size_t)im.h * 3, hex);
        if (strcmp(hex, json_string_value(json_object_get(one, "decoded_rgb_sha256"))))
            fail_msg("%s: other pixels than Pillow's", name);
        pupil_image_free(&im);
        pupil_free(&bytes);
        pupil_free(&path);
    }
    assert_int_equal(i, 32);
    json_decref(all);
    pupil_free(&list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tiny_pictures_decode_as_pillow_does),
        cmocka_unit_test(every_prefix_is_refused_or_whole),
        cmocka_unit_test(flipped_bytes_never_do_harm),
        cmocka_unit_test(sizes_that_cannot_be_are_refused),
        cmocka_unit_test(png_comes_back_as_it_was),
        cmocka_unit_test(oracle_files_have_pillows_pixels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
