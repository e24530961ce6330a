/* scene_export.c: the scenes as files that the readers of real data read: WebDataset tars and the official
 * VQA v2 pair. Nothing in them but the settings decides their bytes: times, owners and modes are fixed. Each
 * file is written as NAME.part and published when it is whole. */
#include "dataset.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

static const char *const split_name[] = {"train", "test"};

/* ---- tars ---- */

static int add_member(struct archive *tar, const char *key, const char *suffix, const pupil_buf *bytes)
{
    struct archive_entry *e = archive_entry_new();
    char *name = pupil_format("%s.%s", key, suffix);
    archive_entry_set_pathname(e, name);
    archive_entry_set_size(e, (int64_t)bytes->len);
    archive_entry_set_filetype(e, AE_IFREG);
    archive_entry_set_perm(e, 0644);
    archive_entry_set_mtime(e, 0, 0);
    bool ok = archive_write_header(tar, e) == ARCHIVE_OK &&
              archive_write_data(tar, bytes->s, bytes->len) == (la_ssize_t)bytes->len;
    archive_entry_free(e);
    pupil_free(&name);
    return ok ? 0 : pupil_fail(PUPIL_EIO, "%s", archive_error_string(tar));
}

/* Caption 0 into `first`, all of them as JSON into `all`. */
static int write_captions(pupil_dataset *d, pupil_split split, int64_t i, pupil_buf *first, pupil_buf *all)
{
    for (int k = 0; k < pupil_dataset_captions(d, split, i); k++) {
        char *text;
        PUPIL_TRY(pupil_dataset_caption(d, split, i, k, &text));
        if (k == 0) pupil_buf_puts(first, text);
        pupil_buf_puts(all, k ? ", " : "{\"captions\": [");
        pupil_buf_json(all, text);
        pupil_free(&text);
    }
    pupil_buf_puts(all, "]}\n");
    return 0;
}

static int add_scene(pupil_dataset *d, pupil_split split, int64_t i, struct archive *tar)
{
    pupil_image im = {0};
    pupil_buf png = {0}, txt = {0}, json = {0};
    char *key = NULL;
    int r = pupil_dataset_key(d, split, i, &key);
    if (r == 0) r = pupil_dataset_image(d, split, i, &im);
    if (r == 0) r = pupil_image_encode_png(&im, &png);
    if (r == 0) r = write_captions(d, split, i, &txt, &json);
    if (r == 0) r = add_member(tar, key, "png", &png);
    if (r == 0) r = add_member(tar, key, "txt", &txt);
    if (r == 0) r = add_member(tar, key, "json", &json);
    pupil_image_free(&im);
    pupil_buf_free(&png);
    pupil_buf_free(&txt);
    pupil_buf_free(&json);
    pupil_free(&key);
    return r;
}

static int write_tar(pupil_dataset *d, pupil_split split, int64_t first, int64_t end, const char *part)
{
    struct archive *tar = archive_write_new();
    int r = 0;
    if (archive_write_set_format_ustar(tar) != ARCHIVE_OK ||
        archive_write_open_filename(tar, part) != ARCHIVE_OK)
        r = pupil_fail(PUPIL_EIO, "%s", archive_error_string(tar));
    for (int64_t i = first; i < end && r == 0; i++) {
        r = add_scene(d, split, i, tar);
        pupil_progress(false, "scenes: %s %lld of %lld", split_name[split], (long long)i + 1,
                       (long long)pupil_dataset_count(d, split));
    }
    if (r == 0 && archive_write_close(tar) != ARCHIVE_OK)
        r = pupil_fail(PUPIL_EIO, "%s", archive_error_string(tar));
    archive_write_free(tar);
    return r;
}

static int export_tars(pupil_dataset *d, pupil_split split, const char *dir, int64_t per_tar)
{
    int64_t n = pupil_dataset_count(d, split);
    int r = 0;
    for (int64_t k = 0; k * per_tar < n && r == 0; k++) {
        char *path = pupil_format("%s/%s-%06lld.tar", dir, split_name[split], (long long)k);
        char *part = pupil_format("%s.part", path);
        r = write_tar(d, split, k * per_tar, PUPIL_MIN((k + 1) * per_tar, n), part);
        if (r == 0) r = pupil_publish(part, path);
        if (r < 0) unlink(part);
        r = pupil_context(r, "%s", path);
        pupil_free(&part);
        pupil_free(&path);
    }
    return r;
}

