// Frames over Unix sockets: order, limits, hostile peers, closing.
#include "comms/sitelink/link.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <thread>

#include "comms/base/files.h"

namespace atl::sitelink {
namespace {

using ::testing::HasSubstr;

struct Pair {
  TemporaryFolder folder;
  std::unique_ptr<Listener> listener;
  std::unique_ptr<Link> agent, trainer;
};

Pair Connected() {
  TemporaryFolder folder = *TemporaryFolder::Create("atoll-link");
  auto listener = *ListenUnix(folder.path().string(), "trainer");
  auto trainer = *Connect(listener->address(), 1000);
  auto agent = *listener->Accept(1000);
  return {std::move(folder), std::move(listener), std::move(agent), std::move(trainer)};
}

// A peer that writes what it likes.
int RawSocket(const std::string& address) {
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  std::strcpy(to.sun_path, address.substr(5).c_str());
  EXPECT_EQ(connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof(to)), 0);
  return fd;
}

TEST(LinkTest, FramesArriveWholeAndInOrderBothWays) {
  Pair pair = Connected();
  std::thread sender([&] {
    for (uint16_t i = 0; i < 50; ++i) {
      ASSERT_TRUE(pair.agent->Send({i, Bytes(i * 20'011, static_cast<uint8_t>(i))}).ok());
    }
  });
  for (uint16_t i = 0; i < 50; ++i) {
    auto frame = pair.trainer->Receive(5000);
    ASSERT_TRUE(frame.ok()) << frame.status();
    EXPECT_EQ(frame->type, i);
    EXPECT_EQ(frame->payload, Bytes(i * 20'011, static_cast<uint8_t>(i)));
  }
  sender.join();
  ASSERT_TRUE(pair.trainer->Send({7, {1, 2, 3}}).ok());
  EXPECT_EQ(pair.agent->Receive(1000)->payload, (Bytes{1, 2, 3}));
}

TEST(LinkTest, TheLargestFrameGoesAndALargerOneIsRefusedBeforeItIsSent) {
  Pair pair = Connected();
  std::thread sender([&] { ASSERT_TRUE(pair.agent->Send({1, Bytes(kMaxFrameBytes, 9)}).ok()); });
  EXPECT_EQ(pair.trainer->Receive(5000)->payload.size(), kMaxFrameBytes);
  sender.join();
  absl::Status status = pair.agent->Send({1, Bytes(kMaxFrameBytes + 1)});
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  ASSERT_TRUE(pair.agent->Send({2, {}}).ok());
  EXPECT_EQ(pair.trainer->Receive(1000)->type, 2);
}

TEST(LinkTest, AFrameThatAnnouncesTooMuchClosesTheLink) {
  TemporaryFolder folder = *TemporaryFolder::Create("atoll-link");
  auto listener = *ListenUnix(folder.path().string(), "t");
  int fd = RawSocket(listener->address());
  auto link = *listener->Accept(1000);
  uint8_t header[6] = {0x01, 0x00, 0x40, 0x00, 0x01, 0x00};  // 4 MiB + 1
  ASSERT_EQ(write(fd, header, 6), 6);
  EXPECT_TRUE(absl::IsInvalidArgument(link->Receive(1000).status()));
  EXPECT_FALSE(link->Receive(100).ok());
  close(fd);
}

TEST(LinkTest, ATimeoutInTheMiddleOfAFrameLosesNothing) {
  TemporaryFolder folder = *TemporaryFolder::Create("atoll-link");
  auto listener = *ListenUnix(folder.path().string(), "t");
  int fd = RawSocket(listener->address());
  auto link = *listener->Accept(1000);
  const uint8_t bytes[] = {4, 0, 0, 0, 0x2c, 0x01, 10, 11, 12, 13};
  for (size_t i = 0; i + 1 < sizeof(bytes); ++i) {
    ASSERT_EQ(write(fd, bytes + i, 1), 1);
    EXPECT_TRUE(absl::IsDeadlineExceeded(link->Receive(1).status()));
  }
  ASSERT_EQ(write(fd, bytes + 9, 1), 1);
  auto frame = link->Receive(1000);
  ASSERT_TRUE(frame.ok()) << frame.status();
  EXPECT_EQ(frame->type, 300);
  EXPECT_EQ(frame->payload, (Bytes{10, 11, 12, 13}));
  // A peer that goes away in the middle of one.
  ASSERT_EQ(write(fd, bytes, 8), 8);
  close(fd);
  EXPECT_TRUE(absl::IsUnavailable(link->Receive(1000).status()));
}

TEST(LinkTest, ClosingEndsBothDirectionsAndAWaitingReceive) {
  Pair pair = Connected();
  std::thread closer([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    pair.trainer->Close();
  });
  EXPECT_TRUE(absl::IsUnavailable(pair.trainer->Receive(-1).status()));
  closer.join();
  EXPECT_TRUE(absl::IsUnavailable(pair.agent->Receive(1000).status()));
  EXPECT_TRUE(absl::IsUnavailable(pair.trainer->Send({1, {}})));
  // The other end may need one more try to notice; a write to a closed peer raises no signal.
  absl::Status status;
  for (int i = 0; i < 100 && status.ok(); ++i) status = pair.agent->Send({1, Bytes(1000)});
  EXPECT_TRUE(absl::IsUnavailable(status));
}

TEST(LinkTest, AddressesAreChecked) {
  TemporaryFolder folder = *TemporaryFolder::Create("atoll-link");
  auto too_long = ListenUnix(folder.path().string(), std::string(108, 'x'));
  EXPECT_TRUE(absl::IsInvalidArgument(too_long.status()));
  EXPECT_THAT(std::string(too_long.status().message()), HasSubstr("1 to 107"));
  EXPECT_TRUE(absl::IsInvalidArgument(Connect("spool:/somewhere", 0).status()));
  EXPECT_TRUE(
      absl::IsUnavailable(Connect("unix:" + folder.path().string() + "/none", 20).status()));
  EXPECT_FALSE(ListenUnix((folder.path() / "missing").string(), "x").ok());
}

TEST(LinkTest, AcceptGivesUpInTimeAndTheSocketGoesWithItsListener) {
  TemporaryFolder folder = *TemporaryFolder::Create("atoll-link");
  auto listener = *ListenUnix(folder.path().string(), "t");
  EXPECT_TRUE(absl::IsDeadlineExceeded(listener->Accept(20).status()));
  EXPECT_TRUE(std::filesystem::exists(folder.path() / "t.sock"));
  listener.reset();
  EXPECT_FALSE(std::filesystem::exists(folder.path() / "t.sock"));
}

}  // namespace
}  // namespace atl::sitelink
