// R5 against a coordinator that lies: each change to an honest result is refused for its own
// reason, and a sum that the sites did not send is found where it is looked at. Real cryptography.
// Case 12 of the attacks in tests/README.md.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <fstream>
#include <functional>
#include <map>
#include <set>

#include "comms/base/crypto/sha256.h"
#include "federation/secagg/check_result.h"
#include "federation/secagg/signed_bodies.h"
#include "federation/secagg/signing.h"
#include "federation/secagg/spot_check.h"
#include "tests/secagg/harness.h"

namespace atl::secagg {
namespace {

using Sums = std::vector<Bytes>;  // packed, by chunk

std::vector<Digest> DigestsOf(const Sums& chunks) {
  std::vector<Digest> digests;
  for (const Bytes& chunk : chunks) digests.push_back(Sha256::Of(chunk));
  return digests;
}

// A round of five sites to its end, in which site 13 drops after its commit.
class ResultTest : public ::testing::Test {
 protected:
  ResultTest() : federation_({.sites = 5, .seed = 77, .suite = &OpensslSuite()}) {
    federation_.site(13).drops_at = Step::kUpload;
    EXPECT_EQ(federation_.RunAll(), absl::OkStatus());
    result_.round = federation_.manifest.round;
    result_.sites = 4;
    result_.survivors = federation_.u3;
    result_.signatures = federation_.request.signatures;
    result_.secrets = *federation_.coordinator->RevealSecrets();
    const std::vector<MaskStream> streams = *federation_.coordinator->StreamsToRemove();
    for (uint32_t k = 0; k < federation_.layout().chunk_count(); ++k) {
      ChunkSummer summer = *ChunkSummer::Create(federation_.layout(), k);
      for (const Commit& member : federation_.u3.members) {
        EXPECT_EQ(summer.Add(Upload(member.id, k)), absl::OkStatus());
      }
      summer.AddStreams(streams, federation_.options_.cipher);
      sum_.push_back(summer.Finish());
    }
    Publish();
  }

  void Publish() {
    result_.sum = MerkleRoot(DigestsOf(sum_));
    result_.group_sums = {result_.sum};
  }
  Bytes Upload(SiteId id, uint32_t k) {
    const kernels::Chunk chunk = federation_.layout().chunk(k);
    const ByteView bytes = ByteView(federation_.sites().at(id)->upload);
    const ByteView part = bytes.subspan(chunk.byte_offset, chunk.bytes);
    return Bytes(part.begin(), part.end());
  }
  std::vector<Digest> PathIn(SiteId id, uint32_t k) {
    Sums chunks;
    for (uint32_t i = 0; i < federation_.layout().chunk_count(); ++i) {
      chunks.push_back(Upload(id, i));
    }
    return MerklePath(DigestsOf(chunks), k);
  }
  SlotFacts FactsOf(uint32_t id) { return *federation_.site(id).slot->Facts(); }
  absl::Status Check(const Result& result, uint32_t id = 3) {
    return CheckResult(FactsOf(id), federation_.roster, OpensslSuite(), result).status();
  }
  ResultClaim Claim(uint32_t id = 3) {
    ResultClaim claim;
    claim.layout = federation_.layout();
    claim.cipher = federation_.options_.cipher;
    claim.survivors = result_.survivors;
    claim.streams = *CheckResult(FactsOf(id), federation_.roster, OpensslSuite(), result_);
    claim.group_sums = result_.group_sums;
    claim.sum = result_.sum;
    return claim;
  }
  absl::Status CheckChunk(const ResultClaim& claim, uint32_t k) {
    ChunkCheck check = *ChunkCheck::Create(claim, k);
    for (const Commit& member : result_.survivors.members) {
      const absl::Status added =
          check.AddVector(member.id, Upload(member.id, k), PathIn(member.id, k));
      if (!added.ok()) return added;
    }
    return check.Finish(sum_[k]);
  }

