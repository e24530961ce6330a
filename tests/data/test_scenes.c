/* test_scenes.c: pictures show what scenes hold, captions and answers are true by another reading of their
 * words, the splits share no content, answers cannot be guessed from the question. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "scenes.h"
#include "table.h"

static const pupil_conf_scenes conf = {
    .train = 4000, .test = 1000, .size = 64, .seed = 11, .max_objects = 6, .questions = 6};

/* ---- an independent reading of descriptions ---- */

typedef struct {
    int shape, colour, large, number; /* -1: not said; number 0: "the" or nothing */
    bool plural;
} phrase;

static int word_in(const char *w, size_t n, const char *const *list, int count)
{
    for (int i = 0; i < count; i++)
        if (strlen(list[i]) == n && memcmp(list[i], w, n) == 0) return i;
    return -1;
}

/* Read "two small red circles" at s up to and with its noun; NULL if there is none. */
static const char *read_phrase(const char *s, phrase *p)
{
    static const char *const numbers[] = {"the", "a", "two", "three", "four", "five", "six", "an", "one"};
    *p = (phrase){-1, -1, -1, 0, false};
    while (*s) {
        size_t n = strcspn(s, " ,:?");
        int k = word_in(s, n, numbers, 9), c = word_in(s, n, scene_colour_name, SCENE_COLOURS);
        if (k >= 0) p->number = k >= 7 ? 1 : k;
        else if (c >= 0) p->colour = c;
        else if (n == 5 && memcmp(s, "large", 5) == 0) p->large = 1;
        else if (n == 5 && memcmp(s, "small", 5) == 0) p->large = 0;
        else {
            size_t stem = n;
            bool thing = n >= 5 && memcmp(s, "thing", 5) == 0;
            p->shape = thing ? -1 : word_in(s, n, scene_shape_name, SCENE_SHAPES);
            p->plural = !thing && p->shape < 0;
            if (p->plural && stem > 1) p->shape = word_in(s, --stem, scene_shape_name, SCENE_SHAPES);
            if (p->plural && p->shape < 0 && stem > 1)
                p->shape = word_in(s, --stem, scene_shape_name, SCENE_SHAPES);
            if (thing) p->plural = n == 6;
            return thing || p->shape >= 0 ? s + n : NULL;
        }
        s += n;
        while (*s == ' ') s++;
    }
    return NULL;
}

static int fitting(const scene *s, const phrase *p, const scene_object **ret_last)
{
    int n = 0;
    for (int i = 0; i < s->n; i++) {
        const scene_object *o = &s->object[i];
        if (p->shape >= 0 && o->is.shape != p->shape) continue;
        if (p->colour >= 0 && o->is.colour != p->colour) continue;
        if (p->large >= 0 && o->is.large != p->large) continue;
        n++;
        if (ret_last) *ret_last = o;
    }
    return n;
}

static const char *const side_words[] = {"left of", "right of", "above", "below"};
static const char *const side_answers[] = {"left", "right", "above", "below"};

static bool lies(int side, const scene_object *a, const scene_object *b)
{
    double dx = b->x - a->x, dy = b->y - a->y, d = side == 0 ? dx : side == 1 ? -dx : side == 2 ? dy : -dy;
    return d > 0.13 && d > 1.4 * fmin(fabs(dx), fabs(dy));
}

/* ---- questions ---- */

static const char *yes(bool b)
{
    return b ? "yes" : "no";
}

static const char *shared_answer(const scene *s, const phrase *p, bool shape)
{
    const char *answer = NULL;
    for (int i = 0; i < s->n; i++) {
        const scene_kind k = s->object[i].is;
        if ((p->shape >= 0 && k.shape != p->shape) || (p->colour >= 0 && k.colour != p->colour) ||
            (p->large >= 0 && k.large != p->large))
            continue;
        const char *a = shape ? scene_shape_name[k.shape] : scene_colour_name[k.colour];
        assert_true(!answer || a == answer);
        answer = a;
    }
    assert_int_equal(p->plural, fitting(s, p, NULL) > 1);
    return answer;
}

