/* view.c: which part of a training picture the towers see. A view is a pure function of (seed, sample, view)
 * and of the picture's size, so teacher and student, at whatever time and resolution, see the same part.
 *
 * The box follows torchvision's RandomResizedCrop: area = share of the picture, uniform; log of width/height,
 * uniform; both rounded to pixels; ten tries until it fits, then uniform among the places where it does; else
 * the largest box of an allowed shape in the middle. Draws come from the counter-based generator, each view
 * in a stretch of 2^32 of its own, the mirror after the box. */
#include "pupil/data.h"

#include <math.h>
#include <string.h>

enum { TRIES = 10 };

pupil_view_recipe pupil_view_of_conf(const pupil_conf_view *c)
{
    return (pupil_view_recipe){.crop = c->crop,
                               .scale = {c->scale_min, c->scale_max},
                               .ratio = {c->ratio_min, c->ratio_max},
                               .flip = c->flip,
                               .seed = (uint64_t)c->seed};
}

static double between(pupil_rng *g, double low, double high)
{
    return low + (high - low) * pupil_rng_uniform(g);
}

static bool draw_box(const pupil_view_recipe *r, pupil_rng *g, int w, int h, pupil_view *v)
{
    for (int i = 0; i < TRIES; i++) {
        double area = (double)w * h * between(g, r->scale[0], r->scale[1]);
        double aspect = exp(between(g, log(r->ratio[0]), log(r->ratio[1])));
        double bw = rint(sqrt(area * aspect)),
               bh = rint(sqrt(area / aspect)); /* Python's round: halves to even */
        if (!(bw >= 1 && bw <= w && bh >= 1 && bh <= h)) continue;
        v->w = (int)bw, v->h = (int)bh;
        v->y = (int)pupil_rng_below(g, (uint64_t)(h - v->h + 1));
        v->x = (int)pupil_rng_below(g, (uint64_t)(w - v->w + 1));
        return true;
    }
    return false;
}

/* All of the picture, or of an extreme one the part in the middle that has the nearest allowed shape. */
static void middle_box(const pupil_view_recipe *r, int w, int h, pupil_view *v)
{
    double ratio = (double)w / h;
    v->w = w, v->h = h;
    if (ratio < r->ratio[0]) v->h = (int)PUPIL_MAX(1, rint(w / r->ratio[0]));
    else if (ratio > r->ratio[1]) v->w = (int)PUPIL_MAX(1, rint(h * r->ratio[1]));
    v->x = (w - v->w) / 2;
    v->y = (h - v->h) / 2;
}

pupil_view pupil_view_at(const pupil_view_recipe *r, int64_t sample, int64_t view, int w, int h)
{
    pupil_rng g = pupil_rng_at(r->seed, PUPIL_STREAM_VIEW, (uint64_t)sample);
    g.counter = (uint64_t)view << 32;
    pupil_view v = {.w = w, .h = h, .whole = !r->crop};
    if (r->crop && !draw_box(r, &g, w, h, &v)) middle_box(r, w, h, &v);
    v.flip = r->flip && pupil_rng_uniform(&g) < 0.5;
    return v;
}

void pupil_view_text(const pupil_view_recipe *r, pupil_buf *out)
{
    if (r->crop)
        pupil_buf_printf(out, "random_resized_crop scale=%.10g,%.10g ratio=%.11g,%.11g", r->scale[0],
                         r->scale[1], r->ratio[0], r->ratio[1]);
    else pupil_buf_puts(out, "whole picture");
    if (r->crop || r->flip)
        pupil_buf_printf(out, " flip=%s seed=%llu", r->flip ? "yes" : "no", (unsigned long long)r->seed);
}
