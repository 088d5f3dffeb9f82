// Atoll's side of bench_ddp: one rank under mpirun, which trains by TrainLocally on a batch that
// never changes, for as many steps as it is told to.
//
//   mpirun -np 2 bench_train_step --model cnn|mlp|encoder --precision fp32|bf16 --batch N --lr X
//   --folder DIR
//
// At first writes what the other side needs to start from the same place: DIR/names (a line each),
// DIR/parameters (float32, in that order), and of each rank DIR/inputs.R (float32 images or int64
// tokens) and DIR/labels.R (int64). Then rank 0 reads commands, a line each, and answers with a
// line:
//   run N     N steps; the milliseconds they took, from and to a barrier
//   save FILE the parameters
#include <torch/types.h>
#include <torch/utils.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <numeric>
#include <string>

#include "comms/base/status.h"
#include "comms/collectives/mpi/mpi_communicator.h"
#include "trainer/loop/train.h"
#include "trainer/parallel/threads.h"

namespace atl::trainer {
namespace {

using Clock = std::chrono::steady_clock;

struct Options {
  std::string model = "cnn", precision = "fp32", folder = ".";
  int batch = 64;
  double lr = 0.05, bucket_mb = 4;
  bool sharded = false;
};

constexpr int kTokens = 64;              // of an example
constexpr uint32_t kVocabulary = 30522;  // of BERT's uncased models, MiniLM's too

DataTraits TraitsFor(const Options& options) {
  if (options.model != "encoder") return {};
  return {.input = InputKind::kTokens, .vocabulary = kVocabulary};
}

// One batch, whatever is asked for.
class SameBatch : public Dataset {
 public:
  SameBatch(const Options& options, uint32_t rank, uint32_t examples)
      : examples_(examples), traits_(TraitsFor(options)) {
    torch::manual_seed(100 + rank);
    const int batch = options.batch;
    batch_ = {.examples = static_cast<uint32_t>(batch),
              .inputs = options.model == "encoder"
                            ? torch::randint(0, kVocabulary, {batch, kTokens}, torch::kInt64)
                            : torch::randn({batch, 1, 28, 28}),
              .labels = torch::randint(0, 10, {batch}, torch::kInt64)};
  }
  uint32_t size() const override { return examples_; }
  const DataTraits& traits() const override { return traits_; }
  Batch MakeBatch(std::span<const uint32_t>, const Draw&) const override { return batch_; }
  std::span<const uint32_t> labels() const override { return {}; }
  std::span<const uint32_t> sites() const override { return {}; }

