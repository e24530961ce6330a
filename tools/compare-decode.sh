#!/bin/sh
# compare-decode.sh [ROUNDS]: pictures per second of one thread, from JPEG bytes to a tower's 224 px numbers, by `pupil bench
# input` and by Pillow with NumPy in turns on the same made-up photographs. Needs Debian's python3-pil and python3-numpy.
set -eu
cd "$(dirname "$0")/.."
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
exec "${PYTHON:-/usr/bin/python3}" tools/compare-decode.py "${PUPIL_BIN:-build/src/cli/pupil}" "${1:-7}"
