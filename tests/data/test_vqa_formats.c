/* test_vqa_formats.c: question files as TextVQA, VizWiz, GQA, OK-VQA and multiple choice have them:
 * recognised, read, joined to pictures, refused with the place. */
#include "make_files.h"

#include <jansson.h>
#include <sys/resource.h>

/* Pictures 000000000042, val/VizWiz_val_00000007, n161313, a.b, x/same and y/same; the question file in
 * dir/q.json. */
static int open_questions(const char *questions, const char *annotations, pupil_vqa_format format,
                          pupil_vqa_set **ret)
{
    static const char *const picture[] = {"img/000000000042.jpg", "img/val/VizWiz_val_00000007.jpg",
                                          "img/n161313.jpg",      "img/a.b.png",
                                          "img/x/same.jpg",       "img/y/same.jpg"};
    static bool made;
    for (int i = 0; i < PUPIL_COUNT(picture) && !made; i++) put_picture(picture[i]);
    if (!made)
        put_text(
            "t.csv",
            "filepath,title\n000000000042.jpg,a\nval/VizWiz_val_00000007.jpg,b\nn161313.jpg,c\na.b.png,d\n"
            "x/same.jpg,e\ny/same.jpg,f\n");
    made = true;
    settings s;
    pupil_dataset *d;
    put_text("q.json", questions);
    if (annotations) put_text("a.json", annotations);
    settings_begin(&s, PUPIL_SOURCE_CSV, "t.csv", "img");
    s.conf.vqa_test = (pupil_conf_vqa_files){in_dir("q.json"), annotations ? in_dir("a.json") : NULL, format};
    pupil_log_set_level(PUPIL_LOG_ERROR);
    assert_int_equal(pupil_dataset_open(&s.conf, dir, &d), 0);
    int r = pupil_vqa_open(d, PUPIL_TEST, ret);
    pupil_log_set_level(PUPIL_LOG_INFO);
    pupil_dataset_free(&d);
    pupil_free(&s.conf.vqa_test.questions);
    pupil_free(&s.conf.vqa_test.annotations);
    settings_end(&s);
    return r;
}

static pupil_vqa_set *good(const char *questions, pupil_vqa_format want)
{
    pupil_vqa_set *s = NULL;
    if (open_questions(questions, NULL, PUPIL_VQA_AUTO, &s) < 0) fail_msg("%s", pupil_reason());
    assert_int_equal(s->format, want);
    return s;
}

#define SAME(a, b) assert_string_equal((a), (b))

static void textvqa(void **state)
{
    (void)state;
    pupil_vqa_set *s = good("{\"dataset_type\": \"val\", \"data\": [{\"question_id\": 5, \"image_id\": "
                            "\"n161313\", \"question\": \"brand?\","
                            "\"image_classes\": [\"Cup\"], \"answers\": [\"nokia\", \"Nokia\", \"lg\", "
                            "\"lg\", \"nokia\", \"3\", \"4\", \"5\", \"6\", \"7\"]},"
                            "{\"question_id\": 6, \"image_id\": \"42\", \"question\": \"what?\", "
                            "\"answers\": [\"12.5\", \"9\"]}]}",
                            PUPIL_VQA_TEXTVQA);
    assert_int_equal(s->n, 2);
    assert_true(s->q[0].question_id == 5 && s->q[0].image == 2 && s->q[0].n_answers == 10);
    SAME(s->q[0].question, "brand?");
    SAME(s->q[0].answer, "nokia"); /* twice, and the first of those */
    SAME(s->q[0].answers[1], "Nokia");
    SAME(s->q[0].answer_type, "other");
    SAME(s->q[0].id, "5");
    assert_true(s->q[1].image == 0 && s->q[1].n_answers == 2);
    SAME(s->q[1].answer_type, "number");
    SAME(s->q[1].answers[2], "12.5"); /* in turn */
    SAME(s->q[1].answers[9], "9");
    pupil_vqa_free(&s);
}

#define TEN_OBJECTS(a)                                                                                       \
    "[{\"answer\": \"" a                                                                                     \
    "\", \"answer_confidence\": \"yes\"}, {\"answer\": \"x\"}, {\"answer\": \"x\"}, {\"answer\": \"x\"},"    \
    "{\"answer\": \"x\"}, {\"answer\": \"x\"}, {\"answer\": \"x\"}, {\"answer\": \"x\"}, {\"answer\": "      \
    "\"x\"}, {\"answer\": \"x\"}]"

