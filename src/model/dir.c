/* dir.c: a model folder: weights and architecture side by side, in open_clip's layout. */
#include "pupil/model.h"

#include <string.h>

/* DIR/name, or DIR/open_clip_<name> when only that is there. Owned by the caller. */
static char *file_in(const char *dir, const char *name, const char *open_clip_name)
{
    char *p = pupil_join(dir, name);
    if (pupil_exists(p)) return p;
    char *q = pupil_join(dir, open_clip_name);
    if (pupil_exists(q)) {
        pupil_free(&p);
        return q;
    }
    pupil_free(&q);
    return p;
}

static char *weights_in(const char *dir) { return file_in(dir, "model.safetensors", "open_clip_model.safetensors"); }

int pupil_model_dir_arch(const char *dir, pupil_arch *ret)
{
    char *p = file_in(dir, "config.json", "open_clip_config.json");
    int r = pupil_arch_from_json(p, ret);
    pupil_free(&p);
    return r;
}

int pupil_model_dir_load(const char *dir, pupil_clip *c, float *params)
{
    char *p = weights_in(dir);
    pupil_safetensors *s;
    int r = pupil_safetensors_open(p, &s);
    pupil_free(&p);
    PUPIL_TRY(r);
    const pupil_table *t = pupil_clip_table(c);
    for (int64_t i = 0; i < t->n && r == 0; i++)
        if (strncmp(t->t[i].name, "loss.", 5))
            r = pupil_safetensors_read(s, t->t[i].name, t->t[i].ndim, t->t[i].shape, params + t->t[i].offset);
    pupil_safetensors_close(&s);
    return r;
}

int pupil_model_dir_save(const char *dir, const pupil_clip *c, const float *params)
{
    PUPIL_TRY(pupil_mkdirs(dir));
    const pupil_table *all = pupil_clip_table((pupil_clip *)(uintptr_t)c);
    pupil_table own = *all;
    while (own.n > 0 && !strncmp(own.t[own.n - 1].name, "loss.", 5)) own.n--;
    pupil_buf b = {0};
    pupil_arch_to_json(pupil_clip_arch(c), &b);
    char *config = pupil_join(dir, "config.json"), *weights = pupil_join(dir, "model.safetensors");
    int r = pupil_write_file(config, b.s, b.len);
    if (r == 0) r = pupil_safetensors_write(weights, &own, params);
    pupil_free(&config);
    pupil_free(&weights);
    pupil_buf_free(&b);
    return r;
}

int pupil_model_dir_digest(const char *dir, char ret_hex[65])
{
    char *p = weights_in(dir);
    int r = pupil_sha256_file(p, ret_hex);
    pupil_free(&p);
    return r;
}
