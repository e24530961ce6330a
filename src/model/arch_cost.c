/* arch_cost.c: multiply-adds (times 2) of one forward pass, matrix products alone: norms, activations and
 * rotations are a few per cent of them. */
#include "pupil/model.h"

/* One tower's blocks over n rows; the last block has queries, keys and values of all rows, and the
 * rest for the pooled row alone or for all rows. */
static double blocks_flops(const pupil_tower_arch *t, double n, bool causal, bool swiglu, bool all_rows)
{
    double w = (double)t->width, mlp = (swiglu ? 3 : 2) * w * (double)t->mlp,
           attend = causal ? (n + 1) / 2 : n;
    double full = 2 * n * (4 * w * w + mlp) + 4 * n * attend * w;
    double last = all_rows ? full : 2 * n * 3 * w * w + 2 * (w * w + mlp) + 4 * n * w;
    return full * (double)(t->layers - 1) + last;
}

double pupil_arch_image_flops(const pupil_arch *a) { return pupil_arch_patches_flops(a, pupil_arch_patches(a)); }

double pupil_arch_patches_flops(const pupil_arch *a, int64_t patches)
{
    bool map = a->pool == PUPIL_POOL_MAP;
    double np = (double)patches, n = np + a->class_token, w = (double)a->image.width;
    double stem = 2 * np * w * 3 * (double)(a->patch * a->patch);
    double proj = a->image_proj == PUPIL_PROJ_NONE ? 0 : 2 * w * (double)a->embed_dim;
    double pool = map ? 2 * n * 2 * w * w + 2 * (w * w + 2 * w * (double)a->pool_mlp) + 4 * n * w : 0;
    return stem + blocks_flops(&a->image, n, false, a->swiglu, map) + pool + proj;
}

double pupil_arch_text_flops(const pupil_arch *a, double tokens)
{
    double n = a->text_all_to_all ? (double)a->context : tokens;
    return 2 * (double)a->text.width * (double)a->embed_dim +
           blocks_flops(&a->text, n, !a->text_all_to_all, false, false);
}
