/* The losses against a plain double version written from the formulas in the door, and against its
 * differences; over slots and ranks, for every term alone and all together. */
#include "driver.h"

#include "pupil/math.h"

/* Inputs in double; the same order everywhere: image, text. */
typedef struct {
    pupil_loss_conf c;
    double *student[2], *teacher[2], *head_w[2], *head_b[2];
    double log_scale[1], icl_scale[1];
} plain;

/* sum_i (lse(z_i) - z_ii) / B of z = scale a b^T */
static double plain_ce(const double *a, const double *b, double scale, int64_t n, int64_t d)
{
    double *z = doubles(n), s = 0;
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j < n; j++) z[j] = scale * dot_of(a + i * d, b + j * d, d);
        s += (pupil_plain_logsumexp(z, n) - z[i]) / (double)n;
    }
    pupil_free(&z);
    return s;
}

/* mean over rows of KL(softmax(S A B^T) || softmax(s a b^T)) */
static double plain_kl(const double *A, const double *B, double S, int64_t D, const double *a,
                       const double *b, double scale, int64_t d, int64_t n)
{
    double *z = doubles(n), *y = doubles(n), s = 0;
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j < n; j++)
            z[j] = scale * dot_of(a + i * d, b + j * d, d), y[j] = S * dot_of(A + i * D, B + j * D, D);
        double lz = pupil_plain_logsumexp(z, n), ly = pupil_plain_logsumexp(y, n);
        for (int64_t j = 0; j < n; j++) s += exp(y[j] - ly) * ((y[j] - ly) - (z[j] - lz)) / (double)n;
    }
    DROP(z, y);
    return s;
}

static void plain_values(const plain *p, double value[PUPIL_TERMS])
{
    int64_t n = p->c.batch, ds = p->c.dim, dt = p->c.teacher_dim;
    double *v[2], *V[2], *u[2], s = exp(p->log_scale[0]),
                                c = p->c.icl_raw ? p->icl_scale[0] : exp(p->icl_scale[0]);
    memset(value, 0, PUPIL_TERMS * sizeof *value);
    for (int k = 0; k < 2; k++) {
        v[k] = doubles(n * ds), V[k] = doubles(n * dt), u[k] = doubles(n * dt);
        pupil_plain_normalize(v[k], p->student[k], n, ds);
        if (!dt) continue;
        pupil_plain_normalize(V[k], p->teacher[k], n, dt);
        if (ds == dt) {
            memcpy(u[k], v[k], (size_t)(n * dt) * sizeof(double));
        } else {
            pupil_plain_linear(u[k], p->student[k], p->head_w[k], p->head_b[k], n, ds, dt);
            double *raw = doubles(n * dt);
            memcpy(raw, u[k], (size_t)(n * dt) * sizeof(double));
            pupil_plain_normalize(u[k], raw, n, dt);
            pupil_free(&raw);
        }
    }
    value[PUPIL_TERM_TASK] = 0.5 * (plain_ce(v[0], v[1], s, n, ds) + plain_ce(v[1], v[0], s, n, ds));
    if (dt) {
        double S = p->c.teacher_scale;
        value[PUPIL_TERM_CRD] = 0.5 * (plain_kl(V[0], V[1], S, dt, v[0], v[1], s, ds, n) +
                                       plain_kl(V[1], V[0], S, dt, v[1], v[0], s, ds, n));
        value[PUPIL_TERM_ICL] = 0.5 * (plain_ce(u[0], V[1], c, n, dt) + plain_ce(u[1], V[0], c, n, dt));
        for (int k = 0; k < 2; k++)
            for (int64_t i = 0; i < n * dt; i++)
                value[PUPIL_TERM_FD] += pow(u[k][i] - V[k][i], 2) / (double)(n * (p->c.fd_sum ? 1 : dt));
    }
    for (int k = 0; k < 2; k++) DROP(v[k], V[k], u[k]);
}

static double plain_total(const plain *p)
{
    double value[PUPIL_TERMS], s = 0;
    plain_values(p, value);
    for (int t = 0; t < PUPIL_TERMS; t++) s += p->c.weight[t] * value[t];
    return s;
}

static plain plain_new(pupil_loss_conf c)
{
    plain p = {.c = c, .log_scale = {(double)2.6f}, .icl_scale = {c.icl_raw ? (double)2.659f : (double)2.3f}};
    int64_t n = c.batch;
    for (uint64_t k = 0; k < 2; k++) {
        p.student[k] = normals(10 + k, n * c.dim, 0.3, 2);
        p.teacher[k] = normals(20 + k, n * c.teacher_dim, 0.1, 1);
        p.head_w[k] = normals(30 + k, c.teacher_dim * c.dim, 0, 0.3);
        p.head_b[k] = normals(40 + k, c.teacher_dim, 0, 0.2);
    }
    return p;
}

