// The small parts: queue, worker, launcher's command line, runtime folder, slot book.
#include <sys/stat.h>

#include <chrono>
#include <thread>

#include "comms/base/files.h"
#include "federation/site/event_queue.h"
#include "federation/site/last_words.h"
#include "federation/site/mpirun_launcher.h"
#include "federation/site/runtime_folder.h"
#include "federation/site/worker.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace atl::site {
namespace {

using testing::HasSubstr;

constexpr char kRuler[] =
    "--------------------------------------------------------------------------\n";

// What Open MPI 4.1 writes when a rank ends with an exit code that is not 0.
std::string FailedRank() {
  return std::string(kRuler) +
         "Primary job  terminated normally, but 1 process returned\n"
         "a non-zero exit code. Per user-direction, the job has been aborted.\n" +
         kRuler + kRuler +
         "mpirun detected that one or more processes exited with non-zero status, thus causing\n"
         "the job to be terminated. The first process to do so was:\n\n"
         "  Process name: [[31415,1],0]\n  Exit code:    1\n" +
         kRuler;
}

std::string KilledRank() {
  return std::string(kRuler) +
         "mpirun noticed that process rank 1 with PID 4711 on node h exited on signal 9 "
         "(Killed).\n" +
         kRuler;
}

TEST(LastWordsTest, AreTheRanksOwnNotMpiruns) {
  EXPECT_EQ(LastWordsIn("atoll-trainer: data: no such folder\n" + FailedRank()),
            "data: no such folder");
  // Both ranks, one of them in the middle of a paragraph.
  std::string log = FailedRank();
  log.insert(log.find("a non-zero"), "atoll-trainer: rank 1: out of memory\n");
  EXPECT_EQ(LastWordsIn("atoll-trainer: out of data\natoll-trainer: out of data\n" + log),
            "out of data | rank 1: out of memory");
  // A library's words are a rank's, too.
  EXPECT_EQ(LastWordsIn("terminate called after throwing an instance of 'std::bad_alloc'\n"
                        "  what():  std::bad_alloc\n" +
                        FailedRank()),
            "terminate called after throwing an instance of 'std::bad_alloc' |   what():  "
            "std::bad_alloc");
}

TEST(LastWordsTest, NameTheSignalThatEndedARank) {
  EXPECT_THAT(LastWordsIn(KilledRank()), HasSubstr("exited on signal 9 (Killed)"));
  EXPECT_EQ(LastWordsIn("atoll-trainer: rank 0: another rank is gone\n" + KilledRank()),
            "rank 0: another rank is gone | mpirun noticed that process rank 1 with PID 4711 on "
            "node h exited on signal 9 (Killed).");
}

TEST(LastWordsTest, AreMpirunsWhereNoRankSaidAnything) {
  EXPECT_THAT(LastWordsIn(std::string(kRuler) +
                          "There are not enough slots available in the system\n" + kRuler),
              HasSubstr("not enough slots"));
  EXPECT_EQ(LastWordsIn(""), "");
}

TEST(LastWordsTest, AreOnePrintableLineAndShort) {
  const std::string words =
      LastWordsIn("atoll-trainer: \x01\xff" + std::string(5000, 'x') + " the end\n" + FailedRank());
  EXPECT_EQ(words.size(), kLastWordsBytes);
  EXPECT_THAT(words, testing::EndsWith("the end"));
  EXPECT_EQ(LastWordsIn("atoll-trainer: a\x01\xff\x62\n"), "a  b");
}

TEST(EventQueueTest, KeepsOrderAndWaitsWhenFull) {
  EventQueue queue(2);
  std::vector<int> seen;
  std::thread pusher([&] {
    for (int i = 0; i < 100; ++i) {
      EXPECT_TRUE(queue.Push([&seen, i] { seen.push_back(i); }));
    }
  });
  for (int i = 0; i < 100; ++i) {
    auto event = queue.Pop(5'000);
    ASSERT_TRUE(event.has_value());
    (*event)();
  }
  pusher.join();
  ASSERT_EQ(seen.size(), 100u);
  EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
  EXPECT_FALSE(queue.Pop(0).has_value());
}

TEST(EventQueueTest, AFullQueueLetsGoOfWhoIsCancelledOrLate) {
  EventQueue queue(1);
  ASSERT_TRUE(queue.Push([] {}));
  std::atomic<bool> cancelled = false;
  std::thread waiting([&] { EXPECT_FALSE(queue.Push([] {}, &cancelled)); });
  cancelled = true;
  queue.Wake();
  waiting.join();
  std::thread late([&] { EXPECT_FALSE(queue.Push([] {})); });
  queue.Close();
  late.join();
  EXPECT_TRUE(queue.closed());
  EXPECT_FALSE(queue.Pop(1'000).has_value());
}

TEST(WorkerTest, RunsInOrderAndCancels) {
  std::vector<int> ran;
  {
    Worker worker;
    std::atomic<bool> running = false;
    auto first = worker.Start([&](Cancellation& cancellation) {
      running = true;
      EXPECT_FALSE(cancellation.SleepFor(60'000));
      ran.push_back(1);
    });
    auto second = worker.Start([&](Cancellation&) { ran.push_back(2); });
    std::atomic<bool> done = false;
    auto third = worker.Start([&](Cancellation&) {
      ran.push_back(3);
      done = true;
    });
    while (!running) std::this_thread::yield();
    second->Cancel();
    first->Cancel();
    while (!done) std::this_thread::yield();
  }
  EXPECT_THAT(ran, testing::ElementsAre(1, 3));
}

TEST(WorkerTest, DestructionEndsWhatRunsAndDropsWhatWaits) {
  std::atomic<int> ran = 0;
  const auto begin = std::chrono::steady_clock::now();
  {
    Worker worker;
    std::atomic<bool> running = false;
    worker.Start([&](Cancellation& cancellation) {
      running = true;
      cancellation.SleepFor(60'000);
      ++ran;
    });
    worker.Start([&](Cancellation&) { ran += 100; });
    while (!running) std::this_thread::yield();
  }
  EXPECT_EQ(ran, 1);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(10));
}

TEST(MpirunLauncherTest, KeepsAllOfOpenMpiInItsFolder) {
  LaunchSpec spec;
  spec.trainer = "/opt/atoll-trainer";
  spec.ranks = 4;
  spec.threads_per_rank = 2;
  spec.link = "unix:/run/x.sock";
  spec.folder = "/data/jobs/1/launch-1";
  spec.log_file = "/data/logs/t.log";
  const ProcessOptions options = MpirunOptions(spec);
  std::string line;
  for (const std::string& word : options.arguments) line += word + " ";
  for (const char* part : {"mpirun -np 4 ", "--bind-to none ", "--oversubscribe ",
                           "mpi_yield_when_idle 1 ", "orte_tmpdir_base /data/jobs/1/launch-1 ",
                           "btl_vader_backing_directory /data/jobs/1/launch-1 ",
                           "/opt/atoll-trainer serve --link unix:/run/x.sock "}) {
    EXPECT_THAT(line, HasSubstr(part));
  }
  EXPECT_THAT(options.environment, testing::Contains(testing::Pair("OMP_NUM_THREADS", "2")));
  EXPECT_THAT(options.environment, testing::Contains(testing::Pair("GOMP_SPINCOUNT", "10000")));
  EXPECT_EQ(options.output_file, "/data/logs/t.log");
}

TEST(MpirunLauncherTest, SaysWhatIsMissing) {
  MpirunLauncher launcher;
  EXPECT_THAT(std::string(launcher.Check("/nowhere/atoll-trainer").message()),
              HasSubstr("/nowhere/atoll-trainer is not there"));
  const std::string path = getenv("PATH");
  setenv("PATH", "/nowhere", 1);
  const absl::Status status = launcher.Check("/bin/sh");
  setenv("PATH", path.c_str(), 1);
  EXPECT_EQ(status.message(), "mpirun is not in PATH: apt install openmpi-bin");
}

TEST(RuntimeFolderTest, IsPrivateEmptiedAndRemoved) {
  auto data = TemporaryFolder::Create("atoll-run-test");
  ASSERT_TRUE(data.ok());
  for (const std::filesystem::path& folder : {data->path(), data->path() / std::string(80, 'x')}) {
    std::filesystem::path path;
    for (int life = 0; life < 2; ++life) {
      auto runtime = RuntimeFolder::Open(folder);
      ASSERT_TRUE(runtime.ok()) << runtime.status();
      path = runtime->path();
      EXPECT_LE(path.string().size() + 34, 107u);
      EXPECT_TRUE(std::filesystem::is_empty(path));
      struct stat info;
      ASSERT_EQ(stat(path.c_str(), &info), 0);
      EXPECT_EQ(info.st_mode & 0777, 0700u);
      ASSERT_TRUE(WriteFileAtomic(path / "left", AsBytes("over")).ok());
    }
    EXPECT_FALSE(std::filesystem::exists(path));
  }
}

TEST(RuntimeFolderTest, DoesNotFollowALink) {
  auto data = TemporaryFolder::Create("atoll-run-test");
  ASSERT_TRUE(data.ok());
  std::filesystem::create_directory(data->path() / "elsewhere");
  std::filesystem::create_directory_symlink(data->path() / "elsewhere", data->path() / "run");
  EXPECT_TRUE(absl::IsPermissionDenied(RuntimeFolder::Open(data->path()).status()));
  EXPECT_TRUE(std::filesystem::exists(data->path() / "elsewhere"));
}

}  // namespace
}  // namespace atl::site
