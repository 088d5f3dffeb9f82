// Ranks as forked processes over shared memory: what becomes of a wait when one is killed or
// stopped.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <functional>
#include <thread>

#include "comms/base/status.h"
#include "comms/collectives/shared/group.h"

namespace atl::shared {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::HasSubstr;
using Clock = std::chrono::steady_clock;

constexpr uint64_t kCount = 3'000'000;

// Shared by all ranks: the group's words, a buffer each, and what the test says to them.
class ProcessesTest : public ::testing::Test {
 protected:
  ProcessesTest() {
    buffers_at_ = (Group::StateBytes(kRanks) + 4095) / 4096 * 4096;
    bytes_ = buffers_at_ + kRanks * kCount * sizeof(float) + 4096;
    memory_ = static_cast<char*>(
        mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  }
  ~ProcessesTest() override {
    for (pid_t pid : children_) {
      kill(pid, SIGKILL);
      waitpid(pid, nullptr, 0);
    }
    munmap(memory_, bytes_);
  }
  Group::Options Options(uint32_t rank, milliseconds timeout) const {
    return {.rank = rank,
            .size = kRanks,
            .processes = true,
            .timeout = timeout,
            .resolve = [this](uint32_t r, uint64_t) { return Buffer(r); }};
  }
  float* Buffer(uint32_t rank) const {
    return reinterpret_cast<float*>(memory_ + buffers_at_) + rank * kCount;
  }
  uint64_t& word(int index) const {
    return reinterpret_cast<uint64_t*>(memory_ + bytes_ - 4096)[index];
  }
  static void Await(const std::function<bool()>& condition) {
    const auto end = Clock::now() + seconds(60);
    while (!condition() && Clock::now() < end) std::this_thread::sleep_for(milliseconds(1));
    ASSERT_TRUE(condition());
  }
  // Rank 1 in a process of its own, running `body`; rank 0's group, confirmed, in this one.
  std::unique_ptr<Group> Start(milliseconds timeout, const std::function<void(Group&)>& body) {
    auto mine = std::make_unique<Group>(memory_, Options(0, timeout));
    const pid_t child = fork();
    if (child == 0) {
      Group group(memory_, Options(1, timeout));
      group.Confirm();
      Store(word(0), 1);
      body(group);
      _exit(0);
    }
    children_.push_back(child);
    Await([&] { return Load(word(0)) == 1; });
    mine->Confirm();
    return mine;
  }
  static constexpr uint32_t kRanks = 2;
  char* memory_ = nullptr;
  uint64_t buffers_at_ = 0, bytes_ = 0;
  std::vector<pid_t> children_;
};

void Sleep() {
  for (;;) pause();
}

TEST_F(ProcessesTest, SumsOverProcesses) {
  auto group = Start(seconds(60), [&](Group& group) {
    std::fill_n(Buffer(1), kCount, 2.0f);
    for (int i = 0; i < 20; ++i) {
      auto work = group.Start(Kind::kAllReduce, 0, kCount);
      if (!work.ok() || !(*work)->Wait().ok()) _exit(1);
    }
    Store(word(1), 1);
    Sleep();
  });
  std::fill_n(Buffer(0), kCount, 1.0f);
  for (int i = 0; i < 20; ++i) {
    auto work = group->Start(Kind::kAllReduce, 0, kCount);
    ASSERT_TRUE(work.ok());
    ASSERT_TRUE((*work)->Wait().ok());
  }
  Await([&] { return Load(word(1)) == 1; });
  for (uint64_t i : {uint64_t{0}, kCount / 3, kCount - 1}) {
    EXPECT_EQ(Buffer(0)[i], 3.0f * (1 << 19));
    EXPECT_EQ(Buffer(1)[i], 3.0f * (1 << 19));
  }
}

TEST_F(ProcessesTest, AKilledRankIsUnavailableAtOnce) {
  auto group = Start(seconds(300), [](Group&) { Sleep(); });
  auto work = group->Start(Kind::kAllReduce, 0, kCount);
  ASSERT_TRUE(work.ok());
  EXPECT_FALSE((*work)->Test());
  const auto begin = Clock::now();
  std::thread killer([&] {
    std::this_thread::sleep_for(milliseconds(50));
    kill(children_[0], SIGKILL);  // and it is not waited for: a zombie is gone, too
  });
  const absl::Status status = (*work)->Wait();
  killer.join();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
  EXPECT_THAT(ToString(status), HasSubstr("rank 1 (process " + std::to_string(children_[0])));
  EXPECT_LT(Clock::now() - begin, seconds(5));
  EXPECT_EQ(group->Start(Kind::kAllReduce, 0, kCount).status(), status);
}

TEST_F(ProcessesTest, AStoppedRankEndsInTheTimeoutAndNotBefore) {
  auto group = Start(milliseconds(500), [](Group& group) {
    auto work = group.Start(Kind::kAllReduce, 0, kCount);
    Sleep();
  });
  kill(children_[0], SIGSTOP);
  int unused;
  ASSERT_EQ(waitpid(children_[0], &unused, WUNTRACED), children_[0]);
  // It may have started the first operation before it was stopped; not the second.
  auto first = group->Start(Kind::kAllReduce, 0, kCount);
  auto second = group->Start(Kind::kAllReduce, 0, kCount);
  ASSERT_TRUE(first.ok() && second.ok());
  const auto begin = Clock::now();
  const absl::Status status = (*second)->Wait();
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded) << status;
  EXPECT_THAT(ToString(status), HasSubstr("stopped by a signal"));
  EXPECT_GE(Clock::now() - begin, milliseconds(450));
  EXPECT_LT(Clock::now() - begin, seconds(10));
}

TEST_F(ProcessesTest, ARankThatSleepsEndsInTheTimeout) {
  auto group = Start(milliseconds(500), [](Group&) { Sleep(); });
  auto work = group->Start(Kind::kAllGather, 0, kCount);
  ASSERT_TRUE(work.ok());
  const absl::Status status = (*work)->Wait();
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded) << status;
  EXPECT_THAT(ToString(status), HasSubstr("sign of life"));
}

