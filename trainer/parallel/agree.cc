#include "trainer/parallel/agree.h"

#include <algorithm>
#include <string>

#include "absl/strings/cord.h"

#include "comms/base/status.h"

namespace atl::trainer {
namespace {

constexpr uint64_t kMaxMessageBytes = 4096;
constexpr char kAgreed[] = "atoll/trainer/agreed";  // payload of a status

}  // namespace

absl::Status Agree(Communicator& communicator, const absl::Status& mine) {
  // One record a rank: u32 rank, u32 code, sized message. Almost always every rank is well and its
  // record is empty.
  ByteWriter record;
  if (!mine.ok()) {
    std::string text = absl::StrCat(mine.message());
    record.U32(communicator.rank()).U32(static_cast<uint32_t>(mine.code()));
    record.Sized(std::string_view(text).substr(0, kMaxMessageBytes));
  }
  ATOLL_ASSIGN_OR_RETURN(Bytes records,
                         communicator.Gather(record.bytes(), (kMaxMessageBytes + 16) << 16));
  Bytes verdict(16 + kMaxMessageBytes,
                0);  // of a fixed size: u32 rank, u32 code (0: all well), sized message
  if (communicator.rank() == 0 && !records.empty()) {
    records.resize(std::min(records.size(), verdict.size()));
    std::copy(records.begin(), records.end(), verdict.begin());
  }
  ATOLL_RETURN_IF_ERROR(communicator.Broadcast(verdict));
  ByteReader in(verdict);
  uint32_t rank = in.U32();
  auto code = static_cast<absl::StatusCode>(in.U32());
  if (code == absl::StatusCode::kOk) return absl::OkStatus();
  std::string message = in.SizedText(kMaxMessageBytes);
  if (rank != 0) message = absl::StrCat("rank ", rank, ": ", message);
  return Alike(absl::Status(code, message));
}

absl::Status Alike(absl::Status status) {
  if (!status.ok()) status.SetPayload(kAgreed, absl::Cord("1"));
  return status;
}

bool IsAgreed(const absl::Status& status) { return status.GetPayload(kAgreed).has_value(); }

}  // namespace atl::trainer
