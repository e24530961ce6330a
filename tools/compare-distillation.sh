#!/bin/sh
# compare-distillation.sh [CONF] [SEEDS]: trains the student of CONF (default conf/quickstart.yaml) with and without
# distillation for each seed ("1 2 3"), from the same teacher and cache, and prints held-out VQA accuracy beside the
# baselines. Finished runs are not run again, so it can be stopped and called once more.
set -eu
cd "$(dirname "$0")/.."
conf=${1:-conf/quickstart.yaml}
seeds=${2:-1 2 3}
pupil=${PUPIL_BIN:-build/src/cli/pupil}
base=runs/compare/$(basename "$conf" .yaml)

run() { # name seed [--set ...]
  name=$1
  seed=$2
  shift 2
  dir=$base/$name-seed$seed
  if [ ! -e "$dir/finished" ]; then
    "$pupil" launch "$conf" --set run.dir="$dir" --set student.train.seed="$seed" "$@" >&2
  fi
}
score() { # directory name-of-answerer
  sed -n "s/.*\"name\": \"$2\", \"overall\": \([0-9.]*\).*/\1/p" "$1/eval.json" | head -n 1
}
recall() { # directory
  sed -n 's/.*"name": "student", "image_to_text": {"r1": \([0-9.]*\).*/\1/p' "$1/eval.json" | head -n 1
}

for seed in $seeds; do
  run distilled "$seed"
  run plain "$seed" --set loss.crd=0 --set loss.icl=0 --set loss.fd=0
done
echo "held-out VQA accuracy (official rule, %); retrieval image to text R@1"
printf '%-5s %10s %10s %10s %14s %11s %9s %8s %13s %9s\n' seed distilled plain difference question-only image-only majority teacher R@1-distilled R@1-plain
for seed in $seeds; do
  d=$base/distilled-seed$seed
  p=$base/plain-seed$seed
  a=$(score "$d" student)
  b=$(score "$p" student)
  printf '%-5s %10s %10s %10s %14s %11s %9s %8s %13s %9s\n' "$seed" "$a" "$b" "$(awk "BEGIN{printf \"%+.2f\", $a - $b}")" \
    "$(score "$d" 'question only')" "$(score "$d" 'image only')" "$(score "$d" majority)" "$(score "$d" teacher)" "$(recall "$d")" "$(recall "$p")"
done
