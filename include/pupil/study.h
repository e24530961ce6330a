/** study: cells, what is missing, statistics, report: of one run, and of a study of many.
 *
 *  A study directory (run.dir of the study's file) holds
 *    study.json           axes, seeds and cells as planned last; with what is below, all that the report is made of
 *    teachers/ID          a teacher trained here;  caches/ID  the embeddings of a teacher;  fills/ID  the run that made them
 *    cells/ID             an ordinary run directory, with settings.yaml, log.txt, and, if it failed, failed (one line)
 *    results.csv, answers.csv, table.tex, report.html
 *  ID is made of the settings that matter, not of paths and ranks: what another study, or an older version of this one, has
 *  done under the same settings is never done again.
 *
 *  report.html is made from the files of a run directory alone, so `pupil report DIR` can be run again at
 *  any time, on any machine:
 *    resolved.yaml        the settings
 *    run.json             one object: {"versions":{...},"plan":{...},"teacher":{...},"student":{...},
 *                         "cache":{...},"data":{...},"phases":[{"name","seconds","pairs"}...]}
 *    metrics.jsonl        one object a step, see below
 *    teacher-metrics.jsonl  the same for a teacher trained here (may be missing)
 *    eval.json            the results, see below
 *    samples/NNN.png      pictures of the sample questions in eval.json
 *  metrics line: {"step":12,"epoch":0,"loss":..,"terms":{"task":..,"crd":..},"lr":..,"grad_norm":..,
 *    "logit_scale":..,"pairs_per_s":..,"ranks":2,"seconds":{"data":..,"forward":..,"loss":..,"backward":..,"reduce":..,
 *    "update":..,"wait":..}}
 *  eval.json: {"vqa":{"n":..,"answers":..,"models":[{"name":"student","overall":..,"answer_type":{..},"question_type":
 *    {"count":{"n":..,"accuracy":..}}}, ... "question only", "image only", "majority", "teacher"]},
 *    "retrieval":{"n":..,"models":[{"name":"student","image_to_text":{"r1","r5","r10","mean_rank","median_rank"},
 *    "text_to_image":{...}}, {"name":"teacher",...}, {"name":"pixel nearest neighbour","r1":..}]},
 *    "samples":[{"image":"samples/000.png","question":..,"answers":[..],"student":..,"teacher":..,"accuracy":..}]}
 *  Not collective.
 */
#ifndef PUPIL_STUDY_H
#define PUPIL_STUDY_H

#include "pupil/base.h"
#include "pupil/conf.h"

/** Write DIR/report.html (self-contained), DIR/tables/{vqa,retrieval,loss,throughput}.csv. Curves are SVG made
 *  by running gnuplot; where it is missing the page says so in their place (and a warning is logged). Missing
 *  inputs leave their section out with a line saying why; a torn last line of metrics is dropped; a null is a missing
 *  number. Pictures are shown if they are PNG files inside DIR. PUPIL_ENOTFOUND if DIR is no run directory; PUPIL_EFORMAT
 *  with file and place for nonsense, and then nothing is written. */
int pupil_report_write(const char *dir);

/* ---- a study ------------------------------------------------------------------------------------- */
enum { PUPIL_ID = 13 }; /* 12 hexadecimal digits and a NUL */

/** The run that makes the caches of some cells whole, and their teacher if it is trained here. */
typedef struct {
    char id[PUPIL_ID];
    pupil_conf *conf; /* owned; run.mode: teach */
} pupil_fill;

/** One run of a study. Points that give the same settings (the teachers of a cell without a teacher) are one cell. */
typedef struct {
    char id[PUPIL_ID];
    int point[PUPIL_STUDY_AXES]; /* -1: it does not matter */
    int64_t seed;
    int fill;         /* that must be whole before; -1: none */
    pupil_conf *conf; /* owned */
} pupil_cell;

typedef struct {
    const pupil_study *study;
    char *dir;
    pupil_cell *cell; /* by seed, then teacher: a teacher is scored once for each seed */
    pupil_fill *fill; /* in the order of the cells that wait for them */
    int n, fills;
} pupil_cells;

/** All cells of a study, with their folders named. `sets` as in pupil_study_settings(). PUPIL_EUSER with lines in `errors`. */
int pupil_cells_make(const pupil_study *s, const char *const *sets, int n, pupil_cells **ret, pupil_buf *errors);
void pupil_cells_free(pupil_cells **c);
/** Publish DIR/study.json. */
int pupil_cells_write(const pupil_cells *c);
/** "teacher=t100 loss=fd seed=2": what a cell is called. */
void pupil_cell_name(const pupil_cells *c, const pupil_cell *cell, pupil_buf *out);

/** Write results.csv, answers.csv, table.tex and report.html of a study directory, from its files alone. Cells that are missing or failed
 *  are left out of the figures and named. */
int pupil_study_report(const char *dir);

#endif
