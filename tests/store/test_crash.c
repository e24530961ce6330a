/* test_crash.c: a writer fails or dies anywhere; a reader sees whole segments or nothing, and the next writer
 * ends with the same data. Everything that passes a fault point runs in a process of its own. */
#include "store_proof.h"

#include <sys/resource.h>

enum { SEGMENT = 4, DELIBERATE = 100 };

static int write_all(void *dir)
{
    return complete(dir, &small_f16, 0, SEGMENT);
}

/* How many blocks a fresh reader finds good; DELIBERATE after a bad one. */
static int count_good(void *dir)
{
    int64_t n = good_blocks(dir, &small_f16);
    return n < 0 ? -DELIBERATE : (int)-n;
}

static void one_fault(const char *name, const char *how, bool *ret_passed)
{
    *ret_passed = false;
    for (int nth = 1; !*ret_passed; nth++) {
        char *dir = folder_new(), *fault = pupil_format("%s:%d%s", name, nth, how);
        int code = in_child(fault, write_all, dir);
        int good = in_child(NULL, count_good, dir);
        *ret_passed = code == 0;
        if (code == 0) {
            CHECK(nth > 1, "%s never fired", fault);
            assert_int_equal(good, 10);
        } else {
            assert_int_equal(code, how[0] ? 128 + SIGKILL : -PUPIL_EFAULT);
            CHECK(good < 10 ? good % SEGMENT == 0 : good == 10, "after %s a reader finds %d blocks", fault,
                  good);
        }
        CHECK(nth < 100, "%s does not end", fault);
        assert_int_equal(in_child(NULL, write_all, dir), 0);
        assert_int_equal(in_child(NULL, count_good, dir), 10);
        char **part;
        int n;
        GOOD(pupil_list_dir(dir, "seg-", ".part", &part, &n));
        assert_int_equal(n, 0); /* the next writer swept */
        pupil_names_free(&part, n);
        pupil_free(&fault);
        folder_end(&dir);
    }
}

static void all_or_nothing_at_every_fault(void **state)
{
    (void)state;
    static const char *const point[] = {"publish.fsync", "publish.rename", "journal.write",
                                        "journal.fsync", "seg.write",      "seg.close"};
    static const char *const how[] = {"", ":kill"};
    for (int i = 0; i < PUPIL_COUNT(point); i++)
        for (int k = 0; k < 2; k++) {
            bool passed;
            one_fault(point[i], how[k], &passed);
        }
}

static pid_t start(int (*work)(void *), void *arg)
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) _exit(-work(arg));
    return pid;
}

static void killed_at_200_random_times(void **state)
{
    (void)state;
    char *dir = folder_new();
    double t = pupil_now();
    assert_int_equal(in_child(NULL, write_all, dir), 0);
    const double whole = pupil_now() - t;
    folder_end(&dir);
    dir = folder_new();
    int kills = 0, finished = 0, before = 0;
    pupil_rng r = pupil_rng_at(11, PUPIL_STREAM_TEST, 0);
    while (kills < 200) {
        int status;
        pid_t pid = start(write_all, dir);
        usleep((useconds_t)(1e6 * whole * pupil_rng_uniform(&r)));
        kill(pid, SIGKILL);
        waitpid(pid, &status, 0);
        kills += WIFSIGNALED(status);
        int good = in_child(NULL, count_good, dir);
        CHECK(good <= 10 && good >= before, "after kill %d: %d blocks, %d before", kills, good, before);
        before = good;
        if (good < 10) continue;
        finished++;
        before = 0;
        folder_end(&dir);
        dir = folder_new();
    }
    print_message("200 kills within %.0f ms each, %d caches finished on the way\n", 1e3 * whole, finished);
    assert_true(finished > 0);
    assert_int_equal(in_child(NULL, write_all, dir), 0);
    assert_int_equal(in_child(NULL, count_good, dir), 10);
    folder_end(&dir);
}

static int write_on_a_full_disk(void *dir)
{
    struct rlimit l = {20000, 20000}; /* a file may have that many bytes: not a whole segment */
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &l);
    int r = complete(dir, &small_f16, 0, 10);
    return r == PUPIL_EIO && strstr(pupil_reason(), "File too large") ? 0 : -DELIBERATE;
}

static void a_full_disk_is_an_error(void **state)
{
    (void)state;
    char *dir = folder_new();
    assert_int_equal(in_child(NULL, write_on_a_full_disk, dir), 0);
    assert_int_equal(in_child(NULL, count_good, dir), 0);
    assert_int_equal(in_child(NULL, write_all, dir), 0);
    assert_int_equal(in_child(NULL, count_good, dir), 10);
    folder_end(&dir);
}

