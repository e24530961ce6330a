/* faults.c: broken samples counted by reason. Names are cut to one printable line: they come from strangers.
 */
#include "faults.h"

#include <ctype.h>

enum { NAMED_FIRST = 3, WHERE_MAX = 300 };

static const char *const text_of[] = {
#define X(name, text) text,
    FAULT_LIST(X)
#undef X
};

void faults_add(faults *f, fault why, const char *where, ...)
{
    f->n[why]++;
    if (f->names >= NAMED_FIRST) return;
    char name[WHERE_MAX];
    va_list ap;
    va_start(ap, where);
    vsnprintf(name, sizeof name, where, ap);
    va_end(ap);
    for (char *p = name; *p; p++)
        if (iscntrl((unsigned char)*p)) *p = '?';
    pupil_buf_printf(&f->named, "%s%s: %s", f->names++ ? "; " : "", name, text_of[why]);
}

int64_t faults_total(const faults *f)
{
    int64_t sum = 0;
    for (int i = 0; i < FAULTS; i++) sum += f->n[i];
    return sum;
}

void faults_print(const faults *f, pupil_buf *out)
{
    bool some = false;
    for (int i = 0; i < FAULTS; i++) {
        if (!f->n[i]) continue;
        pupil_buf_printf(out, "%s%lld %s", some ? ", " : "", (long long)f->n[i], text_of[i]);
        some = true;
    }
}

void faults_merge(faults *f, const int64_t n[FAULT_SLOTS], const char *in, const char *named)
{
    for (int i = 0; i < FAULTS; i++) f->n[i] += n[i];
    if (f->names || !*named) return;
    pupil_buf_printf(&f->named, "%s: %s", in, named);
    f->names = NAMED_FIRST;
}

void faults_free(faults *f)
{
    pupil_buf_free(&f->named);
    *f = (faults){0};
}
