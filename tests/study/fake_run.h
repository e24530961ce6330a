/* fake_run.h: a run directory such as a finished run leaves, made of nothing: believable curves, five VQA models,
 * pictures, and text that tries to be markup. */
#ifndef PUPIL_TESTS_FAKE_RUN_H
#define PUPIL_TESTS_FAKE_RUN_H

#include "../proof.h"
#include "pupil/data.h"

static inline void put_file(const char *dir, const char *name, const char *text)
{
    char *path = pupil_join(dir, name);
    GOOD(pupil_write_file(path, text, strlen(text)));
    pupil_free(&path);
}

/* ---- metrics -------------------------------------------------------------------------------------- */
static inline void fake_metrics(const char *dir, const char *name, int64_t steps, bool teacher)
{
    pupil_buf b = {0};
    pupil_rng r = pupil_rng_at(11, PUPIL_STREAM_TEST, teacher);
    pupil_buf_puts(&b, "");
    for (int64_t s = 1; s <= steps; s++) {
        double t = (double)s / (double)steps, noise = 1 + 0.08 * pupil_rng_normal(&r), ranks = s > steps * 2 / 5 ? 4 : 2;
        double task = noise * (0.35 + 5 * exp(-7 * t)), crd = noise * (0.12 + 1.9 * exp(-5 * t)), fd = noise * (2e-4 + 2e-3 * exp(-4 * t));
        double lr = 1e-3 * (t < 0.05 ? t / 0.05 : 0.5 * (1 + cos(M_PI * (t - 0.05) / 0.95)));
        double rate = (ranks > 2 ? 1480 : 810) * (1 + 0.05 * pupil_rng_normal(&r)), step = 256 / rate, wait = ranks > 2 ? 0.01 : 0.12;
        pupil_buf_printf(&b, "{\"step\":%lld,\"epoch\":%lld,\"loss\":%.6g,\"terms\":{\"task\":%.6g", (long long)s, (long long)(s * 4 / steps),
                         task + (teacher ? 0 : crd + 2000 * fd), task);
        if (!teacher) pupil_buf_printf(&b, ",\"crd\":%.6g,\"fd\":%.6g", crd, fd);
        pupil_buf_printf(&b, "},\"lr\":%.6g,\"grad_norm\":", lr);
        pupil_buf_json_num(&b, s == steps / 2 ? NAN : noise * (0.4 + 6 * exp(-9 * t)));
        pupil_buf_printf(&b, ",\"logit_scale\":%.6g,\"pairs_per_s\":%.1f,\"ranks\":%.0f,\"seconds\":{\"data\":%.5f,\"forward\":%.5f,\"loss\":%.5f,"
                         "\"backward\":%.5f,\"reduce\":%.5f,\"update\":%.5f,\"wait\":%.5f}}\n",
                         14.3 + 30 * t * t, rate, ranks, 0.06 * step, 0.29 * step, 0.05 * step, 0.48 * step, 0.05 * step, 0.03 * step, wait * step);
    }
    put_file(dir, name, b.s);
    pupil_buf_free(&b);
}

/* ---- results -------------------------------------------------------------------------------------- */
static const char *const fake_models[] = {"student", "question only", "image only", "majority", "teacher"};
static const double fake_overall[] = {71.32, 54.87, 40.61, 38.05, 78.94};
static const char *const fake_types[] = {"exists", "count", "colour", "shape", "left of", "above", "more <or> fewer", "same"};
static const double fake_accuracy[][5] = {{83.1, 62.4, 51.0, 50.3, 88.0},  {52.4, 38.3, 29.5, 27.7, 63.9}, {74.9, 31.2, 26.4, 22.8, 84.4},
                                          {79.6, 44.0, 33.3, 30.1, 87.2},  {66.0, 58.1, 50.2, 50.0, 71.3}, {64.2, 57.7, 49.8, 50.0, 70.8},
                                          {70.3, 71.1, 50.6, 52.2, 74.5}, {77.5, 60.9, 51.3, 50.9, 82.7}};

