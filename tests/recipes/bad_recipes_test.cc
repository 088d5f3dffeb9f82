// Wrong recipes, and exactly what is said of each: every problem, in line order.
#include <gmock/gmock.h>

#include "tests/recipes/support.h"

namespace atl::recipes {
namespace {

using testing::ElementsAreArray;

struct Case {
  const char* name;
  std::string text;
  std::vector<std::string> problems;
};

void PrintTo(const Case& one, std::ostream* out) { *out << one.name; }

std::vector<Case> Cases() {
  return {
      {"Empty", "", {"r.yaml: the recipe is empty; name and run are required"}},
      {"OnlyComment", "# nothing\n", {"r.yaml: the recipe is empty; name and run are required"}},
      {"NotAMapping", "\n- a\n- b\n", {"r.yaml:2: a recipe is a mapping of keys to values"}},
      {"NothingRequired",
       "parameters:\nsite: 1\n",
       {"r.yaml: name: is required", "r.yaml: run: is required",
        "r.yaml:2: site: unknown key; it belongs under parameters"}},
      {"ThreeMistakes",
       WithParameters(
           "  train:\n    optimizer: {lr: -1}\n    batchsize: 64\n  model: {kind: cnm}\n"),
       {"r.yaml:6: train.optimizer.lr: -1 must be > 0 and <= 1000",
        "r.yaml:7: train.batchsize: unknown key; did you mean train.batch_size?",
        "r.yaml:8: model.kind: cnm must be one of mlp, cnn, resnet18, text-classifier, encoder, "
        "decoder, torchscript; did you mean cnn?"}},
      {"SwappedLetters",
       WithParameters("  federation: {ruonds: 3}\n"),
       {"r.yaml:5: federation.ruonds: unknown key; did you mean federation.rounds?"}},
      {"WrongSection",
       WithParameters("  data: {alpha: 1}\n"),
       {"r.yaml:5: data.alpha: unknown key; did you mean data.partition.alpha?"}},
      {"NothingNear",
       WithParameters("  train: {quantum: 1}\n"),
       {"r.yaml:5: train.quantum: unknown key"}},
      {"MisspeltSection",
       WithParameters("  trian:\n    seed: 1\n"),
       {"r.yaml:5: trian: unknown key; did you mean train?"}},
      {"MisspeltDotted",
       WithParameters("  train.optimizer.ll: 1\n"),
       {"r.yaml:5: train.optimizer.ll: unknown key; did you mean train.optimizer.lr?"}},
      {"UnknownRoot",
       "name: n\nrun: r\nresorces: {cpus: 1}\nparameters: {site.count: 3}\n",
       {"r.yaml:3: resorces: unknown key; did you mean resources?"}},
      {"DottedRoot",
       "name: n\nrun: r\nresources.cpus: 2\nparameters: {site.count: 3}\n",
       {"r.yaml:3: resources.cpus: unknown key; dotted keys stand under parameters only"}},
      {"ParametersOutside",
       "name: n\nrun: r\ntrain.lr: 2\nparameters: {site.count: 3}\n",
       {"r.yaml:3: train.lr: unknown key; it belongs under parameters"}},
      {"ParametersIsAList",
       "name: n\nrun: r\nparameters: [1]\n",
       {"r.yaml:3: parameters: [1] must be a mapping of sections"}},
      {"SectionIsAValue",
       WithParameters("  output: runs\n"),
       {"r.yaml:5: output: runs must be a mapping, with folder"}},
      {"NoValue",
       WithParameters("  train:\n    seed:\n"),
       {"r.yaml:6: train.seed: has no value; must be a whole number from 0 to 9007199254740991"}},
      {"Types",
       WithParameters("  train: {batch_size: 1.5, seed: abc, local_epochs: [1]}\n"
                      "  federation.server_lr: fast\n"
                      "  data: {evaluate: perhaps, folder: 5}\n"
                      "  model: {channels: 6, hidden: [a]}\n"
                      "  output: {folder: {a: 1}}\n"),
       {"r.yaml:5: train.batch_size: 1.5 must be a whole number from 1 to 65536",
        "r.yaml:5: train.seed: abc must be a whole number from 0 to 9007199254740991",
        "r.yaml:5: train.local_epochs: [1] must be a whole number from 1 to 10000",
        "r.yaml:6: federation.server_lr: fast must be a number > 0 and <= 100",
        "r.yaml:7: data.evaluate: perhaps must be true or false",
        "r.yaml:7: data.folder: 5 must be text; put it in quotes",
        "r.yaml:8: model.channels: 6 must be a list of 2 whole numbers, each from 1 to 4096",
        "r.yaml:8: model.hidden: [a] must be a list of 0 to 8 whole numbers, each from 1 to 65536",
        "r.yaml:9: output.folder: must be text of 1 to 4096 bytes, or a documented parameter with "
        "a "
        "default"}},
      {"OctalIsNoNumber",
       WithParameters("  federation: {rounds: 010}\n"),
       {"r.yaml:5: federation.rounds: 010 must be a whole number from 1 to 1000000"}},
      {"NotFinite",
       WithParameters("  train: {lr: .inf}\n  federation: {server_lr: 1e999}\n"),
       {"r.yaml:5: train.lr: .inf must be a number > 0 and <= 1000",
        "r.yaml:6: federation.server_lr: 1e999 must be a number > 0 and <= 100"}},
      {"Bounds",
       WithParameters("  privacy: {secure_aggregation: {value_bits: 33, clip_norm_l2: 0}}\n"
                      "  train: {optimizer: {momentum: 1}}\n"
                      "  site: {ranks: 0}\n"
                      "  model: {channels: [6, 16, 32]}\n"),
       {"r.yaml:5: privacy.secure_aggregation.value_bits: 33 must be a whole number from 4 to 32",
        "r.yaml:5: privacy.secure_aggregation.clip_norm_l2: 0 must be > 0 and <= 1000000",
        "r.yaml:6: train.optimizer.momentum: 1 must be >= 0 and < 1",
        "r.yaml:7: site.ranks: 0 must be a whole number from 1 to 1024",
        "r.yaml:8: model.channels: [6, 16, 32] must be a list of 2 whole numbers, each from 1 to "
        "4096"}},
      {"PrecisionIsOneOfTwo",
       WithParameters("  site: {precision: fp16}\n"),
       {"r.yaml:5: site.precision: fp16 must be one of fp32, bf16"}},
      {"DuplicateKeys",
       WithParameters("  train: {seed: 1, seed: 2}\n  train: {seed: 3}\n") + "name: other\n",
       {"r.yaml:5: train.seed: the key stands twice, first on line 5",
        "r.yaml:6: train: the key stands twice, first on line 5",
        "r.yaml:7: name: the key stands twice, first on line 1"}},
      {"AliasAndKey",
       WithParameters("  train:\n    lr: 1\n    optimizer: {lr: 2}\n"),
       {"r.yaml:7: train.optimizer.lr: is set twice, first on line 6 as train.lr"}},
      {"DottedAliasAndKey",
       WithParameters("  train.lr: 1\n  train.optimizer.lr: 2\n"),
       {"r.yaml:6: train.optimizer.lr: is set twice, first on line 5 as train.lr"}},
      {"OverriddenAndStillWrong",
       WithParameters("  train: {lr: -2}\n  train.lr: 1\n"),
       {"r.yaml:5: train.lr: -2 must be > 0 and <= 1000"}},
      {"BesideTheWrapper",
       "task:\n  name: n\n  run: r\n  parameters: {site.count: 3}\nenvs: {}\n",
       {"r.yaml:5: envs: stands beside `task`, which wraps the whole recipe; move it inside"}},
      {"Documented",
       WithParameters("  train.lr: {type: float, default: 5, max: 2}\n"
                      "  train.seed: {type: whole, default: 2}\n"
                      "  train.batch_size: {type: int, min: 1}\n"
                      "  federation.rounds: {default: 3, titel: Rounds}\n"
                      "  federation.server_lr: {default: 3, min: low}\n"
                      "  train.local_epochs: {type: int, default: 0, min: 0}\n"),
       {"r.yaml:5: train.lr.default: 5 must be <= 2, its own max",
        "r.yaml:6: train.seed.type: whole must be one of int, float, bool, enum, string",
        "r.yaml:7: train.batch_size: must be a whole number from 1 to 65536, or a documented "
        "parameter "
        "with a default",
        "r.yaml:8: federation.rounds.titel: unknown key of a documented parameter; did you mean "
        "title?",
        "r.yaml:9: federation.server_lr.min: low must be a number",
        "r.yaml:10: train.local_epochs: 0 must be a whole number from 1 to 10000"}},
      {"Interactive",
       WithParameters("  train.lr: {field_name: LR, env_var: LR, required: true}\n"),
       {"r.yaml:5: train.lr: is asked for by Transformer Lab when it starts a job (field_name), "
        "which "
        "Atoll does not; give it a value"}},
      {"Secret",
       WithParameters("  data: {folder: \"/a/{{secret.F}}\"}\n  train.lr: \"{{secrets.LR}}\"\n"),
       {"r.yaml:5: data.folder: \"/a/{{secret.F}}\": a secret cannot stand here: Atoll reads the "
        "recipe as "
        "it is written, and none of these properties is secret",
        "r.yaml:6: train.lr: \"{{secrets.LR}}\": a secret cannot stand here: Atoll reads the "
        "recipe as it "
        "is written, and none of these properties is secret"}},
      {"UnquotedSecret",
       WithParameters("  train.lr: {{secret.LR}}\n"),
       {"r.yaml:5: a key must be text; to mean the text {{secret.LR}} put it in quotes"}},
      {"MergeKey",
       WithParameters("  data: &d {limit: 100}\n  train: {<<: *d}\n"),
       {"r.yaml:6: train.<<: merge keys are not read; write the values out"}},
      {"TransformerLabTypes",
       "name: n\nrun: r\nparameters: {site.count: 3}\n"
       "resources: {num_nodes: many, use_spot: 3, accelerators: 8, acelerators: x}\n"
       "envs: [A]\nminutes_requested: soon\nsetup: {a: 1}\n",
       {"r.yaml:4: resources.num_nodes: many must be a whole number from 0 to 1000000000",
        "r.yaml:4: resources.use_spot: 3 must be true or false",
        "r.yaml:4: resources.accelerators: 8 must be text; put it in quotes",
        "r.yaml:4: resources.acelerators: unknown key; did you mean resources.accelerators?",
        "r.yaml:5: envs: [A] must be a mapping of names to plain values",
        "r.yaml:6: minutes_requested: soon must be a whole number from 0 to 1000000000",
        "r.yaml:7: setup: a mapping must be text"}},
      {"Sweeps",
       "name: n\nrun: r\nparameters: {site.count: 3}\n"
       "sweeps:\n"
       "  sweep_config:\n"
       "    train.lr: [\"0.1\", \"2e-5\", -1]\n"
       "    train.lx: [1]\n"
       "    train.seed: 5\n"
       "  lower_is_better: maybe\n"
       "  sweep_metrics: a\n",
       {"r.yaml:6: sweeps.sweep_config.train.lr: -1 must be > 0 and <= 1000",
        "r.yaml:7: sweeps.sweep_config.train.lx: unknown parameter; did you mean train.lr?",
        "r.yaml:8: sweeps.sweep_config.train.seed: 5 must be a list of values to try",
        "r.yaml:9: sweeps.lower_is_better: maybe must be true or false",
        "r.yaml:10: sweeps.sweep_metrics: unknown key; did you mean sweeps.sweep_metric?"}},
      {"MomentumIsSgds",
       WithParameters("  train.optimizer: {kind: adam, momentum: 0.9}\n"),
       {"r.yaml:5: train.optimizer.momentum: 0.9 must be 0 or left out with train.optimizer.kind: "
        "adam; "
        "momentum is sgd's"}},
      {"LabelsAreClasses",
       WithParameters("  data.partition: {kind: labels, labels: 11}\n"),
       {"r.yaml:5: data.partition.labels: 11 must be <= model.classes, which is 10"}},
      {"ClassesOfTheData",
       WithParameters("  model: {classes: 12}\n"),
       {"r.yaml:5: model.classes: 12 must be 10 with data.dataset: fashion-mnist"}},
      {"ImagesForAnEncoder",
       WithParameters("  model: {kind: encoder}\n"),
       {"r.yaml:5: model.kind: encoder reads texts or tokens, and data.dataset is fashion-mnist"}},
      {"TextsForACnn",
       WithParameters("  model: {kind: cnn}\n  data: {dataset: csv, folder: d}\n"),
       {"r.yaml:5: model.kind: cnn reads images, and data.dataset is csv"}},
      {"NoFolder",
       WithParameters("  model: {kind: text-classifier}\n  data: {dataset: jsonl}\n"),
       {"r.yaml:6: data.folder: must name the folder of the files with data.dataset: jsonl"}},
      {"NoTokenizerFile",
       WithParameters("  model: {kind: decoder}\n  data: {dataset: csv, folder: d, tokenizer: "
                      "{kind: wordpiece}}\n"),
       {"r.yaml:6: data.tokenizer.file: must name the file of data.tokenizer.kind: wordpiece"}},
      {"NoModuleFile",
       WithParameters("  model: {kind: torchscript}\n"),
       {"r.yaml:5: model.file: must name the module's file with model.kind: torchscript"}},
      {"NoSiteField",
       WithParameters("  model: {kind: text-classifier}\n  data: {dataset: csv, folder: d, "
                      "partition: {kind: by_site}}\n"),
       {"r.yaml:6: data.partition.kind: by_site needs data.site_field"}},
      {"HeadsThatDoNotFit",
       WithParameters("  model: {kind: decoder, heads: 4, kv_heads: 3}\n  data: {dataset: tokens, "
                      "folder: d}\n"),
       {"r.yaml:5: model.heads: 4 must be a multiple of model.kv_heads, which is 3"}},
      {"AdaptersNowhere",
       WithParameters(
           "  model: {kind: decoder, lora: {rank: 4}}\n  data: {dataset: tokens, folder: "
           "d}\n"),
       {"r.yaml:5: model.lora.layers: must name the layers that get adapters, such as "
        "[\"*.query\", \"*.value\"]"}},
      {"TokensToClassify",
       WithParameters("  model: {kind: encoder, task: classify}\n  data: {dataset: tokens, folder: "
                      "d}\n"),
       {"r.yaml:5: model.task: classify takes texts: with data.dataset: tokens, only masked_lm "
        "will do"}},
      {"LimitFeedsRanks",
       WithParameters("  site.ranks: 2\n  data.limit: 7\n"),
       {"r.yaml:6: data.limit: 7 must be 0 or >= 8, an example for each rank of each site"}},
      {"CohortAboveCount",
       WithParameters("  federation:\n    cohort: {min: 5}\n"),
       {"r.yaml:6: federation.cohort.min: 5 must be <= site.count, which is 4"}},
      {"CohortOfTwo",
       WithParameters("  federation.cohort.min: 2\n"),
       {"r.yaml:5: federation.cohort.min: 2 must be >= 3 under secure aggregation: from the sum of "
        "two "
        "sites, each learns the other's update"}},
      {"TwoSites",
       "name: n\nrun: r\nparameters:\n  site.count: 2\n  federation.cohort.min: 2\n"
       "  privacy.secure_aggregation.enabled: yes\n",
       {"r.yaml:6: privacy.secure_aggregation.enabled: true needs at least 3 sites, and site.count "
        "is 2: "
        "from the sum of two, each learns the other's update"}},
      {"GroupsWithoutAStatedNumberOfCorruptSites",
       "name: n\nrun: r\nparameters:\n  site.count: 6\n"
       "  privacy.secure_aggregation.group_size_max: 3\n",
       {"r.yaml:5: privacy.secure_aggregation.corrupt_sites_max: 0 must be >= 1: 6 sites are split "
        "into groups of at most 3, and how large they must be depends on how many sites may "
        "collude"}},
      {"NoCheckOfBrokenKeys",
       "name: n\nrun: r\nparameters: {site.count: none}\n",
       {"r.yaml:3: site.count: none must be a whole number from 1 to 65536"}},
      {"Syntax",
       "name: n\nrun: r\nparameters:\n  train: {lr: 1\n",
       {"r.yaml:5: not YAML: end of map flow not found"}},
      {"Tab", "name: n\nparameters:\n\ttrain: 1\n", {"r.yaml:3: not YAML: illegal map value"}},
      {"TwoDocuments",
       "name: n\nrun: r\n---\nname: m\n",
       {"r.yaml:3: a recipe is one YAML document, not several"}},
      {"Tag",
       "name: !!python/object:os.system x\nrun: r\n",
       {"r.yaml:1: the tag tag:yaml.org,2002:python/object:os.system is not read here"}},
      {"KeyIsAList", "name: n\n[1]: r\n", {"r.yaml:2: a key must be text"}},
      {"AliasOfItself", "name: n\nrun: &r [*r]\n", {"r.yaml:2: an alias of what it stands in"}},
      {"LineBreakInAKey",
       WithParameters("  \"a\\nb\": 1\n  train: {\"x\\ey\": {}}\n"),
       {"r.yaml:5: \"a\\nb\": unknown key", "r.yaml:6: \"train.x\\x1By\": unknown key"}},
      {"LineBreakInBraces",
       WithParameters("  train.lr: {{\"a\\nb\"}}\n"),
       {"r.yaml:5: a key must be text; to mean the text {{a\\nb}} put it in quotes"}},
      {"NotUtf8",
       "name: n\nrun: a\xff\n",
       {"r.yaml:2: a recipe is UTF-8 text; a byte here is not"}},
      {"ControlCharacters",
       "name: \"a\\e[2J\"\nrun: r\nparameters: {site.count: 3}\n",
       {"r.yaml:1: name: \"a\\x1B[2J\" must be one line of text, without control characters"}},
  };
}

class BadRecipe : public testing::TestWithParam<Case> {};

TEST_P(BadRecipe, IsExplained) {
  const LoadResult result = LoadRecipeText(GetParam().text, "r.yaml");
  EXPECT_THAT(Texts(result.problems), ElementsAreArray(GetParam().problems)) << GetParam().text;
}

INSTANTIATE_TEST_SUITE_P(All, BadRecipe, testing::ValuesIn(Cases()),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(BadRecipes, TooLarge) {
  const std::string text = "name: n\nrun: r\n#" + std::string(kMaxRecipeBytes, 'x');
  EXPECT_THAT(
      Texts(LoadRecipeText(text, "r.yaml").problems),
      testing::ElementsAre("r.yaml: the recipe has 1048592 bytes, at most 1048576 are read"));
}

TEST(BadRecipes, AliasBombIsRefusedQuickly) {
  std::string text = "name: n\nrun: r\nenvs:\n  a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 12; ++i) {
    const std::string last = "*a" + std::to_string(i - 1);
    text += "  a" + std::to_string(i) + ": &a" + std::to_string(i) + " [" + last;
    for (int j = 1; j < 10; ++j) text += ", " + last;
    text += "]\n";
  }
  const LoadResult result = LoadRecipeText(text, "r.yaml");
  ASSERT_FALSE(result.problems.empty());
  EXPECT_THAT(Texts(result.problems),
              testing::Contains(testing::HasSubstr("more than 20000 values, aliases counted")));
}

TEST(BadRecipes, RepeatedLongTextIsRefused) {
  std::string text = "name: n\nrun: r\nenvs:\n  a: &a " + std::string(500000, 'x') + "\n";
  for (int i = 0; i < 20; ++i) text += "  b" + std::to_string(i) + ": *a\n";
  EXPECT_THAT(Texts(LoadRecipeText(text, "r.yaml").problems),
              testing::Contains(testing::HasSubstr("bytes of text, aliases counted")));
}

TEST(BadRecipes, DeepNestingIsRefused) {
  for (const char* open : {"[", "{a: ", "- ", "? "}) {
    std::string text = "name: n\nrun: r\nenvs: ";
    if (open[0] == '-' || open[0] == '?') text += "\n  ";
    for (int i = 0; i < 100000; ++i) text += open;
    const LoadResult result = LoadRecipeText(text, "r.yaml");
    ASSERT_FALSE(result.problems.empty()) << open;
  }
  const std::string text = "name: n\nrun: r\nenvs: " + std::string(40, '[') + std::string(40, ']');
  EXPECT_THAT(Texts(LoadRecipeText(text, "r.yaml").problems),
              testing::Contains("r.yaml:3: nested deeper than 32 levels"));
}

TEST(BadRecipes, ManyProblemsAreCut) {
  std::string text = WithParameters("");
  for (int i = 0; i < 150; ++i) text += "  zzzz" + std::to_string(i) + ": 1\n";
  const LoadResult result = LoadRecipeText(text, "r.yaml");
  ASSERT_EQ(result.problems.size(), 101u);
  EXPECT_EQ(result.problems.back().Text(), "r.yaml: and 50 more problems");
}

}  // namespace
}  // namespace atl::recipes
