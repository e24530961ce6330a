/* dataset.h (private to data): an open data set, for the readers of questions about it. */
#ifndef PUPIL_DATA_DATASET_H
#define PUPIL_DATA_DATASET_H

#include "files.h"
#include "pupil/data.h"
#include "scenes.h"
#include "table.h"
#include "tars.h"

#include <pthread.h>

struct pupil_dataset {
    pupil_source source;
    bool skip_bad;
    pupil_conf_scenes scenes;
    tars *tars[2]; /* by split; at most one of these is there, none where no files are named for it */
    files *files[2];
    faults left_out[2], undecoded;
    pthread_mutex_t lock; /* of the open tars, of undecoded and of black, while pictures are asked for */
    map64 black; /* pictures that were asked for and cannot be decoded, as split and sample */
    char **class_name, *class_template;
    int classes;
    int64_t *by_name[2]; /* samples sorted by the last part of their keys; made when first asked for */
    pupil_conf_vqa_files vqa[2]; /* owned */
};

void dataset_scene(const pupil_dataset *d, pupil_split split, int64_t i, scene *ret);

/* ---- of tars and files alone ---- */
const char *dataset_key(const pupil_dataset *d, pupil_split split, int64_t i); /* borrowed */
enum { SEVERAL = -2, UNKNOWN = -1 };
/* The sample with this key; or else, for a name without '/', the one whose key ends in "/name". */
int64_t dataset_find(pupil_dataset *d, pupil_split split, const char *name);

/* dataset_open.c: the files that data.train and data.test name, as samples. */
int dataset_open_files(pupil_dataset *d, const pupil_conf_data *conf, const char *index_dir);

#endif
