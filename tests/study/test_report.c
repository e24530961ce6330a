/* test_report.c: the page and the tables of a made-up run: well-formed, escaped, right to the digit, and still made
 * when gnuplot or inputs are missing; nonsense is refused with file and place. */
#include "fake_run.h"

#include <sys/stat.h>

#include "../../src/study/report.h"

enum { STEPS = 300, SAMPLES = 6 };

static char *slurp(const char *dir, const char *name)
{
    char *path = pupil_join(dir, name), *text[1];
    GOOD(pupil_read_file(path, 0, text, NULL));
    pupil_free(&path);
    return text[0];
}

static int count_of(const char *text, const char *what)
{
    int n = 0;
    for (const char *at = text; (at = strstr(at, what)); at += strlen(what)) n++;
    return n;
}

static void has(const char *text, const char *what) { CHECK(strstr(text, what), "the page lacks: %s", what); }
static void lacks(const char *text, const char *what) { CHECK(!strstr(text, what), "the page has: %s", what); }

/* ---- well-formedness ------------------------------------------------------------------------------ */
static bool is_void(const char *name, size_t n)
{
    static const char *const names[] = {"meta", "img", "br"};
    for (int k = 0; k < PUPIL_COUNT(names); k++)
        if (strlen(names[k]) == n && memcmp(name, names[k], n) == 0) return true;
    return false;
}

/* Every tag is closed in its order, every '<' begins a tag, every '&' an entity, ids are unique. */
static void check_balance(const char *text)
{
    struct {
        const char *name;
        size_t n;
    } open[64];
    int depth = 0;
    CHECK(strncmp(text, "<!DOCTYPE html>", 15) == 0, "no doctype");
    for (const char *c = text + 15; *c; c++) {
        if (*c == '&') CHECK(strcspn(c, ";") < 9, "a bare & at: %.40s", c);
        if (*c != '<') continue;
        bool closes = c[1] == '/';
        const char *name = c + 1 + closes, *end = strchr(c, '>');
        size_t n = strcspn(name, " >/\n\t");
        CHECK(end && n > 0 && n < 20, "not a tag: %.40s", c);
        if (closes) {
            CHECK(depth > 0, "nothing is open at %.40s", c);
            depth--;
            CHECK(open[depth].n == n && memcmp(open[depth].name, name, n) == 0, "<%.*s> is closed by %.40s", (int)open[depth].n,
                  open[depth].name, c);
        } else if (!is_void(name, n) && end[-1] != '/') {
            CHECK(depth < 64, "too deep");
            open[depth].name = name, open[depth++].n = n;
        }
        c = n == 5 && !closes && memcmp(name, "style", 5) == 0 ? strstr(c, "</style>") - 1 : end;
    }
    CHECK(depth == 0, "%d tags stay open", depth);
}

/* ---- the whole page ------------------------------------------------------------------------------- */
static bool gnuplot_here(void)
{
    bool here = system("gnuplot --version >/dev/null 2>&1") == 0;
    if (!here) print_message("gnuplot is not here: its plots are not looked at\n");
    return here;
}

static void test_page(void **state)
{
    char *dir = folder_new();
    fake_run(dir, STEPS, SAMPLES);
    GOOD(pupil_report_write(dir));
    char *page = slurp(dir, "report.html");
    check_balance(page);
    has(page, "71.3<small>%</small>");
    has(page, "2,000 held-out questions");
    has(page, "16.4 points above");
    has(page, "<b>90&nbsp;%</b> of the teacher");
    has(page, "+43.7");                                  /* what the picture adds for colour */
    has(page, "class=\"gap\">-0.8");                     /* and where it does not */
    has(page, "more &lt;or&gt; fewer");
    has(page, "pixel nearest neighbour");
    has(page, "patch_size: 8");
    has(page, "a comment with &lt;tags&gt; &amp; ampersands");
    has(page, "60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752");
    assert_int_equal(count_of(page, "data:image/png;base64,iVBOR"), SAMPLES);
    assert_int_equal(count_of(page, "&nbsp;right"), 3 + 4); /* student, teacher */
    assert_int_equal(count_of(page, "&nbsp;wrong"), 2 + 1);
    assert_int_equal(count_of(page, "&nbsp;partly"), 1 + 1);
    lacks(page, "<script");
    lacks(page, "http://");
    lacks(page, "https://");
    if (gnuplot_here()) {
        assert_int_equal(count_of(page, "<svg"), 4 + 3 + 3 + 3); /* loss, optimiser, speed, teacher */
        has(page, "stroke='var(--accent)'");
        has(page, "2 to 4 ranks");
        lacks(page, "rgb(  1,   1,");
        lacks(page, "gnuplot_canvas");
        lacks(page, "The curves are not drawn");
    }
    pupil_free(&page);
    folder_end(&dir);
}

