/** store: teacher outputs and checkpoints at rest, whole and of known origin, or not there.
 *
 *  The only room that knows HDF5. It knows nothing of MPI: one file per writer, the serial library.
 *  Not collective, all of it. A store object belongs to one thread.
 *
 *  ---- The journal (journal.txt in a cache or checkpoint folder) --------------------------------------
 *  Text, one record a line, append-only:      KIND key=value key=value ... crc=XXXXXXXX\n
 *  crc is CRC-32C of all bytes before " crc=". Values are percent-encoded where they hold a byte <= 0x20,
 *  '%', '=' or 0x7f. An append takes a lock (fcntl) on the file, closes a torn last line with a newline,
 *  writes the record in one write(2), and fsyncs. A reader ignores lines whose crc does not hold.
 *  "gen lane=L n=N host=... pid=... time=..." opens generation N of lane L (N = last + 1). A record with
 *  lane=L n=M is believed only if M was the latest generation of L when the line was appended: a writer that
 *  was replaced (fencing) may go on writing, but is no longer believed. File names carry generation and rank.
 *  A record without lane= is always believed. No line is longer than 4 MiB. Where a file system has no locks,
 *  O_APPEND alone keeps lines apart.
 *
 *  ---- A teacher cache folder -------------------------------------------------------------------------
 *  identity.txt      what the cache is: "key: value" lines, sorted; written once, through publish. samples, block,
 *                    dim, views, captions and dtype (f16, f32, bf16 or i8) must be among the keys: they are the shape
 *  journal.txt       records "seg lane= n= file= bytes= head=BYTES/CRC blocks=3,17,5 rows=256,256,80
 *                    crcs=aabbccdd/eeff0011,... error=0.9999/0.998/1.2e-7" (crcs, per block: CRC-32C of each plane as
 *                    stored, images then texts, an i8 plane's scales behind its values; head: of all bytes before the first
 *                    chunk, which are all that are not chunks; error: what the number format cost, mean and least cosine
 *                    of rows before and after, mean KL of the affinities of 32 rows of every eighth block; not for
 *                    f32).
 *                    "drop file=" takes back what was said of a file
 *                    "claim lane= n= rank= part=" takes part of the work, see pupil_cache_claim()
 *  seg-gGGGG-rRRRR-KKKKK.h5   one segment: K-th file of rank R in generation G of lane 0 (seg-sSSSS-g... of lane S,
 *                    where several jobs write, see pupil_cache_share()). HDF5, earliest format:
 *    /image_embeddings  [nblk, views, block, dim]      float16 (IEEE half), float32, bfloat16 as uint16, or int8; little
 *                                            endian, before normalisation; chunk = [1, 1, block, dim]: a plane, no filters
 *    /text_embeddings   [nblk, captions, block, dim]   the same
 *    /image_scales, /text_scales  [nblk, views or captions, block]   float32, i8 alone: value = int8 * scale
 *    /block_ids         [nblk] int64         block b holds samples b*block .. b*block+rows-1 of the data set
 *    /rows              [nblk] int64         valid rows; the rest of a chunk is zeros
 *    attributes of /    format=2, identity (sha256 hex), block, dim
 *  A reader must refuse: a file not in a believed record, anything but a plain file, another size than `bytes`,
 *  a head or a block whose CRC does not hold, other attributes, shapes, dtype or ids than identity and record say,
 *  a value that is not finite. Equal blocks in equal order give equal files, to the byte.
 */
#ifndef PUPIL_STORE_H
#define PUPIL_STORE_H

#include "pupil/base.h"

/* ---- journal ------------------------------------------------------------------------------------ */
typedef struct {
    char kind[16];
    struct {
        const char *key, *value; /* decoded; borrowed from text */
    } field[24];
    int nfields;
    char *text;    /* owned by the journal that read it */
    bool believed; /* false: superseded generation */
} pupil_record;

