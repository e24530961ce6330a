/* The commands that compute: ids, pixels and embeddings against the reference data, what is said of a model,
 * and the restart with the OpenBLAS kernel this CPU deserves. */
#include "program.h"

#include "pupil/data.h"
#include "pupil/math.h"
#include "pupil/model.h"
#include "pupil/store.h"

#include <jansson.h>

static char *dir;

static void tokenize_gives_the_reference_ids(void **state)
{
    (void)state;
    char *merges = oracle_path("tokenizer/bpe_simple_vocab_16e6.txt.gz"),
         *file = oracle_path("tokenizer/tokens.json");
    if (!merges || !file) skip();
    json_t *root = json_load_file(file, 0, NULL), *list = json_object_get(root, "strings"), *one;
    pupil_buf text = {0}, want = {0};
    size_t k, i;
    json_array_foreach(list, k, one)
    {
        const char *s = json_string_value(json_object_get(one, "text"));
        json_t *ids = json_object_get(one, "ids"), *id;
        if (!s || strpbrk(s, "\n\r") || strlen(s) != json_string_length(json_object_get(one, "text")))
            continue;
        pupil_buf_printf(&text, "%s\n", s);
        json_array_foreach(ids, i, id)
            pupil_buf_printf(&want, "%s%d", i ? ", " : "[", (int)json_integer_value(id));
        pupil_buf_puts(&want, "]\n");
    }
    CHECK(want.len > 1000, "the reference file holds no usable texts");
    char *lines = write_text(dir, "lines.txt", text.s);
    program p;
    RUN(&p, dir, "tokenize", "--merges", merges, lines);
    assert_int_equal(p.code, 0);
    assert_string_equal(p.out, want.s);
    program_free(&p);
    RUN(&p, dir, "tokenize", "--merges", merges, "--context", "3", lines);
    for (char *at = p.out; (at = strchr(at, '[')); at++)
        CHECK(strtol(at + 1, NULL, 10) == 49406, "%.40s", at);
    program_free(&p);
    json_decref(root);
    DROP(merges, file, lines, text.s, want.s);
}

static void preprocess_gives_the_towers_pixels(void **state)
{
    (void)state;
    char *model = oracle_path("models/a_gelu/open_clip"),
         *jpeg = oracle_path("preprocess/images/baseline_420.jpg"),
         *webp = oracle_path("preprocess/images/alpha.webp");
    if (!model || !jpeg || !webp) skip();
    enum { S = 64, ONE = 3 * S * S };
    char *out = pupil_join(dir, "pixels.h5"), *bytes;
    const char *const file[2] = {jpeg, webp};
    float *got = floats(2 * ONE), *want = floats(2 * ONE);
    int ndim;
    int64_t dims[8];
    size_t n;
    program p;
    RUN(&p, dir, "preprocess", "--model", model, jpeg, "--out", out, webp);
    CHECK(p.code == 0, "%s", p.err);
    program_free(&p);
    pupil_h5 *h;
    GOOD(pupil_h5_open(out, &h));
    GOOD(pupil_h5_shape(h, "pixels", &ndim, dims));
    CHECK(ndim == 4 && dims[0] == 2 && dims[1] == 3 && dims[2] == S && dims[3] == S, "shape");
    GOOD(pupil_h5_read(h, "pixels", PUPIL_H5_F32, 2 * ONE, got));
    GOOD(pupil_h5_close(&h));
    pupil_preprocess pre = pupil_preprocess_default(S);
    for (int i = 0; i < 2; i++) {
        uint8_t u8[ONE];
        pupil_image im;
        GOOD(pupil_read_file(file[i], 0, &bytes, &n));
        GOOD(pupil_image_decode(bytes, n, &im));
        GOOD(pupil_preprocess_u8(&pre, &im, u8));
        pupil_preprocess_normalize(&pre, u8, want + i * ONE);
        pupil_image_free(&im);
        pupil_free(&bytes);
    }
    for (int i = 0; i < 2 * ONE; i++)
        CHECK(fabsf(got[i] - want[i]) < 1e-6f, "pixel %d: %g, expected %g", i, (double)got[i],
              (double)want[i]);
    unlink(out);
    RUN(&p, dir, "preprocess", "--model", model, jpeg, model, "--out", out); /* a folder is no picture */
    CHECK(p.code != 0 && !pupil_exists(out), "a failed preprocess left its output");
    program_free(&p);
    DROP(model, jpeg, webp, out, got, want);
}

