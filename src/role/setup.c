/* setup.c: what a job stands on: the run directory with its settings, the data set, the two
 * architectures, and the cache that must be the one this run expects. */
#include "job.h"

#include "pupil/ckpt.h"

#include <string.h>

pupil_preprocess pupil_role_preprocess(const pupil_arch *a)
{
    pupil_preprocess p = pupil_preprocess_default((int)a->image_size);
    memcpy(p.mean, a->mean, sizeof p.mean);
    memcpy(p.std, a->std, sizeof p.std);
    p.bilinear = !strcmp(a->interpolation, "bilinear");
    p.mode = !strcmp(a->resize_mode, "squash")    ? PUPIL_RESIZE_SQUASH
             : !strcmp(a->resize_mode, "longest") ? PUPIL_RESIZE_LONGEST
                                                  : PUPIL_RESIZE_SHORTEST;
    return p;
}

pupil_order job_order(const job *j, uint64_t seed)
{
    return (pupil_order){.samples = pupil_dataset_count(j->data, PUPIL_TRAIN), .block = j->conf->data.block,
                         .window = j->conf->data.window, .seed = seed};
}

void job_digest(const job *j, const char *const *sections, int n, char ret_hex[65])
{
    pupil_buf b = {0};
    for (int i = 0; i < n; i++) pupil_conf_print_section(j->conf, sections[i], &b);
    pupil_buf_printf(&b, "data %s\ntokenizer %s\n", j->data_digest, j->tok_digest);
    pupil_sha256_of(b.s, b.len, ret_hex);
    pupil_buf_free(&b);
}

/* Settings of the run directory: new, or the same as before but for what may change. */
static int claim_run_dir(job *j)
{
    const char *dir = j->conf->run.dir;
    char *path = pupil_join(dir, "resolved.yaml"), *text = NULL;
    pupil_buf now = {0}, why = {0};
    pupil_conf_print(j->conf, &now);
    int r = pupil_mkdirs(dir);
    if (r == 0 && pupil_exists(path)) {
        pupil_conf *old = NULL;
        r = pupil_read_file(path, 1 << 20, &text, NULL);
        if (r == 0 && pupil_conf_parse(path, text, NULL, 0, &old, &why) < 0)
            r = pupil_fail(PUPIL_EMISMATCH, "%s: written by another version of pupil, or damaged (%.*s); choose another run.dir with "
                           "--set run.dir=..., or remove that folder", path, (int)strcspn(why.s, "\n"), why.s);
        else if (r == 0 && pupil_conf_diff(old, j->conf, &why) > 0)
            r = pupil_fail(PUPIL_EMISMATCH, "%s holds a run with other settings (%s); choose another run.dir with "
                           "--set run.dir=..., or remove that folder", dir, why.s);
        pupil_conf_free(&old);
    }
    if (r == 0) r = pupil_write_file(path, now.s, now.len);
    pupil_free(&text);
    pupil_buf_free(&now);
    pupil_buf_free(&why);
    pupil_free(&path);
    return r;
}

static void remove_files(const char *dir, const char *const *name, int n)
{
    for (int i = 0; i < n; i++) {
        char *p = pupil_join(dir, name[i]);
        remove(p);
        pupil_free(&p);
    }
}

/* --again: the student is forgotten, the teacher and the cache stay. */
static void forget_student(const char *dir)
{
    static const char *const files[] = {"finished", "metrics.jsonl", "eval.json", "report.html"};
    remove_files(dir, files, PUPIL_COUNT(files));
    char *ckpt = pupil_join(dir, "checkpoints"), **names = NULL;
    int n = 0;
    if (pupil_list_dir(ckpt, "", "", &names, &n) == 0) remove_files(ckpt, (const char *const *)names, n);
    pupil_names_free(&names, n);
    pupil_free(&ckpt);
}

