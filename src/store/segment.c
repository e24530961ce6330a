/* segment.c: one HDF5 file of blocks.
 * Guarantees: the same blocks give the same bytes; a file is believed only if its size, the checksum of
 * everything before the first chunk, its attributes, shapes, types and ids are those of its journal record.
 * The checksum is looked at before HDF5 sees the file, so damaged metadata never reach its parser. */
#include "cache.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { AHEAD = 8 << 20 };
static const char *const set_name[SIDES] = {"image_embeddings", "text_embeddings"}, *const scale_name[SIDES] = {"image_scales", "text_scales"};

int64_t shape_rows(const pupil_cache_shape *s, int64_t block)
{
    return PUPIL_MIN(s->block, s->samples - block * s->block);
}

void seg_close(seg_file *f)
{
    for (int k = 0; k < SIDES; k++) {
        h5_drop(&f->set[k]);
        h5_drop(&f->scale[k]);
    }
    h5_drop(&f->file);
    pupil_free(&f->path);
}

static hid_t value_type(const pupil_cache_shape *s)
{
    switch (s->dtype) {
    case PUPIL_STORED_F16:
        return h5_half();
    case PUPIL_STORED_BF16:
        return H5Tcopy(H5T_STD_U16LE);
    case PUPIL_STORED_I8:
        return H5Tcopy(H5T_STD_I8LE);
    default:
        return H5Tcopy(H5T_IEEE_F32LE);
    }
}

/* [blocks, planes of this side, block, dim], or without dim for scales; chunks of one plane. */
typedef struct {
    const char *name;
    int ndim;
    hsize_t dim[4], chunk[4];
} set_shape;
static set_shape shape_of_set(const pupil_cache_shape *s, int64_t blocks, int side, bool scales)
{
    hsize_t planes = (hsize_t)(side == IMAGE ? s->views : s->captions), block = (hsize_t)s->block, dim = (hsize_t)s->dim;
    return (set_shape){scales ? scale_name[side] : set_name[side], scales ? 3 : 4, {(hsize_t)blocks, planes, block, dim}, {1, 1, block, dim}};
}

/* ---- the head: everything before the chunks ------------------------------------------------------ */
static int crc_head(int fd, const char *path, int64_t bytes, uint32_t *ret_crc)
{
    static const int64_t piece = 1 << 16;
    char *buf = pupil_alloc((size_t)piece);
    uint32_t crc = 0;
    int r = 0;
    for (int64_t at = 0; at < bytes && r == 0;) {
        ssize_t n = pread(fd, buf, (size_t)PUPIL_MIN(piece, bytes - at), (off_t)at);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) {
            r = pupil_fail(PUPIL_EIO, "%s: %s", path, n ? strerror(errno) : "ends early");
            break;
        }
        crc = pupil_crc32c(crc, buf, (size_t)n);
        at += n;
    }
    pupil_free(&buf);
    if (r == 0) *ret_crc = crc;
    return r;
}

static int check_bytes(const char *path, const segment *g)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK), r = 0;
    if (fd < 0 && errno == ELOOP)
        return pupil_fail(PUPIL_EFORMAT, "%s: is a symbolic link, not a plain file", path);
    if (fd < 0) return pupil_fail(PUPIL_EIO, "%s: %s", path, strerror(errno));
    struct stat st;
    uint32_t crc = 0;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        r = pupil_fail(PUPIL_EFORMAT, "%s: is not a plain file", path);
    else if (st.st_size != g->bytes)
        r = pupil_fail(PUPIL_EFORMAT, "%s: has %lld bytes, the journal says %lld", path,
                       (long long)st.st_size, (long long)g->bytes);
    else r = crc_head(fd, path, g->head, &crc);
    if (r == 0 && crc != g->head_crc)
        r = pupil_fail(PUPIL_ECRC, "%s: its first %lld bytes do not match their checksum", path,
                       (long long)g->head);
    close(fd);
    return r;
}

