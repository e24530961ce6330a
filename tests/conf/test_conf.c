/* The settings: every kind of error with its exact line and column, defaults, overrides, the round trip of what is printed,
 * what may change between runs, and that hostile text is refused without harm. */
#include "pupil/conf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define BASE "run: {dir: r}\nloss: {task: 1}\n"

static int parse(const char *text, const char *set, pupil_conf **c, pupil_buf *errors)
{
    const char *sets[] = {set};
    return pupil_conf_parse("f.yaml", text, sets, set ? 1 : 0, c, errors);
}

static void expect_errors(const char *text, const char *set, const char *want)
{
    pupil_conf *c = NULL;
    pupil_buf e = {0};
    assert_int_equal(parse(text, set, &c, &e), PUPIL_EUSER);
    assert_null(c);
    assert_string_equal(e.s, want);
    pupil_buf_free(&e);
}

static void messages(void **state)
{
    (void)state;
    expect_errors(BASE "student:\n  train:\n    lrr: 1\n", NULL,
                  "f.yaml:5:5: unknown key 'student.train.lrr', expected a key of `pupil help config`, did you mean 'student.train.lr'?\n");
    expect_errors(BASE "student: {train: {lr: 3e-4x}}\n", NULL, "f.yaml:3:23: student.train.lr: '3e-4x', expected a number from 0 to 1000\n");
    expect_errors(BASE "student: {train: {steps: 1.5}}\n", NULL, "f.yaml:3:26: student.train.steps: '1.5', expected a whole number from 0 up\n");
    expect_errors(BASE "student: {train: {steps: \"5\"}}\n", NULL, "f.yaml:3:26: student.train.steps: '5', expected a whole number from 0 up\n");
    expect_errors(BASE "data: {window: 0}\n", NULL, "f.yaml:3:16: data.window: '0', expected a whole number from 1 to 1048576\n");
    expect_errors(BASE "cache: {dtype: f61}\n", NULL, "f.yaml:3:16: cache.dtype: 'f61', expected one of f16, f32, did you mean 'f16'?\n");
    expect_errors(BASE "eval: {pixel_baseline: 2}\n", NULL, "f.yaml:3:24: eval.pixel_baseline: '2', expected true or false\n");
    expect_errors(BASE "eval: [1]\n", NULL, "f.yaml:3:7: eval: a list, expected a section with keys below it\n");
    expect_errors(BASE "cache: {dir: {a: b}}\n", NULL, "f.yaml:3:14: cache.dir: a mapping, expected text\n");
    expect_errors(BASE "ranks: {total: 2, total: 3}\n", NULL, "f.yaml:3:19: ranks.total is given twice, first in line 3\n");
    expect_errors("- 1\n", NULL, "f.yaml:1:1: expected sections such as `run:` and `student:` at the top\nf.yaml:1:1: run.dir: missing, expected a folder for this run\n");
    expect_errors("loss: {task: 1}\n", NULL, "f.yaml:1:1: run.dir: missing, expected a folder for this run\n");
    expect_errors(BASE "---\nrun: {dir: s}\n", NULL, "f.yaml:4:1: a second document, expected one\n");
    expect_errors(BASE "\tx: 1\n", NULL,
                  "f.yaml:3:1: not YAML: while scanning for the next token, found character that cannot start any token (YAML is indented with spaces, never tabs)\n"
                  "f.yaml:1:1: run.dir: missing, expected a folder for this run\n");
}

static void contradictions(void **state)
{
    (void)state;
    expect_errors(BASE "student: {train: {slots: 6}}\n", NULL, "f.yaml:3:26: student.train.slots: 6, expected a power of two\n");
    expect_errors(BASE "student: {train: {batch_size: 100, slots: 8}}\n", NULL,
                  "f.yaml:3:43: student.train.slots: 8 slots do not divide batch_size 100, expected a power of two that does\n");
    expect_errors(BASE "student: {train: {steps: 5, warmup: 6}}\n", NULL,
                  "f.yaml:3:37: student.train.warmup: 6 steps of warm-up but only 5 steps, expected fewer\n");
    expect_errors("run: {dir: r}\nloss: {task: 0}\n", NULL, "f.yaml:2:14: loss.task.weight: all losses are 0, expected at least one above 0\n");
    expect_errors(BASE "data: {train: [a.tar]}\n", NULL, "f.yaml:3:15: data.train: given, but data.source is scenes; expected data.source: webdataset\n");
    expect_errors(BASE "data: {source: webdataset, train: [a.tar], test: [b.tar], vqa_train: {questions: q}}\n", NULL,
                  "f.yaml:1:1: data.vqa_train.annotations: missing, expected both questions and annotations, or neither\n"
                  "f.yaml:1:1: data.vqa_test.questions: missing, expected questions about both splits, or about neither\n");
    expect_errors("run: {dir: r}\nloss: {fd: 2000}\n", NULL,
                  "f.yaml:1:1: teacher.dir: missing, expected the teacher's folder, as loss.fd distils\n"
                  "f.yaml:1:1: cache.dir: missing, expected a folder for the teacher's embeddings\n");
    expect_errors(BASE "ranks: {total: 2, teacher: 2}\n", NULL, "f.yaml:3:28: ranks.teacher: 2 of 2 ranks, expected fewer, so that students are left\n");
    expect_errors(BASE "tokenizer: {merges: m, vocab_size: 600}\n", NULL,
                  "f.yaml:3:36: tokenizer.vocab_size: given beside tokenizer.merges, expected one of them: the merges file has its own size\n");
}

