/* The examples of conf/ are accepted, read back from what is printed of them, and speak of what they are for;
 * the presets the settings name are those the models know. */
#include "schema.h"

#include "../proof.h"
#include "pupil/model.h"

static pupil_conf *load(const char *name, const char *set)
{
    char *path = pupil_format("%s/conf/%s.yaml", getenv("PUPIL_SOURCE"), name);
    pupil_conf *c = NULL;
    pupil_buf e = {0};
    if (pupil_conf_load(path, &set, set ? 1 : 0, &c, &e) < 0) fail_msg("%s", e.s);
    pupil_free(&path);
    return c;
}

static char *printed(const pupil_conf *c, const char *section)
{
    pupil_buf b = {0};
    pupil_conf_print_section(c, section, &b);
    return b.s;
}

static void same_section(const pupil_conf *a, const pupil_conf *b, const char *section)
{
    char *x = printed(a, section), *y = printed(b, section);
    assert_string_equal(x, y);
    DROP(x, y);
}

/* All cells of the studies can be read, and are read back from what is printed of them. */
static void studies(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int cells;
    } example[] = {{"study-scenes", 120}, {"study-emoji", 120}, {"study-paper", 912}};
    for (int i = 0; i < PUPIL_COUNT(example); i++) {
        char *path = pupil_format("%s/conf/%s.yaml", getenv("PUPIL_SOURCE"), example[i].name);
        pupil_study *study = NULL;
        pupil_buf e = {0};
        int point[PUPIL_STUDY_AXES] = {0}, cells = 0, axis = 0;
        if (pupil_study_load(path, &study, &e) < 0) fail_msg("%s", e.s);
        while (axis < study->axes) {
            pupil_conf *a = NULL, *b = NULL;
            if (pupil_study_settings(study, point, 1, NULL, 0, &a, &e) < 0) fail_msg("%s", e.s);
            char *text = printed(a, "");
            if (pupil_conf_parse("printed", text, NULL, 0, &b, &e) < 0) fail_msg("%s", e.s);
            same_section(a, b, "");
            pupil_free(&text);
            pupil_conf_free(&a);
            pupil_conf_free(&b);
            cells++;
            for (axis = 0; axis < study->axes && ++point[axis] == study->axis[axis].n; axis++) point[axis] = 0;
        }
        assert_int_equal(cells * PUPIL_MAX(1, study->seeds), example[i].cells);
        pupil_study_free(&study);
        pupil_free(&path);
    }
}

static void accepted(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        pupil_mode mode;
        pupil_source source;
    } example[] = {{"quickstart", PUPIL_MODE_SPLIT, PUPIL_SOURCE_SCENES},
                   {"chained", PUPIL_MODE_CHAINED, PUPIL_SOURCE_SCENES},
                   {"students", PUPIL_MODE_STUDENTS, PUPIL_SOURCE_SCENES},
                   {"emoji", PUPIL_MODE_SPLIT, PUPIL_SOURCE_WEBDATASET},
                   {"emoji-full", PUPIL_MODE_SPLIT, PUPIL_SOURCE_WEBDATASET},
                   {"recipes/clip-kd", PUPIL_MODE_SPLIT, PUPIL_SOURCE_WEBDATASET},
                   {"recipes/tinyclip", PUPIL_MODE_SPLIT, PUPIL_SOURCE_WEBDATASET},
                   {"recipes/tinyclip-auto", PUPIL_MODE_SPLIT, PUPIL_SOURCE_WEBDATASET},
                   {"recipes/mobileclip", PUPIL_MODE_SPLIT, PUPIL_SOURCE_WEBDATASET},
                   {"recipes/open_clip-distill", PUPIL_MODE_SPLIT, PUPIL_SOURCE_WEBDATASET}};
    for (int i = 0; i < PUPIL_COUNT(example); i++) {
        pupil_conf *a = load(example[i].name, NULL), *b = NULL;
        assert_int_equal(a->run.mode, example[i].mode);
        assert_int_equal(a->data.source, example[i].source);
        char *text = printed(a, "");
        pupil_buf e = {0};
        if (pupil_conf_parse("printed", text, NULL, 0, &b, &e) < 0) fail_msg("%s", e.s);
        same_section(a, b, "");
        pupil_free(&text);
        pupil_conf_free(&a);
        pupil_conf_free(&b);
    }
}

