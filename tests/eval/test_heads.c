/* The heads on token features: the gradient of every tensor against differences, that rows see only what they may, and that
 * decoding over a cache gives what whole passes give. */
#include "../proof.h"

#include "fusion.h"
#include "reader.h"

/* Random token features of n things with `rows` rows each. */
static uint16_t *features(uint64_t seed, int64_t count)
{
    double *x = normals(seed, count, 0, 1);
    float *f = to_floats(x, count);
    uint16_t *half = pupil_alloc((size_t)count * sizeof *half);
    assert_int_equal(pupil_f16_pack(half, f, count), count);
    DROP(x, f);
    return half;
}

/* Parameters of a table, drawn anew and larger than training begins with, so that every part matters. */
static float *parameters(const pupil_table *t)
{
    float *p = floats(t->total);
    pupil_table_init(t, 7, p);
    for (int64_t k = 0; k < t->n; k++) {
        pupil_rng r = pupil_rng_at(11, PUPIL_STREAM_TEST, (uint64_t)k);
        for (int64_t i = 0; i < t->t[k].count; i++) p[t->t[k].offset + i] += (float)(0.15 * pupil_rng_normal(&r));
    }
    return p;
}

/* Along a random direction of each tensor: (f(p + h u) - f(p - h u)) / 2h against grad . u. */
static void directions(const char *what, const pupil_table *t, float *p, const float *grad, double (*value)(void *, const float *), void *ctx)
{
    for (int64_t k = 0; k < t->n; k++)
        for (int draw = 0; draw < 2; draw++) {
            const pupil_tensor *x = &t->t[k];
            double h = 2e-3, want = 0, norm = 0, g2 = 0, *u = normals((uint64_t)(100 + 2 * k + draw), x->count, 0, 1);
            float *keep = floats(x->count), *at = p + x->offset;
            memcpy(keep, at, (size_t)x->count * sizeof *keep);
            for (int64_t i = 0; i < x->count; i++) norm += u[i] * u[i];
            for (int64_t i = 0; i < x->count; i++) {
                u[i] /= sqrt(norm);
                want += u[i] * (double)grad[x->offset + i];
                g2 += (double)grad[x->offset + i] * (double)grad[x->offset + i];
            }
            double f[2];
            for (int s = 0; s < 2; s++) {
                for (int64_t i = 0; i < x->count; i++) at[i] = keep[i] + (float)((s ? h : -h) * u[i]);
                f[s] = value(ctx, p);
            }
            memcpy(at, keep, (size_t)x->count * sizeof *keep);
            double got = (f[1] - f[0]) / (2 * h);
            CHECK(g2 > 0, "%s %s: its gradient is zero", what, x->name);
            CHECK(fabs(got - want) <= 2e-3 + 5e-3 * sqrt(g2), "%s %s: differences give %.6f, the gradient %.6f (norm %.4f)", what, x->name, got, want,
                  sqrt(g2));
            DROP(u, keep);
        }
}

/* ---- the reader ----------------------------------------------------------------------------------- */
enum { IMAGE_ROWS = 5, IMAGE_WIDTH = 10, VOCAB = 23, TEXTS = 4 };
typedef struct {
    pupil_reader *r;
    uint16_t *image;
    int32_t ids[TEXTS][9];
    pupil_reading item[TEXTS];
} reading;

static void reading_new(reading *k, bool sees)
{
    static const int32_t n[TEXTS] = {6, 9, 3, 7}, given[TEXTS] = {3, 1, 2, 6};
    *k = (reading){.image = features(5, TEXTS * IMAGE_ROWS * IMAGE_WIDTH)};
    k->r = pupil_reader_new(&(pupil_reader_arch){.image_width = sees ? IMAGE_WIDTH : 0, .vocab = VOCAB, .longest = IMAGE_ROWS + 24, .width = 16, .layers = 3,
                                                .heads = 4, .kv_heads = 2, .mlp = pupil_reader_mlp(16)});
    for (int i = 0; i < TEXTS; i++) {
        for (int j = 0; j < n[i]; j++) k->ids[i][j] = (int32_t)(pupil_rng_u64(3, PUPIL_STREAM_TEST, (uint64_t)(10 * i + j)) % VOCAB);
        k->item[i] = (pupil_reading){k->image + i * IMAGE_ROWS * IMAGE_WIDTH, IMAGE_ROWS, k->ids[i], n[i], given[i]};
    }
}