static void embed_gives_the_reference_features(void **state)
{
    (void)state;
    char *model = oracle_path("models/b_quickgelu/open_clip"), *in = oracle_path("models/b_quickgelu/io.h5");
    if (!model || !in) skip();
    static const char *const name[] = {"image_features", "text_features"};
    char *out = pupil_join(dir, "features.h5");
    program p;
    RUN(&p, dir, "embed", "--model", model, "--tensors", in, "--out", out);
    CHECK(p.code == 0, "%s", p.err);
    program_free(&p);
    pupil_h5 *reference, *mine;
    GOOD(pupil_h5_open(in, &reference));
    GOOD(pupil_h5_open(out, &mine));
    for (int i = 0; i < 2; i++) {
        int ndim;
        int64_t dims[8];
        char *path = pupil_format("outputs_float64/%s", name[i]);
        GOOD(pupil_h5_shape(mine, name[i], &ndim, dims));
        assert_int_equal(ndim, 2);
        int64_t n = dims[0] * dims[1];
        float *got = floats(n);
        double *want = doubles(n);
        GOOD(pupil_h5_read(mine, name[i], PUPIL_H5_F32, n, got));
        GOOD(pupil_h5_read(reference, path, PUPIL_H5_F64, n, want));
        double e = max_error(got, want, n);
        CHECK(e <= 2e-5, "%s: error %g", name[i], e);
        DROP(path, got, want);
    }
    GOOD(pupil_h5_close(&reference));
    GOOD(pupil_h5_close(&mine));
    DROP(model, in, out);
}

/* Pictures from their files: the reference's features from the model's own preprocessing; texts: those of their ids. */
static void embed_reads_pictures_and_texts(void **state)
{
    (void)state;
    char *model = oracle_path("models/a_gelu/open_clip"), *all = oracle_path("preprocess/end_to_end.h5"), *out = pupil_join(dir, "files.h5"),
         *one = oracle_path("preprocess/images/baseline_420.jpg"), *two = oracle_path("preprocess/images/lossy.webp");
    if (!model || !all || !one || !two) skip();
    enum { D = 64 };
    program p;
    pupil_h5 *h;
    char *names;
    int ndim;
    int64_t dims[8];
    RUN(&p, dir, "embed", "--model", model, one, "--images", two, "--out", out);
    CHECK(p.code == 0, "%s", p.err);
    program_free(&p);
    GOOD(pupil_h5_open(all, &h));
    GOOD(pupil_h5_shape(h, "a_gelu/image_features", &ndim, dims));
    assert_true(ndim == 2 && dims[1] == D);
    float *want = floats(dims[0] * D), got[2 * D];
    GOOD(pupil_h5_read(h, "a_gelu/image_features", PUPIL_H5_F32, dims[0] * D, want));
    GOOD(pupil_h5_close(&h));
    GOOD(pupil_h5_open(out, &h));
    GOOD(pupil_h5_read(h, "image_features", PUPIL_H5_F32, 2 * D, got));
    GOOD(pupil_h5_read_text(h, "images", &names));
    GOOD(pupil_h5_close(&h));
    assert_true(!strncmp(names, two, strlen(two)) && strstr(names, one)); /* options first */
    for (int k = 0; k < 2; k++) {
        float least = 1;
        for (int64_t i = 0; i < dims[0]; i++) {
            float most = 0;
            for (int d = 0; d < D; d++) most = fmaxf(most, fabsf(want[i * D + d] - got[k * D + d]));
            least = fminf(least, most);
        }
        CHECK(least <= 2e-5f, "picture %d: %g from any of the reference's", k, (double)least);
    }
    char *lines = write_text(dir, "one.txt", "a cat\n");
    RUN(&p, dir, "embed", "--model", model, "--texts", lines, "--out", out);
    assert_int_equal(p.code, 1); /* no tokenizer there */
    CHECK(strstr(p.err, "no tokenizer"), "%s", p.err);
    program_free(&p);
    DROP(model, all, out, one, two, want, names, lines);
}

