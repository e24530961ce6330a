/* Tars: the right bytes from every kind of header, broken samples named and left out, many tars as one list.
 */
#include "make_tar.h"

#include <fcntl.h>
#include <sys/stat.h>

static void every_kind_of_header_leads_to_the_bytes(void **state)
{
    static const int formats[] = {ARCHIVE_FORMAT_TAR_USTAR, ARCHIVE_FORMAT_TAR_GNUTAR,
                                  ARCHIVE_FORMAT_TAR_PAX_INTERCHANGE, ARCHIVE_FORMAT_TAR_PAX_RESTRICTED};
    char far[180], far_png[200], far_txt[200];
    memset(far, 'a', sizeof far);
    memcpy(far + 90, "/deep/", 6); /* ustar can split it there; the others take it whole */
    far[sizeof far - 1] = 0;
    snprintf(far_png, sizeof far_png, "%s.png", far);
    snprintf(far_txt, sizeof far_txt, "%s.txt", far);
    const file files[] = {
        PNG("./000.png"),           WORDS("./000.txt", " a cat\n"),     PNG(far_png),
        WORDS(far_txt, "far away"), WORDS("caf\xc3\xa9.TXT", "coffee"), PNG("caf\xc3\xa9.PNG")};
    for (int k = 0; k < PUPIL_COUNT(formats); k++) {
        char *path = make("kinds.tar", formats[k], files, 6);
        tars *t;
        if (open_one(path, NULL, &t) < 0) fail_msg("format %#x: %s", formats[k], pupil_reason());
        assert_int_equal(tars_count(t), 3);
        check_sample(t, 0, "000", "a cat");
        check_sample(t, 1, far, "far away");
        check_sample(t, 2, "caf\xc3\xa9", "coffee");
        tars_free(&t);
        pupil_free(&path);
    }
}

static void captions_come_from_text_then_json(void **state)
{
    const file files[] = {PNG("a.png"),
                          WORDS("a.txt", "one"),
                          WORDS("a.json", "{\"captions\": [\"one\", \"two\", 3, \"\", \"three \"]}"),
                          PNG("d/b.c.png"),
                          PNG("d/b.png"),
                          WORDS("d/b.json", "{\"caption\": \"only\", \"x\": [1]}"),
                          PNG("c.png"),
                          WORDS("c.txt", "kept"),
                          WORDS("c.json", "{broken"),
                          WORDS("c.cls", "7")};
    char *path = make("captions.tar", ARCHIVE_FORMAT_TAR_USTAR, files, PUPIL_COUNT(files));
    static const char *const want[] = {"one", "two", "three"};
    tars *t;
    assert_int_equal(open_one(path, NULL, &t), 0);
    assert_int_equal(tars_count(t), 3);
    assert_int_equal(tars_captions(t, 0), 3);
    for (int k = 0; k < 3; k++) assert_string_equal(tars_caption(t, 0, k), want[k]);
    check_sample(t, 1, "d/b", "only"); /* d/b.c.png is d/b with the extension c.png: not a picture of ours */
    check_sample(t, 2, "c", "kept");
    assert_int_equal(tars_class(t, 1), -1);
    assert_int_equal(tars_class(t, 2), 7);
    tars_free(&t);
    pupil_free(&path);
}

static void broken_samples_are_named_and_left_out(void **state)
{
    const struct {
        file f[3];
        const char *why;
    } cases[] = {
        {{WORDS("x.txt", "words")}, "x: no picture"},
        {{PNG("x.png")}, "x: no caption"},
        {{PNG("x.png"), WORDS("x.txt", " \n")}, "x: an empty caption"},
        {{PNG("x.png"), WORDS("x.json", "{\"captions\": [\"\"]}")}, "x: no caption"},
        {{PNG("x.png"), WORDS("x.txt", "w"), PNG("x.jpg")}, "x: its key comes twice"},
        {{PNG("x.png"), WORDS("x.txt", "\xff\xfe")}, "x: its caption is not UTF-8"},
        {{PNG("x.png"), WORDS("x.txt", "a\0b")}, "x: its caption holds a NUL byte"},
        {{WORDS("x.png", "<html>not found</html>"), WORDS("x.txt", "w")},
         "x: its picture is neither JPEG, PNG nor WebP"},
        {{WORDS("x.jpg", ""), WORDS("x.txt", "w")}, "x: its picture is empty"},
        {{PNG("a/../../x.png")}, "a/../../x.png: its name leads out of the data"},
        {{PNG("/x.png")}, "/x.png: its name leads out of the data"},
        {{PNG("x\n\033[1m.png")}, "x??[1m: no caption"},
    };
    for (int k = 0; k < PUPIL_COUNT(cases); k++) {
        file files[5] = {PNG("good.png"), WORDS("good.txt", "fine")};
        int n = 2;
        for (int i = 0; i < 3 && cases[k].f[i].name; i++) files[n++] = cases[k].f[i];
        char *path = make("broken.tar", ARCHIVE_FORMAT_TAR_USTAR, files, n);
        for (int again = 0; again < 2; again++) { /* the second time from the index */
            tars *t;
            assert_int_equal(open_one(path, NULL, &t), 0);
            if (!strstr(broken, cases[k].why) || strncmp(broken, "1: 1 ", 5)) fail_msg("%s, not %s", broken, cases[k].why);
            assert_int_equal(tars_count(t), 1);
            check_sample(t, 0, "good", "fine");
            tars_free(&t);
        }
        pupil_free(&path);
    }
}

