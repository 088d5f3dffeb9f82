#!/usr/bin/env bash
# Trains a recipe on several machines that this one reaches by ssh without a password:
#
#   recipes/launch/host-file.sh HOSTFILE RECIPE FOLDER [TRAINER ARGUMENT...]
#
# HOSTFILE has one line a machine, as mpirun reads it: "node1 slots=4" means 4 ranks on node1. Program, recipe and data
# must be on every machine under the same paths; FOLDER is used on the first one only (rank 0 writes results and
# checkpoints, and tells the others what they need of a checkpoint). Called again with the same FOLDER, it goes on where
# the run was stopped or killed, also with other machines or another number of ranks. Exit codes are atoll-trainer's: 75
# after a SIGTERM or Ctrl-C, with a checkpoint to go on from.
#
#   ATOLL_TRAINER     the program (default: as on this machine: atoll-trainer in PATH, else build/bin/atoll-trainer)
#   CORES_PER_RANK    cores that each rank is bound to (default: cores of this machine / most slots of a line)
#   INTERFACE         network that ranks talk over, such as eth0 or 10.0.0.0/8 (default: what Open MPI finds)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/common.sh"
[ $# -ge 3 ] || { sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" >&2; exit 2; }
hosts=$1 recipe=$2 folder=$3
shift 3
[ -r "$hosts" ] || { echo "host-file.sh: $hosts: cannot read the host file" >&2; exit 2; }
trainer=${ATOLL_TRAINER:-$(command -v atoll-trainer || echo "$here/../../build/bin/atoll-trainer")}
slots=$(sed -e 's/#.*//' "$hosts" | awk 'NF { n = 1; if (match($0, /slots=[0-9]+/)) n = substr($0, RSTART + 6, RLENGTH - 6)
                                             if (n > most) most = n } END { print most + 0 }')
[ "$slots" -gt 0 ] || { echo "host-file.sh: $hosts: names no machine" >&2; exit 2; }
cores=${CORES_PER_RANK:-$(( $(nproc) / slots ))}
mapfile -t arguments < <(trainer_arguments "$recipe" "$folder")

options=(-q --hostfile "$hosts")
if [ "$cores" -ge 1 ]; then
  options+=(--map-by "slot:PE=$cores" --bind-to core --use-hwthread-cpus)
else
  options+=(--bind-to none --mca mpi_yield_when_idle 1)
fi
if [ -n "${INTERFACE:-}" ]; then
  options+=(--mca btl_tcp_if_include "$INTERFACE" --mca oob_tcp_if_include "$INTERFACE")
fi
if [ -n "${OMP_NUM_THREADS:-}" ]; then options+=(-x OMP_NUM_THREADS); fi
if [ "$(id -u)" = 0 ]; then export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; fi
run_job mpirun "${options[@]}" "$trainer" "${arguments[@]}" "$@"
