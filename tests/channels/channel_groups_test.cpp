// Which channels go together: groups found by hand for networks that are told on a few lines.
#include "channels/channel_groups.h"

#include <gmock/gmock.h>

#include "edgecompress/error.h"
#include "support/channel_checks.h"
#include "support/text_network.h"

namespace edgecompress {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::lines_of_fixed;
using testing::lines_of_groups;
using testing::make_text_network;
using testing::TextNetwork;

ChannelGroups groups_of(const TextNetwork& network, AttentionUnit unit = AttentionUnit::kHeads) {
  return find_channel_groups(make_text_network(network), unit);
}

const InputSpec kImage = testing::float_input({2, 3, 4, 4});
const InputSpec kTokens = testing::float_input({2, 5, 3});

TEST(ChannelGroupsTest, AResidualAddJoinsWhatItAdds) {
  const auto groups = groups_of({R"(
def forward(self, x):
  x = self.stem(x)
  x = x + self.conv2(torch.relu(self.norm(self.conv1(x))))
  return self.fc(torch.mean(x, [2, 3]))
)",
                                 {testing::conv("stem", {8, 3}), testing::conv("conv1", {6, 8}),
                                  testing::batch_norm("norm", 6), testing::conv("conv2", {8, 6}),
                                  testing::linear("fc", 2, 8)},
                                 {kImage}});
  EXPECT_THAT(lines_of_groups(groups),
              ElementsAre("stem x8: stem.weight[0] stem.bias[0] conv1.weight[1] conv2.weight[0] "
                          "conv2.bias[0] fc.weight[1]",
                          "conv1 x6: conv1.weight[0] conv1.bias[0] norm.weight[0] norm.bias[0] "
                          "norm.running_mean[0] norm.running_var[0] conv2.weight[1]"));
  EXPECT_THAT(lines_of_fixed(groups), ElementsAre("fc: it is an output of the model"));
}

TEST(ChannelGroupsTest, ConcatenatedChannelsAreConsumedWhereTheyStand) {
  const auto groups = groups_of({R"(
def forward(self, x):
  x = torch.cat([self.left(x), self.right(x)], 1)
  return self.merge(x)
)",
                                 {testing::conv("left", {2, 3}), testing::conv("right", {3, 3}),
                                  testing::conv("merge", {4, 5})},
                                 {kImage}});
  ASSERT_THAT(lines_of_groups(groups),
              ElementsAre("left x2: left.weight[0] left.bias[0] merge.weight[1]",
                          "right x3: right.weight[0] right.bias[0] merge.weight[1]"));
  EXPECT_THAT(groups.groups[1].members[0].positions,
              ElementsAre(ElementsAre(0), ElementsAre(1), ElementsAre(2)));
  EXPECT_THAT(groups.groups[1].members[2].positions,
              ElementsAre(ElementsAre(2), ElementsAre(3), ElementsAre(4)));
}

TEST(ChannelGroupsTest, FlattenedChannelsAreBlocksOfALinearsInputs) {
  const auto groups = groups_of({R"(
def forward(self, x):
  return self.fc(torch.flatten(self.conv(x), 1))
)",
                                 {testing::conv("conv", {4, 3}), testing::linear("fc", 2, 64)},
                                 {kImage}});
  ASSERT_THAT(lines_of_groups(groups),
              ElementsAre("conv x4: conv.weight[0] conv.bias[0] fc.weight[1]/16"));
  EXPECT_THAT(groups.groups[0].members[2].positions[1],
              ElementsAre(16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31));
}

TEST(ChannelGroupsTest, ADepthwiseMultiplierTakesAllThatOneChannelGives) {
  const auto groups =
      groups_of({"def forward(self, x):\n  return self.last(self.depthwise(self.stem(x)))\n",
                 {testing::conv("stem", {4, 3}), testing::conv("depthwise", {8, 4, 3, 4}),
                  testing::conv("last", {2, 8})},
                 {kImage}});
  ASSERT_THAT(lines_of_groups(groups),
              ElementsAre("stem x4: stem.weight[0] stem.bias[0] depthwise.weight[0]/2 "
                          "depthwise.bias[0]/2 last.weight[1]/2"));
  EXPECT_THAT(groups.groups[0].members[2].positions[1], ElementsAre(2, 3));
}

