// Exit codes and streams of the built `atoll`: 0 good, 1 failed, 2 bad input; results on standard
// output, one line of error on standard error.
#include <sys/stat.h>
#include <sys/wait.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "comms/base/files.h"
#include "comms/base/process.h"
#include "federation/secagg/roster.h"
#include "gmock/gmock.h"
#include "nlohmann/json.hpp"

namespace atl {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::MatchesRegex;
using ::testing::Not;

struct Ran {
  int code = -1;
  std::string out, err;
};

class CommandsTest : public testing::Test {
 protected:
  CommandsTest() : folder_(TemporaryFolder::Create("atoll-commands-test-").value()) {
    const char* build = std::getenv("ATOLL_BUILD_DIR");
    if (build != nullptr) atoll_ = fs::path(build) / "bin" / "atoll";
  }
  void SetUp() override {
    ASSERT_TRUE(fs::exists(atoll_)) << "ATOLL_BUILD_DIR must name a build with bin/atoll";
  }

  std::string Path(const std::string& name) const { return folder_.path() / name; }
  std::string Content(const std::string& name) const {
    auto bytes = ReadFile(Path(name), 1 << 20);
    EXPECT_EQ(bytes.status(), absl::OkStatus());
    return bytes.ok() ? std::string(AsText(*bytes)) : "";
  }
  void Write(const std::string& name, const std::string& text) {
    ASSERT_EQ(WriteFileAtomic(Path(name), AsBytes(text)), absl::OkStatus());
  }
  // Runs `atoll ARGUMENTS` in the test's folder.
  Ran Atoll(std::vector<std::string> arguments) {
    ProcessOptions options;
    // The shell parts the two streams.
    options.arguments = {
        "sh",  "-c",        R"(out="$1"; err="$2"; shift 2; exec "$@" > "$out" 2> "$err")",
        "sh",  Path("out"), Path("err"),
        atoll_};
    options.arguments.insert(options.arguments.end(), arguments.begin(), arguments.end());
    options.working_folder = folder_.path();
    auto process = Process::Start(options);
    EXPECT_EQ(process.status(), absl::OkStatus());
    auto code = process->Wait(60'000);
    EXPECT_EQ(code.status(), absl::OkStatus());
    return {code.value_or(-1), Content("out"), Content("err")};
  }
  std::string NewKey(const std::string& name) {
    Ran ran = Atoll({"keys", "new", name});
    EXPECT_EQ(ran.code, 0) << ran.err;
    return ran.out.substr(0, ran.out.find('\n'));
  }
  // A refusal: nothing on standard output, one line of error that has the words.
  void ExpectError(const Ran& ran, int code, const std::string& words) {
    EXPECT_EQ(ran.code, code) << ran.err;
    EXPECT_THAT(ran.out, IsEmpty());
    EXPECT_THAT(ran.err, HasSubstr(words));
    EXPECT_EQ(ran.err.find('\n') + 1, ran.err.size()) << ran.err;
  }

  TemporaryFolder folder_;
  fs::path atoll_;
};

constexpr const char* kGoodRecipe = R"(name: good
run: atoll run task.yaml
resources: {cpus: 1, memory: 1}
parameters:
  model: {kind: mlp}
  data: {dataset: fashion-mnist}
  site: {count: 3}
)";

TEST_F(CommandsTest, HelpNamesEveryCommand) {
  Ran ran = Atoll({"--help"});
  EXPECT_EQ(ran.code, 0);
  for (const char* command :
       {"run", "coordinator", "site", "submit", "status", "logs", "cancel", "recipe", "keys"}) {
    EXPECT_THAT(ran.out, HasSubstr(std::string("  ") + command + " ")) << command;
    Ran help = command == std::string("recipe") || command == std::string("keys")
                   ? Atoll({command, "--help"})
                   : Atoll({command, "-h"});
    EXPECT_EQ(help.code, 0) << command;
    EXPECT_THAT(help.out, HasSubstr("Usage: ")) << command;
    EXPECT_THAT(help.err, IsEmpty()) << command;
  }
}

TEST_F(CommandsTest, VersionIsOneLine) {
  Ran ran = Atoll({"--version"});
  EXPECT_EQ(ran.code, 0);
  EXPECT_THAT(ran.out, MatchesRegex("[0-9]+\\.[0-9]+\\.[0-9]+\n"));
}

TEST_F(CommandsTest, WrongCommandLinesAreBadInput) {
  const std::vector<std::vector<std::string>> lines = {
      {},
      {"fly"},
      {"run"},
      {"run", "r.yaml", "--fast"},
      {"run", "r.yaml", "--port", "70000"},
      {"keys"},
      {"recipe"},
      {"keys", "new"},
      {"status", "one"},
      {"cancel", "-3"},
      {"run", "a.yaml", "b.yaml"},
      {"status", "--coordinator", "a:1", "--run", "b"},
      {"coordinator", "--data", "d"},
      {"site", "--role", "king"},
      {"site", "--cohort-min", "1"}};
  for (const auto& line : lines) {
    Ran ran = Atoll(line);
    EXPECT_EQ(ran.code, 2) << testing::PrintToString(line) << ran.err;
    EXPECT_THAT(ran.out, IsEmpty()) << testing::PrintToString(line);
    EXPECT_THAT(ran.err, Not(IsEmpty())) << testing::PrintToString(line);
  }
}

TEST_F(CommandsTest, ANewIdentityIsPrivateAndNeverOverwritten) {
  std::string key = NewKey("site.key");
  EXPECT_THAT(key, MatchesRegex("[0-9a-f]{64}"));
  EXPECT_THAT(Content("site.key"), MatchesRegex("[0-9a-f]{64}\n"));
  EXPECT_NE(Content("site.key").substr(0, 64), key);
  struct stat info;
  ASSERT_EQ(stat(Path("site.key").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  EXPECT_EQ(Atoll({"keys", "show", "site.key"}).out, key + "\n");
  EXPECT_NE(NewKey("other.key"), key);

  std::string before = Content("site.key");
  ExpectError(Atoll({"keys", "new", "site.key"}), 1, "site.key exists");
  EXPECT_EQ(Content("site.key"), before);
  ExpectError(Atoll({"keys", "new", "nowhere/site.key"}), 1, "nowhere/site.key");
}

TEST_F(CommandsTest, ShowRefusesWhatIsNoIdentity) {
  Write("short", "0123\n");
  Write("text", std::string(64, 'x'));
  Write("long", std::string(66, 'a'));
  for (const char* file : {"short", "text", "long"})
    ExpectError(Atoll({"keys", "show", file}), 2, "64 hex digits");
  ExpectError(Atoll({"keys", "show", "missing"}), 1, "missing");
}

TEST_F(CommandsTest, ARosterVerifiesUnderItsOperatorsKey) {
  std::string operator_key = NewKey("operator.key"), a = NewKey("a.key"), b = NewKey("b.key");
  Ran ran = Atoll({"keys", "roster", "--operator", "operator.key", "--site", "1:alpha:" + a,
                   "--site", "70000:beta:" + b, "--out", "roster.json"});
  ASSERT_EQ(ran.code, 0) << ran.err;
  EXPECT_THAT(Content("roster.json"), Not(HasSubstr(Content("operator.key").substr(0, 64))));
  auto pinned = DigestFromHex(operator_key), other = DigestFromHex(a);
  ASSERT_EQ(pinned.status(), absl::OkStatus());
  auto roster = secagg::Roster::Load(Path("roster.json"), &*pinned, OpensslSuite());
  ASSERT_EQ(roster.status(), absl::OkStatus());
  EXPECT_EQ(roster->sites().size(), 2u);
  ASSERT_NE(roster->Find(SiteId(70000)), nullptr);
  EXPECT_EQ(roster->Find(SiteId(70000))->name, "beta");
  EXPECT_EQ(Hex(roster->Find(SiteId(70000))->identity), b);
  EXPECT_FALSE(secagg::Roster::Load(Path("roster.json"), &*other, OpensslSuite()).ok());
}

TEST_F(CommandsTest, ARosterNeedsWellFormedSites) {
  std::string operator_key = NewKey("operator.key"), a = NewKey("a.key");
  auto roster = [&](std::vector<std::string> sites) {
    std::vector<std::string> line = {"keys",         "roster", "--operator",
                                     "operator.key", "--out",  "roster.json"};
    for (const std::string& site : sites) line.insert(line.end(), {"--site", site});
    return Atoll(line);
  };
  for (const std::string& site :
       {std::string("1:alpha"), "0:alpha:" + a, "x:alpha:" + a, "-1:alpha:" + a,
        "4294967296:alpha:" + a, "1:alpha:" + a + ":more"}) {
    ExpectError(roster({site}), 2, "is not ID:NAME:PUBLICKEY");
  }
  ExpectError(roster({"1:alpha:" + a.substr(2)}), 2, "64 hex digits");
  ExpectError(roster({"1:alpha:" + a, "1:beta:" + operator_key}), 2, "site id 1 is given twice");
  ExpectError(roster({"1:alpha:" + a, "2:beta:" + a}), 2, "identity");
  EXPECT_FALSE(fs::exists(Path("roster.json")));
}

TEST_F(CommandsTest, RecipeCheckReportsOnTheRightStream) {
  Write("good.yaml", kGoodRecipe);
  Ran good = Atoll({"recipe", "check", "good.yaml"});
  EXPECT_EQ(good.code, 0) << good.err;
  EXPECT_THAT(good.out, HasSubstr("good.yaml: no problems"));
  EXPECT_THAT(good.err, IsEmpty());

  Ran overridden = Atoll(
      {"recipe", "check", "good.yaml", "--set", "federation.rounds=0", "--set", "site.count=3"});
  EXPECT_EQ(overridden.code, 2);
  EXPECT_THAT(overridden.out, IsEmpty());
  EXPECT_THAT(overridden.err, HasSubstr("federation.rounds"));

  ExpectError(Atoll({"recipe", "check", "missing.yaml"}), 2, "missing.yaml");
  Write("binary.yaml", std::string("\0\1\2\xff", 4));
  EXPECT_EQ(Atoll({"recipe", "check", "binary.yaml"}).code, 2);
  Write("large.yaml", std::string((1 << 20) + 1, '#'));
  ExpectError(Atoll({"recipe", "check", "large.yaml"}), 2, "large.yaml");
}

TEST_F(CommandsTest, RecipeExplainSaysWhereAValueComesFrom) {
  Write("good.yaml", kGoodRecipe);
  Ran ran = Atoll({"recipe", "explain", "good.yaml", "--set", "federation.rounds=7"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_THAT(ran.out, testing::ContainsRegex("federation.rounds +7 +--set"));
  EXPECT_THAT(ran.out, testing::ContainsRegex("site.count +3 +good.yaml:7"));
  EXPECT_THAT(ran.out, testing::ContainsRegex("train.batch_size +64 +default"));
  Ran bad = Atoll({"recipe", "explain", "good.yaml", "--set", "site.cuont=3"});
  EXPECT_EQ(bad.code, 2);
  EXPECT_THAT(bad.out, IsEmpty());
  EXPECT_THAT(bad.err, HasSubstr("site.count"));
}

TEST_F(CommandsTest, NoCoordinatorIsOneLineThatSaysWhatToName) {
  // Nothing listens on port 1 of this machine.
  for (const char* command : {"status", "logs", "cancel"}) {
    ExpectError(Atoll({command, "--coordinator", "127.0.0.1:1"}), 1,
                "no coordinator answers on 127.0.0.1:1");
    ExpectError(Atoll({command, "--run", "nowhere"}), 1,
                "no run in nowhere has a live coordinator");
  }
}

// coordinator.json of a run that is over must not lead to another process that has its id now, nor
// trip anything.
TEST_F(CommandsTest, StaleAndBrokenRunFoldersAreNoCoordinators) {
  for (const char* text :
       {"", "{", "[]", "{}", R"({"pid": "x", "address": "127.0.0.1:1"})", R"({"pid": 1})",
        R"({"pid": 4194305, "address": "127.0.0.1:1"})", R"({"pid": 1, "address": 7})"}) {
    ASSERT_EQ(MakeFolder(Path("runs/one")), absl::OkStatus());
    Write("runs/one/coordinator.json", text);
    ExpectError(Atoll({"status", "--run", "runs"}), 1, "no run in runs has a live coordinator");
    ExpectError(Atoll({"status", "--run", "runs/one"}), 1,
                "no run in runs/one has a live coordinator");
  }
}

TEST_F(CommandsTest, ABadAddressIsNamed) {
  for (const char* address : {"nonsense", "127.0.0.1:", "127.0.0.1:99999", ":"}) {
    Ran ran = Atoll({"status", "--coordinator", address});
    EXPECT_NE(ran.code, 0) << address;
    EXPECT_THAT(ran.err, HasSubstr(address));
    EXPECT_EQ(ran.err.find('\n') + 1, ran.err.size()) << ran.err;
  }
}

}  // namespace
}  // namespace atl
