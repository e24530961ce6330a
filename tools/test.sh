#!/bin/sh
# test.sh [--slurm] [ARGUMENTS of meson test]: builds and runs every test. Prints the logs of those that fail, names those
# that were skipped, and ends with the line "N passed, N failed"; exit code 1 if any failed. --slurm: also those that bring
# up a SLURM of their own, which is installed if it is not there; as root. Some 6 minutes more.
set -eu
cd "$(dirname "$0")/.."

if [ "${1:-}" = --slurm ]; then
  shift
  export PUPIL_TEST_SLURM=1
  tools/install-deps.sh --slurm
else
  tools/install-deps.sh
fi
[ -e build/build.ninja ] || meson setup build --buildtype=release >/dev/null
log=$(mktemp)
trap 'rm -f "$log"' EXIT
echo "building (build/)"
if ! ninja -C build >"$log" 2>&1; then
  cat "$log"
  echo "error: the build failed" >&2
  echo "0 passed, 1 failed"
  exit 1
fi
rm -f build/meson-logs/testlog.json
meson test -C build --no-rebuild --print-errorlogs "$@" || true
[ -s build/meson-logs/testlog.json ] || {
  echo "error: the tests did not run" >&2
  echo "0 passed, 1 failed"
  exit 1
}

# testlog.json holds one object a line, one line a test; a cmocka program names the cases that it skipped
log_json=build/meson-logs/testlog.json
of_result() { grep -E "\"result\": \"($1)\"" "$log_json" || true; }
name_of() { sed 's/.*"name": "\([^"]*\)".*/\1/'; }
passed=$(of_result 'OK|EXPECTEDFAIL' | wc -l)
skipped=$(of_result SKIP | wc -l)
failed=$(($(wc -l <"$log_json") - passed - skipped))
names=$({
  of_result SKIP | name_of
  sed -n 's/^\[  SKIPPED \] \([a-z][A-Za-z0-9_]*\)$/\1/p' build/meson-logs/testlog.txt
} | sort -u | tr '\n' ' ')
[ -z "$names" ] || echo "skipped, for what they need is not on this machine: $names"
[ "${PUPIL_TEST_SLURM:-}" = 1 ] || echo "not run: what needs a SLURM of its own (tools/test.sh --slurm)"
[ "$failed" = 0 ] || echo "failed: $(grep -vE '"result": "(OK|EXPECTEDFAIL|SKIP)"' "$log_json" | name_of | tr '\n' ' ')"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
