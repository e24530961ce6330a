/* test_hostile.c: caches that were damaged or made to deceive give one-line errors, and never wrong numbers.
 */
#include "store_proof.h"

#include "cache.h"

static char *dir, *file;

/* A whole cache of one segment. */
static int begin(void **state)
{
    (void)state;
    dir = folder_new();
    GOOD(complete(dir, &small_f16, 0, 10));
    file = only_file(dir, "seg-", ".h5");
    return 0;
}

static int end(void **state)
{
    (void)state;
    pupil_free(&file);
    folder_end(&dir);
    return 0;
}

/* Reading block 0 of a freshly opened cache. */
static int read_first(void)
{
    pupil_cache *c;
    const float *side[2];
    int64_t rows;
    int r = open_small(dir, &small_f16, &c);
    if (r < 0) return r;
    r = read_both(c, 0, side, &rows);
    pupil_cache_free(&c);
    return r;
}

static int64_t problems_of(pupil_cache *c, pupil_buf *text)
{
    int64_t n, lines = 0;
    GOOD(pupil_cache_verify(c, text, &n));
    for (const char *s = text->s; s && *s; s++) lines += *s == '\n';
    assert_int_equal(lines, n);
    return n;
}

static void every_flipped_byte_is_caught(void **state)
{
    (void)state;
    const int64_t size = pupil_file_size(file), data = 2 * 10 * 8 * 12 * 2;
    pupil_cache *c;
    GOOD(open_small(dir, &small_f16, &c));
    for (int64_t i = 0; i < 1500; i++) { /* all kinds of bytes: the head, mostly sparse, and the blocks */
        int64_t at = (int64_t)(pupil_rng_u64(3, PUPIL_STREAM_TEST, (uint64_t)i) % (uint64_t)data);
        at += i % 2 ? size - data : 0;
        flip(file, at);
        pupil_buf text = {0};
        int64_t n = problems_of(c, &text);
        CHECK(n == 1 && strstr(text.s, "checksum"), "byte %lld of %lld: %lld problems: %s", (long long)at,
              (long long)size, (long long)n, text.s ? text.s : "");
        flip(file, at);
        pupil_buf_free(&text);
    }
    pupil_buf none = {0};
    assert_int_equal(problems_of(c, &none), 0);
    pupil_cache_free(&c);
}

static void the_reason_names_file_and_block(void **state)
{
    (void)state;
    pupil_cache *c;
    const float *side[2];
    int64_t rows;
    GOOD(open_small(dir, &small_f16, &c));
    flip(file, pupil_file_size(file) - 1);
    GOOD(read_both(c, 8, side, &rows));
    BAD(read_both(c, 9, side, &rows), PUPIL_ECRC, file);
    assert_non_null(strstr(pupil_reason(), "block 9: text embeddings do not match their checksum"));
    pupil_cache_free(&c);
}

static void cut_or_grown(void **state)
{
    (void)state;
    const int64_t size = pupil_file_size(file);
    const int64_t to[] = {0, 1, 8, 2048, size / 2, size - 1, size + 1, size + 100000};
    for (int i = 0; i < PUPIL_COUNT(to); i++) {
        GOOD(truncate(file, to[i]));
        BAD(read_first(), PUPIL_EFORMAT, "the journal says");
    }
    unlink(file);
    BAD(read_first(), PUPIL_EIO, "No such file");
}

static void something_else_under_its_name(void **state)
{
    (void)state;
    const int64_t size = pupil_file_size(file);
    char *aside = pupil_join(dir, "aside");
    GOOD(rename(file, aside));
    GOOD(symlink(aside, file));
    BAD(read_first(), PUPIL_EFORMAT, "symbolic link");
    unlink(file);
    GOOD(mkdir(file, 0777));
    BAD(read_first(), PUPIL_EFORMAT, "not a plain file");
    rmdir(file);
    GOOD(mkfifo(file, 0666));
    BAD(read_first(), PUPIL_EFORMAT, "not a plain file");
    unlink(file);
    char *text = pupil_alloc((size_t)size);
    memset(text, 'a', (size_t)size);
    GOOD(pupil_write_file(file, text, (size_t)size));
    BAD(read_first(), PUPIL_ECRC, "checksum");
    pupil_free(&text);
    pupil_free(&aside);
}

