/* vqa.c: questions about a split: asked of the scenes, or read from the official VQA v2 pair of files. Every
 * question has exactly one annotation and both name the same image, or the files are refused. Texts are kept
 * once each: VQA v2's 4.4 million answers are some 100,000 different ones. */
#include "dataset.h"
#include "table.h"
#include "vqa_json.h"

#include <string.h>

typedef struct {
    pupil_vqa_set set; /* first: what callers hold points here */
    textset texts;
} owner;

static char *keep(pupil_vqa_set *s, const char *text)
{
    textset *t = &((owner *)s)->texts;
    int64_t at = textset_add(t, text, strlen(text)); /* may move the array */
    return t->text[at];
}

void pupil_vqa_free(pupil_vqa_set **s)
{
    if (!*s) return;
    textset_free(&((owner *)*s)->texts);
    pupil_free(&(*s)->q);
    pupil_free(s);
}

static void ask_scenes(const pupil_dataset *d, pupil_split split, pupil_vqa_set *set)
{
    int64_t scenes = pupil_dataset_count(d, split), each = d->scenes.questions;
    pupil_buf text = {0};
    set->q = pupil_alloc((size_t)(scenes * each) * sizeof *set->q);
    for (int64_t i = 0; i < scenes; i++) {
        scene s;
        dataset_scene(d, split, i, &s);
        for (int64_t j = 0; j < each; j++) {
            pupil_vqa_question *q = &set->q[set->n];
            text.len = 0;
            scene_answer a = scene_ask(&s, each, j, &text);
            *q = (pupil_vqa_question){.question_id = set->n++, .image = i, .question = keep(set, text.s)};
            q->question_type = keep(set, a.type);
            q->answer_type = keep(set, a.answer_type);
            q->answer = keep(set, a.answer);
            for (int k = 0; k < PUPIL_COUNT(q->answers); k++) q->answers[k] = q->answer;
        }
    }
    pupil_buf_free(&text);
}

/* ---- the official files ---- */

enum { SEVERAL = -2, UNKNOWN = -1 };

typedef struct {
    pupil_vqa_set *set;
    tars *tars;
    int64_t cap;
    map64 question; /* question_id -> 1 + place in set->q */
    textset image;    /* image_id as text; its number is kept in pupil_vqa_question.image until the end */
    int64_t *sample, sample_cap; /* by that number: sample index or UNKNOWN */
    map64 ends_in;               /* number a key ends in -> 2 + sample index, or 1 where several do */
} joiner;

/* The number that `key` ends in, or -1; 18 digits and fewer. */
static int64_t trailing_number(const char *key)
{
    const char *p = key + strlen(key);
    while (p > key && p[-1] >= '0' && p[-1] <= '9') p--;
    while (*p == '0' && p[1]) p++;
    size_t digits = strlen(p);
    int64_t n = 0;
    for (; *p; p++) n = digits > 18 ? 0 : 10 * n + (*p - '0');
    return digits >= 1 && digits <= 18 ? n : -1;
}

static void number_samples(joiner *j)
{
    for (int64_t i = 0, n; i < tars_count(j->tars); i++)
        if ((n = trailing_number(tars_key(j->tars, i))) >= 0)
            map64_set(&j->ends_in, (uint64_t)n, map64_get(&j->ends_in, (uint64_t)n) ? 1 : i + 2);
}

/* The sample an image_id means, UNKNOWN, or SEVERAL. */
static int64_t find_image(joiner *j, const char *id)
{
    int64_t i = tars_find(j->tars, id), n = strspn(id, "0123456789") == strlen(id) ? trailing_number(id) : -1;
    if (i != UNKNOWN || n < 0) return i;
    char padded[32];
    snprintf(padded, sizeof padded, "%012lld", (long long)n);
    i = tars_find(j->tars, padded);
    int64_t ends = map64_get(&j->ends_in, (uint64_t)n);
    return i != UNKNOWN || ends == 0 ? i : ends == 1 ? SEVERAL : ends - 2;
}

/* image_id, a number or a text, as its place in j->image. */
static int image_of(joiner *j, const json_t *element, int64_t *ret)
{
    const json_t *id = json_object_get(element, "image_id");
    char digits[24];
    const char *text = json_string_value(id);
    if (json_is_integer(id)) {
        snprintf(digits, sizeof digits, "%lld", (long long)json_integer_value(id));
        text = digits;
    }
    if (!text) return pupil_fail(PUPIL_EFORMAT, "\"image_id\" was expected and to be a number or text");
    int64_t known = j->image.n, k = textset_add(&j->image, text, strlen(text));
    if (k == known) {
        int64_t i = find_image(j, text);
        if (i == SEVERAL)
            return pupil_fail(PUPIL_EFORMAT, "image_id %s: the keys of several samples fit it", text);
        PUPIL_GROW(j->sample, k, j->sample_cap);
        j->sample[k] = i;
    }
    *ret = k;
    return 0;
}

