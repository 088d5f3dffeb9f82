// What a sum of floats over ranks costs, in a buffer from Allocate and in any other.
//
//   mpirun -np 2 bench_collectives [--count 25000000] [--repeats 10]
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <functional>
#include <vector>

#include "comms/base/status.h"
#include "comms/collectives/mpi/mpi_communicator.h"

namespace atl {
namespace {

struct Options {
  uint64_t count = 25'000'000;
  int repeats = 10;
};

// Least and median milliseconds of one call, from and to a barrier, on rank 0.
absl::Status Measure(const char* name, const Options& options, Communicator& world,
                     const std::function<absl::Status()>& call) {
  std::vector<double> ms;
  for (int i = -2; i < options.repeats; ++i) {
    ATOLL_RETURN_IF_ERROR(world.Barrier());
    const auto begin = std::chrono::steady_clock::now();
    ATOLL_RETURN_IF_ERROR(call());
    if (i < 0) continue;
    ms.push_back(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin)
                     .count());
  }
  std::sort(ms.begin(), ms.end());
  if (world.rank() == 0) {
    std::printf("%-32s %8.2f ms (median %.2f)\n", name, ms.front(), ms[ms.size() / 2]);
    std::fflush(stdout);
  }
  return absl::OkStatus();
}

absl::Status Wait(absl::StatusOr<std::unique_ptr<Work>> work) {
  return work.ok() ? (*work)->Wait() : work.status();
}

absl::Status Run(const Options& options, Communicator& world) {
  if (world.rank() == 0) {
    std::printf("%s, %llu floats\n", world.name().c_str(),
                static_cast<unsigned long long>(options.count));
  }
  ATOLL_ASSIGN_OR_RETURN(std::span<float> window, world.Allocate(options.count));
  std::vector<float> own(options.count);
  const std::span<float> other(own);
  ATOLL_RETURN_IF_ERROR(Measure("memcpy of one buffer to another", options, world, [&] {
    std::memcpy(own.data(), window.data(), window.size_bytes());
    return absl::OkStatus();
  }));
  for (bool shared : {true, false}) {
    const std::span<float> values = shared ? window : other;
    const std::string where = shared ? ", allocated" : ", other memory";
    ATOLL_RETURN_IF_ERROR(Measure(("all-reduce" + where).c_str(), options, world,
                                  [&] { return Wait(world.StartAllReduceSum(values)); }));
    ATOLL_RETURN_IF_ERROR(Measure(("reduce-scatter" + where).c_str(), options, world,
                                  [&] { return Wait(world.StartReduceScatterSum(values)); }));
    ATOLL_RETURN_IF_ERROR(Measure(("all-gather" + where).c_str(), options, world,
                                  [&] { return Wait(world.StartAllGather(values)); }));
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace atl

int main(int argc, char** argv) {
  atl::Options options;
  CLI::App app{"What a sum of floats over ranks costs", "bench_collectives"};
  app.add_option("--count", options.count, "Floats")->check(CLI::Range(1u, 1u << 30));
  app.add_option("--repeats", options.repeats)->check(CLI::Range(1, 10000));
  CLI11_PARSE(app, argc, argv);
  auto session = atl::MpiSession::Start();
  if (!session.ok()) {
    std::fprintf(stderr, "bench_collectives: %s\n", atl::ToString(session.status()).c_str());
    return 1;
  }
  const absl::Status status = atl::Run(options, (*session)->world());
  if (status.ok()) return 0;
  std::fprintf(stderr, "bench_collectives: %s\n", atl::ToString(status).c_str());
  (*session)->Abort(1);
}
