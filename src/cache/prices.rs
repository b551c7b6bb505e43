//! The price list that `doctor --bench` measured on this machine, kept in the user's cache beside what
//! discovery found. One that is of another kernel or processor, damaged, or within reach of others is no
//! list: then the built-in one holds.

use std::path::{Path, PathBuf};

use super::store::{self, default_dir};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::host::machine::Machine;
use crate::image::Arch;
use crate::plan::{PriceList, Source};

/// First word of the file; its number changes with the format.
const FORMAT: &str = "agentsight-prices-1";

/// Not `.json`: those are the entries of discovery, the oldest of which are deleted.
const NAME: &str = "prices";

/// A list takes some hundred bytes.
const BYTES_MAX: u64 = 64 << 10;

/// No hit costs a second: a sum of some such prices overflows nothing.
const PRICE_MAX: u32 = 1_000_000_000;

/// What the planner is to reckon with for code of `arch`: as measured on this machine, else the built-in list.
pub fn load_prices(arch: Arch) -> PriceList {
    let measured = || {
        let machine = Machine::here()?;
        load_from(&default_dir()?, &machine).ok()
    };
    // Only this machine's own kind of code was measured.
    let measured = (Arch::HOST == Some(arch)).then(measured).flatten();
    measured.unwrap_or_else(|| PriceList::built_in(arch))
}

/// Keeps a measured list in the user's cache. Tells where.
///
/// # Errors
/// There is no such place, or it cannot be written to.
pub fn save(prices: &PriceList) -> Result<PathBuf> {
    let dir = default_dir().ok_or_else(|| {
        Error::new(
            ErrorKind::NotFound,
            "no directory to keep the prices in (set AGENTSIGHT_CACHE)",
        )
    })?;
    save_in(&dir, prices)
}

/// The same in this directory.
///
/// # Errors
/// It cannot be written to, or others may write to it.
pub fn save_in(dir: &Path, prices: &PriceList) -> Result<PathBuf> {
    let path = dir.join(NAME);
    let failed = || format!("failed to write {}", path.display());
    store::encode(FORMAT, prices)
        .and_then(|text| store::write_ours(&path, &text))
        .context(failed)?;
    Ok(path)
}

/// The list that was kept there for this machine.
///
/// # Errors
/// There is none that can be used.
pub fn load_from(dir: &Path, machine: &Machine) -> Result<PriceList> {
    let path = dir.join(NAME);
    let text = store::read_ours(&path, BYTES_MAX)
        .context(|| format!("failed to read {}", path.display()))?;
    let refused = |why| Error::invalid(format!("{} is not used: {why}", path.display()));
    let prices: Option<PriceList> = store::decode(FORMAT, &text.map_err(refused)?);
    let prices = prices.ok_or_else(|| refused("it is damaged"))?;
    let of = match &prices.source {
        Source::BuiltIn => return Err(refused("it was not measured")),
        Source::Measured { kernel, processor } => (kernel, processor),
    };
    if of != (&machine.kernel, &machine.processor) {
        return Err(refused("it is of another machine"));
    }
    let is_price = |price: &u32| (1..=PRICE_MAX).contains(price);
    let mut forms = prices.forms.values();
    if prices.forms.is_empty() || !forms.all(is_price) || !is_price(&prices.return_probe) {
        return Err(refused("no machine has such prices"));
    }
    Ok(prices)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::discover::finding::Form;

    fn machine() -> Machine {
        Machine {
            kernel: "7.0.0 #1".into(),
            processor: "fast".into(),
        }
    }

    fn measured() -> PriceList {
        let Machine { kernel, processor } = machine();
        PriceList {
            source: Source::Measured { kernel, processor },
            forms: [(Form::Other, 900), (Form::Push, 70)].into(),
            return_probe: 5,
        }
    }

    /// What was kept comes back on the same machine, and on no other.
    #[test]
    fn holds_for_one_machine() {
        let place = tempfile::tempdir().unwrap();
        let dir = place.path().join("new/cache");
        let path = save_in(&dir, &measured()).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&dir), mode(&path)), (0o700, 0o600));
        assert_eq!(load_from(&dir, &machine()).unwrap(), measured());
        for (kernel, processor) in [("7.0.0 #2", "fast"), ("7.0.0 #1", "slow")] {
            let (kernel, processor) = (kernel.into(), processor.into());
            let other = Machine { kernel, processor };
            assert!(load_from(&dir, &other).is_err());
        }
    }

    /// A list that another user may have written steers no probe, nor does one with a changed byte.
    #[test]
    fn foreign_and_damaged_lists_are_refused() {
        let place = tempfile::tempdir().unwrap();
        let dir = place.path().join("cache");
        let path = save_in(&dir, &measured()).unwrap();
        let why = || load_from(&dir, &machine()).unwrap_err().to_string();
        let text = fs::read(&path).unwrap();
        for at in 0..text.len() {
            let mut damaged = text.clone();
            damaged[at] ^= 1 << (at % 8);
            fs::write(&path, &damaged).unwrap();
            assert!(why().contains("damaged"), "byte {at}: {}", why());
            fs::write(&path, &text[..at]).unwrap();
            assert!(why().contains("damaged"), "cut at {at}: {}", why());
        }
        fs::write(&path, vec![b' '; BYTES_MAX as usize + 1]).unwrap();
        assert!(why().contains("too large"), "{}", why());
        fs::write(&path, &text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o620)).unwrap();
        assert!(why().contains("others"), "{}", why());
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        assert!(why().contains("failed to read"), "{}", why());
    }

    /// Whole lists of ours that nothing can be reckoned with.
    #[test]
    fn senseless_prices_are_refused() {
        let place = tempfile::tempdir().unwrap();
        let dir = place.path().join("cache");
        let senseless: [fn(&mut PriceList); 4] = [
            |list| list.source = Source::BuiltIn,
            |list| list.forms.clear(),
            |list| list.return_probe = 0,
            |list| *list.forms.entry(Form::Nop).or_default() = u32::MAX,
        ];
        for change in senseless {
            let mut list = measured();
            change(&mut list);
            save_in(&dir, &list).unwrap();
            assert!(load_from(&dir, &machine()).is_err(), "{list:?}");
        }
    }
}
