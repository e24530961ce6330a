/* tables.c: the numbers of the page as CSV (RFC 4180: names are quoted where they must be; a missing number is an
 * empty field; numbers read back equal). */
#include "report.h"

#include <string.h>

void csv_text(pupil_buf *b, const char *s)
{
    if (!strpbrk(s, ",\"\r\n")) {
        pupil_buf_puts(b, s);
        return;
    }
    pupil_buf_puts(b, "\"");
    for (; *s; s++) pupil_buf_puts(b, *s == '"' ? "\"\"" : (char[2]){*s, 0});
    pupil_buf_puts(b, "\"");
}

void csv_number(pupil_buf *b, double x)
{
    pupil_buf_puts(b, ",");
    if (isfinite(x)) pupil_buf_json_num(b, x);
}

static int save(const report *r, const char *name, pupil_buf *b)
{
    char *path = pupil_format("%s/tables/%s", r->dir, name);
    int code = pupil_write_file(path, b->s, b->len);
    pupil_free(&path);
    pupil_buf_free(b);
    return code;
}

static void vqa_row(pupil_buf *b, const char *model, const char *by, const char *name, double n, double accuracy)
{
    csv_text(b, model);
    pupil_buf_printf(b, ",%s,", by);
    csv_text(b, name);
    csv_number(b, n);
    csv_number(b, accuracy);
    pupil_buf_puts(b, "\n");
}

static int save_vqa(const report *r)
{
    pupil_buf b = {0};
    pupil_buf_puts(&b, "model,by,name,n,accuracy\n");
    for (int k = 0; k < r->n_vqa; k++) {
        const vqa_model *m = &r->vqa[k];
        vqa_row(&b, m->name, "overall", "", r->vqa_questions, m->overall);
        for (int i = 0; i < m->answer_type.n; i++)
            vqa_row(&b, m->name, "answer_type", m->answer_type.g[i].name, m->answer_type.g[i].n, m->answer_type.g[i].accuracy);
        for (int i = 0; i < m->question_type.n; i++)
            vqa_row(&b, m->name, "question_type", m->question_type.g[i].name, m->question_type.g[i].n, m->question_type.g[i].accuracy);
    }
    return save(r, "vqa.csv", &b);
}

static void recall_row(pupil_buf *b, const report *r, const char *model, const char *direction, const recall *m)
{
    if (!isfinite(m->r1)) return;
    csv_text(b, model);
    pupil_buf_printf(b, ",%s", direction);
    const double value[] = {r->retrieval_pairs, m->r1, m->r5, m->r10, m->mean_rank, m->median_rank};
    for (int i = 0; i < PUPIL_COUNT(value); i++) csv_number(b, value[i]);
    pupil_buf_puts(b, "\n");
}

static int save_retrieval(const report *r)
{
    pupil_buf b = {0};
    pupil_buf_puts(&b, "model,direction,n,r1,r5,r10,mean_rank,median_rank\n");
    for (int k = 0; k < r->n_retrieval; k++) {
        const retrieval_model *m = &r->retrieval[k];
        recall alone = {m->r1, NAN, NAN, NAN, NAN};
        recall_row(&b, r, m->name, "image_to_text", &m->image_to_text);
        recall_row(&b, r, m->name, "text_to_image", &m->text_to_image);
        recall_row(&b, r, m->name, "image_to_text", &alone);
    }
    return save(r, "retrieval.csv", &b);
}

static int save_scores(const report *r)
{
    pupil_buf b = {0};
    pupil_buf_puts(&b, "model,protocol,metric,n,value,low,high\n");
    for (int k = 0; k < r->n_scores; k++) {
        const score *s = &r->score[k];
        csv_text(&b, s->model);
        pupil_buf_puts(&b, ",");
        csv_text(&b, s->protocol);
        pupil_buf_puts(&b, ",");
        csv_text(&b, s->metric);
        const double value[] = {s->n, s->value, s->low, s->high};
        for (int i = 0; i < PUPIL_COUNT(value); i++) csv_number(&b, value[i]);
        pupil_buf_puts(&b, "\n");
    }
    return save(r, "scores.csv", &b);
}

/* Columns of the metrics whose names pass: step first, then in the order of their first appearance. */
static int save_series(const report *r, const char *file, bool (*wanted)(const char *))
{
    const series *s = &r->student;
    pupil_buf b = {0};
    pupil_buf_puts(&b, "step");
    for (int k = 0; k < s->columns; k++) {
        if (!wanted(s->column[k].name)) continue;
        pupil_buf_puts(&b, ",");
        csv_text(&b, s->column[k].name);
    }
    for (int64_t i = 0; i < s->rows; i++) {
        pupil_buf_puts(&b, "\n");
        pupil_buf_json_num(&b, series_get(s, "step")[i]);
        for (int k = 0; k < s->columns; k++)
            if (wanted(s->column[k].name)) csv_number(&b, s->column[k].v[i]);
    }
    pupil_buf_puts(&b, "\n");
    return save(r, file, &b);
}

static bool of_speed(const char *name)
{
    return strcmp(name, "ranks") == 0 || strcmp(name, "pairs_per_s") == 0 || strncmp(name, "seconds.", 8) == 0;
}
static bool of_loss(const char *name) { return strcmp(name, "step") != 0 && !of_speed(name); }

int tables_write(const report *r)
{
    char *dir = pupil_join(r->dir, "tables");
    int code = pupil_mkdirs(dir);
    pupil_free(&dir);
    if (code == 0) code = save_vqa(r);
    if (code == 0) code = save_retrieval(r);
    if (code == 0) code = save_scores(r);
    if (code == 0) code = save_series(r, "loss.csv", of_loss);
    if (code == 0) code = save_series(r, "throughput.csv", of_speed);
    return code;
}
