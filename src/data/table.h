/* table.h (private to data): two hash tables that only grow: 64-bit keys to numbers, and strings to 0, 1, 2,
 * ... */
#ifndef PUPIL_DATA_TABLE_H
#define PUPIL_DATA_TABLE_H

#include "pupil/base.h"

/* Values are positive; 0 stands for "not there". Zero-initialise; map64_free() at the end. */
typedef struct {
    struct map64_slot {
        uint64_t key;
        int64_t value;
    } * slot;
    int64_t n, slots;
} map64;
int64_t map64_get(const map64 *m, uint64_t key);
void map64_set(map64 *m, uint64_t key, int64_t value);
void map64_free(map64 *m);

/* Each distinct string once, numbered in order of arrival. The texts stay where they are until textset_free().
 * Zero-initialise. A string may hold NUL bytes; one NUL follows it. */
typedef struct {
    char **text;
    size_t *len;
    int64_t n, cap, len_cap;
    int64_t *slot, slots; /* number + 1, or 0 */
    char **page;
    int64_t pages, page_cap;
    size_t page_used, page_size;
} textset;
int64_t textset_find(const textset *t, const char *s, size_t len); /* -1: not there */
int64_t textset_add(textset *t, const char *s, size_t len);        /* the number it has or gets */
void textset_free(textset *t);

#endif
