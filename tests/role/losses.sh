#!/bin/sh
# A student of every loss at once, and of one pair a slot: the same weights, bit for bit, on 1, 2 and 4 ranks. Each preset trains.
set -eu
here=$(dirname "$0")
dir=$(mktemp -d "${TMPDIR:-/tmp}/pupil-losses.XXXXXX")
trap 'rm -rf "$dir"' EXIT
sed '/^loss:/d' "$here/tiny.yaml" >"$dir/tiny.yaml"
fail() { echo "FAIL $1"; exit 1; }
run() { # name ranks [--set ...]
  name=$1 np=$2
  shift 2
  "$here/../mpirun.sh" "$np" "$PUPIL_BIN" run "$dir/tiny.yaml" --set run.dir="$dir/$name" --set run.mode=chained --set teacher.dir="$dir/teacher" \
    --set cache.dir="$dir/cache" --set eval.vqa=false --set eval.retrieval=false --set student.train.steps=2 --set student.train.warmup=0 "$@" >"$dir/$name.log" 2>&1 ||
    { cat "$dir/$name.log"; fail "$name"; }
}
all=
for term in task sigmoid crd icl cross_kd fd gd afd affinity ensemble soft_sigmoid hinton logit_std dist rkd_distance rkd_angle vl pvl udist; do
  all="$all --set loss.$term=0.5"
done
# shellcheck disable=SC2086
for np in 1 2 4; do
  run "all-$np" "$np" $all --set student.train.slots=4
  run "one-$np" "$np" --set loss.preset=clip-kd --set loss.dist=1 --set student.train.batch_size=4 --set student.train.slots=4
  for what in all one; do
    cmp "$dir/$what-1/model.safetensors" "$dir/$what-$np/model.safetensors" || fail "$what: another student on $np ranks"
  done
done
terms=$(sed -n '1s/.*"terms":{\([^}]*\)}.*/\1/p' "$dir/all-1/metrics.jsonl" | tr ',' '\n' | wc -l)
[ "$terms" = 19 ] || fail "metrics.jsonl tells of $terms terms, expected 19"
echo "ok   the same students on 1, 2 and 4 ranks"
for preset in siglip-kd nano-clip tinyclip mobileclip dime-fm clip-kd-afd rkd; do
  run "$preset" 1 --set loss.preset="$preset" --set loss.variant=as-released
  [ "$(wc -l <"$dir/$preset/metrics.jsonl")" = 2 ] || fail "$preset: no two steps"
  ! grep -q '"loss":null' "$dir/$preset/metrics.jsonl" || fail "$preset: the loss is not finite"
  ! grep -q preset "$dir/$preset/resolved.yaml" || fail "$preset: the resolved settings hold the preset, not its terms"
done
echo "ok   presets train"
