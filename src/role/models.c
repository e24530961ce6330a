/* models.c: `pupil eval`: models that exist, scored on the data of the settings under the protocols of a run's end. The teachers
 * come first, since the others are compared with them. Rows are added to results.jsonl of the run directory part by part;
 * parts that it has already, of the same model, data and settings, are not computed again. */
#include "evaluate.h"

#include <string.h>

/* A model to be scored. */
typedef struct {
    const char *dir;
    char name[16], digest[65], tok_digest[65]; /* name: what others call it, for a teacher; else "" */
    pupil_arch arch;
    pupil_tokenizer *tok;
    pupil_clip *clip;
    scored s;
} model;

static const char *const parts[] = {"vqa", "classes", "pairs"};

static int model_open(job *j, model *m)
{
    int r = pupil_model_dir_arch(m->dir, &m->arch);
    if (r == 0) r = tokenizers_teacher(j->conf, m->dir, &m->tok);
    if (r == 0) r = tokenizers_fit(m->tok, &m->arch, m->dir);
    if (r == 0) r = pupil_model_dir_digest(m->dir, m->digest);
    PUPIL_TRY(pupil_agree(j->world, r));
    pupil_tokenizer_digest(m->tok, m->tok_digest);
    m->clip = pupil_clip_new(&m->arch);
    m->s = (scored){.m = {m->clip, NULL, m->tok, m->dir}, .digest = m->digest, .tok_digest = m->tok_digest};
    return pupil_agree(j->world, pupil_model_dir_open(m->dir, m->clip, &m->s.m.weights));
}

static void model_close(model *m)
{
    scored_free(&m->s);
    pupil_weights_free(&m->s.m.weights);
    pupil_clip_free(&m->clip);
    pupil_tokenizer_free(&m->tok);
}

/* "runs/a/b" -> "runs_a_b": a name for files. */
static char *file_name(const char *dir, const char *kind)
{
    char *name = pupil_format("%s-%s.json", kind, dir + strspn(dir, "./"));
    for (char *c = name; *c; c++)
        if (*c == '/') *c = '_';
    return name;
}

static int write_probe(evaluation *e, const model *m)
{
    if (!job_leads(e->j) || !e->r.n_who) return 0;
    char *name = file_name(m->dir, "vqa"), *path = pupil_join(e->j->conf->run.dir, name);
    int r = results_predictions(path, e->r.test, e->r.who[0].answer, e->r.test->n);
    pupil_free(&name);
    pupil_free(&path);
    return r;
}

static int score_questions(evaluation *e, model *m)
{
    char *name = file_name(m->dir, "vqa_zero_shot"), *path = pupil_join(e->j->conf->run.dir, name);
    int r = evaluation_probe(e, &m->s, true);
    if (r == 0) r = pupil_agree(e->j->world, write_probe(e, m));
    if (r == 0) r = evaluation_heads(e, &m->s, true, false);
    if (r == 0) r = score_ranked_answers(e, &m->s, path);
    evaluation_forget(e);
    pupil_free(&name);
    pupil_free(&path);
    return r;
}

static int score_pairs(evaluation *e, model *m, model *teacher, int teachers)
{
    PUPIL_TRY(evaluation_retrieve(e, &m->s));
    PUPIL_TRY(score_captions(e, &m->s));
    score_embedding(e, &m->s);
    for (int k = 0; k < teachers && &teacher[k] != m && e->n_pairs; k++) {
        PUPIL_TRY(evaluation_embed_pairs(e, &teacher[k].s));
        score_against(e, &m->s, &teacher[k].s, teacher[k].name);
    }
    return 0;
}

/* What these rows depend on: pairs of a student on the teachers, too. */
static void part_key(const evaluation *e, const model *m, int part, const model *teacher, int teachers, char key[65])
{
    pupil_buf b = {0};
    pupil_buf_puts(&b, parts[part]);
    for (int k = 0; k < teachers && part == 2 && &teacher[k] != m; k++) pupil_buf_printf(&b, " %s", teacher[k].digest);
    evaluation_key(e, m->digest, m->tok_digest, b.s, key);
    pupil_buf_free(&b);
}

