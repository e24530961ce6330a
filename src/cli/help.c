/* help.c: `pupil help` and its reference pages. The page on settings is printed from the schema table itself.
 */
#include "cli.h"

#include <string.h>

static const char page_cache[] =
    "A teacher cache is a folder of teacher embeddings, computed once and read by every student.\n"
    "\n"
    "What it holds\n"
    "  identity.txt   what the cache is: teacher weights, architecture, preprocessing, tokenizer, data set, "
    "dtype\n"
    "  journal.txt    one line a published segment, each with its own checksum; only these lines are "
    "believed\n"
    "  seg-*.h5       segments: pooled image and text embeddings before normalisation, one HDF5 chunk a "
    "block\n"
    "\n"
    "What it promises\n"
    "  whole or not there   a segment is written aside, closed, synced, renamed, and only then named in the "
    "journal; a\n"
    "                       killed job leaves nothing that a reader would take for data\n"
    "  checked              every block read from disk is checked: CRC-32C, ids, shape, finite values\n"
    "  of known origin      a run states what it expects; another teacher, tokenizer or data set is refused "
    "with the\n"
    "                       fields that differ\n"
    "  one writer at a time a job that was replaced may go on writing, but is no longer believed\n"
    "  resumed              published blocks are never computed twice; only missing ones are\n"
    "\n"
    "Commands\n"
    "  pupil cache ls DIR              what it is, how much is published\n"
    "  pupil cache verify DIR          reads every block; exit code 1 if one is broken\n"
    "  pupil cache verify --drop DIR   withdraws broken segments, so that the next run computes them again\n"
    "  pupil cache check CONF          computes random rows again with the teacher; exit code 1 if they "
    "differ\n"
    "  pupil cache import CONF --from PATH   embeddings that were made elsewhere (pupil help import)\n"
    "\n"
    "What the bits of an embedding depend on\n"
    "  teachers work in runs of a fixed size inside a block, so a block has the same bytes on any number of ranks, "
    "with the\n"
    "  same OpenBLAS kernel and threads. In another batch size or company a value moves by up to 5e-6 of its "
    "row's root mean\n"
    "  square; the check allows 1e-4 of it and float16's rounding, and 0.25 for imported embeddings.\n";

static const char page_import[] =
    "Embeddings of a teacher that was run elsewhere, on GPUs, become a cache:\n"
    "\n"
    "  there   python3 tools/export-teacher.py --model hf-hub:ORG/NAME --shards 'train-{000..127}.tar' "
    "--precision fp16 --out features/\n"
    "  here    pupil cache import conf/my.yaml --from features/\n"
    "          pupil launch conf/my.yaml\n"
    "\n"
    "The settings need data and cache.dir, but no teacher.dir: width, logit scale and name come from the cache. With "
    "a\n"
    "teacher.dir the teacher is scored, too, and `pupil cache check` can compute rows again.\n"
    "\n"
    "--from (repeatable)\n"
    "  an HDF5 file, or a folder of them (*.h5, *.hdf5), each with\n"
    "    image_embeddings [N, D]   float16 or float32, pooled and projected, before normalisation\n"
    "    text_embeddings  [N, D]   of each sample's first caption\n"
    "    keys             [N]      text\n"
    "  or a folder with image_embeddings.npy, text_embeddings.npy and keys.txt (one a line) or keys.json (a list)\n"
    "  Rows may come in any order, in any number of files. Those of no training sample are left out.\n"
    "\n"
    "A key is what `pupil data inspect` shows\n"
    "  webdataset          the member's name up to the last dot of its file name\n"
    "  csv, coco, folder   the file's path below its root without the extension\n"
    "  scenes              scene-000123\n"
    "\n"
    "What is told of the teacher: attributes of / in the HDF5 files, or `key: value` lines of --provenance YAML\n"
    "  must be told   teacher (its name), logit_scale (after exp)\n"
    "  may be told    logit_bias, normalized (default false), view (default whole picture), dim, weights (64 hex "
    "digits),\n"
    "                 image_size, mean, std, interpolation, resize_mode, tokenizer, context_length, precision, "
    "software\n"
    "\n"
    "Checked before anything is written: shapes, number formats, values, zero and equal rows, keys that come twice, "
    "samples\n"
    "without a row, the logit scale. An import that was stopped goes on. The page tools/export-teacher.md tells more.\n";

