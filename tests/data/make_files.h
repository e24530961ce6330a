/* Data sets of files made for a test, in a folder of its own, and what is read of them as text. */
#ifndef MAKE_FILES_H
#define MAKE_FILES_H

#include "pupil/data.h"
#include "tiny_images.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char dir[64];

static inline char *in_dir(const char *name)
{
    return pupil_join(dir, name);
}

static inline void put(const char *name, const void *bytes, size_t n)
{
    char *path = in_dir(name), *folder = pupil_strdup(path);
    *strrchr(folder, '/') = 0;
    assert_int_equal(pupil_mkdirs(folder), 0);
    assert_int_equal(pupil_write_file(path, bytes, n), 0);
    pupil_free(&folder);
    pupil_free(&path);
}

static inline void put_text(const char *name, const char *text)
{
    put(name, text, strlen(text));
}
static inline void put_picture(const char *name)
{
    put(name, png_rgb, sizeof png_rgb);
}

/* Settings of `source` whose split `test` is `list` in the test's folder, `images` its pictures' folder
 * there. */
typedef struct {
    pupil_conf_data conf;
    char *list, *images;
} settings;

static inline void settings_begin(settings *s, pupil_source source, const char *list, const char *images)
{
    *s = (settings){.conf = {.source = source, .skip_bad = true}, .list = in_dir(list)};
    s->conf.test = (pupil_strings){&s->list, 1};
    s->conf.csv.image_key = (char *)(uintptr_t) "filepath";
    s->conf.csv.caption_key = (char *)(uintptr_t) "title";
    s->conf.class_template = (char *)(uintptr_t) "a photo of a {class}.";
    if (!images) return;
    s->images = in_dir(images);
    s->conf.images = (pupil_strings){&s->images, 1};
}

static inline void settings_end(settings *s)
{
    pupil_free(&s->list);
    pupil_free(&s->images);
}

/* "key [class] caption | caption", a line a sample; every picture is decoded. Owned by the caller. */
static inline char *as_text(pupil_dataset *d, pupil_split split)
{
    pupil_buf all = {0};
    pupil_buf_puts(&all, "");
    for (int64_t i = 0; i < pupil_dataset_count(d, split); i++) {
        pupil_image im;
        char *s;
        if (pupil_dataset_image(d, split, i, &im) < 0) fail_msg("%s", pupil_reason());
        pupil_image_free(&im);
        assert_int_equal(pupil_dataset_key(d, split, i, &s), 0);
        pupil_buf_puts(&all, s);
        pupil_free(&s);
        int64_t cls = pupil_dataset_class(d, split, i);
        if (cls >= 0) pupil_buf_printf(&all, " [%lld]", (long long)cls);
        for (int k = 0; k < pupil_dataset_captions(d, split, i); k++) {
            assert_int_equal(pupil_dataset_caption(d, split, i, k, &s), 0);
            pupil_buf_printf(&all, "%s%s", k ? " | " : " ", s);
            pupil_free(&s);
        }
        pupil_buf_puts(&all, "\n");
    }
    return all.s;
}

/* Open with `skip` and expect this text, and these words in what is told of broken samples ("": none are);
 * then with `stop`: refused if there are any. */
static inline void expect(settings *s, const char *text, const char *problems)
{
    pupil_dataset *d = NULL;
    pupil_log_set_level(PUPIL_LOG_ERROR);
    if (pupil_dataset_open(&s->conf, dir, &d) < 0) fail_msg("%s", pupil_reason());
    char *got = as_text(d, PUPIL_TEST);
    assert_string_equal(got, text);
    pupil_buf told = {0};
    pupil_dataset_problems(d, &told);
    if (problems[0] ? !told.s || !strstr(told.s, problems) : told.s != NULL)
        fail_msg("%s, not %s", told.s, problems);
    pupil_free(&got);
    pupil_dataset_free(&d);
    s->conf.skip_bad = false;
    int r = pupil_dataset_open(&s->conf, dir, &d);
    bool left_out = told.s && strstr(told.s, "left out");
    assert_int_equal(r, left_out ? PUPIL_EFORMAT : 0);
    if (left_out) assert_non_null(strstr(pupil_reason(), "data.on_error: skip leaves them out"));
    s->conf.skip_bad = true;
    pupil_dataset_free(&d);
    pupil_buf_free(&told);
    pupil_log_set_level(PUPIL_LOG_INFO);
}

static inline void expect_refusal(settings *s, int code, const char *words)
{
    pupil_dataset *d = NULL;
    int r = pupil_dataset_open(&s->conf, dir, &d);
    if (r != code || !strstr(pupil_reason(), words)) fail_msg("%d: %s, not %s", r, pupil_reason(), words);
    assert_null(strchr(pupil_reason(), '\n'));
    assert_null(d);
}

static int make_dir(void **state)
{
    (void)state;
    const char *tmp = getenv("TMPDIR");
    snprintf(dir, sizeof dir, "%s/pupil-files-XXXXXX", tmp && strlen(tmp) < 40 ? tmp : "/tmp");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    (void)state;
    char *command = pupil_format("rm -rf '%s'", dir);
    int r = system(command);
    pupil_free(&command);
    return r;
}

#endif