/* ---- records that lie --------------------------------------------------------------------------- */
/* Makes `name` with the room's own writer for `shape` and `identity`, and a record that vouches for all its
 * bytes. */
static void forge(const char *name, const pupil_cache_shape *shape, const char *identity, float value)
{
    char *path = pupil_join(dir, name), bytes[24], head[40], blocks[24], rows[24], crcs[24], *all;
    int64_t block = 0, row = small_f16.block;
    uint32_t crc[SIDES];
    segment g = {.n = 1, .block = &block, .rows = &row, .crc = crc};
    seg_file f;
    size_t n = shape_plane_bytes(shape);
    float *raw = floats((int64_t)n);
    for (int64_t i = 0; i < shape->block * shape->dim; i++) raw[i] = value;
    GOOD(seg_create(path, shape, identity, 1, &f));
    for (int k = 0; k < SIDES; k++) GOOD(seg_write(&f, shape, 0, k, raw));
    GOOD(seg_finish(&f, shape, &g));
    seg_close(&f);
    GOOD(pupil_read_file(path, 0, &all, NULL));
    snprintf(bytes, sizeof bytes, "%lld", (long long)g.bytes);
    snprintf(head, sizeof head, "%lld/%08x", (long long)g.bytes, pupil_crc32c(0, all, (size_t)g.bytes));
    snprintf(blocks, sizeof blocks, "%lld", (long long)block);
    snprintf(rows, sizeof rows, "%lld", (long long)row);
    snprintf(crcs, sizeof crcs, "%08x/%08x", pupil_crc32c(0, raw, n), pupil_crc32c(0, raw, n));
    char *journal = pupil_join(dir, "journal.txt");
    unlink(journal);
    GOOD(pupil_journal_append(journal, "seg",
                              (const char *const[]){"file", name, "bytes", bytes, "head", head, "blocks",
                                                    blocks, "rows", rows, "crcs", crcs, NULL}));
    pupil_free(&journal);
    pupil_free(&raw);
    pupil_free(&all);
    pupil_free(&path);
}

static void well_made_files_of_other_kinds(void **state)
{
    (void)state;
    pupil_cache *c;
    GOOD(open_small(dir, &small_f16, &c));
    char digest[65];
    strcpy(digest, c->digest);
    pupil_cache_free(&c);
    pupil_cache_shape s = small_f32;
    forge("seg-a.h5", &s, digest, 1);
    BAD(read_first(), PUPIL_EFORMAT, "image_embeddings is not [1, 1, 8, 12] of the cache's number format");
    s = small_f16;
    s.dim = 13;
    forge("seg-b.h5", &s, digest, 1);
    BAD(read_first(), PUPIL_EFORMAT, "dim is 13, this cache has 12");
    s.dim = 12;
    s.block = 9;
    forge("seg-c.h5", &s, digest, 1);
    BAD(read_first(), PUPIL_EFORMAT, "block is 9");
    s.block = small_f16.block;
    s.views = 2;
    forge("seg-v.h5", &s, digest, 1);
    BAD(read_first(), PUPIL_EFORMAT, "image_embeddings is not [1, 1, 8, 12]");
    forge("seg-d.h5", &small_f16, "0123456789abcdef", 1);
    BAD(read_first(), PUPIL_EMISMATCH, "another identity (0123456789ab..)");
    forge("seg-e.h5", &small_f16, digest, NAN);
    BAD(read_first(), PUPIL_ENUMERIC, "block 0: image embeddings are not all finite");
    forge("seg-f.h5", &small_f16, digest, 0);
    GOOD(read_first());
}