static const char page_formats[] =
    "A run directory (run.dir)\n"
    "  resolved.yaml       every setting as it was used\n"
    "  metrics.jsonl       one object a step: step, epoch, loss, terms, lr, grad_norm, logit_scale, "
    "pairs_per_s, ranks, seconds by phase\n"
    "  checkpoints/        step-*.h5 (params, adam_m, adam_v, ema) and their journal; any number of ranks can "
    "resume them\n"
    "  model.safetensors   the student with open_clip's tensor names, and config.json beside it\n"
    "  merges.txt          its tokenizer\n"
    "  eval.json           VQA by question type with baselines, retrieval, sample answers\n"
    "  results.jsonl       a figure a line: model, digests of model and data, protocol, metric, n, value, 95 % interval\n"
    "  vqa_results.json    [{\"question_id\": 1, \"answer\": \"yes\"}, ...], the official results format\n"
    "  vqa_zero_shot_results.json   the same for questions that were answered by ranking\n"
    "  vqa_reader_results.json, vqa_reader_question_only_results.json, vqa_fusion_results.json,\n"
    "  vqa_fusion_tuned_results.json   the same for the heads on patch tokens (eval.reader, eval.fusion)\n"
    "  answers.txt         the answers that the probe and the fusion head choose from, a line each\n"
    "  heads/              what trained heads answered, a line a question: a head is trained once\n"
    "  trace.json          with run.trace_steps: phases and gradient buckets of each rank, for ui.perfetto.dev\n"
    "  run.json            versions, plan, teacher, student, cache, seconds by phase\n"
    "  report.html         all of it on one page; tables/*.csv hold the same numbers\n"
    "\n"
    "A model folder           model.safetensors (or its shards with an index) + config.json, open_clip's or "
    "Hugging Face's\n"
    "                         with preprocessor_config.json; or open_clip_model.safetensors + "
    "open_clip_config.json;\n"
    "                         `pupil model inspect` says what it is, `pupil model export` writes either\n"
    "Image-text data          data.source says which\n"
    "  webdataset             tars: KEY.jpg|jpeg|png|webp with KEY.txt, a caption in KEY.json, or a class in KEY.cls\n"
    "  csv                    a table with the columns filepath and title (or others), separated by commas or tabs\n"
    "  coco                   COCO's captions JSON, or Karpathy's dataset_coco.json with its splits\n"
    "  folder                 DIR/CLASS/*.jpg|jpeg|png|webp\n"
    "Questions and answers    VQA v2 and OK-VQA (questions and annotations JSON), TextVQA, VizWiz, GQA JSON;\n"
    "                         multiple choice: a line {\"image\", \"question\", \"choices\", \"answer\"} each;\n"
    "                         POPE: a line {\"question_id\", \"image\", \"text\", \"label\"} each\n"
    "Results (pupil eval)     a list, or a line each, of {\"question_id\" (or questionId, id; VizWiz: image),\n"
    "                         \"answer\" (or prediction, pred_answer, text)}; or one object {id: answer}\n"
    "pupil embed reads        inputs/images [N,3,H,W] float32 (normalised), inputs/token_ids [N,ctx] int64\n"
    "pupil embed writes       image_features, text_features [N,D] before normalisation, logit_scale (after "
    "exp)\n"
    "pupil preprocess writes  pixels [N,3,H,W] float32\n"
    "pupil tokenize prints    one JSON list of ids a line: start, text, end, not padded\n";

static const char page_study[] =
    "A study is many runs and one question: did the better teacher make the better student? Its file is that of a run with a\n"
    "section `study` beside the others (conf/study-scenes.yaml):\n"
    "\n"
    "  study:\n"
    "    question: Did the better teacher make the better student?     the title of the report; may be left out\n"
    "    axes:\n"
    "      teacher:                                   the axis whose points are compared\n"
    "        T1: {teacher.train.steps: 60}            a point: settings that replace those of the file, dotted\n"
    "        T2: {teacher: {train: {steps: 200}}}     or nested\n"
    "      student: {small: {student.model.vision_width: 64}, wide: {}}\n"
    "      loss: {plain: {loss.preset: clip}, fd: {loss.preset: clip-kd-fd}}\n"
    "    seeds: [1, 2, 3]                             student.train.seed of each\n"
    "    exclude: [{teacher: T2, loss: [fd]}]         combinations that are left out\n"
    "\n"
    "Up to 8 axes of up to 64 points, of any names (student, loss, data, duration, ...); later axes replace what earlier ones set.\n"
    "run.dir is the folder of the study. Folders of teachers and caches need not be named: they lie in it, shared by all cells that\n"
    "want the same. A teacher.dir without teacher.train is a checkpoint that is used as it is; a cache.dir without teacher.dir holds\n"
    "imported embeddings.\n"
    "\n"
    "  pupil study CONF --dry-run     cells, what is there already, hours, disk; touches nothing\n"
    "  pupil study CONF               runs what is missing, --jobs N at a time, and writes the report\n"
    "  pupil study CONF --status      how far it is, and why cells failed; --retry runs those again\n"
    "  pupil study CONF --submit      the same as jobs of a cluster; `pupil study CONF` then writes the report\n"
    "  pupil report DIR               the report again, from the files alone\n"
    "\n"
    "A cell is one point of each axis and a seed: an ordinary run in DIR/cells/ID, where ID is a digest of the settings that can\n"
    "change its result. So a finished cell is never run again: not after a kill, and not when teachers, losses or seeds are added.\n"
    "A cell without a distillation loss is the same for all teachers and is run once. One that fails is marked with its reason, and\n"
    "the others go on; one that was killed is resumed.\n"
    "\n"
    "DIR/report.html  the answer first: rank correlations of teacher and student score with bootstrap intervals, regret of taking the\n"
    "                 strongest teacher, students by teacher, stability of that order, capacity gap, losses, confounds, cost\n"
    "DIR/results.csv  a row a cell: axes, every figure of student and teacher with its interval, confounds, core hours, bytes\n"
    "DIR/answers.csv  the statistics of the page; tools/compare-study.py holds them against SciPy\n"
    "DIR/table.tex    students by teacher, for a paper (booktabs)\n";

