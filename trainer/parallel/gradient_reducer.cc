#include "trainer/parallel/gradient_reducer.h"

#include <torch/torch.h>

#include <algorithm>

#include "comms/base/status.h"

namespace atl::trainer {

struct GradientReducer::State {
  struct Bucket {
    std::span<float> values;
    size_t parameters = 0, pending = 0;
  };

  Communicator& communicator;
  at::Tensor buffer;    // [count + 1]: gradients, then the flag
  at::Tensor gradient;  // buffer without the flag
  std::vector<Bucket> buckets;
  std::vector<size_t> bucket_of;  // of each parameter
  std::vector<std::unique_ptr<Work>> under_way;
  size_t started = 0, started_early = 0;
  bool in_step = false;
  absl::Status status;

  explicit State(Communicator& c) : communicator(c) {}

  void Start(Bucket& bucket) {
    auto work = communicator.StartAllReduceSum(bucket.values);
    if (!work.ok()) {
      status.Update(work.status());
    } else {
      under_way.push_back(*std::move(work));
    }
    ++started;
  }

  // A parameter's gradient is complete.
  void OnGradient(size_t parameter) {
    if (!in_step) return;
    Bucket& bucket = buckets[bucket_of[parameter]];
    if (bucket.pending > 0) --bucket.pending;
    if (communicator.size() == 1) return;
    while (started < buckets.size() && buckets[started].pending == 0) Start(buckets[started]);
    // MPI moves a sum forward only when it is called.
    for (auto& work : under_way) work->Test();
  }
};

namespace {

using Hook = torch::autograd::PostAccumulateGradHook;

class GradientHook : public Hook {
 public:
  explicit GradientHook(std::function<void()> body) : body_(std::move(body)) {}
  void operator()(const torch::autograd::Variable&) override { body_(); }

 private:
  std::function<void()> body_;
};

}  // namespace

GradientReducer::GradientReducer(const std::vector<at::Tensor>& parameters,
                                 const std::vector<TensorInfo>& tensors, Communicator& communicator,
                                 const ReducerOptions& options)
    : state_(std::make_shared<State>(communicator)) {
  State& s = *state_;
  const int64_t count = static_cast<int64_t>(tensors.back().offset + tensors.back().elements);
  s.buffer = torch::zeros({count + 1}, torch::kFloat32);
  s.gradient = s.buffer.narrow(0, 0, count);
  float* data = s.buffer.data_ptr<float>();
  const uint64_t bucket_elements = std::max<uint64_t>(1, options.bucket_bytes / sizeof(float));
  s.bucket_of.resize(parameters.size());
  uint64_t end = static_cast<uint64_t>(count) + 1;
  size_t members = 0;
  for (size_t i = parameters.size(); i-- > 0;) {
    ++members;
    s.bucket_of[i] = s.buckets.size();
    uint64_t begin = tensors[i].offset;
    if (end - begin >= bucket_elements || i == 0) {
      s.buckets.push_back({std::span(data + begin, end - begin), members, members});
      members = 0;
      end = begin;
    }
  }
  for (size_t i = 0; i < parameters.size(); ++i) {
    at::Tensor parameter = parameters[i];
    parameter.mutable_grad() = s.gradient
                                   .narrow(0, static_cast<int64_t>(tensors[i].offset),
                                           static_cast<int64_t>(tensors[i].elements))
                                   .view(tensors[i].shape);
    std::weak_ptr<State> weak = state_;
    torch::autograd::impl::set_post_acc_grad_hooks(parameter,
                                                   std::make_unique<GradientHook>([weak, i] {
                                                     if (auto state = weak.lock())
                                                       state->OnGradient(i);
                                                   }));
  }
}

GradientReducer::~GradientReducer() {
  // The hooks that stay on the parameters hold no state any more and do nothing.
  state_->in_step = false;
  state_->under_way.clear();
}

void GradientReducer::BeginStep(bool raise_flag) {
  State& s = *state_;
  s.buffer.zero_();
  if (raise_flag) s.buffer.data_ptr<float>()[s.buffer.numel() - 1] = 1.0f;
  for (auto& bucket : s.buckets) bucket.pending = bucket.parameters;
  s.under_way.clear();
  s.started = s.started_early = 0;
  s.in_step = true;
  s.status = absl::OkStatus();
}

absl::Status GradientReducer::FinishStep() {
  State& s = *state_;
  s.in_step = false;
  if (s.communicator.size() > 1) {
    s.started_early = s.started;
    while (s.started < s.buckets.size()) s.Start(s.buckets[s.started]);
    for (auto& work : s.under_way) s.status.Update(work->Wait());
    s.under_way.clear();
  }
  return Annotate(s.status, "summing gradients over ranks");
}

bool GradientReducer::flag_raised() const {
  float flag = state_->buffer.data_ptr<float>()[state_->buffer.numel() - 1];
  return !(flag == 0.0f);
}

const at::Tensor& GradientReducer::gradient() const { return state_->gradient; }
size_t GradientReducer::bucket_count() const { return state_->buckets.size(); }
size_t GradientReducer::buckets_started_early() const { return state_->started_early; }

}  // namespace atl::trainer