static void reading_free(reading *k)
{
    pupil_reader_free(&k->r);
    pupil_free(&k->image);
}

static double reading_value(void *ctx, const float *params)
{
    reading *k = ctx;
    float *g = floats(pupil_reader_table(k->r)->total);
    double loss = pupil_reader_gradient(k->r, params, k->item, TEXTS, 0.5, g);
    pupil_free(&g);
    return loss;
}

static void reader_gradient(void **state)
{
    (void)state;
    for (int sees = 0; sees < 2; sees++) {
        reading k;
        reading_new(&k, sees);
        const pupil_table *t = pupil_reader_table(k.r);
        float *p = parameters(t), *g = floats(t->total), *twice = floats(t->total);
        double loss = pupil_reader_gradient(k.r, p, k.item, TEXTS, 0.5, g);
        assert_true(loss > 1 && loss < 200);
        directions(sees ? "reader" : "blind reader", t, p, g, reading_value, &k);
        for (int i = 0; i < 2; i++) pupil_reader_gradient(k.r, p, k.item, TEXTS, 0.5, twice);
        for (int64_t i = 0; i < t->total; i++) assert_true(fabsf(twice[i] - 2 * g[i]) <= 1e-5f + 1e-5f * fabsf(g[i]));
        DROP(p, g, twice);
        reading_free(&k);
    }
}

/* ---- against Llama --------------------------------------------------------------------------------- */
/* Tensor k of the case: 0.6 sin(0.7 i + k), around 1 where it is a norm. */
static void fill(float *at, int k, int64_t n, double around)
{
    for (int64_t i = 0; i < n; i++) at[i] = (float)(around + 0.6 * sin(0.7 * (double)i + k));
}

/* Logits at rows 1, 3 and 5 of ids 3 7 1 1 4 8, and -log p of the last four ids, computed by PyTorch in double with the formulas of
 * transformers' LlamaModel (RMS norm, rotate_half, repeat_kv, SwiGLU, tied embeddings; theta 10000, eps 1e-5). */
enum { LW = 16, LHEADS = 4, LKV = 2, LHD = 4, LMLP = 12, LLAYERS = 2, LV = 9, LT = 6 };
static const int32_t llama_ids[LT] = {3, 7, 1, 1, 4, 8};
static const double llama_logits[3][LV] = {
    {1.937112534, 1.082234962, -1.497714612, -1.690321663, 0.811427573, 2.019769152, 0.008618350, -2.016270018, -0.827243590},
    {-2.319820711, -1.135838475, 1.858659241, 1.890472207, -1.091109135, -2.333473129, 0.143696345, 2.391815243, 0.827403910},
    {-2.592147427, -0.535012402, 2.374927187, 1.499255942, -1.766214691, -2.216356288, 0.866352478, 2.568103821, 0.176322655}};

/* id[v]: the id that row v of embedding and logits stands for. */
static void check_llama(pupil_reader *r, const float *p, const int32_t *id)
{
    int32_t own[LT];
    for (int t = 0; t < LT; t++)
        for (int32_t v = 0; v < r->arch.vocab; v++)
            if (id[v] == llama_ids[t]) own[t] = v;
    for (int row = 1, c = 0; row < LT; row += 2, c++) {
        reader_batch b;
        reader_end e;
        pupil_reading one = {.ids = own, .n = LT, .given = row + 1};
        arena_reset(&r->memory);
        reader_pack(r, p, &one, 1, true, &b);
        reader_forward(r, p, &b, NULL, NULL, NULL, &e);
        for (int64_t v = 0; v < r->arch.vocab; v++)
            CHECK(fabs((double)e.z[v] - llama_logits[c][id[v]]) < 2e-5, "row %d, id %d: %.7f, expected %.7f", row, id[v], (double)e.z[v], llama_logits[c][id[v]]);
    }
}

