#include "support/int8_schemes.h"

#include <utility>

#include "int8/int8_rewrite.h"
#include "model/batch_norm_folding.h"
#include "model/runtime.h"
#include "quantization/calibration.h"

namespace edgecompress::testing {

Int8Scheme make_int8_scheme(Model& model, std::shared_ptr<const Dataset> data) {
  initialise_runtime();
  fold_batch_norms(model);
  remove_dropouts(model);
  Int8Scheme scheme;
  scheme.plan = plan_static_int8(
      model, [](const Layer&) { return ""; }, [](const torch::jit::Value*) { return true; });
  Calibration calibration(model, scheme.plan, {ObserverKind::kMinMax});
  Progress silent;
  calibration.run(std::move(data), 8, silent);
  for (const auto* value : scheme.plan.measured) scheme.ranges[value] = calibration.range(value);
  quantize_weights(scheme, model, {/*per_channel=*/true, kReducedWeightRange});
  return scheme;
}

}  // namespace edgecompress::testing
