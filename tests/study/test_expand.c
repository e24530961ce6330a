/* A study becomes cells: each once, with an id that is made of its settings alone; what is wrong in the file is told with its
 * place. */
#include "../proof.h"
#include "pupil/study.h"

static const char settings[] =
    "run: {dir: %s}\n"
    "data: {source: scenes, scenes: {train: 500, test: 40, size: 32}, block: 32}\n"
    "tokenizer: {vocab_size: 600}\n"
    "teacher:\n"
    "  model: {image_size: 32, patch_size: 8, vision_width: 64, vision_layers: 2, text_width: 64, text_layers: 2, context_length: 40, embed_dim: 48}\n"
    "  train: {steps: 6, batch_size: 64, slots: 8}\n"
    "student:\n"
    "  model: {image_size: 32, patch_size: 16, vision_width: 64, vision_layers: 2, text_width: 64, text_layers: 1, context_length: 40, embed_dim: 32}\n"
    "  train: {steps: 20, batch_size: 64, slots: 8}\n";
static const char plain_study[] = "study:\n  axes:\n"
                                  "    teacher: {t3: {teacher.train.steps: 3}, t6: {}}\n"
                                  "    loss: {plain: {loss.preset: clip}, fd: {loss.preset: clip-kd-fd}, crd: {loss: {task: 1, crd: 1}}}\n"
                                  "  seeds: [1, 2]\n";

typedef struct {
    pupil_study *s;
    pupil_cells *c;
    char *errors; /* NULL: none */
} opened;

static opened open_text(const char *run_dir, const char *study, const char *set)
{
    opened o = {0};
    char dir[] = "/tmp/pupil-expand-XXXXXX";
    pupil_buf text = {0}, errors = {0};
    CHECK(mkdtemp(dir), "mkdtemp");
    char *path = pupil_join(dir, "s.yaml");
    pupil_buf_printf(&text, settings, run_dir); /* NOLINT */
    pupil_buf_puts(&text, study);
    GOOD(pupil_write_file(path, text.s, text.len));
    int r = pupil_study_load(path, &o.s, &errors);
    if (r == 0) r = pupil_cells_make(o.s, &set, set ? 1 : 0, &o.c, &errors);
    CHECK(r == 0 || errors.len, "a failure without a line");
    if (errors.len) o.errors = pupil_strdup(errors.s);
    unlink(path);
    rmdir(dir);
    pupil_free(&path);
    pupil_buf_free(&text);
    pupil_buf_free(&errors);
    return o;
}

static opened good(const char *run_dir, const char *study, const char *set)
{
    opened o = open_text(run_dir, study, set);
    if (o.errors) fail_msg("%s", o.errors);
    return o;
}

static void done(opened *o)
{
    pupil_cells_free(&o->c);
    pupil_study_free(&o->s);
    pupil_free(&o->errors);
}

static bool holds(const pupil_cells *c, const char *id)
{
    for (int i = 0; i < c->n; i++)
        if (!strcmp(c->cell[i].id, id)) return true;
    return false;
}

/* All cells of a are in b. */
static void inside(const opened *a, const opened *b)
{
    for (int i = 0; i < a->c->n; i++) CHECK(holds(b->c, a->c->cell[i].id), "cell %s has another id", a->c->cell[i].id);
}

static void expands(void **state)
{
    (void)state;
    opened o = good("d", plain_study, NULL);
    assert_int_equal(o.c->n, 2 * 2 * 2 + 2); /* no teacher: the same for both */
    assert_int_equal(o.c->fills, 2);
    for (int i = 0; i < o.c->n; i++) {
        const pupil_cell *x = &o.c->cell[i];
        bool plain = x->point[1] == 0;
        assert_int_equal(x->fill < 0, plain);
        assert_int_equal(x->point[0] < 0, plain);
        assert_int_equal(x->conf->student.train.seed, x->seed);
        CHECK(plain == !x->conf->teacher.dir, "a cell without a teacher names one");
        if (!plain) assert_int_equal(x->conf->teacher.train.steps, x->point[0] ? 6 : 3);
        for (int k = 0; k < i; k++) assert_string_not_equal(o.c->cell[k].id, x->id);
    }
    for (int f = 0; f < 2; f++) assert_int_equal(o.c->fill[f].conf->run.mode, PUPIL_MODE_TEACH);
    done(&o);
}

