/* scenes.c: what is in a scene.
 *
 * First a description (a colour, a shape, or both) and how many objects it shall fit are drawn, the count
 * evenly from 0 to max_objects: so "how many ...?" has answers that its words do not betray. Then objects are
 * drawn until they fit that, all shapes and colours alike by symmetry.
 *
 * Held out by content: the set of (shape, colour, size) in a scene decides which split it may be in, one set
 * in eight belongs to the test split. No test scene has the same objects as any training scene, whatever the
 * seeds and the counts. */
#include "scenes.h"

#include <math.h>
#include <string.h>

const char *const scene_shape_name[SCENE_SHAPES] = {"circle", "square", "triangle", "star",
                                                    "cross",  "ring",   "diamond",  "heart"};
const char *const scene_colour_name[SCENE_COLOURS] = {"red",  "orange", "yellow", "green",
                                                      "blue", "purple", "pink",   "black"};
const uint8_t scene_colour_rgb[SCENE_COLOURS][3] = {{214, 32, 32},   {246, 130, 10}, {250, 222, 30},
                                                    {34, 150, 50},   {36, 84, 224},  {128, 36, 172},
                                                    {255, 120, 190}, {24, 24, 28}};
const char *const scene_ground_name[SCENE_GROUNDS] = {"plain", "shaded", "checked", "speckled"};

enum { HELD_OUT_OF = 8, TRIES = 40 };

/* How far a shape may turn and still be itself (a turned square is a diamond). */
static const float max_turn[SCENE_SHAPES] = {0, 0.25f, 0.3f, 0.6f, 0.25f, 0, 0.15f, 0.25f};

static float between(pupil_rng *r, float low, float high)
{
    return low + (high - low) * (float)pupil_rng_uniform(r);
}

static int below(pupil_rng *r, int n)
{
    return (int)pupil_rng_below(r, (uint64_t)n);
}

pupil_rng scene_rng(const scene *s, int64_t use)
{
    return pupil_rng_at(s->seed, PUPIL_STREAM_SCENE, s->place | (uint64_t)use << 1);
}

bool scene_fits(scene_kind d, const scene_object *o)
{
    return (d.shape < 0 || d.shape == o->is.shape) && (d.colour < 0 || d.colour == o->is.colour) &&
           (d.large < 0 || d.large == o->is.large);
}

int scene_count(const scene *s, scene_kind description)
{
    int n = 0;
    for (int i = 0; i < s->n; i++) n += scene_fits(description, &s->object[i]);
    return n;
}

int scene_side_of(const scene_object *a, const scene_object *b)
{
    float dx = a->x - b->x, dy = a->y - b->y, wide = fabsf(dx), high = fabsf(dy);
    if (wide >= 0.14f && wide >= 1.5f * high) return dx < 0 ? SCENE_LEFT : SCENE_RIGHT;
    if (high >= 0.14f && high >= 1.5f * wide) return dy < 0 ? SCENE_ABOVE : SCENE_BELOW;
    return -1;
}

static scene_kind draw_kind(pupil_rng *r)
{
    int shape = below(r, SCENE_SHAPES), colour = below(r, SCENE_COLOURS);
    return (scene_kind){shape, colour, below(r, 2)};
}

/* An object that fits the focus or does not; now and then a copy of one before it, or a near miss. */
static scene_kind draw_object(const scene *s, int first, int i, bool fit, pupil_rng *r)
{
    if (i > first && below(r, 4) == 0) return s->object[first + below(r, i - first)].is;
    const scene_kind f = s->focus;
    scene_object o;
    do {
        o.is = draw_kind(r);
        int near = fit ? 3 : below(r, 6); /* bit 0: the focus's shape, bit 1: its colour */
        if (f.shape >= 0 && near <= 3 && near & 1) o.is.shape = f.shape;
        if (f.colour >= 0 && near <= 3 && near & 2) o.is.colour = f.colour;
    } while (scene_fits(f, &o) != fit);
    return o.is;
}

