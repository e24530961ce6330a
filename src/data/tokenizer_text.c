/* tokenizer_text.c: caption text as open_clip cleans it, without ftfy: html.unescape() twice, then, as the
 * name of the cleaning says, punctuation taken out, split at white space and joined by one space,
 * str.lower(); and as transformers' SiglipTokenizer does: str.lower(), punctuation out, white space
 * collapsed. Each step equals CPython's (Lib/html/__init__.py, str.split, str.lower with its special cases
 * U+0130 and the final sigma); the tables are read out of Python. Bytes that are not UTF-8 become U+FFFD
 * first. Works on code points: linear in the text, whatever the text. */
#include "tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "text_tables.inc"

typedef struct {
    uint32_t *cp;
    int64_t n, cap;
} points;

static void add(points *p, uint32_t cp)
{
    PUPIL_GROW(p->cp, p->n, p->cap);
    p->cp[p->n++] = cp;
}

void tokenizer_put_point(pupil_buf *out, uint32_t c)
{
    uint8_t b[4];
    size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const uint8_t lead[5] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = n; i-- > 1; c >>= 6) b[i] = (uint8_t)(0x80 | (c & 0x3f));
    b[0] = (uint8_t)(lead[n] | c);
    pupil_buf_add(out, b, n);
}

uint32_t tokenizer_next_point(const uint8_t **p, const uint8_t *end)
{
    const uint8_t *s = *p;
    uint32_t c = *s++;
    int more = c < 0x80                ? 0
               : c >= 0xc2 && c < 0xe0 ? 1
               : c >= 0xe0 && c < 0xf0 ? 2
               : c >= 0xf0 && c < 0xf5 ? 3
                                       : -1;
    uint8_t low = c == 0xe0   ? 0xa0
                  : c == 0xf0 ? 0x90
                              : 0x80,
            high = c == 0xed   ? 0x9f
                   : c == 0xf4 ? 0x8f
                               : 0xbf;
    uint32_t cp = more > 0 ? c & (0x3fu >> more) : c;
    for (int i = 0; i < more; i++, low = 0x80, high = 0xbf) {
        if (s == end || *s < low || *s > high) {
            more = -1;
            break;
        }
        cp = cp << 6 | (*s++ & 0x3fu);
    }
    *p = s;
    return more < 0 ? 0xfffd : cp;
}

void tokenizer_replace_invalid(const char *bytes, size_t n, pupil_buf *out)
{
    for (const uint8_t *p = (const uint8_t *)bytes, *end = p + n; p < end;)
        tokenizer_put_point(out, tokenizer_next_point(&p, end));
}

/* ---- html.unescape() ---- */

static int hex_digit(uint32_t c)
{
    if (c - '0' < 10) return (int)(c - '0');
    return (c | 32) - 'a' < 6 ? (int)((c | 32) - 'a' + 10) : -1;
}

static void add_charref(points *out, uint64_t num)
{
    if (num >= 0x80 && num < 0xa0) add(out, charref_80[num - 0x80]);
    else if (num == 0 || (num >= 0xd800 && num < 0xe000) || num > 0x10ffff) add(out, 0xfffd);
    else if (num == '\t' || num == '\n' || num == '\f' || num == '\r' ||
             (num >= 0x20 && num != 0x7f && !(num >= 0xfdd0 && num < 0xfdf0) && (num & 0xfffe) != 0xfffe))
        add(out, (uint32_t)num);
}

/* At in[i] = "&#": how many code points the reference takes, 0 if it is none. */
static int64_t number_reference(const points *in, int64_t i, points *out)
{
    int64_t j = i + 2;
    int base = j < in->n && (in->cp[j] | 32) == 'x' ? 16 : 10;
    if (base == 16) j++;
    int64_t first = j;
    uint64_t num = 0;
    for (int d; j < in->n && (d = hex_digit(in->cp[j])) >= 0 && d < base; j++)
        num = PUPIL_MIN(num * (uint64_t)base + (uint64_t)d, UINT64_C(0x110000));
    if (j == first) return 0;
    add_charref(out, num);
    return j + (j < in->n && in->cp[j] == ';') - i;
}

static int by_name(const void *name, const void *e)
{
    return strcmp(name, *(const char *const *)e);
}

/* At in[i] = "&": the longest name that is known, as html.unescape() looks for it. */
static int64_t named_reference(const points *in, int64_t i, points *out)
{
    char name[33];
    int n = 0; /* characters of the name's class, at most 32; `ascii` of them could be a name's */
    int ascii = 0;
    for (; n < 32 && i + 1 + n < in->n; n++) {
        uint32_t c = in->cp[i + 1 + n];
        if (c == '\t' || c == '\n' || c == '\f' || c == ' ' || c == '<' || c == '&' || c == '#' || c == ';')
            break;
        if (c < 0x80 && ascii == n) name[ascii++] = (char)c;
    }
    bool closed = n > 0 && i + 1 + n < in->n && in->cp[i + 1 + n] == ';';
    for (int len = ascii; len >= 2; len--) {
        name[len] = 0;
        const __typeof__(entity[0]) *e =
            bsearch(name, entity, PUPIL_COUNT(entity), sizeof entity[0], by_name);
        if (!e || !(e->bare || (closed && len == n))) continue;
        add(out, e->first);
        if (e->second) add(out, e->second);
        return 1 + len + (closed && len == n);
    }
    return 0;
}

static void unescape(const points *in, points *out)
{
    out->n = 0;
    for (int64_t i = 0; i < in->n;) {
        int64_t took = 0;
        if (in->cp[i] == '&' && i + 1 < in->n)
            took = in->cp[i + 1] == '#' ? number_reference(in, i, out) : named_reference(in, i, out);
        if (took == 0) add(out, in->cp[i]);
        i += PUPIL_MAX(took, 1);
    }
}

