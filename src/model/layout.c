/* layout.c: names of tensors in open_clip's and in Hugging Face's checkpoints, from one table of rules. A rule rewrites
 * the beginning of a name; '#' stands for the number of a block, '*' in a file's name for q, k and v in turn. */
#include "layout.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    const char *table, *file;
    bool transpose;
    int lead;
} rule;

/* The first rule that fits counts. Hugging Face: CLIPModel ... */
static const rule hf_clip[] = {
    {"visual.class_embedding", "vision_model.embeddings.class_embedding", false, 0},
    {"visual.positional_embedding", "vision_model.embeddings.position_embedding.weight", false, 0},
    {"visual.conv1.", "vision_model.embeddings.patch_embedding.", false, 0},
    {"visual.ln_pre.", "vision_model.pre_layrnorm.", false, 0},
    {"visual.transformer.resblocks.#.ln_1.", "vision_model.encoder.layers.#.layer_norm1.", false, 0},
    {"visual.transformer.resblocks.#.attn.in_proj_", "vision_model.encoder.layers.#.self_attn.*_proj.", false, 0},
    {"visual.transformer.resblocks.#.attn.out_proj.", "vision_model.encoder.layers.#.self_attn.out_proj.", false, 0},
    {"visual.transformer.resblocks.#.ln_2.", "vision_model.encoder.layers.#.layer_norm2.", false, 0},
    {"visual.transformer.resblocks.#.mlp.c_fc.", "vision_model.encoder.layers.#.mlp.fc1.", false, 0},
    {"visual.transformer.resblocks.#.mlp.c_proj.", "vision_model.encoder.layers.#.mlp.fc2.", false, 0},
    {"visual.ln_post.", "vision_model.post_layernorm.", false, 0},
    {"visual.proj", "visual_projection.weight", true, 0},
    {"token_embedding.", "text_model.embeddings.token_embedding.", false, 0},
    {"positional_embedding", "text_model.embeddings.position_embedding.weight", false, 0},
    {"transformer.resblocks.#.ln_1.", "text_model.encoder.layers.#.layer_norm1.", false, 0},
    {"transformer.resblocks.#.attn.in_proj_", "text_model.encoder.layers.#.self_attn.*_proj.", false, 0},
    {"transformer.resblocks.#.attn.out_proj.", "text_model.encoder.layers.#.self_attn.out_proj.", false, 0},
    {"transformer.resblocks.#.ln_2.", "text_model.encoder.layers.#.layer_norm2.", false, 0},
    {"transformer.resblocks.#.mlp.c_fc.", "text_model.encoder.layers.#.mlp.fc1.", false, 0},
    {"transformer.resblocks.#.mlp.c_proj.", "text_model.encoder.layers.#.mlp.fc2.", false, 0},
    {"ln_final.", "text_model.final_layer_norm.", false, 0},
    {"text_projection", "text_projection.weight", true, 0},
    {"logit_scale", "logit_scale", false, 0},
};
/* ... and SiglipModel. */
static const rule hf_siglip[] = {
    {"visual.trunk.pos_embed", "vision_model.embeddings.position_embedding.weight", false, 0},
    {"visual.trunk.patch_embed.proj.", "vision_model.embeddings.patch_embedding.", false, 0},
    {"visual.trunk.blocks.#.norm1.", "vision_model.encoder.layers.#.layer_norm1.", false, 0},
    {"visual.trunk.blocks.#.attn.qkv.", "vision_model.encoder.layers.#.self_attn.*_proj.", false, 0},
    {"visual.trunk.blocks.#.attn.proj.", "vision_model.encoder.layers.#.self_attn.out_proj.", false, 0},
    {"visual.trunk.blocks.#.norm2.", "vision_model.encoder.layers.#.layer_norm2.", false, 0},
    {"visual.trunk.blocks.#.mlp.", "vision_model.encoder.layers.#.mlp.", false, 0},
    {"visual.trunk.norm.", "vision_model.post_layernorm.", false, 0},
    {"visual.trunk.attn_pool.latent", "vision_model.head.probe", false, 2},
    {"visual.trunk.attn_pool.in_proj_", "vision_model.head.attention.in_proj_", false, 0},
    {"visual.trunk.attn_pool.proj.", "vision_model.head.attention.out_proj.", false, 0},
    {"visual.trunk.attn_pool.norm.", "vision_model.head.layernorm.", false, 0},
    {"visual.trunk.attn_pool.mlp.", "vision_model.head.mlp.", false, 0},
    {"text.token_embedding.", "text_model.embeddings.token_embedding.", false, 0},
    {"text.positional_embedding", "text_model.embeddings.position_embedding.weight", false, 0},
    {"text.transformer.resblocks.#.ln_1.", "text_model.encoder.layers.#.layer_norm1.", false, 0},
    {"text.transformer.resblocks.#.attn.in_proj_", "text_model.encoder.layers.#.self_attn.*_proj.", false, 0},
    {"text.transformer.resblocks.#.attn.out_proj.", "text_model.encoder.layers.#.self_attn.out_proj.", false, 0},
    {"text.transformer.resblocks.#.ln_2.", "text_model.encoder.layers.#.layer_norm2.", false, 0},
    {"text.transformer.resblocks.#.mlp.c_fc.", "text_model.encoder.layers.#.mlp.fc1.", false, 0},
    {"text.transformer.resblocks.#.mlp.c_proj.", "text_model.encoder.layers.#.mlp.fc2.", false, 0},
    {"text.ln_final.", "text_model.final_layer_norm.", false, 0},
    {"text.text_projection.", "text_model.head.", false, 0},
    {"logit_", "logit_", false, 1},
};
/* open_clip: names are the table's, but for these. */
static const rule open_clip[] = {
    {"visual.trunk.pos_embed", "visual.trunk.pos_embed", false, 1},
    {"visual.trunk.cls_token", "visual.trunk.cls_token", false, 2},
    {"visual.trunk.attn_pool.latent", "visual.trunk.attn_pool.latent", false, 2},
    {"", "", false, 0},
};

