/* Inheritance: every tensor is a leading block of the larger model's once its dimensions are told apart (q, k and v; heads;
 * the halves of SwiGLU); a model of the same sizes is the same model; what is left out and is nothing changes nothing;
 * the strongest are the strongest; positions as PyTorch resizes them; and what cannot be inherited is said. */
#include "../proof.h"

#include "pupil/model.h"

#define SIZES(e)                                                                                             \
    .image = {.width = 24, .layers = 5, .heads = 3, .mlp = 20, .eps = (e)},                                  \
    .text = {.width = 12, .layers = 3, .heads = 3, .mlp = 14, .eps = 1e-5}, .image_size = 20, .patch = 5,    \
    .context = 7, .vocab = 13, .std = {1, 1, 1}, .interpolation = "bicubic", .resize_mode = "shortest"
#define MAP  .pool = PUPIL_POOL_MAP, .pool_heads = 3, .pool_mlp = 20
#define ROPE .rope = true, .rope_reference = 4
static const pupil_arch families[] = {
    {SIZES(1e-5), .embed_dim = 6, .class_token = true, .pre_norm = true, .image_proj = PUPIL_PROJ_MATRIX},
    {SIZES(1e-6), .embed_dim = 24, MAP, .patch_bias = true, .trunk_names = true, .text_all_to_all = true,
     .text_proj_bias = true, .text_prefix = true, .logit_bias = true},
    {SIZES(1e-6), .embed_dim = 6, ROPE, .class_token = true, .patch_bias = true, .image_proj = PUPIL_PROJ_LINEAR,
     .swiglu = true, .inner_norm = true, .no_k_bias = true, .trunk_names = true, .text_prefix = true},
    {SIZES(1e-6), .embed_dim = 6, .class_token = true, .patch_bias = true, .image_proj = PUPIL_PROJ_LINEAR,
     .no_k_bias = true, .trunk_names = true, .text_prefix = true},
    {SIZES(1e-5), .embed_dim = 6, MAP, ROPE, .rope_xy = true, .class_token = true, .pre_norm = true,
     .image_proj = PUPIL_PROJ_LINEAR, .trunk_names = true, .text_prefix = true},
};

static const pupil_conf_model nothing = {.act = PUPIL_ACT_PRESET};

/* A model and its parameters, drawn anew from its table. */
typedef struct {
    pupil_clip *c;
    float *p;
    pupil_weights *w;
} net;

static net net_new(const pupil_arch *a)
{
    net n = {.c = pupil_clip_new(a)};
    const pupil_table *t = pupil_clip_table(n.c);
    n.p = floats(t->total);
    for (int64_t i = 0; i < t->n; i++) {
        pupil_rng r = pupil_rng_at(11, PUPIL_STREAM_TEST, (uint64_t)i);
        for (int64_t j = 0; j < t->t[i].count; j++) n.p[t->t[i].offset + j] = (float)(0.3 * pupil_rng_normal(&r));
    }
    n.w = pupil_weights_flat(n.p);
    return n;
}

static void net_free(net *n)
{
    pupil_weights_free(&n->w);
    pupil_clip_free(&n->c);
    pupil_free(&n->p);
}

static bool has(const char *s, const char *part) { return strstr(s, part) != NULL; }

/* ---- the plain twin -------------------------------------------------------------------------------- */
/* The dimensions of a tensor, told apart. */
static int dims_of(const pupil_arch *a, bool text, const pupil_tensor *t, int64_t d[4])
{
    const pupil_tower_arch *w = text ? &a->text : &a->image;
    bool pool = has(t->name, "attn_pool.");
    int64_t heads = pool ? a->pool_heads : w->heads, hd = w->width / heads, cols = t->ndim ? t->count / t->shape[0] : 1;
    if (has(t->name, "in_proj_") || has(t->name, "attn.qkv."))
        d[0] = 3, d[1] = heads, d[2] = hd, d[3] = cols;
    else if (has(t->name, "out_proj.weight") || has(t->name, "attn.proj.weight") || has(t->name, "attn_pool.proj.weight"))
        d[0] = 1, d[1] = t->shape[0], d[2] = heads, d[3] = hd;
    else if (has(t->name, "mlp.fc1") && !text && a->swiglu)
        d[0] = 2, d[1] = t->shape[0] / 2, d[2] = 1, d[3] = cols;
    else d[0] = t->ndim ? t->shape[0] : 1, d[1] = cols, d[2] = d[3] = 1;
    return 4;
}