static const char *position_answer(const scene *s, const char *q)
{
    phrase p;
    const scene_object *a = NULL, *b = NULL;
    const char *rest = read_phrase(q + 3, &p);
    assert_non_null(rest);
    assert_int_equal(fitting(s, &p, &a), 1);
    const char *open = " left of, right of, above or below ";
    int side = -1;
    if (strncmp(rest, open, strlen(open)) == 0) {
        rest += strlen(open);
    } else {
        for (int k = 0; k < 4; k++)
            if (strncmp(rest + 1, side_words[k], strlen(side_words[k])) == 0) side = k;
        assert_true(side >= 0);
        rest += 2 + strlen(side_words[side]);
    }
    assert_string_equal(read_phrase(rest, &p), "?");
    assert_int_equal(fitting(s, &p, &b), 1);
    if (side >= 0) { /* "no" must be as plain as "yes": then the other side is true */
        assert_true(lies(side, a, b) || lies(side ^ 1, a, b));
        return yes(lies(side, a, b));
    }
    for (int k = 0; k < 4; k++)
        if (lies(k, a, b)) side = k;
    assert_true(side >= 0);
    return side_answers[side];
}

static const char *compare_answer(const scene *s, const char *q)
{
    static const char *const heads[] = {"are there more ", "are there fewer ", "are there as many "};
    phrase p, r;
    for (int k = 0; k < 3; k++) {
        if (strncmp(q, heads[k], strlen(heads[k]))) continue;
        const char *rest = read_phrase(q + strlen(heads[k]), &p), *link = k == 2 ? " as " : " than ";
        assert_true(rest && strncmp(rest, link, strlen(link)) == 0 && p.plural);
        rest = read_phrase(rest + strlen(link), &r);
        assert_true(rest && r.plural);
        int a = fitting(s, &p, NULL), b = fitting(s, &r, NULL);
        assert_true(a + b > 0);
        if (strcmp(rest, "?") == 0) return yes(k == 0 ? a > b : k == 1 ? a < b : a == b);
        assert_string_equal(rest, ", fewer, or the same number?");
        return a > b ? "more" : a < b ? "fewer" : "same";
    }
    fail_msg("not understood: %s", q);
    return "";
}

/* The answer by the words of the question and the scene's objects alone. */
static const char *own_answer(const scene *s, const char *q)
{
    static const char *const digit[] = {"0", "1", "2", "3", "4", "5", "6"};
    phrase p;
    if (strncmp(q, "is there ", 9) == 0) {
        assert_string_equal(read_phrase(q + 9, &p), "?");
        assert_true(p.number == 1 && !p.plural);
        return yes(fitting(s, &p, NULL) > 0);
    }
    if (strncmp(q, "how many ", 9) == 0) {
        assert_string_equal(read_phrase(q + 9, &p), " are there?");
        assert_true(p.plural);
        return digit[fitting(s, &p, NULL)];
    }
    bool colour = strncmp(q, "what colour ", 12) == 0, shape = strncmp(q, "what shape ", 11) == 0;
    if (colour || shape) {
        const char *rest = strstr(q, " the ");
        assert_string_equal(read_phrase(rest + 5, &p), "?");
        assert_non_null(strstr(q, p.plural ? " are the " : " is the "));
        return shared_answer(s, &p, shape);
    }
    return strncmp(q, "is the ", 7) == 0 ? position_answer(s, q) : compare_answer(s, q);
}

static void answers_are_true(void **state)
{
    pupil_buf text = {0};
    for (int i = 0; i < 2000; i++) {
        scene s;
        pupil_conf_scenes c = conf;
        c.questions = 1 + i % 13;
        c.max_objects = 1 + i % 6;
        scene_make(&c, i % 3 ? PUPIL_TRAIN : PUPIL_TEST, i, &s);
        for (int64_t j = 0; j < c.questions; j++) {
            text.len = 0;
            scene_answer a = scene_ask(&s, c.questions, j, &text);
            const char *own = own_answer(&s, text.s);
            if (strcmp(own, a.answer)) print_message("scene %d: %s\n", i, text.s);
            assert_string_equal(own, a.answer);
            bool number = a.answer[0] >= '0' && a.answer[0] <= '9';
            bool truth = !strcmp(a.answer, "yes") || !strcmp(a.answer, "no");
            assert_string_equal(a.answer_type, truth ? "yes/no" : number ? "number" : "other");
        }
    }
    pupil_buf_free(&text);
}

/* ---- balance ---- */

typedef struct {
    textset keys; /* "type\tanswer" or "text\tanswer" */
    int64_t count[1 << 16];
} tally;

static int64_t tally_add(tally *t, const char *a, const char *b, int64_t n)
{
    char *key = pupil_format("%s\t%s", a, b);
    int64_t k = textset_add(&t->keys, key, strlen(key));
    pupil_free(&key);
    assert_in_range(k, 0, PUPIL_COUNT(t->count) - 1);
    return t->count[k] += n;
}

