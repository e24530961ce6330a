/* training.c: how the run went: curves, speed, where the time was spent, and where everything came from. */
#include "report.h"

#include <string.h>

static void absent(pupil_buf *b, const char *why) { html(b, "<p class=\"absent\">%s</p>\n", why); }

/* ---- figures -------------------------------------------------------------------------------------- */
static void show_figures(pupil_buf *b, const figures *f, figure_kind kind)
{
    bool open = false;
    for (int k = 0; k < f->n; k++) {
        if (f->f[k].kind != kind || !f->f[k].svg) continue;
        if (!open) html(b, "<div class=\"figures\">\n");
        open = true;
        html(b, "<figure><figcaption><b>%s</b><span>%s</span></figcaption>", f->f[k].title, f->f[k].note ? f->f[k].note : "");
        pupil_buf_puts(b, f->f[k].svg);
        html(b, "</figure>\n");
    }
    if (open) html(b, "</div>\n");
}

static void say_missing(pupil_buf *b, const figures *f)
{
    if (f->missing) html(b, "<p class=\"absent\">The curves are not drawn: %s. Install gnuplot and run <code>pupil report</code> on this "
                            "directory again; the numbers are in <a href=\"tables/loss.csv\">tables/loss.csv</a>.</p>\n", f->missing);
}

void page_training(pupil_buf *b, const report *r, const figures *f)
{
    html(b, "<h2 id=\"training\">Training</h2>\n");
    if (!r->student.rows) {
        absent(b, "No curves: metrics.jsonl is not there or holds no step.");
    } else {
        if (!f->missing) html(b, "<p class=\"note\">Loss and its terms (before their weights) over optimiser steps. Thin: single steps, extremes "
                                 "kept; thick: moving average.</p>\n");
        say_missing(b, f);
        show_figures(b, f, FIGURE_LOSS);
        if (!f->missing) html(b, "<h3>Optimiser</h3>\n");
        show_figures(b, f, FIGURE_OPTIMISER);
    }
    if (r->teacher.rows && !f->missing) {
        html(b, "<h3>The teacher, which was trained here</h3>\n");
        show_figures(b, f, FIGURE_TEACHER);
    }
}

/* ---- speed ---------------------------------------------------------------------------------------- */
static void stack(pupil_buf *b, const phase_share *share, int n)
{
    html(b, "<div class=\"stack\" role=\"img\" aria-label=\"shares, as listed below\">");
    for (int k = 0; k < n; k++)
        html(b, "<i style=\"width:%.3f%%;background:var(--phase%d)\"></i>", 100 * share[k].share, k % 8 + 1);
    html(b, "</div>\n<ul class=\"legend\">");
    for (int k = 0; k < n; k++) {
        char duration[32];
        html(b, "<li><span class=\"key block\" style=\"background:var(--phase%d)\"></span>%s <b>%.1f&nbsp;%%</b> %s</li>", k % 8 + 1,
             share[k].name, 100 * share[k].share, pupil_duration(share[k].seconds, duration));
    }
    html(b, "</ul>\n");
}

static void wall_clock(pupil_buf *b, const report *r)
{
    phase_share share[MODELS_MAX];
    double all = 0;
    for (int k = 0; k < r->n_phases; k++) all += r->phase[k].seconds;
    if (!(all > 0)) return;
    for (int k = 0; k < r->n_phases; k++) share[k] = (phase_share){r->phase[k].name, r->phase[k].seconds / all, r->phase[k].seconds};
    html(b, "<h3>The whole run</h3>\n");
    stack(b, share, r->n_phases);
    html(b, "<div class=\"scroll\"><table><thead><tr><th>phase</th><th>time</th><th>pairs</th><th>pairs a second</th></tr></thead>\n<tbody>\n");
    for (int k = 0; k < r->n_phases; k++) {
        const phase *p = &r->phase[k];
        char duration[32], pairs[40], rate[40];
        bool counted = p->pairs > 0, timed = counted && p->seconds > 0;
        html(b, "<tr><th scope=\"row\">%s</th><td>%s</td><td>%s</td><td>%s</td></tr>\n", p->name, pupil_duration(p->seconds, duration),
             counted ? with_commas(p->pairs, pairs) : "", timed ? with_commas(p->pairs / p->seconds, rate) : "");
    }
    html(b, "</tbody></table></div>\n");
}

