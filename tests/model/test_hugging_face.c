/* Hugging Face's configurations: absent keys mean what transformers' classes mean by them; what its
 * processors do to pixels is done here too, or refused by key. */
#include "published.h"

static void hugging_face_defaults(void **state)
{
    pupil_arch a, b;
    /* the whole of google/siglip-base-patch16-224's file, but for its versions */
    GOOD(arch_of("{\"architectures\":[\"SiglipModel\"],\"initializer_factor\":1.0,\"model_type\":\"siglip\","
                 "\"text_config\":{\"model_type\":\"siglip_text_model\"},"
                 "\"vision_config\":{\"model_type\":\"siglip_vision_model\"}}",
                 &a));
    assert_string_equal(pupil_arch_family(&a), "SigLIP");
    assert_true(a.image_size == 224 && a.patch == 16 && a.vocab == 32000 && a.context == 64 &&
                a.image.act == PUPIL_GELU_TANH && a.text.act == PUPIL_GELU_TANH && a.embed_dim == 768 &&
                a.mean[0] == 0.5 && !strcmp(a.resize_mode, "squash"));
    GOOD(arch_of(published[2].json,
                 &b)); /* open_clip has GELU in its erf form, and by default CLIP's pixels */
    b.image.act = b.text.act = PUPIL_GELU_TANH;
    memcpy(b.mean, a.mean, sizeof a.mean), memcpy(b.std, a.std, sizeof a.std);
    strcpy(b.resize_mode, "squash");
    same_arch(&a, &b);
    /* transformers' CLIPConfig(): openai/clip-vit-base-patch32 */
    GOOD(arch_of("{\"model_type\":\"clip\"}", &a));
    pupil_conf_model m = {.name = (char *)(uintptr_t) "ViT-B-32", .act = PUPIL_ACT_QUICK_GELU};
    GOOD(pupil_arch_from_conf(&m, 49408, "x", &b));
    strcpy(b.resize_mode, "shortest-hf"); /* a crop rounded as transformers does */
    same_arch(&a, &b);
    /* as openai/clip-vit-large-patch14 has it: the old *_config_dict win, with their own defaults */
    GOOD(arch_of(
        "{\"model_type\":\"clip\",\"projection_dim\":768,\"text_config\":{\"hidden_size\":1,\"vocab_size\":1}"
        ",\"text_config_dict\":{\"hidden_size\":768,"
        "\"intermediate_size\":3072,\"num_attention_heads\":12,\"num_hidden_layers\":12},\"vision_config\":"
        "null,\"vision_config_dict\":{\"hidden_size\":1024,"
        "\"intermediate_size\":4096,\"num_attention_heads\":16,\"num_hidden_layers\":24,\"patch_size\":14}}",
        &a));
    m.name = (char *)(uintptr_t) "ViT-L-14";
    GOOD(pupil_arch_from_conf(&m, 49408, "x", &b));
    strcpy(b.resize_mode, "shortest-hf"); /* a crop rounded as transformers does */
    same_arch(&a, &b);
    /* siglip2-giant-opt: towers of two widths, one projection_size */
    GOOD(arch_of("{\"model_type\":\"siglip\",\"text_config\":{\"hidden_size\":1152,\"intermediate_size\":"
                 "4304,\"num_attention_heads\":16,\"num_hidden_layers\":27,\"vocab_size\":256000,"
                 "\"projection_size\":1536},\"vision_config\":{\"hidden_size\":1536,\"intermediate_size\":"
                 "6144,\"num_attention_heads\":16,\"num_hidden_layers\":40,\"image_size\":384}}",
                 &a));
    GOOD(arch_of(published[4].json, &b));
    memcpy(b.mean, a.mean, sizeof a.mean), memcpy(b.std, a.std, sizeof a.std);
    strcpy(b.resize_mode, "squash");
    same_arch(&a, &b);
}

static void hugging_face_refusals(void **state)
{
    static const char *const cases[][2] = {
        {"{\"model_type\":\"siglip2\"}", "model_type is \"siglip2\"; SigLIP2 with patches of any shape"},
        {"{\"model_type\":\"blip\"}", "model_type is \"blip\"; clip or siglip was expected"},
        {"{\"model_type\":7}", "model_type is 7"},
        {"{\"model_type\":\"clip\",\"vision_config\":{\"hidden_act\":\"relu\"}}",
         "vision_config.hidden_act is \"relu\""},
        {"{\"model_type\":\"clip\",\"vision_config\":{\"hidden_act\":\"gelu\"}}",
         "only one of the towers has quick_gelu"},
        {"{\"model_type\":\"clip\",\"vision_config\":{\"num_channels\":4}}", "num_channels is 4"},
        {"{\"model_type\":\"clip\",\"text_config\":{\"num_attention_heads\":-8}}", "text_heads is -8"},
        {"{\"model_type\":\"clip\",\"text_config\":{\"eos_token_id\":49405}}", "eos_token_id is 49405"},
        {"{\"model_type\":\"clip\",\"text_config\":{\"vocab_size\":50000}}", "eos_token_id is absent"},
        {"{\"model_type\":\"clip\",\"text_config\":[]}", "text_config is []; an object"},
        {"{\"model_type\":\"clip\",\"text_config_dict\":{\"hidden_size\":500}}", "multiple of its heads"},
        {"{\"model_type\":\"siglip\",\"vision_config\":{\"vision_use_head\":false}}", "vision_use_head"},
        {"{\"model_type\":\"siglip\",\"vision_config\":{\"layer_norm_eps\":1e-5}}",
         "vision_config.layer_norm_eps is 1e-5;"},
        {"{\"model_type\":\"siglip\",\"vision_config\":{\"hidden_size\":1152,\"num_attention_heads\":16}}",
         "768 numbers (projection_size)"},
        {"{\"model_type\":\"clip\",\"text_config\":{\"layer_norm_eps\":0}}", "eps is 0"},
    };
    for (int i = 0; i < PUPIL_COUNT(cases); i++) {
        pupil_arch a;
        BAD(arch_of(cases[i][0], &a), PUPIL_EFORMAT, cases[i][1]);
        assert_non_null(strstr(pupil_reason(), "config.json"));
    }
}

