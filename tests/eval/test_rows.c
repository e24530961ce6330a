/* test_rows.c: rows of results: what is added is read back by its key, bit for bit, whatever else is in the file. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pupil/eval.h"

static char dir[] = "/tmp/pupil-rows-XXXXXX";

static void test_rows(void **state)
{
    char *path = pupil_join(dir, "results.jsonl"), *text;
    size_t n;
    double x[7] = {1, 0, 0.3, 0.6, 1, 0.9, 0};
    int64_t rank[7] = {0, 12, 4, 1, 0, 3, 9};
    pupil_rows a = {0}, b = {0}, got;
    pupil_rows_add_mean(&a, "vqa.probe", "accuracy", x, 7, 5);
    pupil_rows_add_ranks(&a, "retrieval.square", "text_to_image_", rank, 7, 5);
    pupil_rows_add(&b, "embedding", "alignment", 1.0 / 3, 40);
    assert_int_equal(a.n, 6);
    assert_true(a.row[1].value == 200.0 / 7 && a.row[2].value == 500.0 / 7 && a.row[4].value == 29.0 / 7 + 1 && a.row[5].value == 4);
    assert_true(a.row[0].interval.low <= a.row[0].value && a.row[0].value <= a.row[0].interval.high);

    assert_int_equal(pupil_rows_read(path, "k1", &got), PUPIL_ENOTFOUND);
    assert_int_equal(pupil_rows_append(path, &(pupil_rows_about){"runs/\"a\"", "w1", "d", "test", "k1", 5}, &a), 0);
    assert_int_equal(pupil_read_file(path, 0, &text, &n), 0);
    pupil_buf torn = {0};
    pupil_buf_printf(&torn, "%s[1, 2]\n{\"key\": \"k1\"}\n{\"key\": \"k1\", \"protocol\": 3}\n{\"key\": \"k1\", \"proto", text);
    assert_int_equal(pupil_write_file(path, torn.s, torn.len), 0); /* what a killed writer of another kind may leave */
    assert_int_equal(pupil_rows_append(path, &(pupil_rows_about){"b", "w2", "d", "test", "k2", 5}, &b), 0);

    assert_int_equal(pupil_rows_read(path, "k1", &got), 0);
    assert_int_equal(got.n, a.n);
    for (int64_t i = 0; i < a.n; i++) {
        const pupil_row *p = &a.row[i], *q = &got.row[i];
        assert_string_equal(p->protocol, q->protocol);
        assert_string_equal(p->metric, q->metric);
        assert_true(p->n == q->n && p->value == q->value && p->has_interval == q->has_interval && p->interval.low == q->interval.low &&
                    p->interval.high == q->interval.high);
    }
    pupil_rows_free(&got);
    assert_int_equal(pupil_rows_read(path, "k2", &got), 0);
    assert_true(got.n == 1 && got.row[0].value == 1.0 / 3 && got.row[0].n == 40 && !got.row[0].has_interval);
    pupil_rows_free(&got);
    assert_int_equal(pupil_rows_read(path, "k", &got), PUPIL_ENOTFOUND);
    pupil_rows_free(&a);
    pupil_rows_free(&b);
    pupil_buf_free(&torn);
    pupil_free(&text);
    unlink(path);
    pupil_free(&path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows)};
    if (!mkdtemp(dir)) return 1;
    int bad = cmocka_run_group_tests_name("rows", tests, NULL, NULL);
    rmdir(dir);
    return bad;
}
