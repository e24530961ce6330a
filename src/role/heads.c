/* heads.c: the generative reader and the fusion head beside the probe: which are trained on a model, what they scored, and
 * answers that are kept, so that a head is trained once: heads/KEY.txt of the run directory has them, a line each, KEY being
 * the digest of the model, the data and the settings. */
#include "heads.h"

#include <string.h>

typedef struct {
    const char *kind, *protocol, *predictions; /* predictions: the student's, a file in the run directory */
    bool wanted, sees, fusion, tuned;
} head;

/* ---- answers that are kept ---------------------------------------------------------------------------- */
static char *kept_path(const evaluation *e, const char *key)
{
    char *name = pupil_format("heads/%s.txt", key), *path = pupil_join(e->j->conf->run.dir, name);
    pupil_free(&name);
    return path;
}

/* The n lines of a text; false where it has another number. */
static bool lines_of(const char *text, int64_t n, char **ret)
{
    int64_t i = 0;
    for (const char *c = text, *end; (end = strchr(c, '\n')) && i <= n; c = end + 1, i++)
        if (i < n) ret[i] = pupil_format("%.*s", (int)(end - c), c);
    return i == n;
}

static void drop(char **answer, int64_t n)
{
    for (int64_t i = 0; i < n; i++) pupil_free(&answer[i]);
}

/* Rank 0 reads what is kept; all know. */
static int recall(const evaluation *e, const char *path, char **answer, bool *ret_known)
{
    int64_t n = e->q[PUPIL_TEST].n, known = 0;
    size_t bytes = 0;
    char *text = NULL;
    if (job_leads(e->j) && pupil_exists(path) && pupil_read_file(path, 0, &text, &bytes) == 0) {
        known = lines_of(text, n, answer);
        drop(answer, n);
    }
    int64_t told[2] = {known, (int64_t)bytes};
    int r = pupil_bcast(e->j->world, told, sizeof told, 0);
    *ret_known = told[0];
    if (r == 0 && told[0]) {
        if (!text) text = pupil_alloc((size_t)told[1] + 1);
        r = pupil_bcast(e->j->world, text, (size_t)told[1], 0);
        if (r == 0) lines_of(text, n, answer);
    }
    pupil_free(&text);
    return r;
}

static int keep(const evaluation *e, const char *path, char *const *answer)
{
    pupil_buf b = {0};
    char *dir = pupil_join(e->j->conf->run.dir, "heads");
    for (int64_t i = 0; i < e->q[PUPIL_TEST].n; i++) pupil_buf_printf(&b, "%s\n", answer[i]);
    int r = pupil_mkdirs(dir);
    if (r == 0) r = pupil_write_file(path, b.s, b.len);
    pupil_free(&dir);
    pupil_buf_free(&b);
    return r;
}

/* ---- features ----------------------------------------------------------------------------------------- */
int head_images(head_features *f)
{
    int r = 0;
    for (int k = PUPIL_TRAIN; k <= PUPIL_TEST && r == 0; k++)
        if (!f->image[k].f16) r = embed_image_tokens(f->e->j, &f->s->m, (pupil_split)k, f->e->q[k].image, f->e->q[k].n_images, &f->room, &f->image[k]);
    return r;
}

int head_questions(head_features *f)
{
    int r = 0;
    for (int k = PUPIL_TRAIN; k <= PUPIL_TEST && r == 0; k++)
        if (!f->question[k].f16) r = embed_text_tokens(f->e->j, &f->s->m, f->e->q[k].text, f->e->q[k].n, &f->room, &f->question[k]);
    return r;
}

int head_told(head_features *f)
{
    const job *j = f->e->j;
    int64_t n = pupil_dataset_count(j->data, PUPIL_TRAIN), most = j->conf->eval.reader.caption_pictures;
    if (most > 0) n = PUPIL_MIN(n, most);
    if (f->told.f16 || n == 0) return 0;
    int64_t *sample = pupil_alloc((size_t)n * sizeof *sample);
    for (int64_t i = 0; i < n; i++) sample[i] = i;
    int r = embed_image_tokens(f->e->j, &f->s->m, PUPIL_TRAIN, sample, n, &f->room, &f->told);
    pupil_free(&sample);
    return r;
}

