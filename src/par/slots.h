/* slots.h (private to par): a sum over slots, seen by its two halves: a rank's own slots (slots.c), and the way of what they
 * come to (buckets.c). */
#ifndef PUPIL_PAR_SLOTS_H
#define PUPIL_PAR_SLOTS_H

#include "comm.h"
#include "tree.h"

#include <stdatomic.h>

/* A node whose value a rank holds: its v-th vector. */
typedef struct {
    node at;
    int rank;
    int64_t v;
} held;

/* How far this rank has taken a bucket: see buckets.c. */
typedef enum { BUCKET_OPEN, BUCKET_OWN, BUCKET_SHARED, BUCKET_POSTED, BUCKET_DONE } bucket_state;

struct pupil_slot_sum {
    pupil_comm *c;
    int64_t slots, n, stride, next; /* stride: n, rounded to cache lines; next own slot */
    int64_t *at;                    /* rank r wants elements [at[r], at[r+1]) */
    node *own;                      /* stack of finished nodes, left to right */
    int64_t depth;
    neighbours *nb;
    segments *mem;                  /* of the ranks of this machine: how far buckets are, then vectors */
    held *leaf, *top;               /* left to right: of single ranks; of machines */
    int64_t leaves, tops;
    part *part, *below;             /* what the total is made of, this rank's elements of each; what a top is made of */
    int64_t parts;
    float *inbox, *total;           /* slices received; their sum */

    int64_t buckets, width, round; /* of `width` elements each, but the last */
    pupil_bucket *bucket;          /* first, end, and times */
    bucket_state *state;
    int64_t *missing;              /* elements of each that are not final */
    int64_t undone;
    MPI_Request *receive, *send;   /* receive[bucket * tops + i]; in the order of posting */
    int *receives;                 /* of each bucket */
    int sends, failed;
};

/* The v-th vector of a rank of this machine. */
float *slots_vector(const pupil_slot_sum *s, int rank, int64_t v);
/* The last slot's elements [a, b) join the nodes before it, as pupil_slot_sum_end() will say. Not collective. */
void slots_join(pupil_slot_sum *s, int64_t a, int64_t b);
/* The first slot of a rank. */
static inline int64_t slots_of(const pupil_slot_sum *s, int rank) { return pupil_slot_first(s->slots, s->c->size, rank); }
static inline bool slots_is_last(const pupil_slot_sum *s) { return s->next + 1 == slots_of(s, s->c->rank + 1); }

size_t buckets_head(const pupil_slot_sum *s); /* bytes before a segment's vectors */
void buckets_list(pupil_slot_sum *s, int64_t width);
void buckets_new(pupil_slot_sum *s);
void buckets_free(pupil_slot_sum *s);
/* A round begins: nothing is final. What goes wrong here and in polls is s->failed. */
void buckets_begin(pupil_slot_sum *s);
/* All that is not yet final is. */
void buckets_close(pupil_slot_sum *s);

#endif
