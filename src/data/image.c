/* image.c: picture bytes to RGB, whatever the format: told apart by their first bytes, never by a name, and
 * refused before anything is allocated where the size they claim cannot be. */
#include "image.h"

enum { PIXELS_MAX = 178956970 }; /* where Pillow refuses a picture as a decompression bomb */

void pupil_image_free(pupil_image *im)
{
    pupil_free(&im->rgb);
    im->w = im->h = 0;
}

int image_room(int64_t w, int64_t h, size_t n, int64_t densest, pupil_image *ret)
{
    if (w <= 0 || h <= 0)
        return pupil_fail(PUPIL_EFORMAT, "a picture of %lld x %lld pixels", (long long)w, (long long)h);
    if (w > PIXELS_MAX || h > PIXELS_MAX || w * h > PIXELS_MAX)
        return pupil_fail(PUPIL_EFORMAT, "%lld x %lld pixels; at most %d are read", (long long)w, (long long)h,
                          PIXELS_MAX);
    if (w * h / densest > (int64_t)n)
        return pupil_fail(PUPIL_EFORMAT, "%zu bytes cannot hold the %lld x %lld pixels they claim", n,
                          (long long)w, (long long)h);
    *ret = (pupil_image){(int)w, (int)h, pupil_alloc((size_t)(w * h) * 3)};
    return 0;
}

int pupil_image_decode(const void *bytes, size_t n, pupil_image *ret)
{
    if (image_is_jpeg(bytes, n)) return image_decode_jpeg(bytes, n, ret);
    if (image_is_png(bytes, n)) return image_decode_png(bytes, n, ret);
    if (image_is_webp(bytes, n)) return image_decode_webp(bytes, n, ret);
    return pupil_fail(PUPIL_EFORMAT, "neither JPEG, PNG nor WebP");
}
