// Ctrl-C and its like, as a flag that loops look at.
#pragma once

namespace atl::cli {

// SIGINT, SIGTERM and SIGHUP set the flag from now on.
void CatchInterrupts();
bool Interrupted();

}  // namespace atl::cli
