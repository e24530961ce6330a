/* schema.h (private to conf): one row a key. Everything this room does is a loop over these rows. */
#ifndef PUPIL_CONF_SCHEMA_H
#define PUPIL_CONF_SCHEMA_H

#include "pupil/conf.h"

typedef enum { TYPE_BOOL, TYPE_INT, TYPE_FLOAT, TYPE_STRING, TYPE_STRINGS, TYPE_ENUM } value_type;

enum {
    FREE = 1,   /* may change between two runs of one run directory */
    AUTO = 2,   /* an int that may be `auto` (stored as 0) */
    PRESET = 4, /* unset (null) unless given: the preset decides */
    REQUIRED = 8,
    PATH = 16 /* a string that names a file or folder */
};

typedef struct {
    const char *key;
    value_type type;
    size_t at, size;  /* in pupil_conf */
    const char *init; /* the default as YAML text; NULL: unset */
    double min, max;
    const char *choices; /* words separated by spaces; an enum's value is the index of its word */
    unsigned flags;
    const char *doc;
} field;

/* The names of presets.c. */
#define LOSS_PRESETS                                                                                         \
    "clip siglip clip-kd clip-kd-crd clip-kd-fd clip-kd-icl clip-kd-gd clip-kd-afd nano-clip tinyclip open_clip mobileclip mobileclip-b " \
    "mobileclip2 siglip-kd hinton rkd dist logit-std dime-fm"

extern const field schema[];
extern const int schema_n;

/* Index of the row with this key, or -1. */
int schema_find(const char *key);
/* Some row's key begins with "key.". */
bool schema_is_section(const char *key);
/* A list of sections: its items' keys are "KEY.0.WORD", "KEY.1.WORD", ... */
bool schema_is_list(const char *key);
/* The number of the item that a row belongs to, or -1. */
int schema_item(const char *key);

/* ---- field.c: one value ------------------------------------------------------------------------- */
enum { EXPECTED_ROOM = 256 };
/* What the row wants: "a whole number from 1 to 6". */
void field_expected(const field *f, char expected[EXPECTED_ROOM]);
/* Stores a scalar's text into c; false, and c as it was, if type or range do not fit. */
bool field_store(const field *f, const char *text, bool quoted, pupil_conf *c);
/* Appends to a list; false for an empty text. */
bool field_add_string(const field *f, const char *text, pupil_conf *c);
/* Unset: what was stored is freed. */
void field_clear(const field *f, pupil_conf *c);
/* The value as YAML text that reads back equal. */
void field_print(const field *f, const pupil_conf *c, pupil_buf *out);
/* The choice that `text` was probably meant to be, into word[64]; or NULL. */
const char *field_choice(const field *f, const char *text, char word[64]);

/* ---- problem.c: what is wrong, and where ---------------------------------------------------------- */
enum { MOST_PROBLEMS = 100 };
typedef struct {
    const char *file; /* the file, or "--set a.b=v"; owned by the parser */
    int line, column; /* from 1. line 0: not given; -1: given on the command line */
    bool bad;         /* given, but refused already */
} place;
typedef struct {
    pupil_buf *out;
    int count;
} problems;
/* Adds the line "file:line:column: ..."; after MOST_PROBLEMS only counts. */
void problem(problems *p, place at, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* A site's file as text (NULL: none), with its name; both owned. */
int conf_site_text(char **ret_name, char **ret_text);
/* A file as text, whole. */
int conf_read_text(const char *path, char **ret_text);
/* The settings of `text` above those of the site (NULL: none), below the points of a study (NULL: none) and the sets. */
int conf_parse_all(const char *path, const char *text, const char *site, const char *site_text, const pupil_study *study, const int *point,
                   const char *const *sets, int n, pupil_conf **ret, pupil_buf *errors);

/* The key means something where data.source is `source`. */
bool conf_of_source(const char *key, pupil_source source);
/* loss.preset into the keys it stands for, except those that are given. */
void preset_expand(pupil_conf *c, const place *at);
/* "loss.fd.reduce": weight of the term, or -1 for a key of no term. */
double conf_term_weight(const pupil_conf *c, const char *key);
/* Rules between keys. at[i] is where the value of schema[i] stands. */
void conf_check(const pupil_conf *c, const place *at, problems *p);

#endif
