/* test_folder.c: class folders, the names of classes, and the captions that follow from them. */
#include "make_files.h"

static void folders(void)
{
    put_picture("set/dog/b.JPEG");
    put_picture("set/dog/a.png");
    put_picture("set/cat/z.jpg");
    put_picture("set/cat/.hidden.jpg");
    put_text("set/cat/notes.txt", "not a picture");
    put_picture("set/loose.jpg"); /* in no class */
    put_picture("train/ant/1.jpg");
    put_picture("train/dog/1.jpg");
}

static void a_folder_is_a_class(void **state)
{
    (void)state;
    char *const *name, *train = in_dir("train");
    settings s;
    folders();
    settings_begin(&s, PUPIL_SOURCE_FOLDER, "set", NULL);
    expect(&s, "cat/z [0] a photo of a cat.\ndog/a [1] a photo of a dog.\ndog/b [1] a photo of a dog.\n", "");
    s.conf.train = (pupil_strings){&train, 1}; /* classes are those of both splits */
    s.conf.class_template = (char *)(uintptr_t) "{class}, {class}!";
    expect(&s, "cat/z [1] cat, cat!\ndog/a [2] dog, dog!\ndog/b [2] dog, dog!\n", "");
    pupil_dataset *d;
    assert_int_equal(pupil_dataset_open(&s.conf, dir, &d), 0);
    char *text = as_text(d, PUPIL_TRAIN);
    assert_string_equal(text, "ant/1 [0] ant, ant!\ndog/1 [2] dog, dog!\n");
    assert_int_equal(pupil_dataset_classes(d, &name), 3);
    assert_string_equal(name[0], "ant");
    assert_string_equal(name[2], "dog");
    pupil_free(&text);
    pupil_dataset_free(&d);
    settings_end(&s);
    pupil_free(&train);
}

static void classes_can_be_named(void **state)
{
    (void)state;
    static const struct {
        const char *file, *text; /* text NULL: refused with words */
        const char *words;
    } cases[] = {
        {"house cat\n\ndomestic dog \r\n",
         "cat/z [0] a photo of a house cat.\ndog/a [1] a photo of a domestic dog.\n"
         "dog/b [1] a photo of a domestic dog.\n",
         NULL},
        {"dog\ta d\nwolf\tnot here\ncat\ta c",
         "cat/z [0] a photo of a a c.\ndog/a [1] a photo of a a d.\ndog/b [1] a photo of a a d.\n", NULL},
        {"cat\n", NULL, "names.txt: no name for the class folder dog"},
        {"a\nb\nc\n", NULL, "names.txt:3: more names than the 2 class folders"},
        {"cat\tc\ndog\n", NULL, "names.txt:2: expected folder<TAB>name in all lines or in none"},
        {"cat\tc\ncat\td\n", NULL, "names.txt:2: cat comes twice"},
        {"", NULL, "names.txt: no name for the class folder cat"},
    };
    folders();
    for (int i = 0; i < PUPIL_COUNT(cases); i++) {
        settings s;
        put_text("names.txt", cases[i].file);
        settings_begin(&s, PUPIL_SOURCE_FOLDER, "set", NULL);
        s.conf.class_names = in_dir("names.txt");
        if (cases[i].text) expect(&s, cases[i].text, "");
        else expect_refusal(&s, PUPIL_EFORMAT, cases[i].words);
        pupil_free(&s.conf.class_names);
        settings_end(&s);
    }
}

static void long_or_binary_names_are_refused(void **state)
{
    (void)state;
    settings s;
    char *names = pupil_alloc(5000);
    memset(names, 'x', 4999);
    folders();
    settings_begin(&s, PUPIL_SOURCE_FOLDER, "set", NULL);
    s.conf.class_names = in_dir("names.txt");
    put_text("names.txt", names);
    expect_refusal(&s, PUPIL_EFORMAT, "names.txt:1: not a name of a class");
    put("names.txt", "cat\nd\0g\n", 8);
    expect_refusal(&s, PUPIL_EFORMAT, "names.txt:2: not a name of a class");
    pupil_free(&s.conf.class_names);
    settings_end(&s);
    pupil_free(&names);
}

static void what_has_no_pictures_is_refused(void **state)
{
    (void)state;
    settings s;
    put_text("empty/class/readme.md", "x");
    settings_begin(&s, PUPIL_SOURCE_FOLDER, "empty", NULL);
    expect_refusal(&s, PUPIL_EFORMAT, "empty: no sample");
    settings_end(&s);
    settings_begin(&s, PUPIL_SOURCE_FOLDER, "nowhere", NULL);
    expect_refusal(&s, PUPIL_ENOTFOUND, "nowhere: No such file");
    settings_end(&s);
}

static void a_key_in_two_folders_comes_twice(void **state)
{
    (void)state;
    settings s;
    char *both[2] = {in_dir("set"), in_dir("more")};
    folders();
    put_picture("more/dog/a.png");
    put_picture("more/dog/new.png");
    settings_begin(&s, PUPIL_SOURCE_FOLDER, "set", NULL);
    s.conf.test = (pupil_strings){both, 2};
    expect(&s,
           "cat/z [0] a photo of a cat.\ndog/a [1] a photo of a dog.\ndog/b [1] a photo of a dog.\ndog/new "
           "[1] a photo of a dog.\n",
           "1 its key comes twice");
    settings_end(&s);
    pupil_free(&both[0]);
    pupil_free(&both[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_folder_is_a_class),
        cmocka_unit_test(classes_can_be_named),
        cmocka_unit_test(long_or_binary_names_are_refused),
        cmocka_unit_test(what_has_no_pictures_is_refused),
        cmocka_unit_test(a_key_in_two_folders_comes_twice),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
