/* test_score.c: results files by the rules of each data set, and which files are refused. Figures of TextVQA's and
 * VizWiz's rules were worked out with the published evaluation code's steps. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pupil/eval.h"

#define SAME(a, b) assert_string_equal((a), (b))
#define NEAR(a, b) assert_true(fabs((a) - (b)) < 1e-9)

static char dir[] = "/tmp/pupil-score-XXXXXX";
static const char *const files[] = {"q.json", "a.json", "r.json", "c.json", "coco_pope_popular.json"};

static char *put(const char *name, const char *text)
{
    char *path = pupil_join(dir, name);
    assert_int_equal(pupil_write_file(path, text, strlen(text)), 0);
    return path;
}

/* Questions and, for VQA v2, annotations. */
static pupil_vqa_set *asked_as(const char *name, const char *questions, const char *annotations, pupil_vqa_format want)
{
    pupil_vqa_set *s = NULL;
    pupil_conf_vqa_files f = {put(name, questions), annotations ? put("a.json", annotations) : NULL, PUPIL_VQA_AUTO};
    pupil_log_set_level(PUPIL_LOG_ERROR);
    if (pupil_vqa_load(&f, &s) < 0) fail_msg("%s", pupil_reason());
    assert_int_equal(s->format, want);
    pupil_free(&f.questions);
    pupil_free(&f.annotations);
    return s;
}

static pupil_vqa_set *asked(const char *questions, pupil_vqa_format want) { return asked_as("q.json", questions, NULL, want); }

static int answer(const pupil_vqa_set *s, const char *results, bool subset, pupil_vqa_results *ret)
{
    char *path = put("r.json", results);
    int r = pupil_vqa_results_read(path, s, subset, ret);
    pupil_free(&path);
    return r;
}

static pupil_score scored(const pupil_vqa_set *s, const char *results, bool subset)
{
    pupil_vqa_results a;
    pupil_score out;
    if (answer(s, results, subset, &a) < 0) fail_msg("%s", pupil_reason());
    pupil_score_answers(s, &(pupil_answered){a.answer, a.answerable, NULL, NULL}, 0, &out);
    pupil_vqa_results_free(&a);
    return out;
}

static double group(const pupil_score *s, const char *by, const char *name)
{
    for (int b = 0; b < s->n_by; b++)
        for (int k = 0; k < s->by[b].n && !strcmp(s->by[b].by, by); k++)
            if (!strcmp(s->by[b].group[k].name, name)) return s->by[b].group[k].accuracy;
    fail_msg("no %s %s", by, name);
    return 0;
}

static double figure(const pupil_score *s, const char *name)
{
    for (int k = 0; k < s->n_more; k++)
        if (!strcmp(s->more[k].name, name)) return s->more[k].value;
    return -1;
}

static void end(pupil_vqa_set *s, pupil_score *score)
{
    pupil_score_free(score);
    pupil_vqa_free(&s);
}

/* ---- TextVQA -------------------------------------------------------------------------------------- */
static void test_textvqa_words(void **state)
{
    static const char *const pair[][2] = {
        {"Levi's", "levi 's"},        {"LEVI'S jeans", "levi 's jeans"}, {"1,000", "1000"},      {"1,,000 people", "1000 people"},
        {"what? no", "what no"},      {"Coca-Cola", "coca cola"},        {"two - three", "2 3"}, {"coca-cola, diet", "coca cola diet"},
        {"\n the  Dr. Pepper\t", "dr pepper"}, {"5,6-7", "56 7"},        {"a, b-c", "b c"},      {"St. John's", "st john 's"},
        {"dont", "don't"},            {"'s", "'s"},                      {"3.5", "3.5"},         {"...", ""}};
    for (int i = 0; i < PUPIL_COUNT(pair); i++) {
        char *got = pupil_textvqa_normalize(pair[i][0]);
        SAME(got, pair[i][1]);
        pupil_free(&got);
    }
}