static void answers_are_balanced(void **state)
{
    static const char *const types[SCENE_QUESTION_TYPES] = {"exists", "count",    "colour",
                                                            "shape",  "position", "compare"};
    static const int answers[SCENE_QUESTION_TYPES] = {2, 7, 8, 8, 6, 5};
    tally *t = pupil_alloc(sizeof *t);
    int64_t total[SCENE_QUESTION_TYPES] = {0}, most[SCENE_QUESTION_TYPES] = {0},
            seen[SCENE_QUESTION_TYPES] = {0};
    pupil_buf text = {0};
    for (int64_t i = 0; i < conf.train; i++) {
        scene s;
        scene_make(&conf, PUPIL_TRAIN, i, &s);
        for (int64_t j = 0; j < conf.questions; j++) {
            text.len = 0;
            scene_answer a = scene_ask(&s, conf.questions, j, &text);
            int k = word_in(a.type, strlen(a.type), types, SCENE_QUESTION_TYPES);
            assert_true(k >= 0);
            int64_t n = tally_add(t, a.type, a.answer, 1);
            seen[k] += n == 1;
            total[k]++;
            most[k] = PUPIL_MAX(most[k], n);
        }
    }
    for (int k = 0; k < SCENE_QUESTION_TYPES; k++) { /* within a tenth and 4 standard deviations of even */
        double even = (double)total[k] / answers[k];
        assert_int_equal(seen[k], answers[k]);
        assert_true((double)most[k] < 1.1 * even + 4 * sqrt(even));
        assert_true((double)total[k] > 0.1 * (double)(conf.train * conf.questions));
    }
    pupil_buf_free(&text);
    textset_free(&t->keys);
    pupil_free(&t);
}

/* A table of the most frequent answer to each question text, learned from one half of the scenes, guesses the
 * other half no better than even guessing among the answers that its form of question has. */
static void questions_do_not_betray_answers(void **state)
{
    tally *t = pupil_alloc(sizeof *t), *best = pupil_alloc(sizeof *best);
    textset answer_of = {0};
    const char **guess = pupil_alloc((1 << 16) * sizeof *guess);
    pupil_buf text = {0};
    int64_t right = 0, asked = 0;
    double chance = 0;
    for (int64_t i = 0; i < 2 * conf.train; i++) {
        scene s;
        scene_make(&conf, PUPIL_TRAIN, i, &s);
        for (int64_t j = 0; j < conf.questions; j++) {
            text.len = 0;
            scene_answer a = scene_ask(&s, conf.questions, j, &text);
            int64_t k = textset_add(&answer_of, text.s, strlen(text.s));
            assert_in_range(k, 0, (1 << 16) - 1);
            if (i < conf.train) {
                int64_t n = tally_add(t, text.s, a.answer, 1);
                if (n > best->count[k]) best->count[k] = n, guess[k] = a.answer;
            } else if (guess[k]) {
                asked++;
                right += strcmp(guess[k], a.answer) == 0;
                chance += !strcmp(a.answer_type, "yes/no")   ? 1.0 / 2
                          : !strcmp(a.type, "compare")       ? 1.0 / 3
                          : !strcmp(a.type, "position")      ? 1.0 / 4
                          : !strcmp(a.answer_type, "number") ? 1.0 / 7
                                                             : 1.0 / 8;
            }
        }
    }
    assert_in_range(asked, conf.train * 2, conf.train * conf.questions);
    assert_true(fabs((double)right - chance) < 0.02 * (double)asked);
    pupil_buf_free(&text);
    textset_free(&t->keys);
    textset_free(&answer_of);
    pupil_free(&t);
    pupil_free(&best);
    pupil_free(&guess);
}

/* ---- captions ---- */

/* A relation between the two phrases around it must hold between objects that fit them. */
static void check_sides(const scene *s, const char *text)
{
    for (int side = 0; side < 4; side++) {
        const char *at = strstr(text, side_words[side]);
        if (!at) continue;
        phrase p, q;
        const scene_object *a = NULL, *b = NULL;
        assert_non_null(read_phrase(text, &p));
        assert_non_null(read_phrase(at + strlen(side_words[side]) + 1, &q));
        bool holds = false;
        for (int i = 0; i < s->n && !holds; i++)
            for (int k = 0; k < s->n && !holds; k++) {
                scene one = *s, other = *s;
                one.n = other.n = 1;
                one.object[0] = s->object[i];
                other.object[0] = s->object[k];
                holds = i != k && fitting(&one, &p, &a) && fitting(&other, &q, &b) && lies(side, a, b);
            }
        assert_true(holds);
    }
}

