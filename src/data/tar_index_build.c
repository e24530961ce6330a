/* tar_index_build.c: one pass over a tar's headers through libarchive, then its samples: members joined by
 * key, captions read, broken samples left out and counted. The bytes that come out are a function of the tar
 * alone. */
#include "image.h"
#include "tar_index.h"

#include <archive.h>
#include <archive_entry.h>
#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEXT_MAX  ((int64_t)1 << 20)
#define JSON_MAX  ((int64_t)16 << 20)
#define CLASS_MAX ((int64_t)32)

enum { PICTURE, TEXT, JSON, CLASS, KINDS };

typedef struct {
    char *key;
    int kind;
    int64_t order, at, bytes; /* order: which member of the tar it is */
} member;

typedef struct {
    tar_sample sample;
    int64_t order;
} found;

typedef struct {
    const char *tar;
    int fd;
    int64_t tar_bytes;
    member *members;
    int64_t nmembers, members_cap;
    found *samples;
    int64_t nsamples, samples_cap;
    faults broken;
    int failed;     /* a read that failed: nothing is known then, least of all that a sample is broken */
    pupil_buf text; /* per sample in order of keys; put into sample order at the end */
} builder;

/* ---- the pass over the headers ------------------------------------------------------------------ */
static int kind_of(const char *extension)
{
    static const char *const known[] = {"jpg", "jpeg", "png", "webp"};
    for (int i = 0; i < PUPIL_COUNT(known); i++)
        if (!strcasecmp(extension, known[i])) return PICTURE;
    return !strcasecmp(extension, "txt")    ? TEXT
           : !strcasecmp(extension, "json") ? JSON
           : !strcasecmp(extension, "cls")  ? CLASS
                                            : KINDS;
}

static bool leads_out(const char *name)
{
    if (name[0] == '/') return true;
    for (const char *p = name; p; p = strchr(p, '/')) {
        p += *p == '/';
        if (!strncmp(p, "..", 2) && (p[2] == '/' || !p[2])) return true;
    }
    return false;
}

/* Take note of a regular file of the tar whose data begin at `at`. */
static void add_member(builder *b, const char *name, int64_t at, int64_t bytes, int64_t order)
{
    while (!strncmp(name, "./", 2)) name += 2;
    const char *slash = strrchr(name, '/'), *file = slash ? slash + 1 : name, *dot = strchr(file, '.');
    int kind = dot && dot > file ? kind_of(dot + 1) : KINDS;
    if (kind == KINDS) return;
    if (leads_out(name)) {
        faults_add(&b->broken, FAULT_LEADS_OUT, "%.200s", name);
        return;
    }
    PUPIL_GROW(b->members, b->nmembers, b->members_cap);
    b->members[b->nmembers++] =
        (member){pupil_format("%.*s", (int)(dot - name), name), kind, order, at, bytes};
}

/* What libarchive could not read after `order` members: a failing disk ends it, a damaged file is counted. */
static int unreadable(builder *b, struct archive *a, int64_t order)
{
    const char *why = archive_error_string(a);
    int cause = archive_errno(a);
    if (cause > 0 && cause != EILSEQ) /* errno of a read; EILSEQ and -1 are about what was read */
        return pupil_fail(PUPIL_EIO, "%s: %s", b->tar, why);
    if (order == 0) faults_add(&b->broken, FAULT_DAMAGED, "not a tar (%s)", why);
    else faults_add(&b->broken, FAULT_DAMAGED, "after member %lld (%s)", (long long)order, why);
    return 0;
}

static int walk(builder *b, struct archive *a)
{
    struct archive_entry *e;
    for (int64_t order = 0;; order++) {
        int r = archive_read_next_header(a, &e);
        if (r == ARCHIVE_EOF) return 0;
        if (r < ARCHIVE_WARN) return unreadable(b, a, order);
        const char *name = archive_entry_pathname_utf8(e);
        if (!name) name = archive_entry_pathname(e);
        bool plain = archive_entry_filetype(e) == AE_IFREG && !archive_entry_hardlink(e) &&
                     !archive_entry_sparse_count(e);
        if (name && plain) add_member(b, name, archive_filter_bytes(a, 0), archive_entry_size(e), order);
    }
}

static int read_headers(builder *b)
{
    static const struct {
        const char *magic, *tool;
    } compressed[] = {{"\x1f\x8b", "gunzip"},
                      {"BZh", "bunzip2"},
                      {"\xfd"
                       "7zXZ",
                       "unxz"},
                      {"\x28\xb5\x2f\xfd", "unzstd"}};
    char head[8] = {0};
    if (pread(b->fd, head, sizeof head, 0) < 0)
        return pupil_fail(PUPIL_EIO, "%s: %s", b->tar, strerror(errno));
    for (int i = 0; i < PUPIL_COUNT(compressed); i++)
        if (!memcmp(head, compressed[i].magic, strlen(compressed[i].magic)))
            return pupil_fail(PUPIL_EFORMAT,
                              "%s: a compressed tar cannot be read at random: unpack it with %s first",
                              b->tar, compressed[i].tool);
    struct archive *a = archive_read_new();
    PUPIL_REQUIRE(a);
    archive_read_support_format_tar(a);
    int r = archive_read_open_fd(a, b->fd, 1 << 16) < ARCHIVE_WARN ? unreadable(b, a, 0) : walk(b, a);
    archive_read_free(a);
    return r;
}

