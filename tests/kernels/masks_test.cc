// Key streams against published vectors and OpenSSL, and every kernel against a plain reference.
#include "kernels/masks.h"

#include <gtest/gtest.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "kernels/cpu/aes256.h"
#include "kernels/cpu/mask_kernels.h"
#include "kernels/pack.h"

namespace atl::kernels {
namespace {

using cpu::MaskKernel;
using cpu::MaskKernels;
using cpu::MaskRange;
using Bytes = std::vector<uint8_t>;

constexpr uint32_t kLaneBytes[] = {1, 2, 4, 8};
constexpr MaskCipher kCiphers[] = {MaskCipher::kAes256Ctr, MaskCipher::kChaCha20};

Bytes Hex(const std::string& hex) {
  Bytes bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes.push_back(static_cast<uint8_t>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

MaskKey TestKey(uint8_t first, bool subtract = false) {
  MaskKey key{.subtract = subtract};
  for (size_t i = 0; i < key.key.size(); ++i) key.key[i] = static_cast<uint8_t>(first + 7 * i);
  return key;
}

Bytes TestLanes(size_t bytes) {
  Bytes lanes(bytes);
  for (size_t i = 0; i < bytes; ++i) lanes[i] = static_cast<uint8_t>(i * 151 + (i >> 8) * 37 + 3);
  return lanes;
}

uint64_t BlockBytes(MaskCipher cipher) { return cipher == MaskCipher::kAes256Ctr ? 16 : 64; }

// `blocks` blocks of a stream from `block` on, as OpenSSL makes them.
Bytes OpenSslStream(MaskCipher cipher, const MaskKey& key, uint64_t block, uint64_t blocks) {
  uint8_t iv[16] = {};
  for (int i = 0; i < 8; ++i) {
    const bool aes = cipher == MaskCipher::kAes256Ctr;
    iv[aes ? 15 - i : i] = static_cast<uint8_t>(block >> (8 * i));
  }
  const EVP_CIPHER* type = cipher == MaskCipher::kAes256Ctr ? EVP_aes_256_ctr() : EVP_chacha20();
  const std::unique_ptr<EVP_CIPHER_CTX, decltype(&EVP_CIPHER_CTX_free)> context(
      EVP_CIPHER_CTX_new(), EVP_CIPHER_CTX_free);
  EXPECT_EQ(EVP_EncryptInit_ex(context.get(), type, nullptr, key.key.data(), iv), 1);
  const Bytes zeros(blocks * BlockBytes(cipher));
  Bytes out(zeros.size());
  int written = 0;
  EXPECT_EQ(EVP_EncryptUpdate(context.get(), out.data(), &written, zeros.data(),
                              static_cast<int>(zeros.size())),
            1);
  EXPECT_EQ(static_cast<size_t>(written), out.size());
  return out;
}

// The stream block by block, from the functions that the published vectors test.
Bytes PlainStream(MaskCipher cipher, const MaskKey& key, uint64_t block, uint64_t blocks) {
  cpu::Aes256Schedule schedule;
  cpu::ExpandAes256Key(key.key.data(), cpu::SubWordPortable, schedule);
  Bytes out;
  for (uint64_t b = block; b < block + blocks; ++b) {
    uint8_t bytes[64] = {};
    if (cipher == MaskCipher::kAes256Ctr) {
      for (int i = 0; i < 8; ++i) bytes[15 - i] = static_cast<uint8_t>(b >> (8 * i));
      cpu::EncryptBlocksPortable(schedule, bytes, bytes, 1);
    } else {
      cpu::ChaCha20Block(key.key.data(), b, 0, bytes);
    }
    out.insert(out.end(), bytes, bytes + BlockBytes(cipher));
  }
  return out;
}

// Lane by lane, byte by byte with a carry or borrow.
void PlainAdd(uint8_t* lanes, const uint8_t* stream, uint64_t bytes, uint32_t lane_bytes,
              bool subtract) {
  for (uint64_t lane = 0; lane < bytes; lane += lane_bytes) {
    int carry = 0;
    for (uint64_t i = lane; i < lane + lane_bytes; ++i) {
      const int sum = subtract ? lanes[i] - stream[i] - carry : lanes[i] + stream[i] + carry;
      lanes[i] = static_cast<uint8_t>(sum);
      carry = subtract ? sum < 0 : sum > 255;
    }
  }
}

std::string Name(const MaskKernel& kernel) {
  return std::string(kernel.cipher == MaskCipher::kAes256Ctr ? "aes256ctr " : "chacha20 ") +
         kernel.name;
}

// NIST SP 800-38A, F.1.5 and F.5.5.
constexpr char kNistKey[] = "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4";

cpu::Aes256Schedule NistSchedule(cpu::SubWord sub_word) {
  cpu::Aes256Schedule schedule;
  cpu::ExpandAes256Key(Hex(kNistKey).data(), sub_word, schedule);
  return schedule;
}

TEST(Aes256, EncryptsTheNistEcbVectors) {
  Bytes blocks =
      Hex("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
          "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710");
  const cpu::Aes256Schedule schedule = NistSchedule(cpu::SubWordPortable);
  cpu::EncryptBlocksPortable(schedule, blocks.data(), blocks.data(), 4);
  EXPECT_EQ(blocks, Hex("f3eed1bdb5d2a03c064b5a7e3db181f8591ccb10d410ed26dc5ba74a31362870"
                        "b6ed21b99ca6f4f9f153e7b1beafed1d23304b7a39f9f3ff067d8d8f9e24ecc7"));
}

TEST(Aes256, EncryptsTheNistCounterVectors) {
  Bytes blocks =
      Hex("f0f1f2f3f4f5f6f7f8f9fafbfcfdfefff0f1f2f3f4f5f6f7f8f9fafbfcfdff00"
          "f0f1f2f3f4f5f6f7f8f9fafbfcfdff01f0f1f2f3f4f5f6f7f8f9fafbfcfdff02");
  const cpu::Aes256Schedule schedule = NistSchedule(cpu::SubWordPortable);
  cpu::EncryptBlocksPortable(schedule, blocks.data(), blocks.data(), 4);
  EXPECT_EQ(blocks, Hex("0bdf7df1591716335e9a8b15c860c5025a6e699d536119065433863c8f657b94"
                        "1bc12c9c01610d5d0d8bd6a3378eca622956e1c8693536b1bee99c73a31576b6"));
}

// FIPS 197, 5.1.1: the inverse in GF(2^8), then an affine map.
TEST(Aes256, SubstitutesEveryByteAsDefined) {
  const auto multiply = [](uint32_t a, uint32_t b) {
    uint32_t product = 0;
    for (int i = 0; i < 8; ++i) {
      if (b >> i & 1) product ^= a << i;
    }
    for (int i = 14; i >= 8; --i) {
      if (product >> i & 1) product ^= 0x11bu << (i - 8);
    }
    return product;
  };
  for (uint32_t x = 0; x < 256; ++x) {
    uint32_t inverse = 0;
    for (uint32_t y = 1; y < 256; ++y) {
      if (multiply(x, y) == 1) inverse = y;
    }
    uint32_t expected = 0x63;
    for (int turn = 0; turn < 5; ++turn) expected ^= inverse << turn | inverse >> (8 - turn);
    expected &= 0xff;
    for (int byte = 0; byte < 4; ++byte) {
      const uint32_t rest = 0x63636363u & ~(0xffu << (8 * byte));  // the S-box of 0
      EXPECT_EQ(cpu::SubWordPortable(x << (8 * byte)), rest | expected << (8 * byte)) << x;
    }
  }
}

#if defined(__x86_64__)
TEST(Aes256, ExpandsKeysAlikeWithInstructions) {
  if (!__builtin_cpu_supports("aes")) GTEST_SKIP() << "this CPU has no AES instructions";
  const cpu::Aes256Schedule a = NistSchedule(cpu::SubWordPortable);
  const cpu::Aes256Schedule b = NistSchedule(cpu::SubWordAesNi);
  EXPECT_EQ(std::memcmp(&a, &b, sizeof(a)), 0);
}
#endif

// RFC 8439, 2.3.2. Its 32-bit counter 1 and 96-bit nonce are words 12 to 15.
TEST(ChaCha20, MakesTheRfcBlock) {
  const Bytes key = Hex("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f");
  Bytes out(64);
  cpu::ChaCha20Block(key.data(), uint64_t{0x09000000} << 32 | 1, 0x4a000000, out.data());
  EXPECT_EQ(out, Hex("10f1e7e4d13b5915500fdd1fa32071c4c7d1f4c733c068030422aa9ac3d46c4e"
                     "d2826446079faa0914c2d705d98b02a2b5129cd1de164eb9cbd083e8a2503c4e"));
}

// RFC 8439, A.1, vectors 1 and 2.
TEST(ChaCha20, StreamOfTheZeroKey) {
  const MaskKey key;
  Bytes lanes(128, 0);
  AddMasks(lanes, 4, 0, {&key, 1}, MaskCipher::kChaCha20);
  EXPECT_EQ(lanes, Hex("76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7"
                       "da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586"
                       "9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed"
                       "29b721769ce64e43d57133b074d839d531ed1f28510afb45ace10a1f4b794d6f"));
}

// Blocks at which a counter's byte or word carries.
constexpr uint64_t kCarries[] = {0, 1ull << 8, 1ull << 16, 1ull << 32, 1ull << 40, 1ull << 48};

TEST(Masks, EveryKernelMakesOpenSslsStream) {
  for (const MaskKernel& kernel : MaskKernels()) {
    if (!kernel.supported()) continue;
    const MaskKey key = TestKey(9);
    for (const uint64_t carry : kCarries) {
      const uint64_t before = std::min<uint64_t>(carry, 3000);  // more than what a table pays for
      const Bytes expected = OpenSslStream(kernel.cipher, key, carry - before, before + 3000);
      Bytes lanes(expected.size(), 0);
      kernel.add(key, MaskRange{.lanes = lanes.data(),
                                .elements = lanes.size() / 8,
                                .first_element = (carry - before) * (BlockBytes(kernel.cipher) / 8),
                                .lane_bytes = 8});
      EXPECT_EQ(lanes, expected) << Name(kernel) << " around block " << carry;
    }
  }
}

// Adds to `count` lanes that start at `first`, on memory that ends where the lanes end, and
// compares with the reference. `stream` starts at block `block`.
void CompareRange(const MaskKernel& kernel, const MaskKey& key, const Bytes& stream, uint64_t block,
                  uint64_t first, uint64_t count, uint32_t lane_bytes, size_t misalign) {
  const Bytes original = TestLanes(misalign + count * lane_bytes);
  Bytes expected = original;
  const uint64_t offset = (first - block * (BlockBytes(kernel.cipher) / lane_bytes)) * lane_bytes;
  ASSERT_LE(offset + count * lane_bytes, stream.size());
  PlainAdd(expected.data() + misalign, stream.data() + offset, count * lane_bytes, lane_bytes,
           key.subtract);
  const std::unique_ptr<uint8_t[]> lanes(new uint8_t[original.size()]);  // exact: no capacity
  std::copy(original.begin(), original.end(), lanes.get());
  kernel.add(key, MaskRange{.lanes = lanes.get() + misalign,
                            .elements = count,
                            .first_element = first,
                            .lane_bytes = lane_bytes});
  ASSERT_EQ(Bytes(lanes.get(), lanes.get() + original.size()), expected)
      << Name(kernel) << " lanes of " << lane_bytes << " bytes, first " << first << ", count "
      << count << ", misaligned by " << misalign << (key.subtract ? ", subtracted" : "");
}

class EveryKernel : public ::testing::TestWithParam<size_t> {
 protected:
  const MaskKernel& kernel() const { return MaskKernels()[GetParam()]; }
  void SetUp() override {
    if (!kernel().supported()) GTEST_SKIP() << "not on this CPU";
  }
};

TEST_P(EveryKernel, EqualsTheReferenceForAllCountsAndFirstElements) {
  const uint64_t block = 1000;
  for (const bool subtract : {false, true}) {
    const MaskKey key = TestKey(77, subtract);
    const Bytes stream =
        PlainStream(kernel().cipher, key, block, 4096 / BlockBytes(kernel().cipher));
    for (const uint32_t lane_bytes : kLaneBytes) {
      const uint64_t block_elements = BlockBytes(kernel().cipher) / lane_bytes;
      // Up to the largest batch of any kernel, 1024 bytes, and two of its vectors.
      const uint64_t most = 1152 / lane_bytes;
      for (uint64_t count = 0; count <= most; ++count) {
        const uint64_t skip = count % (block_elements + 1);
        CompareRange(kernel(), key, stream, block, block * block_elements + skip, count, lane_bytes,
                     count % 5);
        ASSERT_FALSE(HasFatalFailure());
      }
      for (uint64_t skip = 0; skip <= 2 * block_elements; ++skip) {
        for (const uint64_t count : {uint64_t{1}, block_elements, 5 * block_elements + 1}) {
          CompareRange(kernel(), key, stream, block, block * block_elements + skip, count,
                       lane_bytes, skip % 3);
          ASSERT_FALSE(HasFatalFailure());
        }
      }
    }
  }
}

// Ranges long enough for a table, from every kind of place in its group of 256 blocks.
TEST_P(EveryKernel, EqualsTheReferenceForLongRanges) {
  const MaskKey key = TestKey(3, true);
  const uint64_t block = (uint64_t{1} << 32) - 1024;
  const Bytes stream = PlainStream(kernel().cipher, key, block, 5000);
  for (const uint32_t lane_bytes : kLaneBytes) {
    const uint64_t block_elements = BlockBytes(kernel().cipher) / lane_bytes;
    for (const uint64_t skip : {0, 1, 3, 128, 255, 256, 257}) {
      for (const uint64_t blocks : {2047, 2048, 2049, 2304, 2559, 4607}) {
        CompareRange(kernel(), key, stream, block, (block + skip) * block_elements + skip % 2,
                     blocks * block_elements, lane_bytes, skip % 2);
        ASSERT_FALSE(HasFatalFailure());
      }
    }
  }
}

// Here the byte offset in the stream is more than 64 bits can hold.
TEST_P(EveryKernel, ReachesTheLastElements) {
  const MaskKey key = TestKey(200);
  const uint64_t block_elements = BlockBytes(kernel().cipher) / 8;
  const uint64_t block = ~uint64_t{0} / block_elements - 40;
  const Bytes stream = PlainStream(kernel().cipher, key, block, 40);
  CompareRange(kernel(), key, stream, block, block * block_elements + 1, 36 * block_elements, 8, 0);
}

std::string KernelTestName(const ::testing::TestParamInfo<size_t>& info) {
  std::string name = Name(MaskKernels()[info.param]);
  std::replace(name.begin(), name.end(), ' ', '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(All, EveryKernel, ::testing::Range<size_t>(0, MaskKernels().size()),
                         KernelTestName);

TEST(AddMasks, ManyKeysAreTheSumOfEach) {
  for (const MaskCipher cipher : kCiphers) {
    for (const uint32_t lane_bytes : kLaneBytes) {
      const uint64_t first = 37, bytes = 600'000 / 8 * 8;  // more than two blocks of the cache
      std::vector<MaskKey> keys;
      Bytes expected = TestLanes(bytes);
      const uint64_t blocks = bytes / BlockBytes(cipher) + 8;
      const uint64_t block = first * lane_bytes / BlockBytes(cipher);
      for (uint8_t k = 0; k < 5; ++k) {
        keys.push_back(TestKey(k, k % 2 == 1));
        const Bytes stream = OpenSslStream(cipher, keys.back(), block, blocks);
        PlainAdd(expected.data(), stream.data() + first * lane_bytes % BlockBytes(cipher), bytes,
                 lane_bytes, keys.back().subtract);
      }
      Bytes lanes = TestLanes(bytes);
      AddMasks(lanes, lane_bytes, first, keys, cipher);
      EXPECT_TRUE(lanes == expected) << MaskKernelName(cipher) << ", lanes of " << lane_bytes;
    }
  }
}

TEST(AddMasks, CancelsWhenSubtractedInOtherRanges) {
  for (const MaskCipher cipher : kCiphers) {
    for (const uint32_t lane_bytes : kLaneBytes) {
      const uint64_t first = 123'456'789, elements = 70'001;
      Bytes lanes = TestLanes(elements * lane_bytes);
      const Bytes original = lanes;
      AddMasks(lanes, lane_bytes, first, std::vector<MaskKey>{TestKey(1), TestKey(2, true)},
               cipher);
      EXPECT_FALSE(lanes == original);
      uint64_t done = 0;
      for (uint64_t size = 1; done < elements; size = size * 3 + 1) {
        const uint64_t count = std::min(size, elements - done);
        AddMasks(std::span(lanes).subspan(done * lane_bytes, count * lane_bytes), lane_bytes,
                 first + done, std::vector<MaskKey>{TestKey(1, true), TestKey(2)}, cipher);
        done += count;
      }
      EXPECT_TRUE(lanes == original) << MaskKernelName(cipher) << ", lanes of " << lane_bytes;
    }
  }
}

TEST(AddVectorsAndMasks, IsTheVectorsAndTheMasks) {
  for (const MaskCipher cipher : kCiphers) {
    for (const auto& [lane_bytes, sum_bits] : std::vector<std::pair<uint32_t, uint32_t>>{
             {1, 7}, {1, 8}, {2, 13}, {2, 16}, {4, 17}, {4, 32}, {8, 50}}) {
      for (const auto& [vectors, masks] : std::vector<std::pair<size_t, uint8_t>>{
               {0, 2}, {1, 0}, {1, 2}, {3, 2}, {3, 7}, {4, 4}}) {
        const uint64_t first = 8 * 12'345, elements = 300'005 / lane_bytes;  // several blocks
        std::vector<Bytes> packed;
        std::vector<MaskKey> keys;
        Bytes lanes = TestLanes(elements * lane_bytes), expected = lanes;
        for (size_t i = 0; i < vectors; ++i) {
          Bytes& vector = packed.emplace_back((elements * sum_bits + 7) / 8);
          for (size_t k = 0; k < vector.size(); ++k)
            vector[k] = static_cast<uint8_t>(k * 7 + k / 251 + i);
          if (elements * sum_bits % 8 != 0)  // no bits after the last field
            vector.back() &= static_cast<uint8_t>((1u << (elements * sum_bits % 8)) - 1);
          AddPacked(vector, lane_bytes, sum_bits, elements, expected);
        }
        for (uint8_t k = 0; k < masks; ++k) keys.push_back(TestKey(k, k % 3 == 1));
        AddMasks(expected, lane_bytes, first, keys, cipher);
        const std::vector<std::span<const uint8_t>> views(packed.begin(), packed.end());
        AddVectorsAndMasks(lanes, lane_bytes, sum_bits, first, views, keys, cipher);
        EXPECT_TRUE(lanes == expected) << MaskKernelName(cipher) << ", " << sum_bits << " bits, "
                                       << vectors << " vectors, " << int{masks} << " masks";
      }
    }
  }
}

TEST(AddMasks, WithoutKeysOrLanesDoesNothing) {
  Bytes lanes = TestLanes(64);
  const MaskKey key = TestKey(1);
  AddMasks(lanes, 4, 7, {});
  AddMasks({}, 4, 7, {&key, 1});
  EXPECT_EQ(lanes, TestLanes(64));
}

TEST(AddMasks, TakesTheFirstSupportedKernel) {
  for (const MaskCipher cipher : kCiphers) {
    const auto first = std::find_if(
        MaskKernels().begin(), MaskKernels().end(),
        [&](const MaskKernel& kernel) { return kernel.cipher == cipher && kernel.supported(); });
    ASSERT_NE(first, MaskKernels().end());
    EXPECT_STREQ(MaskKernelName(cipher), first->name);
  }
}

}  // namespace
}  // namespace atl::kernels
