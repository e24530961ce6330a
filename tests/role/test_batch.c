/* test_batch.c: what an embedding owes to the batch it was computed in.
 *
 * Exactly: the same samples in the same order, at once, give the same bits, whatever was computed before and however much
 * room there is. That is why teachers and evaluations cut their work into runs of a fixed size.
 * To rounding: other sizes, other neighbours, another place. BLAS takes other kernels for small matrices and for the rows
 * that are left over, which add in another order; OpenBLAS's Haswell kernels even where only the place in the batch differs.
 * Seen: up to 5e-6 of a row's root mean square. `pupil cache check` allows 1e-4. */
#include "../proof.h"

#include "pupil/model.h"
#include "pupil/role.h"

enum { N = 64, LONGEST = 30 };
static const double rounding = 2e-5;

typedef struct {
    pupil_clip *clip;
    pupil_weights *weights;
    float *params, *images; /* [N, 3, S, S] */
    int32_t ids[N][LONGEST];
    int length[N];
    int64_t dim, pixels;
} model;

static model model_new(int64_t size, int64_t patch, int64_t width, int64_t heads, int64_t mlp, int64_t text_width, int64_t dim)
{
    pupil_arch a = pupil_arch_clip();
    model m = {.dim = dim, .pixels = 3 * size * size};
    a.image_size = size;
    a.patch = patch;
    a.context = LONGEST;
    a.vocab = 600;
    a.embed_dim = dim;
    a.image.width = width;
    a.image.layers = a.text.layers = 2;
    a.image.heads = heads;
    a.image.mlp = mlp;
    a.text.width = text_width;
    a.text.heads = 2;
    a.text.mlp = 4 * text_width;
    m.clip = pupil_clip_new(&a);
    m.params = floats(pupil_clip_table(m.clip)->total);
    pupil_table_init(pupil_clip_table(m.clip), 3, m.params);
    m.weights = pupil_weights_flat(m.params);
    double *x = normals(5, N * m.pixels, 0, 1);
    m.images = to_floats(x, N * m.pixels);
    pupil_free(&x);
    pupil_rng r = pupil_rng_at(3, PUPIL_STREAM_TEST, 1);
    for (int i = 0; i < N; i++) {
        m.length[i] = 3 + (int)pupil_rng_below(&r, LONGEST - 3);
        for (int k = 0; k < m.length[i]; k++) m.ids[i][k] = (int32_t)pupil_rng_below(&r, 599);
        m.ids[i][m.length[i] - 1] = 599;
    }
    return m;
}

static void model_free(model *m)
{
    pupil_weights_free(&m->weights);
    pupil_clip_free(&m->clip);
    DROP(m->params, m->images);
}

/* Both embeddings of all samples, taken in the order of `place`, `run` at once; out[side][N, dim] by sample. */
static void embed(const model *m, const int *place, int64_t run, int64_t room, float *out[2])
{
    pupil_acts *acts = pupil_acts_new(m->clip, room, false);
    pupil_scratch *scratch = pupil_scratch_new(m->clip, room);
    float *images = floats(run * m->pixels), *got = floats(run * m->dim);
    int32_t ids[N * LONGEST], cu[N + 1] = {0};
    for (int64_t at = 0; at < N; at += run) {
        int64_t n = PUPIL_MIN(run, N - at);
        for (int64_t i = 0; i < n; i++) {
            int s = place[at + i];
            memcpy(images + i * m->pixels, m->images + s * m->pixels, (size_t)m->pixels * sizeof *images);
            memcpy(ids + cu[i], m->ids[s], (size_t)m->length[s] * sizeof *ids);
            cu[i + 1] = cu[i] + m->length[s];
        }
        for (int side = 0; side < 2; side++) {
            if (side == 0) pupil_image_forward(m->clip, m->weights, acts, scratch, images, n, got);
            else pupil_text_forward(m->clip, m->weights, acts, scratch, ids, cu, n, got);
            for (int64_t i = 0; i < n; i++) memcpy(out[side] + place[at + i] * m->dim, got + i * m->dim, (size_t)m->dim * sizeof *got);
        }
    }
    pupil_acts_free(&acts);
    pupil_scratch_free(&scratch);
    DROP(images, got);
}

static void shuffle(int *place, uint64_t seed)
{
    for (int i = 0; i < N; i++) place[i] = seed ? (int)pupil_permute(seed, PUPIL_STREAM_TEST, 0, N, (uint64_t)i) : i;
}

/* Largest difference of a value as a share of its row's root mean square. */
static double worst_row(const model *m, const float *x, const float *y)
{
    double worst = 0;
    for (int64_t i = 0; i < N; i++) {
        double sum = 0, most = 0;
        for (int64_t d = i * m->dim; d < (i + 1) * m->dim; d++) {
            sum += (double)x[d] * (double)x[d];
            most = fmax(most, fabs((double)x[d] - (double)y[d]));
        }
        worst = fmax(worst, most / sqrt(sum / (double)m->dim));
    }
    return worst;
}

static void compare(model m, const char *name)
{
    static const int run[] = {1, 7, 32, 32, 64};
    size_t bytes = (size_t)(N * m.dim) * sizeof(float);
    float *first[2] = {floats(N * m.dim), floats(N * m.dim)}, *again[2] = {floats(N * m.dim), floats(N * m.dim)};
    int place[N];
    shuffle(place, 0);
    embed(&m, place, 32, 32, first);
    for (int k = 0; k < PUPIL_COUNT(run); k++) {
        shuffle(place, (uint64_t)k);
        embed(&m, place, run[k], run[k], again);
        for (int side = 0; side < 2; side++) {
            double worst = worst_row(&m, first[side], again[side]);
            print_message("  %s: %s in runs of %2d: %s (%.1e)\n", name, side ? "texts" : "pictures", run[k],
                          memcmp(first[side], again[side], bytes) ? "other bits" : "same bits", worst);
            CHECK(worst <= rounding, "%s in runs of %d differ by %g of a row's root mean square", side ? "texts" : "pictures", run[k], worst);
        }
    }
    shuffle(place, 0);
    embed(&m, place, 32, 64, again);
    for (int side = 0; side < 2; side++) assert_memory_equal(first[side], again[side], bytes);
    DROP(first[0], first[1], again[0], again[1]);
    model_free(&m);
}

static void equal_runs_give_equal_bits_and_others_differ_by_rounding(void **state)
{
    (void)state;
    compare(model_new(32, 8, 64, 2, 256, 64, 48), "tiny");
    compare(model_new(64, 16, 768, 12, 3072, 512, 512), "two layers of ViT-B");
    compare(model_new(32, 8, 84, 3, 333, 130, 100), "odd sizes");
    assert_true(rounding < PUPIL_CHECK_OWN); /* what the check allows leaves room for it */
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(equal_runs_give_equal_bits_and_others_differ_by_rounding)};
    return cmocka_run_group_tests_name("batch", tests, NULL, NULL);
}