TEST(ChannelGroupsTest, ManyNarrowGroupsGoWhole) {
  const auto groups =
      groups_of({"def forward(self, x):\n  return self.last(self.grouped(self.stem(x)))\n",
                 {testing::conv("stem", {8, 3}), testing::conv("grouped", {8, 8, 3, 4}),
                  testing::conv("last", {2, 8})},
                 {kImage}});
  EXPECT_THAT(lines_of_groups(groups),
              ElementsAre("stem x4: stem.weight[0]/2 stem.bias[0]/2 grouped.weight[0]/2 "
                          "grouped.bias[0]/2 last.weight[1]/2"));
}

TEST(ChannelGroupsTest, FewWideGroupsLoseTheSamePositionEach) {
  const auto groups =
      groups_of({"def forward(self, x):\n  return self.last(self.grouped(self.stem(x)))\n",
                 {testing::conv("stem", {8, 3}), testing::conv("grouped", {6, 8, 3, 2}),
                  testing::conv("last", {2, 6})},
                 {kImage}});
  ASSERT_THAT(lines_of_groups(groups),
              ElementsAre("stem x4: stem.weight[0]/2 stem.bias[0]/2 grouped.weight[1]",
                          "grouped x3: grouped.weight[0]/2 grouped.bias[0]/2 last.weight[1]/2"));
  EXPECT_THAT(groups.groups[0].members[0].positions[1], ElementsAre(1, 5));
}

TEST(ChannelGroupsTest, GroupNormLosesWholeGroups) {
  const auto groups =
      groups_of({"def forward(self, x):\n  return self.last(self.norm(self.stem(x)))\n",
                 {testing::conv("stem", {6, 3}), testing::group_norm("norm", 3, 6),
                  testing::conv("last", {2, 6})},
                 {kImage}});
  EXPECT_THAT(lines_of_groups(groups),
              ElementsAre("stem x3: stem.weight[0]/2 stem.bias[0]/2 norm.weight[0]/2 "
                          "norm.bias[0]/2 last.weight[1]/2"));
}

TEST(ChannelGroupsTest, AnLstmsHiddenPositionsAreInEveryGate) {
  const auto groups = groups_of(
      {"def forward(self, x):\n  return self.fc(self.rnn(x))\n",
       {testing::recurrent("rnn", {testing::Recurrence::kLstm, 3, 4}), testing::linear("fc", 2, 4)},
       {kTokens}});
  ASSERT_THAT(lines_of_groups(groups),
              ElementsAre("rnn x4: rnn.weight_ih_l0[0]/4 rnn.weight_hh_l0[0]/4 "
                          "rnn.weight_hh_l0[1] rnn.bias_ih_l0[0]/4 rnn.bias_hh_l0[0]/4 "
                          "fc.weight[1]"));
  EXPECT_THAT(groups.groups[0].members[0].positions[1], ElementsAre(1, 5, 9, 13));
}

const TextNetwork& attention() {
  static const TextNetwork network{R"(
def forward(self, x):
  n = x.size(0)
  q, k, v = torch.unbind(self.qkv(x).reshape([n, 5, 3, 2, 4]).permute([2, 0, 3, 1, 4]), 0)
  scores = torch.softmax(torch.matmul(q, k.transpose(-2, -1)), -1)
  return self.out(torch.matmul(scores, v).transpose(1, 2).reshape([n, 5, 8]))
)",
                                   {testing::linear("qkv", 24, 3), testing::linear("out", 2, 8)},
                                   {kTokens}};
  return network;
}

TEST(ChannelGroupsTest, AttentionLosesWholeHeads) {
  const auto groups = groups_of(attention());
  ASSERT_THAT(lines_of_groups(groups),
              ElementsAre("qkv x2: qkv.weight[0]/12 qkv.bias[0]/12 out.weight[1]/4"));
  EXPECT_THAT(groups.groups[0].members[0].positions[1],
              ElementsAre(4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23));
}

