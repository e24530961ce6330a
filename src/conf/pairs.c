/* pairs.c: a small YAML file of `key: value` lines that is not about settings. One problem ends the reading. */
#include "schema.h"

#include <string.h>
#include <yaml.h>

static const char *scalar(const yaml_node_t *n)
{
    return (const char *)n->data.scalar.value;
}

static bool plain(const yaml_node_t *n)
{
    return n->type == YAML_SCALAR_NODE && strlen(scalar(n)) == n->data.scalar.length;
}

static int refuse(const char *path, const yaml_node_t *n, const char *what)
{
    return pupil_fail(PUPIL_EUSER, "%s:%zu:%zu: %s", path, n->start_mark.line + 1, n->start_mark.column + 1, what);
}

/* A value, or a list of values as "0.5, 0.25". */
static int value_text(yaml_document_t *doc, const char *path, const yaml_node_t *v, pupil_buf *out)
{
    if (plain(v)) {
        pupil_buf_puts(out, scalar(v));
        return 0;
    }
    if (v->type != YAML_SEQUENCE_NODE) return refuse(path, v, "a value, or a list of values, was expected");
    for (yaml_node_item_t *i = v->data.sequence.items.start; i < v->data.sequence.items.top; i++) {
        const yaml_node_t *n = yaml_document_get_node(doc, *i);
        if (!plain(n)) return refuse(path, n, "a plain value was expected");
        pupil_buf_printf(out, "%s%s", out->len ? ", " : "", scalar(n));
    }
    return 0;
}

static int add_pair(yaml_document_t *doc, const char *path, const yaml_node_pair_t *p, pupil_pairs *ret)
{
    const yaml_node_t *k = yaml_document_get_node(doc, p->key), *v = yaml_document_get_node(doc, p->value);
    pupil_buf text = {0};
    if (!plain(k)) return refuse(path, k, "a word was expected as key");
    for (int64_t i = 0; i < ret->n; i++)
        if (!strcmp(ret->pair[i].key, scalar(k))) return refuse(path, k, "this key is given twice");
    int r = value_text(doc, path, v, &text);
    if (r < 0) {
        pupil_buf_free(&text);
        return r;
    }
    PUPIL_GROW(ret->pair, ret->n, ret->cap);
    ret->pair[ret->n++] = (pupil_pair){pupil_strdup(scalar(k)), pupil_strdup(text.s ? text.s : ""),
                                       (int)k->start_mark.line + 1, (int)k->start_mark.column + 1};
    pupil_buf_free(&text);
    return 0;
}

static int read_map(yaml_document_t *doc, const char *path, pupil_pairs *ret)
{
    const yaml_node_t *root = yaml_document_get_root_node(doc);
    if (!root || root->type != YAML_MAPPING_NODE)
        return pupil_fail(PUPIL_EUSER, "%s: lines of `key: value` were expected", path);
    for (const yaml_node_pair_t *p = root->data.mapping.pairs.start; p < root->data.mapping.pairs.top; p++)
        PUPIL_TRY(add_pair(doc, path, p, ret));
    return 0;
}

int pupil_pairs_load(const char *path, pupil_pairs *ret)
{
    char *text;
    size_t n;
    pupil_pairs pairs = {0};
    yaml_parser_t parser;
    yaml_document_t doc;
    int r = pupil_read_file(path, 1 << 20, &text, &n);
    if (r < 0) return PUPIL_EUSER;
    yaml_parser_initialize(&parser);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, n);
    if (yaml_parser_load(&parser, &doc)) {
        r = read_map(&doc, path, &pairs);
        yaml_document_delete(&doc);
    } else {
        r = pupil_fail(PUPIL_EUSER, "%s:%zu:%zu: not YAML: %s", path, parser.problem_mark.line + 1, parser.problem_mark.column + 1,
                       parser.problem ? parser.problem : "unreadable");
    }
    yaml_parser_delete(&parser);
    pupil_free(&text);
    if (r < 0) pupil_pairs_free(&pairs);
    else *ret = pairs;
    return r;
}

void pupil_pairs_free(pupil_pairs *p)
{
    for (int64_t i = 0; i < p->n; i++) {
        pupil_free(&p->pair[i].key);
        pupil_free(&p->pair[i].value);
    }
    pupil_free(&p->pair);
    *p = (pupil_pairs){0};
}
