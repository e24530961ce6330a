/* check.c: is what the cache holds what the teacher says? Rows drawn at random are computed again, in other company than
 * when the cache was filled, and compared. What two correct computations may differ by is known: the rounding of the
 * stored number format, and sums taken in another order (docs of pupil_check in role.h). */
#include "job.h"

#include <math.h>
#include <string.h>

enum { IMAGE, TEXT, SIDES };

typedef struct {
    job j;
    pupil_clip *clip;
    pupil_weights *weights;
    int64_t *sample, n;    /* to be looked at, in the order drawn */
    int64_t *which[SIDES]; /* view and caption of each */
    float *again[SIDES]; /* [n, dim] */
} check;

/* ---- what is needed ---------------------------------------------------------------------------------- */
static int open_all(check *k, bool *ret_imported)
{
    job *j = &k->j;
    const pupil_conf *c = j->conf;
    pupil_cache *there;
    if (!c->cache.dir) return pupil_fail(PUPIL_EUSER, "%s: cache.dir is missing: it names the cache to check", c->file);
    if (!c->teacher.dir) return pupil_fail(PUPIL_EUSER, "%s: teacher.dir is missing: rows are computed again with the teacher in it", c->file);
    PUPIL_TRY(pupil_cache_open_any(c->cache.dir, &there)); /* nothing is made where nothing is */
    *ret_imported = imported_lines(pupil_cache_identity(there));
    pupil_cache_free(&there);
    j->teachers = 1;
    j->teacher[0] = teachers_of_conf(c, 0);
    j->teacher[0].there = true;
    j->teacher[0].imported = *ret_imported;
    PUPIL_TRY(pupil_dataset_open(&c->data, c->run.dir, &j->data));
    PUPIL_TRY(pupil_dataset_digest(j->data, PUPIL_TRAIN, j->data_digest));
    PUPIL_TRY(teachers_open_model(j, &j->teacher[0], NULL));
    PUPIL_TRY(teachers_know(&j->teacher[0]));
    PUPIL_TRY(teachers_attach_cache(j, &j->teacher[0]));
    k->clip = pupil_clip_new(&j->teacher[0].arch);
    return pupil_model_dir_open(c->teacher.dir, k->clip, &k->weights);
}

/* `rows` different samples of published blocks. */
static int draw(check *k, int64_t rows, uint64_t seed)
{
    const pupil_cache *c = k->j.teacher[0].cache;
    int64_t blocks = pupil_cache_blocks(c), size = pupil_cache_shape_of(c)->block, samples = pupil_cache_shape_of(c)->samples, n = 0, have = 0;
    int64_t *block = pupil_alloc((size_t)blocks * sizeof *block);
    for (int64_t b = 0; b < blocks; b++) /* only the last one can be short, and it comes last */
        if (pupil_cache_has(c, b)) {
            block[n++] = b;
            have += PUPIL_MIN(size, samples - b * size);
        }
    k->n = PUPIL_MIN(rows, have);
    k->sample = pupil_alloc((size_t)(k->n + 1) * sizeof *k->sample);
    for (int s = 0; s < SIDES; s++) k->which[s] = pupil_alloc((size_t)(k->n + 1) * sizeof *k->which[s]);
    for (int64_t i = 0; i < k->n; i++) {
        int64_t at = (int64_t)pupil_permute(seed, PUPIL_STREAM_CHECK, 0, (uint64_t)have, (uint64_t)i);
        k->sample[i] = block[at / size] * size + at % size;
        for (int s = 0; s < SIDES; s++) {
            int planes = s == IMAGE ? pupil_cache_shape_of(c)->views : pupil_cache_shape_of(c)->captions;
            k->which[s][i] = (int64_t)(pupil_rng_u64(seed, PUPIL_STREAM_CHECK, (uint64_t)(1 + 2 * i + s)) % (uint64_t)planes);
        }
    }
    pupil_free(&block);
    return k->n ? 0 : pupil_fail(PUPIL_ENOTFOUND, "%s: no block is published yet", k->j.conf->cache.dir);
}

/* ---- once more ----------------------------------------------------------------------------------------- */
static int compute(check *k)
{
    job *j = &k->j;
    const pupil_arch *a = &j->teacher[0].arch;
    int64_t run = batch_run(a), dim = a->embed_dim;
    batch b;
    batch_new(&b, j->teacher[0].tok, a, run, run);
    pupil_acts *acts = pupil_acts_new(k->clip, run, false);
    pupil_scratch *scratch = pupil_scratch_new(k->clip, run);
    for (int side = 0; side < SIDES; side++) k->again[side] = pupil_alloc((size_t)(k->n * dim) * sizeof(float));
    int r = 0;
    for (int64_t at = 0; at < k->n && r == 0; at += run) {
        int64_t n = PUPIL_MIN(run, k->n - at);
        r = batch_views(&b, j, a, k->sample + at, k->which[IMAGE] + at, n);
        if (r == 0) r = batch_captions(&b, j, PUPIL_TRAIN, k->sample + at, k->which[TEXT] + at, 0, n);
        if (r < 0) break;
        pupil_image_forward(k->clip, k->weights, acts, scratch, b.images, n, k->again[IMAGE] + at * dim);
        pupil_text_forward(k->clip, k->weights, acts, scratch, b.ids, b.cu, n, k->again[TEXT] + at * dim);
        pupil_progress(at + n == k->n, "check    row %lld/%lld", (long long)(at + n), (long long)k->n);
    }
    batch_free(&b);
    pupil_acts_free(&acts);
    pupil_scratch_free(&scratch);
    return r;
}

