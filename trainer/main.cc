// atoll-trainer: one rank of a training job. Under mpirun or alone; under a site agent with
// `serve`.
#include <CLI/CLI.hpp>
#include <cstdlib>
#include <string>

#include "trainer/modes/modes.h"

namespace {

// Of several ranks only the first complains about its arguments; they all have the same.
bool IsFirstRank() {
  const char* rank = std::getenv("OMPI_COMM_WORLD_RANK");
  return rank == nullptr || std::string(rank) == "0";
}

int Run(int argc, char** argv) {
  using namespace atl::trainer;
  CLI::App app{
      "Trains a recipe's model.\n\n"
      "  mpirun -np 4 atoll-trainer RECIPE   data-parallel on 4 ranks, on the whole data set\n"
      "  atoll-trainer RECIPE                the same on one\n"
      "  atoll-trainer --resume DIR          goes on where a run was stopped or killed\n",
      "atoll-trainer"};
  app.footer(
      "Exit codes: 0 done, 1 failed (one line on stderr says why), 2 wrong arguments, 75 stopped "
      "by\n"
      "SIGTERM, SIGINT or SIGUSR1 with a checkpoint to go on from (a second one ends it at once).\n"
      "mpirun kills its ranks one second after a SIGTERM of its own: send it SIGUSR1, which it "
      "hands\n"
      "on to them.");
  StandaloneOptions standalone;
  // Not ->required(): the subcommands go without.
  app.add_option("recipe", standalone.recipe, "Recipe (task.yaml)")->option_text("RECIPE");
  app.add_option("--set", standalone.overrides, "Override a recipe's value")
      ->option_text("KEY=VALUE")
      ->allow_extra_args(false);
  app.add_option("--out", standalone.out,
                 "Folder for the results (default: <output folder>/<name>-<id>)")
      ->option_text("DIR");
  app.add_option("--resume", standalone.resume,
                 "Go on with the run in this folder, with its recipe if none is given")
      ->option_text("DIR")
      ->excludes("--out");
  app.add_flag("--quiet", standalone.quiet, "No lines on standard output");

  InitOptions init;
  CLI::App* init_command = app.add_subcommand("init", "Write a recipe's first model (no mpirun)");
  init_command->add_option("recipe", init.recipe, "Recipe (task.yaml)")
      ->option_text("RECIPE")
      ->required();
  init_command->add_option("--out", init.out, "Folder for model.safetensors and config.json")
      ->option_text("DIR")
      ->required();
  init_command->add_option("--set", init.overrides, "Override a recipe's value")
      ->option_text("KEY=VALUE")
      ->allow_extra_args(false);

  ExportOptions exported;
  CLI::App* export_command = app.add_subcommand(
      "export", "Write the model that trained parameters belong to, for other programs to load");
  export_command->add_option("recipe", exported.recipe, "Recipe (task.yaml)")
      ->option_text("RECIPE")
      ->required();
  export_command->add_option("--trained", exported.trained, "The parameters, as init writes them")
      ->option_text("FILE")
      ->required();
  export_command->add_option("--out", exported.out, "Folder for the model's files")
      ->option_text("DIR")
      ->required();
  export_command->add_option("--set", exported.overrides, "Override a recipe's value")
      ->option_text("KEY=VALUE")
      ->allow_extra_args(false);

  TokenizeOptions tokenize;
  CLI::App* tokenize_command = app.add_subcommand(
      "tokenize", "Write a recipe's texts as token shards, for data.dataset: tokens (no mpirun)");
  tokenize_command->add_option("recipe", tokenize.recipe, "Recipe (task.yaml)")
      ->option_text("RECIPE")
      ->required();
  tokenize_command->add_option("--out", tokenize.out, "Folder for the shards")
      ->option_text("DIR")
      ->required();
  tokenize_command->add_option("--set", tokenize.overrides, "Override a recipe's value")
      ->option_text("KEY=VALUE")
      ->allow_extra_args(false);

  ServeOptions serve;
  CLI::App* serve_command =
      app.add_subcommand("serve", "Serve a site agent (under mpirun; started by the agent)");
  serve_command->add_option("--link", serve.link, "Address of the site link")
      ->option_text("ADDRESS")
      ->required();
  app.require_subcommand(0, 1);

  try {
    app.parse(argc, argv);
    bool wants_recipe = app.get_subcommands().empty();
    if (wants_recipe && standalone.recipe.empty() && standalone.resume.empty())
      throw CLI::RequiredError("RECIPE");
  } catch (const CLI::ParseError& error) {
    bool asked_for_help = error.get_exit_code() == 0;
    if (IsFirstRank()) app.exit(error);
    return asked_for_help ? 0 : 2;
  }
  if (init_command->parsed()) return RunInit(init);
  if (export_command->parsed()) return RunExport(exported);
  if (tokenize_command->parsed()) return RunTokenize(tokenize);
  if (serve_command->parsed()) return RunServe(serve);
  return RunStandalone(standalone);
}

}  // namespace

#ifdef ATOLL_SANITIZE_ADDRESS
// Open MPI loads and unloads modules all the time: what they leak has no name left to suppress it
// by, and the leak checker itself trips over their threads. Our own code is checked for leaks by
// the tests that run it without MPI.
extern "C" int __lsan_is_turned_off() { return 1; }
#endif

int main(int argc, char** argv) { return Run(argc, argv); }
