/* dataset.c: one face for the built-in scenes, tars, and pictures in files. A sample's index means the same
 * sample on every rank: what is broken is left out when the data are opened, and a picture that turns out
 * broken only when it is decoded is a black one, on whatever rank and whenever it is asked for. */
#include "dataset.h"

#include <stdlib.h>
#include <string.h>

enum { BLACK_SIDE = 64, WARNINGS = 3 };

int pupil_dataset_open(const pupil_conf_data *conf, const char *index_dir, pupil_dataset **ret)
{
    pupil_dataset *d = pupil_alloc(sizeof *d);
    const pupil_conf_vqa_files *vqa[2] = {&conf->vqa_train, &conf->vqa_test};
    pthread_mutex_init(&d->lock, NULL);
    d->source = conf->source;
    d->scenes = conf->scenes;
    d->skip_bad = conf->skip_bad;
    for (int s = PUPIL_TRAIN; s <= PUPIL_TEST; s++) {
        d->vqa[s] = *vqa[s];
        if (vqa[s]->questions) d->vqa[s].questions = pupil_strdup(vqa[s]->questions);
        if (vqa[s]->annotations) d->vqa[s].annotations = pupil_strdup(vqa[s]->annotations);
    }
    int r = d->source == PUPIL_SOURCE_SCENES ? 0 : dataset_open_files(d, conf, index_dir);
    if (r < 0) pupil_dataset_free(&d);
    else *ret = d;
    return r;
}

void pupil_dataset_free(pupil_dataset **d)
{
    if (!*d) return;
    for (int s = PUPIL_TRAIN; s <= PUPIL_TEST; s++) {
        tars_free(&(*d)->tars[s]);
        files_free(&(*d)->files[s]);
        faults_free(&(*d)->left_out[s]);
        pupil_free(&(*d)->by_name[s]);
        pupil_free(&(*d)->vqa[s].questions);
        pupil_free(&(*d)->vqa[s].annotations);
    }
    faults_free(&(*d)->undecoded);
    map64_free(&(*d)->black);
    pthread_mutex_destroy(&(*d)->lock);
    pupil_names_free(&(*d)->class_name, (*d)->classes);
    pupil_free(&(*d)->class_template);
    pupil_free(d);
}

int64_t pupil_dataset_count(const pupil_dataset *d, pupil_split split)
{
    if (d->source == PUPIL_SOURCE_SCENES) return split == PUPIL_TRAIN ? d->scenes.train : d->scenes.test;
    return d->tars[split] ? tars_count(d->tars[split]) : d->files[split] ? files_count(d->files[split]) : 0;
}

int pupil_dataset_digest(pupil_dataset *d, pupil_split split, char ret_hex[65])
{
    if (d->tars[split]) return tars_digest(d->tars[split], ret_hex);
    if (d->files[split]) return files_digest(d->files[split], ret_hex);
    pupil_buf recipe = {0};
    if (d->source == PUPIL_SOURCE_SCENES) {
        const pupil_conf_scenes *c = &d->scenes;
        pupil_buf_printf(&recipe, "scenes %d split=%d n=%lld size=%lld seed=%lld max_objects=%lld",
                         SCENE_RECIPE, split, (long long)pupil_dataset_count(d, split), (long long)c->size,
                         (long long)c->seed, (long long)c->max_objects);
    }
    pupil_sha256_of(recipe.s ? recipe.s : "", recipe.len, ret_hex);
    pupil_buf_free(&recipe);
    return 0;
}

void dataset_scene(const pupil_dataset *d, pupil_split split, int64_t i, scene *ret)
{
    PUPIL_REQUIRE(i >= 0 && i < pupil_dataset_count(d, split));
    scene_make(&d->scenes, split, i, ret);
}

/* ---- pictures ----------------------------------------------------------------------------------- */
static int read_bytes(pupil_dataset *d, pupil_split split, int64_t i, void **ret, size_t *ret_n)
{
    if (d->files[split]) return files_bytes(d->files[split], i, ret, ret_n);
    pthread_mutex_lock(&d->lock);
    int r = tars_bytes(d->tars[split], i, ret, ret_n);
    pthread_mutex_unlock(&d->lock);
    return r;
}

