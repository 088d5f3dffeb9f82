#include "tests/site/fake_coordinator.h"

#include <chrono>

#include "comms/base/crypto/sha256.h"
#include "comms/base/random.h"
#include "comms/rpc/channel.h"
#include "gtest/gtest.h"

namespace atl::site {
namespace {

constexpr auto kPatience = std::chrono::seconds(60);

Bytes ToBytes(const std::string& text) { return Bytes(text.begin(), text.end()); }

}  // namespace

FakeCoordinator::FakeCoordinator(const Digest& roster) : roster_(roster) {
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.SetMaxReceiveMessageSize(rpc::kMaxMessageBytes);
  builder.RegisterService(this);
  server_ = builder.BuildAndStart();
  address_ = "127.0.0.1:" + std::to_string(port);
}

FakeCoordinator::~FakeCoordinator() { server_->Shutdown(std::chrono::system_clock::now()); }

grpc::Status FakeCoordinator::Control(grpc::ServerContext* context, Stream* stream) {
  Bytes nonce(32);
  SystemRandom().Fill(nonce);
  v1::CoordinatorMessage challenge;
  challenge.mutable_challenge()->set_protocol_version(protocol_version);
  challenge.mutable_challenge()->set_nonce(nonce.data(), nonce.size());
  challenge.mutable_challenge()->set_roster_digest(roster_.data(), roster_.size());
  v1::SiteMessage message;
  if (!stream->Write(challenge) || !stream->Read(&message)) return grpc::Status::CANCELLED;
  v1::CoordinatorMessage welcome;
  welcome.mutable_welcome();
  if (!stream->Write(welcome)) return grpc::Status::CANCELLED;
  {
    std::lock_guard lock(mutex_);
    transcript_.push_back(message.SerializeAsString());
    hellos_.push_back(message.hello());
    nonces_.push_back(nonce);
    context_ = context;
    stream_ = stream;
    changed_.notify_all();
  }
  while (stream->Read(&message)) {
    std::lock_guard lock(mutex_);
    transcript_.push_back(message.SerializeAsString());
    if (message.has_progress()) {
      phases_.insert(message.progress().phase());
    } else if (!message.has_pong()) {
      heard_.push_back(message);
    }
    changed_.notify_all();
  }
  std::lock_guard lock(mutex_);
  if (stream_ == stream) {
    stream_ = nullptr;
    context_ = nullptr;
  }
  return grpc::Status::OK;
}

bool FakeCoordinator::WaitForHello(size_t count) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, kPatience,
                           [&] { return hellos_.size() >= count && stream_ != nullptr; });
}

size_t FakeCoordinator::hellos() const {
  std::lock_guard lock(mutex_);
  return hellos_.size();
}

v1::Hello FakeCoordinator::hello(size_t index) const {
  std::lock_guard lock(mutex_);
  return hellos_.at(index);
}

Bytes FakeCoordinator::nonce(size_t index) const {
  std::lock_guard lock(mutex_);
  return nonces_.at(index);
}

void FakeCoordinator::Say(const v1::CoordinatorMessage& message) {
  std::lock_guard lock(mutex_);
  ASSERT_NE(stream_, nullptr) << "no agent is connected";
  stream_->Write(message);
}

void FakeCoordinator::SayStep(uint32_t round, uint64_t slot, v1::Step step, const Bytes& payload) {
  v1::CoordinatorMessage message;
  v1::SecAgg& body = *message.mutable_secagg();
  body.set_job_id(1);
  body.set_round(round);
  body.set_slot(slot);
  body.set_step(step);
  body.set_payload(payload.data(), payload.size());
  Say(message);
}

std::optional<v1::SiteMessage> FakeCoordinator::Hear(int timeout_ms) {
  std::unique_lock lock(mutex_);
  if (!changed_.wait_for(lock, std::chrono::milliseconds(timeout_ms),
                         [&] { return !heard_.empty(); })) {
    return std::nullopt;
  }
  v1::SiteMessage message = heard_.front();
  heard_.pop_front();
  return message;
}

Bytes FakeCoordinator::HearStep(v1::Step step) {
  const std::optional<v1::SiteMessage> message = Hear();
  if (!message || !message->has_secagg() || message->secagg().step() != step) {
    ADD_FAILURE() << v1::Step_Name(step) << " was awaited, "
                  << (message ? message->ShortDebugString().substr(0, 300) : "nothing") << " came";
    return {};
  }
  return ToBytes(message->secagg().payload());
}

std::set<std::string> FakeCoordinator::phases() const {
  std::lock_guard lock(mutex_);
  return phases_;
}

std::vector<std::string> FakeCoordinator::transcript() const {
  std::lock_guard lock(mutex_);
  return transcript_;
}

void FakeCoordinator::BreakControl() {
  std::lock_guard lock(mutex_);
  if (context_ != nullptr) context_->TryCancel();
  context_ = nullptr;
  stream_ = nullptr;
}

Digest FakeCoordinator::AddBlob(const std::vector<Bytes>& chunks) {
  Blob blob{chunks, {}};
  for (const Bytes& chunk : chunks) blob.digests.push_back(Sha256::Of(chunk));
  const Digest root = MerkleRoot(blob.digests);
  std::lock_guard lock(mutex_);
  blobs_[root] = std::move(blob);
  return root;
}

void FakeCoordinator::CorruptBlob(const Digest& root) {
  std::lock_guard lock(mutex_);
  blobs_.at(root).chunks.back().back() ^= 1;
}

