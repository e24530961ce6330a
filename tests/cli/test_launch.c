/* pupil launch with an mpirun that only writes down how it was called and does what a test tells it: what is
 * planned and shown, what is passed through, what is taken out, and how ends and signals come back. */
#include "program.h"

static char *dir, *conf, *record, *path;

/* FAKE_DO holds shell commands. */
static const char fake[] = "#!/bin/sh\n"
                           "{ echo \"argv $*\"; env; } >\"$FAKE_RECORD\"\n"
                           "eval \"$FAKE_DO\"\n";
#define DASHES "--------------------------------------------------------------------------"

static int begin(void **state)
{
    (void)state;
    dir = folder_new();
    char *tiny = pupil_join(getenv("PUPIL_SOURCE"), "tests/role/tiny.yaml"), *text;
    GOOD(pupil_read_file(tiny, 0, &text, NULL));
    conf = write_text(dir, "tiny.yaml", text);
    record = pupil_join(dir, "record");
    char *bin = pupil_join(dir, "bin");
    GOOD(pupil_mkdirs(bin));
    char *script = write_text(bin, "mpirun", fake);
    chmod(script, 0755);
    path = pupil_format("%s:/usr/bin:/bin", bin);
    setenv("PATH", path, 1);
    setenv("FAKE_RECORD", record, 1);
    DROP(tiny, text, bin, script);
    return 0;
}

static int end(void **state)
{
    (void)state;
    folder_end(&dir);
    DROP(conf, record, path);
    return 0;
}

/* Launch on a plan of two ranks: rank 0 a student, rank 1 a teacher. */
static void launch_begin(program *p, const char *what)
{
    char *run = pupil_format("run.dir=%s/run", dir), *teacher = pupil_format("teacher.dir=%s/teacher", dir),
         *cache = pupil_format("cache.dir=%s/cache", dir);
    setenv("FAKE_DO", what, 1);
    unlink(record);
    program_begin(p, dir,
                  (const char *const[]){"launch", conf, "--set", "ranks.total=2", "--set", run, "--set",
                                        teacher, "--set", cache, NULL});
    DROP(run, teacher, cache);
}

static void launch(program *p, const char *what)
{
    launch_begin(p, what);
    program_end(p);
}

static void wait_for(const char *file)
{
    for (int i = 0; i < 1000 && !pupil_exists(file); i++) usleep(10000);
    CHECK(pupil_exists(file), "%s did not come", file);
}

static void dry_run_starts_nothing(void **state)
{
    (void)state;
    program p;
    unlink(record);
    RUN(&p, dir, "launch", conf, "--dry-run", "--set", "ranks.total=700", "--set", "ranks.threads=1",
        "--again", "--set", "run.dir=a 'b'");
    assert_int_equal(p.code, 0);
    HOLDS(p.out, "plan ");
    HOLDS(p.out, "OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 ");
    HOLDS(p.out, "OMPI_MCA_mpi_yield_when_idle=1 ");
    HOLDS(p.out, "/bin/mpirun -n 700 --bind-to none --oversubscribe ");
    HOLDS(p.out,
          "tiny.yaml --set ranks.total=700 --set ranks.threads=1 --set 'run.dir=a '\\''b'\\''' --again\n");
    CHECK(!pupil_exists(record), "--dry-run started mpirun");
    program_free(&p);
}

static void the_command_and_its_surroundings(void **state)
{
    (void)state;
    program p;
    char *got;
    setenv("OMPI_MCA_oob_tcp_keepalive_time", "77", 1); /* the user's own wish stays */
    launch(&p, "true");
    assert_int_equal(p.code, 0);
    GOOD(pupil_read_file(record, 0, &got, NULL));
    HOLDS(got, "argv -n 2 --bind-to ");
    HOLDS(got, " run ");
    HOLDS(got, "tiny.yaml --set ranks.total=2 --set run.dir=");
    HOLDS(got, "\nOMP_NUM_THREADS=1\n");
    HOLDS(got, "\nOPENBLAS_NUM_THREADS=1\n");
    HOLDS(got, "\nOMPI_MCA_oob_tcp_keepalive_time=77\n");
    HOLDS(got, "\nOMPI_MCA_oob_tcp_keepalive_intvl=2\n");
    if (geteuid() == 0) HOLDS(got, "\nOMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1\n");
    LACKS(got, "\nPUPIL_TTY=");
    unsetenv("OMPI_MCA_oob_tcp_keepalive_time");
    pupil_free(&got);
    program_free(&p);
}

static void streams_pass_unchanged(void **state)
{
    (void)state;
    program p;
    launch(&p, "printf 'out -- of --------- it\\n---\\n'; printf '\\rstep 1\\033[K' >&2; printf '\\r-- "
               "2\\033[K--\\nmpirun: other\\nm' >&2");
    assert_int_equal(p.code, 0);
    HOLDS(p.out, "\nout -- of --------- it\n---\n");
    assert_string_equal(p.err, "\rstep 1\033[K\r-- 2\033[K--\nmpirun: other\nm\n");
    program_free(&p);
}

