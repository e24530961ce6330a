/* export.c: a model as the files of a layout have it: which layout and number formats a weights file is in,
 * and folders in open_clip's and in Hugging Face's layout, made from the parameters of a table. */
#include "layout.h"

#include <string.h>

static bool own(const pupil_tensor *t)
{
    return strncmp(t->name, "loss.", 5) != 0;
}

int pupil_weights_about(const char *path, pupil_clip *c, pupil_weights_file *ret)
{
    static const char *const names[] = {
        [PUPIL_ST_F32] = "F32", [PUPIL_ST_F16] = "F16", [PUPIL_ST_BF16] = "BF16", [PUPIL_ST_OTHER] = "other"};
    const pupil_table *t = pupil_clip_table(c);
    pupil_safetensors *s;
    int64_t of[PUPIL_COUNT(names)] = {0};
    PUPIL_TRY(pupil_safetensors_open(path, &s));
    layout l = layout_of(s);
    for (int64_t i = 0; i < t->n; i++) {
        layout_tensor at;
        pupil_st_tensor x;
        if (!own(&t->t[i]) || !layout_find(pupil_clip_arch(c), l, &t->t[i], &at)) continue;
        for (int k = 0; k < at.n; k++)
            if (!at.part[k].absent && pupil_safetensors_find(s, at.part[k].name, &x)) of[x.type]++;
    }
    pupil_safetensors_close(&s);
    *ret = (pupil_weights_file){.layout = l == LAYOUT_HUGGING_FACE ? "Hugging Face" : "open_clip"};
    for (int i = 0, n = 0; i < PUPIL_COUNT(names); i++)
        if (of[i])
            n += snprintf(ret->formats + n, sizeof ret->formats - (size_t)n, "%s%s", n ? ", " : "", names[i]);
    return 0;
}

/* ---- export ---------------------------------------------------------------------------------------- */
/* What is written, and what it needs to live until then. */
typedef struct {
    pupil_st_source *t;
    char (*name)[112];
    float **turned; /* one a tensor of the table; NULL where it lies as the file wants it */
    int64_t n, tensors;
} listing;

static void listing_free(listing *l)
{
    for (int64_t i = 0; i < l->tensors; i++) pupil_free(&l->turned[i]);
    pupil_free(&l->turned);
    pupil_free(&l->name);
    pupil_free(&l->t);
}

static float *transposed(const float *x, int64_t rows, int64_t cols)
{
    float *out = pupil_alloc((size_t)(rows * cols) * sizeof *out);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < cols; c++) out[c * rows + r] = x[r * cols + c];
    return out;
}

static void list_tensor(listing *l, int64_t i, const pupil_tensor *t, const layout_tensor *at, const float *x)
{
    if (at->transpose) x = l->turned[i] = transposed(x, t->shape[0], t->shape[1]);
    for (int k = 0; k < at->n; k++) {
        int64_t count = at->n > 1 ? t->count / t->shape[0] * at->part[k].rows : t->count;
        if (!at->part[k].absent) {
            pupil_st_source *s = &l->t[l->n];
            strcpy(l->name[l->n++], at->part[k].name);
            s->ndim = at->lead + t->ndim;
            for (int d = 0; d < at->lead; d++) s->shape[d] = 1;
            for (int d = 0; d < t->ndim; d++)
                s->shape[at->lead + d] = t->shape[at->transpose ? t->ndim - 1 - d : d];
            if (at->n > 1) s->shape[at->lead] = at->part[k].rows;
            s->data = x;
        }
        x += count;
    }
}

static int list_all(const pupil_clip *c, const float *params, layout l, listing *ret)
{
    const pupil_table *t = pupil_clip_table((pupil_clip *)(uintptr_t)c);
    size_t most = 3 * (size_t)t->n;
    *ret = (listing){.t = pupil_alloc(most * sizeof *ret->t),
                     .name = pupil_alloc(most * sizeof *ret->name),
                     .turned = pupil_alloc((size_t)t->n * sizeof *ret->turned),
                     .tensors = t->n};
    for (int64_t i = 0; i < t->n; i++) {
        layout_tensor at;
        if (!own(&t->t[i])) continue;
        if (!layout_find(pupil_clip_arch(c), l, &t->t[i], &at))
            return pupil_fail(PUPIL_EUSER, "tensor %s has no place in this layout", t->t[i].name);
        list_tensor(ret, i, &t->t[i], &at, params + t->t[i].offset);
    }
    for (int64_t i = 0; i < ret->n; i++) ret->t[i].name = ret->name[i];
    return 0;
}

static int write_in(const char *dir, const char *name, const pupil_buf *text)
{
    char *path = pupil_join(dir, name);
    int r = pupil_write_file(path, text->s, text->len);
    pupil_free(&path);
    return r;
}

/* Configurations first: a folder is a model once its weights are there. NULL: no preprocessor's. */
static int write_folder(const char *dir, const char *config_name, const pupil_buf *config, const pupil_buf *preprocessor,
                        const char *weights_name, const listing *w, pupil_st_type type)
{
    PUPIL_TRY(pupil_mkdirs(dir));
    PUPIL_TRY(write_in(dir, config_name, config));
    if (preprocessor) PUPIL_TRY(write_in(dir, "preprocessor_config.json", preprocessor));
    char *path = pupil_join(dir, weights_name);
    int r = pupil_safetensors_export(path, w->t, w->n, type);
    pupil_free(&path);
    return r;
}

/* open_clip has one rounding of the centre crop: its own. */
static void open_clip_config(const pupil_arch *arch, pupil_buf *out)
{
    pupil_arch a = *arch;
    if (!strcmp(a.resize_mode, "shortest-hf")) strcpy(a.resize_mode, "shortest");
    pupil_arch_to_json(&a, out);
}

int pupil_model_dir_export(const char *dir, const pupil_clip *c, const float *params, bool hf,
                           pupil_st_type type)
{
    pupil_buf config = {0}, preprocessor = {0};
    listing w = {0};
    int r = 0;
    if (hf) r = pupil_arch_to_hf(pupil_clip_arch(c), &config, &preprocessor);
    else open_clip_config(pupil_clip_arch(c), &config);
    if (r == 0) r = list_all(c, params, hf ? LAYOUT_HUGGING_FACE : LAYOUT_OPEN_CLIP, &w);
    if (r == 0)
        r = hf ? write_folder(dir, "config.json", &config, &preprocessor, "model.safetensors", &w, type)
               : write_folder(dir, "open_clip_config.json", &config, NULL, "open_clip_model.safetensors", &w, type);
    listing_free(&w);
    pupil_buf_free(&config);
    pupil_buf_free(&preprocessor);
    return r;
}

int pupil_model_dir_save(const char *dir, const pupil_clip *c, const float *params)
{
    pupil_buf config = {0};
    listing w = {0};
    pupil_arch_to_json(pupil_clip_arch(c), &config);
    int r = list_all(c, params, LAYOUT_OPEN_CLIP, &w);
    if (r == 0) r = write_folder(dir, "config.json", &config, NULL, "model.safetensors", &w, PUPIL_ST_F32);
    listing_free(&w);
    pupil_buf_free(&config);
    return r;
}
