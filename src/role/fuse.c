/* fuse.c: the fusion head on a model: trained on the questions' soft labels, answering from the list. Its features are kept ones
 * of frozen towers, or come from a copy of the towers that is tuned along. */
#include "heads.h"
#include "learn.h"

typedef struct {
    head_features *h;
    pupil_fusion *f;
    bool tuned;
    pupil_table table;  /* of all that is trained: the towers, if they are, then the head */
    float *params;
    int64_t own;        /* where the head's begin */
    towers t;
    pupil_pooled *pooled;
    pupil_probe_data data[2]; /* of both splits */
    int64_t room;             /* questions taken at once */
    float *image, *text, *dimage, *dtext, *wide; /* features, their gradients, pooled features; of `room` questions */
    pupil_fusing *item;
    int64_t *sample;
    const char **asked;
} fuser;

static const pupil_arch *arch_of(const fuser *u) { return pupil_clip_arch(u->h->s->m.clip); }

/* ---- features of a few questions ---------------------------------------------------------------------- */
static void from_kept(fuser *u, pupil_split split, const int64_t *which, int64_t n)
{
    const pupil_tokens *p = &u->h->image[split], *t = &u->h->question[split];
    float *image = u->image, *text = u->text;
    for (int64_t i = 0; i < n; i++) {
        int64_t row = u->h->e->q[split].row[which[i]], at = which[i];
        int64_t rows = p->first[row + 1] - p->first[row], words = t->first[at + 1] - t->first[at];
        pupil_f16_unpack(image, p->f16 + p->first[row] * p->width, rows * p->width);
        pupil_f16_unpack(text, t->f16 + t->first[at] * t->width, words * t->width);
        u->item[i] = (pupil_fusing){.image = image, .text = text, .image_rows = rows, .text_rows = words};
        image += rows * p->width, text += words * t->width;
    }
}

static int from_towers(fuser *u, pupil_split split, const int64_t *which, int64_t n)
{
    const asked *q = &u->h->e->q[split];
    for (int64_t i = 0; i < n; i++) u->sample[i] = q->image[q->row[which[i]]], u->asked[i] = q->text[which[i]];
    PUPIL_TRY(towers_forward(&u->t, split, u->sample, u->asked, n, u->image, u->text));
    int64_t rows = pupil_arch_tokens(arch_of(u)), of_image = rows * arch_of(u)->image.width, of_word = arch_of(u)->text.width;
    const int32_t *cu = u->t.b.cu;
    for (int64_t i = 0; i < n; i++)
        u->item[i] = (pupil_fusing){u->image + i * of_image, u->text + cu[i] * of_word, rows, cu[i + 1] - cu[i], u->dimage + i * of_image,
                                    u->dtext + cu[i] * of_word, NULL, NULL};
    return 0;
}

static int load(fuser *u, pupil_split split, const int64_t *which, int64_t n)
{
    const evaluation *e = u->h->e;
    int64_t wide = pupil_pooled_width(u->pooled);
    if (u->tuned) PUPIL_TRY(from_towers(u, split, which, n));
    else from_kept(u, split, which, n);
    for (int64_t i = 0; i < n; i++) {
        u->item[i].pooled = u->wide + i * wide;
        u->item[i].target = split == PUPIL_TRAIN ? e->target + which[i] * e->list.n : NULL;
        pupil_pooled_row(u->pooled, &u->data[split], which[i], u->wide + i * wide);
    }
    return 0;
}

/* ---- training ------------------------------------------------------------------------------------------- */
static int gradient(void *ctx, const float *params, const int64_t *which, int64_t n, double scale, float *grads, double *ret)
{
    fuser *u = ctx;
    *ret = 0;
    if (n == 0) return 0;
    PUPIL_TRY(load(u, PUPIL_TRAIN, which, n));
    *ret = pupil_fusion_gradient(u->f, params + u->own, u->item, n, scale, grads + u->own);
    if (u->tuned) towers_backward(&u->t, u->dimage, u->dtext, grads);
    return 0;
}

static void append(pupil_table *t, const pupil_table *more)
{
    for (int64_t i = 0; i < more->n; i++) pupil_table_add(t, more->t[i].name, more->t[i].ndim, more->t[i].shape, more->t[i].init, more->t[i].value);
}

