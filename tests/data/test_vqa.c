/* test_vqa.c: scenes come back the same through tars and official files; official files are joined by ids and
 * refused with file, line and place where they are wrong. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pupil/data.h"

static char dir[64];
static const pupil_conf_scenes scenes = {
    .train = 45, .test = 12, .size = 48, .seed = 5, .max_objects = 6, .questions = 5};

static pupil_dataset *open_scenes(void)
{
    const pupil_conf_data conf = {.source = PUPIL_SOURCE_SCENES, .scenes = scenes};
    pupil_dataset *d;
    assert_int_equal(pupil_dataset_open(&conf, dir, &d), 0);
    return d;
}

/* The exported set in dir/name, as a user would name it; `questions`, `annotations`: the test split's files.
 */
static pupil_dataset *open_tars(const char *name, char *questions, char *annotations)
{
    char *train = pupil_format("%s/%s/train-{000000..000002}.tar", dir, name);
    char *test = pupil_format("%s/%s/test-000000.tar", dir, name);
    char *train_q = pupil_format("%s/%s/train_questions.json", dir, name);
    char *train_a = pupil_format("%s/%s/train_annotations.json", dir, name);
    const pupil_conf_data conf = {.source = PUPIL_SOURCE_WEBDATASET,
                                  .train = {&train, 1},
                                  .test = {&test, 1},
                                  .vqa_train = {.questions = train_q, .annotations = train_a},
                                  .vqa_test = {.questions = questions, .annotations = annotations}};
    pupil_dataset *d;
    assert_int_equal(pupil_dataset_open(&conf, dir, &d), 0);
    pupil_free(&train);
    pupil_free(&test);
    pupil_free(&train_q);
    pupil_free(&train_a);
    return d;
}

static void export_to(const char *name, int want)
{
    char *to = pupil_join(dir, name);
    assert_int_equal(pupil_scenes_export(&scenes, to, 20), want);
    pupil_free(&to);
}

static void same_sample(pupil_dataset *a, pupil_dataset *b, pupil_split split, int64_t i)
{
    pupil_image x, y;
    char *s, *t;
    assert_int_equal(pupil_dataset_image(a, split, i, &x), 0);
    assert_int_equal(pupil_dataset_image(b, split, i, &y), 0);
    assert_true(x.w == y.w && x.h == y.h && x.w == scenes.size);
    assert_memory_equal(x.rgb, y.rgb, (size_t)(3 * x.w * x.h));
    pupil_image_free(&x);
    pupil_image_free(&y);
    assert_int_equal(pupil_dataset_key(a, split, i, &s), 0);
    assert_int_equal(pupil_dataset_key(b, split, i, &t), 0);
    assert_string_equal(s, t);
    pupil_free(&s);
    pupil_free(&t);
    for (int k = 0; k < pupil_dataset_captions(b, split, i); k++) { /* repeats are left out there */
        bool found = false;
        assert_int_equal(pupil_dataset_caption(b, split, i, k, &t), 0);
        for (int m = 0; m < pupil_dataset_captions(a, split, i) && !found; m++) {
            assert_int_equal(pupil_dataset_caption(a, split, i, m, &s), 0);
            found = strcmp(s, t) == 0 && (k > 0 || m == 0);
            pupil_free(&s);
        }
        assert_true(found);
        pupil_free(&t);
    }
}

static void same_questions(const pupil_vqa_set *a, const pupil_vqa_set *b)
{
    assert_int_equal(a->n, b->n);
    for (int64_t i = 0; i < a->n; i++) {
        const pupil_vqa_question *p = &a->q[i], *q = &b->q[i];
        assert_int_equal(p->question_id, q->question_id);
        assert_int_equal(p->image, q->image);
        assert_string_equal(p->question, q->question);
        assert_string_equal(p->question_type, q->question_type);
        assert_string_equal(p->answer_type, q->answer_type);
        assert_string_equal(p->answer, q->answer);
        for (int k = 0; k < 10; k++) assert_string_equal(p->answers[k], q->answers[k]);
    }
}

static void scenes_come_back_through_files(void **state)
{
    export_to("out", 0);
    pupil_dataset *a = open_scenes(), *b = open_tars("out", NULL, NULL);
    assert_int_equal(pupil_dataset_count(b, PUPIL_TRAIN), scenes.train);
    assert_int_equal(pupil_dataset_count(b, PUPIL_TEST), scenes.test);
    for (int64_t i = 0; i < scenes.train; i++) same_sample(a, b, PUPIL_TRAIN, i);
    for (int64_t i = 0; i < scenes.test; i++) same_sample(a, b, PUPIL_TEST, i);
    pupil_vqa_set *x, *y;
    assert_int_equal(pupil_vqa_open(a, PUPIL_TRAIN, &x), 0);
    assert_int_equal(pupil_vqa_open(b, PUPIL_TRAIN, &y), 0);
    assert_int_equal(x->n, scenes.train * scenes.questions);
    same_questions(x, y);
    pupil_vqa_free(&y);
    assert_int_equal(pupil_vqa_open(b, PUPIL_TEST, &y), PUPIL_ENOTFOUND); /* names no files */
    pupil_vqa_free(&x);
    pupil_dataset_free(&a);
    pupil_dataset_free(&b);
}

