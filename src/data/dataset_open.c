/* dataset_open.c: tars, csv files, COCO JSON files and class folders opened as the settings say; what is
 * broken is left out, or refused, once everything that is broken is known. */
#include "dataset.h"
#include "tar_index.h"

#include <string.h>

typedef struct {
    pupil_dataset *d;
    const pupil_conf_data *conf;
    pupil_strings list[2], folder; /* owned: files that the patterns name; class folders in order */
} opening;

/* Folders that the pictures of a split are looked for in: data.images, or each list's own. */
static files_builder *begin(opening *o, pupil_split split)
{
    const pupil_strings *list = &o->list[split], *images = &o->conf->images;
    faults *bad = &o->d->left_out[split];
    if (o->conf->source == PUPIL_SOURCE_FOLDER) return files_begin(list->item, list->n, bad);
    if (images->n) return files_begin(images->item, images->n, bad);
    char **own = pupil_alloc((size_t)list->n * sizeof *own);
    int n = 0;
    for (int i = 0; i < list->n; i++) {
        const char *slash = strrchr(list->item[i], '/');
        int length = slash ? PUPIL_MAX(1, (int)(slash - list->item[i])) : 0;
        own[n] = length ? pupil_format("%.*s", length, list->item[i]) : pupil_strdup(".");
        for (int k = 0; own[n] && k < n; k++)
            if (!strcmp(own[k], own[n])) pupil_free(&own[n]);
        n += own[n] != NULL;
    }
    files_builder *b = files_begin(own, n, bad);
    pupil_names_free(&own, n);
    return b;
}

static int read_coco(const pupil_conf_data *conf, pupil_split split, const char *path, files_builder *b)
{
    static char *train[] = {(char *)"train", (char *)"restval"}, *test[] = {(char *)"test"};
    static const pupil_strings usual[] = {{train, 2}, {test, 1}};
    const pupil_strings *asked = split == PUPIL_TRAIN ? &conf->coco.split_train : &conf->coco.split_test;
    const pupil_strings *other = split == PUPIL_TRAIN ? &conf->test : &conf->train;
    bool splits;
    PUPIL_TRY(coco_read(path, asked->n ? asked : &usual[split], b, &splits));
    for (int i = 0; i < other->n && !splits; i++)
        if (!strcmp(other->item[i], path))
            return pupil_fail(PUPIL_EUSER,
                              "%s: in data.train and data.test, but it has no splits: expected another file, "
                              "as these would not be held out",
                              path);
    return 0;
}

static int read_lists(opening *o, pupil_split split)
{
    const pupil_conf_data *conf = o->conf;
    files_builder *b = begin(o, split);
    int r = 0;
    for (int i = 0; i < o->list[split].n && r == 0; i++) {
        const char *path = o->list[split].item[i];
        r = conf->source == PUPIL_SOURCE_CSV
                ? csv_read(path, conf->csv.image_key, conf->csv.caption_key, conf->csv.separator, b)
            : conf->source == PUPIL_SOURCE_COCO ? read_coco(conf, split, path, b)
                                                : folder_read(path, &o->folder, b);
    }
    if (r < 0) files_drop(&b);
    else o->d->files[split] = files_end(&b);
    return r;
}

/* What the tars' .cls numbers need: a name for each, where there is no other caption. */
static int check_classes(const pupil_dataset *d, const pupil_conf_data *conf, pupil_split split)
{
    const tars *t = d->tars[split];
    for (int64_t i = 0; i < tars_count(t); i++) {
        int64_t cls = tars_class(t, i);
        if (conf->class_names ? cls >= d->classes : !tars_captions(t, i))
            return conf->class_names
                       ? pupil_fail(PUPIL_EFORMAT, "%s: %s: class %lld, but %s has %d names", tars_path(t, i),
                                    tars_key(t, i), (long long)cls, conf->class_names, d->classes)
                       : pupil_fail(PUPIL_EUSER,
                                    "%s: %s: a class (.cls) but no caption: data.class_names has to name a "
                                    "file with the names of the classes",
                                    tars_path(t, i), tars_key(t, i));
    }
    return 0;
}

