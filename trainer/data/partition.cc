#include "trainer/data/partition.h"

#include <algorithm>
#include <numeric>

#include "comms/base/random.h"
#include "comms/base/status.h"

namespace atl::trainer {
namespace {

constexpr uint32_t kMaxSites = 1 << 16;
constexpr size_t kMinExamples = 10;
constexpr int kMaxDraws = 1000;

absl::Status CheckSites(size_t examples, uint32_t sites) {
  if (sites == 0 || sites > kMaxSites || sites > examples) {
    return absl::InvalidArgumentError(
        absl::StrCat("data.partition: ", examples, " examples cannot be parted among ", sites,
                     " sites (1 to ", kMaxSites, ", one example each at least)"));
  }
  return absl::OkStatus();
}

std::vector<std::vector<uint32_t>> ByClass(std::span<const uint32_t> labels, uint32_t classes) {
  std::vector<std::vector<uint32_t>> out(classes);
  for (uint32_t i = 0; i < labels.size(); ++i) out[labels[i]].push_back(i);
  return out;
}

uint32_t CountClasses(std::span<const uint32_t> labels) {
  return labels.empty() ? 0 : *std::max_element(labels.begin(), labels.end()) + 1;
}

void SortParts(Partition& parts) {
  for (auto& part : parts) std::sort(part.begin(), part.end());
}

// One draw of all classes' shares.
Partition DrawDirichlet(const std::vector<std::vector<uint32_t>>& by_class, size_t examples,
                        uint32_t sites, double alpha, SeededRandom& random) {
  Partition parts(sites);
  const double even_share = static_cast<double>(examples) / sites;
  for (std::vector<uint32_t> indices : by_class) {
    if (indices.empty()) continue;
    random.Shuffle(std::span(indices));
    std::vector<double> shares = random.Dirichlet(alpha, sites);
    double total = 0;
    for (uint32_t site = 0; site < sites; ++site) {
      if (static_cast<double>(parts[site].size()) >= even_share) shares[site] = 0;
      total += shares[site];
    }
    // Sites below their even share always exist while examples are left, but tiny shares may vanish
    // altogether.
    if (!(total > 0)) {
      for (uint32_t site = 0; site < sites; ++site) {
        shares[site] = static_cast<double>(parts[site].size()) >= even_share ? 0 : 1;
      }
      total = std::accumulate(shares.begin(), shares.end(), 0.0);
    }
    // Cut where the running sum of shares says. The last site that has a share takes what rounding
    // leaves.
    uint32_t last = sites - 1;
    while (last > 0 && shares[last] == 0) --last;
    double running = 0;
    size_t begin = 0;
    for (uint32_t site = 0; site <= last; ++site) {
      running += shares[site] / total;
      size_t end = static_cast<size_t>(running * static_cast<double>(indices.size()));
      end = site == last ? indices.size() : std::clamp(end, begin, indices.size());
      parts[site].insert(parts[site].end(), indices.begin() + begin, indices.begin() + end);
      begin = end;
    }
  }
  return parts;
}

}  // namespace

absl::StatusOr<Partition> PartitionIid(uint32_t examples, uint32_t sites, uint64_t seed) {
  ATOLL_RETURN_IF_ERROR(CheckSites(examples, sites));
  std::vector<uint32_t> order(examples);
  std::iota(order.begin(), order.end(), 0);
  SeededRandom random({.seed = seed, .label = "partition/iid"});
  random.Shuffle(std::span(order));
  Partition parts(sites);
  for (uint64_t site = 0; site < sites; ++site) {
    size_t begin = site * order.size() / sites, end = (site + 1) * order.size() / sites;
    parts[site].assign(order.begin() + begin, order.begin() + end);
  }
  SortParts(parts);
  return parts;
}

absl::StatusOr<Partition> PartitionDirichlet(std::span<const uint32_t> labels, uint32_t sites,
                                             double alpha, uint64_t seed) {
  ATOLL_RETURN_IF_ERROR(CheckSites(labels.size(), sites));
  if (!(alpha > 0))
    return absl::InvalidArgumentError(
        absl::StrCat("data.partition.alpha: ", alpha, " must be > 0"));
  auto by_class = ByClass(labels, CountClasses(labels));
  const size_t enough = std::min(kMinExamples, labels.size() / sites);
  SeededRandom random({.seed = seed, .label = "partition/dirichlet"});
  for (int draw = 0; draw < kMaxDraws; ++draw) {
    Partition parts = DrawDirichlet(by_class, labels.size(), sites, alpha, random);
    bool all_enough = std::all_of(parts.begin(), parts.end(),
                                  [&](const auto& part) { return part.size() >= enough; });
    if (!all_enough) continue;
    SortParts(parts);
    return parts;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("data.partition.alpha: ", alpha, " leaves a site with fewer than ", enough,
                   " examples in each of ", kMaxDraws, " draws for ", sites,
                   " sites; take a larger alpha or fewer sites"));
}

absl::StatusOr<Partition> PartitionLabels(std::span<const uint32_t> labels, uint32_t sites,
                                          uint32_t classes, uint32_t k, uint64_t seed) {
  ATOLL_RETURN_IF_ERROR(CheckSites(labels.size(), sites));
  if (CountClasses(labels) > classes) {
    return absl::InvalidArgumentError(absl::StrCat("data.partition: labels of ",
                                                   CountClasses(labels),
                                                   " classes, but model.classes is ", classes));
  }
  if (k == 0 || k > classes) {
    return absl::InvalidArgumentError(
        absl::StrCat("data.partition.labels: ", k, " must be in [1, ", classes, "]"));
  }
  SeededRandom random({.seed = seed, .label = "partition/labels"});
  std::vector<std::vector<uint32_t>> holders(classes);  // sites that have a class
  for (uint32_t site = 0; site < sites; ++site) {
    uint32_t own = site % classes;
    std::vector<uint32_t> others;
    for (uint32_t c = 0; c < classes; ++c) {
      if (c != own) others.push_back(c);
    }
    random.Shuffle(std::span(others));
    holders[own].push_back(site);
    for (uint32_t j = 0; j + 1 < k; ++j) holders[others[j]].push_back(site);
  }
  Partition parts(sites);
  auto by_class = ByClass(labels, classes);
  for (uint32_t c = 0; c < classes; ++c) {
    if (holders[c].empty()) continue;
    std::vector<uint32_t>& indices = by_class[c];
    random.Shuffle(std::span(indices));
    const size_t count = holders[c].size();
    for (size_t h = 0; h < count; ++h) {
      auto& part = parts[holders[c][h]];
      part.insert(part.end(), indices.begin() + h * indices.size() / count,
                  indices.begin() + (h + 1) * indices.size() / count);
    }
  }
  for (uint32_t site = 0; site < sites; ++site) {
    if (parts[site].empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("data.partition: site ", site, " of ", sites,
                       " gets no example; take fewer sites or more data"));
    }
  }
  SortParts(parts);
  return parts;
}