static void test_textvqa(void **state)
{
    pupil_vqa_set *s = asked("{\"data\": [{\"question_id\": 1, \"image_id\": \"a\", \"question\": \"brand?\", \"answers\": [\"levi 's\", "
                             "\"levi 's\", \"levis\", \"levis\", \"levis\", \"levis\", \"levis\", \"levis\", \"levis\", \"levis\"]},"
                             "{\"question_id\": 2, \"image_id\": \"b\", \"question\": \"drink?\", \"answers\": [\"Coca Cola\", \"coca-cola\", \"coke\", "
                             "\"cola\", \"cola\", \"cola\", \"cola\", \"cola\", \"cola\", \"cola\"]},"
                             "{\"question_id\": 3, \"image_id\": \"b\", \"question\": \"no?\", \"answers\": [\"No.\", \"No.\", \"No.\", \"No.\", \"No.\", "
                             "\"No.\", \"No.\", \"No.\", \"No.\", \"No.\"]}]}",
                             PUPIL_VQA_TEXTVQA);
    pupil_score score = scored(s, "[{\"question_id\": 3, \"answer\": \"no\"}, {\"question_id\": 1, \"answer\": \"Levi's\"}, "
                                  "{\"question_id\": 2, \"pred_answer\": \"coca-cola\"}]", false);
    assert_int_equal(score.n, 3);
    NEAR(score.each[0], 0.6);
    NEAR(score.each[1], 0.6);
    NEAR(score.each[2], 1.0);
    NEAR(score.accuracy, 220.0 / 3);
    end(s, &score);
}

/* ---- VizWiz --------------------------------------------------------------------------------------- */
static const char vizwiz[] =
    "[{\"image\": \"V_0.jpg\", \"question\": \"?\", \"answer_type\": \"unanswerable\", \"answerable\": 0, \"answers\": [{\"answer\": \"unanswerable\"}, "
    "{\"answer\": \"unanswerable\"}, {\"answer\": \"unanswerable\"}, {\"answer\": \"blue\"}]},"
    "{\"image\": \"V_1.jpg\", \"question\": \"?\", \"answer_type\": \"other\", \"answerable\": 1, \"answers\": [{\"answer\": \"Two\"}, {\"answer\": \"2\"}, "
    "{\"answer\": \"Two\"}, {\"answer\": \"2\"}]},"
    "{\"image\": \"V_2.jpg\", \"question\": \"?\", \"answer_type\": \"other\", \"answerable\": 1, \"answers\": [{\"answer\": \"cat\"}]}]";

static void test_vizwiz(void **state)
{
    pupil_vqa_set *s = asked(vizwiz, PUPIL_VQA_VIZWIZ);
    pupil_score score = scored(s, "[{\"image\": \"V_1.jpg\", \"answer\": \"two\"}, {\"image\": \"V_0.jpg\", \"answer\": \"Unanswerable.\"}, "
                                  "{\"image\": \"V_2.jpg\", \"answer\": \"unanswerable\"}]", false);
    NEAR(score.each[0], (3 * 2.0 / 3 + 1) / 4);
    NEAR(score.each[1], (2 * 2.0 / 3 + 2 * 1.0 / 3) / 4); /* "two" is made 2; "Two" of the annotators stays */
    NEAR(score.each[2], 0);
    NEAR(group(&score, "answer type", "unanswerable"), 75);
    NEAR(figure(&score, "unanswerable F1"), 100 * 2.0 / 3);
    assert_non_null(score.left_out);
    pupil_score_free(&score);
    score = scored(s, "[{\"image\": \"V_1.jpg\", \"answer\": \"\", \"answerable\": 0.2}, {\"image\": \"V_0.jpg\", \"answer\": \"\", \"answerable\": 0.3}, "
                      "{\"image\": \"V_2.jpg\", \"answer\": \"\", \"answerable\": 1}]", false);
    NEAR(figure(&score, "unanswerable F1"), 100 * 2.0 / 3);
    NEAR(figure(&score, "unanswerable average precision"), 50);
    assert_null(score.left_out);
    end(s, &score);
}

/* ---- GQA ------------------------------------------------------------------------------------------ */
#define GQA(id, answer, structural, semantic, rest)                                                                              \
    "\"" id "\": {\"imageId\": \"n1\", \"question\": \"q\", \"answer\": \"" answer "\", \"types\": {\"structural\": \"" structural           \
    "\", \"semantic\": \"" semantic "\", \"detailed\": \"twoCommon\"}" rest "}"
static const char gqa[] = "{" GQA("10", "yes", "verify", "rel", ", \"isBalanced\": true, \"entailed\": [\"10\", \"11\", \"12\"]") "," GQA(
    "11", "color", "query", "attr", ", \"isBalanced\": true, \"entailed\": []") "," GQA("12", "no", "verify", "rel", ", \"isBalanced\": false") "}";

