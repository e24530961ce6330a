/* The index of a tar: stale, torn, lying, made elsewhere, made by several processes at once. */
#include "make_tar.h"
#include "tar_index.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

static void an_index_that_does_not_hold_is_made_again(void **state)
{
    const file files[] = {PNG("a.png"), WORDS("a.txt", "w"), PNG("b.png"), WORDS("b.txt", "v")};
    char *path = make("index.tar", ARCHIVE_FORMAT_TAR_USTAR, files, 4), *idx = pupil_format("%s.idx", path),
         *good, *now;
    size_t n, m;
    tars *t;
    assert_int_equal(open_one(path, NULL, &t), 0);
    tars_free(&t);
    assert_int_equal(pupil_read_file(idx, 0, &good, &n), 0);
    for (size_t i = 0; i < n + 2; i++) {
        char *bad = pupil_alloc(n + 1);
        memcpy(bad, good, n);
        if (i < n) bad[i] ^= 0x40; /* else one byte too few, one too many */
        size_t bytes = i < n ? n : i == n ? n - 1 : n + 1;
        tar_index x;
        bool other_tar = i >= 16 && i < 32; /* a size or time that differs, under a sum that holds */
        if (other_tar) {
            uint32_t crc = pupil_crc32c(0, bad + 12, n - 12);
            memcpy(bad + 8, &crc, 4);
        }
        assert_int_equal(tar_index_view(bad, bytes, &x), other_tar);
        assert_int_equal(pupil_write_file(idx, bad, bytes), 0);
        pupil_free(&bad);
        if (i >= 56 && i < n) continue; /* opening once for each byte of the head will do */
        assert_int_equal(open_one(path, NULL, &t), 0);
        check_sample(t, 1, "b", "v");
        tars_free(&t);
        assert_int_equal(pupil_read_file(idx, 0, &now, &m), 0);
        assert_int_equal(m, n);
        assert_memory_equal(now, good, n);
        pupil_free(&now);
    }
    pupil_free(&good);
    pupil_free(&idx);
    pupil_free(&path);
}

/* Fields that lie behind a checksum that holds. */
static void a_lying_index_is_refused(void **state)
{
    const file files[] = {PNG("a.png"), WORDS("a.txt", "w"), PNG("b.png"), WORDS("b.txt", "v")};
    char *path = make("lies.tar", ARCHIVE_FORMAT_TAR_USTAR, files, 4), *bytes;
    pupil_buf b = {0};
    int fd = open(path, O_RDONLY);
    int64_t size, mtime;
    assert_int_equal(tar_stat(path, fd, &size, &mtime), 0);
    assert_int_equal(tar_index_build(path, fd, size, mtime, &b), 0);
    close(fd);
    tar_index x;
    assert_true(tar_index_view(b.s, b.len, &x));
    assert_int_equal(x.head->samples, 2);
    const struct {
        size_t at;
        int64_t value;
    } lies[] = {{32, 3},
                {32, 1},
                {32, -1},
                {32, INT64_MAX},
                {40, 0},
                {40, INT64_MAX},
                {48, -1},
                {48 + 23 * 8, INT64_MAX},
                {240, -1},
                {240, size},
                {240, INT64_MAX},
                {256, 0},
                {256, 1 << 20},
                {256, -1},
                {264, -2},
                {248, 0x7fffffff},
                {248, (int64_t)1000 << 32 | sizeof png_rgb},
                {248, sizeof png_rgb}};
    bytes = pupil_alloc(b.len);
    for (int k = 0; k < PUPIL_COUNT(lies); k++) {
        memcpy(bytes, b.s, b.len);
        memcpy(bytes + lies[k].at, &lies[k].value, 8);
        uint32_t crc = pupil_crc32c(0, bytes + 12, b.len - 12);
        memcpy(bytes + 8, &crc, 4);
        if (tar_index_view(bytes, b.len, &x)) fail_msg("lie %d was believed", k);
    }
    pupil_free(&bytes);
    pupil_buf_free(&b);
    pupil_free(&path);
}

