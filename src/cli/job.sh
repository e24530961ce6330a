# ---- From here on, all job scripts of pupil are the same ----------------------------------------------

# Threads of a rank: the cores that SLURM gives each of them (--cpus-per-task).
threads=${SLURM_CPUS_PER_TASK:-1}
export OMP_NUM_THREADS="$threads" OPENBLAS_NUM_THREADS="$threads"

# srun knows the nodes and starts Open MPI and MPICH alike where it was built with PMIx; mpirun is there for the
# other sites.
if [ "$launcher" = auto ]; then
  launcher=mpirun
  if srun --mpi=list 2>&1 | grep -qw pmix; then launcher=srun; fi
fi

# Where the ranks go: as the job was asked for, or so many on each of the nodes it got.
where=$groups
map=slot
if [ -n "$per_node" ]; then
  where="--ntasks-per-node=$per_node --ntasks=$((SLURM_JOB_NUM_NODES * per_node))"
  map=ppr:$per_node:node:oversubscribe
fi

# ranks ARGUMENTS: this process becomes the launcher, which starts one `pupil run` a rank. Neighbours in rank are
# neighbours on a node. srun has been told --cpus-per-task on purpose: some versions forget what sbatch was told.
ranks() {
  if [ "$launcher" = srun ]; then
    # shellcheck disable=SC2086 # $where is a list of options, maybe none
    exec srun --mpi=pmix $where --cpus-per-task="$threads" --distribution=block --kill-on-bad-exit=1 \
      "$pupil" run "$conf" "$@"
  fi
  export OMPI_MCA_oob_tcp_keepalive_time=3 OMPI_MCA_oob_tcp_keepalive_intvl=2 OMPI_MCA_oob_tcp_keepalive_probes=2
  exec mpirun --map-by "$map" --bind-to none "$pupil" run "$conf" "$@"
}

# SLURM sends USR1 here before the time is up (--signal). It is passed on; the ranks then agree on a step, save a
# checkpoint and end with exit code 75.
child=
asked=
# shellcheck disable=SC2317 # the trap calls it
pass_on() {
  asked=yes
  if [ -n "$child" ]; then kill -USR1 "$child"; fi
}
trap pass_on USR1 TERM

# run ARGUMENTS: starts the ranks and waits for their end; $code is their exit code.
run() {
  ranks "$@" &
  child=$!
  if [ -n "$asked" ]; then kill -USR1 "$child"; fi
  while :; do
    wait "$child"
    code=$?
    if ! kill -0 "$child" 2>/dev/null; then break; fi # else a signal has interrupted the wait
  done
  child=
}

# done_or_again: ends the job, or has it queued again under the same number. 0: done. 2: the settings are wrong, and
# would be again. Everything else (75: stopped with a checkpoint; a lost node; a killed rank) is worth another
# start, unless the job was cancelled, or made no progress in $retries starts.
done_or_again() {
  if [ "$code" = 0 ] || [ "$code" = 2 ]; then exit "$code"; fi
  case $(squeue -h -j "$SLURM_JOB_ID" -o '%T %r') in
  RUNNING* | *TimeLimit) ;;
  *) exit "$code" ;;
  esac
  mkdir -p "$run/jobs"
  file=$run/jobs/starts-$SLURM_JOB_ID before=-1 starts=0
  if [ -r "$file" ]; then read -r before starts <"$file"; fi
  progress=$("$pupil" launch --status --json "$run" | sed -n 's/.*"progress": *\([0-9]*\).*/\1/p')
  progress=${progress:-0}
  if [ "$progress" -gt "$before" ]; then starts=0; fi
  starts=$((starts + 1))
  echo "$progress $starts" >"$file"
  if [ "$starts" -ge "$retries" ]; then
    echo "job $SLURM_JOB_ID: exit code $code, and no progress in $starts starts: not queued again" >&2
    exit "$code"
  fi
  echo "job $SLURM_JOB_ID: exit code $code after start $((${SLURM_RESTART_COUNT:-0} + 1)); queued again" >&2
  scontrol requeue "$SLURM_JOB_ID" || exit "$code"
  sleep 60 # SLURM ends this script
  exit "$code"
}

