#include "trainer/export/model_config.h"

#include <cmath>

#include "nlohmann/json.hpp"

namespace atl::trainer {
namespace {

// 0.286 and not 0.28600001335144043: the number that was meant, of at most six digits.
double Decimal(float value) { return std::round(static_cast<double>(value) * 1e6) / 1e6; }

}  // namespace

std::string ModelConfigJson(const Architecture& a, const Normalisation& normalisation,
                            const std::string& dataset) {
  nlohmann::ordered_json architecture;
  if (a.kind == recipes::ModelKind::kCnn) {
    architecture = {{"kind", "cnn"},
                    {"channels", a.channels},
                    {"kernel", a.kernel},
                    {"padding", a.padding},
                    {"pool", 2}};
  } else {
    architecture = {{"kind", "mlp"}};
  }
  architecture["hidden"] = a.hidden;
  architecture["activation"] = "relu";
  nlohmann::ordered_json config = {
      {"model_type", "atoll"},
      {"architecture", architecture},
      {"num_classes", a.classes},
      {"input_shape", {a.input.channels, a.input.height, a.input.width}},
      {"normalisation",
       {{"mean", {Decimal(normalisation.mean)}},
        {"std", {Decimal(normalisation.stddev)}},
        {"pixels_divided_by", 255}}},
      {"dataset", dataset}};
  return config.dump(2) + "\n";
}

}  // namespace atl::trainer
