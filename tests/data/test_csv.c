/* test_csv.c: tables of pictures and captions as open_clip has them: separators, quotes, broken rows, paths.
 */
#include "make_files.h"

static void pictures(void)
{
    put_picture("img/a.jpg");
    put_picture("img/b.JPG");
    put_picture("img/sub/c.d.png");
    put_picture("img/x y,z");
}

static void expect_csv(const char *csv, const char *text, const char *problems)
{
    settings s;
    put_text("t.csv", csv);
    settings_begin(&s, PUPIL_SOURCE_CSV, "t.csv", "img");
    expect(&s, text, problems);
    settings_end(&s);
}

static void tables_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *csv, *text;
    } good[] = {
        {"filepath,title\na.jpg,a cat\nb.JPG,a dog", "a a cat\nb a dog\n"},
        {"\xef\xbb\xbf"
         "filepath\ttitle\r\na.jpg\tone, two\r\n\r\nb.JPG\t\"it \"\"is\"\"\"\r\n",
         "a one, two\nb it \"is\"\n"},
        {"title,id,filepath\n\"line\nbreak\",7,sub/c.d.png\n", "sub/c.d line\nbreak\n"},
        {"filepath,title\n\"x y,z\",\"\"\"q\"\" end\"\n", "x y,z \"q\" end\n"},
        {"filepath,title\na.jpg,one\nb.JPG,b\na.jpg,two\n./a.jpg,one\n",
         "a one | two\nb b\n"}, /* rows of one picture */
        {"filepath,title\n./sub//c.d.png, spaces \n", "sub/c.d spaces\n"},
        {"filepath,title\na.jpg,a \"quote\" inside\n", "a a \"quote\" inside\n"},
        {"filepath,title\na.jpg,caf\xc3\xa9\n", "a caf\xc3\xa9\n"},
    };
    pictures();
    for (int i = 0; i < PUPIL_COUNT(good); i++) expect_csv(good[i].csv, good[i].text, "");
}

static void broken_rows_are_counted_and_named(void **state)
{
    (void)state;
    static const struct {
        const char *row, *problem;
    } bad[] = {
        {"none.jpg,x", "1 there is no such file), first DIR/t.csv:3: none.jpg"},
        {"a.jpg/a.jpg,x", "1 there is no such file"},
        {"sub,x", "1 there is no such file"}, /* a folder */
        {"../img/a.jpg,x", "1 its name leads out of the data), first DIR/t.csv:3: ../img/a.jpg"},
        {"sub/../a.jpg,x", "1 its name leads out of the data"},
        {"/etc/passwd,x", "1 its name leads out of the data), first DIR/t.csv:3: /etc/passwd"},
        {"a.jpg,\" \n \"", "1 an empty caption"},
        {",x", "1 no picture"},
        {"a.jpg,\xff", "1 its caption is not UTF-8"},
        {"a.jpg", "1 another number of fields than in the first line), first DIR/t.csv:3: a.jpg"},
        {"a.jpg,x,y", "1 another number of fields"},
        {"no\033[1m.jpg,x", "t.csv:3: no?[1m.jpg"},
    };
    pictures();
    for (int i = 0; i < PUPIL_COUNT(bad); i++) {
        char *csv = pupil_format("filepath,title\nb.JPG,fine\n%s\n", bad[i].row);
        const char *at = strstr(bad[i].problem, "DIR");
        char *problem = at ? pupil_format("%.*s%s%s", (int)(at - bad[i].problem), bad[i].problem, dir, at + 3)
                           : pupil_strdup(bad[i].problem);
        expect_csv(csv, "b fine\n", problem);
        pupil_free(&csv);
        pupil_free(&problem);
    }
}

