/* evaluate.c: what the finished student knows. The VQA probe on frozen embeddings beside its baselines (question
 * only, image only, majority, pixel nearest neighbour, the teacher under the same protocol), retrieval on held-out
 * pairs, and the protocols of score.c. All ranks embed; each probe is trained by one rank; the numbers do not depend on how
 * many ranks there are. */
#include "evaluate.h"

#include <stdlib.h>
#include <string.h>

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static int ask(job *j, pupil_split split, int64_t most, asked *a)
{
    PUPIL_TRY(pupil_vqa_open(j->data, split, &a->set));
    a->n = most > 0 ? PUPIL_MIN(most, a->set->n) : a->set->n;
    a->image = pupil_alloc((size_t)a->n * sizeof *a->image);
    a->row = pupil_alloc((size_t)a->n * sizeof *a->row);
    a->text = pupil_alloc((size_t)a->n * sizeof *a->text);
    for (int64_t i = 0; i < a->n; i++) a->image[i] = a->set->q[i].image;
    if (a->n) qsort(a->image, (size_t)a->n, sizeof *a->image, by_value);
    for (int64_t i = 0; i < a->n; i++)
        if (i == 0 || a->image[i] != a->image[a->n_images - 1]) a->image[a->n_images++] = a->image[i];
    for (int64_t i = 0; i < a->n; i++) {
        a->text[i] = a->set->q[i].question;
        const int64_t *at = bsearch(&a->set->q[i].image, a->image, (size_t)a->n_images, sizeof *a->image, by_value);
        a->row[i] = at - a->image;
    }
    return a->n ? 0 : pupil_fail(PUPIL_ENOTFOUND, "no questions about the %s split", split == PUPIL_TRAIN ? "training" : "held-out");
}

static void asked_free(asked *a)
{
    pupil_vqa_free(&a->set);
    pupil_free(&a->image);
    pupil_free(&a->row);
    pupil_free(&a->text);
}

int evaluation_embed(evaluation *e, scored *s, pupil_split split)
{
    asked *a = &e->q[split];
    int64_t dim = pupil_clip_arch(s->m.clip)->embed_dim;
    if (!s->image[split]) {
        s->image[split] = pupil_alloc((size_t)(a->n_images * dim) * sizeof(float));
        PUPIL_TRY(embed_images(e->j, &s->m, split, a->image, a->n_images, s->image[split]));
    }
    return 0;
}

static int embed_questions(evaluation *e, scored *m)
{
    int64_t dim = pupil_clip_arch(m->m.clip)->embed_dim;
    for (int s = PUPIL_TRAIN; s <= PUPIL_TEST; s++) {
        PUPIL_TRY(evaluation_embed(e, m, (pupil_split)s));
        m->question[s] = pupil_alloc((size_t)(e->q[s].n * dim) * sizeof(float));
        PUPIL_TRY(embed_texts(e->j, &m->m, e->q[s].text, e->q[s].n, m->question[s]));
    }
    return 0;
}

void scored_free(scored *s)
{
    float **each[] = {&s->image[0], &s->image[1], &s->question[0], &s->question[1], &s->pairs.image, &s->pairs.text};
    for (int i = 0; i < PUPIL_COUNT(each); i++) pupil_free(each[i]);
    pupil_rows_free(&s->rows);
}

static void tick(void *name, int64_t done, int64_t of)
{
    pupil_progress(false, "evaluate  probe %s: epoch %lld/%lld", (const char *)name, (long long)done, (long long)of);
}

typedef struct {
    const char *name, *protocol;
    const scored *s; /* NULL: the pixel baseline */
    pupil_probe_inputs inputs;
} probe;

