/* image_webp.c: still WebP pictures, lossy or lossless, to RGB through libwebp. */
#include "image.h"

#include <string.h>
#include <webp/decode.h>

static size_t u32le(const uint8_t *p)
{
    return (size_t)p[0] | (size_t)p[1] << 8 | (size_t)p[2] << 16 | (size_t)p[3] << 24;
}

bool image_is_webp(const uint8_t *bytes, size_t n)
{
    return n >= 12 && memcmp(bytes, "RIFF", 4) == 0 && memcmp(bytes + 8, "WEBP", 4) == 0;
}

int image_decode_webp(const uint8_t *bytes, size_t n, pupil_image *ret)
{
    WebPBitstreamFeatures f;
    if (u32le(bytes + 4) + 8 > n)
        return pupil_fail(PUPIL_EFORMAT, "WebP: the file ends before its picture does");
    if (WebPGetFeatures(bytes, n, &f) != VP8_STATUS_OK)
        return pupil_fail(PUPIL_EFORMAT, "WebP: a damaged header");
    if (f.has_animation) return pupil_fail(PUPIL_EFORMAT, "WebP: an animation, not a picture");
    pupil_image im;
    PUPIL_TRY(image_room(f.width, f.height, n, INT64_MAX, &im)); /* one colour takes 26 bytes at any size */
    if (!WebPDecodeRGBInto(bytes, n, im.rgb, (size_t)im.w * (size_t)im.h * 3, im.w * 3)) {
        pupil_image_free(&im);
        return pupil_fail(PUPIL_EFORMAT, "WebP: damaged picture data");
    }
    *ret = im;
    return 0;
}
