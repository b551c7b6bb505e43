use std::io::Read;
use std::os::unix::fs::symlink;

use super::*;

/// A tree with links of all kinds, and a file outside of it that they must not reach.
fn tree() -> (tempfile::TempDir, Root) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    fs::create_dir_all(root.join("usr/lib/deep")).unwrap();
    fs::create_dir_all(root.join("etc")).unwrap();
    fs::write(dir.path().join("secret"), "outside").unwrap();
    fs::write(root.join("usr/lib/a.so"), "inside").unwrap();
    fs::write(root.join("secret"), "inside").unwrap();
    for (target, link) in [
        ("/usr/lib", "lib"),
        ("usr/lib/deep", "relative"),
        ("/lib/a.so", "absolute"),
        ("../../../../../../secret", "usr/lib/up"),
        ("../../..", "usr/lib/deep/top"),
        ("loop", "loop"),
        ("/proc/self/root/etc/passwd", "magic"),
    ] {
        symlink(target, root.join(link)).unwrap();
    }
    let root = Root::at(&root).unwrap();
    (dir, root)
}

fn text(file: io::Result<impl Into<File>>) -> Result<String, i32> {
    let mut text = String::new();
    let mut file: File = file.map_err(|error| error.raw_os_error().unwrap())?.into();
    file.read_to_string(&mut text)
        .map_err(|error| error.raw_os_error().unwrap())?;
    Ok(text)
}

/// A link in a container would have us read a file of the host, or the old way would resolve otherwise than the
/// kernel does.
#[test]
fn nothing_leads_out() {
    let (_dir, root) = tree();
    let inside = |path: &str| text(root.open(Path::new(path)));
    let walked = |path: &str| {
        let dir = root.dir.as_ref().unwrap();
        text(walk(dir, Path::new(path), OFlag::O_RDONLY))
    };
    for path in [
        "/usr/lib/a.so",
        "/lib/a.so",
        "/lib/deep/../a.so",
        "relative/../a.so",
        "/absolute",
        "/usr/lib/up",
        "/relative/top/secret",
        "/../../secret",
        "secret",
    ] {
        assert_eq!(inside(path), Ok("inside".into()), "{path}");
        assert_eq!(walked(path), Ok("inside".into()), "{path}");
    }
    for (path, error) in [
        ("/loop", libc::ELOOP),
        ("/magic", libc::ENOENT),
        ("/usr/none", libc::ENOENT),
        ("/secret/x", libc::ENOTDIR),
        ("/etc", libc::EISDIR),
        ("/", libc::EISDIR),
    ] {
        assert_eq!(inside(path), Err(error), "{path}");
        assert_eq!(walked(path), Err(error), "{path}");
    }
}

/// What is said about a file in a root would not lead back to it.
#[test]
fn paths_go_both_ways() {
    let (dir, root) = tree();
    let outside = root.outside(Path::new("/usr/lib/a.so"));
    assert_eq!(outside, dir.path().join("root/usr/lib/a.so"));
    assert_eq!(root.inside(&outside), Path::new("/usr/lib/a.so"));
    assert_eq!(root.inside(Path::new("/usr/x")), Path::new("/usr/x"));
    let names = root.read_dir(Path::new("/lib")).unwrap();
    let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["a.so", "deep", "up"]);
}

/// Processes of the host have no root of their own, and a path through one is told by its form.
#[test]
fn processes_have_roots() {
    let own = i32::try_from(std::process::id()).unwrap();
    let root = Root::of_process(own).unwrap();
    assert!(root.is_ours());
    assert_eq!((root.path(), root.pid()), (Path::new("/"), Some(own)));
    let of_path = |path: String| Root::of_path(Path::new(&path)).unwrap().pid();
    assert_eq!(of_path(format!("/proc/{own}/root/bin/sh")), Some(own));
    assert_eq!(of_path(format!("/proc/{own}/exe")), None);
    assert_eq!(of_path("/bin/sh".into()), None);
    assert!(Root::of_process(i32::MAX).is_err());
    assert!(Root::at(Path::new("/etc/passwd")).is_err());
}
