#include "trainer/checkpoint/folder.h"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "absl/strings/str_join.h"
#include "comms/base/files.h"
#include "comms/base/status.h"

namespace atl::trainer {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "step-", kSuffix = ".ckpt";
constexpr int kDigits = 10;  // a u64 of steps may have more; then the name is longer

// The step in a checkpoint's name.
std::optional<uint64_t> StepOf(const std::string& name) {
  if (!name.starts_with(kPrefix) || !name.ends_with(kSuffix)) return std::nullopt;
  const std::string digits =
      name.substr(kPrefix.size(), name.size() - kPrefix.size() - kSuffix.size());
  if (digits.empty() || digits.size() > 19 ||
      digits.find_first_not_of("0123456789") != std::string::npos)
    return std::nullopt;
  return std::stoull(digits);
}

}  // namespace

fs::path CheckpointFolder::PathOf(const Position& position) const {
  char name[48];
  std::snprintf(name, sizeof(name), "step-%0*llu.ckpt", kDigits,
                static_cast<unsigned long long>(position.steps));
  return folder_ / name;
}

std::vector<fs::path> CheckpointFolder::NewestFirst() const {
  std::vector<std::pair<uint64_t, fs::path>> found;
  std::error_code error;
  for (fs::directory_iterator it(folder_, error), end; !error && it != end; it.increment(error)) {
    if (auto step = StepOf(it->path().filename().string())) found.push_back({*step, it->path()});
  }
  std::sort(found.begin(), found.end(), std::greater<>());
  std::vector<fs::path> paths;
  for (auto& [step, path] : found) paths.push_back(std::move(path));
  return paths;
}

absl::StatusOr<fs::path> CheckpointFolder::Write(const Checkpoint& checkpoint) const {
  const fs::path path = PathOf(checkpoint.position);
  ATOLL_RETURN_IF_ERROR(MakeFolder(folder_));
  ATOLL_RETURN_IF_ERROR(WriteCheckpoint(path, checkpoint));
  const std::vector<fs::path> all = NewestFirst();
  const auto mine = std::find(all.begin(), all.end(), path);
  for (auto it = all.begin(); it != all.end(); ++it) {
    if (it >= mine && it < mine + kKept) continue;
    std::error_code ignored;  // it is only in the way; the next write tries again
    fs::remove(*it, ignored);
  }
  return path;
}

absl::StatusOr<std::optional<CheckpointFolder::Found>> CheckpointFolder::Newest(
    uint64_t max_parameters) const {
  RemoveStagedLeftovers(folder_);
  std::vector<std::string> bad;
  for (const fs::path& path : NewestFirst()) {
    auto checkpoint = ReadCheckpoint(path, max_parameters);
    if (checkpoint.ok()) return Found{*std::move(checkpoint), path, std::move(bad)};
    bad.push_back(std::string(checkpoint.status().message()));
  }
  if (bad.empty()) return std::nullopt;
  return absl::DataLossError(absl::StrCat("no checkpoint is good: ", absl::StrJoin(bad, "; ")));
}

}  // namespace atl::trainer
