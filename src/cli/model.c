/* model.c: commands about a published or trained model: what it is, and the same model for other programs. */
#include "cli.h"

#include "pupil/data.h"
#include "pupil/model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CAPTION_TOKENS = 15 }; /* a usual caption, for FLOPs */

typedef struct {
    char *dir, *config, *weights; /* config: NULL where the folder says which it is */
    pupil_arch arch;
    pupil_clip *clip;
    pupil_weights *open;
    pupil_weights_file file;
    pupil_tokenizer *tokenizer; /* NULL: there is none */
    char *tokenizer_file;
} model;

static void model_free(model *m)
{
    pupil_weights_free(&m->open);
    pupil_clip_free(&m->clip);
    pupil_tokenizer_free(&m->tokenizer);
    pupil_free(&m->tokenizer_file);
    pupil_free(&m->weights);
    pupil_free(&m->config);
    pupil_free(&m->dir);
}

static bool ends(const char *s, const char *with)
{
    size_t n = strlen(s), k = strlen(with);
    return n >= k && !strcmp(s + n - k, with);
}

/* PATH is a folder, or the file of weights or the configuration in one. A file named open_clip_* goes with
 * the other file of that name, where the folder has both layouts. */
static int locate(const char *path, model *m)
{
    if (pupil_is_dir(path)) {
        m->dir = pupil_strdup(path);
        return pupil_model_dir_weights(path, &m->weights);
    }
    if (!pupil_exists(path)) return pupil_fail(PUPIL_ENOTFOUND, "%s: there is no such file or folder", path);
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    m->dir =
        slash ? pupil_format("%.*s", (int)PUPIL_MAX(slash - path, (ptrdiff_t)1), path) : pupil_strdup(".");
    bool config = ends(path, ".json") && !ends(path, ".index.json"),
         open_clip = !strncmp(name, "open_clip_", 10);
    char **mine = config ? &m->config : &m->weights, **other = config ? &m->weights : &m->config;
    *mine = pupil_strdup(path);
    *other = open_clip ? pupil_join(m->dir, config ? "open_clip_model.safetensors" : "open_clip_config.json")
                       : NULL;
    if (*other && !pupil_exists(*other)) pupil_free(other);
    return m->weights ? 0 : pupil_model_dir_weights(m->dir, &m->weights);
}

static int model_open(const char *path, model *m)
{
    PUPIL_TRY(locate(path, m));
    PUPIL_TRY(m->config ? pupil_arch_from_json(m->config, &m->arch) : pupil_model_dir_arch(m->dir, &m->arch));
    m->clip = pupil_clip_new(&m->arch);
    PUPIL_TRY(pupil_weights_open(m->weights, m->clip, &m->open));
    PUPIL_TRY(pupil_weights_about(m->weights, m->clip, &m->file));
    m->tokenizer_file = pupil_tokenizer_file(m->dir);
    return m->tokenizer_file ? pupil_tokenizer_open(m->dir, &m->tokenizer) : 0;
}

/* ---- model inspect -------------------------------------------------------------------------------- */
static void json_pair(pupil_buf *b, const char *key, const char *value, const char *then)
{
    pupil_buf_printf(b, "\"%s\": ", key);
    if (value) pupil_buf_json(b, value);
    else pupil_buf_puts(b, "null");
    pupil_buf_puts(b, then);
}

