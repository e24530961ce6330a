/* check.c: what one key says of another. Each contradiction is reported at the key that would have to change. */
#include "schema.h"

#include <string.h>

typedef struct {
    const pupil_conf *c;
    const place *at;
    pupil_buf *errors;
    int count;
} check;

static const place *place_of(const check *k, const char *key)
{
    int i = schema_find(key);
    PUPIL_REQUIRE(i >= 0);
    return &k->at[i];
}

static bool given(const check *k, const char *key) { return place_of(k, key)->line != 0; }

/* One line at `key`, or at the file where the key is not given. */
static void wrong(check *k, const char *key, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void wrong(check *k, const char *key, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    const place *p = place_of(k, key);
    if (p->line > 0) pupil_buf_printf(k->errors, "%s:%d:%d: %s: %s\n", p->file, p->line, p->column, key, text);
    else if (p->line < 0) pupil_buf_printf(k->errors, "%s: %s\n", p->file, text);
    else pupil_buf_printf(k->errors, "%s:1:1: %s: %s\n", k->c->file, key, text);
    k->count++;
}

static void check_train(check *k, const char *who, const pupil_conf_train *t)
{
    char slots[64], warmup[64];
    snprintf(slots, sizeof slots, "%s.train.slots", who);
    snprintf(warmup, sizeof warmup, "%s.train.warmup", who);
    if (t->slots & (t->slots - 1)) wrong(k, slots, "%lld, expected a power of two", (long long)t->slots);
    else if (t->batch_size % t->slots)
        wrong(k, slots, "%lld slots do not divide batch_size %lld, expected a power of two that does", (long long)t->slots, (long long)t->batch_size);
    if (t->steps > 0 && t->warmup > t->steps) wrong(k, warmup, "%lld steps of warm-up but only %lld steps, expected fewer", (long long)t->warmup, (long long)t->steps);
}

static void check_data(check *k)
{
    static const char *const tar_keys[] = {"data.train", "data.test", "data.vqa_train.questions", "data.vqa_train.annotations",
                                           "data.vqa_test.questions", "data.vqa_test.annotations"};
    static const char *const scene_keys[] = {"data.scenes.train", "data.scenes.test", "data.scenes.size", "data.scenes.seed",
                                             "data.scenes.max_objects", "data.scenes.questions"};
    const pupil_conf_data *d = &k->c->data;
    bool scenes = d->source == PUPIL_SOURCE_SCENES;
    for (int i = 0; i < 6; i++) {
        if (scenes && given(k, tar_keys[i])) wrong(k, tar_keys[i], "given, but data.source is scenes; expected data.source: webdataset");
        if (!scenes && given(k, scene_keys[i])) wrong(k, scene_keys[i], "given, but data.source is webdataset; expected data.source: scenes");
    }
    if (!scenes && d->train.n == 0) wrong(k, "data.train", "missing, expected the training tars, as data.source is webdataset");
    if (!scenes && d->test.n == 0) wrong(k, "data.test", "missing, expected the held-out tars, as data.source is webdataset");
    const pupil_conf_vqa_files *v[] = {&d->vqa_train, &d->vqa_test};
    static const char *const keys[2][2] = {{"data.vqa_train.questions", "data.vqa_train.annotations"}, {"data.vqa_test.questions", "data.vqa_test.annotations"}};
    for (int i = 0; i < 2; i++)
        if (!v[i]->questions != !v[i]->annotations)
            wrong(k, keys[i][v[i]->questions != NULL], "missing, expected both questions and annotations, or neither");
    if (!d->vqa_train.questions != !d->vqa_test.questions && !scenes)
        wrong(k, keys[d->vqa_train.questions != NULL][0], "missing, expected questions about both splits, or about neither");
}

static void check_roles(check *k)
{
    const pupil_conf *c = k->c;
    bool distils = c->loss.crd > 0 || c->loss.icl > 0 || c->loss.fd > 0;
    if (!c->run.dir) wrong(k, "run.dir", "missing, expected a folder for this run");
    if (!distils && c->loss.task <= 0) wrong(k, "loss.task.weight", "all losses are 0, expected at least one above 0");
    if (distils && !c->teacher.dir) wrong(k, "teacher.dir", "missing, expected the teacher's folder, as loss.%s distils", c->loss.crd > 0 ? "crd" : c->loss.icl > 0 ? "icl" : "fd");
    if (distils && !c->cache.dir) wrong(k, "cache.dir", "missing, expected a folder for the teacher's embeddings");
    if (c->run.mode == PUPIL_MODE_TEACH && !distils) wrong(k, "run.mode", "teach, but no loss wants a teacher; expected a distillation loss");
    if (c->ranks.total > 0 && c->ranks.teacher >= c->ranks.total && c->ranks.teacher > 0 && c->ranks.total > 1)
        wrong(k, "ranks.teacher", "%lld of %lld ranks, expected fewer, so that students are left", (long long)c->ranks.teacher, (long long)c->ranks.total);
    if (c->tokenizer.merges && given(k, "tokenizer.vocab_size"))
        wrong(k, "tokenizer.vocab_size", "given beside tokenizer.merges, expected one of them: the merges file has its own size");
}

int conf_check(const pupil_conf *c, const place *at, pupil_buf *errors)
{
    check k = {c, at, errors, 0};
    check_roles(&k);
    check_data(&k);
    check_train(&k, "student", &c->student.train);
    if (c->teacher.train_here) check_train(&k, "teacher", &c->teacher.train);
    return k.count;
}
