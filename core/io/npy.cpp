#include "core/io/npy.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <cassert>
#include <cstring>

#include "core/error.h"
#include "core/io/npy_header.h"
#include "core/io/text.h"

namespace longattn {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";

// Bytes before the header text: magic, two version bytes, and a length of 2 or 4 bytes.
struct Preamble {
  Index header_begin = 0;
  std::uint32_t header_length = 0;
};

Preamble read_preamble(const InputFile& file, std::string_view path) {
  std::array<unsigned char, 12> bytes{};
  const auto available = static_cast<size_t>(std::min<Index>(file.size(), 12));
  file.read(0, std::as_writable_bytes(std::span(bytes)).first(available));
  if (available < kMagic.size() || std::memcmp(bytes.data(), kMagic.data(), kMagic.size()) != 0) {
    const bool zip = available >= 2 && bytes[0] == 'P' && bytes[1] == 'K';
    throw DataError(fmt::format("{}: first bytes, expected \\x93NUMPY (a .npy file), found {}",
                                path,
                                zip ? "a zip archive (.npz is not read: save each array on its own "
                                      "with numpy.save)"
                                    : "others"));
  }
  const int major = bytes[6], minor = bytes[7];
  if (available < 10 || major < 1 || major > 3 || minor != 0) {
    throw DataError(
        fmt::format("{}: version, expected 1.0, 2.0 or 3.0, found {}", path,
                    available < 10 ? "the end of the file" : fmt::format("{}.{}", major, minor)));
  }
  if (major == 1) return {10, bytes[8] + 256u * bytes[9]};
  if (available < 12) {
    throw DataError(
        fmt::format("{}: header length, expected 4 bytes, found the end of the file", path));
  }
  std::uint32_t length = 0;
  std::memcpy(&length, bytes.data() + 8, 4);
  return {12, length};
}

// Copies an array whose first axis is fastest into C order, walking the target in order and keeping
// a counter per axis.
void copy_from_fortran(const NpyHeader& header, const std::byte* source, std::byte* target) {
  const auto size = static_cast<size_t>(byte_size(header.type));
  const size_t axes = header.shape.size();
  std::vector<Index> index(axes, 0), stride(axes, 1);
  for (size_t n = 1; n < axes; ++n) stride[n] = stride[n - 1] * header.shape[n - 1];
  Index offset = 0;
  for (Index element = 0; element < header.count; ++element) {
    std::memcpy(target + static_cast<size_t>(element) * size,
                source + static_cast<size_t>(offset) * size, size);
    for (size_t n = axes; n-- > 0;) {
      offset += stride[n];
      if (++index[n] < header.shape[n]) break;
      offset -= stride[n] * header.shape[n];
      index[n] = 0;
    }
  }
}

}  // namespace

NpyHeader read_npy_header(const InputFile& file) {
  const std::string path = printable(file.path());
  const Preamble preamble = read_preamble(file, path);
  const Index rest = file.size() - preamble.header_begin;
  const Index length = preamble.header_length;
  if (length > kMaxNpyHeader || length > rest) {
    throw DataError(fmt::format("{}: header length, expected at most {} ({}), found {}", path,
                                std::min(rest, kMaxNpyHeader),
                                rest < kMaxNpyHeader ? "the rest of the file" : "NumPy's own limit",
                                length));
  }
  std::string text(static_cast<size_t>(length), '\0');
  file.read(preamble.header_begin, std::as_writable_bytes(std::span(text)));
  NpyHeader header = parse_npy_header(text, path);
  header.data_begin = preamble.header_begin + length;
  const Index expected = header.count * byte_size(header.type);
  if (file.size() - header.data_begin != expected) {
    throw DataError(fmt::format("{}: data, expected {} bytes ({} [{}]), found {}", path, expected,
                                to_string(header.type), fmt::join(header.shape, ", "),
                                file.size() - header.data_begin));
  }
  return header;
}

NpyArray read_npy(const std::string& path) {
  const InputFile file(path);
  const NpyHeader header = read_npy_header(file);
  const auto size = static_cast<size_t>(header.count * byte_size(header.type));
  NpyArray array{header.shape, header.type, std::vector<std::byte>(size)};
  file.read(header.data_begin, array.bytes);
  if (header.fortran_order && header.shape.size() > 1) {
    std::vector<std::byte> ordered(size);
    copy_from_fortran(header, array.bytes.data(), ordered.data());
    array.bytes = std::move(ordered);
  }
  return array;
}

Tensor to_tensor(const NpyArray& array, std::string_view what, bool* rounded) {
  const std::string shown = printable(what);
  return make_tensor(array.type, array.bytes.data(), tensor_shape(array.shape, shown), shown,
                     rounded);
}

std::vector<double> to_doubles(const NpyArray& array) {
  std::vector<double> result(static_cast<size_t>(array.size()));
  load_doubles(array.type, array.bytes.data(), result);
  return result;
}

std::vector<Index> to_integers(const NpyArray& array, std::string_view what) {
  if (is_floating(array.type)) {
    throw DataError(fmt::format("{}: element type, expected an integer or boolean type, found {}",
                                printable(what), to_string(array.type)));
  }
  std::vector<Index> result(static_cast<size_t>(array.size()));
  for (size_t n = 0; n < result.size(); ++n) {
    const std::byte* const source =
        array.bytes.data() + n * static_cast<size_t>(byte_size(array.type));
    if (array.type == ElementType::int64) {
      std::memcpy(&result[n], source, 8);
    } else {
      double value = 0;  // exact for the narrower types
      load_doubles(array.type, source, std::span(&value, 1));
      result[n] = static_cast<Index>(value);
    }
  }
  return result;
}

NpyWriter::NpyWriter(const std::string& path, std::span<const Index> shape, ElementType type)
    : file_(path), type_(type) {
  assert(type == ElementType::float32 || type == ElementType::float64);
  for (Index length : shape) missing_ *= length;
  const std::string header = npy_header_text(shape, type);
  const std::array<char, 4> version_and_length = {1, 0, static_cast<char>(header.size() % 256),
                                                  static_cast<char>(header.size() / 256)};
  file_.write(kMagic);
  file_.write(std::string_view(version_and_length.data(), 4));
  file_.write(header);
}

void NpyWriter::write(std::span<const float> elements) {
  assert(type_ == ElementType::float32);
  missing_ -= static_cast<Index>(elements.size());
  file_.write(std::as_bytes(elements));
}

void NpyWriter::write(std::span<const double> elements) {
  assert(type_ == ElementType::float64);
  missing_ -= static_cast<Index>(elements.size());
  file_.write(std::as_bytes(elements));
}

void NpyWriter::commit() {
  assert(missing_ == 0);
  file_.commit();
}

void write_npy(const std::string& path, std::span<const Index> shape,
               std::span<const float> elements) {
  NpyWriter writer(path, shape, ElementType::float32);
  writer.write(elements);
  writer.commit();
}

void write_npy(const std::string& path, std::span<const Index> shape,
               std::span<const double> elements) {
  NpyWriter writer(path, shape, ElementType::float64);
  writer.write(elements);
  writer.commit();
}

}  // namespace longattn
