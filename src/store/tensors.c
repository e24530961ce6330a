/* tensors.c: arrays of numbers in an HDF5 file, by name.
 * Guarantees: what is written is contiguous and little endian; what is read was wholly in the file and lost
 * nothing in its conversion but float precision. */
#include "h5.h"

#include <string.h>

struct pupil_h5 {
    char *path;
    hid_t file;
};

static hid_t memory_type(pupil_h5_type t)
{
    switch (t) {
    case PUPIL_H5_F32:
        return H5T_NATIVE_FLOAT;
    case PUPIL_H5_F64:
        return H5T_NATIVE_DOUBLE;
    case PUPIL_H5_I64:
        return H5T_NATIVE_INT64;
    default:
        return H5T_NATIVE_UINT8;
    }
}

static hid_t file_type(pupil_h5_type t)
{
    switch (t) {
    case PUPIL_H5_F32:
        return H5T_IEEE_F32LE;
    case PUPIL_H5_F64:
        return H5T_IEEE_F64LE;
    case PUPIL_H5_I64:
        return H5T_STD_I64LE;
    default:
        return H5T_STD_U8LE;
    }
}

static pupil_h5 *hold(const char *path, hid_t file)
{
    pupil_h5 *h = pupil_alloc(sizeof *h);
    h->path = pupil_strdup(path);
    h->file = file;
    return h;
}

int pupil_h5_create(const char *path, pupil_h5 **ret)
{
    hid_t f;
    PUPIL_TRY(h5_file_create(path, 0, &f));
    *ret = hold(path, f);
    return 0;
}

int pupil_h5_open(const char *path, pupil_h5 **ret)
{
    hid_t f;
    PUPIL_TRY(h5_file_open(path, &f));
    *ret = hold(path, f);
    return 0;
}

int pupil_h5_close(pupil_h5 **h)
{
    if (!*h) return 0;
    int r = H5Fclose((*h)->file) < 0 ? h5_fail(PUPIL_EIO, (*h)->path, "could not be written to its end") : 0;
    pupil_free(&(*h)->path);
    pupil_free(h);
    return r;
}

int pupil_h5_write(pupil_h5 *h, const char *name, pupil_h5_type type, int ndim, const int64_t *dims,
                   const void *data)
{
    hsize_t dim[8];
    PUPIL_REQUIRE(ndim >= 0 && ndim <= PUPIL_COUNT(dim));
    for (int i = 0; i < ndim; i++) {
        PUPIL_REQUIRE(dims[i] >= 0);
        dim[i] = (hsize_t)dims[i];
    }
    hid_t space = ndim ? H5Screate_simple(ndim, dim, NULL) : H5Screate(H5S_SCALAR);
    hid_t link = H5Pcreate(H5P_LINK_CREATE), how = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_create_intermediate_group(link, 1);
    H5Pset_fill_time(how, H5D_FILL_TIME_NEVER);
    H5Pset_obj_track_times(how, false); /* equal contents, equal bytes */
    hid_t set = H5Dcreate2(h->file, name, file_type(type), space, link, how, H5P_DEFAULT);
    bool bad = set < 0 || H5Dwrite(set, memory_type(type), H5S_ALL, H5S_ALL, H5P_DEFAULT, data) < 0;
    int r = bad ? h5_fail(PUPIL_EIO, h->path, "dataset %s cannot be written", name) : 0;
    h5_drop(&set);
    h5_drop(&how);
    h5_drop(&link);
    h5_drop(&space);
    return r;
}

int pupil_h5_shape(pupil_h5 *h, const char *name, int *ret_ndim, int64_t ret_dims[8])
{
    h5_set s;
    PUPIL_TRY(h5_set_open(h->file, h->path, name, H5_NUMBERS, &s));
    *ret_ndim = s.ndim;
    memcpy(ret_dims, s.dim, (size_t)s.ndim * sizeof *ret_dims);
    h5_set_close(&s);
    return 0;
}

/* Whole numbers may become floats; floats are not cut to whole numbers, nor wide ones to bytes. */
static bool converts(const h5_set *s, pupil_h5_type type)
{
    if (type == PUPIL_H5_F32 || type == PUPIL_H5_F64) return true;
    if (H5Tget_class(s->type) != H5T_INTEGER) return false;
    bool negative = H5Tget_sign(s->type) == H5T_SGN_2;
    return type == PUPIL_H5_I64 ? negative || s->size < 8 : !negative && s->size == 1;
}

int pupil_h5_read(pupil_h5 *h, const char *name, pupil_h5_type type, int64_t n, void *data)
{
    h5_set s;
    PUPIL_TRY(h5_set_open(h->file, h->path, name, H5_NUMBERS, &s));
    int r = 0;
    if (s.n != n)
        r = pupil_fail(PUPIL_EFORMAT, "%s: dataset %s holds %lld numbers, %lld were expected", h->path, name,
                       (long long)s.n, (long long)n);
    else if (!converts(&s, type))
        r = pupil_fail(PUPIL_EFORMAT, "%s: dataset %s holds another kind of numbers than %s", h->path, name,
                       type == PUPIL_H5_I64 ? "whole ones" : "bytes");
    else if (n && H5Dread(s.set, memory_type(type), H5S_ALL, H5S_ALL, H5P_DEFAULT, data) < 0)
        r = h5_fail(PUPIL_EFORMAT, h->path, "dataset %s cannot be read", name);
    h5_set_close(&s);
    return r;
}

bool pupil_h5_has(pupil_h5 *h, const char *name)
{
    return H5Lexists(h->file, name, H5P_DEFAULT) > 0 && H5Oexists_by_name(h->file, name, H5P_DEFAULT) > 0;
}

int pupil_h5_write_text(pupil_h5 *h, const char *name, const char *text)
{
    return h5_attr_write_text(h->file, h->path, name, text);
}

int pupil_h5_read_text(pupil_h5 *h, const char *name, char **ret)
{
    return h5_attr_read_text(h->file, h->path, name, ret);
}
