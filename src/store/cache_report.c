/* cache_report.c: a cache looked at by a person, read through, and rid of what is broken.
 * Guarantees: verify reads every block of every believed segment; drop never touches a file. */
#include "cache.h"
#include "journal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    int64_t segments, bytes, samples, generations, superseded, dropped, unusable;
    stored_error error;
    int64_t strays; /* files that no believed record names: what killed or replaced writers left */
} tally;

static int by_name(const void *key, const void *name)
{
    return strcmp(key, *(char *const *)name);
}

static int64_t count_strays(const pupil_cache *c)
{
    char **name;
    int n;
    if (pupil_list_dir(c->dir, "seg-", "", &name, &n) < 0) return 0;
    int64_t strays = n;
    for (int64_t i = 0; i < c->nseg; i++)
        if (!c->seg[i].broken && !c->seg[i].dropped &&
            bsearch(c->seg[i].file, name, (size_t)n, sizeof *name, by_name))
            strays--;
    pupil_names_free(&name, n);
    return strays;
}

static tally count(const pupil_cache *c)
{
    tally t = {.strays = count_strays(c)};
    for (int64_t i = 0; i < c->nseg; i++) {
        const segment *g = &c->seg[i];
        t.dropped += g->dropped;
        t.unusable += g->broken && !g->dropped;
        if (g->broken || g->dropped) continue;
        t.segments++;
        t.bytes += g->bytes;
        if (!g->error.rows) continue;
        t.error.cosine_least = t.error.rows ? fmin(t.error.cosine_least, g->error.cosine_least) : g->error.cosine_least;
        t.error.cosine += g->error.cosine;
        t.error.affinity_kl += g->error.affinity_kl;
        t.error.rows += g->error.rows;
        t.error.blocks += g->error.blocks;
    }
    for (int64_t b = 0; b < c->blocks; b++)
        if (c->where[b].seg1) t.samples += shape_rows(&c->shape, b);
    for (int64_t i = 0; i < c->journal.n; i++) {
        const pupil_record *r = &c->journal.record[i];
        t.superseded += !r->believed;
        t.generations += r->believed && !strcmp(r->kind, "gen");
    }
    return t;
}

static void describe_text(const pupil_cache *c, const tally *t, pupil_buf *out)
{
    char bytes[32], each[32];
    pupil_buf_printf(out, "%s\n", c->dir);
    for (const char *s = c->identity; *s;) {
        int line = (int)strcspn(s, "\n"), key = (int)strcspn(s, ":"), skip = PUPIL_MIN(key + 2, line);
        pupil_buf_printf(out, "  %-22.*s %.*s\n", PUPIL_MIN(key, line), s, line - skip, s + skip);
        s += line + (s[line] != 0);
    }
    pupil_buf_printf(out, "  %-22s %lld of %lld (%.1f %%)\n", "blocks published", (long long)c->have,
                     (long long)c->blocks, 100.0 * (double)c->have / (double)c->blocks);
    pupil_buf_printf(out, "  %-22s %s in %lld segment%s\n", "stored",
                     pupil_bytes_text((double)t->bytes, bytes), (long long)t->segments,
                     t->segments == 1 ? "" : "s");
    if (t->samples)
        pupil_buf_printf(out, "  %-22s %s\n", "a sample",
                         pupil_bytes_text((double)t->bytes / (double)t->samples, each));
    if (t->error.rows)
        pupil_buf_printf(out, "  %-22s cosine %.7f mean, %.7f least; affinity KL %.2e\n", "cost of dtype", t->error.cosine / (double)t->error.rows,
                         t->error.cosine_least, t->error.affinity_kl / (double)t->error.blocks);
    pupil_buf_printf(out, "  %-22s %lld\n", "generations", (long long)t->generations);
    pupil_buf_printf(out, "  %-22s %lld of replaced writers, %lld torn, %lld dropped, %lld unusable\n",
                     "records not believed", (long long)t->superseded, (long long)c->journal.torn,
                     (long long)t->dropped, (long long)t->unusable);
    pupil_buf_printf(out, "  %-22s %lld\n", "files not believed", (long long)t->strays);
}

