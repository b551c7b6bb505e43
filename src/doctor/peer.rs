//! The observed half of the self test: a process that talks TLS with itself when it is told to.
//!
//! It says `absent`; or `ready OFFSET OFFSET PATH` (of SSL_read and SSL_write, by the loader's account)
//! and `version TEXT`; then `done`, or `failed REASON`. It is told `go REQUEST RESPONSE`, in hex.

use super::child::{listen, say};
use super::openssl::OpenSsl;
use super::{hex, place};
use crate::error::{Error, OrInvalid, Result};

/// Plays the part to its end. Failures are told to the parent, not returned.
pub fn peer() -> Result<()> {
    match play() {
        Ok(()) => Ok(()),
        Err(error) => say(&format!("failed {error:#}")),
    }
}

fn play() -> Result<()> {
    let Some(openssl) = OpenSsl::load()? else {
        return say("absent");
    };
    let [read, write] = openssl
        .data_functions()
        .map(|(_, address)| place::of_code(address));
    let (read, write) = (read?, write?);
    say(&format!(
        "ready {} {} {}",
        read.offset.0,
        write.offset.0,
        read.path.display()
    ))?;
    say(&format!("version {}", openssl.version()))?;
    let Some(go) = listen()? else {
        return Ok(());
    };
    let (request, response) = parse_go(&go).or_invalid(|| "an order that makes no sense")?;
    exchange(&openssl, &request, &response)?;
    say("done")
}

fn parse_go(line: &str) -> Option<(Vec<u8>, Vec<u8>)> {
    let (request, response) = line.strip_prefix("go ")?.split_once(' ')?;
    Some((hex::decode(request)?, hex::decode(response)?))
}

fn exchange(openssl: &OpenSsl, request: &[u8], response: &[u8]) -> Result<()> {
    let pair = openssl.pair()?;
    pair.client.write(request)?;
    let asked = pair.server.read(request.len())?;
    pair.server.write(response)?;
    let answered = pair.client.read(response.len())?;
    if asked != request || answered != response {
        return Err(Error::invalid(
            "TLS delivered other bytes than it was given",
        ));
    }
    Ok(())
}
