#include "federation/coordinator/connections.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "comms/base/log.h"

namespace atl::coordinator {

void Connection::Push(v1::CoordinatorMessage message) {
  std::lock_guard lock(mutex_);
  if (closed_) return;
  bytes_ += message.ByteSizeLong();
  queue_.push_back(std::move(message));
  if (queue_.size() > kMaxMessages || bytes_ > kMaxBytes) {
    spdlog::warn("site {} does not read its messages: its connection is closed", site_.value());
    CloseLocked();
  }
  changed_.notify_one();
}

bool Connection::Pop(v1::CoordinatorMessage& message) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return closed_ || !queue_.empty(); });
  if (closed_) return false;
  message = std::move(queue_.front());
  queue_.pop_front();
  bytes_ -= std::min(bytes_, message.ByteSizeLong());
  return true;
}

void Connection::Close() {
  std::lock_guard lock(mutex_);
  CloseLocked();
}

void Connection::CloseLocked() {
  closed_ = true;
  queue_.clear();
  bytes_ = 0;
  if (cancel_) cancel_();
  changed_.notify_all();
}

void Connection::Detach() {
  std::lock_guard lock(mutex_);
  cancel_ = nullptr;
  closed_ = true;
  changed_.notify_all();
}

void Connections::Put(std::shared_ptr<Connection> connection) {
  std::shared_ptr<Connection> old;
  {
    std::lock_guard lock(mutex_);
    old = std::exchange(connections_[connection->site()], std::move(connection));
  }
  if (old != nullptr) old->Close();
}

bool Connections::Remove(const Connection& connection) {
  std::lock_guard lock(mutex_);
  const auto at = connections_.find(connection.site());
  if (at == connections_.end() || at->second.get() != &connection) return false;
  connections_.erase(at);
  return true;
}

bool Connections::Has(SiteId site) const {
  std::lock_guard lock(mutex_);
  return connections_.contains(site);
}

void Connections::Send(SiteId to, v1::CoordinatorMessage message) {
  std::shared_ptr<Connection> connection;
  {
    std::lock_guard lock(mutex_);
    if (const auto at = connections_.find(to); at != connections_.end()) connection = at->second;
  }
  if (connection != nullptr) connection->Push(std::move(message));
}

void Connections::SendToAll(const v1::CoordinatorMessage& message) {
  std::map<SiteId, std::shared_ptr<Connection>> all;
  {
    std::lock_guard lock(mutex_);
    all = connections_;
  }
  for (auto& [site, connection] : all) connection->Push(message);
}

void Connections::CloseAll() {
  std::map<SiteId, std::shared_ptr<Connection>> all;
  {
    std::lock_guard lock(mutex_);
    all = connections_;
  }
  for (auto& [site, connection] : all) connection->Close();
}

}  // namespace atl::coordinator
