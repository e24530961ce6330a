/* teachers.c: the teachers of a job: what each is, its tokenizer, and the cache that must be the one this run expects. A
 * teacher is a model folder, or embeddings that were imported into its cache. Each has a cache of its own: one more teacher
 * leaves the others' alone. */
#include "job.h"

#include <string.h>

int teachers_count(const pupil_conf *c)
{
    int n = c->teacher.dir || c->cache.dir ? 1 : 0;
    while (n > 0 && n < PUPIL_TEACHERS && c->more_teachers[n - 1].cache) n++;
    return n;
}

job_teacher teachers_of_conf(const pupil_conf *c, int k)
{
    if (k == 0)
        return (job_teacher){.dir = c->teacher.dir, .cache_dir = c->cache.dir, .weight = c->teacher.weight, .given_scale = c->teacher.logit_scale};
    const pupil_conf_more_teacher *m = &c->more_teachers[k - 1];
    return (job_teacher){.dir = m->dir, .cache_dir = m->cache, .weight = m->weight, .given_scale = m->logit_scale};
}

/* ---- architecture and tokenizer ------------------------------------------------------------------- */
int teachers_open_model(const job *j, job_teacher *t, const pupil_conf_model *made_here)
{
    PUPIL_TRY(tokenizers_teacher(j->conf, t->dir, &t->tok));
    pupil_tokenizer_digest(t->tok, t->tok_digest);
    if (made_here) return pupil_arch_from_conf(made_here, pupil_tokenizer_vocab(t->tok), "teacher.model", &t->arch);
    PUPIL_TRY(pupil_model_dir_arch(t->dir, &t->arch));
    return tokenizers_fit(t->tok, &t->arch, t->dir);
}

int teachers_open(job *j)
{
    int r = 0;
    j->teachers = j->plan.teacher_count;
    for (int k = 0; k < j->teachers && r == 0; k++) {
        const pupil_plan_teacher *p = &j->plan.teacher[k];
        job_teacher *t = &j->teacher[k];
        *t = teachers_of_conf(j->conf, k);
        t->there = p->there;
        t->imported = p->imported;
        if (t->there) r = teachers_open_model(j, t, p->train ? &j->conf->teacher.model : NULL);
    }
    return pupil_agree(j->world, r);
}

void teachers_close(job *j)
{
    for (int k = 0; k < j->teachers; k++) {
        pupil_cache_free(&j->teacher[k].cache);
        pupil_tokenizer_free(&j->teacher[k].tok);
    }
}

/* ---- weights ---------------------------------------------------------------------------------------- */
/* What decides its embeddings, in one line. */
static int say_teacher(const job_teacher *t, pupil_clip *c)
{
    const pupil_arch *a = &t->arch;
    pupil_weights_file f;
    char *path;
    PUPIL_TRY(pupil_model_dir_weights(t->dir, &path));
    int r = pupil_weights_about(path, c, &f);
    pupil_free(&path);
    PUPIL_TRY(r);
    pupil_info("teacher  %s: %s, %s, %lld px / %lld, %s %s, embedding %lld; %s, %lld ids, context %lld; %s layout, %s; sha256 %.16s",
               t->dir, pupil_arch_family(a), pupil_activation_name(a->image.act), (long long)a->image_size, (long long)a->patch,
               a->resize_mode, a->interpolation, (long long)a->embed_dim, pupil_tokenizer_kind(t->tok),
               (long long)pupil_tokenizer_vocab(t->tok), (long long)a->context, f.layout, f.formats, t->digest);
    return 0;
}

int teachers_know(job_teacher *t)
{
    PUPIL_TRY(pupil_model_dir_digest(t->dir, t->digest));
    pupil_clip *c = pupil_clip_new(&t->arch);
    pupil_weights *w = NULL;
    int r = pupil_model_dir_open(t->dir, c, &w);
    if (r == 0) {
        t->scale = pupil_clip_scale(c, w);
        t->bias = pupil_clip_bias(c, w);
        r = say_teacher(t, c);
    }
    pupil_weights_free(&w);
    pupil_clip_free(&c);
    return r;
}

/* ---- cache ------------------------------------------------------------------------------------------ */
static void add_identity(const job *j, const job_teacher *t, pupil_identity *id)
{
    pupil_buf arch = {0}, pre = {0};
    char hex[65];
    pupil_arch_to_json(&t->arch, &arch);
    pupil_sha256_of(arch.s, arch.len, hex);
    pupil_preprocess p = pupil_role_preprocess(&t->arch);
    pupil_preprocess_text(&p, &pre);
    pupil_cache_shape shape = job_cache_shape(j, t->dim);
    pupil_identity_add(id, "format", "2");
    pupil_identity_add(id, "teacher.weights", "%s", t->digest);
    pupil_identity_add(id, "teacher.architecture", "%s", hex);
    pupil_identity_add(id, "teacher.logit_scale", "%.9g", t->scale);
    pupil_identity_add(id, "preprocess", "%s", pre.s);
    pupil_identity_add(id, "tokenizer", "%s", t->tok_digest);
    job_data_identity(j, &shape, id);
    pupil_buf_free(&arch);
    pupil_buf_free(&pre);
}