absl::StatusOr<Partition> PartitionBySite(std::span<const uint32_t> sites_of, uint32_t data_sites,
                                          uint32_t sites) {
  ATOLL_RETURN_IF_ERROR(CheckSites(sites_of.size(), sites));
  if (sites > data_sites) {
    return absl::InvalidArgumentError(absl::StrCat("data.partition.kind: by_site: the data are of ",
                                                   data_sites, " sites and cannot be parted among ",
                                                   sites));
  }
  Partition parts(sites);
  for (uint32_t i = 0; i < sites_of.size(); ++i) parts[sites_of[i] % sites].push_back(i);
  for (uint32_t site = 0; site < sites; ++site) {
    if (parts[site].empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("data.partition.kind: by_site: site ", site, " gets no example"));
    }
  }
  return parts;
}

absl::StatusOr<Partition> MakePartition(const recipes::Partition& scheme, const PartitionKeys& keys,
                                        uint32_t sites, uint64_t seed) {
  auto needs = [&](const char* what) {
    return absl::InvalidArgumentError(absl::StrCat("data.partition.kind: ", ToString(scheme.kind),
                                                   " needs examples with ", what,
                                                   ", and the data set's have none"));
  };
  switch (scheme.kind) {
    case recipes::PartitionKind::kIid:
      return PartitionIid(keys.examples, sites, seed);
    case recipes::PartitionKind::kDirichlet:
      if (keys.labels.empty()) return needs("classes");
      return PartitionDirichlet(keys.labels, sites, scheme.alpha, seed);
    case recipes::PartitionKind::kLabels:
      if (keys.labels.empty()) return needs("classes");
      return PartitionLabels(keys.labels, sites, keys.classes,
                             static_cast<uint32_t>(std::max(scheme.labels, 0)), seed);
    case recipes::PartitionKind::kBySite:
      if (keys.sites_of.empty()) return needs("sites");
      return PartitionBySite(keys.sites_of, keys.data_sites, sites);
  }
  return absl::InvalidArgumentError("data.partition.kind: unknown");
}

}  // namespace atl::trainer
