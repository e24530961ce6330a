/* node.c: the ranks of a node, and memory that they all see. A segment is a POSIX shared memory object that has no name any
 * more once all ranks have mapped it, so nothing stays behind however the ranks end, and giving it back needs nobody else. Its
 * pages are reserved when it is made: a node without room says so then, not with a signal later. */
#include "comm.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

void neighbours_free(neighbours **nb)
{
    if (!*nb) return;
    if ((*nb)->c) pupil_comm_free(&(*nb)->c);
    pupil_free(&(*nb)->node_of);
    pupil_free(nb);
}

/* lowest_of[p]: the lowest rank on p's node. */
static int lowest_ranks(pupil_comm *c, const neighbours *nb, int *lowest_of)
{
    size_t *at = pupil_alloc((size_t)(c->size + 1) * sizeof *at);
    for (int p = 0; p <= c->size; p++) at[p] = (size_t)p * sizeof *lowest_of;
    int r = pupil_bcast(nb->c, &lowest_of[c->rank], sizeof *lowest_of, 0);
    if (r == 0) r = pupil_gather_ranges(c, lowest_of, at);
    pupil_free(&at);
    return r;
}

static int neighbours_new(pupil_comm *c, bool alone, neighbours **ret)
{
    neighbours *nb = pupil_alloc(sizeof *nb);
    nb->node_of = pupil_alloc((size_t)(4 * c->size + 1) * sizeof *nb->node_of);
    nb->local_of = nb->node_of + c->size;
    nb->member = nb->local_of + c->size;
    nb->first = nb->member + c->size;
    int *lowest_of = pupil_alloc((size_t)c->size * sizeof *lowest_of), r = 0;
    for (int p = 0; p < c->size; p++) lowest_of[p] = p;
    if (!alone) r = comm_node(c, &nb->c);
    if (!alone && r == 0) r = lowest_ranks(c, nb, lowest_of);
    for (int p = 0, k = 0; p < c->size; p++) {
        if (lowest_of[p] != p) continue;
        nb->first[k + 1] = nb->first[k];
        for (int q = p; q < c->size; q++) {
            if (lowest_of[q] != p) continue;
            nb->node_of[q] = k;
            nb->local_of[q] = nb->first[k + 1] - nb->first[k];
            nb->member[nb->first[k + 1]++] = q;
        }
        nb->nodes = ++k;
    }
    nb->node = nb->node_of[c->rank];
    nb->me = nb->local_of[c->rank];
    nb->size = nb->first[nb->node + 1] - nb->first[nb->node];
    pupil_free(&lowest_of);
    if (r == 0) *ret = nb;
    else neighbours_free(&nb);
    return r;
}

int neighbours_peer(const neighbours *nb, int rank, int node)
{
    return nb->member[nb->first[node] + rank % (nb->first[node + 1] - nb->first[node])];
}

/* ---- segments --------------------------------------------------------------------------------------- */
enum { HEAD = 64 }; /* bytes before a segment's data: how many barriers its rank has come to */

static _Atomic int64_t *reached(const segments *s, int i) { return (_Atomic int64_t *)(void *)(s->segment[i] - HEAD); }

static void segment_name(char out[64], uint64_t token, int i) { snprintf(out, 64, "/pupil-%016llx-%d", (unsigned long long)token, i); }

