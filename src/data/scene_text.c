/* scene_text.c: captions. Objects that read alike are told together ("two red circles"); a form of sentence
 * is drawn, and where the scene does not allow it (two things are needed, or a clear order) a plain list is
 * told. Each caption is true and names every object by shape and colour; sizes and ground are told at times.
 * The words are those of the questions, since a student's text tower learns words from captions alone. */
#include "scenes.h"

#include <string.h>

static const char *const number[] = {"no", "one", "two", "three", "four", "five", "six"};

typedef struct {
    scene_kind is;
    int n;
    const scene_object *object; /* one of them */
} group;

typedef struct {
    const scene *s;
    group g[SCENE_OBJECTS];
    int n;
    pupil_rng r;
    pupil_buf *out;
} teller;

static int below(teller *t, int n)
{
    return (int)pupil_rng_below(&t->r, (uint64_t)n);
}

void scene_say_words(pupil_buf *out, scene_kind d, bool plural)
{
    if (d.large >= 0) pupil_buf_puts(out, d.large ? "large " : "small ");
    if (d.colour >= 0) pupil_buf_printf(out, "%s ", scene_colour_name[d.colour]);
    pupil_buf_puts(out, d.shape < 0 ? "thing" : scene_shape_name[d.shape]);
    if (plural) pupil_buf_puts(out, d.shape == SCENE_CROSS ? "es" : "s");
}

void scene_say(pupil_buf *out, int n, scene_kind d)
{
    bool orange = d.large < 0 && d.colour >= 0 && scene_colour_name[d.colour][0] == 'o';
    pupil_buf_printf(out, "%s ", n == 0 ? "the" : n > 1 ? number[n] : orange ? "an" : "a");
    scene_say_words(out, d, n > 1);
}

static void swap(teller *t, int a, int b)
{
    group g = t->g[a];
    t->g[a] = t->g[b];
    t->g[b] = g;
}

/* The objects in groups that read alike, sizes told or not, in any order. */
static void make_groups(teller *t, bool sized)
{
    for (int i = 0; i < t->s->n; i++) {
        scene_kind is = t->s->object[i].is;
        if (!sized) is.large = -1;
        int k = 0;
        while (k < t->n && memcmp(&t->g[k].is, &is, sizeof is)) k++;
        if (k == t->n) t->g[t->n++] = (group){.is = is, .object = &t->s->object[i]};
        t->g[k].n++;
    }
    for (int i = t->n - 1; i > 0; i--) swap(t, i, below(t, i + 1));
}

/* After item i of n: ", " or " and " or nothing. */
static void join(teller *t, int i, int n)
{
    if (i + 1 < n) pupil_buf_puts(t->out, i + 2 < n ? ", " : " and ");
}

static bool tell_list(teller *t)
{
    for (int i = 0; i < t->n; i++) {
        scene_say(t->out, t->g[i].n, t->g[i].is);
        join(t, i, t->n);
    }
    return true;
}

static bool tell_there(teller *t)
{
    pupil_buf_puts(t->out, t->g[0].n > 1 ? "there are " : "there is ");
    return tell_list(t);
}

static bool tell_picture(teller *t)
{
    pupil_buf_puts(t->out, below(t, 2) ? "a picture of " : "a picture with ");
    return tell_list(t);
}

static bool tell_ground(teller *t)
{
    tell_list(t);
    pupil_buf_printf(t->out, " on a %s background", scene_ground_name[t->s->ground]);
    return true;
}

static bool tell_number(teller *t)
{
    const scene *s = t->s;
    scene_kind same = s->object[0].is, shape = {same.shape, -1, -1}, colour = {-1, same.colour, -1};
    pupil_buf_printf(t->out, "%s thing%s", number[s->n], s->n > 1 ? "s" : "");
    if (s->n > 1 && scene_count(s, shape) == s->n) pupil_buf_puts(t->out, " of the same shape");
    else if (s->n > 1 && scene_count(s, colour) == s->n) pupil_buf_puts(t->out, " of the same colour");
    pupil_buf_puts(t->out, ": ");
    return tell_list(t);
}

/* Move two groups of one object each, one plainly on some side of the other, to the front. */
static int find_side(teller *t)
{
    for (int a = 0; a < t->n; a++)
        for (int b = 0; b < t->n; b++) {
            int side =
                a == b || t->g[a].n > 1 || t->g[b].n > 1 ? -1 : scene_side_of(t->g[a].object, t->g[b].object);
            if (side < 0) continue;
            swap(t, 0, a);
            swap(t, 1, b == 0 ? a : b);
            return side;
        }
    return -1;
}

static void say_side(teller *t, int side)
{
    static const char *const words[SCENE_SIDES][2] = {{"left of", "to the left of"},
                                                      {"right of", "to the right of"},
                                                      {"above", "above"},
                                                      {"below", "below"}};
    pupil_buf_printf(t->out, " %s ", words[side][below(t, 2)]);
}

