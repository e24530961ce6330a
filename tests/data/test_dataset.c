/* test_dataset.c: what holds for every source: pictures that break only when they are decoded, digests, tars
 * with classes, indices made ahead. */
#include "make_files.h"
#include "make_tar.h"

static char *tar_in_dir(const char *name, const file *files_, int n)
{
    return make(name, ARCHIVE_FORMAT_TAR_USTAR, files_, n);
}

static pupil_dataset *opened(const settings *s)
{
    pupil_dataset *d;
    pupil_log_set_level(PUPIL_LOG_ERROR);
    if (pupil_dataset_open(&s->conf, dir, &d) < 0) fail_msg("%s", pupil_reason());
    return d;
}

static void expect_black(pupil_dataset *d, int64_t i)
{
    pupil_image im;
    assert_int_equal(pupil_dataset_image(d, PUPIL_TEST, i, &im), 0);
    assert_true(im.w == 64 && im.h == 64);
    for (int k = 0; k < 3 * 64 * 64; k++) assert_int_equal(im.rgb[k], 0);
    pupil_image_free(&im);
}

/* Broken in every way that a list of files does not show; the two good ones stay what they are. */
static void broken_pictures_are_black_on_every_rank(void **state)
{
    (void)state;
    uint8_t bomb[sizeof png_rgb];
    memcpy(bomb, png_rgb, sizeof bomb);
    memcpy(bomb + 16, "\x00\x00\xff\xff\x00\x00\xff\xff", 8); /* 65535 x 65535 pixels in 100 bytes */
    put_picture("img/0.png");
    put("img/1.png", png_rgb, sizeof png_rgb / 2);
    put_text("img/2.png", "<html>not found</html>");
    put_text("img/3.png", "");
    put("img/4.png", bomb, sizeof bomb);
    put_picture("img/5.png");
    put_text("t.csv", "filepath,title\n0.png,a\n1.png,b\n2.png,c\n3.png,d\n4.png,e\n5.png,f\n");
    settings s;
    settings_begin(&s, PUPIL_SOURCE_CSV, "t.csv", "img");
    pupil_dataset *one = opened(&s), *two = opened(&s); /* another rank, another order */
    char *caption;
    for (int i = 1; i <= 4; i++) expect_black(one, i);
    for (int i = 4; i >= 1; i--) expect_black(two, i), expect_black(two, i);
    assert_int_equal(pupil_dataset_blackened(one), 4);
    assert_int_equal(pupil_dataset_blackened(two), 4); /* each once */
    assert_int_equal(pupil_dataset_caption(one, PUPIL_TEST, 3, 0, &caption), 0);
    assert_string_equal(caption, "d");
    pupil_buf told = {0};
    pupil_dataset_problems(one, &told);
    if (!strstr(told.s, "4 pictures cannot be decoded and are black, first ") ||
        !strstr(told.s, "img/1.png: "))
        fail_msg("%s", told.s);
    pupil_buf_free(&told);
    pupil_free(&caption);
    pupil_dataset_free(&two);
    s.conf.skip_bad = false;
    two = opened(&s);
    pupil_image im;
    for (int i = 0; i < 6; i++) {
        bool good = i == 0 || i == 5;
        assert_int_equal(pupil_dataset_image(two, PUPIL_TEST, i, &im), good ? 0 : PUPIL_EFORMAT);
        if (good) pupil_image_free(&im);
        else assert_non_null(strstr(pupil_reason(), "img/"));
    }
    char *path = in_dir("img/5.png"); /* a file that cannot be read just now says nothing about its content */
    unlink(path);
    assert_int_equal(pupil_dataset_image(one, PUPIL_TEST, 5, &im), PUPIL_EIO);
    assert_int_equal(mkdir(path, 0777), 0);
    expect_black(one, 5);
    rmdir(path);
    pupil_free(&path);
    pupil_dataset_free(&one);
    pupil_dataset_free(&two);
    settings_end(&s);
}

