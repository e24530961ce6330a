/** eval: VQA and retrieval, scored by the official rules.
 *
 *  Pure functions on embeddings and answers; who computes the embeddings and on which rank is decided above
 *  (role). Everything is deterministic in its seed. Not collective.
 */
#ifndef PUPIL_EVAL_H
#define PUPIL_EVAL_H

#include "pupil/base.h"
#include "pupil/data.h"
#include "pupil/model.h"

/* ---- the official VQA v2 accuracy (GT-Vision-Lab/VQA vqaEval.py) ---------------------------------- */
/** processPunctuation then processDigitArticle, with all quirks, into a fresh string. White space and case are
 *  Unicode's, digits ASCII's. */
char *pupil_vqa_normalize(const char *answer);
/** Leave-one-out accuracy of `answer` against 10 answers: 0, 0.3, 0.6, 0.9 or 1 as vqaEval computes it: \n \t
 *  to spaces and strip always; normalisation of both sides only if the ten are not all identical then. */
double pupil_vqa_accuracy(const char *answer, char *const answers[10]);

typedef struct {
    char *name; /* question type or answer type; owned */
    int64_t n;
    double accuracy; /* percent, not rounded */
} pupil_vqa_group;
typedef struct {
    double overall; /* percent */
    int64_t n;
    pupil_vqa_group *question_type, *answer_type; /* in order of first appearance, as the official dictionaries */
    int n_question_type, n_answer_type;
    double *each; /* [n], 0 to 1 */
} pupil_vqa_score;
/** Score answer[i] for question i of the set, by the rules of the set's format (see pupil_score_answers()); questions whose
 *  answer is NULL are left out. */
void pupil_vqa_score_set(const pupil_vqa_set *set, char *const *answer, pupil_vqa_score *ret);
void pupil_vqa_score_free(pupil_vqa_score *s);
/** Python's round(x, decimals), as vqaEval rounds (it uses 2): ties by the exact binary value. decimals <= 30. */
double pupil_vqa_round(double x, int decimals);
/** The official accuracy file: {"overall": 73.37, "perQuestionType": {...}, "perAnswerType": {...}}, byte for byte
 *  as json.dump() writes it for ASCII names. */
void pupil_vqa_score_json(const pupil_vqa_score *s, int decimals, pupil_buf *out);

/* ---- every data set by its own rules --------------------------------------------------------------- */
/** TextVQA's normalisation (EvalAIAnswerProcessor of M4C's evaluator): lower case, no commas and question marks, " 's", then
 *  as pupil_vqa_normalize(). Fresh string. */
char *pupil_textvqa_normalize(const char *answer);
/** The choice that an answer to a multiple-choice question means, or -1: its letter alone, "B. ...", "The answer is B."
 *  (ScienceQA's rule as LLaVA has it), the choice's own text (A-OKVQA), or its index from 0 in digits. */
int pupil_choice_parse(const pupil_vqa_question *q, const char *answer);
/** POPE's rule: the first sentence without commas is "no" where one of its words is No, not or no; else it is "yes". */
bool pupil_pope_says_yes(const char *answer);

/** 95 % interval of the mean of x[n] by the bootstrap: 1,000 resamples of n drawn with replacement, percentiles 2.5 and
 *  97.5 with linear interpolation. A pure function of x, n and seed. */
typedef struct {
    double low, high;
} pupil_interval;
pupil_interval pupil_bootstrap(const double *x, int64_t n, uint64_t seed);

