// ChooseBackend: every combination of what is asked for and what is found.
#include "trainer/gpu/backend.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace atl::trainer {
namespace {

using recipes::Backend;
using ::testing::AllOf;
using ::testing::HasSubstr;

const absl::Status kNoDriver =
    absl::FailedPreconditionError("rank 2: no NVIDIA driver: libcuda.so.1 is not there");

TEST(AssignGpus, NoTwoRanksGetOneGpu) {
  using Visible = std::vector<std::vector<uint64_t>>;
  using Own = std::vector<int>;
  EXPECT_EQ(AssignGpus(Visible{{7}}), Own({0}));
  // All ranks of a machine see all its GPUs; two machines.
  EXPECT_EQ(AssignGpus(Visible{{1, 2}, {1, 2}, {3, 4}, {3, 4}}), Own({0, 1, 0, 1}));
  // Ranks go round the machines.
  EXPECT_EQ(AssignGpus(Visible{{1, 2}, {3, 4}, {1, 2}, {3, 4}}), Own({0, 0, 1, 1}));
  // One each, as Slurm gives them out; and in another order.
  EXPECT_EQ(AssignGpus(Visible{{1}, {2}, {3}}), Own({0, 0, 0}));
  EXPECT_EQ(AssignGpus(Visible{{1, 2}, {2, 1}}), Own({0, 0}));
  // Too few, or none.
  EXPECT_EQ(AssignGpus(Visible{{1, 2}, {1, 2}, {1, 2}}), Own({0, 1, -1}));
  EXPECT_EQ(AssignGpus(Visible{{}, {5}}), Own({-1, 0}));
  EXPECT_EQ(AssignGpus(Visible{}), Own{});
}

TEST(ChooseBackend, MpiIsTakenWhenAskedForWhateverIsThere) {
  for (const absl::Status& usable : {absl::OkStatus(), kNoDriver}) {
    const auto choice = ChooseBackend(Backend::kMpi, {.usable = usable});
    ASSERT_TRUE(choice.ok());
    EXPECT_EQ(choice->backend, Backend::kMpi);
    EXPECT_EQ(choice->reason, "the recipe asks for it");
  }
}

TEST(ChooseBackend, NcclWhereEachRankHasAGpu) {
  for (const Backend wanted : {Backend::kAuto, Backend::kNccl}) {
    const auto choice = ChooseBackend(wanted, {});
    ASSERT_TRUE(choice.ok());
    EXPECT_EQ(choice->backend, Backend::kNccl);
    EXPECT_EQ(choice->reason, wanted == Backend::kAuto ? "each rank has a GPU of its own"
                                                       : "the recipe asks for it");
  }
}

TEST(ChooseBackend, WithoutGpusAutoIsMpiAndSaysWhy) {
  const auto choice = ChooseBackend(Backend::kAuto, {.usable = kNoDriver});
  ASSERT_TRUE(choice.ok());
  EXPECT_EQ(choice->backend, Backend::kMpi);
  EXPECT_EQ(choice->reason, "on the CPU: rank 2: no NVIDIA driver: libcuda.so.1 is not there");
  const auto refused = ChooseBackend(Backend::kNccl, {.usable = kNoDriver});
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.status().message()),
              AllOf(HasSubstr("site.backend: nccl is not possible here: "),
                    HasSubstr("libcuda.so.1 is not there")));
}

TEST(ChooseBackend, FewerGpusThanRanksIsMpiAndSaysWhichRank) {
  const GpuFindings found{.rank_without = 3, .gpus_seen = 1};
  const auto choice = ChooseBackend(Backend::kAuto, found);
  ASSERT_TRUE(choice.ok());
  EXPECT_EQ(choice->backend, Backend::kMpi);
  EXPECT_EQ(choice->reason,
            "on the CPU: rank 3 sees 1 GPU, which another rank has; NCCL needs one for each rank: "
            "start fewer ranks on each machine");
  EXPECT_EQ(ChooseBackend(Backend::kNccl, found).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace atl::trainer