static char *digest_of(const char *folder)
{
    char *path = pupil_join(dir, folder), **name, hex[65];
    int n;
    pupil_buf all = {0};
    assert_int_equal(pupil_list_dir(path, "", "", &name, &n), 0);
    for (int i = 0; i < n; i++) {
        char *file = pupil_join(path, name[i]);
        assert_int_equal(pupil_sha256_file(file, hex), 0);
        pupil_buf_printf(&all, "%s %s\n", name[i], hex);
        pupil_free(&file);
    }
    pupil_names_free(&name, n);
    pupil_free(&path);
    return all.s;
}

static void exports_have_the_same_bytes(void **state)
{
    export_to("one", 0);
    export_to("two", 0);
    char *a = digest_of("one"), *b = digest_of("two");
    assert_string_equal(a, b);
    assert_null(strstr(a, "part"));
    assert_non_null(strstr(a, "train-000002.tar"));
    assert_null(strstr(a, "train-000003.tar"));
    assert_non_null(strstr(a, "test_annotations.json"));
    pupil_free(&a);
    pupil_free(&b);
}

/* What is not whole is not there: the n-th publish fails in a child process. */
static void failed_exports_leave_no_part(void **state)
{
    for (int n = 1; n <= 8; n += 3) {
        pid_t child = fork();
        if (child == 0) {
            char *fault = pupil_format("publish.rename:%d", n), *to = pupil_format("%s/fault%d", dir, n);
            setenv("PUPIL_FAULT", fault, 1);
            _exit(pupil_scenes_export(&scenes, to, 20) == PUPIL_EFAULT ? 0 : 1);
        }
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        char *folder = pupil_format("fault%d", n), *left = digest_of(folder);
        int files = 0;
        for (const char *p = left ? left : ""; (p = strchr(p, '\n')); p++) files++;
        assert_int_equal(files, n - 1);
        assert_true(!left || !strstr(left, ".part"));
        pupil_free(&folder);
        pupil_free(&left);
    }
}

static void digests_tell_settings_apart(void **state)
{
    static const pupil_conf_scenes other[] = {
        {.train = 45, .test = 12, .size = 48, .seed = 6, .max_objects = 6, .questions = 5},
        {.train = 46, .test = 12, .size = 48, .seed = 5, .max_objects = 6, .questions = 5},
        {.train = 45, .test = 12, .size = 64, .seed = 5, .max_objects = 6, .questions = 5},
        {.train = 45, .test = 12, .size = 48, .seed = 5, .max_objects = 5, .questions = 5}};
    pupil_dataset *d = open_scenes();
    char a[65], b[65];
    assert_int_equal(pupil_dataset_digest(d, PUPIL_TRAIN, a), 0);
    assert_int_equal(pupil_dataset_digest(d, PUPIL_TEST, b), 0);
    assert_string_not_equal(a, b);
    pupil_dataset_free(&d);
    for (int i = 0; i < PUPIL_COUNT(other); i++) {
        const pupil_conf_data conf = {.source = PUPIL_SOURCE_SCENES, .scenes = other[i]};
        assert_int_equal(pupil_dataset_open(&conf, dir, &d), 0);
        assert_int_equal(pupil_dataset_digest(d, PUPIL_TRAIN, b), 0);
        assert_string_not_equal(a, b);
        pupil_dataset_free(&d);
    }
}

/* ---- official files that are odd or wrong ---- */

#define TEN                                                                                                  \
    "[{\"answer\":\"y\"},{\"answer\":\"y\"},{\"answer\":\"y\"},{\"answer\":\"y\"},{\"answer\":\"y\"},"       \
    "{\"answer\":\"n\"},{\"answer\":\"n\"},{\"answer\":\"n\"},{\"answer\":\"n\"},{\"answer\":\"\"}]"
#define QUESTION(id, image) "{\"question_id\":" id ",\"image_id\":" image ",\"question\":\"is it?\"}"
#define ANNOTATION(id, image)                                                                                \
    "{\"question_id\":" id ",\"image_id\":" image ",\"question_type\":\"is\",\"answer_type\":\"yes/no\","    \
    "\"multiple_choice_answer\":\"y\",\"answers\":" TEN "}"
