/* Model folders and configurations: what was written reads back; what is broken is refused with a line that
 * names it. */
#include "../proof.h"

#include "pupil/model.h"

/* What makes an architecture CLIP. */
#define CLIP_PARTS .image.eps = 1e-5, .text.eps = 1e-5, .class_token = true, .pre_norm = true, .image_proj = PUPIL_PROJ_MATRIX

static char *dir;

static int setup(void **state)
{
    dir = folder_new();
    return 0;
}

static int teardown(void **state)
{
    folder_end(&dir);
    return 0;
}

static const pupil_arch small = {.image_size = 8,
                                 .patch = 4,
                                 .image.width = 12,
                                 .image.layers = 2,
                                 .image.heads = 3,
                                 .image.mlp = 31,
                                 .context = 7,
                                 .vocab = 13,
                                 .text.width = 10,
                                 .text.layers = 1,
                                 .text.heads = 2,
                                 .text.mlp = 40,
                                 .embed_dim = 6,
                                 CLIP_PARTS,
                                 .image.act = PUPIL_QUICK_GELU,
     .text.act = PUPIL_QUICK_GELU,
                                 .mean = {0.1, 0.2, 0.3},
                                 .std = {0.5, 1.0 / 3, 2},
                                 .interpolation = "bilinear",
                                 .resize_mode = "squash"};

static void same_arch(const pupil_arch *a, const pupil_arch *b)
{
    pupil_buf text[2] = {{0}, {0}};
    pupil_arch_to_json(a, &text[0]);
    pupil_arch_to_json(b, &text[1]);
    assert_string_equal(text[0].s, text[1].s);
    assert_memory_equal(a, b, offsetof(pupil_arch, pool)); /* all sizes */
    pupil_buf_free(&text[0]);
    pupil_buf_free(&text[1]);
}

static void folders_read_back(void **state)
{
    pupil_clip *c = pupil_clip_new(&small);
    pupil_table *t = pupil_clip_table(c);
    pupil_table_add(t, "loss.head", 2, (int64_t[]){3, 5}, PUPIL_INIT_NORMAL, 1);
    float *p = floats(t->total), *q = floats(t->total);
    pupil_table_init(t, 3, p);
    char *model = pupil_join(dir, "model/deep"), first[65], second[65];
    GOOD(pupil_model_dir_save(model, c, p));
    pupil_arch a;
    GOOD(pupil_model_dir_arch(model, &a));
    same_arch(&a, &small);
    const pupil_tensor *guest = pupil_table_find(t, "loss.head");
    for (int64_t i = 0; i < guest->count; i++) q[guest->offset + i] = 7;
    GOOD(pupil_model_dir_load(model, c, q));
    for (int64_t i = 0; i < t->n; i++)
        if (&t->t[i] != guest)
            assert_memory_equal(p + t->t[i].offset, q + t->t[i].offset, (size_t)t->t[i].count * sizeof *p);
    for (int64_t i = 0; i < guest->count; i++)
        assert_true(q[guest->offset + i] == 7); /* not in the file, left alone */
    GOOD(pupil_model_dir_digest(model, first));
    GOOD(pupil_model_dir_save(model, c, q));
    GOOD(pupil_model_dir_digest(model, second));
    assert_string_equal(first, second); /* the same weights, the same bytes */
    pupil_safetensors *s;
    char *file = pupil_join(model, "model.safetensors");
    GOOD(pupil_safetensors_open(file, &s));
    assert_true(pupil_safetensors_has(s, "logit_scale") && !pupil_safetensors_has(s, "loss.head"));
    pupil_safetensors_close(&s);
    pupil_clip_free(&c);
    DROP(p, q, model, file);
}

static void a_scale_without_an_exponential(void **state)
{
    pupil_clip *c = pupil_clip_new(&small);
    float *p = floats(pupil_clip_table(c)->total);
    pupil_table_init(pupil_clip_table(c), 3, p);
    char *model = pupil_join(dir, "hot");
    p[pupil_clip_scale_offset(c)] = 1000;
    GOOD(pupil_model_dir_save(model, c, p));
    BAD(pupil_model_dir_load(model, c, p), PUPIL_EFORMAT, "tensor logit_scale: 1000; its exponential is not finite");
    pupil_clip_free(&c);
    DROP(p, model);
}

static void a_folder_of_another_size(void **state)
{
    pupil_clip *c = pupil_clip_new(&small);
    float *p = floats(pupil_clip_table(c)->total);
    pupil_table_init(pupil_clip_table(c), 3, p);
    char *model = pupil_join(dir, "other"), *none = pupil_join(dir, "none");
    GOOD(pupil_model_dir_save(model, c, p));
    pupil_clip_free(&c);
    pupil_arch wider = small;
    wider.text.mlp = 44;
    c = pupil_clip_new(&wider);
    float *q = floats(pupil_clip_table(c)->total);
    BAD(pupil_model_dir_load(model, c, q), PUPIL_EFORMAT,
        "tensor transformer.resblocks.0.mlp.c_fc.weight: its shape is [40,10], the architecture wants "
        "[44,10]");
    BAD(pupil_model_dir_load(none, c, q), PUPIL_ENOTFOUND, "none: no model.safetensors");
    pupil_arch a;
    BAD(pupil_model_dir_arch(none, &a), PUPIL_ENOTFOUND, "none: no config.json");
    char hex[65];
    assert_true(pupil_model_dir_digest(none, hex) < 0);
    pupil_clip_free(&c);
    DROP(p, q, model, none);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(folders_read_back),
        cmocka_unit_test(a_scale_without_an_exponential),
        cmocka_unit_test(a_folder_of_another_size),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