/* `name` with the number after "blocks." as '#'; returns the number or -1. */
static int numbered(const char *name, char to[112])
{
    const char *at = strstr(name, "blocks.");
    if (!at) {
        snprintf(to, 112, "%s", name);
        return -1;
    }
    at += strlen("blocks.");
    char *rest;
    int n = (int)strtol(at, &rest, 10);
    snprintf(to, 112, "%.*s#%s", (int)(at - name), name, rest);
    return n;
}

/* `pattern` followed by `rest`, '#' and '*' filled in. */
static void fill(char to[112], const char *pattern, const char *rest, int block, char qkv)
{
    size_t n = 0;
    for (const char *p = pattern; *p && n < 90; p++) {
        if (*p == '#') n += (size_t)snprintf(to + n, 112 - n, "%d", block);
        else to[n++] = *p == '*' ? qkv : *p;
    }
    snprintf(to + n, 112 - n, "%s", rest);
}

static const rule *rule_for(const pupil_arch *a, layout l, const char *name)
{
    bool siglip = a->pool == PUPIL_POOL_MAP;
    const rule *r = l == LAYOUT_OPEN_CLIP ? open_clip : siglip ? hf_siglip : hf_clip;
    int n = l == LAYOUT_OPEN_CLIP ? PUPIL_COUNT(open_clip) : siglip ? PUPIL_COUNT(hf_siglip) : PUPIL_COUNT(hf_clip);
    for (int i = 0; i < n; i++)
        if (!strncmp(name, r[i].table, strlen(r[i].table))) return &r[i];
    return NULL;
}

/* Give *t the parts `names` (NULL: absent) in place of the part `from` in its one name. */
static void split(layout_tensor *t, int64_t rows, const char *from, int n, const char *const *names)
{
    char whole[112];
    strcpy(whole, t->part[0].name);
    const char *at = strstr(whole, from);
    PUPIL_REQUIRE(at);
    t->n = n;
    for (int i = 0; i < n; i++) {
        t->part[i].rows = rows / n;
        t->part[i].absent = !names[i];
        snprintf(t->part[i].name, sizeof t->part[i].name, "%.*s%s%s", (int)(at - whole), whole, names[i] ? names[i] : "",
                 at + strlen(from));
    }
}

static bool ends(const char *s, const char *with)
{
    size_t n = strlen(s), m = strlen(with);
    return n >= m && !strcmp(s + n - m, with);
}

/* open_clip's (timm's) own splits of what the table has in one piece. */
static void split_trunk(const pupil_arch *a, const pupil_tensor *t, layout_tensor *x)
{
    static const char *const qkv[] = {"q_proj", "k_proj", "v_proj"}, *const qv[] = {"q_proj", NULL, "v_proj"};
    static const char *const own[] = {"q_bias", NULL, "v_bias"}, *const gx[] = {"fc1_g", "fc1_x"};
    int64_t rows = t->shape[0];
    if (ends(t->name, ".attn.qkv.weight") && a->swiglu) split(x, rows, "qkv", 3, qkv);
    else if (ends(t->name, ".attn.qkv.bias") && a->swiglu) split(x, rows, "qkv", 3, qv);
    else if (ends(t->name, ".attn.qkv.bias") && a->no_k_bias) split(x, rows, "qkv.bias", 3, own);
    else if (ends(t->name, ".mlp.fc1.weight") || ends(t->name, ".mlp.fc1.bias")) {
        if (a->swiglu && strstr(t->name, ".blocks.")) split(x, rows, "fc1", 2, gx);
    } else if (strstr(t->name, "attn_pool.in_proj_")) {
        static const char *const q_kv[] = {"q.", "kv."};
        split(x, rows, "in_proj_", 2, q_kv);
        x->part[0].rows = rows / 3;
        x->part[1].rows = rows - rows / 3;
    }
}

bool layout_find(const pupil_arch *a, layout l, const pupil_tensor *t, layout_tensor *ret)
{
    char name[112];
    int block = numbered(t->name, name);
    const rule *r = rule_for(a, l, name);
    if (!r) return false;
    *ret = (layout_tensor){.n = strchr(r->file, '*') ? 3 : 1, .transpose = r->transpose, .lead = r->lead};
    const char *rest = name + strlen(r->table);
    if (l == LAYOUT_OPEN_CLIP) {
        strcpy(ret->part[0].name, t->name);
        ret->part[0].rows = t->ndim ? t->shape[0] : 1;
        if (a->trunk_names) split_trunk(a, t, ret);
        return true;
    }
    for (int i = 0; i < ret->n; i++) {
        fill(ret->part[i].name, r->file, rest, block, "qkv"[i]);
        ret->part[i].rows = (t->ndim ? t->shape[0] : 1) / ret->n;
    }
    return true;
}

layout layout_of(const pupil_safetensors *s)
{
    pupil_st_tensor t;
    return pupil_safetensors_find(s, "vision_model.embeddings.patch_embedding.weight", &t) ? LAYOUT_HUGGING_FACE : LAYOUT_OPEN_CLIP;
}
