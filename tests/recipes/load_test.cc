// Right recipes: what they mean, where each value came from, and that they come back from their own
// YAML.
#include "recipes/schema/load.h"

#include <gmock/gmock.h>

#include <random>

#include "recipes/schema/properties.h"
#include "tests/recipes/support.h"

namespace atl::recipes {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

LoadResult Good(const std::string& text, const std::vector<std::string>& overrides = {}) {
  LoadResult result = LoadRecipeText(text, "r.yaml", overrides);
  EXPECT_THAT(Texts(result.problems), IsEmpty()) << text;
  return result;
}

std::string SourceOf(const LoadResult& result, const std::string& key) {
  for (const Origin& origin : result.origins) {
    if (origin.key == key) return origin.source;
  }
  return "no such key";
}

TEST(Load, WhatIsLeftOutHasTheDefault) {
  Recipe expected;
  expected.name = "n";
  expected.run = "r";
  expected.site.count = 4;
  EXPECT_EQ(Good(WithParameters("")).recipe, expected);
}

TEST(Load, ReadsEverything) {
  const LoadResult result = Good(R"(name: n
run: |
  first
  second
resources: {cpus: "3", memory: 5.0}
parameters:
  model: {kind: mlp, channels: [1, 2], hidden: [7, 8], classes: 10}
  data:
    dataset: fashion-mnist
    folder: /data
    partition: {kind: labels, alpha: 2, labels: 3}
    evaluate: no
    limit: 1e3
    test_limit: 50
  site: {count: 5, ranks: 2, backend: mpi, precision: fp32}
  train:
    optimizer: {kind: adamw, lr: 2e-5, weight_decay: 0.1, beta1: 0.8, beta2: 0.9, epsilon: 1e-6}
    batch_size: 32
    local_epochs: 2
    seed: 9007199254740991
    bucket_mb: 0.5
  federation:
    strategy: fedavg
    rounds: 7
    cohort: {min: 4}
    server_lr: 0.5
    weighting: uniform
    weight_max: 11
    slots_ahead: 3
    reconnect_grace_s: 4
    cohort_wait_s: 5
    progress_timeout_s: 6
  privacy: {secure_aggregation: {enabled: "true", value_bits: 8, clip_norm_l2: 3}}
  output: {folder: out}
)");
  Recipe expected;
  expected.name = "n";
  expected.run = "first\nsecond\n";
  expected.resources = {.cpus = 3, .memory_gb = 5};
  expected.model.kind = ModelKind::kMlp;
  expected.model.channels = {1, 2};
  expected.model.hidden = {7, 8};
  expected.data.folder = "/data";
  expected.data.partition = {.kind = PartitionKind::kLabels, .alpha = 2, .labels = 3};
  expected.data.evaluate = false;
  expected.data.limit = 1000;
  expected.data.test_limit = 50;
  expected.site = {.count = 5, .ranks = 2, .backend = Backend::kMpi};
  expected.train.optimizer = {.kind = OptimizerKind::kAdamW,
                              .lr = 2e-5,
                              .momentum = 0,
                              .weight_decay = 0.1,
                              .beta1 = 0.8,
                              .beta2 = 0.9,
                              .epsilon = 1e-6};
  expected.train.batch_size = 32;
  expected.train.local_epochs = 2;
  expected.train.seed = 9007199254740991;
  expected.train.bucket_mb = 0.5;
  expected.federation = {.strategy = "fedavg",
                         .rounds = 7,
                         .cohort_min = 4,
                         .server_lr = 0.5,
                         .weighting = "uniform",
                         .weight_max = 11,
                         .slots_ahead = 3,
                         .reconnect_grace_s = 4,
                         .cohort_wait_s = 5,
                         .progress_timeout_s = 6};
  expected.secure_aggregation = {.enabled = true, .value_bits = 8, .clip_norm_l2 = 3};
  expected.output_folder = "out";
  EXPECT_EQ(result.recipe, expected);
  EXPECT_EQ(*ParseRecipe(ToYaml(expected), "again.yaml"), expected);
}

TEST(Load, TheStrongestWins) {
  // The dotted key stands before the section, and wins all the same.
  const std::string text = WithParameters(
      "  train.lr: 2\n  train:\n    optimizer: {lr: 1, weight_decay: 0.5}\n    seed: 3\n");
  const LoadResult file = Good(text);
  EXPECT_EQ(file.recipe.train.optimizer.lr, 2);
  EXPECT_EQ(SourceOf(file, "train.optimizer.lr"), "r.yaml:5 (override)");
  EXPECT_EQ(SourceOf(file, "train.optimizer.weight_decay"), "r.yaml:7");
  EXPECT_EQ(SourceOf(file, "train.optimizer.momentum"), "default");

  const LoadResult set =
      Good(text, {"train.lr=3", "parameters.train.optimizer.lr=4", "name=5", "resources.cpus=2",
                  "model.channels=[32, 64]", "data.folder="});
  EXPECT_EQ(set.recipe.train.optimizer.lr, 4);
  EXPECT_EQ(set.recipe.name, "5");
  EXPECT_EQ(set.recipe.resources.cpus, 2);
  EXPECT_THAT(set.recipe.model.channels, ElementsAre(32, 64));
  EXPECT_EQ(SourceOf(set, "train.optimizer.lr"), "--set");
  EXPECT_EQ(SourceOf(set, "train.seed"), "r.yaml:8");
}

TEST(Load, OverridesThatAreWrong) {
  const LoadResult result = LoadRecipeText(
      WithParameters("  train.seed: -1\n"), "r.yaml",
      {"train.lr=-3", "train.oprimizer.kind=sgd", "model.channels=[6,a", "site", "train=1", "=3",
       "setup=ls", "federation.cohort.min=200", "data.folder=a\x1b", "run=\xff"});
  EXPECT_THAT(
      Texts(result.problems),
      ElementsAre(
          "r.yaml:5: train.seed: -1 must be a whole number from 0 to 9007199254740991",
          "--set: train.lr: -3 must be > 0 and <= 1000",
          "--set: train.oprimizer.kind: unknown key; did you mean train.optimizer.kind?",
          HasSubstr("--set: model.channels: [6,a: not YAML: "), "--set: site: must be key=value",
          "--set: train: is a section; set one of optimizer, lr, momentum, weight_decay, "
          "schedule, batch_size, local_epochs, accumulate_steps, max_grad_norm, checkpoint_steps, "
          "seed, bucket_mb in it",
          "--set: =3: must be key=value",
          "--set: setup is run by Transformer Lab; atoll does not run it",
          "--set: data.folder: \"a\\x1B\" must be one line of text, without control characters",
          "--set: run: \"\\uFFFD\" must be UTF-8 text",
          "--set: federation.cohort.min: 200 must be <= site.count, which is 4"));
}

TEST(Load, EmptyKeysOfTransformerLabsForms) {
  Good(
      "name: n\nrun: r\nsetup: |\nenvs:\nresources:\nsweeps:\ngithub_repo_url:\nparameters:\n  "
      "site.count: 3\n"
      "  train:\n");
  // Nothing under `parameters` at all: a recipe for one site by default, which must say that it is
  // not secure.
  EXPECT_THAT(Texts(LoadRecipeText("name: n\nrun: r\nparameters:\n", "r.yaml").problems),
              ElementsAre(HasSubstr("site.count is 1")));
}

TEST(Load, TheOldWrapper) {
  const LoadResult result =
      Good("task:\n  name: n\n  run: r\n  parameters:\n    site: {count: 3}\n");
  EXPECT_EQ(result.recipe.site.count, 3);
  EXPECT_EQ(SourceOf(result, "site.count"), "r.yaml:5");
}

TEST(Load, DocumentedParameters) {
  const LoadResult result = Good(WithParameters(
      "  train.lr: {type: float, default: '2e-3', min: 0.001, max: 1, step: 0.1, title: LR}\n"
      "  model:\n    kind: {type: enum, default: mlp, options: [mlp, cnn], ui_widget: select}\n"
      "    hidden: {default: [3], description: widths}\n"));
  EXPECT_EQ(result.recipe.train.optimizer.lr, 0.002);
  EXPECT_EQ(result.recipe.model.kind, ModelKind::kMlp);
  EXPECT_THAT(result.recipe.model.hidden, ElementsAre(3));
}

TEST(Load, AliasesOfYaml) {
  const LoadResult result =
      Good(WithParameters("  train: {seed: &s 5}\n  federation: {rounds: *s}\n"));
  EXPECT_EQ(result.recipe.federation.rounds, 5);
}

TEST(Load, WhatIsTransformerLabsIsNoted) {
  const LoadResult result = Good(
      "name: n\nrun: echo {{secret.A}}\nresources: {cpus: 1, accelerators: \"H100:8\", num_nodes: "
      "\"2\"}\n"
      "envs: {TOKEN: \"{{secret.T}}\", N: 3, EMPTY: }\nsetup: pip install x\n"
      "github_repo_url: https://example.org/r\nminutes_requested: 30\n"
      "sweeps:\n  sweep_config: {train.lr: [\"0.1\", 2e-5], federation.rounds: [1, 2]}\n"
      "  sweep_metric: eval/loss\n  lower_is_better: true\n"
      "parameters: {site.count: 3}\n");
  EXPECT_EQ(result.recipe.run, "echo {{secret.A}}");
  EXPECT_THAT(
      Texts(result.notes),
      ElementsAre(
          "r.yaml:3: resources.accelerators is for Transformer Lab; atoll does not act on it",
          "r.yaml:3: resources.num_nodes is for Transformer Lab; atoll does not act on it",
          "r.yaml:4: envs are set by Transformer Lab; atoll passes on its own environment",
          "r.yaml:5: setup is run by Transformer Lab; atoll does not run it",
          "r.yaml:6: github_repo_url is cloned by Transformer Lab; atoll uses the files that are "
          "there",
          "r.yaml:7: minutes_requested is for Transformer Lab; atoll does not act on it",
          "r.yaml:8: sweeps are run by Transformer Lab; atoll uses the values under parameters"));
}

TEST(Load, WhatHasNoEffectIsNoted) {
  const LoadResult result =
      Good(WithParameters("  data.partition.alpha: 3\n  train.optimizer.beta1: 0.9\n"),
           {"federation.weighting=uniform", "federation.weight_max=7"});
  EXPECT_THAT(Texts(result.notes),
              ElementsAre("r.yaml:5: data.partition.alpha: has no effect here: it is used with "
                          "data.partition.kind: dirichlet only",
                          "--set: federation.weight_max: has no effect here: it is used with "
                          "federation.weighting: examples only"));
}

TEST(Load, OneSiteThatSaysSo) {
  const LoadResult result =
      Good("name: n\nrun: r\nparameters: {privacy.secure_aggregation.enabled: false}\n");
  EXPECT_EQ(result.recipe.site.count, 1);
}

TEST(Load, OtherByteOrdersAndLineEnds) {
  EXPECT_EQ(Good("\xef\xbb\xbfname: n\r\nrun: r\r\nparameters:\r\n  site.count: 3\r\n").recipe.name,
            "n");
}

TEST(Load, Files) {
  EXPECT_EQ(LoadRecipe("/nonexistent/recipe.yaml").status().code(), absl::StatusCode::kNotFound);
  const std::string path = testing::TempDir() + "/recipe_of_load_test.yaml";
  {
    std::ofstream file(path);
    file << WithParameters("  train.seed: -1\n  site.ranks: 0\n");
  }
  const absl::Status status = LoadRecipe(path).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(std::string(status.message()),
            path + ":5: train.seed: -1 must be a whole number from 0 to 9007199254740991\n" + path +
                ":6: site.ranks: 0 must be a whole number from 1 to 1024");
  const absl::StatusOr<Recipe> mended = LoadRecipe(path, {"name=x"});
  EXPECT_FALSE(mended.ok());
  {
    std::ofstream file(path);
    file << std::string(kMaxRecipeBytes + 1, '#');
  }
  EXPECT_EQ(LoadRecipeFile(path).status().code(), absl::StatusCode::kOutOfRange);
  std::remove(path.c_str());
}

TEST(Catalog, IsRightAndComesBack) {
  for (const std::string& path : CatalogFiles()) {
    const absl::StatusOr<LoadResult> result = LoadRecipeFile(path);
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_THAT(Texts(result->problems), IsEmpty());
    EXPECT_THAT(Texts(result->notes), IsEmpty());
    const absl::StatusOr<Recipe> again = ParseRecipe(ToYaml(result->recipe), "again.yaml");
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_EQ(*again, result->recipe);
    EXPECT_EQ(ToYaml(*again), ToYaml(result->recipe));
  }
}

// A random value within a property's bounds, as a node would give it.
Value RandomValue(const Property& property, std::mt19937_64& random) {
  const Bounds& bounds = property.bounds;
  const auto fraction = [&] { return static_cast<double>(random() >> 11) * 0x1p-53; };
  switch (property.type) {
    case Type::kBool:
      return random() % 2 == 0;
    case Type::kInteger:
      return static_cast<int64_t>(bounds.min + fraction() * std::min(bounds.max - bounds.min, 1e9));
    case Type::kNumber: {
      const double number = bounds.min + fraction() * (bounds.max - bounds.min);
      return random() % 4 == 0 ? number * 1e-7 + (bounds.min_open ? 1e-12 : 0) : number + 1e-12;
    }
    case Type::kEnum:
      return bounds.options[random() % bounds.options.size()];
    case Type::kIntegers: {
      std::vector<int64_t> list(bounds.length_min +
                                random() % (bounds.length_max - bounds.length_min + 1));
      for (int64_t& one : list) one = static_cast<int64_t>(bounds.min) + random() % 1000;
      return list;
    }
    case Type::kTexts: {
      std::vector<std::string> list(random() % 4);
      for (std::string& one : list) one = random() % 2 == 0 ? "*.query" : "a, \"b\" ~";
      return list;
    }
    default:
      break;
  }
  static const char* const kPieces[] = {"a",  "true", "~",  "1e5", ": ", " #", "\"",     "\\", "'",
                                        "{",  "]",    "- ", "*",   "&x", "é",  "\u2028", "界", " ",
                                        "no", "0x1",  "!",  "%",   "@",  "|",  "\uFEFF", "😀"};
  static const char* const kLinePieces[] = {"\n", "\t", "\r", "\x07", "\x04", "\u0085", "\n\n  "};
  std::string text = property.bounds.length_min > 0 ? "x" : "";
  if (random() % 2 == 0) text.clear();
  for (uint64_t n = random() % 8; n > 0; --n) text += kPieces[random() % std::size(kPieces)];
  if (property.type == Type::kLines) {
    for (uint64_t n = random() % 4; n > 0; --n)
      text += kLinePieces[random() % std::size(kLinePieces)];
  }
  return text.empty() && property.bounds.length_min > 0 ? "~" : text;
}

TEST(RoundTrip, RandomRecipes) {
  const uint64_t seed = 20240611;
  std::mt19937_64 random(seed);
  int valid = 0;
  for (int trial = 0; trial < 2000; ++trial) {
    Recipe recipe;
    for (const Property& property : Properties()) {
      if (property.IsAtolls()) property.write(recipe, RandomValue(property, random));
    }
    // What rules between properties would refuse.
    recipe.model.classes = 10;
    recipe.data.limit = 0;
    recipe.data.partition.labels = 1 + static_cast<int>(random() % 10);
    recipe.site.count = 3 + static_cast<int>(random() % 200);
    recipe.federation.cohort_min = 3;
    if (recipe.train.optimizer.kind != OptimizerKind::kSgd) recipe.train.optimizer.momentum = 0;
    recipe.model.heads = recipe.model.kv_heads = 2;
    recipe.model.hidden_size = 4 * (2 + static_cast<int>(random() % 100));
    recipe.model.task = EncoderTask::kMaskedLm;
    if (recipe.model.lora.layers.empty()) recipe.model.lora.layers = {"*"};
    for (std::string* file : {&recipe.model.file, &recipe.data.folder, &recipe.data.tokenizer.file})
      *file += "f";
    const bool images = random() % 2 == 0;
    recipe.model.kind = images ? ModelKind::kResnet18 : ModelKind::kEncoder;
    recipe.data.dataset = images ? DatasetKind::kIdx : DatasetKind::kJsonLines;
    if (images && recipe.data.partition.kind == PartitionKind::kBySite)
      recipe.data.partition.kind = PartitionKind::kIid;
    recipe.data.site_field += "s";
    const std::string yaml = ToYaml(recipe);
    const absl::StatusOr<Recipe> again = ParseRecipe(yaml, "r.yaml");
    ASSERT_TRUE(again.ok()) << "seed " << seed << " trial " << trial << "\n"
                            << again.status() << yaml;
    ASSERT_EQ(*again, recipe) << "seed " << seed << " trial " << trial << "\n" << yaml;
    ++valid;
  }
  EXPECT_EQ(valid, 2000);
}

TEST(Names, SafeName) {
  EXPECT_EQ(SafeName("fashion-mnist"), "fashion-mnist");
  EXPECT_EQ(SafeName("../../etc/passwd"), "etc-passwd");
  EXPECT_EQ(SafeName("My run: no. 5!"), "My-run-no.-5");
  EXPECT_EQ(SafeName(".hidden"), "hidden");
  EXPECT_EQ(SafeName("\xe6\xa3\xae"), "recipe");
  EXPECT_EQ(SafeName(std::string(500, 'a')), std::string(64, 'a'));
}

}  // namespace
}  // namespace atl::recipes
