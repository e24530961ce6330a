/* The losses against their formulas in double and against the differences of these; over slots and ranks; for
 * every term alone and many together, with several teachers and second captions. */
#include "driver.h"
#include "plain.h"

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
    pupil_loss_conf c = {.batch = batch,
                         .dim = dim,
                         .teachers = teachers,
                         .captions = captions,
                         .teacher = {{10, 20, -3, 1}, {7, 30, -5, 0.5}, {14, 8, -2, 2}}};
    pupil_loss_defaults(&c);
    return c;
}

/* ---- values and gradients ------------------------------------------------------------------------- */
static plain plain_of(const loss_case *k)
{
    plain p = {.c = k->c, .log_scale = (double)k->log_scale, .tensors = k->tensors};
    memcpy(p.info, k->info, sizeof p.info);
    for (int s = 0; s < PUPIL_LOSS_STREAMS; s++) {
        p.student[s] = to_doubles(k->in.student[s], k->c.batch * k->c.dim);
        for (int t = 0; t < k->c.teachers; t++)
            p.teacher[t][s] = to_doubles(k->in.teacher[t][s], k->c.batch * k->c.teacher[t].dim);
    }
    for (int i = 0; i < k->tensors; i++) p.tensor[i] = to_doubles(k->tensor[i], tensor_count(&k->info[i]));
    return p;
}

static void plain_end(plain *p)
{
    for (int s = 0; s < PUPIL_LOSS_STREAMS; s++) {
        DROP(p->student[s]);
        for (int t = 0; t < p->c.teachers; t++) DROP(p->teacher[t][s]);
    }
    for (int i = 0; i < p->tensors; i++) DROP(p->tensor[i]);
}

static double plain_total(const plain *p)
{
    double value[PUPIL_TERMS];
    plain_values(p, value);
    return pupil_loss_total(&p->c, value);
}

/* d(total)/dx by differences, at some places. `size`: of what the whole gradient is compared with. */
static void check_gradient(plain *p, const char *name, const char *what, double *x, const float *got,
                           int64_t n)
{
    int64_t step = PUPIL_MAX((int64_t)1, n / 24), m = 0;
    double *want = doubles(n), total = fabs(plain_total(p));
    float *at = floats(n);
    for (int64_t i = 0; i < n; i += step, m++) {
        double keep = x[i], h = 1e-5 * fmax(1, fabs(keep));
        x[i] = keep + h;
        double up = plain_total(p);
        x[i] = keep - h;
        want[m] = (up - plain_total(p)) / (2 * h);
        x[i] = keep;
        at[m] = got[i];
    }
    double size = l2(want, m), e = relative_l2(at, want, m) * size;
    double rounding = n == 1 ? 1e-7 : 1e-9; /* the slots' shares of one number may cancel */
    CHECK(e <= 3e-6 * size + 1e-9 * total + rounding, "%s, d%s: error %.3g on a gradient of %.3g", name, what,
          e, size);
    DROP(want, at);
}

static void check_case(pupil_loss_conf c, const char *name)
{
    loss_case k = case_new(c);
    plain p = plain_of(&k);
    double want[PUPIL_TERMS];
    static const char *const stream[] = {"image", "text", "text2"};
    plain_values(&p, want);
    for (int64_t slots = 1; slots <= c.batch; slots += slots == 1 ? 2 : c.batch - 3) { /* 1, 3, a row each */
        loss_run(&k, slots, (int)PUPIL_MIN(slots, (int64_t)3));
        for (int t = 0; t < PUPIL_TERMS; t++) {
            double expected = c.term[t].weight != 0 ? want[t] : 0;
            CHECK(fabs(k.value[t] - expected) <= 1e-6 * fabs(expected) + 1e-9,
                  "%s, %d slots: %s is %.12g, expected %.12g", name, (int)slots, pupil_term[t].name,
                  k.value[t], expected);
        }
    }
    for (int s = 0; s <= c.captions; s++)
        check_gradient(&p, name, stream[s], p.student[s], k.dstudent[s], c.batch * c.dim);
    check_gradient(&p, name, "log scale", &p.log_scale, &k.dlog_scale, 1);
    for (int i = 0; i < k.tensors; i++)
        check_gradient(&p, name, k.info[i].name, p.tensor[i], k.dtensor[i], tensor_count(&k.info[i]));
    plain_end(&p);
    case_end(&k);
}

/* Each term with each of its options, for one teacher of another width, and for three of which one has the
 * student's. */
