/* Text, escapes, reasons: what leaves the program must read back as what was meant. */
#include "../proof.h"

#include <fcntl.h>
#include <jansson.h>
#include <sys/wait.h>

static void json_strings_read_back(void **state)
{
    static const char *const cases[] = {"",
                                        "plain",
                                        "a \"quoted\" \\ back",
                                        "tab\tnewline\ncarriage\rbell\a\x7f",
                                        "ünïcödé €  𝄞 \xf4\x8f\xbf\xbf",
                                        "</script>",
                                        "\x01\x1f"};
    for (int i = 0; i < PUPIL_COUNT(cases); i++) {
        pupil_buf b = {0};
        pupil_buf_json(&b, cases[i]);
        json_t *v = json_loads(b.s, JSON_DECODE_ANY, NULL);
        CHECK(v, "case %d is no JSON: %s", i, b.s);
        assert_string_equal(json_string_value(v), cases[i]);
        json_decref(v);
        pupil_buf_free(&b);
    }
}

static void json_strings_survive_any_bytes(void **state)
{
    pupil_rng r = pupil_rng_at(3, PUPIL_STREAM_TEST, 1);
    static const char nasty[] = "\xc0\xe0\xed\xf0\xf4\xf5\xff\x80\xbf\xa0\x90\x8f\"\\\n\x01z";
    for (int round = 0; round < 3000; round++) {
        char s[24] = {0};
        for (int i = 0; i < 20; i++)
            s[i] = round % 2 ? (char)(1 + pupil_rng_below(&r, 255))
                             : nasty[pupil_rng_below(&r, sizeof nasty - 1)];
        pupil_buf b = {0};
        pupil_buf_json(&b, s);
        json_t *v = json_loads(b.s, JSON_DECODE_ANY, NULL);
        CHECK(v, "round %d is no JSON: %s", round, b.s);
        json_decref(v);
        pupil_buf_free(&b);
    }
    pupil_buf b = {0};
    pupil_buf_json(&b, "a\xed\xa0\x80z\xc0\xaf"); /* a surrogate half, an overlong slash */
    assert_string_equal(b.s, "\"a\\ufffd\\ufffd\\ufffdz\\ufffd\\ufffd\"");
    pupil_buf_free(&b);
}

static char *number(double x)
{
    pupil_buf b = {0};
    pupil_buf_json_num(&b, x);
    return b.s;
}

static void numbers_read_back_and_are_short(void **state)
{
    static const struct {
        double x;
        const char *text;
    } cases[] = {{0, "0"},
                 {1, "1"},
                 {0.1, "0.1"},
                 {-2.5, "-2.5"},
                 {100, "100"},
                 {1200, "1200"},
                 {123456789, "123456789"},
                 {1e15, "1000000000000000"},
                 {1e22, "1e+22"},
                 {5e-324, "5e-324"},
                 {1.0 / 3, "0.3333333333333333"},
                 {0.0005, "0.0005"},
                 {NAN, "null"},
                 {INFINITY, "null"},
                 {-INFINITY, "null"},
                 {9007199254740993.0, "9007199254740992"}};
    for (int i = 0; i < PUPIL_COUNT(cases); i++) {
        char *s = number(cases[i].x);
        assert_string_equal(s, cases[i].text);
        pupil_free(&s);
    }
    pupil_rng r = pupil_rng_at(4, PUPIL_STREAM_TEST, 1);
    for (int i = 0; i < 20000; i++) {
        union {
            uint64_t u;
            double x;
        } v = {.u = pupil_rng_next(&r)};
        if (i % 3 == 0) v.x = (double)(float)pupil_rng_normal(&r);
        if (!isfinite(v.x)) continue;
        char *s = number(v.x), less[40];
        CHECK(strtod(s, NULL) == v.x, "%.17g is printed as %s", v.x, s);
        snprintf(less, sizeof less, "%.15g", v.x);
        if (strtod(less, NULL) == v.x) CHECK(strlen(s) <= strlen(less), "%s could be %s", s, less);
        json_t *j = json_loads(s, JSON_DECODE_ANY, NULL);
        CHECK(j && json_number_value(j) == v.x, "%s is no JSON number", s);
        json_decref(j);
        pupil_free(&s);
    }
}

