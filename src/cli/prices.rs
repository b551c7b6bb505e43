//! What the planner goes by when a user has said which sites are wanted: the prices of this machine.

use crate::cache::prices::load_prices;
use crate::image::Arch;
use crate::plan::{Choice, ProbeSites};

/// What to choose by, for each kind of processor that is understood.
pub struct Choices {
    x86_64: Choice,
    aarch64: Choice,
}

impl Choices {
    /// Reads the prices, once for all files.
    pub fn new(sites: ProbeSites) -> Self {
        let choice = |arch| Choice {
            sites,
            prices: load_prices(arch),
            return_probes: true,
        };
        Self {
            x86_64: choice(Arch::X86_64),
            aarch64: choice(Arch::Aarch64),
        }
    }

    /// For a file whose processor a report names; for others, there is nothing to choose from.
    pub fn of(&self, arch: &str) -> &Choice {
        if arch == Arch::Aarch64.to_string() {
            &self.aarch64
        } else {
            &self.x86_64
        }
    }
}
