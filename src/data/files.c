/* files.c: rows come in any order and go into one block of text, a sample's key, extension and captions one
 * behind the other. */
#include "files.h"
#include "table.h"
#include "tar_index.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SIZES_ASKED = 256, CAPTION_MAX = 1 << 20 };

typedef struct {
    int64_t text, cls; /* text: "key\0.ext\0caption\0caption\0" */
    int32_t captions, root;
} sample;

struct files {
    char **root;
    int roots;
    sample *s;
    int64_t n;
    pupil_buf text;
};

typedef struct {
    const char *file;
    int64_t line, cls, folder, captions;
    int root; /* -1: not found */
} picture;

struct files_builder {
    char **root, **absolute; /* absolute: as realpath() says, or NULL */
    int roots;
    faults *bad;
    textset path, folder; /* picture k is path.text[k] in folder.text[picture[k].folder] */
    picture *picture;
    int64_t cap;
    struct {
        int64_t picture, text;
    } * caption;
    int64_t captions, captions_cap;
    pupil_buf text, name; /* name: scratch */
};

/* ---- rows --------------------------------------------------------------------------------------- */
files_builder *files_begin(char *const *root, int n, faults *bad)
{
    files_builder *b = pupil_alloc(sizeof *b);
    *b = (files_builder){.roots = n, .bad = bad};
    b->root = pupil_alloc((size_t)n * sizeof *b->root);
    b->absolute = pupil_alloc((size_t)n * sizeof *b->absolute);
    for (int i = 0; i < n; i++) {
        char absolute[PATH_MAX];
        b->root[i] = pupil_strdup(root[i]);
        if (realpath(root[i], absolute)) b->absolute[i] = pupil_strdup(absolute);
    }
    return b;
}

/* What follows a root in an absolute path; NULL: it is in none of them. */
static const char *below_root(const files_builder *b, const char *path)
{
    for (int i = 0; i < b->roots; i++) {
        const char *at[] = {b->root[i], b->absolute[i]};
        for (int k = 0; k < 2; k++) {
            size_t n = at[k] && at[k][0] == '/' ? strlen(at[k]) : 0;
            while (n && at[k][n - 1] == '/') n--;
            if (at[k] && at[k][0] == '/' && !strncmp(path, at[k], n) && path[n] == '/') return path + n;
        }
    }
    return NULL;
}

/* path without "." and "//", in b->name. */
static fault tidy(files_builder *b, const char *path)
{
    b->name.len = 0;
    if (path[0] == '/' && !(path = below_root(b, path))) return FAULT_LEADS_OUT;
    while (*path) {
        size_t n = strcspn(path, "/");
        if (n == 2 && !strncmp(path, "..", 2)) return FAULT_LEADS_OUT;
        if (n && !(n == 1 && *path == '.')) {
            if (b->name.len) pupil_buf_add(&b->name, "/", 1);
            pupil_buf_add(&b->name, path, n);
        }
        path += n + (path[n] == '/');
    }
    return b->name.len == 0 || b->name.len >= PATH_MAX ? FAULT_NO_PICTURE : FAULT_NONE;
}

static fault strip(const char **s, size_t *n)
{
    while (*n && isspace((unsigned char)**s)) ++*s, --*n;
    while (*n && isspace((unsigned char)(*s)[*n - 1])) --*n;
    if (*n == 0) return FAULT_EMPTY_CAPTION;
    if (*n > CAPTION_MAX) return FAULT_LONG_CAPTION;
    if (memchr(*s, 0, *n)) return FAULT_NUL;
    bool ascii = true;
    for (size_t i = 0; i < *n && ascii; i++) ascii = (unsigned char)(*s)[i] < 0x80;
    json_t *utf8 = ascii ? NULL : json_stringn(*s, *n);
    fault why = ascii || utf8 ? FAULT_NONE : FAULT_NOT_UTF8;
    json_decref(utf8);
    return why;
}

void files_refuse(files_builder *b, fault why, const char *file, int64_t line, const char *what)
{
    faults_add(b->bad, why, "%s:%lld: %.200s", file, (long long)line, what);
}

