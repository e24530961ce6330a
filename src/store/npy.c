/* npy.c: NumPy's file format (numpy.lib.format): "\x93NUMPY", two version bytes, the header's length (2 bytes, from version
 * 2 on 4), a Python dictionary as text, the values.
 * Guarantees: what passed npy_open() has all its values in the file, and nothing behind them. */
#include "npy.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HEADER_MOST = 1 << 16 };

static int read_at(const npy_file *f, int64_t at, void *to, size_t n)
{
    for (size_t done = 0; done < n;) {
        ssize_t got = pread(f->fd, (char *)to + done, n - done, (off_t)(at + (int64_t)done));
        if (got < 0 && errno == EINTR) continue;
        if (got == 0) return pupil_fail(PUPIL_EFORMAT, "%s: ends too early", f->path);
        if (got < 0) return pupil_fail(PUPIL_EIO, "%s: %s", f->path, strerror(errno));
        done += (size_t)got;
    }
    return 0;
}

/* ---- the header's dictionary ---------------------------------------------------------------------- */
/* Skips white space, then `word`; false, and *s as it was, where something else stands. */
static bool take(const char **s, const char *word)
{
    const char *p = *s + strspn(*s, " \t\n");
    size_t n = strlen(word);
    if (strncmp(p, word, n)) return false;
    *s = p + n;
    return true;
}

/* 'text' or "text" into out. */
static bool take_text(const char **s, char *out, size_t room)
{
    const char *p = *s + strspn(*s, " \t\n");
    if (*p != '\'' && *p != '"') return false;
    const char *end = strchr(p + 1, *p);
    if (!end || (size_t)(end - p) > room) return false;
    memcpy(out, p + 1, (size_t)(end - p - 1));
    out[end - p - 1] = 0;
    *s = end + 1;
    return true;
}

static bool take_number(const char **s, int64_t *ret)
{
    const char *p = *s + strspn(*s, " \t\n");
    char *end;
    if (*p < '0' || *p > '9') return false;
    errno = 0;
    long long x = strtoll(p, &end, 10);
    if (errno) return false;
    if (*end == 'L') end++; /* as Python 2 wrote it */
    *s = end;
    *ret = (int64_t)x;
    return true;
}

typedef struct {
    char descr[32];
    bool fortran;
    int64_t dim[4];
    int ndim;
} header;

static bool take_shape(const char **s, header *h)
{
    if (!take(s, "(")) return false;
    while (!take(s, ")")) {
        if (h->ndim == PUPIL_COUNT(h->dim) || !take_number(s, &h->dim[h->ndim++])) return false;
        if (!take(s, ",")) return take(s, ")");
    }
    return true;
}

static bool read_dictionary(const char *s, header *h)
{
    char key[32];
    int found = 0;
    if (!take(&s, "{")) return false;
    while (!take(&s, "}")) {
        if (!take_text(&s, key, sizeof key) || !take(&s, ":")) return false;
        if (!strcmp(key, "descr")) found |= take_text(&s, h->descr, sizeof h->descr) ? 1 : 8;
        else if (!strcmp(key, "shape")) found |= take_shape(&s, h) ? 2 : 8;
        else if (strcmp(key, "fortran_order")) return false;
        else if (take(&s, "True")) found |= 4, h->fortran = true;
        else found |= take(&s, "False") ? 4 : 8;
        if (!take(&s, ",") && !take(&s, "}")) return false;
        if (s[-1] == '}') break;
    }
    return found == 7;
}

static int read_header(npy_file *f, header *h)
{
    uint8_t head[12] = {0};
    PUPIL_TRY(read_at(f, 0, head, 10));
    if (memcmp(head, "\x93NUMPY", 6) || head[6] < 1 || head[6] > 3)
        return pupil_fail(PUPIL_EFORMAT, "%s: is not a .npy file of version 1, 2 or 3", f->path);
    int wide = head[6] > 1;
    if (wide) PUPIL_TRY(read_at(f, 10, head + 10, 2));
    int64_t n = head[8] | head[9] << 8 | (wide ? (int64_t)head[10] << 16 | (int64_t)head[11] << 24 : 0);
    f->at = (wide ? 12 : 10) + n;
    if (n > HEADER_MOST) return pupil_fail(PUPIL_EFORMAT, "%s: its header has %lld bytes", f->path, (long long)n);
    char *text = pupil_alloc((size_t)n + 1);
    int r = read_at(f, f->at - n, text, (size_t)n);
    if (r == 0 && !read_dictionary(text, h))
        r = pupil_fail(PUPIL_EFORMAT, "%s: its header does not tell descr, fortran_order and shape of an array of plain numbers",
                       f->path);
    pupil_free(&text);
    return r;
}

/* ---- the file ------------------------------------------------------------------------------------- */
static int check(npy_file *f, const header *h, int64_t bytes)
{
    if (strcmp(h->descr, "<f2") && strcmp(h->descr, "<f4"))
        return pupil_fail(PUPIL_EFORMAT, "%s: holds numbers of type '%s', float16 ('<f2') or float32 ('<f4') was expected", f->path,
                          h->descr);
    if (h->fortran)
        return pupil_fail(PUPIL_EFORMAT, "%s: is in Fortran order; save numpy.ascontiguousarray() of it", f->path);
    if (h->ndim != 2 || h->dim[0] < 1 || h->dim[1] < 1)
        return pupil_fail(PUPIL_EFORMAT, "%s: has %d dimensions, [samples, width] with both above 0 was expected", f->path, h->ndim);
    f->rows = h->dim[0];
    f->dim = h->dim[1];
    f->f32 = h->descr[2] == '4';
    int64_t want;
    bool over = __builtin_mul_overflow(f->rows, f->dim, &want) || __builtin_mul_overflow(want, f->f32 ? 4 : 2, &want);
    if (over || want != bytes - f->at)
        return pupil_fail(PUPIL_EFORMAT, "%s: its header tells of %lld x %lld values, but %lld bytes follow it", f->path,
                          (long long)f->rows, (long long)f->dim, (long long)(bytes - f->at));
    return 0;
}

int npy_open(const char *path, npy_file *ret)
{
    npy_file f = {.path = pupil_strdup(path), .fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
    header h = {.descr = ""};
    struct stat st;
    int r = 0;
    if (f.fd < 0)
        r = pupil_fail(errno == ENOENT ? PUPIL_ENOTFOUND : PUPIL_EIO, "%s: %s", path, strerror(errno));
    else if (fstat(f.fd, &st) < 0 || !S_ISREG(st.st_mode))
        r = pupil_fail(PUPIL_EFORMAT, "%s: is not a plain file", path);
    if (r == 0) r = read_header(&f, &h);
    if (r == 0) r = check(&f, &h, (int64_t)st.st_size);
    if (r < 0) npy_close(&f);
    else *ret = f;
    return r;
}

void npy_close(npy_file *f)
{
    if (f->path && f->fd >= 0) close(f->fd);
    pupil_free(&f->path);
}

int npy_read(const npy_file *f, int64_t first, int64_t n, void *raw)
{
    int64_t row = f->dim * (f->f32 ? 4 : 2);
    PUPIL_REQUIRE(first >= 0 && n >= 0 && first + n <= f->rows);
    return read_at(f, f->at + first * row, raw, (size_t)(n * row));
}
