// A whole round without secure aggregation over a real port, and every way in which an upload is
// refused.

#include <cmath>
#include <cstring>
#include <thread>

#include "absl/strings/str_cat.h"
#include "comms/base/crypto/sha256.h"
#include "comms/sitelink/messages.h"
#include "federation/secagg/signed_bodies.h"
#include "federation/secagg/signing.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/pack.h"
#include "kernels/quantize.h"
#include "tests/coordinator/client.h"

namespace atl::coordinator {
namespace {

using testing::HasSubstr;

constexpr uint64_t kParameters = 300'000;  // two chunks; with the metrics a vector has three
constexpr uint32_t kSites = 3;

class UploadTest : public testing::Test {
 protected:
  using Call = grpc::ClientReaderWriter<v1::VectorChunk, v1::VectorAck>;

  UploadTest()
      : folder_(TemporaryFolder::Create("coordinator").value()),
        coordinator_(folder_.path()),
        stub_(coordinator_.Stub()) {
    for (uint32_t site = 1; site <= kSites; ++site) {
      streams_.push_back(std::make_unique<TestStream>(*stub_));
      streams_.back()->Greet(site);
      EXPECT_TRUE(streams_.back()->Read()->has_welcome());
    }
    grpc::ClientContext context;
    v1::SubmitRequest request;
    request.set_recipe_yaml(
        "name: plain\nrun: atoll run task.yaml\nparameters: {site: {count: 3}, data: {evaluate: "
        "false}, federation: "
        "{rounds: 1, cohort: {min: 3}, weight_max: 1000}, privacy: {secure_aggregation: {enabled: "
        "false}}}\n");
    request.set_first_model(UploadZeros(*stub_, kParameters));
    request.set_parameters(kParameters);
    v1::SubmitReply reply;
    const grpc::Status status = stub_->SubmitJob(&context, request, &reply);
    EXPECT_TRUE(status.ok()) << status.error_message();
    job_ = reply.job_id();
    for (auto& stream : streams_) {
      EXPECT_TRUE(stream->Read()->has_offer());
      stream->Accept(job_);
    }
    for (auto& stream : streams_) {
      manifest_ =
          secagg::Decode<secagg::Manifest>(AsBytes(stream->Await(v1::MANIFEST).payload())).value();
    }
    layout_ = kernels::VectorLayout(manifest_.segments);
  }

  // The site's vector: weight 100 * site, and the same update of 0.001 * site in all coordinates.
  std::vector<Bytes> Vector(uint32_t site) const {
    std::vector<Bytes> chunks;
    for (uint32_t index = 0; index < layout_.chunk_count(); ++index) {
      const kernels::Chunk chunk = layout_.chunk(index);
      const kernels::Segment& segment = manifest_.segments[chunk.segment];
      Bytes lanes(chunk.elements * segment.lane_bytes());
      for (uint64_t i = 0; i < chunk.elements; ++i) {
        const double weight = 100.0 * site / 1000;
        const int64_t value = chunk.segment == sitelink::kMetricsSegment
                                  ? (i <= sitelink::kExamples ? 100 * site : 0)
                                  : std::llround(0.001 * site * weight * segment.scale);
        kernels::StoreLane(lanes, segment.lane_bytes(), i, value);
      }
      Bytes packed(chunk.bytes);
      kernels::PackLanes(lanes, segment.lane_bytes(), segment.sum_bits, chunk.elements, packed);
      chunks.push_back(std::move(packed));
    }
    return chunks;
  }

  static Digest Root(const std::vector<Bytes>& chunks) {
    std::vector<Digest> digests;
    for (const Bytes& chunk : chunks) digests.push_back(Sha256::Of(chunk));
    return MerkleRoot(digests);
  }

  void Commit(uint32_t site, const Digest& root) {
    const secagg::Session session{
        .roster = TestRoster(kSites).digest(), .run = manifest_.run, .slot = SlotId(0)};
    const Digest context = secagg::ContextOf(secagg::HashOf(manifest_), manifest_.members);
    secagg::Commit commit{.id = SiteId(site), .bytes = layout_.packed_bytes(), .root = root};
    commit.signature =
        secagg::SignBody(OpensslSuite(), IdentitySeed(site), session, secagg::kCommitLabel,
                         secagg::CommitBody(context, commit.bytes, root));
    streams_[site - 1]->SendStep(job_, 1, v1::COMMIT, secagg::Encode(commit));
  }

  v1::VectorChunk Opening(uint32_t site, const Digest& root) const {
    v1::VectorChunk first;
    first.set_job_id(job_);
    first.set_round(1);
    first.set_site_id(site);
    ByteWriter body;
    body.Raw(AsBytes("atoll/upload/v1")).U64(job_).U32(1).U64(0).Raw(root);
    const Signature token = OpensslSuite().Sign(IdentitySeed(site), body.bytes());
    first.set_token(token.data(), token.size());
    return first;
  }

