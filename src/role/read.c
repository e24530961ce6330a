/* read.c: the generative reader on a model: texts as its tokenizer spells them, training in two stages, answers by all ranks.
 *
 * A caption is   begin caption stop,   a question   begin question stop answer stop;   what stands behind the first `begin`, or
 * behind the question's `stop`, is what is to be said. The decoder's vocabulary is the ids that occur in training. */
#include "heads.h"
#include "learn.h"

#include <string.h>

enum { RUN = 64 }; /* questions that are answered at once, whichever rank does it */

/* Sequences of ids, packed. */
typedef struct {
    int32_t *ids;
    int64_t *first, n, total, cap;
    int32_t *given, *said; /* ids before what is to be said, and of that */
    int64_t *picture;      /* row of the split's pictures */
} texts;

typedef struct {
    head_features *f;
    const pupil_tokenizer *tok;
    pupil_tokenizer *own; /* a published decoder's, or NULL */
    pupil_reader_arch arch; /* that decoder's */
    bool sees;
    int64_t context;
    int32_t begin, stop, end, *scratch; /* end: what the tokenizer puts behind a text, where it pads */
    int32_t *known, *back; /* the decoder's id of a tokenizer's id, 0: none; and back */
    int64_t vocab, longest;
    texts caption, train, test;
    pupil_reader *r;
    float *params;
} reading_room;

/* ---- texts -------------------------------------------------------------------------------------------- */
static void texts_new(texts *t, int64_t n)
{
    *t = (texts){.n = n};
    t->first = pupil_alloc((size_t)(n + 1) * sizeof *t->first);
    t->given = pupil_alloc((size_t)(n + 1) * sizeof *t->given), t->said = pupil_alloc((size_t)(n + 1) * sizeof *t->said);
    t->picture = pupil_alloc((size_t)(n + 1) * sizeof *t->picture);
}

static void texts_free(texts *t)
{
    pupil_free(&t->ids);
    pupil_free(&t->first);
    pupil_free(&t->given);
    pupil_free(&t->said);
    pupil_free(&t->picture);
}

static void put(texts *t, int32_t id)
{
    PUPIL_GROW(t->ids, t->total, t->cap);
    t->ids[t->total++] = id;
}

/* The ids of a text itself: without what begins, ends and pads it. */
static void put_words(reading_room *w, texts *t, const char *text)
{
    bool pads = pupil_tokenizer_pads(w->tok);
    int32_t n = (int32_t)pupil_tokenizer_encode(w->tok, text, (int)w->context, w->scratch), k = pads ? 0 : 1;
    for (; k < n - !pads && (!pads || w->scratch[k] != w->end); k++) put(t, w->scratch[k]);
}

static void put_question(reading_room *w, texts *t, int64_t i, const pupil_vqa_question *q, bool answer)
{
    int64_t first = t->total;
    put(t, w->begin);
    put_words(w, t, q->question);
    put(t, w->stop);
    t->given[i] = (int32_t)(t->total - first);
    if (answer) {
        put_words(w, t, q->answer);
        put(t, w->stop);
    }
    t->said[i] = (int32_t)(t->total - first) - t->given[i];
    t->first[i + 1] = t->total;
}

static void questions(reading_room *w, pupil_split split, texts *t)
{
    const asked *q = &w->f->e->q[split];
    texts_new(t, q->n);
    for (int64_t i = 0; i < q->n; i++) {
        t->picture[i] = q->row[i];
        put_question(w, t, i, &q->set->q[i], split == PUPIL_TRAIN);
    }
}

/* All captions of the pictures that are told. */
static int captions(reading_room *w, texts *t)
{
    job *j = w->f->e->j;
    int64_t n = 0, i = 0;
    for (int64_t p = 0; p < w->f->told.n; p++) n += pupil_dataset_captions(j->data, PUPIL_TRAIN, p);
    texts_new(t, n);
    for (int64_t p = 0; p < w->f->told.n; p++)
        for (int k = 0; k < pupil_dataset_captions(j->data, PUPIL_TRAIN, p); k++, i++) {
            char *text;
            PUPIL_TRY(pupil_dataset_caption(j->data, PUPIL_TRAIN, p, k, &text));
            put(t, w->begin);
            put_words(w, t, text);
            put(t, w->stop);
            pupil_free(&text);
            t->picture[i] = p;
            t->first[i + 1] = t->total;
            t->given[i] = 1;
            t->said[i] = (int32_t)(t->total - t->first[i]) - 1;
        }
    return 0;
}

