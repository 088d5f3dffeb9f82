// `atoll coordinator` as a process: its ready file, its end, and what it refuses. This process uses
// no gRPC, so that it may fork.

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "comms/base/files.h"
#include "comms/rpc/channel.h"
#include "federation/coordinator/coordinator_main.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/coordinator/client.h"

namespace atl::coordinator {
namespace {

using testing::HasSubstr;

class MainTest : public testing::Test {
 protected:
  MainTest() : folder_(TemporaryFolder::Create("coordinator").value()) {
    options_.listen = "127.0.0.1:0";
    options_.data_folder = folder_.path() / "data";
    options_.roster_file = folder_.path() / "roster.json";
    options_.ready_file = folder_.path() / "ready.json";
    EXPECT_TRUE(WriteFileAtomic(options_.roster_file, AsBytes(TestRoster(3).ToJson())).ok());
  }
  ~MainTest() override {
    for (pid_t pid : running_) {
      kill(pid, SIGKILL);
      waitpid(pid, nullptr, 0);
    }
  }

  // A coordinator in a child process; its error goes to `error`.
  pid_t Start(const CoordinatorMainOptions& options, const std::string& error) {
    const pid_t pid = fork();
    if (pid == 0) {
      const absl::Status status = RunCoordinator(options);
      (void)WriteFileAtomic(folder_.path() / error, AsBytes(std::string(status.message())));
      _exit(status.ok() ? 0 : 1);
    }
    running_.insert(pid);
    return pid;
  }
  nlohmann::json AwaitReady() {
    for (int i = 0; i < 200 && !std::filesystem::exists(options_.ready_file); ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    const auto text = ReadFile(options_.ready_file, 4096);
    EXPECT_TRUE(text.ok()) << text.status();
    return text.ok() ? nlohmann::json::parse(AsText(*text)) : nlohmann::json();
  }
  int Wait(pid_t pid) {
    int status = 0;
    waitpid(pid, &status, 0);
    running_.erase(pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  std::string Error(const std::string& name) {
    return std::string(AsText(ReadFile(folder_.path() / name, 4096).value()));
  }

  TemporaryFolder folder_;
  CoordinatorMainOptions options_;
  std::set<pid_t> running_;
};

TEST_F(MainTest, SaysWhereItListensAndStopsWhenTold) {
  for (const int signal : {SIGTERM, SIGINT}) {
    std::filesystem::remove(options_.ready_file);
    const pid_t pid = Start(options_, "error");
    const nlohmann::json ready = AwaitReady();
    EXPECT_EQ(ready.at("pid"), pid);
    EXPECT_THAT(ready.at("address").get<std::string>(), testing::StartsWith("127.0.0.1:"));
    const auto before = std::chrono::steady_clock::now();
    kill(pid, signal);
    EXPECT_EQ(Wait(pid), 0) << Error("error");
    EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(2));
  }
}

TEST_F(MainTest, RefusesAPortAndAFolderInUse) {
  Start(options_, "first");
  const std::string address = AwaitReady().at("address");
  CoordinatorMainOptions other = options_;
  other.ready_file.clear();
  EXPECT_EQ(Wait(Start(other, "folder")), 1);
  EXPECT_THAT(Error("folder"), HasSubstr("another coordinator uses"));
  other.data_folder = folder_.path() / "other";
  other.listen = address;
  EXPECT_EQ(Wait(Start(other, "port")), 1);
  EXPECT_THAT(Error("port"), HasSubstr(address));
  EXPECT_THAT(Error("port"), HasSubstr("in use"));
  EXPECT_THAT(Error("port"), testing::Not(HasSubstr("\n")));
  other.listen = "0.0.0.0:0";
  EXPECT_EQ(Wait(Start(other, "tls")), 1);
  EXPECT_THAT(Error("tls"), HasSubstr("TLS"));
  other.listen = "nonsense";
  EXPECT_EQ(Wait(Start(other, "address")), 1);
  other.listen = "127.0.0.1:0";
  other.roster_file = folder_.path() / "none.json";
  EXPECT_EQ(Wait(Start(other, "roster")), 1);
  EXPECT_THAT(Error("roster"), HasSubstr("none.json"));
}

TEST_F(MainTest, TakesUpItsDataAfterBeingKilled) {
  const pid_t pid = Start(options_, "error");
  AwaitReady();
  kill(pid, SIGKILL);
  EXPECT_EQ(Wait(pid), -1);
  std::filesystem::remove(options_.ready_file);
  const pid_t next = Start(options_, "error");
  EXPECT_EQ(AwaitReady().at("pid"), next);
  kill(next, SIGTERM);
  EXPECT_EQ(Wait(next), 0) << Error("error");
}

}  // namespace
}  // namespace atl::coordinator