typedef struct {
    const char *by; /* "question type"; "perQuestionType" in JSON */
    pupil_vqa_group *group;
    int n;
} pupil_breakdown;
/** Answers of a category of yes-no questions; yes is positive. */
typedef struct {
    char *name;
    int64_t tp, fp, tn, fn;
} pupil_yes_no;
typedef struct {
    const char *name; /* "consistency"; its spaces are underscores in JSON */
    double value;
} pupil_figure;
typedef struct {
    pupil_vqa_format format;
    int64_t n;       /* answered questions that count */
    double accuracy; /* percent, not rounded */
    double *each;    /* [n], 0 to 1 */
    pupil_interval interval; /* of accuracy, percent */
    pupil_breakdown by[4];
    int n_by;
    pupil_figure more[6]; /* percent */
    int n_more;
    pupil_yes_no *category; /* POPE; the last one is all of them where there are several */
    int n_category;
    const char *left_out; /* what could not be computed, and why; NULL: nothing */
} pupil_score;
typedef struct {
    char *const *answer;       /* [set->n]; NULL: none, the question is left out */
    const double *answerable;  /* VizWiz; or NULL */
    const uint8_t *valid, *plausible; /* GQA, as pupil_vqa_choices_check() finds them; or NULL */
} pupil_answered;
/** - VQA v2, OK-VQA: pupil_vqa_accuracy(), by question type and answer type;
 *  - TextVQA: the soft accuracy of M4C's evaluator;
 *  - VizWiz: its evaluation code: the answer is normalised, the annotators' are not; by answer type; F1 of "unanswerable" (and
 *    average precision, where `answerable` is given);
 *  - GQA: exact match over the balanced questions; binary and open, by structural, semantic and detailed type; validity and
 *    plausibility with the choices; consistency where all entailed questions are answered; "lenient": lower case, without
 *    final periods, as LLaVA converts its answers;
 *  - multiple choice: pupil_choice_parse(), by category;
 *  - POPE: pupil_pope_says_yes(), by category.
 *  `seed`: of the interval. */
void pupil_score_answers(const pupil_vqa_set *set, const pupil_answered *a, uint64_t seed, pupil_score *ret);
void pupil_score_free(pupil_score *s);
/** One JSON object; of VQA v2 the official accuracy file, pupil_vqa_score_json() with 2 decimals. Other percentages are
 *  not rounded; POPE's figures are fractions, as its evaluation has them. */
void pupil_score_json(const pupil_score *s, pupil_buf *out);
/** Lines for a person. */
void pupil_score_text(const pupil_score *s, pupil_buf *out);

/* ---- the answer list and soft targets ------------------------------------------------------------- */
typedef struct {
    char **answer;
    int n;
    struct pupil_names *index; /* private: where an answer is found */
} pupil_answers;
/** Normalised multiple_choice_answer strings of the training set seen >= min_count times, in order of first
 *  appearance (kd-methods 3.3: the list is stored, never recomputed from hash order). */
void pupil_answers_build(const pupil_vqa_set *train, int min_count, pupil_answers *ret);
/** A list as it was stored: n distinct answers, copied. */
void pupil_answers_of(char *const *answer, int n, pupil_answers *ret);
int pupil_answers_find(const pupil_answers *a, const char *answer); /* its index, or -1 */
void pupil_answers_free(pupil_answers *a);
/** target[n]: 0, .3, .6, .9, 1 by the number of the ten annotators who gave each listed answer, word for word
 *  (annotators' strings are not normalised here, as in the published recipe). */
void pupil_answers_target(const pupil_answers *a, const pupil_vqa_question *q, float *target);

/* ---- the probe ------------------------------------------------------------------------------------ */
typedef enum { PUPIL_PROBE_FULL, PUPIL_PROBE_QUESTION, PUPIL_PROBE_IMAGE } pupil_probe_inputs;
typedef struct {
    pupil_probe_inputs inputs;
    int64_t dim; /* embedding width d; inputs are [v; q; v*q; |v-q|] (4d), q alone, or v alone */
    int64_t hidden, epochs, batch;
    double lr;
    uint64_t seed;
} pupil_probe_conf;
/** Embeddings of images [n_images][dim] and, per question, of its text [n][dim]; both L2-normalised here. */
typedef struct {
    const float *image, *question;
    const int64_t *image_row; /* per question: its row in `image` */
    int64_t n_images, n;
} pupil_probe_data;
/** What the probe sees of question i of some data: rows normalised, standardised by the columns of the training data. */
typedef struct pupil_pooled pupil_pooled;
pupil_pooled *pupil_pooled_new(pupil_probe_inputs inputs, int64_t dim, const pupil_probe_data *train);
void pupil_pooled_free(pupil_pooled **p);
int64_t pupil_pooled_width(const pupil_pooled *p);
void pupil_pooled_row(const pupil_pooled *p, const pupil_probe_data *data, int64_t i, float *ret);
/** Train on `train` with soft-label BCE (sum over answers, mean over the batch), AdamW, cosine; predict the
 *  argmax answer of each test question into ret_answer[n_test] (indices in the answer list). Two layers:
 *  Linear -> GELU -> Linear. `tick(ctx, epochs done, of)` may be NULL. Uses the calling thread's BLAS only.
 *  target: [train->n][n_answers]. PUPIL_ENUMERIC if the loss leaves the finite numbers. */
