#include "federation/secagg/roster.h"

#include <gtest/gtest.h>

#include "comms/base/files.h"
#include "comms/base/status.h"
#include "nlohmann/json.hpp"
#include "tests/secagg/harness.h"

namespace atl::secagg {
namespace {

const CryptoSuite& suite = OpensslSuite();

Secret32 SeedOf(uint64_t number) { return TestRandom(number).Draw32(); }

std::map<SiteId, RosterEntry> ThreeSites() {
  std::map<SiteId, RosterEntry> sites;
  for (uint32_t id : {1, 2, 70000}) {
    sites[SiteId(id)] = {"site \"" + std::to_string(id) + "\" \xc3\xa9",
                         suite.SigningKeyPair(SeedOf(id)).public_key};
  }
  return sites;
}

Roster MakeRoster() { return *Roster::Create(ThreeSites(), SeedOf(99), suite); }

TEST(Roster, IsReadBackAsItWasWritten) {
  const Roster roster = MakeRoster();
  const auto again = Roster::FromJson(roster.ToJson(), &roster.operator_key(), suite);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->digest(), roster.digest());
  EXPECT_EQ(again->operator_key(), suite.SigningKeyPair(SeedOf(99)).public_key);
  ASSERT_EQ(again->sites().size(), 3u);
  EXPECT_EQ(again->Find(SiteId(70000))->name, roster.Find(SiteId(70000))->name);
  EXPECT_EQ(again->Find(SiteId(2))->identity, roster.Find(SiteId(2))->identity);
  EXPECT_EQ(again->Find(SiteId(3)), nullptr);
  EXPECT_EQ(again->ToJson(), roster.ToJson());
}

TEST(Roster, DigestDependsOnEverySite) {
  auto sites = ThreeSites();
  const Digest base = MakeRoster().digest();
  sites[SiteId(1)].name = "other";
  EXPECT_NE(Roster::Create(sites, SeedOf(99), suite)->digest(), base);
  sites = ThreeSites();
  sites.erase(SiteId(2));
  EXPECT_NE(Roster::Create(sites, SeedOf(99), suite)->digest(), base);
  EXPECT_NE(Roster::Create(ThreeSites(), SeedOf(98), suite)->digest(), base);
}

TEST(Roster, AnotherOperatorIsRefusedWherePinned) {
  const Roster roster = MakeRoster();
  const PublicKey other = suite.SigningKeyPair(SeedOf(98)).public_key;
  EXPECT_TRUE(absl::IsUnauthenticated(Roster::FromJson(roster.ToJson(), &other, suite).status()));
  EXPECT_TRUE(Roster::FromJson(roster.ToJson(), nullptr, suite).ok());
}

TEST(Roster, AnyChangeBreaksTheSignature) {
  const nlohmann::json base = nlohmann::json::parse(MakeRoster().ToJson());
  std::vector<nlohmann::json> changed(4, base);
  changed[0]["sites"][0]["name"] = "mallory";
  changed[1]["sites"][0]["id"] = 3;
  changed[2]["sites"].erase(1);
  changed[3]["sites"][2]["identity"] = Hex(suite.SigningKeyPair(SeedOf(5)).public_key);
  for (const auto& json : changed) {
    EXPECT_TRUE(absl::IsUnauthenticated(Roster::FromJson(json.dump(), nullptr, suite).status()));
  }
  // An attacker's own signature is one of another operator.
  const Roster forged = *Roster::Create(ThreeSites(), SeedOf(66), suite);
  const PublicKey pinned = MakeRoster().operator_key();
  EXPECT_TRUE(absl::IsUnauthenticated(Roster::FromJson(forged.ToJson(), &pinned, suite).status()));
  nlohmann::json mixed = nlohmann::json::parse(forged.ToJson());
  mixed["operator"] = Hex(pinned);
  EXPECT_TRUE(absl::IsUnauthenticated(Roster::FromJson(mixed.dump(), &pinned, suite).status()));
}

TEST(Roster, CreateRefusesWhatCannotBeOne) {
  EXPECT_TRUE(absl::IsInvalidArgument(Roster::Create({}, SeedOf(1), suite).status()));
  auto sites = ThreeSites();
  sites[SiteId(0)] = {"zero", {}};
  EXPECT_TRUE(absl::IsInvalidArgument(Roster::Create(sites, SeedOf(1), suite).status()));
  sites = ThreeSites();
  sites[SiteId(9)] = sites[SiteId(1)];
  const absl::Status twice = Roster::Create(sites, SeedOf(1), suite).status();
  EXPECT_NE(twice.message().find("sites 1 and 9 have one identity"), std::string::npos) << twice;
  for (const std::string& name : {std::string("a\x1b[31m"), std::string("\xff\xfe"),
                                  std::string(257, 'x'), std::string("nul\0", 4)}) {
    sites = ThreeSites();
    sites[SiteId(1)].name = name;
    EXPECT_TRUE(absl::IsInvalidArgument(Roster::Create(sites, SeedOf(1), suite).status()));
  }
}

TEST(Roster, MalformedJsonIsRefused) {
  const std::string good = MakeRoster().ToJson();
  const nlohmann::json base = nlohmann::json::parse(good);
  for (const char* text : {"", "{", "[]", "null", "{\"atoll_roster\": 2}", "{\"atoll_roster\": 1}",
                           "{\"atoll_roster\": 1, \"sites\": 4}"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(Roster::FromJson(text, nullptr, suite).status())) << text;
  }
  for (const char* key : {"atoll_roster", "operator", "sites", "signature"}) {
    nlohmann::json json = base;
    json.erase(key);
    EXPECT_TRUE(absl::IsInvalidArgument(Roster::FromJson(json.dump(), nullptr, suite).status()));
    json[key] = 1.5;
    EXPECT_TRUE(absl::IsInvalidArgument(Roster::FromJson(json.dump(), nullptr, suite).status()));
  }
  for (const nlohmann::json& value : {nlohmann::json(-1), nlohmann::json("1"),
                                      nlohmann::json(uint64_t{1} << 32), nlohmann::json(1.5)}) {
    nlohmann::json json = base;
    json["sites"][0]["id"] = value;
    EXPECT_TRUE(absl::IsInvalidArgument(Roster::FromJson(json.dump(), nullptr, suite).status()));
  }
  nlohmann::json json = base;
  json["sites"].push_back(json["sites"][0]);
  EXPECT_TRUE(absl::IsInvalidArgument(Roster::FromJson(json.dump(), nullptr, suite).status()));
  json = base;
  json["operator"] = "abcd";
  EXPECT_TRUE(absl::IsInvalidArgument(Roster::FromJson(json.dump(), nullptr, suite).status()));
  const std::string deep = std::string(100000, '[') + std::string(100000, ']');
  EXPECT_TRUE(absl::IsInvalidArgument(Roster::FromJson(deep, nullptr, suite).status()));
}

TEST(Roster, MutatedTextNeverPasses) {
  const uint64_t seed = TestSeed(7);
  SCOPED_TRACE(SeedTrace(seed));
  TestRandom random(seed);
  const Roster roster = MakeRoster();
  const std::string good = roster.ToJson();
  for (int i = 0; i < 1000; ++i) {
    std::string text = good;
    text[random.Below(text.size())] = static_cast<char>(random.Below(256));
    const auto read = Roster::FromJson(text, &roster.operator_key(), suite);
    // What still passes is the same roster (white space, a digit's case).
    if (read.ok()) {
      EXPECT_EQ(read->digest(), roster.digest());
    }
  }
}

TEST(Roster, LoadNamesTheFile) {
  auto folder = *TemporaryFolder::Create("roster");
  const Roster roster = MakeRoster();
  const auto path = folder.path() / "roster.json";
  ASSERT_EQ(WriteFileAtomic(path, AsBytes(roster.ToJson())), absl::OkStatus());
  EXPECT_EQ(Roster::Load(path, &roster.operator_key(), suite)->digest(), roster.digest());
  ASSERT_EQ(WriteFileAtomic(path, AsBytes("{}")), absl::OkStatus());
  const absl::Status bad = Roster::Load(path, nullptr, suite).status();
  EXPECT_NE(bad.message().find("roster.json"), std::string::npos) << bad;
  EXPECT_TRUE(absl::IsNotFound(Roster::Load(folder.path() / "none", nullptr, suite).status()));
}

}  // namespace
}  // namespace atl::secagg