#define QS(list) "{\"info\":{\"a\":[1,2]},\n\"questions\":[" list "]\n}"
#define AS(list) "{\"annotations\":[\n" list "],\"license\":null}"

static int open_pair(const char *questions, const char *annotations, pupil_vqa_set **ret)
{
    char *q = pupil_join(dir, "q.json"), *a = pupil_join(dir, "a.json");
    assert_int_equal(pupil_write_file(q, questions, strlen(questions)), 0);
    assert_int_equal(pupil_write_file(a, annotations, strlen(annotations)), 0);
    pupil_dataset *d = open_tars("out", q, a);
    int r = pupil_vqa_open(d, PUPIL_TEST, ret);
    pupil_dataset_free(&d);
    pupil_free(&q);
    pupil_free(&a);
    return r;
}

static void image_ids_are_found(void **state)
{
    static const char *const ids[][2] = {
        {"3", "3"}, {"\"scene-000004\"", "4"}, {"\"000000000005\"", "5"}, {"0", "0"}, {"\"11\"", "11"}};
    for (int i = 0; i < PUPIL_COUNT(ids); i++) {
        char *q = pupil_format(QS(QUESTION("7", "%s")), ids[i][0]);
        char *a = pupil_format(AS(ANNOTATION("7", "%s")), ids[i][0]);
        pupil_vqa_set *s;
        assert_int_equal(open_pair(q, a, &s), 0);
        assert_int_equal(s->n, 1);
        assert_int_equal(s->q[0].question_id, 7);
        assert_int_equal(s->q[0].image, atoi(ids[i][1]));
        assert_string_equal(s->q[0].answers[4], "y");
        assert_string_equal(s->q[0].answers[8], "n");
        assert_string_equal(s->q[0].answers[9], "");
        pupil_vqa_free(&s);
        pupil_free(&q);
        pupil_free(&a);
    }
}

/* Annotations in another order; an image that is not there. */
static void files_are_joined_by_id(void **state)
{
    pupil_vqa_set *s;
    pupil_log_set_level(PUPIL_LOG_ERROR);
    int r = open_pair(QS(QUESTION("9", "1") "," QUESTION("-1", "99") "," QUESTION("0", "2")),
                      AS(ANNOTATION("0", "2") "," ANNOTATION("9", "1") "," ANNOTATION("-1", "99")), &s);
    pupil_log_set_level(PUPIL_LOG_INFO);
    assert_int_equal(r, 0);
    assert_int_equal(s->n, 2);
    assert_true(s->q[0].question_id == 9 && s->q[0].image == 1);
    assert_true(s->q[1].question_id == 0 && s->q[1].image == 2);
    pupil_vqa_free(&s);
}

static void wrong_files_are_refused(void **state)
{
    static const char q1[] = QS(QUESTION("7", "3")), a1[] = AS(ANNOTATION("7", "3"));
    static const struct {
        const char *q, *a, *reason;
    } bad[] = {
        {"", a1, "q.json:1: '{' or '[' was expected"},
        {"[]", a1, "q.json: nothing in a list \"questions\""},
        {"{}", a1, "q.json: nothing in a list \"questions\""},
        {"{\"questions\":\n\n{}}", a1, "q.json: nothing in a list \"questions\""},
        {"{\"questions\":[],\n\"questions\":[]}", a1, "q.json:2: \"questions\" comes twice"},
        {"{\"questions\":[]} x", a1, "q.json:1: nothing was expected"},
        {"{1:2}", a1, "q.json:1: a name was expected"},
        {"{\"questions\":[{]}", a1, "q.json:1: "},
        {"{\"questions\":[\n{}\n{}]}", a1, "q.json:2: questions[0]: \"question_id\""},
        {QS("7"), a1, "questions[0]: \"question_id\""},
        {QS(QUESTION("7", "3") QUESTION("8", "3")), a1, "q.json:2: ',' was expected"},
        {QS(QUESTION("7", "3") ","), a1, "q.json:2: "},
        {QS(QUESTION("7.5", "3")), a1, "questions[0]: \"question_id\" was expected and to be a whole number"},
        {QS(QUESTION("99999999999999999999", "3")), a1, "q.json:2: too big integer"},
        {QS(QUESTION("7", "[3]")), a1, "questions[0]: \"image_id\""},
        {QS("{\"question_id\":7,\"image_id\":3,\"question\":5}"), a1, "questions[0]: \"question\""},
        {QS(QUESTION("7", "3") ",\n" QUESTION("7", "4")), a1,
         "q.json:3: questions[1]: question_id 7 comes twice"},
        {QS(QUESTION("7", "3") "," QUESTION("8", "3")), a1, "there is no annotation of question_id 8"},
        {QS(QUESTION("7", "77")), AS(ANNOTATION("7", "77")),
         "none of its images is in the data set, image 77 to begin with"},
        {q1, "{\"annotations\":[", "a.json:1: "},
        {q1, AS(ANNOTATION("8", "3")), "a.json:2: annotations[0]: question_id 8 is no question's"},
        {q1, AS(ANNOTATION("7", "4")), "image_id is 4 here and 3 in the question"},
        {q1, AS(ANNOTATION("7", "3") ",\n" ANNOTATION("7", "3")),
         "a.json:3: annotations[1]: question_id 7 comes twice"},
        {q1, AS("{\"question_id\":7,\"image_id\":3,\"question_type\":1}"), "\"question_type\""},
        {q1,
         AS("{\"question_id\":7,\"image_id\":3,\"question_type\":\"\",\"answer_type\":\"\","
            "\"multiple_choice_answer\":\"\",\"answers\":[]}"),
         "\"answers\" was expected and to be a list of 10"},
        {q1,
         AS("{\"question_id\":7,\"image_id\":3,\"question_type\":\"\",\"answer_type\":\"\","
            "\"multiple_choice_answer\":\"\",\"answers\":[1,2,3,4,5,6,7,8,9,0]}"),
         "annotations[0]: answers[0]: \"answer\""},
    };
    for (int i = 0; i < PUPIL_COUNT(bad); i++) {
        pupil_vqa_set *s = NULL;
        int r = open_pair(bad[i].q, bad[i].a, &s);
        if (r != PUPIL_EFORMAT || !strstr(pupil_reason(), bad[i].reason))
            print_message("case %d: %d %s\n", i, r, pupil_reason());
        assert_int_equal(r, PUPIL_EFORMAT);
        assert_non_null(strstr(pupil_reason(), bad[i].reason));
        assert_null(strchr(pupil_reason(), '\n'));
        assert_null(s);
    }
}

