#include "trainer/data/cifar.h"

#include <string>
#include <system_error>

#include "comms/base/files.h"
#include "comms/base/status.h"

namespace atl::trainer {
namespace {

namespace fs = std::filesystem;

constexpr size_t kRecordBytes = 1 + kCifarPixels;
constexpr uint64_t kMaxFileBytes = uint64_t{1} << 30;

}  // namespace

absl::Status ParseCifar(ByteView file, CifarImages& out) {
  if (file.empty() || file.size() % kRecordBytes != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        file.size(), " bytes are not one or more records of ", kRecordBytes, " (cut off?)"));
  }
  for (size_t at = 0; at < file.size(); at += kRecordBytes) {
    const ByteView record = file.subspan(at, kRecordBytes);
    if (record[0] >= kCifarClasses) {
      return absl::InvalidArgumentError(
          absl::StrCat("byte ", at, ": label ", record[0], " must be < ", kCifarClasses));
    }
    out.labels.push_back(record[0]);
    out.pixels.insert(out.pixels.end(), record.begin() + 1, record.end());
  }
  return absl::OkStatus();
}

absl::StatusOr<CifarImages> ReadCifar(const fs::path& folder, bool train) {
  std::error_code error;
  fs::path place = folder;
  const fs::path inner = folder / "cifar-10-batches-bin";
  if (fs::is_directory(inner, error)) place = inner;
  std::vector<std::string> names = {"test_batch.bin"};
  if (train) {
    names.clear();
    for (int i = 1; i <= 5; ++i) names.push_back(absl::StrCat("data_batch_", i, ".bin"));
  }
  CifarImages images;
  for (const std::string& name : names) {
    const auto bytes = ReadFile(place / name, kMaxFileBytes);
    if (absl::IsNotFound(bytes.status())) {
      return absl::NotFoundError(absl::StrCat("data set cifar-10: no file ",
                                              (place / name).string(),
                                              "; set data.folder to where cifar-10-binary.tar.gz "
                                              "is unpacked"));
    }
    if (!bytes.ok()) return bytes.status();
    absl::Status status = ParseCifar(*bytes, images);
    if (!status.ok()) return Annotate(status, (place / name).string());
  }
  return images;
}

}  // namespace atl::trainer
