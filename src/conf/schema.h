/* schema.h (private to conf): one row a key. Everything this room does is a loop over these rows. */
#ifndef PUPIL_CONF_SCHEMA_H
#define PUPIL_CONF_SCHEMA_H

#include "pupil/conf.h"

typedef enum { TYPE_BOOL, TYPE_INT, TYPE_FLOAT, TYPE_STRING, TYPE_STRINGS, TYPE_ENUM } value_type;

enum {
    FREE = 1,     /* may change between two runs of one run directory */
    AUTO = 2,     /* an int that may be `auto` (stored as 0) */
    PRESET = 4,   /* unset (null) unless given: the preset decides */
    REQUIRED = 8
};

typedef struct {
    const char *key;
    value_type type;
    size_t at, size;    /* in pupil_conf */
    const char *init;   /* the default as YAML text; NULL: unset */
    double min, max;
    const char *choices; /* enum: words separated by spaces; index is the value, after `base` */
    int base;            /* value of the first word */
    unsigned flags;
    const char *doc;
} field;

extern const field schema[];
extern const int schema_n;

/* Index of the row with this key, or -1. */
int schema_find(const char *key);
/* Some row's key begins with "key.". */
bool schema_is_section(const char *key);
/* Stores a scalar's text into c; false if it does not fit the type or range; what was expected goes into `expected`. */
bool field_store(const field *f, const char *text, bool quoted, pupil_conf *c, char expected[256]);
void field_add_string(const field *f, const char *text, pupil_conf *c);
void field_clear(const field *f, pupil_conf *c);
/* The value as YAML text that reads back equal. */
void field_print(const field *f, const pupil_conf *c, pupil_buf *out);
void field_expected(const field *f, char expected[256]);

/* Where each given value stands; line 0: not given. */
typedef struct {
    const char *file; /* or "--set a.b=v" with line -1; owned by the parser */
    int line, column;
} place;

/* Rules between keys; adds one line each to errors. Returns how many. */
int conf_check(const pupil_conf *c, const place *at, pupil_buf *errors);

#endif
