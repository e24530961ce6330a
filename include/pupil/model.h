/** model: a table of tensors and two walks over it; safetensors in and out.
 *
 *  A CLIP model is an architecture, a table (name, shape, offset, init, decay) and one flat array of floats. The
 *  table is the checkpoint index, the reduction plan and the optimiser's map; names are open_clip's, so
 *  model.safetensors is an open_clip checkpoint. Not collective, all of it; nothing here knows of ranks.
 */
#ifndef PUPIL_MODEL_H
#define PUPIL_MODEL_H

#include "pupil/base.h"
#include "pupil/conf.h"
#include "pupil/math.h"

/* ---- the table ---------------------------------------------------------------------------------- */
typedef enum { PUPIL_INIT_CONST, PUPIL_INIT_NORMAL } pupil_init;
typedef struct {
    char name[96];
    int ndim;
    int64_t shape[4];
    int64_t offset, count; /* in floats; offsets are multiples of 16, gaps are zero */
    pupil_init init;
    double value; /* the constant, or the standard deviation */
    bool decay;   /* weight decay applies: two dimensions or more */
    bool frozen;  /* stays as it is; its gradient need not be made */
} pupil_tensor;
typedef struct {
    pupil_tensor *t;
    int64_t n, cap;
    int64_t total; /* floats of the flat array */
} pupil_table;
/** Append a tensor; returns its offset. */
int64_t pupil_table_add(pupil_table *t, const char *name, int ndim, const int64_t *shape, pupil_init init, double value);
const pupil_tensor *pupil_table_find(const pupil_table *t, const char *name); /* or NULL */
/** Fill params[total] from (seed, tensor name): the same on every rank. */
void pupil_table_init(const pupil_table *t, uint64_t seed, float *params);
/** The part-th of `of` equal parts of that, into params that are zero. */
void pupil_table_init_part(const pupil_table *t, uint64_t seed, int part, int of, float *params);
void pupil_table_free(pupil_table *t);

/* ---- architecture ------------------------------------------------------------------------------- */
/** One transformer: pre-norm blocks, x += out(attention(ln1 x)); x += proj(mlp(ln2 x)). */
typedef struct {
    int64_t width, layers, heads, mlp;
    pupil_activation act;
    double eps; /* of every layer norm */
} pupil_tower_arch;
typedef enum { PUPIL_POOL_CLASS, PUPIL_POOL_MAP } pupil_pool; /* class token | attention pooling (SigLIP's MAP head) */

/** Every family is a choice of these parts:
 *            class  pre  patch         image        blocks                          text
 *            token  norm bias  pool    projection   of the image tower              tower
 *  CLIP      yes    yes  no    class   matrix       plain                           causal, matrix
 *  SigLIP    no     no   yes   MAP     none         plain                           all to all, linear with bias; logit bias
 *  EVA02     yes    no   yes   class   linear+bias  RoPE, SwiGLU, inner norms, no   as CLIP, under "text."
 *                                                   k bias (EVA01: only no k bias)
 *  PE-Core   yes/no yes  no    MAP     linear+bias  RoPE                            as CLIP, under "text." */
typedef struct {
    pupil_tower_arch image, text; /* text.layers 0: a model without a text tower, in memory only */
    int64_t image_size, patch, context, vocab, embed_dim;

    bool class_token, pre_norm, patch_bias;
    pupil_pool pool;
    int64_t pool_heads, pool_mlp;                     /* MAP */
    enum { PUPIL_PROJ_NONE, PUPIL_PROJ_MATRIX, PUPIL_PROJ_LINEAR } image_proj;
    bool rope, rope_xy;                               /* on patches, not on the class token; xy: columns first */
    double rope_reference, rope_offset;               /* patch i of n stands at (i + offset) / n * reference; 0: at i + offset */
    bool swiglu, inner_norm, no_k_bias;               /* swiglu: mlp is the width of each half */
    bool trunk_names;                                 /* timm's names under visual.trunk., else open_clip's own ViT */

    bool text_all_to_all;                             /* no causal mask; pooled at the last position, padded to the context */
    bool text_proj_bias;                              /* linear [embed_dim, width] with bias, else matrix [width, embed_dim] */
    bool text_prefix;                                 /* open_clip's custom_text: names under text. */
    bool logit_bias;

    double mean[3], std[3];  /* preprocess_cfg */
    char interpolation[12];  /* "bicubic" | "bilinear" */
    char resize_mode[12];    /* "shortest" | "shortest-hf" (Hugging Face's rounding of the crop) | "squash" | "longest" */
} pupil_arch;
/** CLIP's choices, OpenAI's mean and std, and no sizes: what the readers of configurations begin with. */
pupil_arch pupil_arch_clip(void);
/** "CLIP", "SigLIP", "EVA02", "EVA01" or "PE-Core": which row of the table above it is. */
const char *pupil_arch_family(const pupil_arch *a);
/** Architecture of a model section; `vocab` comes from the tokenizer. PUPIL_EUSER: unknown preset (names the
 *  known ones), sizes that do not divide, or what the preset and the keys leave open. `what`: "student.model". */
