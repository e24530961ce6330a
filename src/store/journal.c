/* journal.c: lines of text that are whole or not there.
 * Guarantees: a line whose checksum does not hold is never shown; appenders never mix their lines, and one
 * that died in the middle spoils its own line only; a writer that was replaced is not believed from the "gen"
 * line on that replaced it. Relies on O_APPEND, and on fcntl locks where the file system has them. */
#include "journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LINE_BYTES = 4 << 20, GENERATIONS = 999999999, LOCK_SECONDS = 60 };

const char *pupil_record_get(const pupil_record *r, const char *key)
{
    for (int i = 0; i < r->nfields; i++)
        if (!strcmp(r->field[i].key, key)) return r->field[i].value;
    return NULL;
}

bool journal_number(const char *s, int64_t lo, int64_t hi, int64_t *ret)
{
    char *end;
    if (!s || *s < '0' || *s > '9') return false;
    errno = 0;
    long long x = strtoll(s, &end, 10);
    if (errno || *end || x < lo || x > hi) return false;
    *ret = x;
    return true;
}

/* ---- text form ---------------------------------------------------------------------------------- */
void journal_encode(pupil_buf *b, const char *s, bool strict)
{
    pupil_buf_add(b, "", 0);
    for (const unsigned char *p = (const unsigned char *)s; *p; p++) {
        if (*p < 0x20 || *p == 0x7f || *p == '%' || (strict && (*p == ' ' || *p == '=')))
            pupil_buf_printf(b, "%%%02x", *p);
        else pupil_buf_add(b, p, 1);
    }
}

void journal_line(pupil_buf *b, const char *kind, const char *const *pairs)
{
    size_t start = b->len;
    pupil_buf_puts(b, kind);
    for (; pairs[0]; pairs += 2) {
        PUPIL_REQUIRE(pairs[1] && pairs[0][0] && !strpbrk(pairs[0], " %=\n"));
        pupil_buf_printf(b, " %s=", pairs[0]);
        journal_encode(b, pairs[1], true);
    }
    pupil_buf_printf(b, " crc=%08x\n", pupil_crc32c(0, b->s + start, b->len - start));
}

