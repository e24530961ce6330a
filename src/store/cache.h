/* cache.h: what the files of the teacher cache share: a segment file, and the cache object itself. */
#ifndef STORE_CACHE_H
#define STORE_CACHE_H

#include "h5.h"

enum { IMAGE, TEXT, SIDES };
enum { SEGMENT_BLOCKS_MOST = 4096 }; /* their ids then fit into an object header */

/* ---- identity ----------------------------------------------------------------------------------- */
void identity_sort(const char *text, pupil_buf *out);
/** The value of `key`, not terminated, or NULL. */
const char *identity_value(const char *text, const char *key, size_t *ret_len);
/** "key: this here, that wanted; ..." for the lines that differ; nothing when none do. */
void identity_difference(const char *here, const char *want, pupil_buf *out);

/* ---- one segment -------------------------------------------------------------------------------- */
/** A segment as a journal record tells of it. */
typedef struct {
    char *file;         /* its name in the folder; owned */
    const char *broken; /* why the record cannot be used, or NULL; a literal */
    bool dropped;
    int64_t bytes, head; /* of the file; of what comes before the first chunk */
    uint32_t head_crc;
    int64_t n;             /* blocks */
    int64_t *block, *rows; /* [n], owned */
    uint32_t *crc;         /* [n][planes], owned */
    struct stored_error {
        double cosine, cosine_least, affinity_kl; /* sums, but for the least */
        int64_t rows, blocks;                     /* that were added up */
    } error;
} segment;
typedef struct stored_error stored_error;

/** A segment's file, open. */
typedef struct {
    char *path; /* owned */
    hid_t file, set[SIDES], scale[SIDES]; /* scale: i8 */
    int64_t waiting; /* bytes written since the kernel was last told to store them */
} seg_file;

int64_t shape_rows(const pupil_cache_shape *s, int64_t block);
/** A plane is one view or one caption of all samples of a block: planes 0 .. views-1 are images, then come texts. */
static inline int shape_planes(const pupil_cache_shape *s)
{
    return s->views + s->captions;
}
static inline int plane_side(const pupil_cache_shape *s, int plane)
{
    return plane < s->views ? IMAGE : TEXT;
}
static inline int plane_number(const pupil_cache_shape *s, int plane)
{
    return plane < s->views ? plane : plane - s->views;
}
static inline size_t shape_data_bytes(const pupil_cache_shape *s)
{
    static const size_t bytes[PUPIL_STORED_TYPES] = {2, 4, 2, 1};
    return (size_t)(s->block * s->dim) * bytes[s->dtype];
}
static inline size_t shape_scale_bytes(const pupil_cache_shape *s)
{
    return s->dtype == PUPIL_STORED_I8 ? (size_t)s->block * sizeof(float) : 0;
}
/** A plane as stored: its values, then its scales. */
static inline size_t shape_plane_bytes(const pupil_cache_shape *s)
{
    return shape_data_bytes(s) + shape_scale_bytes(s);
}

/** raw = `rows` rows in the cache's format, zeros behind them; returns how many values fitted (rows * dim: all). */
int64_t plane_pack(const pupil_cache_shape *s, void *raw, const float *x, int64_t rows);
/** The reverse; false where a value is not finite. */
bool plane_unpack(const pupil_cache_shape *s, float *x, const void *raw, int64_t rows);
/** Add what storing x as y changed: cosine of each row; KL of the softmax over cosines of the first 32 rows of both sides. */
void error_cosine(stored_error *e, const float *x, const float *y, int64_t rows, int64_t dim);
void error_affinity(stored_error *e, const float *const x[SIDES], const float *const y[SIDES], int64_t rows, int64_t dim, double scale);

/** Open the file of `g` for reading and hold it against its record and the identity. */
int seg_open(const char *dir, const segment *g, const pupil_cache_shape *s, const char *identity,
             seg_file *ret);
/** Start a file of up to `blocks` blocks at `path`. */
int seg_create(const char *path, const pupil_cache_shape *s, const char *identity, int64_t blocks,
               seg_file *ret);
/** The stored bytes of one plane. */
int seg_read(const seg_file *f, const pupil_cache_shape *s, int64_t place, int plane, void *raw);
int seg_write(seg_file *f, const pupil_cache_shape *s, int64_t place, int plane, const void *raw);
/** End a file of g->n blocks: writes ids and rows, closes it, and sets g->bytes, head and head_crc. */
int seg_finish(seg_file *f, const pupil_cache_shape *s, segment *g);
void seg_close(seg_file *f);

/* ---- the cache ---------------------------------------------------------------------------------- */
typedef struct {
    int64_t block; /* -1: empty */
    int plane;
    uint64_t used;
    float *x;
} cached_plane;

typedef struct {
    int64_t seg; /* -1: empty */
    uint64_t used;
    seg_file f;
} cached_file;

enum { OPEN_FILES = 8 };

/** Who holds a part of the work: a rank of a generation of a lane. share is -1 where nobody does. */
typedef struct {
    int64_t share, generation, rank;
} holder;

struct pupil_cache {
    char *dir, *journal_path, *identity; /* identity: the sorted lines */
    char lane[24];                       /* that this process writes in */
    char digest[65];
    pupil_cache_shape shape;
    int64_t blocks, have;
    pupil_journal journal;
    int64_t seen; /* records taken into seg[] and claims */
    holder *claim;    /* [nclaim], by part */
    int64_t nclaim;
    int64_t *latest;  /* [nlatest], by share: its generation at the record now seen */
    int64_t nlatest;
    segment *seg;
    int64_t nseg, cap_seg;
    struct {
        int32_t seg1, place; /* seg1: 1 + index into seg[], 0 where not published */
    } * where;               /* [blocks] */
    uint64_t clock;
    cached_file file[OPEN_FILES];
    cached_plane *slot;
    int64_t window;
    void *raw; /* one plane as stored */
};

/** Who holds a part; false where nobody does, or one whose lane has begun anew. */
bool cache_holder(const pupil_cache *c, int64_t part, holder *ret);
/** A plane of block `place` of segment `seg` from disk, checked, as float32. */
int cache_load(pupil_cache *c, int64_t seg, int64_t place, int plane, float *x);

#endif
