/* Any bytes as a picture: decoded, resized in all ways, or refused. */
#include "pupil/data.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    static uint8_t out[24 * 24 * 3];
    for (int on_white = 0; on_white < 2; on_white++) {
        pupil_image im;
        if (pupil_image_decode(bytes, n, on_white, &im) < 0) continue;
        for (int k = 0; k < 6 && (int64_t)im.w * im.h < 1 << 20; k++) {
            pupil_preprocess p = pupil_preprocess_default(24);
            p.mode = (pupil_resize_mode)(k / 2);
            p.bilinear = k % 2;
            pupil_preprocess_u8(&p, &im, out);
        }
        pupil_image_free(&im);
    }
    return 0;
}