static void vizwiz(void **state)
{
    (void)state;
    pupil_vqa_set *s =
        good("[{\"image\": \"VizWiz_val_00000007.jpg\", \"question\": \"color?\", \"answers\": " TEN_OBJECTS(
                 "red") ", \"answer_type\": \"other\", \"answerable\": 1},\n{\"image\": "
                        "\"VizWiz_val_00000007.jpg\", \"question\": \"and?\","
                        "\"answers\": " TEN_OBJECTS(
                            "unsuitable") ", \"answer_type\": \"unanswerable\", \"answerable\": 0}]",
             PUPIL_VQA_VIZWIZ);
    assert_int_equal(s->n, 2); /* of one picture, whose name is the id of both */
    assert_true(s->q[0].image == 1 && s->q[0].question_id == 0 && !s->q[0].unanswerable);
    SAME(s->q[0].answer, "x");
    SAME(s->q[0].id, "VizWiz_val_00000007.jpg");
    assert_true(s->q[1].question_id == 1 && s->q[1].unanswerable);
    SAME(s->q[1].answer_type, "unanswerable");
    pupil_vqa_free(&s);
}

static void gqa(void **state)
{
    (void)state;
    pupil_vqa_set *s =
        good("{\"02930152\": {\"semantic\": [{\"operation\": \"select\"}], \"entailed\": [\"1\"], "
             "\"imageId\": \"n161313\","
             "\"question\": \"Is it?\", \"answer\": \"no\", \"fullAnswer\": \"No.\", \"isBalanced\": true,"
             "\"types\": {\"structural\": \"verify\", \"semantic\": \"attr\", \"detailed\": \"verifyAttr\"}},"
             "\"q7\": {\"imageId\": \"42\", \"question\": \"What?\", \"answer\": \"cup\", \"types\": "
             "{\"structural\": \"query\"}}}",
             PUPIL_VQA_GQA);
    assert_int_equal(s->n, 2);
    assert_true(s->q[0].question_id == 2930152 && s->q[0].image == 2 && s->q[0].n_answers == 1);
    SAME(s->q[0].id, "02930152");
    SAME(s->q[0].question_type, "verify");
    SAME(s->q[0].answer_type, "yes/no");
    SAME(s->q[0].types[0], "attr");
    SAME(s->q[0].types[1], "verifyAttr");
    for (int k = 0; k < 10; k++) SAME(s->q[0].answers[k], "no");
    assert_true(s->q[1].question_id == 1 && s->q[1].image == 0 && !s->q[1].types[0]);
    pupil_vqa_free(&s);
}

/* OK-VQA: VQA v2's files, without multiple_choice_answer and with more than one spelling of an answer. */
static void okvqa(void **state)
{
    (void)state;
    pupil_vqa_set *s = NULL;
    int r = open_questions(
        "{\"questions\": [{\"image_id\": 42, \"question\": \"sport?\", \"question_id\": 421}]}",
        "{\"annotations\": [{\"image_id\": 42, \"answer_type\": \"other\", \"question_type\": \"four\", "
        "\"question_id\": 421,"
        "\"confidence\": 3, \"answers\": " TEN_OBJECTS("surf") "}]}",
        PUPIL_VQA_AUTO, &s);
    if (r < 0) fail_msg("%s", pupil_reason());
    assert_true(s->n == 1 && s->format == PUPIL_VQA_V2 && s->q[0].image == 0 && s->q[0].n_answers == 10);
    SAME(s->q[0].answer, "x");
    pupil_vqa_free(&s);
    assert_int_equal(
        open_questions("{\"questions\": [{\"image_id\": 42, \"question\": \"?\", \"question_id\": 1}]}", NULL,
                       PUPIL_VQA_AUTO, &s),
        PUPIL_EUSER);
    assert_non_null(strstr(pupil_reason(), "data.vqa_test.annotations has to name"));
}

