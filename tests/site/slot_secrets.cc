#include "tests/site/slot_secrets.h"

#include "comms/base/files.h"
#include "comms/base/process.h"
#include "comms/base/status.h"
#include "federation/secagg/mask_keys.h"
#include "federation/secagg/signed_bodies.h"
#include "federation/secagg/site_record.h"
#include "federation/store/site_store.h"

namespace atl::site {
namespace {

using secagg::SiteRecord;

absl::Status CopyStore(const std::filesystem::path& from, const std::filesystem::path& to) {
  const std::string source = (from / "site.db").string();
  // The log is there from the first write on, as long as somebody has the database open.
  if (!std::filesystem::exists(source + "-wal")) {
    return absl::NotFoundError(source + ": no agent has it open");
  }
  ProcessOptions options;
  options.arguments = {"/bin/cp", source, source + "-wal", to.string()};
  options.output_file = "/dev/null";  // it may still go while it is copied
  ATOLL_ASSIGN_OR_RETURN(Process copy, Process::Start(options));
  ATOLL_ASSIGN_OR_RETURN(const int code, copy.Wait(10'000));
  if (code == 0) return absl::OkStatus();
  return absl::UnavailableError("cannot copy " + source + " and its log");
}

absl::Status AddStreams(const SiteRecord& record, SlotSecrets& out) {
  if (!record.manifest || !out.keys.contains("mask_sk") || !out.keys.contains("b")) {
    return absl::OkStatus();
  }
  const Secret32 mask_secret = out.keys.at("mask_sk"), b = out.keys.at("b");
  const CryptoSuite& suite = OpensslSuite();
  const std::vector<SiteId> cohort =
      record.cohort.empty() ? record.manifest->members : record.cohort;
  const Digest context = secagg::ContextOf(secagg::HashOf(*record.manifest), cohort);
  const std::vector<SiteId> u0 = secagg::IdsOf(record.u0);
  const secagg::PairEnd self{record.id, record.pre_keys.mask_key};
  for (uint32_t s = 0; s < record.manifest->segments.size(); ++s) {
    const uint32_t bits = 8 * record.manifest->segments[s].lane_bytes();
    out.keys["self stream " + std::to_string(s)] =
        secagg::SelfStreamKey(suite, b, context, record.id, s, bits);
    for (const SiteId id : cohort) {
      if (id == record.id) continue;
      const PublicKey& key = record.u0.records[secagg::RankOf(u0, id)].mask_key;
      ATOLL_ASSIGN_OR_RETURN(const Secret32 agreed, suite.Agree(mask_secret, key));
      out.keys["stream " + std::to_string(s) + " with site " + std::to_string(id.value())] =
          secagg::PairStreamKey(suite, agreed, context, self, {id, key}, s, bits);
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<SlotSecrets> SecretsOf(const SiteRecord& record, const SlotSecrets& earlier) {
  SlotSecrets out;
  out.keys = earlier.keys;
  out.state = record.state;
  if (record.enc_secret) out.keys["enc_sk"] = *record.enc_secret;
  if (record.mask_secret) out.keys["mask_sk"] = *record.mask_secret;
  if (record.b) out.keys["b"] = *record.b;
  for (size_t rank = 0; rank < record.held.size(); ++rank) {
    if (!record.held[rank]) continue;
    const SiteId dealer = record.u0.records[rank].id;
    out.mask_key_shares[dealer] = record.held[rank]->mask_key;
    out.b_shares[dealer] = record.held[rank]->b;
  }
  ATOLL_RETURN_IF_ERROR(AddStreams(record, out));
  return out;
}

}  // namespace

absl::StatusOr<std::map<uint64_t, SlotSecrets>> ReadSlotSecrets(
    const std::filesystem::path& data_folder, const std::map<uint64_t, SlotSecrets>& earlier) {
  ATOLL_ASSIGN_OR_RETURN(const TemporaryFolder copy, TemporaryFolder::Create("atoll-slots"));
  ATOLL_RETURN_IF_ERROR(CopyStore(data_folder, copy.path()));
  ATOLL_ASSIGN_OR_RETURN(const auto store, store::SiteStore::Open(copy.path()));
  ATOLL_ASSIGN_OR_RETURN(const std::vector<store::RunRow> runs, store->Runs());
  std::map<uint64_t, SlotSecrets> secrets;
  for (const store::RunRow& run : runs) {
    ATOLL_ASSIGN_OR_RETURN(const std::vector<store::SlotRow> rows, store->Slots(run.run));
    for (const store::SlotRow& row : rows) {
      const auto state = static_cast<secagg::SlotState>(row.state);
      if (state == secagg::SlotState::kErased || state == secagg::SlotState::kBurnt) continue;
      ATOLL_ASSIGN_OR_RETURN(const SiteRecord record, secagg::DecodeRecord(row.record));
      const auto known = earlier.find(row.slot.value());
      ATOLL_ASSIGN_OR_RETURN(
          secrets[row.slot.value()],
          SecretsOf(record, known == earlier.end() ? SlotSecrets() : known->second));
    }
  }
  return secrets;
}

}  // namespace atl::site
