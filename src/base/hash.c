/* hash.c: SHA-256 (FIPS 180-4) for identities, CRC-32C for stored blocks (SSE4.2 where the CPU has it). */
#include "pupil/base.h"

#include <errno.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

static const uint32_t K[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static uint32_t ror(uint32_t x, int n) { return x >> n | x << (32 - n); }

static void sha_block(uint32_t h[8], const uint8_t *p)
{
    uint32_t w[64], v[8];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)p[4 * i] << 24 | (uint32_t)p[4 * i + 1] << 16 | (uint32_t)p[4 * i + 2] << 8 | p[4 * i + 3];
    for (int i = 16; i < 64; i++) {
        uint32_t a = w[i - 15], b = w[i - 2];
        w[i] = w[i - 16] + w[i - 7] + (ror(a, 7) ^ ror(a, 18) ^ a >> 3) + (ror(b, 17) ^ ror(b, 19) ^ b >> 10);
    }
    memcpy(v, h, sizeof v);
    for (int i = 0; i < 64; i++) {
        uint32_t t1 = v[7] + (ror(v[4], 6) ^ ror(v[4], 11) ^ ror(v[4], 25)) + ((v[4] & v[5]) ^ (~v[4] & v[6])) +
                      K[i] + w[i];
        uint32_t t2 = (ror(v[0], 2) ^ ror(v[0], 13) ^ ror(v[0], 22)) +
                      ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
        memmove(v + 1, v, 7 * sizeof v[0]);
        v[4] += t1;
        v[0] = t1 + t2;
    }
    for (int i = 0; i < 8; i++) h[i] += v[i];
}

void pupil_sha256_init(pupil_sha256 *s)
{
    static const uint32_t h0[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                   0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    memcpy(s->h, h0, sizeof h0);
    s->bytes = 0;
}

void pupil_sha256_add(pupil_sha256 *s, const void *bytes, size_t n)
{
    const uint8_t *p = bytes;
    size_t have = s->bytes % 64;
    s->bytes += n;
    if (have) {
        size_t take = PUPIL_MIN(64 - have, n);
        memcpy(s->block + have, p, take);
        p += take;
        n -= take;
        if (have + take < 64) return;
        sha_block(s->h, s->block);
    }
    for (; n >= 64; p += 64, n -= 64) sha_block(s->h, p);
    if (n) memcpy(s->block, p, n);
}

void pupil_sha256_hex(pupil_sha256 *s, char ret_hex[65])
{
    uint64_t bits = s->bytes * 8;
    uint8_t pad[72] = {0x80};
    size_t n = 64 - (s->bytes + 8) % 64;
    for (int i = 0; i < 8; i++) pad[n + (size_t)i] = (uint8_t)(bits >> (56 - 8 * i));
    pupil_sha256_add(s, pad, n + 8);
    for (int i = 0; i < 8; i++) snprintf(ret_hex + 8 * i, 9, "%08x", s->h[i]);
}

void pupil_sha256_of(const void *bytes, size_t n, char ret_hex[65])
{
    pupil_sha256 s;
    pupil_sha256_init(&s);
    pupil_sha256_add(&s, bytes, n);
    pupil_sha256_hex(&s, ret_hex);
}

int pupil_sha256_file(const char *path, char ret_hex[65])
{
    FILE *f = fopen(path, "rb");
    if (!f) return pupil_fail(PUPIL_EIO, "%s: %s", path, strerror(errno));
    pupil_sha256 s;
    pupil_sha256_init(&s);
    size_t cap = 1 << 20, n;
    uint8_t *block = pupil_alloc(cap);
    while ((n = fread(block, 1, cap, f)) > 0) pupil_sha256_add(&s, block, n);
    bool bad = ferror(f);
    fclose(f);
    pupil_free(&block);
    if (bad) return pupil_fail(PUPIL_EIO, "%s: read error", path);
    pupil_sha256_hex(&s, ret_hex);
    return 0;
}

static uint32_t crc_table[256];

__attribute__((constructor)) static void crc_fill(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int k = 0; k < 8; k++) c = c & 1 ? 0x82f63b78u ^ c >> 1 : c >> 1;
        crc_table[i] = c;
    }
}

#if defined(__x86_64__)
/* The instruction takes one word a cycle but answers after three: three stretches of CRC_RUN bytes are summed at once,
 * then moved behind one another. zeros[k][v] is what CRC_RUN zero bytes make of byte k = v of a sum. */
enum { CRC_RUN = 2048 };
static uint32_t zeros[4][256];

__attribute__((target("sse4.2"))) static uint32_t crc_word(uint32_t c, const uint8_t *p)
{
    uint64_t w;
    memcpy(&w, p, 8);
    return (uint32_t)_mm_crc32_u64(c, w);
}

__attribute__((constructor, target("sse4.2"))) static void zeros_fill(void)
{
    if (!__builtin_cpu_supports("sse4.2")) return;
    for (int k = 0; k < 4; k++) {
        for (uint32_t v = 1; v < 256; v <<= 1) {
            uint32_t c = v << 8 * k;
            for (int i = 0; i < CRC_RUN / 8; i++) c = (uint32_t)_mm_crc32_u64(c, 0);
            for (uint32_t low = 0; low < v; low++) zeros[k][v | low] = c ^ zeros[k][low];
        }
    }
}

static uint32_t behind(uint32_t c) { return zeros[0][c & 255] ^ zeros[1][c >> 8 & 255] ^ zeros[2][c >> 16 & 255] ^ zeros[3][c >> 24]; }

__attribute__((target("sse4.2"))) static uint32_t crc_sse42(uint32_t c, const uint8_t *p, size_t n)
{
    for (; n >= 3 * CRC_RUN; p += 3 * CRC_RUN, n -= 3 * CRC_RUN) {
        uint32_t c1 = 0, c2 = 0;
        for (const uint8_t *q = p; q < p + CRC_RUN; q += 8) {
            c = crc_word(c, q);
            c1 = crc_word(c1, q + CRC_RUN);
            c2 = crc_word(c2, q + 2 * CRC_RUN);
        }
        c = behind(behind(c) ^ c1) ^ c2;
    }
    for (; n >= 8; p += 8, n -= 8) c = crc_word(c, p);
    for (; n; p++, n--) c = _mm_crc32_u8(c, *p);
    return c;
}
#endif

uint32_t pupil_crc32c(uint32_t crc, const void *bytes, size_t n)
{
    const uint8_t *p = bytes;
    uint32_t c = ~crc;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("sse4.2")) return ~crc_sse42(c, p, n);
#endif
    for (; n; p++, n--) c = crc_table[(c ^ *p) & 255] ^ c >> 8;
    return ~c;
}

uint64_t pupil_fnv1a(const void *bytes, size_t n)
{
    const uint8_t *p = bytes;
    uint64_t h = 14695981039346656037u;
    for (size_t i = 0; i < n; i++) h = (h ^ p[i]) * 1099511628211u;
    return h;
}
