//! rustls 0.21: ring, and nothing else.

use std::sync::Arc;
use std::time::SystemTime;

use rustls::client::{ServerCertVerified, ServerCertVerifier};
use rustls::{
    ALL_CIPHER_SUITES, ALL_VERSIONS, Certificate, ClientConfig, Error, PrivateKey, RootCertStore,
    ServerConfig, ServerName, SupportedCipherSuite,
};

use super::{certificates, is_wanted, needed, private_key};
use crate::options::Options;
use crate::run::Failure;

/// The suites that are wanted; a version is on if there is a suite of it.
fn suites(options: &Options) -> Vec<SupportedCipherSuite> {
    let mut suites = ALL_CIPHER_SUITES.to_vec();
    suites.retain(|suite| {
        let name = suite.suite().as_str().unwrap_or_default();
        is_wanted(name, options.suite, options.tls)
    });
    suites
}

pub fn client_config(options: &Options) -> Result<ClientConfig, Failure> {
    let builder = ClientConfig::builder()
        .with_cipher_suites(&suites(options))
        .with_safe_default_kx_groups()
        .with_protocol_versions(ALL_VERSIONS)?;
    let Some(ca) = &options.ca else {
        let trusting = builder.with_custom_certificate_verifier(Arc::new(Trusting));
        return Ok(trusting.with_no_client_auth());
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca)? {
        roots.add(&Certificate(certificate.to_vec()))?;
    }
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

pub fn server_config(options: &Options) -> Result<ServerConfig, Failure> {
    let chain = certificates(needed(&options.cert, "--cert")?)?;
    let chain = chain
        .into_iter()
        .map(|one| Certificate(one.to_vec()))
        .collect();
    let key = private_key(needed(&options.key, "--key")?)?;
    let builder = ServerConfig::builder()
        .with_cipher_suites(&suites(options))
        .with_safe_default_kx_groups()
        .with_protocol_versions(ALL_VERSIONS)?;
    let builder = builder.with_no_client_auth();
    Ok(builder.with_single_cert(chain, PrivateKey(key.secret_der().to_vec()))?)
}

pub fn server_name(options: &Options) -> Result<ServerName, Failure> {
    Ok(ServerName::try_from(options.host.as_str())?)
}

/// Whoever it is; only the handshake must be sound.
struct Trusting;

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &Certificate,
        _: &[Certificate],
        _: &ServerName,
        _: &mut dyn Iterator<Item = &[u8]>,
        _: &[u8],
        _: SystemTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }
}
