/* study.h (private to study): a study directory as read (gather.c), its statistics (stats.c, answers.c), and the pieces of its
 * page (answer_page.c, study_figures.c, study_tables.c). */
#ifndef PUPIL_STUDY_STUDY_H
#define PUPIL_STUDY_STUDY_H

#include "report.h"

/* ---- statistics (stats.c) -------------------------------------------------------------------------- */
/* Undefined values are NaN: of fewer than two pairs, of a constant. */
double stats_mean(const double *x, int n);
double stats_sd(const double *x, int n); /* of a sample: n - 1 */
/** Ranks from 1; equals share the mean of theirs. */
void stats_ranks(const double *x, int n, double *ret);
double stats_pearson(const double *x, const double *y, int n);
double stats_spearman(const double *x, const double *y, int n);
double stats_kendall(const double *x, const double *y, int n); /* tau-b */
typedef struct {
    double value, low, high;
} estimate;
/** A statistic of n pairs with the 2.5 % and 97.5 % quantiles over resampled pairs; resamples where it is undefined are left out. */
estimate stats_bootstrap(double (*f)(const double *, const double *, int), const double *x, const double *y, int n, uint64_t seed);
enum { OLS_MOST = 24 };
typedef struct {
    double beta[OLS_MOST], se[OLS_MOST]; /* NaN: a combination of the columns before it, so it was left out */
    double r2;
    int used, rows;
} ols;
/** Least squares of y[n] on k columns x[j][n] (no constant is added: centre first) by Gram-Schmidt. `lost`: degrees of
 *  freedom that centring took. */
void stats_ols(const double *const *x, int k, const double *y, int n, int lost, ols *ret);

/* ---- a study directory, read (gather.c) --------------------------------------------------------------- */
/* Figures that the page is about, in its order; one that no cell has is left out. */
enum { METRICS = 9 };
typedef struct {
    const char *protocol, *metric, *label, *unit;
} study_metric;
extern const study_metric study_metrics[METRICS];

typedef enum { ROW_TODO, ROW_DONE, ROW_FAILED } row_state;
typedef struct {
    const char *id;
    char *why; /* of a failure; owned */
    int point[PUPIL_STUDY_AXES]; /* -1: it does not matter */
    double seed;
    row_state state;
    bool distils;
    json_t *eval, *run, *fill; /* fill: run.json of what filled its cache; each may be NULL */
    struct {
        double student, low, high, teacher, teacher_low, teacher_high;
    } m[METRICS];
    double student_params, teacher_params, cells_seconds, teacher_seconds, cache_bytes; /* seconds: of one core */
} study_row;
typedef struct {
    const char *name, *point[PUPIL_STUDY_POINTS];
    int n;
} study_axis;
typedef struct {
    const char *dir, *question, *file;
    json_t *plan;
    study_axis axis[PUPIL_STUDY_AXES];
    int axes, teacher; /* teacher: number of the axis of that name, or -1 */
    study_row *row;
    int n, done, failed;
    bool has[METRICS];
} study_data;
int study_read(study_data *s, const char *dir);
void study_free(study_data *s);
/** "T3", or "-" where it does not matter. */
const char *study_point(const study_data *s, const study_row *r, int axis);

/* ---- what follows from them (answers.c) ----------------------------------------------------------------- */
/** Cells that differ in their teacher alone: the same student, loss, ...; the mean over seeds by teacher. */
typedef struct {
    int point[PUPIL_STUDY_AXES]; /* of the teacher axis: -1 */
    double student[PUPIL_STUDY_POINTS], low[PUPIL_STUDY_POINTS], high[PUPIL_STUDY_POINTS]; /* by teacher; least and greatest seed */
    double teacher[PUPIL_STUDY_POINTS];
    int seeds[PUPIL_STUDY_POINTS];
} study_group;
typedef struct {
    study_group *group;
    int n;
} study_groups;
typedef struct {
    int pairs, groups, teachers;
    estimate spearman, kendall;         /* of student scores as they are */
    estimate adjusted, adjusted_kendall; /* less the mean of their group and seed: what a teacher changes */
    double regret, worst_regret;        /* mean over groups, greatest */
    int strongest_best;                 /* groups whose best student has the strongest teacher */
    double spread;                      /* mean over groups: best student less worst, by teacher */
    double seed_sd;                     /* of students that differ in their seed alone */
    double gain;                        /* mean over cells with a teacher: student less the one without, of the same student and seed */
    int gains;
} study_answer;
void study_group_by_teacher(const study_data *s, int metric, study_groups *ret);
void study_groups_free(study_groups *g);
study_answer study_answer_of(const study_data *s, int metric);
/** Adjusted rank correlation of one score of the teacher and another of the student. */
double study_tells(const study_data *s, int of_teacher, int of_student);
/** Teacher and student scores of all done cells with a teacher; `adjusted`: students less the mean of their group and seed.
 *  Arrays of s->n; returns how many. `ret_row` (may be NULL): their numbers. */
int study_pairs(const study_data *s, int metric, bool adjusted, double *teacher, double *student, int *ret_row);
/** Least squares of student scores on the teacher's score, the gap of capacity and the confounds that vary, groups and seeds centred:
 *  points for one standard deviation of a column. False: too little varies or is done. The names are of `s`, which must live on. */
typedef struct {
    const char *name[OLS_MOST];
    double alone[OLS_MOST], sd; /* R squared of one column; of the students within groups */
    int columns, groups;
    ols fit;
} study_regression;
bool study_regress(const study_data *s, int metric, study_regression *ret);
static inline const char *study_teacher_name(const study_data *s, int t) { return s->teacher < 0 ? "teacher" : s->axis[s->teacher].point[t]; }
/** Score of the cell without a teacher that is `r` else, or NaN. */
double study_plain(const study_data *s, const study_row *r, int metric);
/** Mean student score by teacher over all cells with point k of an axis, and how many cells. */
void study_by_teacher(const study_data *s, int metric, int axis, int k, double mean[PUPIL_STUDY_POINTS], int count[PUPIL_STUDY_POINTS]);
/** Mean teacher score by teacher, and the mean ends of its 95 % interval (NULL: not wanted); arrays of PUPIL_STUDY_POINTS. */
void study_teacher_intervals(const study_data *s, int metric, double *own, double *low, double *high);
void study_teachers(const study_data *s, int metric, double own[PUPIL_STUDY_POINTS]);

/* ---- files -------------------------------------------------------------------------------------------------- */
int study_write_csv(const study_data *s);                    /* study_csv.c */
int study_write_answers(const study_data *s);                /* study_csv.c */
int study_write_tex(const study_data *s);                    /* study_csv.c */
/** Figures of the page: a scatter for each metric, and the capacity gap; SVG text or NULL, owned. */
typedef struct {
    char *scatter[METRICS], *gap[METRICS], *missing;
} study_figures;
void study_draw(const study_data *s, study_figures *ret); /* study_figures.c */
void study_figures_free(study_figures *f);
/** Axes that colours and shapes of the figures are of (-1: none varies), and those of point k. */
void study_looks(const study_data *s, int *colour, int *shape);
const char *study_colour(int k); /* a CSS variable */
int study_shape(int k);          /* gnuplot's number */

/* ---- the page -------------------------------------------------------------------------------------------------- */
void page_study(pupil_buf *b, const study_data *s, const study_figures *f); /* study_page.c: all of it, but for its frame */
void page_study_confounds(pupil_buf *b, const study_data *s, int metric);   /* study_confounds.c */

#endif