static void reader_is_llama(void **state)
{
    static const int32_t id[LV] = {0, 1, 2, 3, 4, 5, 6, 7, 8};
    (void)state;
    pupil_reader *r = pupil_reader_new(
        &(pupil_reader_arch){.vocab = LV, .longest = LT, .width = LW, .layers = LLAYERS, .heads = LHEADS, .kv_heads = LKV, .mlp = LMLP});
    float *p = floats(pupil_reader_table(r)->total), *g = floats(pupil_reader_table(r)->total);
    fill(p + r->embed, 1, LV * LW, 0);
    fill(p + r->norm, 99, LW, 1);
    for (int l = 0; l < LLAYERS; l++) {
        const attend_at *a = &r->block[l].attend;
        const mlp_at *m = &r->block[l].mlp;
        int k = 10 * (l + 1);
        fill(p + a->norm, k, LW, 1);
        fill(p + a->q, k + 1, LHEADS * LHD * LW, 0);
        fill(p + a->kv, k + 2, LKV * LHD * LW, 0);
        fill(p + a->kv + LKV * LHD * LW, k + 3, LKV * LHD * LW, 0);
        fill(p + a->out, k + 4, LW * LHEADS * LHD, 0);
        fill(p + m->norm, k + 5, LW, 1);
        fill(p + m->up, k + 6, LMLP * LW, 0);
        fill(p + m->up + LMLP * LW, k + 7, LMLP * LW, 0);
        fill(p + m->down, k + 8, LW * LMLP, 0);
    }
    check_llama(r, p, id);
    double loss = pupil_reader_gradient(r, p, &(pupil_reading){.ids = llama_ids, .n = LT, .given = 2}, 1, 1, g);
    CHECK(fabs(loss - 17.92468368723327) < 1e-4, "loss %.7f", loss);
    pupil_reader_free(&r);
    DROP(p, g);
}

/* ---- a published decoder ------------------------------------------------------------------------------ */
/* The same case as a folder. untied: with an output matrix of its own, which holds the embedding. */
static void write_decoder(const char *dir, const char *config, bool untied)
{
    static const struct {
        const char *name;
        int k;
        int64_t rows, cols;
    } block[] = {{"input_layernorm", 0, LW, 0},           {"self_attn.q_proj", 1, LHEADS * LHD, LW}, {"self_attn.k_proj", 2, LKV * LHD, LW},
                 {"self_attn.v_proj", 3, LKV * LHD, LW},  {"self_attn.o_proj", 4, LW, LHEADS * LHD}, {"post_attention_layernorm", 5, LW, 0},
                 {"mlp.gate_proj", 6, LMLP, LW},          {"mlp.up_proj", 7, LMLP, LW},              {"mlp.down_proj", 8, LW, LMLP}};
    pupil_st_source t[2 * PUPIL_COUNT(block) + 3];
    int n = 0;
    for (int l = 0; l < LLAYERS; l++)
        for (int i = 0; i < PUPIL_COUNT(block); i++) {
            int64_t count = block[i].rows * PUPIL_MAX(block[i].cols, (int64_t)1);
            float *x = floats(count);
            fill(x, 10 * (l + 1) + block[i].k, count, block[i].cols ? 0 : 1);
            t[n++] = (pupil_st_source){pupil_format("model.layers.%d.%s.weight", l, block[i].name), block[i].cols ? 2 : 1, {block[i].rows, block[i].cols}, x};
        }
    float *embed = floats(LV * LW), *norm = floats(LW);
    fill(embed, 1, LV * LW, 0);
    fill(norm, 99, LW, 1);
    t[n++] = (pupil_st_source){pupil_strdup("model.norm.weight"), 1, {LW}, norm};
    t[n++] = (pupil_st_source){pupil_strdup("model.embed_tokens.weight"), 2, {LV, LW}, embed};
    if (untied) t[n++] = (pupil_st_source){pupil_strdup("lm_head.weight"), 2, {LV, LW}, embed};
    char *weights = pupil_join(dir, "model.safetensors"), *json = pupil_join(dir, "config.json");
    GOOD(pupil_safetensors_export(weights, t, n, PUPIL_ST_F32));
    GOOD(pupil_write_file(json, config, strlen(config)));
    for (int i = 0; i < n; i++) {
        DROP((void *)(uintptr_t)t[i].name);
        if (t[i].data != embed) DROP((void *)(uintptr_t)t[i].data);
    }
    DROP(embed, weights, json);
}

