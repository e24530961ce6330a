/* make_model.c CONFIG.json OUT SEED: a model folder of this architecture with random weights. */
#include "pupil/model.h"

#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    pupil_arch a;
    if (argc != 4 || pupil_arch_from_json(argv[1], &a) < 0) {
        fprintf(stderr, "%s\n", argc == 4 ? pupil_reason() : "usage: make_model CONFIG.json OUT SEED");
        return 2;
    }
    pupil_clip *c = pupil_clip_new(&a);
    pupil_table *t = pupil_clip_table(c);
    float *params = pupil_alloc((size_t)t->total * sizeof *params);
    pupil_table_init(t, strtoull(argv[3], NULL, 10), params);
    int r = pupil_model_dir_export(argv[2], c, params, false, PUPIL_ST_F16);
    if (r < 0) fprintf(stderr, "%s\n", pupil_reason());
    pupil_free(&params);
    pupil_clip_free(&c);
    return r < 0;
}
