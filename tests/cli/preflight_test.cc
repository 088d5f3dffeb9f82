#include "federation/cli/preflight.h"

#include <cstdlib>
#include <fstream>
#include <set>

#include "comms/base/files.h"
#include "gmock/gmock.h"

namespace atl::cli {
namespace {

namespace fs = std::filesystem;
using absl::StatusCode;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;

constexpr const char* kDataFiles[] = {"train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz",
                                      "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"};

class PreflightTest : public testing::Test {
 protected:
  PreflightTest()
      : folder_(TemporaryFolder::Create("atoll-preflight-test-").value()),
        path_(std::getenv("PATH")) {
    recipe_.data.folder = folder_.path();
    for (const char* file : kDataFiles) std::ofstream(folder_.path() / file) << "x";
    fs::create_directory(folder_.path() / "bin");
    Program("mpirun", 0755);
    setenv("PATH", (folder_.path() / "bin").c_str(), 1);
  }
  ~PreflightTest() override { setenv("PATH", path_.c_str(), 1); }

  void Program(const char* name, int mode) {
    ASSERT_EQ(WriteFileAtomic(folder_.path() / "bin" / name, AsBytes("#!/bin/sh\n"), mode),
              absl::OkStatus());
  }

  TemporaryFolder folder_;
  std::string path_;
  recipes::Recipe recipe_;
};

TEST_F(PreflightTest, AMachineWithEverythingIsFine) {
  EXPECT_EQ(CheckMachine(recipe_), absl::OkStatus());
}

TEST_F(PreflightTest, MissingMpirunSaysWhatToInstall) {
  for (const char* path : {"", "/nonexistent", ":", "/nonexistent:/etc"}) {
    setenv("PATH", path, 1);
    absl::Status status = CheckMachine(recipe_);
    EXPECT_EQ(status.code(), StatusCode::kNotFound) << path;
    EXPECT_THAT(std::string(status.message()), HasSubstr("apt-get install openmpi-bin"));
  }
}

TEST_F(PreflightTest, AFileThatCannotBeRunIsNoMpirun) {
  fs::remove(folder_.path() / "bin" / "mpirun");
  Program("mpirun", 0644);
  EXPECT_EQ(CheckMachine(recipe_).code(), StatusCode::kNotFound);
}

TEST_F(PreflightTest, EachMissingDataFileIsNamed) {
  for (const char* file : kDataFiles) {
    fs::rename(folder_.path() / file, folder_.path() / "away");
    absl::Status status = CheckMachine(recipe_);
    EXPECT_EQ(status.code(), StatusCode::kNotFound);
    EXPECT_THAT(std::string(status.message()), HasSubstr((folder_.path() / file).string()));
    EXPECT_THAT(std::string(status.message()), HasSubstr("data.folder"));
    fs::rename(folder_.path() / "away", folder_.path() / file);
  }
}

TEST_F(PreflightTest, NoTrainerBesideThisProgramSaysHowToBuildIt) {
  // Test programs lie in a folder of their own.
  absl::StatusOr<fs::path> trainer = FindTrainer();
  EXPECT_EQ(trainer.status().code(), StatusCode::kNotFound);
  EXPECT_THAT(std::string(trainer.status().message()), HasSubstr("scripts/build"));
  EXPECT_EQ(OwnPath().filename(), "cli_test");
}

TEST_F(PreflightTest, RunFoldersAreNewAndNamedAfterTheJob) {
  std::set<fs::path> folders;
  for (int i = 0; i < 5; ++i) {
    auto made = MakeRunFolder(folder_.path() / "a" / "b", "my job: α/../x");
    ASSERT_EQ(made.status(), absl::OkStatus());
    EXPECT_TRUE(made->is_absolute());
    EXPECT_TRUE(fs::is_directory(*made));
    EXPECT_EQ(made->parent_path(), folder_.path() / "a" / "b");
    EXPECT_THAT(made->filename().string(), MatchesRegex("my-job-[-.]*x-[0-9]+-[0-9]+-[0-9a-f]+"));
    folders.insert(*made);
  }
  EXPECT_EQ(folders.size(), 5u);
}

TEST_F(PreflightTest, NoJobNameLeavesTheFolder) {
  for (const std::string& name :
       {std::string(".."), std::string("."), std::string(), std::string("../../etc"),
        std::string("/etc"), std::string(500, 'x'), std::string("a\0b\nc", 5)}) {
    auto made = MakeRunFolder(folder_.path(), name);
    ASSERT_EQ(made.status(), absl::OkStatus()) << name;
    EXPECT_EQ(made->parent_path(), folder_.path());
    EXPECT_NE(made->filename().string()[0], '.');
    EXPECT_LT(made->filename().string().size(), 128u);
  }
}

TEST_F(PreflightTest, AFolderThatCannotBeMadeIsNamed) {
  const std::string file = folder_.path() / kDataFiles[0];
  // What is asked for, and what of it the message names.
  const std::pair<std::string, std::string> cases[] = {{file, file},
                                                       {file + "/runs", file},
                                                       {"/proc/nothing", "/proc/nothing"},
                                                       {"/proc", "/proc/job-"}};
  for (const auto& [parent, named] : cases) {
    auto made = MakeRunFolder(parent, "job");
    ASSERT_FALSE(made.ok()) << parent;
    EXPECT_THAT(std::string(made.status().message()), HasSubstr("output.folder"));
    EXPECT_THAT(std::string(made.status().message()), HasSubstr(named));
  }
}

}  // namespace
}  // namespace atl::cli
