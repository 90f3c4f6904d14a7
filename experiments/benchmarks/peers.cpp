#include "experiments/benchmarks/peers.h"

#include <fmt/format.h>

#include <cstdlib>
#include <filesystem>
#include <functional>

#include "experiments/benchmarks/suite.h"

namespace longattn::benchmarks {
namespace {

namespace fs = std::filesystem;

using Make = std::function<std::unique_ptr<Subject>(const Problem&, int threads)>;

void register_peer(const std::string& name, const Problem& problem, const Make& make) {
  for (int threads : kThreads) {
    register_subject(fmt::format("peer/{}/{}", name, shape_name(problem, threads)), problem,
                     threads, [=] { return make(problem, threads); });
  }
}

void register_library(const std::string& name,
                      std::unique_ptr<TileLibrary> (*make)(Index head_dim)) {
  for (const Problem& p : dense_problems()) {
    register_peer(name, p, [make](const Problem& problem, int threads) {
      return make_tiled_subject(make(problem.head_dim), problem, threads);
    });
  }
}

// One process serves all problems of a peer.
Make by_program(std::vector<std::string> command) {
  auto program = std::make_shared<PeerProgram>(std::move(command));
  return [program](const Problem& problem, int threads) {
    return make_program_subject(program, problem, threads);
  };
}

}  // namespace

std::vector<std::string> register_peers() {
  std::vector<std::string> remarks;
  if (make_libxsmm(64)) {
    register_library("libxsmm", make_libxsmm);
  } else {
    remarks.push_back("not found: apt package libxsmm-dev");
  }
  if (const std::string core = openblas_core(); !core.empty()) {
    register_library("openblas", make_openblas);
    const char* forced = std::getenv("OPENBLAS_CORETYPE");
    remarks.push_back(fmt::format("OpenBLAS runs its kernels for {}{}", core,
                                  forced ? ", chosen by OPENBLAS_CORETYPE" : ""));
  } else {
    remarks.push_back("not found: apt package libopenblas0-pthread");
  }
  if (const std::string version = onednn_version(); !version.empty()) {
    for (Problem p : dense_problems()) {
      if (p.key_len > 4096) continue;  // all scores of a head: 1 GiB at 16,384 tokens
      for (DType dtype : {DType::float32, DType::bfloat16}) {
        p.dtype = dtype;
        register_peer("onednn", p, make_onednn_subject);
      }
    }
    remarks.push_back(fmt::format("oneDNN {}", version));
  } else {
    remarks.push_back("not found: apt package libdnnl-dev (oneDNN 2)");
  }

  const std::string scripts = LONGATTN_PEER_SCRIPTS;
  const char* ort = std::getenv("ORT_NODE");
  if (ort != nullptr && fs::exists(ort)) {
    const Make make =
        by_program({"node", "--expose-gc", "--single-threaded-gc", scripts + "/onnxruntime.js"});
    for (const Problem& p : dense_problems()) register_peer("onnxruntime", p, make);
  } else {
    remarks.push_back("not found: npm package onnxruntime-node (ORT_NODE names its folder)");
  }
  if (fs::exists("/usr/lib/python3/dist-packages/torch")) {
    const Make make = by_program({"/usr/bin/python3", scripts + "/pytorch.py"});
    for (const Problem& p : dense_problems()) register_peer("pytorch", p, make);
    for (bool causal : {false, true}) {
      register_peer("pytorch", self_attention(4096, 8, 128, causal, DType::bfloat16), make);
    }
  } else {
    remarks.push_back("not found: apt package python3-torch");
  }
  return remarks;
}

}  // namespace longattn::benchmarks
