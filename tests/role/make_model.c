/* make_model.c CONFIG.json OUT SEED [TENSOR ROW]...: a model folder of this architecture with random weights; all of the
 * rows named hold 3e38, whose sums are infinite. */
#include "pupil/model.h"

#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    pupil_arch a;
    if (argc < 4 || argc % 2 || pupil_arch_from_json(argv[1], &a) < 0) {
        fprintf(stderr, "%s\n", argc >= 4 ? pupil_reason() : "usage: make_model CONFIG.json OUT SEED [TENSOR ROW]...");
        return 2;
    }
    pupil_clip *c = pupil_clip_new(&a);
    pupil_table *t = pupil_clip_table(c);
    float *params = pupil_alloc((size_t)t->total * sizeof *params);
    pupil_table_init(t, strtoull(argv[3], NULL, 10), params);
    for (int i = 4; i < argc; i += 2) {
        const pupil_tensor *x = pupil_table_find(t, argv[i]);
        int64_t row = strtoll(argv[i + 1], NULL, 10);
        if (!x || row >= x->shape[0]) return 2;
        for (int64_t k = 0; k < x->count / x->shape[0]; k++) params[x->offset + row * (x->count / x->shape[0]) + k] = 3e38f;
    }
    int r = pupil_model_dir_export(argv[2], c, params, false, argc > 4 ? PUPIL_ST_F32 : PUPIL_ST_F16);
    if (r < 0) fprintf(stderr, "%s\n", pupil_reason());
    pupil_free(&params);
    pupil_clip_free(&c);
    return r < 0;
}
