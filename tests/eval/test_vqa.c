/* test_vqa.c: normalisation, accuracies and their printed form against the official code's own outputs; the
 * answer list, soft targets and majority baseline on small sets. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "normalize.h"
#include "pupil/eval.h"

#define assert_near(got, want, eps) assert_true(fabs((got) - (want)) <= (eps))

/* ---- the oracle ----------------------------------------------------------------------------------- */
static char *oracle_path(const char *name)
{
    const char *dir = getenv("PUPIL_ORACLE");
    char *path = pupil_format("%s/vqa/%s", dir ? dir : "", name);
    if (dir && pupil_exists(path)) return path;
    print_message("skipped: %s is not here (PUPIL_ORACLE)\n", path);
    pupil_free(&path);
    skip();
    return NULL;
}

static json_t *oracle(const char *name)
{
    char *path = oracle_path(name);
    json_t *j = json_load_file(path, 0, NULL);
    assert_non_null(j);
    pupil_free(&path);
    return j;
}

static const char *text_of(json_t *object, const char *key)
{
    const char *s = json_string_value(json_object_get(object, key));
    assert_non_null(s);
    return s;
}

static void test_normalization(void **state)
{
    json_t *all = oracle("normalization.json"), *pair;
    size_t i;
    json_array_foreach(json_object_get(all, "pairs"), i, pair)
    {
        const char *input = text_of(pair, "input");
        pupil_buf marks = {0};
        normalize_punctuation(input, &marks);
        assert_string_equal(marks.s, text_of(pair, "punctuation"));
        char *whole = pupil_vqa_normalize(input), *bare = normalize_strip(input), *stripped = pupil_vqa_normalize(bare);
        assert_string_equal(whole, text_of(pair, "normalized"));
        assert_string_equal(stripped, text_of(pair, "stripped"));
        pupil_buf_free(&marks);
        pupil_free(&whole);
        pupil_free(&bare);
        pupil_free(&stripped);
    }
    assert_true(i > 300);
    json_decref(all);
}

/* Annotations as a set that borrows the JSON's strings. */
static pupil_vqa_set borrow_set(json_t *annotations, json_t *ids)
{
    json_t *list = json_object_get(annotations, "annotations"), *a = NULL;
    pupil_vqa_set set = {.q = pupil_alloc(json_array_size(list) * sizeof *set.q)};
    size_t i, k, wanted = ids ? json_array_size(ids) : json_array_size(list);
    for (i = 0; i < wanted; i++) {
        json_array_foreach(list, k, a)
        {
            if (ids ? json_equal(json_object_get(a, "question_id"), json_array_get(ids, i)) : k == i) break;
        }
        pupil_vqa_question *q = &set.q[set.n++];
        q->question_id = json_integer_value(json_object_get(a, "question_id"));
        q->question_type = (char *)text_of(a, "question_type");
        q->answer_type = (char *)text_of(a, "answer_type");
        q->answer = (char *)text_of(a, "multiple_choice_answer");
        for (int n = 0; n < 10; n++)
            q->answers[n] = (char *)text_of(json_array_get(json_object_get(a, "answers"), (size_t)n), "answer");
    }
    return set;
}

static char **borrow_answers(const pupil_vqa_set *set, json_t *results)
{
    char **answer = pupil_alloc((size_t)set->n * sizeof *answer);
    for (int64_t i = 0; i < set->n; i++) {
        json_t *r;
        size_t k;
        json_array_foreach(results, k, r)
        {
            if (json_integer_value(json_object_get(r, "question_id")) == set->q[i].question_id)
                answer[i] = (char *)text_of(r, "answer");
        }
        assert_non_null(answer[i]);
    }
    return answer;
}

/* The text of object `key` in a file written with indent=1, as json.dump() without indent writes it. */
static char *unindented(const char *name, const char *key)
{
    char *path = oracle_path(name), *bytes;
    assert_int_equal(pupil_read_file(path, 0, &bytes, NULL), 0);
    char *mark = pupil_format("\"%s\": {", key), *from = strstr(bytes, mark);
    assert_non_null(from);
    from += strlen(mark) - 1;
    pupil_buf out = {0};
    int depth = 0;
    for (char *c = from; *c; c++) {
        depth += (*c == '{') - (*c == '}');
        if (*c == '\n') {
            c += strspn(c, "\n ");
            if (c[0] != '}' && out.s[out.len - 1] != '{') pupil_buf_puts(&out, " ");
            c--;
            continue;
        }
        pupil_buf_add(&out, c, 1);
        if (depth == 0) break;
    }
    pupil_free(&path);
    pupil_free(&bytes);
    pupil_free(&mark);
    return out.s;
}

