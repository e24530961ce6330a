/* Files: all or nothing whatever breaks; signals become a flag; fault points fire when asked. */
#include "../proof.h"

#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* pupil_write_file() in a child with PUPIL_FAULT set: the child's exit status. The variable is read once a
 * process, so the tests that use it come before any that passes a fault point here. */
static int write_with_fault(const char *fault, const char *path, const char *text)
{
    pid_t pid = fork();
    if (pid == 0) {
        setenv("PUPIL_FAULT", fault, 1);
        int r = pupil_write_file(path, text, strlen(text));
        _exit(r == PUPIL_EFAULT ? 11 : r == 0 ? 0 : 1);
    }
    int status;
    waitpid(pid, &status, 0);
    return status;
}

static void check_content(const char *path, const char *want)
{
    char *got;
    size_t n;
    GOOD(pupil_read_file(path, 0, &got, &n));
    assert_int_equal(n, strlen(want));
    assert_string_equal(got, want);
    pupil_free(&got);
}

static void publish_is_all_or_nothing(void **state)
{
    static const char *const faults[] = {"publish.fsync:1", "publish.rename:1", "publish.fsync:1:kill",
                                         "publish.rename:1:kill"};
    char *dir = folder_new(), *path = pupil_join(dir, "file");
    for (int old = 0; old < 2; old++)
        for (int i = 0; i < PUPIL_COUNT(faults); i++) {
            if (old) assert_int_equal(write_with_fault("none:1", path, "old"), 0);
            int status = write_with_fault(faults[i], path, "newer");
            if (strstr(faults[i], "kill")) assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
            else assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 11);
            if (old) check_content(path, "old");
            else assert_false(pupil_exists(path));
        }
    assert_int_equal(write_with_fault("publish.fsync:2", path, "newer"),
                     0); /* the second pass: not reached */
    check_content(path, "newer");
    pupil_free(&path);
    folder_end(&dir);
}

static void a_failed_write_leaves_no_litter(void **state)
{
    char *dir = folder_new(), *path = pupil_join(dir, "file"), **names;
    int n;
    write_with_fault("publish.rename:1", path, "x");
    GOOD(pupil_list_dir(dir, "", "", &names, &n));
    assert_int_equal(n, 0);
    pupil_names_free(&names, n);
    char *nowhere = pupil_join(dir, "none/file");
    BAD(pupil_write_file(nowhere, "x", 1), PUPIL_EIO, "none/file");
    BAD(pupil_publish(nowhere, path), PUPIL_EIO, "none/file");
    pupil_free(&nowhere);
    pupil_free(&path);
    folder_end(&dir);
}

static void fault_points_count(void **state)
{
    pid_t pid = fork();
    if (pid == 0) {
        setenv("PUPIL_FAULT", "a:3,b:1,nonsense,c", 1);
        bool good = pupil_fault("a") == 0 && pupil_fault("b") == PUPIL_EFAULT && pupil_fault("b") == 0 &&
                    pupil_fault("a") == 0 && pupil_fault("a") == PUPIL_EFAULT && pupil_fault("a") == 0 &&
                    pupil_fault("c") == 0;
        _exit(good ? 0 : 1);
    }
    int status;
    waitpid(pid, &status, 0);
    assert_int_equal(status, 0);
    pid = fork();
    if (pid == 0) {
        setenv("PUPIL_FAULT", "a:1", 1);
        setenv("PUPIL_FAULT_RANK", "2", 1);
        unsetenv("OMPI_COMM_WORLD_RANK");
        unsetenv("PMIX_RANK");
        _exit(pupil_fault("a") == 0 ? 0 : 1); /* this is rank 0 */
    }
    waitpid(pid, &status, 0);
    assert_int_equal(status, 0);
}

