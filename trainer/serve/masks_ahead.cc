#include "trainer/serve/masks_ahead.h"

#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "comms/base/secret.h"

namespace atl::trainer {
namespace {

// As AddMasks goes through lanes: a block stays in the L2 cache for all keys.
constexpr uint64_t kBlockBytes = uint64_t{1} << 18;

// This thread alone.
void YieldToEverybody() {
  const sched_param none{};
  if (pthread_setschedparam(pthread_self(), SCHED_IDLE, &none) != 0) {
    (void)setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), 19);
  }
}

int64_t ThreadCpuNs() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

}  // namespace

ExpandedMasks::ExpandedMasks(MaskContext of, std::unique_ptr<SegmentKeys> keys, const Range& slice,
                             uint64_t max_bytes)
    : of_(std::move(of)), keys_(std::move(keys)), slice_(slice) {
  const uint64_t lane_bytes = of_.segments[sitelink::kUpdateSegment].lane_bytes();
  bytes_ = std::min(slice.size(), max_bytes / lane_bytes) * lane_bytes;
  // Zeros that take memory only where they are written to.
  if (bytes_ > 0) lanes_ = static_cast<uint8_t*>(std::calloc(bytes_, 1));
  if (lanes_ == nullptr) bytes_ = 0;
}

ExpandedMasks::~ExpandedMasks() {
  Wipe({lanes_, begun_});
  std::free(lanes_);
}

void ExpandedMasks::Expand() {
  const uint32_t lane_bytes = of_.segments[sitelink::kUpdateSegment].lane_bytes();
  const int64_t start_ns = ThreadCpuNs();
  for (uint64_t at = 0; at < bytes_ && !stop_;) {
    const uint64_t count = std::min(kBlockBytes, bytes_ - at);
    begun_ = at + count;
    kernels::AddMasks({lanes_ + at, count}, lane_bytes, slice_.first + at / lane_bytes,
                      keys_->keys(), of_.cipher);
    at += count;
    cpu_ns_ = ThreadCpuNs() - start_ns;
    done_.store(at, std::memory_order_release);
  }
}

bool ExpandedMasks::IsOf(const MaskContext& other, const SegmentKeys& keys) const {
  return of_ == other && *keys_ == keys;
}

MasksAhead::~MasksAhead() {
  Discard();
  if (thread_.joinable()) thread_.join();
}

void MasksAhead::Start(MaskContext of, std::unique_ptr<SegmentKeys> keys, const Range& slice,
                       uint64_t max_bytes) {
  Discard();
  if (thread_.joinable()) thread_.join();
  if (max_bytes == 0) return;
  masks_ = std::make_shared<ExpandedMasks>(std::move(of), std::move(keys), slice, max_bytes);
  thread_ = std::thread([masks = masks_]() mutable {
    YieldToEverybody();
    masks->Expand();
    masks = nullptr;
  });
}

std::shared_ptr<const ExpandedMasks> MasksAhead::Take(const MaskContext& of,
                                                      const SegmentKeys& keys) {
  if (masks_ == nullptr || !masks_->IsOf(of, keys)) {
    Discard();
    return nullptr;
  }
  masks_->Stop();
  return std::exchange(masks_, nullptr);
}

void MasksAhead::Discard() {
  if (masks_ == nullptr) return;
  masks_->Stop();
  masks_ = nullptr;
}

}  // namespace atl::trainer
