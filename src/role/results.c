/* results.c: eval.json, the predictions in the official results format, and the pictures of the sample questions. */
#include "results.h"

#include <string.h>

static void group_json(pupil_buf *b, const char *key, const pupil_vqa_group *g, int n)
{
    pupil_buf_printf(b, "\"%s\": {", key);
    for (int i = 0; i < n; i++) {
        if (i) pupil_buf_puts(b, ", ");
        pupil_buf_json(b, g[i].name);
        pupil_buf_printf(b, ": {\"n\": %lld, \"accuracy\": %.4f}", (long long)g[i].n, g[i].accuracy);
    }
    pupil_buf_puts(b, "}");
}

static void vqa_json(pupil_buf *b, const results *r)
{
    pupil_buf_printf(b, "{\"vqa\": {\"n\": %lld, \"answers\": %d, \"models\": [", (long long)r->test->n, r->n_answers);
    for (int i = 0; i < r->n_who; i++) {
        pupil_buf_puts(b, i ? ",\n  {\"name\": " : "\n  {\"name\": ");
        pupil_buf_json(b, r->who[i].name);
        pupil_buf_printf(b, ", \"overall\": %.4f, ", r->who[i].score.overall);
        group_json(b, "answer_type", r->who[i].score.answer_type, r->who[i].score.n_answer_type);
        pupil_buf_puts(b, ", ");
        group_json(b, "question_type", r->who[i].score.question_type, r->who[i].score.n_question_type);
        pupil_buf_puts(b, "}");
    }
    pupil_buf_puts(b, "]}");
}

static void recall_json(pupil_buf *b, const char *key, const pupil_recall *r)
{
    pupil_buf_printf(b, ", \"%s\": {\"r1\": %.6f, \"r5\": %.6f, \"r10\": %.6f, \"mean_rank\": %.4f, \"median_rank\": %.1f}", key,
                     r->r1, r->r5, r->r10, r->mean_rank, r->median_rank);
}

static void retrieval_json(pupil_buf *b, const results *r)
{
    pupil_buf_printf(b, "\"retrieval\": {\"n\": %lld, \"models\": [", (long long)r->pairs);
    for (int i = 0; i < r->n_rank; i++) {
        pupil_buf_puts(b, i ? ",\n  {\"name\": " : "\n  {\"name\": ");
        pupil_buf_json(b, r->rank[i].name);
        if (r->rank[i].r1_only) {
            pupil_buf_printf(b, ", \"r1\": %.6f}", r->rank[i].image_to_text.r1);
            continue;
        }
        recall_json(b, "image_to_text", &r->rank[i].image_to_text);
        recall_json(b, "text_to_image", &r->rank[i].text_to_image);
        pupil_buf_puts(b, "}");
    }
    pupil_buf_puts(b, "]}");
}

static const answerer *who(const results *r, const char *name)
{
    for (int i = 0; i < r->n_who; i++)
        if (!strcmp(r->who[i].name, name)) return &r->who[i];
    return NULL;
}

static int sample_picture(const job *j, const char *name, int64_t image)
{
    pupil_image im;
    pupil_buf png = {0};
    char *path = pupil_join(j->conf->run.dir, name);
    int r = pupil_dataset_image(j->data, PUPIL_TEST, image, &im);
    if (r == 0) {
        r = pupil_image_encode_png(&im, &png);
        pupil_image_free(&im);
    }
    if (r == 0) r = pupil_write_file(path, png.s, png.len);
    pupil_free(&path);
    pupil_buf_free(&png);
    return r;
}

/* Questions spread evenly over the test set, with their pictures. */
static int samples_json(const job *j, const results *r, pupil_buf *b)
{
    int64_t n = PUPIL_MIN(j->conf->eval.sample_questions, r->test->n);
    const answerer *student = who(r, "student"), *teacher = who(r, "teacher");
    char *dir = pupil_join(j->conf->run.dir, "samples");
    int code = pupil_mkdirs(dir);
    pupil_free(&dir);
    pupil_buf_puts(b, "\"samples\": [");
    for (int64_t i = 0; i < n && code == 0; i++) {
        int64_t k = (2 * i + 1) * r->test->n / (2 * n);
        const pupil_vqa_question *q = &r->test->q[k];
        char name[40];
        snprintf(name, sizeof name, "samples/%03d.png", (int)i);
        code = sample_picture(j, name, q->image);
        pupil_buf_printf(b, "%s\n  {\"image\": \"%s\", \"question\": ", i ? "," : "", name);
        pupil_buf_json(b, q->question);
        pupil_buf_puts(b, ", \"answers\": [");
        for (int a = 0; a < 10; a++) pupil_buf_puts(b, a ? ", " : ""), pupil_buf_json(b, q->answers[a]);
        pupil_buf_puts(b, "], \"student\": ");
        pupil_buf_json(b, student->answer[k]);
        if (teacher) pupil_buf_puts(b, ", \"teacher\": "), pupil_buf_json(b, teacher->answer[k]);
        pupil_buf_printf(b, ", \"accuracy\": %.2f}", pupil_vqa_accuracy(student->answer[k], q->answers));
    }
    pupil_buf_puts(b, "]");
    return code;
}

