/* test_journal.c: lines survive what they hold, torn tails, other appenders, and writers that were replaced.
 */
#include "store_proof.h"

#include "journal.h"

static char *dir, *path;

static int begin(void **state)
{
    (void)state;
    dir = folder_new();
    path = pupil_join(dir, "journal.txt");
    return 0;
}

static int end(void **state)
{
    (void)state;
    pupil_free(&path);
    folder_end(&dir);
    return 0;
}

static void note(const char *value)
{
    GOOD(pupil_journal_append(path, "note", (const char *const[]){"v", value, NULL}));
}

static void put_raw(const char *bytes, size_t n)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0666);
    assert_int_equal(write(fd, bytes, n), n);
    close(fd);
}

static void values_come_back(void **state)
{
    (void)state;
    static const char *const value[] = {
        "plain", "", "two words", "a=b", "100%", "tab\tnew\nline", "crc=00000000", "\x7f\x01", "h\xc3\xa9"};
    for (int i = 0; i < PUPIL_COUNT(value); i++) note(value[i]);
    pupil_journal j = {0};
    GOOD(pupil_journal_read(path, &j));
    assert_int_equal(j.n, PUPIL_COUNT(value));
    assert_int_equal(j.torn, 0);
    for (int i = 0; i < PUPIL_COUNT(value); i++) {
        assert_string_equal(j.record[i].kind, "note");
        assert_string_equal(pupil_record_get(&j.record[i], "v"), value[i]);
        assert_null(pupil_record_get(&j.record[i], "w"));
        assert_true(j.record[i].believed);
    }
    pupil_journal_free(&j);
}

static void reads_go_on(void **state)
{
    (void)state;
    pupil_journal j = {0};
    GOOD(pupil_journal_read(path, &j)); /* no file yet */
    assert_int_equal(j.n, 0);
    for (int i = 1; i <= 5; i++) {
        note("more");
        GOOD(pupil_journal_read(path, &j));
        assert_int_equal(j.n, i);
        assert_int_equal(j.offset, pupil_file_size(path));
    }
    GOOD(truncate(path, 10));
    BAD(pupil_journal_read(path, &j), PUPIL_EFORMAT, "has become shorter");
    pupil_journal_free(&j);
}

static void torn_tail_at_every_length(void **state)
{
    (void)state;
    note("first");
    int64_t whole = pupil_file_size(path);
    note("second, the one that is cut");
    int64_t full = pupil_file_size(path);
    char *bytes;
    GOOD(pupil_read_file(path, 0, &bytes, NULL));
    for (int64_t cut = whole + 1; cut < full; cut++) {
        pupil_journal j = {0};
        unlink(path);
        put_raw(bytes, (size_t)cut);
        GOOD(pupil_journal_read(path, &j));
        assert_int_equal(j.n, 1);
        assert_int_equal(j.torn, 0); /* may still be under way */
        assert_int_equal(j.offset, whole);
        note("third");
        GOOD(pupil_journal_read(path, &j));
        bool only_newline_missing = cut == full - 1;
        assert_int_equal(j.n, only_newline_missing ? 3 : 2);
        assert_int_equal(j.torn, only_newline_missing ? 0 : 1);
        assert_string_equal(pupil_record_get(&j.record[j.n - 1], "v"), "third");
        pupil_journal_free(&j);
    }
    pupil_free(&bytes);
}

static void every_flip_is_seen(void **state)
{
    (void)state;
    note("0123456789");
    int64_t n = pupil_file_size(path);
    for (int64_t at = 0; at < n; at++) {
        for (int bit = 0; bit < 8; bit++) {
            char *bytes;
            GOOD(pupil_read_file(path, 0, &bytes, NULL));
            bytes[at] = (char)(bytes[at] ^ 1 << bit);
            pupil_journal j = {0};
            journal_parse(&j, bytes, (size_t)n);
            bool case_of_crc_digit = j.n == 1 && bit == 5 && at >= n - 9; /* a-f as A-F is the same number */
            CHECK(j.n == 0 || case_of_crc_digit, "bit %d of byte %lld", bit, (long long)at);
            pupil_journal_free(&j);
            pupil_free(&bytes);
        }
    }
}

