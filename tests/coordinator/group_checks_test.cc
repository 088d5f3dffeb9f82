// Spot checks in a run that is split into groups, over gRPC: what each group's sites are shown.
#include <tuple>

#include "comms/base/files.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/coordinator/client.h"

namespace atl::coordinator {
namespace {

constexpr uint32_t kChunks = 3;
constexpr uint32_t kChunkBytes = 100;
const JobId kJob(5);
const RoundId kRound(2);
const SlotId kSlot(4);

Bytes Chunk(uint8_t owner, uint32_t index) {
  Bytes bytes(kChunkBytes, owner);
  bytes[0] = static_cast<uint8_t>(index);
  return bytes;
}

// Sites 1 and 2 are group 1, site 3 is group 2.
class GroupChecksTest : public testing::Test {
 protected:
  GroupChecksTest()
      : folder_(TemporaryFolder::Create("group-checks").value()),
        coordinator_(folder_.path()),
        stub_(coordinator_.Stub()) {
    AllowChecks allow;
    allow.job = kJob;
    allow.round = kRound;
    allow.slot = kSlot;
    allow.survivors = {{1, {SiteId(1), SiteId(2)}}, {2, {SiteId(3)}}};
    allow.askers = {{SiteId(1), 1}, {SiteId(3), 2}};
    allow.chunk_bytes.assign(kChunks, kChunkBytes);
    for (uint32_t site = 1; site <= 3; ++site) {
      const auto vector = coordinator_.coordinator()
                              .vectors()
                              .OpenVector({kJob, kRound, kSlot, SiteId(site)}, allow.chunk_bytes)
                              .value();
      for (uint32_t i = 0; i < kChunks; ++i)
        EXPECT_TRUE(vector->WriteChunk(i, Chunk(static_cast<uint8_t>(site), i)).ok());
      roots_[site] = MerkleRoot(vector->ChunkDigests().value());
    }
    for (const uint32_t group : {1u, 2u}) {
      store::BlobWriter sum = coordinator_.coordinator().blobs().NewBlob().value();
      for (uint32_t i = 0; i < kChunks; ++i)
        EXPECT_TRUE(sum.AddChunk(Chunk(static_cast<uint8_t>(100 + group), i)).ok());
      sums_[group] = sum.Commit().value();
      allow.sums.emplace_back(group, sums_[group]);
    }
    coordinator_.coordinator().checks().Open(allow);
  }

  // (site, group) of what is shown of each chunk, in order; every chunk is what it is said to be.
  using Shown = std::vector<std::tuple<uint32_t, uint32_t, uint32_t>>;  // chunk, site, group
  std::pair<grpc::StatusCode, Shown> Check(uint32_t site, const std::vector<uint32_t>& chunks) {
    v1::CheckRequest request;
    request.set_job_id(kJob.value());
    request.set_round(kRound.value());
    request.set_slot(kSlot.value());
    request.set_site_id(site);
    ByteWriter body;
    body.Raw(AsBytes("atoll/check/v1")).U64(kJob.value()).U32(kRound.value()).U64(kSlot.value());
    body.U32(static_cast<uint32_t>(chunks.size()));
    for (const uint32_t chunk : chunks) {
      body.U32(chunk);
      request.add_chunks(chunk);
    }
    const Signature token = OpensslSuite().Sign(IdentitySeed(site), body.bytes());
    request.set_token(token.data(), token.size());
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    auto call = stub_->CheckChunks(&context, request);
    Shown shown;
    for (v1::CheckedChunk chunk; call->Read(&chunk);) {
      shown.emplace_back(chunk.chunk(), chunk.site_id(), chunk.group());
      const bool is_sum = chunk.site_id() == 0;
      const auto owner = static_cast<uint8_t>(is_sum ? 100 + chunk.group() : chunk.site_id());
      EXPECT_EQ(Bytes(chunk.data().begin(), chunk.data().end()), Chunk(owner, chunk.chunk()));
      std::vector<Digest> path(static_cast<size_t>(chunk.path_size()));
      for (size_t k = 0; k < path.size(); ++k) {
        const std::string& node = chunk.path(static_cast<int>(k));
        EXPECT_EQ(node.size(), path[k].size());
        std::copy_n(node.begin(), std::min(node.size(), path[k].size()), path[k].begin());
      }
      EXPECT_EQ(VerifyMerklePath(Sha256::Of(AsBytes(chunk.data())), chunk.chunk(), kChunks, path,
                                 is_sum ? sums_[chunk.group()] : roots_[chunk.site_id()]),
                absl::OkStatus());
    }
    return {call->Finish().error_code(), shown};
  }

  TemporaryFolder folder_;
  TestCoordinator coordinator_;
  std::unique_ptr<v1::Coordinator::Stub> stub_;
  std::map<uint32_t, Digest> roots_, sums_;
};

TEST_F(GroupChecksTest, ASiteSeesItsGroupsVectorsAndAllGroupsSums) {
  const auto [status, shown] = Check(1, {0, 2});
  EXPECT_EQ(status, grpc::StatusCode::OK);
  EXPECT_EQ(
      shown,
      (Shown{
          {0, 1, 0}, {0, 2, 0}, {0, 0, 1}, {0, 0, 2}, {2, 1, 0}, {2, 2, 0}, {2, 0, 1}, {2, 0, 2}}));
  const auto [other_status, other] = Check(3, {1});
  EXPECT_EQ(other_status, grpc::StatusCode::OK);
  EXPECT_EQ(other, (Shown{{1, 3, 0}, {1, 0, 1}, {1, 0, 2}}));
}

TEST_F(GroupChecksTest, OnlyThoseWhoWereInTheRound) {
  EXPECT_EQ(Check(2, {0}), std::pair(grpc::StatusCode::PERMISSION_DENIED, Shown()));
  EXPECT_EQ(Check(1, {kChunks}), std::pair(grpc::StatusCode::INVALID_ARGUMENT, Shown()));
  coordinator_.coordinator().checks().Close(kJob, kRound, kSlot);
  EXPECT_EQ(Check(1, {0}), std::pair(grpc::StatusCode::FAILED_PRECONDITION, Shown()));
}

}  // namespace
}  // namespace atl::coordinator
