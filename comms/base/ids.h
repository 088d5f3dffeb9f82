// Ids of different things are different types.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <ostream>

namespace atl {

template <typename Tag, typename T>
class StrongId {
 public:
  using Value = T;
  constexpr StrongId() = default;
  constexpr explicit StrongId(T value) : value_(value) {}
  constexpr T value() const { return value_; }
  constexpr auto operator<=>(const StrongId&) const = default;
  friend std::ostream& operator<<(std::ostream& out, StrongId id) { return out << id.value_; }

 private:
  T value_{};
};

using SiteId = StrongId<struct SiteTag, uint32_t>;    // public id of a site in the roster, from 1
using JobId = StrongId<struct JobTag, uint64_t>;      // a coordinator's job, from 1
using RoundId = StrongId<struct RoundTag, uint32_t>;  // round of a job, from 1
using SlotId =
    StrongId<struct SlotTag, uint64_t>;  // one set of pre-keys: one attempt at one round, from 1
using Rank = StrongId<struct RankTag, uint32_t>;  // MPI rank, from 0

}  // namespace atl

template <typename Tag, typename T>
struct std::hash<atl::StrongId<Tag, T>> {
  size_t operator()(atl::StrongId<Tag, T> id) const { return std::hash<T>()(id.value()); }
};
