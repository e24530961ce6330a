#!/bin/sh
# tools/install-deps.sh with a package system that is made up: nothing to do is silent, what is missing and no more is
# installed, stale lists are read once, an optional package may fail, and an old meson is refused.
set -eu
script=$PUPIL_SOURCE/tools/install-deps.sh
dir=$(mktemp -d "${TMPDIR:-/tmp}/pupil-deps.XXXXXX")
trap 'rm -rf "$dir"' EXIT
cat >"$dir/dpkg-query" <<'FAKE'
#!/bin/sh
for name in "$@"; do :; done
case " $ABSENT " in *" $name "*) [ -e "$DIR/has-$name" ] || exit 1 ;; esac
echo "install ok installed"
FAKE
cat >"$dir/apt-get" <<'FAKE'
#!/bin/sh
echo "$*" >>"$DIR/calls"
case "$*" in
update*) : >"$DIR/fresh"; exit 0 ;;
*"$BROKEN"*) exit 100 ;;
esac
[ -z "$STALE" ] || [ -e "$DIR/fresh" ] || exit 100
for name in "$@"; do : >"$DIR/has-$name"; done
FAKE
cat >"$dir/sudo" <<'FAKE'
#!/bin/sh
exec "$@"
FAKE
cat >"$dir/meson" <<'FAKE'
#!/bin/sh
echo "$MESON"
FAKE
chmod +x "$dir"/*
export DIR="$dir" PATH="$dir:$PATH" ABSENT='' STALE='' BROKEN=nothing MESON=1.0.1

check() { # what is expected, what is
  [ "$1" = "$2" ] && return
  printf 'expected: %s\n     got: %s\n' "$1" "$2"
  exit 1
}
run() {
  rm -f "$dir"/calls "$dir"/fresh "$dir"/has-*
  : >"$dir/calls"
  said=$("$script" 2>&1) && code=0 || code=$?
}

run
check "0 " "$code $said"
check "" "$(cat "$dir/calls")"

ABSENT="libyaml-dev libpng-dev" run
check "0 installing: libyaml-dev libpng-dev " "$code $said"
check "install -y -q --no-install-recommends libyaml-dev libpng-dev" "$(cat "$dir/calls")"

ABSENT=libyaml-dev STALE=1 run
check 0 "$code"
check "3" "$(wc -l <"$dir/calls")"
check "update -q" "$(sed -n 2p "$dir/calls")"

ABSENT=libyaml-dev BROKEN=libyaml run
check 1 "$code"
case $said in *"error: apt-get could not install: libyaml-dev"*) ;; *) check "an error" "$said" ;; esac

ABSENT=python3-h5py BROKEN=h5py run
check 0 "$code"
case $said in "note: optional python3-h5py"*) ;; *) check "a note" "$said" ;; esac

MESON=0.61.2 run
check 1 "$code"
case $said in "error: meson 0.61.2 is too old"*) ;; *) check "an error" "$said" ;; esac