static void check_accuracies(const char *file, json_t *ids, int decimals)
{
    json_t *annotations = oracle("annotations.json"), *results = oracle("results.json"), *expected = oracle(file);
    pupil_vqa_set set = borrow_set(annotations, ids);
    char **answer = borrow_answers(&set, results);
    pupil_vqa_score score;
    pupil_vqa_score_set(&set, answer, &score);
    assert_int_equal(score.n, set.n);
    pupil_buf text = {0};
    pupil_vqa_score_json(&score, decimals, &text);
    char *want = unindented(file, "accuracy");
    assert_string_equal(text.s, want);

    json_t *each = json_object_get(expected, "per_question");
    assert_true(ids || (int64_t)json_object_size(each) == set.n);
    for (int64_t i = 0; each && i < set.n; i++) {
        char id[32];
        snprintf(id, sizeof id, "%lld", (long long)set.q[i].question_id);
        double got = pupil_vqa_round(100 * pupil_vqa_accuracy(answer[i], set.q[i].answers), decimals);
        assert_true(got == json_number_value(json_object_get(each, id)));
    }
    pupil_buf_free(&text);
    pupil_free(&want);
    pupil_vqa_score_free(&score);
    pupil_free(&answer);
    pupil_free(&set.q);
    json_decref(annotations);
    json_decref(results);
    json_decref(expected);
}

static void test_accuracy(void **state)
{
    check_accuracies("expected.json", NULL, 2);
    check_accuracies("expected_6_decimals.json", NULL, 6);
}

static void test_accuracy_of_subset(void **state)
{
    json_t *expected = oracle("expected_subset.json");
    check_accuracies("expected_subset.json", json_object_get(expected, "question_ids"), 2);
    json_decref(expected);
}

/* ---- small sets ----------------------------------------------------------------------------------- */
/* c annotators say "red", the rest differ from it and from each other. */
static double accuracy_with(int c, const char *answer)
{
    char *a[10], other[10][8];
    for (int i = 0; i < 10; i++) {
        snprintf(other[i], sizeof other[i], "o%c", 'a' + i);
        a[(i * 7) % 10] = i < c ? (char *)"red" : other[i];
    }
    return pupil_vqa_accuracy(answer, a);
}

static void test_leave_one_out(void **state)
{
    static const double want[11] = {0, 0.3, 0.6, 0.9, 1, 1, 1, 1, 1, 1, 1};
    for (int c = 0; c <= 10; c++) assert_near(accuracy_with(c, "red"), want[c], 1e-12);
    assert_near(accuracy_with(9, "The RED!"), 1, 1e-12);
    assert_near(accuracy_with(10, "The RED!"), 0, 0); /* ten identical: compared as written */
    assert_near(accuracy_with(10, "\tred\n"), 1, 1e-12);
}

static void test_rounding(void **state)
{
    assert_true(pupil_vqa_round(2.675, 2) == 2.67); /* the double lies below the tie */
    assert_true(pupil_vqa_round(0.125, 2) == 0.12); /* an exact tie goes to even */
    assert_true(pupil_vqa_round(200.0 / 3, 6) == 66.666667);
    assert_true(pupil_vqa_round(1e300, 2) == 1e300);
}

static void test_hostile_text(void **state)
{
    static const char *const text[] = {"",         " ",        "\xff\xfe", "\xe2\x82", "\xf0\x9f\x98",
                                       "....",     ",,,1,1,,", "~ ^ '",    "a the an", "\xc3"};
    for (int i = 0; i < PUPIL_COUNT(text); i++) {
        char *s = pupil_vqa_normalize(text[i]), *t = normalize_strip(text[i]);
        assert_true(strlen(s) <= 3 * strlen(text[i]) + 1);
        assert_true(strlen(t) <= 3 * strlen(text[i]));
        pupil_free(&s);
        pupil_free(&t);
    }
}