/* ---- white space and lower case ---- */

bool tokenizer_is_space(uint32_t c)
{
    return (c >= 9 && c <= 13) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f ||
           c == 0x3000;
}

/* 1: skipped beside a sigma, 0: a cased letter, -1: neither. */
static int sigma_class(uint32_t c)
{
    int lo = 0, hi = PUPIL_COUNT(sigma_range) - 1;
    while (lo <= hi) {
        int mid = (lo + hi) / 2;
        if (c > sigma_range[mid].last) lo = mid + 1;
        else if (c < sigma_range[mid].first) hi = mid - 1;
        else return (int)sigma_range[mid].ignorable;
    }
    return -1;
}

static bool letter_beside(const points *p, int64_t i, int64_t step)
{
    do i += step;
    while (i >= 0 && i < p->n && sigma_class(p->cp[i]) == 1);
    return i >= 0 && i < p->n && sigma_class(p->cp[i]) == 0;
}

uint32_t tokenizer_lower(uint32_t c)
{
    if (c < 0x80) return c - 'A' < 26 ? c + 32 : c;
    int lo = 0, hi = PUPIL_COUNT(lower_run) - 1;
    while (lo <= hi) {
        int mid = (lo + hi) / 2;
        if (c > lower_run[mid].last) lo = mid + 1;
        else if (c < lower_run[mid].first) hi = mid - 1;
        else return (c - lower_run[mid].first) % lower_run[mid].step ? c : c + (uint32_t)lower_run[mid].add;
    }
    return c;
}

static void lower_all(const points *in, points *out)
{
    out->n = 0;
    for (int64_t i = 0; i < in->n; i++) {
        uint32_t c = in->cp[i];
        if (c == 0x3a3) c = letter_beside(in, i, -1) && !letter_beside(in, i, 1) ? 0x3c2 : 0x3c3;
        add(out, c == 0x130 ? 'i' : tokenizer_lower(c));
        if (c == 0x130) add(out, 0x307);
    }
}

void tokenizer_lower_points(pupil_buf *text, size_t from)
{
    pupil_buf low = {0};
    const uint8_t *s = (const uint8_t *)text->s + from, *end = (const uint8_t *)text->s + text->len;
    while (s < end) {
        uint32_t c = tokenizer_next_point(&s, end);
        tokenizer_put_point(&low, c == 0x130 ? 'i' : c == 0x3a3 ? 0x3c3 : tokenizer_lower(c));
        if (c == 0x130) tokenizer_put_point(&low, 0x307);
    }
    text->len = from;
    pupil_buf_add(text, low.s, low.len);
    pupil_buf_free(&low);
}

/* ---- the cleanings ---- */

static const char *const cleaning_name[] = {
#define X(name, text) text,
    TOKENIZER_CLEANING_LIST(X)
#undef X
};

const char *tokenizer_cleaning_name(tokenizer_cleaning how)
{
    return cleaning_name[how];
}

int tokenizer_cleaning_of(const char *name)
{
    for (int i = 0; i < PUPIL_COUNT(cleaning_name); i++)
        if (!strcmp(name, cleaning_name[i])) return i;
    return -1;
}

/* Python's string.punctuation */
static bool is_punctuation(uint32_t c)
{
    return (c > ' ' && c < '0') || (c > '9' && c < 'A') || (c > 'Z' && c < 'a') || (c > 'z' && c < 0x7f);
}

/* Blanks for runs of white space, none at the ends; underscores and punctuation as the cleaning has it. */
static void strip(tokenizer_cleaning how, const points *in, points *out)
{
    bool drop = how == TOKENIZER_CANONICALIZE || how == TOKENIZER_SIGLIP, gap = false;
    out->n = 0;
    for (int64_t i = 0; i < in->n; i++) {
        uint32_t c = in->cp[i];
        if (c == '_' && (how == TOKENIZER_CANONICALIZE || how == TOKENIZER_UNDERSCORE)) c = ' ';
        if (c == 0x2581 && how == TOKENIZER_SIGLIP) c = ' ';
        if (drop && is_punctuation(c)) continue;
        if (tokenizer_is_space(c)) {
            gap = true;
            continue;
        }
        if (gap && out->n) add(out, ' ');
        gap = false;
        add(out, c);
    }
}

void tokenizer_clean(tokenizer_cleaning how, const char *text, pupil_buf *out)
{
    pupil_buf_puts(out, "");
    if (how == TOKENIZER_AS_IS || how == TOKENIZER_LOWERCASE) {
        size_t from = out->len;
        tokenizer_replace_invalid(text, strlen(text), out);
        if (how == TOKENIZER_LOWERCASE) tokenizer_lower_points(out, from);
        return;
    }
    points p = {0}, q = {0}, *done = &q;
    for (const uint8_t *s = (const uint8_t *)text, *end = s + strlen(text); s < end;)
        add(&p, tokenizer_next_point(&s, end));
    if (how == TOKENIZER_SIGLIP) {
        lower_all(&p, &q);
        strip(how, &q, &p);
        done = &p;
    } else {
        unescape(&p, &q);
        unescape(&q, &p);
        strip(how, &p, &q);
    }
    if (how == TOKENIZER_LOWER || how == TOKENIZER_CANONICALIZE) {
        lower_all(&q, &p);
        done = &p;
    }
    for (int64_t i = 0; i < done->n; i++) tokenizer_put_point(out, done->cp[i]);
    pupil_free(&p.cp);
    pupil_free(&q.cp);
}