static void a_broken_picture_in_a_tar_is_black(void **state)
{
    (void)state;
    const file files_[] = {
        {"a.png", png_rgb, 60}, WORDS("a.txt", "cut"), PNG("b.png"), WORDS("b.txt", "whole")};
    char *path = tar_in_dir("black.tar", files_, 4);
    settings s;
    settings_begin(&s, PUPIL_SOURCE_WEBDATASET, "black.tar", NULL);
    pupil_dataset *d = opened(&s);
    pupil_image im;
    expect_black(d, 0);
    assert_int_equal(pupil_dataset_image(d, PUPIL_TEST, 1, &im), 0);
    assert_memory_equal(im.rgb, png_rgb_rgb, sizeof png_rgb_rgb);
    pupil_image_free(&im);
    pupil_dataset_free(&d);
    settings_end(&s);
    pupil_free(&path);
}

static void tars_may_have_classes_alone(void **state)
{
    (void)state;
    const file files_[] = {
        PNG("a.png"), WORDS("a.cls", "1\n"), PNG("b.png"), WORDS("b.cls", "0"), WORDS("b.txt", "its own"),
        PNG("c.png"), WORDS("c.cls", "x"),   PNG("d.png"), WORDS("d.cls", "-1")};
    char *path = tar_in_dir("classes.tar", files_, PUPIL_COUNT(files_));
    settings s;
    settings_begin(&s, PUPIL_SOURCE_WEBDATASET, "classes.tar", NULL);
    expect_refusal(&s, PUPIL_EUSER, "a: a class (.cls) but no caption: data.class_names");
    s.conf.class_names = in_dir("names.txt");
    put_text("names.txt", "zero\none\n");
    expect(&s, "a [1] a photo of a one.\nb [0] its own\n", "2 its class is not a number");
    put_text("names.txt", "zero\n");
    expect_refusal(&s, PUPIL_EFORMAT, "class 1, but");
    pupil_free(&s.conf.class_names);
    settings_end(&s);
    pupil_free(&path);
}

/* Members as img2dataset (CC3M, DataComp) writes them, and others that are found in the wild. */
static void tars_of_the_wild_are_read(void **state)
{
    (void)state;
    const file files_[] = {
        PNG("./00000/000000001.JPG"),
        WORDS("./00000/000000001.json",
              "{\"caption\": \"both\", \"text\": \"unused\", \"url\": \"u\", \"key\": \"000000001\"}"),
        WORDS("./00000/000000001.txt", "both"),
        PNG("a/b/2.png"),
        WORDS("a/b/2.txt", "two\nlines"),
        PNG("3.webp"),
        WORDS("3.json", "{\"text\": [\"x\", \"y\"], \"captions\": null}"),
        WORDS("3.cls", "5"),
        WORDS("3.url", "http://")};
    char *path = tar_in_dir("wild.tar", files_, PUPIL_COUNT(files_));
    settings s;
    settings_begin(&s, PUPIL_SOURCE_WEBDATASET, "wild.tar", NULL);
    expect(&s, "00000/000000001 both\na/b/2 two\nlines\n3 [5] x | y\n", "");
    settings_end(&s);
    pupil_free(&path);
}

/* A link in a tar is followed nowhere. */
static void links_in_tars_are_no_samples(void **state)
{
    (void)state;
    char *path = in_dir("links.tar");
    struct archive *a = archive_write_new();
    archive_write_set_format(a, ARCHIVE_FORMAT_TAR_USTAR);
    assert_int_equal(archive_write_open_filename(a, path), ARCHIVE_OK);
    const file good[] = {PNG("good.png"), WORDS("good.txt", "fine"), WORDS("soft.txt", "a link"),
                         WORDS("hard.txt", "a link")};
    for (int i = 0; i < PUPIL_COUNT(good); i++) add(a, &good[i]);
    for (int hard = 0; hard < 2; hard++) {
        struct archive_entry *e = archive_entry_new();
        archive_entry_set_pathname(e, hard ? "hard.png" : "soft.png");
        archive_entry_set_filetype(e, hard ? AE_IFREG : AE_IFLNK);
        if (hard) archive_entry_set_hardlink(e, "good.png");
        else archive_entry_set_symlink(e, "/etc/passwd");
        assert_int_equal(archive_write_header(a, e), ARCHIVE_OK);
        archive_entry_free(e);
    }
    assert_int_equal(archive_write_close(a), ARCHIVE_OK);
    archive_write_free(a);
    settings s;
    settings_begin(&s, PUPIL_SOURCE_WEBDATASET, "links.tar", NULL);
    expect(&s, "good fine\n", "2 no picture");
    settings_end(&s);
    pupil_free(&path);
}