static void same_block(const net *from, const net *to, const pupil_tensor *t, const char *source)
{
    const pupil_tensor *s = pupil_table_find(pupil_clip_table(from->c), source);
    bool text = !has(t->name, "visual.");
    int64_t a[4], b[4];
    dims_of(pupil_clip_arch(from->c), text, s, a);
    dims_of(pupil_clip_arch(to->c), text, t, b);
    const float *y = to->p + t->offset, *x = from->p + s->offset;
    for (int64_t i = 0; i < b[0]; i++)
        for (int64_t j = 0; j < b[1]; j++)
            for (int64_t k = 0; k < b[2]; k++)
                for (int64_t l = 0; l < b[3]; l++)
                    CHECK(*y++ == x[((i * a[1] + j) * a[2] + k) * a[3] + l], "%s [%d %d %d %d] is not %s's", t->name, (int)i, (int)j,
                          (int)k, (int)l, source);
}

static void leading_blocks(void **state)
{
    for (int f = 0; f < PUPIL_COUNT(families); f++) {
        pupil_conf_model s = nothing;
        s.vision_width = 16, s.vision_layers = 2, s.vision_mlp = 9, s.text_width = 8, s.text_layers = 3, s.text_mlp = 14;
        if (f != 1) s.embed_dim = 4, s.context_length = 5;
        pupil_arch a;
        GOOD(pupil_arch_like(&families[f], &s, "s", &a));
        assert_int_equal(a.image.heads, 2);
        assert_int_equal(a.text.heads, 2);
        net from = net_new(&families[f]), to = net_new(&a);
        pupil_table_add(pupil_clip_table(to.c), "loss.guest", 1, (int64_t[]){3}, PUPIL_INIT_CONST, 1);
        GOOD(pupil_inherit(from.c, from.w, PUPIL_SELECT_FIRST, to.c, to.p, "s"));
        const pupil_table *t = pupil_clip_table(to.c);
        for (int64_t i = 0; i + 1 < t->n; i++) {
            char source[96];
            strcpy(source, t->t[i].name);
            char *layer = has(source, "visual.") ? strstr(source, "blocks.1.") : NULL;
            if (layer) layer[strlen("blocks.")] = '2'; /* floor(5 / 2) */
            same_block(&from, &to, &t->t[i], source);
        }
        net_free(&from);
        net_free(&to);
    }
}

static void same_sizes_same_model(void **state)
{
    for (int f = 0; f < PUPIL_COUNT(families); f++)
        for (int select = 0; select < 2; select++) {
            pupil_arch a;
            GOOD(pupil_arch_like(&families[f], &nothing, "s", &a));
            net from = net_new(&families[f]), to = net_new(&a);
            const pupil_table *t = pupil_clip_table(to.c);
            memset(to.p, 0, (size_t)t->total * sizeof *to.p);
            GOOD(pupil_inherit(from.c, from.w, (pupil_select)select, to.c, to.p, "s"));
            assert_memory_equal(from.p, to.p, (size_t)t->total * sizeof *to.p);
            net_free(&from);
            net_free(&to);
        }
}

/* ---- embeddings ------------------------------------------------------------------------------------ */
static void embed(const net *n, float *out)
{
    enum { PAIRS = 3 };
    const pupil_arch *a = pupil_clip_arch(n->c);
    int64_t pixels = PAIRS * 3 * a->image_size * a->image_size;
    float *image = floats(pixels);
    int32_t ids[PAIRS * 7], cu[PAIRS + 1] = {0};
    pupil_rng r = pupil_rng_at(5, PUPIL_STREAM_TEST, 99);
    for (int64_t i = 0; i < pixels; i++) image[i] = (float)pupil_rng_normal(&r);
    for (int i = 0; i < PAIRS * 7; i++) ids[i] = (int32_t)pupil_rng_below(&r, 13);
    for (int i = 0; i < PAIRS; i++) cu[i + 1] = cu[i] + (a->text_all_to_all ? 7 : 4 + i);
    pupil_acts *acts = pupil_acts_new(n->c, PAIRS, false);
    pupil_scratch *s = pupil_scratch_new(n->c, PAIRS);
    pupil_image_forward(n->c, n->w, acts, s, image, PAIRS, out);
    pupil_text_forward(n->c, n->w, acts, s, ids, cu, PAIRS, out + PAIRS * a->embed_dim);
    pupil_acts_free(&acts);
    pupil_scratch_free(&s);
    pupil_free(&image);
}

