/* presets.c: the losses of the literature by name. A preset is expanded into the terms below it before
 * anything reads the settings; a key that is given stands above it. The resolved settings show the terms
 * alone. */
#include "schema.h"

#include <string.h>

/* "a=1 b.c=2": loss.a.weight, loss.b.c. as_released: on top of it, what the published code does otherwise. */
typedef struct {
    const char *name, *terms, *as_released, *about;
} preset;

/* clang-format off */
static const preset presets[] = {
    {"clip", "task=1", "", "no distillation"},
    {"siglip", "sigmoid=1", "", "no distillation"},
    {"clip-kd", "task=1 crd=1 icl=1 fd=2000", "icl.variant=as-released", "CLIP-KD's combination; its code multiplies by the raw ICL scale"},
    {"clip-kd-crd", "task=1 crd=1", "", "its parts alone"},
    {"clip-kd-fd", "task=1 fd=2000", "", "also MFD, with a masked student"},
    {"clip-kd-icl", "task=1 icl=1", "icl.variant=as-released", ""},
    {"clip-kd-gd", "task=1 gd=1", "gd=1e8 gd.variant=as-released", "its code divides by the scale where a temperature belongs"},
    {"clip-kd-afd", "task=1 afd=1", "afd.variant=as-released", ""},
    {"nano-clip", "task=1 crd=1 icl=1 fd=2000", "crd.direction=reversed icl.variant=as-released heads=plain",
     "as CLIP-KD; its code has KL(student || teacher), and heads after normalisation (there they are never trained)"},
    {"tinyclip", "affinity=1 affinity.scale=50", "", "TinyCLIP's affinity mimicking, both scales pinned; no task loss"},
    {"open_clip", "task=1 affinity=1", "", "open_clip's distillation"},
    {"mobileclip", "ensemble=1 ensemble.scale=100", "", "MobileCLIP, lambda 1"},
    {"mobileclip-b", "task=0.25 ensemble=0.75 ensemble.scale=100", "", "MobileCLIP-B on a billion pairs, lambda 0.75"},
    {"mobileclip2", "ensemble=1", "", "MobileCLIP2: each teacher's own scale, or the logit_scale of its settings (70 and 60 there)"},
    {"siglip-kd", "sigmoid=1 soft_sigmoid=1", "", "SigLIP with MobileCLIP2's soft labels"},
    {"hinton", "task=1 hinton=1 hinton.tau=4", "", "softened softmaxes"},
    {"rkd", "task=1 rkd_distance=25 rkd_angle=50", "", "relations of distance and angle"},
    {"dist", "task=1 dist=1", "", "correlations of rows and columns"},
    {"logit-std", "task=1 logit_std=9 logit_std.tau=2", "", "standardised logits"},
    {"dime-fm", "vl=0.7 pvl=0.3", "", "DIME-FM: unpaired pictures and captions, the teacher's text side"},
};

/* clang-format on */
/* The row of a preset's "a=1" or "b.c=2", and its value. */
static const field *row_of(const char *item, size_t n, char value[64])
{
    char key[128], word[64];
    snprintf(word, sizeof word, "%.*s", (int)n, item);
    char *equals = strchr(word, '=');
    PUPIL_REQUIRE(equals);
    *equals = 0;
    snprintf(value, 64, "%s", equals + 1);
    snprintf(key, sizeof key, "loss.%s", word);
    int i = schema_find(key);
    if (i < 0) {
        snprintf(key, sizeof key, "loss.%s.weight", word);
        i = schema_find(key);
    }
    PUPIL_REQUIRE(i >= 0);
    return &schema[i];
}

static void apply(const char *items, pupil_conf *c, const place *at)
{
    for (size_t n; *items; items += n + strspn(items + n, " ")) {
        char value[64];
        n = strcspn(items, " ");
        const field *f = row_of(items, n, value);
        if (!at[f - schema].line) PUPIL_REQUIRE(field_store(f, value, false, c));
    }
}

void preset_expand(pupil_conf *c, const place *at)
{
    for (int i = 0; i < PUPIL_COUNT(presets) && c->loss.preset; i++) {
        if (strcmp(presets[i].name, c->loss.preset)) continue;
        if (!at[schema_find("loss.task.weight")].line) c->loss.task.weight = 0;
        apply(presets[i].terms, c, at);
        if (c->loss.variant == PUPIL_VARIANT_AS_RELEASED) apply(presets[i].as_released, c, at);
    }
}

void pupil_conf_presets(pupil_buf *out)
{
    for (int i = 0; i < PUPIL_COUNT(presets); i++) {
        const preset *p = &presets[i];
        pupil_buf_printf(out, "  %-13s %s\n", p->name, p->terms);
        if (p->as_released[0]) pupil_buf_printf(out, "  %-13s as-released: %s\n", "", p->as_released);
        if (p->about[0]) pupil_buf_printf(out, "  %-13s %s\n", "", p->about);
    }
}