int FakeCoordinator::downloads() const {
  std::lock_guard lock(mutex_);
  return downloads_;
}

grpc::Status FakeCoordinator::DownloadBlob(grpc::ServerContext* context,
                                           const v1::DownloadRequest* request,
                                           grpc::ServerWriter<v1::BlobChunk>* writer) {
  Blob blob;
  {
    std::lock_guard lock(mutex_);
    ++downloads_;
    transcript_.push_back(request->SerializeAsString());
    Digest root{};
    if (request->blob().size() == root.size()) {
      std::copy(request->blob().begin(), request->blob().end(), root.begin());
    }
    const auto known = blobs_.find(root);
    if (known == blobs_.end()) return {grpc::StatusCode::NOT_FOUND, "no such blob"};
    blob = known->second;
  }
  for (uint32_t i = request->first_chunk(); i < blob.chunks.size(); ++i) {
    v1::BlobChunk chunk;
    chunk.set_index(i);
    chunk.set_data(blob.chunks[i].data(), blob.chunks[i].size());
    chunk.set_chunk_count(static_cast<uint32_t>(blob.chunks.size()));
    if (i == request->first_chunk()) {
      for (const Digest& digest : blob.digests) {
        chunk.add_chunk_digests(digest.data(), digest.size());
      }
    }
    if (!writer->Write(chunk)) return grpc::Status::CANCELLED;
  }
  return grpc::Status::OK;
}

void FakeCoordinator::ExpectUpload(uint64_t slot, uint32_t chunks, uint32_t break_after) {
  std::lock_guard lock(mutex_);
  uploads_ = Uploads();
  upload_slot_ = slot;
  upload_chunks_ = chunks;
  break_after_ = break_after;
}

bool FakeCoordinator::WaitForUpload() {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, kPatience, [&] { return uploads_.complete; });
}

Uploads FakeCoordinator::uploads() const {
  std::lock_guard lock(mutex_);
  return uploads_;
}

grpc::Status FakeCoordinator::UploadVector(grpc::ServerContext* context, VectorStream* stream) {
  v1::VectorChunk message;
  if (!stream->Read(&message)) return grpc::Status::CANCELLED;
  const uint64_t slot = message.slot();
  const grpc::Status over(grpc::StatusCode::FAILED_PRECONDITION, "not the vector that is awaited");
  v1::VectorAck ack;
  {
    std::lock_guard lock(mutex_);
    transcript_.push_back(message.SerializeAsString());
    if (slot != upload_slot_) return over;
    uploads_.openings.push_back(message);
    for (const auto& [index, bytes] : uploads_.chunks) ack.add_stored(index);
    ack.set_complete(uploads_.chunks.size() == upload_chunks_);
  }
  while (stream->Write(ack) && !ack.complete() && stream->Read(&message)) {
    ack.Clear();
    std::unique_lock lock(mutex_);
    transcript_.push_back(message.SerializeAsString());
    if (slot != upload_slot_) return over;
    const Bytes data = ToBytes(message.data());
    const auto [at, is_new] = uploads_.chunks.emplace(message.index(), data);
    uploads_.twice += !is_new;
    uploads_.different += at->second != data;
    ack.add_stored(message.index());
    ack.set_complete(uploads_.chunks.size() == upload_chunks_);
    uploads_.complete = ack.complete();
    changed_.notify_all();
    if (break_after_ > 0 && uploads_.chunks.size() == break_after_) {
      break_after_ = 0;
      lock.unlock();
      stream->Write(ack);
      BreakControl();
      return {grpc::StatusCode::UNAVAILABLE, "the test breaks this connection"};
    }
  }
  return grpc::Status::OK;
}

void FakeCoordinator::ShowVectors(uint64_t slot,
                                  const std::map<uint32_t, std::vector<Bytes>>& vectors,
                                  Spoil spoil) {
  std::lock_guard lock(mutex_);
  checked_slot_ = slot;
  checked_vectors_ = vectors;
  spoil_ = std::move(spoil);
}

std::vector<v1::CheckRequest> FakeCoordinator::checks() const {
  std::lock_guard lock(mutex_);
  return checks_;
}

grpc::Status FakeCoordinator::CheckChunks(grpc::ServerContext* context,
                                          const v1::CheckRequest* request,
                                          grpc::ServerWriter<v1::CheckedChunk>* writer) {
  std::map<uint32_t, std::vector<Bytes>> vectors;
  Spoil spoil;
  {
    std::lock_guard lock(mutex_);
    checks_.push_back(*request);
    changed_.notify_all();
    if (request->slot() != checked_slot_ || checked_vectors_.empty()) {
      return {grpc::StatusCode::FAILED_PRECONDITION, "its sum is not to be checked now"};
    }
    vectors = checked_vectors_;
    spoil = spoil_;
  }
  for (const uint32_t index : request->chunks()) {
    for (const auto& [site, chunks] : vectors) {
      std::vector<Digest> digests;
      for (const Bytes& chunk : chunks) digests.push_back(Sha256::Of(chunk));
      v1::CheckedChunk message;
      message.set_site_id(site);
      message.set_chunk(index);
      message.set_data(chunks.at(index).data(), chunks.at(index).size());
      for (const Digest& node : MerklePath(digests, index)) {
        message.add_path(node.data(), node.size());
      }
      if (spoil && !spoil(message)) continue;
      if (!writer->Write(message)) return grpc::Status::CANCELLED;
    }
  }
  return grpc::Status::OK;
}

}  // namespace atl::site
