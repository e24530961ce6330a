#!/bin/sh
# Prints the OpenBLAS kernel for this CPU: unit tests link OpenBLAS without pupil's own start-up check.
if grep -qm1 avx512f /proc/cpuinfo; then echo SKYLAKEX; elif grep -qm1 avx2 /proc/cpuinfo; then echo HASWELL; else echo ''; fi
