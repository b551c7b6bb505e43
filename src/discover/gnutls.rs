//! GnuTLS 3.x by its function names. `gnutls_record_send` is nothing but a jump to
//! `gnutls_record_send2`: both are reported, and the capture side counts a call once.

use super::by_name::{self, Found};
use super::{Case, Finder, stripped};
use crate::error::Result;

pub(super) struct GnuTls;

impl Finder for GnuTls {
    fn library(&self) -> &'static str {
        "gnutls"
    }

    fn find(&self, case: &Case<'_>) -> Result<Option<Found>> {
        let found = by_name::find(case, self.library())?;
        Ok(found.or_else(|| stripped::refusal(case, self.library(), b"Enabled GnuTLS ")))
    }
}
