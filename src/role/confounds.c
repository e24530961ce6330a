/* confounds.c: what else differs between two results than the thing they are compared for: settings that can make a better
 * teacher look worse (DESIGN 5.11). One object a teacher in run.json, so that every result carries them as columns. */
#include "job.h"

#include <math.h>
#include <string.h>

static void number(pupil_buf *b, const char *key, double x)
{
    pupil_buf_printf(b, ", \"%s\": ", key);
    pupil_buf_json_num(b, x);
}

static void word(pupil_buf *b, const char *key, const char *value)
{
    pupil_buf_printf(b, ", \"%s\": ", key);
    pupil_buf_json(b, value);
}

static void yes_or_no(pupil_buf *b, const char *key, bool yes) { pupil_buf_printf(b, ", \"%s\": %s", key, yes ? "true" : "false"); }

/* Of the towers, where the teacher's are known. */
static void towers(const job *j, const job_teacher *t, pupil_buf *b)
{
    const pupil_arch *a = &t->arch, *s = &j->student_arch;
    number(b, "student_dim", (double)s->embed_dim);
    number(b, "student_resolution", (double)s->image_size);
    number(b, "student_context", (double)s->context);
    word(b, "student_activation", pupil_activation_name(s->image.act));
    if (!t->there) return;
    number(b, "teacher_resolution", (double)a->image_size);
    number(b, "teacher_context", (double)a->context);
    word(b, "teacher_activation", pupil_activation_name(a->image.act));
    yes_or_no(b, "same_tokenizer", !strcmp(t->tok_digest, j->tok_digest));
    yes_or_no(b, "same_preprocessing", !memcmp(a->mean, s->mean, sizeof a->mean) && !memcmp(a->std, s->std, sizeof a->std) &&
                                           !strcmp(a->interpolation, s->interpolation) && !strcmp(a->resize_mode, s->resize_mode));
}

void confounds_json(const job *j, pupil_buf *b)
{
    const pupil_conf *c = j->conf;
    pupil_loss_conf l = {.dim = j->student_arch.embed_dim};
    pupil_role_loss_terms(&c->loss, &l);
    pupil_buf_puts(b, " \"confounds\": [");
    for (int k = 0; k < j->teachers && j->plan.distils; k++) {
        const job_teacher *t = &j->teacher[k];
        const pupil_loss_term *fd = &l.term[PUPIL_TERM_FD];
        pupil_buf_printf(b, "%s{\"teacher_dim\": %lld", k ? ",\n  " : "", (long long)t->dim);
        number(b, "teacher_weight", t->weight);
        number(b, "teacher_logit_scale", t->given_scale > 0 ? t->given_scale : t->scale);
        towers(j, t, b);
        yes_or_no(b, "projection", pupil_loss_wants(&l, PUPIL_WANTS_HEADS) && t->dim != j->student_arch.embed_dim);
        number(b, "fd_weight_per_dimension", fd->sum ? fd->weight : fd->weight / (double)t->dim);
        word(b, "crd_direction", l.term[PUPIL_TERM_CRD].reversed ? "reversed" : "forward");
        word(b, "icl_scale", l.term[PUPIL_TERM_ICL].as_released ? "raw" : "exp");
        word(b, "view", c->data.view.crop ? "random_resized_crop" : "whole");
        word(b, "view_policy", c->cache.independent_views ? "independent" : "same");
        number(b, "views", (double)c->cache.views);
        number(b, "captions", (double)c->cache.captions);
        word(b, "dtype", pupil_stored_name[c->cache.dtype]);
        pupil_buf_puts(b, "}");
    }
    pupil_buf_puts(b, "],\n");
}
