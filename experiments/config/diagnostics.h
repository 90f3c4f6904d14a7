#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"

namespace longattn {

/// What is wrong with a config file. what() is the whole text, ready to print: every mistake with
/// its position, source line and caret. Exit code 2.
class ConfigError : public Error {
 public:
  using Error::Error;
};

/// A place in a text file, both counted from 1; the column in characters. Line 0: nowhere.
struct Position {
  int line = 0, column = 0;
  bool operator==(const Position&) const = default;
};

/// Characters in UTF-8 text.
size_t count_characters(std::string_view text);

/// One mistake.
struct Diagnostic {
  Position position;
  size_t width = 1;                ///< characters that the caret underlines
  std::string message;             ///< "unknown key 'widnow'"
  std::string hint;                ///< beside the caret: "did you mean 'window'?"
  std::vector<std::string> notes;  ///< below, after "= "
  bool in_data = false;            ///< a file that the config names is wrong, not the config
};

/// The mistakes found in one file, told together.
class Diagnostics {
 public:
  /// `lines` are those of the file, without line ends.
  Diagnostics(std::string path, std::vector<std::string> lines)
      : path_(std::move(path)), lines_(std::move(lines)) {}

  void add(Diagnostic diagnostic) { found_.push_back(std::move(diagnostic)); }
  bool empty() const { return found_.empty(); }
  size_t size() const { return found_.size(); }
  /// "scaling.yaml:14:7".
  std::string place(Position position) const;
  /// All of them in the order of their positions, the first 50 in full:
  ///
  ///     error: unknown key 'widnow'
  ///       --> scaling.yaml:14:7
  ///        |
  ///     14 |       widnow: 128
  ///        |       ^^^^^^ did you mean 'window'?
  ///        = longformer takes: window, dilation
  ///
  ///     1 error in scaling.yaml; nothing was run
  std::string render() const;
  /// Throws ConfigError(render()) unless empty; DataError when all that is wrong is the content of
  /// files that the config names.
  void throw_if_any() const;

 private:
  std::string render_one(const Diagnostic& diagnostic) const;

  std::string path_;
  std::vector<std::string> lines_;
  std::vector<Diagnostic> found_;
};

}  // namespace longattn