static int decode(pupil_dataset *d, pupil_split split, int64_t i, pupil_image *ret)
{
    void *bytes;
    size_t n;
    PUPIL_TRY(read_bytes(d, split, i, &bytes, &n));
    int r = pupil_image_decode(bytes, n, ret);
    pupil_free(&bytes);
    if (r == 0) return 0;
    if (d->tars[split])
        return pupil_context(r, "%s: %s", tars_path(d->tars[split], i), tars_key(d->tars[split], i));
    char *path = files_path(d->files[split], i);
    pupil_context(r, "%s", path);
    pupil_free(&path);
    return r;
}

/* Only what the bytes are decides it, never whether they could be read just now: all ranks see the same. */
static void blacken(pupil_dataset *d, pupil_split split, int64_t i, pupil_image *ret)
{
    uint64_t key = (uint64_t)split << 62 | (uint64_t)i;
    pthread_mutex_lock(&d->lock);
    if (!map64_get(&d->black, key)) {
        map64_set(&d->black, key, 1);
        faults_add(&d->undecoded, FAULT_UNDECODED, "%s", pupil_reason());
        if (d->black.n <= WARNINGS)
            pupil_warn("%s: a black picture takes its place%s", pupil_reason(),
                       d->black.n == WARNINGS ? " (more are counted, not named)" : "");
    }
    pthread_mutex_unlock(&d->lock);
    *ret = (pupil_image){BLACK_SIDE, BLACK_SIDE, pupil_alloc(3 * BLACK_SIDE * BLACK_SIDE)};
}

int pupil_dataset_image(pupil_dataset *d, pupil_split split, int64_t i, pupil_image *ret)
{
    if (d->source != PUPIL_SOURCE_SCENES) {
        int r = decode(d, split, i, ret);
        if (r != PUPIL_EFORMAT || !d->skip_bad) return r;
        blacken(d, split, i, ret);
        return 0;
    }
    int size = (int)d->scenes.size;
    scene s;
    dataset_scene(d, split, i, &s);
    *ret = (pupil_image){size, size, pupil_alloc(3 * (size_t)size * (size_t)size)};
    scene_draw(&s, size, ret->rgb);
    return 0;
}

void pupil_dataset_expect(pupil_dataset *d, pupil_split split, int64_t i)
{
    if (d->files[split]) files_expect(d->files[split], i);
    if (!d->tars[split]) return;
    pthread_mutex_lock(&d->lock);
    tars_expect(d->tars[split], i);
    pthread_mutex_unlock(&d->lock);
}

int64_t pupil_dataset_blackened(const pupil_dataset *d)
{
    return d->black.n;
}

void pupil_dataset_problems(const pupil_dataset *d, pupil_buf *out)
{
    static const char *const name[] = {"training", "held-out"};
    for (int s = PUPIL_TRAIN; s <= PUPIL_TEST; s++) {
        if (!faults_total(&d->left_out[s])) continue;
        pupil_buf_printf(out, "%lld %s samples left out (", (long long)faults_total(&d->left_out[s]),
                         name[s]);
        faults_print(&d->left_out[s], out);
        pupil_buf_printf(out, "), first %s\n", d->left_out[s].named.s);
    }
    if (d->black.n)
        pupil_buf_printf(out, "%lld pictures cannot be decoded and are black, first %s\n",
                         (long long)d->black.n, d->undecoded.named.s);
}

/* ---- captions, classes, keys -------------------------------------------------------------------- */
static int own_captions(const pupil_dataset *d, pupil_split split, int64_t i)
{
    if (d->source == PUPIL_SOURCE_SCENES) return SCENE_CAPTIONS;
    return d->tars[split] ? tars_captions(d->tars[split], i) : files_captions(d->files[split], i);
}

int pupil_dataset_captions(const pupil_dataset *d, pupil_split split, int64_t i)
{
    return PUPIL_MAX(1, own_captions(d, split, i));
}

/* The template with the class's name in it. */
static char *class_caption(const pupil_dataset *d, int64_t cls)
{
    static const char word[] = "{class}";
    pupil_buf text = {0};
    const char *p = d->class_template;
    for (const char *at; (at = strstr(p, word)); p = at + strlen(word)) {
        pupil_buf_add(&text, p, (size_t)(at - p));
        pupil_buf_puts(&text, d->class_name[cls]);
    }
    pupil_buf_puts(&text, p);
    return text.s;
}

