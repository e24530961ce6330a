/* imported.c: caches whose embeddings were made elsewhere, as a run or a check meets them. What such a cache says of its
 * teacher is taken from it; what it says of the data must be what the settings say. */
#include "job.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static double number_in(const char *lines, const char *key)
{
    char *text = pupil_identity_get(lines, key);
    double x = text ? atof(text) : 0;
    pupil_free(&text);
    return x;
}

bool imported_lines(const char *lines)
{
    char *origin = pupil_identity_get(lines, "origin");
    bool yes = origin && !strcmp(origin, "imported");
    pupil_free(&origin);
    return yes;
}

/* Where the teacher's own folder is given, too, it must be able to be the one that the embeddings come from. */
static int check_folder(const job_teacher *t, int64_t dim, double scale)
{
    const char *cache = t->cache_dir, *teacher = t->dir;
    if (t->arch.embed_dim != dim)
        return pupil_fail(PUPIL_EMISMATCH, "%s holds imported embeddings of %lld values, the teacher in %s makes %lld", cache, (long long)dim, teacher,
                          (long long)t->arch.embed_dim);
    if (fabs(t->scale - scale) > 1e-3 * scale)
        return pupil_fail(PUPIL_EMISMATCH, "%s was imported with the logit scale %.6g, that of the teacher in %s is %.6g", cache, scale, teacher,
                          t->scale);
    return 0;
}

int imported_identity(const job *j, job_teacher *t, const char *lines, pupil_identity *id)
{
    static const char *const own[] = {"data", "view", "samples", "block", "dim", "views", "captions", "dtype"};
    int64_t dim = (int64_t)number_in(lines, "dim");
    double scale = number_in(lines, "teacher.logit_scale");
    if (dim < 1 || !(scale > 0)) return pupil_fail(PUPIL_EFORMAT, "%s: its identity lacks dim or teacher.logit_scale", t->cache_dir);
    if (t->there) PUPIL_TRY(check_folder(t, dim, scale));
    t->dim = dim;
    t->scale = scale;
    t->bias = number_in(lines, "teacher.logit_bias");
    char *copy = pupil_strdup(lines), *save = NULL;
    for (char *line = strtok_r(copy, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        bool mine = false;
        size_t key = strcspn(line, ":");
        for (int i = 0; i < PUPIL_COUNT(own); i++) mine |= strlen(own[i]) == key && !strncmp(own[i], line, key);
        if (!mine) pupil_buf_printf(&id->text, "%s\n", line);
    }
    pupil_free(&copy);
    pupil_cache_shape shape = job_cache_shape(j, dim);
    job_data_identity(j, &shape, id);
    return 0;
}
