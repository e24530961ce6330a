/* loss.c: the protocol of a step over the families of terms: what is gathered in which round, one slot of
 * rows at a time. Features and their gradients are float32; logits of float32 rows, and all that follows from
 * them, are double, as a logit scale of 100 would leave single precision five digits. Nothing here or in the
 * families depends on which slots a rank has. */
#include "parts.h"

static const family *const families[] = {&family_pairs,    &family_sigmoid, &family_fd,   &family_gd,
                                         &family_distance, &family_angle,   &family_dist, &family_std};

static float *floats(int64_t n)
{
    return pupil_alloc((size_t)n * sizeof(float));
}

/* ---- registers ------------------------------------------------------------------------------------ */
matrix *loss_matrix(pupil_loss *l, int64_t width, bool normalised, bool student)
{
    PUPIL_REQUIRE(l->matrices < MATRICES);
    matrix *m = &l->matrix[l->matrices++];
    *m = (matrix){.rows = floats(l->c.batch * width), .width = width, .shared = -1};
    if (normalised) m->norm = floats(l->c.batch);
    if (student) m->grad = floats(l->rows * width);
    return m;
}

void loss_share(matrix *m, int round)
{
    m->shared = round;
}

int loss_stats(pupil_loss *l, int round, int n)
{
    int first = (int)l->stats[round];
    l->stats[round] += n;
    l->rounds = PUPIL_MAX(l->rounds, round + 1);
    return first;
}

void loss_squares(pupil_loss *l, int n)
{
    l->squares = PUPIL_MAX(l->squares, n);
}

int loss_tensor(const pupil_loss *l, int what, int teacher)
{
    for (int i = 0; i < l->tensors; i++)
        if (l->tensor[i].what == what && l->tensor[i].teacher == teacher) return i;
    return -1;
}

double loss_part(const pupil_loss *l, int teacher)
{
    double sum = 0;
    for (int k = 0; k < l->c.teachers; k++) sum += l->c.teacher[k].weight;
    return sum > 0 ? l->c.teacher[teacher].weight / sum : 0;
}

/* ---- arithmetic that families share --------------------------------------------------------------- */
double scale_of(const scale *s, const pupil_loss_params *p)
{
    switch (s->kind) {
    case LOGIT:
        return s->factor * exp((double)*p->logit_scale);
    case INVERSE_LOGIT:
        return s->factor * exp(-(double)*p->logit_scale);
    case TENSOR_EXP:
        return s->factor * exp((double)*p->tensor[s->tensor]);
    case TENSOR_RAW:
        return s->factor * (double)*p->tensor[s->tensor];
    default:
        return s->factor;
    }
}

void scale_grad(const scale *s, const slot *at, double dlog)
{
    if (s->kind == LOGIT) *at->g->logit_scale += (float)dlog;
    if (s->kind == INVERSE_LOGIT) *at->g->logit_scale -= (float)dlog;
    if (s->kind == TENSOR_EXP) *at->g->tensor[s->tensor] += (float)dlog;
    double raw = s->kind == TENSOR_RAW ? (double)*at->p->tensor[s->tensor] : 0;
    if (raw != 0) *at->g->tensor[s->tensor] += (float)(dlog / raw);
}

void loss_logits(const pupil_loss *l, const slot *at, double *z, double factor, const matrix *own,
                 const matrix *all)
{
    pupil_row_products(z, factor, own->rows + at->first * own->width, own->width, l->rows, all->rows,
                       all->width, l->c.batch, own->width);
}

void loss_pull_rows(const pupil_loss *l, float *out, int64_t ldo, double factor, const double *g,
                    const float *all, int64_t lda, int64_t width)
{
    int64_t count = l->rows * l->c.batch;
    for (int64_t i = 0; i < count; i++) l->narrow[i] = (float)(factor * g[i]);
    pupil_gemm(false, false, l->rows, width, l->c.batch, 1, l->narrow, l->c.batch, all, lda, 1, out, ldo);
}

void loss_pull(const pupil_loss *l, const matrix *own, double factor, const double *g, const matrix *all)
{
    loss_pull_rows(l, own->grad, own->width, factor, g, all->rows, all->width, all->width);
}

double loss_dot(const double *a, const double *b, int64_t n)
{
    double s = 0;
    for (int64_t i = 0; i < n; i++) s += a[i] * b[i];
    return s;
}

void loss_lse(const pupil_loss *l, double *lse, const double *z)
{
    for (int64_t i = 0; i < l->rows; i++) lse[i] = pupil_logsumexp(z + i * l->c.batch, l->c.batch);
}

