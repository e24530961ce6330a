/* tokenizer.c: what the kinds of tokenizers have in common. */
#include "tokenizer_pieces.h"

void pupil_tokenizer_free(pupil_tokenizer **t)
{
    if (!*t) return;
    textset_free(&(*t)->token);
    tokenizer_pairs_free(&(*t)->pairs);
    tokenizer_clip_free(*t);
    pieces_free(&(*t)->pieces);
    pupil_free(t);
}

const char *pupil_tokenizer_kind(const pupil_tokenizer *t)
{
    static const char *const name[] = {"CLIP BPE", "SentencePiece unigram", "SentencePiece BPE"};
    return name[t->kind];
}

bool pupil_tokenizer_pads(const pupil_tokenizer *t)
{
    return t->kind != TOKENIZER_CLIP;
}

int64_t pupil_tokenizer_vocab(const pupil_tokenizer *t)
{
    return t->token.n + (t->pieces ? 0 : 2);
}

void pupil_tokenizer_digest(const pupil_tokenizer *t, char ret_hex[65])
{
    const struct tokenizer_pieces *p = t->pieces;
    pupil_buf out = {0};
    pupil_buf_printf(&out, "%s, cleaning %s\n", pupil_tokenizer_kind(t),
                     tokenizer_cleaning_name(t->cleaning));
    if (p) pupil_buf_printf(&out, "first %d, last %d, pad %d, %s\n", p->first, p->last, p->pad, p->sha);
    else tokenizer_print_merges(t, &out);
    pupil_sha256_of(out.s, out.len, ret_hex);
    pupil_buf_free(&out);
}

int pupil_tokenizer_encode(const pupil_tokenizer *t, const char *text, int context, int32_t *ids)
{
    PUPIL_REQUIRE(context >= 2);
    return (t->pieces ? pieces_encode : tokenizer_clip_encode)(t, text, context, ids);
}

char *pupil_tokenizer_decode(const pupil_tokenizer *t, const int32_t *ids, int n)
{
    return (t->pieces ? pieces_decode : tokenizer_clip_decode)(t, ids, n);
}