static void inspect_counts_what_is_there(void **state)
{
    (void)state;
    char *model = oracle_path("models/a_gelu/open_clip");
    if (!model) skip();
    program p;
    RUN(&p, dir, "model", "inspect", model, "--json");
    assert_int_equal(p.code, 0);
    json_t *root = json_loads(p.out, 0, NULL), *params = json_object_get(root, "params");
    CHECK(root != NULL, "not JSON: %s", p.out);
    int64_t image = json_integer_value(json_object_get(params, "image")),
            text = json_integer_value(json_object_get(params, "text"));
    /* a patch convolution, class and positions, two norms, 3 blocks and a projection of width 64; text alike
     */
    int64_t block = 12 * 64 * 64 + 13 * 64;
    assert_int_equal(image, 64 * 768 + 64 + 17 * 64 + 4 * 64 + 3 * block + 64 * 64);
    assert_int_equal(text, 512 * 64 + 77 * 64 + 2 * 64 + 2 * block + 64 * 64);
    assert_int_equal(json_integer_value(json_object_get(params, "all")), image + text + 1);
    CHECK(json_number_value(json_object_get(json_object_get(root, "flops"), "image")) >
              2.0 * 17 * 3 * 12 * 64 * 64,
          "FLOPs");
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(json_object_get(root, "config"), "preprocess_cfg"),
                                          "interpolation")),
        "bicubic");
    json_decref(root);
    program_free(&p);
    RUN(&p, dir, "model", "inspect", model);
    assert_int_equal(p.code, 0);
    HOLDS(p.out, "64 px in patches of 16");
    HOLDS(p.out, "none in this folder");
    program_free(&p);
    pupil_free(&model);
}

/* A model folder with a learned tokenizer, as a run leaves it. */
static char *own_model(void)
{
    static const char *const texts[] = {"a red circle", "a red square", "two green circles"};
    char *model = pupil_join(dir, "own"), *merges = pupil_join(model, "merges.txt");
    pupil_tokenizer *t;
    GOOD(pupil_tokenizer_learn(texts, 3, 530, &t));
    pupil_arch a = pupil_arch_clip();
    a.image_size = 32, a.patch = 16, a.context = 20, a.vocab = pupil_tokenizer_vocab(t), a.embed_dim = 16;
    a.image.width = a.text.width = 32, a.image.heads = a.text.heads = 2, a.image.layers = a.text.layers = 1, a.image.mlp = a.text.mlp = 64;
    pupil_clip *c = pupil_clip_new(&a);
    float *p = floats(pupil_clip_table(c)->total);
    pupil_table_init(pupil_clip_table(c), 1, p);
    GOOD(pupil_model_dir_save(model, c, p));
    GOOD(pupil_tokenizer_save(t, merges));
    pupil_tokenizer_free(&t);
    pupil_clip_free(&c);
    DROP(p, merges);
    return model;
}

static json_t *json_in(const char *folder, const char *name)
{
    char *path = pupil_join(folder, name);
    json_t *root = json_load_file(path, 0, NULL);
    CHECK(root, "%s is no JSON", path);
    pupil_free(&path);
    return root;
}

