/** base: what a C program wishes the standard library had; nothing here knows about learning.
 *
 *  Conventions of the whole house:
 *  - A function that can fail returns an int: 0, or a negative code of PUPIL_STATUS_LIST. It has then
 *    recorded one sentence with pupil_fail(); callers may put context before it with pupil_context().
 *  - Outputs (`ret_...`) are set only on success. `*_free(&x)` accepts NULL and nulls the pointer.
 *  - Small allocations never fail visibly: pupil_alloc() ends the program with a message instead.
 *  - Not collective, all of it.
 */
#ifndef PUPIL_BASE_H
#define PUPIL_BASE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* ---- status ------------------------------------------------------------------------------------- */
/* code, value, what it means */
#define PUPIL_STATUS_LIST(X)                                                                                 \
    X(PUPIL_OK, 0, "done")                                                                                   \
    X(PUPIL_EUSER, -1, "the user's input is wrong")                                                          \
    X(PUPIL_EIO, -2, "a file could not be read or written")                                                  \
    X(PUPIL_EFORMAT, -3, "a file is not what it should be")                                                  \
    X(PUPIL_ECRC, -4, "stored bytes do not match their checksum")                                            \
    X(PUPIL_EMISMATCH, -5, "stored data come from other settings")                                           \
    X(PUPIL_ENUMERIC, -6, "a number is not finite")                                                          \
    X(PUPIL_EMPI, -7, "MPI failed")                                                                          \
    X(PUPIL_ETIMEOUT, -8, "another rank did not come in time")                                               \
    X(PUPIL_ESTOP, -9, "stopped on a signal with a checkpoint saved")                                        \
    X(PUPIL_ENOTFOUND, -10, "there is no such thing")                                                        \
    X(PUPIL_EFAULT, -11, "a fault point of a test fired")

typedef enum {
#define X(name, value, text) name = value,
    PUPIL_STATUS_LIST(X)
#undef X
} pupil_status;

const char *pupil_status_text(int code);

