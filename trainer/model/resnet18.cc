#include "trainer/model/resnet18.h"

#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>
#include <cmath>

#include "comms/base/status.h"
#include "nlohmann/json.hpp"
#include "trainer/model/outcome.h"
#include "trainer/model/parameter_set.h"

namespace atl::trainer {
namespace {

constexpr int64_t kGroups = 32;
constexpr double kEpsilon = 1e-5;
constexpr uint32_t kSmallSide = 64;  // pixels
constexpr int64_t kWidths[] = {64, 128, 256, 512};
constexpr int kBlocks = 2;  // of each width

struct Convolution {
  at::Tensor weight;  // [out, in, kernel, kernel]
  int64_t stride = 1, padding = 0;
  at::Tensor operator()(const at::Tensor& x) const {
    return at::conv2d(x, weight, {}, stride, padding);
  }
};

struct GroupNorm {
  at::Tensor weight, bias;  // [channels]
  at::Tensor operator()(const at::Tensor& x) const {
    return at::group_norm(x, kGroups, weight, bias, kEpsilon);
  }
};

struct Block {
  Convolution conv1, conv2, shortcut;  // shortcut's weight is undefined where there is none
  GroupNorm norm1, norm2, shortcut_norm;
  at::Tensor operator()(const at::Tensor& x) const {
    at::Tensor y = norm2(conv2(at::relu(norm1(conv1(x)))));
    return at::relu(y + (shortcut.weight.defined() ? shortcut_norm(shortcut(x)) : x));
  }
};

class Resnet18 : public Body {
 public:
  Resnet18(const recipes::Model& model, const ImageShape& input)
      : input_(input), classes_(model.classes), set_(model.lora, 0) {
    const int64_t kernel = small() ? 3 : 7;
    stem_ = AddConvolution("conv1", {input.channels, kWidths[0], kernel, small() ? 1 : 2});
    stem_norm_ = AddNorm("bn1", kWidths[0]);
    int64_t in = kWidths[0];
    for (int stage = 0; stage < 4; ++stage) {
      for (int i = 0; i < kBlocks; ++i) {
        const int64_t stride = stage > 0 && i == 0 ? 2 : 1;
        blocks_.push_back(
            AddBlock(absl::StrCat("layer", stage + 1, ".", i, "."), in, kWidths[stage], stride));
        in = kWidths[stage];
      }
    }
    fc_ = set_.AddLinear("fc", {.in = in, .out = classes_, .role = Role::kHead});
  }

  absl::Status Check() const { return set_.CheckAdapters(); }
  std::vector<NamedTensor> Parameters() const override { return set_.tensors(); }
  std::vector<NamedTensor> Export() const override { return set_.Merged(); }

  at::Tensor Forward(const Batch& batch) override {
    at::Tensor x = at::relu(stem_norm_(stem_(batch.inputs)));
    if (!small()) x = at::max_pool2d(x, 3, 2, 1);
    for (const Block& block : blocks_) x = block(x);
    return fc_(x.mean({2, 3}));
  }

  Outcome Run(const Batch& batch) override { return ClassOutcome(Forward(batch), batch.labels); }

  nlohmann::ordered_json Config() const override {
    return {{"model_type", "atoll"},
            {"architecture",
             {{"kind", "resnet18"},
              {"norm", "group"},
              {"groups", kGroups},
              {"stem_kernel", small() ? 3 : 7},
              {"stem_stride", small() ? 1 : 2},
              {"stem_pool", !small()}}},
            {"num_classes", classes_},
            {"input_shape", {input_.channels, input_.height, input_.width}}};
  }

 private:
  struct Shape {
    int64_t in, out, kernel, stride;
  };

  bool small() const { return std::max(input_.height, input_.width) <= kSmallSide; }

  Convolution AddConvolution(const std::string& name, const Shape& shape) {
    torch::NoGradGuard no_grad;
    at::Tensor weight = torch::empty({shape.out, shape.in, shape.kernel, shape.kernel});
    const double fan_out = static_cast<double>(shape.out * shape.kernel * shape.kernel);
    weight.normal_(0, std::sqrt(2.0 / fan_out));
    return {set_.Add(name + ".weight", weight), shape.stride, shape.kernel / 2};
  }

  GroupNorm AddNorm(const std::string& name, int64_t channels) {
    at::Tensor weight = set_.Add(name + ".weight", torch::ones({channels}));
    return {weight, set_.Add(name + ".bias", torch::zeros({channels}))};
  }

  Block AddBlock(const std::string& name, int64_t in, int64_t out, int64_t stride) {
    Block block;
    block.conv1 = AddConvolution(name + "conv1", {in, out, 3, stride});
    block.norm1 = AddNorm(name + "bn1", out);
    block.conv2 = AddConvolution(name + "conv2", {out, out, 3, 1});
    block.norm2 = AddNorm(name + "bn2", out);
    if (stride != 1 || in != out) {
      block.shortcut = AddConvolution(name + "downsample.0", {in, out, 1, stride});
      block.shortcut_norm = AddNorm(name + "downsample.1", out);
    }
    return block;
  }

  const ImageShape input_;
  const int64_t classes_;
  ParameterSet set_;
  Convolution stem_;
  GroupNorm stem_norm_;
  std::vector<Block> blocks_;
  LinearLayer fc_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Body>> MakeResnet18(const recipes::Recipe& recipe,
                                                   const DataTraits& traits) {
  if (traits.input != InputKind::kImages)
    return absl::InvalidArgumentError("model.kind: resnet18 reads images; the data are none");
  auto body = std::make_unique<Resnet18>(recipe.model, traits.image);
  ATOLL_RETURN_IF_ERROR(body->Check());
  return body;
}

}  // namespace atl::trainer
