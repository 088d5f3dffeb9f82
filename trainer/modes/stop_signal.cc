#include "trainer/modes/stop_signal.h"

#include <csignal>

namespace atl::trainer {
namespace {

volatile std::sig_atomic_t asked = 0;

void OnSignal(int) { asked = 1; }

}  // namespace

void ListenForStop() {
  struct sigaction action = {};
  action.sa_handler = OnSignal;
  sigemptyset(&action.sa_mask);
  // After the first the default is back, which ends the process.
  action.sa_flags = static_cast<int>(SA_RESETHAND | SA_RESTART);
  for (int signal : {SIGTERM, SIGINT, SIGUSR1}) sigaction(signal, &action, nullptr);
}

bool StopAsked() { return asked != 0; }

}  // namespace atl::trainer