static void zero(net *n, const char *name, int64_t first, int64_t count, int64_t stride, int64_t times)
{
    const pupil_tensor *t = pupil_table_find(pupil_clip_table(n->c), name);
    assert_non_null(t);
    for (int64_t i = 0; i < times; i++) memset(n->p + t->offset + first + i * stride, 0, (size_t)count * sizeof(float));
}

/* MLP channels 1, 4, 7, ... write nothing, and layers 1, 3 and 4 add nothing: the strongest of two layers are the whole model. */
static void what_is_nothing_is_not_missed(void **state)
{
    for (int f = 0; f < PUPIL_COUNT(families); f++) {
        net from = net_new(&families[f]);
        bool trunk = families[f].trunk_names;
        const char *block = trunk ? "visual.trunk.blocks" : "visual.transformer.resblocks";
        static const char *const names[2][4] = {{"attn.out_proj.weight", "attn.out_proj.bias", "mlp.c_proj.weight", "mlp.c_proj.bias"},
                                                {"attn.proj.weight", "attn.proj.bias", "mlp.fc2.weight", "mlp.fc2.bias"}};
        char name[96];
        for (int l = 0; l < 5; l++) {
            for (int k = 0; k < 4 && (l % 2 || l == 4); k++) {
                snprintf(name, sizeof name, "%s.%d.%s", block, l, names[trunk][k]);
                const pupil_tensor *t = pupil_table_find(pupil_clip_table(from.c), name);
                zero(&from, name, 0, t->count, 0, 1);
            }
            snprintf(name, sizeof name, "%s.%d.%s", block, l, names[trunk][2]);
            for (int64_t m = 1; m < 20; m += 3) zero(&from, name, m, 1, 20, 24);
            snprintf(name, sizeof name, "%s.%d.%s", block, l, trunk ? "mlp.fc1.weight" : "mlp.c_fc.weight");
            for (int64_t m = 1; m < 20; m += 3) zero(&from, name, m * 24, 24, 20 * 24, families[f].swiglu ? 2 : 1);
        }
        pupil_conf_model s = nothing;
        pupil_arch a;
        s.vision_layers = 2;
        if (!families[f].inner_norm) s.vision_mlp = 13; /* the inner norm sees all channels */
        GOOD(pupil_arch_like(&families[f], &s, "s", &a));
        a.pool_mlp = families[f].pool_mlp;
        net to = net_new(&a);
        GOOD(pupil_inherit(from.c, from.w, PUPIL_SELECT_MAGNITUDE, to.c, to.p, "s"));
        float want[2 * 3 * 24], got[2 * 3 * 24];
        embed(&from, want);
        embed(&to, got);
        for (int64_t i = 0; i < 2 * 3 * a.embed_dim; i++)
            CHECK(fabsf(want[i] - got[i]) <= 2e-5f * (1 + fabsf(want[i])), "%s: %g became %g", pupil_arch_family(&a), (double)want[i],
                  (double)got[i]);
        net_free(&from);
        net_free(&to);
    }
}

