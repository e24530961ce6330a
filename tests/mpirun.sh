#!/bin/sh
# mpirun.sh NP PROGRAM ARGS...: as root or not, oversubscribed, loopback only, unbound, no busy polling.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1 \
  OMPI_MCA_hwloc_base_binding_policy=none OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_btl=self,vader,tcp OMPI_MCA_pml=ob1 \
  OMPI_MCA_btl_tcp_if_include=lo OMPI_MCA_oob_tcp_if_include=lo OMPI_MCA_btl_base_warn_component_unused=0 \
  OMPI_MCA_orte_tmpdir_base="${TMPDIR:-/tmp}"
np=$1
shift
exec timeout -k 5 "${MPI_TEST_TIMEOUT:-120}" mpirun -n "$np" "$@"