int pupil_arch_from_conf(const pupil_conf_model *conf, int64_t vocab, const char *what, pupil_arch *ret);
/** The architecture of `base` but for the sizes that the section gives. Where it gives none, heads keep their width, and
 *  MLPs and attention pooling grow and shrink with their tower. PUPIL_EUSER as above. */
int pupil_arch_like(const pupil_arch *base, const pupil_conf_model *conf, const char *what, pupil_arch *ret);
/** A published configuration: open_clip's ({"model_cfg": ..., "preprocess_cfg": ...}), or Hugging Face's config.json of
 *  CLIPModel or SiglipModel ("model_type") with the preprocessor_config.json in its folder (without one the family's
 *  defaults, and a line in the log). What would be computed otherwise than there is PUPIL_EFORMAT naming file, key, value. */
int pupil_arch_from_json(const char *path, pupil_arch *ret);
/** open_clip's, for every family: what open_clip builds from it, and pupil_arch_from_json() reads as the same. */
void pupil_arch_to_json(const pupil_arch *a, pupil_buf *out);
/** Hugging Face's config.json and preprocessor_config.json, for CLIP and SigLIP. PUPIL_EUSER naming what does not fit. */
int pupil_arch_to_hf(const pupil_arch *a, pupil_buf *config, pupil_buf *preprocessor);
/** Patches of a picture. */
int64_t pupil_arch_patches(const pupil_arch *a);
/** Rows of the image tower: patches, and the class token before them where there is one. */
int64_t pupil_arch_tokens(const pupil_arch *a);
/** Multiply-add counts x2 of one forward pass: per image, and per caption of `tokens` tokens. */
double pupil_arch_image_flops(const pupil_arch *a);
double pupil_arch_patches_flops(const pupil_arch *a, int64_t patches); /* of an image of which so many patches are seen */
double pupil_arch_text_flops(const pupil_arch *a, double tokens);

/* ---- the model ---------------------------------------------------------------------------------- */
typedef struct pupil_clip pupil_clip;
pupil_clip *pupil_clip_new(const pupil_arch *arch);
void pupil_clip_free(pupil_clip **c);
const pupil_arch *pupil_clip_arch(const pupil_clip *c);
/** The table; the caller may append tensors of its own (projection heads) before allocating parameters. */
pupil_table *pupil_clip_table(pupil_clip *c);
int64_t pupil_clip_params(const pupil_clip *c, int tower); /* parameters of tower 0 (image), 1 (text), -1 (all) */

/** Freeze a part of the model: "image", "text", "logit_scale", or of a tower (image.PART, text.PART) its "stem" (embeddings,
 *  positions, class token), "blocks", "blocks.3", "blocks.0-5" or "head" (last norm, pooling, projection). Backward then stops
 *  above the frozen parts at a tower's beginning. PUPIL_EUSER saying what was expected. */
int pupil_clip_freeze(pupil_clip *c, const char *part);

/** Activations of one micro-batch, and the scratch backward needs (one for many activations). */
typedef struct pupil_acts pupil_acts;
/** Room for `batch` pairs. keep: backward will follow; else layers share memory (inference). */
pupil_acts *pupil_acts_new(const pupil_clip *c, int64_t batch, bool keep);
/** The same with room for `captions` texts of each image. */
pupil_acts *pupil_acts_new_captions(const pupil_clip *c, int64_t batch, int64_t captions, bool keep);
void pupil_acts_free(pupil_acts **a);
typedef struct pupil_scratch pupil_scratch;
pupil_scratch *pupil_scratch_new(const pupil_clip *c, int64_t batch);
void pupil_scratch_free(pupil_scratch **s);
/** Backward with this scratch says which elements [first, end) of grads get no more in that pass, from a tower's end to its
 *  beginning. call NULL: says nothing. */
