/* report.h (private to study): a run directory as read, its figures, and the pieces of the page. */
#ifndef PUPIL_STUDY_REPORT_H
#define PUPIL_STUDY_REPORT_H

#include <jansson.h>
#include <math.h>

#include "pupil/base.h"
#include "pupil/study.h"

/* ---- a run directory, read and checked (read.c) --------------------------------------------------- */
/* A number that is not there is NaN, a string that is not there NULL. Strings belong to the JSON. */
enum { MODELS_MAX = 16, SAMPLES_MAX = 60, COLUMNS_MAX = 64, SCORES_MAX = 1000 };

/** metrics.jsonl as columns: "loss", "terms.task", "seconds.data", ...; "step" is always there if rows > 0. */
typedef struct {
    char *name;
    double *v;
    int64_t n, cap;
} series_column;
typedef struct {
    series_column column[COLUMNS_MAX];
    int columns;
    int64_t rows;
} series;
const double *series_get(const series *s, const char *name); /* [rows], or NULL */

typedef struct {
    const char *name;
    double n, accuracy;
} group;
typedef struct {
    group *g;
    int n;
} groups;
typedef struct {
    const char *name;
    double overall;
    groups answer_type, question_type;
} vqa_model;
typedef struct {
    double r1, r5, r10, mean_rank, median_rank;
} recall;
typedef struct {
    const char *name;
    recall image_to_text, text_to_image;
    double r1; /* where only that is known */
} retrieval_model;
typedef struct {
    const char *image, *question, *student, *teacher, *answers[10];
    int n_answers;
    double accuracy, teacher_accuracy;
} sample;
typedef struct {
    const char *model, *protocol, *metric;
    double n, value, low, high; /* low, high: of its interval */
} score;
typedef struct {
    const char *name;
    double seconds, pairs;
} phase;

typedef struct {
    const char *dir;
    char *name; /* the directory's own name */
    char *yaml;
    json_t *run, *eval;
    series student, teacher;
    vqa_model vqa[MODELS_MAX]; /* the student first, then the teacher */
    int n_vqa;
    double vqa_questions, vqa_answers;
    retrieval_model retrieval[MODELS_MAX];
    int n_retrieval;
    double retrieval_pairs;
    sample sample[SAMPLES_MAX];
    int n_samples;
    score *score; /* owned */
    int n_scores;
    phase phase[MODELS_MAX];
    int n_phases;
} report;

/** PUPIL_ENOTFOUND for no run directory; PUPIL_EFORMAT with file and place for nonsense. Free in any case. */
int report_read(report *r, const char *dir);
void report_free(report *r);
const vqa_model *report_vqa(const report *r, const char *name);  /* or NULL */
double group_accuracy(const groups *g, const char *name);        /* or NaN */

/* ---- figures (curves.c) --------------------------------------------------------------------------- */
typedef enum { FIGURE_LOSS, FIGURE_OPTIMISER, FIGURE_SPEED, FIGURE_TEACHER } figure_kind;
typedef struct {
    figure_kind kind;
    char *title, *note; /* owned; note may be NULL */
    char *svg;          /* owned; NULL if it was not drawn */
} figure;
typedef struct {
    figure *f;
    int n;
    int64_t cap;
    char *missing; /* why nothing was drawn, or NULL */
} figures;
void curves_make(const report *r, figures *ret);
void figures_free(figures *f);
/** Share of all step seconds by phase: name without prefix, its share of 1, seconds. Returns how many. */
typedef struct {
    const char *name;
    double share, seconds;
} phase_share;
int phase_shares(const series *s, phase_share share[COLUMNS_MAX]);

/* ---- gnuplot (plot.c) ----------------------------------------------------------------------------- */
typedef struct {
    char *dir; /* temporary */
    pupil_buf script;
    int n;
} plotter;
int plotter_begin(plotter *p);
/** A data file of the session: rows of `columns` numbers; a NaN breaks the line. */
int plotter_data(plotter *p, const char *name, const double *const *column, int columns, int64_t rows);
/** Begin plot number p->n (returned) of w x h; the caller appends its commands to p->script. Colours are written
 *  by name with plot_colour(). */
int plotter_new(plotter *p, int w, int h);
const char *plot_colour(const char *variable); /* "#0101xx" for a CSS variable of plot.c's table */
/** Run gnuplot on the session, at most `seconds`. PUPIL_ENOTFOUND: no gnuplot; PUPIL_EIO: it failed. */
int plotter_run(plotter *p, double seconds);
/** SVG of plot k, made fit to stand inside a page; NULL if there is none. */
char *plotter_svg(const plotter *p, int k, const char *label);
void plotter_end(plotter *p);

/* ---- the page (html.c, look.c, results.c, training.c) --------------------------------------------- */
/** printf into HTML: every %s is escaped. Knows %s %d %f %g with flags, width and precision, and %%. */
void html(pupil_buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/** "12,345". */
const char *with_commas(double x, char out[40]);
extern const char report_style[];
void page_answer(pupil_buf *b, const report *r);
void page_types(pupil_buf *b, const report *r);
void page_samples(pupil_buf *b, const report *r);
void page_retrieval(pupil_buf *b, const report *r);
void page_scores(pupil_buf *b, const report *r); /* scores.c */
void page_training(pupil_buf *b, const report *r, const figures *f);
void page_speed(pupil_buf *b, const report *r, const figures *f);
void page_origin(pupil_buf *b, const report *r);

/* ---- tables (tables.c) ---------------------------------------------------------------------------- */
int tables_write(const report *r);
/** A field of a CSV file; a number has its comma before it. */
void csv_text(pupil_buf *b, const char *s);
void csv_number(pupil_buf *b, double x);

#endif