static void hostile_lines(void **state)
{
    (void)state;
    pupil_buf b = {0};
    static const char *const body[] = {"",
                                       " ",
                                       "kind",
                                       "akindthatistoolong a=b",
                                       "k a",
                                       "k =b",
                                       "k a=%",
                                       "k a=%4",
                                       "k a=%zz",
                                       "k a=%00",
                                       "k a=1 b=2 c=3 d=4 e=5 f=6 g=7 h=8 i=9 j=1 k=2 l=3 m=4 n=5 o=6 p=7 "
                                       "q=8 r=9 s=1 t=2 u=3 v=4 w=5 x=6 y=7"};
    for (int i = 0; i < PUPIL_COUNT(body); i++)
        pupil_buf_printf(&b, "%s crc=%08x\n", body[i], pupil_crc32c(0, body[i], strlen(body[i])));
    pupil_buf_puts(&b, "\n\ncrc=\n crc=12345678\n");
    pupil_buf_add(&b, "a\0b=c crc=00000000\n", 19);
    put_raw(b.s, b.len);
    pupil_buf_free(&b);
    char *big = pupil_alloc(9 << 20); /* one line longer than any record, never ended */
    memset(big, 'x', 9 << 20);
    put_raw(big, 9 << 20);
    pupil_free(&big);
    note("still here");
    pupil_journal j = {0};
    GOOD(pupil_journal_read(path, &j));
    assert_int_equal(j.n, 2); /* "kind" alone is a record without fields */
    assert_string_equal(pupil_record_get(&j.record[1], "v"), "still here");
    assert_true(j.torn >= PUPIL_COUNT(body) + 2);
    pupil_journal_free(&j);
}

static void not_a_plain_file(void **state)
{
    (void)state;
    pupil_journal j = {0};
    GOOD(mkdir(path, 0777));
    BAD(pupil_journal_read(path, &j), PUPIL_EIO, "is not a plain file");
    BAD(pupil_journal_append(path, "k", (const char *const[]){NULL}), PUPIL_EIO, path);
    rmdir(path);
    GOOD(mkfifo(path, 0666));
    BAD(pupil_journal_read(path, &j), PUPIL_EIO, "is not a plain file");
    unlink(path);
    GOOD(symlink("/etc/passwd", path));
    BAD(pupil_journal_read(path, &j), PUPIL_EIO, "symbolic link");
    BAD(pupil_journal_append(path, "k", (const char *const[]){NULL}), PUPIL_EIO, "symbolic link");
}

static void say(const char *lane, const char *n)
{
    GOOD(pupil_journal_append(path, "seg", (const char *const[]){"lane", lane, "n", n, NULL}));
}

static void replaced_writers_are_not_believed(void **state)
{
    (void)state;
    int64_t n;
    say("0", "1"); /* before any generation */
    GOOD(pupil_journal_generation(path, "0", &n));
    assert_int_equal(n, 1);
    say("0", "1");
    GOOD(pupil_journal_generation(path, "other lane", &n));
    assert_int_equal(n, 1);
    GOOD(pupil_journal_generation(path, "0", &n));
    assert_int_equal(n, 2);
    say("0", "1");
    say("0", "2");
    say("0", "3"); /* of the future */
    say("other lane", "1");
    say("0", "2x");
    say("0", "-2");
    GOOD(pupil_journal_append(path, "gen", (const char *const[]){"lane", "0", "n", "2", NULL}));
    note("no lane");
    GOOD(pupil_journal_append(path, "gen",
                              (const char *const[]){"lane", "0", "n", "99999999999999999999", NULL}));
    say("0", "2");
    static const char *const want = "NYYYYNYNYNNNYNY";
    for (int whole = 0; whole < 2; whole++) { /* at once, and byte by byte */
        pupil_journal j = {0};
        if (whole) {
            GOOD(pupil_journal_read(path, &j));
        } else {
            char *bytes;
            size_t size, from = 0;
            GOOD(pupil_read_file(path, 0, &bytes, &size));
            for (size_t to = 1; to <= size; to++) from += journal_parse(&j, bytes + from, to - from);
            pupil_free(&bytes);
        }
        assert_int_equal(j.n, strlen(want));
        for (int64_t i = 0; i < j.n; i++)
            CHECK(j.record[i].believed == (want[i] == 'Y'), "record %lld", (long long)i);
        pupil_journal_free(&j);
    }
}