static int run_probe(evaluation *e, const probe *p, int32_t *answer)
{
    const pupil_conf_eval *c = &e->j->conf->eval;
    if (!p->s) return pixel_answers(e->j, &e->q[PUPIL_TRAIN], &e->q[PUPIL_TEST], &e->list, answer);
    pupil_probe_conf pc = {.inputs = p->inputs, .dim = pupil_clip_arch(p->s->m.clip)->embed_dim, .hidden = c->vqa_hidden, .epochs = c->vqa_epochs,
                           .batch = PUPIL_MIN(c->vqa_batch, e->q[PUPIL_TRAIN].n), .lr = c->vqa_lr,
                           .seed = (uint64_t)e->j->conf->student.train.seed};
    pupil_probe_data d[2];
    for (int s = 0; s < 2; s++)
        d[s] = (pupil_probe_data){p->s->image[s], p->s->question[s], e->q[s].row, e->q[s].n_images, e->q[s].n};
    return pupil_probe_run(&pc, &d[PUPIL_TRAIN], e->target, e->list.n, &d[PUPIL_TEST], answer, tick, (void *)(uintptr_t)p->name);
}

void evaluation_answered(evaluation *e, const char *name, const int32_t *index, const char *protocol, pupil_rows *rows)
{
    int w = e->r.n_who++;
    e->given[w] = pupil_alloc((size_t)e->q[PUPIL_TEST].set->n * sizeof(char *));
    for (int64_t i = 0; i < e->q[PUPIL_TEST].n; i++) e->given[w][i] = e->list.answer[index[i]];
    e->r.who[w] = (answerer){.name = name, .answer = e->given[w]};
    pupil_vqa_score *score = &e->r.who[w].score;
    pupil_vqa_score_set(e->q[PUPIL_TEST].set, e->given[w], score);
    if (rows && job_leads(e->j)) pupil_rows_add_mean(rows, protocol, "accuracy", score->each, score->n, e->seed);
}

/* Probe k is trained by rank k mod size; everyone gets all answers. */
static int run_probes(evaluation *e, const probe *p, int n, pupil_rows *rows)
{
    pupil_comm *c = e->j->world;
    size_t bytes = (size_t)e->q[PUPIL_TEST].n * sizeof(int32_t);
    int32_t *answer[8] = {0};
    int r = 0;
    for (int k = 0; k < n; k++) {
        answer[k] = pupil_alloc(bytes);
        if (r == 0 && k % pupil_comm_size(c) == pupil_comm_rank(c)) r = run_probe(e, &p[k], answer[k]);
    }
    r = pupil_agree(c, r);
    for (int k = 0; k < n && r == 0; k++) {
        r = pupil_bcast(c, answer[k], bytes, k % pupil_comm_size(c));
        if (r == 0) evaluation_answered(e, p[k].name, answer[k], p[k].protocol, rows);
    }
    for (int k = 0; k < n; k++) pupil_free(&answer[k]);
    return r;
}

int evaluation_probe(evaluation *e, scored *s, bool baselines)
{
    const probe probes[] = {{s->m.name, "vqa.probe", s, PUPIL_PROBE_FULL},
                            {"question only", "vqa.question_only", s, PUPIL_PROBE_QUESTION},
                            {"image only", "vqa.image_only", s, PUPIL_PROBE_IMAGE},
                            {"pixel nearest neighbour", "vqa.pixels", NULL, PUPIL_PROBE_FULL}};
    if (!e->r.test) return 0;
    PUPIL_TRY(embed_questions(e, s));
    PUPIL_TRY(run_probes(e, probes, baselines ? PUPIL_COUNT(probes) - !e->j->conf->eval.pixel_baseline : 1, &s->rows));
    if (!baselines) return 0;
    int32_t *index = pupil_alloc((size_t)e->q[PUPIL_TEST].set->n * sizeof *index);
    pupil_majority_answers(e->q[PUPIL_TRAIN].set, &e->list, e->q[PUPIL_TEST].set, index);
    evaluation_answered(e, "majority", index, "vqa.majority", &s->rows);
    pupil_free(&index);
    return 0;
}

