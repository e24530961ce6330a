/* vqa_read.c: question files in the formats that data sets come in. A question has one id and one answer or
 * more, a file that says otherwise is refused with the place; only questions about images that are not there
 * are left out. */
#include "vqa.h"
#include "dataset.h"
#include "json_file.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { MOST_CHOICES = 64 };

typedef struct {
    pupil_dataset *d; /* NULL: the pictures are elsewhere */
    pupil_split split;
    const pupil_conf_vqa_files *files;
    vqa_owner *set;
    pupil_vqa_format format;
    bool found; /* the list, or lines, that the format has */
    textset
        image; /* images as the file names them; the number is in pupil_vqa_question.image until the end */
    int64_t *sample, sample_cap; /* by that number: sample index or UNKNOWN */
    map64 ends_in;               /* number a key ends in -> 2 + sample index, or 1 where several do */
    bool numbered;               /* ends_in is made */
} reader;

/* ---- images ------------------------------------------------------------------------------------- */
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

static int64_t find_number(reader *r, int64_t number)
{
    int64_t n = pupil_dataset_count(r->d, r->split);
    for (int64_t i = 0, k; i < n && !r->numbered; i++)
        if ((k = trailing_number(dataset_key(r->d, r->split, i))) >= 0)
            map64_set(&r->ends_in, (uint64_t)k, map64_get(&r->ends_in, (uint64_t)k) ? 1 : i + 2);
    r->numbered = true;
    int64_t at = map64_get(&r->ends_in, (uint64_t)number);
    return at == 0 ? UNKNOWN : at == 1 ? SEVERAL : at - 2;
}

/* `name` without "./" in front and a picture's extension, in `bare`; false where it does not fit. */
static bool bare_name(const char *name, char *bare, size_t room)
{
    static const char *const known[] = {".jpg", ".jpeg", ".png", ".webp"};
    while (!strncmp(name, "./", 2)) name += 2;
    if ((size_t)snprintf(bare, room, "%s", name) >= room) return false;
    char *dot = strrchr(bare, '.');
    for (int i = 0; dot && dot > bare && i < PUPIL_COUNT(known); i++)
        if (!strcasecmp(dot, known[i])) *dot = 0;
    return true;
}

/* The sample that is meant, UNKNOWN, or SEVERAL. */
static int64_t find_image(reader *r, const char *name)
{
    char bare[4096], padded[32];
    if (!bare_name(name, bare, sizeof bare)) return UNKNOWN;
    int64_t i = dataset_find(r->d, r->split, bare);
    const char *slash = strrchr(bare, '/');
    if (i == UNKNOWN && slash) i = dataset_find(r->d, r->split, slash + 1);
    int64_t n = strspn(bare, "0123456789") == strlen(bare) ? trailing_number(bare) : -1;
    if (i != UNKNOWN || n < 0) return i;
    snprintf(padded, sizeof padded, "%012lld", (long long)n);
    i = dataset_find(r->d, r->split, padded);
    return i == UNKNOWN ? find_number(r, n) : i;
}

/* An image's name as its place in r->image. */
static int image_of(reader *r, const char *name, int64_t *ret)
{
    int64_t known = r->image.n, k = textset_add(&r->image, name, strlen(name));
    if (k == known) {
        int64_t i = r->d ? find_image(r, name) : k;
        if (i == SEVERAL)
            return pupil_fail(PUPIL_EFORMAT, "image %s: the keys of several samples fit it", name);
        PUPIL_GROW(r->sample, k, r->sample_cap);
        r->sample[k] = i;
    }
    *ret = k;
    return 0;
}

/* ---- what the formats share ----------------------------------------------------------------------- */
static int add_asked(reader *r, const char *id, const char *image, const json_t *element, const char *key,
                     pupil_vqa_question **ret)
{
    const char *text;
    int64_t number = 0;
    PUPIL_TRY(json_file_text(element, key, &text));
    PUPIL_TRY(image_of(r, image, &number));
    *ret = vqa_add(r->set, id, text);
    if (!*ret) return pupil_fail(PUPIL_EFORMAT, "question_id %s comes twice", id);
    (*ret)->image = number;
    if (id[0] && strlen(id) <= 18 && strspn(id, "0123456789") == strlen(id))
        (*ret)->question_id = strtoll(id, NULL, 10);
    return 0;
}

static int add_question(reader *r, const char *id, const char *image, const json_t *element,
                        pupil_vqa_question **ret)
{
    return add_asked(r, id, image, element, "question", ret);
}