static loss_case case_of(const plain *p)
{
    loss_case k = {.c = p->c, .log_scale = (float)p->log_scale[0], .icl_scale = (float)p->icl_scale[0]};
    for (int s = 0; s < 2; s++) {
        k.student[s] = to_floats(p->student[s], p->c.batch * p->c.dim);
        k.teacher[s] = to_floats(p->teacher[s], p->c.batch * p->c.teacher_dim);
        k.head_w[s] = to_floats(p->head_w[s], p->c.teacher_dim * p->c.dim);
        k.head_b[s] = to_floats(p->head_b[s], p->c.teacher_dim);
    }
    case_results_new(&k);
    return k;
}

static void both_end(plain *p, loss_case *k)
{
    for (int s = 0; s < 2; s++) {
        DROP(p->student[s], p->teacher[s], p->head_w[s], p->head_b[s]);
        DROP((void *)(uintptr_t)k->student[s], (void *)(uintptr_t)k->teacher[s], k->head_w[s], k->head_b[s]);
    }
    case_results_end(k);
}

/* d(total)/dx by differences, at every place if there are few. */
static void check_gradient(plain *p, const char *name, double *x, const float *got, int64_t n)
{
    double *want = doubles(n), *seen = doubles(n);
    int64_t step = PUPIL_MAX((int64_t)1, n / 60), m = 0;
    float *at = floats(n);
    for (int64_t i = 0; i < n; i += step, m++) {
        double keep = x[i], h = 2e-5;
        x[i] = keep + h;
        double up = plain_total(p);
        x[i] = keep - h;
        want[m] = (up - plain_total(p)) / (2 * h);
        x[i] = keep;
        at[m] = got[i];
    }
    double size = l2(want, m), e = relative_l2(at, want, m) * size;
    CHECK(e <= 2e-5 * size + 2e-7, "%s: error %.3g on a gradient of %.3g", name, e, size);
    DROP(want, seen, at);
}

static const struct {
    const char *name;
    pupil_loss_conf c;
} confs[] = {
    {"task", {.batch = 12, .dim = 10, .weight = {1}}},
    {"task, one pair", {.batch = 1, .dim = 4, .weight = {1}}},
    {"crd, other width", {.batch = 12, .dim = 10, .teacher_dim = 7, .weight = {0, 1}, .teacher_scale = 30}},
    {"icl, equal", {.batch = 12, .dim = 9, .teacher_dim = 9, .weight = {0, 0, 1}}},
    {"icl, raw scale, heads",
     {.batch = 12, .dim = 9, .teacher_dim = 5, .weight = {0, 0, 0.7}, .icl_raw = true}},
    {"icl, heads", {.batch = 12, .dim = 9, .teacher_dim = 14, .weight = {0, 0, 1}}},
    {"fd, equal", {.batch = 12, .dim = 9, .teacher_dim = 9, .weight = {0, 0, 0, 20}}},
    {"fd, summed, heads", {.batch = 12, .dim = 9, .teacher_dim = 12, .weight = {0, 0, 0, 3}, .fd_sum = true}},
    {"all, equal", {.batch = 12, .dim = 16, .teacher_dim = 16, .weight = {1, 1, 1, 50}, .teacher_scale = 20}},
    {"all, heads",
     {.batch = 12, .dim = 11, .teacher_dim = 20, .weight = {0.5, 2, 1, 50}, .teacher_scale = 50}},
    {"all, raw, summed",
     {.batch = 24,
      .dim = 17,
      .teacher_dim = 5,
      .weight = {1, 1, 1, 2},
      .teacher_scale = 10,
      .icl_raw = true,
      .fd_sum = true}},
    {"crd and fd", {.batch = 12, .dim = 6, .teacher_dim = 8, .weight = {0, 3, 0, 5}, .teacher_scale = 15}},
    {"all, one pair", {.batch = 1, .dim = 3, .teacher_dim = 5, .weight = {1, 1, 1, 1}, .teacher_scale = 10}},
};

