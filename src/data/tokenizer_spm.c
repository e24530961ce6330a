/* tokenizer_spm.c: spiece.model and tokenizer.model: sentencepiece's ModelProto (sentencepiece_model.proto),
 * read with a protobuf reader of our own. Unigram and BPE models; fields that change what encoding means and
 * are not known here are refused by name, others are skipped. */
#include "tokenizer_pieces.h"

#include <stdlib.h>
#include <string.h>

/* ---- protobuf's wire format ---- */

typedef struct {
    const uint8_t *at, *end;
} message;

typedef struct {
    uint32_t number;
    enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 } wire;
    uint64_t value; /* varint, or the little-endian bits */
    message body;   /* WIRE_BYTES */
} field;

static bool varint(message *m, uint64_t *ret)
{
    *ret = 0;
    for (int shift = 0; shift < 64 && m->at < m->end; shift += 7) {
        uint8_t b = *m->at++;
        *ret |= (uint64_t)(b & 0x7f) << shift;
        if (!(b & 0x80)) return true;
    }
    return false;
}

/* The next field: 1, or 0 at the end, or PUPIL_EFORMAT. */
static int next_field(message *m, field *f)
{
    uint64_t tag, n = 0;
    if (m->at == m->end) return 0;
    if (!varint(m, &tag) || tag >> 3 == 0 || tag >> 3 > 1u << 29)
        return pupil_fail(PUPIL_EFORMAT, "a broken field");
    *f = (field){.number = (uint32_t)(tag >> 3), .wire = tag & 7};
    bool ok = true;
    switch (f->wire) {
    case WIRE_VARINT:
        ok = varint(m, &f->value);
        break;
    case WIRE_BYTES:
        ok = varint(m, &n);
        break;
    case WIRE_32:
        n = 4;
        break;
    case WIRE_64:
        n = 8;
        break;
    default:
        ok = false;
    }
    if (!ok || n > (uint64_t)(m->end - m->at))
        return pupil_fail(PUPIL_EFORMAT, "field %u is broken or ends after its message", f->number);
    f->body = (message){m->at, m->at + n};
    if (f->wire == WIRE_32 || f->wire == WIRE_64) memcpy(&f->value, m->at, n);
    m->at += n;
    return 1;
}

/* ---- sentencepiece_model.proto ---- */

enum { MODEL_PIECE = 1, MODEL_TRAINER = 2, MODEL_NORMALIZER = 3 };
enum { PIECE_TEXT = 1, PIECE_SCORE = 2, PIECE_TYPE = 3 };
enum { TRAINER_MODEL_TYPE = 3, TRAINER_SUFFIX_BLANK = 24, TRAINER_BYTE_FALLBACK = 35 };
enum { TRAINER_EOS_PIECE = 47, TRAINER_PAD_PIECE = 48 };
enum { NORMALIZER_CHARSMAP = 2, NORMALIZER_DUMMY = 3, NORMALIZER_SQUEEZE = 4, NORMALIZER_ESCAPE = 5 };

typedef struct {
    pupil_tokenizer *t;
    uint64_t model_type; /* 1 unigram, 2 BPE */
    char *eos, *pad;
} reading;

static int read_piece(reading *r, message m)
{
    struct tokenizer_pieces *p = r->t->pieces;
    field f;
    message text = {m.at, m.at};
    uint64_t type = PIECE_NORMAL;
    uint32_t bits = 0;
    float score;
    int more;
    while ((more = next_field(&m, &f)) > 0) {
        if (f.number == PIECE_TEXT && f.wire == WIRE_BYTES) text = f.body;
        if (f.number == PIECE_SCORE && f.wire == WIRE_32) bits = (uint32_t)f.value;
        if (f.number == PIECE_TYPE && f.wire == WIRE_VARINT) type = f.value;
    }
    if (more < 0) return more;
    if (type < PIECE_NORMAL || type > PIECE_BYTE)
        return pupil_fail(PUPIL_EFORMAT, "type %llu", (unsigned long long)type);
    memcpy(&score, &bits, 4);
    PUPIL_TRY(pieces_add(r->t, (const char *)text.at, (size_t)(text.end - text.at), (piece_type)type, score));
    if (type != PIECE_UNKNOWN) return 0;
    if (p->unknown >= 0) return pupil_fail(PUPIL_EFORMAT, "a second unknown piece");
    p->unknown = (int32_t)r->t->token.n - 1;
    return 0;
}

static void keep_text(char **to, message m)
{
    pupil_free(to);
    *to = pupil_format("%.*s", (int)PUPIL_MIN(m.end - m.at, PIECE_MAX_BYTES), (const char *)m.at);
}

