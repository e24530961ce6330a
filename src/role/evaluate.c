/* evaluate.c: what the finished student knows. The VQA probe on frozen embeddings beside its baselines (question
 * only, image only, majority, pixel nearest neighbour, the teacher under the same protocol), and retrieval on held-out
 * pairs. All ranks embed; each probe is trained by one rank; the numbers do not depend on how many ranks there are.
 * What the teacher scored is kept in its folder, so it is computed once. */
#include "results.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    float *image[2], *question[2]; /* [PUPIL_TRAIN], [PUPIL_TEST] */
    int64_t dim;
} features;

typedef struct {
    job *j;
    asked q[2];
    pupil_answers list;
    float *target;
    char **given[MOST_ANSWERERS]; /* answers of r.who[i] */
    char name[PUPIL_TEACHERS][16]; /* of teachers */
    int64_t *pair, n_pairs;
    results r;
} evaluation;

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static int ask(job *j, pupil_split split, int64_t most, asked *a)
{
    PUPIL_TRY(pupil_vqa_open(j->data, split, &a->set));
    if (a->set->format == PUPIL_VQA_MULTIPLE_CHOICE)
        return pupil_fail(PUPIL_ENOTFOUND, "multiple-choice questions are read, but not scored yet");
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

static int embed_questions(evaluation *e, const embedder *m, features *f)
{
    f->dim = pupil_clip_arch(m->clip)->embed_dim;
    for (int s = PUPIL_TRAIN; s <= PUPIL_TEST; s++) {
        asked *a = &e->q[s];
        f->image[s] = pupil_alloc((size_t)(a->n_images * f->dim) * sizeof(float));
        f->question[s] = pupil_alloc((size_t)(a->n * f->dim) * sizeof(float));
        PUPIL_TRY(embed_images(e->j, m, (pupil_split)s, a->image, a->n_images, f->image[s]));
        PUPIL_TRY(embed_texts(e->j, m, a->text, a->n, f->question[s]));
    }
    return 0;
}

static void features_free(features *f)
{
    for (int s = 0; s < 2; s++) {
        pupil_free(&f->image[s]);
        pupil_free(&f->question[s]);
    }
}

static void tick(void *name, int64_t done, int64_t of)
{
    pupil_progress(false, "evaluate  probe %s: epoch %lld/%lld", (const char *)name, (long long)done, (long long)of);
}

typedef struct {
    const char *name;
    const features *f; /* NULL: the pixel baseline */
    pupil_probe_inputs inputs;
} probe;

static int run_probe(evaluation *e, const probe *p, int32_t *answer)
{
    const pupil_conf_eval *c = &e->j->conf->eval;
    if (!p->f) return pixel_answers(e->j, &e->q[PUPIL_TRAIN], &e->q[PUPIL_TEST], &e->list, answer);
    pupil_probe_conf pc = {.inputs = p->inputs, .dim = p->f->dim, .hidden = c->vqa_hidden, .epochs = c->vqa_epochs,
                           .batch = PUPIL_MIN(c->vqa_batch, e->q[PUPIL_TRAIN].n), .lr = c->vqa_lr,
                           .seed = (uint64_t)e->j->conf->student.train.seed};
    pupil_probe_data d[2];
    for (int s = 0; s < 2; s++)
        d[s] = (pupil_probe_data){p->f->image[s], p->f->question[s], e->q[s].row, e->q[s].n_images, e->q[s].n};
    return pupil_probe_run(&pc, &d[PUPIL_TRAIN], e->target, e->list.n, &d[PUPIL_TEST], answer, tick, (void *)(uintptr_t)p->name);
}

static void add_answers(evaluation *e, const char *name, const int32_t *index)
{
    int w = e->r.n_who++;
    e->given[w] = pupil_alloc((size_t)e->q[PUPIL_TEST].n * sizeof(char *));
    for (int64_t i = 0; i < e->q[PUPIL_TEST].n; i++) e->given[w][i] = e->list.answer[index[i]];
    e->r.who[w] = (answerer){.name = name, .answer = e->given[w]};
    pupil_vqa_score_set(e->q[PUPIL_TEST].set, e->given[w], &e->r.who[w].score);
}

/* Probe k is trained by rank k mod size; everyone gets all answers. */
static int run_probes(evaluation *e, const probe *p, int n)
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
        if (r == 0) add_answers(e, p[k].name, answer[k]);
    }
    for (int k = 0; k < n; k++) pupil_free(&answer[k]);
    return r;
}