static void inspect_json(const model *m, const char *digest)
{
    const pupil_arch *a = &m->arch;
    pupil_buf b = {0};
    pupil_buf_puts(&b, "{\"config\": ");
    pupil_arch_to_json(a, &b);
    pupil_buf_puts(&b, ", ");
    json_pair(&b, "family", pupil_arch_family(a), ", ");
    json_pair(&b, "layout", m->file.layout, ", ");
    json_pair(&b, "dtype", m->file.formats, ", ");
    json_pair(&b, "weights", m->weights, ", ");
    json_pair(&b, "weights_sha256", digest, ", ");
    json_pair(&b, "image_activation", pupil_activation_name(a->image.act), ", ");
    json_pair(&b, "text_activation", pupil_activation_name(a->text.act), ", ");
    pupil_buf_printf(&b,
                     "\"embed_dim\": %lld, \"params\": {\"image\": %lld, \"text\": %lld, \"all\": %lld}, ",
                     (long long)a->embed_dim, (long long)pupil_clip_params(m->clip, 0),
                     (long long)pupil_clip_params(m->clip, 1), (long long)pupil_clip_params(m->clip, -1));
    pupil_buf_printf(
        &b, "\"flops\": {\"image\": %.0f, \"caption_%d_tokens\": %.0f, \"caption_%lld_tokens\": %.0f}, ",
        pupil_arch_image_flops(a), CAPTION_TOKENS, pupil_arch_text_flops(a, CAPTION_TOKENS),
        (long long)a->context, pupil_arch_text_flops(a, (double)a->context));
    pupil_buf_puts(&b, "\"logit_scale\": ");
    pupil_buf_json_num(&b, pupil_clip_scale(m->clip, m->open));
    pupil_buf_puts(&b, ", \"logit_bias\": ");
    pupil_buf_json_num(&b, a->logit_bias ? pupil_clip_bias(m->clip, m->open) : NAN);
    pupil_buf_puts(&b, ", \"tokenizer\": ");
    if (m->tokenizer) {
        pupil_buf_puts(&b, "{");
        json_pair(&b, "kind", pupil_tokenizer_kind(m->tokenizer), ", ");
        json_pair(&b, "file", m->tokenizer_file, ", ");
        pupil_buf_printf(&b, "\"vocab\": %lld}}", (long long)pupil_tokenizer_vocab(m->tokenizer));
    } else {
        pupil_buf_puts(&b, "null}");
    }
    for (char *p = b.s; *p; p++)
        if (*p == '\n') *p = ' ';
    puts(b.s);
    pupil_buf_free(&b);
}

static void inspect_image(const model *m)
{
    const pupil_arch *a = &m->arch;
    printf("image       %lld px in patches of %lld, width %lld, %lld layers, %lld heads, mlp %lld%s, %s\n",
           (long long)a->image_size, (long long)a->patch, (long long)a->image.width,
           (long long)a->image.layers, (long long)a->image.heads, (long long)a->image.mlp,
           a->swiglu ? " (SwiGLU)" : "", pupil_activation_name(a->image.act));
    printf("            %s, %s positions, %s\n", a->class_token ? "class token" : "no class token",
           a->rope ? "learned and rotary" : "learned",
           a->pool == PUPIL_POOL_MAP ? "pooled by attention" : "pooled at the class token");
    printf("            %.3f M parameters, %.3f GFLOP an image\n",
           (double)pupil_clip_params(m->clip, 0) / 1e6, pupil_arch_image_flops(a) / 1e9);
}

static void inspect_captions(const model *m)
{
    const pupil_arch *a = &m->arch;
    printf("text        %lld ids, context %lld, width %lld, %lld layers, %lld heads, mlp %lld, %s\n",
           (long long)a->vocab, (long long)a->context, (long long)a->text.width, (long long)a->text.layers,
           (long long)a->text.heads, (long long)a->text.mlp, pupil_activation_name(a->text.act));
    printf("            %.3f M parameters, ", (double)pupil_clip_params(m->clip, 1) / 1e6);
    if (a->text_all_to_all)
        printf("%.3f GFLOP a caption, always padded to %lld\n", pupil_arch_text_flops(a, 0) / 1e9,
               (long long)a->context);
    else
        printf("%.3f GFLOP a caption of %d tokens, %.3f of %lld\n",
               pupil_arch_text_flops(a, CAPTION_TOKENS) / 1e9, CAPTION_TOKENS,
               pupil_arch_text_flops(a, (double)a->context) / 1e9, (long long)a->context);
}

