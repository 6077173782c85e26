//! What tells whether a rule set in the kernel was made from the same record.

use sha2::{Digest, Sha256};

use super::RuleSet;

/// Short enough for the comment of a rule, of which the kernel keeps 128 bytes.
pub(super) fn digest(set: &RuleSet) -> String {
    // Text of derived Debug, and not JSON: it cannot fail.
    hex::encode(Sha256::digest(format!("{:?}", set.rules)))
}