/* Digest of what the answers of a head depend on: its own settings, and none of other protocols. */
static int head_key(const head_features *f, const head *h, char key[65])
{
    pupil_buf b = {0};
    char decoder[65] = "";
    pupil_conf own = *f->e->j->conf;
    const char *dir = own.eval.reader.decoder;
    if (!h->tuned) own.eval.fusion.tune = 0;
    if (dir && !h->fusion) PUPIL_TRY(pupil_model_dir_digest(dir, decoder));
    pupil_buf_printf(&b, "1 %s %s %s %s %lld %s\n", h->protocol, h->sees ? f->s->digest : "blind", f->s->tok_digest, f->e->questions,
                     (long long)f->e->list.n, decoder);
    pupil_conf_print_section(&own, h->fusion ? "eval.fusion" : "eval.reader", &b);
    pupil_sha256_of(b.s, b.len, key);
    pupil_buf_free(&b);
    return 0;
}

/* ---- a head ------------------------------------------------------------------------------------------- */
static int answers_of(head_features *f, const head *h, char **answer)
{
    evaluation *e = f->e;
    char key[65] = "", *name = pupil_format("%s of %s", h->kind, f->s->m.name);
    bool known = false;
    int r = pupil_agree(e->j->world, head_key(f, h, key));
    char *path = kept_path(e, key);
    if (r == 0) r = recall(e, path, answer, &known);
    if (r == 0 && !known) {
        r = h->fusion ? fusion_answers(f, h->tuned, name, answer) : reader_answers(f, h->sees, name, answer);
        if (r == 0) r = pupil_agree(e->j->world, job_leads(e->j) ? keep(e, path, answer) : 0);
    }
    pupil_free(&path);
    pupil_free(&name);
    return r;
}

static int run_head(head_features *f, const head *h, bool student)
{
    evaluation *e = f->e;
    const asked *q = &e->q[PUPIL_TEST];
    char **answer = pupil_alloc((size_t)q->set->n * sizeof *answer);
    int r = answers_of(f, h, answer);
    if (r == 0 && job_leads(e->j)) {
        pupil_vqa_score score;
        pupil_vqa_score_set(q->set, answer, &score);
        pupil_rows_add_mean(&f->s->rows, h->protocol, "accuracy", score.each, score.n, e->seed);
        pupil_vqa_score_free(&score);
        char *path = pupil_join(e->j->conf->run.dir, h->predictions);
        if (student) r = results_predictions(path, q->set, answer, q->n);
        pupil_free(&path);
    }
    drop(answer, q->n);
    pupil_free(&answer);
    return pupil_agree(e->j->world, r);
}

int evaluation_heads(evaluation *e, scored *s, bool baselines, bool student)
{
    const pupil_conf_eval *c = &e->j->conf->eval;
    const head heads[] = {{"reader", "vqa.reader", "vqa_reader_results.json", c->reader.enable, true, false, false},
                          {"question-only reader", "vqa.reader.question_only", "vqa_reader_question_only_results.json", c->reader.enable && baselines, false, false, false},
                          {"fusion", "vqa.fusion", "vqa_fusion_results.json", c->fusion.enable, true, true, false},
                          {"tuned fusion", "vqa.fusion.tuned", "vqa_fusion_tuned_results.json", c->fusion.enable && c->fusion.tune > 0, true, true, true}};
    head_features f = {.e = e, .s = s, .room = c->token_gib * 1073741824.0};
    int r = 0;
    for (int k = 0; k < PUPIL_COUNT(heads) && r == 0 && e->r.test; k++)
        if (heads[k].wanted) r = run_head(&f, &heads[k], student);
    pupil_tokens_free(&f.told);
    for (int k = 0; k < 2; k++) {
        pupil_tokens_free(&f.image[k]);
        pupil_tokens_free(&f.question[k]);
    }
    return r;
}