int pupil_probe_run(const pupil_probe_conf *c, const pupil_probe_data *train, const float *target, int n_answers,
                    const pupil_probe_data *test, int32_t *ret_answer, void (*tick)(void *, int64_t, int64_t), void *ctx);
/** The "majority" baseline: for each question of `test` the index of the answer most frequent in `train` for its
 *  type (over all types where training has none of it); ties to the lower index. `a` must not be empty. */
void pupil_majority_answers(const pupil_vqa_set *train, const pupil_answers *a, const pupil_vqa_set *test,
                            int32_t *ret_answer);

/** The same for the k most frequent ones: ret[test->n][k], in descending order, -1 behind the last. */
void pupil_frequent_answers(const pupil_vqa_set *train, const pupil_answers *a, const pupil_vqa_set *test, int k, int32_t *ret);

/* ---- heads on token features ------------------------------------------------------------------------ */
/** Token features of n things, packed: those of thing i are rows first[i] .. first[i+1]-1 of f16[first[n]][width]. */
typedef struct {
    uint16_t *f16;
    int64_t *first, n, width;
} pupil_tokens;
void pupil_tokens_free(pupil_tokens *t);

/** The generative reader: patch tokens -> two-layer GELU projector -> causal decoder of Llama's form (RMS norm, rotary
 *  positions, SwiGLU, grouped queries, output tied to the embedding), after LLaVA. */
typedef struct {
    int64_t image_width;    /* of token features; 0: it sees no picture */
    int64_t vocab, longest; /* ids; most rows of a sequence, patches and ids together */
    int64_t width, layers, heads, kv_heads, mlp;
    int64_t head_width; /* 0: width / heads */
    double eps, theta;  /* of norms, of rotary positions; 0: 1e-5, 10000 */
    bool untied;        /* the output has a matrix of its own */
    bool frozen;        /* the projector alone is trained */
} pupil_reader_arch;
/** MLP width for a width: 8/3 of it, in sixteens. */
int64_t pupil_reader_mlp(int64_t width);
typedef struct pupil_reader pupil_reader;
pupil_reader *pupil_reader_new(const pupil_reader_arch *a);
void pupil_reader_free(pupil_reader **r);
/** Its tensors; the flat array is the caller's. The first `trained` floats of it are trained. */
const pupil_table *pupil_reader_table(const pupil_reader *r);
int64_t pupil_reader_trained(const pupil_reader *r);
/** A published decoder of Llama's form: config.json (transformers' LlamaConfig) and model.safetensors in a folder. Its sizes into
 *  ret (vocab: all of it), and the ids that begin and end a text. PUPIL_EFORMAT naming file, key and value where something would
 *  be computed otherwise than here. */
int pupil_decoder_arch(const char *dir, pupil_reader_arch *ret, int32_t *ret_begin, int32_t *ret_end);
/** Its weights into the reader's flat array: row i of embedding and output is that of id[i], id[r's vocab]. */
int pupil_decoder_load(const char *dir, const pupil_reader *r, const int32_t *id, float *params);
/** A text about a picture: image[image_rows][image_width], then ids[n], of which ids[given..n-1] are to be said. */
typedef struct {
    const uint16_t *image;
    int64_t image_rows;
    const int32_t *ids;
    int32_t n, given; /* 1 <= given < n in training */
} pupil_reading;
/** Sum over all ids to be said of -log p, times `scale`; grads[trained] += its gradient. */
double pupil_reader_gradient(pupil_reader *r, const float *params, const pupil_reading *item, int64_t n, double scale, float *grads);
/** Continue ids[0..given-1] of each greedily (the lower id of equals) up to id `stop` or `most` ids: ret_ids[n][most] and
 *  ret_n[n], without `stop`. Keys and values of earlier rows are kept, so that a further id costs one row. */
void pupil_reader_continue(pupil_reader *r, const float *params, const pupil_reading *item, int64_t n, int32_t stop, int64_t most,
                           int32_t *ret_ids, int32_t *ret_n);

