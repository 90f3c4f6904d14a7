#include "experiments/config/clusters.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "core/io/text.h"

namespace longattn {
namespace {

class ClusterReader {
 public:
  ClusterReader(const YamlNode& map, ConfigReader& reader) : map_(map), reader_(reader) {}

  ClusterRequest read() {
    if (const YamlNode* node = map_.find("label")) {
      request_.name = reader_.text(*node, key("label")).value_or("");
    }
    if (const YamlNode* node = map_.find("ranks")) {
      for (const auto& [count, at] : reader_.integers(*node, key("ranks"))) {
        request_.ranks.push_back(static_cast<int>(count));
      }
      std::ranges::sort(request_.ranks);
    }
    for (const char* needed : {"label", "ranks"}) {
      if (map_.find(needed) == nullptr) {
        reader_.error(map_, fmt::format("a cluster without {}", needed));
      }
    }
    read_machine();
    read_links();
    read_chance();
    return std::move(request_);
  }

 private:
  static const Key& key(const char* name) { return cluster_keys().key(name); }

  void number(const char* name, double& target) {
    if (const YamlNode* node = map_.find(name)) {
      target = reader_.number(*node, key(name)).value_or(target);
    }
  }
  void duration(const char* name, double& target) {
    if (const YamlNode* node = map_.find(name)) {
      target = reader_.duration(*node, key(name)).value_or(target);
    }
  }
  void integer(const char* name, int& target) {
    if (const YamlNode* node = map_.find(name)) {
      target = static_cast<int>(reader_.integer(*node, key(name)).value_or(target));
    }
  }

  void read_machine() {
    Cluster& cluster = request_.cluster;
    number("rate", cluster.rate);
    if (cluster.rate <= 0 && !has_mistake("rate")) missing("rate", "operations of a rank a second");
    duration("overhead", cluster.overhead);
    number("contention", cluster.contention);
    integer("ranks_per_host", cluster.ranks_per_host);
    if (const YamlNode* node = map_.find("placement")) {
      cluster.spread = reader_.choice(*node, key("placement")) == "spread";
    }
    if (const YamlNode* node = map_.find("measured_ranks")) {
      if (const auto count = reader_.integer(*node, key("measured_ranks"))) {
        request_.measured_ranks = static_cast<int>(*count);
      }
    }
    integer("depth", request_.depth);
    integer("slow_ranks", request_.slow_ranks);
    number("slow_factor", request_.slow_factor);
    if (const YamlNode* node = map_.find("mtbf")) {
      request_.mtbf_s = reader_.duration(*node, key("mtbf"));
    }
    if (!request_.ranks.empty() && request_.slow_ranks > request_.ranks.front()) {
      reader_.error(
          *map_.find("slow_ranks"),
          fmt::format("{} slow ranks of {}", request_.slow_ranks, request_.ranks.front()));
    }
  }

  void read_link(const char* latency, const char* bandwidth, Link& link, bool needed) {
    duration(latency, link.latency);
    if (const YamlNode* node = map_.find(bandwidth)) {
      link.bandwidth = reader_.size(*node, key(bandwidth)).value_or(link.bandwidth);
    }
    if (!needed) return;
    if (link.bandwidth <= 0 && !has_mistake(bandwidth)) missing(bandwidth, "bytes a second");
    if (link.latency <= 0 && !has_mistake(latency)) missing(latency, "of a message");
  }

  void read_links() {
    Cluster& cluster = request_.cluster;
    const int most = request_.ranks.empty() ? 1 : request_.ranks.back();
    read_link("latency", "bandwidth", cluster.network, most > cluster.ranks_per_host);
    read_link("host_latency", "host_bandwidth", cluster.inside,
              most > 1 && cluster.ranks_per_host > 1);
  }

  void read_chance() {
    Cluster& cluster = request_.cluster;
    number("jitter", cluster.jitter);
    number("stall_probability", cluster.stall_probability);
    number("stall_factor", cluster.stall_factor);
    if (const YamlNode* node = map_.find("seed")) {
      cluster.seed = static_cast<std::uint64_t>(reader_.integer(*node, key("seed")).value_or(1));
    }
  }

  // Whether it stands there, and was told of if it is wrong.
  bool has_mistake(const char* name) const { return map_.find(name) != nullptr; }

  void missing(const char* name, const char* what) {
    reader_.error(map_,
                  fmt::format("cluster '{}' has no {} ({})", printable(request_.name), name, what));
  }

  const YamlNode& map_;
  ConfigReader& reader_;
  ClusterRequest request_;
};

}  // namespace

std::vector<ClusterRequest> read_clusters(const YamlNode& list, ConfigReader& reader) {
  std::vector<ClusterRequest> clusters;
  if (!list.is_list() || list.items.empty()) {
    reader.error(list, fmt::format("clusters is {}, expected a list with at least one cluster",
                                   describe(list)));
    return clusters;
  }
  const Section& keys = cluster_keys();
  std::set<std::string> names;
  for (const YamlNode& item : list.items) {
    if (!reader.check_keys(item, keys.name, keys.names())) continue;
    clusters.push_back(ClusterReader(item, reader).read());
    if (!names.insert(clusters.back().name).second && !clusters.back().name.empty()) {
      reader.error(item,
                   fmt::format("two clusters are labelled '{}'", printable(clusters.back().name)));
    }
  }
  return clusters;
}

}  // namespace longattn