#define SIZES "\"hidden_size\": 16, \"num_hidden_layers\": 2, \"num_attention_heads\": 4, \"num_key_value_heads\": 2, "                      \
              "\"intermediate_size\": 12, \"vocab_size\": 9, \"rms_norm_eps\": 1e-5, \"bos_token_id\": 1, \"eos_token_id\": [2, 3]"
#define LLAMA "{\"model_type\": \"llama\", \"hidden_act\": \"silu\", " SIZES

/* Read from its folder it is the same decoder, of some of its ids in another order, too; and it stays as it is in training. */
static void decoder_of_a_folder(void **state)
{
    static const int32_t all[LV] = {0, 1, 2, 3, 4, 5, 6, 7, 8}, some[] = {8, 4, 2, 7, 3, 1};
    (void)state;
    char *dir = folder_new();
    for (int untied = 0; untied < 2; untied++) {
        write_decoder(dir, untied ? LLAMA "}" : LLAMA ", \"tie_word_embeddings\": true, \"rope_scaling\": null}", untied);
        for (int part = 0; part < 2; part++) {
            pupil_reader_arch a;
            int32_t begin, end;
            GOOD(pupil_decoder_arch(dir, &a, &begin, &end));
            assert_true(begin == 1 && end == 2 && a.untied == untied && a.vocab == LV && a.longest == 2048 && a.frozen);
            a.vocab = part ? PUPIL_COUNT(some) : LV;
            a.longest = 20;
            a.image_width = part ? IMAGE_WIDTH : 0;
            pupil_reader *r = pupil_reader_new(&a);
            const pupil_table *t = pupil_reader_table(r);
            float *p = parameters(t), *g = floats(PUPIL_MAX(pupil_reader_trained(r), (int64_t)1));
            GOOD(pupil_decoder_load(dir, r, part ? some : all, p));
            check_llama(r, p, part ? some : all);
            assert_int_equal(pupil_reader_trained(r) == 0, !part);
            if (part) { /* gradients of the projector alone, and the right ones */
                static const int32_t ids[] = {1, 2, 3, 0, 5};
                uint16_t *image = features(9, IMAGE_ROWS * IMAGE_WIDTH);
                pupil_reading one = {image, IMAGE_ROWS, ids, 5, 2};
                pupil_reader_gradient(r, p, &one, 1, 1, g);
                a.frozen = false;
                pupil_reader *whole = pupil_reader_new(&a);
                float *every = floats(t->total);
                pupil_reader_gradient(whole, p, &one, 1, 1, every);
                assert_true(pupil_reader_trained(r) < t->total && pupil_reader_trained(whole) == t->total);
                assert_memory_equal(g, every, (size_t)pupil_reader_trained(r) * sizeof *g);
                pupil_reader_free(&whole);
                DROP(image, every);
            }
            pupil_reader_free(&r);
            DROP(p, g);
        }
    }
    folder_end(&dir);
}

