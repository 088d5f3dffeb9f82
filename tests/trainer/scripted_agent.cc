#include "tests/trainer/scripted_agent.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <fstream>
#include <iterator>
#include <sstream>
#include <thread>

namespace atl::trainer {
namespace {

// Fields of /proc/PID/stat behind the program's name; empty when there is no such process.
std::vector<std::string> StatOf(uint32_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string line;
  std::getline(file, line);
  size_t name_end = line.rfind(')');
  if (name_end == std::string::npos) return {};
  std::istringstream rest(line.substr(name_end + 1));
  return {std::istream_iterator<std::string>(rest), {}};
}

// A dead rank may wait for whoever adopted it to be reaped; it no longer runs.
bool Runs(uint32_t pid) {
  std::vector<std::string> fields = StatOf(pid);
  return !fields.empty() && fields[0] != "Z" && fields[0] != "X";
}

}  // namespace

ScriptedAgent::ScriptedAgent(int ranks, const std::string& recipe_yaml, uint64_t parameters,
                             uint32_t site_index, uint32_t site_count)
    : folder_(std::make_unique<TemporaryFolder>(*TemporaryFolder::Create("atoll-agent"))),
      listener_(*sitelink::ListenUnix(folder_->path().string(), "trainer")) {
  auto job = MpiJob::Start(folder_->path(), ranks, {"serve", "--link", listener_->address()});
  EXPECT_TRUE(job.ok()) << job.status();
  if (!job.ok()) return;
  job_ = std::make_unique<MpiJob>(*std::move(job));
  auto link = listener_->Accept(60'000);
  EXPECT_TRUE(link.ok()) << link.status() << "\n" << job_->output();
  if (!link.ok()) return;
  link_ = *std::move(link);
  hello_ = Expect<sitelink::Hello>();
  EXPECT_EQ(hello_.ranks, static_cast<uint32_t>(ranks));
  Send(sitelink::Setup{recipe_yaml, site_index, site_count, parameters});
}

void ScriptedAgent::SendModel(const std::vector<float>& values) {
  for (uint64_t first = 0; first < values.size(); first += kernels::kChunkElements) {
    uint64_t count = std::min<uint64_t>(kernels::kChunkElements, values.size() - first);
    sitelink::ModelChunk chunk{static_cast<uint32_t>(first / kernels::kChunkElements),
                               Bytes(count * sizeof(float))};
    std::memcpy(chunk.values.data(), values.data() + first, chunk.values.size());
    Send(chunk);
  }
}

sitelink::Frame ScriptedAgent::Next() {
  while (true) {
    auto frame = link_->Receive(60'000);
    if (!frame.ok()) return {};
    if (frame->type != static_cast<uint16_t>(sitelink::MessageType::kProgress))
      return *std::move(frame);
    EXPECT_TRUE(sitelink::Decode<sitelink::Progress>(frame->payload).ok());
    ++progress_count_;
  }
}

void ScriptedAgent::CheckType(const sitelink::Frame& frame, uint16_t type) {
  std::string text;
  if (frame.type == static_cast<uint16_t>(sitelink::MessageType::kFailure)) {
    auto failure = sitelink::Decode<sitelink::Failure>(frame.payload);
    if (failure.ok()) text = failure->message;
  }
  EXPECT_EQ(frame.type, type) << text;
}

Bytes ScriptedAgent::ReceiveVector(const kernels::VectorLayout& layout) {
  Bytes vector;
  for (uint32_t index = 0; index < layout.chunk_count(); ++index) {
    auto chunk = Expect<sitelink::MaskedChunk>();
    EXPECT_EQ(chunk.index, index);
    EXPECT_EQ(chunk.packed.size(), layout.chunk(index).bytes);
    vector.insert(vector.end(), chunk.packed.begin(), chunk.packed.end());
  }
  masked_ = Expect<sitelink::Masked>();
  return vector;
}

bool ScriptedAgent::RanksEnd(int timeout_ms) const {
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms);
  while (std::any_of(hello_.pids.begin(), hello_.pids.end(), Runs)) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return true;
}

int ScriptedAgent::WaitForEnd(int timeout_ms) {
  auto code = job_->process().Wait(timeout_ms);
  EXPECT_TRUE(code.ok()) << code.status() << "\n" << job_->output();
  for (uint32_t pid : hello_.pids) {
    EXPECT_FALSE(Runs(pid)) << "rank with process id " << pid << " still runs";
  }
  EXPECT_TRUE(job_->Leftovers().empty()) << job_->Leftovers().front();
  return code.ok() ? *code : -1;
}

double ScriptedAgent::CpuSeconds() const {
  double ticks = 0;
  for (uint32_t pid : hello_.pids) {
    std::vector<std::string> fields = StatOf(pid);
    if (fields.size() > 12) ticks += std::stod(fields[11]) + std::stod(fields[12]);
  }
  return ticks / static_cast<double>(sysconf(_SC_CLK_TCK));
}

}  // namespace atl::trainer
