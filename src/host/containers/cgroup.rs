//! What /proc/PID/cgroup tells about containers (cgroups(7)): engines name the groups that they make after the
//! container's id. Any user can make groups with such names, so this alone says "maybe".
//!
//! | made by                           | last parts of the path                                             |
//! |-----------------------------------|--------------------------------------------------------------------|
//! | docker, cgroupfs                  | `/docker/ID`                                                       |
//! | docker, systemd                   | `/system.slice/docker-ID.scope`                                    |
//! | Kubernetes with docker            | `/kubepods/burstable/podUID/ID`, `/kubepods….slice/docker-ID.scope` |
//! | Kubernetes with containerd        | `/kubepods/…/podUID/ID`, `…/cri-containerd-ID.scope`, `…slice:cri-containerd:ID` |
//! | Kubernetes with CRI-O             | `…/crio-ID.scope`, `…/crio-ID` (`crio-conmon-ID` is its supervisor) |
//! | podman                            | `/libpod_parent/libpod-ID`, `/machine.slice/libpod-ID.scope`, `…scope/container`, `libpod-payload-ID` |
//! | nerdctl                           | `/NAMESPACE/ID`, `/system.slice/nerdctl-ID.scope`                  |

use std::path::PathBuf;

/// All engines make ids of 32 random bytes.
const ID_DIGITS: usize = 64;

/// A container that a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named<'c> {
    pub(super) id: &'c str,
    /// Where the group's name tells.
    pub(super) engine: Option<&'static str>,
}

/// The group in the hierarchy of version 2.
pub(super) fn unified(text: &str) -> Option<PathBuf> {
    let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    Some(path.trim_end_matches(" (deleted)").into())
}

/// All containers that a process is in, from the inside out.
pub(super) fn containers(text: &str) -> Vec<Named<'_>> {
    let paths = text.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    let mut found: Vec<Named<'_>> = Vec::new();
    for path in paths {
        let parts: Vec<&str> = path.split('/').collect();
        let groups = parts.iter().enumerate().rev();
        let named = groups.filter_map(|(at, part)| {
            let above = at.checked_sub(1).and_then(|at| parts.get(at));
            named(part, above.copied().unwrap_or_default())
        });
        // Hierarchies of version 1 may lack groups that others have, or have them all.
        let named: Vec<_> = named.collect();
        if named.len() > found.len() {
            found = named;
        }
    }
    found
}

fn named<'c>(part: &'c str, above: &str) -> Option<Named<'c>> {
    let part = part.strip_suffix(".scope").unwrap_or(part);
    let (maker, id) = part
        .rsplit_once(['-', ':'])
        .map_or((None, part), |(maker, id)| (Some(maker), id));
    if !is_id(id) {
        return None;
    }
    let engine = match maker {
        None => engine_of_parent(above),
        Some("docker") => Some("docker"),
        Some("cri-containerd" | "nerdctl") => Some("containerd"),
        Some("crio") => Some("cri-o"),
        Some("libpod" | "libpod-payload") => Some("podman"),
        // `SLICE:cri-containerd:ID`, the name for systemd where systemd is not asked.
        Some(maker) => match maker.rsplit(':').next() {
            Some("cri-containerd" | "nerdctl") => Some("containerd"),
            Some("crio") => Some("cri-o"),
            Some("docker") => Some("docker"),
            Some("libpod") => Some("podman"),
            // A supervisor, as `libpod-conmon-ID`, or somebody else's name.
            _ => return None,
        },
    };
    Some(Named { id, engine })
}

fn engine_of_parent(above: &str) -> Option<&'static str> {
    match above {
        "docker" => Some("docker"),
        "k8s.io" => Some("containerd"),
        "libpod_parent" => Some("podman"),
        _ => None,
    }
}

