// Rings on machines that are not here: what a config says of them, and what the plan makes of it.
#include "experiments/report/clusters.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/io/file.h"
#include "experiments/cluster_outlook.h"
#include "tests/experiments/command_testing.h"
#include "tests/experiments/config_testing.h"
#include "variants/registry.h"

namespace longattn {
namespace {

using ::testing::HasSubstr;

std::string with_clusters(const std::string& clusters) {
  return "longattn: 1\nname: t\nthreads: 1\ninputs: [gaussian: {}]\n"
         "problem: {lengths: 4096, num_heads: 2, head_dim: 8, causal: true}\n"
         "variants: [ring]\nclusters:\n" +
         clusters;
}

constexpr const char* kNetwork = "bandwidth: 1GB, latency: 50us";

Experiment read(const TemporaryFolder& folder, const std::string& clusters) {
  write_text(folder / "test.yaml", with_clusters(clusters));
  return read_experiment(folder / "test.yaml", builtin_variants());
}

std::string complaint_of(const std::string& clusters) {
  const TemporaryFolder folder;
  try {
    read(folder, clusters);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(Clusters, AreReadWithEveryKnobAndItsRange) {
  const TemporaryFolder folder;
  const Experiment e = read(
      folder,
      "- {label: a, ranks: [8, 2], rate: 1e12, overhead: 1ms, bandwidth: 1.25GB, latency: 50us,\n"
      "   ranks_per_host: 2, placement: spread, host_bandwidth: 10GB, host_latency: 1us,\n"
      "   contention: 0.1, depth: 3, jitter: 0.2, stall_probability: 0.01, stall_factor: 10,\n"
      "   slow_ranks: 1, slow_factor: 1.5, seed: 7, mtbf: 100h}\n");
  ASSERT_EQ(e.clusters.size(), 1u);
  const ClusterRequest& c = e.clusters[0];
  EXPECT_EQ(c.ranks, (std::vector<int>{2, 8}));
  EXPECT_EQ(c.cluster.network.bandwidth, 1.25e9);
  EXPECT_DOUBLE_EQ(c.cluster.network.latency, 50e-6);
  EXPECT_EQ(c.cluster.inside.bandwidth, 1e10);
  EXPECT_TRUE(c.cluster.spread);
  EXPECT_EQ(c.depth, 3);
  EXPECT_EQ(*c.mtbf_s, 360000);
  EXPECT_EQ(c.of(4).slowness, (std::vector<double>{1.5, 1, 1, 1}));
}

TEST(Clusters, SayWhatIsWrong) {
  const auto of = [](const std::string& keys) { return complaint_of("- {" + keys + "}\n"); };
  const std::string good = std::string("label: a, ranks: 4, rate: 1e9, ") + kNetwork;
  EXPECT_EQ(of(good), "");
  EXPECT_THAT(of("ranks: 4, rate: 1e9, bandwidth: 1GB, latency: 50us"),
              HasSubstr("a cluster without label"));
  EXPECT_THAT(of(std::string("label: a, ranks: 4, ") + kNetwork),
              HasSubstr("cluster 'a' has no rate"));
  EXPECT_THAT(of("label: a, ranks: 4, rate: 1e9, latency: 50us"), HasSubstr("has no bandwidth"));
  EXPECT_THAT(of("label: a, ranks: 4, rate: 1e9, bandwidth: 1GB"), HasSubstr("has no latency"));
  EXPECT_THAT(of(good + ", ranks_per_host: 2"), HasSubstr("has no host_bandwidth"));
  EXPECT_THAT(of(good + ", jitter: 3"), HasSubstr("jitter is '3', expected a number in 0..2"));
  EXPECT_THAT(of(good + ", depth: 0"), HasSubstr("depth is '0', expected an integer in 1..64"));
  EXPECT_THAT(of(good + ", slow_ranks: 5"), HasSubstr("5 slow ranks of 4"));
  EXPECT_THAT(of(good + ", bandwith: 1GB"), HasSubstr("did you mean 'bandwidth'?"));
  EXPECT_THAT(of("label: a, ranks: 5000, rate: 1e9"), HasSubstr("expected an integer in 1..4096"));
  EXPECT_THAT(complaint_of("- {" + good + "}\n- {" + good + "}\n"),
              HasSubstr("two clusters are labelled 'a'"));
  EXPECT_THAT(complaint_of(" []\n"), HasSubstr("at least one cluster"));
}

// 2 N (N + 1) / 2 pairs of 2 (d + d) operations shared by P ranks; and the plan's own bytes.
TEST(Clusters, ArePredictedByThePlanAlone) {
  const TemporaryFolder folder;
  const Experiment e =
      read(folder,
           "- {label: quick, ranks: [4, 64], rate: 1e9, bandwidth: 100GB, latency: 1us, mtbf: 1h}\n"
           "- {label: narrow, ranks: 4, rate: 1e12, bandwidth: 1MB, latency: 1us,\n"
           "   measured_ranks: 2}\n");
  const std::vector<ClusterOutlook> outlooks = cluster_outlooks(e);
  ASSERT_EQ(outlooks.size(), 3u);
  const double operations = 2 * 4096.0 * 4097 / 2 * 2 * 16;
  const ClusterOutlook &four = outlooks[0], &narrow = outlooks[2];
  EXPECT_EQ(four.setting, "zigzag");
  EXPECT_NEAR(four.forecast.total, operations / 4 / 1e9, 1e-9);
  EXPECT_NEAR(four.failure_probability.value(), 1 - std::exp(-4 * four.forecast.total / 3600),
              1e-12);
  EXPECT_FALSE(four.extrapolation.has_value());
  EXPECT_EQ(narrow.extrapolation.value(), 2);
  EXPECT_EQ(four.sent_bytes, 3 * 2.0 * 1024 * 16 * 4);
  EXPECT_EQ(four.memory_bytes, narrow.memory_bytes);
  EXPECT_TRUE(four.compute_bound());
  EXPECT_FALSE(narrow.compute_bound());
  EXPECT_LT(*narrow.knee, 4);
  EXPECT_GT(*four.knee, 64);
  const std::string text = clusters_text(outlooks);
  EXPECT_THAT(text, HasSubstr("is compute-bound"));
  EXPECT_THAT(text, HasSubstr("is communication-bound"));
  EXPECT_THAT(text, HasSubstr("Never measured: the rate of a rank"));
  EXPECT_EQ(clusters_json(outlooks)[2]["bound_by"], "exchange");
}

// They are what was asked; that the same does not fit into this machine comes behind them.
TEST(Clusters, StandInThePlanBeforeWhatIsSkippedOnThisMachine) {
  const TemporaryFolder folder;
  const std::string config =
      folder.file("a.yaml", with_clusters(std::string("- {label: c, ranks: [4], rate: 1e9, ") +
                                          kNetwork + "}\nlimits: {memory: 1KiB}\n"));
  const CommandResult plan = run_command({"plan", config});
  EXPECT_EQ(plan.code, 0) << plan.err;
  const size_t cluster = plan.out.find("on clusters, "), skipped = plan.out.find("limit 1.00 KiB");
  ASSERT_NE(cluster, std::string::npos) << plan.out;
  ASSERT_NE(skipped, std::string::npos) << plan.out;
  EXPECT_LT(cluster, skipped);
  EXPECT_LT(plan.out.find("1 skipped"), cluster);
}

TEST(Clusters, AreDrawnAsSvgAndPdfAndNothingElse) {
  const TemporaryFolder folder;
  const Experiment e =
      read(folder, std::string("- {label: \"a'b\", ranks: [2, 4], rate: 1e9, ") + kNetwork + "}\n");
  const std::vector<ClusterOutlook> outlooks = cluster_outlooks(e);
  draw_clusters(outlooks, folder / "c.svg");
  EXPECT_THAT(read_text(folder / "c.svg", 1 << 22), HasSubstr("zigzag"));
  draw_clusters(outlooks, folder / "c.pdf");
  EXPECT_TRUE(read_text(folder / "c.pdf", 1 << 22).starts_with("%PDF"));
  EXPECT_THROW(draw_clusters(outlooks, folder / "c.jpg"), OptionError);
  EXPECT_THROW(draw_clusters({}, folder / "d.svg"), OptionError);
}

}  // namespace
}  // namespace longattn
