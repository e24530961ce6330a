#!/bin/sh
# Three views and two captions of each sample in the cache, in 8 bits: the same student on 1, 2 and 4 ranks, split or chained,
# and after a kill of a teacher and of a student; `cache check` finds random views and captions right; each setting matters.
set -eu
here=$(dirname "$0")
dir=$(mktemp -d "${TMPDIR:-/tmp}/pupil-planes.XXXXXX")
trap 'rm -rf "$dir"' EXIT
fail() { echo "FAIL $*"; exit 1; }
several="--set data.view.name=random_resized_crop --set data.view.scale_min=0.4 --set data.view.flip=true --set cache.views=3 --set cache.captions=2 --set cache.dtype=i8"
start() { # name ranks [--set ...]
  name=$1
  np=$2
  shift 2
  "$here/../mpirun.sh" "$np" "$PUPIL_BIN" run "$here/tiny.yaml" --set run.dir="$dir/$name" --set teacher.dir="$dir/$name-teacher" \
    --set cache.dir="$dir/$name-cache" --set run.checkpoint_steps=3 --set ranks.teacher=1 "$@" >"$dir/$name.log" 2>&1
}
finish() { start "$@" || { cat "$dir/$1.log"; fail "$1 did not finish"; }; }
same() { cmp "$dir/one/model.safetensors" "$dir/$1/model.safetensors" || fail "$1: another student"; echo "ok   $1 is the same student"; }
finish one 1 $several
finish split 2 $several && same split
finish four 4 $several --set ranks.teacher=2 && same four
finish chained 2 $several --set run.mode=chained && same chained
if PUPIL_FAULT_RANK=1 PUPIL_FAULT=seg.write:23:kill start taught 2 $several; then fail "nothing was killed"; fi
finish taught 2 $several && same taught
if PUPIL_FAULT_RANK=0 PUPIL_FAULT=train.step:11:kill start learned 1 $several; then fail "nothing was killed"; fi
finish learned 1 $several && same learned
"$PUPIL_BIN" cache ls "$dir/one-cache" >"$dir/ls"
grep -q 'views  *3' "$dir/ls" && grep -q 'cost of dtype  *cosine 0.9999.*affinity KL' "$dir/ls" || { cat "$dir/ls"; fail "cache ls"; }
"$PUPIL_BIN" cache check "$here/tiny.yaml" --set run.dir="$dir/one" --set teacher.dir="$dir/one-teacher" --set cache.dir="$dir/one-cache" \
  $several --rows 200 >"$dir/check" || { cat "$dir/check"; fail "cache check"; }
"$PUPIL_BIN" cache verify "$dir/one-cache" >/dev/null || fail "cache verify"
finish dr 1 $several --set loss.captions=2
finish dr3 3 $several --set loss.captions=2
cmp "$dir/dr/model.safetensors" "$dir/dr3/model.safetensors" || fail "two captions a step: another student on 3 ranks"
echo "ok   two captions a step"
for other in loss.captions=2 cache.views=2 cache.captions=1 cache.dtype=bf16 cache.view_policy=independent; do
  finish other 1 $several --set "$other"
  if cmp -s "$dir/one/model.safetensors" "$dir/other/model.safetensors"; then fail "$other changes nothing"; fi
  rm -rf "$dir"/other*
done
echo "ok   each setting matters"
