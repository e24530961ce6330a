/* Every kind of mistake in the settings gives exactly these lines: file, line, column, what, what was
 * expected. */
#include "pupil/conf.h"

#include "../proof.h"

/* The least that is complete; what a case adds begins in line 3. */
#define BASE "run: {dir: r}\nstudent.model.name: ViT-T-16\n"

typedef struct {
    const char *text, *want;
} golden;

static void expect(const char *text, const char *const *sets, int n, const char *want)
{
    pupil_conf *c = NULL;
    pupil_buf e = {0};
    int r = pupil_conf_parse("f.yaml", text, sets, n, &c, &e);
    CHECK(r == PUPIL_EUSER && !c, "accepted:\n%s", text);
    assert_string_equal(e.s, want);
    pupil_buf_free(&e);
}

static void expect_all(const golden *g, int n)
{
    for (int i = 0; i < n; i++) expect(g[i].text, NULL, 0, g[i].want);
}

static void keys(void **state)
{
    static const golden g[] = {
        {BASE "student:\n  train:\n    lrr: 1\n",
         "f.yaml:5:5: unknown key 'student.train.lrr', expected a key of `pupil help config`, did you mean "
         "'student.train.lr'?\n"},
        {BASE "cache:\n  lr: 1\n", "f.yaml:4:3: unknown key 'cache.lr', expected a key of `pupil help "
                                   "config`, did you mean 'eval.vqa.lr'?\n"},
        {BASE "batch_size: 4\n",
         "f.yaml:3:1: unknown key 'batch_size', expected a key of `pupil help config`, did you mean "
         "'student.train.batch_size'?\n"},
        {BASE "studnet: {train: {lr: 1}}\n", "f.yaml:3:1: unknown key 'studnet', expected a key of `pupil "
                                             "help config`, did you mean 'student'?\n"},
        {BASE "loss: {preset: tiny-clip}\n",
         "f.yaml:3:16: loss.preset: 'tiny-clip', expected one of clip, siglip, clip-kd, clip-kd-crd, clip-kd-fd, clip-kd-icl, clip-kd-gd, "
         "clip-kd-afd, nano-clip, tinyclip, open_clip, mobileclip, mobileclip-b, mobileclip2, siglip-kd, hinton, rkd, dist, logit-std, "
         "dime-fm, did you mean 'tinyclip'?\n"},
        {BASE "loss: {preset: open_clip}\n",
         "f.yaml:3:16: teacher.dir: missing, expected the teacher's folder, as loss.affinity.weight is above 0\n"
         "f.yaml:3:16: cache.dir: missing, expected a folder for the teacher's embeddings, as loss.affinity.weight is above 0\n"},
        {BASE "loss: {crdd: 1}\n", "f.yaml:3:8: unknown key 'loss.crdd', expected a key of `pupil help "
                                   "config`, did you mean 'loss.crd'?\n"},
        {BASE "student: {modle: {patch_size: 8}}\n",
         "f.yaml:3:11: unknown key 'student.modle', expected a key of `pupil help config`, did you mean "
         "'student.model'?\n"},
        {BASE "zebra: {stripes: 4}\n",
         "f.yaml:3:1: unknown key 'zebra', expected a key of `pupil help config`\n"},
        {BASE "loss: {fd: {wieght: 4}}\n",
         "f.yaml:3:13: unknown key 'loss.fd.wieght', expected a key of `pupil help config`, did you mean "
         "'loss.fd.weight'?\n"},
        {BASE "student.train: 5\n",
         "f.yaml:3:16: student.train: a value, expected a section with keys below it\n"},
        {BASE "eval: [1]\n", "f.yaml:3:7: eval: a list, expected a section with keys below it\n"},
        {BASE "ranks: {total: 2, total: 3}\n", "f.yaml:3:19: ranks.total is given twice, first in line 3\n"},
        {BASE "loss:\n  task: 1\nloss:\n  task: 2\n", "f.yaml:5:1: loss is given twice, first in line 3\n"},
        {BASE "eval: {vqa: off}\neval.vqa: {enable: on}\n",
         "f.yaml:4:12: eval.vqa.enable is given twice, first in line 3\n"},
        {BASE "? [a]\n: b\n", "f.yaml:3:3: a list as a key, expected a word of `pupil help config`\n"},
    };
    (void)state;
    expect_all(g, PUPIL_COUNT(g));
}