void files_add(files_builder *b, const char *path, const char *caption, size_t n, int64_t cls,
               const char *file, int64_t line)
{
    fault why = tidy(b, path);
    if (why == FAULT_NONE && caption) why = strip(&caption, &n);
    int64_t known = b->path.n, k = why == FAULT_NONE ? textset_add(&b->path, b->name.s, b->name.len) : -1;
    if (k >= 0 && k < known && cls >= 0) why = FAULT_TWICE;
    if (why != FAULT_NONE) {
        files_refuse(b, why, file, line, path);
        return;
    }
    PUPIL_GROW(b->picture, k, b->cap);
    if (k == known) {
        const char *slash = strrchr(b->path.text[k], '/');
        size_t folder = slash ? (size_t)(slash - b->path.text[k]) : 0;
        b->picture[k] = (picture){.file = file, .line = line, .cls = cls, .root = -1};
        b->picture[k].folder = textset_add(&b->folder, b->path.text[k], folder);
    }
    if (!caption) return;
    PUPIL_GROW(b->caption, b->captions, b->captions_cap);
    b->caption[b->captions].picture = k;
    b->caption[b->captions++].text = (int64_t)b->text.len;
    b->picture[k].captions++;
    pupil_buf_add(&b->text, caption, n);
    pupil_buf_add(&b->text, "", 1);
}

/* ---- which files are there ---------------------------------------------------------------------- */
/* Pictures of one folder that lie below this root; how many were new. */
static int64_t look_into(files_builder *b, int root, int64_t folder)
{
    const char *name = b->folder.text[folder];
    char *path = *name ? pupil_join(b->root[root], name) : pupil_strdup(b->root[root]);
    DIR *dir = opendir(path);
    int64_t found = 0;
    pupil_free(&path);
    for (struct dirent *e; dir && (e = readdir(dir));) {
        if (e->d_type != DT_REG && e->d_type != DT_LNK && e->d_type != DT_UNKNOWN) continue;
        b->name.len = 0;
        pupil_buf_printf(&b->name, "%s%s%s", name, *name ? "/" : "", e->d_name);
        int64_t k = textset_find(&b->path, b->name.s, b->name.len);
        if (k < 0 || b->picture[k].root >= 0) continue;
        b->picture[k].root = root;
        found++;
    }
    if (dir) closedir(dir);
    return found;
}

static void look_up(files_builder *b)
{
    int64_t *missing = pupil_alloc((size_t)b->folder.n * sizeof *missing);
    for (int64_t k = 0; k < b->path.n; k++) missing[b->picture[k].folder]++;
    for (int root = 0; root < b->roots; root++)
        for (int64_t f = 0; f < b->folder.n; f++)
            if (missing[f]) missing[f] -= look_into(b, root, f);
    pupil_free(&missing);
}

/* ---- the table ---------------------------------------------------------------------------------- */
/* Captions in the order of pictures, and in their own order for each: first[k] .. first[k + 1] - 1. */
static int64_t *sorted_captions(const files_builder *b, int64_t **ret_first)
{
    int64_t *first = pupil_alloc((size_t)(b->path.n + 2) * sizeof *first);
    int64_t *text = pupil_alloc((size_t)b->captions * sizeof *text);
    for (int64_t k = 0; k < b->path.n; k++) first[k + 2] = first[k + 1] + b->picture[k].captions;
    for (int64_t c = 0; c < b->captions; c++) text[first[b->caption[c].picture + 1]++] = b->caption[c].text;
    *ret_first = first;
    return text;
}

static void add_text(files *f, const char *s, size_t n)
{
    pupil_buf_add(&f->text, s, n);
    pupil_buf_add(&f->text, "", 1);
}

static void lay_out(files *f, const files_builder *b, int64_t k, const int64_t *caption, int64_t captions)
{
    const char *path = b->path.text[k], *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path,
               *dot = strrchr(name, '.');
    if (!dot || dot == name) dot = path + b->path.len[k];
    sample *s = &f->s[f->n++];
    *s = (sample){(int64_t)f->text.len, b->picture[k].cls, 0, b->picture[k].root};
    add_text(f, path, (size_t)(dot - path));
    add_text(f, dot, strlen(dot));
    size_t begin = f->text.len;
    for (int64_t c = 0; c < captions; c++) {
        const char *text = b->text.s + caption[c];
        bool known = false;
        for (const char *p = f->text.s + begin; !known && p < f->text.s + f->text.len; p += strlen(p) + 1)
            known = !strcmp(p, text);
        if (known) continue;
        add_text(f, text, strlen(text));
        s->captions++;
    }
}

files *files_end(files_builder **pb)
{
    files_builder *b = *pb;
    look_up(b);
    files *f = pupil_alloc(sizeof *f);
    *f = (files){.root = b->root, .roots = b->roots};
    b->root = NULL;
    f->s = pupil_alloc((size_t)b->path.n * sizeof *f->s);
    int64_t *first, *caption = sorted_captions(b, &first);
    for (int64_t k = 0; k < b->path.n; k++) {
        const picture *p = &b->picture[k];
        if (p->root >= 0) lay_out(f, b, k, caption + first[k], p->captions);
        else files_refuse(b, FAULT_MISSING, p->file, p->line, b->path.text[k]);
    }
    pupil_free(&first);
    pupil_free(&caption);
    files_drop(pb);
    return f;
}