static void fuser_new(fuser *u)
{
    const evaluation *e = u->h->e;
    const scored *s = u->h->s;
    const pupil_conf_head *c = &e->j->conf->eval.fusion;
    const pupil_arch *a = arch_of(u);
    for (int k = 0; k < 2; k++) u->data[k] = (pupil_probe_data){s->image[k], s->question[k], e->q[k].row, e->q[k].n_images, e->q[k].n};
    u->pooled = pupil_pooled_new(PUPIL_PROBE_FULL, a->embed_dim, &u->data[PUPIL_TRAIN]);
    u->f = pupil_fusion_new(&(pupil_fusion_arch){a->image.width, a->text.width, c->width, c->layers, c->heads, pupil_reader_mlp(c->width), e->list.n,
                                                 pupil_pooled_width(u->pooled)});
    if (u->tuned) append(&u->table, pupil_clip_table(s->m.clip));
    u->own = u->table.total;
    append(&u->table, pupil_fusion_table(u->f));
    u->params = pupil_alloc((size_t)u->table.total * sizeof *u->params);
    pupil_table_init(pupil_fusion_table(u->f), e->seed, u->params + u->own);
    pupil_fusion_start(u->f, e->target, e->q[PUPIL_TRAIN].n, u->params + u->own);
    u->room = (c->batch + LESSON_SLOTS - 1) / LESSON_SLOTS;
    int64_t of_image = u->room * pupil_arch_tokens(a) * a->image.width, of_text = u->room * a->context * a->text.width;
    u->image = pupil_alloc((size_t)of_image * sizeof *u->image), u->text = pupil_alloc((size_t)of_text * sizeof *u->text);
    u->wide = pupil_alloc((size_t)(u->room * pupil_pooled_width(u->pooled)) * sizeof *u->wide);
    u->item = pupil_alloc((size_t)u->room * sizeof *u->item);
    u->sample = pupil_alloc((size_t)u->room * sizeof *u->sample), u->asked = pupil_alloc((size_t)u->room * sizeof *u->asked);
    if (!u->tuned) return;
    u->dimage = pupil_alloc((size_t)of_image * sizeof *u->dimage), u->dtext = pupil_alloc((size_t)of_text * sizeof *u->dtext);
    pupil_weights_copy(s->m.weights, s->m.clip, u->params);
    towers_new(&u->t, e->j, &s->m, u->params, u->room);
}

static void fuser_free(fuser *u)
{
    towers_free(&u->t);
    pupil_fusion_free(&u->f);
    pupil_pooled_free(&u->pooled);
    pupil_table_free(&u->table);
    pupil_free(&u->params);
    float **room[] = {&u->image, &u->text, &u->dimage, &u->dtext, &u->wide};
    for (int k = 0; k < PUPIL_COUNT(room); k++) pupil_free(room[k]);
    pupil_free(&u->item);
    pupil_free(&u->sample);
    pupil_free(&u->asked);
}

static int teach_fusion(fuser *u, const char *name)
{
    const evaluation *e = u->h->e;
    const pupil_conf_head *c = &e->j->conf->eval.fusion;
    int64_t n = e->q[PUPIL_TRAIN].n;
    lesson l = {.name = name, .table = &u->table, .params = u->params, .trained = u->table.total, .n = n, .epochs = c->epochs, .batch = PUPIL_MIN(c->batch, n),
                .lr = c->lr, .slow = u->own, .slow_lr = c->lr * c->tune, .seed = e->seed, .order = 3, .gradient = gradient, .ctx = u};
    return learn(e->j, &l);
}

/* ---- answers -------------------------------------------------------------------------------------------- */
static int answer_all(fuser *u, int32_t *index)
{
    pupil_comm *c = u->h->e->j->world;
    int64_t n = u->h->e->q[PUPIL_TEST].n, runs = (n + u->room - 1) / u->room, *which = pupil_alloc((size_t)n * sizeof *which);
    int me = pupil_comm_rank(c), size = pupil_comm_size(c), r = 0;
    for (int64_t i = 0; i < n; i++) which[i] = i;
    for (int64_t k = pupil_slot_first(runs, size, me); k < pupil_slot_first(runs, size, me + 1) && r == 0; k++) {
        int64_t at = k * u->room, some = PUPIL_MIN(u->room, n - at);
        r = load(u, PUPIL_TEST, which + at, some);
        if (r == 0) pupil_fusion_answer(u->f, u->params + u->own, u->item, some, index + at);
    }
    pupil_free(&which);
    PUPIL_TRY(pupil_agree(c, r));
    size_t *at = pupil_alloc((size_t)(size + 1) * sizeof *at);
    for (int p = 0; p <= size; p++) at[p] = (size_t)PUPIL_MIN(n, pupil_slot_first(runs, size, p) * u->room) * sizeof *index;
    r = pupil_gather_ranges(c, index, at);
    pupil_free(&at);
    return r;
}

int fusion_answers(head_features *f, bool tuned, const char *name, char **ret)
{
    fuser u = {.h = f, .tuned = tuned};
    int64_t n = f->e->q[PUPIL_TEST].n;
    int32_t *index = pupil_alloc((size_t)n * sizeof *index);
    int r = tuned ? 0 : head_images(f);
    if (r == 0 && !tuned) r = head_questions(f);
    if (r == 0) {
        fuser_new(&u);
        r = teach_fusion(&u, name);
    }
    if (r == 0) r = answer_all(&u, index);
    for (int64_t i = 0; i < n && r == 0; i++) ret[i] = pupil_strdup(f->e->list.answer[index[i]]);
    fuser_free(&u);
    pupil_free(&index);
    return r;
}
