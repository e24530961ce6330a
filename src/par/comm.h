/* comm.h (private to par): the communicator behind the door, and waiting with a bound. */
#ifndef PUPIL_PAR_COMM_H
#define PUPIL_PAR_COMM_H

#include "pupil/par.h"

#include <mpi.h>

struct pupil_comm {
    MPI_Comm mpi;
    int rank, size;
    int line;        /* which counter of the board is this communicator's */
    int *world_rank; /* of its ranks */
};

/* Turns an MPI return code into a status with MPI's own sentence. */
int mpi_status(int code, const char *what);
/* A wait of this rank in `c` begins: counted on the board. Returns pupil_now(). */
double wait_begin(const pupil_comm *c);
/* Yields the core inside it; aborts the job after the bound. */
void wait_turn(const pupil_comm *c, double since, const char *what);
/* Waits for all requests, polling; aborts the job after the bound. */
int wait_all(const pupil_comm *c, int n, MPI_Request *requests, const char *what);

/* The ranks of c on this rank's node. Collective over c. */
int comm_node(pupil_comm *c, pupil_comm **ret);

/* Ranks of a communicator in groups that share memory: those of a node, or each alone. */
typedef struct {
    pupil_comm *c;           /* those of this group; owned; NULL: each rank is alone */
    int nodes, node;         /* how many groups, and which is this rank's: in the order of their lowest ranks */
    int me, size;            /* in the group */
    int *node_of, *local_of; /* [ranks] of a rank: its group, and which of that group's it is */
    int *first, *member;     /* first[nodes + 1]; member[first[k] + i] is rank i of group k */
} neighbours;

/* The rank of group k that sends to and receives from `rank` of another group: all of a node's ranks have a part in it. */
int neighbours_peer(const neighbours *nb, int rank, int node);
void neighbours_free(neighbours **nb);

/* A segment of every rank of the group, seen by all of them. */
typedef struct {
    const neighbours *nb;
    char **segment; /* [nb->size], zeroed, 64-byte aligned */
    size_t *mapped;
    int64_t barriers;
} segments;

/* Groups and their segments: of `lead` bytes for the first rank of a group, of `bytes` for the others. Ranks are alone where
 * that is asked for and where one of them has no shared memory or no room in it. Collective over c. */
int segments_new(pupil_comm *c, pupil_reduce how, size_t lead, size_t bytes, neighbours **ret_nb, segments **ret);
void segments_free(segments **s); /* not collective */
/* What any rank of the group wrote before, all see after. Collective over the group. */
int segments_barrier(segments *s, const char *what);

#define MPI_TRY(call, what)                                                                                  \
    do {                                                                                                     \
        int try_mpi_ = mpi_status((call), (what));                                                           \
        if (try_mpi_ < 0) return try_mpi_;                                                                   \
    } while (0)

#endif
