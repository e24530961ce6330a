/* scene_draw.c: a scene in pixels. Each shape is a signed distance to its outline (negative inside), so edges
 * are antialiased by how far a pixel's centre is from them. A row of pixels is drawn at a time, in loops that
 * the compiler turns into vector code; nothing but the row is kept in floats. */
#include "scenes.h"

#include <math.h>

static const float outline = 0.09f, outline_shade = 0.6f; /* width in radii; how dark */

static inline float larger(float a, float b)
{
    return a > b ? a : b;
}
static inline float smaller(float a, float b)
{
    return a < b ? a : b;
}
static inline float clamp01(float x)
{
    return smaller(larger(x, 0), 1);
}

/* ---- shapes of radius about 1 around (0, 0), v downwards ---- */

static inline float circle(float u, float v)
{
    return sqrtf(u * u + v * v) - 1;
}
static inline float square(float u, float v)
{
    return larger(fabsf(u), fabsf(v)) - 0.84f;
}
static inline float ring(float u, float v)
{
    return fabsf(sqrtf(u * u + v * v) - 0.72f) - 0.31f;
}
static inline float diamond(float u, float v)
{
    return 0.825f * fabsf(u) + 0.566f * fabsf(v) - 0.63f;
}

static inline float triangle(float u, float v)
{
    v -= 0.18f;
    return larger(v, 0.866f * fabsf(u) - 0.5f * v) - 0.58f;
}

static inline float cross(float u, float v)
{
    u = fabsf(u);
    v = fabsf(v);
    return larger(larger(u, v) - 1.0f, smaller(u, v) - 0.35f);
}

/* A pentagram is where at most one of its five lines is crossed: the second largest of five distances. */
static inline float star(float u, float v)
{
    static const float direction[5][2] = {{0, -1},
                                          {0.9510565f, -0.3090170f},
                                          {0.5877853f, 0.8090170f},
                                          {-0.5877853f, 0.8090170f},
                                          {-0.9510565f, -0.3090170f}};
    float most = -9, second = -9;
    for (int k = 0; k < 5; k++) {
        float d = direction[k][0] * u + direction[k][1] * v;
        second = larger(second, smaller(most, d));
        most = larger(most, d);
    }
    return second - 0.43f;
}

/* A square on its corner, and a disc on each of its upper edges. */
static inline float heart(float u, float v)
{
    u = fabsf(u);
    v += 0.06f;
    float disc = sqrtf((u - 0.43f) * (u - 0.43f) + (v + 0.43f) * (v + 0.43f)) - 0.61f;
    return smaller(disc, 0.7071f * (u + fabsf(v)) - 0.61f);
}

/* Distances of n points, in radii. */
static void distances(int shape, int n, const float *u, const float *v, float *d)
{
#define EACH(NAME, f)                                                                                        \
    case NAME:                                                                                               \
        for (int i = 0; i < n; i++) d[i] = f(u[i], v[i]);                                                    \
        break
    switch (shape) {
        EACH(SCENE_CIRCLE, circle);
        EACH(SCENE_SQUARE, square);
        EACH(SCENE_TRIANGLE, triangle);
        EACH(SCENE_STAR, star);
        EACH(SCENE_CROSS, cross);
        EACH(SCENE_RING, ring);
        EACH(SCENE_DIAMOND, diamond);
        EACH(SCENE_HEART, heart);
    }
#undef EACH
}

/* ---- rows ---- */

typedef struct {
    float *colour[3], *u, *v, *d;
    int size;
} row;

static uint32_t scatter(uint32_t x)
{
    x = (x ^ x >> 16) * 0x7feb352du; /* lowbias32, C. Wellons 2018 */
    x = (x ^ x >> 15) * 0x846ca68bu;
    return x ^ x >> 16;
}

/* The share of the second tint at each pixel. */
static void ground_row(const scene *s, int y, const row *w)
{
    float unit = 1.0f / (float)w->size, py = ((float)y + 0.5f) * unit, *t = w->d;
    float c = cosf(s->angle), n = sinf(s->angle);
    uint32_t grain = scatter((uint32_t)s->seed ^ (uint32_t)(s->place >> 20)) + scatter((uint32_t)(py * 64));
    for (int x = 0; x < w->size; x++) {
        float px = ((float)x + 0.5f) * unit;
        switch (s->ground) {
        case SCENE_SHADED:
            t[x] = clamp01(0.5f + c * (px - 0.5f) + n * (py - 0.5f));
            break;
        case SCENE_CHECKED:
            t[x] = (float)(((int)(px / s->cell) + (int)(py / s->cell)) & 1);
            break;
        case SCENE_SPECKLED:
            t[x] = (float)(scatter(grain + (uint32_t)(px * 64)) >> 24) * (1.0f / 255);
            break;
        default:
            t[x] = 0;
        }
    }
    for (int k = 0; k < 3; k++)
        for (int x = 0; x < w->size; x++)
            w->colour[k][x] = s->tint[0][k] + (s->tint[1][k] - s->tint[0][k]) * t[x];
}

static void object_row(const scene_object *o, int y, const row *w)
{
    float size = (float)w->size, r = o->r * size, reach = 1.3f * r + 1;
    float dy = (float)y + 0.5f - o->y * size;
    if (fabsf(dy) > reach) return;
    int from = (int)larger(o->x * size - reach, 0);
    int n = (int)smaller(o->x * size + reach, size - 1) + 1 - from;
    float c = cosf(o->turn) / r, s = sinf(o->turn) / r;
    for (int i = 0; i < n; i++) {
        float dx = (float)(from + i) + 0.5f - o->x * size;
        w->u[i] = c * dx + s * dy;
        w->v[i] = c * dy - s * dx;
    }
    distances(o->is.shape, n, w->u, w->v, w->d);
    /* u becomes how much of the pixel is covered, v how bright that is for the outline in it */
    for (int i = 0; i < n; i++) {
        float d = w->d[i] * r;
        w->u[i] = clamp01(0.5f - d);
        w->v[i] = outline_shade + (1 - outline_shade) * clamp01(0.5f - d - outline * r);
    }
    for (int k = 0; k < 3; k++) {
        float *p = w->colour[k] + from, full = scene_colour_rgb[o->is.colour][k];
        for (int i = 0; i < n; i++) p[i] += w->u[i] * (full * w->v[i] - p[i]);
    }
}

void scene_draw(const scene *s, int size, uint8_t *rgb)
{
    float *floats = pupil_alloc(6 * (size_t)size * sizeof *floats), *at = floats;
    row w = {.size = size};
    for (int k = 0; k < 3; k++, at += size) w.colour[k] = at;
    w.u = at;
    w.v = at + size;
    w.d = at + 2 * size;
    for (int y = 0; y < size; y++) {
        ground_row(s, y, &w);
        for (int i = 0; i < s->n; i++) object_row(&s->object[i], y, &w);
        for (int x = 0; x < size; x++, rgb += 3)
            for (int k = 0; k < 3; k++) rgb[k] = (uint8_t)(w.colour[k][x] + 0.5f);
    }
    pupil_free(&floats);
}
