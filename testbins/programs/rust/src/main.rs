//! An agent that speaks TLS with rustls, in one of several versions and with one of several providers.
//! The README of testbins has the options and the `--log` contract.

#[cfg(feature = "http")]
mod http;
mod log;
mod message;
mod options;
mod pair;
mod run;
mod tls;
mod tokio_pair;

fn main() {
    let words = std::env::args().skip(1);
    if let Err(error) = run::run(words) {
        eprintln!("{error}");
        std::process::exit(1);
    }
}
