/* arch.h (private to model): what the readers and writers of configurations share. */
#ifndef PUPIL_MODEL_ARCH_H
#define PUPIL_MODEL_ARCH_H

#include "pupil/model.h"

#include <jansson.h>

/* One object of a file, and how to call it in messages: "FILE: SECTION.KEY is VALUE; ...". */
typedef struct {
    const char *path, *name;
    const json_t *o; /* NULL reads as an empty object */
} section;

/* The value of a key, `otherwise` where it is absent or null; what has another type is refused. */
int arch_whole(section s, const char *key, int64_t otherwise, int64_t *ret);
int arch_number(section s, const char *key, double otherwise, double *ret);
int arch_bool(section s, const char *key, bool otherwise, bool *ret);
/* One of words[n]: its index; or `otherwise`. */
int arch_word(section s, const char *key, const char *const *words, int n, int otherwise, int *ret);
/* Three numbers; left as they are where the key is absent or null. */
int arch_triple(section s, const char *key, double ret[3]);
/* The object under a key, an empty section where it is absent or null. `name` says what it is called from
 * then on. */
int arch_section(section s, const char *key, const char *name, section *ret);
/* PUPIL_EFORMAT: "FILE: SECTION.KEY is VALUE; WHY". */
int arch_refuse(section s, const char *key, const char *why);
/* Keys that are not in the list of words (between blanks) must be absent, null, false or {}. */
int arch_known(section s, const char *words);

/* PUPIL_EUSER "WHAT: ..." where sizes are out of range or do not fit each other. */
int arch_check(const pupil_arch *a, const char *what);
/* int(width * ratio) as Python has it, -1 out of range; and the ratio that gives `mlp`. */
int64_t arch_mlp(int64_t width, double ratio);
double arch_ratio(int64_t mlp, int64_t width);

/* open_clip's activations and norms of a tower: {"approximate": "tanh"} and {"eps": e}. */
int arch_from_open_clip(section root, pupil_arch *ret);
/* model_cfg.vision_cfg with a timm_model_name into a's image tower; and back, as the members of the object.
 */
int arch_trunk_read(section vision, pupil_arch *a);
void arch_trunk_write(const pupil_arch *a, pupil_buf *out);
/* transformers' CLIPConfig or SiglipConfig, and the preprocessor_config.json beside it. */
int arch_from_hf(section root, pupil_arch *ret);
/* A JSON file of at most a MiB; `ret` is released with json_decref(). */
int arch_load(const char *path, json_t **ret);

#endif