/* Half a unit in the last place of the format at |x|: what storing it may have changed. most: the largest of its row. */
static double rounding(pupil_stored dtype, double x, double most)
{
    int exponent;
    frexp(x, &exponent);
    switch (dtype) {
    case PUPIL_STORED_F16:
        return ldexp(1, PUPIL_MAX(exponent, -13) - 12);
    case PUPIL_STORED_BF16:
        return ldexp(1, exponent - 9);
    case PUPIL_STORED_I8:
        return most / 127 * 0.500001;
    default:
        return 0;
    }
}

typedef struct {
    double error, cosine, worst;
} row_result;

static row_result compare(const float *cached, const float *again, int64_t dim, pupil_stored dtype, double tolerance)
{
    double cc = 0, aa = 0, ca = 0, most = 0;
    row_result r = {0};
    for (int64_t d = 0; d < dim; d++) {
        cc += (double)cached[d] * (double)cached[d];
        aa += (double)again[d] * (double)again[d];
        ca += (double)cached[d] * (double)again[d];
        most = fmax(most, fabs((double)again[d]));
    }
    double noise = tolerance * sqrt(aa / (double)dim);
    for (int64_t d = 0; d < dim; d++) {
        double c = (double)cached[d], x = (double)again[d], e = fabs(c - x);
        double stored = rounding(dtype, fmax(fabs(c), fabs(x)), most);
        r.error = fmax(r.error, e);
        if (e > stored) r.worst = fmax(r.worst, (e - stored) / noise);
    }
    r.cosine = cc > 0 && aa > 0 ? fmin(1, ca / sqrt(cc * aa)) : 0;
    return r;
}

static int compare_all(check *k, pupil_check *ret)
{
    const pupil_cache_shape *s = pupil_cache_shape_of(k->j.teacher[0].cache);
    for (int64_t i = 0; i < k->n; i++) {
        for (int v = 0; v < SIDES; v++) {
            const float *plane;
            int64_t rows;
            pupil_check_side *x = &ret->side[v];
            PUPIL_TRY(pupil_cache_read(k->j.teacher[0].cache, k->sample[i] / s->block, v, (int)k->which[v][i], &plane, &rows));
            row_result r = compare(plane + k->sample[i] % s->block * s->dim, k->again[v] + i * s->dim, s->dim, s->dtype, ret->tolerance);
            x->max_error = fmax(x->max_error, r.error);
            x->min_cosine = fmin(x->min_cosine, r.cosine);
            x->failed += !(r.worst <= 1);
            if (r.worst <= x->worst && x->worst_key) continue;
            x->worst = r.worst;
            pupil_free(&x->worst_key);
            PUPIL_TRY(pupil_dataset_key(k->j.data, PUPIL_TRAIN, k->sample[i], &x->worst_key));
        }
    }
    return 0;
}

int pupil_role_check(const pupil_conf *conf, int64_t rows, uint64_t seed, double tolerance, pupil_check *ret)
{
    check k = {.j = {.conf = conf}};
    pupil_check out = {.side = {{.min_cosine = 1}, {.min_cosine = 1}}};
    int r = open_all(&k, &out.imported);
    if (r == 0) r = draw(&k, rows, seed);
    if (r == 0) r = compute(&k);
    if (r == 0) {
        out.rows = k.n;
        out.blocks = pupil_cache_blocks(k.j.teacher[0].cache);
        out.blocks_have = pupil_cache_blocks_have(k.j.teacher[0].cache);
        out.dtype = pupil_stored_name[pupil_cache_shape_of(k.j.teacher[0].cache)->dtype];
        out.tolerance = tolerance > 0 ? tolerance : out.imported ? PUPIL_CHECK_IMPORTED : PUPIL_CHECK_OWN;
        r = compare_all(&k, &out);
    }
    if (r == 0) *ret = out;
    else pupil_check_free(&out);
    job_close(&k.j);
    pupil_weights_free(&k.weights);
    pupil_clip_free(&k.clip);
    pupil_free(&k.sample);
    for (int s = 0; s < SIDES; s++) {
        pupil_free(&k.again[s]);
        pupil_free(&k.which[s]);
    }
    return r;
}

void pupil_check_free(pupil_check *c)
{
    for (int s = 0; s < SIDES; s++) pupil_free(&c->side[s].worst_key);
}
