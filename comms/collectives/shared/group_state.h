// What the ranks of a group tell each other, in memory that they share.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

namespace atl::shared {

// Every word is read and written through std::atomic_ref: the memory may be a window of another
// process. Two cache lines apart, since processors fetch lines in pairs.
constexpr uint64_t kApart = 128;
// Operations that a rank has started and that have not ended; Start waits when there are more.
constexpr uint64_t kMaxUnderWay = 256;

// Of one operation that a rank has started.
struct OperationState {
  uint64_t address;      // where its buffer is, in words that Group::Options::resolve understands
  uint64_t description;  // count * 4 + kind
};

// One rank's part; written by it alone.
struct alignas(kApart) RankState {
  uint64_t started;  // operations; the one with number s stands in operations[s % kMaxUnderWay]
  uint64_t busy;     // number of the piece that this rank works on or is about to claim; 0: none
  uint64_t left;     // 1 when the rank has ended in order
  uint64_t pid, start_ticks;
  alignas(kApart) std::array<OperationState, kMaxUnderWay> operations;
};

// All zero at first; followed by one RankState a rank.
struct alignas(kApart) GroupState {
  // Pieces are numbered from 1 in the order of operations, on all ranks alike. Whoever moves this
  // on from n - 1 to n does piece n.
  uint64_t claimed;
  alignas(kApart) uint64_t broken;  // 1 when ranks have called different operations

  RankState* ranks() { return reinterpret_cast<RankState*>(this + 1); }
};

inline uint64_t Load(uint64_t& word) {
  return std::atomic_ref<uint64_t>(word).load(std::memory_order_acquire);
}
inline void Store(uint64_t& word, uint64_t value) {
  std::atomic_ref<uint64_t>(word).store(value, std::memory_order_release);
}

}  // namespace atl::shared
