/* conf.c: what else the table gives: the resolved YAML, the difference of two settings, and the reference page. */
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
    static const char *const tars[] = {"data.train", "data.test", "data.vqa_"};
    bool scenes = c->data.source == PUPIL_SOURCE_SCENES;
    for (int i = 0; i < PUPIL_COUNT(tars) && scenes; i++)
        if (!strncmp(f->key, tars[i], strlen(tars[i]))) return true;
    return (!c->teacher.train_here && !strncmp(f->key, "teacher.train.", 14)) || (!scenes && !strncmp(f->key, "data.scenes.", 12)) ||
           (c->tokenizer.merges && !strcmp(f->key, "tokenizer.vocab_size"));
}

static void print_rows(const pupil_conf *c, const char *prefix, pupil_buf *out)
{
    const char *before = "";
    size_t n = strlen(prefix);
    for (int i = 0; i < schema_n; i++) {
        const char *key = schema[i].key;
        if (hidden(c, &schema[i]) || (n && (strncmp(key, prefix, n) || (key[n] != '.' && key[n] != 0)))) continue;
        open_sections(out, before, key);
        const char *last = strrchr(key, '.') + 1;
        pupil_buf_printf(out, "%*s%s: ", 2 * depth_at(key, strlen(key)), "", last);
        field_print(&schema[i], c, out);
        pupil_buf_puts(out, "\n");
        before = key;
    }
}

void pupil_conf_print(const pupil_conf *c, pupil_buf *out) { print_rows(c, "", out); }

void pupil_conf_print_section(const pupil_conf *c, const char *prefix, pupil_buf *out) { print_rows(c, prefix, out); }

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
        if (!(f->flags & FREE) && !(!strcmp(f->key, "run.dir")) && strcmp(x.s, y.s))
            pupil_buf_printf(out, "%s%s: %s -> %s", n++ ? "; " : "", f->key, x.s, y.s);
        pupil_buf_free(&x);
        pupil_buf_free(&y);
    }
    return n;
}

static const struct {
    const char *section, *text;
} about[] = {
    {"run", "Where a run lives and how its ranks work together."},
    {"ranks", "How many processes. `pupil launch` plans what is `auto`."},
    {"data", "Pictures and captions to train on, and questions to score with. Paths are relative to the folder you start from."},
    {"tokenizer", "One tokenizer for the run; a teacher's merges.txt in teacher.dir comes first."},
    {"teacher", "The large model. With a `train` section, a teacher that is missing is trained here first."},
    {"student", "The small model."},
    {"loss", "Terms of the student's loss and their weights; 0 leaves a term out. Formulas: arXiv 2307.12732."},
    {"cache", "The teacher's embeddings, computed once."},
    {"eval", "How the finished student is scored."},
};

void pupil_conf_help(pupil_buf *out)
{
    pupil_buf_puts(out, "Settings, as YAML. Each key is given once below: key, default, what is expected, what it does.\n"
                        "Any of them can be set on the command line: --set student.train.lr=5e-4\n");
    const char *before = "";
    for (int i = 0; i < schema_n; i++) {
        const field *f = &schema[i];
        char expected[256];
        size_t n = strcspn(f->key, ".");
        if (strncmp(before, f->key, n + 1))
            for (int k = 0; k < PUPIL_COUNT(about); k++)
                if (strlen(about[k].section) == n && !strncmp(about[k].section, f->key, n))
                    pupil_buf_printf(out, "\n%s:  # %s\n", about[k].section, about[k].text);
        field_expected(f, expected);
        const char *init = f->flags & REQUIRED ? "required" : f->init ? f->init : f->flags & PRESET ? "of the preset" : "unset";
        pupil_buf_printf(out, "  %-34s %-13s %s\n  %-34s %-13s %s%s\n", f->key, init, expected, "", "", f->doc,
                         f->flags & FREE ? " [may change between runs of one folder]" : "");
        before = f->key;
    }
}
