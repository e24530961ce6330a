/* schema.c: the table of all settings. A key exists because it stands here, once. */
#include "schema.h"

#include <string.h>

/* clang-format off */
#define AT(m)  offsetof(pupil_conf, m), sizeof(((pupil_conf *)0)->m)
#define BIG    1e15
#define NO_MAX 1e300

#define B(key, m, init, flags, doc)           {key, TYPE_BOOL, AT(m), init, 0, 0, NULL, flags, doc}
#define I(key, m, init, lo, hi, flags, doc)   {key, TYPE_INT, AT(m), init, lo, hi, NULL, flags, doc}
#define F(key, m, init, lo, hi, flags, doc)   {key, TYPE_FLOAT, AT(m), init, lo, hi, NULL, flags, doc}
#define S(key, m, init, flags, doc)           {key, TYPE_STRING, AT(m), init, 0, 0, NULL, flags, doc}
#define L(key, m, flags, doc)                 {key, TYPE_STRINGS, AT(m), NULL, 0, 0, NULL, flags, doc}
#define E(key, m, init, words, flags, doc)    {key, TYPE_ENUM, AT(m), init, 0, 0, words, flags, doc}

#define VQA_FORMATS "auto vqav2 textvqa vizwiz gqa multiple_choice pope"
#define PRESETS "ViT-T-16 ViT-S-32 ViT-S-16 ViT-M-32 ViT-M-16 ViT-B-32 ViT-B-16 ViT-L-16 ViT-L-14 ViT-L-14-336 ViT-H-14 ViT-g-14 ViT-bigG-14"

#define MODEL(p, m) \
    {p ".model.name", TYPE_STRING, AT(m.name), NULL, 0, 0, PRESETS, 0, "a preset; the keys below change single sizes of it, or say all of them"}, \
    I(p ".model.image_size", m.image_size, NULL, 1, 4096, PRESET, "pixels a side the image tower sees"), \
    I(p ".model.patch_size", m.patch_size, NULL, 1, 1024, PRESET, "pixels a side of a patch"), \
    I(p ".model.vision_width", m.vision_width, NULL, 1, 16384, PRESET, "width of the image tower"), \
    I(p ".model.vision_layers", m.vision_layers, NULL, 1, 256, PRESET, "blocks of the image tower"), \
    I(p ".model.vision_head_width", m.vision_head_width, NULL, 1, 1024, PRESET, "width of one attention head (default 64)"), \
    I(p ".model.vision_mlp", m.vision_mlp, NULL, 1, 131072, PRESET, "width inside the image tower's MLPs (default 4 x vision_width)"), \
    I(p ".model.text_width", m.text_width, NULL, 1, 16384, PRESET, "width of the text tower"), \
    I(p ".model.text_layers", m.text_layers, NULL, 1, 256, PRESET, "blocks of the text tower"), \
    I(p ".model.text_heads", m.text_heads, NULL, 1, 1024, PRESET, "attention heads of the text tower (default: width / 64)"), \
    I(p ".model.text_mlp", m.text_mlp, NULL, 1, 131072, PRESET, "width inside the text tower's MLPs (default 4 x text_width)"), \
    I(p ".model.context_length", m.context_length, NULL, 3, 4096, PRESET, "longest caption in tokens (default 77)"), \
    I(p ".model.embed_dim", m.embed_dim, NULL, 1, 16384, PRESET, "width of the shared embedding"), \
    E(p ".model.act", m.act, NULL, "gelu quick_gelu", PRESET, "activation; OpenAI, DFN and MetaCLIP weights need quick_gelu")