/* ---- reading ------------------------------------------------------------------------------------ */
static int check_attributes(const seg_file *f, const pupil_cache_shape *s, const char *identity)
{
    const struct {
        const char *name;
        int64_t want;
    } number[] = {{"format", 2}, {"block", s->block}, {"dim", s->dim}};
    for (int i = 0; i < PUPIL_COUNT(number); i++) {
        int64_t x;
        PUPIL_TRY(h5_attr_read_i64(f->file, f->path, number[i].name, &x));
        if (x != number[i].want)
            return pupil_fail(PUPIL_EFORMAT, "%s: %s is %lld, this cache has %lld", f->path, number[i].name,
                              (long long)x, (long long)number[i].want);
    }
    char *text;
    PUPIL_TRY(h5_attr_read_text(f->file, f->path, "identity", &text));
    int r = strcmp(text, identity)
                ? pupil_fail(PUPIL_EMISMATCH, "%s: belongs to a cache of another identity (%.12s..)", f->path,
                             text)
                : 0;
    pupil_free(&text);
    return r;
}

static int check_numbers(const seg_file *f, const char *name, const int64_t *want, int64_t n)
{
    h5_set set;
    PUPIL_TRY(h5_set_open(f->file, f->path, name, H5_NUMBERS, &set));
    int64_t *got = pupil_alloc((size_t)n * sizeof *got);
    bool same = set.ndim == 1 && set.n == n &&
                H5Dread(set.set, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, got) >= 0 &&
                !memcmp(got, want, (size_t)n * sizeof *got);
    pupil_free(&got);
    h5_set_close(&set);
    return same ? 0 : pupil_fail(PUPIL_EFORMAT, "%s: %s are not those of its journal record", f->path, name);
}

static int open_set(seg_file *f, const set_shape *want, hid_t type, hid_t *ret)
{
    h5_set set;
    hsize_t chunk[4] = {0};
    PUPIL_TRY(h5_set_open(f->file, f->path, want->name, H5_NUMBERS, &set));
    bool fits = set.ndim == want->ndim && H5Tequal(set.type, type) > 0 && H5Pget_layout(set.plist) == H5D_CHUNKED &&
                H5Pget_nfilters(set.plist) == 0 && H5Pget_chunk(set.plist, 4, chunk) == want->ndim;
    for (int i = 0; i < want->ndim && fits; i++) fits = set.dim[i] == (int64_t)want->dim[i] && chunk[i] == want->chunk[i];
    if (fits) {
        *ret = set.set;
        set.set = 0;
    }
    h5_set_close(&set);
    if (fits) return 0;
    pupil_buf b = {0};
    for (int i = 0; i < want->ndim; i++) pupil_buf_printf(&b, "%s%llu", i ? ", " : "", (unsigned long long)want->dim[i]);
    int r = pupil_fail(PUPIL_EFORMAT, "%s: %s is not [%s] of the cache's number format in chunks of one plane", f->path, want->name, b.s);
    pupil_buf_free(&b);
    return r;
}

static int open_side(seg_file *f, const pupil_cache_shape *s, int64_t n, int side)
{
    set_shape values = shape_of_set(s, n, side, false), scales = shape_of_set(s, n, side, true);
    hid_t type = value_type(s);
    int r = open_set(f, &values, type, &f->set[side]);
    if (r == 0 && shape_scale_bytes(s)) r = open_set(f, &scales, H5T_IEEE_F32LE, &f->scale[side]);
    h5_drop(&type);
    return r;
}

int seg_open(const char *dir, const segment *g, const pupil_cache_shape *s, const char *identity,
             seg_file *ret)
{
    seg_file f = {.path = pupil_join(dir, g->file)};
    int r = check_bytes(f.path, g);
    if (r == 0) r = h5_file_open(f.path, &f.file);
    if (r == 0) r = check_attributes(&f, s, identity);
    if (r == 0) r = check_numbers(&f, "block_ids", g->block, g->n);
    if (r == 0) r = check_numbers(&f, "rows", g->rows, g->n);
    for (int k = 0; k < SIDES && r == 0; k++) r = open_side(&f, s, g->n, k);
    if (r < 0) seg_close(&f);
    else *ret = f;
    return r;
}

