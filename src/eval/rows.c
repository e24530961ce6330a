/* rows.c: what was measured, one figure a row, and the file of rows: JSON lines that are only ever added to, each telling of
 * what model and data it is, so that what is known already is not computed again. */
#include "pupil/eval.h"

#include <jansson.h>
#include <string.h>

static pupil_row *add(pupil_rows *r, const char *protocol, const char *metric)
{
    PUPIL_GROW(r->row, r->n, r->cap);
    pupil_row *row = &r->row[r->n++];
    *row = (pupil_row){0};
    snprintf(row->protocol, sizeof row->protocol, "%s", protocol);
    snprintf(row->metric, sizeof row->metric, "%s", metric);
    return row;
}

void pupil_rows_add(pupil_rows *r, const char *protocol, const char *metric, double value, int64_t n)
{
    pupil_row *row = add(r, protocol, metric);
    row->value = value;
    row->n = n;
}

void pupil_rows_add_mean(pupil_rows *r, const char *protocol, const char *metric, const double *x, int64_t n, uint64_t seed)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += x[i];
    pupil_rows_add(r, protocol, metric, n ? 100 * sum / (double)n : 0, n);
    pupil_row *row = &r->row[r->n - 1];
    pupil_interval at = pupil_bootstrap(x, n, seed);
    row->has_interval = true;
    row->interval = (pupil_interval){100 * at.low, 100 * at.high};
}

void pupil_rows_add_ranks(pupil_rows *r, const char *protocol, const char *prefix, const int64_t *rank, int64_t n, uint64_t seed)
{
    static const int within[] = {1, 5, 10};
    char name[40];
    double *hit = pupil_alloc((size_t)n * sizeof *hit);
    for (int k = 0; k < PUPIL_COUNT(within); k++) {
        for (int64_t i = 0; i < n; i++) hit[i] = rank[i] < within[k];
        snprintf(name, sizeof name, "%sr%d", prefix, within[k]);
        pupil_rows_add_mean(r, protocol, name, hit, n, seed);
    }
    pupil_recall all = pupil_recall_of(rank, n);
    snprintf(name, sizeof name, "%smean_rank", prefix);
    pupil_rows_add(r, protocol, name, all.mean_rank, n);
    snprintf(name, sizeof name, "%smedian_rank", prefix);
    pupil_rows_add(r, protocol, name, all.median_rank, n);
    pupil_free(&hit);
}

void pupil_rows_free(pupil_rows *r)
{
    pupil_free(&r->row);
    *r = (pupil_rows){0};
}

/* ---- as text ------------------------------------------------------------------------------------------ */
static void add_text(pupil_buf *out, const char *key, const char *text)
{
    pupil_buf_printf(out, "\"%s\": ", key);
    pupil_buf_json(out, text);
    pupil_buf_puts(out, ", ");
}

static void add_row(pupil_buf *out, const pupil_row *r)
{
    add_text(out, "protocol", r->protocol);
    add_text(out, "metric", r->metric);
    pupil_buf_printf(out, "\"n\": %lld, \"value\": ", (long long)r->n);
    pupil_buf_json_num(out, r->value);
    if (r->has_interval) {
        pupil_buf_puts(out, ", \"interval\": [");
        pupil_buf_json_num(out, r->interval.low);
        pupil_buf_puts(out, ", ");
        pupil_buf_json_num(out, r->interval.high);
        pupil_buf_puts(out, "]");
    }
    pupil_buf_puts(out, "}");
}

void pupil_rows_json(const pupil_rows *r, const char *model, const char *between, pupil_buf *out)
{
    for (int64_t i = 0; i < r->n; i++) {
        pupil_buf_puts(out, i ? between : "");
        pupil_buf_puts(out, "{");
        add_text(out, "model", model);
        add_row(out, &r->row[i]);
    }
}

void pupil_rows_text(const pupil_rows *r, pupil_buf *out)
{
    for (int64_t i = 0; i < r->n; i++) {
        const pupil_row *row = &r->row[i];
        bool first = i == 0 || strcmp(row->protocol, row[-1].protocol) != 0;
        if (first) pupil_buf_printf(out, "%s%s  n %lld", i ? "\n" : "", row->protocol, (long long)row->n);
        pupil_buf_printf(out, "  %s %.4g", row->metric, row->value);
        if (row->has_interval) pupil_buf_printf(out, " (%.4g to %.4g)", row->interval.low, row->interval.high);
    }
    if (r->n) pupil_buf_puts(out, "\n");
}

/* ---- the file of rows ----------------------------------------------------------------------------------- */
enum { FILE_MOST = 256 << 20 };

int pupil_rows_append(const char *path, const pupil_rows_about *a, const pupil_rows *r)
{
    pupil_buf out = {0};
    char *old = NULL;
    size_t n = 0;
    if (pupil_exists(path)) PUPIL_TRY(pupil_read_file(path, FILE_MOST, &old, &n));
    if (n) pupil_buf_add(&out, old, n);
    if (n && old[n - 1] != '\n') pupil_buf_puts(&out, "\n");
    pupil_free(&old);
    for (int64_t i = 0; i < r->n; i++) {
        pupil_buf_puts(&out, "{");
        add_text(&out, "model", a->model);
        add_text(&out, "model_digest", a->model_digest);
        add_text(&out, "data_digest", a->data_digest);
        add_text(&out, "split", a->split);
        pupil_buf_printf(&out, "\"seed\": %llu, ", (unsigned long long)a->seed);
        add_text(&out, "key", a->key);
        add_row(&out, &r->row[i]);
        pupil_buf_puts(&out, "\n");
    }
    int code = pupil_write_file(path, out.s ? out.s : "", out.len);
    pupil_buf_free(&out);
    return code;
}

static void take_row(const json_t *line, const char *key, pupil_rows *ret)
{
    const char *of = json_string_value(json_object_get(line, "key")), *protocol = json_string_value(json_object_get(line, "protocol")),
               *metric = json_string_value(json_object_get(line, "metric"));
    const json_t *n = json_object_get(line, "n"), *value = json_object_get(line, "value"), *interval = json_object_get(line, "interval");
    if (!of || strcmp(of, key) != 0 || !protocol || !metric || !json_is_integer(n) || !json_is_number(value)) return;
    pupil_rows_add(ret, protocol, metric, json_number_value(value), json_integer_value(n));
    if (json_array_size(interval) != 2) return;
    pupil_row *row = &ret->row[ret->n - 1];
    row->has_interval = true;
    row->interval = (pupil_interval){json_number_value(json_array_get(interval, 0)), json_number_value(json_array_get(interval, 1))};
}

int pupil_rows_read(const char *path, const char *key, pupil_rows *ret)
{
    char *text = NULL;
    pupil_rows rows = {0};
    if (!pupil_exists(path)) return pupil_fail(PUPIL_ENOTFOUND, "%s: not there", path);
    PUPIL_TRY(pupil_read_file(path, FILE_MOST, &text, NULL));
    for (char *save = NULL, *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        json_t *j = strstr(line, key) ? json_loads(line, 0, NULL) : NULL;
        if (j) take_row(j, key, &rows);
        json_decref(j);
    }
    pupil_free(&text);
    if (rows.n == 0) return pupil_fail(PUPIL_ENOTFOUND, "%s: no rows of %.16s", path, key);
    *ret = rows;
    return 0;
}
