/* What is accepted: values, defaults, overrides; that what is printed reads back as the same settings; what
 * may change between runs; the reference page; and that hostile text is refused without harm. */
#include "schema.h"

#include "../proof.h"

#define BASE "run: {dir: r}\nstudent.model.name: ViT-T-16\n"
#define DISTILS "teacher.dir: t\ncache.dir: c\n"

static pupil_conf *parse(const char *text, const char *set)
{
    pupil_conf *c = NULL;
    pupil_buf e = {0};
    if (pupil_conf_parse("f.yaml", text, &set, set ? 1 : 0, &c, &e) < 0)
        fail_msg("refused:\n%s%s", text, e.s);
    assert_null(e.s);
    return c;
}

static bool refused(const char *text, const char *set)
{
    pupil_conf *c = NULL;
    pupil_buf e = {0};
    int r = pupil_conf_parse("f.yaml", text, &set, set ? 1 : 0, &c, &e);
    assert_true(r < 0 ? e.len > 0 && e.s[e.len - 1] == '\n' && !c : e.len == 0);
    pupil_conf_free(&c);
    pupil_buf_free(&e);
    return r < 0;
}

/* ---- values ------------------------------------------------------------------------------------- */
static void defaults(void **state)
{
    (void)state;
    pupil_conf *c = parse(BASE, NULL);
    assert_string_equal(c->file, "f.yaml");
    assert_string_equal(c->run.dir, "r");
    assert_int_equal(c->run.mode, PUPIL_MODE_SPLIT);
    assert_int_equal(c->ranks.total, 0);
    assert_int_equal(c->student.model.act, PUPIL_ACT_PRESET);
    assert_int_equal(c->student.model.embed_dim, 0);
    assert_true(c->student.train.beta2 == 0.98 && c->student.train.eps == 1e-6);
    assert_null(c->teacher.dir);
    assert_false(c->teacher.train_here || c->data.skip_bad);
    assert_true(c->eval.vqa && c->eval.retrieval);
    assert_true(c->loss.task.weight == 1 && c->loss.fd.weight == 0);
    pupil_conf_free(&c);
}

static void short_and_long_forms(void **state)
{
    (void)state;
    pupil_conf *c =
        parse(BASE "teacher: {dir: t, train: {}, model: {name: ViT-B-16}}\ncache: {dir: c}\n"
                   "eval: {vqa: off, retrieval: {enable: True}}\n"
                   "loss:\n  task: .5\n  crd: 1e0\n  icl: {weight: 1, variant: as-released}\n"
                   "  fd: {weight: 2000, reduce: sum}\ndata: {on_error: skip}\nranks.total: auto\n",
              NULL);
    assert_true(c->teacher.train_here && c->data.skip_bad);
    assert_true(!c->eval.vqa && c->eval.retrieval);
    assert_true(c->loss.task.weight == 0.5 && c->loss.crd.weight == 1 && c->loss.icl.weight == 1 && c->loss.fd.weight == 2000);
    assert_int_equal(c->loss.icl.variant, PUPIL_VARIANT_AS_RELEASED);
    assert_int_equal(c->loss.fd.reduce, PUPIL_FD_SUM);
    assert_int_equal(c->ranks.total, 0);
    pupil_conf_free(&c);
}

static void anchors(void **state)
{
    (void)state;
    pupil_conf *c = parse("run: {dir: r}\nteacher:\n  model: &size {name: ViT-S-16, act: quick_gelu}\n"
                          "student:\n  model: *size\n",
                          NULL);
    assert_string_equal(c->student.model.name, "ViT-S-16");
    assert_int_equal(c->student.model.act, PUPIL_ACT_QUICK_GELU);
    pupil_conf_free(&c);
    assert_true(refused("run: &a {dir: r, data: *a}\n", NULL));
}

static void overrides(void **state)
{
    (void)state;
    pupil_conf *c = parse(BASE "student.train.lr: 1\n", "student.train.lr=5e-4");
    assert_true(c->student.train.lr == 5e-4);
    pupil_conf_free(&c);
    c = parse(BASE "loss: {task: 1}\n", "loss.task=3");
    assert_true(c->loss.task.weight == 3);
    pupil_conf_free(&c);
    c = parse(BASE, "student.train={steps: 7, warmup: 2}");
    assert_int_equal(c->student.train.steps, 7);
    assert_int_equal(c->student.train.warmup, 2);
    pupil_conf_free(&c);
    c = parse(BASE "data: {source: webdataset, test: [t.tar], train: x}\n",
              "data.train=[a.tar, 'b-{0..3}.tar', c, d, e]");
    assert_int_equal(c->data.train.n, 5);
    assert_string_equal(c->data.train.item[1], "b-{0..3}.tar");
    assert_string_equal(c->data.train.item[4], "e");
    pupil_conf_free(&c);
    c = parse(BASE "cache.dir: c\n", "cache.dir=null");
    assert_null(c->cache.dir);
    pupil_conf_free(&c);
}

