/* dir.c: a model folder: weights and architecture side by side, in open_clip's layout. */
#include "pupil/model.h"

#include <string.h>

/* The first of `names` that DIR has, owned by the caller, or NULL. */
static char *file_in(const char *dir, const char *const *names, int n)
{
    for (int i = 0; i < n; i++) {
        char *p = pupil_join(dir, names[i]);
        if (pupil_exists(p)) return p;
        pupil_free(&p);
    }
    return NULL;
}

int pupil_model_dir_weights(const char *dir, char **ret)
{
    static const char *const names[] = {"model.safetensors", "open_clip_model.safetensors", "model.safetensors.index.json",
                                        "open_clip_model.safetensors.index.json"};
    static const char *const pickles[] = {"pytorch_model.bin", "open_clip_pytorch_model.bin", "model.pt"};
    *ret = file_in(dir, names, PUPIL_COUNT(names));
    if (*ret) return 0;
    char *pickle = file_in(dir, pickles, PUPIL_COUNT(pickles));
    int r = pupil_fail(PUPIL_ENOTFOUND, "%s: no model.safetensors (or open_clip_model.safetensors, or model.safetensors.index.json) there%s%s%s",
                       dir, pickle ? "; " : "", pickle ? pickle : "",
                       pickle ? " is a pickle, which is not read: save it as safetensors first" : "");
    pupil_free(&pickle);
    return r;
}

double pupil_model_dir_bytes(const char *dir)
{
    char *path, **shard = NULL;
    int n = 0;
    if (pupil_model_dir_weights(dir, &path) < 0) return 0;
    char *name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path, *end = strstr(name, ".safetensors.index.json");
    double bytes = 0;
    if (!end) {
        bytes = (double)pupil_file_size(path);
    } else {
        *end = '-'; /* shards are NAME-00001-of-00004.safetensors */
        end[1] = 0;
        if (pupil_list_dir(dir, name, ".safetensors", &shard, &n) < 0) n = 0;
        for (int i = 0; i < n; i++) {
            char *p = pupil_join(dir, shard[i]);
            bytes += (double)pupil_file_size(p);
            pupil_free(&p);
        }
        pupil_names_free(&shard, n);
    }
    pupil_free(&path);
    return bytes;
}

/* Folders may hold both layouts: the configuration that goes with the weights comes first. */
int pupil_model_dir_arch(const char *dir, pupil_arch *ret)
{
    static const char *const own[] = {"config.json", "open_clip_config.json"}, *const open_clip[] = {"open_clip_config.json", "config.json"};
    static const char *const plain[] = {"model.safetensors", "model.safetensors.index.json"};
    char *weights = file_in(dir, plain, PUPIL_COUNT(plain)), *p = file_in(dir, weights ? own : open_clip, PUPIL_COUNT(own));
    pupil_free(&weights);
    if (!p) return pupil_fail(PUPIL_ENOTFOUND, "%s: no config.json or open_clip_config.json there", dir);
    int r = pupil_arch_from_json(p, ret);
    pupil_free(&p);
    return r;
}

int pupil_model_dir_open(const char *dir, pupil_clip *c, pupil_weights **ret)
{
    char *p;
    PUPIL_TRY(pupil_model_dir_weights(dir, &p));
    int r = pupil_weights_open(p, c, ret);
    pupil_free(&p);
    return r;
}

int pupil_model_dir_load(const char *dir, pupil_clip *c, float *params)
{
    pupil_weights *w;
    PUPIL_TRY(pupil_model_dir_open(dir, c, &w));
    pupil_weights_copy(w, c, params);
    pupil_weights_free(&w);
    return 0;
}

int pupil_model_dir_digest(const char *dir, char ret_hex[65])
{
    char *p;
    PUPIL_TRY(pupil_model_dir_weights(dir, &p));
    int r = pupil_safetensors_digest(p, ret_hex);
    pupil_free(&p);
    return r;
}
