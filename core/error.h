#pragma once

#include <stdexcept>
#include <string>

namespace longattn {

/// Every error that a user can cause. The message says what, where, what was expected and both
/// numbers: "keys: key_len 512, problem says 1024". Kernels only assert.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A Problem that contradicts itself ("num_heads 6 is not a multiple of num_kv_heads 4").
class ProblemError : public Error {
 public:
  using Error::Error;
};

/// Tensors whose shape, type or layout does not fit the Problem.
class ShapeError : public Error {
 public:
  using Error::Error;
};

/// An option that does not exist, has the wrong type, or lies outside its range.
class OptionError : public Error {
 public:
  using Error::Error;
};

/// A Problem or option that a variant does not take; the message is the reason, in one sentence.
class UnsupportedError : public Error {
 public:
  using Error::Error;
};

/// The content of a tensor, trace or journal file is not what its format promises.
class DataError : public Error {
 public:
  using Error::Error;
};

/// The operating system refused to read or write a file.
class IoError : public Error {
 public:
  using Error::Error;
};

/// A file could not be created: told apart from IoError because nothing was lost yet.
class CreateError : public IoError {
 public:
  using IoError::IoError;
};

/// Another run is writing to the folder.
class InUseError : public IoError {
 public:
  using IoError::IoError;
};

}  // namespace longattn