/* ---- what is printed reads back ----------------------------------------------------------------- */
static void same_strings(const char *key, const char *a, const char *b)
{
    if (a && b) assert_string_equal(a, b);
    else CHECK(!a && !b, "%s: set on one side only", key);
}

static void same_value(const field *f, const pupil_conf *a, const pupil_conf *b)
{
    const void *x = (const char *)a + f->at, *y = (const char *)b + f->at;
    if (f->type == TYPE_STRING) {
        same_strings(f->key, *(char *const *)x, *(char *const *)y);
    } else if (f->type == TYPE_STRINGS) {
        const pupil_strings *p = x, *q = y;
        assert_int_equal(p->n, q->n);
        for (int i = 0; i < p->n; i++) same_strings(f->key, p->item[i], q->item[i]);
    } else {
        CHECK(!memcmp(x, y, f->size), "%s changed", f->key);
    }
}

static void round_trip_of(const char *text, const char *set)
{
    pupil_conf *a = parse(text, set);
    pupil_buf first = {0}, second = {0};
    pupil_conf_print(a, &first);
    pupil_conf *b = parse(first.s, NULL);
    for (int i = 0; i < schema_n; i++) same_value(&schema[i], a, b);
    assert_true(a->teacher.train_here == b->teacher.train_here);
    pupil_conf_print(b, &second);
    assert_string_equal(first.s, second.s);
    assert_int_equal(pupil_conf_diff(a, b, &second), 0);
    pupil_buf_free(&first);
    pupil_buf_free(&second);
    pupil_conf_free(&a);
    pupil_conf_free(&b);
}

static void round_trip(void **state)
{
    (void)state;
    round_trip_of(BASE, NULL);
    round_trip_of(
        BASE
        "tokenizer: {merges: 'null'}\ncache: {dir: \"a: b # 'c' \\\" \\\\ \\t \\n \\u00e9 \\U0001f600\"}\n",
        NULL);
    round_trip_of(BASE "cache: {dir: \"\\x01 \\x7f \\x80 \\N \\_ \\L \\P \\uFEFF \\uFFFD\"}\n", NULL);
    round_trip_of(
        BASE "data: {source: webdataset, train: ['x, y.tar', '[', '~', \"\\n\"], test: a, on_error: skip}\n",
        NULL);
    round_trip_of(BASE "data: {source: csv, train: a, test: b, images: [x, y], csv: {separator: tab, image_key: p}}\n",
                  NULL);
    round_trip_of(BASE "data: {source: coco, train: k, test: k, coco: {split_test: [val, test]}, vqa_train: {questions: "
                       "q, format: gqa}, vqa_test: {questions: r, annotations: s}}\n",
                  NULL);
    round_trip_of(BASE "data: {source: folder, train: a, test: b, class_names: n, class_template: '{class}'}\n", NULL);
    round_trip_of(
        BASE
        "student: {model: {act: quick_gelu}, train: {lr: 1.2345678901234567e-05, seed: 999999999999999}}\n",
        NULL);
    round_trip_of(BASE "data: {view: {flip: true, seed: 3}}\n", NULL);
    round_trip_of(BASE "data: {view: {name: random_resized_crop, scale_min: 0.3, ratio_max: 2}}\n", NULL);
    round_trip_of(BASE "teacher: {dir: t, weight: 2}\ncache: {dir: c}\nmore_teachers: [{dir: t, cache: c2, weight: 0.5}, {cache: c3}]\n", NULL);
    round_trip_of(BASE "teacher: {train: {steps: 7}, model: {name: ViT-L-14}}\n", "run.mode=chained");
}

/* Every number at its bounds, every word of a choice. */
static void round_trip_of_each_value(void **state)
{
    (void)state;
    pupil_conf *a = pupil_alloc(sizeof *a), *b = pupil_alloc(sizeof *b);
    int n = 0;
    for (int i = 0; i < schema_n; i++) {
        const field *f = &schema[i];
        char word[4][64] = {"", "", "", ""};
        if (f->type == TYPE_INT) snprintf(word[0], 64, "%.0f", f->min), snprintf(word[1], 64, "%.0f", f->max);
        if (f->type == TYPE_FLOAT)
            snprintf(word[0], 64, "%.17g", f->min), snprintf(word[1], 64, "%.17g", f->max);
        if (f->type == TYPE_BOOL) strcpy(word[0], "true"), strcpy(word[1], "false");
        if (f->type == TYPE_ENUM)
            sscanf(f->choices, "%63s %63s %63s %63s", word[0], word[1], word[2], word[3]);
        for (int k = 0; k < 4 && word[k][0]; k++, n++) {
            CHECK(field_store(f, word[k], false, a), "%s refuses %s", f->key, word[k]);
            pupil_buf out = {0};
            field_print(f, a, &out);
            CHECK(field_store(f, out.s, false, b), "%s refuses its own %s", f->key, out.s);
            same_value(f, a, b);
            pupil_buf_free(&out);
        }
    }
    assert_in_range(n, 400, 800);
    DROP(a, b);
}

