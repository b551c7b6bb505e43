//! Words that hold addresses, against what `readelf` prints of the same relocations.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use agentsight::image::{Image, Pointers, VirtAddr};
use agentsight_testbins::Unbuilt;
use agentsight_testbins::golang;

use super::support::{require, skip};
use super::{compile, run};

const SOURCE: &str = r#"
    static int a, b;
    int f(void) { return a; }
    int g(void) { return b; }
    int *const table[] = {&a, 0, &b, &a};
    int (*functions[70])(void) = {f, g, f, [40] = g, [69] = f};
    int main(int n, char **v) { return functions[n]() + *table[n]; }
"#;

/// Place to target, by `readelf -rW`. Packed ones are listed by place alone: their target stands in the
/// word itself.
fn by_readelf(path: &Path) -> Option<BTreeMap<u64, u64>> {
    let bytes = fs::read(path).unwrap();
    let image = Image::parse(&bytes).unwrap();
    let printed = run("readelf", &["-rW", path.to_str().unwrap()])?;
    let mut all = BTreeMap::new();
    let mut packed = false;
    for line in printed.lines() {
        if line.starts_with("Relocation section") {
            packed = line.contains(".relr");
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |text: &str| u64::from_str_radix(text, 16).ok();
        match words[..] {
            [place, _, "R_X86_64_RELATIVE" | "R_AARCH64_RELATIVE", addend] => {
                all.insert(number(place)?, number(addend)?);
            }
            [place] if packed && place.len() == 16 => {
                let place = number(place)?;
                let word = image.bytes_at(VirtAddr(place)).unwrap();
                all.insert(place, u64::from_le_bytes(word[..8].try_into().unwrap()));
            }
            _ => {}
        }
    }
    Some(all)
}

fn assert_like_readelf(path: &Path, at_least: usize) {
    let wanted = super::support::require!(by_readelf(path));
    assert!(wanted.len() >= at_least, "{} relocations", wanted.len());
    let bytes = fs::read(path).unwrap();
    let image = Image::parse(&bytes).unwrap();
    let pointers = Pointers::new(&image);
    let relocated = pointers.relocated().iter();
    let got: BTreeMap<u64, u64> = relocated.map(|p| (p.place.0, p.target.0)).collect();
    assert_eq!(got, wanted, "{}", path.display());
    for (place, target) in wanted.iter().step_by(97) {
        assert_eq!(pointers.at(VirtAddr(*place)), Some(VirtAddr(*target)));
        assert!(!wanted.contains_key(&(place + 1)) && pointers.at(VirtAddr(place + 1)).is_none());
        let to = pointers.to(&[VirtAddr(*target)]);
        let places: Vec<u64> = to.iter().map(|pointer| pointer.place.0).collect();
        let same = wanted.iter().filter(|(_, other)| *other == target);
        assert_eq!(places, same.map(|(place, _)| *place).collect::<Vec<_>>());
    }
}

/// An address in a position-independent program would be missed, or be another one.
#[test]
fn relocations_are_those_of_readelf() {
    let folder = tempfile::tempdir().unwrap();
    let packed: &[&str] = &["-pie", "-fPIE", "-Wl,-z,pack-relative-relocs"];
    for (options, at_least) in [
        (&["-pie", "-fPIE"][..], 8),
        (packed, 8),
        (&["-static-pie", "-fPIE"], 100),
        (&["-shared", "-fPIC"], 6),
    ] {
        let path = require!(compile(&folder, SOURCE, options));
        assert_like_readelf(&path, at_least);
    }
    let arm64: &[(&str, &str)] = &[("CGO_ENABLED", "0"), ("GOARCH", "arm64")];
    for variables in [&[][..], arm64] {
        match golang::link("1.27.3", "plain", variables, &["-buildmode=pie"]) {
            Ok(path) => assert_like_readelf(&path, 1000),
            Err(Unbuilt::Missing(what)) => return skip(&what).unwrap_or_default(),
            Err(error) => panic!("{error}"),
        }
    }
}

/// A word of a program with fixed addresses would not be found, or the end of a table be missed.
#[test]
fn fixed_addresses_stand_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = require!(compile(&folder, SOURCE, &["-no-pie", "-fno-pie"]));
    let symbols = require!(run("nm", &[path.to_str().unwrap()]));
    let addr = |name: &str| {
        let mut lines = symbols.lines();
        let line = lines
            .find(|line| line.ends_with(&format!(" {name}")))
            .unwrap();
        VirtAddr(u64::from_str_radix(line.split(' ').next().unwrap(), 16).unwrap())
    };
    let bytes = fs::read(&path).unwrap();
    let image = Image::parse(&bytes).unwrap();
    let pointers = Pointers::new(&image);
    let table = addr("table");
    let to_a = pointers.to(&[addr("a")]);
    let places: Vec<_> = to_a.iter().map(|pointer| pointer.place).collect();
    assert_eq!(places, [table, VirtAddr(table.0 + 24)]);
    assert_eq!(pointers.at(VirtAddr(table.0 + 8)), None, "NULL");
    let run: Vec<_> = pointers.run(addr("functions")).collect();
    assert_eq!(run, [addr("f"), addr("g"), addr("f")]);
    assert!(pointers.to(&[]).is_empty());
}