/// Whether it is a container's id in full.
pub(super) fn is_id(text: &str) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.len() == ID_DIGITS && text.bytes().all(is_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const OTHER: &str = "ffffffffffffffff0123456789abcdef0123456789abcdef0123456789abcdef";

    fn engines(path: &str) -> Vec<Option<&'static str>> {
        let text = format!("12:cpu,cpuacct:/\n1:name=systemd:{path}\n0::/\n");
        let unified = format!("0::{path}\n");
        let found = containers(&text);
        assert!(found.iter().all(|named| named.id == ID), "{path}");
        assert_eq!(found, containers(&unified));
        found.iter().map(|named| named.engine).collect()
    }

    /// A container is not seen, or a process beside it counts as inside.
    #[test]
    fn all_forms_are_known() {
        let slice = "kubepods-burstable-pod6d1f6f1c_a0e3_4e0b_8f1e_0c8a7a7c9d11.slice";
        for (path, engine) in [
            (format!("/docker/{ID}"), Some("docker")),
            (format!("/system.slice/docker-{ID}.scope"), Some("docker")),
            (
                format!("/kubepods.slice/{slice}/docker-{ID}.scope"),
                Some("docker"),
            ),
            (format!("/kubepods/besteffort/pod6d1f6f1c-a0e3/{ID}"), None),
            (
                format!("/kubepods.slice/{slice}/cri-containerd-{ID}.scope"),
                Some("containerd"),
            ),
            (
                format!("/system.slice/containerd.service/{slice}:cri-containerd:{ID}"),
                Some("containerd"),
            ),
            (
                format!("/kubepods.slice/{slice}/crio-{ID}.scope"),
                Some("cri-o"),
            ),
            (
                format!("/kubepods.slice/{slice}/crio-{ID}.scope/container"),
                Some("cri-o"),
            ),
            (format!("/kubepods.slice/{slice}/crio-{ID}"), Some("cri-o")),
            (format!("/libpod_parent/libpod-{ID}"), Some("podman")),
            (format!("/machine.slice/libpod-{ID}.scope"), Some("podman")),
            (
                format!("/machine.slice/libpod-{ID}.scope/container/app"),
                Some("podman"),
            ),
            (
                format!(
                    "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope/container"
                ),
                Some("podman"),
            ),
            (
                format!("/system.slice/x.service/libpod-payload-{ID}"),
                Some("podman"),
            ),
            (
                format!("/system.slice/nerdctl-{ID}.scope"),
                Some("containerd"),
            ),
            (format!("/default/{ID}"), None),
            (format!("/k8s.io/{ID}"), Some("containerd")),
            (format!("/../../{ID}"), None),
        ] {
            assert_eq!(engines(&path), [engine], "{path}");
        }
        for path in [
            "/".to_owned(),
            "/user.slice/user-0.slice/session-1.scope".into(),
            format!("/machine.slice/libpod-conmon-{ID}.scope"),
            format!("/kubepods.slice/crio-conmon-{ID}.scope"),
            format!("/docker/{}", &ID[1..]),
            format!("/docker/{}", ID.to_uppercase()),
            "/docker/".into(),
        ] {
            assert!(engines(&path).is_empty(), "{path}");
        }
    }

    /// Of containers in a container, the process is in the innermost one.
    #[test]
    fn inner_ones_come_first() {
        let text = format!("3:pids:/docker/{OTHER}\n0::/docker/{OTHER}/kubepods/pod1/{ID}\n");
        let ids: Vec<_> = containers(&text).iter().map(|named| named.id).collect();
        assert_eq!(ids, [ID, OTHER]);
        let expected = PathBuf::from(format!("/docker/{OTHER}/kubepods/pod1/{ID}"));
        assert_eq!(unified(&text), Some(expected));
        assert_eq!(unified("1:name=systemd:/x\n"), None);
    }

    /// Whatever a process calls its group.
    #[test]
    fn odd_names_are_nobody() {
        for text in [
            "",
            "0",
            "0::",
            "::::",
            "0::/:/-/.scope",
            "\n\n",
            "0::/é-ü:ß.scope",
        ] {
            assert!(containers(text).is_empty(), "{text}");
        }
    }
}
