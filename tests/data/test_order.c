/* test_order.c: each epoch visits each sample once, and never a block that need not be there yet. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "pupil/data.h"

static const pupil_order shapes[] = {
    {.samples = 1, .block = 1, .window = 1, .seed = 1},
    {.samples = 5, .block = 8, .window = 4, .seed = 2},
    {.samples = 64, .block = 8, .window = 3, .seed = 3},
    {.samples = 1003, .block = 16, .window = 4, .seed = 4},
    {.samples = 1003, .block = 16, .window = 100, .seed = 5},
    {.samples = 999, .block = 1, .window = 1, .seed = 6},
    {.samples = 129, .block = 64, .window = 1, .seed = 7},
};

static void each_epoch_is_a_permutation(void **state)
{
    for (int k = 0; k < PUPIL_COUNT(shapes); k++) {
        const pupil_order *o = &shapes[k];
        int *seen = pupil_alloc((size_t)o->samples * sizeof *seen);
        for (int64_t epoch = 0; epoch < 3; epoch++) {
            for (int64_t pos = 0; pos < o->samples; pos++) {
                int64_t s = pupil_order_sample(o, epoch, pos);
                assert_in_range(s, 0, o->samples - 1);
                seen[s]++;
            }
            for (int64_t s = 0; s < o->samples; s++) assert_int_equal(seen[s], epoch + 1);
        }
        pupil_free(&seen);
    }
}

static void blocks_are_permuted_and_the_partial_one_is_last(void **state)
{
    for (int k = 0; k < PUPIL_COUNT(shapes); k++) {
        const pupil_order *o = &shapes[k];
        int64_t n = pupil_order_blocks(o);
        assert_int_equal(n, (o->samples + o->block - 1) / o->block);
        int *seen = pupil_alloc((size_t)n * sizeof *seen);
        for (int64_t p = 0; p < n; p++) seen[pupil_order_block(o, 1, p)]++;
        for (int64_t b = 0; b < n; b++) assert_int_equal(seen[b], 1);
        if (o->samples % o->block) assert_int_equal(pupil_order_block(o, 1, n - 1), n - 1);
        pupil_free(&seen);
    }
}

/* needs(pos) places suffice for every position up to pos, and at a window's end all of them were needed. */
static void needs_is_enough_and_no_more(void **state)
{
    for (int k = 0; k < PUPIL_COUNT(shapes); k++) {
        const pupil_order *o = &shapes[k];
        int64_t n = pupil_order_blocks(o), used = 0;
        int64_t *place = pupil_alloc((size_t)n * sizeof *place);
        for (int64_t p = 0; p < n; p++) place[pupil_order_block(o, 2, p)] = p;
        for (int64_t pos = 0; pos < o->samples; pos++) {
            int64_t needs = pupil_order_needs(o, pos);
            used = PUPIL_MAX(used, place[pupil_order_sample(o, 2, pos) / o->block] + 1);
            assert_true(used <= needs && needs <= n);
            if (pos + 1 == o->samples || pupil_order_needs(o, pos + 1) > needs) assert_int_equal(used, needs);
        }
        pupil_free(&place);
    }
}

static double mean_move(const pupil_order *a, int64_t ea, const pupil_order *b, int64_t eb)
{
    double sum = 0;
    for (int64_t pos = 0; pos < a->samples; pos++) {
        int64_t d = pupil_order_sample(a, ea, pos) - pupil_order_sample(b, eb, pos);
        sum += (double)(d < 0 ? -d : d);
    }
    return sum / (double)a->samples / (double)a->samples;
}

/* Two independent orders of n samples differ by n/3 on average. */
static void epochs_and_seeds_give_other_orders(void **state)
{
    pupil_order o = {.samples = 4096, .block = 16, .window = 8, .seed = 1}, other = o, line = o;
    other.seed = 2;
    line.block = 4096;
    assert_true(mean_move(&o, 0, &o, 0) == 0);
    assert_in_range((int)(1000 * mean_move(&o, 0, &o, 1)), 300, 366);
    assert_in_range((int)(1000 * mean_move(&o, 0, &other, 0)), 300, 366);
    assert_in_range((int)(1000 * mean_move(&line, 0, &line, 1)), 300, 366);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_epoch_is_a_permutation),
        cmocka_unit_test(blocks_are_permuted_and_the_partial_one_is_last),
        cmocka_unit_test(needs_is_enough_and_no_more),
        cmocka_unit_test(epochs_and_seeds_give_other_orders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