  Federation federation_;
  Result result_;
  Sums sum_;
};

void ExpectRefusal(const absl::Status& status, absl::StatusCode code, std::string_view why) {
  EXPECT_EQ(status.code(), code) << status;
  EXPECT_NE(std::string(status.message()).find(why), std::string::npos)
      << status << " lacks: " << why;
}
constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr auto kForged = absl::StatusCode::kUnauthenticated;

TEST_F(ResultTest, AnHonestResultStandsAtEverySiteOfTheCohort) {
  for (uint32_t id : {3, 8, 13, 18, 23}) EXPECT_EQ(Check(result_, id), absl::OkStatus()) << id;
  const ResultClaim claim = Claim();
  for (uint32_t k = 0; k < claim.layout.chunk_count(); ++k) {
    EXPECT_EQ(CheckChunk(claim, k), absl::OkStatus());
  }
  // The same after the site's own restart.
  federation_.Restart(federation_.site(3));
  EXPECT_EQ(Check(result_), absl::OkStatus());
}

struct Lie {
  const char* name;
  std::function<void(Result&, Federation&)> tell;
  absl::StatusCode code;
  const char* why;
};

class Lies : public ResultTest, public ::testing::WithParamInterface<Lie> {};

TEST_P(Lies, AreRefused) {
  GetParam().tell(result_, federation_);
  ExpectRefusal(Check(result_), GetParam().code, GetParam().why);
}

void Resign(Result& result, Federation& federation) {
  const Digest context = ContextOf(HashOf(federation.manifest), IdsOf(federation.u2));
  const Bytes body = SurvivorsBody(context, IdsOf(result.survivors));
  result.signatures.clear();
  for (const Commit& member : result.survivors.members) {
    result.signatures.push_back(
        {member.id, SignBody(OpensslSuite(), federation.site(member.id.value()).identity.seed,
                             federation.session, kSurvivorsLabel, body)});
  }
}

INSTANTIATE_TEST_SUITE_P(
    Case12, Lies,
    ::testing::Values(
        Lie{"AnotherRound", [](Result& r, Federation&) { r.round = RoundId(99); }, kInvalid,
            "of round 99"},
        Lie{"AnotherU3ThanWasSigned",
            [](Result& r, Federation& f) {
              r.survivors.members.pop_back();
              --r.sites;
              Resign(r, f);
            },
            kInvalid, "not those that this site signed"},
        Lie{"UnsortedU3",
            [](Result& r, Federation&) {
              std::swap(r.survivors.members[0], r.survivors.members[1]);
            },
            kInvalid, "out of order"},
        Lie{"ASiteOutsideU2", [](Result& r, Federation&) { r.survivors.members[0].id = SiteId(1); },
            kInvalid, "site 1 is not in the cohort"},
        Lie{"AnotherVectorOfAnotherSite",
            [](Result& r, Federation&) { r.survivors.members[1].root[0] ^= 1; }, kForged,
            "commit: site 8's signature"},
        Lie{"AnotherVectorOfThisSite",
            [](Result& r, Federation& f) {
              Commit& own = r.survivors.members[0];
              own.root[0] ^= 1;
              const Digest context = ContextOf(HashOf(f.manifest), IdsOf(f.u2));
              own.signature = SignBody(OpensslSuite(), f.site(3).identity.seed, f.session,
                                       kCommitLabel, CommitBody(context, own.bytes, own.root));
            },
            kInvalid, "not the one it signed"},
        Lie{"AShorterVector", [](Result& r, Federation&) { --r.survivors.members[1].bytes; },
            kInvalid, "site 8 committed to"},
        Lie{"TooFewSignatures", [](Result& r, Federation&) { r.signatures.resize(3); }, kInvalid,
            "must be >= t = 4"},
        Lie{"RepeatedSigners", [](Result& r, Federation&) { r.signatures[1] = r.signatures[0]; },
            kInvalid, "signs twice"},
        Lie{"ASignerOutsideU3", [](Result& r, Federation& f) { r.signatures[0].id = SiteId(1); },
            kInvalid, "the signer site 1 is not in U3"},
        Lie{"AForgedSignature", [](Result& r, Federation&) { r.signatures[0].signature[5] ^= 1; },
            kForged, "survivors: site 3's signature"},
        Lie{"AMissingSecret", [](Result& r, Federation&) { r.secrets.pop_back(); }, kInvalid,
            "4 secrets: U2 has 5"},
        Lie{"AWrongSelfMask", [](Result& r, Federation&) { r.secrets[1].secret.span()[0] ^= 1; },
            kInvalid, "the secret of site 8 is not the one"},
        Lie{"AWrongMaskKeyOfTheDroppedSite",
            [](Result& r, Federation&) { r.secrets[2].secret.span()[1] ^= 1; }, kInvalid,
            "the secret of site 13 is not the one"},
        Lie{"TheOtherSecret",
            [](Result& r, Federation&) { r.secrets[1].kind = ShareKind::kMaskKey; }, kInvalid,
            "not the secret of site 8"},
        Lie{"AnotherSitesSecret", [](Result& r, Federation&) { r.secrets[1].owner = SiteId(9); },
            kInvalid, "not the secret of site 8"},
        Lie{"MoreSitesThanSurvivors", [](Result& r, Federation&) { r.sites = 5; }, kInvalid,
            "a sum of 5 sites: U3 has 4"},
        Lie{"NoGroup", [](Result& r, Federation&) { r.group_sums.clear(); }, kInvalid,
            "groups' sums in a run that is not split"},
        Lie{"AGroupSumThatIsNotTheSum", [](Result& r, Federation&) { r.group_sums[0][0] ^= 1; },
            kInvalid, "groups' sums in a run that is not split"}),
    [](const auto& info) { return info.param.name; });

TEST_F(ResultTest, Case12TooFewSurvivorsForTheSitesOwnFloor) {
  SlotFacts facts = FactsOf(3);
  facts.cohort_min = 5;
  ExpectRefusal(CheckResult(facts, federation_.roster, OpensslSuite(), result_).status(),
                absl::StatusCode::kPermissionDenied, "this site's floor is 5");
  facts.cohort_min = 3;
  facts.threshold = 5;
  ExpectRefusal(CheckResult(facts, federation_.roster, OpensslSuite(), result_).status(), kInvalid,
                "U3: 4 sites: must be >= t = 5");
}

TEST_F(ResultTest, FactsAreOfTheCohortAndNotOfAnErasedSlot) {
  ASSERT_EQ(federation_.site(3).slot->Erase(), absl::OkStatus());
  EXPECT_TRUE(absl::IsFailedPrecondition(federation_.site(3).slot->Facts().status()));
}

TEST_F(ResultTest, Case12AWrongSumFoundByASpotCheck) {
  sum_[1][0] ^= 1;
  Publish();
  const ResultClaim claim = Claim();  // the result itself is as good as an honest one
  ExpectRefusal(CheckChunk(claim, 1), kInvalid, "chunk 1: the published sum is not the sum");
  EXPECT_EQ(CheckChunk(claim, 0), absl::OkStatus());  // not where it is right
}

TEST_F(ResultTest, Case12AVectorThatNobodyCommittedTo) {
  const ResultClaim claim = Claim();
  ChunkCheck check = *ChunkCheck::Create(claim, 1);
  Bytes data = Upload(SiteId(3), 1);
  data[0] ^= 1;
  ExpectRefusal(check.AddVector(SiteId(3), data, PathIn(SiteId(3), 1)), kInvalid,
                "site 3's vector is not the one that it committed to");
  // Another chunk of the same vector is none, either.
  ExpectRefusal(check.AddVector(SiteId(3), Upload(SiteId(3), 0), PathIn(SiteId(3), 0)), kInvalid,
                "chunk 1: site 3's vector");
}

TEST_F(ResultTest, Case12AMissingOrRepeatedVector) {
  const ResultClaim claim = Claim();
  const auto add = [&](ChunkCheck& check, uint32_t id) {
    return check.AddVector(SiteId(id), Upload(SiteId(id), 0), PathIn(SiteId(id), 0));
  };
  ChunkCheck check = *ChunkCheck::Create(claim, 0);
  ASSERT_EQ(add(check, 3), absl::OkStatus());
  ExpectRefusal(add(check, 18), kInvalid, "site 8's vector is missing, site 18's came");
  ExpectRefusal(add(check, 3), kInvalid, "site 8's vector is missing");
  for (uint32_t id : {8, 18}) ASSERT_EQ(add(check, id), absl::OkStatus());
  ExpectRefusal(check.Finish(sum_[0]), kInvalid, "site 23's vector is missing");
  ASSERT_EQ(add(check, 23), absl::OkStatus());
  ExpectRefusal(add(check, 23), kInvalid, "more vectors than survivors");
  EXPECT_EQ(check.Finish(sum_[0]), absl::OkStatus());
}

// As group 2 of three, a fourth one is out: the other two have sums of their own.
TEST_F(ResultTest, Case12GroupsSumsThatDoNotAddUp) {
  const uint32_t k = 1;
  std::vector<Sums> groups = {sum_, sum_, sum_};
  for (uint32_t g : {0, 2}) {
    for (Bytes& chunk : groups[g]) std::fill(chunk.begin(), chunk.end(), static_cast<uint8_t>(g));
  }
  ResultClaim claim = Claim();
  claim.group = 2;
  claim.group_sums.clear();
  for (const Sums& group : groups) claim.group_sums.push_back(MerkleRoot(DigestsOf(group)));
  claim.group_sums.insert(claim.group_sums.begin() + 2, Digest{});
  constexpr uint32_t kNumbers[] = {1, 2, 4};
  ChunkSummer total = *ChunkSummer::Create(claim.layout, k);
  for (const Sums& group : groups) ASSERT_EQ(total.Add(group[k]), absl::OkStatus());
  const Bytes published = total.Finish();

  const auto verdict = [&](const std::vector<Sums>& shown, const Bytes& sum, size_t count) {
    ChunkCheck check = *ChunkCheck::Create(claim, k);
    for (const Commit& member : result_.survivors.members) {
      EXPECT_TRUE(check.AddVector(member.id, Upload(member.id, k), PathIn(member.id, k)).ok());
    }
    for (uint32_t g = 0; g < count; ++g) {
      const absl::Status added =
          check.AddGroupSum(kNumbers[g], shown[g][k], MerklePath(DigestsOf(shown[g]), k));
      if (!added.ok()) return added;
    }
    return check.Finish(sum);
  };
  EXPECT_EQ(verdict(groups, published, 3), absl::OkStatus());
  Bytes wrong = published;
  wrong[0] ^= 1;
  ExpectRefusal(verdict(groups, wrong, 3), kInvalid, "not the sum of the groups' sums");
  ExpectRefusal(verdict(groups, published, 2), kInvalid, "the sum of group 4 is missing");
  std::vector<Sums> other = groups;
  other[2][k][0] ^= 1;
  ExpectRefusal(verdict(other, published, 3), kInvalid,
                "the sum of group 4 is not the one that was published");
  // This site's own group is not the sum of what its members sent, though all adds up.
  other = groups;
  other[1][k][0] ^= 1;
  claim.group_sums[1] = MerkleRoot(DigestsOf(other[1]));
  ChunkSummer again = *ChunkSummer::Create(claim.layout, k);
  for (const Sums& group : other) ASSERT_EQ(again.Add(group[k]), absl::OkStatus());
  ExpectRefusal(verdict(other, again.Finish(), 3), kInvalid,
                "not the sum of what the survivors sent");
}

TEST(PickChunks, EachSetIsAsLikelyAsAnyOther) {
  TestRandom random(5);
  std::map<std::vector<uint32_t>, int> seen;
  constexpr int kDraws = 20'000;
  for (int i = 0; i < kDraws; ++i) ++seen[PickChunks(1, 6, 2, random)];
  ASSERT_EQ(seen.size(), 10u);  // of five, two
  for (const auto& [set, count] : seen) {
    EXPECT_NEAR(count, kDraws / 10, 250);  // six standard deviations
    EXPECT_LT(set[0], set[1]);
    EXPECT_GE(set[0], 1u);
    EXPECT_LE(set[1], 5u);
  }
}

// (C(C - k, s) / C(C, s))^n: all n sites pick s of C chunks, none of the k wrong ones.
double MissChance(int chunks, int wrong, int picked, int sites) {
  double one = 1;
  for (int i = 0; i < std::min(picked, chunks); ++i) {
    one *= static_cast<double>(std::max(chunks - wrong - i, 0)) / (chunks - i);
  }
  return std::pow(one, sites);
}

TEST(MissChance, IsAsTheDocumentSays) {
  std::ifstream file(SPOT_CHECKS_DOCUMENT);
  int rows = 0;
  for (std::string line; std::getline(file, line);) {
    int chunks = 0, wrong = 0, picked = 0, sites = 0;
    char said[32] = {};
    if (std::sscanf(line.c_str(), "| %d | %d | %d | %d | %31s |", &chunks, &wrong, &picked, &sites,
                    said) != 5) {
      continue;
    }
    ++rows;
    const double chance = MissChance(chunks, wrong, picked, sites);
    char figure[32];
    std::snprintf(figure, sizeof figure, chance >= 0.001 ? "%.3f" : "%.1e", chance);
    EXPECT_STREQ(chance == 0 ? "0" : figure, said) << line;
  }
  EXPECT_GE(rows, 12);
}

// The formula against drawing: 3 of 20 chunks are wrong, two sites pick 4 each.
TEST(MissChance, IsWhatPickingGives) {
  TestRandom random(7);
  constexpr int kDraws = 20'000;
  int missed = 0;
  for (int i = 0; i < kDraws; ++i) {
    bool found = false;
    for (int site = 0; site < 2; ++site) {
      for (const uint32_t chunk : PickChunks(0, 20, 4, random)) found |= chunk < 3;
    }
    missed += !found;
  }
  const double expected = MissChance(20, 3, 4, 2);
  EXPECT_NEAR(static_cast<double>(missed) / kDraws, expected,
              6 * std::sqrt(expected * (1 - expected) / kDraws));
}

TEST(PickChunks, AllWhenThereAreNoMore) {
  TestRandom random(6);
  EXPECT_EQ(PickChunks(1, 4, 3, random), (std::vector<uint32_t>{1, 2, 3}));
  EXPECT_EQ(PickChunks(1, 4, 100, random), (std::vector<uint32_t>{1, 2, 3}));
  EXPECT_EQ(PickChunks(1, 1, 8, random), std::vector<uint32_t>());
  EXPECT_EQ(PickChunks(1, 4, 0, random), std::vector<uint32_t>());
}

}  // namespace
}  // namespace atl::secagg
