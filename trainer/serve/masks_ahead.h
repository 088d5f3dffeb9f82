// Masks expanded while there is time, so that they need not be while everybody waits for them.
#pragma once

#include <atomic>
#include <memory>
#include <span>
#include <thread>
#include <vector>

#include "comms/base/bytes.h"
#include "comms/sitelink/messages.h"
#include "kernels/masks.h"
#include "trainer/data/sampler.h"
#include "trainer/serve/update.h"

namespace atl::trainer {

// What the masks are of; a Release must be of the very same.
struct MaskContext {
  Digest context{};
  kernels::MaskCipher cipher = kernels::MaskCipher::kAes256Ctr;
  std::vector<kernels::Segment> segments;
  bool operator==(const MaskContext&) const = default;
};

// Lanes of the first coordinates of a slice: the sum of all keys' streams. Wiped, as the keys are,
// by whoever lets go of it last. One thread expands, another may read done() at any time.
class ExpandedMasks {
 public:
  // Nothing is expanded when the memory is not to be had.
  ExpandedMasks(MaskContext of, std::unique_ptr<SegmentKeys> keys, const Range& slice,
                uint64_t max_bytes);
  ~ExpandedMasks();
  ExpandedMasks(const ExpandedMasks&) = delete;
  ExpandedMasks& operator=(const ExpandedMasks&) = delete;

  void Expand();  // until all is done or Stop
  void Stop() { stop_ = true; }
  bool IsOf(const MaskContext& other, const SegmentKeys& keys) const;
  // Whole lanes; what is there stays as it is.
  std::span<const uint8_t> done() const { return {lanes_, done_.load(std::memory_order_acquire)}; }
  double cpu_s() const { return static_cast<double>(cpu_ns_.load()) * 1e-9; }

 private:
  const MaskContext of_;
  const std::unique_ptr<SegmentKeys> keys_;
  const Range slice_;
  uint8_t* lanes_ = nullptr;
  uint64_t bytes_ = 0;
  std::atomic<uint64_t> begun_ = 0, done_ = 0;  // bytes
  std::atomic<int64_t> cpu_ns_ = 0;             // of Expand's thread
  std::atomic<bool> stop_ = false;
};

// One rank's masks of the update segment, expanded by one thread that has the processor only when
// nobody else wants it (SCHED_IDLE, else nice 19). Memory: the lanes of the rank's slice, at most
// max_bytes; what is beyond is left to MakeUpdateSlice. Nothing here waits for the thread but Start
// and the destructor: on a machine that is busy it may not run for a while.
class MasksAhead {
 public:
  MasksAhead() = default;
  ~MasksAhead();

  // In place of what was expanded before. max_bytes 0: nothing is.
  void Start(MaskContext of, std::unique_ptr<SegmentKeys> keys, const Range& slice,
             uint64_t max_bytes);
  // What there is for this context and these keys; stops expanding. Null, and what there was is
  // thrown away, when it is of others. Given once.
  std::shared_ptr<const ExpandedMasks> Take(const MaskContext& of, const SegmentKeys& keys);
  void Discard();

 private:
  std::shared_ptr<ExpandedMasks> masks_;
  std::thread thread_;
};

}  // namespace atl::trainer