 private:
  const uint32_t examples_;
  const DataTraits traits_;
  Batch batch_;
};

recipes::Recipe RecipeFor(const Options& options) {
  recipes::Recipe recipe;
  if (options.model == "cnn") {
    recipe.model.kind = recipes::ModelKind::kCnn;
    recipe.model.channels = {32, 64};
  } else if (options.model == "encoder") {  // the sizes of all-MiniLM-L6
    recipe.model.kind = recipes::ModelKind::kEncoder;
    recipe.model.task = recipes::EncoderTask::kClassify;
    recipe.model.layers = 6;
    recipe.model.heads = 12;
    recipe.model.hidden_size = 384;
    recipe.model.intermediate_size = 1536;
    recipe.model.max_length = 512;
  } else {
    recipe.model.kind = recipes::ModelKind::kMlp;
    recipe.model.hidden = {4096, 4096};
  }
  recipe.site.precision =
      options.precision == "bf16" ? recipes::Precision::kBf16 : recipes::Precision::kFp32;
  recipe.train.batch_size = options.batch;
  recipe.train.bucket_mb = options.bucket_mb;
  recipe.train.optimizer.lr = options.lr;
  recipe.train.optimizer.sharded = options.sharded;
  return recipe;
}

template <typename T>
void Write(const std::string& path, const T* data, uint64_t count) {
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(count * sizeof(T)));
}

absl::StatusOr<double> TimedSteps(uint64_t steps, const Options& options,
                                  const recipes::Recipe& recipe, Network& network,
                                  Communicator& world) {
  const auto per_step = static_cast<uint64_t>(options.batch) * world.size();
  std::vector<uint32_t> examples(steps * per_step);
  std::iota(examples.begin(), examples.end(), 0);
  const SameBatch data(options, world.rank(), static_cast<uint32_t>(examples.size()));
  TrainJob job{.options = &recipe.train,
               .precision = recipe.site.precision,
               .data = &data,
               .examples = examples};
  ATOLL_RETURN_IF_ERROR(world.Barrier());
  const auto begin = Clock::now();
  ATOLL_RETURN_IF_ERROR(TrainLocally(network, job, world, {}).status());
  ATOLL_RETURN_IF_ERROR(world.Barrier());
  return std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
}

absl::Status Serve(const Options& options, Communicator& world) {
  ConfigureTorch(1);
  const recipes::Recipe recipe = RecipeFor(options);
  ATOLL_ASSIGN_OR_RETURN(auto network, Network::Create(recipe, TraitsFor(options)));
  const std::string rank = std::to_string(world.rank());
  const Batch batch = SameBatch(options, world.rank(), 0).MakeBatch({}, {});
  Write(options.folder + "/inputs." + rank, static_cast<const uint8_t*>(batch.inputs.data_ptr()),
        batch.inputs.nbytes());
  Write(options.folder + "/labels." + rank, batch.labels.data_ptr<int64_t>(),
        static_cast<uint64_t>(batch.labels.numel()));
  if (world.rank() == 0) {
    Write(options.folder + "/parameters", network->values().data(), network->values().size());
    std::ofstream names(options.folder + "/names");
    for (const TensorInfo& tensor : network->tensors()) names << tensor.name << '\n';
  }
  ATOLL_RETURN_IF_ERROR(world.Barrier());
  if (world.rank() == 0) std::printf("ready: %s\n", world.name().c_str());
  for (;;) {
    std::fflush(stdout);
    std::string verb, argument;
    uint64_t steps = 0;  // 0: the end
    if (world.rank() == 0) {
      while (std::cin >> verb >> argument && verb == "save") {
        Write(argument, network->values().data(), network->values().size());
        std::printf("saved\n");
        std::fflush(stdout);
      }
      if (std::cin) steps = std::strtoull(argument.c_str(), nullptr, 10);
    }
    uint8_t bytes[8];
    std::memcpy(bytes, &steps, sizeof(bytes));
    ATOLL_RETURN_IF_ERROR(world.Broadcast(bytes));
    std::memcpy(&steps, bytes, sizeof(bytes));
    if (steps == 0) return absl::OkStatus();
    ATOLL_ASSIGN_OR_RETURN(double ms, TimedSteps(steps, options, recipe, *network, world));
    if (world.rank() == 0) std::printf("%.6f\n", ms);
  }
}

}  // namespace
}  // namespace atl::trainer

int main(int argc, char** argv) {
  atl::trainer::Options options;
  CLI::App app{"Atoll's side of bench_ddp", "bench_train_step"};
  app.add_option("--model", options.model)->check(CLI::IsMember({"cnn", "mlp", "encoder"}));
  app.add_option("--precision", options.precision)->check(CLI::IsMember({"fp32", "bf16"}));
  app.add_option("--batch", options.batch)->check(CLI::Range(1, 65536));
  app.add_option("--lr", options.lr);
  app.add_option("--bucket-mb", options.bucket_mb);
  app.add_flag("--sharded", options.sharded);
  app.add_option("--folder", options.folder)->check(CLI::ExistingDirectory);
  CLI11_PARSE(app, argc, argv);
  auto session = atl::MpiSession::Start();
  if (!session.ok()) {
    std::fprintf(stderr, "bench_train_step: %s\n", atl::ToString(session.status()).c_str());
    return 1;
  }
  const absl::Status status = atl::trainer::Serve(options, (*session)->world());
  if (status.ok()) return 0;
  std::fprintf(stderr, "bench_train_step: %s\n", atl::ToString(status).c_str());
  (*session)->Abort(1);
}
