//! Random bytes for salts, ids and keys, drawn ahead of need.

use std::cell::RefCell;

use aws_lc_rs::rand;
use cmtp_codec::Salt;

/// Fills `bytes` with random bytes that nobody else gets.
///
/// They come from the crypto library's generator, a few hundred at a time for each thread, because one call of it costs as
/// much as that many bytes; what was handed out is wiped.
///
/// # Errors
/// [`NoEntropy`].
pub fn fill(bytes: &mut [u8]) -> Result<(), NoEntropy> {
    if bytes.len() > DRAWN {
        return draw(bytes);
    }
    POOL.with_borrow_mut(|pool| {
        if pool.left < bytes.len() {
            draw(&mut pool.bytes)?;
            pool.left = DRAWN;
        }
        let (rest, taken) = pool.bytes[..pool.left].split_at_mut(pool.left - bytes.len());
        bytes.copy_from_slice(taken);
        taken.fill(0);
        pool.left = rest.len();
        Ok(())
    })
}

/// A fresh salt.
///
/// # Errors
/// [`NoEntropy`].
pub fn salt() -> Result<Salt, NoEntropy> {
    let mut salt = [0; 16];
    // [HSH-6] A sender MUST draw a fresh random salt for each public leaf, private field and body.
    fill(&mut salt)?;
    Ok(Salt(salt))
}

/// The system has no randomness, without which nothing can be hidden or told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system has no randomness")]
pub struct NoEntropy;

struct Pool {
    bytes: [u8; DRAWN],
    /// Bytes at the front that were not handed out.
    left: usize,
}

thread_local! {
    static POOL: RefCell<Pool> = const { RefCell::new(Pool { bytes: [0; DRAWN], left: 0 }) };
}

fn draw(bytes: &mut [u8]) -> Result<(), NoEntropy> {
    rand::fill(bytes).map_err(|aws_lc_rs::error::Unspecified| NoEntropy)
}

/// Salts and keys of a few requests.
const DRAWN: usize = 1024;

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_bytes_are_handed_out_twice() {
        // [HSH-6]
        let mut seen = HashSet::new();
        for _ in 0..1_000 {
            assert!(seen.insert(salt().unwrap().0));
        }
        let elsewhere = std::thread::spawn(|| salt().unwrap().0).join().unwrap();
        assert!(seen.insert(elsewhere));
    }

    #[test]
    fn any_length_is_filled() {
        for length in [0, 1, 16, 1_000, DRAWN, DRAWN + 1, 5 * DRAWN] {
            let (mut one, mut other) = (vec![0; length], vec![0; length]);
            fill(&mut one).unwrap();
            fill(&mut other).unwrap();
            assert!(length < 16 || one != other && one.iter().any(|&byte| byte != 0));
        }
    }
}
