/* h5.c: files, attributes and datasets of HDF5 behind checks.
 * Guarantees: HDF5 prints nothing; no file is locked (what we read was published whole and does not change);
 * a dataset that passed h5_set_open() has as many stored bytes as its shape says, all in this file. */
#include "h5.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ---- errors ------------------------------------------------------------------------------------- */
static herr_t innermost(unsigned n, const H5E_error2_t *e, void *out)
{
    if (n == 0 && e->desc) snprintf(out, 256, "%s", e->desc);
    return 0;
}

int h5_fail(int code, const char *path, const char *fmt, ...)
{
    char inner[256] = "", what[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, innermost, inner);
    const char *number = strstr(inner, "errno = ");
    int cause = number ? atoi(number + 8) : 0;
    if (cause) return pupil_fail(PUPIL_EIO, "%s: %s: %s", path, what, strerror(cause));
    return pupil_fail(code, inner[0] ? "%s: %s (HDF5: %s)" : "%s: %s", path, what, inner);
}

/* Errors go to h5_fail(), not to the screen; the setting belongs to the calling thread. */
static void be_silent(void)
{
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
}

/* ---- files -------------------------------------------------------------------------------------- */
void h5_drop(hid_t *id)
{
    if (*id > 0) H5Idec_ref(*id);
    *id = 0;
}

static hid_t access_list(int64_t meta_bytes)
{
    be_silent();
    hid_t p = H5Pcreate(H5P_FILE_ACCESS);
#if H5_VERSION_GE(1, 10, 7)
    H5Pset_file_locking(p, false, true);
#endif
    if (meta_bytes) H5Pset_meta_block_size(p, (hsize_t)meta_bytes);
    return p;
}

int h5_file_create(const char *path, int64_t meta_bytes, hid_t *ret)
{
    hid_t access = access_list(meta_bytes);
    hid_t f = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, access);
    int r = f < 0 ? h5_fail(PUPIL_EIO, path, "cannot be made") : 0;
    h5_drop(&access);
    if (r == 0) *ret = f;
    return r;
}