static inline void fake_vqa(pupil_buf *b)
{
    pupil_buf_puts(b, "{\"vqa\": {\"n\": 2000, \"answers\": 31, \"models\": [");
    for (int m = 0; m < PUPIL_COUNT(fake_models); m++) {
        pupil_buf_printf(b, "%s\n{\"name\": \"%s\", \"overall\": %.4f, \"answer_type\": {\"yes/no\": {\"n\": 1210, \"accuracy\": %.2f}, "
                         "\"number\": {\"n\": 240, \"accuracy\": %.2f}, \"other\": {\"n\": 550, \"accuracy\": %.2f}}, \"question_type\": {",
                         m ? "," : "", fake_models[m], fake_overall[m], fake_overall[m] + 2.6, fake_accuracy[1][m], fake_overall[m] - 1.5);
        for (int t = 0; t < PUPIL_COUNT(fake_types); t++)
            pupil_buf_printf(b, "%s\"%s\": {\"n\": %d, \"accuracy\": %.4f}", t ? ", " : "", fake_types[t], 150 + 37 * t, fake_accuracy[t][m]);
        pupil_buf_puts(b, "}}");
    }
    pupil_buf_puts(b, "]},\n");
}

static inline void fake_retrieval(pupil_buf *b)
{
    static const char *const name[] = {"student", "teacher"};
    pupil_buf_puts(b, "\"retrieval\": {\"n\": 1000, \"models\": [");
    for (int m = 0; m < 2; m++)
        pupil_buf_printf(b, "{\"name\": \"%s\", \"image_to_text\": {\"r1\": %.4f, \"r5\": 0.561, \"r10\": 0.702, \"mean_rank\": 21.4, \"median_rank\": 4}, "
                         "\"text_to_image\": {\"r1\": %.4f, \"r5\": 0.548, \"r10\": 0.695, \"mean_rank\": 22.9, \"median_rank\": 4}},\n",
                         name[m], 0.243 + 0.1 * m, 0.231 + 0.1 * m);
    pupil_buf_puts(b, "{\"name\": \"pixel nearest neighbour\", \"r1\": 0.031}]},\n");
}

/* A ground with a few shapes on it. */
static inline void fake_picture(const char *dir, const char *name, uint64_t seed)
{
    enum { SIZE = 64 };
    pupil_image im = {SIZE, SIZE, pupil_alloc(SIZE * SIZE * 3)};
    pupil_rng r = pupil_rng_at(13, PUPIL_STREAM_TEST, seed);
    static const uint8_t colours[][3] = {{214, 60, 50}, {60, 110, 210}, {60, 160, 90}, {235, 190, 60}, {150, 90, 180}, {240, 240, 240}};
    for (int i = 0; i < SIZE * SIZE; i++)
        for (int c = 0; c < 3; c++) im.rgb[3 * i + c] = (uint8_t)(70 + 10 * c + i / SIZE / 2 + (int)pupil_rng_below(&r, 6));
    for (int k = 0; k < 4; k++) {
        int x = (int)pupil_rng_below(&r, 44) + 10, y = (int)pupil_rng_below(&r, 44) + 10, s = 5 + (int)pupil_rng_below(&r, 6);
        bool disc = pupil_rng_below(&r, 2);
        const uint8_t *colour = colours[pupil_rng_below(&r, PUPIL_COUNT(colours))];
        for (int v = -s; v <= s; v++)
            for (int u = -s; u <= s; u++)
                if ((!disc || u * u + v * v <= s * s) && x + u >= 0 && y + v >= 0 && x + u < SIZE && y + v < SIZE)
                    memcpy(im.rgb + 3 * ((y + v) * SIZE + x + u), colour, 3);
    }
    pupil_buf png = {0};
    GOOD(pupil_image_encode_png(&im, &png));
    char *path = pupil_join(dir, name);
    GOOD(pupil_write_file(path, png.s, png.len));
    pupil_free(&path);
    pupil_buf_free(&png);
    pupil_image_free(&im);
}

