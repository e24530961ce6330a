#!/bin/sh
# Students of other families: a part of a SigLIP or an EVA02 teacher, with the tokenizer of its folder, and a CLIP image tower beside
# a SigLIP teacher's text tower; the same on 1 and 2 ranks, exported in its own layout and read back as the same.
set -eu
here=$(dirname "$0")
make_model=$1
dir=$(mktemp -d "${TMPDIR:-/tmp}/pupil-families.XXXXXX")
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
cat >"$dir/eva.json" <<END
{"model_cfg": {"embed_dim": 40, "custom_text": true,
  "vision_cfg": {"image_size": 32, "timm_model_name": "eva02_base_patch16_clip_224", "timm_model_pretrained": false, "timm_pool": "token",
    "timm_proj": null, "timm_model_kwargs": {"img_size": 32, "patch_size": 8, "embed_dim": 64, "depth": 2, "num_heads": 2}},
  "text_cfg": {"context_length": 20, "vocab_size": 600, "width": 32, "heads": 2, "layers": 2}}}
END
"$make_model" "$dir/siglip.json" "$dir/siglip" 1
"$make_model" "$dir/eva.json" "$dir/eva" 2
cp "$here/../data/pieces/unigram.model" "$dir/siglip/spiece.model"
sed '/^  train: {steps: 6,/d; /^  model: {image_size: 32, patch_size: 16/d' "$here/tiny.yaml" >"$dir/part.yaml"
run() { # name ranks teacher [--set ...]
  name=$1
  np=$2
  teacher=$3
  shift 3
  "$here/../mpirun.sh" "$np" "$PUPIL_BIN" run "$dir/part.yaml" --set run.dir="$dir/$name" --set teacher.dir="$dir/$teacher" \
    --set cache.dir="$dir/$name/cache" --set student.train.steps=6 "$@" >"$dir/$name.log" 2>&1
}
proven() { # name teacher family [--set ...]
  who=$1
  teacher=$2
  family=$3
  shift 3
  for np in 1 2; do run "$who$np" "$np" "$teacher" "$@" || { cat "$dir/$who$np.log"; fail "$who on $np ranks"; }; done
  for file in model.safetensors eval.json; do cmp "$dir/${who}1/$file" "$dir/${who}2/$file" || fail "$who: 2 ranks gave another $file"; done
  "$PUPIL_BIN" model inspect "$dir/${who}1" >"$dir/inspect.txt" || fail "$who cannot be read"
  grep -q "^model       $family in open_clip layout" "$dir/inspect.txt" || { cat "$dir/inspect.txt"; fail "$who is no $family model"; }
  "$PUPIL_BIN" model export "$dir/${who}1" --format open_clip --out "$dir/$who-out" 2>/dev/null || fail "$who cannot be exported"
  run "$who-back" 1 "$teacher" --set student.train.steps=0 --set student.init="$dir/$who-out" || { cat "$dir/$who-back.log"; fail "$who: not read back"; }
  cmp "$dir/${who}1/model.safetensors" "$dir/$who-back/model.safetensors" || fail "$who: read back as another model"
  echo "ok   $who"
}
proven siglip siglip SigLIP --set student.inherit.from=teacher --set student.model.vision_width=24 --set student.model.text_layers=1
proven eva eva EVA02 --set student.inherit.from=teacher --set student.inherit.select=magnitude --set student.model.vision_layers=1 --set student.model.embed_dim=32
image="--set student.model.image_size=32 --set student.model.patch_size=16 --set student.model.vision_width=32 --set student.model.vision_layers=2"
proven mixed siglip CLIP --set student.text=teacher $image --set student.model.vision_head_width=32 --set loss.task=1 --set loss.icl=0
code=0
run patches 1 eva --set student.inherit.from=teacher --set student.train.patch_dropout=0.5 || code=$?
[ "$code" = 2 ] && grep -q 'student.train.patch_dropout: not for a model with rotary positions' "$dir/patches.log" || { cat "$dir/patches.log"; fail "rotary positions: exit $code"; }
echo "ok   refused: dropped patches with rotary positions"
