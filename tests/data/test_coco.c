/* test_coco.c: COCO's captions JSON and Karpathy's: joins, splits, broken entries, files that are neither. */
#include "make_files.h"

static void pictures(void)
{
    put_picture("img/1.jpg");
    put_picture("img/2.jpg");
    put_picture("img/val/3.jpg");
}

static void expect_coco(const char *json, const char *text, const char *problems)
{
    settings s;
    put_text("c.json", json);
    settings_begin(&s, PUPIL_SOURCE_COCO, "c.json", "img");
    expect(&s, text, problems);
    settings_end(&s);
}

#define IMAGES                                                                                               \
    "\"images\": [{\"id\": 7, \"file_name\": \"1.jpg\", \"url\": {\"a\": []}}, {\"id\": 8, \"file_name\": "  \
    "\"2.jpg\"}]"
#define CAPTIONS                                                                                             \
    "\"annotations\": [{\"image_id\": 8, \"id\": 1, \"caption\": \"two\"}, {\"image_id\": 7, \"caption\": "  \
    "\" one\\n\"},"                                                                                          \
    "{\"image_id\": 7, \"caption\": \"uno\"}]"

static void captions_are_joined_by_image(void **state)
{
    (void)state;
    static const char want[] = "2 two\n1 one | uno\n";
    pictures();
    expect_coco("{\"info\": {}, " IMAGES ", \"licenses\": [1], " CAPTIONS "}", want, "");
    expect_coco("{" CAPTIONS ", " IMAGES "}", want, ""); /* in either order */
}

static void karpathys_splits_are_taken(void **state)
{
    (void)state;
    settings s;
    pictures();
    put_text("k.json", "{\"images\": [{\"filename\": \"1.jpg\", \"split\": \"train\", \"sentences\": "
                       "[{\"raw\": \"a\"}, {\"raw\": \"b\"}]},"
                       "{\"filename\": \"3.jpg\", \"filepath\": \"val\", \"split\": \"test\", \"sentences\": "
                       "[{\"raw\": \"c\"}]},"
                       "{\"filename\": \"2.jpg\", \"split\": \"restval\", \"sentences\": [{\"raw\": "
                       "\"d\"}]}], \"dataset\": \"coco\"}");
    settings_begin(&s, PUPIL_SOURCE_COCO, "k.json", "img");
    expect(&s, "val/3 c\n", "");
    s.conf.train = s.conf.test;
    pupil_dataset *d;
    assert_int_equal(pupil_dataset_open(&s.conf, dir, &d), 0);
    char *train = as_text(d, PUPIL_TRAIN);
    assert_string_equal(train, "1 a | b\n2 d\n");
    pupil_free(&train);
    pupil_dataset_free(&d);
    char *only = (char *)(uintptr_t) "restval";
    s.conf.coco.split_test = (pupil_strings){&only, 1};
    expect(&s, "2 d\n", "");
    put_text("k.json", "{" IMAGES "," CAPTIONS "}");
    expect_refusal(&s, PUPIL_EUSER, "it has no splits");
    settings_end(&s);
}

static void broken_entries_are_counted(void **state)
{
    (void)state;
    pictures();
    expect_coco("{" IMAGES ", \"annotations\": [{\"image_id\": 7, \"caption\": \"one\"}]}", "1 one\n",
                "1 no caption), first ");
    expect_coco("{" IMAGES ", \"annotations\": [{\"image_id\": 7, \"caption\": \"one\"}, {\"image_id\": 8, "
                           "\"caption\": \" \"}]}",
                "1 one\n", "1 an empty caption");
    expect_coco("{" IMAGES ", \"annotations\": [{\"image_id\": 7, \"caption\": \"one\"},\n{\"image_id\": 8, "
                           "\"caption\": \"t\"},\n"
                "{\"image_id\": 9, \"caption\": \"x\"}]}",
                "1 one\n2 t\n", "c.json:3: 9: no picture");
    expect_coco("{\"images\": [{\"id\": 7, \"file_name\": \"1.jpg\"},\n{\"id\": 7, \"file_name\": "
                "\"2.jpg\"}, {\"id\": 8, \"file_name\": \"../3\"}]," CAPTIONS "}",
                "1 one | uno\n", "1 its key comes twice, 1 its name leads out");
    expect_coco("{\"images\": [{\"filename\": \"1.jpg\", \"sentences\": [{\"raw\": \"a\"}]}, {\"filename\": "
                "\"2.jpg\", \"sentences\": []}]}",
                "1 a\n", "1 no caption");
}

static void what_is_neither_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *json, *words;
    } bad[] = {
        {"", "c.json:1: '{' or '[' was expected"},
        {"{}", "c.json: there is no list \"images\""},
        {"[1, 2]", "there is no list \"images\""},
        {"{\"images\": [\n7]}", "c.json:2: images[0]: an object was expected"},
        {"{\"images\": [{\"id\": 7}]}", "images[0]: \"file_name\" was expected"},
        {"{\"images\": [{\"file_name\": \"x\"}]}", "images[0]: \"id\" was expected"},
        {"{" IMAGES ", \"annotations\": [{\"image_id\": 7, \"bbox\": []}]}",
         "annotations[0]: \"caption\" was expected and to be text: these"},
        {"{" IMAGES ", \"annotations\": [{\"caption\": \"x\"}]}", "annotations[0]: \"image_id\""},
        {"{\"images\": [{\"filename\": 1, \"sentences\": []}]}", "images[0]: \"filename\""},
        {"{\"images\": [{\"filename\": \"1.jpg\", \"sentences\": [{\"tokens\": []}]}]}",
         "images[0]: sentences[0]: \"raw\""},
        {"{" IMAGES ", \"annotations\": [{\"image_id\": 7, \"cap", "the file ends inside a value"},
        {"{\"images\": [], \"images\": []}", "c.json:1: \"images\" comes twice"},
        {"{\"images\": [{\"id\": 1, \"file_name\": \"\xff\"}]}", "c.json:1: "},
    };
    pictures();
    for (int i = 0; i < PUPIL_COUNT(bad); i++) {
        settings s;
        put_text("c.json", bad[i].json);
        settings_begin(&s, PUPIL_SOURCE_COCO, "c.json", "img");
        expect_refusal(&s, PUPIL_EFORMAT, bad[i].words);
        settings_end(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(captions_are_joined_by_image),
        cmocka_unit_test(karpathys_splits_are_taken),
        cmocka_unit_test(broken_entries_are_counted),
        cmocka_unit_test(what_is_neither_is_refused),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
