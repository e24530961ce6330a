/* data.c: the built-in scenes as files, and samples of any data set as a person sees them. */
#include "cli.h"

#include "pupil/data.h"

#include <string.h>

/* ---- data scenes ---------------------------------------------------------------------------------- */
static int cmd_scenes(int argc, char **argv)
{
    const char *out = NULL, *from = NULL, *value[6] = {0};
    static const char *const key[6] = {"train", "test", "size", "seed", "max_objects", "questions"};
    int64_t per_tar = 1000;
    const cli_option options[] = {
        {"out", CLI_TEXT, &out, "DIR", "folder for the tars and the JSON files (required)"},
        {"conf", CLI_TEXT, &from, "CONF", "take data.scenes of this configuration"},
        {"train", CLI_TEXT, &value[0], "N", "training scenes"},
        {"test", CLI_TEXT, &value[1], "N", "held-out scenes"},
        {"size", CLI_TEXT, &value[2], "PX", "pixels a side"},
        {"seed", CLI_TEXT, &value[3], "SEED", "another seed, other scenes"},
        {"max-objects", CLI_TEXT, &value[4], "N", "objects in a scene, at most (1 to 6)"},
        {"questions", CLI_TEXT, &value[5], "N", "questions a scene"},
        {"per-tar", CLI_COUNT, &per_tar, "N", "samples a tar (default 1000)"},
    };
    const cli_spec spec = {
        "data scenes",
        "",
        "Writes the built-in scenes as WebDataset tars (KEY.png, KEY.txt) and official VQA v2 JSON.",
        "pupil data scenes --out data/scenes --train 5000 --test 500",
        options,
        PUPIL_COUNT(options),
        0,
        0};
    char **args;
    int n, r = cli_parse(&spec, argc, argv, &args, &n);
    if (r) return r;
    if (!out) return pupil_fail(PUPIL_EUSER, "pupil data scenes: --out DIR is missing");
    const char *item[6];
    cli_list sets = {item, 0};
    for (int i = 0; i < 6; i++)
        if (value[i]) item[sets.n++] = pupil_format("data.scenes.%s=%s", key[i], value[i]);
    pupil_conf *conf = NULL;
    r = cli_load_conf(from, &sets, &conf);
    if (r == 0) r = pupil_scenes_export(&conf->data.scenes, out, per_tar);
    if (r == 0)
        printf("%s: %lld training and %lld held-out scenes of %lld px, seed %lld\n", out,
               (long long)conf->data.scenes.train, (long long)conf->data.scenes.test,
               (long long)conf->data.scenes.size, (long long)conf->data.scenes.seed);
    pupil_conf_free(&conf);
    for (int i = 0; i < sets.n; i++) pupil_free_((void *)item[i]);
    return r;
}

/* ---- data inspect --------------------------------------------------------------------------------- */
static int write_picture(pupil_dataset *d, pupil_split split, int64_t i, const char *dir, const char *key,
                         int *ret_w, int *ret_h)
{
    pupil_image im = {0};
    PUPIL_TRY(pupil_dataset_image(d, split, i, &im));
    *ret_w = im.w;
    *ret_h = im.h;
    int r = 0;
    if (dir) {
        pupil_buf png = {0};
        char *name = pupil_format("%s.png", key);
        for (char *p = name; *p; p++)
            if (*p == '/') *p = '_';
        char *path = pupil_join(dir, name);
        r = pupil_image_encode_png(&im, &png);
        if (r == 0) r = pupil_write_file(path, png.s, png.len);
        pupil_free(&name);
        pupil_free(&path);
        pupil_buf_free(&png);
    }
    pupil_image_free(&im);
    return r;
}

static void show_question(const pupil_vqa_question *q)
{
    printf("  question  %s  [%s, %s] -> %s", q->question, q->question_type, q->answer_type, q->answer);
    for (int k = 0; k < q->n_choices; k++) printf("%s%s", k ? " | " : "  of ", q->choices[k]);
    printf("\n");
}

