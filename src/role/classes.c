/* classes.c: the classes that pictures are to be told apart by: names, prompts and a subset from files, or those of the data. */
#include "evaluate.h"

#include <stdlib.h>
#include <string.h>

/* Lines of a text file without their ends; empty ones are left out. */
static int read_lines(const char *path, char ***ret, int *ret_n)
{
    enum { MOST = 64 << 20 };
    char *text = NULL, **line = NULL;
    int64_t n = 0, cap = 0;
    PUPIL_TRY(pupil_read_file(path, MOST, &text, NULL));
    for (char *save = NULL, *s = strtok_r(text, "\r\n", &save); s; s = strtok_r(NULL, "\r\n", &save)) {
        PUPIL_GROW(line, n, cap);
        line[n++] = pupil_strdup(s);
    }
    pupil_free(&text);
    *ret = line;
    *ret_n = (int)n;
    return n ? 0 : pupil_fail(PUPIL_EUSER, "%s: empty, expected one a line", path);
}

static int read_templates(class_task *c, const char *path)
{
    if (!path) {
        c->template = pupil_alloc(sizeof *c->template);
        c->template[c->n_templates++] = pupil_strdup("a photo of a {}.");
        return 0;
    }
    PUPIL_TRY(read_lines(path, &c->template, &c->n_templates));
    for (int k = 0; k < c->n_templates; k++)
        if (!strstr(c->template[k], "{}"))
            return pupil_fail(PUPIL_EUSER, "%s: '%s', expected {} for the class name in each line", path, c->template[k]);
    return 0;
}

/* Numbers below n, all different, separated by white space. */
static int read_subset(class_task *c, const char *path)
{
    char **line;
    int lines;
    int64_t cap = 0;
    PUPIL_TRY(read_lines(path, &line, &lines));
    bool *seen = pupil_alloc((size_t)c->n), good = true;
    for (int k = 0; k < lines && good; k++)
        for (char *at = line[k] + strspn(line[k], " \t,"), *end; *at && good; at = end + strspn(end, " \t,")) {
            long long i = strtoll(at, &end, 10);
            good = end > at && i >= 0 && i < c->n && !seen[i];
            if (!good) break;
            seen[i] = true;
            PUPIL_GROW(c->subset, c->n_subset, cap);
            c->subset[c->n_subset++] = i;
        }
    pupil_free(&seen);
    pupil_names_free(&line, lines);
    return good ? 0 : pupil_fail(PUPIL_EUSER, "%s: expected different numbers from 0 to %d", path, c->n - 1);
}

/* Held-out pictures and their classes; what has none is counted. */
static int label_pictures(evaluation *e, int64_t *ret_without)
{
    class_task *c = &e->classes;
    pupil_dataset *d = e->j->data;
    int64_t n = pupil_dataset_count(d, PUPIL_TEST), most = e->j->conf->eval.zero_shot_pictures;
    int64_t classes = c->subset ? c->n_subset : c->n;
    if (most > 0) n = PUPIL_MIN(n, most);
    c->sample = pupil_alloc((size_t)n * sizeof *c->sample);
    c->label = pupil_alloc((size_t)n * sizeof *c->label);
    for (int64_t i = 0; i < n; i++) {
        int64_t label = pupil_dataset_class(d, PUPIL_TEST, i);
        if (label >= classes)
            return pupil_fail(PUPIL_EUSER, "zero-shot: held-out picture %lld is of class %lld, and there are %lld names", (long long)i,
                              (long long)label, (long long)classes);
        *ret_without += label < 0;
        if (label < 0) continue;
        c->sample[c->pictures] = i;
        c->label[c->pictures++] = c->subset ? c->subset[label] : label;
    }
    return 0;
}

int score_classes_open(evaluation *e)
{
    const pupil_conf_eval *conf = &e->j->conf->eval;
    class_task *c = &e->classes;
    char *const *known;
    int64_t without = 0;
    if (!conf->zero_shot) return 0;
    if (conf->classnames) {
        PUPIL_TRY(read_lines(conf->classnames, &c->name, &c->n));
    } else {
        c->n = pupil_dataset_classes(e->j->data, &known);
        c->name = pupil_alloc((size_t)c->n * sizeof *c->name);
        for (int k = 0; k < c->n; k++) c->name[k] = pupil_strdup(known[k]);
    }
    if (c->n == 0) return 0;
    PUPIL_TRY(read_templates(c, conf->templates));
    if (conf->subset) PUPIL_TRY(read_subset(c, conf->subset));
    PUPIL_TRY(label_pictures(e, &without));
    if (without && job_leads(e->j))
        pupil_info("zero-shot %lld of the held-out pictures have no class; they are left out", (long long)without);
    return 0;
}

void score_classes_close(class_task *c)
{
    pupil_names_free(&c->name, c->n);
    pupil_names_free(&c->template, c->n_templates);
    pupil_free(&c->subset);
    pupil_free(&c->sample);
    pupil_free(&c->label);
}

void score_classes_text(const class_task *c, pupil_buf *out)
{
    for (int k = 0; k < c->n; k++) pupil_buf_printf(out, "class %s\n", c->name[k]);
    for (int k = 0; k < c->n_templates; k++) pupil_buf_printf(out, "template %s\n", c->template[k]);
    for (int64_t k = 0; k < c->n_subset; k++) pupil_buf_printf(out, "subset %lld\n", (long long)c->subset[k]);
    pupil_buf_printf(out, "pictures %lld\n", (long long)c->pictures);
}