static int add_question(void *state, const json_t *element)
{
    joiner *j = state;
    pupil_vqa_question q = {0};
    const char *text;
    PUPIL_TRY(vqa_json_int(element, "question_id", &q.question_id));
    PUPIL_TRY(vqa_json_text(element, "question", &text));
    PUPIL_TRY(image_of(j, element, &q.image));
    if (map64_get(&j->question, (uint64_t)q.question_id))
        return pupil_fail(PUPIL_EFORMAT, "question_id %lld comes twice", (long long)q.question_id);
    q.question = keep(j->set, text);
    PUPIL_GROW(j->set->q, j->set->n, j->cap);
    j->set->q[j->set->n++] = q;
    map64_set(&j->question, (uint64_t)q.question_id, j->set->n);
    return 0;
}

static int add_answers(pupil_vqa_set *set, pupil_vqa_question *q, const json_t *element)
{
    const json_t *answers = json_object_get(element, "answers");
    if (json_array_size(answers) != PUPIL_COUNT(q->answers))
        return pupil_fail(PUPIL_EFORMAT, "\"answers\" was expected and to be a list of %d",
                          PUPIL_COUNT(q->answers));
    for (int k = 0; k < PUPIL_COUNT(q->answers); k++) {
        const char *text;
        int r = vqa_json_text(json_array_get(answers, (size_t)k), "answer", &text);
        if (r < 0) return pupil_context(r, "answers[%d]", k);
        q->answers[k] = keep(set, text);
    }
    return 0;
}

static int add_annotation(void *state, const json_t *element)
{
    joiner *j = state;
    int64_t id, image;
    const char *type, *answer_type, *answer;
    PUPIL_TRY(vqa_json_int(element, "question_id", &id));
    PUPIL_TRY(image_of(j, element, &image));
    PUPIL_TRY(vqa_json_text(element, "question_type", &type));
    PUPIL_TRY(vqa_json_text(element, "answer_type", &answer_type));
    PUPIL_TRY(vqa_json_text(element, "multiple_choice_answer", &answer));
    int64_t place = map64_get(&j->question, (uint64_t)id) - 1;
    if (place < 0) return pupil_fail(PUPIL_EFORMAT, "question_id %lld is no question's", (long long)id);
    pupil_vqa_question *q = &j->set->q[place];
    if (q->answer) return pupil_fail(PUPIL_EFORMAT, "question_id %lld comes twice", (long long)id);
    if (q->image != image)
        return pupil_fail(PUPIL_EFORMAT, "question_id %lld: image_id is %s here and %s in the question",
                          (long long)id, j->image.text[image], j->image.text[q->image]);
    PUPIL_TRY(add_answers(j->set, q, element));
    q->question_type = keep(j->set, type);
    q->answer_type = keep(j->set, answer_type);
    q->answer = keep(j->set, answer);
    return 0;
}

/* Image numbers into sample indices; questions about images that are not there go. */
static int resolve_images(joiner *j, const pupil_conf_vqa_files *files)
{
    pupil_vqa_set *s = j->set;
    int64_t kept = 0, first_unknown = -1;
    for (int64_t i = 0; i < s->n; i++) {
        pupil_vqa_question q = s->q[i];
        if (!q.answer)
            return pupil_fail(PUPIL_EFORMAT, "%s: there is no annotation of question_id %lld, which %s has",
                              files->annotations, (long long)q.question_id, files->questions);
        int64_t number = q.image;
        q.image = j->sample[number];
        if (q.image >= 0) s->q[kept++] = q;
        else if (first_unknown < 0) first_unknown = number;
    }
    const char *lost = first_unknown < 0 ? "" : j->image.text[first_unknown];
    if (s->n && !kept)
        return pupil_fail(PUPIL_EFORMAT,
                          "%s: none of its images is in the data set, image_id %s to begin with",
                          files->questions, lost);
    if (kept < s->n)
        pupil_warn(
            "%s: %lld of %lld questions are about images that are not in the data set (image_id %s to begin "
            "with); they are left out",
            files->questions, (long long)(s->n - kept), (long long)s->n, lost);
    s->n = kept;
    return 0;
}

static int read_files(tars *t, const pupil_conf_vqa_files *files, pupil_vqa_set *set)
{
    joiner j = {.set = set, .tars = t};
    number_samples(&j);
    int r = vqa_json_each(files->questions, "questions", add_question, &j);
    if (r == 0) r = vqa_json_each(files->annotations, "annotations", add_annotation, &j);
    if (r == 0) r = resolve_images(&j, files);
    map64_free(&j.question);
    map64_free(&j.ends_in);
    textset_free(&j.image);
    pupil_free(&j.sample);
    return r;
}

int pupil_vqa_open(pupil_dataset *d, pupil_split split, pupil_vqa_set **ret)
{
    const pupil_conf_vqa_files *files = &d->vqa[split];
    bool scenes = d->source == PUPIL_SOURCE_SCENES;
    if (!scenes && !(files->questions && files->annotations && d->tars[split]))
        return pupil_fail(PUPIL_ENOTFOUND, "data.vqa_%s textset no questions and annotations",
                          split == PUPIL_TRAIN ? "train" : "test");
    pupil_vqa_set *set = pupil_alloc(sizeof(owner));
    int r = 0;
    if (scenes) ask_scenes(d, split, set);
    else r = read_files(d->tars[split], files, set);
    if (r < 0) {
        pupil_vqa_free(&set);
        return r;
    }
    *ret = set;
    return 0;
}