static void test_gqa(void **state)
{
    pupil_vqa_set *s = asked(gqa, PUPIL_VQA_GQA);
    pupil_score score = scored(s, "[{\"questionId\": \"10\", \"prediction\": \"yes\"}, {\"questionId\": \"11\", \"prediction\": \"Color.\"}]", false);
    assert_int_equal(score.n, 2);
    NEAR(score.accuracy, 50);
    NEAR(figure(&score, "lenient"), 100);
    NEAR(group(&score, "answer kind", "binary"), 100);
    NEAR(group(&score, "answer kind", "open"), 0);
    NEAR(group(&score, "semantic type", "attr"), 0);
    NEAR(group(&score, "detailed type", "twoCommon"), 50);
    NEAR(figure(&score, "consistency"), -1); /* 12 is not answered */
    assert_non_null(strstr(score.left_out, "consistency"));
    pupil_score_free(&score);

    char *choices = put("c.json", "{\"10\": {\"valid\": [\"yes\"], \"plausible\": []}, \"11\": {\"valid\": [], \"plausible\": []}, \"99\": 3}");
    pupil_vqa_results a;
    uint8_t valid[3], plausible[3];
    assert_int_equal(answer(s, "{\"10\": \"yes\", \"11\": \"color\", \"12\": \"yes\"}", false, &a), 0);
    assert_int_equal(pupil_vqa_choices_check(choices, s, a.answer, valid, plausible), 0);
    pupil_score_answers(s, &(pupil_answered){a.answer, NULL, valid, plausible}, 0, &score);
    NEAR(score.accuracy, 100);
    NEAR(figure(&score, "validity"), 50); /* "yes" is not the name of an attribute that two things have in common */
    NEAR(figure(&score, "plausibility"), 50);
    NEAR(figure(&score, "consistency"), 50);
    assert_null(score.left_out);
    pupil_free(&choices);
    choices = put("c.json", "{\"10\": {\"valid\": [\"yes\"], \"plausible\": []}}");
    assert_int_equal(pupil_vqa_choices_check(choices, s, a.answer, valid, plausible), PUPIL_EFORMAT);
    assert_non_null(strstr(pupil_reason(), "no choices of question 11"));
    pupil_free(&choices);
    pupil_vqa_results_free(&a);
    end(s, &score);
}

/* ---- multiple choice and POPE ----------------------------------------------------------------------- */
static void test_choices(void **state)
{
    char *choice[] = {(char *)"a cat", (char *)"B side", (char *)"none"};
    pupil_vqa_question q = {.choices = choice, .n_choices = 3};
    static const struct {
        const char *answer;
        int want;
    } c[] = {{"B", 1},          {" C\n", -1}, {" C ", 2},          {"b", -1},       {"B. because", 1}, {"B.because", -1},    {"C.\nSince", -1}, {"C\nSince", 2},
             {"a cat", 0},      {"B side", 1},        {"A cat", -1},   {"E", -1},         {"E. The answer is A.", -1},
             {"The answer is C", 2}, {"I think. The answer is A or B. The answer is B.", 1}, {"The answer is E. The answer is B.", -1},
             {"The answer is D", -1}, {"", -1},       {"2", 2},        {"3", -1},         {"F", -1}};
    for (int i = 0; i < PUPIL_COUNT(c); i++)
        if (pupil_choice_parse(&q, c[i].answer) != c[i].want) fail_msg("%s: %d", c[i].answer, pupil_choice_parse(&q, c[i].answer));
    pupil_vqa_set *s = asked("{\"id\": \"x1\", \"image\": \"a\", \"question\": \"?\", \"choices\": [\"u\", \"v\"], \"answer\": 1, \"category\": \"one\"}\n"
                             "{\"id\": \"x2\", \"image\": \"b\", \"question\": \"?\", \"choices\": [\"u\", \"v\"], \"answer\": 0, \"category\": \"two\"}\n",
                             PUPIL_VQA_MULTIPLE_CHOICE);
    pupil_score score = scored(s, "{\"question_id\": \"x2\", \"text\": \"The answer is B.\"}\n{\"question_id\": \"x1\", \"text\": \"B\"}\n", false);
    NEAR(score.accuracy, 50);
    NEAR(group(&score, "category", "one"), 100);
    NEAR(group(&score, "category", "two"), 0);
    end(s, &score);
}

