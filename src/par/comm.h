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
/* Waits for all requests, polling; aborts the job after the bound. */
int wait_all(const pupil_comm *c, int n, MPI_Request *requests, const char *what);

#define MPI_TRY(call, what)                                                                                  \
    do {                                                                                                     \
        int try_mpi_ = mpi_status((call), (what));                                                           \
        if (try_mpi_ < 0) return try_mpi_;                                                                   \
    } while (0)

#endif