static void values(void **state)
{
    static const golden g[] = {
        {BASE "student: {train: {lr: 3e-4x}}\n",
         "f.yaml:3:23: student.train.lr: '3e-4x', expected a number from 0 to 1000\n"},
        {BASE "student: {train: {lr: nan}}\n",
         "f.yaml:3:23: student.train.lr: 'nan', expected a number from 0 to 1000\n"},
        {BASE "student: {train: {lr: 0x1p3}}\n",
         "f.yaml:3:23: student.train.lr: '0x1p3', expected a number from 0 to 1000\n"},
        {BASE "loss: {fd: 1e999}\n", "f.yaml:3:12: loss.fd.weight: '1e999', expected a number from 0 up\n"},
        {BASE "loss: {fd: 2_000}\n", "f.yaml:3:12: loss.fd.weight: '2_000', expected a number from 0 up\n"},
        {BASE "loss: {fd: [1]}\n", "f.yaml:3:12: loss.fd: a list, expected a section with keys below it\n"},
        {BASE "student: {train: {steps: 1.5}}\n",
         "f.yaml:3:26: student.train.steps: '1.5', expected a whole number from 0 up\n"},
        {BASE "student: {train: {steps: 1e3}}\n",
         "f.yaml:3:26: student.train.steps: '1e3', expected a whole number from 0 up\n"},
        {BASE "student: {train: {steps: \"5\"}}\n",
         "f.yaml:3:26: student.train.steps: '5', expected a whole number from 0 up\n"},
        {BASE "student: {train: {steps: 99999999999999999999}}\n",
         "f.yaml:3:26: student.train.steps: '99999999999999999999', expected a whole number from 0 up\n"},
        {BASE "data: {window: 0}\n",
         "f.yaml:3:16: data.window: '0', expected a whole number from 1 to 1048576\n"},
        {BASE "ranks: {total: 0}\n",
         "f.yaml:3:16: ranks.total: '0', expected a whole number from 1 to 1048576 or auto\n"},
        {BASE "cache: {dtype: f61}\n",
         "f.yaml:3:16: cache.dtype: 'f61', expected one of f16, f32, bf16, i8, did you mean 'f16'?\n"},
        {BASE "data: {source: wds}\n",
         "f.yaml:3:16: data.source: 'wds', expected one of scenes, webdataset, csv, coco, folder\n"},
        {"run: {dir: r}\nstudent: {model: {name: vit-b-32}}\n",
         "f.yaml:2:25: student.model.name: 'vit-b-32', expected one of ViT-T-16, ViT-S-32, ViT-S-16, ViT-M-32, "
         "ViT-M-16, ViT-B-32, ViT-B-16, ViT-L-16, ViT-L-14, ViT-L-14-336, ViT-H-14, ViT-g-14, ViT-bigG-14, did you mean 'ViT-B-32'?\n"},
        {BASE "eval: {pixel_baseline: 2}\n",
         "f.yaml:3:24: eval.pixel_baseline: '2', expected true or false\n"},
        {BASE "cache: {dir: {a: b}}\n", "f.yaml:3:14: cache.dir: a section, expected a path\n"},
        {BASE "cache: {dir: \"a\\0b\"}\n", "f.yaml:3:14: cache.dir: text with a NUL, expected a path\n"},
        {BASE "cache: {dir: ''}\n", "f.yaml:3:14: cache.dir: '', expected a path\n"},
        {BASE "cache: {dtype: }\n", "f.yaml:3:16: cache.dtype: nothing is given, expected one of f16, f32, bf16, i8\n"},
        {"run:\n  dir:\nstudent.model.name: ViT-T-16\n",
         "f.yaml:2:7: run.dir: nothing is given, expected a path\n"},
        {BASE "data: {source: webdataset, train: [a.tar, [b]], test: [c.tar, '']}\n",
         "f.yaml:3:43: data.train: a list, expected a list of paths\n"
         "f.yaml:3:63: data.test: '', expected a list of paths\n"},
        {BASE "student: {train: {lr: \"1\\n2\"}}\n",
         "f.yaml:3:23: student.train.lr: '1 2', expected a number from 0 to 1000\n"},
    };
    (void)state;
    expect_all(g, PUPIL_COUNT(g));
}

