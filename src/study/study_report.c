/* study_report.c: the files that tell of a study, from what its directory holds: results.csv, answers.csv,
 * table.tex, report.html. */
#include "study.h"

#include <string.h>

static const char style[] =
    ".track.two{height:16px}.track.two i{height:7px;inset:0 auto auto 0;border-radius:3px}.track.two i.student{top:9px}\n"
    ".figures.wide{grid-template-columns:repeat(auto-fill,minmax(min(100%,440px),1fr))}td.left,th.left{text-align:left}td.wrap{white-space:normal;min-width:240px}\n"
    "td.best{font-weight:680;background:var(--accent-soft)}small{color:var(--muted);font-weight:400}.inside{padding:0 18px 18px}.answer{align-items:start;grid-template-columns:minmax(300px,1.5fr) minmax(260px,1fr)}\n"
    ".figure small{font-size:.3em}.scroll+.note{margin-top:10px}.kind td{background:var(--soft);font-weight:600;color:var(--muted)}h2+.note{margin-bottom:12px}\n"
    "@media(max-width:720px){.answer{grid-template-columns:1fr}.inside{padding:0 8px 12px}}@media print{.figures.wide{grid-template-columns:repeat(2,1fr)}h2+.note,h3+.note,.note+.legend,h3{break-after:avoid}p{orphans:3;widows:3}.scroll{break-inside:avoid}}\n";

static void points(pupil_buf *b, const study_data *s)
{
    for (int a = 0; a < s->axes; a++) {
        html(b, "<dt>%s</dt><dd>", s->axis[a].name);
        for (int k = 0; k < s->axis[a].n; k++) html(b, "%s%s", k ? ", " : "", s->axis[a].point[k]);
        html(b, "</dd>\n");
    }
}

static void page(pupil_buf *b, const study_data *s, const study_figures *f)
{
    char when[32];
    double seconds = 0, seeds[PUPIL_STUDY_SEEDS];
    int n = 0;
    for (int i = 0; i < s->n; i++) {
        bool seen = false;
        for (int k = 0; k < n; k++) seen |= seeds[k] == s->row[i].seed;
        if (!seen && n < PUPIL_STUDY_SEEDS) seeds[n++] = s->row[i].seed;
        if (isfinite(s->row[i].cells_seconds)) seconds += s->row[i].cells_seconds;
    }
    html(b, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n"
            "<title>%s &middot; pupil study</title>\n<style>\n", s->question);
    pupil_buf_puts(b, report_style);
    pupil_buf_puts(b, style);
    html(b, "</style></head>\n<body><main>\n<header><p class=\"eyebrow\">pupil study</p><h1>%s</h1>\n<dl class=\"lead\">", s->question);
    points(b, s);
    html(b, "<dt>seed</dt><dd>%d of them</dd>\n<dt>cells</dt><dd><b>%d done</b> of %d%s%s</dd>\n</dl></header>\n", n, s->done, s->n, s->failed ? ", some failed" : "",
         s->done < s->n ? " (see the end of the page)" : "");
    page_study(b, s, f);
    html(b, "<footer>Made by pupil %s on %s from %s; the cells took %s of one core. Beside this page: results.csv (a row a cell), answers.csv (the statistics) and table.tex.</footer>\n</main></body></html>\n",
         PUPIL_VERSION, pupil_utc(when), s->file ? s->file : "the files of the study", pupil_duration(seconds, (char[32]){0}));
}

static int write_page(const study_data *s)
{
    study_figures f;
    pupil_buf b = {0};
    study_draw(s, &f);
    page(&b, s, &f);
    study_figures_free(&f);
    char *path = pupil_join(s->dir, "report.html");
    int code = pupil_write_file(path, b.s, b.len);
    pupil_free(&path);
    pupil_buf_free(&b);
    return code;
}

int pupil_study_report(const char *dir)
{
    study_data s;
    int code = study_read(&s, dir);
    if (code == 0) code = study_write_csv(&s);
    if (code == 0) code = study_write_answers(&s);
    if (code == 0) code = study_write_tex(&s);
    if (code == 0) code = write_page(&s);
    study_free(&s);
    return code;
}
