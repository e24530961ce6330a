/* loss.c: `pupil loss`: value and gradients of any loss on features that are given, to compare with other
 * code. Reads and writes the layout of the reference data (pupil help losses); the output is published whole
 * or not at all. */
#include "cli.h"

#include "pupil/loss.h"
#include "pupil/role.h"
#include "pupil/store.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- which loss ------------------------------------------------------------------------------------ */
/* "crd, fd=2000, fd.reduce=sum" as settings; a bare name has the weight of its source. */
static int settings_of(const char *terms, char ***ret, int *ret_n)
{
    char *copy = pupil_strdup(terms), *save = NULL;
    int64_t n = 0, cap = 0;
    char **set = NULL;
    PUPIL_GROW(set, n, cap);
    set[n++] = pupil_strdup("loss.task=0");
    for (char *word = strtok_r(copy, ", ", &save); word; word = strtok_r(NULL, ", ", &save)) {
        int t = pupil_term_find(word);
        PUPIL_GROW(set, n, cap);
        set[n++] =
            t >= 0 ? pupil_format("loss.%s=%g", word, pupil_term[t].init.weight)
            : strchr(word, '=')
                ? pupil_format("loss.%s", word)
                : pupil_format("loss.%s=1", word); /* the settings' own message: unknown key, did you mean */
    }
    pupil_free(&copy);
    *ret = set;
    *ret_n = (int)n;
    return n > 1 ? 0 : pupil_fail(PUPIL_EUSER, "--terms: no term in '%s'; see `pupil help losses`", terms);
}

int cli_loss_terms(const char *preset, const char *variant, const char *terms, pupil_loss_conf *ret)
{
    static const char about[] =
        "run: {dir: none}\nstudent: {model: {name: ViT-T-16}}\nteacher: {dir: a}\ncache: {dir: b}\n";
    char **set = NULL;
    int n = 0, r = 0;
    pupil_conf *conf = NULL;
    pupil_buf errors = {0};
    if (!preset == !terms)
        return pupil_fail(PUPIL_EUSER,
                          "expected --preset NAME or --terms LIST; `pupil help losses` shows both");
    if (terms) {
        r = settings_of(terms, &set, &n);
    } else {
        set = pupil_alloc(2 * sizeof *set);
        set[n++] = pupil_format("loss.preset=%s", preset);
        set[n++] = pupil_format("loss.variant=%s", variant ? variant : "published");
    }
    if (r == 0) r = pupil_conf_parse("loss", about, (const char *const *)set, n, &conf, &errors);
    if (errors.len) fputs(errors.s, stderr);
    if (r == 0) pupil_role_loss_terms(&conf->loss, ret);
    pupil_conf_free(&conf);
    pupil_buf_free(&errors);
    pupil_names_free(&set, n);
    return r;
}

/* ---- features ------------------------------------------------------------------------------------- */
static const char *const streams[PUPIL_LOSS_STREAMS] = {"image", "text", "text2"};

typedef struct {
    pupil_h5 *in;
    const char *path;
    pupil_loss_conf c;
    int64_t slots;
    float log_scale, dlog_scale;
    float *student[PUPIL_LOSS_STREAMS], *teacher[PUPIL_LOSS_TEACHERS][PUPIL_LOSS_STREAMS],
        *d[PUPIL_LOSS_STREAMS];
    pupil_loss_tensor info[PUPIL_LOSS_TENSORS];
    float *tensor[PUPIL_LOSS_TENSORS], *dtensor[PUPIL_LOSS_TENSORS];
    int tensors;
    double value[PUPIL_TERMS];
} features;

/* inputs/NAME [batch, *dim], finite; *dim 0: any width. */
static int read_rows(features *f, const char *name, int64_t *dim, float **ret)
{
    int ndim;
    int64_t s[8];
    PUPIL_TRY(pupil_h5_shape(f->in, name, &ndim, s));
    if (ndim != 2 || s[0] < 1 || s[1] < 1 || s[0] > 1 << 20 || s[1] > 1 << 16)
        return pupil_fail(PUPIL_EFORMAT, "%s: %s has %d dimensions; [batch, width] was expected", f->path,
                          name, ndim);
    if ((f->c.batch && s[0] != f->c.batch) || (*dim && s[1] != *dim))
        return pupil_fail(PUPIL_EFORMAT, "%s: %s is [%lld, %lld]; [%lld, %lld] was expected", f->path, name,
                          (long long)s[0], (long long)s[1], (long long)(f->c.batch ? f->c.batch : s[0]),
                          (long long)(*dim ? *dim : s[1]));
    float *x = pupil_alloc((size_t)(s[0] * s[1]) * sizeof *x);
    int r = pupil_h5_read(f->in, name, PUPIL_H5_F32, s[0] * s[1], x);
    for (int64_t i = 0; r == 0 && i < s[0]; i++)
        if (!pupil_floats_finite(x + i * s[1], s[1]))
            r = pupil_fail(PUPIL_ENUMERIC, "%s: row %lld of %s is not finite", f->path, (long long)i, name);
    if (r < 0) {
        pupil_free(&x);
        return r;
    }
    f->c.batch = s[0];
    *dim = s[1];
    *ret = x;
    return 0;
}

