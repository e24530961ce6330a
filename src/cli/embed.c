/* embed.c: commands that use one model folder: the pixels it would be given, the embeddings it gives. Outputs are
 * published whole or not at all. */
#include "cli.h"

#include "pupil/data.h"
#include "pupil/model.h"
#include "pupil/role.h"
#include "pupil/store.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- embed ---------------------------------------------------------------------------------------- */
/* The lines of a file, in one list; "-" is standard input. */
static int read_lines(const char *path, char **ret_text, const char ***ret, int64_t *ret_n)
{
    size_t bytes;
    int64_t cap = 0, n = 0;
    const char **line = NULL;
    PUPIL_TRY(pupil_read_file(strcmp(path, "-") ? path : "/dev/stdin", 0, ret_text, &bytes));
    for (char *at = *ret_text, *stop = at + bytes, *end; at < stop; at = end + 1) {
        end = memchr(at, '\n', (size_t)(stop - at));
        if (!end) end = stop;
        *end = 0;
        PUPIL_GROW(line, n, cap);
        line[n++] = at;
    }
    *ret = line;
    *ret_n = n;
    return 0;
}

static int embed_files(const char *model, const char *const *image, int64_t n, const char *texts, const char *out)
{
    char *text = NULL;
    const char **line = NULL;
    int64_t m = 0;
    int r = texts ? read_lines(texts, &text, &line, &m) : 0;
    if (r == 0) r = pupil_role_embed_files(model, image, n, line, m, out);
    pupil_free(&line);
    pupil_free(&text);
    return r;
}

int cmd_embed(int argc, char **argv)
{
    const char *model = NULL, *in = NULL, *out = NULL, *texts = NULL;
    cli_list images = {0};
    const cli_option options[] = {
        {"model", CLI_TEXT, &model, "DIR", "model folder (required)"},
        {"images", CLI_LIST, &images, "PATH", "a picture (repeatable; or name them without --images)"},
        {"texts", CLI_TEXT, &texts, "FILE", "a text a line; - reads standard input"},
        {"tensors", CLI_TEXT, &in, "IN.h5",
         "instead: inputs/images [N,3,H,W] normalised and inputs/token_ids [N,ctx] int64, to compare with other code"},
        {"out", CLI_TEXT, &out, "OUT.h5",
         "image_features, text_features (before normalisation), logit_scale (required)"},
    };
    const cli_spec spec = {"embed",
                           "[IMAGE...]",
                           "Embeddings of pictures and texts, with the model's own preprocessing and tokenizer; or of tensors that are given.",
                           "pupil embed --model runs/quickstart cat.jpg dog.png --texts captions.txt --out out.h5",
                           options,
                           PUPIL_COUNT(options),
                           0,
                           -1};
    char **args;
    int n, r = cli_parse(&spec, argc, argv, &args, &n);
    if (r == 0) {
        bool files = n || images.n || texts;
        if (!model || !out || (!in && !files))
            r = pupil_fail(PUPIL_EUSER, "pupil embed: --%s is missing; see `pupil embed --help`",
                           !model ? "model DIR" : !out ? "out OUT.h5" : "images PATH, --texts FILE or --tensors IN.h5");
        else if (in && files) r = pupil_fail(PUPIL_EUSER, "pupil embed: --tensors stands alone, without pictures and texts");
    }
    if (!images.item) images.item = pupil_alloc((size_t)(n + 1) * sizeof *images.item);
    for (int i = 0; i < n && r == 0; i++) images.item[images.n++] = args[i];
    if (r == 0) {
        cli_best_kernel();
        cli_set_threads(getenv("OMP_NUM_THREADS") ? 0 : cli_bound_cores());
        r = in ? pupil_role_embed(model, in, out) : embed_files(model, images.item, images.n, texts, out);
    }
    cli_list_free(&images);
    return r;
}

/* ---- preprocess ------------------------------------------------------------------------------------ */
static int preprocess_one(const pupil_preprocess *p, const char *path, uint8_t *u8, float *out)
{
    char *bytes = NULL;
    size_t n = 0;
    pupil_image im = {0};
    PUPIL_TRY(pupil_read_file(path, 0, &bytes, &n));
    int r = pupil_image_decode(bytes, n, &im);
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
