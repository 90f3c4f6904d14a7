#pragma once

#include <memory>
#include <string>
#include <vector>

#include "experiments/benchmarks/subject.h"

// Other programs at the engine's shapes, where they are installed. Names are peer/NAME/SHAPE with
// the engine's SHAPE. Inputs are the same and outputs are held against the same rows in double:
// within 1e-5 for float32, and for bfloat16 within 3e-2, three roundings (scores, weights, output)
// to 2^-9 of values that reach 5.
namespace longattn::benchmarks {

inline constexpr double kFloatBound = 1e-5, kBfloat16Bound = 3e-2;

/// Registers those that are found. Returns a line each about what is found and what is not.
std::vector<std::string> register_peers();

/// Attention by tiles with an online softmax, as the engine does it, over products of a library:
///
///   libxsmm   JIT kernels; tiles of 64 queries x 256 keys, keys transposed once per pass
///   openblas  cblas_sgemm, one thread per tile; 256 x 512, the blocking of PyTorch 2 on CPUs
///
/// exp and the softmax are core/kernels.h's, so what differs is the matrix product. Tiles past the
/// causal edge are skipped, long blocks come first. Sizes must be multiples of the tile.
class TileLibrary {
 public:
  struct Tile {
    Index queries, keys;
  };
  virtual ~TileLibrary() = default;
  virtual Tile tile() const = 0;
  virtual bool transposed_keys() const = 0;  ///< wants tiles of keys as [head_dim, tile().keys]
  /// scores[r, c] = queries_r . keys_c for all queries of the tile and `count` of its keys;
  /// `scores` is [queries, tile().keys].
  virtual void scores(const float* queries, const float* keys, Index count,
                      float* scores) const = 0;
  /// target [queries, value_dim] += probs [queries, count of tile().keys] values.
  virtual void add_values(const float* probs, const float* values, Index count,
                          float* target) const = 0;
};
/// nullptr where the library is not installed.
std::unique_ptr<TileLibrary> make_libxsmm(Index head_dim);
std::unique_ptr<TileLibrary> make_openblas(Index head_dim);
std::string openblas_core();  ///< the processor whose kernels OpenBLAS runs; empty: not installed
std::unique_ptr<Subject> make_tiled_subject(std::unique_ptr<TileLibrary> library,
                                            const Problem& problem, int threads);

/// Attention by primitives of oneDNN 2, head by head: matmul into float32 scores (scaled, and where
/// causal with a mask of minus infinities added, in the same primitive), softmax, matmul into a
/// float32 output. For bfloat16 the softmax writes bfloat16. All scores of a head are held, and
/// causal problems do the work of full ones. The threads are OpenMP's, as in Debian's build.
///
/// Takes self-attention. Throws UnsupportedError where the library has no such primitive for this
/// processor; nullptr where it is not installed.
std::unique_ptr<Subject> make_onednn_subject(const Problem& problem, int threads);
std::string onednn_version();  ///< empty: not installed

/// A program in another language, started when first asked and kept. It reads lines and answers
/// each with one line:
///
///   problem FILE LEN HEADS HEAD_DIM CAUSAL THREADS DTYPE   a name for the table
///   run                                                    seconds of one forward pass
///   output                                                 "done", the output being in FILE
///
/// FILE holds queries, keys and values, [heads, len, dim] in DTYPE, and room for a float32 output.
/// An answer that begins with "error: ", none within two minutes, or the program's end throws
/// Error; it is started again when next asked. It ends with this program.
class PeerProgram {
 public:
  explicit PeerProgram(std::vector<std::string> command) : command_(std::move(command)) {}
  ~PeerProgram() { stop(); }
  PeerProgram(const PeerProgram&) = delete;
  PeerProgram& operator=(const PeerProgram&) = delete;
  std::string ask(const std::string& line);
  bool running() const { return child_ > 0; }
  const Subject* current = nullptr;  ///< whose problem it holds

 private:
  void start();
  void stop();
  std::vector<std::string> command_;
  int child_ = -1, to_ = -1, from_ = -1;
};
std::unique_ptr<Subject> make_program_subject(std::shared_ptr<PeerProgram> program,
                                              const Problem& problem, int threads);

}  // namespace longattn::benchmarks
