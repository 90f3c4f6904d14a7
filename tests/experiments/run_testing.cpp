#include "tests/experiments/run_testing.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <thread>

#include "experiments/journal.h"
#include "experiments/results.h"
#include "experiments/serialize.h"

namespace longattn {

namespace fs = std::filesystem;

fs::path RunTest::write_config(const std::string& variants, const std::string& rest,
                               const std::string& lengths) {
  const fs::path path = folder_ / "config.yaml";
  std::ofstream(path) << "longattn: 1\nname: test\nthreads: 1\ninputs: [{gaussian: {}}]\n"
                         "problem: {lengths: "
                      << lengths << ", num_heads: 2, head_dim: 8}\n"
                      << "variants: " << variants << "\n"
                      << rest << "\n";
  return path;
}

pid_t RunTest::start(const std::string& program, Arguments arguments,
                     const Environment& environment) {
  const pid_t child = fork();
  if (child != 0) return child;
  const int out = open((folder_ / "stdout").c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
  const int err = open((folder_ / "stderr").c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
  dup2(out, STDOUT_FILENO);
  dup2(err, STDERR_FILENO);
  for (const auto& [name, value] : environment) setenv(name.c_str(), value.c_str(), 1);
  arguments.insert(arguments.begin(), program);
  std::vector<char*> pointers;
  for (std::string& argument : arguments) pointers.push_back(argument.data());
  pointers.push_back(nullptr);
  execvp(program.c_str(), pointers.data());
  _exit(127);
}

int RunTest::finish(pid_t child) {
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

int RunTest::call(const std::string& program, const Arguments& arguments,
                  const Environment& environment) {
  return finish(start(program, arguments, environment));
}

void RunTest::skip_with_sanitizers() {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers do not let a library be loaded before them";
#endif
}

int RunTest::call_with_fault(const std::string& fault, const Arguments& arguments,
                             Environment environment) {
  environment["LD_PRELOAD"] = LONGATTN_FAULTS;
  environment["LONGATTN_FAULT"] = fault;
  return call(kFaulty, arguments, environment);
}

RunTest::Arguments RunTest::run_of(const fs::path& config, const Arguments& more) const {
  Arguments arguments = {"run", config.string(), "--output", results_folder()};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

RunTest::Arguments RunTest::resume(const Arguments& more) const {
  Arguments arguments = {"run", "--resume", results_folder(), "--no-report"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

pid_t RunTest::child_of(pid_t parent) {
  for (const auto& entry : fs::directory_iterator("/proc")) {
    const std::string status = slurp(entry.path() / "status");
    if (status.find("\nPPid:\t" + std::to_string(parent) + "\n") == std::string::npos) continue;
    return std::stoi(entry.path().filename().string());
  }
  return 0;
}

bool RunTest::anything_runs_with(const std::string& variable) {
  for (const auto& entry : fs::directory_iterator("/proc")) {
    std::string environment = slurp(entry.path() / "environ");
    environment.insert(0, 1, '\0');
    if (environment.find('\0' + variable + '\0') != std::string::npos) return true;
  }
  return false;
}

bool RunTest::eventually(const std::function<bool()>& condition) {
  for (int n = 0; n < 1500; ++n) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return false;
}

std::string RunTest::slurp(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

std::map<std::string, CellResult> RunTest::results() const {
  std::map<std::string, CellResult> by_variant;
  for (const CellResult& cell : results_from_folder(results_folder()).cells) {
    by_variant[cell.cell.variant] = cell;
  }
  return by_variant;
}

std::string RunTest::findings_of(const std::string& folder) {
  std::set<std::string> seen;
  std::string pictures;
  EXPECT_TRUE(read_journal(folder + "/journal.jsonl", [&](const nlohmann::json& record) {
    if (!record.contains("id")) return;
    const std::string key = record["kind"].dump() + record["id"].dump() + record["round"].dump();
    EXPECT_TRUE(seen.insert(key).second) << "measured twice: " << key;
    if (record["kind"] == "pattern") pictures += "picture of " + record["id"].dump() + "\n";
  }));
  std::string text;
  for (const CellResult& cell : results_from_folder(folder).cells) {
    nlohmann::json found = measurements_to_json(cell);
    for (const char* timed : {"round_seconds", "time_s", "disturbed_rounds", "rss_peak_bytes",
                              "heap_peak_bytes"}) {  // the latter by what the allocator has at hand
      found.erase(timed);
    }
    found["rounds"] = cell.round_seconds.size();
    text += cell.cell.id + " " + found.dump() + "\n";
  }
  return text + pictures;
}

}  // namespace longattn
