/* eval.c: `pupil eval`: scores. Of a results file by the official rules of its data set, whoever made it; or of models on the
 * data of a configuration, on all ranks. */
#include "cli.h"

#include "pupil/data.h"
#include "pupil/eval.h"
#include "pupil/role.h"

#include <string.h>

typedef struct {
    const char *results, *questions, *annotations, *format, *choices, *out;
    bool json, subset;
} wish;

static int format_of(const char *name, pupil_vqa_format *ret)
{
    static const struct {
        const char *name;
        pupil_vqa_format format;
    } known[] = {{"auto", PUPIL_VQA_AUTO},       {"vqav2", PUPIL_VQA_V2},
                 {"okvqa", PUPIL_VQA_V2},        {"textvqa", PUPIL_VQA_TEXTVQA},
                 {"vizwiz", PUPIL_VQA_VIZWIZ},   {"gqa", PUPIL_VQA_GQA},
                 {"pope", PUPIL_VQA_POPE},       {"multiple_choice", PUPIL_VQA_MULTIPLE_CHOICE}};
    for (int k = 0; k < PUPIL_COUNT(known); k++)
        if (!strcmp(known[k].name, name)) {
            *ret = known[k].format;
            return 0;
        }
    return pupil_fail(PUPIL_EUSER, "pupil eval: --format %s: expected auto, vqav2, okvqa, textvqa, vizwiz, gqa, pope or "
                                   "multiple_choice", name);
}

static int give(const wish *w, const pupil_score *s)
{
    pupil_buf json = {0}, text = {0};
    pupil_score_json(s, &json);
    pupil_score_text(s, &text);
    int r = w->out ? pupil_write_file(w->out, json.s, json.len) : 0;
    if (r == 0) printf("%s%s", w->json ? json.s : text.s, w->json ? "\n" : "");
    pupil_buf_free(&json);
    pupil_buf_free(&text);
    return r;
}

static int score_set(const wish *w, const pupil_vqa_set *set)
{
    pupil_vqa_results results;
    pupil_score score;
    PUPIL_TRY(pupil_vqa_results_read(w->results, set, w->subset, &results));
    uint8_t *valid = NULL, *plausible = NULL;
    int r = 0;
    if (w->choices) {
        valid = pupil_alloc((size_t)set->n);
        plausible = pupil_alloc((size_t)set->n);
        r = set->format == PUPIL_VQA_GQA ? pupil_vqa_choices_check(w->choices, set, results.answer, valid, plausible)
                                         : pupil_fail(PUPIL_EUSER, "pupil eval: --choices is for GQA; these questions are %s",
                                                      pupil_vqa_format_name(set->format));
    }
    if (r == 0) {
        pupil_score_answers(set, &(pupil_answered){results.answer, results.answerable, valid, plausible}, 0, &score);
        r = give(w, &score);
        pupil_score_free(&score);
    }
    pupil_free(&valid);
    pupil_free(&plausible);
    pupil_vqa_results_free(&results);
    return r;
}

static int score_results(const wish *w)
{
    pupil_conf_vqa_files files = {(char *)(uintptr_t)w->questions, (char *)(uintptr_t)w->annotations, PUPIL_VQA_AUTO};
    pupil_vqa_set *set = NULL;
    if (!w->questions) return pupil_fail(PUPIL_EUSER, "pupil eval: --results needs --questions FILE; see `pupil eval --help`");
    PUPIL_TRY(format_of(w->format, &files.format));
    int r = pupil_vqa_load(&files, &set);
    if (r == 0) r = score_set(w, set);
    pupil_vqa_free(&set);
    return r == PUPIL_EFORMAT ? PUPIL_EUSER : r; /* the files are what the user gives */
}

static int score_models(const pupil_conf *conf, void *models)
{
    const cli_list *m = models;
    return pupil_role_score(conf, m->item, m->n);
}

int cmd_eval(int argc, char **argv)
{
    wish w = {.format = "auto"};
    cli_list sets = {0}, models = {0};
    const cli_option options[] = {
        {"model", CLI_LIST, &models, "DIR", "with CONF: a model folder (repeatable); none: the student in run.dir"},
        {"set", CLI_LIST, &sets, "KEY=VALUE", "with CONF: override one setting (repeatable)"},
        {"results", CLI_TEXT, &w.results, "FILE", "answers in the data set's results format, whoever made them"},
        {"questions", CLI_TEXT, &w.questions, "FILE", "the questions they answer"},
        {"annotations", CLI_TEXT, &w.annotations, "FILE", "VQA v2 and OK-VQA: the annotations"},
        {"format", CLI_TEXT, &w.format, "NAME",
         "auto, vqav2, okvqa, textvqa, vizwiz, gqa, pope or multiple_choice; auto: as the questions' content says"},
        {"choices", CLI_TEXT, &w.choices, "FILE", "GQA: the choices file, for validity and plausibility"},
        {"subset", CLI_FLAG, &w.subset, NULL, "score the questions that have an answer; without it each must have one"},
        {"json", CLI_FLAG, &w.json, NULL, "print one JSON object"},
        {"out", CLI_TEXT, &w.out, "FILE", "write that JSON to a file; of VQA v2 it is the official accuracy file"},
    };
    const cli_spec spec = {"eval",
                           "[CONF]",
                           "With --results: scores of a results file by the official rules of its data set: VQA v2, OK-VQA, TextVQA, "
                           "VizWiz, GQA, POPE or multiple choice.\nWith CONF: scores of models, and of the teachers of CONF beside them, on "
                           "its held-out data, under the protocols of eval.*: rows with intervals in results.jsonl of run.dir. Alone or "
                           "under mpirun; what is known already is not computed again.",
                           "pupil eval --results runs/quickstart/vqa_results.json --questions q.json --annotations a.json\n"
                           "  mpirun -n 4 --bind-to none pupil eval conf/quickstart.yaml --model runs/quickstart --model runs/other",
                           options,
                           PUPIL_COUNT(options),
                           0,
                           1};
    char **args;
    int n, r = cli_parse(&spec, argc, argv, &args, &n);
    bool ranks = n == 1;
    if (r) {
        cli_said = cli_env_rank() != 0;
    } else if (ranks == (w.results != NULL)) {
        r = pupil_fail(PUPIL_EUSER, "pupil eval: expected either --results FILE or CONF; see `pupil eval --help`");
    } else if (ranks) {
        r = cli_on_ranks(args[0], &sets, &argc, &argv, score_models, &models);
    } else {
        r = score_results(&w);
    }
    cli_list_free(&sets);
    cli_list_free(&models);
    return r;
}
