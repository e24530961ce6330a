/* cache.c: what a teacher cache holds, whether every byte of it is what was published, and embeddings that come
 * from elsewhere. */
#include "cli.h"

#include "pupil/role.h"
#include "pupil/store.h"

#include <stdlib.h>
#include <string.h>

static int cmd_ls(int argc, char **argv)
{
    bool json = false;
    const cli_option options[] = {{"json", CLI_FLAG, &json, NULL, "one JSON object a folder"}};
    const cli_spec spec = {
        "cache ls",
        "DIR...",
        "Shows what a cache is (teacher, data, preprocessing, tokenizer) and how much of it is published.",
        "pupil cache ls runs/quickstart/cache",
        options,
        PUPIL_COUNT(options),
        1,
        -1};
    char **args;
    int n, r = cli_parse(&spec, argc, argv, &args, &n);
    for (int i = 0; i < n && r == 0; i++) {
        pupil_cache *c = NULL;
        pupil_buf out = {0};
        r = pupil_cache_open_any(args[i], &c);
        if (r == 0) r = pupil_cache_describe(c, json, &out);
        if (r == 0) printf("%s%s", out.s, out.s[out.len - 1] == '\n' ? "" : "\n");
        pupil_cache_free(&c);
        pupil_buf_free(&out);
    }
    return r;
}

static void print_problems(const char *dir, const pupil_buf *lines, int64_t problems, int64_t dropped,
                           int64_t blocks, bool json)
{
    if (!json) {
        fputs(lines->s ? lines->s : "", stdout);
        if (problems == 0) printf("%s: %lld blocks read, every checksum holds\n", dir, (long long)blocks);
        if (dropped)
            printf("%s: %lld broken segment%s dropped; the next run computes their blocks again\n", dir,
                   (long long)dropped, dropped == 1 ? "" : "s");
        return;
    }
    pupil_buf out = {0};
    pupil_buf_puts(&out, "{\"dir\": ");
    pupil_buf_json(&out, dir);
    pupil_buf_printf(&out, ", \"blocks\": %lld, \"problems\": %lld, \"dropped\": %lld, \"lines\": ",
                     (long long)blocks, (long long)problems, (long long)dropped);
    pupil_buf_json(&out, lines->s ? lines->s : "");
    printf("%s}\n", out.s);
    pupil_buf_free(&out);
}

/* One folder; with `drop`, broken segments are withdrawn and the cache counts as mended. */
static int verify(const char *dir, bool json, bool drop)
{
    pupil_cache *c = NULL;
    pupil_buf lines = {0};
    int64_t problems = 0, dropped = 0, blocks = 0;
    int r = pupil_cache_open_any(dir, &c);
    if (r == 0) blocks = pupil_cache_blocks_have(c);
    if (r == 0) r = pupil_cache_verify(c, &lines, &problems);
    if (r == 0 && drop && problems > 0) r = pupil_cache_drop_broken(c, &dropped);
    if (r == 0) print_problems(dir, &lines, problems, dropped, blocks, json);
    if (r == 0 && problems > 0 && !drop)
        r = pupil_fail(PUPIL_ECRC,
                       "%s: %lld problem%s; `pupil cache verify --drop %s` withdraws the broken segments, "
                       "and the next run "
                       "computes them again",
                       dir, (long long)problems, problems == 1 ? "" : "s", dir);
    pupil_cache_free(&c);
    pupil_buf_free(&lines);
    return r;
}

static int cmd_verify(int argc, char **argv)
{
    bool json = false, drop = false;
    const cli_option options[] = {
        {"json", CLI_FLAG, &json, NULL, "one JSON object a folder"},
        {"drop", CLI_FLAG, &drop, NULL, "withdraw broken segments, so that the next run computes them again"},
    };
    const cli_spec spec = {"cache verify",
                           "DIR...",
                           "Reads every published block and checks sizes, checksums, ids and finiteness. "
                           "Exit code 1 if anything is "
                           "wrong.",
                           "pupil cache verify runs/quickstart/cache",
                           options,
                           PUPIL_COUNT(options),
                           1,
                           -1};
    char **args;
    int n, r = cli_parse(&spec, argc, argv, &args, &n), worst = 0;
    if (r) return r;
    for (int i = 0; i < n; i++) {
        r = verify(args[i], json, drop);
        if (r < 0 && worst < 0)
            pupil_log(PUPIL_LOG_ERROR, "%s", pupil_reason()); /* the first one is main()'s to say */
        if (r < 0 && worst == 0) worst = r;
    }
    return worst;
}

static int cmd_import(int argc, char **argv)
{
    cli_list sets = {0}, from = {0};
    const char *provenance = NULL;
    const cli_option options[] = {
        {"from", CLI_LIST, &from, "PATH", "an HDF5 file, a folder of them, or a folder of .npy files (repeatable)"},
        {"provenance", CLI_TEXT, &provenance, "YAML", "what the files do not tell of the teacher themselves"},
        {"set", CLI_LIST, &sets, "KEY=VALUE", "override one setting (repeatable)"},
    };
    const cli_spec spec = {"cache import",
                           "CONF",
                           "Fills cache.dir with embeddings that were made elsewhere, found by the keys of the training samples. All "
                           "rows are checked\nbefore anything is written; the same command again goes on where it was stopped. "
                           "`pupil help import` describes the files.",
                           "pupil cache import conf/my.yaml --from features/",
                           options,
                           PUPIL_COUNT(options),
                           1,
                           1};
    char **args;
    int n, r = cli_parse(&spec, argc, argv, &args, &n);
    pupil_conf *conf = NULL;
    if (r == 0 && from.n == 0)
        r = pupil_fail(PUPIL_EUSER, "pupil cache import: --from PATH is missing: the file or folder with the embeddings");
    if (r == 0) r = cli_load_conf(args[0], &sets, &conf);
    if (r == 0) {
        pupil_signals_catch();
        r = pupil_role_import(conf, from.item, from.n, provenance);
    }
    pupil_conf_free(&conf);
    cli_list_free(&sets);
    cli_list_free(&from);
    return r;
}