#define POPE(id, label, rest) "{\"question_id\": " id ", \"image\": \"a.jpg\", \"text\": \"Is there a dog?\", \"label\": \"" label "\"" rest "}\n"
static void test_pope(void **state)
{
    static const char *const no[] = {"no", "No", "No, there is no dog", "There is not.", "it is not a dog", "no,. yes"};
    static const char *const yes[] = {"yes", "Yes. No", "NO", "nothing", "No-one", "", "note", "it does n,ot\nno"};
    for (int i = 0; i < PUPIL_COUNT(no); i++) assert_false(pupil_pope_says_yes(no[i]));
    for (int i = 0; i < PUPIL_COUNT(yes); i++)
        if (!pupil_pope_says_yes(yes[i])) fail_msg("%s", yes[i]);
}

static void test_pope_file(void **state)
{
    pupil_vqa_set *s = asked_as("coco_pope_popular.json", POPE("1", "yes", "") POPE("2", "no", "") POPE("3", "no", "") POPE("4", "yes", ", \"category\": \"random\""),
                                NULL, PUPIL_VQA_POPE);
    pupil_score score = scored(s, "{\"question_id\": 1, \"text\": \"Yes\"}\n{\"question_id\": 2, \"text\": \"Yes\"}\n{\"question_id\": 3, \"text\": \"no\"}\n"
                                  "{\"question_id\": 4, \"text\": \"No\"}\n", false);
    assert_int_equal(score.n_category, 3);
    SAME(score.category[0].name, "popular");
    assert_true(score.category[0].tp == 1 && score.category[0].fp == 1 && score.category[0].tn == 1 && score.category[0].fn == 0);
    SAME(score.category[1].name, "random");
    assert_true(score.category[1].fn == 1 && score.category[2].fn == 1 && score.category[2].tp == 1);
    pupil_buf json = {0};
    pupil_score_json(&score, &json);
    assert_non_null(strstr(json.s, "\"popular\": {\"n\": 3, \"accuracy\": 0.6666666666666666, \"precision\": 0.5, \"recall\": 1, \"f1\": 0.6666666666666666, "
                                   "\"yes_ratio\": 0.6666666666666666, \"tp\": 1"));
    pupil_buf_free(&json);
    end(s, &score);
}

/* ---- VQA v2: the file as others read it --------------------------------------------------------------- */
#define TEN(a) "[" ONE(a) "," ONE(a) "," ONE(a) "," ONE(a) "," ONE(a) "," ONE(a) "," ONE(a) "," ONE(a) "," ONE(a) "," ONE(a) "]"
#define ONE(a) "{\"answer\": \"" a "\"}"
static const char v2_questions[] = "{\"questions\": [{\"question_id\": 1, \"image_id\": 9, \"question\": \"?\"}, {\"question_id\": 2, \"image_id\": 9, \"question\": \"?\"}]}",
                  v2_annotations[] = "{\"annotations\": [{\"question_id\": 1, \"image_id\": 9, \"question_type\": \"is\", \"answer_type\": \"yes/no\", \"answers\": " TEN(
                      "yes") "}, {\"question_id\": 2, \"image_id\": 9, \"question_type\": \"what\", \"answer_type\": \"other\", \"answers\": " TEN("dog") "}]}";

static void test_official_json(void **state)
{
    pupil_vqa_set *s = asked_as("q.json", v2_questions, v2_annotations, PUPIL_VQA_V2);
    pupil_score score = scored(s, "[{\"question_id\": 2, \"answer\": \"cat\"}, {\"question_id\": 1, \"answer\": \"yes\"}]", false);
    pupil_buf json = {0};
    pupil_score_json(&score, &json);
    SAME(json.s, "{\"overall\": 50.0, \"perQuestionType\": {\"is\": 100.0, \"what\": 0.0}, \"perAnswerType\": {\"yes/no\": 100.0, \"other\": 0.0}}");
    pupil_buf_free(&json);
    pupil_score_free(&score);
    score = scored(s, "[{\"question_id\": 1, \"answer\": \"yes\"}]", true);
    assert_true(score.n == 1 && score.accuracy == 100 && score.by[0].n == 1);
    end(s, &score);
}