int pupil_dataset_caption(pupil_dataset *d, pupil_split split, int64_t i, int k, char **ret)
{
    PUPIL_REQUIRE(k >= 0 && k < pupil_dataset_captions(d, split, i));
    if (d->source == PUPIL_SOURCE_SCENES) {
        pupil_buf text = {0};
        scene s;
        dataset_scene(d, split, i, &s);
        scene_caption(&s, k, &text);
        *ret = text.s;
    } else if (!own_captions(d, split, i)) {
        *ret = class_caption(d, pupil_dataset_class(d, split, i));
    } else {
        *ret = pupil_strdup(d->tars[split] ? tars_caption(d->tars[split], i, k)
                                           : files_caption(d->files[split], i, k));
    }
    return 0;
}

int64_t pupil_dataset_class(const pupil_dataset *d, pupil_split split, int64_t i)
{
    PUPIL_REQUIRE(i >= 0 && i < pupil_dataset_count(d, split));
    return d->tars[split]    ? tars_class(d->tars[split], i)
           : d->files[split] ? files_class(d->files[split], i)
                             : -1;
}

int pupil_dataset_classes(const pupil_dataset *d, char *const **ret_names)
{
    *ret_names = d->class_name;
    return d->classes;
}

const char *dataset_key(const pupil_dataset *d, pupil_split split, int64_t i)
{
    return d->tars[split] ? tars_key(d->tars[split], i) : files_key(d->files[split], i);
}

int pupil_dataset_key(pupil_dataset *d, pupil_split split, int64_t i, char **ret)
{
    PUPIL_REQUIRE(i >= 0 && i < pupil_dataset_count(d, split));
    *ret = d->source == PUPIL_SOURCE_SCENES ? pupil_format("scene-%06lld", (long long)i)
                                            : pupil_strdup(dataset_key(d, split, i));
    return 0;
}

/* ---- finding ------------------------------------------------------------------------------------ */
static const char *last_part(const char *key)
{
    const char *slash = strrchr(key, '/');
    return slash ? slash + 1 : key;
}

typedef struct {
    const pupil_dataset *d;
    pupil_split split;
} order;

static int by_name(const void *a, const void *b, void *state)
{
    const order *o = state;
    int64_t i = *(const int64_t *)a, j = *(const int64_t *)b;
    const char *x = dataset_key(o->d, o->split, i), *y = dataset_key(o->d, o->split, j);
    int c = strcmp(last_part(x), last_part(y));
    if (c == 0) c = strcmp(x, y);
    return c ? c : (i > j) - (i < j);
}

/* The first place in the order whose last part (and, if `key` is given, key) is not less. */
static int64_t lower_bound(const pupil_dataset *d, pupil_split split, const char *name, const char *key)
{
    int64_t lo = 0, hi = pupil_dataset_count(d, split);
    while (lo < hi) {
        int64_t mid = (lo + hi) / 2;
        const char *x = dataset_key(d, split, d->by_name[split][mid]);
        int c = strcmp(last_part(x), name);
        if (c == 0 && key) c = strcmp(x, key);
        if (c < 0) lo = mid + 1;
        else hi = mid;
    }
    return lo;
}

int64_t dataset_find(pupil_dataset *d, pupil_split split, const char *name)
{
    int64_t n = pupil_dataset_count(d, split), **p = &d->by_name[split];
    order o = {d, split};
    if (n == 0) return UNKNOWN;
    if (!*p) {
        *p = pupil_alloc((size_t)n * sizeof **p);
        for (int64_t i = 0; i < n; i++) (*p)[i] = i;
        qsort_r(*p, (size_t)n, sizeof **p, by_name, &o);
    }
    for (bool whole = true;; whole = false) {
        int64_t at = lower_bound(d, split, last_part(name), whole ? name : NULL);
        int same = 0;
        for (int64_t k = at; k < n && k < at + 2; k++) {
            const char *key = dataset_key(d, split, (*p)[k]);
            same += !strcmp(whole ? key : last_part(key), name);
        }
        if (same) return same > 1 ? SEVERAL : (*p)[at];
        if (!whole || strchr(name, '/')) return UNKNOWN;
    }
}
