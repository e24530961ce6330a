/* scene_questions.c: questions whose answers their words do not betray.
 *
 * The answer is drawn first, evenly among those this scene allows, then a question that has it. All shapes,
 * colours and opposite sides are alike in the making of scenes, and counts are asked about the description
 * whose count was drawn evenly; so the answer is near evenly spread for each question type and each question
 * text, and a model that does not look can only guess. Where a type has no question about a scene, "is there
 * ...?" is asked instead. */
#include "scenes.h"

#include <string.h>

typedef struct {
    const scene *s;
    pupil_rng r;
    pupil_buf *text;
    bool first; /* of its type about this scene */
} asker;

static const scene_kind anything = {-1, -1, -1};

static int below(asker *a, int n)
{
    return (int)pupil_rng_below(&a->r, (uint64_t)n);
}

/* Leave a colour, a shape, or both of it. */
static scene_kind open_some(asker *a, scene_kind d)
{
    int open = below(a, 3);
    d.large = -1;
    if (open == 1) d.shape = -1;
    if (open == 2) d.colour = -1;
    return d;
}

static scene_kind random_kind(asker *a)
{
    int shape = below(a, SCENE_SHAPES);
    return (scene_kind){shape, below(a, SCENE_COLOURS), -1};
}

static scene_answer yes_no(const char *type, bool yes)
{
    return (scene_answer){type, "yes/no", yes ? "yes" : "no"};
}

/* "no" is asked half of the time of a shape and a colour that are there, though not together. */
static scene_answer ask_exists(asker *a)
{
    const scene *s = a->s;
    bool yes = below(a, 2);
    scene_kind d = open_some(a, s->object[below(a, s->n)].is);
    if (!yes && d.shape >= 0 && d.colour >= 0 && below(a, 2)) d.colour = s->object[below(a, s->n)].is.colour;
    while (!yes && scene_count(s, d) > 0) {
        scene_kind other = random_kind(a);
        if (d.shape >= 0) d.shape = other.shape;
        if (d.colour >= 0) d.colour = other.colour;
    }
    pupil_buf_puts(a->text, "is there ");
    scene_say(a->text, 1, d);
    pupil_buf_puts(a->text, "?");
    return yes_no("exists", yes);
}

static scene_answer ask_count(asker *a)
{
    static const char *const digits[SCENE_OBJECTS + 1] = {"0", "1", "2", "3", "4", "5", "6"};
    scene_kind d = a->first ? a->s->focus : open_some(a, random_kind(a));
    pupil_buf_puts(a->text, "how many ");
    scene_say_words(a->text, d, true);
    pupil_buf_puts(a->text, " are there?");
    return (scene_answer){"count", "number", digits[scene_count(a->s, d)]};
}

/* The shape (of: false, the colour) shared by all that fits d, or -1. */
static int shared(const scene *s, scene_kind d, bool of_shape)
{
    int found = -1;
    for (int i = 0; i < s->n; i++) {
        if (!scene_fits(d, &s->object[i])) continue;
        int value = of_shape ? s->object[i].is.shape : s->object[i].is.colour;
        if (found >= 0 && value != found) return -1;
        found = value;
    }
    return found;
}

/* Colour of a shape, or shape of a colour, where all such things (of one size) share it. */
static scene_answer ask_shared(asker *a, bool of_shape)
{
    scene_kind choice[2 * SCENE_OBJECTS];
    int value[2 * SCENE_OBJECTS], n = 0;
    uint32_t mask = 0;
    for (int i = 0; i < a->s->n; i++)
        for (int sized = 0; sized < 2; sized++) {
            scene_kind d = a->s->object[i].is;
            if (!sized) d.large = -1;
            *(of_shape ? &d.shape : &d.colour) = -1;
            int v = shared(a->s, d, of_shape);
            bool told = v < 0;
            for (int k = 0; k < n && !told; k++) told = memcmp(&choice[k], &d, sizeof d) == 0;
            if (told) continue;
            choice[n] = d;
            value[n++] = v;
            mask |= 1u << v;
        }
    if (n == 0) return ask_exists(a);
    int want, k = below(a, n);
    do want = below(a, of_shape ? SCENE_SHAPES : SCENE_COLOURS);
    while (!(mask >> want & 1));
    while (value[k] != want) k = (k + 1) % n;
    bool several = scene_count(a->s, choice[k]) > 1;
    pupil_buf_printf(a->text, "what %s %s the ", of_shape ? "shape" : "colour", several ? "are" : "is");
    scene_say_words(a->text, choice[k], several);
    pupil_buf_puts(a->text, "?");
    return (scene_answer){of_shape ? "shape" : "colour", "other",
                          of_shape ? scene_shape_name[want] : scene_colour_name[want]};
}

/* A description that only this object fits: by shape, by colour, by both, with its size. */
static bool single_out(asker *a, const scene_object *o, scene_kind *ret)
{
    int from = below(a, 3);
    for (int i = 0; i < 4; i++) {
        scene_kind d = o->is;
        int way = i == 3 ? 3 : (from + i) % 3;
        if (way < 3) d.large = -1;
        if (way == 0) d.colour = -1;
        if (way == 1) d.shape = -1;
        if (scene_count(a->s, d) != 1) continue;
        *ret = d;
        return true;
    }
    return false;
}