static int retrieve(evaluation *e, const embedder *m)
{
    int64_t n = e->n_pairs, dim = pupil_clip_arch(m->clip)->embed_dim;
    if (n == 0) return 0;
    float *image = pupil_alloc((size_t)(n * dim) * sizeof *image), *text = pupil_alloc((size_t)(n * dim) * sizeof *text);
    ranker *k = &e->r.rank[e->r.n_rank];
    int r = embed_images(e->j, m, PUPIL_TEST, e->pair, n, image);
    if (r == 0) r = embed_captions(e->j, m, PUPIL_TEST, e->pair, n, text);
    if (r == 0) r = pupil_retrieval_square(image, text, n, dim, &k->image_to_text, &k->text_to_image);
    k->name = m->name;
    e->r.n_rank += r == 0;
    pupil_free(&image);
    pupil_free(&text);
    return r;
}

/* ---- what the teacher scored, kept beside it ---- */

/* Everything the teacher's answers depend on. */
static void teacher_key(const evaluation *e, const job_teacher *t, char hex[65])
{
    pupil_buf b = {0};
    pupil_conf_print_section(e->j->conf, "eval", &b);
    pupil_buf_printf(&b, "%s %s %s seed %lld\n", t->digest, e->j->data_digest, e->j->tok_digest,
                     (long long)e->j->conf->student.train.seed);
    for (int s = 0; s < 2; s++)
        for (int64_t i = 0; i < e->q[s].n; i++) pupil_buf_printf(&b, "%s\n%s\n", e->q[s].text[i], e->q[s].set->q[i].answer);
    pupil_buf_printf(&b, "pairs %lld\n", (long long)e->n_pairs);
    pupil_sha256_of(b.s, b.len, hex);
    pupil_buf_free(&b);
}

static int recall_scan(const char *line, pupil_recall *r)
{
    return sscanf(line, "%lf %lf %lf %lf %lf", &r->r1, &r->r5, &r->r10, &r->mean_rank, &r->median_rank) == 5;
}

static void recall_text(pupil_buf *b, const pupil_recall *r)
{
    pupil_buf_printf(b, "%.17g %.17g %.17g %.17g %.17g\n", r->r1, r->r5, r->r10, r->mean_rank, r->median_rank);
}

/* The lines below the key: two of recalls, then one answer a line. */
static bool recall_lines(evaluation *e, const char *name, char **save)
{
    ranker k = {.name = name};
    if (e->n_pairs) {
        char *a = strtok_r(NULL, "\n", save), *b = strtok_r(NULL, "\n", save);
        if (!a || !b || !recall_scan(a, &k.image_to_text) || !recall_scan(b, &k.text_to_image)) return false;
        e->r.rank[e->r.n_rank++] = k;
    }
    if (!e->r.test) return true;
    int32_t *index = pupil_alloc((size_t)e->q[PUPIL_TEST].n * sizeof *index);
    bool ok = true;
    for (int64_t i = 0; i < e->q[PUPIL_TEST].n && ok; i++) {
        char *line = strtok_r(NULL, "\n", save);
        int at = line ? pupil_answers_find(&e->list, line) : -1;
        ok = at >= 0;
        if (ok) index[i] = at;
    }
    if (ok) add_answers(e, name, index);
    pupil_free(&index);
    return ok;
}

/* evaluation.txt begins with the key. False where it is missing or of another key. */
static bool recall_teacher(evaluation *e, const job_teacher *t, const char *name)
{
    char key[65], *path = pupil_join(t->dir, "evaluation.txt"), *save = NULL, *text = NULL;
    teacher_key(e, t, key);
    bool ok = pupil_read_file(path, 0, &text, NULL) == 0;
    pupil_free(&path);
    char *line = ok ? strtok_r(text, "\n", &save) : NULL;
    ok = line && !strcmp(line, key) && recall_lines(e, name, &save);
    pupil_free(&text);
    return ok;
}

static int remember_teacher(const evaluation *e, const job_teacher *t)
{
    char key[65], *path = pupil_join(t->dir, "evaluation.txt");
    pupil_buf b = {0};
    teacher_key(e, t, key);
    pupil_buf_printf(&b, "%s\n", key);
    if (e->n_pairs) {
        recall_text(&b, &e->r.rank[e->r.n_rank - 1].image_to_text);
        recall_text(&b, &e->r.rank[e->r.n_rank - 1].text_to_image);
    }
    for (int64_t i = 0; e->r.test && i < e->q[PUPIL_TEST].n; i++) pupil_buf_printf(&b, "%s\n", e->given[e->r.n_who - 1][i]);
    int r = pupil_write_file(path, b.s, b.len);
    pupil_free(&path);
    pupil_buf_free(&b);
    return r;
}

