/* together.c: agreement, broadcast, gathers, and small messages. All are non-blocking MPI calls waited for with
 * a bound; pieces are at most 1 GiB, since MPI counts are ints. */
#include "comm.h"

#include <string.h>

enum { PIECE = 1 << 30 };

int pupil_max(pupil_comm *c, int64_t *values, int n)
{
    MPI_Request q;
    int64_t in[16];
    PUPIL_REQUIRE(n <= PUPIL_COUNT(in));
    memcpy(in, values, (size_t)n * sizeof *in);
    MPI_TRY(MPI_Iallreduce(in, values, n, MPI_INT64_T, MPI_MAX, c->mpi, &q), "agreement");
    return wait_all(c, 1, &q, "agreement");
}

int pupil_mpi_sum(pupil_comm *c, const float *in, float *out, int64_t n)
{
    PUPIL_REQUIRE(n <= INT32_MAX);
    return mpi_status(MPI_Allreduce(in, out, (int)n, MPI_FLOAT, MPI_SUM, c->mpi), "MPI_Allreduce");
}

int pupil_barrier(pupil_comm *c)
{
    MPI_Request q;
    MPI_TRY(MPI_Ibarrier(c->mpi, &q), "barrier");
    return wait_all(c, 1, &q, "barrier");
}

int pupil_bcast(pupil_comm *c, void *data, size_t bytes, int root)
{
    for (size_t at = 0; at < bytes; at += PIECE) {
        MPI_Request q;
        MPI_TRY(MPI_Ibcast((char *)data + at, (int)PUPIL_MIN((size_t)PIECE, bytes - at), MPI_BYTE, root, c->mpi, &q), "broadcast");
        PUPIL_TRY(wait_all(c, 1, &q, "broadcast"));
    }
    return 0;
}

int pupil_agree(pupil_comm *c, int code)
{
    /* worst code first, then the lowest rank that has it */
    int64_t word[1] = {code < 0 ? (int64_t)-code * 1000000 + (999999 - c->rank) : 0};
    PUPIL_TRY(pupil_max(c, word, 1));
    if (word[0] == 0) return 0;
    int worst = -(int)(word[0] / 1000000), first = 999999 - (int)(word[0] % 1000000);
    char text[1024] = "";
    if (c->rank == first) snprintf(text, sizeof text, "%s", pupil_reason());
    PUPIL_TRY(pupil_bcast(c, text, sizeof text, first));
    if (code < 0) return worst;
    return pupil_fail(worst, "rank %d: %s", first, text);
}

/* Ranges of a vector in units of the largest power of two that divides all bounds, so that counts fit an int. */
typedef struct {
    int *count, *from;
    MPI_Datatype type;
    char *first, *mine;
} pieces;

static pieces pieces_of(const pupil_comm *c, void *base, const size_t *at)
{
    size_t unit = PIECE;
    for (int r = 0; r <= c->size; r++)
        while ((at[r] - at[0]) % unit) unit /= 2;
    pieces p = {.count = pupil_alloc(2 * (size_t)c->size * sizeof(int)), .first = (char *)base + at[0], .mine = (char *)base + at[c->rank]};
    p.from = p.count + c->size;
    for (int r = 0; r < c->size; r++) {
        PUPIL_REQUIRE(at[r] <= at[r + 1] && (at[r + 1] - at[0]) / unit <= INT32_MAX);
        p.count[r] = (int)((at[r + 1] - at[r]) / unit);
        p.from[r] = (int)((at[r] - at[0]) / unit);
    }
    MPI_Type_contiguous((int)unit, MPI_BYTE, &p.type);
    MPI_Type_commit(&p.type);
    return p;
}

static int pieces_wait(const pupil_comm *c, pieces *p, int code, MPI_Request *q, const char *what)
{
    int r = mpi_status(code, what);
    if (r == 0) r = wait_all(c, 1, q, what);
    MPI_Type_free(&p->type);
    pupil_free(&p->count);
    return r;
}

int pupil_gather_ranges(pupil_comm *c, void *base, const size_t *at)
{
    MPI_Request q;
    if (c->size == 1) return 0;
    pieces p = pieces_of(c, base, at);
    return pieces_wait(c, &p, MPI_Iallgatherv(MPI_IN_PLACE, 0, p.type, p.first, p.count, p.from, p.type, c->mpi, &q), &q, "gather");
}

int pupil_collect_ranges(pupil_comm *c, void *base, const size_t *at)
{
    MPI_Request q;
    if (c->size == 1) return 0;
    pieces p = pieces_of(c, base, at);
    const void *from = c->rank ? p.mine : MPI_IN_PLACE;
    return pieces_wait(c, &p, MPI_Igatherv(from, p.count[c->rank], p.type, p.first, p.count, p.from, p.type, 0, c->mpi, &q), &q, "collecting");
}

int pupil_deal_ranges(pupil_comm *c, void *base, const size_t *at)
{
    MPI_Request q;
    if (c->size == 1) return 0;
    pieces p = pieces_of(c, base, at);
    void *to = c->rank ? p.mine : MPI_IN_PLACE;
    return pieces_wait(c, &p, MPI_Iscatterv(p.first, p.count, p.from, p.type, to, p.count[c->rank], p.type, 0, c->mpi, &q), &q, "dealing");
}

/* Posted messages stay here until MPI has taken them. */
typedef struct {
    int64_t word[PUPIL_WORDS];
    MPI_Request request;
    bool busy;
} outgoing;
static outgoing **posted;
static int64_t nposted, cap_posted;

int pupil_post(pupil_comm *c, int to, int tag, const int64_t word[PUPIL_WORDS])
{
    int64_t i = 0;
    for (; i < nposted; i++) {
        int done = 1;
        if (posted[i]->busy) MPI_Test(&posted[i]->request, &done, MPI_STATUS_IGNORE);
        if (done) break;
    }
    if (i == nposted) {
        PUPIL_GROW(posted, nposted, cap_posted);
        posted[nposted++] = pupil_alloc(sizeof(outgoing));
    }
    outgoing *o = posted[i];
    memcpy(o->word, word, sizeof o->word);
    o->busy = true;
    return mpi_status(MPI_Isend(o->word, PUPIL_WORDS, MPI_INT64_T, to, tag, c->mpi, &o->request), "message");
}

bool pupil_poll(pupil_comm *c, int tag, int *ret_from, int64_t ret_word[PUPIL_WORDS])
{
    int there = 0;
    MPI_Status st;
    if (MPI_Iprobe(MPI_ANY_SOURCE, tag, c->mpi, &there, &st) != MPI_SUCCESS || !there) return false;
    MPI_Recv(ret_word, PUPIL_WORDS, MPI_INT64_T, st.MPI_SOURCE, tag, c->mpi, MPI_STATUS_IGNORE);
    *ret_from = st.MPI_SOURCE;
    return true;
}
