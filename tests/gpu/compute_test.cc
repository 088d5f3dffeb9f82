// SetUpCompute: what a rank is told, with libraries that are missing, there, or fail.
#include "trainer/gpu/compute.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/collectives/nccl/fake_gpu.h"
#include "tests/collectives/nccl/host_ranks.h"
#include "trainer/parallel/agree.h"

namespace atl::trainer {
namespace {

using recipes::Backend;
using testing::FakeGpu;
using ::testing::HasSubstr;
using testing::Host;
using testing::OnHostRanks;
using ::testing::StartsWith;

ComputeParts With(std::vector<uint64_t> gpus) {
  return {.load_gpu = [gpus]() -> absl::StatusOr<GpuLibrary> {
            return GpuLibrary{.api = &FakeGpu::Api(), .gpus = gpus};
          },
          .load_torch = [] { return std::string(); }};
}

ComputeParts Without(const std::string& what) {
  return {.load_gpu = [what]() -> absl::StatusOr<GpuLibrary> {
            return absl::FailedPreconditionError(what);
          },
          .load_torch = [] { return std::string(); }};
}

TEST(SetUpCompute, EachRankGetsAGpuOfItsOwn) {
  OnHostRanks(3, [](uint32_t rank, Host& host) {
    FakeGpu gpu;
    const auto compute = SetUpCompute(Backend::kAuto, host, With({5, 6, 7, 8}));
    ASSERT_TRUE(compute.ok()) << compute.status();
    EXPECT_EQ(compute->device, at::Device(at::kCUDA, static_cast<at::DeviceIndex>(rank)));
    EXPECT_TRUE(compute->communicator->on_device());
    EXPECT_EQ(compute->line, "nccl 2.28.9, 3 ranks, Fake GPU (each rank has a GPU of its own)");
  });
}

TEST(SetUpCompute, AGpuThatARankAloneSeesIsItsOwn) {
  OnHostRanks(2, [](uint32_t rank, Host& host) {
    FakeGpu gpu;
    const auto compute = SetUpCompute(Backend::kNccl, host, With({rank}));
    ASSERT_TRUE(compute.ok()) << compute.status();
    EXPECT_EQ(compute->device, at::Device(at::kCUDA, 0));
    EXPECT_EQ(compute->line, "nccl 2.28.9, 2 ranks, Fake GPU (the recipe asks for it)");
  });
}

TEST(SetUpCompute, OneRankWithoutAGpuKeepsAllOnMpi) {
  OnHostRanks(3, [](uint32_t rank, Host& host) {
    FakeGpu gpu;
    const ComputeParts parts = rank == 1 ? Without("no NVIDIA driver") : With({5, 6, 7, 8});
    const auto compute = SetUpCompute(Backend::kAuto, host, parts);
    ASSERT_TRUE(compute.ok()) << compute.status();
    EXPECT_EQ(compute->communicator, &host);
    EXPECT_TRUE(compute->device.is_cpu());
    EXPECT_EQ(compute->line, "host (on the CPU: rank 1: no NVIDIA driver)");
    const auto refused = SetUpCompute(Backend::kNccl, host, parts);
    EXPECT_EQ(refused.status().code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_TRUE(IsAgreed(refused.status()));
    EXPECT_THAT(std::string(refused.status().message()), HasSubstr("rank 1: no NVIDIA driver"));
  });
}

TEST(SetUpCompute, TooFewGpusOrNoTorchForThemIsMpi) {
  OnHostRanks(2, [](uint32_t rank, Host& host) {
    FakeGpu gpu;
    auto compute = SetUpCompute(Backend::kAuto, host, With({5}));
    ASSERT_TRUE(compute.ok());
    EXPECT_THAT(compute->line,
                StartsWith("host (on the CPU: rank 1 sees 1 GPU, which another rank has"));
    ComputeParts parts = With({5, 6});
    parts.load_torch = [] { return std::string("torch for CUDA does not load"); };
    compute = SetUpCompute(Backend::kAuto, host, parts);
    ASSERT_TRUE(compute.ok());
    EXPECT_EQ(compute->line, "host (on the CPU: torch for CUDA does not load)");
  });
}

TEST(SetUpCompute, MpiLooksForNothing) {
  OnHostRanks(1, [](uint32_t, Host& host) {
    const auto compute = SetUpCompute(Backend::kMpi, host,
                                      {.load_gpu = []() -> absl::StatusOr<GpuLibrary> {
                                         ADD_FAILURE();
                                         return absl::InternalError("");
                                       },
                                       .load_torch = [] { return std::string(); }});
    ASSERT_TRUE(compute.ok());
    EXPECT_EQ(compute->line, "host (the recipe asks for it)");
  });
}

TEST(SetUpCompute, NcclThatFailsIsOneErrorOnAllRanks) {
  OnHostRanks(2, [](uint32_t rank, Host& host) {
    FakeGpu gpu;
    if (rank == 1) gpu.Fail("cudaSetDevice", kCudaErrorDevicesUnavailable);
    const auto compute = SetUpCompute(Backend::kAuto, host, With({5, 6}));
    EXPECT_EQ(compute.status().code(), absl::StatusCode::kUnavailable);
    EXPECT_TRUE(IsAgreed(compute.status()));
  });
}

}  // namespace
}  // namespace atl::trainer
