/* ckpt.c: checkpoints. Rank 0 writes one file, published by rename and a journal line that carries the checksums of
 * its arrays; a reader believes journal lines of the latest generation at their time, and only after checking. */
#include "pupil/ckpt.h"

#include "pupil/store.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    const char *name, *crc;
    float *x;
    int64_t n;
} array;

/* The arrays of a state; returns how many. */
static int arrays_of(const pupil_state *s, array ret[4])
{
    const array all[] = {{"params", "crc_params", s->params, s->table->total},
                         {"adam_m", "crc_m", s->m, s->advanced},
                         {"adam_v", "crc_v", s->v, s->advanced},
                         {"ema", "crc_ema", s->ema, s->advanced}};
    memcpy(ret, all, sizeof all);
    return s->ema ? 4 : 3;
}

static uint32_t crc_of(const array *a) { return pupil_crc32c(0, a->x, (size_t)a->n * sizeof(float)); }

int pupil_ckpt_generation(pupil_comm *c, const char *dir, int64_t *ret_n)
{
    int r = 0;
    int64_t n = 0;
    if (pupil_comm_rank(c) == 0) {
        char *journal = pupil_join(dir, "journal.txt");
        r = pupil_mkdirs(dir);
        if (r == 0) r = pupil_journal_generation(journal, "0", &n);
        pupil_free(&journal);
    }
    PUPIL_TRY(pupil_agree(c, r));
    PUPIL_TRY(pupil_bcast(c, &n, sizeof n, 0));
    *ret_n = n;
    return 0;
}

static char *table_text(const pupil_table *t)
{
    pupil_buf b = {0};
    for (int64_t i = 0; i < t->n; i++)
        pupil_buf_printf(&b, "%s %lld %lld\n", t->t[i].name, (long long)t->t[i].offset, (long long)t->t[i].count);
    return b.s;
}

static int write_file(const char *path, const pupil_state *s)
{
    array a[4];
    int n = arrays_of(s, a);
    pupil_h5 *h;
    PUPIL_TRY(pupil_h5_create(path, &h));
    char step[32], *table = table_text(s->table);
    snprintf(step, sizeof step, "%lld", (long long)s->step);
    int r = pupil_h5_write_text(h, "step", step);
    if (r == 0) r = pupil_h5_write_text(h, "digest", s->digest);
    if (r == 0) r = pupil_h5_write(h, "table", PUPIL_H5_U8, 1, (int64_t[]){(int64_t)strlen(table)}, table);
    for (int i = 0; i < n && r == 0; i++) r = pupil_h5_write(h, a[i].name, PUPIL_H5_F32, 1, &a[i].n, a[i].x);
    pupil_free(&table);
    int closed = pupil_h5_close(&h);
    return r < 0 ? r : closed;
}

/* Indices of believed ckpt records whose file is there, oldest first. */
static int64_t believed(const char *dir, const pupil_journal *j, int64_t *out)
{
    int64_t n = 0;
    for (int64_t i = 0; i < j->n; i++) {
        const char *file = pupil_record_get(&j->record[i], "file");
        if (strcmp(j->record[i].kind, "ckpt") || !j->record[i].believed || !file || strchr(file, '/')) continue;
        char *path = pupil_join(dir, file);
        if (pupil_exists(path)) out[n++] = i;
        pupil_free(&path);
    }
    return n;
}

static int remove_old(const char *dir, int64_t keep)
{
    char *path = pupil_join(dir, "journal.txt");
    pupil_journal j = {0};
    int r = pupil_journal_read(path, &j);
    pupil_free(&path);
    int64_t *list = pupil_alloc((size_t)(j.n + 1) * sizeof *list), n = r == 0 ? believed(dir, &j, list) : 0;
    for (int64_t i = 0; i + keep < n; i++) {
        char *file = pupil_join(dir, pupil_record_get(&j.record[list[i]], "file"));
        unlink(file);
        pupil_free(&file);
    }
    pupil_free(&list);
    pupil_journal_free(&j);
    return r;
}

static int save(const char *dir, int64_t generation, const pupil_state *s, int64_t keep)
{
    char name[64], word[6][24];
    snprintf(name, sizeof name, "step-%08lld-g%04lld.h5", (long long)s->step, (long long)generation);
    char *final_path = pupil_join(dir, name), *part = pupil_format("%s.part", final_path), *journal = pupil_join(dir, "journal.txt");
    int r = write_file(part, s);
    if (r == 0) r = pupil_publish(part, final_path);
    if (r == 0) {
        array a[4];
        int n = arrays_of(s, a);
        snprintf(word[4], sizeof word[4], "%lld", (long long)s->step);
        snprintf(word[5], sizeof word[5], "%lld", (long long)generation);
        const char *pairs[10 + 8 + 1] = {"lane", "0", "n", word[5], "file", name, "step", word[4], "digest", s->digest};
        for (int i = 0; i < n; i++) {
            snprintf(word[i], sizeof word[i], "%08x", crc_of(&a[i]));
            pairs[10 + 2 * i] = a[i].crc;
            pairs[11 + 2 * i] = word[i];
        }
        r = pupil_journal_append(journal, "ckpt", pairs);
    }
    if (r == 0) r = remove_old(dir, keep);
    else unlink(part);
    pupil_free(&final_path);
    pupil_free(&part);
    pupil_free(&journal);
    return r;
}