static int open_data(job *j)
{
    int r = job_leads(j) ? pupil_dataset_open(&j->conf->data, j->conf->run.dir, &j->data) : 0;
    PUPIL_TRY(pupil_agree(j->world, r)); /* the first one makes the indices, the others read them */
    if (!job_leads(j)) r = pupil_dataset_open(&j->conf->data, j->conf->run.dir, &j->data);
    PUPIL_TRY(pupil_agree(j->world, r));
    int64_t train = pupil_dataset_count(j->data, PUPIL_TRAIN), test = pupil_dataset_count(j->data, PUPIL_TEST),
            n[] = {train, -train, test, -test};
    PUPIL_TRY(pupil_max(j->world, n, PUPIL_COUNT(n)));
    if (n[0] != -n[1] || n[2] != -n[3])
        return pupil_fail(PUPIL_EMISMATCH, "the ranks do not see the same data: %lld to %lld training and %lld to %lld held-out samples",
                          -(long long)n[1], (long long)n[0], -(long long)n[3], (long long)n[2]);
    if (job_leads(j)) r = pupil_dataset_digest(j->data, PUPIL_TRAIN, j->data_digest);
    PUPIL_TRY(pupil_agree(j->world, r));
    return pupil_bcast(j->world, j->data_digest, sizeof j->data_digest, 0);
}

/* The teacher's architecture: of its folder if it is there, else of the settings. */
static int open_archs(job *j)
{
    const pupil_conf *c = j->conf;
    int64_t vocab = pupil_tokenizer_vocab(j->tok);
    PUPIL_TRY(pupil_arch_from_conf(&c->student.model, vocab, "student.model", &j->student_arch));
    if (!j->plan.teacher) return 0;
    if (!j->plan.teacher_train) {
        PUPIL_TRY(pupil_model_dir_arch(c->teacher.dir, &j->teacher_arch));
        return tokenizers_fit(j->teacher_tok, &j->teacher_arch, c->teacher.dir);
    }
    return pupil_arch_from_conf(&c->teacher.model, vocab, "teacher.model", &j->teacher_arch);
}

int job_open(job *j)
{
    int r = job_leads(j) ? claim_run_dir(j) : 0;
    if (r == 0 && job_leads(j) && j->again) forget_student(j->conf->run.dir);
    PUPIL_TRY(pupil_agree(j->world, r));
    PUPIL_TRY(open_data(j));
    PUPIL_TRY(tokenizers_open(j));
    return pupil_agree(j->world, open_archs(j));
}

void job_close(job *j)
{
    pupil_cache_free(&j->cache);
    pupil_tokenizer_free(&j->tok);
    pupil_tokenizer_free(&j->teacher_tok);
    pupil_dataset_free(&j->data);
    pupil_buf_free(&j->phases);
}

void job_data_identity(const job *j, pupil_identity *id)
{
    const pupil_conf *c = j->conf;
    pupil_view_recipe recipe = pupil_view_of_conf(&c->data.view);
    pupil_buf view = {0};
    pupil_view_text(&recipe, &view);
    pupil_identity_add(id, "data", "%s", j->data_digest);
    pupil_identity_add(id, "view", "%s", view.s);
    pupil_identity_add(id, "samples", "%lld", (long long)pupil_dataset_count(j->data, PUPIL_TRAIN));
    pupil_identity_add(id, "block", "%lld", (long long)c->data.block);
    pupil_identity_add(id, "dtype", "%s", c->cache.dtype == PUPIL_DTYPE_F32 ? "f32" : "f16");
    pupil_buf_free(&view);
}

static void add_identity(const job *j, pupil_identity *id)
{
    pupil_buf arch = {0}, pre = {0};
    char hex[65];
    pupil_arch_to_json(&j->teacher_arch, &arch);
    pupil_sha256_of(arch.s, arch.len, hex);
    pupil_preprocess p = pupil_role_preprocess(&j->teacher_arch);
    pupil_preprocess_text(&p, &pre);
    pupil_identity_add(id, "format", "1");
    pupil_identity_add(id, "teacher.weights", "%s", j->teacher_digest);
    pupil_identity_add(id, "teacher.architecture", "%s", hex);
    pupil_identity_add(id, "teacher.logit_scale", "%.9g", j->teacher_scale);
    pupil_identity_add(id, "preprocess", "%s", pre.s);
    pupil_identity_add(id, "tokenizer", "%s", j->teacher_tok_digest);
    pupil_identity_add(id, "dim", "%lld", (long long)j->teacher_arch.embed_dim);
    job_data_identity(j, id);
    pupil_buf_free(&arch);
    pupil_buf_free(&pre);
}

