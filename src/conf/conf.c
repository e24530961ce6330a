/* conf.c: what else the table gives: the resolved YAML, the difference of two settings, and the reference
 * page. */
#include "schema.h"

#include <string.h>

void pupil_conf_free(pupil_conf **c)
{
    if (!*c) return;
    for (int i = 0; i < schema_n; i++) field_clear(&schema[i], *c);
    pupil_free(&(*c)->file);
    pupil_free(c);
}

/* Words two keys share from the front, in whole sections. */
static size_t shared_sections(const char *a, const char *b)
{
    size_t shared = 0;
    for (size_t i = 0; a[i] && a[i] == b[i]; i++)
        if (a[i] == '.') shared = i + 1;
    return shared;
}

static int depth_at(const char *key, size_t n)
{
    int d = 0;
    for (size_t i = 0; i < n; i++) d += key[i] == '.';
    return d;
}

/* The section lines that open before `key`, given the key printed before it. */
static void open_sections(pupil_buf *out, const char *before, const char *key)
{
    for (size_t at = shared_sections(before, key); strchr(key + at, '.');) {
        size_t n = strcspn(key + at, ".");
        pupil_buf_printf(out, "%*s%.*s:\n", 2 * depth_at(key, at), "", (int)n, key + at);
        at += n + 1;
    }
}

/* Keys that mean nothing beside others: printing them would contradict those. */
static bool hidden(const pupil_conf *c, const field *f)
{
    const pupil_conf_view *v = &c->data.view;
    if (!v->crop && (!strncmp(f->key, "data.view.scale_", 16) || !strncmp(f->key, "data.view.ratio_", 16))) return true;
    if (!v->crop && !v->flip && !strcmp(f->key, "data.view.seed")) return true;
    if (!c->student.inherit_from && !strcmp(f->key, "student.inherit.select")) return true;
    if (!(c->student.prune.target > 0) && !strncmp(f->key, "student.prune.", 14)) return true;
    if (!strcmp(f->key, "loss.preset") || !strcmp(f->key, "loss.variant")) return true; /* the terms are there */
    if (strncmp(f->key, "loss.task", 9) && conf_term_weight(c, f->key) == 0) return true;
    int item = schema_item(f->key);
    if (item >= 0 && !c->more_teachers[item].cache) return true;
    return (!c->teacher.train_here && !strncmp(f->key, "teacher.train.", 14)) ||
           !conf_of_source(f->key, c->data.source) ||
           (c->tokenizer.merges && !strcmp(f->key, "tokenizer.vocab_size"));
}

static void print_rows(const pupil_conf *c, const char *prefix, pupil_buf *out)
{
    const char *before = "";
    size_t n = strlen(prefix);
    for (int i = 0; i < schema_n; i++) {
        const char *key = schema[i].key;
        if (hidden(c, &schema[i]) || (n && (strncmp(key, prefix, n) || (key[n] != '.' && key[n] != 0))))
            continue;
        open_sections(out, before, key);
        const char *last = strrchr(key, '.') + 1;
        pupil_buf_printf(out, "%*s%s: ", 2 * depth_at(key, strlen(key)), "", last);
        field_print(&schema[i], c, out);
        pupil_buf_puts(out, "\n");
        before = key;
    }
}

void pupil_conf_print(const pupil_conf *c, pupil_buf *out)
{
    print_rows(c, "", out);
}

void pupil_conf_print_section(const pupil_conf *c, const char *prefix, pupil_buf *out)
{
    print_rows(c, prefix, out);
}

void pupil_conf_print_identity(const pupil_conf *c, const char *prefix, pupil_buf *out)
{
    size_t n = strlen(prefix);
    for (int i = 0; i < schema_n; i++) {
        const char *key = schema[i].key;
        if (hidden(c, &schema[i]) || schema[i].flags & FREE || strncmp(key, prefix, n) || (key[n] != '.' && key[n] != 0)) continue;
        pupil_buf_printf(out, "%s: ", key);
        field_print(&schema[i], c, out);
        pupil_buf_puts(out, "\n");
    }
}