/* question_id, image_id and question: a whole number; a number or text; text. */
static int add_numbered(reader *r, const json_t *element, pupil_vqa_question **ret)
{
    char id[24], digits[24];
    const char *image;
    int64_t number;
    PUPIL_TRY(json_file_int(element, "question_id", &number));
    PUPIL_TRY(json_file_id(element, "image_id", digits, &image));
    snprintf(id, sizeof id, "%lld", (long long)number);
    PUPIL_TRY(add_question(r, id, image, element, ret));
    (*ret)->question_id = number;
    return 0;
}

static char *answer_type_of(reader *r, const char *answer)
{
    bool yes_no = !strcasecmp(answer, "yes") || !strcasecmp(answer, "no");
    bool number = answer[0] && strspn(answer, "0123456789.,") == strlen(answer);
    return vqa_keep(r->set, yes_no ? "yes/no" : number ? "number" : "other");
}

/* "answers": texts, or objects with an "answer". */
static int take_answers(reader *r, pupil_vqa_question *q, const json_t *element, int least)
{
    const json_t *answers = json_object_get(element, "answers");
    char *text[PUPIL_COUNT(q->answers)];
    int n = (int)PUPIL_MIN(json_array_size(answers), (size_t)1000);
    if (n < least || n > PUPIL_COUNT(text))
        return pupil_fail(PUPIL_EFORMAT, "\"answers\" was expected and to be a list of %s",
                          least == PUPIL_COUNT(text) ? "10" : "1 to 10");
    for (int k = 0; k < n; k++) {
        const json_t *one = json_array_get(answers, (size_t)k);
        const char *s = json_string_value(one);
        int code = s ? 0 : json_file_text(one, "answer", &s);
        if (code < 0) return pupil_context(code, "answers[%d]", k);
        text[k] = vqa_keep(r->set, s);
    }
    vqa_answers(q, text, n);
    return 0;
}

/* ---- the formats -------------------------------------------------------------------------------- */
static int take_v2(reader *r, const json_item *item)
{
    pupil_vqa_question *q;
    return add_numbered(r, item->value, &q);
}

static int take_annotation(reader *r, const json_t *element)
{
    char digits[24], id[24];
    int64_t number, image = 0;
    const char *name, *type, *answer_type, *answer;
    PUPIL_TRY(json_file_int(element, "question_id", &number));
    PUPIL_TRY(json_file_id(element, "image_id", digits, &name));
    PUPIL_TRY(image_of(r, name, &image));
    PUPIL_TRY(json_file_text(element, "question_type", &type));
    PUPIL_TRY(json_file_text(element, "answer_type", &answer_type));
    snprintf(id, sizeof id, "%lld", (long long)number);
    pupil_vqa_question *q = vqa_find(r->set, id);
    if (!q) return pupil_fail(PUPIL_EFORMAT, "question_id %s is no question's", id);
    if (q->n_answers) return pupil_fail(PUPIL_EFORMAT, "question_id %s comes twice", id);
    if (q->image != image)
        return pupil_fail(PUPIL_EFORMAT, "question_id %s: image_id is %s here and %s in the question", id,
                          r->image.text[image], r->image.text[q->image]);
    PUPIL_TRY(take_answers(r, q, element, PUPIL_COUNT(q->answers)));
    if (json_object_get(element, "multiple_choice_answer")) { /* OK-VQA has none */
        PUPIL_TRY(json_file_text(element, "multiple_choice_answer", &answer));
        q->answer = vqa_keep(r->set, answer);
    }
    q->question_type = vqa_keep(r->set, type);
    q->answer_type = vqa_keep(r->set, answer_type);
    return 0;
}

static int take_textvqa(reader *r, const json_item *item)
{
    pupil_vqa_question *q;
    PUPIL_TRY(add_numbered(r, item->value, &q));
    PUPIL_TRY(take_answers(r, q, item->value, 1));
    q->question_type = vqa_keep(r->set, "textvqa");
    q->answer_type = answer_type_of(r, q->answer);
    return 0;
}

static int take_vizwiz(reader *r, const json_item *item)
{
    pupil_vqa_question *q;
    const char *image, *type;
    char id[24];
    const json_t *answerable = json_object_get(item->value, "answerable");
    PUPIL_TRY(json_file_text(item->value, "image", &image));
    PUPIL_TRY(json_file_text(item->value, "answer_type", &type));
    snprintf(id, sizeof id, "%lld", (long long)item->index);
    PUPIL_TRY(add_question(r, id, image, item->value, &q));
    PUPIL_TRY(take_answers(r, q, item->value, 1));
    q->id = vqa_keep(r->set, image);
    q->question_type = vqa_keep(r->set, "vizwiz");
    q->answer_type = vqa_keep(r->set, type);
    q->unanswerable =
        json_is_integer(answerable) ? !json_integer_value(answerable) : !strcmp(type, "unanswerable");
    return 0;
}

