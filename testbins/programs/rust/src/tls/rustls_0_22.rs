//! rustls 0.22 and 0.23: a provider brings the cipher suites.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, ServerConfig, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::{certificates, is_wanted, needed, private_key};
use crate::options::{Options, Provider};
use crate::run::Failure;

#[cfg(feature = "aws-lc")]
use rustls::crypto::aws_lc_rs;
#[cfg(feature = "ring")]
use rustls::crypto::ring;

/// The suites that are wanted; a version is on if there is a suite of it.
pub fn provider(options: &Options) -> Result<Arc<CryptoProvider>, Failure> {
    let mut provider = match options.provider {
        #[cfg(feature = "aws-lc")]
        None | Some(Provider::AwsLc) => aws_lc_rs::default_provider(),
        #[cfg(all(feature = "ring", not(feature = "aws-lc")))]
        None => ring::default_provider(),
        #[cfg(feature = "ring")]
        Some(Provider::Ring) => ring::default_provider(),
        #[cfg(not(all(feature = "aws-lc", feature = "ring")))]
        _ => return Err("that provider is not in this build".into()),
    };
    provider.cipher_suites.retain(|suite| {
        let name = suite.suite().as_str().unwrap_or_default();
        is_wanted(name, options.suite, options.tls)
    });
    Ok(Arc::new(provider))
}

pub fn client_config(options: &Options) -> Result<ClientConfig, Failure> {
    let provider = provider(options)?;
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(rustls::ALL_VERSIONS)?;
    let Some(ca) = &options.ca else {
        let trusting = builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Trusting(provider)));
        return Ok(trusting.with_no_client_auth());
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca)? {
        roots.add(certificate)?;
    }
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

pub fn server_config(options: &Options) -> Result<ServerConfig, Failure> {
    let chain = certificates(needed(&options.cert, "--cert")?)?;
    let key = private_key(needed(&options.key, "--key")?)?;
    let builder = ServerConfig::builder_with_provider(provider(options)?)
        .with_protocol_versions(rustls::ALL_VERSIONS)?;
    Ok(builder.with_no_client_auth().with_single_cert(chain, key)?)
}

pub fn server_name(options: &Options) -> Result<ServerName<'static>, Failure> {
    Ok(ServerName::try_from(options.host.clone())?)
}

/// Whoever it is; only the handshake must be sound.
#[derive(Debug)]
struct Trusting(Arc<CryptoProvider>);

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
