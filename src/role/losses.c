/* losses.c: the loss as the settings have it. */
#include "job.h"

#define TERM(T, name) [PUPIL_TERM_##T] = offsetof(pupil_conf_loss, name)
static const size_t place[] = {TERM(TASK, task),
                               TERM(SIGMOID, sigmoid),
                               TERM(CRD, crd),
                               TERM(ICL, icl),
                               TERM(CROSS_KD, cross_kd),
                               TERM(FD, fd),
                               TERM(GD, gd),
                               TERM(AFD, afd),
                               TERM(AFFINITY, affinity),
                               TERM(ENSEMBLE, ensemble),
                               TERM(SOFT_SIGMOID, soft_sigmoid),
                               TERM(HINTON, hinton),
                               TERM(LOGIT_STD, logit_std),
                               TERM(DIST, dist),
                               TERM(RKD_DISTANCE, rkd_distance),
                               TERM(RKD_ANGLE, rkd_angle),
                               TERM(VL, vl),
                               TERM(PVL, pvl),
                               TERM(UDIST, udist)};
_Static_assert(PUPIL_COUNT(place) == PUPIL_TERMS, "every term has its settings");

void pupil_role_loss_terms(const pupil_conf_loss *l, pupil_loss_conf *c)
{
    for (int i = 0; i < PUPIL_TERMS; i++) {
        const pupil_conf_term *t = (const pupil_conf_term *)((const char *)l + place[i]);
        c->term[i] = (pupil_loss_term){.weight = t->weight,
                                       .scale = t->scale,
                                       .tau = t->tau,
                                       .beta = t->beta,
                                       .gamma = t->gamma,
                                       .as_released = t->variant == PUPIL_VARIANT_AS_RELEASED,
                                       .sum = t->reduce == PUPIL_FD_SUM,
                                       .reversed = t->reversed,
                                       .raw = t->raw,
                                       .one_way = t->one_way,
                                       .sides = (pupil_loss_sides)t->sides};
    }
    c->plain_heads = l->plain_heads;
}

bool job_distils(const pupil_conf *c)
{
    pupil_loss_conf l = {0};
    pupil_role_loss_terms(&c->loss, &l);
    return c->student.text_of_teacher || pupil_loss_wants(&l, PUPIL_WANTS_TEACHER);
}