typedef struct {
    void (*call)(void *ctx, int64_t first, int64_t end);
    void *ctx;
} pupil_grads_final;
void pupil_scratch_tell(pupil_scratch *s, pupil_grads_final tell);

/** Where the floats of a model come from. Belongs to one thread. */
typedef struct pupil_weights pupil_weights;
/** The flat array params[table total], borrowed. */
pupil_weights *pupil_weights_flat(const float *params);
/** A checkpoint in open_clip's or Hugging Face's layout (a safetensors file or its index), mapped: one copy a node, in its
 *  own number format, unpacked a block at a time as forward walks through it. Every value is checked here to be finite.
 *  Tensors of floats that this architecture has no place for are named in the log: they would have been used there.
 *  Tensors that the caller appended to c's table (names beginning with "loss.") are left out. PUPIL_ENOTFOUND | PUPIL_EFORMAT
 *  | PUPIL_ENUMERIC naming file and tensor. `c` must outlive it. */
int pupil_weights_open(const char *path, pupil_clip *c, pupil_weights **ret);
/** All of it into the flat array of c's table. */
void pupil_weights_copy(pupil_weights *w, const pupil_clip *c, float *params);
void pupil_weights_free(pupil_weights **w);

/** out[n,embed_dim] = image features, projected, not normalised, of images[n,3,S,S] (normalised pixels). */
void pupil_image_forward(const pupil_clip *c, pupil_weights *w, pupil_acts *a, pupil_scratch *s, const float *images,
                         int64_t n, float *out);
/** The same of some patches alone: image i's are patch[i*kept] .. patch[(i+1)*kept-1], ascending, at the positions they have in
 *  the whole grid (kept 0: all). A shorter sequence, so that much faster. Not for models with rotary positions. */
void pupil_image_forward_patches(const pupil_clip *c, pupil_weights *w, pupil_acts *a, pupil_scratch *s, const float *images,
                                 int64_t n, const int32_t *patch, int64_t kept, float *out);
/** grads += d/dparams of what is not frozen (and of some that is); dimages[n,3,S,S] (may be NULL) = d/dimages, with nothing
 *  frozen and of all patches. After forward with the same acts, over the flat
 *  array params. */
void pupil_image_backward(const pupil_clip *c, const float *params, pupil_acts *a, pupil_scratch *s, const float *dout,
                          float *grads, float *dimages);
/** Captions packed: caption i is ids[cu[i]] .. ids[cu[i+1]-1]. Its last id is pooled: the end token of a causal tower, whose
 *  output there does not depend on padding, so none is carried (DESIGN 5.10); the last of the context where the
 *  tower is all-to-all (arch.text_all_to_all), which sees its padding. */
void pupil_text_forward(const pupil_clip *c, pupil_weights *w, pupil_acts *a, pupil_scratch *s, const int32_t *ids,
                        const int32_t *cu, int64_t n, float *out);
void pupil_text_backward(const pupil_clip *c, const float *params, pupil_acts *a, pupil_scratch *s, const float *dout,
                         float *grads);
/** Token features of the last forward pass: the rows that enter the tower's last block (LLaVA-1.5's choice: where one row
 *  leaves the tower, what the last block makes of the others was never trained), each with mean 0 and variance 1.
 *  out[n * pupil_arch_tokens(), image.width]; of texts [cu[n], text.width]. */
void pupil_image_tokens(const pupil_clip *c, const pupil_acts *a, float *out);
void pupil_text_tokens(const pupil_clip *c, const pupil_acts *a, float *out);
/** grads += d/dparams, given d/d(those features), after forward with the same acts (made with keep) over the flat array params.
 *  What is frozen gets its gradient, too; the last block and what follows it get none. */
void pupil_image_tokens_backward(const pupil_clip *c, const float *params, pupil_acts *a, pupil_scratch *s, const float *dout, float *grads);
void pupil_text_tokens_backward(const pupil_clip *c, const float *params, pupil_acts *a, pupil_scratch *s, const float *dout, float *grads);
/** exp(logit_scale), and logit_bias (0 where there is none). */
double pupil_clip_scale(const pupil_clip *c, pupil_weights *w);
double pupil_clip_bias(const pupil_clip *c, pupil_weights *w);
int64_t pupil_clip_scale_offset(const pupil_clip *c);
/** Bytes of activations for `batch` pairs with captions of `tokens` tokens on average. */
double pupil_acts_bytes(const pupil_arch *a, int64_t batch, double tokens, bool keep);

