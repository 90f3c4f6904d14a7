#include "core/fetch.h"

namespace longattn {

kernels::Ahead rows_ahead(const ConstTensorView& view, Index batch_entry, Index head, Index first,
                          Index stride, Index count) {
  if (count == 0) return {};
  const Index bytes = view.dim() * byte_size(view.dtype);
  const Index step = stride * view.strides[2] * byte_size(view.dtype);
  const bool joined = bytes == step;  // rows without gaps are one long row
  kernels::Ahead rows;
  rows.line = static_cast<const char*>(view.row(batch_entry, head, first));
  rows.lines_of_row = (joined ? bytes * count : bytes) / kernels::Ahead::kLine;
  rows.lines = rows.lines_of_row;
  rows.rows = joined ? 0 : count - 1;
  rows.jump = step - rows.lines_of_row * kernels::Ahead::kLine;
  return rows;
}

}  // namespace longattn
