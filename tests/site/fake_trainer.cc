#include "tests/site/fake_trainer.h"

#include <unistd.h>

#include <algorithm>
#include <optional>
#include <thread>
#include <utility>

#include "comms/base/crypto/suite.h"
#include "comms/sitelink/messages.h"
#include "kernels/masks.h"
#include "kernels/pack.h"
#include "kernels/quantize.h"

namespace atl::site {
namespace {

using sitelink::MessageType;

constexpr uint32_t kNoProcess = 0x7fffff00;  // over any pid_max

class Conversation {
 public:
  Conversation(sitelink::Link& link, const FakeTrainerOptions& options, FakeTrainerLog* log)
      : link_(link), options_(options), log_(log) {
    launch_key_ = OpensslSuite().AgreementKeyPair(SystemRandom().Draw32());
  }

  int Run() {
    if (options_.behaviour == Behaviour::kNoHello) return Idle();
    std::vector<uint32_t> pids(options_.ranks, kNoProcess);
    if (options_.pid != 0) pids[0] = options_.pid;
    if (!Tell(sitelink::Hello{sitelink::kProtocolVersion, options_.ranks, launch_key_.public_key,
                              pids})) {
      return 1;
    }
    while (true) {
      auto frame = link_.Receive(-1);
      if (!frame.ok()) return 1;
      switch (static_cast<MessageType>(frame->type)) {
        case MessageType::kSetup:
          break;
        case MessageType::kModelChunk: {
          auto chunk = sitelink::Decode<sitelink::ModelChunk>(frame->payload);
          if (!chunk.ok()) return 2;
          if (chunk->index == 0) model_.clear();
          prepared_.reset();
          model_.insert(model_.end(), chunk->values.begin(), chunk->values.end());
          break;
        }
        case MessageType::kTrain: {
          auto train = sitelink::Decode<sitelink::Train>(frame->payload);
          if (!train.ok()) return 2;
          Note("train " + std::to_string(train->round));
          NoteMasks("train " + std::to_string(train->round));
          if (options_.behaviour == Behaviour::kDiesTraining) return 3;
          if (options_.behaviour == Behaviour::kHangsTraining) return Idle();
          if (options_.behaviour == Behaviour::kFailsTraining) {
            Tell(sitelink::Failure{"out of data"});
            return 4;
          }
          if (options_.behaviour == Behaviour::kFailsBabbling) {
            Tell(sitelink::Failure{std::string(100'000, '\xff')});
            return 4;
          }
          Tell(sitelink::Progress{train->round, "train", 1, 2, 100.0});
          Tell(sitelink::Trained{train->round});
          break;
        }
        case MessageType::kPrepare: {
          auto prepare = sitelink::Decode<sitelink::Prepare>(frame->payload);
          if (!prepare.ok()) return 2;
          NoteMasks("prepare " + std::to_string(prepare->round));
          prepared_ = *std::move(prepare);
          break;
        }
        case MessageType::kRelease: {
          auto release = sitelink::Decode<sitelink::Release>(frame->payload);
          if (!release.ok()) return 2;
          Note("release " + std::to_string(release->round));
          if (release->masked) {
            NoteMasks((IsAsPrepared(*release) ? "as prepared " : "afresh ") +
                      std::to_string(release->round));
          }
          if (!SendVector(*release)) return 3;
          Tell(sitelink::Masked{release->round, 2.5, 0.25});
          break;
        }
        case MessageType::kEvaluate: {
          auto evaluate = sitelink::Decode<sitelink::Evaluate>(frame->payload);
          if (!evaluate.ok()) return 2;
          Note("evaluate " + std::to_string(evaluate->round));
          if (options_.behaviour == Behaviour::kDiesTraining) return 3;
          Tell(sitelink::Evaluated{evaluate->round, 100, 40 + evaluate->round, 12.5});
          break;
        }
        case MessageType::kStop:
          Note("stop");
          return 0;
        default:
          return 2;
      }
    }
  }

 private:
  template <typename M>
  bool Tell(const M& message) {
    return sitelink::SendMessage(link_, message).ok();
  }
  void Note(const std::string& what) {
    if (log_ == nullptr) return;
    std::lock_guard lock(log_->mutex);
    log_->asked.push_back(what);
    log_->model = model_;
  }
  void NoteMasks(const std::string& what) {
    if (log_ == nullptr) return;
    std::lock_guard lock(log_->mutex);
    log_->masks.push_back(what);
  }
  // Context, lanes and keys.
  bool IsAsPrepared(const sitelink::Release& release) {
    if (!prepared_ || prepared_->context != release.context ||
        prepared_->cipher != release.cipher || prepared_->segments != release.segments) {
      return false;
    }
    const auto open = [&](const Bytes& sealed) {
      return *sitelink::OpenKeys(sealed, launch_key_, release.round, OpensslSuite());
    };
    const auto before = open(prepared_->sealed_keys), now = open(release.sealed_keys);
    return std::equal(before.begin(), before.end(), now.begin(), now.end(),
                      [](const auto& a, const auto& b) {
                        return a.segment == b.segment && a.subtract == b.subtract && a.key == b.key;
                      });
  }
  int Idle() {
    while (link_.Receive(-1).ok()) {
    }
    return 1;
  }

  bool SendVector(const sitelink::Release& release) {
    std::vector<sitelink::StreamKey> keys;
    if (release.masked) {
      auto opened =
          sitelink::OpenKeys(release.sealed_keys, launch_key_, release.round, OpensslSuite());
      if (!opened.ok()) return false;
      keys = *std::move(opened);
    }
    const kernels::VectorLayout layout(release.segments);
    for (uint32_t i = 0; i < layout.chunk_count(); ++i) {
      const kernels::Chunk chunk = layout.chunk(i);
      const kernels::Segment& segment = release.segments[chunk.segment];
      std::vector<uint64_t> words(chunk.elements * segment.lane_bytes() / 8 + 1);
      const std::span<uint8_t> lanes(reinterpret_cast<uint8_t*>(words.data()),
                                     chunk.elements * segment.lane_bytes());
      for (uint64_t e = 0; e < chunk.elements; ++e) {
        kernels::StoreLane(lanes, segment.lane_bytes(), e,
                           FakeValue(chunk.segment, chunk.first_element + e));
      }
      std::vector<kernels::MaskKey> masks;
      for (const sitelink::StreamKey& key : keys) {
        if (key.segment != chunk.segment) continue;
        kernels::MaskKey& mask = masks.emplace_back();
        std::copy_n(key.key.data(), 32, mask.key.begin());
        mask.subtract = key.subtract;
      }
      kernels::AddMasks(lanes, segment.lane_bytes(), chunk.first_element, masks, release.cipher);
      sitelink::MaskedChunk message{i, Bytes(chunk.bytes)};
      kernels::PackLanes(lanes, segment.lane_bytes(), segment.sum_bits, chunk.elements,
                         message.packed);
      if (!Tell(message)) return false;
      if (options_.behaviour == Behaviour::kDiesMasking) return false;
    }
    return true;
  }

  sitelink::Link& link_;
  const FakeTrainerOptions& options_;
  FakeTrainerLog* const log_;
  KeyPair launch_key_;
  Bytes model_;
  std::optional<sitelink::Prepare> prepared_;
};

// A thread in the place of mpirun.
class ThreadTrainer : public RunningTrainer {
 public:
  ThreadTrainer(FakeTrainerOptions options, FakeTrainerLog* log)
      : options_(std::move(options)), thread_([this, log] {
          code_ = RunFakeTrainer(options_, log);
          ended_ = true;
        }) {}
  ~ThreadTrainer() override { Stop(0); }
  pid_t pid() const override { return getpid(); }
  std::optional<int> Poll() override { return ended_ ? std::optional<int>(code_) : std::nullopt; }
  // The agent has closed the link, which ends the thread.
  void Stop(int) override {
    if (thread_.joinable()) thread_.join();
  }

 private:
  const FakeTrainerOptions options_;
  std::atomic<int> code_ = 0;
  std::atomic<bool> ended_ = false;
  std::thread thread_;
};

}  // namespace

int RunFakeTrainer(const FakeTrainerOptions& options, FakeTrainerLog* log) {
  auto link = sitelink::Connect(options.link, 5'000);
  if (!link.ok()) return 5;
  return Conversation(**link, options, log).Run();
}

int64_t FakeValue(uint32_t segment, uint64_t element) {
  if (segment == sitelink::kUpdateSegment) return static_cast<int64_t>(element % 7) - 3;
  constexpr int64_t kMetrics[sitelink::kMetricCount] = {10, 10, 2048, 7, 0, 1};
  return kMetrics[element];
}

absl::StatusOr<std::unique_ptr<RunningTrainer>> FakeLauncher::Launch(const LaunchSpec& spec) {
  const int launch = ++launches;
  ranks = spec.ranks;
  return std::make_unique<ThreadTrainer>(
      FakeTrainerOptions{spec.link, spec.ranks, 0,
                         behaviour ? behaviour(launch) : Behaviour::kGood},
      &log);
}

}  // namespace atl::site
