#!/bin/sh
# make-emoji.sh [--full] [--out data/emoji]: real pictures with words, and questions about them, from public packages.
#
#   plain    EmojiOne's 1,794 drawings, from Debian's package ruby-gemojione (apt alone)
#   --full   five vendors' drawings of 1,900 concepts, from npm packages beside that one
#
# Writes OUT/{train,test}-000000.tar ... (WebDataset: KEY.png, KEY.txt, KEY.json), OUT/{train,test}_questions.json and
# _annotations.json (VQA v2) and OUT/LICENSES.txt. Whole concepts are held out, all skin tones of one together; with
# --full one vendor is held out too: test is that vendor's work, and concepts-* holds the other vendors' drawings of
# the held-out concepts. The same packages give the same files, byte for byte.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
full=0
out=data/emoji
while [ $# -gt 0 ]; do
  case $1 in
  --full) full=1 ;;
  --out) out=${2:?--out needs a folder}; shift ;;
  -h | --help) sed -n '2,13s/^# \{0,1\}//p' "$0"; exit 0 ;;
  *) echo "make-emoji.sh: $1 is not an option (--full, --out DIR)" >&2; exit 2 ;;
  esac
  shift
done

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}
need() { # a command or Python module that must work, and the Debian package that brings it
  if ! eval "$1" >/dev/null 2>&1; then
    echo "installing $2"
    as_root apt-get update -q >/dev/null
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$2" >/dev/null
  fi
}
need "/usr/bin/python3 -c 'import PIL.Image'" python3-pil
if [ "$full" = 1 ]; then
  need "command -v npm" npm
  need "command -v rsvg-convert" librsvg2-bin
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/emoji.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir -p "$out"
out=$(cd "$out" && pwd)
cd "$work"

echo "fetching ruby-gemojione"
apt-get download -q ruby-gemojione >apt.log 2>&1 || {
  as_root apt-get update -q >/dev/null
  apt-get download -q ruby-gemojione >apt.log 2>&1 || { cat apt.log >&2; exit 1; }
}
mkdir gemojione
dpkg -x ruby-gemojione_*.deb gemojione

if [ "$full" = 1 ]; then
  for package in emoji-datasource-google@16.0.0 emoji-datasource-twitter@16.0.0 openmoji@17.0.0 \
    @iconify-json/fluent-emoji-flat@1.2.6 emojibase-data@17.0.0 emojilib@4.0.3; do
    echo "fetching $package"
    tarball=$(npm pack --silent "$package" | tail -n 1)
    name=${package%@*}
    mkdir "${name##*/}"
    tar -xzf "$tarball" -C "${name##*/}" --strip-components=1 --no-same-owner
    rm "$tarball"
  done
  echo "drawing the SVG files (about a minute)"
  /usr/bin/python3 "$here/make-emoji.py" unpack-fluent fluent-emoji-flat fluent-svg
  mkdir openmoji-png fluent-png
  export LC_ALL=C
  for vendor in openmoji fluent; do
    svg=fluent-svg
    [ $vendor = fluent ] || svg=openmoji/color/svg
    # shellcheck disable=SC2016  # the inner shell expands
    find "$svg" -name '*.svg' -print0 | xargs -0 -P "$(nproc)" -n 64 sh -c '
      to=$1; shift
      for f do b=${f##*/}; rsvg-convert -w 64 -h 64 -o "$to/${b%.svg}.png" "$f"; done' sh "$vendor-png"
  done
fi
/usr/bin/python3 "$here/make-emoji.py" build "$work" "$out" "$full"
