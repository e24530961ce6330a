/* ckpt.c: checkpoints. Rank 0 writes one file, published by rename and a journal line that carries the checksums of
 * its arrays; a reader believes journal lines of the latest generation at their time, and only after checking. */
#include "pupil/ckpt.h"

#include "pupil/store.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const array_name[] = {"params", "adam_m", "adam_v"};
static const char *const crc_key[] = {"crc_params", "crc_m", "crc_v"};

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
    const float *array[] = {s->params, s->m, s->v};
    pupil_h5 *h;
    PUPIL_TRY(pupil_h5_create(path, &h));
    char step[32], *table = table_text(s->table);
    snprintf(step, sizeof step, "%lld", (long long)s->step);
    int r = pupil_h5_write_text(h, "step", step);
    if (r == 0) r = pupil_h5_write_text(h, "digest", s->digest);
    if (r == 0) r = pupil_h5_write(h, "table", PUPIL_H5_U8, 1, (int64_t[]){(int64_t)strlen(table)}, table);
    for (int i = 0; i < 3 && r == 0; i++) r = pupil_h5_write(h, array_name[i], PUPIL_H5_F32, 1, &s->table->total, array[i]);
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
        const float *array[] = {s->params, s->m, s->v};
        for (int i = 0; i < 3; i++)
            snprintf(word[i], sizeof word[i], "%08x", pupil_crc32c(0, array[i], (size_t)s->table->total * sizeof(float)));
        snprintf(word[3], sizeof word[3], "%lld", (long long)s->step);
        snprintf(word[4], sizeof word[4], "%lld", (long long)generation);
        const char *pairs[] = {"lane", "0", "n", word[4], "file", name, "step", word[3], "digest", s->digest,
                               crc_key[0], word[0], crc_key[1], word[1], crc_key[2], word[2], NULL};
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
    float *array[] = {s->params, s->m, s->v};
    pupil_h5 *h;
    PUPIL_TRY(pupil_h5_open(path, &h));
    int r = 0, ndim;
    int64_t dims[8];
    for (int i = 0; i < 3 && r == 0; i++) {
        r = pupil_h5_shape(h, array_name[i], &ndim, dims);
        if (r == 0 && (ndim != 1 || dims[0] != s->table->total))
            r = pupil_fail(PUPIL_EFORMAT, "%s: dataset %s does not fit the model's table", path, array_name[i]);
        if (r == 0) r = pupil_h5_read(h, array_name[i], PUPIL_H5_F32, s->table->total, array[i]);
        const char *want = pupil_record_get(rec, crc_key[i]);
        uint32_t crc = r == 0 ? pupil_crc32c(0, array[i], (size_t)s->table->total * sizeof(float)) : 0;
        if (r == 0 && (!want || strtoul(want, NULL, 16) != crc))
            r = pupil_fail(PUPIL_ECRC, "%s: %s does not match its checksum", path, array_name[i]);
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

int pupil_ckpt_load(pupil_comm *c, const char *dir, pupil_state *s, bool *ret_found)
{
    bool found = false;
    int r = pupil_comm_rank(c) == 0 ? load(dir, s, &found) : 0;
    PUPIL_TRY(pupil_agree(c, r));
    PUPIL_TRY(pupil_bcast(c, &found, sizeof found, 0));
    if (found) {
        size_t bytes = (size_t)s->table->total * sizeof(float);
        PUPIL_TRY(pupil_bcast(c, &s->step, sizeof s->step, 0));
        PUPIL_TRY(pupil_bcast(c, s->params, bytes, 0));
        PUPIL_TRY(pupil_bcast(c, s->m, bytes, 0));
        PUPIL_TRY(pupil_bcast(c, s->v, bytes, 0));
    }
    *ret_found = found;
    return 0;
}
