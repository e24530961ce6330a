/* Hashes against published vectors, random numbers against known answers and simple statistics. */
#include "../proof.h"

static void sha256_vectors(void **state)
{
    /* FIPS 180-4 examples (NIST CSRC) */
    static const struct {
        const char *text, *hex;
    } cases[] = {
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
        {"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmno"
         "pqrstnopqrstu",
         "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"},
    };
    char hex[65];
    for (int i = 0; i < PUPIL_COUNT(cases); i++) {
        pupil_sha256_of(cases[i].text, strlen(cases[i].text), hex);
        assert_string_equal(hex, cases[i].hex);
    }
    char *million = pupil_alloc(1000000);
    memset(million, 'a', 1000000);
    pupil_sha256_of(million, 1000000, hex);
    assert_string_equal(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    for (size_t step = 1; step < 200; step += 33) { /* the same bytes in pieces */
        pupil_sha256 s;
        pupil_sha256_init(&s);
        for (size_t at = 0; at < 1000000; at += step)
            pupil_sha256_add(&s, million + at, PUPIL_MIN(step, 1000000 - at));
        pupil_sha256_hex(&s, hex);
        assert_string_equal(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    }
    pupil_free(&million);
}

static void sha256_of_every_length_is_the_same_in_two_pieces(void **state)
{
    uint8_t bytes[300];
    for (int i = 0; i < 300; i++) bytes[i] = (uint8_t)(i * 37);
    for (size_t n = 0; n <= 300; n++) {
        char whole[65], parts[65];
        pupil_sha256_of(bytes, n, whole);
        pupil_sha256 s;
        pupil_sha256_init(&s);
        pupil_sha256_add(&s, bytes, n / 3);
        pupil_sha256_add(&s, bytes + n / 3, n - n / 3);
        pupil_sha256_hex(&s, parts);
        assert_string_equal(whole, parts);
    }
}

static void sha256_of_a_file(void **state)
{
    char *dir = folder_new(), *path = pupil_join(dir, "f"), hex[65];
    GOOD(pupil_write_file(path, "abc", 3));
    GOOD(pupil_sha256_file(path, hex));
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    char *none = pupil_join(dir, "none");
    BAD(pupil_sha256_file(none, hex), PUPIL_EIO, none);
    pupil_free(&none);
    pupil_free(&path);
    folder_end(&dir);
}

static uint32_t crc_by_bits(const uint8_t *p, size_t n)
{
    uint32_t c = 0xffffffffu;
    for (size_t i = 0; i < n; i++) {
        c ^= p[i];
        for (int k = 0; k < 8; k++) c = c & 1 ? c >> 1 ^ 0x82f63b78u : c >> 1;
    }
    return ~c;
}

static void crc32c_vectors(void **state)
{
    /* RFC 3720, B.4 */
    static const uint8_t read_pdu[48] = {0x01, 0xc0, 0, 0, 0, 0, 0,    0, 0,    0, 0, 0,    0, 0, 0, 0,
                                         0x14, 0,    0, 0, 0, 0, 0x04, 0, 0,    0, 0, 0x14, 0, 0, 0, 0x18,
                                         0x28, 0,    0, 0, 0, 0, 0,    0, 0x02, 0, 0, 0,    0, 0, 0, 0};
    uint8_t b[1024];
    memset(b, 0, 32);
    assert_int_equal(pupil_crc32c(0, b, 32), 0x8a9136aa);
    memset(b, 0xff, 32);
    assert_int_equal(pupil_crc32c(0, b, 32), 0x62a8ab43);
    for (int i = 0; i < 32; i++) b[i] = (uint8_t)i;
    assert_int_equal(pupil_crc32c(0, b, 32), 0x46dd794e);
    for (int i = 0; i < 32; i++) b[i] = (uint8_t)(31 - i);
    assert_int_equal(pupil_crc32c(0, b, 32), 0x113fdb5c);
    assert_int_equal(pupil_crc32c(0, read_pdu, 48), 0xd9963a56);
    assert_int_equal(pupil_crc32c(0, "123456789", 9), 0xe3069283);
    for (int i = 0; i < 1024; i++) b[i] = (uint8_t)(i * i + 3);
    for (size_t n = 0; n < 1000; n += 7) {
        size_t cut = n / 2, offset = n % 9;
        assert_int_equal(pupil_crc32c(0, b + offset, n), crc_by_bits(b + offset, n));
        assert_int_equal(pupil_crc32c(pupil_crc32c(0, b, cut), b + cut, n - cut), crc_by_bits(b, n));
    }
}

static void philox_known_answers(void **state)
{
    /* Random123's kat_vectors, philox4x32 10 rounds: counter, key, the first two words of the answer */
    static const struct {
        uint32_t counter[4], key[2], answer[2];
    } cases[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb}},
    };
    for (int i = 0; i < PUPIL_COUNT(cases); i++) { /* stream 0 leaves the seed as it is: the key */
        pupil_rng r = {.seed = (uint64_t)cases[i].key[1] << 32 | cases[i].key[0],
                       .index = (uint64_t)cases[i].counter[1] << 32 | cases[i].counter[0],
                       .counter = (uint64_t)cases[i].counter[3] << 32 | cases[i].counter[2]};
        uint64_t x = pupil_rng_next(&r);
        assert_int_equal((uint32_t)x, cases[i].answer[0]);
        assert_int_equal((uint32_t)(x >> 32), cases[i].answer[1]);
    }
}

