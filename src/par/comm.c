/* comm.c: starting and ending, splitting, waiting with a bound. The board is a few cache lines per rank of a node in
 * shared memory: how many waits the rank has begun in each communicator and what it is doing, so that a rank that
 * waits too long can name those it waits for. */
#include "comm.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { COUNTERS = 8 };
typedef struct {
    int64_t waits[COUNTERS]; /* collectives entered, by pupil_comm.line */
    int32_t world_rank, pid;
    char doing[120];
} board_line;

static pupil_comm world;
static double bound = 300;
static board_line *board; /* of this node, all lines */
static int board_n, board_me;
static MPI_Win board_window = MPI_WIN_NULL;
enum { HOST_ROOM = 64 };
static char (*host_of)[HOST_ROOM]; /* of every rank of the world */

int mpi_status(int code, const char *what)
{
    if (code == MPI_SUCCESS) return 0;
    char text[MPI_MAX_ERROR_STRING];
    int n = 0;
    MPI_Error_string(code, text, &n);
    return pupil_fail(PUPIL_EMPI, "%s: %.*s", what, n, text);
}

static int board_open(void)
{
    MPI_Comm node;
    MPI_TRY(MPI_Comm_split_type(world.mpi, MPI_COMM_TYPE_SHARED, world.rank, MPI_INFO_NULL, &node), "split by node");
    MPI_Comm_rank(node, &board_me);
    MPI_Comm_size(node, &board_n);
    board_line *mine;
    int code = MPI_Win_allocate_shared((MPI_Aint)sizeof(board_line), sizeof(board_line), MPI_INFO_NULL, node, &mine, &board_window);
    if (code == MPI_SUCCESS) {
        MPI_Aint bytes;
        int unit;
        memset(mine, 0, sizeof *mine);
        mine->world_rank = world.rank;
        mine->pid = (int32_t)getpid();
        MPI_Win_shared_query(board_window, 0, &bytes, &unit, &board);
        MPI_Barrier(node);
    } else {
        board_n = 0; /* no shared memory here: messages name nobody */
    }
    MPI_Comm_free(&node);
    return 0;
}

/* Rank, size and members of `mpi`; an MPI code. */
static int comm_fill(pupil_comm *c, MPI_Comm mpi, int line)
{
    MPI_Group all, mine;
    *c = (pupil_comm){.mpi = mpi, .line = line};
    MPI_Comm_set_errhandler(mpi, MPI_ERRORS_RETURN);
    MPI_Comm_rank(mpi, &c->rank);
    MPI_Comm_size(mpi, &c->size);
    int *index = pupil_alloc((size_t)c->size * sizeof *index);
    for (int i = 0; i < c->size; i++) index[i] = i;
    c->world_rank = pupil_alloc((size_t)c->size * sizeof *c->world_rank);
    MPI_Comm_group(MPI_COMM_WORLD, &all);
    MPI_Comm_group(mpi, &mine);
    int code = MPI_Group_translate_ranks(mine, c->size, index, all, c->world_rank);
    MPI_Group_free(&all);
    MPI_Group_free(&mine);
    pupil_free(&index);
    return code;
}

static int hosts_open(const char *host)
{
    char mine[HOST_ROOM] = "";
    memcpy(mine, host, PUPIL_MIN(strlen(host), sizeof mine - 1));
    host_of = pupil_alloc((size_t)world.size * sizeof *host_of);
    return mpi_status(MPI_Allgather(mine, HOST_ROOM, MPI_CHAR, host_of, HOST_ROOM, MPI_CHAR, world.mpi), "host names");
}

int pupil_par_start(int *argc, char ***argv, double timeout)
{
    int provided, n = 0;
    char host[MPI_MAX_PROCESSOR_NAME] = "?";
    MPI_TRY(MPI_Init_thread(argc, argv, MPI_THREAD_FUNNELED, &provided), "MPI_Init_thread");
    MPI_TRY(comm_fill(&world, MPI_COMM_WORLD, 0), "MPI_COMM_WORLD");
    MPI_Get_processor_name(host, &n);
    pupil_log_identity(world.rank, world.size, host);
    bound = timeout;
    PUPIL_TRY(hosts_open(host));
    return board_open();
}

void pupil_par_end(void)
{
    if (board_window != MPI_WIN_NULL) MPI_Win_free(&board_window);
    board = NULL;
    pupil_free(&host_of);
    MPI_Finalize();
}

_Noreturn void pupil_par_abort(int exit_code)
{
    MPI_Abort(MPI_COMM_WORLD, exit_code);
    _exit(exit_code);
}

void pupil_par_set_timeout(double seconds) { bound = seconds; }

void pupil_par_phase(const char *what)
{
    if (board) snprintf(board[board_me].doing, sizeof board->doing, "%s", what);
}