static void ids_are_of_content(void **state)
{
    (void)state;
    opened a = good("d", plain_study, NULL);
    opened moved = good("elsewhere", plain_study, "ranks.total=2");
    opened longer = good("d", "study:\n  axes:\n    loss: {crd: {loss: {task: 1, crd: 1}}, fd: {loss.preset: clip-kd-fd}, none: {loss.preset: clip}}\n"
                              "    teacher: {t9: {teacher: {train: {steps: 9}}}, t6: {}, t3: {teacher.train.steps: 3}}\n  seeds: [3, 2, 1]\n", NULL);
    opened other = good("d", plain_study, "student.train.steps=21");
    inside(&a, &moved);
    assert_int_equal(a.c->n, moved.c->n);
    inside(&a, &longer);
    assert_int_equal(longer.c->n, 3 * 2 * 3 + 3);
    for (int i = 0; i < a.c->n; i++) CHECK(!holds(other.c, a.c->cell[i].id), "other settings, the same id");
    CHECK(!strcmp(a.c->fill[0].id, other.c->fill[0].id), "the student's steps changed the teacher");
    done(&a);
    done(&moved);
    done(&longer);
    done(&other);
}

static void excludes(void **state)
{
    (void)state;
    pupil_buf text = {0};
    pupil_buf_printf(&text, "%s  exclude: [{teacher: t3, loss: [fd, plain]}, {loss: crd}]\n", plain_study);
    opened o = good("d", text.s, NULL);
    assert_int_equal(o.c->n, 2 + 2); /* t6 with fd, and the plain one that t6 brings */
    done(&o);
    pupil_buf_free(&text);
}

static void told(const char *study, const char *line)
{
    opened o = open_text("d", study, NULL);
    CHECK(o.errors && strstr(o.errors, line), "expected \"%s\" in: %s", line, o.errors ? o.errors : "(nothing)");
    done(&o);
}

static void mistakes(void **state)
{
    (void)state;
    told("study:\n  axis: {}\n", "s.yaml:11:3: study: unknown key 'axis', expected one of question, axes, seeds, exclude, did you mean 'axes'?");
    told("study:\n  axes: {teacher: {a: {teacher.train.stebs: 3}}}\n", "s.yaml:11:24: unknown key 'teacher.train.stebs'");
    told("study:\n  axes: {teacher: {a: {teacher.train.steps: x}}}\n", "teacher.train.steps: 'x', expected a whole number");
    told("study:\n  axes: {teacher: {a: {}}}\n  exclude: [{teacher: b}]\n", "s.yaml:12:23: study: unknown point of axis teacher 'b', expected one of a");
    told("study:\n  axes: {teacher: {a: {}}}\n  exclude: [{techer: a}]\n", "did you mean 'teacher'?");
    told("study:\n  axes: {teacher: {a: {}}}\n  seeds: [1, x]\n", "study.seeds: 'x', expected a whole number from 0");
    told("study:\n  axes: {teacher: {a: {}}}\n  seeds: [1, 1]\n", "study.seeds: 1 is given twice");
    told("study:\n  axes: {teacher: {a b: {}}}\n", "study: a name of points");
    told("study:\n  axes: {teacher: {}}\n", "study.axes.teacher: no points");
    told("study:\n  axes: {teacher: {a: [1]}}\n", "study.axes.teacher.a: expected settings");
    told("study: 3\n", "expected a section");
    told("", "study: missing, expected the section `study`");
    told("study:\n  axes: {teacher: {a: {}}}\n  exclude: [{}]\n", "an empty combination would exclude everything");
    told("study: {axes: {teacher: {a: {}}}}\nstudent: {}\n", "student is given twice");
}

/* A study is no run. */
static void not_a_run(void **state)
{
    (void)state;
    pupil_buf text = {0}, errors = {0};
    pupil_conf *c = NULL;
    pupil_buf_printf(&text, settings, "d"); /* NOLINT */
    pupil_buf_puts(&text, plain_study);
    assert_int_equal(pupil_conf_parse("s.yaml", text.s, NULL, 0, &c, &errors), PUPIL_EUSER);
    CHECK(strstr(errors.s, "s.yaml:10:1: study: this file is a study of many runs, expected `pupil study s.yaml`"), "%s", errors.s);
    pupil_buf_free(&text);
    pupil_buf_free(&errors);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(expands), cmocka_unit_test(ids_are_of_content), cmocka_unit_test(excludes), cmocka_unit_test(mistakes),
                                       cmocka_unit_test(not_a_run)};
    setenv("PUPIL_SITE", "", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
