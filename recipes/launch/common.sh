# shellcheck shell=bash
# What the launch recipes share; read by them, not run.

# Starts "$@" (mpirun or srun and what follows) and waits for it. SIGTERM and SIGINT to this script become a SIGUSR1 to
# the job: mpirun and srun hand that on to their ranks, which make a checkpoint at the next step and exit with 75. (A
# SIGTERM to mpirun itself would kill the ranks a second later.) A second one reaches them as SIGTERM.
run_job() {
  local job='' asked=0 woken=0 code=127 status
  trap 'woken=1; asked=$((asked + 1)); ask_job' TERM INT USR1
  # In a process group of its own: a terminal's Ctrl-C comes to this script alone.
  set -m
  "$@" </dev/null &
  job=$!
  set +m
  [ "$asked" = 0 ] || ask_job
  # wait returns when a signal comes, too, long before the job has ended.
  while :; do
    woken=0 status=0
    wait "$job" || status=$?
    [ "$status" = 127 ] || code=$status  # 127: its status was taken already
    [ "$woken" = 1 ] || break
  done
  trap - TERM INT USR1
  return "$code"
}
# run_job's: the first signal asks, the second tells.
ask_job() {
  [ -n "$job" ] || return 0
  if [ "$asked" = 1 ]; then kill -USR1 "$job"; else kill -TERM "$job"; fi
}

# The arguments of atoll-trainer for recipe $1 and run folder $2: a new run, or the rest of one that was stopped.
trainer_arguments() {
  if [ -e "$2/recipe.yaml" ]; then printf '%s\n' "$1" --resume "$2"; else printf '%s\n' "$1" --out "$2"; fi
}

# Ranks and threads of one machine with $1 cores: a rank for each 8 cores, so that a rank's threads share a cache and
# sums over ranks go through shared memory; at least one. Measure your own model before you change it.
ranks_for_cores() {
  local ranks=$(( $1 / 8 ))
  echo $(( ranks > 0 ? ranks : 1 ))
}