static int read_chunk(const seg_file *f, hid_t set, const char *name, const hsize_t at[4], size_t bytes, void *raw)
{
    hsize_t stored = 0;
    uint32_t filters = 0;
    if (H5Dget_chunk_storage_size(set, at, &stored) < 0 || stored != bytes)
        return pupil_fail(PUPIL_EFORMAT, "%s: %s: a block is stored in %llu bytes instead of %zu", f->path, name, (unsigned long long)stored, bytes);
    if (H5Dread_chunk(set, H5P_DEFAULT, at, &filters, raw) < 0) return h5_fail(PUPIL_EFORMAT, f->path, "%s cannot be read", name);
    return 0;
}

int seg_read(const seg_file *f, const pupil_cache_shape *s, int64_t place, int plane, void *raw)
{
    int side = plane_side(s, plane);
    hsize_t at[4] = {(hsize_t)place, (hsize_t)plane_number(s, plane), 0, 0};
    PUPIL_TRY(read_chunk(f, f->set[side], set_name[side], at, shape_data_bytes(s), raw));
    if (!shape_scale_bytes(s)) return 0;
    return read_chunk(f, f->scale[side], scale_name[side], at, shape_scale_bytes(s), (char *)raw + shape_data_bytes(s));
}

/* ---- writing ------------------------------------------------------------------------------------ */
static int create_set(const seg_file *f, const set_shape *want, hid_t type, hid_t *ret)
{
    hid_t space = H5Screate_simple(want->ndim, want->dim, want->dim), how = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(how, want->ndim, want->chunk);
    H5Pset_fill_time(how, H5D_FILL_TIME_NEVER);
    H5Pset_obj_track_times(how, false);
    *ret = H5Dcreate2(f->file, want->name, type, space, H5P_DEFAULT, how, H5P_DEFAULT);
    h5_drop(&how);
    h5_drop(&space);
    return *ret < 0 ? h5_fail(PUPIL_EIO, f->path, "dataset %s cannot be made", want->name) : 0;
}

static int create_side(seg_file *f, const pupil_cache_shape *s, int64_t blocks, int side)
{
    set_shape values = shape_of_set(s, blocks, side, false), scales = shape_of_set(s, blocks, side, true);
    hid_t type = value_type(s);
    int r = create_set(f, &values, type, &f->set[side]);
    if (r == 0 && shape_scale_bytes(s)) r = create_set(f, &scales, H5T_IEEE_F32LE, &f->scale[side]);
    h5_drop(&type);
    return r;
}

int seg_create(const char *path, const pupil_cache_shape *s, const char *identity, int64_t blocks,
               seg_file *ret)
{
    seg_file f = {.path = pupil_strdup(path)};
    /* room for all metadata (chunk index: under 200 bytes a chunk) before the first chunk */
    int r = h5_file_create(path, (1 << 15) + 256 * blocks * shape_planes(s) * (shape_scale_bytes(s) ? 2 : 1), &f.file);
    const int64_t format = 2;
    if (r == 0) r = h5_attr_write(f.file, path, "format", H5T_STD_I64LE, &format);
    if (r == 0) r = h5_attr_write(f.file, path, "block", H5T_STD_I64LE, &s->block);
    if (r == 0) r = h5_attr_write(f.file, path, "dim", H5T_STD_I64LE, &s->dim);
    if (r == 0) r = h5_attr_write_text(f.file, path, "identity", identity);
    for (int k = 0; k < SIDES && r == 0; k++) r = create_side(&f, s, blocks, k);
    if (r < 0) {
        seg_close(&f);
        unlink(path);
    } else {
        *ret = f;
    }
    return r;
}

/* The disk works while the next blocks are made; without this a third of the time goes into the last fsync.
 */
static void start_storing(seg_file *f)
{
    void *fd;
    if (H5Fget_vfd_handle(f->file, H5P_DEFAULT, &fd) >= 0)
        sync_file_range(*(int *)fd, 0, 0, SYNC_FILE_RANGE_WRITE);
    f->waiting = 0;
}

