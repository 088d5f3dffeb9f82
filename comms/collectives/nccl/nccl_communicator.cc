#include "comms/collectives/nccl/nccl_communicator.h"

#include <string>
#include <utility>
#include <vector>

#include "comms/base/status.h"

namespace atl {
namespace {

class NcclWork : public Work {
 public:
  NcclWork(NcclGroup& group, NcclGroup::Ticket ticket) : group_(group), ticket_(ticket) {}
  ~NcclWork() override { (void)group_.Wait(ticket_); }
  bool Test() override { return group_.Test(ticket_); }
  absl::Status Wait() override { return ToAbsl(group_.Wait(ticket_)); }

 private:
  NcclGroup& group_;
  const NcclGroup::Ticket ticket_;
};

// Whether all ranks are well, to each of them: `mine`, or that another rank has failed.
absl::Status AllOrNone(Communicator& host, const absl::Status& mine, const char* what) {
  double failed = mine.ok() ? 0.0 : 1.0;
  absl::Status agreed = host.AllReduceSum(std::span(&failed, 1));
  if (!mine.ok()) return Annotate(mine, what);
  ATOLL_RETURN_IF_ERROR(agreed);
  if (failed == 0.0) return absl::OkStatus();
  return absl::UnavailableError(
      absl::StrCat(what, ": ", failed, " of ", host.size(), " ranks could not; this one could"));
}

class NcclCommunicator : public Communicator {
 public:
  NcclCommunicator(Communicator& host, std::unique_ptr<NcclGroup> group, std::string name)
      : host_(host), group_(std::move(group)), name_(std::move(name)) {}

  uint32_t rank() const override { return host_.rank(); }
  uint32_t size() const override { return host_.size(); }
  uint32_t local_size() const override { return host_.local_size(); }
  bool on_device() const override { return true; }
  std::string name() const override { return name_; }

  absl::StatusOr<std::span<float>> Allocate(uint64_t count) override {
    if (count == 0) return std::span<float>();
    float* values = nullptr;
    absl::Status mine = ToAbsl(group_->Allocate(count, &values));
    absl::Status all = AllOrNone(host_, mine, "allocating on the GPU");
    if (all.ok()) return std::span(values, count);
    if (!mine.ok()) return all;
    group_->ReleaseLast();
    return absl::ResourceExhaustedError(all.message());
  }

  absl::StatusOr<std::unique_ptr<Work>> StartAllReduceSum(std::span<float> values) override {
    NcclGroup::Ticket ticket = 0;
    const GpuStatus status = group_->StartAllReduceSum(values.data(), values.size(), ticket);
    return Started(status, ticket);
  }
  absl::StatusOr<std::unique_ptr<Work>> StartReduceScatterSum(std::span<float> values) override {
    NcclGroup::Ticket ticket = 0;
    const GpuStatus status =
        group_->StartReduceScatterSum(values.data(), Parts(values.size()), ticket);
    return Started(status, ticket);
  }
  absl::StatusOr<std::unique_ptr<Work>> StartAllGather(std::span<float> values) override {
    NcclGroup::Ticket ticket = 0;
    const GpuStatus status = group_->StartAllGather(values.data(), Parts(values.size()), ticket);
    return Started(status, ticket);
  }

  absl::Status AllReduceSum(std::span<double> values) override {
    return host_.AllReduceSum(values);
  }
  absl::Status Broadcast(std::span<uint8_t> bytes) override { return host_.Broadcast(bytes); }
  absl::StatusOr<Bytes> Gather(ByteView mine, uint64_t max_total_bytes) override {
    return host_.Gather(mine, max_total_bytes);
  }
  absl::Status Barrier() override { return host_.Barrier(); }

 private:
  absl::StatusOr<std::unique_ptr<Work>> Started(const GpuStatus& status, NcclGroup::Ticket ticket) {
    ATOLL_RETURN_IF_ERROR(ToAbsl(status));
    return std::make_unique<NcclWork>(*group_, ticket);
  }
  PartEnds Parts(uint64_t count) const {
    PartEnds ends(size());
    for (uint32_t r = 0; r < size(); ++r) ends[r] = ShardOf(count, r, size()).last;
    return ends;
  }

  Communicator& host_;
  const std::unique_ptr<NcclGroup> group_;
  const std::string name_;
};

}  // namespace

absl::Status ToAbsl(const GpuStatus& status) {
  if (status.ok()) return absl::OkStatus();
  return absl::Status(static_cast<absl::StatusCode>(status.code), status.message);
}

absl::StatusOr<std::unique_ptr<Communicator>> CreateNcclCommunicator(const AtollGpuApi& api,
                                                                     Communicator& host,
                                                                     NcclGroupOptions options) {
  const int device = options.device;
  std::unique_ptr<NcclGroup> group;
  absl::Status mine = ToAbsl(NcclGroup::Prepare(api, std::move(options), group));
  int version = 0;
  char gpu[256] = "GPU";
  if (mine.ok()) {
    mine = ToAbsl(NcclStatus(api, api.nccl_version(&version), "ncclGetVersion", nullptr));
  }
  if (mine.ok()) {
    mine = ToAbsl(
        CudaStatus(api, api.device_name(device, gpu, sizeof gpu), "cudaGetDeviceProperties"));
  }
  NcclId id{};
  if (mine.ok() && host.rank() == 0) mine = ToAbsl(group->NewId(id));
  // Nobody waits in NCCL for a rank that will not come.
  ATOLL_RETURN_IF_ERROR(AllOrNone(host, mine, "preparing NCCL"));
  ATOLL_RETURN_IF_ERROR(host.Broadcast(id));
  mine = ToAbsl(group->Connect(id, host.rank(), host.size()));
  ATOLL_RETURN_IF_ERROR(AllOrNone(host, mine, "connecting by NCCL"));
  return std::make_unique<NcclCommunicator>(
      host, std::move(group),
      absl::StrCat("nccl ", version / 10000, ".", version / 100 % 100, ".", version % 100, ", ",
                   host.size(), host.size() == 1 ? " rank, " : " ranks, ", gpu));
}

}  // namespace atl
