#!/bin/sh
# check-layers.sh: reads the #include lines of src/ and include/ and holds them against the layer table.
# Prints each line that breaks it; exit 1 if there is one.
set -eu
cd "$(dirname "$0")/.."
all_below_role="base conf math par store data model loss optim eval ckpt"
allowed() { # room -> doors it may include besides its own
  case $1 in
  base) echo "" ;;
  conf | math | par | store) echo "base" ;;
  data) echo "base conf store math" ;;
  model) echo "base conf math" ;;
  loss) echo "base math par" ;;
  optim) echo "base conf math par" ;;
  eval) echo "base math par data model" ;;
  ckpt) echo "base par store model optim data" ;;
  role | study) echo "$all_below_role" ;;
  cli) echo "$all_below_role role study" ;;
  *) echo "?" ;;
  esac
}
third_party() { # room -> third-party headers it may include
  case $1 in
  conf) echo "yaml.h" ;;
  math) echo "cblas.h mkl_cblas.h omp.h" ;;
  par) echo "mpi.h" ;;
  store) echo "hdf5.h" ;;
  data) echo "jpeglib.h png.h webp/decode.h archive.h archive_entry.h jansson.h pcre2.h zlib.h" ;;
  model | eval | study) echo "jansson.h" ;;
  *) echo "" ;;
  esac
}
standard="assert.h ctype.h dirent.h errno.h fcntl.h float.h fnmatch.h glob.h immintrin.h inttypes.h limits.h locale.h math.h poll.h pthread.h
sched.h setjmp.h signal.h spawn.h stdarg.h stdatomic.h stdbool.h stddef.h stdint.h stdio.h stdlib.h string.h strings.h
sys/ioctl.h sys/mman.h sys/prctl.h sys/resource.h sys/stat.h sys/statvfs.h sys/time.h sys/types.h sys/wait.h time.h unistd.h utime.h wchar.h wctype.h"
bad=0
complain() {
  echo "layers: $1"
  bad=1
}
has() { case " $(echo $2) " in *" $1 "*) return 0 ;; *) return 1 ;; esac; }
for file in src/*/*.c src/*/*.h include/pupil/*.h; do
  [ -e "$file" ] || continue
  case $file in
  include/*) room=$(basename "$file" .h) door=1 ;;
  *) room=$(basename "$(dirname "$file")") door=0 ;;
  esac
  [ "$(allowed "$room")" != "?" ] || complain "$file: room '$room' is not in the table"
  while IFS= read -r line; do
    name=$(echo "$line" | sed -E 's/^[0-9]+:[[:space:]]*#[[:space:]]*include[[:space:]]*[<"]([^>"]+)[>"].*/\1/')
    at="$file:${line%%:*}"
    case $name in
    pupil/*.h)
      d=$(basename "$name" .h)
      [ "$d" = "$room" ] || has "$d" "$(allowed "$room")" || complain "$at: room '$room' may not include the door of '$d'"
      ;;
    *)
      if has "$name" "$standard"; then continue; fi
      if [ "$door" = 1 ]; then complain "$at: a door may not include <$name>"; continue; fi
      [ -e "src/$room/$name" ] || has "$name" "$(third_party "$room")" || complain "$at: room '$room' may not include <$name>"
      ;;
    esac
  done <<EOF
$(grep -nE '^[[:space:]]*#[[:space:]]*include' "$file" || true)
EOF
done
[ "$bad" = 0 ] && echo "layers: every #include keeps to the table"
exit "$bad"
