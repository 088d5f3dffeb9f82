// A typed recipe: what one job trains, on what, where and how. Read from a Transformer Lab
// task.yaml; every value's type, default, bounds and doc stand in properties.cc.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace atl::recipes {

enum class ModelKind { kMlp, kCnn };
enum class PartitionKind { kIid, kDirichlet, kLabels };
enum class OptimizerKind { kSgd, kAdam, kAdamW };
enum class Backend { kAuto, kMpi };

struct Resources {
  int cpus = 1;  // a site's, as Transformer Lab means it
  int memory_gb = 1;
  bool operator==(const Resources&) const = default;
};

struct Model {
  ModelKind kind = ModelKind::kCnn;
  std::vector<int> channels = {6, 16};  // cnn: of the two convolutions
  std::vector<int>
      hidden;  // widths of the dense hidden layers; empty: mlp [200], cnn of niid_bench
               // [120, 84], cnn with channels [32, 64] [512] as in the FedAvg paper
  int classes = 10;
  bool operator==(const Model&) const = default;
};

struct Partition {
  PartitionKind kind = PartitionKind::kIid;
  double alpha = 0.5;  // dirichlet
  int labels = 2;      // labels(k): label classes a site
  bool operator==(const Partition&) const = default;
};

struct Data {
  std::string dataset = "fashion-mnist";
  std::string folder;  // empty: where Debian's dataset-fashion-mnist puts it
  Partition partition;
  bool evaluate = true;  // the data set's public test images judge each new model
  int limit = 0;         // first so many training examples only; 0: all
  int test_limit = 0;    // first so many test examples only; 0: all
  bool operator==(const Data&) const = default;
};

struct Site {
  int count = 1;  // sites that `atoll run` starts
  int ranks = 1;  // MPI ranks a site
  Backend backend = Backend::kAuto;
  bool operator==(const Site&) const = default;
};

struct Optimizer {
  OptimizerKind kind = OptimizerKind::kSgd;
  double lr = 0.05;
  double momentum = 0.0;  // sgd
  double weight_decay = 0.0;
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;  // adam, adamw
  bool operator==(const Optimizer&) const = default;
};

struct Train {
  Optimizer optimizer;
  int batch_size = 64;   // per rank
  int local_epochs = 1;  // per round; alone: all of them
  uint64_t seed = 1;
  double bucket_mb = 4;  // gradient all-reduce bucket
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
  int group_size_max = 255;   // more sites are split into groups
  int corrupt_sites_max = 0;  // c; 0: none stated
  std::string scale = "clip";               // or "last_aggregate"
  std::string mask_cipher = "aes-256-ctr";  // or "chacha20"
  std::string aead = "aes-256-gcm";         // or "chacha20-poly1305"
  bool operator==(const SecureAggregation&) const = default;
};

struct Recipe {
  std::string name;
  std::string run;
  Resources resources;
  Model model;
  Data data;
  Site site;
  Train train;
  Federation federation;
  SecureAggregation secure_aggregation;
  std::string output_folder = "runs";
  bool operator==(const Recipe&) const = default;
};

// The names that recipes use: "mlp", "dirichlet", "adamw", "auto".
std::string ToString(ModelKind kind);
std::string ToString(PartitionKind kind);
std::string ToString(OptimizerKind kind);
std::string ToString(Backend backend);

// The recipe's name as part of a file name: letters, digits, '.', '_' and '-', at most 64 of them,
// never empty and never with a dot in front.
std::string SafeName(const std::string& name);

}  // namespace atl::recipes
