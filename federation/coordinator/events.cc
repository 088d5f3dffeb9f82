#include "federation/coordinator/events.h"

#include <type_traits>

#include "absl/strings/str_cat.h"
#include "comms/base/status.h"

namespace atl::coordinator {
namespace {

constexpr uint64_t kMaxText = 2 << 20;
constexpr uint64_t kMaxMessage = 16 << 20;

class Encoder {
 public:
  explicit Encoder(int64_t at_ms) { out_.U64(static_cast<uint64_t>(at_ms)); }

  void operator()(const JobSubmitted& e) {
    out_.U64(e.job.value()).Sized(e.recipe_yaml).Raw(e.first_model).U64(e.parameters).Raw(e.run);
  }
  void operator()(const JobPlaced& e) {
    out_.U64(e.job.value()).U32(static_cast<uint32_t>(e.sites.size()));
    for (SiteId site : e.sites) out_.U32(site.value());
  }
  void operator()(const CancelRequested& e) { out_.U64(e.job.value()).Sized(e.reason); }
  void operator()(const PeerConnected& e) { out_.U32(e.site.value()).F64(e.cpus).F64(e.memory_gb); }
  void operator()(const PeerGone& e) { out_.U32(e.site.value()).Sized(e.why); }
  void operator()(const PeerSaid& e) {
    out_.U32(e.site.value());
    if (const bool secret = e.message.secagg().step() == v1::UNMASK_ANSWER; secret) {
      v1::SiteMessage kept = e.message;
      kept.mutable_secagg()->clear_payload();
      out_.Sized(kept.SerializeAsString());
    } else {
      out_.Sized(e.message.SerializeAsString());
    }
  }
  void operator()(const UploadComplete& e) {
    out_.U64(e.id.job.value())
        .U32(e.id.round.value())
        .U64(e.id.slot.value())
        .U32(e.id.site.value());
    out_.U64(e.bytes);
  }
  void operator()(const SumDone& e) {
    Attempt(e.job, e.round, e.slot);
    out_.Raw(e.outcome.sum).Raw(e.outcome.next_model);
    out_.U64(e.outcome.weight).U64(e.outcome.examples).U64(e.outcome.correct);
    out_.U64(e.outcome.saturated).U64(e.outcome.clipped);
    out_.F64(e.outcome.loss_sum).F64(e.outcome.next_range);
    out_.U32(static_cast<uint32_t>(e.outcome.group_sums.size()));
    for (const Digest& root : e.outcome.group_sums) out_.Raw(root);
  }
  void operator()(const SumFailed& e) {
    Attempt(e.job, e.round, e.slot);
    out_.Sized(e.why);
  }
  void operator()(const AttemptFailed& e) {
    Attempt(e.job, e.round, e.slot);
    out_.Sized(e.why);
  }
  void operator()(const MemberDropped& e) {
    out_.U64(e.job.value()).U32(e.site.value()).Sized(e.why);
  }
  void operator()(const CohortWaitOver& e) { out_.U64(e.job.value()); }
  void operator()(const EvaluationGivenUp& e) { out_.U64(e.job.value()).Sized(e.why); }
  void operator()(const Restarted&) {}
  void operator()(const Heard& e) { out_.U32(e.site.value()); }
  void operator()(const ResultGivenUp& e) {
    out_.U64(e.job.value()).U32(e.round.value()).Sized(e.why);
  }

  Bytes Take(uint32_t kind) && {
    ByteWriter whole;
    whole.U32(kind).Raw(out_.bytes());
    return std::move(whole).Take();
  }

 private:
  void Attempt(JobId job, RoundId round, SlotId slot) {
    out_.U64(job.value()).U32(round.value()).U64(slot.value());
  }
  ByteWriter out_;
};

class Decoder {
 public:
  explicit Decoder(ByteReader& in) : in_(in) {}

