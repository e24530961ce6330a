/* Any bytes as a file of questions in each format, about scenes' stand-in: pictures named by the process's
 * own files 0, 1 and 2. A set that is read is whole. */
#include "dataset.h"
#include "vqa.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static pupil_dataset *pictures(void)
{
    static char *root = (char *)(uintptr_t) "/proc/self/fdinfo";
    pupil_dataset *d = pupil_alloc(sizeof *d);
    d->source = PUPIL_SOURCE_CSV;
    files_builder *b = files_begin(&root, 1, &d->left_out[PUPIL_TEST]);
    for (int i = 0; i < 3; i++) files_add(b, (char[]){(char)('0' + i), 0}, "a caption", 9, -1, "none", 1);
    d->files[PUPIL_TEST] = files_end(&b);
    PUPIL_REQUIRE(pupil_dataset_count(d, PUPIL_TEST) == 3);
    return d;
}

static void check(const pupil_vqa_set *s)
{
    PUPIL_REQUIRE(s->n > 0);
    for (int64_t i = 0; i < s->n; i++) {
        const pupil_vqa_question *q = &s->q[i];
        PUPIL_REQUIRE(q->image >= 0 && q->image < 3 && q->question && q->question_type && q->answer_type &&
                      q->answer && q->id);
        PUPIL_REQUIRE(q->n_answers >= 1 && q->n_answers <= 10);
        for (int k = 0; k < 10; k++) PUPIL_REQUIRE(q->answers[k]);
        PUPIL_REQUIRE((s->format == PUPIL_VQA_MULTIPLE_CHOICE) == (q->choices != NULL));
        if (q->choices)
            PUPIL_REQUIRE(q->correct >= 0 && q->correct < q->n_choices &&
                          q->answer == q->choices[q->correct]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    static pupil_dataset *d;
    char path[64];
    if (!d) {
        d = pictures();
        pupil_log_set_level(PUPIL_LOG_ERROR);
    }
    int fd = memfd_create("fuzz.questions", MFD_CLOEXEC);
    PUPIL_REQUIRE(fd >= 0 && write(fd, bytes, n) == (ssize_t)n);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    for (int f = PUPIL_VQA_AUTO; f <= PUPIL_VQA_POPE;
         f++) { /* VQA v2's two lists may be in one file */
        vqa_owner *o = pupil_alloc(sizeof *o);
        pupil_vqa_set *set = &o->set;
        int r =
            vqa_read(d, PUPIL_TEST,
                     &(pupil_conf_vqa_files){path, f == PUPIL_VQA_V2 ? path : NULL, (pupil_vqa_format)f}, o);
        if (r == 0) check(set);
        else PUPIL_REQUIRE((r == PUPIL_EFORMAT || r == PUPIL_EUSER) && !strchr(pupil_reason(), '\n'));
        pupil_vqa_free(&set);
    }
    close(fd);
    return 0;
}