static void ids_of_another_record(void **state)
{
    (void)state;
    char *journal = pupil_join(dir, "journal.txt");
    pupil_journal j = {0};
    GOOD(pupil_journal_read(journal, &j));
    const pupil_record *r = &j.record[1];
    const char *pairs[2 * 24 + 1] = {0};
    for (int i = 0; i < r->nfields; i++) {
        pairs[2 * i] = r->field[i].key;
        pairs[2 * i + 1] = strcmp(r->field[i].key, "blocks") ? r->field[i].value : "0,2,1,3,4,5,6,7,8,9";
    }
    unlink(journal);
    GOOD(pupil_journal_append(journal, "gen", (const char *const[]){"lane", "0", "n", "1", NULL}));
    GOOD(pupil_journal_append(journal, "seg", pairs));
    BAD(read_first(), PUPIL_EFORMAT, "block_ids are not those of its journal record");
    pupil_journal_free(&j);
    pupil_free(&journal);
}

static void senseless_records(void **state)
{
    (void)state;
    static const struct {
        const char *file, *bytes, *head, *blocks, *rows, *crcs;
    } bad[] = {
        {"../seg-x.h5", "9", "9/0", "0", "8", "0/0"},
        {"seg-/../../etc/passwd.h5", "9", "9/0", "0", "8", "0/0"},
        {"seg-x.h5.part", "9", "9/0", "0", "8", "0/0"},
        {"seg-.h5", "9", "9/0", "0", "8", "0/0"},
        {"seg-x.h5", "0", "0/0", "0", "8", "0/0"},
        {"seg-x.h5", "-9", "9/0", "0", "8", "0/0"},
        {"seg-x.h5", "99999999999999999999", "9/0", "0", "8", "0/0"},
        {"seg-x.h5", "9", "10/0", "0", "8", "0/0"},
        {"seg-x.h5", "9", "9", "0", "8", "0/0"},
        {"seg-x.h5", "9", "9/123456789", "0", "8", "0/0"},
        {"seg-x.h5", "9", "9/0", "10", "8", "0/0"},
        {"seg-x.h5", "9", "9/0", "9", "8", "0/0"},
        {"seg-x.h5", "9", "9/0", "-1", "8", "0/0"},
        {"seg-x.h5", "9", "9/0", "0,1", "8", "0/0,0/0"},
        {"seg-x.h5", "9", "9/0", "0,1", "8,8", "0/0"},
        {"seg-x.h5", "9", "9/0", "0", "8,8", "0/0"},
        {"seg-x.h5", "9", "9/0", "0,", "8,", "0/0,"},
        {"seg-x.h5", "9", "9/0", "", "", ""},
        {"seg-x.h5", "9", "9/0", "0", "8", "0"},
        {"seg-x.h5", "9", "9/0", "0", "8", "0/100000000"},
        {"seg-x.h5", "9", "9/0", "9223372036854775808", "8", "0/0"},
    };
    char *journal = pupil_join(dir, "journal.txt");
    unlink(journal);
    for (int i = 0; i < PUPIL_COUNT(bad); i++)
        GOOD(pupil_journal_append(journal, "seg",
                                  (const char *const[]){"file", bad[i].file, "bytes", bad[i].bytes, "head",
                                                        bad[i].head, "blocks", bad[i].blocks, "rows",
                                                        bad[i].rows, "crcs", bad[i].crcs, NULL}));
    GOOD(pupil_journal_append(journal, "seg", (const char *const[]){NULL}));
    GOOD(pupil_journal_append(journal, "drop", (const char *const[]){NULL}));
    pupil_free(&journal);
    pupil_cache *c;
    pupil_buf text = {0}, json = {0};
    GOOD(open_small(dir, &small_f16, &c));
    assert_int_equal(pupil_cache_blocks_have(c), 0);
    assert_int_equal(problems_of(c, &text), PUPIL_COUNT(bad) + 1);
    GOOD(pupil_cache_describe(c, true, &json));
    assert_non_null(strstr(json.s, "\"unusable\": 22"));
    pupil_buf_free(&text);
    pupil_buf_free(&json);
    pupil_cache_free(&c);
}

