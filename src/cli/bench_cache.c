/* bench_cache.c: the teacher cache against plain files of the same bytes, in turns: written and made durable; read cold (the page
 * cache has been told to forget them) and warm. What the cache does besides is part of its time: number formats, checksums,
 * the journal, and on reading the look at every value. */
#include "cli.h"

#include "pupil/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WRITE, COLD, WARM, WORKS, ROUNDS_MAX = 31, PIECE = 1 << 20 };
static const char *const work_name[WORKS] = {"write", "read cold", "read warm"}, *const json_name[WORKS] = {"write", "read_cold", "read_warm"};

typedef struct {
    pupil_cache_shape shape;
    pupil_identity identity;
    char *dir, *cache, *plain;
    float *image, *text;
    char *piece;
    int64_t bytes; /* of all blocks as they are stored */
    double seconds[2][WORKS][ROUNDS_MAX]; /* cache, plain */
} bench;

static int write_cache(bench *b)
{
    pupil_cache *c;
    pupil_cache_writer *w = NULL;
    int64_t generation, published, rows = b->shape.block;
    PUPIL_TRY(pupil_cache_open(b->cache, &b->identity, &b->shape, &c));
    int r = pupil_cache_generation(c, &generation);
    if (r == 0) r = pupil_cache_writer_new(c, generation, 0, 64, &w);
    for (int64_t k = 0; k < pupil_cache_blocks(c) && r == 0; k++) r = pupil_cache_writer_add(w, k, b->image, b->text, rows, &published);
    if (r == 0) r = pupil_cache_writer_flush(w, &published);
    pupil_cache_writer_free(&w);
    pupil_cache_free(&c);
    return r;
}

static int read_cache(bench *b)
{
    pupil_cache *c;
    PUPIL_TRY(pupil_cache_open(b->cache, &b->identity, &b->shape, &c));
    int r = 0;
    for (int64_t k = 0; k < pupil_cache_blocks(c) && r == 0; k++)
        for (int side = 0; side < 2 && r == 0; side++) {
            const float *x;
            int64_t rows;
            r = pupil_cache_read(c, k, side, 0, &x, &rows);
        }
    pupil_cache_free(&c);
    return r;
}

static int io_fail(const char *path) { return pupil_fail(PUPIL_EIO, "%s: %s", path, strerror(errno)); }

static int write_plain(bench *b)
{
    int fd = open(b->plain, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), r = 0;
    if (fd < 0) return io_fail(b->plain);
    for (int64_t at = 0; at < b->bytes && r == 0; at += PIECE)
        if (write(fd, b->piece, (size_t)PUPIL_MIN((int64_t)PIECE, b->bytes - at)) < 0) r = io_fail(b->plain);
    if (r == 0 && fsync(fd) < 0) r = io_fail(b->plain);
    close(fd);
    return r;
}