static const char page_jobs[] =
    "Here          pupil launch CONF        plans the ranks and starts mpirun; --dry-run shows the command\n"
    "By hand       mpirun -n 4 --bind-to none pupil run CONF\n"
    "Two threads   mpirun -n 4 --map-by slot:PE=2 --bind-to core pupil run CONF --set ranks.threads=2\n"
    "Alone         pupil run CONF           one rank does everything in turn\n"
    "\n"
    "SLURM\n"
    "  pupil launch CONF --submit             writes job scripts to run.dir/jobs and hands them to sbatch\n"
    "  pupil launch CONF --submit --dry-run   shows plan, memory, bytes, node hours and scripts; touches nothing\n"
    "  pupil launch --status RUN              where a run stands: queue, step, pairs/s, ETA, checkpoint, blocks; --json\n"
    "  srun --mpi=pmix -n 64 --cpus-per-task=1 pupil run CONF     by hand, in an allocation or a script (see jobs/)\n"
    "\n"
    "Shapes (slurm.shape)\n"
    "  single      one job; with run.mode: split teacher ranks fill the cache while students train\n"
    "  chained     a job that trains the teacher, if it must be; an array of slurm.teacher.jobs jobs that claim segments of\n"
    "              the cache, each under its own number; a student job, which waits for their end, not for their success: it\n"
    "              computes what they have left. An element that was queued again replaces itself alone\n"
    "  hetjob      students and teachers on nodes of two kinds (slurm.teacher.*), one MPI world; needs srun --mpi=pmix\n"
    "  cells       several CONFs: an array with a run an element, slurm.cells_at_once at a time; a cache that they share is\n"
    "              filled first\n"
    "\n"
    "Site          conf/site.yaml of the folder you start in, or the file named by PUPIL_SITE, lies below the settings of\n"
    "              every run: account, partition, modules, cores of a node. jobs/site.yaml is an example. PUPIL names the\n"
    "              program that scripts start, if it is not this one\n"
    "Nodes         slurm.nodes: 2-4 asks for a range: after the loss of a node a job goes on with fewer\n"
    "Placement     ranks of a node are neighbours; students come first, teachers on the last nodes, whole nodes where that\n"
    "              fits the work\n"
    "Own disks     slurm.stage: true copies the whole cache to $SLURM_TMPDIR or $TMPDIR before students train\n"
    "\n"
    "Stopping      USR1, TERM and Ctrl-C: all ranks agree on a step boundary, save a checkpoint and end with 75. SLURM\n"
    "              sends USR1 slurm.signal_seconds before the time is up; by hand: scancel --batch --signal=USR1 JOB\n"
    "Going on      after 75, a killed rank or a lost node the script has its job queued again under the same number, and the\n"
    "              log goes on; not after scancel, wrong settings (2), or slurm.retries starts without progress\n"
    "Resuming      run the same command again, on any number of ranks: the student comes out the same, bit for bit, with\n"
    "              the same threads a rank, the same OpenBLAS kernel and the same build\n"
    "Exit codes    0 done, 1 failed, 2 wrong input, 75 stopped early with a checkpoint saved\n"
    "\n"
    "Building at a site: C17 compiler, meson, pkg-config, MPI with MPI-3.1 calls, CBLAS, serial HDF5 1.10 or newer\n"
    "  Lmod        module load gcc openmpi openblas hdf5; meson setup build && ninja -C build\n"
    "  EasyBuild   module load foss HDF5 Meson Ninja pkgconf; HDF5's serial module, or CPPFLAGS and LDFLAGS that name it\n"
    "  Spack       spack load openmpi openblas hdf5~mpi libyaml jansson pcre2 libarchive libjpeg-turbo libpng libwebp\n"
    "  CBLAS       meson setup build -Dblas=openblas | mkl-sdl | blis | NAME: the pkg-config name of the library\n"
    "  MPICH       its mpi.pc is found where Open MPI's is not; launcher: srun\n"
    "\n"
    "Environment   OMP_NUM_THREADS    threads a rank where ranks.threads is auto (default 1)\n"
    "              OPENBLAS_CORETYPE  the OpenBLAS kernel; unset, pupil picks what the CPU deserves\n"
    "              TMPDIR             scratch files of Open MPI (a short path)\n";

