#include "federation/site/job.h"

#include <algorithm>
#include <cmath>

#include "comms/base/status.h"
#include "recipes/schema/values.h"

namespace atl::site {
namespace {

constexpr int64_t kProgressIntervalMs = 200;
constexpr size_t kMaxPhaseBytes = 32;

}  // namespace

TrainerOptions TrainerOptionsFor(const Services& services, const Offer& offer, uint32_t ranks) {
  TrainerOptions options;
  options.program = services.trainer;
  options.ranks = ranks;
  options.threads_per_rank =
      static_cast<uint32_t>(std::max(1.0, std::floor(services.cpus / ranks)));
  options.socket_folder = services.socket_folder;
  options.socket_name = absl::StrCat("job", offer.job.value());
  options.work_folder = services.jobs_folder / absl::StrCat(offer.job.value());
  options.log_file = services.log_folder / absl::StrCat("trainer-job", offer.job.value(), ".log");
  options.relaunch_limit = services.relaunch_limit;
  options.start_timeout_ms = services.trainer_start_timeout_ms;
  options.progress_timeout_ms = offer.recipe.federation.progress_timeout_s * 1000;
  return options;
}

sitelink::Setup SetupFor(const Offer& offer) {
  sitelink::Setup setup;
  setup.recipe_yaml = offer.recipe_yaml;
  setup.site_index = offer.site_index;
  setup.site_count = offer.site_count;
  setup.parameters = offer.parameters;
  return setup;
}

std::string ForWire(std::string text) {
  if (text.size() > kMaxReasonBytes) text.resize(kMaxReasonBytes);
  std::string lines_joined = text;
  std::replace(lines_joined.begin(), lines_joined.end(), '\n', ' ');
  if (recipes::IsPlainText(lines_joined)) return text;
  for (char& c : text) {
    if (c != '\n' && (c < 0x20 || c > 0x7e)) c = '?';
  }
  return text;
}

void ProgressReporter::Report(uint32_t round, const std::string& phase, uint32_t step,
                              uint32_t steps, double examples_per_s) {
  const int64_t now = services_.clock->NowMs();
  if (phase == phase_ && now - last_ms_ < kProgressIntervalMs) return;
  phase_ = phase;
  last_ms_ = now;
  v1::SiteMessage message;
  v1::SiteProgress& progress = *message.mutable_progress();
  progress.set_job_id(job_.value());
  progress.set_round(round);
  progress.set_phase(ForWire(phase.substr(0, kMaxPhaseBytes)));
  progress.set_step(step);
  progress.set_steps(steps);
  progress.set_examples_per_s(examples_per_s);
  if (round == masked_round_) {
    progress.set_mask_hidden_s(mask_hidden_s_);
    progress.set_mask_paid_s(mask_paid_s_);
  }
  services_.send_progress(std::move(message));
}

void ProgressReporter::SetMaskTimes(uint32_t round, double hidden_s, double paid_s) {
  masked_round_ = round;
  mask_hidden_s_ = hidden_s;
  mask_paid_s_ = paid_s;
}

}  // namespace atl::site
