// Float ops that stand between INT8 ops: there values become float and INT8 again, which costs more
// than most of these ops do.
#pragma once

#include <string>
#include <vector>

#include "int8/int8_plan.h"

namespace edgecompress {

struct FloatIslandOp {
  std::string op;     ///< "aten::softmax"
  std::string after;  ///< the last layer before it in execution order; "" if it is the first
};

/// Every op that the plan leaves float although what it reads comes from INT8 values and what it
/// makes goes to INT8 ops, in execution order. For the graph that the plan was made for.
std::vector<FloatIslandOp> find_float_islands(const Model& model, const Int8Plan& plan);

}  // namespace edgecompress