TEST_F(ProcessesTest, ARankThatComputesIsWaitedFor) {
  auto group = Start(milliseconds(500), [&](Group& group) {
    // Four times the timeout without a word.
    for (auto end = Clock::now() + seconds(2); Clock::now() < end;) {
    }
    auto work = group.Start(Kind::kAllReduce, 0, kCount);
    _exit(work.ok() && (*work)->Wait().ok() ? 0 : 1);
  });
  auto work = group->Start(Kind::kAllReduce, 0, kCount);
  ASSERT_TRUE(work.ok());
  const absl::Status status = (*work)->Wait();
  EXPECT_TRUE(status.ok()) << status;
}

TEST_F(ProcessesTest, ARankKilledAtAnyMomentNeverLeavesTheOtherWaiting) {
  for (int round = 0; round < 12; ++round) {
    std::memset(memory_, 0, Group::StateBytes(kRanks));
    Store(word(0), 0);
    auto group = Start(seconds(300), [](Group& group) {
      for (;;) {
        auto work = group.Start(Kind::kAllReduce, 0, kCount);
        if (!work.ok() || !(*work)->Wait().ok()) _exit(1);
      }
    });
    std::thread killer([&] {
      std::this_thread::sleep_for(std::chrono::microseconds(500 + 1700 * round));
      kill(children_.back(), SIGKILL);
    });
    absl::Status status;
    const auto begin = Clock::now();
    while (status.ok()) {
      auto work = group->Start(Kind::kAllReduce, 0, kCount);
      status = work.ok() ? (*work)->Wait() : work.status();
    }
    killer.join();
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
    EXPECT_LT(Clock::now() - begin, seconds(10)) << "round " << round;
  }
}

TEST_F(ProcessesTest, ARankThatEndsInOrderIsGone) {
  auto group = Start(seconds(300), [&](Group&) {});
  kill(children_[0], 0);
  auto work = group->Start(Kind::kAllReduce, 0, kCount);
  ASSERT_TRUE(work.ok());
  EXPECT_EQ((*work)->Wait().code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace atl::shared
