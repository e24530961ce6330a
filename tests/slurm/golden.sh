#!/bin/sh
# golden.sh [--update]: the scripts that `pupil launch --submit --dry-run` renders are those in jobs/, line for line, and
# pass shellcheck. A dry run leaves nothing behind. --update writes jobs/ anew.
set -eu
source=${PUPIL_SOURCE:-$(cd "$(dirname "$0")/../.." && pwd)}
dir=$(mktemp -d "${TMPDIR:-/tmp}/pupil-golden.XXXXXX")
trap 'rm -rf "$dir"' EXIT
mkdir "$dir/out" "$dir/in"
ln -s "$source/conf" "$dir/in/conf"
cd "$dir/in"
export PUPIL=pupil PUPIL_SITE=
render() { # ARGUMENTS of launch
  "$PUPIL_BIN" launch "$@" --submit --dry-run --set slurm.gflops=50 --set slurm.ntasks_per_node=16 >"$dir/said" 2>"$dir/err" || {
    cat "$dir/err"
    exit 1
  }
  awk -v out="$dir/out/" '/^==== /{file = ""; if ($2 ~ /\.sbatch$/) {n = split($2, part, "/"); file = out part[n]}; next} file {print > file}' "$dir/said"
}
render conf/quickstart.yaml --set slurm.nodes=2-4
render conf/quickstart.yaml --set slurm.shape=hetjob --set slurm.teacher.constraint=avx512
render conf/chained.yaml --set slurm.teacher.at_once=2
render conf/quickstart.yaml conf/chained.yaml --set slurm.cells_at_once=8
mv "$dir/out/run.sbatch" "$dir/out/split.sbatch"
render conf/chained.yaml --set slurm.shape=single --set slurm.stage=true --set slurm.account=ab12 --set slurm.partition=cpu \
  --set slurm.modules='[gcc/12, openmpi/4.1]' --set slurm.lines='["#SBATCH --exclusive", "export HDF5_USE_FILE_LOCKING=FALSE"]'
mv "$dir/out/run.sbatch" "$dir/out/staged.sbatch"
[ "$(ls -A .)" = conf ] || { echo "FAIL a dry run has left: $(ls -A .)"; exit 1; }
if [ "${1:-}" = --update ]; then
  cp "$dir"/out/*.sbatch "$source/jobs/"
  exit 0
fi
bad=0
for name in split hetjob prepare teachers student fill-0 cells staged; do
  if diff -u "$source/jobs/$name.sbatch" "$dir/out/$name.sbatch"; then echo "ok   $name"; else bad=1; fi
done
[ "$(find "$dir/out" -type f | wc -l)" = 8 ] || { echo "FAIL not these eight scripts:" "$dir"/out/*; bad=1; }
if command -v shellcheck >/dev/null; then
  shellcheck --shell=sh "$dir"/out/*.sbatch || bad=1
else
  echo "skipped: shellcheck is not installed"
fi
exit $bad
