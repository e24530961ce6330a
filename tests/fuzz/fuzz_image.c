/* Any bytes as a picture: decoded, resized in all ways, cut into views, or refused. */
#include "pupil/data.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    static uint8_t out[24 * 24 * 3];
    pupil_image im;
    if (pupil_image_decode(bytes, n, &im) < 0) return 0;
    const pupil_view_recipe recipe = {.crop = true, .scale = {0.01, 1}, .ratio = {0.1, 10}, .flip = true};
    for (int k = 0; k < 6 && (int64_t)im.w * im.h < 1 << 20; k++) {
        pupil_preprocess p = pupil_preprocess_default(24);
        p.mode = (pupil_resize_mode)(k / 2);
        p.bilinear = k % 2;
        pupil_preprocess_u8(&p, &im, out);
        pupil_view v = pupil_view_at(&recipe, (int64_t)n, k, im.w, im.h);
        pupil_preprocess_view(&p, &im, &v, out);
    }
    pupil_image_free(&im);
    return 0;
}
