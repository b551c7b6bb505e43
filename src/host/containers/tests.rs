use std::fs;
use std::path::PathBuf;

use serde_json::json;

use super::*;

/// A machine that has nothing but what a test puts there.
struct Machine(tempfile::TempDir);

impl Machine {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, path: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    fn process(&self, pid: i32, cgroup: &str) {
        let cgroup = format!("1:name=systemd:{cgroup}\n0::{cgroup}\n");
        self.file(&format!("/proc/{pid}/cgroup"), cgroup);
    }

    /// As moby v24.0 writes it (container/container.go, `toDisk`), abridged.
    fn docker(&self, dir: &str, id: &str, name: &str, labels: serde_json::Value) {
        let config = json!({
            "StreamConfig": {}, "State": {"Running": true, "Pid": 4711}, "ID": id,
            "Created": "2024-05-01T10:00:00.000000000Z", "Managed": false, "Path": "node",
            "Args": ["agent.js"],
            "Config": {"Hostname": "0123", "Env": ["A=b"], "Image": "node:20", "Labels": labels},
            "Image": "sha256:1234", "LogPath": "", "Name": format!("/{name}"), "Driver": "overlay2",
        });
        self.file(&format!("{dir}/{id}/config.v2.json"), config.to_string());
    }

    /// As containerd v1.7 keeps a running bundle.
    fn task(&self, namespace: &str, id: &str, annotations: serde_json::Value) {
        let config = json!({
            "ociVersion": "1.1.0", "process": {"args": ["node"]}, "root": {"path": "rootfs"},
            "mounts": [], "annotations": annotations, "linux": {"cgroupsPath": "/x"},
        });
        let dir = "/run/containerd/io.containerd.runtime.v2.task";
        self.file(
            &format!("{dir}/{namespace}/{id}/config.json"),
            config.to_string(),
        );
    }

    /// As containers/storage v1.43 lists containers, and podman 4.3 or CRI-O 1.30 write their bundles.
    fn storage(&self, dir: &str, listed: serde_json::Value, bundles: &[(&str, serde_json::Value)]) {
        self.file(
            &format!("{dir}/overlay-containers/containers.json"),
            listed.to_string(),
        );
        for (id, annotations) in bundles {
            let config = json!({"ociVersion": "1.0.2-dev", "annotations": annotations});
            let path = format!("{dir}/overlay-containers/{id}/userdata/config.json");
            self.file(&path, config.to_string());
        }
    }

    fn containers(&self) -> Containers {
        Containers::new(self.0.path()).unwrap()
    }
}

fn id(first: &str) -> String {
    format!("{first:0<64}")
}

fn container(engine: &str, id: &str, name: &str) -> Container {
    Container {
        engine: Some(engine.into()),
        id: id.into(),
        name: Some(name.into()),
        ..Container::default()
    }
}

/// Docker's containers would have no names, in its own directory or where it was told to keep them.
#[test]
fn docker_is_read() {
    let machine = Machine::new();
    let (web, far, pod) = (id("aa"), id("bb"), id("cc"));
    machine.docker("/var/lib/docker/containers", &web, "web", json!({}));
    machine.file(
        "/etc/docker/daemon.json",
        r#"{"data-root": "/data/docker", "debug": true}"#,
    );
    machine.docker("/data/docker/containers", &far, "far", json!(null));
    machine.docker(
        "/data/docker/containers",
        &pod,
        "k8s_app_web-1_shop_6d1f_0",
        json!({
            "io.kubernetes.container.name": "app", "io.kubernetes.pod.name": "web-1",
            "io.kubernetes.pod.namespace": "shop",
        }),
    );
    machine.process(10, &format!("/system.slice/docker-{web}.scope"));
    machine.process(11, &format!("/docker/{far}"));
    machine.process(12, &format!("/kubepods/besteffort/pod6d1f/{pod}"));
    machine.process(13, "/user.slice");
    let containers = machine.containers();
    let node = |container: Container| Container {
        image: Some("node:20".into()),
        ..container
    };
    let expected = node(container("docker", &web, "web"));
    assert_eq!(containers.of_process(10), Some(expected.clone()));
    assert_eq!(containers.find("web").unwrap().first(), Some(&expected));
    assert_eq!(containers.processes_of(&expected), [10]);
    let far = node(container("docker", &far, "far"));
    assert_eq!(containers.of_process(11), Some(far));
    let app = Container {
        pod: Some("web-1".into()),
        namespace: Some("shop".into()),
        ..node(container("docker", &pod, "app"))
    };
    assert_eq!(containers.of_process(12), Some(app.clone()));
    assert_eq!(containers.find("web-1/app").unwrap(), [app]);
    assert_eq!(containers.of_process(13), None);
    assert_eq!(
        containers.place_of(13).unwrap().cgroup,
        Path::new("/user.slice")
    );
    assert_eq!(containers.place_of(14), None);
}