/* ---- a smaller model from a larger one ------------------------------------------------------------ */
/** Fill params of `to`'s table with a part of the model `from`, as TinyCLIP's manual inheritance does (arXiv 2309.12314):
 *  - layer l of L is layer l * floor(L_from / L);
 *  - of width, MLP and embedding the first channels, of each layer's heads the first; a head keeps its width;
 *  - magnitude: instead of the first the strongest, those with the largest root of the sum of squares of all matrix
 *    elements that belong to them in the layers taken; they stay in their order. Channels are the same ones all along a tower,
 *    embedding dimensions the same in both towers; heads and MLP channels are chosen in each layer;
 *  - positions of the image tower: resized as open_clip does it (bicubic, antialiased) where the grid differs; of a causal
 *    text tower the first.
 *  A model of the same sizes is the same model, bit for bit. Tensors that the caller appended (named "loss.") are left alone.
 *  PUPIL_EUSER where `to` is of another family, or larger in some part, naming that part after `what`. */
int pupil_inherit(pupil_clip *from, pupil_weights *weights, pupil_select select, pupil_clip *to, float *params, const char *what);
/** The text tower of `from`, of the same sizes, into params of to's table. */
void pupil_take_text(const pupil_clip *from, pupil_weights *weights, const pupil_clip *to, float *params);
/** That it can be done, from the architectures alone. */
int pupil_inherit_check(const pupil_arch *from, const pupil_arch *to, const char *what);
/** The bicubic resizing alone: to[n2*n2, width] from[n*n, width], as torch.nn.functional.interpolate(mode="bicubic",
 *  antialias=True, align_corners=False). */
void pupil_positions_resize(float *to, int64_t n2, const float *from, int64_t n, int64_t width);

/** The same sizes but for the MLPs' widths: of each layer the channels with the largest strength[tower][layer * mlp + channel]. */
int pupil_inherit_channels(pupil_clip *from, pupil_weights *weights, const float *const strength[2], pupil_clip *to, float *params,
                           const char *what);

/* ---- learned masks of MLP channels ---------------------------------------------------------------- */
/** Where the masks' parameters stand in the table (names beginning with "loss.mask."); by tower: image, text. */
typedef struct {
    int64_t first;          /* all that stands from here on is theirs */
    int64_t n[2], alpha[2]; /* log alpha [layers * mlp]; n 0: there is no such tower */
    int64_t multipliers[2]; /* [2]: of the missing sparsity and of its square */
} pupil_masks;
typedef struct {
    uint64_t seed, step; /* step below 2^32 */
} pupil_mask_draw;
/** PUPIL_EUSER where a model of fewer MLP channels would not be the masked one. */
int pupil_masks_check(const pupil_arch *a, const char *what);
/** Append them to c's table, as the last tensors. */
void pupil_masks_add(pupil_clip *c, pupil_masks *ret);
/** masked[total] = params with every MLP channel times its gate: a hard-concrete sample, or (draw NULL) the gate without noise. */
void pupil_masks_apply(const pupil_clip *c, const pupil_masks *m, const float *params, const pupil_mask_draw *draw, float *masked);
/** grads, d/d(masked weights of this draw), become d/d(weights); those of log alpha += theirs. */
void pupil_masks_backward(const pupil_clip *c, const pupil_masks *m, const float *params, const pupil_mask_draw *draw, float *grads);
/** Expected share of a tower's closed gates. */
double pupil_masks_sparsity(const pupil_masks *m, const float *params, int tower);
/** Sum over towers of l1 d + l2 d^2, d = max(0, target - sparsity), and its gradient += ; of the multipliers with the opposite
 *  sign, so that descent is their ascent. */
double pupil_masks_penalty(const pupil_masks *m, const float *params, double target, float *grads);
/** log alpha to +-ln 100. */
void pupil_masks_clamp(const pupil_masks *m, float *params);
/** c's architecture with MLPs of as many channels as are expected to be open, the same number in all layers of a tower. */
pupil_arch pupil_masks_arch(const pupil_clip *c, const pupil_masks *m, const float *params);
/** The strongest channels, times their gates without noise, into a model of that architecture. */
int pupil_masks_fuse(pupil_clip *c, const pupil_masks *m, const float *params, pupil_clip *to, float *to_params);

