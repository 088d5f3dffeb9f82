#include "trainer/parallel/gradient_reducer.h"

#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>

#include "comms/base/status.h"
#include "trainer/model/gradient_place.h"

namespace atl::trainer {

struct GradientReducer::State {
  struct Parameter {
    at::Tensor tensor;
    at::Tensor place;  // its part of the gradient
    size_t bucket = 0;
    bool written = false;  // in this step
    bool taken = false;    // by an operation of the pass that runs, which writes it itself
  };
  struct Bucket {
    uint64_t begin = 0, end = 0;  // of the buffer
    size_t parameters = 0, pending = 0;
  };

  Communicator& communicator;
  const bool scatter;
  std::span<float> memory;  // borrowed
  at::Tensor buffer;        // [count + 1]: gradients, then the flag
  at::Tensor gradient;      // buffer without the flag
  std::vector<Parameter> parameters;
  std::vector<Bucket> buckets;
  std::vector<std::unique_ptr<Work>> under_way;
  size_t started = 0, started_early = 0;
  bool in_step = false, last_pass = false;
  absl::Status no_memory, status;

  State(Communicator& c, bool scatter) : communicator(c), scatter(scatter) {}

  at::Tensor flag() const { return buffer.narrow(0, buffer.numel() - 1, 1); }

  void Keep(absl::StatusOr<std::unique_ptr<Work>> work) {
    if (!work.ok()) {
      status.Update(work.status());
    } else {
      under_way.push_back(*std::move(work));
    }
  }

  void StartNext() {
    const Bucket& bucket = buckets[started++];
    std::span<float> values(buffer.data_ptr<float>() + bucket.begin, bucket.end - bucket.begin);
    if (!scatter) {
      Keep(communicator.StartAllReduceSum(values));
      return;
    }
    if (started == 1) {  // all want the flag
      Keep(communicator.StartAllReduceSum(values.last(1)));
      values = values.first(values.size() - 1);
    }
    Keep(communicator.StartReduceScatterSum(values));
  }

  PlacedGradient Take(size_t index) {
    Parameter& parameter = parameters[index];
    if (!in_step || parameter.taken) return {};
    parameter.taken = true;
    return {parameter.place, parameter.written};
  }

  // A parameter's gradient of this pass is complete.
  void OnGradient(size_t index) {
    if (!in_step) return;
    Parameter& parameter = parameters[index];
    at::Tensor& gradient = parameter.tensor.mutable_grad();
    if (gradient.data_ptr() != parameter.place.data_ptr()) {
      torch::NoGradGuard no_grad;
      // What an operation has put into the place itself is part of `gradient` by now.
      parameter.written && !parameter.taken ? parameter.place.add_(gradient)
                                            : parameter.place.copy_(gradient);
    }
    parameter.written = true;
    parameter.taken = false;
    gradient.reset();
    if (!last_pass || communicator.size() == 1) return;
    Bucket& bucket = buckets[parameter.bucket];
    if (bucket.pending > 0) --bucket.pending;
    while (started < buckets.size() && buckets[started].pending == 0) StartNext();
    // Sums move forward only when they are asked.
    for (auto& work : under_way) work->Test();
  }
};

namespace {

// Stays with the parameter; does nothing once the reducer is gone.
template <typename State>
class Hook : public torch::autograd::PostAccumulateGradHook, public GradientPlace {
 public:
  Hook(std::weak_ptr<State> state, size_t index) : state_(std::move(state)), index_(index) {}
  void operator()(const torch::autograd::Variable&) override {
    if (auto state = state_.lock()) state->OnGradient(index_);
  }
  PlacedGradient Take() override {
    auto state = state_.lock();
    return state ? state->Take(index_) : PlacedGradient{};
  }