TEST(ChannelGroupsTest, AttentionLosesTheSameInnerPositionsOfEveryHead) {
  const auto groups = groups_of(attention(), AttentionUnit::kWidth);
  // Unbind takes three equal parts, so queries, keys and values keep one width.
  ASSERT_THAT(lines_of_groups(groups),
              ElementsAre("qkv x4: qkv.weight[0]/6 qkv.bias[0]/6 out.weight[1]/2"));
  EXPECT_THAT(groups.groups[0].members[0].positions[1], ElementsAre(1, 5, 9, 13, 17, 21));
}

TEST(ChannelGroupsTest, EmbeddingsOfTokensAndPositionsGoTogether) {
  const auto groups =
      groups_of({"def forward(self, x):\n"
                 "  x = torch.cat([self.token.expand([x.size(0), -1, -1]), self.words(x)], 1)\n"
                 "  return self.fc(x + self.positions)\n",
                 {testing::embedding("words", 10, 6),
                  {"", {{"token", {1, 1, 6}}, {"positions", {1, 5, 6}}}, ""},
                  testing::linear("fc", 2, 6)},
                 {testing::index_input({2, 4}, 10)}});
  EXPECT_THAT(lines_of_groups(groups),
              ElementsAre(AllOf(HasSubstr("words x6: words.weight[1]"), HasSubstr("fc.weight[1]"),
                                HasSubstr("token[2]"), HasSubstr("positions[2]"))));
}

// What must be left alone, and why.

struct LeftAlone {
  std::string name, forward, reason;
};

class ChannelsLeftAlone : public ::testing::TestWithParam<LeftAlone> {};

TEST_P(ChannelsLeftAlone, AreNamedWithTheirReason) {
  const auto groups = groups_of({GetParam().forward,
                                 {testing::conv("conv", {4, 3}), testing::conv("last", {2, 4})},
                                 {kImage}});
  EXPECT_THAT(lines_of_groups(groups), IsEmpty());
  EXPECT_THAT(lines_of_fixed(groups),
              ElementsAre("conv: " + GetParam().reason, "last: it is an output of the model"));
}

INSTANTIATE_TEST_SUITE_P(
    ChannelGroups, ChannelsLeftAlone,
    ::testing::Values(
        LeftAlone{"Output", "def forward(self, x):\n  x = self.conv(x)\n  return x, self.last(x)\n",
                  "it is an output of the model"},
        LeftAlone{"SoftmaxOverChannels",
                  "def forward(self, x):\n  return self.last(torch.softmax(self.conv(x), 1))\n",
                  "aten::softmax reduces over it"},
        LeftAlone{"MeanOverChannels",
                  "def forward(self, x):\n  x = self.conv(x)\n"
                  "  return self.last(x * torch.mean(x, [1], True))\n",
                  "aten::mean reduces over it"},
        LeftAlone{
            "UnknownOp",
            "def forward(self, x):\n  return self.last(torch.cdist(self.conv(x), x[:, :1]))\n",
            "aten::cdist is not understood"},
        LeftAlone{"RollAlongChannels",
                  "def forward(self, x):\n  return self.last(torch.roll(self.conv(x), [1], [1]))\n",
                  "aten::roll moves it"},
        LeftAlone{"PoolAlongChannels",
                  "def forward(self, x):\n  x = torch.flatten(self.conv(x), 2).transpose(1, 2)\n"
                  "  x = torch.avg_pool1d(x, [3], [1], [1]).transpose(1, 2)\n"
                  "  return self.last(x.view([-1, 4, 4, 4]))\n",
                  "aten::avg_pool1d works along it"},
        LeftAlone{"GatherAlongChannels",
                  "def forward(self, x):\n  x = self.conv(x)\n"
                  "  return self.last(torch.gather(x, 1, torch.argsort(x, 1)))\n",
                  "aten::argsort is not understood"}),
    [](const auto& test) { return test.param.name; });

TEST(ChannelGroupsTest, NeedsExampleInputs) {
  const Model model = make_text_network(
      {"def forward(self, x):\n  return self.fc(x)\n", {testing::linear("fc", 2, 3)}, {}});
  EXPECT_THROW(find_channel_groups(model), Error);
}

}  // namespace
}  // namespace edgecompress
