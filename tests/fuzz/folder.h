/* folder.h: targets that read files by name: a folder of this process, in memory where there is one, gone at
 * its end. */
#ifndef PUPIL_TESTS_FUZZ_FOLDER_H
#define PUPIL_TESTS_FUZZ_FOLDER_H

#include "pupil/base.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char fuzz_folder_[64];

static inline void fuzz_folder_end_(void)
{
    char **names;
    int n;
    if (pupil_list_dir(fuzz_folder_, "", "", &names, &n) < 0) return;
    for (int i = 0; i < n; i++) {
        char *path = pupil_join(fuzz_folder_, names[i]);
        unlink(path);
        pupil_free(&path);
    }
    pupil_names_free(&names, n);
    rmdir(fuzz_folder_);
}

static inline const char *fuzz_folder(void)
{
    if (fuzz_folder_[0]) return fuzz_folder_;
    snprintf(fuzz_folder_, sizeof fuzz_folder_, "%s/pupil-fuzz-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    PUPIL_REQUIRE(mkdtemp(fuzz_folder_) != NULL);
    atexit(fuzz_folder_end_);
    return fuzz_folder_;
}

/* The folder's file `name` holds these bytes from now on; its path, borrowed until the next call. */
static inline const char *fuzz_file(const char *name, const void *bytes, size_t n)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", fuzz_folder(), name);
    FILE *f = fopen(path, "wb");
    PUPIL_REQUIRE(f && fwrite(bytes, 1, n, f) == n && fclose(f) == 0);
    return path;
}

static inline void fuzz_no_file(const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", fuzz_folder(), name);
    unlink(path);
}

/* Several files in one input stand one behind the other with a line "---" between them: the length of the
 * first one; *ret_rest and *ret_n: what is behind the line, NULL where there is none. */
static inline size_t fuzz_part(const uint8_t *bytes, size_t n, const uint8_t **ret_rest, size_t *ret_n)
{
    static const char line[] = "\n---\n";
    const uint8_t *at = n ? memmem(bytes, n, line, sizeof line - 1) : NULL;
    *ret_rest = at ? at + sizeof line - 1 : NULL;
    *ret_n = at ? n - (size_t)(*ret_rest - bytes) : 0;
    return at ? (size_t)(at - bytes) : n;
}

#endif
