/* Any bytes as a list of pictures: as a csv, as COCO's JSON, as names of classes. What is read can be walked;
 * nothing outside the root is looked at. */
#include "files.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static char *root =
    (char *)(uintptr_t) "/proc/self/fdinfo"; /* files 0, 1, 2: a seed can name a picture that is there */

static void walk(files_builder **b, faults *bad)
{
    char hex[65];
    files *f = files_end(b);
    for (int64_t i = 0; i < files_count(f); i++) {
        char *path = files_path(f, i);
        PUPIL_REQUIRE(!strncmp(path, root, strlen(root)) && !strstr(path, "/../") && files_class(f, i) == -1);
        PUPIL_REQUIRE(files_captions(f, i) >= 1);
        for (int k = 0; k < files_captions(f, i); k++) PUPIL_REQUIRE(files_caption(f, i, k)[0]);
        pupil_free(&path);
    }
    PUPIL_REQUIRE(files_digest(f, hex) == 0);
    PUPIL_REQUIRE(!bad->named.s || !strpbrk(bad->named.s, "\n\r\033"));
    files_free(&f);
}

static void as_list(const char *path, bool csv)
{
    faults bad = {0};
    bool splits;
    files_builder *b = files_begin(&root, 1, &bad);
    int r = csv ? csv_read(path, "filepath", "title", PUPIL_SEPARATOR_AUTO, b)
                : coco_read(path, NULL, b, &splits);
    if (r == 0) walk(&b, &bad);
    else PUPIL_REQUIRE(r == PUPIL_EFORMAT && !strchr(pupil_reason(), '\n'));
    files_drop(&b);
    faults_free(&bad);
}

static void as_names(const char *path)
{
    static char *two[] = {(char *)(uintptr_t) "cat", (char *)(uintptr_t) "dog"};
    const pupil_strings folder = {two, 2};
    for (int k = 0; k < 2; k++) {
        char **names = NULL;
        int n = 0;
        if (class_names_read(path, k ? &folder : NULL, &names, &n) < 0) continue;
        for (int i = 0; i < n; i++) PUPIL_REQUIRE(names[i]);
        PUPIL_REQUIRE(k ? n == 2 : n > 0);
        pupil_names_free(&names, n);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    char path[64];
    int fd = memfd_create("fuzz.list", MFD_CLOEXEC);
    PUPIL_REQUIRE(fd >= 0 && write(fd, bytes, n) == (ssize_t)n);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    as_list(path, true);
    as_list(path, false);
    as_names(path);
    close(fd);
    return 0;
}