/** The fusion head, after METER: tokens of the picture and of the question, each through a linear layer, then co-attention
 *  layers (each stream looks at itself, at the other, then its MLP); both means, and what the probe sees of the pooled
 *  embeddings -> Linear -> GELU -> one logit an answer. */
typedef struct {
    int64_t image_width, text_width, width, layers, heads, mlp, answers;
    int64_t pooled; /* width of the probe's features */
} pupil_fusion_arch;
typedef struct pupil_fusion pupil_fusion;
pupil_fusion *pupil_fusion_new(const pupil_fusion_arch *a);
void pupil_fusion_free(pupil_fusion **f);
const pupil_table *pupil_fusion_table(const pupil_fusion *f);
/** Let training begin at the answers' prior: their output biases become the log-odds of their mean targets [n][answers]. */
void pupil_fusion_start(const pupil_fusion *f, const float *target, int64_t n, float *params);
typedef struct {
    const float *image, *text;
    int64_t image_rows, text_rows;
    float *dimage, *dtext; /* gradient makes them d/d(image), d/d(text); NULL: not wanted, of all items alike */
    const float *pooled; /* [arch.pooled] */
    const float *target; /* [answers]; not looked at by answer */
} pupil_fusing;
/** Sum over questions and answers of the BCE with soft labels, times `scale`; grads += its gradient. */
double pupil_fusion_gradient(pupil_fusion *f, const float *params, const pupil_fusing *item, int64_t n, double scale, float *grads);
void pupil_fusion_answer(pupil_fusion *f, const float *params, const pupil_fusing *item, int64_t n, int32_t *ret_answer);

/* ---- retrieval ------------------------------------------------------------------------------------ */
typedef struct {
    double r1, r5, r10; /* fractions */
    double mean_rank, median_rank; /* 1-based; median as open_clip: floor of the 0-based median, plus 1 */
} pupil_recall;
/** From 0-based ranks. */
pupil_recall pupil_recall_of(const int64_t *rank, int64_t n);
/** Ranks (0: first) of images[images][dim] and texts[texts][dim], any scale, text j being of image image_of[j]: of_text[j] is
 *  the rank of its image among the images, of_image[i] that of its best-placed text among the texts (`texts` if it has
 *  none). rank = greater scores + equal scores at a lower index. Either result may be NULL. With one text an image this is
 *  open_clip's square protocol; with five it is CLIP_benchmark's, any of an image's captions being a hit. Memory: the ranks
 *  and one tile of 256 x 256. PUPIL_ENUMERIC | PUPIL_EUSER */
int pupil_retrieval_ranks(const float *image, int64_t images, const float *text, int64_t texts, int64_t dim,
                          const int64_t *image_of, int64_t *ret_of_image, int64_t *ret_of_text);
/** The same from a similarity matrix [images][texts]. */
void pupil_retrieval_matrix_ranks(const double *similarity, int64_t images, int64_t texts, const int64_t *image_of,
                                  int64_t *ret_of_image, int64_t *ret_of_text);
/** Square protocol (open_clip): pair i<->i over n rows of image[n][dim] and text[n][dim], any scale (normalised
 *  here). */
int pupil_retrieval_square(const float *image, const float *text, int64_t n, int64_t dim, pupil_recall *ret_image_to_text,
                           pupil_recall *ret_text_to_image);
/** The same from a similarity matrix [n][n] (tests, and the pixel baseline). */
void pupil_retrieval_matrix(const double *similarity, int64_t n, pupil_recall *ret_image_to_text,
                            pupil_recall *ret_text_to_image);
/** Nearest neighbour on pixels: each test picture is given the caption of the nearest training picture; R@1 =
 *  fraction whose group id equals. train/test: [n][bytes] u8. Label arrays are caller-defined ids. */
double pupil_pixel_nearest(const uint8_t *train, const int64_t *train_label, int64_t n_train, const uint8_t *test,
                           const int64_t *test_label, int64_t n_test, int64_t bytes);

