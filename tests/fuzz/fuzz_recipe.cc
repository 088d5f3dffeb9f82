// A recipe's text. Whatever the bytes, reading them ends with a recipe or with problems in words,
// and what is accepted comes back from its own text.
#include "recipes/schema/explain.h"
#include "recipes/schema/load.h"
#include "tests/fuzz/fuzz.h"

namespace atl {

std::vector<Bytes> fuzz::Seeds() {
  const std::string_view texts[] = {
      "name: n\nrun: r\nresources: {cpus: 1, memory: 1}\nparameters:\n  model: {kind: mlp}\n",
      "name: n\nrun: r\nresources: {cpus: 2, memory: 4}\nparameters:\n  model: {kind: cnn, "
      "channels: [6, 16], classes: 10}\n  data: {dataset: fashion-mnist, partition: {kind: "
      "dirichlet, alpha: 0.5}}\n  site: {count: 4, ranks: 2}\n  train.lr: 0.05\n  federation: "
      "{strategy: fedavg, rounds: 10, cohort: {min: 3}}\n  privacy: {secure_aggregation: "
      "{value_bits: 16, clip_norm_l2: 20.0}}\n",
      "task: {name: n, run: r, sweeps: {sweep_config: {train.lr: [1, 2]}}, envs: {A: &a x, B: "
      "*a},\n  parameters: {site.count: 3, train.lr: {type: float, default: \"2e-5\", min: 0}}}\n",
  };
  std::vector<Bytes> seeds;
  for (std::string_view text : texts) seeds.emplace_back(text.begin(), text.end());
  return seeds;
}

}  // namespace atl

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace atl::recipes;  // NOLINT
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const LoadResult result = LoadRecipeText(text, "r.yaml", {});
  for (const Problem& problem : result.problems) {
    atl::fuzz::Check(problem.Text().size() < 2000, "a problem of many words");
    for (const unsigned char c : problem.Text()) {
      atl::fuzz::Check(c >= 0x20, "a control character in a message");
    }
  }
  if (!result.problems.empty()) return 0;
  const auto again = ParseRecipe(ToYaml(result.recipe), "again.yaml");
  atl::fuzz::Check(again.ok() && *again == result.recipe, "another recipe comes back");
  return 0;
}