static void what_is_no_such_table_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *csv, *words;
    } bad[] = {
        {"", "t.csv: empty"},
        {"file,title\na,b\n", "t.csv:1: no column \"filepath\" (data.csv.image_key); there are file, title"},
        {"filepath,text\na,b\n", "no column \"title\" (data.csv.caption_key)"},
        {"filepath,title\na.jpg,x\nb.JPG,\"open\nand\non\n", "t.csv:3: a quote that never ends"},
        {"filepath,title\n", "t.csv: no sample"},
        {"filepath,title\nnone.jpg,x\n", "t.csv: no sample: "},
    };
    settings s;
    pictures();
    for (int i = 0; i < PUPIL_COUNT(bad); i++) {
        put_text("t.csv", bad[i].csv);
        settings_begin(&s, PUPIL_SOURCE_CSV, "t.csv", "img");
        expect_refusal(&s, PUPIL_EFORMAT, bad[i].words);
        settings_end(&s);
    }
    settings_begin(&s, PUPIL_SOURCE_CSV, "none.csv", "img");
    expect_refusal(&s, PUPIL_ENOTFOUND, "none.csv");
    settings_end(&s);
}

/* A quote that opens and never closes must not swallow a large file. */
static void giant_rows_are_refused(void **state)
{
    (void)state;
    size_t n = (size_t)17 << 20;
    char *csv = pupil_alloc(n + 1);
    memset(csv, 'x', n);
    memcpy(csv, "filepath,title\na,\"", 18);
    put("t.csv", csv, n);
    settings s;
    settings_begin(&s, PUPIL_SOURCE_CSV, "t.csv", NULL);
    expect_refusal(&s, PUPIL_EFORMAT, "t.csv:2: a row of more than 16 MiB");
    settings_end(&s);
    pupil_free(&csv);
}

static void separators_can_be_told(void **state)
{
    (void)state;
    settings s;
    pictures();
    put_text("t.csv", "filepath,title\tx\na.jpg,o\tne\n");
    settings_begin(&s, PUPIL_SOURCE_CSV, "t.csv", "img");
    s.conf.csv.caption_key = (char *)(uintptr_t) "title\tx";
    s.conf.csv.separator = PUPIL_SEPARATOR_COMMA;
    expect(&s, "a o\tne\n", "");
    s.conf.csv.image_key = (char *)(uintptr_t) "x";
    s.conf.csv.caption_key = (char *)(uintptr_t) "filepath,title";
    s.conf.csv.separator = PUPIL_SEPARATOR_TAB;
    expect_refusal(&s, PUPIL_EFORMAT, "no sample: ");
    settings_end(&s);
}

static void pictures_are_looked_for_in_each_folder(void **state)
{
    (void)state;
    char *roots[2] = {in_dir("two"), in_dir("img")};
    settings s;
    pictures();
    put_picture("two/only.jpg");
    put_picture("two/a.jpg");
    put("two/b.JPG", jpeg_grey, sizeof jpeg_grey);
    char *csv = pupil_format("filepath,title\nonly.jpg,1\nsub/c.d.png,2\nb.JPG,3\n%s/a.jpg,4\n%s/x.jpg,5\n",
                             roots[1], dir);
    put_text("lists/t.csv", csv);
    settings_begin(&s, PUPIL_SOURCE_CSV, "lists/t.csv", NULL);
    s.conf.images = (pupil_strings){roots, 2};
    expect(&s, "only 1\nsub/c.d 2\nb 3\na 4\n",
           "1 its name leads out of the data"); /* absolute, in no root */
    pupil_dataset *d;
    pupil_image im;
    pupil_log_set_level(PUPIL_LOG_ERROR);
    assert_int_equal(pupil_dataset_open(&s.conf, dir, &d), 0);
    pupil_log_set_level(PUPIL_LOG_INFO);
    assert_int_equal(pupil_dataset_image(d, PUPIL_TEST, 2, &im), 0);
    assert_memory_equal(im.rgb, jpeg_grey_rgb, 3); /* of the first folder that has it */
    pupil_image_free(&im);
    pupil_dataset_free(&d);
    put_picture("lists/here.png"); /* without data.images: beside the table */
    put_text("lists/t.csv", "filepath,title\nhere.png,1\n");
    s.conf.images.n = 0;
    expect(&s, "here 1\n", "");
    settings_end(&s);
    pupil_free(&csv);
    pupil_free(&roots[0]);
    pupil_free(&roots[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_are_read),
        cmocka_unit_test(broken_rows_are_counted_and_named),
        cmocka_unit_test(what_is_no_such_table_is_refused),
        cmocka_unit_test(giant_rows_are_refused),
        cmocka_unit_test(separators_can_be_told),
        cmocka_unit_test(pictures_are_looked_for_in_each_folder),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