int pupil_ckpt_save(pupil_comm *c, const char *dir, int64_t generation, const pupil_state *s, int64_t keep)
{
    int r = pupil_fault("ckpt.save");
    if (r == 0 && pupil_comm_rank(c) == 0) r = pupil_context(save(dir, generation, s, keep), "checkpoint of step %lld", (long long)s->step);
    return pupil_agree(c, r);
}

static int read_file(const char *path, const pupil_record *rec, pupil_state *s)
{
    array a[4];
    int n = arrays_of(s, a);
    pupil_h5 *h;
    PUPIL_TRY(pupil_h5_open(path, &h));
    int r = 0, ndim;
    int64_t dims[8];
    for (int i = 0; i < n && r == 0; i++) {
        r = pupil_h5_shape(h, a[i].name, &ndim, dims);
        if (r == 0 && (ndim != 1 || dims[0] != a[i].n))
            r = pupil_fail(PUPIL_EFORMAT, "%s: dataset %s does not fit the model's table", path, a[i].name);
        if (r == 0) r = pupil_h5_read(h, a[i].name, PUPIL_H5_F32, a[i].n, a[i].x);
        const char *want = pupil_record_get(rec, a[i].crc);
        if (r == 0 && (!want || strtoul(want, NULL, 16) != crc_of(&a[i])))
            r = pupil_fail(PUPIL_ECRC, "%s: %s does not match its checksum", path, a[i].name);
    }
    pupil_h5_close(&h);
    return r;
}

/* On rank 0: newest good one. *found stays false when there is none at all. */
static int load(const char *dir, pupil_state *s, bool *found)
{
    char *path = pupil_join(dir, "journal.txt");
    pupil_journal j = {0};
    int r = pupil_journal_read(path, &j);
    pupil_free(&path);
    int64_t *list = pupil_alloc((size_t)(j.n + 1) * sizeof *list), n = r == 0 ? believed(dir, &j, list) : 0, other = 0;
    for (int64_t i = n - 1; i >= 0 && r == 0 && !*found; i--) {
        const pupil_record *rec = &j.record[list[i]];
        const char *digest = pupil_record_get(rec, "digest"), *step = pupil_record_get(rec, "step");
        if (!digest || !step || strcmp(digest, s->digest)) {
            other++;
            continue;
        }
        char *file = pupil_join(dir, pupil_record_get(rec, "file"));
        int one = read_file(file, rec, s);
        if (one < 0) pupil_warn("%s; taking the checkpoint before it", pupil_reason());
        *found = one == 0;
        if (*found) s->step = strtoll(step, NULL, 10);
        pupil_free(&file);
    }
    if (r == 0 && !*found && other)
        r = pupil_fail(PUPIL_EMISMATCH, "%s holds checkpoints of other settings or data; choose another folder or remove it", dir);
    pupil_free(&list);
    pupil_journal_free(&j);
    return r;
}

int pupil_ckpt_load(pupil_comm *c, const char *dir, pupil_state *s, const int64_t *range, bool *ret_found)
{
    bool found = false;
    int r = pupil_comm_rank(c) == 0 ? load(dir, s, &found) : 0;
    PUPIL_TRY(pupil_agree(c, r));
    PUPIL_TRY(pupil_bcast(c, &found, sizeof found, 0));
    if (found) PUPIL_TRY(pupil_ckpt_share(c, s, range));
    *ret_found = found;
    return 0;
}

int pupil_ckpt_share(pupil_comm *c, pupil_state *s, const int64_t *range)
{
    array a[4];
    int n = arrays_of(s, a), size = pupil_comm_size(c);
    PUPIL_TRY(pupil_bcast(c, &s->step, sizeof s->step, 0));
    PUPIL_TRY(pupil_bcast(c, a[0].x, (size_t)a[0].n * sizeof(float), 0));
    size_t *at = pupil_alloc((size_t)(size + 1) * sizeof *at);
    for (int r = 0; r <= size; r++) at[r] = (size_t)range[r] * sizeof(float);
    int r = 0;
    for (int i = 1; i < n && r == 0; i++) r = pupil_deal_ranges(c, a[i].x, at);
    pupil_free(&at);
    return r;
}
