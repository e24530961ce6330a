/* tokenizers.c: whose words. A teacher reads texts with the tokenizer of its folder. A student reads CLIP's BPE: the
 * one named in the settings, else its teacher's if that is one, else a vocabulary learned from the captions. The run
 * directory keeps the student's. */
#include "job.h"

#include <string.h>

enum { LEARN_FROM = 4000 }; /* captions a vocabulary is learned from */

/* The student's, or NULL where it is to be learned. Weights that it begins with, or the teacher's text tower, come with theirs. */
static int given(const pupil_conf *c, pupil_tokenizer **ret)
{
    const char *start = c->student.text_of_teacher ? c->teacher.dir : start_dir(c);
    char *of_start = start ? pupil_tokenizer_file(start) : NULL, *of_teacher = c->teacher.dir ? pupil_tokenizer_file(c->teacher.dir) : NULL;
    const char *path = c->tokenizer.merges ? c->tokenizer.merges : of_start ? start : of_teacher ? c->teacher.dir : NULL;
    int r = 0;
    *ret = NULL;
    if (path) r = pupil_tokenizer_open(path, ret);
    pupil_free(&of_start);
    if (r == 0 && *ret && !start && pupil_tokenizer_pads(*ret)) {
        if (c->tokenizer.merges)
            r = pupil_fail(PUPIL_EUSER, "%s: %s; students read CLIP's BPE: name a merges.txt or bpe_simple_vocab_16e6.txt.gz in "
                           "tokenizer.merges, or leave it out to learn a vocabulary from the captions", path, pupil_tokenizer_kind(*ret));
        pupil_tokenizer_free(ret);
    }
    pupil_free(&of_teacher);
    return r;
}

int pupil_role_vocab(const pupil_conf *c, int64_t *ret)
{
    pupil_tokenizer *t;
    PUPIL_TRY(given(c, &t));
    *ret = t ? pupil_tokenizer_vocab(t) : c->tokenizer.vocab_size;
    pupil_tokenizer_free(&t);
    return 0;
}

static int learn(const job *j, const char *merges)
{
    int64_t n = PUPIL_MIN((int64_t)LEARN_FROM, pupil_dataset_count(j->data, PUPIL_TRAIN));
    char **text = pupil_alloc((size_t)n * sizeof *text);
    pupil_tokenizer *t = NULL;
    int r = 0;
    for (int64_t i = 0; i < n && r == 0; i++) r = pupil_dataset_caption(j->data, PUPIL_TRAIN, i, 0, &text[i]);
    if (r == 0) r = pupil_tokenizer_learn((const char *const *)text, n, j->conf->tokenizer.vocab_size, &t);
    if (r == 0) r = pupil_tokenizer_save(t, merges);
    for (int64_t i = 0; i < n; i++) pupil_free(&text[i]);
    pupil_free(&text);
    pupil_tokenizer_free(&t);
    return r;
}

/* The student's into the run directory, and into the folder of a teacher that is trained here. */
static int prepare(const job *j)
{
    const pupil_conf *c = j->conf;
    pupil_tokenizer *t;
    PUPIL_TRY(given(c, &t));
    char *merges = pupil_join(c->run.dir, "merges.txt"), *own = c->teacher.dir ? pupil_tokenizer_file(c->teacher.dir) : NULL;
    int r = t ? pupil_tokenizer_copy(t, c->run.dir) : learn(j, merges);
    pupil_tokenizer_free(&t);
    if (r == 0 && j->plan.teacher[0].train && !own) {
        r = pupil_mkdirs(c->teacher.dir);
        if (r == 0) r = pupil_tokenizer_open(c->run.dir, &t);
        if (r == 0) r = pupil_tokenizer_copy(t, c->teacher.dir);
        pupil_tokenizer_free(&t);
    }
    pupil_free(&merges);
    pupil_free(&own);
    return r;
}

int tokenizers_teacher(const pupil_conf *c, const char *dir, pupil_tokenizer **ret)
{
    char *own = pupil_tokenizer_file(dir);
    int r = pupil_tokenizer_open(own ? dir : c->tokenizer.merges ? c->tokenizer.merges : c->run.dir, ret);
    pupil_free(&own);
    return r;
}

int tokenizers_open(job *j)
{
    PUPIL_TRY(pupil_agree(j->world, job_leads(j) ? prepare(j) : 0));
    int r = pupil_tokenizer_open(j->conf->run.dir, &j->tok);
    if (r == 0) pupil_tokenizer_digest(j->tok, j->tok_digest);
    return pupil_agree(j->world, r);
}

int tokenizers_fit(const pupil_tokenizer *t, const pupil_arch *a, const char *dir)
{
    int64_t ids = pupil_tokenizer_vocab(t);
    bool pads = pupil_tokenizer_pads(t);
    if (pads != a->text_all_to_all)
        return pupil_fail(PUPIL_EUSER, "%s: a text tower that %s its padding does not go with the tokenizer (%s) found there; put the files "
                          "of the model's own tokenizer into its folder", dir, a->text_all_to_all ? "sees" : "does not see", pupil_tokenizer_kind(t));
    if (pads ? ids > a->vocab : ids != a->vocab)
        return pupil_fail(PUPIL_EUSER, "%s: the teacher's vocabulary has %lld ids, the tokenizer (%s) %lld; put the files of the teacher's own "
                          "tokenizer into its folder", dir, (long long)a->vocab, pupil_tokenizer_kind(t), (long long)ids);
    return 0;
}