/** Value of `key`, or NULL. Borrowed. */
const char *pupil_record_get(const pupil_record *r, const char *key);

typedef struct {
    pupil_record *record; /* in file order, crc-checked; "gen" records included */
    int64_t n, cap;
    int64_t torn;   /* lines dropped because their crc did not hold */
    int64_t offset; /* bytes read so far: pupil_journal_read() again continues there */
    struct {
        char *name;
        int64_t latest; /* generation opened last */
    } *lane;
    int64_t nlanes, cap_lanes;
} pupil_journal;

/** Read what was appended since the last read of this object (zero-initialise it first). A missing file is
 *  an empty journal. A torn last line is left for the next read. PUPIL_EIO | PUPIL_EFORMAT (it became shorter). */
int pupil_journal_read(const char *path, pupil_journal *j);
void pupil_journal_free(pupil_journal *j);
/** Append "KIND key=value ... crc=" ; `pairs` is key, value, key, value, ..., NULL; values unencoded.
 *  Fault points "journal.write", "journal.fsync". PUPIL_EIO. */
int pupil_journal_append(const char *path, const char *kind, const char *const *pairs);
/** Open the next generation of `lane` ("0" for a job alone); returns its number in ret_n. */
int pupil_journal_generation(const char *path, const char *lane, int64_t *ret_n);