static void draw_objects(scene *s, int max, pupil_rng *r)
{
    s->focus = draw_kind(r);
    s->focus.large = -1;
    int open = below(r, 3);
    if (open == 1) s->focus.shape = -1;
    if (open == 2) s->focus.colour = -1;
    int fitting = below(r, max + 1), least = PUPIL_MAX(fitting, 1);
    s->n = least + below(r, max - least + 1);
    for (int i = 0; i < s->n; i++)
        s->object[i].is = draw_object(s, i < fitting ? 0 : fitting, i, i < fitting, r);
}

static bool held_out(const scene *s)
{
    uint8_t code[8] = {0};
    for (int i = 0; i < s->n; i++) {
        const scene_kind k = s->object[i].is;
        uint8_t c = (uint8_t)(1 + (k.shape * SCENE_COLOURS + k.colour) * 2 + k.large);
        int at = i;
        for (; at > 0 && code[at - 1] > c; at--) code[at] = code[at - 1];
        code[at] = c;
    }
    uint64_t set;
    memcpy(&set, code, sizeof set);
    return pupil_rng_u64(set, PUPIL_STREAM_SCENE, 0) % HELD_OUT_OF == 0;
}

/* Room between o and the objects before it, in sides; negative where they overlap. */
static float room(const scene *s, int n, const scene_object *o)
{
    float least = 1;
    for (int i = 0; i < n; i++) {
        const scene_object *p = &s->object[i];
        float d = sqrtf((o->x - p->x) * (o->x - p->x) + (o->y - p->y) * (o->y - p->y)) - o->r - p->r;
        least = PUPIL_MIN(least, d);
    }
    return least;
}

static void place_objects(scene *s, pupil_rng *r)
{
    for (int i = 1; i < s->n; i++) /* large ones first: they need the room */
        for (int k = i; k > 0 && s->object[k].is.large > s->object[k - 1].is.large; k--) {
            scene_object o = s->object[k];
            s->object[k] = s->object[k - 1];
            s->object[k - 1] = o;
        }
    for (int i = 0; i < s->n; i++) {
        scene_object *o = &s->object[i], best = {0};
        o->r = o->is.large ? between(r, 0.128f, 0.145f) : between(r, 0.08f, 0.09f);
        o->turn = between(r, -max_turn[o->is.shape], max_turn[o->is.shape]);
        float most = -2, edge = o->r * 1.12f + 0.01f;
        for (int t = 0; t < TRIES && most < 0.03f; t++) {
            o->x = between(r, edge, 1 - edge);
            o->y = between(r, edge, 1 - edge);
            float free_room = room(s, i, o);
            if (free_room > most) {
                most = free_room;
                best = *o;
            }
        }
        *o = best;
    }
}

/* Light and nearly grey, so that the colours of objects stay readable. */
static void draw_ground(scene *s, pupil_rng *r)
{
    s->ground = (scene_ground)below(r, SCENE_GROUNDS);
    float light = between(r, 150, 215), step = between(r, 14, 26) * (below(r, 2) ? 1.0f : -1.0f);
    for (int c = 0; c < 3; c++) {
        s->tint[0][c] = light + between(r, -9, 9);
        s->tint[1][c] = s->tint[0][c] + (s->ground == SCENE_PLAIN ? 0 : step);
    }
    s->angle = between(r, 0, 6.2831853f);
    s->cell = between(r, 0.1f, 0.2f);
}

void scene_make(const pupil_conf_scenes *conf, pupil_split split, int64_t index, scene *ret)
{
    *ret = (scene){.seed = (uint64_t)conf->seed, .index = index};
    ret->place = (uint64_t)index << 20 | (split == PUPIL_TEST);
    pupil_rng r = scene_rng(ret, 0);
    do draw_objects(ret, (int)conf->max_objects, &r);
    while (held_out(ret) != (split == PUPIL_TEST));
    place_objects(ret, &r);
    draw_ground(ret, &r);
}
