// What every fuzzer gives: LLVMFuzzerTestOneInput, which libFuzzer or the replaying main calls, and
// the inputs that its corpus begins with.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "absl/strings/str_cat.h"
#include "comms/base/bytes.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace atl::fuzz {

// Valid inputs from the code that makes them, one of each kind.
std::vector<Bytes> Seeds();

// Ends the process: the fuzzer keeps the input.
inline void Check(bool condition, std::string_view what) {
  if (condition) return;
  std::fprintf(stderr, "fuzz: %.*s\n", static_cast<int>(what.size()), what.data());
  std::abort();
}

// Reads an input as a script; zeros after its end.
class Script {
 public:
  explicit Script(ByteView bytes) : left_(bytes) {}
  bool done() const { return left_.empty(); }
  uint8_t U8() {
    if (left_.empty()) return 0;
    const uint8_t byte = left_[0];
    left_ = left_.subspan(1);
    return byte;
  }
  uint16_t U16() {
    const uint16_t low = U8();
    return static_cast<uint16_t>(low | (U8() << 8));
  }
  // Changes a byte of `bytes`, its place and how read from the script.
  void Edit(Bytes& bytes) {
    const uint16_t place = U16();
    const uint8_t flip = U8();
    if (!bytes.empty()) bytes[place % bytes.size()] ^= flip;
  }

 private:
  ByteView left_;
};

}  // namespace atl::fuzz