int h5_file_open(const char *path, hid_t *ret)
{
    struct stat st;
    if (stat(path, &st) < 0)
        return pupil_fail(errno == ENOENT ? PUPIL_ENOTFOUND : PUPIL_EIO, "%s: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode)) return pupil_fail(PUPIL_EFORMAT, "%s: is not a plain file", path);
    hid_t access = access_list(0);
    hid_t f = H5Fopen(path, H5F_ACC_RDONLY, access);
    int r = f < 0 ? h5_fail(PUPIL_EFORMAT, path, "cannot be opened as HDF5") : 0;
    h5_drop(&access);
    if (r == 0) *ret = f;
    return r;
}

/* ---- datasets ----------------------------------------------------------------------------------- */
hid_t h5_half(void)
{
    hid_t t = H5Tcopy(H5T_IEEE_F32LE);
    H5Tset_fields(t, 15, 10, 5, 0, 10);
    H5Tset_size(t, 2);
    H5Tset_ebias(t, 15);
    return t;
}

/* Bit fields made up by a damaged file send HDF5's conversions out of bounds: only the usual types pass. */
static bool usual_number(hid_t type)
{
    size_t size = H5Tget_size(type);
    if (H5Tget_class(type) == H5T_INTEGER)
        return (size == 1 || size == 2 || size == 4 || size == 8) && H5Tget_precision(type) == 8 * size &&
               H5Tget_offset(type) == 0;
    const hid_t known[] = {H5T_IEEE_F32LE, H5T_IEEE_F64LE, H5T_IEEE_F32BE, H5T_IEEE_F64BE};
    bool found = false;
    for (int i = 0; i < PUPIL_COUNT(known); i++) found |= H5Tequal(type, known[i]) > 0;
    hid_t half = h5_half();
    found |= H5Tequal(type, half) > 0;
    h5_drop(&half);
    return found;
}

static herr_t refuse_link(const char *file, const char *group, const char *child_file,
                          const char *child_object, unsigned *flags, hid_t fapl, void *data)
{
    (void)file, (void)group, (void)child_file, (void)child_object, (void)flags, (void)fapl, (void)data;
    return -1;
}

static int read_shape(h5_set *s, const char *path, const char *name)
{
    hid_t space = H5Dget_space(s->set);
    hsize_t dim[H5S_MAX_RANK];
    int ndim = H5Sget_simple_extent_ndims(space);
    H5S_class_t class = H5Sget_simple_extent_type(space);
    if (ndim >= 0) H5Sget_simple_extent_dims(space, dim, NULL);
    h5_drop(&space);
    if (class == H5S_NULL || ndim < 0 || ndim > PUPIL_COUNT(s->dim))
        return pupil_fail(PUPIL_EFORMAT, "%s: dataset %s has no shape of at most 8 dimensions", path, name);
    s->ndim = ndim;
    s->n = 1;
    for (int i = 0; i < ndim; i++) {
        if (dim[i] > INT64_MAX || __builtin_mul_overflow(s->n, (int64_t)dim[i], &s->n))
            return pupil_fail(PUPIL_EFORMAT, "%s: dataset %s is impossibly large", path, name);
        s->dim[i] = (int64_t)dim[i];
    }
    return 0;
}

/* All chunks were written and none is larger than what a reader may take into memory. */
static bool chunks_fit(const h5_set *s)
{
    hsize_t chunk[8] = {0}, have = 0;
    if (s->ndim < 1 || H5Pget_chunk(s->plist, s->ndim, chunk) != s->ndim) return false;
    double count = 1, bytes = (double)s->size;
    for (int i = 0; i < s->ndim; i++) {
        if (chunk[i] == 0) return false;
        count *= (double)(((hsize_t)s->dim[i] + chunk[i] - 1) / chunk[i]);
        bytes *= (double)chunk[i];
    }
    if (bytes > 0x1p30) return false;
    hid_t space = H5Dget_space(s->set);
    bool counted = H5Dget_num_chunks(s->set, space, &have) >= 0;
    h5_drop(&space);
    return counted && (double)have == count;
}

static bool stored_whole(hid_t file, const h5_set *s)
{
    enum { DEFLATE_AT_BEST = 1032 };
    hsize_t bytes = 0;
    if (s->n == 0) return true;
    double want = (double)s->n * (double)s->size, have = (double)H5Dget_storage_size(s->set);
    if (H5Fget_filesize(file, &bytes) < 0 || have > (double)bytes) return false;
    switch (H5Pget_layout(s->plist)) {
    case H5D_COMPACT:
        return have == want;
    case H5D_CONTIGUOUS:
        return have == want && H5Pget_external_count(s->plist) == 0;
    case H5D_CHUNKED:
        return have * DEFLATE_AT_BEST >= want && chunks_fit(s);
    default:
        return false; /* virtual: a missing source reads as zeros */
    }
}

/* Text of a variable length takes 16 bytes in its dataset, where addresses have 8: length, address, index. */
static size_t stored_size(hid_t type)
{
    return H5Tis_variable_str(type) > 0 ? 16 : H5Tget_size(type);
}

int h5_set_open(hid_t file, const char *path, const char *name, h5_use use, h5_set *ret)
{
    enum { SLOTS = 12421, CHUNKS = 64 << 20 };
    h5_set s = {0};
    be_silent();
    hid_t access = H5Pcreate(H5P_DATASET_ACCESS);
    H5Pset_elink_cb(access, refuse_link, NULL);
    if (use == H5_ROWS) H5Pset_chunk_cache(access, SLOTS, CHUNKS, 0.75);
    s.set = H5Dopen2(file, name, access);
    int r = s.set < 0 ? h5_fail(PUPIL_ENOTFOUND, path, "there is no dataset %s", name) : 0;
    h5_drop(&access);
    if (r < 0) return r;
    s.type = H5Dget_type(s.set);
    s.plist = H5Dget_create_plist(s.set);
    s.size = stored_size(s.type);
    if (use == H5_TEXT ? H5Tget_class(s.type) != H5T_STRING : !usual_number(s.type))
        r = pupil_fail(PUPIL_EFORMAT, "%s: dataset %s does not hold %s", path, name,
                       use == H5_TEXT ? "text" : "numbers of a usual type");
    if (r == 0) r = read_shape(&s, path, name);
    if (r == 0 && !stored_whole(file, &s))
        r = pupil_fail(PUPIL_EFORMAT, "%s: dataset %s is not wholly stored in this file", path, name);
    if (r < 0) h5_set_close(&s);
    else *ret = s;
    return r;
}

int h5_set_rows(const h5_set *s, hid_t memory, int64_t first, int64_t n, void *data)
{
    hsize_t at[8] = {(hsize_t)first}, count[8];
    for (int i = 0; i < s->ndim; i++) count[i] = i ? (hsize_t)s->dim[i] : (hsize_t)n;
    hid_t from = H5Dget_space(s->set), to = H5Screate_simple(s->ndim, count, NULL);
    bool good = H5Sselect_hyperslab(from, H5S_SELECT_SET, at, NULL, count, NULL) >= 0 &&
                H5Dread(s->set, memory, to, from, H5P_DEFAULT, data) >= 0;
    h5_drop(&to);
    h5_drop(&from);
    return good ? 0 : -1;
}

void h5_set_close(h5_set *s)
{
    h5_drop(&s->plist);
    h5_drop(&s->type);
    h5_drop(&s->set);
}

/* ---- attributes of the root group --------------------------------------------------------------- */
int h5_attr_write(hid_t file, const char *path, const char *name, hid_t type, const void *value)
{
    hid_t space = H5Screate(H5S_SCALAR);
    hid_t a = H5Acreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    int r = a < 0 || H5Awrite(a, type, value) < 0
                ? h5_fail(PUPIL_EIO, path, "attribute %s cannot be written", name)
                : 0;
    h5_drop(&a);
    h5_drop(&space);
    return r;
}

int h5_attr_write_text(hid_t file, const char *path, const char *name, const char *text)
{
    hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, strlen(text) + 1);
    int r = h5_attr_write(file, path, name, type, text);
    h5_drop(&type);
    return r;
}

