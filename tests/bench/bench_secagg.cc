// bench_secagg --coordinates 100000000 --sites 64: what one round of secure aggregation costs a
// site and the coordinator, through the functions that a real round calls. See README.md.
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>

#include "absl/strings/str_cat.h"
#include "comms/base/files.h"
#include "comms/base/status.h"
#include "comms/sitelink/messages.h"
#include "kernels/masks.h"
#include "tests/bench/secagg_round.h"

namespace atl::bench {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

struct Options {
  RoundOptions round;
  std::string flower;  // a Python that has flwr; empty: without
  uint64_t flower_coordinates = 8'000'000;
  bool json = false;
};

// Runs `work` in a child process, whose memory is its own, and gives what it returns. INTERNAL when
// the child dies.
absl::StatusOr<json> InChild(const fs::path& answer,
                             const std::function<absl::StatusOr<json>()>& work) {
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child < 0) return absl::UnavailableError("cannot fork");
  if (child == 0) {
    absl::StatusOr<json> result = work();
    const json out = result.ok() ? *result : json{{"error", ToString(result.status())}};
    _exit(WriteFileAtomic(answer, AsBytes(out.dump())).ok() ? 0 : 1);
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
    return absl::InternalError(absl::StrCat("a measuring process ended with status ", status));
  ATOLL_ASSIGN_OR_RETURN(const Bytes bytes, ReadFile(answer, 64 << 20));
  json result = json::parse(bytes.begin(), bytes.end());
  if (result.contains("error")) return absl::InternalError(result["error"].get<std::string>());
  return result;
}

json ToJson(const SiteFigures::Cost& cost) { return {cost.least, cost.median}; }

json ToJson(const SiteFigures& site) {
  json roots = json::array();
  for (const Digest& root : site.roots) roots.push_back(Hex(root));
  return {{"clip", ToJson(site.clip)},
          {"quantise_pack", ToJson(site.quantise_pack)},
          {"mask", ToJson(site.mask)},
          {"whole", ToJson(site.whole)},
          {"critical_one_core", ToJson(site.critical_one_core)},
          {"critical", ToJson(site.critical)},
          {"ahead", site.ahead},
          {"hash", site.hash},
          {"stage", site.stage},
          {"stage_wall", site.stage_wall},
          {"send", site.send},
          {"peak_mib", site.peak_mib},
          {"peak_ahead_mib", site.peak_ahead_mib},
          {"roots", roots}};
}

json ToJson(const CoordinatorFigures& coordinator) {
  json sums = json::array();
  for (const SumFigures& sum : coordinator.sums) {
    sums.push_back({{"core_s", sum.core_s},
                    {"core_median_s", sum.core_median_s},
                    {"wall_s", sum.wall_s},
                    {"sum", Hex(sum.sum)}});
  }
  return {{"sums", sums},
          {"early", coordinator.early},
          {"after_early_core_s", coordinator.after_early.core_s},
          {"after_early_wall_s", coordinator.after_early.wall_s},
          {"peak_mib", coordinator.peak_mib},
          {"step", coordinator.step}};
}

absl::Status CheckDisk(const RoundOptions& options, const fs::path& folder) {
  const kernels::VectorLayout layout(ShapeOf(options).segments);
  const uint64_t model = sizeof(float) * options.coordinates;
  const uint64_t needed = options.sites * layout.packed_bytes() +
                          3 * (layout.packed_bytes() + model) + (uint64_t{1} << 30);
  const uint64_t available = fs::space(folder).available;
  if (available >= needed) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrCat(folder.string(), ": ", available >> 20, " MiB are free, ", needed >> 20,
                   " are needed for the sites' vectors: set TMPDIR to a larger disk"));
}

// The last line that Flower's side prints, a JSON object.
absl::StatusOr<json> RunFlower(const Options& options) {
  const std::string command =
      absl::StrCat("'", options.flower, "' '", BENCH_FOLDER, "/peers/flower_secagg.py' --sites ",
                   options.round.sites, " --coordinates ", options.flower_coordinates);
  FILE* pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) return absl::UnavailableError(absl::StrCat("cannot run: ", command));
  std::string text;
  std::array<char, 4096> buffer;
  while (size_t got = fread(buffer.data(), 1, buffer.size(), pipe)) text.append(buffer.data(), got);
  const int status = pclose(pipe);
  json result = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (status != 0 || result.is_discarded())
    return absl::UnavailableError(absl::StrCat("ended with status ", status, ": ", command));
  return result;
}