#define MORE_TEACHER(k) \
    S("more_teachers." #k ".dir", more_teachers[k].dir, NULL, PATH, "folder of its checkpoint; unset: its cache holds imported embeddings"), \
    S("more_teachers." #k ".cache", more_teachers[k].cache, NULL, PATH | FREE, "folder of its cached embeddings, its own; must be given"), \
    F("more_teachers." #k ".weight", more_teachers[k].weight, "1", 0, NO_MAX, 0, "of its terms in the loss, and its share of targets that are averaged"), \
    F("more_teachers." #k ".logit_scale", more_teachers[k].logit_scale, "0", 0, 1e4, 0, "its logit scale (after exp); 0: the checkpoint's own")

#define TRAIN(p, m) \
    I(p ".train.steps", m.steps, "1000", 0, BIG, 0, "optimiser steps"), \
    I(p ".train.batch_size", m.batch_size, "256", 1, 1 << 24, 0, "pairs in a global batch"), \
    I(p ".train.slots", m.slots, "8", 1, 1 << 20, 0, "fixed micro-batches of a global batch; a power of two; ranks share them, so results do not depend on the ranks"), \
    F(p ".train.lr", m.lr, "1e-3", 0, 1e3, 0, "peak learning rate"), \
    F(p ".train.wd", m.wd, "0.1", 0, 1e3, 0, "decoupled weight decay (matrices only)"), \
    F(p ".train.beta1", m.beta1, "0.9", 0, 0.999999, 0, "AdamW's first moment"), \
    F(p ".train.beta2", m.beta2, "0.98", 0, 0.999999, 0, "AdamW's second moment"), \
    F(p ".train.eps", m.eps, "1e-6", 1e-15, 1, 0, "AdamW's epsilon"), \
    I(p ".train.warmup", m.warmup, "0", 0, BIG, 0, "steps of linear warm-up; then lr_schedule"), \
    E(p ".train.lr_schedule", m.lr_schedule, "cosine", "cosine constant linear", 0, "how the learning rate goes from lr to lr_min after the warm-up"), \
    F(p ".train.lr_min", m.lr_min, "0", 0, 1e3, 0, "what cosine and linear end at"), \
    F(p ".train.ema", m.ema, "0", 0, 0.9999999, 0, "decay of a running average of the weights (0.9999), which is then the model that is scored and exported; 0: none"), \
    F(p ".train.patch_dropout", m.patch_dropout, "0", 0, 0.999, 0, "share of the patches that training leaves out (0.75), drawn anew for each picture and epoch: a shorter sequence, so faster; teachers and scores see all"), \
    L(p ".train.freeze", m.freeze, 0, "parts that keep the weights they begin with: image, text, image.stem, image.blocks.0-5, image.head, text.blocks.3, logit_scale"), \
    F(p ".train.grad_clip_norm", m.grad_clip_norm, "1", 0, NO_MAX, 0, "largest global gradient norm; 0 does not clip"), \
    I(p ".train.seed", m.seed, "1", 0, BIG, 0, "seed of the initial weights and of the sample order"), \
    B(p ".train.recompute", m.recompute, "false", 0, "compute a slot's activations again in backward instead of keeping them: less memory, a third more work")

#define NODES(p, m, limit, count) \
    S(p ".partition", m.partition, NULL, FREE, "the queue its jobs wait in"), \
    S(p ".constraint", m.constraint, NULL, FREE, "features its nodes must have"), \
    S(p ".time", m.time, limit, FREE, "time limit: minutes, hours:minutes:seconds or days-hours"), \
    S(p ".nodes", m.nodes, count, FREE, "nodes: a number, or a range such as 2-4; with a range a job goes on with fewer when some are lost"), \
    I(p ".ntasks_per_node", m.ntasks_per_node, "auto", 1, 1 << 16, FREE | AUTO, "ranks a node; auto: ranks.total / nodes, else as many as the cores here allow")

#define VARIANTS "published as-released"
#define TERM(name, init, doc) F("loss." #name ".weight", loss.name.weight, init, 0, NO_MAX, 0, doc)
#define TAU(name, init) F("loss." #name ".tau", loss.name.tau, init, 1e-6, 1e6, 0, "its temperature, which divides the logits")
#define WAYS(name) E("loss." #name ".ways", loss.name.one_way, "both", "both image_to_text", 0, "the mean of both softmaxes, or pictures over captions alone")
#define FEATURES(name) E("loss." #name ".features", loss.name.raw, "normalised", "normalised raw", 0, "the student's embeddings before or after normalisation")
#define SIDES(name, init) E("loss." #name ".sides", loss.name.sides, init, "both image text", 0, "which embeddings it is of")

const field schema[] = {
    S("run.dir", run.dir, NULL, REQUIRED | PATH | FREE, "folder of this run: weights, metrics, checkpoints, report"),
    E("run.mode", run.mode, "split", "split chained teach students prepare", FREE,
      "split: teacher ranks fill the cache while students train; chained: first all teach, then all train; teach: only fill the cache; students: the cache must be whole; prepare: only train the teacher, if it must be, and name the cache"),
    F("run.checkpoint_seconds", run.checkpoint_seconds, "60", 1, 1e9, FREE, "seconds between checkpoints"),
    I("run.checkpoint_steps", run.checkpoint_steps, "0", 0, BIG, FREE, "also a checkpoint every so many steps; 0: by seconds alone"),
    I("run.trace_steps", run.trace_steps, "0", 0, 1000, FREE, "steps of which trace.json is kept, from each start on: phases and buckets of gradients of every rank, for ui.perfetto.dev"),
    I("run.keep_checkpoints", run.keep_checkpoints, "2", 1, 1000, FREE, "newest checkpoints kept"),

    I("ranks.total", ranks.total, "auto", 1, 1 << 20, FREE | AUTO, "MPI ranks `pupil launch` starts; auto: cores / threads"),
    I("ranks.teacher", ranks.teacher, "auto", 1, 1 << 20, FREE | AUTO, "teacher ranks in split mode; auto: from the FLOPs of both sides"),
    I("ranks.threads", ranks.threads, "auto", 1, 1024, FREE | AUTO, "threads a rank; auto: 1"),
    E("ranks.reduce", ranks.reduce, "auto", "auto node messages", FREE, "how gradients and weights travel; node: ranks of a node share them in memory, what goes to other nodes has been added up before; messages: each rank sends to each; auto: node where there is shared memory. The student is the same"),
    I("ranks.bucket_kib", ranks.bucket_kib, "512", 0, 1 << 22, FREE, "KiB of gradients that set out together while backward makes those of the blocks below; 0: all set out at its end. The student is the same"),
    F("ranks.timeout", ranks.timeout, "300", 1, 1e6, FREE, "seconds a rank may wait for the others before the run ends with a message"),

    E("data.source", data.source, "scenes", "scenes webdataset csv coco folder", 0,
      "scenes: built in, made on the fly; webdataset: tars of pictures and captions; csv: a table of files and captions; coco: COCO's captions JSON or Karpathy's; folder: one folder of pictures a class"),
    I("data.scenes.train", data.scenes.train, "16384", 1, 1e9, 0, "scenes in the training split"),
    I("data.scenes.test", data.scenes.test, "1000", 1, 1e9, 0, "scenes held out"),
    I("data.scenes.size", data.scenes.size, "64", 32, 1024, 0, "pixels a side"),
    I("data.scenes.seed", data.scenes.seed, "1", 0, BIG, 0, "which world of scenes"),
    I("data.scenes.max_objects", data.scenes.max_objects, "6", 1, 6, 0, "most objects in a scene"),
    I("data.scenes.questions", data.scenes.questions, "4", 1, 24, 0, "questions a scene"),
    L("data.train", data.train, PATH, "for training, braces allowed: tars [train-{000000..000127}.tar], csv files, COCO JSON files, or folders of class folders"),
    L("data.test", data.test, PATH, "the same, held out"),
    L("data.images", data.images, PATH, "csv, coco: folders that pictures are looked for in, the first that has one; unset: the folder of the csv or JSON file"),
    S("data.csv.image_key", data.csv.image_key, "filepath", 0, "column of the picture's file"),
    S("data.csv.caption_key", data.csv.caption_key, "title", 0, "column of its caption"),
    E("data.csv.separator", data.csv.separator, "auto", "auto comma tab", 0, "between columns; auto: tab if the first line has one"),
    L("data.coco.split_train", data.coco.split_train, 0, "Karpathy's splits to train on; unset: [train, restval]"),
    L("data.coco.split_test", data.coco.split_test, 0, "Karpathy's splits held out; unset: [test]"),
    S("data.class_names", data.class_names, NULL, PATH, "folder, webdataset (.cls): file of class names, one a line in the classes' order, or folder<TAB>name; unset: the folders' names"),
    S("data.class_template", data.class_template, "a photo of a {class}.", 0, "caption of a picture that has a class alone"),
    S("data.vqa_train.questions", data.vqa_train.questions, NULL, PATH, "questions about the training pictures: VQA v2, OK-VQA, TextVQA, VizWiz or GQA JSON, or multiple-choice or POPE JSONL"),
    S("data.vqa_train.annotations", data.vqa_train.annotations, NULL, PATH, "VQA v2 and OK-VQA: their annotations JSON"),
    E("data.vqa_train.format", data.vqa_train.format, "auto", VQA_FORMATS, 0, "what kind of file it is; auto: as its content says"),
    S("data.vqa_test.questions", data.vqa_test.questions, NULL, PATH, "questions about the held-out pictures: VQA v2, OK-VQA, TextVQA, VizWiz or GQA JSON, or multiple-choice or POPE JSONL"),
    S("data.vqa_test.annotations", data.vqa_test.annotations, NULL, PATH, "VQA v2 and OK-VQA: their annotations JSON"),
    E("data.vqa_test.format", data.vqa_test.format, "auto", VQA_FORMATS, 0, "what kind of file it is; auto: as its content says"),
    I("data.block", data.block, "256", 1, 1 << 20, 0, "samples a block: the unit of shuffling and of the cache"),
    I("data.window", data.window, "8", 1, 1 << 20, 0, "blocks whose samples are shuffled together"),
    E("data.view.name", data.view.crop, "whole", "whole random_resized_crop", 0,
      "what the towers see of a training picture: all of it, or a box drawn from (seed, sample), the same for teacher and student; evaluation sees the whole"),
    F("data.view.scale_min", data.view.scale_min, "0.9", 1e-6, 1, 0, "smallest share of the picture's area in the box"),
    F("data.view.scale_max", data.view.scale_max, "1", 1e-6, 1, 0, "largest share"),
    F("data.view.ratio_min", data.view.ratio_min, "0.75", 0.01, 100, 0, "smallest width / height of the box"),
    F("data.view.ratio_max", data.view.ratio_max, "1.3333333333", 0.01, 100, 0, "largest width / height"),
    B("data.view.flip", data.view.flip, "false", 0, "mirror half of the training pictures, left to right"),
    I("data.view.seed", data.view.seed, "1", 0, BIG, 0, "which boxes and mirrors are drawn"),
    E("data.on_error", data.skip_bad, "stop", "stop skip", 0, "what a broken sample does: stop the run, or be counted, named and skipped"),

    S("tokenizer.merges", tokenizer.merges, NULL, PATH, "CLIP's BPE: bpe_simple_vocab_16e6.txt.gz, merges.txt, tokenizer.json, or a folder with one; unset: the teacher's if that is CLIP's BPE, else a vocabulary is learned from the captions"),
    I("tokenizer.vocab_size", tokenizer.vocab_size, "1024", 514, 1 << 20, 0, "size of the learned vocabulary"),

    S("teacher.dir", teacher.dir, NULL, PATH, "folder with the teacher's model.safetensors and config.json (and merges.txt); unset: cache.dir holds imported embeddings"),
    F("teacher.weight", teacher.weight, "1", 0, NO_MAX, 0, "of its terms in the loss, where there are more_teachers"),
    F("teacher.logit_scale", teacher.logit_scale, "0", 0, 1e4, 0, "its logit scale (after exp) in the loss; 0: the checkpoint's own"),
    MODEL("teacher", teacher.model),
    TRAIN("teacher", teacher.train),

    MORE_TEACHER(0), MORE_TEACHER(1), MORE_TEACHER(2), MORE_TEACHER(3), MORE_TEACHER(4), MORE_TEACHER(5), MORE_TEACHER(6),

    S("student.init", student.init, NULL, PATH, "folder of a model whose weights the student begins with; sizes that student.model does not give are that model's"),
    S("student.inherit.from", student.inherit_from, NULL, PATH, "folder of a larger model, or `teacher`: the student begins with a part of its weights, as `pupil model inherit` takes it; sizes that student.model does not give are that model's"),
    E("student.inherit.select", student.inherit_select, "first", "first magnitude", 0, "which channels and heads: the first (TinyCLIP), or those with the largest sum of squares of weights"),
    E("student.text", student.text_of_teacher, "own", "own teacher", 0, "own: a text tower is trained; teacher: the first teacher's cached text embeddings are the student's text side (DIME-FM), and the model that is scored and exported has the teacher's text tower"),
    F("student.prune.target", student.prune.target, "0", 0, 0.99, 0, "share of each tower's MLP channels that learned masks close (hard-concrete gates under TinyCLIP's Lagrangian); the run ends with the smaller model, which student.init of the next takes; 0: no masks"),
    I("student.prune.ramp", student.prune.ramp, "1000", 1, BIG, 0, "steps over which the sparsity asked for rises from 0 to the target"),
    F("student.prune.lr", student.prune.lr, "0.02", 1e-9, 10, 0, "constant learning rate of masks and multipliers"),
    MODEL("student", student.model),
    TRAIN("student", student.train),

    {"loss.preset", TYPE_STRING, AT(loss.preset), NULL, 0, 0, LOSS_PRESETS, 0, "a loss of the literature, which stands for the terms that `pupil help losses` shows; keys that are given stand above it"},
    E("loss.variant", loss.variant, "published", VARIANTS, 0, "of the preset: published: as the paper has it; as-released: as its code does it, where the two differ"),
    I("loss.captions", loss.captions, "1", 1, 2, 0, "captions of a picture in a step; 2: the loss is that with its first caption plus that with another one (MobileCLIP's DR)"),
    E("loss.heads", loss.plain_heads, "normalised", "normalised plain", 0, "where a teacher's width is another: normalise(W x + b) of the raw embedding, as CLIP-KD; plain: W v + b of the normalised one, as nano-clip"),
    TERM(task, "1", "InfoNCE of student pictures and captions (`task: 1` for short, also below)"),
    TERM(sigmoid, "0", "SigLIP's loss of student pictures and captions, with a trained logit bias"),
    TERM(crd, "0", "contrastive relational distillation: KL(teacher || student) of both softmaxes"),
    E("loss.crd.direction", loss.crd.reversed, "forward", "forward reversed", 0, "reversed: KL(student || teacher), as nano-clip has it"),
    TERM(icl, "0", "interactive contrastive learning: student against teacher embeddings"),
    E("loss.icl.variant", loss.icl.variant, "published", VARIANTS, 0, "published: its scale is exp(parameter); as-released: the raw parameter, as CLIP-KD's code has it"),
    TERM(cross_kd, "0", "teacher's softmaxes for student against teacher embeddings"),
    E("loss.cross_kd.variant", loss.cross_kd.variant, "published", VARIANTS, 0, "as for loss.icl"),
    TERM(fd, "0", "feature distillation (MSE of normalised embeddings); CLIP-KD uses 2000"),
    E("loss.fd.reduce", loss.fd.reduce, "mean", "mean sum", 0, "mean over dimensions (published; its weight shrinks as the teacher widens) or sum (free of the dimension)"),
    SIDES(fd, "both"),
    TERM(gd, "0", "gradient distillation: MSE of the contrastive gradients; about 1 published, 1e8 as released"),
    E("loss.gd.variant", loss.gd.variant, "published", VARIANTS, 0, "published: logits times the scale; as-released: divided by it"),
    TERM(afd, "0", "augmented feature distillation: InfoNCE of heads over [student; teacher]"),
    E("loss.afd.variant", loss.afd.variant, "published", VARIANTS, 0, "as for loss.icl, of its own scale"),
    TERM(affinity, "0", "affinity mimicking: cross-entropy with the teacher's softmaxes (TinyCLIP, open_clip)"),
    F("loss.affinity.scale", loss.affinity.scale, "0", 0, 1e6, 0, "pins both logit scales (TinyCLIP: 50); 0: their own"),
    TERM(ensemble, "0", "cross-entropy with the mean of all teachers' softmaxes (MobileCLIP)"),
    F("loss.ensemble.scale", loss.ensemble.scale, "0", 0, 1e6, 0, "pins the teachers' logit scales (MobileCLIP: 100); 0: their own"),
    TERM(soft_sigmoid, "0", "SigLIP's loss with the mean of all teachers' sigmoids as labels (MobileCLIP2)"),
    TERM(hinton, "0", "KL of softmaxes at a temperature, times its square"),
    TAU(hinton, "4"), WAYS(hinton),
    TERM(logit_std, "0", "as hinton, of logits standardised row by row; its authors use 9"),
    TAU(logit_std, "2"), WAYS(logit_std),
    TERM(dist, "0", "DIST: correlations of the softmaxes' rows and columns"),
    TAU(dist, "1"),
    F("loss.dist.beta", loss.dist.beta, "1", 0, NO_MAX, 0, "weight of its rows"),
    F("loss.dist.gamma", loss.dist.gamma, "1", 0, NO_MAX, 0, "weight of its columns"),
    WAYS(dist),
    TERM(rkd_distance, "0", "RKD: distances within a batch; its authors use 25 (1 for metric learning)"),
    FEATURES(rkd_distance), SIDES(rkd_distance, "both"),
    TERM(rkd_angle, "0", "RKD: angles within a batch; its authors use 50 (2 for metric learning)"),
    FEATURES(rkd_angle), SIDES(rkd_angle, "both"),
    TERM(vl, "0", "DIME-FM: KL of student pictures against the teacher's captions; pictures and captions need not be pairs"),
    TAU(vl, "1"), SIDES(vl, "image"),
    TERM(pvl, "0", "DIME-FM: KL of student pictures against the teacher's pictures"),
    TAU(pvl, "3"), SIDES(pvl, "image"),
    TERM(udist, "0", "DIME-FM: KL of student pictures against themselves"),
    TAU(udist, "7"), SIDES(udist, "image"),

    S("cache.dir", cache.dir, NULL, PATH | FREE, "folder of the teacher's cached embeddings; what it must hold is known from its content, not from its name"),
    E("cache.dtype", cache.dtype, "f16", "f16 f32 bf16 i8", 0, "how they are stored; i8 keeps a scale for each vector; what it costs is told by `pupil cache ls`"),
    I("cache.views", cache.views, "1", 1, 64, 0, "views of a picture whose embeddings are kept; epochs go through them; data.view must draw something if there are several"),
    I("cache.captions", cache.captions, "1", 1, 64, 0, "captions of a picture whose embeddings are kept, its own first; a picture with fewer begins again with its first"),
    E("cache.view_policy", cache.independent_views, "same", "same independent", 0, "same: the student sees the view that its teacher saw; independent: another one, a control"),
    I("cache.segment_blocks", cache.segment_blocks, "4", 1, 1 << 16, FREE, "blocks a segment file"),
    I("cache.high_water", cache.high_water, "64", 1, BIG, FREE, "split mode: blocks the teachers may be ahead of what the students need"),
    I("cache.share", cache.share, "0", 0, 1 << 20, FREE, "0: this job fills the cache alone; from 1: one of several jobs that fill it at the same time, each with a number of its own; they claim segment after segment"),

    B("eval.vqa.enable", eval.vqa, "true", FREE, "VQA probe on the frozen student (`vqa: false` for short)"),
    I("eval.vqa.hidden", eval.vqa_hidden, "512", 1, 65536, FREE, "hidden width of the probe"),
    I("eval.vqa.epochs", eval.vqa_epochs, "20", 1, 100000, FREE, "epochs of the probe"),
    I("eval.vqa.batch", eval.vqa_batch, "256", 1, 1 << 20, FREE, "batch of the probe"),
    F("eval.vqa.lr", eval.vqa_lr, "1e-3", 0, 1e3, FREE, "peak learning rate of the probe"),
    I("eval.vqa.answers_min", eval.vqa_answers_min, "9", 1, BIG, FREE, "an answer must be seen so often in training to be listed"),
    I("eval.vqa.train_questions", eval.vqa_train_questions, "0", 0, BIG, FREE, "at most so many training questions; 0: all"),
    B("eval.retrieval.enable", eval.retrieval, "true", FREE, "retrieval on held-out pairs"),
    I("eval.retrieval.pairs", eval.retrieval_pairs, "1000", 0, BIG, FREE, "at most so many pairs; 0: all"),
    I("eval.sample_questions", eval.sample_questions, "24", 1, 1000, FREE, "questions shown in the report"),
    B("eval.zero_shot.enable", eval.zero_shot, "true", FREE, "zero-shot classification of held-out pictures that have a class (`zero_shot: false` for short)"),
    S("eval.zero_shot.classnames", eval.classnames, NULL, PATH | FREE, "file of class names, one a line, in the classes' order; unset: those of the data"),
    S("eval.zero_shot.templates", eval.templates, NULL, PATH | FREE, "file of prompts, one a line, with {} for the class name; a class is the mean of all; unset: 'a photo of a {}.'"),
    S("eval.zero_shot.subset", eval.subset, NULL, PATH | FREE, "file of indices of class names (ImageNet-R, -A): only these are candidates, and a picture's class is a place in this list"),
    I("eval.zero_shot.pictures", eval.zero_shot_pictures, "0", 0, BIG, FREE, "at most so many pictures; 0: all"),
    B("eval.vqa_zero_shot.enable", eval.ranked, "true", FREE, "questions answered without training: the candidate answer whose prompt is nearest to the picture"),
    L("eval.vqa_zero_shot.templates", eval.ranked_templates, FREE, "prompts with {question} and {answer}; a candidate is the mean of all; unset: ['Question: {question} Answer: {answer}']"),
    I("eval.vqa_zero_shot.answers", eval.ranked_answers, "10", 0, 1 << 16, FREE, "candidates of an open question: so many answers, the most frequent in training for its type; 0: multiple choice alone"),
    I("eval.vqa_zero_shot.questions", eval.ranked_questions, "1000", 0, BIG, FREE, "at most so many questions; 0: all"),
    B("eval.reader.enable", eval.reader.enable, "false", FREE, "a generative reader: the frozen student's patch tokens go through a two-layer projector into a small Llama-type decoder, trained here on captions, then on questions; and one that sees no picture (`reader: true` for short)"),
    S("eval.reader.decoder", eval.reader.decoder, NULL, PATH | FREE, "folder of a published decoder of Llama's form (config.json, model.safetensors, its tokenizer), which stays frozen: the projector alone is trained; unset: our own, of the sizes below"),
    I("eval.reader.width", eval.reader.width, "128", 8, 16384, FREE, "width of the decoder; its MLPs are 8/3 of it"),
    I("eval.reader.layers", eval.reader.layers, "2", 1, 128, FREE, "blocks of the decoder"),
    I("eval.reader.heads", eval.reader.heads, "4", 1, 1024, FREE, "heads of queries; they share the width evenly, each an even part"),
    I("eval.reader.kv_heads", eval.reader.kv_heads, "2", 1, 1024, FREE, "heads of keys and values, each shared by heads / kv_heads queries"),
    I("eval.reader.caption_epochs", eval.reader.caption_epochs, "2", 0, 100000, FREE, "first stage: epochs of saying what training pictures are captioned with"),
    I("eval.reader.caption_pictures", eval.reader.caption_pictures, "16384", 0, BIG, FREE, "at most so many of these pictures; 0: all of the training split"),
    I("eval.reader.epochs", eval.reader.epochs, "6", 1, 100000, FREE, "second stage: epochs of answering the training questions"),
    I("eval.reader.batch", eval.reader.batch, "64", 1, 1 << 20, FREE, "texts a step, over all ranks"),
    F("eval.reader.lr", eval.reader.lr, "1e-3", 0, 1e3, FREE, "peak learning rate of both stages"),
    I("eval.reader.answer_tokens", eval.reader.answer_tokens, "10", 1, 4096, FREE, "an answer has at most so many tokens"),
    B("eval.fusion.enable", eval.fusion.enable, "false", FREE, "a fusion head, as METER has it: co-attention of the frozen student's patch tokens and the question's tokens, then one logit for each listed answer (`fusion: true` for short)"),
    I("eval.fusion.width", eval.fusion.width, "128", 8, 16384, FREE, "width of both streams; their MLPs are 8/3 of it"),
    I("eval.fusion.layers", eval.fusion.layers, "2", 0, 128, FREE, "co-attention layers of the head; 0: it pools both streams as they are"),
    I("eval.fusion.heads", eval.fusion.heads, "4", 1, 1024, FREE, "attention heads; they share the width evenly"),
    I("eval.fusion.epochs", eval.fusion.epochs, "6", 1, 100000, FREE, "epochs over the training questions"),
    I("eval.fusion.batch", eval.fusion.batch, "64", 1, 1 << 20, FREE, "questions a step, over all ranks"),
    F("eval.fusion.lr", eval.fusion.lr, "1e-3", 0, 1e3, FREE, "peak learning rate"),
    F("eval.fusion.tune", eval.fusion.tune, "0", 0, 1e3, FREE, "above 0: a second head, trained together with a copy of both towers, which learn at so many times that rate"),
    F("eval.token_gib", eval.token_gib, "8", 0, 1e6, FREE, "refuse to keep more GiB of token features (f16) on a rank for eval.reader and eval.fusion; eval.vqa.train_questions makes them fewer"),
    B("eval.diagnostics", eval.diagnostics, "true", FREE, "similarity to the teacher (linear CKA, affinity KL), alignment, uniformity and effective rank of held-out pairs"),
    B("eval.pixel_baseline", eval.pixel_baseline, "false", FREE, "nearest neighbour on pixels beside the model"),

    E("slurm.shape", slurm.shape, "auto", "auto single chained hetjob", FREE,
      "single: one job; chained: an array of teacher jobs, then a student job; hetjob: students and teachers of one job on nodes of two kinds; auto: chained where run.mode is, else single"),
    S("slurm.account", slurm.account, NULL, FREE, "account that pays"),
    S("slurm.qos", slurm.qos, NULL, FREE, "its quality of service, where the site has some"),
    NODES("slurm", slurm.all, "04:00:00", "1"),
    NODES("slurm.teacher", slurm.teacher, NULL, NULL),
    I("slurm.teacher.jobs", slurm.jobs, "4", 1, 10000, FREE, "chained: jobs of the teacher array; they share the work as they come"),
    I("slurm.teacher.at_once", slurm.jobs_at_once, "0", 0, 10000, FREE, "chained: at most so many of them run at a time; 0: all"),
    I("slurm.cells_at_once", slurm.cells_at_once, "0", 0, 10000, FREE, "several configurations: at most so many run at a time; 0: all"),
    L("slurm.modules", slurm.modules, FREE, "modules to load, in this order: [gcc/12, openmpi/4.1]"),
    L("slurm.lines", slurm.lines, FREE, "extra lines; those that begin with #SBATCH stand at the top, the others before the ranks start"),
    E("slurm.launcher", slurm.launcher, "auto", "auto srun mpirun", FREE, "what starts the ranks; auto: srun --mpi=pmix where it is offered, else mpirun"),
    B("slurm.stage", slurm.stage, "false", FREE, "copy the cache's segments to node-local disk before the students train"),
    I("slurm.signal_seconds", slurm.signal_seconds, "120", 1, 65535, FREE, "a job saves a checkpoint so many seconds before its time is up, and is queued again"),
    I("slurm.retries", slurm.retries, "3", 1, 1000, FREE, "a job that made no progress in so many starts is not queued again"),
    F("slurm.gflops", slurm.gflops, "0", 0, 1e6, FREE, "float32 GFLOP/s of one core of the nodes, for the estimate; 0: as measured where you submit"),
};
/* clang-format on */

const int schema_n = PUPIL_COUNT(schema);

int schema_find(const char *key)
{
    for (int i = 0; i < schema_n; i++)
        if (!strcmp(schema[i].key, key)) return i;
    return -1;
}

bool schema_is_list(const char *key)
{
    char first[96];
    return snprintf(first, sizeof first, "%s.0", key) < (int)sizeof first && schema_is_section(first);
}

int schema_item(const char *key)
{
    const char *dot = strchr(key, '.');
    return dot && dot[1] >= '0' && dot[1] <= '9' ? dot[1] - '0' : -1;
}

bool schema_is_section(const char *key)
{
    size_t n = strlen(key);
    for (int i = 0; i < schema_n; i++)
        if (!strncmp(schema[i].key, key, n) && schema[i].key[n] == '.') return true;
    return false;
}
