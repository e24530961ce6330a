/* provenance.c: what an import is told of its teacher: keys of a small YAML file, or attributes of the HDF5 files.
 * Guarantees: every value has the form its key asks for, in one spelling; nothing is told twice and differently. */
#include "provenance.h"

#include "pupil/conf.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef enum { WORDS, NUMBER, COUNT, THREE, TRUTH, SHA256 } form;
static const char *const form_text[] = {"up to 500 characters of text", "a number", "a whole number above 0", "three numbers", "true or false",
                                        "64 hexadecimal digits"};
static const struct {
    const char *key;
    form form;
    const char *identity; /* its name in the cache's identity; NULL: does not tell one cache from another */
} told[] = {
    {"teacher", WORDS, "teacher.name"},
    {"weights", SHA256, "teacher.weights"},
    {"logit_scale", NUMBER, "teacher.logit_scale"},
    {"logit_bias", NUMBER, "teacher.logit_bias"},
    {"dim", COUNT, NULL},
    {"normalized", TRUTH, "imported.normalized"},
    {"image_size", COUNT, "imported.image_size"},
    {"mean", THREE, "imported.mean"},
    {"std", THREE, "imported.std"},
    {"interpolation", WORDS, "imported.interpolation"},
    {"resize_mode", WORDS, "imported.resize_mode"},
    {"tokenizer", WORDS, "tokenizer"},
    {"context_length", COUNT, "imported.context_length"},
    {"view", WORDS, NULL},
    {"precision", WORDS, "imported.precision"},
    {"software", WORDS, "imported.software"},
};
_Static_assert(PUPIL_COUNT(told) <= TOLD_MOST, "room for all keys");

static int row_of(const char *key)
{
    for (int i = 0; i < PUPIL_COUNT(told); i++)
        if (!strcmp(told[i].key, key)) return i;
    return -1;
}

const char *provenance_get(const provenance *p, const char *key)
{
    int i = row_of(key);
    PUPIL_REQUIRE(i >= 0);
    return p->value[i];
}

void provenance_free(provenance *p)
{
    for (int i = 0; i < TOLD_MOST; i++) {
        pupil_free(&p->value[i]);
        pupil_free(&p->from[i]);
    }
}

/* ---- one spelling ---------------------------------------------------------------------------------- */
/* `n` finite numbers with commas or spaces between them. */
static char *numbers(const char *s, int n)
{
    pupil_buf out = {0};
    for (int i = 0; i < n; i++) {
        char *end;
        double x = strtod(s, &end);
        if (end == s || !isfinite(x)) break;
        pupil_buf_printf(&out, "%s%.9g", i ? ", " : "", x);
        s = end + strspn(end, ", ");
        if (i == n - 1 && !*s) return out.s;
    }
    pupil_buf_free(&out);
    return NULL;
}

static char *truth(const char *s)
{
    static const char *const word[2][4] = {{"false", "False", "no", "0"}, {"true", "True", "yes", "1"}};
    for (int v = 0; v < 2; v++)
        for (int i = 0; i < PUPIL_COUNT(word[v]); i++)
            if (!strcmp(s, word[v][i])) return pupil_strdup(word[v][0]);
    return NULL;
}

static char *hex(const char *s)
{
    char *low = pupil_strdup(s);
    for (char *p = low; *p; p++)
        if (*p >= 'A' && *p <= 'F') *p = (char)(*p - 'A' + 'a');
    if (strlen(low) != 64 || strspn(low, "0123456789abcdef") != 64) pupil_free(&low);
    return low;
}

/* `s` as its form is written here, owned by the caller; NULL where it has another form. */
static char *canonical(form f, const char *s)
{
    char *one = NULL;
    switch (f) {
    case WORDS:
        return *s && strlen(s) <= 500 ? pupil_strdup(s) : NULL;
    case COUNT:
        one = numbers(s, 1);
        if (one && (strspn(one, "0123456789") != strlen(one) || atof(one) < 1)) pupil_free(&one);
        return one;
    case TRUTH:
        return truth(s);
    case SHA256:
        return hex(s);
    default:
        return numbers(s, f == THREE ? 3 : 1);
    }
}