static int judge(const pupil_dataset *d, pupil_split split, const pupil_strings *list)
{
    const faults *f = &d->left_out[split];
    int64_t n = faults_total(f);
    pupil_buf counts = {0};
    int r = 0;
    faults_print(f, &counts);
    if (n && !d->skip_bad)
        r = pupil_fail(PUPIL_EFORMAT,
                       "broken samples: %lld (%s), first in %s (data.on_error: skip leaves them out)",
                       (long long)n, counts.s, f->named.s);
    else if (pupil_dataset_count(d, split) == 0)
        r = pupil_fail(PUPIL_EFORMAT, "%s: no sample%s%s", list->n ? list->item[0] : "nothing is named",
                       n ? ": " : "", n ? f->named.s : "");
    else if (n)
        pupil_info("broken samples left out: %lld (%s), first in %s", (long long)n, counts.s, f->named.s);
    pupil_buf_free(&counts);
    return r;
}

static int open_classes(opening *o)
{
    pupil_dataset *d = o->d;
    const char *names = o->conf->class_names;
    bool folders = o->conf->source == PUPIL_SOURCE_FOLDER;
    if (o->conf->class_template) d->class_template = pupil_strdup(o->conf->class_template);
    if (folders) PUPIL_TRY(folder_classes(o->list, &o->folder));
    if (names) return class_names_read(names, folders ? &o->folder : NULL, &d->class_name, &d->classes);
    d->class_name = pupil_alloc((size_t)o->folder.n * sizeof *d->class_name);
    for (; d->classes < o->folder.n; d->classes++)
        d->class_name[d->classes] = pupil_strdup(o->folder.item[d->classes]);
    return 0;
}

static int open_lists(opening *o, const char *index_dir)
{
    pupil_dataset *d = o->d;
    PUPIL_TRY(braces_expand(&o->conf->train, &o->list[PUPIL_TRAIN]));
    PUPIL_TRY(braces_expand(&o->conf->test, &o->list[PUPIL_TEST]));
    PUPIL_TRY(open_classes(o));
    for (int s = PUPIL_TRAIN; s <= PUPIL_TEST; s++) {
        if (o->list[s].n == 0) continue;
        if (o->conf->source == PUPIL_SOURCE_WEBDATASET) {
            PUPIL_TRY(tars_open(&o->list[s], index_dir, &d->left_out[s], &d->tars[s]));
            PUPIL_TRY(check_classes(d, o->conf, (pupil_split)s));
        } else {
            PUPIL_TRY(read_lists(o, (pupil_split)s));
        }
        PUPIL_TRY(judge(d, (pupil_split)s, &o->list[s]));
    }
    return 0;
}

int dataset_open_files(pupil_dataset *d, const pupil_conf_data *conf, const char *index_dir)
{
    opening o = {.d = d, .conf = conf};
    int r = open_lists(&o, index_dir);
    for (int s = 0; s < 2; s++) pupil_names_free(&o.list[s].item, o.list[s].n);
    pupil_names_free(&o.folder.item, o.folder.n);
    return r;
}

int pupil_dataset_index(const pupil_conf_data *conf, const char *index_dir,
                        void (*tick)(void *state, const char *tar, int64_t done, int64_t of), void *state)
{
    if (conf->source != PUPIL_SOURCE_WEBDATASET) return 0;
    pupil_strings both = {pupil_alloc((size_t)(conf->train.n + conf->test.n) * sizeof(char *)), 0}, tar = {0};
    for (int i = 0; i < conf->train.n; i++) both.item[both.n++] = conf->train.item[i];
    for (int i = 0; i < conf->test.n; i++) both.item[both.n++] = conf->test.item[i];
    int made = 0, r = braces_expand(&both, &tar);
    int64_t bytes = 0, done = 0;
    for (int i = 0; i < tar.n; i++) bytes += PUPIL_MAX(pupil_file_size(tar.item[i]), 0);
    for (int i = 0; i < tar.n && r == 0; i++) {
        bool is_new = false;
        if (tick) tick(state, tar.item[i], done, bytes);
        r = tar_index_ensure(tar.item[i], index_dir, &is_new);
        made += is_new;
        done += PUPIL_MAX(pupil_file_size(tar.item[i]), 0);
    }
    pupil_free(&both.item);
    pupil_names_free(&tar.item, tar.n);
    return r < 0 ? r : made;
}
