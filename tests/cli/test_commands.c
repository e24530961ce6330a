/* What every command promises: --help with an example, one line and exit code 2 for words it does not know,
 * all mistakes of a configuration with their places, a progress line that fits its terminal. */
#include "program.h"

static char *dir;

static void every_command_helps(void **state)
{
    (void)state;
    static const char *const all[][2] = {{"launch"},
                                         {"run"},
                                         {"plan"},
                                         {"report"},
                                         {"cache", "ls"},
                                         {"cache", "verify"},
                                         {"cache", "check"},
                                         {"cache", "import"},
                                         {"data", "scenes"},
                                         {"data", "index"},
                                         {"data", "inspect"},
                                         {"model", "inspect"},
                                         {"embed"},
                                         {"loss"},
                                         {"tokenize"},
                                         {"preprocess"},
                                         {"version"},
                                         {"help"}};
    program list, p;
    RUN(&list, dir, "help");
    assert_int_equal(list.code, 0);
    for (int i = 0; i < PUPIL_COUNT(all); i++) {
        const char *words[] = {all[i][0], all[i][1] ? all[i][1] : "--help", all[i][1] ? "--help" : NULL,
                               NULL};
        program_begin(&p, dir, words);
        program_end(&p);
        char *usage =
            pupil_format("usage: pupil %s%s%s", all[i][0], all[i][1] ? " " : "", all[i][1] ? all[i][1] : "");
        char *entry = pupil_format("\n  %s ", all[i][0]);
        assert_int_equal(p.code, 0);
        HOLDS(p.out, usage);
        HOLDS(p.out, "\nexample:\n  ");
        HOLDS(list.out, entry);
        assert_string_equal(p.err, "");
        DROP(usage, entry);
        program_free(&p);
    }
    HOLDS(list.out, "Planned, not built in this version: cache build,");
    HOLDS(list.out, "\n  study ");
    program_free(&list);
}

static void help_is_stable(void **state)
{
    (void)state;
    program p;
    RUN(&p, dir, "cache", "verify", "--help");
    assert_string_equal(
        p.out,
        "usage: pupil cache verify [options] DIR...\n\n"
        "Reads every published block and checks sizes, checksums, ids and finiteness. Exit code 1 if "
        "anything is wrong.\n\n"
        "options:\n"
        "  --json                 one JSON object a folder\n"
        "  --drop                 withdraw broken segments, so that the next run computes them again\n\n"
        "example:\n  pupil cache verify runs/quickstart/cache\n");
    program_free(&p);
}

static void pages_are_there(void **state)
{
    (void)state;
    static const char *const page[][2] = {{"config", "student.train.steps"},
                                          {"losses", "CE(D, s v t^T)"},
                                          {"cache", "journal.txt"},
                                          {"import", "image_embeddings"},
                                          {"formats", "model.safetensors"},
                                          {"jobs", "srun"}};
    program p;
    for (int i = 0; i < PUPIL_COUNT(page); i++) {
        RUN(&p, dir, "help", page[i][0]);
        assert_int_equal(p.code, 0);
        HOLDS(p.out, page[i][1]);
        program_free(&p);
    }
}

static void wrong_words_cost_one_line(void **state)
{
    (void)state;
    static const struct {
        const char *words[6], *says;
    } wrong[] = {
        {{"lunch", "x"}, "there is no command `pupil lunch`, did you mean `pupil launch`?"},
        {{"cache", "verifi"}, "there is no command `pupil cache verifi`, did you mean `pupil cache verify`?"},
        {{"xyzzy"}, "there is no command `pupil xyzzy` (`pupil help` lists them)"},
        {{"launch", "--dryrun", "x"}, "pupil launch: unknown option --dryrun, did you mean --dry-run?"},
        {{"plan", "--xyzzy", "x"}, "pupil plan: unknown option --xyzzy (`pupil plan --help` lists them)"},
        {{"plan", "-j", "x"}, "pupil plan: unknown option -j"},
        {{"plan"}, "pupil plan: CONF is missing"},
        {{"plan", "a.yaml", "b.yaml"}, "'b.yaml' is one argument too many"},
        {{"plan", "--ranks", "two", "x"}, "--ranks two: a whole number from 1 was expected"},
        {{"plan", "--ranks=0", "x"}, "--ranks 0: a whole number from 1 was expected"},
        {{"plan", "x", "--ranks"}, "--ranks needs a value"},
        {{"plan", "--json=1", "x"}, "--json takes no value"},
        {{"cache", "export", "x"}, "`pupil cache export` is planned but not built"},
        {{"cache", "import", "x"}, "--from PATH is missing"},
        {{"cache", "check", "--tolerance", "2", "x"}, "--tolerance 2: a number above 0, up to 1, was expected"},
        {{"help", "nothing"}, "there is no page 'nothing'"},
        {{"embed", "--model", "x"}, "pupil embed: --out OUT.h5 is missing"},
        {{"tokenize"}, "one of --model DIR, --tokenizer PATH and --merges FILE was expected"},
        {{"data", "scenes"}, "--out DIR is missing"},
        {{"data", "inspect", "--split", "dev", "x"}, "--split dev: train or test was expected"},
    };
    program p;
    for (int i = 0; i < PUPIL_COUNT(wrong); i++) {
        program_begin(&p, dir, wrong[i].words);
        program_end(&p);
        CHECK(p.code == 2, "pupil %s %s: exit code %d", wrong[i].words[0], wrong[i].words[1], p.code);
        HOLDS(p.err, wrong[i].says);
        CHECK(!strncmp(p.err, "error: ", 7), "%s", p.err);
        assert_int_equal(lines_of(p.err), 1);
        assert_string_equal(p.out, "");
        program_free(&p);
    }
}

