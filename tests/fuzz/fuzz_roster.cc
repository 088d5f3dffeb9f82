// The roster's file. What is accepted is written and read again as the same roster.
#include "federation/secagg/roster.h"
#include "tests/fuzz/fuzz.h"
#include "tests/secagg/harness.h"

namespace atl {

std::vector<Bytes> fuzz::Seeds() {
  secagg::FederationOptions options{.sites = 3, .seed = 5};
  const secagg::Federation federation(options);
  const std::string json = federation.roster.ToJson();
  return {Bytes(json.begin(), json.end())};
}

}  // namespace atl

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace atl;  // NOLINT
  const CryptoSuite& suite = secagg::CheapSuite();
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto roster = secagg::Roster::FromJson(text, nullptr, suite);
  if (!roster.ok()) return 0;
  fuzz::Check(!roster->sites().empty(), "a roster without sites");
  const auto again = secagg::Roster::FromJson(roster->ToJson(), &roster->operator_key(), suite);
  fuzz::Check(again.ok() && again->digest() == roster->digest(), "another roster comes back");
  return 0;
}