/* Ids of training become 1, 2, ... in their order; what else a held-out question holds is 0. */
static void number_ids(reading_room *w)
{
    texts *const learnt[] = {&w->caption, &w->train};
    int64_t all = PUPIL_MAX(pupil_tokenizer_vocab(w->tok), (int64_t)PUPIL_MAX(w->begin, w->stop) + 1);
    w->known = pupil_alloc((size_t)all * sizeof *w->known), w->back = pupil_alloc((size_t)(all + 1) * sizeof *w->back);
    for (int k = 0; k < 2; k++)
        for (int64_t i = 0; i < learnt[k]->total; i++) w->known[learnt[k]->ids[i]] = 1;
    w->vocab = 1;
    w->back[0] = w->stop;
    for (int32_t id = 0; id < all; id++) {
        if (!w->known[id]) continue;
        w->back[w->vocab] = id;
        w->known[id] = (int32_t)w->vocab++;
    }
    texts *const each[] = {&w->caption, &w->train, &w->test};
    for (int k = 0; k < 3; k++) {
        for (int64_t i = 0; i < each[k]->total; i++) each[k]->ids[i] = w->known[each[k]->ids[i]];
        for (int64_t i = 0; i < each[k]->n; i++) w->longest = PUPIL_MAX(w->longest, each[k]->first[i + 1] - each[k]->first[i]);
    }
}

/* The model's tokenizer, or that of a published decoder. */
static int open_words(reading_room *w)
{
    enum { LONGEST = 256 };
    const char *dir = w->f->e->j->conf->eval.reader.decoder;
    w->context = pupil_clip_arch(w->f->s->m.clip)->context;
    if (dir) {
        PUPIL_TRY(pupil_decoder_arch(dir, &w->arch, &w->begin, &w->stop));
        PUPIL_TRY(pupil_tokenizer_open(dir, &w->own));
        w->tok = w->own;
        w->context = PUPIL_MIN(w->arch.longest, (int64_t)LONGEST);
    }
    w->scratch = pupil_alloc((size_t)PUPIL_MAX(w->context, (int64_t)2) * sizeof *w->scratch);
    int n = pupil_tokenizer_encode(w->tok, "", (int)w->context, w->scratch);
    w->end = w->scratch[0];
    if (dir) return 0;
    w->begin = w->scratch[0];
    w->stop = w->scratch[pupil_tokenizer_pads(w->tok) ? 0 : n - 1];
    return 0;
}

static int open_texts(reading_room *w)
{
    PUPIL_TRY(open_words(w));
    questions(w, PUPIL_TRAIN, &w->train);
    questions(w, PUPIL_TEST, &w->test);
    int r = w->sees ? captions(w, &w->caption) : 0;
    if (r == 0) number_ids(w);
    return r;
}

/* ---- training ----------------------------------------------------------------------------------------- */
static pupil_reading item(const reading_room *w, const texts *t, const pupil_tokens *p, int64_t i)
{
    pupil_reading it = {.ids = t->ids + t->first[i], .n = (int32_t)(t->first[i + 1] - t->first[i]), .given = t->given[i]};
    if (w->sees) {
        it.image = p->f16 + p->first[t->picture[i]] * p->width;
        it.image_rows = p->first[t->picture[i] + 1] - p->first[t->picture[i]];
    }
    return it;
}

typedef struct {
    reading_room *w;
    const texts *t;
    const pupil_tokens *p; /* of the pictures */
} stage;

static int gradient(void *ctx, const float *params, const int64_t *which, int64_t n, double scale, float *grads, double *ret)
{
    const stage *s = ctx;
    pupil_reading *it = pupil_alloc((size_t)(n + 1) * sizeof *it);
    for (int64_t i = 0; i < n; i++) it[i] = item(s->w, s->t, s->p, which[i]);
    *ret = pupil_reader_gradient(s->w->r, params, it, n, scale, grads);
    pupil_free(&it);
    return 0;
}

static int teach_stage(reading_room *w, const texts *t, const pupil_tokens *p, int64_t epochs, uint64_t order, const char *name, const char *what)
{
    const pupil_conf_head *c = &w->f->e->j->conf->eval.reader;
    if (t->n == 0 || pupil_reader_trained(w->r) == 0) return 0;
    char *title = pupil_format("%s: %s", name, what);
    lesson l = {.name = title, .table = pupil_reader_table(w->r), .params = w->params, .trained = pupil_reader_trained(w->r), .n = t->n, .epochs = epochs,
                .batch = PUPIL_MIN(c->batch, t->n), .lr = c->lr, .seed = w->f->e->seed, .order = order, .weight = t->said, .gradient = gradient,
                .ctx = &(stage){w, t, p}};
    int r = learn(w->f->e->j, &l);
    pupil_free(&title);
    return r;
}