static const char losses_intro[] =
    "TERMS of the student's loss. v, t: student image and text embeddings, normalised; V, T: a teacher's; s, S: logit scales;\n"
    "B: the batch; D: the labels of the diagonal; sm: softmax of rows; CE and KL: means over rows. v' = v, or a trained head of\n"
    "it where the widths differ. Each is a setting, loss.NAME.weight, with the options of `pupil help config`. Terms of one\n"
    "teacher are computed for each teacher, times its weight.\n\n";
static const char losses_layout[] =
    "\nFILES of `pupil loss`: HDF5\n"
    "  reads   inputs/student_image, student_text [B,D], student_text2 (--captions 2): not normalised\n"
    "          inputs/teacher_image, teacher_text, teacher_text2 [B,D'], of further teachers teacher2_image, ...\n"
    "          inputs/log_logit_scale, logit_bias; teacher_logit_scale (after exp), teacher_logit_bias, teacher2_...\n"
    "          inputs/params/visual_proj.weight [D',D], visual_proj.bias, text_proj.*, visual_fusion_proj.weight [D,D+D'], ...;\n"
    "          cross_logit_scale, fusion_logit_scale (parameters; default ln(1/0.07)); of a further teacher visual_proj.1.weight, ...\n"
    "  writes  value, terms/NAME (without weight), d_student_image, d_student_text, d_log_logit_scale, d_logit_bias,\n"
    "          d_visual_proj.weight, ..., d_cross_logit_scale (w.r.t. the scale itself)\n";

static void page_losses(void)
{
    pupil_buf out = {0};
    pupil_buf_puts(&out, losses_intro);
    for (int t = 0; t < PUPIL_TERMS; t++)
        pupil_buf_printf(&out, "  %-13s %s\n  %-13s %s\n", pupil_term[t].name, pupil_term[t].formula, "", pupil_term[t].source);
    pupil_buf_puts(&out, "\nPRESETS: loss.preset, and loss.variant: published | as-released; --preset and --variant of `pupil loss`\n\n");
    pupil_conf_presets(&out);
    pupil_buf_puts(&out, losses_layout);
    fputs(out.s, stdout);
    pupil_buf_free(&out);
}

int cmd_help(int argc, char **argv)
{
    static const cli_spec spec = {.name = "help",
                                  .args = "[config|losses|cache|import|formats|jobs|study]",
                                  .about = "Lists the commands, or prints a reference page.",
                                  .example = "pupil help config",
                                  .max = 1};
    char **args;
    if (argv[0][0] == '-') argc = 1; /* pupil --help anything */
    int n, r = cli_parse(&spec, argc, argv, &args, &n);
    if (r) return r;
    if (n == 0) {
        cli_usage(stdout);
    } else if (!strcmp(args[0], "config")) {
        pupil_buf out = {0};
        pupil_conf_help(&out);
        fputs(out.s, stdout);
        pupil_buf_free(&out);
    } else if (!strcmp(args[0], "losses")) {
        page_losses();
    } else if (!strcmp(args[0], "cache")) {
        fputs(page_cache, stdout);
    } else if (!strcmp(args[0], "import")) {
        fputs(page_import, stdout);
    } else if (!strcmp(args[0], "formats")) {
        fputs(page_formats, stdout);
    } else if (!strcmp(args[0], "jobs")) {
        fputs(page_jobs, stdout);
    } else if (!strcmp(args[0], "study")) {
        fputs(page_study, stdout);
    } else {
        return pupil_fail(PUPIL_EUSER,
                          "pupil help: there is no page '%s'; the pages are config, losses, cache, import, formats, jobs and study",
                          args[0]);
    }
    return 0;
}