static void deep_nesting_is_refused(void **state)
{
    enum { DEEP = 100000 };
    pupil_buf q = {0};
    pupil_buf_puts(&q, "{\"questions\":[");
    for (int i = 0; i < DEEP; i++) pupil_buf_puts(&q, "[");
    pupil_vqa_set *s;
    assert_int_equal(open_pair(q.s, AS(""), &s), PUPIL_EFORMAT);
    assert_non_null(strstr(pupil_reason(), "depth"));
    pupil_buf_free(&q);
}

static void many_questions_are_joined(void **state)
{
    enum { MANY = 20000 };
    pupil_buf q = {0}, a = {0};
    for (int i = 0; i < MANY; i++) { /* ids far apart, annotations backwards */
        pupil_buf_printf(&q, QUESTION("%d", "%d") "%s", i * 100003, i % 12, i + 1 < MANY ? "," : "]}");
        int k = MANY - 1 - i;
        pupil_buf_printf(&a, ANNOTATION("%d", "%d") "%s", k * 100003, k % 12, i + 1 < MANY ? "," : "]}");
    }
    char *qs = pupil_format("{\"questions\":[%s", q.s), *as = pupil_format("{\"annotations\":[%s", a.s);
    pupil_vqa_set *s;
    assert_int_equal(open_pair(qs, as, &s), 0);
    assert_int_equal(s->n, MANY);
    for (int i = 0; i < MANY; i++) assert_true(s->q[i].question_id == i * 100003 && s->q[i].image == i % 12);
    pupil_vqa_free(&s);
    pupil_free(&qs);
    pupil_free(&as);
    pupil_buf_free(&q);
    pupil_buf_free(&a);
}

static int make_dir(void **state)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(dir, sizeof dir, "%s/pupil-vqa-XXXXXX", tmp && strlen(tmp) < 40 ? tmp : "/tmp");
    return mkdtemp(dir) ? 0 : -1;
}

static void remove_tree(const char *path)
{
    char **name;
    int n;
    if (pupil_is_dir(path) && pupil_list_dir(path, "", "", &name, &n) == 0) {
        for (int i = 0; i < n; i++) {
            char *inner = pupil_join(path, name[i]);
            remove_tree(inner);
            pupil_free(&inner);
        }
        pupil_names_free(&name, n);
    }
    remove(path);
}

static int remove_dir(void **state)
{
    remove_tree(dir);
    return pupil_exists(dir) ? -1 : 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(failed_exports_leave_no_part), /* before this process looks for fault points */
        cmocka_unit_test(scenes_come_back_through_files), cmocka_unit_test(exports_have_the_same_bytes),
        cmocka_unit_test(digests_tell_settings_apart),    cmocka_unit_test(image_ids_are_found),
        cmocka_unit_test(files_are_joined_by_id),         cmocka_unit_test(wrong_files_are_refused),
        cmocka_unit_test(deep_nesting_is_refused),        cmocka_unit_test(many_questions_are_joined),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
