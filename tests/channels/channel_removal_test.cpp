// Removal against masking, on networks that each show one way in which channels move.
#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "edgecompress/error.h"
#include "support/channel_checks.h"
#include "support/text_network.h"
#include "support/tiny_models.h"

namespace edgecompress {
namespace {

using testing::batch_norm;
using testing::conv;
using testing::conv_transpose;
using testing::embedding;
using testing::float_input;
using testing::group_norm;
using testing::index_input;
using testing::instance_norm;
using testing::layer_norm;
using testing::linear;
using testing::make_text_network;
using testing::prelu;
using testing::Recurrence;
using testing::recurrent;
using testing::TextLayer;
using testing::TextNetwork;

struct Case {
  std::string name;
  TextNetwork network;
};

TextLayer tensors(const testing::TensorShapes& shapes) { return {"", shapes, ""}; }

const InputSpec kImage = float_input({2, 3, 4, 4});
const InputSpec kTokens = float_input({2, 6, 5});

/// A stem, `body` on its 8 channels, and a last layer that reads `channels` channels.
TextNetwork between(const std::string& body, std::vector<TextLayer> layers, std::int64_t channels) {
  layers.insert(layers.begin(), conv("stem", {8, 3}));
  layers.push_back(conv("last", {2, channels, 1}));
  return {"def forward(self, x):\n  n = x.size(0)\n  x = self.stem(x)\n" + body +
              "  return self.last(x)\n",
          layers,
          {kImage}};
}

/// Linear layers around attention over 6 tokens with 2 heads of 4.
TextNetwork around_attention(const std::string& body, std::vector<TextLayer> layers) {
  layers.insert(layers.begin(), linear("embed", 8, 5));
  layers.push_back(linear("proj", 8, 8));
  layers.push_back(linear("head", 2, 8));
  return {"def forward(self, x):\n  n = x.size(0)\n  x = self.embed(x)\n" + body +
              "  x = x + self.proj(y)\n  return self.head(x)\n",
          layers,
          {kTokens}};
}

std::vector<Case> joins_and_parts() {
  return {
      {"Residual", between("  x = x + self.conv(torch.relu(x))\n", {conv("conv", {8, 8})}, 8)},
      {"Concatenation",
       between("  x = torch.cat([x, self.conv(x), x], 1)\n", {conv("conv", {5, 8})}, 21)},
      {"DenselyConcatenated",
       between("  x = torch.cat([x, self.conv1(x)], 1)\n  x = torch.cat([x, self.conv2(x)], 1)\n",
               {conv("conv1", {4, 8}), conv("conv2", {4, 12})}, 16)},
      {"Split", between("  a, b = torch.split(x, 5, 1)\n  x = torch.cat([b, a], 1)\n", {}, 8)},
      {"SplitWithSizes", between("  a, b, c = torch.split_with_sizes(x, [2, 3, 3], 1)\n"
                                 "  x = torch.cat([a, b + c], 1)\n",
                                 {}, 5)},
      {"Chunk", between("  a, b = torch.chunk(x, 2, 1)\n  x = a * torch.sigmoid(b)\n", {}, 4)},
      {"ChunkOfUnevenParts",
       between("  a, b, c = torch.chunk(x, 3, 1)\n  x = torch.cat([c, b, a], 1)\n", {}, 8)},
      {"ChunkWhosePartsGoTheirOwnWays",
       between("  a, b = torch.chunk(x, 2, 1)\n  x = torch.cat([torch.relu(a), self.conv(b)], 1)\n",
               {conv("conv", {3, 4})}, 7)},
      {"Slice", between("  x = torch.cat([x[:, 2:5], x[:, :-6], x[:, -3:]], 1)\n", {}, 8)},
      {"SliceWithStep", between("  x = torch.cat([x[:, 1::2], x[:, ::2]], 1)\n", {}, 8)},
      {"SliceAtASizeOfItself",
       between("  c = x.size(1) // 2\n  x = torch.cat([x[:, c:], x[:, :c]], 1)\n", {}, 8)},
      {"Narrow", between("  x = torch.narrow(x, 1, 2, 5)\n", {}, 5)},
      {"Select", between("  x = torch.unsqueeze(torch.select(x, 1, 3), 1)\n", {}, 1)},
      {"Unbind",
       between("  a, b = torch.unbind(x.view([n, 2, 4, 4, 4]), 1)\n  x = a - b\n", {}, 4)},
      {"UnbindOfInterleaved",
       between("  a, b = torch.unbind(x.view([n, 4, 2, 4, 4]), 2)\n  x = torch.cat([b, a], 1)\n",
               {}, 8)},
      {"Stack", between("  x = torch.sum(torch.stack([x, self.conv(x)], 1), [1])\n",
                        {conv("conv", {8, 8})}, 8)},
      {"SplitAttention", between("  x = self.grouped(x).view([n, 2, 4, 4, 4])\n"
                                 "  gate = torch.softmax(x, 1)\n  x = torch.sum(x * gate, [1])\n",
                                 {conv("grouped", {8, 8, 3, 2})}, 4)},
      {"DictionaryOfFeatures", between("  d = {'low': x}\n  d['high'] = self.conv(x)\n"
                                       "  x = torch.cat([d['high'], d['low']], 1)\n",
                                       {conv("conv", {5, 8})}, 13)},
      {"DictionaryThatIsGivenAway",
       between("  d = {'low': x}\n  kept = [d]\n  d['high'] = self.conv(x)\n"
               "  x = self.conv2(kept[0]['high'])\n",
               {conv("conv", {5, 8}), conv("conv2", {6, 5})}, 6)},
      {"Where",
       between("  y = self.conv(x)\n  x = torch.where(x > 0, x, y)\n", {conv("conv", {8, 8})}, 8)},
  };
}

std::vector<Case> moves() {
  return {
      {"FlattenBeforeLinear",
       {"def forward(self, x):\n  return self.fc(torch.flatten(self.stem(x), 1))\n",
        {conv("stem", {6, 3}), linear("fc", 2, 96)},
        {kImage}}},
      {"ViewOfAllBeforeLinear",
       {"def forward(self, x):\n  x = self.stem(x)\n  return self.fc(x.view([x.size(0), -1]))\n",
        {conv("stem", {6, 3}), linear("fc", 2, 96)},
        {kImage}}},
      {"ReshapeToANumberBeforeLinear",
       {"def forward(self, x):\n  x = self.stem(x)\n  return self.fc(x.reshape([-1, 96]))\n",
        {conv("stem", {6, 3}), linear("fc", 2, 96)},
        {kImage}}},
      {"BakedInBatch",
       {"def forward(self, x):\n  return self.fc(self.stem(x).view([2, 96]))\n",
        {conv("stem", {6, 3}), linear("fc", 2, 96)},
        {kImage}}},
      {"SizeAsAProduct",
       {"def forward(self, x):\n  x = self.stem(x)\n"
        "  return self.fc(x.reshape([x.size(0), x.size(1) * x.size(2) * x.size(3)]))\n",
        {conv("stem", {6, 3}), linear("fc", 2, 96)},
        {kImage}}},
      {"LinearToAnImage",
       {"def forward(self, x):\n  x = self.fc(x).view([x.size(0), 4, 2, 2])\n  return "
        "self.last(x)\n",
        {linear("fc", 16, 5), conv("last", {2, 4})},
        {float_input({2, 5})}}},
      {"Unflatten",
       between("  x = torch.unflatten(x, 1, [2, 4])\n  x = torch.flatten(x, 1, 2)\n", {}, 8)},
      {"PermuteToChannelsLast", between("  y = self.fc(self.norm(x.permute([0, 2, 3, 1])))\n"
                                        "  x = x + y.permute([0, 3, 1, 2])\n",
                                        {layer_norm("norm", 8), linear("fc", 8, 8)}, 8)},
      {"Transpose", between("  y = self.fc(torch.flatten(x, 2).transpose(1, 2))\n"
                            "  x = y.transpose(1, 2).reshape([n, 6, 4, 4])\n",
                            {linear("fc", 6, 8)}, 6)},
      {"ChannelShuffle",
       between("  x = x.view([n, 2, 4, 4, 4]).transpose(1, 2).contiguous().view([n, 8, 4, 4])\n",
               {}, 8)},
      {"ChannelShuffleOfComputedSizes",
       between("  c = x.size(1)\n  y = x.view([n, 2, c // 2, x.size(2), x.size(3)])\n"
               "  x = y.transpose(1, 2).contiguous().view([n, c, x.size(2), x.size(3)])\n"
               "  a, b = torch.chunk(x, 2, 1)\n  x = torch.cat([a, self.conv(b)], 1)\n",
               {conv("conv", {4, 4})}, 8)},
      {"ChannelShuffleBetweenGroupedConvolutions",
       between("  x = self.first(x)\n"
               "  x = x.view([n, 4, 2, 4, 4]).transpose(1, 2).reshape([n, 8, 4, 4])\n"
               "  x = self.second(x)\n",
               {conv("first", {8, 8, 3, 4}), conv("second", {8, 8, 3, 2})}, 8)},
      {"PadOfChannels",
       between("  y = torch.constant_pad_nd(x[:, :, ::2, ::2], [0, 0, 0, 0, 2, 3], 0)\n"
               "  x = y + self.conv(x)\n",
               {conv("conv", {13, 8, 3, 1, 2})}, 13)},
      {"PixelShuffle",
       between("  x = torch.pixel_shuffle(self.conv(x), 2)\n", {conv("conv", {12, 8})}, 3)},
      {"PixelUnshuffle", between("  x = torch.pixel_unshuffle(x, 2)\n", {}, 32)},
      {"FlipOfPixels", between("  x = x + torch.flip(x, [2])\n", {}, 8)},
      {"Repeat", between("  x = x.repeat([1, 2, 1, 1])\n", {}, 16)},
      {"ExpandOfAMean",
       between("  x = x * torch.mean(x, [2, 3], True).expand([n, 8, 4, 4])\n", {}, 8)},
      {"ExpandAs", between("  x = x * torch.mean(x, [2, 3], True).expand_as(x)\n", {}, 8)},
      {"Upsampling", between("  x = torch.upsample_nearest2d(x, [8, 8], None, None)\n", {}, 8)},
      {"ProjectionOfPixels",  // the channels move to the batch and back
       between("  x = torch.reshape(x.permute([0, 2, 3, 1]), [-1, 8])\n  x = self.fc(x)\n"
               "  x = x.view([n, 4, 4, 6]).permute([0, 3, 1, 2])\n",
               {linear("fc", 6, 8)}, 6)},
      {"ChannelsInTheBatch",
       between("  y = torch.avg_pool1d(x.reshape([n * 8, 4, 4]), [3], [1], [1])\n"
               "  x = y.reshape([n, 8, 4, 4])\n",
               {}, 8)},
  };
}

std::vector<Case> layers() {
  return {
      {"Conv1d",
       {"def forward(self, x):\n  return self.last(torch.relu(self.norm(self.first(x))))\n",
        {conv("first", {6, 4, 3, 1, 1, 1}), batch_norm("norm", 6),
         conv("last", {2, 6, 3, 1, 1, 1})},
        {float_input({2, 4, 8})}}},
      {"Conv3d",
       {"def forward(self, x):\n  return self.last(torch.relu(self.norm(self.first(x))))\n",
        {conv("first", {6, 4, 3, 1, 1, 3}), batch_norm("norm", 6),
         conv("last", {2, 6, 3, 1, 1, 3})},
        {float_input({2, 4, 3, 4, 4})}}},
      {"FewWideGroups", between("  x = self.grouped(x)\n", {conv("grouped", {12, 8, 3, 2})}, 12)},
      {"ManyNarrowGroups",
       between("  x = self.grouped(x)\n", {conv("grouped", {12, 8, 3, 4})}, 12)},
      {"Depthwise", between("  x = self.grouped(x)\n", {conv("grouped", {8, 8, 3, 8})}, 8)},
      {"DepthwiseWithMultiplier",
       between("  x = self.grouped(x)\n", {conv("grouped", {24, 8, 3, 8})}, 24)},
      {"AsManyGroupsAsTheyAreWide",
       between("  x = self.grouped(self.conv(x))\n",
               {conv("conv", {9, 8}), conv("grouped", {9, 9, 3, 3})}, 9)},
      {"TwoGroupedInARow",
       between("  x = self.second(self.first(x))\n",
               {conv("first", {12, 8, 3, 4}), conv("second", {8, 12, 3, 2})}, 8)},
      {"Transposed", between("  x = self.up(x)\n", {conv_transpose("up", 8, 6)}, 6)},
      {"TransposedInFewWideGroups",
       between("  x = self.up(x)\n", {conv_transpose("up", 8, 6, 2)}, 6)},
      {"TransposedInManyNarrowGroups",
       between("  x = self.up(x)\n", {conv_transpose("up", 8, 12, 4)}, 12)},
      {"TransposedDepthwise", between("  x = self.up(x)\n", {conv_transpose("up", 8, 8, 8)}, 8)},
      {"BatchNorm", between("  x = torch.relu(self.norm(x))\n", {batch_norm("norm", 8)}, 8)},
      {"GroupNorm", between("  x = self.norm(x)\n", {group_norm("norm", 4, 8)}, 8)},
      {"GroupNormOfOneGroup", between("  x = self.norm(x)\n", {group_norm("norm", 1, 8)}, 8)},
      {"InstanceNorm", between("  x = self.norm(x)\n", {instance_norm("norm", 8)}, 8)},
      {"LayerNormOverAllOfAnImage",
       between("  x = torch.layer_norm(x, [8, 4, 4], self.weight, self.bias, 1e-3, True)\n",
               {tensors({{"weight", {8, 4, 4}}, {"bias", {8, 4, 4}}})}, 8)},
      {"LayerNormWithoutWeights",
       between("  y = torch.layer_norm(x.permute([0, 2, 3, 1]), [8], None, None, 1e-3, True)\n"
               "  x = y.permute([0, 3, 1, 2])\n",
               {}, 8)},
      {"LayerNormOfConcatenated",
       between("  y = torch.cat([x, self.conv(x)], 1).permute([0, 2, 3, 1])\n"
               "  x = self.norm(y).permute([0, 3, 1, 2])\n",
               {conv("conv", {5, 8}), layer_norm("norm", 13)}, 13)},
      {"PReluOfEachChannel", between("  x = self.act(x)\n", {prelu("act", 8)}, 8)},
      {"PReluOfOneWeight", between("  x = self.act(x)\n", {prelu("act", 1)}, 8)},
      {"SqueezeAndExcitation",
       between("  y = torch.relu(self.squeeze(torch.mean(x, [2, 3], True)))\n"
               "  x = x * torch.sigmoid(self.excite(y))\n",
               {conv("squeeze", {4, 8, 1}), conv("excite", {8, 4, 1})}, 8)},
      {"SqueezeAndExcitationByLinears",
       between("  y = self.squeeze(torch.flatten(torch.adaptive_avg_pool2d(x, [1, 1]), 1))\n"
               "  x = x * torch.sigmoid(self.excite(torch.relu(y))).view([n, 8, 1, 1])\n",
               {linear("squeeze", 4, 8), linear("excite", 8, 4)}, 8)},
      {"Glu", between("  x = torch.glu(x, 1)\n", {}, 4)},
      {"LayerScale", between("  x = x + self.conv(x) * self.gamma\n",
                             {conv("conv", {8, 8}), tensors({{"gamma", {8, 1, 1}}})}, 8)},
      {"LayerScaleThatIsReshaped",
       between("  x = x * self.gamma.view([1, -1, 1, 1]) + self.beta.reshape([1, 8, 1, 1])\n",
               {tensors({{"gamma", {8}}, {"beta", {8}}})}, 8)},
      {"ScaleOfEveryPixel", between("  x = x * self.map\n", {tensors({{"map", {1, 8, 4, 4}}})}, 8)},
      {"WeightUsedTwice",
       between("  x = self.conv(torch.relu(self.conv(x)))\n", {conv("conv", {8, 8})}, 8)},
      {"TransposedWeight",
       {"def forward(self, x):\n  x = torch.matmul(self.first(x), self.weight)\n"
        "  return torch.matmul(torch.relu(x), self.other.t())\n",
        {linear("first", 6, 5), tensors({{"weight", {6, 7}}, {"other", {2, 7}}})},
        {kTokens}}},
      {"TiedEmbedding",
       {"def forward(self, x):\n  y = torch.relu(self.fc(torch.embedding(self.words, x)))\n"
        "  return torch.linear(y, self.words, None)\n",
        {tensors({{"words", {9, 6}}}), linear("fc", 6, 6)},
        {index_input({2, 4}, 9)}}},
      {"BatchNormOfAVector",
       {"def forward(self, x):\n  return self.last(torch.relu(self.norm(self.first(x))))\n",
        {linear("first", 6, 5), batch_norm("norm", 6), linear("last", 2, 6)},
        {float_input({2, 5})}}},
  };
}

std::vector<Case> recurrences() {
  std::vector<Case> cases;
  for (const Recurrence kind : {Recurrence::kLstm, Recurrence::kGru}) {
    const std::string name = kind == Recurrence::kLstm ? "Lstm" : "Gru";
    const std::string forward =
        "def forward(self, x):\n  return self.last(self.rnn(self.first(x)))\n";
    cases.push_back({name,
                     {forward,
                      {linear("first", 6, 5), recurrent("rnn", {kind, 6, 4}), linear("last", 2, 4)},
                      {kTokens}}});
    cases.push_back(
        {name + "OfTwoLayersInBothDirections",
         {forward,
          {linear("first", 6, 5), recurrent("rnn", {kind, 6, 4, 2, true}), linear("last", 2, 8)},
          {kTokens}}});
    const std::string states = kind == Recurrence::kLstm ? ", h, h * 0.5" : ", h";
    cases.push_back({name + "WithStatesFromALayer",
                     {"def forward(self, x):\n"
                      "  h = torch.unsqueeze(torch.tanh(self.init(torch.mean(x, [1]))), 0)\n"
                      "  return self.last(self.rnn(self.first(x)" +
                          states + "))\n",
                      {linear("init", 4, 5), linear("first", 6, 5),
                       recurrent("rnn", {kind, 6, 4, 1, false, true}), linear("last", 2, 4)},
                      {kTokens}}});
    cases.push_back({name + "InARow",
                     {"def forward(self, x):\n  return self.last(self.second(self.first(x)))\n",
                      {recurrent("first", {kind, 5, 4, 1, true}), recurrent("second", {kind, 8, 3}),
                       linear("last", 2, 3)},
                      {kTokens}}});
  }
  return cases;
}

std::vector<Case> attentions() {
  const std::vector<TextLayer> separate{linear("q", 8, 8), linear("k", 8, 8), linear("v", 8, 8)};
  const std::vector<TextLayer> fused{linear("qkv", 24, 8)};
  const std::string attend =
      "  scores = torch.matmul(q, k.transpose(-2, -1)) * 0.5\n"
      "  y = torch.matmul(torch.softmax(scores, -1), v)\n";
  const std::string merge = "  y = y.transpose(1, 2).reshape([n, 6, 8])\n";
  std::vector<Case> cases = {
      {"AttentionOfSeparateProjections",
       around_attention("  q = self.q(x).view([n, 6, 2, 4]).transpose(1, 2)\n"
                        "  k = self.k(x).view([n, 6, 2, 4]).transpose(1, 2)\n"
                        "  v = self.v(x).view([n, 6, 2, 4]).transpose(1, 2)\n" +
                            attend + merge,
                        separate)},
      {"AttentionOfAFusedProjectionAndUnbind",
       around_attention("  y = self.qkv(x).reshape([n, 6, 3, 2, 4]).permute([2, 0, 3, 1, 4])\n"
                        "  q, k, v = torch.unbind(y, 0)\n" +
                            attend + merge,
                        fused)},
      {"AttentionOfAFusedProjectionAndSelect",
       around_attention("  y = self.qkv(x).reshape([n, 6, 3, 2, 4]).permute([2, 0, 3, 1, 4])\n"
                        "  q = y[0]\n  k = y[1]\n  v = y[2]\n" +
                            attend + merge,
                        fused)},
      {"AttentionWhoseKeysHaveNoBias",
       around_attention("  bias = torch.clone(self.bias)\n"
                        "  length = bias.numel() // 3\n"
                        "  bias[length:2 * length].zero_()\n"
                        "  y = torch.linear(x, self.weight, bias)\n"
                        "  y = y.reshape([n, 6, 3, 2, 4]).permute([2, 0, 3, 1, 4])\n"
                        "  q, k, v = torch.unbind(y, 0)\n" +
                            attend + merge,
                        {tensors({{"weight", {24, 8}}, {"bias", {24}}})})},
      {"AttentionOfAFusedProjectionAndChunk",
       around_attention("  q, k, v = torch.chunk(self.qkv(x), 3, -1)\n"
                        "  q = q.view([n, -1, 2, 4]).transpose(1, 2)\n"
                        "  k = k.view([n, -1, 2, 4]).transpose(1, 2)\n"
                        "  v = v.view([n, -1, 2, 4]).transpose(1, 2)\n" +
                            attend + merge,
                        fused)},
      {"AttentionOfHeadsWithTheirOwnThree",
       around_attention("  y = self.qkv(x).view([n, 6, 2, 12]).transpose(1, 2)\n"
                        "  q, k, v = torch.split(y, 4, -1)\n" +
                            attend + merge,
                        fused)},
      {"AttentionAsNnMultiheadAttentionWritesIt",
       around_attention("  y = x.transpose(0, 1)\n"
                        "  q, k, v = torch.chunk(self.qkv(y), 3, -1)\n"
                        "  q = q.contiguous().view([6, n * 2, 4]).transpose(0, 1) * 0.5\n"
                        "  k = k.contiguous().view([6, n * 2, 4]).transpose(0, 1)\n"
                        "  v = v.contiguous().view([6, n * 2, 4]).transpose(0, 1)\n"
                        "  y = torch.bmm(torch.softmax(torch.bmm(q, k.transpose(1, 2)), -1), v)\n"
                        "  y = y.transpose(0, 1).contiguous().view([6 * n, 8])\n"
                        "  y = y.view([6, n, 8]).transpose(0, 1)\n",
                        fused)},
      {"AttentionByEinsum",
       around_attention("  q = self.q(x).view([n, 6, 2, 4])\n"
                        "  k = self.k(x).view([n, 6, 2, 4])\n"
                        "  v = self.v(x).view([n, 6, 2, 4])\n"
                        "  scores = torch.softmax(torch.einsum('bqhd,bkhd->bhqk', [q, k]), -1)\n"
                        "  y = torch.einsum('bhqk,bkhd->bqhd', [scores, v])\n"
                        "  y = y.reshape([n, 6, 8])\n",
                        separate)},
      {"AttentionWithoutHeads",
       around_attention("  scores = torch.bmm(self.q(x), self.k(x).transpose(1, 2))\n"
                        "  y = torch.bmm(torch.softmax(scores, -1), self.v(x))\n",
                        separate)},
      {"AttentionToOtherTokens",
       {"def forward(self, x, z):\n  n = x.size(0)\n"
        "  q = self.q(x).view([n, 6, 2, 4]).transpose(1, 2)\n"
        "  k, v = torch.unbind(self.kv(z).view([n, 3, 2, 2, 4]).permute([2, 0, 3, 1, 4]), 0)\n" +
            attend + merge + "  return self.proj(y)\n",
        {linear("q", 8, 5), linear("kv", 16, 4), linear("proj", 2, 8)},
        {kTokens, float_input({2, 3, 4})}}},
      {"AttentionWhoseKeysAreSharedByHeads",
       around_attention("  q = self.q(x).view([n, 6, 2, 4]).transpose(1, 2)\n"
                        "  k = self.k(x).unsqueeze(1)\n  v = self.v(x).unsqueeze(1)\n" +
                            attend + merge,
                        {linear("q", 8, 8), linear("k", 4, 8), linear("v", 4, 8)})},
      {"WindowedAttentionWithARelativePositionBias",
       {"def forward(self, x):\n  n = x.size(0)\n"
        "  x = self.embed(x)\n"
        "  y = torch.roll(x, [-1, -1], [1, 2])\n"
        "  y = y.view([n, 2, 2, 2, 2, 8]).permute([0, 1, 3, 2, 4, 5]).reshape([n * 4, 4, 8])\n"
        "  y = self.qkv(y).reshape([n * 4, 4, 3, 2, 4]).permute([2, 0, 3, 1, 4])\n"
        "  q = y[0]\n  k = y[1]\n  v = y[2]\n"
        "  bias = self.table[self.index].view([4, 4, 2]).permute([2, 0, 1]).contiguous()\n"
        "  scores = torch.matmul(q, k.transpose(-2, -1)) + bias.unsqueeze(0)\n"
        "  y = torch.matmul(torch.softmax(scores, -1), v).transpose(1, 2).reshape([n * 4, 4, 8])\n"
        "  y = self.proj(y).view([n, 2, 2, 2, 2, 8]).permute([0, 1, 3, 2, 4, 5])\n"
        "  y = torch.roll(y.reshape([n, 4, 4, 8]), [1, 1], [1, 2])\n"
        "  return self.head(x + y)\n",
        {linear("embed", 8, 5), linear("qkv", 24, 8), linear("proj", 8, 8), linear("head", 2, 8),
         tensors({{"table", {9, 2}}, {"index", {16}}})},
        {float_input({2, 4, 4, 5})}}},
      {"ClassTokenAndPositions",
       {"def forward(self, x):\n  n = x.size(0)\n"
        "  x = self.patch(x).reshape([n, 8, 4]).permute([0, 2, 1])\n"
        "  x = torch.cat([self.token.expand([n, -1, -1]), x], 1) + self.positions\n"
        "  x = x + self.fc2(torch.gelu(self.fc1(self.norm(x))))\n"
        "  return self.head(self.norm2(x)[:, 0])\n",
        {conv("patch", {8, 3, 1, 1, 2}), tensors({{"token", {1, 1, 8}}, {"positions", {1, 5, 8}}}),
         layer_norm("norm", 8), linear("fc1", 12, 8), linear("fc2", 8, 12), layer_norm("norm2", 8),
         linear("head", 2, 8)},
        {kImage}}},
      {"EmbeddingsOfWordsAndPositions",
       {"def forward(self, x):\n"
        "  x = self.words(x) + self.positions(torch.arange(x.size(1), device=x.device))\n"
        "  return self.fc(self.norm(x))\n",
        {embedding("words", 9, 6), embedding("positions", 7, 6), layer_norm("norm", 6),
         linear("fc", 2, 6)},
        {index_input({2, 4}, 9)}}},
  };
  if (c10::Dispatcher::singleton().findOp({"aten::scaled_dot_product_attention", ""})) {
    cases.push_back(
        {"AttentionAsOneOp",
         around_attention("  q = self.q(x).view([n, 6, 2, 4]).transpose(1, 2)\n"
                          "  k = self.k(x).view([n, 6, 2, 4]).transpose(1, 2)\n"
                          "  v = self.v(x).view([n, 6, 2, 4]).transpose(1, 2)\n"
                          "  y = torch.scaled_dot_product_attention(q, k, v, None, 0.0, False)\n" +
                              merge,
                          separate)});
  }
  return cases;
}

std::vector<Case> all_cases() {
  std::vector<Case> all;
  for (const auto& some : {joins_and_parts(), moves(), layers(), recurrences(), attentions()}) {
    all.insert(all.end(), some.begin(), some.end());
  }
  return all;
}

class ChannelsRemoved : public ::testing::TestWithParam<Case> {
 protected:
  Model model() const { return make_text_network(GetParam().network); }
};

TEST_P(ChannelsRemoved, PrunedEqualsMasked) {
  EXPECT_EQ(testing::difference_for_any_choice(model(), 1, 6), "")
      << testing::to_text(GetParam().network);
}

TEST_P(ChannelsRemoved, ThereIsSomethingToRemove) {
  const auto groups = find_channel_groups(model());
  EXPECT_FALSE(groups.groups.empty()) << ::testing::PrintToString(testing::lines_of_fixed(groups));
}

INSTANTIATE_TEST_SUITE_P(Networks, ChannelsRemoved, ::testing::ValuesIn(all_cases()),
                         [](const auto& test) { return test.param.name; });

class ChannelsOfTinyModels : public ::testing::TestWithParam<std::string> {};

TEST_P(ChannelsOfTinyModels, PrunedEqualsMasked) {
  const auto tiny = testing::make_tiny_model(GetParam());
  const auto model = Model::from_module(tiny.module, tiny.inputs);
  const at::NoGradGuard no_grad;
  const auto groups = find_channel_groups(model);
  ASSERT_FALSE(groups.groups.empty());
  UnitChoice half;
  for (const auto& group : groups.groups) {
    std::vector<std::int64_t> units(group.units.size() / 2);
    std::iota(units.begin(), units.end(), 0);
    half.push_back(units);
  }
  Model masked = model.clone(), pruned = model.clone();
  mask_channels(masked, groups, half);
  remove_channels(pruned, find_channel_groups(pruned), half);
  const auto inputs = model.example_inputs(3);
  const at::Tensor expected = masked.forward(inputs)[0];
  EXPECT_TRUE(at::allclose(pruned.forward(inputs)[0], expected, 1e-4, 1e-5));
}

INSTANTIATE_TEST_SUITE_P(Networks, ChannelsOfTinyModels,
                         ::testing::ValuesIn(testing::tiny_model_names()),
                         [](const auto& test) { return test.param; });

Model two_layers() {
  return make_text_network({"def forward(self, x):\n  return self.last(self.first(x))\n",
                            {linear("first", 4, 5), linear("last", 2, 4)},
                            {kTokens}});
}

TEST(ChannelRemovalTest, TakesTheChosenUnitsOut) {
  Model model = two_layers();
  const at::Tensor before = model.tensor("first.weight").clone();
  remove_channels(model, find_channel_groups(model), {{1, 3}});
  EXPECT_TRUE(at::equal(model.tensor("first.weight"),
                        before.index_select(0, at::tensor({0, 2}, at::kLong))));
  EXPECT_EQ(model.tensor("first.bias").sizes(), at::IntArrayRef({2}));
  EXPECT_EQ(model.tensor("last.weight").sizes(), at::IntArrayRef({2, 2}));
}

TEST(ChannelRemovalTest, AnEmptyChoiceChangesNothing) {
  Model model = two_layers();
  const auto inputs = model.example_inputs(2);
  const at::NoGradGuard no_grad;
  const at::Tensor before = model.forward(inputs)[0];
  remove_channels(model, find_channel_groups(model), {{}});
  EXPECT_TRUE(at::equal(model.forward(inputs)[0], before));
}

TEST(ChannelRemovalTest, RefusesToRemoveEveryUnit) {
  Model model = two_layers();
  EXPECT_THROW(remove_channels(model, find_channel_groups(model), {{0, 1, 2, 3}}), Error);
}

TEST(ChannelRemovalTest, WhatIsLeftTrains) {
  Model model = two_layers();
  remove_channels(model, find_channel_groups(model), {{0}});
  for (auto& [name, parameter] : model.named_parameters()) parameter.set_requires_grad(true);
  const at::AutoGradMode with_gradients(true);
  model.forward(model.example_inputs(2))[0].sum().backward();
  for (const auto& [name, parameter] : model.named_parameters()) {
    EXPECT_EQ(parameter.grad().sizes(), parameter.sizes()) << name;
  }
}

}  // namespace
}  // namespace edgecompress
