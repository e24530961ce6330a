/* tokenizer_normal.c: text normalised as SentencePiece's own library does it (Normalizer::Normalize() of
 * sentencepiece 0.1.97), or step by step as the tokenizers library does; the two differ where a replacement's
 * source is part of a longer grapheme. A hostile file can make the result odd, never invalid UTF-8:
 * replacements are checked when the map is read and again when one is used. */
#include "tokenizer_pieces.h"

#include <string.h>

bool is_utf8(const char *s, size_t n)
{
    pupil_buf b = {0};
    tokenizer_replace_invalid(s, n, &b);
    bool same = b.len == n && (n == 0 || memcmp(b.s, s, n) == 0);
    pupil_buf_free(&b);
    return same;
}

size_t point_len(const char *s, const char *end)
{
    const uint8_t *p = (const uint8_t *)s;
    tokenizer_next_point(&p, (const uint8_t *)end);
    return (size_t)((const char *)p - s);
}

/* ---- precompiled_charsmap ---- */

int charsmap_read(charsmap *m, const void *blob, size_t n)
{
    *m = (charsmap){0};
    if (n == 0) return 0;
    uint32_t bytes = 0;
    if (n >= 4) memcpy(&bytes, blob, 4);
    if (n < 8 || bytes % 4 || bytes == 0 || bytes > n - 4)
        return pupil_fail(PUPIL_EFORMAT, "precompiled_charsmap: a trie of %u bytes in a map of %zu", bytes,
                          n);
    const char *text = (const char *)blob + 4 + bytes;
    if (!is_utf8(text, n - 4 - bytes)) return pupil_fail(PUPIL_EFORMAT, "precompiled_charsmap: not UTF-8");
    m->units = bytes / 4;
    m->unit = pupil_alloc(bytes);
    memcpy(m->unit, (const char *)blob + 4, bytes);
    m->n = n - 4 - bytes;
    m->text = pupil_alloc(m->n + 1);
    memcpy(m->text, text, m->n);
    return 0;
}

void charsmap_free(charsmap *m)
{
    pupil_free(&m->unit);
    pupil_free(&m->text);
}

/* The fields of one of darts-clone's units (Yata, Morita, Fuketa, Aoe 2008). */
static uint32_t unit_offset(uint32_t u)
{
    return (u >> 10) << ((u & 1u << 9) >> 6);
}
static bool unit_has_leaf(uint32_t u)
{
    return u >> 8 & 1;
}
static uint32_t unit_label(uint32_t u)
{
    return u & (1u << 31 | 0xff);
}

/* The replacement of the longest (or the shortest) key that s begins with; its length goes to *ret_key. NULL:
 * there is none. */
static const char *charsmap_find(const charsmap *m, const char *s, size_t n, bool longest, size_t *ret_key)
{
    const char *found = NULL;
    if (!m->units) return NULL;
    int64_t at = unit_offset(m->unit[0]);
    for (size_t i = 0; i < n && s[i]; i++) {
        at ^= (uint8_t)s[i];
        if (at >= m->units || unit_label(m->unit[at]) != (uint8_t)s[i]) break;
        uint32_t u = m->unit[at];
        at ^= unit_offset(u);
        if (!unit_has_leaf(u) || at >= m->units) continue;
        uint32_t value = m->unit[at] & ~(1u << 31);
        if (value >= m->n || ((uint8_t)m->text[value] & 0xc0) == 0x80) continue; /* within no character */
        found = m->text + value;
        *ret_key = i + 1;
        if (!longest) break;
    }
    return found;
}

/* ---- as SentencePiece's library ---- */

/* What the beginning of s becomes; *ret_took: how long that beginning is. */
static const char *spm_next(const normalizer *z, const prefix_table *user, const char *s, const char *end,
                            size_t *ret_took, size_t *ret_n)
{
    int32_t kept = prefix_longest(user, s, (size_t)(end - s));
    if (kept < 0) {
        const char *by = charsmap_find(&z->map, s, (size_t)(end - s), true, ret_took);
        if (by) {
            *ret_n = strlen(by);
            return by;
        }
    }
    *ret_n = *ret_took = kept < 0 ? point_len(s, end) : user->token->len[kept];
    return s;
}

