//! AEAD functions of cryptographic libraries, by the tables that hold their addresses: whatever a compiler
//! does, a function whose address is taken keeps its calling convention and its place.

use super::Case;
use super::finding::Function;
use crate::error::Result;

/// Whose tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// ring's `aead::Algorithm`.
    Ring,
    /// AWS-LC's `struct evp_aead_st`.
    AwsLc,
    /// BoringSSL's, which has no `aead_id`.
    BoringSsl,
}

/// The AEAD functions of one copy of one library.
pub(super) struct Provider {
    /// Whose.
    pub kind: Kind,
    /// `ring::seal`, `ring::open`, `aws-lc::seal_scatter`, …; one name may stand for several addresses.
    pub functions: Vec<Function>,
}

/// All of them in one file.
pub(super) fn providers(_case: &Case<'_>) -> Result<Vec<Provider>> {
    Ok(Vec::new())
}