/* What decides its embeddings, in one line. */
static int say_teacher(const job *j, pupil_clip *c)
{
    const pupil_arch *a = &j->teacher_arch;
    pupil_weights_file f;
    char *path;
    PUPIL_TRY(pupil_model_dir_weights(j->conf->teacher.dir, &path));
    int r = pupil_weights_about(path, c, &f);
    pupil_free(&path);
    PUPIL_TRY(r);
    pupil_info("teacher  %s: %s, %s, %lld px / %lld, %s %s, embedding %lld; %s, %lld ids, context %lld; %s layout, %s; sha256 %.16s",
               j->conf->teacher.dir, pupil_arch_family(a), pupil_activation_name(a->image.act), (long long)a->image_size, (long long)a->patch,
               a->resize_mode, a->interpolation, (long long)a->embed_dim, pupil_tokenizer_kind(j->teacher_tok),
               (long long)pupil_tokenizer_vocab(j->teacher_tok), (long long)a->context, f.layout, f.formats, j->teacher_digest);
    return 0;
}

int job_know_teacher(job *j)
{
    PUPIL_TRY(pupil_model_dir_digest(j->conf->teacher.dir, j->teacher_digest));
    pupil_clip *c = pupil_clip_new(&j->teacher_arch);
    pupil_weights *w = NULL;
    int r = pupil_model_dir_open(j->conf->teacher.dir, c, &w);
    if (r == 0) j->teacher_scale = pupil_clip_scale(c, w);
    if (r == 0) r = say_teacher(j, c);
    pupil_weights_free(&w);
    pupil_clip_free(&c);
    return r;
}

/* What the cache has to be; an imported one says itself what its teacher was. */
static int wanted_identity(job *j, bool imported, pupil_identity *id)
{
    if (!imported) {
        j->teacher_dim = j->teacher_arch.embed_dim;
        add_identity(j, id);
        return 0;
    }
    pupil_cache *there;
    PUPIL_TRY(pupil_cache_open_any(j->conf->cache.dir, &there));
    int r = imported_identity(j, pupil_cache_identity(there), j->teacher_digest[0], id);
    pupil_cache_free(&there);
    return r;
}

int job_attach_cache(job *j, bool imported)
{
    const pupil_conf *c = j->conf;
    pupil_identity id = {0};
    int r = wanted_identity(j, imported, &id);
    if (r == 0) {
        pupil_cache_shape shape = {pupil_dataset_count(j->data, PUPIL_TRAIN), c->data.block, j->teacher_dim, c->cache.dtype == PUPIL_DTYPE_F32};
        pupil_identity_digest(&id, j->cache_identity);
        r = pupil_cache_open(c->cache.dir, &id, &shape, &j->cache);
    }
    pupil_identity_free(&id);
    return r;
}

int job_open_cache(job *j)
{
    PUPIL_TRY(pupil_agree(j->world, job_leads(j) && j->plan.teacher ? job_know_teacher(j) : 0));
    PUPIL_TRY(pupil_bcast(j->world, j->teacher_digest, sizeof j->teacher_digest, 0));
    PUPIL_TRY(pupil_bcast(j->world, &j->teacher_scale, sizeof j->teacher_scale, 0));
    if (!j->plan.distils) return 0;
    int r = job_leads(j) ? job_attach_cache(j, j->plan.imported) : 0;
    r = pupil_agree(j->world, r);
    if (r == 0 && !job_leads(j)) r = job_attach_cache(j, j->plan.imported);
    PUPIL_TRY(pupil_agree(j->world, r));
    pupil_cache_window(j->cache, 2 * j->conf->data.window + 2);
    return 0;
}

void job_note_phase(job *j, const char *name, double seconds, double pairs)
{
    if (j->phases.len) pupil_buf_puts(&j->phases, ", ");
    pupil_buf_puts(&j->phases, "{\"name\": ");
    pupil_buf_json(&j->phases, name);
    pupil_buf_printf(&j->phases, ", \"seconds\": %.2f, \"pairs\": %.0f}", seconds, pairs);
}

