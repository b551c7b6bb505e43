//! Programs in containers: which one they are in, which libraries they would load there, and what they say.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use agentsight::host::containers::Containers;
use agentsight::host::inodes::{CodeInode, CodeInodes};
use agentsight::host::roots::Root;
use agentsight::host::{libraries, processes};
use agentsight::image::ImageFile;

use crate::capture::{Capture, Captured, wait_for};
use crate::container::{self, Container, System};
use crate::gobuild::{NEWEST, go_program};
use crate::is_root;
use crate::peer::{Peer, Streams, assert_crosswise, noise};

const SLEEP: &[&str] = &["sleep", "1000"];

/// A process would be reported in another container than the engine says, or in none.
#[test]
fn root_metadata_is_the_engines() {
    let Some(system) = System::new(&[]) else {
        return;
    };
    let root = system.path().display().to_string();
    let container = Container::run(&root, &["--network=none"], SLEEP);
    let storage = tempfile::tempdir().unwrap();
    let [store, run] = ["store", "run"].map(|dir| storage.path().join(dir).display().to_string());
    let apart = ["--root", &store, "--runroot", &run];
    let apart = Container::run_by(&apart, &root, &["--network=none"], SLEEP);
    let containers = Containers::new(Path::new("/")).unwrap();
    for one in [&container, &apart] {
        let known = containers.of_process(one.pid()).unwrap();
        assert_eq!(known.engine.as_deref(), Some("podman"));
        assert_eq!(known.id, one.inspect(".Id"));
        assert_eq!(known.name.as_deref(), Some(one.inspect(".Name").as_str()));
        for wanted in [&one.name, &known.id, &known.id[..12]] {
            assert_eq!(
                containers.find(wanted).unwrap(),
                std::slice::from_ref(&known)
            );
        }
        assert_eq!(containers.processes_of(&known), [one.pid()]);
        let place = containers.place_of(one.pid()).unwrap();
        assert!(place.cgroup.to_string_lossy().contains(&known.id));
        assert_eq!(place.container, Some(known));
    }
    let own = i32::try_from(std::process::id()).unwrap();
    assert_eq!(containers.of_process(own), None);

    let pid = container.pid();
    let started = Instant::now();
    for _ in 0..1000 {
        containers.of_process(pid).unwrap();
    }
    eprintln!("1000 times of_process: {:?}", started.elapsed());
    assert!(started.elapsed() < Duration::from_secs(2));

    container.stop();
    let known = containers.find(&container.name).unwrap();
    assert_eq!(known.len(), 1);
    assert!(containers.processes_of(&known[0]).is_empty());
    let message = format!("{:#}", containers.find("nobody").unwrap_err());
    assert!(message.contains("/var/lib/containers/storage"), "{message}");
}

/// A container without a cgroup of its own, as rootless ones may be, would be none.
#[test]
fn root_mounts_tell_where_cgroups_do_not() {
    let Some(system) = System::new(&[]) else {
        return;
    };
    let root = system.path().display().to_string();
    let container = Container::run(&root, &["--network=none"], SLEEP);
    let pid = container.pid();
    let (joined, groups) = leave_cgroups(pid);
    let containers = Containers::new(Path::new("/")).unwrap();
    let known = containers.of_process(pid);
    for (group, pid) in joined {
        let _ = fs::write(group, pid);
    }
    assert!(!groups.contains("libpod-"), "{groups}");
    assert_eq!(known.unwrap().name, Some(container.name.clone()));
}

/// Moves a process into the root of each hierarchy. How to undo it, and where it was meanwhile.
fn leave_cgroups(pid: i32) -> (Vec<(PathBuf, String)>, String) {
    let groups = || fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let mut undo = Vec::new();
    for mount in mounts.lines().filter(|line| line.starts_with("cgroup")) {
        let dir = Path::new(mount.split(' ').nth(1).unwrap());
        let path = groups();
        let group = path.lines().find(|line| line.contains("libpod-"));
        if let Some(group) = group.and_then(|line| line.splitn(3, ':').nth(2)) {
            let group = dir.join(group.trim_start_matches('/')).join("cgroup.procs");
            undo.push((group, pid.to_string()));
        }
        fs::write(dir.join("cgroup.procs"), pid.to_string()).unwrap();
    }
    (undo, groups())
}