/* Bytes that are known to be there. */
static bool read_at(builder *b, int64_t at, void *to, size_t n)
{
    errno = 0;
    if (!b->failed && pread(b->fd, to, n, at) != (ssize_t)n)
        b->failed = pupil_fail(PUPIL_EIO, "%s: %s", b->tar, errno ? strerror(errno) : "shorter than it was");
    return !b->failed;
}

/* ---- samples ------------------------------------------------------------------------------------ */
/* Add a caption, stripped, unless it is empty or there already. */
static fault add_caption(builder *b, found *f, const char *s, size_t n)
{
    while (n && isspace((unsigned char)*s)) s++, n--;
    while (n && isspace((unsigned char)s[n - 1])) n--;
    if (n == 0) return FAULT_NONE;
    if (memchr(s, 0, n)) return FAULT_NUL;
    const char *have = b->text.s + f->sample.text;
    for (uint32_t k = 0; k < f->sample.captions; k++) {
        have += strlen(have) + 1; /* past the key, then past caption k - 1 */
        if (strlen(have) == n && !memcmp(have, s, n)) return FAULT_NONE;
    }
    pupil_buf_add(&b->text, s, n);
    pupil_buf_add(&b->text, "", 1);
    f->sample.captions++;
    return FAULT_NONE;
}

/* A text, or the texts of a list. */
static fault add_json_value(builder *b, found *f, const json_t *value)
{
    fault why = FAULT_NONE;
    const json_t *item;
    size_t i;
    if (json_is_string(value)) return add_caption(b, f, json_string_value(value), json_string_length(value));
    json_array_foreach(value, i, item)
    {
        if (why == FAULT_NONE && json_is_string(item))
            why = add_caption(b, f, json_string_value(item), json_string_length(item));
    }
    return why;
}

/* "caption" and "captions", or else "text". */
static fault add_json_captions(builder *b, found *f, const char *s, size_t n)
{
    json_t *root = json_loadb(s, n, 0, NULL);
    fault why = add_json_value(b, f, json_object_get(root, "caption"));
    if (why == FAULT_NONE) why = add_json_value(b, f, json_object_get(root, "captions"));
    if (why == FAULT_NONE && !f->sample.captions) why = add_json_value(b, f, json_object_get(root, "text"));
    json_decref(root);
    return why;
}

static fault read_class(found *f, const char *s, size_t n)
{
    char *end;
    f->sample.cls = strtoll(s, &end, 10);
    while (isspace((unsigned char)*end)) end++;
    bool number = end == s + n && n && isdigit((unsigned char)s[0]) && f->sample.cls <= INT32_MAX;
    return number ? FAULT_NONE : FAULT_CLASS;
}

static fault read_text(builder *b, found *f, const char *s, size_t n)
{
    json_t *utf8 = json_stringn(s, n);
    fault why = utf8 ? add_caption(b, f, s, n) : FAULT_NOT_UTF8;
    json_decref(utf8);
    return why;
}

static fault read_member(builder *b, found *f, const member *m)
{
    int64_t most = m->kind == TEXT ? TEXT_MAX : m->kind == JSON ? JSON_MAX : CLASS_MAX;
    if (m->bytes > most) return m->kind == CLASS ? FAULT_CLASS : FAULT_LONG_CAPTION;
    size_t n = (size_t)m->bytes;
    char *s = pupil_alloc(n + 1);
    fault why = FAULT_NONE;
    if (read_at(b, m->at, s, n))
        why = m->kind == JSON    ? add_json_captions(b, f, s, n)
              : m->kind == CLASS ? read_class(f, s, n)
                                 : read_text(b, f, s, n);
    pupil_free(&s);
    return why;
}

static fault check_picture(builder *b, const member *m)
{
    uint8_t s[12] = {0};
    if (m->bytes > TAR_MEMBER_MAX) return FAULT_LARGE_PICTURE;
    if (m->bytes < (int64_t)sizeof s) return FAULT_EMPTY_PICTURE;
    if (!read_at(b, m->at, s, sizeof s)) return FAULT_NONE;
    bool known = image_is_jpeg(s, sizeof s) || image_is_png(s, sizeof s) || image_is_webp(s, sizeof s);
    return known ? FAULT_NONE : FAULT_NOT_PICTURE;
}