/* Our own decoder, or the published one, with a projector as it begins. */
static int make_reader(reading_room *w)
{
    const pupil_conf_head *c = &w->f->e->j->conf->eval.reader;
    const pupil_tokens *p = &w->f->image[PUPIL_TRAIN];
    pupil_reader_arch a = {.width = c->width, .layers = c->layers, .heads = c->heads, .kv_heads = c->kv_heads, .mlp = pupil_reader_mlp(c->width)};
    int64_t longest = (w->sees ? p->first[1] : 0) + w->longest + c->answer_tokens;
    if (c->decoder) {
        a = w->arch;
        if (longest > a.longest)
            return pupil_fail(PUPIL_EUSER, "eval.reader.decoder: %s reads %lld rows at most, and a picture, a question and an answer have %lld",
                              c->decoder, (long long)a.longest, (long long)longest);
    }
    a.image_width = w->sees ? p->width : 0;
    a.vocab = w->vocab;
    a.longest = longest;
    w->r = pupil_reader_new(&a);
    w->params = pupil_alloc((size_t)pupil_reader_table(w->r)->total * sizeof *w->params);
    pupil_table_init(pupil_reader_table(w->r), w->f->e->seed, w->params);
    return c->decoder ? pupil_decoder_load(c->decoder, w->r, w->back, w->params) : 0;
}

static int teach_reader(reading_room *w, const char *name)
{
    const pupil_conf_head *c = &w->f->e->j->conf->eval.reader;
    PUPIL_TRY(pupil_agree(w->f->e->j->world, make_reader(w)));
    PUPIL_TRY(teach_stage(w, &w->caption, &w->f->told, c->caption_epochs, 1, name, "captions"));
    return teach_stage(w, &w->train, &w->f->image[PUPIL_TRAIN], c->epochs, 2, name, "questions");
}

/* ---- answers ------------------------------------------------------------------------------------------ */
/* ids[n][most] and count[n] of all held-out questions, on all ranks. */
static int answer_all(reading_room *w, int64_t most, int32_t *ids, int32_t *count)
{
    pupil_comm *c = w->f->e->j->world;
    int64_t n = w->test.n, runs = (n + RUN - 1) / RUN;
    int me = pupil_comm_rank(c), size = pupil_comm_size(c);
    pupil_reading it[RUN];
    for (int64_t k = pupil_slot_first(runs, size, me); k < pupil_slot_first(runs, size, me + 1); k++) {
        int64_t at = k * RUN, some = PUPIL_MIN((int64_t)RUN, n - at);
        for (int64_t i = 0; i < some; i++) it[i] = item(w, &w->test, &w->f->image[PUPIL_TEST], at + i);
        pupil_reader_continue(w->r, w->params, it, some, w->known[w->stop], most, ids + at * most, count + at);
    }
    size_t *at = pupil_alloc((size_t)(size + 1) * sizeof *at);
    int r = 0;
    for (int part = 0; part < 2 && r == 0; part++) {
        for (int p = 0; p <= size; p++) at[p] = (size_t)(PUPIL_MIN(n, pupil_slot_first(runs, size, p) * RUN) * (part ? 1 : most)) * sizeof *ids;
        r = pupil_gather_ranges(c, part ? count : ids, at);
    }
    pupil_free(&at);
    return r;
}

/* One line, without blanks at its ends. */
static char *spelled(const reading_room *w, const int32_t *ids, int32_t n)
{
    int32_t *own = pupil_alloc((size_t)(n + 1) * sizeof *own);
    for (int32_t k = 0; k < n; k++) own[k] = w->back[ids[k]];
    char *all = pupil_tokenizer_decode(w->tok, own, n), *begin = all + strspn(all, " \t\r\n");
    size_t len = strlen(begin);
    while (len && strchr(" \t\r\n", begin[len - 1])) len--;
    char *text = pupil_format("%.*s", (int)len, begin);
    for (char *c = text; *c; c++)
        if (*c == '\n' || *c == '\r') *c = ' ';
    pupil_free(&all);
    pupil_free(&own);
    return text;
}

static int answer_texts(reading_room *w, char **ret)
{
    int64_t most = w->f->e->j->conf->eval.reader.answer_tokens, n = w->test.n;
    int32_t *ids = pupil_alloc((size_t)(n * most) * sizeof *ids), *count = pupil_alloc((size_t)n * sizeof *count);
    int r = answer_all(w, most, ids, count);
    for (int64_t i = 0; i < n && r == 0; i++) ret[i] = spelled(w, ids + i * most, count[i]);
    pupil_free(&ids);
    pupil_free(&count);
    return r;
}

static void close_room(reading_room *w)
{
    texts *const each[] = {&w->caption, &w->train, &w->test};
    for (int k = 0; k < 3; k++) texts_free(each[k]);
    pupil_reader_free(&w->r);
    pupil_tokenizer_free(&w->own);
    pupil_free(&w->params);
    pupil_free(&w->scratch);
    pupil_free(&w->known);
    pupil_free(&w->back);
}

int reader_answers(head_features *f, bool sees, const char *name, char **ret)
{
    reading_room w = {.f = f, .tok = f->s->m.tok, .sees = sees};
    int r = sees ? head_images(f) : 0;
    if (r == 0 && sees && f->e->j->conf->eval.reader.caption_epochs) r = head_told(f);
    if (r == 0) r = pupil_agree(f->e->j->world, open_texts(&w));
    if (r == 0) r = teach_reader(&w, name);
    if (r == 0) r = answer_texts(&w, ret);
    close_room(&w);
    return r;
}