static void html_and_base64(void **state)
{
    pupil_buf b = {0};
    pupil_buf_html(&b, "<a href=\"x\">Tom & Jerry's</a> ü");
    assert_string_equal(b.s, "&lt;a href=&quot;x&quot;&gt;Tom &amp; Jerry&#39;s&lt;/a&gt; ü");
    pupil_buf_free(&b);
    /* RFC 4648, section 10 */
    static const char *const cases[][2] = {{"", ""},
                                           {"f", "Zg=="},
                                           {"fo", "Zm8="},
                                           {"foo", "Zm9v"},
                                           {"foob", "Zm9vYg=="},
                                           {"fooba", "Zm9vYmE="},
                                           {"foobar", "Zm9vYmFy"}};
    for (int i = 0; i < PUPIL_COUNT(cases); i++) {
        pupil_buf_puts(&b, "");
        pupil_buf_base64(&b, cases[i][0], strlen(cases[i][0]));
        assert_string_equal(b.s, cases[i][1]);
        pupil_buf_free(&b);
    }
    pupil_buf_base64(&b, "\xff\xef\xbe\x00", 4);
    assert_string_equal(b.s, "/+++AA==");
    pupil_buf_free(&b);
}

static void buffers_grow(void **state)
{
    pupil_buf b = {0};
    for (int i = 0; i < 5000; i++) pupil_buf_printf(&b, "%d,", i);
    assert_int_equal(b.len, strlen(b.s));
    char *p = b.s;
    for (int i = 0; i < 5000; i++, p++) assert_int_equal(strtol(p, &p, 10), i);
    pupil_buf_free(&b);
    assert_null(b.s);
    int *list = NULL;
    int64_t cap = 0;
    for (int i = 0; i < 1000; i++) {
        PUPIL_GROW(list, i, cap);
        list[i] = i;
    }
    for (int i = 0; i < 1000; i++) assert_int_equal(list[i], i);
    pupil_free(&list);
    assert_null(list);
}

static void memory_is_zeroed_and_aligned(void **state)
{
    for (size_t n = 0; n < 400; n += 13) {
        uint8_t *p = pupil_alloc(n);
        assert_int_equal((uintptr_t)p % 64, 0);
        for (size_t i = 0; i < n; i++) assert_int_equal(p[i], 0);
        memset(p, 0xa5, n);
        pupil_free(&p);
    }
}

/* Runs what() in a child; its exit status and what it wrote to stderr. */
static int in_child(void (*what)(void), char *said, size_t room)
{
    int fd[2];
    assert_int_equal(pipe(fd), 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(fd[1], STDERR_FILENO);
        close(fd[0]);
        what();
        _exit(0);
    }
    close(fd[1]);
    size_t n = 0;
    for (ssize_t k; (k = read(fd[0], said + n, room - 1 - n)) > 0;) n += (size_t)k;
    said[n] = 0;
    close(fd[0]);
    int status;
    waitpid(pid, &status, 0);
    return status;
}

static void ask_too_much(void)
{
    volatile size_t n = SIZE_MAX - 100;
    pupil_alloc(n);
}
static void ask_a_lot(void)
{
    volatile size_t n = SIZE_MAX / 4;
    pupil_alloc(n);
}
static void break_an_invariant(void)
{
    PUPIL_REQUIRE(1 + 1 == 3);
}
static void speak(void)
{
    pupil_info("rank 0 %s", "speaks");
    pupil_log(PUPIL_LOG_DEBUG, "unheard");
    pupil_log_identity(3, 4, "host7");
    pupil_info("unheard");
    pupil_warn("heard");
    char *big = pupil_format("%4000d", 7);
    pupil_log(PUPIL_LOG_ERROR, "%s", big);
}