/// Libraries of the host would be probed for a program that loads others.
#[test]
fn root_libraries_are_the_containers() {
    let Some(system) = System::new(&[]) else {
        return;
    };
    let root = system.path().display().to_string();
    let container = Container::run(&root, &["--network=none"], SLEEP);
    let inside = Root::of_process(container.pid()).unwrap();
    assert!(!inside.is_ours());
    for name in ["curl", "python3", "node", "openssl"] {
        let program = inside
            .open_image(&Path::new("/usr/bin").join(name))
            .unwrap();
        let listed = container.exec(&["ldd", &format!("/usr/bin/{name}")]);
        let listed = container::libraries(&listed);
        let place = |file: &File| {
            let file = file.metadata().unwrap();
            (file.dev(), file.ino())
        };
        let expected: BTreeSet<_> = listed
            .iter()
            .map(|path| place(&inside.open(path).unwrap()))
            .collect();
        let of = |root: &Root| -> BTreeSet<_> {
            let found = libraries::needed(&program, root);
            let found = found.iter().filter(|file| !is_loader(file.path()));
            found.map(|file| place(file.file())).collect()
        };
        assert!(!expected.is_empty());
        assert_eq!(of(&inside), expected, "{name}");
        assert!(of(&Root::ours()).is_disjoint(&expected), "{name}");
    }
    // By its path on the host, the tree around it is told.
    let curl = ImageFile::open(&system.program("curl")).unwrap();
    let around = Root::around(&curl).unwrap();
    assert_eq!(around.path(), system.path());
    assert!(Root::around(&ImageFile::open("/bin/sh".as_ref()).unwrap()).is_none());
}

fn is_loader(path: &Path) -> bool {
    path.to_string_lossy().contains("ld-linux")
}

/// A client that waits for `/peer/go`, fetches from the peer, and stays.
struct Client {
    program: &'static str,
    command: [&'static str; 3],
}

const PYTHON: Client = Client {
    program: "python3",
    command: [
        "python3",
        "-c",
        "import os, ssl, sys, time, urllib.request\n\
         while not os.path.exists('/peer/go'): time.sleep(0.02)\n\
         context = ssl.create_default_context(cafile='/peer/cert.pem')\n\
         body = urllib.request.urlopen(sys.argv[1], context=context).read()\n\
         print('fetched', len(body), flush=True)\n\
         time.sleep(1000)\n",
    ],
};

const NODE: Client = Client {
    program: "node",
    command: [
        "node",
        "-e",
        "const fs = require('fs'), https = require('https');\n\
         const timer = setInterval(() => {\n\
           if (!fs.existsSync('/peer/go')) return;\n\
           clearInterval(timer);\n\
           const options = {ca: fs.readFileSync('/peer/cert.pem'), agent: false};\n\
           https.get(process.argv[1], options, (answer) => {\n\
             let length = 0;\n\
             answer.on('data', (data) => { length += data.length; });\n\
             answer.on('end', () => console.log('fetched', length));\n\
           });\n\
         }, 20);\n\
         setInterval(() => {}, 1000);\n",
    ],
};

/// A file server and a container that can reach it.
struct Scene {
    system: System,
    peer: Peer,
    client: Client,
}

impl Scene {
    fn new(client: Client, peer: impl FnOnce(&str) -> Option<Peer>) -> Option<Self> {
        let system = System::new(&[client.program])?;
        let peer = peer("files")?;
        peer.file("body.txt", &noise(300_000));
        Some(Self {
            system,
            peer,
            client,
        })
    }

    fn run(&self, network: &str) -> Container {
        let peer = format!("{}:/peer:ro", self.peer.dir().display());
        let options = ["--read-only", "--volume", &peer, "--network", network];
        let url = format!("{}/body.txt", self.peer.url());
        let command = [&self.client.command[..], &[url.as_str()]].concat();
        let root = self.system.path().display().to_string();
        Container::run(&root, &options, &command)
    }