/* What the cache has to be; an imported one says itself what its teacher was. */
static int wanted_identity(const job *j, job_teacher *t, pupil_identity *id)
{
    if (!t->imported) {
        t->dim = t->arch.embed_dim;
        add_identity(j, t, id);
        return 0;
    }
    pupil_cache *there;
    PUPIL_TRY(pupil_cache_open_any(t->cache_dir, &there));
    int r = imported_identity(j, t, pupil_cache_identity(there), id);
    pupil_cache_free(&there);
    return r;
}

int teachers_attach_cache(const job *j, job_teacher *t)
{
    pupil_identity id = {0};
    int r = wanted_identity(j, t, &id);
    if (r == 0) {
        pupil_cache_shape shape = job_cache_shape(j, t->dim);
        pupil_identity_digest(&id, t->cache_identity);
        r = pupil_cache_open(t->cache_dir, &id, &shape, &t->cache);
    }
    pupil_identity_free(&id);
    return r;
}

static int open_cache(job *j, job_teacher *t)
{
    PUPIL_TRY(pupil_agree(j->world, job_leads(j) && t->there ? teachers_know(t) : 0));
    PUPIL_TRY(pupil_bcast(j->world, t->digest, sizeof t->digest, 0));
    PUPIL_TRY(pupil_bcast(j->world, &t->scale, sizeof t->scale, 0));
    PUPIL_TRY(pupil_bcast(j->world, &t->bias, sizeof t->bias, 0));
    if (!j->plan.distils) return 0;
    int r = job_leads(j) ? teachers_attach_cache(j, t) : 0;
    r = pupil_agree(j->world, r);
    if (r == 0 && !job_leads(j)) r = teachers_attach_cache(j, t);
    PUPIL_TRY(pupil_agree(j->world, r));
    pupil_cache_window(t->cache, 3 * (2 * j->conf->data.window + 2)); /* a view and two captions of each */
    pupil_cache_share(t->cache, j->conf->cache.share);
    return 0;
}

int teachers_open_caches(job *j)
{
    for (int k = 0; k < j->teachers; k++) PUPIL_TRY(open_cache(j, &j->teacher[k]));
    return 0;
}

int teachers_refresh(const job *j)
{
    for (int k = 0; k < j->teachers; k++)
        if (j->teacher[k].cache) PUPIL_TRY(pupil_cache_refresh(j->teacher[k].cache));
    return 0;
}

/* ---- in run.json --------------------------------------------------------------------------------------- */
static void cache_json(const job_teacher *t, int64_t passes, pupil_buf *b)
{
    pupil_buf_printf(b, "{\"identity\": \"%s\", \"bytes_per_sample\": %.1f, \"blocks\": %lld, \"teacher_forward_passes\": %lld, \"teacher_logit_scale\": %.6g, \"weight\": ",
                     t->cache_identity, pupil_cache_sample_bytes(pupil_cache_shape_of(t->cache)), (long long)pupil_cache_blocks(t->cache), (long long)passes, t->given_scale > 0 ? t->given_scale : t->scale);
    pupil_buf_json_num(b, t->weight);
    pupil_buf_puts(b, "}");
}

static void teacher_json(const job *j, int k, pupil_buf *b)
{
    const job_teacher *t = &j->teacher[k];
    if (t->there) {
        job_model_json(&t->arch, j->plan.teacher[k].params, t->digest, b);
        return;
    }
    char *name = pupil_identity_get(pupil_cache_identity(t->cache), "teacher.name"); /* all that is known of it */
    pupil_buf_puts(b, "{\"imported\": ");
    pupil_buf_json(b, name ? name : "");
    pupil_buf_printf(b, ", \"embed_dim\": %lld}", (long long)t->dim);
    pupil_free(&name);
}

void teachers_json(const job *j, pupil_buf *b)
{
    int more = 0;
    for (int k = 0; k < j->teachers; k++) {
        const job_teacher *t = &j->teacher[k];
        if (!t->there && !t->cache) continue;
        pupil_buf_puts(b, k == 0 ? " \"teacher\": " : more++ == 0 ? " \"more_teachers\": [{\"teacher\": " : ",\n  {\"teacher\": ");
        teacher_json(j, k, b);
        if (t->cache) {
            pupil_buf_puts(b, k == 0 ? ",\n \"cache\": " : ", \"cache\": ");
            cache_json(t, t->passes, b);
        }
        pupil_buf_puts(b, k == 0 ? ",\n" : "}");
    }
    if (more) pupil_buf_puts(b, "],\n");
}
