// What a run leaves behind: summary.json, metrics.jsonl, and the table at the end.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "absl/status/status.h"
#include "comms/rpc/atoll.pb.h"
#include "nlohmann/json.hpp"

namespace atl::cli {

struct RunOutcome {
  v1::JobReport job;                      // with rounds
  std::map<uint32_t, std::string> sites;  // id -> name
  double seconds = 0;
  std::string folder;  // of the run
};

// "queued", "running", "complete", "failed", "cancelled".
std::string StatusName(v1::JobStatus status);

// The fields that docs/architecture.md lists. `final` has the last round's public test figures
// where there are any, else the secure means; `final.from` says which.
nlohmann::ordered_json SummaryJson(const RunOutcome& outcome);

// A line of metrics.jsonl for a round, in Transformer Lab's shape.
nlohmann::ordered_json MetricsLine(const v1::RoundReport& round, uint32_t rounds, int64_t unix_ms);

// The table that ends a run.
std::string SummaryTable(const RunOutcome& outcome);

}  // namespace atl::cli
