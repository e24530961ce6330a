/* model.c: commands about one model folder: what it is, the pixels it would be given, the embeddings it gives.
 * Outputs are published whole or not at all. */
#include "cli.h"

#include "pupil/data.h"
#include "pupil/model.h"
#include "pupil/role.h"
#include "pupil/store.h"

#include <stdlib.h>
#include <unistd.h>

enum { CAPTION_TOKENS = 15 }; /* a usual caption, for FLOPs */

/* ---- model inspect -------------------------------------------------------------------------------- */
static void inspect_json(const pupil_arch *a, const pupil_clip *c, const char *digest, int64_t merges_vocab)
{
    pupil_buf b = {0};
    pupil_buf_puts(&b, "{\"config\": ");
    pupil_arch_to_json(a, &b);
    pupil_buf_printf(&b, ", \"params\": {\"image\": %lld, \"text\": %lld, \"all\": %lld}, ",
                     (long long)pupil_clip_params(c, 0), (long long)pupil_clip_params(c, 1),
                     (long long)pupil_clip_params(c, -1));
    pupil_buf_printf(
        &b, "\"flops\": {\"image\": %.0f, \"caption_%d_tokens\": %.0f, \"caption_%lld_tokens\": %.0f}, ",
        pupil_arch_image_flops(a), CAPTION_TOKENS, pupil_arch_text_flops(a, CAPTION_TOKENS),
        (long long)a->context, pupil_arch_text_flops(a, (double)a->context));
    pupil_buf_printf(&b, "\"weights_sha256\": \"%s\", \"tokenizer_vocab\": ", digest);
    pupil_buf_printf(&b, merges_vocab ? "%lld}" : "null}", (long long)merges_vocab);
    for (char *p = b.s; *p; p++)
        if (*p == '\n') *p = ' ';
    puts(b.s);
    pupil_buf_free(&b);
}

static void inspect_text(const pupil_arch *a, const pupil_clip *c, const char *digest, int64_t merges_vocab)
{
    printf("weights     sha256 %s\n", digest);
    printf("image       %lld px in patches of %lld, width %lld, %lld layers, %lld heads, mlp %lld\n",
           (long long)a->image_size, (long long)a->patch, (long long)a->image.width, (long long)a->image.layers,
           (long long)a->image.heads, (long long)a->image.mlp);
    printf("            %.3f M parameters, %.3f GFLOP an image\n", (double)pupil_clip_params(c, 0) / 1e6,
           pupil_arch_image_flops(a) / 1e9);
    printf("text        %lld ids, context %lld, width %lld, %lld layers, %lld heads, mlp %lld\n",
           (long long)a->vocab, (long long)a->context, (long long)a->text.width, (long long)a->text.layers,
           (long long)a->text.heads, (long long)a->text.mlp);
    printf("            %.3f M parameters, %.3f GFLOP a caption of %d tokens, %.3f padded to %lld\n",
           (double)pupil_clip_params(c, 1) / 1e6, pupil_arch_text_flops(a, CAPTION_TOKENS) / 1e9,
           CAPTION_TOKENS, pupil_arch_text_flops(a, (double)a->context) / 1e9, (long long)a->context);
    printf("both        embedding width %lld, %s, %.3f M parameters\n", (long long)a->embed_dim,
           pupil_activation_name(a->image.act), (double)pupil_clip_params(c, -1) / 1e6);
    printf("pixels      %s, %s, mean %g %g %g, std %g %g %g\n", a->resize_mode, a->interpolation, a->mean[0],
           a->mean[1], a->mean[2], a->std[0], a->std[1], a->std[2]);
    if (merges_vocab) printf("tokenizer   merges.txt, %lld ids\n", (long long)merges_vocab);
    else printf("tokenizer   no merges.txt in this folder: give `pupil tokenize` one with --merges\n");
}

/* Ids of DIR/merges.txt, or 0 if there is none. */
static int merges_vocab(const char *dir, int64_t *ret)
{
    char *path = pupil_join(dir, "merges.txt");
    pupil_tokenizer *t = NULL;
    int r = pupil_exists(path) ? pupil_tokenizer_load(path, &t) : 0;
    if (r == 0) *ret = t ? pupil_tokenizer_vocab(t) : 0;
    pupil_tokenizer_free(&t);
    pupil_free(&path);
    return r;
}

static int cmd_inspect(int argc, char **argv)
{
    bool json = false;
    const cli_option options[] = {{"json", CLI_FLAG, &json, NULL, "one JSON object; config is open_clip's"}};
    const cli_spec spec = {"model inspect",
                           "DIR",
                           "Shows the architecture, parameters, FLOPs and preprocessing of a model folder "
                           "(model.safetensors and config.json, or "
                           "open_clip_*),\nafter reading all of its weights.",
                           "pupil model inspect runs/quickstart",
                           options,
                           PUPIL_COUNT(options),
                           1,
                           1};
    char **args, digest[65];
    int n, r = cli_parse(&spec, argc, argv, &args, &n);
    if (r) return r;
    pupil_arch arch;
    int64_t vocab = 0;
    PUPIL_TRY(pupil_model_dir_arch(args[0], &arch));
    PUPIL_TRY(pupil_model_dir_digest(args[0], digest));
    PUPIL_TRY(merges_vocab(args[0], &vocab));
    pupil_clip *c = pupil_clip_new(&arch);
    float *params = pupil_alloc((size_t)pupil_clip_table(c)->total * sizeof *params);
    r = pupil_model_dir_load(args[0], c, params);
    if (r == 0) (json ? inspect_json : inspect_text)(&arch, c, digest, vocab);
    pupil_free(&params);
    pupil_clip_free(&c);
    return r;
}