/* A scalar of the file, or what it is without. */
static int read_number(features *f, const char *name, double without, double *ret)
{
    *ret = without;
    return pupil_h5_has(f->in, name) ? pupil_h5_read(f->in, name, PUPIL_H5_F64, 1, ret) : 0;
}

static void teacher_key(char key[64], int k, const char *what)
{
    if (k) snprintf(key, 64, "inputs/teacher%d_%s", k + 1, what);
    else snprintf(key, 64, "inputs/teacher_%s", what);
}

static int read_teacher(features *f, int k)
{
    char key[64];
    pupil_loss_teacher *t = &f->c.teacher[k];
    for (int s = 0; s <= f->c.captions; s++) {
        teacher_key(key, k, streams[s]);
        PUPIL_TRY(read_rows(f, key, &t->dim, &f->teacher[k][s]));
    }
    t->weight = 1;
    teacher_key(key, k, "logit_bias");
    PUPIL_TRY(read_number(f, key, 0, &t->bias));
    teacher_key(key, k, "logit_scale");
    return read_number(f, key, 100, &t->scale);
}

/* Teachers there are in the file; what is not asked for otherwise: all for terms over ensembles, else the
 * first. */
static int count_teachers(features *f, int64_t asked)
{
    char key[64];
    int there = 0;
    for (; there < PUPIL_LOSS_TEACHERS; there++) {
        teacher_key(key, there, "image");
        if (!pupil_h5_has(f->in, key)) break;
    }
    bool all = f->c.term[PUPIL_TERM_ENSEMBLE].weight != 0 || f->c.term[PUPIL_TERM_SOFT_SIGMOID].weight != 0;
    f->c.teachers = !pupil_loss_wants(&f->c, PUPIL_WANTS_TEACHER) ? 0
                    : asked                                       ? (int)asked
                    : all                                         ? PUPIL_MAX(1, there)
                                                                  : 1;
    if (f->c.teachers > there)
        return pupil_fail(PUPIL_EUSER, "%s: %d teachers are wanted, %d are there", f->path, f->c.teachers,
                          there);
    return 0;
}

/* "loss.visual_proj.weight" as the layout names it. */
static const char *their_name(const pupil_loss_tensor *t)
{
    const char *name = t->name + strlen("loss.");
    return !strcmp(name, "icl_scale")      ? "cross_logit_scale"
           : !strcmp(name, "fusion_scale") ? "fusion_logit_scale"
                                           : name;
}

static int read_tensors(features *f)
{
    f->tensors = pupil_loss_tensors(&f->c, f->info);
    for (int i = 0; i < f->tensors; i++) {
        const pupil_loss_tensor *t = &f->info[i];
        int64_t n = 1;
        for (int d = 0; d < t->ndim; d++) n *= t->dim[d];
        f->tensor[i] = pupil_alloc((size_t)n * sizeof(float));
        f->dtensor[i] = pupil_alloc((size_t)n * sizeof(float));
        const char *name = their_name(t);
        char *path = pupil_format(strcmp(name, "logit_bias") ? "inputs/params/%s" : "inputs/%s", name);
        int r = 0;
        if (t->ndim || pupil_h5_has(f->in, path))
            r = pupil_h5_read(f->in, path, PUPIL_H5_F32, n, f->tensor[i]);
        else *f->tensor[i] = (float)t->init;
        if (r == 0 && !pupil_floats_finite(f->tensor[i], n))
            r = pupil_fail(PUPIL_ENUMERIC, "%s: %s is not finite", f->path, path);
        pupil_free(&path);
        PUPIL_TRY(r);
    }
    return 0;
}