/** Record `fmt` as the reason of `code` and return `code`. One line, no trailing newline. */
int pupil_fail(int code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/** Put "context: " before the recorded reason; returns `code`. No effect for code 0. */
int pupil_context(int code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/** The recorded reason of this thread's last pupil_fail(). Never NULL. */
const char *pupil_reason(void);
/** Process exit code for a status: 0 done, 1 failed, 2 user's input, 75 stopped early. */
int pupil_exit_code(int code);

/** Return early with the code of `expr` if it is negative. */
#define PUPIL_TRY(expr)                                                                                      \
    do {                                                                                                     \
        int try_ = (expr);                                                                                   \
        if (try_ < 0) return try_;                                                                           \
    } while (0)

/** A broken invariant of the program itself: prints file:line and aborts. */
#define PUPIL_REQUIRE(cond)                                                                                  \
    do {                                                                                                     \
        if (!(cond)) pupil_bug(__FILE__, __LINE__, #cond);                                                   \
    } while (0)
_Noreturn void pupil_bug(const char *file, int line, const char *cond);

#define PUPIL_COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))
#define PUPIL_MIN(a, b) ((a) < (b) ? (a) : (b))
#define PUPIL_MAX(a, b) ((a) > (b) ? (a) : (b))
/** A hot loop built for AVX-512, AVX2 and the base line; the loader picks once. OpenMP regions are outlined before
 *  cloning, so a cloned function holds no parallel region: regions call cloned functions. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define PUPIL_CLONES __attribute__((noinline, target_clones("avx512f", "avx2", "default")))
#else
#define PUPIL_CLONES __attribute__((noinline))
#endif

/* ---- log ---------------------------------------------------------------------------------------- */
typedef enum { PUPIL_LOG_ERROR, PUPIL_LOG_WARN, PUPIL_LOG_INFO, PUPIL_LOG_DEBUG } pupil_log_level;
/** Name this process in log lines. Rank 0 speaks without prefix; others are heard from WARN up, as
 *  "[rank 3 host] ...". */
void pupil_log_identity(int rank, int size, const char *host);
void pupil_log_set_level(pupil_log_level level);
/** One line to stderr (a newline is added; a progress line in the way is cleared first). */
void pupil_log(pupil_log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
#define pupil_info(...) pupil_log(PUPIL_LOG_INFO, __VA_ARGS__)
#define pupil_warn(...) pupil_log(PUPIL_LOG_WARN, __VA_ARGS__)
/** A progress line on stderr: overwritten in place on a terminal; elsewhere a plain line at most every
 *  5 s. Speaks on rank 0 only. `last` ends it with a newline and always prints. */
void pupil_progress(bool last, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* ---- memory ------------------------------------------------------------------------------------- */
/** Zeroed, 64-byte aligned. Never NULL: ends the program (exit 1) when memory is out. Owned by the caller;
 *  released with pupil_free(). */
void *pupil_alloc(size_t bytes);
void *pupil_realloc(void *p, size_t old_bytes, size_t new_bytes);
char *pupil_strdup(const char *s);
char *pupil_format(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void pupil_free_(void *p);
#define pupil_free(pp)                                                                                       \
    do {                                                                                                     \
        pupil_free_(*(pp));                                                                                  \
        *(pp) = NULL;                                                                                        \
    } while (0)
/** Grow array `a` (a pointer lvalue) so that element `n` fits; `cap` is an int64_t lvalue. */
#define PUPIL_GROW(a, n, cap)                                                                                \
    do {                                                                                                     \
        if ((n) >= (cap)) {                                                                                  \
            int64_t new_ = (cap) ? 2 * (cap) : 16;                                                           \
            while ((n) >= new_) new_ *= 2;                                                                   \
            (a) = pupil_realloc((a), (size_t)(cap) * sizeof *(a), (size_t)new_ * sizeof *(a));               \
            (cap) = new_;                                                                                    \
        }                                                                                                    \
    } while (0)

/* ---- growable text ------------------------------------------------------------------------------ */
typedef struct {
    char *s; /* always NUL-terminated once written to; owned */
    size_t len, cap;
} pupil_buf;
void pupil_buf_add(pupil_buf *b, const void *bytes, size_t n);
void pupil_buf_puts(pupil_buf *b, const char *s);
void pupil_buf_printf(pupil_buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/** `s` as a JSON string with quotes; bytes that are not valid UTF-8 become U+FFFD. */
void pupil_buf_json(pupil_buf *b, const char *s);
/** Shortest decimal that reads back as the same double; NaN and infinities become null. */
void pupil_buf_json_num(pupil_buf *b, double x);
/** `s` with & < > " ' escaped for HTML text and attributes. */
void pupil_buf_html(pupil_buf *b, const char *s);
void pupil_buf_base64(pupil_buf *b, const void *bytes, size_t n);
void pupil_buf_free(pupil_buf *b);

/** Levenshtein distance (bytes), for "did you mean". */
int pupil_edit_distance(const char *a, const char *b);

/* ---- hashes ------------------------------------------------------------------------------------- */
typedef struct {
    uint32_t h[8];
    uint64_t bytes;
    uint8_t block[64];
} pupil_sha256;
void pupil_sha256_init(pupil_sha256 *s);
void pupil_sha256_add(pupil_sha256 *s, const void *bytes, size_t n);
/** 64 hex digits and a NUL into `ret_hex`. */
void pupil_sha256_hex(pupil_sha256 *s, char ret_hex[65]);
void pupil_sha256_of(const void *bytes, size_t n, char ret_hex[65]);
int pupil_sha256_file(const char *path, char ret_hex[65]);
/** CRC-32C (Castagnoli), `crc` = 0 to start. */
uint32_t pupil_crc32c(uint32_t crc, const void *bytes, size_t n);
/** FNV-1a, 64 bits: for hash tables and for names turned into numbers; not for identities. */
uint64_t pupil_fnv1a(const void *bytes, size_t n);

/* ---- random numbers ----------------------------------------------------------------------------- */
/** Counter-based (Philox 4x32-10, Salmon et al. 2011): a pure function of (seed, stream, index). Streams
 *  keep uses apart; take one of PUPIL_STREAM_*. */
enum {
    PUPIL_STREAM_INIT = 1, /* parameter initialisation */
    PUPIL_STREAM_ORDER,    /* sample order */
    PUPIL_STREAM_VIEW,     /* crops */
    PUPIL_STREAM_SCENE,    /* built-in scenes */
    PUPIL_STREAM_PROBE,    /* evaluation heads */
    PUPIL_STREAM_TEST,
    PUPIL_STREAM_CHECK, /* rows of a cache that are computed again */
    PUPIL_STREAM_BOOTSTRAP, /* resamples of an interval */
    PUPIL_STREAM_PATCHES, /* patches that a student does not see */
    PUPIL_STREAM_MASKS    /* gates of channels that are learned away */
};
uint64_t pupil_rng_u64(uint64_t seed, uint32_t stream, uint64_t index);
/** A generator over one (seed, stream, index): successive draws, never shared between threads. */
typedef struct {
    uint64_t seed, index, counter;
    uint32_t stream;
} pupil_rng;
pupil_rng pupil_rng_at(uint64_t seed, uint32_t stream, uint64_t index);
uint64_t pupil_rng_next(pupil_rng *r);
double pupil_rng_uniform(pupil_rng *r);          /* [0, 1), 53 bits */
uint64_t pupil_rng_below(pupil_rng *r, uint64_t n); /* 0..n-1, unbiased; n > 0 */
double pupil_rng_normal(pupil_rng *r);           /* mean 0, variance 1 */
/** Position `i` of a pseudo-random permutation of 0..n-1 chosen by (seed, stream, index); O(1) memory. */
uint64_t pupil_permute(uint64_t seed, uint32_t stream, uint64_t index, uint64_t n, uint64_t i);

/* ---- files -------------------------------------------------------------------------------------- */
bool pupil_exists(const char *path);
bool pupil_is_dir(const char *path);
int64_t pupil_file_size(const char *path); /* -1 if there is none */
int pupil_mkdirs(const char *path);
/** Whole file, NUL-terminated, owned by the caller. Refuses files over max_bytes (0: 1 GiB). */
int pupil_read_file(const char *path, size_t max_bytes, char **ret_bytes, size_t *ret_n);
/** Publish or nothing: fsync `part`, rename it to `final`, fsync the directory. Fault points
 *  "publish.fsync", "publish.rename". On failure `part` is left and `final` is as before. */
int pupil_publish(const char *part, const char *final_path);
/** Write a whole file through pupil_publish(). */
int pupil_write_file(const char *path, const void *bytes, size_t n);
/** Names in `dir` that begin with `prefix` and end with `suffix`, sorted; each and the array are owned. */
int pupil_list_dir(const char *dir, const char *prefix, const char *suffix, char ***ret_names, int *ret_n);
void pupil_names_free(char ***names, int n);
/** "dir/name" in a fresh string; an absolute name is returned as it is. */
char *pupil_join(const char *dir, const char *name);

/* ---- time --------------------------------------------------------------------------------------- */
double pupil_now(void); /* monotonic seconds */
/** "1h 02m", "3m 05s", "42s" into out. */
const char *pupil_duration(double seconds, char out[32]);
/** "12.3 MiB" into out. */
const char *pupil_bytes_text(double bytes, char out[32]);
/** UTC "2026-11-23T10:00:00Z". */
const char *pupil_utc(char out[32]);

/* ---- number formats ----------------------------------------------------------------------------- */
/** src[n] as IEEE halves, rounded to nearest, ties to even. Returns n, or the index of the first value that is not
 *  finite or becomes infinite (65520 and above); dst is then of no use. */
int64_t pupil_f16_pack(uint16_t *dst, const float *src, int64_t n);
/** Exact. False if a value is not finite. */
bool pupil_f16_unpack(float *dst, const uint16_t *src, int64_t n);
bool pupil_bf16_unpack(float *dst, const uint16_t *src, int64_t n);
bool pupil_floats_finite(const float *x, int64_t n);
/* the plain twins that define the first two */
int64_t pupil_plain_f16_pack(uint16_t *dst, const float *src, int64_t n);
bool pupil_plain_f16_unpack(float *dst, const uint16_t *src, int64_t n);

/* ---- ranks ---------------------------------------------------------------------------------------- */
/** How sums and gathers of long vectors travel. node: ranks of a node read each other's vectors where they lie, in shared
 *  memory, and what goes to other nodes has been added up before; messages: every rank sends to every rank; auto: node, if
 *  all ranks have shared memory. The order of additions is the same. */
typedef enum { PUPIL_REDUCE_AUTO, PUPIL_REDUCE_NODE, PUPIL_REDUCE_MESSAGES } pupil_reduce;

/* ---- signals ------------------------------------------------------------------------------------ */
/** From now on USR1 and TERM (and INT) set a flag instead of ending the program. */
void pupil_signals_catch(void);
int pupil_signal_seen(void); /* the signal number, or 0 */

/* ---- fault points ------------------------------------------------------------------------------- */
/** Tests set PUPIL_FAULT=name:n[:kill|:wait] (several separated by ','): the n-th pass of that name on the rank
 *  PUPIL_FAULT_RANK (default any) fails with PUPIL_EFAULT, kills the process with SIGKILL, or waits for one of the signals
 *  above (at most 120 s) and goes on. Returns 0 when nothing is to happen; costs one comparison then. */
int pupil_fault(const char *name);

#endif