#define ALL(x) {(char *)x, (char *)x, (char *)x, (char *)x, (char *)x, (char *)x, (char *)x, (char *)x, (char *)x, (char *)x}
static pupil_vqa_question question(const char *type, const char *answer)
{
    return (pupil_vqa_question){.question_type = (char *)type, .answer_type = (char *)"other", .answer = (char *)answer,
                                .answers = ALL(answer)};
}

static void test_answer_list(void **state)
{
    pupil_vqa_question q[] = {question("what", "red"),    question("count", "Two"), question("what", "rare"),
                              question("count", "2"),     question("what", "Red."), question("is", "yes"),
                              question("is", "Yes"),      question("what", "blue"), question("what", "blue")};
    pupil_vqa_set set = {.q = q, .n = PUPIL_COUNT(q)};
    pupil_answers a;
    pupil_answers_build(&set, 2, &a);
    static const char *const want[] = {"red", "2", "yes", "blue"};
    assert_int_equal(a.n, PUPIL_COUNT(want));
    for (int k = 0; k < a.n; k++) {
        assert_string_equal(a.answer[k], want[k]);
        assert_int_equal(pupil_answers_find(&a, want[k]), k);
    }
    assert_int_equal(pupil_answers_find(&a, "rare"), -1);

    pupil_vqa_question mixed = {.answers = ALL("red")};
    static const char *const given[] = {"yes", "yes", "blue", "yes", "2", "2", "rare"};
    for (int k = 0; k < PUPIL_COUNT(given); k++) mixed.answers[k] = (char *)given[k];
    for (int reds = 3; reds <= 4; reds++) {
        float target[4];
        mixed.answers[6] = reds == 4 ? (char *)"red" : (char *)"rare";
        pupil_answers_target(&a, &mixed, target);
        assert_true(target[0] == (reds == 4 ? 1.0f : 0.9f));
        assert_true(target[1] == 0.6f && target[2] == 0.9f && target[3] == 0.3f);
    }
    pupil_answers copy;
    pupil_answers_of(a.answer, a.n, &copy);
    pupil_answers_free(&a);
    assert_int_equal(pupil_answers_find(&copy, "blue"), 3);
    pupil_answers_free(&copy);
}

static void test_long_answer_list(void **state)
{
    enum { N = 5000 };
    char (*text)[12] = pupil_alloc(N * sizeof *text), **list = pupil_alloc(N * sizeof *list);
    for (int i = 0; i < N; i++) {
        snprintf(text[i], sizeof text[i], "w%d", i * 7919 % 10007);
        list[i] = text[i];
    }
    pupil_answers a;
    pupil_answers_of(list, N, &a);
    assert_int_equal(a.n, N);
    for (int i = 0; i < N; i++) assert_int_equal(pupil_answers_find(&a, text[i]), i);
    pupil_answers_free(&a);
    pupil_free(&text);
    pupil_free(&list);
}

static void test_majority(void **state)
{
    pupil_vqa_question train[] = {question("what", "red"),  question("what", "blue"), question("what", "blue"),
                                  question("count", "two"), question("count", "2"),   question("count", "3"),
                                  question("odd", "never listed"), question("what", "2"), question("is", "2")};
    pupil_vqa_question test[] = {question("count", ""), question("what", ""), question("new", ""), question("odd", "")};
    pupil_vqa_set train_set = {.q = train, .n = PUPIL_COUNT(train)}, test_set = {.q = test, .n = PUPIL_COUNT(test)};
    char *list[] = {(char *)"red", (char *)"blue", (char *)"2", (char *)"3"};
    pupil_answers a;
    pupil_answers_of(list, 4, &a);
    int32_t got[4];
    pupil_majority_answers(&train_set, &a, &test_set, got);
    assert_int_equal(got[0], 2);
    assert_int_equal(got[1], 1);
    assert_int_equal(got[2], 2); /* over all types: "2" four times */
    assert_int_equal(got[3], 2); /* its type has no listed answer */
    pupil_answers_free(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_normalization), cmocka_unit_test(test_accuracy),    cmocka_unit_test(test_accuracy_of_subset),
        cmocka_unit_test(test_leave_one_out), cmocka_unit_test(test_rounding),    cmocka_unit_test(test_hostile_text),
        cmocka_unit_test(test_answer_list),   cmocka_unit_test(test_long_answer_list), cmocka_unit_test(test_majority),
    };
    return cmocka_run_group_tests_name("vqa", tests, NULL, NULL);
}
