// torch on the GPU as the trainer uses it: libtorch_cuda.so loaded at run time, parameters and
// gradients as views of flat buffers in memory of the NCCL group, sums behind the backward pass.
#include <torch/types.h>
#include <torch/utils.h>

#include <cstdio>
#include <memory>
#include <thread>

#include "comms/collectives/nccl/nccl_group.h"
#include "tests/gpu/check.h"
#include "trainer/gpu/torch_cuda.h"

namespace atl::gpu {
namespace {

constexpr int64_t kInputs = 96, kHidden = 512, kClasses = 10, kBatch = 128;
constexpr int64_t kCount = kInputs * kHidden + kHidden + kHidden * kClasses + kClasses;

// Four parameters as views of one flat buffer.
struct Model {
  explicit Model(at::Tensor buffer) : flat(std::move(buffer)) {
    int64_t offset = 0;
    for (std::vector<int64_t> shape : std::vector<std::vector<int64_t>>{
             {kHidden, kInputs}, {kHidden}, {kClasses, kHidden}, {kClasses}}) {
      int64_t elements = 1;
      for (int64_t size : shape) elements *= size;
      parameters.push_back(
          flat.narrow(0, offset, elements).view(shape).detach().requires_grad_(true));
      offset += elements;
    }
  }
  at::Tensor Loss(const at::Tensor& inputs, const at::Tensor& labels) const {
    at::Tensor hidden = torch::relu(torch::linear(inputs, parameters[0], parameters[1]));
    return at::cross_entropy_loss(torch::linear(hidden, parameters[2], parameters[3]), labels);
  }
  // Gradients become views of `gradient`.
  void UseGradient(const at::Tensor& gradient) {
    int64_t offset = 0;
    for (at::Tensor& parameter : parameters) {
      parameter.mutable_grad() =
          gradient.narrow(0, offset, parameter.numel()).view(parameter.sizes());
      offset += parameter.numel();
    }
  }

  at::Tensor flat;
  std::vector<at::Tensor> parameters;
};

// Ten steps; the flat buffer after them.
at::Tensor Train(Model& model, const at::Tensor& gradient, const at::Tensor& inputs,
                 const at::Tensor& labels, NcclGroup* group) {
  for (int step = 0; step < 10; ++step) {
    gradient.zero_();
    model.Loss(inputs, labels).backward();
    if (group != nullptr) {
      NcclGroup::Ticket ticket = 0;
      GpuStatus status = group->StartAllReduceSum(gradient.data_ptr<float>(), kCount, ticket);
      if (status.ok()) status = group->Wait(ticket);
      CHECK_THAT(status.ok(), status.message);
    }
    at::NoGradGuard no_grad;
    model.flat.add_(gradient, -0.1);
  }
  return model.flat.cpu();
}

void TrainsAsOnTheCpu() {
  torch::manual_seed(7);
  at::globalContext().setAllowTF32CuBLAS(false);
  const at::Tensor first = torch::randn({kCount}) * 0.05;
  const at::Tensor inputs = torch::randn({kBatch, kInputs});
  const at::Tensor labels = torch::randint(0, kClasses, {kBatch}, torch::kInt64);

  Model on_cpu(first.clone());
  at::Tensor gradient = torch::zeros({kCount});
  on_cpu.UseGradient(gradient);
  const at::Tensor expected = Train(on_cpu, gradient, inputs, labels, nullptr);
  CHECK_THAT(!torch::allclose(expected, first, 1e-3, 1e-3), "the CPU learned nothing");

  std::unique_ptr<NcclGroup> group;
  NcclId id{};
  GpuStatus status = NcclGroup::Prepare(Api(), {.device = 0}, group);
  if (status.ok()) status = group->NewId(id);
  if (status.ok()) status = group->Connect(id, 0, 1);
  float *parameters = nullptr, *gradients = nullptr;
  if (status.ok()) status = group->Allocate(kCount, &parameters);
  if (status.ok()) status = group->Allocate(kCount, &gradients);
  CHECK_THAT(status.ok(), status.message);
  if (!status.ok()) return;
  const auto on_gpu = torch::TensorOptions().dtype(torch::kFloat32).device(torch::kCUDA, 0);
  Model model(torch::from_blob(parameters, {kCount}, on_gpu));
  model.flat.copy_(first);
  at::Tensor gpu_gradient = torch::from_blob(gradients, {kCount}, on_gpu);
  model.UseGradient(gpu_gradient);
  const at::Tensor got =
      Train(model, gpu_gradient, inputs.to(torch::kCUDA), labels.to(torch::kCUDA), group.get());
  const double apart = (got - expected).abs().max().item<double>();
  CHECK_THAT(apart < 1e-4, "parameters differ by up to " << apart);
  CHECK_THAT(model.parameters[0].grad().data_ptr<float>() == gradients,
             "the backward pass writes into the group's memory");
}

}  // namespace
}  // namespace atl::gpu

int main() {
  (void)atl::gpu::Gpus();
  const std::string problem = atl::trainer::LoadTorchCuda();
  if (!problem.empty()) {
    std::fprintf(stderr, "%s\n", problem.c_str());
    return 1;
  }
  return atl::gpu::Run({{"Torch.TrainsAsOnTheCpu", atl::gpu::TrainsAsOnTheCpu}});
}
