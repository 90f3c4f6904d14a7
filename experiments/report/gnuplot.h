#pragma once

#include <string>
#include <string_view>

namespace longattn {

/// Runs `gnuplot -d script` in `folder`, without a shell, in the C.UTF-8 locale. Throws IoError
/// that names gnuplot when it is not installed, fails (with the end of what it printed) or takes
/// longer than `limit_s`, after which it is killed.
void run_gnuplot(const std::string& folder, const std::string& script, double limit_s = 60);

/// A folder inside `target`, which is made if need be, in which gnuplot draws before whole files
/// are renamed to where they belong; gone at the end. Throws CreateError, IoError.
class DrawingFolder {
 public:
  explicit DrawingFolder(std::string target);
  ~DrawingFolder();
  DrawingFolder(const DrawingFolder&) = delete;
  DrawingFolder& operator=(const DrawingFolder&) = delete;

  const std::string& path() const { return path_; }
  /// Throws IoError if `name` is a drawing without an end.
  void require_whole(const std::string& name) const;
  /// The file `name` of this folder becomes `target`/`as`; a drawing must be whole.
  void publish(const std::string& name, const std::string& as) const;

 private:
  std::string target_, path_;
};

/// User text for a gnuplot data file with tab-separated fields: one line without tabs or double
/// quotes (they become ”), so that it stays one field. Everything else stays as it is.
std::string data_text(std::string_view text);

/// A gnuplot SVG as part of an HTML page.
struct InlineSvg {
  std::string drawing;  ///< an <svg> element
  /// The elements that it refers to, for one place on the page: their ids tell their content, so
  /// that drawings with equal signs share them.
  std::string signs;
};

/// Without prolog, title and description; its ink (kInk) turned into currentColor so that it
/// follows the page's theme; coordinates to a tenth of a pixel; without what gnuplot writes and
/// nothing needs: line ends, filters, ids, defaults, and the end of a group before the same group
/// begins again. The page's style knows the classes gs (strokes) and gl (labels). Throws IoError
/// for what ends within a tag.
InlineSvg inline_svg(const std::string& svg, const std::string& description);

}  // namespace longattn