int cmd_model(int argc, char **argv)
{
    static const cli_command verbs[] = {
        {"inspect", cmd_inspect, "architecture, parameters, FLOPs, preprocessing"}};
    return cli_family("model", verbs, PUPIL_COUNT(verbs), argc, argv);
}

/* ---- embed ---------------------------------------------------------------------------------------- */
int cmd_embed(int argc, char **argv)
{
    const char *model = NULL, *in = NULL, *out = NULL;
    const cli_option options[] = {
        {"model", CLI_TEXT, &model, "DIR", "model folder (required)"},
        {"tensors", CLI_TEXT, &in, "IN.h5",
         "inputs/images [N,3,H,W] normalised, inputs/token_ids [N,ctx] int64 (required)"},
        {"out", CLI_TEXT, &out, "OUT.h5",
         "image_features, text_features (before normalisation), logit_scale (required)"},
    };
    const cli_spec spec = {"embed",
                           "",
                           "Embeddings of tensors that are given, to compare with other code bit for digit.",
                           "pupil embed --model runs/quickstart --tensors in.h5 --out out.h5",
                           options,
                           PUPIL_COUNT(options),
                           0,
                           0};
    char **args;
    int n, r = cli_parse(&spec, argc, argv, &args, &n);
    if (r) return r;
    if (!model || !in || !out)
        return pupil_fail(PUPIL_EUSER, "pupil embed: --%s is missing; see `pupil embed --help`",
                          !model ? "model DIR"
                          : !in  ? "tensors IN.h5"
                                 : "out OUT.h5");
    cli_best_kernel();
    cli_set_threads(getenv("OMP_NUM_THREADS") ? 0 : cli_bound_cores());
    return pupil_role_embed(model, in, out);
}

/* ---- preprocess ------------------------------------------------------------------------------------ */
static int preprocess_one(const pupil_preprocess *p, const char *path, uint8_t *u8, float *out)
{
    char *bytes = NULL;
    size_t n = 0;
    pupil_image im = {0};
    PUPIL_TRY(pupil_read_file(path, 0, &bytes, &n));
    int r = pupil_image_decode(bytes, n, false, &im);
    if (r == 0) r = pupil_preprocess_u8(p, &im, u8);
    if (r == 0) pupil_preprocess_normalize(p, u8, out);
    pupil_image_free(&im);
    pupil_free(&bytes);
    return pupil_context(r, "%s", path);
}

static int write_pixels(const char *path, const float *pixels, int64_t n, int64_t size)
{
    char *part = pupil_format("%s.part", path);
    pupil_h5 *h = NULL;
    int r = pupil_h5_create(part, &h);
    if (r == 0) r = pupil_h5_write(h, "pixels", PUPIL_H5_F32, 4, (const int64_t[]){n, 3, size, size}, pixels);
    if (h) {
        int closed = pupil_h5_close(&h);
        if (r == 0) r = closed;
    }
    if (r == 0) r = pupil_publish(part, path);
    if (r < 0) unlink(part);
    pupil_free(&part);
    return r;
}

int cmd_preprocess(int argc, char **argv)
{
    const char *model = NULL, *out = NULL;
    const cli_option options[] = {
        {"model", CLI_TEXT, &model, "DIR", "model folder whose preprocessing is used (required)"},
        {"out", CLI_TEXT, &out, "OUT.h5",
         "dataset `pixels` [N,3,H,W] float32, in the order given (required)"},
    };
    const cli_spec spec = {"preprocess",
                           "IMAGE...",
                           "The tensor the image tower would see of each JPEG, PNG or WebP picture.",
                           "pupil preprocess --model runs/quickstart cat.jpg dog.png --out pixels.h5",
                           options,
                           PUPIL_COUNT(options),
                           1,
                           -1};
    char **args;
    int n, r = cli_parse(&spec, argc, argv, &args, &n);
    if (r) return r;
    if (!model || !out)
        return pupil_fail(PUPIL_EUSER, "pupil preprocess: --%s is missing; see `pupil preprocess --help`",
                          !model ? "model DIR" : "out OUT.h5");
    pupil_arch arch;
    PUPIL_TRY(pupil_model_dir_arch(model, &arch));
    pupil_preprocess p = pupil_role_preprocess(&arch);
    size_t one = 3 * (size_t)p.size * (size_t)p.size;
    uint8_t *u8 = pupil_alloc(one);
    float *pixels = pupil_alloc((size_t)n * one * sizeof *pixels);
    for (int i = 0; i < n && r == 0; i++) r = preprocess_one(&p, args[i], u8, pixels + (size_t)i * one);
    if (r == 0) r = write_pixels(out, pixels, n, p.size);
    pupil_free(&pixels);
    pupil_free(&u8);
    return r;
}
