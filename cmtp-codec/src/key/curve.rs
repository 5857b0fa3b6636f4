//! Whether a y coordinate belongs to a point of edwards25519 (RFC 8032 section 5.1.3).
//!
//! The crypto library decodes points only where it checks a signature. Nothing here is secret, so nothing is done in
//! constant time.

/// Whether `key`, the sign bit apart, is the y of a point.
pub(super) fn has_point(key: &[u8; 32]) -> bool {
    let (limbs, _) = key.as_chunks::<8>();
    let mut y = Residue(std::array::from_fn(|at| u64::from_le_bytes(limbs[at])));
    y.0[3] &= !SIGN;
    // x² = (y² − 1) / (d y² + 1), and a quotient is a square exactly if the product is one.
    let square = y.times(y);
    let product = square.plus(MINUS_ONE).times(square.times(D).plus(ONE));
    product.is_square()
}

/// A number modulo p = 2^255 − 19, not always the least one; the least limb stands first.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Residue([u64; 4]);

impl Residue {
    fn plus(self, other: Self) -> Self {
        Self::folded(self.0, other.0, 1)
    }

    fn times(self, other: Self) -> Self {
        let mut wide = [0; 8];
        for (i, &a) in self.0.iter().enumerate() {
            let mut carry = 0;
            for (j, &b) in other.0.iter().enumerate() {
                let sum = u128::from(a) * u128::from(b) + u128::from(wide[i + j]) + carry;
                (wide[i + j], carry) = (low(sum), sum >> 64);
            }
            wide[i + 4] = low(carry);
        }
        let [a, b, c, d, e, f, g, h] = wide;
        Self::folded([a, b, c, d], [e, f, g, h], TWO_TO_256)
    }

    /// `first` + `second` · `factor`, where what does not fit into four limbs goes round.
    fn folded(first: [u64; 4], second: [u64; 4], factor: u64) -> Self {
        let mut sum = [0; 4];
        let mut carry = 0;
        for (at, limb) in sum.iter_mut().enumerate() {
            let next = u128::from(first[at]) + u128::from(second[at]) * u128::from(factor) + carry;
            (*limb, carry) = (low(next), next >> 64);
        }
        match low(carry) {
            0 => Self(sum),
            over => Self::folded(sum, [over, 0, 0, 0], TWO_TO_256),
        }
    }

    /// Euler's criterion: a^((p − 1) / 2) is 1 for a square, 0 for zero.
    fn is_square(self) -> bool {
        // (p − 1) / 2 = 2^254 − 10: of its 254 bits these three are not set.
        let power = (0..254).rev().fold(ONE, |power, bit| {
            let square = power.times(power);
            if matches!(bit, 0 | 3) { square } else { square.times(self) }
        });
        ZEROS_AND_ONES.contains(&power)
    }
}

/// The lower half.
const fn low(sum: u128) -> u64 {
    sum as u64
}

/// 2^256 modulo p.
const TWO_TO_256: u64 = 38;
const SIGN: u64 = 1 << 63;
const ONE: Residue = Residue([1, 0, 0, 0]);
const MINUS_ONE: Residue = Residue([u64::MAX - 19, u64::MAX, u64::MAX, !SIGN]);

/// The curve's constant −121665 / 121666.
const D: Residue = Residue([
    0x75eb_4dca_1359_78a3,
    0x0070_0a4d_4141_d8ab,
    0x8cc7_4079_7779_e898,
    0x5203_6cee_2b6f_fe73,
]);

/// 0, p, 2p; 1, p + 1, 2p + 1: what four limbs can hold of these two.
const ZEROS_AND_ONES: [Residue; 6] = [
    Residue([0; 4]),
    Residue([u64::MAX - 18, u64::MAX, u64::MAX, !SIGN]),
    Residue([u64::MAX - 37, u64::MAX, u64::MAX, u64::MAX]),
    ONE,
    Residue([u64::MAX - 17, u64::MAX, u64::MAX, !SIGN]),
    Residue([u64::MAX - 36, u64::MAX, u64::MAX, u64::MAX]),
];

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::has_point;
    use crate::hash::Digest;
    use crate::key::SigningKey;

    #[test]
    fn small_coordinates_are_known() {
        // [SIG-2] As `cmtp-spec/vectors/ed25519.py` decodes them.
        let has = |y: &u8| has_point(&std::array::from_fn(|at| if at == 0 { *y } else { 0 }));
        let points =
            [0, 1, 3, 4, 5, 6, 9, 10, 14, 15, 16, 18, 19, 21, 23, 24, 25, 26, 27, 28, 29, 30];
        assert_eq!((0..32).filter(has).collect::<Vec<_>>(), points);
    }

    #[test]
    fn large_coordinates_are_known() {
        // [SIG-2] A bit for SHA-256 of each byte, as `cmtp-spec/vectors/ed25519.py` decodes it.
        let points = "53bf96bece6c71b690a45f51c46d65598f671785fccf300eadd1a015d51b20e5";
        let mut bits = [0_u8; 32];
        for byte in 0..=u8::MAX {
            let bit = u8::from(has_point(&Digest::of(&[byte]).0)) << (7 - byte % 8);
            bits[usize::from(byte / 8)] |= bit;
        }
        assert_eq!(Digest(bits).to_string(), points);
    }

    proptest::proptest! {
        #[test]
        fn every_key_is_a_point(seed: [u8; 32]) {
            proptest::prop_assert!(has_point(&SigningKey::from_seed(&seed).unwrap().public().0));
        }
    }
}
