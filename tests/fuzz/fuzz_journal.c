/* fuzz_journal.c: any bytes are a journal. Whatever is read of them must not depend on where the reading was
 * cut, and a record written again reads as the same record. */
#include "journal.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void same_record(const pupil_record *a, const pupil_record *b)
{
    PUPIL_REQUIRE(!strcmp(a->kind, b->kind) && a->nfields == b->nfields);
    for (int i = 0; i < a->nfields; i++)
        PUPIL_REQUIRE(!strcmp(a->field[i].key, b->field[i].key) &&
                      !strcmp(a->field[i].value, b->field[i].value));
}

static void write_again(const pupil_record *r)
{
    const char *pairs[2 * 24 + 1] = {0};
    for (int i = 0; i < r->nfields; i++) {
        if (strpbrk(r->field[i].key, "%\n")) return; /* read as it is, but never written */
        pairs[2 * i] = r->field[i].key;
        pairs[2 * i + 1] = r->field[i].value;
    }
    pupil_buf line = {0};
    pupil_journal j = {0};
    journal_line(&line, r->kind, pairs);
    PUPIL_REQUIRE(journal_parse(&j, line.s, line.len) == line.len && j.n == 1 && j.torn == 0);
    same_record(r, &j.record[0]);
    pupil_journal_free(&j);
    pupil_buf_free(&line);
}

/* A second copy of the input with the checksums made right, so that the fuzzer gets behind them. */
static void with_right_checksums(const uint8_t *data, size_t size, pupil_buf *out)
{
    for (size_t from = 0; from < size;) {
        const uint8_t *end = memchr(data + from, '\n', size - from);
        size_t n = end ? (size_t)(end - data) - from : size - from;
        pupil_buf_add(out, data + from, n);
        pupil_buf_printf(out, " crc=%08x\n", pupil_crc32c(0, data + from, n));
        from += n + 1;
    }
}

static void read_both_ways(const char *bytes, size_t size)
{
    pupil_journal whole = {0}, cut = {0};
    size_t used = journal_parse(&whole, bytes, size), from = 0;
    for (size_t to = 1; to <= size; to += 1 + to / 7) from += journal_parse(&cut, bytes + from, to - from);
    from += journal_parse(&cut, bytes + from, size - from);
    PUPIL_REQUIRE(used == from && whole.n == cut.n && whole.torn == cut.torn);
    for (int64_t i = 0; i < whole.n; i++) {
        PUPIL_REQUIRE(whole.record[i].believed == cut.record[i].believed);
        same_record(&whole.record[i], &cut.record[i]);
        write_again(&whole.record[i]);
    }
    pupil_journal_free(&whole);
    pupil_journal_free(&cut);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    pupil_buf right = {0};
    read_both_ways((const char *)data, size);
    with_right_checksums(data, size, &right);
    if (right.s) read_both_ways(right.s, right.len);
    pupil_buf_free(&right);
    return 0;
}