/* A writer that was cut off goes on after another one has taken over. */
static void a_replaced_writer_is_told_and_not_believed(void **state)
{
    (void)state;
    char *dir = folder_new();
    const pupil_cache_shape *s = &small_f16;
    pupil_cache *old, *young;
    pupil_cache_writer *w;
    int64_t first, second, n;
    float *x = floats(s->block * s->dim), *y = floats(s->block * s->dim);
    GOOD(open_small(dir, s, &old));
    GOOD(pupil_cache_generation(old, &first));
    GOOD(pupil_cache_writer_new(old, first, 0, 1, &w));
    fill_known(s, 0, 0, x);
    fill_known(s, 0, 1, y);
    GOOD(pupil_cache_writer_add(w, 0, x, y, 8, &n));
    assert_int_equal(n, 1);
    GOOD(open_small(dir, s, &young));
    GOOD(pupil_cache_generation(young, &second));
    assert_int_equal(second, first + 1);
    n = -7;
    BAD(pupil_cache_writer_add(w, 1, y, x, 8, &n), PUPIL_EIO, "replaced by generation 2");
    assert_int_equal(n, -7);
    BAD(pupil_cache_writer_add(w, 2, y, x, 8, &n), PUPIL_EIO, "replaced by generation 2");
    pupil_cache_writer_free(&w);
    GOOD(pupil_cache_refresh(young));
    assert_true(pupil_cache_has(young, 0));
    assert_false(pupil_cache_has(young, 1));
    assert_int_equal(pupil_cache_blocks_have(young), 1);
    assert_int_equal(pupil_cache_blocks_have(old), 1);
    GOOD(complete(dir, s, second, 3)); /* block 1 is made again, rightly */
    assert_int_equal(good_blocks(dir, s), 10);
    pupil_buf json = {0};
    GOOD(pupil_cache_describe(young, true, &json));
    assert_non_null(strstr(json.s, "\"generations\": 2, \"superseded\": 2"));
    pupil_buf_free(&json);
    pupil_cache_free(&old);
    pupil_cache_free(&young);
    pupil_free(&x);
    pupil_free(&y);
    folder_end(&dir);
}

typedef struct {
    pupil_cache *c;
    pupil_cache_writer *w;
    int64_t generation;
} sharer;

static sharer join(const char *dir, int64_t share, int64_t want_generation)
{
    sharer s = {0};
    GOOD(open_small(dir, &small_f16, &s.c));
    pupil_cache_share(s.c, share);
    GOOD(pupil_cache_generation(s.c, &s.generation));
    assert_int_equal(s.generation, want_generation);
    GOOD(pupil_cache_writer_new(s.c, s.generation, 0, 1, &s.w));
    return s;
}

static void leave(sharer *s)
{
    pupil_cache_writer_free(&s->w);
    pupil_cache_free(&s->c);
}

static void claims(const sharer *s, int64_t part, bool want)
{
    bool mine = !want;
    GOOD(pupil_cache_claim(s->c, s->generation, 0, part, &mine));
    CHECK(mine == want, "part %lld: %s", (long long)part, mine ? "claimed" : "not claimed");
}

/* Two jobs fill one cache: a part has one owner, both are believed, and a job that begins again frees its own parts alone. */
static void jobs_share_the_work(void **state)
{
    (void)state;
    char *dir = folder_new();
    float *x = floats(8 * 12), *y = floats(8 * 12);
    int64_t n;
    sharer one = join(dir, 1, 1), two = join(dir, 2, 1);
    claims(&one, 0, true);
    claims(&two, 0, false);
    claims(&two, 1, true);
    claims(&one, 1, false);
    claims(&one, 0, true); /* still */
    for (int b = 0; b < 2; b++) {
        fill_known(&small_f16, b, 0, x);
        fill_known(&small_f16, b, 1, y);
        GOOD(pupil_cache_writer_add(b ? two.w : one.w, b, x, y, 8, &n));
        assert_int_equal(n, 1);
    }
    GOOD(pupil_cache_refresh(one.c));
    assert_int_equal(pupil_cache_blocks_have(one.c), 2);
    claims(&one, 5, true);
    claims(&two, 6, true);
    sharer again = join(dir, 1, 2);
    claims(&two, 5, true);
    claims(&again, 5, false);
    claims(&again, 6, false);
    claims(&again, 7, true);
    claims(&one, 8, false); /* replaced: its word is void */
    claims(&again, 8, true);
    leave(&one);
    leave(&two);
    leave(&again);
    GOOD(complete(dir, &small_f16, 0, 4)); /* a job alone heeds no claims */
    assert_int_equal(good_blocks(dir, &small_f16), 10);
    folder_end(&dir);
    DROP(x, y);
}

/* Two writers of one generation and rank, one after the other, and one that gave up: no name is used twice.
 */
static void names_are_used_once(void **state)
{
    (void)state;
    char *dir = folder_new();
    const pupil_cache_shape *s = &small_f16;
    pupil_cache *c;
    pupil_cache_writer *w;
    int64_t g, n;
    float *x = floats(s->block * s->dim), *y = floats(s->block * s->dim);
    GOOD(open_small(dir, s, &c));
    GOOD(pupil_cache_generation(c, &g));
    for (int64_t b = 0; b < 3; b++) {
        GOOD(pupil_cache_writer_new(c, g, 0, 2, &w));
        fill_known(s, b, 0, x);
        fill_known(s, b, 1, y);
        GOOD(pupil_cache_writer_add(w, b, x, y, 8, &n));
        assert_int_equal(n, 0);
        if (b != 1) GOOD(pupil_cache_writer_flush(w, &n));
        pupil_cache_writer_free(&w);
    }
    pupil_cache_free(&c);
    assert_int_equal(good_blocks(dir, s), 2);
    char **name;
    int count;
    GOOD(pupil_list_dir(dir, "seg-", "", &name, &count));
    assert_int_equal(count, 2); /* and nothing half done is left */
    pupil_names_free(&name, count);
    pupil_free(&x);
    pupil_free(&y);
    folder_end(&dir);
}

int main(void)
{
    /* what a killed process leaves is the same in memory as on a disk, and a busy disk makes this test last
     * minutes */
    if (!getenv("TMPDIR") && access("/dev/shm", W_OK) == 0) setenv("TMPDIR", "/dev/shm", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_or_nothing_at_every_fault),
        cmocka_unit_test(killed_at_200_random_times),
        cmocka_unit_test(a_full_disk_is_an_error),
        cmocka_unit_test(a_replaced_writer_is_told_and_not_believed),
        cmocka_unit_test(jobs_share_the_work),
        cmocka_unit_test(names_are_used_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