void loss_exp(const pupil_loss *l, double *p, const double *z, const double *row, const double *col)
{
    for (int64_t i = 0; i < l->rows; i++)
        pupil_exp_less(p + i * l->c.batch, z + i * l->c.batch, row ? row[i] : 0, col, l->c.batch);
}

/* ---- protocol ------------------------------------------------------------------------------------- */
pupil_loss *pupil_loss_new(const pupil_loss_conf *c)
{
    PUPIL_REQUIRE(c->teachers >= 0 && c->teachers <= PUPIL_LOSS_TEACHERS && c->captions <= 2 &&
                  c->batch % c->slots == 0);
    pupil_loss *l = pupil_alloc(sizeof *l);
    l->c = *c;
    l->captions = PUPIL_MAX(1, c->captions);
    l->rows = c->batch / c->slots;
    l->rounds = 1;
    l->tensors = pupil_loss_tensors(c, l->tensor);
    features_new(l);
    for (int f = 0; f < PUPIL_COUNT(families); f++) families[f]->open(l);
    int64_t widest = c->dim;
    for (int k = 0; k < c->teachers; k++) widest = PUPIL_MAX(widest, c->dim + c->teacher[k].dim);
    for (int r = 0; r < ROUNDS; r++)
        l->stat[r] = pupil_alloc((size_t)(c->batch * l->stats[r]) * sizeof **l->stat);
    for (int i = 0; i < l->squares; i++)
        l->square[i] = pupil_alloc((size_t)(l->rows * c->batch) * sizeof(double));
    l->narrow = floats(l->rows * c->batch);
    for (int i = 0; i < PUPIL_COUNT(l->wide); i++) l->wide[i] = floats(l->rows * widest);
    l->column = pupil_alloc((size_t)c->batch * sizeof *l->column);
    return l;
}

void pupil_loss_free(pupil_loss **lp)
{
    pupil_loss *l = *lp;
    if (!l) return;
    for (int i = 0; i < l->matrices; i++) {
        pupil_free(&l->matrix[i].rows);
        pupil_free(&l->matrix[i].norm);
        pupil_free(&l->matrix[i].grad);
    }
    for (int r = 0; r < ROUNDS; r++) pupil_free(&l->stat[r]);
    for (int i = 0; i < SQUARES; i++) pupil_free(&l->square[i]);
    for (int i = 0; i < PUPIL_COUNT(l->wide); i++) pupil_free(&l->wide[i]);
    pupil_free(&l->board);
    pupil_free(&l->aim);
    pupil_free(&l->narrow);
    pupil_free(&l->column);
    pupil_free(lp);
}

int pupil_loss_rounds(const pupil_loss *l)
{
    return l->rounds;
}

int pupil_loss_gathered(pupil_loss *l, int round, pupil_loss_rows ret[PUPIL_LOSS_GATHERED])
{
    int n = 0;
    for (int i = 0; i < l->matrices; i++)
        if (l->matrix[i].shared == round)
            ret[n++] = (pupil_loss_rows){l->matrix[i].rows, (size_t)l->matrix[i].width * sizeof(float)};
    if (l->stats[round])
        ret[n++] = (pupil_loss_rows){l->stat[round], (size_t)l->stats[round] * sizeof(double)};
    return n;
}

void pupil_loss_round(pupil_loss *l, int round, int64_t slot_index, const pupil_loss_input *in,
                      const pupil_loss_params *p)
{
    slot at = {slot_index, slot_index * l->rows, in, p, NULL, NULL};
    if (round == 0) features_forward(l, &at);
    for (int f = 0; f < PUPIL_COUNT(families) && round > 0; f++)
        if (families[f]->round) families[f]->round(l, round, &at);
}

void pupil_loss_grad(pupil_loss *l, int64_t slot_index, const pupil_loss_input *in,
                     const pupil_loss_params *p, const pupil_loss_params *grads,
                     float *const dstudent[PUPIL_LOSS_STREAMS], double value[PUPIL_TERMS])
{
    slot at = {slot_index, slot_index * l->rows, in, p, grads, value};
    memset(value, 0, PUPIL_TERMS * sizeof *value);
    for (int i = 0; i < l->matrices; i++)
        if (l->matrix[i].grad)
            memset(l->matrix[i].grad, 0, (size_t)(l->rows * l->matrix[i].width) * sizeof(float));
    for (int f = 0; f < PUPIL_COUNT(families); f++) families[f]->grad(l, &at);
    features_backward(l, &at, dstudent);
}
