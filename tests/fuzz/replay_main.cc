// The main of a fuzzer that is built as an ordinary test: runs its own seeds and every file of the
// folders and files it is given.
//
//   fuzz_NAME PATH...           exit code 1 when a path holds no input
//   fuzz_NAME --seeds FOLDER    writes the seeds there, named by their digests
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "comms/base/crypto/sha256.h"
#include "comms/base/files.h"
#include "tests/fuzz/fuzz.h"

namespace fs = std::filesystem;

namespace {

constexpr uint64_t kMaxInput = 16 << 20;

int WriteSeeds(const fs::path& folder) {
  for (const atl::Bytes& seed : atl::fuzz::Seeds()) {
    const std::string name = atl::Hex(atl::Sha256::Of(seed)).substr(0, 16);
    if (const auto status = atl::WriteFileAtomic(folder / name, seed); !status.ok()) {
      std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
      return 1;
    }
  }
  return 0;
}

int Replay(const fs::path& path) {
  const auto bytes = atl::ReadFile(path, kMaxInput);
  if (!bytes.ok()) {
    std::fprintf(stderr, "%s\n", std::string(bytes.status().message()).c_str());
    return 0;
  }
  // Said before it is run: the last name is the one that a crash is about.
  std::fprintf(stderr, "%s\n", path.c_str());
  LLVMFuzzerTestOneInput(bytes->data(), bytes->size());
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 3 && std::string(argv[1]) == "--seeds") return WriteSeeds(argv[2]);
  for (const atl::Bytes& seed : atl::fuzz::Seeds()) {
    LLVMFuzzerTestOneInput(seed.data(), seed.size());
  }
  LLVMFuzzerTestOneInput(nullptr, 0);
  for (int i = 1; i < argc; ++i) {
    std::vector<fs::path> files;
    if (fs::is_directory(argv[i])) {
      for (const auto& entry : fs::directory_iterator(argv[i])) files.push_back(entry.path());
      std::sort(files.begin(), files.end());
    } else {
      files.push_back(argv[i]);
    }
    int inputs = 0;
    for (const fs::path& file : files) inputs += Replay(file);
    if (inputs == 0) {
      std::fprintf(stderr, "%s: no input to replay\n", argv[i]);
      return 1;
    }
  }
  return 0;
}
