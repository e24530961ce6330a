/* file.c: whole files in and out, and the one way a file becomes visible: complete, synced, renamed. */
#include "pupil/base.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool pupil_exists(const char *path) { return access(path, F_OK) == 0; }

bool pupil_is_dir(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

int64_t pupil_file_size(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? (int64_t)st.st_size : -1;
}

int pupil_mkdirs(const char *path)
{
    char *p = pupil_strdup(path);
    int r = 0;
    for (char *q = p + 1; r == 0; q++) {
        if (*q != '/' && *q != 0) continue;
        char end = *q;
        *q = 0;
        if (mkdir(p, 0777) < 0 && errno != EEXIST) r = pupil_fail(PUPIL_EIO, "mkdir %s: %s", p, strerror(errno));
        *q = end;
        if (!end) break;
    }
    pupil_free(&p);
    if (r == 0 && !pupil_is_dir(path)) r = pupil_fail(PUPIL_EIO, "%s is in the way: it is not a folder", path);
    return r;
}

int pupil_read_file(const char *path, size_t max_bytes, char **ret_bytes, size_t *ret_n)
{
    if (max_bytes == 0) max_bytes = (size_t)1 << 30;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return pupil_fail(errno == ENOENT ? PUPIL_ENOTFOUND : PUPIL_EIO, "%s: %s", path, strerror(errno));
    pupil_buf b = {0};
    char *block = pupil_alloc(1 << 16);
    int r = 0;
    for (;;) {
        ssize_t n = read(fd, block, 1 << 16);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) r = pupil_fail(PUPIL_EIO, "%s: %s", path, strerror(errno));
        if (n <= 0) break;
        if (b.len + (size_t)n > max_bytes) {
            r = pupil_fail(PUPIL_EFORMAT, "%s: larger than %zu bytes, which is the most expected here", path, max_bytes);
            break;
        }
        pupil_buf_add(&b, block, (size_t)n);
    }
    close(fd);
    pupil_free(&block);
    if (r < 0) {
        pupil_buf_free(&b);
        return r;
    }
    if (!b.s) pupil_buf_add(&b, "", 0);
    *ret_bytes = b.s;
    if (ret_n) *ret_n = b.len;
    return 0;
}

static int sync_path(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC);
    if (fd < 0) return pupil_fail(PUPIL_EIO, "%s: %s", path, strerror(errno));
    int r = fsync(fd) < 0 ? pupil_fail(PUPIL_EIO, "fsync %s: %s", path, strerror(errno)) : 0;
    close(fd);
    return r;
}

int pupil_publish(const char *part, const char *final_path)
{
    PUPIL_TRY(pupil_fault("publish.fsync"));
    PUPIL_TRY(sync_path(part, O_RDONLY));
    PUPIL_TRY(pupil_fault("publish.rename"));
    if (rename(part, final_path) < 0)
        return pupil_fail(PUPIL_EIO, "rename %s to %s: %s", part, final_path, strerror(errno));
    char *dir = pupil_strdup(final_path), *slash = strrchr(dir, '/');
    if (slash) slash[slash == dir] = 0;
    int r = sync_path(slash ? dir : ".", O_RDONLY | O_DIRECTORY);
    pupil_free(&dir);
    return r;
}

int pupil_write_file(const char *path, const void *bytes, size_t n)
{
    char *part = pupil_format("%s.%ld.part", path, (long)getpid());
    FILE *f = fopen(part, "wb");
    int r = 0;
    if (!f) {
        r = pupil_fail(PUPIL_EIO, "%s: %s", part, strerror(errno));
    } else {
        bool bad = n && fwrite(bytes, 1, n, f) != n;
        bad |= fclose(f) != 0;
        if (bad) r = pupil_fail(PUPIL_EIO, "%s: %s", part, strerror(errno));
    }
    if (r == 0) r = pupil_publish(part, path);
    if (r < 0) unlink(part);
    pupil_free(&part);
    return r;
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

int pupil_list_dir(const char *dir, const char *prefix, const char *suffix, char ***ret_names, int *ret_n)
{
    DIR *d = opendir(dir);
    if (!d) return pupil_fail(errno == ENOENT ? PUPIL_ENOTFOUND : PUPIL_EIO, "%s: %s", dir, strerror(errno));
    char **names = NULL;
    int64_t n = 0, cap = 0;
    for (struct dirent *e; (e = readdir(d));) {
        size_t len = strlen(e->d_name), np = strlen(prefix), ns = strlen(suffix);
        if (e->d_name[0] == '.' || len < np + ns) continue;
        if (strncmp(e->d_name, prefix, np) || strcmp(e->d_name + len - ns, suffix)) continue;
        PUPIL_GROW(names, n, cap);
        names[n++] = pupil_strdup(e->d_name);
    }
    closedir(d);
    if (n) qsort(names, (size_t)n, sizeof *names, by_name);
    *ret_names = names;
    *ret_n = (int)n;
    return 0;
}

void pupil_names_free(char ***names, int n)
{
    if (!*names) return;
    for (int i = 0; i < n; i++) pupil_free(&(*names)[i]);
    pupil_free(names);
}

char *pupil_join(const char *dir, const char *name)
{
    if (name[0] == '/' || dir[0] == 0) return pupil_strdup(name);
    size_t n = strlen(dir);
    return pupil_format(dir[n - 1] == '/' ? "%s%s" : "%s/%s", dir, name);
}