static void all_in_one_go(void **state)
{
    (void)state;
    pupil_conf *c;
    pupil_buf e = {0};
    assert_int_equal(parse("run: {dri: x}\nstudent: {train: {lr: q, steps: -1}}\ncache: {dtype: x}\n", NULL, &c, &e), PUPIL_EUSER);
    int lines = 0;
    for (const char *p = e.s; *p; p++) lines += *p == '\n';
    assert_int_equal(lines, 5); /* four, and that run.dir is missing */
    pupil_buf_free(&e);
}

static void overrides(void **state)
{
    (void)state;
    pupil_conf *c;
    pupil_buf e = {0};
    assert_int_equal(parse(BASE, "student.train.lr=5e-4", &c, &e), 0);
    assert_true(c->student.train.lr == 5e-4);
    pupil_conf_free(&c);
    assert_int_equal(parse(BASE "loss: {}\n", NULL, &c, &e), PUPIL_EUSER); /* loss twice */
    pupil_buf_free(&e);
    assert_int_equal(parse(BASE, "loss.task=3", &c, &e), 0);
    assert_true(c->loss.task == 3);
    pupil_conf_free(&c);
    assert_int_equal(parse("run: {dir: r}\ndata: {source: webdataset, test: [t.tar]}\n", "data.train=[a.tar, 'b-{0..3}.tar']", &c, &e), 0);
    assert_int_equal(c->data.train.n, 2);
    assert_string_equal(c->data.train.item[1], "b-{0..3}.tar");
    pupil_conf_free(&c);
    expect_errors(BASE, "student.train.lr=abc", "--set student.train.lr=abc: student.train.lr: 'abc', expected a number from 0 to 1000\n");
    expect_errors(BASE, "student.train.lr", "--set student.train.lr: expected --set section.key=value\n");
    expect_errors(BASE, "student.train.slots=3", "--set student.train.slots=3: 3, expected a power of two\n");
    expect_errors(BASE, "run.mod=split", "--set run.mod=split: unknown key 'run.mod', expected a key of `pupil help config`, did you mean 'run.mode'?\n");
    pupil_buf_free(&e);
}

static void defaults(void **state)
{
    (void)state;
    pupil_conf *c;
    pupil_buf e = {0};
    assert_int_equal(parse(BASE, NULL, &c, &e), 0);
    assert_int_equal(c->run.mode, PUPIL_MODE_SPLIT);
    assert_int_equal(c->ranks.total, 0);
    assert_int_equal(c->student.model.act, PUPIL_ACT_PRESET);
    assert_int_equal(c->student.model.embed_dim, 0);
    assert_null(c->teacher.dir);
    assert_false(c->teacher.train_here);
    assert_true(c->eval.vqa);
    assert_true(c->loss.fd == 0);
    pupil_conf_free(&c);
    assert_int_equal(parse(BASE "teacher: {dir: t, train: {}}\neval: {vqa: false}\n", NULL, &c, &e), 0);
    assert_true(c->teacher.train_here);
    assert_false(c->eval.vqa);
    pupil_conf_free(&c);
    pupil_buf_free(&e);
}

static char *printed(const pupil_conf *c)
{
    pupil_buf b = {0};
    pupil_conf_print(c, &b);
    return b.s;
}

static void round_trip_of(const char *text, const char *set)
{
    pupil_conf *a, *b;
    pupil_buf e = {0};
    if (parse(text, set, &a, &e) < 0) fail_msg("%s", e.s);
    char *first = printed(a);
    if (pupil_conf_parse("printed", first, NULL, 0, &b, &e) < 0) fail_msg("%s", e.s);
    char *second = printed(b);
    assert_string_equal(first, second);
    assert_int_equal(pupil_conf_diff(a, b, &e), 0);
    pupil_free(&first);
    pupil_free(&second);
    pupil_conf_free(&a);
    pupil_conf_free(&b);
    pupil_buf_free(&e);
}