static void describe_json(const pupil_cache *c, const tally *t, pupil_buf *out)
{
    pupil_buf_puts(out, "{\"dir\": ");
    pupil_buf_json(out, c->dir);
    pupil_buf_printf(out, ", \"digest\": \"%s\", \"identity\": {", c->digest);
    char *copy = pupil_strdup(c->identity), *save = NULL;
    const char *sep = "";
    for (char *line = strtok_r(copy, "\n", &save); line; line = strtok_r(NULL, "\n", &save), sep = ", ") {
        char *value = strstr(line, ": ");
        if (value) *value = 0;
        pupil_buf_puts(out, sep);
        pupil_buf_json(out, line);
        pupil_buf_puts(out, ": ");
        pupil_buf_json(out, value ? value + 2 : "");
    }
    pupil_free(&copy);
    const struct {
        const char *name;
        int64_t value;
    } number[] = {{"blocks", c->blocks},         {"blocks_have", c->have},  {"samples", c->shape.samples},
                  {"samples_have", t->samples},  {"block", c->shape.block}, {"dim", c->shape.dim},
                  {"bytes", t->bytes},           {"segments", t->segments}, {"generations", t->generations},
                  {"superseded", t->superseded}, {"torn", c->journal.torn}, {"dropped", t->dropped},
                  {"unusable", t->unusable},     {"stray_files", t->strays}};
    pupil_buf_printf(out, "}, \"dtype\": \"%s\", \"views\": %d, \"captions\": %d", pupil_stored_name[c->shape.dtype], c->shape.views,
                     c->shape.captions);
    if (t->error.rows)
        pupil_buf_printf(out, ", \"error\": {\"cosine_mean\": %.9f, \"cosine_least\": %.9f, \"affinity_kl\": %.3e}",
                         t->error.cosine / (double)t->error.rows, t->error.cosine_least, t->error.affinity_kl / (double)t->error.blocks);
    for (int i = 0; i < PUPIL_COUNT(number); i++)
        pupil_buf_printf(out, ", \"%s\": %lld", number[i].name, (long long)number[i].value);
    pupil_buf_puts(out, ", \"bytes_per_sample\": ");
    pupil_buf_json_num(out, t->samples ? (double)t->bytes / (double)t->samples : 0);
    pupil_buf_puts(out, "}\n");
}

int pupil_cache_describe(pupil_cache *c, bool json, pupil_buf *out)
{
    PUPIL_TRY(pupil_cache_refresh(c));
    tally t = count(c);
    if (json) describe_json(c, &t, out);
    else describe_text(c, &t, out);
    return 0;
}

/* One line a problem of segment `i`; returns how many. */
static int64_t check_segment(pupil_cache *c, int64_t i, float *x, pupil_buf *problems)
{
    const segment *g = &c->seg[i];
    int64_t n = 0;
    if (g->dropped) return 0;
    if (g->broken) {
        pupil_buf_printf(problems, "%s/journal.txt: record of %s: %s\n", c->dir, g->file, g->broken);
        return 1;
    }
    seg_file f;
    if (seg_open(c->dir, g, &c->shape, c->digest, &f) < 0) {
        pupil_buf_printf(problems, "%s\n", pupil_reason());
        return 1;
    }
    seg_close(&f);
    for (int64_t place = 0; place < g->n; place++)
        for (int p = 0; p < shape_planes(&c->shape); p++) {
            if (cache_load(c, i, place, p, x) == 0) continue;
            pupil_buf_printf(problems, "%s\n", pupil_reason());
            n++;
            break;
        }
    return n;
}

/* Checks all segments; bad[i] tells those with a problem. */
static int check_all(pupil_cache *c, pupil_buf *problems, bool **ret_bad, int64_t *ret_n)
{
    PUPIL_TRY(pupil_cache_refresh(c));
    float *x = pupil_alloc((size_t)(c->shape.block * c->shape.dim) * sizeof *x);
    bool *bad = pupil_alloc((size_t)c->nseg);
    int64_t n = 0;
    for (int64_t i = 0; i < c->nseg; i++) {
        int64_t more = check_segment(c, i, x, problems);
        bad[i] = more > 0;
        n += more;
    }
    pupil_free(&x);
    *ret_bad = bad;
    *ret_n = n;
    return 0;
}

int pupil_cache_verify(pupil_cache *c, pupil_buf *problems, int64_t *ret_n)
{
    bool *bad;
    PUPIL_TRY(check_all(c, problems, &bad, ret_n));
    pupil_free(&bad);
    return 0;
}

int pupil_cache_drop_broken(pupil_cache *c, int64_t *ret_n)
{
    bool *bad;
    int64_t problems, n = 0;
    pupil_buf cause = {0};
    PUPIL_TRY(check_all(c, &cause, &bad, &problems));
    int r = 0;
    for (int64_t i = 0; i < c->nseg && r == 0; i++) {
        if (!bad[i]) continue;
        r = pupil_journal_append(c->journal_path, "drop",
                                 (const char *const[]){"file", c->seg[i].file, NULL});
        n += r == 0;
    }
    pupil_free(&bad);
    pupil_buf_free(&cause);
    if (r == 0) r = pupil_cache_refresh(c);
    if (r == 0) *ret_n = n;
    return r;
}
