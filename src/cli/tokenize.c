/* tokenize.c: the ids a text tower would be given, one list a line, to compare with other code. */
#include "cli.h"

#include "pupil/data.h"
#include "pupil/model.h"

#include <stdlib.h>

static int tokenize_lines(const pupil_tokenizer *t, FILE *in, int context)
{
    int32_t *ids = pupil_alloc((size_t)context * sizeof *ids);
    char *line = NULL;
    size_t cap = 0;
    for (ssize_t n; (n = getline(&line, &cap, in)) >= 0;) {
        while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r')) line[--n] = 0;
        int k = pupil_tokenizer_encode(t, line, context, ids);
        for (int i = 0; i < k; i++) printf("%s%d", i ? ", " : "[", ids[i]);
        puts("]");
    }
    free(line);
    pupil_free(&ids);
    return ferror(in) ? pupil_fail(PUPIL_EIO, "the text could not be read") : 0;
}

int cmd_tokenize(int argc, char **argv)
{
    const char *model = NULL, *file = NULL, *merges = NULL;
    int64_t context = 0;
    const cli_option options[] = {
        {"model", CLI_TEXT, &model, "DIR", "use DIR's tokenizer and the context length of DIR's config"},
        {"tokenizer", CLI_TEXT, &file, "PATH",
         "merges.txt, bpe_simple_vocab_16e6.txt(.gz), tokenizer.json, spiece.model, or a folder with one of "
         "them"},
        {"merges", CLI_TEXT, &merges, "FILE", "the same, for CLIP's merges"},
        {"context", CLI_COUNT, &context, "N", "cut at N ids (default: the model's, else 77)"},
    };
    const cli_spec spec = {"tokenize",
                           "[FILE]",
                           "Prints the ids of each line of FILE (or of standard input) as one JSON list a "
                           "line. CLIP: start, text, end; not padded.\nSentencePiece: text, end, padding.",
                           "echo 'a red circle' | pupil tokenize --model runs/quickstart",
                           options,
                           PUPIL_COUNT(options),
                           0,
                           1};
    char **args;
    int n, r = cli_parse(&spec, argc, argv, &args, &n);
    if (r) return r;
    if (!model + !file + !merges != 2)
        return pupil_fail(
            PUPIL_EUSER,
            "pupil tokenize: one of --model DIR, --tokenizer PATH and --merges FILE was expected");
    pupil_arch arch = {.context = 77};
    if (model) PUPIL_TRY(pupil_model_dir_arch(model, &arch));
    if (!context) context = arch.context;
    if (context < 2 || context > 1 << 20)
        return pupil_fail(PUPIL_EUSER, "pupil tokenize: --context %lld: 2 to 1048576 was expected",
                          (long long)context);
    pupil_tokenizer *t = NULL;
    r = pupil_tokenizer_open(model ? model : file ? file : merges, &t);
    FILE *in = n ? fopen(args[0], "r") : stdin;
    if (r == 0 && !in) r = pupil_fail(PUPIL_EUSER, "%s: cannot be opened", args[0]);
    if (r == 0) r = tokenize_lines(t, in, (int)context);
    if (n && in) fclose(in);
    pupil_tokenizer_free(&t);
    return r;
}
