/* vqa_results.c: results files, whoever wrote them: each question of the set has one answer and nothing else has, or
 * the file is refused with the place. Files are read an element at a time, so their size and nesting cost nothing. */
#include "json_file.h"
#include "table.h"

#include "pupil/data.h"

#include <math.h>
#include <string.h>

typedef struct {
    const pupil_vqa_set *set;
    textset id;          /* of the set's questions, in its order */
    textset *texts;
    pupil_vqa_results *out;
    char *const *answer; /* choices: what was answered */
    uint8_t *mark[2];
    bool *listed;
} reader;

static const char *const answer_keys[] = {"answer", "prediction", "pred_answer", "text"};

static int number_questions(reader *r)
{
    for (int64_t i = 0; i < r->set->n; i++) {
        const char *id = r->set->q[i].id;
        if (textset_add(&r->id, id, strlen(id)) != i)
            return pupil_fail(PUPIL_EFORMAT, "two questions are %s, so answers cannot tell which they mean", id);
    }
    return 0;
}

static int question_of(const reader *r, const char *id, int64_t *ret)
{
    *ret = textset_find(&r->id, id, strlen(id));
    return *ret < 0 ? pupil_fail(PUPIL_EFORMAT, "%s is no question's", id) : 0;
}

/* ---- answers -------------------------------------------------------------------------------------- */
static int id_of(const reader *r, const json_t *o, char digits[24], const char **ret)
{
    static const char *const keys[] = {"question_id", "questionId", "id", "image"};
    int first = r->set->format == PUPIL_VQA_VIZWIZ ? 3 : 0, end = first ? 4 : 3;
    if (!json_is_object(o)) return pupil_fail(PUPIL_EFORMAT, "an object with an id and an answer was expected");
    for (int k = first; k < end; k++)
        if (json_object_get(o, keys[k])) return json_file_id(o, keys[k], digits, ret);
    return pupil_fail(PUPIL_EFORMAT, "\"%s\" was expected", keys[first]);
}

/* Text as it is; numbers as their digits. */
static int answer_text(const json_t *j, const char *key, char digits[24], const char **ret)
{
    if (json_is_string(j)) *ret = json_string_value(j);
    else if (json_is_integer(j)) snprintf(digits, 24, "%lld", (long long)json_integer_value(j)), *ret = digits;
    else return pupil_fail(PUPIL_EFORMAT, "%s%s%s was expected %sto be text", key ? "\"" : "the answer", key ? key : "",
                           key ? "\"" : "", key ? "and " : "");
    return 0;
}

static int keep_answer(reader *r, const char *id, const char *text, const json_t *answerable)
{
    int64_t i;
    PUPIL_TRY(question_of(r, id, &i));
    if (r->out->answer[i]) return pupil_fail(PUPIL_EFORMAT, "the answer to %s comes twice", id);
    double p = json_is_number(answerable) ? json_number_value(answerable) : NAN;
    if (answerable && !(p >= 0 && p <= 1))
        return pupil_fail(PUPIL_EFORMAT, "\"answerable\" was expected to be a number from 0 to 1");
    r->out->answerable[i] = p;
    int64_t k = textset_add(r->texts, text, strlen(text));
    r->out->answer[i] = r->texts->text[k];
    return 0;
}

static int take_answer(void *state, const json_item *item)
{
    reader *r = state;
    const char *id, *text = NULL, *key = answer_keys[0];
    char digits[24], number[24];
    if (item->list) return pupil_fail(PUPIL_EFORMAT, "a list of results, lines or {id: answer} was expected");
    if (item->key) {
        PUPIL_TRY(answer_text(item->value, NULL, number, &text));
        return keep_answer(r, item->key, text, NULL);
    }
    PUPIL_TRY(id_of(r, item->value, digits, &id));
    for (int k = 0; k < PUPIL_COUNT(answer_keys); k++)
        if (json_object_get(item->value, answer_keys[k])) {
            key = answer_keys[k];
            break;
        }
    PUPIL_TRY(answer_text(json_object_get(item->value, key), key, number, &text));
    return keep_answer(r, id, text, json_object_get(item->value, "answerable"));
}

