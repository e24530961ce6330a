/* freeze.c: parts of a model that keep their weights. A tower's parts are numbered from its beginning: 0 the stem, 1 .. layers
 * its blocks, layers + 1 the head. Backward walks down to the lowest part that is not frozen (walk_to). */
#include "clip.h"

#include <stdlib.h>
#include <string.h>

/* 0 image, 1 text, 2 neither; *ret_part is the number of its part. */
static int part_of(const pupil_clip *c, const pupil_tensor *t, int64_t *ret_part)
{
    int which = t->offset < c->image_end ? 0 : t->offset < c->text_end ? 1 : 2;
    const tower *w = which ? &c->text : &c->image;
    const char *block = strstr(t->name, "blocks.");
    bool stem = t->offset < w->first; /* the head's tensors lie after the blocks' */
    if (which < 2) *ret_part = block ? 1 + strtol(block + strlen("blocks."), NULL, 10) : stem ? 0 : w->layers + 1;
    return which;
}

/* "0-5" or "3": blocks first .. last as numbers of parts. */
static bool read_blocks(const char *s, int64_t layers, int64_t *first, int64_t *last)
{
    char *end;
    if (*s < '0' || *s > '9') return false;
    *first = *last = strtol(s, &end, 10);
    if (*end == '-' && end[1] >= '0' && end[1] <= '9') *last = strtol(end + 1, &end, 10);
    bool fits = !*end && *first <= *last && *last < layers;
    ++*first;
    ++*last;
    return fits;
}

/* Which parts of the tower `rest` (after "image" or "text") names. */
static bool read_part(const char *rest, int64_t layers, int64_t *first, int64_t *last)
{
    *first = 0;
    *last = layers + 1;
    if (!*rest) return true;
    if (!strcmp(rest, ".stem")) return *last = 0, true;
    if (!strcmp(rest, ".head")) return *first = layers + 1, true;
    if (!strcmp(rest, ".blocks")) return *first = 1, *last = layers, true;
    return !strncmp(rest, ".blocks.", 8) && read_blocks(rest + 8, layers, first, last);
}

static void note_walks(pupil_clip *c)
{
    const tower *w[] = {&c->image, &c->text};
    for (int s = 0; s < 2; s++) c->walk_to[s] = w[s]->layers + 2;
    for (int64_t i = 0; i < c->table.n; i++) {
        int64_t part;
        int which = part_of(c, &c->table.t[i], &part);
        if (which < 2 && !c->table.t[i].frozen) c->walk_to[which] = PUPIL_MIN(c->walk_to[which], part);
    }
}

int pupil_clip_freeze(pupil_clip *c, const char *name)
{
    int which = !strncmp(name, "image", 5) ? 0 : !strncmp(name, "text", 4) ? 1 : 2;
    if (which == 1 && !c->text.layers) return pupil_fail(PUPIL_EUSER, "'%.80s': this model has no text tower of its own", name);
    int64_t layers = which ? c->text.layers : c->image.layers, first = 0, last = 0;
    if (which == 2 ? strcmp(name, "logit_scale") != 0 : !read_part(name + (which ? 4 : 5), layers, &first, &last))
        return pupil_fail(PUPIL_EUSER, "'%.80s' is no part of the model, expected image, text, logit_scale, or image.stem, image.blocks, "
                          "image.blocks.0-%lld, image.head and the same of text (blocks 0 to %lld)", name, (long long)c->image.layers - 1,
                          (long long)c->text.layers - 1);
    for (int64_t i = 0; i < c->table.n; i++) {
        pupil_tensor *t = &c->table.t[i];
        int64_t part = 0;
        if (which == 2 ? t->offset == c->scale : part_of(c, t, &part) == which && part >= first && part <= last) t->frozen = true;
    }
    note_walks(c);
    return 0;
}
