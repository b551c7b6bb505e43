//! rustls flat out: what a tracer costs is measured with it. Both ends are in one process, joined by
//! memory; the options and what it prints are those of common/load.c, and `--cert` and `--key` are PEM files.

use std::error::Error;
use std::io::{Read, Write, stdin};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use std::{env, fs};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::default_provider;
use rustls::{
    ClientConfig, ClientConnection, ConnectionCommon, DigitallySignedStruct, ServerConfig,
    ServerConnection, SignatureScheme,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// How many messages pass between two looks at the clock.
const BATCH: u64 = 16;

/// Plaintext bytes of a full TLS record.
const RECORD: usize = 16 << 10;

fn main() -> Result<()> {
    let options = Options::parse(env::args().skip(1))?;
    let limit = options.timeout;
    thread::spawn(move || {
        thread::sleep(limit);
        eprintln!("the time limit of {limit:?} is over");
        std::process::exit(3);
    });
    if options.wait {
        println!("ready");
        stdin().read_line(&mut String::new())?;
    }
    let mut pair = Pair::open(&options)?;
    let start = Instant::now();
    let messages = pair.talk(&options, start)?;
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "messages {messages}\nseconds {seconds:.6}\ncpu_seconds {:.6}",
        cpu_seconds()?
    );
    Ok(())
}

struct Options {
    cert: String,
    key: String,
    messages: u64,
    seconds: u64,
    size: usize,
    timeout: Duration,
    wait: bool,
}

impl Options {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self> {
        let mut options = Self {
            cert: String::new(),
            key: String::new(),
            messages: 0,
            seconds: 0,
            size: 256,
            timeout: Duration::from_secs(60),
            wait: false,
        };
        while let Some(name) = words.next() {
            if name == "--wait" {
                options.wait = true;
                continue;
            }
            let value = words
                .next()
                .ok_or_else(|| format!("{name} needs a value"))?;
            match name.as_str() {
                "--cert" => options.cert = value,
                "--key" => options.key = value,
                "--messages" => options.messages = value.parse()?,
                "--seconds" => options.seconds = value.parse()?,
                "--size" => options.size = value.parse()?,
                "--timeout" => options.timeout = Duration::from_secs(value.parse()?),
                _ => return Err(format!("unknown option {name}").into()),
            }
        }
        if (options.messages == 0) == (options.seconds == 0) {
            return Err("either --messages or --seconds must be given".into());
        }
        Ok(options)
    }

    fn is_over(&self, messages: u64, start: Instant) -> bool {
        if self.messages > 0 {
            return messages >= self.messages;
        }
        messages.is_multiple_of(BATCH) && start.elapsed() >= Duration::from_secs(self.seconds)
    }
}

/// Both ends, and what is on its way from one to the other.
struct Pair {
    client: ClientConnection,
    server: ServerConnection,
    between: Vec<u8>,
}

impl Pair {
    fn open(options: &Options) -> Result<Self> {
        let provider = Arc::new(default_provider());
        let client = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Trusting))
            .with_no_client_auth();
        let chain = vec![CertificateDer::from_pem_file(&options.cert)?];
        let server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, PrivateKeyDer::from_pem_file(&options.key)?)?;
        let name = ServerName::try_from("localhost")?;
        let mut pair = Self {
            client: ClientConnection::new(Arc::new(client), name)?,
            server: ServerConnection::new(Arc::new(server))?,
            between: Vec::new(),
        };
        while pair.client.is_handshaking() || pair.server.is_handshaking() {
            carry(&mut pair.client, &mut pair.server, &mut pair.between)?;
            carry(&mut pair.server, &mut pair.client, &mut pair.between)?;
        }
        Ok(pair)
    }

    fn talk(&mut self, options: &Options, start: Instant) -> Result<u64> {
        let message = text(options.size);
        let mut buffer = vec![0; options.size];
        let mut messages = 0;
        while !options.is_over(messages, start) {
            // No more at once than a buffer holds: one record.
            for (sent, received) in message.chunks(RECORD).zip(buffer.chunks_mut(RECORD)) {
                self.client.writer().write_all(sent)?;
                carry(&mut self.client, &mut self.server, &mut self.between)?;
                self.server.reader().read_exact(received)?;
            }
            if messages == 0 && message != buffer {
                return Err("other bytes were delivered than were sent".into());
            }
            messages += 1;
        }
        Ok(messages)
    }
}

fn carry<A, B>(
    from: &mut ConnectionCommon<A>,
    to: &mut ConnectionCommon<B>,
    between: &mut Vec<u8>,
) -> Result<()> {
    while from.wants_write() {
        from.write_tls(between)?;
    }
    let mut rest = between.as_slice();
    while !rest.is_empty() {
        to.read_tls(&mut rest)?;
        to.process_new_packets()?;
    }
    between.clear();
    Ok(())
}

/// Lines of letters, the same at each run.
fn text(size: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let letter = |at: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        match at % 64 {
            63 => b'\n',
            _ => b'a' + (state >> 24) as u8 % 26,
        }
    };
    (0..size).map(letter).collect()
}

/// Of all threads: fields 14 and 15 of proc_pid_stat(5), in hundredths of a second.
fn cpu_seconds() -> Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit_once(')').ok_or("no name in /proc/self/stat")?.1;
    let times = after_name.split_whitespace().skip(11).take(2);
    let ticks: u64 = times.filter_map(|time| time.parse::<u64>().ok()).sum();
    Ok(ticks as f64 / 100.0)
}

/// Whoever it is.
#[derive(Debug)]
struct Trusting;

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let provider = default_provider();
        provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
