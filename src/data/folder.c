/* folder.c: pictures in one folder a class, DIR/CLASS/NAME.jpg, and the names of classes. Folders and files
 * are sorted by their bytes; names that begin with a dot, and files of other kinds, are not looked at. */
#include "files.h"
#include "stream.h"
#include "table.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define NAME_MAX_BYTES 1024

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int folder_classes(const pupil_strings dirs[2], pupil_strings *ret)
{
    textset all = {0};
    int r = 0;
    for (int s = 0; s < 2; s++)
        for (int d = 0; r == 0 && d < dirs[s].n; d++) {
            char **name;
            int names = 0;
            if ((r = pupil_list_dir(dirs[s].item[d], "", "", &name, &names)) < 0) break;
            for (int i = 0; i < names; i++) {
                char *path = pupil_join(dirs[s].item[d], name[i]);
                if (pupil_is_dir(path)) textset_add(&all, name[i], strlen(name[i]));
                pupil_free(&path);
            }
            pupil_names_free(&name, names);
        }
    if (r == 0) {
        *ret = (pupil_strings){pupil_alloc((size_t)all.n * sizeof(char *)), (int)all.n};
        for (int64_t i = 0; i < all.n; i++) ret->item[i] = pupil_strdup(all.text[i]);
        if (all.n) qsort(ret->item, (size_t)all.n, sizeof(char *), by_bytes);
    }
    textset_free(&all);
    return r;
}

static bool is_picture(const char *name)
{
    static const char *const known[] = {".jpg", ".jpeg", ".png", ".webp"};
    const char *dot = strrchr(name, '.');
    for (int i = 0; dot && i < PUPIL_COUNT(known); i++)
        if (!strcasecmp(dot, known[i])) return true;
    return false;
}

static int read_class(const char *dir, const char *class, int64_t cls, files_builder *b)
{
    char *folder = pupil_join(dir, class), **name;
    int n = 0, r = pupil_is_dir(folder) ? pupil_list_dir(folder, "", "", &name, &n) : 0;
    for (int i = 0; i < n; i++) {
        if (!is_picture(name[i])) continue;
        char *path = pupil_format("%s/%s", class, name[i]);
        files_add(b, path, NULL, 0, cls, dir, i + 1);
        pupil_free(&path);
    }
    if (n) pupil_names_free(&name, n);
    pupil_free(&folder);
    return r;
}

int folder_read(const char *dir, const pupil_strings *folder, files_builder *b)
{
    for (int k = 0; k < folder->n; k++) PUPIL_TRY(read_class(dir, folder->item[k], k, b));
    return 0;
}

/* ---- names -------------------------------------------------------------------------------------- */
typedef struct {
    stream s;
    char line[NAME_MAX_BYTES];
    int64_t number;
} lines;

/* The next line that is not blank, without its end; 1, or 0 at the end. */
static int next_line(lines *l)
{
    size_t n;
    do {
        int c;
        l->number = l->s.line;
        for (n = 0; (c = stream_next(&l->s)) >= 0 && c != '\n';) {
            if (c == 0 || n + 1 == sizeof l->line)
                return pupil_fail(PUPIL_EFORMAT, "%s:%lld: not a name of a class", l->s.path,
                                  (long long)l->number);
            l->line[n++] = (char)c;
        }
        if (c < 0 && n == 0) return l->s.failed;
        while (n && strchr(" \t\r", l->line[n - 1])) n--;
        l->line[n] = 0;
    } while (n == 0);
    return 1;
}

static int64_t place_of(const char *name, const pupil_strings *folder)
{
    char *const *at = bsearch(&name, folder->item, (size_t)folder->n, sizeof name, by_bytes);
    return at ? at - folder->item : -1;
}

/* Names by class. */
static int read_names(lines *l, const pupil_strings *folder, char ***names, int64_t *count)
{
    int64_t cap = 0, number = 0, k;
    bool tabs = false;
    int r;
    while ((r = next_line(l)) > 0) {
        char *tab = folder ? strchr(l->line, '\t') : NULL;
        if (number == 0) tabs = tab != NULL;
        if (tabs != (tab != NULL))
            return pupil_fail(PUPIL_EFORMAT, "%s:%lld: expected folder<TAB>name in all lines or in none",
                              l->s.path, (long long)l->number);
        if (tab) *tab = 0;
        k = tabs ? place_of(l->line, folder) : number;
        number++;
        if (k < 0) continue; /* a folder that is not here */
        if (folder && k >= folder->n)
            return pupil_fail(PUPIL_EFORMAT, "%s:%lld: more names than the %d class folders", l->s.path,
                              (long long)l->number, folder->n);
        PUPIL_GROW(*names, k, cap);
        if ((*names)[k])
            return pupil_fail(PUPIL_EFORMAT, "%s:%lld: %s comes twice", l->s.path, (long long)l->number,
                              l->line);
        (*names)[k] = pupil_strdup(tab ? tab + 1 : l->line);
        *count = PUPIL_MAX(*count, k + 1);
    }
    return r;
}

int class_names_read(const char *path, const pupil_strings *folder, char ***ret, int *ret_n)
{
    lines l = {0};
    char **names = NULL;
    int64_t count = 0, k = 0;
    PUPIL_TRY(stream_open(path, &l.s));
    int r = read_names(&l, folder, &names, &count);
    stream_close(&l.s);
    while (k < count && names[k]) k++;
    if (r == 0 && folder && k < folder->n)
        r = pupil_fail(PUPIL_EFORMAT, "%s: no name for the class folder %s", path, folder->item[k]);
    if (r == 0 && count == 0) r = pupil_fail(PUPIL_EFORMAT, "%s: no names of classes", path);
    if (r < 0) {
        pupil_names_free(&names, (int)count);
        return r;
    }
    *ret = names;
    *ret_n = (int)count;
    return 0;
}