/* ---- identity ----------------------------------------------------------------------------------- */
typedef struct {
    pupil_buf text; /* "key: value\n" lines in the order added */
} pupil_identity;
void pupil_identity_add(pupil_identity *id, const char *key, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/** SHA-256 of the lines, sorted: that of identity.txt. */
void pupil_identity_digest(const pupil_identity *id, char ret_hex[65]);
void pupil_identity_free(pupil_identity *id);

/* ---- teacher cache ------------------------------------------------------------------------------ */
typedef struct pupil_cache pupil_cache;

typedef enum { PUPIL_STORED_F16, PUPIL_STORED_F32, PUPIL_STORED_BF16, PUPIL_STORED_I8, PUPIL_STORED_TYPES } pupil_stored;
extern const char *const pupil_stored_name[PUPIL_STORED_TYPES]; /* "f16", ... */
enum { PUPIL_CACHE_PLANES = 128 };                               /* most views and captions together */
typedef struct {
    int64_t samples, block, dim; /* data set size; samples a block; embedding width */
    pupil_stored dtype;
    int views, captions; /* image and text embeddings of a sample, one of each at least */
} pupil_cache_shape;
/** Bytes of a sample: of all its views and captions. */
double pupil_cache_sample_bytes(const pupil_cache_shape *s);

/** The shape's lines of an identity. */
void pupil_identity_shape(pupil_identity *id, const pupil_cache_shape *s);
/** Open the cache in `dir`, made if absent. If the folder already holds an identity that differs from
 *  `want`, PUPIL_EMISMATCH with the fields that differ ("teacher.weights: 12ab.. here, 34cd.. wanted; ...").
 *  `want` is borrowed and holds the shape too (pupil_identity_shape()). */
int pupil_cache_open(const char *dir, const pupil_identity *want, const pupil_cache_shape *shape, pupil_cache **ret);
/** Open what is there, whatever it is (cache ls / verify): the shape is in the identity. PUPIL_ENOTFOUND if there is
 *  no cache in `dir`. */
int pupil_cache_open_any(const char *dir, pupil_cache **ret);
void pupil_cache_free(pupil_cache **c);
const pupil_cache_shape *pupil_cache_shape_of(const pupil_cache *c);
/** Learn of segments published since (re-reads the journal's tail). */
int pupil_cache_refresh(pupil_cache *c);
int64_t pupil_cache_blocks(const pupil_cache *c);      /* blocks in a whole cache */
int64_t pupil_cache_blocks_have(const pupil_cache *c); /* published */
bool pupil_cache_has(const pupil_cache *c, int64_t block);

/** One plane of a block as float32 [rows, dim]: view k (side 0) or caption k (side 1); borrowed: good until as many others
 *  as the window holds have been read. Verified on every read from disk: all that a reader must refuse, above. Keeps the
 *  last few planes (`window` set by pupil_cache_window(), default 32) in memory and a few files open. A row of zeros has
 *  no embedding: its teacher gave none (data.on_error: skip).
 *  PUPIL_ENOTFOUND (not published) | PUPIL_ECRC | PUPIL_EFORMAT | PUPIL_EMISMATCH | PUPIL_EIO | PUPIL_ENUMERIC;
 *  the reason names file and block. */
int pupil_cache_read(pupil_cache *c, int64_t block, int side, int k, const float **ret, int64_t *ret_rows);
void pupil_cache_window(pupil_cache *c, int64_t planes);

/** Write side: one writer a rank. Writes segments of up to `segment_blocks` (1 to 4096) blocks. */
typedef struct pupil_cache_writer pupil_cache_writer;
int pupil_cache_writer_new(pupil_cache *c, int64_t generation, int rank, int64_t segment_blocks,
                           pupil_cache_writer **ret);
/** Add block `block`: image[views][rows][dim], text[captions][rows][dim], converted here; values that are not finite
 *  are refused with PUPIL_ENUMERIC naming block and row. When the segment is full it is published:
 *  `*.part` -> H5Fclose -> fsync -> rename -> fsync(dir) -> journal record -> fsync; *ret_published is then
 *  the number of blocks that became visible, else 0. Fault points "seg.write", "seg.close". A failure to write loses
 *  the blocks not yet published; PUPIL_EIO too when a later generation has replaced this writer. */
int pupil_cache_writer_add(pupil_cache_writer *w, int64_t block, const float *image, const float *text, int64_t rows,
                           int64_t *ret_published);
/** Publish a part-filled segment. */
int pupil_cache_writer_flush(pupil_cache_writer *w, int64_t *ret_published);
/** Frees without publishing what was not flushed (its .part file is removed). */
void pupil_cache_writer_free(pupil_cache_writer **w);
/** Open generation N of this cache's lane in its journal; call on one rank, before writers are made. Also
 *  removes *.part files of the lane's older generations. */
int pupil_cache_generation(pupil_cache *c, int64_t *ret_n);
/** Several jobs may fill one cache at the same time: each writes in a lane of its own, so that a job that is started
 *  again replaces itself alone. share: its number, 1 to 2^20; 0, the default, for a job alone. Call before
 *  pupil_cache_generation() and on every rank. */
void pupil_cache_share(pupil_cache *c, int64_t share);
/** *ret_mine: part `part` (any way to number the work, the same in all jobs) is this rank's from now on. The first
 *  claim in the journal wins, and is void from the moment its lane opens its next generation: what a job
 *  held when it died is free once it has been started again. */
int pupil_cache_claim(pupil_cache *c, int64_t generation, int rank, int64_t part, bool *ret_mine);

/** `pupil cache ls`: identity, blocks, bytes, segments, generations, what is not believed. One text for a person,
 *  or with json=true one JSON object of the same facts. */
int pupil_cache_describe(pupil_cache *c, bool json, pupil_buf *out);
/** `pupil cache verify`: reads every block; appends one line per problem to `problems` (file, block, cause) and
 *  returns their count in ret_n. */
int pupil_cache_verify(pupil_cache *c, pupil_buf *problems, int64_t *ret_n);
/** `pupil cache verify --drop`: append "drop" records so that broken segments are no longer believed and
 *  the next run computes their blocks again. */
int pupil_cache_drop_broken(pupil_cache *c, int64_t *ret_n);

/** The identity's "key: value" lines, sorted; borrowed. */
const char *pupil_cache_identity(const pupil_cache *c);
/** The value of `key` in such lines, owned by the caller; NULL if it is not there. */
char *pupil_identity_get(const char *lines, const char *key);

/* ---- embeddings that another program made ---------------------------------------------------------- */
/** A source is an HDF5 file or a folder of .npy files, N rows, in any order of samples:
 *    HDF5     datasets image_embeddings and text_embeddings [N, dim], float16 or float32, little endian, in any layout
 *             that is wholly stored in the file; keys [N], text of fixed or variable length; attributes of / tell of the teacher
 *    folder   image_embeddings.npy and text_embeddings.npy, '<f2' or '<f4', C order; keys and the rest lie elsewhere
 *  All sources together are one matrix of rows a side. Values are passed on unchecked. */
typedef struct pupil_embeddings pupil_embeddings;
/** `path`: n >= 1 sources, or folders of HDF5 files (*.h5, *.hdf5, by name). All must have the same dim. */
int pupil_embeddings_open(const char *const *path, int n, pupil_embeddings **ret);
void pupil_embeddings_free(pupil_embeddings **e);
int64_t pupil_embeddings_rows(const pupil_embeddings *e);
int64_t pupil_embeddings_dim(const pupil_embeddings *e);
int64_t pupil_embeddings_sources(const pupil_embeddings *e);
/** Path of source i, borrowed, and which rows are its. */
const char *pupil_embeddings_source(const pupil_embeddings *e, int64_t i, int64_t *ret_first, int64_t *ret_rows);
/** Rows first .. first+n-1 of side 0 (images) or 1 (texts), as float32. */
int pupil_embeddings_read(pupil_embeddings *e, int side, int64_t first, int64_t n, float *out);
/** Append the keys of source i, each ended by a NUL; none is empty. PUPIL_ENOTFOUND for a folder. */
int pupil_embeddings_keys(pupil_embeddings *e, int64_t i, pupil_buf *text);
/** n attributes of source i, each owned by the caller, as text: a text, a number, or "0.5, 0.25" for up to 16 of them.
 *  NULL where it is not there; a folder has none. */
int pupil_embeddings_attributes(pupil_embeddings *e, int64_t i, const char *const *name, int n, char **ret);

/* ---- tensors in an HDF5 file (checkpoints, embed, loss, preprocess) ------------------------------- */
typedef enum { PUPIL_H5_F32, PUPIL_H5_F64, PUPIL_H5_I64, PUPIL_H5_U8 } pupil_h5_type;
typedef struct pupil_h5 pupil_h5; /* an open file */
int pupil_h5_create(const char *path, pupil_h5 **ret); /* truncates; publish it yourself */
int pupil_h5_open(const char *path, pupil_h5 **ret);
int pupil_h5_close(pupil_h5 **h); /* reports write errors */
/** Write a dataset; groups in `name` ("a/b") are made. dims[0..ndim-1], ndim 0 = scalar. */
int pupil_h5_write(pupil_h5 *h, const char *name, pupil_h5_type type, int ndim, const int64_t *dims, const void *data);
/** Shape of a dataset: ndim and up to 8 dims. What it says is wholly stored in this file (PUPIL_EFORMAT else), so it
 *  may be allocated by. PUPIL_ENOTFOUND. */
int pupil_h5_shape(pupil_h5 *h, const char *name, int *ret_ndim, int64_t ret_dims[8]);
/** Read a dataset of exactly n elements, converted to `type`, into data. Floats of any width and whole numbers become
 *  floats; I64 takes whole numbers only, U8 bytes only. */
int pupil_h5_read(pupil_h5 *h, const char *name, pupil_h5_type type, int64_t n, void *data);
bool pupil_h5_has(pupil_h5 *h, const char *name);
int pupil_h5_write_text(pupil_h5 *h, const char *name, const char *text); /* string attribute of / */
int pupil_h5_read_text(pupil_h5 *h, const char *name, char **ret);        /* owned by the caller */

#endif