static int read_plain(bench *b)
{
    int fd = open(b->plain, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return io_fail(b->plain);
    ssize_t n;
    while ((n = read(fd, b->piece, PIECE)) > 0) continue;
    close(fd);
    return n < 0 ? io_fail(b->plain) : 0;
}

static void forget(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    close(fd);
}

static int for_all_of_cache(const bench *b, void (*what)(const char *))
{
    char **name;
    int n;
    PUPIL_TRY(pupil_list_dir(b->cache, "", "", &name, &n));
    for (int i = 0; i < n; i++) {
        char *path = pupil_join(b->cache, name[i]);
        what(path);
        pupil_free(&path);
        pupil_free(&name[i]);
    }
    pupil_free(&name);
    return 0;
}

static void unlink_path(const char *path) { unlink(path); }

static int clear(const bench *b)
{
    unlink(b->plain);
    return pupil_is_dir(b->cache) ? for_all_of_cache(b, unlink_path) : 0;
}

static int one_round(bench *b, int round)
{
    int (*const work[2][WORKS])(bench *) = {{write_cache, read_cache, read_cache}, {write_plain, read_plain, read_plain}};
    PUPIL_TRY(clear(b));
    for (int what = 0; what < WORKS; what++)
        for (int side = 0; side < 2; side++) {
            if (what == COLD && side) forget(b->plain);
            else if (what == COLD) PUPIL_TRY(for_all_of_cache(b, forget));
            double since = pupil_now();
            PUPIL_TRY(work[side][what](b));
            b->seconds[side][what][round] = pupil_now() - since;
        }
    return 0;
}

static void print_results(bench *b, int rounds, bool json)
{
    pupil_buf out = {0};
    char size[32];
    pupil_buf_printf(&out, "{\"bytes\": %lld, \"dtype\": \"%s\", \"block\": %lld, \"dim\": %lld", (long long)b->bytes, pupil_stored_name[b->shape.dtype],
                     (long long)b->shape.block, (long long)b->shape.dim);
    if (!json)
        printf("%s as %s in blocks of %lld x %lld, %s\n", pupil_bytes_text((double)b->bytes, size), pupil_stored_name[b->shape.dtype],
               (long long)b->shape.block, (long long)b->shape.dim, b->dir);
    for (int what = 0; what < WORKS; what++) {
        double cache = cli_median(b->seconds[0][what], rounds), plain = cli_median(b->seconds[1][what], rounds), mb = 1e-6 * (double)b->bytes;
        if (!json) printf("  %-10s %8.0f MB/s   plain file %8.0f MB/s   %.2f of it\n", work_name[what], mb / cache, mb / plain, plain / cache);
        pupil_buf_printf(&out, ", \"%s\": {\"cache_mb_s\": %.1f, \"plain_mb_s\": %.1f, \"ratio\": %.4f}", json_name[what], mb / cache, mb / plain, plain / cache);
    }
    if (json) printf("%s}\n", out.s);
    pupil_buf_free(&out);
}

static int run(bench *b, int64_t mib, int rounds)
{
    int64_t block_bytes = (int64_t)((double)b->shape.block * pupil_cache_sample_bytes(&b->shape)), blocks = PUPIL_MAX((int64_t)1, (mib << 20) / block_bytes);
    int64_t n = b->shape.block * b->shape.dim;
    b->bytes = blocks * block_bytes;
    b->shape.samples = blocks * b->shape.block;
    pupil_identity_shape(&b->identity, &b->shape);
    b->cache = pupil_join(b->dir, "cache");
    b->plain = pupil_join(b->dir, "plain");
    b->piece = pupil_alloc(PIECE);
    b->image = pupil_alloc((size_t)n * sizeof *b->image);
    b->text = pupil_alloc((size_t)n * sizeof *b->text);
    pupil_rng r = pupil_rng_at(1, PUPIL_STREAM_TEST, 0);
    for (int64_t i = 0; i < n; i++) {
        b->image[i] = (float)pupil_rng_normal(&r);
        b->text[i] = (float)pupil_rng_normal(&r);
    }
    for (int k = 0; k < rounds; k++) {
        pupil_progress(k + 1 == rounds, "round %d of %d", k + 1, rounds);
        PUPIL_TRY(one_round(b, k));
    }
    return 0;
}

static void bench_free(bench *b)
{
    if (b->cache) clear(b);
    if (b->cache) rmdir(b->cache);
    if (b->dir) rmdir(b->dir);
    pupil_identity_free(&b->identity);
    pupil_free(&b->dir);
    pupil_free(&b->cache);
    pupil_free(&b->plain);
    pupil_free(&b->piece);
    pupil_free(&b->image);
    pupil_free(&b->text);
    pupil_free(&b);
}

static int stored_type(const char *name, pupil_stored *ret)
{
    for (int i = 0; i < PUPIL_STORED_TYPES; i++)
        if (!strcmp(pupil_stored_name[i], name)) {
            *ret = (pupil_stored)i;
            return 0;
        }
    return pupil_fail(PUPIL_EUSER, "bench cache: --dtype is '%s', expected f16, f32, bf16 or i8", name);
}

int cmd_bench_cache(int argc, char **argv)
{
    bool json = false;
    int64_t mib = 256, dim = 512, block = 256, rounds = 5;
    const char *dtype = "f16", *where = getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp";
    const cli_option options[] = {
        {"dir", CLI_TEXT, &where, "DIR", "make the files in this folder (default: $TMPDIR, else /tmp)"},
        {"mib", CLI_COUNT, &mib, "N", "MiB of embeddings (default 256)"},
        {"dim", CLI_COUNT, &dim, "N", "their width (default 512)"},
        {"block", CLI_COUNT, &block, "N", "pairs a block (default 256)"},
        {"dtype", CLI_TEXT, &dtype, "TYPE", "number format: f16 (default), f32, bf16, i8"},
        {"rounds", CLI_COUNT, &rounds, "N", "rounds, of which medians are taken (default 5, at most 31)"},
        {"json", CLI_FLAG, &json, NULL, "one JSON object"},
    };
    const cli_spec spec = {"bench cache",
                           "",
                           "Writes and reads a teacher cache, and plain files of the same bytes, in turns.",
                           "pupil bench cache --dir /scratch",
                           options,
                           PUPIL_COUNT(options),
                           0,
                           0};
    char **args;
    int n, r = cli_parse(&spec, argc, argv, &args, &n);
    if (r) return r;
    if (mib > 1 << 16 || dim > 8192 || block > 65536 || rounds > ROUNDS_MAX)
        return pupil_fail(PUPIL_EUSER, "bench cache: at most 65536 --mib, 8192 --dim, 65536 --block and %d --rounds were expected", ROUNDS_MAX);
    bench *b = pupil_alloc(sizeof *b);
    b->shape = (pupil_cache_shape){.block = block, .dim = dim, .views = 1, .captions = 1};
    r = stored_type(dtype, &b->shape.dtype);
    if (r == 0) {
        b->dir = pupil_format("%s/pupil-bench-cache.XXXXXX", where);
        if (!mkdtemp(b->dir)) {
            r = io_fail(b->dir);
            pupil_free(&b->dir);
        }
    }
    if (r == 0) r = run(b, mib, (int)rounds);
    if (r == 0) print_results(b, (int)rounds, json);
    bench_free(b);
    return r;
}
