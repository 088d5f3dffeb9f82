// Checkpoints whose digest fits, so that what is behind it is read. What is accepted has the header
// that is made from it, and all its values.
#include "comms/base/crypto/sha256.h"
#include "tests/fuzz/fuzz.h"
#include "trainer/checkpoint/checkpoint.h"

namespace atl {
namespace {

constexpr std::string_view kMagic = "ATOLLCK1";

trainer::Checkpoint Example(size_t states) {
  trainer::Checkpoint c;
  c.recipe_yaml = "name: x\n";
  c.ranks = 2;
  c.examples = 100;
  c.position = {.epoch = 1, .examples = 32, .steps = 9};
  c.epoch_so_far = {{16, 8, 1.5}, {16, 9, 1.25}};
  c.parameters = {1.0f, -2.0f, 0.5f};
  for (size_t i = 0; i < states; ++i)
    c.optimizer.push_back({i == 0 ? "exp_avg" : "exp_avg_sq", c.parameters});
  return c;
}

}  // namespace

std::vector<Bytes> fuzz::Seeds() {
  std::vector<Bytes> seeds;
  for (size_t states : {0, 1, 2}) {
    const trainer::Checkpoint c = Example(states);
    ByteWriter out;
    out.Raw(AsBytes(kMagic)).Sized(trainer::EncodeHeader(c));
    for (float value : c.parameters) out.F32(value);
    for (const auto& state : c.optimizer) {
      for (float value : state.values) out.F32(value);
    }
    seeds.push_back(std::move(out).Take());
  }
  return seeds;
}

}  // namespace atl

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace atl;  // NOLINT
  (void)trainer::ParseCheckpoint(ByteView(data, size));
  Bytes file(data, data + size);
  const Digest digest = Sha256::Of(file);
  file.insert(file.end(), digest.begin(), digest.end());
  const auto parsed = trainer::ParseCheckpoint(file);
  if (!parsed.ok()) return 0;
  ByteWriter front;
  front.Raw(AsBytes(kMagic)).Sized(trainer::EncodeHeader(*parsed));
  const uint64_t values = parsed->parameters.size() * (1 + parsed->optimizer.size());
  fuzz::Check(file.size() == front.bytes().size() + values * sizeof(float) + 32, "not all values");
  fuzz::Check(std::equal(front.bytes().begin(), front.bytes().end(), file.begin()),
              "another header comes back");
  for (const auto& state : parsed->optimizer) {
    fuzz::Check(state.values.size() == parsed->parameters.size(), "a state of another size");
  }
  return 0;
}
