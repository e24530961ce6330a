/* Model folders and safetensors: what was written reads back; what is broken is refused with a line that
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

/* A file of the given header and `data` bytes of content; its path, owned by the caller. */
static char *file_of(const char *header, const void *data, size_t bytes)
{
    pupil_buf b = {0};
    uint64_t n = strlen(header);
    pupil_buf_add(&b, &n, 8);
    pupil_buf_puts(&b, header);
    pupil_buf_add(&b, data, bytes);
    char *path = pupil_join(dir, "x.safetensors");
    GOOD(pupil_write_file(path, b.s, b.len));
    pupil_buf_free(&b);
    return path;
}

static void hostile_headers_are_refused(void **state)
{
    static const struct {
        const char *header;
        size_t bytes;
        const char *names; /* what the reason must hold */
    } cases[] = {
        {"{\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 12, "8 bytes of tensors but 12"},
        {"{\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 4, "tensor w"},
        {"{\"w\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}", 8, "tensor w"},
        {"{\"w\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,8]}}", 8,
         "tensor w: its data_offsets do not fit"},
        {"{\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", 8,
         "tensor w: its data_offsets leave"},
        {"{\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[-8,0]}}", 8,
         "tensor w: its data_offsets leave"},
        {"{\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}", 8,
         "tensor w: its data_offsets leave"},
        {"{\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8,16]}}", 8, "tensor w"},
        {"{\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0.0,8.0]}}", 8, "tensor w"},
        {"{\"w\":{\"dtype\":\"F32\",\"shape\":[2]}}", 8, "tensor w: expected"},
        {"{\"w\":{\"dtype\":\"F32\",\"shape\":2,\"data_offsets\":[0,8]}}", 8, "tensor w: expected"},
        {"{\"w\":{\"dtype\":3,\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "tensor w: expected"},
        {"{\"w\":{\"dtype\":\"Q4\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "tensor w: unknown dtype"},
        {"{\"w\":[1,2]}", 8, "tensor w: expected"},
        {"{\"w\":{\"dtype\":\"F32\",\"shape\":[-1,-2],\"data_offsets\":[0,8]}}", 8, "tensor w: a dimension"},
        {"{\"w\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}}", 0, "tensor w: a dimension"},
        {"{\"w\":{\"dtype\":\"F32\",\"shape\":[\"2\"],\"data_offsets\":[0,8]}}", 8, "tensor w: a dimension"},
        {"{\"w\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904,4],\"data_offsets\":[0,8]}}", 8,
         "tensor w: its shape is larger"},
        {"{\"w\":{\"dtype\":\"F32\",\"shape\":[65536,65536,65536,65536],\"data_offsets\":[0,8]}}", 8,
         "tensor w: its shape is larger"},
        {"{\"w\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}", 4,
         "tensor w: more than 8"},
        {"{\"w\":{\"dtype\":\"F32\",\"shape\":[99999999999999999999],\"data_offsets\":[0,8]}}", 8, "integer"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},\"b\":{\"dtype\":\"F32\",\"shape\":"
         "[2],\"data_offsets\":[4,12]}}",
         12, "tensor b: its data overlap"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},\"b\":{\"dtype\":\"F32\",\"shape\":"
         "[2],\"data_offsets\":[0,8]}}",
         8, "its data overlap"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"F32\",\"shape\":"
         "[1],\"data_offsets\":[8,12]}}",
         12, "tensor b: its data overlap another tensor's or leave a hole"},
        {"{\"w\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"w\":{\"dtype\":\"F32\",\"shape\":"
         "[1],\"data_offsets\":[0,4]}}",
         4, "duplicate object key near '\"w\"'"},
        {"[1,2,3]", 8, "no JSON object"},
        {"{\"w\":", 8, "header"},
        {"", 8, "header"},
        {"{\"\\u0000w\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "header"},
    };
    uint8_t zeros[64] = {0};
    for (int i = 0; i < PUPIL_COUNT(cases); i++) {
        char *path = file_of(cases[i].header, zeros, cases[i].bytes);
        pupil_safetensors *s = NULL;
        BAD(pupil_safetensors_open(path, &s), PUPIL_EFORMAT, cases[i].names);
        CHECK(strstr(pupil_reason(), path), "case %d does not name the file: %s", i, pupil_reason());
        assert_null(s);
        pupil_free(&path);
    }
}

static void files_that_lie_about_their_header(void **state)
{
    char *path = pupil_join(dir, "short");
    pupil_safetensors *s;
    BAD(pupil_safetensors_open(path, &s), PUPIL_ENOTFOUND, "short");
    for (size_t n = 0; n < 8; n++) {
        GOOD(pupil_write_file(path, "\1\0\0\0\0\0\0\0", n));
        BAD(pupil_safetensors_open(path, &s), PUPIL_EFORMAT, "too short");
    }
    static const uint64_t claims[] = {1, 100, 100000001, UINT64_MAX, UINT64_MAX - 7, INT64_MAX};
    for (int i = 0; i < PUPIL_COUNT(claims); i++) {
        GOOD(pupil_write_file(path, &claims[i], 8));
        BAD(pupil_safetensors_open(path, &s), PUPIL_EFORMAT, "header claims");
    }
    BAD(pupil_safetensors_open(dir, &s), PUPIL_EIO, dir);
    pupil_buf b = {0}; /* nested deeper than a parser's stack should go */
    for (int i = 0; i < 200000; i++) pupil_buf_puts(&b, "{\"a\":");
    char *deep = file_of(b.s, "", 0);
    BAD(pupil_safetensors_open(deep, &s), PUPIL_EFORMAT, "header");
    pupil_buf_free(&b);
    DROP(path, deep);
}

/* Any one byte of a good file changed, or the file cut anywhere: refused or read, never a crash. */
static void damaged_files(void **state)
{
    const char *header =
        "{\"__metadata__\":{\"format\":\"pt\"},\"a\":{\"dtype\":\"F32\",\"shape\":[2,1],\"data_offsets\":[0,"
        "8]},\"b\":{\"dtype\":\"BF16\",\"shape\":[],\"data_offsets\":[8,10]}}";
    char *path = file_of(header, "0123456789", 10), *good;
    size_t n;
    GOOD(pupil_read_file(path, 0, &good, &n));
    int opened = 0, refused = 0;
    for (size_t at = 0; at < 2 * n; at++) {
        char *bytes = pupil_alloc(n);
        memcpy(bytes, good, n);
        if (at < n) bytes[at] = (char)(bytes[at] ^ (at % 2 ? 0x80 : 0x01));
        FILE *f = fopen(path, "wb");
        fwrite(bytes, 1, at < n ? n : at - n, f);
        fclose(f);
        pupil_safetensors *s;
        float out[2];
        if (pupil_safetensors_open(path, &s) == 0) {
            opened++;
            pupil_safetensors_read(s, "a", 1, (int64_t[]){2}, out);
            pupil_safetensors_close(&s);
        } else {
            refused++;
        }
        pupil_free(&bytes);
    }
    assert_true(refused > (int)n && opened > 5);
    DROP(path, good);
}

static void dtypes_and_shapes(void **state)
{
    /* F16: 1, -2, smallest subnormal, largest; BF16: 1, -2; and the values that are not finite */
    static const uint16_t half[] = {0x3c00, 0xc000, 0x0001, 0x7bff, 0x8000, 0x03ff}, nan_half[] = {0x7e00},
                          bf[] = {0x3f80, 0xc000};
    static const float single[] = {1.5f, -INFINITY};
    static const char *const header = "{\"h\":{\"dtype\":\"F16\",\"shape\":[6],\"data_offsets\":[0,12]},"
                                      "\"n\":{\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[12,14]},"
                                      "\"b\":{\"dtype\":\"BF16\",\"shape\":[2,1],\"data_offsets\":[14,18]},"
                                      "\"f\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[18,26]},"
                                      "\"i\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[26,34]}}";
    uint8_t data[34] = {0};
    memcpy(data, half, 12), memcpy(data + 12, nan_half, 2), memcpy(data + 14, bf, 4),
        memcpy(data + 18, single, 8);
    char *path = file_of(header, data, 34);
    pupil_safetensors *s;
    GOOD(pupil_safetensors_open(path, &s));
    float out[6];
    GOOD(pupil_safetensors_read(s, "h", 1, (int64_t[]){6}, out));
    assert_true(out[0] == 1 && out[1] == -2 && out[2] == 0x1p-24f && out[3] == 65504 && out[4] == 0 &&
                signbit(out[4]) && out[5] == 0x1p-14f - 0x1p-24f);
    GOOD(pupil_safetensors_read(s, "b", 1, (int64_t[]){2}, out)); /* trailing ones do not count */
    assert_true(out[0] == 1 && out[1] == -2);
    BAD(pupil_safetensors_read(s, "n", 1, (int64_t[]){1}, out), PUPIL_ENUMERIC,
        "tensor n: element 0 is not finite");
    BAD(pupil_safetensors_read(s, "f", 1, (int64_t[]){2}, out), PUPIL_ENUMERIC,
        "tensor f: element 1 is not finite");
    BAD(pupil_safetensors_read(s, "i", 0, NULL, out), PUPIL_EFORMAT, "tensor i: expected dtype");
    BAD(pupil_safetensors_read(s, "none", 0, NULL, out), PUPIL_ENOTFOUND, "tensor none is missing");
    BAD(pupil_safetensors_read(s, "h", 2, (int64_t[]){3, 2}, out), PUPIL_EFORMAT,
        "tensor h: its shape is [6], the architecture wants [3,2]");
    BAD(pupil_safetensors_read(s, "h", 0, NULL, out), PUPIL_EFORMAT,
        "tensor h: its shape is [6], the architecture wants []");
    BAD(pupil_safetensors_read(s, "f", 1, (int64_t[]){3}, out), PUPIL_EFORMAT, "tensor f");
    assert_true(pupil_safetensors_has(s, "i") && !pupil_safetensors_has(s, "__metadata__"));
    pupil_safetensors_close(&s);
    assert_null(s);
    pupil_safetensors_close(&s);
    pupil_free(&path);
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

static int arch_of(const char *json, pupil_arch *a)
{
    char *path = pupil_join(dir, "config.json");
    GOOD(pupil_write_file(path, json, strlen(json)));
    int r = pupil_arch_from_json(path, a);
    pupil_free(&path);
    return r;
}

#define CONFIG(model, vision, text, pre)                                                                     \
    "{\"model_cfg\":{\"embed_dim\":32" model                                                                 \
    ",\"vision_cfg\":{\"image_size\":32,\"layers\":2,\"width\":64,\"patch_size\":8" vision                   \
    "},\"text_cfg\":{\"context_length\":9,\"vocab_size\":50,\"width\":64,\"heads\":2,\"layers\":2" text      \
    "}},\"preprocess_cfg\":{\"size\":32" pre "}}"

static void configurations(void **state)
{
    static const struct {
        const char *json, *names; /* NULL: accepted */
    } cases[] = {
        {CONFIG("", "", "", ""), NULL},
        {CONFIG(
             ",\"quick_gelu\":true,\"init_logit_scale\":2.6,\"custom_text\":false,\"init_logit_bias\":null",
             ",\"ls_init_value\":null,\"pool_type\":\"tok\",\"norm_kwargs\":{}",
             ",\"pool_type\":\"argmax\",\"no_causal_mask\":false,\"proj_type\":\"linear\"", ""),
         NULL},
        {CONFIG(",\"custom_text\":1", "", "", ""), "model_cfg.custom_text is 1; true or false"},
        {CONFIG(",\"multimodal_cfg\":{\"width\":3}", "", "", ""), "multimodal_cfg"},
        {CONFIG("", ",\"timm_model_name\":\"vit_x\"", "", ""), "vision_cfg.timm_model_name is \"vit_x\""},
        {CONFIG("", ",\"ls_init_value\":0.0001", "", ""), "ls_init_value"},
        {CONFIG("", ",\"norm_kwargs\":{\"bias\":1}", "", ""), "vision_cfg.norm_kwargs.bias"},
        {CONFIG("", ",\"pool_type\":\"avg\"", "", ""), "pool_type"},
        {CONFIG("", "", ",\"hf_model_name\":\"roberta\"", ""), "hf_model_name"},
        {CONFIG("", "", ",\"no_causal_mask\":true", ""), "pool_type is absent; with no_causal_mask"},
        {CONFIG("", ",\"head_width\":24", "", ""), "head_width"},
        {CONFIG("", ",\"head_width\":0", "", ""), "head_width"},
        {CONFIG("", ",\"mlp_ratio\":1e300", "", ""), "vision mlp width"},
        {CONFIG("", "", ",\"mlp_ratio\":\"4\"", ""), "text_cfg.mlp_ratio is \"4\"; a number"},
        {CONFIG("", "", "", ",\"std\":[0.5,0,0.5]"), "std"},
        {CONFIG("", "", "", ",\"interpolation\":\"nearest\""), "nearest"},
        {CONFIG("", "", "", ",\"resize_mode\":\"crop\""), "crop"},
        {"{\"model_cfg\":{\"embed_dim\":32,\"vision_cfg\":{\"layers\":[3,4,6,3],\"width\":64},\"text_cfg\":{}"
         "}}",
         "vision_cfg.layers is [3,4,6,3]"},
        {"{\"model_cfg\":{\"embed_dim\":32,\"vision_cfg\":{\"image_size\":7,\"patch_size\":8},\"text_cfg\":{"
         "}}}",
         "image_size 7 is less"},
        {"{\"model_cfg\":{\"embed_dim\":32,\"vision_cfg\":{\"width\":1000000000000000000,\"head_width\":1},"
         "\"text_cfg\":{}}}",
         "vision_width"},
        {"{\"model_cfg\":{\"embed_dim\":32,\"vision_cfg\":{},\"text_cfg\":{\"heads\":3}}}", "heads"},
        {"{\"model_cfg\":{\"vision_cfg\":{},\"text_cfg\":{}}}", "embed_dim"},
        {"{\"model_cfg\":{\"embed_dim\":32,\"vision_cfg\":[],\"text_cfg\":{}}}", "model_cfg.vision_cfg is []; an object"},
        {"[]", "expected open_clip"},
        {"{\"model_cfg\":", "config.json:1:"},
    };
    for (int i = 0; i < PUPIL_COUNT(cases); i++) {
        pupil_arch a;
        int r = arch_of(cases[i].json, &a);
        if (!cases[i].names) {
            CHECK(r == 0, "case %d: %s", i, pupil_reason());
            assert_true(a.image.heads == 1 && a.image.mlp == 256 && a.text.mlp == 256 && a.embed_dim == 32 &&
                        a.mean[0] > 0.48 && !strcmp(a.interpolation, "bicubic"));
            continue;
        }
        CHECK(r == PUPIL_EFORMAT && strstr(pupil_reason(), cases[i].names) &&
                  strstr(pupil_reason(), "config.json"),
              "case %d gave %d: %s, expected it to name %s", i, r, r ? pupil_reason() : "-", cases[i].names);
    }
}

/* Any MLP width survives the ratio that the file holds in its stead. */
static void any_mlp_width_reads_back(void **state)
{
    pupil_rng r = pupil_rng_at(1, PUPIL_STREAM_TEST, 0);
    for (int i = 0; i < 300; i++) {
        pupil_arch a = small, b;
        a.image.width = 1 + (int64_t)pupil_rng_below(&r, 2000), a.image.heads = 1,
        a.image.mlp = 1 + (int64_t)pupil_rng_below(&r, 8000);
        a.text.width = 1 + (int64_t)pupil_rng_below(&r, 50), a.text.heads = 1,
        a.text.mlp = 1 + (int64_t)pupil_rng_below(&r, 500);
        pupil_buf text = {0};
        pupil_arch_to_json(&a, &text);
        GOOD(arch_of(text.s, &b));
        CHECK(a.image.mlp == b.image.mlp && a.text.mlp == b.text.mlp, "%d/%d read back as %d", (int)a.image.mlp, (int)a.image.width,
              (int)b.image.mlp);
        same_arch(&a, &b);
        pupil_buf_free(&text);
    }
}

static void sections_of_a_yaml_file(void **state)
{
    pupil_arch a;
    pupil_conf_model m = {.name = (char *)(uintptr_t) "ViT-B-32",
                          .act = PUPIL_ACT_QUICK_GELU,
                          .image_size = 256,
                          .text_layers = 3};
    GOOD(pupil_arch_from_conf(&m, 1000, "student.model", &a));
    assert_true(a.image_size == 256 && a.patch == 32 && a.text.layers == 3 && a.vocab == 1000 && a.image.act == PUPIL_QUICK_GELU &&
                a.image.heads == 12 && a.text.heads == 8 && a.context == 77);
    m.name = (char *)(uintptr_t) "ViT-B-23";
    BAD(pupil_arch_from_conf(&m, 1000, "student.model", &a), PUPIL_EUSER,
        "student.model.name: no preset 'ViT-B-23', expected ViT-T-16");
    pupil_conf_model own = {.act = PUPIL_ACT_PRESET,
                            .image_size = 64,
                            .patch_size = 8,
                            .vision_width = 96,
                            .vision_layers = 2,
                            .vision_head_width = 32,
                            .text_width = 100,
                            .text_layers = 2,
                            .context_length = 16,
                            .embed_dim = 64};
    GOOD(pupil_arch_from_conf(&own, 600, "student.model", &a));
    assert_true(a.image.heads == 3 && a.text.heads == 1 && a.image.mlp == 384 && a.image.act == PUPIL_GELU);
    static const struct {
        size_t at;
        int64_t value;
        const char *names;
    } wrong[] = {{offsetof(pupil_conf_model, image_size), 60, "image_size 60 is no multiple"},
                 {offsetof(pupil_conf_model, vision_head_width), 36, "vision_head_width 36"},
                 {offsetof(pupil_conf_model, text_heads), 3, "text 100/3"},
                 {offsetof(pupil_conf_model, embed_dim), 0, "embed_dim is 0"},
                 {offsetof(pupil_conf_model, vision_layers), 0,
                  "vision_layers is 0, expected 1 to 256; give it, or a preset name"},
                 {offsetof(pupil_conf_model, text_layers), 1000, "text_layers is 1000"}};
    for (int i = 0; i < PUPIL_COUNT(wrong); i++) {
        pupil_conf_model bad = own;
        *(int64_t *)(void *)((char *)&bad + wrong[i].at) = wrong[i].value;
        BAD(pupil_arch_from_conf(&bad, 600, "student.model", &a), PUPIL_EUSER, wrong[i].names);
        assert_int_equal(strncmp(pupil_reason(), "student.model", 13), 0);
    }
    BAD(pupil_arch_from_conf(&own, 0, "student.model", &a), PUPIL_EUSER, "vocab_size is 0");
}

static void costs(void **state)
{
    pupil_arch a;
    pupil_conf_model m = {.name = (char *)(uintptr_t) "ViT-B-32", .act = PUPIL_ACT_PRESET};
    GOOD(pupil_arch_from_conf(&m, 49408, "x", &a));
    /* open_clip's model_profile: 8.82 GFLOPs (4.41 GMACs) an image, 5.96 a text of 77, all rows in all blocks
     */
    double image = pupil_arch_image_flops(&a), text = pupil_arch_text_flops(&a, 77);
    print_message("ViT-B-32: %.3g FLOPs an image, %.3g a caption of 77\n", image, text);
    assert_true(image < 8.9e9 && image > 8.9e9 * 11 / 12 * 0.98 && text < 5.97e9 &&
                text > 5.96e9 * 11 / 12 * 0.95);
    assert_true(pupil_acts_bytes(&a, 64, 20, false) < pupil_acts_bytes(&a, 64, 20, true) / 8);
    assert_true(pupil_acts_bytes(&a, 64, 10, true) < pupil_acts_bytes(&a, 64, 20, true));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hostile_headers_are_refused),
        cmocka_unit_test(files_that_lie_about_their_header),
        cmocka_unit_test(damaged_files),
        cmocka_unit_test(dtypes_and_shapes),
        cmocka_unit_test(folders_read_back),
        cmocka_unit_test(a_folder_of_another_size),
        cmocka_unit_test(configurations),
        cmocka_unit_test(any_mlp_width_reads_back),
        cmocka_unit_test(sections_of_a_yaml_file),
        cmocka_unit_test(costs),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
