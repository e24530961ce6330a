/* score.c: protocols that train nothing: candidate answers and class names ranked by their prompts, retrieval with all
 * captions, and what the embedding is like. All ranks embed, rank 0 counts; ties and intervals do not depend on the ranks. */
#include "evaluate.h"

#include <string.h>

/* `template` with each {word} replaced by its value. */
static char *fill(const char *template, const char *const (*word)[2], int words)
{
    pupil_buf out = {0};
    pupil_buf_puts(&out, "");
    for (const char *c = template; *c;) {
        int k = 0;
        while (k < words && strncmp(c, word[k][0], strlen(word[k][0])) != 0) k++;
        if (k < words) pupil_buf_puts(&out, word[k][1]);
        else pupil_buf_add(&out, c, 1);
        c += k < words ? strlen(word[k][0]) : 1;
    }
    return out.s;
}

/* weights[things][dim] of texts[things][templates], which are freed. */
static int text_weights(evaluation *e, scored *s, char **text, int64_t things, int64_t templates, float **ret)
{
    int64_t dim = pupil_clip_arch(s->m.clip)->embed_dim, n = things * templates;
    float *x = pupil_alloc((size_t)(n * dim) * sizeof *x);
    int r = embed_texts(e->j, &s->m, (const char *const *)text, n, x);
    for (int64_t i = 0; i < n; i++) pupil_free(&text[i]);
    pupil_free(&text);
    if (r == 0) {
        *ret = pupil_alloc((size_t)(things * dim) * sizeof **ret);
        pupil_zero_shot_weights(x, things, templates, dim, *ret);
    }
    pupil_free(&x);
    return r;
}

/* ---- questions ------------------------------------------------------------------------------------------- */
/* Candidates of the first n held-out questions. */
typedef struct {
    int64_t n, *first;   /* [n + 1] */
    const char **answer; /* of all, one question after the other; borrowed */
    int32_t *pair;       /* its place among the different pairs of question and answer */
    pupil_answers pairs; /* "question\x1f answer" */
    int64_t *of;         /* per pair: one of its candidates */
} candidates;

static void list_candidates(const evaluation *e, candidates *c)
{
    const pupil_vqa_set *set = e->q[PUPIL_TEST].set;
    int most = (int)PUPIL_MIN(e->j->conf->eval.ranked_answers, (int64_t)e->list.n);
    int64_t cap = 0, total = 0, limit = e->j->conf->eval.ranked_questions;
    bool choices = set->format == PUPIL_VQA_MULTIPLE_CHOICE;
    int32_t *frequent = NULL;
    if (!choices && most) {
        frequent = pupil_alloc((size_t)(set->n * most) * sizeof *frequent);
        pupil_frequent_answers(e->q[PUPIL_TRAIN].set, &e->list, set, most, frequent);
    }
    c->n = choices || most ? (limit > 0 ? PUPIL_MIN(limit, set->n) : set->n) : 0;
    c->first = pupil_alloc((size_t)(c->n + 1) * sizeof *c->first);
    for (int64_t i = 0; i < c->n; i++) {
        int k = choices ? set->q[i].n_choices : most;
        for (int a = 0; a < k && (choices || frequent[i * most + a] >= 0); a++) {
            PUPIL_GROW(c->answer, total, cap);
            c->answer[total++] = choices ? set->q[i].choices[a] : e->list.answer[frequent[i * most + a]];
        }
        c->first[i + 1] = total;
    }
    pupil_free(&frequent);
}

static void number_pairs(const evaluation *e, candidates *c)
{
    int64_t total = c->first[c->n];
    char **key = pupil_alloc((size_t)total * sizeof *key);
    c->pair = pupil_alloc((size_t)total * sizeof *c->pair);
    for (int64_t i = 0; i < c->n; i++)
        for (int64_t k = c->first[i]; k < c->first[i + 1]; k++)
            key[k] = pupil_format("%s\x1f%s", e->q[PUPIL_TEST].set->q[i].question, c->answer[k]);
    pupil_answers_of(key, (int)total, &c->pairs);
    c->of = pupil_alloc((size_t)c->pairs.n * sizeof *c->of);
    for (int64_t k = 0; k < total; k++) {
        c->pair[k] = pupil_answers_find(&c->pairs, key[k]);
        c->of[c->pair[k]] = k;
        pupil_free(&key[k]);
    }
    pupil_free(&key);
}

static void candidates_free(candidates *c)
{
    pupil_answers_free(&c->pairs);
    pupil_free(&c->first);
    pupil_free(&c->answer);
    pupil_free(&c->pair);
    pupil_free(&c->of);
}

