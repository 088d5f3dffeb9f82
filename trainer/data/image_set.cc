#include "trainer/data/image_set.h"

#include <algorithm>
#include <system_error>

#include "comms/base/status.h"
#include "trainer/data/cifar.h"
#include "trainer/data/idx.h"

namespace atl::trainer {
namespace {

namespace fs = std::filesystem;
using recipes::DatasetKind;

constexpr const char* kFashionMnistFolder = "/usr/share/datasets/fashion-mnist";
constexpr uint32_t kFashionMnistClasses = 10;
constexpr uint32_t kMaxChannels = 64, kMaxSide = 4096;

absl::Status CheckKnown(const recipes::Data& data) {
  if (IsOfImages(data.dataset)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("data.dataset: ", ToString(data.dataset), " has no images that Atoll reads"));
}

fs::path FolderOf(const recipes::Data& data) {
  const bool is_system = data.dataset == DatasetKind::kFashionMnist && data.folder.empty();
  return is_system ? kFashionMnistFolder : data.folder;
}

// The first of these names that is there, as NAME.gz or, for those who unpacked it, NAME.
absl::StatusOr<fs::path> Find(const recipes::Data& data, const std::vector<std::string>& names) {
  const fs::path folder = FolderOf(data);
  std::error_code error;
  for (const std::string& name : names) {
    for (const char* ending : {".gz", ""}) {
      if (fs::exists(folder / (name + ending), error)) return folder / (name + ending);
    }
  }
  return absl::NotFoundError(absl::StrCat("data set ", ToString(data.dataset), ": no file ",
                                          (folder / names[0]).string(), ".gz; ",
                                          data.dataset == DatasetKind::kFashionMnist
                                              ? "install it (apt install dataset-fashion-mnist) or "
                                              : "",
                                          "set data.folder"));
}

// A split's file of images or of labels. Images may have a dimension for channels.
absl::StatusOr<fs::path> FindPart(const recipes::Data& data, Split split, bool images) {
  std::vector<std::string> prefixes = {"train"};
  if (split == Split::kTest) prefixes = {"t10k", "test"};
  std::vector<std::string> names;
  for (const std::string& prefix : prefixes) {
    names.push_back(prefix + (images ? "-images-idx3-ubyte" : "-labels-idx1-ubyte"));
    if (images && data.dataset == DatasetKind::kIdx) names.push_back(prefix + "-images-idx4-ubyte");
  }
  return Find(data, names);
}

// Of images [n, height, width] or [n, channels, height, width].
absl::StatusOr<ImageShape> ShapeOf(const std::vector<uint32_t>& shape, const fs::path& path) {
  if (shape.size() != 3 && shape.size() != 4) {
    return absl::InvalidArgumentError(
        absl::StrCat(path.string(), ": images have 3 or 4 dimensions, not ", shape.size()));
  }
  const ImageShape out{shape.size() == 4 ? shape[1] : 1, shape[shape.size() - 2], shape.back()};
  if (out.channels > kMaxChannels || out.height > kMaxSide || out.width > kMaxSide) {
    return absl::InvalidArgumentError(
        absl::StrCat(path.string(), ": images of ", out.channels, " x ", out.height, " x ",
                     out.width, ", at most ", kMaxChannels, " x ", kMaxSide, " x ", kMaxSide));
  }
  return out;
}

absl::StatusOr<ImageSet> LoadIdx(const recipes::Data& data, Split split, const ImageShape& shape) {
  ATOLL_ASSIGN_OR_RETURN(const fs::path images_path, FindPart(data, split, true));
  ATOLL_ASSIGN_OR_RETURN(const fs::path labels_path, FindPart(data, split, false));
  ATOLL_ASSIGN_OR_RETURN(IdxArray images, ReadIdx(images_path));
  ATOLL_ASSIGN_OR_RETURN(IdxArray labels, ReadIdx(labels_path));
  ATOLL_ASSIGN_OR_RETURN(const ImageShape found, ShapeOf(images.shape, images_path));
  if (found != shape) {
    return absl::InvalidArgumentError(absl::StrCat(
        images_path.string(), ": images of ", found.channels, " x ", found.height, " x ",
        found.width, ", not of ", shape.channels, " x ", shape.height, " x ", shape.width));
  }
  if (labels.shape.size() != 1 || labels.shape[0] != images.shape[0]) {
    return absl::InvalidArgumentError(absl::StrCat(labels_path.string(), ": ", images.shape[0],
                                                   " images, but ", labels.values.size(),
                                                   " labels"));
  }
  ImageSet set;
  const auto largest = std::max_element(labels.values.begin(), labels.values.end());
  set.classes = data.dataset == DatasetKind::kIdx ? uint32_t{*largest} + 1 : kFashionMnistClasses;
  if (*largest >= set.classes) {
    return absl::InvalidArgumentError(absl::StrCat(labels_path.string(), ": label ", *largest,
                                                   " of image ", largest - labels.values.begin(),
                                                   " must be < ", set.classes));
  }
  set.pixels = std::move(images.values);
  set.labels.assign(labels.values.begin(), labels.values.end());
  return set;
}

absl::StatusOr<ImageSet> LoadCifar(const recipes::Data& data, Split split) {
  ATOLL_ASSIGN_OR_RETURN(CifarImages images, ReadCifar(data.folder, split == Split::kTrain));
  ImageSet set;
  set.classes = kCifarClasses;
  set.pixels = std::move(images.pixels);
  set.labels.assign(images.labels.begin(), images.labels.end());
  return set;
}

}  // namespace

bool IsOfImages(DatasetKind kind) {
  return kind == DatasetKind::kFashionMnist || kind == DatasetKind::kIdx ||
         kind == DatasetKind::kCifar10;
}

absl::StatusOr<ImageShape> ShapeOf(const recipes::Data& data) {
  ATOLL_RETURN_IF_ERROR(CheckKnown(data));
  if (data.dataset == DatasetKind::kFashionMnist) return ImageShape{1, 28, 28};
  if (data.dataset == DatasetKind::kCifar10) return ImageShape{3, 32, 32};
  ATOLL_ASSIGN_OR_RETURN(const fs::path path, FindPart(data, Split::kTrain, true));
  ATOLL_ASSIGN_OR_RETURN(const std::vector<uint32_t> shape, ReadIdxShape(path));
  return ShapeOf(shape, path);
}

absl::StatusOr<Normalisation> NormalisationOf(const recipes::Data& data) {
  ATOLL_RETURN_IF_ERROR(CheckKnown(data));
  // Of all pixels of the training images.
  if (data.dataset == DatasetKind::kFashionMnist) return Normalisation{{0.2860f}, {0.3530f}};
  if (data.dataset == DatasetKind::kCifar10) {
    return Normalisation{{0.4914f, 0.4822f, 0.4465f}, {0.2470f, 0.2435f, 0.2616f}};
  }
  ATOLL_ASSIGN_OR_RETURN(const ImageShape shape, ShapeOf(data));
  return Normalisation{std::vector<float>(shape.channels, 0.5f),
                       std::vector<float>(shape.channels, 0.5f)};
}

absl::StatusOr<ImageSet> LoadImageSet(const recipes::Data& data, Split split) {
  ATOLL_ASSIGN_OR_RETURN(const ImageShape shape, ShapeOf(data));
  ATOLL_ASSIGN_OR_RETURN(ImageSet set, data.dataset == DatasetKind::kCifar10
                                           ? LoadCifar(data, split)
                                           : LoadIdx(data, split, shape));
  ATOLL_ASSIGN_OR_RETURN(set.normalisation, NormalisationOf(data));
  set.count = static_cast<uint32_t>(set.labels.size());
  set.channels = shape.channels;
  set.height = shape.height;
  set.width = shape.width;
  const int limit = split == Split::kTrain ? data.limit : data.test_limit;
  if (limit > 0 && static_cast<uint32_t>(limit) < set.count) {
    set.count = static_cast<uint32_t>(limit);
    set.pixels.resize(size_t{set.count} * shape.channels * shape.height * shape.width);
    set.labels.resize(set.count);
  }
  return set;
}

}  // namespace atl::trainer
