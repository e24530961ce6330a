/** par: the only room where ranks exist: roles, fixed-order reductions, agreement, bounded waiting.
 *
 *  Rules: MPI is entered from the main thread only (MPI_THREAD_FUNNELED). Every wait polls, yields the core and
 *  has the bound given to pupil_par_start(); when it passes, the rank says what it waited for and which ranks of
 *  its node are behind in that communicator, and the job is aborted: waiting ranks cannot agree with one that is gone.
 *  Sums over slots are taken in one fixed binary tree, so a result does not depend on the number of ranks.
 */
#ifndef PUPIL_PAR_H
#define PUPIL_PAR_H

#include "pupil/base.h"

typedef struct pupil_comm pupil_comm;

/** Start MPI; names this process in the log. Collective over all processes. PUPIL_EMPI. */
int pupil_par_start(int *argc, char ***argv, double timeout);
/** End MPI. Collective. */
void pupil_par_end(void);
/** End the whole job now with this exit code, from one rank. Does not return. Not collective. */
_Noreturn void pupil_par_abort(int exit_code);
/** Change the bound of all waits (seconds). Not collective. */
void pupil_par_set_timeout(double seconds);
/** Say what this rank is doing, for the message of others that wait for it. Not collective, cheap. */
void pupil_par_phase(const char *what);
/** True where this process was started by mpirun or srun as one of several. Not collective, before start too. */
bool pupil_par_launched(void);
/** Ranks on this rank's node; 0 before start, and where there is no shared memory. Not collective. */
int pupil_par_node_ranks(void);
/** "Open MPI v4.1.4, ..." */
const char *pupil_par_version(void);

pupil_comm *pupil_par_world(void); /* borrowed */
int pupil_comm_rank(const pupil_comm *c);
int pupil_comm_size(const pupil_comm *c);
/** Ranks of `c` with the same color >= 0 form a new communicator, in rank order; color < 0 gives NULL.
 *  Collective over c. Released with pupil_comm_free(). */
int pupil_comm_split(pupil_comm *c, int color, pupil_comm **ret);
void pupil_comm_free(pupil_comm **c);

/* ---- together ----------------------------------------------------------------------------------- */
/** All ranks get the worst (most negative) of their codes; ranks whose own code was fine get the reason of the
 *  first rank that has it, as "rank N: ...", the others keep their own. Collective over c. */
int pupil_agree(pupil_comm *c, int code);
/** values[i] = maximum over ranks. Collective over c. */
int pupil_max(pupil_comm *c, int64_t *values, int n);
int pupil_barrier(pupil_comm *c);
/** Collective over c; any size. */
int pupil_bcast(pupil_comm *c, void *data, size_t bytes, int root);
/** Rank r owns bytes [at[r], at[r+1]) of base: to rank 0, which has all of [at[0], at[size]) then; or from rank 0, which had
 *  them all. Collective over c. */
int pupil_collect_ranges(pupil_comm *c, void *base, const size_t *at);
int pupil_deal_ranges(pupil_comm *c, void *base, const size_t *at);
/** Rank r owns bytes [at[r], at[r+1]) of base; afterwards all ranks have all of [at[0], at[size]).
 *  Collective over c. */
int pupil_gather_ranges(pupil_comm *c, void *base, const size_t *at);

/* ---- small messages between two ranks ------------------------------------------------------------ */
#define PUPIL_WORDS 4
/** Send four numbers. Not collective; returns at once (the message is buffered). */
int pupil_post(pupil_comm *c, int to, int tag, const int64_t word[PUPIL_WORDS]);
/** A waiting message with this tag from anyone: true, with its words. Not collective; never blocks. */
bool pupil_poll(pupil_comm *c, int tag, int *ret_from, int64_t ret_word[PUPIL_WORDS]);
/** Yield the core for a moment inside a loop that polls; ends the job when `since` (pupil_now()) is longer ago
 *  than the bound. Not collective. */
void pupil_idle(double since, const char *what);

/* ---- slots -------------------------------------------------------------------------------------- */
/** First slot of a rank, for rank = 0..size: rank r owns slots [slot_of(r), slot_of(r+1)). */
int64_t pupil_slot_first(int64_t slots, int size, int rank);

/** The sum over all slots of a vector of n floats, in the fixed binary tree over slots (a power of two). Elements are on
 *  their way to the ranks that want them as soon as they are final in a rank's last slot, a bucket at a time. */
typedef struct pupil_slot_sum pupil_slot_sum;
/** Rank r will have elements [at[r], at[r+1]) of the sum. Buckets have `bucket` elements, or more (256 buckets at most); 0: one
 *  bucket, so that nothing is sent before the last slot's end. Collective over c. */
int pupil_slot_sum_new(pupil_comm *c, pupil_reduce how, int64_t slots, int64_t n, const int64_t *at, int64_t bucket, pupil_slot_sum **ret);
/** Nodes within which vectors are shared; as many as ranks: none is. Not collective. */
int pupil_slot_sum_nodes(const pupil_slot_sum *s);
void pupil_slot_sum_free(pupil_slot_sum **s);
/** A zeroed vector for this rank's next slot (in order); fill it, then call pupil_slot_sum_end(). */
float *pupil_slot_sum_begin(pupil_slot_sum *s);
void pupil_slot_sum_end(pupil_slot_sum *s);
/** Between the two: elements [first, end) of this slot's vector are final, each said once at most. Polls what is on its way.
 *  Not collective, never blocks; errors are those of the scatter. */
void pupil_slot_sum_final(pupil_slot_sum *s, int64_t first, int64_t end);
/** After all own slots: this rank receives its elements of the total in *ret_mine (borrowed, valid until the next begin).
 *  Collective over c. */
int pupil_slot_sum_scatter(pupil_slot_sum *s, float **ret_mine);
/** Elements [first, end), and when (pupil_now()) in the last round they were ready on this rank; posted to others; done: this
 *  rank's part of them added up over all; and how often they were looked at in between. Nothing of one rank. Not collective. */
typedef struct {
    int64_t first, end, polls;
    double ready, posted, done;
} pupil_bucket;
int64_t pupil_slot_sum_buckets(const pupil_slot_sum *s, const pupil_bucket **ret);
/** n floats, zeroed, of which the ranks of a node have one copy, or each its own. Collective over c. */
typedef struct pupil_shared pupil_shared;
int pupil_shared_new(pupil_comm *c, pupil_reduce how, int64_t n, pupil_shared **ret);
void pupil_shared_free(pupil_shared **s); /* not collective */
float *pupil_shared_data(const pupil_shared *s);
/** Which of the ranks that share a copy this is, and of how many: each may fill its part of it. Not collective. */
int pupil_shared_part(const pupil_shared *s, int *ret_of);
/** Rank r has written elements [at[r], at[r+1]); afterwards all ranks see all of them. Collective over c. */
int pupil_shared_gather(pupil_shared *s, const int64_t *at);

/** out[n] = sum of in[n] over ranks by MPI_Allreduce, in MPI's own order: what `pupil bench allreduce` compares with. Collective
 *  over c. */
int pupil_mpi_sum(pupil_comm *c, const float *in, float *out, int64_t n);

/** values[slots][n] of which each rank has filled its own slots: all ranks get the tree sum of each of the n
 *  columns in ret[n]. Collective over c. */
int pupil_slot_sum_doubles(pupil_comm *c, int64_t slots, double *values, int n, double *ret);

#endif
