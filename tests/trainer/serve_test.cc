// A scripted agent against real trainer ranks under mpirun.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <cstring>
#include <thread>

#include "kernels/masks.h"
#include "kernels/pack.h"
#include "kernels/quantize.h"
#include "recipes/schema/load.h"
#include "tests/trainer/scripted_agent.h"
#include "trainer/model/architecture.h"

namespace atl::trainer {
namespace {

using ::testing::HasSubstr;

constexpr uint64_t kParameters = 784 * 400 + 400 + 400 * 10 + 10;  // over one chunk
constexpr uint32_t kSites = 3;

std::string Recipe(bool secure, const std::string& more = "") {
  return absl::StrCat(
      "name: serve-test\nrun: atoll run task.yaml\nresources: {cpus: 1, memory: 1}\nparameters:\n"
      "  model: {kind: mlp, hidden: [400]}\n"
      "  data: {limit: 900, test_limit: 300}\n"
      "  site: {count: 3}\n"
      "  train: {optimizer: {kind: sgd, lr: 0.05}, batch_size: 16, seed: 7",
      more, "}\n  privacy: {secure_aggregation: {enabled: ", secure ? "true" : "false", "}}\n");
}

std::vector<float> FirstModel() {
  std::vector<float> values(kParameters);
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = 0.05f * std::sin(static_cast<float>(i) * 0.37f);
  return values;
}

sitelink::Release PlainRelease() {
  sitelink::Release release;
  release.round = 1;
  release.masked = false;
  release.clip_norm_l2 = 20;
  release.weight_max = 1000;
  release.segments = {{sitelink::kMetricCount, sitelink::kMetricValueBits, 50, 1.0},
                      {kParameters, 16, 18, 1638.35}};
  return release;
}

sitelink::Release MaskedRelease(const sitelink::Hello& hello,
                                std::vector<sitelink::StreamKey>* keys) {
  sitelink::Release release = PlainRelease();
  release.masked = true;
  release.context.fill(1);
  for (uint32_t segment : {sitelink::kMetricsSegment, sitelink::kUpdateSegment}) {
    keys->push_back({segment, false, SystemRandom().Draw32()});
    keys->push_back({segment, true, SystemRandom().Draw32()});
    keys->push_back({segment, false, SystemRandom().Draw32()});
  }
  release.sealed_keys =
      sitelink::SealKeys(*keys, hello.launch_key, release.round, OpensslSuite(), SystemRandom());
  return release;
}

sitelink::Prepare PrepareFor(const sitelink::Release& release) {
  return {release.round, release.context, release.cipher, release.segments, release.sealed_keys};
}

// Takes the masks off, as an agent that knows the keys could.
Bytes Unmask(Bytes vector, const std::vector<kernels::Segment>& segments,
             const std::vector<sitelink::StreamKey>& keys,
             kernels::MaskCipher cipher = kernels::MaskCipher::kAes256Ctr) {
  uint64_t offset = 0;
  for (uint32_t s = 0; s < segments.size(); ++s) {
    const kernels::Segment& segment = segments[s];
    auto packed = std::span(vector).subspan(offset, segment.packed_bytes());
    std::vector<uint64_t> store((segment.length * segment.lane_bytes() + 7) / 8);
    std::span<uint8_t> lanes(reinterpret_cast<uint8_t*>(store.data()),
                             segment.length * segment.lane_bytes());
    kernels::UnpackLanes(packed, segment.lane_bytes(), segment.sum_bits, segment.length, lanes);
    std::vector<kernels::MaskKey> masks;
    for (const auto& key : keys) {
      if (key.segment != s) continue;
      kernels::MaskKey mask;
      std::copy_n(key.key.data(), 32, mask.key.begin());
      mask.subtract = !key.subtract;
      masks.push_back(mask);
    }
    kernels::AddMasks(lanes, segment.lane_bytes(), 0, masks, cipher);
    kernels::PackLanes(lanes, segment.lane_bytes(), segment.sum_bits, segment.length, packed);
    offset += segment.packed_bytes();
  }
  return vector;
}

std::vector<int64_t> Lanes(const Bytes& vector, const std::vector<kernels::Segment>& segments,
                           uint32_t wanted) {
  uint64_t offset = 0;
  for (uint32_t s = 0; s < wanted; ++s) offset += segments[s].packed_bytes();
  const kernels::Segment& segment = segments[wanted];
  std::vector<uint64_t> store((segment.length * segment.lane_bytes() + 7) / 8);
  std::span<uint8_t> lanes(reinterpret_cast<uint8_t*>(store.data()),
                           segment.length * segment.lane_bytes());
  kernels::UnpackLanes(std::span(vector).subspan(offset, segment.packed_bytes()),
                       segment.lane_bytes(), segment.sum_bits, segment.length, lanes);
  std::vector<int64_t> out(segment.length);
  for (uint64_t i = 0; i < segment.length; ++i) {
    out[i] = kernels::SignedLane(lanes, segment.lane_bytes(), segment.sum_bits, i);
  }
  return out;
}

TEST(ServeTest, MaskedLanesWithoutTheirMasksAreThePlainLanes) {
  const auto segments = PlainRelease().segments;
  const kernels::VectorLayout layout(segments);
  Bytes plain, masked;
  {
    ScriptedAgent agent(2, Recipe(false), kParameters, 1, kSites);
    ASSERT_TRUE(agent.ok());
    agent.SendModel(FirstModel());
    agent.Send(sitelink::Train{1});
    EXPECT_EQ(agent.Expect<sitelink::Trained>().round, 1u);
    agent.Send(PlainRelease());
    plain = agent.ReceiveVector(layout);
    // The same update is not released twice.
    agent.Send(PlainRelease());
    EXPECT_THAT(agent.Expect<sitelink::Failure>().message, HasSubstr("no update of that round"));
    EXPECT_EQ(agent.WaitForEnd(20'000), 1);
  }
  std::vector<sitelink::StreamKey> keys;
  {
    ScriptedAgent agent(2, Recipe(true), kParameters, 1, kSites);
    ASSERT_TRUE(agent.ok());
    agent.SendModel(FirstModel());
    agent.Send(sitelink::Train{1});
    agent.Expect<sitelink::Trained>();
    agent.Send(MaskedRelease(agent.hello(), &keys));
    masked = agent.ReceiveVector(layout);
    agent.Send(sitelink::Stop{});
    EXPECT_EQ(agent.WaitForEnd(20'000), 0);
  }
  ASSERT_EQ(plain.size(), layout.packed_bytes());
  EXPECT_NE(plain, masked);
  EXPECT_EQ(Unmask(masked, segments, keys), plain);

  const auto metrics = Lanes(plain, segments, sitelink::kMetricsSegment);
  EXPECT_EQ(metrics[sitelink::kWeight], 300);
  EXPECT_EQ(metrics[sitelink::kExamples], 300);
  EXPECT_GT(metrics[sitelink::kLossSum], 0);
  EXPECT_LE(metrics[sitelink::kCorrect], 300);
  EXPECT_EQ(metrics[sitelink::kSaturated], 0);
  double squares = 0;
  for (int64_t lane : Lanes(plain, segments, sitelink::kUpdateSegment))
    squares += static_cast<double>(lane * lane);
  // Weighed by 300 / 1000 and scaled: a real update of sane size.
  const double norm = std::sqrt(squares) / 1638.35 / 0.3;
  EXPECT_GT(norm, 0.05);
  EXPECT_LT(norm, 20.0);
}

// Trains one round, with whatever `prepare` says before Train, and gives the released vector.
struct MaskedRound {
  Bytes vector;
  std::vector<sitelink::StreamKey> keys;
  sitelink::Masked masked;
};
MaskedRound RunMasked(int ranks, const std::string& recipe, kernels::MaskCipher cipher,
                      const std::function<void(ScriptedAgent&, const sitelink::Release&)>& before,
                      const std::function<void(ScriptedAgent&, const sitelink::Release&)>& after) {
  MaskedRound round;
  ScriptedAgent agent(ranks, recipe, kParameters, 1, kSites);
  EXPECT_TRUE(agent.ok());
  if (!agent.ok()) return round;
  sitelink::Release release = MaskedRelease(agent.hello(), &round.keys);
  release.cipher = cipher;
  agent.SendModel(FirstModel());
  if (before) before(agent, release);
  agent.Send(sitelink::Train{1});
  agent.Expect<sitelink::Trained>();
  if (after) after(agent, release);
  agent.Send(release);
  round.vector = agent.ReceiveVector(kernels::VectorLayout(release.segments));
  round.masked = agent.masked();
  agent.Send(sitelink::Stop{});
  EXPECT_EQ(agent.WaitForEnd(20'000), 0);
  return round;
}

TEST(ServeTest, MasksAheadChangeNothingButTheTime) {
  const auto segments = PlainRelease().segments;
  const auto aes = kernels::MaskCipher::kAes256Ctr;
  const auto prepare = [](ScriptedAgent& agent, const sitelink::Release& release) {
    agent.Send(PrepareFor(release));
  };
  std::chrono::milliseconds rest_ms(500);
  const auto rest = [&](ScriptedAgent&, const sitelink::Release&) {
    std::this_thread::sleep_for(rest_ms);
  };
  // An idle-class thread gets nothing on a busy machine: with a longer rest it will.
  const auto until_hidden = [&](const auto& run) {
    MaskedRound round = run();
    for (int again = 0; again < 4 && round.masked.mask_hidden_s == 0; ++again) {
      rest_ms *= 2;
      round = run();
    }
    EXPECT_GT(round.masked.mask_hidden_s, 0);
    return round;
  };
  const MaskedRound now = RunMasked(2, Recipe(true), aes, {}, {});
  const Bytes plain = Unmask(now.vector, segments, now.keys);
  EXPECT_EQ(now.masked.mask_hidden_s, 0);
  EXPECT_GT(now.masked.mask_paid_s, 0);

  const MaskedRound ahead =
      until_hidden([&] { return RunMasked(2, Recipe(true), aes, prepare, rest); });
  EXPECT_EQ(Unmask(ahead.vector, segments, ahead.keys), plain);

  // For a trained update that is there: an attempt that was aborted has left it.
  const MaskedRound late = until_hidden([&] {
    return RunMasked(2, Recipe(true), kernels::MaskCipher::kChaCha20, {},
                     [&](auto& agent, const auto& release) {
                       prepare(agent, release);
                       rest(agent, release);
                     });
  });
  EXPECT_EQ(Unmask(late.vector, segments, late.keys, kernels::MaskCipher::kChaCha20), plain);

  // 1 MiB of the 1.27 MB that one rank has; ranks change nothing, either.
  std::string small = Recipe(true);
  small.replace(small.find("enabled: true"), 13, "enabled: true, masks_ahead_mib: 1");
  const MaskedRound part = until_hidden([&] { return RunMasked(1, small, aes, prepare, rest); });
  const MaskedRound one_rank = RunMasked(1, small, aes, {}, {});
  EXPECT_EQ(Unmask(part.vector, segments, part.keys),
            Unmask(one_rank.vector, segments, one_rank.keys));
}

TEST(ServeTest, MasksOfAnotherContextAreThrownAway) {
  const auto segments = PlainRelease().segments;
  const auto aes = kernels::MaskCipher::kAes256Ctr;
  const MaskedRound now = RunMasked(2, Recipe(true), aes, {}, {});
  const Bytes plain = Unmask(now.vector, segments, now.keys);
  // U2 was not U1: other context, other keys.
  const MaskedRound other = RunMasked(2, Recipe(true), aes,
                                      [](auto& agent, const sitelink::Release& release) {
                                        std::vector<sitelink::StreamKey> keys;
                                        sitelink::Release expected =
                                            MaskedRelease(agent.hello(), &keys);
                                        expected.context.fill(2);
                                        agent.Send(PrepareFor(expected));
                                      },
                                      {});
  EXPECT_EQ(other.masked.mask_hidden_s, 0);
  EXPECT_EQ(Unmask(other.vector, segments, other.keys), plain);
  // A new model: what was prepared before it is of another round.
  const MaskedRound again = RunMasked(2, Recipe(true), aes,
                                      [](auto& agent, const sitelink::Release& release) {
                                        agent.Send(PrepareFor(release));
                                        agent.SendModel(FirstModel());
                                      },
                                      {});
  EXPECT_EQ(again.masked.mask_hidden_s, 0);
  EXPECT_EQ(Unmask(again.vector, segments, again.keys), plain);
}

TEST(ServeTest, LanesWithoutMasksAreRefusedWhereTheRecipeWantsThem) {
  ScriptedAgent agent(2, Recipe(true), kParameters);
  ASSERT_TRUE(agent.ok());
  agent.SendModel(FirstModel());
  agent.Send(sitelink::Train{1});
  agent.Expect<sitelink::Trained>();
  agent.Send(PlainRelease());
  EXPECT_THAT(agent.Expect<sitelink::Failure>().message, HasSubstr("without masks"));
  EXPECT_EQ(agent.Next().type, 0);  // and nothing else
  EXPECT_EQ(agent.WaitForEnd(20'000), 1);
}

TEST(ServeTest, EachSegmentNeedsKeysOfItsOwn) {
  ScriptedAgent agent(1, Recipe(true), kParameters);
  ASSERT_TRUE(agent.ok());
  agent.SendModel(FirstModel());
  agent.Send(sitelink::Train{1});
  agent.Expect<sitelink::Trained>();
  sitelink::Release release = PlainRelease();
  release.masked = true;
  std::vector<sitelink::StreamKey> keys = {
      {sitelink::kUpdateSegment, false, SystemRandom().Draw32()}};
  release.sealed_keys =
      sitelink::SealKeys(keys, agent.hello().launch_key, 1, OpensslSuite(), SystemRandom());
  agent.Send(release);
  EXPECT_THAT(agent.Expect<sitelink::Failure>().message, HasSubstr("no stream keys"));
  EXPECT_EQ(agent.WaitForEnd(20'000), 1);
}

TEST(ServeTest, RanksSleepWhileNothingIsToDoAndEndWithTheLink) {
  ScriptedAgent agent(3, Recipe(true), kParameters);
  ASSERT_TRUE(agent.ok());
  agent.SendModel(FirstModel());
  agent.Send(sitelink::Evaluate{1});
  auto evaluated = agent.Expect<sitelink::Evaluated>();
  EXPECT_EQ(evaluated.examples, 300u);
  EXPECT_GT(evaluated.loss_sum, 0);
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  const double before = agent.CpuSeconds();
  std::this_thread::sleep_for(std::chrono::seconds(2));
  EXPECT_LT(agent.CpuSeconds() - before, 0.3) << "of 6 that three spinning ranks would use";
  agent.CloseLink();
  EXPECT_TRUE(agent.RanksEnd(2'000));
  EXPECT_EQ(agent.WaitForEnd(20'000), 1);
}

TEST(ServeTest, AClosedLinkEndsRanksThatTrain) {
  ScriptedAgent agent(2, Recipe(true, ", local_epochs: 1000"), kParameters);
  ASSERT_TRUE(agent.ok());
  agent.SendModel(FirstModel());
  agent.Send(sitelink::Train{1});
  auto progress = agent.link().Receive(60'000);
  ASSERT_TRUE(progress.ok());
  agent.CloseLink();
  EXPECT_TRUE(agent.RanksEnd(2'000));
  EXPECT_NE(agent.WaitForEnd(20'000), 0);
}

TEST(ServeTest, StopEndsRanksThatTrainInOrder) {
  ScriptedAgent agent(2, Recipe(true, ", local_epochs: 1000"), kParameters);
  ASSERT_TRUE(agent.ok());
  agent.SendModel(FirstModel());
  agent.Send(sitelink::Train{1});
  ASSERT_TRUE(agent.link().Receive(60'000).ok());
  agent.Send(sitelink::Stop{});
  EXPECT_EQ(agent.WaitForEnd(10'000), 0) << agent.job().output();
}

TEST(ServeTest, ProgressComesAtMostFiveTimesASecond) {
  ScriptedAgent agent(2, Recipe(true, ", local_epochs: 20"), kParameters);
  ASSERT_TRUE(agent.ok());
  agent.SendModel(FirstModel());
  auto start = std::chrono::steady_clock::now();
  agent.Send(sitelink::Train{1});
  agent.Expect<sitelink::Trained>();
  double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  EXPECT_GE(agent.progress_count(), 1);
  EXPECT_LE(agent.progress_count(), 2 + 5 * seconds);
  agent.Send(sitelink::Stop{});
  EXPECT_EQ(agent.WaitForEnd(20'000), 0);
}

TEST(ServeTest, ACommandInTheMiddleOfAnotherIsAnErrorOfTheAgent) {
  ScriptedAgent agent(2, Recipe(true, ", local_epochs: 1000"), kParameters);
  ASSERT_TRUE(agent.ok());
  agent.SendModel(FirstModel());
  agent.Send(sitelink::Train{1});
  ASSERT_TRUE(agent.link().Receive(60'000).ok());
  agent.Send(sitelink::Evaluate{1});
  EXPECT_THAT(agent.Expect<sitelink::Failure>().message,
              HasSubstr("before the last command was answered"));
  EXPECT_EQ(agent.WaitForEnd(20'000), 1);
}

TEST(ServeTest, WrongWordsEndInAFailureThatNamesThem) {
  struct Case {
    const char* what;
    std::function<void(ScriptedAgent&)> speak;
    uint64_t parameters = kParameters;
    std::string recipe = Recipe(true);
  };
  const Case cases[] = {
      {"has 318010 parameters, but the agent says 5", [](ScriptedAgent&) {}, 5},
      {"secure_aggregatoin", [](ScriptedAgent&) {}, kParameters,
       "name: x\nrun: y\nparameters: {privacy: {secure_aggregatoin: {}}}\n"},
      {"Setup twice",
       [](ScriptedAgent& a) {
         a.Send(sitelink::Setup{Recipe(true), 0, 3, kParameters});
       }},
      {"did not send 2 of 2 chunks", [](ScriptedAgent& a) { a.Send(sitelink::Train{1}); }},
      {"model chunk 2 of a model of 2",
       [](ScriptedAgent& a) {
         a.Send(sitelink::ModelChunk{2, Bytes(4)});
       }},
      {"has 4 bytes, not",
       [](ScriptedAgent& a) {
         a.Send(sitelink::ModelChunk{1, Bytes(4)});
       }},
      {"unknown type 99",
       [](ScriptedAgent& a) {
         (void)a.link().Send({99, Bytes(3)});
       }},
      {"Train: ",
       [](ScriptedAgent& a) {
         (void)a.link().Send({4, Bytes(3)});
       }},
      {"no update of that round", [](ScriptedAgent& a) { a.Send(PlainRelease()); }},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.what);
    ScriptedAgent agent(1, c.recipe, c.parameters);
    ASSERT_TRUE(agent.ok());
    c.speak(agent);
    EXPECT_THAT(agent.Expect<sitelink::Failure>().message, HasSubstr(c.what));
    EXPECT_EQ(agent.WaitForEnd(20'000), 1);
    EXPECT_THAT(agent.job().output(), HasSubstr(c.what));
  }
}

}  // namespace
}  // namespace atl::trainer