// A time of Flower's for all coordinates: what grows with them is scaled, the rest is as it is.
double Scaled(const json& cost, const Options& options) {
  const double factor = static_cast<double>(options.round.coordinates) /
                        static_cast<double>(options.flower_coordinates);
  return cost["per_vector_s"].get<double>() * factor + cost["constant_s"].get<double>();
}

absl::StatusOr<json> Run(const Options& options) {
  const RoundOptions& round = options.round;
  ATOLL_ASSIGN_OR_RETURN(const TemporaryFolder folder, TemporaryFolder::Create("bench-secagg-"));
  ATOLL_RETURN_IF_ERROR(CheckDisk(round, folder.path()));
  ATOLL_ASSIGN_OR_RETURN(const store::BlobStore blobs,
                         store::BlobStore::Open(folder.path() / "blobs"));
  ATOLL_ASSIGN_OR_RETURN(const Digest model, WriteModel(round, blobs));
  const RoundShape shape = ShapeOf(round);
  const kernels::VectorLayout layout(shape.segments);
  ATOLL_ASSIGN_OR_RETURN(const auto cohort, Cohort::Create({.sites = round.sites,
                                                            .segments = shape.segments,
                                                            .model = model,
                                                            .clip_norm_l2 = shape.clip_norm_l2,
                                                            .weight_max = shape.weight_max}));
  const fs::path answer = folder.path() / "answer.json";
  ATOLL_ASSIGN_OR_RETURN(const json site, InChild(answer, [&]() -> absl::StatusOr<json> {
                           ATOLL_ASSIGN_OR_RETURN(const SiteFigures figures,
                                                  MeasureSite(round, *cohort, folder.path()));
                           return ToJson(figures);
                         }));
  for (uint32_t i = 0; i < round.sites; ++i) {
    Digest root{};
    const std::string hex = site["roots"][i];
    for (size_t k = 0; k < root.size(); ++k)
      root[k] = static_cast<uint8_t>(std::stoi(hex.substr(2 * k, 2), nullptr, 16));
    ATOLL_RETURN_IF_ERROR(cohort->Commit(SiteId(i + 1), layout.packed_bytes(), root));
  }
  // No more than a third drops without the round being aborted.
  const std::vector<uint32_t> dropped = {0, 1, round.sites - secagg::ThresholdFor(round.sites)};
  std::vector<Cohort::Unmasked> cases;
  for (uint32_t count : dropped) {
    ATOLL_ASSIGN_OR_RETURN(Cohort::Unmasked unmasked, cohort->Unmask(count));
    cases.push_back(std::move(unmasked));
  }
  const double unmask_s = cohort->UnmaskSeconds(), commit_s = cohort->CommitSeconds();
  const double setup_s = cohort->SetupSeconds();
  ATOLL_ASSIGN_OR_RETURN(
      const json coordinator, InChild(answer, [&]() -> absl::StatusOr<json> {
        ATOLL_ASSIGN_OR_RETURN(const CoordinatorFigures figures,
                               MeasureCoordinator(round, *cohort, model, cases, folder.path()));
        for (size_t i = 0; i < cases.size(); ++i) {
          ATOLL_RETURN_IF_ERROR(CheckSum(round, cases[i].survivors, figures.sums[i].sum, blobs));
        }
        return ToJson(figures);
      }));
  std::optional<json> flower;
  if (!options.flower.empty()) {
    ATOLL_ASSIGN_OR_RETURN(flower, RunFlower(options));
  }

  const double shares_s = setup_s + commit_s + unmask_s;
  const auto least = [&](const char* what) { return site[what][0].get<double>(); };
  // What is no part of sum and unmask, apart.
  const double step_s = coordinator["step"];
  const auto core = [&](size_t i) {
    return coordinator["sums"][i]["core_s"].get<double>() - step_s;
  };
  const double site_core_s = least("whole") + shares_s;
  const double critical_s = least("critical") + commit_s;
  json out = {
      {"coordinates", round.coordinates},
      {"sites", round.sites},
      {"lane_bits", 8 * shape.segments[sitelink::kUpdateSegment].lane_bytes()},
      {"site_core_s", site_core_s},
      {"site_critical_path_s", critical_s},
      {"coordinator_core_s", core(0)},
      {"coordinator_core_s_third_dropped", core(2)},
      {"site_peak_mib", site["peak_mib"]},
      {"coordinator_peak_mib", coordinator["peak_mib"]},
      {"flower_site_ratio", nullptr},
      {"flower_coordinator_ratio", nullptr},
      {"value_bits", round.value_bits},
      {"sum_bits", shape.segments[sitelink::kUpdateSegment].sum_bits},
      {"threads", round.threads},
      {"sum_checked", true},  // else this would not be printed
      {"mask_kernel", kernels::MaskKernelName()},
      {"site_core_median_s", site["whole"][1].get<double>() + shares_s},
      {"site_clip_s", least("clip")},
      {"site_quantise_pack_s", least("quantise_pack")},
      {"site_mask_s", least("mask")},
      {"site_keys_and_shares_s", setup_s},
      {"site_commit_steps_s", commit_s},
      {"site_unmask_steps_s", unmask_s},
      {"site_hash_s", site["hash"]},
      {"site_stage_core_s", site["stage"]},
      {"site_stage_wall_s", site["stage_wall"]},
      {"site_send_core_s", site["send"]},
      {"site_ahead_core_s", site["ahead"]},
      {"site_critical_path_one_core_s", least("critical_one_core") + commit_s},
      {"site_peak_ahead_mib", site["peak_ahead_mib"]},
      {"coordinator_core_s_one_dropped", core(1)},
      {"coordinator_core_median_s",
       {coordinator["sums"][0]["core_median_s"].get<double>() - step_s,
        coordinator["sums"][1]["core_median_s"].get<double>() - step_s,
        coordinator["sums"][2]["core_median_s"].get<double>() - step_s}},
      {"coordinator_wall_s",
       {coordinator["sums"][0]["wall_s"], coordinator["sums"][1]["wall_s"],
        coordinator["sums"][2]["wall_s"]}},
      {"coordinator_early_core_s", coordinator["early"]},
      {"coordinator_core_s_after_early", coordinator["after_early_core_s"].get<double>() - step_s},
      {"coordinator_wall_s_after_early", coordinator["after_early_wall_s"]},
      {"coordinator_secrets_s", {cases[0].core_s, cases[1].core_s, cases[2].core_s}},
      {"coordinator_step_core_s", step_s},
      {"third_dropped", dropped[2]},
  };
  if (flower) {
    const double flower_site = Scaled((*flower)["site"], options);
    const double flower_coordinator = Scaled((*flower)["coordinator"], options);
    out["flower_coordinates"] = options.flower_coordinates;
    out["flower_version"] = (*flower)["version"];
    out["flower_site_core_s"] = flower_site;
    out["flower_coordinator_core_s"] = flower_coordinator;
    out["flower_site_ratio"] = flower_site / site_core_s;
    out["flower_critical_path_ratio"] = flower_site / critical_s;
    out["flower_coordinator_ratio"] = flower_coordinator / core(1);
  }
  return out;
}

