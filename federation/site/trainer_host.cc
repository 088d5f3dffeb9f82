#include "federation/site/trainer_host.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <system_error>
#include <thread>
#include <utility>

#include "comms/base/log.h"
#include "comms/base/process.h"
#include "comms/base/status.h"
#include "federation/site/last_words.h"

namespace atl::site {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kTailBytes = 64 << 10;
constexpr uint32_t kMaxRanks = 4096;
// After the link has ended mpirun needs a moment to end, too, and to write why.
constexpr int kEndGraceMs = 1'500;

uint64_t FileSize(const fs::path& path) {
  std::error_code error;
  const uint64_t size = fs::file_size(path, error);
  return error ? 0 : size;
}

// The end of a log, from `start` on.
std::string Tail(const fs::path& path, uint64_t start) {
  const uint64_t size = FileSize(path);
  if (size <= start) return {};
  std::ifstream file(path, std::ios::binary);
  const uint64_t from = std::max(start, size - std::min(size, kTailBytes));
  file.seekg(static_cast<std::streamoff>(from));
  std::string tail(size - from, '\0');
  file.read(tail.data(), static_cast<std::streamsize>(tail.size()));
  tail.resize(static_cast<size_t>(file.gcount()));
  return tail;
}

}  // namespace

TrainerHost::TrainerHost(TrainerOptions options, sitelink::Setup setup, Launcher& launcher,
                         EventQueue& queue, Clock& clock, TrainerEvents& events)
    : options_(std::move(options)),
      setup_(std::move(setup)),
      launcher_(launcher),
      queue_(queue),
      clock_(clock),
      events_(events) {}

TrainerHost::~TrainerHost() { Stop(0); }

void TrainerHost::Start() {
  if (absl::Status status = Launch(); !status.ok()) Lose(std::string(status.message()));
}

absl::Status TrainerHost::Launch() {
  ready_ = busy_ = false;
  failure_.clear();
  log_start_ = FileSize(options_.log_file);
  launched_ms_ = clock_.NowMs();
  ++launches_;
  ATOLL_ASSIGN_OR_RETURN(std::unique_ptr<sitelink::Listener> listener,
                         sitelink::ListenUnix(options_.socket_folder.string(),
                                              absl::StrCat(options_.socket_name, "-", launches_)));
  LaunchSpec spec;
  spec.trainer = options_.program;
  spec.ranks = options_.ranks;
  spec.threads_per_rank = options_.threads_per_rank;
  spec.link = listener->address();
  spec.folder = options_.work_folder / absl::StrCat("launch-", launches_);
  spec.log_file = options_.log_file;
  ATOLL_ASSIGN_OR_RETURN(running_, launcher_.Launch(spec));
  session_ = std::make_unique<TrainerSession>(
      std::move(listener), queue_, clock_,
      [this](sitelink::Frame frame) { OnFrame(std::move(frame)); },
      [this](const absl::Status& why) { Lose(std::string(why.message())); });
  spdlog::info("trainer started: {} ranks, mpirun is process {}, log {}", options_.ranks,
               running_->pid(), options_.log_file.string());
  return absl::OkStatus();
}

void TrainerHost::Enqueue(TrainerSession::Outgoing outgoing) {
  if (!session_ || !ready_) return;
  busy_ = true;
  session_->Send(std::move(outgoing));
}

void TrainerHost::OnFrame(sitelink::Frame frame) {
  if (lost_ || ended_) return;
  switch (static_cast<sitelink::MessageType>(frame.type)) {
    case sitelink::MessageType::kHello: {
      const auto hello = sitelink::Decode<sitelink::Hello>(frame.payload);
      if (!hello.ok()) return Lose(std::string(hello.status().message()));
      return OnHello(*hello);
    }
    case sitelink::MessageType::kFailure: {
      const auto failure = sitelink::Decode<sitelink::Failure>(frame.payload);
      failure_ = failure.ok() ? failure->message : "it failed and did not say why";
      return Lose(failure_);
    }
    default:
      if (!ready_) return Lose("it said something else before its hello");
      events_.OnTrainerFrame(std::move(frame));
  }
}