static void values_and_gradients(void **state)
{
    for (int i = 0; i < PUPIL_COUNT(confs); i++) {
        plain p = plain_new(confs[i].c);
        loss_case k = case_of(&p);
        double want[PUPIL_TERMS];
        plain_values(&p, want);
        for (int64_t slots = 1; slots <= p.c.batch; slots++) {
            if (p.c.batch % slots) continue;
            int ranks = (int)PUPIL_MIN(slots, (int64_t)3);
            loss_run(&k, slots, ranks);
            for (int t = 0; t < PUPIL_TERMS; t++) {
                double expected = p.c.weight[t] != 0 ? want[t] : 0;
                CHECK(fabs(k.value[t] - expected) <= 3e-6 * fabs(expected) + 1e-7,
                      "%s, %d slots: %s is %.9g, expected %.9g", confs[i].name, (int)slots,
                      pupil_term_name[t], k.value[t], expected);
            }
            char name[96];
#define GRADIENT(what, x, got, n)                                                                            \
    do {                                                                                                     \
        snprintf(name, sizeof name, "%s, %d slots, d%s", confs[i].name, (int)slots, what);                   \
        check_gradient(&p, name, x, got, n);                                                                 \
    } while (0)
            for (int s = 0; s < 2; s++) {
                GRADIENT(s ? "text" : "image", p.student[s], k.dstudent[s], p.c.batch * p.c.dim);
                if (!pupil_loss_has_heads(&p.c)) continue;
                GRADIENT("head weight", p.head_w[s], k.dhead_w[s], p.c.teacher_dim * p.c.dim);
                GRADIENT("head bias", p.head_b[s], k.dhead_b[s], p.c.teacher_dim);
            }
            GRADIENT("log scale", p.log_scale, &k.dlog_scale, 1);
            GRADIENT("icl scale", p.icl_scale, &k.dicl_scale, 1);
        }
        both_end(&p, &k);
    }
}

/* Who owns which slot changes no bit. */
static void ranks_change_no_bit(void **state)
{
    for (int i = 0; i < PUPIL_COUNT(confs); i++) {
        plain p = plain_new(confs[i].c);
        loss_case one = case_of(&p), many = case_of(&p);
        int64_t slots = p.c.batch >= 4 ? 4 : 1, n = p.c.batch * p.c.dim;
        loss_run(&one, slots, 1);
        for (int ranks = 2; ranks <= (int)slots; ranks++) {
            loss_run(&many, slots, ranks);
            for (int s = 0; s < 2; s++) {
                assert_memory_equal(one.dstudent[s], many.dstudent[s], (size_t)n * sizeof(float));
                assert_memory_equal(one.dhead_w[s], many.dhead_w[s],
                                    (size_t)(p.c.teacher_dim * p.c.dim) * sizeof(float));
                assert_memory_equal(one.dhead_b[s], many.dhead_b[s], (size_t)p.c.teacher_dim * sizeof(float));
            }
            assert_memory_equal(&one.dlog_scale, &many.dlog_scale, sizeof(float));
            assert_memory_equal(&one.dicl_scale, &many.dicl_scale, sizeof(float));
            assert_memory_equal(one.value, many.value, sizeof one.value);
        }
        for (int s = 0; s < 2; s++)
            DROP((void *)(uintptr_t)many.student[s], (void *)(uintptr_t)many.teacher[s], many.head_w[s],
                 many.head_b[s]);
        case_results_end(&many);
        both_end(&p, &one);
    }
}

static void what_a_configuration_needs(void **state)
{
    pupil_loss_conf c = {.batch = 8, .slots = 2, .dim = 4, .weight = {1}};
    assert_false(pupil_loss_wants_teacher(&c) || pupil_loss_has_heads(&c));
    c.teacher_dim = 6, c.weight[PUPIL_TERM_CRD] = 1;
    assert_true(pupil_loss_wants_teacher(&c) &&
                !pupil_loss_has_heads(&c)); /* CRD compares logits: no heads */
    c.weight[PUPIL_TERM_FD] = 1;
    assert_true(pupil_loss_has_heads(&c));
    c.teacher_dim = 4;
    assert_false(pupil_loss_has_heads(&c));
    pupil_loss *none = NULL;
    pupil_loss_free(&none);
}

/* A scale of 100 and a teacher at 300, rows that nearly coincide: no overflow, still right. */
static void sharp_distributions(void **state)
{
    pupil_loss_conf c = {
        .batch = 8, .dim = 6, .teacher_dim = 6, .weight = {1, 1, 1, 1}, .teacher_scale = 300};
    plain p = plain_new(c);
    p.log_scale[0] = (double)4.6051702f;
    p.icl_scale[0] = 4;
    for (int64_t i = 0; i < 8 * 6; i++)
        p.student[1][i] = (double)(float)(p.student[0][i] + 0.05 * p.student[1][i]);
    loss_case k = case_of(&p);
    double want[PUPIL_TERMS];
    plain_values(&p, want);
    loss_run(&k, 4, 2);
    for (int t = 0; t < PUPIL_TERMS; t++)
        CHECK(fabs(k.value[t] - want[t]) <= 1e-5 * fabs(want[t]) + 1e-6, "%s: %.9g, expected %.9g",
              pupil_term_name[t], k.value[t], want[t]);
    for (int s = 0; s < 2; s++) assert_true(pupil_all_finite(k.dstudent[s], 8 * 6));
    both_end(&p, &k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_and_gradients),
        cmocka_unit_test(ranks_change_no_bit),
        cmocka_unit_test(what_a_configuration_needs),
        cmocka_unit_test(sharp_distributions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
