/* decoder.c: a published decoder of Llama's form in the place of our own: transformers' LlamaConfig and its safetensors. What
 * would have to be computed otherwise (biases, scaled rotary positions, another activation) is refused by its key. */
#include "reader.h"

#include <jansson.h>
#include <string.h>

typedef struct {
    const char *path;
    const json_t *o;
} config;

static int refuse(const config *c, const char *key, const char *why)
{
    char *value = json_dumps(json_object_get(c->o, key), JSON_ENCODE_ANY | JSON_COMPACT);
    int r = pupil_fail(PUPIL_EFORMAT, "%s: %s is %.80s; %s", c->path, key, value ? value : "missing", why);
    free(value);
    return r;
}

/* otherwise < 0: the key must be there. */
static int size_of(const config *c, const char *key, int64_t otherwise, int64_t *ret)
{
    const json_t *v = json_object_get(c->o, key);
    bool absent = !v || json_is_null(v);
    *ret = absent ? otherwise : json_is_integer(v) ? json_integer_value(v) : -1;
    return *ret >= 1 && *ret <= 1 << 20 ? 0 : refuse(c, key, "expected a whole number from 1 to 2^20");
}

static int number_of(const config *c, const char *key, double otherwise, double *ret)
{
    const json_t *v = json_object_get(c->o, key);
    *ret = !v || json_is_null(v) ? otherwise : json_number_value(v);
    return *ret > 0 ? 0 : refuse(c, key, "expected a number above 0");
}

static int must_be_unset(const config *c, const char *key)
{
    const json_t *v = json_object_get(c->o, key);
    return !v || json_is_null(v) || json_is_false(v) ? 0 : refuse(c, key, "that is not computed here, expected null or false");
}

static int must_say(const config *c, const char *key, const char *word)
{
    const char *v = json_string_value(json_object_get(c->o, key));
    return v && !strcmp(v, word) ? 0 : refuse(c, key, word[0] == 'l' ? "expected \"llama\"" : "expected \"silu\"");
}

static int id_of(const config *c, const char *key, int64_t vocab, int32_t *ret)
{
    const json_t *v = json_object_get(c->o, key);
    if (json_is_array(v)) v = json_array_get(v, 0);
    if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) >= vocab) return refuse(c, key, "expected an id of the vocabulary");
    *ret = (int32_t)json_integer_value(v);
    return 0;
}

static int read_config(const config *c, pupil_reader_arch *a, int32_t *begin, int32_t *end)
{
    static const char *const unset[] = {"attention_bias", "mlp_bias", "rope_scaling"};
    PUPIL_TRY(must_say(c, "model_type", "llama"));
    PUPIL_TRY(must_say(c, "hidden_act", "silu"));
    for (int i = 0; i < PUPIL_COUNT(unset); i++) PUPIL_TRY(must_be_unset(c, unset[i]));
    PUPIL_TRY(size_of(c, "hidden_size", -1, &a->width));
    PUPIL_TRY(size_of(c, "num_hidden_layers", -1, &a->layers));
    PUPIL_TRY(size_of(c, "num_attention_heads", -1, &a->heads));
    PUPIL_TRY(size_of(c, "num_key_value_heads", a->heads, &a->kv_heads));
    PUPIL_TRY(size_of(c, "intermediate_size", -1, &a->mlp));
    PUPIL_TRY(size_of(c, "vocab_size", -1, &a->vocab));
    PUPIL_TRY(size_of(c, "head_dim", a->width / a->heads, &a->head_width));
    PUPIL_TRY(size_of(c, "max_position_embeddings", 2048, &a->longest));
    PUPIL_TRY(number_of(c, "rms_norm_eps", 1e-6, &a->eps));
    PUPIL_TRY(number_of(c, "rope_theta", 10000, &a->theta));
    if (a->heads % a->kv_heads) return refuse(c, "num_key_value_heads", "expected a divisor of num_attention_heads");
    if (a->head_width % 2) return refuse(c, "head_dim", "expected an even number");
    a->untied = !json_is_true(json_object_get(c->o, "tie_word_embeddings"));
    PUPIL_TRY(id_of(c, "bos_token_id", a->vocab, begin));
    return id_of(c, "eos_token_id", a->vocab, end);
}

/* So that no more is allocated for the weights than there are. */
static int fits(const char *dir, const char *path, const pupil_reader_arch *a)
{
    double w = (double)a->width, heads = (double)((2 * a->heads + 2 * a->kv_heads) * a->head_width), floats = (double)a->layers * w * (heads + 3 * (double)a->mlp);
    return 2 * floats <= pupil_model_dir_bytes(dir) ? 0 : pupil_fail(PUPIL_EFORMAT, "%s: the weights in %s are too small a file for these sizes", path, dir);
}

