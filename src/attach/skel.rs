//! The skeleton that build.rs generates from bpf/agentsight.bpf.c.
#![allow(missing_docs, clippy::all, clippy::restriction, unused_qualifications)]

include!(concat!(env!("OUT_DIR"), "/agentsight.skel.rs"));