/// The same for containerd: Kubernetes' containers, nerdctl's, and docker's own namespace.
#[test]
fn containerd_is_read() {
    let machine = Machine::new();
    let (app, nerd, moby) = (id("aa"), id("bb"), id("cc"));
    machine.task(
        "k8s.io",
        &app,
        json!({
            "io.kubernetes.cri.container-name": "app", "io.kubernetes.cri.container-type": "container",
            "io.kubernetes.cri.image-name": "registry.example/app:1",
            "io.kubernetes.cri.sandbox-id": "dd", "io.kubernetes.cri.sandbox-name": "web-1",
            "io.kubernetes.cri.sandbox-namespace": "shop", "io.kubernetes.cri.sandbox-uid": "6d1f",
        }),
    );
    machine.task(
        "default",
        &nerd,
        json!({"nerdctl/name": "agent", "nerdctl/namespace": "default"}),
    );
    machine.task("moby", &moby, json!(null));
    machine.task("default", "by-ctr", json!({}));
    let containers = machine.containers();
    let expected = Container {
        image: Some("registry.example/app:1".into()),
        pod: Some("web-1".into()),
        namespace: Some("shop".into()),
        ..container("containerd", &app, "app")
    };
    machine.process(
        10,
        &format!("/kubepods.slice/kubepods-pod6d1f.slice/cri-containerd-{app}.scope"),
    );
    assert_eq!(containers.of_process(10), Some(expected));
    machine.process(11, &format!("/default/{nerd}"));
    let nerd = container("containerd", &nerd, "agent");
    assert_eq!(containers.of_process(11), Some(nerd.clone()));
    assert_eq!(containers.find("bb00").unwrap(), [nerd]);
    machine.process(12, &format!("/system.slice/docker-{moby}.scope"));
    let engine = containers.of_process(12).unwrap().engine;
    assert_eq!(engine.as_deref(), Some("docker"));
    assert_eq!(containers.find("by-ctr").unwrap().len(), 1);
}

