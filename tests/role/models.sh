#!/bin/sh
# pupil eval: a run's student and its teacher score the same as at the end of the run, on any number of ranks; what is known
# is not computed again; pictures in class folders and multiple-choice questions are scored without training.
set -eu
here=$(dirname "$0")
pupil=$PUPIL_BIN
dir=$(mktemp -d "${TMPDIR:-/tmp}/pupil-models.XXXXXX")
trap 'rm -rf "$dir"' EXIT
fail() { echo "FAIL $1"; exit 1; }
"$pupil" run "$here/tiny.yaml" --set run.dir="$dir/run" --set teacher.dir="$dir/teacher" --set cache.dir="$dir/cache" >"$dir/log" 2>&1 ||
  { cat "$dir/log"; fail "the run"; }

score() { # folder ranks [options]
  name=$1 np=$2
  shift 2
  "$here/../mpirun.sh" "$np" "$pupil" eval "$here/tiny.yaml" --set run.dir="$dir/$name" --set teacher.dir="$dir/teacher" \
    --set cache.dir="$dir/cache" "$@" >"$dir/$name.log" 2>&1 || { cat "$dir/$name.log"; fail "eval $name"; }
}
figures() { sed 's/.*"protocol"/"protocol"/' "$1" | sort; }
score one 1 --model "$dir/run"
for np in 2 3; do
  score "of$np" "$np" --model "$dir/run"
  cmp "$dir/one/results.jsonl" "$dir/of$np/results.jsonl" || fail "$np ranks give other rows"
done
for protocol in vqa.probe vqa.question_only vqa.majority vqa.zero_shot retrieval.square retrieval.captions embedding 'against teacher'; do
  grep "\"model\": \"student\".*\"protocol\": \"$protocol\"" "$dir/run/results.jsonl" >"$dir/then" || fail "no $protocol at the end of the run"
  grep "\"model\": \"$dir/run\".*\"protocol\": \"$protocol\"" "$dir/one/results.jsonl" >"$dir/now" || fail "no $protocol"
  figures "$dir/then" >"$dir/then.txt"
  figures "$dir/now" >"$dir/now.txt"
  cmp "$dir/then.txt" "$dir/now.txt" || fail "$protocol is another than at the end of the run"
done
echo "ok   the same rows as at the end of the run, on 1, 2 and 3 ranks"
cp "$dir/one/results.jsonl" "$dir/before"
score one 2 --model "$dir/run"
cmp "$dir/before" "$dir/one/results.jsonl" || fail "rows that were known came again"
score one 1 --model "$dir/run" --set eval.vqa.epochs=3
[ "$(wc -l <"$dir/one/results.jsonl")" -gt "$(wc -l <"$dir/before")" ] || fail "other settings, but no new rows"
echo "ok   what is known is not computed again"

"$pupil" data scenes --out "$dir/tars" --train 6 --test 12 --size 32 >/dev/null
for split in train test; do
  mkdir -p "$dir/$split/a" "$dir/$split/b" "$dir/$split/c"
  tar xf "$dir/tars/$split-000000.tar" -C "$dir/$split"
  for picture in "$dir/$split"/*.png; do
    case $picture in *[0369].png) class=a ;; *[147].png) class=b ;; *) class=c ;; esac
    mv "$picture" "$dir/$split/$class"
  done
done
printf 'red circle\nblue square\nyellow star\nteapot\n' >"$dir/names"
printf 'a photo of a {}.\na drawing of the {}.\n' >"$dir/templates"
picture=$(ls "$dir/test/a" | head -n 1)
cat >"$dir/choices.jsonl" <<END
{"id": "x", "image": "a/$picture", "question": "What is it?", "choices": ["a red circle", "a cat"], "answer": 0}
{"id": "y", "image": "a/$picture", "question": "How many?", "choices": ["one", "two", "three"], "answer": "C"}
END
cat >"$dir/folder.yaml" <<END
run: {dir: $dir/classes}
data:
  source: folder
  train: [$dir/train]
  test: [$dir/test]
  vqa_test: {questions: $dir/choices.jsonl, format: multiple_choice}
eval:
  vqa: false
  zero_shot: {classnames: $dir/names, templates: $dir/templates}
END
"$pupil" eval "$dir/folder.yaml" --model "$dir/run" --model "$dir/teacher" >"$dir/log" 2>&1 || { cat "$dir/log"; fail "class folders"; }
[ "$(grep -c '"protocol": "zero_shot", "metric": "top1", "n": 12' "$dir/classes/results.jsonl")" = 2 ] || fail "no classes"
[ "$(grep -c '"protocol": "vqa.zero_shot", "metric": "accuracy", "n": 2' "$dir/classes/results.jsonl")" = 2 ] || fail "no multiple choice"
grep '"metric": "top5"' "$dir/classes/results.jsonl" | grep -q '"value": 100,' || fail "top-5 of four classes is not 100"
answers=$(ls "$dir"/classes/vqa_zero_shot-*run.json)
"$pupil" eval --results "$answers" --questions "$dir/choices.jsonl" --json >"$dir/scores.json" 2>"$dir/log" || { cat "$dir/log"; fail "its answers"; }
accuracy=$(sed 's/.*"overall": \([0-9.]*\).*/\1/' "$dir/scores.json")
grep '"protocol": "vqa.zero_shot"' "$dir/classes/results.jsonl" | head -n 1 | grep -q "\"value\": $accuracy," || fail "$answers scores $accuracy"
echo '3 1 0' >"$dir/subset"
"$pupil" eval "$dir/folder.yaml" --model "$dir/run" --set eval.zero_shot.subset="$dir/subset" >"$dir/log" 2>&1 || { cat "$dir/log"; fail "a subset"; }
echo '0 1 4' >"$dir/subset"
code=0
"$pupil" eval "$dir/folder.yaml" --model "$dir/run" --set eval.zero_shot.subset="$dir/subset" >"$dir/log" 2>&1 || code=$?
[ "$code" = 2 ] && grep -q 'subset: expected different numbers from 0 to 3' "$dir/log" || { cat "$dir/log"; fail "a wrong subset"; }
code=0
"$pupil" eval "$dir/folder.yaml" --model "$dir/nowhere" >"$dir/log" 2>&1 || code=$?
[ "$code" != 0 ] && [ "$(grep -c "$dir/nowhere" "$dir/log")" = 1 ] || { cat "$dir/log"; fail "a model that is not there"; }
echo "ok   classes by their names, multiple choice by ranking"
