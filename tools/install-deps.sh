#!/bin/sh
# install-deps.sh: the Debian or Ubuntu packages that building, testing and running pupil take. Installs only what is
# missing, through sudo where this is not root, and says nothing when there is nothing to do. --slurm: also what the tests of
# job scripts run on.
set -eu

packages="build-essential meson ninja-build pkg-config openmpi-bin libopenmpi-dev libopenblas-openmp-dev libhdf5-dev libyaml-dev
libjansson-dev libpcre2-dev libarchive-dev libjpeg-dev libpng-dev libwebp-dev zlib1g-dev libcmocka-dev gnuplot-nox"
optional="python3-h5py" # a second reader of the HDF5 files, for some tests
[ "${1:-}" != --slurm ] || optional="$optional slurm-wlm slurm-wlm-basic-plugins munge shellcheck iproute2" # a cluster of our own

installed() { # package or a package that provides it
  dpkg-query -W -f '${Status}\n' "$1" 2>/dev/null | grep -q '^install ok installed$' && return 0
  case $1 in
  pkg-config) installed pkgconf ;;
  libjpeg-dev) installed libjpeg62-turbo-dev || installed libjpeg-turbo8-dev ;;
  gnuplot-nox) command -v gnuplot >/dev/null ;;
  *) return 1 ;;
  esac
}
missing_of() {
  for package in "$@"; do
    installed "$package" || printf '%s ' "$package"
  done
}

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
  echo "This is not Debian or Ubuntu: install the counterparts of these packages yourself:" >&2
  echo "$packages" >&2
  exit 0
fi
# shellcheck disable=SC2086 # lists of words
missing=$(missing_of $packages)
# shellcheck disable=SC2086
wanted=$(missing_of $optional)

check_meson() { # Ubuntu before 23.04 has an older one
  case $(meson --version) in
  0.*)
    echo "error: meson $(meson --version) is too old, 1.0 is needed: python3 -m pip install --user 'meson>=1.0', and put ~/.local/bin first in PATH" >&2
    exit 1
    ;;
  esac
}
if [ -z "$missing$wanted" ]; then
  check_meson
  exit 0
fi

as_root=
if [ "$(id -u)" != 0 ]; then
  as_root=sudo
  if ! command -v sudo >/dev/null; then
    [ -z "$missing" ] || echo "error: packages are missing, and there is no sudo; as root: apt-get install $missing" >&2
    [ -z "$missing" ] || exit 1
    exit 0
  fi
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
install() { # quietly; the log is shown when it fails
  # shellcheck disable=SC2086
  $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" >"$log" 2>&1
}
update() {
  echo "reading the package lists (apt-get update)"
  $as_root apt-get update -q >"$log" 2>&1 || echo "warning: apt-get update failed; going on with the lists there are"
}

if [ -n "$missing" ]; then
  echo "installing: $missing"
  # shellcheck disable=SC2086
  if ! install $missing; then
    update
    # shellcheck disable=SC2086
    if ! install $missing; then
      cat "$log" >&2
      echo "error: apt-get could not install: $missing" >&2
      exit 1
    fi
  fi
fi
if [ -n "$wanted" ]; then
  # shellcheck disable=SC2086
  install $wanted || echo "note: optional $wanted could not be installed; the tests that use it are skipped"
fi
check_meson
