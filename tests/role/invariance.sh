#!/bin/sh
# The student's weights after 20 steps are the same bits for 1, 2, 3 and 4 ranks, split or chained, when sums travel in messages or
# over made-up nodes of two ranks, in one bucket or in many while backward goes on, and when activations are recomputed; and so is
# everything the evaluation says of them, heads that it trains on all ranks among it.
set -eu
here=$(dirname "$0")
pupil=$PUPIL_BIN
dir=$(mktemp -d "${TMPDIR:-/tmp}/pupil-invariance.XXXXXX")
trap 'rm -rf "$dir"' EXIT
heads="--set eval.reader.enable=true --set eval.reader.width=16 --set eval.reader.heads=2 --set eval.reader.kv_heads=1 --set eval.reader.epochs=1
  --set eval.reader.caption_epochs=1 --set eval.fusion.enable=true --set eval.fusion.width=16 --set eval.fusion.heads=2 --set eval.fusion.epochs=1 --set eval.fusion.tune=1 --set eval.fusion.lr=1e-2"
run() { # name ranks [--set ...]
  name=$1
  np=$2
  shift 2
  "$here/../mpirun.sh" "$np" "$pupil" run "$here/tiny.yaml" --set run.dir="$dir/$name" --set teacher.dir="$dir/$name/teacher" \
    --set cache.dir="$dir/$name/cache" $heads "$@" >"$dir/$name.log" 2>&1 || { cat "$dir/$name.log"; echo "run $name failed"; exit 1; }
}
sum() {
  [ -s "$dir/$1/$2" ] || { echo "missing: $1/$2" >&2; exit 1; }
  sha256sum "$dir/$1/$2" | cut -d' ' -f1
}
run one 1
run two-split 2
run three-split 3 --set ranks.teacher=2
run four-split 4 --set ranks.teacher=2
run two-chained 2 --set run.mode=chained --set ranks.bucket_kib=0
run four-chained 4 --set run.mode=chained
run messages 3 --set ranks.reduce=messages --set ranks.bucket_kib=1 --set run.trace_steps=2
PUPIL_NODE_RANKS=2 run nodes 4 --set ranks.bucket_kib=1
run recompute 2 --set student.train.recompute=true
bad=0
for name in two-split three-split four-split two-chained four-chained messages nodes recompute; do
  for file in teacher/model.safetensors model.safetensors eval.json results.jsonl vqa_zero_shot_results.json \
    vqa_reader_results.json vqa_reader_question_only_results.json vqa_fusion_results.json vqa_fusion_tuned_results.json; do
    want=$(sum one $file)
    have=$(sum "$name" $file)
    if [ "$want" = "$have" ]; then
      echo "ok   $name $file"
    else
      echo "DIFF $name $file"
      bad=1
    fi
  done
done
trace=$dir/messages/teacher/trace.json
for event in '"step 2","ph":"X","pid":0' '"backward","ph":"X","pid":2' '"bucket 3","ph":"X","pid":1'; do
  grep -q "$event" "$trace" || { echo "DIFF $trace: no $event"; bad=1; }
done
grep -q '"step 3"' "$trace" && { echo "DIFF $trace: a third step"; bad=1; }
[ "$(head -c 1 "$trace")$(tail -n 1 "$trace" | tail -c 2)" = "[]" ] || { echo "DIFF $trace: no closed list"; bad=1; }
exit $bad
