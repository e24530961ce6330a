/* metrics.c: one JSON line a step. After a resume, lines of steps that will be done again are dropped first, so the
 * file always tells each step once. */
#include "job.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

const char *const phase_name[PHASES] = {"data", "forward", "loss", "backward", "reduce", "update", "wait"};

struct metrics {
    FILE *f;
};

/* Bytes of the lines whose step is at most keep_steps; a torn last line is not kept. */
static size_t bytes_to_keep(const char *text, int64_t keep_steps)
{
    size_t keep = 0;
    for (const char *line = text, *end; (end = strchr(line, '\n')); line = end + 1) {
        long long step;
        if (sscanf(line, "{\"step\":%lld", &step) != 1 || step > keep_steps) break;
        keep = (size_t)(end + 1 - text);
    }
    return keep;
}

int metrics_open(const char *path, int64_t keep_steps, metrics **ret)
{
    char *text = NULL;
    if (pupil_exists(path)) {
        PUPIL_TRY(pupil_read_file(path, 0, &text, NULL));
        int r = pupil_write_file(path, text, bytes_to_keep(text, keep_steps));
        pupil_free(&text);
        PUPIL_TRY(r);
    }
    FILE *f = fopen(path, "a");
    if (!f) return pupil_fail(PUPIL_EIO, "%s: %s", path, strerror(errno));
    *ret = pupil_alloc(sizeof **ret);
    (*ret)->f = f;
    return 0;
}

void metrics_close(metrics **m)
{
    if (!*m) return;
    fclose((*m)->f);
    pupil_free(m);
}

static void number(pupil_buf *b, const char *key, double x)
{
    pupil_buf_printf(b, "\"%s\":", key);
    pupil_buf_json_num(b, x);
}

void metrics_step(metrics *m, int64_t step, int64_t epoch, double loss, const double *value, const pupil_loss_conf *lc, double lr,
                  double norm, double scale, double pairs_per_s, int ranks, const double seconds[PHASES])
{
    pupil_buf b = {0};
    pupil_buf_printf(&b, "{\"step\":%lld,\"epoch\":%lld,", (long long)step, (long long)epoch);
    number(&b, "loss", loss);
    pupil_buf_puts(&b, ",\"terms\":{");
    for (int i = 0, n = 0; i < PUPIL_TERMS; i++) {
        if (lc->term[i].weight == 0) continue;
        if (n++) pupil_buf_puts(&b, ",");
        number(&b, pupil_term[i].name, value[i]);
    }
    pupil_buf_puts(&b, "},");
    number(&b, "lr", lr);
    pupil_buf_puts(&b, ",");
    number(&b, "grad_norm", norm);
    pupil_buf_puts(&b, ",");
    number(&b, "logit_scale", scale);
    pupil_buf_printf(&b, ",\"pairs_per_s\":%.1f,\"ranks\":%d,\"seconds\":{", pairs_per_s, ranks);
    for (int i = 0; i < PHASES; i++) pupil_buf_printf(&b, "%s\"%s\":%.5f", i ? "," : "", phase_name[i], seconds[i]);
    pupil_buf_puts(&b, "}}\n");
    fwrite(b.s, 1, b.len, m->f);
    fflush(m->f);
    pupil_buf_free(&b);
}
