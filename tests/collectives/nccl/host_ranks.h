// Ranks as threads that exchange doubles and bytes: what stands in MPI's place beside NCCL.
#pragma once

#include <algorithm>
#include <barrier>
#include <functional>
#include <thread>
#include <vector>

#include "comms/collectives/communicator.h"

namespace atl::testing {

// What all ranks of a host communicator share.
struct Meeting {
  explicit Meeting(uint32_t ranks) : barrier(ranks), doubles(ranks), bytes(ranks) {}
  std::barrier<> barrier;
  std::vector<std::vector<double>> doubles;
  std::vector<Bytes> bytes;
};

// Doubles and bytes alone: floats must not come this way.
class Host : public Communicator {
 public:
  Host(Meeting& meeting, uint32_t rank) : meeting_(meeting), rank_(rank) {}
  uint32_t rank() const override { return rank_; }
  uint32_t size() const override { return static_cast<uint32_t>(meeting_.doubles.size()); }
  uint32_t local_size() const override { return size(); }
  std::string name() const override { return "host"; }
  absl::StatusOr<std::span<float>> Allocate(uint64_t) override { return NoFloats(); }
  absl::StatusOr<std::unique_ptr<Work>> StartAllReduceSum(std::span<float>) override {
    return NoFloats();
  }
  absl::StatusOr<std::unique_ptr<Work>> StartReduceScatterSum(std::span<float>) override {
    return NoFloats();
  }
  absl::StatusOr<std::unique_ptr<Work>> StartAllGather(std::span<float>) override {
    return NoFloats();
  }
  absl::Status AllReduceSum(std::span<double> values) override {
    meeting_.doubles[rank_].assign(values.begin(), values.end());
    Meet();
    for (size_t i = 0; i < values.size(); ++i) {
      values[i] = 0;
      for (const auto& rank : meeting_.doubles) values[i] += rank[i];
    }
    Meet();
    return absl::OkStatus();
  }
  absl::Status Broadcast(std::span<uint8_t> bytes) override {
    meeting_.bytes[rank_].assign(bytes.begin(), bytes.end());
    Meet();
    std::copy(meeting_.bytes[0].begin(), meeting_.bytes[0].end(), bytes.begin());
    Meet();
    return absl::OkStatus();
  }
  absl::StatusOr<Bytes> Gather(ByteView mine, uint64_t) override {
    meeting_.bytes[rank_].assign(mine.begin(), mine.end());
    Meet();
    Bytes all;
    if (rank_ == 0) {
      for (const Bytes& rank : meeting_.bytes) all.insert(all.end(), rank.begin(), rank.end());
    }
    Meet();
    return all;
  }
  absl::Status Barrier() override {
    Meet();
    return absl::OkStatus();
  }

 private:
  static absl::Status NoFloats() { return absl::InternalError("floats on the host"); }
  void Meet() { meeting_.barrier.arrive_and_wait(); }
  Meeting& meeting_;
  const uint32_t rank_;
};

// body(rank, host) on each rank, a thread each.
inline void OnHostRanks(uint32_t ranks, const std::function<void(uint32_t, Host&)>& body) {
  Meeting meeting(ranks);
  std::vector<std::thread> threads;
  for (uint32_t rank = 0; rank < ranks; ++rank) {
    threads.emplace_back([&, rank] {
      Host host(meeting, rank);
      body(rank, host);
    });
  }
  for (auto& thread : threads) thread.join();
}

}  // namespace atl::testing
