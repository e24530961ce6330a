/* replay.c: a fuzz target without libFuzzer, so that every build runs it: the seeds as they are, then cut,
 * overwritten and spliced by a generator that is the same every time. fuzz_NAME RUNS [FILE|FOLDER...] a file
 * that crashes a target is given the same way */
#include "pupil/base.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

typedef struct {
    char *bytes;
    size_t n;
} seed;
static seed *seeds;
static int64_t nseeds, cap;

enum { SEED_MAX = 1 << 16 };

static void add(const char *path)
{
    if (pupil_is_dir(path)) {
        char **names;
        int n;
        if (pupil_list_dir(path, "", "", &names, &n) < 0) return;
        for (int i = 0; i < n; i++) {
            char *file = pupil_join(path, names[i]);
            if (!pupil_is_dir(file)) add(file);
            pupil_free(&file);
        }
        pupil_names_free(&names, n);
        return;
    }
    PUPIL_GROW(seeds, nseeds, cap);
    if (pupil_read_file(path, SEED_MAX, &seeds[nseeds].bytes, &seeds[nseeds].n) == 0) nseeds++;
}

/* A fresh copy of a seed with a few wounds, in a block of exactly its size. */
static uint8_t *wound(uint64_t run, size_t *ret_n)
{
    pupil_rng r = pupil_rng_at(11, PUPIL_STREAM_TEST, run);
    const seed *s = &seeds[pupil_rng_below(&r, (uint64_t)nseeds)],
               *other = &seeds[pupil_rng_below(&r, (uint64_t)nseeds)];
    size_t n = s->n && pupil_rng_below(&r, 4) == 0 ? (size_t)pupil_rng_below(&r, s->n + 1) : s->n;
    uint8_t *bytes = malloc(n ? n : 1);
    PUPIL_REQUIRE(bytes != NULL);
    memcpy(bytes, s->bytes, n);
    for (uint64_t k = pupil_rng_below(&r, 8); k > 0 && n > 0; k--) {
        size_t at = (size_t)pupil_rng_below(&r, n),
               len = (size_t)pupil_rng_below(&r, PUPIL_MIN(n - at, (size_t)16)) + 1;
        uint64_t how = pupil_rng_below(&r, 4);
        if (how == 0) bytes[at] ^= (uint8_t)(1u << pupil_rng_below(&r, 8));
        else if (how == 1) memset(bytes + at, (int)pupil_rng_below(&r, 2) * 255, len);
        else if (how == 2) bytes[at] = (uint8_t)pupil_rng_next(&r);
        else if (other->n >= len)
            memcpy(bytes + at, other->bytes + pupil_rng_below(&r, other->n - len + 1), len);
    }
    *ret_n = n;
    return bytes;
}

int main(int argc, char **argv)
{
    uint64_t runs = argc > 1 ? strtoull(argv[1], NULL, 10) : 0;
    pupil_log_set_level(PUPIL_LOG_ERROR);
    for (int i = 2; i < argc; i++) add(argv[i]);
    if (nseeds == 0) { /* bytes from nowhere */
        char *noise = pupil_alloc(512);
        for (int i = 0; i < 512; i++) noise[i] = (char)pupil_rng_u64(11, PUPIL_STREAM_TEST, (uint64_t)i);
        PUPIL_GROW(seeds, nseeds, cap);
        seeds[nseeds++] = (seed){noise, 512};
    }
    for (int64_t i = 0; i < nseeds; i++) LLVMFuzzerTestOneInput((const uint8_t *)seeds[i].bytes, seeds[i].n);
    for (uint64_t k = 0; k < runs; k++) {
        size_t n;
        uint8_t *bytes = wound(k, &n);
        LLVMFuzzerTestOneInput(bytes, n);
        free(bytes);
    }
    printf("%lld seeds, %llu wounded copies\n", (long long)nseeds, (unsigned long long)runs);
    for (int64_t i = 0; i < nseeds; i++) pupil_free(&seeds[i].bytes);
    pupil_free(&seeds);
    return 0;
}