/* ---- tables --------------------------------------------------------------------------------------- */
static void test_tables(void **state)
{
    char *dir = folder_new();
    fake_run(dir, STEPS, SAMPLES);
    GOOD(pupil_report_write(dir));
    char *vqa = slurp(dir, "tables/vqa.csv"), *retrieval = slurp(dir, "tables/retrieval.csv");
    char *loss = slurp(dir, "tables/loss.csv"), *speed = slurp(dir, "tables/throughput.csv");
    has(vqa, "model,by,name,n,accuracy\nstudent,overall,,2000,71.32\n");
    has(vqa, "\nteacher,question_type,more <or> fewer,372,74.5\n");
    assert_int_equal(count_of(vqa, "\n"), 1 + 5 * (1 + 3 + 8));
    char *scores = slurp(dir, "tables/scores.csv"), *page = slurp(dir, "report.html");
    has(scores, "model,protocol,metric,n,value,low,high\nstudent,zero_shot,top1,2500,61.5,59.5,63.25\nteacher <b>,zero_shot,top1,2500,75,,\n");
    has(page, "<h3>zero_shot</h3>\n<p class=\"note\">n = 2,500</p>");
    has(page, "<th>model</th><th>top1</th><th>top5</th></tr></thead>\n<tbody>\n<tr class=\"student\"><th scope=\"row\">student</th>"
              "<td>61.5<br><small>59.5 to 63.2</small></td><td>90.0<br><small>88.0 to 92.0</small></td></tr>\n"
              "<tr class=\"\"><th scope=\"row\">teacher &lt;b&gt;</th><td>75.0</td><td>&ndash;</td></tr>");
    has(page, "<th>cka image</th></tr></thead>\n<tbody>\n<tr class=\"student\"><th scope=\"row\">student</th><td>0.812</td></tr>");
    has(retrieval, "\nteacher,text_to_image,1000,0.331,0.548,0.695,22.9,4\n");
    has(retrieval, "\npixel nearest neighbour,image_to_text,1000,0.031,,,,\n");
    assert_int_equal(count_of(retrieval, "\n"), 1 + 2 + 2 + 1);
    assert_ptr_equal(strstr(loss, "step,epoch,loss,terms.task,terms.crd,terms.fd,lr,grad_norm,logit_scale\n1,0,"), loss);
    assert_int_equal(count_of(loss, "\n"), 1 + STEPS);
    assert_ptr_equal(strstr(speed, "step,pairs_per_s,ranks,seconds.data,seconds.forward,"), speed);
    assert_int_equal(count_of(speed, "\n"), 1 + STEPS);

    double value, norm;
    const char *row = strstr(loss, "\n150,"); /* its gradient norm was null */
    assert_int_equal(sscanf(row, "\n150,%*g,%lg,%*g,%*g,%*g,%*g,%lg", &value, &norm), 1);
    assert_int_equal(sscanf(strstr(loss, "\n151,"), "\n151,%*g,%*g,%*g,%*g,%*g,%*g,%lg", &norm), 1);
    report r;
    GOOD(report_read(&r, dir));
    assert_true(value == series_get(&r.student, "loss")[149]); /* read back equal */
    assert_true(norm == series_get(&r.student, "grad_norm")[150]);
    report_free(&r);
    DROP(vqa, retrieval, loss, speed, scores, page);
    folder_end(&dir);
}

/* ---- without gnuplot ------------------------------------------------------------------------------ */
/* PATH with one folder that holds a program called gnuplot, or nothing when `script` is NULL. */
static char *path_with(const char *script, char **ret_before)
{
    char *bin = folder_new();
    *ret_before = pupil_strdup(getenv("PATH"));
    if (script) {
        char *file = pupil_join(bin, "gnuplot");
        put_file(bin, "gnuplot", script);
        chmod(file, 0755);
        pupil_free(&file);
    }
    setenv("PATH", bin, 1);
    return bin;
}

static void path_back(char **bin, char **before)
{
    setenv("PATH", *before, 1);
    pupil_free(before);
    folder_end(bin);
}

static void expect_no_curves(const char *script, const char *line)
{
    char *dir = folder_new(), *before, *bin = path_with(script, &before);
    fake_run(dir, 40, 1);
    pupil_log_set_level(PUPIL_LOG_ERROR);
    GOOD(pupil_report_write(dir));
    char *page = slurp(dir, "report.html");
    check_balance(page);
    lacks(page, "<svg");
    has(page, line);
    has(page, "71.3<small>");
    pupil_free(&page);
    path_back(&bin, &before);
    folder_end(&dir);
}

static void test_without_gnuplot(void **state)
{
    expect_no_curves(NULL, "The curves are not drawn: gnuplot was not found on PATH.");
    expect_no_curves("#!/bin/sh\necho 'no <such> terminal' >&2\nexit 3\n", "gnuplot ended with status 3: no &lt;such&gt; terminal.");
}