static void multiple_choice(void **state)
{
    (void)state;
    static const struct {
        const char *answer;
        int correct;
    } cases[] = {
        {"1", 1},      {"\"green one\"", 1}, {"\"C\"", 2}, {"\"(b)\"", 1}, {"\"a.\"", 0},  {"\"2\"", 2},
        {"\"c)\"", 2}, {"\"red\"", 0},       {"0", 0},     {"3", -1},      {"-1", -1},     {"\"D\"", -1},
        {"\"\"", -1},  {"\"blueish\"", -1},  {"null", -1}, {"1.0", -1},    {"\"()\"", -1}, {"\"99\"", -1},
        {"[1]", -1}};
    for (int i = 0; i < PUPIL_COUNT(cases); i++) {
        char *line = pupil_format("{\"image\": \"val/VizWiz_val_00000007.jpg\", \"question\": \"q\", "
                                  "\"choices\": [\"red\", \"green one\", \"B\"],"
                                  " \"answer\": %s}\n",
                                  cases[i].answer);
        pupil_vqa_set *s = NULL;
        int r = open_questions(line, NULL, PUPIL_VQA_AUTO, &s);
        if ((r == 0) != (cases[i].correct >= 0)) fail_msg("%s: %d", cases[i].answer, r);
        if (r == 0) {
            assert_true(s->format == PUPIL_VQA_MULTIPLE_CHOICE && s->n == 1 && s->q[0].n_choices == 3 &&
                        s->q[0].image == 1);
            assert_int_equal(s->q[0].correct, cases[i].correct);
            SAME(s->q[0].answer, s->q[0].choices[cases[i].correct]);
            SAME(s->q[0].question_type, "multiple choice");
        } else {
            assert_non_null(
                strstr(pupil_reason(), "q.json:1: \"answer\" was expected and to be one of the 3 choices"));
        }
        pupil_vqa_free(&s);
        pupil_free(&line);
    }
}

static void choices_come_as_lines_or_lists(void **state)
{
    (void)state;
#define FIRST                                                                                                \
    "{\"id\": \"k-1\", \"image\": \"./a.b.png\", \"question\": \"q\", \"choices\": [\"B\", \"A\"], "         \
    "\"answer\": \"A\", \"category\": \"sci\"}"
#define SECOND                                                                                               \
    "{\"question_id\": 12, \"image_id\": 42, \"question\": \"r\", \"choices\": [\"x\", \"y\"], "             \
    "\"correct_choice_idx\": 1}"
    static const char *const file[] = {FIRST "\n\n" SECOND "\n", "[" FIRST ",\n" SECOND "]"};
    for (int i = 0; i < PUPIL_COUNT(file); i++) {
        pupil_vqa_set *s = good(file[i], PUPIL_VQA_MULTIPLE_CHOICE);
        assert_int_equal(s->n, 2);
        assert_true(s->q[0].image == 3 && s->q[0].question_id == 0 &&
                    s->q[0].correct == 1); /* a text before a letter */
        SAME(s->q[0].id, "k-1");
        SAME(s->q[0].question_type, "sci");
        assert_true(s->q[1].image == 0 && s->q[1].question_id == 12);
        SAME(s->q[1].answer, "y");
        pupil_vqa_free(&s);
    }
}

#define MC(id, image)                                                                                        \
    "{\"id\": " id ", \"image\": " image                                                                     \
    ", \"question\": \"q\", \"choices\": [\"x\", \"y\"], \"answer\": 0}\n"

static void pictures_are_found_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *image;
        int sample;
    } cases[] = {{"\"a.b.png\"", 3},
                 {"\"a.b\"", 3},
                 {"\"other/folder/a.b.JPG\"", 3},
                 {"\"x/same.jpg\"", 4},
                 {"\"y/same\"", 5},
                 {"\"42.jpg\"", 0},
                 {"42", 0},
                 {"\"000000000042\"", 0},
                 {"7", 1},
                 {"\"COCO_x/n161313\"", 2}};
    pupil_vqa_set *s;
    for (int i = 0; i < PUPIL_COUNT(cases); i++) {
        char *line = pupil_format(MC("1", "%s"), cases[i].image);
        s = good(line, PUPIL_VQA_MULTIPLE_CHOICE);
        assert_int_equal(s->q[0].image, cases[i].sample);
        pupil_vqa_free(&s);
        pupil_free(&line);
    }
    s = good(MC("1", "\"none.jpg\"") MC("2", "42") MC("3", "\"a\"") MC("4", "\"a.b\""),
             PUPIL_VQA_MULTIPLE_CHOICE);
    assert_true(s->n == 2 && s->left_out == 2 && s->q[0].image == 0 && s->q[1].image == 3);
    pupil_vqa_free(&s);
}

