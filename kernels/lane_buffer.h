// Memory for lanes and packed fields: up to hundreds of MiB that are written from end to end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace atl::kernels {

// Not initialised, on a cache line, and in huge pages where the system gives them on request: a
// vector's zeros and page faults take as long as quantising, and streams are added a fifth slower
// where lanes lie across cache lines. Move-only.
class LaneBuffer {
 public:
  LaneBuffer() = default;
  explicit LaneBuffer(size_t size);

  uint8_t* data() { return data_.get(); }
  const uint8_t* data() const { return data_.get(); }
  size_t size() const { return size_; }
  uint8_t* begin() { return data(); }
  uint8_t* end() { return data() + size_; }
  const uint8_t* begin() const { return data(); }
  const uint8_t* end() const { return data() + size_; }

 private:
  struct Free {
    void operator()(uint8_t* data) const;
  };
  std::unique_ptr<uint8_t, Free> data_;
  size_t size_ = 0;
};

}  // namespace atl::kernels