static void senseless_identities(void **state)
{
    (void)state;
    static const struct {
        const char *text, *reason;
    } bad[] = {
        {"", "needs samples, block, dim, views and captions"},
        {"samples: 10\nblock: 0\ndim: 4\ndtype: f16\n", "needs samples"},
        {"samples: 10\nblock: 4\ndim: 4\ndtype: f17\n", "needs samples"},
        {"samples: 99999999999999999999\nblock: 4\ndim: 4\ndtype: f16\n", "needs samples"},
        {"samples: 4000000000000000000\nblock: 1\ndim: 4\nviews: 1\ncaptions: 1\ndtype: f16\n", "too many"},
        {"samples: 10\nblock: 16777216\ndim: 16777216\nviews: 1\ncaptions: 1\ndtype: f16\n", "too large"},
        {"samples: 10\nblock: 4\ndim: 4\nviews: 100\ncaptions: 100\ndtype: f16\n", "more than 128 together"},
        {"\xff\xfe no colon at all", "needs samples"},
    };
    char *path = pupil_join(dir, "identity.txt");
    pupil_cache *c;
    for (int i = 0; i < PUPIL_COUNT(bad); i++) {
        GOOD(pupil_write_file(path, bad[i].text, strlen(bad[i].text)));
        BAD(pupil_cache_open_any(dir, &c), PUPIL_EFORMAT, bad[i].reason);
        BAD(open_small(dir, &small_f16, &c), PUPIL_EMISMATCH, "holds another cache");
    }
    pupil_free(&path);
}

/* ---- verify and drop ---------------------------------------------------------------------------- */
static void broken_segments_are_dropped_and_made_again(void **state)
{
    (void)state;
    char *own = folder_new(), **name;
    int n;
    GOOD(complete(own, &small_f16, 0, 2)); /* 5 segments */
    GOOD(pupil_list_dir(own, "seg-", ".h5", &name, &n));
    assert_int_equal(n, 5);
    char *second = pupil_join(own, name[1]), *last = pupil_join(own, name[4]);
    flip(second, pupil_file_size(second) - 3);
    unlink(last);
    pupil_cache *c;
    pupil_buf text = {0};
    GOOD(open_small(own, &small_f16, &c));
    assert_int_equal(problems_of(c, &text), 2);
    assert_non_null(strstr(text.s, second));
    assert_non_null(strstr(text.s, last));
    assert_int_equal(pupil_cache_blocks_have(c), 10); /* verify changes nothing */
    int64_t dropped;
    GOOD(pupil_cache_drop_broken(c, &dropped));
    assert_int_equal(dropped, 2);
    assert_int_equal(pupil_cache_blocks_have(c), 6);
    assert_false(pupil_cache_has(c, 2) || pupil_cache_has(c, 9));
    GOOD(pupil_cache_drop_broken(c, &dropped));
    assert_int_equal(dropped, 0);
    pupil_buf json = {0};
    GOOD(pupil_cache_describe(c, true, &json));
    assert_non_null(strstr(json.s, "\"dropped\": 2, \"unusable\": 0, \"stray_files\": 1"));
    pupil_buf_free(&json);
    pupil_cache_free(&c);
    GOOD(complete(own, &small_f16, 0, 3));
    assert_int_equal(good_blocks(own, &small_f16), 10);
    pupil_buf_free(&text);
    pupil_names_free(&name, n);
    pupil_free(&second);
    pupil_free(&last);
    folder_end(&own);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        T(every_flipped_byte_is_caught),
        T(the_reason_names_file_and_block),
        T(cut_or_grown),
        T(something_else_under_its_name),
        T(well_made_files_of_other_kinds),
        T(ids_of_another_record),
        T(senseless_records),
        T(senseless_identities),
        T(broken_segments_are_dropped_and_made_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
