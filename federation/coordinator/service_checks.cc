// Service's spot checks.

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "comms/base/status.h"
#include "comms/rpc/channel.h"
#include "federation/coordinator/service.h"

namespace atl::coordinator {
namespace {

absl::Status CheckToken(const Coordinator& coordinator, const v1::CheckRequest& request) {
  const secagg::RosterEntry* entry = coordinator.roster().Find(SiteId(request.site_id()));
  ByteWriter body;
  body.Raw(AsBytes("atoll/check/v1")).U64(request.job_id()).U32(request.round());
  body.U64(request.slot()).U32(static_cast<uint32_t>(request.chunks_size()));
  for (const uint32_t chunk : request.chunks()) body.U32(chunk);
  Signature token{};
  const bool has_size = request.token().size() == token.size();
  if (has_size) std::copy(request.token().begin(), request.token().end(), token.begin());
  if (entry == nullptr || !has_size ||
      !coordinator.suite().Verify(entry->identity, body.bytes(), token)) {
    return absl::UnauthenticatedError(absl::StrCat("check in the name of site ", request.site_id(),
                                                   ": its token does not verify"));
  }
  return absl::OkStatus();
}

}  // namespace

grpc::Status Service::CheckChunks(grpc::ServerContext*, const v1::CheckRequest* request,
                                  grpc::ServerWriter<v1::CheckedChunk>* writer) {
  return rpc::ToGrpc(SendChecked(*request, *writer));
}

absl::Status Service::SendChecked(const v1::CheckRequest& request,
                                  grpc::ServerWriter<v1::CheckedChunk>& writer) {
  const SiteId site(request.site_id());
  if (request.chunks_size() == 0 ||
      static_cast<uint32_t>(request.chunks_size()) > rpc::kMaxCheckedChunks) {
    return absl::InvalidArgumentError(absl::StrCat(
        "check: ", request.chunks_size(), " chunks, must be 1 to ", rpc::kMaxCheckedChunks));
  }
  ATOLL_RETURN_IF_ERROR(CheckToken(coordinator_, request));
  ATOLL_ASSIGN_OR_RETURN(
      const std::unique_ptr<Checks::Call> call,
      coordinator_.checks().Begin(JobId(request.job_id()), RoundId(request.round()),
                                  SlotId(request.slot()), site));
  const AllowChecks& allowed = call->allowed;
  for (int i = 0; i < request.chunks_size(); ++i) {
    if (request.chunks(i) >= allowed.chunk_bytes.size() ||
        (i > 0 && request.chunks(i) <= request.chunks(i - 1))) {
      return absl::InvalidArgumentError(absl::StrCat("check: chunk ", request.chunks(i),
                                                     " is out of order, or not one of ",
                                                     allowed.chunk_bytes.size()));
    }
  }
  const uint32_t group = allowed.askers.at(site);
  const std::vector<SiteId>& survivors = allowed.survivors.at(group);
  std::vector<std::shared_ptr<store::StagedVector>> vectors;
  std::vector<std::vector<Digest>> digests;
  for (SiteId survivor : survivors) {
    const store::VectorId id{allowed.job, allowed.round, allowed.slot, survivor};
    ATOLL_ASSIGN_OR_RETURN(auto vector, coordinator_.vectors().OpenVector(id, allowed.chunk_bytes));
    ATOLL_ASSIGN_OR_RETURN(digests.emplace_back(), vector->ChunkDigests());
    vectors.push_back(std::move(vector));
  }
  std::vector<store::BlobReader> sums;
  for (const auto& [number, sum] : allowed.sums) {
    ATOLL_ASSIGN_OR_RETURN(store::BlobReader reader, coordinator_.blobs().OpenBlob(sum));
    sums.push_back(std::move(reader));
  }
  const auto send = [&](v1::CheckedChunk chunk, const absl::StatusOr<Bytes>& data,
                        const std::vector<Digest>& all) -> absl::Status {
    ATOLL_RETURN_IF_ERROR(data.status());
    chunk.set_data(data->data(), data->size());
    for (const Digest& node : MerklePath(all, chunk.chunk())) {
      chunk.add_path(node.data(), node.size());
    }
    return writer.Write(chunk) ? absl::OkStatus() : absl::CancelledError("the caller has gone");
  };
  for (const uint32_t index : request.chunks()) {
    v1::CheckedChunk chunk;
    chunk.set_chunk(index);
    for (size_t i = 0; i < vectors.size(); ++i) {
      chunk.set_site_id(survivors[i].value());
      ATOLL_RETURN_IF_ERROR(send(chunk, vectors[i]->ReadChunk(index), digests[i]));
    }
    chunk.clear_site_id();
    for (size_t i = 0; i < sums.size(); ++i) {
      chunk.set_group(allowed.sums[i].first);
      ATOLL_RETURN_IF_ERROR(send(chunk, sums[i].ReadChunk(index), sums[i].chunk_digests()));
    }
    (void)coordinator_.Post(Heard{site});
  }
  return absl::OkStatus();
}

}  // namespace atl::coordinator
