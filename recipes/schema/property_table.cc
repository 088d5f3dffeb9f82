#include "recipes/schema/property_table.h"

#include <type_traits>
#include <utility>

namespace atl::recipes {
namespace {

Property Make(const char* key, Type type, const char* doc) {
  Property property;
  property.key = key;
  property.type = type;
  property.doc = doc;
  return property;
}

// The builders below take a field as `[](auto& recipe) -> auto& { return recipe.a.b; }`, which
// reads and writes.
#define ATOLL_FIELD(path) \
  [](auto& recipe) -> auto& { return recipe.path; }

template <typename Field>
Property Integer(const char* key, Field field, double min, double max, const char* doc) {
  Property property = Make(key, Type::kInteger, doc);
  property.bounds.min = min;
  property.bounds.max = max;
  property.read = [field](const Recipe& r) -> Value { return static_cast<int64_t>(field(r)); };
  property.write = [field](Recipe& r, const Value& value) {
    auto& target = field(r);
    target = static_cast<std::remove_reference_t<decltype(target)>>(std::get<int64_t>(value));
  };
  return property;
}

enum class Open { kNone, kMin, kMax };

template <typename Field>
Property Number(const char* key, Field field, double min, double max, Open open, const char* doc) {
  Property property = Make(key, Type::kNumber, doc);
  property.bounds.min = min;
  property.bounds.max = max;
  property.bounds.min_open = open == Open::kMin;
  property.bounds.max_open = open == Open::kMax;
  property.read = [field](const Recipe& r) -> Value { return field(r); };
  property.write = [field](Recipe& r, const Value& value) { field(r) = std::get<double>(value); };
  return property;
}

template <typename Field>
Property Bool(const char* key, Field field, const char* doc) {
  Property property = Make(key, Type::kBool, doc);
  property.read = [field](const Recipe& r) -> Value { return field(r); };
  property.write = [field](Recipe& r, const Value& value) { field(r) = std::get<bool>(value); };
  return property;
}

template <typename Field>
Property Text(const char* key, Field field, int length_min, int length_max, const char* doc) {
  Property property = Make(key, Type::kText, doc);
  property.bounds.length_min = length_min;
  property.bounds.length_max = length_max;
  property.read = [field](const Recipe& r) -> Value { return field(r); };
  property.write = [field](Recipe& r, const Value& v) { field(r) = std::get<std::string>(v); };
  return property;
}

// A text field with a few values only.
template <typename Field>
Property Choice(const char* key, Field field, std::vector<std::string> options, const char* doc) {
  Property property = Text(key, field, 1, 64, doc);
  property.type = Type::kEnum;
  property.bounds.options = std::move(options);
  return property;
}

template <typename Field, typename Enum>
Property EnumOf(const char* key, Field field, std::vector<Enum> values, const char* doc) {
  Property property = Make(key, Type::kEnum, doc);
  for (Enum value : values) property.bounds.options.push_back(ToString(value));
  property.read = [field](const Recipe& r) -> Value { return ToString(field(r)); };
  property.write = [field, values](Recipe& r, const Value& value) {
    for (Enum candidate : values) {
      if (ToString(candidate) == std::get<std::string>(value)) field(r) = candidate;
    }
  };
  return property;
}

template <typename Field>
Property Integers(const char* key, Field field, int length_min, int length_max, double min,
                  double max, const char* doc) {
  Property property = Make(key, Type::kIntegers, doc);
  property.bounds.min = min;
  property.bounds.max = max;
  property.bounds.length_min = length_min;
  property.bounds.length_max = length_max;
  property.read = [field](const Recipe& r) -> Value {
    return std::vector<int64_t>(field(r).begin(), field(r).end());
  };
  property.write = [field](Recipe& r, const Value& value) {
    const auto& list = std::get<std::vector<int64_t>>(value);
    field(r).assign(list.begin(), list.end());
  };
  return property;
}

template <typename Field>
Property Texts(const char* key, Field field, int length_max, const char* doc) {
  Property property = Make(key, Type::kTexts, doc);
  property.bounds.length_max = length_max;
  property.read = [field](const Recipe& r) -> Value { return field(r); };
  property.write = [field](Recipe& r, const Value& value) {
    field(r) = std::get<std::vector<std::string>>(value);
  };
  return property;
}

Property Alias(Property property, const char* alias) {
  property.aliases.push_back(alias);
  return property;
}

Property AtRoot(Property property, bool required = false) {
  property.place = Place::kRoot;
  property.required = required;
  return property;
}

Property UsedWith(Property property, const char* with, std::function<bool(const Recipe&)> used) {
  property.used_with = with;
  property.used = std::move(used);
  return property;
}

// Transformer Lab's own: checked for its type, and not Atoll's to act on.
Property Theirs(const char* key, Type type, const char* doc) {
  Property property = Make(key, type, doc);
  property.place = Place::kRoot;
  if (type == Type::kText || type == Type::kLines) property.bounds.length_max = 1 << 20;
  if (type == Type::kInteger || type == Type::kNumber) {
    property.bounds.min = 0;
    property.bounds.max = 1e9;
  }
  return property;
}

bool IsCnn(const Recipe& r) { return r.model.kind == ModelKind::kCnn; }
bool IsDense(const Recipe& r) { return IsCnn(r) || r.model.kind == ModelKind::kMlp; }
bool IsNgrams(const Recipe& r) { return r.model.kind == ModelKind::kTextClassifier; }
bool IsEncoder(const Recipe& r) { return r.model.kind == ModelKind::kEncoder; }
bool IsDecoder(const Recipe& r) { return r.model.kind == ModelKind::kDecoder; }
bool IsTransformer(const Recipe& r) { return IsEncoder(r) || IsDecoder(r); }
bool IsTorchScript(const Recipe& r) { return r.model.kind == ModelKind::kTorchScript; }
bool IsMaskedLm(const Recipe& r) { return IsEncoder(r) && r.model.task == EncoderTask::kMaskedLm; }
bool IsContrastive(const Recipe& r) {
  return IsEncoder(r) && r.model.task == EncoderTask::kContrastive;
}
bool IsSizedHere(const Recipe& r) { return IsTransformer(r) && r.model.weights.empty(); }
bool HasLora(const Recipe& r) { return IsTransformer(r) && r.model.lora.rank > 0; }
bool IsTable(const Recipe& r) {
  return r.data.dataset == DatasetKind::kCsv || r.data.dataset == DatasetKind::kJsonLines;
}
bool HasTokenizer(const Recipe& r) {
  return IsTransformer(r) && r.data.dataset != DatasetKind::kTokens;
}
bool HasTokenizerFile(const Recipe& r) {
  return HasTokenizer(r) && r.data.tokenizer.kind != TokenizerKind::kBytes;
}
bool IsScheduled(const Recipe& r) { return r.train.schedule.kind != ScheduleKind::kConstant; }
bool IsAlone(const Recipe& r) { return r.site.count == 1; }
bool IsDirichlet(const Recipe& r) { return r.data.partition.kind == PartitionKind::kDirichlet; }
bool IsLabels(const Recipe& r) { return r.data.partition.kind == PartitionKind::kLabels; }
bool IsSgd(const Recipe& r) { return r.train.optimizer.kind == OptimizerKind::kSgd; }
bool IsAdam(const Recipe& r) { return !IsSgd(r); }
bool IsFederated(const Recipe& r) { return r.site.count > 1; }
bool IsByExamples(const Recipe& r) {
  return IsFederated(r) && r.federation.weighting == "examples";
}

void AddRoot(std::vector<Property>& table) {
  table.push_back(
      AtRoot(Text("name", ATOLL_FIELD(name), 1, 200,
                  "What the job is called; its folder is runs/NAME-ID, with what a file "
                  "name cannot hold replaced by '-'."),
             true));
  Property run = AtRoot(Text("run", ATOLL_FIELD(run), 1, 65536,
                             "The command with which Transformer Lab runs this file. Atoll keeps "
                             "it and does not run it."),
                        true);
  run.type = Type::kLines;
  table.push_back(std::move(run));
  table.push_back(AtRoot(Integer("resources.cpus", ATOLL_FIELD(resources.cpus), 1, 4096,
                                 "CPU cores of each site. Sites of one machine may share them.")));
  table.push_back(AtRoot(Integer("resources.memory", ATOLL_FIELD(resources.memory_gb), 1, 1048576,
                                 "Memory of each site, in GB.")));
  table.insert(
      table.end(),
      {Theirs("resources.compute_provider", Type::kText, "The provider to run on."),
       Theirs("resources.disk_space", Type::kNumber, "Disk space, in GB."),
       Theirs("resources.accelerators", Type::kText, "Accelerators, such as \"H100:8\" or NVIDIA."),
       Theirs("resources.num_nodes", Type::kInteger, "Number of nodes."),
       Theirs("resources.fleet_name", Type::kText, "The fleet to run on."),
       Theirs("resources.instance_type", Type::kText, "The cloud's type of machine."),
       Theirs("resources.cloud", Type::kText, "The cloud."),
       Theirs("resources.region", Type::kText, "The cloud's region."),
       Theirs("resources.zone", Type::kText, "The cloud's zone."),
       Theirs("resources.use_spot", Type::kBool,
              "Whether machines that can be taken away will do."),
       Theirs("resources.image_id", Type::kText, "The machine image."),
       Theirs("envs", Type::kTextMap, "Environment variables of the command."),
       Theirs("setup", Type::kLines, "Commands that prepare a machine."),
       Theirs("github_repo_url", Type::kText, "A repository to clone beside the command."),
       Theirs("github_repo_dir", Type::kText, "The folder of it to use."),
       Theirs("github_repo_branch", Type::kText, "The branch of it to use."),
       Theirs("sweeps.sweep_config", Type::kSweep,
              "Keys of parameters, each with the values to try."),
       Theirs("sweeps.sweep_metric", Type::kText, "The metric that ranks the runs of a sweep."),
       Theirs("sweeps.lower_is_better", Type::kBool, "Whether a smaller metric is better."),
       Theirs("minutes_requested", Type::kInteger, "How long the machines are asked for.")});
}

void AddModel(std::vector<Property>& table) {
  table.push_back(EnumOf(
      "model.kind", ATOLL_FIELD(model.kind),
      std::vector<ModelKind>{ModelKind::kMlp, ModelKind::kCnn, ModelKind::kResnet18,
                             ModelKind::kTextClassifier, ModelKind::kEncoder, ModelKind::kDecoder,
                             ModelKind::kTorchScript},
      "mlp: dense layers with ReLU. cnn: two 5 x 5 convolutions, each with ReLU and 2 x 2 pooling, "
      "then dense layers. resnet18: with group norm. text-classifier: a bag of hashed n-grams. "
      "encoder: of the BERT family. decoder: of the Llama family. torchscript: a module from a "
      "file."));
  table.push_back(
      UsedWith(Integers("model.channels", ATOLL_FIELD(model.channels), 2, 2, 1, 4096,
                        "Channels of the two convolutions: [6, 16] is the network of NIID-Bench, "
                        "[32, 64] that of the FedAvg paper."),
               "model.kind: cnn", IsCnn));
  table.push_back(
      UsedWith(Integers("model.hidden", ATOLL_FIELD(model.hidden), 0, 8, 1, 65536,
                        "Widths of the dense hidden layers. Empty: [200] for mlp; for cnn [120, "
                        "84], or [512] when the first convolution has 32 channels or more."),
               "model.kind: mlp or cnn", IsDense));
  table.push_back(Integer("model.classes", ATOLL_FIELD(model.classes), 2, 100000,
                          "Classes that the model tells apart; language models and contrastive "
                          "encoders have none."));
  table.push_back(UsedWith(Integer("model.buckets", ATOLL_FIELD(model.buckets), 16, 1 << 24,
                                   "Rows of the table that n-grams are hashed into."),
                           "model.kind: text-classifier", IsNgrams));
  table.push_back(UsedWith(Integer("model.ngram_max", ATOLL_FIELD(model.ngram_max), 1, 8,
                                   "A text is the bag of its runs of 1 to so many characters."),
                           "model.kind: text-classifier", IsNgrams));
  table.push_back(UsedWith(Integer("model.width", ATOLL_FIELD(model.width), 1, 4096,
                                   "Width of the table's rows, whose mean is classified."),
                           "model.kind: text-classifier", IsNgrams));
  table.push_back(
      UsedWith(EnumOf("model.task", ATOLL_FIELD(model.task),
                      std::vector<EncoderTask>{EncoderTask::kMaskedLm, EncoderTask::kClassify,
                                               EncoderTask::kContrastive},
                      "masked_lm: guess tokens that were hidden. classify: the class of a text. "
                      "contrastive: embeddings that are near for the two texts of a pair."),
               "model.kind: encoder", IsEncoder));
  table.push_back(UsedWith(EnumOf("model.norm", ATOLL_FIELD(model.norm),
                                  std::vector<NormPlace>{NormPlace::kPost, NormPlace::kPre},
                                  "Where layers normalise: post, after each sum, as BERT does; "
                                  "pre, before each block."),
                           "model.kind: encoder", IsEncoder));
  const char* const sized = "model.kind: encoder or decoder, without model.weights";
  table.push_back(UsedWith(Integer("model.layers", ATOLL_FIELD(model.layers), 1, 256, "Layers."),
                           sized, IsSizedHere));
  table.push_back(UsedWith(Integer("model.heads", ATOLL_FIELD(model.heads), 1, 1024,
                                   "Attention heads of a layer; divides `model.hidden_size`."),
                           sized, IsSizedHere));
  table.push_back(
      UsedWith(Integer("model.kv_heads", ATOLL_FIELD(model.kv_heads), 0, 1024,
                       "Heads of keys and values, shared by groups of attention heads; divides "
                       "`model.heads`. 0: as many."),
               "model.kind: decoder", IsDecoder));
  table.push_back(UsedWith(Integer("model.hidden_size", ATOLL_FIELD(model.hidden_size), 8, 65536,
                                   "Width of a token's state."),
                           sized, IsSizedHere));
  table.push_back(UsedWith(Integer("model.intermediate_size", ATOLL_FIELD(model.intermediate_size),
                                   8, 1 << 20, "Width inside a layer's feed-forward block."),
                           sized, IsSizedHere));
  table.push_back(UsedWith(Integer("model.max_length", ATOLL_FIELD(model.max_length), 4, 65536,
                                   "Tokens of an example; what is longer is cut."),
                           "model.kind: encoder or decoder", IsTransformer));
  table.push_back(UsedWith(Number("model.masked_share", ATOLL_FIELD(model.masked_share), 0, 1,
                                  Open::kMin, "Share of the tokens that are hidden."),
                           "model.task: masked_lm", IsMaskedLm));
  table.push_back(
      UsedWith(Number("model.temperature", ATOLL_FIELD(model.temperature), 0, 100, Open::kMin,
                      "What similarities are divided by in the contrastive loss."),
               "model.task: contrastive", IsContrastive));
  table.push_back(UsedWith(
      Text("model.weights", ATOLL_FIELD(model.weights), 0, 4096,
           "Folder with a Hugging Face model.safetensors and config.json to start from; they also "
           "say the model's sizes. Empty: random weights."),
      "model.kind: encoder or decoder", IsTransformer));
  table.push_back(UsedWith(
      Text("model.file", ATOLL_FIELD(model.file), 0, 4096, "The TorchScript module's file."),
      "model.kind: torchscript", IsTorchScript));
  table.push_back(Texts("model.frozen", ATOLL_FIELD(model.frozen), 64,
                        "Parameters that are not trained and do not travel, by name; `*` stands "
                        "for any characters."));
  table.push_back(UsedWith(
      Integer("model.lora.rank", ATOLL_FIELD(model.lora.rank), 0, 1024,
              "Rank of low-rank adapters, which alone are trained and travel. 0: no adapters."),
      "model.kind: encoder or decoder", IsTransformer));
  table.push_back(UsedWith(Number("model.lora.alpha", ATOLL_FIELD(model.lora.alpha), 0, 1e6,
                                  Open::kMin, "An adapter's output counts alpha / rank times."),
                           "model.lora.rank above 0", HasLora));
  table.push_back(UsedWith(Texts("model.lora.layers", ATOLL_FIELD(model.lora.layers), 64,
                                 "The linear layers that get one, by name; `*` stands for any "
                                 "characters."),
                           "model.lora.rank above 0", HasLora));
}

void AddData(std::vector<Property>& table) {
  table.push_back(EnumOf(
      "data.dataset", ATOLL_FIELD(data.dataset),
      std::vector<DatasetKind>{DatasetKind::kFashionMnist, DatasetKind::kIdx, DatasetKind::kCifar10,
                               DatasetKind::kCsv, DatasetKind::kJsonLines,
                               DatasetKind::kTextFolders, DatasetKind::kTokens},
      "The data set to train on: fashion-mnist, or the kind of files in `data.folder`: idx images, "
      "cifar10 images, csv or jsonl tables of texts, text-folders (a folder a class), tokens "
      "(shards of token ids)."));
  table.push_back(Text("data.folder", ATOLL_FIELD(data.folder), 0, 4096,
                       "Folder of the data set's files. Empty: where Debian's package "
                       "dataset-fashion-mnist puts them."));
  table.push_back(UsedWith(Text("data.text_field", ATOLL_FIELD(data.text_field), 1, 256,
                                "Column or field that holds the text."),
                           "data.dataset: csv or jsonl", IsTable));
  table.push_back(UsedWith(Text("data.pair_field", ATOLL_FIELD(data.pair_field), 0, 256,
                                "Column or field that holds the second text of a pair."),
                           "data.dataset: csv or jsonl", IsTable));
  table.push_back(UsedWith(Text("data.label_field", ATOLL_FIELD(data.label_field), 1, 256,
                                "Column or field that holds the class's name."),
                           "data.dataset: csv or jsonl", IsTable));
  table.push_back(UsedWith(Text("data.site_field", ATOLL_FIELD(data.site_field), 0, 256,
                                "Column or field that says whose the example is, for "
                                "`data.partition.kind: by_site`."),
                           "data.dataset: csv or jsonl", IsTable));
  table.push_back(UsedWith(
      EnumOf("data.tokenizer.kind", ATOLL_FIELD(data.tokenizer.kind),
             std::vector<TokenizerKind>{TokenizerKind::kBytes, TokenizerKind::kWordPiece,
                                        TokenizerKind::kSentencePiece},
             "How texts become tokens. bytes: each byte is one. wordpiece: BERT's, from its "
             "vocab.txt. sentencepiece: from a .model file."),
      "model.kind: encoder or decoder, on texts", HasTokenizer));
  table.push_back(UsedWith(Text("data.tokenizer.file", ATOLL_FIELD(data.tokenizer.file), 0, 4096,
                                "The tokenizer's file."),
                           "data.tokenizer.kind: wordpiece or sentencepiece", HasTokenizerFile));
  table.push_back(EnumOf(
      "data.partition.kind", ATOLL_FIELD(data.partition.kind),
      std::vector<PartitionKind>{PartitionKind::kIid, PartitionKind::kDirichlet,
                                 PartitionKind::kLabels, PartitionKind::kBySite},
      "How the training examples are split over the sites. iid: at random, evenly. dirichlet: each "
      "class by shares drawn from Dirichlet(alpha). labels: each site has a few of the classes. "
      "by_site: as `data.site_field` says. The same seed gives the same split."));
  table.push_back(UsedWith(
      Number("data.partition.alpha", ATOLL_FIELD(data.partition.alpha), 0, 1e6, Open::kMin,
             "Concentration of the Dirichlet distribution: the smaller, the less alike the sites."),
      "data.partition.kind: dirichlet", IsDirichlet));
  table.push_back(UsedWith(Integer("data.partition.labels", ATOLL_FIELD(data.partition.labels), 1,
                                   100000, "Classes that each site has."),
                           "data.partition.kind: labels", IsLabels));
  table.push_back(Bool("data.evaluate", ATOLL_FIELD(data.evaluate),
                       "Whether the data set's public test examples judge each new model."));
  table.push_back(
      Integer("data.limit", ATOLL_FIELD(data.limit), 0, 1e9,
              "Use the first so many training examples only, all sites together; 0: all."));
  table.push_back(Integer("data.test_limit", ATOLL_FIELD(data.test_limit), 0, 1e9,
                          "Use the first so many test examples only; 0: all."));
}

void AddSiteAndTrain(std::vector<Property>& table) {
  table.push_back(Integer("site.count", ATOLL_FIELD(site.count), 1, 65536,
                          "Sites that take part; `atoll run` starts them, at most 255. 1: plain "
                          "data-parallel training, "
                          "nothing federated."));
  table.push_back(Integer("site.ranks", ATOLL_FIELD(site.ranks), 1, 1024,
                          "MPI ranks of each site; they average their gradients at every step."));
  table.push_back(EnumOf(
      "site.backend", ATOLL_FIELD(site.backend),
      std::vector<Backend>{Backend::kAuto, Backend::kMpi, Backend::kNccl},
      "What carries the gradients between the ranks of a site. auto: the fastest there is."));
  table.push_back(
      EnumOf("site.precision", ATOLL_FIELD(site.precision),
             std::vector<Precision>{Precision::kFp32, Precision::kBf16},
             "Arithmetic of the trainer. bf16: products in 16-bit floating point, sums, parameters "
             "and optimizer in 32."));

  table.push_back(EnumOf(
      "train.optimizer.kind", ATOLL_FIELD(train.optimizer.kind),
      std::vector<OptimizerKind>{OptimizerKind::kSgd, OptimizerKind::kAdam, OptimizerKind::kAdamW},
      "The sites' optimizer; its state starts afresh in each round."));
  table.push_back(Alias(Number("train.optimizer.lr", ATOLL_FIELD(train.optimizer.lr), 0, 1000,
                               Open::kMin, "Learning rate."),
                        "train.lr"));
  table.push_back(
      Alias(UsedWith(Number("train.optimizer.momentum", ATOLL_FIELD(train.optimizer.momentum), 0, 1,
                            Open::kMax, "Momentum of sgd; must be 0 for the others."),
                     "train.optimizer.kind: sgd", IsSgd),
            "train.momentum"));
  table.push_back(Alias(
      Number("train.optimizer.weight_decay", ATOLL_FIELD(train.optimizer.weight_decay), 0, 1,
             Open::kNone, "Weight decay: L2 in the gradient of sgd and adam, decoupled in adamw."),
      "train.weight_decay"));
  table.push_back(UsedWith(Number("train.optimizer.beta1", ATOLL_FIELD(train.optimizer.beta1), 0, 1,
                                  Open::kMax, "Decay of the gradient's running mean."),
                           "train.optimizer.kind: adam or adamw", IsAdam));
  table.push_back(UsedWith(Number("train.optimizer.beta2", ATOLL_FIELD(train.optimizer.beta2), 0, 1,
                                  Open::kMax, "Decay of the squared gradient's running mean."),
                           "train.optimizer.kind: adam or adamw", IsAdam));
  table.push_back(UsedWith(Number("train.optimizer.epsilon", ATOLL_FIELD(train.optimizer.epsilon),
                                  0, 1, Open::kMin, "What is added to the denominator."),
                           "train.optimizer.kind: adam or adamw", IsAdam));
  table.push_back(
      Bool("train.optimizer.sharded", ATOLL_FIELD(train.optimizer.sharded),
           "Whether each rank of a site keeps only its part of the optimizer's state."));
  table.push_back(
      EnumOf("train.schedule.kind", ATOLL_FIELD(train.schedule.kind),
             std::vector<ScheduleKind>{ScheduleKind::kConstant, ScheduleKind::kLinear,
                                       ScheduleKind::kCosine},
             "How the learning rate falls over the whole training, all rounds together."));
  table.push_back(Number("train.schedule.warmup", ATOLL_FIELD(train.schedule.warmup), 0, 1,
                         Open::kMax, "Share of the training in which it first rises from 0."));
  table.push_back(
      UsedWith(Number("train.schedule.final_share", ATOLL_FIELD(train.schedule.final_share), 0, 1,
                      Open::kNone, "Share of the full learning rate at the end."),
               "train.schedule.kind: linear or cosine", IsScheduled));
  table.push_back(
      Integer("train.batch_size", ATOLL_FIELD(train.batch_size), 1, 65536,
              "Examples of one step of one rank; a site's step has ranks times as many."));
  table.push_back(Integer("train.local_epochs", ATOLL_FIELD(train.local_epochs), 1, 10000,
                          "Passes over a site's examples in each round; with one site, in all."));
  table.push_back(Integer("train.accumulate_steps", ATOLL_FIELD(train.accumulate_steps), 1, 65536,
                          "Batches of each rank whose gradients are added up for one step."));
  table.push_back(Number("train.max_grad_norm", ATOLL_FIELD(train.max_grad_norm), 0, 1e9,
                         Open::kNone, "L2 norm to which the gradient is clipped; 0: it is not."));
  table.push_back(
      UsedWith(Integer("train.checkpoint_steps", ATOLL_FIELD(train.checkpoint_steps), 0, 1e9,
                       "Steps between two checkpoints; 0: one after each epoch. Rounds need none."),
               "site.count: 1", IsAlone));
  table.push_back(
      Integer("train.seed", ATOLL_FIELD(train.seed), 0, 9007199254740991.0,
              "Seed of the first model, the split and the order of the examples; never of keys "
              "or masks."));
  table.push_back(
      Number("train.bucket_mb", ATOLL_FIELD(train.bucket_mb), 0, 1024, Open::kMin,
             "Size of the buckets in which gradients are averaged while the backward pass still "
             "runs, in MiB."));
}

void AddFederation(std::vector<Property>& table) {
  std::vector<Property> federation;
  federation.push_back(Choice("federation.strategy", ATOLL_FIELD(federation.strategy), {"fedavg"},
                              "What the coordinator makes of the sites' sum."));
  federation.push_back(Integer("federation.rounds", ATOLL_FIELD(federation.rounds), 1, 1000000,
                               "Rounds; each ends with a new model."));
  federation.push_back(
      Alias(Integer("federation.cohort.min", ATOLL_FIELD(federation.cohort_min), 1, 255,
                    "Sites without which no round is held; at least 3 under secure "
                    "aggregation."),
            "federation.cohort_min"));
  federation.push_back(
      Number("federation.server_lr", ATOLL_FIELD(federation.server_lr), 0, 100, Open::kMin,
             "How far the model moves along the mean update; 1: FedAvg as published."));
  federation.push_back(
      Choice("federation.weighting", ATOLL_FIELD(federation.weighting), {"examples", "uniform"},
             "What a site counts for. examples: its number of training examples. uniform: all "
             "sites the same."));
  Property weight_max =
      Integer("federation.weight_max", ATOLL_FIELD(federation.weight_max), 1, 1e9,
              "Examples beyond which a site counts for no more: a site with n examples has "
              "weight min(n, weight_max) / weight_max.");
  federation.push_back(Integer("federation.slots_ahead", ATOLL_FIELD(federation.slots_ahead), 1, 64,
                               "For how many rounds ahead sites exchange keys and shares."));
  federation.push_back(Integer(
      "federation.reconnect_grace_s", ATOLL_FIELD(federation.reconnect_grace_s), 0, 86400,
      "Seconds that a site has to come back when its connection closes, before the round goes on "
      "without it."));
  federation.push_back(Integer("federation.cohort_wait_s", ATOLL_FIELD(federation.cohort_wait_s), 0,
                               604800,
                               "Seconds that a job with too few sites waits for more, before it "
                               "fails; under `atoll run` 15 at most."));
  federation.push_back(
      Integer("federation.progress_timeout_s", ATOLL_FIELD(federation.progress_timeout_s), 1, 86400,
              "Seconds without any progress after which a site is dropped from the round."));
  for (Property& property : federation) {
    table.push_back(UsedWith(std::move(property), "site.count above 1", IsFederated));
    if (table.back().key == "federation.weighting") {
      table.push_back(
          UsedWith(std::move(weight_max), "federation.weighting: examples", IsByExamples));
    }
  }
}

void AddPrivacyAndOutput(std::vector<Property>& table) {
  table.push_back(
      Bool("privacy.secure_aggregation.enabled", ATOLL_FIELD(secure_aggregation.enabled),
           "Whether the sites mask their updates so that the coordinator sees nothing but their "
           "sum. It takes 3 sites; must be false with one."));
  // 32 bits and the 16 that 65536 sites add stay below the 64 of the widest lane.
  table.push_back(Integer(
      "privacy.secure_aggregation.value_bits", ATOLL_FIELD(secure_aggregation.value_bits), 4, 32,
      "Bits to which each value of an update is rounded; a lane on the wire has "
      "ceil(log2(sites)) more. Also used unmasked, so that both ways give the same model."));
  table.push_back(Number("privacy.secure_aggregation.clip_norm_l2",
                         ATOLL_FIELD(secure_aggregation.clip_norm_l2), 0, 1e6, Open::kMin,
                         "L2 norm to which each site's update is clipped, before it is weighed."));
  table.push_back(
      Integer("privacy.secure_aggregation.masks_ahead_mib",
              ATOLL_FIELD(secure_aggregation.masks_ahead_mib), 0, 1 << 20,
              "Memory in MiB that each rank may take for masks that are expanded while "
              "it trains, on processors that nothing else wants. A rank needs a lane (1 "
              "to 8 bytes) for each coordinate of its part of the model; masks beyond "
              "the limit are expanded after training. 0: all of them are."));
  table.push_back(Integer(
      "privacy.secure_aggregation.group_size_max", ATOLL_FIELD(secure_aggregation.group_size_max),
      3, 255,
      "Sites that mask together at most. More are split into groups at random, each of which "
      "reveals its own sum; that takes a stated `corrupt_sites_max`."));
  table.push_back(Integer(
      "privacy.secure_aggregation.corrupt_sites_max",
      ATOLL_FIELD(secure_aggregation.corrupt_sites_max), 0, 65535,
      "Sites that may collude with the coordinator without any other site's update being seen. A "
      "split is refused where one of its groups could hold too many of them with a chance above "
      "2^-40. 0: none is stated; at least 1 where sites are split into groups."));
  table.push_back(Choice(
      "privacy.secure_aggregation.scale", ATOLL_FIELD(secure_aggregation.scale),
      {"clip", "last_aggregate"},
      "What the largest value that fits its bits is. clip: clip_norm_l2, so that nothing ever "
      "saturates. last_aggregate: a multiple of the last mean update's root mean square, at most "
      "clip_norm_l2, which leaves more of few value_bits; values beyond it saturate and are "
      "counted."));
  table.push_back(Choice("privacy.secure_aggregation.mask_cipher",
                         ATOLL_FIELD(secure_aggregation.mask_cipher), {"aes-256-ctr", "chacha20"},
                         "The stream cipher that makes the masks."));
  table.push_back(Choice("privacy.secure_aggregation.aead", ATOLL_FIELD(secure_aggregation.aead),
                         {"aes-256-gcm", "chacha20-poly1305"},
                         "The cipher that seals the key shares between two sites."));
  table.push_back(Text("output.folder", ATOLL_FIELD(output_folder), 1, 4096,
                       "Folder in which each run makes its own."));
}

#undef ATOLL_FIELD

}  // namespace

std::vector<Property> PropertyTable() {
  std::vector<Property> table;
  AddRoot(table);
  AddModel(table);
  AddData(table);
  AddSiteAndTrain(table);
  AddFederation(table);
  AddPrivacyAndOutput(table);
  return table;
}

}  // namespace atl::recipes
