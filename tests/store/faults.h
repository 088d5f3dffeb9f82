// Full disks, crashes and damaged files for tests.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

namespace atl::store {

inline constexpr int kCannotMount = 77;

// The exit code of `body` in a forked child; 100 + signal when one ended it. The child has 60 s.
int InChild(const std::function<int()>& body);

// InChild with a tmpfs of `kib` KiB on `folder`, in a mount namespace of the child's own, so that
// nothing stays mounted. kCannotMount where that is not allowed.
int OnTinyDisk(const std::filesystem::path& folder, int kib, const std::function<int()>& body);

// InChild with files limited to `bytes` (RLIMIT_FSIZE): what a quota looks like, also without root.
int WithFileLimit(uint64_t bytes, const std::function<int()>& body);

// Forks `body`, which is given a function to acknowledge numbers with, kills it with SIGKILL after
// `us` microseconds, and gives the last number that it acknowledged (0: none).
uint64_t KillAfter(int us, const std::function<void(const std::function<void(uint64_t)>&)>& body);

// ATOLL_TEST_SEED, or a new one; printed, so that a failing run can be replayed.
uint64_t TestSeed();

// Flips one bit of the file's byte at `offset`.
void FlipBit(const std::filesystem::path& path, uint64_t offset);
// True when the file's bytes contain `text`.
bool FileContains(const std::filesystem::path& path, const std::string& text);

}  // namespace atl::store