/* The prompts of all pairs. */
static char **prompts(const evaluation *e, const candidates *c, int *ret_templates)
{
    static const char *const usual[] = {"Question: {question} Answer: {answer}"};
    const pupil_strings *given = &e->j->conf->eval.ranked_templates;
    int n = given->n ? given->n : PUPIL_COUNT(usual);
    char **text = pupil_alloc((size_t)(c->pairs.n * n) * sizeof *text);
    for (int p = 0; p < c->pairs.n; p++) {
        char *question = pupil_strdup(c->pairs.answer[p]);
        *strchr(question, '\x1f') = 0;
        const char *const word[][2] = {{"{question}", question}, {"{answer}", c->answer[c->of[p]]}};
        for (int t = 0; t < n; t++) text[p * n + t] = fill(given->n ? given->item[t] : usual[t], word, 2);
        pupil_free(&question);
    }
    *ret_templates = n;
    return text;
}

static int choose(evaluation *e, scored *s, const candidates *c, const float *weights, const char *predictions)
{
    const asked *q = &e->q[PUPIL_TEST];
    int64_t dim = pupil_clip_arch(s->m.clip)->embed_dim, most = 0;
    for (int64_t i = 0; i < c->n; i++) most = PUPIL_MAX(most, c->first[i + 1] - c->first[i]);
    float *among = pupil_alloc((size_t)(most * dim) * sizeof *among);
    char **answer = pupil_alloc((size_t)q->set->n * sizeof *answer);
    for (int64_t i = 0; i < c->n; i++) {
        int64_t first = c->first[i], n = c->first[i + 1] - first;
        for (int64_t k = 0; k < n; k++) memcpy(among + k * dim, weights + c->pair[first + k] * dim, (size_t)dim * sizeof *among);
        int64_t best = pupil_nearest_text(s->image[PUPIL_TEST] + q->row[i] * dim, among, n, dim);
        answer[i] = (char *)(uintptr_t)c->answer[first + best];
    }
    pupil_vqa_score score;
    pupil_vqa_score_set(q->set, answer, &score);
    pupil_rows_add_mean(&s->rows, "vqa.zero_shot", "accuracy", score.each, score.n, e->seed);
    pupil_vqa_score_free(&score);
    int r = predictions ? results_predictions(predictions, q->set, answer, c->n) : 0;
    pupil_free(&among);
    pupil_free(&answer);
    return r;
}

int score_ranked_answers(evaluation *e, scored *s, const char *predictions)
{
    if (!e->j->conf->eval.ranked || !e->q[PUPIL_TEST].set) return 0;
    candidates c = {0};
    float *weights = NULL;
    int templates, r = 0;
    list_candidates(e, &c);
    if (c.n) {
        number_pairs(e, &c);
        char **text = prompts(e, &c, &templates);
        r = text_weights(e, s, text, c.pairs.n, templates, &weights);
        if (r == 0) r = evaluation_embed(e, s, PUPIL_TEST);
        if (r == 0 && job_leads(e->j)) r = choose(e, s, &c, weights, predictions);
    }
    candidates_free(&c);
    pupil_free(&weights);
    return pupil_agree(e->j->world, r);
}

/* ---- classes ---------------------------------------------------------------------------------------------- */
static int rank_classes(evaluation *e, scored *s, const float *image, const float *weights)
{
    const class_task *c = &e->classes;
    int64_t *rank = pupil_alloc((size_t)c->pictures * sizeof *rank), n = c->pictures;
    int r = pupil_zero_shot_ranks(image, n, pupil_clip_arch(s->m.clip)->embed_dim, weights, c->n, c->subset, c->n_subset, c->label, rank);
    double *hit = pupil_alloc((size_t)n * sizeof *hit);
    for (int within = 1; within <= 5 && r == 0; within += 4) {
        for (int64_t i = 0; i < n; i++) hit[i] = rank[i] < within;
        pupil_rows_add_mean(&s->rows, "zero_shot", within == 1 ? "top1" : "top5", hit, n, e->seed);
    }
    pupil_free(&hit);
    pupil_free(&rank);
    return r;
}

