/** data: the same samples at step s on any number of ranks.
 *
 *  Data sets (built-in scenes, WebDataset tars), VQA question files, tokenizers, image decoding and
 *  preprocessing, and the order in which an epoch visits samples. Not collective, all of it: every rank
 *  opens the same data set and reads the samples it needs. Objects belong to one thread unless said.
 */
#ifndef PUPIL_DATA_H
#define PUPIL_DATA_H

#include "pupil/base.h"
#include "pupil/conf.h"

/* ---- images ------------------------------------------------------------------------------------- */
typedef struct {
    int w, h;
    uint8_t *rgb; /* [h][w][3], owned by whoever holds the struct */
} pupil_image;
void pupil_image_free(pupil_image *im);

/** Decode JPEG, PNG or WebP bytes to RGB as Pillow's convert("RGB") does: grey is spread, palette looked
 *  up, alpha dropped, CMYK by Pillow's formula, 16-bit grey clipped, EXIF orientation ignored. Refuses more
 *  than 178,956,970 pixels, as Pillow does. PUPIL_EFORMAT; reason without a name. */
int pupil_image_decode(const void *bytes, size_t n, pupil_image *ret);
/** PNG file bytes (RGB, 8 bit) into `out`. */
int pupil_image_encode_png(const pupil_image *im, pupil_buf *out);

/** How a tower wants its pixels. */
typedef enum {
    PUPIL_RESIZE_SHORTEST,    /* shortest side, then the middle: its corner rounded as torchvision does, halves to even */
    PUPIL_RESIZE_SHORTEST_HF, /* the same with the corner rounded down, as Hugging Face's CLIPImageProcessor does */
    PUPIL_RESIZE_SQUASH,
    PUPIL_RESIZE_LONGEST
} pupil_resize_mode;
typedef struct {
    int size;
    pupil_resize_mode mode;
    bool bilinear; /* else bicubic, a = -0.5 */
    double mean[3], std[3];
} pupil_preprocess;
/** size px, shortest side + centre crop, bicubic, OpenAI's mean and std. */
pupil_preprocess pupil_preprocess_default(int size);
/** Resize and crop exactly as Pillow 9.4 (8-bit fixed point, antialiased) -> out[size][size][3] bytes.
 *  PUPIL_EFORMAT where a side would become 0. */
int pupil_preprocess_u8(const pupil_preprocess *p, const pupil_image *im, uint8_t *out);
/** (u8/255 - mean)/std, HWC bytes -> CHW floats: out[3][size][size]. */
void pupil_preprocess_normalize(const pupil_preprocess *p, const uint8_t *u8, float *out);
/** "size=64 mode=shortest interpolation=bicubic mean=... std=..." for identities. */
void pupil_preprocess_text(const pupil_preprocess *p, pupil_buf *out);

/** A view of a picture, drawn from (seed, sample, view) alone and so the same for teacher and student. */
typedef struct {
    bool crop;                  /* torchvision's RandomResizedCrop; else the whole picture */
    double scale[2], ratio[2];  /* share of the area; width/height */
    bool flip;                  /* mirrored in half of the cases */
    uint64_t seed;
} pupil_view_recipe;
typedef struct {
    int x, y, w, h; /* the box, in pixels of the decoded picture */
    bool whole, flip; /* whole: no box, the tower's own resize mode */
} pupil_view;
pupil_view_recipe pupil_view_of_conf(const pupil_conf_view *c);
/** View `view` of sample `sample`, a picture of w x h pixels. Pure. */
pupil_view pupil_view_at(const pupil_view_recipe *r, int64_t sample, int64_t view, int w, int h);
/** A box of the picture is cut out and resized to size x size whatever its shape; the whole picture goes through
 *  pupil_preprocess_u8(). Then mirrored if the view says so. */
int pupil_preprocess_view(const pupil_preprocess *p, const pupil_image *im, const pupil_view *v, uint8_t *out);
/** "whole picture", "whole picture flip=yes seed=1" or "random_resized_crop scale=0.9,1 ratio=0.75,1.3333333333 flip=no
 *  seed=1", for identities. */
void pupil_view_text(const pupil_view_recipe *r, pupil_buf *out);

/* ---- data sets ---------------------------------------------------------------------------------- */
typedef enum { PUPIL_TRAIN, PUPIL_TEST } pupil_split;
typedef struct pupil_dataset pupil_dataset;

