/* fuse.c: the fusion head on a model: trained on the questions' soft labels, answering from the list. */
#include "heads.h"
#include "learn.h"

enum { RUN = 64 }; /* questions that are answered at once, whichever rank does it */

typedef struct {
    head_features *h;
    pupil_fusion *f;
    float *params;
    pupil_pooled *pooled;
    pupil_probe_data data[2]; /* of both splits */
} fuser;

static pupil_fusing item(const fuser *u, pupil_split split, int64_t i, float *pooled)
{
    const evaluation *e = u->h->e;
    const pupil_tokens *p = &u->h->image[split], *t = &u->h->question[split];
    int64_t row = e->q[split].row[i];
    pupil_pooled_row(u->pooled, &u->data[split], i, pooled);
    return (pupil_fusing){p->f16 + p->first[row] * p->width, t->f16 + t->first[i] * t->width, p->first[row + 1] - p->first[row],
                          t->first[i + 1] - t->first[i], pooled, split == PUPIL_TRAIN ? e->target + i * e->list.n : NULL};
}

static double gradient(void *ctx, const float *params, const int64_t *which, int64_t n, double scale, float *grads)
{
    const fuser *u = ctx;
    int64_t width = pupil_pooled_width(u->pooled);
    pupil_fusing *it = pupil_alloc((size_t)(n + 1) * sizeof *it);
    float *pooled = pupil_alloc((size_t)(n * width + 1) * sizeof *pooled);
    for (int64_t i = 0; i < n; i++) it[i] = item(u, PUPIL_TRAIN, which[i], pooled + i * width);
    double loss = pupil_fusion_gradient(u->f, params, it, n, scale, grads);
    pupil_free(&it);
    pupil_free(&pooled);
    return loss;
}

static int teach_fusion(fuser *u, const char *name)
{
    const evaluation *e = u->h->e;
    const pupil_conf_head *c = &e->j->conf->eval.fusion;
    int64_t n = e->q[PUPIL_TRAIN].n;
    u->f = pupil_fusion_new(&(pupil_fusion_arch){u->h->image[0].width, u->h->question[0].width, c->width, c->layers, c->heads,
                                                 pupil_reader_mlp(c->width), e->list.n, pupil_pooled_width(u->pooled)});
    const pupil_table *t = pupil_fusion_table(u->f);
    u->params = pupil_alloc((size_t)t->total * sizeof *u->params);
    pupil_table_init(t, e->seed, u->params);
    pupil_fusion_start(u->f, e->target, n, u->params);
    lesson l = {.name = name, .table = t, .params = u->params, .trained = t->total, .n = n, .epochs = c->epochs, .batch = PUPIL_MIN(c->batch, n), .lr = c->lr,
                .seed = e->seed, .order = 3, .gradient = gradient, .ctx = u};
    return learn(e->j, &l);
}

static int answer_all(const fuser *u, int32_t *index)
{
    pupil_comm *c = u->h->e->j->world;
    int64_t n = u->h->e->q[PUPIL_TEST].n, runs = (n + RUN - 1) / RUN;
    int me = pupil_comm_rank(c), size = pupil_comm_size(c);
    pupil_fusing it[RUN];
    int64_t width = pupil_pooled_width(u->pooled);
    float *pooled = pupil_alloc((size_t)(RUN * width) * sizeof *pooled);
    for (int64_t k = pupil_slot_first(runs, size, me); k < pupil_slot_first(runs, size, me + 1); k++) {
        int64_t at = k * RUN, some = PUPIL_MIN((int64_t)RUN, n - at);
        for (int64_t i = 0; i < some; i++) it[i] = item(u, PUPIL_TEST, at + i, pooled + i * width);
        pupil_fusion_answer(u->f, u->params, it, some, index + at);
    }
    pupil_free(&pooled);
    size_t *at = pupil_alloc((size_t)(size + 1) * sizeof *at);
    for (int p = 0; p <= size; p++) at[p] = (size_t)PUPIL_MIN(n, pupil_slot_first(runs, size, p) * RUN) * sizeof *index;
    int r = pupil_gather_ranges(c, index, at);
    pupil_free(&at);
    return r;
}

int fusion_answers(head_features *f, const char *name, char **ret)
{
    fuser u = {.h = f};
    int64_t n = f->e->q[PUPIL_TEST].n;
    int32_t *index = pupil_alloc((size_t)n * sizeof *index);
    for (int s = 0; s < 2; s++)
        u.data[s] = (pupil_probe_data){f->s->image[s], f->s->question[s], f->e->q[s].row, f->e->q[s].n_images, f->e->q[s].n};
    u.pooled = pupil_pooled_new(PUPIL_PROBE_FULL, pupil_clip_arch(f->s->m.clip)->embed_dim, &u.data[PUPIL_TRAIN]);
    int r = head_images(f);
    if (r == 0) r = head_questions(f);
    if (r == 0) r = teach_fusion(&u, name);
    if (r == 0) r = answer_all(&u, index);
    for (int64_t i = 0; i < n && r == 0; i++) ret[i] = pupil_strdup(f->e->list.answer[index[i]]);
    pupil_fusion_free(&u.f);
    pupil_pooled_free(&u.pooled);
    pupil_free(&u.params);
    pupil_free(&index);
    return r;
}