static void inspect_text(const model *m, const char *digest)
{
    const pupil_arch *a = &m->arch;
    printf("model       %s in %s layout, %s, %.3f M parameters\n", pupil_arch_family(a), m->file.layout,
           m->file.formats, (double)pupil_clip_params(m->clip, -1) / 1e6);
    printf("weights     %s, sha256 %s\n", m->weights, digest);
    inspect_image(m);
    inspect_captions(m);
    printf("both        embedding width %lld, logit scale %.6g", (long long)a->embed_dim,
           pupil_clip_scale(m->clip, m->open));
    if (a->logit_bias) printf(", logit bias %.6g", pupil_clip_bias(m->clip, m->open));
    printf("\npixels      %s, %s, mean %g %g %g, std %g %g %g\n", a->resize_mode, a->interpolation,
           a->mean[0], a->mean[1], a->mean[2], a->std[0], a->std[1], a->std[2]);
    if (m->tokenizer)
        printf("tokenizer   %s, %lld ids, %s\n", pupil_tokenizer_kind(m->tokenizer),
               (long long)pupil_tokenizer_vocab(m->tokenizer), m->tokenizer_file);
    else printf("tokenizer   none in this folder: give `pupil tokenize` one with --merges\n");
}

static int cmd_inspect(int argc, char **argv)
{
    bool json = false;
    const cli_option options[] = {{"json", CLI_FLAG, &json, NULL, "one JSON object; config is open_clip's"}};
    const cli_spec spec = {"model inspect",
                           "PATH",
                           "Shows the architecture, parameters, FLOPs, preprocessing and tokenizer of a "
                           "model, after reading all of its weights.\n"
                           "PATH is a folder with weights in safetensors and their config.json or "
                           "open_clip_config.json, or one of these files.",
                           "pupil model inspect runs/quickstart",
                           options,
                           PUPIL_COUNT(options),
                           1,
                           1};
    char **args, digest[65];
    int n, r = cli_parse(&spec, argc, argv, &args, &n);
    if (r) return r;
    model m = {0};
    r = model_open(args[0], &m);
    if (r == 0) r = pupil_safetensors_digest(m.weights, digest);
    if (r == 0) (json ? inspect_json : inspect_text)(&m, digest);
    model_free(&m);
    return r;
}

/* ---- model export --------------------------------------------------------------------------------- */
/* tokenizer_config.json and special_tokens_map.json, without which transformers' CLIPTokenizer would have
 * CLIP's own context length and no end token. What pupil_tokenizer_copy() wrote into the first stays. */
static int clip_tokenizer_files(const pupil_arch *a, const char *dir)
{
    static const char specials[] = "\"bos_token\": \"<|startoftext|>\", \"eos_token\": \"<|endoftext|>\", "
                                   "\"unk_token\": \"<|endoftext|>\", \"pad_token\": \"<|endoftext|>\"";
    char *config = pupil_join(dir, "tokenizer_config.json"),
         *map = pupil_join(dir, "special_tokens_map.json"), *there = NULL;
    int r = pupil_exists(config) ? pupil_read_file(config, 1 << 20, &there, NULL) : 0;
    pupil_buf b = {0};
    pupil_buf_printf(&b,
                     "{\"tokenizer_class\": \"CLIPTokenizer\", \"model_max_length\": %lld, "
                     "\"do_lower_case\": true, \"errors\": \"replace\", %s",
                     (long long)a->context, specials);
    pupil_buf_printf(&b, there ? ", %s" : "}\n", there ? there + 1 : "");
    if (r == 0) r = pupil_write_file(config, b.s, b.len);
    b.len = 0;
    pupil_buf_printf(&b, "{%s}\n", specials);
    if (r == 0) r = pupil_write_file(map, b.s, b.len);
    pupil_buf_free(&b);
    pupil_free(&there);
    pupil_free(&map);
    pupil_free(&config);
    return r;
}

static int export_tokenizer(const model *m, const char *dir)
{
    if (!m->tokenizer) {
        pupil_warn("%s: no tokenizer in this folder, so none is written", m->dir);
        return 0;
    }
    char *before = pupil_join(dir, "tokenizer_config.json"); /* of an earlier export */
    remove(before);
    pupil_free(&before);
    PUPIL_TRY(pupil_tokenizer_copy(m->tokenizer, dir));
    if (strcmp(pupil_tokenizer_kind(m->tokenizer), "CLIP BPE")) return 0;
    pupil_buf vocab = {0};
    char *path = pupil_join(dir, "vocab.json");
    int r = pupil_tokenizer_vocab_json(m->tokenizer, &vocab);
    if (r == 0) r = pupil_write_file(path, vocab.s, vocab.len);
    if (r == 0) r = clip_tokenizer_files(&m->arch, dir);
    pupil_free(&path);
    pupil_buf_free(&vocab);
    return r;
}

