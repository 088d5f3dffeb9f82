#include "comms/base/files.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <functional>
#include <optional>

#include "gmock/gmock.h"

namespace atl {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class FilesTest : public testing::Test {
 protected:
  FilesTest() : folder_(TemporaryFolder::Create("atoll-files-test-").value()) {}
  fs::path Path(const std::string& name) const { return folder_.path() / name; }
  std::string Content(const fs::path& path) const {
    return std::string(AsText(ReadFile(path, 1 << 20).value()));
  }
  size_t Entries() const {
    return std::distance(fs::directory_iterator(folder_.path()), fs::directory_iterator());
  }
  TemporaryFolder folder_;
};

mode_t ModeOf(const fs::path& path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0 ? info.st_mode & 07777 : 0;
}

// Runs `body` in a forked child and returns its result: for what would change this process for
// good.
int InChild(const std::function<int()>& body) {
  const pid_t pid = fork();
  if (pid == 0) _exit(body());
  int status = 0;
  waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

TEST_F(FilesTest, WritesReplacesAndReads) {
  const fs::path path = Path("file");
  ASSERT_TRUE(WriteFileAtomic(path, AsBytes("first"), 0640).ok());
  EXPECT_EQ(Content(path), "first");
  EXPECT_EQ(ModeOf(path), 0640u & ~022u);
  ASSERT_TRUE(WriteFileAtomic(path, AsBytes("second"), 0600).ok());
  EXPECT_EQ(Content(path), "second");
  EXPECT_EQ(ModeOf(path), 0600u);
  ASSERT_TRUE(WriteFileAtomic(path, {}).ok());
  EXPECT_EQ(Content(path), "");
  EXPECT_EQ(Entries(), 1u);
}

TEST_F(FilesTest, TakesTheLongestNameAndABareName) {
  EXPECT_TRUE(WriteFileAtomic(Path(std::string(255, 'n')), AsBytes("x")).ok());
  EXPECT_EQ(WriteFileAtomic(folder_.path().string() + "/", AsBytes("x")).code(),
            absl::StatusCode::kInvalidArgument);
  const fs::path before = fs::current_path();
  fs::current_path(folder_.path());
  const absl::Status bare = WriteFileAtomic("bare", AsBytes("x"));
  fs::current_path(before);
  EXPECT_TRUE(bare.ok()) << bare;
  EXPECT_EQ(Content(Path("bare")), "x");
}

TEST_F(FilesTest, ErrorsNameThePathAndTheReason) {
  const absl::Status missing = WriteFileAtomic(Path("no/such/file"), AsBytes("x"));
  EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(missing.message()), HasSubstr("no/such/file"));
  EXPECT_THAT(std::string(missing.message()), HasSubstr("No such file"));
  // A folder is in the way: the rename fails, and what was staged goes.
  fs::create_directory(Path("taken"));
  EXPECT_FALSE(WriteFileAtomic(Path("taken"), AsBytes("x")).ok());
  EXPECT_EQ(Entries(), 1u);
}

TEST_F(FilesTest, ReadFileIsBounded) {
  ASSERT_TRUE(WriteFileAtomic(Path("ten"), AsBytes("0123456789")).ok());
  EXPECT_EQ(ReadFile(Path("ten"), 10)->size(), 10u);
  EXPECT_EQ(ReadFile(Path("ten"), 9).status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(ReadFile(Path("none"), 10).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ReadFile(folder_.path(), 10).status().code(), absl::StatusCode::kFailedPrecondition);
  // Says 0 bytes and has more.
  EXPECT_THAT(std::string(AsText(*ReadFile("/proc/self/status", 1 << 20))), HasSubstr("Pid:"));
  EXPECT_EQ(ReadFile("/proc/self/status", 5).status().code(), absl::StatusCode::kOutOfRange);
  // Nobody writes to it: must not hang.
  ASSERT_EQ(mkfifo(Path("fifo").c_str(), 0600), 0);
  EXPECT_EQ(ReadFile(Path("fifo"), 10).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ReadFile("/dev/zero", 10).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(FilesTest, StagedFileAppearsOnCommitOnly) {
  const fs::path path = Path("staged");
  {
    StagedFile file = StagedFile::Create(path).value();
    ASSERT_TRUE(file.Append(AsBytes("gone")).ok());
    EXPECT_FALSE(fs::exists(path));
  }
  EXPECT_EQ(Entries(), 0u);
  StagedFile first = StagedFile::Create(path).value();
  StagedFile file = std::move(first);
  ASSERT_TRUE(file.Append(AsBytes("abc")).ok());
  ASSERT_TRUE(file.Append(AsBytes("def")).ok());
  ASSERT_TRUE(file.WriteAt(1, AsBytes("XY")).ok());
  ASSERT_TRUE(file.WriteAt(8, AsBytes("end")).ok());
  ASSERT_TRUE(file.Commit().ok());
  EXPECT_EQ(Content(path), std::string("aXYdef\0\0end", 11));
  EXPECT_EQ(file.Append(AsBytes("x")).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(file.WriteAt(0, AsBytes("x")).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(file.Commit().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(first.Commit().code(), absl::StatusCode::kFailedPrecondition);  // NOLINT: moved from
  EXPECT_EQ(Entries(), 1u);
}

TEST_F(FilesTest, TwoWritersOfOneNameDoNotMix) {
  StagedFile a = StagedFile::Create(Path("shared")).value();
  StagedFile b = StagedFile::Create(Path("shared")).value();
  ASSERT_TRUE(a.Append(AsBytes("aaaa")).ok());
  ASSERT_TRUE(b.Append(AsBytes("bb")).ok());
  ASSERT_TRUE(a.Commit().ok());
  EXPECT_EQ(Content(Path("shared")), "aaaa");
  ASSERT_TRUE(b.Commit().ok());
  EXPECT_EQ(Content(Path("shared")), "bb");
}

TEST_F(FilesTest, AFileLimitLeavesTheOldFileWhole) {
  const fs::path path = Path("kept");
  ASSERT_TRUE(WriteFileAtomic(path, AsBytes("old")).ok());
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto old_handler = signal(SIGXFSZ, SIG_IGN);
  const rlimit small = {4096, before.rlim_max};
  setrlimit(RLIMIT_FSIZE, &small);
  const absl::Status status = WriteFileAtomic(path, Bytes(10'000, 'n'));
  setrlimit(RLIMIT_FSIZE, &before);
  signal(SIGXFSZ, old_handler);
  EXPECT_FALSE(status.ok());
  EXPECT_THAT(std::string(status.message()), HasSubstr(path.string()));
  EXPECT_THAT(std::string(status.message()), HasSubstr("File too large"));
  EXPECT_EQ(Content(path), "old");
  EXPECT_EQ(Entries(), 1u);
}

// A tiny file system in a mount namespace of a child's own: nothing stays mounted, whatever
// happens.
TEST_F(FilesTest, AFullDiskLeavesTheOldFileWhole) {
  constexpr int kCannotMount = 77;
  const int result = InChild([&]() -> int {
    if (unshare(CLONE_NEWNS) != 0 ||
        mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        mount("none", folder_.path().c_str(), "tmpfs", 0, "size=64k") != 0) {
      return kCannotMount;
    }
    const fs::path path = Path("kept");
    if (!WriteFileAtomic(path, AsBytes("old")).ok()) return 1;
    const absl::Status whole = WriteFileAtomic(path, Bytes(100'000, 'n'));
    if (whole.code() != absl::StatusCode::kResourceExhausted) return 2;
    if (whole.message().find(path.string()) == absl::string_view::npos) return 3;
    if (Content(path) != "old" || Entries() != 1) return 4;
    {
      StagedFile file = StagedFile::Create(path).value();
      absl::Status piece;
      for (int i = 0; i < 100 && piece.ok(); ++i) piece = file.Append(Bytes(1000, 'p'));
      if (piece.code() != absl::StatusCode::kResourceExhausted) return 5;
    }
    if (Content(path) != "old" || Entries() != 1) return 6;
    // What failed has given its room back.
    return WriteFileAtomic(path, Bytes(30'000, 'f')).ok() ? 0 : 7;
  });
  if (result == kCannotMount) GTEST_SKIP() << "mounting needs root; the file limit is tested alone";
  EXPECT_EQ(result, 0);
}

TEST_F(FilesTest, PermissionIsReported) {
  const int result = InChild([&]() -> int {
    fs::permissions(folder_.path(), fs::perms(0755));
    if (!WriteFileAtomic(Path("secret"), AsBytes("x"), 0600).ok()) return 1;
    constexpr uid_t kNobody = 65534;
    if (getuid() == 0) {
      if (setgid(kNobody) != 0 || setuid(kNobody) != 0) return 2;
    } else {
      fs::permissions(Path("secret"), fs::perms(0));
      fs::permissions(folder_.path(), fs::perms(0555));
    }
    if (ReadFile(Path("secret"), 10).status().code() != absl::StatusCode::kPermissionDenied)
      return 3;
    const absl::Status write = WriteFileAtomic(Path("new"), AsBytes("x"));
    if (write.code() != absl::StatusCode::kPermissionDenied) return 4;
    return MakeFolder(Path("sub")).code() == absl::StatusCode::kPermissionDenied ? 0 : 5;
  });
  fs::permissions(folder_.path(), fs::perms(0700));
  EXPECT_EQ(result, 0);
}

TEST_F(FilesTest, MakeFolderMakesParentsAndTakesWhatIsThere) {
  ASSERT_TRUE(MakeFolder(Path("a/b/c"), 0700).ok());
  EXPECT_EQ(ModeOf(Path("a/b/c")), 0700u);
  EXPECT_TRUE(MakeFolder(Path("a/b/c"), 0755).ok());
  EXPECT_EQ(ModeOf(Path("a/b/c")), 0700u);
  ASSERT_TRUE(MakeFolder(Path("slash/"), 0700).ok());
  EXPECT_EQ(ModeOf(Path("slash")), 0700u);
  ASSERT_TRUE(WriteFileAtomic(Path("file"), {}).ok());
  EXPECT_FALSE(MakeFolder(Path("file")).ok());
  EXPECT_FALSE(MakeFolder(Path("file/below")).ok());
}

TEST(TemporaryFolder, IsPrivateAndGoesWithAllItHolds) {
  fs::path path;
  {
    TemporaryFolder first = TemporaryFolder::Create("atoll-temporary-").value();
    const TemporaryFolder folder = std::move(first);
    path = folder.path();
    EXPECT_THAT(path.filename().string(), testing::StartsWith("atoll-temporary-"));
    EXPECT_EQ(ModeOf(path), 0700u);
    fs::create_directories(path / "deep/er");
    std::ofstream(path / "deep/er/file") << "x";
    fs::create_directory_symlink("/usr", path / "link");  // must not be followed
  }
  EXPECT_FALSE(fs::exists(path));
  EXPECT_TRUE(fs::exists("/usr"));
}

}  // namespace
}  // namespace atl
