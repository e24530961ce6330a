#!/bin/sh
# late.sh MPIRUN PROGRAM HOW TEXT [ABSENT]: the job must end soon with a failure and a line that holds TEXT (and not ABSENT).
set -u
out=$(mktemp)
trap 'rm -f "$out"' EXIT
start=$(date +%s)
MPI_TEST_TIMEOUT=40 "$1" 4 "$2" "$3" >"$out" 2>&1
code=$?
seconds=$(($(date +%s) - start))
cat "$out"
[ "$code" -ne 0 ] || { echo "late: the job ended with 0"; exit 1; }
[ "$code" -ne 124 ] && [ "$seconds" -lt 20 ] || { echo "late: the job hung ($seconds s)"; exit 1; }
grep -q "$4" "$out" || { echo "late: nothing said '$4'"; exit 1; }
if [ -n "${5:-}" ] && grep -q "$5" "$out"; then echo "late: '$5' was said"; exit 1; fi
if grep -q "went on" "$out"; then echo "late: a rank went on"; exit 1; fi
