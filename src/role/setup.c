/* setup.c: what a job stands on: the run directory with its settings, the data set, the student's architecture; and what
 * it says of itself in run.json. */
#include "job.h"

#include "pupil/ckpt.h"

#include <string.h>

pupil_preprocess pupil_role_preprocess(const pupil_arch *a)
{
    pupil_preprocess p = pupil_preprocess_default((int)a->image_size);
    memcpy(p.mean, a->mean, sizeof p.mean);
    memcpy(p.std, a->std, sizeof p.std);
    p.bilinear = !strcmp(a->interpolation, "bilinear");
    p.mode = !strcmp(a->resize_mode, "squash")        ? PUPIL_RESIZE_SQUASH
             : !strcmp(a->resize_mode, "longest")     ? PUPIL_RESIZE_LONGEST
             : !strcmp(a->resize_mode, "shortest-hf") ? PUPIL_RESIZE_SHORTEST_HF
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

int job_open_data(job *j)
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

int job_open(job *j)
{
    int r = job_leads(j) ? claim_run_dir(j) : 0;
    if (r == 0 && job_leads(j) && j->again) forget_student(j->conf->run.dir);
    PUPIL_TRY(pupil_agree(j->world, r));
    PUPIL_TRY(job_open_data(j));
    PUPIL_TRY(tokenizers_open(j));
    PUPIL_TRY(pupil_agree(j->world, start_arch(j->conf, pupil_tokenizer_vocab(j->tok), &j->student_arch)));
    return teachers_open(j);
}

void job_close(job *j)
{
    teachers_close(j);
    pupil_tokenizer_free(&j->tok);
    pupil_dataset_free(&j->data);
    pupil_buf_free(&j->phases);
}

pupil_cache_shape job_cache_shape(const job *j, int64_t dim)
{
    const pupil_conf *c = j->conf;
    return (pupil_cache_shape){.samples = pupil_dataset_count(j->data, PUPIL_TRAIN), .block = c->data.block, .dim = dim,
                               .dtype = (pupil_stored)c->cache.dtype, .views = (int)c->cache.views, .captions = (int)c->cache.captions};
}

void job_data_identity(const job *j, const pupil_cache_shape *shape, pupil_identity *id)
{
    pupil_view_recipe recipe = pupil_view_of_conf(&j->conf->data.view);
    pupil_buf view = {0};
    pupil_view_text(&recipe, &view);
    pupil_identity_add(id, "data", "%s", j->data_digest);
    pupil_identity_add(id, "view", "%s", view.s);
    pupil_identity_shape(id, shape);
    pupil_buf_free(&view);
}

void job_note_phase(job *j, const char *name, double seconds, double pairs)
{
    if (j->phases.len) pupil_buf_puts(&j->phases, ", ");
    pupil_buf_puts(&j->phases, "{\"name\": ");
    pupil_buf_json(&j->phases, name);
    pupil_buf_printf(&j->phases, ", \"seconds\": %.2f, \"pairs\": %.0f}", seconds, pairs);
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
    if (j->substituted) pupil_buf_printf(b, ", \"substituted\": %lld", (long long)j->substituted);
    pupil_buf_free(&text);
}

void job_model_json(const pupil_arch *a, int64_t params, const char *digest, pupil_buf *b)
{
    pupil_buf_printf(b, "{\"parameters\": %lld, \"vision\": \"%lld px / %lld, width %lld, %lld layers\", \"text\": \"width %lld, %lld layers, context %lld\", "
                     "\"embed_dim\": %lld, \"activation\": \"%s\"", (long long)params, (long long)a->image_size, (long long)a->patch,
                     (long long)a->image.width, (long long)a->image.layers, (long long)a->text.width, (long long)a->text.layers, (long long)a->context,
                     (long long)a->embed_dim, pupil_activation_name(a->image.act));
    if (digest && digest[0]) pupil_buf_printf(b, ", \"weights\": \"%s\"", digest);
    pupil_buf_puts(b, "}");
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
    teachers_json(j, &b);
    confounds_json(j, &b);
    pupil_buf_puts(&b, " \"student\": ");
    job_model_json(&j->student_arch, j->plan.student_params, NULL, &b);
    pupil_buf_puts(&b, ",\n");
    start_json(j, &b);
    if (j->conf->student.train.ema > 0) { /* model.safetensors and the scores are of the average */
        pupil_buf_puts(&b, " \"averaged\": ");
        pupil_buf_json_num(&b, j->conf->student.train.ema);
        pupil_buf_puts(&b, ",\n");
    }
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