static void draws_are_pure_functions(void **state)
{
    pupil_rng a = pupil_rng_at(7, PUPIL_STREAM_TEST, 5), b = a;
    for (int i = 0; i < 100; i++) assert_int_equal(pupil_rng_next(&a), pupil_rng_next(&b));
    assert_int_equal(pupil_rng_u64(7, 3, 9), pupil_rng_u64(7, 3, 9));
    assert_int_not_equal(pupil_rng_u64(7, 3, 9), pupil_rng_u64(8, 3, 9));
    assert_int_not_equal(pupil_rng_u64(7, 3, 9), pupil_rng_u64(7, 4, 9));
    assert_int_not_equal(pupil_rng_u64(7, 3, 9), pupil_rng_u64(7, 3, 10));
}

static void uniform_and_normal_moments(void **state)
{
    enum { N = 200000 };
    pupil_rng r = pupil_rng_at(1, PUPIL_STREAM_TEST, 0);
    double u1 = 0, u2 = 0, n1 = 0, n2 = 0, n4 = 0, inside = 0;
    for (int i = 0; i < N; i++) {
        double u = pupil_rng_uniform(&r), x = pupil_rng_normal(&r);
        assert_true(u >= 0 && u < 1 && isfinite(x));
        u1 += u / N, u2 += u * u / N;
        n1 += x / N, n2 += x * x / N, n4 += x * x * x * x / N;
        inside += (fabs(x) < 1) / (double)N;
    }
    /* five standard errors */
    assert_true(fabs(u1 - 0.5) < 5 * sqrt(1.0 / 12 / N) && fabs(u2 - 1.0 / 3) < 5 * sqrt(4.0 / 45 / N));
    assert_true(fabs(n1) < 5 / sqrt(N) && fabs(n2 - 1) < 5 * sqrt(2.0 / N) &&
                fabs(n4 - 3) < 5 * sqrt(96.0 / N));
    assert_true(fabs(inside - 0.6826895) < 5 * sqrt(0.2166 / N));
}

static void below_is_unbiased(void **state)
{
    pupil_rng r = pupil_rng_at(2, PUPIL_STREAM_TEST, 0);
    int count[7] = {0};
    for (int i = 0; i < 70000; i++) count[pupil_rng_below(&r, 7)]++;
    double chi = 0;
    for (int i = 0; i < 7; i++) chi += pow(count[i] - 10000, 2) / 10000;
    assert_true(chi < 27.9); /* 6 degrees of freedom, p = 1e-4 */
    for (int i = 0; i < 100; i++) assert_int_equal(pupil_rng_below(&r, 1), 0);
    for (int i = 0; i < 100; i++) assert_true(pupil_rng_below(&r, UINT64_C(1) << 63) < UINT64_C(1) << 63);
}

static void permute_is_a_permutation(void **state)
{
    static const uint64_t more[] = {1000, 1023, 1024, 1025, 4097, 65536, 65537, 100003};
    uint8_t *seen = pupil_alloc(100003);
    for (uint64_t k = 1; k <= 300 + PUPIL_COUNT(more); k++) {
        uint64_t n = k <= 300 ? k : more[k - 301], moved = 0;
        memset(seen, 0, n);
        for (uint64_t i = 0; i < n; i++) {
            uint64_t j = pupil_permute(11, PUPIL_STREAM_ORDER, k, n, i);
            assert_true(j < n);
            assert_int_equal(seen[j], 0);
            seen[j] = 1;
            moved += i != j;
        }
        if (n >= 20) CHECK(moved > n / 2, "n %d: only %d moved", (int)n, (int)moved);
    }
    pupil_free(&seen);
}

static void permute_spreads_positions_evenly(void **state)
{
    enum { EPOCHS = 20000 };
    static const struct {
        uint64_t n;
        double limit; /* chi-square on n-1 degrees of freedom, p = 1e-5 */
    } cases[] = {{3, 23.0}, {5, 28.5}, {10, 39.3}, {17, 51.8}};
    for (int k = 0; k < PUPIL_COUNT(cases); k++)
        for (uint64_t i = 0; i < cases[k].n; i += 2) { /* where position i goes, over epochs */
            double count[17] = {0}, chi = 0, mean = EPOCHS / (double)cases[k].n;
            for (uint64_t epoch = 0; epoch < EPOCHS; epoch++)
                count[pupil_permute(5, PUPIL_STREAM_ORDER, epoch, cases[k].n, i)]++;
            for (uint64_t j = 0; j < cases[k].n; j++) chi += pow(count[j] - mean, 2) / mean;
            CHECK(chi < cases[k].limit, "n %d, position %d: chi-square %.1f", (int)cases[k].n, (int)i, chi);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sha256_vectors),
        cmocka_unit_test(sha256_of_every_length_is_the_same_in_two_pieces),
        cmocka_unit_test(sha256_of_a_file),
        cmocka_unit_test(crc32c_vectors),
        cmocka_unit_test(philox_known_answers),
        cmocka_unit_test(draws_are_pure_functions),
        cmocka_unit_test(uniform_and_normal_moments),
        cmocka_unit_test(below_is_unbiased),
        cmocka_unit_test(permute_is_a_permutation),
        cmocka_unit_test(permute_spreads_positions_evenly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
