#!/bin/sh
# Two hosts, which are two network namespaces joined by a cable: what Open MPI sends goes over TCP. A run on both is that of one
# host, bit for bit; teachers get a host of their own; when the cable is cut in mid-step the run ends soon, with a line that
# names the host; and it goes on with the host that is left.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
skip() {
  echo "skipped: $1"
  exit 77
}
for program in ip nsenter unshare mpirun; do
  command -v $program >/dev/null || skip "$program is not installed"
done
[ "$(id -u)" = 0 ] || skip "network namespaces need root"
dir=$(mktemp -d /tmp/pupil-hosts.XXXXXX)
ns1=pupil-$$-1
ns2=pupil-$$-2
ended() {
  for ns in $ns1 $ns2; do
    ip netns pids "$ns" 2>/dev/null | while read -r pid; do kill -9 "$pid" 2>/dev/null || true; done
    ip netns del "$ns" 2>/dev/null || true
  done
  rm -rf "$dir"
}
trap ended EXIT
trap 'exit 1' INT TERM
{ ip netns add $ns1 && ip netns add $ns2 && ip link add eth0 netns $ns1 type veth peer name eth0 netns $ns2; } 2>/dev/null ||
  skip "this machine permits no network namespaces"
for i in 1 2; do
  ip -n pupil-$$-$i addr add 10.77.0.$i/24 dev eth0
  ip -n pupil-$$-$i link set lo up
  ip -n pupil-$$-$i link set eth0 up
done
printf '127.0.0.1 localhost\n10.77.0.1 n1\n10.77.0.2 n2\n' >"$dir/hosts"

# agent HOST COMMAND...: as ssh, for mpirun. A host is a network, a name, and a list of names.
cat >"$dir/agent" <<EOF
#!/bin/sh
host=\$1
shift
exec nsenter --net=/run/netns/pupil-$$-\${host#n} unshare --uts --mount \\
  sh -c 'hostname '"\$host"' && mount --bind $dir/hosts /etc/hosts && exec sh -c "\$*"' sh "\$@"
EOF
chmod +x "$dir/agent"
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_mpi_yield_when_idle=1 \
  OMPI_MCA_plm=rsh OMPI_MCA_plm_rsh_agent="$dir/agent" OMPI_MCA_btl_tcp_if_include=eth0 OMPI_MCA_oob_tcp_if_include=eth0 \
  OMPI_MCA_btl=self,vader,tcp OMPI_MCA_pml=ob1 OMPI_MCA_hwloc_base_binding_policy=none OMPI_MCA_btl_base_warn_component_unused=0 \
  OMPI_MCA_oob_tcp_keepalive_time=3 OMPI_MCA_oob_tcp_keepalive_intvl=2 OMPI_MCA_oob_tcp_keepalive_probes=2 \
  OMPI_MCA_orte_tmpdir_base=/tmp PUPIL_SITE=
cd "$dir"
# run HOSTS RANKS NAME ...: started on n1
run() {
  hosts=$1 ranks=$2 name=$3
  shift 3
  "$dir/agent" n1 timeout -k 5 120 mpirun --host "$hosts" -n "$ranks" "$PUPIL_BIN" run "$here/../role/tiny.yaml" --set run.dir="$name" \
    --set teacher.dir="$name/teacher" --set cache.dir="$name/cache" --set run.checkpoint_steps=20 --set ranks.timeout=6 "$@" >>"$name.log" 2>&1
}
good() {
  run "$@" || {
    cat "$3.log"
    echo "FAIL $3 failed"
    exit 1
  }
}
same() { # NAME AS WHAT
  if cmp -s "$1/model.safetensors" "$2/model.safetensors"; then echo "ok   $3"; else
    echo "DIFF $3"
    exit 1
  fi
}
good n1:2 2 alone
good n1:2,n2:2 4 both
same both alone "two hosts over TCP"
grep -q 'ranks    0..1 students, 2..3 teachers' both.log || {
  cat both.log
  echo "FAIL teachers have no host of their own"
  exit 1
}
echo "ok   teachers have a host of their own"

steps="--set student.train.steps=2000 --set eval.vqa=false --set eval.retrieval=false"
# shellcheck disable=SC2086 # a list of options
{
  good n1:2 2 long $steps
  run n1:2,n2:2 4 cut $steps &
}
for _ in $(seq 600); do
  if [ -s cut/metrics.jsonl ] && [ "$(wc -l <cut/metrics.jsonl)" -ge 40 ]; then break; fi
  sleep 0.1
done
ip -n $ns2 link set eth0 down
began=$(date +%s)
code=0
wait $! || code=$?
took=$(($(date +%s) - began))
if [ "$code" = 0 ] || [ "$code" = 124 ] || [ "$took" -ge 40 ]; then
  cat cut.log
  echo "FAIL the run ended with code $code, $took s after the cut"
  exit 1
fi
grep -q 'waited 6 s in: .*so one on n' cut.log || {
  cat cut.log
  echo "FAIL nobody named the host that is missing"
  exit 1
}
echo "ok   the cable was cut: ended with code $code after $took s: $(grep -o 'waited 6 s in: .*so one on n[12]' cut.log | head -n 1)"
for pid in $(ip netns pids $ns2); do kill -9 "$pid" 2>/dev/null || true; done
# shellcheck disable=SC2086
good n1:2 2 cut $steps
grep -q 'resuming after step' cut.log
same cut long "goes on with the host that is left"
