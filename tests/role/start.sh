#!/bin/sh
# Students that begin with weights: a part of the teacher's (student.inherit) or all of a folder's (student.init) give the same
# student on 1, 2 and 4 ranks, split or not, and after a kill; inheriting at the start of the run is `pupil model inherit` and then
# student.init; a chain of stages goes on where the last one ended; what does not fit, and weights that changed, are refused.
set -eu
here=$(dirname "$0")
dir=$(mktemp -d "${TMPDIR:-/tmp}/pupil-start.XXXXXX")
trap 'rm -rf "$dir"' EXIT
sed '/^  model: {image_size: 32, patch_size: 16/d; /^  train: {steps: 6,/d' "$here/tiny.yaml" >"$dir/given.yaml" # the teacher is there
yaml=$dir/given.yaml
start() { # name ranks [--set ...]
  name=$1
  np=$2
  shift 2
  "$here/../mpirun.sh" "$np" "$PUPIL_BIN" run "$yaml" --set run.dir="$dir/$name" --set teacher.dir="$dir/teacher" \
    --set cache.dir="$dir/$name/cache" --set run.checkpoint_steps=3 "$@" >"$dir/$name.log" 2>&1
}
finish() { start "$@" || { cat "$dir/$1.log"; echo "FAIL $1 did not finish"; exit 1; }; }
same() { # name what
  for file in model.safetensors eval.json; do
    cmp "$dir/one/$file" "$dir/$1/$file" || { cat "$dir/$1.log"; echo "DIFF $2: $file"; exit 1; }
  done
  echo "ok   $2"
}
refused() { # what pattern name ranks [--set ...]
  what=$1
  pattern=$2
  shift 2
  code=0
  start "$@" || code=$?
  [ "$code" = 2 ] && grep -q "$pattern" "$dir/$1.log" || { cat "$dir/$1.log"; echo "FAIL $what: exit $code"; exit 1; }
  echo "ok   refused: $what"
}
part="--set student.inherit.from=teacher --set student.inherit.select=magnitude --set student.model.vision_layers=1"
part="$part --set student.model.vision_width=32 --set student.model.text_width=32 --set student.model.text_mlp=100"
yaml=$here/tiny.yaml # trains the teacher and inherits from it in one run
finish first 2 --set student.inherit.from=teacher --set student.model.patch_size=8
grep -q 'begins with .*/teacher, the first' "$dir/first.log" || { cat "$dir/first.log"; echo "FAIL nothing is said of the inheritance"; exit 1; }
yaml=$dir/given.yaml
finish one 1 $part
finish two 2 $part
same two "2 ranks, split"
finish four 4 $part --set run.mode=chained
same four "4 ranks, chained"
if PUPIL_FAULT_RANK=0 PUPIL_FAULT=train.step:11:kill start killed 2 $part; then echo "FAIL nothing was killed"; exit 1; fi
finish killed 1 $part
same killed "killed on 2 ranks, resumed on 1"
"$PUPIL_BIN" model inherit "$dir/teacher" --vision-layers 1 --vision-width 32 --text-width 32 --text-mlp 100 --select magnitude --out "$dir/start" 2>/dev/null
finish init 2 --set student.init="$dir/start"
same init "pupil model inherit, then student.init"
grep -q '"start": {"from": ".*/start", "select": "all", "weights": "[0-9a-f]*"}' "$dir/init/run.json" || { cat "$dir/init/run.json"; echo "FAIL run.json"; exit 1; }
finish still 1 --set student.init="$dir/one" --set student.train.steps=0
cmp "$dir/one/model.safetensors" "$dir/still/model.safetensors" || { echo "DIFF no step changes nothing"; exit 1; }
finish stage2 2 --set student.inherit.from="$dir/one" --set student.model.text_layers=1
"$PUPIL_BIN" model inspect "$dir/stage2" | grep -q 'width 32, 1 layers, 1 heads, mlp 100' || { echo "FAIL stage 2 has other sizes"; exit 1; }
echo "ok   a chain of two stages"
refused "wider than the teacher" 'student.model: vision width is 96, but only 64 can be inherited' wide 1 --set student.inherit.from=teacher \
  --set student.model.vision_width=96
refused "another size than the weights" 'student.init takes a model of the same sizes: .*/one: vision mlp width is 128, but only 64' small 1 \
  --set student.init="$dir/one" --set student.model.vision_mlp=64
refused "no such folder" 'student.init: .*/nowhere: no model.safetensors' absent 1 --set student.init="$dir/nowhere"
if PUPIL_FAULT_RANK=0 PUPIL_FAULT=train.step:11:kill start moved 1 --set student.init="$dir/start"; then echo "FAIL nothing was killed"; exit 1; fi
"$PUPIL_BIN" model inherit "$dir/teacher" --vision-layers 1 --vision-width 32 --text-width 32 --text-mlp 100 --out "$dir/start" 2>/dev/null
code=0
start moved 1 --set student.init="$dir/start" || code=$?
[ "$code" = 2 ] && grep -q 'holds checkpoints of other settings or data' "$dir/moved.log" || { cat "$dir/moved.log"; echo "FAIL changed weights: exit $code"; exit 1; }
echo "ok   refused: the weights it began with have changed"