static int read_features(features *f, int64_t teachers)
{
    double log_scale;
    for (int s = 0; s <= f->c.captions; s++) {
        char key[64];
        snprintf(key, sizeof key, "inputs/student_%s", streams[s]);
        PUPIL_TRY(read_rows(f, key, &f->c.dim, &f->student[s]));
        f->d[s] = pupil_alloc((size_t)(f->c.batch * f->c.dim) * sizeof(float));
    }
    if (f->c.batch % f->slots)
        return pupil_fail(PUPIL_EUSER, "--slots %lld does not divide the batch of %lld", (long long)f->slots,
                          (long long)f->c.batch);
    f->c.slots = f->slots;
    PUPIL_TRY(read_number(f, "inputs/log_logit_scale", log(1 / 0.07), &log_scale));
    f->log_scale = (float)log_scale;
    PUPIL_TRY(count_teachers(f, teachers));
    for (int k = 0; k < f->c.teachers; k++) PUPIL_TRY(read_teacher(f, k));
    return read_tensors(f);
}

static void features_free(features *f)
{
    for (int s = 0; s < PUPIL_LOSS_STREAMS; s++) {
        pupil_free(&f->student[s]);
        pupil_free(&f->d[s]);
        for (int k = 0; k < PUPIL_LOSS_TEACHERS; k++) pupil_free(&f->teacher[k][s]);
    }
    for (int i = 0; i < f->tensors; i++) {
        pupil_free(&f->tensor[i]);
        pupil_free(&f->dtensor[i]);
    }
    pupil_h5_close(&f->in);
}

/* ---- the loss ------------------------------------------------------------------------------------- */
static pupil_loss_input rows_of(const features *f, int64_t first)
{
    pupil_loss_input in = {0};
    for (int s = 0; s <= f->c.captions; s++) {
        in.student[s] = f->student[s] + first * f->c.dim;
        for (int k = 0; k < f->c.teachers; k++)
            in.teacher[k][s] = f->teacher[k][s] + first * f->c.teacher[k].dim;
    }
    return in;
}

/* All slots on one rank: nothing to gather. */
static void compute(features *f)
{
    pupil_loss *l = pupil_loss_new(&f->c);
    pupil_loss_params p = {.logit_scale = &f->log_scale}, g = {.logit_scale = &f->dlog_scale};
    memcpy(p.tensor, f->tensor, sizeof p.tensor);
    memcpy(g.tensor, f->dtensor, sizeof g.tensor);
    int64_t rows = f->c.batch / f->slots;
    for (int round = 0; round < pupil_loss_rounds(l); round++)
        for (int64_t k = 0; k < f->slots; k++) {
            pupil_loss_input in = rows_of(f, k * rows);
            pupil_loss_round(l, round, k, &in, &p);
        }
    for (int64_t k = 0; k < f->slots; k++) {
        pupil_loss_input in = rows_of(f, k * rows);
        float *d[PUPIL_LOSS_STREAMS] = {0};
        double value[PUPIL_TERMS];
        for (int s = 0; s <= f->c.captions; s++) d[s] = f->d[s] + k * rows * f->c.dim;
        pupil_loss_grad(l, k, &in, &p, &g, d, value);
        for (int t = 0; t < PUPIL_TERMS; t++) f->value[t] += value[t];
    }
    pupil_loss_free(&l);
}

/* The layout's gradient of a cross scale is that of the scale itself, also where the parameter is its
 * logarithm. */
static double scale_slope(const features *f, int i)
{
    int term = strstr(f->info[i].name, "fusion")       ? PUPIL_TERM_AFD
               : f->c.term[PUPIL_TERM_ICL].weight != 0 ? PUPIL_TERM_ICL
                                                       : PUPIL_TERM_CROSS_KD;
    bool raw = f->c.term[term].as_released || strstr(f->info[i].name, "bias");
    return (double)*f->dtensor[i] / (raw ? 1 : exp((double)*f->tensor[i]));
}

