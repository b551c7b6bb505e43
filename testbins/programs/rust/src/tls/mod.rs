//! How each version of rustls is told what to use.

#[cfg(feature = "rustls-0-21")]
mod rustls_0_21;
#[cfg(not(feature = "rustls-0-21"))]
mod rustls_0_22;

#[cfg(feature = "rustls-0-21")]
pub use rustls_0_21::{client_config, server_config, server_name};
#[cfg(all(feature = "http", not(feature = "rustls-0-21")))]
pub use rustls_0_22::provider;
#[cfg(not(feature = "rustls-0-21"))]
pub use rustls_0_22::{client_config, server_config, server_name};

use std::path::{Path, PathBuf};

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::options::{Suite, Version};
use crate::run::Failure;

/// Is it this AEAD, in this version, by the name of the cipher suite? Those of TLS 1.3 begin so.
fn is_wanted(name: &str, suite: Suite, version: Option<Version>) -> bool {
    let is_version = match version {
        Some(Version::Tls12) => !name.starts_with("TLS13_"),
        Some(Version::Tls13) => name.starts_with("TLS13_"),
        None => true,
    };
    let aead = match suite {
        Suite::Aes128 => "AES_128_GCM",
        Suite::Aes256 => "AES_256_GCM",
        Suite::Any => "",
        Suite::ChaCha20 => "CHACHA20_POLY1305",
    };
    is_version && name.contains(aead)
}

pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    read.map_err(|error| format!("{}: {error}", path.display()).into())
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Failure> {
    let read = PrivateKeyDer::from_pem_file(path);
    read.map_err(|error| format!("{}: {error}", path.display()).into())
}

fn needed<'a>(path: &'a Option<PathBuf>, option: &str) -> Result<&'a Path, Failure> {
    let path = path.as_deref();
    path.ok_or_else(|| format!("a server needs {option}").into())
}