static void wrong_files_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        pupil_vqa_format format;
        const char *words;
    } bad[] = {
        {"", PUPIL_VQA_AUTO, "q.json:1: '{' or '[' was expected"},
        {"{}", PUPIL_VQA_AUTO, "q.json: no questions of a kind that is known"},
        {"[]", PUPIL_VQA_AUTO, "q.json: no questions of a kind that is known"},
        {"{\"questions\": []}", PUPIL_VQA_AUTO, "no questions of a kind that is known"},
        {"[]", PUPIL_VQA_VIZWIZ, "q.json: no questions in it"},
        {"", PUPIL_VQA_MULTIPLE_CHOICE, "q.json:1: '{' or '[' was expected"},
        {"{\"data\": []}", PUPIL_VQA_TEXTVQA, "q.json: nothing in a list \"data\""},
        {"{\"data\": [{\"question_id\": 1, \"image_id\": \"42\", \"question\": \"?\"}]}", PUPIL_VQA_AUTO,
         "q.json:1: data[0]: \"answers\" was expected and to be a list of 1 to 10"},
        {"{\"data\": [{\"question_id\": \"1\", \"image_id\": \"42\"}]}", PUPIL_VQA_AUTO,
         "data[0]: \"question_id\" was expected and to be a whole"},
        {"{\"data\": [{\"question_id\": 1, \"image_id\": \"42\", \"question\": \"?\", \"answers\": [1]}]}",
         PUPIL_VQA_AUTO, "answers[0]: \"answer\""},
        {"[{\"image\": 7}]", PUPIL_VQA_AUTO, "q.json:1: \"image\" was expected and to be text"},
        {"[{\"image\": \"42.jpg\", \"question\": \"?\", \"answer_type\": \"other\", \"answers\": []}]",
         PUPIL_VQA_AUTO, "\"answers\""},
        {"[\n7]", PUPIL_VQA_VIZWIZ, "q.json:2: \"image\" was expected"},
        {"{\"1\": {\"imageId\": \"42\", \"question\": \"?\", \"answer\": \"a\"}}", PUPIL_VQA_AUTO,
         "q.json:1: 1: \"types\": \"structural\""},
        {"{\"1\": {\"imageId\": \"42\", \"question\": \"?\", \"answer\": 1}}", PUPIL_VQA_AUTO,
         "\"answer\" was expected and to be text"},
        {"{\"1\": {\"imageId\": \"42\", \"question\": \"?\", \"answer\": \"a\", \"types\": {\"structural\": "
         "\"q\"}},\n\"1\": {}}",
         PUPIL_VQA_AUTO, "q.json:2: \"1\" comes twice"},
        {MC("1", "42") MC("1", "42"), PUPIL_VQA_AUTO, "q.json:2: question_id 1 comes twice"},
        {MC("1", "\"same.jpg\""), PUPIL_VQA_AUTO, "image same.jpg: the keys of several samples fit it"},
        {MC("1", "\"nowhere.jpg\""), PUPIL_VQA_AUTO,
         "none of its images is in the data set, image nowhere.jpg"},
        {MC("1", "42") "{\"image\": 42, \"question\": \"q\", \"choices\": [\"x\"], \"answer\": 0}",
         PUPIL_VQA_AUTO, "q.json:2: \"choices\" was expected"},
        {MC("1", "42") "{\"image\": 42, \"question\": \"q\", \"choices\": [\"x\", 2], \"answer\": 0}",
         PUPIL_VQA_AUTO, "q.json:2: choices[1]"},
        {MC("1", "42") "{\"question\": \"q\"}", PUPIL_VQA_AUTO, "q.json:2: \"image_id\""},
        {MC("1", "42") "{\"image\": 42, \"quest", PUPIL_VQA_AUTO, "q.json:2: the file ends inside a value"},
        {MC("1", "42") "\xff", PUPIL_VQA_AUTO, "q.json:2: "},
        {MC("1", "42"), PUPIL_VQA_GQA, "q.json:1: id: \"imageId\" was expected"},
    };
    for (int i = 0; i < PUPIL_COUNT(bad); i++) {
        pupil_vqa_set *s = NULL;
        int r = open_questions(bad[i].text, NULL, bad[i].format, &s);
        if (r != PUPIL_EFORMAT || !strstr(pupil_reason(), bad[i].words))
            fail_msg("case %d: %d %s, not %s", i, r, pupil_reason(), bad[i].words);
        assert_null(strchr(pupil_reason(), '\n'));
        assert_null(s);
    }
    pupil_vqa_set *s;
    assert_int_equal(open_questions(MC("1", "42"), "{}", PUPIL_VQA_MULTIPLE_CHOICE, &s), PUPIL_EUSER);
    assert_non_null(strstr(
        pupil_reason(), "data.vqa_test.annotations: multiple choice questions have their answers with them"));
}

