#!/usr/bin/env bash
# Trains a recipe on this machine, on all its cores:
#
#   recipes/launch/one-machine.sh RECIPE FOLDER [TRAINER ARGUMENT...]
#
# FOLDER is the run's. Called again with the same one, it goes on where the run was stopped or killed. Exit codes are
# atoll-trainer's: 75 after a SIGTERM or Ctrl-C, with a checkpoint to go on from.
#
#   RANKS             how many ranks (default: one for each 8 cores, at least one; see common.sh)
#   ATOLL_TRAINER     the program (default: atoll-trainer in PATH, else build/bin/atoll-trainer)
#   OMP_NUM_THREADS   threads a rank (default: the trainer shares the cores out among the ranks)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/common.sh"
[ $# -ge 2 ] || { sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" >&2; exit 2; }
recipe=$1 folder=$2
shift 2
trainer=${ATOLL_TRAINER:-$(command -v atoll-trainer || echo "$here/../../build/bin/atoll-trainer")}
ranks=${RANKS:-$(ranks_for_cores "$(nproc)")}
mapfile -t arguments < <(trainer_arguments "$recipe" "$folder")

options=(-q -np "$ranks" --bind-to none)
if [ "$ranks" -gt 1 ]; then
  # Each rank on cores of its own, with all the threads that these have; where the system lets nobody bind, or there
  # are more ranks than cores, they float.
  cores=$(( $(nproc) / ranks ))
  if [ "$cores" -ge 1 ]; then
    options=(-q -np "$ranks" --map-by "slot:PE=$cores" --bind-to core --use-hwthread-cpus)
  else
    options+=(--oversubscribe --mca mpi_yield_when_idle 1)
  fi
fi
if [ "$(id -u)" = 0 ]; then export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; fi
run_job mpirun "${options[@]}" "$trainer" "${arguments[@]}" "$@"
