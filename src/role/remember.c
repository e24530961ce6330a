/* remember.c: what a teacher scored, kept in its folder, so that it is scored once for all students: evaluation.txt has its
 * answers and recalls, evaluation.jsonl its rows, evaluation.h5 its embeddings of the held-out pairs; each under a key of all
 * that they depend on. */
#include "evaluate.h"

#include <string.h>
#include <unistd.h>

void evaluation_digest_questions(const evaluation *e, char hex[65])
{
    pupil_buf b = {0};
    pupil_buf_printf(&b, "%s %s seed %llu\n", e->j->data_digest, e->test_digest, (unsigned long long)e->seed);
    for (int s = 0; s < 2; s++)
        for (int64_t i = 0; i < e->q[s].n; i++) pupil_buf_printf(&b, "%s\n%s\n", e->q[s].text[i], e->q[s].set->q[i].answer);
    pupil_sha256_of(b.s, b.len, hex);
    pupil_buf_free(&b);
}

void evaluation_digest_protocols(const evaluation *e, char hex[65])
{
    pupil_buf b = {0};
    pupil_conf_print_section(e->j->conf, "eval", &b);
    score_classes_text(&e->classes, &b);
    pupil_buf_printf(&b, "%s\npairs %lld\n", e->questions, (long long)e->n_pairs);
    pupil_sha256_of(b.s, b.len, hex);
    pupil_buf_free(&b);
}

void evaluation_key(const evaluation *e, const char *weights, const char *tokenizer, const char *part, char hex[65])
{
    pupil_buf b = {0};
    pupil_buf_printf(&b, "2 %s %s %s %s\n", part, weights, tokenizer, e->digest);
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
    if (ok) evaluation_answered(e, name, index, NULL, NULL);
    pupil_free(&index);
    return ok;
}

/* Embeddings of the held-out pairs, which further students are compared with. */
static int recall_pairs(const evaluation *e, const job_teacher *t, const char *key, scored *s)
{
    char *path = pupil_join(t->dir, "evaluation.h5"), *of = NULL;
    int64_t dim = t->arch.embed_dim, n = e->n_pairs * dim;
    pupil_h5 *h = NULL;
    int r = pupil_exists(path) ? pupil_h5_open(path, &h) : PUPIL_ENOTFOUND;
    if (r == 0) r = pupil_h5_read_text(h, "key", &of);
    if (r == 0 && strcmp(of, key) != 0) r = PUPIL_EMISMATCH;
    if (r == 0) {
        s->pairs.image = pupil_alloc((size_t)n * sizeof(float));
        s->pairs.text = pupil_alloc((size_t)n * sizeof(float));
        s->pairs.dim = dim;
        r = pupil_h5_read(h, "image", PUPIL_H5_F32, n, s->pairs.image);
    }
    if (r == 0) r = pupil_h5_read(h, "logit_scale", PUPIL_H5_F64, 1, &s->pairs.scale);
    if (r == 0) r = pupil_h5_read(h, "text", PUPIL_H5_F32, n, s->pairs.text);
    if (h) pupil_h5_close(&h);
    pupil_free(&path);
    pupil_free(&of);
    return r;
}

static int remember_pairs(const evaluation *e, const job_teacher *t, const char *key, const scored *s)
{
    char *path = pupil_join(t->dir, "evaluation.h5"), *part = pupil_format("%s.%ld.part", path, (long)getpid());
    const int64_t shape[] = {e->n_pairs, s->pairs.dim};
    pupil_h5 *h = NULL;
    int r = pupil_h5_create(part, &h);
    if (r == 0) r = pupil_h5_write_text(h, "key", key);
    if (r == 0) r = pupil_h5_write(h, "logit_scale", PUPIL_H5_F64, 0, NULL, &s->pairs.scale);
    if (r == 0) r = pupil_h5_write(h, "image", PUPIL_H5_F32, 2, shape, s->pairs.image);
    if (r == 0) r = pupil_h5_write(h, "text", PUPIL_H5_F32, 2, shape, s->pairs.text);
    int closed = h ? pupil_h5_close(&h) : 0;
    if (r == 0) r = closed;
    if (r == 0) r = pupil_publish(part, path);
    if (r < 0) remove(part);
    pupil_free(&path);
    pupil_free(&part);
    return r;
}

bool evaluation_recall(evaluation *e, const job_teacher *t, const char *key, scored *s)
{
    char *path = pupil_join(t->dir, "evaluation.txt"), *rows = pupil_join(t->dir, "evaluation.jsonl"), *save = NULL, *text = NULL;
    bool ok = pupil_read_file(path, 0, &text, NULL) == 0;
    char *line = ok ? strtok_r(text, "\n", &save) : NULL;
    ok = line && !strcmp(line, key) && pupil_rows_read(rows, key, &s->rows) == 0;
    ok = ok && (e->n_pairs == 0 || recall_pairs(e, t, key, s) == 0) && recall_lines(e, s->m.name, &save);
    pupil_free(&path);
    pupil_free(&rows);
    pupil_free(&text);
    return ok;
}

int evaluation_remember(const evaluation *e, const job_teacher *t, const char *key, const scored *s)
{
    char *path = pupil_join(t->dir, "evaluation.txt"), *rows = pupil_join(t->dir, "evaluation.jsonl");
    pupil_buf b = {0};
    pupil_buf_printf(&b, "%s\n", key);
    if (e->n_pairs) {
        recall_text(&b, &e->r.rank[e->r.n_rank - 1].image_to_text);
        recall_text(&b, &e->r.rank[e->r.n_rank - 1].text_to_image);
    }
    for (int64_t i = 0; e->r.test && i < e->q[PUPIL_TEST].n; i++) pupil_buf_printf(&b, "%s\n", e->given[e->r.n_who - 1][i]);
    int r = e->n_pairs ? remember_pairs(e, t, key, s) : 0;
    if (r == 0) r = pupil_rows_append(rows, &(pupil_rows_about){t->dir, t->digest, e->test_digest, "test", key, e->seed}, &s->rows);
    if (r == 0) r = pupil_write_file(path, b.s, b.len);
    pupil_free(&path);
    pupil_free(&rows);
    pupil_buf_free(&b);
    return r;
}