static scene_answer ask_position(asker *a)
{
    static const char *const side_word[SCENE_SIDES] = {"left", "right", "above", "below"};
    static const char *const side_words[SCENE_SIDES] = {"left of", "right of", "above", "below"};
    struct {
        scene_kind a, b;
        int side;
    } pair[SCENE_OBJECTS * SCENE_OBJECTS];
    int n = 0, seen[SCENE_SIDES] = {0};
    for (int i = 0; i < a->s->n * a->s->n; i++) {
        const scene_object *o = &a->s->object[i / a->s->n], *p = &a->s->object[i % a->s->n];
        pair[n].side = o == p ? -1 : scene_side_of(o, p);
        if (pair[n].side < 0 || !single_out(a, o, &pair[n].a) || !single_out(a, p, &pair[n].b)) continue;
        seen[pair[n++].side]++;
    }
    if (n == 0) return ask_shared(a, below(a, 2));
    int side, k = below(a, n);
    do side = below(a, SCENE_SIDES);
    while (!seen[side]);
    while (pair[k].side != side) k = (k + 1) % n;
    pupil_buf_puts(a->text, "is ");
    scene_say(a->text, 0, pair[k].a);
    bool open = below(a, 3), yes = below(a, 2);
    pupil_buf_printf(a->text, " %s ",
                     open ? "left of, right of, above or below" : side_words[yes ? side : side ^ 1]);
    scene_say(a->text, 0, pair[k].b);
    pupil_buf_puts(a->text, "?");
    return open ? (scene_answer){"position", "other", side_word[side]} : yes_no("position", yes);
}

typedef enum { MORE, FEWER, SAME } relation;

typedef struct {
    scene_kind a, b;
} comparison;

/* Any two shapes or two colours of which there are as many as `want` says: both there, or at worst one (for
 * SAME: both). False if there are none. */
static bool find_compared(asker *a, relation want, comparison *ret)
{
    comparison both[2 * SCENE_SHAPES * SCENE_SHAPES], one[2 * SCENE_SHAPES * SCENE_SHAPES];
    int n_both = 0, n_one = 0;
    for (int i = 0; i < PUPIL_COUNT(both); i++) {
        int p = i / 2 % SCENE_SHAPES, q = i / 2 / SCENE_SHAPES;
        comparison c = {anything, anything};
        *(i % 2 ? &c.a.shape : &c.a.colour) = p;
        *(i % 2 ? &c.b.shape : &c.b.colour) = q;
        int na = scene_count(a->s, c.a), nb = scene_count(a->s, c.b);
        if (p == q || na + nb == 0 || want != (na > nb ? MORE : na < nb ? FEWER : SAME)) continue;
        if (na && nb) both[n_both++] = c;
        else one[n_one++] = c;
    }
    if (n_both) *ret = both[below(a, n_both)];
    else if (n_one) *ret = one[below(a, n_one)];
    return n_both || n_one;
}

/* Only three scenes in five have two kinds in equal numbers; asked openly, "same" is drawn 7 times in 13
 * there, so that each of the three answers comes once in three overall. */
static scene_answer ask_compare(asker *a)
{
    static const char *const word[] = {"more", "fewer", "same"};
    static const char *const words[][2] = {{"more", "than"}, {"fewer", "than"}, {"as many", "as"}};
    comparison c;
    int relations = find_compared(a, SAME, &c) ? 3 : 2;
    bool open = below(a, 5) >= 2, yes = below(a, 2);
    int asked = open && relations == 3 && below(a, 13) < 7 ? SAME : below(a, open ? 2 : relations),
        is = asked;
    if (!open && !yes) is = (asked + 1 + below(a, relations - 1)) % relations;
    PUPIL_REQUIRE(find_compared(a, (relation)is, &c));
    pupil_buf_printf(a->text, "are there %s ", words[open ? MORE : asked][0]);
    scene_say_words(a->text, c.a, true);
    pupil_buf_printf(a->text, " %s ", words[open ? MORE : asked][1]);
    scene_say_words(a->text, c.b, true);
    pupil_buf_puts(a->text, open ? ", fewer, or the same number?" : "?");
    return open ? (scene_answer){"compare", "other", word[is]} : yes_no("compare", yes);
}

scene_answer scene_ask(const scene *s, int64_t questions, int64_t j, pupil_buf *text)
{
    asker a = {
        .s = s, .r = scene_rng(s, 1 + SCENE_CAPTIONS + j), .text = text, .first = j < SCENE_QUESTION_TYPES};
    switch ((s->index * questions + j) % SCENE_QUESTION_TYPES) {
    case 0:
        return ask_exists(&a);
    case 1:
        return ask_count(&a);
    case 2:
        return ask_shared(&a, false);
    case 3:
        return ask_shared(&a, true);
    case 4:
        return ask_position(&a);
    default:
        return ask_compare(&a);
    }
}