/* Ids are text where the data set's own are (VizWiz: the picture's name; GQA), else numbers where they can be. */
static void prediction(pupil_buf *b, pupil_vqa_format f, const pupil_vqa_question *q, const char *answer)
{
    bool vizwiz = f == PUPIL_VQA_VIZWIZ, gqa = f == PUPIL_VQA_GQA;
    size_t n = strlen(q->id);
    bool number = !vizwiz && !gqa && n && n <= 18 && strspn(q->id, "0123456789") == n && (q->id[0] != '0' || n == 1);
    pupil_buf_printf(b, "{\"%s\": ", vizwiz ? "image" : gqa ? "questionId" : "question_id");
    if (number) pupil_buf_puts(b, q->id);
    else pupil_buf_json(b, q->id);
    pupil_buf_printf(b, ", \"%s\": ", gqa ? "prediction" : "answer");
    pupil_buf_json(b, answer);
    pupil_buf_puts(b, "}");
}

int results_predictions(const char *path, const pupil_vqa_set *set, char *const *answer, int64_t n)
{
    pupil_buf b = {0};
    pupil_buf_puts(&b, "[");
    for (int64_t i = 0; i < n; i++) {
        pupil_buf_puts(&b, i ? ",\n" : "");
        prediction(&b, set->format, &set->q[i], answer[i]);
    }
    pupil_buf_puts(&b, "]\n");
    int code = pupil_write_file(path, b.s, b.len);
    pupil_buf_free(&b);
    return code;
}

static int write_predictions(const job *j, const results *r)
{
    char *path = pupil_join(j->conf->run.dir, "vqa_results.json");
    int code = results_predictions(path, r->test, who(r, "student")->answer, r->test->n);
    pupil_free(&path);
    return code;
}

int results_write(const job *j, const results *r)
{
    pupil_buf b = {0};
    int code = 0;
    if (r->test) {
        vqa_json(&b, r);
        pupil_buf_puts(&b, ",\n ");
        code = samples_json(j, r, &b);
        if (code == 0) code = write_predictions(j, r);
    } else {
        pupil_buf_puts(&b, "{\"samples\": []");
    }
    if (r->n_rank) {
        pupil_buf_puts(&b, ",\n ");
        retrieval_json(&b, r);
    }
    if (r->rows) pupil_buf_printf(&b, ",\n \"scores\": [\n  %s]", r->rows);
    pupil_buf_puts(&b, "}\n");
    char *path = pupil_join(j->conf->run.dir, "eval.json");
    if (code == 0) code = pupil_write_file(path, b.s, b.len);
    pupil_free(&path);
    pupil_buf_free(&b);
    return code;
}

static const struct {
    const char *name, *protocol;
} head_kind[HEADS] = {{"reader", "vqa.reader"}, {"fusion", "vqa.fusion"}, {"fusion, towers tuned", "vqa.fusion.tuned"}};

void results_note_heads(results *r, const char *name, const pupil_rows *rows)
{
    for (int64_t i = 0; i < rows->n; i++) {
        const pupil_row *row = &rows->row[i];
        bool blind = !strcmp(row->protocol, "vqa.reader.question_only");
        int k = 0;
        while (k < HEADS && strcmp(row->protocol, head_kind[k].protocol) != 0) k++;
        if (k == HEADS && !blind) continue;
        pupil_buf *b = &r->head[blind ? 0 : k];
        pupil_buf_printf(b, "%s%s %.2f", b->len ? "   " : "", blind ? "question only" : name, row->value);
    }
}

void results_say(const results *r)
{
    pupil_buf b = {0};
    if (r->test) {
        for (int i = 0; i < r->n_who; i++) pupil_buf_printf(&b, "%s%s %.2f", i ? "   " : "", r->who[i].name, r->who[i].score.overall);
        pupil_info("vqa      %s   (official accuracy, %lld held-out questions)", b.s, (long long)r->test->n);
    }
    for (int k = 0; k < HEADS; k++)
        if (r->head[k].len) pupil_info("%s   %s   (the same questions)", head_kind[k].name, r->head[k].s);
    for (int i = 0; i < r->n_rank; i++) {
        const ranker *k = &r->rank[i];
        if (k->r1_only)
            pupil_info("retrieval %s: R@1 %.1f", k->name, 100 * k->image_to_text.r1);
        else
            pupil_info("retrieval %s: image to text R@1 %.1f R@5 %.1f R@10 %.1f   text to image R@1 %.1f R@5 %.1f R@10 %.1f   (%lld pairs)",
                       k->name, 100 * k->image_to_text.r1, 100 * k->image_to_text.r5, 100 * k->image_to_text.r10, 100 * k->text_to_image.r1,
                       100 * k->text_to_image.r5, 100 * k->text_to_image.r10, (long long)r->pairs);
    }
    pupil_buf_free(&b);
}