int pupil_decoder_arch(const char *dir, pupil_reader_arch *ret, int32_t *ret_begin, int32_t *ret_end)
{
    char *path = pupil_join(dir, "config.json"), *text = NULL;
    size_t n;
    json_error_t error;
    pupil_reader_arch a = {.frozen = true};
    int32_t begin, end;
    int r = pupil_read_file(path, 1 << 20, &text, &n);
    json_t *o = r == 0 ? json_loadb(text, n, JSON_REJECT_DUPLICATES, &error) : NULL;
    if (r == 0 && !json_is_object(o)) r = pupil_fail(PUPIL_EFORMAT, "%s: %s", path, o ? "expected an object" : error.text);
    if (r == 0) r = read_config(&(config){path, o}, &a, &begin, &end);
    if (r == 0) r = fits(dir, path, &a);
    if (r == 0) *ret = a, *ret_begin = begin, *ret_end = end;
    json_decref(o);
    pupil_free(&text);
    pupil_free(&path);
    return r;
}

/* ---- weights -------------------------------------------------------------------------------------- */
typedef struct {
    const pupil_safetensors *file;
    float *params;
} source;

static int matrix(const source *s, int64_t layer, const char *name, int64_t rows, int64_t cols, int64_t offset)
{
    char whole[96];
    if (layer >= 0) snprintf(whole, sizeof whole, "model.layers.%d.%s.weight", (int)layer, name);
    else snprintf(whole, sizeof whole, "%s.weight", name);
    return pupil_safetensors_read(s->file, whole, cols ? 2 : 1, (int64_t[]){rows, cols}, s->params + offset);
}

/* Rows id[0..n-1] of a matrix of `width` columns. */
static int rows_of(const source *s, const char *name, const int32_t *id, int64_t n, int64_t width, int64_t offset)
{
    pupil_st_tensor t;
    if (!pupil_safetensors_find(s->file, name, &t)) return pupil_fail(PUPIL_ENOTFOUND, "the decoder has no tensor %s", name);
    if (t.ndim != 2 || t.shape[1] != width) return pupil_fail(PUPIL_EFORMAT, "%s: %s: expected a matrix of %lld columns", t.file, name, (long long)width);
    for (int64_t i = 0; i < n; i++) {
        if (id[i] < 0 || id[i] >= t.shape[0]) return pupil_fail(PUPIL_EFORMAT, "%s: %s has no row %d; the tokenizer is another model's", t.file, name, id[i]);
        PUPIL_TRY(pupil_st_unpack(&t, id[i] * width, width, s->params + offset + i * width));
    }
    return 0;
}

static int block_of(const source *s, const pupil_reader *r, int64_t l)
{
    const layer_shape *c = &r->shape;
    const attend_at *a = &r->block[l].attend;
    const mlp_at *m = &r->block[l].mlp;
    int64_t w = c->width, q = c->heads * c->hd, kv = c->kv_heads * c->hd;
    PUPIL_TRY(matrix(s, l, "input_layernorm", w, 0, a->norm));
    PUPIL_TRY(matrix(s, l, "self_attn.q_proj", q, w, a->q));
    PUPIL_TRY(matrix(s, l, "self_attn.k_proj", kv, w, a->kv));
    PUPIL_TRY(matrix(s, l, "self_attn.v_proj", kv, w, a->kv + kv * w));
    PUPIL_TRY(matrix(s, l, "self_attn.o_proj", w, q, a->out));
    PUPIL_TRY(matrix(s, l, "post_attention_layernorm", w, 0, m->norm));
    PUPIL_TRY(matrix(s, l, "mlp.gate_proj", c->mlp, w, m->up));
    PUPIL_TRY(matrix(s, l, "mlp.up_proj", c->mlp, w, m->up + c->mlp * w));
    return matrix(s, l, "mlp.down_proj", w, c->mlp, m->down);
}

int pupil_decoder_load(const char *dir, const pupil_reader *r, const int32_t *id, float *params)
{
    char *path = NULL;
    pupil_safetensors *file = NULL;
    int code = pupil_model_dir_weights(dir, &path);
    if (code == 0) code = pupil_safetensors_open(path, &file);
    source s = {file, params};
    if (code == 0) code = rows_of(&s, "model.embed_tokens.weight", id, r->arch.vocab, r->arch.width, r->embed);
    if (code == 0 && r->arch.untied) code = rows_of(&s, "lm_head.weight", id, r->arch.vocab, r->arch.width, r->head);
    for (int64_t l = 0; l < r->arch.layers && code == 0; l++) code = block_of(&s, r, l);
    if (code == 0) code = matrix(&s, -1, "model.norm", r->arch.width, 0, r->norm);
    if (file) pupil_safetensors_close(&file);
    pupil_free(&path);
    return code;
}