/* ---- zero-shot ------------------------------------------------------------------------------------- */
/** A class's weights are normalise(mean of its templates' normalised text embeddings). text[classes][templates][dim]. */
void pupil_zero_shot_weights(const float *text, int64_t classes, int64_t templates, int64_t dim, float *ret);
/** 0-based rank of each picture's class label[i] among all classes, or among subset[n_subset] (class indices, as ImageNet-R
 *  and -A have them): rank 0 is top-1, below 5 top-5; ties as in retrieval. PUPIL_ENUMERIC | PUPIL_EUSER: a label outside. */
int pupil_zero_shot_ranks(const float *image, int64_t n, int64_t dim, const float *weights, int64_t classes, const int64_t *subset,
                          int64_t n_subset, const int64_t *label, int64_t *ret_rank);
/** Which of n candidate texts is nearest to the picture by cosine; the first of equals. */
int64_t pupil_nearest_text(const float *image, const float *text, int64_t n, int64_t dim);

/* ---- what an embedding is like ---------------------------------------------------------------------- */
/** Linear CKA of x[n][dx] and y[n][dy] (Kornblith et al., 2019): |Y'X|^2 / (|X'X| |Y'Y|), columns centred; in double. */
double pupil_linear_cka(const float *x, int64_t dx, const float *y, int64_t dy, int64_t n);
/** KL(teacher || student) of softmax(scale v t') over the n texts of each image and over the n images of each text, mean over
 *  rows and both directions; unit rows. (TinyCLIP, CLIP-KD: what CRD distils.) */
typedef struct {
    const float *image, *text;
    int64_t dim;
    double scale;
} pupil_pairs_of;
double pupil_affinity_kl(const pupil_pairs_of *teacher, const pupil_pairs_of *student, int64_t n);
/** Mean squared distance of the unit rows of pairs (Wang & Isola, 2020; alpha 2). */
double pupil_alignment(const float *image, const float *text, int64_t n, int64_t dim);
/** log of the mean of exp(-2 |x_i - x_j|^2) over pairs of unit rows (ibid., t = 2); 0 for one row. */
double pupil_uniformity(const float *x, int64_t n, int64_t dim);
/** exp(entropy of the singular values of the unit rows, as shares) (Roy & Vetterli, 2007; RankMe); 1 to min(n, dim). */
double pupil_effective_rank(const float *x, int64_t n, int64_t dim);

/* ---- rows of results --------------------------------------------------------------------------------- */
/** One figure: "retrieval.square", "text_to_image_r1". */
typedef struct {
    char protocol[40], metric[40];
    int64_t n;    /* questions, pictures, pairs */
    double value; /* percentages as such, 0 to 100 */
    bool has_interval;
    pupil_interval interval;
} pupil_row;
typedef struct {
    pupil_row *row;
    int64_t n, cap;
} pupil_rows;
void pupil_rows_add(pupil_rows *r, const char *protocol, const char *metric, double value, int64_t n);
/** 100 times the mean of x[n], with its bootstrap interval. */
void pupil_rows_add_mean(pupil_rows *r, const char *protocol, const char *metric, const double *x, int64_t n, uint64_t seed);
/** r1, r5, r10 (percent, with intervals), mean_rank and median_rank of 0-based ranks, their names behind `prefix`. */
void pupil_rows_add_ranks(pupil_rows *r, const char *protocol, const char *prefix, const int64_t *rank, int64_t n, uint64_t seed);
void pupil_rows_free(pupil_rows *r);
/** Objects of one line each, to stand in a list: {"model", "protocol", "metric", "n", "value", "interval"}. */
void pupil_rows_json(const pupil_rows *r, const char *model, const char *between, pupil_buf *out);
/** Lines for a person, one a protocol. */
void pupil_rows_text(const pupil_rows *r, pupil_buf *out);

/** Where rows come from. A file of rows (results.jsonl) has one line a row: these fields and those above. */
typedef struct {
    const char *model, *model_digest, *data_digest, *split;
    const char *key; /* digest of everything they depend on */
    uint64_t seed;
} pupil_rows_about;
/** Add rows at the end of a file, all or none of them. */
int pupil_rows_append(const char *path, const pupil_rows_about *a, const pupil_rows *r);
/** The rows of this key; PUPIL_ENOTFOUND: none. Lines that are no rows are passed over. */
int pupil_rows_read(const char *path, const char *key, pupil_rows *ret);

#endif