/** Open as data.source says. Tars are indexed once: the index is stored beside each tar as NAME.tar.idx
 *  (or in `index_dir` when that folder is not writable), checked against the tar's size and mtime. Broken
 *  samples are counted, the first few named in one line, and left out or refused as data.on_error says: all that can
 *  be told without decoding (missing and empty files, empty captions, names that lead out of the data, what is no
 *  picture, truncated tars). */
int pupil_dataset_open(const pupil_conf_data *conf, const char *index_dir, pupil_dataset **ret);
/** Index the tars of `conf` that have no index yet; tick: called before each tar, with bytes done. Returns how many
 *  were made, 0 where data.source is another. */
int pupil_dataset_index(const pupil_conf_data *conf, const char *index_dir,
                        void (*tick)(void *state, const char *tar, int64_t done, int64_t of), void *state);
void pupil_dataset_free(pupil_dataset **d);
int64_t pupil_dataset_count(const pupil_dataset *d, pupil_split split);
/** SHA-256 over what the split's samples are (scenes: their recipe; tars: keys, sizes, captions; files: paths, captions
 *  and the sizes of some). */
int pupil_dataset_digest(pupil_dataset *d, pupil_split split, char ret_hex[65]);
/** Image of sample i. Caller frees. Pure: any rank, any order, any number of threads at once. A picture whose bytes cannot be decoded is PUPIL_EFORMAT
 *  with on_error: stop; with skip it is a black one of 64 x 64 pixels, on every rank alike, and counted. A file that
 *  cannot be read is an error with either. */
int pupil_dataset_image(pupil_dataset *d, pupil_split split, int64_t i, pupil_image *ret);
/** Sample i's picture will be asked for soon: its bytes may be on their way then. Any number of threads at once. */
void pupil_dataset_expect(pupil_dataset *d, pupil_split split, int64_t i);
int pupil_dataset_captions(const pupil_dataset *d, pupil_split split, int64_t i); /* how many, >= 1 */
/** Caption k of sample i, owned by the caller. */
int pupil_dataset_caption(pupil_dataset *d, pupil_split split, int64_t i, int k, char **ret);
/** Class of sample i (folder; tars with .cls members), or -1. */
int64_t pupil_dataset_class(const pupil_dataset *d, pupil_split split, int64_t i);
/** How many classes have names, and these (borrowed): data.class_names, or the sorted class folders of both splits. */
int pupil_dataset_classes(const pupil_dataset *d, char *const **ret_names);
/** Pictures of this process that were black, each counted once. */
int64_t pupil_dataset_blackened(const pupil_dataset *d);
/** What is wrong with the data as far as this process knows, a line each; nothing where nothing is. */
void pupil_dataset_problems(const pupil_dataset *d, pupil_buf *out);
/** Stable key of a sample ("scene-000017", the tar's member key, a file's path below its root without extension).
 *  Owned by the caller. */
int pupil_dataset_key(pupil_dataset *d, pupil_split split, int64_t i, char **ret);

/** Sample keys that lie beside a matrix of embeddings: DIR/keys.txt, one a line, or DIR/keys.json, a list of texts. Each is
 *  appended to `keys` with the NUL that ends it; none is empty. PUPIL_ENOTFOUND: neither is there. */
int pupil_keys_read(const char *dir, pupil_buf *keys, int64_t *ret_n);

/* ---- the order of an epoch ---------------------------------------------------------------------- */
/** Blocks of `block` samples are permuted, then samples are permuted inside windows of `window` permuted
 *  blocks; a part-filled last block comes last. A pure function of (seed, epoch, position). */
typedef struct {
    int64_t samples, block, window;
    uint64_t seed;
} pupil_order;
int64_t pupil_order_blocks(const pupil_order *o);
/** The block at place `k` (0 .. blocks-1) of epoch `epoch`: the order in which teachers should work. */
int64_t pupil_order_block(const pupil_order *o, int64_t epoch, int64_t k);
/** The sample at position `pos` (0 .. samples-1) of `epoch`. */
int64_t pupil_order_sample(const pupil_order *o, int64_t epoch, int64_t pos);
/** Places 0 .. n-1 of `epoch` that must be published before position `pos` can be read: returns n. */
int64_t pupil_order_needs(const pupil_order *o, int64_t pos);

