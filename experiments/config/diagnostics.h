#pragma once

#include <cstddef>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "core/error.h"

namespace longattn {

/// What is wrong with a config file. what() is the whole text, ready to print: every mistake with
/// its position, source line and caret. Exit code 2.
class ConfigError : public Error {
 public:
  using Error::Error;
};

/// A place in a text, both counted from 1; the column in characters. Line 0: nowhere.
struct Position {
  int line = 0, column = 0;
  int source = 0;  ///< which text: what Diagnostics::add_source returned
  bool operator==(const Position&) const = default;
};

/// A text in which there may be mistakes: a file, or an argument of the command line.
struct SourceText {
  std::string name;                ///< the file's path as given, or the option: "--set"
  std::vector<std::string> lines;  ///< without line ends
  bool is_argument = false;
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

/// The mistakes found in a config: its file, those it extends, and what the command line sets; told
/// together.
class Diagnostics {
 public:
  /// Adds a text, the config's own first; returns its number for positions.
  int add_source(SourceText source);
  const SourceText& source(Position position) const;

  /// One mistake at one place is told once, however often it is found.
  void add(Diagnostic diagnostic);
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

  std::vector<SourceText> sources_;
  std::vector<Diagnostic> found_;
  std::set<std::tuple<int, int, int, std::string>> known_;
};

}  // namespace longattn