static void documents(void **state)
{
    static const golden g[] = {
        {"", "f.yaml:1:1: run.dir: missing, expected it: folder of this run: weights, metrics, checkpoints, "
             "report\n"},
        {"run: {dir: r}\nstudent: {model: {embed_dim: 96}}\n",
         "f.yaml:2:30: student.model.name: missing, and so are image_size, patch_size, vision_width, "
         "vision_layers, "
         "text_width, text_layers: expected a preset, or these sizes\n"},
        {"- 1\n", "f.yaml:1:1: a list, expected sections such as `run:` and `student:`\n"},
        {BASE "---\nrun: {dir: s}\n", "f.yaml:4:1: a second document, expected one\n"},
        {"{run: {dir: r}, student.model.name: ViT-T-16}\n}\n",
         "f.yaml:2:1: not YAML: did not find expected <document start>\n"},
        {BASE "\tx: 1\n", "f.yaml:3:1: not YAML: while scanning a plain scalar, found a tab character that "
                          "violates indentation\n"},
        {BASE "loss:\n\ttask: 1\n",
         "f.yaml:4:1: not YAML: while scanning for the next token, found character that cannot start any "
         "token (YAML is "
         "indented with spaces, never tabs; text that begins with @, % or ` needs quotes)\n"},
        {BASE "loss: {task: 1\n",
         "f.yaml:4:1: not YAML: while parsing a flow mapping, did not find expected ',' or '}'\n"},
        {BASE "loss: *weights\n", "f.yaml:3:7: not YAML: found undefined alias\n"},
    };
    (void)state;
    expect_all(g, PUPIL_COUNT(g));
}

static void models_and_training(void **state)
{
    static const golden g[] = {
        {BASE "student: {train: {slots: 6}}\n",
         "f.yaml:3:26: student.train.slots: 6, expected a power of two\n"},
        {BASE "student: {train: {batch_size: 100}}\n",
         "f.yaml:3:31: student.train.batch_size: 100, expected a multiple of slots (8)\n"},
        {BASE "student: {train: {slots: 512}}\n",
         "f.yaml:3:26: student.train.batch_size: 256, expected a multiple of slots (512)\n"},
        {BASE "student: {train: {steps: 5, warmup: 6}}\n",
         "f.yaml:3:37: student.train.warmup: 6, expected at most steps (5)\n"},
        {BASE "student: {train: {batch_size: 512}}\ndata: {scenes: {train: 400}}\n",
         "f.yaml:3:31: student.train.batch_size: 512, expected at most data.scenes.train (400)\n"},
        {BASE "teacher: {model: {name: ViT-B-16}, train: {slots: 3, warmup: 2000}}\n",
         "f.yaml:3:51: teacher.train.slots: 3, expected a power of two\n"
         "f.yaml:3:62: teacher.train.warmup: 2000, expected at most steps (1000)\n"},
        {BASE "teacher.train:\n",
         "f.yaml:1:1: teacher.model.name: missing, and so are image_size, patch_size, "
         "vision_width, vision_layers, text_width, text_layers, embed_dim: expected a "
         "preset, or these sizes\n"},
        {"run: {dir: r}\nstudent: {model: {image_size: 64, patch_size: 12, vision_width: 96, vision_layers: "
         "1, "
         "text_width: 200, text_layers: 1}}\n",
         "f.yaml:2:117: student.model.name: missing, and so is embed_dim: expected a preset, or these sizes\n"
         "f.yaml:2:31: student.model.image_size: 64, expected a multiple of patch_size (12)\n"
         "f.yaml:2:65: student.model.vision_width: 96, expected a multiple of vision_head_width (64)\n"
         "f.yaml:2:99: student.model.text_width: 200, expected a multiple of text_heads (3)\n"},
    };
    (void)state;
    expect_all(g, PUPIL_COUNT(g));
}

