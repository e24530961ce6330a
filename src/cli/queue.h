/* queue.h: what the queue of a cluster knows of a run. */
#ifndef PUPIL_CLI_QUEUE_H
#define PUPIL_CLI_QUEUE_H

#include "pupil/base.h"

typedef struct {
    char id[32], state[24], used[24], limit[24], nodes[160]; /* nodes, or why it waits */
    char name[48];                                            /* of its script */
} queued_job;
typedef struct {
    queued_job *job;
    int64_t n, cap;
    bool silent; /* there is no queue here, or it did not answer */
} queue;

/** Run a shell command line; what it printed, owned. PUPIL_EIO if it failed. */
int queue_ask(const char *line, char **ret);
/** The jobs noted in dir/jobs/journal.txt that squeue still lists. */
int queue_of_run(const char *dir, queue *ret);
void queue_free(queue *q);

#endif