void PrintTable(const json& r) {
  const auto number = [&](const char* key) { return r[key].get<double>(); };
  const auto row = [&](const char* what, double value, const char* unit = "core-s") {
    std::printf("  %-58s %9.4f %s\n", what, value, unit);
  };
  std::printf("%.0f coordinates, %.0f sites, %.0f value bits in lanes of %.0f, masks by %s\n",
              number("coordinates"), number("sites"), number("value_bits"), number("lane_bits"),
              r["mask_kernel"].get<std::string>().c_str());
  std::printf("a site, one core\n");
  row("clip: the update's norm", number("site_clip_s"));
  row("quantise, pack", number("site_quantise_pack_s"));
  row("mask", number("site_mask_s"));
  row("keys and shares, ahead of the round", number("site_keys_and_shares_s"));
  row("ready, stream keys, commit", number("site_commit_steps_s"));
  row("survivors, unmask", number("site_unmask_steps_s"));
  row("the whole", number("site_core_s"));
  row("the whole, median", number("site_core_median_s"));
  row("apart: hashing", number("site_hash_s"));
  row("apart: storing it, hashed and synced", number("site_stage_core_s"));
  row("  the same, by the clock", number("site_stage_wall_s"), "s");
  row("apart: sending, to a local socket", number("site_send_core_s"));
  row("masks expanded ahead, while it trains", number("site_ahead_core_s"));
  row("critical path then, one core", number("site_critical_path_one_core_s"), "s");
  row("critical path then, all threads", number("site_critical_path_s"), "s");
  row("peak memory over both models", number("site_peak_mib"), "MiB");
  row("the same with masks ahead", number("site_peak_ahead_mib"), "MiB");
  std::printf("the coordinator, %.0f threads: secrets, sum, unmask\n", number("threads"));
  row("0 dropped", number("coordinator_core_s"));
  row("1 dropped", number("coordinator_core_s_one_dropped"));
  row(absl::StrCat(r["third_dropped"].get<int>(), " dropped").c_str(),
      number("coordinator_core_s_third_dropped"));
  row("1 dropped, median", r["coordinator_core_median_s"][1]);
  row("0 dropped, by the clock, all of it", r["coordinator_wall_s"][0], "s");
  row("1 dropped, by the clock, all of it", r["coordinator_wall_s"][1], "s");
  row("  what is left of it where vectors came one by one",
      number("coordinator_wall_s_after_early"), "s");
  row("  cores for that", number("coordinator_core_s_after_early"));
  row("  cores before, while they came", number("coordinator_early_core_s"));
  row("apart: the server's step, hashing, writing", number("coordinator_step_core_s"));
  row("peak memory over idle", number("coordinator_peak_mib"), "MiB");
  if (r["flower_site_ratio"].is_null()) return;
  std::printf("Flower %s, SecAgg+, one core, %.0f coordinates scaled to these\n",
              r["flower_version"].get<std::string>().c_str(), number("flower_coordinates"));
  row("a client", number("flower_site_core_s"));
  row("the server, 1 dropped", number("flower_coordinator_core_s"));
  row("client: times a site's whole cost", number("flower_site_ratio"), "");
  row("client: times a site's critical path", number("flower_critical_path_ratio"), "");
  row("server: times the coordinator's cost", number("flower_coordinator_ratio"), "");
}

