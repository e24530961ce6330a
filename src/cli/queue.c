/* queue.c: asks squeue for the jobs of a run, by the numbers that were noted when they were handed in. */
#include "queue.h"

#include "pupil/store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

int queue_ask(const char *line, char **ret)
{
    char block[4096];
    pupil_buf out = {0};
    FILE *f = popen(line, "r");
    if (!f) return pupil_fail(PUPIL_EIO, "%s: %s", line, strerror(errno));
    for (size_t n; (n = fread(block, 1, sizeof block, f)) > 0 && out.len < (1 << 24);) pupil_buf_add(&out, block, n);
    int status = pclose(f);
    pupil_buf_add(&out, "", 0);
    if (status == 0) {
        *ret = out.s;
        return 0;
    }
    pupil_buf_free(&out);
    return pupil_fail(PUPIL_EIO, "`%.200s` failed (code %d)%s", line, WIFEXITED(status) ? WEXITSTATUS(status) : -1,
                      WIFEXITED(status) && WEXITSTATUS(status) == 127 ? ": is SLURM installed here?" : "");
}

/* The name that was noted for job "12", "12_3" or "12_[4-7]", or NULL: by its first number, and by its element where
 * one was noted. */
static const char *noted(const pupil_journal *j, const char *id)
{
    const char *name = NULL;
    for (int64_t i = 0; i < j->n; i++) {
        const char *mine = pupil_record_get(&j->record[i], "id"), *called = pupil_record_get(&j->record[i], "name");
        size_t n = mine ? strspn(mine, "0123456789") : 0;
        if (!n || !called || strcmp(j->record[i].kind, "job") || strncmp(mine, id, n) || (id[n] >= '0' && id[n] <= '9')) continue;
        if (!mine[n] || id[n + 1] == '[' || !strcmp(mine, id)) name = called;
    }
    return name;
}

static void take_line(char *line, const pupil_journal *j, queue *q)
{
    char *word[5] = {0}, *save = NULL;
    for (int i = 0; i < 5; i++) word[i] = strtok_r(i ? NULL : line, "|", &save);
    const char *name = word[4] ? noted(j, word[0]) : NULL;
    if (!name) return;
    PUPIL_GROW(q->job, q->n, q->cap);
    queued_job *x = &q->job[q->n++];
    snprintf(x->id, sizeof x->id, "%s", word[0]);
    snprintf(x->state, sizeof x->state, "%s", word[1]);
    snprintf(x->used, sizeof x->used, "%s", word[2]);
    snprintf(x->limit, sizeof x->limit, "%s", word[3]);
    snprintf(x->nodes, sizeof x->nodes, "%s", word[4]);
    snprintf(x->name, sizeof x->name, "%s", name);
}

int queue_of_run(const char *dir, queue *ret)
{
    pupil_journal j = {0};
    char *path = pupil_format("%s/jobs/journal.txt", dir), *said = NULL, line[128], *save = NULL;
    int r = pupil_journal_read(path, &j);
    pupil_free(&path);
    *ret = (queue){0};
    if (r == 0 && j.n) {
        snprintf(line, sizeof line, "squeue -h -u %ld -o '%%i|%%T|%%M|%%l|%%R' 2>/dev/null", (long)getuid());
        ret->silent = queue_ask(line, &said) < 0;
        for (char *one = said ? strtok_r(said, "\n", &save) : NULL; one; one = strtok_r(NULL, "\n", &save)) take_line(one, &j, ret);
    }
    pupil_free(&said);
    pupil_journal_free(&j);
    return r;
}

void queue_free(queue *q) { pupil_free(&q->job); }
