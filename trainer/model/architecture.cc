#include "trainer/model/architecture.h"

#include "comms/base/status.h"
#include "kernels/vector_layout.h"

namespace atl::trainer {
namespace {

constexpr int64_t kWideChannels = 32;
constexpr int64_t kMaxWidth = 1 << 20;

// One side of the image after a convolution and a pooling.
int64_t SideAfter(int64_t side, const Architecture& a) {
  return (side + 2 * a.padding - a.kernel + 1) / 2;
}

absl::Status CheckWidths(const std::vector<int64_t>& widths, const char* key) {
  for (int64_t width : widths) {
    if (width < 1 || width > kMaxWidth) {
      return absl::InvalidArgumentError(
          absl::StrCat(key, ": ", width, " must be in [1, ", kMaxWidth, "]"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Architecture> ResolveArchitecture(const recipes::Model& model,
                                                 const ImageShape& input) {
  Architecture a;
  a.kind = model.kind;
  a.input = input;
  a.hidden.assign(model.hidden.begin(), model.hidden.end());
  a.classes = model.classes;
  if (model.kind == recipes::ModelKind::kCnn) {
    a.channels.assign(model.channels.begin(), model.channels.end());
    ATOLL_RETURN_IF_ERROR(CheckWidths(a.channels, "model.channels"));
    if (a.channels.empty())
      return absl::InvalidArgumentError("model.channels: a cnn needs at least one convolution");
    bool wide = a.channels.front() >= kWideChannels;
    a.padding = wide ? 2 : 0;
    if (a.hidden.empty())
      a.hidden = wide ? std::vector<int64_t>{512} : std::vector<int64_t>{120, 84};
    if (FlatFeatures(a) <= 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("model.channels: nothing is left of an image of ", input.height, " by ",
                       input.width, " pixels after ", a.channels.size(), " convolutions"));
    }
  } else if (a.hidden.empty()) {
    a.hidden = {200};
  }
  ATOLL_RETURN_IF_ERROR(CheckWidths(a.hidden, "model.hidden"));
  ATOLL_RETURN_IF_ERROR(CheckWidths({a.classes}, "model.classes"));
  double elements = 0;
  for (const TensorInfo& tensor : ParametersOf(a)) elements += static_cast<double>(tensor.elements);
  if (elements > static_cast<double>(kernels::kMaxElements)) {
    return absl::InvalidArgumentError(
        absl::StrCat("model: ", elements, " parameters; at most ", kernels::kMaxElements));
  }
  return a;
}

int64_t FlatFeatures(const Architecture& a) {
  int64_t height = a.input.height, width = a.input.width;
  if (a.kind == recipes::ModelKind::kMlp) return int64_t{a.input.channels} * height * width;
  for (size_t i = 0; i < a.channels.size(); ++i) {
    height = SideAfter(height, a);
    width = SideAfter(width, a);
    if (height <= 0 || width <= 0) return 0;
  }
  return a.channels.back() * height * width;
}

std::vector<TensorInfo> ParametersOf(const Architecture& a) {
  std::vector<TensorInfo> out;
  uint64_t offset = 0;
  auto add = [&](const std::string& name, std::vector<int64_t> shape) {
    uint64_t elements = 1;
    for (int64_t size : shape) elements *= static_cast<uint64_t>(size);
    out.push_back({name, std::move(shape), offset, elements});
    offset += elements;
  };
  if (a.kind == recipes::ModelKind::kCnn) {
    int64_t in = a.input.channels;
    for (size_t i = 0; i < a.channels.size(); ++i) {
      std::string layer = absl::StrCat("conv", i + 1);
      add(layer + ".weight", {a.channels[i], in, a.kernel, a.kernel});
      add(layer + ".bias", {a.channels[i]});
      in = a.channels[i];
    }
  }
  int64_t in = FlatFeatures(a);
  std::vector<int64_t> widths = a.hidden;
  widths.push_back(a.classes);
  for (size_t i = 0; i < widths.size(); ++i) {
    std::string layer = absl::StrCat("fc", i + 1);
    add(layer + ".weight", {widths[i], in});
    add(layer + ".bias", {widths[i]});
    in = widths[i];
  }
  return out;
}

}  // namespace atl::trainer
