/* start.c: what a student begins with: weights drawn from its seed, those of a folder (student.init), or a part of a larger
 * model's (student.inherit). Sizes that its settings do not give are that model's, and it reads texts with that model's
 * tokenizer. The digest of those weights is a part of what a checkpoint belongs to. */
#include "job.h"

#include <string.h>

static bool from_teacher(const pupil_conf *c) { return c->student.inherit_from && !strcmp(c->student.inherit_from, "teacher"); }

const char *start_dir(const pupil_conf *c)
{
    return c->student.init ? c->student.init : from_teacher(c) ? c->teacher.dir : c->student.inherit_from;
}

static const char *key(const pupil_conf *c) { return c->student.init ? "student.init" : "student.inherit.from"; }

/* Architecture of the model it begins with; a teacher that is trained here need not be there yet. */
static int base_arch(const pupil_conf *c, int64_t vocab, pupil_arch *ret)
{
    const char *dir = start_dir(c);
    char *weights = NULL;
    int r = pupil_model_dir_weights(dir, &weights);
    pupil_free(&weights);
    if (r < 0 && from_teacher(c) && c->teacher.train_here) return pupil_arch_from_conf(&c->teacher.model, vocab, "teacher.model", ret);
    if (r == 0) r = pupil_model_dir_arch(dir, ret);
    return pupil_context(r == PUPIL_ENOTFOUND ? PUPIL_EUSER : r, "%s", key(c));
}

int pupil_role_student_arch(const pupil_conf *c, pupil_arch *ret)
{
    int64_t vocab;
    PUPIL_TRY(pupil_role_vocab(c, &vocab));
    return start_arch(c, vocab, ret);
}

int start_arch(const pupil_conf *c, int64_t vocab, pupil_arch *ret)
{
    pupil_arch base, a;
    if (!start_dir(c)) return pupil_arch_from_conf(&c->student.model, vocab, "student.model", ret);
    PUPIL_TRY(base_arch(c, vocab, &base));
    PUPIL_TRY(pupil_arch_like(&base, &c->student.model, "student.model", &a));
    if (a.text_all_to_all ? vocab > a.vocab : vocab != a.vocab)
        return pupil_fail(PUPIL_EUSER, "%s: the model there has a vocabulary of %lld ids, the student's tokenizer %lld; leave tokenizer.merges out, "
                          "and put that model's own tokenizer into its folder", key(c), (long long)a.vocab, (long long)vocab);
    PUPIL_TRY(pupil_context(pupil_inherit_check(&base, &a, "student.model"), "%s", key(c)));
    if (c->student.init) PUPIL_TRY(pupil_context(pupil_inherit_check(&a, &base, start_dir(c)), "student.init takes a model of the same sizes"));
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
    int r = job_leads(j) ? same_tokenizer(j, dir) : 0;
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

void start_json(const job *j, pupil_buf *b)
{
    const pupil_conf_student *s = &j->conf->student;
    if (!start_dir(j->conf)) return;
    pupil_buf_puts(b, " \"start\": {\"from\": ");
    pupil_buf_json(b, start_dir(j->conf));
    pupil_buf_printf(b, ", \"select\": \"%s\", \"weights\": \"%s\"},\n",
                     s->init ? "all" : s->inherit_select == PUPIL_SELECT_MAGNITUDE ? "magnitude" : "first", j->start_digest);
}
