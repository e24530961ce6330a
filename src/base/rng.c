/* rng.c: Philox 4x32-10 (Salmon, Moraes, Dror, Shaw, SC'11): random numbers as a pure function of
 * (seed, stream, index, draw), so any rank can compute any draw; and permutations with O(1) memory by a
 * balanced Feistel network with cycle walking. */
#include "pupil/base.h"

#include <math.h>

static void philox(const uint32_t key_in[2], uint32_t c[4])
{
    uint32_t k0 = key_in[0], k1 = key_in[1];
    for (int r = 0; r < 10; r++) {
        uint64_t a = (uint64_t)0xD2511F53u * c[0], b = (uint64_t)0xCD9E8D57u * c[2];
        uint32_t n0 = (uint32_t)(b >> 32) ^ c[1] ^ k0, n2 = (uint32_t)(a >> 32) ^ c[3] ^ k1;
        c[1] = (uint32_t)b;
        c[3] = (uint32_t)a;
        c[0] = n0;
        c[2] = n2;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
}

static uint64_t draw(uint64_t seed, uint32_t stream, uint64_t index, uint64_t counter)
{
    uint32_t key[2] = {(uint32_t)seed ^ stream * 0x85ebca6bu, (uint32_t)(seed >> 32) ^ stream};
    uint32_t c[4] = {(uint32_t)index, (uint32_t)(index >> 32), (uint32_t)counter, (uint32_t)(counter >> 32)};
    philox(key, c);
    return (uint64_t)c[1] << 32 | c[0];
}

uint64_t pupil_rng_u64(uint64_t seed, uint32_t stream, uint64_t index) { return draw(seed, stream, index, 0); }

pupil_rng pupil_rng_at(uint64_t seed, uint32_t stream, uint64_t index)
{
    return (pupil_rng){.seed = seed, .index = index, .counter = 0, .stream = stream};
}

uint64_t pupil_rng_next(pupil_rng *r) { return draw(r->seed, r->stream, r->index, r->counter++); }

double pupil_rng_uniform(pupil_rng *r) { return (double)(pupil_rng_next(r) >> 11) * 0x1p-53; }

uint64_t pupil_rng_below(pupil_rng *r, uint64_t n)
{
    PUPIL_REQUIRE(n > 0);
    uint64_t limit = UINT64_MAX - UINT64_MAX % n, x;
    do x = pupil_rng_next(r);
    while (x >= limit);
    return x % n;
}

double pupil_rng_normal(pupil_rng *r)
{
    double u = ((double)(pupil_rng_next(r) >> 11) + 0.5) * 0x1p-53; /* never 0 */
    double v = pupil_rng_uniform(r);
    return sqrt(-2 * log(u)) * cos(6.283185307179586 * v); /* Box-Muller */
}

uint64_t pupil_permute(uint64_t seed, uint32_t stream, uint64_t index, uint64_t n, uint64_t i)
{
    PUPIL_REQUIRE(i < n);
    int half = 1;
    while (half < 31 && (UINT64_C(1) << (2 * half)) < n) half++;
    uint64_t mask = (UINT64_C(1) << half) - 1;
    do {
        uint64_t left = i >> half, right = i & mask;
        for (uint64_t round = 0; round < 7; round++) { /* fewer are visibly uneven for n below 20 */
            uint64_t f = draw(seed, stream, index, (round << 58 | right) + (UINT64_C(1) << 57)) & mask;
            uint64_t next = left ^ f;
            left = right;
            right = next;
        }
        i = left << half | right;
    } while (i >= n);
    return i;
}
