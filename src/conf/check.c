/* check.c: what one key says of another. Each contradiction is reported at the key that would have to change,
 * or at the key that asks for it where that one is not given. A key that was refused already is not judged
 * again. */
#include "schema.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    const pupil_conf *c;
    const place *at;
    problems *p;
} check;

static place place_of(const check *k, const char *key)
{
    int i = key ? schema_find(key) : -1;
    PUPIL_REQUIRE(i >= 0 || !key);
    return i >= 0 ? k->at[i] : (place){0};
}

static bool given(const check *k, const char *key)
{
    return place_of(k, key).line != 0;
}

/* Some key that begins with `prefix` was refused already: what it was meant to be is not known. */
static bool refused(const check *k, const char *prefix)
{
    for (int i = 0; i < schema_n; i++)
        if (k->at[i].bad && !strncmp(schema[i].key, prefix, strlen(prefix))) return true;
    return false;
}

/* `because` (may be NULL): the other key of the contradiction. */
static void wrong(check *k, const char *key, const char *because, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
static void wrong(check *k, const char *key, const char *because, const char *fmt, ...)
{
    place at = place_of(k, key), other = place_of(k, because);
    if (at.bad || other.bad) return;
    if (!at.line) at = other;
    if (!at.line) at = (place){.file = k->c->file, .line = 1, .column = 1};
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    problem(k->p, at, "%s: %s", key, text);
}

/* "student" and ".train.steps" joined; a fresh name for as long as the caller keeps `name`. */
typedef struct {
    char s[64];
} name;
static name of(const char *who, const char *rest)
{
    name n;
    snprintf(n.s, sizeof n.s, "%.31s%.31s", who, rest);
    return n;
}

/* Length of a path without what a shell's completion leaves behind it. */
static int bare_length(const char *path)
{
    int n = (int)strlen(path);
    while (n > 1 && path[n - 1] == '/') n--;
    return n;
}

static bool same_folder(const char *a, const char *b)
{
    return a && b && bare_length(a) == bare_length(b) && !strncmp(a, b, (size_t)bare_length(a));
}

/* ---- models ------------------------------------------------------------------------------------- */
static void check_sizes_given(check *k, const char *who, const pupil_conf_model *m)
{
    const struct {
        const char *key;
        int64_t value;
    } size[] = {{".model.image_size", m->image_size},     {".model.patch_size", m->patch_size},
                {".model.vision_width", m->vision_width}, {".model.vision_layers", m->vision_layers},
                {".model.text_width", m->text_width},     {".model.text_layers", m->text_layers},
                {".model.embed_dim", m->embed_dim}};
    pupil_buf missing = {0};
    name because = {""};
    for (int i = 0; i < PUPIL_COUNT(size); i++) {
        name key = of(who, size[i].key);
        bool of_teacher = m == &k->c->student.model && k->c->student.text_of_teacher && i > 3;
        if (of_teacher) continue;
        if (given(k, key.s)) because = key;
        else pupil_buf_printf(&missing, "%s%s", missing.len ? ", " : "", size[i].key + strlen(".model."));
    }
    if (!m->name && missing.len)
        wrong(k, of(who, ".model.name").s, because.s[0] ? because.s : NULL,
              "missing, and so %s %s: expected a preset, or these sizes",
              strchr(missing.s, ',') ? "are" : "is", missing.s);
    pupil_buf_free(&missing);
}

/* A student without a word about its model is not trained: settings may be of data alone. */
static bool described(const check *k, const char *section)
{
    for (int i = 0; i < schema_n; i++)
        if (k->at[i].line && !strncmp(schema[i].key, section, strlen(section))) return true;
    return false;
}

static void check_divides(check *k, name width, int64_t w, name part, int64_t n)
{
    if (w > 0 && n > 0 && w % n)
        wrong(k, width.s, part.s, "%lld, expected a multiple of %s (%lld)", (long long)w,
              strrchr(part.s, '.') + 1, (long long)n);
}

static bool begins_with_a_model(const pupil_conf_student *s) { return s->init || s->inherit_from; }

static void check_model(check *k, const char *who, const pupil_conf_model *m)
{
    /* what a student begins with has the sizes that are not given */
    bool from_weights = m == &k->c->student.model && begins_with_a_model(&k->c->student);
    if (!from_weights) check_sizes_given(k, who, m);
    check_divides(k, of(who, ".model.image_size"), m->image_size, of(who, ".model.patch_size"),
                  m->patch_size);
    check_divides(k, of(who, ".model.vision_width"), m->vision_width, of(who, ".model.vision_head_width"),
                  m->vision_head_width || from_weights ? m->vision_head_width : 64);
    int64_t heads = m->text_heads;
    if (heads == 0 && !m->name && !from_weights) heads = PUPIL_MAX((int64_t)1, m->text_width / 64);
    check_divides(k, of(who, ".model.text_width"), m->text_width, of(who, ".model.text_heads"), heads);
}

static void check_start(check *k)
{
    static const char *const of_text[] = {"student.model.text_width", "student.model.text_layers", "student.model.text_heads",
                                          "student.model.text_mlp", "student.model.context_length", "student.model.embed_dim"};
    const pupil_conf *c = k->c;
    for (int i = 0; i < PUPIL_COUNT(of_text) && c->student.text_of_teacher; i++)
        if (given(k, of_text[i])) wrong(k, of_text[i], "student.text", "given, but student.text is teacher; expected that model's own");
    if (c->student.text_of_teacher && !c->teacher.dir)
        wrong(k, "teacher.dir", "student.text", "missing, expected the teacher's folder: the student has its text tower");
    if (c->student.text_of_teacher && !c->cache.dir)
        wrong(k, "cache.dir", "student.text", "missing, expected a folder for the teacher's embeddings: they are the student's text side");
    if (c->student.init && c->student.inherit_from)
        wrong(k, "student.inherit.from", "student.init", "given beside student.init, expected one of them");
    if (!c->student.inherit_from && given(k, "student.inherit.select"))
        wrong(k, "student.inherit.from", "student.inherit.select", "missing, expected a folder or teacher");
    if (c->student.inherit_from && !strcmp(c->student.inherit_from, "teacher") && !c->teacher.dir)
        wrong(k, "teacher.dir", "student.inherit.from", "missing, expected the teacher's folder: its weights are inherited");
    if (c->student.prune.target > 0 && c->student.prune.ramp > c->student.train.steps)
        wrong(k, "student.prune.ramp", "student.prune.target", "more than student.train.steps, expected at most as many: the target must be reached");
    if (c->student.prune.target > 0 && c->student.train.freeze.n)
        wrong(k, "student.train.freeze", "student.prune.target", "given beside student.prune, expected one of them");
    if (same_folder(c->student.init, c->run.dir) || same_folder(c->student.inherit_from, c->run.dir))
        wrong(k, c->student.init ? "student.init" : "student.inherit.from", "run.dir", "the same folder as run.dir, expected another");
}

/* ---- training ----------------------------------------------------------------------------------- */
static void check_train(check *k, const char *who, const pupil_conf_train *t)
{
    name slots = of(who, ".train.slots"), batch = of(who, ".train.batch_size"),
         steps = of(who, ".train.steps");
    if (t->slots & (t->slots - 1))
        wrong(k, slots.s, NULL, "%lld, expected a power of two", (long long)t->slots);
    else if (t->batch_size % t->slots)
        wrong(k, batch.s, slots.s, "%lld, expected a multiple of slots (%lld)", (long long)t->batch_size,
              (long long)t->slots);
    if (t->steps > 0 && t->warmup > t->steps)
        wrong(k, of(who, ".train.warmup").s, steps.s, "%lld, expected at most steps (%lld)",
              (long long)t->warmup, (long long)t->steps);
    if (t->lr_min > t->lr)
        wrong(k, of(who, ".train.lr_min").s, of(who, ".train.lr").s, "%g, expected at most lr (%g)", t->lr_min, t->lr);
    if (t->lr_min > 0 && t->lr_schedule == PUPIL_LR_CONSTANT)
        wrong(k, of(who, ".train.lr_min").s, of(who, ".train.lr_schedule").s, "given, but lr_schedule is constant");
    bool scenes = k->c->data.source == PUPIL_SOURCE_SCENES;
    bool for_once = place_of(k, "data.scenes.train").line < 0; /* --set: to look at a few, not to train */
    if (scenes && !for_once && t->batch_size > k->c->data.scenes.train)
        wrong(k, batch.s, "data.scenes.train", "%lld, expected at most data.scenes.train (%lld)",
              (long long)t->batch_size, (long long)k->c->data.scenes.train);
}

/* ---- data --------------------------------------------------------------------------------------- */
static void check_questions(check *k)
{
    static const char *const questions[] = {"data.vqa_train.questions", "data.vqa_test.questions"};
    static const char *const annotations[] = {"data.vqa_train.annotations", "data.vqa_test.annotations"};
    static const char *const format[] = {"data.vqa_train.format", "data.vqa_test.format"};
    const pupil_conf_vqa_files *v[] = {&k->c->data.vqa_train, &k->c->data.vqa_test};
    bool any[2];
    for (int i = 0; i < 2; i++) {
        any[i] = v[i]->questions || v[i]->annotations;
        if (v[i]->questions && !v[i]->annotations && v[i]->format == PUPIL_VQA_V2)
            wrong(k, annotations[i], questions[i], "missing, expected the answers to these questions");
        if (v[i]->annotations && v[i]->format > PUPIL_VQA_V2)
            wrong(k, annotations[i], format[i], "given, but only vqav2 has a second file");
        if (!v[i]->questions && v[i]->annotations)
            wrong(k, questions[i], annotations[i], "missing, expected the questions to these answers");
    }
    bool untrained = v[1]->format == PUPIL_VQA_MULTIPLE_CHOICE; /* answered by ranking the choices */
    for (int i = 0; i < 2; i++)
        if (!any[i] && any[!i] && !(i == 0 && untrained))
            wrong(k, questions[i], v[!i]->questions ? questions[!i] : annotations[!i],
                  "missing, expected questions about both splits, or about neither");
}

static bool same_list(const pupil_strings *a, const pupil_strings *b)
{
    for (int i = 0; i < a->n && i < b->n; i++)
        if (strcmp(a->item[i], b->item[i])) return false;
    return a->n == b->n;
}

/* A list of files or folders for each split, and not the same one: these would not be held out. (COCO files of
 * Karpathy's kind hold both splits.) */
static void check_files(check *k)
{
    static const char *const what[] = {"", "tars", "csv files", "JSON files", "folders"};
    const pupil_conf_data *d = &k->c->data;
    if (d->train.n == 0)
        wrong(k, "data.train", "data.source", "missing, expected the training %s", what[d->source]);
    if (d->test.n == 0)
        wrong(k, "data.test", "data.source", "missing, expected the held-out %s", what[d->source]);
    if (d->train.n && d->source != PUPIL_SOURCE_COCO && same_list(&d->train, &d->test))
        wrong(k, "data.test", NULL,
              "the same %s as data.train, expected others: these would not be held out", what[d->source]);
    if (!strstr(d->class_template, "{class}"))
        wrong(k, "data.class_template", NULL, "'%s', expected \"{class}\" in it", d->class_template);
    check_questions(k);
}

static void check_cache(check *k)
{
    const pupil_conf *c = k->c;
    bool drawn = c->data.view.crop || c->data.view.flip;
    if (!drawn && c->cache.views > 1)
        wrong(k, "cache.views", NULL, "%lld, but all views are the whole picture; expected data.view.name: random_resized_crop", (long long)c->cache.views);
    if (!drawn && c->cache.independent_views)
        wrong(k, "cache.view_policy", NULL, "independent, but all views are the whole picture; expected data.view.name: random_resized_crop");
}

static void check_view(check *k)
{
    static const char *const of_boxes[] = {"data.view.scale_min", "data.view.scale_max", "data.view.ratio_min",
                                           "data.view.ratio_max"};
    const pupil_conf_view *v = &k->c->data.view;
    if (refused(k, "data.view.name")) return;
    for (int i = 0; i < PUPIL_COUNT(of_boxes) && !v->crop; i++)
        if (given(k, of_boxes[i]))
            wrong(k, of_boxes[i], NULL,
                  "given, but data.view.name is whole; expected data.view.name: random_resized_crop");
    if (!v->crop && !v->flip && given(k, "data.view.seed"))
        wrong(k, "data.view.seed", NULL,
              "given, but nothing is drawn; expected data.view.name: random_resized_crop or data.view.flip: true");
    if (v->scale_min > v->scale_max)
        wrong(k, "data.view.scale_min", "data.view.scale_max", "%g, expected at most scale_max (%g)", v->scale_min,
              v->scale_max);
    if (v->ratio_min > v->ratio_max)
        wrong(k, "data.view.ratio_min", "data.view.ratio_max", "%g, expected at most ratio_max (%g)", v->ratio_min,
              v->ratio_max);
}

#define SOURCE(name) (1u << PUPIL_SOURCE_##name)
#define REAL_SOURCES (SOURCE(WEBDATASET) | SOURCE(CSV) | SOURCE(COCO) | SOURCE(FOLDER))

/* The sources, as bits, that a key is for. */
static unsigned sources_of(const char *key)
{
    static const struct {
        const char *prefix;
        unsigned sources;
    } rule[] = {{"data.scenes.", SOURCE(SCENES)},
                {"data.train", REAL_SOURCES},
                {"data.test", REAL_SOURCES},
                {"data.images", SOURCE(CSV) | SOURCE(COCO)},
                {"data.csv.", SOURCE(CSV)},
                {"data.coco.", SOURCE(COCO)},
                {"data.class_", SOURCE(WEBDATASET) | SOURCE(FOLDER)},
                {"data.vqa_", REAL_SOURCES}};
    for (int i = 0; i < PUPIL_COUNT(rule); i++)
        if (!strncmp(key, rule[i].prefix, strlen(rule[i].prefix))) return rule[i].sources;
    return ~0u;
}

bool conf_of_source(const char *key, pupil_source source) { return sources_of(key) >> source & 1; }

static void check_data(check *k)
{
    static const char *const word[] = {"scenes", "webdataset", "csv", "coco", "folder"};
    pupil_source source = k->c->data.source;
    if (refused(k, "data.source")) return;
    for (int i = 0; i < schema_n; i++) {
        unsigned sources = sources_of(schema[i].key);
        pupil_buf others = {0};
        if (!given(k, schema[i].key) || sources >> source & 1) continue;
        for (int s = 0; s < PUPIL_COUNT(word); s++)
            if (sources >> s & 1) pupil_buf_printf(&others, "%s%s", others.len ? " or " : "", word[s]);
        wrong(k, schema[i].key, NULL, "given, but data.source is %s; expected data.source: %s", word[source],
              others.s);
        pupil_buf_free(&others);
    }
    if (source != PUPIL_SOURCE_SCENES) check_files(k);
    check_view(k);
    check_cache(k);
    if (k->c->tokenizer.merges && given(k, "tokenizer.vocab_size"))
        wrong(k, "tokenizer.vocab_size", "tokenizer.merges",
              "given beside tokenizer.merges, expected one of them: the merges file has its own size");
}

/* ---- who does what ------------------------------------------------------------------------------ */
double conf_term_weight(const pupil_conf *c, const char *key)
{
    char full[64];
    const char *term = strncmp(key, "loss.", 5) ? NULL : key + 5;
    if (!term || !strchr(term, '.')) return -1;
    snprintf(full, sizeof full, "loss.%.*s.weight", (int)strcspn(term, "."), term);
    int i = schema_find(full);
    return i < 0 ? -1 : *(const double *)((const char *)c + schema[i].at);
}

/* The key of the first distillation loss with a weight, or NULL. */
static const char *distils(const pupil_conf *c)
{
    for (int i = 0; i < schema_n; i++) {
        const char *key = schema[i].key, *last = strrchr(key, '.');
        bool of_pairs = !strcmp(key, "loss.task.weight") || !strcmp(key, "loss.sigmoid.weight");
        if (!strcmp(last, ".weight") && !of_pairs && conf_term_weight(c, key) > 0) return key;
    }
    return NULL;
}

bool pupil_conf_distils(const pupil_conf *c) { return distils(c) != NULL; }

static void check_roles(check *k)
{
    const pupil_conf *c = k->c;
    const char *loss = distils(c), *asks = loss && !given(k, loss) ? "loss.preset" : loss;
    if (c->loss.captions > c->cache.captions && loss)
        wrong(k, "loss.captions", "cache.captions", "%lld, expected at most cache.captions (%lld)", (long long)c->loss.captions,
              (long long)c->cache.captions);
    for (int i = 0; i < schema_n; i++)
        if (schema[i].flags & REQUIRED && !given(k, schema[i].key))
            wrong(k, schema[i].key, NULL, "missing, expected it: %s", schema[i].doc);
    if (!loss && c->loss.task.weight <= 0 && c->loss.sigmoid.weight <= 0 && !refused(k, "loss."))
        wrong(k, "loss.task.weight", NULL, "all losses are 0, expected at least one above 0");
    if (loss && !c->teacher.dir && !c->cache.dir)
        wrong(k, "teacher.dir", asks, "missing, expected the teacher's folder, as %s is above 0", loss);
    if (loss && !c->cache.dir)
        wrong(k, "cache.dir", asks,
              "missing, expected a folder for the teacher's embeddings, as %s is above 0", loss);
    if (same_folder(c->teacher.dir, c->run.dir))
        wrong(k, "teacher.dir", "run.dir",
              "the same folder as run.dir, expected another: the student would replace the teacher");
    if (c->run.mode == PUPIL_MODE_TEACH && !loss && !refused(k, "loss."))
        wrong(k, "run.mode", NULL,
              "teach, but no loss wants a teacher; expected a distillation loss above 0");
    if (c->cache.share && c->run.mode != PUPIL_MODE_TEACH)
        wrong(k, "cache.share", "run.mode", "%lld, expected 0, or run.mode: teach", (long long)c->cache.share);
    if (c->run.mode == PUPIL_MODE_SPLIT && c->ranks.total > 1 && c->ranks.teacher >= c->ranks.total)
        wrong(k, "ranks.teacher", "ranks.total",
              "%lld, expected fewer than ranks.total (%lld), so that students are left",
              (long long)c->ranks.teacher, (long long)c->ranks.total);
}

static void check_more_teachers(check *k)
{
    const pupil_conf *c = k->c;
    for (int i = 0; i < PUPIL_TEACHERS - 1; i++) {
        name item, cache;
        snprintf(item.s, sizeof item.s, "more_teachers.%d", i);
        cache = of(item.s, ".cache");
        const char *own = c->more_teachers[i].cache;
        if (!own && described(k, of(item.s, ".").s))
            wrong(k, cache.s, of(item.s, ".dir").s, "missing, expected a folder for this teacher's embeddings");
        if (own && i > 0 && !c->more_teachers[i - 1].cache)
            wrong(k, cache.s, NULL, "given, but more_teachers.%d is not, expected a list without gaps", i - 1);
        if (own && !c->cache.dir) wrong(k, "cache.dir", cache.s, "missing, expected the first teacher in `teacher` and `cache`");
        if (same_folder(own, c->cache.dir)) wrong(k, cache.s, "cache.dir", "the same folder as cache.dir, expected one of its own");
        for (int j = 0; j < i; j++)
            if (same_folder(own, c->more_teachers[j].cache))
                wrong(k, cache.s, NULL, "the same folder as that of more_teachers.%d, expected one of its own", j);
    }
}

/* ---- heads of the evaluation -------------------------------------------------------------------- */
static void check_heads(check *k)
{
    const pupil_conf_eval *c = &k->c->eval;
    const pupil_conf_head *head[] = {&c->reader, &c->fusion};
    static const char *const who[] = {"eval.reader", "eval.fusion"};
    for (int i = 0; i < 2; i++) {
        const pupil_conf_head *h = head[i];
        if (h->enable && !c->vqa) wrong(k, of(who[i], ".enable").s, "eval.vqa.enable", "true, but eval.vqa.enable is false, expected questions to train it on");
        if (h->heads <= 0 || refused(k, of(who[i], ".").s)) continue;
        if (h->width % (2 * h->heads))
            wrong(k, of(who[i], ".heads").s, of(who[i], ".width").s, "%lld, expected heads of an even width, all of them %lld wide", (long long)h->heads, (long long)h->width);
        if (i == 0 && h->heads % PUPIL_MAX(h->kv_heads, (int64_t)1))
            wrong(k, "eval.reader.kv_heads", "eval.reader.heads", "%lld, expected a divisor of eval.reader.heads = %lld", (long long)h->kv_heads, (long long)h->heads);
    }
}

/* ---- what a cluster is asked for ---------------------------------------------------------------- */
/* Words of a job script are one line each: a newline would begin another one. */
static bool one_line(const char *s)
{
    for (; s && *s; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7f) return false;
    return true;
}

static bool plain_word(const char *s)
{
    return !s || strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=.:,@%/&|()[]*") == strlen(s);
}

/* "4", or "2-4" */
static bool node_range(const char *s)
{
    char *end;
    long from = strtol(s, &end, 10), to = from;
    if (*s < '1' || *s > '9') return false;
    if (*end == '-' && end[1] >= '1' && end[1] <= '9') to = strtol(end + 1, &end, 10);
    return !*end && from <= to && to < 1 << 20;
}

static void check_slurm(check *k)
{
    const pupil_conf_slurm *s = &k->c->slurm;
    const pupil_conf_nodes *nodes[] = {&s->all, &s->teacher};
    static const char *const who[] = {"slurm", "slurm.teacher"};
    if (!plain_word(s->account)) wrong(k, "slurm.account", NULL, "'%.80s', expected a word", s->account);
    if (!plain_word(s->qos)) wrong(k, "slurm.qos", NULL, "'%.80s', expected a word", s->qos);
    for (int i = 0; i < 2; i++) {
        const pupil_conf_nodes *n = nodes[i];
        if (!plain_word(n->partition)) wrong(k, of(who[i], ".partition").s, NULL, "'%.80s', expected a word", n->partition);
        if (!plain_word(n->constraint)) wrong(k, of(who[i], ".constraint").s, NULL, "'%.80s', expected a word", n->constraint);
        if (n->time && strspn(n->time, "0123456789:-") < strlen(n->time))
            wrong(k, of(who[i], ".time").s, NULL, "'%.80s', expected minutes, hours:minutes:seconds or days-hours", n->time);
        if (n->nodes && !node_range(n->nodes))
            wrong(k, of(who[i], ".nodes").s, NULL, "'%.80s', expected a number of nodes, or a range such as 2-4", n->nodes);
    }
    for (int i = 0; i < s->modules.n; i++)
        if (!plain_word(s->modules.item[i])) wrong(k, "slurm.modules", NULL, "'%.80s', expected names of modules", s->modules.item[i]);
    for (int i = 0; i < s->lines.n; i++)
        if (!one_line(s->lines.item[i])) wrong(k, "slurm.lines", NULL, "entry %d holds a control character, expected one line each", i + 1);
}

void conf_check(const pupil_conf *c, const place *at, problems *p)
{
    check k = {c, at, p};
    check_slurm(&k);
    check_roles(&k);
    check_more_teachers(&k);
    check_heads(&k);
    check_data(&k);
    if (described(&k, "student.model.") || begins_with_a_model(&c->student)) {
        check_start(&k);
        check_model(&k, "student", &c->student.model);
        check_train(&k, "student", &c->student.train);
    }
    if (c->teacher.train_here) {
        check_model(&k, "teacher", &c->teacher.model);
        check_train(&k, "teacher", &c->teacher.train);
    }
}
