//! CMTP's numbers, words and vectors.
#![no_std]

#[cfg(test)]
mod tests {
    #[test]
    fn the_skeleton_builds() {
        assert_eq!(core::mem::size_of::<u64>(), 8);
    }
}
