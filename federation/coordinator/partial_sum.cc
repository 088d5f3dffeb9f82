#include "federation/coordinator/partial_sum.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "comms/base/status.h"

namespace atl::coordinator {
namespace {

constexpr size_t kTogether = 8;
constexpr char kName[] = "partial sum";  // in place of a path

}  // namespace

std::vector<uint32_t> ChunkSizes(const kernels::VectorLayout& layout) {
  std::vector<uint32_t> sizes;
  for (uint32_t i = 0; i < layout.chunk_count(); ++i)
    sizes.push_back(static_cast<uint32_t>(layout.chunk(i).bytes));
  return sizes;
}

absl::StatusOr<std::vector<SiteVector>> OpenVectors(const store::VectorId& slot,
                                                    const std::vector<SiteId>& sites,
                                                    const kernels::VectorLayout& layout,
                                                    store::VectorStore& vectors) {
  const std::vector<uint32_t> sizes = ChunkSizes(layout);
  std::vector<SiteVector> opened;
  for (SiteId site : sites) {
    ATOLL_ASSIGN_OR_RETURN(auto vector,
                           vectors.OpenVector({slot.job, slot.round, slot.slot, site}, sizes));
    opened.push_back({site, std::move(vector)});
  }
  return opened;
}

absl::Status AddChunks(ViewOfSource view, size_t count, secagg::ChunkSummer& summer,
                       std::span<const secagg::MaskStream> streams, kernels::MaskCipher cipher) {
  size_t streams_added = 0;
  for (size_t source = 0; source < count;) {
    const size_t end = std::min(source + kTogether, count);
    std::vector<store::FileView> views;
    std::vector<ByteView> packed;
    for (; source < end; ++source) {
      ATOLL_ASSIGN_OR_RETURN(views.emplace_back(), view(source));
      packed.push_back(views.back().bytes());
    }
    const size_t streams_end = streams.size() * end / count;
    ATOLL_RETURN_IF_ERROR(
        summer.Add(packed, streams.subspan(streams_added, streams_end - streams_added), cipher));
    streams_added = streams_end;
  }
  summer.AddStreams(streams.subspan(streams_added), cipher);  // all of them, of no vectors
  return absl::OkStatus();
}

PartialSum::PartialSum(const std::vector<kernels::Segment>& segments, store::OwnedFd fd)
    : layout_(segments), fd_(std::move(fd)) {}

absl::StatusOr<std::unique_ptr<PartialSum>> PartialSum::Create(
    const std::vector<kernels::Segment>& segments, store::VectorStore& vectors) {
  const kernels::VectorLayout layout(segments);
  ATOLL_ASSIGN_OR_RETURN(store::OwnedFd fd, vectors.NewScratch(layout.packed_bytes()));
  return std::unique_ptr<PartialSum>(new PartialSum(segments, std::move(fd)));
}

absl::Status PartialSum::Add(const std::vector<SiteVector>& vectors,
                             absl::FunctionRef<bool()> stopped) {
  if (!begun_.empty()) {
    return absl::FailedPreconditionError("partial sum: an addition to it was stopped");
  }
  for (const SiteVector& item : vectors) {
    if (whole_.contains(item.site) || !begun_.insert(item.site).second) {
      begun_.clear();
      return absl::InvalidArgumentError(
          absl::StrCat("partial sum: site ", item.site.value(), " comes twice"));
    }
  }
  ATOLL_ASSIGN_OR_RETURN(auto summer, secagg::ChunkSummer::Create(layout_, 0));
  const size_t before = whole_.empty() ? 0 : 1;  // the sum so far
  for (uint32_t index = 0; index < layout_.chunk_count(); ++index) {
    if (stopped()) return absl::CancelledError("partial sum: stopped");
    ATOLL_RETURN_IF_ERROR(summer.Begin(layout_, index));
    const auto view = [&](size_t i) {
      return i < before ? ViewChunk(index) : vectors[i - before].vector->ViewChunk(index);
    };
    ATOLL_RETURN_IF_ERROR(AddChunks(view, before + vectors.size(), summer));
    const Bytes sum = summer.Finish();
    ATOLL_RETURN_IF_ERROR(store::WriteAt(fd_.get(), layout_.chunk(index).byte_offset, sum, kName));
    begun_chunks_ = index + 1;
  }
  whole_.merge(begun_);
  begun_chunks_ = 0;
  return absl::OkStatus();
}

bool PartialSum::IsWithin(const std::vector<SiteId>& sites) const {
  const auto within = [&](const std::set<SiteId>& held) {
    return std::includes(sites.begin(), sites.end(), held.begin(), held.end());
  };
  return within(whole_) && (begun_chunks_ == 0 || within(begun_));
}

absl::StatusOr<store::FileView> PartialSum::ViewChunk(uint32_t chunk) const {
  return store::FileView::Of(fd_.get(), layout_.chunk(chunk).byte_offset,
                             layout_.chunk(chunk).bytes, kName);
}

}  // namespace atl::coordinator
