/* terms.c: the table of terms, which is also the reference page, and the tensors a configuration trains. */
#include "parts.h"

#define T PUPIL_WANTS_TEACHER
#define H PUPIL_WANTS_HEADS

/* clang-format off */
const pupil_term_info pupil_term[PUPIL_TERMS] = {
    [PUPIL_TERM_TASK] = {"task", 0, {.weight = 1}, "1/2 [CE(D, s v t^T) + CE(D, s t v^T)]", "InfoNCE: CLIP, arXiv 2103.00020"},
    [PUPIL_TERM_SIGMOID] = {"sigmoid", PUPIL_WANTS_BIAS, {.weight = 1},
                            "-1/B sum_ij log sigmoid(y_ij (s v_i t_j + b)), y = 1 on the diagonal, else -1", "SigLIP, arXiv 2303.15343"},
    [PUPIL_TERM_CRD] = {"crd", T, {.weight = 1},
                        "1/2 [KL(sm(S V T^T) || sm(s v t^T)) + KL(sm(S T V^T) || sm(s t v^T))]; reversed: the student first",
                        "CLIP-KD, arXiv 2307.12732; reversed: nano-clip"},
    [PUPIL_TERM_ICL] = {"icl", T | H | PUPIL_WANTS_CROSS, {.weight = 1},
                        "1/2 [CE(D, c v' T^T) + CE(D, c t' V^T)]; c = exp(icl_scale), as released icl_scale itself",
                        "CLIP-KD, arXiv 2307.12732"},
    [PUPIL_TERM_CROSS_KD] = {"cross_kd", T | H | PUPIL_WANTS_CROSS, {.weight = 1},
                             "1/2 [KL(sm(S V T^T) || sm(c v' T^T)) + KL(sm(S T V^T) || sm(c t' V^T))]; c as for icl", "CLIP-KD's code"},
    [PUPIL_TERM_FD] = {"fd", T | H, {.weight = 2000},
                       "mean over elements of (v' - V)^2, and of (t' - T)^2; sum: over dimensions, mean over rows",
                       "CLIP-KD, arXiv 2307.12732; MFD is the same of a masked image"},
    [PUPIL_TERM_GD] = {"gd", T | H, {.weight = 1},
                       "mean squared difference of the gradients of CE(D, c p k^T) w.r.t. p and k, student's and teacher's, for (p,k) = "
                       "(v',t'), (t',v'); c the logit scale, as released its inverse (and a weight of 1e8)",
                       "CLIP-KD, arXiv 2307.12732"},
    [PUPIL_TERM_AFD] = {"afd", T | PUPIL_WANTS_FUSION, {.weight = 1},
                        "1/2 [CE(D, c f g^T) + CE(D, c g f^T)], f = normalise(A [v; V] + a), g = normalise(E [t; T] + e)",
                        "CLIP-KD, arXiv 2307.12732"},
    [PUPIL_TERM_AFFINITY] = {"affinity", T, {.weight = 1},
                             "1/2 [CE(sm(S V T^T), s v t^T) + CE(sm(S T V^T), s t v^T)]; scale pins s and S",
                             "TinyCLIP, ICCV 2023; open_clip's distillation"},
    [PUPIL_TERM_ENSEMBLE] = {"ensemble", T, {.weight = 1},
                             "1/2 [CE(mean_k sm(S_k V_k T_k^T), s v t^T) + CE(mean_k sm(S_k T_k V_k^T), s t v^T)]; scale pins S_k",
                             "MobileCLIP, arXiv 2311.17049"},
    [PUPIL_TERM_SOFT_SIGMOID] = {"soft_sigmoid", T | PUPIL_WANTS_BIAS, {.weight = 1},
                                 "-1/B sum_ij log sigmoid(y_ij (s v_i t_j + b)), y = 2 mean_k sigmoid(S_k V_k T_k^T + b_k) - 1",
                                 "MobileCLIP2, arXiv 2508.20691"},
    [PUPIL_TERM_HINTON] = {"hinton", T, {.weight = 1, .tau = 4},
                           "tau^2/2 [KL(sm(S V T^T / tau) || sm(s v t^T / tau)) + KL(sm(S T V^T / tau) || sm(s t v^T / tau))]",
                           "Hinton et al., arXiv 1503.02531"},
    [PUPIL_TERM_LOGIT_STD] = {"logit_std", T, {.weight = 9, .tau = 2},
                              "as hinton, of logits whose rows are standardised first", "Sun et al., CVPR 2024"},
    [PUPIL_TERM_DIST] = {"dist", T, {.weight = 1, .tau = 1, .beta = 1, .gamma = 1},
                         "tau^2 [beta (1 - mean pearson of rows) + gamma (1 - mean pearson of columns)] of sm(S V T^T / tau) and "
                         "sm(s v t^T / tau); mean of both directions",
                         "DIST, arXiv 2205.10536"},
    [PUPIL_TERM_RKD_DISTANCE] = {"rkd_distance", T, {.weight = 25},
                                 "mean_ij smooth_l1(|v_i - v_j| / mean, |V_i - V_j| / mean), and of t, T", "RKD, arXiv 1904.05068"},
    [PUPIL_TERM_RKD_ANGLE] = {"rkd_angle", T, {.weight = 50},
                              "mean_ijk smooth_l1(cos(v_i - v_j, v_k - v_j), cos(V_i - V_j, V_k - V_j)), and of t, T",
                              "RKD, arXiv 1904.05068"},
    [PUPIL_TERM_VL] = {"vl", T | H, {.weight = 0.7, .tau = 1, .sides = PUPIL_SIDES_IMAGE},
                       "KL(sm(c V T^T) || sm(c v' T^T)) + KL(sm(c T V^T) || sm(c T v'^T)), c = S / tau; sides text: t' with V",
                       "DIME-FM, arXiv 2303.18232"},
    [PUPIL_TERM_PVL] = {"pvl", T | H, {.weight = 0.3, .tau = 3, .sides = PUPIL_SIDES_IMAGE},
                        "2 KL(sm(c V V^T) || sm(c v' V^T)), c = S / tau; sides text: of t', T", "DIME-FM, arXiv 2303.18232"},
    [PUPIL_TERM_UDIST] = {"udist", T, {.weight = 1, .tau = 7, .sides = PUPIL_SIDES_IMAGE},
                          "2 KL(sm(c V V^T) || sm(c v v^T)), c = S / tau; sides text: of t, T", "DIME-FM, arXiv 2303.18232"},
};
/* clang-format on */
#undef T
#undef H

