/* vqa.c: a set of questions: asked of the scenes, or read from files. Texts are kept once each: VQA v2's 4.4
 * million answers are some 100,000 different ones. */
#include "vqa.h"
#include "dataset.h"

#include <string.h>

char *vqa_keep(vqa_owner *o, const char *text)
{
    int64_t at = textset_add(&o->texts, text, strlen(text)); /* may move the array */
    return o->texts.text[at];
}

pupil_vqa_question *vqa_add(vqa_owner *o, const char *id, const char *question)
{
    pupil_vqa_set *s = &o->set;
    if (textset_add(&o->ids, id, strlen(id)) != s->n) return NULL;
    PUPIL_GROW(s->q, s->n, o->cap);
    pupil_vqa_question *q = &s->q[s->n];
    *q =
        (pupil_vqa_question){.question_id = s->n, .id = o->ids.text[s->n], .question = vqa_keep(o, question)};
    s->n++;
    return q;
}

pupil_vqa_question *vqa_find(vqa_owner *o, const char *id)
{
    int64_t at = textset_find(&o->ids, id, strlen(id));
    return at < 0 ? NULL : &o->set.q[at];
}

void vqa_answers(pupil_vqa_question *q, char *const *answer, int n)
{
    int most = 0;
    q->n_answers = n;
    for (int k = 0; k < PUPIL_COUNT(q->answers); k++) q->answers[k] = answer[k % n];
    for (int k = n - 1; k >= 0; k--) {
        int same = 0;
        for (int j = 0; j < n; j++) same += answer[j] == answer[k];
        if (same < most) continue;
        most = same;
        q->answer = answer[k];
    }
}

void vqa_drop(pupil_vqa_question *q)
{
    pupil_free(&q->choices);
    pupil_free(&q->entailed);
}

void pupil_vqa_free(pupil_vqa_set **s)
{
    vqa_owner *o = (vqa_owner *)*s;
    if (!o) return;
    for (int64_t i = 0; i < o->set.n; i++) vqa_drop(&o->set.q[i]);
    textset_free(&o->texts);
    textset_free(&o->ids);
    pupil_free(&o->set.q);
    pupil_free(s);
}

static void ask_scenes(const pupil_dataset *d, pupil_split split, vqa_owner *o)
{
    int64_t scenes = pupil_dataset_count(d, split), each = d->scenes.questions;
    pupil_buf text = {0};
    for (int64_t i = 0; i < scenes; i++) {
        scene s;
        dataset_scene(d, split, i, &s);
        for (int64_t j = 0; j < each; j++) {
            char id[24];
            snprintf(id, sizeof id, "%lld", (long long)(i * each + j));
            text.len = 0;
            scene_answer a = scene_ask(&s, each, j, &text);
            pupil_vqa_question *q = vqa_add(o, id, text.s);
            char *answer = vqa_keep(o, a.answer), *ten[PUPIL_COUNT(q->answers)];
            for (int k = 0; k < PUPIL_COUNT(ten); k++) ten[k] = answer;
            q->image = i;
            q->question_type = vqa_keep(o, a.type);
            q->answer_type = vqa_keep(o, a.answer_type);
            vqa_answers(q, ten, PUPIL_COUNT(ten));
        }
    }
    o->set.format = PUPIL_VQA_V2;
    pupil_buf_free(&text);
}

int pupil_vqa_load(const pupil_conf_vqa_files *named, pupil_vqa_set **ret)
{
    vqa_owner *o = pupil_alloc(sizeof *o);
    pupil_vqa_set *set = &o->set;
    int r = vqa_read(NULL, PUPIL_TEST, named, o);
    if (r < 0) pupil_vqa_free(&set);
    else *ret = set;
    return r;
}

int pupil_vqa_open(pupil_dataset *d, pupil_split split, pupil_vqa_set **ret)
{
    bool scenes = d->source == PUPIL_SOURCE_SCENES;
    if (!scenes && !(d->vqa[split].questions && pupil_dataset_count(d, split)))
        return pupil_fail(PUPIL_ENOTFOUND, "data.vqa_%s names no questions",
                          split == PUPIL_TRAIN ? "train" : "test");
    vqa_owner *o = pupil_alloc(sizeof *o);
    pupil_vqa_set *set = &o->set;
    int r = 0;
    if (scenes) ask_scenes(d, split, o);
    else r = vqa_read(d, split, &d->vqa[split], o);
    if (r < 0) pupil_vqa_free(&set);
    else *ret = set;
    return r;
}