/* Rank i's segment under its name; its own is made. */
static bool map(segments *s, uint64_t token, int i)
{
    char name[64];
    struct stat st;
    bool own = i == s->nb->me;
    segment_name(name, token, i);
    int fd = shm_open(name, O_RDWR | (own ? O_CREAT | O_EXCL : 0), 0600);
    if (fd < 0) return false;
    if (own ? posix_fallocate(fd, 0, (off_t)s->mapped[i]) == 0 : fstat(fd, &st) == 0) {
        if (!own) s->mapped[i] = (size_t)st.st_size;
        void *at = mmap(NULL, s->mapped[i], PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (at != MAP_FAILED) s->segment[i] = (char *)at + HEAD;
    }
    close(fd);
    return s->segment[i] != NULL;
}

/* Could all ranks of the node? */
static int all_could(const segments *s, bool *could)
{
    int64_t missing = !*could;
    PUPIL_TRY(pupil_max(s->nb->c, &missing, 1));
    *could = !missing;
    return 0;
}

static int map_all(segments *s, bool *could)
{
    char name[64];
    uint64_t token = (uint64_t)getpid() << 32 ^ (uint64_t)(pupil_now() * 1e9);
    PUPIL_TRY(pupil_bcast(s->nb->c, &token, sizeof token, 0));
    *could = map(s, token, s->nb->me);
    PUPIL_TRY(all_could(s, could));
    for (int i = 0; i < s->nb->size && *could; i++)
        if (i != s->nb->me) *could = map(s, token, i);
    int r = all_could(s, could);
    segment_name(name, token, s->nb->me);
    shm_unlink(name);
    return r;
}

void segments_free(segments **sp)
{
    segments *s = *sp;
    if (!s) return;
    for (int i = 0; i < s->nb->size; i++) {
        char *from = s->segment[i] ? s->segment[i] - HEAD : NULL;
        if (from && s->nb->size > 1) munmap(from, s->mapped[i]);
        else pupil_free(&from);
    }
    pupil_free(&s->segment);
    pupil_free(&s->mapped);
    pupil_free(sp);
}

/* PUPIL_OK with *ret NULL where not all ranks of the group could. */
static int segments_of(const neighbours *nb, size_t bytes, segments **ret)
{
    segments *s = pupil_alloc(sizeof *s);
    bool could = true;
    int r = 0;
    s->nb = nb;
    s->segment = pupil_alloc((size_t)nb->size * sizeof *s->segment);
    s->mapped = pupil_alloc((size_t)nb->size * sizeof *s->mapped);
    s->mapped[nb->me] = (bytes + 2 * HEAD - 1) / HEAD * HEAD;
    if (nb->size > 1) r = map_all(s, &could);
    else s->segment[0] = (char *)pupil_alloc(s->mapped[0]) + HEAD;
    *ret = s;
    if (r < 0 || !could) segments_free(ret);
    return r;
}

int segments_new(pupil_comm *c, pupil_reduce how, size_t lead, size_t bytes, neighbours **ret_nb, segments **ret)
{
    *ret = NULL;
    for (bool alone = how == PUPIL_REDUCE_MESSAGES; !*ret; alone = true) {
        PUPIL_TRY(neighbours_new(c, alone, ret_nb));
        PUPIL_TRY(segments_of(*ret_nb, (*ret_nb)->me ? bytes : lead, ret));
        int64_t missing = !*ret;
        PUPIL_TRY(pupil_max(c, &missing, 1));
        if (!missing) break;
        segments_free(ret);
        neighbours_free(ret_nb);
    }
    return 0;
}

int segments_barrier(segments *s, const char *what)
{
    if (s->nb->size == 1) return 0;
    double since = wait_begin(s->nb->c);
    int64_t now = ++s->barriers;
    atomic_store_explicit(reached(s, s->nb->me), now, memory_order_release);
    for (int i = 0; i < s->nb->size; i++)
        while (atomic_load_explicit(reached(s, i), memory_order_acquire) < now) wait_turn(s->nb->c, since, what);
    return 0;
}

/* ---- one copy a node ----------------------------------------------------------------------------------- */
struct pupil_shared {
    pupil_comm *c;
    neighbours *nb;
    segments *mem;
    size_t *bytes; /* [ranks + 1] */
};

int pupil_shared_new(pupil_comm *c, pupil_reduce how, int64_t n, pupil_shared **ret)
{
    pupil_shared *s = pupil_alloc(sizeof *s);
    *s = (pupil_shared){.c = c, .bytes = pupil_alloc((size_t)(c->size + 1) * sizeof *s->bytes)};
    *ret = s;
    return segments_new(c, how, (size_t)n * sizeof(float), 0, &s->nb, &s->mem);
}

void pupil_shared_free(pupil_shared **s)
{
    if (!*s) return;
    segments_free(&(*s)->mem);
    neighbours_free(&(*s)->nb);
    pupil_free(&(*s)->bytes);
    pupil_free(s);
}

float *pupil_shared_data(const pupil_shared *s) { return (float *)(void *)s->mem->segment[0]; }

int pupil_shared_part(const pupil_shared *s, int *ret_of)
{
    *ret_of = s->nb->size;
    return s->nb->me;
}

/* Between nodes, each rank's range goes once to every other node. */
static int exchange_ranges(const pupil_shared *s, const int64_t *at)
{
    const neighbours *nb = s->nb;
    int me = s->c->rank, nq = 0, r = 0;
    float *data = pupil_shared_data(s);
    MPI_Request *q = pupil_alloc((size_t)(s->c->size + nb->nodes) * sizeof *q);
    for (int p = 0; p < s->c->size && r == 0; p++)
        if (nb->node_of[p] != nb->node && neighbours_peer(nb, p, nb->node) == me)
            r = mpi_status(MPI_Irecv(data + at[p], (int)(at[p + 1] - at[p]), MPI_FLOAT, p, 999, s->c->mpi, &q[nq++]), "gather");
    for (int k = 1; k < nb->nodes && r == 0; k++)
        r = mpi_status(MPI_Isend(data + at[me], (int)(at[me + 1] - at[me]), MPI_FLOAT, neighbours_peer(nb, me, (nb->node + k) % nb->nodes), 999,
                                 s->c->mpi, &q[nq++]), "gather");
    if (r == 0) r = wait_all(s->c, nq, q, "gather");
    pupil_free(&q);
    return r;
}

int pupil_shared_gather(pupil_shared *s, const int64_t *at)
{
    if (s->nb->nodes == s->c->size) {
        for (int p = 0; p <= s->c->size; p++) s->bytes[p] = (size_t)at[p] * sizeof(float);
        return pupil_gather_ranges(s->c, pupil_shared_data(s), s->bytes);
    }
    PUPIL_TRY(segments_barrier(s->mem, "gather"));
    if (s->nb->nodes == 1) return 0;
    PUPIL_TRY(exchange_ranges(s, at));
    return segments_barrier(s->mem, "gather");
}
