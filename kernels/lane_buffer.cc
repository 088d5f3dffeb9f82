#include "kernels/lane_buffer.h"

#include <sys/mman.h>

#include <cstdlib>
#include <new>

namespace atl::kernels {
namespace {

constexpr size_t kLine = 64;
constexpr size_t kHugePage = size_t{1} << 21;

}  // namespace

LaneBuffer::LaneBuffer(size_t size) : size_(size) {
  if (size == 0) return;
  const size_t unit = size < kHugePage ? kLine : kHugePage;
  const size_t rounded = (size + unit - 1) / unit * unit;
  data_.reset(static_cast<uint8_t*>(std::aligned_alloc(unit, rounded)));
  if (!data_) throw std::bad_alloc();  // as a vector would
  // Only faster: what a refusal costs is time.
  if (unit == kHugePage) (void)madvise(data_.get(), rounded, MADV_HUGEPAGE);
}

void LaneBuffer::Free::operator()(uint8_t* data) const { std::free(data); }

}  // namespace atl::kernels
