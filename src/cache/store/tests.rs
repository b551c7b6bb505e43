use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use super::*;
use crate::cache::key::FileState;
use crate::image::ImageFile;
use crate::image::debug_file::DebugDirs;
use crate::symdb::SymbolDb;

/// A program without TLS.
fn sample() -> (Key, Entry) {
    let file = ImageFile::open(Path::new("/bin/true")).unwrap();
    let dirs = DebugDirs { global: Vec::new() };
    let report = crate::discover::examine(&file, &SymbolDb::load().unwrap(), &dirs).unwrap();
    let image = file.image().unwrap();
    let state = FileState::of(&file).unwrap();
    let key = Key::new("test", &file, &image, state, &dirs);
    let entry = Entry::new(&key, &report, &file, &image, state);
    (key, entry)
}

fn rejected(load: Load) -> Option<&'static str> {
    match load {
        Load::Rejected(why) => Some(why),
        Load::Absent => Some("absent"),
        Load::Found(_) => None,
    }
}

/// No changed byte, and no cut, goes unnoticed, wherever it is.
#[test]
fn damage_is_seen_at_every_position() {
    let text = encode(FORMAT, &sample().1).unwrap();
    assert!(decode::<Entry>(FORMAT, &text).is_some());
    for at in 0..text.len() {
        let mut damaged = text.clone();
        damaged[at] ^= 1 << (at % 8);
        assert!(decode::<Entry>(FORMAT, &damaged).is_none(), "byte {at}");
        assert!(
            decode::<Entry>(FORMAT, &text[..at]).is_none(),
            "cut at {at}"
        );
    }
    assert!(decode::<Entry>(FORMAT, &[text.as_slice(), b" "].concat()).is_none());
}

/// What others could have written is not believed: it would say where to probe.
#[test]
fn entries_of_others_are_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("cache");
    let store = Store::new(place.clone(), "test");
    let (key, entry) = sample();
    assert_eq!(rejected(store.load(&key)), Some("absent"));
    store.save(&key, &entry).unwrap();
    assert_eq!(rejected(store.load(&key)), None);
    let path = store.path(&key).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!((mode(&place), mode(&path)), (0o700, 0o600));

    let set =
        |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    set(&path, 0o620);
    assert_eq!(rejected(store.load(&key)), Some("others may write to it"));
    set(&path, 0o600);
    set(&place, 0o777);
    assert_eq!(rejected(store.load(&key)), Some("others may write to it"));
    assert!(store.save(&key, &entry).is_err());
    set(&place, 0o700);

    fs::hard_link(&path, dir.path().join("other")).unwrap();
    assert_eq!(rejected(store.load(&key)), Some("others may write to it"));
    fs::remove_file(&path).unwrap();
    symlink(dir.path().join("other"), &path).unwrap();
    assert_eq!(rejected(store.load(&key)), Some("it cannot be read"));
    store.save(&key, &entry).unwrap();
    assert_eq!(rejected(store.load(&key)), None, "overwritten");

    if own_uid() == 0 {
        std::os::unix::fs::chown(&path, Some(65534), None).unwrap();
        assert_eq!(rejected(store.load(&key)), Some("others may write to it"));
    }
}

/// An entry under the name of another one's key (a copy, or a collision) is about something else.
#[test]
fn entries_belong_to_their_key() {
    let dir = tempfile::tempdir().unwrap();
    let (key, entry) = sample();
    let first = Store::new(dir.path().to_owned(), "test");
    first.save(&key, &entry).unwrap();
    let mut other = serde_json::to_value(&key).unwrap();
    other["size"] = 1.into();
    let other: Key = serde_json::from_value(other).unwrap();
    fs::rename(first.path(&key).unwrap(), first.path(&other).unwrap()).unwrap();
    assert_eq!(
        rejected(first.load(&other)),
        Some("it is about something else")
    );
}

/// The cache does not grow without end, and the oldest entries go first.
#[test]
fn the_oldest_entries_go() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path().to_owned(), "test");
    let made = |name: String, bytes: u64, age: u64| {
        let file = File::create(dir.path().join(name)).unwrap();
        file.set_len(bytes).unwrap();
        let then = SystemTime::now() - Duration::from_secs(age);
        file.set_modified(then).unwrap();
    };
    for n in 0..70 {
        made(format!("{n}.json"), 1 << 20, n + 1);
    }
    made(".new-1-2-3".into(), 1, 7200);
    made(".new-4-5-6".into(), 1, 10);
    made("something else".into(), 1, 7200);
    let (key, entry) = sample();
    store.save(&key, &entry).unwrap();
    let left = |name: &str| dir.path().join(name).exists();
    assert!(left("0.json") && !left("69.json"));
    assert!(!left(".new-1-2-3") && left(".new-4-5-6") && left("something else"));
    assert_eq!(rejected(store.load(&key)), None);
}
