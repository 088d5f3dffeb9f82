// Properties of the partitions, for all numbers of sites.
#include "trainer/data/partition.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "comms/base/random.h"

namespace atl::trainer {
namespace {

using ::testing::HasSubstr;

constexpr uint32_t kClasses = 10;

std::vector<uint32_t> Labels(size_t count, uint64_t seed = 3) {
  SeededRandom random({.seed = seed, .label = "labels"});
  std::vector<uint32_t> labels(count);
  for (auto& label : labels) label = static_cast<uint32_t>(random.Below(kClasses));
  return labels;
}

// Each list ascending, no example twice, none outside; returns how many are used.
size_t CheckDisjoint(const Partition& parts, size_t examples) {
  std::vector<bool> used(examples, false);
  size_t total = 0;
  for (const auto& part : parts) {
    EXPECT_TRUE(std::is_sorted(part.begin(), part.end()));
    for (uint32_t index : part) {
      EXPECT_LT(index, examples);
      EXPECT_FALSE(used[index]) << "example " << index << " is used twice";
      used[index] = true;
      ++total;
    }
  }
  return total;
}

std::set<uint32_t> ClassesOf(const std::vector<uint32_t>& part,
                             const std::vector<uint32_t>& labels) {
  std::set<uint32_t> out;
  for (uint32_t index : part) out.insert(labels[index]);
  return out;
}

class PartitionTest : public ::testing::TestWithParam<uint32_t> {
 protected:
  const uint32_t sites_ = GetParam();
  const std::vector<uint32_t> labels_ = Labels(6007);
};

INSTANTIATE_TEST_SUITE_P(Sites, PartitionTest, ::testing::Range(1u, 33u));

TEST_P(PartitionTest, IidUsesEveryExampleOnceInEvenParts) {
  auto parts = PartitionIid(static_cast<uint32_t>(labels_.size()), sites_, 1);
  ASSERT_TRUE(parts.ok()) << parts.status();
  ASSERT_EQ(parts->size(), sites_);
  EXPECT_EQ(CheckDisjoint(*parts, labels_.size()), labels_.size());
  for (const auto& part : *parts) {
    EXPECT_GE(part.size(), labels_.size() / sites_);
    EXPECT_LE(part.size(), labels_.size() / sites_ + 1);
  }
  EXPECT_EQ(*PartitionIid(static_cast<uint32_t>(labels_.size()), sites_, 1), *parts);
  if (sites_ > 1) {
    EXPECT_NE(*PartitionIid(static_cast<uint32_t>(labels_.size()), sites_, 2), *parts);
  }
}

TEST_P(PartitionTest, DirichletUsesEveryExampleOnceAndStarvesNoSite) {
  for (double alpha : {0.1, 0.5, 100.0}) {
    SCOPED_TRACE(alpha);
    auto parts = PartitionDirichlet(labels_, sites_, alpha, 1);
    ASSERT_TRUE(parts.ok()) << parts.status();
    ASSERT_EQ(parts->size(), sites_);
    EXPECT_EQ(CheckDisjoint(*parts, labels_.size()), labels_.size());
    for (const auto& part : *parts) EXPECT_GE(part.size(), 10u);
    EXPECT_EQ(*PartitionDirichlet(labels_, sites_, alpha, 1), *parts);
    if (sites_ > 1) {
      EXPECT_NE(*PartitionDirichlet(labels_, sites_, alpha, 2), *parts);
    }
  }
}

TEST_P(PartitionTest, LabelsGivesEachSiteItsClasses) {
  for (uint32_t k : {1u, 2u, 5u, 10u}) {
    SCOPED_TRACE(k);
    auto parts = PartitionLabels(labels_, sites_, kClasses, k, 1);
    ASSERT_TRUE(parts.ok()) << parts.status();
    ASSERT_EQ(parts->size(), sites_);
    std::set<uint32_t> held;
    std::vector<std::vector<size_t>> sizes(kClasses);  // of a class's parts
    for (uint32_t site = 0; site < sites_; ++site) {
      std::set<uint32_t> classes = ClassesOf((*parts)[site], labels_);
      EXPECT_EQ(classes.size(), k);
      EXPECT_TRUE(classes.count(static_cast<uint32_t>(site % kClasses))) << "site " << site;
      held.insert(classes.begin(), classes.end());
      for (uint32_t c : classes) {
        sizes[c].push_back(std::count_if((*parts)[site].begin(), (*parts)[site].end(),
                                         [&](uint32_t index) { return labels_[index] == c; }));
      }
    }
    // All examples of the classes that some site has, evenly shared.
    size_t expected = std::count_if(labels_.begin(), labels_.end(),
                                    [&](uint32_t l) { return held.count(l) > 0; });
    EXPECT_EQ(CheckDisjoint(*parts, labels_.size()), expected);
    for (const auto& of_class : sizes) {
      if (of_class.empty()) continue;
      auto [least, most] = std::minmax_element(of_class.begin(), of_class.end());
      EXPECT_LE(*most - *least, 1u);
    }
    EXPECT_EQ(*PartitionLabels(labels_, sites_, kClasses, k, 1), *parts);
  }
}

TEST(PartitionSkewTest, SmallAlphaIsMoreSkewedThanLargeAlpha) {
  const auto labels = Labels(20000);
  // Mean over sites of the largest class's share.
  auto skew = [&](double alpha) {
    double sum = 0;
    const Partition parts = *PartitionDirichlet(labels, 8, alpha, 5);
    for (const auto& part : parts) {
      std::vector<size_t> counts(kClasses);
      for (uint32_t index : part) ++counts[labels[index]];
      sum += static_cast<double>(*std::max_element(counts.begin(), counts.end())) /
             static_cast<double>(part.size());
    }
    return sum / 8;
  };
  EXPECT_GT(skew(0.1), 0.35);
  EXPECT_LT(skew(1000.0), 0.15);
}

TEST(PartitionSkewTest, DirichletSitesStayNearTheirEvenShare) {
  // A site that has its share gets no more, so it exceeds it by at most one class's examples.
  const auto labels = Labels(20000);
  const Partition parts = *PartitionDirichlet(labels, 4, 0.3, 9);
  for (const auto& part : parts) EXPECT_LE(part.size(), 20000u / 4 + 20000u / 10 + 200);
}

TEST(PartitionErrorTest, SayWhatDoesNotFit) {
  const auto labels = Labels(100);
  auto message = [](const auto& result) { return std::string(result.status().message()); };
  EXPECT_THAT(message(PartitionIid(100, 0, 1)), HasSubstr("among 0 sites"));
  EXPECT_THAT(message(PartitionIid(100, 101, 1)), HasSubstr("among 101 sites"));
  EXPECT_THAT(message(PartitionDirichlet(labels, 2, 0, 1)), HasSubstr("must be > 0"));
  EXPECT_THAT(message(PartitionDirichlet(labels, 10, 0.001, 1)),
              HasSubstr("larger alpha or fewer sites"));
  EXPECT_THAT(message(PartitionLabels(labels, 2, kClasses, 11, 1)),
              HasSubstr("must be in [1, 10]"));
  EXPECT_THAT(message(PartitionLabels(labels, 2, kClasses, 0, 1)), HasSubstr("must be in [1, 10]"));
  EXPECT_THAT(message(PartitionLabels(labels, 2, 5, 2, 1)), HasSubstr("model.classes is 5"));
}

TEST(PartitionBySiteTest, FollowsTheDataAndNeedsThem) {
  const std::vector<uint32_t> from = {2, 0, 1, 2, 0};
  EXPECT_EQ(*PartitionBySite(from, 3, 3), (Partition{{1, 4}, {2}, {0, 3}}));
  EXPECT_EQ(*PartitionBySite(from, 3, 2), (Partition{{0, 1, 3, 4}, {2}}));
  auto message = [](const absl::StatusOr<Partition>& parts) {
    return std::string(parts.status().message());
  };
  EXPECT_THAT(message(PartitionBySite(from, 3, 4)), HasSubstr("of 3 sites"));
  EXPECT_THAT(message(PartitionBySite(from, 4, 4)), HasSubstr("site 3 gets no example"));
  recipes::Partition scheme{.kind = recipes::PartitionKind::kBySite};
  EXPECT_THAT(message(MakePartition(scheme, {.examples = 5}, 2, 1)), HasSubstr("by_site needs"));
  scheme.kind = recipes::PartitionKind::kDirichlet;
  EXPECT_THAT(message(MakePartition(scheme, {.examples = 5}, 2, 1)),
              HasSubstr("dirichlet needs examples with classes"));
  scheme.kind = recipes::PartitionKind::kIid;
  EXPECT_TRUE(MakePartition(scheme, {.examples = 5}, 2, 1).ok());
}

}  // namespace
}  // namespace atl::trainer