/* "entailed": the questions whose answers follow from this one's. */
static int take_entailed(reader *r, pupil_vqa_question *q, const json_t *entailed)
{
    size_t n = json_array_size(entailed);
    if (entailed && !json_is_array(entailed))
        return pupil_fail(PUPIL_EFORMAT, "\"entailed\" was expected to be a list");
    if (n) q->entailed = pupil_alloc(n * sizeof *q->entailed);
    for (; q->n_entailed < (int)n; q->n_entailed++) {
        const char *id = json_string_value(json_array_get(entailed, (size_t)q->n_entailed));
        if (!id) return pupil_fail(PUPIL_EFORMAT, "entailed[%d] was expected to be text", q->n_entailed);
        q->entailed[q->n_entailed] = vqa_keep(r->set, id);
    }
    return 0;
}

static int take_gqa(reader *r, const json_item *item)
{
    static const char *const name[] = {"structural", "semantic", "detailed"};
    pupil_vqa_question *q;
    const char *image, *answer, *type[3] = {0};
    char digits[24];
    const json_t *types = json_object_get(item->value, "types");
    PUPIL_TRY(json_file_id(item->value, "imageId", digits, &image));
    PUPIL_TRY(json_file_text(item->value, "answer", &answer));
    for (int k = 0; k < 3; k++)
        if (json_file_text(types, name[k], &type[k]) < 0 && k == 0)
            return pupil_context(PUPIL_EFORMAT, "\"types\"");
    PUPIL_TRY(add_question(r, item->key, image, item->value, &q));
    vqa_answers(q, &(char *){vqa_keep(r->set, answer)}, 1);
    q->question_type = vqa_keep(r->set, type[0]);
    q->answer_type = answer_type_of(r, answer);
    q->unbalanced = json_is_false(json_object_get(item->value, "isBalanced"));
    for (int k = 0; k < 2; k++)
        if (type[k + 1]) q->types[k] = vqa_keep(r->set, type[k + 1]);
    return take_entailed(r, q, json_object_get(item->value, "entailed"));
}

/* The category that a file of POPE's is named after: coco_pope_random.json. */
static const char *pope_category(const reader *r, char name[64])
{
    const char *at = strstr(r->files->questions, "pope_");
    for (const char *next = at; next; next = strstr(next + 1, "pope_")) at = next;
    if (!at || strchr(at, '/')) return "all";
    snprintf(name, 64, "%.*s", (int)strcspn(at + 5, "."), at + 5);
    return name;
}

static int take_pope(reader *r, const json_item *item)
{
    const json_t *o = item->value;
    const char *id, *image, *label, *text_key = json_object_get(o, "text") ? "text" : "question",
                            *category = json_string_value(json_object_get(o, "category"));
    char digits[24], image_digits[24], name[64];
    pupil_vqa_question *q;
    PUPIL_TRY(json_file_id(o, "question_id", digits, &id));
    PUPIL_TRY(json_file_id(o, "image", image_digits, &image));
    PUPIL_TRY(json_file_text(o, "label", &label));
    if (strcasecmp(label, "yes") && strcasecmp(label, "no"))
        return pupil_fail(PUPIL_EFORMAT, "\"label\" was expected to be yes or no");
    PUPIL_TRY(add_asked(r, id, image, o, text_key, &q));
    vqa_answers(q, &(char *){vqa_keep(r->set, strcasecmp(label, "yes") ? "no" : "yes")}, 1);
    q->question_type = vqa_keep(r->set, category ? category : pope_category(r, name));
    q->answer_type = vqa_keep(r->set, "yes/no");
    return 0;
}

/* The choice that `answer` means: a number from 0; a choice's text; a letter, "B", "(b)" or "b."; digits. Or
 * -1. */
static int choice_of(const pupil_vqa_question *q, const json_t *answer)
{
    const char *s = json_string_value(answer);
    int64_t k = json_is_integer(answer) ? json_integer_value(answer) : -1;
    for (int i = 0; s && k < 0 && i < q->n_choices; i++)
        if (!strcmp(q->choices[i], s)) k = i;
    if (s && k < 0) {
        const char *letter = s + (*s == '(');
        bool alone = isalpha((unsigned char)*letter) && strspn(letter + 1, ").:") == strlen(letter + 1);
        if (alone) k = toupper((unsigned char)*letter) - 'A';
        else if (*s && strlen(s) <= 2 && strspn(s, "0123456789") == strlen(s)) k = atoi(s);
    }
    return k >= 0 && k < q->n_choices ? (int)k : -1;
}