/* The sample of n members with one key, or why it is broken. */
static fault join(builder *b, const member *m, int64_t n, found *f)
{
    const member *of[KINDS] = {0};
    for (int64_t i = 0; i < n; i++) {
        if (of[m[i].kind]) return FAULT_TWICE;
        if (m[i].at < 0 || m[i].bytes < 0 || m[i].bytes > b->tar_bytes - m[i].at) return FAULT_CUT;
        of[m[i].kind] = &m[i];
    }
    if (!of[PICTURE]) return FAULT_NO_PICTURE;
    if (!of[TEXT] && !of[JSON] && !of[CLASS]) return FAULT_NO_CAPTION;
    fault why = check_picture(b, of[PICTURE]);
    f->order = m[0].order;
    f->sample = (tar_sample){of[PICTURE]->at, (uint32_t)of[PICTURE]->bytes, 0, (int64_t)b->text.len, -1};
    pupil_buf_add(&b->text, m->key, strlen(m->key) + 1);
    for (int kind = TEXT; kind < KINDS && why == FAULT_NONE; kind++)
        if (of[kind]) why = read_member(b, f, of[kind]);
    if (why != FAULT_NONE || f->sample.captions || f->sample.cls >= 0) return why;
    return of[TEXT] ? FAULT_EMPTY_CAPTION : FAULT_NO_CAPTION;
}

static int by_key(const void *a, const void *b)
{
    const member *x = a, *y = b;
    int d = strcmp(x->key, y->key);
    return d ? d : (x->order > y->order) - (x->order < y->order);
}

static int by_order(const void *a, const void *b)
{
    const found *x = a, *y = b;
    return (x->order > y->order) - (x->order < y->order);
}

static void join_all(builder *b)
{
    if (b->nmembers) qsort(b->members, (size_t)b->nmembers, sizeof *b->members, by_key);
    for (int64_t i = 0, n; i < b->nmembers; i += n) {
        const member *m = &b->members[i];
        for (n = 1; i + n < b->nmembers && !strcmp(m[n].key, m->key);) n++;
        found f = {0};
        size_t text = b->text.len;
        fault why = join(b, m, n, &f);
        if (why != FAULT_NONE) {
            faults_add(&b->broken, why, "%.200s", m->key);
            b->text.len = text;
            continue;
        }
        PUPIL_GROW(b->samples, b->nsamples, b->samples_cap);
        b->samples[b->nsamples++] = f;
    }
    if (b->nsamples) qsort(b->samples, (size_t)b->nsamples, sizeof *b->samples, by_order);
}

/* ---- the bytes ---------------------------------------------------------------------------------- */
static size_t text_length(const builder *b, const found *f)
{
    const char *s = b->text.s + f->sample.text, *p = s;
    for (uint32_t k = 0; k <= f->sample.captions; k++) p += strlen(p) + 1;
    return (size_t)(p - s);
}

static void lay_out(const builder *b, int64_t mtime, pupil_buf *out)
{
    tar_index_head head = {
        .magic = "PUPILTI2", .order = 0x01020304, .tar_bytes = b->tar_bytes, .tar_mtime = mtime};
    size_t start = out->len;
    head.samples = b->nsamples;
    memcpy(head.broken, b->broken.n, sizeof head.broken);
    const pupil_buf *named = &b->broken.named;
    head.text_bytes = (int64_t)(named->len + 1 + b->text.len);
    pupil_buf_add(out, &head, sizeof head);
    int64_t text = (int64_t)named->len + 1;
    for (int64_t i = 0; i < b->nsamples; i++) {
        tar_sample s = b->samples[i].sample;
        s.text = text;
        text += (int64_t)text_length(b, &b->samples[i]);
        pupil_buf_add(out, &s, sizeof s);
    }
    pupil_buf_add(out, named->len ? named->s : "", named->len + 1);
    for (int64_t i = 0; i < b->nsamples; i++)
        pupil_buf_add(out, b->text.s + b->samples[i].sample.text, text_length(b, &b->samples[i]));
    size_t after = offsetof(tar_index_head, crc) + sizeof head.crc;
    head.crc = pupil_crc32c(0, out->s + start + after, out->len - start - after);
    memcpy(out->s + start, &head, sizeof head);
}

int tar_index_build(const char *tar, int fd, int64_t bytes, int64_t mtime, pupil_buf *out)
{
    builder b = {.tar = tar, .fd = fd, .tar_bytes = bytes};
    int r = read_headers(&b);
    if (r == 0) {
        join_all(&b);
        r = b.failed;
    }
    if (r == 0) lay_out(&b, mtime, out);
    for (int64_t i = 0; i < b.nmembers; i++) pupil_free(&b.members[i].key);
    pupil_free(&b.members);
    pupil_free(&b.samples);
    faults_free(&b.broken);
    pupil_buf_free(&b.text);
    return r;
}