static void check_comparison(const scene *s, const char *text)
{
    static const char *const head[] = {"more ", "fewer ", "as many "};
    for (int k = 0; k < 3; k++) {
        if (strncmp(text, head[k], strlen(head[k]))) continue;
        phrase p, q;
        const char *rest = read_phrase(text + strlen(head[k]), &p);
        assert_non_null(read_phrase(strchr(rest + 1, ' ') + 1, &q));
        int a = fitting(s, &p, NULL), b = fitting(s, &q, NULL);
        assert_true(k == 0 ? a > b : k == 1 ? a < b : a == b);
    }
}

/* Every phrase with a shape and a colour counts its objects right, and together they are all objects. */
static void check_counts(const scene *s, const char *text)
{
    static const char *const starts[] = {"a ", "an ", "two ", "three ", "four ", "five ", "six ", "the "};
    const char *list = strchr(text, ':');
    int all = 0;
    for (const char *at = list ? list : text; *at; at++) {
        bool start = false;
        for (int k = 0; k < PUPIL_COUNT(starts); k++)
            start |= (at == text || at[-1] == ' ') && strncmp(at, starts[k], strlen(starts[k])) == 0;
        phrase p;
        const char *end = start ? read_phrase(at, &p) : NULL;
        if (!end || p.shape < 0) continue;
        for (int c = 0; c < SCENE_COLOURS; c++) { /* "the circle is red" */
            char *is = pupil_format(" %s %s", p.plural ? "are" : "is", scene_colour_name[c]);
            if (strncmp(end, is, strlen(is)) == 0) p.colour = c;
            pupil_free(&is);
        }
        assert_true(p.colour >= 0);
        int n = PUPIL_MAX(p.number, 1);
        assert_int_equal(p.plural, n > 1);
        assert_int_equal(fitting(s, &p, NULL), n);
        all += n;
        at = end - 1;
    }
    if (all != s->n) print_message("%s\n", text);
    assert_int_equal(all, s->n);
}

static void captions_are_true_and_complete(void **state)
{
    pupil_buf text = {0};
    for (int i = 0; i < 3000; i++) {
        scene s;
        scene_make(&conf, i % 2 ? PUPIL_TRAIN : PUPIL_TEST, i, &s);
        for (int k = 0; k < SCENE_CAPTIONS; k++) {
            text.len = 0;
            scene_caption(&s, k, &text);
            check_counts(&s, text.s);
            if (strncmp(text.s, "from left to right", 18)) check_sides(&s, text.s);
            check_comparison(&s, text.s);
        }
    }
    pupil_buf_free(&text);
}

static void captions_are_short(void **state)
{
    enum { N = 3000 };
    char **caption = pupil_alloc(N * sizeof *caption);
    for (int i = 0; i < N; i++) {
        scene s;
        pupil_buf text = {0};
        scene_make(&conf, PUPIL_TRAIN, i, &s);
        scene_caption(&s, i % SCENE_CAPTIONS, &text);
        caption[i] = text.s;
    }
    pupil_tokenizer *t;
    assert_int_equal(pupil_tokenizer_learn((const char *const *)caption, N, 1024, &t), 0);
    int32_t ids[77];
    int64_t sum = 0;
    for (int i = 0; i < N; i++) {
        int n = pupil_tokenizer_encode(t, caption[i], 77, ids);
        assert_in_range(n, 3, 59);
        sum += n;
        pupil_free(&caption[i]);
    }
    assert_in_range(sum / N, 12, 20);
    pupil_tokenizer_free(&t);
    pupil_free(&caption);
}

/* ---- scenes and pictures ---- */

static int64_t content(const scene *s, textset *of)
{
    char code[SCENE_OBJECTS];
    for (int i = 0; i < s->n; i++)
        code[i] = (char)(s->object[i].is.shape * 16 + s->object[i].is.colour * 2 + s->object[i].is.large);
    for (int i = 0; i < s->n; i++)
        for (int k = i + 1; k < s->n; k++)
            if (code[k] < code[i]) {
                char c = code[i];
                code[i] = code[k];
                code[k] = c;
            }
    return textset_add(of, code, (size_t)s->n);
}