static void data(void **state)
{
    static const golden g[] = {
        {BASE "data: {train: [a.tar]}\n",
         "f.yaml:3:15: data.train: given, but data.source is scenes; expected data.source: webdataset or csv or "
         "coco or folder\n"},
        {BASE "data: {source: csv, train: [a.csv], test: [b.csv], coco: {split_test: [val]}, class_names: c}\n",
         "f.yaml:3:71: data.coco.split_test: given, but data.source is csv; expected data.source: coco\n"
         "f.yaml:3:92: data.class_names: given, but data.source is csv; expected data.source: webdataset or "
         "folder\n"},
        {BASE "data: {source: csv, train: [a.csv], test: [a.csv]}\n",
         "f.yaml:3:43: data.test: the same csv files as data.train, expected others: these would not be held "
         "out\n"},
        {BASE "data: {source: folder, train: a, test: b, class_template: a photo}\n",
         "f.yaml:3:59: data.class_template: 'a photo', expected \"{class}\" in it\n"},
        {BASE "data: {source: webdataset, train: a.tar, test: b.tar, scenes: {size: 64}}\n",
         "f.yaml:3:70: data.scenes.size: given, but data.source is webdataset; expected data.source: "
         "scenes\n"},
        {BASE "data:\n  source: webdataset\n",
         "f.yaml:4:11: data.train: missing, expected the training tars\n"
         "f.yaml:4:11: data.test: missing, expected the held-out tars\n"},
        {BASE "data: {source: webdataset, train: [a.tar], test: [a.tar]}\n",
         "f.yaml:3:50: data.test: the same tars as data.train, expected others: these would not be held "
         "out\n"},
        {BASE "data: {source: webdataset, train: a, test: b, vqa_train: {questions: q, format: vqav2}}\n",
         "f.yaml:3:70: data.vqa_train.annotations: missing, expected the answers to these questions\n"
         "f.yaml:3:70: data.vqa_test.questions: missing, expected questions about both splits, or about "
         "neither\n"},
        {BASE "data: {view: {scale_min: 0.5, seed: 2}}\n",
         "f.yaml:3:26: data.view.scale_min: given, but data.view.name is whole; expected data.view.name: "
         "random_resized_crop\n"
         "f.yaml:3:37: data.view.seed: given, but nothing is drawn; expected data.view.name: random_resized_crop "
         "or data.view.flip: true\n"},
        {BASE "data.view: {name: random_resized_crop, scale_min: 0.5, scale_max: 0.4, ratio_min: 2}\n",
         "f.yaml:3:51: data.view.scale_min: 0.5, expected at most scale_max (0.4)\n"
         "f.yaml:3:83: data.view.ratio_min: 2, expected at most ratio_max (1.33333)\n"},
        {BASE "data: {source: coco, train: a, test: a, vqa_train: {questions: q, annotations: a, format: gqa}, "
              "vqa_test: {questions: r}}\n",
         "f.yaml:3:80: data.vqa_train.annotations: given, but only vqav2 has a second file\n"},
        {BASE "tokenizer: {merges: m, vocab_size: 600}\n",
         "f.yaml:3:36: tokenizer.vocab_size: given beside tokenizer.merges, expected one of them: the merges "
         "file has "
         "its own size\n"},
    };
    (void)state;
    expect_all(g, PUPIL_COUNT(g));
}