/* ---- tokenizer ---------------------------------------------------------------------------------- */
/** A model's own tokenizer. Three kinds: CLIP's BPE; SentencePiece's unigram (SigLIP); SentencePiece's BPE with byte
 *  fallback (SigLIP2's Gemma vocabulary).
 *
 *  CLIP's byte-level BPE: ids = 256 bytes, 256 bytes+</w>, merges, <start_of_text>, <end_of_text>.
 *  Text (bytes that are not UTF-8 replaced by U+FFFD) is HTML-unescaped twice, stripped, white space
 *  collapsed, lower-cased (Unicode), split by CLIP's pattern, as open_clip's SimpleTokenizer does without ftfy,
 *  whichever file the vocabulary comes from: transformers' CLIPTokenizer cleans a little differently (NFC, no
 *  unescaping). open_clip_config.json (text_cfg.tokenizer_kwargs.clean) beside the file may name another of
 *  open_clip's cleanings: lower, whitespace, whitespace_underscore, canonicalize. */
typedef struct pupil_tokenizer pupil_tokenizer;
/** From a merges file: bpe_simple_vocab_16e6.txt(.gz) or merges.txt (first line a header; merges after it,
 *  at most vocab 49408 when the file is CLIP's). PUPIL_EFORMAT with file:line unless each merge joins two
 *  tokens known by then into a new one. */
int pupil_tokenizer_load(const char *path, pupil_tokenizer **ret);
/** The tokenizer of a model folder: merges.txt (with vocab.json beside it or without), bpe_simple_vocab_16e6.txt(.gz),
 *  tokenizer.json (BPE of CLIP, unigram or BPE of SentencePiece), spiece.model or tokenizer.model. `path` may also be
 *  one such file. PUPIL_ENOTFOUND: none of them is there, and which were looked for. */
int pupil_tokenizer_open(const char *path, pupil_tokenizer **ret);
/** The files that make pupil_tokenizer_open(dir) the same tokenizer, into a folder that is there: the file it was
 *  opened from, byte for byte (CLIP's: merges.txt), and tokenizer_config.json where text is cleaned or padded in a
 *  way that the file does not tell. PUPIL_EMISMATCH: that file has changed since. */
int pupil_tokenizer_copy(const pupil_tokenizer *t, const char *dir);
/** CLIP's vocab.json, {"token": id, ...} with tokens as merges.txt writes them and the specials <|startoftext|> and
 *  <|endoftext|>. PUPIL_EUSER for another kind. */
int pupil_tokenizer_vocab_json(const pupil_tokenizer *t, pupil_buf *out);
/** The file in the folder (or the path itself) that pupil_tokenizer_open() takes, owned by the caller; or NULL. */
char *pupil_tokenizer_file(const char *path);
/** Towers of this kind see padding: encode() fills up to `context` with the pad id. */
bool pupil_tokenizer_pads(const pupil_tokenizer *t);
/** "CLIP BPE", "SentencePiece unigram", "SentencePiece BPE". */
const char *pupil_tokenizer_kind(const pupil_tokenizer *t);
/** Learn a vocabulary of `vocab_size` ids from n texts: byte-pair merges by count, ties by bytes. Deterministic.
 *  Pairs seen once are left alone, so it may come out smaller: ask pupil_tokenizer_vocab(). */
int pupil_tokenizer_learn(const char *const *texts, int64_t n, int64_t vocab_size, pupil_tokenizer **ret);
/** Write as merges.txt, loadable again with the same ids; through publish. */
int pupil_tokenizer_save(const pupil_tokenizer *t, const char *path);
void pupil_tokenizer_free(pupil_tokenizer **t);
int64_t pupil_tokenizer_vocab(const pupil_tokenizer *t);
/** SHA-256 of everything that ids depend on: kind, vocabulary, cleaning, specials, padding. */
void pupil_tokenizer_digest(const pupil_tokenizer *t, char ret_hex[65]);
/** CLIP: ids[0..n-1] = start, text, end; cut at `context` with the last id set to end. Returns n (2..context).
 *  Not padded: captions are packed by true length. SentencePiece: text, end, padding; returns n = context.
 *  Safe from several threads. */
int pupil_tokenizer_encode(const pupil_tokenizer *t, const char *text, int context, int32_t *ids);
/** Text of ids, specials included, owned by the caller. */
char *pupil_tokenizer_decode(const pupil_tokenizer *t, const int32_t *ids, int n);