static int show_sample(pupil_dataset *d, pupil_split split, int64_t i, const pupil_vqa_set *vqa,
                       const char *dir)
{
    char *key, *caption, *const *class;
    int w = 0, h = 0;
    PUPIL_TRY(pupil_dataset_key(d, split, i, &key));
    int r = write_picture(d, split, i, dir, key, &w, &h);
    if (r == 0) printf("%s  %d x %d\n", key, w, h);
    int64_t cls = pupil_dataset_class(d, split, i), classes = pupil_dataset_classes(d, &class);
    if (r == 0 && cls >= 0) printf("  class     %lld  %s\n", (long long)cls, cls < classes ? class[cls] : "");
    for (int k = 0; r == 0 && k < pupil_dataset_captions(d, split, i); k++) {
        r = pupil_dataset_caption(d, split, i, k, &caption);
        if (r < 0) break;
        printf("  caption   %s\n", caption);
        pupil_free(&caption);
    }
    for (int64_t q = 0; r == 0 && vqa && q < vqa->n; q++)
        if (vqa->q[q].image == i) show_question(&vqa->q[q]);
    pupil_free(&key);
    return r;
}

/* What there is of everything, and what is wrong with it. */
static void show_counts(pupil_dataset *d, pupil_split split, const pupil_vqa_set *vqa)
{
    int64_t n = pupil_dataset_count(d, split), least = INT64_MAX, most = 0, sum = 0;
    char *const *class;
    for (int64_t i = 0; i < n; i++) {
        int64_t k = pupil_dataset_captions(d, split, i);
        least = PUPIL_MIN(least, k);
        most = PUPIL_MAX(most, k);
        sum += k;
    }
    printf("%lld training and %lld held-out samples, %lld questions about these; %s:\n",
           (long long)pupil_dataset_count(d, PUPIL_TRAIN), (long long)pupil_dataset_count(d, PUPIL_TEST),
           vqa ? (long long)vqa->n : 0, split == PUPIL_TRAIN ? "train" : "test");
    if (n)
        printf("captions a picture: %lld to %lld, %.2f on average\n", (long long)least, (long long)most,
               (double)sum / (double)n);
    int classes = pupil_dataset_classes(d, &class);
    if (classes) printf("classes: %d, %s to %s\n", classes, class[0], class[classes - 1]);
    if (vqa) printf("questions: %s", pupil_vqa_format_name(vqa->format));
    if (vqa && vqa->left_out)
        printf(", %lld left out as their images are not there", (long long)vqa->left_out);
    if (vqa) printf("\n");
}

static void show_problems(const pupil_dataset *d, bool skip)
{
    pupil_buf problems = {0};
    pupil_dataset_problems(d, &problems);
    if (problems.len)
        printf("%s%s", problems.s, skip ? "" : "data.on_error is stop: a run would end there\n");
    pupil_buf_free(&problems);
}

/* "index 3 of 128 ..., 40 s to go" from the share that is done. */
static const char *to_go(double started, double share, char out[48])
{
    char left[32];
    if (share <= 0) return "";
    snprintf(out, 48, ", %s to go", pupil_duration((pupil_now() - started) * (1 - share) / share, left));
    return out;
}

static int decode_all(pupil_dataset *d, pupil_split split)
{
    int64_t n = pupil_dataset_count(d, split);
    double started = pupil_now();
    for (int64_t i = 0; i < n; i++) {
        pupil_image im;
        char left[48];
        PUPIL_TRY(pupil_dataset_image(d, split, i, &im));
        pupil_image_free(&im);
        pupil_progress(i + 1 == n, "decoded %lld of %lld%s", (long long)i + 1, (long long)n,
                       to_go(started, (double)(i + 1) / (double)n, left));
    }
    return 0;
}

/* Everything that is broken is shown, whatever a run would do with it. */
static int inspect(const pupil_conf *conf, pupil_split split, int64_t n, const char *dir, bool decode)
{
    pupil_dataset *d = NULL;
    pupil_vqa_set *vqa = NULL;
    pupil_conf_data data = conf->data;
    data.skip_bad = true;
    if (dir) PUPIL_TRY(pupil_mkdirs(dir));
    int r = pupil_dataset_open(&data, conf->run.dir, &d);
    if (r == 0) r = pupil_vqa_open(d, split, &vqa);
    if (r == PUPIL_ENOTFOUND && d) r = 0; /* no questions in this configuration */
    if (r == 0 && decode) r = decode_all(d, split);
    if (r == 0) {
        show_counts(d, split, vqa);
        show_problems(d, conf->data.skip_bad);
    }
    n = d ? PUPIL_MIN(n, pupil_dataset_count(d, split)) : 0;
    for (int64_t i = 0; i < n && r == 0; i++) r = show_sample(d, split, i, vqa, dir);
    if (r == 0 && dir) printf("pictures: %s/*.png\n", dir);
    pupil_vqa_free(&vqa);
    pupil_dataset_free(&d);
    return r;
}

