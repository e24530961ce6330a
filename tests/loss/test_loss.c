/* The losses over slots and ranks, for every term alone and many together. */
#include "driver.h"

#include "pupil/math.h"

/* Random inputs for a configuration, and results. */
static loss_case case_new(pupil_loss_conf c)
{
    loss_case k = {.c = c, .log_scale = 2.6f};
    for (int s = 0; s < PUPIL_LOSS_STREAMS; s++) {
        double *x = normals(10 + (uint64_t)s, c.batch * c.dim, 0.3, 2);
        k.in.student[s] = to_floats(x, c.batch * c.dim);
        pupil_free(&x);
        for (int t = 0; t < c.teachers; t++) {
            double *y = normals(20 + 3 * (uint64_t)t + (uint64_t)s, c.batch * c.teacher[t].dim, 0.1, 1);
            k.in.teacher[t][s] = to_floats(y, c.batch * c.teacher[t].dim);
            pupil_free(&y);
        }
    }
    case_open(&k);
    for (int i = 0; i < k.tensors; i++) {
        int64_t n = tensor_count(&k.info[i]);
        double *x = normals(40 + (uint64_t)i, n, k.info[i].ndim ? 0 : 1.5, k.info[i].ndim ? 0.3 : 0.2);
        for (int64_t j = 0; j < n; j++) k.tensor[i][j] = (float)x[j];
        pupil_free(&x);
    }
    return k;
}

static void case_end(loss_case *k)
{
    for (int s = 0; s < PUPIL_LOSS_STREAMS; s++) {
        DROP((void *)(uintptr_t)k->in.student[s]);
        for (int t = 0; t < k->c.teachers; t++) DROP((void *)(uintptr_t)k->in.teacher[t][s]);
    }
    case_close(k);
}

static pupil_loss_conf conf_of(int64_t batch, int64_t dim, int teachers, int captions)
{
    pupil_loss_conf c = {.batch = batch, .dim = dim, .teachers = teachers, .captions = captions,
                         .teacher = {{10, 20, -3, 1}, {7, 30, -5, 0.5}, {14, 8, -2, 2}}};
    pupil_loss_defaults(&c);
    return c;
}

/* Who owns which slot changes no bit. */
static void no_bit(pupil_loss_conf c, const char *name)
{
    loss_case one = case_new(c), many = case_new(c);
    size_t bytes = (size_t)(c.batch * c.dim) * sizeof(float);
    for (int64_t slots = 8; slots <= 16; slots *= 2) {
        loss_run(&one, slots, 1);
        CHECK(isfinite(one.total) && one.total != 0, "%s: %g", name, one.total);
        for (int ranks = 2; ranks <= 8; ranks *= 2) {
            loss_run(&many, slots, ranks);
            CHECK(!memcmp(one.value, many.value, sizeof one.value), "%s on %d ranks: another value", name, ranks);
            CHECK(one.dlog_scale == many.dlog_scale, "%s on %d ranks: another gradient of the scale", name, ranks);
            for (int s = 0; s <= c.captions; s++)
                CHECK(!memcmp(one.dstudent[s], many.dstudent[s], bytes), "%s on %d ranks: another gradient", name, ranks);
            for (int i = 0; i < one.tensors; i++)
                CHECK(!memcmp(one.dtensor[i], many.dtensor[i], (size_t)tensor_count(&one.info[i]) * sizeof(float)),
                      "%s on %d ranks: another gradient of %s", name, ranks, one.info[i].name);
        }
    }
    case_end(&one);
    case_end(&many);
}

static void ranks_change_no_bit(void **state)
{
    pupil_loss_conf all = conf_of(16, 10, 3, 2);
    for (int t = 0; t < PUPIL_TERMS; t++) {
        pupil_loss_conf c = conf_of(16, 10, 2, 1);
        c.term[t].weight = all.term[t].weight = pupil_term[t].init.weight;
        no_bit(c, pupil_term[t].name);
    }
    no_bit(all, "all");
}

static void what_a_configuration_needs(void **state)
{
    pupil_loss_conf c = {.batch = 8, .slots = 2, .dim = 4};
    pupil_loss_tensor t[PUPIL_LOSS_TENSORS];
    pupil_loss_defaults(&c);
    c.term[PUPIL_TERM_TASK].weight = 1;
    assert_false(pupil_loss_wants(&c, PUPIL_WANTS_TEACHER));
    c.teachers = 2, c.teacher[0].dim = 6, c.teacher[1].dim = 4, c.term[PUPIL_TERM_CRD].weight = 1;
    assert_true(pupil_loss_wants(&c, PUPIL_WANTS_TEACHER));
    assert_int_equal(pupil_loss_tensors(&c, t), 0); /* CRD compares logits: no heads */
    c.term[PUPIL_TERM_ICL].weight = 1;
    assert_int_equal(pupil_loss_tensors(&c, t), 6); /* the second teacher has the student's width */
    assert_string_equal(t[0].name, "loss.visual_proj.weight");
    assert_string_equal(t[3].name, "loss.text_proj.bias");
    assert_string_equal(t[4].name, "loss.icl_scale");
    assert_string_equal(t[5].name, "loss.icl_scale.1");
    assert_true(t[0].normal && t[0].dim[0] == 6 && t[0].dim[1] == 4 && t[3].dim[0] == 6);
    for (int i = 0; i < PUPIL_TERMS; i++) assert_int_equal(pupil_term_find(pupil_term[i].name), i);
    assert_int_equal(pupil_term_find("nonsense"), -1);
    pupil_loss *none = NULL;
    pupil_loss_free(&none);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranks_change_no_bit),
        cmocka_unit_test(what_a_configuration_needs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
