#include "trainer/serve/session.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstring>

#include "comms/base/status.h"
#include "recipes/schema/load.h"
#include "trainer/data/partition.h"
#include "trainer/loop/evaluate.h"
#include "trainer/loop/train.h"
#include "trainer/parallel/agree.h"
#include "trainer/parallel/threads.h"

namespace atl::trainer {
namespace {

using sitelink::Frame;
using sitelink::MessageType;

constexpr int kConnectTimeoutMs = 10'000;

absl::Status OutOfTurn(const char* what, const char* why) {
  return Alike(absl::FailedPreconditionError(absl::StrCat("the agent sent ", what, " ", why)));
}

}  // namespace

absl::Status Session::Run(const std::string& link_address) {
  absl::Status status = Greet(link_address);
  bool stopped = false;
  while (status.ok() && !stopped) {
    absl::StatusOr<Frame> frame = NextFrame();
    status = frame.ok() ? Handle(*frame, stopped) : frame.status();
  }
  // A stop asked for in the middle of a command ends it as cancelled; only rank 0 knows whether
  // Stop or something worse was the reason.
  if (absl::IsCancelled(status))
    status = inbox_ == nullptr ? absl::OkStatus() : Alike(inbox_->status());
  if (inbox_ != nullptr && !status.ok())
    (void)Tell(sitelink::Failure{std::string(status.message())});
  return status;
}

absl::Status Session::Greet(const std::string& link_address) {
  absl::Status connected;
  if (communicator_.rank() == 0) {
    auto link = sitelink::Connect(link_address, kConnectTimeoutMs);
    connected = link.status();
    if (link.ok()) inbox_ = std::make_unique<Inbox>(*std::move(link));
    launch_key_ = OpensslSuite().AgreementKeyPair(SystemRandom().Draw32());
  }
  ATOLL_RETURN_IF_ERROR(Agree(communicator_, connected));
  // All ranks open sealed stream keys themselves; the launch key never leaves the site's ranks.
  ATOLL_RETURN_IF_ERROR(communicator_.Broadcast(launch_key_.secret.span()));
  ATOLL_RETURN_IF_ERROR(communicator_.Broadcast(launch_key_.public_key));
  ByteWriter pid;
  pid.U32(static_cast<uint32_t>(getpid()));
  ATOLL_ASSIGN_OR_RETURN(Bytes pids,
                         communicator_.Gather(pid.bytes(), uint64_t{4} * communicator_.size()));
  sitelink::Hello hello{
      .ranks = communicator_.size(), .launch_key = launch_key_.public_key, .pids = {}};
  ByteReader in(pids);
  for (size_t i = 0; i < pids.size() / 4; ++i) hello.pids.push_back(in.U32());
  return Tell(hello);
}

absl::StatusOr<Frame> Session::NextFrame() {
  // Fixed-size head first: u8 whether there is a frame, u16 type, u64 length.
  Bytes head(11, 0);
  Frame frame;
  absl::Status status;
  if (communicator_.rank() == 0) {
    auto next = inbox_->Next();
    status = next.status();
    if (next.ok()) frame = *std::move(next);
    ByteWriter out;
    out.U8(status.ok() ? 1 : 0).U16(frame.type).U64(frame.payload.size());
    head = std::move(out).Take();
  }
  ATOLL_RETURN_IF_ERROR(communicator_.Broadcast(head));
  ByteReader in(head);
  bool here = in.U8() == 1;
  frame.type = in.U16();
  uint64_t size = in.U64();
  if (!here)
    return Alike(status.ok() ? absl::UnavailableError("the site link was closed") : status);
  frame.payload.resize(std::min(size, sitelink::kMaxFrameBytes));
  ATOLL_RETURN_IF_ERROR(communicator_.Broadcast(frame.payload));
  return frame;
}

absl::Status Session::Handle(const Frame& frame, bool& stopped) {
  auto decode_and = [&]<typename M>(absl::Status (Session::*handler)(const M&)) -> absl::Status {
    auto message = sitelink::Decode<M>(frame.payload);
    if (!message.ok()) return Alike(message.status());
    if (!setup_ && M::kType != MessageType::kSetup) return OutOfTurn("a command", "before Setup");
    return (this->*handler)(*message);
  };
  switch (static_cast<MessageType>(frame.type)) {
    case MessageType::kSetup:
      return decode_and(&Session::OnSetup);
    case MessageType::kModelChunk:
      return decode_and(&Session::OnModelChunk);
    case MessageType::kTrain:
      return decode_and(&Session::OnTrain);
    case MessageType::kPrepare:
      return decode_and(&Session::OnPrepare);
    case MessageType::kRelease:
      return decode_and(&Session::OnRelease);
    case MessageType::kEvaluate:
      return decode_and(&Session::OnEvaluate);
    case MessageType::kStop:
      stopped = true;
      return absl::OkStatus();
    default:
      return Alike(absl::InvalidArgumentError(
          absl::StrCat("the agent sent a message of unknown type ", frame.type)));
  }
}

absl::Status Session::OnSetup(const sitelink::Setup& setup) {
  if (setup_) return OutOfTurn("Setup", "twice");
  auto recipe = recipes::ParseRecipe(setup.recipe_yaml, "the agent's recipe");
  if (!recipe.ok()) return Alike(recipe.status());
  recipe_ = *std::move(recipe);
  auto traits = TraitsOf(recipe_);
  ATOLL_RETURN_IF_ERROR(Agree(communicator_, traits.status()));
  // The site's share of this machine, not all of it: other sites may run here too.
  uint32_t cores =
      std::min(UsableCores(), static_cast<uint32_t>(std::max(1, recipe_.resources.cpus)));
  ConfigureTorch(ThreadsPerRank(cores, communicator_.local_size()));
  auto network = Network::Create(recipe_, *traits);
  ATOLL_RETURN_IF_ERROR(Agree(communicator_, network.status()));
  network_ = *std::move(network);
  ATOLL_ASSIGN_OR_RETURN(compute_, SetUpCompute(recipe_.site.backend, communicator_));
  if (communicator_.rank() == 0) {
    std::printf("backend: %s\n", compute_->line.c_str());
    std::fflush(stdout);
  }
  const uint64_t parameters = network_->values().size();
  if (parameters != setup.parameters) {
    return Alike(absl::InvalidArgumentError(absl::StrCat("the recipe's model has ", parameters,
                                                         " parameters, but the agent says ",
                                                         setup.parameters)));
  }
  global_.resize(parameters);
  chunk_here_.assign((parameters + kernels::kChunkElements - 1) / kernels::kChunkElements, false);
  setup_ = setup;
  return absl::OkStatus();
}

absl::Status Session::OnModelChunk(const sitelink::ModelChunk& chunk) {
  update_.reset();   // it was relative to another model
  ahead_.Discard();  // and so was its context
  if (chunk.index >= chunk_here_.size()) {
    return Alike(absl::InvalidArgumentError(absl::StrCat(
        "model chunk ", chunk.index, " of a model of ", chunk_here_.size(), " chunks")));
  }
  const uint64_t first = chunk.index * kernels::kChunkElements;
  const uint64_t count = std::min(kernels::kChunkElements, global_.size() - first);
  if (chunk.values.size() != count * sizeof(float)) {
    return Alike(absl::InvalidArgumentError(absl::StrCat("model chunk ", chunk.index, " has ",
                                                         chunk.values.size(), " bytes, not ",
                                                         count * sizeof(float))));
  }
  std::memcpy(global_.data() + first, chunk.values.data(), chunk.values.size());
  chunk_here_[chunk.index] = true;
  return absl::OkStatus();
}

absl::Status Session::TakeGlobalModel() {
  size_t missing = static_cast<size_t>(std::count(chunk_here_.begin(), chunk_here_.end(), false));
  if (missing > 0) {
    return Alike(absl::FailedPreconditionError(absl::StrCat(
        "the agent did not send ", missing, " of ", chunk_here_.size(), " chunks of the model")));
  }
  update_.reset();
  std::copy(global_.begin(), global_.end(), network_->values().begin());
  return absl::OkStatus();
}

absl::Status Session::LoadTrainingData() {
  auto load = [&]() -> absl::Status {
    ATOLL_ASSIGN_OR_RETURN(std::unique_ptr<Dataset> data, LoadDataset(recipe_, Split::kTrain));
    const PartitionKeys keys = {.examples = data->size(),
                                .labels = data->labels(),
                                .classes = static_cast<uint32_t>(recipe_.model.classes),
                                .sites_of = data->sites(),
                                .data_sites = static_cast<uint32_t>(data->site_names().size())};
    ATOLL_ASSIGN_OR_RETURN(Partition parts, MakePartition(recipe_.data.partition, keys,
                                                          setup_->site_count, recipe_.train.seed));
    examples_ = std::move(parts[setup_->site_index]);
    train_set_ = std::move(data);
    return absl::OkStatus();
  };
  return Agree(communicator_, load());
}

absl::Status Session::OnTrain(const sitelink::Train& train) {
  ATOLL_RETURN_IF_ERROR(TakeGlobalModel());
  if (inbox_) inbox_->SetBusy(true);
  if (!train_set_) ATOLL_RETURN_IF_ERROR(LoadTrainingData());
  TrainJob job{.options = &recipe_.train,
               .precision = recipe_.site.precision,
               .data = train_set_.get(),
               .examples = examples_,
               .round = train.round,
               .site = setup_->site_index,
               .rounds_before = std::max(1u, train.round) - 1,  // they count from 1
               .rounds = static_cast<uint32_t>(recipe_.federation.rounds),
               .device = compute_->device};
  ATOLL_ASSIGN_OR_RETURN(Metrics metrics, TrainLocally(*network_, job, *compute_->communicator,
                                                       Hooks(train.round, "train")));
  update_ = Update{train.round, metrics};
  if (inbox_) inbox_->SetBusy(false);
  return Tell(sitelink::Trained{train.round});
}

absl::Status Session::OnEvaluate(const sitelink::Evaluate& evaluate) {
  ATOLL_RETURN_IF_ERROR(TakeGlobalModel());
  if (inbox_) inbox_->SetBusy(true);
  if (!test_set_) {
    auto data = LoadDataset(recipe_, Split::kTest);
    ATOLL_RETURN_IF_ERROR(Agree(communicator_, data.status()));
    test_set_ = *std::move(data);
  }
  ATOLL_ASSIGN_OR_RETURN(Metrics metrics,
                         trainer::Evaluate(*network_, *test_set_, recipe_.site.precision,
                                           communicator_, Hooks(evaluate.round, "evaluate")));
  if (!std::isfinite(metrics.loss_sum)) {
    return Alike(absl::AbortedError(absl::StrCat("the loss on the test set is ", metrics.loss_sum,
                                                 " in round ", evaluate.round)));
  }
  if (inbox_) inbox_->SetBusy(false);
  return Tell(
      sitelink::Evaluated{evaluate.round, metrics.examples, metrics.correct, metrics.loss_sum});
}

LoopHooks Session::Hooks(uint32_t round, const char* phase) {
  LoopHooks hooks;
  if (inbox_ == nullptr) return hooks;
  hooks.stop = [this] { return inbox_->stop(); };
  hooks.progress = [this, round, phase](const StepProgress& p) {
    // A link that is gone shows in stop().
    (void)Tell(sitelink::Progress{round, phase, p.step, p.steps, p.examples_per_s});
  };
  return hooks;
}

}  // namespace atl::trainer