static int take_choices(reader *r, pupil_vqa_question *q, const json_t *choices)
{
    size_t n = json_array_size(choices);
    if (n < 2 || n > MOST_CHOICES)
        return pupil_fail(PUPIL_EFORMAT, "\"choices\" was expected and to be a list of 2 to %d",
                          MOST_CHOICES);
    q->choices = pupil_alloc(n * sizeof *q->choices);
    for (; q->n_choices < (int)n; q->n_choices++) {
        const char *text = json_string_value(json_array_get(choices, (size_t)q->n_choices));
        if (!text) return pupil_fail(PUPIL_EFORMAT, "choices[%d] was expected to be text", q->n_choices);
        q->choices[q->n_choices] = vqa_keep(r->set, text);
    }
    return 0;
}

static int take_multiple_choice(reader *r, const json_item *item)
{
    const json_t *o = item->value, *answer = json_object_get(o, "answer");
    const char *image = json_string_value(json_object_get(o, "image")), *id,
               *category = json_string_value(json_object_get(o, "category"));
    const char *id_key = json_object_get(o, "id") ? "id" : "question_id";
    char image_digits[24], digits[24];
    pupil_vqa_question *q;
    if (!image)
        PUPIL_TRY(json_file_id(o, json_object_get(o, "image") ? "image" : "image_id", image_digits, &image));
    if (json_object_get(o, id_key)) {
        PUPIL_TRY(json_file_id(o, id_key, digits, &id));
    } else {
        snprintf(digits, sizeof digits, "#%lld", (long long)item->index); /* no other can be it */
        id = digits;
    }
    PUPIL_TRY(add_question(r, id, image, o, &q));
    PUPIL_TRY(take_choices(r, q, json_object_get(o, "choices")));
    if (!answer) answer = json_object_get(o, "correct_choice_idx");
    q->correct = choice_of(q, answer);
    if (q->correct < 0)
        return pupil_fail(PUPIL_EFORMAT,
                          "\"answer\" was expected and to be one of the %d choices: its index from 0, its "
                          "text or its letter",
                          q->n_choices);
    vqa_answers(q, &q->choices[q->correct], 1);
    q->question_type = vqa_keep(r->set, category ? category : "multiple choice");
    q->answer_type = answer_type_of(r, q->answer);
    return 0;
}

/* ---- files -------------------------------------------------------------------------------------- */
static const struct {
    const char *name, *list; /* list: in the outermost object; NULL: the outermost list, or lines */
    int (*take)(reader *, const json_item *);
} formats[] = {
    [PUPIL_VQA_AUTO] = {"auto", NULL, NULL},
    [PUPIL_VQA_V2] = {"VQA v2", "questions", take_v2},
    [PUPIL_VQA_TEXTVQA] = {"TextVQA", "data", take_textvqa},
    [PUPIL_VQA_VIZWIZ] = {"VizWiz", NULL, take_vizwiz},
    [PUPIL_VQA_GQA] = {"GQA", NULL, take_gqa},
    [PUPIL_VQA_MULTIPLE_CHOICE] = {"multiple choice", NULL, take_multiple_choice},
    [PUPIL_VQA_POPE] = {"POPE", NULL, take_pope},
};

const char *pupil_vqa_format_name(pupil_vqa_format f)
{
    return formats[f].name;
}

static int take(void *state, const json_item *item)
{
    reader *r = state;
    const char *list = formats[r->format].list;
    bool member = r->format == PUPIL_VQA_GQA;
    if (list ? !item->list || strcmp(item->list, list) : item->list || member != (item->key != NULL))
        return 0;
    r->found = true;
    return formats[r->format].take(r, item);
}

static int take_annotations(void *state, const json_item *item)
{
    reader *r = state;
    if (!item->list || strcmp(item->list, "annotations")) return 0;
    r->found = true;
    return take_annotation(r, item->value);
}

static int sniff(void *state, const json_item *item)
{
    pupil_vqa_format *f = state;
    const json_t *v = item->value;
    if (item->list)
        *f = !strcmp(item->list, "questions") ? PUPIL_VQA_V2
             : !strcmp(item->list, "data")    ? PUPIL_VQA_TEXTVQA
                                              : *f;
    else if (item->key) *f = json_object_get(v, "imageId") ? PUPIL_VQA_GQA : *f;
    else
        *f = json_object_get(v, "choices") ? PUPIL_VQA_MULTIPLE_CHOICE
             : json_object_get(v, "label") ? PUPIL_VQA_POPE
                                           : PUPIL_VQA_VIZWIZ;
    return *f == PUPIL_VQA_AUTO ? 0 : JSON_STOP;
}

