#include "federation/coordinator/early_sums.h"

#include <algorithm>
#include <utility>

#include "comms/base/log.h"
#include "comms/base/status.h"

namespace atl::coordinator {

EarlySums::EarlySums(store::VectorStore& vectors, uint32_t pass_vectors)
    : vectors_(vectors), pass_vectors_(std::max(pass_vectors, 1u)), thread_([this] { Run(); }) {}

EarlySums::~EarlySums() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    for (auto& [key, group] : groups_) group->stopped = true;
    changed_.notify_all();
  }
  thread_.join();
}

void EarlySums::Add(const SumEarly& vector) {
  std::lock_guard lock(mutex_);
  auto& group = groups_[{vector.id.job, vector.id.round, vector.id.slot, vector.group}];
  if (group == nullptr) {
    group = std::make_shared<Group>();
    group->segments = vector.segments;
  }
  if (!group->known.insert(vector.id.site).second) return;
  group->waiting.push_back(vector.id.site);
  changed_.notify_all();
}

PartialSums EarlySums::Take(const StartSum& task) {
  PartialSums sums;
  std::unique_lock lock(mutex_);
  for (const SumGroup& wanted : task.groups) {
    sums.emplace_back();
    auto found = groups_.extract({task.job, task.round, task.slot, wanted.number});
    if (found.empty()) continue;
    const std::shared_ptr<Group> group = std::move(found.mapped());
    group->stopped = true;
    changed_.wait(lock, [&] { return !group->busy; });
    const bool is_good = !group->failed && group->sum != nullptr &&
                         group->segments == task.segments && group->sum->IsWithin(wanted.survivors);
    if (is_good) sums.back() = std::move(group->sum);
  }
  return sums;
}

void EarlySums::Forget(JobId job, RoundId round, SlotId slot) {
  std::lock_guard lock(mutex_);
  std::erase_if(groups_, [&](const auto& item) {
    const Key& key = item.first;
    if (key.job != job || key.round != round || key.slot != slot) return false;
    item.second->stopped = true;
    return true;
  });
  changed_.notify_all();
}

void EarlySums::WaitUntilIdle() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] {
    return !busy_ && std::none_of(groups_.begin(), groups_.end(),
                                  [this](const auto& item) { return IsDue(*item.second); });
  });
}

void EarlySums::Run() {
  std::unique_lock lock(mutex_);
  while (true) {
    auto due = groups_.end();
    changed_.wait(lock, [&] {
      due = std::find_if(groups_.begin(), groups_.end(),
                         [this](const auto& item) { return IsDue(*item.second); });
      return stopping_ || due != groups_.end();
    });
    if (stopping_) return;
    const Key key = due->first;
    const std::shared_ptr<Group> group = due->second;
    const std::vector<SiteId> sites = std::exchange(group->waiting, {});
    group->busy = busy_ = true;
    lock.unlock();
    const absl::Status added = AddPass(key, sites, *group);
    lock.lock();
    group->busy = busy_ = false;
    if (!added.ok() && !absl::IsCancelled(added)) {
      spdlog::warn("job {}, round {}: vectors are not added up before the last one is there: {}",
                   key.job.value(), key.round.value(), ToString(added));
      group->failed = true;
      group->sum.reset();
    }
    changed_.notify_all();
  }
}

absl::Status EarlySums::AddPass(const Key& key, const std::vector<SiteId>& sites, Group& group) {
  if (group.sum == nullptr) {
    ATOLL_ASSIGN_OR_RETURN(group.sum, PartialSum::Create(group.segments, vectors_));
  }
  ATOLL_ASSIGN_OR_RETURN(const std::vector<SiteVector> opened,
                         OpenVectors({key.job, key.round, key.slot, SiteId(0)}, sites,
                                     kernels::VectorLayout(group.segments), vectors_));
  return group.sum->Add(opened, [&] { return group.stopped.load(); });
}

}  // namespace atl::coordinator