static void exported_models_go_together(void **state)
{
    (void)state;
    char *model = own_model(), *hf = pupil_join(dir, "hf"), *open_clip = pupil_join(dir, "open_clip"), *weights = pupil_join(model, "model.safetensors");
    program p;
    for (int twice = 0; twice < 2; twice++) {
        RUN(&p, dir, "model", "export", model, "--format", "huggingface", "--out", hf);
        CHECK(p.code == 0, "%s", p.err);
        program_free(&p);
    }
    RUN(&p, dir, "model", "export", hf, "--format", "open_clip", "--out", open_clip, "--dtype", "f32");
    CHECK(p.code == 0, "%s", p.err);
    program_free(&p);
    json_t *config = json_in(hf, "config.json"), *vocab = json_in(hf, "vocab.json"), *tokenizer = json_in(hf, "tokenizer_config.json"),
           *specials = json_in(hf, "special_tokens_map.json"), *text = json_object_get(config, "text_config");
    const char *end = json_string_value(json_object_get(specials, "eos_token"));
    assert_string_equal(end, "<|endoftext|>");
    assert_int_equal(json_integer_value(json_object_get(vocab, end)), json_integer_value(json_object_get(text, "eos_token_id")));
    assert_int_equal(json_object_size(vocab), json_integer_value(json_object_get(text, "vocab_size")));
    assert_int_equal(json_integer_value(json_object_get(vocab, "<|startoftext|>")), json_integer_value(json_object_get(text, "bos_token_id")));
    assert_int_equal(json_integer_value(json_object_get(tokenizer, "model_max_length")), 20);
    const char *const folders[] = {model, hf, open_clip};
    char *said = NULL;
    for (int i = 0; i < 3; i++) {
        char *both = pupil_join(folders[i], "ids.txt");
        GOOD(pupil_write_file(both, "a red circle\n", 13));
        RUN(&p, dir, "tokenize", "--model", folders[i], both);
        CHECK(p.code == 0, "%s", p.err);
        if (!said) said = pupil_strdup(p.out);
        assert_string_equal(p.out, said);
        program_free(&p);
        pupil_free(&both);
    }
    RUN(&p, dir, "model", "inspect", open_clip);
    HOLDS(p.out, "CLIP in open_clip layout, F32");
    HOLDS(p.out, "CLIP BPE");
    program_free(&p);
    RUN(&p, dir, "model", "inspect", weights); /* a file of the folder will do */
    HOLDS(p.out, "CLIP in open_clip layout, F32");
    program_free(&p);
    json_decref(config), json_decref(vocab), json_decref(tokenizer), json_decref(specials);
    DROP(model, hf, open_clip, weights, said);
}

static void exports_that_are_refused(void **state)
{
    (void)state;
    char *model = own_model(), *slash = pupil_format("%s/.", model), *out = pupil_join(dir, "nothing"), *merges = pupil_join(model, "merges.txt");
    const char *const cases[][2] = {{"huggingface", slash}, {"onnx", out}};
    static const char *const names[] = {"the model's own folder", "--format onnx: huggingface or open_clip was expected"};
    program p;
    for (int i = 0; i < 2; i++) {
        RUN(&p, dir, "model", "export", model, "--format", cases[i][0], "--out", cases[i][1]);
        assert_int_equal(p.code, 2);
        HOLDS(p.err, names[i]);
        program_free(&p);
    }
    GOOD(pupil_write_file(merges, "#version: 0.2\na b\n", 18)); /* another model's */
    RUN(&p, dir, "model", "export", model, "--format", "huggingface", "--out", out);
    assert_int_equal(p.code, 2);
    HOLDS(p.err, "its tokenizer has 515 ids");
    assert_false(pupil_exists(out));
    program_free(&p);
    DROP(model, slash, out, merges);
}

