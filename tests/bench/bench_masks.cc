// bench_masks [--json]: how fast each mask kernel is on one core, and what share that is of three
// bounds.
//
// A kernel adds one key's stream to lanes that fit the second-level cache, as AddMasks has it do
// for each key. The row 'AddMasks' is the whole call: many keys over a vector larger than that
// cache, in bytes of stream a second. Kernel and bounds are timed in turns, and the best turn of
// each counts, so that a busy machine distorts little.
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/cpu/mask_kernels.h"
#include "kernels/lane_buffer.h"
#include "kernels/masks.h"
#include "tests/bench/bench_masks_baselines.h"

namespace atl::bench {
namespace {

using kernels::MaskCipher;
using kernels::MaskKey;

constexpr size_t kBlockBytes = size_t{1} << 18;
constexpr size_t kVectorBytes = size_t{1} << 25;
constexpr size_t kVectorKeys = 8;
constexpr int kTurns = 40;
constexpr double kTurnSeconds = 0.003;

// Seconds that this thread has had a core: other processes on a busy machine do not count.
double ThreadSeconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

// Runs `work`, which returns the bytes it did, for about kTurnSeconds; bytes a second.
double Rate(const std::function<uint64_t()>& work) {
  const double start = ThreadSeconds();
  uint64_t bytes = 0;
  double seconds = 0;
  while (seconds < kTurnSeconds) {
    bytes += work();
    seconds = ThreadSeconds() - start;
  }
  return static_cast<double>(bytes) / seconds;
}

struct Row {
  std::string name;
  uint32_t lane_bits = 0;
  double rate = 0, aes_bound = 0, openssl = 0, memcpy = 0;  // bytes a second
};

class Bench {
 public:
  Bench() {
    for (size_t i = 0; i < key_.key.size(); ++i) key_.key[i] = static_cast<uint8_t>(i);
  }

  Row Measure(const std::string& name, uint32_t lane_bytes, int turns,
              const std::function<uint64_t()>& work) {
    Row row{.name = name, .lane_bits = 8 * lane_bytes};
    for (int turn = 0; turn < turns; ++turn) {
      row.rate = std::max(row.rate, Rate(work));
      row.aes_bound = std::max(row.aes_bound, Rate([] { return AesRounds(kBlockBytes); }));
      row.openssl = std::max(row.openssl, Rate([&] {
                               openssl_.Add(lanes_, lane_bytes);
                               return kBlockBytes;
                             }));
      row.memcpy = std::max(row.memcpy, Rate([&] {
                              std::memcpy(copy_.data(), lanes_.data(), kBlockBytes);
                              asm volatile("" : : "r"(copy_.data()) : "memory");
                              return kBlockBytes;
                            }));
    }
    return row;
  }

  Row Kernel(const kernels::cpu::MaskKernel& kernel, uint32_t lane_bytes) {
    const char* cipher = kernel.cipher == MaskCipher::kChaCha20 ? "chacha20-" : "aes256ctr-";
    return Measure(cipher + std::string(kernel.name), lane_bytes, kTurns, [&] {
      kernel.add(key_, {.lanes = lanes_.data(),
                        .elements = kBlockBytes / lane_bytes,
                        .first_element = 0,
                        .lane_bytes = lane_bytes});
      return kBlockBytes;
    });
  }

  Row WholeCall(uint32_t lane_bytes) {
    kernels::LaneBuffer vector(kVectorBytes);
    std::ranges::fill(vector, uint8_t{1});
    std::vector<MaskKey> keys(kVectorKeys, key_);
    return Measure("AddMasks", lane_bytes, kTurns / 4, [&] {
      kernels::AddMasks(vector, lane_bytes, 0, keys);
      return kVectorBytes * kVectorKeys;
    });
  }

 private:
  MaskKey key_;
  // On cache lines, as LaneBuffer is.
  alignas(64) std::array<uint8_t, kBlockBytes> lanes_{}, copy_{};
  OpenSslMasks openssl_;
};

std::vector<Row> MeasureAll() {
  static Bench bench;  // too large for the stack
  std::vector<Row> rows;
  for (const kernels::cpu::MaskKernel& kernel : kernels::cpu::MaskKernels()) {
    if (!kernel.supported()) continue;
    for (const uint32_t lane_bytes : {1, 2, 4, 8}) rows.push_back(bench.Kernel(kernel, lane_bytes));
  }
  for (const uint32_t lane_bytes : {1, 2, 4, 8}) rows.push_back(bench.WholeCall(lane_bytes));
  return rows;
}

double Ratio(double rate, double bound) { return bound > 0 ? rate / bound : 0; }

void PrintTable(const std::vector<Row>& rows) {
  std::printf("%-20s %5s %8s %10s %10s %10s\n", "kernel", "lane", "GB/s", "/AES bound", "/OpenSSL",
              "/memcpy");
  for (const Row& row : rows) {
    std::printf("%-20s %5u %8.2f %10.3f %10.2f %10.3f\n", row.name.c_str(), row.lane_bits,
                row.rate / 1e9, Ratio(row.rate, row.aes_bound), Ratio(row.rate, row.openssl),
                Ratio(row.rate, row.memcpy));
  }
  const Row& last = rows.back();
  std::printf("bounds, GB/s: AES rounds in registers %.2f, OpenSSL and an add %.2f, memcpy %.2f\n",
              last.aes_bound / 1e9, last.openssl / 1e9, last.memcpy / 1e9);
}

void PrintJson(const std::vector<Row>& rows) {
  nlohmann::json kernels = nlohmann::json::array();
  for (const Row& row : rows) {
    kernels.push_back({{"name", row.name},
                       {"lane_bits", row.lane_bits},
                       {"gb_per_s", row.rate / 1e9},
                       {"ratio_aes_bound", Ratio(row.rate, row.aes_bound)},
                       {"ratio_openssl", Ratio(row.rate, row.openssl)},
                       {"ratio_memcpy", Ratio(row.rate, row.memcpy)}});
  }
  std::printf("%s\n", nlohmann::json{{"kernels", kernels}}.dump(2).c_str());
}

int Main(int argc, char** argv) {
  const bool json = argc == 2 && std::string_view(argv[1]) == "--json";
  if (argc > 1 && !json) {
    std::fprintf(stderr, "usage: %s [--json]\n", argv[0]);
    return 2;
  }
  const std::vector<Row> rows = MeasureAll();
  if (json) {
    PrintJson(rows);
  } else {
    PrintTable(rows);
  }
  return 0;
}

}  // namespace
}  // namespace atl::bench

int main(int argc, char** argv) { return atl::bench::Main(argc, argv); }