void page_speed(pupil_buf *b, const report *r, const figures *f)
{
    phase_share share[COLUMNS_MAX];
    int n = phase_shares(&r->student, share);
    html(b, "<h2 id=\"speed\">Throughput</h2>\n");
    if (!r->student.rows && !r->n_phases) {
        absent(b, "No figures: neither metrics.jsonl nor the phases of run.json are there.");
        return;
    }
    if (n) {
        html(b, "<h3>Where a training step&rsquo;s time goes</h3>\n");
        stack(b, share, n);
    }
    show_figures(b, f, FIGURE_SPEED);
    wall_clock(b, r);
}

/* ---- origin --------------------------------------------------------------------------------------- */
/* One scalar of run.json in words; what is no scalar is left out. */
static void fact(pupil_buf *b, const char *key, json_t *value)
{
    char text[64];
    const char *shown = text;
    if (json_is_string(value)) shown = json_string_value(value);
    else if (json_is_integer(value)) with_commas((double)json_integer_value(value), text);
    else if (json_is_real(value)) snprintf(text, sizeof text, "%.6g", json_real_value(value));
    else if (json_is_boolean(value)) shown = json_is_true(value) ? "yes" : "no";
    else return;
    bool digest = strlen(shown) >= 32 && strspn(shown, "0123456789abcdef") == strlen(shown);
    html(b, "<dt>");
    for (const char *c = key; *c; c++) html(b, "%s", *c == '_' ? " " : (char[2]){*c, 0});
    html(b, digest ? "</dt><dd><code>%s</code></dd>\n" : "</dt><dd>%s</dd>\n", shown);
}

static void facts(pupil_buf *b, json_t *run)
{
    const char *section, *key;
    json_t *object, *value;
    html(b, "<details open><summary>What ran: versions, plan, digests</summary>\n<div class=\"facts\">\n");
    json_object_foreach(run, section, object)
    {
        if (!json_is_object(object) || !json_object_size(object)) continue;
        html(b, "<div><h3>%s</h3><dl>\n", section);
        json_object_foreach(object, key, value) fact(b, key, value);
        html(b, "</dl></div>\n");
    }
    html(b, "<div><h3>run</h3><dl>\n");
    json_object_foreach(run, key, value) fact(b, key, value);
    html(b, "</dl></div>\n</div></details>\n");
}

void page_origin(pupil_buf *b, const report *r)
{
    html(b, "<h2 id=\"settings\">Settings and origin</h2>\n");
    if (r->yaml) {
        html(b, "<p>To do it again elsewhere:</p><code class=\"command\">pupil launch %s/resolved.yaml --set run.dir=NEW_DIRECTORY</code>\n", r->dir);
        html(b, "<details><summary>resolved.yaml: every setting</summary><pre>%s</pre></details>\n", r->yaml);
    } else {
        absent(b, "No settings: resolved.yaml is not there.");
    }
    if (r->run) facts(b, r->run);
    else absent(b, "No versions and digests: run.json is not there.");
    html(b, "<p class=\"note\" style=\"margin-top:14px\">The same numbers as tables: <a href=\"tables/vqa.csv\">vqa.csv</a>, "
            "<a href=\"tables/retrieval.csv\">retrieval.csv</a>, <a href=\"tables/scores.csv\">scores.csv</a>, <a href=\"tables/loss.csv\">loss.csv</a>, "
            "<a href=\"tables/throughput.csv\">throughput.csv</a>, in the folder tables beside this page.</p>\n");
}