/* ---- VQA ---------------------------------------------------------------------------------------- */
typedef struct {
    int64_t question_id, image; /* image: sample index in its split */
    char *question;
    char *question_type, *answer_type; /* answer_type: "yes/no", "number", "other" */
    char *answers[10];                 /* n_answers as given; then these again, in turn */
    char *answer;                      /* multiple_choice_answer, or the most frequent one */
    char *id;                          /* the question's id as its file writes it; VizWiz: the picture's name; none: "#0" ... */
    int n_answers, n_choices;
    int correct;       /* of the choices */
    char **choices;    /* multiple choice; else NULL */
    bool unanswerable; /* VizWiz */
    char *types[2];    /* GQA: semantic and detailed type; else NULL */
    bool unbalanced;   /* GQA: not of the balanced subset */
    char **entailed;   /* GQA: ids of questions whose answers follow from this one's, itself among them or not */
    int n_entailed;
} pupil_vqa_question;
typedef struct {
    pupil_vqa_question *q; /* texts belong to the set, and equal ones may be one: leave them as they are */
    int64_t n, left_out;   /* left_out: questions about images that are not there */
    pupil_vqa_format format;
} pupil_vqa_set;
/** "VQA v2", "TextVQA", "VizWiz", "GQA", "multiple choice", "POPE". */
const char *pupil_vqa_format_name(pupil_vqa_format f);
/** Questions about a split: generated (scenes; types "exists", "count", "colour", "shape", "position", "compare"),
 *  or read from the files named in the config, in the order of the questions file, whatever their size in little more
 *  memory than the set. Formats (data.vqa_*.format; auto: as the content says, and a line says which):
 *  - VQA v2 and OK-VQA: {"questions": [...]} and {"annotations": [...]}, ten answers each;
 *  - TextVQA: {"data": [{question_id, image_id, question, answers}]}, one to ten answers;
 *  - VizWiz: [{image, question, answers, answer_type, answerable}];
 *  - GQA: {"id": {imageId, question, answer, types}}; question_type is the structural type;
 *  - multiple choice: one object a line (or a list of them): image (or image_id), question, choices (2 to 64) and
 *    answer (or correct_choice_idx) as index from 0, as the text of a choice, or as its letter; optional id (or
 *    question_id) and category;
 *  - POPE: one object a line: question_id, image, text, label (yes or no); optional category, else the end of the
 *    file's name (coco_pope_random.json: "random"); question_type is the category.
 *  An image is named by a sample's key, by the last part of one, or (digits) by a key zero-padded to 12 digits or by
 *  the number that a key ends in; a picture's extension is taken off before. Questions about images that are not
 *  there are left out and counted in a warning.
 *  PUPIL_ENOTFOUND if the config names no files; PUPIL_EFORMAT with file, line and place. */
int pupil_vqa_open(pupil_dataset *d, pupil_split split, pupil_vqa_set **ret);
/** The questions of files alone, whose pictures may be elsewhere: image is the number of its name among those of the
 *  file. */
int pupil_vqa_load(const pupil_conf_vqa_files *named, pupil_vqa_set **ret);
void pupil_vqa_free(pupil_vqa_set **s);

/** Somebody's answers to the questions of a set, in its order. */
typedef struct {
    char **answer;      /* NULL: none; borrowed from texts below */
    double *answerable; /* VizWiz: the probability given with each answer; NULL where not all have one */
    int64_t n, missing;
    void *texts;        /* private */
} pupil_vqa_results;
/** Results files of all formats: a list of objects, one object a line, or an object {id: answer}. The id is question_id,
 *  questionId, id or (VizWiz) image; the answer is answer, prediction, pred_answer or text: text, or a number.
 *  Refused: an id twice, an id of no question, a question without an answer, unless `subset` allows that (GQA's
 *  questions outside the balanced subset need none). PUPIL_EFORMAT with file, line and place. */
int pupil_vqa_results_read(const char *path, const pupil_vqa_set *set, bool subset, pupil_vqa_results *ret);
void pupil_vqa_results_free(pupil_vqa_results *r);
/** GQA's choices file, {id: {"valid": [...], "plausible": [...]}}: which answers are in the lists of their question.
 *  ret_*: [set->n], 0 where there is no answer. PUPIL_EFORMAT, also where a question has no lists. */
int pupil_vqa_choices_check(const char *path, const pupil_vqa_set *set, char *const *answer, uint8_t *ret_valid,
                            uint8_t *ret_plausible);

/* ---- making data sets --------------------------------------------------------------------------- */
/** `pupil data scenes --out DIR`: the scenes of `conf` as DIR/{train,test}-000000.tar ...
 *  (KEY.png, KEY.txt, KEY.json with all captions; per_tar samples in each) and
 *  DIR/{train,test}_{questions,annotations}.json in the official VQA v2 format, image_id being the number KEY ends
 *  in. The same settings give the same bytes. Each file is published when it is whole. */
int pupil_scenes_export(const pupil_conf_scenes *conf, const char *dir, int64_t per_tar);


#endif
