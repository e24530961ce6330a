/* args.c: one way to read options and to choose commands. An unknown word costs the user one line with the
 * nearest known one; --help of every command is printed from the same table that parses it. */
#include "cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void cli_list_free(cli_list *l)
{
    pupil_free(&l->item);
    l->n = 0;
}

/* Remembers the candidate nearest to `word`, if it is near enough to be a slip of the keyboard. */
typedef struct {
    const char *word, *best;
    int distance;
} nearest;

static void consider(nearest *n, const char *candidate)
{
    int d = pupil_edit_distance(n->word, candidate), far = PUPIL_MAX(2, (int)strlen(n->word) / 3);
    bool begins = strlen(n->word) >= 2 && !strncmp(candidate, n->word, strlen(n->word));
    if (begins) d = 1;
    if (d <= far && d < (int)strlen(candidate) && (!n->best || d < n->distance)) {
        n->best = candidate;
        n->distance = d;
    }
}

static bool planned(const char *name)
{
    for (int i = 0; i < cli_nplanned; i++)
        if (!strcmp(cli_planned[i], name)) return true;
    return false;
}

static int refuse_planned(const char *name)
{
    return pupil_fail(PUPIL_EUSER,
                      "`pupil %s` is planned but not built in version " PUPIL_VERSION
                      "; `pupil help` lists what there is",
                      name);
}

/* ---- options ------------------------------------------------------------------------------------- */
static void print_help(const cli_spec *s)
{
    printf("usage: pupil %s%s%s%s\n\n%s\n", s->name, s->noptions ? " [options]" : "", *s->args ? " " : "",
           s->args, s->about);
    if (s->noptions) printf("\noptions:\n");
    for (int i = 0; i < s->noptions; i++) {
        const cli_option *o = &s->options[i];
        char left[64];
        snprintf(left, sizeof left, "--%s%s%s", o->name, o->value ? " " : "", o->value ? o->value : "");
        printf("  %-22s %s\n", left, o->help);
    }
    printf("\nexample:\n  %s\n", s->example);
}

static int unknown_option(const cli_spec *s, const char *name)
{
    nearest near = {.word = name};
    char *full = pupil_format("%s --%s", s->name, name);
    bool later = planned(full);
    int r = later ? refuse_planned(full) : 0;
    pupil_free(&full);
    if (later) return r;
    for (int i = 0; i < s->noptions; i++) consider(&near, s->options[i].name);
    return pupil_fail(PUPIL_EUSER, "pupil %s: unknown option --%s%s%s%s (`pupil %s --help` lists them)",
                      s->name, name, near.best ? ", did you mean --" : "", near.best ? near.best : "",
                      near.best ? "?" : "", s->name);
}

static int set_value(const cli_spec *s, const cli_option *o, const char *value, int argc)
{
    if (o->kind == CLI_TEXT) {
        *(const char **)o->to = value;
    } else if (o->kind == CLI_LIST) {
        cli_list *l = o->to;
        if (!l->item) l->item = pupil_alloc((size_t)argc * sizeof *l->item);
        l->item[l->n++] = value;
    } else {
        char *end;
        errno = 0;
        long long x = strtoll(value, &end, 10);
        if (errno || end == value || *end || x < 1)
            return pupil_fail(PUPIL_EUSER, "pupil %s: --%s %s: a whole number from 1 was expected", s->name,
                              o->name, value);
        *(int64_t *)o->to = x;
    }
    return 0;
}

/* One word that begins with "--", and its value, which may be the next word; advances *i past what it used.
 */
static int take_option(const cli_spec *s, int argc, char **argv, int *i)
{
    const char *name = argv[*i] + 2, *equals = strchr(name, '=');
    size_t len = equals ? (size_t)(equals - name) : strlen(name);
    for (int k = 0; k < s->noptions; k++) {
        const cli_option *o = &s->options[k];
        if (strlen(o->name) != len || strncmp(o->name, name, len)) continue;
        if (o->kind == CLI_FLAG) {
            if (equals) return pupil_fail(PUPIL_EUSER, "pupil %s: --%s takes no value", s->name, o->name);
            *(bool *)o->to = true;
            return 0;
        }
        if (!equals && *i + 1 >= argc)
            return pupil_fail(PUPIL_EUSER, "pupil %s: --%s needs a value: --%s %s", s->name, o->name, o->name,
                              o->value);
        return set_value(s, o, equals ? equals + 1 : argv[++*i], argc);
    }
    char *word = pupil_format("%.*s", (int)len, name);
    int r = unknown_option(s, word);
    pupil_free(&word);
    return r;
}

int cli_parse(const cli_spec *s, int argc, char **argv, char ***ret_args, int *ret_n)
{
    int n = 1;
    bool options = true;
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i];
        if (options && !strcmp(a, "--")) {
            options = false;
        } else if (options && (!strcmp(a, "--help") || !strcmp(a, "-h"))) {
            print_help(s);
            return CLI_HELP;
        } else if (options && a[0] == '-' && a[1] == '-') {
            PUPIL_TRY(take_option(s, argc, argv, &i));
        } else if (options && a[0] == '-' && a[1]) {
            return pupil_fail(
                PUPIL_EUSER, "pupil %s: unknown option %s; options begin with two dashes (`pupil %s --help`)",
                s->name, a, s->name);
        } else {
            argv[n++] = argv[i];
        }
    }
    if (n - 1 < s->min)
        return pupil_fail(PUPIL_EUSER, "pupil %s: %s is missing; usage: pupil %s %s", s->name, s->args,
                          s->name, s->args);
    if (s->max >= 0 && n - 1 > s->max)
        return pupil_fail(PUPIL_EUSER, "pupil %s: '%s' is one argument too many; usage: pupil %s %s", s->name,
                          argv[s->max + 1], s->name, s->args);
    *ret_args = argv + 1;
    *ret_n = n - 1;
    return 0;
}

/* ---- commands ------------------------------------------------------------------------------------ */
int cli_dispatch(const char *prefix, const cli_command *c, int n, int argc, char **argv)
{
    nearest near = {.word = argv[0]};
    for (int i = 0; i < n; i++) {
        if (!strcmp(c[i].name, argv[0])) return c[i].run(argc, argv);
        if (c[i].about) consider(&near, c[i].name);
    }
    char *full = pupil_format("%s%s", prefix, argv[0]);
    int r = planned(full)
                ? refuse_planned(full)
                : pupil_fail(PUPIL_EUSER, "there is no command `pupil %s`%s%s%s%s (`pupil help` lists them)",
                             full, near.best ? ", did you mean `pupil " : "", near.best ? prefix : "",
                             near.best ? near.best : "", near.best ? "`?" : "");
    pupil_free(&full);
    return r;
}

int cli_family(const char *name, const cli_command *c, int n, int argc, char **argv)
{
    bool help = argc > 1 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"));
    if (argc > 1 && !help) {
        char *prefix = pupil_format("%s ", name);
        int r = cli_dispatch(prefix, c, n, argc - 1, argv + 1);
        pupil_free(&prefix);
        return r;
    }
    FILE *out = help ? stdout : stderr;
    fprintf(out, "usage: pupil %s VERB ...\n\n", name);
    for (int i = 0; i < n; i++) fprintf(out, "  pupil %s %-10s %s\n", name, c[i].name, c[i].about);
    fprintf(out, "\n`pupil %s VERB --help` tells more, with an example.\n", name);
    return help ? CLI_HELP : pupil_fail(PUPIL_EUSER, "pupil %s: a verb is missing", name);
}
