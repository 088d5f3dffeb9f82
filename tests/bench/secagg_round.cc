#include "tests/bench/secagg_round.h"

#include <cmath>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "comms/base/status.h"
#include "comms/sitelink/messages.h"
#include "kernels/pack.h"
#include "kernels/quantize.h"
#include "tests/bench/secagg_models.h"

namespace atl::bench {

uint64_t ExamplesOf(SiteId site) { return 500 + site.value(); }

RoundShape ShapeOf(const RoundOptions& options) {
  RoundShape shape;
  shape.segments.resize(2);
  kernels::Segment& metrics = shape.segments[sitelink::kMetricsSegment];
  metrics.length = sitelink::kMetricCount;
  metrics.value_bits = sitelink::kMetricValueBits;
  metrics.sum_bits = kernels::SumBits(metrics.value_bits, options.sites);
  kernels::Segment& update = shape.segments[sitelink::kUpdateSegment];
  update.length = options.coordinates;
  update.value_bits = options.value_bits;
  update.sum_bits = kernels::SumBits(update.value_bits, options.sites);
  update.scale = static_cast<double>(update.bound()) / kAmplitude;
  // Values are uniform, so the norm is amplitude * sqrt(length / 3).
  shape.clip_norm_l2 = 0.9 * kAmplitude * std::sqrt(static_cast<double>(options.coordinates) / 3);
  shape.weight_max = 1000;
  return shape;
}

absl::StatusOr<Digest> WriteModel(const RoundOptions& options, const store::BlobStore& blobs) {
  ATOLL_ASSIGN_OR_RETURN(store::BlobWriter writer, blobs.NewBlob());
  std::vector<float> values;
  for (uint64_t first = 0; first < options.coordinates; first += kernels::kChunkElements) {
    values.resize(std::min(kernels::kChunkElements, options.coordinates - first));
    for (uint64_t i = 0; i < values.size(); ++i) values[i] = GlobalAt(first + i);
    ATOLL_RETURN_IF_ERROR(writer.AddChunk(
        ByteView(reinterpret_cast<const uint8_t*>(values.data()), values.size() * sizeof(float))));
  }
  return writer.Commit();
}

absl::Status CheckSum(const RoundOptions& options, const std::vector<SiteId>& survivors,
                      const Digest& sum, const store::BlobStore& blobs) {
  const RoundShape shape = ShapeOf(options);
  const kernels::VectorLayout layout(shape.segments);
  const kernels::Segment& segment = shape.segments[sitelink::kUpdateSegment];
  ATOLL_ASSIGN_OR_RETURN(const store::BlobReader blob, blobs.OpenBlob(sum));
  double squared_norm = 0;
  for (uint64_t e = 0; e < options.coordinates; ++e) {
    const double value = LocalAt(e) - GlobalAt(e);
    squared_norm += value * value;
  }
  const double clip = kernels::ClipFactor(squared_norm, shape.clip_norm_l2);
  const uint32_t last = layout.chunk_count() - 1;
  for (uint32_t index : {1u, std::max(1u, last / 2), last}) {
    const kernels::Chunk chunk = layout.chunk(index);
    std::vector<float> local(chunk.elements), global(chunk.elements);
    for (uint64_t i = 0; i < chunk.elements; ++i) {
      local[i] = LocalAt(chunk.first_element + i);
      global[i] = GlobalAt(chunk.first_element + i);
    }
    // 64-bit lanes, so that it is not the arithmetic under test.
    std::vector<int64_t> total(chunk.elements), lanes(chunk.elements);
    const std::span<uint8_t> bytes(reinterpret_cast<uint8_t*>(lanes.data()), 8 * chunk.elements);
    for (SiteId site : survivors) {
      const double weight =
          static_cast<double>(ExamplesOf(site)) / static_cast<double>(shape.weight_max);
      kernels::QuantizeStochastic(local, global,
                                  {.factor = clip * weight * segment.scale,
                                   .bound = segment.bound(),
                                   .lane_bytes = 8,
                                   .rounding_key = RoundingKey(site),
                                   .first_element = chunk.first_element},
                                  bytes);
      for (uint64_t i = 0; i < chunk.elements; ++i) total[i] += lanes[i];
    }
    Bytes expected(chunk.bytes);
    kernels::PackLanes({reinterpret_cast<const uint8_t*>(total.data()), 8 * chunk.elements}, 8,
                       segment.sum_bits, chunk.elements, expected);
    ATOLL_ASSIGN_OR_RETURN(const Bytes found, blob.ReadChunk(index));
    if (found != expected) {
      return absl::InternalError(absl::StrCat("chunk ", index, " of the sum over ",
                                              survivors.size(),
                                              " sites is not the sum of what they quantised"));
    }
  }
  return absl::OkStatus();
}

}  // namespace atl::bench