/* A picture that says it has more than 256 MiB, in a sparse file on disk. */
static void giants_are_left_out(void **state)
{
    const file files[] = {PNG("a.png"), WORDS("a.txt", "w"), WORDS("b.txt", "w"), PNG("b.png")};
    char *path = make("giant.tar", ARCHIVE_FORMAT_TAR_USTAR, files, 4);
    int fd = open(path, O_RDWR);
    char head[512];
    const int64_t at = 6 * 512; /* the seventh block: header of b.png */
    assert_int_equal(pread(fd, head, 512, at), 512);
    assert_string_equal(head, "b.png");
    memcpy(head + 124, "02000000001", 12); /* 256 MiB + 1 */
    memset(head + 148, ' ', 8);
    unsigned sum = 0;
    for (int i = 0; i < 512; i++) sum += (unsigned char)head[i];
    snprintf(head + 148, 8, "%06o", sum);
    assert_int_equal(pwrite(fd, head, 512, at), 512);
    tars *t;
    assert_int_equal(open_one(path, NULL, &t), 0);
    assert_non_null(strstr(broken, "b: cut off by the tar's end"));
    tars_free(&t);
    assert_int_equal(ftruncate(fd, at + 512 + ((int64_t)257 << 20)), 0);
    close(fd);
    assert_int_equal(open_one(path, NULL, &t), 0);
    assert_non_null(strstr(broken, "b: its picture is larger than 256 MiB"));
    assert_int_equal(tars_count(t), 1);
    tars_free(&t);
    unlink(path);
    pupil_free(&path);
}

static void a_tar_cut_anywhere_gives_what_is_whole(void **state)
{
    const file files[] = {PNG("a.png"), WORDS("a.txt", "w"), PNG("b.png"), WORDS("b.txt", "w")};
    char *whole = make("whole.tar", ARCHIVE_FORMAT_TAR_USTAR, files, 4), *path = in_dir("cut.tar"), *bytes;
    size_t n;
    assert_int_equal(pupil_read_file(whole, 0, &bytes, &n), 0);
    for (size_t cut = 0; cut <= 8 * 512; cut += 128) {
        assert_int_equal(pupil_write_file(path, bytes, cut), 0);
        tars *t = NULL;
        int r = open_one(path, NULL, &t);
        int64_t want = cut >= 7 * 512 + 1   ? 2
                       : cut >= 3 * 512 + 1 ? 1
                                            : 0; /* a.txt is one byte behind block 3 */
        assert_int_equal(r, 0);
        assert_int_equal(t ? tars_count(t) : 0, want);
        tars_free(&t);
    }
    pupil_free(&bytes);
    pupil_free(&path);
    pupil_free(&whole);
}

static void what_is_no_tar_is_refused(void **state)
{
    char *path = in_dir("no.tar");
    tars *t = NULL;
    assert_int_equal(open_one(path, NULL, &t), PUPIL_ENOTFOUND);
    assert_int_equal(pupil_write_file(path, "\x1f\x8b\x08 gzip's first bytes", 20), 0);
    assert_int_equal(open_one(path, NULL, &t), PUPIL_EFORMAT);
    assert_non_null(strstr(pupil_reason(), "unpack it with gunzip first"));
    char words[2048];
    memset(words, 'w', sizeof words);
    assert_int_equal(pupil_write_file(path, words, sizeof words), 0);
    assert_int_equal(open_one(path, NULL, &t), 0); /* or a shard that was never copied: counted */
    assert_int_equal(tars_count(t), 0);
    if (!strstr(broken, "1: 1 the tar is damaged") || !strstr(broken, "not a tar")) fail_msg("%s", broken);
    tars_free(&t);
    assert_int_equal(open_one(dir, NULL, &t), PUPIL_EFORMAT);
    assert_non_null(strstr(pupil_reason(), "not a file"));
    pupil_free(&path);
}