static int hex(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* In place; false if an escape is broken. */
static bool decode(char *s)
{
    char *to = s;
    for (; *s; s++, to++) {
        *to = *s;
        if (*s != '%') continue;
        int hi = hex(s[1]), lo = hi < 0 ? -1 : hex(s[2]);
        if (lo < 0 || hi + lo == 0) return false;
        *to = (char)(hi << 4 | lo);
        s += 2;
    }
    *to = 0;
    return true;
}

/* Split r->text into kind and fields; false if it is not "KIND key=value ...". */
static bool split(pupil_record *r)
{
    char *save = NULL, *word = strtok_r(r->text, " ", &save);
    if (!word || strlen(word) >= sizeof r->kind) return false;
    strcpy(r->kind, word);
    while ((word = strtok_r(NULL, " ", &save))) {
        char *value = strchr(word, '=');
        if (!value || value == word || r->nfields == PUPIL_COUNT(r->field)) return false;
        *value++ = 0;
        if (!decode(value)) return false;
        r->field[r->nfields].key = word;
        r->field[r->nfields++].value = value;
    }
    return true;
}

static bool parse_line(const char *s, size_t n, pupil_record *r)
{
    static const char mark[] = " crc=";
    const size_t tail = sizeof mark - 1 + 8;
    if (n <= tail || memcmp(s + n - tail, mark, sizeof mark - 1) || memchr(s, 0, n)) return false;
    uint32_t crc = 0;
    for (size_t i = n - 8; i < n; i++) {
        int h = hex(s[i]);
        if (h < 0) return false;
        crc = crc << 4 | (uint32_t)h;
    }
    if (pupil_crc32c(0, s, n - tail) != crc) return false;
    *r = (pupil_record){.text = pupil_alloc(n - tail + 1)};
    memcpy(r->text, s, n - tail);
    if (split(r)) return true;
    pupil_free(&r->text);
    return false;
}

/* ---- belief ------------------------------------------------------------------------------------- */
int64_t journal_latest(const pupil_journal *j, const char *lane)
{
    for (int64_t i = 0; i < j->nlanes; i++)
        if (!strcmp(j->lane[i].name, lane)) return j->lane[i].latest;
    return 0;
}

static bool believe(pupil_journal *j, const pupil_record *r)
{
    const char *lane = pupil_record_get(r, "lane");
    if (!lane) return true;
    int64_t n, latest = journal_latest(j, lane);
    if (!journal_number(pupil_record_get(r, "n"), 1, GENERATIONS, &n)) return false;
    if (strcmp(r->kind, "gen")) return n == latest;
    if (n <= latest) return false;
    int64_t i = 0;
    while (i < j->nlanes && strcmp(j->lane[i].name, lane)) i++;
    if (i == j->nlanes) {
        PUPIL_GROW(j->lane, i, j->cap_lanes);
        j->lane[i].name = pupil_strdup(lane);
        j->nlanes++;
    }
    j->lane[i].latest = n;
    return true;
}

size_t journal_parse(pupil_journal *j, const char *bytes, size_t n)
{
    size_t used = 0;
    for (const char *end; used < n && (end = memchr(bytes + used, '\n', n - used));) {
        size_t len = (size_t)(end - bytes) - used;
        pupil_record r;
        if (parse_line(bytes + used, len, &r)) {
            r.believed = believe(j, &r);
            PUPIL_GROW(j->record, j->n, j->cap);
            j->record[j->n++] = r;
        } else if (len) {
            j->torn++;
        }
        used += len + 1;
    }
    return used;
}

void pupil_journal_free(pupil_journal *j)
{
    for (int64_t i = 0; i < j->n; i++) pupil_free(&j->record[i].text);
    for (int64_t i = 0; i < j->nlanes; i++) pupil_free(&j->lane[i].name);
    pupil_free(&j->record);
    pupil_free(&j->lane);
    *j = (pupil_journal){0};
}

/* ---- the file ----------------------------------------------------------------------------------- */
static int open_plain(const char *path, int flags, int *ret_fd)
{
    int fd = open(path, flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666);
    if (fd < 0 && errno == ELOOP)
        return pupil_fail(PUPIL_EIO, "%s: is a symbolic link; a journal must be a plain file", path);
    if (fd < 0)
        return pupil_fail(errno == ENOENT ? PUPIL_ENOTFOUND : PUPIL_EIO, "%s: %s", path, strerror(errno));
    struct stat st;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        return pupil_fail(PUPIL_EIO, "%s: is not a plain file", path);
    }
    *ret_fd = fd;
    return 0;
}

static int read_on(int fd, const char *path, pupil_journal *j)
{
    struct stat st;
    if (fstat(fd, &st) == 0 && st.st_size < j->offset)
        return pupil_fail(PUPIL_EFORMAT, "%s: has become shorter: %lld bytes, %lld were read before", path,
                          (long long)st.st_size, (long long)j->offset);
    size_t cap = 1 << 16, have = 0;
    char *buf = pupil_alloc(cap);
    int r = 0;
    for (;;) {
        if (have == cap) {
            buf = pupil_realloc(buf, cap, 2 * cap);
            cap *= 2;
        }
        ssize_t n = pread(fd, buf + have, cap - have, (off_t)(j->offset + (int64_t)have));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) r = pupil_fail(PUPIL_EIO, "%s: %s", path, strerror(errno));
        if (n <= 0) break;
        have += (size_t)n;
        size_t used = journal_parse(j, buf, have);
        if (used == 0 && have >= LINE_BYTES) { /* no record is that long */
            j->torn++;
            used = have;
        }
        have -= used;
        memmove(buf, buf + used, have);
        j->offset += (int64_t)used;
    }
    pupil_free(&buf);
    return r;
}

int pupil_journal_read(const char *path, pupil_journal *j)
{
    int fd, r = open_plain(path, O_RDONLY, &fd);
    if (r == PUPIL_ENOTFOUND && j->offset == 0) return 0;
    if (r < 0) return r == PUPIL_ENOTFOUND ? PUPIL_EIO : r;
    r = read_on(fd, path, j);
    close(fd);
    return r;
}

/* Kernels before 3.15 know the older kind of lock only; some network file systems know none, and appends are
 * then kept apart by O_APPEND alone. */
static int lock(int fd, const char *path)
{
    static const int kind[] = {F_OFD_SETLK, F_SETLK};
    double end = pupil_now() + LOCK_SECONDS;
    useconds_t nap = 200;
    for (int k = 0; k < PUPIL_COUNT(kind);) {
        struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        if (fcntl(fd, kind[k], &l) == 0) return 0;
        if (errno == EAGAIN || errno == EACCES) {
            if (pupil_now() > end)
                return pupil_fail(PUPIL_EIO, "%s: another process has held its lock for %d s", path,
                                  LOCK_SECONDS);
            usleep(nap);
            nap = PUPIL_MIN(2 * nap, (useconds_t)20000);
        } else if (errno != EINTR) {
            k++;
        }
    }
    return 0;
}