static void ends_with_a_message(void **state)
{
    char said[8192];
#ifdef __SANITIZE_ADDRESS__
    enum { KINDS = 1 }; /* its own limit speaks before calloc does */
#else
    enum { KINDS = 2 };
#endif
    for (int i = 0; i < KINDS; i++) {
        int status = in_child(i ? ask_a_lot : ask_too_much, said, sizeof said);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 1, "status %x", status);
        assert_non_null(strstr(said, "out of memory"));
    }
    int status = in_child(break_an_invariant, said, sizeof said);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_non_null(strstr(said, "test_text.c"));
    assert_non_null(strstr(said, "1 + 1 == 3"));
    assert_int_equal(in_child(speak, said, sizeof said), 0);
    const char *begin = "rank 0 speaks\n[rank 3 host7] warning: heard\n[rank 3 host7] error:    ";
    assert_int_equal(strncmp(said, begin, strlen(begin)), 0);
    assert_int_equal(said[strlen(said) - 1], '\n');
    assert_null(strstr(said, "unheard"));
}

static void reasons(void **state)
{
    assert_int_equal(pupil_fail(PUPIL_EIO, "disk %d\nfull", 3), PUPIL_EIO);
    assert_string_equal(pupil_reason(), "disk 3 full");
    pupil_fail(PUPIL_EFORMAT, "a\033[2Jb\tc\x7f\r\xc3\xa9");
    assert_string_equal(pupil_reason(), "a [2Jb c  \xc3\xa9");
    pupil_fail(PUPIL_EIO, "disk 3 full");
    assert_int_equal(pupil_context(PUPIL_EIO, "while %s", "saving"), PUPIL_EIO);
    assert_string_equal(pupil_reason(), "while saving: disk 3 full");
    assert_int_equal(pupil_context(0, "no effect"), 0);
    assert_string_equal(pupil_reason(), "while saving: disk 3 full");
    char *big = pupil_format("%3000d", 7);
    pupil_fail(PUPIL_EIO, "%s", big);
    pupil_context(PUPIL_EIO, "%s", big);
    pupil_context(PUPIL_EIO, "outermost");
    assert_true(strlen(pupil_reason()) < 1024);
    assert_int_equal(strncmp(pupil_reason(), "outermost: ", 11), 0);
    pupil_free(&big);
    assert_int_equal(pupil_exit_code(PUPIL_OK), 0);
    assert_int_equal(pupil_exit_code(PUPIL_EUSER), 2);
    assert_int_equal(pupil_exit_code(PUPIL_EIO), 1);
    assert_int_equal(pupil_exit_code(PUPIL_EMPI), 1);
    assert_int_equal(pupil_exit_code(PUPIL_ESTOP), 75);
    assert_string_equal(pupil_status_text(PUPIL_ECRC), "stored bytes do not match their checksum");
    assert_string_equal(pupil_status_text(-999), "unknown status");
}

static void small_helpers(void **state)
{
    char t[32];
    assert_string_equal(pupil_duration(42.4, t), "42s");
    assert_string_equal(pupil_duration(185, t), "3m 05s");
    assert_string_equal(pupil_duration(3720, t), "1h 02m");
    assert_string_equal(pupil_duration(NAN, t), "--");
    assert_string_equal(pupil_bytes_text(12.3 * 1048576, t), "12.3 MiB");
    assert_string_equal(pupil_bytes_text(17, t), "17 B");
    assert_int_equal(strlen(pupil_utc(t)), 20);
    assert_int_equal(pupil_edit_distance("kitten", "sitting"), 3);
    assert_int_equal(pupil_edit_distance("", "abc"), 3);
    assert_int_equal(pupil_edit_distance("abc", ""), 3);
    assert_int_equal(pupil_edit_distance("batch_size", "bach_size"), 1);
    assert_int_equal(pupil_edit_distance("same", "same"), 0);
    double before = pupil_now();
    assert_true(pupil_now() >= before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_strings_read_back),
        cmocka_unit_test(json_strings_survive_any_bytes),
        cmocka_unit_test(numbers_read_back_and_are_short),
        cmocka_unit_test(html_and_base64),
        cmocka_unit_test(buffers_grow),
        cmocka_unit_test(memory_is_zeroed_and_aligned),
        cmocka_unit_test(ends_with_a_message),
        cmocka_unit_test(reasons),
        cmocka_unit_test(small_helpers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