  void operator()(JobSubmitted& e) {
    e.job = Job();
    e.recipe_yaml = in_.SizedText(kMaxText);
    e.first_model = in_.Array<32>();
    e.parameters = in_.U64();
    e.run = in_.Array<32>();
  }
  void operator()(JobPlaced& e) {
    e.job = Job();
    const uint32_t count = in_.Count(1 << 16, 4);
    for (uint32_t i = 0; i < count; ++i) e.sites.push_back(Site());
  }
  void operator()(CancelRequested& e) {
    e.job = Job();
    e.reason = in_.SizedText(kMaxText);
  }
  void operator()(PeerConnected& e) {
    e.site = Site();
    e.cpus = in_.F64();
    e.memory_gb = in_.F64();
  }
  void operator()(PeerGone& e) {
    e.site = Site();
    e.why = in_.SizedText(kMaxText);
  }
  void operator()(PeerSaid& e) {
    e.site = Site();
    ByteView bytes = in_.SizedView(kMaxMessage);
    if (!e.message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
      in_.Fail("a site's message does not parse");
    }
  }
  void operator()(UploadComplete& e) {
    e.id.job = Job();
    e.id.round = RoundId(in_.U32());
    e.id.slot = SlotId(in_.U64());
    e.id.site = Site();
    e.bytes = in_.U64();
  }
  void operator()(SumDone& e) {
    Attempt(e);
    e.outcome.sum = in_.Array<32>();
    e.outcome.next_model = in_.Array<32>();
    e.outcome.weight = in_.U64();
    e.outcome.examples = in_.U64();
    e.outcome.correct = in_.U64();
    e.outcome.saturated = in_.U64();
    e.outcome.clipped = in_.U64();
    e.outcome.loss_sum = in_.F64();
    e.outcome.next_range = in_.F64();
    e.outcome.group_sums.resize(in_.Count(1 << 16, 32));
    for (Digest& root : e.outcome.group_sums) root = in_.Array<32>();
  }
  void operator()(SumFailed& e) {
    Attempt(e);
    e.why = in_.SizedText(kMaxText);
  }
  void operator()(AttemptFailed& e) {
    Attempt(e);
    e.why = in_.SizedText(kMaxText);
  }
  void operator()(MemberDropped& e) {
    e.job = Job();
    e.site = Site();
    e.why = in_.SizedText(kMaxText);
  }
  void operator()(CohortWaitOver& e) { e.job = Job(); }
  void operator()(EvaluationGivenUp& e) {
    e.job = Job();
    e.why = in_.SizedText(kMaxText);
  }
  void operator()(Restarted&) {}
  void operator()(Heard& e) { e.site = Site(); }
  void operator()(ResultGivenUp& e) {
    e.job = Job();
    e.round = RoundId(in_.U32());
    e.why = in_.SizedText(kMaxText);
  }

