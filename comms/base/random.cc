#include "comms/base/random.h"

#include <sys/random.h>

#include <cassert>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "comms/base/crypto/suite.h"

namespace atl {
namespace {

class GetRandom : public SecretRandom {
 public:
  void Fill(std::span<uint8_t> out) override {
    while (!out.empty()) {
      const ssize_t got = getrandom(out.data(), out.size(), 0);
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) {
        std::perror("getrandom: the system gives no random bytes, cannot go on");
        std::abort();
      }
      out = out.subspan(static_cast<size_t>(got));
    }
  }
};

uint64_t RotateLeft(uint64_t x, int by) { return x << by | x >> (64 - by); }

// libm's log and exp differ in the last bit between versions and CPUs; these use only operations
// that IEEE-754 rounds in one way (and the build forbids fused multiply-adds), so seeded streams
// are the same everywhere.

constexpr double kLn2High =
    0x1.62e42fefa0000p-1;  // 11 trailing zero bits: exact times any exponent
constexpr double kLn2Low = 0x1.cf79abc9e3b3ap-40;

// Natural logarithm of a normal x > 0, to about 1 ulp: log m = 2 atanh((m - 1) / (m + 1)), |.| <
// 0.1716.
double PortableLog(double x) {
  int exponent = 0;
  double m = std::frexp(x, &exponent);  // in [0.5, 1)
  if (m < 0x1.6a09e667f3bcdp-1) {       // sqrt(1/2)
    m *= 2;
    --exponent;
  }
  const double s = (m - 1) / (m + 1);
  const double square = s * s;
  double series = 0;
  for (int k = 25; k >= 1; k -= 2) series = series * square + 1.0 / k;
  return exponent * kLn2High + (2 * s * series + exponent * kLn2Low);
}

// e^x; 0 below the smallest normal number. x <= 700.
double PortableExp(double x) {
  if (x < -708) return 0;
  const double k = std::floor(x / (kLn2High + kLn2Low) + 0.5);
  const double r = (x - k * kLn2High) - k * kLn2Low;
  double series = 1;
  for (int i = 15; i >= 1; --i) series = 1 + series * r / i;
  return std::ldexp(series, static_cast<int>(k));
}

// Marsaglia and Tsang for shape >= 1.
double GammaFromOne(SeededRandom& random, double shape) {
  const double d = shape - 1.0 / 3;
  const double c = 1 / std::sqrt(9 * d);
  while (true) {
    const double x = random.Normal();
    const double v = (1 + c * x) * (1 + c * x) * (1 + c * x);
    if (v <= 0) continue;
    const double u = 1 - random.Uniform();
    if (PortableLog(u) < 0.5 * x * x + d - d * v + d * PortableLog(v)) return d * v;
  }
}

// log of a Gamma variate: for a small shape the variate itself may be too small for a double.
double LogGammaVariate(SeededRandom& random, double shape) {
  if (shape >= 1) return PortableLog(GammaFromOne(random, shape));
  const double boosted = PortableLog(GammaFromOne(random, shape + 1));
  return boosted + PortableLog(1 - random.Uniform()) / shape;
}

}  // namespace

SecretRandom& SystemRandom() {
  static GetRandom* const random = new GetRandom;
  return *random;
}

Digest SeededKey(const SeededStream& stream) {
  // The 0 byte ends the label, so a label with one inside would be ambiguous.
  assert(stream.label.find('\0') == std::string_view::npos);
  ByteWriter info;
  info.Raw(AsBytes("atoll/seeded/")).Raw(AsBytes(stream.label)).U8(0);
  info.U32(stream.round).U32(stream.site).U32(stream.rank);
  const Bytes seed = ByteWriter().U64(stream.seed).bytes();
  const Secret32 key = OpensslSuite().Hkdf(seed, {}, info.bytes());
  Digest out;
  std::copy(key.span().begin(), key.span().end(), out.begin());
  return out;
}

SeededRandom::SeededRandom(const SeededStream& stream) {
  const Digest key = SeededKey(stream);
  ByteReader reader(key);
  for (uint64_t& word : state_) word = reader.U64();
}

uint64_t SeededRandom::Next() {
  const uint64_t result = RotateLeft(state_[1] * 5, 7) * 9;
  const uint64_t t = state_[1] << 17;
  state_[2] ^= state_[0];
  state_[3] ^= state_[1];
  state_[1] ^= state_[2];
  state_[0] ^= state_[3];
  state_[2] ^= t;
  state_[3] = RotateLeft(state_[3], 45);
  return result;
}

// Multiply and reject: Lemire, "Fast random integer generation in an interval", 2019.
uint64_t SeededRandom::Below(uint64_t bound) {
  assert(bound > 0);
  unsigned __int128 product = static_cast<unsigned __int128>(Next()) * bound;
  if (static_cast<uint64_t>(product) < bound) {
    const uint64_t threshold = -bound % bound;
    while (static_cast<uint64_t>(product) < threshold) {
      product = static_cast<unsigned __int128>(Next()) * bound;
    }
  }
  return static_cast<uint64_t>(product >> 64);
}

double SeededRandom::Uniform() { return static_cast<double>(Next() >> 11) * 0x1p-53; }

// Marsaglia's polar method; the second of the pair is dropped, so that the state is the generator's
// alone.
double SeededRandom::Normal() {
  while (true) {
    const double x = 2 * Uniform() - 1;
    const double y = 2 * Uniform() - 1;
    const double square = x * x + y * y;
    if (square >= 1 || square == 0) continue;
    return x * std::sqrt(-2 * PortableLog(square) / square);
  }
}

double SeededRandom::Gamma(double shape) {
  assert(shape > 0);
  if (shape >= 1) return GammaFromOne(*this, shape);
  return PortableExp(LogGammaVariate(*this, shape));
}

std::vector<double> SeededRandom::Dirichlet(double alpha, size_t count) {
  assert(alpha > 0);
  std::vector<double> parts(count);
  double largest = -HUGE_VAL;
  for (double& part : parts) {
    part = LogGammaVariate(*this, alpha);
    largest = std::max(largest, part);
  }
  double sum = 0;
  for (double& part : parts) {
    part = PortableExp(part -
                       largest);  // the largest is 1, so the sum is not 0 even where others vanish
    sum += part;
  }
  for (double& part : parts) part /= sum;
  return parts;
}

}  // namespace atl