/* One teacher, one cache: nothing that either is made of may differ between the three. */
static void examples_share_the_cache(void **state)
{
    (void)state;
    static const char *const section[] = {"data", "tokenizer", "teacher.dir", "cache"};
    pupil_conf *quick = load("quickstart", NULL), *chained = load("chained", NULL),
               *students = load("students", NULL);
    for (int i = 0; i < PUPIL_COUNT(section); i++) {
        same_section(quick, chained, section[i]);
        same_section(quick, students, section[i]);
    }
    static const char *const rest[] = {"teacher", "student", "loss"}; /* the same student, bit for bit */
    for (int i = 0; i < PUPIL_COUNT(rest); i++) same_section(quick, chained, rest[i]);
    assert_false(students->teacher.train_here);
    pupil_conf_free(&quick);
    pupil_conf_free(&chained);
    pupil_conf_free(&students);
}

static void models_can_be_made(void **state)
{
    (void)state;
    static const char *const name[] = {"quickstart", "chained", "students", "emoji", "emoji-full"};
    for (int i = 0; i < PUPIL_COUNT(name); i++) {
        pupil_conf *c = load(name[i], NULL);
        pupil_arch arch;
        GOOD(pupil_arch_from_conf(&c->student.model, c->tokenizer.vocab_size, "student.model", &arch));
        if (c->teacher.train_here)
            GOOD(pupil_arch_from_conf(&c->teacher.model, c->tokenizer.vocab_size, "teacher.model", &arch));
        pupil_conf_free(&c);
    }
}

/* Recipes of the literature are what they cite: sizes of the students, terms of the loss. */
static void recipes(void **state)
{
    (void)state;
    pupil_conf *kd = load("recipes/clip-kd", NULL), *tiny = load("recipes/tinyclip", NULL), *mobile = load("recipes/mobileclip", NULL),
               *open_clip = load("recipes/open_clip-distill", NULL), *all[] = {kd, mobile, open_clip};
    pupil_conf_model b32 = {.name = (char *)"ViT-B-32", .act = PUPIL_ACT_PRESET};
    pupil_arch base, student;
    for (int i = 0; i < PUPIL_COUNT(all); i++) GOOD(pupil_arch_from_conf(&all[i]->student.model, 49408, "student.model", &student));
    GOOD(pupil_arch_from_conf(&b32, 49408, "teacher", &base));
    GOOD(pupil_arch_like(&base, &tiny->student.model, "student.model", &student));
    GOOD(pupil_inherit_check(&base, &student, "student.model"));
    pupil_clip *c = pupil_clip_new(&student);
    CHECK(llabs(pupil_clip_params(c, 0) - 39700000) < 500000, "the image tower has %lld parameters", (long long)pupil_clip_params(c, 0));
    pupil_clip_free(&c);
    assert_int_equal(student.text.layers, 6);
    assert_true(kd->loss.task.weight == 1 && kd->loss.crd.weight == 1 && kd->loss.icl.weight == 1 && kd->loss.fd.weight == 2000);
    assert_true(tiny->loss.task.weight == 0 && tiny->loss.affinity.weight == 1 && tiny->loss.affinity.scale == 50);
    assert_true(mobile->loss.ensemble.weight == 1 && mobile->loss.ensemble.scale == 100 && mobile->more_teachers[0].cache);
    assert_true(open_clip->loss.task.weight == 1 && open_clip->loss.affinity.weight == 1);
    for (int i = 0; i < PUPIL_COUNT(all); i++) pupil_conf_free(&all[i]);
    pupil_conf_free(&tiny);
}

static void presets(void **state)
{
    (void)state;
    const char *choices = schema[schema_find("student.model.name")].choices;
    char *list = pupil_strdup(choices), *save;
    pupil_arch arch;
    int n = 0;
    for (char *word = strtok_r(list, " ", &save); word; word = strtok_r(NULL, " ", &save), n++) {
        char *set = pupil_format("student.model={name: %s}", word);
        pupil_conf *c = load("students", set);
        pupil_conf_model m = {.name = word, .act = PUPIL_ACT_PRESET};
        GOOD(pupil_arch_from_conf(&m, 49408, word, &arch));
        pupil_conf_free(&c);
        pupil_free(&set);
    }
    assert_true(n >= 5);
    /* the model's own refusal names the presets it knows: no more than these */
    pupil_conf_model unknown = {.name = (char *)"ViT-Q-9"};
    assert_true(pupil_arch_from_conf(&unknown, 49408, "x", &arch) < 0);
    char *reason = pupil_strdup(pupil_reason());
    int told = 0;
    for (const char *p = strstr(reason, "expected"); (p = strstr(p, "ViT-")); p += 4) told++;
    assert_int_equal(told, n);
    DROP(reason, list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepted), cmocka_unit_test(studies),
        cmocka_unit_test(examples_share_the_cache),
        cmocka_unit_test(models_can_be_made),
        cmocka_unit_test(recipes),
        cmocka_unit_test(presets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
