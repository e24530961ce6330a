/* make_decoder DIR VOCAB: a small decoder of Llama's form with random weights, as transformers writes one. */
#include "pupil/model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH = 16, HEADS = 2, KV = 1, HD = 8, MLP = 24, LAYERS = 2 };

static void add(pupil_table *t, const char *name, int64_t rows, int64_t cols)
{
    pupil_table_add(t, name, cols ? 2 : 1, (int64_t[]){rows, cols}, cols ? PUPIL_INIT_NORMAL : PUPIL_INIT_CONST, cols ? pow((double)cols, -0.5) : 1);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int64_t rows, cols;
    } block[] = {{"input_layernorm", WIDTH, 0},          {"self_attn.q_proj", HEADS * HD, WIDTH}, {"self_attn.k_proj", KV * HD, WIDTH},
                 {"self_attn.v_proj", KV * HD, WIDTH},   {"self_attn.o_proj", WIDTH, HEADS * HD}, {"post_attention_layernorm", WIDTH, 0},
                 {"mlp.gate_proj", MLP, WIDTH},          {"mlp.up_proj", MLP, WIDTH},             {"mlp.down_proj", WIDTH, MLP}};
    if (argc != 3 || pupil_mkdirs(argv[1]) < 0) return 2;
    int64_t vocab = atoll(argv[2]);
    pupil_table t = {0};
    for (int l = 0; l < LAYERS; l++)
        for (int i = 0; i < PUPIL_COUNT(block); i++) {
            char name[96];
            snprintf(name, sizeof name, "model.layers.%d.%s.weight", l, block[i].name);
            add(&t, name, block[i].rows, block[i].cols);
        }
    add(&t, "model.norm.weight", WIDTH, 0);
    add(&t, "model.embed_tokens.weight", vocab, WIDTH);
    float *p = pupil_alloc((size_t)t.total * sizeof *p);
    pupil_table_init(&t, 1, p);
    pupil_st_source *s = pupil_alloc((size_t)t.n * sizeof *s);
    for (int64_t i = 0; i < t.n; i++)
        s[i] = (pupil_st_source){t.t[i].name, t.t[i].ndim, {t.t[i].shape[0], t.t[i].shape[1]}, p + t.t[i].offset};
    char *weights = pupil_join(argv[1], "model.safetensors"), *config = pupil_join(argv[1], "config.json");
    char *json = pupil_format("{\"model_type\": \"llama\", \"hidden_act\": \"silu\", \"hidden_size\": %d, \"num_hidden_layers\": %d, "
                              "\"num_attention_heads\": %d, \"num_key_value_heads\": %d, \"intermediate_size\": %d, \"vocab_size\": %lld, "
                              "\"tie_word_embeddings\": true, \"bos_token_id\": %lld, \"eos_token_id\": %lld}",
                              WIDTH, LAYERS, HEADS, KV, MLP, (long long)vocab, (long long)vocab - 2, (long long)vocab - 1);
    int r = pupil_safetensors_export(weights, s, t.n, PUPIL_ST_F16);
    if (r == 0) r = pupil_write_file(config, json, strlen(json));
    if (r < 0) fprintf(stderr, "%s\n", pupil_reason());
    pupil_free(&weights);
    pupil_free(&config);
    pupil_free(&json);
    pupil_free(&s);
    pupil_free(&p);
    pupil_table_free(&t);
    return r < 0;
}