int pupil_conf_diff(const pupil_conf *a, const pupil_conf *b, pupil_buf *out)
{
    int n = 0;
    for (int i = 0; i < schema_n; i++) {
        const field *f = &schema[i];
        pupil_buf x = {0}, y = {0};
        if (hidden(a, f)) pupil_buf_puts(&x, "(none)");
        else field_print(f, a, &x);
        if (hidden(b, f)) pupil_buf_puts(&y, "(none)");
        else field_print(f, b, &y);
        if (!(f->flags & FREE) && strcmp(x.s, y.s))
            pupil_buf_printf(out, "%s%s: %s -> %s", n++ ? "; " : "", f->key, x.s, y.s);
        pupil_buf_free(&x);
        pupil_buf_free(&y);
    }
    return n;
}

/* ---- the reference page ------------------------------------------------------------------------- */
static const struct {
    const char *section, *text;
} about[] = {
    {"run", "where a run lives, and how its ranks work together"},
    {"ranks", "how many processes; `pupil launch` plans what is `auto`"},
    {"data", "pictures and captions to train on, and questions to score with"},
    {"tokenizer", "the student's text to ids; a teacher reads with the tokenizer of its folder"},
    {"teacher", "the large model; with a `train` section, a teacher that is not there is trained here first"},
    {"more_teachers", "a list of further teachers, each with a cache of its own; up to 7"},
    {"student", "the small model"},
    {"loss", "terms of the student's loss; `pupil help losses` has their formulas and the presets"},
    {"cache", "the teacher's embeddings, computed once and used by every run that wants the same"},
    {"eval", "how the finished student is scored"},
    {"slurm", "what `pupil launch --submit` asks of a cluster (`pupil help jobs`)"},
};

static const char intro[] =
    "SETTINGS of a run, as YAML. conf/quickstart.yaml is a whole example, with comments.\n"
    "\n"
    "Below, each setting: its key, what it may be, its default, and what it does. Dots are levels of YAML:\n"
    "student.train.lr is `student: {train: {lr: 5e-4}}`. On the command line: --set student.train.lr=5e-4\n"
    "A section with a `weight` or `enable` may be given as that alone: `loss: {task: 1}`, `eval: {vqa: "
    "false}`.\n"
    "Numbers are plain (256, 5e-4); true may be written yes or on, false no or off.\n"
    "Paths are relative to the folder you start pupil in.\n"
    "Settings marked * may change when a run is continued in its folder; the others make it another run.\n";

enum { WIDTH = 100, INDENT = 6 };

/* `text` in lines of at most WIDTH, each indented. */
static void wrap(const char *text, pupil_buf *out)
{
    pupil_buf_printf(out, "%*s", INDENT, "");
    for (size_t column = INDENT, n; *text; text += n + strspn(text + n, " ")) {
        n = strcspn(text, " ");
        if (column > INDENT && column + 1 + n > WIDTH) {
            pupil_buf_printf(out, "\n%*s", INDENT, "");
            column = INDENT;
        } else if (column > INDENT) {
            pupil_buf_puts(out, " ");
            column++;
        }
        pupil_buf_add(out, text, n);
        column += n;
    }
    pupil_buf_puts(out, "\n");
}

static void help_row(const field *f, pupil_buf *out)
{
    char expected[EXPECTED_ROOM];
    field_expected(f, expected);
    const char *init = f->init ? f->init : f->flags & PRESET ? "as the preset" : "none";
    bool roomy = strlen(expected) < 90; /* else on lines of its own */
    pupil_buf_printf(out, "  %s%s: %s%s", f->key, f->flags & FREE ? "*" : "", roomy ? expected : "", roomy ? "; " : "");
    if (f->flags & REQUIRED) pupil_buf_puts(out, "must be given\n");
    else pupil_buf_printf(out, "default %s\n", init);
    if (!roomy) wrap(expected, out);
    wrap(f->doc, out);
}

void pupil_conf_help(pupil_buf *out)
{
    pupil_buf_puts(out, intro);
    for (int k = 0; k < PUPIL_COUNT(about); k++) {
        size_t n = strlen(about[k].section);
        pupil_buf_puts(out, "\n");
        for (const char *s = about[k].section; *s; s++) pupil_buf_printf(out, "%c", *s == '_' ? ' ' : *s - 'a' + 'A');
        pupil_buf_printf(out, ": %s\n", about[k].text);
        for (int i = 0; i < schema_n; i++)
            if (!strncmp(schema[i].key, about[k].section, n) && schema[i].key[n] == '.' && schema_item(schema[i].key) < 1)
                help_row(&schema[i], out);
    }
}
