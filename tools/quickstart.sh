#!/bin/sh
# quickstart.sh: from a fresh Debian or Ubuntu machine to a distilled, scored student. Called again, it trains the
# student once more from the teacher cache that is there by then.
set -eu
cd "$(dirname "$0")/.."
began=$(date +%s)

tools/install-deps.sh
[ -e build/build.ninja ] || meson setup build --buildtype=release >/dev/null
echo "building (build/)"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! ninja -C build >"$log" 2>&1; then
  cat "$log" >&2
  echo "error: the build failed" >&2
  exit 1
fi

conf=conf/quickstart.yaml
run=$(sed -n 's/^  dir: *\([^ #]*\).*/\1/p' "$conf" | head -n 1)
set -- launch "$conf"
if [ -e "$run/finished" ]; then
  echo "$run is finished: training its student once more from the cache that is there"
  set -- "$@" --again
fi
build/src/cli/pupil "$@"

took=$(($(date +%s) - began))
echo "done in $((took / 60)) min $((took % 60)) s: open $PWD/$run/report.html"
