/* study.h: a study on this machine: what is done of it (study.c), what is left and what it costs (study_plan.c), and the runs
 * themselves, side by side (study_run.c). */
#ifndef PUPIL_CLI_STUDY_H
#define PUPIL_CLI_STUDY_H

#include "cli.h"

#include "pupil/study.h"

typedef enum { CELL_TODO, CELL_DONE, CELL_FAILED } cell_state;

/* ---- study.c ---- */
/** Of a run that has a `finished` or `failed` in its directory. */
cell_state study_cell_state(const pupil_cell *x);
/** All caches that a fill is of are whole. */
bool study_fill_whole(const pupil_fill *f);
/** Publish DIR/settings.yaml of a run. */
int study_write_settings(const pupil_conf *c);
/** The path of a file in the directory of a run; owned by the caller. */
char *study_file(const pupil_conf *c, const char *name);
/** Runs at a time: `asked`, else as many as there are cores for. */
int study_width(const pupil_cells *all, int64_t asked);

/* ---- study_plan.c ---- */
/** Cells, what is there already, hours and disk; touches nothing. */
void study_plan_print(const pupil_cells *all, int width, pupil_buf *out);

/* ---- study_run.c ---- */
/** Run what is missing, `width` runs at a time. 0 | PUPIL_ESTOP after a signal | PUPIL_EMPI when some cell failed. */
int study_run(const pupil_cells *all, int width);

#endif