static inline void fake_samples(const char *dir, pupil_buf *b, int n)
{
    static const char *const words[][4] = { /* question, student, teacher, people */
        {"What colour is the large disc on the left?", "red", "red", "red"},
        {"How many squares are there?", "3", "2", "2"},
        {"Is there a yellow square above the disc?", "yes", "yes", "yes"},
        {"Are there more discs than squares?", "no", "yes", "yes"},
        {"<script>alert(\"x\")</script> & 'what' is <b>this</b>?", "a & b", "<i>disc</i>", "a & b"},
        {"What shape is the purple object?", "disc", "disc", "disc"}};
    char *folder = pupil_join(dir, "samples");
    GOOD(pupil_mkdirs(folder));
    pupil_free(&folder);
    pupil_buf_puts(b, "\"samples\": [");
    for (int i = 0; i < n; i++) {
        const char *const *w = words[i % PUPIL_COUNT(words)];
        char name[40];
        snprintf(name, sizeof name, "samples/%03d.png", i);
        fake_picture(dir, name, (uint64_t)i);
        bool right = strcmp(w[1], w[3]) == 0, split = i % 6 == 5;
        pupil_buf_printf(b, "%s\n{\"image\": \"%s\", \"question\": ", i ? "," : "", name);
        pupil_buf_json(b, w[0]);
        pupil_buf_puts(b, ", \"answers\": [");
        for (int a = 0; a < 10; a++) {
            if (a) pupil_buf_puts(b, ", ");
            pupil_buf_json(b, split && a >= 2 ? a >= 8 ? "circle" : "round" : w[3]);
        }
        pupil_buf_puts(b, "], \"student\": ");
        pupil_buf_json(b, w[1]);
        pupil_buf_puts(b, ", \"teacher\": ");
        pupil_buf_json(b, w[2]);
        pupil_buf_printf(b, ", \"accuracy\": %.1f}", split ? 0.6 : right ? 1.0 : 0.0);
    }
    pupil_buf_puts(b, "],\n\"scores\": ["
                      "{\"model\": \"student\", \"protocol\": \"zero_shot\", \"metric\": \"top1\", \"n\": 2500, \"value\": 61.5, \"interval\": [59.5, 63.25]},"
                      "{\"model\": \"teacher <b>\", \"protocol\": \"zero_shot\", \"metric\": \"top1\", \"n\": 2500, \"value\": 75},"
                      "{\"model\": \"student\", \"protocol\": \"zero_shot\", \"metric\": \"top5\", \"n\": 2500, \"value\": 90, \"interval\": [88, 92]},"
                      "{\"model\": \"student\", \"protocol\": \"against teacher\", \"metric\": \"cka_image\", \"n\": 1000, \"value\": 0.8125}]}\n");
}

static const char fake_yaml[] = "run:\n  dir: runs/quickstart\n  mode: split\nteacher:\n  model:\n    image_size: 64\n    patch_size: 8\n"
                                "student:\n  train:\n    steps: 1500\n    batch_size: 256\n    lr: 0.001\nloss:\n  task: 1\n  crd: 1\n  fd: 2000\n"
                                "# a comment with <tags> & ampersands\n";
static const char fake_run_json[] =
    "{\"versions\": {\"pupil\": \"0.1.0\", \"mpi\": \"Open MPI v4.1.4\", \"blas\": \"OpenBLAS SkylakeX\"},\n \"finished\": \"2026-11-23T10:41:07Z\",\n"
    " \"plan\": {\"mode\": \"split\", \"ranks\": 4, \"teachers\": 2, \"students\": 2, \"threads\": 1, \"oversubscribed\": false},\n"
    " \"teacher\": {\"parameters\": 5800000, \"vision\": \"64 px / 8, width 256, 6 layers\", \"text\": \"width 192, 4 layers, context 32\", "
    "\"weights\": \"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\"},\n"
    " \"student\": {\"parameters\": 1230000, \"vision\": \"64 px / 8, width 128, 4 layers\", \"text\": \"width 128, 2 layers, context 32\"},\n"
    " \"cache\": {\"identity\": \"60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752\", \"blocks\": 79, \"teacher_forward_passes\": 0},\n"
    " \"data\": {\"train\": 20000, \"test\": 1000},\n"
    " \"phases\": [{\"name\": \"train the teacher\", \"seconds\": 142.5, \"pairs\": 153600}, {\"name\": \"fill the cache\", \"seconds\": 12.9, "
    "\"pairs\": 20000}, {\"name\": \"train the student\", \"seconds\": 101.2, \"pairs\": 384000}, {\"name\": \"evaluate\", \"seconds\": 31.4, \"pairs\": 0}]}\n";

static inline void fake_run(const char *dir, int64_t steps, int samples)
{
    pupil_buf b = {0};
    put_file(dir, "resolved.yaml", fake_yaml);
    put_file(dir, "run.json", fake_run_json);
    fake_metrics(dir, "metrics.jsonl", steps, false);
    fake_metrics(dir, "teacher-metrics.jsonl", steps / 2, true);
    fake_vqa(&b);
    fake_retrieval(&b);
    fake_samples(dir, &b, samples);
    put_file(dir, "eval.json", b.s);
    pupil_buf_free(&b);
}

#endif
