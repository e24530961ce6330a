/* Tars made for a test, in its folder. */
#ifndef MAKE_TAR_H
#define MAKE_TAR_H

#include "make_files.h"
#include "tars.h"

#include <archive.h>
#include <archive_entry.h>
#include <locale.h>
#include <sys/stat.h>

typedef struct {
    const char *name;
    const void *bytes;
    size_t n;
} file;

#define PNG(name)                                                                                            \
    {                                                                                                        \
        name, png_rgb, sizeof png_rgb                                                                        \
    }
#define WORDS(name, text)                                                                                    \
    {                                                                                                        \
        name, text, sizeof(text) - 1                                                                         \
    }

static inline void add(struct archive *a, const file *f)
{
    struct archive_entry *e = archive_entry_new();
    archive_entry_set_pathname(e, f->name);
    archive_entry_set_filetype(e, AE_IFREG);
    archive_entry_set_perm(e, 0644);
    archive_entry_set_size(e, (int64_t)f->n);
    assert_int_equal(archive_write_header(a, e), ARCHIVE_OK);
    assert_int_equal(archive_write_data(a, f->bytes, f->n), (la_ssize_t)f->n);
    archive_entry_free(e);
}

/* dir/name with these files; an older index of that name goes. Returns the path, owned by the caller. */
static inline char *make(const char *name, int format, const file *files, int n)
{
    char *path = in_dir(name), *idx = pupil_format("%s.idx", path);
    unlink(idx);
    pupil_free(&idx);
    assert_non_null(setlocale(LC_CTYPE, "C.UTF-8")); /* to write names as they are; read in the C locale */
    struct archive *a = archive_write_new();
    archive_write_set_format(a, format);
    assert_int_equal(archive_write_open_filename(a, path), ARCHIVE_OK);
    for (int i = 0; i < n; i++) add(a, &files[i]);
    assert_int_equal(archive_write_close(a), ARCHIVE_OK);
    archive_write_free(a);
    setlocale(LC_CTYPE, "C");
    return path;
}

/* The last opening's broken samples, as text. */
static char broken[4096];

static inline int open_list(const pupil_strings *paths, const char *index_dir, tars **ret)
{
    faults bad = {0};
    pupil_buf counts = {0};
    pupil_strings all = {0};
    int r = braces_expand(paths, &all);
    if (r == 0) r = tars_open(&all, index_dir, &bad, ret);
    pupil_names_free(&all.item, all.n);
    faults_print(&bad, &counts);
    snprintf(broken, sizeof broken, "%lld: %s: %s", (long long)faults_total(&bad), counts.s ? counts.s : "",
             bad.named.s ? bad.named.s : "");
    pupil_buf_free(&counts);
    faults_free(&bad);
    return r;
}

static inline int open_one(char *path, const char *index_dir, tars **ret)
{
    return open_list(&(pupil_strings){&path, 1}, index_dir, ret);
}

static inline void check_sample(tars *t, int64_t i, const char *key, const char *caption)
{
    pupil_image im;
    void *bytes;
    size_t n;
    assert_string_equal(tars_key(t, i), key);
    assert_string_equal(tars_caption(t, i, 0), caption);
    if (tars_bytes(t, i, &bytes, &n) < 0) fail_msg("%s: %s", key, pupil_reason());
    assert_int_equal(pupil_image_decode(bytes, n, &im), 0);
    assert_memory_equal(im.rgb, png_rgb_rgb, sizeof png_rgb_rgb);
    pupil_image_free(&im);
    pupil_free(&bytes);
}

#endif
