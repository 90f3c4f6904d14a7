#pragma once

#include "core/parallel.h"
#include "core/types.h"

namespace longattn {

/// A row-major float32 matrix; row r begins at data + r * stride.
struct ConstMatrix {
  const float* data;
  Index rows, columns, stride;
};
struct Matrix {
  float* data;
  Index rows, columns, stride;
};

/// c = factor * a b, with a [m, n], b [n, p], c [m, p].
///
/// b is packed once into panels and shared by all threads; a is packed strip by strip. Each element
/// is summed over n in order, so its bits depend on neither threads nor blocking of rows. 2 m n p
/// FLOP; workspace as matmul_workspace_bytes.
void matmul(const ConstMatrix& a, const ConstMatrix& b, float factor, const Matrix& c,
            Context& context);
/// c = factor * a b^T, with b [p, n].
void matmul_transposed(const ConstMatrix& a, const ConstMatrix& b, float factor, const Matrix& c,
                       Context& context);

/// What a product [m, n] x [n, p] takes from the workspace.
Index matmul_workspace_bytes(Index n, Index p, int threads);

}  // namespace longattn