  // Opens an upload and sends chunks, each acknowledged before the next; the call's status and the
  // last answer.
  struct Outcome {
    grpc::Status status;
    v1::VectorAck opened, last;
  };
  Outcome Upload(const v1::VectorChunk& opening, const std::map<uint32_t, Bytes>& chunks) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    auto call = stub_->UploadVector(&context);
    Outcome outcome;
    call->Write(opening);
    bool open = call->Read(&outcome.opened);
    outcome.last = outcome.opened;
    for (const auto& [index, bytes] : chunks) {
      if (!open) break;
      v1::VectorChunk chunk;
      chunk.set_index(index);
      chunk.set_data(bytes.data(), bytes.size());
      open = call->Write(chunk) && call->Read(&outcome.last);
    }
    call->WritesDone();
    outcome.status = call->Finish();
    return outcome;
  }

  // A spot check; what came before the call's end.
  struct Checked {
    grpc::Status status;
    std::vector<v1::CheckedChunk> chunks;
  };
  v1::CheckRequest CheckOf(uint32_t site, const std::vector<uint32_t>& chunks,
                           uint32_t signer = 0) const {
    v1::CheckRequest request;
    request.set_job_id(job_);
    request.set_round(1);
    request.set_site_id(site);
    ByteWriter body;
    body.Raw(AsBytes("atoll/check/v1")).U64(job_).U32(1).U64(0);
    body.U32(static_cast<uint32_t>(chunks.size()));
    for (const uint32_t chunk : chunks) {
      body.U32(chunk);
      request.add_chunks(chunk);
    }
    const Signature token =
        OpensslSuite().Sign(IdentitySeed(signer == 0 ? site : signer), body.bytes());
    request.set_token(token.data(), token.size());
    return request;
  }
  Checked Check(const v1::CheckRequest& request) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    auto call = stub_->CheckChunks(&context, request);
    Checked checked;
    for (v1::CheckedChunk chunk; call->Read(&chunk);) checked.chunks.push_back(chunk);
    checked.status = call->Finish();
    return checked;
  }
  grpc::StatusCode Refusal(const v1::CheckRequest& request) {
    const Checked checked = Check(request);
    EXPECT_TRUE(checked.chunks.empty());
    return checked.status.error_code();
  }
  // All sites' vectors; R5 as the first one gets it.
  secagg::Result RunRound() {
    for (uint32_t site = 1; site <= kSites; ++site) {
      const std::vector<Bytes> vector = Vector(site);
      Commit(site, Root(vector));
      EXPECT_TRUE(Upload(Opening(site, Root(vector)), All(vector)).status.ok());
    }
    return secagg::Decode<secagg::Result>(AsBytes(streams_[0]->Await(v1::RESULT).payload()))
        .value();
  }

  static std::map<uint32_t, Bytes> All(const std::vector<Bytes>& chunks) {
    std::map<uint32_t, Bytes> all;
    for (uint32_t i = 0; i < chunks.size(); ++i) all[i] = chunks[i];
    return all;
  }

  TemporaryFolder folder_;
  TestCoordinator coordinator_;
  std::unique_ptr<v1::Coordinator::Stub> stub_;
  std::vector<std::unique_ptr<TestStream>> streams_;
  uint64_t job_ = 0;
  secagg::Manifest manifest_;
  kernels::VectorLayout layout_;
};

TEST_F(UploadTest, ARoundEndsWithTheMeanOfTheUpdates) {
  for (uint32_t site = 1; site <= kSites; ++site) {
    const std::vector<Bytes> vector = Vector(site);
    Commit(site, Root(vector));
    const Outcome outcome = Upload(Opening(site, Root(vector)), All(vector));
    EXPECT_TRUE(outcome.status.ok()) << outcome.status.error_message();
    EXPECT_TRUE(outcome.last.complete());
    EXPECT_EQ(outcome.last.stored_size(), 3);
  }
  const auto result =
      secagg::Decode<secagg::Result>(AsBytes(streams_[0]->Await(v1::RESULT).payload())).value();
  EXPECT_EQ(result.survivors.members.size(), 3u);
  const std::string model = Download(*stub_, std::string(AsText(result.next_model)));
  ASSERT_EQ(model.size(), 4 * kParameters);
  // Weights 1, 2, 3: (1 * 0.001 + 2 * 0.002 + 3 * 0.003) / 6.
  const double step = 3 / manifest_.segments[sitelink::kUpdateSegment].scale;
  for (uint64_t i = 0; i < kParameters; i += 4999) {
    float value = 0;
    std::memcpy(&value, model.data() + 4 * i, 4);
    ASSERT_NEAR(value, 0.014 / 6, step / 0.6);
  }
  // The sum of a vector has one chunk of metrics and two of the update.
  EXPECT_EQ(Download(*stub_, std::string(AsText(result.sum))).size(), layout_.packed_bytes());
  for (uint32_t site = 1; site <= kSites; ++site) {
    streams_[site - 1]->SendStep(job_, 1, v1::RESULT_CHECKED, ByteWriter().U32(2).bytes());
  }
  while (const auto message = streams_[0]->Read()) {
    if (message->has_job_ended()) break;
  }
  grpc::ClientContext context;
  v1::GetJobRequest request;
  request.set_job_id(job_);
  v1::JobReport report;
  ASSERT_TRUE(stub_->GetJob(&context, request, &report).ok());
  EXPECT_EQ(report.status(), v1::COMPLETE);
  EXPECT_EQ(report.round_reports(0).examples(), 600u);
  EXPECT_EQ(report.round_reports(0).spot_checked(), 6u);
  EXPECT_GE(report.round_reports(0).bytes_up(), 3 * layout_.packed_bytes());
  // Nothing stays of what the sites sent.
  size_t left = 0;
  for (const auto& entry :
       std::filesystem::recursive_directory_iterator(folder_.path() / "staged")) {
    left += entry.is_regular_file() && entry.file_size() > 1000;
  }
  EXPECT_EQ(left, 0u);
}