static void test_gnuplot_that_hangs(void **state)
{
    char *before, *bin = path_with("#!/bin/sh\nexec /bin/sleep 60\n", &before);
    plotter p;
    GOOD(plotter_begin(&p));
    plotter_new(&p, 100, 100);
    double began = pupil_now();
    BAD(plotter_run(&p, 0.2), PUPIL_EIO, "took more than 0.2 s");
    assert_true(pupil_now() - began < 10);
    plotter_end(&p);
    path_back(&bin, &before);
}

/* ---- missing pieces ------------------------------------------------------------------------------- */
static void drop_file(const char *dir, const char *name)
{
    char *path = pupil_join(dir, name);
    unlink(path);
    pupil_free(&path);
}

static void test_missing_inputs(void **state)
{
    static const struct {
        const char *file, *line;
    } part[] = {{"eval.json", "eval.json is not there"}, {"metrics.jsonl", "metrics.jsonl is not there"},
                {"resolved.yaml", "resolved.yaml is not there"}, {"run.json", "run.json is not there"}};
    char *dir = folder_new(), *before, *bin = path_with(NULL, &before);
    pupil_log_set_level(PUPIL_LOG_ERROR);
    for (int k = 0; k < PUPIL_COUNT(part); k++) {
        fake_run(dir, 40, 1);
        drop_file(dir, part[k].file);
        GOOD(pupil_report_write(dir));
        char *page = slurp(dir, "report.html");
        check_balance(page);
        has(page, part[k].line);
        pupil_free(&page);
    }
    fake_run(dir, 40, 1);
    for (int k = 0; k < PUPIL_COUNT(part); k++) drop_file(dir, part[k].file);
    BAD(pupil_report_write(dir), PUPIL_ENOTFOUND, "is no run directory");
    put_file(dir, "eval.json", "{}");
    GOOD(pupil_report_write(dir));
    put_file(dir, "eval.json", "{\"vqa\": {\"models\": [{\"name\": \"student\"}, {}]}, \"retrieval\": {\"models\": [{}]}, \"samples\": [{}]}");
    GOOD(pupil_report_write(dir));
    char *page = slurp(dir, "report.html");
    check_balance(page);
    lacks(page, ">nan<");
    pupil_free(&page);
    path_back(&bin, &before);
    folder_end(&dir);
}

static void test_torn_last_line(void **state)
{
    char *dir = folder_new();
    fake_metrics(dir, "metrics.jsonl", 50, false);
    char *text = slurp(dir, "metrics.jsonl");
    text[strlen(text) - 30] = 0;
    put_file(dir, "metrics.jsonl", text);
    report r;
    GOOD(report_read(&r, dir));
    assert_int_equal(r.student.rows, 49);
    assert_true(series_get(&r.student, "step")[48] == 49);
    report_free(&r);
    pupil_free(&text);
    folder_end(&dir);
}

/* ---- nonsense ------------------------------------------------------------------------------------- */
static void refuse(const char *dir, const char *file, const char *text, const char *where)
{
    put_file(dir, file, text);
    BAD(pupil_report_write(dir), PUPIL_EFORMAT, where);
    drop_file(dir, file);
}

static void test_nonsense(void **state)
{
    char *dir = folder_new();
    put_file(dir, "resolved.yaml", fake_yaml);
    refuse(dir, "eval.json", "{\"vqa\":\n {\"n\": 3,}}", "eval.json:2:");
    refuse(dir, "eval.json", "[1]", "eval.json: : an object was expected, this is an array");
    refuse(dir, "eval.json", "{\"vqa\": {\"models\": [{\"name\": \"a\"}, {\"overall\": 720}]}}", "vqa.models[1].overall: 720 is not within 0 to 100");
    refuse(dir, "eval.json", "{\"vqa\": {\"models\": [{\"overall\": \"high\"}]}}", "vqa.models[0].overall: a number was expected, this is a string");
    refuse(dir, "eval.json", "{\"vqa\": {\"models\": [{\"question_type\": {\"count\": 7}}]}}", "vqa.models[0].question_type.count");
    refuse(dir, "eval.json", "{\"samples\": [{\"answers\": [1]}]}", "samples[0].answers");
    refuse(dir, "eval.json", "{\"retrieval\": {\"models\": [{\"image_to_text\": {\"r1\": 2}}]}}", "retrieval.models[0]");
    refuse(dir, "run.json", "{\"phases\": [{\"name\": \"x\", \"seconds\": -1}]}", "phases[0].seconds");
    refuse(dir, "metrics.jsonl", "{\"step\":1}\n{\"step\":\n{\"step\":3}\n", "metrics.jsonl:2:");
    refuse(dir, "metrics.jsonl", "{\"step\":1}\n{\"loss\":2}\n", "metrics.jsonl:2: there is no number \"step\"");
    refuse(dir, "metrics.jsonl", "{\"step\":1,\"loss\":\"low\"}\n", "metrics.jsonl:1: loss: a number");
    pupil_buf b = {0};
    pupil_buf_puts(&b, "{\"step\":1");
    for (int k = 0; k < 100; k++) pupil_buf_printf(&b, ",\"k%d\":1", k);
    pupil_buf_puts(&b, "}\n");
    refuse(dir, "metrics.jsonl", b.s, "more than 64 different keys");
    char *page = pupil_join(dir, "report.html");
    assert_false(pupil_exists(page));
    pupil_free(&page);
    pupil_buf_free(&b);
    folder_end(&dir);
}

