#include "federation/cli/preflight.h"

#include <unistd.h>

#include <cctype>
#include <cstdlib>
#include <ctime>

#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "comms/base/files.h"
#include "comms/base/random.h"
#include "comms/base/status.h"

namespace atl::cli {
namespace fs = std::filesystem;

namespace {

constexpr const char* kFashionMnistFolder = "/usr/share/datasets/fashion-mnist";
constexpr const char* kFashionMnistFiles[] = {
    "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz", "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz"};

bool InPath(const std::string& program) {
  const char* path = std::getenv("PATH");
  for (absl::string_view folder : absl::StrSplit(path == nullptr ? "" : path, ':')) {
    std::string candidate = absl::StrCat(folder, "/", program);
    if (access(candidate.c_str(), X_OK) == 0) return true;
  }
  return false;
}

std::string SafeFileName(const std::string& name) {
  std::string safe;
  for (char c : name) {
    bool plain = std::isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_' || c == '.';
    safe += plain ? c : '-';
  }
  if (safe.empty() || safe[0] == '.') safe.insert(0, "run");
  return safe.substr(0, 80);
}

}  // namespace

fs::path OwnPath() {
  std::error_code error;
  return fs::read_symlink("/proc/self/exe", error);
}

absl::StatusOr<fs::path> FindTrainer() {
  fs::path trainer = OwnPath().parent_path() / "atoll-trainer";
  if (access(trainer.c_str(), X_OK) == 0) return trainer;
  return absl::NotFoundError(
      absl::StrCat("no trainer at ", trainer.string(), "; build it with: scripts/build release"));
}

absl::Status CheckMachine(const recipes::Recipe& recipe) {
  if (!InPath("mpirun")) {
    return absl::NotFoundError(
        "mpirun is not in PATH; install it with: apt-get install openmpi-bin (or scripts/setup)");
  }
  if (recipe.data.dataset == "fashion-mnist") {
    fs::path folder = recipe.data.folder.empty() ? kFashionMnistFolder : recipe.data.folder;
    for (const char* file : kFashionMnistFiles) {
      if (access((folder / file).c_str(), R_OK) == 0) continue;
      return absl::NotFoundError(
          absl::StrCat("data.dataset fashion-mnist: cannot read ", (folder / file).string(),
                       "; install it with: apt-get install dataset-fashion-mnist, or name its "
                       "folder as data.folder"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<fs::path> MakeRunFolder(const std::string& parent, const std::string& name) {
  std::error_code error;
  fs::path base = fs::absolute(parent, error);
  if (error)
    return absl::InvalidArgumentError(
        absl::StrCat("output folder ", parent, ": ", error.message()));
  ATOLL_RETURN_IF_ERROR(Annotate(MakeFolder(base), "output.folder"));
  std::time_t now = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&now, &utc);
  char stamp[32];
  std::strftime(stamp, sizeof stamp, "%Y%m%d-%H%M%S", &utc);
  for (int attempt = 0; attempt < 8; ++attempt) {
    uint8_t random[2];
    SystemRandom().Fill(random);
    fs::path folder =
        base / absl::StrFormat("%s-%s-%02x%02x", SafeFileName(name), stamp, random[0], random[1]);
    if (fs::create_directory(folder, error)) return folder;
    if (error) {
      return absl::PermissionDeniedError(absl::StrCat("output.folder: cannot make ",
                                                      folder.string(), ": ", error.message(),
                                                      "; name another one with --out FOLDER"));
    }
  }
  return absl::AlreadyExistsError(
      absl::StrCat("output.folder: no free name for a run under ", base.string()));
}

}  // namespace atl::cli
