//! Random data that nobody can guess (`wasi:random`).

/// This many random bytes.
pub fn bytes(count: usize) -> Vec<u8> {
    crate::sys::random_bytes(count)
}

/// A random number.
pub fn number() -> u64 {
    crate::sys::random_number()
}