static void say(const model *m, const char *part, bool known)
{
    pupil_buf text = {0};
    pupil_rows_text(&m->s.rows, &text);
    if (known) pupil_info("%s: %s is known already", m->dir, part);
    for (char *save = NULL, *line = text.s ? strtok_r(text.s, "\n", &save) : NULL; line; line = strtok_r(NULL, "\n", &save))
        pupil_info("%s: %s", m->dir, line);
    pupil_buf_free(&text);
}

static int score_part(evaluation *e, model *m, int part, model *teacher, int teachers)
{
    job *j = e->j;
    char key[65], *path = pupil_join(j->conf->run.dir, "results.jsonl");
    part_key(e, m, part, teacher, teachers, key);
    int64_t known = job_leads(j) && pupil_rows_read(path, key, &m->s.rows) == 0;
    int r = pupil_max(j->world, &known, 1);
    if (r == 0 && !known) {
        r = part == 0 ? score_questions(e, m) : part == 1 ? score_classes(e, &m->s) : score_pairs(e, m, teacher, teachers);
        if (r == 0 && job_leads(j) && m->s.rows.n)
            r = pupil_rows_append(path, &(pupil_rows_about){m->dir, m->digest, e->test_digest, "test", key, e->seed}, &m->s.rows);
        r = pupil_agree(j->world, r);
    }
    if (r == 0 && job_leads(j)) say(m, parts[part], known);
    pupil_rows_free(&m->s.rows);
    pupil_free(&path);
    return r;
}

static int score_models(evaluation *e, model *m, int n, int teachers)
{
    int r = 0;
    for (int k = 0; k < n && r == 0; k++) {
        r = model_open(e->j, &m[k]);
        for (int part = 0; part < PUPIL_COUNT(parts) && r == 0; part++) r = score_part(e, &m[k], part, m, PUPIL_MIN(teachers, k));
        if (k >= teachers) model_close(&m[k]);
    }
    for (int k = 0; k < teachers; k++) model_close(&m[k]);
    return r;
}

/* The teachers of the settings that have a folder, then the models; without any, the student of the run directory. */
static int list_models(const pupil_conf *c, const char *const *dir, int n, model *m, int *ret_teachers)
{
    int total = 0;
    for (int k = 0; k < teachers_count(c); k++) {
        job_teacher t = teachers_of_conf(c, k);
        char *weights = NULL;
        if (!t.dir || pupil_model_dir_weights(t.dir, &weights) < 0) continue;
        pupil_free(&weights);
        snprintf(m[total].name, sizeof m[total].name, k ? "teacher %d" : "teacher", k + 1);
        m[total++].dir = t.dir;
    }
    *ret_teachers = total;
    for (int k = 0; k < n; k++) {
        bool is_teacher = false;
        for (int t = 0; t < *ret_teachers; t++) is_teacher = is_teacher || !strcmp(m[t].dir, dir[k]);
        if (!is_teacher) m[total++].dir = dir[k];
    }
    if (n == 0) m[total++].dir = c->run.dir;
    return total;
}

int pupil_role_score(const pupil_conf *conf, const char *const *dir, int n)
{
    job j = {.conf = conf, .world = pupil_par_world()};
    evaluation e = {.j = &j};
    model *m = pupil_alloc((size_t)(PUPIL_TEACHERS + n + 1) * sizeof *m);
    int teachers, total = list_models(conf, dir, n, m, &teachers);
    int r = pupil_agree(j.world, job_leads(&j) ? pupil_mkdirs(conf->run.dir) : 0);
    if (r == 0) r = job_open_data(&j);
    if (r == 0) r = evaluation_open(&e);
    if (r == 0) r = score_models(&e, m, total, teachers);
    evaluation_close(&e);
    job_close(&j);
    pupil_free(&m);
    return r;
}