static void preprocessors(void **state)
{
    static const struct {
        const char *type, *json, *mode, *filter; /* accepted */
        double mean;
        const char *names; /* refused */
    } cases[] = {
        {"clip", "{}", "shortest-hf", "bicubic", 0.48145466, NULL},
        {"clip",
         "{\"image_processor_type\":\"CLIPImageProcessor\",\"size\":224,\"crop_size\":224,\"resample\":2,"
         "\"image_mean\":[0.1,0.2,0.3]}",
         "shortest-hf", "bilinear", 0.1, NULL},
        {"clip",
         "{\"feature_extractor_type\":\"CLIPFeatureExtractor\",\"size\":{\"shortest_edge\":224},\"crop_"
         "size\":{\"height\":224,\"width\":224}}",
         "shortest-hf", "bicubic", 0.48145466, NULL},
        {"clip", "{\"size\":{\"height\":224,\"width\":224},\"do_center_crop\":false,\"do_normalize\":false}",
         "squash", "bicubic", 0, NULL},
        {"siglip", "{\"size\":{\"height\":224,\"width\":224},\"resample\":3,\"do_convert_rgb\":null}",
         "squash", "bicubic", 0.5, NULL},
        {"siglip", "{\"image_processor_type\":\"CLIPImageProcessor\"}", "shortest-hf", "bicubic", 0.48145466,
         NULL},
        {"clip", "{\"image_processor_type\":\"BlipImageProcessor\"}", NULL, NULL, 0,
         "image_processor_type is \"BlipImageProcessor\""},
        {"clip", "{\"size\":{\"shortest_edge\":256}}", NULL, NULL, 0,
         "size is {\"shortest_edge\":256}; the model sees 224"},
        {"clip", "{\"crop_size\":{\"height\":336,\"width\":336}}", NULL, NULL, 0,
         "crop_size is {\"height\":336,\"width\":336}; the model sees 224"},
        {"clip", "{\"size\":{\"height\":224,\"width\":256}}", NULL, NULL, 0, "size is"},
        {"clip", "{\"size\":{\"longest_edge\":224}}", NULL, NULL, 0, "size is {\"longest_edge\":224}"},
        {"clip", "{\"do_center_crop\":false}", NULL, NULL, 0, "do_center_crop is false"},
        {"clip", "{\"do_resize\":false}", NULL, NULL, 0, "do_resize is false"},
        {"clip", "{\"do_rescale\":false}", NULL, NULL, 0, "do_rescale is false"},
        {"clip", "{\"rescale_factor\":1}", NULL, NULL, 0, "rescale_factor is 1"},
        {"clip", "{\"resample\":0}", NULL, NULL, 0, "resample is 0"},
        {"clip", "{\"image_std\":[0.5,0,0.5]}", NULL, NULL, 0, "std is 0"},
        {"clip", "{\"image_mean\":[0.5,0.5]}", NULL, NULL, 0, "image_mean is [0.5,0.5]"},
        {"clip", "{\"do_resize\":\"yes\"}", NULL, NULL, 0, "do_resize is \"yes\""},
        {"siglip", "{\"size\":{\"shortest_edge\":224}}", NULL, NULL, 0, "size is {\"shortest_edge\":224}"},
        {"siglip", "{\"size\":", NULL, NULL, 0, "preprocessor_config.json:1:"},
    };
    for (int i = 0; i < PUPIL_COUNT(cases); i++) {
        pupil_arch a;
        char *config =
            pupil_format("{\"model_type\":\"%s\",\"vision_config\":{\"patch_size\":16}}", cases[i].type);
        write_text("preprocessor_config.json", cases[i].json);
        int r = arch_of(config, &a);
        if (cases[i].names) {
            CHECK(r == PUPIL_EFORMAT && strstr(pupil_reason(), cases[i].names) &&
                      strstr(pupil_reason(), "config.json"),
                  "case %d gave %d: %s, expected it to name %s", i, r, r ? pupil_reason() : "-",
                  cases[i].names);
        } else {
            CHECK(r == 0, "case %d: %s", i, pupil_reason());
            assert_string_equal(a.resize_mode, cases[i].mode);
            assert_string_equal(a.interpolation, cases[i].filter);
            CHECK(a.mean[0] == cases[i].mean, "case %d: mean %g", i, a.mean[0]);
        }
        pupil_free(&config);
    }
    write_text("preprocessor_config.json", NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hugging_face_defaults),
        cmocka_unit_test(hugging_face_refusals),
        cmocka_unit_test(preprocessors),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