/* The groups from the third on, begun by `words`. */
static void tell_rest(teller *t, const char *words)
{
    if (t->n <= 2) return;
    pupil_buf_puts(t->out, words);
    for (int i = 2; i < t->n; i++) {
        scene_say(t->out, t->g[i].n, t->g[i].is);
        join(t, i, t->n);
    }
}

static bool tell_side(teller *t)
{
    int side = find_side(t);
    if (side < 0) return false;
    scene_say(t->out, 1, t->g[0].is);
    say_side(t, side);
    scene_say(t->out, 1, t->g[1].is);
    tell_rest(t, ", with ");
    return true;
}

static bool tell_is(teller *t)
{
    int side = find_side(t);
    if (side < 0) return false;
    scene_say(t->out, 0, t->g[0].is);
    pupil_buf_puts(t->out, " is");
    say_side(t, side);
    scene_say(t->out, 0, t->g[1].is);
    tell_rest(t, t->n > 2 && t->g[2].n > 1 ? ", and there are " : ", and there is ");
    return true;
}

static bool tell_row(teller *t)
{
    if (t->n < 2 || t->n > 4 || t->n < t->s->n) return false;
    for (int i = 1; i < t->n; i++)
        for (int k = i; k > 0 && t->g[k].object->x < t->g[k - 1].object->x; k--) swap(t, k, k - 1);
    for (int i = 1; i < t->n; i++)
        if (t->g[i].object->x - t->g[i - 1].object->x < 0.08f) return false;
    pupil_buf_puts(t->out, "from left to right: ");
    return tell_list(t);
}

/* "more circles than squares: ..." of two shapes or two colours that are there. */
static bool tell_more(teller *t)
{
    if (t->n < 2) return false;
    scene_kind a = t->g[0].is, b = t->g[1].is;
    a.large = b.large = -1;
    if (a.shape != b.shape && (a.colour == b.colour || below(t, 2))) a.colour = b.colour = -1;
    else a.shape = b.shape = -1;
    if (memcmp(&a, &b, sizeof a) == 0) return false;
    int na = scene_count(t->s, a), nb = scene_count(t->s, b);
    pupil_buf_puts(t->out, na > nb ? "more " : na < nb ? "fewer " : "as many ");
    scene_say_words(t->out, a, true);
    pupil_buf_puts(t->out, na == nb ? " as " : " than ");
    scene_say_words(t->out, b, true);
    pupil_buf_puts(t->out, ": ");
    return tell_list(t);
}

/* "the circle is red and the two stars are blue", where each shape has one colour. */
static bool tell_colours(teller *t)
{
    for (int a = 0; a < t->n; a++)
        for (int b = 0; b < a; b++)
            if (t->g[a].is.shape == t->g[b].is.shape) return false;
    for (int i = 0; i < t->n; i++) {
        scene_kind shape = t->g[i].is;
        shape.colour = -1;
        pupil_buf_puts(t->out, "the ");
        if (t->g[i].n > 1) pupil_buf_printf(t->out, "%s ", number[t->g[i].n]);
        scene_say_words(t->out, shape, t->g[i].n > 1);
        pupil_buf_printf(t->out, " %s %s", t->g[i].n > 1 ? "are" : "is",
                         scene_colour_name[t->g[i].is.colour]);
        join(t, i, t->n);
    }
    return true;
}

/* "a red circle at the top left", of a single object. */
static bool tell_where(teller *t)
{
    if (t->s->n != 1) return false;
    const scene_object *o = &t->s->object[0];
    const char *across = o->x < 0.4f ? "left" : o->x > 0.6f ? "right" : "";
    const char *down = o->y < 0.4f ? "top" : o->y > 0.6f ? "bottom" : "";
    scene_say(t->out, 1, t->g[0].is);
    if (*down) pupil_buf_printf(t->out, " at the %s%s%s", down, *across ? " " : "", across);
    else pupil_buf_printf(t->out, *across ? " on the %s" : " in the middle%s", across);
    return true;
}

void scene_caption(const scene *s, int k, pupil_buf *out)
{
    static bool (*const form[])(teller *) = {tell_list,   tell_there, tell_picture, tell_ground,
                                             tell_number, tell_side,  tell_side,    tell_is,
                                             tell_row,    tell_more,  tell_colours, tell_where};
    teller t = {.s = s, .r = scene_rng(s, 1 + k), .out = out};
    make_groups(&t, below(&t, 2));
    int pick = s->n == 1 && below(&t, 2) ? PUPIL_COUNT(form) - 1 : below(&t, PUPIL_COUNT(form) - 1);
    if (!form[pick](&t)) form[below(&t, 5)](&t);
}