    /// The peer's own network.
    fn network(&self) -> String {
        format!("ns:/proc/{}/ns/net", self.peer.pid())
    }

    fn go(&self) {
        fs::write(self.peer.dir().join("go"), "").unwrap();
    }

    fn finish(self, what: &str, capture: Capture, connections: usize) -> Captured {
        let captured = capture.stop();
        let expected: Streams = self.peer.finish();
        assert_eq!(expected.len(), connections, "{what}");
        assert_crosswise(what, &captured, &expected);
        captured
    }
}

/// By its path in a process's root; it ran before the capture, in a network of its own. Stopped and started again, it
/// is another process, and still covered.
fn running_before(client: Client) {
    let Some(scene) = Scene::new(client, Peer::start) else {
        return;
    };
    let container = scene.run(&scene.network());
    let pid = container.pid();
    let name = scene.client.program;
    let capture = Capture::start(&through(pid, name), &[]);
    scene.go();
    container.wait_for("fetched 300", 1);
    container.stop();
    container.start();
    container.wait_for("fetched 300", 2);
    assert_ne!(container.pid(), pid);
    container.stop();
    scene.finish(&format!("{name}, running before"), capture, 2);
}

/// A program as its process's root has it: links in it are those inside.
fn through(pid: i32, name: &str) -> PathBuf {
    let root = Path::new("/proc").join(pid.to_string()).join("root");
    let inside = fs::read_link(format!("/proc/{pid}/exe")).unwrap();
    assert!(inside.to_string_lossy().contains(name));
    root.join(inside.strip_prefix("/").unwrap())
}

/// By its path on the host, before the container is there; on the host's network.
fn started_after(client: Client) {
    let Some(scene) = Scene::new(client, Peer::start_here) else {
        return;
    };
    let name = scene.client.program;
    let capture = Capture::start(&scene.system.program(name), &[]);
    scene.go();
    let container = scene.run("host");
    container.wait_for("fetched 300", 1);
    container.stop();
    let captured = scene.finish(&format!("{name}, started after"), capture, 1);
    assert!(captured.conns.values().all(|conn| conn.from_start));
}

/// Python loads its TLS library when it imports it, here before the capture.
#[test]
fn root_python_runs_in_a_container() {
    running_before(PYTHON);
}

/// The same, after: the library is the container's, and its first bytes are there.
#[test]
fn root_python_comes_in_a_container() {
    started_after(PYTHON);
}

/// node has its TLS inside.
#[test]
fn root_node_runs_in_a_container() {
    running_before(NODE);
}

/// The same, from its start.
#[test]
fn root_node_comes_in_a_container() {
    started_after(NODE);
}

/// curl lives for milliseconds, and its TLS is in a library that only the container has.
#[test]
fn root_curl_in_a_container() {
    let Some(system) = System::new(&["curl"]) else {
        return;
    };
    let Some(peer) = Peer::start("files") else {
        return;
    };
    peer.file("body.txt", &noise(300_000));
    let volume = format!("{}:/peer:ro", peer.dir().display());
    let network = format!("--network=ns:/proc/{}/ns/net", peer.pid());
    let root = system.path().display().to_string();
    let container = Container::run(&root, &["--volume", &volume, &network], SLEEP);
    let curl = format!("/proc/{}/root/usr/bin/curl", container.pid());
    let capture = Capture::start(Path::new(&curl), &[]);
    let url = format!("{}/body.txt", peer.url());
    for _ in 0..3 {
        let fetched = container.exec(&["curl", "-sS", "--cacert", "/peer/cert.pem", &url]);
        assert!(fetched.len() >= 300_000);
    }
    let captured = capture.stop();
    let expected = peer.finish();
    assert_eq!(expected.len(), 3);
    assert_crosswise("curl in a container", &captured, &expected);
}

/// A static Go program that talks with itself; nothing of the container's libraries is its.
#[test]
fn root_go_in_a_container() {
    let Some(system) = System::new(&[]) else {
        return;
    };
    let Some(talk) = go_program(NEWEST, "talk", &[]) else {
        return;
    };
    system.add(&talk.path);
    let log = tempfile::tempdir().unwrap();
    let volume = format!("{}:/log", log.path().display());
    let capture = Capture::start(&system.program("talk"), &[]);
    let root = system.path().display().to_string();
    let options = ["--network=none", "--volume", &volume];
    let command = ["talk", "-log", "/log", "-conns", "8", "-messages", "20"];
    let container = Container::run(&root, &options, &command);
    container.podman(&["wait", &container.name]);
    assert_eq!(container.inspect(".State.ExitCode"), "0");
    let captured = capture.stop();
    captured.assert_whole();
    let mut expected = Streams::new();
    for entry in fs::read_dir(log.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "write") {
            let read = fs::read(path.with_extension("read")).unwrap();
            expected.push((fs::read(path).unwrap(), read));
        }
    }
    expected.sort();
    assert_eq!(expected.len(), 16);
    assert!(captured.streams() == expected, "{}", captured.stderr);
}