/* ---- questions ---- */

static void print_question(pupil_buf *out, const pupil_vqa_question *q)
{
    pupil_buf_printf(out, "{\"image_id\": %lld, \"question\": ", (long long)q->image);
    pupil_buf_json(out, q->question);
    pupil_buf_printf(out, ", \"question_id\": %lld}", (long long)q->question_id);
}

static void print_annotation(pupil_buf *out, const pupil_vqa_question *q)
{
    pupil_buf_puts(out, "{\"question_type\": ");
    pupil_buf_json(out, q->question_type);
    pupil_buf_puts(out, ", \"multiple_choice_answer\": ");
    pupil_buf_json(out, q->answer);
    for (int k = 0; k < PUPIL_COUNT(q->answers); k++) {
        pupil_buf_puts(out, k ? ", {\"answer\": " : ", \"answers\": [{\"answer\": ");
        pupil_buf_json(out, q->answers[k]);
        pupil_buf_printf(out, ", \"answer_confidence\": \"yes\", \"answer_id\": %d}", k + 1);
    }
    pupil_buf_printf(out, "], \"image_id\": %lld, \"answer_type\": ", (long long)q->image);
    pupil_buf_json(out, q->answer_type);
    pupil_buf_printf(out, ", \"question_id\": %lld}", (long long)q->question_id);
}

static int write_list(const char *part, pupil_split split, const char *list, const pupil_vqa_set *set,
                      void (*print)(pupil_buf *, const pupil_vqa_question *))
{
    FILE *f = fopen(part, "wb");
    if (!f) return pupil_fail(PUPIL_EIO, "%s", strerror(errno));
    bool ok = fprintf(f, "{\"data_type\": \"scenes\", \"data_subtype\": \"%s\", \"%s\": [", split_name[split],
                      list) > 0;
    pupil_buf line = {0};
    for (int64_t i = 0; i < set->n && ok; i++) {
        line.len = 0;
        pupil_buf_puts(&line, i ? ",\n" : "\n");
        print(&line, &set->q[i]);
        ok = fwrite(line.s, 1, line.len, f) == line.len;
    }
    pupil_buf_free(&line);
    ok = ok && fputs("\n]}\n", f) >= 0;
    if (fclose(f) != 0 || !ok) return pupil_fail(PUPIL_EIO, "%s", strerror(errno));
    return 0;
}

static int export_list(const char *dir, pupil_split split, const char *list, const pupil_vqa_set *set,
                       void (*print)(pupil_buf *, const pupil_vqa_question *))
{
    char *path = pupil_format("%s/%s_%s.json", dir, split_name[split], list),
         *part = pupil_format("%s.part", path);
    int r = write_list(part, split, list, set, print);
    if (r == 0) r = pupil_publish(part, path);
    if (r < 0) unlink(part);
    r = pupil_context(r, "%s", path);
    pupil_free(&part);
    pupil_free(&path);
    return r;
}

static int export_split(pupil_dataset *d, pupil_split split, const char *dir, int64_t per_tar)
{
    pupil_vqa_set *set = NULL;
    int r = export_tars(d, split, dir, per_tar);
    if (r == 0) r = pupil_vqa_open(d, split, &set);
    if (r == 0) r = export_list(dir, split, "questions", set, print_question);
    if (r == 0) r = export_list(dir, split, "annotations", set, print_annotation);
    pupil_vqa_free(&set);
    return r;
}

int pupil_scenes_export(const pupil_conf_scenes *conf, const char *dir, int64_t per_tar)
{
    PUPIL_REQUIRE(per_tar > 0);
    const pupil_conf_data data = {.source = PUPIL_SOURCE_SCENES, .scenes = *conf};
    pupil_dataset *d;
    PUPIL_TRY(pupil_mkdirs(dir));
    PUPIL_TRY(pupil_dataset_open(&data, dir, &d));
    int r = export_split(d, PUPIL_TRAIN, dir, per_tar);
    if (r == 0) r = export_split(d, PUPIL_TEST, dir, per_tar);
    if (r == 0)
        pupil_progress(true, "scenes: %lld for training and %lld held out, in %s", (long long)conf->train,
                       (long long)conf->test, dir);
    pupil_dataset_free(&d);
    return r;
}
