/* groups.c: accuracies by the name of a group, summed in the order they come, as the official code does, so that
 * rounded figures agree to the last digit. */
#include "groups.h"

void groups_add(groups *g, const char *name, double accuracy)
{
    int k = names_add(&g->name, name);
    PUPIL_GROW(g->sum, k, g->sums);
    PUPIL_GROW(g->n, k, g->counts);
    g->sum[k] += accuracy;
    g->n[k]++;
}

pupil_vqa_group *groups_finish(groups *g, int *ret_n)
{
    pupil_vqa_group *out = pupil_alloc((size_t)g->name.n * sizeof *out);
    for (int k = 0; k < g->name.n; k++)
        out[k] = (pupil_vqa_group){pupil_strdup(g->name.s[k]), g->n[k], 100 * g->sum[k] / (double)g->n[k]};
    *ret_n = g->name.n;
    names_free(&g->name);
    pupil_free(&g->sum);
    pupil_free(&g->n);
    g->sums = g->counts = 0;
    return out;
}