 private:
  JobId Job() { return JobId(in_.U64()); }
  SiteId Site() { return SiteId(in_.U32()); }
  template <typename E>
  void Attempt(E& e) {
    e.job = Job();
    e.round = RoundId(in_.U32());
    e.slot = SlotId(in_.U64());
  }
  ByteReader& in_;
};

// Makes the variant's alternative number `index` (from 0); false when there is none.
template <size_t I = 0>
bool Emplace(Event& event, size_t index) {
  if constexpr (I < std::variant_size_v<Event>) {
    if (I == index) {
      event.emplace<I>();
      return true;
    }
    return Emplace<I + 1>(event, index);
  } else {
    return false;
  }
}

}  // namespace

bool IsLogged(const Event& event) {
  if (std::holds_alternative<Heard>(event)) return false;
  if (const auto* said = std::get_if<PeerSaid>(&event)) {
    return said->message.body_case() != v1::SiteMessage::kProgress &&
           said->message.body_case() != v1::SiteMessage::kPong;
  }
  return true;
}

uint32_t KindOf(const Event& event) { return static_cast<uint32_t>(event.index()) + 1; }

Bytes EncodeEvent(const Event& event, int64_t at_ms) {
  Encoder encoder(at_ms);
  std::visit([&](const auto& e) { encoder(e); }, event);
  return std::move(encoder).Take(KindOf(event));
}

absl::StatusOr<TimedEvent> DecodeEvent(ByteView bytes) {
  ByteReader in(bytes);
  TimedEvent out;
  const uint32_t kind = in.U32();
  out.at_ms = static_cast<int64_t>(in.U64());
  if (kind == 0 || !Emplace(out.event, kind - 1)) {
    return absl::DataLossError(absl::StrCat("event log: unknown kind of event ", kind));
  }
  Decoder decoder(in);
  std::visit([&](auto& e) { decoder(e); }, out.event);
  ATOLL_RETURN_IF_ERROR(in.Finish("event"));
  return out;
}

Bytes EncodeSecret(const secagg::RevealedSecret& secret) {
  ByteWriter out;
  out.Reserve(33).U8(static_cast<uint8_t>(secret.kind)).Raw(secret.secret.span());
  return std::move(out).Take();
}

absl::StatusOr<secagg::RevealedSecret> DecodeSecret(SiteId owner, ByteView bytes) {
  const auto self = static_cast<uint8_t>(secagg::ShareKind::kSelf);
  const auto mask_key = static_cast<uint8_t>(secagg::ShareKind::kMaskKey);
  if (bytes.size() != 33 || (bytes[0] != self && bytes[0] != mask_key)) {
    return absl::DataLossError(
        absl::StrCat("what was kept of site ", owner.value(), "'s secret is none"));
  }
  return secagg::RevealedSecret{owner, static_cast<secagg::ShareKind>(bytes[0]),
                                Secret32(bytes.last<32>())};
}

JobId JobOf(const Event& event) {
  struct Visitor {
    JobId operator()(const JobSubmitted& e) { return e.job; }
    JobId operator()(const JobPlaced& e) { return e.job; }
    JobId operator()(const CancelRequested& e) { return e.job; }
    JobId operator()(const PeerConnected&) { return JobId(0); }
    JobId operator()(const PeerGone&) { return JobId(0); }
    JobId operator()(const PeerSaid& e) {
      switch (e.message.body_case()) {
        case v1::SiteMessage::kDecision:
          return JobId(e.message.decision().job_id());
        case v1::SiteMessage::kSecagg:
          return JobId(e.message.secagg().job_id());
        case v1::SiteMessage::kProgress:
          return JobId(e.message.progress().job_id());
        case v1::SiteMessage::kEvaluation:
          return JobId(e.message.evaluation().job_id());
        case v1::SiteMessage::kFailure:
          return JobId(e.message.failure().job_id());
        default:
          return JobId(0);
      }
    }
    JobId operator()(const UploadComplete& e) { return e.id.job; }
    JobId operator()(const SumDone& e) { return e.job; }
    JobId operator()(const SumFailed& e) { return e.job; }
    JobId operator()(const AttemptFailed& e) { return e.job; }
    JobId operator()(const MemberDropped& e) { return e.job; }
    JobId operator()(const CohortWaitOver& e) { return e.job; }
    JobId operator()(const EvaluationGivenUp& e) { return e.job; }
    JobId operator()(const Restarted&) { return JobId(0); }
    JobId operator()(const Heard&) { return JobId(0); }
    JobId operator()(const ResultGivenUp& e) { return e.job; }
  };
  return std::visit(Visitor(), event);
}

void Effects::SendStep(SiteId to, JobId job, SlotId slot, RoundId round, v1::Step step,
                       ByteView payload) {
  Send send;
  send.to = to;
  v1::SecAgg* secagg = send.message.mutable_secagg();
  secagg->set_job_id(job.value());
  secagg->set_slot(slot.value());
  secagg->set_round(round.value());
  secagg->set_step(step);
  secagg->set_payload(payload.data(), payload.size());
  payload_bytes_ += payload.size();
  Add(std::move(send));
}

void Effects::Note(JobId job, std::string text) {
  Publish publish;
  publish.job = job;
  publish.event.set_note(std::move(text));
  Add(std::move(publish));
}

}  // namespace atl::coordinator