static void decoder_refused(void **state)
{
    static const struct {
        const char *config, *part;
    } bad[] = {{"[]", "expected an object"},
               {"{\"model_type\": \"gpt2\"}", "model_type is \"gpt2\""},
               {"{\"model_type\": \"llama\", \"hidden_act\": \"gelu\", " SIZES "}", "hidden_act"},
               {LLAMA ", \"attention_bias\": true}", "attention_bias is true"},
               {LLAMA ", \"rope_scaling\": {\"factor\": 8}}", "rope_scaling"},
               {LLAMA ", \"head_dim\": 1000000}", "too small a file"},
               {LLAMA ", \"head_dim\": 0}", "head_dim is 0"},
               {LLAMA ", \"rope_theta\": \"much\"}", "rope_theta"},
               {"{\"model_type\": \"llama\", \"hidden_act\": \"silu\", \"hidden_size\": 1e30}", "hidden_size"}};
    (void)state;
    char *dir = folder_new();
    pupil_reader_arch a;
    int32_t begin, end, id[LV] = {0, 1, 2, 3, 4, 5, 6, 7, 9};
    BAD(pupil_decoder_arch(dir, &a, &begin, &end), PUPIL_ENOTFOUND, "config.json");
    for (int i = 0; i < PUPIL_COUNT(bad); i++) {
        write_decoder(dir, bad[i].config, false);
        BAD(pupil_decoder_arch(dir, &a, &begin, &end), PUPIL_EFORMAT, bad[i].part);
    }
    write_decoder(dir, LLAMA "}", false); /* untied, by transformers' default */
    GOOD(pupil_decoder_arch(dir, &a, &begin, &end));
    pupil_reader *r = pupil_reader_new(&a);
    float *p = floats(pupil_reader_table(r)->total);
    BAD(pupil_decoder_load(dir, r, id, p), PUPIL_EFORMAT, "has no row 9");
    id[8] = 8;
    BAD(pupil_decoder_load(dir, r, id, p), PUPIL_ENOTFOUND, "lm_head.weight");
    pupil_reader_free(&r);
    pupil_free(&p);
    folder_end(&dir);
}

/* Logits of the last row of ids[0..n-1] behind a picture, by a whole pass. */
static float *whole_pass(reading *k, const float *p, int i, const int32_t *ids, int32_t n)
{
    reader_batch b;
    reader_end e;
    pupil_reading one = k->item[i];
    one.ids = ids, one.n = n + 1, one.given = n;
    arena_reset(&k->r->memory);
    reader_pack(k->r, p, &one, 1, true, &b);
    reader_forward(k->r, p, &b, NULL, NULL, NULL, &e);
    assert_int_equal(b.tails, 1);
    float *z = floats(VOCAB);
    memcpy(z, e.z, VOCAB * sizeof *z);
    return z;
}

/* Ids that decoding gives are those of a whole pass for each further id, whatever the texts beside it. */
static void reader_cache(void **state)
{
    enum { MOST = 12, STOP = 4 };
    (void)state;
    int said = 0, stopped = 0;
    for (int sees = 0; sees < 2; sees++) {
        reading k;
        reading_new(&k, sees);
        float *p = parameters(pupil_reader_table(k.r));
        int32_t ids[TEXTS * MOST], n[TEXTS];
        pupil_reader_continue(k.r, p, k.item, TEXTS, STOP, MOST, ids, n);
        for (int i = 0; i < TEXTS; i++) {
            int32_t text[9 + MOST + 1], have = k.item[i].given;
            memcpy(text, k.item[i].ids, (size_t)have * sizeof *text);
            for (int j = 0; j <= n[i] && j < MOST; j++) {
                float *z = whole_pass(&k, p, i, text, have);
                int32_t best = 0;
                for (int32_t v = 1; v < VOCAB; v++)
                    if (z[v] > z[best]) best = v;
                assert_int_equal(best, j < n[i] ? ids[i * MOST + j] : STOP);
                text[have++] = best;
                pupil_free(&z);
            }
            said += n[i];
            stopped += n[i] < MOST;
        }
        pupil_free(&p);
        reading_free(&k);
    }
    assert_true(said > 20 && stopped >= 1);
}