static void test_refused(void **state)
{
    static const struct {
        const char *results, *why;
    } bad[] = {
        {"", "'{' or '[' was expected"},
        {"[]", "no answers in it"},
        {"{}", "no answers in it"},
        {"[{\"question_id\": 1, \"answer\": \"yes\"}]", "1 of 2 questions have no answer, 2 to begin with"},
        {"[{\"question_id\": 1, \"answer\": \"yes\"}, {\"question_id\": 1, \"answer\": \"yes\"}]", "r.json:1: the answer to 1 comes twice"},
        {"[{\"question_id\": 7, \"answer\": \"yes\"}]", "r.json:1: 7 is no question's"},
        {"[{\"answer\": \"yes\"}]", "\"question_id\" was expected"},
        {"[{\"question_id\": 1}]", "\"answer\" was expected and to be text"},
        {"[{\"question_id\": 1, \"answer\": null}]", "\"answer\" was expected and to be text"},
        {"[{\"question_id\": 1, \"answer\": [\"yes\"]}]", "\"answer\" was expected and to be text"},
        {"[{\"question_id\": 1.5, \"answer\": \"yes\"}]", "\"question_id\" was expected and to be a number or text"},
        {"[1, 2]", "an object with an id and an answer was expected"},
        {"{\"results\": [{\"question_id\": 1, \"answer\": \"yes\"}]}", "a list of results"},
        {"{\"1\": \"yes\", \"1\": \"no\"}", "comes twice"},
        {"[{\"question_id\": 1, \"answer\": \"yes\"}", "',' was expected"},
        {"{\"question_id\": 1, \"answer\": \"yes\"}\n{\"question_id\": 2, \"answer\": \"yes\"", "r.json:2"},
    };
    pupil_vqa_set *s = asked_as("q.json", v2_questions, v2_annotations, PUPIL_VQA_V2);
    pupil_vqa_results a;
    for (int i = 0; i < PUPIL_COUNT(bad); i++) {
        assert_int_equal(answer(s, bad[i].results, false, &a), PUPIL_EFORMAT);
        if (!strstr(pupil_reason(), bad[i].why) || strchr(pupil_reason(), '\n')) fail_msg("%s: %s", bad[i].results, pupil_reason());
    }
    enum { DEEP = 1 << 22 };
    char *deep = pupil_alloc(DEEP + 1);
    memset(deep, '[', DEEP);
    assert_int_equal(answer(s, deep, false, &a), PUPIL_EFORMAT);
    assert_non_null(strstr(pupil_reason(), "nested to a depth of more than 64"));
    pupil_free(&deep);
    pupil_vqa_free(&s);
    s = asked("[{\"image\": \"a\", \"question\": \"?\", \"answer_type\": \"other\", \"answers\": [\"x\"]}, "
              "{\"image\": \"a\", \"question\": \"!\", \"answer_type\": \"other\", \"answers\": [\"x\"]}]", PUPIL_VQA_VIZWIZ);
    assert_int_equal(answer(s, "[{\"image\": \"a\", \"answer\": \"x\"}]", false, &a), PUPIL_EFORMAT);
    assert_non_null(strstr(pupil_reason(), "two questions are a"));
    pupil_vqa_free(&s);
}

/* ---- intervals -------------------------------------------------------------------------------------- */
static void test_interval(void **state)
{
    enum { N = 400 };
    double x[N];
    for (int i = 0; i < N; i++) x[i] = i % 4 == 0; /* mean 0.25, standard error sqrt(.25 * .75 / 400) = 0.02165 */
    pupil_interval a = pupil_bootstrap(x, N, 1), again = pupil_bootstrap(x, N, 1), other = pupil_bootstrap(x, N, 2);
    assert_true(a.low == again.low && a.high == again.high && (a.low != other.low || a.high != other.high));
    assert_true(fabs(a.low - (0.25 - 1.96 * 0.02165)) < 0.006 && fabs(a.high - (0.25 + 1.96 * 0.02165)) < 0.006);
    double one = 0.3;
    a = pupil_bootstrap(&one, 1, 1);
    assert_true(a.low == 0.3 && a.high == 0.3);
    a = pupil_bootstrap(NULL, 0, 1);
    assert_true(a.low == 0 && a.high == 0);
}

static int begin(void **state) { return mkdtemp(dir) ? 0 : -1; }

static int finish(void **state)
{
    for (int i = 0; i < PUPIL_COUNT(files); i++) {
        char *path = pupil_join(dir, files[i]);
        unlink(path);
        pupil_free(&path);
    }
    return rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_textvqa_words), cmocka_unit_test(test_textvqa), cmocka_unit_test(test_vizwiz),
        cmocka_unit_test(test_gqa),           cmocka_unit_test(test_choices), cmocka_unit_test(test_pope),
        cmocka_unit_test(test_pope_file),     cmocka_unit_test(test_official_json), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_interval),
    };
    return cmocka_run_group_tests_name("score", tests, begin, finish);
}