int evaluation_embed_pairs(evaluation *e, scored *s)
{
    int64_t dim = pupil_clip_arch(s->m.clip)->embed_dim, n = e->n_pairs;
    size_t bytes = (size_t)(n * dim) * sizeof(float);
    if (s->pairs.image) return 0;
    s->pairs.image = pupil_alloc(bytes);
    s->pairs.text = pupil_alloc(bytes);
    s->pairs.dim = dim;
    s->pairs.scale = pupil_clip_scale(s->m.clip, s->m.weights);
    PUPIL_TRY(embed_images(e->j, &s->m, PUPIL_TEST, e->pair, n, s->pairs.image));
    return embed_captions(e->j, &s->m, PUPIL_TEST, e->pair, n, s->pairs.text);
}

int evaluation_retrieve(evaluation *e, scored *s)
{
    static const char protocol[] = "retrieval.square";
    int64_t n = e->n_pairs, *of_image = pupil_alloc((size_t)n * sizeof *of_image), *of_text = pupil_alloc((size_t)n * sizeof *of_text);
    ranker *k = &e->r.rank[e->r.n_rank];
    int r = n ? evaluation_embed_pairs(e, s) : 0;
    if (r == 0 && n && job_leads(e->j)) {
        r = pupil_retrieval_ranks(s->pairs.image, n, s->pairs.text, n, s->pairs.dim, e->pair, of_image, of_text);
        *k = (ranker){.name = s->m.name, .image_to_text = pupil_recall_of(of_image, n), .text_to_image = pupil_recall_of(of_text, n)};
        e->r.n_rank += r == 0;
        pupil_rows_add_ranks(&s->rows, protocol, "image_to_text_", of_image, n, e->seed);
        pupil_rows_add_ranks(&s->rows, protocol, "text_to_image_", of_text, n, e->seed);
    }
    pupil_free(&of_image);
    pupil_free(&of_text);
    return pupil_agree(e->j->world, r);
}

/* ---- one model ---------------------------------------------------------------------------------------- */
static int score_all(evaluation *e, scored *s, bool student)
{
    char *predictions = student ? pupil_join(e->j->conf->run.dir, "vqa_zero_shot_results.json") : NULL;
    int r = evaluation_probe(e, s, student);
    if (r == 0) r = evaluation_heads(e, s, student, student);
    if (r == 0) r = score_ranked_answers(e, s, predictions);
    if (r == 0) r = score_classes(e, s);
    if (r == 0) r = evaluation_retrieve(e, s);
    if (r == 0) r = score_captions(e, s);
    if (r == 0) score_embedding(e, s);
    pupil_free(&predictions);
    return r;
}

static int ask_teacher(evaluation *e, const job_teacher *t, scored *s)
{
    job *j = e->j;
    int ranked = e->r.n_rank;
    char key[65];
    evaluation_key(e, t->digest, t->tok_digest, "all", key);
    int64_t known = job_leads(j) ? evaluation_recall(e, t, key, s) : 0;
    PUPIL_TRY(pupil_max(j->world, &known, 1));
    if (known) return 0; /* rank 0 alone writes results */
    e->r.n_rank = ranked;
    const char *name = s->m.name;
    scored_free(s);
    pupil_clip *clip = pupil_clip_new(&t->arch);
    *s = (scored){.m = {clip, NULL, t->tok, name}, .digest = t->digest, .tok_digest = t->tok_digest};
    int r = pupil_agree(j->world, pupil_model_dir_open(t->dir, clip, &s->m.weights));
    if (r == 0) r = score_all(e, s, false);
    if (r == 0 && job_leads(j)) r = evaluation_remember(e, t, key, s);
    pupil_weights_free(&s->m.weights);
    pupil_clip_free(&clip);
    return pupil_agree(j->world, r);
}