static int read_trainer(reading *r, message m)
{
    field f;
    int more;
    while ((more = next_field(&m, &f)) > 0) {
        if (f.number == TRAINER_MODEL_TYPE) r->model_type = f.value;
        if (f.number == TRAINER_BYTE_FALLBACK) r->t->pieces->bytes = f.value;
        if (f.number == TRAINER_EOS_PIECE && f.wire == WIRE_BYTES) keep_text(&r->eos, f.body);
        if (f.number == TRAINER_PAD_PIECE && f.wire == WIRE_BYTES) keep_text(&r->pad, f.body);
        if (f.number == TRAINER_SUFFIX_BLANK && f.value)
            return pupil_fail(PUPIL_EFORMAT, "treat_whitespace_as_suffix is not supported");
    }
    return more;
}

static int read_normalizer(reading *r, message m)
{
    normalizer *z = &r->t->pieces->normal;
    field f;
    int more;
    while ((more = next_field(&m, &f)) > 0) {
        if (f.number == NORMALIZER_DUMMY) z->dummy_prefix = f.value;
        if (f.number == NORMALIZER_SQUEEZE) z->squeeze = f.value;
        if (f.number == NORMALIZER_ESCAPE) z->escape = f.value;
        if (f.number != NORMALIZER_CHARSMAP || f.wire != WIRE_BYTES) continue;
        charsmap_free(&z->map);
        PUPIL_TRY(charsmap_read(&z->map, f.body.at, (size_t)(f.body.end - f.body.at)));
    }
    return more;
}

static int read_model(reading *r, message m)
{
    field f;
    int more;
    while ((more = next_field(&m, &f)) > 0) {
        int code = 0;
        if (f.wire != WIRE_BYTES) continue;
        if (f.number == MODEL_PIECE)
            code = pupil_context(read_piece(r, f.body), "piece %lld", (long long)r->t->token.n);
        if (f.number == MODEL_TRAINER) code = pupil_context(read_trainer(r, f.body), "trainer_spec");
        if (f.number == MODEL_NORMALIZER) code = pupil_context(read_normalizer(r, f.body), "normalizer_spec");
        if (code < 0) return code;
    }
    return more;
}

/* Kind and specials; SigLIP pads with its end, SigLIP2 with its padding. */
static int settle(reading *r)
{
    pupil_tokenizer *t = r->t;
    struct tokenizer_pieces *p = t->pieces;
    if (t->token.n == 0) return pupil_fail(PUPIL_EFORMAT, "no pieces: this is no SentencePiece model");
    if (r->model_type != 1 && r->model_type != 2)
        return pupil_fail(PUPIL_EFORMAT,
                          "model_type %llu is not supported: 1 (unigram) or 2 (BPE) was expected",
                          (unsigned long long)r->model_type);
    t->kind = r->model_type == 1 ? TOKENIZER_UNIGRAM : TOKENIZER_BPE;
    for (int64_t id = 0; id < t->token.n && t->kind == TOKENIZER_BPE; id++)
        if (p->piece[id].type == PIECE_UNUSED)
            return pupil_fail(PUPIL_EFORMAT, "piece %lld: unused pieces are not supported in BPE",
                              (long long)id);
    p->last = pieces_find(t, r->eos ? r->eos : "</s>");
    if (p->last < 0)
        return pupil_fail(PUPIL_EFORMAT, "there is no end-of-sentence piece '%.64s'",
                          r->eos ? r->eos : "</s>");
    p->pad = t->kind == TOKENIZER_BPE ? pieces_find(t, r->pad ? r->pad : "<pad>") : p->last;
    if (p->pad < 0) p->pad = p->last;
    p->by_score = p->single = p->fuse_unknown = true;
    p->drop_blank = p->normal.dummy_prefix;
    return pieces_finish(t);
}

int tokenizer_from_spm(const char *path, const char *bytes, size_t n, pupil_tokenizer **ret)
{
    reading r = {.t = pieces_new(TOKENIZER_UNIGRAM), .model_type = 1};
    normalizer *z = &r.t->pieces->normal;
    z->spm = z->dummy_prefix = z->squeeze = z->escape = true;
    int code = read_model(&r, (message){(const uint8_t *)bytes, (const uint8_t *)bytes + n});
    if (code == 0) code = settle(&r);
    pupil_free(&r.eos);
    pupil_free(&r.pad);
    if (code < 0) {
        pupil_tokenizer_free(&r.t);
        return pupil_context(code, "%s", path);
    }
    *ret = r.t;
    return 0;
}