static int not_its_own(const char *dir, const char *out)
{
    char *from = realpath(dir, NULL), *to = realpath(out, NULL);
    bool same = from && to && !strcmp(from, to);
    free(from);
    free(to);
    return same ? pupil_fail(PUPIL_EUSER, "--out %s: that is the model's own folder", out) : 0;
}

static int export_model(const model *m, const char *dir, bool hugging_face, pupil_st_type type)
{
    const pupil_arch *a = &m->arch;
    int64_t ids = m->tokenizer ? pupil_tokenizer_vocab(m->tokenizer) : a->vocab;
    PUPIL_TRY(not_its_own(m->dir, dir));
    if (hugging_face && !a->text_all_to_all && ids != a->vocab)
        return pupil_fail(PUPIL_EUSER,
                          "%s: its tokenizer has %lld ids, the model %lld; Hugging Face's CLIPModel pools at "
                          "the model's last id",
                          m->dir, (long long)ids, (long long)a->vocab);
    float *params = pupil_alloc((size_t)pupil_clip_table(m->clip)->total * sizeof *params);
    pupil_weights_copy(m->open, m->clip, params);
    int r = pupil_context(pupil_model_dir_export(dir, m->clip, params, hugging_face, type), "%s", m->dir);
    pupil_free(&params);
    if (r == 0) r = export_tokenizer(m, dir);
    return r;
}

static int cmd_export(int argc, char **argv)
{
    const char *format = NULL, *out = NULL, *dtype = "f32";
    const cli_option options[] = {
        {"format", CLI_TEXT, &format, "NAME", "huggingface or open_clip (required)"},
        {"out", CLI_TEXT, &out, "DIR", "folder to write into (required)"},
        {"dtype", CLI_TEXT, &dtype, "TYPE", "f32 or f16 (default f32)"},
    };
    const cli_spec spec = {
        "model export",
        "PATH",
        "Writes a model for other programs: weights in safetensors, configuration and tokenizer files, as "
        "transformers' CLIPModel and\n"
        "SiglipModel or as open_clip load them. Read back here it gives the same embeddings.",
        "pupil model export runs/quickstart --format huggingface --out hf",
        options,
        PUPIL_COUNT(options),
        1,
        1};
    char **args;
    int n, r = cli_parse(&spec, argc, argv, &args, &n);
    if (r) return r;
    if (!format || !out)
        return pupil_fail(PUPIL_EUSER, "pupil model export: --%s is missing; see `pupil model export --help`",
                          !format ? "format NAME" : "out DIR");
    bool hugging_face = !strcmp(format, "huggingface"), half = !strcmp(dtype, "f16");
    if (!hugging_face && strcmp(format, "open_clip"))
        return pupil_fail(PUPIL_EUSER,
                          "pupil model export: --format %s: huggingface or open_clip was expected", format);
    if (!half && strcmp(dtype, "f32"))
        return pupil_fail(PUPIL_EUSER, "pupil model export: --dtype %s: f32 or f16 was expected", dtype);
    model m = {0};
    r = model_open(args[0], &m);
    if (r == 0) r = export_model(&m, out, hugging_face, half ? PUPIL_ST_F16 : PUPIL_ST_F32);
    model_free(&m);
    return r;
}

/* ---- model inherit -------------------------------------------------------------------------------- */
static int write_part(model *m, const pupil_conf_model *sizes, pupil_select select, const char *out)
{
    pupil_arch a;
    PUPIL_TRY(not_its_own(m->dir, out));
    PUPIL_TRY(pupil_arch_like(&m->arch, sizes, m->dir, &a));
    pupil_clip *c = pupil_clip_new(&a);
    float *params = pupil_alloc((size_t)pupil_clip_table(c)->total * sizeof *params);
    int r = pupil_inherit(m->clip, m->open, select, c, params, m->dir);
    if (r == 0) r = pupil_model_dir_save(out, c, params);
    if (r == 0 && m->tokenizer) r = pupil_tokenizer_copy(m->tokenizer, out);
    if (r == 0)
        pupil_info("%s: %.3f M of the %.3f M parameters of %s", out, (double)pupil_clip_params(c, -1) / 1e6,
                   (double)pupil_clip_params(m->clip, -1) / 1e6, m->dir);
    pupil_clip_free(&c);
    pupil_free(&params);
    return r;
}

