// Key streams against published vectors, against OpenSSL, and every kernel against the portable
// one.
#include "kernels/masks.h"

#include <gtest/gtest.h>
#include <openssl/evp.h>

#include <random>
#include <string>
#include <vector>

#include "kernels/cpu/aes256.h"
#include "kernels/cpu/mask_kernels.h"

namespace atl::kernels {
namespace {

using cpu::MaskKernel;
using cpu::MaskRange;

std::vector<uint8_t> Hex(const std::string& hex) {
  std::vector<uint8_t> bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes.push_back(static_cast<uint8_t>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

MaskKey KeyOf(const std::string& hex, bool subtract = false) {
  MaskKey key{.subtract = subtract};
  const std::vector<uint8_t> bytes = Hex(hex);
  std::copy(bytes.begin(), bytes.end(), key.key.begin());
  return key;
}

MaskKey TestKey(uint8_t first, bool subtract = false) {
  MaskKey key{.subtract = subtract};
  for (size_t i = 0; i < key.key.size(); ++i) key.key[i] = static_cast<uint8_t>(first + 7 * i);
  return key;
}

std::vector<uint8_t> TestLanes(size_t bytes) {
  std::vector<uint8_t> lanes(bytes);
  for (size_t i = 0; i < bytes; ++i) lanes[i] = static_cast<uint8_t>(i * 151 + (i >> 8) * 37 + 3);
  return lanes;
}

// Bytes [16 block, 16 block + size) of the stream as OpenSSL makes them.
std::vector<uint8_t> OpenSslStream(MaskCipher cipher, const MaskKey& key, uint64_t byte_block,
                                   size_t size) {
  uint8_t iv[16] = {};
  for (int i = 0; i < 8; ++i) {
    if (cipher == MaskCipher::kAes256Ctr) {
      iv[15 - i] = static_cast<uint8_t>(byte_block >> (8 * i));
    } else {
      iv[i] = static_cast<uint8_t>(byte_block >> (8 * i));
    }
  }
  EVP_CIPHER_CTX* context = EVP_CIPHER_CTX_new();
  const EVP_CIPHER* type = cipher == MaskCipher::kAes256Ctr ? EVP_aes_256_ctr() : EVP_chacha20();
  EXPECT_EQ(EVP_EncryptInit_ex(context, type, nullptr, key.key.data(), iv), 1);
  std::vector<uint8_t> zeros(size), out(size);
  int written = 0;
  EXPECT_EQ(EVP_EncryptUpdate(context, out.data(), &written, zeros.data(), static_cast<int>(size)),
            1);
  EVP_CIPHER_CTX_free(context);
  return out;
}

// NIST SP 800-38A, F.1.5 and F.5.5: AES-256.
constexpr char kNistKey[] = "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4";

TEST(Aes256, EcbVectors) {
  const std::vector<uint8_t> plain =
      Hex("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411e5fbc119"
          "1a0a52"
          "eff69f2445df4f9b17ad2b417be66c3710");
  const std::vector<uint8_t> expected =
      Hex("f3eed1bdb5d2a03c064b5a7e3db181f8591ccb10d410ed26dc5ba74a31362870b6ed21b99ca6f4f9f153e7b1"
          "beafed1d"
          "23304b7a39f9f3ff067d8d8f9e24ecc7");
  cpu::Aes256Schedule schedule;
  cpu::ExpandAes256Key(Hex(kNistKey).data(), cpu::SubWordPortable, schedule);
  std::vector<uint8_t> out(64);
  cpu::EncryptBlocksPortable(schedule, plain.data(), out.data(), 4);
  EXPECT_EQ(out, expected);
}

TEST(Aes256, CtrVectors) {
  std::vector<uint8_t> stream;
  for (const char* last : {"ff", "00", "01", "02"}) {
    const std::vector<uint8_t> block =
        Hex(std::string("f0f1f2f3f4f5f6f7f8f9fafbfcfd") + (*last == 'f' ? "fe" : "ff") + last);
    stream.insert(stream.end(), block.begin(), block.end());
  }
  cpu::Aes256Schedule schedule;
  cpu::ExpandAes256Key(Hex(kNistKey).data(), cpu::SubWordPortable, schedule);
  cpu::EncryptBlocksPortable(schedule, stream.data(), stream.data(), 4);
  EXPECT_EQ(stream, Hex("0bdf7df1591716335e9a8b15c860c5025a6e699d536119065433863c8f657b94"
                        "1bc12c9c01610d5d0d8bd6a3378eca622956e1c8693536b1bee99c73a31576b6"));
}

TEST(Masks, EqualOpenSsl) {
  for (const MaskCipher cipher : {MaskCipher::kAes256Ctr, MaskCipher::kChaCha20}) {
    const uint64_t block_bytes = cipher == MaskCipher::kAes256Ctr ? 16 : 64;
    for (const uint64_t block :
         {uint64_t{0}, (uint64_t{1} << 32) - 70, (uint64_t{1} << 40) - 300}) {
      const MaskKey key = TestKey(9);
      std::vector<uint8_t> lanes(20000, 0);
      AddMasks(lanes, 1, block * block_bytes, {&key, 1}, cipher);
      EXPECT_EQ(lanes, OpenSslStream(cipher, key, block, lanes.size()))
          << MaskKernelName(cipher) << " block " << block;
    }
  }
}

}  // namespace
}  // namespace atl::kernels