static const char *const side_name[2] = {"image", "text"};

static void print_check(const pupil_check *c, bool json)
{
    if (json)
        printf("{\"rows\": %lld, \"blocks\": %lld, \"blocks_have\": %lld, \"imported\": %s, \"dtype\": \"%s\", \"tolerance\": %g",
               (long long)c->rows, (long long)c->blocks, (long long)c->blocks_have, c->imported ? "true" : "false", c->dtype,
               c->tolerance);
    else
        printf("%lld rows of %lld published blocks (of %lld), %s%s, computed again; allowed: %s%g x root mean square of the row\n",
               (long long)c->rows, (long long)c->blocks_have, (long long)c->blocks, c->imported ? "imported, " : "", c->dtype,
               strcmp(c->dtype, "f32") ? "its rounding + " : "", c->tolerance);
    for (int s = 0; s < 2; s++) {
        const pupil_check_side *x = &c->side[s];
        pupil_buf key = {0};
        pupil_buf_json(&key, x->worst_key);
        printf(json ? ", \"%s\": {\"max_error\": %.9g, \"min_cosine\": %.9g, \"worst\": %.6g, \"failed\": %lld, \"worst_key\": %s}"
                    : "  %-6s largest difference %.3g   least cosine %.8f   beyond rounding %.3g of what is allowed   %lld rows fail   worst row %s\n",
               side_name[s], x->max_error, x->min_cosine, x->worst, (long long)x->failed, key.s);
        pupil_buf_free(&key);
    }
    if (json) printf("}\n");
}

/* The verdict, once the numbers are printed. */
static int judge(const char *dir, const pupil_check *c)
{
    for (int s = 0; s < 2; s++)
        if (c->side[s].failed)
            return pupil_fail(PUPIL_ENUMERIC, "%s: %lld of %lld %s rows are not what the teacher computes; the worst is that of %s", dir,
                              (long long)c->side[s].failed, (long long)c->rows, side_name[s], c->side[s].worst_key);
    return 0;
}

static int cmd_check(int argc, char **argv)
{
    cli_list sets = {0};
    int64_t rows = 64, seed = 1;
    const char *tolerance = NULL;
    bool json = false;
    const cli_option options[] = {
        {"rows", CLI_COUNT, &rows, "K", "how many random rows (default 64)"},
        {"seed", CLI_COUNT, &seed, "N", "which rows (default 1)"},
        {"tolerance", CLI_TEXT, &tolerance, "X", "share of a row's root mean square (default 1e-4; 0.25 for imported embeddings)"},
        {"json", CLI_FLAG, &json, NULL, "one JSON object"},
        {"set", CLI_LIST, &sets, "KEY=VALUE", "override one setting (repeatable)"},
    };
    const cli_spec spec = {"cache check",
                           "CONF",
                           "Computes random rows of the cache again with the teacher of the settings, and compares. Exit code 1 if a row "
                           "differs by more\nthan rounding. A part-filled cache will do; one of another teacher or of other data is refused.",
                           "pupil cache check conf/my.yaml --rows 256",
                           options,
                           PUPIL_COUNT(options),
                           1,
                           1};
    char **args, *end = NULL;
    int n, r = cli_parse(&spec, argc, argv, &args, &n);
    double share = r == 0 && tolerance ? strtod(tolerance, &end) : 0;
    pupil_conf *conf = NULL;
    pupil_check c;
    if (r == 0 && tolerance && (*end || end == tolerance || !(share > 0 && share <= 1)))
        r = pupil_fail(PUPIL_EUSER, "pupil cache check: --tolerance %s: a number above 0, up to 1, was expected", tolerance);
    if (r == 0) r = cli_load_conf(args[0], &sets, &conf);
    if (r == 0) {
        cli_best_kernel();
        cli_set_threads(conf->ranks.threads);
        r = pupil_role_check(conf, rows, (uint64_t)seed, share, &c);
    }
    if (r == 0) {
        print_check(&c, json);
        r = judge(conf->cache.dir, &c);
        pupil_check_free(&c);
    }
    pupil_conf_free(&conf);
    cli_list_free(&sets);
    return r;
}

int cmd_cache(int argc, char **argv)
{
    static const cli_command verbs[] = {
        {"ls", cmd_ls, "what a cache is and how much of it is there"},
        {"verify", cmd_verify, "read every block, check every checksum"},
        {"check", cmd_check, "compute random rows again and compare"},
        {"import", cmd_import, "a cache from embeddings that were made elsewhere"},
    };
    return cli_family("cache", verbs, PUPIL_COUNT(verbs), argc, argv);
}