/* Megabytes of one bracket, one text, one list: refused, and nothing is allocated by what they claim. */
static void hostile_sizes_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *begin;
        char fill;
        const char *words;
    } bad[] = {{"{\"data\": ", '[', "nested to a depth of more than 64"},
               {"[", '{', "nested to a depth of more than 64"},
               {"{\"data\": [{\"question\": \"", 'x', "a value of more than 1 MiB"},
               {"{\"", 'x', "a value of more than 1 MiB"},
               {"[", '9', "a value of more than 1 MiB"}};
    size_t n = (size_t)40 << 20;
    char *text = pupil_alloc(n + 1);
    for (int i = 0; i < PUPIL_COUNT(bad); i++) {
        pupil_vqa_set *s = NULL;
        memset(text, bad[i].fill, n);
        memcpy(text, bad[i].begin, strlen(bad[i].begin));
        int r = open_questions(text, NULL, PUPIL_VQA_AUTO, &s);
        if (r != PUPIL_EFORMAT || !strstr(pupil_reason(), bad[i].words))
            fail_msg("case %d: %d %s", i, r, pupil_reason());
    }
    pupil_free(&text);
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    if (usage.ru_maxrss > 400 << 10) fail_msg("%ld KiB at most", usage.ru_maxrss);
}

/* The reference pair of ../shared, joined to pictures with COCO's names by the numbers they end in. */
static void the_reference_pair_is_read(void **state)
{
    (void)state;
    const char *oracle = getenv("PUPIL_ORACLE");
    char *questions = oracle ? pupil_format("%s/vqa/questions.json", oracle) : NULL;
    char *annotations = oracle ? pupil_format("%s/vqa/annotations.json", oracle) : NULL;
    json_t *root = questions ? json_load_file(questions, 0, NULL) : NULL, *item;
    if (!root) {
        print_message("no vqa/questions.json in PUPIL_ORACLE\n");
        pupil_free(&questions);
        pupil_free(&annotations);
        skip();
    }
    size_t i;
    pupil_buf csv = {0};
    pupil_buf_puts(&csv, "filepath,title\n");
    json_array_foreach(json_object_get(root, "questions"), i, item)
    {
        char name[64];
        snprintf(name, sizeof name, "COCO_val2014_%012d.jpg",
                 (int)json_integer_value(json_object_get(item, "image_id")));
        pupil_buf_printf(&csv, "%s,caption %d\n", name, (int)i);
        char *path = pupil_format("img/%s", name);
        put_picture(path);
        pupil_free(&path);
    }
    put_text("coco.csv", csv.s);
    settings s;
    pupil_dataset *d;
    pupil_vqa_set *set;
    settings_begin(&s, PUPIL_SOURCE_CSV, "coco.csv", "img");
    s.conf.vqa_test = (pupil_conf_vqa_files){questions, annotations, PUPIL_VQA_AUTO};
    assert_int_equal(pupil_dataset_open(&s.conf, dir, &d), 0);
    if (pupil_vqa_open(d, PUPIL_TEST, &set) < 0) fail_msg("%s", pupil_reason());
    assert_int_equal(set->n, (int64_t)json_array_size(json_object_get(root, "questions")));
    for (int64_t k = 0; k < set->n; k++) {
        char *key;
        item = json_array_get(json_object_get(root, "questions"), (size_t)k);
        assert_int_equal(set->q[k].question_id, json_integer_value(json_object_get(item, "question_id")));
        assert_int_equal(pupil_dataset_key(d, PUPIL_TEST, set->q[k].image, &key), 0);
        assert_int_equal(atoll(key + strlen("COCO_val2014_")),
                         json_integer_value(json_object_get(item, "image_id")));
        pupil_free(&key);
    }
    pupil_vqa_free(&set);
    pupil_dataset_free(&d);
    settings_end(&s);
    json_decref(root);
    pupil_buf_free(&csv);
    pupil_free(&questions);
    pupil_free(&annotations);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(textvqa),
        cmocka_unit_test(vizwiz),
        cmocka_unit_test(gqa),
        cmocka_unit_test(okvqa),
        cmocka_unit_test(multiple_choice),
        cmocka_unit_test(choices_come_as_lines_or_lists),
        cmocka_unit_test(pictures_are_found_by_name),
        cmocka_unit_test(wrong_files_are_refused),
        cmocka_unit_test(hostile_sizes_are_refused),
        cmocka_unit_test(the_reference_pair_is_read),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
