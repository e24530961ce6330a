/* faults.h (private to data): why samples are left out: how many for each reason, and the first few by name.
 */
#ifndef PUPIL_DATA_FAULTS_H
#define PUPIL_DATA_FAULTS_H

#include "pupil/base.h"

/* The order is part of the format of tar indices: add at the end, and count PUPILTI up. */
#define FAULT_LIST(X)                                                                                        \
    X(FAULT_NO_PICTURE, "no picture")                                                                        \
    X(FAULT_NO_CAPTION, "no caption")                                                                        \
    X(FAULT_EMPTY_CAPTION, "an empty caption")                                                               \
    X(FAULT_NOT_UTF8, "its caption is not UTF-8")                                                            \
    X(FAULT_NUL, "its caption holds a NUL byte")                                                             \
    X(FAULT_LONG_CAPTION, "its caption is too large")                                                        \
    X(FAULT_TWICE, "its key comes twice")                                                                    \
    X(FAULT_LEADS_OUT, "its name leads out of the data")                                                     \
    X(FAULT_EMPTY_PICTURE, "its picture is empty")                                                           \
    X(FAULT_LARGE_PICTURE, "its picture is larger than 256 MiB")                                             \
    X(FAULT_NOT_PICTURE, "its picture is neither JPEG, PNG nor WebP")                                        \
    X(FAULT_CUT, "cut off by the tar's end")                                                                 \
    X(FAULT_DAMAGED, "the tar is damaged")                                                                   \
    X(FAULT_CLASS, "its class is not a number")                                                              \
    X(FAULT_MISSING, "there is no such file")                                                                \
    X(FAULT_FIELDS, "another number of fields than in the first line")                                       \
    X(FAULT_UNDECODED, "its picture cannot be decoded")

typedef enum {
#define X(name, text) name,
    FAULT_LIST(X)
#undef X
        FAULTS
} fault;
#define FAULT_NONE FAULTS
enum { FAULT_SLOTS = 24 }; /* room in a tar index */
_Static_assert((int)FAULTS <= (int)FAULT_SLOTS, "a tar index has room for each fault");

typedef struct {
    int64_t n[FAULT_SLOTS];
    pupil_buf named; /* "where: why; where: why" */
    int names;
} faults;

/* Count one; the first few are named in one line, whatever bytes `where` holds. */
void faults_add(faults *f, fault why, const char *where, ...) __attribute__((format(printf, 3, 4)));
int64_t faults_total(const faults *f);
/* "7 no caption, 5 an empty caption" */
void faults_print(const faults *f, pupil_buf *out);
/* Add the counts of b, and its names, "in: " before them, if there are none yet. */
void faults_merge(faults *f, const int64_t n[FAULT_SLOTS], const char *in, const char *named);
void faults_free(faults *f);

#endif
