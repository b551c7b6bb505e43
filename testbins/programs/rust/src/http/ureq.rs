//! ureq: blocking, HTTP/1.1, a thread and an agent for each connection.

use std::sync::Arc;
use std::thread;

use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use super::Exchange;
use crate::message::Plan;
use crate::options::Options;
use crate::run::Failure;
use crate::tls;

pub fn run(options: &Options) -> Result<(), Failure> {
    thread::scope(|scope| {
        let numbers = 0..options.connections;
        let threads: Vec<_> = numbers
            .map(|number| scope.spawn(move || talk(options, number)))
            .collect();
        let ends = threads
            .into_iter()
            .map(|one| one.join().expect("no thread has panicked"));
        ends.collect()
    })
}

fn talk(options: &Options, connection: usize) -> Result<(), Failure> {
    let agent = Agent::new_with_config(
        Agent::config_builder()
            .tls_config(tls_config(options)?)
            .build(),
    );
    let plan = Plan::new(options, connection);
    for number in 0..plan.messages {
        let exchange = Exchange::new(options, &plan, number)?;
        let mut response = match exchange.is_post {
            true => agent.post(&exchange.url).send(&exchange.body)?,
            false => agent.get(&exchange.url).call()?,
        };
        let answer = response
            .body_mut()
            .with_config()
            .limit(u64::MAX)
            .read_to_vec()?;
        exchange.finish(&answer)?;
    }
    Ok(())
}

fn tls_config(options: &Options) -> Result<TlsConfig, Failure> {
    let builder = TlsConfig::builder().unversioned_rustls_crypto_provider(tls::provider(options)?);
    let Some(ca) = &options.ca else {
        return Ok(builder.disable_verification(true).build());
    };
    let certificates = tls::certificates(ca)?;
    let roots = certificates
        .iter()
        .map(|one| Certificate::from_der(one).to_owned())
        .collect();
    Ok(builder
        .root_certs(RootCerts::Specific(Arc::new(roots)))
        .build())
}
