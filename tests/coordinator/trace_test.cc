// What a person is shown of the protocol's messages: their public contents, and nothing secret.
#include "federation/coordinator/trace.h"

#include <gmock/gmock.h>

#include "federation/coordinator/watchers.h"
#include "federation/secagg/messages.h"

namespace atl::coordinator {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(TraceTest, AnswersNameOwnersAndShowNoShare) {
  secagg::UnmaskAnswer answer;
  answer.id = SiteId(1);
  for (uint32_t owner : {1, 2, 3}) {
    secagg::UnmaskAnswer::Item item;
    item.owner = SiteId(owner);
    item.kind = owner == 3 ? secagg::ShareKind::kMaskKey : secagg::ShareKind::kSelf;
    std::fill(item.share.span().begin(), item.share.span().end(),
              static_cast<uint8_t>(0xa0 + owner));
    answer.items.push_back(std::move(item));
  }
  const std::string text = DescribeStep(v1::UNMASK_ANSWER, secagg::Encode(answer));
  EXPECT_EQ(text, "shares of b of {1,2}, of mask_sk of {3}");
}

TEST(TraceTest, SharesAreCountedNotShown) {
  secagg::ShareBundle bundle;
  bundle.dealer = SiteId(1);
  bundle.mask_share_hashes.resize(3);
  bundle.b_share_hashes.resize(3);
  bundle.envelopes = {{}, Bytes(80, 0xee), Bytes(80, 0xee)};
  const std::string text = DescribeStep(v1::SHARES, secagg::Encode(bundle));
  EXPECT_EQ(text, "sealed shares of mask_sk and b for 2 sites, with 6 hashes");
  EXPECT_THAT(text, Not(HasSubstr("eeee")));
}

TEST(TraceTest, SetsAndDigestsOfACommit) {
  secagg::SurvivorSet survivors;
  for (uint32_t id : {2, 5}) {
    secagg::Commit commit;
    commit.id = SiteId(id);
    survivors.members.push_back(commit);
  }
  EXPECT_THAT(DescribeStep(v1::SURVIVORS, secagg::Encode(survivors)), HasSubstr("U3 = {2,5} "));
  secagg::Commit commit;
  commit.id = SiteId(2);
  commit.bytes = 77;
  commit.root.fill(0xab);
  EXPECT_EQ(DescribeStep(v1::COMMIT, secagg::Encode(commit)), "77 bytes, root abababababab");
}

TEST(TraceTest, WhatDoesNotDecodeIsSaidToBe) {
  const Bytes garbage = {1, 2, 3};
  for (int step = v1::Step_MIN; step <= v1::Step_MAX; ++step) {
    if (!v1::Step_IsValid(step)) continue;
    const auto which = static_cast<v1::Step>(step);
    EXPECT_FALSE(StepTitle(which).empty());
    const std::string text = DescribeStep(which, garbage);
    if (text.empty()) continue;
    EXPECT_THAT(text, HasSubstr("unreadable: ")) << v1::Step_Name(which);
  }
}

TEST(TraceTest, OnlyThoseWhoAskedGetItAndNeverWithoutBound) {
  Watchers watchers;
  const JobId job(1), other(2);
  const auto plain = watchers.Add(job, false);
  EXPECT_FALSE(watchers.IsTraced(job));
  const auto tracing = watchers.Add(job, true);
  EXPECT_TRUE(watchers.IsTraced(job));
  EXPECT_FALSE(watchers.IsTraced(other));
  v1::JobEvent event;
  event.mutable_trace()->set_bytes(1);
  for (size_t i = 0; i < Watchers::kMaxTrace + 7; ++i) watchers.Trace(job, event);
  watchers.Trace(other, event);
  EXPECT_TRUE(plain->Wait(0).trace.empty());
  Watcher::News news = tracing->Wait(0);
  EXPECT_EQ(news.trace.size(), Watchers::kMaxTrace);
  EXPECT_EQ(news.trace_lost, 7u);
  news = tracing->Wait(0);
  EXPECT_TRUE(news.trace.empty());
  EXPECT_EQ(news.trace_lost, 0u);
  watchers.Remove(job, tracing);
  EXPECT_FALSE(watchers.IsTraced(job));
}

}  // namespace
}  // namespace atl::coordinator