static void digests_tell_lists_apart(void **state)
{
    (void)state;
    static const char *const csv[] = {
        "filepath,title\n0.png,a\n5.png,b\n", "filepath,title\n5.png,b\n0.png,a\n",
        "filepath,title\n0.png,a\n5.png,c\n", "filepath,title\n0.png,a\n0.png,b\n5.png,b\n"};
    char digest[PUPIL_COUNT(csv) + 2][65];
    settings s;
    put_picture("img/0.png");
    put_picture("img/5.png");
    put_picture("moved/0.png");
    put_picture("moved/5.png");
    for (int i = 0; i < PUPIL_COUNT(csv) + 2; i++) {
        put_text("t.csv", csv[i % PUPIL_COUNT(csv)]);
        if (i > PUPIL_COUNT(csv)) put("moved/0.png", jpeg_grey, sizeof jpeg_grey); /* another picture */
        settings_begin(&s, PUPIL_SOURCE_CSV, "t.csv", i < PUPIL_COUNT(csv) ? "img" : "moved");
        pupil_dataset *d = opened(&s);
        assert_int_equal(pupil_dataset_digest(d, PUPIL_TEST, digest[i]), 0);
        pupil_dataset_free(&d);
        settings_end(&s);
    }
    assert_string_equal(digest[0], digest[PUPIL_COUNT(csv)]); /* where they lie does not matter */
    assert_string_not_equal(digest[1], digest[PUPIL_COUNT(csv) + 1]);
    for (int i = 0; i < PUPIL_COUNT(csv); i++)
        for (int k = 0; k < i; k++) assert_string_not_equal(digest[i], digest[k]);
}

static void count_ticks(void *n, const char *tar, int64_t done, int64_t of)
{
    assert_true(done < of && strstr(tar, ".tar"));
    ++*(int *)n;
}

static void indices_can_be_made_ahead(void **state)
{
    (void)state;
    const file files_[] = {PNG("a.png"), WORDS("a.txt", "w")};
    char *one = tar_in_dir("ahead-0.tar", files_, 2), *two = tar_in_dir("ahead-1.tar", files_, 2),
         *idx = pupil_format("%s.idx", two);
    int ticks = 0;
    settings s;
    settings_begin(&s, PUPIL_SOURCE_WEBDATASET, "ahead-{0..1}.tar", NULL);
    assert_int_equal(pupil_dataset_index(&s.conf, NULL, count_ticks, &ticks), 2);
    assert_true(ticks == 2 && pupil_exists(idx));
    assert_int_equal(pupil_dataset_index(&s.conf, NULL, NULL, NULL), 0); /* all are there */
    unlink(idx);
    assert_int_equal(pupil_dataset_index(&s.conf, NULL, NULL, NULL), 1);
    unlink(two);
    assert_int_equal(pupil_dataset_index(&s.conf, NULL, NULL, NULL), PUPIL_ENOTFOUND);
    settings_end(&s);
    settings_begin(&s, PUPIL_SOURCE_CSV, "t.csv", NULL);
    assert_int_equal(pupil_dataset_index(&s.conf, NULL, NULL, NULL), 0);
    settings_end(&s);
    pupil_free(&one);
    pupil_free(&two);
    pupil_free(&idx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(broken_pictures_are_black_on_every_rank),
        cmocka_unit_test(a_broken_picture_in_a_tar_is_black),
        cmocka_unit_test(tars_may_have_classes_alone),
        cmocka_unit_test(tars_of_the_wild_are_read),
        cmocka_unit_test(links_in_tars_are_no_samples),
        cmocka_unit_test(digests_tell_lists_apart),
        cmocka_unit_test(indices_can_be_made_ahead),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
