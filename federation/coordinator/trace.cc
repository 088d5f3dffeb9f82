#include "federation/coordinator/trace.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "comms/base/ids.h"
#include "federation/secagg/messages.h"
#include "federation/secagg/signed_bodies.h"

namespace atl::coordinator {
namespace {

constexpr size_t kDigitsShown = 12;  // of a digest, in hex: enough to compare by eye

std::string Short(ByteView digest) { return Hex(digest).substr(0, kDigitsShown); }

std::string Set(const std::vector<SiteId>& sites) {
  return absl::StrCat(
      "{",
      absl::StrJoin(sites, ",",
                    [](std::string* out, SiteId site) { absl::StrAppend(out, site.value()); }),
      "}");
}

std::string Describe(const secagg::PreKeyRecord& record) {
  return absl::StrCat("enc_pk ", Short(record.enc_key), ", mask_pk ", Short(record.mask_key),
                      ", b_commit ", Short(record.b_commit));
}

std::string Describe(const secagg::PreKeySet& set) {
  return absl::StrCat("U0 = ", Set(secagg::IdsOf(set)), ", H(U0) ", Short(secagg::HashOf(set)));
}

std::string Describe(const secagg::ShareBundle& bundle) {
  const auto sealed = std::count_if(bundle.envelopes.begin(), bundle.envelopes.end(),
                                    [](const Bytes& envelope) { return !envelope.empty(); });
  return absl::StrCat("sealed shares of mask_sk and b for ", sealed, " sites, with ",
                      bundle.mask_share_hashes.size() + bundle.b_share_hashes.size(), " hashes");
}

std::string Describe(const secagg::ShareDelivery& delivery) {
  std::vector<SiteId> dealers;
  for (const auto& item : delivery.items) dealers.push_back(item.dealer);
  return absl::StrCat("sealed shares from ", Set(dealers));
}

std::string Describe(const secagg::ShareReceipt& receipt) {
  return receipt.complaints.empty() ? "all shares opened"
                                    : absl::StrCat("complaints about ", Set(receipt.complaints));
}

std::string Describe(const secagg::Manifest& manifest) {
  std::string out =
      absl::StrCat("H ", Short(secagg::HashOf(manifest)), ", U1 = ", Set(manifest.members),
                   ", model ", Short(manifest.model), ", recipe ", Short(manifest.recipe),
                   manifest.masked ? absl::StrCat(", t = ", manifest.threshold) : ", no masks",
                   ", clip ", manifest.clip_norm_l2, ", W ", manifest.weight_max, ", segments");
  for (const kernels::Segment& segment : manifest.segments) {
    absl::StrAppend(&out, " ", segment.length, " x ", segment.value_bits, "->", segment.sum_bits,
                    " bits");
  }
  return out;
}

std::string Describe(const secagg::Ready& ready) {
  return absl::StrCat("signature ", Short(ready.signature));
}

std::string Describe(const secagg::CohortSet& cohort) {
  return absl::StrCat("U2 = ", Set(secagg::IdsOf(cohort)), " with their signatures");
}

std::string Describe(const secagg::Commit& commit) {
  return absl::StrCat(commit.bytes, " bytes, root ", Short(commit.root));
}

std::string Describe(const secagg::SurvivorSet& survivors) {
  return absl::StrCat("U3 = ", Set(secagg::IdsOf(survivors)), " with their commits");
}

std::string Describe(const secagg::SurvivorSignature& signature) {
  return absl::StrCat("signature ", Short(signature.signature));
}

std::string Describe(const secagg::UnmaskRequest& request) {
  std::vector<SiteId> signers;
  for (const secagg::SurvivorSignature& signature : request.signatures) {
    signers.push_back(signature.id);
  }
  return absl::StrCat("survivors signed by ", Set(signers));
}

std::string Describe(const secagg::UnmaskAnswer& answer) {
  std::vector<SiteId> alive, dropped;
  for (const auto& item : answer.items) {
    (item.kind == secagg::ShareKind::kSelf ? alive : dropped).push_back(item.owner);
  }
  return absl::StrCat("shares of b of ", Set(alive), ", of mask_sk of ", Set(dropped));
}

std::string Describe(const secagg::Result& result) {
  return absl::StrCat("sum ", Short(result.sum), ", next model ", Short(result.next_model),
                      ", U3 = ", Set(secagg::IdsOf(result.survivors)), " with their commits, ",
                      result.signatures.size(), " signatures of it, ", result.secrets.size(),
                      " secrets of R4");
}

template <typename M>
std::string DescribeAs(ByteView payload) {
  const absl::StatusOr<M> message = secagg::Decode<M>(payload);
  return message.ok() ? Describe(*message)
                      : absl::StrCat("unreadable: ", std::string(message.status().message()));
}

}  // namespace

std::string StepTitle(v1::Step step) {
  switch (step) {
    case v1::REQUEST_PRE_KEYS:
      return "E1 open a slot";
    case v1::PRE_KEYS:
      return "E1 pre-keys";
    case v1::PRE_KEY_SET:
      return "U0 pre-key set";
    case v1::SHARES:
      return "E2 shares";
    case v1::SHARE_DELIVERY:
      return "E2 delivery";
    case v1::SHARE_RECEIPT:
      return "E2 receipt";
    case v1::MANIFEST:
      return "R0 manifest";
    case v1::READY:
      return "R1 ready";
    case v1::COHORT:
      return "U2 cohort";
    case v1::COMMIT:
      return "R2 commit";
    case v1::SURVIVORS:
      return "R3 survivors";
    case v1::SURVIVOR_SIGNATURE:
      return "R3 signature";
    case v1::UNMASK_REQUEST:
      return "R4 question";
    case v1::UNMASK_ANSWER:
      return "R4 answer";
    case v1::RESULT:
      return "R5 result";
    case v1::RESULT_CHECKED:
      return "R5 checked";
    case v1::REQUEST_GROUP_COMMIT:
      return "G1 commit?";
    case v1::GROUP_COMMIT:
      return "G1 commit";
    case v1::GROUP_COMMIT_SET:
      return "G2 commits";
    case v1::GROUP_SIGNATURE:
      return "G2 signature";
    case v1::GROUP_SIGNATURE_SET:
      return "G3 signatures";
    case v1::GROUP_REVEAL:
      return "G3 reveal";
    case v1::GROUP_REVEAL_SET:
      return "G4 reveals";
    default:
      return v1::Step_Name(step);
  }
}

std::string DescribeStep(v1::Step step, ByteView payload) {
  switch (step) {
    case v1::PRE_KEYS:
      return DescribeAs<secagg::PreKeyRecord>(payload);
    case v1::PRE_KEY_SET:
      return DescribeAs<secagg::PreKeySet>(payload);
    case v1::SHARES:
      return DescribeAs<secagg::ShareBundle>(payload);
    case v1::SHARE_DELIVERY:
      return DescribeAs<secagg::ShareDelivery>(payload);
    case v1::SHARE_RECEIPT:
      return DescribeAs<secagg::ShareReceipt>(payload);
    case v1::MANIFEST:
      return DescribeAs<secagg::Manifest>(payload);
    case v1::READY:
      return DescribeAs<secagg::Ready>(payload);
    case v1::COHORT:
      return DescribeAs<secagg::CohortSet>(payload);
    case v1::COMMIT:
      return DescribeAs<secagg::Commit>(payload);
    case v1::SURVIVORS:
      return DescribeAs<secagg::SurvivorSet>(payload);
    case v1::SURVIVOR_SIGNATURE:
      return DescribeAs<secagg::SurvivorSignature>(payload);
    case v1::UNMASK_REQUEST:
      return DescribeAs<secagg::UnmaskRequest>(payload);
    case v1::UNMASK_ANSWER:
      return DescribeAs<secagg::UnmaskAnswer>(payload);
    case v1::RESULT:
      return DescribeAs<secagg::Result>(payload);
    case v1::RESULT_CHECKED: {
      ByteReader reader(payload);
      const uint32_t chunks = payload.empty() ? 0 : reader.U32();
      if (!payload.empty() && !reader.Finish("count of chunks").ok()) {
        return "unreadable: not a count of chunks";
      }
      return absl::StrCat(chunks, " chunks of the sum");
    }
    default:
      return "";
  }
}

}  // namespace atl::coordinator