static void sections(void **state)
{
    (void)state;
    pupil_conf *c = parse(BASE, NULL);
    pupil_buf out = {0};
    pupil_conf_print_section(c, "tokenizer", &out);
    assert_string_equal(out.s, "tokenizer:\n  merges: null\n  vocab_size: 1024\n");
    pupil_buf_free(&out);
    pupil_conf_free(&c);
    c = parse(BASE DISTILS "loss: {fd: 3}\n", NULL);
    pupil_conf_print_section(c, "loss", &out);
    assert_string_equal(out.s, "loss:\n  captions: 1\n  heads: normalised\n  task:\n    weight: 1\n  fd:\n    weight: 3\n    reduce: mean\n    sides: both\n");
    pupil_buf_free(&out);
    pupil_conf_free(&c);
}

/* ---- presets of the loss ------------------------------------------------------------------------ */
static void presets_expand(void **state)
{
    (void)state;
    pupil_conf *c = parse(BASE DISTILS "loss: {preset: clip-kd}\n", NULL);
    const pupil_conf_loss *l = &c->loss;
    assert_true(l->task.weight == 1 && l->crd.weight == 1 && l->icl.weight == 1 && l->fd.weight == 2000 && l->affinity.weight == 0);
    assert_int_equal(l->icl.variant, PUPIL_VARIANT_PUBLISHED);
    pupil_conf_free(&c);
    c = parse(BASE DISTILS "loss: {fd: {weight: 5, reduce: sum}, preset: nano-clip, variant: as-released, icl: 0}\n", "loss.crd=3");
    l = &c->loss; /* what is given stands above it, wherever it is given */
    assert_true(l->fd.weight == 5 && l->fd.reduce == PUPIL_FD_SUM && l->icl.weight == 0 && l->crd.weight == 3 && l->task.weight == 1);
    assert_true(l->crd.reversed && l->plain_heads && l->icl.variant == PUPIL_VARIANT_AS_RELEASED);
    pupil_conf_free(&c);
    c = parse(BASE DISTILS "loss: {crd: 2}\n", "loss.preset=tinyclip");
    l = &c->loss; /* TinyCLIP has no task loss */
    assert_true(l->task.weight == 0 && l->affinity.weight == 1 && l->affinity.scale == 50 && l->crd.weight == 2);
    pupil_conf_free(&c);
}

/* Every name is in the table, asks for some term, and its terms alone read back as the same settings. */
static void presets_read_back(void **state)
{
    (void)state;
    char names[] = LOSS_PRESETS, *save = NULL;
    pupil_buf page = {0};
    pupil_conf_presets(&page);
    for (char *name = strtok_r(names, " ", &save); name; name = strtok_r(NULL, " ", &save))
        for (int v = 0; v < 2; v++) {
            char *text = pupil_format(BASE DISTILS "loss: {preset: %s, variant: %s}\n", name, v ? "as-released" : "published"), *row = pupil_format("  %s ", name);
            pupil_conf *c = parse(text, NULL), *d;
            pupil_buf a = {0}, b = {0};
            pupil_conf_print(c, &a);
            assert_null(strstr(a.s, "preset"));
            d = parse(a.s, NULL);
            pupil_conf_print(d, &b);
            assert_string_equal(a.s, b.s);
            CHECK(strstr(page.s, row), "no row for %s", name);
            pupil_buf_free(&a), pupil_buf_free(&b);
            pupil_conf_free(&c), pupil_conf_free(&d);
            DROP(text, row);
        }
    pupil_buf_free(&page);
}

/* ---- between runs ------------------------------------------------------------------------------- */
static void expect_diff(const char *set, const char *want)
{
    pupil_conf *a = parse(BASE, NULL), *b = parse(BASE, set);
    pupil_buf out = {0};
    assert_int_equal(pupil_conf_diff(a, b, &out), want ? 1 : 0);
    if (want) assert_string_equal(out.s, want);
    else assert_null(out.s);
    pupil_buf_free(&out);
    pupil_conf_free(&a);
    pupil_conf_free(&b);
}

