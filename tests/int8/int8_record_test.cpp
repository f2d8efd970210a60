#include "int8/int8_record.h"

#include <gtest/gtest.h>

#include "int8/int8_engine.h"
#include "model/runtime.h"
#include "support/temporary_folder.h"
#include "support/tiny_models.h"

namespace edgecompress {
namespace {

Model tiny_model() {
  initialise_runtime();
  const auto tiny = testing::make_tiny_model("mlp");
  return Model::from_module(tiny.module, tiny.inputs);
}

Json rows() {
  return Json::parse(R"([
    {"layer": "a", "state": "int8", "reason": "static", "scale": 0.5, "int8_ms": 0.1, "clipped": 0,
     "weight_sqnr_db": 38.456789},
    {"layer": "b", "state": "float", "reason": "excluded", "scale": null, "int8_ms": null,
     "clipped": null, "weight_sqnr_db": null}])");
}

TEST(Int8Record, TravelsInTheFileWithoutWhatChangesFromRunToRun) {
  Model model = tiny_model();
  write_int8_record(model, rows());
  const testing::TemporaryFolder folder;
  model.save(folder.path() / "net.pt");
  const Json record = read_int8_record(load_as_stored(folder.path() / "net.pt"));
  EXPECT_EQ(record.at("engine"), int8_engine());
  EXPECT_EQ(record.at("layers"), Json::parse(R"([
    {"layer": "a", "state": "int8", "reason": "static", "clipped": 0, "weight_sqnr_db": 38.46},
    {"layer": "b", "state": "float", "reason": "excluded", "clipped": null,
     "weight_sqnr_db": null}])"));
}

TEST(Int8Record, IsNothingWhereThereIsNoneOrSomethingElse) {
  Model model = tiny_model();
  EXPECT_TRUE(read_int8_record(model.module()).is_null());
  for (const char* text : {"", "{", "[]", "{\"engine\": 1, \"columns\": [], \"rows\": []}",
                           "{\"engine\": \"x\", \"columns\": [\"layer\"], \"rows\": [[]]}",
                           "{\"engine\": \"x\", \"columns\": [2], \"rows\": [[1]]}",
                           "{\"engine\": \"x\", \"columns\": [\"layer\"], \"rows\": [[[[]]]]}",
                           "{\"engine\": \"x\", \"columns\": {}, \"rows\": []}"}) {
    Model other = tiny_model();
    other.add_attribute(kInt8RecordAttribute, c10::StringType::get(), std::string(text));
    EXPECT_TRUE(read_int8_record(other.module()).is_null()) << text;
  }
}

}  // namespace
}  // namespace edgecompress