 private:
  const std::weak_ptr<State> state_;
  const size_t index_;
};

}  // namespace

GradientReducer::GradientReducer(const std::vector<at::Tensor>& parameters,
                                 const std::vector<TensorInfo>& tensors, Communicator& communicator,
                                 const ReducerOptions& options)
    : state_(std::make_shared<State>(communicator, options.scatter)) {
  State& s = *state_;
  const uint64_t count = tensors.back().offset + tensors.back().elements;
  const auto floats = torch::TensorOptions().dtype(torch::kFloat32).device(options.device);
  auto memory = communicator.Borrow(count + 1);
  s.no_memory = memory.status();
  if (memory.ok()) {
    s.memory = *memory;
    s.buffer = torch::from_blob(s.memory.data(), {static_cast<int64_t>(count) + 1}, floats);
  } else {
    s.buffer = torch::zeros({static_cast<int64_t>(count) + 1}, floats);
  }
  s.gradient = s.buffer.narrow(0, 0, static_cast<int64_t>(count));
  const uint64_t bucket_elements = std::max<uint64_t>(1, options.bucket_bytes / sizeof(float));
  s.parameters.resize(parameters.size());
  State::Bucket bucket{.end = count + 1};
  for (size_t i = parameters.size(); i-- > 0;) {
    State::Parameter& parameter = s.parameters[i];
    parameter.tensor = parameters[i];
    parameter.place = s.gradient
                          .narrow(0, static_cast<int64_t>(tensors[i].offset),
                                  static_cast<int64_t>(tensors[i].elements))
                          .view(tensors[i].shape);
    parameter.bucket = s.buckets.size();
    ++bucket.parameters;
    bucket.begin = tensors[i].offset;
    if (bucket.end - bucket.begin >= bucket_elements || i == 0) {
      s.buckets.push_back(bucket);
      bucket = {.end = bucket.begin};
    }
    torch::autograd::impl::set_post_acc_grad_hooks(parameter.tensor,
                                                   std::make_unique<Hook<State>>(state_, i));
  }
}

GradientReducer::~GradientReducer() {
  State& s = *state_;
  s.in_step = false;
  s.under_way.clear();
  for (State::Parameter& parameter : s.parameters) parameter.tensor.mutable_grad().reset();
  if (!s.memory.empty()) s.communicator.GiveBack(s.memory);
}

void GradientReducer::BeginStep() {
  State& s = *state_;
  for (State::Parameter& parameter : s.parameters) {
    parameter.written = parameter.taken = false;
    parameter.tensor.mutable_grad().reset();
  }
  for (auto& bucket : s.buckets) bucket.pending = bucket.parameters;
  s.started = s.started_early = 0;
  s.status = s.no_memory;
  s.last_pass = false;
  s.in_step = true;
}

void GradientReducer::LastPass(bool raise_flag) {
  state_->flag().fill_(raise_flag ? 1.0f : 0.0f);
  state_->last_pass = true;
}

absl::Status GradientReducer::FinishStep() {
  State& s = *state_;
  s.in_step = false;
  for (State::Parameter& parameter : s.parameters) {
    if (!parameter.written) parameter.place.zero_();  // its bucket has not started
  }
  if (s.communicator.size() > 1) {
    s.started_early = s.started;
    while (s.started < s.buckets.size()) s.StartNext();
    for (auto& work : s.under_way) s.status.Update(work->Wait());
    s.under_way.clear();
  }
  for (State::Parameter& parameter : s.parameters)
    parameter.tensor.mutable_grad() = parameter.place;
  return Annotate(s.status, "summing gradients over ranks");
}

bool GradientReducer::flag_raised() const { return !(state_->flag().item<float>() == 0.0f); }

const at::Tensor& GradientReducer::gradient() const { return state_->gradient; }

std::vector<Shard> GradientReducer::owned(uint32_t rank) const {
  if (!state_->scatter) return {{0, static_cast<uint64_t>(state_->gradient.numel())}};
  return shares(rank);
}

std::vector<Shard> GradientReducer::shares(uint32_t rank) const {
  const State& s = *state_;
  const uint64_t count = static_cast<uint64_t>(s.gradient.numel());
  std::vector<Shard> out;
  for (auto bucket = s.buckets.rbegin(); bucket != s.buckets.rend(); ++bucket) {
    const uint64_t end = std::min(bucket->end, count);  // without the flag
    const Shard shard = ShardOf(end - bucket->begin, rank, s.communicator.size());
    if (shard.size() > 0) out.push_back({bucket->begin + shard.first, bucket->begin + shard.last});
  }
  return out;
}

absl::Status GradientReducer::GatherOwned(std::span<float> values) {
  State& s = *state_;
  if (!s.scatter || s.communicator.size() == 1) return absl::OkStatus();
  std::vector<std::unique_ptr<Work>> works;
  for (const State::Bucket& bucket : s.buckets) {
    const uint64_t end = std::min<uint64_t>(bucket.end, values.size());
    ATOLL_ASSIGN_OR_RETURN(
        auto work, s.communicator.StartAllGather(values.subspan(bucket.begin, end - bucket.begin)));
    works.push_back(std::move(work));
  }
  for (auto& work : works) ATOLL_RETURN_IF_ERROR(Annotate(work->Wait(), "sharing parameters"));
  return absl::OkStatus();
}

size_t GradientReducer::bucket_count() const { return state_->buckets.size(); }
size_t GradientReducer::buckets_started_early() const { return state_->started_early; }

}  // namespace atl::trainer