static void many_tars_are_one_list(void **state)
{
    char name[32], key_png[32], key_txt[32], digest[2][65];
    char *pattern = in_dir("many-{00..19}.tar"), *far = in_dir("moved"), *paths[20];
    for (int i = 0; i < 20; i++) { /* more than are kept open; shard 19 has a key of shard 0 */
        snprintf(name, sizeof name, "many-%02d.tar", i);
        snprintf(key_png, sizeof key_png, "%d.png", i % 19);
        snprintf(key_txt, sizeof key_txt, "%d.txt", i % 19);
        const file files[] = {PNG(key_png), WORDS(key_txt, "w")};
        paths[i] = make(name, ARCHIVE_FORMAT_TAR_USTAR, files, 2);
    }
    tars *t;
    assert_int_equal(open_one(pattern, NULL, &t), 0);
    assert_int_equal(tars_count(t), 20);
    for (int round = 0; round < 2; round++)
        for (int i = 1; i < 19; i++) {
            snprintf(name, sizeof name, "%d", i);
            check_sample(t, i, name, "w");
        }
    assert_int_equal(tars_digest(t, digest[0]), 0);
    tars_free(&t);
    assert_int_equal(mkdir(far, 0777), 0);
    pupil_strings list = {pupil_alloc(20 * sizeof(char *)), 20};
    for (int i = 0; i < 20; i++) {
        list.item[i] = pupil_format("%s/%d.tar", far, i);
        rename(paths[i], list.item[i]);
        pupil_free(&paths[i]);
    }
    assert_int_equal(open_list(&list, NULL, &t), 0);
    assert_int_equal(tars_digest(t, digest[1]), 0);
    assert_string_equal(digest[0], digest[1]);
    tars_free(&t);
    char *swap = list.item[3];
    list.item[3] = list.item[4];
    list.item[4] = swap;
    assert_int_equal(open_list(&list, NULL, &t), 0);
    assert_int_equal(tars_digest(t, digest[1]), 0);
    assert_string_not_equal(digest[0], digest[1]);
    tars_free(&t);
    pupil_names_free(&list.item, 20);
    pupil_free(&far);
    pupil_free(&pattern);
}

static void braces_expand_as_in_a_shell(void **state)
{
    const struct {
        const char *pattern, *want;
    } good[] = {{"plain.tar", "plain.tar"},
                {"a-{008..011}.tar", "a-008.tar a-009.tar a-010.tar a-011.tar"},
                {"{9..11}", "9 10 11"},
                {"{2..0}", "2 1 0"},
                {"x{1,2}.tar", "x1.tar x2.tar"},
                {"{a,}{0..1}", "a0 a1 0 1"},
                {"{0..0}", "0"}};
    static const char *const bad[] = {"a{",     "a}",        "a{b}",           "{1..}",
                                      "{a..b}", "{1,{2,3}}", "{0..999999999}", "{0..99999}{0..99999}",
                                      "{}",     "}{"};
    pupil_strings names = {0};
    for (int k = 0; k < PUPIL_COUNT(good); k++) {
        pupil_buf all = {0};
        char *pattern = (char *)(uintptr_t)good[k].pattern;
        assert_int_equal(braces_expand(&(pupil_strings){&pattern, 1}, &names), 0);
        for (int i = 0; i < names.n; i++) pupil_buf_printf(&all, "%s%s", i ? " " : "", names.item[i]);
        assert_string_equal(all.s, good[k].want);
        pupil_names_free(&names.item, names.n);
        pupil_buf_free(&all);
    }
    for (int k = 0; k < PUPIL_COUNT(bad); k++) {
        char *pattern = (char *)(uintptr_t)bad[k];
        assert_int_equal(braces_expand(&(pupil_strings){&pattern, 1}, &names), PUPIL_EUSER);
        assert_null(names.item);
        assert_non_null(strstr(pupil_reason(), bad[k]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_header_leads_to_the_bytes),
        cmocka_unit_test(captions_come_from_text_then_json),
        cmocka_unit_test(broken_samples_are_named_and_left_out),
        cmocka_unit_test(giants_are_left_out),
        cmocka_unit_test(a_tar_cut_anywhere_gives_what_is_whole),
        cmocka_unit_test(what_is_no_tar_is_refused),
        cmocka_unit_test(many_tars_are_one_list),
        cmocka_unit_test(braces_expand_as_in_a_shell),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