int score_classes(evaluation *e, scored *s)
{
    const class_task *c = &e->classes;
    int64_t dim = pupil_clip_arch(s->m.clip)->embed_dim;
    if (c->pictures == 0) return 0;
    char **text = pupil_alloc((size_t)(c->n * c->n_templates) * sizeof *text);
    for (int k = 0; k < c->n; k++)
        for (int t = 0; t < c->n_templates; t++)
            text[k * c->n_templates + t] = fill(c->template[t], &(const char *const[2]){"{}", c->name[k]}, 1);
    float *weights = NULL, *image = pupil_alloc((size_t)(c->pictures * dim) * sizeof *image);
    int r = text_weights(e, s, text, c->n, c->n_templates, &weights);
    if (r == 0) r = embed_images(e->j, &s->m, PUPIL_TEST, c->sample, c->pictures, image);
    if (r == 0 && job_leads(e->j)) r = rank_classes(e, s, image, weights);
    pupil_free(&weights);
    pupil_free(&image);
    return pupil_agree(e->j->world, r);
}

/* ---- retrieval with all captions --------------------------------------------------------------------------- */
int score_captions(evaluation *e, scored *s)
{
    job *j = e->j;
    int64_t n = e->n_pairs, texts = 0, cap = 0, of_cap = 0, *image_of = NULL;
    char **text = NULL;
    int r = 0;
    for (int64_t i = 0; i < n && r == 0; i++)
        for (int k = 0; k < pupil_dataset_captions(j->data, PUPIL_TEST, e->pair[i]) && r == 0; k++) {
            PUPIL_GROW(text, texts, cap);
            PUPIL_GROW(image_of, texts, of_cap);
            r = pupil_dataset_caption(j->data, PUPIL_TEST, e->pair[i], k, &text[texts]);
            image_of[texts] = i;
            texts += r == 0;
        }
    r = pupil_agree(j->world, r);
    if (r == 0 && texts > n) {
        int64_t dim = s->pairs.dim, *of_image = pupil_alloc((size_t)n * sizeof *of_image), *of_text = pupil_alloc((size_t)texts * sizeof *of_text);
        float *x = pupil_alloc((size_t)(texts * dim) * sizeof *x);
        r = embed_texts(j, &s->m, (const char *const *)text, texts, x);
        if (r == 0 && job_leads(j)) {
            r = pupil_retrieval_ranks(s->pairs.image, n, x, texts, dim, image_of, of_image, of_text);
            pupil_rows_add_ranks(&s->rows, "retrieval.captions", "image_to_text_", of_image, n, e->seed);
            pupil_rows_add_ranks(&s->rows, "retrieval.captions", "text_to_image_", of_text, texts, e->seed);
        }
        pupil_free(&x);
        pupil_free(&of_image);
        pupil_free(&of_text);
        r = pupil_agree(j->world, r);
    }
    for (int64_t i = 0; i < texts; i++) pupil_free(&text[i]);
    pupil_free(&text);
    pupil_free(&image_of);
    return r;
}

/* ---- embeddings ----------------------------------------------------------------------------------------------- */
void score_embedding(evaluation *e, scored *s)
{
    int64_t n = e->n_pairs, dim = s->pairs.dim;
    if (!job_leads(e->j) || n < 2 || !e->j->conf->eval.diagnostics) return;
    const struct {
        const char *metric;
        double value;
    } row[] = {{"alignment", pupil_alignment(s->pairs.image, s->pairs.text, n, dim)},
               {"uniformity_image", pupil_uniformity(s->pairs.image, n, dim)},
               {"uniformity_text", pupil_uniformity(s->pairs.text, n, dim)},
               {"effective_rank_image", pupil_effective_rank(s->pairs.image, n, dim)},
               {"effective_rank_text", pupil_effective_rank(s->pairs.text, n, dim)}};
    for (int k = 0; k < PUPIL_COUNT(row); k++) pupil_rows_add(&s->rows, "embedding", row[k].metric, row[k].value, n);
}

void score_against(evaluation *e, scored *s, const scored *teacher, const char *name)
{
    int64_t n = e->n_pairs;
    char protocol[40];
    if (!job_leads(e->j) || n < 2 || !e->j->conf->eval.diagnostics) return;
    const pupil_pairs_of them = {teacher->pairs.image, teacher->pairs.text, teacher->pairs.dim, teacher->pairs.scale},
                         own = {s->pairs.image, s->pairs.text, s->pairs.dim, s->pairs.scale};
    snprintf(protocol, sizeof protocol, "against %s", name);
    pupil_rows_add(&s->rows, protocol, "cka_image", pupil_linear_cka(them.image, them.dim, own.image, own.dim, n), n);
    pupil_rows_add(&s->rows, protocol, "cka_text", pupil_linear_cka(them.text, them.dim, own.text, own.dim, n), n);
    pupil_rows_add(&s->rows, protocol, "affinity_kl", pupil_affinity_kl(&them, &own, n), n);
}
