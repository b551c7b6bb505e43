//! Long options: `--flag` and `--name VALUE`.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::run::Failure;

/// Everything that can be asked for; the README says what each means.
#[derive(Clone, Debug)]
pub struct Options {
    pub accept: usize,
    pub answers: Vec<usize>,
    pub body: Option<PathBuf>,
    pub ca: Option<PathBuf>,
    pub cert: Option<PathBuf>,
    pub connections: usize,
    pub get: Option<String>,
    pub host: String,
    pub http: Option<u8>,
    pub key: Option<PathBuf>,
    pub log: Option<PathBuf>,
    pub messages: usize,
    pub port: u16,
    pub post: Option<String>,
    pub provider: Option<Provider>,
    pub role: Role,
    pub sizes: Vec<usize>,
    pub suite: Suite,
    pub threads: usize,
    pub timeout: Duration,
    pub tls: Option<Version>,
    pub wait: bool,
    pub wait_late: bool,
}

/// Who encrypts, in a build that has the choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    AwsLc,
    Ring,
}

/// Which ends are in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Both,
    Client,
    Server,
}

/// Which AEAD; any, unless it is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    Aes128,
    Aes256,
    Any,
    ChaCha20,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    Tls12,
    Tls13,
}

impl Options {
    pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, Failure> {
        let mut options = Self::default();
        while let Some(name) = words.next() {
            match name.as_str() {
                "--wait" => options.wait = true,
                "--wait-late" => options.wait_late = true,
                _ => {
                    let value = words
                        .next()
                        .ok_or_else(|| format!("{name} needs a value"))?;
                    options.set(&name, &value)?;
                }
            }
        }
        if options.accept == 0 {
            options.accept = options.connections;
        }
        Ok(options)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), Failure> {
        match name {
            "--accept" => self.accept = number(name, value)?,
            "--answers" => self.answers = numbers(name, value)?,
            "--body" => self.body = Some(value.into()),
            "--ca" => self.ca = Some(value.into()),
            "--cert" => self.cert = Some(value.into()),
            "--connections" => self.connections = number(name, value)?,
            "--get" => self.get = Some(value.to_owned()),
            "--host" => self.host = value.to_owned(),
            "--http" => self.http = Some(number(name, value)?),
            "--key" => self.key = Some(value.into()),
            "--log" => self.log = Some(value.into()),
            "--messages" => self.messages = number(name, value)?,
            "--port" => self.port = number(name, value)?,
            "--post" => self.post = Some(value.to_owned()),
            "--provider" => self.provider = Some(provider(value)?),
            "--role" => self.role = role(value)?,
            "--sizes" => self.sizes = numbers(name, value)?,
            "--suite" => self.suite = suite(value)?,
            "--threads" => self.threads = number(name, value)?,
            "--timeout" => self.timeout = Duration::from_secs(number(name, value)?),
            "--tls" => self.tls = Some(version(value)?),
            _ => return Err(format!("unknown option {name}").into()),
        }
        Ok(())
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            accept: 0,
            answers: vec![200],
            body: None,
            ca: None,
            cert: None,
            connections: 1,
            get: None,
            host: "127.0.0.1".to_owned(),
            http: None,
            key: None,
            log: None,
            messages: 10,
            port: 0,
            post: None,
            provider: None,
            role: Role::Both,
            sizes: vec![200],
            suite: Suite::Any,
            threads: 2,
            timeout: Duration::from_secs(60),
            tls: None,
            wait: false,
            wait_late: false,
        }
    }
}

fn number<T: FromStr>(name: &str, value: &str) -> Result<T, Failure> {
    let parsed = value.parse();
    parsed.map_err(|_| format!("{name} needs a number, not '{value}'").into())
}

fn numbers(name: &str, value: &str) -> Result<Vec<usize>, Failure> {
    value.split(',').map(|one| number(name, one)).collect()
}

fn provider(value: &str) -> Result<Provider, Failure> {
    match value {
        "aws-lc" => Ok(Provider::AwsLc),
        "ring" => Ok(Provider::Ring),
        _ => Err(format!("no provider '{value}'").into()),
    }
}

fn role(value: &str) -> Result<Role, Failure> {
    match value {
        "both" => Ok(Role::Both),
        "client" => Ok(Role::Client),
        "server" => Ok(Role::Server),
        _ => Err(format!("no role '{value}'").into()),
    }
}

fn suite(value: &str) -> Result<Suite, Failure> {
    match value {
        "aes128" => Ok(Suite::Aes128),
        "aes256" => Ok(Suite::Aes256),
        "chacha20" => Ok(Suite::ChaCha20),
        _ => Err(format!("no suite '{value}'").into()),
    }
}

fn version(value: &str) -> Result<Version, Failure> {
    match value {
        "1.2" => Ok(Version::Tls12),
        "1.3" => Ok(Version::Tls13),
        _ => Err(format!("no TLS version '{value}'").into()),
    }
}
