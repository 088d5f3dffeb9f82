// A whole federation on this machine: a coordinator, the recipe's sites and an evaluator as child
// processes, talking over real gRPC and running real mpirun.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "comms/base/process.h"
#include "recipes/schema/recipe.h"

namespace atl::cli {

struct EmbeddedOptions {
  recipes::Recipe recipe;
  std::filesystem::path run_folder;  // absolute; work/ and logs/ are made in it
  std::filesystem::path atoll, trainer;
  int port = 0;  // of the coordinator, on 127.0.0.1; 0: a free one
};

// What the first model is: safetensors, whose data bytes are the model's flat float32 parameters.
struct FirstModel {
  std::filesystem::path file, config;
  uint64_t data_offset = 0;  // of the parameters in the file
  uint64_t data_bytes = 0;
};

// Starts atoll-trainer making a recipe's first model in `folder`, so that other things can start
// meanwhile.
absl::StatusOr<Process> StartFirstModel(const std::filesystem::path& trainer,
                                        const std::filesystem::path& recipe_file,
                                        const std::filesystem::path& folder);
// Waits for it. Errors are the trainer's own words; CANCELLED when `stopped` turns true.
absl::StatusOr<FirstModel> FinishFirstModel(Process& process, const std::filesystem::path& folder,
                                            const std::function<bool()>& stopped);
// Whether the parameters that are trained are the whole model: then the file that they came in
// already is what other programs load.
bool TravelsWhole(const recipes::Model& model);

struct ExportedModel {
  std::filesystem::path trainer, recipe_file;
  std::filesystem::path trained;  // safetensors of the trained parameters
  std::filesystem::path folder;   // gets the whole model's files
};
absl::Status ExportModel(const ExportedModel& model, const std::function<bool()>& stopped);

// Reads where the parameters stand in a safetensors file.
absl::StatusOr<FirstModel> ReadFirstModel(const std::filesystem::path& folder);

// Started and stopped from the main thread. Stops everything on destruction; children die with this
// process in any case.
class EmbeddedFederation {
 public:
  // Acts as the operator: makes an operator key, the sites' identities and the signed roster, then
  // starts all processes. CANCELLED when `stopped` turns true.
  static absl::StatusOr<std::unique_ptr<EmbeddedFederation>> Start(
      const EmbeddedOptions& options, const std::function<bool()>& stopped);
  ~EmbeddedFederation();

  const std::string& address() const { return address_; }
  const std::map<uint32_t, std::string>& sites() const { return site_names_; }

  // Names of the processes that have ended since the last call, with their exit codes and where
  // their log is.
  std::vector<std::string> NewlyEnded();
  bool coordinator_runs();
  // Writes the ids of all processes to processes.json; call again when more have started.
  absl::Status WriteProcesses();
  void Stop();

 private:
  struct Child {
    std::string name;
    uint32_t site_id = 0;  // 0: coordinator, evaluator
    Process process;
    std::string log;
    bool reported = false;
  };
  explicit EmbeddedFederation(EmbeddedOptions options) : options_(std::move(options)) {}
  absl::Status MakeKeys();
  absl::Status StartCoordinator(const std::function<bool()>& stopped);
  absl::Status StartSites();
  absl::Status Launch(const std::string& name, uint32_t site_id,
                      std::vector<std::string> arguments);
  std::filesystem::path work() const { return options_.run_folder / "work"; }

  EmbeddedOptions options_;
  std::string address_;
  std::map<uint32_t, std::string> site_names_;
  std::vector<Child> children_;  // [0] is the coordinator
};

}  // namespace atl::cli
