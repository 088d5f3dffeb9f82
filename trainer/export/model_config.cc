#include "trainer/export/model_config.h"

#include <cmath>

#include "nlohmann/json.hpp"

namespace atl::trainer {
namespace {

// 0.286 and not 0.28600001335144043: the number that was meant, of at most six digits.
nlohmann::ordered_json Decimals(const std::vector<float>& values) {
  auto list = nlohmann::ordered_json::array();
  for (float value : values) list.push_back(std::round(static_cast<double>(value) * 1e6) / 1e6);
  return list;
}

}  // namespace

nlohmann::ordered_json ImageNetConfig(const Architecture& a) {
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
  return {{"model_type", "atoll"},
          {"architecture", architecture},
          {"num_classes", a.classes},
          {"input_shape", {a.input.channels, a.input.height, a.input.width}}};
}

void AddData(nlohmann::ordered_json& config, const DataTraits& traits,
             recipes::DatasetKind dataset) {
  if (traits.input == InputKind::kImages) {
    config["normalisation"] = {{"mean", Decimals(traits.normalisation.mean)},
                               {"std", Decimals(traits.normalisation.stddev)},
                               {"pixels_divided_by", 255}};
  }
  if (!traits.class_names.empty()) config["class_names"] = traits.class_names;
  config["dataset"] = ToString(dataset);
}

}  // namespace atl::trainer