static void roles(void **state)
{
    static const golden g[] = {
        {BASE "loss: {task: 0}\n",
         "f.yaml:3:14: loss.task.weight: all losses are 0, expected at least one above 0\n"},
        {BASE "loss: {fd: 2000}\n",
         "f.yaml:3:12: teacher.dir: missing, expected the teacher's folder, as loss.fd.weight is above 0\n"
         "f.yaml:3:12: cache.dir: missing, expected a folder for the teacher's embeddings, as loss.fd.weight "
         "is above "
         "0\n"},
        {BASE "teacher: {dir: r/}\n",
         "f.yaml:3:16: teacher.dir: the same folder as run.dir, expected another: the "
         "student would replace the teacher\n"},
        {BASE "teacher: {dir: t}\ncache: {dir: c}\nmore_teachers: [{dir: t}, {cache: c/}]\n",
         "f.yaml:5:23: more_teachers.0.cache: missing, expected a folder for this teacher's embeddings\n"
         "f.yaml:5:35: more_teachers.1.cache: given, but more_teachers.0 is not, expected a list without gaps\n"
         "f.yaml:5:35: more_teachers.1.cache: the same folder as cache.dir, expected one of its own\n"},
        {BASE "student: {train: {lr: 1e-3, lr_min: 2e-3}}\n",
         "f.yaml:3:37: student.train.lr_min: 0.002, expected at most lr (0.001)\n"},
        {BASE "student: {train: {lr_schedule: constant, lr_min: 1e-5}}\n",
         "f.yaml:3:50: student.train.lr_min: given, but lr_schedule is constant\n"},
        {BASE "student: {text: teacher, model: {embed_dim: 8}}\n",
         "f.yaml:3:45: student.model.embed_dim: given, but student.text is teacher; expected that model's own\n"
         "f.yaml:3:17: teacher.dir: missing, expected the teacher's folder: the student has its text tower\n"
         "f.yaml:3:17: cache.dir: missing, expected a folder for the teacher's embeddings: they are the student's text side\n"},
        {BASE "student: {init: a, inherit: {from: b}}\n",
         "f.yaml:3:36: student.inherit.from: given beside student.init, expected one of them\n"},
        {BASE "student: {inherit: {select: magnitude}}\n",
         "f.yaml:3:29: student.inherit.from: missing, expected a folder or teacher\n"},
        {BASE "student: {inherit: {from: teacher}}\n",
         "f.yaml:3:27: teacher.dir: missing, expected the teacher's folder: its weights are inherited\n"},
        {BASE "student: {init: r/}\n", "f.yaml:3:17: student.init: the same folder as run.dir, expected another\n"},
        {BASE "more_teachers: [7, {cache: c}]\n",
         "f.yaml:3:17: more_teachers: a value in the list, expected sections\n"
         "f.yaml:3:28: more_teachers.1.cache: given, but more_teachers.0 is not, expected a list without gaps\n"
         "f.yaml:3:28: cache.dir: missing, expected the first teacher in `teacher` and `cache`\n"},
        {BASE "run.mode: teach\n",
         "f.yaml:3:11: run.mode: teach, but no loss wants a teacher; expected a distillation loss above 0\n"},
        {BASE "ranks: {total: 2, teacher: 2}\n",
         "f.yaml:3:28: ranks.teacher: 2, expected fewer than ranks.total (2), so "
         "that students are left\n"},
    };
    (void)state;
    expect_all(g, PUPIL_COUNT(g));
}

static void command_line(void **state)
{
    static const golden g[] = {
        {"student.train.lr=abc",
         "--set student.train.lr=abc: student.train.lr: 'abc', expected a number from 0 to 1000\n"},
        {"student.train.lr", "--set student.train.lr: expected --set section.key=value\n"},
        {"student.train.lr=", "--set student.train.lr=: expected --set section.key=value\n"},
        {"=1", "--set =1: expected --set section.key=value\n"},
        {"run.dir= # none", "--set run.dir= # none: nothing is given, expected a value\n"},
        {"student.train.slots=3",
         "--set student.train.slots=3: student.train.slots: 3, expected a power of two\n"},
        {"run.mod=split",
         "--set run.mod=split: unknown key 'run.mod', expected a key of `pupil help config`, did you "
         "mean 'run.mode'?\n"},
        {"data.train=[a",
         "--set data.train=[a: not YAML: while parsing a flow sequence, did not find expected ',' or "
         "']'\n"},
    };
    (void)state;
    for (int i = 0; i < PUPIL_COUNT(g); i++) expect(BASE, &g[i].text, 1, g[i].want);
    const char *two[] = {"loss.fd=1x", "cache.dtype=f8"};
    expect(BASE, two, 2,
           "--set loss.fd=1x: loss.fd.weight: '1x', expected a number from 0 up\n"
           "--set cache.dtype=f8: cache.dtype: 'f8', expected one of f16, f32, bf16, i8, did you mean 'i8'?\n");
}

