// What atoll-trainer can be asked to do. Each mode returns its exit code: 0, or 1 after one line on
// stderr; standalone also kExitStopped (stop_signal.h).
#pragma once

#include <string>
#include <vector>

namespace atl::trainer {

struct InitOptions {
  std::string recipe;
  std::vector<std::string> overrides;  // key=value
  std::string out;                     // folder
};
// Writes the recipe's first model. No MPI, one process.
int RunInit(const InitOptions& options);

struct ExportOptions {
  std::string recipe;
  std::vector<std::string> overrides;
  std::string trained;  // safetensors of the recipe's trainable parameters, as init writes them
  std::string out;      // folder
};
// Writes the whole model that these parameters belong to, for other programs to load. No MPI, one
// process.
int RunExport(const ExportOptions& options);

struct TokenizeOptions {
  std::string recipe;
  std::vector<std::string> overrides;
  std::string out;  // folder
};
// Writes the recipe's texts as token shards, each text with the tokenizer's begin and end. No MPI,
// one process.
int RunTokenize(const TokenizeOptions& options);

struct StandaloneOptions {
  std::string recipe;  // empty with `resume`: the run's
  std::vector<std::string> overrides;
  std::string out;     // folder of the results; empty: <output folder>/<name>-<id>
  std::string resume;  // folder of a run to go on with; empty: a new one
  bool quiet = false;  // no lines on stdout
};
// Trains on the whole data set, on the ranks that mpirun started.
int RunStandalone(const StandaloneOptions& options);

struct ServeOptions {
  std::string link;  // address of the site link
};
// Serves a site agent.
int RunServe(const ServeOptions& options);

}  // namespace atl::trainer
