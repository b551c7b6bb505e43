//! What the planner goes by when a user has said which sites are wanted: the prices of this machine.

use crate::cache::prices::load_prices;
use crate::image::Arch;
use crate::plan::{Choice, PriceList, ProbeSites};

/// Prices of probes in programs for this processor.
pub fn prices(arch: Arch) -> PriceList {
    load_prices(arch)
}

/// What to choose by for a file whose processor a report names.
pub fn choice(arch: &str, sites: ProbeSites) -> Choice {
    let is_aarch64 = arch == Arch::Aarch64.to_string();
    let arch = if is_aarch64 {
        Arch::Aarch64
    } else {
        Arch::X86_64
    };
    Choice {
        sites,
        prices: prices(arch),
        return_probes: true,
    }
}
