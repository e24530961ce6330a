/* start.c: what a student begins with, and what it ends as. It begins with weights drawn from its seed, those of a folder
 * (student.init), or a part of a larger model's (student.inherit). Sizes that its settings do not give are that model's, and
 * it reads texts with that model's tokenizer. The digest of those weights is a part of what a checkpoint belongs to. With
 * student.text: teacher an image tower alone is trained, and the teacher's text tower joins it in the end. */
#include "job.h"

#include <string.h>

static bool from_teacher(const pupil_conf *c) { return c->student.inherit_from && !strcmp(c->student.inherit_from, "teacher"); }

const char *start_dir(const pupil_conf *c)
{
    return c->student.init ? c->student.init : from_teacher(c) ? c->teacher.dir : c->student.inherit_from;
}

static const char *key(const pupil_conf *c) { return c->student.init ? "student.init" : "student.inherit.from"; }

/* Architecture of a model folder; a teacher that is trained here need not be there yet. */
static int base_arch(const pupil_conf *c, const char *dir, const char *asks, int64_t vocab, pupil_arch *ret)
{
    char *weights = NULL;
    int r = pupil_model_dir_weights(dir, &weights);
    pupil_free(&weights);
    if (r < 0 && dir == c->teacher.dir && c->teacher.train_here) return pupil_arch_from_conf(&c->teacher.model, vocab, "teacher.model", ret);
    if (r == 0) r = pupil_model_dir_arch(dir, ret);
    return pupil_context(r == PUPIL_ENOTFOUND ? PUPIL_EUSER : r, "%s", asks);
}

int pupil_role_student_arch(const pupil_conf *c, pupil_arch *ret)
{
    int64_t vocab;
    PUPIL_TRY(pupil_role_vocab(c, &vocab));
    return start_arch(c, vocab, ret);
}

/* Without a text tower. */
static pupil_arch image_alone(const pupil_arch *a)
{
    pupil_arch image = *a;
    image.text = (pupil_tower_arch){0};
    return image;
}

pupil_arch start_trained(const pupil_conf *c, const pupil_arch *student) { return c->student.text_of_teacher ? image_alone(student) : *student; }

/* The image tower of student.model (or of `base`) beside the text tower of `t`. */
static int beside_text(const pupil_conf_model *model, const pupil_arch *base, const pupil_arch *t, pupil_arch *ret)
{
    pupil_arch a;
    pupil_conf_model m = *model;
    m.embed_dim = t->embed_dim;
    if (base) {
        PUPIL_TRY(pupil_arch_like(base, &m, "student.model", &a));
    } else {
        m.text_width = t->text.width, m.text_layers = t->text.layers, m.text_heads = t->text.heads, m.context_length = t->context;
        if (m.act == PUPIL_ACT_PRESET) m.act = t->text.act == PUPIL_QUICK_GELU ? PUPIL_ACT_QUICK_GELU : PUPIL_ACT_GELU;
        PUPIL_TRY(pupil_arch_from_conf(&m, t->vocab, "student.model", &a));
    }
    a.text = t->text;
    a.context = t->context;
    a.vocab = t->vocab;
    a.text_all_to_all = t->text_all_to_all;
    a.text_proj_bias = t->text_proj_bias;
    a.text_prefix = t->text_prefix;
    if (!a.trunk_names && (a.image.act == PUPIL_QUICK_GELU) != (a.text.act == PUPIL_QUICK_GELU))
        return pupil_fail(PUPIL_EUSER, "student.model.act is %s, but the teacher's text tower has %s; open_clip's models have one of them in both towers",
                          pupil_activation_name(a.image.act), pupil_activation_name(a.text.act));
    *ret = a;
    return 0;
}

int start_arch(const pupil_conf *c, int64_t vocab, pupil_arch *ret)
{
    pupil_arch base, text, a;
    const char *dir = start_dir(c);
    if (dir) PUPIL_TRY(base_arch(c, dir, key(c), vocab, &base));
    if (c->student.text_of_teacher) {
        PUPIL_TRY(base_arch(c, c->teacher.dir, "student.text", vocab, &text));
        PUPIL_TRY(beside_text(&c->student.model, dir ? &base : NULL, &text, &a));
    } else if (dir) {
        PUPIL_TRY(pupil_arch_like(&base, &c->student.model, "student.model", &a));
    } else {
        return pupil_arch_from_conf(&c->student.model, vocab, "student.model", ret);
    }
    if (a.text_all_to_all ? vocab > a.vocab : vocab != a.vocab)
        return pupil_fail(PUPIL_EUSER, "%s: the model there has a vocabulary of %lld ids, the student's tokenizer %lld; leave tokenizer.merges out, "
                          "and put that model's own tokenizer into its folder", dir ? key(c) : "student.text", (long long)a.vocab, (long long)vocab);
    pupil_arch trained = start_trained(c, &a), whole = c->student.text_of_teacher && dir ? image_alone(&base) : base;
    if (dir) PUPIL_TRY(pupil_context(pupil_inherit_check(&base, &trained, "student.model"), "%s", key(c)));
    if (c->student.init) PUPIL_TRY(pupil_context(pupil_inherit_check(&trained, &whole, dir), "student.init takes a model of the same sizes"));
    *ret = a;
    return 0;
}