TEST_F(UploadTest, SitesSeeWhatTheSumIsMadeOf) {
  EXPECT_EQ(Refusal(CheckOf(1, {0})), grpc::StatusCode::FAILED_PRECONDITION);  // not yet
  const secagg::Result result = RunRound();
  for (const uint32_t site : {2u, 1u}) {
    const Checked checked = Check(CheckOf(site, {0, 2}));
    ASSERT_TRUE(checked.status.ok()) << checked.status.error_message();
    ASSERT_EQ(checked.chunks.size(), 2 * kSites);
    for (size_t i = 0; i < checked.chunks.size(); ++i) {
      const v1::CheckedChunk& chunk = checked.chunks[i];
      const uint32_t index = i < kSites ? 0 : 2;
      const auto owner = static_cast<uint32_t>(i % kSites + 1);
      EXPECT_EQ(chunk.site_id(), owner);
      EXPECT_EQ(chunk.chunk(), index);
      EXPECT_EQ(AsBytes(chunk.data()).size(), layout_.chunk(index).bytes);
      std::vector<Digest> path(static_cast<size_t>(chunk.path_size()));
      for (size_t k = 0; k < path.size(); ++k) {
        std::copy(chunk.path(static_cast<int>(k)).begin(), chunk.path(static_cast<int>(k)).end(),
                  path[k].begin());
      }
      EXPECT_EQ(VerifyMerklePath(Sha256::Of(AsBytes(chunk.data())), index, layout_.chunk_count(),
                                 path, result.survivors.members[owner - 1].root),
                absl::OkStatus());
    }
  }
}

