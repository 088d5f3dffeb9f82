// A polite end: the first signal asks for it, the second enforces it.
#pragma once

namespace atl::trainer {

// EX_TEMPFAIL of sysexits.h: stopped by a signal, with a checkpoint to go on from.
inline constexpr int kExitStopped = 75;

// From now on the first SIGTERM, SIGINT or SIGUSR1 (the one that mpirun hands on to its ranks
// without ending them) is noted only; the same signal again ends the process at once. For the whole
// process; call it before other threads start.
void ListenForStop();
// Whether one came.
bool StopAsked();

}  // namespace atl::trainer