/* Head 2 of layer 0 and head 1 of layer 1, channels 3, 5, .. and embedding dimensions 1, 4 and 5 are made strong. */
static void the_strongest(void **state)
{
    const pupil_arch *base = &families[0];
    net from = net_new(base);
    pupil_clip *c = from.c;
    float *qkv[2], *proj[2];
    for (int l = 0; l < 2; l++) {
        char name[96];
        snprintf(name, sizeof name, "transformer.resblocks.%d.attn.in_proj_weight", l);
        qkv[l] = from.p + pupil_table_find(pupil_clip_table(c), name)->offset;
        int head = l ? 1 : 2;
        for (int part = 0; part < 3; part++)
            for (int i = 0; i < 4 * 12; i++) qkv[l][(part * 12 + head * 4) * 12 + i] *= 9;
    }
    proj[0] = from.p + pupil_table_find(pupil_clip_table(c), "visual.proj")->offset;
    proj[1] = from.p + pupil_table_find(pupil_clip_table(c), "text_projection")->offset;
    static const int strong[] = {1, 4, 5};
    for (int k = 0; k < 3; k++)
        for (int r = 0; r < 24; r++) proj[0][r * 6 + strong[k]] *= 9;
    for (int64_t i = 0; i < 13; i++)
        for (int ch = 0; ch < 12; ch++)
            if (ch % 3 == 2) from.p[pupil_table_find(pupil_clip_table(c), "token_embedding.weight")->offset + i * 12 + ch] *= 50;
    pupil_conf_model s = nothing;
    s.text_width = 4, s.embed_dim = 3;
    pupil_arch a;
    GOOD(pupil_arch_like(base, &s, "s", &a));
    a.text.mlp = base->text.mlp;
    net to = net_new(&a);
    GOOD(pupil_inherit(c, from.w, PUPIL_SELECT_MAGNITUDE, to.c, to.p, "s"));
    const float *got = to.p + pupil_table_find(pupil_clip_table(to.c), "text_projection")->offset;
    for (int r = 0; r < 4; r++)
        for (int k = 0; k < 3; k++) assert_true(got[r * 3 + k] == proj[1][(3 * r + 2) * 6 + strong[k]]);
    for (int l = 0; l < 2; l++) {
        char name[96];
        snprintf(name, sizeof name, "transformer.resblocks.%d.attn.in_proj_weight", l);
        got = to.p + pupil_table_find(pupil_clip_table(to.c), name)->offset;
        for (int part = 0; part < 3; part++)
            for (int i = 0; i < 4; i++)
                for (int ch = 0; ch < 4; ch++)
                    assert_true(got[(part * 4 + i) * 4 + ch] == qkv[l][(part * 12 + (l ? 1 : 2) * 4 + i) * 12 + 3 * ch + 2]);
    }
    net_free(&from);
    net_free(&to);
}

/* What was inherited is a model folder like any other, in every family. */
static void kept_in_a_folder(void **state)
{
    char *dir = folder_new();
    for (int f = 0; f < PUPIL_COUNT(families); f++) {
        pupil_conf_model s = nothing;
        s.vision_layers = 1, s.text_layers = 1;
        pupil_arch a, b;
        GOOD(pupil_arch_like(&families[f], &s, "s", &a));
        net from = net_new(&families[f]), to = net_new(&a);
        int64_t total = pupil_clip_table(to.c)->total;
        float *back = floats(total);
        GOOD(pupil_inherit(from.c, from.w, PUPIL_SELECT_FIRST, to.c, to.p, "s"));
        for (int64_t i = 0; i < 24 && a.no_k_bias; i++) /* no file holds these */
            to.p[pupil_table_find(pupil_clip_table(to.c), "visual.trunk.blocks.0.attn.qkv.bias")->offset + 24 + i] = 0;
        GOOD(pupil_model_dir_save(dir, to.c, to.p));
        GOOD(pupil_model_dir_arch(dir, &b));
        GOOD(pupil_inherit_check(&a, &b, "back"));
        GOOD(pupil_model_dir_load(dir, to.c, back));
        assert_memory_equal(to.p, back, (size_t)total * sizeof *back);
        net_free(&from);
        net_free(&to);
        pupil_free(&back);
    }
    folder_end(&dir);
}

/* ---- positions -------------------------------------------------------------------------------------- */
static void positions_as_in_pytorch(void **state)
{
    static const struct {
        int64_t n, n2, width;
        double want[25];
    } cases[] = { /* torch 2: interpolate(mode="bicubic", antialias=True) of ((7 i) mod 11) / 4 - 1 */
        {4, 3, 1, {-0.3228037, 0.2682035, 0.9887285, -0.05377574, 0.4893092, -0.1792866, 0.2152522, 0.6307204, 0.3571535}},
        {3, 5, 1, {-1.336419, -0.4573008, 0.7688679, 0.2072656, -0.3066038, -0.1712194, 0.2083287, 0.6735075, 0.05942303,
                   -0.4019642, 1.575472, 1.19403, 0.5, -0.1940299, -0.5754717, 1.534392, 1.100468, 0.3264925, -0.3730508,
                   -0.7489792, 1.306604, 0.9251619, 0.2311321, -0.4628978, -0.8443396}},
        {5, 2, 2, {0.1305653, 0.2955288, 0.3963922, 0.3464929, 0.06521923, 0.05320631, 0.3396406, 0.5063031}},
        {7, 1, 1, {0.2489162}},
    };
    for (int k = 0; k < PUPIL_COUNT(cases); k++) {
        float from[64], to[32];
        int64_t n = cases[k].n, n2 = cases[k].n2, w = cases[k].width;
        for (int64_t i = 0; i < n * n * w; i++) from[i] = (float)(7 * i % 11) / 4 - 1;
        pupil_positions_resize(to, n2, from, n, w);
        for (int64_t i = 0; i < n2 * n2 * w; i++) CHECK(fabs((double)to[i] - cases[k].want[i]) < 5e-7, "%d: %g", (int)i, (double)to[i]);
    }
}

