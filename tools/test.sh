#!/bin/sh
# test.sh: builds and runs every test. Prints the logs of those that fail, names those that were skipped, and ends
# with the line "N passed, N failed"; exit code 1 if any failed.
set -eu
cd "$(dirname "$0")/.."

tools/install-deps.sh
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

# testlog.json holds one object a line, one line a test
count() { grep -cE "\"result\": \"($1)\"" build/meson-logs/testlog.json || true; }
names() { grep -E "\"result\": \"($1)\"" build/meson-logs/testlog.json | sed 's/.*"name": "\([^"]*\)".*/  \1/'; }
passed=$(count 'OK|EXPECTEDFAIL')
skipped=$(count SKIP)
failed=$(($(wc -l <build/meson-logs/testlog.json) - passed - skipped))
if [ "$skipped" != 0 ]; then
  echo "skipped (their input is not here):"
  names SKIP
fi
if [ "$failed" != 0 ]; then
  echo "failed:"
  grep -vE '"result": "(OK|EXPECTEDFAIL|SKIP)"' build/meson-logs/testlog.json | sed 's/.*"name": "\([^"]*\)".*/  \1/'
fi
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