/* Its text tower knows the ids of its own tokenizer. */
static int same_tokenizer(const job *j, const char *dir)
{
    char *own = pupil_tokenizer_file(dir), digest[65] = "";
    pupil_tokenizer *t = NULL;
    int r = own ? pupil_tokenizer_open(dir, &t) : 0;
    if (t) pupil_tokenizer_digest(t, digest);
    if (t && strcmp(digest, j->tok_digest))
        r = pupil_fail(PUPIL_EUSER, "%s has another tokenizer (%s) than the student; leave tokenizer.merges out", dir, own);
    pupil_tokenizer_free(&t);
    pupil_free(&own);
    return r;
}

int start_know(job *j)
{
    const char *dir = start_dir(j->conf);
    if (!dir) return 0;
    int r = job_leads(j) && !j->conf->student.text_of_teacher ? same_tokenizer(j, dir) : 0;
    if (r == 0 && job_leads(j)) r = pupil_model_dir_digest(dir, j->start_digest);
    pupil_context(r, "%s", key(j->conf));
    PUPIL_TRY(pupil_agree(j->world, r));
    return pupil_bcast(j->world, j->start_digest, sizeof j->start_digest, 0);
}

static int load(const job *j, pupil_clip *c, float *params)
{
    const pupil_conf_student *s = &j->conf->student;
    const char *dir = start_dir(j->conf);
    pupil_arch a;
    pupil_weights *w = NULL;
    PUPIL_TRY(pupil_model_dir_arch(dir, &a));
    pupil_clip *from = pupil_clip_new(&a);
    int r = pupil_model_dir_open(dir, from, &w);
    if (r == 0) r = pupil_inherit(from, w, s->inherit_select, c, params, "student.model");
    if (r == 0)
        pupil_info("student: begins with %s%s (sha256 %.16s): %.2f of its %.2f M parameters", dir,
                   s->init ? "" : s->inherit_select == PUPIL_SELECT_MAGNITUDE ? ", the strongest" : ", the first", j->start_digest,
                   (double)pupil_clip_params(c, -1) / 1e6, (double)pupil_clip_params(from, -1) / 1e6);
    pupil_weights_free(&w);
    pupil_clip_free(&from);
    return r;
}

int start_load(const job *j, pupil_comm *comm, pupil_clip *c, float *params)
{
    if (!start_dir(j->conf)) return 0;
    int r = pupil_comm_rank(comm) == 0 ? pupil_context(load(j, c, params), "%s", key(j->conf)) : 0;
    PUPIL_TRY(pupil_agree(comm, r));
    return pupil_bcast(comm, params, (size_t)pupil_clip_table(c)->total * sizeof *params, 0);
}

int start_whole(const job *j, pupil_clip *trained, const float *from, pupil_clip *student, float *params)
{
    const pupil_table *t = pupil_clip_table(student);
    for (int64_t i = 0; i < t->n; i++) {
        const pupil_tensor *x = pupil_table_find(pupil_clip_table(trained), t->t[i].name);
        if (x) memcpy(params + t->t[i].offset, from + x->offset, (size_t)x->count * sizeof *params);
    }
    if (!j->conf->student.text_of_teacher) return 0;
    pupil_clip *c = pupil_clip_new(&j->teacher[0].arch);
    pupil_weights *w = NULL;
    int r = pupil_model_dir_open(j->teacher[0].dir, c, &w);
    if (r == 0) pupil_take_text(c, w, student, params);
    pupil_weights_free(&w);
    pupil_clip_free(&c);
    return r;
}

void start_json(const job *j, pupil_buf *b)
{
    const pupil_conf_student *s = &j->conf->student;
    if (s->text_of_teacher) pupil_buf_puts(b, " \"text_tower\": \"teacher\",\n");
    if (!start_dir(j->conf)) return;
    pupil_buf_puts(b, " \"start\": {\"from\": ");
    pupil_buf_json(b, start_dir(j->conf));
    pupil_buf_printf(b, ", \"select\": \"%s\", \"weights\": \"%s\"},\n",
                     s->init ? "all" : s->inherit_select == PUPIL_SELECT_MAGNITUDE ? "magnitude" : "first", j->start_digest);
}
