// Embedding tables in INT8: a quarter of the bytes, and of the memory that looking up touches.
#pragma once

#include <vector>

#include "int8/int8_plan.h"

namespace edgecompress {

/// Tables of embeddings that are not refused, and that nobody else reads, are stored as INT8 with
/// one scale a row; only the rows that are looked up become float again:
///
///   embedding(values, i).to(float) * embedding(scales, i)
///
/// Not quantized::embedding_byte, which takes indices of one or two dimensions only and crashes
/// where there are none (LibTorch 1.13). |error| <= scale of the row / 2. Returns the layers,
/// INT8 or not; float tables that nobody reads any more are removed.
std::vector<Int8Layer> rewrite_int8_embeddings(Model& model, const LayerRefusal& refusal);

}  // namespace edgecompress
