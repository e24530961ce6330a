# shellcheck shell=sh
# cluster.sh (sourced): a SLURM of our own for the length of a test, small runs on it, and the same runs without it.
if [ "${PUPIL_TEST_SLURM:-}" != 1 ]; then
  echo "skipped: tests on a SLURM of our own run with tools/test.sh --slurm"
  exit 77
fi
here=$(cd "$(dirname "$0")" && pwd)
dir=$(mktemp -d /tmp/pupil-slurm.XXXXXX) # short: sockets live below it
chmod 711 "$dir"                          # munged wants them reachable
export LAB="$dir/lab" OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_btl_tcp_if_include=lo OMPI_MCA_oob_tcp_if_include=lo \
  OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_btl_base_warn_component_unused=0 PUPIL_SITE=
unset TMPDIR
ended() {
  code=$?
  "$here/lab.sh" down || true
  if [ "$code" != 0 ] && [ "$code" != 77 ]; then
    echo "the last lines of SLURM's logs:"
    tail -n 5 "$LAB"/log/*.log || true
  fi
  rm -rf "$dir"
  exit "$code"
}
trap ended EXIT
trap 'exit 1' INT TERM
said=$("$here/lab.sh" up 4) || {
  code=$?
  echo "$said"
  exit "$code"
}
eval "$said"
cd "$dir" || exit 1
settings=$here/../role/tiny.yaml

# launch NAME SHORT|LONG ...: hand in a run of that name; its job numbers are in NAME.jobs
launch() {
  name=$1 steps=$2
  shift 2
  "$PUPIL_BIN" launch "$settings" --submit --set run.dir="$name" --set teacher.dir="$name/teacher" --set cache.dir="$name/cache" \
    --set student.train.steps="$steps" --set run.checkpoint_seconds=3 --set ranks.timeout=20 --set slurm.ntasks_per_node=2 \
    --set slurm.time=10 --set slurm.gflops=10 "$@" >"$name.out" 2>&1 || {
    cat "$name.out"
    echo "FAIL $name was not handed in"
    exit 1
  }
  sed -n 's/^job \([0-9]*\).*/\1/p' "$name.out" >"$name.jobs"
}
# local_run NAME STEPS: the same without SLURM, on one rank
local_run() {
  "$PUPIL_BIN" run "$settings" --set run.dir="$1" --set teacher.dir="$1/teacher" --set cache.dir="$1/cache" --set student.train.steps="$2" \
    >"$1.out" 2>&1 || {
    cat "$1.out"
    exit 1
  }
}
# number NAME: of its first job
number() { head -n 1 "$1.jobs"; }
# reached NAME STEPS: wait until its student has done so many
reached() {
  for _ in $(seq 1200); do
    if [ -s "$1/metrics.jsonl" ] && [ "$(wc -l <"$1/metrics.jsonl")" -ge "$2" ]; then return 0; fi
    sleep 0.1
  done
  logs "$1"
  echo "FAIL $1 did not reach step $2"
  exit 1
}
# finished NAME: wait until none of its jobs is in the queue
finished() {
  for _ in $(seq 600); do
    left=
    while read -r job; do left=$left$(squeue -h -j "$job" 2>/dev/null); done <"$1.jobs"
    if [ -z "$left" ]; then return 0; fi
    sleep 0.5
  done
  squeue
  logs "$1"
  echo "FAIL $1 did not end"
  exit 1
}
logs() {
  for log in "$1"/jobs/*.log; do
    echo "==> $log"
    tail -n 15 "$log"
  done
}
# same NAME AS WHAT: its student is that of another run
same() {
  if cmp -s "$2/model.safetensors" "$1/model.safetensors"; then
    echo "ok   $3"
  else
    logs "$1"
    echo "DIFF $3"
    exit 1
  fi
}
# says NAME TEXT: in one of its logs
says() {
  grep -qh "$2" "$1"/jobs/*.log || {
    logs "$1"
    echo "FAIL the log of $1 does not say: $2"
    exit 1
  }
}