/// Two containers over one image have one inode below: who names the image's file watches both, once.
#[test]
fn root_containers_share_a_layer() {
    let Some(scene) = Scene::new(PYTHON, Peer::start) else {
        return;
    };
    let overlay = format!("{}:O", scene.system.path().display());
    let volume = format!("{}:/peer:ro", scene.peer.dir().display());
    let network = scene.network();
    let options = ["--volume", &volume, "--network", &network];
    let url = format!("{}/body.txt", scene.peer.url());
    let command = [&scene.client.command[..], &[url.as_str()]].concat();
    let containers = [(); 2].map(|()| Container::run(&overlay, &options, &command));
    let library = scene
        .system
        .path()
        .join("usr/lib/x86_64-linux-gnu/libssl.so.3");
    let capture = Capture::start_alone(&library, &[]);
    scene.go();
    for container in &containers {
        container.wait_for("fetched 300", 1);
    }
    drop(containers);
    let captured = scene.finish("a shared layer", capture, 2);
    let pids: BTreeSet<_> = captured.conns.values().map(|conn| conn.pid).collect();
    assert_eq!(pids.len(), 2);
}

/// Overlay mounts of one directory, with what is above in memory: two file systems, so that numbers differ.
struct Overlays {
    dir: tempfile::TempDir,
    mounts: Vec<PathBuf>,
}

impl Overlays {
    fn new(lower: &Path, names: &[&str]) -> Self {
        let mut overlays = Self {
            dir: tempfile::tempdir().unwrap(),
            mounts: Vec::new(),
        };
        let at = overlays.dir.path().to_owned();
        overlays.mount(&["-t", "tmpfs", "tmpfs"], &at);
        for name in names {
            let dir = |part: &str| {
                let dir = at.join(format!("{name}{part}"));
                fs::create_dir(&dir).unwrap();
                dir.display().to_string()
            };
            let (upper, work, merged) = (dir(".upper"), dir(".work"), dir(""));
            let lower = lower.display();
            let options = format!("lowerdir={lower},upperdir={upper},workdir={work}");
            let kind = ["-t", "overlay", "overlay", "-o", &options];
            overlays.mount(&kind, Path::new(&merged));
        }
        overlays
    }

    fn mount(&mut self, what: &[&str], at: &Path) {
        let mounted = Command::new("mount").args(what).arg(at).status().unwrap();
        assert!(mounted.success(), "{what:?}");
        self.mounts.push(at.to_owned());
    }

    fn path(&self, name: &str, file: &str) -> PathBuf {
        self.dir.path().join(name).join(file)
    }
}

impl Drop for Overlays {
    fn drop(&mut self) {
        for mount in self.mounts.iter().rev() {
            let _ = Command::new("umount").arg("--lazy").arg(mount).status();
        }
    }
}

