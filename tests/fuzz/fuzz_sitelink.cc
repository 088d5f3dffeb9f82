// What crosses the link between an agent and its trainer: bytes on the socket, frames, messages,
// sealed keys. The first byte of an input says which.
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <memory>

#include "comms/base/files.h"
#include "comms/sitelink/link.h"
#include "comms/sitelink/messages.h"
#include "tests/fuzz/fuzz.h"
#include "tests/secagg/harness.h"

namespace atl {
namespace {

enum : uint8_t { kSocket = 0, kSealed = 1 };  // others: a message, with the byte as its type less 1

template <typename M>
void TryMessage(uint8_t type, ByteView payload) {
  if (type != static_cast<uint8_t>(M::kType)) return;
  const auto message = sitelink::Decode<M>(payload);
  if (!message.ok()) return;
  const Bytes again = sitelink::Encode(*message);
  fuzz::Check(std::equal(again.begin(), again.end(), payload.begin(), payload.end()),
              "a second encoding of one message");
}

template <typename... M>
void TryAll(uint8_t type, ByteView payload) {
  (TryMessage<M>(type, payload), ...);
}

KeyPair LaunchKey() {
  secagg::TestRandom random(3);
  return secagg::CheapSuite().AgreementKeyPair(random.Draw32());
}

// The bytes, written to the agent's socket by a trainer that then goes away.
void TrySocket(ByteView bytes) {
  static const TemporaryFolder folder = *TemporaryFolder::Create("atoll-fuzz");
  static const auto listener = *sitelink::ListenUnix(folder.path().string(), "link");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = listener->address().substr(std::strlen("unix:"));
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  const int peer = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  fuzz::Check(
      peer >= 0 && connect(peer, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0,
      "the fuzzer's own socket");
  const auto link = listener->Accept(1'000);
  fuzz::Check(link.ok(), "no link");
  // A socket holds 200 kB: this does not wait.
  const ByteView sent = bytes.first(std::min<size_t>(bytes.size(), 64 << 10));
  fuzz::Check(write(peer, sent.data(), sent.size()) == static_cast<ssize_t>(sent.size()),
              "the fuzzer's own socket");
  close(peer);
  size_t taken = 0;
  while (true) {
    const auto frame = (*link)->Receive(1'000);
    if (!frame.ok()) break;
    taken += frame->payload.size();
  }
  fuzz::Check(taken <= sent.size(), "more was received than sent");
}

}  // namespace

std::vector<Bytes> fuzz::Seeds() {
  const KeyPair launch = LaunchKey();
  secagg::TestRandom random(4);
  std::vector<sitelink::StreamKey> keys;
  for (uint32_t i = 0; i < 3; ++i) keys.push_back({i, i == 1, random.Draw32()});
  const Bytes sealed = sitelink::SealKeys(keys, launch.public_key, 4, secagg::CheapSuite(), random);
  sitelink::Release release;
  release.round = 4;
  release.segments = secagg::AllWidths(4);
  release.sealed_keys = sealed;
  std::vector<Bytes> seeds;
  const auto add = [&](uint8_t kind, Bytes bytes) {
    bytes.insert(bytes.begin(), kind);
    seeds.push_back(std::move(bytes));
  };
  const auto message = [&](const auto& body) {
    add(static_cast<uint8_t>(static_cast<uint8_t>(body.kType) + 1), sitelink::Encode(body));
  };
  message(sitelink::Hello{1, 2, launch.public_key, {4, 5}});
  message(sitelink::Setup{"name: x", 0, 3, 100});
  message(sitelink::ModelChunk{0, Bytes(40)});
  message(sitelink::Train{1});
  message(sitelink::Progress{1, "train", 1, 2, 3.5});
  message(sitelink::Trained{1});
  message(release);
  sitelink::Prepare prepare;
  prepare.round = 4;
  prepare.segments = release.segments;
  prepare.sealed_keys = sealed;
  message(prepare);
  message(sitelink::MaskedChunk{2, Bytes(9)});
  message(sitelink::Masked{1});
  message(sitelink::Evaluate{1});
  message(sitelink::Evaluated{1, 10, 9, 0.5});
  message(sitelink::Stop{});
  message(sitelink::Failure{"out of data"});
  add(kSealed, sealed);
  // Two frames as the socket carries them: u32 length, u16 type, payload.
  ByteWriter frames;
  frames.U32(4).U16(4).U32(7).U32(0).U16(12);
  add(kSocket, frames.bytes());
  return seeds;
}

}  // namespace atl

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace atl::sitelink;  // NOLINT
  if (size == 0) return 0;
  const atl::ByteView bytes(data + 1, size - 1);
  if (data[0] == atl::kSocket) {
    atl::TrySocket(bytes);
  } else if (data[0] == atl::kSealed) {
    (void)OpenKeys(bytes, atl::LaunchKey(), 4, atl::secagg::CheapSuite());
  } else {
    atl::TryAll<Hello, Setup, ModelChunk, Train, Progress, Trained, Release, MaskedChunk, Masked,
                Evaluate, Evaluated, Stop, Failure, Prepare>(static_cast<uint8_t>(data[0] - 1),
                                                             bytes);
  }
  return 0;
}
