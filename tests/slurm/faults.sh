#!/bin/sh
# On a SLURM of our own, whatever ends a job before its time, the run goes on by itself and ends with the student of a run
# that was left alone. What must not go on does not.
set -eu
# shellcheck source=tests/slurm/cluster.sh
. "$(dirname "$0")/cluster.sh"
long=1000

# one node each, all at the same time
launch usr1 $long
launch term $long
launch requeue $long
# SLURM's shortest limit is a minute, and it looks at the clock twice a minute: this one waits for its signal in the middle, its
# ranks for each other
# shellcheck disable=SC2016 # the script expands it
launch limit $long --set slurm.time=1 --set slurm.signal_seconds=50 --set ranks.timeout=120 \
  --set slurm.lines='["if [ \"${SLURM_RESTART_COUNT:-0}\" = 0 ]; then export PUPIL_FAULT=train.step:500:wait; fi"]'
reached usr1 40
scancel --batch --signal=USR1 "$(number usr1)"
reached term 40
scancel --signal=TERM "$(number term)"
reached requeue 40
scontrol requeue "$(number requeue)"
local_run alone $long
for name in usr1 term requeue limit; do
  finished "$name"
  same "$name" alone "$name"
done
says usr1 'stopped on a signal; a checkpoint of step'
says usr1 'exit code 75 after start 1; queued again'
says term 'exit code 75 after start 1; queued again'
says limit 'exit code 75 after start 1; queued again'

# a rank is killed; a teacher job fails for good; another one is queued again; and one never makes progress
# shellcheck disable=SC2016 # the scripts expand it
{
  launch killed 20 --set run.checkpoint_steps=3 \
    --set slurm.lines='["if [ \"${SLURM_RESTART_COUNT:-0}\" = 0 ]; then export PUPIL_FAULT=train.step:9:kill; fi"]'
  launch element 20 --set run.mode=chained --set slurm.teacher.jobs=2 --set slurm.retries=1 \
    --set slurm.lines='["if [ \"${SLURM_ARRAY_TASK_ID:-}\" = 1 ]; then export PUPIL_FAULT=seg.close:1:kill; else sleep 3; fi"]'
  launch again 20 --set run.mode=chained --set slurm.teacher.jobs=2 \
    --set slurm.lines='["if [ \"${SLURM_ARRAY_TASK_ID:-}-${SLURM_RESTART_COUNT:-0}\" = 1-0 ]; then export PUPIL_FAULT=seg.close:1:kill; else sleep 3; fi"]'
  launch stuck 20 --set slurm.retries=2 --set slurm.lines='["export PUPIL_FAULT=train.step:1:kill"]'
}
local_run short 20
for name in killed element again; do
  finished "$name"
  same "$name" short "$name"
done
says killed 'exit code 137 after start 1; queued again'
says element 'not queued again'
says again 'exit code 137 after start 1; queued again'
finished stuck
says stuck 'no progress in 2 starts: not queued again'
echo "ok   stuck"

# a cancelled job stays cancelled
launch cancelled $long
reached cancelled 20
scancel "$(number cancelled)"
finished cancelled
[ ! -e cancelled/finished ] || { echo "FAIL a cancelled run went on"; exit 1; }
echo "ok   cancelled"

# a node loses its power; the range of nodes lets the job go on with those that are left
launch node $long --set slurm.nodes=2-4 --set ranks.timeout=10
reached node 20
lost=4
case $(squeue -h -j "$(number node)" -o %B) in n4) lost=3 ;; esac # not where the script runs
"$here/lab.sh" kill "n$lost"
began=$(date +%s)
finished node
says node '8 ranks x 1 thread'
says node '6 ranks x 1 thread' # the second start
same node alone "node, $(($(date +%s) - began)) s after it was lost"
