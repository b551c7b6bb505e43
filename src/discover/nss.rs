//! NSS, in two parts that mostly are two files: NSPR, through whose `PR_Read` and `PR_Write` all
//! plaintext passes (and that of plain files and sockets as well), and the TLS layer itself, whose
//! code tells at run time which descriptors are TLS.

use super::by_name::{self, Found};
use super::{Case, Finder};
use crate::error::Result;

pub(super) struct Nspr;

impl Finder for Nspr {
    fn library(&self) -> &'static str {
        "nspr"
    }

    fn find(&self, case: &Case<'_>) -> Result<Option<Found>> {
        by_name::find(case, self.library())
    }
}

pub(super) struct Nss;

impl Finder for Nss {
    fn library(&self) -> &'static str {
        "nss"
    }

    fn find(&self, case: &Case<'_>) -> Result<Option<Found>> {
        by_name::find(case, self.library())
    }
}
