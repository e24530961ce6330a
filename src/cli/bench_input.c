/* bench_input.c: pictures per second of one thread, from the bytes of a file to the numbers a tower takes.
 * Reading files is left out of the time: what is measured is decoding, resizing with cropping, and
 * normalising, each by itself. */
#include "cli.h"

#include "pupil/data.h"

#include <string.h>

typedef struct {
    pupil_preprocess p;
    char **name;
    int n;
    const char *dir;
    uint8_t *u8;
    float *pixels;
} input;
enum { DECODE, RESIZE, NORMALIZE, STAGES };

static double lap(double *since)
{
    double now = pupil_now(), d = now - *since;
    *since = now;
    return d;
}

static int one_picture(const input *in, const char *name, double seconds[STAGES])
{
    char *path = pupil_join(in->dir, name), *bytes = NULL;
    size_t n = 0;
    pupil_image im = {0};
    int r = pupil_read_file(path, 0, &bytes, &n);
    double t = pupil_now();
    if (r == 0) r = pupil_image_decode(bytes, n, &im);
    seconds[DECODE] += lap(&t);
    if (r == 0) r = pupil_preprocess_u8(&in->p, &im, in->u8);
    seconds[RESIZE] += lap(&t);
    if (r == 0) pupil_preprocess_normalize(&in->p, in->u8, in->pixels);
    seconds[NORMALIZE] += lap(&t);
    pupil_image_free(&im);
    pupil_free(&bytes);
    r = pupil_context(r, "%s", path);
    pupil_free(&path);
    return r;
}

static double sum(const double s[STAGES])
{
    return s[DECODE] + s[RESIZE] + s[NORMALIZE];
}

/* The median round, by its whole time, into seconds. The first round only warms up. */
static int measure(const input *in, int rounds, double seconds[STAGES])
{
    double(*round)[STAGES] = pupil_alloc((size_t)rounds * sizeof *round);
    int r = 0;
    for (int k = -1; k < rounds && r == 0; k++) {
        double s[STAGES] = {0};
        for (int i = 0; i < in->n && r == 0; i++) r = one_picture(in, in->name[i], s);
        if (k < 0) continue;
        int at = k;
        for (; at > 0 && sum(round[at - 1]) > sum(s); at--) memcpy(round[at], round[at - 1], sizeof s);
        memcpy(round[at], s, sizeof s);
    }
    memcpy(seconds, round[rounds / 2], sizeof *round);
    pupil_free(&round);
    return r;
}

int cmd_bench_input(int argc, char **argv)
{
    const char *dir = NULL;
    int64_t size = 224, rounds = 5;
    bool json = false;
    const cli_option options[] = {
        {"images", CLI_TEXT, &dir, "DIR", "folder of JPEG, PNG or WebP files (required)"},
        {"size", CLI_COUNT, &size, "N", "pixels a side the tower takes (default 224)"},
        {"rounds", CLI_COUNT, &rounds, "N",
         "rounds over the folder, of which the median is told (default 5)"},
        {"json", CLI_FLAG, &json, NULL, "one JSON object"},
    };
    const cli_spec spec = {
        "bench input",
        "",
        "Pictures per second of one thread: decoded, resized (shortest side, bicubic) and cropped as "
        "Pillow does to the bit, normalised.",
        "pupil bench input --images photos",
        options,
        PUPIL_COUNT(options),
        0,
        0};
    char **args;
    int n, r = cli_parse(&spec, argc, argv, &args, &n);
    if (r) return r;
    if (!dir)
        return pupil_fail(PUPIL_EUSER,
                          "pupil bench input: --images DIR is missing; see `pupil bench input --help`");
    if (size > 4096 || rounds > 1000)
        return pupil_fail(PUPIL_EUSER,
                          "pupil bench input: at most --size 4096 and --rounds 1000 were expected");
    input in = {.p = pupil_preprocess_default((int)size), .dir = dir};
    PUPIL_TRY(pupil_list_dir(dir, "", "", &in.name, &in.n));
    size_t values = 3 * (size_t)size * (size_t)size;
    in.u8 = pupil_alloc(values);
    in.pixels = pupil_alloc(values * sizeof *in.pixels);
    double s[STAGES] = {0};
    r = in.n ? measure(&in, (int)rounds, s) : pupil_fail(PUPIL_EUSER, "%s: no pictures in it", dir);
    if (r == 0)
        printf(json ? "{\"pictures\": %d, \"size\": %lld, \"pictures_per_second\": %.2f, \"decode_ms\": "
                      "%.4f, \"resize_ms\": %.4f, "
                      "\"normalize_ms\": %.4f}\n"
                    : "%d pictures to %lld px: %.1f a second on one thread; each %.3f ms decoding, %.3f ms "
                      "resizing, %.3f ms "
                      "normalising\n",
               in.n, (long long)size, in.n / sum(s), 1e3 * s[DECODE] / in.n, 1e3 * s[RESIZE] / in.n,
               1e3 * s[NORMALIZE] / in.n);
    pupil_names_free(&in.name, in.n);
    pupil_free(&in.u8);
    pupil_free(&in.pixels);
    return r;
}