/* The environment of tests names a kernel; without it the program must find the right one by itself, once. */
static void the_kernel_this_cpu_deserves(void **state)
{
    (void)state;
    char *kernel = getenv("OPENBLAS_CORETYPE") ? pupil_strdup(getenv("OPENBLAS_CORETYPE")) : NULL;
    program p;
    unsetenv("OPENBLAS_CORETYPE");
    RUN(&p, dir, "version");
    bool picks_badly = strstr(p.out, "switch to") != NULL;
    program_free(&p);
    RUN(&p, dir, "embed", "--model", "/nowhere", "--tensors", "x", "--out", "y");
    CHECK(p.code == 1 || p.code == 2, "exit code %d", p.code);
    if (picks_badly) {
        HOLDS(p.err, "restarting once with OPENBLAS_CORETYPE=");
        assert_int_equal(lines_of(p.err), 2);
    } else {
        LACKS(p.err, "restarting");
    }
    program_free(&p);
    static const char *const settled[][2] = {
        {"OPENBLAS_CORETYPE", "Haswell"}, {"PUPIL_RESTARTED", "1"}, {"OMPI_COMM_WORLD_RANK", "3"}};
    for (int i = 0; i < PUPIL_COUNT(settled);
         i++) { /* a choice that was made, a restart that was, a rank that is not the first */
        setenv(settled[i][0], settled[i][1], 1);
        RUN(&p, dir, "embed", "--model", "/nowhere", "--tensors", "x", "--out", "y");
        LACKS(p.err, "restarting");
        unsetenv(settled[i][0]);
        program_free(&p);
    }
    if (kernel) setenv("OPENBLAS_CORETYPE", kernel, 1);
    pupil_free(&kernel);
}

static void scenes_can_be_written_and_looked_at(void **state)
{
    (void)state;
    char *out = pupil_join(dir, "scenes"), *tar = pupil_join(out, "train-000000.tar"),
         *conf = pupil_join(getenv("PUPIL_SOURCE"), "tests/role/tiny.yaml");
    char *pictures = pupil_join(dir, "pictures"), **names;
    int n;
    program p;
    RUN(&p, dir, "data", "scenes", "--out", out, "--train", "7", "--test", "3", "--size", "32");
    CHECK(p.code == 0, "%s", p.err);
    CHECK(pupil_exists(tar), "%s is missing", tar);
    program_free(&p);
    RUN(&p, dir, "data", "inspect", conf, "--split", "test", "--n", "2", "--out", pictures);
    CHECK(p.code == 0, "%s", p.err);
    HOLDS(p.out, "  caption   ");
    HOLDS(p.out, "  question  ");
    GOOD(pupil_list_dir(pictures, "", ".png", &names, &n));
    assert_int_equal(n, 2);
    pupil_names_free(&names, n);
    program_free(&p);
    char *yaml = pupil_format("run: {dir: %s/run}\ndata: {source: webdataset, train: %s, test: %s/test-000000.tar}\n", dir, tar, out),
         *file = pupil_join(dir, "tars.yaml");
    GOOD(pupil_write_file(file, yaml, strlen(yaml)));
    RUN(&p, dir, "data", "index", file);
    CHECK(p.code == 0, "%s", p.err);
    HOLDS(p.err, "indexed 2 tars in ");
    program_free(&p);
    RUN(&p, dir, "data", "index", file);
    HOLDS(p.err, "indexed 0 tars in ");
    program_free(&p);
    RUN(&p, dir, "data", "inspect", file, "--decode", "--n", "1");
    CHECK(p.code == 0, "%s", p.err);
    HOLDS(p.out, "7 training and 3 held-out samples");
    HOLDS(p.out, "captions a picture: ");
    HOLDS(p.err, "decoded 7 of 7");
    program_free(&p);
    RUN(&p, dir, "data", "index", conf);
    CHECK(p.code == 2, "%s", p.err);
    HOLDS(p.err, "only webdataset has tars to index");
    program_free(&p);
    DROP(yaml, file);
    DROP(out, tar, conf, pictures);
}

