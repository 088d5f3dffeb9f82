// bench_gpu [--json FILE]: kernels of masks against a copy on the device, and NCCL's sums over 1 to
// all GPUs. Medians of 9 runs; a run repeats its work until it has taken 20 ms.
#include <algorithm>
#include <barrier>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <memory>
#include <thread>

#include "comms/collectives/nccl/nccl_group.h"
#include "tests/gpu/check.h"

namespace atl::gpu {
namespace {

constexpr uint64_t kElements = uint64_t{1} << 26;  // 256 MiB of 4-byte lanes
constexpr int kRuns = 9;

struct Case {
  std::string name;
  double ms;
  double gb_per_s;  // of the vector; sums: of the bus, as NCCL's own tests count
};

void OrExit(const GpuStatus& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "bench_gpu: %s\n", status.message.c_str());
  std::exit(1);
}

double Seconds(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Waits for all that is queued on the default stream.
void Drain() {
  static DeviceBytes one(1);
  (void)one.Read();
}

// Seconds of one call of `queue`, which queues its work and does not wait.
double Median(const std::function<void()>& queue) {
  queue();
  Drain();
  const double once = Seconds([&] { queue(), Drain(); });
  const int repeat = std::clamp(static_cast<int>(0.02 / once), 1, 1000);
  std::vector<double> runs;
  for (int run = 0; run < kRuns; ++run) {
    runs.push_back(Seconds([&] {
                     for (int i = 0; i < repeat; ++i) queue();
                     Drain();
                   }) /
                   repeat);
  }
  std::sort(runs.begin(), runs.end());
  return runs[kRuns / 2];
}

void Kernels(std::vector<Case>& cases) {
  const double bytes = 4.0 * kElements;
  DeviceBytes lanes(4 * kElements), other(4 * kElements), packed(kElements * 19 / 8 + 8);
  DeviceBytes saturated(sizeof(unsigned long long));
  char problem[256] = "";
  const auto add = [&](const std::string& name, const std::function<int()>& call) {
    const double s = Median([&] {
      if (call() == 0) return;
      std::fprintf(stderr, "bench_gpu: %s: %s\n", name.c_str(), problem);
      std::exit(1);
    });
    cases.push_back({name, 1e3 * s, bytes / s / 1e9});
  };
  add("copy on the device",
      [&] { return Api().copy_on_device(lanes.data(), other.data(), 4 * kElements); });
  for (const uint32_t keys : {1u, 15u}) {
    std::vector<AtollGpuMaskKey> list(keys);
    for (uint32_t k = 0; k < keys; ++k) std::memset(list[k].key, static_cast<int>(k + 1), 32);
    for (const int cipher : {1, 2}) {
      add(std::string("masks, ") + (cipher == 1 ? "AES-256-CTR, " : "ChaCha20, ") +
              std::to_string(keys) + (keys == 1 ? " key" : " keys"),
          [&, cipher, keys] {
            return Api().add_masks(lanes.data(), kElements, 4, 0, list.data(), keys, cipher,
                                   nullptr, problem, sizeof problem);
          });
    }
  }
  const uint8_t key[32] = {1};
  add("round to 16 bits", [&] {
    return Api().quantize(lanes.as<float>(), other.as<float>(), kElements, 1000, 32767, key, 0,
                          lanes.data(), 4, saturated.as<unsigned long long>(), nullptr, problem,
                          sizeof problem);
  });
  add("pack to 19 bits", [&] {
    return Api().pack_lanes(lanes.data(), kElements, 4, 19, packed.data(), nullptr, problem,
                            sizeof problem);
  });
  add("add 19-bit lanes", [&] {
    return Api().add_packed(packed.data(), 19, lanes.data(), kElements, 4, nullptr, problem,
                            sizeof problem);
  });
}

void Sums(std::vector<Case>& cases) {
  for (int ranks = 1; ranks <= Gpus(); ++ranks) {
    for (const uint64_t bytes : {uint64_t{1} << 16, uint64_t{1} << 22, uint64_t{1} << 28}) {
      NcclId id{};
      std::barrier together(ranks);
      std::vector<double> runs(kRuns);
      std::vector<std::thread> threads;
      for (int rank = 0; rank < ranks; ++rank) {
        threads.emplace_back([&, rank] {
          std::unique_ptr<NcclGroup> group;
          OrExit(NcclGroup::Prepare(Api(), {.device = rank, .timeout_ms = 60'000}, group));
          if (rank == 0) OrExit(group->NewId(id));
          together.arrive_and_wait();
          OrExit(group->Connect(id, static_cast<uint32_t>(rank), static_cast<uint32_t>(ranks)));
          float* values = nullptr;
          OrExit(group->Allocate(bytes / 4, &values));
          const auto sum = [&] {
            NcclGroup::Ticket ticket = 0;
            OrExit(group->StartAllReduceSum(values, bytes / 4, ticket));
            OrExit(group->Wait(ticket));
          };
          for (int i = 0; i < 5; ++i) sum();
          for (int run = 0; run < kRuns; ++run) {
            together.arrive_and_wait();
            const double s = Seconds([&] {
              for (int i = 0; i < 10; ++i) sum();
            });
            if (rank == 0) runs[static_cast<size_t>(run)] = s / 10;
          }
        });
      }
      for (auto& thread : threads) thread.join();
      std::sort(runs.begin(), runs.end());
      const double s = runs[kRuns / 2];
      const double bus = ranks == 1 ? 1.0 : 2.0 * (ranks - 1) / ranks;
      cases.push_back({"sum over " + std::to_string(ranks) + (ranks == 1 ? " GPU, " : " GPUs, ") +
                           std::to_string(bytes >> 10) + " KiB",
                       1e3 * s, static_cast<double>(bytes) * bus / s / 1e9});
    }
  }
}

int Main(int argc, char** argv) {
  std::string json;
  if (argc == 3 && std::strcmp(argv[1], "--json") == 0) {
    json = argv[2];
  } else if (argc != 1) {
    std::fprintf(stderr, "usage: bench_gpu [--json FILE]\n");
    return 2;
  }
  (void)Gpus();
  char name[256] = "";
  OrExit(CudaStatus(Api(), Api().device_name(0, name, sizeof name), "cudaGetDeviceProperties"));
  OrExit(CudaStatus(Api(), Api().set_device(0), "cudaSetDevice"));
  std::vector<Case> cases;
  Kernels(cases);
  Sums(cases);
  std::printf("%s, %d of them\n%-32s %10s %10s\n", name, Gpus(), "", "ms", "GB/s");
  for (const Case& c : cases) {
    std::printf("%-32s %10.3f %10.1f\n", c.name.c_str(), c.ms, c.gb_per_s);
  }
  if (json.empty()) return 0;
  std::ofstream out(json);
  out << "{\"gpu\": \"" << name << "\", \"gpus\": " << Gpus() << ", \"cases\": [";
  for (size_t i = 0; i < cases.size(); ++i) {
    out << (i == 0 ? "" : ", ") << "{\"name\": \"" << cases[i].name << "\", \"ms\": " << cases[i].ms
        << ", \"gb_per_s\": " << cases[i].gb_per_s << "}";
  }
  out << "]}\n";
  return out.good() ? 0 : 1;
}

}  // namespace
}  // namespace atl::gpu

int main(int argc, char** argv) { return atl::gpu::Main(argc, argv); }
