/* half.c: float <-> IEEE half and bfloat16, by the CPU's own instructions where it has them, else by arithmetic on
 * the bits. Guarantees: both ways give the same bits for all finite values; nothing becomes infinite unnoticed. */
#include "pupil/base.h"

#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

static uint16_t to_half(float x)
{
    uint32_t u, sign, rest;
    memcpy(&u, &x, 4);
    sign = u >> 16 & 0x8000;
    rest = u & 0x7fffffff;
    if (rest >= 0x477ff000) return (uint16_t)(sign | 0x7c00); /* rounds to 65536 or more, or is not finite */
    if (rest < 0x33000000) return (uint16_t)sign;             /* below half of the smallest subnormal */
    uint32_t exponent = rest >> 23, mantissa = rest & 0x7fffff, drop = 13, out = 0;
    if (exponent < 113) { /* subnormal half: the implicit one becomes a bit like the others */
        mantissa |= 0x800000;
        drop = 126 - exponent;
    } else {
        out = (exponent - 112) << 10;
    }
    uint32_t kept = mantissa >> drop, lost = mantissa & ((1u << drop) - 1), tie = 1u << (drop - 1);
    if (lost > tie || (lost == tie && kept & 1)) kept++;
    return (uint16_t)(sign |
                      (out + kept)); /* a carry out of the mantissa raises the exponent, as it should */
}

static float from_half(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 31, mantissa = h & 0x3ff, u;
    if (exponent == 0) { /* zero or subnormal: mantissa * 2^-24 */
        float x = (float)mantissa * 0x1p-24f;
        return sign ? -x : x;
    }
    u = sign | (exponent == 31 ? 255u : exponent + 112) << 23 | mantissa << 13;
    float x;
    memcpy(&x, &u, 4);
    return x;
}

int64_t pupil_plain_f16_pack(uint16_t *dst, const float *src, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        dst[i] = to_half(src[i]);
        if ((dst[i] & 0x7c00) == 0x7c00) return i;
    }
    return n;
}

bool pupil_plain_f16_unpack(float *dst, const uint16_t *src, int64_t n)
{
    bool finite = true;
    for (int64_t i = 0; i < n; i++) {
        dst[i] = from_half(src[i]);
        finite &= (src[i] & 0x7c00) != 0x7c00;
    }
    return finite;
}

bool pupil_floats_finite(const float *x, int64_t n)
{
    uint32_t bad = 0;
    for (int64_t i = 0; i < n; i++) {
        uint32_t u;
        memcpy(&u, x + i, sizeof u);
        bad |= (u & 0x7f800000) == 0x7f800000;
    }
    return !bad;
}

#if defined(__x86_64__)
__attribute__((target("avx2,f16c"))) static int64_t pack_f16c(uint16_t *dst, const float *src, int64_t n)
{
    const __m128i infinite = _mm_set1_epi16(0x7c00);
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m128i h = _mm256_cvtps_ph(_mm256_loadu_ps(src + i), _MM_FROUND_TO_NEAREST_INT);
        if (_mm_movemask_epi8(_mm_cmpeq_epi16(_mm_and_si128(h, infinite), infinite))) break;
        _mm_storeu_si128((__m128i *)(void *)(dst + i), h);
    }
    return i + pupil_plain_f16_pack(dst + i, src + i, n - i); /* the tail, or the place of the bad value */
}

__attribute__((target("avx2,f16c"))) static bool unpack_f16c(float *dst, const uint16_t *src, int64_t n)
{
    const __m128i infinite = _mm_set1_epi16(0x7c00);
    __m128i bad = _mm_setzero_si128();
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m128i h = _mm_loadu_si128((const __m128i *)(const void *)(src + i));
        bad = _mm_or_si128(bad, _mm_cmpeq_epi16(_mm_and_si128(h, infinite), infinite));
        _mm256_storeu_ps(dst + i, _mm256_cvtph_ps(h));
    }
    return pupil_plain_f16_unpack(dst + i, src + i, n - i) && !_mm_movemask_epi8(bad);
}

static bool fast(void)
{
    return __builtin_cpu_supports("avx2"); /* every AVX2 processor has F16C, which clang cannot ask for */
}
#else
#define pack_f16c   pupil_plain_f16_pack
#define unpack_f16c pupil_plain_f16_unpack
static bool fast(void)
{
    return false;
}
#endif

int64_t pupil_f16_pack(uint16_t *dst, const float *src, int64_t n)
{
    return fast() ? pack_f16c(dst, src, n) : pupil_plain_f16_pack(dst, src, n);
}

bool pupil_f16_unpack(float *dst, const uint16_t *src, int64_t n)
{
    return fast() ? unpack_f16c(dst, src, n) : pupil_plain_f16_unpack(dst, src, n);
}

bool pupil_bf16_unpack(float *dst, const uint16_t *src, int64_t n)
{
    uint32_t bad = 0;
    for (int64_t i = 0; i < n; i++) {
        uint32_t u = (uint32_t)src[i] << 16;
        bad |= (u & 0x7f800000) == 0x7f800000;
        memcpy(dst + i, &u, sizeof u);
    }
    return !bad;
}