/* ---- what is asked -------------------------------------------------------------------------------------- */
static int open_list(evaluation *e)
{
    const pupil_conf_eval *c = &e->j->conf->eval;
    const asked *train = &e->q[PUPIL_TRAIN];
    pupil_answers_build(train->set, (int)c->vqa_answers_min, &e->list);
    if (!c->vqa) return 0;
    if (e->list.n < 2) return pupil_fail(PUPIL_EUSER, "VQA: fewer than two answers are seen %lld times; lower eval.vqa.answers_min", (long long)c->vqa_answers_min);
    e->target = pupil_alloc((size_t)(train->n * e->list.n) * sizeof *e->target);
    for (int64_t i = 0; i < train->n; i++) pupil_answers_target(&e->list, &train->set->q[i], e->target + i * e->list.n);
    e->r.test = e->q[PUPIL_TEST].set;
    e->r.n_answers = e->list.n;
    return 0;
}

/* Held-out questions, and those of training where there are some; multiple choice needs none. */
static int open_questions(evaluation *e)
{
    const pupil_conf_eval *c = &e->j->conf->eval;
    if (!c->vqa && !c->ranked) return 0;
    int r = ask(e->j, PUPIL_TEST, 0, &e->q[PUPIL_TEST]);
    bool choices = r == 0 && e->q[PUPIL_TEST].set->format == PUPIL_VQA_MULTIPLE_CHOICE;
    if (choices) return 0;
    if (r == 0) r = ask(e->j, PUPIL_TRAIN, c->vqa_train_questions, &e->q[PUPIL_TRAIN]);
    if (r == PUPIL_ENOTFOUND) {
        if (c->vqa) pupil_info("vqa      left out: %s", pupil_reason());
        return 0;
    }
    return r < 0 ? r : open_list(e);
}

/* answers.txt: what heads choose from, the answer of output k in line k. */
static int write_list(const evaluation *e)
{
    pupil_buf b = {0};
    char *path = pupil_join(e->j->conf->run.dir, "answers.txt");
    for (int k = 0; k < e->list.n; k++) pupil_buf_printf(&b, "%s\n", e->list.answer[k]);
    int r = pupil_write_file(path, b.s, b.len);
    pupil_free(&path);
    pupil_buf_free(&b);
    return r;
}

static void open_pairs(evaluation *e)
{
    const pupil_conf_eval *c = &e->j->conf->eval;
    int64_t n = pupil_dataset_count(e->j->data, PUPIL_TEST);
    e->n_pairs = !c->retrieval ? 0 : c->retrieval_pairs > 0 ? PUPIL_MIN(n, c->retrieval_pairs) : n;
    e->pair = pupil_alloc((size_t)(e->n_pairs + 1) * sizeof *e->pair);
    for (int64_t i = 0; i < e->n_pairs; i++) e->pair[i] = i;
    e->r.pairs = e->n_pairs;
}

int evaluation_open(evaluation *e)
{
    e->seed = (uint64_t)e->j->conf->student.train.seed;
    int r = open_questions(e);
    if (r == 0) r = score_classes_open(e);
    if (r == 0 && job_leads(e->j) && pupil_dataset_count(e->j->data, PUPIL_TEST))
        r = pupil_dataset_digest(e->j->data, PUPIL_TEST, e->test_digest);
    if (r == 0 && job_leads(e->j) && e->r.test) r = write_list(e);
    PUPIL_TRY(pupil_agree(e->j->world, r));
    PUPIL_TRY(pupil_bcast(e->j->world, e->test_digest, sizeof e->test_digest, 0));
    open_pairs(e);
    evaluation_digest_questions(e, e->questions);
    evaluation_digest_protocols(e, e->digest);
    return 0;
}

void evaluation_forget(evaluation *e)
{
    for (int i = 0; i < e->r.n_who; i++) {
        pupil_vqa_score_free(&e->r.who[i].score);
        pupil_free(&e->given[i]);
    }
    e->r.n_who = e->r.n_rank = 0;
}

