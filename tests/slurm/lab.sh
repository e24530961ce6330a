#!/bin/sh
# lab.sh up N | down | kill NODE | revive NODE: a SLURM of N nodes n1..nN on this machine, for tests, in the folder LAB (a
# short path). `up` prints what to set before SLURM's commands are used. As root, without systemd. Exit code 77, with
# the reason, where that cannot be.
#
# Each node is a slurmd in a UTS namespace of its own, so that it has a host name of its own: Open MPI names its shared
# memory by it, and a node's processes can be told from another's. What is not obvious in slurm.conf: TmpFS, as nodes must not
# share srun's folders; cred_expire, as a job that is queued again is held back for the lifetime of a credential.
set -eu
lab=${LAB:?}
export SLURM_CONF="$lab/slurm.conf"

skip() {
  echo "skipped: $1"
  exit 77
}
stop() { # FILE: the process whose number is in it
  [ -s "$1" ] || return 0
  pid=$(cat "$1")
  kill "$pid" 2>/dev/null || return 0
  for _ in $(seq 50); do
    kill -0 "$pid" 2>/dev/null || return 0
    sleep 0.1
  done
  kill -9 "$pid" 2>/dev/null || true
}
processes() { # NODE: of its namespace, the slurmd included
  for proc in /proc/[0-9]*; do
    if [ "$(readlink "$proc/ns/uts" 2>/dev/null)" = "$(cat "$lab/pid/uts-$1")" ]; then echo "${proc#/proc/}"; fi
  done
}
start_node() { # NODE
  unshare --uts sh -c "hostname $1 && exec slurmd -N $1" >"$lab/log/start-$1" 2>&1 || return 1
  for _ in $(seq 50); do
    if [ -s "$lab/pid/slurmd-$1.pid" ] && readlink "/proc/$(cat "$lab/pid/slurmd-$1.pid")/ns/uts" >"$lab/pid/uts-$1"; then return 0; fi
    sleep 0.1
  done
  return 1
}
kill_node() { # NODE: as if its power were cut
  # shellcheck disable=SC2046 # a list of numbers
  kill -9 $(processes "$1") 2>/dev/null || true
  rm -f "$lab/pid/slurmd-$1.pid"
}

configure() { # N
  port=$((20000 + $$ % 4000 * 10))
  cat <<EOF
ClusterName=lab
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmUser=root
SlurmdUser=root
SlurmctldPort=$port
AuthType=auth/munge
AuthInfo=socket=$lab/socket/munge,cred_expire=5
CredType=cred/munge
StateSaveLocation=$lab/state
SlurmdSpoolDir=$lab/spool/%n
TmpFS=$lab/tmp/%n
SlurmctldPidFile=$lab/pid/slurmctld.pid
SlurmdPidFile=$lab/pid/slurmd-%n.pid
SlurmctldLogFile=$lab/log/slurmctld.log
SlurmdLogFile=$lab/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SwitchType=switch/none
MpiDefault=none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0,sched_min_interval=100000
ReturnToService=2
SlurmdTimeout=10
SlurmctldTimeout=10
KillWait=5
MinJobAge=300
JobRequeue=1
SlurmdParameters=config_overrides
PartitionName=lab Nodes=n[1-$1] Default=YES MaxTime=30 State=UP OverSubscribe=NO
EOF
  for i in $(seq "$1"); do
    echo "NodeName=n$i NodeHostname=n$i NodeAddr=127.0.0.1 Port=$((port + i)) CPUs=2 RealMemory=4000 State=UNKNOWN"
  done
}

up() { # N
  for program in slurmctld slurmd munged srun unshare; do
    command -v "$program" >/dev/null || skip "$program is not installed (tools/test.sh --slurm installs it)"
  done
  [ "$(id -u)" = 0 ] || skip "a SLURM of our own needs root"
  unshare --uts true 2>/dev/null || skip "this machine permits no UTS namespaces"
  mkdir -p "$lab/state" "$lab/log" "$lab/pid" "$lab/socket" "$lab/munge"
  chmod 755 "$lab"
  chmod 711 "$lab/socket"
  chmod 700 "$lab/munge"
  (umask 077 && dd if=/dev/urandom of="$lab/munge/key" bs=128 count=1 status=none)
  configure "$1" >"$SLURM_CONF"
  munged --key-file="$lab/munge/key" --socket="$lab/socket/munge" --pid-file="$lab/pid/munged.pid" --log-file="$lab/munge/log" \
    --seed-file="$lab/munge/seed" --num-threads=2 || skip "munged does not run here"
  slurmctld -c || skip "slurmctld does not run here: $(tail -n 1 "$lab/log/slurmctld.log")"
  for i in $(seq "$1"); do
    mkdir -p "$lab/spool/n$i" "$lab/tmp/n$i"
    start_node "n$i" || skip "slurmd does not run here: $(cat "$lab/log/start-n$i" "$lab/log/slurmd-n$i.log" 2>/dev/null | tail -n 1)"
  done
  for _ in $(seq 200); do
    if [ "$(sinfo -h -t idle -o %D 2>/dev/null)" = "$1" ]; then
      echo "export SLURM_CONF=$SLURM_CONF"
      return 0
    fi
    sleep 0.1
  done
  skip "the nodes did not come up: $(tail -n 1 "$lab/log/slurmctld.log")"
}

down() {
  [ -e "$SLURM_CONF" ] || return 0
  for node in "$lab"/pid/uts-*; do
    if [ -e "$node" ]; then kill_node "${node##*/uts-}"; fi
  done
  stop "$lab/pid/slurmctld.pid"
  stop "$lab/pid/munged.pid"
}

case ${1:-} in
up) up "$2" ;;
down) down ;;
kill) kill_node "$2" ;;
revive) start_node "$2" ;;
*) echo "usage: LAB=DIR lab.sh up N | down | kill NODE | revive NODE" >&2 && exit 2 ;;
esac
