// The `atoll` program: flags to options, one function a command.
#include <unistd.h>

#include <cstdio>
#include <functional>

#include "CLI/CLI.hpp"
#include "comms/base/log.h"
#include "comms/base/process.h"
#include "comms/base/status.h"
#include "federation/cli/commands.h"
#include "federation/cli/run.h"
#include "federation/coordinator/coordinator_main.h"
#include "federation/site/site_main.h"

namespace atl::cli {
namespace {

using Command = std::function<int()>;

int Fail(const char* command, const absl::Status& status) {
  std::fprintf(stderr, "atoll %s: %s\n", command, std::string(status.message()).c_str());
  return 1;
}

void AddLogFlags(CLI::App& app, LogOptions& log) {
  app.add_flag("--log-json", log.json, "log JSON lines");
  app.add_option("--log-level", log.level, "trace, debug, info, warn, error or off")
      ->capture_default_str();
  app.add_option("--log-file", log.file, "log to this file (default: standard error)");
}

void AddRun(CLI::App& app, Command& command) {
  auto options = std::make_shared<RunOptions>();
  CLI::App* run = app.add_subcommand("run", "Run a recipe as a federation on this machine");
  run->add_option("recipe", options->recipe, "recipe (task.yaml)")->required();
  run->add_option("--set", options->overrides, "override a value: --set train.lr=0.1 (repeatable)")
      ->take_all();
  run->add_option("--out", options->out, "folder for runs (default: the recipe's output.folder)");
  run->add_option("--port", options->port,
                  "port of the coordinator on 127.0.0.1 (default: a free one)")
      ->check(CLI::Range(0, 65535));
  run->add_flag("--quiet", options->quiet, "print only the table at the end");
  run->add_flag("--json", options->json,
                "print the summary as one JSON document, and nothing else, on standard output");
  run->add_flag(
      "--trace", options->trace,
      "print every message of secure aggregation: who, to whom, which step, what it says");
  run->add_flag("--keep-work", options->keep_work,
                "keep the run's work folder: keys, databases, blobs");
  run->callback([&command, options] { command = [options] { return RunRecipe(*options); }; });
}

void AddCoordinator(CLI::App& app, Command& command) {
  struct Flags {
    coordinator::CoordinatorMainOptions options;
    LogOptions log;
    pid_t parent = 0;
  };
  auto flags = std::make_shared<Flags>();
  CLI::App* sub = app.add_subcommand(
      "coordinator", "Serve as coordinator: schedule jobs and add up masked updates");
  sub->add_option("--listen", flags->options.listen,
                  "address to listen on; only loopback, since there is no TLS yet")
      ->capture_default_str();
  sub->add_option("--data", flags->options.data_folder, "folder for jobs, events and blobs")
      ->required();
  sub->add_option("--roster", flags->options.roster_file, "signed roster of the sites")->required();
  sub->add_option("--reconnect-grace-s", flags->options.reconnect_grace_s,
                  "seconds a closed connection is waited for, in place of the recipe's")
      ->check(CLI::Range(0, 86400));
  sub->add_option("--cohort-wait-s", flags->options.cohort_wait_s,
                  "seconds a job waits for its minimum cohort, in place of the recipe's")
      ->check(CLI::Range(0, 604800));
  sub->add_option("--sum-threads", flags->options.sum_threads,
                  "threads that add up a round's vectors; 0: one a core, 16 at most")
      ->check(CLI::Range(0u, coordinator::kSumThreadsMax))
      ->capture_default_str();
  sub->add_option("--ready-file", flags->options.ready_file,
                  "write the address to this file (JSON) once it listens");
  sub->add_option("--die-with-parent", flags->parent,
                  "end with the process of this id, which must be the parent");
  AddLogFlags(*sub, flags->log);
  sub->callback([&command, flags] {
    command = [flags] {
      if (flags->parent != 0) DieWithParent(flags->parent);
      flags->log.program = "coordinator";
      absl::Status status = InitLogging(flags->log);
      if (status.ok()) status = coordinator::RunCoordinator(flags->options);
      return status.ok() ? 0 : Fail("coordinator", status);
    };
  });
}

void AddSite(CLI::App& app, Command& command) {
  struct Flags {
    site::SiteOptions options;
  };
  auto flags = std::make_shared<Flags>();
  site::SiteOptions& options = flags->options;
  CLI::App* sub = app.add_subcommand(
      "site", "Serve as a site's agent: train on this site's data, send masked updates");
  // Read as soon as it is met, while flags take effect after parsing: they win wherever they stand.
  sub->add_option_function<std::string>(
         "--file",
         [flags](const std::string& file) {
           absl::Status status = site::LoadSiteFile(file, flags->options);
           if (!status.ok()) throw CLI::ValidationError("--file", std::string(status.message()));
         },
         "site file (YAML); flags override it")
      ->trigger_on_parse();
  auto text = [&](const char* name, std::string& field, const char* doc) {
    return sub->add_option(name, field, doc);
  };
  text("--coordinator", options.coordinator, "coordinator's address, HOST:PORT");
  sub->add_option("--data", options.data_folder,
                  "folder for this site's state; only its owner may read it");
  sub->add_option("--log-folder", options.log_folder,
                  "folder for the trainer's output (default: logs/ under --data)");
  sub->add_option("--identity", options.identity_file,
                  "identity of this site (see: atoll keys new)");
  sub->add_option("--roster", options.roster_file, "signed roster of the sites");
  text("--operator-key", options.operator_key,
       "public key, in hex, that must have signed the roster");
  sub->add_option("--id", options.site_id, "id of this site in the roster");
  sub->add_option("--role", options.role, "site or evaluator")
      ->transform(CLI::CheckedTransformer(std::map<std::string, site::Role>{
          {"site", site::Role::kSite}, {"evaluator", site::Role::kEvaluator}}));
  sub->add_option("--trainer", options.trainer,
                  "path of atoll-trainer (default: beside this program)");
  sub->add_option("--cpus", options.cpus, "cores offered (default: the machine's)");
  sub->add_option("--memory-gb", options.memory_gb, "memory offered (default: the machine's)");
  sub->add_option("--cohort-min", options.floors.cohort_min,
                  "smallest cohort this site adds its update to")
      ->check(CLI::Range(2, 255));
  sub->add_flag("--allow-plain", options.floors.allow_plain,
                "take part in jobs without secure aggregation");
  sub->add_flag("--allow-two-of-three", options.floors.allow_two_of_three,
                "a threshold of 2 when 3 sites take part");
  sub->add_flag("--allow-two-sites", options.floors.allow_two_sites,
                "jobs of two sites, where each learns the other's");
  sub->add_option("--spot-check-chunks", options.spot_check_chunks,
                  "chunks of each sum that this site checks, drawn at random (default 8; 0: none)")
      ->check(CLI::Range(0, 65'536));
  sub->add_option("--die-with-parent", options.parent,
                  "end with the process of this id, which must be the parent");
  AddLogFlags(*sub, options.log);
  sub->callback([&command, flags] { command = [flags] { return site::RunSite(flags->options); }; });
}

void AddWhere(CLI::App& app, CoordinatorChoice& where) {
  auto* address =
      app.add_option("--coordinator", where.address, "coordinator's address, HOST:PORT");
  app.add_option("--run", where.run,
                 "folder of an `atoll run` (default: the newest live one under runs/)")
      ->excludes(address);
}

void AddJobCommands(CLI::App& app, Command& command) {
  struct Flags {
    CoordinatorChoice where;
    std::string recipe;
    std::vector<std::string> overrides;
    uint64_t job = 0;
    bool json = false, follow = false;
  };
  auto flags = std::make_shared<Flags>();
  CLI::App* submit =
      app.add_subcommand("submit", "Submit a recipe to a coordinator; prints the job's number");
  submit->add_option("recipe", flags->recipe, "recipe (task.yaml)")->required();
  submit->add_option("--set", flags->overrides, "override a value (repeatable)")->take_all();
  submit->callback([&command, flags] {
    command = [flags] { return Submit(flags->where, flags->recipe, flags->overrides); };
  });
  CLI::App* status =
      app.add_subcommand("status", "Show jobs and sites of a coordinator, or one job's rounds");
  status->add_option("job", flags->job, "job number (default: all)")->check(CLI::PositiveNumber);
  status->add_flag("--json", flags->json, "print JSON");
  status->callback([&command, flags] {
    command = [flags] { return ShowStatus(flags->where, flags->job, flags->json); };
  });
  CLI::App* logs = app.add_subcommand("logs", "Show a job's events");
  logs->add_option("job", flags->job, "job number (default: the newest)")
      ->check(CLI::PositiveNumber);
  logs->add_flag("-f,--follow", flags->follow, "go on until the job ends");
  logs->callback([&command, flags] {
    command = [flags] { return ShowLogs(flags->where, flags->job, flags->follow); };
  });
  CLI::App* cancel = app.add_subcommand("cancel", "Cancel a job");
  cancel->add_option("job", flags->job, "job number (default: the only one that is not over)")
      ->check(CLI::PositiveNumber);
  cancel->callback(
      [&command, flags] { command = [flags] { return Cancel(flags->where, flags->job); }; });
  for (CLI::App* sub : {submit, status, logs, cancel}) AddWhere(*sub, flags->where);
}

void AddRecipe(CLI::App& app, Command& command) {
  struct Flags {
    std::string recipe;
    std::vector<std::string> overrides;
  };
  auto flags = std::make_shared<Flags>();
  CLI::App* recipe = app.add_subcommand("recipe", "Look at a recipe without running it");
  recipe->require_subcommand(1);
  auto add = [&](const char* name, const char* doc,
                 int (*function)(const std::string&, const std::vector<std::string>&)) {
    CLI::App* sub = recipe->add_subcommand(name, doc);
    sub->add_option("recipe", flags->recipe, "recipe (task.yaml)")->required();
    sub->add_option("--set", flags->overrides, "override a value (repeatable)")->take_all();
    sub->callback([&command, flags, function] {
      command = [flags, function] { return function(flags->recipe, flags->overrides); };
    });
  };
  add("check", "Check a recipe; report all that is wrong with it", RecipeCheck);
  add("explain", "Show every value of the resolved recipe, where it came from and what it means",
      RecipeExplain);
}

void AddKeys(CLI::App& app, Command& command) {
  struct Flags {
    std::string file, out;
    std::vector<std::string> sites;
  };
  auto flags = std::make_shared<Flags>();
  CLI::App* keys = app.add_subcommand("keys", "Make identities and the roster of a federation");
  keys->require_subcommand(1);
  CLI::App* fresh = keys->add_subcommand(
      "new", "Make an identity (of a site or the operator); prints its public key");
  fresh->add_option("file", flags->file, "file for the secret; must not exist")->required();
  fresh->callback([&command, flags] { command = [flags] { return KeysNew(flags->file); }; });
  CLI::App* show = keys->add_subcommand("show", "Print the public key of an identity");
  show->add_option("file", flags->file, "identity file")->required();
  show->callback([&command, flags] { command = [flags] { return KeysShow(flags->file); }; });
  CLI::App* roster =
      keys->add_subcommand("roster", "Sign the roster of a federation as its operator");
  roster->add_option("--operator", flags->file, "the operator's identity file")->required();
  roster->add_option("--site", flags->sites, "ID:NAME:PUBLICKEY (repeatable)")
      ->required()
      ->take_all();
  roster->add_option("--out", flags->out, "file for the roster")->required();
  roster->callback([&command, flags] {
    command = [flags] { return KeysRoster(flags->file, flags->sites, flags->out); };
  });
}

int Main(int argc, char** argv) {
  CLI::App app("Atoll: federated and distributed training over sites that keep their data",
               "atoll");
  app.set_version_flag("--version", ATOLL_VERSION);
  app.require_subcommand(1);
  Command command;
  AddRun(app, command);
  AddSite(app, command);
  AddCoordinator(app, command);
  AddJobCommands(app, command);
  AddRecipe(app, command);
  AddKeys(app, command);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    int code = app.exit(error);  // prints help to stdout, errors to stderr
    return code == 0 ? 0 : 2;
  }
  return command();
}

}  // namespace
}  // namespace atl::cli

int main(int argc, char** argv) { return atl::cli::Main(argc, argv); }