int seg_write(seg_file *f, const pupil_cache_shape *s, int64_t place, int plane, const void *raw)
{
    int side = plane_side(s, plane);
    size_t values = shape_data_bytes(s), scales = shape_scale_bytes(s);
    hsize_t at[4] = {(hsize_t)place, (hsize_t)plane_number(s, plane), 0, 0};
    if (H5Dwrite_chunk(f->set[side], H5P_DEFAULT, 0, at, values, raw) < 0 ||
        (scales && H5Dwrite_chunk(f->scale[side], H5P_DEFAULT, 0, at, scales, (const char *)raw + values) < 0))
        return h5_fail(PUPIL_EIO, f->path, "%s cannot be written", set_name[side]);
    f->waiting += (int64_t)shape_plane_bytes(s);
    if (f->waiting >= AHEAD) start_storing(f);
    return 0;
}

static int write_numbers(const seg_file *f, const char *name, const int64_t *x, int64_t n)
{
    hsize_t dim = (hsize_t)n;
    hid_t space = H5Screate_simple(1, &dim, NULL), how = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_layout(how, H5D_COMPACT); /* in the object header: part of the head */
    H5Pset_obj_track_times(how, false);
    hid_t set = H5Dcreate2(f->file, name, H5T_STD_I64LE, space, H5P_DEFAULT, how, H5P_DEFAULT);
    bool bad = set < 0 || H5Dwrite(set, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, x) < 0;
    int r = bad ? h5_fail(PUPIL_EIO, f->path, "dataset %s cannot be written", name) : 0;
    h5_drop(&set);
    h5_drop(&how);
    h5_drop(&space);
    return r;
}

/* Bytes before the chunks if these fill the rest of the file, else all of it. */
static int measure(const seg_file *f, const pupil_cache_shape *s, haddr_t first, segment *g)
{
    struct stat st;
    int fd = open(f->path, O_RDONLY | O_CLOEXEC), r;
    if (fd < 0 || fstat(fd, &st) < 0) {
        r = pupil_fail(PUPIL_EIO, "%s: %s", f->path, strerror(errno));
    } else {
        g->bytes = st.st_size;
        int64_t chunks = g->n * shape_planes(s) * (int64_t)shape_plane_bytes(s);
        g->head = (int64_t)first + chunks == g->bytes ? (int64_t)first : g->bytes;
        r = crc_head(fd, f->path, g->head, &g->head_crc);
    }
    if (fd >= 0) close(fd);
    return r;
}

/* As long as the blocks that came. */
static int end_set(const seg_file *f, hid_t *set, set_shape want)
{
    int r = *set > 0 && H5Dset_extent(*set, want.dim) < 0 ? h5_fail(PUPIL_EIO, f->path, "%s cannot be ended", want.name) : 0;
    if (*set > 0 && H5Dclose(*set) < 0 && r == 0) r = h5_fail(PUPIL_EIO, f->path, "%s cannot be closed", want.name);
    *set = 0;
    return r;
}

int seg_finish(seg_file *f, const pupil_cache_shape *s, segment *g)
{
    hsize_t at[4] = {0};
    unsigned filters;
    haddr_t first = 0;
    hsize_t stored;
    int r = write_numbers(f, "block_ids", g->block, g->n);
    if (r == 0) r = write_numbers(f, "rows", g->rows, g->n);
    if (r == 0) r = pupil_fault("seg.close");
    if (r == 0 && H5Dget_chunk_info_by_coord(f->set[IMAGE], at, &filters, &first, &stored) < 0)
        r = h5_fail(PUPIL_EIO, f->path, "its first block cannot be found again");
    for (int k = 0; k < SIDES; k++) {
        int ended = end_set(f, &f->set[k], shape_of_set(s, g->n, k, false));
        if (ended == 0) ended = end_set(f, &f->scale[k], shape_of_set(s, g->n, k, true));
        if (r == 0) r = ended;
    }
    if (H5Fclose(f->file) < 0 && r == 0) r = h5_fail(PUPIL_EIO, f->path, "cannot be closed");
    f->file = 0;
    if (r == 0) r = measure(f, s, first, g);
    return r;
}