/* ---- reading --------------------------------------------------------------------------------------- */
static int tell(provenance *p, int i, const char *text, const char *from)
{
    char *value = canonical(told[i].form, text);
    if (!value) return pupil_fail(PUPIL_EUSER, "%s: %s is '%.80s', expected %s", from, told[i].key, text, form_text[told[i].form]);
    if (p->value[i] && strcmp(p->value[i], value)) {
        int r = pupil_fail(PUPIL_EUSER, "%s: %s is %.200s, but %s says %.200s", from, told[i].key, value, p->from[i], p->value[i]);
        pupil_free(&value);
        return r;
    }
    if (p->value[i]) {
        pupil_free(&value);
        return 0;
    }
    p->value[i] = value;
    p->from[i] = pupil_strdup(from);
    return 0;
}

static int read_attributes(provenance *p, pupil_embeddings *e, int64_t source)
{
    enum { N = PUPIL_COUNT(told) };
    int64_t first, rows;
    const char *key[N];
    char *text[N];
    int r = 0;
    for (int i = 0; i < N; i++) key[i] = told[i].key;
    PUPIL_TRY(pupil_embeddings_attributes(e, source, key, N, text));
    for (int i = 0; i < N; i++) {
        if (r == 0 && text[i]) r = tell(p, i, text[i], pupil_embeddings_source(e, source, &first, &rows));
        pupil_free(&text[i]);
    }
    return r;
}

static int unknown_key(const char *from, const char *key)
{
    pupil_buf known = {0};
    for (int i = 0; i < PUPIL_COUNT(told); i++) pupil_buf_printf(&known, "%s%s", i ? ", " : "", told[i].key);
    int r = pupil_fail(PUPIL_EUSER, "%s: unknown key '%.80s', expected one of: %s", from, key, known.s);
    pupil_buf_free(&known);
    return r;
}

static int read_yaml(provenance *p, const char *path)
{
    pupil_pairs pairs;
    int r = 0;
    PUPIL_TRY(pupil_pairs_load(path, &pairs));
    for (int64_t k = 0; k < pairs.n && r == 0; k++) {
        const pupil_pair *x = &pairs.pair[k];
        char *from = pupil_format("%s:%d:%d", path, x->line, x->column);
        int i = row_of(x->key);
        r = i < 0 ? unknown_key(from, x->key) : tell(p, i, x->value, from);
        pupil_free(&from);
    }
    pupil_pairs_free(&pairs);
    return r;
}

/* What a logit scale can be: after exp it is 14.3 at the start of a CLIP training and 100 at its end; SigLIP's are near 115. */
static int check_scale(const provenance *p)
{
    const double least = 1, most = 1000, logs_end = log(most);
    int i = row_of("logit_scale");
    double s = atof(p->value[i]);
    if (s > least && s <= logs_end)
        return pupil_fail(PUPIL_EUSER, "%s: logit_scale is %g, which is a logarithm's size; exp(%g) = %.4g was probably meant: give it after exp",
                          p->from[i], s, s, exp(s));
    if (!(s > least && s <= most))
        return pupil_fail(PUPIL_EUSER, "%s: logit_scale is %g, a value from 7 to 1000 (after exp) was expected", p->from[i], s);
    return 0;
}

static int check(const provenance *p, const pupil_embeddings *e)
{
    static const char *const needed[] = {"teacher", "logit_scale"};
    int64_t first, rows, dim = pupil_embeddings_dim(e);
    for (int k = 0; k < PUPIL_COUNT(needed); k++)
        if (!provenance_get(p, needed[k]))
            return pupil_fail(PUPIL_EUSER, "%s: %s is not told: give it as an attribute of the HDF5 file, or in --provenance FILE.yaml",
                              pupil_embeddings_source(e, 0, &first, &rows), needed[k]);
    int i = row_of("dim");
    if (p->value[i] && atoll(p->value[i]) != dim)
        return pupil_fail(PUPIL_EUSER, "%s: dim is %s, but the embeddings have %lld values", p->from[i], p->value[i], (long long)dim);
    return check_scale(p);
}

int provenance_read(provenance *p, pupil_embeddings *e, const char *yaml)
{
    for (int64_t s = 0; s < pupil_embeddings_sources(e); s++) PUPIL_TRY(read_attributes(p, e, s));
    if (yaml) PUPIL_TRY(read_yaml(p, yaml));
    if (!provenance_get(p, "view")) PUPIL_TRY(tell(p, row_of("view"), "whole picture", "the default"));
    if (!provenance_get(p, "normalized")) PUPIL_TRY(tell(p, row_of("normalized"), "false", "the default"));
    return check(p, e);
}

void provenance_identity(const provenance *p, pupil_identity *id)
{
    for (int i = 0; i < PUPIL_COUNT(told); i++)
        if (told[i].identity && p->value[i]) pupil_identity_add(id, told[i].identity, "%s", p->value[i]);
}
