/* half.h: IEEE half floats in bulk. */
#ifndef STORE_HALF_H
#define STORE_HALF_H

#include <stdbool.h>
#include <stdint.h>

/** src[n] rounded to nearest, ties to even. Returns n, or the index of the first value that is not finite or
 *  becomes infinite (65520 and above); dst is then of no use. */
int64_t half_pack(uint16_t *dst, const float *src, int64_t n);
/** Exact. False if a value is not finite. */
bool half_unpack(float *dst, const uint16_t *src, int64_t n);

bool floats_finite(const float *x, int64_t n);

/* The plain twins that define the first two. */
int64_t half_pack_plain(uint16_t *dst, const float *src, int64_t n);
bool half_unpack_plain(float *dst, const uint16_t *src, int64_t n);

#endif
