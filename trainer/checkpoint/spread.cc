#include "trainer/checkpoint/spread.h"

#include <algorithm>
#include <cstring>

#include "comms/base/status.h"
#include "trainer/optim/optimizer.h"

namespace atl::trainer {
namespace {

constexpr uint64_t kPieceBytes = 64 << 20;

// Calls visit(range, place of its first value among the owned) for what `owned` has within [first,
// last).
template <typename Visit>
void ForOwnedWithin(const std::vector<Shard>& owned, uint64_t first, uint64_t last, Visit visit) {
  uint64_t before = 0;
  for (const Shard& part : owned) {
    const Shard cut{std::max(first, part.first), std::min(last, part.last)};
    if (cut.first < cut.last) visit(cut, before + cut.first - part.first);
    before += part.size();
  }
}

}  // namespace

absl::Status CollectOwned(std::span<const float> mine, const Ownership& ownership, uint64_t total,
                          Communicator& communicator, std::vector<float>& all) {
  const bool collects = communicator.rank() == 0;
  if (collects) all.assign(total, 0.0f);
  const bool split = ValuesIn(ownership[0]) != total;
  const std::vector<Shard>& owned = ownership[communicator.rank()];
  if (!split) {
    if (collects) {
      ForOwnedWithin(owned, 0, total, [&](const Shard& range, uint64_t from) {
        std::copy_n(mine.begin() + static_cast<std::ptrdiff_t>(from), range.size(),
                    all.begin() + static_cast<std::ptrdiff_t>(range.first));
      });
    }
    return absl::OkStatus();
  }
  constexpr uint64_t kPiece = kPieceBytes / sizeof(float);
  for (uint64_t first = 0; first < total; first += kPiece) {
    const uint64_t last = std::min(total, first + kPiece);
    Bytes piece;
    ForOwnedWithin(owned, first, last, [&](const Shard& range, uint64_t from) {
      const auto* bytes = reinterpret_cast<const uint8_t*>(mine.data() + from);
      piece.insert(piece.end(), bytes, bytes + range.size() * sizeof(float));
    });
    ATOLL_ASSIGN_OR_RETURN(const Bytes pieces, communicator.Gather(piece, kPieceBytes));
    if (!collects) continue;
    // In order of rank, as they came.
    ByteView rest = pieces;
    for (const std::vector<Shard>& parts : ownership) {
      ForOwnedWithin(parts, first, last, [&](const Shard& range, uint64_t) {
        const uint64_t bytes = std::min<uint64_t>(range.size() * sizeof(float), rest.size());
        std::memcpy(all.data() + range.first, rest.data(), bytes);
        rest = rest.subspan(bytes);
      });
    }
  }
  return absl::OkStatus();
}

absl::Status SpreadOwned(std::span<const float> all, const std::vector<Shard>& owned,
                         uint64_t total, Communicator& communicator, std::span<float> mine) {
  constexpr uint64_t kPiece = kPieceBytes / sizeof(float);
  std::vector<float> piece;
  for (uint64_t first = 0; first < total; first += kPiece) {
    const uint64_t last = std::min(total, first + kPiece);
    piece.resize(last - first);
    if (communicator.rank() == 0)
      std::copy_n(all.begin() + static_cast<std::ptrdiff_t>(first), piece.size(), piece.begin());
    ATOLL_RETURN_IF_ERROR(communicator.Broadcast(
        {reinterpret_cast<uint8_t*>(piece.data()), piece.size() * sizeof(float)}));
    ForOwnedWithin(owned, first, last, [&](const Shard& range, uint64_t to) {
      std::copy_n(piece.begin() + static_cast<std::ptrdiff_t>(range.first - first), range.size(),
                  mine.begin() + static_cast<std::ptrdiff_t>(to));
    });
  }
  return absl::OkStatus();
}

}  // namespace atl::trainer
