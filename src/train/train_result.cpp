#include <fmt/format.h>

#include "train/trainer.h"

namespace edgecompress {

std::map<std::string, double> TrainResult::counts() const {
  return {{"parameters_trained", static_cast<double>(parameters)},
          {"steps", static_cast<double>(steps)},
          {"epochs", static_cast<double>(losses.size())},
          {"best_epoch", static_cast<double>(best_epoch)}};
}

Json TrainResult::curves() const {
  Json json = {{"losses", losses}};
  if (score_before) {
    json["metric"] = metric;
    json["score_before"] = *score_before;
    json["scores"] = scores;
    json["stopped_early"] = stopped_early;
  }
  return json;
}

std::string TrainResult::summary() const {
  std::string text =
      fmt::format("{} epochs, loss {:.4f} to {:.4f}", losses.size(), losses.front(), losses.back());
  if (!score_before) return text;
  if (best_epoch == 0) {
    return text + fmt::format("; no epoch was better than before ({} {:.4f}), so nothing changed",
                              metric, *score_before);
  }
  return text + fmt::format("; {} {:.4f} to {:.4f} (epoch {})", metric, *score_before,
                            scores.at(static_cast<std::size_t>(best_epoch - 1)), best_epoch);
}

Json TrainResult::stored() const {
  return {{"steps", steps},
          {"best_epoch", best_epoch},
          {"stopped_early", stopped_early},
          {"losses", losses},
          {"scores", scores},
          {"score_before", score_before ? Json(*score_before) : Json()},
          {"metric", metric}};
}

void TrainResult::restore(const Json& stored) {
  stored.at("steps").get_to(steps);
  stored.at("best_epoch").get_to(best_epoch);
  stored.at("stopped_early").get_to(stopped_early);
  stored.at("losses").get_to(losses);
  stored.at("scores").get_to(scores);
  score_before.reset();
  if (!stored.at("score_before").is_null()) score_before = stored.at("score_before").get<double>();
  stored.at("metric").get_to(metric);
}

}  // namespace edgecompress