int Main(int argc, char** argv) {
  Options options;
  options.round.threads = std::max(1u, std::thread::hardware_concurrency());
  CLI::App app("What a round of secure aggregation costs a site and the coordinator");
  app.add_option("--coordinates", options.round.coordinates, "of the update")
      ->required()
      ->check(CLI::Range(uint64_t{1}, uint64_t{16'000'000'000}));
  app.add_option("--sites", options.round.sites, "of the cohort")
      ->required()
      ->check(CLI::Range(3u, secagg::kMaxSites));
  app.add_option("--value-bits", options.round.value_bits, "of a quantised value")
      ->check(CLI::Range(4u, 32u))
      ->capture_default_str();
  app.add_option("--threads", options.round.threads,
                 "of the coordinator's sum and of a site's critical path")
      ->check(CLI::Range(1u, 16u))
      ->capture_default_str();
  app.add_option("--repeats", options.round.repeats, "of each measurement; the least counts")
      ->check(CLI::Range(1, 100))
      ->capture_default_str();
  app.add_option("--flower", options.flower, "a Python that has Flower: scripts/setup --peers");
  app.add_option("--flower-coordinates", options.flower_coordinates, "that Flower is given")
      ->check(CLI::Range(uint64_t{1000}, uint64_t{1'000'000'000}))
      ->capture_default_str();
  app.add_flag("--json", options.json, "print one JSON object");
  CLI11_PARSE(app, argc, argv);
  const absl::StatusOr<json> result = Run(options);
  if (!result.ok()) {
    std::fprintf(stderr, "bench_secagg: %s\n", ToString(result.status()).c_str());
    return 1;
  }
  if (options.json) {
    std::printf("%s\n", result->dump(2).c_str());
  } else {
    PrintTable(*result);
  }
  return 0;
}

}  // namespace
}  // namespace atl::bench

int main(int argc, char** argv) { return atl::bench::Main(argc, argv); }