static int inherit(const char *path, const char *conf_path, const char *like, pupil_conf_model *sizes, pupil_select select, const char *out)
{
    pupil_conf *conf = NULL;
    model m = {0};
    int r = conf_path ? cli_load_conf(conf_path, &(cli_list){0}, &conf) : 0;
    sizes->name = like ? pupil_strdup(like) : NULL;
    if (r == 0) r = model_open(path, &m);
    if (r == 0) r = write_part(&m, conf ? &conf->student.model : sizes, select, out);
    model_free(&m);
    pupil_conf_free(&conf);
    pupil_free(&sizes->name);
    return r;
}

static int cmd_inherit(int argc, char **argv)
{
    const char *out = NULL, *like = NULL, *conf_path = NULL, *select = "first";
    pupil_conf_model s = {.act = PUPIL_ACT_PRESET};
    const cli_option options[] = {
        {"out", CLI_TEXT, &out, "DIR", "folder to write into (required)"},
        {"like", CLI_TEXT, &like, "PRESET", "the sizes of a preset, such as ViT-S-16"},
        {"conf", CLI_TEXT, &conf_path, "CONF", "the sizes of student.model in these settings"},
        {"vision-layers", CLI_COUNT, &s.vision_layers, "N", "blocks of the image tower"},
        {"vision-width", CLI_COUNT, &s.vision_width, "N", "its width; heads keep theirs"},
        {"vision-mlp", CLI_COUNT, &s.vision_mlp, "N", "width inside its MLPs"},
        {"text-layers", CLI_COUNT, &s.text_layers, "N", "blocks of the text tower"},
        {"text-width", CLI_COUNT, &s.text_width, "N", "its width"},
        {"text-mlp", CLI_COUNT, &s.text_mlp, "N", "width inside its MLPs"},
        {"embed-dim", CLI_COUNT, &s.embed_dim, "N", "width of the shared embedding"},
        {"image-size", CLI_COUNT, &s.image_size, "N", "pixels a side; positions are resized (bicubic)"},
        {"select", CLI_TEXT, &select, "WHICH", "first, or magnitude: the strongest channels and heads"},
    };
    const cli_spec spec = {
        "model inherit",
        "PATH",
        "Writes a smaller model whose weights are a part of this one's, as TinyCLIP begins: every k-th layer, the first channels "
        "and heads.\nWhat is not said stays as it is; MLPs and heads follow the widths. --select magnitude takes those with the "
        "largest sum of squares of weights.",
        "pupil model inherit teacher --vision-width 256 --vision-layers 6 --out start",
        options,
        PUPIL_COUNT(options),
        1,
        1};
    char **args;
    int n, r = cli_parse(&spec, argc, argv, &args, &n);
    if (r) return r;
    const char *beside = NULL;
    for (int i = 1; i < PUPIL_COUNT(options); i++)
        if ((options[i].kind == CLI_COUNT && *(int64_t *)options[i].to) || (options[i].to == &like && like)) beside = options[i].name;
    bool strongest = !strcmp(select, "magnitude");
    if (!out) return pupil_fail(PUPIL_EUSER, "pupil model inherit: --out DIR is missing; see `pupil model inherit --help`");
    if (!strongest && strcmp(select, "first"))
        return pupil_fail(PUPIL_EUSER, "pupil model inherit: --select %s: first or magnitude was expected", select);
    if (conf_path && beside)
        return pupil_fail(PUPIL_EUSER, "pupil model inherit: --conf and --%s were both given, expected one of them", beside);
    return inherit(args[0], conf_path, like, &s, strongest ? PUPIL_SELECT_MAGNITUDE : PUPIL_SELECT_FIRST, out);
}

int cmd_model(int argc, char **argv)
{
    static const cli_command verbs[] = {
        {"inspect", cmd_inspect, "architecture, parameters, FLOPs, preprocessing, tokenizer"},
        {"export", cmd_export, "the same model in Hugging Face's or open_clip's layout"},
        {"inherit", cmd_inherit, "a smaller model that begins with a part of this one's weights"},
    };
    return cli_family("model", verbs, PUPIL_COUNT(verbs), argc, argv);
}