/* What was refused is not judged again: no second line says that a mistyped key is missing. */
static void all_in_one_go(void **state)
{
    (void)state;
    expect("run: {dir: r, mode: splt}\n"
           "student:\n"
           "  model: {name: ViT-T}\n"
           "  train: {steps: 20000x, warmup: 2000, lr: fast}\n"
           "loss: {task: 0, crd: on}\n"
           "data: {source: webdataste, train: [a.tar]}\n",
           NULL, 0,
           "f.yaml:1:21: run.mode: 'splt', expected one of split, chained, teach, students, prepare, did you mean "
           "'split'?\n"
           "f.yaml:3:17: student.model.name: 'ViT-T', expected one of ViT-T-16, ViT-S-32, ViT-S-16, ViT-M-32, "
           "ViT-M-16, ViT-B-32, ViT-B-16, ViT-L-16, ViT-L-14, ViT-L-14-336, ViT-H-14, ViT-g-14, ViT-bigG-14\n"
           "f.yaml:4:18: student.train.steps: '20000x', expected a whole number from 0 up\n"
           "f.yaml:4:44: student.train.lr: 'fast', expected a number from 0 to 1000\n"
           "f.yaml:5:22: loss.crd.weight: 'on', expected a number from 0 up\n"
           "f.yaml:6:16: data.source: 'webdataste', expected one of scenes, webdataset, csv, coco, folder, did you mean "
           "'webdataset'?\n");
}

static void no_flood(void **state)
{
    (void)state;
    pupil_buf text = {0}, e = {0};
    for (int i = 0; i < 40000; i++) pupil_buf_printf(&text, "key%d: 1\n", i);
    pupil_conf *c;
    double began = pupil_now();
    assert_int_equal(pupil_conf_parse("f.yaml", text.s, NULL, 0, &c, &e), PUPIL_EUSER);
    int lines = 0;
    for (const char *p = e.s; *p; p++) lines += *p == '\n';
    assert_int_equal(lines, 101);
    assert_non_null(strstr(e.s, "f.yaml: more than 100 problems; the others are not shown\n"));
    CHECK(pupil_now() - began < 5, "40000 unknown keys took %g s", pupil_now() - began);
    pupil_buf_free(&text);
    pupil_buf_free(&e);
}

static void files(void **state)
{
    (void)state;
    pupil_conf *c = NULL;
    pupil_buf e = {0};
    assert_int_equal(pupil_conf_load("/nowhere/x.yaml", NULL, 0, &c, &e), PUPIL_EUSER);
    assert_string_equal(e.s, "/nowhere/x.yaml: No such file or directory\n");
    pupil_buf_free(&e);
    assert_int_equal(pupil_conf_load("/tmp", NULL, 0, &c, &e), PUPIL_EUSER);
    assert_string_equal(e.s, "/tmp: a folder, expected a YAML file\n");
    pupil_buf_free(&e);
    assert_null(c);
}

