#!/bin/sh
# A student that learns MLP channels away: the same smaller model, bit for bit, on 1, 2 and 4 ranks and after a kill; as small as
# it was asked to be; and the next run begins with it.
set -eu
here=$(dirname "$0")
dir=$(mktemp -d "${TMPDIR:-/tmp}/pupil-prune.XXXXXX")
trap 'rm -rf "$dir"' EXIT
fail() { echo "FAIL $1"; exit 1; }
start() { # name ranks [--set ...]
  name=$1 np=$2
  shift 2
  "$here/../mpirun.sh" "$np" "$PUPIL_BIN" run "$here/tiny.yaml" --set run.dir="$dir/$name" --set run.mode=chained --set teacher.dir="$dir/teacher" \
    --set cache.dir="$dir/cache" --set student.train.steps=60 --set student.train.warmup=0 --set student.train.batch_size=32 \
    --set run.checkpoint_steps=20 --set loss.preset=clip-kd "$@" >"$dir/$name.log" 2>&1
}
prune() { start "$@" --set student.prune.target=0.5 --set student.prune.ramp=20 --set student.prune.lr=0.2; }
finish() { "$@" || { cat "$dir/$2.log"; fail "$2"; }; }
for np in 1 2 4; do
  finish prune "on-$np" "$np"
  cmp "$dir/on-1/model.safetensors" "$dir/on-$np/model.safetensors" || fail "another student on $np ranks"
done
if PUPIL_FAULT=train.step:50:kill PUPIL_FAULT_RANK=0 prune killed 2; then fail "nothing was killed"; fi
finish prune killed 2
cmp "$dir/on-1/model.safetensors" "$dir/killed/model.safetensors" || fail "another student after a kill"
echo "ok   the same smaller student on 1, 2 and 4 ranks, and after a kill"
left=$(sed -n 's/.*MLPs of \([0-9]*\) (image) and \([0-9]*\) (text).*/\1 \2/p' "$dir/on-1.log" | head -n 1)
for channels in $left; do
  if [ "$channels" -lt 40 ] || [ "$channels" -gt 66 ]; then fail "$left channels are left of 128, expected 64 or some fewer"; fi
done
"$PUPIL_BIN" model inspect "$dir/on-1" >"$dir/inspect.txt" || fail "model inspect"
echo "ok   $left channels left of 128 and 128"
finish start next 1 --set student.init="$dir/on-1" --set student.train.steps=2
"$PUPIL_BIN" model inspect "$dir/next" >"$dir/next.txt" || fail "model inspect of the next"
grep -q parameters "$dir/next.txt" || fail "model inspect tells of no parameters"
[ "$(grep parameters "$dir/next.txt")" = "$(grep parameters "$dir/inspect.txt")" ] ||
  fail "the next run has another size: $(grep parameters "$dir/next.txt")"
echo "ok   the next run begins with it"
if start wrong 1 --set student.prune.target=0.5 --set student.prune.ramp=100; then fail "a ramp longer than the run was taken"; fi
grep -q 'student.prune.ramp' "$dir/wrong.log" || fail "the ramp was not named"
if start frozen 1 --set student.prune.target=0.5 --set student.prune.ramp=1 --set 'student.train.freeze=[visual.conv1]'; then fail "freeze beside masks was taken"; fi
echo "ok   what cannot be is refused"
