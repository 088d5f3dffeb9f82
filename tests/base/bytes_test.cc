#include "comms/base/bytes.h"

#include <cmath>
#include <limits>

#include "comms/base/random.h"
#include "comms/base/secret.h"
#include "gmock/gmock.h"

namespace atl {
namespace {

using ::testing::HasSubstr;

TEST(Hex, RoundTripsAndRefusesWhatIsNoHex) {
  const Bytes bytes = {0x00, 0x01, 0xab, 0xff};
  EXPECT_EQ(Hex(bytes), "0001abff");
  EXPECT_EQ(*FromHex("0001ABff"), bytes);
  EXPECT_TRUE(FromHex("")->empty());
  for (const char* bad : {"0", "0g", "g0", " 0", "0x", "abc", "/0", ":0", "@0", "`0"}) {
    EXPECT_EQ(FromHex(bad).status().code(), absl::StatusCode::kInvalidArgument) << bad;
  }
  EXPECT_EQ(Hex(*DigestFromHex(std::string(64, 'a'))), std::string(64, 'a'));
  for (size_t digits : {0, 62, 63, 65, 66}) {
    EXPECT_EQ(DigestFromHex(std::string(digits, 'a')).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
}

TEST(ByteWriter, IsLittleEndianWithU64Lengths) {
  ByteWriter writer;
  writer.U8(1).U16(0x0203).U32(0x04050607).U64(0x08090a0b0c0d0e0f).F32(1.0f).F64(-2.0);
  writer.Raw(Bytes{0xaa}).Sized("hi");
  EXPECT_EQ(Hex(writer.bytes()),
            "01"
            "0302"
            "07060504"
            "0f0e0d0c0b0a0908"
            "0000803f"
            "00000000000000c0"
            "aa"
            "02000000000000006869");
}

TEST(ByteReader, ReadsWhatWasWritten) {
  ByteWriter writer;
  writer.U8(255).U16(65535).U32(1u << 31).U64(~0ull).F32(-0.0f);
  writer.F64(std::numeric_limits<double>::infinity()).Raw(Bytes{1, 2, 3}).Sized(Bytes{4, 5});
  writer.Sized("text").Sized("view").U32(2).U8(6).U8(7);
  const Bytes bytes = std::move(writer).Take();
  ByteReader reader(bytes);
  EXPECT_EQ(reader.U8(), 255);
  EXPECT_EQ(reader.U16(), 65535);
  EXPECT_EQ(reader.U32(), 1u << 31);
  EXPECT_EQ(reader.U64(), ~0ull);
  EXPECT_TRUE(std::signbit(reader.F32()));
  EXPECT_EQ(reader.F64(), std::numeric_limits<double>::infinity());
  EXPECT_EQ(reader.Array<3>(), (std::array<uint8_t, 3>{1, 2, 3}));
  EXPECT_EQ(reader.Sized(2), (Bytes{4, 5}));
  EXPECT_EQ(reader.SizedText(4), "text");
  EXPECT_EQ(AsText(reader.SizedView(100)), "view");
  EXPECT_EQ(reader.Count(2, 1), 2u);
  EXPECT_EQ(reader.rest().size(), 2u);
  EXPECT_EQ(reader.U8(), 6);
  EXPECT_EQ(reader.U8(), 7);
  EXPECT_TRUE(reader.Finish("message").ok());
}

TEST(ByteReader, FailsAtEveryTruncationAndTheErrorSticks) {
  ByteWriter writer;
  writer.U16(1).Sized("abc").U32(3).U8(1).U8(2).U8(3);
  const Bytes whole = std::move(writer).Take();
  for (size_t size = 0; size < whole.size(); ++size) {
    const Bytes cut(whole.begin(), whole.begin() + size);  // exactly sized: ASan sees a read beyond
    ByteReader reader(cut);
    reader.U16();
    reader.SizedText(10);
    const uint32_t count = reader.Count(10, 1);
    for (uint32_t i = 0; i < count; ++i) reader.U8();
    EXPECT_FALSE(reader.ok()) << size;
    EXPECT_EQ(reader.U64(), 0u);
    EXPECT_TRUE(reader.Sized(10).empty());
    EXPECT_EQ(reader.Array<4>(), (std::array<uint8_t, 4>{}));
    EXPECT_EQ(reader.Count(10, 0), 0u);
    const absl::Status status = reader.Finish("probe");
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr("probe: truncated"));
  }
}

TEST(ByteReader, RefusesHostileLengths) {
  for (uint64_t length : {uint64_t{5}, uint64_t{1} << 32, uint64_t{1} << 63, ~uint64_t{0}}) {
    ByteWriter writer;
    writer.U64(length).U32(0);
    for (uint64_t max_size : {uint64_t{4}, ~uint64_t{0}}) {
      ByteReader reader(writer.bytes());
      EXPECT_TRUE(reader.Sized(max_size).empty());
      EXPECT_FALSE(reader.ok()) << length << " of at most " << max_size;
    }
  }
  ByteWriter many_writer;
  many_writer.U32(0xffffffff).U64(0);
  const Bytes many = std::move(many_writer).Take();
  ByteReader over_limit(many);
  EXPECT_EQ(over_limit.Count(1000, 0), 0u);
  EXPECT_FALSE(over_limit.ok());
  ByteReader not_there(many);
  EXPECT_EQ(not_there.Count(0xffffffff, 1), 0u);
  EXPECT_FALSE(not_there.ok());
  ByteReader product_overflows(many);
  EXPECT_EQ(product_overflows.Count(0xffffffff, ~uint64_t{0}), 0u);
  EXPECT_FALSE(product_overflows.ok());
}

TEST(ByteReader, RefusesTrailingBytesAndKeepsTheFirstError) {
  const Bytes two = {1, 2};
  ByteReader trailing(two);
  trailing.U8();
  EXPECT_EQ(trailing.Finish("m").message(), "m: 1 bytes too many at the end");
  ByteReader own(two);
  own.Fail("set is not sorted");
  own.Fail("later");
  EXPECT_EQ(own.U8(), 0);
  EXPECT_EQ(own.Finish("m").message(), "m: set is not sorted");
  ByteReader empty_reason(two);
  empty_reason.Fail("");
  EXPECT_FALSE(empty_reason.ok());
}

TEST(ByteReader, SurvivesRandomInput) {
  for (uint64_t seed = 0; seed < 300; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    SeededRandom random({.seed = seed, .label = "test/byte-reader"});
    Bytes input(random.Below(64));
    for (uint8_t& byte : input) byte = random.Below(4) == 0 ? random.Next() : random.Below(4);
    ByteReader reader(input);
    size_t taken = 0;
    for (int step = 0; step < 30; ++step) {
      const size_t before = reader.rest().size();
      switch (random.Below(5)) {
        case 0:
          reader.U8();
          break;
        case 1:
          reader.U32();
          break;
        case 2:
          EXPECT_LE(reader.Sized(random.Below(40)).size(), before);
          break;
        case 3:
          EXPECT_LE(reader.Count(20, 2) * uint64_t{2}, before);
          break;
        case 4:
          EXPECT_LE(reader.Raw(random.Below(9)).size(), before);
          break;
      }
      ASSERT_LE(reader.rest().size(), before);
      taken += before - reader.rest().size();
    }
    EXPECT_EQ(taken + reader.rest().size(), input.size());
    EXPECT_EQ(reader.Finish("m").ok(), reader.ok() && reader.rest().empty());
  }
}

TEST(Secret, IsWipedWhenMovedFrom) {
  Secret32 secret;
  secret.span()[5] = 9;
  Secret32 copy = secret;
  EXPECT_EQ(copy, secret);
  const Secret32 moved = std::move(secret);
  EXPECT_EQ(moved, copy);
  EXPECT_EQ(secret, Secret32());  // NOLINT(bugprone-use-after-move): that is what is tested
  copy = Secret32();
  EXPECT_FALSE(moved == copy);
}

TEST(Secret, IsWipedOnDestruction) {
  alignas(Secret32) uint8_t memory[sizeof(Secret32)];
  auto* secret = new (memory) Secret32;
  for (uint8_t& byte : secret->span()) byte = 0xa5;
  EXPECT_EQ(memory[7], 0xa5);
  secret->~Secret32();
  for (uint8_t byte : memory) EXPECT_EQ(byte, 0);
}

}  // namespace
}  // namespace atl
