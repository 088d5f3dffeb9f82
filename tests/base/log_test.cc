#include "comms/base/log.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

#include "comms/base/files.h"
#include "gmock/gmock.h"
#include "nlohmann/json.hpp"
#include "spdlog/sinks/stdout_color_sinks.h"

namespace atl {
namespace {

using ::testing::HasSubstr;

// Taken before main: what logs before InitLogging must not write to stdout either.
const bool kDefaultIsStderr = spdlog::default_logger()->sinks().size() == 1 &&
                              dynamic_cast<spdlog::sinks::stderr_color_sink_mt*>(
                                  spdlog::default_logger()->sinks()[0].get()) != nullptr;

std::string Content(const std::filesystem::path& path) {
  return std::string(AsText(ReadFile(path, 1 << 20).value()));
}

TEST(Log, GoesToStderrBeforeInitLogging) { EXPECT_TRUE(kDefaultIsStderr); }

TEST(Log, NeverGoesToStdout) {
  const TemporaryFolder folder = TemporaryFolder::Create("atoll-log-test-").value();
  const pid_t pid = fork();
  if (pid == 0) {
    dup2(open((folder.path() / "out").c_str(), O_CREAT | O_WRONLY, 0600), STDOUT_FILENO);
    dup2(open((folder.path() / "err").c_str(), O_CREAT | O_WRONLY, 0600), STDERR_FILENO);
    for (bool json : {false, true}) {
      if (!InitLogging({.program = "unit", .json = json, .level = "trace"}).ok()) _exit(1);
      spdlog::trace("low");
      spdlog::error("high");
    }
    _exit(0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(pid, &status, 0), pid);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(Content(folder.path() / "out"), "");
  const std::string text = Content(folder.path() / "err");
  EXPECT_THAT(text, HasSubstr("unit error high"));
  EXPECT_THAT(text, HasSubstr("\"message\":\"low\""));
}

TEST(Log, JsonLinesParseWhateverTheMessage) {
  const TemporaryFolder folder = TemporaryFolder::Create("atoll-log-test-").value();
  const std::string file = folder.path() / "log";
  ASSERT_TRUE(InitLogging({.program = "unit \"x\"", .json = true, .file = file}).ok());
  const std::string hostile("quote \" back \\ line\nreturn\r tab\t nul\0 bell\a", 42);
  const std::string good_utf8 = "\u00e4 \u20ac \U0001f600";
  const std::string bad_utf8 = "a\xff\xc0\x80\xed\xa0\x80\xf4\x90\x80\x80\xe2\x82";
  spdlog::info("{}", hostile);
  spdlog::warn("{}", good_utf8);
  spdlog::error("{}", bad_utf8);
  spdlog::debug("not at this level");
  ASSERT_TRUE(InitLogging({}).ok());  // closes the file

  std::vector<nlohmann::json> lines;
  std::istringstream text(Content(file));
  for (std::string line; std::getline(text, line);) lines.push_back(nlohmann::json::parse(line));
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[0]["message"], hostile);
  EXPECT_EQ(lines[0]["level"], "info");
  EXPECT_EQ(lines[0]["program"], "unit \"x\"");
  EXPECT_THAT(lines[0]["time"].get<std::string>(),
              testing::MatchesRegex("....-..-..T..:..:..\\....Z"));
  EXPECT_EQ(lines[1]["message"], good_utf8);
  EXPECT_EQ(lines[1]["level"], "warn");
  EXPECT_EQ(lines[2]["level"], "error");
  EXPECT_THAT(lines[2]["message"].get<std::string>(), HasSubstr("a\ufffd"));
}

TEST(Log, AppendsToTheFile) {
  const TemporaryFolder folder = TemporaryFolder::Create("atoll-log-test-").value();
  const std::string file = folder.path() / "log";
  for (const char* message : {"first", "second"}) {
    ASSERT_TRUE(InitLogging({.program = "unit", .file = file}).ok());
    spdlog::info("{}", message);
  }
  ASSERT_TRUE(InitLogging({}).ok());
  EXPECT_THAT(Content(file), testing::ContainsRegex("unit info first\n.* unit info second\n"));
}

TEST(Log, RefusesABadLevelAndABadFile) {
  EXPECT_EQ(InitLogging({.level = "loud"}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(InitLogging({.level = ""}).code(), absl::StatusCode::kInvalidArgument);
  const absl::Status status = InitLogging({.file = "/no/such/folder/log"});
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("/no/such/folder/log"));
}

}  // namespace
}  // namespace atl
