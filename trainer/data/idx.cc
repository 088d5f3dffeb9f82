#include "trainer/data/idx.h"

#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <system_error>

#include "comms/base/files.h"
#include "comms/base/status.h"

namespace atl::trainer {
namespace {

constexpr uint64_t kMaxFileBytes = uint64_t{1} << 31;
constexpr uint32_t kMaxDimensions = 4;
constexpr uint8_t kUnsignedByte = 0x08;

absl::Status Bad(const std::filesystem::path& path, std::string_view why) {
  return absl::InvalidArgumentError(
      absl::StrCat(path.string(), ": ", absl::string_view(why.data(), why.size())));
}

bool IsGzip(ByteView bytes) { return bytes.size() >= 2 && bytes[0] == 0x1f && bytes[1] == 0x8b; }

// zlib's inflater, ended with its owner.
struct Inflater {
  z_stream stream{};
  bool ready = false;
  ~Inflater() {
    if (ready) inflateEnd(&stream);
  }
};

absl::StatusOr<Bytes> Decompress(ByteView compressed, const std::filesystem::path& path) {
  Inflater inflater;
  z_stream& stream = inflater.stream;
  inflater.ready = inflateInit2(&stream, 15 + 16) == Z_OK;  // 16: gzip only
  if (!inflater.ready) return absl::ResourceExhaustedError("zlib: no memory");
  Bytes out;
  size_t filled = 0;
  stream.next_in = const_cast<Bytef*>(compressed.data());
  size_t input_left = compressed.size();
  int code = Z_OK;
  while (code != Z_STREAM_END) {
    if (filled == out.size()) {
      if (out.size() >= kMaxIdxBytes) {
        return Bad(path, absl::StrCat("holds more than ", kMaxIdxBytes, " bytes"));
      }
      out.resize(std::min(kMaxIdxBytes, std::max<uint64_t>(uint64_t{1} << 20, out.size() * 2)));
    }
    uInt input = static_cast<uInt>(std::min<size_t>(input_left, 1 << 30));
    uInt room = static_cast<uInt>(std::min<size_t>(out.size() - filled, 1 << 30));
    stream.avail_in = input;
    stream.next_out = out.data() + filled;
    stream.avail_out = room;
    code = inflate(&stream, Z_NO_FLUSH);
    input_left -= input - stream.avail_in;
    filled += room - stream.avail_out;
    if (code == Z_STREAM_END) break;
    if (code == Z_BUF_ERROR || (code == Z_OK && input_left == 0 && stream.avail_out > 0)) {
      return Bad(path, "the gzip data is cut off");
    }
    if (code != Z_OK) {
      return Bad(path,
                 absl::StrCat("corrupt gzip data: ", stream.msg ? stream.msg : "unknown error"));
    }
  }
  if (input_left != 0)
    return Bad(path, absl::StrCat(input_left, " bytes behind the end of the gzip data"));
  out.resize(filled);
  return out;
}

uint32_t BigEndian32(ByteView bytes) {
  return uint32_t{bytes[0]} << 24 | uint32_t{bytes[1]} << 16 | uint32_t{bytes[2]} << 8 | bytes[3];
}

// The first bytes of a file, unpacked: more than a header, where there are so many. zlib's own
// reader takes files that are not gzip as they are.
absl::StatusOr<Bytes> ReadStart(const std::filesystem::path& path) {
  gzFile file = gzopen(path.c_str(), "rbe");
  if (file == nullptr) {
    const int code = errno;
    const std::string why =
        absl::StrCat(path.string(), ": cannot open: ", std::generic_category().message(code));
    return code == ENOENT ? absl::NotFoundError(why) : absl::FailedPreconditionError(why);
  }
  Bytes start(4 + 4 * kMaxDimensions);
  const int got = gzread(file, start.data(), static_cast<unsigned>(start.size()));
  gzclose(file);
  if (got < 0) return Bad(path, "cannot be read, or corrupt gzip data");
  start.resize(static_cast<size_t>(got));
  return start;
}

// The dimensions in the header at the front of a file; sets header_bytes.
absl::StatusOr<std::vector<uint32_t>> ParseShape(ByteView bytes, const std::filesystem::path& path,
                                                 uint64_t& header_bytes) {
  if (bytes.size() < 4)
    return Bad(path, absl::StrCat(bytes.size(), " bytes are too few for an IDX file"));
  if (bytes[0] != 0 || bytes[1] != 0) {
    return Bad(path,
               absl::StrCat("not an IDX file: it starts with ", Hex(bytes.first(4)), ", not 0000"));
  }
  if (bytes[2] != kUnsignedByte) {
    return Bad(path, absl::StrCat("IDX element type 0x", Hex(bytes.subspan(2, 1)),
                                  "; only unsigned bytes (0x08) are read"));
  }
  uint32_t dimensions = bytes[3];
  if (dimensions == 0 || dimensions > kMaxDimensions) {
    return Bad(path, absl::StrCat(dimensions, " dimensions; 1 to ", kMaxDimensions, " are read"));
  }
  header_bytes = 4 + 4 * uint64_t{dimensions};
  if (bytes.size() < header_bytes) return Bad(path, "cut off within the IDX header");
  std::vector<uint32_t> shape;
  uint64_t count = 1;
  for (uint32_t i = 0; i < dimensions; ++i) {
    uint32_t size = BigEndian32(bytes.subspan(4 + 4 * i, 4));
    if (size == 0) return Bad(path, absl::StrCat("dimension ", i, " is 0"));
    // Below 2^31 before, so the product stays below 2^63.
    count *= size;
    if (count > kMaxIdxBytes)
      return Bad(path, absl::StrCat("its header promises more than ", kMaxIdxBytes, " bytes"));
    shape.push_back(size);
  }
  return shape;
}

}  // namespace

absl::StatusOr<IdxArray> ParseIdx(Bytes bytes, const std::filesystem::path& path) {
  if (IsGzip(bytes)) {
    ATOLL_ASSIGN_OR_RETURN(bytes, Decompress(bytes, path));
  }
  IdxArray array;
  uint64_t header = 0;
  ATOLL_ASSIGN_OR_RETURN(array.shape, ParseShape(bytes, path, header));
  uint64_t count = 1;
  for (uint32_t size : array.shape) count *= size;
  if (bytes.size() - header != count) {
    return Bad(path,
               absl::StrCat("its header promises ", count, " bytes, but ", bytes.size() - header,
                            " follow", bytes.size() - header < count ? " (cut off?)" : ""));
  }
  bytes.erase(bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(header));
  array.values = std::move(bytes);
  return array;
}

absl::StatusOr<IdxArray> ReadIdx(const std::filesystem::path& path) {
  ATOLL_ASSIGN_OR_RETURN(Bytes bytes, ReadFile(path, kMaxFileBytes));
  return ParseIdx(std::move(bytes), path);
}

absl::StatusOr<std::vector<uint32_t>> ReadIdxShape(const std::filesystem::path& path) {
  ATOLL_ASSIGN_OR_RETURN(const Bytes start, ReadStart(path));
  uint64_t header = 0;
  return ParseShape(start, path, header);
}

}  // namespace atl::trainer