bool pupil_par_launched(void)
{
    static const char *const marks[] = {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK", "SLURM_STEP_ID"};
    for (int i = 0; i < PUPIL_COUNT(marks); i++) {
        extern char **environ;
        for (char **e = environ; *e; e++)
            if (!strncmp(*e, marks[i], strlen(marks[i])) && (*e)[strlen(marks[i])] == '=') return true;
    }
    return false;
}

const char *pupil_par_version(void)
{
    static char text[MPI_MAX_LIBRARY_VERSION_STRING];
    int n = 0;
    MPI_Get_library_version(text, &n);
    char *comma = strchr(text, ',');
    if (comma) *comma = 0;
    return text;
}

pupil_comm *pupil_par_world(void) { return &world; }
int pupil_comm_rank(const pupil_comm *c) { return c->rank; }
int pupil_comm_size(const pupil_comm *c) { return c->size; }

/* The board's line of a communicator to be split off; waits for all of c with a bound, which MPI's splits have not. */
static int next_line(pupil_comm *c, int64_t *ret)
{
    static int64_t splits;
    *ret = splits;
    PUPIL_TRY(pupil_max(c, ret, 1));
    splits = *ret + 1;
    return 0;
}

static int comm_adopt(MPI_Comm mpi, int64_t line, pupil_comm **ret)
{
    pupil_comm *n = pupil_alloc(sizeof *n);
    int code = comm_fill(n, mpi, 1 + (int)(line % (COUNTERS - 1)));
    if (board) board[board_me].waits[n->line] = 0;
    *ret = n;
    return mpi_status(code, "MPI_Comm_split");
}

int pupil_comm_split(pupil_comm *c, int color, pupil_comm **ret)
{
    int64_t line;
    PUPIL_TRY(next_line(c, &line));
    MPI_Comm out;
    MPI_TRY(MPI_Comm_split(c->mpi, color < 0 ? MPI_UNDEFINED : color, c->rank, &out), "MPI_Comm_split");
    *ret = NULL;
    return out == MPI_COMM_NULL ? 0 : comm_adopt(out, line, ret);
}

void pupil_comm_free(pupil_comm **c)
{
    if (!*c || *c == &world) {
        *c = NULL;
        return;
    }
    MPI_Comm_free(&(*c)->mpi);
    pupil_free(&(*c)->world_rank);
    pupil_free(c);
}

/* Is the rank of this line waited for? In `c`: it has entered fewer waits there. Without one: any other rank. */
static bool is_late(const board_line *line, const pupil_comm *c)
{
    if (!c) return line->world_rank != world.rank;
    for (int i = 0; i < c->size; i++)
        if (c->world_rank[i] == line->world_rank) return line->waits[c->line] < board[board_me].waits[c->line];
    return false;
}

int pupil_par_node_ranks(void) { return board_n; }

enum { NAMED = 8 };

/* No rank of this node is late, so one on these. */
static void name_other_hosts(const pupil_comm *c, pupil_buf *out)
{
    const char *named[NAMED];
    int n = 0;
    for (int i = 0; i < c->size; i++) {
        const char *host = host_of[c->world_rank[i]];
        bool seen = !strcmp(host, host_of[world.rank]);
        for (int k = 0; k < PUPIL_MIN(n, NAMED); k++) seen |= !strcmp(host, named[k]);
        if (seen) continue;
        if (n < NAMED) {
            pupil_buf_printf(out, "%s%s", n ? ", " : "no rank of this node, so one on ", host);
            named[n] = host;
        }
        n++;
    }
    if (n > NAMED) pupil_buf_puts(out, " or others");
}

/* One line that names who is late on this node, then the end of the job. */
static _Noreturn void give_up(const pupil_comm *c, const char *what)
{
    pupil_buf late = {0};
    int n = 0;
    for (int i = 0; board && i < board_n; i++)
        if (is_late(&board[i], c) && n++ < NAMED)
            pupil_buf_printf(&late, "%srank %d (pid %d, last seen in: %.*s)", late.len ? ", " : "", board[i].world_rank, board[i].pid,
                             (int)sizeof board->doing, board[i].doing[0] ? board[i].doing : "start-up");
    if (n > NAMED) pupil_buf_printf(&late, " and %d more", n - NAMED);
    if (n == 0) name_other_hosts(c ? c : &world, &late);
    pupil_log(PUPIL_LOG_ERROR, "rank %d waited %.0f s in: %s; %s: %s. The run ends; run the same command again to resume "
              "(ranks.timeout sets this bound)", world.rank, bound, what, c ? "missing" : "the others",
              late.len ? late.s : "nobody that is known");
    pupil_par_abort(1);
}

void pupil_idle(double since, const char *what)
{
    sched_yield();
    if (pupil_now() - since > bound) give_up(NULL, what);
}

double wait_begin(const pupil_comm *c)
{
    if (board) board[board_me].waits[c->line]++;
    return pupil_now();
}

void wait_turn(const pupil_comm *c, double since, const char *what)
{
    sched_yield();
    if (pupil_now() - since > bound) give_up(c, what);
}

int wait_all(const pupil_comm *c, int n, MPI_Request *requests, const char *what)
{
    double since = wait_begin(c);
    for (;;) {
        int done = 0;
        MPI_TRY(MPI_Testall(n, requests, &done, MPI_STATUSES_IGNORE), what);
        if (done) return 0;
        wait_turn(c, since, what);
    }
}

int comm_node(pupil_comm *c, pupil_comm **ret)
{
    int64_t line = 0;
    PUPIL_TRY(next_line(c, &line));
    MPI_Comm out;
    const char *made_up = getenv("PUPIL_NODE_RANKS"); /* tests: nodes of so many ranks; negative: so many nodes, in turn */
    int k = made_up ? atoi(made_up) : 0;
    if (k) MPI_TRY(MPI_Comm_split(c->mpi, k > 0 ? c->rank / k : c->rank % -k, c->rank, &out), "split by made-up node");
    else MPI_TRY(MPI_Comm_split_type(c->mpi, MPI_COMM_TYPE_SHARED, c->rank, MPI_INFO_NULL, &out), "split by node");
    return comm_adopt(out, line, ret);
}