/* Which format, and whether it comes as lines. */
static int recognise(reader *r, bool *ret_lines)
{
    const char *path = r->files->questions;
    r->format = r->files->format;
    if (r->format == PUPIL_VQA_AUTO && r->files->annotations)
        r->format = PUPIL_VQA_V2; /* nothing else has these */
    *ret_lines = false;
    if (r->format == PUPIL_VQA_AUTO || r->format == PUPIL_VQA_MULTIPLE_CHOICE || r->format == PUPIL_VQA_POPE)
        PUPIL_TRY(json_file_is_lines(path, (const char *const[]){"question", "text"}, 2, ret_lines));
    if (r->format == PUPIL_VQA_AUTO) {
        PUPIL_TRY(json_file_each(path, *ret_lines, sniff, &r->format));
        if (r->format == PUPIL_VQA_AUTO)
            return pupil_fail(PUPIL_EFORMAT,
                              "%s: no questions of a kind that is known: VQA v2, OK-VQA, TextVQA, VizWiz, "
                              "GQA, multiple choice or POPE",
                              path);
        pupil_info("%s: read as %s", path, formats[r->format].name);
    }
    const char *key = !r->d ? "--annotations" : r->split == PUPIL_TRAIN ? "data.vqa_train.annotations" : "data.vqa_test.annotations";
    if (r->format == PUPIL_VQA_V2 && !r->files->annotations)
        return pupil_fail(PUPIL_EUSER, "%s: questions without answers: %s has to name their annotations JSON",
                          path, key);
    if (r->format != PUPIL_VQA_V2 && r->files->annotations)
        return pupil_fail(PUPIL_EUSER, "%s: %s questions have their answers with them; expected none", key,
                          formats[r->format].name);
    return 0;
}

/* Image numbers into sample indices; questions about images that are not there go. */
static int resolve_images(reader *r)
{
    pupil_vqa_set *s = &r->set->set;
    const char *path = r->files->questions, *lost = NULL;
    int64_t kept = 0;
    for (int64_t i = 0; i < s->n; i++) {
        pupil_vqa_question q = s->q[i];
        if (!q.n_answers)
            return pupil_fail(PUPIL_EFORMAT, "%s: there is no annotation of question_id %s, which %s has",
                              r->files->annotations, q.id, path);
        const char *name = r->image.text[q.image];
        q.image = r->sample[q.image];
        if (q.image >= 0) {
            s->q[i].choices = s->q[i].entailed = NULL; /* move */
            s->q[kept++] = q;
            continue;
        }
        if (!lost) lost = name;
        vqa_drop(&s->q[i]);
    }
    s->left_out = s->n - kept;
    s->n = kept;
    if (!kept)
        return lost ? pupil_fail(PUPIL_EFORMAT,
                                 "%s: none of its images is in the data set, image %s to begin with", path,
                                 lost)
                    : pupil_fail(PUPIL_EFORMAT, "%s: no questions in it", path);
    if (s->left_out)
        pupil_info("%s: %lld of %lld questions are about images that are not in the data set (image %s to "
                   "begin with); they "
                   "are left out",
                   path, (long long)s->left_out, (long long)(s->left_out + kept), lost);
    return 0;
}

static int each_of(reader *r, const char *path, bool lines, const char *list,
                   int (*each)(void *, const json_item *))
{
    r->found = false;
    PUPIL_TRY(json_file_each(path, lines, each, r));
    if (r->found || !list) return 0;
    return pupil_fail(PUPIL_EFORMAT, "%s: nothing in a list \"%s\"", path, list);
}

static int read_files(reader *r)
{
    bool lines;
    PUPIL_TRY(recognise(r, &lines));
    r->set->set.format = r->format;
    PUPIL_TRY(each_of(r, r->files->questions, lines, formats[r->format].list, take));
    if (r->format == PUPIL_VQA_V2)
        PUPIL_TRY(each_of(r, r->files->annotations, false, "annotations", take_annotations));
    return resolve_images(r);
}

int vqa_read(pupil_dataset *d, pupil_split split, const pupil_conf_vqa_files *named, vqa_owner *o)
{
    reader r = {.d = d, .split = split, .files = named, .set = o};
    int code = read_files(&r);
    map64_free(&r.ends_in);
    textset_free(&r.image);
    pupil_free(&r.sample);
    return code;
}