static void exit_codes_come_back(void **state)
{
    (void)state;
    static const int code[][2] = {{0, 0}, {1, 1}, {2, 2}, {75, 75}, {3, 1}, {139, 1}};
    program p;
    for (int i = 0; i < PUPIL_COUNT(code); i++) {
        char *what =
            pupil_format("echo 'error: from a rank' >&2; printf '\\n%s\\nPrimary job  terminated normally, "
                         "but 1 process returned\\na non-zero exit code.\\n%s\\n' >&2; exit %d",
                         DASHES, DASHES, code[i][0]);
        launch(&p, what);
        CHECK(p.code == code[i][1], "mpirun's %d became %d", code[i][0], p.code);
        HOLDS(p.err, "error: from a rank\n");
        LACKS(p.err, "Primary job");
        LACKS(p.err, "---");
        CHECK(lines_of(p.err) == (code[i][0] == 3 || code[i][0] == 139 ? 3 : 2), "%s", p.err);
        pupil_free(&what);
        program_free(&p);
    }
}

static void a_killed_rank_gets_one_line(void **state)
{
    (void)state;
    program p;
    launch(
        &p,
        "printf '\\rstep 9 of 20\\033[K" DASHES
        "\\nPrimary job  terminated normally, but 1 process returned\\na non-zero exit code.\\n" DASHES
        "\\n' >&2;"
        "printf -- '" DASHES
        "\\nmpirun noticed that process rank 1 with PID 77 on node n1 exited on signal 9 (Killed).\\n" DASHES
        "\\n' >&2; exit 137");
    assert_int_equal(p.code, 1);
    assert_string_equal(p.err, "\rstep 9 of 20\033[K\nerror: rank 1 (teacher) was killed by signal 9 "
                               "(Killed); run the same command again to resume from the last "
                               "checkpoint\n");
    program_free(&p);
}

static void other_banners_are_shown(void **state)
{
    (void)state;
    program p;
    launch(&p,
           "printf -- '" DASHES "\\nORTE does not know how to reach node n9.\\n" DASHES "\\n' >&2; exit 1");
    assert_int_equal(p.code, 1);
    assert_string_equal(p.err, DASHES "\nORTE does not know how to reach node n9.\n" DASHES "\n");
    program_free(&p);
    launch(&p, "printf -- '" DASHES "\\nhalf of one' >&2; exit 0");
    assert_string_equal(p.err, DASHES "\nhalf of one\n");
    program_free(&p);
}

static void stop_becomes_usr1(void **state)
{
    (void)state;
    static const int sig[] = {SIGINT, SIGTERM, SIGUSR1};
    program p;
    char *ready = pupil_join(dir, "ready");
    char *what = pupil_format("trap 'echo mpirun: Forwarding signal 10 to job; exit 75' USR1; trap 'exit 9' "
                              "INT TERM; : >%s; while :; do sleep 0.05; done",
                              ready);
    for (int i = 0; i < PUPIL_COUNT(sig); i++) {
        unlink(ready);
        launch_begin(&p, what);
        wait_for(ready);
        kill(p.pid, sig[i]);
        program_end(&p);
        assert_int_equal(p.code, 75);
        HOLDS(p.err, "stopping: the job saves a checkpoint");
        LACKS(p.out, "Forwarding");
        program_free(&p);
    }
    DROP(ready, what);
}

static void a_second_stop_ends_it(void **state)
{
    (void)state;
    program p;
    char *ready = pupil_join(dir, "ready2"), *seen = pupil_join(dir, "seen2");
    char *what = pupil_format("trap ': >%s' USR1; trap 'exit 143' TERM; : >%s; while :; do sleep 0.05; done",
                              seen, ready);
    launch_begin(&p, what);
    wait_for(ready);
    kill(p.pid, SIGTERM);
    wait_for(seen);
    kill(p.pid, SIGTERM);
    program_end(&p);
    assert_int_equal(p.code, 1);
    HOLDS(p.err, "ending the job now");
    program_free(&p);
    DROP(ready, seen, what);
}

static void without_mpirun(void **state)
{
    (void)state;
    program p;
    setenv("PATH", dir, 1);
    launch(&p, "true");
    setenv("PATH", path, 1);
    assert_int_equal(p.code, 1);
    HOLDS(p.err, "apt-get install openmpi-bin");
    program_free(&p);
}

static void inside_mpirun(void **state)
{
    (void)state;
    program p;
    setenv("OMPI_COMM_WORLD_SIZE", "2", 1);
    launch(&p, "true");
    unsetenv("OMPI_COMM_WORLD_SIZE");
    assert_int_equal(p.code, 2);
    HOLDS(p.err, "mpirun ... pupil run ");
    program_free(&p);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(dry_run_starts_nothing),
        cmocka_unit_test(the_command_and_its_surroundings),
        cmocka_unit_test(streams_pass_unchanged),
        cmocka_unit_test(exit_codes_come_back),
        cmocka_unit_test(a_killed_rank_gets_one_line),
        cmocka_unit_test(other_banners_are_shown),
        cmocka_unit_test(stop_becomes_usr1),
        cmocka_unit_test(a_second_stop_ends_it),
        cmocka_unit_test(without_mpirun),
        cmocka_unit_test(inside_mpirun),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