void evaluation_close(evaluation *e)
{
    evaluation_forget(e);
    for (int s = 0; s < 2; s++) asked_free(&e->q[s]);
    score_classes_close(&e->classes);
    for (int k = 0; k < HEADS; k++) pupil_buf_free(&e->r.head[k]);
    pupil_answers_free(&e->list);
    pupil_free(&e->target);
    pupil_free(&e->pair);
}

/* ---- the end of a run ------------------------------------------------------------------------------------- */
static int score_teachers(evaluation *e, scored *student, pupil_buf *rows)
{
    job *j = e->j;
    int r = 0;
    for (int k = 0; k < j->teachers && r == 0; k++) {
        const job_teacher *t = &j->teacher[k];
        snprintf(e->name[k], sizeof e->name[k], k ? "teacher %d" : "teacher", k + 1);
        scored s = {.m = {.name = e->name[k]}};
        if (t->there) r = ask_teacher(e, t, &s);
        else if (t->imported)
            pupil_info("%s  its embeddings were imported, so it is not scored here (give its folder, too, to have it scored)", e->name[k]);
        if (r == 0 && t->there) score_against(e, student, &s, e->name[k]);
        results_note_heads(&e->r, e->name[k], &s.rows);
        if (s.rows.n) pupil_buf_puts(rows, ",\n  ");
        pupil_rows_json(&s.rows, e->name[k], ",\n  ", rows);
        scored_free(&s);
    }
    return r;
}

static int write_all(evaluation *e, const scored *student, const pupil_buf *teachers)
{
    job *j = e->j;
    char key[65], *path = pupil_join(j->conf->run.dir, "results.jsonl");
    pupil_buf rows = {0};
    pupil_rows_json(&student->rows, "student", ",\n  ", &rows);
    if (teachers->len) pupil_buf_puts(&rows, rows.len ? teachers->s : teachers->s + 1);
    e->r.rows = rows.s;
    int r = 0;
    evaluation_key(e, student->digest, j->tok_digest, "all", key);
    pupil_rows known = {0};
    if (student->rows.n && pupil_rows_read(path, key, &known) < 0)
        r = pupil_rows_append(path, &(pupil_rows_about){"student", student->digest, e->test_digest, "test", key, e->seed}, &student->rows);
    pupil_rows_free(&known);
    if (r == 0) r = results_write(j, &e->r);
    results_say(&e->r);
    pupil_buf_free(&rows);
    pupil_free(&path);
    return r;
}

int evaluate(job *j, pupil_clip *student, pupil_weights *weights)
{
    evaluation e = {.j = j};
    char digest[65] = "";
    scored s = {.m = {student, weights, j->tok, "student"}, .digest = digest, .tok_digest = j->tok_digest};
    pupil_buf teachers = {0};
    int r = pupil_agree(j->world, job_leads(j) ? pupil_model_dir_digest(j->conf->run.dir, digest) : 0);
    if (r == 0) r = pupil_bcast(j->world, digest, sizeof digest, 0);
    if (r == 0) r = evaluation_open(&e);
    if (r == 0) r = score_all(&e, &s, true);
    if (r == 0) results_note_heads(&e.r, "student", &s.rows);
    if (r == 0) r = score_teachers(&e, &s, &teachers);
    if (r == 0 && job_leads(j) && e.n_pairs && j->conf->eval.pixel_baseline) {
        ranker *k = &e.r.rank[e.r.n_rank++];
        *k = (ranker){.name = "pixel nearest neighbour", .r1_only = true};
        r = pixel_retrieval(j, e.n_pairs, &k->image_to_text.r1);
    }
    r = pupil_agree(j->world, r);
    if (r == 0 && job_leads(j)) r = write_all(&e, &s, &teachers);
    pupil_buf_free(&teachers);
    scored_free(&s);
    evaluation_close(&e);
    return pupil_agree(j->world, r);
}