/* What stands behind a row does not reach it; what stands before does; another text never does. */
static void reader_causal(void **state)
{
    (void)state;
    reading k;
    reading_new(&k, true);
    float *p = parameters(pupil_reader_table(k.r));
    double each[TEXTS];
    float *g = floats(pupil_reader_table(k.r)->total);
    for (int i = 0; i < TEXTS; i++) each[i] = pupil_reader_gradient(k.r, p, &k.item[i], 1, 1, g);
    double all = pupil_reader_gradient(k.r, p, k.item, TEXTS, 1, g);
    assert_true(fabs(all - each[0] - each[1] - each[2] - each[3]) < 1e-4);
    /* the first id to be said is scored alike, whatever comes after it */
    pupil_reading shorter = k.item[1], longer = k.item[1];
    shorter.n = 2;
    int32_t other[9];
    memcpy(other, k.ids[1], sizeof other);
    double first = pupil_reader_gradient(k.r, p, &shorter, 1, 1, g), rest = each[1];
    other[8] = (other[8] + 1) % VOCAB;
    longer.ids = other;
    double changed = pupil_reader_gradient(k.r, p, &longer, 1, 1, g);
    longer.n = 8;
    double without = pupil_reader_gradient(k.r, p, &longer, 1, 1, g);
    longer.ids = k.ids[1];
    assert_true(fabs(without - pupil_reader_gradient(k.r, p, &longer, 1, 1, g)) < 1e-6);
    assert_true(first < rest && fabs(changed - rest) > 1e-3);
    /* the picture does reach it */
    k.image[IMAGE_ROWS * IMAGE_WIDTH + 3] ^= 0x8000;
    assert_true(fabs(pupil_reader_gradient(k.r, p, &k.item[1], 1, 1, g) - rest) > 1e-4);
    DROP(p, g);
    reading_free(&k);
}

/* ---- the fusion head ------------------------------------------------------------------------------ */
enum { TEXT_WIDTH = 6, TEXT_ROWS = 16, ANSWERS = 5, POOLED = 7 };
typedef struct {
    pupil_fusion *f;
    float *image, *text; /* the features of all items */
    float target[TEXTS][ANSWERS], pooled[TEXTS][POOLED];
    pupil_fusing item[TEXTS];
} fusing;

static float *unpacked(uint64_t seed, int64_t n)
{
    uint16_t *f16 = features(seed, n);
    float *x = floats(n);
    pupil_f16_unpack(x, f16, n);
    pupil_free(&f16);
    return x;
}

static void fusing_new(fusing *k, int64_t layers)
{
    static const int64_t rows[TEXTS] = {3, 7, 2, 4};
    *k = (fusing){.image = unpacked(5, TEXTS * IMAGE_ROWS * IMAGE_WIDTH), .text = unpacked(6, TEXT_ROWS * TEXT_WIDTH)};
    k->f = pupil_fusion_new(&(pupil_fusion_arch){IMAGE_WIDTH, TEXT_WIDTH, 12, layers, 3, 20, ANSWERS, POOLED});
    for (int64_t i = 0, at = 0; i < TEXTS; at += rows[i++]) {
        k->target[i][i] = 0.9f;
        for (int j = 0; j < POOLED; j++) k->pooled[i][j] = (float)sin(1 + 3 * j + (double)i);
        k->target[i][(i + 2) % ANSWERS] = 0.3f;
        k->item[i] = (pupil_fusing){k->image + i * IMAGE_ROWS * IMAGE_WIDTH, k->text + at * TEXT_WIDTH, IMAGE_ROWS, rows[i], NULL, NULL, k->pooled[i], k->target[i]};
    }
}

static void fusing_free(fusing *k)
{
    pupil_fusion_free(&k->f);
    pupil_free(&k->image);
    pupil_free(&k->text);
}

static double fusing_value(void *ctx, const float *params)
{
    fusing *k = ctx;
    float *g = floats(pupil_fusion_table(k->f)->total);
    double loss = pupil_fusion_gradient(k->f, params, k->item, TEXTS, 0.25, g);
    pupil_free(&g);
    return loss;
}

static void fusion_gradient(void **state)
{
    (void)state;
    for (int64_t layers = 0; layers <= 2; layers += 2) {
        fusing k;
        fusing_new(&k, layers);
        const pupil_table *t = pupil_fusion_table(k.f);
        float *p = parameters(t), *g = floats(t->total);
        pupil_fusion_gradient(k.f, p, k.item, TEXTS, 0.25, g);
        directions("fusion", t, p, g, fusing_value, &k);
        DROP(p, g);
        fusing_free(&k);
    }
}

