// LoadGpu against libraries that lack one thing each.
#include "comms/collectives/nccl/load.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "comms/base/files.h"

namespace atl {
namespace {

using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

// Some library that is always there, in the driver's place.
constexpr char kDriver[] = "libc.so.6";

std::string Message(const LoadGpuOptions& options) {
  const auto library = LoadGpu(options);
  if (library.ok()) return "";
  EXPECT_EQ(library.status().code(), absl::StatusCode::kFailedPrecondition);
  return std::string(library.status().message());
}

// A folder with build/tests/FAKE/libatoll_gpu.so.
std::string Fake(const char* name) {
  const char* build = std::getenv("ATOLL_BUILD_DIR");
  return std::string(build == nullptr ? "." : build) + "/tests/fake_gpu_" + name;
}

TEST(LoadGpu, SaysThatThereIsNoDriver) {
  EXPECT_THAT(Message({.folder = Fake("good"), .driver = "libno_such_driver.so.1"}),
              AllOf(StartsWith("no NVIDIA driver: libno_such_driver.so.1 is not there"),
                    HasSubstr("cannot open shared object file")));
}

TEST(LoadGpu, SaysThatTheLibraryIsNotBesideTheProgram) {
  auto folder = TemporaryFolder::Create("load_test");
  ASSERT_TRUE(folder.ok());
  EXPECT_THAT(Message({.folder = folder->path(), .driver = kDriver}),
              AllOf(StartsWith("libatoll_gpu.so is not beside the program, in "),
                    HasSubstr(folder->path().string())));
  // Without a folder: the program's own, where tests have none.
  EXPECT_THAT(Message({.driver = kDriver}),
              HasSubstr(std::filesystem::canonical("/proc/self/exe").parent_path().string()));
}

TEST(LoadGpu, SaysThatTheLibraryDoesNotLoad) {
  auto folder = TemporaryFolder::Create("load_test");
  ASSERT_TRUE(folder.ok());
  std::ofstream(folder->path() / "libatoll_gpu.so") << "not a library";
  EXPECT_THAT(Message({.folder = folder->path(), .driver = kDriver}),
              HasSubstr("libatoll_gpu.so does not load: "));
}

TEST(LoadGpu, RefusesWhatIsNotTheLibraryOrNotThisVersion) {
  EXPECT_THAT(Message({.folder = Fake("empty"), .driver = kDriver}),
              HasSubstr("is no libatoll_gpu.so: "));
  EXPECT_THAT(Message({.folder = Fake("newer"), .driver = kDriver}),
              EndsWith("has interface version 2, this program needs 1; build both from one source "
                       "tree"));
}

TEST(LoadGpu, SaysThatThereIsNoGpu) {
  EXPECT_THAT(Message({.folder = Fake("none"), .driver = kDriver}),
              StartsWith("no GPU: the NVIDIA driver shows this process none"));
  EXPECT_EQ(Message({.folder = Fake("broken"), .driver = kDriver}),
            "no GPU that can be used: cudaGetDeviceCount: cudaErrorNoDevice: no device");
}

TEST(LoadGpu, CountsGpus) {
  const auto library = LoadGpu({.folder = Fake("good"), .driver = kDriver});
  ASSERT_TRUE(library.ok()) << library.status();
  EXPECT_THAT(library->gpus,  // the fake's UUIDs are bytes 1 to 16, 17 to 32, 33 to 48
              ::testing::ElementsAre(0x0a0e1e05040b, 0x0a0e2e15141b, 0x0a0e3e25242b));
  EXPECT_EQ(library->api->version, 1u);
}

}  // namespace
}  // namespace atl