static void terms_one_by_one(void **state)
{
    static const struct {
        int term;
        pupil_loss_term how;
    } more[] = {
        {PUPIL_TERM_ICL, {.weight = 2, .as_released = true}},
        {PUPIL_TERM_CROSS_KD, {.weight = 2, .as_released = true}},
        {PUPIL_TERM_AFD, {.weight = 2, .as_released = true}},
        {PUPIL_TERM_GD, {.weight = 1e4, .as_released = true}},
        {PUPIL_TERM_FD, {.weight = 3, .sum = true, .sides = PUPIL_SIDES_TEXT}},
        {PUPIL_TERM_CRD, {.weight = 2, .reversed = true}},
        {PUPIL_TERM_AFFINITY, {.weight = 2, .scale = 12}},
        {PUPIL_TERM_ENSEMBLE, {.weight = 2, .scale = 12}},
        {PUPIL_TERM_HINTON, {.weight = 1, .tau = 2, .one_way = true}},
        {PUPIL_TERM_LOGIT_STD, {.weight = 1, .tau = 3, .one_way = true}},
        {PUPIL_TERM_DIST, {.weight = 1, .tau = 2, .beta = 0.5, .gamma = 2, .one_way = true}},
        {PUPIL_TERM_RKD_DISTANCE, {.weight = 1, .raw = true}},
        {PUPIL_TERM_RKD_ANGLE, {.weight = 1, .raw = true, .sides = PUPIL_SIDES_IMAGE}},
        {PUPIL_TERM_VL, {.weight = 1, .tau = 2, .sides = PUPIL_SIDES_BOTH}},
        {PUPIL_TERM_PVL, {.weight = 1, .tau = 2, .sides = PUPIL_SIDES_TEXT}},
        {PUPIL_TERM_UDIST, {.weight = 1, .tau = 2, .sides = PUPIL_SIDES_BOTH}},
    };
    for (int i = 0; i < PUPIL_TERMS + PUPIL_COUNT(more); i++)
        for (int teachers = 1; teachers <= 3; teachers += 2) {
            pupil_loss_conf c = conf_of(9, 10, teachers, teachers == 3 ? 2 : 1);
            if (teachers == 1) c.teacher[0].dim = 7;
            int t = i < PUPIL_TERMS ? i : more[i - PUPIL_TERMS].term;
            c.term[t] = i < PUPIL_TERMS ? pupil_term[t].init : more[i - PUPIL_TERMS].how;
            char *name = pupil_format("%s, %d teachers%s", pupil_term[t].name, teachers,
                                      i < PUPIL_TERMS ? "" : ", other options");
            check_case(c, name);
            pupil_free(&name);
        }
}

static void terms_together(void **state)
{
    pupil_loss_conf c = conf_of(12, 10, 3, 2);
    for (int t = 0; t < PUPIL_TERMS; t++) {
        c.term[t] = pupil_term[t].init;
        c.term[t].weight = 0.5 + 0.1 * t;
    }
    check_case(c, "all");
    c.plain_heads = true, c.term[PUPIL_TERM_CRD].reversed = true;
    check_case(c, "all, plain heads");
    c = conf_of(6, 4, 0, 1);
    c.term[PUPIL_TERM_TASK].weight = 1, c.term[PUPIL_TERM_SIGMOID].weight = 2;
    check_case(c, "no teacher");
}

/* Scales of 100 and 300, rows that nearly or wholly coincide, a batch of one: no overflow, finite gradients.
 */
static void edges(void **state)
{
    for (int n = 1; n <= 8; n += 7) {
        pupil_loss_conf c = conf_of(n, 6, 2, 1);
        for (int t = 0; t < PUPIL_TERMS; t++) c.term[t] = pupil_term[t].init;
        c.teacher[0].scale = 300;
        loss_case k = case_new(c);
        k.log_scale = 4.6051702f;
        float *x = (float *)(uintptr_t)k.in.student[1], *y = (float *)(uintptr_t)k.in.teacher[0][1];
        for (int i = 0; i < n * 6; i++) x[i] = k.in.student[0][i] + 0.01f * x[i];
        for (int i = 6; i < 12 && n > 1; i++) x[i] = x[i - 6]; /* two rows are the same */
        for (int i = 10; i < 20 && n > 1; i++) y[i] = y[i - 10];
        loss_run(&k, n > 1 ? 4 : 1, n > 1 ? 2 : 1);
        assert_true(isfinite(k.total) && isfinite(k.dlog_scale));
        for (int s = 0; s < 2; s++) assert_true(pupil_all_finite(k.dstudent[s], n * 6));
        for (int i = 0; i < k.tensors; i++)
            assert_true(pupil_all_finite(k.dtensor[i], tensor_count(&k.info[i])));
        case_end(&k);
    }
}

/* ---- slots and ranks ------------------------------------------------------------------------------ */
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
            CHECK(!memcmp(one.value, many.value, sizeof one.value), "%s on %d ranks: another value", name,
                  ranks);
            CHECK(one.dlog_scale == many.dlog_scale, "%s on %d ranks: another gradient of the scale", name,
                  ranks);
            for (int s = 0; s <= c.captions; s++)
                CHECK(!memcmp(one.dstudent[s], many.dstudent[s], bytes), "%s on %d ranks: another gradient",
                      name, ranks);
            for (int i = 0; i < one.tensors; i++)
                CHECK(!memcmp(one.dtensor[i], many.dtensor[i],
                              (size_t)tensor_count(&one.info[i]) * sizeof(float)),
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
    all.teachers = PUPIL_LOSS_TEACHERS;
    for (int k = 3; k < PUPIL_LOSS_TEACHERS; k++) all.teacher[k] = (pupil_loss_teacher){5 + k, 10 + k, -1, 1};
    all.term[PUPIL_TERM_RKD_DISTANCE].raw = true;
    all.term[PUPIL_TERM_ENSEMBLE].scale = 50;
    for (int t = PUPIL_TERM_VL; t <= PUPIL_TERM_UDIST; t++) all.term[t].sides = PUPIL_SIDES_BOTH;
    no_bit(all, "all, of as many teachers as there may be");
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
        cmocka_unit_test(terms_one_by_one),
        cmocka_unit_test(terms_together),
        cmocka_unit_test(edges),
        cmocka_unit_test(ranks_change_no_bit),
        cmocka_unit_test(what_a_configuration_needs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