static void what_may_change(void **state)
{
    (void)state;
    static const char *const may[] = {
        "run.dir=other",          "run.mode=chained",   "run.checkpoint_seconds=5", "run.checkpoint_steps=5",
        "run.keep_checkpoints=5", "run.trace_steps=3", "ranks.bucket_kib=0", "ranks.total=4",      "ranks.teacher=1",          "ranks.threads=2",
        "ranks.timeout=9",        "cache.high_water=3", "cache.segment_blocks=9",   "eval.vqa.hidden=7",
        "eval.retrieval=off",     "cache.dir=c",        "slurm.nodes=2-4"};
    for (int i = 0; i < PUPIL_COUNT(may); i++) expect_diff(may[i], NULL);
    expect_diff("student.train.lr=2e-3", "student.train.lr: 0.001 -> 0.002");
    expect_diff("cache.dtype=f32", "cache.dtype: f16 -> f32");
    expect_diff("teacher.dir=c", "teacher.dir: null -> \"c\"");
    expect_diff("data.on_error=skip", "data.on_error: stop -> skip");
}

/* ---- the reference page ------------------------------------------------------------------------- */
static void help_names_every_key(void **state)
{
    (void)state;
    pupil_buf help = {0};
    pupil_conf_help(&help);
    for (int i = 0; i < schema_n; i++) {
        if (schema_item(schema[i].key) > 0) continue; /* the first one speaks for all */
        char *line = pupil_format("\n  %s%s: ", schema[i].key, schema[i].flags & FREE ? "*" : ""),
             *at = strstr(help.s, line);
        CHECK(at && !strstr(at + 1, line), "`pupil help config` must name %s once", schema[i].key);
        pupil_free(&line);
    }
    for (char *p = help.s, *end; (end = strchr(p, '\n')); p = end + 1)
        CHECK(end - p <= 120, "a line of %td columns: %.*s", end - p, (int)(end - p), p);
    pupil_buf_free(&help);
}

static void table_is_sound(void **state)
{
    (void)state;
    for (int i = 0; i < schema_n; i++) {
        const field *f = &schema[i];
        for (int k = 0; k < i; k++)
            CHECK(schema[k].at + schema[k].size <= f->at || schema[k].at >= f->at + f->size,
                  "%s and %s share memory", schema[k].key, f->key);
        assert_int_equal(schema_find(f->key), i);
        assert_false(schema_is_section(f->key));
        CHECK(strchr(f->key, '.') && strlen(f->key) < 60, "%s: a key has a section", f->key);
        CHECK(strlen(f->doc) > 10 && f->doc[strlen(f->doc) - 1] != '.', "%s: the sentence \"%s\"", f->key,
              f->doc);
    }
}

/* ---- hostile text ------------------------------------------------------------------------------- */
static void mutations(void **state)
{
    (void)state;
    char *name = pupil_join(getenv("PUPIL_SOURCE"), "conf/quickstart.yaml"), *text;
    size_t n;
    GOOD(pupil_read_file(name, 0, &text, &n));
    char *copy = pupil_alloc(n + 1);
    int bad = 0;
    for (uint64_t i = 0; i < 1000; i++) {
        pupil_rng r = pupil_rng_at(1, PUPIL_STREAM_TEST, i);
        memcpy(copy, text, n + 1);
        for (uint64_t k = pupil_rng_below(&r, 4) + 1; k > 0; k--)
            copy[pupil_rng_below(&r, n)] = (char)(1 + pupil_rng_below(&r, 255));
        if (i % 3 == 0) copy[pupil_rng_below(&r, n)] = 0;
        bad += refused(copy, NULL);
    }
    assert_in_range(bad, 200, 999);
    DROP(copy, text, name);
}

static void depth(void **state)
{
    (void)state;
    static const char *const unit[] = {"{run: ", "[", "- ", "? "};
    for (int k = 0; k < PUPIL_COUNT(unit); k++) {
        pupil_buf deep = {0};
        for (int i = 0; i < 3000; i++) pupil_buf_puts(&deep, unit[k]);
        assert_true(refused(deep.s, NULL));
        pupil_buf_free(&deep);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),
        cmocka_unit_test(short_and_long_forms),
        cmocka_unit_test(anchors),
        cmocka_unit_test(overrides),
        cmocka_unit_test(round_trip),
        cmocka_unit_test(round_trip_of_each_value),
        cmocka_unit_test(sections),
        cmocka_unit_test(presets_expand),
        cmocka_unit_test(presets_read_back),
        cmocka_unit_test(what_may_change),
        cmocka_unit_test(help_names_every_key),
        cmocka_unit_test(table_is_sound),
        cmocka_unit_test(mutations),
        cmocka_unit_test(depth),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