static void reading(void **state)
{
    char *dir = folder_new(), *path = pupil_join(dir, "file"), *got;
    size_t n;
    BAD(pupil_read_file(path, 0, &got, &n), PUPIL_ENOTFOUND, path);
    BAD(pupil_read_file(dir, 0, &got, &n), PUPIL_EIO, dir);
    GOOD(pupil_write_file(path, "", 0));
    check_content(path, "");
    GOOD(pupil_write_file(path, "0123456789", 10));
    GOOD(pupil_read_file(path, 10, &got, NULL));
    pupil_free(&got);
    BAD(pupil_read_file(path, 9, &got, &n), PUPIL_EFORMAT, "9 bytes");
    char *big = pupil_alloc(300000);
    for (int i = 0; i < 300000; i++) big[i] = (char)(i * 31);
    GOOD(pupil_write_file(path, big, 300000));
    GOOD(pupil_read_file(path, 0, &got, &n));
    assert_int_equal(n, 300000);
    assert_memory_equal(got, big, 300000);
    assert_int_equal(got[n], 0);
    assert_int_equal(pupil_file_size(path), 300000);
    pupil_free(&got);
    pupil_free(&big);
    pupil_free(&path);
    folder_end(&dir);
}

static void folders(void **state)
{
    char *dir = folder_new(), *deep = pupil_join(dir, "a/b//c/"), **names;
    int n;
    GOOD(pupil_mkdirs(deep));
    GOOD(pupil_mkdirs(deep));
    assert_true(pupil_is_dir(deep) && pupil_exists(deep));
    static const char *const make[] = {"seg-2.h5",      "seg-10.h5", "seg-1.h5",
                                       "seg-1.h5.part", "other.h5",  ".seg-0.h5"};
    for (int i = 0; i < PUPIL_COUNT(make); i++) {
        char *p = pupil_join(deep, make[i]);
        GOOD(pupil_write_file(p, "x", 1));
        pupil_free(&p);
    }
    GOOD(pupil_list_dir(deep, "seg-", ".h5", &names, &n));
    assert_int_equal(n, 3);
    assert_string_equal(names[0], "seg-1.h5");
    assert_string_equal(names[1], "seg-10.h5");
    assert_string_equal(names[2], "seg-2.h5");
    pupil_names_free(&names, n);
    assert_null(names);
    char *in_the_way = pupil_join(deep, "seg-1.h5"), *below = pupil_join(in_the_way, "x");
    BAD(pupil_mkdirs(in_the_way), PUPIL_EIO, "not a folder");
    BAD(pupil_mkdirs(below), PUPIL_EIO, "seg-1.h5");
    BAD(pupil_mkdirs(""), PUPIL_EIO, "mkdir");
    BAD(pupil_list_dir(below, "", "", &names, &n), PUPIL_EIO, below);
    assert_int_equal(pupil_file_size(below), -1);
    pupil_free(&below);
    pupil_free(&in_the_way);
    pupil_free(&deep);
    folder_end(&dir);
}

static void joining(void **state)
{
    static const char *const cases[][3] = {
        {"a", "b", "a/b"}, {"a/", "b", "a/b"}, {"a", "/b", "/b"}, {"", "b", "b"}, {"/", "b", "/b"}};
    for (int i = 0; i < PUPIL_COUNT(cases); i++) {
        char *p = pupil_join(cases[i][0], cases[i][1]);
        assert_string_equal(p, cases[i][2]);
        pupil_free(&p);
    }
}

static void signals_become_a_flag(void **state)
{
    static const int list[] = {SIGUSR1, SIGTERM, SIGINT};
    assert_int_equal(pupil_signal_seen(), 0);
    pupil_signals_catch();
    for (int i = 0; i < PUPIL_COUNT(list); i++) {
        raise(list[i]);
        assert_int_equal(pupil_signal_seen(), list[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fault_points_count),
        cmocka_unit_test(publish_is_all_or_nothing),
        cmocka_unit_test(a_failed_write_leaves_no_litter),
        cmocka_unit_test(reading),
        cmocka_unit_test(folders),
        cmocka_unit_test(joining),
        cmocka_unit_test(signals_become_a_flag),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