static int check_whole(reader *r, const char *path, bool subset)
{
    const pupil_vqa_set *s = r->set;
    const char *first = NULL;
    int64_t needed = 0;
    bool all_answerable = s->format == PUPIL_VQA_VIZWIZ;
    for (int64_t i = 0; i < s->n; i++) {
        bool has = r->out->answer[i] != NULL;
        r->out->missing += !has;
        if (has) all_answerable = all_answerable && !isnan(r->out->answerable[i]);
        else if (!s->q[i].unbalanced && !needed++) first = s->q[i].id;
    }
    if (!all_answerable) pupil_free(&r->out->answerable);
    if (r->out->missing == s->n) return pupil_fail(PUPIL_EFORMAT, "%s: no answers in it", path);
    if (needed && !subset)
        return pupil_fail(PUPIL_EFORMAT, "%s: %lld of %lld questions have no answer, %s to begin with", path,
                          (long long)needed, (long long)s->n, first);
    return 0;
}

int pupil_vqa_results_read(const char *path, const pupil_vqa_set *set, bool subset, pupil_vqa_results *ret)
{
    pupil_vqa_results out = {.answer = pupil_alloc((size_t)set->n * sizeof *out.answer),
                             .answerable = pupil_alloc((size_t)set->n * sizeof *out.answerable),
                             .n = set->n,
                             .texts = pupil_alloc(sizeof(textset))};
    reader r = {.set = set, .texts = out.texts, .out = &out};
    bool lines = false;
    int code = number_questions(&r);
    if (code == 0) code = json_file_is_lines(path, answer_keys, PUPIL_COUNT(answer_keys), &lines);
    if (code == 0) code = json_file_each(path, lines, take_answer, &r);
    if (code == 0) code = check_whole(&r, path, subset);
    textset_free(&r.id);
    if (code < 0) pupil_vqa_results_free(&out);
    else *ret = out;
    return code;
}

void pupil_vqa_results_free(pupil_vqa_results *r)
{
    if (r->texts) textset_free(r->texts);
    pupil_free(&r->texts);
    pupil_free(&r->answer);
    pupil_free(&r->answerable);
    *r = (pupil_vqa_results){0};
}

/* ---- GQA's choices -------------------------------------------------------------------------------- */
static bool list_has(const json_t *list, const char *text)
{
    for (size_t k = 0; k < json_array_size(list); k++) {
        const char *s = json_string_value(json_array_get(list, k));
        if (s && !strcmp(s, text)) return true;
    }
    return false;
}

static int take_choices(void *state, const json_item *item)
{
    static const char *const keys[] = {"valid", "plausible"};
    static const char *const common[] = {"color", "material", "shape"};
    reader *r = state;
    if (!item->key) return pupil_fail(PUPIL_EFORMAT, "an object {id: {\"valid\": [...], \"plausible\": [...]}} was expected");
    int64_t i = textset_find(&r->id, item->key, strlen(item->key));
    if (i < 0 || !r->answer[i]) return 0; /* of another split's question, or not asked about */
    r->listed[i] = true;
    const char *detailed = r->set->q[i].types[1];
    bool is_common = detailed && strstr(detailed, "Common"); /* answered by the name of an attribute */
    for (int k = 0; k < 2; k++) {
        const json_t *list = json_object_get(item->value, keys[k]);
        if (!json_is_array(list)) return pupil_fail(PUPIL_EFORMAT, "\"%s\" was expected and to be a list", keys[k]);
        bool in = !is_common && list_has(list, r->answer[i]);
        for (int c = 0; is_common && c < PUPIL_COUNT(common); c++) in = in || !strcmp(common[c], r->answer[i]);
        r->mark[k][i] = in;
    }
    return 0;
}

int pupil_vqa_choices_check(const char *path, const pupil_vqa_set *set, char *const *answer, uint8_t *ret_valid,
                            uint8_t *ret_plausible)
{
    reader r = {.set = set, .answer = answer, .mark = {ret_valid, ret_plausible}};
    r.listed = pupil_alloc((size_t)set->n * sizeof *r.listed);
    memset(ret_valid, 0, (size_t)set->n);
    memset(ret_plausible, 0, (size_t)set->n);
    int code = number_questions(&r);
    if (code == 0) code = json_file_each(path, false, take_choices, &r);
    for (int64_t i = 0; i < set->n && code == 0; i++)
        if (answer[i] && !set->q[i].unbalanced && !r.listed[i])
            code = pupil_fail(PUPIL_EFORMAT, "%s: no choices of question %s", path, set->q[i].id);
    pupil_free(&r.listed);
    textset_free(&r.id);
    return code;
}
