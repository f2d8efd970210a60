#include "pruning/channel_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace edgecompress {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

/// After a removal of nothing from a network without channels, and this repair.
std::string note_after(bool keeps_layers, bool keeps_batch_norms) {
  ChannelReport report;
  report.add(ChannelRemoval());
  ChannelRepair repair;
  repair.keeps_layers = keeps_layers;
  repair.keeps_batch_norms = keeps_batch_norms;
  repair.error_before = 0.5;
  repair.error_after = 0.25;
  report.add(repair);
  EXPECT_EQ(report.details().at("repair").at(0).at("keeps_layers"), keeps_layers);
  EXPECT_EQ(report.details().at("repair").at(0).at("keeps_batch_norms"), keeps_batch_norms);
  return report.note();
}

TEST(ChannelReport, SaysWhichStageOfRepairWasThrownAway) {
  EXPECT_THAT(note_after(true, true), HasSubstr("from 0.5 to 0.25"));
  EXPECT_THAT(note_after(true, true), Not(HasSubstr("thrown away")));
  EXPECT_THAT(note_after(false, true), HasSubstr("reconstruction of layers was thrown away"));
  EXPECT_THAT(note_after(true, false), HasSubstr("batch norms were thrown away"));
  EXPECT_THAT(note_after(false, false), HasSubstr("both of its stages were thrown away"));
}

TEST(ChannelReport, KeepsWhatRepairDidWhenALaterStepRemovesNothing) {
  ChannelReport report;
  report.add(ChannelRemoval());
  ChannelRepair repair;
  repair.error_before = 0.5;
  report.add(repair);
  report.add(ChannelRemoval());
  EXPECT_THAT(report.note(), HasSubstr("repair took the error of the outputs from 0.5 to 0"));
}

}  // namespace
}  // namespace edgecompress
