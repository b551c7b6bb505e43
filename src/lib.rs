//! AgentSight sees what AI agents say over TLS and do on the system, from outside: it finds the TLS
//! functions in any program, probes them with eBPF, and rebuilds the conversation.
//!
//! # The way of the data
//!
//! ```text
//! path ─▶ image ─▶ discover ─▶ plan ─▶ attach ─▶ event ─▶ stream ─▶ dialog ─▶ redact ─▶ sink
//!            ▲         ▲                  ▲         ▲ recordings and tests enter here: no root needed below
//!          host      symdb              bpf/                            proto, semantics
//! ```
//!
//! Each phase borrows what the one before made and knows nothing of the one after. Start reading
//! where the question is:
//!
//! * [`image`]: what is this file? Hostile bytes in, checked facts out.
//! * [`symdb`]: what is known about each library, with sources (`symbol-db/`).
//! * [`discover`]: which TLS libraries are in it, where are their functions, and how do we know?
//! * [`cache`]: what discovery said before, where that is still true.
//! * [`check`]: whether discovery still says what a manifest expects.
//! * [`plan`]: which probes follow from that. Plain data.
//! * `attach` (feature `bpf`): the only user of libbpf. `bpf/README.md` tells the kernel's side.
//! * [`event`]: records as the kernel side lays them out, decoded.
//! * [`stream`]: connections, their bytes in order, and the gaps.
//! * [`proto`]: HTTP, WebSocket and what their bodies hold: bytes in, messages out.
//! * [`semantics`]: calls of models, the same for all providers.
//! * [`dialog`]: what was said on each connection: exchanges and calls, paired.
//! * [`deeds`]: what processes did: programs, files, sockets.
//! * [`graph`]: which words led to which deeds.
//! * [`rules`]: what is found in deeds and words, by rules in YAML.
//! * [`redact`]: secrets out before any sink.
//! * [`sink`]: JSON lines, text for people, raw bytes.
//! * [`output`]: from records to a sink: the same frames give the same output.
//! * [`record`]: frames in a file, and back.
//! * `doctor` (feature `bpf`): what this machine can do, tried out.
//! * [`select`]: which processes a user asks for.
//! * [`host`]: who uses a file; the only reader of /proc.
//! * [`survey`]: which processes run, with which TLS libraries, and whether those can be probed.
//! * `pipeline` (feature `bpf`): wires all this, owns the threads. [`cli`]: the command line.
//!
//! # Invariants
//!
//! * An address is unique and proven, or refused with its reason. No byte patterns.
//! * Virtual addresses and file offsets are different types ([`image::VirtAddr`], [`image::FileOff`]).
//! * Only `image` and `host` open files to look into, only `attach` talks to the kernel.
//! * Nothing that comes from a file, a process or the network can panic us: `get`, never index.
//! * Three lifetimes, never mixed: per file, per process, per connection. A thread id alone identifies
//!   nothing.
//! * Every byte that is lost, cut or not understood is counted and shown.
//!
//! Imports go up that list only; `tests/tidy.rs` holds it.

#[cfg(feature = "bpf")]
pub mod attach;
pub mod bytes;
pub mod cache;
pub mod check;
pub mod cli;
pub mod deeds;
pub mod dialog;
pub mod discover;
#[cfg(feature = "bpf")]
pub mod doctor;
pub mod error;
pub mod event;
pub mod graph;
pub mod host;
pub mod image;
pub mod output;
#[cfg(feature = "bpf")]
pub mod pipeline;
pub mod plan;
pub mod proto;
pub mod record;
pub mod redact;
pub mod rules;
pub mod select;
pub mod semantics;
pub mod sink;
pub mod stream;
pub mod survey;
pub mod symdb;