/* ---- safetensors -------------------------------------------------------------------------------- */
typedef struct pupil_safetensors pupil_safetensors;
/** A tensor where it lies in the mapped file, in its own number format. Borrowed. */
typedef enum { PUPIL_ST_F32, PUPIL_ST_F16, PUPIL_ST_BF16, PUPIL_ST_OTHER } pupil_st_type;
typedef struct {
    const char *name, *file, *dtype; /* dtype: as the file has it, "F32", "F8_E4M3"; file: the shard */
    pupil_st_type type;
    int ndim;
    int64_t shape[8], count; /* dimensions may be 0 */
    const void *data;
} pupil_st_tensor;
/** Map a file and check its header: sizes, overlaps, names, dtypes. A name that ends in ".index.json" is an index of
 *  shards: {"weight_map": {tensor: file}}, files being plain names in its folder; all are mapped. PUPIL_EFORMAT names
 *  file and tensor; PUPIL_EIO for what is no regular file; PUPIL_ENOTFOUND. */
int pupil_safetensors_open(const char *path, pupil_safetensors **ret);
void pupil_safetensors_close(pupil_safetensors **s);
/** SHA-256 of the one file; of shards: over their names and SHA-256s, in order of names. */
int pupil_safetensors_digest(const char *path, char ret_hex[65]);
/** False if there is no such tensor. */
bool pupil_safetensors_find(const pupil_safetensors *s, const char *name, pupil_st_tensor *ret);
/** Elements first .. first+n-1 as float32. PUPIL_EFORMAT: not a floating type | PUPIL_ENUMERIC: a value is not finite;
 *  both name file and tensor. */
int pupil_st_unpack(const pupil_st_tensor *t, int64_t first, int64_t n, float *out);
/** Copy a tensor as float32; its shape must be ndim/shape (trailing 1s do not count). PUPIL_ENOTFOUND | PUPIL_EFORMAT |
 *  PUPIL_ENUMERIC (a value that is not finite). */
int pupil_safetensors_read(const pupil_safetensors *s, const char *name, int ndim, const int64_t *shape, float *out);
bool pupil_safetensors_has(const pupil_safetensors *s, const char *name);
/** Tensor i of the file or of all shards, in order of names; false from the last on. */
bool pupil_safetensors_at(const pupil_safetensors *s, int64_t i, pupil_st_tensor *ret);
/** What is to be written: data[product of shape]. Borrowed. */
typedef struct {
    const char *name;
    int ndim;
    int64_t shape[8];
    const float *data;
} pupil_st_source;
/** Write n tensors of different names as F32 or F16, sorted by name, with {"format": "pt"} as metadata: the bytes that
 *  safetensors' own writer gives; through publish. PUPIL_ENUMERIC names the tensor with a value that is not finite or, in
 *  F16, too large. */
int pupil_safetensors_export(const char *path, const pupil_st_source *t, int64_t n, pupil_st_type type);

/* ---- a model folder: model.safetensors + config.json ---------------------------------------------- */
/** Architecture of DIR/config.json (or open_clip_config.json). */
int pupil_model_dir_arch(const char *dir, pupil_arch *ret);
/** The weights' file in DIR, owned by the caller: model.safetensors, open_clip_model.safetensors, or the index of their
 *  shards. PUPIL_ENOTFOUND says what was looked for. */
int pupil_model_dir_weights(const char *dir, char **ret);
/** Bytes of them, all shards together; 0 where there are none. */
double pupil_model_dir_bytes(const char *dir);
/** pupil_weights_open() of it. */
int pupil_model_dir_open(const char *dir, pupil_clip *c, pupil_weights **ret);
/** All parameters of DIR into params of c's table. */
int pupil_model_dir_load(const char *dir, pupil_clip *c, float *params);
/** What kind of file pupil_weights_open() would read: its layout, and the number formats of the model's tensors. */
typedef struct {
    const char *layout; /* "open_clip" | "Hugging Face" */
    char formats[32];   /* "F16", or "F32, BF16" */
} pupil_weights_file;
int pupil_weights_about(const char *path, pupil_clip *c, pupil_weights_file *ret);
/** Write the model for others: open_clip_model.safetensors and open_clip_config.json, or (hugging_face) model.safetensors,
 *  config.json and preprocessor_config.json, as F32 or F16. PUPIL_EUSER: that layout has no place for this architecture. */
int pupil_model_dir_export(const char *dir, const pupil_clip *c, const float *params, bool hugging_face,
                           pupil_st_type type);
/** Write both files, in open_clip's layout under the names of a run directory: model.safetensors and config.json. */
int pupil_model_dir_save(const char *dir, const pupil_clip *c, const float *params);
/** pupil_safetensors_digest() of its weights. */
int pupil_model_dir_digest(const char *dir, char ret_hex[65]);

#endif
