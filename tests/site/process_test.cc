// The agent as a process with a real mpirun below it: whatever is killed, nothing stays.
#include <signal.h>
#include <sys/types.h>

#include <chrono>
#include <fstream>
#include <functional>
#include <set>
#include <thread>

#include "comms/base/process.h"
#include "gtest/gtest.h"
#include "tests/site/workbench.h"

namespace atl::site {
namespace {

namespace fs = std::filesystem;

bool Within(int seconds, const std::function<bool()>& condition) {
  for (int i = 0; i < seconds * 50; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return false;
}

// Also zombies count: whoever inherits them must reap them, and here that is this process.
bool IsAlive(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string text((std::istreambuf_iterator<char>(file)), {});
  const size_t name_end = text.rfind(')');
  return name_end != std::string::npos && text.size() > name_end + 2 && text[name_end + 2] != 'Z';
}

class ProcessTest : public testing::Test {
 protected:
  void SetUp() override {
    agent_ = bench_.StartAgentProcess();
    ASSERT_TRUE(agent_);
    ASSERT_TRUE(Within(20, [&] { return Ranks().size() == 2; }));
    bench_.PrepareSlot(1);
    bench_.SayManifest(bench_.MakeManifest(1, 1));
    ASSERT_FALSE(bench_.coordinator->HearStep(v1::READY).empty());
    family_ = LiveDescendants();
    // The agent, mpirun, two ranks.
    ASSERT_GE(family_.size(), 4u);
  }

  std::set<pid_t> Ranks() const {
    std::set<pid_t> ranks;
    for (const auto& entry : fs::directory_iterator(bench_.pids())) {
      ranks.insert(std::stoi(entry.path().filename()));
    }
    return ranks;
  }
  bool AllGone() const {
    for (const pid_t pid : family_) {
      if (IsAlive(pid)) return false;
    }
    return true;
  }

  Workbench bench_;
  std::optional<Process> agent_;
  std::set<pid_t> family_;
};

TEST_F(ProcessTest, KillingTheAgentLeavesNoProcess) {
  kill(agent_->pid(), SIGKILL);
  EXPECT_TRUE(Within(6, [&] { return AllGone(); }));
}

TEST_F(ProcessTest, SigtermEndsEverythingInThreeSeconds) {
  const auto begin = std::chrono::steady_clock::now();
  kill(agent_->pid(), SIGTERM);
  const auto code = agent_->Wait(5'000);
  ASSERT_TRUE(code.ok());
  EXPECT_EQ(*code, 0);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(3));
  EXPECT_TRUE(AllGone());
  EXPECT_TRUE(fs::is_empty(bench_.data_folder() / "jobs" / "1"));
  EXPECT_FALSE(fs::exists(bench_.data_folder() / "run"));
}

TEST_F(ProcessTest, KillingMpirunOrARankStartsTheTrainerAgain) {
  std::set<pid_t> before = Ranks();
  kill(*before.begin(), SIGKILL);
  ASSERT_TRUE(Within(10, [&] { return Ranks().size() == 4; }));
  for (const pid_t pid : before) EXPECT_FALSE(IsAlive(pid));
  EXPECT_FALSE(bench_.coordinator->Hear(100).has_value());

  before = Ranks();
  for (const pid_t pid : LiveDescendants()) {
    std::ifstream file("/proc/" + std::to_string(pid) + "/comm");
    std::string name;
    std::getline(file, name);
    if (name == "mpirun" || name == "orterun") kill(pid, SIGKILL);
  }
  ASSERT_TRUE(Within(10, [&] { return Ranks().size() == 6; }));
  for (const pid_t pid : before) EXPECT_FALSE(IsAlive(pid));
  for (const pid_t pid : LiveDescendants()) family_.insert(pid);
  kill(agent_->pid(), SIGTERM);
  EXPECT_TRUE(agent_->Wait(5'000).ok());
  EXPECT_TRUE(AllGone());
}

TEST_F(ProcessTest, AnotherLifeSweepsWhatAKilledOneLeft) {
  kill(agent_->pid(), SIGKILL);
  EXPECT_TRUE(Within(6, [&] { return AllGone(); }));
  ASSERT_TRUE(agent_->Wait(5'000).ok());  // all its threads, and so its lock
  EXPECT_FALSE(fs::is_empty(bench_.data_folder() / "jobs"));
  bench_.StartAgent();
  EXPECT_TRUE(fs::is_empty(bench_.data_folder() / "jobs"));
}

}  // namespace
}  // namespace atl::site