static void model_json(pupil_buf *b, const char *key, const pupil_arch *a, int64_t params, const char *digest)
{
    pupil_buf_printf(b, " \"%s\": {\"parameters\": %lld, \"vision\": \"%lld px / %lld, width %lld, %lld layers\", \"text\": \"width %lld, %lld layers, context %lld\", "
                     "\"embed_dim\": %lld, \"activation\": \"%s\"", key, (long long)params, (long long)a->image_size, (long long)a->patch,
                     (long long)a->image.width, (long long)a->image.layers, (long long)a->text.width, (long long)a->text.layers, (long long)a->context,
                     (long long)a->embed_dim, pupil_activation_name(a->image.act));
    if (digest && digest[0]) pupil_buf_printf(b, ", \"weights\": \"%s\"", digest);
    pupil_buf_puts(b, "},\n");
}

/* All that is known of a teacher whose embeddings were imported. */
static void imported_json(const job *j, pupil_buf *b)
{
    char *name = pupil_identity_get(pupil_cache_identity(j->cache), "teacher.name");
    pupil_buf_puts(b, " \"teacher\": {\"imported\": ");
    pupil_buf_json(b, name ? name : "");
    pupil_buf_printf(b, ", \"embed_dim\": %lld},\n", (long long)j->teacher_dim);
    pupil_free(&name);
}

/* Broken samples, and pictures that a rank found broken when it decoded them. */
static void data_problems(const job *j, pupil_buf *b)
{
    pupil_buf text = {0};
    pupil_dataset_problems(j->data, &text);
    if (text.len) {
        text.s[--text.len] = 0;
        pupil_buf_puts(b, ", \"problems\": ");
        pupil_buf_json(b, text.s);
    }
    if (j->black_pictures) pupil_buf_printf(b, ", \"black_pictures\": %lld", (long long)j->black_pictures);
    pupil_buf_free(&text);
}

int job_write_run_json(const job *j)
{
    pupil_buf b = {0};
    char when[32];
    pupil_buf_puts(&b, "{\"versions\": {\"pupil\": \"" PUPIL_VERSION "\", \"mpi\": ");
    pupil_buf_json(&b, pupil_par_version());
    pupil_buf_printf(&b, "},\n \"finished\": \"%s\",\n \"plan\": ", pupil_utc(when));
    pupil_plan_print(j->conf, &j->plan, true, &b);
    pupil_buf_puts(&b, ",\n");
    if (j->plan.teacher) model_json(&b, "teacher", &j->teacher_arch, j->plan.teacher_params, j->teacher_digest);
    else if (j->cache) imported_json(j, &b);
    model_json(&b, "student", &j->student_arch, j->plan.student_params, NULL);
    if (j->cache)
        pupil_buf_printf(&b, " \"cache\": {\"identity\": \"%s\", \"blocks\": %lld, \"teacher_forward_passes\": %lld, \"teacher_logit_scale\": %.6g},\n",
                         j->cache_identity, (long long)pupil_cache_blocks(j->cache), (long long)j->teacher_passes, j->teacher_scale);
    pupil_buf_printf(&b, " \"data\": {\"train\": %lld, \"test\": %lld, \"digest\": \"%s\", \"tokenizer\": \"%s\", \"vocabulary\": %lld",
                     (long long)pupil_dataset_count(j->data, PUPIL_TRAIN), (long long)pupil_dataset_count(j->data, PUPIL_TEST),
                     j->data_digest, j->tok_digest, (long long)pupil_tokenizer_vocab(j->tok));
    data_problems(j, &b);
    pupil_buf_puts(&b, "},\n");
    pupil_buf_printf(&b, " \"phases\": [%s]\n}\n", j->phases.s ? j->phases.s : "");
    char *path = pupil_join(j->conf->run.dir, "run.json");
    int r = pupil_write_file(path, b.s, b.len);
    pupil_free(&path);
    pupil_buf_free(&b);
    return r;
}