static void spm_run(const normalizer *z, const prefix_table *user, const char *s, size_t n, pupil_buf *out)
{
    const char *end = s + n, *blank = z->escape ? BLANK_MARK : " ";
    size_t took, k, from = out->len;
    while (z->squeeze && s < end) {
        const char *by = spm_next(z, user, s, end, &took, &k);
        if (k != 1 || *by != ' ') break;
        s += took;
    }
    if (s == end) return;
    if (z->dummy_prefix) pupil_buf_puts(out, blank);
    for (bool after_blank = z->squeeze; s < end; s += took) {
        const char *by = spm_next(z, user, s, end, &took, &k);
        while (after_blank && k && *by == ' ') by++, k--;
        for (size_t i = 0; i < k; i++) {
            if (by[i] == ' ') pupil_buf_puts(out, blank);
            else pupil_buf_add(out, by + i, 1);
        }
        if (k) after_blank = by[k - 1] == ' ';
        if (!z->squeeze) after_blank = false;
    }
    size_t w = strlen(blank);
    while (z->squeeze && out->len - from >= w && memcmp(out->s + out->len - w, blank, w) == 0)
        out->s[out->len -= w] = 0;
}

/* ---- as the tokenizers library ---- */

/* A grapheme of fewer than 6 bytes is replaced whole by what its shortest beginning becomes; else code point
 * by code point (Precompiled::normalize() of tokenizers 0.15). */
static void map_graphemes(const normalizer *z, const normal_step *step, const char *s, size_t n,
                          pupil_buf *out)
{
    for (size_t at = 0, next, key; at < n; at = next) {
        bool alone = (uint8_t)s[at] < 0x80 && s[at] != '\r' && (at + 1 == n || (uint8_t)s[at + 1] < 0x80);
        next = at + 1;
        if (!alone && !pattern_next(&step->pattern, s, n, at, &at, &next))
            next = at + point_len(s + at, s + n);
        const char *by = next - at < 6 ? charsmap_find(&z->map, s + at, next - at, false, &key) : NULL;
        if (by) pupil_buf_puts(out, by);
        for (size_t one; !by && at < next; at += one) {
            one = point_len(s + at, s + n);
            const char *part = charsmap_find(&z->map, s + at, one, false, &key);
            if (part) pupil_buf_puts(out, part);
            else pupil_buf_add(out, s + at, one);
        }
    }
}

static void replace(const normal_step *step, const char *s, size_t n, pupil_buf *out)
{
    size_t at = 0, from, to;
    for (; pattern_next(&step->pattern, s, n, at, &from, &to); at = to) {
        pupil_buf_add(out, s + at, from - at);
        pupil_buf_puts(out, step->content);
    }
    pupil_buf_add(out, s + at, n - at);
}

static void strip(const normal_step *step, const char *s, size_t n, pupil_buf *out)
{
    const uint8_t *p = (const uint8_t *)s, *end = p + n, *first = NULL, *last = end;
    while (p < end) {
        const uint8_t *at = p;
        if (text_is_white(tokenizer_next_point(&p, end))) continue;
        if (!first) first = at;
        last = p;
    }
    if (!first) return;
    if (!step->left) first = (const uint8_t *)s;
    if (!step->right) last = end;
    pupil_buf_add(out, first, (size_t)(last - first));
}

static void step_run(const normalizer *z, const normal_step *step, const char *s, size_t n, pupil_buf *out)
{
    switch (step->kind) {
    case STEP_CHARSMAP:
        map_graphemes(z, step, s, n, out);
        break;
    case STEP_REPLACE:
        replace(step, s, n, out);
        break;
    case STEP_LOWERCASE:
        pupil_buf_add(out, s, n);
        tokenizer_lower_points(out, 0);
        break;
    case STEP_STRIP:
        strip(step, s, n, out);
        break;
    case STEP_PREPEND:
        if (n) pupil_buf_puts(out, step->content);
        pupil_buf_add(out, s, n);
        break;
    }
}

void normalizer_run(const normalizer *z, const prefix_table *user, const char *s, size_t n, pupil_buf *out)
{
    if (z->spm) {
        spm_run(z, user, s, n, out);
        return;
    }
    pupil_buf a = {0}, b = {0};
    pupil_buf_add(&a, s, n);
    for (int64_t i = 0; i < z->steps; i++) {
        pupil_buf swap = a;
        b.len = 0;
        step_run(z, &z->step[i], a.s ? a.s : "", a.len, &b);
        a = b;
        b = swap;
    }
    pupil_buf_add(out, a.s, a.len);
    pupil_buf_free(&a);
    pupil_buf_free(&b);
}

void normalizer_free(normalizer *z)
{
    charsmap_free(&z->map);
    for (int64_t i = 0; i < z->steps; i++) {
        pattern_free(&z->step[i].pattern);
        pupil_free(&z->step[i].content);
    }
    pupil_free(&z->step);
}
