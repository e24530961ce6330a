/* dataset.c: one face for the built-in scenes and for tars of real pictures. */
#include "dataset.h"

#include <string.h>

int pupil_dataset_open(const pupil_conf_data *conf, const char *index_dir, pupil_dataset **ret)
{
    pupil_dataset *d = pupil_alloc(sizeof *d);
    const pupil_conf_vqa_files *vqa[2] = {&conf->vqa_train, &conf->vqa_test};
    d->source = conf->source;
    d->scenes = conf->scenes;
    int r = 0;
    for (int s = PUPIL_TRAIN; s <= PUPIL_TEST && d->source == PUPIL_SOURCE_WEBDATASET && r == 0; s++) {
        const pupil_strings *patterns = s == PUPIL_TRAIN ? &conf->train : &conf->test;
        if (vqa[s]->questions) d->vqa[s].questions = pupil_strdup(vqa[s]->questions);
        if (vqa[s]->annotations) d->vqa[s].annotations = pupil_strdup(vqa[s]->annotations);
        if (patterns->n) r = tars_open(patterns, index_dir, conf->skip_bad, &d->tars[s]);
    }
    if (r < 0) {
        pupil_dataset_free(&d);
        return r;
    }
    *ret = d;
    return 0;
}

void pupil_dataset_free(pupil_dataset **d)
{
    if (!*d) return;
    for (int s = PUPIL_TRAIN; s <= PUPIL_TEST; s++) {
        tars_free(&(*d)->tars[s]);
        pupil_free(&(*d)->vqa[s].questions);
        pupil_free(&(*d)->vqa[s].annotations);
    }
    pupil_free(d);
}

int64_t pupil_dataset_count(const pupil_dataset *d, pupil_split split)
{
    if (d->source == PUPIL_SOURCE_SCENES) return split == PUPIL_TRAIN ? d->scenes.train : d->scenes.test;
    return d->tars[split] ? tars_count(d->tars[split]) : 0;
}

int pupil_dataset_digest(pupil_dataset *d, pupil_split split, char ret_hex[65])
{
    if (d->source == PUPIL_SOURCE_WEBDATASET && d->tars[split]) return tars_digest(d->tars[split], ret_hex);
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

int pupil_dataset_image(pupil_dataset *d, pupil_split split, int64_t i, pupil_image *ret)
{
    if (d->source == PUPIL_SOURCE_WEBDATASET) return tars_image(d->tars[split], i, ret);
    int size = (int)d->scenes.size;
    scene s;
    dataset_scene(d, split, i, &s);
    *ret = (pupil_image){size, size, pupil_alloc(3 * (size_t)size * (size_t)size)};
    scene_draw(&s, size, ret->rgb);
    return 0;
}

int pupil_dataset_captions(const pupil_dataset *d, pupil_split split, int64_t i)
{
    return d->source == PUPIL_SOURCE_WEBDATASET ? tars_captions(d->tars[split], i) : SCENE_CAPTIONS;
}

int pupil_dataset_caption(pupil_dataset *d, pupil_split split, int64_t i, int k, char **ret)
{
    if (d->source == PUPIL_SOURCE_WEBDATASET) return tars_caption(d->tars[split], i, k, ret);
    PUPIL_REQUIRE(k >= 0 && k < SCENE_CAPTIONS);
    pupil_buf text = {0};
    scene s;
    dataset_scene(d, split, i, &s);
    scene_caption(&s, k, &text);
    *ret = text.s;
    return 0;
}

int pupil_dataset_key(pupil_dataset *d, pupil_split split, int64_t i, char **ret)
{
    PUPIL_REQUIRE(i >= 0 && i < pupil_dataset_count(d, split));
    *ret = d->source == PUPIL_SOURCE_WEBDATASET ? pupil_strdup(tars_key(d->tars[split], i))
                                                : pupil_format("scene-%06lld", (long long)i);
    return 0;
}