enum { PROCESSES = 4, EACH = 60 };

static int append_many(void *who)
{
    char value[EACH * 40];
    for (int i = 0; i < EACH; i++) {
        int n = snprintf(value, sizeof value, "%d.%d.", *(int *)who, i);
        memset(value + n, 'v', (size_t)(i * 37)); /* long ones too */
        value[n + i * 37] = 0;
        int r = pupil_journal_append(path, "many", (const char *const[]){"v", value, NULL});
        if (r < 0) return r;
    }
    return 0;
}

static void appenders_together_lose_nothing(void **state)
{
    (void)state;
    pid_t pid[PROCESSES];
    fflush(NULL);
    for (int k = 0; k < PROCESSES; k++)
        if ((pid[k] = fork()) == 0) _exit(-append_many(&k));
    for (int k = 0, status; k < PROCESSES; k++) {
        assert_int_equal(waitpid(pid[k], &status, 0), pid[k]);
        assert_int_equal(status, 0);
    }
    pupil_journal j = {0};
    int next[PROCESSES] = {0};
    GOOD(pupil_journal_read(path, &j));
    assert_int_equal(j.n, PROCESSES * EACH);
    assert_int_equal(j.torn, 0);
    for (int64_t i = 0; i < j.n; i++) {
        int who, which, used;
        const char *v = pupil_record_get(&j.record[i], "v");
        assert_int_equal(sscanf(v, "%d.%d.%n", &who, &which, &used), 2);
        assert_int_equal(which, next[who]++);
        assert_int_equal(strlen(v + used), which * 37);
    }
    pupil_journal_free(&j);
}

static int open_generations(void *unused)
{
    (void)unused;
    for (int i = 0; i < 25; i++) {
        int64_t n;
        int r = pupil_journal_generation(path, "0", &n);
        if (r < 0) return r;
    }
    return 0;
}

static void no_generation_is_given_twice(void **state)
{
    (void)state;
    pid_t pid[2];
    fflush(NULL);
    for (int k = 0; k < 2; k++)
        if ((pid[k] = fork()) == 0) _exit(-open_generations(NULL));
    for (int k = 0, status; k < 2; k++) {
        assert_int_equal(waitpid(pid[k], &status, 0), pid[k]);
        assert_int_equal(status, 0);
    }
    pupil_journal j = {0};
    GOOD(pupil_journal_read(path, &j));
    assert_int_equal(j.n, 50);
    for (int64_t i = 0; i < j.n; i++) assert_true(j.record[i].believed);
    assert_int_equal(journal_latest(&j, "0"), 50);
    pupil_journal_free(&j);
}

static int append_one(void *unused)
{
    (void)unused;
    return pupil_journal_append(path, "note", (const char *const[]){"v", "late", NULL});
}

static void an_append_waits_for_the_lock(void **state)
{
    (void)state;
    note("early");
    const int64_t before = pupil_file_size(path);
    int fd = open(path, O_RDWR | O_CLOEXEC), status;
    GOOD(fcntl(fd, F_OFD_SETLK, &(struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET}));
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) _exit(-append_one(NULL));
    usleep(100000);
    assert_int_equal(waitpid(pid, &status, WNOHANG), 0);
    assert_int_equal(pupil_file_size(path), before);
    GOOD(fcntl(fd, F_OFD_SETLK, &(struct flock){.l_type = F_UNLCK, .l_whence = SEEK_SET}));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_true(pupil_file_size(path) > before);
    close(fd);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        T(values_come_back),
        T(reads_go_on),
        T(torn_tail_at_every_length),
        T(every_flip_is_seen),
        T(hostile_lines),
        T(not_a_plain_file),
        T(replaced_writers_are_not_believed),
        T(appenders_together_lose_nothing),
        T(no_generation_is_given_twice),
        T(an_append_waits_for_the_lock),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
