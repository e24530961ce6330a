/* store_proof.h: small caches whose every value is known, and processes that die on purpose. */
#ifndef PUPIL_TESTS_STORE_PROOF_H
#define PUPIL_TESTS_STORE_PROOF_H

#include "../proof.h"
#include "pupil/store.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* 10 blocks of 8, the last one of 5 */
static const pupil_cache_shape small_f16 = {.samples = 77, .block = 8, .dim = 12, .dtype = PUPIL_STORED_F16, .views = 1, .captions = 1};
static const pupil_cache_shape small_f32 = {.samples = 77, .block = 8, .dim = 12, .dtype = PUPIL_STORED_F32, .views = 1, .captions = 1};

static inline int64_t blocks_of(const pupil_cache_shape *s)
{
    return (s->samples + s->block - 1) / s->block;
}
static inline int64_t rows_of(const pupil_cache_shape *s, int64_t block)
{
    return PUPIL_MIN(s->block, s->samples - block * s->block);
}

static inline void identity_of(const pupil_cache_shape *s, const char *weights, pupil_identity *id)
{
    pupil_identity_add(id, "teacher.weights", "%s", weights);
    pupil_identity_shape(id, s);
}

static inline int open_small(const char *dir, const pupil_cache_shape *s, pupil_cache **ret)
{
    pupil_identity id = {0};
    identity_of(s, "12ab34cd12ab34cd12ab34cd12ab34cd", &id);
    int r = pupil_cache_open(dir, &id, s, ret);
    pupil_identity_free(&id);
    return r;
}

/* Images and texts of the first view and caption. */
static inline int read_both(pupil_cache *c, int64_t block, const float *side[2], int64_t *rows)
{
    int r = pupil_cache_read(c, block, 0, 0, &side[0], rows);
    return r < 0 ? r : pupil_cache_read(c, block, 1, 0, &side[1], rows);
}

/* Value d of row i, side 0 or 1: exact in a half. */
static inline float known(int64_t sample, int64_t d, int side)
{
    return (float)(int64_t)(pupil_rng_u64(5, PUPIL_STREAM_TEST, (uint64_t)((sample * 1000 + d) * 2 + side)) %
                                4001 -
                            2000) /
           256.0f;
}

static inline void fill_known(const pupil_cache_shape *s, int64_t block, int side, float *x)
{
    for (int64_t i = 0; i < rows_of(s, block); i++)
        for (int64_t d = 0; d < s->dim; d++) x[i * s->dim + d] = known(block * s->block + i, d, side);
}

/* Writes what is missing, `segment_blocks` a segment, as generation `n` (0: opens one). */
static inline int complete(const char *dir, const pupil_cache_shape *s, int64_t n, int64_t segment_blocks)
{
    pupil_cache *c = NULL;
    pupil_cache_writer *w = NULL;
    int64_t published;
    float *side[2] = {floats(s->block * s->dim), floats(s->block * s->dim)};
    int r = open_small(dir, s, &c);
    if (r == 0 && n == 0) r = pupil_cache_generation(c, &n);
    if (r == 0) r = pupil_cache_writer_new(c, n, 0, segment_blocks, &w);
    for (int64_t b = 0; r == 0 && b < blocks_of(s); b++) {
        if (pupil_cache_has(c, b)) continue;
        for (int k = 0; k < 2; k++) fill_known(s, b, k, side[k]);
        r = pupil_cache_writer_add(w, b, side[0], side[1], rows_of(s, b), &published);
    }
    if (r == 0) r = pupil_cache_writer_flush(w, &published);
    pupil_cache_writer_free(&w);
    pupil_cache_free(&c);
    for (int k = 0; k < 2; k++) pupil_free(&side[k]);
    return r;
}

/* Reads all that is published; returns how many blocks, or -1 after a wrong value or an error (printed). */
static inline int64_t good_blocks(const char *dir, const pupil_cache_shape *s)
{
    pupil_cache *c = NULL;
    int64_t n = 0, rows;
    const float *side[2];
    float *want = floats(s->block * s->dim);
    int r = open_small(dir, s, &c);
    for (int64_t b = 0; r == 0 && b < blocks_of(s); b++) {
        if (!pupil_cache_has(c, b)) continue;
        r = read_both(c, b, side, &rows);
        for (int k = 0; r == 0 && k < 2; k++) {
            fill_known(s, b, k, want);
            if (rows != rows_of(s, b) || memcmp(want, side[k], (size_t)(rows * s->dim) * sizeof *want))
                r = pupil_fail(PUPIL_ENUMERIC, "block %lld holds wrong values", (long long)b);
        }
        n++;
    }
    if (r < 0) print_message("%s\n", pupil_reason());
    if (r == 0 && n != pupil_cache_blocks_have(c)) r = -1;
    pupil_cache_free(&c);
    pupil_free(&want);
    return r < 0 ? -1 : n;
}

/* Exit code of what `work` returns in a process of its own, or 128 + the signal that ended it. `fault` is
 * PUPIL_FAULT there, or NULL. */
static inline int in_child(const char *fault, int (*work)(void *), void *arg)
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        if (fault) setenv("PUPIL_FAULT", fault, 1);
        _exit(-work(arg));
    }
    int status;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* The only name in dir with this prefix and suffix, joined; NULL unless there is one. Owned by the caller. */
static inline char *only_file(const char *dir, const char *prefix, const char *suffix)
{
    char **name, *path = NULL;
    int n;
    GOOD(pupil_list_dir(dir, prefix, suffix, &name, &n));
    if (n == 1) path = pupil_join(dir, name[0]);
    pupil_names_free(&name, n);
    return path;
}

static inline void flip(const char *path, int64_t at)
{
    uint8_t b;
    int fd = open(path, O_RDWR);
    CHECK(fd >= 0 && pread(fd, &b, 1, at) == 1, "cannot read byte %lld of %s", (long long)at, path);
    b ^= 0x10;
    CHECK(pwrite(fd, &b, 1, at) == 1, "cannot write byte %lld of %s", (long long)at, path);
    close(fd);
}

#endif
