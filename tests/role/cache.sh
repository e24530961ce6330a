#!/bin/sh
# A teacher cache has the same blocks, byte for byte, on 1, 2, 3 and 4 ranks, and what `pupil cache check` computes again agrees
# with it, filled in part or whole; the cache of another teacher is refused with the fields that differ.
set -eu
here=$(dirname "$0")
dir=$(mktemp -d "${TMPDIR:-/tmp}/pupil-cache.XXXXXX")
trap 'rm -rf "$dir"' EXIT
fail() { echo "FAIL $1"; exit 1; }
teach() { # name ranks [--set ...]
  name=$1
  np=$2
  shift 2
  "$here/../mpirun.sh" "$np" "$PUPIL_BIN" run "$here/tiny.yaml" --set run.mode=teach --set run.dir="$dir/run-$name" --set teacher.dir="$dir/teacher" \
    --set cache.dir="$dir/$name" "$@" >"$dir/$name.log" 2>&1
}
check() { # name [options]
  name=$1
  shift
  "$PUPIL_BIN" cache check "$here/tiny.yaml" --set run.dir="$dir/run-one" --set teacher.dir="$dir/teacher" --set cache.dir="$dir/$name" "$@"
}
blocks() { # "BLOCK ROWS CRC/CRC", sorted, of all segments of a journal
  awk '$1 == "seg" {
    for (i = 2; i <= NF; i++) { n = index($i, "="); value[substr($i, 1, n - 1)] = substr($i, n + 1) }
    n = split(value["blocks"], b, ","); split(value["rows"], r, ","); split(value["crcs"], c, ",")
    for (i = 1; i <= n; i++) print b[i], r[i], c[i]
  }' "$dir/$1/journal.txt" | sort -n
}
teach one 1 || { cat "$dir/one.log"; fail "one rank"; }
[ "$(blocks one | wc -l)" = 16 ] || fail "one rank did not fill 16 blocks"
for np in 2 3 4; do
  teach "ranks$np" "$np" || { cat "$dir/ranks$np.log"; fail "$np ranks"; }
  [ "$(blocks one)" = "$(blocks "ranks$np")" ] || fail "$np ranks filled other blocks than 1"
  echo "ok   $np ranks: the same 16 blocks"
done
check one --rows 500 --json >"$dir/whole.json" || fail "500 rows of the whole cache"
grep -q '"rows": 500, .*"image": .*"failed": 0, .*"text": .*"failed": 0' "$dir/whole.json" || fail "$(cat "$dir/whole.json")"
if PUPIL_FAULT=seg.close:3:kill teach part 1; then fail "nothing was killed"; fi
check part --rows 500 >"$dir/part.txt" || fail "a part-filled cache"
grep -q '^128 rows of 4 published blocks (of 16), f16' "$dir/part.txt" || fail "$(cat "$dir/part.txt")"
teach wide 1 --set cache.dtype=f32 || fail "float32"
check wide --rows 64 --set cache.dtype=f32 >/dev/null || fail "a cache in float32"
echo "ok   rows computed again agree"
refused() { # what exit text command...
  what=$1 want=$2 text=$3 code=0
  shift 3
  "$@" >"$dir/out.txt" 2>&1 || code=$?
  [ "$code" = "$want" ] || { cat "$dir/out.txt"; fail "$what: exit $code, expected $want"; }
  grep -q "$text" "$dir/out.txt" || { cat "$dir/out.txt"; fail "$what: expected '$text'"; }
  echo "ok   $what"
}
"$here/../mpirun.sh" 1 "$PUPIL_BIN" run "$here/tiny.yaml" --set run.mode=teach --set run.dir="$dir/other" --set teacher.dir="$dir/other/teacher" \
  --set cache.dir="$dir/other/cache" --set teacher.train.seed=2 >"$dir/other.log" 2>&1 || fail "another teacher"
refused "another teacher's cache" 2 'holds another cache: teacher.logit_scale: .* teacher.weights: ' \
  "$PUPIL_BIN" cache check "$here/tiny.yaml" --set run.dir="$dir/run-one" --set teacher.dir="$dir/other/teacher" --set cache.dir="$dir/one"
refused "a cache of other data" 2 'holds another cache: data: ' check one --set data.scenes.seed=4
refused "no cache" 1 'there is no cache here' check nowhere
[ ! -e "$dir/nowhere" ] || fail "the check made a folder"
