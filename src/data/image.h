/* image.h (private to data): one decoder a format behind pupil_image_decode(). */
#ifndef PUPIL_DATA_IMAGE_H
#define PUPIL_DATA_IMAGE_H

#include "pupil/data.h"

/* Pictures of w x h that `n` file bytes may claim: room for the RGB bytes in ret, or PUPIL_EFORMAT. `densest`
 * is the most pixels that one byte of this kind of file can hold: a header that claims more lies, and nothing
 * is allocated. */
int image_room(int64_t w, int64_t h, size_t n, int64_t densest, pupil_image *ret);

bool image_is_jpeg(const uint8_t *bytes, size_t n);
bool image_is_png(const uint8_t *bytes, size_t n);
bool image_is_webp(const uint8_t *bytes, size_t n);
int image_decode_jpeg(const uint8_t *bytes, size_t n, pupil_image *ret);
int image_decode_png(const uint8_t *bytes, size_t n, pupil_image *ret);
int image_decode_webp(const uint8_t *bytes, size_t n, pupil_image *ret);

#endif