static void round_trip(void **state)
{
    (void)state;
    static const char *const files[] = {"quickstart", "chained", "students"};
    round_trip_of(BASE, NULL);
    round_trip_of("run: {dir: \"a: b # 'c' \\\" \\t \\u00e9\"}\ntokenizer: {merges: 'null'}\n", NULL);
    round_trip_of("run: {dir: r}\ndata: {source: webdataset, train: ['x, y.tar', '[', \"\\n\"], test: a, on_error: skip}\n", NULL);
    round_trip_of(BASE "student: {model: {act: quick_gelu, name: ViT-T-16}, train: {lr: 1.2345678901234567e-05}}\n", NULL);
    for (int i = 0; i < PUPIL_COUNT(files); i++) {
        char *name = pupil_format("%s/conf/%s.yaml", getenv("PUPIL_SOURCE"), files[i]), *text;
        assert_int_equal(pupil_read_file(name, 0, &text, NULL), 0);
        round_trip_of(text, NULL);
        round_trip_of(text, "loss.fd.reduce=sum");
        pupil_free(&name);
        pupil_free(&text);
    }
}

static void what_may_change(void **state)
{
    (void)state;
    pupil_conf *a, *b;
    pupil_buf e = {0};
    assert_int_equal(parse(BASE, NULL, &a, &e), 0);
    assert_int_equal(parse(BASE, "ranks.total=4", &b, &e), 0);
    assert_int_equal(pupil_conf_diff(a, b, &e), 0);
    pupil_conf_free(&b);
    assert_int_equal(parse(BASE, "student.train.lr=2e-3", &b, &e), 0);
    assert_int_equal(pupil_conf_diff(a, b, &e), 1);
    assert_string_equal(e.s, "student.train.lr: 0.001 -> 0.002");
    pupil_conf_free(&a);
    pupil_conf_free(&b);
    pupil_buf_free(&e);
}

static void help_names_every_key(void **state)
{
    (void)state;
    pupil_conf *c;
    pupil_buf e = {0}, help = {0};
    assert_int_equal(parse(BASE "teacher: {dir: t, train: {}}\n", NULL, &c, &e), 0);
    pupil_conf_help(&help);
    static const char *const some[] = {"run.dir", "student.train.slots", "teacher.model.act", "loss.icl.variant", "cache.high_water", "eval.vqa.hidden"};
    for (int i = 0; i < PUPIL_COUNT(some); i++) assert_non_null(strstr(help.s, some[i]));
    for (char *p = help.s, *end; (end = strchr(p, '\n')); p = end + 1) assert_true(end - p < 300);
    pupil_conf_free(&c);
    pupil_buf_free(&help);
}

static void hostile_text(void **state)
{
    (void)state;
    char *name = pupil_format("%s/conf/quickstart.yaml", getenv("PUPIL_SOURCE")), *text;
    size_t n;
    assert_int_equal(pupil_read_file(name, 0, &text, &n), 0);
    char *copy = pupil_alloc(n + 1);
    int refused = 0;
    for (uint64_t i = 0; i < 1000; i++) {
        pupil_rng r = pupil_rng_at(1, PUPIL_STREAM_TEST, i);
        memcpy(copy, text, n + 1);
        for (uint64_t k = pupil_rng_below(&r, 4) + 1; k > 0; k--) copy[pupil_rng_below(&r, n)] = (char)(1 + pupil_rng_below(&r, 255));
        pupil_conf *c = NULL;
        pupil_buf e = {0};
        if (pupil_conf_parse("m.yaml", copy, NULL, 0, &c, &e) < 0) {
            assert_true(e.len > 0);
            refused++;
        }
        pupil_conf_free(&c);
        pupil_buf_free(&e);
    }
    assert_in_range(refused, 200, 999);
    pupil_buf deep = {0}, e = {0};
    for (int i = 0; i < 3000; i++) pupil_buf_puts(&deep, "{run: ");
    pupil_conf *c;
    assert_int_equal(pupil_conf_parse("deep", deep.s, NULL, 0, &c, &e), PUPIL_EUSER);
    pupil_buf_free(&e);
    assert_int_equal(pupil_conf_parse("loop", "run: &a {dir: r, data: *a}\n", NULL, 0, &c, &e), PUPIL_EUSER);
    pupil_buf_free(&e);
    pupil_buf_free(&deep);
    pupil_free(&copy);
    pupil_free(&text);
    pupil_free(&name);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages),  cmocka_unit_test(contradictions),  cmocka_unit_test(all_in_one_go), cmocka_unit_test(overrides),
        cmocka_unit_test(defaults),  cmocka_unit_test(round_trip),      cmocka_unit_test(what_may_change),
        cmocka_unit_test(help_names_every_key), cmocka_unit_test(hostile_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