static int write_results(const features *f, pupil_h5 *h)
{
    double total = pupil_loss_total(&f->c, f->value), dlog = (double)f->dlog_scale;
    char name[96];
    PUPIL_TRY(pupil_h5_write(h, "value", PUPIL_H5_F64, 0, NULL, &total));
    PUPIL_TRY(pupil_h5_write(h, "d_log_logit_scale", PUPIL_H5_F64, 0, NULL, &dlog));
    for (int t = 0; t < PUPIL_TERMS; t++) {
        snprintf(name, sizeof name, "terms/%s", pupil_term[t].name);
        if (f->c.term[t].weight != 0) PUPIL_TRY(pupil_h5_write(h, name, PUPIL_H5_F64, 0, NULL, &f->value[t]));
    }
    for (int s = 0; s <= f->c.captions; s++) {
        snprintf(name, sizeof name, "d_student_%s", streams[s]);
        PUPIL_TRY(pupil_h5_write(h, name, PUPIL_H5_F32, 2, (const int64_t[]){f->c.batch, f->c.dim}, f->d[s]));
    }
    for (int i = 0; i < f->tensors; i++) {
        const pupil_loss_tensor *t = &f->info[i];
        double slope = t->ndim ? 0 : scale_slope(f, i);
        snprintf(name, sizeof name, "d_%s", their_name(t));
        PUPIL_TRY(t->ndim ? pupil_h5_write(h, name, PUPIL_H5_F32, t->ndim, t->dim, f->dtensor[i])
                          : pupil_h5_write(h, name, PUPIL_H5_F64, 0, NULL, &slope));
    }
    return 0;
}

static int publish_results(const features *f, const char *path)
{
    char *part = pupil_format("%s.part", path);
    pupil_h5 *h = NULL;
    int r = pupil_h5_create(part, &h);
    if (r == 0) r = write_results(f, h);
    if (h) {
        int closed = pupil_h5_close(&h);
        if (r == 0) r = closed;
    }
    if (r == 0) r = pupil_publish(part, path);
    if (r < 0) unlink(part);
    pupil_free(&part);
    return r;
}

static void print_values(const features *f)
{
    printf("{\"value\": %.17g", pupil_loss_total(&f->c, f->value));
    for (int t = 0; t < PUPIL_TERMS; t++)
        if (f->c.term[t].weight != 0) printf(", \"%s\": %.17g", pupil_term[t].name, f->value[t]);
    printf("}\n");
}

int cmd_loss(int argc, char **argv)
{
    const char *preset = NULL, *variant = NULL, *terms = NULL, *in = NULL, *out = NULL;
    int64_t captions = 1, teachers = 0, slots = 1;
    const cli_option options[] = {
        {"preset", CLI_TEXT, &preset, "NAME", "a loss of the literature"},
        {"variant", CLI_TEXT, &variant, "WORD", "published (default) or as-released"},
        {"terms", CLI_TEXT, &terms, "LIST", "terms and options instead: task,crd=0.5,fd,fd.reduce=sum"},
        {"features", CLI_TEXT, &in, "F.h5", "inputs/student_image, student_text [B,D], ... (required)"},
        {"out", CLI_TEXT, &out, "G.h5",
         "value, terms/*, d_student_image, ...; unset: the values alone, as JSON"},
        {"captions", CLI_COUNT, &captions, "N", "2: also student_text2 and teacher_text2 (default 1)"},
        {"teachers", CLI_COUNT, &teachers, "N",
         "teachers of the file (default: all for ensembles, else the first)"},
        {"slots", CLI_COUNT, &slots, "N", "compute in so many slots (default 1)"},
    };
    const cli_spec spec = {"loss",
                           "",
                           "Value and gradients of a loss on given features. `pupil help losses` shows "
                           "terms, presets and the file's layout.",
                           "pupil loss --preset clip-kd --features f.h5 --out g.h5",
                           options,
                           PUPIL_COUNT(options),
                           0,
                           0};
    char **args;
    int n, r = cli_parse(&spec, argc, argv, &args, &n);
    if (r) return r;
    if (!in)
        return pupil_fail(PUPIL_EUSER, "pupil loss: --features F.h5 is missing; see `pupil loss --help`");
    if (captions > 2 || teachers > PUPIL_LOSS_TEACHERS)
        return pupil_fail(PUPIL_EUSER, "pupil loss: at most --captions 2 and --teachers %d were expected",
                          PUPIL_LOSS_TEACHERS);
    features *f = pupil_alloc(sizeof *f);
    f->path = in, f->slots = slots, f->c.captions = (int)captions;
    r = cli_loss_terms(preset, variant, terms, &f->c);
    if (r == 0) {
        cli_best_kernel();
        cli_set_threads(getenv("OMP_NUM_THREADS") ? 0 : cli_bound_cores());
        r = pupil_h5_open(in, &f->in);
    }
    if (r == 0) r = read_features(f, teachers);
    if (r == 0) compute(f);
    if (r == 0 && out) r = publish_results(f, out);
    if (r == 0 && !out) print_values(f);
    features_free(f);
    pupil_free(&f);
    return r;
}
