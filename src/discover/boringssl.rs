//! BoringSSL and AWS-LC by their function names. A copy whose names are stripped is recognised by
//! its source paths and refused.

use super::by_name::{self, Found};
use super::{Case, Finder, stripped};
use crate::error::Result;

pub(super) struct BoringSsl;

impl Finder for BoringSsl {
    fn library(&self) -> &'static str {
        "boringssl"
    }

    fn find(&self, case: &Case<'_>) -> Result<Option<Found>> {
        let found = by_name::find(case, self.library())?;
        Ok(found.or_else(|| stripped::refusal(case, self.library(), b"/ssl_lib.cc\0")))
    }
}