static void input_is_timed(void **state)
{
    (void)state;
    char *folder = pupil_join(dir, "to-be-timed");
    program p;
    RUN(&p, dir, "bench", "--help");
    bool built_in = p.code == 0;
    program_free(&p);
    if (!built_in) skip();
    GOOD(pupil_mkdirs(folder));
    RUN(&p, dir, "bench", "input", "--images", folder);
    CHECK(p.code == 2 && strstr(p.err, "no pictures in it"), "%s", p.err);
    program_free(&p);
    uint8_t grey[12] = {128, 128, 128, 9, 9, 9};
    for (int i = 0; i < 2; i++) {
        pupil_buf png = {0};
        GOOD(pupil_image_encode_png(&(pupil_image){2, 2, grey}, &png));
        char *path = pupil_format("%s/%d.png", folder, i);
        GOOD(pupil_write_file(path, png.s, png.len));
        pupil_buf_free(&png);
        pupil_free(&path);
    }
    RUN(&p, dir, "bench", "input", "--images", folder, "--size", "16", "--rounds", "2", "--json");
    json_t *o = json_loads(p.out, 0, NULL);
    CHECK(p.code == 0 && o, "%s%s", p.out, p.err);
    assert_int_equal(json_integer_value(json_object_get(o, "pictures")), 2);
    double ms = 0;
    static const char *const stage[] = {"decode_ms", "resize_ms", "normalize_ms"};
    for (int i = 0; i < 3; i++) ms += json_number_value(json_object_get(o, stage[i]));
    double rate = json_number_value(json_object_get(o, "pictures_per_second"));
    CHECK(fabs(rate * ms / 1e3 - 1) < 0.05, "%g a second, %g ms each", rate, ms);
    json_decref(o);
    program_free(&p);
    char *broken = write_text(folder, "2.png", "no picture");
    RUN(&p, dir, "bench", "input", "--images", folder);
    CHECK(p.code == 1 && strstr(p.err, "2.png: neither JPEG, PNG nor WebP"), "%s", p.err);
    program_free(&p);
    DROP(folder, broken);
}

/* It checks its own sums, so an answer is a right one. */
static void sums_are_timed(void **state)
{
    (void)state;
    program p;
    RUN(&p, dir, "bench", "--help");
    bool built_in = p.code == 0;
    program_free(&p);
    if (!built_in) skip();
    RUN(&p, dir, "bench", "allreduce", "--ranks", "2", "--kib", "64", "--rounds", "3", "--json");
    json_t *o = json_loads(p.out, 0, NULL);
    CHECK(p.code == 0 && o, "%s%s", p.out, p.err);
    assert_int_equal(json_integer_value(json_object_get(o, "ranks")), 2);
    assert_int_equal(json_integer_value(json_object_get(o, "bytes")), 65536);
    double ratio = json_number_value(json_object_get(o, "mpi_allreduce_ms")) / json_number_value(json_object_get(o, "node_ms"));
    CHECK(fabs(ratio / json_number_value(json_object_get(o, "node_over_mpi")) - 1) < 0.01, "%s", p.out);
    json_decref(o);
    program_free(&p);
    RUN(&p, dir, "bench", "allreduce", "--ranks", "3", "--kib", "64", "--rounds", "1");
    CHECK(p.code == 2 && strstr(p.err, "3 ranks, expected a power of two"), "%d %s", p.code, p.err);
    program_free(&p);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokenize_gives_the_reference_ids),
        cmocka_unit_test(preprocess_gives_the_towers_pixels),
        cmocka_unit_test(embed_gives_the_reference_features),
        cmocka_unit_test(embed_reads_pictures_and_texts),
        cmocka_unit_test(inspect_counts_what_is_there),
        cmocka_unit_test(exported_models_go_together),
        cmocka_unit_test(exports_that_are_refused),
        cmocka_unit_test(the_kernel_this_cpu_deserves),
        cmocka_unit_test(scenes_can_be_written_and_looked_at),
        cmocka_unit_test(input_is_timed),
        cmocka_unit_test(sums_are_timed),
    };
    dir = folder_new();
    int r = cmocka_run_group_tests(tests, NULL, NULL);
    folder_end(&dir);
    return r;
}
