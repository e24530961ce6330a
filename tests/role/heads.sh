#!/bin/sh
# Heads on token features at the end of a run: what they leave behind; answers that are kept are not found again, and what is
# no whole set of answers is; memory is asked for before it is taken.
set -eu
here=$(dirname "$0")
pupil=$PUPIL_BIN
make_decoder=$1
dir=$(mktemp -d "${TMPDIR:-/tmp}/pupil-heads.XXXXXX")
trap 'rm -rf "$dir"' EXIT
fail() {
  echo "FAIL $1"
  exit 1
}
small="--set eval.reader.enable=true --set eval.reader.width=16 --set eval.reader.heads=2 --set eval.reader.kv_heads=1 --set eval.reader.epochs=1
  --set eval.reader.caption_epochs=1 --set eval.reader.caption_pictures=200 --set eval.fusion.enable=true --set eval.fusion.width=16
  --set eval.fusion.heads=2 --set eval.fusion.epochs=1 --set eval.fusion.tune=1 --set eval.fusion.lr=1e-2"
folders="--set run.dir=$dir/run --set teacher.dir=$dir/teacher --set cache.dir=$dir/cache"
"$here/../mpirun.sh" 2 "$pupil" run "$here/tiny.yaml" $folders $small >"$dir/log" 2>&1 || { cat "$dir/log"; fail "the run"; }
grep -q '^reader   student [0-9.]*   question only [0-9.]*   teacher ' "$dir/log" || { cat "$dir/log"; fail "no line about the reader"; }
grep -q '^fusion   student [0-9.]*   teacher ' "$dir/log" || { cat "$dir/log"; fail "no line about the fusion head"; }
grep -q '^fusion, towers tuned   student [0-9.]*   teacher ' "$dir/log" || { cat "$dir/log"; fail "no line about the tuned fusion head"; }
for protocol in vqa.reader vqa.reader.question_only vqa.fusion vqa.fusion.tuned; do
  grep -q "\"protocol\": \"$protocol\", \"metric\": \"accuracy\"" "$dir/run/results.jsonl" || fail "no row of $protocol"
  grep -q "$protocol" "$dir/run/report.html" || fail "$protocol is not in the report"
done
questions=$(grep -c '"question_id"' "$dir/run/vqa_reader_results.json")
[ "$questions" = 120 ] || fail "$questions answers of the reader, expected 120"
[ "$(wc -l <"$dir/run/answers.txt")" -ge 2 ] || fail "no answers.txt"
tr -d '\n' <"$dir/run/vqa_fusion_results.json" | grep -o '"answer": "[^"]*"' | sed 's/.*: "//; s/"//' | sort -u >"$dir/said"
sort "$dir/run/answers.txt" | comm -23 "$dir/said" - | grep -q . && fail "the fusion head says what is not in answers.txt"
[ "$(ls "$dir/run/heads" | wc -l)" = 7 ] || fail "seven heads were trained, and $(ls "$dir/run/heads" | wc -l) are kept"
cmp -s "$dir/run/vqa_fusion_results.json" "$dir/run/vqa_fusion_tuned_results.json" && fail "tuned towers say what frozen ones say"
echo "ok   three heads of student and teacher, and one that sees nothing"

score() { # name: scores the student again, as another part of the settings has changed; prints the reader's accuracy
  "$pupil" eval "$here/tiny.yaml" $folders $small --set eval.sample_questions="$1" >"$dir/log" 2>&1 || { cat "$dir/log"; fail "eval $1"; }
  grep '"protocol": "vqa.reader",' "$dir/run/results.jsonl" | grep "\"model\": \"$dir/run\"" | tail -n 1 | sed 's/.*"value": \([0-9.e+-]*\),.*/\1/'
}
cp -r "$dir/run/heads" "$dir/first"
before=$(score 3)
for kept in "$dir"/run/heads/*; do sed 's/.*/zebra/' "$dir/first/${kept##*/}" >"$kept"; done
[ "$(score 5)" = 0 ] || fail "answers that are kept were not used"
for kept in "$dir"/run/heads/*; do head -n 119 "$dir/first/${kept##*/}" >"$kept"; done
[ "$(score 6)" = "$before" ] || fail "$(score 6) with heads trained again, $before before"
for kept in "$dir"/first/*; do cmp "$kept" "$dir/run/heads/${kept##*/}" || fail "a head that was trained again says something else"; done
echo "ok   a head is trained once, and again where its answers are not whole"

code=0
"$pupil" eval "$here/tiny.yaml" $folders $small --set eval.token_gib=1e-4 --set eval.reader.epochs=2 >"$dir/log" 2>&1 || code=$?
[ "$code" = 2 ] && grep -q 'token features of .* take .*eval.token_gib' "$dir/log" || { cat "$dir/log"; fail "too little memory"; }
echo "ok   too little memory is refused"

vocab=$(($(wc -l <"$dir/run/merges.txt") - 1 + 514))
"$make_decoder" "$dir/decoder" "$vocab" || fail "making a decoder"
code=0
"$pupil" eval "$here/tiny.yaml" $folders $small --set eval.reader.decoder="$dir/decoder" >"$dir/log" 2>&1 || code=$?
[ "$code" != 0 ] && grep -q "$dir/decoder" "$dir/log" || { cat "$dir/log"; fail "a decoder without a tokenizer"; }
cp "$dir/run/merges.txt" "$dir/decoder"
for np in 1 3; do
  "$here/../mpirun.sh" "$np" "$pupil" eval "$here/tiny.yaml" $folders $small --set run.dir="$dir/frozen-$np" --model "$dir/run" \
    --set eval.reader.decoder="$dir/decoder" >"$dir/log" 2>&1 || { cat "$dir/log"; fail "a published decoder on $np ranks"; }
  grep -q '"protocol": "vqa.reader",' "$dir/frozen-$np/results.jsonl" || fail "no row of a published decoder"
done
diff -r "$dir/frozen-1/heads" "$dir/frozen-3/heads" || fail "a published decoder says something else on 3 ranks"
echo "ok   a published decoder, frozen"