int pupil_term_find(const char *name)
{
    for (int t = 0; t < PUPIL_TERMS; t++)
        if (!strcmp(pupil_term[t].name, name)) return t;
    return -1;
}

void pupil_loss_defaults(pupil_loss_conf *c)
{
    for (int t = 0; t < PUPIL_TERMS; t++) {
        c->term[t] = pupil_term[t].init;
        c->term[t].weight = 0;
    }
}

bool pupil_loss_wants(const pupil_loss_conf *c, unsigned what)
{
    for (int t = 0; t < PUPIL_TERMS; t++)
        if (c->term[t].weight != 0 && pupil_term[t].wants & what) return true;
    return false;
}

double pupil_loss_total(const pupil_loss_conf *c, const double value[PUPIL_TERMS])
{
    double total = 0;
    for (int t = 0; t < PUPIL_TERMS; t++) total += c->term[t].weight * value[t];
    return total;
}

/* ---- trained tensors ------------------------------------------------------------------------------ */
typedef struct {
    pupil_loss_tensor *t;
    int n;
} tensors;

/* "loss.base", of teacher k > 0 "loss.base.k", then ".end". */
static pupil_loss_tensor *add(tensors *all, const char *base, int k, const char *end)
{
    pupil_loss_tensor *t = &all->t[all->n++];
    *t = (pupil_loss_tensor){.teacher = k};
    if (k) snprintf(t->name, sizeof t->name, "loss.%s.%d%s", base, k, end);
    else snprintf(t->name, sizeof t->name, "loss.%s%s", base, end);
    return t;
}

static void add_linear(tensors *all, const char *base, int k, int what, int64_t out, int64_t in)
{
    pupil_loss_tensor *w = add(all, base, k, ".weight");
    w->what = what, w->ndim = 2, w->dim[0] = out, w->dim[1] = in;
    w->normal = true, w->init = 1 / sqrt(3.0 * (double)in);
    pupil_loss_tensor *b = add(all, base, k, ".bias");
    b->what = what + 1, b->ndim = 1, b->dim[0] = out;
}

static void add_scalar(tensors *all, const char *base, int k, int what, double init)
{
    pupil_loss_tensor *t = add(all, base, k, "");
    t->what = what, t->init = init;
}

int pupil_loss_tensors(const pupil_loss_conf *c, pupil_loss_tensor ret[PUPIL_LOSS_TENSORS])
{
    tensors all = {ret, 0};
    double ln_scale = 2.659260036932778; /* ln(1/0.07) */
    for (int k = 0; k < c->teachers; k++) {
        int64_t ds = c->dim, dt = c->teacher[k].dim;
        if (ds != dt && pupil_loss_wants(c, PUPIL_WANTS_HEADS)) {
            add_linear(&all, "visual_proj", k, HEAD_W, dt, ds);
            add_linear(&all, "text_proj", k, HEAD2_W, dt, ds);
        }
        if (pupil_loss_wants(c, PUPIL_WANTS_CROSS)) add_scalar(&all, "icl_scale", k, CROSS_SCALE, ln_scale);
        if (!pupil_loss_wants(c, PUPIL_WANTS_FUSION)) continue;
        add_linear(&all, "visual_fusion_proj", k, FUSION_W, ds, ds + dt);
        add_linear(&all, "text_fusion_proj", k, FUSION2_W, ds, ds + dt);
        add_scalar(&all, "fusion_scale", k, FUSION_SCALE, ln_scale);
    }
    if (pupil_loss_wants(c, PUPIL_WANTS_BIAS)) add_scalar(&all, "logit_bias", 0, BIAS, -10); /* SigLIP's */
    return all.n;
}
