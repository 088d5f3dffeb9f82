// The MPI backend under a real mpirun.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>

#include "comms/base/files.h"
#include "comms/base/process.h"
#include "comms/collectives/mpi/mpi_communicator.h"
#include "tests/collectives/mpirun.h"
#include "tests/collectives/properties.h"

namespace atl {
namespace {

using ::testing::HasSubstr;
using Clock = std::chrono::steady_clock;

class MpiTest : public ::testing::Test {
 protected:
  struct Run {
    int code = -1;
    std::string output;
    double seconds = 0;
  };
  Run Start(int ranks, const std::string& mode, int timeout_ms,
            std::vector<std::string> more = {}) {
    const std::string scratch = folder_.path().string(), log = scratch + "/output.txt";
    ProcessOptions options = MpirunOptions(ranks, scratch);
    options.arguments.insert(options.arguments.end(), more.begin(), more.end());
    for (const std::string& text : {std::string(MPI_RANKS_PROGRAM), mode,
                                    std::to_string(timeout_ms), std::to_string(seed_)}) {
      options.arguments.push_back(text);
    }
    options.output_file = log;
    const auto begin = Clock::now();
    auto process = Process::Start(options);
    EXPECT_TRUE(process.ok()) << process.status();
    Run run;
    if (!process.ok()) return run;
    auto code = process->Wait(120'000);
    EXPECT_TRUE(code.ok()) << code.status();
    if (code.ok()) run.code = *code;
    run.seconds = std::chrono::duration<double>(Clock::now() - begin).count();
    auto bytes = ReadFile(log, 1 << 20);
    if (bytes.ok()) run.output = std::string(AsText(*bytes));
    std::filesystem::remove(log);
    return run;
  }
  // Files that MPI left in its folder.
  std::vector<std::string> Leftovers() const {
    std::vector<std::string> out;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder_.path())) {
      if (!entry.is_directory()) out.push_back(entry.path().string());
    }
    return out;
  }
  const uint64_t seed_ = TestSeed();
  const TemporaryFolder folder_ = *TemporaryFolder::Create("atoll-mpi");
};

TEST_F(MpiTest, EveryOperationIsRight) {
  for (int ranks : {1, 2, 3}) {
    const Run run = Start(ranks, "properties", 60'000);
    EXPECT_EQ(run.code, 0) << run.output << "seed " << seed_;
    EXPECT_THAT(run.output, HasSubstr("right: mpi, " + std::to_string(ranks) + " rank"));
    if (ranks > 1) {
      EXPECT_THAT(run.output, HasSubstr("ranks, shared memory"));
    }
    EXPECT_THAT(Leftovers(), ::testing::IsEmpty());
  }
}

TEST_F(MpiTest, WithoutRoomForAWindowMpiDoesIt) {
  // A folder that is not there has no room.
  const Run run =
      Start(2, "properties", 60'000, {"-x", "OMPI_MCA_osc_sm_backing_directory=/nowhere"});
  EXPECT_EQ(run.code, 0) << run.output;
  EXPECT_THAT(run.output, HasSubstr("no shared memory: /nowhere has no room")) << seed_;
}

TEST(MpiOptionsTest, TheTimeoutComesFromTheEnvironment) {
  unsetenv("ATOLL_PEER_TIMEOUT_S");
  EXPECT_EQ(MpiOptionsFromEnvironment()->timeout, std::chrono::seconds(300));
  setenv("ATOLL_PEER_TIMEOUT_S", "7", 1);
  EXPECT_EQ(MpiOptionsFromEnvironment()->timeout, std::chrono::seconds(7));
  for (const char* wrong : {"", "0", "-1", "86401", "5s", "1e3"}) {
    setenv("ATOLL_PEER_TIMEOUT_S", wrong, 1);
    EXPECT_EQ(MpiOptionsFromEnvironment().status().code(), absl::StatusCode::kInvalidArgument)
        << wrong;
  }
  unsetenv("ATOLL_PEER_TIMEOUT_S");
}

TEST_F(MpiTest, AKilledRankEndsTheOthersWait) {
  // Without --enable-recovery mpirun itself ends the others as soon as one is killed.
  for (const char* mode : {"kill", "kill-mpi"}) {
    const Run run = Start(3, mode, 300'000, {"--enable-recovery"});
    EXPECT_THAT(run.output, HasSubstr("UNAVAILABLE: ")) << mode;
    EXPECT_THAT(run.output, HasSubstr("rank 2 (process ")) << mode;
    EXPECT_LT(run.seconds, 30) << mode;
  }
  const Run run = Start(3, "kill", 300'000);
  EXPECT_NE(run.code, 0);
  EXPECT_LT(run.seconds, 30);
  EXPECT_THAT(Leftovers(), ::testing::IsEmpty());
}

TEST_F(MpiTest, AStoppedRankEndsTheOthersWait) {
  for (const char* mode : {"stop", "stop-mpi"}) {
    const Run run = Start(3, mode, 1'000);
    EXPECT_THAT(run.output, HasSubstr("DEADLINE_EXCEEDED: ")) << mode;
    EXPECT_LT(run.seconds, 30) << mode;
    EXPECT_THAT(Leftovers(), ::testing::IsEmpty());
  }
}

}  // namespace
}  // namespace atl