static void a_changed_tar_is_indexed_again_and_never_misread(void **state)
{
    const file two[] = {PNG("a.png"), WORDS("a.txt", "w"), PNG("b.png"), WORDS("b.txt", "v")};
    char *path = make("change.tar", ARCHIVE_FORMAT_TAR_USTAR, two, 2), *idx = pupil_format("%s.idx", path);
    tars *t, *u;
    assert_int_equal(open_one(path, NULL, &t), 0);
    assert_true(pupil_exists(idx));
    char *keep = pupil_format("%s.keep", path);
    rename(idx, keep);
    pupil_free(&path);
    path = make("change.tar", ARCHIVE_FORMAT_TAR_USTAR, two, 4);
    rename(keep, idx);
    assert_int_equal(open_one(path, NULL, &u), 0);
    assert_int_equal(tars_count(u), 2);
    void *data;
    assert_int_equal(tars_bytes(t, 0, &data, &(size_t){0}), PUPIL_EMISMATCH);
    tars_free(&t);
    tars_free(&u);
    struct timespec then[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
    assert_int_equal(utimensat(AT_FDCWD, path, then, 0), 0);
    assert_int_equal(open_one(path, NULL, &t), 0);
    tar_index x;
    char *bytes;
    size_t n;
    assert_int_equal(pupil_read_file(idx, 0, &bytes, &n), 0);
    assert_true(tar_index_view(bytes, n, &x));
    assert_int_equal(x.head->tar_mtime, 1000 * INT64_C(1000000000));
    tars_free(&t);
    pupil_free(&bytes);
    pupil_free(&keep);
    pupil_free(&idx);
    pupil_free(&path);
}

static void the_index_goes_elsewhere_when_it_must(void **state)
{
    const file files[] = {PNG("a.png"), WORDS("a.txt", "w")};
    char *path = make("where.tar", ARCHIVE_FORMAT_TAR_USTAR, files, 2), *idx = pupil_format("%s.idx", path);
    char *other = in_dir("indexes"), **names;
    int n;
    assert_int_equal(mkdir(idx, 0777), 0); /* in the way of the file, also of root's */
    tars *t;
    assert_int_equal(open_one(path, NULL, &t), 0); /* in memory */
    check_sample(t, 0, "a", "w");
    tars_free(&t);
    for (int again = 0; again < 2; again++) {
        assert_int_equal(open_one(path, other, &t), 0);
        check_sample(t, 0, "a", "w");
        tars_free(&t);
        assert_int_equal(pupil_list_dir(other, "where.tar-", ".idx", &names, &n), 0);
        assert_int_equal(n, 1);
        pupil_names_free(&names, n);
    }
    rmdir(idx);
    pupil_free(&other);
    pupil_free(&idx);
    pupil_free(&path);
}

static void processes_may_index_at_once(void **state)
{
    file files[200];
    char names[200][16];
    for (int i = 0; i < 200; i++) {
        snprintf(names[i], sizeof names[i], i % 2 ? "%04d.txt" : "%04d.png", i / 2);
        files[i] = i % 2 ? (file)WORDS(names[i], "words") : (file)PNG(names[i]);
    }
    char *path = make("race.tar", ARCHIVE_FORMAT_TAR_USTAR, files, 200);
    pid_t child[6];
    for (int k = 0; k < 6; k++) {
        child[k] = fork();
        if (child[k] != 0) continue;
        tars *t = NULL;
        bool ok = open_one(path, NULL, &t) == 0 && tars_count(t) == 100 && !strcmp(tars_key(t, 99), "0099");
        _exit(ok ? 0 : 1);
    }
    for (int k = 0; k < 6; k++) {
        int status;
        assert_int_equal(waitpid(child[k], &status, 0), child[k]);
        assert_int_equal(status, 0);
    }
    pupil_free(&path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_index_that_does_not_hold_is_made_again),
        cmocka_unit_test(a_lying_index_is_refused),
        cmocka_unit_test(a_changed_tar_is_indexed_again_and_never_misread),
        cmocka_unit_test(the_index_goes_elsewhere_when_it_must),
        cmocka_unit_test(processes_may_index_at_once),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
