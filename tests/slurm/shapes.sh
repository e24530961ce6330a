#!/bin/sh
# On a SLURM of our own, each shape of jobs ends with the student of a local run on one rank, bit for bit.
set -eu
# shellcheck source=tests/slurm/cluster.sh
. "$(dirname "$0")/cluster.sh"
local_run alone 20
launch split 20 --set slurm.nodes=2
launch hetjob 20 --set slurm.shape=hetjob --set slurm.teacher.ntasks_per_node=1
launch chained 20 --set run.mode=chained --set slurm.teacher.jobs=3 --set slurm.teacher.at_once=2
launch staged 20 --set slurm.stage=true --set slurm.nodes=2
launch mpirun 20 --set slurm.nodes=2 --set slurm.launcher=mpirun
for name in split hetjob chained staged mpirun; do
  finished "$name"
  same "$name" alone "$name"
  "$PUPIL_BIN" launch --status "$name" | grep -q "^run      $name: finished" || { echo "FAIL status of $name"; exit 1; }
done
says chained 'teacher forward passes'

# several configurations: one cache, filled once, and an element each
mkdir cells
for cell in 1 2 3; do
  sed "s|^run: {dir: tiny|run: {dir: cells/$cell|; s|dir: tiny/|dir: cells/|; s|warmup: 4}|warmup: $cell}|" "$settings" >"cells/$cell.yaml"
done
"$PUPIL_BIN" launch cells/1.yaml cells/2.yaml cells/3.yaml --submit --set slurm.ntasks_per_node=1 --set slurm.cells_at_once=2 --set slurm.time=5 \
  --set slurm.gflops=10 >cells.out
sed -n 's/^job \([0-9]*\).*/\1/p' cells.out >cells.jobs
[ "$(wc -l <cells.jobs)" = 2 ]
finished cells
for cell in 1 2 3; do
  "$PUPIL_BIN" run "cells/$cell.yaml" --set run.dir="cells/$cell-alone" >/dev/null 2>&1
  same "cells/$cell" "cells/$cell-alone" "cell $cell"
done
