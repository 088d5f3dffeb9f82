// Service's calls of people.

#include <algorithm>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "comms/base/status.h"
#include "comms/rpc/channel.h"
#include "federation/coordinator/service.h"
#include "recipes/schema/load.h"

namespace atl::coordinator {
namespace {

constexpr int kLookMs = 250;  // how often a watcher's call looks whether its caller is still there
constexpr size_t kMaxReasonBytes = 1024;

bool HasEnded(v1::JobStatus status) {
  return status == v1::COMPLETE || status == v1::FAILED || status == v1::CANCELLED;
}

// False when the caller has gone.
bool WriteTrace(const Watcher::News& news, grpc::ServerWriter<v1::JobEvent>& writer) {
  for (const v1::JobEvent& event : news.trace) {
    if (!writer.Write(event)) return false;
  }
  if (news.trace_lost == 0) return true;
  v1::JobEvent lost;
  lost.set_note(absl::StrCat(news.trace_lost, " messages were too many for the trace"));
  return writer.Write(lost);
}

}  // namespace

grpc::Status Service::SubmitJob(grpc::ServerContext*, const v1::SubmitRequest* request,
                                v1::SubmitReply* reply) {
  Digest model{};
  if (request->first_model().size() != model.size()) {
    return rpc::ToGrpc(absl::InvalidArgumentError("first_model: not the name of a blob"));
  }
  if (request->recipe_yaml().size() > recipes::kMaxRecipeBytes) {
    return rpc::ToGrpc(
        absl::InvalidArgumentError(absl::StrCat("recipe: ", request->recipe_yaml().size(),
                                                " bytes, must be <= ", recipes::kMaxRecipeBytes)));
  }
  std::copy(request->first_model().begin(), request->first_model().end(), model.begin());
  auto job = coordinator_.Submit(request->recipe_yaml(), model, request->parameters());
  if (job.ok()) reply->set_job_id(job->value());
  return rpc::ToGrpc(job.status());
}

grpc::Status Service::ListJobs(grpc::ServerContext*, const v1::ListJobsRequest*,
                               v1::ListJobsReply* reply) {
  *reply = coordinator_.ReportAll();
  return grpc::Status::OK;
}

grpc::Status Service::GetJob(grpc::ServerContext*, const v1::GetJobRequest* request,
                             v1::JobReport* reply) {
  auto report = coordinator_.Report(JobId(request->job_id()));
  if (report.ok()) *reply = *std::move(report);
  return rpc::ToGrpc(report.status());
}

grpc::Status Service::CancelJob(grpc::ServerContext*, const v1::CancelRequest* request,
                                v1::CancelReply*) {
  return rpc::ToGrpc(
      coordinator_.Cancel(JobId(request->job_id()), request->reason().substr(0, kMaxReasonBytes)));
}

grpc::Status Service::WatchJob(grpc::ServerContext* context, const v1::WatchRequest* request,
                               grpc::ServerWriter<v1::JobEvent>* writer) {
  return rpc::ToGrpc(Watch(*context, *request, *writer));
}

absl::Status Service::Watch(const grpc::ServerContext& context, const v1::WatchRequest& request,
                            grpc::ServerWriter<v1::JobEvent>& writer) {
  const JobId job(request.job_id());
  ATOLL_RETURN_IF_ERROR(coordinator_.Report(job).status());
  const std::shared_ptr<Watcher> watcher = coordinator_.watchers().Add(job, request.trace());
  if (watcher == nullptr) return absl::ResourceExhaustedError("too many watch already");
  absl::Cleanup remove = [&] { coordinator_.watchers().Remove(job, watcher); };
  uint64_t after = request.after_event();
  bool was_over = false;
  while (!context.IsCancelled()) {
    const Watcher::News news = watcher->Wait(kLookMs);
    if (news.stopped) return absl::UnavailableError("the coordinator stops");
    if (!WriteTrace(news, writer)) return absl::CancelledError("the caller has gone");
    if (news.more_in_log || was_over) {
      ATOLL_ASSIGN_OR_RETURN(const v1::JobReport report, coordinator_.Report(job));
      while (true) {
        ATOLL_ASSIGN_OR_RETURN(auto events, coordinator_.Published(job, after));
        if (events.empty()) break;
        for (const v1::JobEvent& event : events) {
          after = event.id();
          if (!writer.Write(event)) return absl::CancelledError("the caller has gone");
          if (event.has_status() && HasEnded(event.status().status())) {
            (void)WriteTrace(watcher->Wait(0), writer);  // what came meanwhile
            return absl::OkStatus();
          }
        }
      }
      // That the job is over is known a moment before the log says so: looked at once more.
      if (std::exchange(was_over, HasEnded(report.status()))) return absl::OkStatus();
    }
    if (request.past_only()) return absl::OkStatus();
    for (const v1::JobEvent& event : news.progress) {
      if (!writer.Write(event)) return absl::CancelledError("the caller has gone");
    }
  }
  return absl::CancelledError("the caller has gone");
}

}  // namespace atl::coordinator