static void unlock(int fd)
{
    struct flock l = {.l_type = F_UNLCK, .l_whence = SEEK_SET};
    if (fcntl(fd, F_OFD_SETLK, &l) < 0) fcntl(fd, F_SETLK, &l);
}

static int open_locked(const char *path, int *ret_fd)
{
    PUPIL_TRY(open_plain(path, O_RDWR | O_CREAT | O_APPEND, ret_fd));
    int r = lock(*ret_fd, path);
    if (r < 0) close(*ret_fd);
    return r;
}

/* A new name is safe only when its folder is. */
static int sync_folder_of(const char *path)
{
    char *dir = pupil_strdup(path), *slash = strrchr(dir, '/');
    if (slash) slash[slash == dir] = 0;
    int fd = open(slash ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
    if (fd < 0 || fsync(fd) < 0)
        r = pupil_fail(PUPIL_EIO, "fsync of the folder of %s: %s", path, strerror(errno));
    if (fd >= 0) close(fd);
    pupil_free(&dir);
    return r;
}

/* The locked file gets one more record; the lock and fd are gone when this returns. */
static int append_and_close(int fd, const char *path, const char *kind, const char *const *pairs)
{
    pupil_buf b = {0};
    struct stat st = {0};
    char last = '\n';
    int r = fstat(fd, &st) < 0 || (st.st_size > 0 && pread(fd, &last, 1, st.st_size - 1) != 1)
                ? pupil_fail(PUPIL_EIO, "%s: %s", path, strerror(errno))
                : 0;
    if (last != '\n') pupil_buf_puts(&b, "\n");
    pupil_buf line = {0};
    journal_line(&line, kind, pairs);
    PUPIL_REQUIRE(line.len < LINE_BYTES);
    pupil_buf_add(&b, line.s, line.len);
    pupil_buf_free(&line);
    if (r == 0) r = pupil_fault("journal.write");
    if (r == 0) {
        ssize_t n = write(fd, b.s, b.len);
        if (n != (ssize_t)b.len)
            r = pupil_fail(PUPIL_EIO, "%s: %s", path, n < 0 ? strerror(errno) : "no room for a whole line");
    }
    unlock(fd);
    if (r == 0) r = pupil_fault("journal.fsync");
    if (r == 0 && fsync(fd) < 0) r = pupil_fail(PUPIL_EIO, "fsync %s: %s", path, strerror(errno));
    if (r == 0 && st.st_size == 0) r = sync_folder_of(path);
    close(fd);
    pupil_buf_free(&b);
    return r;
}

int pupil_journal_append(const char *path, const char *kind, const char *const *pairs)
{
    int fd;
    PUPIL_REQUIRE(kind[0] && strlen(kind) < sizeof((pupil_record *)0)->kind && !strpbrk(kind, " %=\n"));
    PUPIL_TRY(open_locked(path, &fd));
    return append_and_close(fd, path, kind, pairs);
}

int pupil_journal_generation(const char *path, const char *lane, int64_t *ret_n)
{
    int fd;
    pupil_journal j = {0};
    PUPIL_TRY(open_locked(path, &fd));
    int r =
        read_on(fd, path, &j); /* through this fd: closing another one would drop the older kind of lock */
    int64_t n = journal_latest(&j, lane) + 1;
    pupil_journal_free(&j);
    if (r == 0 && n > GENERATIONS)
        r = pupil_fail(PUPIL_EFORMAT, "%s: generation %lld is the last one", path, (long long)n - 1);
    if (r < 0) {
        close(fd);
        return r;
    }
    char number[24], pid[24], host[256] = "", when[32];
    snprintf(number, sizeof number, "%lld", (long long)n);
    snprintf(pid, sizeof pid, "%ld", (long)getpid());
    gethostname(host, sizeof host - 1);
    PUPIL_TRY(append_and_close(fd, path, "gen",
                               (const char *const[]){"lane", lane, "n", number, "host", host, "pid", pid,
                                                     "time", pupil_utc(when), NULL}));
    *ret_n = n;
    return 0;
}
