// What a site's round costs, and the vectors of all sites for the coordinator's side.
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <optional>
#include <thread>

#include "absl/strings/str_cat.h"
#include "comms/base/status.h"
#include "comms/rpc/atoll.pb.h"
#include "comms/sitelink/messages.h"
#include "federation/secagg/sum.h"
#include "kernels/quantize.h"
#include "tests/bench/memory.h"
#include "tests/bench/secagg_models.h"
#include "tests/bench/secagg_round.h"
#include "trainer/serve/update.h"

namespace atl::bench {
namespace {

double WallSeconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// `work`, so often, by `clock`.
SiteFigures::Cost Measure(int repeats, double (*clock)(), const std::function<void()>& work) {
  std::vector<double> costs;
  for (int i = 0; i < repeats; ++i) {
    const double start = clock();
    work();
    costs.push_back(clock() - start);
  }
  return {*std::min_element(costs.begin(), costs.end()), Median(costs)};
}

class SiteBench {
 public:
  SiteBench(const RoundOptions& options, const Cohort& cohort)
      : options_(options),
        cohort_(cohort),
        shape_(ShapeOf(options)),
        layout_(shape_.segments),
        global_(options.coordinates),
        local_(options.coordinates) {
    for (uint64_t e = 0; e < options.coordinates; ++e) {
      global_[e] = GlobalAt(e);
      local_[e] = LocalAt(e);
    }
    clip_ = kernels::ClipFactor(trainer::UpdateSquaredNorm(local_, global_), shape_.clip_norm_l2);
  }

  absl::StatusOr<SiteFigures> Run(const std::filesystem::path& folder);

 private:
  const kernels::Segment& update() const { return shape_.segments[sitelink::kUpdateSegment]; }
  std::vector<kernels::MaskKey> Keys(SiteId site, uint32_t segment) const {
    return secagg::MaskKeysOf(cohort_.streams(site), segment);
  }
  trainer::UpdateSlice Slice(SiteId site, const trainer::MaskSource& masks,
                             uint32_t threads = 1) const {
    trainer::UpdateOptions update_options;
    update_options.segment = update();
    update_options.factor =
        clip_ * static_cast<double>(ExamplesOf(site)) / static_cast<double>(shape_.weight_max);
    update_options.rounding_key = RoundingKey(site);
    update_options.slice = Whole();
    update_options.threads = threads;
    return trainer::MakeUpdateSlice(local_, global_, update_options, masks, nullptr);
  }
  trainer::Range Whole() const { return {0, options_.coordinates}; }
  void MeasureMaking(SiteFigures& figures) const;
  void MeasureAhead(SiteFigures& figures) const;
  // The vector's chunks, in order.
  std::vector<Bytes> Vector(SiteId site) const;
  absl::StatusOr<Digest> Stage(const std::vector<Bytes>& vector, SiteId site,
                               store::VectorStore& vectors) const;
  absl::Status Send(const std::vector<Bytes>& vector) const;

