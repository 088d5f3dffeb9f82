// slot-secrets FOLDER...: while standard input is open, reads the secrets of all slots in each
// site's data folder again and again, and prints each once: folder, slot, name, hex. For tests that
// search a run's files for them.
#include <poll.h>
#include <unistd.h>

#include <cstdio>
#include <set>
#include <string>

#include "tests/site/slot_secrets.h"

int main(int argc, char** argv) {
  std::map<std::string, std::map<uint64_t, atl::site::SlotSecrets>> known;
  std::set<std::string> said;
  pollfd input{STDIN_FILENO, POLLIN, 0};
  while (poll(&input, 1, 5) == 0) {
    for (int i = 1; i < argc; ++i) {
      const std::string folder = argv[i];
      auto secrets = atl::site::ReadSlotSecrets(folder, known[folder]);
      if (!secrets.ok()) continue;  // not there yet, or torn
      const auto say = [&](uint64_t slot, const std::string& name, const atl::Secret32& secret) {
        const std::string line = folder + "\t" + std::to_string(slot) + "\t" + name + "\t" +
                                 atl::Hex(secret.span()) + "\n";
        if (said.insert(line).second) std::fputs(line.c_str(), stdout);
      };
      for (auto& [slot, all] : *secrets) {
        for (const auto& [name, key] : all.keys) say(slot, name, key);
        for (const auto& [id, share] : all.mask_key_shares) {
          say(slot, "share of mask_sk of site " + std::to_string(id.value()), share);
        }
        for (const auto& [id, share] : all.b_shares) {
          say(slot, "share of b of site " + std::to_string(id.value()), share);
        }
        known[folder][slot] = std::move(all);
      }
      std::fflush(stdout);
    }
  }
  return 0;
}