static int ask_teacher(evaluation *e, const job_teacher *t, const char *name)
{
    job *j = e->j;
    int ranked = e->r.n_rank;
    int64_t known = job_leads(j) ? recall_teacher(e, t, name) : 0;
    PUPIL_TRY(pupil_max(j->world, &known, 1));
    if (known) return 0; /* rank 0 alone writes results */
    e->r.n_rank = ranked;
    pupil_clip *clip = pupil_clip_new(&t->arch);
    embedder m = {clip, NULL, t->tok, name};
    features f = {0};
    int r = pupil_agree(j->world, pupil_model_dir_open(t->dir, clip, &m.weights));
    if (r == 0 && e->r.test) r = embed_questions(e, &m, &f);
    if (r == 0 && e->r.test) r = run_probes(e, &(probe){name, &f, PUPIL_PROBE_FULL}, 1);
    if (r == 0) r = retrieve(e, &m);
    if (r == 0 && job_leads(j)) r = remember_teacher(e, t);
    features_free(&f);
    pupil_weights_free(&m.weights);
    pupil_clip_free(&clip);
    return pupil_agree(j->world, r);
}

static int ask_student(evaluation *e, const embedder *m)
{
    features f = {0};
    int r = 0;
    if (e->r.test) {
        const probe probes[] = {{"student", &f, PUPIL_PROBE_FULL}, {"question only", &f, PUPIL_PROBE_QUESTION}, {"image only", &f, PUPIL_PROBE_IMAGE},
                                {"pixel nearest neighbour", NULL, PUPIL_PROBE_FULL}};
        r = embed_questions(e, m, &f);
        if (r == 0) r = run_probes(e, probes, PUPIL_COUNT(probes) - !e->j->conf->eval.pixel_baseline);
        int32_t *index = pupil_alloc((size_t)e->q[PUPIL_TEST].n * sizeof *index);
        pupil_majority_answers(e->q[PUPIL_TRAIN].set, &e->list, e->q[PUPIL_TEST].set, index);
        if (r == 0) add_answers(e, "majority", index);
        pupil_free(&index);
    }
    if (r == 0) r = retrieve(e, m);
    features_free(&f);
    return r;
}

static int open_questions(evaluation *e)
{
    const pupil_conf_eval *c = &e->j->conf->eval;
    int r = c->vqa ? ask(e->j, PUPIL_TRAIN, c->vqa_train_questions, &e->q[PUPIL_TRAIN]) : PUPIL_ENOTFOUND;
    if (r == 0) r = ask(e->j, PUPIL_TEST, 0, &e->q[PUPIL_TEST]);
    if (r == PUPIL_ENOTFOUND) {
        if (c->vqa) pupil_info("vqa      left out: %s", pupil_reason());
        return 0;
    }
    PUPIL_TRY(r);
    pupil_answers_build(e->q[PUPIL_TRAIN].set, (int)c->vqa_answers_min, &e->list);
    if (e->list.n < 2) return pupil_fail(PUPIL_EUSER, "VQA: fewer than two answers are seen %lld times; lower eval.vqa.answers_min", (long long)c->vqa_answers_min);
    e->target = pupil_alloc((size_t)(e->q[PUPIL_TRAIN].n * e->list.n) * sizeof *e->target);
    for (int64_t i = 0; i < e->q[PUPIL_TRAIN].n; i++)
        pupil_answers_target(&e->list, &e->q[PUPIL_TRAIN].set->q[i], e->target + i * e->list.n);
    e->r.test = e->q[PUPIL_TEST].set;
    e->r.n_answers = e->list.n;
    return 0;
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

int evaluate(job *j, const pupil_clip *student, pupil_weights *weights)
{
    evaluation e = {.j = j};
    int r = pupil_agree(j->world, open_questions(&e));
    if (r == 0) {
        open_pairs(&e);
        r = ask_student(&e, &(embedder){student, weights, j->tok, "student"});
    }
    for (int k = 0; k < j->teachers && r == 0; k++) {
        const job_teacher *t = &j->teacher[k];
        snprintf(e.name[k], sizeof e.name[k], k ? "teacher %d" : "teacher", k + 1);
        if (t->there) r = ask_teacher(&e, t, e.name[k]);
        else if (t->imported)
            pupil_info("%s  its embeddings were imported, so it is not scored here (give its folder, too, to have it scored)", e.name[k]);
    }
    if (r == 0 && job_leads(j) && e.n_pairs && j->conf->eval.pixel_baseline) {
        ranker *k = &e.r.rank[e.r.n_rank++];
        *k = (ranker){.name = "pixel nearest neighbour", .r1_only = true};
        r = pixel_retrieval(j, e.n_pairs, &k->image_to_text.r1);
    }
    r = pupil_agree(j->world, r);
    if (r == 0 && job_leads(j)) {
        r = results_write(j, &e.r);
        results_say(&e.r);
    }
    for (int i = 0; i < e.r.n_who; i++) {
        pupil_vqa_score_free(&e.r.who[i].score);
        pupil_free(&e.given[i]);
    }
    for (int s = 0; s < 2; s++) asked_free(&e.q[s]);
    pupil_answers_free(&e.list);
    pupil_free(&e.target);
    pupil_free(&e.pair);
    return pupil_agree(j->world, r);
}