static int cmd_inspect(int argc, char **argv)
{
    cli_list sets = {0};
    const char *split = "train", *out = NULL;
    int64_t show = 5;
    bool decode = false;
    const cli_option options[] = {
        {"split", CLI_TEXT, &split, "NAME", "train (default) or test"},
        {"n", CLI_COUNT, &show, "N", "how many samples (default 5)"},
        {"out", CLI_TEXT, &out, "DIR", "write their pictures there as PNG"},
        {"decode", CLI_FLAG, &decode, NULL, "decode every picture of the split, to find the broken ones"},
        {"set", CLI_LIST, &sets, "KEY=VALUE", "override one setting (repeatable)"},
    };
    const cli_spec spec = {"data inspect",
                           "CONF",
                           "Shows what a data set has (samples, captions, classes, questions), what is left "
                           "out of it and why, and its "
                           "first samples: key, size, captions, questions and answers.",
                           "pupil data inspect conf/quickstart.yaml --split test --n 3 --out /tmp/look",
                           options,
                           PUPIL_COUNT(options),
                           1,
                           1};
    char **args;
    int n, r = cli_parse(&spec, argc, argv, &args, &n);
    if (r == 0 && strcmp(split, "train") && strcmp(split, "test"))
        r = pupil_fail(PUPIL_EUSER, "pupil data inspect: --split %s: train or test was expected", split);
    pupil_conf *conf = NULL;
    if (r == 0) r = cli_load_conf(args[0], &sets, &conf);
    if (r == 0) r = inspect(conf, strcmp(split, "test") ? PUPIL_TRAIN : PUPIL_TEST, show, out, decode);
    pupil_conf_free(&conf);
    cli_list_free(&sets);
    return r;
}

/* ---- data index ----------------------------------------------------------------------------------- */
static void tick(void *started, const char *tar, int64_t done, int64_t of)
{
    char left[48], a[32], b[32];
    pupil_progress(false, "index %s: %s of %s%s", tar, pupil_bytes_text((double)done, a),
                   pupil_bytes_text((double)of, b),
                   to_go(*(double *)started, of ? (double)done / (double)of : 0, left));
}

static int cmd_index(int argc, char **argv)
{
    cli_list sets = {0};
    const cli_option options[] = {
        {"set", CLI_LIST, &sets, "KEY=VALUE", "override one setting (repeatable)"},
    };
    const cli_spec spec = {
        "data index",
        "CONF",
        "Reads the tars of a configuration once and writes NAME.tar.idx beside each (in run.dir where that "
        "cannot be "
        "written), so that jobs begin at once. Tars that have not changed since are passed over.",
        "pupil data index conf/emoji.yaml",
        options,
        PUPIL_COUNT(options),
        1,
        1};
    char **args;
    int n, r = cli_parse(&spec, argc, argv, &args, &n);
    pupil_conf *conf = NULL;
    double started = pupil_now();
    char took[32];
    if (r == 0) r = cli_load_conf(args[0], &sets, &conf);
    if (r == 0 && conf->data.source != PUPIL_SOURCE_WEBDATASET)
        r = pupil_fail(PUPIL_EUSER, "%s: data.source: only webdataset has tars to index", args[0]);
    if (r == 0) r = pupil_dataset_index(&conf->data, conf->run.dir, tick, &started);
    if (r >= 0 && conf) {
        pupil_progress(true, "indexed %d tars in %s", r, pupil_duration(pupil_now() - started, took));
        r = 0;
    }
    pupil_conf_free(&conf);
    cli_list_free(&sets);
    return r;
}

int cmd_data(int argc, char **argv)
{
    static const cli_command verbs[] = {
        {"scenes", cmd_scenes, "write the built-in scenes as tars and VQA v2 JSON"},
        {"index", cmd_index, "index the tars of a configuration's data set ahead of its jobs"},
        {"inspect", cmd_inspect, "what a configuration's data set has, and its first samples"},
    };
    return cli_family("data", verbs, PUPIL_COUNT(verbs), argc, argv);
}
