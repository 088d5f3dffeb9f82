#include "federation/coordinator/watchers.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace atl::coordinator {

Watcher::News Watcher::Wait(int timeout_ms) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, std::chrono::milliseconds(timeout_ms), [this] {
    return stopped_ || more_in_log_ || !progress_.empty() || !trace_.empty();
  });
  News news;
  news.stopped = stopped_;
  news.more_in_log = std::exchange(more_in_log_, false);
  for (auto& [site, event] : progress_) news.progress.push_back(std::move(event));
  progress_.clear();
  news.trace.swap(trace_);
  news.trace_lost = std::exchange(trace_lost_, 0);
  return news;
}

std::shared_ptr<Watcher> Watchers::Add(JobId job, bool traces) {
  std::lock_guard lock(mutex_);
  if (stopped_ || watchers_.size() >= kMax) return nullptr;
  auto watcher = std::make_shared<Watcher>();
  watcher->traces_ = traces;
  watchers_.emplace(job, watcher);
  return watcher;
}

void Watchers::Remove(JobId job, const std::shared_ptr<Watcher>& watcher) {
  std::lock_guard lock(mutex_);
  std::erase_if(watchers_, [&](const auto& item) { return item.second == watcher; });
}

void Watchers::MoreInLog(JobId job) {
  std::lock_guard lock(mutex_);
  const auto [begin, end] = watchers_.equal_range(job);
  for (auto at = begin; at != end; ++at) {
    std::lock_guard watcher_lock(at->second->mutex_);
    at->second->more_in_log_ = true;
    at->second->changed_.notify_all();
  }
}

void Watchers::Progress(JobId job, const v1::JobEvent& event) {
  std::lock_guard lock(mutex_);
  const auto [begin, end] = watchers_.equal_range(job);
  for (auto at = begin; at != end; ++at) {
    std::lock_guard watcher_lock(at->second->mutex_);
    at->second->progress_[event.progress().site_id()] = event;
    at->second->changed_.notify_all();
  }
}

bool Watchers::IsTraced(JobId job) {
  std::lock_guard lock(mutex_);
  const auto [begin, end] = watchers_.equal_range(job);
  return std::any_of(begin, end, [](const auto& item) { return item.second->traces_; });
}

void Watchers::Trace(JobId job, const v1::JobEvent& event) {
  std::lock_guard lock(mutex_);
  const auto [begin, end] = watchers_.equal_range(job);
  for (auto at = begin; at != end; ++at) {
    Watcher& watcher = *at->second;
    if (!watcher.traces_) continue;
    std::lock_guard watcher_lock(watcher.mutex_);
    if (watcher.trace_.size() < kMaxTrace) {
      watcher.trace_.push_back(event);
    } else {
      ++watcher.trace_lost_;
    }
    watcher.changed_.notify_all();
  }
}

void Watchers::StopAll() {
  std::lock_guard lock(mutex_);
  stopped_ = true;
  for (auto& [job, watcher] : watchers_) {
    std::lock_guard watcher_lock(watcher->mutex_);
    watcher->stopped_ = true;
    watcher->changed_.notify_all();
  }
}

}  // namespace atl::coordinator
