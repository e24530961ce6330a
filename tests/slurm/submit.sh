#!/bin/sh
# What `pupil launch --submit` tells a queue that is made up: which scripts, in which order, waiting for whom; that a second
# job of a run is refused; what is said when the queue refuses; and what --status makes of squeue's lines.
set -eu
dir=$(mktemp -d "${TMPDIR:-/tmp}/pupil-submit.XXXXXX")
trap 'rm -rf "$dir"' EXIT
mkdir "$dir/bin"
cat >"$dir/bin/sbatch" <<'FAKE'
#!/bin/sh
n=$(($(cat "$DIR/n" 2>/dev/null || echo 100) + 1))
[ "$n" -lt "${FULL:-1000}" ] || exit 1
echo $n >"$DIR/n"
echo "$*" >>"$DIR/calls"
echo "$n;cluster"
FAKE
cat >"$dir/bin/squeue" <<'FAKE'
#!/bin/sh
cat "$DIR/queue" 2>/dev/null
FAKE
chmod +x "$dir"/bin/*
export DIR="$dir" PATH="$dir/bin:$PATH" PUPIL_SITE=
cd "$dir"
settings=$PUPIL_SOURCE/conf/chained.yaml
submit() { "$PUPIL_BIN" launch "$@" --submit --set slurm.gflops=50 --set slurm.ntasks_per_node=4; }
is() { # WHAT EXPECTED HAVE
  if [ "$2" = "$3" ]; then echo "ok   $1"; else
    printf 'FAIL %s\nexpected: %s\n     got: %s\n' "$1" "$2" "$3"
    exit 1
  fi
}
refuses() { # WHAT TEXT ARGUMENTS...
  what=$1 text=$2 code=0
  shift 2
  submit "$@" >said 2>&1 || code=$?
  [ "$code" != 0 ] && grep -q "$text" said && { echo "ok   $what"; return; }
  cat said
  echo "FAIL $what: code $code"
  exit 1
}
submit "$settings" >said
is "a chain" "--parsable runs/chained/jobs/prepare.sbatch
--parsable --dependency=afterok:101 --kill-on-invalid-dep=yes runs/chained/jobs/teachers.sbatch
--parsable --dependency=afterany:102 runs/chained/jobs/student.sbatch" "$(cat calls)"
is "scripts are written" "prepare.sbatch student.sbatch teachers.sbatch" "$(cd runs/chained/jobs && echo *.sbatch)"
grep -q 'node hours' said
printf '%s\n' '102_[2-4]|PENDING|0:00|4:00:00|(Priority)' '102_1|RUNNING|1:02|4:00:00|n7' '55|RUNNING|0:01|1:00|n1' >queue
is "status" "run      runs/chained: not begun
job      102_[2-4] teachers: PENDING, 0:00 of 4:00:00, (Priority)
job      102_1 teachers: RUNNING, 1:02 of 4:00:00, n7" "$("$PUPIL_BIN" launch --status runs/chained)"
refuses "a second job" 'job 102_\[2-4\] of runs/chained is in the queue already' "$settings"
rm queue calls
export FULL=105
refuses "a full queue" 'after job 104 was queued (scancel 104)' "$settings"
refuses "a hetjob that is chained" 'wants run.mode: split' "$settings" --set slurm.shape=hetjob
refuses "a hetjob with mpirun" 'needs srun' "$settings" --set slurm.shape=hetjob --set run.mode=split --set slurm.launcher=mpirun
refuses "a hetjob of any size" 'fixed numbers of nodes' "$settings" --set slurm.shape=hetjob --set run.mode=split --set slurm.nodes=1-2
if "$PUPIL_BIN" launch --status runs/none 2>said; then exit 1; fi
grep -q 'there is no such run' said
