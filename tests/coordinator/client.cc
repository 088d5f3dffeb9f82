#include "tests/coordinator/client.h"

#include <chrono>

#include "absl/strings/str_cat.h"
#include "comms/base/crypto/sha256.h"
#include "comms/rpc/channel.h"
#include "gtest/gtest.h"

namespace atl::coordinator {

Secret32 IdentitySeed(uint32_t site) {
  const Digest digest = Sha256::Of(AsBytes(absl::StrCat("identity ", site)));
  return Secret32(std::span<const uint8_t, 32>(digest));
}

secagg::Roster TestRoster(uint32_t sites) {
  std::map<SiteId, secagg::RosterEntry> entries;
  for (uint32_t id = 1; id <= sites; ++id) {
    entries[SiteId(id)] = {absl::StrCat("site-", id),
                           OpensslSuite().SigningKeyPair(IdentitySeed(id)).public_key};
  }
  return secagg::Roster::Create(entries, IdentitySeed(0), OpensslSuite()).value();
}

TestCoordinator::TestCoordinator(const std::filesystem::path& folder) {
  CoordinatorParts parts{.roster = TestRoster(3),
                         .suite = &OpensslSuite(),
                         .random = &SystemRandom(),
                         .clock = &RealClock(),
                         .log = store::OpenEventLog(folder).value(),
                         .blobs = store::BlobStore::Open(folder / "blobs").value(),
                         .vectors = store::VectorStore::Open(folder / "staged").value(),
                         .reconnect_grace_s = 20,
                         .cohort_wait_s = 20,
                         .early_sum_vectors = 2};
  coordinator_ = Coordinator::Start(std::move(parts)).value();
  service_ = std::make_unique<Service>(*coordinator_, /*commit_timeout_ms=*/300);
  server_ = Server::Listen("127.0.0.1:0", *service_).value();
}

TestCoordinator::~TestCoordinator() {
  coordinator_->Stop();
  server_->Stop();
}

std::unique_ptr<v1::Coordinator::Stub> TestCoordinator::Stub() const {
  return v1::Coordinator::NewStub(rpc::ConnectTo(address()).value());
}

TestStream::TestStream(v1::Coordinator::Stub& stub) {
  context_.set_deadline(std::chrono::system_clock::now() + std::chrono::minutes(1));
  context_.set_wait_for_ready(true);
  stream_ = stub.Control(&context_);
}

TestStream::~TestStream() {
  context_.TryCancel();
  (void)Finish();
}

std::optional<v1::CoordinatorMessage> TestStream::Read() {
  v1::CoordinatorMessage message;
  while (stream_->Read(&message)) {
    if (!message.has_ping()) return message;
  }
  return std::nullopt;
}

v1::SecAgg TestStream::Await(v1::Step step) {
  while (auto message = Read()) {
    if (message->has_secagg() && message->secagg().step() == step) return message->secagg();
  }
  ADD_FAILURE() << "the stream ended before " << v1::Step_Name(step);
  return {};
}

grpc::Status TestStream::Finish() {
  if (std::exchange(finished_, true)) return grpc::Status::OK;
  return stream_->Finish();
}

void TestStream::Greet(uint32_t site, const std::function<void(v1::Hello&)>& change) {
  const auto challenge = Read();
  if (!challenge || !challenge->has_challenge()) return void(ADD_FAILURE() << "no challenge");
  v1::SiteMessage message;
  v1::Hello* hello = message.mutable_hello();
  hello->set_protocol_version(rpc::kProtocolVersion);
  hello->set_site_id(site);
  hello->set_role(site == 0 ? v1::ROLE_EVALUATOR : v1::ROLE_SITE);
  hello->set_cpus(4);
  hello->set_memory_gb(8);
  if (site != 0) {
    const std::string signed_text = "atoll/hello/v1" + challenge->challenge().nonce();
    const Signature signature = OpensslSuite().Sign(IdentitySeed(site), AsBytes(signed_text));
    hello->set_signature(signature.data(), signature.size());
  }
  if (change) change(*hello);
  Write(message);
}

void TestStream::Accept(uint64_t job) {
  v1::SiteMessage message;
  message.mutable_decision()->set_job_id(job);
  message.mutable_decision()->set_accepted(true);
  Write(message);
}

void TestStream::SendStep(uint64_t job, uint32_t round, v1::Step step, const Bytes& payload) {
  v1::SiteMessage message;
  v1::SecAgg* secagg = message.mutable_secagg();
  secagg->set_job_id(job);
  secagg->set_round(round);
  secagg->set_step(step);
  secagg->set_payload(payload.data(), payload.size());
  Write(message);
}

std::string UploadZeros(v1::Coordinator::Stub& stub, uint64_t parameters) {
  grpc::ClientContext context;
  v1::BlobUploaded reply;
  auto writer = stub.UploadBlob(&context, &reply);
  v1::BlobUpload message;
  message.set_bytes(4 * parameters);
  for (uint64_t left = 4 * parameters; left > 0;) {
    const uint64_t size = std::min<uint64_t>(left, rpc::kBlobChunkBytes);
    message.set_data(std::string(size, '\0'));
    if (!writer->Write(message)) break;
    message.Clear();
    left -= size;
  }
  writer->WritesDone();
  const grpc::Status status = writer->Finish();
  EXPECT_TRUE(status.ok()) << status.error_message();
  return reply.blob();
}

std::string Download(v1::Coordinator::Stub& stub, const std::string& blob) {
  grpc::ClientContext context;
  v1::DownloadRequest request;
  request.set_blob(blob);
  auto reader = stub.DownloadBlob(&context, request);
  v1::BlobChunk chunk;
  std::string all;
  while (reader->Read(&chunk)) all += chunk.data();
  const grpc::Status status = reader->Finish();
  EXPECT_TRUE(status.ok()) << status.error_message();
  return all;
}

}  // namespace atl::coordinator