/* Only PNG files inside the run directory get into the page. */
static void test_pictures_stay_inside(void **state)
{
    char *dir = folder_new(), *before, *bin = path_with(NULL, &before), *outside = pupil_format("%s-outside.png", dir);
    fake_picture("/", outside, 1);
    pupil_buf b = {0};
    pupil_buf_puts(&b, "{\"samples\": [{\"image\": ");
    pupil_buf_json(&b, outside);
    pupil_buf_puts(&b, "}, {\"image\": \"../");
    pupil_buf_puts(&b, strrchr(outside, '/') + 1);
    pupil_buf_puts(&b, "\"}, {\"image\": \"secret\"}, {\"image\": \"short.png\"}]}");
    put_file(dir, "eval.json", b.s);
    put_file(dir, "secret", "not a picture, but long enough to be one");
    put_file(dir, "short.png", "\x89PNG\r\n\x1a\n");
    pupil_log_set_level(PUPIL_LOG_ERROR);
    GOOD(pupil_report_write(dir));
    char *page = slurp(dir, "report.html");
    assert_int_equal(count_of(page, "the picture is not there"), 4);
    lacks(page, "base64");
    unlink(outside);
    pupil_free(&page);
    pupil_free(&outside);
    pupil_buf_free(&b);
    path_back(&bin, &before);
    folder_end(&dir);
}

/* Damaged files: a page or a refusal, never worse. */
static void test_damage(void **state)
{
    static const char *const files[] = {"eval.json", "run.json", "metrics.jsonl"};
    char *dir = folder_new(), *before, *bin = path_with(NULL, &before);
    fake_run(dir, 12, 2);
    pupil_log_set_level(PUPIL_LOG_ERROR);
    pupil_rng rng = pupil_rng_at(4, PUPIL_STREAM_TEST, 0);
    int made = 0, refused = 0;
    for (int k = 0; k < PUPIL_COUNT(files); k++) {
        char *good = slurp(dir, files[k]), *bad = pupil_strdup(good);
        size_t n = strlen(good);
        for (int t = 0; t < 60; t++) {
            memcpy(bad, good, n + 1);
            if (t % 3 == 0) bad[pupil_rng_below(&rng, n)] = 0;
            else bad[pupil_rng_below(&rng, n)] = "{}[]\",:0-e"[pupil_rng_below(&rng, 10)];
            put_file(dir, files[k], bad);
            int r = pupil_report_write(dir);
            CHECK(r == 0 || r == PUPIL_EFORMAT, "%s: %d", pupil_reason(), r);
            made += r == 0, refused += r != 0;
        }
        put_file(dir, files[k], good);
        DROP(good, bad);
    }
    CHECK(made > 10 && refused > 60, "%d made, %d refused", made, refused);
    path_back(&bin, &before);
    folder_end(&dir);
}

static void test_html_escapes(void **state)
{
    pupil_buf b = {0};
    html(&b, "<p title=\"%s\">%s %d%% %.1f</p>", "\"'<&>", "a<b", 5, 2.25);
    lacks(b.s, "\"\"'");
    has(b.s, "a&lt;b 5% 2.2</p>");
    char *whole = pupil_format("<!DOCTYPE html>%s", b.s);
    check_balance(whole);
    pupil_free(&whole);
    char t[40];
    assert_string_equal(with_commas(999, t), "999");
    assert_string_equal(with_commas(1234567, t), "1,234,567");
    assert_string_equal(with_commas(-1000, t), "-1,000");
    pupil_buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_page),           cmocka_unit_test(test_tables),         cmocka_unit_test(test_without_gnuplot),
        cmocka_unit_test(test_gnuplot_that_hangs), cmocka_unit_test(test_missing_inputs), cmocka_unit_test(test_torn_last_line),
        cmocka_unit_test(test_nonsense),       cmocka_unit_test(test_pictures_stay_inside), cmocka_unit_test(test_damage),
        cmocka_unit_test(test_html_escapes),
    };
    return cmocka_run_group_tests_name("report", tests, NULL, NULL);
}
