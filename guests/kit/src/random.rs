//! Random data that nobody can guess (`wasi:random`).
//!
//! ```
//! use dockside_driver::{random, testing};
//!
//! assert_ne!(random::bytes(16), random::bytes(16));
//! // In a test they can be the same each time.
//! testing::set_random(7);
//! let number = random::number();
//! testing::set_random(7);
//! assert_eq!(random::number(), number);
//! ```

/// This many random bytes.
pub fn bytes(count: usize) -> Vec<u8> {
    crate::sys::random_bytes(count)
}

/// A random number.
pub fn number() -> u64 {
    crate::sys::random_number()
}
