#include "trainer/data/image_set.h"

#include <algorithm>
#include <system_error>

#include "comms/base/status.h"
#include "trainer/data/idx.h"

namespace atl::trainer {
namespace {

constexpr const char* kFashionMnistFolder = "/usr/share/datasets/fashion-mnist";
constexpr uint32_t kClasses = 10;

absl::Status CheckKnown(const recipes::Data& data) {
  if (data.dataset == recipes::DatasetKind::kFashionMnist) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("data.dataset: ", ToString(data.dataset), " has no images that Atoll reads"));
}

// `name`.gz, or `name` for those who unpacked it.
absl::StatusOr<IdxArray> ReadPart(const std::filesystem::path& folder, const std::string& name) {
  std::error_code error;
  auto path = folder / (name + ".gz");
  if (!std::filesystem::exists(path, error) && std::filesystem::exists(folder / name, error))
    path = folder / name;
  auto array = ReadIdx(path);
  if (array.ok() || !absl::IsNotFound(array.status())) return array;
  return absl::NotFoundError(
      absl::StrCat("data set fashion-mnist: no file ", path.string(),
                   "; install it (apt install dataset-fashion-mnist) or set data.folder"));
}

}  // namespace

absl::StatusOr<ImageShape> ShapeOf(const recipes::Data& data) {
  ATOLL_RETURN_IF_ERROR(CheckKnown(data));
  return ImageShape{1, 28, 28};
}

absl::StatusOr<Normalisation> NormalisationOf(const recipes::Data& data) {
  ATOLL_RETURN_IF_ERROR(CheckKnown(data));
  return Normalisation{{0.2860f}, {0.3530f}};  // of the 60,000 training images
}

absl::StatusOr<ImageSet> LoadImageSet(const recipes::Data& data, Split split) {
  ATOLL_ASSIGN_OR_RETURN(ImageShape shape, ShapeOf(data));
  ImageSet set;
  ATOLL_ASSIGN_OR_RETURN(set.normalisation, NormalisationOf(data));
  std::filesystem::path folder = data.folder.empty() ? kFashionMnistFolder : data.folder;
  std::string prefix = split == Split::kTrain ? "train" : "t10k";
  ATOLL_ASSIGN_OR_RETURN(IdxArray images, ReadPart(folder, prefix + "-images-idx3-ubyte"));
  ATOLL_ASSIGN_OR_RETURN(IdxArray labels, ReadPart(folder, prefix + "-labels-idx1-ubyte"));
  std::string where = absl::StrCat(folder.string(), ": ", prefix, " set: ");
  if (images.shape.size() != 3 || images.shape[1] != shape.height ||
      images.shape[2] != shape.width) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, "images are not of ", shape.height, " by ", shape.width, " pixels"));
  }
  if (labels.shape.size() != 1 || labels.shape[0] != images.shape[0]) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, images.shape[0], " images, but ", labels.values.size(), " labels"));
  }
  auto wrong = std::find_if(labels.values.begin(), labels.values.end(),
                            [](uint8_t l) { return l >= kClasses; });
  if (wrong != labels.values.end()) {
    return absl::InvalidArgumentError(absl::StrCat(where, "label ", *wrong, " of image ",
                                                   wrong - labels.values.begin(), " must be < ",
                                                   kClasses));
  }
  set.count = images.shape[0];
  set.channels = shape.channels;
  set.height = shape.height;
  set.width = shape.width;
  set.classes = kClasses;
  set.pixels = std::move(images.values);
  set.labels.assign(labels.values.begin(), labels.values.end());
  int limit = split == Split::kTrain ? data.limit : data.test_limit;
  if (limit > 0 && static_cast<uint32_t>(limit) < set.count) {
    set.count = static_cast<uint32_t>(limit);
    set.pixels.resize(size_t{set.count} * shape.height * shape.width);
    set.labels.resize(set.count);
  }
  return set;
}

}  // namespace atl::trainer
