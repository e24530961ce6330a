/* text.c: memory that never comes back NULL, and growable text with the escapes our outputs need. */
#include "pupil/base.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static _Noreturn void out_of_memory(size_t bytes)
{
    char t[32];
    fprintf(stderr, "pupil: out of memory: %s more were asked for; lower train.batch_size or use more ranks\n",
            pupil_bytes_text((double)bytes, t));
    exit(1);
}

void *pupil_alloc(size_t bytes)
{
    void *p = NULL;
    size_t n = bytes ? (bytes + 63) & ~(size_t)63 : 64;
    if (n < bytes || n > SIZE_MAX - 128) out_of_memory(bytes);
    /* calloc maps fresh zero pages lazily; alignment to 64 is kept by an offset word before the block */
    char *raw = calloc(1, n + 128);
    if (!raw) out_of_memory(bytes);
    uintptr_t a = ((uintptr_t)raw + 64 + 63) & ~(uintptr_t)63;
    p = (void *)a;
    memcpy((char *)p - sizeof(void *), &raw, sizeof(void *));
    return p;
}

void pupil_free_(void *p)
{
    if (!p) return;
    void *raw;
    memcpy(&raw, (char *)p - sizeof(void *), sizeof(void *));
    free(raw);
}

void *pupil_realloc(void *p, size_t old_bytes, size_t new_bytes)
{
    void *q = pupil_alloc(new_bytes);
    if (p && old_bytes) memcpy(q, p, PUPIL_MIN(old_bytes, new_bytes));
    pupil_free_(p);
    return q;
}

char *pupil_strdup(const char *s)
{
    size_t n = strlen(s) + 1;
    return memcpy(pupil_alloc(n), s, n);
}

char *pupil_format(const char *fmt, ...)
{
    va_list ap, ap2;
    va_start(ap, fmt);
    va_copy(ap2, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    PUPIL_REQUIRE(n >= 0);
    char *s = pupil_alloc((size_t)n + 1);
    vsnprintf(s, (size_t)n + 1, fmt, ap2);
    va_end(ap2);
    return s;
}

static void reserve(pupil_buf *b, size_t more)
{
    if (b->len + more + 1 <= b->cap) return;
    size_t cap = PUPIL_MAX(2 * b->cap, b->len + more + 64);
    b->s = pupil_realloc(b->s, b->cap, cap);
    b->cap = cap;
}

void pupil_buf_add(pupil_buf *b, const void *bytes, size_t n)
{
    reserve(b, n);
    if (n) memcpy(b->s + b->len, bytes, n);
    b->len += n;
    b->s[b->len] = 0;
}

void pupil_buf_puts(pupil_buf *b, const char *s) { pupil_buf_add(b, s, strlen(s)); }

void pupil_buf_printf(pupil_buf *b, const char *fmt, ...)
{
    va_list ap, ap2;
    va_start(ap, fmt);
    va_copy(ap2, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    PUPIL_REQUIRE(n >= 0);
    reserve(b, (size_t)n);
    vsnprintf(b->s + b->len, (size_t)n + 1, fmt, ap2);
    va_end(ap2);
    b->len += (size_t)n;
}

/* Length of the valid UTF-8 sequence at s (1..4), or 0. */
static int utf8_len(const unsigned char *s)
{
    if (s[0] < 0x80) return 1;
    int n = s[0] >= 0xf0 && s[0] < 0xf5 ? 4 : s[0] >= 0xe0 && s[0] < 0xf0 ? 3 : s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : 0;
    for (int i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80) return 0;
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) ||
        (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    return n;
}

void pupil_buf_json(pupil_buf *b, const char *s)
{
    pupil_buf_add(b, "\"", 1);
    for (const unsigned char *p = (const unsigned char *)s; *p;) {
        int n = utf8_len(p);
        if (n == 0) {
            pupil_buf_puts(b, "\\ufffd");
            p++;
            continue;
        }
        if (*p == '"' || *p == '\\')
            pupil_buf_printf(b, "\\%c", *p);
        else if (*p == '\n')
            pupil_buf_puts(b, "\\n");
        else if (*p == '\t')
            pupil_buf_puts(b, "\\t");
        else if (*p < 0x20 || *p == 0x7f)
            pupil_buf_printf(b, "\\u%04x", *p);
        else
            pupil_buf_add(b, p, (size_t)n);
        p += n;
    }
    pupil_buf_add(b, "\"", 1);
}

void pupil_buf_json_num(pupil_buf *b, double x)
{
    if (!isfinite(x)) {
        pupil_buf_puts(b, "null");
        return;
    }
    char t[40];
    int digits = 1;
    while (digits < 17 && (snprintf(t, sizeof t, "%.*g", digits, x), strtod(t, NULL) != x)) digits++;
    if (fabs(x) < 1e17) /* as many digits as the whole part has: 100, not 1e+02 */
        while (digits < 17 && fabs(x) >= pow(10, digits)) digits++;
    pupil_buf_printf(b, "%.*g", digits, x);
}

void pupil_buf_html(pupil_buf *b, const char *s)
{
    for (; *s; s++) switch (*s) {
        case '&': pupil_buf_puts(b, "&amp;"); break;
        case '<': pupil_buf_puts(b, "&lt;"); break;
        case '>': pupil_buf_puts(b, "&gt;"); break;
        case '"': pupil_buf_puts(b, "&quot;"); break;
        case '\'': pupil_buf_puts(b, "&#39;"); break;
        default: pupil_buf_add(b, s, 1);
        }
}

void pupil_buf_base64(pupil_buf *b, const void *bytes, size_t n)
{
    static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const uint8_t *p = bytes;
    reserve(b, (n + 2) / 3 * 4);
    for (size_t i = 0; i < n; i += 3) {
        uint32_t w = (uint32_t)p[i] << 16 | (uint32_t)(i + 1 < n ? p[i + 1] : 0) << 8 | (i + 2 < n ? p[i + 2] : 0);
        char c[4] = {digit[w >> 18], digit[w >> 12 & 63], digit[w >> 6 & 63], digit[w & 63]};
        if (i + 1 >= n) c[2] = '=';
        if (i + 2 >= n) c[3] = '=';
        pupil_buf_add(b, c, 4);
    }
}

void pupil_buf_free(pupil_buf *b)
{
    pupil_free_(b->s);
    *b = (pupil_buf){0};
}

int pupil_edit_distance(const char *a, const char *b)
{
    int n = (int)strlen(b);
    int *row = pupil_alloc((size_t)(n + 1) * sizeof *row);
    for (int j = 0; j <= n; j++) row[j] = j;
    for (int i = 1; a[i - 1]; i++) {
        int diagonal = row[0];
        row[0] = i;
        for (int j = 1; j <= n; j++) {
            int best = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            best = PUPIL_MIN(best, PUPIL_MIN(row[j] + 1, row[j - 1] + 1));
            row[j] = best;
        }
    }
    int d = row[n];
    pupil_free(&row);
    return d;
}
