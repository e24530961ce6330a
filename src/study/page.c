/* page.c: report.html and the tables of one run, from the files of its directory alone. */
#include "report.h"

#include <string.h>

/* A row of the head: what run.json tells of one model. */
static void model_row(pupil_buf *b, const report *r, const char *section, const char *label)
{
    json_t *o = json_object_get(r->run, section), *vision = json_object_get(o, "vision"), *text = json_object_get(o, "text");
    json_t *parameters = json_object_get(o, "parameters"), *imported = json_object_get(o, "imported");
    if (!json_is_object(o)) return;
    html(b, "<dt>%s</dt><dd>", label);
    if (json_is_number(parameters)) html(b, "<b>%.1f&nbsp;M parameters</b>", json_number_value(parameters) / 1e6);
    if (json_is_string(imported)) html(b, "<b>%s</b> &middot; its embeddings were imported", json_string_value(imported));
    if (json_is_string(vision)) html(b, " &middot; pictures %s", json_string_value(vision));
    if (json_is_string(text)) html(b, " &middot; text %s", json_string_value(text));
    html(b, "</dd>\n");
}

/* Bytes of a sample's embeddings, beside what the largest public set of this kind keeps. */
static void cache_row(pupil_buf *b, const report *r)
{
    enum { DATACOMPDR = 110592 };
    char n[40], dr[40];
    const json_t *bytes = json_object_get(json_object_get(r->run, "cache"), "bytes_per_sample"),
                 *of = json_array_get(json_object_get(r->run, "confounds"), 0);
    double views = json_number_value(json_object_get(of, "views")), captions = json_number_value(json_object_get(of, "captions"));
    const char *dtype = json_string_value(json_object_get(of, "dtype"));
    if (!json_is_number(bytes) || !dtype) return;
    html(b, "<dt>Cache</dt><dd>%s bytes a sample: %.0f view%s, %.0f caption%s, %s (DataCompDR: %s for 30 views and 6 captions, 1536 values each in bf16)</dd>\n",
         with_commas(json_number_value(bytes), n), views, views == 1 ? "" : "s", captions, captions == 1 ? "" : "s", dtype, with_commas(DATACOMPDR, dr));
}

/* What was trained, by whom, on what, when: as far as run.json tells. */
static void lead(pupil_buf *b, const report *r)
{
    char n[40];
    json_t *train = json_object_get(json_object_get(r->run, "data"), "train"), *finished = json_object_get(r->run, "finished");
    json_t *problems = json_object_get(json_object_get(r->run, "data"), "problems");
    const char *when = json_string_value(finished);
    html(b, "<dl class=\"lead\">");
    model_row(b, r, "student", "Student");
    model_row(b, r, "teacher", "Teacher");
    cache_row(b, r);
    if (json_is_number(train)) html(b, "<dt>Data</dt><dd>%s training pictures</dd>\n", with_commas(json_number_value(train), n));
    if (json_is_string(problems)) html(b, "<dt>Broken</dt><dd>%s</dd>\n", json_string_value(problems));
    if (when && strlen(when) == 20 && when[10] == 'T') { /* 2026-11-23T10:41:07Z */
        snprintf(n, sizeof n, "%.10s %.5s UTC", when, when + 11);
        when = n;
    }
    if (when) html(b, "<dt>Finished</dt><dd><time>%s</time></dd>\n", when);
    html(b, "</dl>\n");
}

static void page(pupil_buf *b, const report *r, const figures *f)
{
    html(b, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
            "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n<title>%s &middot; pupil report</title>\n<style>\n", r->name);
    pupil_buf_puts(b, report_style);
    html(b, "</style></head>\n<body><main>\n<header><p class=\"eyebrow\">pupil report</p><h1>%s</h1>\n", r->name);
    lead(b, r);
    html(b, "</header>\n");
    page_answer(b, r);
    html(b, "<nav aria-label=\"sections\"><a href=\"#types\">Question types</a><a href=\"#samples\">Samples</a><a href=\"#retrieval\">Retrieval</a>"
            "<a href=\"#training\">Training</a><a href=\"#speed\">Throughput</a><a href=\"#settings\">Settings</a></nav>\n");
    page_types(b, r);
    page_samples(b, r);
    page_retrieval(b, r);
    page_scores(b, r);
    page_training(b, r, f);
    page_speed(b, r, f);
    page_origin(b, r);
    char when[32];
    html(b, "<footer>Made by pupil %s on %s from the files of this run&rsquo;s directory.</footer>\n</main></body></html>\n", PUPIL_VERSION,
         pupil_utc(when));
}

static int write_page(const report *r)
{
    figures f;
    pupil_buf b = {0};
    curves_make(r, &f);
    page(&b, r, &f);
    figures_free(&f);
    char *path = pupil_join(r->dir, "report.html");
    int code = pupil_write_file(path, b.s, b.len);
    pupil_free(&path);
    pupil_buf_free(&b);
    return code;
}

int pupil_report_write(const char *dir)
{
    report r;
    int code = report_read(&r, dir);
    if (code == 0) code = tables_write(&r);
    if (code == 0) code = write_page(&r);
    report_free(&r);
    return code;
}