/* Open scalar attribute `name` whose type is of `class`. */
static int attr_open(hid_t file, const char *path, const char *name, H5T_class_t class, hid_t *ret,
                     hid_t *ret_type)
{
    be_silent();
    hid_t a = H5Aopen(file, name, H5P_DEFAULT);
    if (a < 0) return h5_fail(PUPIL_ENOTFOUND, path, "there is no attribute %s", name);
    hid_t type = H5Aget_type(a), space = H5Aget_space(a);
    bool fits = H5Tget_class(type) == class && H5Sget_simple_extent_npoints(space) == 1;
    h5_drop(&space);
    if (fits) {
        *ret = a;
        *ret_type = type;
        return 0;
    }
    h5_drop(&type);
    h5_drop(&a);
    return pupil_fail(PUPIL_EFORMAT, "%s: attribute %s is not one %s", path, name,
                      class == H5T_STRING ? "text" : "whole number");
}

int h5_attr_read_i64(hid_t file, const char *path, const char *name, int64_t *ret)
{
    hid_t a, type;
    int64_t x;
    PUPIL_TRY(attr_open(file, path, name, H5T_INTEGER, &a, &type));
    int r = H5Aread(a, H5T_NATIVE_INT64, &x) < 0
                ? h5_fail(PUPIL_EFORMAT, path, "attribute %s cannot be read", name)
                : 0;
    h5_drop(&type);
    h5_drop(&a);
    if (r == 0) *ret = x;
    return r;
}

int h5_attr_read_text(hid_t file, const char *path, const char *name, char **ret)
{
    hid_t a, type;
    PUPIL_TRY(attr_open(file, path, name, H5T_STRING, &a, &type));
    char *text = NULL, *found = NULL;
    size_t size = H5Tget_size(type);
    if (H5Tis_variable_str(type) > 0) {
        if (H5Aread(a, type, &found) >= 0 && found) text = pupil_strdup(found);
        H5free_memory(found);
    } else if (size > 0 && size <= 1 << 16) { /* as much as an object header takes */
        text = pupil_alloc(size + 1);
        if (H5Aread(a, type, text) < 0) pupil_free(&text);
    }
    int r = text ? 0 : h5_fail(PUPIL_EFORMAT, path, "attribute %s cannot be read", name);
    h5_drop(&type);
    h5_drop(&a);
    if (r == 0) *ret = text;
    return r;
}

/* One number, or up to 16 in a row, as "0.5, 0.25". */
static int attr_numbers(hid_t a, hid_t type, const char *path, const char *name, char **ret)
{
    enum { MOST = 16 };
    double x[MOST];
    hid_t space = H5Aget_space(a), whole = H5Tget_class(type) == H5T_ENUM ? H5Tget_super(type) : H5Tcopy(type);
    hssize_t n = H5Sget_simple_extent_npoints(space);
    bool good = n >= 1 && n <= MOST && usual_number(whole) && H5Aread(a, H5T_NATIVE_DOUBLE, x) >= 0;
    h5_drop(&whole);
    h5_drop(&space);
    if (!good)
        return pupil_fail(PUPIL_EFORMAT, "%s: attribute %s is neither text nor up to %d numbers", path, name, MOST);
    pupil_buf text = {0};
    for (hssize_t i = 0; i < n; i++) pupil_buf_printf(&text, "%s%.9g", i ? ", " : "", x[i]);
    *ret = text.s;
    return 0;
}

int h5_attr_read_any(hid_t file, const char *path, const char *name, char **ret)
{
    be_silent();
    hid_t a = H5Aopen(file, name, H5P_DEFAULT);
    if (a < 0) return h5_fail(PUPIL_ENOTFOUND, path, "there is no attribute %s", name);
    hid_t type = H5Aget_type(a);
    bool text = H5Tget_class(type) == H5T_STRING;
    int r = text ? 0 : attr_numbers(a, type, path, name, ret);
    h5_drop(&type);
    h5_drop(&a);
    return text ? h5_attr_read_text(file, path, name, ret) : r;
}
