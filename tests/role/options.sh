#!/bin/sh
# Options of training: each gives the same student on 1, 2 and 4 ranks, split or not, with and without recomputing activations,
# and after a kill; and does what it says: frozen parts keep their weights, an average is another model, schedules another one.
set -eu
here=$(dirname "$0")
dir=$(mktemp -d "${TMPDIR:-/tmp}/pupil-options.XXXXXX")
trap 'rm -rf "$dir"' EXIT
sed '/^  train: {steps: 6,/d' "$here/tiny.yaml" >"$dir/given.yaml" # the teacher is there: nothing to train
yaml=$dir/given.yaml
start() { # name ranks [--set ...]
  name=$1
  np=$2
  shift 2
  "$here/../mpirun.sh" "$np" "$PUPIL_BIN" run "$yaml" --set run.dir="$dir/$name" --set teacher.dir="$dir/teacher" \
    --set cache.dir="$dir/$name/cache" --set run.checkpoint_steps=3 "$@" >"$dir/$name.log" 2>&1
}
finish() { start "$@" || { cat "$dir/$1.log"; echo "FAIL $1 did not finish"; exit 1; }; }
same() { # one other what
  for file in model.safetensors eval.json; do cmp "$dir/$1/$file" "$dir/$2/$file" || { echo "DIFF $3: $file"; exit 1; }; done
  echo "ok   $3"
}
proven() { # name [--set ...]: the same student whatever happens to the ranks
  option=$1
  shift
  finish "$option" 1 "$@"
  finish "$option-2" 2 "$@"
  same "$option" "$option-2" "$option: 2 ranks, split"
  finish "$option-4" 4 --set run.mode=chained --set student.train.recompute=true "$@"
  same "$option" "$option-4" "$option: 4 ranks, recomputed"
  if PUPIL_FAULT_RANK=0 PUPIL_FAULT=train.step:14:kill start "$option-k" 2 "$@"; then echo "FAIL nothing was killed"; exit 1; fi
  finish "$option-k" 1 "$@"
  same "$option" "$option-k" "$option: killed on 2 ranks, resumed on 1"
  if cmp -s "$dir/plain/model.safetensors" "$dir/$option/model.safetensors"; then echo "FAIL $option changes nothing"; exit 1; fi
}
kept() { # a b pattern: tensors whose names match are equal in both, all others differ
  python3 - "$dir/$1/model.safetensors" "$dir/$2/model.safetensors" "$3" <<'PY' || { echo "FAIL $2"; exit 1; }
import json, re, struct, sys
def read(path):
    b = open(path, "rb").read()
    n = struct.unpack("<Q", b[:8])[0]
    return {k: b[8 + n + v["data_offsets"][0]:8 + n + v["data_offsets"][1]] for k, v in json.loads(b[8:8 + n]).items() if k != "__metadata__"}
a, b = read(sys.argv[1]), read(sys.argv[2])
wrong = [k for k in a if (a[k] == b[k]) != bool(re.search(sys.argv[3], k)) and len(a[k]) > 4]
sys.exit("kept or changed against the settings: " + " ".join(wrong) if wrong else 0)
PY
  echo "ok   $2: the frozen parts are as they were, and only they"
}
yaml=$here/tiny.yaml finish teach 1 --set run.mode=prepare
finish plain 1
finish still 1 --set student.train.steps=0
proven ema --set student.train.ema=0.9
grep -q '"averaged": 0.9,' "$dir/ema/run.json" || { echo "FAIL run.json does not tell of the average"; exit 1; }
proven frozen --set student.train.freeze='[text.stem, text.blocks, image.stem, image.blocks.0]' --set student.train.ema=0.8
kept still frozen '^(token_embedding|positional|transformer|visual.(class|pos|conv1|ln_pre)|visual.transformer.resblocks.0)'
finish text 2 --set student.train.freeze='[text, logit_scale]'
kept still text '^(token_embedding|positional|transformer|ln_final|text_projection|logit_scale)'
proven patches --set student.train.patch_dropout=0.5
proven linear --set student.train.lr_schedule=linear --set student.train.lr_min=1e-4
sed 's/^  model: {image_size: 32, patch_size: 16.*/  model: {image_size: 32, patch_size: 16, vision_width: 32, vision_layers: 2, vision_head_width: 32}/' "$dir/given.yaml" >"$dir/image.yaml"
yaml=$dir/image.yaml
proven reuse --set student.text=teacher --set loss.preset=dime-fm --set loss.task=1 --set loss.icl=0 --set loss.crd=0 --set loss.fd=0
kept teacher reuse '^(token_embedding|positional|transformer|ln_final|text_projection)'
grep -q '"text_tower": "teacher"' "$dir/reuse/run.json" || { echo "FAIL run.json does not tell of the text tower"; exit 1; }
yaml=$dir/given.yaml
code=0
start wrong 1 --set student.train.freeze='[image.blocks.2]' || code=$?
[ "$code" = 2 ] && grep -q "student.train.freeze: 'image.blocks.2' is no part of the model, expected .*blocks 0 to 0" "$dir/wrong.log" || { cat "$dir/wrong.log"; exit 1; }
code=0
start all 1 --set student.train.freeze='[image, text, logit_scale]' --set loss.icl.weight=0 --set loss.fd.weight=0 || code=$?
[ "$code" = 2 ] && grep -q "student.train.freeze: nothing is left to be trained" "$dir/all.log" || { cat "$dir/all.log"; exit 1; }
echo "ok   refused: no such part, and all of them"
