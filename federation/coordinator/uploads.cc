#include "federation/coordinator/uploads.h"

#include <chrono>

namespace atl::coordinator {

void Uploads::Open(const AllowUpload& allowed) {
  std::lock_guard lock(mutex_);
  std::shared_ptr<Admission>& entry = open_[allowed.id];
  if (entry != nullptr && entry->allowed.root == allowed.root) return;
  if (entry != nullptr) entry->open = false;
  entry = std::make_shared<Admission>();
  entry->allowed = allowed;
  changed_.notify_all();
}

void Uploads::Close(JobId job, RoundId round, SlotId slot) {
  std::lock_guard lock(mutex_);
  std::erase_if(open_, [&](const auto& item) {
    const store::VectorId& id = item.first;
    if (id.job != job || id.round != round || id.slot != slot) return false;
    item.second->open = false;
    return true;
  });
}

void Uploads::CloseAll() {
  std::lock_guard lock(mutex_);
  closed_ = true;
  for (auto& [id, admission] : open_) admission->open = false;
  open_.clear();
  changed_.notify_all();
}

std::shared_ptr<Admission> Uploads::Find(const store::VectorId& id, int timeout_ms) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, std::chrono::milliseconds(timeout_ms),
                    [&] { return closed_ || open_.contains(id); });
  const auto at = open_.find(id);
  return at == open_.end() ? nullptr : at->second;
}

}  // namespace atl::coordinator
