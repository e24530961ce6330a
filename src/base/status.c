/* status.c: error codes, the recorded reason, and what each means for the process exit code.
 * Guarantees: the reason is per thread, at most 1 KiB, always one line, and moves no terminal's cursor whatever a file's
 * names hold. */
#include "pupil/base.h"

#include <stdlib.h>
#include <string.h>

static _Thread_local char reason[1024];

const char *pupil_status_text(int code)
{
    switch (code) {
#define X(name, value, text)                                                                                 \
    case value: return text;
        PUPIL_STATUS_LIST(X)
#undef X
    default: return "unknown status";
    }
}

static void one_line(void)
{
    for (char *p = reason; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f) *p = ' ';
}

int pupil_fail(int code, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(reason, sizeof reason, fmt, ap);
    va_end(ap);
    one_line();
    return code;
}

int pupil_context(int code, const char *fmt, ...)
{
    if (code >= 0) return code;
    char old[sizeof reason], head[512];
    memcpy(old, reason, sizeof old);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(head, sizeof head, fmt, ap);
    va_end(ap);
    size_t n = strlen(head);
    memcpy(reason, head, n);
    snprintf(reason + n, sizeof reason - n, ": %s", old);
    one_line();
    return code;
}

const char *pupil_reason(void) { return reason[0] ? reason : "no reason was recorded"; }

int pupil_exit_code(int code)
{
    switch (code) {
    case PUPIL_OK: return 0;
    case PUPIL_EUSER:
    case PUPIL_EMISMATCH: return 2;
    case PUPIL_ESTOP: return 75;
    default: return code > 0 ? 0 : 1;
    }
}

_Noreturn void pupil_bug(const char *file, int line, const char *cond)
{
    fprintf(stderr, "pupil: bug at %s:%d: `%s` does not hold; please report it\n", file, line, cond);
    abort();
}
