/* towers.c: a copy of a model's towers that is trained along with a head: token features of a few pictures and questions, and
 * the way back from their gradient. */
#include "heads.h"

void towers_new(towers *t, const job *j, const embedder *m, const float *params, int64_t room)
{
    const pupil_arch *a = pupil_clip_arch(m->clip);
    *t = (towers){.j = j, .m = m, .params = params, .weights = pupil_weights_flat(params)};
    t->acts = pupil_acts_new(m->clip, room, true);
    t->scratch = pupil_scratch_new(m->clip, room);
    t->unwanted = pupil_alloc((size_t)(room * a->embed_dim) * sizeof *t->unwanted);
    batch_new(&t->b, m->tok, a, room, room);
}

void towers_free(towers *t)
{
    if (!t->j) return;
    pupil_weights_free(&t->weights);
    pupil_acts_free(&t->acts);
    pupil_scratch_free(&t->scratch);
    pupil_free(&t->unwanted);
    batch_free(&t->b);
}

int towers_forward(towers *t, pupil_split split, const int64_t *sample, const char *const *text, int64_t n, float *image, float *ret_text)
{
    PUPIL_TRY(batch_images(&t->b, t->j, pupil_clip_arch(t->m->clip), split, sample, n));
    batch_texts(&t->b, text, n);
    pupil_image_forward(t->m->clip, t->weights, t->acts, t->scratch, t->b.images, n, t->unwanted);
    pupil_text_forward(t->m->clip, t->weights, t->acts, t->scratch, t->b.ids, t->b.cu, n, t->unwanted);
    pupil_image_tokens(t->m->clip, t->acts, image);
    pupil_text_tokens(t->m->clip, t->acts, ret_text);
    return 0;
}

void towers_backward(towers *t, const float *dimage, const float *dtext, float *grads)
{
    pupil_image_tokens_backward(t->m->clip, t->params, t->acts, t->scratch, dimage, grads);
    pupil_text_tokens_backward(t->m->clip, t->params, t->acts, t->scratch, dtext, grads);
}