static void another_grid(void **state)
{
    pupil_conf_model s = nothing;
    s.image_size = 15;
    pupil_arch a;
    GOOD(pupil_arch_like(&families[0], &s, "s", &a));
    net from = net_new(&families[0]), to = net_new(&a);
    GOOD(pupil_inherit(from.c, from.w, PUPIL_SELECT_FIRST, to.c, to.p, "s"));
    const float *x = from.p + pupil_table_find(pupil_clip_table(from.c), "visual.positional_embedding")->offset;
    const float *y = to.p + pupil_table_find(pupil_clip_table(to.c), "visual.positional_embedding")->offset;
    float want[9 * 24];
    pupil_positions_resize(want, 3, x + 24, 4, 24);
    assert_memory_equal(y, x, 24 * sizeof *y);
    assert_memory_equal(y + 24, want, sizeof want);
    net_free(&from);
    net_free(&to);
}

/* ---- what cannot be --------------------------------------------------------------------------------- */
static void refusals(void **state)
{
    const pupil_arch *base = &families[0];
    pupil_arch a = *base;
    static const struct {
        size_t at;
        int64_t value;
        const char *says;
    } wrong[] = {
#define WRONG(m, v, says) {offsetof(pupil_arch, m), v, says}
        WRONG(image.layers, 6, "s: vision layers is 6, but only 5 can be inherited"),
        WRONG(image.mlp, 21, "s: vision mlp width is 21, but only 20 can be inherited"),
        WRONG(text.width, 24, "s: text width is 24, but only 12 can be inherited"),
        WRONG(text.heads, 2, "s: text heads are 6 wide, those inherited 4: heads are taken whole"),
        WRONG(embed_dim, 7, "s: embed_dim is 7, but only 6 can be inherited"),
        WRONG(patch, 4, "s: patch_size is 4, that of the weights inherited 5"),
        WRONG(vocab, 12, "s: the vocabulary has 12 ids, that of the weights inherited 13; take that model's tokenizer"),
        WRONG(context, 8, "s: context_length is 8, that of the weights inherited 7"),
#undef WRONG
    };
    for (int i = 0; i < PUPIL_COUNT(wrong); i++) {
        a = *base;
        memcpy((char *)&a + wrong[i].at, &wrong[i].value, sizeof wrong[i].value);
        BAD(pupil_inherit_check(base, &a, "s"), PUPIL_EUSER, wrong[i].says);
    }
    a = *base;
    a.image.act = PUPIL_QUICK_GELU;
    BAD(pupil_inherit_check(base, &a, "s"), PUPIL_EUSER, "s: the vision tower's activation is quick_gelu, that of the weights inherited gelu");
    a = *base;
    a.image.eps = 1e-6;
    BAD(pupil_inherit_check(base, &a, "s"), PUPIL_EUSER, "of other parts");
    for (int f = 1; f < PUPIL_COUNT(families); f++)
        BAD(pupil_inherit_check(&families[f], base, "s"), PUPIL_EUSER, "s: a CLIP model cannot inherit from a ");
    pupil_conf_model s = nothing;
    s.vision_width = 20;
    BAD(pupil_arch_like(base, &s, "s", &a), PUPIL_EUSER, "no multiple of vision_head_width 8");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(leading_blocks),    cmocka_unit_test(same_sizes_same_model),   cmocka_unit_test(what_is_nothing_is_not_missed),
        cmocka_unit_test(the_strongest),     cmocka_unit_test(positions_as_in_pytorch), cmocka_unit_test(another_grid),
        cmocka_unit_test(kept_in_a_folder),  cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
