#include "federation/cli/preflight.h"

#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "comms/base/files.h"
#include "comms/base/process.h"
#include "comms/base/status.h"
#include "recipes/schema/run_name.h"

namespace atl::cli {
namespace fs = std::filesystem;

namespace {

constexpr int kEmbeddedSitesMax = 255;
constexpr const char* kFashionMnistFolder = "/usr/share/datasets/fashion-mnist";
constexpr const char* kFashionMnistFiles[] = {
    "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz", "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz"};

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

void MakePathsAbsolute(recipes::Recipe& recipe) {
  for (std::string* path : {&recipe.data.folder, &recipe.data.tokenizer.file, &recipe.model.weights,
                            &recipe.model.file}) {
    std::error_code error;
    if (!path->empty()) *path = fs::absolute(*path, error).lexically_normal();
  }
}

absl::Status CheckMachine(const recipes::Recipe& recipe) {
  if (recipe.site.count > kEmbeddedSitesMax) {
    return absl::InvalidArgumentError(absl::StrCat(
        "site.count: ", recipe.site.count, ": atoll run starts at most ", kEmbeddedSitesMax,
        " sites on one machine; submit the recipe to a coordinator"));
  }
  if (!ProgramExists("mpirun")) {
    return absl::NotFoundError(
        "mpirun is not in PATH; install it with: apt-get install openmpi-bin (or scripts/setup)");
  }
  if (recipe.data.dataset == recipes::DatasetKind::kFashionMnist) {
    fs::path folder = recipe.data.folder.empty() ? kFashionMnistFolder : recipe.data.folder;
    for (const char* file : kFashionMnistFiles) {
      if (access((folder / file).c_str(), R_OK) == 0) continue;
      return absl::NotFoundError(
          absl::StrCat("data.dataset fashion-mnist: cannot read ", (folder / file).string(),
                       "; install it with: apt-get install dataset-fashion-mnist, or name its "
                       "folder as data.folder"));
    }
  }
  for (const auto& [key, path] :
       {std::pair<const char*, const std::string&>{"data.folder", recipe.data.folder},
        {"data.tokenizer.file", recipe.data.tokenizer.file},
        {"model.weights", recipe.model.weights},
        {"model.file", recipe.model.file}}) {
    if (path.empty() || access(path.c_str(), R_OK) == 0) continue;
    const int error = errno;
    return absl::NotFoundError(
        absl::StrCat(key, ": cannot read ", path, ": ", std::generic_category().message(error),
                     "; of the catalog's recipes, the first lines say which script makes it"));
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
  for (int attempt = 0; attempt < 8; ++attempt) {
    fs::path folder = base / recipes::NewRunName(name);
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