static void clusters(void **state)
{
    static const golden g[] = {
        {BASE "slurm: {nodes: 4-2}\n",
         "f.yaml:3:16: slurm.nodes: '4-2', expected a number of nodes, or a range such as 2-4\n"},
        {BASE "slurm: {time: soon}\n",
         "f.yaml:3:15: slurm.time: 'soon', expected minutes, hours:minutes:seconds or days-hours\n"},
        {BASE "slurm: {account: \"a\\n#SBATCH -w n1\"}\n",
         "f.yaml:3:18: slurm.account: 'a #SBATCH -w n1', expected a word\n"},
        {BASE "slurm: {teacher: {partition: 'a b'}}\n",
         "f.yaml:3:30: slurm.teacher.partition: 'a b', expected a word\n"},
        {BASE "slurm: {lines: [\"a\\nb\"]}\n",
         "f.yaml:3:16: slurm.lines: entry 1 holds a control character, expected one line each\n"},
        {BASE "eval: {reader: {enable: true, width: 60, heads: 4}}\n",
         "f.yaml:3:49: eval.reader.heads: 4, expected heads of an even width, all of them 60 wide\n"},
        {BASE "eval: {reader: {heads: 4, kv_heads: 3}}\n",
         "f.yaml:3:37: eval.reader.kv_heads: 3, expected a divisor of eval.reader.heads = 4\n"},
        {BASE "eval: {fusion: true, vqa: false}\n",
         "f.yaml:3:16: eval.fusion.enable: true, but eval.vqa.enable is false, expected questions to train it on\n"},
        {BASE "eval: {fusion: {width: 100, heads: 3}}\n",
         "f.yaml:3:36: eval.fusion.heads: 3, expected heads of an even width, all of them 100 wide\n"},
        {BASE "cache: {share: 2}\n", "f.yaml:3:16: cache.share: 2, expected 0, or run.mode: teach\n"},
    };
    (void)state;
    expect_all(g, PUPIL_COUNT(g));
}

/* Defaults of a site lie below a run's own settings, and cannot change a result. */
static void site(void **state)
{
    (void)state;
    char *dir = folder_new(), *conf = pupil_join(dir, "a.yaml"), before[4096];
    const char *file = "conf/site.yaml", *want = "conf/site.yaml:2:19: student.train.lr: may change a result, so it stands in the "
                                                 "settings of a run, not in those of a site\n";
    assert_true(getcwd(before, sizeof before) && chdir(dir) == 0);
    GOOD(pupil_mkdirs("conf"));
    pupil_conf *c = NULL;
    pupil_buf e = {0};
    const char text[] = BASE "slurm: {nodes: 3}\nloss: {task: 1}\n",
               defaults[] = "slurm: {account: ab12, nodes: 2, modules: [gcc, openmpi]}\nranks: {timeout: 60}\n",
               wrong[] = "slurm: {account: ab12}\nstudent: {train: {lr: 1}}\n";
    GOOD(pupil_write_file(conf, text, strlen(text)));
    GOOD(pupil_write_file(file, defaults, strlen(defaults)));
    GOOD(pupil_conf_load(conf, (const char *const[]){"slurm.time=5"}, 1, &c, &e));
    assert_string_equal(c->slurm.account, "ab12");
    assert_string_equal(c->slurm.all.nodes, "3");
    assert_string_equal(c->slurm.all.time, "5");
    assert_int_equal(c->slurm.modules.n, 2);
    assert_true(c->ranks.timeout == 60);
    pupil_conf_free(&c);
    GOOD(pupil_write_file(file, wrong, strlen(wrong)));
    assert_int_equal(pupil_conf_load(conf, NULL, 0, &c, &e), PUPIL_EUSER);
    assert_string_equal(e.s, want);
    setenv("PUPIL_SITE", "", 1); /* none */
    GOOD(pupil_conf_load(conf, NULL, 0, &c, &e));
    assert_null(c->slurm.account);
    unsetenv("PUPIL_SITE");
    pupil_conf_free(&c);
    pupil_buf_free(&e);
    assert_int_equal(chdir(before), 0);
    folder_end(&dir);
    pupil_free(&conf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys),         cmocka_unit_test(values),
        cmocka_unit_test(documents),    cmocka_unit_test(models_and_training),
        cmocka_unit_test(data),         cmocka_unit_test(roles),
        cmocka_unit_test(command_line), cmocka_unit_test(all_in_one_go),
        cmocka_unit_test(no_flood),     cmocka_unit_test(files),
        cmocka_unit_test(clusters),     cmocka_unit_test(site),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
