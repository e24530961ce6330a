/* safetensors_write.c: safetensors out, to the byte as the format's own writer lays them out: no blank in the
 * JSON,
 * "__metadata__" first, tensors of one type sorted by name, the header filled up with blanks to a multiple
 * of 8. What is written can be read back: values that are not finite, or too large for F16, are refused with
 * the tensor's name. */
#include "pupil/model.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int64_t count_of(const pupil_st_source *t)
{
    int64_t n = 1;
    for (int d = 0; d < t->ndim; d++) n *= t->shape[d];
    return n;
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const pupil_st_source *const *)a)->name, (*(const pupil_st_source *const *)b)->name);
}

static void header_text(const pupil_st_source *const *t, int64_t n, pupil_st_type type, pupil_buf *b)
{
    int64_t at = 0, size = type == PUPIL_ST_F16 ? 2 : 4;
    pupil_buf_puts(b, "{\"__metadata__\":{\"format\":\"pt\"}");
    for (int64_t i = 0; i < n; i++) {
        pupil_buf_puts(b, ",");
        pupil_buf_json(b, t[i]->name);
        pupil_buf_printf(b, ":{\"dtype\":\"%s\",\"shape\":[", type == PUPIL_ST_F16 ? "F16" : "F32");
        for (int d = 0; d < t[i]->ndim; d++)
            pupil_buf_printf(b, "%s%lld", d ? "," : "", (long long)t[i]->shape[d]);
        int64_t end = at + size * count_of(t[i]);
        pupil_buf_printf(b, "],\"data_offsets\":[%lld,%lld]}", (long long)at, (long long)end);
        at = end;
    }
    pupil_buf_puts(b, "}");
    while (b->len % 8) pupil_buf_puts(b, " ");
}

static int refuse_value(const pupil_st_source *t, int64_t i)
{
    if (!isfinite(t->data[i]))
        return pupil_fail(PUPIL_ENUMERIC, "tensor %s: element %lld is not finite", t->name, (long long)i);
    return pupil_fail(PUPIL_ENUMERIC, "tensor %s: element %lld is %g, too large for F16", t->name,
                      (long long)i, (double)t->data[i]);
}

static int write_values(FILE *f, const pupil_st_source *t, pupil_st_type type)
{
    enum { PIECE = 4096 };
    uint16_t half[PIECE];
    int64_t n = count_of(t);
    for (int64_t at = 0; at < n; at += PIECE) {
        int64_t k = PUPIL_MIN((int64_t)PIECE, n - at), good;
        const float *from = t->data + at;
        if (type == PUPIL_ST_F16) {
            good = pupil_f16_pack(half, from, k);
        } else {
            for (good = pupil_floats_finite(from, k) ? k : 0; good < k && isfinite(from[good]);) good++;
        }
        if (good < k) return refuse_value(t, at + good);
        size_t wrote = type == PUPIL_ST_F16 ? fwrite(half, sizeof *half, (size_t)k, f)
                                            : fwrite(from, sizeof *from, (size_t)k, f);
        if (wrote != (size_t)k) return pupil_fail(PUPIL_EIO, "%s", strerror(errno));
    }
    return 0;
}

static int write_file(const char *path, const pupil_st_source *const *t, int64_t n, pupil_st_type type)
{
    FILE *f = fopen(path, "wb");
    if (!f) return pupil_fail(PUPIL_EIO, "%s", strerror(errno));
    pupil_buf b = {0};
    header_text(t, n, type, &b);
    uint64_t len = b.len;
    int r = fwrite(&len, 8, 1, f) == 1 && fwrite(b.s, 1, b.len, f) == b.len
                ? 0
                : pupil_fail(PUPIL_EIO, "%s", strerror(errno));
    for (int64_t i = 0; i < n && r == 0; i++) r = write_values(f, t[i], type);
    if (fclose(f) != 0 && r == 0) r = pupil_fail(PUPIL_EIO, "%s", strerror(errno));
    pupil_buf_free(&b);
    return r;
}

int pupil_safetensors_export(const char *path, const pupil_st_source *t, int64_t n, pupil_st_type type)
{
    PUPIL_REQUIRE(type == PUPIL_ST_F32 || type == PUPIL_ST_F16);
    const pupil_st_source **sorted = pupil_alloc((size_t)(n + 1) * sizeof *sorted);
    for (int64_t i = 0; i < n; i++) sorted[i] = &t[i];
    qsort(sorted, (size_t)n, sizeof *sorted, by_name);
    for (int64_t i = 1; i < n; i++) PUPIL_REQUIRE(strcmp(sorted[i - 1]->name, sorted[i]->name) != 0);
    char *part = pupil_format("%s.%ld.part", path, (long)getpid());
    int r = pupil_context(write_file(part, sorted, n, type), "%s", path);
    if (r == 0) r = pupil_publish(part, path);
    if (r < 0) unlink(part);
    pupil_free(&part);
    pupil_free(&sorted);
    return r;
}
