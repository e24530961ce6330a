/* scenes.h (private to data): the built-in pictures. A scene is a pure function of (seed, split, index); its
 * picture, captions and questions are pure functions of the scene. */
#ifndef PUPIL_DATA_SCENES_H
#define PUPIL_DATA_SCENES_H

#include "pupil/data.h"

enum { SCENE_SHAPES = 8, SCENE_COLOURS = 8, SCENE_OBJECTS = 6, SCENE_CAPTIONS = 4, SCENE_QUESTION_TYPES = 6 };
enum { SCENE_RECIPE = 1 }; /* raised whenever a scene or caption comes out otherwise than before */
enum {
    SCENE_CIRCLE,
    SCENE_SQUARE,
    SCENE_TRIANGLE,
    SCENE_STAR,
    SCENE_CROSS,
    SCENE_RING,
    SCENE_DIAMOND,
    SCENE_HEART
};
typedef enum { SCENE_PLAIN, SCENE_SHADED, SCENE_CHECKED, SCENE_SPECKLED, SCENE_GROUNDS } scene_ground;
typedef enum { SCENE_LEFT, SCENE_RIGHT, SCENE_ABOVE, SCENE_BELOW, SCENE_SIDES } scene_side;

extern const char *const scene_shape_name[SCENE_SHAPES];
extern const char *const scene_colour_name[SCENE_COLOURS];
extern const uint8_t scene_colour_rgb[SCENE_COLOURS][3];
extern const char *const scene_ground_name[SCENE_GROUNDS];

/* What an object is; as a description, -1 leaves a field open. */
typedef struct {
    int shape, colour, large;
} scene_kind;

typedef struct {
    scene_kind is;
    float x, y, r; /* centre and radius in sides of the picture, y downwards */
    float turn;    /* radians */
} scene_object;

typedef struct {
    uint64_t seed, place; /* of its random numbers */
    int64_t index;
    int n;
    scene_object object[SCENE_OBJECTS];
    scene_kind focus; /* the description whose count was drawn first, evenly from 0 to max_objects */
    scene_ground ground;
    float tint[2][3];  /* 0..255 */
    float angle, cell; /* of the shading; of the checks, in sides */
} scene;

void scene_make(const pupil_conf_scenes *conf, pupil_split split, int64_t index, scene *ret);
/* Generator number `use` of a scene: 0 made it, the others are free for what is said about it. */
pupil_rng scene_rng(const scene *s, int64_t use);
bool scene_fits(scene_kind description, const scene_object *o);
int scene_count(const scene *s, scene_kind description);
/* On which side of b a lies, if that is plain to see; else -1. */
int scene_side_of(const scene_object *a, const scene_object *b);

/* Antialiased; rgb[size][size][3]. */
void scene_draw(const scene *s, int size, uint8_t *rgb);

/* "a small red circle", "two red things"; n = 0: "the red circle" */
void scene_say(pupil_buf *out, int n, scene_kind description);
/* "red circle", "red circles" */
void scene_say_words(pupil_buf *out, scene_kind description, bool plural);
/* Caption k (0 .. SCENE_CAPTIONS - 1): true, and naming every object. Appended. */
void scene_caption(const scene *s, int k, pupil_buf *out);

typedef struct {
    const char *type, *answer_type, *answer; /* static */
} scene_answer;
/* Question j of the `questions` asked about each scene, appended to `text`, and its answer. */
scene_answer scene_ask(const scene *s, int64_t questions, int64_t j, pupil_buf *text);

#endif
