#include "tests/collectives/properties.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include "comms/base/status.h"

namespace atl {
namespace {

constexpr float kGuard = 12345.0f;

uint64_t Mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

// In [-1, 1), with 24 random bits.
float Value(uint64_t seed, uint32_t rank, uint64_t index) {
  const uint64_t bits = Mix(seed ^ Mix((uint64_t{rank} << 40) + index)) >> 40;
  return static_cast<float>(bits) / 8388608.0f - 1.0f;
}

class Checker {
 public:
  Checker(Communicator& communicator, uint64_t seed)
      : communicator_(communicator),
        rank_(communicator.rank()),
        size_(communicator.size()),
        random_(seed) {}

  absl::Status Run() {
    std::vector<uint64_t> counts = {0,    1,     2,     15,    16,    17,    31,     32,
                                    33,   47,    48,    63,    64,    65,    255,    1000,
                                    4097, 32767, 32768, 32769, 65536, 65537, 100'003};
    for (int i = 0; i < 8; ++i) counts.push_back(random_() % 200'000);
    ATOLL_ASSIGN_OR_RETURN(std::span<float> window, communicator_.Allocate(400'000));
    if (reinterpret_cast<uintptr_t>(window.data()) % 64 != 0) return Wrong("not aligned");
    for (float value : window) {
      if (value != 0) return Wrong("a new buffer is not zero");
    }
    for (uint64_t count : counts) {
      const uint64_t offset = 8 + random_() % 40;
      ATOLL_RETURN_IF_ERROR(CheckSums(window, offset, count, /*exact=*/true));
      std::vector<float> own(count + 100);
      ATOLL_RETURN_IF_ERROR(CheckSums(own, offset, count, /*exact=*/false));
    }
    for (int i = 0; i < 4; ++i) ATOLL_RETURN_IF_ERROR(CheckBuckets(window));
    ATOLL_RETURN_IF_ERROR(CheckManyUnderWay(window));
    return CheckTheRest();
  }

 private:
  absl::Status Wrong(const std::string& what) const {
    return absl::InternalError(absl::StrCat("rank ", rank_, ": ", what));
  }
  void Fill(std::span<float> values, uint64_t salt) const {
    for (uint64_t i = 0; i < values.size(); ++i) values[i] = Value(salt, rank_, i);
  }
  float Expected(uint64_t salt, uint64_t index) const {
    float sum = Value(salt, 0, index);
    for (uint32_t r = 1; r < size_; ++r) sum += Value(salt, r, index);
    return sum;
  }
  absl::Status Compare(std::span<const float> values, uint64_t salt, Shard range, bool exact,
                       const char* what) const {
    for (uint64_t i = range.first; i < range.last; ++i) {
      const float expected = Expected(salt, i);
      const bool equal = exact ? std::memcmp(&values[i], &expected, sizeof(float)) == 0
                               : std::abs(values[i] - expected) < 1e-5f;
      if (!equal) {
        return Wrong(absl::StrCat(what, " of ", values.size(), ": [", i, "] is ", values[i],
                                  ", not ", expected));
      }
    }
    return absl::OkStatus();
  }

  // All three operations on [offset, offset + count) of `buffer`; what lies around stays.
  absl::Status CheckSums(std::span<float> buffer, uint64_t offset, uint64_t count, bool exact) {
    const uint64_t salt = random_();
    std::fill_n(buffer.begin(), offset, kGuard);
    buffer[offset + count] = kGuard;
    std::span<float> values = buffer.subspan(offset, count);
    Fill(values, salt);
    ATOLL_ASSIGN_OR_RETURN(auto sum, communicator_.StartAllReduceSum(values));
    ATOLL_RETURN_IF_ERROR(sum->Wait());
    ATOLL_RETURN_IF_ERROR(sum->Wait());
    ATOLL_RETURN_IF_ERROR(Compare(values, salt, {0, count}, exact, "all-reduce"));
    ATOLL_RETURN_IF_ERROR(SameBits(values, "all-reduce"));

    const uint64_t other = random_();
    Fill(values, other);
    const Shard mine = ShardOf(count, rank_, size_);
    ATOLL_ASSIGN_OR_RETURN(auto half, communicator_.StartReduceScatterSum(values));
    ATOLL_RETURN_IF_ERROR(half->Wait());
    ATOLL_RETURN_IF_ERROR(Compare(values, other, mine, exact, "reduce-scatter"));
    for (uint64_t i = 0; i < count; ++i) {
      if (i < mine.first || i >= mine.last) values[i] = -1;
    }
    ATOLL_ASSIGN_OR_RETURN(auto rest, communicator_.StartAllGather(values));
    while (!rest->Test()) {
    }
    ATOLL_RETURN_IF_ERROR(rest->Wait());
    ATOLL_RETURN_IF_ERROR(Compare(values, other, {0, count}, exact, "all-gather"));
    ATOLL_RETURN_IF_ERROR(SameBits(values, "all-gather"));
    for (uint64_t i = 0; i < offset; ++i) {
      if (buffer[i] != kGuard) return Wrong("written in front of the values");
    }
    if (buffer[offset + count] != kGuard) return Wrong("written behind the values");
    return absl::OkStatus();
  }

  absl::Status SameBits(std::span<const float> values, const char* what) {
    uint64_t digest = 0;
    for (float value : values) {
      uint32_t bits;
      std::memcpy(&bits, &value, sizeof(bits));
      digest = Mix(digest ^ bits);
    }
    uint8_t mine[8];
    std::memcpy(mine, &digest, sizeof(mine));
    ATOLL_ASSIGN_OR_RETURN(Bytes all, communicator_.Gather(mine, 8 * size_));
    for (uint32_t r = 0; rank_ == 0 && r < size_; ++r) {
      if (std::memcmp(all.data() + 8 * r, mine, 8) != 0) {
        return Wrong(absl::StrCat(what, " of ", values.size(), ": rank ", r, " has other bits"));
      }
    }
    return absl::OkStatus();
  }

  // A buffer in pieces of any length, all under way at once, as a backward pass has them.
  absl::Status CheckBuckets(std::span<float> window) {
    const uint64_t salt = random_();
    Fill(window, salt);
    std::vector<std::unique_ptr<Work>> works;
    for (uint64_t end = window.size(); end > 0;) {
      const uint64_t length = std::min<uint64_t>(end, 1 + random_() % 50'000);
      end -= length;
      ATOLL_ASSIGN_OR_RETURN(auto work,
                             communicator_.StartAllReduceSum(window.subspan(end, length)));
      works.push_back(std::move(work));
      // Ranks at different speeds: each polls when it likes.
      for (uint64_t polls = Mix(salt + works.size() * 97 + rank_) % 4; polls > 0; --polls) {
        works[Mix(polls + rank_) % works.size()]->Test();
      }
    }
    for (auto& work : works) ATOLL_RETURN_IF_ERROR(work->Wait());
    return Compare(window, salt, {0, window.size()}, true, "buckets");
  }

  // More operations at once than a group has room for; empty ones among them.
  absl::Status CheckManyUnderWay(std::span<float> window) {
    const uint64_t salt = random_();
    const std::span<float> values = window.first(1800);
    Fill(values, salt);
    std::vector<std::unique_ptr<Work>> works;
    for (uint64_t i = 0; i < 600; ++i) {
      ATOLL_ASSIGN_OR_RETURN(auto work, communicator_.StartAllReduceSum(values.subspan(3 * i, 3)));
      works.push_back(std::move(work));
      ATOLL_ASSIGN_OR_RETURN(auto empty, communicator_.StartAllReduceSum(values.subspan(3 * i, 0)));
      works.push_back(std::move(empty));
    }
    while (!works.empty()) {
      ATOLL_RETURN_IF_ERROR(works.back()->Wait());
      works.pop_back();
    }
    return Compare(values, salt, {0, values.size()}, true, "many under way");
  }

  absl::Status CheckTheRest() {
    std::vector<double> doubles = {1.0 + rank_, 0.5, -2.0 * rank_};
    ATOLL_RETURN_IF_ERROR(communicator_.AllReduceSum(doubles));
    const double ranks = size_, triangle = ranks * (ranks - 1) / 2;
    if (doubles != std::vector<double>{ranks + triangle, ranks / 2, -2 * triangle}) {
      return Wrong("a sum of doubles");
    }
    std::vector<uint8_t> bytes(1'000'003, static_cast<uint8_t>(rank_ + 7));
    ATOLL_RETURN_IF_ERROR(communicator_.Broadcast(bytes));
    if (std::count(bytes.begin(), bytes.end(), 7) != 1'000'003) return Wrong("a broadcast");

    // Of different lengths, the first empty.
    const Bytes mine(rank_ * 3, static_cast<uint8_t>(rank_));
    ATOLL_ASSIGN_OR_RETURN(Bytes all, communicator_.Gather(mine, 1 << 20));
    Bytes expected;
    for (uint32_t r = 0; rank_ == 0 && r < size_; ++r) {
      expected.insert(expected.end(), r * 3, static_cast<uint8_t>(r));
    }
    if (all != expected) return Wrong("a gather");
    const auto refused = communicator_.Gather(Bytes(100, 1), 100 * size_ - 1);
    if (refused.status().code() != absl::StatusCode::kInvalidArgument) {
      return Wrong("a gather over its limit was not refused");
    }
    return communicator_.Barrier();
  }

  Communicator& communicator_;
  const uint32_t rank_, size_;
  std::mt19937_64 random_;  // the same on every rank
};

}  // namespace

std::string CheckCollectives(Communicator& communicator, uint64_t seed) {
  const absl::Status status = Checker(communicator, seed).Run();
  return status.ok() ? "" : absl::StrCat(ToString(status), " (ATOLL_TEST_SEED=", seed, ")");
}

uint64_t TestSeed() {
  const char* text = std::getenv("ATOLL_TEST_SEED");
  return text != nullptr ? std::strtoull(text, nullptr, 10) : std::random_device()();
}

}  // namespace atl