void TrainerHost::OnHello(const sitelink::Hello& hello) {
  if (ready_) return Lose("it said hello twice");
  if (hello.version != sitelink::kProtocolVersion) {
    return Lose(absl::StrCat("it speaks version ", hello.version, " of the site link, this agent ",
                             sitelink::kProtocolVersion));
  }
  if (hello.ranks != options_.ranks || hello.pids.size() > kMaxRanks) {
    return Lose(absl::StrCat("it has ", hello.ranks, " ranks; ", options_.ranks, " were started"));
  }
  for (const uint32_t pid : hello.pids) {
    if (pid > 1) ranks_.insert(static_cast<pid_t>(pid));
  }
  ready_ = true;
  session_->Send(
      {nullptr, {static_cast<uint16_t>(sitelink::Setup::kType), sitelink::Encode(setup_)}});
  events_.OnTrainerReady(hello);
}

void TrainerHost::Lose(const std::string& reason) {
  if (lost_ || ended_) return;
  lost_ = true;
  why_lost_ = reason;
  lost_ms_ = clock_.NowMs();
  ready_ = busy_ = false;
}

void TrainerHost::Tick() {
  if (ended_) return;
  const int64_t now = clock_.NowMs();
  if (!lost_ && running_) {
    if (const std::optional<int> code = running_->Poll()) {
      // What it wrote to the link before it ended comes first; the link's end is a Lose of its own.
      if (!session_->connected() || now - session_->last_activity_ms() > kEndGraceMs) {
        Lose(absl::StrCat("it ended with exit code ", *code));
      }
    } else if (!ready_ && now - launched_ms_ > options_.start_timeout_ms) {
      Lose(absl::StrCat("it said nothing for ", options_.start_timeout_ms / 1000,
                        " s after its start"));
    } else if (busy_ && now - session_->last_activity_ms() > options_.progress_timeout_ms) {
      Lose(absl::StrCat("it made no progress for ", options_.progress_timeout_ms / 1000, " s"));
    }
  }
  if (!lost_) return;
  // Lets mpirun end by itself and finish its log; Poll sees to it that this is short.
  if (running_ && failure_.empty() && !running_->Poll() && now - lost_ms_ < kEndGraceMs) return;
  EndLaunch(failure_.empty() ? 0 : kEndGraceMs);
  const std::string reason = absl::StrCat("trainer: ", LastWords());
  if (launches_ > options_.relaunch_limit) {
    ended_ = true;
    events_.OnTrainerFailed(absl::StrCat(reason, " (started ", launches_, " times)"));
    return;
  }
  spdlog::warn("{}; starting it again ({} of {})", reason, launches_, options_.relaunch_limit);
  lost_ = false;
  events_.OnTrainerLost(reason);
  Start();
}

std::string TrainerHost::LastWords() const {
  if (!failure_.empty()) return failure_;
  const std::string words = LastWordsIn(Tail(options_.log_file, log_start_));
  return words.empty() ? why_lost_ : absl::StrCat(why_lost_, "; its log ends: ", words);
}

void TrainerHost::EndLaunch(int grace_ms) {
  session_.reset();  // ends the link, which ends the ranks
  if (running_) running_->Stop(grace_ms);
  running_.reset();
  ReapRanks();
  ready_ = busy_ = false;
}

void TrainerHost::ReapRanks() {
  // Orphans come to this process, a subreaper. Only own children are touched: their ids cannot have
  // been given to others before they are reaped.
  constexpr int kPasses = 50;
  for (int pass = 0; pass < kPasses && !ranks_.empty(); ++pass) {
    const std::set<pid_t> family = LiveDescendants();
    for (auto rank = ranks_.begin(); rank != ranks_.end();) {
      const bool reaped = waitpid(*rank, nullptr, WNOHANG) == *rank;
      if (!reaped && family.contains(*rank)) {
        kill(*rank, SIGKILL);
        ++rank;
      } else {
        rank = ranks_.erase(rank);
      }
    }
    if (!ranks_.empty()) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

void TrainerHost::Stop(int grace_ms) {
  ended_ = true;
  if (session_ && ready_ && running_ && grace_ms > 0) {
    session_->Send(
        {nullptr,
         {static_cast<uint16_t>(sitelink::Stop::kType), sitelink::Encode(sitelink::Stop{})}});
    const int64_t until = clock_.NowMs() + grace_ms;
    while (!running_->Poll() && clock_.NowMs() < until) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  }
  EndLaunch(grace_ms);
}

}  // namespace atl::site
