// A typed recipe: what one job trains, on what, where and how. Read from a Transformer Lab
// task.yaml; every value's type, default, bounds and doc stand in properties.cc.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace atl::recipes {

enum class ModelKind { kMlp, kCnn, kResnet18, kTextClassifier, kEncoder, kDecoder, kTorchScript };
enum class EncoderTask { kMaskedLm, kClassify, kContrastive };
enum class NormPlace { kPost, kPre };
enum class DatasetKind { kFashionMnist, kIdx, kCifar10, kCsv, kJsonLines, kTextFolders, kTokens };
enum class TokenizerKind { kBytes, kWordPiece, kSentencePiece };
enum class PartitionKind { kIid, kDirichlet, kLabels, kBySite };
enum class OptimizerKind { kSgd, kAdam, kAdamW };
enum class ScheduleKind { kConstant, kLinear, kCosine };
enum class Precision { kFp32, kBf16 };
enum class Backend { kAuto, kMpi, kNccl };

struct Resources {
  int cpus = 1;  // a site's, as Transformer Lab means it
  int memory_gb = 1;
  bool operator==(const Resources&) const = default;
};

// Low-rank adapters (Hu et al., 2106.09685) beside linear layers, which stay as they are.
struct Lora {
  int rank = 0;  // 0: none
  double alpha = 16.0;
  std::vector<std::string> layers;  // patterns of linear layers' names, such as "*.query"
  bool operator==(const Lora&) const = default;
};

struct Model {
  ModelKind kind = ModelKind::kCnn;
  std::vector<int> channels = {6, 16};  // cnn: of the two convolutions
  std::vector<int>
      hidden;  // widths of the dense hidden layers; empty: mlp [200], cnn of niid_bench
               // [120, 84], cnn with channels [32, 64] [512] as in the FedAvg paper
  int classes = 10;
  // text-classifier
  int buckets = 65536;  // rows of the table that n-grams are hashed into
  int ngram_max = 4;    // n-grams of 1 to so many characters
  int width = 64;       // of a row
  // encoder, decoder
  EncoderTask task = EncoderTask::kMaskedLm;  // encoder
  NormPlace norm = NormPlace::kPost;          // encoder
  int layers = 2, heads = 4;
  int kv_heads = 0;  // decoder; 0: as many as heads
  int hidden_size = 128, intermediate_size = 512;
  int max_length = 128;             // tokens of an example
  double masked_share = 0.15;       // encoder, masked_lm: of the tokens
  double temperature = 0.05;        // encoder, contrastive
  std::string weights;              // folder with a Hugging Face model.safetensors and config.json
  std::string file;                 // torchscript
  std::vector<std::string> frozen;  // patterns of parameters that are not trained
  Lora lora;
  bool operator==(const Model&) const = default;
};

struct Partition {
  PartitionKind kind = PartitionKind::kIid;
  double alpha = 0.5;  // dirichlet
  int labels = 2;      // labels(k): label classes a site
  bool operator==(const Partition&) const = default;
};

struct Tokenizer {
  TokenizerKind kind = TokenizerKind::kBytes;
  std::string file;  // vocab.txt of wordpiece, the .model of sentencepiece
  bool operator==(const Tokenizer&) const = default;
};

struct Data {
  DatasetKind dataset = DatasetKind::kFashionMnist;
  std::string folder;  // empty: where Debian's dataset-fashion-mnist puts it
  std::string text_field = "text", pair_field, label_field = "label", site_field;
  Tokenizer tokenizer;
  Partition partition;
  bool evaluate = true;  // the data set's public test examples judge each new model
  int limit = 0;         // first so many training examples only; 0: all
  int test_limit = 0;    // first so many test examples only; 0: all
  bool operator==(const Data&) const = default;
};

struct Site {
  int count = 1;  // sites that `atoll run` starts
  int ranks = 1;  // MPI ranks a site
  Backend backend = Backend::kAuto;
  Precision precision = Precision::kFp32;
  bool operator==(const Site&) const = default;
};

struct Optimizer {
  OptimizerKind kind = OptimizerKind::kSgd;
  double lr = 0.05;
  double momentum = 0.0;  // sgd
  double weight_decay = 0.0;
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;  // adam, adamw
  bool sharded = false;                               // its state is split over the ranks
  bool operator==(const Optimizer&) const = default;
};

// The learning rate over the whole training, all rounds together: up from 0 for the share `warmup`
// of it, then down to the share `final_share` of the full rate.
struct Schedule {
  ScheduleKind kind = ScheduleKind::kConstant;
  double warmup = 0.0;       // in [0, 1)
  double final_share = 0.0;  // linear, cosine
  bool operator==(const Schedule&) const = default;
};

struct Train {
  Optimizer optimizer;
  Schedule schedule;
  int batch_size = 64;       // per rank
  int accumulate_steps = 1;  // batches whose gradients are added up for one step
  double max_grad_norm = 0;  // L2 norm to which the gradient is clipped; 0: it is not
  int local_epochs = 1;      // per round; alone: all of them
  uint64_t seed = 1;
  double bucket_mb = 4;      // gradient all-reduce bucket
  int checkpoint_steps = 0;  // alone: a checkpoint each so many steps; 0: after each epoch
  bool operator==(const Train&) const = default;
};

struct Federation {
  std::string strategy = "fedavg";
  int rounds = 10;
  int cohort_min = 3;
  double server_lr = 1.0;
  std::string weighting = "examples";  // or "uniform"
  int weight_max =
      20000;  // W, examples: a site's weight is min(n, W) / W, see secure-aggregation docs
  int slots_ahead = 2;  // sets of pre-keys made before they are needed
  int reconnect_grace_s = 10;
  int cohort_wait_s = 600;
  int progress_timeout_s =
      120;  // a site that shows no progress for so long is dropped from the round
  bool operator==(const Federation&) const = default;
};

struct SecureAggregation {
  bool enabled = true;
  int value_bits = 16;
  double clip_norm_l2 = 20.0;
  int masks_ahead_mib = 1024;
  int group_size_max = 255;                 // more sites are split into groups
  int corrupt_sites_max = 0;                // c; 0: none stated
  std::string scale = "clip";               // or "last_aggregate"
  std::string mask_cipher = "aes-256-ctr";  // or "chacha20"
  std::string aead = "aes-256-gcm";         // or "chacha20-poly1305"
  bool operator==(const SecureAggregation&) const = default;
};

struct Recipe {
  std::string name;
  std::string run;
  Resources resources = {};
  Model model = {};
  Data data = {};
  Site site = {};
  Train train = {};
  Federation federation = {};
  SecureAggregation secure_aggregation = {};
  std::string output_folder = "runs";
  bool operator==(const Recipe&) const = default;
};

// The names that recipes use: "mlp", "dirichlet", "adamw", "auto".
std::string ToString(ModelKind kind);
std::string ToString(EncoderTask task);
std::string ToString(NormPlace place);
std::string ToString(DatasetKind kind);
std::string ToString(TokenizerKind kind);
std::string ToString(PartitionKind kind);
std::string ToString(OptimizerKind kind);
std::string ToString(ScheduleKind kind);
std::string ToString(Precision precision);
std::string ToString(Backend backend);

// The recipe's name as part of a file name: letters, digits, '.', '_' and '-', at most 64 of them,
// never empty and never with a dot in front.
std::string SafeName(const std::string& name);

}  // namespace atl::recipes
