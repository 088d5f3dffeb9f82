#include "tests/trainer/mpi_job.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "comms/base/status.h"
#include "tests/collectives/mpirun.h"

namespace atl::trainer {
namespace {

std::filesystem::path Scratch(const std::filesystem::path& folder) { return folder / "mpi"; }

}  // namespace

std::string TrainerProgram() {
  const char* build = std::getenv("ATOLL_BUILD_DIR");
  return std::string(build != nullptr ? build : "build") + "/bin/atoll-trainer";
}

absl::StatusOr<MpiJob> MpiJob::Start(const std::filesystem::path& folder, int ranks,
                                     const std::vector<std::string>& arguments) {
  const std::string scratch = Scratch(folder).string();
  ATOLL_RETURN_IF_ERROR(MakeFolder(scratch, 0700));
  ProcessOptions options = MpirunOptions(ranks, scratch);
  options.arguments.push_back(TrainerProgram());
  options.arguments.insert(options.arguments.end(), arguments.begin(), arguments.end());
  options.working_folder = folder.string();
  options.output_file = (folder / "output.txt").string();
  ATOLL_ASSIGN_OR_RETURN(Process process, Process::Start(options));
  return MpiJob(folder, std::move(process));
}

std::string MpiJob::output() const {
  auto bytes = ReadFile(folder_ / "output.txt", 1 << 20);
  return bytes.ok() ? std::string(AsText(*bytes)) : "";
}

std::vector<std::string> MpiJob::Leftovers() const {
  std::vector<std::string> out;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(Scratch(folder_))) {
    if (!entry.is_directory()) out.push_back(entry.path().string());
  }
  return out;
}

int RunToEnd(const std::filesystem::path& folder, int ranks,
             const std::vector<std::string>& arguments, std::string* output) {
  auto job = MpiJob::Start(folder, ranks, arguments);
  if (!job.ok()) {
    ADD_FAILURE() << job.status();
    return -1;
  }
  auto code = job->process().Wait(120'000);
  if (output != nullptr) *output = job->output();
  EXPECT_TRUE(code.ok()) << code.status() << "\n" << job->output();
  EXPECT_TRUE(job->Leftovers().empty()) << job->Leftovers().front();
  return code.ok() ? *code : -1;
}

}  // namespace atl::trainer
