#!/bin/sh
# Training on drawn views: the same student on 1 and 2 ranks and after a kill; other weights than from whole pictures; and
# a cache made from other views is refused as that, while the same recipe may use it.
set -eu
here=$(dirname "$0")
dir=$(mktemp -d "${TMPDIR:-/tmp}/pupil-views.XXXXXX")
trap 'rm -rf "$dir"' EXIT
sed '/^  train: {steps: 6,/d' "$here/tiny.yaml" >"$dir/given.yaml" # the teacher is there: nothing to train
start() { # name ranks yaml [--set ...]
  name=$1
  np=$2
  yaml=$3
  shift 3
  "$here/../mpirun.sh" "$np" "$PUPIL_BIN" run "$yaml" --set run.dir="$dir/$name" --set teacher.dir="$dir/$name/teacher" \
    --set cache.dir="$dir/$name/cache" --set run.checkpoint_steps=3 "$@" >"$dir/$name.log" 2>&1
}
finish() { start "$@" || { cat "$dir/$1.log"; echo "FAIL $1 did not finish"; exit 1; }; }
views="--set data.view.name=random_resized_crop --set data.view.scale_min=0.4 --set data.view.flip=true"
finish one 1 "$here/tiny.yaml" $views
finish two 2 "$here/tiny.yaml" $views
if PUPIL_FAULT_RANK=0 PUPIL_FAULT=train.step:15:kill start killed 2 "$here/tiny.yaml" $views; then echo "FAIL nothing was killed"; exit 1; fi
finish killed 1 "$here/tiny.yaml" $views
for name in two killed; do
  for file in teacher/model.safetensors model.safetensors eval.json; do
    cmp "$dir/one/$file" "$dir/$name/$file" || { echo "DIFF $name $file"; exit 1; }
  done
  echo "ok   $name is the same student"
done
finish whole 1 "$here/tiny.yaml"
for file in teacher/model.safetensors model.safetensors; do
  if cmp -s "$dir/one/$file" "$dir/whole/$file"; then echo "FAIL $file does not depend on the views"; exit 1; fi
done
elsewhere="--set teacher.dir=$dir/one/teacher --set cache.dir=$dir/one/cache --set run.mode=students"
finish again 1 "$dir/given.yaml" $views $elsewhere
cmp "$dir/one/model.safetensors" "$dir/again/model.safetensors" || { echo "FAIL the same recipe gave another student"; exit 1; }
code=0
start other 1 "$dir/given.yaml" $views $elsewhere --set data.view.seed=2 || code=$?
[ "$code" = 2 ] || { cat "$dir/other.log"; echo "FAIL exit $code, expected 2"; exit 1; }
grep -q 'holds another cache: view: .*seed=1 here, .*seed=2 wanted' "$dir/other.log" || { cat "$dir/other.log"; echo "FAIL the recipes are not named"; exit 1; }
echo "ok   a cache of other views is refused"
