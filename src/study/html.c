/* html.c: text into HTML. What comes from data passes through %s of html() and is escaped there, always. */
#include "report.h"

#include <string.h>

void html(pupil_buf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    for (const char *f = fmt; *f;) {
        size_t plain = strcspn(f, "%");
        pupil_buf_add(b, f, plain);
        f += plain;
        if (!*f) break;
        char spec[16];
        size_t n = 1 + strspn(f + 1, "-+0123456789.") + 1;
        PUPIL_REQUIRE(n < sizeof spec);
        memcpy(spec, f, n);
        spec[n] = 0;
        f += n;
        if (spec[n - 1] == 's') pupil_buf_html(b, va_arg(ap, const char *));
        else if (spec[n - 1] == 'd') pupil_buf_printf(b, spec, va_arg(ap, int));
        else if (spec[n - 1] == 'f' || spec[n - 1] == 'g') pupil_buf_printf(b, spec, va_arg(ap, double));
        else if (spec[n - 1] == '%') pupil_buf_puts(b, "%");
        else PUPIL_REQUIRE(!"html() knows this conversion");
    }
    va_end(ap);
}

const char *with_commas(double x, char out[40])
{
    char digits[40];
    int n = snprintf(digits, sizeof digits, "%.0f", x), at = 0;
    for (int i = 0; i < n && i < 28; i++) {
        if (i && (n - i) % 3 == 0 && digits[i - 1] != '-') out[at++] = ',';
        out[at++] = digits[i];
    }
    out[at] = 0;
    return out;
}
