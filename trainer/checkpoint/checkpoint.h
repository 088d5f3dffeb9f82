// All that a training goes on from, and its file.
//
// A file is, little-endian:
//   8 bytes  "ATOLLCK1"
//   u64      size of the header
//   header   see checkpoint.cc; canonical encoding of all but the values
//   float32  parameters, then each tensor of the optimiser's state, all of `parameters` values
//   32 bytes SHA-256 of all before it
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "comms/base/bytes.h"
#include "trainer/loop/metrics.h"

namespace atl::trainer {

// Between two steps of a training. With the seed it names every example and every draw that is to
// come.
struct Position {
  uint32_t epoch = 0;     // epochs that are done
  uint64_t examples = 0;  // of the next one that are done, in the order of its sampler
  uint64_t steps = 0;     // optimiser steps that are done, over all epochs
  bool operator==(const Position&) const = default;
};

struct Checkpoint {
  std::string recipe_yaml;  // resolved (recipes::ToYaml)
  uint32_t ranks = 1;       // that trained
  uint64_t examples = 0;    // of the data set
  Position position;
  std::vector<Metrics> epoch_so_far;  // of the epoch that is under way, of each rank
  std::vector<float> parameters;
  struct State {
    std::string name;
    std::vector<float> values;  // [parameters]
    bool operator==(const State&) const = default;
  };
  std::vector<State> optimizer;
  bool operator==(const Checkpoint&) const = default;
};

inline constexpr uint64_t kMaxCheckpointHeader = 64 << 20;
inline constexpr uint32_t kMaxCheckpointStates = 8;

// Whole or not at all: a temporary name, synced, renamed. Errors name the path and the system's
// reason.
absl::Status WriteCheckpoint(const std::filesystem::path& path, const Checkpoint& checkpoint);

// DATA_LOSS for bytes that are not what was written (cut off, changed), INVALID_ARGUMENT for a file
// that never was a checkpoint or is of another version; both name the path. OUT_OF_RANGE when it is
// larger than a checkpoint of so many parameters can be. Other errors as of ReadFile.
absl::StatusOr<Checkpoint> ReadCheckpoint(const std::filesystem::path& path,
                                          uint64_t max_parameters);
// The same for bytes, of which all may be wrong; errors name no path.
absl::StatusOr<Checkpoint> ParseCheckpoint(ByteView file);

// The header's fields, without the values: what the other ranks are told of it.
Bytes EncodeHeader(const Checkpoint& checkpoint);
struct CheckpointHeader {
  Checkpoint fields;  // values are empty, names are there
  uint64_t parameters = 0;
};
absl::StatusOr<CheckpointHeader> ParseHeader(ByteView header);

}  // namespace atl::trainer
