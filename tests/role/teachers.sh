#!/bin/sh
# Teachers as they are published: a SigLIP folder with a SentencePiece tokenizer of its own teaches a CLIP student with CLIP's
# BPE; beside it a second teacher with another width, tokenizer and cache. The same student on any ranks; one more teacher
# leaves the first one's cache alone; wrong tokenizers are refused in one line.
set -eu
here=$(dirname "$0")
make_model=$1
dir=$(mktemp -d "${TMPDIR:-/tmp}/pupil-teachers.XXXXXX")
trap 'rm -rf "$dir"' EXIT
fail() { echo "FAIL $*"; exit 1; }
cat >"$dir/siglip.json" <<END
{"model_cfg": {"embed_dim": 48, "init_logit_bias": -10, "custom_text": true,
  "vision_cfg": {"image_size": 32, "timm_model_name": "vit_base_patch16_siglip_224", "timm_model_pretrained": false, "timm_pool": "map",
    "timm_proj": "none", "timm_model_kwargs": {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 2}},
  "text_cfg": {"context_length": 16, "vocab_size": 420, "width": 48, "heads": 2, "layers": 2, "no_causal_mask": true, "proj_bias": true,
    "pool_type": "last", "norm_kwargs": {"eps": 1e-06}}},
 "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "interpolation": "bicubic", "resize_mode": "squash"}}
END
cat >"$dir/clip.json" <<END
{"model_cfg": {"embed_dim": 40, "quick_gelu": true,
  "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "head_width": 32, "patch_size": 16},
  "text_cfg": {"context_length": 20, "vocab_size": 600, "width": 32, "heads": 1, "layers": 1}}}
END
"$make_model" "$dir/siglip.json" "$dir/siglip" 1
"$make_model" "$dir/clip.json" "$dir/clip" 2
cp "$here/../data/pieces/unigram.model" "$dir/siglip/spiece.model"
sed '/^  train: {steps: 6,/d' "$here/tiny.yaml" >"$dir/given.yaml" # the teachers are there: nothing to train
start() { # name ranks [--set ...]
  name=$1
  np=$2
  shift 2
  "$here/../mpirun.sh" "$np" "$PUPIL_BIN" run "$dir/given.yaml" --set run.dir="$dir/$name" --set teacher.dir="$dir/siglip" "$@" >"$dir/$name.log" 2>&1
}
finish() { start "$@" || { cat "$dir/$1.log"; fail "$1 did not finish"; }; }
refused() { # name, what is said, [--set ...]
  name=$1
  said=$2
  shift 2
  code=0
  start "$name" 1 "$@" || code=$?
  [ "$code" = 2 ] && grep -q "$said" "$dir/$name.log" || { cat "$dir/$name.log"; fail "$name: exit $code, expected 2 and '$said'"; }
  echo "ok   refused: $said"
}

finish one 1 --set cache.dir="$dir/cache"
grep -q 'teacher  .*/siglip: SigLIP, gelu, 32 px / 8, squash bicubic, embedding 48; SentencePiece unigram, .* context 16; open_clip layout, F16' \
  "$dir/one.log" || { cat "$dir/one.log"; fail "the log does not name the teacher"; }
finish two 2 --set cache.dir="$dir/cache2"
cmp "$dir/one/model.safetensors" "$dir/two/model.safetensors" || fail "2 ranks gave another student"
"$PUPIL_BIN" tokenize --tokenizer "$dir/one" --context 20 <<END | grep -q '^\[598,' || fail "the student does not read with CLIP's BPE"
a red circle
END
echo "ok   a SigLIP teacher, 1 and 2 ranks"

"$here/../mpirun.sh" 1 "$PUPIL_BIN" run "$here/tiny.yaml" --set run.dir="$dir/make" --set teacher.dir="$dir/trained" --set cache.dir="$dir/make-cache" \
  >"$dir/make.log" 2>&1 || { cat "$dir/make.log"; fail "no second tokenizer"; }
refused bare "clip: the teacher's vocabulary has 600 ids\\|does not go with the tokenizer" --set teacher.dir="$dir/clip" --set cache.dir="$dir/c" --set tokenizer.vocab_size=550
cp "$dir/trained/merges.txt" "$dir/clip/merges.txt"
before=$(cat "$dir"/cache/* 2>/dev/null | sha256sum)
more="--set more_teachers.0.dir=$dir/clip --set more_teachers.0.weight=0.5"
finish both 1 --set cache.dir="$dir/cache" $more --set more_teachers.0.cache="$dir/more"
[ "$before" = "$(cat "$dir"/cache/* 2>/dev/null | sha256sum)" ] || fail "one more teacher touched the first one's cache"
grep -q 'cache    .*/cache: .*forward passes: 0' "$dir/both.log" && grep -q 'cache    .*/more: .*forward passes: 500' "$dir/both.log" ||
  { cat "$dir/both.log"; fail "forward passes"; }
cmp -s "$dir/one/model.safetensors" "$dir/both/model.safetensors" && fail "the second teacher changes nothing"
finish both3 3 --set cache.dir="$dir/cache3" $more --set more_teachers.0.cache="$dir/more3" --set ranks.teacher=2
cmp "$dir/both/model.safetensors" "$dir/both3/model.safetensors" || fail "3 ranks gave another student of two teachers"
echo "ok   two teachers, 1 and 3 ranks, each with its cache"

# A teacher that gives no finite embedding to captions with one of the tokens.
token=$(echo "a small purple triangle" | "$PUPIL_BIN" tokenize --tokenizer "$dir/trained" --context 20 | sed 's/^\[[0-9]*, *[0-9]*, *[0-9]*, *\([0-9]*\).*/\1/')
"$make_model" "$dir/clip.json" "$dir/sick" 2 token_embedding.weight "$token"
cp "$dir/trained/merges.txt" "$dir/sick/merges.txt"
code=0
start stops 1 --set teacher.dir="$dir/sick" --set cache.dir="$dir/sick-cache" || code=$?
[ "$code" = 1 ] && grep -q "sick: block [0-9]* row [0-9]* (sample [0-9]*): the teacher's embedding is not finite" "$dir/stops.log" ||
  { cat "$dir/stops.log"; fail "a teacher that is not finite: exit $code"; }
skip="--set teacher.dir=$dir/sick --set data.on_error=skip"
finish skips 1 $skip --set cache.dir="$dir/skip-cache"
grep -q 'is left out' "$dir/skips.log" && grep -q '"substituted": [1-9]' "$dir/skips/run.json" || { cat "$dir/skips.log"; fail "nothing was left out"; }
finish skips4 4 $skip --set cache.dir="$dir/skip4-cache" --set ranks.teacher=1
cmp "$dir/skips/model.safetensors" "$dir/skips4/model.safetensors" || fail "samples left out: another student on 4 ranks"
grep -q '"projection": true' "$dir/both/run.json" && grep -q '"fd_weight_per_dimension": 41.6' "$dir/both/run.json" || fail "confounds"
echo "ok   samples that a teacher has no embedding for"

cp "$dir/trained/merges.txt" "$dir/siglip/merges.txt"
refused wrong "a text tower that sees its padding does not go with the tokenizer (CLIP BPE)" --set cache.dir="$dir/c"
rm "$dir/siglip/merges.txt" "$dir/siglip/spiece.model"
refused none "put the files of the model's own tokenizer into its folder" --set cache.dir="$dir/c"
cp "$here/../data/pieces/bpe.model" "$dir/siglip/spiece.model" # 700 ids
refused many "the teacher's vocabulary has 420 ids, the tokenizer (SentencePiece BPE) 700" --set cache.dir="$dir/c"