static void splits_share_no_content(void **state)
{
    textset sets = {0};
    for (int64_t i = 0; i < 20000; i++) {
        scene s;
        scene_make(&conf, PUPIL_TRAIN, i, &s);
        content(&s, &sets);
    }
    int64_t seen = sets.n;
    for (int64_t i = 0; i < 2000; i++) {
        scene s;
        pupil_conf_scenes other = conf;
        other.seed = i % 2 ? conf.seed : 99;
        scene_make(&other, PUPIL_TEST, i, &s);
        assert_in_range(content(&s, &sets), seen, INT64_MAX); /* not one of the training sets */
    }
    textset_free(&sets);
}

static void scenes_are_functions_of_their_place(void **state)
{
    uint8_t a[64 * 64 * 3], b[64 * 64 * 3];
    for (int64_t i = 0; i < 50; i++) {
        scene s, again, next;
        scene_make(&conf, PUPIL_TRAIN, i, &s);
        scene_make(&conf, PUPIL_TRAIN, i, &again);
        scene_make(&conf, PUPIL_TRAIN, i + 1, &next);
        scene_draw(&s, 64, a);
        scene_draw(&again, 64, b);
        assert_memory_equal(a, b, sizeof a);
        scene_draw(&next, 64, b);
        assert_memory_not_equal(a, b, sizeof a);
    }
}

static int distance(const uint8_t *p, const uint8_t *q)
{
    return abs(p[0] - q[0]) + abs(p[1] - q[1]) + abs(p[2] - q[2]);
}

/* Each object shows a good part of its disc in its own colour, whatever the size of the picture; and away
 * from all objects nothing looks like a colour. */
static void pictures_show_their_objects(void **state)
{
    static const int sizes[] = {32, 64, 97, 224};
    for (int k = 0; k < PUPIL_COUNT(sizes); k++) {
        int size = sizes[k];
        uint8_t *rgb = pupil_alloc((size_t)(3 * size * size));
        for (int64_t i = 0; i < 200; i++) {
            scene s;
            scene_make(&conf, PUPIL_TRAIN, i, &s);
            scene_draw(&s, size, rgb);
            int own[SCENE_OBJECTS] = {0};
            for (int at = 0; at < size * size; at++) {
                double x = (at % size + 0.5) / size, y = (at / size + 0.5) / size;
                bool free_ground = true;
                for (int o = 0; o < s.n; o++) {
                    double d = hypot(x - s.object[o].x, y - s.object[o].y);
                    free_ground &= d > 1.35 * s.object[o].r + 1.5 / size;
                    own[o] += d < s.object[o].r &&
                              distance(rgb + 3 * at, scene_colour_rgb[s.object[o].is.colour]) < 40;
                }
                for (int c = 0; c < SCENE_COLOURS && free_ground; c++)
                    assert_true(distance(rgb + 3 * at, scene_colour_rgb[c]) > 60);
            }
            for (int o = 0; o < s.n; o++) {
                double disc = 3.14159 * s.object[o].r * s.object[o].r * size * size;
                assert_true(own[o] > (size < 64 ? 0.05 : 0.2) * disc);
            }
        }
        pupil_free(&rgb);
    }
}

static void objects_lie_apart_and_inside(void **state)
{
    int touching = 0, pairs = 0;
    for (int64_t i = 0; i < 3000; i++) {
        scene s;
        scene_make(&conf, PUPIL_TRAIN, i, &s);
        assert_in_range(s.n, 1, 6);
        for (int a = 0; a < s.n; a++) {
            const scene_object *o = &s.object[a];
            assert_true(o->x > o->r && o->x < 1 - o->r && o->y > o->r && o->y < 1 - o->r);
            for (int b = 0; b < a; b++) {
                double gap = hypot(o->x - s.object[b].x, o->y - s.object[b].y) - o->r - s.object[b].r;
                pairs++;
                touching += gap < 0;
                assert_true(gap > -0.5 * fmin(o->r, s.object[b].r));
            }
        }
    }
    assert_true(touching < pairs / 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_are_true),
        cmocka_unit_test(answers_are_balanced),
        cmocka_unit_test(questions_do_not_betray_answers),
        cmocka_unit_test(captions_are_true_and_complete),
        cmocka_unit_test(captions_are_short),
        cmocka_unit_test(splits_share_no_content),
        cmocka_unit_test(scenes_are_functions_of_their_place),
        cmocka_unit_test(pictures_show_their_objects),
        cmocka_unit_test(objects_lie_apart_and_inside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
