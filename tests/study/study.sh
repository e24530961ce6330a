#!/bin/sh
# A whole study, small: killed in the middle (itself, or one of its runs), stopped by a signal, run again, extended by a teacher:
# the same results, and no cell is run twice. A cell that fails is marked and the others go on. SciPy agrees, where it is there.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
dir=$(mktemp -d "${TMPDIR:-/tmp}/pupil-study.XXXXXX")
trap 'rm -rf "$dir"' EXIT
export PUPIL_SITE=
cd "$dir"
fail() { echo "FAIL $*"; cat "$dir"/*.err 2>/dev/null || true; exit 1; }
settings() { # NAME STEPS: its folder, and steps of the student
  sed -e "s|^run: .*|run: {dir: $1, checkpoint_seconds: 600}|" -e '/^loss:/d' -e 's|^  dir: tiny/teacher||' -e 's|dir: tiny/cache, ||' \
    -e "s|  train: {steps: 20,|  train: {steps: $2,|" "$here/../role/tiny.yaml"
}
study() { # POINTS of the teacher
  cat <<END
study:
  axes:
    teacher: {$1}
    loss: {plain: {loss.preset: clip}, fd: {loss.preset: clip-kd-fd}}
  seeds: [1, 2]
END
}
two='T3: {teacher.train: {steps: 3, warmup: 1}}, T6: {}'
{ settings whole 20; study "$two"; } >whole.yaml
{ settings broken 20; study "$two"; } >broken.yaml
run() { "$PUPIL_BIN" study "$@" >>"$1.out" 2>>"$1.err"; }
# results without times and paths: all columns but those of cost
figures() { awk -F, 'NR == 1 {for (i = 1; i <= NF; i++) if ($i !~ /core_hours/) keep[i] = 1} {line = ""; for (i = 1; i <= NF; i++) if (keep[i]) line = line "," $i; print line}' "$1/results.csv" | sort; }

"$PUPIL_BIN" study whole.yaml --dry-run >plan.txt
grep -q '^study    whole: 6 cells: 0 done, 0 failed, 6 to run; 0 of 2 teachers cached' plan.txt || { cat plan.txt; fail "the plan"; }
[ ! -e whole ] || fail "a dry run has left something"
"$PUPIL_BIN" study whole.yaml --submit --dry-run --set slurm.cells_at_once=2 --set slurm.gflops=10 >jobs.txt
grep -q '^#SBATCH --array=0-5%2' jobs.txt || { cat jobs.txt; fail "no array of six elements, two at a time"; }
grep -q '^cells=$(sbatch --parsable --dependency=afterok:$fill-0:$fill-1 ' jobs.txt || { grep sbatch jobs.txt; fail "cells do not wait for their teachers"; }
run whole.yaml || fail "the study"
figures whole >whole.txt
[ "$(wc -l <whole.txt)" = 7 ] && [ "$(grep -c ',done,' whole.txt)" = 6 ] || { cat whole.txt; fail "six cells"; }
for file in answers.csv table.tex report.html study.json; do [ -s "whole/$file" ] || fail "no $file"; done
echo "ok   a study of six cells"

# killed: the study itself, then one of its runs; stopped by a signal; and on again
"$PUPIL_BIN" study broken.yaml >/dev/null 2>broken.yaml.err &
pid=$!
n=0
until ls broken/cells/*/metrics.jsonl >/dev/null 2>&1 || [ $n = 200 ]; do n=$((n + 1)); sleep 0.05; done
kill -9 $pid
wait $pid 2>/dev/null || true
PUPIL_FAULT=train.step:11:kill run broken.yaml && fail "no run was killed"
grep -q 'was killed by signal 9; the next' broken.yaml.err || fail "a killed run is not named"
[ -z "$(ls broken/cells/*/failed 2>/dev/null)" ] || fail "a killed run was marked as failed"
code=0
PUPIL_FAULT=train.step:5:wait "$PUPIL_BIN" study broken.yaml >/dev/null 2>>broken.yaml.err &
pid=$!
sleep 0.7
kill -USR1 $pid
wait $pid || code=$?
[ $code = 75 ] || [ $code = 0 ] || fail "stopped with exit code $code"
run broken.yaml || fail "the study that was killed did not finish"
figures broken >broken.txt
cmp whole.txt broken.txt || { diff whole.txt broken.txt; fail "killed and run again: other results"; }
echo "ok   killed at three places and run again: the same results (stopped with exit code $code)"

# one more teacher: only its cells are run
ls -l --time-style=full-iso whole/cells/*/finished >before.txt
{ settings whole 20; study "$two, T9: {teacher.train: {steps: 9, warmup: 2}}"; } >more.yaml
run more.yaml || fail "the longer study"
[ "$(ls -d whole/cells/* | wc -l)" = 8 ] || fail "not two new cells"
ls -l --time-style=full-iso $(awk '{print $NF}' before.txt) | cmp - before.txt || fail "a finished cell was run again"
figures whole | grep ',done,' | grep -v ',T9,' >same.txt
grep ',done,' whole.txt | cmp - same.txt || fail "the old cells have other results"
echo "ok   a teacher more: two cells more"

# a cell that cannot work is marked, the others go on
{ settings whole 20; study "$two, gone: {teacher.dir: nowhere, teacher.model: {vision_width: 96}}"; } | sed '/^  train: {steps: 6/d; s/T3: {teacher.train[^}]*}}/T3: {teacher.train: {steps: 3, batch_size: 64, slots: 8, lr: 1e-3, warmup: 1}}/; s/T6: {}/T6: {teacher.train: {steps: 6, batch_size: 64, slots: 8, lr: 1e-3, warmup: 2}}/' >gone.yaml
run gone.yaml && fail "a missing teacher was not noticed"
[ "$(grep -c ',failed,' whole/results.csv)" = 2 ] || { cut -c1-200 whole/results.csv; fail "two cells are to be marked"; }
[ "$(grep -c ',done,' whole/results.csv)" = 6 ] || fail "the other cells are gone"
"$PUPIL_BIN" study gone.yaml --status | grep -q '^failed   .* teacher=gone loss=fd seed=1: its teacher: .*nowhere: no model.safetensors there' ||
  { "$PUPIL_BIN" study gone.yaml --status; fail "the reason is not told"; }
grep -q 'nowhere: no model.safetensors' whole/report.html || fail "the page does not tell the reason"
echo "ok   a cell that fails is marked, and the others go on"

code=0
python=/usr/bin/python3 # with SciPy where the system has it
[ -x $python ] || python=python3
$python "$here/../../tools/compare-study.py" whole || code=$?
[ $code = 0 ] || [ $code = 77 ] || fail "SciPy says otherwise"
