/* Any bytes as a results file, or as GQA's choices, for questions of every format. What is read answers questions
 * of the set; what is not read is refused in one line. */
#include "folder.h"

#include "pupil/eval.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

#define Q "\"image\": \"a\", \"question\": \"?\""
static const char *const questions[] = {
    "{\"data\": [{\"question_id\": 1, \"image_id\": \"a\", \"question\": \"?\", \"answers\": [\"yes\"]}, "
    "{\"question_id\": 2, \"image_id\": \"a\", \"question\": \"?\", \"answers\": [\"no\", \"2\"]}]}",
    "[{" Q ", \"answer_type\": \"other\", \"answers\": [\"yes\"]}]",
    "{\"1\": {\"imageId\": \"a\", \"question\": \"?\", \"answer\": \"yes\", \"types\": {\"structural\": \"query\", \"detailed\": \"twoCommon\"}, "
    "\"entailed\": [\"1\", \"2\"]}, \"2\": {\"imageId\": \"a\", \"question\": \"?\", \"answer\": \"no\", \"types\": {\"structural\": \"verify\"}, "
    "\"isBalanced\": false}}",
    "{\"id\": 1, " Q ", \"choices\": [\"yes\", \"no\"], \"answer\": \"A\"}\n{\"id\": 2, " Q ", \"choices\": [\"yes\", \"no\"], \"answer\": 1}\n",
    "{\"question_id\": 1, \"image\": \"a\", \"text\": \"?\", \"label\": \"yes\"}\n{\"question_id\": 2, \"image\": \"a\", \"text\": \"?\", \"label\": \"no\"}\n",
};

static void score(const pupil_vqa_set *set, const pupil_vqa_results *a, const char *path)
{
    uint8_t valid[2], plausible[2];
    pupil_score s;
    pupil_buf out = {0};
    bool gqa = set->format == PUPIL_VQA_GQA && pupil_vqa_choices_check(path, set, a->answer, valid, plausible) == 0;
    pupil_score_answers(set, &(pupil_answered){a->answer, a->answerable, gqa ? valid : NULL, gqa ? plausible : NULL}, 0, &s);
    PUPIL_REQUIRE(s.n <= set->n && s.accuracy >= 0 && s.accuracy <= 100 + 1e-9);
    pupil_score_json(&s, &out);
    pupil_score_text(&s, &out);
    pupil_buf_free(&out);
    pupil_score_free(&s);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    static pupil_vqa_set *set[PUPIL_COUNT(questions)];
    for (int k = 0; k < PUPIL_COUNT(questions) && !set[k]; k++) {
        const char *path = fuzz_file("questions", questions[k], strlen(questions[k]));
        PUPIL_REQUIRE(pupil_vqa_load(&(pupil_conf_vqa_files){(char *)(uintptr_t)path, NULL, PUPIL_VQA_AUTO}, &set[k]) == 0);
    }
    const char *path = fuzz_file("results", bytes, n);
    for (int k = 0; k < PUPIL_COUNT(questions); k++) {
        pupil_vqa_results a;
        int r = pupil_vqa_results_read(path, set[k], true, &a);
        if (r < 0) {
            PUPIL_REQUIRE(r == PUPIL_EFORMAT && !strchr(pupil_reason(), '\n'));
            continue;
        }
        PUPIL_REQUIRE(a.n == set[k]->n && a.missing < a.n);
        score(set[k], &a, path);
        pupil_vqa_results_free(&a);
    }
    return 0;
}