/// A process that ends with its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One file seen through several mounts would be probed once for each, and each call reported as often; its
/// processes would not be found; and a changed copy would count as what it was.
#[test]
fn root_a_file_is_one_through_all_mounts() {
    if !is_root() {
        return;
    }
    let lower = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    fs::copy("/bin/sleep", lower.path().join("sleep")).unwrap();
    let overlays = Overlays::new(lower.path(), &["a", "b"]);
    let paths = [
        lower.path().join("sleep"),
        overlays.path("a", "sleep"),
        overlays.path("b", "sleep"),
    ];
    let of = |path: &Path| CodeInode::of(&File::open(path).unwrap()).unwrap();
    let inodes = paths.each_ref().map(|path| of(path));
    let devices = paths
        .each_ref()
        .map(|path| fs::metadata(path).unwrap().dev());
    assert_eq!(BTreeSet::from(devices).len(), 3, "the mounts differ");
    let mut known = CodeInodes::default();
    known.insert(&inodes[0], 7);
    let numbers = inodes.each_ref().map(|inode| known.find(inode));
    assert_eq!(numbers, [Some(7); 3]);

    let start = |path: &Path| Running(Command::new(path).arg("1000").spawn().unwrap());
    let mut running: Vec<_> = paths.iter().map(|path| start(path)).collect();
    let mut pids: Vec<_> = running.iter().map(|one| one.0.id() as i32).collect();
    pids.sort_unstable();
    for inode in &inodes {
        wait_for("running all three", || {
            let mut found = processes::running(inode);
            found.sort_unstable();
            found == pids
        });
    }
    // What maps shows is not what stat says, and not taken for it.
    for (one, path) in running.iter().zip(&paths) {
        let file = fs::metadata(path).unwrap();
        let place = (file.dev(), file.ino());
        wait_for("mapping it under the numbers of stat", || {
            let mapped = processes::mapped_files(one.0.id() as i32);
            mapped.iter().any(|mapped| mapped.inode == place)
        });
    }

    running.pop();
    wait_for("its end", || processes::running(&inodes[0]).len() == 2);
    let changed = File::options().append(true).open(&paths[2]).unwrap();
    std::io::Write::write_all(&mut &changed, b"more").unwrap();
    let changed = of(&paths[2]);
    assert!(!changed.is_same(&inodes[0]) && known.find(&changed).is_none());
    assert_eq!(
        fs::metadata(&paths[2]).unwrap().ino(),
        fs::metadata(&paths[0]).unwrap().ino()
    );
}

/// By the container's name and the path inside: not the host's program of that path.
fn selected_before(client: Client, how: fn(&Container) -> String) {
    let Some(scene) = Scene::new(client, Peer::start) else {
        return;
    };
    let container = scene.run(&scene.network());
    let name = scene.client.program;
    let inside = format!("/usr/bin/{name}");
    let wanted = how(&container);
    let capture = Capture::select(&["--binary", &inside, "--container", &wanted]);
    scene.go();
    container.wait_for("fetched 300", 1);
    container.stop();
    container.start();
    container.wait_for("fetched 300", 2);
    container.stop();
    scene.finish(&format!("{name} by container"), capture, 2);
}

/// A container by its name: python, whose library is the container's.
#[test]
fn root_python_by_container_name() {
    selected_before(PYTHON, |container| container.name.clone());
}

/// By the beginning of its id.
#[test]
fn root_node_by_container_id() {
    selected_before(NODE, |container| container.inspect(".Id")[..12].to_owned());
}

/// No program named: whatever runs in the container, exec'ed processes too.
#[test]
fn root_everything_in_a_container() {
    let Some(system) = System::new(&["curl", "python3"]) else {
        return;
    };
    let Some(peer) = Peer::start("files") else {
        return;
    };
    peer.file("body.txt", &noise(300_000));
    let volume = format!("{}:/peer:ro", peer.dir().display());
    let network = format!("--network=ns:/proc/{}/ns/net", peer.pid());
    let root = system.path().display().to_string();
    let options = ["--volume", &volume, &network];
    let watched = Container::run(&root, &options, SLEEP);
    let other = Container::run(&root, &options, SLEEP);
    let capture = Capture::select(&["--container", &watched.name]);
    let url = format!("{}/body.txt", peer.url());
    let curl = ["curl", "-sS", "--cacert", "/peer/cert.pem", &url];
    // Nobody could know its libraries before: it is seen, or told to be missed.
    watched.exec(&curl);
    capture.wait_for_line(&["\"tls.open\"", "\"tls.missed\""]);
    for _ in 0..3 {
        watched.exec(&curl);
    }
    // The same files in another container are nobody's business.
    other.exec(&curl);
    let captured = capture.stop();
    captured.assert_whole();
    let mut expected: Streams = peer.finish();
    let seen = captured.streams().len();
    let is_missed = |line: &&serde_json::Value| line["type"] == "tls.missed";
    assert!(captured.lines.iter().any(|line| is_missed(&line)) || seen == 4);
    assert_eq!(expected.len(), 5);
    assert!((3..=4).contains(&seen), "{seen}: {}", captured.stderr);
    // All of them are told by their lengths; which ones these were, by their bytes.
    let mut left = std::mem::take(&mut expected);
    for (written, read) in captured.streams() {
        let at = left
            .iter()
            .position(|end| *end == (read.clone(), written.clone()));
        left.swap_remove(at.expect("a stream that the server knows"));
    }
}