TEST_F(UploadTest, ChecksAreForTheRoundsSitesAndBounded) {
  RunRound();
  EXPECT_EQ(Refusal(CheckOf(1, {0}, /*signer=*/2)), grpc::StatusCode::UNAUTHENTICATED);
  v1::CheckRequest request = CheckOf(1, {0});
  request.set_chunks(0, 1);  // not what was signed
  EXPECT_EQ(Refusal(request), grpc::StatusCode::UNAUTHENTICATED);
  request.clear_token();
  EXPECT_EQ(Refusal(request), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(Refusal(CheckOf(77, {0}, 1)), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(Refusal(CheckOf(1, {})), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Refusal(CheckOf(1, {3})), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Refusal(CheckOf(1, {1, 1})), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Refusal(CheckOf(1, std::vector<uint32_t>(65, 0))), grpc::StatusCode::INVALID_ARGUMENT);
  // Once all have said that they need no more, it is gone; so is the job.
  for (uint32_t site = 1; site <= kSites; ++site) {
    streams_[site - 1]->SendStep(job_, 1, v1::RESULT_CHECKED, {});
  }
  while (const auto message = streams_[0]->Read()) {
    if (message->has_job_ended()) break;
  }
  EXPECT_EQ(Refusal(CheckOf(1, {0})), grpc::StatusCode::FAILED_PRECONDITION);
}

TEST(Checks, OneCallOfASiteAtATimeAndOnlyOfThoseInTheRound) {
  Checks checks;
  checks.Open(
      {JobId(1), RoundId(2), SlotId(3), {{0, {SiteId(1), SiteId(2)}}}, {{SiteId(1), 0}}, {}, {10}});
  const auto code = [&](uint32_t site, uint64_t slot = 3) {
    return checks.Begin(JobId(1), RoundId(2), SlotId(slot), SiteId(site)).status().code();
  };
  EXPECT_EQ(code(2), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(code(1, 4), absl::StatusCode::kFailedPrecondition);
  {
    const auto call = checks.Begin(JobId(1), RoundId(2), SlotId(3), SiteId(1));
    ASSERT_TRUE(call.ok());
    EXPECT_EQ(code(1), absl::StatusCode::kAborted);
  }
  EXPECT_EQ(code(1), absl::StatusCode::kOk);
  checks.Close(JobId(1), RoundId(2), SlotId(3));
  EXPECT_EQ(code(1), absl::StatusCode::kFailedPrecondition);
}

TEST_F(UploadTest, NotBeforeTheCommit) {
  const std::vector<Bytes> vector = Vector(1);
  const Outcome outcome = Upload(Opening(1, Root(vector)), All(vector));
  EXPECT_EQ(outcome.status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(outcome.status.error_message(), HasSubstr("none is waited for"));
}

TEST_F(UploadTest, OnlyBySomebodyWhoHoldsTheSitesKey) {
  const std::vector<Bytes> vector = Vector(1);
  const Digest root = Root(vector);
  Commit(1, root);
  v1::VectorChunk opening = Opening(1, root);
  opening.mutable_token()->at(0) ^= 1;
  EXPECT_EQ(Upload(opening, {}).status.error_code(), grpc::StatusCode::UNAUTHENTICATED);
  // Another site's token, and one for another vector.
  opening.set_token(Opening(2, root).token());
  EXPECT_EQ(Upload(opening, {}).status.error_code(), grpc::StatusCode::UNAUTHENTICATED);
  opening.set_token(Opening(1, Digest{}).token());
  EXPECT_EQ(Upload(opening, {}).status.error_code(), grpc::StatusCode::UNAUTHENTICATED);
  opening.clear_token();
  EXPECT_EQ(Upload(opening, {}).status.error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_TRUE(Upload(Opening(1, root), All(vector)).status.ok());
}

TEST_F(UploadTest, GoesOnWithWhatIsMissingAndOnlyWithTheSameBytes) {
  const std::vector<Bytes> vector = Vector(2);
  const Digest root = Root(vector);
  Commit(2, root);
  Outcome outcome = Upload(Opening(2, root), {{1, vector[1]}});
  EXPECT_EQ(outcome.opened.stored_size(), 0);
  EXPECT_EQ(outcome.last.stored(0), 1u);
  EXPECT_EQ(outcome.status.error_code(), grpc::StatusCode::CANCELLED);
  // Other bytes for a chunk that is there.
  Bytes other = vector[1];
  other[100] ^= 1;
  outcome = Upload(Opening(2, root), {{1, other}});
  ASSERT_EQ(outcome.opened.stored_size(), 1);
  EXPECT_EQ(outcome.opened.stored(0), 1u);
  EXPECT_EQ(outcome.status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  // Sizes and indices that are none.
  EXPECT_EQ(Upload(Opening(2, root), {{9, vector[1]}}).status.error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
  other.push_back(0);
  EXPECT_EQ(Upload(Opening(2, root), {{0, other}}).status.error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
  outcome = Upload(Opening(2, root), {{0, vector[0]}, {2, vector[2]}});
  EXPECT_TRUE(outcome.status.ok()) << outcome.status.error_message();
  EXPECT_TRUE(outcome.last.complete());
  // A repeat of what is complete is told so.
  outcome = Upload(Opening(2, root), {});
  EXPECT_TRUE(outcome.status.ok()) << outcome.status.error_message();
  EXPECT_TRUE(outcome.opened.complete());
}

TEST_F(UploadTest, AVectorThatIsNotTheCommittedOneDropsItsSite) {
  std::vector<Bytes> vector = Vector(3);
  const Digest root = Root(vector);
  Commit(3, root);
  vector[2][7] ^= 1;
  const Outcome outcome = Upload(Opening(3, root), All(vector));
  EXPECT_EQ(outcome.status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  const auto aborted = streams_[0]->Read();
  ASSERT_TRUE(aborted.has_value());
  EXPECT_TRUE(aborted->has_round_aborted()) << aborted->DebugString();
}

TEST_F(UploadTest, AMessageThatIsTooLargeIsRefused) {
  const std::vector<Bytes> vector = Vector(1);
  Commit(1, Root(vector));
  const Outcome outcome = Upload(Opening(1, Root(vector)), {{0, Bytes(9 << 20)}});
  EXPECT_FALSE(outcome.status.ok());
  // gRPC ends the call for the sender at once, for the service a moment later: a site tries again.
  Outcome again = Upload(Opening(1, Root(vector)), All(vector));
  for (int i = 0; i < 200 && again.status.error_code() == grpc::StatusCode::ABORTED; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    again = Upload(Opening(1, Root(vector)), All(vector));
  }
  EXPECT_TRUE(again.status.ok()) << again.status.error_message();
}

}  // namespace
}  // namespace atl::coordinator