/// podman's names are in another file than its bundles, CRI-O's in both.
#[test]
fn storage_is_read() {
    let machine = Machine::new();
    let (web, app, own) = (id("aa"), id("bb"), id("cc"));
    machine.storage(
        "/var/lib/containers/storage",
        json!([
            {"id": web, "names": ["web"], "image": "", "layer": "8ece",
             "metadata": r#"{"image-name":"docker.io/library/node:20","image-id":"12","name":"web","created-at":1}"#,
             "created": "2026-11-23T12:00:27Z", "flags": {"MountLabel": "", "ProcessLabel": ""}},
            {"id": app, "names": ["k8s_app_web-1_shop_6d1f_0"], "image": "12",
             "metadata": r#"{"image-name":"registry.example/app:1","name":"k8s_app","pod-name":"k8s_POD_web-1"}"#},
        ]),
        &[
            (&web, json!({"io.container.manager": "libpod", "io.podman.annotations.init": "FALSE"})),
            (&app, json!({
                "io.container.manager": "cri-o", "io.kubernetes.container.name": "app",
                "io.kubernetes.pod.name": "web-1", "io.kubernetes.pod.namespace": "shop",
                "io.kubernetes.cri-o.ImageName": "registry.example/app:1",
                "io.kubernetes.cri-o.ContainerType": "container",
            })),
        ],
    );
    machine.file(
        "/etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\nu:x:1000:1000::/home/u:/bin/sh\n",
    );
    let listed = json!([{"id": own, "names": ["mine"], "metadata": ""}]);
    machine.storage("/home/u/.local/share/containers/storage", listed, &[]);
    machine.process(10, &format!("/machine.slice/libpod-{web}.scope/container"));
    machine.process(11, &format!("/kubepods.slice/crio-{app}.scope"));
    let containers = machine.containers();
    let expected = Container {
        image: Some("docker.io/library/node:20".into()),
        ..container("podman", &web, "web")
    };
    assert_eq!(containers.of_process(10), Some(expected));
    let expected = Container {
        image: Some("registry.example/app:1".into()),
        pod: Some("web-1".into()),
        namespace: Some("shop".into()),
        ..container("cri-o", &app, "app")
    };
    assert_eq!(containers.of_process(11), Some(expected));
    assert_eq!(
        containers.find("mine").unwrap(),
        [container("podman", &own, "mine")]
    );
}

/// A user is told where nothing was found, what could not be read, and which of several was meant.
#[test]
fn errors_say_where() {
    let machine = Machine::new();
    let dir = "/var/lib/docker/containers";
    let (one, two, half) = (id("abcd1"), id("abcd2"), id("ee"));
    machine.docker(dir, &one, "web", json!({}));
    machine.docker(dir, &two, "db", json!({}));
    let broken = machine.file(&format!("{dir}/{half}/config.v2.json"), r#"{"ID": "ee"#);
    let containers = machine.containers();
    let message = |wanted: &str| format!("{:#}", containers.find(wanted).unwrap_err());
    let missing = message("wep");
    let dir = machine.0.path().join(&dir[1..]);
    for part in [
        format!("no container wep: looked in {} (3),", dir.display()),
        format!("not usable: failed to read {}: EOF", broken.display()),
        "known: web (abcd10000000), db (abcd20000000)".to_owned(),
        "/run/containerd/io.containerd.runtime.v2.task".to_owned(),
    ] {
        assert!(missing.contains(&part), "{missing}\nlacks {part}");
    }
    let many = message("abcd");
    assert!(
        many.starts_with("2 containers have ids that begin with abcd: web"),
        "{many}"
    );
    assert_eq!(
        containers.find("abcd2").unwrap()[0].name.as_deref(),
        Some("db")
    );
    assert_eq!(
        containers.find(&one).unwrap()[0].name.as_deref(),
        Some("web")
    );
    machine.process(10, &format!("/docker/{half}"));
    let nameless = containers.of_process(10).unwrap();
    assert_eq!((nameless.id, nameless.name), (half, None));
}

/// Files that no engine writes: too big, no file at all, another container's, JSON without end.
#[test]
fn hostile_files_are_refused() {
    let machine = Machine::new();
    let dir = "/var/lib/docker/containers";
    let (fifo, huge, deep, other) = (id("1111"), id("2222"), id("3333"), id("4444"));
    let path = machine.file(&format!("{dir}/{fifo}/config.v2.json"), "");
    fs::remove_file(&path).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&path).status();
    assert!(made.unwrap().success());
    let path = machine.file(&format!("{dir}/{huge}/config.v2.json"), "");
    fs::File::options()
        .write(true)
        .open(path)
        .unwrap()
        .set_len(1 << 40)
        .unwrap();
    let deep_text = format!(r#"{{"ID": "x", "StreamConfig": {}"#, "[".repeat(1 << 20));
    machine.file(&format!("{dir}/{deep}/config.v2.json"), deep_text);
    machine.docker(dir, &id("5555"), "x", json!({}));
    let config = machine.0.path().join(&dir[1..]);
    fs::rename(config.join(id("5555")), config.join(&other)).unwrap();
    let containers = machine.containers();
    let said = format!("{:#}", containers.find("none").unwrap_err());
    for part in [
        "not a regular file",
        "has more than 16777216 bytes",
        "EOF while parsing a list",
    ] {
        assert!(said.contains(part), "{said}\nlacks {part}");
    }
    assert!(containers.find("x").is_err());
    assert!(containers.find("../../etc").is_err());
}

/// What a container is called would stay what it was first, or be parsed anew each time.
#[test]
fn files_are_parsed_once_per_state() {
    let machine = Machine::new();
    let dir = "/var/lib/docker/containers";
    let web = id("aa");
    machine.docker(dir, &web, "web", json!({"filler": "x".repeat(4 << 20)}));
    machine.process(10, &format!("/docker/{web}"));
    let containers = machine.containers();
    let name = || containers.of_process(10).unwrap().name;
    assert_eq!(name().as_deref(), Some("web"));
    let started = Instant::now();
    for _ in 0..1000 {
        name();
    }
    let took = started.elapsed();
    // 4 GB of JSON would take ten times as long.
    assert!(took < Duration::from_secs(1), "{took:?}");
    machine.docker(dir, &web, "renamed", json!({}));
    assert_eq!(name().as_deref(), Some("renamed"));
    fs::remove_dir_all(machine.0.path().join(&dir[1..])).unwrap();
    assert_eq!(name(), None);
}

/// Of containers in a container, the machine's engine knows the outer one, and its name is what users know.
#[test]
fn nested_ones_have_a_name() {
    let machine = Machine::new();
    let (outer, inner) = (id("aa"), id("bb"));
    machine.docker("/var/lib/docker/containers", &outer, "kind", json!({}));
    machine.process(10, &format!("/docker/{outer}/kubelet/pod1/{inner}"));
    let known = machine.containers().of_process(10).unwrap();
    assert_eq!(known.name.as_deref(), Some("kind"));
    fs::remove_dir_all(machine.0.path().join("var")).unwrap();
    let unknown = machine.containers().of_process(10).unwrap();
    assert_eq!(unknown.id, inner);
}

/// What a store's link points to would be looked for on the wrong machine.
#[test]
fn links_stay_on_the_machine() {
    let machine = Machine::new();
    let web = id("aa");
    machine.docker("/data/docker/containers", &web, "web", json!({}));
    fs::create_dir_all(machine.0.path().join("var/lib")).unwrap();
    std::os::unix::fs::symlink("/data/docker", machine.0.path().join("var/lib/docker")).unwrap();
    assert_eq!(machine.containers().find("web").unwrap().len(), 1);
}