/// Two containers over one layer, both selected: each call is told once (probes through two overlay mounts of one
/// inode would tell it twice).
#[test]
fn root_a_shared_layer_is_probed_once() {
    let Some(scene) = Scene::new(PYTHON, Peer::start) else {
        return;
    };
    let overlay = format!("{}:O", scene.system.path().display());
    let volume = format!("{}:/peer:ro", scene.peer.dir().display());
    let network = scene.network();
    let options = ["--volume", &volume, "--network", &network];
    let url = format!("{}/body.txt", scene.peer.url());
    let command = [&scene.client.command[..], &[url.as_str()]].concat();
    let containers = [(); 2].map(|()| Container::run(&overlay, &options, &command));
    let [one, two] = containers
        .each_ref()
        .map(|container| container.name.as_str());
    let capture = Capture::select(&["--container", one, "--container", two]);
    scene.go();
    for container in &containers {
        container.wait_for("fetched 300", 1);
    }
    drop(containers);
    scene.finish("a layer probed once", capture, 2);
}

/// A wrong name is told with the places that were looked at, and what there is.
#[test]
fn root_no_such_container() {
    if !is_root() {
        return;
    }
    let output = Command::new(env!("CARGO_BIN_EXE_agentsight"))
        .args(["attach", "--container", "nobody"])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    for part in [
        "no container nobody: looked in",
        "/var/lib/docker/containers",
        "/run/containerd",
    ] {
        assert!(said.contains(part), "{said}");
    }
}

/// What runs in a container, with its library and the container's name.
#[test]
fn root_discover_tells_containers() {
    let Some(system) = System::new(&["python3"]) else {
        return;
    };
    let root = system.path().display().to_string();
    let command = [
        "python3",
        "-c",
        "import ssl, time; print('ready', flush=True); time.sleep(1000)",
    ];
    let container = Container::run(&root, &["--network=none"], &command);
    container.wait_for("ready", 1);
    let output = Command::new(env!("CARGO_BIN_EXE_agentsight"))
        .args(["discover", "--container", &container.name])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    for part in ["openssl", "libssl.so.3", container.name.as_str()] {
        assert!(said.contains(part), "{said}");
    }
}

/// A program that is named by its path in a layer, below an overlay: the kernel knows its processes by the mount's inode,
/// which is another one after each start of the container.
#[test]
fn root_a_layer_is_named_from_below() {
    let Some(scene) = Scene::new(PYTHON, Peer::start) else {
        return;
    };
    let overlay = format!("{}:O", scene.system.path().display());
    let volume = format!("{}:/peer:ro", scene.peer.dir().display());
    let network = scene.network();
    let options = ["--volume", &volume, "--network", &network];
    let url = format!("{}/body.txt", scene.peer.url());
    let command = [&scene.client.command[..], &[url.as_str()]].concat();
    let container = Container::run(&overlay, &options, &command);
    let capture = Capture::start(&scene.system.program("python3"), &[]);
    scene.go();
    container.wait_for("fetched 300", 1);
    container.stop();
    // A new overlay mount, with another device.
    container.start();
    container.wait_for("fetched 300", 2);
    container.stop();
    scene.finish("a layer named from below", capture, 2);
}