void files_drop(files_builder **pb)
{
    files_builder *b = *pb;
    if (!b) return;
    for (int i = 0; i < b->roots; i++) {
        if (b->root) pupil_free(&b->root[i]);
        pupil_free(&b->absolute[i]);
    }
    pupil_free(&b->root);
    pupil_free(&b->absolute);
    textset_free(&b->path);
    textset_free(&b->folder);
    pupil_free(&b->picture);
    pupil_free(&b->caption);
    pupil_buf_free(&b->text);
    pupil_buf_free(&b->name);
    pupil_free(pb);
}

/* ---- samples ------------------------------------------------------------------------------------ */
void files_free(files **pf)
{
    files *f = *pf;
    if (!f) return;
    pupil_names_free(&f->root, f->roots);
    pupil_free(&f->s);
    pupil_buf_free(&f->text);
    pupil_free(pf);
}

int64_t files_count(const files *f)
{
    return f->n;
}

static const sample *at(const files *f, int64_t i)
{
    PUPIL_REQUIRE(i >= 0 && i < f->n);
    return &f->s[i];
}

const char *files_key(const files *f, int64_t i)
{
    return f->text.s + at(f, i)->text;
}

int64_t files_class(const files *f, int64_t i)
{
    return at(f, i)->cls;
}

int files_captions(const files *f, int64_t i)
{
    return at(f, i)->captions;
}

/* Text k of a sample: 0 its key, 1 its extension, then its captions. */
static const char *text_at(const files *f, int64_t i, int k)
{
    const char *p = files_key(f, i);
    while (k-- > 0) p += strlen(p) + 1;
    return p;
}

const char *files_caption(const files *f, int64_t i, int k)
{
    PUPIL_REQUIRE(k >= 0 && k < at(f, i)->captions);
    return text_at(f, i, 2 + k);
}

char *files_path(const files *f, int64_t i)
{
    return pupil_format("%s/%s%s", f->root[at(f, i)->root], files_key(f, i), text_at(f, i, 1));
}

static int read_all(const char *path, int fd, void **ret, size_t *ret_n)
{
    struct stat st;
    if (fstat(fd, &st) < 0) return pupil_fail(PUPIL_EIO, "%s: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode)) return pupil_fail(PUPIL_EFORMAT, "%s: not a file", path);
    if (st.st_size > TAR_MEMBER_MAX) return pupil_fail(PUPIL_EFORMAT, "%s: larger than 256 MiB", path);
    size_t n = (size_t)st.st_size, done = 0;
    char *bytes = pupil_alloc(n + 1);
    while (done < n) {
        ssize_t got = read(fd, bytes + done, n - done);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) {
            pupil_free(&bytes);
            return pupil_fail(PUPIL_EIO, "%s: %s", path, got < 0 ? strerror(errno) : "shorter than it was");
        }
        done += (size_t)got;
    }
    *ret = bytes;
    *ret_n = n;
    return 0;
}

int files_bytes(const files *f, int64_t i, void **ret, size_t *ret_n)
{
    char *path = files_path(f, i);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    int r = fd < 0 ? pupil_fail(PUPIL_EIO, "%s: %s", path, strerror(errno)) : read_all(path, fd, ret, ret_n);
    if (fd >= 0) close(fd);
    pupil_free(&path);
    return r;
}

void files_expect(const files *f, int64_t i)
{
    char *path = files_path(f, i);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd >= 0) {
        posix_fadvise(fd, 0, 0, POSIX_FADV_WILLNEED);
        close(fd);
    }
    pupil_free(&path);
}

int files_digest(const files *f, char ret_hex[65])
{
    pupil_sha256 sum;
    char number[64];
    pupil_sha256_init(&sum);
    for (int64_t i = 0; i < f->n; i++) {
        const char *begin = files_key(f, i), *end = text_at(f, i, 2 + f->s[i].captions);
        snprintf(number, sizeof number, "%d %lld", f->s[i].captions, (long long)f->s[i].cls);
        pupil_sha256_add(&sum, number, strlen(number) + 1);
        pupil_sha256_add(&sum, begin, (size_t)(end - begin));
    }
    int64_t asked = PUPIL_MIN((int64_t)SIZES_ASKED, f->n);
    for (int64_t k = 0; k < asked; k++) {
        char *path = files_path(f, k * f->n / asked);
        snprintf(number, sizeof number, "%lld", (long long)pupil_file_size(path));
        pupil_sha256_add(&sum, number, strlen(number) + 1);
        pupil_free(&path);
    }
    pupil_sha256_hex(&sum, ret_hex);
    return 0;
}
