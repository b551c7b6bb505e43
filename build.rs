//! Compiles bpf/agentsight.bpf.c into `OUT_DIR` and generates its skeleton. Without the `bpf` feature
//! there is nothing to build, and no clang is needed.

// A build script fails by panicking.
#![allow(clippy::expect_used)]

fn main() {
    println!("cargo:rerun-if-changed=bpf");
    #[cfg(feature = "bpf")]
    skeleton::build();
}

#[cfg(feature = "bpf")]
mod skeleton {
    use std::env;
    use std::path::PathBuf;

    use libbpf_cargo::SkeletonBuilder;

    pub fn build() {
        let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
        let arch = env::var("CARGO_CFG_TARGET_ARCH").expect("cargo sets CARGO_CFG_TARGET_ARCH");
        let arch = match arch.as_str() {
            "x86_64" => "x86",
            "aarch64" => "arm64",
            other => panic!(
                "agentsight attaches on x86_64 and aarch64, not on {other}; build with --no-default-features to analyse only"
            ),
        };
        SkeletonBuilder::new()
            .source("bpf/agentsight.bpf.c")
            .clang_args([
                "-Wall",
                "-Wextra",
                "-Wno-unused-parameter",
                "-Werror",
                "-mcpu=v2",
                &format!("-D__TARGET_ARCH_{arch}"),
            ])
            .build_and_generate(out.join("agentsight.skel.rs"))
            .unwrap_or_else(|error| panic!("failed to build bpf/agentsight.bpf.c: {error:#}"));
    }
}
