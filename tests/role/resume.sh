#!/bin/sh
# kill -9 of one rank at many places of a split run: every rank ends within 10 s, and the same command again ends with the
# same student, bit for bit. Also: stopped by USR1 (exit 75), resumed on another number of ranks, a damaged checkpoint.
set -eu
here=$(dirname "$0")
dir=$(mktemp -d "${TMPDIR:-/tmp}/pupil-resume.XXXXXX")
trap 'rm -rf "$dir"' EXIT
start() { # name ranks [--set ...]
  name=$1
  np=$2
  shift 2
  "$here/../mpirun.sh" "$np" "$PUPIL_BIN" run "$here/tiny.yaml" --set run.dir="$dir/$name" --set teacher.dir="$dir/$name/teacher" \
    --set cache.dir="$dir/$name/cache" --set run.checkpoint_steps=3 "$@" >"$dir/$name.log" 2>&1
}
finish() { start "$@" || { cat "$dir/$1.log"; echo "FAIL $1 did not finish"; exit 1; }; }
same() { # name what
  if cmp -s "$dir/whole/model.safetensors" "$dir/$1/model.safetensors"; then echo "ok   $2"; else echo "DIFF $2"; exit 1; fi
}
finish whole 2
n=0
for fault in 0:train.step:9 0:train.step:15 1:seg.write:5 1:seg.close:2 1:publish.rename:3 1:journal.write:2 0:ckpt.save:3 0:publish.rename:9 0:journal.fsync:4; do
  n=$((n + 1))
  rank=${fault%%:*}
  began=$(date +%s)
  if PUPIL_FAULT_RANK=$rank PUPIL_FAULT="${fault#*:}:kill" start "kill$n" 2; then echo "FAIL $fault: nothing was killed"; exit 1; fi
  ended=$(date +%s)
  [ $((ended - began)) -lt 20 ] || { echo "FAIL $fault: ended after $((ended - began)) s"; exit 1; }
  finish "kill$n" 2
  same "kill$n" "killed at $fault, run again"
done
if PUPIL_FAULT_RANK=0 PUPIL_FAULT=train.step:17:kill start other 4 --set ranks.teacher=1; then exit 1; fi
finish other 1
same other "killed on 4 ranks, resumed on 1"
if PUPIL_FAULT_RANK=0 PUPIL_FAULT=train.step:20:kill start damaged 2; then exit 1; fi
newest=$(ls "$dir"/damaged/checkpoints/step-*.h5 | tail -n 1)
printf 'x' | dd of="$newest" bs=1 seek=5000 conv=notrunc status=none
finish damaged 2
grep -q 'taking the checkpoint before it' "$dir/damaged.log" || { echo "FAIL damaged checkpoint was not named"; exit 1; }
same damaged "newest checkpoint damaged: the one before it was taken"