  const RoundOptions& options_;
  const Cohort& cohort_;
  const RoundShape shape_;
  const kernels::VectorLayout layout_;
  std::vector<float> global_, local_;
  double clip_ = 1;
};

void SiteBench::MeasureMaking(SiteFigures& figures) const {
  const SiteId site(1);
  const std::vector<kernels::MaskKey> keys = Keys(site, sitelink::kUpdateSegment);
  volatile double norm = 0;
  figures.clip = Measure(options_.repeats, ThreadSeconds,
                         [&] { norm = trainer::UpdateSquaredNorm(local_, global_); });
  figures.quantise_pack = Measure(options_.repeats, ThreadSeconds, [&] { Slice(site, {}); });
  figures.whole = Measure(options_.repeats, ThreadSeconds, [&] {
    norm = trainer::UpdateSquaredNorm(local_, global_);
    Slice(site, {.keys = keys});
  });
  figures.mask = {figures.whole.least - figures.clip.least - figures.quantise_pack.least,
                  figures.whole.median - figures.clip.median - figures.quantise_pack.median};
}

void SiteBench::MeasureAhead(SiteFigures& figures) const {
  const SiteId site(1);
  const uint32_t lane_bytes = update().lane_bytes();
  const std::vector<kernels::MaskKey> keys = Keys(site, sitelink::kUpdateSegment);
  kernels::LaneBuffer ahead(options_.coordinates * lane_bytes);
  std::fill(ahead.begin(), ahead.end(), uint8_t{0});
  const double start = ThreadSeconds();
  kernels::AddMasks({ahead.data(), ahead.size()}, lane_bytes, 0, keys);
  figures.ahead = ThreadSeconds() - start;
  const auto path = [&](uint32_t threads) {
    return Measure(options_.repeats, WallSeconds, [&] {
      volatile double norm = trainer::UpdateSquaredNorm(local_, global_, threads);
      (void)norm;
      Slice(site, {.keys = keys, .ahead = {ahead.data(), ahead.size()}}, threads);
    });
  };
  figures.critical_one_core = path(1);
  figures.critical = options_.threads == 1 ? figures.critical_one_core : path(options_.threads);
}

std::vector<Bytes> SiteBench::Vector(SiteId site) const {
  const std::vector<kernels::MaskKey> metrics_keys = Keys(site, sitelink::kMetricsSegment);
  const std::vector<kernels::MaskKey> keys = Keys(site, sitelink::kUpdateSegment);
  const auto examples = static_cast<int64_t>(ExamplesOf(site));
  const std::array<int64_t, sitelink::kMetricCount> metrics{examples, examples, 0, 0, 0};
  std::vector<Bytes> vector;
  vector.push_back(trainer::MakeMetricsSegment(metrics, shape_.segments[sitelink::kMetricsSegment],
                                               {.keys = metrics_keys}));
  const trainer::UpdateSlice slice = Slice(site, {.keys = keys});
  for (uint32_t i = 1; i < layout_.chunk_count(); ++i) {
    const ByteView part = trainer::PartOfSlice(slice, Whole(), update().sum_bits, layout_.chunk(i));
    vector.emplace_back(part.begin(), part.end());
  }
  return vector;
}

absl::StatusOr<Digest> SiteBench::Stage(const std::vector<Bytes>& vector, SiteId site,
                                        store::VectorStore& vectors) const {
  std::vector<uint32_t> sizes;
  for (const Bytes& chunk : vector) sizes.push_back(static_cast<uint32_t>(chunk.size()));
  ATOLL_ASSIGN_OR_RETURN(const auto staged,
                         vectors.OpenVector({JobId(1), RoundId(1), cohort_.slot(), site}, sizes));
  for (uint32_t i = 0; i < vector.size(); ++i)
    ATOLL_RETURN_IF_ERROR(staged->WriteChunk(i, vector[i]));
  ATOLL_ASSIGN_OR_RETURN(const std::vector<Digest> digests, staged->ChunkDigests());
  return MerkleRoot(digests);
}

absl::Status SiteBench::Send(const std::vector<Bytes>& vector) const {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0)
    return absl::UnavailableError("no socket pair");
  std::jthread reader([fd = ends[1]] {
    std::vector<char> sink(1 << 20);
    while (read(fd, sink.data(), sink.size()) > 0) {
    }
    close(fd);
  });
  bool is_sent = true;
  for (uint32_t i = 0; i < vector.size() && is_sent; ++i) {
    v1::VectorChunk message;
    message.set_index(i);
    message.set_data(vector[i].data(), vector[i].size());
    const std::string bytes = message.SerializeAsString();
    for (size_t done = 0; done < bytes.size() && is_sent;) {
      const ssize_t written = write(ends[0], bytes.data() + done, bytes.size() - done);
      is_sent = written > 0;
      done += is_sent ? static_cast<size_t>(written) : 0;
    }
  }
  close(ends[0]);
  return is_sent ? absl::OkStatus() : absl::UnavailableError("cannot write to a socket pair");
}

absl::StatusOr<SiteFigures> SiteBench::Run(const std::filesystem::path& folder) {
  SiteFigures figures;
  PeakMemory peak;
  MeasureMaking(figures);
  figures.peak_mib = peak.OverBaselineMib();
  MeasureAhead(figures);
  figures.peak_ahead_mib = peak.OverBaselineMib();
  {
    const std::vector<Bytes> vector = Vector(SiteId(1));
    double start = ThreadSeconds();
    std::vector<Digest> digests;
    for (const Bytes& chunk : vector) digests.push_back(Sha256::Of(chunk));
    (void)MerkleRoot(digests);
    figures.hash = ThreadSeconds() - start;
    start = ThreadSeconds();
    ATOLL_RETURN_IF_ERROR(Send(vector));
    figures.send = ThreadSeconds() - start;
  }

  ATOLL_ASSIGN_OR_RETURN(const auto vectors, store::VectorStore::Open(folder / "staged"));
  figures.roots.resize(options_.sites);
  std::atomic<uint32_t> next = 0;
  std::mutex mutex;
  absl::Status failed;
  const auto stage = [&] {
    for (uint32_t i = next++; i < options_.sites; i = next++) {
      const std::vector<Bytes> vector = Vector(SiteId(i + 1));
      const double start = ThreadSeconds(), start_wall = WallSeconds();
      const absl::StatusOr<Digest> root = Stage(vector, SiteId(i + 1), *vectors);
      std::lock_guard lock(mutex);
      if (!root.ok()) {
        failed.Update(root.status());
        return;
      }
      figures.roots[i] = *root;
      if (i == 0) {
        figures.stage = ThreadSeconds() - start;
        figures.stage_wall = WallSeconds() - start_wall;
      }
    }
  };
  {
    std::vector<std::jthread> threads;
    for (uint32_t i = 0; i < options_.threads; ++i) threads.emplace_back(stage);
  }
  ATOLL_RETURN_IF_ERROR(failed);
  return figures;
}

}  // namespace

absl::StatusOr<SiteFigures> MeasureSite(const RoundOptions& options, const Cohort& cohort,
                                        const std::filesystem::path& folder) {
  return SiteBench(options, cohort).Run(folder);
}

}  // namespace atl::bench
