/* dataset.h (private to data): an open data set, for the readers of questions about it. */
#ifndef PUPIL_DATA_DATASET_H
#define PUPIL_DATA_DATASET_H

#include "pupil/data.h"
#include "scenes.h"
#include "tars.h"

struct pupil_dataset {
    pupil_source source;
    pupil_conf_scenes scenes;
    tars *tars[2];               /* by split; NULL: no tars are named for it */
    pupil_conf_vqa_files vqa[2]; /* owned */
};

void dataset_scene(const pupil_dataset *d, pupil_split split, int64_t i, scene *ret);

#endif