static void without_a_command(void **state)
{
    (void)state;
    program p;
    program_begin(&p, dir, (const char *const[]){NULL});
    program_end(&p);
    assert_int_equal(p.code, 2);
    HOLDS(p.err, "usage: pupil COMMAND");
    program_free(&p);
    RUN(&p, dir, "cache");
    assert_int_equal(p.code, 2);
    HOLDS(p.err, "pupil cache verify");
    program_free(&p);
}

static void all_mistakes_of_a_file(void **state)
{
    (void)state;
    static const char *const command[] = {"plan", "launch", "run"};
    char *conf =
        write_text(dir, "wrong.yaml", "run:\n  dir: x\nstudent:\n  train:\n    stepz: 3\n    lr: fast\n");
    char *first = pupil_format("%s:5:5: ", conf), *second = pupil_format("%s:6:", conf);
    program p;
    for (int i = 0; i < PUPIL_COUNT(command); i++) {
        RUN(&p, dir, command[i], conf);
        assert_int_equal(p.code, 2);
        HOLDS(p.err, first);
        HOLDS(p.err, second);
        HOLDS(p.err, "'student.train.steps'?");
        HOLDS(p.err, "nothing was started");
        program_free(&p);
    }
    DROP(conf, first, second);
}

static void missing_things_are_named(void **state)
{
    (void)state;
    static const char *const words[][5] = {
        {"model", "inspect", "/nowhere"},
        {"cache", "ls", "/nowhere"},
        {"report", "/nowhere"},
        {"tokenize", "--merges", "/nowhere"},
        {"preprocess", "--model", "/nowhere", "x.png", "--out=/nowhere/x"}};
    program p;
    for (int i = 0; i < PUPIL_COUNT(words); i++) {
        const char *w[6] = {words[i][0], words[i][1], words[i][2], words[i][3], words[i][4], NULL};
        program_begin(&p, dir, w);
        program_end(&p);
        CHECK(p.code == 1 || p.code == 2, "pupil %s: exit code %d", w[0], p.code);
        HOLDS(p.err, "/nowhere");
        assert_int_equal(lines_of(p.err), 1);
        program_free(&p);
    }
}

/* The progress line of a program whose stderr is a pipe that somebody shows on a terminal of 20 columns. */
static void progress_fits_its_terminal(void **state)
{
    (void)state;
    int fd[2], status;
    char got[256] = "";
    assert_int_equal(pipe(fd), 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(fd[1], STDERR_FILENO);
        setenv("PUPIL_TTY", "20", 1);
        pupil_progress(true, "a line that is far too long for it");
        _exit(0);
    }
    close(fd[1]);
    waitpid(pid, &status, 0);
    CHECK(read(fd[0], got, sizeof got - 1) > 0, "no progress line");
    close(fd[0]);
    assert_string_equal(got, "\ra line that is far \033[K\n");
}

/* The official accuracy file, byte for byte, and what a malformed file costs. */
static void results_are_scored(void **state)
{
    (void)state;
    const char *oracle = getenv("PUPIL_ORACLE");
    char *vqa = pupil_format("%s/vqa", oracle ? oracle : "");
    if (!oracle || !pupil_is_dir(vqa)) {
        print_message("skipped: %s is not here (PUPIL_ORACLE)\n", vqa);
        skip();
    }
    char *questions = pupil_join(vqa, "questions.json"), *annotations = pupil_join(vqa, "annotations.json"),
         *results = pupil_join(vqa, "results.json"), *out = pupil_join(dir, "scores.json"), *got,
         *bad = write_text(dir, "bad.json", "[{\"question_id\": 1, \"answer\": \"yes\"}]");
    program p;
    RUN(&p, dir, "eval", "--results", results, "--questions", questions, "--annotations", annotations, "--json", "--out", out);
    CHECK(p.code == 0, "%s", p.err);
    GOOD(pupil_read_file(out, 0, &got, NULL));
    HOLDS(got, "{\"overall\": 73.37, \"perQuestionType\": {\"what time is it\": 74.29, \"why\": 73.94, ");
    CHECK(!strncmp(p.out, got, strlen(got)) && !strcmp(p.out + strlen(got), "\n"), "printed: %s", p.out);
    program_free(&p);
    RUN(&p, dir, "eval", "--results", bad, "--questions", questions, "--annotations", annotations);
    CHECK(p.code == 2 && lines_of(p.err) == 1, "%d: %s", p.code, p.err);
    HOLDS(p.err, "bad.json:1: 1 is no question's");
    program_free(&p);
    RUN(&p, dir, "eval");
    CHECK(p.code == 2 && lines_of(p.err) == 1, "%d: %s", p.code, p.err);
    program_free(&p);
    DROP(vqa, questions, annotations, results, out, got, bad);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_command_helps),      cmocka_unit_test(help_is_stable),
        cmocka_unit_test(pages_are_there),          cmocka_unit_test(wrong_words_cost_one_line),
        cmocka_unit_test(without_a_command),        cmocka_unit_test(all_mistakes_of_a_file),
        cmocka_unit_test(missing_things_are_named), cmocka_unit_test(progress_fits_its_terminal),
        cmocka_unit_test(results_are_scored),
    };
    dir = folder_new();
    int r = cmocka_run_group_tests(tests, NULL, NULL);
    folder_end(&dir);
    return r;
}
