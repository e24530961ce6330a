/* journal.h: the journal's text form, shared by its reader, its writer and the fuzz target. */
#ifndef STORE_JOURNAL_H
#define STORE_JOURNAL_H

#include "pupil/store.h"

/** Take whole lines out of bytes[0..n) into j; returns how many bytes they were. */
size_t journal_parse(pupil_journal *j, const char *bytes, size_t n);
/** The line of a record, newline included. */
void journal_line(pupil_buf *b, const char *kind, const char *const *pairs);
/** `s` with control bytes, '%' and, if `strict`, space and '=' as %XX. */
void journal_encode(pupil_buf *b, const char *s, bool strict);
/** Latest generation of a lane so far; 0 if none was opened. */
int64_t journal_latest(const pupil_journal *j, const char *lane);
/** A whole decimal number in lo..hi and nothing else. */
bool journal_number(const char *s, int64_t lo, int64_t hi, int64_t *ret);

#endif
