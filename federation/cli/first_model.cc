#include <chrono>
#include <thread>

#include "absl/strings/ascii.h"
#include "comms/base/files.h"
#include "comms/base/status.h"
#include "federation/cli/embedded.h"

namespace atl::cli {
namespace {

namespace fs = std::filesystem;
constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // safetensors' own limit
constexpr int kTimeoutMs = 120'000;

constexpr uint64_t kFullDiskBytes = 64 << 10;

// The last line of what the trainer printed: its one-line error. On a full disk it cannot print.
std::string LastWords(const fs::path& log) {
  auto bytes = ReadFile(log, 1 << 20);
  std::string text(bytes.ok() ? AsText(*bytes) : "");
  absl::StripAsciiWhitespace(&text);
  if (text.empty()) {
    std::error_code error;
    const fs::space_info space = fs::space(log.parent_path(), error);
    const bool full = !error && space.available < kFullDiskBytes;
    return full ? absl::StrCat(log.parent_path().string(),
                               ": no space left on device; free some, or name another folder")
                : absl::StrCat("it ended without a word (", log.string(), ")");
  }
  size_t line = text.rfind('\n');
  return line == std::string::npos ? text : text.substr(line + 1);
}

// One of the trainer's modes that run in one process.
absl::StatusOr<Process> StartTrainer(std::vector<std::string> arguments, const fs::path& log) {
  ProcessOptions options;
  options.arguments = std::move(arguments);
  options.environment = {{"OMP_NUM_THREADS", "1"}};
  options.output_file = log;
  return Process::Start(options);
}

absl::Status FinishTrainer(Process& process, const char* mode, const fs::path& log,
                           const std::function<bool()>& stopped) {
  for (int waited_ms = 0;; waited_ms += 50) {
    if (stopped()) return absl::CancelledError(absl::StrCat("stopped during atoll-trainer ", mode));
    auto code = process.Wait(50);
    if (code.ok() && *code == 0) return absl::OkStatus();
    if (code.ok())
      return absl::InternalError(absl::StrCat("atoll-trainer ", mode, ": ", LastWords(log)));
    if (waited_ms > kTimeoutMs) {
      return absl::DeadlineExceededError(
          absl::StrCat("atoll-trainer ", mode, " did not end in two minutes"));
    }
  }
}

}  // namespace

absl::StatusOr<Process> StartFirstModel(const fs::path& trainer, const fs::path& recipe_file,
                                        const fs::path& folder) {
  ATOLL_RETURN_IF_ERROR(MakeFolder(folder));
  return StartTrainer({trainer, "init", recipe_file, "--out", folder}, folder / "init.log");
}

absl::StatusOr<FirstModel> FinishFirstModel(Process& process, const fs::path& folder,
                                            const std::function<bool()>& stopped) {
  ATOLL_RETURN_IF_ERROR(FinishTrainer(process, "init", folder / "init.log", stopped));
  return ReadFirstModel(folder);
}

bool TravelsWhole(const recipes::Model& model) {
  switch (model.kind) {
    case recipes::ModelKind::kMlp:
    case recipes::ModelKind::kCnn:
    case recipes::ModelKind::kResnet18:
    case recipes::ModelKind::kTextClassifier:
      return model.frozen.empty();
    default:
      return false;
  }
}

absl::Status ExportModel(const ExportedModel& model, const std::function<bool()>& stopped) {
  const fs::path log = model.trained.parent_path() / "export.log";
  ATOLL_ASSIGN_OR_RETURN(Process process,
                         StartTrainer({model.trainer, "export", model.recipe_file, "--trained",
                                       model.trained, "--out", model.folder},
                                      log));
  return FinishTrainer(process, "export", log, stopped);
}

absl::StatusOr<FirstModel> ReadFirstModel(const fs::path& folder) {
  FirstModel model;
  model.file = folder / "model.safetensors";
  model.config = folder / "config.json";
  std::error_code error;
  uint64_t size = fs::file_size(model.file, error);
  if (error) return absl::NotFoundError(absl::StrCat(model.file.string(), ": ", error.message()));
  std::FILE* file = std::fopen(model.file.c_str(), "rb");
  if (file == nullptr)
    return absl::PermissionDeniedError(absl::StrCat("cannot read ", model.file.string()));
  uint8_t head[8] = {};
  size_t got = std::fread(head, 1, sizeof head, file);
  std::fclose(file);
  ByteReader reader(head);
  uint64_t header_bytes = reader.U64();
  if (got != sizeof head || header_bytes > kMaxHeaderBytes || 8 + header_bytes >= size) {
    return absl::DataLossError(
        absl::StrCat(model.file.string(), ": not a safetensors file with parameters"));
  }
  model.data_offset = 8 + header_bytes;
  model.data_bytes = size - model.data_offset;
  if (model.data_bytes % 4 != 0) {
    return absl::DataLossError(absl::StrCat(model.file.string(), ": ", model.data_bytes,
                                            " bytes of data are not float32 parameters"));
  }
  return model;
}

}  // namespace atl::cli
