/* tokenizer_split.c: patterns in texts, and texts cut into parts as the tokenizers library's pre-tokenizers
 * do (SplitDelimiterBehavior and Metaspace of tokenizers 0.15). A regular expression runs under PCRE2's
 * limits; where they end it, it matches no more. */
#include "tokenizer_pieces.h"

#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

enum { MAX_REGEX = 4096, MATCH_LIMIT = 1000000, HEAP_LIMIT_KIB = 20000 };

bool text_is_white(uint32_t c)
{
    return tokenizer_is_space(c) && !(c >= 0x1c && c <= 0x1f);
}

/* ---- patterns ---- */

int pattern_compile(text_pattern *p, const char *regex)
{
    int code;
    PCRE2_SIZE at = 0;
    if (strlen(regex) > MAX_REGEX)
        return pupil_fail(PUPIL_EFORMAT, "a regular expression of %zu bytes", strlen(regex));
    p->regex = pcre2_compile((PCRE2_SPTR)regex, PCRE2_ZERO_TERMINATED,
                             PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &code, &at, NULL);
    if (!p->regex) {
        PCRE2_UCHAR why[128];
        pcre2_get_error_message(code, why, sizeof why);
        return pupil_fail(PUPIL_EFORMAT, "Regex '%.60s': %s at %zu", regex, (const char *)why, at);
    }
    p->limits = pcre2_match_context_create(NULL);
    PUPIL_REQUIRE(p->limits);
    pcre2_set_match_limit(p->limits, MATCH_LIMIT);
    pcre2_set_heap_limit(p->limits, HEAP_LIMIT_KIB);
    return 0;
}

void pattern_free(text_pattern *p)
{
    pcre2_match_context_free(p->limits);
    pcre2_code_free(p->regex);
    pupil_free(&p->text);
    *p = (text_pattern){0};
}

static bool next_white(const char *s, size_t n, size_t from, size_t *ret_start, size_t *ret_end)
{
    const uint8_t *p = (const uint8_t *)s + from, *end = (const uint8_t *)s + n;
    while (p < end) {
        *ret_start = (size_t)(p - (const uint8_t *)s);
        if (!text_is_white(tokenizer_next_point(&p, end))) continue;
        *ret_end = (size_t)(p - (const uint8_t *)s);
        return true;
    }
    return false;
}

static bool next_regex(const text_pattern *p, const char *s, size_t n, size_t from, size_t *ret_start,
                       size_t *ret_end)
{
    pcre2_match_data *match = pcre2_match_data_create(1, NULL);
    PUPIL_REQUIRE(match);
    bool found = pcre2_match(p->regex, (PCRE2_SPTR)s, n, from, PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY, match,
                             p->limits) >= 0;
    const PCRE2_SIZE *span = pcre2_get_ovector_pointer(match);
    found = found && span[0] >= from && span[0] < span[1]; /* \K can turn it round */
    if (found) {
        *ret_start = span[0];
        *ret_end = span[1];
    }
    pcre2_match_data_free(match);
    return found;
}

bool pattern_next(const text_pattern *p, const char *s, size_t n, size_t from, size_t *ret_start,
                  size_t *ret_end)
{
    if (from >= n) return false;
    if (p->regex) return next_regex(p, s, n, from, ret_start, ret_end);
    if (!p->text) return next_white(s, n, from, ret_start, ret_end);
    const char *at = memmem(s + from, n - from, p->text, strlen(p->text));
    if (!at) return false;
    *ret_start = (size_t)(at - s);
    *ret_end = *ret_start + strlen(p->text);
    return true;
}

/* ---- parts ---- */

void parts_add(text_parts *p, const char *s, size_t n)
{
    if (n == 0) return;
    pupil_buf_add(&p->text, s, n);
    PUPIL_GROW(p->end, p->n, p->cap);
    p->end[p->n++] = p->text.len;
}

void parts_free(text_parts *p)
{
    pupil_buf_free(&p->text);
    pupil_free(&p->end);
    *p = (text_parts){0};
}

/* One part, cut at its matches. */
static void cut(const pre_step *step, const char *s, size_t n, text_parts *out)
{
    size_t at = 0, from, to, start = 0; /* start: of the part that is being made */
    while (pattern_next(&step->pattern, s, n, at, &from, &to)) {
        switch (step->behavior) {
        case SPLIT_REMOVED:
            parts_add(out, s + at, from - at);
            break;
        case SPLIT_ISOLATED:
            parts_add(out, s + at, from - at);
            parts_add(out, s + from, to - from);
            break;
        case SPLIT_WITH_PREVIOUS:
            parts_add(out, s + at, to - at);
            break;
        case SPLIT_WITH_NEXT:
            parts_add(out, s + start, from - start);
            start = from;
            break;
        }
        at = to;
    }
    if (step->behavior != SPLIT_WITH_NEXT) start = at;
    parts_add(out, s + start, n - start);
}

static void metaspace(const pre_step *step, const char *s, size_t n, bool first, text_parts *out)
{
    const char *mark = step->pattern.text;
    pupil_buf b = {0};
    bool marked = n && (*s == ' ' || (n >= strlen(mark) && memcmp(s, mark, strlen(mark)) == 0));
    if (n && !marked && (step->prepend == PREPEND_ALWAYS || (step->prepend == PREPEND_FIRST && first)))
        pupil_buf_puts(&b, mark);
    for (size_t i = 0; i < n; i++) {
        if (s[i] == ' ') pupil_buf_puts(&b, mark);
        else pupil_buf_add(&b, s + i, 1);
    }
    if (step->split) cut(step, b.s, b.len, out);
    else parts_add(out, b.s, b.len);
    pupil_buf_free(&b);
}

void pre_step_run(const pre_step *step, text_parts *parts)
{
    text_parts out = {.from_start = parts->from_start};
    for (int64_t i = 0; i < parts->n; i++) {
        size_t start = i ? parts->end[i - 1] : 0;
        const char *s = parts->text.s + start;
        size_t n = parts->end[i] - start, from, to;
        if (step->metaspace) metaspace(step, s, n, i == 0 && parts->from_start, &out);
        else cut(step, s, n, &out);
        bool removes = !step->metaspace && step->behavior == SPLIT_REMOVED;
        if (i == 0 && removes && pattern_next(&step->pattern, s, n, 0, &from, &to) && from == 0)
            out.from_start = false;
    }
    parts_free(parts);
    *parts = out;
}