/* Of the features themselves, which a tuned tower goes on from: one at a time. */
static void fusion_features(void **state)
{
    (void)state;
    fusing k;
    fusing_new(&k, 2);
    const pupil_table *t = pupil_fusion_table(k.f);
    int64_t n[2] = {TEXTS * IMAGE_ROWS * IMAGE_WIDTH, TEXT_ROWS * TEXT_WIDTH};
    float *p = parameters(t), *g = floats(t->total), *plain = floats(t->total), *d[2] = {floats(n[0]), floats(n[1])}, *x[2] = {k.image, k.text};
    pupil_fusion_gradient(k.f, p, k.item, TEXTS, 0.25, plain);
    for (int i = 0; i < TEXTS; i++) k.item[i].dimage = d[0] + (k.item[i].image - k.image), k.item[i].dtext = d[1] + (k.item[i].text - k.text);
    pupil_fusion_gradient(k.f, p, k.item, TEXTS, 0.25, g);
    assert_memory_equal(g, plain, (size_t)t->total * sizeof *g);
    double size = 0;
    for (int s = 0; s < 2; s++)
        for (int64_t i = 0; i < n[s]; i++) size += fabs((double)d[s][i]) / (double)(n[0] + n[1]);
    for (int i = 0; i < TEXTS; i++) k.item[i].dimage = k.item[i].dtext = NULL;
    for (int s = 0; s < 2; s++)
        for (int64_t i = 0; i < n[s]; i += 3) {
            float keep = x[s][i], h = 0.02f;
            double v[2];
            for (int sign = 0; sign < 2; sign++) x[s][i] = keep + (sign ? -h : h), v[sign] = fusing_value(&k, p);
            x[s][i] = keep;
            double want = (v[0] - v[1]) / (2 * (double)h);
            assert_true(fabs(want - (double)d[s][i]) < 0.02 * fabs(want) + 0.05 * size);
        }
    DROP(p, g, plain, d[0], d[1]);
    fusing_free(&k);
}

/* A question's logits are its own: the same alone and in company; picture and question both reach them. */
static void fusion_apart(void **state)
{
    (void)state;
    fusing k;
    fusing_new(&k, 2);
    float *p = parameters(pupil_fusion_table(k.f)), all[TEXTS * ANSWERS];
    fusion_batch b;
    fusion_forward(k.f, p, k.item, TEXTS, &b);
    memcpy(all, b.z, sizeof all);
    for (int i = 0; i < TEXTS; i++) {
        fusion_forward(k.f, p, &k.item[i], 1, &b);
        for (int a = 0; a < ANSWERS; a++) assert_true(fabsf(b.z[a] - all[i * ANSWERS + a]) < 1e-4f);
    }
    int32_t answer[TEXTS];
    pupil_fusion_answer(k.f, p, k.item, TEXTS, answer);
    for (int i = 0; i < TEXTS; i++)
        for (int a = 0; a < ANSWERS; a++) assert_true(all[i * ANSWERS + a] <= all[i * ANSWERS + answer[i]]);
    for (int part = 0; part < 3; part++) {
        if (part == 2) k.pooled[0][3] += 1;
        else (part ? k.text : k.image)[1] *= -1;
        fusion_forward(k.f, p, &k.item[0], 1, &b);
        float moved = 0;
        for (int a = 0; a < ANSWERS; a++) moved = fmaxf(moved, fabsf(b.z[a] - all[a]));
        assert_true(moved > 1e-4f);
    }
    pupil_free(&p);
    fusing_free(&k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(reader_gradient), cmocka_unit_test(reader_is_llama), cmocka_unit_test(decoder_of_a_folder),
                                       cmocka_unit_test(decoder_refused), cmocka_unit_test(reader_cache), cmocka_unit_test(reader_causal),
                                       cmocka_unit_test(fusion_gradient), cmocka_unit_test(fusion_features), cmocka_unit_test(fusion_apart)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
